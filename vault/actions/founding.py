"""Found a vault for one person: identity, recovery key, vault, pin; and make identities."""

import getpass
import os
import re
import secrets
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from vault import memory, policyfile
from vault.actions import applying, ballots, draft_files, key_services, logged, probing
from vault.actions import init as new_vault
from vault.actions.draft_files import Draft
from vault.actions.init import ALONE, Founders, Joining
from vault.actions.opening import clock, open_session, passphrases, unlocker
from vault.actions.session import HeldIdentity
from vault.core import names
from vault.core.allowance import Allowance
from vault.core.names import Digest, Environment
from vault.errors import Conflict, NoUsableKey, Refused, Unavailable
from vault.keys import identity_file, recipients
from vault.ports import Store
from vault.settings import Settings

FOUNDING_DRAFTS = (Path("policy-1.json"), Path("root-1.json"))
RECIPIENT_KINDS: Mapping[str, recipients.Kind] = {"hybrid": "mlkem768x25519", "x25519": "x25519"}


def new_identity(
    found: Settings,
    path: Path,
    name: str | None,
    kind: str | None,
    *,
    protect: bool,
    transit: str | None = None,
    version: int | None = None,
) -> identity_file.Identity:
    """Make an identity and write it to a new file.

    `kind` is `hybrid` or `x25519`, or None for an identity without an age key, which
    reads through key services alone. Unless `protect`, the file has no passphrase.
    `transit` is the URL of an Ed25519 key in a transit engine, which signs in place
    of a key in the file, and `version` which version of it (the newest).

    Raises:
        Conflict: the file exists.
        ValueError: there is no such kind, or the key in the service cannot be an identity's.
        Malformed: `malformed-name`.
        NoUsableKey: no passphrase, or no token for the service, is to be had.
        Refused, MissingLibrary: the service refuses, or is not to be trusted; its library is not there.
        Unavailable: the file cannot be written, or the service did not answer.
    """
    if kind is not None and kind not in RECIPIENT_KINDS:
        raise ValueError(f"A recipient is one of {', '.join(RECIPIENT_KINDS)}, not {kind!r}.")
    if path.exists():
        raise Conflict(f"{path} exists and was left as it is.", subject=str(path))
    called = names.principal(name or user_name())
    remote = None
    if transit is not None:
        key, public, service = key_services.find_signer(transit, version)
        remote = (identity_file.Remote(key, service), public)
    age = None if kind is None else recipients.generate_identity(RECIPIENT_KINDS[kind], secrets.token_bytes)
    made = identity_file.new(
        called,
        random=secrets.token_bytes,
        now=clock(),
        age_identity=None if age is None else age.encode(),
        age_recipient=None if age is None else age.recipient().encode(),
        remote=remote,
    )
    protect = protect and not (age is None and remote is not None)  # then nothing in it is secret
    secret = passphrases(found).create(f"the new identity {made.name}") if protect else None
    identity_file.save(made, path, secret)
    return made


def user_name() -> str:
    """Give the user's name as a principal may be called, `owner` where there is none."""
    try:
        name = re.sub(r"[^A-Za-z0-9._-]", "-", getpass.getuser())
        return str(names.principal(name))
    except (OSError, KeyError, ImportError, Refused):
        return "owner"


@dataclass(frozen=True, slots=True)
class NewVault:
    """What `init` made: the vault's id and where the recovery identity was written.

    Where other founders must sign first, `drafts` are the files that they sign.
    """

    vault: Digest
    location: str
    identity: Path | None
    recovery: Path
    made_identity: bool
    drafts: tuple[Path, ...] = ()


@dataclass(frozen=True, slots=True)
class Begun:
    """A vault that `found_by_drafts` founded."""

    vault: Digest
    location: str


def found_vault(
    found: Settings,
    store: Store,
    *,
    name: str | None,
    kind: str,
    services: Sequence[Joining],
    protect: bool,
    recovery: Path | None,
    policy: str | None,
    starter: str = "solo",
    founders: Founders = ALONE,
) -> tuple[NewVault, HeldIdentity]:
    """Make an identity if there is none, found a vault in an empty store, write its recovery key, and pin it.

    `policy` is the path of a policy file; without one it is the shipped `starter`.
    Where other founders must sign, what is written is not a vault yet, and is not pinned.

    Raises:
        Conflict: there is a vault already, one that is gone is trusted here, or the recovery file exists.
        Refused: the store does not keep what a vault rests on (`unsafe-store`); nothing lies there.
        ValueError, Malformed, NoUsableKey, Unavailable: see `new_identity` and `actions.init.init`.
    """
    if kind not in RECIPIENT_KINDS:
        raise ValueError(f"A recipient is one of {', '.join(RECIPIENT_KINDS)}, not {kind!r}.")
    source = policyfile.parse(
        policyfile.shipped(starter) if policy is None else policyfile.read(Path(policy)),
        policy or f"{starter}.yaml",
    )
    places = FOUNDING_DRAFTS if founders.threshold > 1 else ()
    for target in places:
        if target.exists():
            raise Conflict(f"{target} exists and was left as it is.", subject=str(target))
    pins = memory.Pins(found.config_dir)
    if found.config_dir is None and recovery is None:
        raise NoUsableKey("There is no home folder to keep the identity and the recovery key in.")
    new_vault.check_empty(store)
    pins.check_free(store.location)
    unlock = unlocker(found)
    owner: HeldIdentity
    if unlock is not None:
        owner, made = unlock(), False
    else:
        path = found.identity
        if path is None:
            raise NoUsableKey(
                "There is no home folder for a new identity.", hint="Say where: --identity FILE"
            )
        owner, made = new_identity(found, path, name, kind, protect=protect), True
    place = recovery or _recovery_path(found, store)
    if place.exists():
        raise Conflict(f"{place} exists; it is another vault's recovery key.", subject=str(place))
    probed = probing.survey(store)
    result = new_vault.init(
        store,
        owner,
        source,
        kind=RECIPIENT_KINDS[kind],
        services=services,
        founders=founders,
        now=names.time_text(clock()),
        random=secrets.token_bytes,
        keep_recovery=lambda text: _write_recovery(place, text, store.location),
    )
    _name_vault(place, result.vault)
    probing.record(store, probed, names.time_text(clock()))
    _write_drafts(places, result.drafts)
    if found.config_dir is not None and not places:
        pins.add(store.location, result.vault, now=clock())
    return NewVault(result.vault, store.location, found.identity, place, made, places), owner


def found_by_drafts(found: Settings, store: Store, drafts: Sequence[Draft]) -> Begun:
    """Found the vault whose first policy and root enough founders have signed, and pin it.

    Raises:
        UntrustedSigner: `threshold-not-met`.
        Conflict: there is another vault, or another is trusted at this place.
        DigestMismatch, ValueError, Unavailable: see `applying.found_vault`.
    """
    pins = memory.Pins(found.config_dir)
    known = pins.get(store.location)
    vault = ballots.founding(drafts).vault
    if known is not None and known.root != vault:
        pins.check_free(store.location)
    applying.found_vault(store, drafts)
    if found.config_dir is not None:
        pins.add(store.location, vault, now=clock())
        _record(found, store)
    return Begun(vault, store.location)


def _record(found: Settings, store: Store) -> None:
    """Begin the trust log, where whoever put the vault in force has an identity here."""
    if unlocker(found) is not None:
        with suppress(NoUsableKey):
            logged.founded(open_session(found, store, allow=Allowance(), environment=Environment("dev")))


def _recovery_path(found: Settings, store: Store) -> Path:
    place = store.location.partition("?")[0].rstrip("/")  # what follows says how to get there
    label = re.sub(r"[^A-Za-z0-9._-]", "-", place.rpartition("/")[2]) or "vault"
    folder = found.config_dir or Path()
    path = folder / f"recovery-{label}.txt"
    number = 2
    while path.exists():
        path = folder / f"recovery-{label}-{number}.txt"
        number += 1
    return path


def _write_drafts(places: Sequence[Path], drafts: Sequence[Draft]) -> None:
    for target, draft in zip(places, drafts, strict=True):
        draft_files.write_new(target, draft)


def _name_vault(path: Path, vault: Digest) -> None:
    """Write into the recovery identity's file which vault it is of, by which a backup is told later."""
    try:
        with path.open("a", encoding="utf-8") as file:
            file.write(f"# Vault: {names.DIGEST_PREFIX}{vault}\n")
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        raise Unavailable(
            f"The recovery key in {path} cannot be completed: {error.strerror}.", subject=str(path)
        ) from None


def _write_recovery(path: Path, text: str, location: str) -> None:
    """Write the recovery identity as plain age text for stock age programs: 0600, never overwriting."""
    content = (
        f"# Recovery identity of the model vault at {location}.\n"
        "# Whoever holds this file can read every model in it. Keep it offline, in two places.\n"
        f"{text}\n"
    )
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
    except FileExistsError:
        raise Conflict(f"{path} exists and was left as it is.", subject=str(path)) from None
    except OSError as error:
        raise Unavailable(
            f"The recovery key cannot be written to {path}: {error.strerror}.", subject=str(path)
        ) from None
