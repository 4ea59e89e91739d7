"""A check of a whole vault that was stopped goes on where it was, and finds what it would have found."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.builders import Built, solo
from vault.actions import check_journal, checking
from vault.actions.check_report import Report
from vault.errors import Unavailable

NUMBERS = b'"versions":0,"files":0,"bytes":0'
CONTENT = {"model.json": b'{"weights":[1]}'}


def several(versions: int = 4) -> Built:
    """Build a vault with some versions of churn, all promoted in turn, the second one altered in storage."""
    built = solo(seed="check again").fork()
    for _ in range(versions):
        built.promote(built.publish(CONTENT))
    altered = "models/churn/@/2/manifest.json"
    built.store.objects[altered] = built.store.objects[altered].replace(b'"payload":"e', b'"payload":"f')
    return built


def stopped(built: Built, state: Path, when: Callable[[str], bool]) -> int:
    """Check everything until `when` says so of a name that is opened; give how many items were looked at."""

    class Stop(BaseException):
        """Stands for a kill."""

    session = built.session()
    real = session.store.open

    def opening(name: str) -> object:
        if when(name):
            raise Stop
        return real(name)

    session.store = _With(session.store, opening)  # type: ignore[assignment]
    with pytest.raises(Stop):
        checking.check(session, None, data=False, state=state)
    (path,) = (state / "check").iterdir()
    return len(path.read_text().splitlines()) - 1


class _With:
    """A store with another way to open."""

    def __init__(self, store: object, opening: Callable[[str], object]) -> None:
        self._store = store
        self.open = opening

    def __getattr__(self, name: str) -> object:
        return getattr(self._store, name)


def again(built: Built, state: Path, *, data: bool = False) -> Report:
    return checking.check(built.session(), None, data=data, resume=True, state=state)


def findings(report: Report) -> set[tuple[str, str, str]]:
    return {(entry.level, entry.subject, entry.code) for entry in report.findings}


def test_what_was_looked_at_is_taken_over_and_the_rest_is_looked_at(tmp_path: Path) -> None:
    built = several()
    whole = checking.check(built.session(), None, data=False, state=None)
    looked = stopped(built, tmp_path, lambda name: name.startswith("models/churn/@/3/files/"))
    assert 0 < looked < 5
    report = again(built, tmp_path)
    assert (report.earlier, report.since) == (looked, built.now)
    assert findings(report) == findings(whole)
    assert (report.versions, report.files, report.bytes) == (whole.versions, whole.files, whole.bytes)
    assert not report.whole
    assert list((tmp_path / "check").iterdir()) == [], "it came to its end"


def test_only_the_rest_is_read_from_the_store(tmp_path: Path) -> None:
    built = several()
    stopped(
        built, tmp_path, lambda name: name.startswith("models/churn/@/1/files/")
    )  # the last one, newest first
    read: list[str] = []
    session = built.session()
    store = session.store
    session.store = _With(store, lambda name: read.append(name) or store.open(name))  # type: ignore[assignment,func-returns-value]
    report = checking.check(session, None, data=False, resume=True, state=tmp_path)
    assert report.earlier >= 3
    assert {name.split("/")[3] for name in read} == {"1"}


def test_a_store_that_is_down_is_not_asked_for_everything(tmp_path: Path) -> None:
    built = several(12)
    session = built.session()
    asked: list[str] = []

    def opening(name: str) -> object:
        asked.append(name)
        raise Unavailable("The store is down.", subject=name)

    session.store = _With(session.store, opening)  # type: ignore[assignment]
    with pytest.raises(Unavailable, match="does not answer") as caught:
        checking.check(session, None, data=False, state=tmp_path)
    assert "--continue" in caught.value.hint
    assert len(asked) == 8
    assert again(built, tmp_path).versions == 11


def test_without_being_asked_to_go_on_a_check_begins_anew(tmp_path: Path) -> None:
    built = several()
    assert stopped(built, tmp_path, lambda name: name.startswith("models/churn/@/1/files/")) > 0
    report = checking.check(built.session(), None, data=False, state=tmp_path)
    assert (report.earlier, report.since) == (0, None)


def test_a_check_of_other_things_or_under_another_policy_is_not_taken_over(tmp_path: Path) -> None:
    built = several()
    for change in ("data", "policy"):
        assert stopped(built, tmp_path, lambda name: name.startswith("models/churn/@/1/files/")) > 0
        if change == "policy":
            built.add("somebody", "owner")
        report = again(built, tmp_path, data=change == "data")
        assert (report.earlier, report.since) == (0, None)


def test_what_could_not_be_read_is_looked_at_again(tmp_path: Path) -> None:
    """A store that fails in the middle is told of; once it answers, the check goes on there."""
    built = several()

    session = built.session()
    real = session.store.open

    def opening(name: str) -> object:
        if name.startswith("models/churn/@/3/files/"):
            raise Unavailable("The store is down.", subject=name)
        return real(name)

    session.store = _With(session.store, opening)  # type: ignore[assignment]
    first = checking.check(session, None, data=False, state=tmp_path)
    assert ("bad", "churn:3", "unavailable") in findings(first)
    (path,) = (tmp_path / "check").iterdir()
    assert "churn:3" not in path.read_text()
    second = again(built, tmp_path)
    assert ("ok", "churn:3", "") in findings(second)
    assert second.earlier > 0


@pytest.mark.parametrize(
    "spoil",
    [
        lambda data: data[: len(data) // 2],
        lambda data: data + b"{not json\n",
        lambda data: data + b"[]\n",
        lambda data: data + b'{"item":7,"found":{}}\n',
        lambda data: (
            data + b'{"item":"churn:1","found":{"findings":[["ok"]],"versions":0,"files":0,"bytes":0}}\n'
        ),
        lambda data: (
            data + b'{"item":"churn:1","found":{"findings":[],"versions":true,"files":0,"bytes":0}}\n'
        ),
        lambda data: data.replace(b'"began": ', b'"began": "now", "x": '),
        lambda data: b"\xff" * 100 + data,
        lambda _: b"",
    ],
)
def test_a_damaged_journal_only_costs_looking_again(spoil: Callable[[bytes], bytes], tmp_path: Path) -> None:
    built = several()
    whole = checking.check(built.session(), None, data=False, state=None)
    stopped(built, tmp_path, lambda name: name.startswith("models/churn/@/1/files/"))
    (path,) = (tmp_path / "check").iterdir()
    path.write_bytes(spoil(path.read_bytes()))
    assert findings(again(built, tmp_path)) == findings(whole)


def test_a_journal_that_is_a_link_is_not_followed(tmp_path: Path) -> None:
    built = several()
    stopped(built, tmp_path, lambda name: name.startswith("models/churn/@/1/files/"))
    (path,) = (tmp_path / "check").iterdir()
    path.rename(tmp_path / "elsewhere")
    path.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(Unavailable, match="cannot be kept"):
        again(built, tmp_path)


def test_the_journal_is_private(tmp_path: Path) -> None:
    built = several()
    stopped(built, tmp_path, lambda name: name.startswith("models/churn/@/1/files/"))
    (path,) = (tmp_path / "check").iterdir()
    assert path.stat().st_mode & 0o077 == 0
    head = json.loads(path.read_text().splitlines()[0])
    assert head["vault"] == built.vault
    assert check_journal.place(tmp_path, built.vault) == path


def test_a_state_folder_that_cannot_be_written_is_told(tmp_path: Path) -> None:
    (tmp_path / "check").write_text("a file")
    with pytest.raises(Unavailable, match="cannot be kept"):
        again(several(), tmp_path)
