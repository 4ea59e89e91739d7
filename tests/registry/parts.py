"""Made-up versions, and indexes to put them in, for tests of the registry index."""

import hashlib
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TypeVar

from hypothesis import strategies as st

from vault.core import names
from vault.core.names import Digest, Model
from vault.core.registry_record import (
    Entry,
    Facts,
    FileRow,
    LoadTest,
    ParentRow,
    Record,
    Step,
    Vote,
    key_of,
)
from vault.core.search_match import matches
from vault.core.search_query import Query
from vault.ports import no_progress
from vault.registry import database, following, searching, writing
from vault.registry.database import Database

T = TypeVar("T")

VAULT = Digest("ab" * 32)
WHEN = "2026-05-01T00:00:00Z"
DAY = 1_777_593_600  # 2026-05-01

MODELS = ("churn", "nepse/NABIL", "nepse/x/y")
PLACES = (("dev", "main"), ("prod", "main"), ("prod", "blue"))
PEOPLE = ("ana", "ben")
WORDS = ("daily", "weekly", "data", "ana", "week")
NUMBERS = (0.0, 0.5, 0.9, 1.0, 5.0)

_names = st.sampled_from(("a", "b"))
_texts = st.lists(st.sampled_from(WORDS), min_size=1, max_size=4).map(" ".join)
_number = st.sampled_from(NUMBERS)
_values = st.dictionaries(_names, st.one_of(_number, st.sampled_from(("sag", "5", "true"))), max_size=2)
_libraries = st.dictionaries(
    st.sampled_from(("numpy", "onnx")), st.sampled_from(("1.6", "1.6.0", "2.1", "x")), max_size=2
)


def _spelled(values: dict[str, float | str]) -> tuple[tuple[str, float | None, str], ...]:
    return tuple(
        (name, value if isinstance(value, float) else None, str(value))
        for name, value in sorted(values.items())
    )


_facts = st.builds(
    Facts,
    _values.map(_spelled),
    _values.map(_spelled),
    st.lists(_names, unique=True, max_size=2).map(tuple),
    _libraries.map(lambda found: tuple(sorted(found.items()))),
    st.lists(st.sampled_from(("best", "old")), unique=True, max_size=2).map(tuple),
    st.lists(_texts, max_size=1).map(tuple),
)


def _some(*values: T, least: int = 0) -> st.SearchStrategy[tuple[T, ...]]:
    return st.lists(st.sampled_from(values), min_size=least, max_size=2, unique=True).map(tuple)


@st.composite
def records(draw: st.DrawFn) -> list[Record]:
    """Draw up to eight versions of a few models, and what is in force."""
    places = draw(
        st.lists(
            st.tuples(st.sampled_from(MODELS), st.sampled_from(("1", "2", "10", "1.0.0-rc.1"))),
            unique=True,
            max_size=8,
        )
    )
    found = []
    for model, version in places:
        manifest = manifest_of(model, version)
        steps = frozenset(draw(st.lists(st.sampled_from(PLACES), max_size=2)))
        kinds = st.sampled_from(("model", "file")), st.sampled_from(("onnx", "skops"))
        size = draw(st.sampled_from((1, 1_000, 5_000_000)))
        entry = Entry(
            names.model(model),
            names.version(version),
            manifest,
            DAY + draw(st.integers(-1, 1)) * 86_400 + draw(st.integers(0, 3)),
            (FileRow("f", draw(kinds[0]), draw(kinds[1]), size),),
            draw(_some(*PEOPLE, least=1)),
            draw(_some(Vote("approve", "prod", "ana", WHEN), Vote("adopt", "", "ben", WHEN))),
            draw(_some(ParentRow("churn", "1", manifest_of("churn", "1"), "same-data"))),
            draw(_some("best", "good")),
            tuple(draw(st.lists(_texts, max_size=1))),
            draw(_some(LoadTest("passed", "ana", WHEN), LoadTest("failed", "ben", WHEN))),
            seen="s",
        )
        found.append(Record(entry, frozenset(), steps, draw(st.none() | _facts)))
    return [_in_force(record, found) for record in found]


def _in_force(record: Record, among: Sequence[Record]) -> Record:
    """Let a place mean the last version that was promoted there."""
    mine = [other for other in among if other.entry.model == record.entry.model]
    current = {place for place in record.past if [o for o in mine if place in o.past][-1] is record}
    return Record(record.entry, frozenset(current), record.past, record.facts)


_ATOMS = (
    *("daily", "weekly", "week*", '"daily data"', '"data week*"', "ana", "churn", "absent"),
    *(
        "model=churn",
        "model:nepse/*",
        "model:nepse/x/*",
        "model=*",
        "version=1",
        "version>1",
        "version<=1.0.0",
    ),
    *("env=prod", "env=prod/blue", "was=prod", "was=dev/main", "format=onnx", "by=ana", "approved=ana"),
    *("created>2026-04-30", "created=2026-05-01", "created<2026-05-01", "size>1kB", "size=1", "size<=1kB"),
    *(
        "parent=churn",
        "parent=churn:1",
        "parent=churn:2",
        "tag=best",
        "tag=old",
        "test=passed",
        "test!=failed",
    ),
    *("feature=a", "metric.a>0.5", "metric.a<=0.5", "metric.a=5", "metric.a!=0.5", "metric=b", "metric.b>=1"),
    *("param.a=5", "param.a=5.0", "param.a!=5", "param.a=sag", "param.b!=sag", "param.a<1", "param=a"),
    *("library=numpy", "library.numpy>=1.6", "library.numpy=1.6", "library.numpy!=1.6", "library.onnx<2"),
    f"digest={hashlib.sha256(b'churn:1').hexdigest()[:12]}",
)


def queries() -> st.SearchStrategy[str]:
    """Draw the text of a query over what `records` draws."""
    atoms = st.sampled_from(_ATOMS)
    return st.recursive(
        atoms,
        lambda inner: st.one_of(
            inner.map(lambda text: f"not ({text})"),
            st.tuples(inner, inner).map(lambda pair: f"({pair[0]}) and ({pair[1]})"),
            st.tuples(inner, inner).map(lambda pair: f"({pair[0]} or {pair[1]})"),
        ),
        max_leaves=5,
    )


def manifest_of(model: str, version: str) -> Digest:
    """Give a digest for a made-up version."""
    return Digest(hashlib.sha256(f"{model}:{version}".encode()).hexdigest())


def fill(catalog: Database, own: Database, found: Iterable[Record]) -> None:
    """Write versions and their channels, as an update does; a file follows its server."""
    found = list(found)
    catalog.write(lambda connection: writing.put_entries(connection, [record.entry for record in found]))
    by_model: dict[Model, list[Record]] = {}
    for record in found:
        by_model.setdefault(record.entry.model, []).append(record)
    for model, mine in by_model.items():
        steps: list[Step] = []
        current: dict[tuple[str, str], Digest] = {}
        for seq, record in enumerate(mine, 1):
            for environment, slot in record.past:
                where = names.environment(environment), names.slot(slot)
                steps.append(Step(*where, seq, "promote", record.entry.manifest, ("ana",), WHEN))
            current |= dict.fromkeys(record.current, record.entry.manifest)
        barred = Step(names.environment("dev"), names.MAIN, 99, "withdraw", Digest("0" * 64), ("ana",), WHEN)
        steps.append(barred)
        catalog.write(lambda c, m=model, s=steps, u=current: writing.put_channels(c, m, s, u, "s"))  # type: ignore[misc]
    if catalog is not own:
        following.follow(catalog, own, no_progress)
    sealed = [
        writing.Sealed(key_of(record.entry.manifest), record.entry.created, "dev", record.facts)
        for record in found
        if record.facts is not None
    ]
    own.write(lambda connection: writing.put_facts(connection, sealed))


def oracle(found: Iterable[Record], query: Query) -> list[str]:
    """Answer slowly: the references in the order of an index's answer."""
    wanted = [record.entry for record in found if matches(query, record)]
    newest = sorted(wanted, key=lambda entry: (entry.created, key_of(entry.manifest)), reverse=True)
    return [f"{entry.model}:{entry.version}" for entry in newest]


def asked(catalog: Database, own: Database, query: Query, limit: int = 100) -> list[str]:
    """Ask an index: the references that it gives."""
    return [hit.reference for hit in searching.find(catalog, own, query, limit)[0]]


def new_file(folder: Path, vault: Digest = VAULT) -> Database:
    """Make an index in a folder, as an opened vault does."""
    folder.mkdir(mode=0o700, exist_ok=True)
    (folder / database.FILE).touch(mode=0o600)
    return database.open_file(folder / database.FILE, vault)
