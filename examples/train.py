"""Train a churn model and write it to files, as a training job that knows no vault does.

usage: python train.py FOLDER

Writes `model.skops` and `features.json`, and prints the area under the ROC curve.
"""

import json
import sys
from pathlib import Path

import skops.io
from sklearn.datasets import make_classification
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

FEATURES = ["tenure", "calls", "charges", "contract", "discount", "complaints"]


def main(folder: Path) -> None:
    """Train, write, report."""
    rows, churned = make_classification(1_000, len(FEATURES), n_informative=4, random_state=7)
    model = make_pipeline(StandardScaler(), LogisticRegression()).fit(rows[:800], churned[:800])
    folder.mkdir(parents=True, exist_ok=True)
    skops.io.dump(model, folder / "model.skops")
    (folder / "features.json").write_text(json.dumps(FEATURES))
    print(f"{roc_auc_score(churned[800:], model.predict_proba(rows[800:])[:, 1]):.3f}")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
