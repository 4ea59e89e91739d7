"""`mvault inspect`: what is printed for whom, the exit statuses, and the file that code hosts read."""

import gzip
import json
import pickle
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.cli.typing_user import User
from vault.core import findings

EVIL = b"\x80\x04cposix\nsystem\n\x8c\x04true\x85R."
HONEST = pickle.dumps({"weights": [1.0, 2.0]})


def folder(user: User) -> None:
    user.write("d/evil.pkl", EVIL)
    user.write("d/honest.pkl", HONEST)
    user.write("d/sub/packed.csv.gz", gzip.compress(b"a,b\n"))
    user.write("d/fine.json", "[]")


@pytest.mark.parametrize(
    ("make", "status"),
    [
        (lambda user: user.write("a.json", "[]"), 0),
        (lambda user: user.write("a.pkl", HONEST), 0),
        (lambda user: user.write("a.pkl", EVIL), 5),
        (lambda user: user.folder / "nothing", 6),
    ],
)
def test_the_exit_status_tells_the_verdict(make: Callable[[User], Path], status: int, user: User) -> None:
    assert user.run("inspect", str(make(user))).status == status


def test_a_file_that_cannot_be_read_gives_7_unless_another_is_refused(
    user: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    import os

    folder(user)
    real = os.open

    def failing(path: Any, *more: Any, **options: Any) -> int:
        if str(path).endswith("fine.json"):
            raise PermissionError(13, "Permission denied")
        return real(path, *more, **options)

    monkeypatch.setattr(os, "open", failing)
    assert user.run("inspect", "d").status == 5
    (user.folder / "d/evil.pkl").unlink()
    answer = user.run("inspect", "d", "--json")
    assert answer.status == 7
    assert answer.json["summary"] == {"files": 3, "unread": 1, "refused": 1, "needs-pins": 1, "data": 1}


def test_piped_lines_have_four_columns_and_come_in_order(user: User) -> None:
    folder(user)
    lines = [line.split("\t") for line in user.run("inspect", "d", "d/fine.json").out.splitlines()]
    assert [line[:3] for line in lines] == [
        ["d/evil.pkl", "pickle", "refused"],
        ["d/fine.json", "json", "data"],
        ["d/honest.pkl", "pickle", "needs-pins"],
        ["d/sub/packed.csv.gz", "gzip", "data"],
        ["d/fine.json", "json", "data"],
    ]
    assert {len(line) for line in lines} == {4}


def test_the_sum_is_told_on_standard_error(user: User) -> None:
    folder(user)
    told = user.run("inspect", "d").err
    assert "Looked at 4 files: 1 refused, 1 needs pins, 2 data only." in told
    assert "mvault inspect FILE" in told
    (user.folder / "empty").mkdir()
    assert "There are no files there." in user.run("inspect", "empty").err
    user.write("m/MLmodel", "flavors: {}\n")
    assert "m is a mlflow folder." in " ".join(user.run("inspect", "m").err.split())


def test_json_has_findings_and_members(user: User) -> None:
    user.write("a.pkl.gz.gz", gzip.compress(gzip.compress(EVIL)))
    answer = user.run("inspect", "a.pkl.gz.gz", "--json")
    (file,) = answer.json["files"]
    assert file["members"][0]["members"] == []
    assert "posix.system" in file["globals"]
    assert {entry["rule"] for entry in file["findings"]} >= {"compressed-twice", "forbidden-global"}


def test_sarif_goes_to_a_file_beside_the_table_or_alone_to_standard_output(user: User) -> None:
    folder(user)
    answer = user.run("inspect", "d", "--sarif", "out.sarif")
    assert answer.status == 5
    assert len(answer.out.splitlines()) == 4
    log = json.loads((user.folder / "out.sarif").read_text())
    uris = {entry["location"]["uri"] for entry in log["runs"][0]["artifacts"]}
    assert uris == {"d/evil.pkl", "d/honest.pkl", "d/sub/packed.csv.gz", "d/fine.json"}
    alone = user.run("inspect", str(user.folder / "d"), "--sarif", "-")
    assert alone.status == 5
    assert {entry["location"]["uri"] for entry in json.loads(alone.out)["runs"][0]["artifacts"]} == uris
    answer = user.run("inspect", "d", "--sarif", "no/such/folder.sarif")
    assert (answer.status, "cannot be written" in answer.err) == (7, True)


def test_names_cannot_steer_the_terminal(user: User) -> None:
    user.write("d/a\x1b[2Jb\u202e\n.pkl", EVIL)
    for arguments in (("inspect", "d"), ("inspect", "d", "--json"), ("inspect", "d", "--sarif", "-")):
        answer = user.run(*arguments)
        for printed in (answer.out, answer.err):
            assert not re.search("[\x1b\u202e]", printed)


def test_the_page_lists_every_rule() -> None:
    page = (Path(__file__).parents[2] / "docs" / "inspect.md").read_text(encoding="utf-8")
    assert set(findings.RULES) <= set(re.findall(r"`([a-z-]+)`", page))
