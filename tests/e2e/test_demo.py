"""`mvault demo` tells a true story: it passes on a sound vault, and fails when anything goes otherwise."""

import json
import os
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.cli.test_cli_verbs import documented, same_shape
from vault.demo import attacks, log_attacks, main, tampering, train
from vault.demo.attacks import Attack
from vault.demo.log_attacks import LogAttack
from vault.demo.stage import Stage
from vault.demo.storage import Storage
from vault.demo.train import Trained


def run_as_json(capsys: pytest.CaptureFixture[str]) -> tuple[int, dict[str, Any]]:
    status = main.run(json=True)
    document: dict[str, Any] = json.loads(capsys.readouterr().out)
    same_shape(document, documented("mvault demo"))
    return status, document


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> Trained:
    """Train one model instead of five."""
    model = next(train.train())
    monkeypatch.setattr(train, "train", lambda: iter([model]))
    return model


def only(monkeypatch: pytest.MonkeyPatch, *chosen: Attack) -> None:
    monkeypatch.setattr(attacks, "ATTACKS", chosen)


@pytest.mark.usefixtures("small")
def test_some_of_the_demo_passes_and_leaves_nothing_behind(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    only(monkeypatch, attacks.ATTACKS[0], attacks.ATTACKS[9])
    check_the_story(capsys, tmp_path, monkeypatch, promises=15)


@pytest.mark.slow
def test_the_whole_demo_passes_and_leaves_nothing_behind(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    check_the_story(capsys, tmp_path, monkeypatch, promises=20)


def check_the_story(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, promises: int
) -> None:
    """Run the demo; hold its story to the attacks there are, and `promises` beside them."""
    home = tmp_path / "home"
    home.mkdir()
    temporary = tmp_path / "tmp"
    temporary.mkdir()
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.setenv("MVAULT_VAULT", "/nowhere")  # the user's own settings are not the demo's
    monkeypatch.setattr("tempfile.tempdir", str(temporary))
    here = Path.cwd()

    status = main.run()

    told = capsys.readouterr().out
    assert status == 0, told
    assert "BROKEN" not in told
    assert "\x1b" not in told, "no colours where nobody is looking"
    seconds = int(re.search(r"Everything went as promised: (\d+) checks in (\d+) s", told)[2])  # type: ignore[index]
    assert seconds < 120, "60 on two idle cores; tests run beside one another"
    assert told.count("  ok\n") == len(attacks.ATTACKS) + promises
    for code in {attack.code for attack in attacks.ATTACKS if attack.code}:
        assert re.search(rf"refused +{code}", told), code
    for on_the_log in log_attacks.ATTACKS:
        outcome = rf"found +{on_the_log.code}" if on_the_log.code else "whole +it does no harm"
        assert re.search(rf"{on_the_log.title} +{outcome} +ok\n", told), on_the_log.title
    assert re.search(r"mvault audit verify +whole: yes +\d+ entries in 4 logs", told)
    assert list(home.iterdir()) == [], "nor do the libraries leave anything: no telemetry"
    assert list(temporary.iterdir()) == []
    assert Path.cwd() == here
    assert os.environ["MVAULT_VAULT"] == "/nowhere"
    assert not {"MVAULT_CONFIG_DIR", "MVAULT_STATE_DIR"} & os.environ.keys()


def test_the_attacks_cover_what_the_issue_lists() -> None:
    codes = {attack.code for attack in attacks.ATTACKS} | {attack.found for attack in attacks.ATTACKS}
    assert codes >= {"decrypt-failed", "key-mismatch", "unsigned", "bad-signature", "untrusted-signer"}
    assert codes >= {"rollback", "misplaced", "digest-mismatch", "size-mismatch", "not-found"}
    assert len({attack.title for attack in attacks.ATTACKS}) == len(attacks.ATTACKS) == 18


def test_the_logs_are_attacked_by_rewriting_cutting_forking_deleting_and_squatting() -> None:
    assert len({attack.title for attack in log_attacks.ATTACKS}) == len(log_attacks.ATTACKS) == 5
    assert [attack.code for attack in log_attacks.ATTACKS] == ["log-inconsistent"] * 4 + [""]


def nothing(stage: Stage) -> None:
    """Leave the storage as it is."""


def only_on_the_log(monkeypatch: pytest.MonkeyPatch, *chosen: LogAttack) -> None:
    monkeypatch.setattr(log_attacks, "ATTACKS", chosen)


@pytest.mark.usefixtures("small")
def test_a_log_that_tells_otherwise_and_an_attack_that_is_not_found_are_named(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    rewrite, cut, *_, squat = log_attacks.ATTACKS
    flip = attacks.ATTACKS[0]

    def forget_a_refusal(stage: Stage) -> None:
        """Flip a byte, and have the service keep its records where nobody looks."""
        flip.apply(stage)
        stage.service.records.rename(stage.folder / "elsewhere")
        stage.service.records.touch()

    only(monkeypatch, replace(flip, apply=forget_a_refusal))
    only_on_the_log(
        monkeypatch, replace(rewrite, code=""), replace(cut, apply=nothing), replace(squat, code="rollback")
    )
    status, document = run_as_json(capsys)
    assert (status, document["ok"]) == (1, False)
    broken = dict(line.split(": ", 1) for line in document["broken"])
    assert broken.keys() >= {"load, refused", rewrite.title, cut.title, squat.title}
    assert "'decrypt-failed': 1" in broken["load, refused"]
    assert broken[rewrite.title] == "log-inconsistent, where a whole record is right"
    assert broken[cut.title].startswith("nothing was changed in the storage; it was whole, where")
    assert broken[squat.title] == "it was whole, where rollback is right"
    assert [entry["ok"] for entry in document["log_attacks"]] == [False] * 3


@pytest.mark.slow
def test_whatever_goes_otherwise_is_named(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, small: Trained
) -> None:
    flip, replaced, strip, promote = (attacks.ATTACKS[index] for index in (0, 1, 3, 9))

    def flip_and_run(stage: Stage) -> None:
        flip.apply(stage)
        stage.marker.touch()

    def harmless(marker: Path) -> bytes:
        del marker
        return b"\x80\x04N."

    only(
        monkeypatch,
        replace(flip, apply=flip_and_run),
        replace(replaced, apply=nothing),
        replace(strip, code="bad-signature"),
        replace(promote, found="misplaced"),
    )
    monkeypatch.setattr(tampering, "pickle", harmless)
    monkeypatch.setattr(train, "train", lambda: iter([replace(small, expected=[2, *small.expected[1:]])]))
    status, document = run_as_json(capsys)
    assert (status, document["ok"]) == (1, False)
    broken = dict(line.split(": ", 1) for line in document["broken"])
    assert broken.keys() >= {flip.title, replaced.title, strip.title, promote.title, "churn@prod"}
    assert "predictions" in broken["churn@prod"]
    assert "the attacker's code ran" in broken[flip.title]
    assert "nothing was changed in the storage" in broken[replaced.title]
    assert f"it was loaded, where {replaced.code} is right" in broken[replaced.title]
    assert "unsigned, where bad-signature is right" in broken[strip.title]
    assert "check does not report misplaced" in broken[promote.title]
    assert "it was there after 1" in broken["(its marker after 4 attacks)"]
    assert "its absence would prove nothing" in broken["(its pickle, loaded without a vault)"]


@pytest.mark.slow
@pytest.mark.usefixtures("small")
def test_bytes_that_are_not_put_back_fail_the_demo_and_the_folder_is_kept_on_request(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    import vault

    def forget(storage: Storage) -> None:
        """Restore nothing."""

    only(monkeypatch, attacks.ATTACKS[0])
    monkeypatch.setattr(Storage, "restore", forget)
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    assert main.run(keep=True) == 1
    told = capsys.readouterr().out
    _, _, broken = told.partition("Not everything went as promised")
    assert [line.partition(":")[0].strip() for line in broken.splitlines()[1:]] == [
        "mvault check",
        "churn@prod",
        "garbage takes the next commit's number",
    ]
    (folder,) = tmp_path.glob("mvault-demo-*")
    assert str(folder) in told
    monkeypatch.setenv("MVAULT_CONFIG_DIR", str(folder / "owner" / "config"))
    monkeypatch.setenv("MVAULT_STATE_DIR", str(folder / "owner" / "state"))
    rows = vault.open(folder / "models").list()
    assert sorted((row.model, row.newest) for row in rows) == [("churn", "2"), ("churn-draft", "1")]


@pytest.mark.usefixtures("small")
@pytest.mark.parametrize("keep", [False, True])
def test_the_vault_may_lie_at_any_empty_place_and_is_removed_unless_it_is_kept(
    keep: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    only(monkeypatch, attacks.ATTACKS[7])
    only_on_the_log(monkeypatch, log_attacks.ATTACKS[1])
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    assert main.run(location="here", keep=keep) == 0
    told = capsys.readouterr().out
    there = [path for path in (tmp_path / "here").rglob("*") if path.is_file()]
    assert bool(there) is keep
    assert (f"mvault ls --vault '{tmp_path / 'here'}'" in told) is keep


def test_what_lies_at_a_location_is_not_touched(tmp_path: Path) -> None:
    (tmp_path / "mine").write_text("mine")
    with pytest.raises(ValueError, match=r"Something lies at .* already"):
        main.run(location=str(tmp_path))
    assert [path.name for path in tmp_path.iterdir()] == ["mine"]
    with pytest.raises(ValueError, match="not a kind of storage"):
        main.run(location="gopher://models")


def test_without_the_libraries_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    from vault.errors import MissingLibrary

    monkeypatch.setattr(train, "_LIBRARIES", ("sklearn", "a_library_that_is_not_here"))
    with pytest.raises(
        MissingLibrary, match=r"needs a_library_that_is_not_here.*model-artifact-vault\[all\]"
    ):
        main.run()
