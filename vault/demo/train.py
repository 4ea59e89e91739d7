"""Train the demo's models: two classifiers and a forecaster for each of three stocks."""

import importlib.util
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from vault.errors import MissingLibrary

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Matrix = NDArray[np.float64]

ROWS: Final = 400
CUSTOMER: Final = ("tenure", "calls", "charges", "contract", "discount", "complaints", "usage", "age")
PRICES: Final = ("return_1", "return_2", "return_5", "gap_10", "gap_20", "volatility_10")
_LIBRARIES: Final = ("sklearn", "skops", "onnxruntime", "skl2onnx")
_DAYS: Final = 900
_SEEN: Final = 0.8


@dataclass(frozen=True, slots=True)
class Trained:
    """A trained model with everything that travels with it, and rows on which it is compared later.

    `rows` has shape (rows, features) as a service receives them; `expected` is
    what the live model says about them. Where `scaled`, a service applies the
    artifact `scaler` first.
    """

    name: str
    model: Any
    fitted: "Matrix"
    metrics: dict[str, float]
    artifacts: dict[str, Any]
    rows: "Matrix"
    expected: list[float]
    scaled: bool = False
    format: str = "auto"
    also: str | None = None

    @property
    def estimator(self) -> str:
        """What it is called in scikit-learn, the last step for a pipeline."""
        steps = getattr(self.model, "steps", None)
        return type(self.model if steps is None else steps[-1][1]).__name__


def train() -> Iterator[Trained]:
    """Train the models one by one, always the same ones.

    Raises:
        MissingLibrary: scikit-learn, skops or an ONNX library is not installed.
    """
    for library in _LIBRARIES:
        if importlib.util.find_spec(library) is None:
            raise MissingLibrary(
                f"The demo trains real models and needs {library}.",
                hint="Install everything it uses: pip install 'model-artifact-vault[all]'",
            )
    yield _churn()
    yield _default()
    for number, name in enumerate(("NABIL", "NICA", "SCB")):
        yield _forecaster(name, number)


def _churn() -> Trained:
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    seen, labels, unseen, truth = _customers(1)
    model = make_pipeline(StandardScaler(), LogisticRegression()).fit(seen, labels)
    return Trained(
        "churn",
        model,
        seen,
        {"auc": _auc(model, unseen, truth)},
        {"scaler": model[0], "features": list(CUSTOMER)},
        unseen[:ROWS],
        model.predict(unseen[:ROWS]).tolist(),
        also="onnx",
    )


def _default() -> Trained:
    from sklearn.ensemble import RandomForestClassifier
    from sklearn.preprocessing import RobustScaler

    seen, labels, unseen, truth = _customers(2)
    scaler = RobustScaler().fit(seen)
    model = RandomForestClassifier(60, max_depth=8, random_state=2).fit(scaler.transform(seen), labels)
    rows = scaler.transform(unseen)
    return Trained(
        "loans/default",
        model,
        scaler.transform(seen),
        {"auc": _auc(model, rows, truth)},
        {"scaler": scaler, "features": list(CUSTOMER)},
        unseen[:ROWS],
        model.predict(rows[:ROWS]).tolist(),
        scaled=True,
    )


def _forecaster(symbol: str, number: int) -> Trained:
    """Train a forecaster of the next day's return; the third is a pipeline that is served as ONNX."""
    from sklearn.ensemble import HistGradientBoostingRegressor, RandomForestRegressor
    from sklearn.linear_model import Ridge
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    features, returns = _lags(_prices(10 + number))
    cut = int(len(features) * _SEEN)
    scaler = StandardScaler().fit(features[:cut])
    pipeline = number == 2
    if pipeline:
        model: Any = make_pipeline(scaler, Ridge(alpha=1.0))
    elif number == 1:
        model = RandomForestRegressor(40, max_depth=6, random_state=number)
    else:
        model = HistGradientBoostingRegressor(max_iter=40, random_state=number)
    given = features if pipeline else scaler.transform(features)
    model.fit(given[:cut], returns[:cut])
    ahead = model.predict(given[cut:])
    return Trained(
        f"nepse/{symbol}",
        model,
        given[:cut],
        {"hit_rate": round(float(((ahead > 0) == (returns[cut:] > 0)).mean()), 3)},
        {"scaler": scaler, "features": list(PRICES)},
        features[cut:],
        ahead.tolist(),
        scaled=not pipeline,
        format="onnx" if pipeline else "auto",
    )


def _customers(seed: int) -> "tuple[Matrix, Matrix, Matrix, Matrix]":
    """Make labelled customers: features and labels to train on, then as many unseen ones."""
    from sklearn.datasets import make_classification

    rows, labels = make_classification(
        2_000, len(CUSTOMER), n_informative=5, n_redundant=1, class_sep=0.9, random_state=seed
    )
    return rows[:1_000], labels[:1_000], rows[1_000:], labels[1_000:]


def _auc(model: Any, rows: "Matrix", truth: "Matrix") -> float:
    from sklearn.metrics import roc_auc_score

    return round(float(roc_auc_score(truth, model.predict_proba(rows)[:, 1])), 3)


def _prices(seed: int) -> "Matrix":
    """Make a daily closing price: a random walk whose returns remember a part of the day before."""
    import numpy as np

    shocks = np.random.default_rng(seed).normal(0.0004, 0.012, _DAYS)
    returns = np.zeros(_DAYS)
    for day in range(1, _DAYS):
        returns[day] = 0.35 * returns[day - 1] + shocks[day]
    return np.asarray(500.0 * np.exp(np.cumsum(returns)), dtype=np.float64)


def _lags(prices: "Matrix") -> "tuple[Matrix, Matrix]":
    """Turn prices into features known at a day's close (`PRICES`) and the return of the day after."""
    import numpy as np

    logs = np.log(prices)
    day = np.arange(20, len(prices) - 1)
    step = np.diff(logs, prepend=logs[0])
    columns = [logs[day] - logs[day - back] for back in (1, 2, 5)]
    columns += [logs[day] - np.array([logs[d - n : d].mean() for d in day]) for n in (10, 20)]
    columns.append(np.array([step[d - 9 : d + 1].std() for d in day]))
    return np.column_stack(columns), logs[day + 1] - logs[day]
