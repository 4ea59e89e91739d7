"""What people of the state machines do: by the vault's verbs, or dishonestly by documents of their own."""

import hashlib
import json
from base64 import b64decode
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import cache
from typing import Any, Final
from unittest.mock import patch

from hypothesis import Phase, settings
from hypothesis.stateful import RuleBasedStateMachine, run_state_machine_as_test

from tests.builders import Built, age_key
from tests.property.team_attacks import Hoard
from tests.property.team_documents import Denied, Use, Verdict
from tests.property.team_oracle import Opinion
from tests.property.team_verdicts import Judge, sealing
from tests.property.team_world import Change, seen, team, went_back
from vault.actions.reading import Package
from vault.actions.session import Session
from vault.core import ed25519, names, policy_document
from vault.core.stages import Verified
from vault.errors import VaultError
from vault.memory import ClientMemory
from vault.storage.memory import MemorySink, MemoryStore

FILE = "model.json"
Refusals = (VaultError, ValueError)


class NotingStore(MemoryStore):
    """A store that notes what is created in it."""

    def __init__(self, objects: dict[str, bytes]) -> None:
        super().__init__(objects)
        self.created: dict[str, bytes] = {}

    @contextmanager
    def create(self, name: str, *, size: int | None = None) -> Iterator[MemorySink]:
        """Create, and note it."""
        with super().create(name, size=size) as sink:
            yield sink
        self.created[name] = self.objects[name]


class Team(RuleBasedStateMachine):
    """A vault, its people with their memories, and the comparison of every load with the oracle's word."""

    honest = True

    def __init__(self) -> None:
        super().__init__()
        self.built: Built = team()
        self.built.forgetful = False
        self.vault = self.built.vault
        self.hoard = Hoard()
        self.contents: dict[str, bytes] = {}  # manifest digest → what was published
        self.keys: dict[str, tuple[bytes, str]] = {}  # key copies and headers → bytes, recipient
        self.payloads: dict[str, bytes] = {}
        self.floors: list[ClientMemory] = [ClientMemory(self.vault, None)]
        self.count = 0
        self.loads = {"allowed": 0, "refused": 0}
        self.note(self.built.store.objects)

    # --- stores and clients ---

    def note(self, created: dict[str, bytes]) -> None:
        """Keep what honest clients made: for replays, and to know which keys and payloads are whole."""
        with suppress(Denied):
            epochs = {
                f"{env}-{epoch['number']}": epoch["recipient"]["digest"]
                for env, rule in Opinion(self.built.store.objects, self.vault).policy["environments"].items()
                for epoch in rule["epochs"]
            }
            for name, data in created.items():
                if name.startswith("keys/") or "/keys/" in name:
                    parts = name.split("/")
                    place = f"{parts[1]}-{parts[3]}" if name.startswith("keys/") else parts[-2]
                    if place in epochs:
                        self.keys[name] = (data, epochs[place])
                elif "/files/" in name:
                    self.payloads[name] = data
        self.hoard.keep(self.built.store.objects)

    @contextmanager
    def acting(self, who: str, env: str = "dev", view: dict[str, bytes] | None = None) -> Iterator[Session]:
        """Let somebody work on the true store, or on another view of it, with their own memory."""
        objects = self.built.store.objects if view is None else view
        store = NotingStore(objects)
        session = self.built.session(who, env=env, store=store)
        before = seen(session.memory.load())
        try:
            with suppress(*Refusals):
                yield session
        finally:
            if view is None:
                self.note(store.created)
            else:
                for name, data in store.created.items():
                    self.hoard.add(name, data)
            assert not went_back(before, seen(session.memory.load()))

    def memory(self, who: str, kind: str) -> ClientMemory:
        """Give the memory of a client that remembers, one that does not, or one that has a trust file."""
        if kind == "remembers":
            return self.built.memory(who)
        floor = self.floors[-1].load() if kind == "floor" else None
        return ClientMemory(self.vault, None, floor=floor)

    # --- loads, compared with the oracle ---

    def load(
        self, ref: str, who: str, env: str, kind: str, view: dict[str, bytes], action: str = "load"
    ) -> None:
        """Load as one client, and hold the outcome against the oracle's."""
        memory = self.memory(who, kind)
        before = seen(memory.load())
        use = self.use(ref, who, env, action)
        expected, judge = self.ask(use, view, before)
        session = self.session(who, env, MemoryStore(view), memory)
        what = f"{action} {ref} in {env} by {who}, who {kind}"
        try:
            verified = self.built.find(ref, action=action, session=session)
        except VaultError as error:
            self.refused(what, expected, error.code, judge)
            return
        finally:
            after = seen(memory.load())
            assert not went_back(before, after), f"{who} forgot {went_back(before, after)}"
        self.loads["allowed"] += 1
        assert isinstance(expected, Verdict), f"{what} means {verified.subject}: the oracle says {expected}"
        assert judge is not None
        assert verified.digest == expected.manifest, f"{what} means {verified.subject}: {expected}"
        assert after.policy is not None
        assert after.policy[2] == judge.opinion.policy_digest
        assert after.versions.get(f"{use.model}:{expected.version}") == expected.manifest
        self.decrypt(what, session, verified, whole=self.is_readable(judge, use, expected))

    def decrypt(self, what: str, session: Session, verified: Verified, *, whole: bool) -> None:
        """Read what may be used: what was published, or, if keys or payloads are not whole, nothing."""
        try:
            package = Package(session, verified)
            entry = package.opened.sealed.verified.manifest.file(FILE)
            assert entry is not None
            data, _ = package.read(entry)
        except VaultError:
            if whole:
                raise  # all is there
            return
        assert bytes(data) == self.contents[verified.digest], f"{what} gave {bytes(data)!r}"

    def session(self, who: str, env: str, store: MemoryStore, memory: ClientMemory) -> Session:
        found = self.built.session(who, env=env, store=store)
        found.memory = memory
        return found

    def use(self, ref: str, who: str, env: str, action: str) -> Use:
        """Say what is asked for, as the oracle takes it."""
        meant = names.reference(ref)
        slot = None if meant.environment is None else meant.slot or ""
        return Use(
            self.built.identities[who].key_id,
            action,
            meant.environment or env,
            meant.model,
            slot,
            meant.version,
        )

    def ask(self, use: Use, view: dict[str, bytes], before: Any) -> tuple[Verdict | Denied, Judge | None]:
        """Ask the oracle."""
        judge: Judge | None = None
        try:
            judge = Judge(view, self.vault, before, self.built.now)
            return judge.decide(use), judge
        except Denied as denied:
            return denied, judge

    def refused(self, what: str, expected: Verdict | Denied, code: str, judge: Judge | None) -> None:
        """Demand that a refusal is right, and has the right code where nobody tampers."""
        self.loads["refused"] += 1
        withheld = judge is not None and bool(judge.opinion.withheld)
        if isinstance(expected, Denied):
            fits = not self.honest or withheld or code in expected.codes
            assert fits, f"{what} ended with {code}: the oracle says {expected}"
        else:
            assert withheld, f"{what} ended with {code}: the oracle allows {expected}"

    def is_readable(self, judge: Judge, use: Use, expected: Verdict) -> bool:
        """Tell whether all that is decrypted lies there as it was made, with keys for this reader."""
        mine = judge.opinion
        assert expected.manifest is not None
        assert expected.version is not None
        sealed = sealing(mine, use.model, expected.version, expected.manifest, expected.publishers)
        who = mine.holder(use.key_id)
        identity = next(one for one in self.built.identities.values() if one.key_id == use.key_id)
        mark = hashlib.sha256(age_key(identity).encode()).hexdigest()[:16]
        base = f"models/{use.model}/@/{expected.version}"
        return sealed is not None and all(
            self._is_whole(judge, f"{base}/files/{file['id']}")
            and any(
                self._has(judge, f"keys/{use.env}/all/{epoch['number']}/{who}/{mark}-", epoch)
                and self._has(judge, f"{base}/keys/{use.env}-{epoch['number']}/{file['id']}-", epoch)
                for epoch in mine.policy["environments"][use.env]["epochs"]
            )
            for file in sealed["files"]
        )

    def _is_whole(self, judge: Judge, name: str) -> bool:
        return name in self.payloads and judge.objects.get(name) == self.payloads[name]

    def _has(self, judge: Judge, start: str, epoch: dict[str, Any]) -> bool:
        recipient = epoch["recipient"]["digest"]
        return any(
            name.startswith(start) and self.keys.get(name) == (data, recipient)
            for name, data in judge.objects.items()
        )

    # --- acts ---

    def amend(self, change: Change) -> None:
        """Let the root's holder sign the next policy."""
        with suppress(*Refusals):
            self.built.amend(change)
        self.note({})

    def publish(self, model: str, who: str) -> None:
        """Publish something that nobody has published before."""
        self.count += 1
        content = b'{"n":%d}' % self.count
        with self.acting(who) as session:
            self.learn(str(self.built.publish({FILE: content}, model=model, session=session)), content)

    def learn(self, ref: str, content: bytes) -> None:
        """Remember what a manifest binds."""
        meant = names.reference(ref)
        data = self.built.store.objects[f"models/{meant.model}/@/{meant.version}/manifest.json"]
        payload = b64decode(json.loads(data)["payload"])
        self.contents[hashlib.sha256(payload).hexdigest()] = content

    def promote(
        self, model: str, version: int, env: str, slot: str, who: str, view: dict[str, bytes] | None = None
    ) -> None:
        """Promote, and hold the outcome against the oracle's."""
        objects = self.built.store.objects if view is None else view
        before = seen(self.built.memory(who).load())
        use = Use(self.built.identities[who].key_id, "promote", env, model, version=str(version))
        expected: Verdict | Denied
        judge: Judge | None = None
        try:
            judge = Judge(dict(objects), self.vault, before, self.built.now)
            expected = judge.promote(use, slot)
        except Denied as denied:
            expected = denied
        done, code = False, ""
        with self.acting(who, view=view) as session:
            try:
                self.built.promote(f"{model}:{version}", env=env, slot=slot, session=session)
                done = True
            except VaultError as error:
                code = error.code
        what = f"{who} promoted {model}:{version} to {env}/{slot}"
        assert not (done and isinstance(expected, Denied)), f"{what}: the oracle says {expected}"
        if isinstance(expected, Verdict) and not done and self.honest:
            assert code in ("no-usable-key", "not-found"), f"{what}: {code}"  # keys that nobody gave them
        if isinstance(expected, Denied) and self.honest:
            assert code in expected.codes, f"{what}: {code}, the oracle says {expected}"


SHORT: Final[dict[str, Any]] = {"derandomize": True, "database": None, "phases": (Phase.generate,)}


def run(machine: type[Team], examples: int, steps: int, **options: Any) -> None:
    """Run a machine; what depends on nothing but its bytes is worked out once, however many clients ask."""
    with (
        patch.object(policy_document, "parse", cache(policy_document.parse)),
        patch.object(ed25519, "verify", cache(ed25519.verify)),
    ):
        run_state_machine_as_test(
            machine,
            settings=settings(max_examples=examples, stateful_step_count=steps, deadline=None, **options),
        )
