"""Tar archives: what the usual tools write is read, and what leads outside or is ambiguous is refused."""

import io
import tarfile
from collections.abc import Callable
from typing import Literal

import pytest

from vault.core import limits, tar_reader
from vault.errors import Malformed

BLOCK = tar_reader.BLOCK


def member(
    name: str = "a.txt",
    content: bytes = b"hello",
    *,
    kind: bytes = tarfile.REGTYPE,
    link: str = "",
    format: Literal[0, 1, 2] = 0,
    pax: dict[str, str] | None = None,
) -> bytes:
    """Write one member without the end of an archive."""
    header = tarfile.TarInfo(name)
    header.size, header.type, header.linkname = len(content), kind, link
    header.pax_headers = pax or {}
    return header.tobuf(format) + content + bytes(-len(content) % BLOCK)


def archive(*members: bytes) -> bytes:
    return b"".join(members) + bytes(2 * BLOCK)


def header(
    raw_name: bytes = b"a.txt", size: bytes = b"00000000005", kind: bytes = b"0", magic: bytes = b""
) -> bytes:
    """Write a header field by field, with its checksum."""
    block = bytearray(BLOCK)
    block[: len(raw_name)] = raw_name
    block[124 : 124 + len(size)] = size
    block[148:156] = b" " * 8
    block[156:157] = kind
    block[257 : 257 + len(magic)] = magic
    block[148:156] = b"%06o\x00 " % sum(block)
    return bytes(block)


def extension(kind: bytes, content: bytes) -> bytes:
    return header(b"ext", b"%011o" % len(content), kind) + content + bytes(-len(content) % BLOCK)


def record(key: str, value: str) -> bytes:
    text = f" {key}={value}\n".encode()
    length = len(text) + len(str(len(text)))
    return str(length if len(str(length)) + len(text) == length else length + 1).encode() + text


@pytest.mark.parametrize("format", [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_what_the_standard_library_writes_is_read(format: int) -> None:
    packed = io.BytesIO()
    contents = {
        "a.txt": b"a",
        f"{'d' * 90}/{'e' * 80}/long.bin": bytes(1000),
        "naïve.txt": b"",
        "d/b": b"b" * 512,
    }
    with tarfile.open(fileobj=packed, mode="w", format=format) as made:
        folder = tarfile.TarInfo("d")
        folder.type, folder.mtime = tarfile.DIRTYPE, 1.5
        made.addfile(folder)
        for name, content in contents.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            made.addfile(entry, io.BytesIO(content))
    assert tar_reader.is_tar(packed.getvalue())
    opened = tar_reader.open_archive(packed.getvalue())
    assert {name: bytes(opened.read(name)) for name in opened.entries} == contents


def test_a_name_of_the_oldest_form_and_a_leading_dot_are_read() -> None:
    opened = tar_reader.open_archive(
        archive(header(b"./a.txt") + b"hello" + bytes(507), member("./", b"", kind=b"5"))
    )
    assert list(opened.entries) == ["a.txt"]
    assert bytes(opened.read("a.txt")) == b"hello"
    with pytest.raises(Malformed, match="no member"):
        opened.read("b.txt")


def test_a_size_in_base_256_is_read() -> None:
    opened = tar_reader.open_archive(
        archive(header(size=b"\x80" + (5).to_bytes(11, "big")) + b"hello" + bytes(507))
    )
    assert opened.entries["a.txt"].size == 5


def test_a_size_in_a_pax_header_counts() -> None:
    opened = tar_reader.open_archive(
        archive(
            extension(b"x", record("size", "5") + record("mtime", "1")),
            header(size=b"0") + b"hello" + bytes(507),
        )
    )
    assert bytes(opened.read("a.txt")) == b"hello"


@pytest.mark.parametrize(
    "data", [b"", b"x" * 100, bytes(1024), b"x" * 1024, header()[:148] + b"zzzzzzzz" + header()[156:]]
)
def test_other_bytes_are_no_tar(data: bytes) -> None:
    assert not tar_reader.is_tar(data)


def with_pax(content: bytes) -> Callable[[], bytes]:
    return lambda: archive(extension(b"x", content), member())


LONG = extension(b"L", b"b.txt\x00")
REFUSED: dict[str, tuple[Callable[[], bytes], str]] = {
    "no end": (member, "cut short"),
    "half a header": (lambda: member() + bytes(100), "cut short"),
    "a content that is cut": (lambda: header(size=b"00000001000"), "runs past the end"),
    "bytes behind the end": (lambda: archive(member()) + b"x", "behind its end"),
    "another archive behind the end": (lambda: archive(member()) + archive(member("b")), "behind its end"),
    "a wrong checksum": (lambda: archive(member()[:10] + b"x" + member()[11:]), "checksum"),
    "a size that is no number": (lambda: archive(header(size=b"zzzzzzzzzzz")), "no number"),
    "an absolute name": (lambda: archive(member("/etc/passwd")), "leads outside"),
    "a traversing name": (lambda: archive(member("a/../../b")), "leads outside"),
    "a name with a backslash": (lambda: archive(member("..\\b")), "leads outside"),
    "a name with a drive": (lambda: archive(member("c:b")), "leads outside"),
    "an empty name": (lambda: archive(member("")), "leads outside"),
    "a name with an empty part": (lambda: archive(member("a//b")), "leads outside"),
    "a file named like a folder": (lambda: archive(header(b"a/") + bytes(BLOCK)), "leads outside"),
    "a long name": (lambda: archive(extension(b"L", b"x" * 600), member()), "leads outside"),
    "a deep name": (lambda: archive(extension(b"L", b"x/" * 20 + b"x"), member()), "leads outside"),
    "a control character": (lambda: archive(member("a\x1b[31m")), "control characters"),
    "a bidirectional override": (lambda: archive(member("a\u202eb")), "control characters"),
    "a name that is not UTF-8": (lambda: archive(header(b"\xff\xfe")), "not UTF-8"),
    "a symbolic link": (lambda: archive(member("a", b"", kind=b"2", link="/etc")), "a symbolic link"),
    "a hard link": (lambda: archive(member("a", b"", kind=b"1", link="b")), "a hard link"),
    "a device": (lambda: archive(member("a", b"", kind=b"3")), "a device"),
    "a pipe": (lambda: archive(member("a", b"", kind=b"6")), "a pipe"),
    "a sparse file": (lambda: archive(member("a", b"", kind=b"S")), "a sparse file"),
    "a kind of its own": (lambda: archive(member("a", b"", kind=b"Z")), "not read"),
    "a folder with content": (lambda: archive(header(b"d/", kind=b"5") + bytes(BLOCK)), "has content"),
    "the same name twice": (lambda: archive(member(), member()), "twice"),
    "the same name in another case": (lambda: archive(member("A.TXT"), member()), "twice"),
    "a file below a file": (lambda: archive(member("a"), member("a/b")), "below a file"),
    "a long link": (lambda: archive(extension(b"K", b"/etc\x00"), member("a", b"", kind=b"2")), "a link"),
    "two long names": (lambda: archive(LONG, LONG, member()), "two names"),
    "a name without a member": (lambda: archive(LONG), "not there"),
    "a large extension": (
        lambda: archive(extension(b"L", b"x" * (limits.TAR_EXTENSION_BYTES + 1)), member()),
        "larger than",
    ),
    "a sparse pax file": (with_pax(record("GNU.sparse.major", "1")), "not read"),
    "a name for all": (lambda: archive(extension(b"g", record("path", "b")), member()), "not read"),
    "a link in a pax header": (with_pax(record("linkpath", "/")), "not read"),
    "two pax names": (with_pax(record("path", "b") * 2), "two names"),
    "two pax sizes": (with_pax(record("size", "5") * 2), "no number"),
    "a negative pax size": (with_pax(record("size", "-5")), "no number"),
    "a pax record without its length": (with_pax(b"path=b\n"), "malformed"),
    "a pax record that runs on": (with_pax(b"99 path=b\n"), "malformed"),
    "a pax record without a value": (with_pax(b"8 path\n\n"), "malformed"),
    "a pax record without an equals sign": (with_pax(b"8 pathb\n"), "malformed"),
    "a pax record with a zero": (with_pax(b"9 path=\x00\n"), "malformed"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_leads_outside_or_is_ambiguous_is_refused(name: str) -> None:
    make, message = REFUSED[name]
    with pytest.raises(Malformed, match=message) as caught:
        tar_reader.open_archive(make())
    assert caught.value.code == "malformed-archive"


def test_every_fault_is_a_case() -> None:
    assert len(REFUSED) == 44


def test_members_are_counted() -> None:
    with pytest.raises(Malformed, match="more than 2 members"):
        tar_reader.open_archive(archive(member("a"), member("b"), member("c")), entries=2)
    with pytest.raises(Malformed, match="more than 1 members"):
        tar_reader.open_archive(archive(*(member(f"d{n}/", b"", kind=b"5") for n in range(3))), entries=1)


def test_every_prefix_and_every_changed_byte_is_read_or_refused() -> None:
    whole = archive(extension(b"x", record("path", "c.txt")), member(), member("b.txt", b"x" * 600))
    outcomes = set()
    for length in range(0, len(whole), 7):
        outcomes.add(outcome(whole[:length]))
    for at in range(0, len(whole), 3):
        outcomes.add(outcome(whole[:at] + bytes([whole[at] ^ 0x41]) + whole[at + 1 :]))
    assert outcomes == {"read", "malformed-archive"}


def outcome(data: bytes) -> str:
    try:
        tar_reader.open_archive(data)
    except Malformed as refusal:
        return refusal.code
    return "read"
