"""`kill -9` at every step of a verb that writes: nothing half-visible, and the same command works again."""

from pathlib import Path
from typing import Any

import pytest

from tests.attacks.crash_child import told_by

# By verb: how many objects appear, and how often it is killed at all steps, at least.
VERBS = {
    "push": (8, 60),
    "promote": (4, 60),
    "approve": (1, 40),
    "withdraw": (4, 60),
    "rollback": (3, 60),
    "adopt": (2, 40),
}


def _check(found: dict[str, Any]) -> None:
    assert not found["wrong"], "\n".join(found["wrong"][:20])
    assert found["seen"]["old"] > found["kills"] // 3
    assert found["seen"]["new"] >= 1  # killed after the commit, before anybody was told


@pytest.mark.parametrize("verb", VERBS)
def test_a_writer_killed_before_or_after_any_object_appears_leaves_a_vault_that_is_whole(
    verb: str, tmp_path: Path
) -> None:
    found = told_by("vault_crash", verb, tmp_path, "commits")
    assert found["kills"] == 2 * VERBS[verb][0]
    _check(found)


@pytest.mark.slow
@pytest.mark.parametrize("verb", VERBS)
def test_a_writer_killed_at_any_step_leaves_a_vault_that_is_whole(verb: str, tmp_path: Path) -> None:
    found = told_by("vault_crash", verb, tmp_path, "all")
    assert found["kills"] >= VERBS[verb][1]
    _check(found)
