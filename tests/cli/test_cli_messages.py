"""What the command says when something is refused: golden messages, exit statuses, no traceback."""

import json
import os
import pickle
import select
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.cli.typing_user import PROGRAM, Answer, User
from vault import errors
from vault.cli.main import cli


def payload(owner: User) -> Path:
    """Find the encrypted bytes of the model, the largest payload there is."""
    files = (owner.folder / "models/models/churn/@/1/files").iterdir()
    return max(files, key=lambda path: path.stat().st_size)


# --- golden messages ---


def test_a_location_that_is_not_trusted(owner: User) -> None:
    owner.becomes_somebody_else()
    answer = owner.run("ls", "--vault", "models/")
    assert answer.status == 3
    assert answer.err == (
        "Error: models/ is not trusted on this machine. Ask its owner for the fingerprint, then: "
        "mvault trust models/ --root sha256:…\n"
    )


def test_a_model_that_was_altered_in_storage(owner: User) -> None:
    damaged = payload(owner)
    data = bytearray(damaged.read_bytes())
    data[20] ^= 1
    damaged.unlink()
    damaged.write_bytes(data)
    answer = owner.run("pull", "churn@prod", "out")
    assert answer.status == 3
    assert "churn:1 was altered in storage: " in answer.err
    assert "differs from what was signed on " in answer.err
    assert "Nothing was loaded. Restore it: mvault restore churn:1\n" in answer.err
    assert not list(owner.folder.glob("out/*"))


def test_a_pickle_is_a_program(owner: User) -> None:
    owner.write("model.pkl", pickle.dumps({"weights": [1, 2]}))
    answer = owner.run("push", "churn", "model.pkl")
    assert answer.status == 5
    assert answer.err.startswith("Error: model.pkl is a pickle, which is a program. ")
    assert owner.run("ls", "churn").out.count("\n") == 1, "nothing was published"


def test_no_vault_at_a_location(user: User) -> None:
    answer = user.run("ls", "--vault", "typo/")
    assert answer.status == 6
    assert answer.err == (
        "Error: There is no vault at typo/. Name another place with --vault or MVAULT_VAULT, "
        "or make one: mvault init typo/\n"
    )


def test_a_misspelt_command_is_guessed(user: User) -> None:
    answer = user.run("pus", "churn")
    assert answer.status == 2
    assert "There is no command 'pus'. Did you mean 'push'?" in answer.err


# --- exit statuses ---


def damaged_manifest(owner: User) -> Answer:
    path = owner.folder / "models/models/churn/@/1/manifest.json"
    data = path.read_bytes()
    path.unlink()
    path.write_bytes(data.replace(b"sig", b"sig", 1)[:-40] + b"A" * 40)
    return owner.run("check", "churn:1")


def loader_promotes(owner: User) -> Answer:
    """A service that may read prod asks for more."""
    owner.run("identity", "new", "web", "-o", "web.json", "--no-passphrase", "--recipient", "x25519")
    owner.run("identity", "export", "web.pub", "--identity", "web.json")
    init = ("init", "second/", "--service", "web=web.pub", "--recipient", "x25519")
    assert owner.run(*init).status == 0
    assert owner.run("push", "churn", "model.json", "--vault", "second/").status == 0
    return owner.run("promote", "churn:1", "--env", "prod", "--vault", "second/", "--identity", "web.json")


def store_in_the_way(owner: User) -> Answer:
    path = owner.folder / "models/models/churn/@/1/manifest.json"
    path.rename(owner.folder / "aside.json")
    path.symlink_to(owner.folder / "aside.json")
    return owner.run("show", "churn:1")


def wrong_passphrase(owner: User) -> Answer:
    owner.write("right.txt", "right\n")
    owner.write("wrong.txt", "wrong\n")
    made = owner.run(
        "identity", "new", "-o", "locked.json", "--passphrase-file", "right.txt", "--recipient", "x25519"
    )
    assert made.status == 0, made.err
    return owner.run(
        "pull", "churn@prod", "out", "--identity", "locked.json", "--passphrase-file", "wrong.txt"
    )


STATUSES: dict[int, list[Callable[[User], Answer]]] = {
    0: [lambda owner: owner.run("check")],
    2: [
        lambda owner: owner.run("show"),
        lambda owner: owner.run("ls", "no such name"),
        lambda owner: owner.run("promote", "churn:1"),
        lambda owner: owner.run("push", "churn", "model.json", "--metric", "auc"),
        lambda owner: owner.run("push", "churn", "model.json", "--metric", "auc=nan"),
        lambda owner: owner.run("push", "churn", "model.json", "--version", "v1"),
        lambda owner: owner.run("ls", "--vault", "s3://bucket?no-such-option=1"),
        lambda owner: owner.run("check", "churn", "--all"),
        lambda owner: owner.run("--nonsense"),
        lambda owner: owner.run("trust", "models/", "--root", "sha256:12"),
        lambda owner: owner.run("ls", "--passphrase-command", "'"),
        lambda owner: owner.run("init", "third/", "--service", "web"),
    ],
    3: [damaged_manifest, lambda owner: owner.run("trust", "models/")],
    4: [loader_promotes],
    5: [lambda owner: owner.run("inspect", str(owner.write("evil.pkl", b"cos\nsystem\n(S'true'\ntR.")))],
    6: [
        lambda owner: owner.run("show", "nothing"),
        lambda owner: owner.run("check", "churn:9"),
        lambda owner: owner.run("push", "churn", "missing.onnx"),
        lambda owner: owner.run("push", "churn", "model.json", "--features", "missing.txt"),
    ],
    7: [store_in_the_way],
    8: [
        wrong_passphrase,
        lambda owner: owner.run("pull", "churn@prod", "out", "--identity", "missing.json"),
        lambda owner: owner.run("identity", "new", "-o", "new.json"),  # nobody can be asked for a passphrase
    ],
    9: [
        lambda owner: owner.run("init", "models/"),
        lambda owner: owner.run("push", "churn", "model.json", "--version", "1"),
        lambda owner: owner.run("identity", "new", "--no-passphrase"),
    ],
}


@pytest.mark.parametrize(
    ("status", "case"), [(status, index) for status, cases in STATUSES.items() for index in range(len(cases))]
)
def test_exit_status(status: int, case: int, owner: User) -> None:
    answer = STATUSES[status][case](owner)
    assert answer.status == status, answer.err
    assert "Traceback" not in answer.err


def test_every_status_of_the_table_has_a_case_or_a_test_of_its_own() -> None:
    classes = [kind for kind in vars(errors).values() if isinstance(kind, type)]
    known = {kind.exit_status for kind in classes if issubclass(kind, errors.VaultError)}
    assert known == set(STATUSES) - {0} | {1}, "1 is a defect, tested below"


# --- defects, interruptions, closed pipes ---


def test_a_defect_says_so_and_shows_no_traceback(user: User, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("vault.settings.load_settings", _broken)
    answer = user.run("ls")
    assert answer.status == 1
    assert answer.err == (
        "Error: This is a defect in mvault: RuntimeError: wheel came off. "
        "Run it again with --debug, and report it.\n"
    )
    debugged = user.run("ls", "--debug")
    assert debugged.status == 1
    assert "Traceback (most recent call last)" in debugged.err
    assert "wheel came off" in debugged.err


def _broken(**_: object) -> None:
    raise RuntimeError("wheel came off")


def test_an_interruption_ends_with_130(user: User) -> None:
    """A pipe is read for the passphrase until Ctrl-C."""
    reading, writing = os.pipe()
    os.write(writing, b"begun")
    process = subprocess.Popen(
        [*PROGRAM, "identity", "new", "-o", "x.json", "--passphrase-fd", str(reading)],
        pass_fds=[reading],
        stderr=subprocess.PIPE,
        text=True,
        # A shell's background job ignores Ctrl-C, and so would its children, this test's among them.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # noqa: PLW1509
    )
    with process:
        for _ in range(600):
            if not select.select([reading], [], [], 0)[0]:
                break  # it took what was there, and waits for more
            time.sleep(0.05)
        process.send_signal(signal.SIGINT)
        _, told = process.communicate(timeout=30)
    os.close(reading)
    os.close(writing)
    assert process.returncode == 130
    assert told.strip() == "Error: Interrupted."


def test_a_closed_pipe_is_quiet(owner: User) -> None:
    for name in range(40):
        owner.write(f"files/{name:03}.json", "[]")
    shell = (
        f"{sys.executable} -c 'from vault.cli.main import main; main()' inspect files --json -v | head -c 1"
    )
    done = subprocess.run(
        ["bash", "-c", f"{shell}; echo ${{PIPESTATUS[0]}}"], capture_output=True, text=True, check=False
    )
    assert done.stderr == ""
    assert done.stdout[1:].strip() in {"0", "141"}, "it had written everything, or was told of the pipe"


def test_writing_to_a_closed_pipe_ends_with_141(owner: User) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    done = subprocess.run(
        [*PROGRAM, "ls"], stdout=writing, stderr=subprocess.PIPE, text=True, check=False, timeout=60
    )
    os.close(writing)
    assert (done.returncode, done.stderr) == (141, "")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="this system has no /dev/full")
def test_a_full_disk_behind_standard_output_is_told(owner: User) -> None:
    with open("/dev/full", "w", encoding="utf-8") as full:
        done = subprocess.run(
            [*PROGRAM, "ls"], stdout=full, stderr=subprocess.PIPE, text=True, check=False, timeout=60
        )
    assert done.returncode == 7
    assert "The output cannot be written: No space left on device." in done.stderr


# --- errors as JSON ---


@pytest.mark.parametrize(
    ("arguments", "status", "code"),
    [
        (("show", "nothing", "--json"), 6, "not-found"),
        (("--json", "show", "nothing"), 6, "not-found"),
        (("show", "--json"), 2, "usage"),
        (("show", "--json", "--nonsense"), 2, "usage"),
        (("ls", "--json", "--vault", "typo/"), 6, "no-such-vault"),
        (("pus", "--json"), 2, "usage"),
    ],
)
def test_an_error_is_one_json_object_too(
    arguments: tuple[str, ...], status: int, code: str, owner: User
) -> None:
    answer = owner.run(*arguments)
    assert answer.status == status
    assert list(answer.json) == ["error"]
    error = answer.json["error"]
    assert list(error) == ["code", "message", "subject", "hint"]
    assert error["code"] == code
    assert error["message"] in answer.err


def test_a_settings_file_can_ask_for_json(owner: User) -> None:
    (owner.folder / "mvault.toml").write_text('vault = "models"\n[display]\njson = true\n')
    assert owner.run("show", "nothing").json["error"]["code"] == "not-found"
    assert owner.run("ls").json["models"][0]["model"] == "churn"


def test_a_settings_file_that_asks_for_too_much_is_refused(owner: User) -> None:
    (owner.folder / "mvault.toml").write_text('identity = "/tmp/theirs.json"\n')
    answer = owner.run("ls", "--json")
    assert answer.status == 3
    assert answer.json["error"]["code"] == "malformed-document"
    assert "which a project may not" in answer.err


# --- warnings ---


def test_an_identity_that_others_may_read_is_warned_about(owner: User) -> None:
    identity = owner.home / ".config/mvault/identity.json"
    identity.chmod(0o644)
    answer = owner.start("pull", "churn@prod", "out")
    assert answer.status == 0
    assert answer.err.startswith(f"Warning: {identity} has no passphrase and others may read it. ")


def test_a_passphrase_in_a_variable_is_warned_about(owner: User) -> None:
    answer = owner.start("ls", MVAULT_PASSPHRASE="secret")
    assert "Warning: MVAULT_PASSPHRASE is not read, since other programs can see it." in answer.err
    assert "secret" not in answer.err + answer.out


# --- nothing steers the terminal ---


def test_a_stranger_s_names_cannot_steer_the_terminal(owner: User) -> None:
    for name in ("1\x1b[2J.json", "000002.json"):
        owner.write(f"models/channels/prod/main/churn/@/{name}", '{"\x1b]0;owned\x07":1}')
    answer = owner.run("check")
    assert answer.status == 0
    assert "skipped\t" in answer.out
    assert "\x1b" not in answer.out + answer.err
    answer = owner.run("ls", "a\x1b[31m")
    assert answer.status == 2
    assert "\x1b" not in answer.err


def test_the_command_can_be_called_from_python() -> None:
    assert cli.main(["completion", "bash"], standalone_mode=False) is None


def test_errors_as_json_are_ascii(user: User) -> None:
    answer = user.run("ls", "--vault", "मोडेल/", "--json")
    assert answer.out.isascii()
    assert json.loads(answer.out)["error"]["subject"] == "मोडेल/"
