"""Every verb: what it records when it is done, and that its denial is recorded. New verbs are to be added."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import click
import pytest

from tests.builders import Built, secret_age_key
from tests.e2e.audit_parts import asking, audited, entries, granting, move
from tests.log_vaults import logged
from vault.actions.changing import Changes
from vault.actions.policy_reading import PolicyInForce
from vault.actions.reviewing import Audit
from vault.cli import main
from vault.core import layout, names
from vault.errors import AccessDenied, NotFound, Refused, VaultError
from vault.vault import Vault

CONTENT = b'{"weights":[1,2,3]}'
ALLOWED, PENDING, DENIED, REFUSED = "allow", "pending", "deny", "refuse"


@dataclass(frozen=True)
class Verb:
    """What a verb does in a vault that was prepared, and the (action, decision) of its records."""

    run: Callable[[Vault, Built, Path], object]
    records: tuple[tuple[str, str], ...]
    prepare: Callable[[Built], object] = lambda built: None
    logged: bool = False  # where prod demands its log


def lost(built: Built) -> None:
    """Revoke whom publishing was, so that somebody has to adopt."""

    def change(before: Any) -> Any:
        dora = before.members[names.principal("dora")]
        keys = tuple(replace(key, revoked=True) for key in dora.keys)
        return replace(before, members={**before.members, dora.name: replace(dora, keys=keys)})

    built.amend(granting("owner", "adopt", "dev"))
    built.amend(granting("scientist", "publish", "dev"))
    built.add("dora", "scientist")
    built.publish(who="dora", model="risk")
    built.amend(change)


def unread(built: Built) -> None:
    folder = layout.environment_keys(names.environment("prod"), 1, names.principal("server"))
    for name in [name for name in built.store.objects if name.startswith(folder)]:
        del built.store.objects[name]


def policy_draft(vault: Vault, built: Built, path: Path) -> Path:
    from vault.actions import draft_files, drafting

    session = vault._session
    base = session.trust()
    draft = drafting.next_policy(session, base, replace(base.policy, created=session.now()))
    draft_files.write_new(path / "draft.json", draft)
    return path / "draft.json"


def applied(vault: Vault, built: Built, path: Path) -> None:
    draft = policy_draft(vault, built, path)
    vault.changes.sign(draft)
    vault.changes.apply(draft)


VERBS = {
    "push": Verb(
        lambda vault, built, path: vault.push("new", CONTENT), (("publish", ALLOWED), ("publish", ALLOWED))
    ),
    "promote": Verb(lambda vault, built, path: vault.promote("churn:2", env="prod"), (("promote", ALLOWED),)),
    "promote, logged": Verb(
        lambda vault, built, path: vault.promote("churn:2", env="prod"),
        (("promote", PENDING), ("promote", ALLOWED)),
        logged=True,
    ),
    "watch": Verb(
        lambda vault, built, path: vault.watch("churn@prod", on_change=bool, package=True)(),
        (("load", PENDING), ("load", ALLOWED)),
    ),
    "load_package": Verb(
        lambda vault, built, path: vault.load_package("churn@prod"), (("load", PENDING), ("load", ALLOWED))
    ),
    "pull": Verb(
        lambda vault, built, path: vault.pull("churn:1", path / "out"),
        (("pull", PENDING), ("pull", ALLOWED)),
    ),
    "show": Verb(lambda vault, built, path: vault.show("churn@prod"), ()),
    "show, demanded": Verb(
        lambda vault, built, path: vault.show("churn@prod"),
        (("load", PENDING), ("load", ALLOWED)),
        lambda built: built.amend(asking(audit=True)),
    ),
    "doctor": Verb(
        lambda vault, built, path: vault.doctor(as_loader="churn@prod"),
        (("load", PENDING), ("load", ALLOWED)),
    ),
    "approve": Verb(
        lambda vault, built, path: vault.approve("churn:2", env="prod"),
        (("approve", ALLOWED),),
        lambda built: built.amend(asking(approvals=None)),
    ),
    "withdraw": Verb(
        lambda vault, built, path: vault.withdraw("churn:1", env="prod"), (("withdraw", ALLOWED),)
    ),
    "withdraw, replaced": Verb(
        lambda vault, built, path: vault.withdraw("churn:1", env="prod", replacement="2"),
        (("promote", PENDING), ("promote", ALLOWED)),
        logged=True,
    ),
    "rollback": Verb(
        lambda vault, built, path: vault.rollback("churn", env="prod"),
        (("promote", ALLOWED),),
        lambda built: built.promote("churn:2"),
    ),
    "adopt_version": Verb(
        lambda vault, built, path: vault.adopt_version("risk:1"),
        (("adopt", ALLOWED), ("adopt", ALLOWED)),  # and the sealing record that was signed anew
        lost,
    ),
    "sync_access": Verb(lambda vault, built, path: vault.sync_access("prod"), (("access", ALLOWED),), unread),
    "rotate_access": Verb(
        lambda vault, built, path: vault.rotate_access("prod"), (("policy", ALLOWED), ("access", ALLOWED))
    ),
    "rotate_access, deep": Verb(
        lambda vault, built, path: vault.rotate_access("prod", deep=True),
        (("policy", ALLOWED), ("access", ALLOWED), ("access", ALLOWED)),
    ),
    "renew": Verb(
        lambda vault, built, path: vault.renew("prod"),
        (("attest", ALLOWED),),
        lambda built: built.amend(granting("owner", "attest", "prod")),
    ),
    "changes.apply": Verb(applied, (("policy", ALLOWED),)),
    "changes.remove": Verb(
        lambda vault, built, path: vault.changes.remove(names.principal("max")), (("policy", ALLOWED),)
    ),
    "changes.retire": Verb(
        lambda vault, built, path: vault.changes.retire(names.principal("max")),
        (("anchor", ALLOWED), ("anchor", ALLOWED), ("policy", ALLOWED)),  # of both environments' logs
    ),
    "audit.anchor": Verb(
        lambda vault, built, path: vault.audit.anchor(), (("anchor", ALLOWED), ("anchor", ALLOWED))
    ),
}

# What records nothing when it is done, and why not.
SILENT = {
    "save_model": "publishes, as `push` does",
    "load_model": "is `load_package` and its `.model`",
    **dict.fromkeys(("list", "versions", "history", "pending", "access"), "reads what is public"),
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
        ("demo", "completion", "inspect", "convert", "trust location", "trust export"), "no vault is changed"
    ),
    **dict.fromkeys(("sign", "verify"), "stands alone: there is no vault"),
    **{
        f"identity {name}": "of this user"
        for name in ("new", "show", "list", "export", "import", "passphrase")
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
    "pull": (lambda vault, built, path: vault.pull("churn@prod", path / "out"), "pull"),
    "approve": (VERBS["approve"].run, "approve"),
    "withdraw": (VERBS["withdraw"].run, "withdraw"),
    "rollback": (VERBS["rollback"].run, "promote"),
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
}


@pytest.mark.parametrize("name", DENIALS)
def test_what_is_denied_is_recorded_once(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """By wendy, who may witness and nothing else."""
    monkeypatch.chdir(tmp_path)
    run, action = DENIALS[name]
    built = prepared(None)
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
