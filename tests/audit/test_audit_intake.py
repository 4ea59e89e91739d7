"""The intake: acknowledged records stay, whatever crashes, forks or fails; nothing else is acknowledged."""

import errno
import fcntl
import multiprocessing
import os
import resource
import signal
import sqlite3
import stat
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.audit.intake_worker import VAULT, WHO, entry, opened
from tests.house.source_tree import ROOT
from vault.audit import intake_file
from vault.audit.intake import Entry, Intake
from vault.core import limits
from vault.core.names import Digest, Principal
from vault.errors import Refused, Unavailable, VaultError

SEVERAL = [Entry(bytes([number]) * 16, b'{"n":%d}' % number) for number in range(10)]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "state" / "intake"


@pytest.fixture
def taken(folder: Path) -> Iterator[Intake]:
    made = opened(folder)
    yield made
    made.close()


def ids(intake: Intake) -> list[bytes]:
    """Take everything out, in batches, as an integrator does."""
    found: list[bytes] = []
    with intake.integrating(wait=10) as turn:
        assert turn is not None
        while batch := turn.batch(since=1, entries=7):
            found.extend(waiting.record_id for waiting in batch)
            assert turn.forget(waiting.record_id for waiting in batch) == len(batch)
    return found


# --- taking in, and moving on ---


def test_records_come_out_once_in_the_order_in_which_they_came(taken: Intake) -> None:
    for one in SEVERAL[:4]:
        taken.append([one])
    taken.append(SEVERAL[4:])
    taken.append([])
    waiting = taken.waiting()
    assert (waiting.entries, waiting.size, waiting.oldest) == (10, 70, SEVERAL[0])
    assert ids(taken) == [one.record_id for one in SEVERAL]
    assert ids(taken) == []
    assert taken.waiting() == intake_file.Waiting(0, 0, None)


def test_an_instance_is_drawn_once_and_kept_with_the_folder(folder: Path, taken: Intake) -> None:
    assert len(bytes.fromhex(taken.instance)) == 8
    taken.append(SEVERAL)
    again = opened(folder)
    assert again.instance == taken.instance
    again.close()
    taken.close()
    assert taken.waiting().entries == 10
    other = opened(folder.with_name("other"))
    assert other.instance != taken.instance
    other.close()


def test_a_batch_has_a_most_of_entries_and_of_bytes(taken: Intake) -> None:
    taken.append(SEVERAL)
    with taken.integrating() as turn:
        assert turn is not None
        assert turn.batch(since=0, entries=3) == tuple(SEVERAL[:3])
        assert turn.batch(since=0, size=27) == tuple(SEVERAL[:3])
        assert turn.batch(since=0, size=26) == tuple(SEVERAL[:2])
        assert turn.batch(since=0, size=1) == tuple(SEVERAL[:1]), "one that is too large is taken alone"


def test_a_batch_that_was_stored_and_not_forgotten_is_known_after_a_crash(
    folder: Path, taken: Intake
) -> None:
    taken.append(SEVERAL)
    with taken.integrating() as turn:
        assert turn is not None
        assert turn.since is None
        turn.batch(since=41, entries=4)
        turn.batch(since=44, entries=4)
        assert turn.since == 41, "nothing was forgotten since"
    restarted = opened(folder)
    with restarted.integrating() as turn:
        assert turn is not None
        assert turn.since == 41
        in_the_log = [one.record_id for one in SEVERAL[:4]]
        assert turn.forget([*in_the_log, b"of another one!!"]) == 4
        assert turn.since is None
        assert turn.batch(since=42) == tuple(SEVERAL[4:])
        assert turn.forget([]) == 0
        assert turn.since is None
    restarted.close()


def test_one_at_a_time_moves_records_and_a_turn_ends_with_its_block(folder: Path, taken: Intake) -> None:
    other = opened(folder)
    with taken.integrating() as turn:
        assert turn is not None
        with other.integrating() as second:
            assert second is None
        with other.integrating(wait=0.05) as second:
            assert second is None
    with other.integrating() as second:
        assert second is not None
    other.close()


def test_what_a_log_would_not_take_is_not_taken_in(taken: Intake) -> None:
    for wrong in (
        [Entry(b"short", b"{}")],
        [Entry(bytes(16), b"")],
        [Entry(bytes(16), bytes(limits.AUDIT_RECORD_BYTES + 1))],
        [SEVERAL[0]] * (limits.AUDIT_BATCH_ENTRIES + 1),
    ):
        with pytest.raises(ValueError):
            taken.append(wrong)
    taken.append([Entry(bytes(16), bytes(limits.AUDIT_RECORD_BYTES))])
    assert taken.waiting().entries == 1


# --- durability ---


def test_a_record_is_acknowledged_after_the_disk_has_it_and_the_wait_is_shared(
    taken: Intake, monkeypatch: pytest.MonkeyPatch
) -> None:
    taken.append([entry()])
    real, calls, go = os.fdatasync, [], threading.Event()

    def slow(descriptor: int) -> None:
        calls.append(os.readlink(f"/proc/self/fd/{descriptor}"))
        go.wait(10)
        real(descriptor)

    monkeypatch.setattr(os, "fdatasync", slow)
    ended: list[int] = []

    def run(number: int) -> None:
        taken.append([entry()])
        ended.append(number)

    running = [threading.Thread(target=run, args=(number,)) for number in range(20)]
    for thread in running:
        thread.start()
    time.sleep(0.2)
    assert not ended
    go.set()
    for thread in running:
        thread.join(10)
    assert len(ended) == 20
    assert 2 <= len(calls) <= 4, "the first alone, the others together"
    assert all(name.endswith("intake.sqlite-wal") for name in calls)
    monkeypatch.undo()
    assert taken.waiting().entries == 21


def test_without_durability_nothing_waits_for_the_disk(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    quick = opened(folder, durable=False)
    quick.append([entry()])
    monkeypatch.setattr(os, "fdatasync", lambda descriptor: pytest.fail("it waited"))
    quick.append([entry()])
    assert quick.waiting().entries == 2
    quick.close()


def test_records_of_killed_processes_stay_and_every_acknowledged_one_is_there(folder: Path) -> None:
    acknowledged: set[bytes] = set()
    for number in range(4):
        command = [sys.executable, "-m", "tests.audit.intake_worker", str(folder), "3", "1000000"]
        running = [subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) for _ in range(3)]
        for process in running:
            assert process.stdout is not None
            process.stdout.readline()
        time.sleep(0.1 + number / 20)
        for process in running:
            process.send_signal(signal.SIGKILL)
        for process in running:
            out, _ = process.communicate()
            acknowledged |= {bytes.fromhex(line) for line in out.splitlines() if len(line) == 32}
    survivor = opened(folder)
    kept = ids(survivor)
    survivor.close()
    assert len(kept) == len(set(kept))
    assert len(acknowledged) > 50
    assert acknowledged <= set(kept)


def test_processes_and_threads_append_together_while_another_moves_records_away(folder: Path) -> None:
    command = [sys.executable, "-m", "tests.audit.intake_worker", str(folder), "3", "40"]
    running = [subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) for _ in range(4)]
    mover = opened(folder)
    moved: list[bytes] = []
    while any(process.poll() is None for process in running):
        moved.extend(ids(mover))
    moved.extend(ids(mover))
    mover.close()
    printed = [line for process in running for line in process.communicate()[0].splitlines()]
    assert all(process.returncode == 0 for process in running)
    assert sorted(moved) == sorted(bytes.fromhex(line) for line in printed)
    assert len(moved) == len(set(moved)) == 4 * 3 * 40


# --- forks ---


def test_a_forked_process_goes_on_with_the_same_intake(taken: Intake) -> None:
    taken.append([SEVERAL[0]])
    context = multiprocessing.get_context("fork")
    stop = threading.Event()

    def busy() -> None:
        while not stop.is_set():
            taken.append([entry()])

    thread = threading.Thread(target=busy)
    thread.start()

    def child() -> None:
        for _ in range(5):
            taken.append([entry("child")])
        taken.close()
        os._exit(0 if taken.waiting().entries else 1)

    with taken.integrating() as turn:
        assert turn is not None
        children = [context.Process(target=child) for _ in range(3)]
        for process in children:
            process.start()
        for process in children:
            process.join(30)
            assert process.exitcode == 0
    stop.set()
    thread.join(30)
    assert not thread.is_alive()
    taken.append([SEVERAL[1]])
    with taken.integrating() as turn:
        assert turn is not None, "no child kept the turn"
        found = turn.batch(since=0)
    assert sum(one.data == b"child" for one in found) == 15
    assert {SEVERAL[0], SEVERAL[1]} <= set(found)


def test_a_fork_that_python_did_not_see_leaves_the_parents_connection_alone(taken: Intake) -> None:
    taken.append([SEVERAL[0]])
    first = taken._file
    taken._process = 1  # as if this were the child of the process that opened it
    taken.append([SEVERAL[1]])
    assert taken._file is not first
    taken._process = 1
    taken.close()
    assert taken.waiting().entries == 2
    assert first is not None
    assert first._connection.execute("SELECT 1").fetchone() == (1,), "it was not closed"
    first._connection.close()


# --- private files ---


def test_the_folder_and_its_files_are_private_whatever_the_umask(folder: Path) -> None:
    before = os.umask(0)
    try:
        made = opened(folder)
        made.append(SEVERAL)
        with made.integrating():
            assert stat.S_IMODE(folder.stat().st_mode) == 0o700
            names = {path.name: stat.S_IMODE(path.stat().st_mode) for path in folder.iterdir()}
    finally:
        os.umask(before)
    assert set(names) == {
        "intake.reserve",
        "intake.sqlite",
        "intake.sqlite-wal",
        "intake.sqlite-shm",
        "integrating.lock",
    }
    assert set(names.values()) == {0o600}
    made.close()


def test_what_others_may_read_is_made_private(folder: Path) -> None:
    folder.mkdir(parents=True)
    folder.chmod(0o755)
    (folder / "intake.sqlite").touch(mode=0o644)
    made = opened(folder)
    made.append(SEVERAL)
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert stat.S_IMODE((folder / "intake.sqlite").stat().st_mode) == 0o600
    made.close()


LINKS: dict[str, Callable[[Path, Path], object]] = {
    "the folder is a link": lambda folder, aside: folder.symlink_to(aside.parent),
    "the folder is a file": lambda folder, aside: folder.touch(),
    "the folder is a pipe": lambda folder, aside: os.mkfifo(folder),
    "the folder is a link to nothing": lambda folder, aside: folder.symlink_to(aside.parent / "no"),
    **{
        f"{name} is a {kind}": lambda folder, aside, name=name, make=make: (  # type: ignore[misc]
            folder.mkdir(),
            make(folder / name, aside),
        )
        for name in ("intake.sqlite", "intake.sqlite-wal", "intake.sqlite-shm")
        for kind, make in {
            "link": lambda path, aside: path.symlink_to(aside),
            "hard link": lambda path, aside: path.hardlink_to(aside),
            "pipe": lambda path, aside: os.mkfifo(path),
            "folder": lambda path, aside: path.mkdir(),
        }.items()
    },
}


@pytest.mark.parametrize("what", LINKS)
def test_no_link_is_followed_and_nothing_behind_one_is_touched(what: str, tmp_path: Path) -> None:
    (tmp_path / "aside").mkdir()
    aside = tmp_path / "aside" / "file"
    aside.write_bytes(b"another's")
    LINKS[what](tmp_path / "intake", aside)
    made = opened(tmp_path / "intake")
    with pytest.raises(Unavailable) as caught:
        made.append(SEVERAL)
    assert caught.value.code == "storage-denied"
    assert aside.read_bytes() == b"another's"
    assert os.listdir(aside.parent) == ["file"]


def test_the_lock_of_integration_is_no_link(folder: Path, taken: Intake, tmp_path: Path) -> None:
    taken.append(SEVERAL)
    (folder / "integrating.lock").symlink_to(tmp_path / "aside")
    with pytest.raises(Unavailable) as caught, taken.integrating():
        pytest.fail("it was opened")
    assert caught.value.code == "storage-denied"
    assert not (tmp_path / "aside").exists()


def test_the_folder_of_another_user_is_not_used(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder.mkdir(parents=True)
    monkeypatch.setattr(os, "geteuid", lambda: os.stat(folder).st_uid + 1)
    with pytest.raises(Unavailable, match="another user") as caught:
        opened(folder).append(SEVERAL)
    assert caught.value.code == "storage-denied"


def test_the_file_of_another_user_is_not_used(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    users = iter([os.geteuid(), os.geteuid() + 1])
    monkeypatch.setattr(os, "geteuid", lambda: next(users))
    with pytest.raises(Unavailable, match=r"intake\.sqlite belongs to another user"):
        opened(folder).append(SEVERAL)


# --- what can go wrong ---


def refused(folder: Path, match: str) -> VaultError:
    made = opened(folder)
    with pytest.raises(VaultError, match=match) as caught:
        made.append(SEVERAL)
    made.close()
    assert caught.value.subject == str(folder / "intake.sqlite")
    assert caught.value.hint
    return caught.value


def change(folder: Path, statement: str) -> None:
    connection = sqlite3.connect(folder / "intake.sqlite", isolation_level=None)
    connection.execute(statement)
    connection.close()


DAMAGES: dict[str, tuple[str, str]] = {
    "another program's": ("PRAGMA application_id=7", "another program"),
    "a newer release's": ("PRAGMA user_version=2", "newer release"),
    "no layout": ("PRAGMA user_version=-1", "newer release"),
    "without its table": ("DROP TABLE waiting", "no such table"),
    "without what it is about": ("DROP TABLE about", "no such table"),
    "of another vault": ("UPDATE about SET value='x' WHERE name='vault'", "another vault"),
    "of no principal": ("DELETE FROM about WHERE name='principal'", "another vault"),
    "of no instance": ("UPDATE about SET value='../../../etc/xx' WHERE name='instance'", "instance"),
}


@pytest.mark.parametrize("what", DAMAGES)
def test_a_file_that_is_not_this_intake_is_refused_and_says_why(
    what: str, folder: Path, taken: Intake
) -> None:
    taken.append(SEVERAL)
    taken.close()
    statement, told = DAMAGES[what]
    change(folder, statement)
    error = refused(folder, told)
    assert isinstance(error, Refused)
    assert error.code == "memory-damaged"


@pytest.mark.parametrize("other", ["vault", "principal"])
def test_records_of_another_vault_or_principal_do_not_get_in(other: str, folder: Path, taken: Intake) -> None:
    taken.append(SEVERAL)
    of = {"vault": VAULT, "principal": WHO}
    of[other] = Digest("6" * 64) if other == "vault" else Principal("other")
    wrong = Intake(folder, vault=Digest(of["vault"]), principal=Principal(of["principal"]), random=os.urandom)
    with pytest.raises(Refused, match="another vault or principal"):
        wrong.append(SEVERAL)


@pytest.mark.parametrize("at", [0, 18, 40, 100, 105, 4_096, 4_100, 8_192, 8_200])
def test_damaged_bytes_are_refused_or_unnoticed_but_nothing_else_happens(
    at: int, folder: Path, taken: Intake
) -> None:
    taken.append(SEVERAL)
    taken.close()
    data = bytearray((folder / "intake.sqlite").read_bytes())
    data[at : at + 8] = b"\xff\x00\xfe\x01" * 2
    (folder / "intake.sqlite").write_bytes(bytes(data))
    made = opened(folder)
    try:
        made.append([entry()])
        ids(made)
    except VaultError as error:
        assert error.code in {"memory-damaged", "storage-denied", "unavailable"}  # noqa: PT017
    finally:
        made.close()


def test_a_file_that_is_no_database_is_refused(folder: Path) -> None:
    folder.mkdir(parents=True, mode=0o700)
    for data in (b"junk" * 1_000, b"SQLite format 3\x00" + b"\xff" * 5_000):
        (folder / "intake.sqlite").write_bytes(data)
        (folder / "intake.sqlite").chmod(0o600)
        assert refused(folder, "cannot be used").code == "memory-damaged"


@pytest.mark.parametrize(
    ("statement", "told"),
    [
        ("UPDATE waiting SET data='text'", "row"),
        ("UPDATE waiting SET id=7", "row"),
        ("INSERT OR REPLACE INTO about VALUES('since', '../x')", "number"),
        ("INSERT OR REPLACE INTO about VALUES('since', '99999999999999999')", "number"),
    ],
)
def test_rows_of_another_kind_are_refused_when_they_are_taken(
    statement: str, told: str, folder: Path, taken: Intake
) -> None:
    taken.append(SEVERAL)
    change(folder, statement)
    with taken.integrating() as turn:
        assert turn is not None
        with pytest.raises(Refused, match=told):
            turn.batch(since=turn.since or 0)


@pytest.mark.parametrize(
    ("number", "code"),
    [(errno.ENOSPC, "storage-full"), (errno.EDQUOT, "storage-full"), (errno.EIO, "unavailable")],
)
def test_a_disk_that_does_not_sync_acknowledges_nothing_ever_again_in_this_process(
    number: int, code: str, taken: Intake, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A sync that failed may have dropped what it should have written, and the next one would succeed."""
    taken.append([SEVERAL[0]])

    def fails(descriptor: int) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, "fdatasync", fails)
    with pytest.raises(Unavailable) as caught:
        taken.append([SEVERAL[1]])
    assert caught.value.code == code
    monkeypatch.undo()
    with pytest.raises(Unavailable) as caught:
        taken.append([SEVERAL[2]])
    assert caught.value.code == code


def test_everybody_in_a_group_that_fails_is_told(taken: Intake, monkeypatch: pytest.MonkeyPatch) -> None:
    taken.append([SEVERAL[0]])

    def fails(descriptor: int) -> None:
        time.sleep(0.1)
        raise OSError(errno.EIO, "no")

    monkeypatch.setattr(os, "fdatasync", fails)
    told: list[VaultError] = []

    def run() -> None:
        try:
            taken.append([entry()])
        except Unavailable as error:
            told.append(error)

    running = [threading.Thread(target=run) for _ in range(8)]
    for thread in running:
        thread.start()
    for thread in running:
        thread.join(10)
    assert len(told) == len({id(error) for error in told}) == 8


class Interrupting:
    """A lock at which Ctrl-C is pressed."""

    def __enter__(self) -> None:
        raise KeyboardInterrupt

    def __exit__(self, *_: object) -> None:
        """Never reached."""


@pytest.mark.parametrize("where", ["while it waits for its turn", "while it writes"])
def test_whoever_is_interrupted_leaves_nobody_waiting(
    where: str, taken: Intake, monkeypatch: pytest.MonkeyPatch
) -> None:
    taken.append([SEVERAL[0]])

    def interrupted(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        if where == "while it writes":
            patched.setattr(intake_file.IntakeFile, "append", interrupted)
        else:
            patched.setattr(taken, "_writer", Interrupting())
        with pytest.raises(KeyboardInterrupt):
            taken.append([SEVERAL[1]])
    taken.append([SEVERAL[2]])
    assert taken.waiting().entries == 2


def test_an_intake_has_a_most_and_says_so(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "AUDIT_INTAKE_BYTES", limits.MIB)
    monkeypatch.setattr(
        intake_file, "_SETTINGS", (*intake_file._SETTINGS, f"max_page_count={limits.MIB // 4096}")
    )
    made = opened(folder)
    kept = 0

    def full() -> list[Entry]:
        return [Entry(os.urandom(16), bytes(8_000)) for _ in range(10)]

    def fill() -> None:
        nonlocal kept
        for _ in range(20):
            made.append(full())
            kept += 10

    with pytest.raises(Unavailable, match="wait there for a store that does not take them") as caught:
        fill()
    assert caught.value.code == "storage-full"
    assert made.waiting().entries == kept >= 80
    assert len(ids(made)) == kept, "and it can be emptied"
    made.append(full())
    made.close()


def test_a_disk_that_is_full_can_be_emptied(
    folder: Path, taken: Intake, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Removing what is in the log writes too, so some room is kept for it."""
    taken.append(SEVERAL)
    reserve = folder / "intake.reserve"
    assert reserve.stat().st_blocks * 512 >= 8 * limits.MIB
    real = intake_file.IntakeFile._change

    def full(self: intake_file.IntakeFile, work: Callable[[], object]) -> object:
        if reserve.exists():
            raise Unavailable("full", code="storage-full")
        return real(self, work)

    monkeypatch.setattr(intake_file.IntakeFile, "_change", full)
    with pytest.raises(Unavailable):
        taken.append([entry()])
    assert reserve.exists(), "it is not spent on more records"
    assert ids(taken) == [one.record_id for one in SEVERAL]
    assert not reserve.exists()
    monkeypatch.undo()
    taken.close()
    taken.append([entry()])
    assert reserve.stat().st_size == 8 * limits.MIB


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EIO])
def test_without_room_for_a_reserve_there_is_none(
    number: int, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(descriptor: int, data: bytes) -> int:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, "write", fails)
    made = opened(folder)
    if number == errno.ENOSPC:
        made.append(SEVERAL)
    else:
        with pytest.raises(Unavailable):
            made.append(SEVERAL)
    assert not (folder / "intake.reserve").exists()
    made.close()


def limited(folder: Path, told: "multiprocessing.SimpleQueue[str]") -> None:
    """Append in a process whose files may not grow."""
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    made = opened(folder)
    made.append([entry()])
    resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, 200_000))
    count = 1
    try:
        while count < 1_000:
            made.append([Entry(os.urandom(16), bytes(10_000))])
            count += 1
    except VaultError as error:
        told.put(f"{error.code} {count}")


def test_a_write_that_the_system_refuses_is_told_and_the_records_before_it_stay(folder: Path) -> None:
    context = multiprocessing.get_context("fork")
    told = context.SimpleQueue()
    process = context.Process(target=limited, args=(folder, told))
    process.start()
    process.join(30)
    code, count = told.get().split()
    assert code in {"unavailable", "storage-full"}
    after = opened(folder)
    assert after.waiting().entries == int(count)
    after.append([entry()])
    after.close()


def without_rights(folder: Path, told: "multiprocessing.SimpleQueue[str]") -> None:
    """Append as a user who may not write there."""
    if os.geteuid() == 0:
        os.setgid(65_534)
        os.setuid(65_534)
    made = opened(folder)
    try:
        made.append([entry()])
        told.put("kept")
    except VaultError as error:
        told.put(error.code)


def test_a_folder_that_may_not_be_written_says_so(tmp_path: Path) -> None:
    place = tmp_path / "closed"
    place.mkdir()
    place.chmod(0o555)
    context = multiprocessing.get_context("fork")
    told = context.SimpleQueue()
    process = context.Process(target=without_rights, args=(place / "intake", told))
    process.start()
    process.join(30)
    assert told.get() == "storage-denied"


def test_a_file_that_may_only_be_read_says_so(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = opened(folder)
    made.append(SEVERAL)
    assert made._file is not None
    made._file._connection.execute("PRAGMA query_only=ON")
    with pytest.raises(Unavailable) as caught:
        made.append(SEVERAL)
    assert caught.value.code == "storage-denied"
    assert "MVAULT_AUDIT" in caught.value.hint
    made.append(SEVERAL)  # it was opened anew
    assert made.waiting().entries == 20
    made.close()


def test_a_folder_that_is_taken_away_meanwhile_is_noticed(folder: Path, taken: Intake) -> None:
    taken.append(SEVERAL)
    folder.rename(folder.with_name("aside"))
    with pytest.raises(Unavailable, match="moved away or replaced"):
        taken.append([entry()])
    taken.append([entry()])
    assert taken.waiting().entries == 1, "in a new folder"


def test_a_process_that_hangs_with_the_lock_does_not_hang_the_others(
    folder: Path, taken: Intake, monkeypatch: pytest.MonkeyPatch
) -> None:
    taken.append([entry()])
    monkeypatch.setattr(intake_file, "_LOCK_SECONDS", 0.1)
    hanging = sqlite3.connect(folder / "intake.sqlite", isolation_level=None)
    hanging.execute("BEGIN IMMEDIATE")
    with pytest.raises(Unavailable, match="other processes have held it"):
        taken.append([entry()])
    hanging.execute("ROLLBACK")
    hanging.close()
    taken.append([entry()])
    assert taken.waiting().entries == 2


def test_many_processes_may_make_the_folder_at_once(tmp_path: Path) -> None:
    context = multiprocessing.get_context("fork")
    for number in range(3):
        told = context.SimpleQueue()
        barrier = context.Barrier(6)

        def child(folder: Path, told: "multiprocessing.SimpleQueue[str]" = told) -> None:
            made = opened(folder)
            barrier.wait(30)  # noqa: B023
            made.append([entry()])
            told.put(made.instance)

        running = [context.Process(target=child, args=(tmp_path / f"{number}" / "a",)) for _ in range(6)]
        for process in running:
            process.start()
        for process in running:
            process.join(60)
            assert process.exitcode == 0
        assert len({told.get() for _ in running}) == 1
        made = opened(tmp_path / f"{number}" / "a")
        assert made.waiting().entries == 6
        made.close()


def test_a_file_system_that_processes_cannot_share_is_refused(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = intake_file.IntakeFile._pragma

    def pragma(self: intake_file.IntakeFile, text: str) -> object:
        return "delete" if text == "journal_mode=WAL" else real(self, text)

    monkeypatch.setattr(intake_file.IntakeFile, "_pragma", pragma)
    assert refused(folder, "network folder|no shared memory").code == "unavailable"


@pytest.mark.parametrize("system", ["with F_FULLFSYNC", "without fdatasync"])
def test_other_systems_sync_in_their_own_way(
    system: str, taken: Intake, monkeypatch: pytest.MonkeyPatch
) -> None:
    taken.append([entry()])
    calls: list[str] = []
    if system == "with F_FULLFSYNC":
        monkeypatch.setattr(fcntl, "F_FULLFSYNC", 51, raising=False)
        monkeypatch.setattr(fcntl, "fcntl", lambda descriptor, what: calls.append(str(what)))
    else:
        monkeypatch.delattr(os, "fdatasync")
        monkeypatch.setattr(os, "fsync", lambda descriptor: calls.append("fsync"))
    taken.append([entry()])
    assert calls == (["51"] if system == "with F_FULLFSYNC" else ["fsync"])
