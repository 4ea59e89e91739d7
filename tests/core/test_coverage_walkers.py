"""The last branches of the walkers: refusals that need a stream, a header or an archive made by hand."""

import io
import json
import struct
import zipfile
import zlib
from typing import Any

import pytest

from tests.builders import new_identity
from vault.core import (
    formats,
    identity_format,
    inspection,
    joblib_container,
    limits,
    memory_format,
    names,
    npy,
    onnx_walk,
    pickle_keys,
    pickle_trace,
    pickle_vm,
    public_identity,
    safetensors_header,
    settings_format,
    skops_loaders,
    skops_walk,
    trusted_locations,
    zip_reader,
)
from vault.core.pickle_host import Draft, RawArray
from vault.errors import FormatRefused, Malformed, NoUsableKey, PickleRefused, Refused

# --- pickle ---

MADE = b"\x8c\x01m\x8c\x01n\x93)R}b"  # m.n() with an empty state


class Host:
    """A host whose every BUILD announces a raw array."""

    def __init__(self, raw: RawArray) -> None:
        self.raw = raw

    def find(self, module: str, name: str) -> object:
        return (module, name, self)

    def call(self, function: Any, arguments: tuple[Any, ...]) -> object:
        return object()

    def new(self, kind: Any, arguments: tuple[Any, ...], keywords: dict[str, Any]) -> object:
        return object()

    def build(self, target: Any, state: Any) -> object:
        return self.raw

    def fill(self, target: Any, items: list[Any], how: str) -> None:
        return None


def run(data: bytes, *, size: int | None = None, aligned: bool = False) -> Any:
    return pickle_vm.run(data, Host(RawArray(size, aligned, lambda content: content))).result


def refused_pickle(data: bytes, why: str, **raw: Any) -> None:
    with pytest.raises(PickleRefused, match=why):
        run(data, **raw)


def test_nested_streams_of_object_arrays_are_bounded() -> None:
    assert run((b"\x80\x04" + MADE) * 8 + b"\x80\x04N." + b"." * 8) is None
    refused_pickle((b"\x80\x04" + MADE) * 9 + b"\x80\x04N." + b"." * 9, "too deeply")


def test_a_raw_array_is_aligned_exactly_as_joblib_aligns_it() -> None:
    head = b"\x80\x04" + MADE
    assert bytes(run(head + b"abcd.", size=4)) == b"abcd"
    padding = 16 - (len(head) + 1) % 16
    good = head + bytes([padding]) + b"\xff" * padding
    assert bytes(run(good + b"abcd.", size=4, aligned=True)) == b"abcd"
    refused_pickle(good.replace(b"\xff", b"\x00", 1) + b"abcd.", "not aligned", size=4, aligned=True)
    refused_pickle(head + bytes([padding - 1]) + b"\xff" * 16 + b"abcd.", "not aligned", size=4, aligned=True)


def test_state_is_never_set_from_below_a_mark() -> None:
    refused_pickle(b"\x80\x04](Nb.", "not there")
    refused_pickle(b"\x80\x04]N(b.", "not there")


def test_a_pickle_is_bounded_in_bytes_and_opcodes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "PICKLE_OPCODES", 3)
    assert run(b"\x80\x04N.") is None
    refused_pickle(b"\x80\x04N0N0N.", "too many opcodes")
    monkeypatch.setattr(limits, "PICKLE_OPCODES", 30)
    monkeypatch.setattr(limits, "PICKLE_SETS", 2)
    assert run(b"\x80\x04\x8f\x8f\x86.") == (set(), set())
    refused_pickle(b"\x80\x04\x8f\x8f\x8f\x87.", "too many sets")
    refused_pickle(b"\x80\x04\x8f\x8f(\x91\x87.", "too many sets")
    monkeypatch.setattr(limits, "PICKLE_BYTES", 3)
    refused_pickle(b"\x80\x04N.", "larger than 3 bytes")


def test_the_tracer_sets_state_only_on_what_it_made() -> None:
    with pytest.raises(PickleRefused, match="builds what was not made"):
        pickle_trace.Tracer(joblib=True, subject="it").build([], {})


def column(field: object) -> tuple[Any, ...]:
    """Give the pickled state of a structured dtype of 8 bytes with one column."""
    return (3, "|", None, ("a",), {"a": field}, 8, 1, 16)


@pytest.mark.parametrize(
    "field", [None, (), ("f8",), ("f8", "0"), ("f8", True), ("f8", -1), ("f8", 1), ("O", 0)]
)
def test_a_column_of_a_traced_dtype_lies_inside_its_item(field: object) -> None:
    def inner(kind: Any, _: str) -> int | None:
        return None if kind == "O" else 8

    assert pickle_trace.dtype_size("V8", column(("f8", 0)), "it", inner) == 8
    with pytest.raises(PickleRefused, match="column"):
        pickle_trace.dtype_size("V8", column(field), "it", inner)


def test_a_compressed_file_that_is_cut_short_is_refused() -> None:
    whole = zlib.compress(b"\x80\x04N.")
    assert bytes(joblib_container.unpack(whole)) == b"\x80\x04N."
    for length in range(3, len(whole)):
        with pytest.raises(PickleRefused, match="cut short"):
            joblib_container.unpack(whole[:length])
    with pytest.raises(PickleRefused, match="cannot be unpacked"):
        joblib_container.unpack(whole[:2] + b"\xff" * 20)


class Waiting(Draft):
    """A product that is whole after its BUILD."""

    __slots__ = ("__weakref__",)


class DraftingHost(Host):
    """A host whose calls give drafts, which a BUILD replaces by a number."""

    def call(self, function: Any, arguments: tuple[Any, ...]) -> object:
        return Waiting()

    def build(self, target: Any, state: Any) -> object:
        return 7


def test_a_draft_is_replaced_wherever_the_memo_holds_it() -> None:
    host = DraftingHost(RawArray(None, False, lambda content: content))
    data = b"\x80\x04\x8c\x01m\x8c\x01n\x93)R\x94}bh\x00\x86."
    assert pickle_vm.run(data, host).result == (7, 7)


def test_only_sets_take_added_items_from_the_machine() -> None:
    assert run(b"\x80\x04\x8f(K\x01\x90.") == {1}
    made = run(b"\x80\x04\x8c\x01m\x8c\x01n\x93)R(K\x01\x90.")
    assert type(made) is object


@pytest.mark.parametrize(
    ("key", "bounded"),
    [
        (1, True),
        ((1, ("a", frozenset([b"b"]))), True),
        (int, True),
        (object(), True),
        ([], False),
        ((1, [2]), False),
        (tuple(range(2_000)), False),
    ],
)
def test_keys_are_bounded_before_they_are_hashed(key: object, bounded: bool) -> None:
    assert pickle_keys.is_bounded_key(key) is bounded


def test_a_dtype_of_a_trace_has_the_state_that_numpy_writes() -> None:
    def inner(kind: Any, _: str) -> int | None:
        return 8

    plain = (3, "<", None, None, None, -1, -1, 0)
    assert pickle_trace.dtype_size("f8", plain, "it", inner) == 8
    assert pickle_trace.dtype_size("O8", plain, "it", inner) is None
    for code, state, why in (
        (8, plain, "NumPy does not write"),
        ("f8", list(plain), "NumPy does not write"),
        ("f8", plain[:5], "NumPy does not write"),
        ("f8", (3, "<", ("f4", (2,)), *plain[3:]), "sub-arrays"),
        ("q17", plain, "not one that is read"),
        ("V8", (3, "|", None, ("a",), None, 8, 1, 16), "columns are malformed"),
        ("V8", (3, "|", None, ("a",), {"a": ("f8", 0)}, 9, 1, 16), "columns are malformed"),
    ):
        with pytest.raises(PickleRefused, match=why):
            pickle_trace.dtype_size(code, state, "it", inner)


# --- ONNX ---


def part(number: int, content: bytes) -> bytes:
    """Write one length-delimited field of less than 128 bytes."""
    return bytes([number << 3 | 2, len(content)]) + content


def onnx(attribute: bytes = b"") -> bytes:
    node = (
        part(1, b"x")
        + part(2, b"y")
        + part(4, b"Relu")
        + (part(5, part(1, b"a") + attribute) if attribute else b"")
    )
    return b"\x08\x08" + part(7, part(1, node) + part(2, b"g")) + part(8, b"\x0a\x00\x10\x11")


@pytest.mark.parametrize(
    ("attribute", "why"),
    [
        (bytes([2 << 3 | 5, 0, 0]), "in the middle of a number"),
        (part(7, b"\x00\x00\x00"), "packed list of a broken length"),
        (part(8, b"\x80" * 11 + b"\x00"), "overlong number"),
    ],
)
def test_broken_numbers_in_an_attribute_are_refused(attribute: bytes, why: str) -> None:
    assert onnx_walk.walk(onnx(bytes([2 << 3 | 5]) + bytes(4) + b"\xa0\x01\x01")).nodes == 1
    with pytest.raises(FormatRefused, match=why):
        onnx_walk.walk(onnx(attribute))


def test_fields_are_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "PROTOBUF_FIELDS", 5)
    with pytest.raises(FormatRefused, match="too many fields"):
        onnx_walk.walk(onnx())


def test_bytes_with_thousands_of_fields_and_no_graph_are_taken_for_no_model() -> None:
    assert onnx_walk.is_model(onnx())
    assert not onnx_walk.is_model(b"\x08\x08" * 5_000)
    assert not onnx_walk.is_model(b"\x08\x08" + b"\x3a\x7f")


# --- archives and arrays ---


def archive(*members: tuple[str, bytes], method: int = zipfile.ZIP_STORED) -> bytes:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", method) as made:
        for name, data in members:
            made.writestr(name, data)
    return packed.getvalue()


def refused_archive(data: bytes, why: str) -> None:
    with pytest.raises(Malformed, match=why) as caught:
        zip_reader.open_archive(data).verify()
    assert caught.value.code == "malformed-archive"


def zip64(plain: tuple[int, int, int] | None = None, **change: int) -> bytes:
    """Give an archive of one member that ends in zip64 records; `plain` are the small record's numbers."""
    data = archive(("a", b"hello"))
    end = len(data) - 22
    count, size, offset = struct.unpack_from("<HII", data, end + 10)
    values = {
        "magic": 0x06064B50, "length": 44, "needs": 45, "this": 0, "first": 0, "here": count, "count": count,
        "size": size, "offset": offset, "locator_disk": 0, "record": end, "disks": 1, **change,
    }  # fmt: skip
    record = struct.pack(
        "<IQHHIIQQQQ", values["magic"], values["length"], 45, values["needs"], values["this"],
        values["first"], values["here"], values["count"], values["size"], values["offset"],
    )  # fmt: skip
    locator = struct.pack("<IIQI", 0x07064B50, values["locator_disk"], values["record"], values["disks"])
    small = plain or (0xFFFF, 0xFFFFFFFF, 0xFFFFFFFF)
    last = struct.pack("<IHHHHIIH", 0x06054B50, 0, 0, small[0], small[0], small[1], small[2], 0)
    return data[:end] + record + locator + last


def test_zip64_end_records_are_read_and_held_against_the_small_one() -> None:
    assert bytes(zip_reader.open_archive(zip64()).read("a", limit=5)) == b"hello"
    _, size, offset = struct.unpack_from("<HII", archive(("a", b"hello")), len(archive(("a", b"hello"))) - 12)
    assert zip_reader.open_archive(zip64((1, size, offset))).entries
    for other in ((2, size, offset), (1, size + 1, offset), (1, size, offset + 1)):
        refused_archive(zip64(other), "end records disagree")


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"locator_disk": 1}, "locator"),
        ({"disks": 2}, "locator"),
        ({"record": 0}, "locator"),
        ({"magic": 0}, "malformed"),
        ({"length": 45}, "malformed"),
        ({"this": 1}, "malformed"),
        ({"first": 1}, "malformed"),
        ({"here": 2}, "malformed"),
        ({"needs": 99}, "newer zip version"),
        ({"size": 1}, "central directory does not end"),
    ],
)
def test_zip64_end_records_that_lie_are_refused(change: dict[str, int], why: str) -> None:
    refused_archive(zip64(None, **change), why)


def test_small_end_records_that_lie_are_refused() -> None:
    data = archive(("a", b"hello"))
    end = len(data) - 22
    refused_archive(data[: end + 4] + b"\x01" + data[end + 5 :], "several disks")
    refused_archive(data[: end + 16] + b"\xff\xff\xff\xff" + data[end + 20 :], "needs a zip64 end record")


def test_bytes_between_the_members_and_the_directory_are_refused() -> None:
    data = archive(("a", b"hello"))
    directory = data.index(b"PK\x01\x02")
    end = len(data) - 22
    moved = struct.pack("<I", directory + 3)
    refused_archive(
        data[:directory] + b"xyz" + data[directory : end + 16] + moved + data[end + 20 :], "before|between"
    )


def test_a_member_whose_header_runs_past_the_members_is_refused() -> None:
    empty = archive()
    directory = bytearray(archive(("a", b""))[31:-22])
    end = struct.pack("<IHHHHIIH", 0x06054B50, 0, 0, 1, 1, len(directory), 0, 0)
    refused_archive(bytes(directory) + end, "past the members")
    assert zip_reader.open_archive(empty).entries == {}


def test_damaged_members_are_refused_when_they_are_unpacked() -> None:
    data = archive(("a", bytes(1_000)), method=zipfile.ZIP_DEFLATED)
    opened = zip_reader.open_archive(data)
    entry = opened.entries["a"]
    broken = data[: entry.start] + b"\xff" * entry.packed + data[entry.start + entry.packed :]
    with pytest.raises(Malformed, match="cannot be unpacked"):
        zip_reader.open_archive(broken).peek("a", 5)
    refused_archive(broken, "cannot be unpacked")
    with pytest.raises(Malformed, match="no member"):
        opened.peek("b", 5)


def array(text: str, version: int = 1) -> bytes:
    header = text.encode("latin-1")
    size = struct.pack("<H" if version == 1 else "<I", len(header))
    return b"\x93NUMPY" + bytes([version, 0]) + size + header


@pytest.mark.parametrize("shape", ["(03,)", "(\x1c3,)", "(\t3,)", "(\u0663,)", "(-3,)", "(3", "(3,)x", "(3)"])
def test_numbers_of_an_array_header_are_spelled_as_numpy_spells_them(shape: str) -> None:
    text = f"{{'descr': '<f8', 'fortran_order': False, 'shape': {shape}, }}".encode()
    data = b"\x93NUMPY\x03\x00" + struct.pack("<I", len(text)) + text + bytes(24)
    with pytest.raises(FormatRefused, match="not the one NumPy writes"):
        npy.parse_header(data, size=len(data))


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (array("{'descr': '\xff'}", 3), "not text"),
        (array("{'descr': '?8', 'fortran_order': False, 'shape': (), }"), "not one that is read"),
        (array("{'descr': '<f8[s]', 'fortran_order': False, 'shape': (), }"), "not one that is read"),
        (array("{'descr': :, 'fortran_order': False, 'shape': (), }"), "header"),
        (array("{'descr': ~"), "header"),
        (array("{'descr': '<f8' 'fortran_order': False, 'shape': (), }"), "header"),
        (array("{'descr': (1 2), 'fortran_order': False, 'shape': (), }"), "header"),
    ],
)
def test_array_headers_made_by_hand_are_refused(data: bytes, why: str) -> None:
    with pytest.raises(FormatRefused, match=why):
        npy.parse_header(data, size=len(data))


def test_an_archive_of_arrays_holds_nothing_else() -> None:
    with pytest.raises(FormatRefused, match="is not an array"):
        npy.check_archive(zip_reader.open_archive(archive(("a.txt", b""))))


def test_a_safetensors_header_is_an_object() -> None:
    with pytest.raises(FormatRefused, match="not an object"):
        safetensors_header.check((2).to_bytes(8, "little") + b"[]")


# --- skops ---


def node(loader: str, name: str, identity: int = 1, **fields: Any) -> dict[str, Any]:
    module, _, kind = name.rpartition(".")
    return {"__class__": kind, "__module__": module, "__loader__": loader, "__id__": identity, **fields}


NOTHING = node("ListNode", "builtins.list", 2, content=[])
SPARSE = "scipy.sparse._csr.csr_matrix"


@pytest.mark.parametrize(
    ("schema", "why"),
    [
        ({**NOTHING, "_skops_version": 1}, "version is not text"),
        (node("DictNode", "builtins.dict", key_types=NOTHING, content=[]), "content is not an object"),
        (node("SliceNode", "builtins.slice", content={"start": 1}), "slice is malformed"),
        (node("ListNode", "builtins.list", content={}), "not a list"),
        (node("DTypeNode", "numpy.dtype", content=NOTHING), "dtype has no array"),
        (node("NdArrayNode", "numpy.ndarray", type="json", content=[], shape=NOTHING), "no shape"),
        (node("TreeNode", "sklearn.tree._tree.Tree", content=NOTHING, __reduce__={}), "no arguments"),
        (node("SparseMatrixNode", SPARSE, type="numpy", file="a.npz"), "unknown kind"),
        (node("MaskedArrayNode", "numpy.ma.MaskedArray", content={"data": NOTHING}), "children"),
        (node("JsonNode", "builtins.str", content="1", is_json=False), "something else than text"),
        ({**NOTHING, "__class__": 1}, "names no type"),
        ({**NOTHING, "__class__": "a.b"}, "not one plain name"),
        (node("DictNode", "builtins.dict", key_types=1, content={}), "no list of key types"),
    ],
)
def test_nodes_that_skops_does_not_write_are_refused(schema: dict[str, Any], why: str) -> None:
    whole = {"protocol": skops_walk.PROTOCOL, "_skops_version": "0.14.0", **schema}
    with pytest.raises(FormatRefused, match=why):
        skops_walk.walk(archive(("schema.json", json.dumps(whole).encode())))


def test_a_constructor_takes_a_tuple_of_arguments() -> None:
    name = min(skops_loaders.CONSTRUCTIBLE)
    whole = node("ConstructorFromReduceNode", name, content=NOTHING, protocol=2, _skops_version="0.14.0")
    with pytest.raises(FormatRefused, match="no tuple of arguments"):
        skops_walk.walk(archive(("schema.json", json.dumps(whole).encode())))


def test_an_array_of_no_known_kind_is_refused() -> None:
    whole = node("NdArrayNode", "numpy.ndarray", type="xml", protocol=2, _skops_version="0.14.0")
    with pytest.raises(FormatRefused, match="unknown kind"):
        skops_walk.walk(archive(("schema.json", json.dumps(whole).encode())))


def test_a_pinned_partial_lets_skops_build_partials() -> None:
    target = min(skops_loaders.PARTIAL_TARGETS)
    assert skops_walk.trusted({target}) == sorted({target, "functools.partial"})
    assert skops_walk.trusted({"a.B"}) == ["a.B"]


def test_a_partial_of_a_function_that_scikit_learn_keeps_passes() -> None:
    module, _, name = min(skops_loaders.PARTIAL_TARGETS).rpartition(".")
    content = {
        "func": node("FunctionNode", f"{module}.{name}", 3),
        "args": node("TupleNode", "builtins.tuple", 4, content=[]),
        "kwds": node("DictNode", "builtins.dict", 5, content={}, key_types=NOTHING),
        "namespace": node("DictNode", "builtins.dict", 6, content={}, key_types=NOTHING),
    }
    whole = node("PartialNode", "functools.partial", content=content, protocol=2, _skops_version="0.14.0")
    found = skops_walk.walk(archive(("schema.json", json.dumps(whole).encode())))
    assert found.functions == {f"{module}.{name}"}


# --- the rest ---


def test_a_true_or_false_takes_one_byte() -> None:
    assert npy.scalar_size("?") == 1


def test_a_member_that_ends_early_is_refused() -> None:
    data = archive(("a", bytes(1_000)), method=zipfile.ZIP_DEFLATED)
    entry = zip_reader.open_archive(data).entries["a"]
    unfinished = zlib.compressobj(9, zlib.DEFLATED, -zlib.MAX_WBITS)
    packed = unfinished.compress(bytes(1_000)) + unfinished.flush(zlib.Z_SYNC_FLUSH)
    made = data[: entry.start] + packed + data[entry.start + entry.packed :]
    shift = len(packed) - entry.packed
    directory = made.index(b"PK\x01\x02")
    made = patched(made, 18, len(packed))
    made = patched(made, directory + 20, len(packed))
    made = patched(made, len(made) - 6, struct.unpack_from("<I", data, len(data) - 6)[0] + shift)
    refused_archive(made, "not the size it claims")


def patched(data: bytes, at: int, number: int) -> bytes:
    return data[:at] + struct.pack("<I", number) + data[at + 4 :]


@pytest.mark.parametrize("part", ["channels", "versions"])
def test_keys_of_a_memory_are_names(part: str) -> None:
    value: dict[str, Any] = {"format": memory_format.MEMORY_FORMAT, "heads": {}, "log": {}}
    value |= {"policy": None, "root": None, "channels": {}, "versions": {}, "vault": "0" * 64}
    whole = {**value, part: {"../x": "0.1." + "0" * 64}}
    data = json.dumps(whole, sort_keys=True, separators=(",", ":")).encode()
    with pytest.raises(Refused, match="A key is not what it should be"):
        memory_format.parse(data, "0" * 64, "it")


def test_a_location_that_is_trusted_is_not_empty() -> None:
    data = trusted_locations.encode_pins(
        {"": trusted_locations.Pin(names.digest("0" * 64), "2026-11-23T05:00:00Z")}
    )
    with pytest.raises(Refused, match="A location"):
        trusted_locations.parse_pins(data, "it")


def test_a_marks_entry_is_text() -> None:
    value = {
        "channels": {"prod/main/churn": 1},
        "format": memory_format.MEMORY_FORMAT,
        "heads": {},
        "log": {},
    }
    whole = {**value, "policy": None, "root": None, "vault": "0" * 64, "versions": {}}
    data = json.dumps(whole, sort_keys=True, separators=(",", ":")).encode()
    with pytest.raises(Refused, match="it is a string"):
        memory_format.parse(data, "0" * 64, "it")


def test_a_public_identity_has_an_age_recipient() -> None:
    who = new_identity("ann")
    made = public_identity.PublicIdentity(who.name, who.public_key, "ssh-ed25519 AAAA")
    with pytest.raises(Malformed, match="age recipient is expected"):
        public_identity.parse(public_identity.encode(made), "it")


def test_settings_over_their_limit_are_not_parsed() -> None:
    with pytest.raises(Malformed, match="has more than"):
        settings_format.parse_user(b" " * (limits.SETTINGS_BYTES + 1), "it")


def test_text_that_is_cut_inside_a_character_at_the_end_of_the_head_is_text() -> None:
    head = 4 * limits.KIB
    assert formats.detect(b"a" * (head - 1) + "é".encode() * 50) == "text"
    assert formats.detect(b"a" * (head - 8) + b"\xff" + b"a" * 100) == "data"


def test_a_protected_identity_has_room_for_its_nonce_and_tag() -> None:
    with pytest.raises(Malformed):
        identity_format.parse(protected(b"c2hvcnQ="), "it")


def protected(secret: bytes) -> bytes:
    who = new_identity("ann")
    cost = identity_format.Argon2idCost()
    document = identity_format.IdentityDocument(
        who.name, who.public_key, who.recipient,
        identity_format.Protection(cost, bytes(identity_format.SALT_BYTES)), bytes(64),
    )  # fmt: skip
    value = json.loads(identity_format.serialise(document))
    value["secret"] = secret.decode()
    return json.dumps(value, sort_keys=True, separators=(",", ":")).encode()


def test_a_machine_without_the_memory_for_argon2id_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    class Starved:
        def __init__(self, **_: int) -> None:
            pass

        def derive(self, _: bytes) -> bytes:
            raise MemoryError

    whole = identity_format.parse(protected(b"AAAA" * 20), "it")
    monkeypatch.setattr(identity_format, "Argon2id", Starved)
    with pytest.raises(NoUsableKey, match="of memory to open"):
        identity_format.open_secrets(whole, b"passphrase", "it")


def test_inspection_tells_the_producer_of_a_model_and_every_pickle_of_a_torch_archive() -> None:
    assert inspection.inspect_bytes("m.onnx", onnx() + part(2, b"maker")).versions["producer"] == "maker"
    assert "producer" not in inspection.inspect_bytes("m.onnx", onnx()).versions
    torch = archive(("m/data.pkl", b"\x80\x04\x8c\x02os\x8c\x06system\x93."), ("m/version", b"3"))
    found = inspection.inspect_bytes("m.pt", torch)
    assert found.verdict == "refused"
