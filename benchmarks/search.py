"""Time searches over 100,000 versions, on SQLite and on PostgreSQL, beside a plain scan of JSON lines.

    PYTHONPATH=. python benchmarks/search.py [VERSIONS]

The rows are synthetic, and written by the code that writes real ones. With PostgreSQL, the public
half is on a real server on loopback, started for this, which answers what it can; the reader's own
file, which follows it, answers what needs the sealed half. Both kinds of query are marked. Of each query the
best of some rounds is told, and this process's own time on a processor, on which a busy machine tells less.
"""

import hashlib
import json
import os
import random
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import islice
from pathlib import Path

from tests.servers.postgres import running
from vault.core import names
from vault.core.names import Digest
from vault.core.registry_record import Entry, Facts, FileRow, Record, Step, Value, key_of
from vault.core.search_match import matches
from vault.core.search_query import Query, parse
from vault.ports import no_progress
from vault.registry import database, following, searching, writing
from vault.registry.compiling import is_public
from vault.registry.database import Database

VERSIONS = 100_000
MODELS = 300
VAULT = Digest("a" * 64)
ROUNDS = 15
QUERIES = (
    "metric.auc>0.9 and env=prod and format=onnx",
    "metric.auc>0.9",
    "metric.auc>0.999 and param.depth<=5",
    "env=prod and not by=ana",
    "format=onnx",
    "model:nepse/* and created>2024-01-01 and size>5MB",
    "model:nepse/S007",
    "env=prod and format=onnx and by=ana",
    "was=staging and not env=prod",
    "version>=300 and not format=skops",
    "library.scikit-learn>=1.6 and feature=age",
    "param.solver=lbfgs and metric.f1>0.5 and not by=ana",
    "tag=nightly and metric.auc<0.1",
    "trained",
    "weekly rehearsal",
    '"hourly data"',
    "rehears*",
    "nothing-has-this",
)


def versions(count: int) -> Iterator[Record]:
    """Make up versions of `MODELS` models."""
    draw = random.Random(8)
    for number in range(count):
        manifest = Digest(hashlib.sha256(str(number).encode()).hexdigest())
        drawn = [(name, draw.random()) for name in ("auc", "f1", "rmse")]
        parameters: list[Value] = [(f"p{place}", float(draw.randrange(99)), "x") for place in range(6)]
        parameters += [
            ("depth", float(depth := draw.randrange(12)), str(depth)),
            ("solver", None, draw.choice(("lbfgs", "sag", "saga"))),
        ]
        note = f"trained on {draw.choice(('daily', 'weekly', 'hourly'))} data, run {number}"
        yield Record(
            Entry(
                names.model(f"nepse/S{number % MODELS:03d}"),
                names.version(str(number // MODELS + 1)),
                manifest,
                1_700_000_000 + 300 * number,
                (FileRow("model", "model", draw.choice(("onnx", "skops")), draw.randrange(10_000_000)),),
                (draw.choice(("ana", "bob", "trainer")),),
                tags=("rehearsal",) if number % 5 == 0 else (),
                seen="0" * 32,
            ),
            facts=Facts(
                tuple((name, value, str(value)) for name, value in drawn),
                tuple(parameters),
                ("age", *(f"lag_{draw.randrange(500)}_{place}" for place in range(9))),
                (("numpy", "2.1.0"), ("scikit-learn", f"1.{draw.randrange(9)}.0")),
                ("nightly",),
                (note,),
            ),
        )


def fill(catalog: Database, own: Database, count: int) -> None:
    """Write the versions and their channels."""
    source = versions(count)
    while some := list(islice(source, 2_000)):
        entries = [record.entry for record in some]
        catalog.write(lambda connection, entries=entries: writing.put_entries(connection, entries))  # type: ignore[misc]
        sealed = [
            writing.Sealed(key_of(record.entry.manifest), record.entry.created, "dev", record.facts)
            for record in some
            if record.facts is not None
        ]
        own.write(lambda connection, sealed=sealed: writing.put_facts(connection, sealed))  # type: ignore[misc]
    for model in range(min(MODELS, count)):
        current: dict[tuple[str, str], Digest] = {}
        steps = []
        for place, environment in enumerate(("dev", "staging", "prod")):
            number = max(0, count // MODELS - 1 - 2 * place) * MODELS + model
            manifest = Digest(hashlib.sha256(str(number).encode()).hexdigest())
            current[environment, "main"] = manifest
            where = names.environment(environment), names.slot("main")
            steps.append(Step(*where, 1, "promote", manifest, ("ana",), "2026-01-01T00:00:00Z"))
        name = names.model(f"nepse/S{model:03d}")
        catalog.write(lambda c, n=name, s=steps, u=current: writing.put_channels(c, n, s, u, "0"))  # type: ignore[misc]


def scan(path: Path, query: Query) -> int:
    """Answer by reading every line: what has no index."""
    found = 0
    with path.open() as lines:
        for line in lines:
            found += matches(query, _record(json.loads(line)))
    return found


def _record(value: dict[str, list[object]]) -> Record:
    entry, facts, current = value["entry"], value["facts"], value["current"]
    entry[4] = tuple(FileRow(*file) for file in entry[4])  # type: ignore[attr-defined]
    places = frozenset((str(place[0]), str(place[1])) for place in current)  # type: ignore[index]
    return Record(Entry(*entry), places, places, Facts(*facts))  # type: ignore[arg-type]


def write_lines(path: Path, count: int) -> None:
    """Write the same versions as JSON lines."""
    current = {count // MODELS - 1 - 2 * place: name for place, name in enumerate(("dev", "staging", "prod"))}
    with path.open("w") as lines:
        for number, record in enumerate(versions(count)):
            entry, facts = record.entry, record.facts
            assert facts is not None
            shown = (entry.model, entry.version, entry.manifest, entry.created)
            files = [(file.path, file.role, file.format, file.size) for file in entry.files]
            where = current.get(number // MODELS)
            value = {
                "entry": [*shown, files, entry.publishers, [], [], entry.tags],
                "facts": [
                    *(facts.metrics, facts.parameters, facts.features),
                    *(facts.libraries, facts.tags, facts.notes),
                ],
                "current": [] if where is None else [[where, "main"]],
            }
            lines.write(json.dumps(value) + "\n")


def best(act: Callable[[], object], rounds: int = ROUNDS) -> float:
    """Give the best of some rounds, in milliseconds: on a busy machine, what came nearest to being alone."""
    taken = []
    for _ in range(rounds):
        start = time.perf_counter()
        act()
        taken.append(time.perf_counter() - start)
    return min(taken) * 1_000


def processor(act: Callable[[], object], rounds: int = ROUNDS) -> float:
    """Give this process's own time for one of some rounds, in milliseconds; a server's is not in it."""
    start = time.process_time()
    for _ in range(rounds):
        act()
    return (time.process_time() - start) * 1_000 / rounds


@contextmanager
def postgres(folder: Path) -> Iterator[tuple[Database, Database]]:
    """Give the two halves with a real server."""
    from vault.storage import sql_address, sql_postgres

    with running() as server:
        address = sql_address.parse(server.url("public"))
        assert isinstance(address, sql_address.PostgresAddress)
        engine = sql_postgres.dialect(address).open_engine()
        catalog = database.open_server(engine, VAULT, place="PostgreSQL", schema_name=None)
        yield catalog, file(folder / "own")
        catalog.close()


def file(folder: Path) -> Database:
    """Make an index in a file."""
    folder.mkdir()
    (folder / database.FILE).touch(mode=0o600)
    return database.open_file(folder / database.FILE, VAULT)


def main() -> None:
    """Build, ask, print."""
    count = int(sys.argv[1]) if len(sys.argv) > 1 else VERSIONS
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        lines = folder / "versions.jsonl"
        write_lines(lines, count)
        scanning = best(lambda: scan(lines, parse(QUERIES[0])), 1)
        print(f"{count:,} versions; load {os.getloadavg()[0]:.2f}; a scan of JSON lines: {scanning:,.0f} ms")
        own = file(folder / "both")
        with postgres(folder) as (catalog, mine):
            for title, halves in (("SQLite", (own, own)), ("PostgreSQL", (catalog, mine))):
                start = time.perf_counter()
                fill(*halves, count)
                print(f"\n{title}: filled in {time.perf_counter() - start:,.0f} s", end="")
                halves[0].settle()
                if halves[0] is not halves[1]:
                    start = time.perf_counter()
                    following.follow(halves[0], halves[1], no_progress)
                    first = time.perf_counter() - start
                    nothing = best(lambda h=halves: following.follow(h[0], h[1], no_progress))  # type: ignore[misc]
                    print(
                        f"; the reader's file follows it in {first:,.0f} s, then in {nothing:.1f} ms", end=""
                    )
                print(f"; load {os.getloadavg()[0]:.2f}")
                print("    waited   processor       scan      by")
                for text in QUERIES:
                    query = parse(text)

                    def ask(query: Query = query, halves: tuple[Database, Database] = halves) -> object:
                        return searching.find(*halves, query, 50)

                    taken, busy = best(ask), processor(ask)
                    hits, more = searching.find(*halves, query, 50)
                    shown = f"{len(hits)}{'+' if more else ''}"
                    by = "file" if halves[0] is halves[1] or not is_public(query) else "server"
                    told = f"{taken:8.1f} ms {busy:8.1f} ms {scanning / taken:7,.0f} x {by:>7}"
                    print(f"{told} {shown:>4} hits  {text}")
        print(f"\nload at the end {os.getloadavg()[0]:.2f}")


if __name__ == "__main__":
    main()
