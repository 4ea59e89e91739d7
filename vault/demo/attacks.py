"""The attacker: may read and write everything in the storage, and holds keys that the policy does not trust.

Each attack changes the stored bytes as somebody would who has read
docs/format.md; the service then loads. `expected` is the code of the refusal.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from vault.demo import tampering
from vault.demo.stage import Stage
from vault.demo.tampering import Place


@dataclass(frozen=True, slots=True)
class Attack:
    """One attack: what is done to the storage, what the service then loads, and what must come of it.

    `code` is that of the service's refusal; empty where the attack must be
    without effect. `found` is what `mvault check` must report besides, if anything.
    """

    title: str
    reference: str
    code: str
    apply: Callable[[Stage], None]
    env: str | None = None
    found: str = ""


CHURN: Final = Place("churn", "2")
OLD_CHURN: Final = Place("churn", "1")
DRAFT: Final = Place("churn-draft", "1")  # published to dev, never promoted
NABIL: Final = Place("nepse/NABIL", "1")
NICA: Final = Place("nepse/NICA", "1")
SCB: Final = Place("nepse/SCB", "1")


def _flip_payload(stage: Stage) -> None:
    name = tampering.payload(stage, CHURN, "model.skops")
    data = bytearray(stage.storage.get(name))
    data[len(data) // 2] ^= 1
    stage.storage.put(name, bytes(data))


def _pickle_for_payload(stage: Stage) -> None:
    name = tampering.payload(stage, CHURN, "model.skops")
    size = stage.storage.stat(name).size
    stage.storage.put(name, tampering.pickle(stage.marker).ljust(size, b"\0"))


def _sealed_pickle(stage: Stage) -> None:
    tampering.seal_for_prod(stage, CHURN, "model.skops", tampering.pickle(stage.marker))


def _strip_signatures(stage: Stage) -> None:
    tampering.edit(stage, tampering.manifest(CHURN), lambda document: document | {"signatures": []})


def _flip_manifest(stage: Stage) -> None:
    payload, signatures = tampering.opened(stage, tampering.manifest(CHURN))
    larger = payload.replace(b'"public":false', b'"public":true')
    tampering.put_together(stage, tampering.manifest(CHURN), "manifest", larger, signatures)


def _sign_as_stranger(stage: Stage) -> None:
    tampering.sign_again(stage, tampering.manifest(CHURN), "manifest", tampering.stranger())


def _sign_as_service(stage: Stage) -> None:
    tampering.sign_again(stage, tampering.manifest(CHURN), "manifest", stage.loader)


def _delete_newest_record(stage: Stage) -> None:
    stage.storage.delete(tampering.record("churn", 2))


def _replay_older_record(stage: Stage) -> None:
    stage.storage.put(tampering.record("churn", 2), stage.storage.get(tampering.record("churn", 1)))


def _promote_as_service(stage: Stage) -> None:
    tampering.promote_as(stage, stage.loader, DRAFT)


def _promote_as_stranger(stage: Stage) -> None:
    tampering.promote_as(stage, tampering.stranger(), DRAFT)


def _copy_record_and_keys(stage: Stage) -> None:
    stage.storage.put(tampering.record(DRAFT.model, 1), stage.storage.get(tampering.record("churn", 1)))
    _copy_dev_keys(stage)


def _copy_dev_keys(stage: Stage) -> None:
    stage.storage.copy(tampering.keys(DRAFT, "dev"), tampering.keys(DRAFT, "prod"))


def _copy_other_model(stage: Stage) -> None:
    stage.storage.copy(tampering.version(NICA), tampering.version(NABIL))


def _copy_other_file(stage: Stage) -> None:
    data = stage.storage.get(tampering.payload(stage, NICA, "model.skops"))
    stage.storage.put(tampering.payload(stage, NABIL, "model.skops"), data)


def _copy_older_version(stage: Stage) -> None:
    stage.storage.copy(tampering.version(OLD_CHURN), tampering.version(CHURN))


def _swap_vault(stage: Stage) -> None:
    tampering.found_another(stage)


def _squat(stage: Stage) -> None:
    stage.storage.put(tampering.record(SCB.model, 2), b"garbage")


ATTACKS: Final = (
    Attack("one byte of the encrypted model is flipped", "churn@prod", "decrypt-failed", _flip_payload),
    Attack(
        "the encrypted model is replaced by a pickle", "churn@prod", "decrypt-failed", _pickle_for_payload
    ),
    Attack("by a pickle encrypted to prod's public key", "churn@prod", "key-mismatch", _sealed_pickle),
    Attack("the manifest's signatures are stripped", "churn@prod", "unsigned", _strip_signatures),
    Attack("the manifest is edited", "churn@prod", "bad-signature", _flip_manifest),
    Attack("the manifest is signed by a stranger", "churn@prod", "untrusted-signer", _sign_as_stranger),
    Attack("the manifest is signed by the service", "churn@prod", "untrusted-signer", _sign_as_service),
    Attack("the newest channel record is deleted", "churn@prod", "rollback", _delete_newest_record),
    Attack("an older record is put under its name", "churn@prod", "rollback", _replay_older_record),
    Attack(
        "the service promotes a draft",
        "churn-draft@prod",
        "not-found",
        _promote_as_service,
        found="untrusted-signer",
    ),
    Attack(
        "a stranger promotes a draft",
        "churn-draft@prod",
        "not-found",
        _promote_as_stranger,
        found="untrusted-signer",
    ),
    Attack(
        "another model's record and dev's keys are copied",
        "churn-draft@prod",
        "not-found",
        _copy_record_and_keys,
        found="misplaced",
    ),
    Attack(
        "dev's keys are copied, the draft is asked for",
        "churn-draft:1",
        "not-promoted",
        _copy_dev_keys,
        env="prod",
    ),
    Attack("another model is copied over this one", "nepse/NABIL@prod", "digest-mismatch", _copy_other_model),
    Attack(
        "another model's file is copied over its own", "nepse/NABIL@prod", "size-mismatch", _copy_other_file
    ),
    Attack("version 1 is copied over version 2", "churn@prod", "digest-mismatch", _copy_older_version),
    Attack("the whole vault is replaced by another", "churn@prod", "digest-mismatch", _swap_vault),
    Attack("garbage takes the next record's number", "nepse/SCB@prod", "", _squat),
)
