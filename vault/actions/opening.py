"""Open a vault: settings, pins, identity and memory brought together."""

import os
import secrets
import shlex
import time
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path

from vault import memory, settings
from vault.actions import auditor, index_place, key_services
from vault.actions.session import HeldIdentity, Session
from vault.core import layout, limits, trustfile
from vault.core.allowance import Allowance
from vault.core.memory_format import Memory
from vault.core.names import Digest, Environment
from vault.core.trustfile import TrustFile
from vault.errors import NotFound, Refused, Unavailable
from vault.keys import identity_file, passphrase
from vault.keys.passphrase import PassphraseSource
from vault.ports import Store, is_far
from vault.settings import Settings
from vault.storage.opening import names_server, open_store


def clock() -> int:
    """Give the time in seconds since 1970."""
    return int(time.time())


def gather(flags: Mapping[str, object]) -> Settings:
    """Gather the settings of this process.

    Raises:
        Malformed, ValueError: see `settings.load_settings`.
    """
    return settings.load_settings(flags=flags, environ=os.environ, cwd=Path.cwd())


def locate(found: Settings) -> Store:
    """Open the store that the settings name.

    Raises:
        ValueError: none is named, or it is of a kind that this release does not have.
        MissingLibrary: the library for this kind of storage is not installed.
        Refused: a project's file names a server that this user never trusted (`not-trusted`).
    """
    if found.vault is None:
        raise ValueError(
            "No vault is named. Give its location, or set it: MVAULT_VAULT, or vault = in mvault.toml."
        )
    main = open_store(found.vault)
    if names_server(found.vault):
        _demand_own_server(found, main)
    apart = {name: open_store(location) for name, location in found.stores.items()}
    if not apart or main.location in {store.location for store in apart.values()}:
        return main  # an environment's own store is a vault by itself
    from vault.storage.apart import ApartStore

    return ApartStore(main, apart)


def _demand_own_server(found: Settings, store: Store) -> None:
    """Send this user's credentials to no server that a stranger's project file names.

    Raises:
        Refused: `not-trusted`.
    """
    if os.path.basename(found.source("vault")) != settings.PROJECT_FILE:
        return
    if memory.Pins(found.config_dir).get(store.location) is None:
        raise Refused(
            f"{found.source('vault')} names the server of {store.location}, which is not trusted on this "
            "machine; nothing was sent to it.",
            code="not-trusted",
            subject=store.location,
            hint=f"If it is your team's: mvault trust {shlex.quote(store.location)} --root sha256:…",
        )


def open_session(found: Settings, store: Store, *, allow: Allowance, environment: Environment) -> Session:
    """Open a vault that is trusted here; nothing in it is read yet but what pins it.

    What is odd about the settings is said with `warnings.warn`.

    Raises:
        Refused: the location is not trusted on this machine (`not-trusted`), or a trust file or memory
            is damaged.
        NotFound: there is no vault there (`no-such-vault`).
        Unavailable: a file of this user's cannot be read.
    """
    _warn(found.warnings)
    pinned = _pin(found, store)
    if found.trust is None and os.path.basename(found.source("stores")) == settings.PROJECT_FILE:
        _demand_pins(found, pinned.vault)
    remembered = memory.ClientMemory(pinned.vault, found.state_dir, floor=pinned.floor)
    return Session(
        store=_looked_at(found, store, pinned.vault),
        pin=pinned.vault,
        memory=remembered,
        unlock=unlocker(found),
        environment=environment,
        allowance=_union(_union(allow, pinned.allowance), found.allow),
        clock=clock,
        random=secrets.token_bytes,
        audit=auditor.shared(found.audit, found.state_dir, store.location),
        changed=index_place.toucher(found.state_dir, pinned.vault),
    )


def _looked_at(found: Settings, store: Store, vault: Digest) -> Store:
    """Have a store that is far away asked ahead, and what is read from it kept, if there is a place for it.

    Raises:
        Refused: `not-trusted`: others could write to the cache.
    """
    if found.cache is None and not is_far(store):
        return store
    from vault.storage.ahead import AheadStore
    from vault.storage.cached import FolderCache

    cache = None
    if found.cache is not None:
        try:
            cache = FolderCache(found.cache, vault, store.location, room=found.cache_bytes)
        except Unavailable as error:  # no reason not to load
            _warn((f"{error.message} Nothing is kept. {error.hint}",))
    return AheadStore(store, cache)


def _pin(found: Settings, store: Store) -> TrustFile:
    if found.trust is not None:
        return read_trust_file(found.trust)
    pin = memory.Pins(found.config_dir).get(store.location)
    if pin is None:
        raise _not_trusted(found.vault, store)
    return TrustFile(pin.root, Memory(pin.root), Allowance())


def _demand_pins(found: Settings, vault: Digest) -> None:
    """Demand that the user trusts every store that a project's file names, as with the vault itself.

    What is promoted goes there, so a stranger's file may not choose the place.

    Raises:
        Refused: `not-trusted`.
    """
    for location in found.stores.values():
        pin = memory.Pins(found.config_dir).get(open_store(location).location)
        if pin is None or pin.root != vault:
            raise Refused(
                f"{found.source('stores')} names {location}, which is not trusted on this machine.",
                code="not-trusted",
                subject=location,
                hint=f"If it is your team's: mvault trust {shlex.quote(location)} --root sha256:{vault}",
            )


def as_named(written: str | None, location: str) -> str:
    """Give a location as its user wrote it; of a URL what names no secret, which a password would be."""
    return location if written is None or "://" in written else written


def _not_trusted(written: str | None, store: Store) -> NotFound | Refused:
    """Say what is missing at a location, as the user wrote it, without secrets: the vault, or trust in it."""
    asked = as_named(written, store.location)
    quoted = shlex.quote(asked)
    try:
        store.stat(layout.root(1))
    except NotFound:
        return NotFound(
            f"There is no vault at {asked}.",
            code="no-such-vault",
            subject=asked,
            hint=f"Name another place with --vault or MVAULT_VAULT, or make one: mvault init {quoted}",
        )
    return Refused(
        f"{asked} is not trusted on this machine.",
        code="not-trusted",
        subject=asked,
        hint=f"Ask its owner for the fingerprint, then: mvault trust {quoted} --root sha256:…",
    )


def read_trust_file(path: Path) -> TrustFile:
    """Read a trust file.

    Raises:
        Malformed: `malformed-trust`, or `too-large`.
        NotFound: there is none at this path.
        Unavailable: it cannot be read.
    """
    try:
        with path.open("rb") as file:
            data = file.read(limits.MEMORY_BYTES + 1)
    except FileNotFoundError:
        raise NotFound(f"There is no trust file {path}.", subject=str(path)) from None
    except OSError as error:
        raise Unavailable(f"{path} cannot be read: {error.strerror}.", subject=str(path)) from None
    return trustfile.parse(data, str(path))


def _union(left: Allowance, right: Allowance) -> Allowance:
    return Allowance(
        formats=left.formats | right.formats,
        skops_types=left.skops_types | right.skops_types,
        pickle_globals=left.pickle_globals | right.pickle_globals,
        onnx_domains=left.onnx_domains | right.onnx_domains,
        max_bytes=min(left.max_bytes, right.max_bytes),
    )


def unlocker(found: Settings) -> Callable[[], HeldIdentity] | None:
    """Give what unlocks this user's identity when it is first needed, or None if there is none.

    What is odd about the identity file is said with `warnings.warn`.
    """
    path = found.identity
    if path is None or (not path.exists() and found.source("identity") == settings.DEFAULT):
        return None

    def unlock() -> HeldIdentity:
        opened = identity_file.unlock(path, passphrases(found), key_services.open_signer)
        _warn(opened.warnings)
        return opened

    return unlock


def _warn(sentences: tuple[str, ...]) -> None:
    for sentence in sentences:
        warnings.warn(sentence, stacklevel=4)


def passphrases(found: Settings) -> PassphraseSource:
    """Give the source of passphrases that the settings choose; the prompt where they choose none.

    Raises:
        ValueError: they choose more than one.
    """
    chosen = found.passphrase
    return passphrase.source(file=chosen.file, descriptor=chosen.descriptor, command=chosen.command)
