"""The shipped allowances are what the derivation gives: nobody edits them by hand."""

from collections.abc import Callable

import pytest

from tests.estimators import derive
from tests.estimators.review import EXCLUDED, REVIEWED
from vault.core import pins
from vault.core.pickle_allowance import DEFAULT_PICKLE_GLOBALS
from vault.core.skops_allowance import DERIVED_SKOPS_TYPES

SOURCES: dict[str, tuple[Callable[[], frozenset[str]], frozenset[str]]] = {
    "pickle": (derive.pickle_names, DEFAULT_PICKLE_GLOBALS),
    "skops": (derive.skops_names, DERIVED_SKOPS_TYPES),
}
each = pytest.mark.parametrize("kind", SOURCES)


@pytest.mark.parametrize("name", ["estimator_allowance.py", "pickle_allowance.py", "skops_allowance.py"])
def test_the_committed_module_is_what_the_derivation_gives(name: str) -> None:
    committed = (derive.CORE / name).read_text(encoding="utf-8")
    if f"Derived with {derive.versions()}." not in committed:
        pytest.skip(f"derived with other releases than {derive.versions()}")
    assert derive.modules()[derive.CORE / name] == committed, "run: python -m tests.estimators.derive"


@each
def test_the_module_allows_exactly_what_was_decided(kind: str) -> None:
    names, shipped = SOURCES[kind]
    decided = derive.decide(names(), kind)
    assert shipped == decided.names
    assert shipped.isdisjoint(decided.left_out)
    assert all(decided.left_out.values())
    assert len(shipped) > 300


@each
def test_nothing_that_may_never_be_used_is_allowed(kind: str) -> None:
    assert not [name for name in SOURCES[kind][1] if pins.is_forbidden(name)]


def test_no_decision_is_about_a_name_that_nothing_mentions() -> None:
    assert set(REVIEWED) <= derive.pickle_names() | derive.skops_names()
    for kind, (names, _) in SOURCES.items():
        assert set(EXCLUDED[kind]) <= names()


def test_what_scikit_learn_mentions_and_no_one_may_use_is_left_out_with_the_reason() -> None:
    left_out = derive.decide(derive.pickle_names(), "pickle").left_out
    assert "calls what it holds" in left_out["functools.partial"]
    assert "compiles source text" in left_out["scipy.stats._distn_infrastructure.rv_continuous_frozen"]


@pytest.mark.parametrize(
    "name",
    [
        "sklearn.metrics._classification.cohen_kappa_score",  # a function
        "sklearn.gaussian_process.kernels.PairwiseKernel",  # called later
        "sklearn.tree._tree.DepthFirstTreeBuilder",  # compiled
        "sklearn.isotonic.IsotonicRegressor",  # does not exist
        "pandas.DataFrame",  # of another package
        "numpy.poly1d",
    ],
)
def test_only_a_person_decides_about_anything_but_a_plain_class(name: str) -> None:
    with pytest.raises(derive.Unreviewed, match=name):
        derive.decide({name, "sklearn.linear_model._ridge.Ridge"}, "skops")


def test_a_plain_class_needs_no_decision() -> None:
    decided = derive.decide({"sklearn.linear_model._ridge.Ridge", "os.system", "numpy.log1p"}, "skops")
    assert decided.plain == ("sklearn.linear_model._ridge.Ridge",)
    assert decided.reviewed == ("numpy.log1p",)
    assert decided.left_out == {"os.system": "never loaded: see pins.py"}
