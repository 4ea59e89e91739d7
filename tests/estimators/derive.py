"""Derive the allowances that are shipped from what scikit-learn's own fitted estimators mention.

`python -m tests.estimators.derive` fits the corpus, traces every pickle and
skops file of it, and writes `vault/core/pickle_allowance.py`,
`vault/core/skops_allowance.py`, and `vault/core/estimator_allowance.py` with what
both allow. It refuses to write a name that nobody reviewed.
"""

import importlib
import io
import pickle
import sys
import textwrap
from collections.abc import Iterable, Iterator, Mapping
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Final

from tests.estimators.corpus import cases
from tests.estimators.review import EXCLUDED, REVIEWED
from vault.core import pickle_trace, pins, skops_walk
from vault.errors import Refused

CORE: Final = Path(__file__).resolve().parent.parent.parent / "vault" / "core"
PROTOCOLS: Final = (3, 4, 5)
_PLAIN: Final = "Classes in Python whose instances are attributes and no more."
_BOTH: Final = "estimator_allowance"
_WIDTH: Final = 110
_HEAP_TYPE: Final = 1 << 9  # Py_TPFLAGS_HEAPTYPE: made by a class statement, or by an extension that says so
# A class with one of these does something when it is restored, called, or looked into.
_ACTIVE: Final = frozenset(
    f"__{name}__"
    for name in (
        *("call", "del", "getattr", "getattribute", "new", "reduce", "reduce_ex"),
        *("setattr", "setstate", "slots"),
    )
)


class Unreviewed(Exception):
    """A name is neither a plain class nor decided about in `review.py`."""


@dataclass(frozen=True, slots=True)
class Allowance:
    """A derived list: plain classes, names that were reviewed, and those left out with the reason."""

    plain: tuple[str, ...]
    reviewed: tuple[str, ...]
    left_out: Mapping[str, str]

    @property
    def names(self) -> frozenset[str]:
        """Return what is allowed."""
        return frozenset(self.plain) | frozenset(self.reviewed)


def written(estimator: Any) -> Iterator[tuple[str, bytes]]:
    """Write an estimator as a pickle in every protocol and as a joblib file: container and bytes."""
    import joblib

    for protocol in PROTOCOLS:
        yield "pickle", pickle.dumps(estimator, protocol=protocol)
    buffer = io.BytesIO()
    joblib.dump(estimator, buffer)
    yield "joblib", buffer.getvalue()


@cache
def pickle_names() -> frozenset[str]:
    """Trace the whole corpus; return the globals that its pickles name.

    Where the tracer refuses, what it met up to there counts only if it is left out anyway.
    """
    found: set[str] = set()
    for case in cases():
        for container, data in written(case.estimator):
            tracer = pickle_trace.Tracer(joblib=container == "joblib")
            try:
                pickle_trace.trace_with(tracer, data)
                found |= tracer.globals
            except Refused:
                found |= tracer.globals & set(EXCLUDED["pickle"])
    return frozenset(found | {name.replace("numpy._core.", "numpy.core.", 1) for name in found})


@cache
def skops_names() -> frozenset[str]:
    """Walk the whole corpus as skops files; return the types and functions to pin."""
    import skops.io
    from skops.io.exceptions import UnsupportedTypeException

    found: set[str] = set()
    for case in cases():
        try:
            found.update(skops_walk.walk(skops.io.dumps(case.estimator)).pins)
        except (UnsupportedTypeException, Refused):
            continue  # such an estimator is not loaded from skops; docs/estimators.md says why
    return frozenset(found)


def decide(names: Iterable[str], kind: str) -> Allowance:
    """Sort the names in files of one kind, `pickle` or `skops`, into what is allowed and what is not.

    Raises:
        Unreviewed: a name that only a person can decide about.
    """
    plain, reviewed, open_questions = [], [], []
    left_out: dict[str, str] = {}
    for name in sorted(names):
        counterpart = name.replace("numpy.core.", "numpy._core.", 1)
        if name in EXCLUDED[kind]:
            left_out[name] = EXCLUDED[kind][name]
        elif pins.is_forbidden(name):
            left_out[name] = "never loaded: see pins.py"
        elif counterpart in REVIEWED:
            reviewed.append(name)
        elif is_plain(name):
            plain.append(name)
        else:
            open_questions.append(name)
    if open_questions:
        raise Unreviewed(f"Decide about these in review.py: {', '.join(open_questions)}")
    return Allowance(tuple(plain), tuple(reviewed), left_out)


def is_plain(name: str) -> bool:
    """Tell whether a name is a Python class of scikit-learn whose instances are attributes and no more."""
    module, _, attribute = name.rpartition(".")
    found = getattr(importlib.import_module(module), attribute, None)
    if not isinstance(found, type) or not module.startswith("sklearn."):
        return False
    for base in found.__mro__:
        if base is object or base.__module__ in ("abc", "typing"):
            continue
        source = getattr(sys.modules[base.__module__], "__file__", None) or ""
        if not base.__flags__ & _HEAP_TYPE or not source.endswith(".py"):
            return False
        restores = f"{base.__module__}.{base.__qualname__}" == "sklearn.base.BaseEstimator"
        if _ACTIVE & set(vars(base)) - ({"__setstate__"} if restores else set()):
            return False
    return True


def versions() -> str:
    """Name the libraries that the corpus was fitted with, as far as their files depend on it."""
    found = []
    for package, name in (
        ("sklearn", "scikit-learn"),
        ("numpy", "NumPy"),
        ("scipy", "SciPy"),
        ("skops", "skops"),
    ):
        found.append(f"{name} {'.'.join(importlib.import_module(package).__version__.split('.')[:2])}")
    return ", ".join(found)


def modules() -> Mapping[Path, str]:
    """Return the generated modules: path and text."""
    pickles, types = decide(pickle_names(), "pickle"), decide(skops_names(), "skops")
    both = pickles.names & types.names
    return {
        CORE / f"{_BOTH}.py": _head("names that pickles and skops files may use by default")
        + _text(_names_of_both(_among(pickles, both))),
        CORE / "pickle_allowance.py": _head("globals that pickles may name by default")
        + _text(_names_beyond(pickles, both, "DEFAULT_PICKLE_GLOBALS")),
        CORE / "skops_allowance.py": _head("types that skops files may name by default")
        + _text(_names_beyond(types, both, "DERIVED_SKOPS_TYPES")),
    }


def _among(allowance: Allowance, names: AbstractSet[str]) -> Allowance:
    plain = tuple(name for name in allowance.plain if name in names)
    reviewed = tuple(name for name in allowance.reviewed if name in names)
    return Allowance(plain, reviewed, allowance.left_out)


def _text(lines: Iterable[str]) -> str:
    return "\n".join(lines) + "\n"


def _head(what: str) -> str:
    return _text(
        [
            f'"""List the {what}. Generated: do not edit.',
            "",
            "`python -m tests.estimators.derive` fits scikit-learn's own estimators and collects what their",
            "files mention; `tests/estimators/review.py` holds what a person decided about it.",
            "",
            f"Derived with {versions()}.",
            '"""',
            "",
        ]
    )


def _names_of_both(allowance: Allowance) -> Iterator[str]:
    yield from (
        "from collections.abc import Mapping",
        "from typing import Final",
        "",
        f"# {_PLAIN}",
        "_PLAIN: Final[Mapping[str, str]] = {",
        *_by_module(allowance.plain),
        "}",
        "_REVIEWED: Final = frozenset(",
        "    [",
        *_by_reason(allowance.reviewed),
        "    ]",
        ")",
        "ESTIMATOR_NAMES: Final = _REVIEWED | frozenset(",
        '    f"{module}.{name}" for module, names in _PLAIN.items() for name in names.split()',
        ")",
    )


def _names_beyond(allowance: Allowance, both: AbstractSet[str], constant: str) -> Iterator[str]:
    """Write what one kind of file may name and the other may not."""
    more = _among(allowance, allowance.names - both)
    yield from (
        "from typing import Final",
        "",
        f"from vault.core.{_BOTH} import ESTIMATOR_NAMES",
        "",
        *_left_out(allowance.left_out),
        f"{constant}: Final = ESTIMATOR_NAMES | frozenset(",
        "    [",
    )
    if more.plain:
        yield f"        # {_PLAIN}"
        yield from (f'        "{name}",' for name in more.plain)
    yield from (*_by_reason(more.reviewed), "    ]", ")")


def _by_module(names: Iterable[str]) -> Iterator[str]:
    grouped: dict[str, list[str]] = {}
    for name in names:
        module, _, attribute = name.rpartition(".")
        grouped.setdefault(module, []).append(attribute)
    for module, attributes in sorted(grouped.items()):
        head = f'    "{module}": '
        parts = textwrap.wrap(" ".join(attributes), _WIDTH - len(head) - len('" ",'), break_on_hyphens=False)
        for index, part in enumerate(parts):
            last = index == len(parts) - 1
            yield f'{head if index == 0 else "    "}"{part}{"" if last else " "}"{"," if last else ""}'


def _by_reason(names: Iterable[str]) -> Iterator[str]:
    grouped: dict[str, list[str]] = {}
    for name in names:
        reason = REVIEWED[name.replace("numpy.core.", "numpy._core.", 1)]
        grouped.setdefault(reason, []).append(name)
    for reason in dict.fromkeys(REVIEWED.values()):
        if reason in grouped:
            yield f"        # {reason}"
            yield from (f'        "{name}",' for name in grouped[reason])


def _left_out(left_out: Mapping[str, str]) -> Iterator[str]:
    if left_out:
        yield "# Left out, although honest models mention them:"
        for name, reason in left_out.items():
            yield from textwrap.wrap(
                f"{name}: {reason}.", _WIDTH, initial_indent="# - ", subsequent_indent="#   "
            )


def main() -> None:
    """Write the modules and say how long they have become."""
    for path, text in modules().items():
        path.write_text(text, encoding="utf-8")
        print(f"{path.name}: {len(text.splitlines())} lines")


if __name__ == "__main__":
    main()
