"""A state machine of versions, channels, holds, parents, backups, tags and clocks, against a slow oracle.

What is removed, and what is deleted, is exactly what the oracle says; whatever the oracle says is needed
can be loaded at every moment; a number never comes back.
"""

from collections.abc import Collection
from dataclasses import dataclass, field
from typing import Any
from unittest import mock

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from tests import builders
from tests.builders import Built, package_file, reference
from tests.property import retention_oracle
from tests.property.retention_oracle import Channel, Item
from vault.actions import (
    holding,
    labelling,
    publish,
    reclaiming,
    retaining,
    retaining_facts,
    taking_back,
    withdrawing,
)
from vault.actions.publish import Contents
from vault.core import layout, names, removal, retention_plan
from vault.core.manifest import Parent
from vault.core.names import Digest, Model, Version
from vault.core.retention import UNLIMITED, Duration, Rules
from vault.core.retention_plan import ModelRules
from vault.errors import NotFound, VaultError

HOUR, DAY = 3_600, 86_400
MODELS = st.sampled_from(["churn", "nepse/a"])
PICK = st.integers(0, 1_000)
RULES = st.builds(
    Rules,
    last=st.sampled_from([0, 1, 2, UNLIMITED]),
    daily=st.sampled_from([0, 1, 2]),
    monthly=st.sampled_from([0, 2]),
    within=st.sampled_from([None, Duration(days=2), Duration(hours=5)]),
    tags=st.sampled_from([(), (frozenset({"keep"}),)]),
).filter(lambda rules: not rules.empty)
FILES = {"model.json": b'{"n":1}'}
PERMISSION = """
roles:
  owner:
    allow:
      - {actions: [publish], env: [dev]}
      - {actions: [load, pull, withdraw, delete, hold, tag], env: [dev, prod]}
      - {actions: [promote], from: dev, to: prod}
environments:
  dev: {formats: [json]}
  prod: {formats: [json]}
principals:
  owner: {kind: person, roles: [owner]}
"""


@dataclass
class Kept:
    """A version as the oracle knows it; `removed` is when its files may go, `deleted` that they are gone."""

    name: str
    created: int
    parents: tuple[str, ...]
    digest: Digest
    tags: set[str] = field(default_factory=set)
    removed: int | None = None
    asked: str | None = None  # the backup that its removal asks for
    deleted: bool = False

    @property
    def model(self) -> str:
        """Its model."""
        return self.name.partition(":")[0]

    @property
    def number(self) -> int:
        """Its version."""
        return int(self.name.partition(":")[2])


class RetentionMachine(RuleBasedStateMachine):
    """Everything that bears on retention, in any order."""

    def __init__(self) -> None:
        super().__init__()
        self.built: Built = builders.solo(policy=PERMISSION, seed="retention machine")
        self.versions: dict[str, Kept] = {}
        self.slots: dict[str, dict[str, Channel]] = {}  # by model
        self.holds: list[tuple[str, str]] = []  # what is held, and what it means
        self.backed: set[Digest] = set()
        self.steps = 0
        self._patch = mock.patch.object(
            retaining_facts, "covered", lambda _, backups: dict.fromkeys(backups, frozenset(self.backed))
        )
        self._patch.start()

    def teardown(self) -> None:
        """Let receipts of backups be read again."""
        self._patch.stop()

    # --- what the oracle knows ---

    def live(self, model: str = "") -> list[Kept]:
        return [
            one for one in self.versions.values() if one.removed is None and (not model or one.model == model)
        ]

    def pick(self, number: int, among: Collection[Kept]) -> Kept:
        return sorted(among, key=lambda one: one.name)[number % len(among)]

    def needed(self) -> set[str]:
        """Give what channels and holds need, whatever it was made from left out."""
        found: set[str] = set()
        for slots in self.slots.values():
            found |= retention_oracle.in_use(slots)
        return found | {
            one.name
            for one in self.versions.values()
            for what, _ in self.holds
            if what in (one.name, one.model, "*") or (what == "nepse/*" and one.model == "nepse/a")
        }

    def parents(self) -> dict[str, tuple[str, ...]]:
        return {one.name: one.parents for one in self.versions.values()}

    def expected_removed(self, rules: Rules, only: str, backup: str | None) -> set[str]:
        live = {one.name for one in self.live()}
        kept: set[str] = set()
        for model in ("churn", "nepse/a"):
            group = self.live(model)
            items = [Item(one.name, one.created, one.number, frozenset(one.tags)) for one in group]
            if only in ("*", model):
                kept |= retention_oracle.kept(rules, items, self.built.now)
            else:
                kept |= {one.name for one in group}
        kept |= self.needed() & live
        if backup is not None:
            kept |= {one.name for one in self.live() if one.digest not in self.backed}
        kept = retention_oracle.with_ancestors(kept, self.parents()) & live
        for model in ("churn", "nepse/a"):
            group = self.live(model)
            if group and not any(one.name in kept for one in group):
                kept.add(max(group, key=lambda one: (one.created, one.number)).name)
        return live - retention_oracle.with_ancestors(kept, self.parents())

    def expected_deleted(self) -> set[str]:
        needed = self.needed()
        going = {
            one.name
            for one in self.versions.values()
            if one.removed is not None
            and not one.deleted
            and self.built.now >= one.removed
            and one.name not in needed
            and (one.asked is None or one.digest in self.backed)
            and self.live(one.model)
        }
        while True:
            staying = {one.name for one in self.versions.values() if not one.deleted} - going
            stays = retention_oracle.with_ancestors(staying, self.parents()) & going
            if not stays:
                return going
            going -= stays

    # --- what people do ---

    @initialize(
        families=st.lists(st.lists(PICK, max_size=1), min_size=4, max_size=4),
        used=st.lists(PICK, min_size=2, max_size=3),
    )
    def begin(self, families: list[list[int]], used: list[int]) -> None:
        """Begin with a model that has lived: some versions were made from others, some were used."""
        for picks in families:
            self.publish("churn", picks)
            self.wait(DAY)
        for number in used:
            self.promote(number, "main")

    @rule(model=MODELS, picks=st.lists(PICK, max_size=2))
    def publish(self, model: str, picks: list[int]) -> None:
        self.steps += 1
        family = {self.pick(number, self.live()).name for number in picks} if self.live() else set()
        parents = []
        for name in sorted(family):
            found, digest = self.built.manifest(name)
            parents.append(Parent(found.model, found.version, digest, "fine-tuned-from"))
        files = [package_file(path, data) for path, data in FILES.items()]
        contents = Contents(files, {"n": self.steps}, parents=tuple(parents))
        name = str(publish.publish(self.built.session(), names.model(model), None, contents))
        assert name not in self.versions, "a number never comes back"
        digest = self.built.manifest(name)[1]
        self.versions[name] = Kept(name, self.built.now, tuple(sorted(family)), digest)

    @precondition(lambda self: self.live())
    @rule(number=PICK, slot=st.sampled_from(["main", "b"]))
    def promote(self, number: int, slot: str) -> None:
        one = self.pick(number, self.live())
        channel = self.slots.setdefault(one.model, {}).setdefault(slot, Channel())
        done = self.built.promote(one.name, slot=slot)
        if not done.already:
            self.steps += 1
            channel.steps.append((self.steps, "promote", one.name))

    @precondition(lambda self: self.live())
    @rule(number=PICK)
    def withdraw(self, number: int) -> None:
        one = self.pick(number, self.live())
        done = withdrawing.withdraw(self.built.session(), reference(one.name), builders.PROD)
        if not done.already:
            self.steps += 1
            main = self.slots.setdefault(one.model, {}).setdefault("main", Channel())
            main.steps.append((self.steps, "withdraw", one.name))

    @precondition(lambda self: self.live())
    @rule(number=PICK, wide=st.sampled_from([*[""] * 9, "churn", "nepse/*", "*"]))
    def hold(self, number: int, wide: str) -> None:
        what = wide or self.pick(number, self.live()).name
        if what not in [held for held, _ in self.holds]:
            holding.hold(self.built.session(), what, f"case {number}")
            self.holds.append((what, f"case {number}"))

    @precondition(lambda self: self.holds)
    @rule(number=PICK)
    def release(self, number: int) -> None:
        what, _ = self.holds.pop(number % len(self.holds))
        assert len(holding.release(self.built.session(), what, "closed").holds) == 1

    @precondition(lambda self: self.live())
    @rule(number=PICK)
    def tag(self, number: int) -> None:
        one = self.pick(number, self.live())
        labelling.tag(self.built.session(), reference(one.name), ["keep"])
        one.tags.add("keep")

    @rule()
    def back_up(self) -> None:
        self.backed |= {one.digest for one in self.versions.values() if not one.deleted}

    @rule(seconds=st.sampled_from([HOUR, 7 * HOUR, DAY, 8 * DAY, 40 * DAY]))
    def wait(self, seconds: int) -> None:
        self.built.now += seconds

    # --- retention ---

    @precondition(lambda self: self.live())
    @rule(
        rules=st.sampled_from([Rules(last=1)] * 3) | RULES,
        only=st.sampled_from(["*", "*", "*", "churn"]),
        backup=st.sampled_from([*[None] * 5, removal.ANY_BACKUP]),
        grace=st.sampled_from([Duration(), Duration(), Duration(days=7)]),
    )
    def retain(self, rules: Rules, only: str, backup: str | None, grace: Duration) -> None:
        expected = self.expected_removed(rules, only, backup)
        wanted = retaining.Wanted({"*": ModelRules(rules, backup=backup, grace=grace)}, frozenset({only}))
        done = retaining.retain(self.built.session(), wanted)
        assert done.failed == ()
        assert {f"{one.model}:{one.version}" for one in done.removed} == expected
        for decision in done.plan.decisions:
            assert decision.reasons
        for name in expected:
            one = self.versions[name]
            one.removed, one.asked = grace.after(self.built.now), backup

    @precondition(lambda self: self.live())
    @rule(number=PICK, all_of_them=st.booleans())
    def remove_one(self, number: int, all_of_them: bool) -> None:
        """Somebody names one version; it goes unless it is needed, a parent, or the last."""
        one = self.pick(number, self.live())
        others = {other.name for other in self.live()} - {one.name}
        stays = one.name in self.needed() | retention_oracle.with_ancestors(others, self.parents())
        stays = stays or (not all_of_them and len(self.live(one.model)) == 1)
        wanted = retaining.Wanted(named=(reference(one.name),), allow_all=all_of_them)
        done = retaining.retain(self.built.session(), wanted)
        assert len(done.removed) == (0 if stays else 1)
        if not stays:
            one.removed, one.asked = retention_plan.GRACE.after(self.built.now), None

    @rule()
    def reclaim(self) -> None:
        expected = self.expected_deleted()
        done = reclaiming.reclaim(self.built.session())
        assert done.failed == ()
        assert done.kept == ()
        assert {*done.deleted} == expected
        for name in expected:
            self.versions[name].deleted = True

    @precondition(lambda self: any(one.removed is not None for one in self.versions.values()))
    @rule(number=PICK)
    def undo(self, number: int) -> None:
        one = self.pick(number, [one for one in self.versions.values() if one.removed is not None])
        if one.deleted:
            with pytest.raises(NotFound) as caught:
                taking_back.undo(self.built.session(), reference(one.name))
            assert caught.value.code == "removed"
            return
        taking_back.undo(self.built.session(), reference(one.name))
        for name in retention_oracle.with_ancestors([one.name], self.parents()):
            assert not self.versions[name].deleted, "what something that stayed was made from stayed"
            self.versions[name].removed = None

    # --- what holds always ---

    @invariant()
    def what_is_needed_is_there(self) -> None:
        live = {one.name for one in self.live()}
        deleted = {one.name for one in self.versions.values() if one.deleted}  # some of it before it was held
        in_use = {what for slots in self.slots.values() for what in retention_oracle.in_use(slots)}
        staying = live | in_use | (self.needed() - deleted)
        for name in retention_oracle.with_ancestors(staying, self.parents()):
            one = self.versions[name]
            folder = layout.files(Model(one.model), Version(str(one.number)))
            assert any(self.built.store.list(folder)), f"{name} is needed, and its files are gone"

    @invariant()
    def loads_tell_what_was_removed(self) -> None:
        for one in self.versions.values():
            try:
                found: Any = self.built.read(one.name)
            except VaultError as error:
                found = error.code
            assert found == (FILES if one.removed is None else "removed"), one.name
        for model, slots in self.slots.items():
            for slot in slots:
                if retention_oracle.current(slots, slot) is not None:
                    where = f"{model}@prod" if slot == "main" else f"{model}@prod/{slot}"
                    assert self.built.read(where, env="prod") == FILES

    @invariant()
    def nothing_but_payloads_and_keys_ever_goes(self) -> None:
        for one in self.versions.values():
            assert layout.manifest(Model(one.model), Version(str(one.number))) in self.built.store.objects
            folder = layout.sealed(Model(one.model), Version(str(one.number)))
            assert any(self.built.store.list(folder))


def test_retention_does_what_the_oracle_says() -> None:
    run_state_machine_as_test(
        RetentionMachine, settings=settings(max_examples=30, stateful_step_count=30, deadline=None)
    )


@pytest.mark.slow
def test_retention_does_what_the_oracle_says_for_long() -> None:
    run_state_machine_as_test(
        RetentionMachine, settings=settings(max_examples=300, stateful_step_count=50, deadline=None)
    )
