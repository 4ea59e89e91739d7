"""Archives and compressed streams are opened layer by layer, with limits on all of it."""

import bz2
import gzip
import io
import lzma
import os
import pickle
import struct
import zipfile
import zlib
from collections.abc import Callable
from typing import Any

import pytest

from tests.core.archive_parts import tarred, zipped
from tests.core.test_formats import CONTENTS
from vault.core import findings, inspection, limits, unpacking
from vault.core.inspection import inspect_bytes
from vault.errors import Malformed, PickleRefused


class Evil:
    def __reduce__(self) -> tuple[Any, ...]:
        return os.system, ("id",)


EVIL = pickle.dumps(Evil())
SYSTEM = "posix.system"
PACKERS: dict[str, Callable[[bytes], bytes]] = {
    "gzip": gzip.compress,
    "bzip2": bz2.compress,
    "xz": lzma.compress,
    "lzma": lambda data: lzma.compress(data, lzma.FORMAT_ALONE),
    "zlib": zlib.compress,
}
ENDINGS = {"gzip": ".gz", "bzip2": ".bz2", "xz": ".xz", "lzma": ".lzma", "zlib": ".z"}


def rules(found: inspection.Inspection) -> set[str]:
    return {entry.rule for entry in found.findings}


# --- layers ---


@pytest.mark.parametrize("mode", ["w", "w:gz", "w:bz2", "w:xz"])
def test_the_members_of_a_tar_archive_are_inspected(mode: str) -> None:
    ending = mode[1:].replace(":", ".")
    data = tarred(("m/evil.pkl", EVIL), ("readme.md", b"# hello"), mode=mode)
    found = inspect_bytes(f"model.tar{ending}", data)
    assert (found.verdict, SYSTEM in found.globals) == ("refused", True)
    fine = inspect_bytes(f"model.tar{ending}", tarred(("a.csv", b"x,y\n"), mode=mode))
    assert fine.verdict == "data"
    assert inspect_bytes("model.tgz", gzip.compress(tarred(("a.csv", b"x")))).members[0].path == "model.tar"
    for name in ("model.tbz2", "model.txz", "model.unknown"):
        assert inspect_bytes(name, gzip.compress(tarred(("a.csv", b"x")))).verdict == "data"


def everyday(*members: tuple[str, bytes]) -> bytes:
    """What `zip -r` writes: entries of folders, and times of members."""
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        for name, content in members:
            info = zipfile.ZipInfo(name)
            info.external_attr = (0o040755 << 16 | 0x10) if name.endswith("/") else 0o100644 << 16
            info.extra = b"UT\x05\x00\x03\0\0\0\0"
            archive.writestr(info, content)
    return packed.getvalue()


def test_an_everyday_zip_archive_with_folders_is_inspected() -> None:
    fine = inspect_bytes("m.zip", everyday(("m/", b""), ("m/a.csv", b"x,y\n"), ("m/sub/", b"")))
    assert (fine.format, fine.verdict) == ("zip", "data")
    found = inspect_bytes("m.zip", everyday(("m/", b""), ("m/evil.pkl", EVIL)))
    assert (found.format, found.verdict, SYSTEM in found.globals) == ("zip", "refused", True)
    assert [entry.member for entry in found.findings if entry.rule == "forbidden-global"] == ["m/evil.pkl"]
    assert inspect_bytes("m.zip", everyday(("m/", b"bytes"))).code == "malformed-archive"


@pytest.mark.parametrize("name", ["m.skops", "m.npz", "m.keras", "m.bin", "m"])
def test_an_everyday_zip_archive_is_no_model_and_nothing_under_another_name(name: str) -> None:
    data = everyday(("m/", b""), ("m/a.csv", b"x,y\n"))
    assert inspect_bytes(name, data).verdict == "refused"


@pytest.mark.parametrize("member", ["schema.json", "archive/data.pkl", "a.npy"])
def test_a_model_that_was_packed_anew_with_folders_is_refused(member: str) -> None:
    found = inspect_bytes("m.zip", everyday(("m/", b""), (member, b"{}")))
    assert (found.verdict, found.code) == ("refused", "malformed-archive")


def test_a_finding_says_through_which_archives_it_was_met() -> None:
    found = inspect_bytes("m.tar.gz", gzip.compress(tarred(("in.zip", zipped(("x/evil.pkl", EVIL))))))
    (entry,) = [entry for entry in found.findings if entry.rule == "forbidden-global"]
    assert entry.member == "m.tar!in.zip!x/evil.pkl"
    assert entry.offset is not None
    assert any(danger.startswith("m.tar: in.zip: x/evil.pkl: ") for danger in found.dangers)
    assert "Do not load it" in found.hint


@pytest.mark.parametrize("kind", PACKERS)
def test_every_compression_is_opened(kind: str) -> None:
    found = inspect_bytes("t.csv" + ENDINGS[kind], PACKERS[kind](b"a,b\n" * 100))
    assert (found.format, found.verdict) == (kind, "data")
    found = inspect_bytes("evil.zip" + ENDINGS[kind], PACKERS[kind](zipped(("evil.pkl", EVIL))))
    assert (found.format, found.verdict, SYSTEM in found.globals) == (kind, "refused", True)
    found = inspect_bytes("t.csv" + ENDINGS[kind], PACKERS[kind](b"a,b\n" * 100)[:-3])
    assert found.verdict == "refused"


def test_streams_of_one_tool_behind_each_other_are_one() -> None:
    whole = gzip.compress(b"a") + gzip.compress(b"b") + bytes(100)
    stream = unpacking.unpack(memoryview(whole), room=100)
    assert (bytes(stream.content), stream.whole) == (b"ab", True)
    for tail in (b"tail", bz2.compress(b"c"), bytes(2 * limits.MIB) + b"tail"):
        assert not unpacking.unpack(memoryview(whole[:-100] + tail), room=100).whole
    assert not unpacking.unpack(memoryview(zlib.compress(b"a") * 2), room=100).whole
    assert not unpacking.unpack(memoryview(gzip.compress(b"x") * 5_000), room=10_000).whole


def test_unpacking_ends_where_there_is_no_room_and_refuses_what_is_nothing() -> None:
    for kind, pack in PACKERS.items():
        with pytest.raises(Malformed) as caught:
            unpacking.unpack(memoryview(pack(bytes(10_000))), room=9_999)
        assert caught.value.code == "too-large", kind
        assert len(unpacking.unpack(memoryview(pack(bytes(10_000))), room=10_000).content) == 10_000
    with pytest.raises(PickleRefused):
        unpacking.unpack(memoryview(b"text"), room=1)
    with pytest.raises(Malformed, match="cannot be unpacked"):
        unpacking.unpack(memoryview(b"\x1f\x8b\x08\x00nothing"), room=1)
    big = os.urandom(limits.MIB + limits.MIB // 2)
    for pack in PACKERS.values():
        assert bytes(unpacking.unpack(memoryview(pack(big)), room=4 * limits.MIB).content) == big


def test_what_only_begins_like_a_stream_is_data() -> None:
    for text in (b"x^2 + y^2 = z^2\n", b"x\x9c and so on"):
        assert inspect_bytes("a.bin", text).verdict == "data"
    assert inspect_bytes("a.bin", b"]\x00\x00\x00\x00").format == "data"
    assert inspect_bytes("a.z", b"x^2 + y^2").verdict == "refused", "its name says that it is one"
    large = inspect_bytes("a.bin", zlib.compress(bytes(2 * limits.MIB)))
    assert (large.format, large.verdict) == ("zlib", "data")


@pytest.mark.parametrize("head", [b"\x28\xb5\x2f\xfd", b"7z\xbc\xaf\x27\x1c", b"Rar!\x1a\x07"])
def test_a_container_that_is_not_read_is_refused_by_name(head: bytes) -> None:
    found = inspect_bytes("a.bin", head + bytes(100))
    assert (found.verdict, found.code) == ("refused", "format-refused")
    assert "not read" in found.reasons[0]


def test_double_compression_is_refused_and_looked_through() -> None:
    found = inspect_bytes("e.pkl.gz.gz", gzip.compress(gzip.compress(EVIL)))
    assert (found.verdict, SYSTEM in found.globals) == ("refused", True)
    assert "compressed-twice" in rules(found)


def test_layers_are_counted() -> None:
    content = b"x"
    for depth in range(1, limits.INSPECT_LAYERS + 2):
        content = zipped(("in.zip" if depth > 1 else "t.txt", content))
        found = inspect_bytes("a.zip", content)
        assert (found.verdict == "refused") == (depth > limits.INSPECT_LAYERS)
    content = b"x"
    for _ in range(limits.INSPECT_LAYERS + 1):
        content = gzip.compress(content)
    assert any("nested too deeply" in reason for reason in inspect_bytes("a.gz", content).reasons)
    content = tarred(("t.txt", b"x"))
    for _ in range(limits.INSPECT_LAYERS):
        content = tarred(("in.tar", content))
    assert inspect_bytes("a.tar", content).verdict == "refused"


# --- zip archives that break the rules ---


def central(data: bytes) -> int:
    return data.rindex(b"PK\x01\x02")


@pytest.mark.parametrize(
    "change",
    [
        lambda data: data[:-2] + b"\x07\x00comment",
        lambda data: b"prefix" + data,
        lambda data: data[:10] + b"\xff\xff" + data[12:],
        lambda data: data[: central(data) + 16] + b"\x00\x00\x00\x00" + data[central(data) + 20 :],
        lambda data: data[: central(data) + 38] + b"\x10" + data[central(data) + 39 :],
    ],
    ids=["comment", "prefix", "headers disagree", "checksum", "folder"],
)
@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_a_broken_zip_archive_is_refused_and_its_pickles_are_told(change: Any, method: int) -> None:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", method) as archive:
        archive.writestr("evil.pkl", EVIL)
    found = inspect_bytes("a.zip", change(packed.getvalue()))
    assert found.verdict == "refused"
    assert SYSTEM in found.globals


def entry(name: bytes, *, flags: int = 0, method: int = 0, packed: int = 3, at: int = 0) -> bytes:
    fields = (b"PK\x01\x02", 20, 20, flags, method, 0, 0, 0, packed, packed, len(name), 0, 0, 0, 0, 0, at)
    return struct.pack("<4sHHHHHHIIIHHHHHII", *fields) + name


def end(count: int, size: int, offset: int) -> bytes:
    return struct.pack("<4sHHHHIIH", b"PK\x05\x06", 0, 0, count, count, size, offset, 0)


@pytest.mark.parametrize(
    "data",
    [
        b"PK\x03\x04",
        b"PK\x03\x04" + end(1, 10_000, 0),
        b"PK\x03\x04" + bytes(50) + end(1, 46, 4),
        b"PK\x03\x04" + entry(b"a", at=9_999) + end(1, 47, 4),
        b"PK\x03\x04" + bytes(26) + b"\xff\xff\xff" + entry(b"a", method=8) + end(1, 47, 33),
        b"PK\x03\x04" + bytes(26) + b"xyz" + entry(b"a", method=99) + end(1, 47, 33),
        b"PK\x03\x04" + bytes(26) + b"xyz" + entry(b"a", flags=1) + end(1, 47, 33),
        b"PK\x03\x04" + bytes(26) + b"xyz" + entry(b"a") * 2_000 + end(1, 47 * 2_000, 33),
        b"PK\x05\x06",
        b"PK\x03\x04PK\x05\x06",
    ],
)
def test_a_zip_archive_without_sense_is_refused(data: bytes) -> None:
    found = inspect_bytes("a.zip", data)
    assert (found.verdict, found.globals) == ("refused", ())


# --- two formats at once ---


def test_a_zip_archive_behind_another_format_is_refused_and_told() -> None:
    hidden = zipped(("archive/data.pkl", EVIL))
    for name, front in (("m.safetensors", CONTENTS["safetensors"]), ("t.txt", b"text"), ("m.pkl", EVIL)):
        found = inspect_bytes(name, front + hidden)
        assert (found.verdict, SYSTEM in found.globals) == ("refused", True)
        assert "ambiguous-content" in rules(found)
    for tail in (b"PK\x05\x06", end(1, 9_999, 0), end(0, 0, 0), end(1, 2, 0)):
        assert inspect_bytes("t.bin", b"\x00text" + tail).verdict == "data", "no archive stands there"


def test_a_tar_archive_whose_first_name_is_a_pickle_is_refused() -> None:
    polyglot = tarred(("cos\nsystem\n(S'id'\ntR.", b"x"))
    found = inspect_bytes("a.tar", polyglot)
    assert (found.verdict, "os.system" in found.globals) == ("refused", True)
    assert "ambiguous-content" in rules(found)


# --- sums ---


def test_the_sum_of_everything_unpacked_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    data = zipped(*((f"{number}.bin", bytes(1_000)) for number in range(10)))
    monkeypatch.setattr(limits, "INSPECT_UNPACKED_BYTES", 0)
    assert inspect_bytes("a.zip", data).code == "too-large"
    monkeypatch.setattr(limits, "INSPECT_UNPACKED_BYTES", 10_000)
    assert inspect_bytes("a.zip", data).verdict == "data"


def test_many_reasons_are_counted_and_the_verdict_stays() -> None:
    data = zipped(*((f"{number}.pkl", EVIL) for number in range(600)))
    found = inspect_bytes("a.zip", data)
    assert found.verdict == "refused"
    assert len(found.members) == 600
    assert len(found.findings) == limits.INSPECT_FINDINGS
    assert len(found.reasons) == 101
    assert found.reasons[-1] == "And 1,100 more."


def test_a_folder_is_as_bad_as_its_worst_member_and_known_by_its_files() -> None:
    members = [inspect_bytes("d/a.json", b"[]"), inspect_bytes("d/sub/evil.pkl", EVIL)]
    found = inspection.inspect_folder("d", members)
    assert (found.format, found.verdict, found.size) == ("folder", "refused", 2 + len(EVIL))
    assert any(reason.startswith("sub/evil.pkl: ") for reason in found.reasons)
    assert inspection.inspect_folder("d/", []).verdict == "data"
    for paths, kind in (
        (["saved_model.pb", "variables/variables.index"], "savedmodel folder"),
        (["MLmodel", "model.pkl"], "mlflow folder"),
        (["config.json", "model.safetensors"], "hugging-face folder"),
        (["config.json", "readme.md"], "folder"),
        (["sub/saved_model.pb"], "folder"),
    ):
        assert inspection.folder_kind(paths) == kind


def test_what_lies_in_no_container_is_not_looked_into() -> None:
    aside = inspection.set_aside("a", "link", "link", "It is a link.", "format-refused")
    assert (aside.verdict, aside.code, aside.findings[0].rule) == ("refused", "format-refused", "link")
    with pytest.raises(LookupError):
        inspection._nowhere("a", memoryview(b""))


# --- data that names code ---


def test_configuration_that_names_code_is_a_danger_and_source_is_noted() -> None:
    found = inspect_bytes("config.json", b'{"auto_map": {"AutoModel": "modeling.Mine"}}')
    assert (found.verdict, rules(found)) == ("data", {"names-code"})
    assert inspect_bytes("config.json", b'{"auto_map": 1}').dangers == ()
    source = inspect_bytes("modeling.py", b"import os\n")
    assert (source.verdict, source.dangers, rules(source)) == ("data", (), {"source-code"})
    mlflow = inspect_bytes("MLmodel", b"flavors:\n  python_function:\n    loader_module: mlflow.sklearn\n")
    assert rules(mlflow) == {"names-code"}
    assert rules(inspect_bytes("MLmodel", b"flavors: {}\n")) == set()


def test_large_json_is_noted_and_not_parsed() -> None:
    found = inspect_bytes("tokenizer.json", b"[" + b"1," * 300_000 + b"1]")
    assert (found.verdict, rules(found)) == ("data", {"unchecked"})
    found = inspect_bytes("tokenizer.json", b'["' + b"x" * limits.INSPECT_JSON_BYTES + b'"]')
    assert (found.verdict, rules(found)) == ("data", {"unchecked"})


def test_every_rule_of_an_inspector_is_described() -> None:
    assert {"forbidden-global", "pickle", "ambiguous-content", "names-code"} <= set(findings.RULES)
