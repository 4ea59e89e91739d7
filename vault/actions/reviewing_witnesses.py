"""Compare a log with what witnesses have cosigned of it."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Final

from vault.actions.session import Session
from vault.core import log_witness
from vault.core.log_chain import Link
from vault.core.log_names import Log
from vault.core.names import Principal

OK: Final = "ok"
NOTE: Final = "note"
BAD: Final = "bad"
_SIZES: Final = 256  # cosigned sizes that are looked at, newest first

Told = tuple[str, str, str]  # level, message, code


def look(session: Session, log: Log, history: Mapping[int, bytes], newest: Link) -> Iterator[Told]:
    """Say how far witnesses have cosigned a log, and whether they were shown another history of it.

    `history` has the root of every size that the log had after a commit.

    Raises:
        Unavailable: the store failed.
    """
    from vault.audit import cosigning

    policy = session.trust().policy
    wanted = _wanted(session, log)
    best = 0
    who: tuple[Principal, ...] = ()
    for size in sorted(cosigning.sizes(session.store, log), reverse=True)[:_SIZES]:
        for signed in cosigning.collect(session.store, log, policy, size):
            counted = log_witness.cosigners(signed.note, policy, log, (signed.writer,))
            names = tuple(entry.witness for entry in counted)
            if names and history.get(size) != signed.checkpoint.root:
                yield BAD, _other(size, names, newest), "log-inconsistent"
            elif len(names) >= (wanted or 1) and size > best:
                best, who = size, names
    if best:
        later = newest.size - best
        rest = f", and nobody yet the {later:,} after that" if later else ""
        yield OK, f"{', '.join(who)} cosigned it at size {best:,}{rest}.", ""
    elif wanted is not None:
        text = f"{log.environment} asks for {wanted} witnesses, and no entry has them yet."
        yield NOTE, f"{text} Let one run: mvault audit witness", "not-witnessed"
    else:
        yield NOTE, "No witness has cosigned it.", ""


def _wanted(session: Session, log: Log) -> int | None:
    """Give how many witnesses an environment asks for; None where it asks for none."""
    if log.environment is None or log.environment not in session.trust().policy.environments:
        return None
    require = session.trust().policy.environments[log.environment].require
    return (require.witnesses or 1) if require.log == "witnessed" else None


def _other(size: int, who: Sequence[Principal], newest: Link) -> str:
    names = ", ".join(who)
    if size > newest.size:
        return f"{names} cosigned it at size {size:,}, and the store offers {newest.size:,}: its end is cut."
    return f"{names} cosigned another history of it at size {size:,}, so two are about."
