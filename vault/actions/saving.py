"""Save a live model: choose its format by the ladder, prove parity, record what people will ask for."""

import math
import os
from collections.abc import Iterable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path as FilePath
from typing import Any

from vault.actions import auditing, needed, parentage, provenance, writing
from vault.actions.parentage import Named
from vault.actions.publish import BytesSource, Contents, PackageFile, publish
from vault.actions.session import Session
from vault.core import formats, limits, names, strict_json
from vault.core.names import Model, Reference, Version
from vault.core.strict_json import JSONValue
from vault.errors import FormatRefused, Malformed
from vault.loaders import parity

SAMPLE_ROWS = 5_000
_TEXT = 2_000


@dataclass(frozen=True, slots=True)
class Description:
    """What a caller tells of a model beside the model itself; see `Vault.save_model`."""

    sample_input: Any = None
    training_data: Any = None
    metrics: Mapping[str, float] | None = None
    params: Mapping[str, Any] | None = None
    artifacts: Mapping[str, Any] | None = None
    notes: str | None = None
    tags: Sequence[str] = ()
    parents: Sequence[Named] = ()
    bump: str | None = None
    requirements: str | os.PathLike[str] | None = None
    documents: bool = False


def save(
    session: Session,
    name: Model,
    model: Any,
    version: Version | None,
    described: Description,
    *,
    format: str,
    also: str | None,
    tolerance: float,
) -> Reference:
    """Package a live model by the ladder and publish it.

    Raises:
        ValueError: it cannot be saved in the format asked for, or the saved form predicts otherwise.
        FormatRefused: only a pickle would hold it, and not every party allows that.
        AccessDenied, Conflict, Unavailable, NoUsableKey.
    """
    with auditing.acting(session, "publish", str(name), session.environment, model=name, version=version):
        parents = parentage.resolve(session, described.parents)
        with session.one_by_one:
            saver = _Saver(session, model, described, tolerance)
            saver.add_model(format)
            if also is not None and also != saver.files[0].format:
                saver.add_model(also)
            saver.add_artifacts(described.artifacts or {})
            saver.add_sample()
            contents = Contents(
                saver.files,
                saver.info(),
                provenance.libraries(),
                parents=parents,
                bump=described.bump,
                documents=described.documents,
            )
        return publish(session, name, version, contents)


class _Saver:
    def __init__(self, session: Session, model: Any, described: Description, tolerance: float) -> None:
        self._session = session
        self._model = model
        self._described = described
        self._tolerance = tolerance
        self._features = feature_names(model, described.sample_input) or _named(described.artifacts)
        self._rows: Any = None
        self._predictor: Any = None
        self._expected: dict[str, Any] = {}
        self._parity: dict[str, JSONValue] = {}
        self.files: list[PackageFile] = []
        if described.sample_input is not None:
            self._rows = parity.widen(described.sample_input)
            self._predictor = writing.predictor(model)
            self._expected = parity.outputs(self._predictor, self._rows)

    # --- the model ---

    def add_model(self, wanted: str) -> None:
        """Write the model in one format and compare it with the live one."""
        if wanted == "auto":
            wanted = writing.natural(self._model)
            try:
                self._add(wanted)
            except ValueError as error:
                wanted = writing.otherwise(self._model)
                self._only_if_allowed(wanted, str(error))
                self._add(wanted)
            return
        if wanted in formats.FORMATS and formats.FORMATS[wanted].needs_allowance:
            self._only_if_allowed(wanted, f"{wanted} was asked for")
        self._add(wanted)

    def _only_if_allowed(self, kind: str, why: str) -> None:
        """Go on to a format that can run code only where the policy and this caller name it.

        Raises:
            FormatRefused: one of them does not.
        """
        if kind in self._formats() and kind in self._session.allowance.formats:
            return
        program = "a pickle, which is a program"
        what = program if kind in formats.PICKLE_BASED else f"{kind}, which can run code"
        raise FormatRefused(
            f"{type(self._model).__name__} would have to be {what} ({why}).",
            subject=type(self._model).__name__,
            hint="Give format='onnx' if it can be converted. Such a file is packaged only where the policy "
            f"lists {kind} for this environment and the caller says allow={{'formats': ['{kind}']}}.",
        )

    def _formats(self) -> Sequence[str]:
        return self._session.trust().policy.environments[self._session.environment].formats

    def _add(self, kind: str) -> None:
        if kind in writing.WRITERS and kind not in self._formats():
            environment = self._session.environment
            raise FormatRefused(
                f"{type(self._model).__name__} would be saved as {kind}, and {environment} allows "
                f"{', '.join(self._formats()) or 'nothing'}.",
                subject=type(self._model).__name__,
                hint=f"Name another format=, or have {kind} added to the policy's formats for {environment}.",
            )
        live = writing.Live(
            self._model,
            self._described.sample_input,
            self._features,
            class_labels(self._model),
            self._session.allowance,
        )
        written = writing.write(kind, live)
        path = writing.path(kind)
        if written.restored is not None and self._rows is not None:
            self._compare(kind, written.restored)
        self._put(path, "model", kind, written.data, written.pins)
        for inner, data in written.beside.items():
            self._put(names.path(f"{path.rpartition('/')[0]}/{inner}"), "file", formats.DATA, data, ())

    def _compare(self, kind: str, restored: Any) -> None:
        found = parity.compare(self._expected, parity.outputs(restored, self._rows))
        if found.differing > self._tolerance:
            raise ValueError(
                f"The {kind} form predicts otherwise for {found.differing:.2%} of {found.rows:,} rows. "
                f"Use another format, or accept it: tolerance={found.differing:.4g}."
            )
        self._parity[kind] = {
            "differing": found.differing,
            "rows": found.rows,
            "weak": found.weak,
        }

    # --- what travels with it ---

    def add_artifacts(self, artifacts: Mapping[str, Any]) -> None:
        """Write objects by the ladder, lists and dicts as JSON, arrays and tables as npz, weights as such."""
        for name, value in artifacts.items():
            role = "features" if name == "features" else "artifact"
            kind = writing.natural(value)
            if kind in (formats.SKOPS, formats.NPZ) and isinstance(value, list | tuple | dict | str):
                self._put(_artifact_path(name, ".json"), role, formats.JSON, _json(name, value), ())
            elif hasattr(value, "iloc") or type(value).__name__ == "ndarray":
                from vault.loaders import arrays

                self._put(_artifact_path(name, ".npz"), role, formats.NPZ, arrays.dump_sample(value), ())
            else:
                written = writing.write(kind, writing.Live(value, allowance=self._session.allowance))
                role = "preprocessor" if hasattr(value, "transform") else role
                path = _artifact_path(name, formats.FORMATS[kind].extensions[0])
                self._put(path, role, kind, written.data, written.pins)

    def add_sample(self) -> None:
        """Keep the sample and what the live model says about it."""
        sample = self._described.sample_input
        if sample is None or not self._expected:
            return
        from vault.loaders import arrays

        several = isinstance(sample, Mapping)  # a model of several inputs, by their names
        kept = {k: rows[:SAMPLE_ROWS] for k, rows in sample.items()} if several else sample[:SAMPLE_ROWS]
        try:
            data = arrays.dump_arrays(kept) if several else arrays.dump_sample(kept)
            self._put(names.path("sample.npz"), "sample", formats.NPZ, data, ())
            for method, values in parity.outputs(self._predictor, kept).items():
                path = names.path(f"sample.{method}.npz")
                self._put(path, "sample", formats.NPZ, arrays.dump_sample(values), ())
        except ValueError as error:
            raise ValueError(f"The sample cannot be kept: {error}") from error

    def _put(self, path: names.Path, role: str, kind: str, data: bytes, pins: Iterable[str]) -> None:
        self.files.append(
            PackageFile(path, role, kind, lambda: nullcontext(BytesSource(data)), tuple(sorted(pins)))
        )

    # --- metadata ---

    def info(self) -> dict[str, JSONValue]:
        """Collect what is recorded without being asked, and what the caller told."""
        described = self._described
        model = self._model
        parameters: Mapping[str, Any] = (
            model.get_params() if hasattr(model, "get_params") and not isinstance(model, type) else {}
        )
        classes = class_labels(model)
        return {
            **provenance.describe(FilePath.cwd(), self._session.provenance),
            "classes": None if classes is None else [*classes],
            "estimator": f"{type(model).__module__}.{type(model).__qualname__}",
            "features": None if self._features is None else [*self._features],
            "metrics": {str(key): _number(key, value) for key, value in (described.metrics or {}).items()},
            "notes": described.notes,
            "parameters": {key: _plain(value) for key, value in parameters.items()},
            "params": {str(key): _plain(value) for key, value in (described.params or {}).items()},
            "parity": self._parity,
            "requirements": needed.record(
                [(file.format, file.pins) for file in self.files],
                table=hasattr(described.sample_input, "iloc"),
                given=described.requirements,
            ),
            "saved": self._session.now(),
            "steps": _steps(model),
            "tags": [str(tag) for tag in described.tags],
            **provenance.training(described.training_data),
        }


def feature_names(model: Any, sample: Any) -> list[str] | None:
    """Give the names that the model was trained on, or those of the sample's columns."""
    found = getattr(model, "feature_names_in_", None)
    if found is None:
        found = getattr(sample, "columns", None)
    return None if found is None else [str(name) for name in found]


def _named(artifacts: Mapping[str, Any] | None) -> list[str] | None:
    """Give the artifact `features` where it is a list of names."""
    found = (artifacts or {}).get("features")
    if isinstance(found, list | tuple) and found and all(isinstance(name, str) for name in found):
        return list(found)
    return None


def class_labels(model: Any) -> list[Any] | None:
    """Give a classifier's labels in the order of its probabilities, as JSON holds them."""
    found = getattr(model, "classes_", None)
    if found is None or not hasattr(found, "tolist"):
        return None
    labels = found.tolist()
    return labels if all(isinstance(label, bool | int | float | str) for label in labels) else None


def _artifact_path(name: str, extension: str) -> names.Path:
    try:
        return names.path(f"artifacts/{name}{extension}")
    except Malformed as error:
        raise ValueError(error.message) from None


def _json(name: str, value: Any) -> bytes:
    try:
        return strict_json.encode(_jsonable(value))
    except (TypeError, ValueError) as error:
        raise ValueError(f"The artifact {name!r} cannot be written as JSON: {error}") from None


def _jsonable(value: Any) -> JSONValue:
    if isinstance(value, dict):
        return {str(key): _jsonable(entry) for key, entry in value.items()}
    if isinstance(value, list | tuple):
        return [_jsonable(entry) for entry in value]
    if (hasattr(value, "item") and not hasattr(value, "shape")) or getattr(value, "shape", None) == ():
        value = value.item()
    if value is None or isinstance(value, bool | int | float | str):
        return value
    raise TypeError(f"{type(value).__name__} is neither text, number, list nor dict")


def _plain(value: Any) -> JSONValue:
    """Keep what JSON holds; describe everything else in a bounded text."""
    if value is None or isinstance(value, bool | str):
        return value if not isinstance(value, str) else value[:_TEXT]
    if isinstance(value, int) and abs(value) < 10**limits.JSON_INT_DIGITS:
        return value
    if isinstance(value, float) and math.isfinite(value):
        return value
    return repr(value)[:_TEXT].encode("utf-8", "replace").decode("utf-8")


def _number(name: object, value: Any) -> float | str:
    number = float(value)
    return number if math.isfinite(number) else str(number)


def _steps(model: Any) -> list[JSONValue] | None:
    steps = getattr(model, "steps", None)
    if not isinstance(steps, list):
        return None
    return [{"name": str(name), "type": type(step).__name__} for name, step in steps]
