"""Time a log: records integrated in batches of 256 on the local store, and the whole of it verified again.

    python benchmarks/log.py --records 1000000 --dir /var/tmp

A vault is made in a folder, and its owner's access log is written as the library does when records that
waited are moved: one commit of 256 entries after the other, each synced, tiles and checkpoint at the end.
Then a reader that remembers nothing replays it from its commits to the signed root. The alternative beside
each: a bare loop that creates and syncs files of the size of such a commit, and one SHA-256 pass over the
same bytes. Nothing is asserted.
"""

import argparse
import hashlib
import os
import tempfile
import time
from pathlib import Path

import vault
from vault.actions import log_writers
from vault.actions.opening import gather, locate, open_session
from vault.actions.session import Session
from vault.audit.reading import LogReader
from vault.core import audit_record, names
from vault.core.allowance import Allowance
from vault.core.audit_record import AuditRecord
from vault.core.names import Digest, Environment, Model, Principal, Version
from vault.core.policy import PolicyId

BATCH = 256
PROD = Environment("prod")


def opened(folder: Path) -> Session:
    """Open the vault as its owner."""
    settings = gather({"vault": str(folder / "vault")})
    return open_session(settings, locate(settings), allow=Allowance(), environment=PROD)


def batch(number: int) -> list[bytes]:
    """Make the entries of one commit: loads of one model."""
    return [
        audit_record.encode(
            AuditRecord(
                record_id=(number * BATCH + place).to_bytes(16, "big"),
                time=names.time_text(1_790_000_000 + number),
                action="load",
                decision=audit_record.ALLOW,
                known="signature",
                actor=Principal("serving"),
                key=Digest("ab" * 32),
                outcome=audit_record.DONE,
                environment=PROD,
                model=Model("churn"),
                version=Version("3"),
                manifest=Digest("cd" * 32),
                policy=PolicyId(0, 4, Digest("ef" * 32)),
                host="web-7.example.org",
            )
        )
        for place in range(BATCH)
    ]


def bare(folder: Path, size: int, count: int) -> float:
    """Create and sync files of a size, each with its folder; give how many a second."""
    data = os.urandom(size)
    place = os.open(folder, os.O_RDONLY)
    start = time.perf_counter()
    for number in range(count):
        file = os.open(folder / f"bare-{number}", os.O_WRONLY | os.O_CREAT)
        os.write(file, data)
        os.fsync(file)
        os.close(file)
        os.fsync(place)
    taken = time.perf_counter() - start
    os.close(place)
    return count / taken


def main() -> None:
    """Write, verify and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--records", type=int, default=1_000_000)
    parser.add_argument("--dir", type=Path, default=None, help="a folder on the disk to be measured")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=options.dir) as name:
        folder = Path(name)
        os.environ.update(MVAULT_CONFIG_DIR=f"{folder}/config", MVAULT_STATE_DIR=f"{folder}/state")
        vault.init(folder / "vault", no_passphrase=True, recipient="x25519")
        session = opened(folder)
        log = log_writers.own_log(session, "0" * 16)
        writer = log_writers.writer(session, log)
        count = options.records // BATCH
        entries = [batch(number) for number in range(count)]
        wall, cpu = time.perf_counter(), time.process_time()
        for group in entries:
            writer.append(group, derive=False)
        writer.derive()
        wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
        total = count * BATCH
        size = sum(map(len, entries[0]))
        print(
            f"{total:,} records, {BATCH} a commit: {total / wall:,.0f}/s, {total / cpu:,.0f} per CPU second"
        )
        files = bare(folder, size, min(count, 500))
        print(
            f"bare create and sync of {size:,} bytes: {files:,.0f}/s, as many as {files * BATCH:,.0f} records"
        )
        wall = time.perf_counter()
        state = LogReader(session.store, log, session.trust().policy).read()
        wall = time.perf_counter() - wall
        data = b"".join(b"".join(group) for group in entries)
        start = time.perf_counter()
        hashlib.sha256(data).digest()
        once = time.perf_counter() - start
        print(f"verified, {state.newest.size:,} records: {wall:.1f} s; one SHA-256 pass: {once:.2f} s")


if __name__ == "__main__":
    main()
