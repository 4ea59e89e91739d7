"""`kill -9` at every step of a rotation or a sync: everything loads, and the same command goes on."""

from pathlib import Path

import pytest

from tests.attacks.crash_child import told_by

COMMITS = {"rotate": 7, "deep": 14, "sync": 1}


@pytest.mark.parametrize("verb", ["rotate", pytest.param("deep", marks=pytest.mark.slow), "sync"])
def test_a_kill_before_or_after_any_object_appears_leaves_everything_loadable(
    verb: str, tmp_path: Path
) -> None:
    found = told_by("access_crash", verb, tmp_path, "commits")
    assert not found["wrong"], "\n".join(found["wrong"][:20])
    assert found["kills"] == 2 * COMMITS[verb]


@pytest.mark.slow
@pytest.mark.parametrize("verb", COMMITS)
def test_a_kill_at_any_step_leaves_everything_loadable(verb: str, tmp_path: Path) -> None:
    found = told_by("access_crash", verb, tmp_path, "all")
    assert not found["wrong"], "\n".join(found["wrong"][:20])
    assert found["kills"] + found["left"] == 2 * found["steps"]
    assert found["left"] <= 2


@pytest.mark.parametrize(
    ("which", "verb"),
    [
        ("some", "deep"),  # which does what `rotate` does, and more
        *(
            pytest.param(*each, marks=pytest.mark.slow)
            for each in (("some", "rotate"), ("all", "rotate"), ("all", "deep"))
        ),
    ],
)
def test_a_kill_among_eight_threads_leaves_everything_loadable(which: str, verb: str, tmp_path: Path) -> None:
    found = told_by("access_crash", verb, tmp_path, which, "8")
    assert not found["wrong"], "\n".join(found["wrong"][:20])
    assert found["kills"] >= (8 if which == "some" else found["steps"])
