"""Static stage: what a file mentions, found without running any code of its format (docs/format.md).

The dispatch from a format to its walker, the comparison with what was pinned
at publishing, and the operator's own allowance.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Final

from vault.core import (
    formats,
    lightgbm_text,
    limits,
    npy,
    onnx_walk,
    pins,
    safetensors_header,
    skops_types,
    skops_walk,
    strict_json,
    xgboost_model,
    zip_reader,
)
from vault.core.allowance import Allowance
from vault.core.pickle_globals import DEFAULT_PICKLE_GLOBALS
from vault.errors import FormatRefused, Malformed

# Distributions whose version decides whether a saved object means the same here.
_BEHIND: Final[Mapping[str, tuple[str, ...]]] = {
    formats.SKOPS: ("scikit-learn",),
    formats.JOBLIB: ("joblib", "numpy", "scikit-learn", "scipy"),
    formats.PICKLE: ("numpy", "scikit-learn", "scipy"),
    formats.LIGHTGBM: ("lightgbm",),
    formats.XGBOOST: ("xgboost",),
    formats.KERAS: ("keras", "tensorflow"),
    formats.SAVEDMODEL: ("tensorflow",),
}


def observe(format: str, data: bytes | memoryview, allowance: Allowance, subject: str) -> frozenset[str]:
    """Walk a file of a known format and give what it mentions: types, globals or foreign domains.

    Raises:
        FormatRefused: `format-content`: something is in it that may never be there.
        PickleRefused: a pickle does something that the gate does not permit.
        Malformed: a damaged archive or JSON text.
    """
    with _told_of(subject):
        return _observe(format, data, allowance, subject)


def _observe(format: str, data: bytes | memoryview, allowance: Allowance, subject: str) -> frozenset[str]:
    if format == formats.ONNX:
        domains = onnx_walk.STANDARD_DOMAINS | allowance.onnx_domains
        return onnx_walk.walk(data, domains=domains, subject=subject).domains - onnx_walk.STANDARD_DOMAINS
    if format == formats.SKOPS:
        return frozenset(skops_walk.walk(data, subject=subject).pins)
    if format == formats.NPZ:
        npy.check_archive(zip_reader.open_archive(data), subject=subject)
    elif format == formats.NPY:
        npy.parse_header(data, size=len(data), subject=subject)
    elif format == formats.SAFETENSORS:
        safetensors_header.check(data, subject=subject)
    elif format == formats.LIGHTGBM:
        lightgbm_text.check(data, subject=subject)
    elif format == formats.XGBOOST:
        xgboost_model.check(data, subject=subject)
    elif format == formats.JSON:
        strict_json.parse(data, limit=limits.DATA_JSON_BYTES, floats=True, canonical=False, subject=subject)
    elif format == formats.SAVEDMODEL:
        from vault.core import savedmodel_walk

        return savedmodel_walk.walk(data, subject=subject).operators
    elif format == formats.KERAS:
        from vault.core import keras_walk

        return keras_walk.walk(data, subject=subject).classes
    elif format in formats.PICKLE_BASED:
        from vault.core import pickle_trace

        joblib = format == formats.JOBLIB
        return frozenset(pickle_trace.trace(data, joblib=joblib, subject=subject).pins)
    return frozenset()


@contextmanager
def _told_of(subject: str) -> Iterator[None]:
    """Name the file where a container reader, which knows only bytes, refused it."""
    try:
        yield
    except Malformed as error:
        if error.subject == subject:
            raise
        raise Malformed(
            f"{subject}: {error.message}", code=error.code, subject=subject, hint=error.hint
        ) from None


def check(
    path: str,
    format: str,
    data: memoryview,
    pinned: frozenset[str],
    allowance: Allowance,
    subject: str,
) -> None:
    """Steps 9 and 10: the three names of the format agree, and nothing exceeds pins or allowance.

    Raises:
        FormatRefused: `format-refused`, `format-content`, `pins-mismatch` or `not-allowed`.
        PickleRefused, Malformed: see `observe`.
    """
    with _told_of(subject):
        formats.check(path, format, data)
    check_allowed(format, allowance, subject)
    observed = observe(format, data, allowance, subject)
    permitted = {
        # Their walks let through nothing but what this release ships as harmless.
        formats.KERAS: observed,
        formats.SAVEDMODEL: observed,
        formats.ONNX: allowance.onnx_domains,
        formats.SKOPS: skops_types.DEFAULT_SKOPS_TYPES | allowance.skops_types,
        formats.JOBLIB: DEFAULT_PICKLE_GLOBALS | allowance.pickle_globals,
        formats.PICKLE: DEFAULT_PICKLE_GLOBALS | allowance.pickle_globals,
    }
    pins.check_pins(observed, pinned, permitted.get(format, frozenset()), subject=subject)


def check_pulled(path: str, format: str, data: memoryview, subject: str) -> None:
    """Step 9 for what is only pulled: content that can run code was declared as what it is.

    Raises:
        FormatRefused: it was declared as something else, so that no rule about its format saw it.
    """
    try:
        found = formats.detect(data)
    except Malformed:
        return  # a damaged archive: nothing opens it
    if formats.FORMATS[found].needs_allowance:
        try:
            formats.check(path, format, data)
        except FormatRefused as refusal:
            raise FormatRefused(f"{subject}: {refusal.message}", subject=subject, hint=refusal.hint) from None


def check_allowed(format: str, allowance: Allowance, subject: str) -> None:
    """Refuse a format that can run code unless the operator named it.

    Raises:
        FormatRefused: `format-refused`.
    """
    if formats.FORMATS[format].needs_allowance and format not in allowance.formats:
        kind = (
            "a pickle, which is a program"
            if format in formats.PICKLE_BASED
            else f"{format}, which can run code"
        )
        raise FormatRefused(
            f"{subject} is {kind}.",
            subject=subject,
            hint=f"Save it as skops or onnx. To allow it on this machine: allow={{'formats': ['{format}']}}, "
            f'or formats = ["{format}"] under [allow] in config.toml.',
        )


def library_differences(format: str, saved: Mapping[str, str], here: Mapping[str, str]) -> tuple[str, ...]:
    """Say where the libraries behind a format differ from those it was saved with."""
    return tuple(
        f"{name} {saved[name]}, here {here.get(name, 'none')}"
        for name in _BEHIND.get(format, ())
        if name in saved and saved[name] != here.get(name)
    )


def check_libraries(
    format: str, saved: Mapping[str, str], here: Mapping[str, str], *, strict: bool, subject: str
) -> None:
    """Refuse other library versions for pickle-based formats, and for all where the environment is strict.

    Raises:
        FormatRefused: `libraries-differ`.
    """
    different = library_differences(format, saved, here)
    if different and (strict or format in formats.PICKLE_BASED):
        older = [entry.partition(",")[0] for entry in different]
        install = older[0].rpartition(" ")[2] if len(older) == 1 else ", ".join(older)
        raise FormatRefused(
            f"Saved with {'; '.join(different)}.",
            code="libraries-differ",
            subject=subject,
            hint=f"Install {install}, or test: mvault load-test {subject.partition(' ')[0]} --against here",
        )
