"""`mvault doctor` says what is wrong, what to do, and ends with the status of the first error."""

import time
from typing import Any

import pytest

import vault
from tests.cli.typing_user import User
from vault.actions import opening

DAY = 86_400
HEADER = b'{"w":{"data_offsets":[0,4],"dtype":"F32","shape":[1]}}'
WEIGHTS = len(HEADER).to_bytes(8, "little") + HEADER + bytes(4)


def findings(user: User, *arguments: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = user.run("doctor", *arguments, "--json").json["findings"]
    return found


def test_a_sound_vault_whose_keys_are_kept_elsewhere_has_no_error_and_no_warning(owner: User) -> None:
    assert owner.run("backup", "nas").status == 0
    assert owner.run("restore", "--drill", "nas").status == 0
    assert owner.run("recovery", "confirm").status == 0
    answer = owner.run("doctor")
    assert answer.status == 0, answer.out + answer.err
    levels = {line.split("\t")[0] for line in answer.out.splitlines()}
    assert levels == {"ok"}
    assert "Nothing is wrong." in answer.err
    subjects = [entry["subject"] for entry in findings(owner)]
    assert {"vault", "memory", "trust", "dev", "prod", "clock", "identity", "libraries"} <= set(subjects)


def test_as_loader_takes_a_reference_through_every_check_and_loads_nothing(
    owner: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        "vault.actions.deserializing.deserialize", lambda *_: pytest.fail("something was deserialized")
    )
    owner.write("weights.safetensors", WEIGHTS)
    owner.run("push", "net", "weights.safetensors")
    owner.run("promote", "net:1", "--env", "prod")
    for reference, said in (("net@prod", "net:1; 1 files would"), ("churn@prod", "churn:1; 0 files would")):
        last = findings(owner, "--as-loader", reference)[-1]
        assert (last["level"], last["subject"]) == ("ok", reference)
        assert said in last["message"]
    missing = owner.run("doctor", "--as-loader", "churn:9")
    assert missing.status == 6


def test_as_loader_finds_an_altered_file(owner: User) -> None:
    (stored,) = (
        path
        for path in (owner.folder / "models/models/churn/@/1/files").iterdir()
        if path.stat().st_size < 100
    )
    data = bytearray(stored.read_bytes())
    data[-1] ^= 1
    stored.chmod(0o600)
    stored.write_bytes(bytes(data))
    answer = owner.run("doctor", "--as-loader", "churn@prod")
    assert answer.status == 3
    assert "decrypt-failed" in answer.out
    assert owner.run("doctor").status == 0


def test_a_vault_that_does_not_open_is_a_finding_with_what_to_do(owner: User) -> None:
    owner.becomes_somebody_else()
    answer = owner.run("doctor", "--vault", "models/")
    assert answer.status == 3
    (line,) = answer.out.splitlines()
    assert line.startswith("error\tvault\t")
    assert "mvault trust models/" in line
    assert line.endswith("not-trusted")
    assert owner.run("doctor", "--vault", "nowhere/").status == 6


def test_without_an_identity_there_is_a_warning_and_with_a_strangers_an_error(owner: User) -> None:
    fingerprint = vault.open("models/").id
    owner.run("identity", "new", "eve", "-o", "eve.json", "--no-passphrase")
    stranger = owner.run("doctor", "--identity", "eve.json")
    assert stranger.status == 8
    assert "not in the vault's policy" in stranger.out
    owner.becomes_somebody_else()
    owner.run("trust", "models/", "--root", fingerprint)
    nobody = owner.run("doctor", "--vault", "models/")
    assert nobody.status == 0
    assert "warning\tidentity" in nobody.out


def test_a_protected_identity_is_not_unlocked_without_a_passphrase_at_hand(owner: User) -> None:
    owner.write("secret.txt", "correct horse")
    assert owner.run("identity", "passphrase", "--new-passphrase-file", "secret.txt").status == 0
    (entry,) = (entry for entry in findings(owner) if entry["subject"] == "identity")
    assert "it is locked" in entry["message"]
    opened = findings(owner, "--passphrase-file", "secret.txt")
    assert any(entry["message"].endswith("holds its key") for entry in opened)


def test_damaged_memory_is_told(owner: User) -> None:
    (memory,) = (owner.home / ".local/state/mvault/memory").glob("*.json")
    memory.write_bytes(b"{}")
    answer = owner.run("doctor")
    assert answer.status == 3
    assert "memory-damaged" in answer.out


def test_memory_that_does_not_last_is_told(owner: User, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MVAULT_STATE_DIR", "model.json/below")
    found = [entry for entry in findings(owner) if entry["subject"] == "memory"]
    assert [entry["level"] for entry in found] == ["warning"]


def test_a_clock_that_is_behind_the_dates_signed_is_told(
    owner: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(opening, "clock", lambda: int(time.time()) - 400 * DAY)
    (entry,) = (entry for entry in findings(owner) if entry["subject"] == "clock")
    assert entry["level"] == "warning"
    assert "Set this machine's clock" in entry["hint"]


def test_a_strangers_policy_does_no_harm_and_is_told(owner: User) -> None:
    def warned() -> list[tuple[str, str]]:
        return [(entry["subject"], entry["code"]) for entry in findings(owner) if entry["level"] != "ok"]

    assert sorted(warned()) == [("backup", ""), ("keys", "")]
    owner.write("models/trust/policy/000009.json", "garbage")
    assert sorted(warned()) == [("backup", ""), ("keys", ""), ("policy 9", "malformed-json")]


POLICY = """
roles:
  owner:
    allow:
      - {actions: [publish, load], env: [dev]}
      - {actions: [load, attest], env: [prod, staging, bank]}
      - {actions: [promote], from: dev, to: prod}
  loader: {allow: []}
environments:
  dev: {formats: [json], require: {load_test: true}}
  prod: {formats: [json], require: {fresh: warn}}
  staging: {formats: [json], require: {fresh: refuse}}
  bank: {formats: [json], require: {audit: true}}
principals:
  owner: {kind: person, roles: [owner]}
"""


def test_environments_tell_what_they_require_and_whether_their_heads_are_fresh(user: User) -> None:
    user.write("policy.yaml", POLICY)
    made = user.run("init", "models/", "--no-passphrase", "--recipient", "x25519", "--policy", "policy.yaml")
    assert made.status == 0, made.err

    def told() -> dict[str, tuple[str, str]]:
        return {
            entry["subject"]: (entry["level"], entry["code"])
            for entry in findings(user)
            if entry["level"] != "ok"
        }

    keys = {"keys": ("warning", "")}  # nobody has said yet that they are kept elsewhere too
    assert told() == {
        "heads of prod": ("warning", ""),
        "heads of staging": ("error", "heads-expired"),
        **keys,
    }
    assert user.run("doctor").status == 3
    assert user.run("renew", "--env", "prod", "--env", "staging").status == 0
    assert told() == keys
    assert user.run("recovery", "confirm").status == 0
    assert told() == {}
    assert user.run("doctor").status == 0
