"""Remember on this machine when a vault's keys were last backed up, and when a drill was last held.

Notes, not evidence: only reminders rest on them (`doctor`, `init`, `push`).
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from vault.core import limits, names, strict_json
from vault.core.fields import Fields, one_of, plain, time
from vault.core.names import Digest
from vault.errors import Malformed, Refused, Unavailable
from vault.locked_file import LockedFile, unwritable
from vault.settings import Settings

_FORMAT: Final = "mvault-recovery-notes-v1"
_FILE: Final = "recovery-notes.json"
_BYTES: Final = limits.MIB
_VAULTS: Final = 5_000


@dataclass(frozen=True, slots=True)
class Notes:
    """What is noted of one vault; times as documents spell them, None for never.

    `keys` is when somebody confirmed that the keys are kept elsewhere, `told` when
    this user was last reminded of it, `drill` when a drill was last held here, of
    which `outcome` says what came.
    """

    keys: str | None = None
    told: str | None = None
    drill: str | None = None
    outcome: str | None = None


def of(found: Settings, vault: Digest) -> Notes:
    """Give what is noted of a vault; what cannot be read counts as nothing noted.

    Raises:
        Unavailable: it cannot be read now.
    """
    if found.config_dir is None:
        return Notes()
    try:
        data, _ = LockedFile(found.config_dir / _FILE).read(_BYTES)
        return _parse(data).get(vault, Notes()) if data else Notes()
    except Refused:
        return Notes()


def note(found: Settings, vault: Digest, **change: str) -> None:
    """Note something of a vault.

    Raises:
        Unavailable: there is no folder for it, or it cannot be written.
    """
    if found.config_dir is None:
        raise Unavailable(
            "There is no home folder to note it in.",
            code="storage-denied",
            hint="Set MVAULT_CONFIG_DIR to a folder that you may write to.",
        )
    file = LockedFile(Path(found.config_dir) / _FILE)
    try:
        with file.locked():
            try:
                data, _ = file.read(_BYTES)
                known = _parse(data) if data else {}
            except Refused:
                known = {}
            known = dict(list(known.items())[-_VAULTS + 1 :])
            known[vault] = replace(known.get(vault, Notes()), **change)
            file.replace(_encode(known))
    except OSError as error:
        raise unwritable(file.path, error) from None


def _encode(known: Mapping[Digest, Notes]) -> bytes:
    return strict_json.encode(
        {
            "format": _FORMAT,
            "vaults": {
                vault: {"drill": one.drill, "keys": one.keys, "outcome": one.outcome, "told": one.told}
                for vault, one in known.items()
            },
        }
    )


def _parse(data: bytes) -> dict[Digest, Notes]:
    fields = Fields(strict_json.parse(data, subject=_FILE), _FILE)
    if fields.text("format", plain) != _FORMAT:
        raise Malformed(f"{_FILE} is of another release.", subject=_FILE)
    found = {}
    for vault, value in fields.mapping("vaults", names.digest, _VAULTS).items():
        inner = Fields(value, _FILE)
        found[vault] = Notes(
            drill=inner.optional("drill", time),
            keys=inner.optional("keys", time),
            outcome=inner.optional("outcome", one_of("passed", "failed")),
            told=inner.optional("told", time),
        )
        inner.done()
    fields.done()
    return found
