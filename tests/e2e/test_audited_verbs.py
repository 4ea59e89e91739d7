"""Every verb: what it records when it is done, and that its denial is recorded. New verbs are to be added."""

from collections.abc import Callable
from pathlib import Path

import click
import pytest

from tests.builders import Built, secret_age_key
from tests.e2e.audit_parts import audited, entries, move
from tests.e2e.audited_verbs import (
    ALLOWED,
    DENIED,
    PENDING,
    REFUSED,
    VERBS,
    Verb,
    applied,
    policy_draft,
    taken_over,
)
from tests.log_vaults import logged
from vault.actions.changing import Changes
from vault.actions.policy_reading import PolicyInForce
from vault.actions.reviewing import Audit
from vault.cli import main
from vault.core import names
from vault.errors import AccessDenied, NotFound, Refused, VaultError
from vault.vault import Vault

# What records nothing when it is done, and why not.
SILENT = {
    "save_model": "publishes, as `push` does",
    "save_all": "publishes, as `push_all` does",
    "check_all": "gives out no plaintext",
    "load_model": "is `load_package` and its `.model`",
    "load_tests": "is `load_test`, several times",
    **dict.fromkeys(("list", "versions", "history", "pending", "access"), "reads what is public"),
    **dict.fromkeys(("labels", "holds", "lock", "check_lock"), "reads what is public"),
    "choose": "reads nothing",
    "check_drill": "reads a report",
    "key_backup_reminder": "reads and writes what this machine notes",
    **dict.fromkeys(("can", "who_can", "explain"), "asks the policy"),
    "check": "gives out no plaintext",
    "export_trust": "writes what this client knows",
    **dict.fromkeys(
        ("changes.draft", "changes.draft_root", "changes.look", "changes.status", "changes.team"),
        "changes nothing in the vault",
    ),
    "changes.sign": "changes a file of this user's; a denial is recorded",
    "changes.add": "is `changes.apply` of a draft",
    **{
        f"audit.{name}": "reads logs, or moves and writes what follows from them"
        for name in (
            *("refresh", "log", "follow", "newest_row", "show", "export", "lookup", "kept_as"),
            *("summary", "verify", "prove", "check_proof", "report", "check_report", "status", "flush"),
            "repair",
        )
    },
    **dict.fromkeys(("audit.session", "audit.settings"), "are what it works on"),
    "audit.witness": "its cosignature is the record",
    **{
        f"policy.{name}": "asks the policy"
        for name in ("view", "check", "holder", "onward", "who_can", "explain", "change")
    },
}

# Verbs of the command that are none of the library's, and what becomes of them.
COMMANDS = {
    **dict.fromkeys(
        ("init", "policy apply", "push", "pull", "show", "promote", "approve", "withdraw", "rollback"),
        "the library's",
    ),
    **dict.fromkeys(
        ("adopt-version", "team add", "team remove", "team retire", "access sync", "access rotate"),
        "the library's",
    ),
    **dict.fromkeys(("audit anchor", "audit witness", "renew", "doctor", "check"), "the library's"),
    **dict.fromkeys(
        (
            "load-test",
            "card",
            "bom",
            "tag",
            "note",
            "lineage",
            "search",
            "diff",
            "compare",
            "adopt",
            "archive",
        ),
        "the library's",
    ),
    **dict.fromkeys(("hold", "retain", "backup to", "backup verify"), "the library's"),
    "restore": "the library's; of a whole vault it makes a copy, in which nothing was done",
    **{f"index {name}": "the library's `index`, of this user" for name in ("status", "update", "rebuild")},
    **{f"recovery {name}": "of this user" for name in ("print", "read", "confirm", "status")},
    "lock": "reads what is public",
    **dict.fromkeys(
        ("demo", "completion", "inspect", "convert", "trust location", "trust export"), "no vault is changed"
    ),
    **dict.fromkeys(("sign", "verify"), "stands alone: there is no vault"),
    **{
        f"identity {name}": "of this user"
        for name in ("new", "show", "list", "export", "import", "passphrase", "backup")
    },
    **dict.fromkeys(("ls", "history", "pending", "access show", "team list"), "reads what is public"),
    **{
        f"policy {name}": "asks, or changes a file"
        for name in ("check", "test", "diff", "can-i", "who-can", "explain", "draft", "sign", "status")
    },
    "root draft": "changes a file",
    **{
        f"audit {name}": "reads logs"
        for name in (
            *("log", "show", "summary", "verify", "prove", "check-proof", "report write", "report verify"),
            *("export", "status", "lookup", "repair"),
        )
    },
}


def verbs_of(kind: type, prefix: str = "") -> set[str]:
    found = {name for name in dir(kind) if not name.startswith("_")}
    return {
        f"{prefix}{name}"
        for name in found
        if not isinstance(getattr(kind, name), property) or prefix == "policy."
    }


def test_every_verb_of_the_library_is_here() -> None:
    known = {name.partition(",")[0] for name in VERBS} | set(SILENT)
    there = verbs_of(Vault) | verbs_of(Changes, "changes.") | verbs_of(Audit, "audit.")
    assert there | verbs_of(PolicyInForce, "policy.") == known


def test_every_command_is_here() -> None:
    def walk(command: click.Command, path: str) -> set[str]:
        if not isinstance(command, click.Group):
            return {path}
        context = click.Context(command)
        children = ((name, command.get_command(context, name)) for name in command.list_commands(context))
        return {leaf for name, child in children if child for leaf in walk(child, f"{path} {name}".strip())}

    (root,) = {id(found): found for found in vars(main).values() if isinstance(found, click.Group)}.values()
    assert walk(root, "") == set(COMMANDS)


def prepared(verb: Verb | None) -> Built:
    built = logged("unwitnessed" if verb is not None and verb.logged else "none")
    session = audited(built, None)._session
    for _ in range(2):
        built.publish(session=session)
    built.promote("churn:1", session=session)
    if verb is not None:
        verb.prepare(built)
    return built


@pytest.mark.parametrize("name", VERBS)
def test_what_is_done_is_recorded(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    verb = VERBS[name]
    built = prepared(verb)
    before = {entry.record_id for entry in entries(built)}
    vault = audited(built, None)
    verb.run(vault, built, tmp_path)
    move(vault)
    new = [entry for entry in entries(built) if entry.record_id not in before]
    assert sorted((entry.action, entry.decision) for entry in new) == sorted(verb.records)
    assert all(entry.actor == "owner" and entry.known == "signature" for entry in new)
    assert all(
        entry.evidence for entry in new if entry.decision == ALLOWED and entry.action not in ("load", "pull")
    )


DENIALS: dict[str, tuple[Callable[[Vault, Built, Path], object], str]] = {
    "push": (VERBS["push"].run, "publish"),
    "save_model": (lambda vault, built, path: vault.save_model("new", object(), format="joblib"), "publish"),
    "promote": (VERBS["promote"].run, "promote"),
    "load_package": (VERBS["load_package"].run, "load"),
    "load_test": (lambda vault, built, path: vault.load_test("churn:1"), "load"),
    "pull": (lambda vault, built, path: vault.pull("churn@prod", path / "out"), "pull"),
    "approve": (VERBS["approve"].run, "approve"),
    "withdraw": (VERBS["withdraw"].run, "withdraw"),
    "rollback": (VERBS["rollback"].run, "promote"),
    **{
        f"{name}_all": (VERBS[f"{name}_all"].run, action)
        for name, action in (
            *(("push", "publish"), ("promote", "promote"), ("approve", "approve"), ("withdraw", "withdraw")),
            *(("rollback", "promote"), ("load", "load")),
        )
    },
    "adopt_version": (lambda vault, built, path: vault.adopt_version("churn:1"), "adopt"),
    "renew": (VERBS["renew"].run, "attest"),
    "changes.apply": (
        lambda vault, built, path: vault.changes.apply(policy_draft(vault, built, path)),
        "policy",
    ),
    "changes.sign": (
        lambda vault, built, path: vault.changes.sign(policy_draft(vault, built, path)),
        "policy",
    ),
    "changes.retire": (VERBS["changes.retire"].run, "anchor"),
    "changes.remove": (
        lambda vault, built, path: vault.changes.remove(names.principal("nobody")),
        "policy",
    ),
    "audit.anchor": (VERBS["audit.anchor"].run, "anchor"),
    "rotate_access": (
        lambda vault, built, path: vault.rotate_access("nowhere"),
        "access",
    ),
    "sync_access": (lambda vault, built, path: vault.sync_access("nowhere"), "access"),
    **{name: (VERBS[name].run, "load") for name in ("card", "bom", "export_document")},
    **{name: (VERBS[name].run, "tag") for name in ("tag", "untag", "note")},
    **{name: (VERBS[name].run, "hold") for name in ("hold", "release")},
    "archive": (VERBS["archive"].run, "archive"),
    "archive, a pattern": (
        lambda vault, built, path: vault.archive("churn", to=str(path / "cold"), keep_last=0),
        "archive",
    ),
    "take_back": (VERBS["take_back"].run, "delete"),
}

# Verbs that tell of each model what failed, and raise nothing.
DENIED_ROWS: dict[str, tuple[Callable[[Vault, Built, Path], object], str]] = {
    "remove": (VERBS["remove"].run, "delete"),
    "retain": (VERBS["retain"].run, "delete"),
    "sweep": (VERBS["sweep"].run, "delete"),
    "adopt": (taken_over, "publish"),
}


@pytest.mark.parametrize("name", DENIALS)
def test_what_is_denied_is_recorded_once(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """By wendy, who may witness and nothing else."""
    monkeypatch.chdir(tmp_path)
    run, action = DENIALS[name]
    built = prepared(VERBS[name] if name in ("release", "take_back", "archive") else None)
    before = {entry.record_id for entry in entries(built)}
    vault = audited(built, None, "wendy")
    with pytest.raises(VaultError) as caught:
        run(vault, built, tmp_path)
    move(vault)
    new = [entry for entry in entries(built) if entry.record_id not in before]
    ends = [entry for entry in new if entry.decision != PENDING]
    (end,) = ends
    assert (end.action, end.code, end.actor) == (action, caught.value.code, "wendy")
    if isinstance(caught.value, AccessDenied):
        assert end.decision == DENIED
    elif isinstance(caught.value, Refused):
        assert end.decision == REFUSED
    else:
        assert (end.decision, end.outcome) == (ALLOWED, "failed")
        assert isinstance(caught.value, NotFound)
    assert len(new) == (2 if action in ("load", "pull") else 1)


@pytest.mark.parametrize("name", DENIED_ROWS)
def test_what_is_denied_of_many_is_recorded_once(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    run, action = DENIED_ROWS[name]
    built = prepared(VERBS[name])
    before = {entry.record_id for entry in entries(built)}
    objects = {name for name in built.store.objects if name.startswith("models/")}
    vault = audited(built, None, "wendy")
    run(vault, built, tmp_path)
    move(vault)
    (end,) = [entry for entry in entries(built) if entry.record_id not in before]
    assert (end.action, end.decision, end.code) == (action, DENIED, "access-denied")
    assert {name for name in built.store.objects if name.startswith("models/")} == objects


def test_records_hold_no_keys_no_plaintext_and_no_paths(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    secret = b'{"secret":"hunter2"}'
    built = prepared(None)
    vault = audited(built, None)
    (tmp_path / "model.json").write_bytes(secret)
    vault.push("private", tmp_path / "model.json", params={"password": "swordfish"}, notes="do not tell")
    vault.pull("private:1", tmp_path / "out")
    with pytest.raises(VaultError):
        vault.pull("private:1", tmp_path / "out")
    vault.rotate_access("prod")
    applied(vault, built, tmp_path)
    move(vault)
    from vault.core import audit_record

    text = b"\n".join(audit_record.encode(entry) for entry in entries(built)).decode()
    forbidden = [
        str(tmp_path),
        "hunter2",
        "swordfish",
        "do not tell",
        "AGE-SECRET",
        secret_age_key(built.owner),
    ]
    assert [word for word in forbidden if word in text] == []
