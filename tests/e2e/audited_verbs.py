"""Every verb of a vault, as tests of what is recorded run it, and its records. New verbs are to be added."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from unittest import mock

from tests.attesting_parts import PINS
from tests.builders import Built
from tests.e2e.audit_parts import asking, granting
from tests.e2e.test_load_test import model
from vault.actions import load_test_environment, load_test_package, load_test_process
from vault.core import layout, names
from vault.settings import Settings
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


def weights(built: Built) -> None:
    """Publish a model that a load test takes, and let the owner test it."""
    built.amend(granting("owner", "test", "dev"))
    built.publish({"model.onnx": model()}, model="weights")


def load_tested(vault: Vault, built: Built, path: Path) -> None:
    """Test it, but for the installing and the process."""
    with (
        mock.patch.object(load_test_environment.Installer, "install"),
        mock.patch.object(load_test_environment.Installer, "resolve", return_value=PINS),
        mock.patch.object(load_test_package.Tested, "recorded", return_value=PINS),
        mock.patch.object(load_test_process, "run", return_value=load_test_process.Ended(None)),
    ):
        assert vault.load_test("weights:1").attestation


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


def _many(name: str, *records: tuple[str, str]) -> Verb:
    """Do a verb over many models, of which there is one."""
    acts: dict[str, Callable[[Vault, Path], Any]] = {
        "push": lambda vault, path: vault.push_all([{"name": "new", "source": CONTENT}]),
        "promote": lambda vault, path: vault.promote_all("*:2", env="prod"),
        "approve": lambda vault, path: vault.approve_all("*:2", env="prod"),
        "withdraw": lambda vault, path: vault.withdraw_all("*@prod", env="prod"),
        "rollback": lambda vault, path: vault.rollback_all("*", env="prod"),
        "load": lambda vault, path: vault.load_all("*@prod", package=True).batch,
        "pull": lambda vault, path: vault.pull_all("*:1", path / "out"),
    }

    def prepare(built: Built) -> None:
        built.amend(asking(approvals=None))
        if name == "rollback":
            built.promote("churn:2")

    return Verb(lambda vault, built, path: acts[name](vault, path).raise_if_failed(), records, prepare)


def to(
    action: str, more: Callable[[Vault, Built], object] = lambda owner, built: None
) -> Callable[[Built], object]:
    """Let the owner do something, and have them do more, before what is tested."""

    def prepare(built: Built) -> None:
        built.amend(granting("owner", action, "dev", "prod"))
        more(Vault(built.session("owner"), Settings()), built)

    return prepare


def old(owner: Vault, built: Built) -> None:
    """Publish a third version, so that nothing needs the second."""
    built.publish()


def gone(owner: Vault, built: Built) -> None:
    """Remove the second version, without a grace period."""
    old(owner, built)
    assert owner.remove("churn:2", grace="0h").removed


def leftover(owner: Vault, built: Built) -> None:
    built.store.objects[layout.files(names.model("churn"), names.version("9")) + "a" * 32] = b"left"


def restored(vault: Vault, built: Built, path: Path) -> None:
    """Back up, without a receipt, lose the files of a version, and bring them back."""
    vault.backup(path / "nas", receipt=False)
    folder = layout.files(names.model("churn"), names.version("1"))
    for name in [name for name in built.store.objects if name.startswith(folder)]:
        del built.store.objects[name]
    assert vault.restore_version("churn:1", source=path / "nas").restored


def taken_over(vault: Vault, built: Built, path: Path) -> None:
    """Adopt a folder with one model."""
    (path / "old").mkdir()
    (path / "old" / "risk.onnx").write_bytes(model())
    vault.adopt(path / "old", as_="{model}.onnx")


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
    "load_test": Verb(load_tested, (("load", PENDING), ("load", ALLOWED), ("test", ALLOWED)), weights),
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
    "push_all": _many("push", ("publish", ALLOWED), ("publish", ALLOWED)),
    "promote_all": _many("promote", ("promote", ALLOWED)),
    "approve_all": _many("approve", ("approve", ALLOWED)),
    "withdraw_all": _many("withdraw", ("withdraw", ALLOWED)),
    "rollback_all": _many("rollback", ("promote", ALLOWED)),
    "load_all": _many("load", ("load", PENDING), ("load", ALLOWED)),
    "pull_all": _many("pull", ("pull", PENDING), ("pull", ALLOWED)),
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
    "card": Verb(lambda vault, built, path: vault.card("churn@prod"), (("load", PENDING), ("load", ALLOWED))),
    "bom": Verb(lambda vault, built, path: vault.bom("churn@prod"), (("load", PENDING), ("load", ALLOWED))),
    "export_document": Verb(
        lambda vault, built, path: vault.export_document("churn@prod", "MODEL_CARD.md", path / "CARD.md"),
        (("load", PENDING), ("load", ALLOWED)),
    ),
    "diff": Verb(lambda vault, built, path: vault.diff("churn:1", "churn:2"), ()),
    "diff, demanded": Verb(
        lambda vault, built, path: vault.diff("churn@prod", "churn:2"),
        (("load", PENDING), ("load", ALLOWED)),
        lambda built: built.amend(asking(audit=True)),
    ),
    "compare": Verb(lambda vault, built, path: vault.compare(["churn:1", "churn:2"]), ()),
    "compare, demanded": Verb(
        lambda vault, built, path: vault.compare(["churn@prod", "churn:2"]),
        (("load", PENDING), ("load", ALLOWED)),
        lambda built: built.amend(asking(audit=True)),
    ),
    "lineage": Verb(lambda vault, built, path: vault.lineage("churn@prod"), ()),
    "lineage, demanded": Verb(
        lambda vault, built, path: vault.lineage("churn@prod"),
        (("load", PENDING), ("load", ALLOWED)),
        lambda built: built.amend(asking("dev", audit=True)),
    ),
    "search": Verb(lambda vault, built, path: vault.search("churn"), ()),
    "search, demanded": Verb(  # what each load of is recorded is not read
        lambda vault, built, path: vault.search("churn"),
        (),
        lambda built: built.amend(asking("dev", audit=True)),
    ),
    "search, recorded": Verb(
        lambda vault, built, path: vault.index.update(recorded=True),
        (("load", PENDING), ("load", ALLOWED)) * 2,
        lambda built: built.amend(asking("dev", audit=True)),
    ),
    "tag": Verb(lambda vault, built, path: vault.tag("churn:1", "may"), (("tag", ALLOWED),), to("tag")),
    "untag": Verb(
        lambda vault, built, path: vault.untag("churn:1", "may"),
        (("tag", ALLOWED),),
        to("tag", lambda owner, built: owner.tag("churn:1", "may")),
    ),
    "note": Verb(lambda vault, built, path: vault.note("churn:1", "x"), (("tag", ALLOWED),), to("tag")),
    "hold": Verb(
        lambda vault, built, path: vault.hold("churn:1", reason="x"), (("hold", ALLOWED),), to("hold")
    ),
    "release": Verb(
        lambda vault, built, path: vault.release("churn:1"),
        (("hold", ALLOWED),),
        to("hold", lambda owner, built: owner.hold("churn:1", reason="x")),
    ),
    "remove": Verb(
        lambda vault, built, path: vault.remove("churn:2"), (("delete", ALLOWED),), to("delete", old)
    ),
    "retain": Verb(
        lambda vault, built, path: vault.retain("churn", keep_last=1),
        (("delete", ALLOWED),),
        to("delete", old),
    ),
    "take_back": Verb(
        lambda vault, built, path: vault.take_back("churn:2"), (("delete", ALLOWED),), to("delete", gone)
    ),
    "reclaim": Verb(lambda vault, built, path: vault.reclaim(), (("delete", ALLOWED),), to("delete", gone)),
    "sweep": Verb(  # what it deletes was never published
        lambda vault, built, path: vault.sweep(grace="0h"), (), to("delete", leftover)
    ),
    "archive": Verb(
        lambda vault, built, path: vault.archive("churn:2", to=str(path / "cold")),
        (("archive", ALLOWED),),
        to("archive", old),
    ),
    "unarchive": Verb(
        lambda vault, built, path: (
            vault.archive("churn:2", to=str(path / "cold")),
            vault.unarchive("churn:2"),
        ),
        (("archive", ALLOWED), ("archive", ALLOWED)),
        to("archive", old),
    ),
    "backup": Verb(
        lambda vault, built, path: vault.backup(path / "nas"), (("backup", ALLOWED),), to("archive")
    ),
    "backup, without a receipt": Verb(lambda vault, built, path: vault.backup(path / "nas"), ()),
    "verify_backup": Verb(
        lambda vault, built, path: (
            vault.backup(path / "nas", receipt=False),
            vault.verify_backup(path / "nas"),
        ),
        (("backup", ALLOWED),),
        to("archive"),
    ),
    "restore_version": Verb(restored, (("restore", ALLOWED),)),
    "adopt": Verb(taken_over, (("publish", ALLOWED), ("publish", ALLOWED))),
}
