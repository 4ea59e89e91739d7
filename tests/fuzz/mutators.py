"""Change files so that they stay almost what they were: by bytes, by opcodes, by members, by fields.

Each mutator takes a `random.Random` and honest bytes, and gives bytes: the same
seed gives the same mutant, on any machine.
"""

import io
import json
import pickletools
import random
import struct
import zipfile
import zlib
from collections.abc import Callable
from typing import Any, Final

Mutator = Callable[[random.Random, bytes], bytes]

NUMBERS: Final = (
    0,
    1,
    2,
    3,
    7,
    63,
    127,
    128,
    255,
    256,
    65_535,
    2**31 - 1,
    2**31,
    2**32 - 1,
    2**63 - 1,
    2**64 - 1,
)
NAMES: Final = (
    "sklearn.tree._tree", "Tree", "numpy", "ndarray", "dtype", "scipy.sparse._csr", "csr_matrix", "builtins",
    "dict", "list", "str", "int", "type", "__class__", "__dict__", "n_features_in_", "predict", "os",
    "system", "", ".", "a.b", "sklearn.ensemble._forest", "RandomForestClassifier", "MT19937", "O", "V64",
)  # fmt: skip


def some_bytes(source: random.Random, data: bytes) -> bytes:
    """Change a few bytes, or cut, repeat and move pieces."""
    changed = bytearray(data)
    for _ in range(source.choice((1, 1, 1, 2, 4, 16))):
        if not changed:
            break
        at = source.randrange(len(changed))
        length = source.choice((1, 2, 4, 8, source.randrange(1, 64)))
        kind = source.randrange(8)
        if kind == 0:
            changed[at] ^= 1 << source.randrange(8)
        elif kind == 1:
            changed[at] = source.randrange(256)
        elif kind == 2:
            width = source.choice((1, 2, 4, 8))
            changed[at : at + width] = (source.choice(NUMBERS) % 256**width).to_bytes(width, "little")
        elif kind == 3:
            del changed[at : at + length]
        elif kind == 4:
            changed[at:at] = changed[at : at + length]
        elif kind == 5:
            other = source.randrange(len(changed))
            changed[at : at + length] = changed[other : other + length]
        elif kind == 6:
            changed[at:at] = source.randbytes(length)
        else:
            del changed[max(1, at) :]
    return bytes(changed)


def aligned_numbers(source: random.Random, data: bytes) -> bytes:
    """Put a telling number of 4 or 8 bytes over another, as in an array of indices."""
    changed = bytearray(data)
    for _ in range(source.choice((1, 1, 2, 6))):
        width = source.choice((4, 8, 8))
        if len(changed) < width:
            break
        at = source.randrange(len(changed) - width + 1)
        if source.random() < 0.8:
            at -= at % width
        number = source.choice((*NUMBERS, -1, -2, -3, -(2**31), source.randrange(40)))
        changed[at : at + width] = (number % 256**width).to_bytes(width, "little")
    return bytes(changed)


def opcodes(source: random.Random, data: bytes) -> bytes:
    """Delete, repeat, move or change the opcodes of a pickle; frames are taken out first."""
    parts, rest = _split_pickle(data)
    for _ in range(source.choice((1, 1, 1, 2, 4))):
        at = source.randrange(1, max(2, len(parts)))
        kind = source.randrange(9)
        if kind == 0:
            del parts[at : at + source.choice((1, 1, 2, 5))]
        elif kind == 1:
            parts[at:at] = parts[at : at + source.choice((1, 2, 5))]
        elif kind == 2:
            parts[at:at] = [source.choice(parts)]
        elif kind == 3 and at < len(parts):
            parts[at] = source.choice(parts)
        elif kind == 4:
            parts[at:at] = [bytes([source.randrange(256)])]
        elif kind == 5:
            text = source.choice(NAMES).encode()
            parts[at:at] = [b"\x8c" + bytes([len(text)]) + text]
        elif kind == 6 and at < len(parts):
            other = source.randrange(1, len(parts))
            parts[at], parts[other] = parts[other], parts[at]
        elif kind == 7 and at < len(parts):
            parts[at] = _argument(source, parts[at])
        else:
            chosen = [
                index for index, part in enumerate(parts) if part[:1] in b"\x8cKMJGCBX\x8a" and len(part) > 1
            ]
            if chosen:
                index = source.choice(chosen)
                parts[index] = _argument(source, parts[index])
    return b"".join(parts) + rest


def _split_pickle(data: bytes) -> tuple[list[bytes], bytes]:
    """Split into opcodes, as far as they can be read, and the rest (the raw arrays of joblib)."""
    starts: list[int] = []
    frames: set[int] = set()
    if len(data) < 4:
        return [data], b""
    try:
        for opcode, _, position in pickletools.genops(data):
            starts.append(position or 0)
            if opcode.name == "FRAME":
                frames.add(position or 0)
    except Exception:  # the bytes of an array, read as opcodes, end in any way
        starts = starts[: max(1, len(starts) - 3)] or [0]
        starts.append(starts[-1] + 1)
    ends = [*starts[1:], len(data)] if data[-1:] == b"." else starts[1:]
    parts = [data[start:end] for start, end in zip(starts, ends, strict=False) if start not in frames]
    return parts or [data], data[ends[-1] :] if ends else b""


def _argument(source: random.Random, part: bytes) -> bytes:
    """Give an opcode another argument of the right form."""
    code, kind = part[:1], source.random()
    if code in b"K":
        return b"K" + bytes([source.choice(NUMBERS) % 256])
    if code in b"MJG":
        width = {b"M": 2, b"J": 4, b"G": 8}[code]
        number: int = source.choice(NUMBERS) % 256**width
        return code + number.to_bytes(width, "little")
    if code == b"\x8c" and kind < 0.7:
        text = source.choice(NAMES).encode()
        return b"\x8c" + bytes([len(text)]) + text
    if code in b"CBX" and len(part) > 9:
        head = 2 if code == b"C" else 5
        return part[:head] + aligned_numbers(source, part[head:])
    return part[:1] + some_bytes(source, part[1:])


def members(source: random.Random, data: bytes) -> bytes:
    """Change the members of a zip archive and write it anew, with right checksums and a right directory."""
    entries = _members(data)
    for _ in range(source.choice((1, 1, 2, 3))):
        at = source.randrange(len(entries))
        name, content = entries[at]
        kind = source.randrange(9)
        if kind == 0:
            entries[at] = (
                source.choice(("../a.npy", "/a", "a\\b", name.upper(), name + "/", "x" * 300)),
                content,
            )
        elif kind == 1:
            entries.append((name, content))
        elif kind == 2 and len(entries) > 1:
            del entries[at]
        elif kind == 3:
            entries[at] = (name, source.choice(entries)[1])
        elif kind == 4:
            entries[at] = (name, some_bytes(source, content))
        elif kind == 5:
            entries[at] = (name, array_header(source, content))
        else:
            entries[at] = (name, aligned_numbers(source, content) if name.endswith(".npy") else content)
    return _zip(entries, source.choice((zipfile.ZIP_STORED, zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)))


def zip_headers(source: random.Random, data: bytes) -> bytes:
    """Change the headers of a zip archive: flags, methods, sizes, checksums, comments, what lies around."""
    changed = bytearray(data)
    kind = source.randrange(6)
    if kind == 0:
        return source.randbytes(source.randrange(1, 40)) + data
    if kind == 1:
        return data + source.randbytes(source.randrange(1, 40))
    marks = [b"PK\x01\x02", b"PK\x03\x04", b"PK\x05\x06"]
    for _ in range(source.choice((1, 2, 3))):
        found = [at for mark in marks for at in _all(changed, mark)]
        if not found:
            break
        at = source.choice(found) + source.randrange(4, 46)
        width = source.choice((1, 2, 4))
        changed[at : at + width] = (source.choice(NUMBERS) % 256**width).to_bytes(width, "little")
    return bytes(changed)


def tree(source: random.Random, data: bytes) -> bytes:
    """Change nodes of a skops tree, and write a right archive around it."""
    entries = dict(_members(data))
    schema = json.loads(entries["schema.json"])
    nodes = _nodes(schema)
    for _ in range(source.choice((1, 1, 2, 3))):
        node, other = source.choice(nodes), source.choice(nodes)
        kind = source.randrange(10)
        if kind == 0:
            node["__loader__"] = other.get("__loader__", "ListNode")
        elif kind == 1:
            node["__class__"], node["__module__"] = other.get("__class__"), other.get("__module__")
        elif kind == 2:
            node["__id__"] = other.get("__id__", 1)
        elif kind == 3 and "content" in node and "content" in other:
            node["content"] = json.loads(json.dumps(other["content"]))
        elif kind == 4:
            node.pop(source.choice(sorted(node)), None)
        elif kind == 5 and "file" in node:
            node["file"] = source.choice(sorted(entries))
        elif kind == 6 and isinstance(node.get("content"), str):
            node["content"] = json.dumps(
                source.choice((*NUMBERS, -1, 0.5, None, True, "text", [1], {"a": 1}))
            )
        elif kind == 7 and isinstance(node.get("content"), dict) and node["content"]:
            del node["content"][source.choice(sorted(node["content"]))]
        elif kind == 8 and isinstance(node.get("content"), dict) and node["content"]:
            node["content"][source.choice(sorted(node["content"]))] = json.loads(json.dumps(other))
        elif kind == 9:
            node[source.choice(sorted(node))] = source.choice((*NAMES, 0, -1, None, True, [], {}, 1.5))
    arrays = [name for name in entries if name.endswith(".npy")]
    if arrays and source.random() < 0.4:
        name = source.choice(arrays)
        entries[name] = aligned_numbers(source, entries[name])
    entries["schema.json"] = json.dumps(schema).encode()
    return _zip(list(entries.items()), zipfile.ZIP_STORED)


def _nodes(value: Any) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    pending = [value]
    while pending:
        item = pending.pop()
        if isinstance(item, dict):
            if "__loader__" in item:
                found.append(item)
            pending.extend(item.values())
        elif isinstance(item, list):
            pending.extend(item)
    return found


def fields(source: random.Random, data: bytes) -> bytes:
    """Change the fields of an ONNX model, by reflection, and write it anew."""
    import onnx

    model = onnx.load_from_string(data)
    messages = _messages(model)
    for _ in range(source.choice((1, 1, 2, 4))):
        message = source.choice(messages)
        field = source.choice(message.DESCRIPTOR.fields)
        _change(source, message, field, messages)
    return bytes(model.SerializePartialToString())


def _messages(message: Any) -> list[Any]:
    found, pending = [], [message]
    while pending:
        item = pending.pop()
        found.append(item)
        for field, value in item.ListFields():
            if field.message_type is not None:
                pending.extend(value if field.is_repeated else [value])
    return found


def _change(source: random.Random, message: Any, field: Any, messages: list[Any]) -> None:
    """Set, add to, shorten or clear one field."""
    name, repeated = field.name, field.is_repeated
    if name in ("external_data", "data_location"):
        return
    if source.random() < 0.15:
        message.ClearField(name)
        return
    if field.message_type is not None:
        alike = [other for other in messages if other.DESCRIPTOR is field.message_type]
        if alike:
            copy = type(alike[0])()
            copy.CopyFrom(source.choice(alike))
            if copy.ByteSize() < 20_000:
                (getattr(message, name).add() if repeated else getattr(message, name)).CopyFrom(copy)
        return
    value = _scalar(source, field, messages)
    if not repeated:
        setattr(message, name, value)
    elif source.random() < 0.6 and len(getattr(message, name)):
        getattr(message, name)[source.randrange(len(getattr(message, name)))] = value
    elif source.random() < 0.5 and len(getattr(message, name)):
        del getattr(message, name)[source.randrange(len(getattr(message, name))) :]
    else:
        getattr(message, name).extend([value] * source.choice((1, 2, 9)))


def _scalar(source: random.Random, field: Any, messages: list[Any]) -> Any:
    """Draw a value of a field's type: a telling number, or the text of another field."""
    kind = field.cpp_type
    if kind in (field.CPPTYPE_FLOAT, field.CPPTYPE_DOUBLE):
        return source.choice((0.0, -1.0, 1e30, float("inf"), float("nan"), 3.5))
    if kind in (field.CPPTYPE_STRING,):
        texts = [
            value
            for other in source.sample(messages, min(20, len(messages)))
            for entry, value in other.ListFields()
            if entry.type == field.type and not entry.is_repeated
        ]
        texts.append(b"" if field.type == field.TYPE_BYTES else "")
        if field.type == field.TYPE_BYTES:
            texts.append(source.randbytes(source.choice((1, 4, 8, 64))))
        return source.choice(texts)
    if kind == field.CPPTYPE_ENUM:
        return source.choice([entry.number for entry in field.enum_type.values])
    bits = 31 if kind in (field.CPPTYPE_INT32, field.CPPTYPE_UINT32) else 63
    least = 0 if kind in (field.CPPTYPE_UINT32, field.CPPTYPE_UINT64) else -(2**bits)
    number = source.choice((*range(12), 16, 100, 2**20, 2**31 - 1, 2**bits - 1, -1, -2, -(2**bits)))
    return max(least, number)


def array_header(source: random.Random, data: bytes) -> bytes:
    """Change the text of a `.npy` header, and put its length right."""
    if data[:6] != b"\x93NUMPY":
        return some_bytes(source, data)
    length = int.from_bytes(data[8:10], "little")
    text = bytearray(data[10 : 10 + length])
    for _ in range(source.choice((1, 1, 2))):
        kind = source.randrange(4)
        if kind == 0:
            text = bytearray(some_bytes(source, bytes(text)))
        elif kind == 1:
            old = source.choice((b"<f8", b"<i8", b"False", b"(12", b"descr", b", }", b"(3,"))
            new = source.choice(
                (b"|O", b"<f4", b"|V8", b"<U2", b"True", b"(-1", b"(0", b"(99999999999", b"(1L", b"(((")
            )
            text = text.replace(old, new)
        elif kind == 2:
            text = text.replace(b"'", b'"')
        else:
            text += b" " * source.randrange(64) + b"\n"
    return data[:8] + struct.pack("<H", len(text) % 65_536) + bytes(text) + data[10 + length :]


def tensor_header(source: random.Random, data: bytes) -> bytes:
    """Change the JSON header of a safetensors file, and put its length right."""
    length = int.from_bytes(data[:8], "little")
    header = json.loads(data[8 : 8 + length])
    names = [name for name in header if name != "__metadata__"]
    for _ in range(source.choice((1, 2))):
        tensor = header[source.choice(names)]
        kind = source.randrange(5)
        if kind == 0:
            tensor["dtype"] = source.choice(("F16", "BF16", "F8_E5M2", "Q4", "", 7, "BOOL", "C64", "F4"))
        elif kind == 1:
            tensor["shape"] = source.choice(
                ([], [0], [-1], [2**62, 4], [1] * 70, [1.5], "x", [48], [2**40, 2**40])
            )
        elif kind == 2:
            tensor["data_offsets"] = [source.choice(NUMBERS), source.choice(NUMBERS)]
        elif kind == 3:
            tensor.pop(source.choice(sorted(tensor)), None)
        else:
            tensor[source.choice(NAMES)] = 1
    text = json.dumps(header).encode()
    if source.random() < 0.3:
        text = some_bytes(source, text)
    return struct.pack("<Q", len(text)) + text + data[8 + length :]


def unpacked(source: random.Random, data: bytes) -> bytes:
    """Change the pickle inside a zlib container, and pack it again."""
    return zlib.compress(opcodes(source, zlib.decompress(data)), 1)


def _members(data: bytes) -> list[tuple[str, bytes]]:
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        return [(entry.filename, archive.read(entry)) for entry in archive.infolist()]


def _zip(entries: list[tuple[str, bytes]], method: int) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", method) as archive:
        for name, content in entries:
            archive.writestr(zipfile.ZipInfo(name), content, method)
    return buffer.getvalue()


def _all(data: bytearray, mark: bytes) -> list[int]:
    found, at = [], data.find(mark)
    while at >= 0:
        found.append(at)
        at = data.find(mark, at + 1)
    return found


BY_FORMAT: Final[dict[str, tuple[Mutator, ...]]] = {
    "skops": (tree, tree, members, members, zip_headers, some_bytes),
    "onnx": (fields, fields, fields, some_bytes, aligned_numbers),
    "pickle": (opcodes, opcodes, opcodes, some_bytes, aligned_numbers),
    "joblib": (opcodes, opcodes, some_bytes, aligned_numbers),
    "zlib": (unpacked, some_bytes),
    "npy": (array_header, some_bytes),
    "npz": (members, zip_headers, some_bytes),
    "safetensors": (tensor_header, some_bytes),
}


def mutant(kind: str, data: bytes, seed: int) -> bytes:
    """Change an honest file of one kind (the first part of a sample's name) by the seed."""
    source = random.Random(seed)
    return source.choice(BY_FORMAT[kind])(source, data)
