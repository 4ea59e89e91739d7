"""The Update Framework's scenarios of rollback, of fast-forward and its recovery, and of mix-and-match.

What one client has seen is compared each time with what a newcomer sees, who has the pin alone.
"""

from collections.abc import Callable
from dataclasses import replace
from functools import cache
from pathlib import Path

import pytest

from tests.attacks.test_freshness import forge, renew, statement
from tests.attacks.update_framework_parts import (
    NEW,
    OLD,
    attested,
    code_of,
    each,
    newcomer,
    number_of,
    put_back,
    remembered,
    scenario,
    snapshot,
    strip,
)
from tests.attacks.vault_mixing import outcome, resigned, revoked
from tests.builders import NOW, Built
from tests.e2e.drafting_parts import SOLO
from tests.e2e.team_parts import as_
from vault.core import envelope, layout, limits, names, records
from vault.core.memory_format import Mark

TOP = "python-tuf/top_level::"
SET = "python-tuf/trusted_set::"
CHANNEL = "channels/prod/main/churn/@/"
HEADS = "trust/heads/prod/"
THIRD = {"model.json": b'{"w":3}'}


def grown() -> tuple[Built, dict[str, bytes]]:
    """Give a vault whose policy, heads and channel went one further, and its objects from before that."""
    built, before = _grown()
    return built.fork(), dict(before)


@cache
def _grown() -> tuple[Built, dict[str, bytes]]:
    built = attested()
    renew(built)
    before = snapshot(built)
    built.amend(lambda policy: policy)
    built.promote(built.publish(NEW))
    renew(built)
    built.memories = {}
    assert outcome(built, "churn@prod") == NEW
    return built, before


# --- rollback ---


@pytest.mark.parametrize(
    ("what", "prefix", "new"),
    [
        (
            "policy",
            "trust/policy/",
            "withheld",
        ),  # the record that lies there names a policy that is not served
        ("heads", HEADS, NEW),
        ("channel", CHANNEL, "rollback"),  # the heads tell even who knows nothing
    ],
)
@scenario(
    "rollback::test_new_timestamp_version_rollback",
    *each("rollback::test_snapshot_rollback", ["basic", "with hashes"]),
    *each("rollback::test_targets_rollback", ["basic", "with hashes"]),
    TOP + "test_new_timestamp_version_rollback",
    TOP + "test_new_timestamp_snapshot_rollback",
    TOP + "test_new_snapshot_version_rollback",
    TOP + "test_snapshot_rollback_with_local_snapshot_hash_mismatch",
    SET + "test_update_timestamp_new_timestamp_ver_below_trusted_ver",
    SET + "test_update_timestamp_snapshot_ver_below_current",
    SET + "test_update_snapshot_meta_version_decreases",
    "python-tuf::test_replay_attack",
)
def test_rollback(what: str, prefix: str, new: object) -> None:
    """One role put back to what it was; each mark pins a digest, so "with hashes" is no other case."""
    built, before = grown()
    marks = [remembered(built, entry) for entry in ("policy", "heads", "channel")]
    put_back(built, before, prefix)
    assert outcome(built, "churn@prod") == "rollback"
    assert outcome(newcomer(built), "churn@prod") == new
    assert [remembered(built, entry) for entry in ("policy", "heads", "channel")] == marks, what


def test_everything_put_back_is_a_rollback_to_who_has_seen_more() -> None:
    built, before = grown()
    after = snapshot(built)
    put_back(built, before, "")
    assert outcome(built, "churn@prod") == "rollback"
    assert outcome(newcomer(built), "churn@prod") == OLD  # for as long as those heads are valid
    put_back(built, after, "")
    assert outcome(built, "churn@prod") == NEW


@scenario("rollback::test_simple_snapshot_rollback")
def test_simple_snapshot_rollback() -> None:
    """The update framework does not ask for what it holds; here every load looks, and refuses."""
    built, before = grown()
    number = layout.numbered(2)
    built.write(CHANNEL + number, before[CHANNEL + layout.numbered(1)])  # record 1, called 2
    assert outcome(built, "churn@prod") == "rollback"
    assert number_of(remembered(built, "channel")) == 2


@scenario(
    "basic::test_timestamp_content_changes",
    "basic::test_timestamp_eq_versions_check",
    "basic::test_new_targets_version_mismatch",
)
@pytest.mark.parametrize("what", ["policy", "heads", "channel"])
def test_other_content_under_the_same_number(what: str) -> None:
    """The update framework keeps the timestamp that it has and goes on; two of one number are refused here.

    Numbers are given once, so two mean that a key signed what its holder would not: better told than hidden.
    """
    built, _ = grown()
    name, kind, who = {
        "policy": (layout.policy(built.policy.version), "policy", "owner"),
        "heads": (HEADS + layout.numbered(2), "heads", "renewer"),
        "channel": (CHANNEL + layout.numbered(2), "channel", "owner"),
    }[what]
    mark = remembered(built, what)
    genuine = built.store.objects[name]
    later = names.time_text(NOW + 1)
    built.write(name, resigned(built, name, kind, lambda doc: doc.update(created=later), who))
    assert outcome(built, "churn@prod") == "rollback"
    assert remembered(built, what) == mark
    built.write(name, genuine)
    assert outcome(built, "churn@prod") == NEW


@pytest.mark.parametrize("what", ["policy", "heads", "channel", "approval", "sealing", "manifest"])
@scenario(
    "basic::test_url_and_metadata_version_mismatch[snapshot]",
    "basic::test_url_and_metadata_version_mismatch[targets]",
    "rollback::test_new_snapshot_version_mismatch",
    TOP + "test_new_snapshot_version_mismatch",
    TOP + "test_new_targets_version_mismatch",
    SET + "test_update_snapshot_version_diverge_timestamp_snapshot_version",
    SET + "test_update_targets_version_diverge_snapshot_meta_version",
)
def test_a_document_under_a_name_that_is_not_its_own(what: str) -> None:
    """Numbers are signed inside, so a genuine document moved up to the next name is absent there."""
    built, _ = grown()
    as_(built, "owner").approve("churn:2", env="prod")
    approval = next(name for name in built.store.objects if "/approvals/" in name)
    moved = {
        "policy": (layout.policy(built.policy.version), layout.policy(built.policy.version + 1)),
        "heads": (HEADS + layout.numbered(2), HEADS + layout.numbered(3)),
        "channel": (CHANNEL + layout.numbered(2), CHANNEL + layout.numbered(3)),
        "approval": (approval, approval.replace("churn/@/2", "churn/@/1")),
        "sealing": ("models/churn/@/2/sealed/000001.json", "models/churn/@/2/sealed/000002.json"),
        "manifest": ("models/churn/@/2/manifest.json", "models/churn/@/3/manifest.json"),
    }[what]
    built.write(moved[1], built.store.objects[moved[0]])
    for client in (built, newcomer(built)):
        assert outcome(client, "churn@prod") == NEW
    if what == "manifest":
        assert outcome(built, "churn:3", env="prod") == "misplaced"


# --- what is missing, and what does not fit what points to it ---


@scenario("basic::test_timestamp_404")
def test_timestamp_404() -> None:
    built, _ = grown()
    put_back(built, {}, HEADS)
    assert outcome(built, "churn@prod") == "rollback"
    assert outcome(newcomer(built), "churn@prod") == "heads-expired"


@scenario("basic::test_snapshot_404", SET + "test_update_snapshot_file_removed_from_meta")
def test_snapshot_404() -> None:
    """The heads name a record that is not there; they are kept, so taking them back as well is noticed."""
    built, before = grown()
    client = newcomer(built)
    del client.store.objects[CHANNEL + layout.numbered(2)]
    assert outcome(client, "churn@prod") == "rollback"
    assert number_of(remembered(client, "heads")) == 2
    put_back(client, before, HEADS, CHANNEL)
    assert outcome(client, "churn@prod") == "rollback"


@pytest.mark.parametrize(
    ("how", "code"),
    [("gone", "not-found"), ("altered", "bad-signature"), ("another's", "digest-mismatch")],
)
@scenario(
    "basic::test_targets_404",
    "basic::test_basic_metadata_hash_support",
    "basic::test_new_targets_hash_mismatch",
    TOP + "test_new_targets_hash_mismatch",
    TOP + "test_new_snapshot_hash_mismatch",
    SET + "test_update_snapshot_length_or_hash_mismatch",
    SET + "test_update_targets_hash_diverge_from_snapshot_meta_hash",
    SET + "test_update_targets_no_meta_in_snapshot",
)
def test_a_record_that_was_seen_is_remembered_whatever_became_of_what_it_names(how: str, code: str) -> None:
    """Else a store could break the newest version for a moment, and have the older record taken then."""
    built, before = grown()
    client = newcomer(built)
    name = "models/churn/@/2/manifest.json"
    genuine = client.store.objects.pop(name)
    if how == "altered":
        sealed = envelope.parse(genuine, kind="manifest", subject="")
        changed = replace(sealed, payload=sealed.payload.replace(b'"public":false', b'"public":true'))
        client.write(name, envelope.serialise(changed))
    elif how == "another's":
        client.write(name, client.store.objects["models/churn/@/1/manifest.json"])
    assert outcome(client, "churn@prod") == code
    assert number_of(remembered(client, "channel")) == 2
    whole = snapshot(client) | {name: genuine}
    put_back(client, before, HEADS, CHANNEL)
    assert outcome(client, "churn@prod") == "rollback"
    put_back(client, whole, "")
    assert outcome(client, "churn@prod") == NEW


@pytest.mark.parametrize(
    ("what", "known", "new"),
    [
        ("heads", "rollback", "heads-expired"),
        ("channel", "rollback", "rollback"),
        ("manifest", "unsigned", "unsigned"),
    ],
)
@scenario(
    *each("basic::test_unsigned_metadata", ["timestamp", "snapshot", "targets"]),
    TOP + "test_new_timestamp_unsigned",
    TOP + "test_new_snapshot_unsigned",
    TOP + "test_new_targets_unsigned",
    SET + "test_update_snapshot_fail_threshold_verification",
    SET + "test_top_level_md_with_invalid_json",
    "python-tuf/graphs::test_invalid_metadata[unsigned-delegated-role]",
)
def test_unsigned_metadata(what: str, known: str, new: str) -> None:
    """What counts by its number is absent without a signature; what a record names by digest is refused."""
    built, _ = grown()
    names_of = {
        "heads": [name for name in built.store.objects if name.startswith(HEADS)],
        "channel": [CHANNEL + layout.numbered(2)],
        "manifest": ["models/churn/@/2/manifest.json"],
    }[what]
    for name in names_of:
        built.write(name, strip(built.store.objects[name], what))
    assert outcome(newcomer(built), "churn@prod") == new
    assert outcome(built, "churn@prod") == known


@scenario("basic::test_incorrect_metadata_type")
@pytest.mark.parametrize(
    "kind", ["channel", "policy", "manifest", "heads", "approval", "sealing", "adoption"]
)
@pytest.mark.parametrize("place", ["root", "policy", "heads", "channel"])
def test_incorrect_metadata_type(kind: str, place: str) -> None:
    """The kind is part of what is signed, so one document never serves as another, whoever signed it."""
    built, _ = grown()
    source, target, right = {
        "root": (layout.root(1), layout.root(2), "root"),
        "policy": (layout.policy(built.policy.version), layout.policy(built.policy.version + 1), "policy"),
        "heads": (HEADS + layout.numbered(2), HEADS + layout.numbered(3), "heads"),
        "channel": (CHANNEL + layout.numbered(2), CHANNEL + layout.numbered(3), "channel"),
    }[place]
    payload = envelope.parse(built.store.objects[source], kind=right, subject="").payload
    wrong = kind if kind != right else "root"
    data = built.sign(wrong, payload, "owner", "renewer")
    built.write(target, data)
    relabelled = replace(
        envelope.parse(data, kind=wrong, subject=""), payload_type=envelope.payload_type(right)
    )
    for stored in (data, envelope.serialise(relabelled)):
        built.write(target, stored)
        for client in (built, newcomer(built)):
            assert outcome(client, "churn@prod") == NEW
    assert built.trusted.root.version == 1


@scenario("python-tuf::test_mix_and_match_attack", SET + "test_update_snapshot_successful_rollback_checks")
def test_mix_and_match() -> None:
    """No state is made of parts of two: each pair of old and new roles, of policy, heads and channel."""
    built, before = grown()
    after = snapshot(built)
    prefixes = ("trust/policy/", HEADS, CHANNEL)
    found = {}
    for choice in range(8):
        client = newcomer(built)
        put_back(client, after, "")
        old = [prefix for bit, prefix in enumerate(prefixes) if choice >> bit & 1]
        if old:
            put_back(client, before, *old)
        found[choice] = outcome(client, "churn@prod")
        assert outcome(built, "churn@prod") == NEW
    assert found[0] == NEW
    assert found[2] == NEW  # older heads: what is newer than attested is honest
    assert found[7] == OLD  # a whole old state, for as long as its heads are valid
    assert found[4] == "rollback"
    assert {found[choice] for choice in (1, 3, 5)} == {"withheld"}
    assert found[6] == OLD  # the newer policy with the state that it found: a moment that there was


# --- fast-forward and recovery ---


def stolen_heads(built: Built) -> None:
    forge(built, statement(built, number=limits.NUMBER_MAX), "renewer")


def stolen_snapshot(built: Built) -> None:
    """The channel and the heads, as TUF's snapshot stands in its timestamp."""
    stolen_record(built)
    data = built.store.objects[CHANNEL + layout.numbered(limits.NUMBER_MAX)]
    head = Mark(0, limits.NUMBER_MAX, envelope.parse(data, kind=records.CHANNEL, subject="").digest)
    forge(built, statement(built, number=limits.NUMBER_MAX, channels={"main/churn": head}), "renewer")


def stolen_record(built: Built) -> None:
    built.write_record(built.record("churn:1", limits.NUMBER_MAX))


@pytest.mark.parametrize("attack", [stolen_heads, stolen_snapshot, stolen_record])
@scenario(
    "rollback::test_new_timestamp_fast_forward_recovery",
    "rollback::test_new_snapshot_fast_forward_recovery",
    "rollback::test_targets_fast_forward_recovery",
    "rollback::test_new_targets_fast_forward_recovery",
    TOP + "test_new_timestamp_fast_forward_recovery",
    TOP + "test_new_snapshot_fast_forward_recovery",
    TOP + "test_new_targets_fast_forward_recovery",
    "python-tuf::test_fast_forward_attack",
)
def test_fast_forward_recovery(attack: Callable[[Built], None], tmp_path: Path) -> None:
    """The update framework forgets marks with the key that made them; here the root holders raise the era.

    That also undoes a fast-forward by somebody whose key stays, and what was seen before stays refused.
    """
    built, _ = grown()
    attack(built)
    wedged = snapshot(built)
    assert outcome(built, "churn@prod") in (OLD, NEW)
    changes = as_(built, "owner").changes
    file, draft = tmp_path / "policy.yaml", tmp_path / "era.json"
    file.write_text(_with_clock(SOLO))
    changes.draft(file, draft, new_era=True)
    changes.sign(draft)
    assert outcome(built, "churn@prod") in (OLD, NEW)  # a draft changes nothing
    changes.apply(draft, accept_outage=True)
    renew(built, "second")
    again = as_(built, "owner").promote(str(built.publish(THIRD)), env="prod")
    assert again.seq < limits.NUMBER_MAX
    for client in (built, newcomer(built)):
        assert outcome(client, "churn@prod") == THIRD
        assert number_of(remembered(client, "channel")) == again.seq
    put_back(built, wedged, "trust/policy/")
    assert outcome(built, "churn@prod") == "rollback"


def _with_clock(text: str) -> str:
    """Let the second renewer attest; the first one's key is not named any more."""
    text = text.replace(
        "\nenvironments:", "\n  clock: {allow: [{actions: [attest], env: [prod]}]}\n\nenvironments:", 1
    )
    return text + "  second: {kind: service, owners: [owner], roles: [clock]}\n"


@scenario("python-tuf::test_key_revocation_integration")
def test_a_revoked_key_is_no_fast_forward_any_more() -> None:
    """Newcomers are free with the key alone; who saw the record needs the era, as numbers outlive keys."""
    built, _ = grown()
    stolen_heads(built)
    assert code_of(lambda: renew(built, "second")) == "conflict"
    built.amend(revoked("renewer"))
    new = newcomer(built)
    assert renew(new, "second").heads[0].number == 3
    assert outcome(new, "churn@prod") == NEW
