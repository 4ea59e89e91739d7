"""Fetch what a load will ask for before it asks, wave by wave, where the store is far away.

Nothing here decides anything. What is fetched was verified by nobody, and the
steps of the admission ask for it in their own order (`vault/storage/ahead.py`).
Documents are parsed here only to see where they lead; what is garbage leads nowhere.
"""

from collections import Counter
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from typing import Final, TypeVar

from vault.actions import fetching_plan
from vault.actions.fetching_plan import Plan, Wanted
from vault.actions.session import Session
from vault.core import layout
from vault.core.channels import Slots
from vault.core.manifest import FileEntry, Manifest
from vault.core.names import Environment, Reference
from vault.core.policy import EnvironmentRule
from vault.core.stages import Authorised, Sealed, Verified
from vault.errors import DigestMismatch, FormatRefused, NotFound, Refused, VaultError
from vault.storage.ahead import AheadStore
from vault.storage.ahead_look import Look

T = TypeVar("T")

_COMING: Final = 16  # files whose payloads are fetched ahead of the one that is read


def metadata_alone(_: EnvironmentRule, found: Manifest) -> Collection[FileEntry]:
    """Want nothing of a package but what every load reads."""
    return ()


class Fetching:
    """One operation on a vault, which may have a look at its store."""

    def __init__(self, session: Session, look: Look | None) -> None:
        """Let `look`, where there is one, answer for the session's store."""
        self._session = session
        self._look = look

    def attempt(self, work: Callable[[], T]) -> T:
        """Do the work; what is refused by what was fetched early is asked of the store itself once more.

        Two answers that were asked for at the same time may be of different moments:
        heads that attest a record, say, and a listing that has not got it yet.
        A refusal that is raised here came from the store as it is, asked one by one.

        Raises:
            Exception: whatever `work` raises; a refusal that came from the cache says so.
        """
        look = self._look
        if look is None:
            return work()
        try:
            done = work()
        except (Refused, NotFound) as refusal:
            if not look.early or isinstance(refusal, FormatRefused):
                raise
            altered = isinstance(refusal, DigestMismatch)
            self._blame(look, refusal, look.differing(lambda name: altered or not _is_payload(name)))
        else:
            self._blame(look, None, look.keep(_vouching(self._session, look)))
            return done
        look.leave()
        return work()

    def _blame(self, look: Look, refusal: VaultError | None, differing: Collection[str]) -> None:
        """Refuse, where the cache has what the store has not."""
        if not differing:
            return
        folder = look.folder
        name = sorted(differing)[0]
        first = f"{name} does not hold." if refusal is None else refusal.message
        kind, code = (Refused, "digest-mismatch") if refusal is None else (type(refusal), refusal.code)
        raise kind(
            f"{first} It came from the cache {folder}, and the store holds something else.",
            code=code,
            subject=name if refusal is None else refusal.subject,
            hint="It was taken out of the cache: try again. If it happens again somebody writes to that "
            "folder, or the vault was restored from a backup: remove the folder.",
        )

    def each(self, sealed: Sealed, entries: Sequence[FileEntry]) -> Iterator[FileEntry]:
        """Give files one after the other, which are then read, and begin to fetch those that come next."""
        for place, entry in enumerate(entries):
            if self._look is not None:
                coming = (sealed.sealing.file(other.path) for other in entries[place : place + _COMING])
                self._look.expect(fetching_plan.payloads(sealed.sealing, coming))
            yield entry


@contextmanager
def looking(
    session: Session,
    reference: Reference,
    environment: Environment,
    action: str,
    wanted: Wanted = metadata_alone,
) -> Iterator[Fetching]:
    """Have what an action will read of a reference fetched ahead for as long as the block runs.

    `wanted` tells which files, beside the metadata, will be read.
    """
    store = session.store
    if not isinstance(store, AheadStore):
        yield Fetching(session, None)
        return
    with store.look(f"{action} {environment} {reference}") as look:
        look.state = plan = Plan(session, look, reference, environment, wanted)
        plan.begin()
        yield Fetching(session, look)


@contextmanager
def reading(session: Session, sealed: Sealed, entries: Collection[FileEntry]) -> Iterator[Fetching]:
    """Have files of a package that is open fetched ahead for as long as the block runs.

    Within a look that is there already they are fetched for that.
    """
    store = session.store
    if not isinstance(store, AheadStore):
        yield Fetching(session, None)
        return
    record, rule = sealed.sealing, sealed.verified.authorised.resolved.rule
    files = [file for entry in entries if (file := record.file(entry.path)) is not None]
    if (outer := store.inside) is not None:
        outer.expect((*fetching_plan.headers(record, rule, files), *fetching_plan.payloads(record, files)))
        yield Fetching(session, None)
        return
    paths = " ".join(sorted(entry.path for entry in entries)[:4])
    with store.look(f"read {rule.name} {record.model}:{record.version} {len(entries)} {paths}") as look:
        look.expect((*fetching_plan.headers(record, rule, files), *fetching_plan.payloads(record, files)))
        yield Fetching(session, look)


def authorised(session: Session, found: Authorised) -> None:
    """Tell the look that this thread has at a vault, if there is one, what step 3 found."""
    plan = _plan(session)
    if plan is not None:
        plan.authorised(found)


def judged(session: Session, verified: Verified, among: Slots) -> None:
    """Tell that look what was found to hold, and which records were passed over."""
    plan = _plan(session)
    if plan is not None:
        plan.judged(verified, among)


def _plan(session: Session) -> Plan | None:
    look = session.store.current if isinstance(session.store, AheadStore) else None
    return look.state if look is not None and isinstance(look.state, Plan) else None


def _vouching(session: Session, look: Look) -> Callable[[str], bool]:
    """Tell, after an operation that succeeded, what of what it read was found to hold.

    What is named after its own content is not asked about.
    """
    plan = look.state if isinstance(look.state, Plan) else None
    found = None if plan is None else plan.found
    doubted = set() if plan is None else plan.doubted
    if found is not None and session.heads_skipped(found.authorised.resolved.rule.name):
        doubted.add(layout.heads(found.authorised.resolved.rule.name))
    records_read = Counter(_folder(name) for name in look.names_read)

    def vouched(name: str) -> bool:
        folder = _folder(name)
        if folder in (layout.ROOTS, layout.POLICIES):
            return _is_in_force(session, folder, name)
        if folder.startswith((layout.HEADS, "channels/")):
            return found is not None and folder not in doubted
        if folder.endswith("/sealed/"):  # the first that is read is in force, or is passed over
            return records_read[folder] == 1
        if _is_payload(name):
            return True
        return found is not None and name == layout.manifest(found.manifest.model, found.manifest.version)

    return vouched


def _is_in_force(session: Session, folder: str, name: str) -> bool:
    """Tell whether a root, with all others, or a policy was found to be genuine."""
    trust, number = session.last_trust, layout.parse_number(name.removeprefix(folder))
    if trust is None:
        return False
    skipped = {entry.name for entry in trust.skipped}
    if folder == layout.ROOTS:  # each follows the one before it
        return number in trust.listing[0] and not any(entry.startswith("root ") for entry in skipped)
    return number in trust.listing[1] and f"policy {number}" not in skipped


def _folder(name: str) -> str:
    return name.rpartition("/")[0] + "/"


def _is_payload(name: str) -> bool:
    return "/files/" in name
