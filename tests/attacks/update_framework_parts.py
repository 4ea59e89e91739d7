"""What the tests named after The Update Framework's scenarios share: the decorator, vaults, ways to forge."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from functools import cache
from typing import TypeVar

from tests.attacks.test_freshness import asking
from tests.attacks.vault_mixing import resigned
from tests.builders import CONTENT, Built, new_identity, solo
from vault.core import envelope, layout, memory_format, names, policy, trust
from vault.core.memory_format import Mark
from vault.core.names import Digest, Principal
from vault.core.trust import Root, RootKey
from vault.errors import VaultError
from vault.keys.identity_file import Identity
from vault.storage.memory import MemoryStore

T = TypeVar("T", bound=Callable[..., object])

# Scenario → the tests here that are named after it; filled when their modules are imported.
TESTED: dict[str, set[str]] = {}
OLD = {"model.json": b'{"w":1}'}
NEW = {"model.json": b'{"w":2}'}
HOLDERS = 10


def scenario(*named: str) -> Callable[[T], T]:
    """Say which scenarios of the suites a test stands for: `FILE::NAME`."""

    def mark(test: T) -> T:
        for name in named:
            TESTED.setdefault(name, set()).add(test.__name__)
        return test

    return mark


def each(test: str, cases: Iterable[str]) -> list[str]:
    """Name the cases of a scenario that has several."""
    return [f"{test}[{case.replace(' ', '-')}]" for case in cases]


# --- vaults whose root is held by chosen people ---


@cache
def person(number: int) -> Identity:
    """Give one of the people who may hold a root."""
    return new_identity(f"p{number}", seed="root holders")


def root_of(
    built: Built, number: int, keys: Iterable[int], threshold: int, *, prev: Digest | None, **change: object
) -> Root:
    """Make a root that these people hold; without `prev` it is a first one."""
    found = Root(
        version=number,
        vault=None if prev is None else built.vault,
        prev=prev,
        created=built.time,
        expires=None,
        threshold=threshold,
        keys=tuple(RootKey(Principal(f"p{entry}"), person(entry).public) for entry in keys),
        nonce=bytes(16),
    )
    return replace(found, **change)  # type: ignore[arg-type]


def signed_by(built: Built, root: Root, sigs: Sequence[int]) -> bytes:
    """Give a root in an envelope that these people signed."""
    return built.sign(trust.KIND, trust.encode(root), *(f"p{entry}" for entry in sigs))


def held_by(
    keys: Sequence[int], threshold: int, sigs: Sequence[int] | None = None, **change: object
) -> Built:
    """Build a vault whose root 1 is held by these people, and whose policy 1 all ten have signed.

    Churn 1 is in prod. No client remembers anything.
    """
    built = solo(seed="root holders")
    built.identities |= {f"p{number}": person(number) for number in range(HOLDERS)}
    root = root_of(built, 1, keys, threshold, prev=None, **change)
    built.vault = envelope.digest(trust.encode(root))
    built.write(layout.root(1), signed_by(built, root, keys if sigs is None else sigs))

    def move(value: dict[str, object]) -> None:
        value.update(vault=built.vault, root={"digest": built.vault, "version": 1})

    everybody = [f"p{number}" for number in range(HOLDERS)]
    built.write(layout.policy(1), resigned(built, layout.policy(1), policy.KIND, move, *everybody))
    return built


def released(built: Built) -> Built:
    """Put churn 1 into prod."""
    built.promote(built.publish(CONTENT))
    built.memories = {}
    return built


@cache
def _attested() -> Built:
    built = solo(seed="update framework")
    built.amend(asking("refuse"))
    for who in ("renewer", "second"):
        built.add(who, "clock", kind=policy.SERVICE, owners=("owner",))
    built.promote(built.publish(OLD))
    return built


def attested() -> Built:
    """Build a vault whose prod wants fresh heads and uses churn 1; no client remembers anything."""
    built = _attested().fork()
    built.memories = {}
    return built


# --- what a client holds and what a store may do ---


def newcomer(built: Built) -> Built:
    """Give a copy of the vault whose clients remember nothing yet, and remember from now on."""
    fork = built.fork()
    fork.memories = {}
    return fork


def remembered(built: Built, what: str, who: str = "owner") -> Mark | None:
    """Give what a client remembers of `root`, `policy`, `heads` or `channel` (churn in prod)."""
    known = built.memory(who).load()
    if what == "heads":
        return known.heads.get(names.environment("prod"))
    if what == "channel":
        key = memory_format.channel_key(names.environment("prod"), names.MAIN, names.model("churn"))
        return known.channels.get(key)
    return known.root if what == "root" else known.policy


def number_of(mark: Mark | None) -> int | None:
    """Give the number of a mark, None for none."""
    return None if mark is None else mark.number


def snapshot(built: Built) -> dict[str, bytes]:
    """Copy every object of the store."""
    return dict(built.store.objects)


def put_back(built: Built, then: dict[str, bytes], *prefixes: str) -> None:
    """Put the objects below these prefixes back to what they were; what came later is gone."""
    now = built.store.objects
    for name in [name for name in now if name.startswith(prefixes)]:
        del now[name]
    now.update({name: data for name, data in then.items() if name.startswith(prefixes)})


def strip(data: bytes, kind: str) -> bytes:
    """Take every signature off a document."""
    return envelope.serialise(replace(envelope.parse(data, kind=kind, subject=kind), signatures=()))


def code_of(call: Callable[[], object]) -> str:
    """Give the code with which a call ends, empty where it succeeds."""
    try:
        call()
    except VaultError as error:
        return error.code
    return ""


class Reads(MemoryStore):
    """A store that notes which objects are read."""

    def __init__(self, built: Built) -> None:
        super().__init__(built.store.objects)
        self.names: list[str] = []

    def read(self, name: str, *, limit: int) -> bytes:
        """Read, and note the name."""
        self.names.append(name)
        return super().read(name, limit=limit)
