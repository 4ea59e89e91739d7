"""State machines: a vault against a plain dictionary, over an honest store and over a hostile one.

Over the hostile store a load gives exactly the bytes that were promoted or published, no older than what
that client has seen, or raises `VaultError`: never other bytes.
"""

import base64
import json
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import Any, ClassVar

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    rule,
    run_state_machine_as_test,
)

from tests import builders
from tests.builders import Built
from vault.actions import checking
from vault.actions.session import Session
from vault.core import layout, names
from vault.errors import Conflict, NotFound, Refused, VaultError
from vault.memory import ClientMemory
from vault.storage.memory import MemorySink, MemoryStore

MODELS = st.sampled_from(["churn", "nepse/a"])
SLOTS = st.sampled_from(["main", "b"])
FILE = "model.json"


def _kind(name: str) -> tuple[str, str]:
    """Tell objects of one kind: the folder at the top, and the last part without what numbers it."""
    top, last = name.partition("/")[0], name.rpartition("/")[2]
    return top, re.sub("[0-9a-f-]+", "0", last)


def slot_reference(model: str, slot: str) -> str:
    return f"{model}@prod" if slot == "main" else f"{model}@prod/{slot}"


class HonestMachine(RuleBasedStateMachine):
    """Publish, promote, load and check, with a dictionary as the oracle."""

    def __init__(self) -> None:
        super().__init__()
        self.built: Built = builders.solo()
        self.contents: dict[tuple[str, int], bytes] = {}
        self.channels: dict[tuple[str, str], list[int]] = {}
        self.seqs: dict[tuple[str, str], int] = {}
        self.count = 0

    def _last(self, model: str) -> int:
        return max((version for name, version in self.contents if name == model), default=0)

    def _loads(self, ref: str, expected: bytes | None, **options: Any) -> None:
        """Load as a client that remembers and as one that does not; None expects a refusal."""
        for client in (self.built, self.built.fork(forgetful=True)):
            if expected is None:
                with pytest.raises((NotFound, Refused)):
                    client.read(ref, **options)
            else:
                assert client.read(ref, **options) == {FILE: expected}

    @rule(model=MODELS, size=st.integers(0, 2_000))
    def publish(self, model: str, size: int) -> None:
        self.count += 1
        content = b'{"n":%d,"pad":"%s"}' % (self.count, b"x" * size)
        expected = self._last(model) + 1
        assert str(self.built.publish({FILE: content}, model=model)) == f"{model}:{expected}"
        self.contents[model, expected] = content

    @rule(model=MODELS, version=st.integers(1, 4), slot=SLOTS)
    def promote(self, model: str, version: int, slot: str) -> None:
        ref = f"{model}:{version}"
        if (model, version) not in self.contents:
            with pytest.raises(NotFound):
                self.built.promote(ref, slot=slot)
            return
        records = self.channels.setdefault((model, slot), [])
        already = bool(records) and records[-1] == version
        done = self.built.promote(ref, slot=slot)
        assert done.already is already
        if not already:
            records.append(version)
            self.seqs[model, slot] = 1 + max(
                (seq for (other, _), seq in self.seqs.items() if other == model), default=0
            )
        assert done.seq == self.seqs[model, slot]  # numbers run through the slots of a model

    @rule(model=MODELS, version=st.integers(1, 4))
    def publish_a_version_again(self, model: str, version: int) -> None:
        if (model, version) in self.contents:
            with pytest.raises(Conflict):
                self.built.publish({FILE: b"{}"}, model=model, version=str(version))

    @rule(model=MODELS, slot=SLOTS)
    def load_a_channel(self, model: str, slot: str) -> None:
        records = self.channels.get((model, slot))
        self._loads(slot_reference(model, slot), self.contents[model, records[-1]] if records else None)

    @rule(model=MODELS)
    def load_the_newest(self, model: str) -> None:
        self._loads(model, self.contents.get((model, self._last(model))))

    @rule(model=MODELS, version=st.integers(1, 4))
    def load_a_version_in_dev(self, model: str, version: int) -> None:
        self._loads(f"{model}:{version}", self.contents.get((model, version)))

    @rule(model=MODELS, version=st.integers(1, 4))
    def load_a_version_in_prod(self, model: str, version: int) -> None:
        promoted = any(version in found for (name, _), found in self.channels.items() if name == model)
        self._loads(f"{model}:{version}", self.contents[model, version] if promoted else None, env="prod")

    @rule()
    def check(self) -> None:
        report = checking.check(self.built.session(), None, data=True)
        assert report.whole, report.findings
        assert not [entry for entry in report.findings if entry.level != "ok"]
        assert report.versions == len(self.contents)

    @rule(model=MODELS, version=st.integers(1, 4))
    def squat(self, model: str, version: int) -> None:
        """Let a stranger put garbage at a name that is free, and take it away again before others write."""
        records = self.channels.get((model, "main"), [])
        name = f"channels/prod/main/{model}/@/{layout.numbered(len(records) + version)}"
        self.built.store.objects[name] = b"garbage"
        self.load_a_channel(model, "main")
        self.built.store.delete(name)


class WatchedStore(MemoryStore):
    """A store that notes what honest clients create; an attacker writes past it, into `objects`."""

    def __init__(self, objects: dict[str, bytes]) -> None:
        super().__init__(dict(objects))
        self.created: dict[str, list[bytes]] = {name: [data] for name, data in objects.items()}

    @contextmanager
    def create(self, name: str, *, size: int | None = None) -> Iterator[MemorySink]:
        """Create, and note it."""
        with super().create(name, size=size) as sink:
            yield sink
        self.created.setdefault(name, []).append(self.objects[name])


@dataclass
class Client:
    """One client: its memory, and the oracle's own record of what it has seen at least."""

    memory: ClientMemory
    seqs: dict[tuple[str, str], int] = field(default_factory=dict)
    versions: dict[str, int] = field(default_factory=dict)


class HostileMachine(RuleBasedStateMachine):
    """The same verbs while somebody deletes, replays, swaps, alters and squats."""

    def __init__(self) -> None:
        super().__init__()
        self.built: Built = builders.solo()
        self.store = WatchedStore(self.built.store.objects)
        self.foreign = builders.solo(seed="another vault")
        self.clients: list[Client] = []
        self.snapshots: list[dict[str, bytes]] = [dict(self.store.objects)]
        self.contents: dict[tuple[str, int], set[bytes]] = {}
        self.count = 0

    @initialize()
    def begin(self) -> None:
        """Begin with a history: two versions of each model, promoted one after the other, and seen."""
        self.clients = [Client(ClientMemory(self.built.vault, None)) for _ in range(2)]
        self.foreign.promote(self.foreign.publish({FILE: b'{"foreign":1}'}))
        for version in (1, 2):
            for model in ("churn", "nepse/a"):
                self.publish(model)
                self.promote(model, version, "main")
                self.load_a_channel(model, "main", 1)

    # --- the oracle: what honest clients have really written ---

    def _session(self, client: Client | None) -> Session:
        session = self.built.session(store=self.store)
        session.memory = ClientMemory(self.built.vault, None) if client is None else client.memory
        return session

    def _records(self, model: str, slot: str) -> list[tuple[int, int]]:
        """List (seq, version) of every record that was ever signed for a channel."""
        prefix = f"channels/prod/{slot}/{model}/@/"
        found = []
        for name, all_bytes in self.store.created.items():
            if name.startswith(prefix):
                for data in all_bytes:
                    record = json.loads(base64.b64decode(json.loads(data)["payload"]))
                    found.append((record["seq"], int(record["version"])))
        return found

    def _note_snapshot(self) -> None:
        if len(self.snapshots) < 12:
            self.snapshots.append(dict(self.store.objects))

    # --- honest verbs; the first client is the one that writes ---

    @rule(model=MODELS)
    def publish(self, model: str) -> None:
        self.count += 1
        content = b'{"n":%d}' % self.count
        before = set(self.store.created)
        with suppress(VaultError):
            self.built.publish({FILE: content}, model=model, session=self._session(self.clients[0]))
        for name in set(self.store.created) - before:
            found = names.version(name.split("/")[-2]) if name.endswith("/manifest.json") else None
            if found is not None:
                self.contents.setdefault((model, int(found)), set()).add(content)
        self._note_snapshot()

    @rule(model=MODELS, version=st.integers(1, 4), slot=SLOTS)
    def promote(self, model: str, version: int, slot: str) -> None:
        with suppress(VaultError):
            self.built.promote(f"{model}:{version}", slot=slot, session=self._session(self.clients[0]))
        self._note_snapshot()

    # --- loads, as a client that remembers or (None) as a new one ---

    def _read(self, ref: str, client: Client | None) -> bytes | None:
        try:
            found = self.built.read(ref, session=self._session(client))
        except VaultError:
            return None
        assert set(found) == {FILE}
        return found[FILE]

    @rule(model=MODELS, slot=SLOTS, who=st.integers(0, 2))
    def load_a_channel(self, model: str, slot: str, who: int) -> None:
        client = self.clients[who] if who < len(self.clients) else None
        content = self._read(slot_reference(model, slot), client)
        if content is None:
            return
        floor = 0 if client is None else client.seqs.get((model, slot), 0)
        fitting = [
            (seq, version)
            for seq, version in self._records(model, slot)
            if seq >= floor and content in self.contents[model, version]
        ]
        assert fitting, f"{content!r} is not what {slot_reference(model, slot)} may be"
        if client is not None:
            client.seqs[model, slot] = min(fitting)[0]
            client.versions[model] = max(client.versions.get(model, 0), fitting[0][1])

    @rule(model=MODELS, version=st.integers(1, 4), who=st.integers(0, 2))
    def load_a_version(self, model: str, version: int, who: int) -> None:
        client = self.clients[who] if who < len(self.clients) else None
        content = self._read(f"{model}:{version}", client)
        if content is not None:
            assert content in self.contents[model, version]
            if client is not None:
                client.versions[model] = max(client.versions.get(model, 0), version)

    @rule(model=MODELS, who=st.integers(0, 2))
    def load_the_newest(self, model: str, who: int) -> None:
        client = self.clients[who] if who < len(self.clients) else None
        content = self._read(model, client)
        if content is None:
            return
        floor = 0 if client is None else client.versions.get(model, 0)
        fitting = [
            version for (name, version), all_bytes in self.contents.items()
            if name == model and version >= floor and content in all_bytes
        ]  # fmt: skip
        assert fitting, f"{content!r} is not the newest {model}, nor anything newer than was seen"
        if client is not None:
            client.versions[model] = max(floor, *fitting)

    @rule(data=st.booleans())
    def check(self, data: bool) -> None:
        """A check reports, whatever it meets; only broken trust documents end it, as a refusal."""
        with suppress(VaultError):
            checking.check(self._session(None), None, data=data)

    # --- the attacker, who may do anything to the stored bytes but has no key ---

    @rule(draw=st.data(), times=st.integers(1, 3))
    def attack(self, draw: st.DataObject, times: int) -> None:
        """Do something to the store, let everybody load, and sometimes leave it so."""
        for _ in range(times):
            if self.store.objects:
                kind = draw.draw(st.sampled_from(sorted(self.ATTACKS)), "attack")
                self.ATTACKS[kind](self, draw)
        self._everybody_loads(draw)
        if draw.draw(st.booleans(), "heal"):
            self.heal()

    @rule(draw=st.data())
    def roll_back(self, draw: st.DataObject) -> None:
        """Serve an older state, whole or in part, to everybody."""
        draw.draw(st.sampled_from([HostileMachine._serve_an_old_state, HostileMachine._serve_an_old_part]))(
            self, draw
        )
        self._everybody_loads(draw)
        self.heal()

    def _everybody_loads(self, draw: st.DataObject) -> None:
        model = draw.draw(MODELS)
        for who in range(len(self.clients) + 1):
            self.load_a_channel(model, draw.draw(SLOTS), who)
            self.load_the_newest(model, who)
            self.load_a_version(model, draw.draw(st.integers(1, 4), "version"), who)

    def _name(self, draw: st.DataObject, label: str = "object") -> str:
        return draw.draw(st.sampled_from(sorted(self.store.objects)), label)

    def _delete(self, draw: st.DataObject) -> None:
        name = self._name(draw)
        folder = name.rpartition("/")[0] if draw.draw(st.booleans(), "the whole folder") else name
        self.store.objects = {
            other: data for other, data in self.store.objects.items() if not other.startswith(folder)
        }

    def _flip_a_bit(self, draw: st.DataObject) -> None:
        name = self._name(draw)
        data = bytearray(self.store.objects[name])
        if data:
            data[draw.draw(st.integers(0, len(data) - 1), "byte")] ^= 1 << draw.draw(st.integers(0, 7), "bit")
            self.store.objects[name] = bytes(data)

    def _swap(self, draw: st.DataObject) -> None:
        """Swap two objects of one kind, such as two manifests or two payloads."""
        left = self._name(draw, "left")
        alike = [name for name in sorted(self.store.objects) if _kind(name) == _kind(left)]
        right = draw.draw(st.sampled_from(alike), "right")
        objects = self.store.objects
        objects[left], objects[right] = objects[right], objects[left]

    def _serve_an_old_state(self, draw: st.DataObject) -> None:
        self.store.objects = dict(draw.draw(st.sampled_from(self.snapshots), "snapshot"))

    def _serve_an_old_part(self, draw: st.DataObject) -> None:
        part = draw.draw(st.sampled_from(["channels/", "models/churn/", "models/nepse/"]), "part")
        old = draw.draw(st.sampled_from(self.snapshots), "snapshot")
        kept = {name: data for name, data in self.store.objects.items() if not name.startswith(part)}
        self.store.objects = kept | {name: data for name, data in old.items() if name.startswith(part)}

    def _squat_a_channel(self, draw: st.DataObject) -> None:
        """Put garbage, or another genuine record, at one of the next numbers."""
        model, slot = draw.draw(MODELS), draw.draw(SLOTS)
        number = max((seq for seq, _ in self._records(model, slot)), default=0)
        number += draw.draw(st.integers(1, 3), "ahead")
        records = [data for name, data in self.store.objects.items() if name.startswith("channels/")]
        junk = draw.draw(st.sampled_from([b"", b"garbage", *records]), "bytes")
        name = f"channels/prod/{slot}/{model}/@/{layout.numbered(number)}"
        self.store.objects.setdefault(name, junk)

    def _squat_a_version(self, draw: st.DataObject) -> None:
        manifests = [data for name, data in self.store.objects.items() if name.endswith("/manifest.json")]
        junk = draw.draw(st.sampled_from([b"", b"garbage", *manifests]), "bytes")
        name = f"models/{draw.draw(MODELS)}/@/{draw.draw(st.integers(1, 6), 'version')}/manifest.json"
        self.store.objects.setdefault(name, junk)

    def _copy_a_version(self, draw: st.DataObject) -> None:
        """Copy every object of one version over another version, of this model or of the other."""
        old = f"models/{draw.draw(MODELS)}/@/{draw.draw(st.integers(1, 3), 'old')}/"
        new = f"models/{draw.draw(MODELS)}/@/{draw.draw(st.integers(1, 5), 'new')}/"
        for name, data in list(self.store.objects.items()):
            if name.startswith(old):
                self.store.objects[new + name.removeprefix(old)] = data

    def _mix_in_another_vault(self, draw: st.DataObject) -> None:
        part = draw.draw(st.sampled_from(["models/", "channels/", "keys/", "trust/policy/", "trust/root/"]))
        for name, data in self.foreign.store.objects.items():
            if name.startswith(part):
                self.store.objects[name] = data

    ATTACKS: ClassVar[dict[str, Callable[["HostileMachine", st.DataObject], None]]] = {
        "delete": _delete,
        "flip a bit": _flip_a_bit,
        "swap": _swap,
        "serve an old state": _serve_an_old_state,
        "serve an old part": _serve_an_old_part,
        "squat a channel": _squat_a_channel,
        "squat a version": _squat_a_version,
        "copy a version": _copy_a_version,
        "mix in another vault": _mix_in_another_vault,
    }

    def heal(self) -> None:
        """Put back what honest clients have written: then all loads again, as the newest record says."""
        self.store.objects = {name: all_bytes[-1] for name, all_bytes in self.store.created.items()}
        if any(len(set(all_bytes)) > 1 for all_bytes in self.store.created.values()):
            return  # under attack a name was written twice: one of the two is refused by who saw the other
        model = min(self.contents)[0]
        expected = self.contents[model, max(self._records(model, "main"))[1]]
        for client in (*self.clients, None):
            assert self._read(slot_reference(model, "main"), client) in expected

    @invariant()
    def nothing_foreign_is_remembered(self) -> None:
        for client in self.clients:
            assert client.memory.load().vault == self.built.vault


def run(machine: type[RuleBasedStateMachine], examples: int, steps: int) -> None:
    run_state_machine_as_test(
        machine, settings=settings(max_examples=examples, stateful_step_count=steps, deadline=None)
    )


def test_a_vault_over_an_honest_store_behaves_like_a_dictionary() -> None:
    run(HonestMachine, 15, 20)


def test_over_a_hostile_store_a_load_gives_what_may_be_current_or_refuses() -> None:
    run(HostileMachine, 25, 15)


@pytest.mark.slow
def test_over_a_hostile_store_for_a_long_time() -> None:
    run(HostileMachine, 600, 40)


@pytest.mark.slow
def test_over_an_honest_store_for_a_long_time() -> None:
    run(HonestMachine, 300, 60)
