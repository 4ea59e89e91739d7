"""Write XGBoost models as UBJSON, and run such files from verified bytes."""

import json
import math
from typing import TYPE_CHECKING, Any, Final

from vault.core import xgboost_model
from vault.errors import FormatRefused, MissingLibrary, Refused

if TYPE_CHECKING:
    from vault.core.admission import Admitted

_ESTIMATORS: Final = {"classifier": "XGBClassifier", "regressor": "XGBRegressor", "ranker": "XGBRanker"}
_KIND: Final = "scikit_learn"  # the attribute in which XGBoost itself keeps the kind of an estimator


class XgboostModel:
    """A booster that was saved as such, with `predict` for arrays and DataFrames beside `.booster`."""

    def __init__(self, booster: Any) -> None:
        """Wrap a booster."""
        self.booster = booster

    def predict(self, X: Any, **options: Any) -> Any:  # noqa: N803 (scikit-learn's own name)
        """Give what the booster says of each row of `X` (DataFrame, array or `DMatrix`).

        `options` go to `Booster.predict` (`pred_contribs=True`, `output_margin=True`).

        Raises:
            ValueError: other features than the model was trained on; XGBoost compares their names.
        """
        xgboost = _xgboost()
        rows = X if isinstance(X, xgboost.DMatrix) else xgboost.DMatrix(X, enable_categorical=True)
        if self.booster.feature_names and rows.feature_names is None:
            options.setdefault("validate_features", False)  # an array has no names to compare
        return self.booster.predict(rows, **options)

    def __repr__(self) -> str:
        """Name the numbers of rounds and features."""
        return (
            f"XgboostModel(rounds={self.booster.num_boosted_rounds()}, "
            f"features={self.booster.num_features()})"
        )


def takes(model: Any) -> bool:
    """Tell whether `model` is a booster or an estimator of XGBoost, without importing XGBoost."""
    return any(
        base.__name__ in ("Booster", "XGBModel") and base.__module__.partition(".")[0] == "xgboost"
        for base in type(model).__mro__
    )


def is_booster(model: Any) -> bool:
    """Tell whether `model` is a bare booster, which predicts for a `DMatrix` only."""
    return takes(model) and not hasattr(model, "get_booster")


def dump(model: Any) -> tuple[bytes, Any]:
    """Write a booster or an estimator as UBJSON; return the bytes and the model they give back.

    Raises:
        ValueError: it is no XGBoost model, is not fitted, has a setting that XGBoost's file does not
            keep and prediction needs, or makes a file that is refused.
        MissingLibrary: XGBoost, or scikit-learn for an estimator, is not installed.
    """
    if not takes(model):
        raise ValueError(f"{type(model).__name__} is no XGBoost model.")
    booster = model
    if not is_booster(model):
        missing = getattr(model, "missing", math.nan)
        if not (isinstance(missing, float) and math.isnan(missing)):
            raise ValueError(
                f"XGBoost's file does not keep missing={missing!r}: give NaN for missing values."
            )
        booster = model.get_booster().copy()
        kind = next((kind for kind, name in _ESTIMATORS.items() if _is_a(model, name)), None)
        if kind is None:
            raise ValueError(f"{type(model).__name__} is no classifier, regressor or ranker.")
        booster.set_attr(**{_KIND: json.dumps({"_estimator_type": kind})})
    data = bytes(booster.save_raw("ubj"))
    try:
        xgboost_model.check(data)
    except Refused as refusal:
        raise ValueError(f"XGBoost wrote a file that is not loaded: {refusal.message}") from refusal
    return data, restore(data, subject="the model")


def load(admitted: "Admitted") -> Any:
    """Run an XGBoost file whose static stage has passed: an estimator, or an `XgboostModel` for a booster.

    Raises:
        FormatRefused: XGBoost refuses the file.
        MissingLibrary: XGBoost, or scikit-learn for an estimator, is not installed.
        TypeError: `admitted` does not come from the admission.
    """
    from vault.core.admission import Admitted

    if type(admitted) is not Admitted:
        raise TypeError("A loader takes an Admitted value only.")
    return restore(admitted.data, subject=admitted.subject)


def restore(data: bytes | memoryview, *, subject: str) -> Any:
    """Run an XGBoost file from bytes that were checked.

    Raises:
        FormatRefused, MissingLibrary: see `load`.
    """
    xgboost = _xgboost()
    content = bytearray(data)  # a path or a bytearray is all that XGBoost takes
    try:
        booster = xgboost.Booster()
        booster.load_model(content)
        told = booster.attr(_KIND)
        if told is None:
            return XgboostModel(booster)
        estimator = getattr(xgboost, _ESTIMATORS[json.loads(told)["_estimator_type"]])()
        estimator.load_model(content)
        if "c" in (estimator.get_booster().feature_types or ()):
            estimator.set_params(enable_categorical=True)
    except ImportError as error:
        raise MissingLibrary(
            f"{subject} is an estimator, which needs scikit-learn: {error}",
            subject=subject,
            hint="Install it: pip install 'model-artifact-vault[xgboost]'",
        ) from None
    except Exception as error:  # whatever its reader and its Python half raise
        text = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise FormatRefused(
            f"{subject} could not be restored: XGBoost does not read it: {text[:200]}",
            code="format-content",
            subject=subject,
            hint="Publish it again from a trusted copy.",
        ) from None
    return estimator


def _is_a(model: Any, name: str) -> bool:
    return any(base.__name__ == name for base in type(model).__mro__)


def _xgboost() -> Any:
    try:
        import xgboost
    except ModuleNotFoundError:
        raise MissingLibrary(
            "XGBoost models need XGBoost.",
            hint="Install it: pip install 'model-artifact-vault[xgboost]'",
        ) from None
    return xgboost
