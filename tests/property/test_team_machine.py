"""State machines: a team at work over an honest and a hostile store, every load held against a slow oracle.

The oracle (`team_oracle`, `team_verdicts`) reads docs/format.md anew and shares no decision with the vault.
Whatever the store offers, a load, pull or promotion gives exactly what the policy in force allows, and what
is allowed is never refused as long as its keys and payloads are whole; no client's memory ever goes back.
"""

from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import initialize, invariant, rule

from tests.property import team_world as world
from tests.property.team_acts import FILE, SHORT, Refusals, Team, run
from tests.property.team_attacks import ATTACKS
from tests.property.team_documents import Denied
from tests.property.team_forgeries import raw_documents
from tests.property.team_oracle import Opinion
from tests.property.team_world import ENVIRONMENTS, EVERYBODY, MODELS, SLOTS
from vault.actions import access_rotate, access_sync, adopting, approving, promote, renewing, withdrawing
from vault.core import envelope, manifest, names, records
from vault.core.names import Digest
from vault.core.policy import ChannelHead

DAY = 86_400
WHO = st.sampled_from(EVERYBODY)
MODEL = st.sampled_from(("churn", "churn", "nepse/a"))
SLOT = st.sampled_from(("main", "main", "b"))
ENV = st.sampled_from(("prod", "prod", "staging", "dev"))
VERSION = st.integers(1, 4)
VOTES = st.lists(
    st.tuples(
        st.sampled_from(("ann", "ann", "bob", "bob", "cat", "cat", "rex", "robot", "dora")),
        st.sampled_from((0, 0, 1, 2, 3, 5, 9)),
        st.sampled_from(("prod",) * 5 + ("staging",)),
    ),
    max_size=4,
)
CLIENT = st.sampled_from(("remembers", "remembers", "forgets", "floor"))


def reference(model: str, env: str, slot: str) -> str:
    return f"{model}@{env}" if slot == "main" else f"{model}@{env}/{slot}"


class HonestTeam(Team):
    """Everybody keeps to the vault's own verbs, over a store that gives what was put into it."""

    @initialize()
    def begin(self) -> None:
        """Begin with two versions by two publishers, of which the first is in prod."""
        self.publish("churn", "dora")
        self.publish("churn", "robot")
        self.release("churn", 1, "main")

    def release(self, model: str, version: int, slot: str) -> None:
        for who in ("ann", "bob", "cat"):
            self.approve(model, version, "prod", who)
        self.promote(model, version, "prod", slot, "rex")

    def approve(self, model: str, version: int, env: str, who: str) -> None:
        with self.acting(who) as session:
            approving.approve(session, names.reference(f"{model}:{version}"), names.environment(env))

    # --- verbs ---

    @rule(model=MODEL, who=st.sampled_from(("owner", "dora", "cat", "robot")))
    def somebody_publishes(self, model: str, who: str) -> None:
        self.publish(model, who)

    @rule(model=MODEL, version=VERSION, env=st.sampled_from(("prod", "prod", "staging")), who=WHO)
    def somebody_approves(self, model: str, version: int, env: str, who: str) -> None:
        self.approve(model, version, env, who)

    @rule(model=MODEL, version=VERSION, slot=SLOT)
    def the_team_releases(self, model: str, version: int, slot: str) -> None:
        self.release(model, version, slot)

    @rule(
        model=MODEL, version=VERSION, env=ENV, slot=SLOT, who=st.sampled_from(("rex", "rex", "ann", "owner"))
    )
    def somebody_promotes(self, model: str, version: int, env: str, slot: str, who: str) -> None:
        self.promote(model, version, env, slot, who)

    @rule(
        model=MODEL, version=VERSION, env=ENV, who=st.sampled_from(("owner", "ann", "rex")),
        other=st.none() | VERSION, slot=st.none() | SLOT,
    )  # fmt: skip
    def somebody_withdraws(
        self, model: str, version: int, env: str, who: str, other: int | None, slot: str | None
    ) -> None:
        done = False
        with self.acting(who) as session:
            withdrawing.withdraw(
                session, names.reference(f"{model}:{version}"), names.environment(env),
                None if slot is None else names.slot(slot),
                None if other is None else names.version(str(other)),
            )  # fmt: skip
            done = True
        if done:
            with suppress(Denied, *Refusals):
                digest = self.built.manifest(f"{model}:{version}")[1]
                mine = Opinion(self.built.store.objects, self.vault)
                uses = [mine.channel(env, place, model) for place in SLOTS]
                held = [
                    at for _, at, barred in uses if at is not None and at.manifest == digest and not barred
                ]
                assert not held, f"{who} withdrew {model}:{version} from {env}, and {held} stands"

    @rule(model=MODEL, env=ENV, slot=SLOT, to=st.none() | VERSION)
    def somebody_goes_back(self, model: str, env: str, slot: str, to: int | None) -> None:
        with self.acting("rex") as session:
            promote.rollback(
                session, names.model(model), names.environment(env), names.slot(slot),
                None if to is None else names.version(str(to)),
            )  # fmt: skip

    @rule(model=MODEL, version=VERSION, who=st.sampled_from(("eve", "eve", "owner", "ann")))
    def somebody_adopts(self, model: str, version: int, who: str) -> None:
        with self.acting(who) as session:
            adopting.adopt(session, names.reference(f"{model}:{version}"))

    @rule(env=st.sampled_from(ENVIRONMENTS))
    def heads_are_renewed(self, env: str) -> None:
        with self.acting("clock") as session, TemporaryDirectory() as drafts:
            renewing.renew(session, [names.environment(env)], folder=Path(drafts))

    # --- the policy ---

    @rule(change=world.changes())
    def the_policy_changes(self, change: world.Change) -> None:
        self.amend(change)

    @rule(who=st.sampled_from(EVERYBODY[1:]))
    def a_key_is_replaced(self, who: str) -> None:
        self.count += 1
        self.amend(world.replacement(self.built, who, self.count))

    @rule(days=st.sampled_from((None, None, 3, 60)))
    def the_policy_is_to_expire(self, days: int | None) -> None:
        self.amend(world.expires(None if days is None else names.time_text(self.built.now + days * DAY)))

    @rule(continues=st.sampled_from(("none", "nothing", "all", "all", "main")))
    def an_era_begins(self, continues: str) -> None:
        """Begin an era that continues from everything, from some channels, or from nothing that is named."""
        found: dict[str, ChannelHead] | None = {}
        with suppress(Denied):
            mine = Opinion(self.built.store.objects, self.vault)
            for env in ENVIRONMENTS:
                for slot in SLOTS if continues == "all" else SLOTS[:1]:
                    for model in MODELS:
                        with suppress(Denied):
                            head = mine.channel(env, slot, model)[0]
                            if head is not None and found is not None:
                                found[f"{env}/{slot}/{model}"] = ChannelHead(head.seq, Digest(head.digest))
        self.amend(world.new_era({"none": None, "nothing": {}}.get(continues, found)))

    @rule()
    def keys_are_given_to_readers(self) -> None:
        with self.acting("owner") as session:
            access_sync.sync(session)

    @rule(env=st.sampled_from(ENVIRONMENTS), deep=st.booleans())
    def an_environment_gets_a_new_key(self, env: str, deep: bool) -> None:
        with self.acting("owner") as session:
            access_rotate.rotate(session, names.environment(env), deep=deep, threads=1)

    @rule(days=st.sampled_from((1, 4, 9)))
    def time_passes(self, days: int) -> None:
        self.built.now += days * DAY

    # --- clients ---

    @rule(who=WHO)
    def a_trust_file_is_exported(self, who: str) -> None:
        self.floors.append(self.built.fork().memory(who))

    @rule(data=st.data())
    def somebody_loads(self, data: st.DataObject) -> None:
        self.one_load(data, self.built.store.objects)

    def one_load(self, data: st.DataObject, view: dict[str, bytes]) -> None:
        """Load by a channel, a version or a bare name, as one of the clients."""
        model, env, slot = data.draw(MODEL, "model"), data.draw(ENV, "env"), data.draw(SLOT, "slot")
        who = data.draw(st.sampled_from(READERS[env]), "who")
        kind, action = (
            data.draw(CLIENT, "client"),
            data.draw(st.sampled_from(("load", "load", "pull")), "action"),
        )
        what = data.draw(st.sampled_from(("channel", "channel", "version", "newest")), "by")
        ref = {"channel": reference(model, env, slot), "newest": model}.get(what)
        meant = ref or f"{model}:{data.draw(VERSION, 'version')}"
        self.load(meant, who, "dev" if what == "newest" else env, kind, view, action)

    @invariant()
    def everybody_gets_what_is_allowed(self) -> None:
        """Load what matters most after every step, as a client that remembers and one that does not."""
        for kind in ("remembers", "forgets"):
            self.load("churn@prod", "server", "prod", kind, self.built.store.objects)


READERS = {
    "prod": ("server", "server", "owner", "eve", "rex", "ann", "dora"),
    "staging": ("owner", "dora", "rex", "ann", "server"),
    "dev": ("owner", "dora", "rex", "eve", "robot", "server"),
}


class HostileTeam(HonestTeam):
    """Some sign what they may not, and the store gives whatever was ever put into it, and what never was."""

    honest = False

    @rule(data=st.data(), times=st.integers(1, 3))
    def somebody_signs_by_hand(self, data: st.DataObject, times: int) -> None:
        for _ in range(times):
            raw_documents(self, data)

    @rule(version=VERSION, slot=SLOT, who=st.sampled_from(("rex", "rex", "rex", "ann", "cat")), votes=VOTES)
    def a_release_is_pushed_through(
        self, version: int, slot: str, who: str, votes: list[tuple[str, int, str]]
    ) -> None:
        """Approve and promote by hand: one's own work, twice, by a service, for elsewhere, or not at all."""
        ref = f"churn:{version}"
        if self.is_published(ref):
            for voter, seq, env in votes:
                self.vote(ref, voter, seq, env)
            self.built.write_record(self.built.record(ref, self.next_number(), slot=slot), who)
            self.look_at(ref, slot)

    @rule(version=VERSION, slot=SLOT, who=st.sampled_from(("ann", "rex", "owner", "dora")))
    def a_version_is_barred(self, version: int, slot: str, who: str) -> None:
        """Withdraw by hand, in whatever slot."""
        ref = f"churn:{version}"
        if self.is_published(ref):
            self.built.write_record(self.built.record(None, self.next_number(), slot=slot, bars=(ref,)), who)
            self.look_at(ref, slot)

    def is_published(self, ref: str) -> bool:
        with suppress(KeyError, *Refusals):
            return bool(self.built.manifest(ref) and self.built.policy)
        return False

    def vote(self, ref: str, voter: str, seq: int, env: str) -> None:
        """Approve, for this environment or for another one whose approval is put here."""
        self.built.approve(ref, voter, env=env, seq=seq)
        folder = f"models/{ref.replace(':', '/@/')}/approvals/staging/"
        for name in [name for name in self.built.store.objects if name.startswith(folder)]:
            moved = name.replace("/approvals/staging/", "/approvals/prod/")
            self.built.write(moved, self.built.store.objects[name])

    def next_number(self) -> int:
        """Give the number after all that lie in any slot of prod."""
        told = [
            int(name.rpartition("/")[2][:-5])
            for name in self.built.store.objects
            if name.startswith("channels/prod/") and "/churn/@/" in name
        ]
        return max([0, *told]) + 1

    def look_at(self, ref: str, slot: str) -> None:
        """Load a version by its channel, by its number and by the main channel."""
        self.note({})
        for by in (reference("churn", "prod", slot), ref, "churn@prod"):
            self.load(by, "server", "prod", "forgets", self.built.store.objects)

    @rule(data=st.data(), model=MODEL)
    def two_publish_together(self, data: st.DataObject, model: str) -> None:
        """Publish for two publishers, of whom both or only one signs; the store keeps both lists."""
        who, other = data.draw(st.permutations(("owner", "dora", "cat", "robot")), "publishers")[:2]
        self.count += 1
        content = b'{"n":%d}' % self.count
        with self.acting(who) as session:
            ref = self.built.publish({FILE: content}, model=model, session=session)
            self.claim(str(ref), who, other, both=data.draw(st.booleans(), "both sign"))
            self.learn(str(ref), content)

    def claim(self, ref: str, who: str, other: str, *, both: bool) -> None:
        """Make a manifest, and its sealing record, those of two publishers."""
        built = self.built
        found, _ = built.manifest(ref)
        base = f"models/{found.model}/@/{found.version}"
        publishers = sorted(Digest(built.identities[name].key_id) for name in (who, other))
        payload = manifest.encode(replace(found, publishers=tuple(publishers)))
        alone = built.sign(manifest.KIND, payload, who)
        together = built.sign(manifest.KIND, payload, who, other)
        for data in (alone, together):
            self.hoard.add(f"{base}/manifest.json", data)
        built.write(f"{base}/manifest.json", together if both else alone)
        sealed = envelope.parse(
            built.store.objects[f"{base}/sealed/000001.json"], kind="sealing", subject="it"
        )
        record = replace(
            records.parse_sealing(sealed.payload, "it"), manifest=Digest(envelope.digest(payload))
        )
        built.write(f"{base}/sealed/000001.json", built.sign("sealing", records.encode_sealing(record), who))

    @rule(
        data=st.data(),
        attacks=st.lists(st.sampled_from(sorted(ATTACKS)), min_size=1, max_size=4),
        stay=st.integers(0, 3),
    )
    def the_store_is_attacked(self, data: st.DataObject, attacks: list[str], stay: int) -> None:
        """Serve something else than was stored, and see what everybody makes of it; sometimes leave it so."""
        view = dict(self.built.store.objects)
        for name in attacks:
            if view:
                ATTACKS[name](data, view, self.hoard)
        self.load("churn@prod", "server", "prod", "remembers", view)
        self.load("churn@prod", "server", "prod", "forgets", view)
        for _ in range(data.draw(st.integers(1, 3), "loads")):
            self.one_load(data, view)
        if data.draw(st.booleans(), "promote"):
            self.promote(
                data.draw(MODEL, "model"), data.draw(VERSION, "version"), data.draw(ENV, "env"),
                data.draw(SLOT, "slot"), "rex", view,
            )  # fmt: skip
        if stay == 0:
            self.built.store.objects.clear()
            self.built.store.objects.update(view)

    @rule(data=st.data())
    def history_forks(self, data: st.DataObject) -> None:
        """Go back to an older state, from which everybody goes on; the other history is not lost."""
        state = data.draw(st.sampled_from(self.hoard.states), "state")
        self.built.store.objects.clear()
        self.built.store.objects.update(state)


def test_over_an_honest_store_a_team_loads_exactly_what_its_policy_allows() -> None:
    run(HonestTeam, 6, 15, **SHORT)


def test_over_a_hostile_store_nothing_loads_that_the_policy_does_not_allow() -> None:
    run(HostileTeam, 10, 15, **SHORT)


@pytest.mark.slow
def test_over_an_honest_store_for_a_long_time() -> None:
    run(HonestTeam, 300, 60)


@pytest.mark.slow
def test_over_a_hostile_store_for_a_long_time() -> None:
    run(HostileTeam, 500, 60)
