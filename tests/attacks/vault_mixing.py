"""Copy genuine objects to where they do not belong, and tell what a load makes of it."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from tests.builders import Built, Draws
from vault import policyfile
from vault.actions import checking
from vault.actions import init as founding
from vault.actions.check_report import Report
from vault.core import envelope, names, strict_json
from vault.core.names import Principal
from vault.core.policy import Policy
from vault.errors import VaultError
from vault.storage.memory import MemoryStore


def twin(built: Built) -> Built:
    """Found a second vault of the same owner with the same keys of theirs: only the vault differs."""
    store = MemoryStore()
    draws = Draws(f"twin of {built.vault}")
    kept: list[str] = []
    founded = founding.init(
        store,
        built.owner,
        policyfile.parse(policyfile.shipped("solo"), "solo.yaml"),
        kind=built.kind,
        now=names.time_text(built.now),
        random=draws,
        keep_recovery=kept.append,
    )
    return Built(store, founded.vault, built.kind, {"owner": built.owner}, kept[0], draws)


def outcome(built: Built, ref: str, *, who: str = "owner", env: str = "dev") -> str | dict[str, bytes]:
    """Verify and decrypt what a reference means; give the files, or the code of the error."""
    try:
        return built.read(ref, who=who, env=env)
    except VaultError as error:
        return error.code


def only(built: Built, prefix: str, suffix: str = "") -> str:
    """Give the one object whose name begins and ends so."""
    (name,) = (name for name in built.store.objects if name.startswith(prefix) and name.endswith(suffix))
    return name


def headers(built: Built, model: str, version: int, place: str) -> dict[str, str]:
    """Give a version's age headers for one environment and epoch (`prod-1`): file id → name."""
    folder = f"models/{model}/@/{version}/keys/{place}/"
    found = [name for name in built.store.objects if name.startswith(folder)]
    return {name.removeprefix(folder).partition("-")[0]: name for name in found}


def payloads(built: Built, model: str, version: int) -> dict[str, str]:
    """Give the objects of a version's files as the sealing record names them: path → name."""
    data = built.store.objects[f"models/{model}/@/{version}/sealed/000001.json"]
    record = envelope.parse(data, kind="sealing", subject="sealing").payload
    value = strict_json.parse(record)
    assert isinstance(value, dict)
    files = value["files"]
    assert isinstance(files, list)
    return {
        str(entry["path"]): f"models/{model}/@/{version}/files/{entry['id']}"
        for entry in files
        if isinstance(entry, dict)
    }


def resigned(
    built: Built, name: str, kind: str, change: Callable[[dict[str, Any]], object], *who: str
) -> bytes:
    """Give a stored document with a change to its value, signed anew: an insider's forgery."""
    sealed = envelope.parse(built.store.objects[name], kind=kind, subject=name)
    value = strict_json.parse(sealed.payload)
    assert isinstance(value, dict)
    change(value)
    return built.sign(kind, strict_json.encode(value), *who)


def without(who: str) -> Callable[[Policy], Policy]:
    """Take a principal out of the policy."""
    return lambda before: replace(
        before, members={name: entry for name, entry in before.members.items() if name != who}
    )


def revoked(who: str) -> Callable[[Policy], Policy]:
    """Revoke every key of a principal."""

    def change(before: Policy) -> Policy:
        member = before.members[Principal(who)]
        keys = tuple(replace(key, revoked=True) for key in member.keys)
        return replace(before, members={**before.members, member.name: replace(member, keys=keys)})

    return change


def check(built: Built, *, data: bool = True, who: str = "owner") -> Report:
    """Check the whole vault."""
    return checking.check(built.session(who), None, data=data)


def skipped(report: Report) -> set[str]:
    """Give the subjects that a check passed over."""
    return {entry.subject for entry in report.findings if entry.level == "skipped"}
