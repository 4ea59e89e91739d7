"""What strangers with write access do to wrapped keys and headers: nobody is given a key, nothing stops."""

from collections.abc import Callable
from dataclasses import replace

import pytest

from tests.builders import CONTENT, PROD, Built, Draws, age_key, solo, team
from tests.faults import Fault, FaultyStore, on
from vault.actions import access, access_rotate, access_sync, keyring
from vault.actions.access import Reader
from vault.actions.access_rotate import Rotated
from vault.core import envelope, layout, names
from vault.core.names import Environment, Principal
from vault.core.policy import Policy
from vault.errors import DigestMismatch, NoUsableKey, Refused, Unavailable
from vault.keys import recipients

OWNER = Principal("owner")
EVE = recipients.generate_identity("x25519", Draws("eve"))


def rotate(built: Built, **options: object) -> Rotated:
    return access_rotate.rotate(built.session(), PROD, **options)  # type: ignore[arg-type]


def published(*models: str) -> Built:
    """Give a vault with these models in prod."""
    built = solo()
    for model in models or ("churn",):
        built.promote(built.publish(model=model))
    return built


def headers(built: Built, epoch: int, model: str = "churn") -> list[str]:
    return [name for name in built.store.objects if name.startswith(f"models/{model}/@/1/keys/prod-{epoch}/")]


def only_newest(built: Built) -> Built:
    """Give the vault under a policy that has forgotten the older epochs of prod."""

    def forget(before: Policy) -> Policy:
        prod = before.environments[PROD]
        return replace(
            before, environments={**before.environments, PROD: replace(prod, epochs=prod.epochs[-1:])}
        )

    other = built.fork()
    other.amend(forget)
    return other


def plant_copy(built: Built, private: recipients.Identity, who: str, epoch: int) -> str:
    """Put a well-made wrapped copy of any key where a principal's copies lie; give its name."""
    before = set(built.store.objects)
    to = recipients.parse_recipient(age_key(built.identities[who]))
    keyring.wrap_environment_key(built.store, private, PROD, epoch, Principal(who), to, Draws("planted"))
    (name,) = set(built.store.objects) - before
    return name


def reader(built: Built, who: str, *, own: bool = False) -> Reader:
    held = built.identities[who] if own else None
    (found,) = access.show(built.session(None), PROD, own=held).environments
    return next(entry for entry in found.readers if entry.who == who)


# --- keys that are not the policy's ---


def test_a_key_that_a_stranger_planted_for_the_next_epoch_is_never_taken_up() -> None:
    built = published()
    plant_copy(built, EVE, "owner", 2)
    keyring.store_recipient(built.store, EVE.recipient().encode())
    assert rotate(built).complete
    digest = built.policy.environments[PROD].epochs[-1].recipient.digest
    assert digest != keyring.recipient_digest(EVE.recipient().encode())
    assert only_newest(built).read("churn@prod") == CONTENT
    for name in headers(built, 2):
        with pytest.raises(NoUsableKey):
            recipients.decrypt_bytes(built.store.objects[name] + bytes(32), [EVE], limit=100)


def test_a_copy_that_opens_and_is_another_key_does_not_count_as_ones_own() -> None:
    built = published()
    (genuine,) = [name for name in built.store.objects if name.startswith("keys/prod/all/1/owner/")]
    kept = built.store.objects.pop(genuine)
    plant_copy(built, EVE, "owner", 1)
    assert reader(built, "owner", own=True).missing == (1,)
    with pytest.raises(Refused) as caught:
        rotate(built)
    assert caught.value.code == "key-mismatch"
    done = access_sync.sync(built.session(), PROD)
    assert [problem.code for problem in done.problems] == ["key-mismatch"]
    built.store.objects[genuine] = kept
    assert rotate(built).complete
    assert built.read("churn@prod") == CONTENT


def test_a_copy_that_was_swapped_with_somebody_elses_does_not_count() -> None:
    built = team()
    for name in list(built.store.objects):
        if name.startswith("keys/prod/all/1/ann/"):
            del built.store.objects[name]
    (bobs,) = [name for name in built.store.objects if name.startswith("keys/prod/all/1/bob/")]
    leaf = bobs.rpartition("/")[2]
    own = layout.copies_for(keyring.recipient_digest(age_key(built.identities["ann"])))
    moved = f"keys/prod/all/1/ann/{own}{leaf.rpartition('-')[2]}"
    built.store.objects[moved] = built.store.objects[bobs]
    assert reader(built, "ann", own=True).missing == (1,)
    assert reader(built, "ann").missing == (), "to others it looks like any copy"
    session = built.session()
    done = access_sync.sync(session, PROD, again=[Principal("ann")])
    assert [copy.who for copy in done.written] == ["ann"]
    assert reader(built, "ann", own=True).missing == ()


def _renamed(built: Built, genuine: str, data: bytes) -> str:
    folder, _, leaf = genuine.rpartition("/")
    digest = envelope.digest(data)
    return f"{folder}/{leaf.partition('-')[0]}-{digest[:32]}.age"


@pytest.mark.parametrize(
    "data",
    [b"", b"garbage", b"age-encryption.org/v1\n", bytes(70_000)],
    ids=["empty", "text", "cut", "large"],
)
@pytest.mark.parametrize("named", ["after its content", "as the genuine one"])
def test_garbage_among_the_copies_is_counted_and_a_copy_is_written(data: bytes, named: str) -> None:
    built = team()
    (genuine,) = [name for name in built.store.objects if name.startswith("keys/prod/all/1/server/")]
    del built.store.objects[genuine]
    place = genuine if named == "as the genuine one" else _renamed(built, genuine, data)
    built.store.objects[place] = data
    found = reader(built, "server")
    assert (found.missing, found.garbage) == ((1,), 1)
    assert "are none" in found.note
    done = access_sync.sync(built.session(), PROD)
    assert [copy.who for copy in done.written] == ["server"]
    assert reader(built, "server").missing == ()


def test_names_that_are_nobodys_are_passed_over() -> None:
    built = published()
    built.store.objects["keys/prod/all/1/NUL/0123456789abcdef-0123456789abcdef0123456789abcdef.age"] = b"x"
    built.store.objects["keys/prod/all/1/eve/readme.txt"] = b"x"
    built.store.objects["keys/prod/all/1/0123456789abcdef-0123456789abcdef0123456789abcdef.age"] = b"x"
    (found,) = access.show(built.session(None), PROD).environments
    assert {entry.who for entry in found.readers} == {"owner", "recovery"}


def test_a_public_age_key_that_was_exchanged_stops_a_rotation_before_anything_is_written() -> None:
    built = team()
    member = built.policy.members[Principal("server")]
    built.store.objects[layout.recipient(member.recipients[0].digest)] = EVE.recipient().encode().encode()
    before = dict(built.store.objects)
    with pytest.raises(DigestMismatch):
        rotate(built)
    assert built.store.objects == before
    for name in [name for name in before if name.startswith("keys/prod/all/1/server/")]:
        del built.store.objects[name]
    done = access_sync.sync(built.session(), PROD)
    assert [(problem.name, problem.code) for problem in done.problems] == [("server", "digest-mismatch")]
    assert not done.written


# --- headers ---


def _squat(built: Built, make: Callable[[bytes], bytes], *, fitting: bool) -> None:
    """Put an object under the newest epoch for every payload that has a header under the first."""
    for name in headers(built, 1):
        data = make(built.store.objects[name])
        file_id = name.rpartition("/")[2].partition("-")[0]
        leaf = f"{file_id}-{envelope.digest(data)[:32] if fitting else '0' * 32}"
        built.store.objects[f"models/churn/@/1/keys/prod-2/{leaf}"] = data


def _header_of_another_key(_: bytes) -> bytes:
    return recipients.wrap(bytes(16), [EVE.recipient()], Draws("squat"))


@pytest.mark.parametrize("fitting", [True, False])
@pytest.mark.parametrize("make", [lambda data: data, lambda _: b"garbage", _header_of_another_key])
def test_squatted_headers_do_not_pass_for_what_a_rotation_is_to_write(
    make: Callable[[bytes], bytes], fitting: bool
) -> None:
    built = published()
    _squat(built, make, fitting=fitting)
    done = rotate(built)
    assert done.complete
    assert done.written == 3
    assert only_newest(built).read("churn@prod") == CONTENT
    again = rotate(built, resume=True)
    assert (again.written, again.already) == (0, 3)


@pytest.mark.parametrize("harm", ["missing", "garbage", "swapped"])
def test_a_header_that_does_not_open_is_reported_and_does_not_stop_the_rest(harm: str) -> None:
    built = published("churn", "other")
    first, second, _ = headers(built, 1)
    data = built.store.objects.pop(first)
    if harm == "garbage":
        built.store.objects[first] = data[:-2] + b"x\n"
    elif harm == "swapped":
        built.store.objects[first] = built.store.objects[second]
    done = rotate(built)
    assert not done.complete
    assert len(done.problems) == 1
    assert done.problems[0].code == ("not-found" if harm == "missing" else "key-mismatch")
    assert done.problems[0].name.startswith("churn:1 ")
    assert done.written == 5
    assert only_newest(built).read("other@prod") == CONTENT
    built.store.objects[first] = data
    assert rotate(built, resume=True).written == 1
    assert only_newest(built).read("churn@prod") == CONTENT


def test_versions_of_strangers_are_told_and_are_no_problem() -> None:
    built = published()
    for name in headers(built, 1):
        built.store.objects[name.replace("models/churn/", "models/evil/")] = built.store.objects[name]
    built.store.objects["models/worse/@/1/keys/prod-1/" + "0" * 32 + "-" + "0" * 32] = b"x"
    built.store.objects["models/worse/@/1/manifest.json"] = b"{}"
    done = rotate(built)
    assert done.complete
    assert done.written == 3
    assert {(entry.name, entry.code) for entry in done.skipped} == {
        ("evil:1", "not-found"),
        ("worse:1", "malformed-envelope"),
    }
    assert only_newest(built).read("churn@prod") == CONTENT
    assert rotate(built, deep=True).complete


@pytest.mark.parametrize("deep", [False, True])
def test_a_version_that_this_client_has_seen_and_that_is_gone_is_a_problem(deep: bool) -> None:
    built = published("churn", "other")
    del built.store.objects["models/churn/@/1/manifest.json"]
    done = rotate(built, deep=deep)
    assert [(problem.name, problem.code) for problem in done.problems] == [("churn:1", "not-found")]
    assert done.written == 3


@pytest.mark.parametrize("deep", [False, True])
def test_a_version_whose_sealing_record_is_gone_is_a_problem(deep: bool) -> None:
    built = published("churn", "other").fork(forgetful=True)
    del built.store.objects["models/churn/@/1/sealed/000001.json"]
    done = rotate(built, deep=deep)
    assert [(problem.name, problem.code) for problem in done.problems] == [("churn:1", "not-found")]
    assert done.written == 3


def test_a_model_that_the_store_does_not_give_is_reported_and_a_store_that_gives_nothing_is_the_end() -> None:
    built = published("churn", "other")
    session = built.session(store=FaultyStore(built.store, on("read", Fault.BEFORE, name="models/churn/*")))
    done = access_rotate.rotate(session, PROD)
    assert [(problem.name, problem.code) for problem in done.problems] == [("churn:1", "unavailable")]
    assert done.written == 3
    many = published(*(f"m{number}" for number in range(9)))
    session = many.session(store=FaultyStore(many.store, on("read", Fault.BEFORE, name="models/*")))
    with pytest.raises(Unavailable):
        access_rotate.rotate(session, PROD)
    assert rotate(many, resume=True).written == 27
    full = published("churn", "other")
    session = full.session(store=FaultyStore(full.store, on("commit", Fault.FULL, name="models/*")))
    with pytest.raises(Unavailable) as caught:
        access_rotate.rotate(session, PROD)
    assert caught.value.code == "storage-full"


def test_a_loader_without_the_new_key_loads_by_the_old_one_until_a_sync() -> None:
    built = team()
    ref = built.publish()
    built.approve(ref, "ann")
    built.approve(ref, "bob")
    built.promote(ref, who="rex")
    rotate(built)
    for name in list(built.store.objects):
        if name.startswith("keys/prod/all/2/server/"):
            del built.store.objects[name]
    assert built.read("churn@prod", who="server") == CONTENT
    with pytest.raises(NoUsableKey):
        only_newest(built).read("churn@prod", who="server")
    access_sync.sync(built.session())
    assert only_newest(built).read("churn@prod", who="server") == CONTENT


# --- payloads ---


def test_a_payload_that_was_altered_is_not_encrypted_anew_and_the_rest_is() -> None:
    built = published("churn", "other")
    name = max(name for name in built.store.objects if name.startswith("models/churn/@/1/files/"))
    data = built.store.objects[name]
    built.store.objects[name] = data[:-1] + bytes([data[-1] ^ 1])
    done = rotate(built, deep=True)
    assert [(problem.name, problem.code) for problem in done.problems] == [("churn:1", "digest-mismatch")]
    assert "models/churn/@/1/sealed/000002.json" not in built.store.objects
    assert "models/other/@/1/sealed/000002.json" in built.store.objects
    built.store.objects[name] = data
    assert built.read("churn@prod") == CONTENT
    assert rotate(built, deep=True, resume=True).written == 3
    assert built.read("churn@prod") == built.read("other@prod") == CONTENT


def test_squatted_sealing_records_cost_a_number_and_nothing_else() -> None:
    built = published()
    for number in (2, 3, 5):
        built.store.objects[
            layout.sealed(names.model("churn"), names.version("1")) + f"{number:06d}.json"
        ] = b"squatted"
    assert rotate(built, deep=True).complete
    assert "models/churn/@/1/sealed/000004.json" in built.store.objects
    assert rotate(built, deep=True, resume=True).already == 3
    assert built.read("churn@prod") == CONTENT


def test_deleting_old_headers_or_policies_does_not_make_a_deep_rotation_leave_something_out() -> None:
    built = published()
    rotate(built)
    for name in headers(built, 1):
        del built.store.objects[name]
    other = built.fork()
    assert rotate(other, deep=True, resume=True).written == 3
    newest = built.policy.version
    built.amend(lambda before: before)
    del built.store.objects[layout.policy(newest)]
    assert rotate(built, deep=True, resume=True).written == 3
    assert built.read("churn@prod") == CONTENT


def test_environments_without_a_key_have_nothing_to_rotate() -> None:
    built = published()

    def keyless(before: Policy) -> Policy:
        prod = before.environments[PROD]
        name = Environment("lab")
        lab = replace(prod, name=name, epochs=())
        return replace(before, environments={**before.environments, name: lab})

    built.amend(keyless)
    session = built.session()
    assert access.show(session, Environment("lab")).environments[0].newest is None
    with pytest.raises(Exception, match="lab has no key yet"):
        access_rotate.rotate(session, Environment("lab"))
    assert access_sync.sync(session).complete
    assert rotate(built, deep=True).complete
