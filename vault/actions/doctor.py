"""Look whether everything is as a load needs it: store, clock, memory, trust, identity, expiry, keys.

Nothing is changed but this client's memory, as by any reader, and what the probe
of the store writes and deletes; nothing is deserialized. A passphrase is asked
for only where its source is configured.
"""

import os
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from vault.actions import doctor_recovery, doctor_store, keyring, loading, opening, resolving
from vault.actions.checking import all_channels
from vault.actions.doctor_findings import ERROR, OK, WARNING, Finding, guarded, wrong
from vault.actions.libraries import installed
from vault.actions.session import Session
from vault.core import expiry, heads, names, policy
from vault.core.allowance import Allowance
from vault.core.in_force import Signed
from vault.core.names import Digest, Environment, Reference
from vault.core.policy import EnvironmentRule, Member
from vault.errors import NoUsableKey, Refused, VaultError
from vault.keys import identity_file
from vault.settings import PassphraseSettings, Settings

_CHANNELS = 200  # whose newest record is asked for its date


@dataclass(frozen=True, slots=True)
class Diagnosis:
    """What a doctor found, in the order in which it was looked at."""

    findings: tuple[Finding, ...]

    @property
    def healthy(self) -> bool:
        """Tell whether nothing is wrong; warnings are not."""
        return self.status == 0

    @property
    def status(self) -> int:
        """Give the exit status: the first error's, 0 without any."""
        return next((entry.status for entry in self.findings if entry.level == ERROR), 0)


@dataclass(frozen=True, slots=True)
class Wanted:
    """What is looked at beside the rest: `as_loader`, a reference to take through every check of a load.

    `write` says whether to try what the store honours: True always, False never, None if this identity
    may write and what is written can be deleted. `large` tries a large object too.
    """

    as_loader: Reference | None = None
    write: bool | None = None
    large: bool = False


def diagnose(
    found: Settings, *, allow: Allowance, environment: Environment, wanted: Wanted | None = None
) -> Diagnosis:
    """Examine a vault that may not even open; what stops everything else is the last finding.

    Raises:
        ValueError: no vault is named.
    """
    store = opening.locate(found)
    try:
        session = opening.open_session(found, store, allow=allow, environment=environment)
    except VaultError as error:
        return Diagnosis((wrong("vault", error),))
    return examine(session, found, wanted)


def examine(session: Session, found: Settings, wanted: Wanted | None = None) -> Diagnosis:
    """Examine an opened vault."""
    return Diagnosis(tuple(_Examination(session, found, wanted or Wanted()).run()))


class _Examination:
    def __init__(self, session: Session, found: Settings, wanted: Wanted) -> None:
        self._session = session
        self._settings = found
        self._wanted = wanted

    def run(self) -> Iterator[Finding]:
        """Look at one thing after another; without trust documents there is nothing more to look at."""
        yield Finding(OK, "vault", f"{self._session.store.location} is trusted here")
        store = self._session.store
        yield from guarded("store", partial(doctor_store.reads, store))
        yield from guarded("memory", self._memory)
        broken = False
        for finding in guarded("trust", self._trust):
            broken = broken or finding.level == ERROR
            yield finding
        if broken:
            return
        wanted = self._wanted
        probe = partial(doctor_store.writes, self._session, self._settings)
        yield from guarded("probe", partial(probe, asked=wanted.write, large=wanted.large))
        for rule in self._session.trust().policy.environments.values():
            yield from guarded(rule.name, partial(self._environment, rule))
        yield from guarded("clock", self._clock)
        yield from guarded("clock", partial(doctor_store.clock, store, self._session.clock()))
        yield from guarded("identity", self._identity)
        yield from guarded("permissions", partial(doctor_store.identity_mode, self._settings))
        yield from guarded("mount", partial(doctor_store.folders, store))
        yield from guarded("space", partial(doctor_store.space, store))
        yield from guarded("versions", partial(doctor_store.versions, store))
        yield from guarded("backup", partial(doctor_recovery.backups, self._session, self._settings))
        yield from guarded("keys", partial(doctor_recovery.keys, self._session, self._settings))
        yield from self._libraries()
        if wanted.as_loader is not None:
            reference = wanted.as_loader
            yield from guarded(str(reference), partial(self._as_loader, reference))

    def _memory(self) -> Iterator[Finding]:
        known = self._session.memory.load()
        folder = self._settings.state_dir
        if folder is None or not _writable(folder):
            yield Finding(
                WARNING,
                "memory",
                "What this client learns lasts only as long as its process: beyond that, only the trust file "
                "tells an old state of the vault from the newest.",
                "Set MVAULT_STATE_DIR to a folder that can be written, or renew the trust file often.",
            )
            return
        yield Finding(OK, "memory", f"{len(known.channels):,} channels and {len(known.versions):,} versions")

    def _trust(self) -> Iterator[Finding]:
        found = self._session.trust()
        yield Finding(
            OK, "trust", f"root {found.root.root.version} and policy {found.policy.version} are in force"
        )
        for entry in found.skipped:
            yield Finding(
                WARNING,
                entry.name,
                f"It lies in the store and does not count: {entry.reason}",
                "It counted under an older root, or a stranger put it there. It does no harm.",
                entry.code,
            )
        now = self._session.clock()
        for notice in expiry.documents(found.root.root.expires, found.policy.expires, now):
            if not notice.expired:  # what expired is an error of every environment
                yield Finding(WARNING, notice.subject, notice.message, notice.hint)

    def _environment(self, rule: EnvironmentRule) -> Iterator[Finding]:
        resolved = self._session.resolve(rule.name)
        notices = expiry.heads(rule.name, resolved.freshness, self._session.clock())
        for notice in notices:
            state = resolved.freshness
            stops = notice.expired and state is not None and state.mode == heads.REFUSE
            code, status = ("heads-expired", Refused.exit_status) if stops else ("", 0)
            yield Finding(
                ERROR if stops else WARNING, notice.subject, notice.message, notice.hint, code, status
            )
        if not notices:
            attested = "" if resolved.freshness is None else "; its heads are fresh"
            yield Finding(OK, rule.name, f"formats {', '.join(rule.formats) or 'none'}{attested}")

    def _clock(self) -> Iterator[Finding]:
        """Compare this clock with the dates that others signed."""
        now = self._session.clock()
        newest, what = max(self._dates())
        if newest > now + heads.CLOCK_SKEW:
            yield Finding(
                WARNING,
                "clock",
                f"{what} is dated {names.time_text(newest)}; here it is {names.time_text(now)}.",
                "Set this machine's clock. If it is right, whoever signed that has a wrong one.",
            )
            return
        yield Finding(OK, "clock", f"{names.time_text(now)}; the newest of the dates signed is {what}")

    def _dates(self) -> Iterator[tuple[int, str]]:
        found = self._session.trust()
        yield names.timestamp(found.root.root.created), "the root"
        yield names.timestamp(found.policy.created), "the policy"
        for number, where in enumerate(all_channels(self._session)):
            if number == _CHANNELS:
                return
            try:
                resolved = self._session.resolve(where.environment)
                genuine = resolving.judged(self._session, resolved, where)
                newest = next((entry for entry in genuine if isinstance(entry, Signed)), None)
            except Refused:
                continue  # told of its environment
            if newest is not None:
                yield names.timestamp(newest.record.created), f"a record of {where}"

    def _identity(self) -> Iterator[Finding]:
        path = self._settings.identity
        if self._session.unlock is None or path is None:
            yield Finding(
                WARNING,
                "identity",
                "There is none: signatures can be checked, and nothing can be read or signed.",
                "Make one: mvault identity new. Or name one: --identity FILE, MVAULT_IDENTITY.",
            )
            return
        public = identity_file.read_public(path)
        locked = public.protected and self._settings.passphrase == PassphraseSettings()
        current = self._session.trust().policy
        key_id = Digest(public.key_id)
        member = current.holder(key_id)
        root = self._session.trust().root.root
        holder = next((key.name for key in root.keys if key.key_id == key_id), None)
        if member is None and holder is not None:
            yield Finding(OK, "identity", f"{path} is {holder}, who holds the root and has no role")
            return
        if member is None or key_id not in current.counting_keys():
            raise NoUsableKey(
                f"{path} is {public.name}, whose key is not in the vault's policy, or is no longer.",
                subject=str(path),
                hint="Ask the vault's owner to add it, or choose another: MVAULT_IDENTITY, --identity.",
            )
        roles = ", ".join(member.roles) or "no role"
        yield Finding(
            OK, "identity", f"{path} is {member.name} ({roles}){'; it is locked' if locked else ''}"
        )
        for rule in current.environments.values():
            if member in policy.readers(current, rule.name) and rule.epochs:
                yield from guarded(rule.name, partial(self._key, rule, member, locked=locked))

    def _key(self, rule: EnvironmentRule, member: Member, *, locked: bool) -> Iterator[Finding]:
        """Tell whether this identity opens the newest key of an environment that it may read."""
        if locked:
            yield Finding(OK, rule.name, f"{member.name} may read it; whether its key opens was not tried")
            return
        keyring.environment_key(self._session, rule.name, rule.epochs[-1].number)
        yield Finding(OK, rule.name, f"{member.name} holds its key")

    def _libraries(self) -> Iterator[Finding]:
        found = installed()
        listed = ", ".join(f"{name} {version}" for name, version in sorted(found.items()))
        yield Finding(OK, "libraries", listed or "none that a model could need")

    def _as_loader(self, reference: Reference) -> Iterator[Finding]:
        """Take every file of a package through the admission, up to the loader."""
        package = loading.load_package(self._session, reference, {})
        admitted = package.admit_all()
        for warning in package.warnings:
            yield Finding(WARNING, str(reference), warning)
        yield Finding(
            OK, str(reference), f"is {package.reference}; {admitted} files would be loaded, nothing was"
        )


def _writable(folder: Path) -> bool:
    """Tell whether a folder, or the one above it where it is to be made, can be written."""
    while not folder.exists() and folder != folder.parent:
        folder = folder.parent
    return folder.is_dir() and os.access(folder, os.W_OK | os.X_OK)
