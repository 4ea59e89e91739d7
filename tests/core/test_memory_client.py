"""The client's memory and pins on disk: what several processes, threads and a bad disk do to them."""

import errno
import fcntl
import json
import os
import signal
import stat
import statistics
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from vault import locked_file
from vault.core import limits, memory_format
from vault.core.memory_format import Mark, Memory
from vault.errors import Conflict, Refused, Rollback, Unavailable
from vault.memory import ClientMemory, Pins

VAULT = "ab" * 32
ROOT = "cd" * 32
KEY = "prod/main/churn"


def seen(number: int, *, model: str = "churn", digest: str | None = None) -> Memory:
    return Memory(VAULT, channels={f"prod/main/{model}": Mark(1, number, digest or f"{number:064x}")})


def file_of(state_dir: Path) -> Path:
    return state_dir / "memory" / f"{VAULT}.json"


def process(code: str, *arguments: str) -> "subprocess.Popen[str]":
    prelude = (
        "import sys; from pathlib import Path\n"
        "from vault.memory import ClientMemory, Pins; from vault.core.memory_format import Mark, Memory\n"
        "VAULT = 'ab' * 32\n"
        "def seen(model, n): return Memory(VAULT, channels={f'prod/main/{model}': Mark(1, n, f'{n:064x}')})\n"
    )
    return subprocess.Popen(
        [sys.executable, "-c", prelude + code, *arguments],
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])},
    )


def test_what_one_client_saw_the_next_one_knows(tmp_path: Path) -> None:
    first = ClientMemory(VAULT, tmp_path)
    assert first.load() == Memory(VAULT)
    first.advance(seen(5))
    assert first.durable
    assert ClientMemory(VAULT, tmp_path).load() == seen(5)


def test_only_its_owner_may_read_it(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        ClientMemory(VAULT, tmp_path / "state").advance(seen(1))
    finally:
        os.umask(before)
    file = file_of(tmp_path / "state")
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert stat.S_IMODE(file.parent.stat().st_mode) == 0o700


def test_each_vault_has_its_own(tmp_path: Path) -> None:
    ClientMemory(VAULT, tmp_path).advance(seen(5))
    assert ClientMemory(ROOT, tmp_path).load() == Memory(ROOT)


def test_a_floor_from_a_trust_file_is_known_from_the_start_and_kept(tmp_path: Path) -> None:
    assert ClientMemory(VAULT, tmp_path, floor=seen(7)).load() == seen(7)
    ClientMemory(VAULT, tmp_path, floor=seen(7)).advance(seen(8, model="other"))
    assert ClientMemory(VAULT, tmp_path).load().channels[KEY].number == 7
    with pytest.raises(ValueError, match="another vault"):
        ClientMemory(VAULT, tmp_path, floor=Memory(ROOT))


def test_a_floor_does_not_lower_what_is_remembered(tmp_path: Path) -> None:
    ClientMemory(VAULT, tmp_path).advance(seen(9))
    assert ClientMemory(VAULT, tmp_path, floor=seen(7)).load() == seen(9)


def test_a_floor_of_other_content_is_a_rollback(tmp_path: Path) -> None:
    ClientMemory(VAULT, tmp_path).advance(seen(7))
    with pytest.raises(Rollback):
        ClientMemory(VAULT, tmp_path, floor=seen(7, digest=ROOT)).load()


def test_a_client_learns_what_another_process_wrote_meanwhile(tmp_path: Path) -> None:
    ours, theirs = ClientMemory(VAULT, tmp_path), ClientMemory(VAULT, tmp_path)
    ours.advance(seen(3))
    theirs.advance(seen(5))
    assert ours.load() == seen(5)
    ours.advance(seen(4))
    assert theirs.load() == seen(5)


def test_what_is_known_already_writes_nothing(tmp_path: Path) -> None:
    memory = ClientMemory(VAULT, tmp_path)
    memory.advance(seen(5))
    before = file_of(tmp_path).stat()
    memory.advance(seen(5))
    memory.advance(seen(2))
    ClientMemory(VAULT, tmp_path).advance(seen(5))
    after = file_of(tmp_path).stat()
    assert (before.st_ino, before.st_mtime_ns) == (after.st_ino, after.st_mtime_ns)


def test_other_content_under_a_known_number_is_a_rollback_and_not_remembered(tmp_path: Path) -> None:
    memory = ClientMemory(VAULT, tmp_path)
    memory.advance(seen(5))
    with pytest.raises(Rollback):
        memory.advance(seen(5, digest=ROOT))
    assert memory.load() == ClientMemory(VAULT, tmp_path).load() == seen(5)


def test_two_processes_that_saw_two_contents_find_out(tmp_path: Path) -> None:
    ours, theirs = ClientMemory(VAULT, tmp_path), ClientMemory(VAULT, None, floor=seen(5))
    ours.advance(seen(5, digest=ROOT))
    known = theirs.load()
    with pytest.raises(Rollback):
        memory_format.check(known, ours.load())


def test_without_a_state_folder_a_process_still_remembers() -> None:
    memory = ClientMemory(VAULT, None)
    memory.advance(seen(5))
    assert not memory.durable
    with pytest.raises(Rollback):
        memory_format.check(memory.load(), seen(4))


@pytest.mark.parametrize("code", [errno.EROFS, errno.EACCES, errno.EPERM])
def test_a_read_only_memory_is_a_floor(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int) -> None:
    ClientMemory(VAULT, tmp_path).advance(seen(5))
    before = file_of(tmp_path).read_bytes()
    real_open = os.open

    def read_only(path: Path, flags: int, mode: int = 0o777) -> int:
        if flags & (os.O_WRONLY | os.O_RDWR):
            raise OSError(code, os.strerror(code))
        return real_open(path, flags, mode)

    monkeypatch.setattr(os, "open", read_only)
    memory = ClientMemory(VAULT, tmp_path)
    with pytest.raises(Rollback):
        memory_format.check(memory.load(), seen(4))
    memory.advance(seen(6))
    assert not memory.durable
    with pytest.raises(Rollback):
        memory_format.check(memory.load(), seen(5))
    assert file_of(tmp_path).read_bytes() == before


def test_a_state_folder_that_one_may_not_look_into_is_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def denied(path: object, *arguments: object, **options: object) -> None:
        raise PermissionError(errno.EACCES, "Permission denied")

    for name in ("stat", "open", "mkdir"):
        monkeypatch.setattr(os, name, denied)
    memory = ClientMemory(VAULT, tmp_path)
    assert memory.load() == Memory(VAULT)
    memory.advance(seen(5))
    assert (memory.load(), memory.durable) == (seen(5), False)


@pytest.mark.parametrize(
    ("code", "expected"), [(errno.ENOSPC, "storage-full"), (errno.EDQUOT, "storage-full"), (errno.EIO, None)]
)
def test_a_disk_that_fails_is_said_and_loses_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int, expected: str | None
) -> None:
    memory = ClientMemory(VAULT, tmp_path)
    memory.advance(seen(5))

    def fsync(descriptor: int) -> None:
        raise OSError(code, os.strerror(code))

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", fsync)
        with pytest.raises(Unavailable) as refusal:
            memory.advance(seen(6))
    assert refusal.value.code == (expected or "storage-denied")
    assert ClientMemory(VAULT, tmp_path).load() == seen(5)
    memory.advance(seen(6))
    assert ClientMemory(VAULT, tmp_path).load() == seen(6)


def test_a_memory_that_was_removed_comes_back_from_a_running_process(tmp_path: Path) -> None:
    memory = ClientMemory(VAULT, tmp_path)
    memory.advance(seen(5))
    file_of(tmp_path).unlink()
    assert memory.load() == seen(5)
    memory.advance(seen(5))
    assert ClientMemory(VAULT, tmp_path).load() == seen(5)


def test_a_lock_that_is_never_released_is_unavailable(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    memory = ClientMemory(VAULT, tmp_path)
    memory.advance(seen(1))
    monkeypatch.setattr(locked_file, "_LOCK_SECONDS", 0.05)
    with file_of(tmp_path).with_suffix(".lock").open("wb") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with pytest.raises(Unavailable, match="locked"):
            memory.advance(seen(2))
    memory.advance(seen(2))


def test_threads_share_one_memory(tmp_path: Path) -> None:
    memory = ClientMemory(VAULT, tmp_path)
    threads = [threading.Thread(target=memory.advance, args=(seen(number),)) for number in range(1, 17)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert memory.load() == ClientMemory(VAULT, tmp_path).load() == seen(16)


def test_eight_processes_that_advance_at_once_leave_the_maximum(tmp_path: Path) -> None:
    code = (
        "memory = ClientMemory(VAULT, Path(sys.argv[1])); me = int(sys.argv[2])\n"
        "for n in range(1, 26):\n"
        "    memory.advance(seen('shared', 8 * n + me)); memory.advance(seen(f'own{me}', n))\n"
    )
    processes = [process(code, str(tmp_path), str(me)) for me in range(8)]
    assert [each.wait(60) for each in processes] == [0] * 8
    for each in processes:
        each.communicate()
    found = ClientMemory(VAULT, tmp_path).load().channels
    assert found["prod/main/shared"].number == 207
    assert {model: mark.number for model, mark in found.items() if "own" in model} == {
        f"prod/main/own{me}": 25 for me in range(8)
    }


def test_a_kill_at_any_moment_leaves_the_old_or_the_new(tmp_path: Path) -> None:
    code = (
        "memory = ClientMemory(VAULT, Path(sys.argv[1]))\n"
        "n = memory.load().channels['prod/main/churn'].number if len(sys.argv) > 2 else 0\n"
        "while True:\n"
        "    n += 1; memory.advance(seen('churn', n)); print(n, flush=True)\n"
    )
    before = 0
    for round_ in range(8):
        running = process(code, str(tmp_path), *(["more"] if round_ else []))
        assert running.stdout is not None
        acknowledged = int(running.stdout.readline())
        time.sleep(0.003 * round_)
        running.send_signal(signal.SIGKILL)
        rest = running.communicate()[0].split("\n")[:-1]
        acknowledged = int(rest[-1]) if rest else acknowledged
        found = ClientMemory(VAULT, tmp_path).load().channels[KEY].number
        assert before < acknowledged <= found <= acknowledged + 1
        before = found
    assert sorted(path.suffix for path in file_of(tmp_path).parent.iterdir()) in (
        [".json", ".lock"],
        [".json", ".lock", ".tmp"],
    )


def test_a_client_adds_a_line_and_another_reads_no_more_than_that(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ours, theirs = ClientMemory(VAULT, tmp_path), ClientMemory(VAULT, tmp_path)
    ours.advance(Memory(VAULT, channels={f"prod/main/m{n}": Mark(1, 1, f"{n:064x}") for n in range(100)}))
    assert len(theirs.load().channels) == 100
    before = file_of(tmp_path).read_bytes()
    inode = file_of(tmp_path).stat().st_ino
    ours.advance(seen(5))
    assert file_of(tmp_path).stat().st_ino == inode
    assert file_of(tmp_path).read_bytes().startswith(before)
    read: list[int] = []
    real = os.pread

    def pread(descriptor: int, size: int, offset: int) -> bytes:
        read.append(size)
        return real(descriptor, size, offset)

    monkeypatch.setattr(os, "pread", pread)
    assert theirs.load() == ours.load()
    assert sum(read) < 300


def test_a_file_of_an_earlier_release_is_read_and_then_written_anew(tmp_path: Path) -> None:
    file_of(tmp_path).parent.mkdir()
    file_of(tmp_path).write_bytes(memory_format.encode(seen(5)))
    memory = ClientMemory(VAULT, tmp_path)
    assert memory.load() == seen(5)
    memory.advance(seen(6))
    memory.advance(seen(7))
    assert ClientMemory(VAULT, tmp_path).load() == seen(7)
    assert file_of(tmp_path).read_bytes().startswith(memory_format.encode(seen(6)) + b"\n")


@pytest.mark.parametrize("size", [1, 40, 100, 160])
def test_a_line_that_was_never_finished_is_left_out_and_does_not_spoil_the_next(
    tmp_path: Path, size: int
) -> None:
    memory = ClientMemory(VAULT, tmp_path)
    for number in (5, 6):
        memory.advance(seen(number))
    path = file_of(tmp_path)
    path.write_bytes(path.read_bytes()[:-size])
    assert ClientMemory(VAULT, tmp_path).load() == (seen(6) if size == 1 else seen(5))
    for number in (7, 8):
        ClientMemory(VAULT, tmp_path).advance(seen(number))
    assert ClientMemory(VAULT, tmp_path).load() == memory.load() == seen(8)


def test_a_full_disk_in_the_middle_of_a_line_takes_nothing_away(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    memory = ClientMemory(VAULT, tmp_path)
    memory.advance(seen(5))
    before = file_of(tmp_path).read_bytes()
    real, writes = os.write, []

    def write(descriptor: int, data: bytes) -> int:
        writes.append(len(data))
        if len(writes) > 1:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return real(descriptor, data[: len(data) // 2])

    with monkeypatch.context() as patch:
        patch.setattr(os, "write", write)
        with pytest.raises(Unavailable) as refusal:
            memory.advance(seen(6))
    assert (refusal.value.code, len(writes)) == ("storage-full", 2)
    assert file_of(tmp_path).read_bytes() == before
    assert memory.load() == seen(6)  # this process has seen it all the same
    memory.advance(seen(6))
    assert ClientMemory(VAULT, tmp_path).load() == seen(6)


def test_what_another_process_may_not_have_synced_is_synced_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ours, theirs = ClientMemory(VAULT, tmp_path), ClientMemory(VAULT, tmp_path)
    for number in (5, 6):
        ours.advance(seen(number))
    synced: list[int] = []
    monkeypatch.setattr(os, "fsync", synced.append)
    for _ in range(2):
        theirs.advance(seen(6))
    assert len(synced) == 1
    before = file_of(tmp_path).read_bytes()
    for _ in range(2):
        ours.advance(seen(6))
    assert len(synced) == 1
    assert file_of(tmp_path).read_bytes() == before


def test_two_processes_that_load_many_channels_lose_none(tmp_path: Path) -> None:
    code = (
        "import os; os.fsync = lambda descriptor: None\n"
        "memory = ClientMemory(VAULT, Path(sys.argv[1]))\n"
        "for n in range(600): memory.advance(seen(f'{sys.argv[2]}{n}', n + 1))\n"
    )
    processes = [process(code, str(tmp_path), name) for name in ("a", "b")]
    assert [each.wait(60) for each in processes] == [0, 0]
    for each in processes:
        each.communicate()
    found = ClientMemory(VAULT, tmp_path).load().channels
    assert found == {
        f"prod/main/{name}{n}": Mark(1, n + 1, f"{n + 1:064x}") for name in ("a", "b") for n in range(600)
    }
    assert file_of(tmp_path).stat().st_size < limits.MIB


def test_a_kill_while_the_file_is_written_anew_leaves_the_old_or_the_new(tmp_path: Path) -> None:
    code = (
        "import os; os.fsync = lambda descriptor: None\n"
        "memory = ClientMemory(VAULT, Path(sys.argv[1])); n = len(memory.load().channels)\n"
        "while True:\n"
        "    n += 1; memory.advance(seen(f'm{n}', n)); print(n, flush=True)\n"
    )
    known = 0
    for round_ in range(5):
        running = process(code, str(tmp_path))
        assert running.stdout is not None
        running.stdout.readline()
        time.sleep(0.05 + 0.037 * round_)
        running.send_signal(signal.SIGKILL)
        rest = running.communicate()[0].split("\n")[:-1]
        acknowledged = int(rest[-1]) if rest else known + 1
        found = ClientMemory(VAULT, tmp_path).load().channels
        assert acknowledged <= len(found) <= acknowledged + 1
        assert all(found[f"prod/main/m{n}"].number == n for n in range(1, len(found) + 1))
        known = len(found)
    assert known > 400


def test_what_one_more_channel_costs_does_not_grow_with_their_number(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Only the disk's own work is left out here: one sync for each advance."""
    monkeypatch.setattr(os, "fsync", lambda descriptor: None)
    memory = ClientMemory(VAULT, tmp_path)
    all_channels = {f"prod/main/m{number}": Mark(1, 1, f"{number:064x}") for number in range(10_000)}
    memory.advance(Memory(VAULT, channels=all_channels))
    costs = []
    for number in range(150):
        start = time.process_time()
        memory.advance(seen(1, model=f"more-{number}"))
        costs.append(time.process_time() - start)
    assert statistics.median(costs) < 1e-3
    assert len(ClientMemory(VAULT, tmp_path).load().channels) == 10_150


def test_ten_thousand_channels_do_not_slow_a_load_that_learns_nothing(tmp_path: Path) -> None:
    memory = ClientMemory(VAULT, tmp_path)
    all_channels = {f"prod/main/m{number}": Mark(1, number, f"{number:064x}") for number in range(10_000)}
    memory.advance(Memory(VAULT, channels=all_channels))
    again = seen(77, model="m77")
    times = []
    for _ in range(200):
        start = time.perf_counter()
        memory_format.check(memory.load(), again)
        memory.advance(again)
        times.append(time.perf_counter() - start)
    assert statistics.median(times) < 100e-6


# --- the pins of trusted locations ---


def test_a_location_is_trusted_by_its_root(tmp_path: Path) -> None:
    pins = Pins(tmp_path / "config")
    assert pins.get("/models") is None
    pin = pins.add("/models", ROOT, now=1_700_000_000)
    assert (pin.root, pin.added) == (ROOT, "2023-11-14T22:13:20Z")
    assert Pins(tmp_path / "config").get("/models") == pin
    assert dict(pins.all()) == {"/models": pin}
    assert stat.S_IMODE((tmp_path / "config" / "trusted.json").stat().st_mode) == 0o600


def test_trusting_twice_changes_nothing(tmp_path: Path) -> None:
    pins = Pins(tmp_path)
    first = pins.add("/models", ROOT, now=1)
    assert pins.add("/models", ROOT, now=2) == first


def test_another_root_at_a_trusted_location_is_a_conflict(tmp_path: Path) -> None:
    pins = Pins(tmp_path)
    pins.add("/models", ROOT, now=1)
    with pytest.raises(Conflict) as refusal:
        pins.add("/models", VAULT, now=2)
    assert f"sha256:{ROOT}" in refusal.value.message
    found = pins.get("/models")
    assert found is not None
    assert found.root == ROOT


def test_processes_that_trust_at_once_lose_no_pin(tmp_path: Path) -> None:
    code = (
        "pins = Pins(Path(sys.argv[1]))\nfor n in range(10): pins.add(f'/{sys.argv[2]}/{n}', VAULT, now=n)\n"
    )
    processes = [process(code, str(tmp_path), str(me)) for me in range(4)]
    assert [each.wait(60) for each in processes] == [0] * 4
    for each in processes:
        each.communicate()
    assert len(Pins(tmp_path).all()) == 40


def test_without_a_place_for_pins_nothing_is_trusted(tmp_path: Path) -> None:
    assert Pins(None).get("/models") is None
    (tmp_path / "file").write_bytes(b"")
    for pins in (Pins(None), Pins(tmp_path / "file")):
        with pytest.raises(Unavailable) as refusal:
            pins.add("/models", ROOT, now=1)
        assert refusal.value.code == "storage-denied"


def test_a_location_or_root_that_is_none_is_the_callers_mistake(tmp_path: Path) -> None:
    for location in ("", "x" * 5_000):
        with pytest.raises(ValueError, match="location"):
            Pins(tmp_path).add(location, ROOT, now=1)
    with pytest.raises(Refused):
        Pins(tmp_path).add("/models", "sha256:abc", now=1)
    assert os.listdir(tmp_path) == []


def test_the_file_is_one_line_of_json(tmp_path: Path) -> None:
    Pins(tmp_path).add("/models", ROOT, now=1)
    assert json.loads((tmp_path / "trusted.json").read_text()) == {
        "format": "mvault-pins-v1",
        "trusted": {"/models": {"added": "1970-01-01T00:00:01Z", "root": ROOT}},
    }
