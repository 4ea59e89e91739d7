"""Inspection of files that were made to exhaust, confuse or escape it: each in a child that may die.

Promised for any file of up to 100 MB: under 5 s of processor time, under 1 GiB of memory, a verdict,
nothing run, nothing written. Where other work shares the processor, its speed is measured first.
"""

import bz2
import gzip
import io
import json
import lzma
import os
import pickle
import socket
import struct
import subprocess
import sys
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.core.archive_parts import tarred, zipped
from vault.actions import inspecting
from vault.core import limits, sarif
from vault.core.inspection import Inspection
from vault.errors import NotFound, Unavailable

MIB = 1 << 20
SECONDS = 5.0
MEMORY = 1024 * MIB
CHILD = """
import json, resource, sys, time
import vault.actions.inspecting as inspecting
from pathlib import Path
began, events = time.process_time(), []
for number in range(1_000_000):
    pass
slowness = max(1.0, (time.process_time() - began) / 0.04)
began = time.process_time()
sys.addaudithook(lambda event, _: events.append(event) if event.startswith(
    ("exec", "compile", "os.system", "subprocess", "socket", "shutil", "os.remove", "os.rename", "pickle")
) else None)
resource.setrlimit(resource.RLIMIT_AS, (3 << 30, 3 << 30))
found = inspecting.inspect(Path(sys.argv[1]))
print(json.dumps({
    "verdict": found.verdict, "code": found.code, "format": found.format, "reasons": found.reasons,
    "globals": found.globals, "members": len(found.members), "findings": len(found.findings),
    "seconds": (time.process_time() - began) / slowness, "events": events,
    "memory": 1024 * int(Path("/proc/self/status").read_text().partition("VmHWM:")[2].split()[0]),
}))
"""


class Evil:
    def __reduce__(self) -> tuple[Any, ...]:
        return os.system, ("touch canary",)


EVIL = pickle.dumps(Evil())


def inspected(path: Path, *, seconds: float = SECONDS) -> dict[str, Any]:
    """Inspect in a child, and hold it to what is promised."""
    done = subprocess.run(
        [sys.executable, "-c", CHILD, str(path)],
        capture_output=True, text=True, check=False, timeout=120, cwd=path.parent,
    )  # fmt: skip
    assert done.returncode == 0, f"the child ended with {done.returncode}: {done.stderr[-2000:]}"
    found: dict[str, Any] = json.loads(done.stdout)
    assert found["seconds"] < seconds
    assert found["memory"] < MEMORY
    assert found["events"] == []
    assert not (path.parent / "canary").exists()
    return found


def deflated_zeros(size: int) -> bytes:
    """Compress `size` zeros with gzip without holding them."""
    packer = zlib.compressobj(1, wbits=31)
    block = bytes(MIB)
    return b"".join(packer.compress(block) for _ in range(size // MIB)) + packer.flush()


def wide_bomb() -> bytes:
    """Pack thirty members of 50 MiB of zeros."""
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
        for number in range(30):
            archive.writestr(f"{number}.bin", bytes(50 * MIB))
    return packed.getvalue()


def overlapping_bomb() -> bytes:
    """List one member's bytes under 1,000 names, as the better zip bombs do."""
    inner = zlib.compressobj(9, wbits=-15)
    body = inner.compress(bytes(50 * MIB)) + inner.flush()
    crc = zlib.crc32(bytes(50 * MIB))
    local = (
        struct.pack("<4sHHHHHIIIHH", b"PK\x03\x04", 20, 0, 8, 0, 33, crc, len(body), 50 * MIB, 1, 0) + b"a"
    )
    central = b"".join(
        struct.pack("<4sHHHHHH", b"PK\x01\x02", 20, 20, 0, 8, 0, 33)
        + struct.pack("<IIIHHHHHII", crc, len(body), 50 * MIB, 4, 0, 0, 0, 0, 0, 0)
        + f"{number:04}".encode()
        for number in range(1_000)
    )  # fmt: skip
    start = len(local) + len(body)
    end = struct.pack("<4sHHHHIIH", b"PK\x05\x06", 0, 0, 1_000, 1_000, len(central), start, 0)
    return local + body + central + end


def layered(times: int) -> bytes:
    content = EVIL
    for _ in range(times):
        content = zipped(("a.zip", content))
    return content


def many_pickles() -> bytes:
    body = b"\x80\x04]\x94(" + b"K\x01" * 20_000 + b"e."
    return zipped(*((f"{number}.pkl", body) for number in range(2_000)))


def opcode_bomb() -> bytes:
    return gzip.compress(b"\x80\x04" + b"N0" * (40 * MIB) + b"N.", 1)


def memo_bomb() -> bytes:
    """Double a tuple forty times; a reader that follows it would never end."""
    return b"\x80\x04K\x01\x85" + b"\x94h\x00h\x00\x86" * 40 + b"."


def text_pickle() -> bytes:
    return b"(" + b"I1\n" * 5_000_000 + b"lcos\nsystem\n(S'true'\ntR."


def deep_json() -> bytes:
    return b"[" * (10 * MIB)


def wide_json() -> bytes:
    return b"[" + b"[],[]," * (15 * MIB) + b"1]"


def keyed_json() -> bytes:
    return b"{" + b",".join(b'"%d":{}' % number for number in range(180_000)) + b"}"


def npz_bomb() -> bytes:
    header = b"{'descr': '<f8', 'fortran_order': False, 'shape': (75000000,), }"
    header += b" " * (64 - (10 + len(header) + 1) % 64) + b"\n"
    head = b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", compresslevel=1) as archive:
        for name in "ab":
            entry = zipfile.ZipInfo(f"{name}.npy")
            entry.compress_type = zipfile.ZIP_DEFLATED
            with archive.open(entry, "w") as member:
                member.write(head)
                for _ in range(600):
                    member.write(bytes(1_000_000))
    return packed.getvalue()


FILES: dict[str, tuple[str, Callable[[], bytes]]] = {
    "a zip bomb": ("a.zip", wide_bomb),
    "overlapping zip members": ("a.zip", overlapping_bomb),
    "a zip in a zip in a zip": ("a.zip", lambda: layered(8)),
    "a gzip bomb": ("a.gz", lambda: deflated_zeros(800 * MIB)),
    "a gzip bomb of gzip bombs": ("a.gz", lambda: gzip.compress(deflated_zeros(600 * MIB))),
    "a tar.gz bomb": ("a.tar.gz", lambda: gzip.compress(tarred(("a.bin", bytes(300 * MIB))), 1)),
    "a bzip2 bomb": ("a.bz2", lambda: bz2.compress(bytes(550 * MIB))),
    "an xz bomb": ("a.xz", lambda: lzma.compress(bytes(550 * MIB), preset=0)),
    "a joblib bomb": ("a.joblib", lambda: zlib.compress(b"\x80\x04" + bytes(550 * MIB), 1)),
    "an npz bomb": ("a.npz", npz_bomb),
    "two thousand pickles": ("a.zip", many_pickles),
    "an opcode bomb": ("a.joblib", opcode_bomb),
    "an opcode bomb, unpacked": ("a.pkl", lambda: gzip.decompress(opcode_bomb())),
    "a memo bomb": ("a.pkl", memo_bomb),
    "a pickle of text opcodes": ("a.pkl", text_pickle),
    "deep JSON": ("a.json", deep_json),
    "wide JSON": ("a.json", wide_json),
    "JSON of many keys": ("a.json", keyed_json),
    "many tar members": ("a.tar", lambda: tarred(*((f"{n}", b"") for n in range(20_500)))),
    "a thousand gzip members": ("a.gz", lambda: gzip.compress(b"x") * 100_000),
}
REFUSED = frozenset(FILES) - {"wide JSON", "JSON of many keys", "a tar.gz bomb", "a memo bomb"}


SLOW = frozenset(
    {
        "a bzip2 bomb",
        "a gzip bomb of gzip bombs",
        "a joblib bomb",
        "a tar.gz bomb",
        "a zip bomb",
        "an npz bomb",
        "an opcode bomb",
        "an opcode bomb, unpacked",
        "an xz bomb",
        "overlapping zip members",
        "two thousand pickles",
    }
)


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=[pytest.mark.slow] if name in SLOW else []) for name in FILES]
)
def test_a_file_made_to_exhaust_is_judged_in_time(name: str, tmp_path: Path) -> None:
    file, make = FILES[name]
    path = tmp_path / file
    path.write_bytes(make())
    found = inspected(path)
    if name in REFUSED:
        assert found["verdict"] == "refused"


# --- folders ---


def found_below(folder: Path) -> dict[str, Inspection]:
    found = inspecting.inspect(folder)
    return {str(Path(member.path).relative_to(folder)): member for member in found.members}


def test_links_pipes_and_sockets_in_a_folder_are_refused_by_name_and_never_opened(tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "secret.json").write_text("[]")
    folder = tmp_path / "folder"
    folder.mkdir()
    (folder / "fine.json").write_text("[]")
    (folder / "file").symlink_to(outside / "secret.json")
    (folder / "out").symlink_to(outside)
    (folder / "loop").symlink_to(".")
    (folder / "dangling").symlink_to("nowhere")
    os.mkfifo(folder / "pipe.pkl")
    listening = socket.socket(socket.AF_UNIX)
    listening.bind(os.path.relpath(folder / "sock"))
    found = found_below(folder)
    listening.close()
    assert {name: entry.verdict for name, entry in found.items()} == {
        "fine.json": "data",
        **dict.fromkeys(("file", "out", "loop", "dangling", "pipe.pkl", "sock"), "refused"),
    }
    assert {found[name].findings[0].rule for name in ("file", "out", "loop", "dangling")} == {"link"}
    assert {found[name].findings[0].rule for name in ("pipe.pkl", "sock")} == {"special-file"}


def test_a_pipe_or_a_link_given_by_name_is_a_mistake_and_does_not_hang(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "link").symlink_to("pipe")
    for name in ("pipe", "link"):
        with pytest.raises(ValueError, match="regular file or a folder"):
            inspecting.inspect(tmp_path / name)
    with pytest.raises(NotFound):
        inspecting.inspect(tmp_path / "nothing")
    with pytest.raises(NotFound):
        inspecting.inspect(tmp_path / "nothing" / "below")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_file_that_may_not_be_read_does_not_stop_the_others(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text("[]")
    (tmp_path / "b.json").write_text("[]")
    (tmp_path / "a.json").chmod(0)
    found = found_below(tmp_path)
    assert (found["a.json"].code, found["b.json"].verdict) == ("unavailable", "data")


@pytest.mark.parametrize("raised", [OSError(5, "Input/output error"), Unavailable("It is away.")])
def test_a_file_that_fails_does_not_stop_the_others(
    raised: Exception, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "a.json").write_text("[]")
    (tmp_path / "b.json").write_text("[]")
    real = os.open

    def failing(path: Any, *more: Any, **options: Any) -> int:
        if str(path).endswith("a.json"):
            raise raised
        return real(path, *more, **options)

    monkeypatch.setattr(os, "open", failing)
    found = found_below(tmp_path)
    assert (found["a.json"].code, found["a.json"].findings[0].rule) == ("unavailable", "unreadable")
    assert found["b.json"].verdict == "data"


def test_a_folder_that_fails_does_not_stop_the_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "sub").mkdir()
    (tmp_path / "a.json").write_text("[]")
    real = os.scandir

    def failing(path: Any) -> Any:
        if str(path).endswith("sub"):
            raise PermissionError(13, "Permission denied")
        return real(path)

    monkeypatch.setattr(os, "scandir", failing)
    found = found_below(tmp_path)
    assert (found["a.json"].verdict, found["sub"].code) == ("data", "unavailable")


@pytest.mark.parametrize("change", ["longer", "shorter", "other"])
def test_a_file_that_changes_meanwhile_is_refused(
    change: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "a.json"
    path.write_text("[1]")
    real = os.pread

    def changing(descriptor: int, size: int, offset: int) -> bytes:
        content = real(descriptor, size, offset)
        text = {"longer": "[1, 2]", "shorter": "[", "other": "[2]"}[change]
        path.write_text(text)
        os.utime(path, ns=(0, len(text) if offset == 0 else 0))
        return content

    monkeypatch.setattr(os, "pread", changing)
    found = inspecting.inspect(path)
    assert (found.verdict, found.findings[0].rule) == ("refused", "changed")


def test_a_large_file_is_mapped_and_not_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a.json").write_text("[1]")
    monkeypatch.setattr(limits, "INSPECT_READ_BYTES", 2)
    monkeypatch.setattr(os, "pread", None)
    assert inspecting.inspect(tmp_path / "a.json").verdict == "data"


def test_folders_are_walked_in_order_and_no_deeper_than_a_limit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("b/2.json", "b/1.json", "a/x/1.json", "a/9.json", "z.json", "10.json"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("[]")
    order = ["10.json", "z.json", "a/9.json", "a/x/1.json", "b/1.json", "b/2.json"]
    assert list(found_below(tmp_path)) == order
    monkeypatch.setattr(limits, "INSPECT_FOLDERS", 1)
    found = found_below(tmp_path)
    assert (found["a/x"].verdict, found["a/x"].code) == ("refused", "too-large")
    monkeypatch.setattr(limits, "INSPECT_FOLDERS", 2)
    monkeypatch.setattr(limits, "INSPECT_FILES", 3)
    assert [entry.verdict for entry in found_below(tmp_path).values()] == [*["data"] * 3, "refused"]


def test_names_that_steer_terminals_are_only_names(tmp_path: Path) -> None:
    names = ["a\x1b[31m.json", "b\n.json", "c\u202egpj.json", "d\t.json", "e'; rm -rf x;.json"]
    for name in names:
        (tmp_path / name).write_text("[]")
    (tmp_path / os.fsdecode(b"f\xff.json")).write_text("[]")
    found = inspecting.inspect(tmp_path)
    assert [Path(member.path).name for member in found.members] == [*names, "f\udcff.json"]
    assert json.loads(json.dumps(sarif.log(found.members, version="1")))


@pytest.mark.slow
def test_a_folder_of_a_hundred_thousand_files_is_walked(tmp_path: Path) -> None:
    folder = tmp_path / "folder"
    for number in range(100):
        (folder / f"{number}").mkdir(parents=True)
        for file in range(1_000):
            (folder / f"{number}" / f"{file}.json").write_text("[]")
    found = inspected(folder, seconds=60)
    assert (found["members"], found["verdict"]) == (100_000, "data")


def test_a_deep_folder_is_walked_without_recursion(tmp_path: Path) -> None:
    path = tmp_path
    for _ in range(limits.INSPECT_FOLDERS + 5):
        path /= "d"
    path.mkdir(parents=True)
    (path / "a.json").write_text("[]")
    (entry,) = inspecting.inspect(tmp_path).members
    assert entry.code == "too-large"
