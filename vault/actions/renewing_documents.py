"""Renew a root or policy that is due: drafted anew with only the dates changed, and signed by its holders."""

from dataclasses import dataclass, replace
from pathlib import Path

from vault.actions import applying, ballots, draft_files, drafting
from vault.actions.ballots import Ballot
from vault.actions.draft_files import Draft
from vault.actions.session import Session, Trust
from vault.core import expiry, names
from vault.core.expiry import Notice
from vault.core.heads import DAY
from vault.core.names import Digest, Principal
from vault.core.policy import Policy
from vault.core.trust import Root
from vault.errors import Conflict


@dataclass(frozen=True, slots=True)
class DueDocument:
    """A root or policy that is due, and what became of it.

    `renewed` is until when it is valid now, None where it was not put in force.
    Then `path` is the draft that holders must sign, and `waiting` those of whom
    `more` must; on a dry run nothing was written to it.
    """

    notice: Notice
    renewed: str | None
    path: Path | None
    waiting: tuple[Principal, ...]
    more: int


def renew(session: Session, within_days: int, *, folder: Path, dry_run: bool) -> tuple[DueDocument, ...]:
    """Renew what expires within so many days; where one signature is too few, leave drafts in `folder`.

    A draft of the same renewal that lies there already gets this identity's
    signature, if it holds a key of the root. What never expires is never due.

    Raises:
        Conflict: another file has a draft's name; or somebody else was first.
        Refused, NotFound, NoUsableKey, Unavailable.
    """
    base = drafting.base_of(session)
    root, policy = base.root.root, base.policy
    due = expiry.documents(root.expires, policy.expires, session.clock(), within=within_days * DAY)
    if not due:
        return ()
    drafts = _drafts(session, base, {notice.subject for notice in due})
    paths = {draft.kind: folder / f"{draft.kind}-{draft.document.version}.json" for draft in drafts}
    known = [_known(draft, paths[draft.kind]) for draft in drafts]
    mine = _signed(session, ballots.ballot(session, known))
    missing = {draft.kind: mine.missing(draft) for draft in mine.drafts}
    if not any(missing.values()):
        if not dry_run:
            applying.apply(session, mine.drafts)
    elif not dry_run:
        for draft in mine.drafts:
            _put(paths[draft.kind], draft)
    found = []
    for draft in mine.drafts:
        notice = next((entry for entry in due if entry.subject == draft.kind), due[0])
        lacks = missing[draft.kind]
        waiting = lacks[0].waiting if lacks else ()
        ready = not any(missing.values())
        found.append(
            DueDocument(
                notice,
                draft.document.expires if ready else None,
                None if ready else paths[draft.kind],
                waiting,
                lacks[0].more if lacks else 0,
            )
        )
    return tuple(found)


def _drafts(session: Session, base: Trust, due: set[str]) -> list[Draft]:
    """Draft what is due; a policy goes with a root under which it would not count."""
    drafts = []
    policy = None
    if "root" in due:
        root, policy = drafting.root_draft(session, expires=_lasts(base.root.root))
        drafts.append(root)
    if "policy" in due or policy is not None:
        drafts.insert(0, drafting.next_policy(session, base, base.policy, expires=_lasts(base.policy)))
    return drafts


def _lasts(document: Root | Policy) -> str | None:
    """Give how long a document was made to last, in days; None where it does not expire."""
    if document.expires is None:
        return None
    return f"{max(1, (names.timestamp(document.expires) - names.timestamp(document.created)) // DAY)}d"


def _known(made: Draft, path: Path) -> Draft:
    """Take the draft of the same renewal that somebody made before, else the one just made.

    Raises:
        Conflict: the file at `path` is something else.
    """
    if not path.exists():
        return made
    before = draft_files.read(path)
    if _but_for_dates(before, made) == made.document:
        return before
    raise Conflict(
        f"{path} is another draft than this renewal, and was left as it is.",
        subject=str(path),
        hint="Apply it, or move it away, then run the same command again.",
    )


def _but_for_dates(before: Draft, made: Draft) -> Root | Policy | None:
    """Give a document with the dates, and of a root the random number, of another."""
    one, other = before.document, made.document
    if isinstance(one, Root) and isinstance(other, Root):
        return replace(one, created=other.created, expires=other.expires, nonce=other.nonce)
    if isinstance(one, Policy) and isinstance(other, Policy):
        return replace(one, created=other.created, expires=other.expires)
    return None


def _signed(session: Session, found: Ballot) -> Ballot:
    """Add this identity's signature to drafts, in memory, if it holds a key of the root."""
    if session.unlock is None or Digest(session.identity.key_id) not in found.keys:
        return found
    identity = session.identity
    mine = [
        draft_files.with_signature(draft, Digest(identity.key_id), identity.sign) for draft in found.drafts
    ]
    return ballots.ballot(session, mine)


def _put(path: Path, draft: Draft) -> None:
    """Write a draft, or add its signatures to the one that is there."""
    if path.exists():
        draft_files.update(path, lambda there: draft_files.merged(there, draft))
    else:
        draft_files.write_new(path, draft)
