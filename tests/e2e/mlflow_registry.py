"""Make a real MLflow with registered models, in a process of its own.

    python -m tests.e2e.mlflow_registry FOLDER [ARTIFACTS]

It lies at `sqlite:///FOLDER/mlflow.db`, and its artifacts below FOLDER or at the URI ARTIFACTS.
"""

import os
import subprocess
import sys
import warnings
from pathlib import Path
from typing import Any

from tests.e2e.adopting_parts import labels, logistic, rows

REPOSITORY = Path(__file__).parents[2]
COLUMNS = ("age", "income", "score", "tenure")
BOMB = "a: &a [x,x,x,x,x,x,x,x,x]\n" + "".join(
    f"{name}: &{name} [{','.join([f'*{before}'] * 9)}]\n"
    for before, name in zip("abcdefg", "bcdefgh", strict=True)
)
HOSTILE = {
    "alias-bomb": BOMB,
    "traversal": "flavors:\n  sklearn:\n    pickled_model: ../../../../etc/passwd\n",
    "absent": "flavors:\n  sklearn:\n    pickled_model: gone.pkl\n",
    "tagged": "flavors: !!python/object/apply:os.system ['touch marker']\n",
    "binary": "\udcff\udcfe",
    "large": "x" * (2 << 20),
    "link": "flavors:\n  sklearn:\n    pickled_model: link.pkl\n",
    "evil": "flavors:\n  sklearn:\n    pickled_model: model.pkl\n",
}


def make(folder: Path, artifacts: str = "") -> str:
    """Make one; give its tracking URI."""
    done = subprocess.run(
        [sys.executable, "-m", "tests.e2e.mlflow_registry", str(folder), artifacts],
        env={**os.environ, "PYTHONPATH": str(REPOSITORY)},
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return f"sqlite:///{folder}/mlflow.db"


def main(folder: Path, artifacts: str) -> None:
    """Log and register models of several flavours; some of them lie."""
    warnings.simplefilter("ignore")
    import lightgbm
    import mlflow
    import pandas as pd
    import xgboost
    from mlflow.models import infer_signature
    from skl2onnx import to_onnx

    mlflow.set_tracking_uri(f"sqlite:///{folder}/mlflow.db")
    mlflow.create_experiment("all", artifact_location=artifacts or (folder / "artifacts").as_uri())
    mlflow.set_experiment("all")
    table, target = pd.DataFrame(rows(), columns=COLUMNS), labels()

    def log(flavour: Any, model: Any, name: str, **more: Any) -> None:
        with mlflow.start_run():
            mlflow.log_metric("auc", 0.91)
            mlflow.log_param("C", 2.0)
            mlflow.set_tag("team", "quant")
            flavour.log_model(
                model, name="model", registered_model_name=name, pip_requirements=["numpy"], **more
            )

    signature = infer_signature(table, target)
    for strength in (1.0, 2.0):
        log(
            mlflow.sklearn, logistic(strength), "churn", signature=signature, serialization_format="pickle"
        )  # fmt: skip
    log(mlflow.onnx, to_onnx(logistic(), rows()[:1].astype("float32")), "net work")
    if artifacts:
        return
    log(mlflow.lightgbm, lightgbm.train({"verbose": -1}, lightgbm.Dataset(table, target), 3), "light")
    log(mlflow.xgboost, xgboost.train({}, xgboost.DMatrix(table, target), 3), "boost")
    client = mlflow.MlflowClient()
    client.set_registered_model_alias("churn", "champion", "2")
    client.set_registered_model_alias("churn", "old", "1")
    client.set_model_version_tag("churn", "2", "validated", "yes")
    client.update_model_version("churn", "2", "The one of May.")
    _lie(client, folder)


def _lie(client: Any, folder: Path) -> None:
    """Register folders that no `log_model` has written."""
    (folder / "secret.pkl").write_bytes(b"\x80\x04}.")
    for name, text in HOSTILE.items():
        place = folder / "hostile" / name
        place.mkdir(parents=True)
        (place / "MLmodel").write_bytes(text.encode("utf-8", "surrogateescape"))
        client.create_registered_model(name)
        client.create_model_version(name, str(place))
    (folder / "hostile" / "link" / "link.pkl").symlink_to(folder / "secret.pkl")
    (folder / "hostile" / "evil" / "model.pkl").write_bytes(b"cos\nsystem\n(S'touch marker'\ntR.")


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2])
