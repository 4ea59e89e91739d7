"""The strict zip reader: one meaning for every reader, or `malformed-archive`."""

import contextlib
import io
import struct
import zipfile
import zlib
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vault.core import zip_reader
from vault.errors import Malformed


def make(*members: tuple[str, bytes], method: int = zipfile.ZIP_STORED) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", method) as archive:
        for name, content in members:
            archive.writestr(zipfile.ZipInfo(name), content, method)
    return buffer.getvalue()


def refused(data: bytes, **bounds: Any) -> str:
    with pytest.raises(Malformed) as caught:
        zip_reader.open_archive(data, **bounds).verify()
    assert caught.value.code == "malformed-archive"
    return caught.value.message


TWO = make(("a.txt", b"alpha"), ("b/c.bin", bytes(1000)))


def test_members_read_as_the_standard_library_reads_them() -> None:
    for method in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        data = make(("a.txt", b"alpha"), ("b/c.bin", bytes(9_000_000)), method=method)
        archive = zip_reader.open_archive(data)
        with zipfile.ZipFile(io.BytesIO(data)) as reference:
            assert list(archive.entries) == reference.namelist()
            for name in archive.entries:
                assert bytes(archive.read(name, limit=10_000_000)) == reference.read(name)
        assert bytes(archive.peek("a.txt", 3)) == b"alp"
        archive.verify()


def test_what_numpy_writes_is_read() -> None:
    for save in (np.savez, np.savez_compressed):
        buffer = io.BytesIO()
        save(buffer, first=np.arange(100_000), second=np.eye(3))
        archive = zip_reader.open_archive(buffer.getvalue())
        archive.verify()
        assert sorted(archive.entries) == ["first.npy", "second.npy"]


def folder(name: str, mode: int = 0o040755, attributes: int = 0x10) -> zipfile.ZipInfo:
    """The entry of a folder as `zip -r` and `shutil.make_archive` write it."""
    info = zipfile.ZipInfo(name)
    info.external_attr = mode << 16 | attributes
    return info


def noted(member: str, *notes: tuple[int, bytes]) -> zipfile.ZipInfo:
    """A member with extra fields."""
    info = zipfile.ZipInfo(member)
    info.extra = b"".join(struct.pack("<HH", kind, len(data)) + data for kind, data in notes)
    return info


def written(*members: tuple[zipfile.ZipInfo, bytes], method: int = zipfile.ZIP_STORED) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for info, content in members:
            archive.writestr(info, content, method)
    return buffer.getvalue()


TIMES = (0x5455, b"\x03" + bytes(8))
OWNERS = (0x7875, b"\x01\x04" + bytes(4) + b"\x04" + bytes(4))
FOLDERS = written((folder("m/"), b""), (noted("m/a.json", TIMES, OWNERS), b"{}"), (folder("m/sub/"), b""))


def test_folders_and_notes_of_everyday_archives_are_passed_over_only_where_nothing_is_loaded() -> None:
    refused(FOLDERS)
    archive = zip_reader.open_archive(FOLDERS, everyday=True)
    archive.verify()
    assert list(archive.entries) == ["m/a.json"]
    assert bytes(archive.read("m/a.json", limit=2)) == b"{}"
    for extra in ((0x000A, bytes(32)), (0x5855, bytes(8)), TIMES, OWNERS):
        data = written((noted("a", extra), b"x"))
        refused(data)
        zip_reader.open_archive(data, everyday=True).verify()


@pytest.mark.parametrize(
    "data",
    [
        written((folder("m/"), b"bytes")),
        written((folder("m/"), b""), method=zipfile.ZIP_DEFLATED),
        written((folder("../"), b"")),
        written((folder("/"), b"")),
        written((folder("a//"), b"")),
        written((folder("a/../"), b"")),
        written((folder("m/", mode=0o120777), b"")),
        written((folder("m/", mode=0o100644), b"")),
        written((folder("m/", attributes=0x18), b"")),
        written((folder("m"), b"")),
        written((folder("m/"), b""), (folder("m"), b"")),
        written((folder("m/"), b""), (zipfile.ZipInfo("M"), b"")),
        written((noted("a", (0x7075, b"\x01" + bytes(4) + b"b")), b"x")),  # another name for it
        written((noted("a", TIMES, (0x9901, bytes(7))), b"x")),
        FOLDERS.replace(struct.pack("<HH", 0x5455, 9), struct.pack("<HH", 0x5455, 90)),
        FOLDERS.replace(b"m/a.json", b"m/a.jso/"),
        b"x" + FOLDERS,
    ],
)
def test_an_everyday_archive_is_as_unambiguous_as_any_other(data: bytes) -> None:
    with pytest.raises(Malformed) as caught:
        zip_reader.open_archive(data, everyday=True).verify()
    assert caught.value.code == "malformed-archive"


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_a_folder_is_listed_once() -> None:
    with pytest.raises(Malformed):
        zip_reader.open_archive(written((folder("m/"), b""), (folder("m/"), b"")), everyday=True)


def test_a_stored_member_is_a_view_without_a_copy() -> None:
    archive = zip_reader.open_archive(TWO)
    assert archive.read("a.txt", limit=5).obj is TWO


def test_utf8_names_are_read_when_marked() -> None:
    assert list(zip_reader.open_archive(make(("naïve.txt", b""))).entries) == ["naïve.txt"]


@pytest.mark.parametrize(
    "name",
    ["../evil", "/abs", "a/../b", "a//b", "a/", ".", "c:\\x", "a\\b", "a\x00b", "a\nb", "x" * 600, "a:b", ""],
)
def test_names_outside_the_archive_are_refused(name: str) -> None:
    info = zipfile.ZipInfo("placeholder")
    info.filename = name
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr(info, b"x")
    refused(buffer.getvalue())


@pytest.mark.filterwarnings("ignore:Duplicate name")
@pytest.mark.parametrize("names", [("a", "a"), ("a", "A"), ("straße", "STRASSE"), ("\u00e9", "e\u0301")])
def test_two_names_that_some_system_takes_for_one_are_refused(names: tuple[str, str]) -> None:
    refused(make((names[0], b"1"), (names[1], b"2")))


def test_trailing_and_leading_bytes_are_refused() -> None:
    refused(TWO + b"\x00")
    refused(b"MZ" + TWO)
    refused(TWO + TWO)


def test_a_comment_is_refused() -> None:
    buffer = io.BytesIO(TWO)
    with zipfile.ZipFile(buffer, "a") as archive:
        archive.comment = b"hello"
    refused(buffer.getvalue())


def test_a_wrong_checksum_is_refused() -> None:
    at = TWO.index(b"alpha")
    assert "checksum" in refused(TWO[:at] + b"ALPHA" + TWO[at + 5 :])


@pytest.mark.parametrize("flag", [0x1, 0x8, 0x20, 0x40, 0x2000])
def test_flags_that_change_the_meaning_are_refused(flag: int) -> None:
    data = bytearray(make(("a", b"x")))
    data[6:8] = struct.pack("<H", flag)
    at = data.index(b"PK\x01\x02")
    data[at + 8 : at + 10] = struct.pack("<H", flag)
    refused(bytes(data))


def test_streamed_archives_are_refused() -> None:
    class Pipe(io.RawIOBase):
        def __init__(self) -> None:
            self.content = b""

        def writable(self) -> bool:
            return True

        def write(self, data: object) -> int:
            self.content += bytes(data)  # type: ignore[call-overload]
            return len(bytes(data))  # type: ignore[call-overload]

    pipe = Pipe()
    with zipfile.ZipFile(pipe, "w") as archive:
        archive.writestr("a", b"x")
    refused(pipe.content)


def test_local_header_and_directory_must_agree_in_every_field() -> None:
    start = TWO.index(b"PK\x01\x02")
    for offset in range(4, 30):
        data = bytearray(TWO)
        data[offset] ^= 1
        refused(bytes(data))
    assert start > 30


def test_links_and_folders_are_refused() -> None:
    for mode in (0o120777, 0o040755, 0o020644):
        info = zipfile.ZipInfo("a")
        info.external_attr = mode << 16
        buffer = io.BytesIO()
        with zipfile.ZipFile(buffer, "w") as archive:
            archive.writestr(info, b"/etc/passwd")
        refused(buffer.getvalue())


def test_unknown_methods_and_extra_fields_are_refused() -> None:
    refused(make(("a", b"x" * 100), method=zipfile.ZIP_BZIP2))
    refused(make(("a", b"x" * 100), method=zipfile.ZIP_LZMA))
    info = zipfile.ZipInfo("a")
    info.extra = struct.pack("<HHI", 0x7075, 4, 0)
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr(info, b"x")
    refused(buffer.getvalue())


def test_bounds_are_kept_before_anything_is_unpacked() -> None:
    refused(make(*[(f"m{index}", b"") for index in range(20)]), entries=19)
    refused(make(("a", bytes(10_000))), total=9_999)
    archive = zip_reader.open_archive(make(("a", bytes(10_000))))
    with pytest.raises(Malformed):
        archive.read("a", limit=9_999)


def test_a_bomb_unpacks_to_no_more_than_its_declared_size() -> None:
    content = bytes(50_000_000)
    data = bytearray(make(("a", content), method=zipfile.ZIP_DEFLATED))
    small = struct.pack("<I", 1000)
    at = data.index(b"PK\x01\x02")
    data[22:26] = small
    data[at + 24 : at + 28] = small
    assert "size" in refused(bytes(data))
    packed = zlib.compressobj(9, zlib.DEFLATED, -15)
    assert len(packed.compress(content) + packed.flush()) * 1_100 > len(content)


def test_an_impossible_ratio_is_refused() -> None:
    data = bytearray(make(("a", bytes(100)), method=zipfile.ZIP_DEFLATED))
    at = data.index(b"PK\x01\x02")
    data[22:26] = data[at + 24 : at + 28] = struct.pack("<I", 1 << 30)
    assert "impossible" in refused(bytes(data))


def test_every_truncation_is_refused() -> None:
    for length in range(len(TWO)):
        refused(TWO[:length])


def test_every_flipped_bit_is_refused_or_without_effect() -> None:
    honest = {
        name: bytes(zip_reader.open_archive(TWO).read(name, limit=10**6)) for name in ("a.txt", "b/c.bin")
    }
    silent = 0
    for index in range(len(TWO)):
        for bit in range(8):
            data = bytearray(TWO)
            data[index] ^= 1 << bit
            try:
                archive = zip_reader.open_archive(bytes(data))
                content = {name: bytes(archive.read(name, limit=10**6)) for name in archive.entries}
            except Malformed:
                continue
            assert content == honest
            silent += 1
    # What may change without effect: "version made by", attributes of the system that wrote it, permissions.
    assert silent < 2 * 8 * 16


@settings(deadline=None, max_examples=200)
@given(st.binary(max_size=300), st.integers(0, 400))
def test_any_bytes_give_an_archive_or_a_refusal(junk: bytes, at: int) -> None:
    for data in (junk, TWO[:at] + junk + TWO[at:], TWO[:at] + junk + TWO[at + len(junk) :]):
        with contextlib.suppress(Malformed):
            zip_reader.open_archive(data).verify()


def test_zip64_sizes_are_read_where_they_agree_and_refused_where_not() -> None:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive, archive.open("a", "w", force_zip64=True) as member:
        member.write(b"hello")
    data = buffer.getvalue()
    assert bytes(zip_reader.open_archive(data).read("a", limit=5)) == b"hello"
    at = data.index(struct.pack("<Q", 5))
    refused(data[:at] + struct.pack("<Q", 6) + data[at + 8 :])
