"""Large objects go past the page cache: with the same bytes, the same errors, and little memory."""

import contextlib
import errno
import fcntl
import hashlib
import mmap
import os
import resource
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from random import Random
from types import SimpleNamespace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.conformance.failing import fail
from vault.core import limits
from vault.errors import Unavailable
from vault.storage import local_append, local_draft
from vault.storage.local import LocalStore

BLOCK = 8 * 1024
START = 2 * BLOCK
DATA = Random(1).randbytes(40 * BLOCK)
REPOSITORY = Path(__file__).parents[2]


def writers() -> list[threading.Thread]:
    """Give the threads that write for a draft now."""
    return [thread for thread in threading.enumerate() if thread.name == "storage-writer"]


def is_direct(descriptor: int) -> bool:
    return bool(fcntl.fcntl(descriptor, fcntl.F_GETFL) & os.O_DIRECT)


def takes_direct_writes(path: Path) -> bool:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT, 0o600)
    try:
        fcntl.fcntl(descriptor, fcntl.F_SETFL, os.O_DIRECT)
        with mmap.mmap(-1, BLOCK) as block:
            return os.write(descriptor, block) == BLOCK
    except OSError:
        return False
    finally:
        os.close(descriptor)


def small_blocks(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(local_append, "_BLOCK", BLOCK)
    patch.setattr(local_append, "_DIRECT_FROM", START)


def descriptors(folder: Path) -> list[str]:
    """List what this process has open below a folder; other tests' threads may open what they like."""
    found = []
    for number in os.listdir("/proc/self/fd"):
        with contextlib.suppress(OSError):
            found.append(os.readlink(f"/proc/self/fd/{number}"))
    return [path for path in found if path.startswith(str(folder))]


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[LocalStore]:
    """Give a store whose objects are large from 16 KiB on; no thread or descriptor may be left over."""
    small_blocks(monkeypatch)
    (tmp_path / "store").mkdir()
    if not takes_direct_writes(tmp_path / "probe"):
        pytest.skip("the file system of the temporary folder has no direct I/O")
    yield LocalStore(tmp_path / "store")
    wait_until(lambda: not writers())
    assert not descriptors(tmp_path), "a descriptor was leaked"


def wait_until(holds: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 30
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.005)


def put(store: LocalStore, data: bytes, *, piece: int = 3000, size: int | None = None) -> None:
    with store.create("large", size=size) as sink:
        for start in range(0, len(data), piece):
            sink.write(data[start : start + piece])


def content(store: LocalStore) -> bytes:
    return store.read("large", limit=limits.MIB)


@pytest.fixture
def written(monkeypatch: pytest.MonkeyPatch) -> list[tuple[bool, int, str]]:
    """Record each write: whether it went past the page cache, its size, and the thread."""
    recorded = []
    real = os.write

    def write(descriptor: int, data: memoryview) -> int:
        recorded.append((is_direct(descriptor), len(data), threading.current_thread().name))
        return real(descriptor, data)

    monkeypatch.setattr(os, "write", write)
    return recorded


# --- what is written ---


def test_the_start_is_written_plainly_the_bulk_directly_and_the_rest_plainly(
    store: LocalStore, written: list[tuple[bool, int, str]]
) -> None:
    data = DATA[: START + 3 * BLOCK + 5]
    put(store, data, piece=BLOCK)
    assert written == [
        (False, BLOCK, "MainThread"),
        (False, BLOCK, "MainThread"),
        (True, BLOCK, "storage-writer"),
        (True, BLOCK, "storage-writer"),
        (True, BLOCK, "storage-writer"),
        (False, 5, "storage-writer"),
    ]
    assert content(store) == data


@pytest.mark.parametrize("size", [0, 1, START - 1, START, START + 1, START + BLOCK, START + 4 * BLOCK])
@pytest.mark.parametrize("piece", [1000, BLOCK, len(DATA)])
@pytest.mark.parametrize("told", [False, True], ids=["size unknown", "size told"])
def test_every_size_around_the_thresholds_is_stored_whole(
    store: LocalStore, size: int, piece: int, told: bool
) -> None:
    put(store, DATA[:size], piece=piece, size=size if told else None)
    assert content(store) == DATA[:size]


def test_an_object_that_is_known_to_be_small_takes_no_thread(
    store: LocalStore, written: list[tuple[bool, int, str]]
) -> None:
    size = START + BLOCK - 1
    put(store, DATA[:size], size=size)
    assert {(direct, thread) for direct, _, thread in written} == {(False, "MainThread")}


@settings(deadline=None, max_examples=60)
@given(
    pieces=st.lists(st.integers(0, 3 * BLOCK), max_size=24),
    told=st.sampled_from([None, 0, 1, START, START + BLOCK, 10 * BLOCK, 1 << 40, "right"]),
    blocks=st.integers(1, 4),
)
def test_any_writes_give_the_bytes_that_plain_writes_give(
    tmp_path_factory: pytest.TempPathFactory, pieces: list[int], told: int | str | None, blocks: int
) -> None:
    total = sum(pieces)
    data = (DATA * (total // len(DATA) + 1))[:total]
    path = tmp_path_factory.mktemp("append") / "file"
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT, 0o600)
    with pytest.MonkeyPatch.context() as patch, ExitStack() as stack:
        stack.callback(os.close, descriptor)
        small_blocks(patch)
        patch.setattr(local_append, "_BLOCKS", blocks)
        appender = local_append.Appender(descriptor, total if isinstance(told, str) else told)
        stack.callback(appender.close)
        position = 0
        for piece in pieces:
            buffer = bytearray(data[position : position + piece])
            appender.append(memoryview(buffer))
            buffer[:] = bytes(piece)  # the caller may use it again at once
            position += piece
        appender.finish()
        assert not is_direct(descriptor)
    assert path.read_bytes() == data
    assert not writers()


@pytest.mark.parametrize("size", [0, 1, START, START + BLOCK + 7])
@pytest.mark.parametrize("named", [False, True], ids=["unnamed", "named"])
def test_what_was_written_can_be_looked_at_before_it_is_visible(
    store: LocalStore, monkeypatch: pytest.MonkeyPatch, size: int, named: bool
) -> None:
    if named:
        monkeypatch.setattr(local_draft, "_DESCRIPTORS", "/nowhere")
    with store.create("large") as sink:
        sink.write(DATA[:size])
        with sink.view() as seen:
            assert bytes(seen) == DATA[:size]
            with pytest.raises(TypeError):
                seen[:1] = b"x"
        sink.write(b"more")
    assert content(store) == DATA[:size] + b"more"


@pytest.mark.parametrize("when", ["after a failure", "while the rest is written"])
def test_nothing_is_shown_of_what_failed(
    store: LocalStore, monkeypatch: pytest.MonkeyPatch, when: str
) -> None:
    def attempt() -> None:
        with store.create("large") as sink:
            sink.write(DATA[: START + 5])
            with monkeypatch.context() as patch:
                fail(patch, "write", errno.EIO, lambda *_: True)
                with pytest.raises(Unavailable):
                    sink.write(DATA) if when == "after a failure" else sink.view().__enter__()
            sink.view().__enter__()

    with pytest.raises(Unavailable, match="earlier write"):
        attempt()
    assert list(store.list("")) == []


# --- what it holds on to ---


def test_thread_and_memory_go_as_soon_as_the_announced_size_is_reached(store: LocalStore) -> None:
    """A package is pulled with all its files open until the last is whole."""
    size = START + 2 * BLOCK + 1
    with ExitStack() as files:
        for number in range(20):
            sink = files.enter_context(store.create(f"file{number}", size=size))
            sink.write(DATA[: size - 1])
            assert len(writers()) == 1
            sink.write(DATA[size - 1 : size])
            assert not writers()
            assert sink._appender._blocks is None
    assert all(store.stat(f"file{number}").size == size for number in range(20))


@pytest.mark.parametrize("told", [START + 2 * BLOCK, START + 2 * BLOCK + 1])
@pytest.mark.parametrize("piece", [1001, BLOCK])
def test_more_than_was_announced_is_written_all_the_same(store: LocalStore, told: int, piece: int) -> None:
    put(store, DATA, size=told, piece=piece)
    assert content(store) == DATA


def test_an_object_that_is_given_up_leaves_no_thread(store: LocalStore) -> None:
    def attempt() -> None:
        with store.create("large") as sink:
            sink.write(DATA)
            assert writers()
            raise KeyError("given up")

    with pytest.raises(KeyError):
        attempt()
    assert not writers()
    assert list(store.list("")) == []


def test_what_is_given_up_is_not_written_any_more(store: LocalStore, monkeypatch: pytest.MonkeyPatch) -> None:
    """The block under way is waited for, those behind it are dropped."""
    begun, go_on = threading.Event(), threading.Event()
    sizes = []
    real = os.write

    def write(descriptor: int, data: memoryview) -> int:
        if is_direct(descriptor):
            begun.set()
            assert go_on.wait(30)
            sizes.append(len(data))
        return real(descriptor, data)

    monkeypatch.setattr(os, "write", write)

    def attempt() -> None:
        with store.create("large") as sink:
            sink.write(DATA[: START + 3 * BLOCK])  # the first is under way, two wait
            assert begun.wait(30)
            threading.Timer(0.05, go_on.set).start()
            raise KeyError("given up")

    with pytest.raises(KeyError):
        attempt()
    assert sizes == [BLOCK]


@pytest.mark.parametrize("after", [0, START, START + 5 * BLOCK])
def test_memory_is_let_go_after_success_and_failure(
    store: LocalStore, monkeypatch: pytest.MonkeyPatch, after: int
) -> None:
    """No reference cycle keeps the blocks until the garbage collector runs, which sees no need to."""
    made: list[mmap.mmap] = []

    def make(number: int, size: int) -> mmap.mmap:
        made.append(mmap.mmap(number, size))
        return made[-1]

    monkeypatch.setattr(local_append, "mmap", SimpleNamespace(mmap=make))
    with monkeypatch.context() as patch:
        if after:
            written = 0
            write = os.write

            def broken(descriptor: int, data: memoryview) -> int:
                nonlocal written
                written += len(data)
                if written > after:
                    raise OSError(errno.EIO, "broken")
                return write(descriptor, data)

            patch.setattr(os, "write", broken)
            with pytest.raises(Unavailable):
                put(store, DATA)
        else:
            put(store, DATA)
    assert len(made) == 3
    assert all(block.closed for block in made)


# --- where there is no direct I/O ---


@pytest.mark.parametrize("number", [errno.EINVAL, errno.EOPNOTSUPP, errno.EPERM])
def test_a_file_system_without_direct_writes_gets_plain_ones(
    store: LocalStore,
    monkeypatch: pytest.MonkeyPatch,
    written: list[tuple[bool, int, str]],
    number: int,
) -> None:
    """As tmpfs answers before Linux 6.6."""
    real = fcntl.fcntl

    def refuse(descriptor: int, command: int, argument: int = 0) -> int:
        if command == fcntl.F_SETFL and argument & os.O_DIRECT:
            raise OSError(number, os.strerror(number))
        return real(descriptor, command, argument)

    with monkeypatch.context() as patch:
        patch.setattr(fcntl, "fcntl", refuse)
        put(store, DATA)
    assert {(direct, thread) for direct, _, thread in written} == {(False, "MainThread")}
    assert content(store) == DATA


def test_a_system_without_direct_writes_gets_plain_ones(
    store: LocalStore, monkeypatch: pytest.MonkeyPatch, written: list[tuple[bool, int, str]]
) -> None:
    """As macOS, which has no such flag."""
    monkeypatch.setattr(local_append, "_DIRECT", 0)
    put(store, DATA)
    assert {(direct, thread) for direct, _, thread in written} == {(False, "MainThread")}
    assert content(store) == DATA


@pytest.mark.parametrize("number", [errno.EINVAL, errno.EOPNOTSUPP])
@pytest.mark.parametrize("nth", [1, 2, 5])
def test_a_file_system_that_refuses_direct_writes_late_gets_plain_ones_from_there(
    store: LocalStore, monkeypatch: pytest.MonkeyPatch, number: int, nth: int
) -> None:
    tried = 0

    def refused(descriptor: int, _: object) -> bool:
        nonlocal tried
        tried += is_direct(descriptor)
        return tried >= nth and is_direct(descriptor)

    with monkeypatch.context() as patch:
        fail(patch, "write", number, refused)
        with store.create("large") as sink:
            for start in range(0, len(DATA), BLOCK):
                sink.write(DATA[start : start + BLOCK])
                if tried >= nth:
                    wait_until(lambda: sink._appender._blocks is None or not sink._appender._blocks.direct)
            assert sink._appender._blocks is None, "without direct writes, no thread is needed"
    assert tried == nth
    assert content(store) == DATA


def test_the_same_answer_to_a_plain_write_is_an_error(
    store: LocalStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        in_thread = lambda *_: threading.current_thread().name == "storage-writer"  # noqa: E731
        fail(patch, "write", errno.EINVAL, in_thread)
        with pytest.raises(Unavailable) as caught:
            put(store, DATA)
    assert os.strerror(errno.EINVAL) in caught.value.message
    assert list(store.list("")) == []


@pytest.mark.parametrize("most", [1, 511, 512, 4096, BLOCK - 1])
def test_short_writes_are_continued(store: LocalStore, monkeypatch: pytest.MonkeyPatch, most: int) -> None:
    real = os.write
    with monkeypatch.context() as patch:
        patch.setattr(os, "write", lambda descriptor, data: real(descriptor, data[:most]))
        put(store, DATA[: START + 6 * BLOCK + 7])
    assert content(store) == DATA[: START + 6 * BLOCK + 7]


@pytest.mark.parametrize("error", [RuntimeError("can't start new thread"), MemoryError()], ids=repr)
def test_without_a_thread_everything_is_written_plainly(
    store: LocalStore, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    def start(_: threading.Thread) -> None:
        raise error

    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", start)
        put(store, DATA)
    assert content(store) == DATA


@pytest.mark.parametrize("what", ["memory", "descriptor"])
def test_without_memory_or_descriptors_everything_is_written_plainly(
    store: LocalStore, monkeypatch: pytest.MonkeyPatch, what: str
) -> None:
    plain = False

    def exhausted(*_: int) -> int:
        number = errno.ENOMEM if what == "memory" else errno.EMFILE
        raise OSError(number, os.strerror(number))

    with store.create("large") as sink:
        with monkeypatch.context() as patch:
            if what == "memory":
                patch.setattr(local_append, "mmap", SimpleNamespace(mmap=exhausted))
            else:
                patch.setattr(os, "dup", exhausted)
            sink.write(DATA)
        plain = sink._appender._blocks is None
    assert plain
    assert content(store) == DATA


def test_refused_advice_is_no_error(store: LocalStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(local_append, "_WRITE_BACK", 4096)
    fail(monkeypatch, "posix_fadvise", errno.ENOSYS, lambda *_: True)
    put(store, DATA[:START])
    assert content(store) == DATA[:START]


@pytest.mark.skipif(not os.path.isdir("/dev/shm"), reason="there is no tmpfs at /dev/shm")
def test_a_memory_file_system_takes_large_objects_too(monkeypatch: pytest.MonkeyPatch) -> None:
    import tempfile

    small_blocks(monkeypatch)
    with tempfile.TemporaryDirectory(dir="/dev/shm") as folder:
        store = LocalStore(folder)
        put(store, DATA)
        assert content(store) == DATA


# --- failures ---


@pytest.mark.parametrize(
    ("number", "code"),
    [(errno.ENOSPC, "storage-full"), (errno.EDQUOT, "storage-full"), (errno.EIO, "unavailable")],
)
@pytest.mark.parametrize("nth", [1, 2, 4])
@pytest.mark.parametrize("length", [START + 4 * BLOCK, START + 4 * BLOCK + 1, len(DATA)])
@pytest.mark.parametrize("told", [False, True], ids=["size unknown", "size told"])
def test_a_failure_behind_the_callers_back_reaches_the_caller(
    store: LocalStore,
    monkeypatch: pytest.MonkeyPatch,
    number: int,
    code: str,
    nth: int,
    length: int,
    told: bool,
) -> None:
    count = 0

    def broken(*_: object) -> bool:
        nonlocal count
        count += threading.current_thread().name == "storage-writer"
        return count >= nth

    with monkeypatch.context() as patch:
        fail(patch, "write", number, broken)
        with pytest.raises(Unavailable) as caught:
            put(store, DATA[:length], size=length if told else None)
    assert (caught.value.code, caught.value.subject) == (code, "large")
    assert count == nth, "after a failure nothing more is written"
    assert list(store.list("")) == []
    put(store, DATA)
    assert content(store) == DATA


def test_a_disk_that_fills_up_in_the_middle_of_a_block_is_told_of(
    store: LocalStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    room = START + 2 * BLOCK + 512
    real = os.write

    def write(descriptor: int, data: memoryview) -> int:
        nonlocal room
        if not room:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        count = real(descriptor, data[:room])
        room -= count
        return count

    with monkeypatch.context() as patch:
        patch.setattr(os, "write", write)
        with pytest.raises(Unavailable) as caught:
            put(store, DATA)
    assert caught.value.code == "storage-full"
    assert list(store.list("")) == []


def test_a_real_limit_on_file_size_reaches_the_caller(store: LocalStore) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (START + 2 * BLOCK + 100, hard))
    try:
        with pytest.raises(Unavailable, match="too large"):
            put(store, DATA)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert list(store.list("")) == []


def test_an_unexpected_failure_in_the_thread_ends_nobodys_wait(
    store: LocalStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    def run_out(self: object, data: memoryview) -> None:
        raise MemoryError

    monkeypatch.setattr(local_append._Blocks, "_write", run_out)
    with pytest.raises(Unavailable, match="MemoryError"):
        put(store, DATA)
    assert list(store.list("")) == []


def test_a_loss_that_only_closing_tells_of_is_told(
    store: LocalStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A network file system tells it once, and to the first descriptor of the file that is closed."""
    real = os.close

    def close(descriptor: int) -> None:
        mine = threading.current_thread().name == "storage-writer"
        real(descriptor)
        if mine:
            raise OSError(errno.EDQUOT, os.strerror(errno.EDQUOT))

    with monkeypatch.context() as patch:
        patch.setattr(os, "close", close)
        with pytest.raises(Unavailable) as caught:
            put(store, DATA)
    assert caught.value.code == "storage-full"
    assert list(store.list("")) == []


def test_after_a_failure_nothing_more_is_taken(store: LocalStore, monkeypatch: pytest.MonkeyPatch) -> None:
    def attempt() -> None:
        with store.create("large") as sink:
            with monkeypatch.context() as patch:
                fail(patch, "write", errno.EIO, lambda descriptor, _: is_direct(descriptor))
                with pytest.raises(Unavailable):
                    sink.write(DATA)
            with pytest.raises(Unavailable, match="earlier write"):
                sink.write(DATA)

    with pytest.raises(Unavailable, match="earlier write"):
        attempt()
    assert list(store.list("")) == []


# --- interrupts, forks and other threads ---


def test_an_interrupt_while_waiting_for_the_disk_gives_up_at_once(
    store: LocalStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Even a second one, while the block under way is waited for, leaks nothing and hits no other file."""
    begun, go_on = threading.Event(), threading.Event()
    real = os.write

    def write(descriptor: int, data: memoryview) -> int:
        if is_direct(descriptor):
            begun.set()
            assert go_on.wait(30)
        return real(descriptor, data)

    monkeypatch.setattr(os, "write", write)

    def interrupt_twice() -> None:
        assert begun.wait(30)
        for _ in range(2):
            time.sleep(0.2)
            signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGINT)

    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # a background job ignores it
    threading.Thread(target=interrupt_twice).start()
    with pytest.raises(KeyboardInterrupt):
        put(store, DATA)
    signal.signal(signal.SIGINT, before)
    (thread,) = writers()
    other = os.open(store.location + "/other", os.O_RDWR | os.O_CREAT, 0o600)  # it may get the number
    go_on.set()
    thread.join()
    assert os.fstat(other).st_size == 0
    os.close(other)
    os.unlink(store.location + "/other")
    assert list(store.list("")) == []


def test_a_write_that_was_interrupted_is_never_stored(
    store: LocalStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Even if the caller goes on: nobody knows how much of it came through."""

    def attempt() -> None:
        with store.create("large") as sink:
            with monkeypatch.context() as patch:
                patch.setattr(os, "write", interrupted)
                with pytest.raises(KeyboardInterrupt):
                    sink.write(b"lost")
            sink.write(b"more")

    def interrupted(descriptor: int, data: memoryview) -> int:
        raise KeyboardInterrupt

    with pytest.raises(Unavailable, match="earlier write"):
        attempt()
    assert list(store.list("")) == []


@pytest.mark.parametrize("what", ["goes on", "finishes", "gives up"])
def test_a_forked_child_neither_hangs_nor_stores(store: LocalStore, what: str) -> None:
    program = """
import os, sys
from vault.errors import Unavailable
from vault.storage import local_append
from vault.storage.local import LocalStore
local_append._BLOCK, local_append._DIRECT_FROM, local_append._LOOK_SECONDS = 8192, 16384, 0.05
store, what = LocalStore(sys.argv[1]), sys.argv[2]
child = None
try:
    with store.create("large") as sink:
        sink.write(bytes(16384 + 8192 * 2 + 5))
        child = os.fork()
        if not child and what == "goes on":
            sink.write(bytes(8192 * 8))
        elif not child and what == "gives up":
            raise KeyError
        elif child:
            assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 7
    print("stored", store.stat("large").size)
except (Unavailable, KeyError) as error:
    print("child:", error, len(os.listdir("/proc/self/fd")), flush=True)
    os._exit(7 if child == 0 else 8)
"""
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", program, store.location, what],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        env={**os.environ, "PYTHONPATH": str(REPOSITORY)},
    )
    assert done.returncode == 0, done.stderr
    told, stored = done.stdout.splitlines()
    assert told.startswith("child:")
    assert ("thread" in told) == (what != "gives up")
    assert stored == f"stored {START + 2 * BLOCK + 5}"


def test_a_process_that_forgets_an_open_object_ends_all_the_same(store: LocalStore) -> None:
    program = """
import sys
from vault.storage import local_append
from vault.storage.local import LocalStore
local_append._BLOCK, local_append._DIRECT_FROM = 8192, 16384
creating = LocalStore(sys.argv[1]).create("large")
creating.__enter__().write(bytes(100_000))
import os
sys.stdout.write("bye"); sys.stdout.flush()
"""
    done = subprocess.run(
        [sys.executable, "-c", program, store.location],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        env={**os.environ, "PYTHONPATH": str(REPOSITORY)},
    )
    assert (done.returncode, done.stdout) == (0, "bye"), done.stderr
    assert list(store.list("")) == []


@pytest.mark.parametrize("named", [False, True], ids=["unnamed", "named"])
def test_several_large_objects_are_written_at_once(
    store: LocalStore, monkeypatch: pytest.MonkeyPatch, named: bool
) -> None:
    if named:
        monkeypatch.setattr(local_draft, "_DESCRIPTORS", "/nowhere")
    with ExitStack() as files:
        sinks = [files.enter_context(store.create(f"file{number}")) for number in range(8)]
        for start in range(0, len(DATA), 5000):
            for number, sink in enumerate(sinks):
                sink.write(bytes([number]) + DATA[start : start + 5000])
        assert len(writers()) == 8
    for number in range(8):
        wanted = b"".join(bytes([number]) + DATA[start : start + 5000] for start in range(0, len(DATA), 5000))
        assert store.read(f"file{number}", limit=limits.MIB) == wanted


# --- a real one ---


def test_a_real_large_object_costs_little_memory(tmp_path: Path) -> None:
    """200 MiB, written as a pull writes it, in a process whose memory is measured."""
    program = """
import hashlib, resource, sys
from vault.storage.local import LocalStore
store, digest = LocalStore(sys.argv[1]), hashlib.sha256()
size = 200 * 1024 * 1024 + 12345
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
with store.create("large", size=size) as sink:
    for number in range(201):
        piece = hashlib.sha256(b"%d" % number).digest() * 32768
        piece = piece[: min(len(piece), size - number * len(piece))]
        digest.update(piece)
        sink.write(piece)
print(digest.hexdigest(), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
"""
    done = subprocess.run(
        [sys.executable, "-c", program, str(tmp_path)],
        capture_output=True,
        text=True,
        timeout=300,
        check=True,
        env={**os.environ, "PYTHONPATH": str(REPOSITORY)},
    )
    digest, kib = done.stdout.split()
    assert (tmp_path / "large").stat().st_size == 200 * limits.MIB + 12345
    with (tmp_path / "large").open("rb") as file:
        assert hashlib.file_digest(file, "sha256").hexdigest() == digest
    (tmp_path / "large").unlink()
    assert int(kib) < 20 * 1024, "three blocks of 4 MiB, and what the program holds itself"
