"""Time what the audit log costs before it is in the store: acknowledged records, and the index over them.

    python benchmarks/audit.py intake --processes 1 8 --threads 1 8 --seconds 3 --dir /var/tmp
    python benchmarks/audit.py index --records 1000000 --dir /var/tmp

`intake`: processes append one record at a time and count it when it is acknowledged, which is when it is on
the disk. The alternatives run in the same way beside it: lines appended to one JSON Lines file, each with
an fsync (what a program does that writes its own durable log), under a lock, since fsynced lines of several
processes must not mix; the same without a lock, which O_APPEND allows for short lines; and SQLite with
`synchronous=FULL`, one transaction a record. Medians of `--rounds`, and the ratio to ours.

`index`: so many records of a made-up year, of 40 actors and 200 models, are put into the query index; then
each kind of question is asked, and SQLite's plan for it is printed. The alternative is `grep` over the same
records as JSON Lines. Nothing is asserted.
"""

import argparse
import fcntl
import multiprocessing
import os
import random
import secrets
import shutil
import sqlite3
import statistics
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable
from functools import partial
from multiprocessing.synchronize import Event
from pathlib import Path

from vault.audit import query, summary
from vault.audit.index import AuditIndex, Mark
from vault.audit.intake import Entry, Intake
from vault.core import audit_record, names
from vault.core.audit_record import AuditRecord
from vault.core.names import Digest, Environment, Model, Principal, Version
from vault.core.policy import PolicyId

Append = Callable[[bytes, bytes], None]


def sample() -> AuditRecord:
    """Make a record of the usual size."""
    return AuditRecord(
        record_id=secrets.token_bytes(16), time="2026-11-23T05:00:00Z", action="load", decision="allow",
        known="signature", outcome="done", actor=Principal("forecast-serving"), key=Digest("a" * 64),
        environment=Environment("prod"), model=Model("nepse/NABIL"), version=Version("17"), seq=9,
        manifest=Digest("b" * 64), policy=PolicyId(0, 12, Digest("c" * 64)), evidence=Digest("d" * 64),
        subject="nepse/NABIL@prod", host="serving-7", of=secrets.token_bytes(16),
    )  # fmt: skip


def our_intake(folder: Path) -> Append:
    """Append by the vault's intake."""
    taken = Intake(
        folder / "ours", vault=Digest("0" * 64), principal=Principal("p"), random=secrets.token_bytes
    )
    return lambda record_id, data: taken.append([Entry(record_id, data)])


def json_lines(folder: Path) -> Append:
    """Append a line under a lock, and sync it."""
    descriptor = os.open(folder / "lines.jsonl", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    within = threading.Lock()

    def append(record_id: bytes, data: bytes) -> None:
        with within:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            try:
                os.write(descriptor, data + b"\n")
                os.fsync(descriptor)
            finally:
                fcntl.flock(descriptor, fcntl.LOCK_UN)

    return append


def unlocked_lines(folder: Path) -> Append:
    """Append a line by O_APPEND alone, and sync it."""
    descriptor = os.open(folder / "lines.jsonl", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)

    def append(record_id: bytes, data: bytes) -> None:
        os.write(descriptor, data + b"\n")
        os.fsync(descriptor)

    return append


def full_sqlite(folder: Path) -> Append:
    """Insert a row in a transaction of its own, `synchronous=FULL`."""
    connection = sqlite3.connect(
        folder / "full.sqlite", timeout=60, check_same_thread=False, isolation_level=None
    )
    for statement in (
        "PRAGMA journal_mode=WAL",
        "PRAGMA synchronous=FULL",
        "CREATE TABLE IF NOT EXISTS r(seq INTEGER PRIMARY KEY, id BLOB, data BLOB)",
    ):
        connection.execute(statement)
    within = threading.Lock()

    def append(record_id: bytes, data: bytes) -> None:
        with within:
            connection.execute("INSERT INTO r(id, data) VALUES (?, ?)", (record_id, data))

    return append


WAYS: dict[str, Callable[[Path], Append]] = {
    "vault intake": our_intake,
    "JSONL, lock + fsync": json_lines,
    "JSONL, fsync alone": unlocked_lines,
    "SQLite, FULL": full_sqlite,
}


def _work(
    way: str, folder: Path, threads: int, begin: Event, end: Event, told: "multiprocessing.Queue[int]"
) -> None:
    append = WAYS[way](folder)
    data = audit_record.encode(sample())
    append(secrets.token_bytes(16), data)  # opened, and the files made
    told.put(0)
    begin.wait()
    counts = [0] * threads

    def run(index: int) -> None:
        while not end.is_set():
            append(secrets.token_bytes(16), data)
            counts[index] += 1

    running = [threading.Thread(target=run, args=(index,)) for index in range(threads)]
    for thread in running:
        thread.start()
    for thread in running:
        thread.join()
    told.put(sum(counts))


def acknowledged(way: str, folder: Path, processes: int, threads: int, seconds: float) -> float:
    """Give acknowledged records a second."""
    here = Path(tempfile.mkdtemp(dir=folder))
    context = multiprocessing.get_context("spawn")
    begin, end = context.Event(), context.Event()
    told: multiprocessing.Queue[int] = context.Queue()
    running = [
        context.Process(target=_work, args=(way, here, threads, begin, end, told)) for _ in range(processes)
    ]
    for process in running:
        process.start()
    for _ in running:
        told.get()
    start = time.perf_counter()
    begin.set()
    time.sleep(seconds)
    end.set()
    total = sum(told.get() for _ in running)
    took = time.perf_counter() - start
    for process in running:
        process.join()
    shutil.rmtree(here)
    return total / took


def intake(arguments: argparse.Namespace) -> None:
    """Print records a second for each way, and the ratio to ours."""
    folder = Path(tempfile.mkdtemp(dir=arguments.dir))
    print(f"{len(audit_record.encode(sample()))} bytes a record, {os.cpu_count()} cores, in {arguments.dir}")
    for processes in arguments.processes:
        for threads in arguments.threads:
            found: dict[str, list[float]] = {way: [] for way in WAYS}
            for _ in range(arguments.rounds):
                for way in WAYS:
                    found[way].append(acknowledged(way, folder, processes, threads, arguments.seconds))
            middle = {way: statistics.median(rates) for way, rates in found.items()}
            ours = middle["vault intake"]
            for way, rate in middle.items():
                ratio = "" if way == "vault intake" else f"  ours is {ours / rate:.2f} times that"
                print(f"{processes} processes x {threads} threads  {way:22}{rate:10,.0f} records/s{ratio}")
    shutil.rmtree(folder)


MODELS = 200
ACTORS = 40
YEAR = 365 * 86_400
START = 1_764_000_000


def made_up(number: int, total: int, draw: random.Random) -> bytes:
    """Make the record of one moment of a year: mostly loads, two records each, and some of everything."""
    moment = START + number * YEAR // total
    kind = draw.random()
    action = (
        "load" if kind < 0.9 else "pull" if kind < 0.97 else draw.choice(("publish", "approve", "promote"))
    )
    action = "policy" if kind > 0.99999 else action
    who = int(draw.paretovariate(1.0)) % ACTORS
    model = f"nepse/M{int(draw.paretovariate(0.7)) % MODELS:03d}"
    pending = number % 2 == 0
    denied, refused = draw.random() < 0.004, draw.random() < 0.006
    decision = "pending" if pending else "deny" if denied else "refuse" if refused else "allow"
    code = {"deny": "access-denied", "refuse": "pickle-refused"}.get(decision)
    digest = Digest(f"{hash(model) % 16**8:08x}" * 8)
    record = AuditRecord(
        record_id=draw.randbytes(16), time=names.time_text(moment), action=action, decision=decision,
        code=code,
        outcome="done" if decision == "allow" else None, known="signature", actor=Principal(f"service-{who}"),
        key=Digest(f"{who:064x}"), environment=Environment("dev" if draw.random() < 0.2 else "prod"),
        model=Model(model), version=Version(str(1 + number * 40 // total)), seq=9, manifest=digest,
        policy=PolicyId(0, 12, Digest("c" * 64)), evidence=digest, subject=f"{model}@prod",
        host=f"serving-{who % 7}", of=None if pending else draw.randbytes(16),
    )  # fmt: skip
    return audit_record.encode(record)


QUESTIONS: dict[str, query.Filter] = {
    "everything": query.EVERYTHING,
    "one actor": query.Filter(actor=("service-1",)),
    "a rare actor": query.Filter(actor=("service-37",)),
    "a rare actor, refused": query.Filter(actor=("service-37",), decision=("refuse",)),
    "a model": query.Filter(model=("nepse/M001",)),
    "models by pattern": query.Filter(model=("nepse/M1*",)),
    "a pattern, denied, a week": query.Filter(
        model=("nepse/M1*",),
        decision=("deny",),
        since=START + YEAR // 2,
        until=START + YEAR // 2 + 7 * 86_400,
    ),
    "denied or refused in dev": query.Filter(decision=("deny", "refuse"), environment=("dev",)),
    "policy changes": query.Filter(action=("policy",)),
    "pulls of one model in dev": query.Filter(action=("pull",), model=("nepse/M003",), environment=("dev",)),
    "an empty conjunction": query.Filter(
        action=("load", "pull"), environment=("prod",), decision=("refuse",)
    ),
    "nothing holds, much to see": query.Filter(decision=("pending",), outcome=("done",)),
    "one log, a code": query.Filter(log=("access/service-1/*",), code=("pickle-refused",)),
}


def timed(work: Callable[[], object], rounds: int) -> list[float]:
    """Give milliseconds of several runs, sorted."""
    found = []
    for _ in range(rounds):
        start = time.perf_counter()
        work()
        found.append(1_000 * (time.perf_counter() - start))
    return sorted(found)


def index(arguments: argparse.Namespace) -> None:
    """Build an index, and print what it took and what questions take."""
    folder = Path(tempfile.mkdtemp(dir=arguments.dir))
    total, draw = arguments.records, random.Random(5)
    lines = folder / "lines.jsonl"
    with lines.open("wb") as file:
        for number in range(total):
            file.write(made_up(number, total, draw) + b"\n")
    print(f"{total:,} records, {lines.stat().st_size / 1e6:,.0f} MB as JSON Lines")
    built = AuditIndex(folder / "index")
    logs, start = 10, time.perf_counter()
    with lines.open("rb") as file:
        for log in range(logs):
            name, most = f"access/service-{log}/{log:016x}", total // logs
            entries = ((1 + place // 256, next(file)[:-1]) for place in range(most))
            built.extend(name, 0, entries, Mark(most, bytes(32), most // 256 + 1))
    rows = time.perf_counter() - start
    built.ready()
    took = time.perf_counter() - start
    size = sum(path.stat().st_size for path in (folder / "index").iterdir())
    print(f"built in {took:.1f} s ({total / took:,.0f} records/s), {took - rows:.1f} s of it for indexes;")
    print(f"{size / 1e6:,.0f} MB")
    worst = 0.0
    for name, asked in QUESTIONS.items():
        times = timed(partial(query.page, built, asked), arguments.rounds)
        found = query.count(built, asked)
        worst = max(worst, times[-1])
        plan = " / ".join(query.explained(built, asked))
        print(f"{name:28}{statistics.median(times):8.1f} ms, worst {times[-1]:8.1f}  of {found:9,}  {plan}")
    print(f"worst of all: {worst:.1f} ms")
    start = time.perf_counter()
    command = ["grep", "-E", '"actor":"service-37".*"decision":"refuse"', str(lines)]
    lookups = subprocess.run(command, capture_output=True, check=False).stdout.count(b"\n")
    print(f"grep, a rare actor, refused: {1_000 * (time.perf_counter() - start):.0f} ms, {lookups} found")
    for days in (1, 7, 365):
        since, until = START + YEAR - days * 86_400, START + YEAR
        times = timed(partial(summary.summarise, built, since=since, until=until), 3)
        print(f"summary of the last {days:3} days: {statistics.median(times):,.0f} ms")
    built.close()
    shutil.rmtree(folder)


def main() -> None:
    """Read the arguments and print the measurements."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    kinds = parser.add_subparsers(required=True)
    taking = kinds.add_parser("intake")
    taking.add_argument("--processes", type=int, nargs="+", default=[1, 8])
    taking.add_argument("--threads", type=int, nargs="+", default=[1, 8])
    taking.add_argument("--seconds", type=float, default=3.0)
    taking.add_argument("--rounds", type=int, default=3)
    taking.set_defaults(run=intake)
    asking = kinds.add_parser("index")
    asking.add_argument("--records", type=int, default=1_000_000)
    asking.add_argument("--rounds", type=int, default=5)
    asking.set_defaults(run=index)
    for kind in (taking, asking):
        kind.add_argument("--dir", default=tempfile.gettempdir())
    arguments = parser.parse_args()
    arguments.run(arguments)


if __name__ == "__main__":
    main()
