"""Which witnesses of a checkpoint count: different ones, and not behind what it is about.

A witness cosigns what it has verified to extend what it saw before, so that a
writer who keeps two histories needs the witness's help (docs/format.md,
"Cosignatures").
"""

from collections.abc import Collection
from dataclasses import dataclass, field

from vault.core import log_keys, note, policy
from vault.core.log_names import Log, parse_witness, witness_name
from vault.core.names import Principal
from vault.core.note import Line, Note
from vault.core.policy import Policy
from vault.errors import LogInconsistent, Refused


@dataclass(frozen=True, slots=True)
class Cosigned:
    """One witness whose cosignature counts, and when it was made, in seconds since 1970."""

    witness: Principal
    time: int
    lines: tuple[Line, ...] = field(
        default=(), compare=False, repr=False
    )  # of the cosignature, and certificate


def cosigners(
    found: Note, current: Policy, log: Log, apart_from: Collection[Principal]
) -> tuple[Cosigned, ...]:
    """Give the witnesses who cosigned a checkpoint and may witness the log, each once, by name.

    Left out is who is in `apart_from` (the writer, the signers of the record in
    question), and who acts for somebody that one of these acts for.
    """
    people = frozenset(person for who in apart_from for person in policy.persons_behind(current, who))
    counted = {}
    for name in sorted({line.name for line in found.lines}):
        witness = parse_witness(current.vault, name)
        if witness is None or witness in apart_from:
            continue
        if people & policy.persons_behind(current, witness):
            continue
        cosigned = _cosigned(found, current, log, witness)
        if cosigned is not None:
            counted[witness] = cosigned
    return tuple(counted[witness] for witness in sorted(counted))


def _cosigned(found: Note, current: Policy, log: Log, witness: Principal) -> Cosigned | None:
    name = witness_name(current.vault, witness)
    for certificate in log_keys.certificates(found, name):
        try:
            certified = log_keys.verify(certificate, current, log, log_keys.WITNESS, name)
        except Refused:
            continue
        if certified.principal == witness and log_keys.may_witness(current, log, certified):
            held = note.cosignature(found, name, certified.key)
            if held is not None:
                time, line = held
                return Cosigned(witness, time, (line, log_keys.certificate_line(name, certificate)))
    return None


def require(
    found: Note, current: Policy, log: Log, wanted: int, apart_from: Collection[Principal]
) -> tuple[Cosigned, ...]:
    """Demand that at least `wanted` different witnesses count, and give them.

    Raises:
        LogInconsistent: `not-witnessed`.
    """
    counted = cosigners(found, current, log, apart_from)
    if len(counted) < wanted:
        raise LogInconsistent(
            f"{len(counted)} of the {wanted} witnesses that it takes have cosigned {log}.",
            code="not-witnessed",
            subject=str(log),
            hint="Let a witness run, then try again: mvault audit witness",
        )
    return counted
