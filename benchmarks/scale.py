"""Print how the everyday verbs slow down with the number of other models in a vault: they should not.

    python benchmarks/scale.py                        10, 100, 1,000 and 10,000 versions, in a folder
    python benchmarks/scale.py --vault s3://bucket/v?endpoint=… --vault sqlite:////var/tmp/v.db
    python benchmarks/scale.py --postgres             on a PostgreSQL server of its own
    python benchmarks/scale.py --by-hand              100,000 versions too: half an hour

Real versions of four to a model, signed and sealed, each with a payload of some hundred bytes, the last of
each model in prod. They are made in a folder where nothing waits for the disk, and each store gets a copy of
its objects. Then each verb runs `--runs` times on one model, and the median is printed in milliseconds with
the number of steps that it asked of the store: by a client that has seen only what it uses (`new`), and by
one that has seen every version (`old`), as whoever publishes them all. Nothing is asserted.
"""

import argparse
import contextlib
import io
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from unittest import mock

import numpy as np

import vault
from tests.faults import FaultyStore
from vault import memory
from vault.actions import promote, publish
from vault.actions.opening import gather, locate, open_session
from vault.actions.publish import BytesSource, Contents, PackageFile
from vault.actions.session import Session
from vault.core import names
from vault.core.allowance import Allowance
from vault.core.memory_format import Memory
from vault.core.names import Digest, Environment, Model, Version
from vault.ports import CreatesTogether, Source
from vault.storage.opening import open_store
from vault.vault import Vault

SIZES = (10, 100, 1_000, 10_000)
BY_HAND = 100_000
VERSIONS = 4  # of each model
DEV, PROD = Environment("dev"), Environment("prod")
THREADS = 16  # that copy
TOGETHER = 2_000  # objects that are handed to a store at once


@dataclass(frozen=True, slots=True)
class Opened:
    """Bytes that a package takes."""

    data: bytes

    def __enter__(self) -> Source:
        """Open them."""
        return BytesSource(self.data)

    def __exit__(self, *_: object) -> None:
        """Close them."""


def model_name(number: int) -> Model:
    """Name a model; they lie in folders of a hundred, as those of a team that has many."""
    return names.model(f"desk{number // 100:03d}/m{number:05d}")


def payload(number: int) -> PackageFile:
    """Make a tiny model."""
    buffer = io.BytesIO()
    np.savez(buffer, weights=np.arange(4.0) + number)
    data = buffer.getvalue()
    return PackageFile(names.path("model.npz"), "model", "npz", lambda: Opened(data))


@dataclass
class Place:
    """The vault that is made, in a folder, and whose owner it is."""

    folder: Path
    made: int = 0
    digests: dict[str, str] = field(default_factory=dict)  # model:version → manifest
    copied: dict[str, set[str]] = field(default_factory=dict)  # location → names

    @property
    def vault(self) -> Path:
        """The folder of the vault."""
        return self.folder / "vault"

    def session(self) -> Session:
        """Open it as its owner, who remembers nothing."""
        settings = gather({"vault": str(self.vault)})
        opened = open_session(settings, locate(settings), allow=Allowance(), environment=DEV)
        return replace(opened, memory=memory.ClientMemory(opened.pin, None), audit=None)

    def grow(self, versions: int) -> None:
        """Publish until there are so many versions."""
        with mock.patch("os.fsync", return_value=None):
            if not self.vault.exists():
                vault.init(self.vault, no_passphrase=True, recipient="x25519")
                trust = vault.open(self.vault).export_trust()
                (self.folder / "trust.json").write_bytes(trust)
            while self.made < versions:
                session = self.session()  # a new one now and then: it gathers what it has seen
                for _ in range(min(25, -(-(versions - self.made) // VERSIONS))):
                    self._publish_model(session)
        os.sync()

    def _publish_model(self, session: Session) -> None:
        model = model_name(self.made // VERSIONS)
        for number in range(1, VERSIONS + 1):
            version = names.version(str(number))
            publish.publish(session, model, version, Contents([payload(self.made)], {}))
            self.made += 1
        reference = names.Reference(model, version=Version(str(VERSIONS)))
        promote.promote(session, reference, PROD, names.MAIN)
        self.digests.update(session.memory.load().versions)

    def copy_to(self, location: str) -> None:
        """Copy what another store does not have yet."""
        source, target = open_store(str(self.vault)), open_store(location)
        known = self.copied.setdefault(location, set())
        new = [name for name in source.list("") if name not in known]

        def copy(batch: list[str]) -> None:
            objects = {name: source.read(name, limit=1 << 30) for name in batch}
            left = target.create_all(objects) if isinstance(target, CreatesTogether) else list(objects)
            for name in left:
                with target.create(name) as sink:
                    sink.write(objects[name])

        together = TOGETHER if isinstance(target, CreatesTogether) else 20
        with ThreadPoolExecutor(THREADS) as pool:
            list(pool.map(copy, (new[start : start + together] for start in range(0, len(new), together))))
        known.update(new)


@dataclass(frozen=True)
class Client:
    """Somebody who uses the vault at a location, with a memory of their own."""

    place: Place
    location: str
    state: Path

    def settings(self) -> dict[str, object]:
        """Say where the vault is, and what this client goes by."""
        return {
            "vault": self.location,
            "trust": str(self.place.folder / "trust.json"),
        }

    def open(self) -> tuple[Vault, FaultyStore]:
        """Open the vault with a store that counts."""
        os.environ["MVAULT_STATE_DIR"] = str(self.state)
        settings = gather(self.settings())
        session = open_session(settings, locate(settings), allow=Allowance(), environment=DEV)
        counting = FaultyStore(session.store)
        return Vault(replace(session, store=counting, audit=None), settings), counting

    def see_everything(self) -> None:
        """Remember every version that there is."""
        opened, _ = self.open()
        versions = {key: str(Digest(digest)) for key, digest in self.place.digests.items()}
        opened._session.memory.advance(Memory(opened._session.pin, versions=versions))


@dataclass(frozen=True, slots=True)
class Cost:
    """What one run of a verb took: milliseconds, and steps of the store."""

    milliseconds: float
    steps: int


def cost(client: Client, act: Callable[[Vault, int], object], run: int, *, warm: bool) -> Cost:
    """Run once; with `warm` in a vault that is open and has done it before."""
    opened, store = client.open()
    if warm:
        act(opened, run)
    before = len(store.operations)
    start = time.perf_counter()
    act(opened, run)
    return Cost((time.perf_counter() - start) * 1_000, len(store.operations) - before)


def _load(opened: Vault, _: int) -> object:
    return opened.load_model(f"{model_name(0)}@prod")


def _push(opened: Vault, run: int, *, tag: str) -> object:
    file = payload(run)
    return publish.publish(opened._session, names.model(f"new/{tag}{run}"), None, Contents([file], {}))


def _promote(opened: Vault, _: int) -> object:
    return opened.promote(f"{model_name(1)}:1", env=PROD)


def _list_one(opened: Vault, _: int) -> object:
    return opened.list(model_name(0)), opened.versions(model_name(0))


def measure(place: Place, location: str, size: int, runs: int, *, whole: bool) -> None:
    """Print a line for each kind of client at one size."""
    for kind in ("new", "old"):
        with tempfile.TemporaryDirectory() as state:
            client = Client(place, location, Path(state))
            if kind == "old":
                client.see_everything()
            tag = f"{kind}{size}-"
            verbs: dict[str, tuple[Callable[[Vault, int], object], bool]] = {
                "open+load": (_load, False),
                "load": (_load, True),
                "push new": (partial(_push, tag=tag), False),
                "push next": (partial(_push, tag=f"{tag}next-"), True),
                "promote": (_promote, False),
                "ls one": (_list_one, False),
            }
            shown = []
            for name, (act, warm) in verbs.items():
                found = [cost(client, act, run, warm=warm) for run in range(runs)]
                middle = statistics.median(one.milliseconds for one in found)
                shown.append(f"{name} {middle:8.1f} ms {found[-1].steps:6d}")
            if whole and kind == "new":
                shown += whole_vault(client, size)
            print(f"{size:8,d} {kind}  " + "   ".join(shown), flush=True)


def whole_vault(client: Client, size: int) -> Iterator[str]:
    """Time what is about every model, once."""
    opened, store = client.open()
    start = time.perf_counter()
    rows = len(opened.list())
    took = (time.perf_counter() - start) * 1_000
    yield f"ls all {took:8.0f} ms {took / rows:6.2f} each {len(store.operations) / rows:5.1f} steps"
    opened, store = client.open()
    start = time.perf_counter()
    report = opened.check()
    took = (time.perf_counter() - start) * 1_000
    if not report.whole or report.versions < size:
        raise SystemExit(f"the check says: {[one for one in report.findings if one.level == 'bad'][:3]}")
    yield f"check all {took:8.0f} ms {took / size:6.2f} each {len(store.operations) / size:5.1f} steps"


@contextlib.contextmanager
def own_server() -> Iterator[str]:
    """Run a PostgreSQL server that syncs; give the URL of a schema in it."""
    from tests.servers.postgres import running

    with running(()) as server:
        yield server.url(server.new_schema())


def main() -> None:
    """Do what the arguments say."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--sizes", type=int, nargs="+", default=list(SIZES), metavar="VERSIONS")
    parser.add_argument("--by-hand", action="store_true", help=f"{BY_HAND:,} versions too")
    parser.add_argument(
        "--vault", action="append", default=[], metavar="URL", help="an empty place for a copy"
    )
    parser.add_argument("--postgres", action="store_true", help="a copy on a PostgreSQL server of its own")
    parser.add_argument("--runs", type=int, default=7)
    parser.add_argument("--verbs-only", action="store_true", help="leave out what is about every model")
    parser.add_argument("--dir", default=None, help="where the folder is made")
    arguments = parser.parse_args()
    sizes = sorted({*arguments.sizes, *([BY_HAND] if arguments.by_hand else [])})
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(dir=arguments.dir)))
        for name in ("config", "state"):
            os.environ[f"MVAULT_{name.upper()}_DIR"] = str(folder / name)
        os.environ["MVAULT_AUDIT"] = "off"
        place = Place(folder)
        locations = [str(folder / "copy"), *arguments.vault]
        if arguments.postgres:
            locations.append(stack.enter_context(own_server()))
        for size in sizes:
            start = time.perf_counter()
            place.grow(size)
            print(
                f"{size:,} versions made in {time.perf_counter() - start:.0f} s", file=sys.stderr, flush=True
            )
            for location in locations:
                with mock.patch("os.fsync", return_value=None):
                    place.copy_to(location)
                os.sync()
                print(location)
                measure(place, location, size, arguments.runs, whole=not arguments.verbs_only)


if __name__ == "__main__":
    main()
