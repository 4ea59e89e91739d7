"""`mvault load-test` as people type it."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import vault
from tests.cli.test_cli_verbs import documented, same_shape
from tests.cli.typing_user import User
from vault.actions import load_testing
from vault.actions.load_test_process import Difference
from vault.actions.load_testing import LoadTest
from vault.cli import testing
from vault.core import names

PASSED = LoadTest(
    reference=names.reference("churn:1"),
    digest=f"sha256:{'1' * 64}",
    against=None,
    passed=True,
    reason=None,
    detail="",
    python="3.11.7",
    platform="Linux",
    installer="uv",
    pinned="resolved",
    libraries={f"library-{number}": "1" for number in range(12)} | {"numpy": "2.4.6"},
    requirements=f"sha256:{'2' * 64}",
    lock=f"numpy==2.4.6 --hash=sha256:{'3' * 64}\n",
    rows=500,
    differing=0,
    tolerated=0,
    rtol=1e-4,
    atol=None,
    differences=(),
    changes=(),
    warnings=(),
    install_seconds=0.8,
    load_seconds=4.1,
    predict_seconds=0.06,
    landlock=7,
    seccomp=True,
    attestation=f"sha256:{'4' * 64}",
    already=False,
)
DIFFERS = replace(
    PASSED,
    passed=False,
    reason="differs",
    detail="1 of 500 recorded rows came out otherwise",
    differing=1,
    differences=(Difference(2, "predict", "10.0", "9.0"),),
    changes=("numpy 2.4.5 → 2.4.6",),
    warnings=("the first", "the second"),
)
NOT_TESTED = replace(
    PASSED, against="python=3.99", passed=None, detail="There is no Python 3.99.", attestation=None
)


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """What the command asks of the vault, which answers with `results`."""
    told: dict[str, Any] = {"results": [PASSED]}

    def load_tests(_: vault.Vault, reference: str, against: Any, **options: Any) -> list[LoadTest]:
        told.update(reference=reference, against=[*against], options=options)
        load_testing.options_of(**options)
        found: list[LoadTest] = told["results"]
        return found

    monkeypatch.setattr(vault.Vault, "load_tests", load_tests)
    return told


def test_a_test_that_passed_is_told_in_a_sentence_and_a_line(owner: User, asked: dict[str, Any]) -> None:
    answer = owner.run("load-test", "churn:1")
    assert (answer.status, answer.out) == (0, "churn:1\t-\tpassed\t500\t0\t\n")
    assert "loads on a clean machine and predicts 500 recorded rows as before." in answer.err
    assert "You signed that: sha256:4444" in answer.err
    assert asked["against"] == [None]
    assert asked["options"] == {
        "installer": "auto", "memory": 8 << 30, "repin": False, "seconds": 300, "unsafe_no_sandbox": False,
        "install_seconds": 1_800,
    }  # fmt: skip


def test_a_test_that_did_not_pass_ends_with_status_1(owner: User, asked: dict[str, Any]) -> None:
    asked["results"] = [DIFFERS]
    answer = owner.run("load-test", "churn:1")
    assert answer.status == 1
    assert "Row 2, predict: recorded 10.0, now 9.0" in answer.err
    assert "did not pass on a clean machine: it predicts otherwise: 1 of 500 recorded rows" in answer.err
    assert "Warning: the first" in answer.err
    assert "the second" not in answer.err


@pytest.mark.parametrize("reason", ["load", "predict", "stopped", "answer"])
def test_every_reason_has_its_words(owner: User, asked: dict[str, Any], reason: str) -> None:
    asked["results"] = [replace(DIFFERS, reason=reason, detail="that is why")]
    assert ": that is why." in owner.run("load-test", "churn:1").err


def test_several_tests_are_a_table_and_what_could_not_be_made_ends_with_status_7(
    owner: User, asked: dict[str, Any]
) -> None:
    asked["results"] = [replace(PASSED, against="here", attestation=None), NOT_TESTED]
    answer = owner.run("load-test", "churn:1", "--against", "here", "--against", "python=3.99")
    assert answer.status == 7
    assert answer.out == (
        "churn:1\there\tpassed\t500\t0\t\n"
        "churn:1\tpython=3.99\tnot tested\t500\t0\tThere is no Python 3.99.\n"
    )
    assert asked["against"] == ["here", "python=3.99"]
    asked["results"] = [DIFFERS, NOT_TESTED]
    assert owner.run("load-test", "churn:1", "--against", "here").status == 1


def test_json_has_the_documented_shape(owner: User, asked: dict[str, Any]) -> None:
    asked["results"] = [PASSED, DIFFERS, NOT_TESTED]
    answer = owner.run("load-test", "churn:1", "--json")
    assert answer.status == 1
    same_shape(json.loads(answer.out), documented("mvault load-test"))


def test_options_are_passed_on_and_the_lock_is_written(
    owner: User, asked: dict[str, Any], tmp_path: Path
) -> None:
    (wheels := tmp_path / "wheels").mkdir()
    (given := tmp_path / "given.txt").write_text("numpy==1\n")
    options = (
        "--wheels",
        str(wheels),
        "--requirements",
        str(given),
        "--rtol",
        "0.1",
        "--atol",
        "0",
        "--repin",
    )
    more = ("--no-record", "--installer", "pip", "--memory", "2", "--timeout", "9", "--unsafe-no-sandbox")
    lock = tmp_path / "lock.txt"
    assert owner.run("load-test", "churn:1", *options, *more, "--lock", str(lock)).status == 0
    assert lock.read_text() == PASSED.lock
    assert asked["options"] == {
        "wheels": wheels, "requirements": given, "rtol": 0.1, "atol": 0.0, "repin": True, "record": False,
        "installer": "pip", "memory": 2 << 30, "seconds": 9, "unsafe_no_sandbox": True,
        "install_seconds": 1_800,
    }  # fmt: skip
    assert owner.run("load-test", "churn:1", "--lock", str(tmp_path)).status == 2
    assert (
        owner.run("load-test", "churn:1", "--lock", "x", "--against", "here", "--against", "here").status == 2
    )


def test_on_a_terminal_it_is_shown_what_was_tested(
    owner: User, asked: dict[str, Any], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from vault.cli.output import Console, Style

    console = Console(Style())
    console.to_terminal = True
    for found in (
        PASSED,
        DIFFERS,
        NOT_TESTED,
        replace(PASSED, rows=0, attestation=None, already=True, landlock=0),
    ):
        testing._print(console, found)
    told = capsys.readouterr()
    assert "numpy 2.4.6, library-0 1" in told.out
    assert "7 more (-v)" in told.out
    assert "no Landlock, seccomp" in told.out
    assert "Changed" in told.out
    assert "No predictions were recorded to compare with." in told.err
    assert "You signed the same before; nothing was written." in told.err
    assert "was not tested against python=3.99: There is no Python 3.99." in told.err


def test_mistakes_are_told(owner: User) -> None:
    for arguments in (
        ("--against", "numpy>=1"),
        ("--rtol", "-1"),
        ("--wheels", "nowhere"),
        ("--installer", "conda"),
    ):
        assert owner.run("load-test", "churn:1", *arguments).status == 2
    answer = owner.run("load-test", "churn:9")
    assert answer.status == 6


def test_what_nobody_can_test_is_told(owner: User) -> None:
    answer = owner.run("load-test", "churn:1")
    assert (answer.status, "nothing to test" in answer.err) == (6, True)
