"""Real models pass the gate: each in every protocol and container, with bit-identical outputs.

By default each estimator is written in one of the forms, by turns, so that
every form is met by a dozen of them; the whole product is slow.
"""

import io
import pickle
from collections import Counter
from collections.abc import Mapping
from typing import Any

import joblib
import pytest

from tests.estimators import corpus
from vault.core import pickle_trace, pins
from vault.core.pickle_globals import DEFAULT_PICKLE_GLOBALS
from vault.errors import Refused
from vault.loaders import pickle_gate

PROTOCOLS = (3, 4, 5)
CONTAINERS: tuple[Any, ...] = (0, ("zlib", 3), ("gzip", 3), ("bz2", 3), ("lzma", 3), ("xz", 3), ("lz4", 3))
FORMS: tuple[tuple[int, Any], ...] = (
    *((protocol, None) for protocol in PROTOCOLS),
    *((protocol, compress) for compress in CONTAINERS for protocol in PROTOCOLS),
)
# What is refused, and why: these restore what runs code of its own later.
REFUSED: Mapping[str, str] = {
    "HistGradientBoostingClassifier (categories)": "functools.partial",
    "HistGradientBoostingClassifier (mixed columns)": "functools.partial",
    "RandomizedSearchCV (over a distribution)": "a name is special",
}
LOADED = 0.95


def form_of(index: int) -> tuple[int, Any]:
    """Choose the form for the case at an index."""
    return FORMS[index % len(FORMS)]


def written(estimator: Any, protocol: int, compress: Any) -> tuple[bytes, bool]:
    """Write a pickle where `compress` is None, else a joblib file; tell which."""
    if compress is None:
        return pickle.dumps(estimator, protocol), False
    buffer = io.BytesIO()
    joblib.dump(estimator, buffer, compress=compress, protocol=protocol)
    return buffer.getvalue(), True


def through(case: corpus.Case, protocol: int, compress: Any) -> Any:
    """Write, trace, compare with the shipped allowance, and restore."""
    data, is_joblib = written(case.estimator, protocol, compress)
    observed = pickle_trace.trace(data, joblib=is_joblib, subject=case.name).globals
    usable = pins.check_pins(observed, observed, DEFAULT_PICKLE_GLOBALS, subject=case.name)
    return pickle_gate.restore(data, usable, joblib=is_joblib, subject=case.name)


def check(case: corpus.Case, forms: list[tuple[int, Any]]) -> None:
    """Compare what comes through with the original, or see it refused with a reason."""
    expected = corpus.outputs(case.estimator, case.inputs)
    for protocol, compress in forms:
        if case.name in REFUSED:
            with pytest.raises(Refused) as caught:
                through(case, protocol, compress)
            assert caught.value.hint
        else:
            found = corpus.outputs(through(case, protocol, compress), case.inputs)
            assert not corpus.differences(expected, found), (case.name, protocol, compress)


@pytest.mark.parametrize("share", range(12))
def test_estimators_pass_the_gate_bit_for_bit(share: int) -> None:
    pytest.importorskip("lz4")
    names = list(enumerate(corpus.names()))[share::12]
    assert len(names) > 15
    for index, name in names:
        check(corpus.case(name), [form_of(index)])


def test_every_form_has_its_turn() -> None:
    met = Counter(form_of(index) for index in range(len(corpus.names())))
    assert set(met) == set(FORMS)
    assert min(met.values()) > 10


def test_nearly_every_listed_estimator_passes() -> None:
    listed = [name for name in corpus.names() if "(" not in name]
    assert set(REFUSED) <= set(corpus.names())
    assert sum(name not in REFUSED for name in listed) >= LOADED * len(listed) > 190


@pytest.mark.slow
@pytest.mark.parametrize("name", corpus.names())
def test_every_estimator_passes_in_every_form(name: str) -> None:
    check(corpus.case(name), list(FORMS))
