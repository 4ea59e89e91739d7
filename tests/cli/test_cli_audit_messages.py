"""What `mvault audit` says when something is wrong: what happened, why, and what to do next."""

import re
from collections.abc import Callable
from datetime import datetime
from pathlib import Path

import pytest

from tests.cli.test_cli_audit import reviewer
from tests.cli.typing_user import User
from vault.actions import reviewing_moments

__all__ = ["reviewer"]  # a fixture

NOW = 1_795_435_587  # 2026-11-23T12:06:27Z


@pytest.mark.parametrize(
    ("arguments", "status", "message"),
    [
        (
            ("show", "ffff"), 6,
            ("No log has a record ffff. See what there is: mvault audit log. "
             "It may still wait on the machine where it was made."),
        ),
        (
            ("show", "churn"), 2,
            "churn is no id, which is hexadecimal; no channel, as churn@prod; and no version, as churn:3.",
        ),
        (("show", "nothing@prod"), 6, "Nothing is in force in nothing@prod."),
        (
            ("prove", "churn@prod", "--witnesses", "2"), 3,
            ("No checkpoint of env/prod with entry 0 is cosigned by 2 witnesses who count. "
             "Let a witness run, then try again: mvault audit witness"),
        ),
        (
            ("log", "--since", "lately"), 2,
            ("'lately' is no moment. Write 90m, 2h, 3d or 1w for how long ago; today or yesterday; "
             "a day, 2026-05-03; or a time, 2026-05-03T14:00Z."),
        ),
        (("log", "--since", "1h", "--until", "2h"), 2, "Nothing is both since 1h and until 2h."),
        (("verify", "--log", "env/x"), 6, "There is no log env/x. See what there is: mvault audit status"),
        (
            ("verify", "--log", "x"), 2,
            "'x' is not the name of a log: logs are trust, env/ENVIRONMENT and access/PRINCIPAL/INSTANCE.",
        ),
        (("check-proof", "nothing.proof"), 6, "There is no file nothing.proof."),
        (
            ("check-proof", "model.json"), 3,
            ("The proof is not what it should be: "
             "a proof begins with c2sp.org/tlog-proof@v1, an entry and an index."),
        ),
        (
            ("check-proof", "model.json", "--key", "x"), 2,
            "'x' is no verifier key: it is NAME+HASH+BASE64, of an Ed25519 key.",
        ),
        (("report", "verify", "nothing.dsse"), 6, "There is no file nothing.dsse."),
        (("lookup", "--env", "nowhere", "x"), 6, "There is no environment nowhere."),
    ],
)  # fmt: skip
def test_mistakes_are_told_with_what_to_do(
    arguments: tuple[str, ...], status: int, message: str, recorded: User
) -> None:
    answer = recorded.run("audit", *arguments)
    assert (answer.status, answer.err.splitlines()[-1]) == (status, f"Error: {message}")


def test_a_wrong_choice_lists_the_right_ones(recorded: User) -> None:
    answer = recorded.run("audit", "log", "--action", "download")
    assert answer.status == 2
    assert "'download' is not one of 'publish', 'approve', 'promote'" in answer.err
    assert "For help: mvault audit log --help" in answer.err


def test_nothing_to_show_points_to_what_there_is(recorded: User) -> None:
    shown = recorded.type("audit", "log", "--env", "typo").out
    assert shown == "No record is like that. See what there is: mvault audit status\n"


# --- the verdict ---


def commit(user: User, number: int = 1, log: str = "env/prod") -> Path:
    return user.folder / f"models/log/{log}/commit/{number:06d}"


def cut(user: User) -> None:
    commit(user).unlink()


def alter(user: User) -> None:
    place = commit(user)
    data = place.read_bytes()
    place.unlink()
    place.write_bytes(data.replace(b'"version":"1"', b'"version":"2"'))


@pytest.mark.parametrize(
    ("change", "because"),
    [
        (cut, "env/prod: env/prod was seen with 1 entry, and the store offers 0"),
        (alter, "env/prod: env/prod was seen with 1 entry, and the store offers 0"),
    ],
)
def test_a_record_that_is_not_whole(change: Callable[[User], None], because: str, recorded: User) -> None:
    change(recorded)
    answer = recorded.run("audit", "verify")
    assert answer.status == 3
    assert answer.out.splitlines()[0] == f"whole\tno\t{because}"
    shown = recorded.type("audit", "verify")
    assert shown.status == 3
    assert re.sub(r"\x1b\[[0-9;]*m", "", shown.out).startswith(f"Record whole: no because {because}\n")


def test_a_record_that_is_seen_for_the_first_time(reviewer: User) -> None:
    trust = (reviewer.folder / "trust.json").read_text()
    (reviewer.folder / "trust.json").write_text(re.sub(r'"log":\{[^}]*\}', '"log":{}', trust))
    answer = reviewer.run("audit", "verify")
    assert answer.status == 0
    assert answer.out.splitlines()[0] == (
        "whole\tnot checkable\tthis machine sees trust, env/dev, env/prod and 1 more for the first time, "
        "so cuts at their ends would not show"
    )
    assert reviewer.run("audit", "verify").out.startswith("whole\tyes\t\n")


def access(user: User) -> str:
    (place,) = (user.folder / "models/log/access/anna").iterdir()
    return f"access/anna/{place.name}"


def test_what_was_checked_is_named_log_by_log(recorded: User) -> None:
    shown = re.sub(r"\x1b\[[0-9;]*m", "", recorded.type("audit", "verify").out)
    assert re.search(r"^env/prod +yes +1  commits, pins, decisions, tiles *$", shown, re.M)
    assert "What no look at these files can show:\n- A load or pull that was never recorded" in shown


def test_the_log_goes_on_being_shown_and_says_that_it_was_cut(recorded: User) -> None:
    assert recorded.run("audit", "log", "--log", "env/prod").out
    cut(recorded)
    answer = recorded.run("audit", "log", "--log", "env/prod")
    assert answer.out.count("\n") == 1
    assert answer.err == (
        "Warning: env/prod is not shown up to date. env/prod was seen with 1 entry, and its commit 1 is "
        "gone. Look closer: mvault audit verify\n"
    )


# --- repair and status ---


def test_repair_says_what_it_did(recorded: User) -> None:
    for place in (recorded.folder / "models/log/env/prod/tile").rglob("*"):
        if place.is_file():
            place.unlink()
    (recorded.folder / "models/log/env/prod/checkpoint").unlink()
    status = re.sub(r"\x1b\[[0-9;]*m", "", recorded.type("audit", "status").out)
    assert re.search(r"^env/prod +1 +1 +just now +missing *$", status, re.M)
    assert "Copies that are not current do no harm; write them: mvault audit repair" in status
    answer = recorded.run("audit", "repair")
    assert answer.status == 0
    assert answer.out == "0\nenv/prod\t3\n"
    assert answer.err == "Moved 0 records into the log, and wrote 3 copies again.\n"
    assert recorded.run("audit", "verify").status == 0


def test_what_waits_is_told_and_moved(recorded: User) -> None:
    assert recorded.run("pull", "churn@prod", "out2").status == 0  # this process has not ended yet
    status = recorded.run("audit", "status").out
    assert re.search(r"^waiting\t[0-9a-f]{32}\t2\t20[0-9-]{8}T[0-9:]{8}Z\t$", status, re.M)
    shown = re.sub(r"\x1b\[[0-9;]*m", "", recorded.type("audit", "status").out)
    assert re.search(r"^Waiting here +2 records of this identity, since 20", shown, re.M)
    assert "Move what waits into the log now: mvault audit repair" in shown
    moved = recorded.run("audit", "repair")
    assert (moved.out, moved.err) == ("2\n", "Moved 2 records into the log, and wrote 0 copies again.\n")
    assert re.search(r"^waiting\t[0-9a-f]{32}\t0\t\t$", recorded.run("audit", "status").out, re.M)


def test_who_may_write_and_where_records_go(recorded: User, reviewer: User) -> None:
    mine = reviewer.run("audit", "status").out
    assert "writer\t" not in mine
    assert (
        "place\tnowhere: there is no identity on this machine, so it does nothing that is recorded\n" in mine
    )


def test_status_names_the_logs_that_the_identity_may_write(recorded: User) -> None:
    out = recorded.run("audit", "status").out
    assert "writer\tanna\ttrust,env/dev,env/prod,access/anna/…\n" in out
    assert re.search(
        r"^place\t.*/audit, then every 256 records and on exit the log access/anna/…$", out, re.M
    )


# --- moments ---


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("now", NOW),
        ("90s", NOW - 90),
        ("90m", NOW - 5_400),
        ("2h", NOW - 7_200),
        ("3d", NOW - 259_200),
        ("1w", NOW - 604_800),
        ("2h ago", NOW - 7_200),
        ("2026-11-23T12:06:27Z", NOW),
        ("2026-11-23T12:06Z", NOW - 27),
        ("2026-11-23 13:06:27+01:00", NOW),
        ("999999999w", 0),
    ],
)
def test_moments(text: str, seconds: int) -> None:
    assert reviewing_moments.since(text, NOW) == seconds
    assert reviewing_moments.until(text, NOW) == seconds


def test_days_are_this_machines_and_count_whole() -> None:
    today = datetime.fromtimestamp(NOW).replace(hour=0, minute=0, second=0)  # noqa: DTZ006 (local)
    start, end = reviewing_moments.since("today", NOW), reviewing_moments.until("today", NOW)
    assert start == int(today.timestamp())
    assert 82_800 <= end - start <= 90_000
    assert reviewing_moments.until("yesterday", NOW) == start
    assert reviewing_moments.since(f"{today:%Y-%m-%d}", NOW) == start
    assert reviewing_moments.until(f"{today:%Y-%m-%d}", NOW) == end


@pytest.mark.parametrize(
    "text", ["", "2", "h", "-2h", "2 fortnights", "2026-13-01", "2026-05-03T25:00Z", "\x00", "9" * 400]
)
def test_what_is_no_moment(text: str) -> None:
    with pytest.raises(ValueError, match="is no moment"):
        reviewing_moments.since(text, NOW)
