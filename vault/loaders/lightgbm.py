"""Write LightGBM models as its text files, and run such files from verified bytes."""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Final

from vault.core import lightgbm_text
from vault.errors import FeatureMismatch, FormatRefused, MissingLibrary, Refused

if TYPE_CHECKING:
    from vault.core.admission import Admitted

_EXPORTED: Final = ("Booster", "LGBMModel")


class LightGbmModel:
    """A loaded LightGBM model with the interface of a scikit-learn estimator.

    Attributes: `booster` (the `lightgbm.Booster`, which has everything else:
    importances, trees, SHAP by `pred_contrib`), `n_features_in_`,
    `feature_names_in_` (only where the model was trained on named features),
    `classes_` (only for classifiers).
    """

    def __init__(self, booster: Any, *, classes: Sequence[Any] | None = None) -> None:
        """Wrap a booster; `classes` are a classifier's labels, which LightGBM's file does not hold."""
        import numpy as np

        self.booster = booster
        names = booster.feature_name()
        self.n_features_in_ = len(names)
        self._names = None if names == [f"Column_{index}" for index in range(len(names))] else names
        if self._names is not None:
            self.feature_names_in_ = np.asarray(self._names, dtype=object)
        if classes is not None:
            self.classes_ = np.asarray(classes)

    def predict(self, X: Any, **options: Any) -> Any:  # noqa: N803 (scikit-learn's own name)
        """Predict for each row of `X` (DataFrame or array): a classifier's label, or what the booster says.

        `options` go to `Booster.predict` (`num_threads=1`, `pred_contrib=True`, `raw_score=True`).

        Raises:
            FeatureMismatch: other features, or in another order, than the model was trained on.
        """
        result = self._run(X, options)
        special = any(options.get(name) for name in ("pred_leaf", "pred_contrib", "raw_score"))
        if not hasattr(self, "classes_") or special:
            return result
        return self.classes_[_probabilities(result).argmax(axis=1)]

    @property
    def predict_proba(self) -> "Callable[..., Any]":
        """Predict each class's probability: a function from rows to (rows, classes), ordered as `classes_`.

        Raises:
            AttributeError: the model is not a classifier, so that `hasattr` says so, as in scikit-learn.
            FeatureMismatch: when it is called, as `predict`.
        """
        if not hasattr(self, "classes_"):
            raise AttributeError("This LightGBM model has no classes: it is not a classifier.")
        return lambda X, **options: _probabilities(self._run(X, options))  # noqa: N803

    def __repr__(self) -> str:
        """Name the numbers of trees and features."""
        return f"LightGbmModel(trees={self.booster.num_trees()}, features={self.n_features_in_})"

    def _run(self, table: Any, options: dict[str, Any]) -> Any:
        columns = getattr(table, "columns", None)
        if columns is not None and self._names is not None:
            # LightGBM keeps names with underscores for blanks.
            given = [str(name).replace(" ", "_") for name in columns]
            if given != self._names:
                raise FeatureMismatch(
                    "The features are not those the model was trained on, in that order.",
                    hint="load_package(…).align(frame) puts them in order.",
                )
        return self.booster.predict(table, **options)


def takes(model: Any) -> bool:
    """Tell whether `model` is a booster or an estimator of LightGBM, without importing LightGBM."""
    return any(
        base.__name__ in _EXPORTED and base.__module__.partition(".")[0] == "lightgbm"
        for base in type(model).__mro__
    )


def dump(model: Any, classes: Sequence[Any] | None) -> tuple[bytes, LightGbmModel]:
    """Write a booster or an estimator as LightGBM's text; return the bytes and the model they give back.

    Of a model that stopped early, the iterations up to the best are kept, as
    LightGBM itself does. `classes` are the labels as they will be recorded.

    Raises:
        ValueError: it is no LightGBM model, is not fitted, has labels that cannot be recorded or an
            objective that is a function of a classifier, or makes a file that is refused.
        MissingLibrary: LightGBM is not installed.
    """
    if not takes(model):
        raise ValueError(f"{type(model).__name__} is no LightGBM model.")
    booster = model if hasattr(model, "model_to_string") else getattr(model, "booster_", None)
    if booster is None:
        raise ValueError(f"This {type(model).__name__} is not fitted yet.")
    if hasattr(model, "classes_") and classes is None:
        raise ValueError("The classifier's labels cannot be recorded beside the file.")
    data: bytes = booster.model_to_string().encode("utf-8")
    try:
        found = lightgbm_text.check(data)
    except Refused as refusal:
        raise ValueError(f"LightGBM wrote a file that is not loaded: {refusal.message}") from refusal
    if classes is not None and not found.objective:
        raise ValueError("A classifier whose objective is a function cannot be brought back.")
    return data, restore(data, classes=classes, subject="the model")


def load(admitted: "Admitted", *, classes: Sequence[Any] | None = None) -> LightGbmModel:
    """Run a LightGBM file whose static stage has passed.

    Raises:
        FormatRefused: LightGBM refuses the file, or the labels do not fit it.
        MissingLibrary: LightGBM is not installed.
        TypeError: `admitted` does not come from the admission.
    """
    from vault.core.admission import Admitted

    if type(admitted) is not Admitted:
        raise TypeError("A loader takes an Admitted value only.")
    return restore(admitted.data, classes=classes, subject=admitted.subject)


def restore(data: bytes | memoryview, *, classes: Sequence[Any] | None, subject: str) -> LightGbmModel:
    """Run a LightGBM file from bytes that were checked.

    Raises:
        FormatRefused, MissingLibrary: see `load`.
    """
    lightgbm = _lightgbm()
    try:
        booster = lightgbm.Booster(model_str=str(data, "utf-8"))
    except Exception as error:  # whatever its reader and its Python half raise
        raise _refused(f"LightGBM does not read it: {_first_line(error)}", subject) from None
    groups = max(2, booster.num_model_per_iteration())
    if classes is not None and len(classes) != groups:
        raise _refused(f"it has {groups} classes, and {len(classes)} labels were recorded", subject)
    return LightGbmModel(booster, classes=classes)


def _probabilities(result: Any) -> Any:
    """Give each class a column; a binary model gives the second's only."""
    import numpy as np

    return result if result.ndim == 2 else np.vstack((1.0 - result, result)).transpose()


def _refused(what: str, subject: str) -> FormatRefused:
    return FormatRefused(
        f"{subject} could not be restored: {what}.",
        code="format-content",
        subject=subject,
        hint="Publish it again from a trusted copy.",
    )


def _first_line(error: Exception) -> str:
    text = str(error).strip().splitlines()
    return f"{type(error).__name__}: {text[0][:200]}" if text else type(error).__name__


def _lightgbm() -> Any:
    try:
        import lightgbm
    except ModuleNotFoundError:
        raise MissingLibrary(
            "LightGBM models need LightGBM.",
            hint="Install it: pip install 'model-artifact-vault[lightgbm]'",
        ) from None
    return lightgbm
