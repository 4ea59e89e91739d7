"""Resolve the parents that a publisher names: which versions, verified, by the digests of their manifests."""

from collections.abc import Iterable, Mapping
from typing import TypeAlias

from vault.actions import approving, removing, resolving
from vault.actions.session import Session
from vault.arguments import reference_of
from vault.core import limits, manifest
from vault.core.manifest import Parent
from vault.core.names import Reference
from vault.core.stages import Verified

Given: TypeAlias = str | Reference | tuple[str | Reference, str]
Parents: TypeAlias = Iterable[Given] | Mapping[str, str]
Named: TypeAlias = tuple[Reference, str]  # a reference, and a relation of `manifest.RELATIONS`


def named(parents: Parents) -> tuple[Named, ...]:
    """Read `parents=`: references, each alone, as `REF=relation`, or in a pair with its relation.

    What says no relation was fine-tuned from its parent.

    Raises:
        ValueError: a reference or relation is none, or there are more than `limits.PARENTS`.
        TypeError: one text is given in place of a list.
    """
    if isinstance(parents, str | Reference):
        raise TypeError("parents= is a list of references.")
    entries = parents.items() if isinstance(parents, Mapping) else parents
    found = tuple(_named(entry) for entry in entries)
    if len(found) > limits.PARENTS:
        raise ValueError(f"A version has at most {limits.PARENTS} parents.")
    return found


def _named(entry: Given) -> Named:
    if isinstance(entry, tuple):
        reference, relation = entry
    elif isinstance(entry, str) and "=" in entry:
        reference, _, relation = entry.partition("=")
    else:
        reference, relation = entry, manifest.FINE_TUNED_FROM
    if relation not in manifest.RELATIONS:
        raise ValueError(f"A parent's relation is one of {', '.join(manifest.RELATIONS)}, not {relation!r}.")
    return reference_of(reference), relation


def resolve(session: Session, parents: Iterable[Named]) -> tuple[Parent, ...]:
    """Verify the parents of a new version, and give them as its manifest names them.

    A version or digest may be any that its publishers may publish somewhere; a
    channel means what is in force there, a bare name the newest version in dev.

    Raises:
        Refused, NotFound: a parent does not verify, is not there, or was removed; nothing is published.
        Unavailable.
    """
    found = set()
    for reference, relation in parents:
        verified = find(session, reference)
        removing.demand(session, verified)
        found.add(Parent(verified.manifest.model, verified.manifest.version, verified.digest, relation))
    return tuple(sorted(found))


def find(session: Session, reference: Reference) -> Verified:
    """Verify what a reference means, for anybody: a signed manifest, whether or not it may be used anywhere.

    Raises:
        Refused, NotFound, Unavailable.
    """
    resolved = session.resolve(session.environment)
    return approving.verified_for(session, resolving.anybody(resolved, reference.model), reference)
