"""Tamper with each array and number of fitted estimators, and see that none of it kills the process.

    python -m tests.estimators.tampering [NAME …]

Compiled predictors trust what they find in a model. Each mutant is made in a
fork of this process, checked by `native_state` as a load does, and asked for
its outputs. An exception is fine there, and so is a wrong answer: who signs a
model decides what it says. What ends the fork by a signal is printed, one JSON
list a line: case, path, number of the mutant, signal.
"""

import contextlib
import faulthandler
import json
import os
import resource
import signal
import sys
from collections.abc import Iterable, Iterator
from typing import Any, Final

import numpy as np

from tests.estimators import corpus
from vault.core import native_state

# What a memory error, a broken heap, a division by zero and an assertion of C code look like.
CRASHES: Final = frozenset(
    {signal.SIGABRT, signal.SIGBUS, signal.SIGFPE, signal.SIGILL, signal.SIGSEGV, signal.SIGTRAP}
)
SECONDS: Final = 10
MEMORY: Final = 4 << 30
_DEPTH: Final = 6
_NUMBERS: Final = (0, -7, 100_000, 2**31 - 1, 2**40)
_FLOATS: Final = (float("nan"), -1e300, 1e300, 0.0)
# Other values of text that chooses which compiled code is called.
_CHOICES: Final = {
    "_fit_method": ("brute", "kd_tree", "ball_tree"),
    "algorithm": ("brute", "kd_tree", "elkan"),
    "effective_metric_": ("haversine", "precomputed", "minkowski", "jaccard"),
    "kernel": ("precomputed", "poly", "rbf"),
    "metric": ("haversine", "precomputed", "jaccard"),
}

Path = tuple[tuple[str, Any], ...]


def paths(item: Any) -> Iterator[Path]:
    """Walk over attributes and containers; give the path of each array, number and choice."""
    return _paths(item, (), set(), 0)


def _paths(item: Any, path: Path, seen: set[int], depth: int) -> Iterator[Path]:
    if id(item) in seen or depth > _DEPTH:
        return
    seen.add(id(item))
    for key, value in _parts(item):
        if _is_leaf(key[1], value):
            yield (*path, key)
        elif not isinstance(value, str | float | bool | type(None) | np.generic | np.ndarray) or (
            isinstance(value, np.ndarray) and value.dtype.hasobject
        ):
            yield from _paths(value, (*path, key), seen, depth + 1)


def _parts(item: Any) -> Iterator[tuple[tuple[str, Any], Any]]:
    attributes = getattr(item, "__dict__", None)
    if isinstance(attributes, dict):
        yield from ((("attribute", name), value) for name, value in attributes.items())
    if isinstance(item, dict):
        yield from ((("item", key), value) for key, value in item.items())
    if isinstance(item, list):
        yield from ((("item", index), value) for index, value in enumerate(item[:3]))
    if isinstance(item, np.ndarray) and item.dtype.hasobject:
        yield from ((("flat", index), value) for index, value in enumerate(item.ravel()[:3]))


def _is_leaf(name: Any, value: Any) -> bool:
    if isinstance(value, np.ndarray):
        return not value.dtype.hasobject and value.size > 0
    if isinstance(value, str):
        return name in _CHOICES
    return isinstance(value, int | float | np.integer | np.floating) and not isinstance(value, bool)


def mutants(name: Any, value: Any) -> Iterator[Any]:
    """Give other values in the place of one: shorter, longer, out of range, of another type."""
    if isinstance(value, str):
        yield from (choice for choice in _CHOICES[name] if choice != value)
    elif isinstance(value, int | np.integer):
        for number in _NUMBERS:
            limits = np.iinfo(value.dtype) if isinstance(value, np.integer) else None
            if limits is None or limits.min <= number <= limits.max:
                yield type(value)(number)
    elif not isinstance(value, np.ndarray):
        yield from map(type(value), _FLOATS)
    else:
        yield from _arrays(value if value.ndim else value.reshape(1))


def _arrays(array: Any) -> Iterator[Any]:
    yield array[:1].copy()
    yield array[:0].copy()
    yield np.repeat(array, 50, axis=0)
    if array.ndim > 1:
        yield np.ascontiguousarray(array[:, :1])
        yield np.ascontiguousarray(np.repeat(array, 50, axis=1))
        yield array.ravel()
    if array.dtype.kind in "iu":
        limits = np.iinfo(array.dtype)
        yield np.full_like(array, min(1_000_000_000, limits.max))
        yield np.full_like(array, max(-1_000_000, limits.min))
        yield array.astype(np.float64)
    if array.dtype.kind == "f":
        yield array.astype(np.float32)
        yield np.full_like(array, np.nan)
        yield np.full_like(array, 1e300)


def _get(item: Any, path: Path) -> Any:
    for how, name in path:
        item = getattr(item, name) if how == "attribute" else (item if how == "item" else item.ravel())[name]
    return item


def _put(item: Any, path: Path, value: Any) -> None:
    holder, (how, name) = _get(item, path[:-1]), path[-1]
    if how == "attribute":
        vars(holder)[name] = value
    elif how == "item":
        holder[name] = value
    else:
        holder.ravel()[name] = value


def crash(case: corpus.Case, path: Path, values: Iterable[Any]) -> int:
    """Put values in one place in a fork, check the model each time, and use it: what signal ends it, or 0."""
    child = os.fork()
    if child == 0:
        try:
            _use(case, path, values)
        finally:
            os._exit(0)
    _, status = os.waitpid(child, 0)
    ended = os.WTERMSIG(status) if os.WIFSIGNALED(status) else 0
    return ended if ended in CRASHES else 0


def _use(case: corpus.Case, path: Path, values: Iterable[Any]) -> None:
    faulthandler.disable()
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 1)
    os.dup2(nowhere, 2)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    signal.signal(signal.SIGALRM, _late)
    for value in values:
        signal.alarm(SECONDS)
        with contextlib.suppress(Exception):
            _put(case.estimator, path, value)
            native_state.check(case.estimator)
            corpus.outputs(case.estimator, case.inputs)


def _late(number: int, frame: object) -> None:
    raise TimeoutError


def crashes(case: corpus.Case) -> Iterator[tuple[str, str, int, int]]:
    """Try every mutant of a case, those of one place in one fork; look closer where that crashes."""
    for path in list(paths(case.estimator)):
        values = list(mutants(path[-1][1], _get(case.estimator, path)))
        if not crash(case, path, values):
            continue
        for number, value in enumerate(values):
            if ended := crash(case, path, [value]):
                yield case.name, ".".join(str(name) for _, name in path), number, ended


def main(names: list[str]) -> None:
    """Print what crashes among the cases of those names, or of all."""
    tried = 0
    for case in map(corpus.case, names or corpus.names()):
        tried += 1
        for found in crashes(case):
            print(json.dumps(found), flush=True)
    print(json.dumps(tried))


if __name__ == "__main__":
    main(sys.argv[1:])
