"""Walk a Keras weights file (HDF5) without the HDF5 library, and refuse all but what Keras writes.

HDF5 can keep data in other files (external links, external storage, virtual
datasets), run plug-ins that unpack it (filters), and link in circles. Keras
writes none of these: groups of the oldest kind, and datasets of plain numbers in
one piece each. Every structure that a reader can reach from the superblock is
visited once, and everything else about the file is left alone.

Format: HDF5 File Format Specification 3.0: superblock version 0 (II.A), B-trees
version 1 (III.A.1), symbol tables (III.B, III.C), local heaps (III.D), global
heaps (III.E), object headers version 1 (IV.A.1.a) and their messages (IV.A.2).
"""

import struct
from dataclasses import dataclass, field
from typing import Any, Final

from vault.core import limits
from vault.errors import FormatRefused

_MAGIC: Final = b"\x89HDF\r\n\x1a\n"
_SUPERBLOCK: Final = struct.Struct("<8s8BHHIQQQQ")
_ENTRY: Final = struct.Struct("<QQII16s")
_NODE: Final = struct.Struct("<4sBBHQQ")
_HEAP: Final = struct.Struct("<4sB3xQQQ")
_HEADER: Final = struct.Struct("<BxHII")
_MESSAGE: Final = struct.Struct("<HHB3x")
_NOWHERE: Final = 0xFFFF_FFFF_FFFF_FFFF

_NIL, _DATASPACE, _DATATYPE, _OLD_FILL, _FILL, _LAYOUT = 0x00, 0x01, 0x03, 0x04, 0x05, 0x08
_ATTRIBUTE, _CONTINUATION, _SYMBOL_TABLE = 0x0C, 0x10, 0x11
_IGNORED: Final = frozenset({_NIL, _OLD_FILL, _FILL, 0x0E, 0x12})  # no addresses: fill values, times
_REFUSED: Final = {
    0x02: "new-style links",
    0x06: "links that may lead into other files",
    0x07: "data in other files",
    0x0B: "packed data, which plug-ins unpack",
    0x0F: "shared messages",
}
_MESSAGE_FLAGS: Final = frozenset({0, 1, 4, 5})  # constant, and not to be shared
_FIXED_POINT, _FLOAT, _STRING, _OPAQUE, _ENUM, _VARIABLE = 0, 1, 3, 5, 8, 9
_NUMBERS: Final = frozenset({_FIXED_POINT, _FLOAT, _STRING, _OPAQUE, _ENUM})
_DIMENSIONS: Final = 32
_GROUPS: Final = 128  # groups in groups


@dataclass(frozen=True, slots=True)
class Hdf5Summary:
    """What a weights file holds: datasets by path with their size in bytes."""

    datasets: dict[str, int]


def walk(data: bytes | memoryview, *, subject: str = "") -> Hdf5Summary:
    """Visit everything in a weights file and list its datasets.

    Raises:
        FormatRefused: `format-content`: a link, data elsewhere, filters, types other than plain numbers
            and text, a structure of another version, or one that is damaged.
    """
    view = memoryview(data).toreadonly().cast("B")
    walker = _Walker(view, subject)
    walker.superblock()
    if not walker.siblings <= walker.seen:
        raise walker.bad("has a group whose index leads elsewhere")
    return Hdf5Summary(walker.datasets)


@dataclass(slots=True)
class _Walker:
    """Follows addresses, each at most once."""

    view: memoryview
    subject: str
    datasets: dict[str, int] = field(default_factory=dict)
    seen: set[int] = field(default_factory=set)
    siblings: set[int] = field(default_factory=set)

    def superblock(self) -> None:
        """Read the superblock and walk the root group."""
        fields = self._unpack(_SUPERBLOCK, 0)
        magic, versions, ends = fields[0], fields[1:9], fields[12:16]
        # Superblock, free space, root entry, reserved, shared header; 8-byte offsets and lengths.
        if magic != _MAGIC or versions != (0, 0, 0, 0, 0, 8, 8, 0):
            raise self.bad("is no HDF5 file of the kind that Keras writes")
        if ends != (0, _NOWHERE, len(self.view), _NOWHERE):
            raise self.bad("does not end where it says, or uses a driver of its own")
        _, header, cache, _, scratch = self._unpack(_ENTRY, _SUPERBLOCK.size)
        self._object(header, cache, scratch, "", 0)

    def _object(self, address: int, cache: int, scratch: bytes, path: str, depth: int) -> None:
        """Walk one group or dataset; `cache` and `scratch` are what its entry repeats of a group."""
        if depth > _GROUPS:
            raise self.bad("nests its groups too deeply")
        messages = self._messages(address)
        tables = [body for kind, body in messages if kind == _SYMBOL_TABLE]
        layouts = [body for kind, body in messages if kind == _LAYOUT]
        if len(tables) + len(layouts) != 1:
            raise self.bad(f"has an object {path[:80]!r} that is neither a group nor a dataset")
        if tables:
            if len(tables[0]) < 16 or (cache == 1 and scratch != bytes(tables[0][:16])):
                raise self.bad("tells two stories of a group")
            index, heap = struct.unpack("<QQ", tables[0][:16])
            self._group(index, self._heap(heap), path, depth)
        elif cache:
            raise self.bad("takes a dataset for a group")
        else:
            self._dataset(messages, layouts[0], path)
        for kind, body in messages:
            if kind == _ATTRIBUTE:
                self._attribute(body)

    def _messages(self, address: int) -> list[tuple[int, memoryview]]:
        """Read an object header and its continuations."""
        self._visit(address)
        version, count, _, size = self._unpack(_HEADER, address)
        if version != 1:
            raise self.bad("has an object header of another version")
        blocks = [(address + 16, size)]
        found: list[tuple[int, memoryview]] = []
        for start, length in blocks:
            at, end = start, start + len(self._slice(start, length))
            while at + _MESSAGE.size <= end and len(found) < count:
                kind, size, flags = self._unpack(_MESSAGE, at)
                at += _MESSAGE.size
                if size > end - at or size % 8:
                    raise self.bad("has a message that runs beyond its block")
                body = self._slice(at, size)
                at += size
                if kind in _REFUSED or flags not in _MESSAGE_FLAGS:
                    raise self.bad(f"has {_REFUSED.get(kind, 'shared messages')}")
                if kind == _CONTINUATION:
                    if size < 16:
                        raise self.bad("has a broken continuation")
                    blocks.append(struct.unpack("<QQ", body[:16]))
                    self._visit(blocks[-1][0])
                elif kind not in {_DATASPACE, _DATATYPE, _LAYOUT, _ATTRIBUTE, _SYMBOL_TABLE, *_IGNORED}:
                    raise self.bad(f"has messages of kind {kind:#x}, which Keras does not write")
                found.append((kind, body))
        if len(found) != count:
            raise self.bad("has an object header that is shorter than it says")
        return found

    # --- groups ---

    def _group(self, index: int, heap: memoryview, path: str, depth: int) -> None:
        """Walk a group's index, a B-tree, down to the entries."""
        pending = [index]
        while pending:
            address = pending.pop()
            self._visit(address)
            if bytes(self._slice(address, 4)) == b"SNOD":
                self._entries(address, heap, path, depth)
                continue
            magic, kind, _, count, left, right = self._unpack(_NODE, address)
            if magic != b"TREE" or kind != 0:
                raise self.bad("has a group without an index")
            self.siblings |= {left, right} - {_NOWHERE}
            children = self._slice(address + _NODE.size, 16 * count + 8)
            pending.extend(struct.unpack_from("<Q", children, 16 * number + 8)[0] for number in range(count))

    def _entries(self, address: int, heap: memoryview, path: str, depth: int) -> None:
        _, version, count = self._unpack(struct.Struct("<4sBxH"), address)
        if version != 1:
            raise self.bad("has a symbol table of another version")
        for number in range(count):
            offset, header, cache, _, scratch = self._unpack(_ENTRY, address + 8 + number * _ENTRY.size)
            if cache not in (0, 1):
                raise self.bad("has symbolic links")
            inside = f"{path}/{self._name(heap, offset)}"
            self._object(header, cache, scratch, inside, depth + 1)

    def _heap(self, address: int) -> memoryview:
        self._visit(address)
        magic, version, size, _, segment = self._unpack(_HEAP, address)
        if magic != b"HEAP" or version != 0:
            raise self.bad("has a group without names")
        return self._slice(segment, size)

    def _name(self, heap: memoryview, offset: int) -> str:
        name, end, _ = bytes(heap[offset : offset + limits.PATH_CHARS]).partition(b"\x00")
        try:
            text = name.decode("utf-8")
        except UnicodeDecodeError:
            text = ""
        if not text or not end or "/" in text:
            raise self.bad("has an object without a plain name")
        return text

    # --- data ---

    def _dataset(self, messages: list[tuple[int, memoryview]], layout: memoryview, path: str) -> None:
        spaces = [body for kind, body in messages if kind == _DATASPACE]
        types = [body for kind, body in messages if kind == _DATATYPE]
        if len(spaces) != 1 or len(types) != 1 or len(layout) < 8 or layout[0] != 3:
            raise self.bad(f"has a dataset {path[:80]!r} that Keras does not write")
        size = self._count(spaces[0]) * self._item(types[0], _NUMBERS)
        if layout[1] == 0:
            there = int.from_bytes(layout[2:4], "little")
        elif layout[1] == 1 and len(layout) >= 18:
            address, there = struct.unpack("<QQ", layout[2:18])
            if address != _NOWHERE:
                self._slice(address, there)
            elif there:
                raise self.bad(f"has a dataset {path[:80]!r} without its data")
        else:
            raise self.bad(f"has a dataset {path[:80]!r} in pieces, or gathered from other files")
        if size != there:
            raise self.bad(f"has a dataset {path[:80]!r} that is not as large as it says")
        self.datasets[path] = size

    def _count(self, space: memoryview) -> int:
        """Give the number of items in a dataspace of version 1."""
        if len(space) < 8 or space[0] != 1 or space[1] > _DIMENSIONS or len(space) < 8 + 8 * space[1]:
            raise self.bad("has a dataspace that Keras does not write")
        items = 1
        for extent in struct.unpack_from(f"<{space[1]}Q", space, 8):
            items *= extent
        return items

    def _item(self, kind: memoryview, allowed: frozenset[int]) -> int:
        """Give the size in bytes of one item of a datatype."""
        if len(kind) < 8 or kind[0] >> 4 != 1 or kind[0] & 15 not in allowed:
            raise self.bad("has data that is neither plain numbers nor text")
        return int.from_bytes(kind[4:8], "little")

    def _attribute(self, body: memoryview) -> None:
        """Check a name and a value: numbers, or text that lies in a global heap."""
        if len(body) < 8 or body[0] not in (1, 3) or body[1]:
            raise self.bad("has an attribute that Keras does not write")
        padded = 8 if body[0] == 1 else 1
        at = 8 if body[0] == 1 else 9
        parts = []
        for size in struct.unpack("<HHH", body[2:8]):
            parts.append(body[at : at + size])
            at += -(-size // padded) * padded
            if len(parts[-1]) != size:
                raise self.bad("has an attribute that is shorter than it says")
        _, kind, space = parts
        size = self._count(space) * self._item(kind, _NUMBERS | {_VARIABLE})
        value = body[at : at + size]
        if len(value) != size:
            raise self.bad("has an attribute that is shorter than it says")
        if kind[0] & 15 == _VARIABLE:
            if size % 16 or kind[1] & 15 != 1:  # text, and not lists of anything
                raise self.bad("has an attribute that is neither a number nor text")
            for number in range(0, size, 16):
                _, address, _ = struct.unpack("<IQI", value[number : number + 16])
                self._collection(address)

    def _collection(self, address: int) -> None:
        """Check that text of an attribute lies in this file."""
        magic, size = self._unpack(struct.Struct("<4s4xQ"), address)
        if magic != b"GCOL":
            raise self.bad("has text that is not where it says")
        self._slice(address, size)

    # --- bytes ---

    def _visit(self, address: int) -> None:
        if address in self.seen:
            raise self.bad("leads to the same place twice")
        self.seen.add(address)

    def _slice(self, start: int, length: int) -> memoryview:
        if start > len(self.view) or length > len(self.view) - start:
            raise self.bad("leads beyond its end")
        return self.view[start : start + length]

    def _unpack(self, form: struct.Struct, at: int) -> tuple[Any, ...]:
        return form.unpack(self._slice(at, form.size))

    def bad(self, what: str) -> FormatRefused:
        """Say that the file has something that a weights file does not need."""
        return FormatRefused(
            f"{self.subject or 'The weights file'} {what}.",
            code="format-content",
            subject=self.subject,
            hint="Save the model again with Keras 3: model.save('model.keras').",
        )
