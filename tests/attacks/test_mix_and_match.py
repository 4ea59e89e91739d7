"""A genuine object in another place is refused, or absent: other vaults, models, versions, environments."""

from dataclasses import replace
from functools import cache

import pytest

from tests.attacks.vault_damage import LABELS, label_of, objects
from tests.attacks.vault_forgeries import Value
from tests.attacks.vault_mixing import headers, only, outcome, payloads, resigned, twin
from tests.builders import Built, solo, team
from vault.actions import keyring
from vault.core.names import Environment
from vault.core.policy import Epoch, Policy
from vault.core.policy import Recipient as RecipientId
from vault.keys import recipients

OURS = {"model.json": b'{"w":1}'}
NEWER = {"model.json": b'{"w":2}'}
THEIRS = {"model.json": b'{"w":9}'}
CHURN, FRAUD, IN_PROD = "models/churn/@", "models/fraud/@", "channels/prod/main/churn/@"


@cache
def ours() -> Built:
    """Build a vault with churn 1 and 2 and fraud 1, all of the same size; 2 and fraud 1 are in prod."""
    built = solo(seed="ours")
    built.publish(OURS)
    built.promote(built.publish(NEWER))
    built.promote(built.publish(THEIRS, model="fraud"))
    return built


@cache
def theirs() -> Built:
    """Build a second vault of the same owner, with the same names in it."""
    built = twin(ours())
    built.publish(THEIRS)
    built.promote(built.publish(THEIRS))
    built.promote(built.publish(THEIRS, model="fraud"))
    return built


def moved(source: Built, pairs: dict[str, str], *, forgetful: bool = True) -> Built:
    """Copy objects of `source` (from → to) over those of our vault."""
    fork = ours().fork(forgetful=forgetful)
    for origin, place in pairs.items():
        fork.store.objects[place] = source.store.objects[origin]
    return fork


# --- another vault's ---

# What each kind of object is refused as, when another vault of the same owner, with the same keys of theirs,
# lends it. A document that names another vault is absent, and then missing.
ANOTHER_VAULTS = {
    "root": {"digest-mismatch"},
    "policy": {"not-found"},
    "manifest": {"digest-mismatch"},
    "sealing record": {"not-found"},
    "payload": {"decrypt-failed"},
    "prod header": {"key-mismatch"},
    "prod key of the loader": {"key-mismatch"},
    "channel record": {"not-found"},
}


def counterparts(kind: str) -> dict[str, str]:
    """Pair the objects of a kind in the other vault with ours, in the order of their names.

    Those of payloads are random, so within a version the sizes decide; other sizes are another attack.
    """

    def ordered(built: Built) -> list[str]:
        names = objects(built, kind)
        if kind != "payload":
            return names
        return sorted(names, key=lambda name: (name.rpartition("/")[0], len(built.store.objects[name])))

    pairs = zip(ordered(theirs()), ordered(ours()), strict=True)
    return {origin: place for origin, place in pairs if "fraud" not in place}


@pytest.mark.parametrize("kind", LABELS)
def test_an_object_of_another_vault_of_the_same_owner_is_refused(kind: str) -> None:
    fork = moved(theirs(), counterparts(kind))
    if kind in ANOTHER_VAULTS:
        assert outcome(fork, "churn@prod") in ANOTHER_VAULTS[kind]
    else:
        assert outcome(fork, "churn@prod") == NEWER


def test_everything_of_another_vault_beside_ours_changes_nothing() -> None:
    fork = moved(
        theirs(), {name: name for name in theirs().store.objects if name not in ours().store.objects}
    )
    assert len(fork.store.objects) > len(ours().store.objects) + 10
    assert outcome(fork, "churn@prod") == NEWER
    assert outcome(fork, "churn") == NEWER


def test_a_whole_vault_in_place_of_ours_is_another_vault() -> None:
    fork = ours().fork(forgetful=True)
    fork.store.objects.clear()
    fork.store.objects.update(theirs().store.objects)
    assert outcome(fork, "churn@prod") == "digest-mismatch"


def test_another_vaults_channel_record_above_ours_is_skipped() -> None:
    place = "channels/prod/main/churn/@/"
    fork = moved(theirs(), {f"{place}000001.json": f"{place}000002.json"})
    assert outcome(fork, "churn@prod") == NEWER


# --- another model's, another version's ---


@pytest.mark.parametrize(
    ("origin", "place", "ref", "code"),
    [
        (f"{FRAUD}/1/manifest.json", f"{CHURN}/2/manifest.json", "churn@prod", "digest-mismatch"),
        (f"{FRAUD}/1/manifest.json", f"{CHURN}/2/manifest.json", "churn:2", "misplaced"),
        (f"{FRAUD}/1/sealed/000001.json", f"{CHURN}/2/sealed/000001.json", "churn@prod", "not-found"),
        ("channels/prod/main/fraud/@/000001.json", f"{IN_PROD}/000001.json", "churn@prod", "not-found"),
        (f"{CHURN}/1/manifest.json", f"{CHURN}/2/manifest.json", "churn@prod", "digest-mismatch"),
        (f"{CHURN}/1/manifest.json", f"{CHURN}/2/manifest.json", "churn:2", "misplaced"),
        (f"{CHURN}/1/manifest.json", f"{CHURN}/3/manifest.json", "churn:3", "misplaced"),
        (f"{CHURN}/1/sealed/000001.json", f"{CHURN}/2/sealed/000001.json", "churn@prod", "not-found"),
    ],
)
def test_a_document_of_another_model_or_version_is_refused(
    origin: str, place: str, ref: str, code: str
) -> None:
    assert outcome(moved(ours(), {origin: place}), ref) == code


@pytest.mark.parametrize("lender", ["models/fraud/@/1/", "models/churn/@/1/"])
def test_a_whole_other_version_in_place_of_the_promoted_one_is_refused(lender: str) -> None:
    fork = ours().fork(forgetful=True)
    for name in [name for name in fork.store.objects if name.startswith("models/churn/@/2/")]:
        del fork.store.objects[name]
    for name, data in ours().store.objects.items():
        if name.startswith(lender):
            fork.store.objects["models/churn/@/2/" + name.removeprefix(lender)] = data
    assert outcome(fork, "churn@prod") == "digest-mismatch"
    assert outcome(fork, "churn:2") == "misplaced"


def test_an_old_version_under_a_new_number_is_not_the_newest() -> None:
    old = "models/churn/@/1/"
    fork = moved(
        ours(),
        {
            name: f"models/churn/@/3/{name.removeprefix(old)}"
            for name in ours().store.objects
            if name.startswith(old)
        },
    )
    assert outcome(fork, "churn") == NEWER
    assert outcome(fork, "churn:3") == "misplaced"


@pytest.mark.parametrize(("model", "version"), [("fraud", 1), ("churn", 1)])
def test_payloads_of_another_model_or_version_are_refused(model: str, version: int) -> None:
    mine, other = payloads(ours(), "churn", 2), payloads(ours(), model, version)
    for path in mine:
        assert outcome(moved(ours(), {other[path]: mine[path]}), "churn@prod") == "decrypt-failed"


@pytest.mark.parametrize(("model", "version"), [("fraud", 1), ("churn", 1)])
def test_a_payload_with_its_own_header_of_another_model_or_version_is_refused_by_the_key_check(
    model: str, version: int
) -> None:
    built = ours().fork(forgetful=True)
    if version == 1 and model == "churn":
        built.promote("churn:1", slot="b")
    mine, other = payloads(built, "churn", 2), payloads(built, model, version)
    own, lent = headers(built, "churn", 2, "prod-1"), headers(built, model, version, "prod-1")
    for path, name in mine.items():
        fork = built.fork(forgetful=True)
        fork.store.objects[name] = built.store.objects[other[path]]
        place = own[name.rpartition("/")[2]]
        fork.store.objects[place] = built.store.objects[lent[other[path].rpartition("/")[2]]]
        assert outcome(fork, "churn@prod") == "key-mismatch"


# --- within one package ---


def two_files() -> Built:
    """Build a vault with two files of one size in one package."""
    built = solo(seed="two files")
    built.promote(built.publish({"model.json": b'{"w":1}', "other.json": b'{"w":2}'}))
    return built


def test_two_payloads_of_one_package_cannot_be_swapped() -> None:
    built = two_files()
    names = payloads(built, "churn", 1)
    first, second = names["model.json"], names["other.json"]
    objects = built.store.objects
    objects[first], objects[second] = objects[second], objects[first]
    assert outcome(built.fork(forgetful=True), "churn@prod") == "decrypt-failed"


def test_two_headers_of_one_package_cannot_be_swapped() -> None:
    built = two_files()
    first, second = sorted(headers(built, "churn", 1, "prod-1").values())[:2]
    objects = built.store.objects
    objects[first], objects[second] = objects[second], objects[first]
    assert outcome(built.fork(forgetful=True), "churn@prod") == "key-mismatch"


def test_two_files_with_payload_and_header_swapped_are_refused_though_both_decrypt() -> None:
    built = two_files()
    names = payloads(built, "churn", 1)
    first, second = names["model.json"], names["other.json"]
    keys = headers(built, "churn", 1, "prod-1")
    objects = built.store.objects
    for one, two in ((first, second), (keys[first.rpartition("/")[2]], keys[second.rpartition("/")[2]])):
        objects[one], objects[two] = objects[two], objects[one]
    assert outcome(built.fork(forgetful=True), "churn@prod") == "key-mismatch"


def test_a_sealing_record_in_which_a_publisher_swapped_two_files_is_refused_by_the_commitment() -> None:
    built = two_files()
    name = "models/churn/@/1/sealed/000001.json"

    def swap(value: Value) -> None:
        paths = [entry["path"] for entry in value["files"]]
        one, two = paths.index("model.json"), paths.index("other.json")
        value["files"][one], value["files"][two] = value["files"][two], value["files"][one]
        value["files"][one]["path"], value["files"][two]["path"] = "model.json", "other.json"

    built.write(name, resigned(built, name, "sealing", swap, "owner"))
    assert outcome(built.fork(forgetful=True), "churn@prod") == "digest-mismatch"


# --- another environment's, slot's, number's, epoch's ---


def test_a_record_of_staging_is_no_record_of_prod() -> None:
    built = team()
    ref = built.publish(OURS)
    built.approve(ref, "ann")
    built.approve(ref, "bob")
    built.promote(ref, env="staging", who="rex")
    built.write(
        "channels/prod/main/churn/@/000001.json", built.store.objects[only(built, "channels/staging/")]
    )
    assert outcome(built, "churn@prod", who="server") == "not-found"


@pytest.mark.parametrize(
    "place", ["channels/prod/main/churn/@/000002.json", "channels/prod/b/churn/@/000001.json"]
)
def test_a_record_under_another_number_or_slot_is_absent(place: str) -> None:
    fork = moved(ours(), {"channels/prod/main/churn/@/000001.json": place})
    assert outcome(fork, "churn@prod") == NEWER
    assert outcome(fork, "churn@prod/b") == "not-found"


def test_a_header_for_dev_does_not_serve_in_prod() -> None:
    dev, prod = headers(ours(), "churn", 2, "dev-1"), headers(ours(), "churn", 2, "prod-1")
    assert dev.keys() == prod.keys()
    assert outcome(moved(ours(), {dev[file]: prod[file] for file in dev}), "churn@prod") == "key-mismatch"


def test_the_key_of_dev_does_not_serve_as_the_key_of_prod() -> None:
    pairs = {only(ours(), "keys/dev/all/1/owner/"): only(ours(), "keys/prod/all/1/owner/")}
    assert outcome(moved(ours(), pairs), "churn@prod") == "key-mismatch"


def with_epoch_2(built: Built) -> Built:
    """Start a second epoch of prod whose key nobody holds; copy all that was stored for epoch 1 to it."""
    fresh = recipients.generate_identity(built.kind, built.draws)
    digest = keyring.store_recipient(built.store, fresh.recipient().encode())

    def change(before: Policy) -> Policy:
        prod = before.environments[Environment("prod")]
        after = replace(prod, epochs=(*prod.epochs, Epoch(2, RecipientId(built.kind, digest))))
        return replace(before, environments={**before.environments, prod.name: after})

    built.amend(change)
    for name in [name for name in built.store.objects if "keys/prod" in name]:
        built.write(
            name.replace("prod/all/1/", "prod/all/2/").replace("prod-1/", "prod-2/"),
            built.store.objects[name],
        )
    return built


def test_the_key_of_another_epoch_does_not_serve() -> None:
    built = with_epoch_2(ours().fork())
    for name in headers(built, "churn", 2, "prod-1").values():
        del built.store.objects[name]
    assert outcome(built, "churn@prod") == "key-mismatch"


def test_what_a_stranger_stores_under_a_newer_epoch_does_not_hide_the_older_one() -> None:
    assert outcome(with_epoch_2(ours().fork()), "churn@prod") == NEWER


def test_every_kind_of_object_was_tried() -> None:
    assert {label_of(name) for name in ours().store.objects} == set(LABELS)
