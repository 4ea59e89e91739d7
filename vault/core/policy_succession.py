"""Find the policy in force among all that were ever stored (docs/format.md, "Policy").

Every policy's signatures are verified. Of most of them it only matters what
they follow, which three fields of the signed bytes tell; parsed, which is by far
the dearest part, are the one that wins and those that somebody raced.
"""

import re
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Final

from vault.core import envelope, names, policy_document
from vault.core.policy import KIND, Policy, PolicyId
from vault.core.trust import Skipped, TrustedRoot, require_threshold
from vault.errors import NotFound, Refused

_ERA: Final = b',"era":'
# In the one spelling of a policy nothing but these fields of it can read so: quotes are escaped in strings,
# and no name of a person, role or environment is followed by a number.
_MIDDLE: Final = re.compile(
    rb',"era":(0|[1-9][0-9]{0,15}),"expires":(?:null|"[^"\\]{1,40}"),"prev":(?:null|"([0-9a-f]{64})"),'
    rb'"principals":\{'
)
_END: Final = re.compile(rb',"vault":"([0-9a-f]{64})","version":([1-9][0-9]{0,15})\}\Z')
_END_BYTES: Final = 128


@dataclass(frozen=True, slots=True)
class Claim:
    """What a policy says of its place, its signatures verified; `parsed` is None until it has to be."""

    number: int
    era: int
    prev: names.Digest | None
    digest: names.Digest
    payload: bytes
    parsed: Policy | None = None

    @property
    def name(self) -> str:
        """What messages call it."""
        return f"policy {self.number}"


def in_force(
    trusted: TrustedRoot, numbers: Iterable[int], read: Callable[[int], bytes], *, whole: bool = False
) -> tuple[Policy, PolicyId, tuple[Skipped, ...]]:
    """Give the policy in force: the highest (era, version) that verifies and came first; the rest is skipped.

    In each era policies are taken by ascending number. One that follows what
    another has followed already is the loser of a race, whenever it turns up,
    and so is what follows a loser. One whose predecessor is not known here,
    as other people signed that, counts. Who wins is the same with and without
    `whole`, which parses them all. Without it signed policies that are malformed,
    and matter to nobody, are not told, and what is skipped in earlier eras is told
    as if none there were.

    Raises:
        NotFound: no policy verifies.
        Unavailable: from `read`.
    """
    claims: dict[int, Claim] = {}
    skipped: list[Skipped] = []
    for number in sorted(set(numbers), reverse=True):
        try:
            claims[number] = _claim(trusted, number, read(number))
        except Refused as refusal:
            skipped.append(Skipped(f"policy {number}", refusal.message, refusal.code))
    while claims:
        counting, losers = _fold(claims.values())
        best = counting[-1]
        wanted = claims.values() if whole else _decisive(claims.values(), counting)
        malformed = []
        for claim in [claim for claim in wanted if claim.parsed is None]:
            try:
                claims[claim.number] = _parsed(claim)
            except Refused as refusal:
                malformed.append(Skipped(claim.name, refusal.message, refusal.code))
                del claims[claim.number]
        if malformed:
            skipped += malformed
            continue  # without them others may have been first
        return (
            _document(claims[best.number]),
            PolicyId(best.era, best.number, best.digest),
            (*skipped, *losers),
        )
    raise NotFound(
        "This vault has no policy that its root holders signed.",
        subject="policy",
        hint="Nothing can be loaded from it. See what lies there instead: mvault check",
    )


def _claim(trusted: TrustedRoot, number: int, data: bytes) -> Claim:
    """Verify a policy's signatures, and read its place.

    Raises:
        Refused: it is not signed, or not what its name says; or malformed, where that is seen by the way.
    """
    sealed = envelope.parse(data, kind=KIND, subject=f"policy {number}")
    require_threshold(trusted.root, sealed, f"policy {number}")
    place = _place(sealed.payload)
    if place is None or place[:2] != (trusted.vault, number):
        policy, policy_id = policy_document.verify(trusted, number, data)
        return Claim(number, policy.era, policy.prev, policy_id.digest, b"", policy)
    return Claim(number, place[2], place[3], sealed.digest, sealed.payload)


def _place(payload: bytes) -> tuple[str, int, int, names.Digest | None] | None:
    """Give vault, version, era and `prev` of a policy, as parsing would; None where only that can tell."""
    found = []
    at = payload.find(_ERA)
    while at >= 0:
        if (middle := _MIDDLE.match(payload, at)) is not None:
            found.append(middle)
        at = payload.find(_ERA, at + 1)
    end = _END.search(payload, max(0, len(payload) - _END_BYTES))
    if len(found) != 1 or end is None:
        return None
    prev = None if found[0][2] is None else names.Digest(found[0][2].decode("ascii"))
    return end[1].decode("ascii"), int(end[2]), int(found[0][1]), prev


def _document(claim: Claim) -> Policy:
    return claim.parsed or policy_document.parse(claim.payload, claim.name)


def _parsed(claim: Claim) -> Claim:
    return Claim(claim.number, claim.era, claim.prev, claim.digest, b"", _document(claim))


def _fold(claims: Iterable[Claim]) -> tuple[list[Claim], list[Skipped]]:
    """Give the policies that counted, one after the other, and those that lost."""
    counting: list[Claim] = []
    losers: list[Skipped] = []
    followed: set[names.Digest | None] = set()
    for claim in sorted(claims, key=lambda claim: (claim.era, claim.number)):
        best = counting[-1] if counting else None
        if best is not None and claim.era > best.era:
            followed.clear()  # the root threshold begins an era from wherever it says
        elif best is not None and claim.prev != best.digest and claim.prev in followed:
            reason = f"it does not follow policy {best.number}, which was first"
            losers.append(Skipped(claim.name, reason, "misplaced"))
            followed.add(claim.digest)
            continue
        elif best is not None:
            followed.add(best.digest)
        followed.add(claim.prev)
        counting.append(claim)
    return counting, losers


def _decisive(claims: Iterable[Claim], counting: list[Claim]) -> list[Claim]:
    """Give those of the newest era that matter: any other could be malformed, and the same one would win.

    That is the winner, and all but those who, alone, follow the one that counted
    before them, and are followed by the one that counted next or by nobody. Without
    such a link those on both sides of it count as before.
    """
    best = counting[-1]
    era = [claim for claim in claims if claim.era == best.era]
    chain = [claim for claim in counting if claim.era == best.era]
    namings = Counter(claim.prev for claim in era)
    links = set()
    for before, claim, after in zip([None, *chain], chain, [*chain[1:], None], strict=False):
        follows = before is None or claim.prev == before.digest
        followers = namings[claim.digest] - (after is not None and after.prev == claim.digest)
        if follows and namings[claim.prev] == 1 and not followers and claim is not best:
            links.add(claim.number)
    return [claim for claim in era if claim.number not in links]
