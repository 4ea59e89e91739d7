"""What tests of the static stages for TensorFlow and Keras share: small real models, and hostile ones."""

import json
import struct
import zipfile
from collections.abc import Callable, Iterable, Mapping
from io import BytesIO
from pathlib import Path

DATA = Path(__file__).parent.parent / "tensorflow" / "data"
NOWHERE = 0xFFFF_FFFF_FFFF_FFFF


# --- protobuf ---


def varint(value: int) -> bytes:
    """Write a base-128 number."""
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def part(number: int, value: bytes | str | int) -> bytes:
    """Write one field: a number, a text, or a message."""
    if isinstance(value, int):
        return varint(number << 3) + varint(value)
    data = value.encode() if isinstance(value, str) else value
    return varint(number << 3 | 2) + varint(len(data)) + data


def node(name: str, operator: str, *inputs: str, calls: str = "", attributes: bytes = b"") -> bytes:
    """Write a node of a graph, which may call a function."""
    called = part(5, part(1, "f") + part(2, part(10, part(1, calls)))) if calls else b""
    return (
        part(1, name) + part(2, operator) + b"".join(part(3, text) for text in inputs) + called + attributes
    )


def function(name: str, *nodes: bytes, arguments: Iterable[str] = (), attributes: bytes = b"") -> bytes:
    """Write a function of a library."""
    signature = part(1, name) + b"".join(part(2, part(1, text)) for text in arguments)
    return part(1, signature) + b"".join(part(3, entry) for entry in nodes) + attributes


SAVER = (
    function(
        "__inference__traced_save_1",
        node("SaveV2", "SaveV2", "prefix"),
        node("MergeV2Checkpoints", "MergeV2Checkpoints", "prefix"),
        arguments=["prefix"],
    ),
    function("__inference__traced_restore_2", node("RestoreV2", "RestoreV2", "prefix"), arguments=["prefix"]),
)
SAVER_NODES = (
    node("name", "Placeholder"),
    node("save", "StatefulPartitionedCall", "name", calls="__inference__traced_save_1"),
    node("restore", "StatefulPartitionedCall", "name", calls="__inference__traced_restore_2"),
)
OBJECTS = part(7, part(1, part(4, part(1, "_generic_user_object"))))


def saved_model(
    *nodes: bytes,
    functions: Iterable[bytes] = (),
    library: bytes = b"",
    meta: bytes = b"",
    objects: bytes = OBJECTS,
    saver: tuple[str, str, str] = ("name:0", "save:0", "restore"),
) -> bytes:
    """Write a SavedModel with a saver, and with what is given beside it."""
    held = b"".join(part(1, entry) for entry in (*SAVER, *functions)) + library
    graph = b"".join(part(1, entry) for entry in (*SAVER_NODES, *nodes)) + part(2, held)
    told = b"".join(part(number, text) for number, text in enumerate(saver, 1))
    about = part(4, "serve") + part(5, "2.21.0")
    return part(1, 1) + part(2, part(1, about) + part(2, graph) + part(3, told) + objects + meta)


def graph(name: str = "plain") -> bytes:
    """Read the graph of a real SavedModel."""
    return (DATA / name / "saved_model.pb").read_bytes()


def folder(name: str = "plain") -> dict[str, bytes]:
    """Read a real SavedModel's files by their paths in its folder."""
    top = DATA / name
    return {path.relative_to(top).as_posix(): path.read_bytes() for path in top.rglob("*") if path.is_file()}


# --- Keras ---


def archive(
    config: object = None,
    *,
    weights: bytes | None = None,
    others: Mapping[str, bytes] | None = None,
    name: str = "plain",
) -> bytes:
    """Write a `.keras` archive: a real one, with another configuration, other weights, other members."""
    with zipfile.ZipFile(DATA / f"{name}.keras") as real:
        members = {entry: real.read(entry) for entry in real.namelist()}
    if config is not None:
        members["config.json"] = config if isinstance(config, bytes) else json.dumps(config).encode()
    if weights is not None:
        members["model.weights.h5"] = weights
    held = BytesIO()
    with zipfile.ZipFile(held, "w") as made:
        for entry, data in {**members, **(others or {})}.items():
            made.writestr(zipfile.ZipInfo(entry), data)
    return held.getvalue()


def configuration(name: str = "plain") -> dict[str, object]:
    """Read the configuration of a real archive."""
    with zipfile.ZipFile(DATA / f"{name}.keras") as real:
        found: dict[str, object] = json.loads(real.read("config.json"))
    return found


def layer(name: str, module: str = "keras.layers", /, **config: object) -> dict[str, object]:
    """Write one layer's configuration."""
    return {"module": module, "class_name": name, "config": config, "registered_name": None}


def sequential(*layers: object) -> dict[str, object]:
    """Write the configuration of a model of layers."""
    return layer("Sequential", "keras", name="model", layers=list(layers))


def weights(name: str = "plain") -> bytes:
    """Read the weights of a real archive."""
    with zipfile.ZipFile(DATA / f"{name}.keras") as real:
        return real.read("model.weights.h5")


# --- HDF5 ---

FLOAT = struct.pack("<B3sI", 0x11, b"\x20\x1f\x00", 4) + struct.pack("<HHBBBBI", 0, 32, 23, 8, 0, 23, 127)
INTEGER = struct.pack("<B3sI", 0x10, b"\x08\x00\x00", 8) + struct.pack("<HH", 0, 64) + bytes(4)
TEXT = struct.pack("<B3sI", 0x19, b"\x01\x01\x00", 16) + INTEGER
NUMBERS = struct.pack("<B3sI", 0x19, b"\x00\x00\x00", 16) + INTEGER
REFERENCE = struct.pack("<B3sI", 0x17, b"\x00\x00\x00", 8)


def space(*extents: int) -> bytes:
    """Write a dataspace."""
    return struct.pack(f"<BBBB4x{len(extents)}Q", 1, len(extents), 0, 0, *extents)


def attribute(
    kind: bytes, value: bytes, *, version: int = 1, name: bytes = b"name\0", flags: int = 0
) -> bytes:
    """Write an attribute of one item."""
    parts = [name, kind, space()]
    sizes = struct.pack("<BBHHH", version, flags, *(len(entry) for entry in parts))
    if version == 1:
        return sizes + b"".join(entry.ljust(-(-len(entry) // 8) * 8, b"\0") for entry in parts) + value
    return sizes + b"\0" + b"".join(parts) + value


class Hdf5:
    """Writes an HDF5 file of the oldest kind, piece by piece; each piece gives its address."""

    def __init__(self) -> None:
        """Leave room for the superblock."""
        self.data = bytearray(96)

    def put(self, piece: bytes) -> int:
        """Append a piece, padded to eight bytes."""
        address = len(self.data)
        self.data += piece.ljust(-(-len(piece) // 8) * 8, b"\0")
        return address

    def header(
        self, *messages: tuple[int, bytes], version: int = 1, count: int | None = None, flags: int = 0
    ) -> int:
        """Append an object header."""
        body = b""
        for kind, content in messages:
            padded = content.ljust(-(-len(content) // 8) * 8, b"\0")
            body += struct.pack("<HHB3x", kind, len(padded), flags) + padded
        number = len(messages) if count is None else count
        return self.put(struct.pack("<BxHII4x", version, number, 1, len(body)) + body)

    def dataset(
        self,
        values: bytes = b"\0" * 12,
        *extents: int,
        kind: bytes = FLOAT,
        extra: Iterable[tuple[int, bytes]] = (),
    ) -> int:
        """Append a dataset in one piece."""
        address = self.put(values) if values else NOWHERE
        layout = struct.pack("<BBQQ", 3, 1, address, len(values))
        return self.header((1, space(*extents)), (3, kind), (8, layout), *extra)

    def table(self, entries: Mapping[bytes, int], *, cache: int = 0) -> tuple[int, int]:
        """Append the index and the names of a group."""
        names = b"\0" * 8
        rows = b""
        for name, address in entries.items():
            rows += struct.pack("<QQII16s", len(names), address, cache, 0, bytes(16))
            names += name.ljust(-(-(len(name) + 1) // 8) * 8, b"\0")
        segment = self.put(names)
        heap = self.put(struct.pack("<4sB3xQQQ", b"HEAP", 0, len(names), NOWHERE, segment))
        leaf = self.put(struct.pack("<4sBxH", b"SNOD", 1, len(entries)) + rows)
        index = self.put(struct.pack("<4sBBHQQ3Q", b"TREE", 0, 0, 1, NOWHERE, NOWHERE, 0, leaf, 8))
        return index, heap

    def group(self, entries: Mapping[bytes, int], *extra: tuple[int, bytes], cache: int = 0) -> int:
        """Append a group."""
        index, heap = self.table(entries, cache=cache)
        return self.header((0x11, struct.pack("<QQ", index, heap)), *extra)

    def close(
        self,
        root: int,
        *,
        cache: int = 0,
        scratch: bytes = bytes(16),
        versions: bytes = b"\0\0\0\0\0\x08\x08\0",
    ) -> bytes:
        """Write the superblock, and give the file."""
        self.data[:96] = struct.pack(
            "<8s8sHHI4Q", b"\x89HDF\r\n\x1a\n", versions, 4, 16, 0, 0, NOWHERE, len(self.data), NOWHERE
        ) + struct.pack("<QQII16s", 0, root, cache, 0, scratch)
        return bytes(self.data)


def hdf5(change: Callable[[Hdf5], Mapping[bytes, int]]) -> bytes:
    """Write a file whose root group holds what `change` makes."""
    made = Hdf5()
    return made.close(made.group(change(made)))
