"""The demo's auditor: what happened is in the logs, they are whole, and whoever attacks them is found out."""

from collections import Counter
from typing import Final

from vault.actions.reviewing_replaying import BAD
from vault.actions.reviewing_verifying import YES
from vault.core.audit_record import AuditRecord
from vault.demo import log_attacks
from vault.demo.log_attacks import LogAttack
from vault.demo.stage import LOADER, OWNER, Stage
from vault.demo.story import Story
from vault.errors import VaultError

_COLUMNS: Final = (19, 13, 41)


def read(story: Story, scene: Stage) -> None:
    """Read the logs as an auditor does; hold them against what was signed and what the service was told."""
    story.chapter("What happened is in the logs: an auditor reads them, without any private key", *_COLUMNS)
    records = [row.record for row in scene.auditor().audit.log() if row.record is not None]
    versions = sum(len(scene.owner.versions(row.model)) for row in scene.owner.list())
    decisions = sum(name.endswith(".json") for name in scene.storage.names("channels/"))
    _count(story, "publish", OWNER, _signed(records, "publish"), versions, "as many as there are versions")
    _count(story, "promote", OWNER, _signed(records, "promote"), decisions, "one for each record of prod")
    facts = [*story.facts.get("loads", ()), *story.facts.get("attacks", ())]
    told, logged = Counter(str(fact["code"]) for fact in facts), _outcomes(records)
    _count(story, "load", LOADER, logged.pop("", 0), told.pop("", 0), "all that the service loaded")
    otherwise = f"{dict(logged)} in the log, {dict(told)} told"
    reasons = f"{len(told)} reasons, as the service was told"
    story.promise(
        "load, refused", f"{logged.total()} by {LOADER}", reasons, kept=logged == told, otherwise=otherwise
    )
    _verify(story, scene)


def be_attacked(story: Story, scene: Stage) -> None:
    """Attack the logs; each time, the auditor verifies them again."""
    widest = max(len(attack.title) for attack in log_attacks.ATTACKS)
    title = "Somebody attacks the logs, the owner's key in hand; each time, the auditor verifies"
    story.chapter(title, widest, 7, 17)
    for attack in log_attacks.ATTACKS:
        try:
            attack.apply(scene)
            _judge(story, scene, attack, changed=scene.storage.changed())
        finally:
            scene.storage.restore()


def _signed(records: list[AuditRecord], action: str) -> int:
    """Count what the owner did; documents of one version, or one record of a channel, are one act."""
    done = [entry for entry in records if (entry.actor, entry.action) == (OWNER, action)]
    return len({(entry.model, entry.version, entry.seq) for entry in done})


def _outcomes(records: list[AuditRecord]) -> Counter[str]:
    """Count what the service's loads came to, by code; of two, as after a refusal in use, the later."""
    last: dict[bytes, str] = {}
    for entry in records:  # the newest first
        if (entry.actor, entry.action) == (LOADER, "load") and entry.of is not None:
            last.setdefault(entry.of, entry.code or "")
    return Counter(last.values())


def _count(story: Story, action: str, who: str, found: int, expected: int, meaning: str) -> None:
    otherwise = f"it was done {expected} times"
    story.promise(action, f"{found} by {who}", meaning, kept=found == expected, otherwise=otherwise)


def _verify(story: Story, scene: Stage) -> None:
    found = scene.auditor().audit.verify()
    entries = sum(entry.head.size for entry in found.logs if entry.head is not None)
    told = f"{entries} entries in {len(found.logs)} logs lead to signed roots"
    whole = found.whole == YES
    story.promise("mvault audit verify", f"whole: {found.whole}", told, kept=whole, otherwise=found.because)
    story.facts["audit"] = {"logs": len(found.logs), "entries": entries, "whole": found.whole}


def _judge(story: Story, scene: Stage, attack: LogAttack, *, changed: bool) -> None:
    """Verify as the auditor does, and hold what was found against what the attack must come to."""
    try:
        found = scene.auditor().audit.verify()
        codes = {entry.code for entry in found.findings if entry.level == BAD and not entry.derived}
        message = found.because
    except VaultError as error:
        codes, message = {error.code}, error.message
    told = ", ".join(sorted(codes))
    wrong = {
        "nothing was changed in the storage": not changed,
        f"{told or 'it was whole'}, where {attack.code or 'a whole record'} is right": told != attack.code,
    }
    otherwise = "; ".join(text for text, holds in wrong.items() if holds)
    answer = ("found", told) if told else ("whole", "it does no harm")
    story.promise(attack.title, *answer, kept=not otherwise, otherwise=otherwise)
    fact = {"attack": attack.title, "code": told, "message": message, "ok": not otherwise}
    story.record("log_attacks", fact)
