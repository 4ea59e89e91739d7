"""`mvault audit`: what a reviewer types, and what they get, without any key."""

import csv
import io
import json
import os
import queue
import re
import subprocess
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from tests.cli.test_cli_verbs import FREE, documented
from tests.cli.typing_user import PROGRAM, Answer, User
from vault.actions import reviewing
from vault.cli import audit_filters, audit_reporting
from vault.core import audit_record

ANSI = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")
OPEN = {"record", "written"}  # objects that an example leaves out, or whose keys are names


@pytest.fixture
def reviewer(recorded: User) -> User:
    """Somebody on another machine: a copy of the storage that is read-only, a trust file, no identity."""
    assert recorded.run("trust", "export", "trust.json").status == 0
    (recorded.folder / "mvault.toml").unlink()
    for folder, _, names in os.walk(recorded.folder / "models"):
        for name in names:
            Path(folder, name).chmod(0o444)
        Path(folder).chmod(0o555)
    recorded.becomes_somebody_else()
    os.environ["MVAULT_VAULT"] = "models/"
    os.environ["MVAULT_TRUST"] = "trust.json"
    return recorded


def ids(user: User, *filters: str) -> list[str]:
    """Give the ids of records as `log` lists them."""
    return [line.split("\t")[-1] for line in user.run("audit", "log", *filters).out.splitlines()]


def same_shape(found: Any, example: Any, where: str = "") -> None:
    """Require the keys and types that the document shows, however deep."""
    if example is None or found is None:
        return
    assert type(found) is type(example), where
    name = where.rpartition(".")[2]
    if isinstance(example, dict) and name not in FREE | OPEN:
        assert set(found) == set(example), where
        for key, value in example.items():
            same_shape(found[key], value, f"{where}.{key}")
    if isinstance(example, list) and example:
        for entry in found:
            same_shape(entry, example[0], f"{where}[]")


# --- what scripts rely on ---

SHAPES: dict[str, tuple[str, ...]] = {
    "log": (),
    "show": ("churn@prod",),
    "summary": (),
    "verify": (),
    "prove": ("churn@prod", "-o", "churn.proof"),
    "check-proof": ("given.proof",),
    "report": ("-o", "reports"),
    "report verify": ("given.dsse",),
    "export": ("-o", "audit.csv", "--format", "csv"),
    "status": (),
    "lookup": ("--env", "prod", "churn@prod"),
    "repair": (),
}


@pytest.mark.parametrize("name", SHAPES)
def test_json_has_the_documented_shape(name: str, recorded: User) -> None:
    assert recorded.run("audit", "prove", "churn@prod", "-o", "given.proof").status == 0
    assert recorded.run("audit", "report", "-o", "given").status == 0
    next((recorded.folder / "given").glob("*.dsse")).rename(recorded.folder / "given.dsse")
    answer = recorded.run("audit", *name.split(), *SHAPES[name], "--json")
    assert answer.err == ""
    same_shape(answer.json, documented(f"mvault audit {name}"))


def test_the_options_name_what_records_have() -> None:
    assert audit_filters.ACTIONS == audit_record.ACTIONS
    assert set(audit_filters.DECISIONS) == set(audit_record.DECISIONS)
    assert set(audit_filters.OUTCOMES) == {audit_record.DONE, audit_record.FAILED}
    assert reviewing.FORMATS == audit_reporting._FORMATS


def test_piped_records_are_lines_of_columns(recorded: User) -> None:
    lines = [line.split("\t") for line in recorded.run("audit", "log").out.splitlines()]
    assert {len(line) for line in lines} == {15}
    assert [line[2] for line in lines[:2]] == ["pull", "pull"]
    assert lines[0][3:10] == ["allow", "failed", "conflict", "churn", "1", "prod", "main"]
    assert {line[12] for line in lines} >= {"env/dev", "env/prod"}
    assert all(re.fullmatch(r"[0-9a-f]{32}", line[-1]) for line in lines)


@pytest.mark.parametrize(
    ("filters", "count"),
    [
        (("--action", "pull"), 2),
        (("--action", "pull", "--attempts"), 4),
        (("--action", "pull", "--outcome", "done"), 1),
        (("--code", "conflict"), 1),
        (("--env", "prod", "--action", "promote"), 1),
        (("--model", "chur*", "--action", "promote"), 1),
        (("--model", "other"), 0),
        (("--actor", "anna", "--action", "promote"), 1),
        (("--actor", "bob"), 0),
        (("--log", "env/prod"), 1),
        (("--log", "access/anna/*"), 2),
        (("--decision", "deny", "--decision", "refuse"), 0),
        (("--since", "1h", "--action", "promote"), 1),
        (("--until", "1h"), 0),
        (("--since", "yesterday", "--until", "today", "--action", "promote"), 1),
        (("--limit", "1"), 1),
    ],
)
def test_filters_choose_records(filters: tuple[str, ...], count: int, recorded: User) -> None:
    assert len(ids(recorded, *filters)) == count


def test_what_the_limit_leaves_out_is_told(recorded: User) -> None:
    answer = recorded.run("audit", "log", "--limit", "1")
    assert answer.err == "There are more than these 1: --limit 0 shows all, --since narrows them.\n"
    assert recorded.run("audit", "log", "--limit", "0").err == ""
    assert recorded.run("audit", "log", "--limit", "1", "--json").json["more"] is True


def test_follow_goes_on_with_what_comes(recorded: User) -> None:
    program = [*PROGRAM, "audit", "log", "--follow", "--json", "--action", "publish", "--limit", "1"]
    with subprocess.Popen(program, stdout=subprocess.PIPE, text=True) as following:
        assert following.stdout is not None
        lines: queue.Queue[str] = queue.Queue()
        reading = threading.Thread(target=lambda stream: [*map(lines.put, stream)], args=(following.stdout,))
        reading.start()
        try:
            assert json.loads(lines.get(timeout=90))["record"]["version"] == "1"
            assert recorded.run("push", "churn", "model.json").status == 0
            assert json.loads(lines.get(timeout=90))["record"]["version"] == "2"
        finally:
            following.terminate()
            reading.join()


# --- a reviewer, who has no key ---


def test_a_reviewer_needs_no_identity_and_no_write_access(reviewer: User) -> None:
    verified = reviewer.run("audit", "verify", "--json")
    assert verified.status == 0, verified.err
    assert verified.json["whole"] == "yes"
    assert "the one who made its trust file" not in verified.out
    for arguments in (("log",), ("show", "churn@prod"), ("summary",), ("status",), ("export",)):
        answer = reviewer.run("audit", *arguments)
        assert answer.status == 0, answer.err
        assert answer.out
    assert reviewer.run("audit", "prove", "churn@prod", "-o", "churn.proof").status == 0
    checked = reviewer.run("audit", "check-proof", "churn.proof", "--json").json
    assert checked["writer"] == "anna"
    report = reviewer.run("audit", "report", "-o", "reports", "--json")
    assert report.status == 0
    assert report.json["signed"] is None
    assert not list((reviewer.folder / "models").rglob("*.lock"))


def test_a_reviewer_without_a_place_for_state_is_served_from_memory(reviewer: User) -> None:
    home = Path(os.environ["HOME"])
    home.chmod(0o500)
    try:
        answer = reviewer.run("audit", "log", "--action", "promote")
        assert (answer.status, answer.out.count("\n")) == (0, 1)
    finally:
        home.chmod(0o700)
    without = reviewer.start("audit", "verify", HOME="")
    assert without.status == 0, without.err
    assert without.out.startswith("whole\tyes\t")


def test_a_proof_travels_without_the_vault(reviewer: User) -> None:
    key = reviewer.run("audit", "prove", "churn@prod", "-o", "churn.proof", "--json").json["key"]
    (reviewer.folder / "models").rename(reviewer.folder / "elsewhere")
    offline = reviewer.run("audit", "check-proof", "churn.proof", "--key", key)
    assert offline.status == 0
    assert "holds\tyes\n" in offline.out
    assert "rests-on\tthe key that was given\n" in offline.out


def test_a_proof_is_checked_with_a_copy_of_the_folder_trust_alone(reviewer: User) -> None:
    assert reviewer.run("audit", "prove", "churn@prod", "-o", "churn.proof").status == 0
    models, copy = reviewer.folder / "models", reviewer.folder / "copy"
    copy.mkdir()
    for place in sorted((models / "trust").rglob("*")):
        target = copy / place.relative_to(models)
        target.mkdir(parents=True, exist_ok=True) if place.is_dir() else target.write_bytes(
            place.read_bytes()
        )
    answer = reviewer.run("audit", "check-proof", "churn.proof", "--vault", "copy")
    assert (answer.status, answer.err) == (0, "")


# --- exports ---


def test_exports_are_lines_that_other_programs_read(recorded: User) -> None:
    lines = [json.loads(line) for line in recorded.run("audit", "export").out.splitlines()]
    assert {line["log"] for line in lines} >= {"env/dev", "env/prod"}
    rows = list(csv.DictReader(io.StringIO(recorded.run("audit", "export", "--format", "csv").out)))
    assert len(rows) == len(lines)
    events = recorded.run("audit", "export", "--format", "ocsf").out.splitlines()
    assert {json.loads(event)["class_uid"] for event in events} == {6003}
    assert all(
        line.startswith("CEF:0|")
        for line in recorded.run("audit", "export", "--format", "cef").out.splitlines()
    )


def test_an_export_is_written_to_a_new_file_and_never_over_one(recorded: User) -> None:
    answer = recorded.run("audit", "export", "-o", "audit.jsonl", "--action", "promote")
    assert (answer.out, answer.err) == ("audit.jsonl\n", "Wrote 1 record to audit.jsonl.\n")
    again = recorded.run("audit", "export", "-o", "audit.jsonl")
    assert again.status == 9
    assert "audit.jsonl exists and was left as it was." in again.err
    assert (recorded.folder / "audit.jsonl").read_text().count("\n") == 1


# --- reports ---


def test_a_report_is_written_checked_and_no_longer_holds_when_a_log_was_cut(recorded: User) -> None:
    written = recorded.run("audit", "report", "-o", "reports", "--json").json
    first = Path(written["markdown"]).read_text().splitlines()[0]
    assert first == "Record whole: yes"
    answer = recorded.run("audit", "report", "verify", written["signed"])
    assert answer.status == 0
    assert answer.err.startswith("The report holds. On ")
    assert answer.err.endswith("it said: Record whole: yes\n")
    (recorded.folder / "models/log/env/prod/commit/000001").unlink()
    later = recorded.run("audit", "report", "verify", written["signed"])
    assert later.status == 3
    assert later.err.startswith("The report does not hold. On ")
    assert "bad\tenv/prod\tcheckpoint\tThe log does not continue the report's checkpoint" in later.out


def test_a_report_may_be_told_where_it_goes_in_any_order(recorded: User) -> None:
    for arguments in (("--json", "report"), ("report", "--json"), ("report", "--since", "1d", "--json")):
        answer = recorded.run("audit", *arguments)
        assert answer.status == 0, answer.err
        time.sleep(1.1)  # its name has the second


# --- on a terminal ---


@pytest.mark.parametrize("rich", [True, False])
def test_tables_fit_80_columns(rich: bool, recorded: User) -> None:
    name = "/".join(["a-long-name-for-a-folder-of-models"] * 4)
    assert recorded.run("push", name, "model.json").status == 0
    environment = {}
    if not rich:
        blocked = recorded.write("blocked/rich/__init__.py", "raise ImportError").parents[1]
        environment = {"PYTHONPATH": str(blocked)}
    for arguments in (
        ("log",),
        ("show", f"{name}:1"),
        ("verify", "-q"),
        ("summary", "-q"),
        ("status", "-q"),
        ("lookup", "--env", "dev", "x"),
    ):
        answer = recorded.type("audit", *arguments, environment=environment)
        assert answer.status == 0, answer.out
        assert "Traceback" not in answer.out
        body = [line for line in ANSI.sub("", answer.out).splitlines() if "hmac:" not in line]
        assert body
        assert max(map(len, body)) <= 80, arguments


def test_a_terminal_is_told_times_as_people_do(recorded: User) -> None:
    shown = recorded.type("audit", "log").out
    assert "just now" in shown
    assert "churn:1@prod" in shown
    assert "failed: conflict" in shown


def test_what_is_piped_has_no_escape_sequences(recorded: User) -> None:
    for name in ("log", "verify", "summary", "status", "export"):
        answer: Answer = recorded.start("audit", name, TERM="xterm-256color")
        assert "\x1b" not in answer.out + answer.err
