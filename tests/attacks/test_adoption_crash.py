"""`kill -9` in the middle of an adoption: run again, it goes on, and nothing is there twice."""

from pathlib import Path

from tests.attacks.crash_child import told_by


def test_an_adoption_that_was_killed_whenever_an_object_appeared_goes_on_where_it_was(tmp_path: Path) -> None:
    found = told_by("adoption_crash", tmp_path)
    assert not found["wrong"], "\n".join(found["wrong"][:20])
    assert found["kills"] >= 20
    assert {int(count) for count in found["seen"]} == {0, 1, 2}
