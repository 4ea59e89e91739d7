"""Which logs a vault has, and what this machine remembers of them."""

from collections.abc import Mapping
from typing import Final

from vault.actions.session import Session
from vault.core import log_names, memory_format
from vault.core.log_chain import Head
from vault.core.log_names import Log

_KINDS: Final = (log_names.TRUST, log_names.ENVIRONMENT, log_names.ACCESS)  # in which they are read


def remembered(session: Session) -> Mapping[str, Head]:
    """Give the heads of logs that this machine remembers, or its trust file brings along."""
    era = session.trust().policy.era
    known = memory_format.in_era(session.memory.load(), era).logs
    return {name: Head(mark.era, mark.number, bytes.fromhex(mark.digest)) for name, mark in known.items()}


def all_logs(session: Session) -> list[Log]:
    """List the logs of the store and those that are remembered: trust, environments, access.

    Raises:
        Unavailable: the store failed.
    """
    from vault.audit import reading

    found = {str(log): log for log in reading.logs(session.store)}
    for name in remembered(session):
        found.setdefault(name, log_names.parse(name))
    return sorted(found.values(), key=lambda log: (_KINDS.index(log.kind), str(log)))
