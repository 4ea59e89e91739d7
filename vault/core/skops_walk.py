"""Walk a skops file before any skops code runs: its zip layout, its tree, and every type it names.

skops restores what `schema.json` describes: a tree of nodes, each with a
`__loader__`, a `__module__` and a `__class__`. Every node must have the exact
shape that skops writes, so that no loader can be given another loader's work.

Format: `skops/io/` of skops 0.16, protocol 2 (`skops.io._protocol`).
"""

from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from typing import Final

from vault.core import limits, skops_nodes, skops_schema, zip_reader
from vault.core import skops_loaders as loaders
from vault.core.skops_types import PLAIN_TYPES
from vault.core.zip_reader import Archive

PROTOCOL: Final = 2
SCHEMA: Final = "schema.json"


@dataclass(frozen=True, slots=True)
class SkopsSummary:
    """What a skops file names, and who wrote it."""

    protocol: int
    skops_version: str
    types: frozenset[str]
    functions: frozenset[str]
    loaders: frozenset[str]
    nodes: int

    @property
    def pins(self) -> tuple[str, ...]:
        """The types and functions to pin, sorted: all but plain containers, numbers and arrays."""
        return tuple(sorted((self.types | self.functions) - PLAIN_TYPES))


def trusted(usable: AbstractSet[str]) -> list[str]:
    """Return what skops is told to trust, for names that were pinned and are allowed."""
    return sorted(usable | {"functools.partial"} if usable & loaders.PARTIAL_TARGETS else usable)


def is_skops(archive: Archive) -> bool:
    """Tell whether an archive has the member that makes it a skops file."""
    return SCHEMA in archive.entries


def walk(data: bytes | memoryview, *, subject: str = "") -> SkopsSummary:
    """Check a whole skops file and return what it names; nothing of it is imported or built.

    Members other than the schema are looked at only as far as their headers;
    their checksums are left to the reader that unpacks them.

    Raises:
        Malformed: `malformed-archive`, the zip layout.
        FormatRefused: `format-content`: another protocol, an unknown or refused loader, a node of
            another shape, an object array, a member that no node refers to.
    """
    archive = zip_reader.open_archive(data)
    if not is_skops(archive):
        raise skops_schema.refused("This is not a skops file: it has no schema.json.", subject)
    schema = skops_schema.parse(archive.read(SCHEMA, limit=limits.SCHEMA_BYTES), subject)
    protocol, version = schema.pop("protocol", None), schema.pop("_skops_version", None)
    if type(protocol) is not int or protocol != PROTOCOL:
        raise skops_schema.refused(f"skops protocol {protocol!r} is not read, only {PROTOCOL}.", subject)
    if not isinstance(version, str):
        raise skops_schema.refused("The skops version is not text.", subject)
    walker = skops_nodes.Walker(archive, subject)
    try:
        walker.node(schema)
    except RecursionError:  # the caller's own stack counts as well
        raise skops_schema.refused("The tree is nested too deeply.", subject) from None
    unused = set(archive.entries) - walker.members - {SCHEMA}
    if unused:
        raise skops_schema.refused(f"Member {min(unused)!r} belongs to no part of the model.", subject)
    return SkopsSummary(
        protocol=protocol,
        skops_version=version,
        types=frozenset(walker.types),
        functions=frozenset(walker.functions),
        loaders=frozenset(walker.loaders),
        nodes=walker.nodes,
    )
