"""Pull the plug on a store at one operation, leave it out, and put it back."""

import struct
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from tests.attacks.vault_mixing import check, outcome
from tests.builders import Built, solo
from tests.faults import Fault, FaultyStore, Operation, every_operation
from vault.errors import Unavailable, VaultError
from vault.ports import Store
from vault.settings import Settings
from vault.storage.memory import MemoryStore
from vault.vault import Vault


def _weights(number: int) -> bytes:
    """Write one float32, `w`, as a safetensors file."""
    header = b'{"w":{"data_offsets":[0,4],"dtype":"F32","shape":[1]}}'
    return struct.pack("<Q", len(header)) + header + struct.pack("<f", number)


FIRST = {"model.safetensors": _weights(1)}
SECOND = {"features.json": b'["a"]', "model.safetensors": _weights(2)}


@cache
def two_versions() -> Built:
    """Build a vault with churn 1 in prod, and churn 2 in dev."""
    built = solo(seed="plugs")
    built.promote(built.publish(FIRST))
    built.publish(SECOND)
    return built


@cache
def one_version() -> Built:
    """Build the same vault before churn 2 was published."""
    built = solo(seed="plugs")
    built.promote(built.publish(FIRST))
    return built


def client(built: Built, store: Store, seed: str = "") -> Vault:
    """Open the vault in a store, as one process does; `seed` makes its random numbers its own."""
    fork = built.fork()
    fork.draws.seed += seed
    return Vault(fork.session(store=store), Settings())


def seen(built: Built, store: Store, reference: str) -> object:
    """Give what a client that knows nothing yet reads of a reference, or the code of its error."""
    fresh = built.fork(forgetful=True)
    fresh.store = store  # type: ignore[assignment]
    return outcome(fresh, reference)


def is_whole(built: Built, store: Store) -> bool:
    """Tell whether everything that is visible in a store is whole."""
    fresh = built.fork(forgetful=True)
    fresh.store = store  # type: ignore[assignment]
    return check(fresh).whole


@dataclass(frozen=True)
class Act:
    """A verb: what is there before, what it does, what `reference` reads before and after, what it gives."""

    before: Callable[[], Built]
    run: Callable[[Vault, Path], Any]
    reference: str
    old: Mapping[str, bytes]
    new: Mapping[str, bytes]
    result: object


def _push(vault: Vault, folder: Path) -> str:
    source = folder / "source"
    if not source.exists():
        source.mkdir(parents=True)
        for name, data in SECOND.items():
            (source / name).write_bytes(data)
    return str(vault.push("churn", source))


def _pull(vault: Vault, folder: Path) -> dict[str, bytes]:
    vault.pull("churn@prod", folder / "pulled")
    return pulled(folder)


def pulled(folder: Path) -> dict[str, bytes]:
    """Give the files that lie where a pull writes, hidden ones too."""
    found = (folder / "pulled").rglob("*")
    return {str(path.relative_to(folder / "pulled")): path.read_bytes() for path in found if path.is_file()}


def _promote(vault: Vault, _: Path) -> str:
    return str(vault.promote("churn:2", env="prod").version)


def _load(vault: Vault, _: Path) -> dict[str, list[float]]:
    return {name: array.tolist() for name, array in vault.load_model("churn@prod").items()}


ACTS = {
    "push": Act(one_version, _push, "churn", FIRST, SECOND, "churn:2"),
    "promote": Act(two_versions, _promote, "churn@prod", FIRST, SECOND, "2"),
    "pull": Act(two_versions, _pull, "churn@prod", FIRST, FIRST, FIRST),
    "load_model": Act(two_versions, _load, "churn@prod", FIRST, FIRST, {"w": [1.0]}),
}


class Plug(FaultyStore):
    """A store whose plug is pulled at the operation `index`: that fails as `how` says, and then every one.

    `pulled` is called at that moment, before the operation.
    """

    def __init__(
        self, inner: Store, index: int, how: Fault, pulled: Callable[[], None] | None = None
    ) -> None:
        """Pull the plug of `inner`; without `index` >= 0 it stays in."""
        super().__init__(inner, self._plan, on_operation=self._hook)
        self.index = index
        self.how = how
        self._pulled = pulled

    def put_back(self) -> None:
        """Let everything work again."""
        self.index = 1 << 60

    def _plan(self, operation: Operation) -> Fault | None:
        if self._pulled is not None or operation.index < self.index:
            return None
        return self.how if operation.index == self.index else Fault.BEFORE

    def _hook(self, operation: Operation, phase: str) -> None:
        if self._pulled is not None and phase == "before" and operation.index == self.index:
            self._pulled()


def operations(name: str, folder: Path) -> list[Operation]:
    """Give the operations that an act takes."""
    act = ACTS[name]
    copies = iter(range(1 << 30))

    def run(store: Store) -> object:
        return act.run(client(act.before(), store), folder / f"rehearsal {next(copies)}")

    return every_operation(lambda: MemoryStore(dict(act.before().store.objects)), run)


def pull_and_put_back(
    name: str, store: Store, plug: Plug, folder: Path, put_back: Callable[[], None]
) -> bool:
    """Do an act while the plug is pulled, look at what is left, put it back and do it again.

    `store` is what `plug` passes on to. Returns whether the act failed.
    """
    act = ACTS[name]
    built = act.before()
    vault = client(built, plug, " first")
    folder.mkdir(parents=True)
    failed = None
    try:
        result = act.run(vault, folder)
    except VaultError as error:
        failed = error
    else:
        assert result == act.result
    put_back()
    plug.put_back()
    where = plug.operations[-1]
    if failed is not None:
        assert type(failed) is Unavailable, (failed, where)
        assert failed.exit_status == 7
        assert failed.message
        if name == "pull":
            assert pulled(folder) == {}, where
    left = seen(built, store, act.reference), seen(built, store, "churn@prod")
    assert left[0] in (act.old, act.new), (left, where)
    assert left[1] in (FIRST, SECOND), (left, where)
    assert is_whole(built, store), where
    _again(name, vault, store, folder, failed)
    return failed is not None


def _again(name: str, vault: Vault, store: Store, folder: Path, failed: VaultError | None) -> None:
    """Do it again, as the same client and as another one."""
    act = ACTS[name]
    for number, retried in enumerate((vault, client(act.before(), store, " second"))):
        place = folder if failed is not None and number == 0 else folder / f"again {number}"
        result = act.run(retried, place)
        assert result == act.result or (name == "push" and str(result) in {"churn:3", "churn:4"}), result
        assert seen(act.before(), store, act.reference) == act.new
    assert is_whole(act.before(), store)


@contextmanager
def filled(store: Store, built: Built) -> Iterator[Store]:
    """Put a vault's objects into an empty store."""
    for name, data in built.store.objects.items():
        with store.create(name, size=len(data)) as sink:
            sink.write(data)
    yield store
