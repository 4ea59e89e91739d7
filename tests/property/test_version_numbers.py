"""Versions only go up, and none is ever used twice, whatever is deleted and whoever squats a name."""

import warnings
from contextlib import suppress
from dataclasses import replace
from itertools import islice, pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests import builders, log_vaults
from tests.builders import Built, package_file
from vault.actions import checking, pending, publish
from vault.actions.publish import Contents
from vault.core import layout, names, version_bumps
from vault.core.names import Model, Version
from vault.core.policy import Policy
from vault.errors import Conflict, Malformed, Refused

NOW = 1_795_410_000
CHURN = Model("churn")
DROP = str.maketrans("", "", "-:")

integers = st.integers(1, 10**15 - 2).map(str)
labels = st.lists(
    st.one_of(st.integers(0, 99).map(str), st.text("abcrx-", min_size=1, max_size=4)), min_size=1, max_size=3
).map(".".join)
core = st.tuples(*[st.integers(0, 10**9 - 9)] * 3).map(lambda parts: "{}.{}.{}".format(*parts))
semantic = st.one_of(core, st.builds("{}-{}".format, core, labels))
timestamps = st.integers(0, 253_402_300_000).map(names.time_text).map(lambda text: text.translate(DROP))


def parses(text: str) -> bool:
    try:
        names.version(text)
    except Malformed:
        return False
    return True


@settings(deadline=None, max_examples=300)
@given(
    st.one_of(
        st.tuples(st.just(None), st.lists(integers, max_size=8)),
        st.tuples(st.sampled_from(version_bumps.BUMPS[:4]), st.lists(semantic.filter(parses), max_size=8)),
        st.tuples(st.just("timestamp"), st.lists(st.one_of(integers, core, timestamps), max_size=8)),
    )
)
def test_every_candidate_is_above_all_that_is_known_and_above_the_one_before(
    given_: tuple[str | None, list[str]],
) -> None:
    bump, known = given_
    found: list[Version] = []
    with suppress(ValueError):  # the numbers may have come to their end
        for version in islice(version_bumps.candidates([Version(text) for text in known], bump, NOW), 5):
            found.append(version)
    orders = [names.version_order(version) for version in found]
    assert all(order > names.version_order(text) for order in orders for text in known)
    assert all(earlier < later for earlier, later in pairwise(orders))
    if bump in ("major", "minor", "patch"):
        assert all(order.released for order in orders)


ACTS = st.lists(
    st.one_of(
        st.just("next"),
        st.sampled_from(["delete newest", "delete all", "forget", "squat", "squat folder"]),
        st.integers(1, 12).map(str),
    ),
    min_size=3,
    max_size=14,
)


def deleted(built: Built, version: str) -> None:
    prefix = layout.version(CHURN, names.version(version))
    for name in [name for name in built.store.objects if name.startswith(prefix)]:
        del built.store.objects[name]


@settings(deadline=None, max_examples=25)
@given(ACTS)
def test_no_number_comes_back_while_a_log_or_this_clients_memory_knows_it(acts: list[str]) -> None:
    built = log_vaults.logged("none")
    used: list[str] = []

    def put(version: str | None) -> None:
        ref = built.publish({"model.json": b"[1]"}, version=version, session=log_vaults.client(built))
        assert ref.version is not None
        assert ref.version not in used
        if version is None:
            assert all(int(ref.version) > int(known) for known in used)
        used.append(ref.version)

    for act in acts:
        if act == "next":
            put(None)
        elif act == "delete newest" and used:
            deleted(built, max(used, key=int))
        elif act == "delete all":
            for version in used:
                deleted(built, version)
        elif act == "forget":
            built.memories.clear()
        elif act.startswith("squat"):
            number = max(map(int, used), default=0) + 1
            name = f"{layout.versions(CHURN)}{number}" + ("" if act == "squat" else "/manifest.json")
            built.store.objects[name] = b"garbage"
        elif act.isdecimal():
            if act in used or any(
                name.startswith((f"{layout.versions(CHURN)}{act}/manifest.json",))
                for name in built.store.objects
            ):
                with pytest.raises(Conflict):
                    put(act)
            elif f"{layout.versions(CHURN)}{act}" not in built.store.objects:
                put(act)


def test_a_semantic_version_that_was_deleted_and_forgotten_is_not_taken_again() -> None:
    built = log_vaults.logged("none")
    session = log_vaults.client(built)
    names_of = [publish_bumped(built, bump) for bump in ("minor", "prerelease", "minor", "patch")]
    assert names_of == ["0.1.0", "0.1.1-rc.1", "0.2.0", "0.2.1"]
    for version in names_of[1:]:
        deleted(built, version)
    built.memories.clear()
    assert publish_bumped(built, "patch") == "0.2.2"
    assert publish_bumped(built, "minor") == "0.3.0"
    with pytest.raises(Conflict, match="never reused"):
        built.publish({"model.json": b"[1]"}, version="0.2.0", session=session)
    built.memories.clear()
    with pytest.raises(ValueError, match="semantic versions"):
        publish_bumped(built, None)
    assert publish_bumped(built, "timestamp") == "20261123T050000Z"
    assert publish_bumped(built, "timestamp") == "20261123T050001Z"


def publish_bumped(built: Built, bump: str | None) -> str:
    contents = Contents([package_file("model.json", b"[1]")], {}, bump=bump)
    ref = publish.publish(log_vaults.client(built), CHURN, None, contents)
    return str(ref.version)


def test_a_pre_release_is_checked_and_pending_only_where_somebody_names_it() -> None:
    built = builders.solo()
    built.publish(version="1.0.0")
    built.publish(version="1.1.0-rc.1")
    waiting = pending.pending(built.session(), mine=False)
    assert [wait.version for wait in waiting] == ["1.0.0"]
    report = checking.check(built.session(), names.reference("churn"), data=False)
    assert "churn:1.0.0" in {entry.subject for entry in report.findings}
    assert "churn:1.1.0-rc.1" not in {entry.subject for entry in report.findings}
    built.promote("churn:1.1.0-rc.1")
    assert built.find("churn@prod", env="prod").manifest.version == "1.1.0-rc.1"


def test_a_log_that_cannot_be_read_stops_only_where_the_environment_demands_one() -> None:
    built = log_vaults.logged("none")
    built.publish({"model.json": b"[1]"}, session=log_vaults.client(built))
    commits = [name for name in built.store.objects if name.startswith(log_vaults.DEV_LOG.commits)]
    assert commits
    for name in commits:
        built.store.objects[name] = b"garbage"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        ref = built.publish({"model.json": b"[1]"}, session=log_vaults.client(built))
    assert ref.version == "2"

    def demanding(before: Policy) -> Policy:
        dev = before.environments[builders.DEV]
        asked = replace(dev, require=replace(dev.require, log="unwitnessed"))
        return replace(before, environments={**before.environments, builders.DEV: asked})

    built.amend(demanding)
    with pytest.raises(Refused):
        built.publish({"model.json": b"[1]"}, session=log_vaults.client(built))
