"""Changed model files load or are refused: no crash, no hang over 5 s, no GiB of memory, no other exception.

Each batch runs in a fork of a warm process (`farm.py`), so that a crash is seen
and the next batch goes on. The numbers of examples are fixed, and so are the
mutants; `python -m tests.fuzz --minutes 10` draws new ones for as long as you like.
"""

from collections import Counter
from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.fuzz.farm import Farm
from tests.fuzz.samples import MAKERS, PATHS

TALLY: Counter[str] = Counter()


@pytest.fixture(scope="module")
def farm() -> Iterator[Farm]:
    with Farm() as running:
        yield running


def seeds(count: int) -> st.SearchStrategy[list[int]]:
    return st.lists(st.integers(0, 2**32 - 1), min_size=count, max_size=count)


def harmless(farm: Farm, name: str, chosen: list[int]) -> None:
    found = farm.run(name, chosen)
    TALLY.update({"loaded": found.loaded, "refused": found.refused})
    assert not found.failures, f"python -m tests.fuzz --only {name} --one {found.failures[0][0]}"


@pytest.mark.parametrize("name", PATHS)
@settings(
    max_examples=2,
    derandomize=True,
    database=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(chosen=seeds(6))
def test_changed_files_load_or_are_refused(farm: Farm, name: str, chosen: list[int]) -> None:
    harmless(farm, name, chosen)


@pytest.mark.slow
@pytest.mark.parametrize("name", PATHS)
@settings(max_examples=100, database=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(chosen=seeds(25))
def test_many_changed_files_load_or_are_refused(farm: Farm, name: str, chosen: list[int]) -> None:
    harmless(farm, name, chosen)


def test_an_unchanged_file_of_each_kind_loads_and_answers(farm: Farm) -> None:
    """Otherwise every mutant would be refused for what is no change at all."""
    for name in MAKERS:
        found = farm.run(name, [-1])
        assert (found.loaded, found.failures) == (1, []), name


def test_a_crash_a_hang_much_memory_and_any_other_exception_are_seen(farm: Farm) -> None:
    for seed, what in (
        (-2, "signal 11"),
        (-3, "more than 1 s"),
        (-4, "MemoryError"),
        (-5, "ZeroDivision"),
    ):
        found = farm.run("npy/matrix", [-1, seed, -1], seconds=1)
        assert (found.loaded, len(found.failures)) == (2, 1)
        assert found.failures[0][0] == seed
        assert what in found.failures[0][1]
    found = farm.run("npy/matrix", [-6])
    assert "os.system" in found.failures[0][1]
