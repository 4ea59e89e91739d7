"""The attack matrix: insiders who may publish to dev, and what they publish."""

from dataclasses import replace
from typing import Any

import pytest

from tests.attacks.matrix import Act, Attack, Row, attacks, nothing, run
from tests.attacks.matrix_scenes import (
    FIRST,
    SECOND,
    after,
    approved,
    approves,
    asks,
    both,
    candidate,
    does,
    forges,
    lets_in,
    loads,
    manifest_by,
    one,
    promotes,
    publishes,
    seen,
    with_keys_of,
    writes_record,
)
from tests.attacks.test_matrix_reader import approval_by, names_newer_policy, seals_anew
from tests.attacks.vault_mixing import resigned, revoked
from tests.builders import DEV, Built
from tests.e2e.team_parts import ONE, THREE, TWO, as_, npz, stewarded, with_rule
from vault.core import envelope, layout, records
from vault.core.names import Principal
from vault.core.policy import Policy
from vault.core.records import Adoption
from vault.errors import (
    DigestMismatch,
    Expired,
    FormatRefused,
    Malformed,
    Refused,
    Rollback,
    UntrustedSigner,
)

OLD = {"model.json": b'{"w":1}'}
NEWEST = loads("churn", "dora", "dev")


def owned(built: Built) -> None:
    """Let robot, which is ann's, publish churn:2."""
    built.publish(TWO, who="robot")


def by_two(*signers: str) -> Act:
    """Publish churn:2 as dora's and robot's, in an envelope that only `signers` have signed."""

    def act(built: Built) -> None:
        owned(built)
        key_ids = sorted(built.identities[who].key_id for who in ("dora", "robot"))
        name = f"{SECOND}manifest.json"
        data = resigned(built, name, "manifest", lambda doc: doc.update(publishers=key_ids), *signers)
        built.write(name, data)
        digest = envelope.parse(data, kind="manifest", subject=name).digest
        seal = f"{SECOND}sealed/000001.json"
        forges(seal, "sealing", lambda doc: doc.update(manifest=digest), "robot")(built)

    return act


def takes_churn_1_over(built: Built) -> None:
    """Write other content over a version that was approved, with all that belongs to it."""
    other = built.fork(forgetful=True)
    for name in [name for name in other.store.objects if name.startswith(FIRST)]:
        del other.store.objects[name]
    assert str(other.publish(THREE, who="dora", version="1")) == "churn:1"
    for name, data in other.store.objects.items():
        if name.startswith(FIRST):
            built.write(name, data)


def stager(built: Built) -> None:
    """Let sam publish to staging, and not to dev."""
    built.amend(with_rule("stager", "publish", "load", env="staging"))
    built.add("sam", "stager")


def fred(built: Built) -> None:
    """Let fred publish fraud, and no other model."""
    built.add("fred", "data-scientist", models=("fraud",))


def publishes_dated(days: int) -> Act:
    """Publish churn:2 under another date, and let everybody else do what they do."""

    def act(built: Built) -> None:
        built.now += days * 86_400
        built.publish(TWO, who="dora")
        built.now -= days * 86_400
        approves_by_hand(built)

    return act


def approves_by_hand(built: Built) -> None:
    for who in ("ann", "bob"):
        built.approve("churn:2", who)


def young(built: Built) -> None:
    built.amend(asks(max_age_days=30))


def eve_adopts(built: Built) -> None:
    as_(built, "eve").adopt_version("churn:1")


def stripped(built: Built) -> None:
    """Adopt a version of which the revoked publisher's signature was taken away."""
    eve_adopts(built)
    name = f"{FIRST}manifest.json"
    sealed = envelope.parse(built.store.objects[name], kind="manifest", subject=name)
    built.write(name, envelope.serialise(replace(sealed, signatures=())))


def unadopted() -> Built:
    return stewarded(revoked("dora"))


def both_roles(built: Built) -> None:
    """Make dora a release manager as well."""

    def change(before: Policy) -> Policy:
        dora = before.members[Principal("dora")]
        more = replace(dora, roles=(*dora.roles, Principal("release-manager")))
        return replace(before, members={**before.members, dora.name: more})

    built.amend(change)


def bot_of_eve(built: Built) -> None:
    built.add("bot", "steward", kind="service", owners=("eve",))


def adoption_by(who: str) -> Act:
    """Sign an adoption of churn:1 by hand."""

    def act(built: Built) -> None:
        found, digest = built.manifest("churn:1")
        record = Adoption(built.vault, built.policy_id, found.model, found.version, digest, built.time)
        data = built.sign(records.ADOPTION, records.encode_adoption(record), who)
        built.write(layout.adoption(found.model, found.version, envelope.digest(data)), data)
        eve = built.identities["eve"]
        seal = f"{FIRST}sealed/000001.json"
        built.write(seal, resigned(built, seal, "sealing", lambda _: None, eve.name))

    return act


def renames_a_file(built: Built) -> None:
    """Publish churn:2, and sign its manifest and sealing record anew with a file under another name."""
    elsewhere = built.fork(forgetful=True)
    elsewhere.publish({**TWO, "notes.json": b"{}"}, who="dora")
    built.store.objects.update(elsewhere.store.objects)
    name, seal = f"{SECOND}manifest.json", f"{SECOND}sealed/000001.json"

    def rename(doc: dict[str, Any]) -> None:
        for entry in doc["files"]:
            entry["path"] = entry["path"].replace("notes", "other")

    data = resigned(built, name, "manifest", rename, "dora")
    built.write(name, data)
    digest = envelope.parse(data, kind="manifest", subject=name).digest

    def reseal(doc: dict[str, Any]) -> None:
        rename(doc)
        doc["manifest"] = digest

    built.write(seal, resigned(built, seal, "sealing", reseal, "dora"))


def allows_pickle(built: Built) -> None:
    def change(before: Policy) -> Policy:
        dev = before.environments[DEV]
        after_it = replace(dev, formats=(*dev.formats, "pickle"))
        return replace(before, environments={**before.environments, DEV: after_it})

    built.amend(change)


def pushes_pickle(built: Built) -> str:
    return str(built.publish({"model.pkl": pickle_of_nothing()}, who="dora"))


def pickle_of_nothing() -> bytes:
    """Give a pickle of None."""
    return b"\x80\x04N."


PUBLISHER = (
    Attack(
        "a package wrapped to prod's key by who may only publish to dev",
        Row.PUBLISHER, ("keys",), candidate,
        strike=with_keys_of("churn:2"), honest=lets_in("churn:2"), flow=loads("churn:2"), gives=TWO,
        refused=(Refused, "not-promoted"),
    ),
    Attack(
        "a channel record signed by a publisher",
        Row.PUBLISHER, ("a known key without authority",), after(approved, with_keys_of("churn:2")),
        strike=writes_record("dora", 2), honest=promotes(), flow=loads("churn@prod"), gives=TWO, stays=ONE,
    ),
    Attack(
        "a publisher's own approval, though they have the role",
        Row.PUBLISHER, ("a record without its approvals",),
        after(candidate, both_roles, approves("churn:2", "bob")),
        strike=approval_by("dora"), honest=approves("churn:2", "cat"), flow=promotes(), gives="done",
        refused=(Refused, "approvals-missing"),
    ),
    Attack(
        "approval of what a service published by the owner of the service",
        Row.PUBLISHER, ("approval through an owned service",), after(one, owned, approves("churn:2", "bob")),
        strike=approval_by("ann"), honest=approves("churn:2", "cat"), flow=promotes(), gives="done",
        refused=(Refused, "approvals-missing"),
    ),
    Attack(
        "a service's signature stripped from a list of two, so that its owner may approve",
        Row.PUBLISHER, ("a stripped signature", "approval through an owned service"), one,
        strike=both(by_two("dora"), approval_by("ann"), approval_by("bob")),
        honest=both(by_two("dora", "robot"), approval_by("bob"), approval_by("cat")),
        flow=promotes(), gives="done", refused=(UntrustedSigner, "untrusted-signer"),
    ),
    Attack(
        "a list of two publishers with both signatures, approved by the owner of one",
        Row.PUBLISHER, ("approval through an owned service", "one of several signatures looked at"),
        after(one, by_two("dora", "robot"), approval_by("bob")),
        strike=approval_by("ann"), honest=approval_by("cat"), flow=promotes(), gives="done",
        refused=(Refused, "approvals-missing"),
    ),
    Attack(
        "a publisher who left robot's name out and signs in its place",
        Row.PUBLISHER, ("a stripped signature", "one key or person counted twice"), one,
        strike=by_two("dora", "dora"), honest=by_two("dora", "robot"),
        flow=loads("churn:2", "dora", "dev"), gives=TWO, refused=(UntrustedSigner, "untrusted-signer"),
    ),
    Attack(
        "a version of a model that is not the publisher's, signed by hand",
        Row.PUBLISHER, ("a known key without authority",), after(one, fred),
        strike=manifest_by("fred", "2"), honest=publishes(TWO), flow=loads("churn:2", "dora", "dev"),
        gives=TWO, refused=(UntrustedSigner, "untrusted-signer"),
    ),
    Attack(
        "a version published for staging, as the newest of dev",
        Row.PUBLISHER, ("a known key without authority",), after(one, stager),
        strike=lambda built: built.publish(TWO, who="sam", env="staging"), honest=publishes(TWO),
        flow=NEWEST, gives=TWO, stays=ONE,
    ),
    Attack(
        "a format that prod does not allow",
        Row.PUBLISHER, ("requirements",), one,
        strike=lambda built: built.publish({"model.npz": npz()}, who="dora"), honest=publishes(TWO),
        flow=does("ann", lambda vault: vault.approve("churn:2", env="prod")), gives="done",
        refused=(FormatRefused, "format-refused"),
    ),
    Attack(
        "other content under a version that was approved",
        Row.PUBLISHER, ("another version or model served", "mixed versions"), one,
        strike=takes_churn_1_over, flow=loads("churn@prod"), gives=ONE,
        refused=(DigestMismatch, "digest-mismatch"),
    ),
    Attack(
        "other content under a version that a reader knows",
        Row.PUBLISHER, ("another version or model served", "rollback"),
        seen(one, loads("churn:1", "ann", "prod"), loads("churn:1", "dora", "dev")),
        strike=takes_churn_1_over, flow=loads("churn:1", "dora", "dev"), gives=ONE,
        refused=(Rollback, "rollback"),
    ),
    Attack(
        "a date in the future, so that a version stays young",
        Row.PUBLISHER, ("requirements", "expired documents"), after(one, young),
        strike=publishes_dated(100), honest=publishes_dated(0), flow=promotes(), gives="done",
        refused=(Expired, "expired"),
    ),
    Attack(
        "a version that is too old",
        Row.PUBLISHER, ("requirements", "expired documents"), after(one, young),
        strike=publishes_dated(-31), honest=publishes_dated(-29), flow=promotes(), gives="done",
        refused=(Expired, "expired"),
    ),
    Attack(
        "an adopted version whose lost publisher's signature was stripped",
        Row.PUBLISHER, ("a stripped signature", "a revoked key"), unadopted,
        strike=stripped, honest=eve_adopts, flow=loads("churn@prod"), gives=ONE,
        refused=(UntrustedSigner, "untrusted-signer"),
    ),
    Attack(
        "an adoption by a service of who may adopt",
        Row.PUBLISHER, ("approval through an owned service", "a revoked key"), after(unadopted, bot_of_eve),
        strike=adoption_by("bot"), honest=adoption_by("eve"), flow=loads("churn@prod"), gives=ONE,
        refused=(UntrustedSigner, "untrusted-signer"),
    ),
    Attack(
        "a sealing record under the next number, in which a publisher names keys that do not fit",
        Row.PUBLISHER, ("keys", "mixed versions"), one,
        strike=seals_anew("dora"), flow=loads("churn@prod"), gives=ONE,
        refused=(DigestMismatch, "key-mismatch"),
    ),
)  # fmt: skip

AUTHOR = (
    Attack(
        "a pickle pushed where no format that runs code is allowed",
        Row.AUTHOR, ("requirements",), one,
        strike=nothing, honest=allows_pickle, flow=pushes_pickle, gives="churn:2",
        refused=(FormatRefused, "format-refused"),
    ),
    Attack(
        "a version whose date, files and names another vault signed",
        Row.AUTHOR, ("another version or model served",), one,
        strike=manifest_by("dora", "2", vault="00" * 32), honest=publishes(TWO),
        flow=loads("churn:2", "dora", "dev"), gives=TWO, refused=(DigestMismatch, "misplaced"),
    ),
    Attack(
        "a package that differs from what was published in the name of a file only",
        Row.AUTHOR, ("packages that differ only in names", "paths that escape or collide"), one,
        strike=renames_a_file, honest=publishes(TWO), flow=loads("churn:2", "dora", "dev"), gives=TWO,
        refused=(Malformed, "malformed-document"), in_force=True,
    ),
    Attack(
        "a manifest without a file",
        Row.AUTHOR, ("empty packages", "malformed input"), one,
        strike=manifest_by("dora", "2", files=[]), honest=publishes(TWO),
        flow=loads("churn:2", "dora", "dev"), gives=TWO, refused=(Malformed, "malformed-document"),
    ),
    Attack(
        "a manifest that names a policy to come, by who may publish",
        Row.AUTHOR, ("a withheld policy",), one,
        strike=names_newer_policy("dora"), honest=publishes(TWO), flow=loads("churn:2", "dora", "dev"),
        gives=TWO, refused=(Rollback, "withheld"),
    ),
)  # fmt: skip

ATTACKS = (*PUBLISHER, *AUTHOR)


@attacks(ATTACKS)
def test_who_may_publish_decides_nothing_in_prod(attack: Attack, monkeypatch: pytest.MonkeyPatch) -> None:
    run(attack, monkeypatch)
