"""What the parts of the gate hand each other: stand-ins for names, unfinished products, and findings."""

from dataclasses import dataclass
from typing import Any

from vault.core import pickle_host


class Unfit(Exception):
    """Carries why a product cannot be made up to the host, which knows the file."""


def require(holds: object, what: str) -> None:
    """Refuse a product unless something holds.

    Raises:
        Unfit: it does not hold.
    """
    if not holds:
        raise Unfit(what)


@dataclass(frozen=True, slots=True)
class StandIn:
    """What `find` returns for a name that the gate builds itself; of no use in a model."""

    name: str


class Part(pickle_host.Draft):
    """A product that waits for its state; nothing compiled exists before the state was checked."""

    __slots__ = ()

    def finish(self, state: Any) -> object:
        """Return the product, or a `RawArray` where its bytes follow.

        Raises:
            Unfit: the state does not fit, or was altered.
        """
        raise NotImplementedError


def named(value: object) -> str:
    """Give the name that a stand-in stands for; empty for anything else."""
    return value.name if isinstance(value, StandIn) else ""
