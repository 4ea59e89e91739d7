"""The journal of an adoption only saves work: damaged, or a stranger's, it decides nothing."""

import json
import os
from pathlib import Path

import pytest

from tests.builders import solo
from tests.e2e.adopting_parts import adopt, lay, outcomes, weights
from vault.actions.taking_over_journal import Entry, Journal
from vault.actions.taking_over_room import Room
from vault.core.names import Digest
from vault.errors import Unavailable

VAULT = Digest("ab" * 32)
ENTRY = Entry("stamp", "cd" * 32, "m:1")
ANY = "{model}/v{version}.pkl"


def file_of(state: Path) -> Path:
    (found,) = (state / "adopt").iterdir()
    return found


def test_what_was_noted_is_found_again_by_the_same_place_and_vault(tmp_path: Path) -> None:
    Journal(tmp_path, VAULT, "here").add("a", ENTRY)
    assert Journal(tmp_path, VAULT, "here").find("a") == ENTRY
    assert Journal(tmp_path, VAULT, "elsewhere").find("a") is None
    assert Journal(tmp_path, Digest("ef" * 32), "here").find("a") is None
    assert Journal(None, VAULT, "here").find("a") is None
    assert file_of_mode(tmp_path) == 0o600


def file_of_mode(state: Path) -> int:
    return next(path for path in (state / "adopt").iterdir() if path.stat().st_size).stat().st_mode & 0o777


def test_lines_that_are_cut_off_or_none_of_ours_say_nothing(tmp_path: Path) -> None:
    Journal(tmp_path, VAULT, "here").add("a", ENTRY)
    with file_of(tmp_path).open("ab") as file:
        file.write(
            b'{"format": 2, "origin": "b"}\n\xff\xfe\n[1]\n' + b"[" * 100_000 + b'\n{"format": 1, "ori'
        )
    again = Journal(tmp_path, VAULT, "here")
    assert (again.find("a"), again.find("b")) == (ENTRY, None)
    again.add("c", ENTRY)
    assert Journal(tmp_path, VAULT, "here").find("c") == ENTRY


def test_a_link_in_its_place_is_not_followed(tmp_path: Path) -> None:
    Journal(tmp_path, VAULT, "here").add("a", ENTRY)
    place = file_of(tmp_path)
    place.rename(tmp_path / "other")
    place.symlink_to(tmp_path / "other")
    with pytest.raises(Unavailable, match="cannot be noted"):
        Journal(tmp_path, VAULT, "here")


def test_a_journal_that_lies_publishes_nothing_else_and_hides_nothing(tmp_path: Path) -> None:
    old, state = lay(tmp_path / "old", {"m/v1.pkl": weights(1)}), tmp_path / "state"
    built = solo(seed="journal")
    adopt(built, old, ANY, state=state)
    line = json.loads(file_of(state).read_text().strip())
    for forged in ("m:9", "other:1", "m:x"):
        fresh = solo(seed=f"journal {forged}")
        lying = tmp_path / forged
        adopt(fresh, old, "nothing/{model}", state=lying)  # makes the file of this vault and place
        file_of(lying).write_text(json.dumps({**line, "reference": forged}) + "\n")
        assert outcomes(adopt(fresh, old, ANY, state=lying)) == {"m/v1.pkl": "adopted m:1"}


def test_a_state_folder_that_cannot_be_written_is_told(tmp_path: Path) -> None:
    (tmp_path / "adopt").write_text("a file")
    with pytest.raises(Unavailable, match="MVAULT_STATE_DIR") as caught:
        Journal(tmp_path, VAULT, "here")
    assert caught.value.code == "storage-denied"
    assert os.fspath(tmp_path) in caught.value.message


def test_what_needs_more_memory_than_there_is_goes_alone() -> None:
    room = Room(1 << 30)
    with room.taken(1 << 40):
        assert room._left == 0
    with room.taken(0), room.taken(0):
        assert room._left == 0
    assert room._left == 1 << 30
