"""`watch`: a service follows its channel, and whatever goes wrong leaves it with the model that it has."""

import logging
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from itertools import pairwise
from typing import Any

import pytest

from tests.builders import Built, solo, team
from tests.e2e.team_parts import let_in
from tests.faults import Fault, FaultyStore, never
from vault.actions import loading, watching
from vault.actions.loading import LoadedPackage
from vault.actions.session import Session
from vault.core import names
from vault.core.names import Principal, Reference
from vault.errors import AccessDenied, Refused, Unavailable, VaultError
from vault.ports import Store
from vault.settings import Settings
from vault.vault import Vault

EVERY = 0.02
SECONDS = 30.0


def arrays(number: int) -> dict[str, bytes]:
    """Give a package whose model is an array of this number."""
    import io

    import numpy as np

    file = io.BytesIO()
    np.savez(file, weights=np.array([number]))
    return {"model.npz": file.getvalue()}


def weight(model: Any) -> int:
    return int(model["weights"][0])


class Service:
    """Holds a model, as a service does, and what it was told."""

    def __init__(self, store: Store, session: Session) -> None:
        self.store, self.session = store, session
        self.vault = Vault(session, Settings())
        self.held: list[int] = []
        self.errors: list[Exception] = []
        self.warnings: list[str] = []
        self.stop: watching.Watch | None = None

    def start(self, ref: str = "churn@prod", **more: Any) -> watching.Watch:
        told: dict[str, Any] = {"on_change": lambda model: self.held.append(weight(model))}
        told |= {"every": EVERY, "on_error": self.errors.append, "on_warning": self.warnings.append}
        self.stop = self.vault.watch(ref, **(told | more))
        return self.stop

    def codes(self) -> set[str]:
        return {error.code for error in list(self.errors) if isinstance(error, VaultError)}


def until(true: Callable[[], object]) -> None:
    """Wait until something is so."""
    end = time.monotonic() + SECONDS
    while not true():
        assert time.monotonic() < end, "it did not come to that"
        time.sleep(0.005)


def looks(stop: watching.Watch, store: FaultyStore, count: int = 3) -> None:
    """Wait until it has looked a few times more."""
    before = len(store.operations)
    until(lambda: len(store.operations) > before + 40 * count)
    assert stop.running


POLICY = """
roles:
  owner:
    allow:
      - {actions: [publish, load], env: [dev]}
      - {actions: [load, withdraw, approve], env: [prod]}
      - {actions: [promote], from: dev, to: prod}
  loader: {allow: [{actions: [load], env: [prod]}]}
environments:
  dev: {formats: [npz]}
  prod: {formats: [npz]}
principals:
  owner: {kind: person, roles: [owner]}
"""


@pytest.fixture
def built() -> Built:
    """Give a vault with version 1 in prod."""
    built = solo(policy=POLICY, seed="watch")
    built.add("server", "loader", kind="service", owners=("owner",))
    built.promote(built.publish(arrays(1)))
    return built


@pytest.fixture
def service(built: Built) -> Iterator[Service]:
    store = FaultyStore(built.store)
    service = Service(store, built.session("server", env="prod", store=store))
    yield service
    if service.stop is not None:
        assert service.stop(SECONDS)


def reads(store: Store) -> list[str]:
    assert isinstance(store, FaultyStore)
    return [step.name for step in store.operations if step.verb in {"open", "read"}]


# --- what it does ---


def test_the_first_model_is_handed_over_before_it_returns(service: Service) -> None:
    stop = service.start(every=60)
    assert service.held == [1]
    assert (stop.reference, stop.error, stop.running) == ("churn:1", None, True)
    assert stop.digest.startswith("sha256:")
    assert stop.checked is not None


def test_a_promotion_is_followed_and_a_rollback_too(built: Built, service: Service) -> None:
    stop = service.start()
    built.promote(built.publish(arrays(2)))
    until(lambda: service.held == [1, 2])
    until(lambda: stop.reference == "churn:2")
    built.promote("churn:1")
    until(lambda: service.held == [1, 2, 1])
    assert service.errors == []


def test_a_look_decrypts_nothing_while_nothing_changed(built: Built, service: Service) -> None:
    stop = service.start()
    assert isinstance(service.store, FaultyStore)
    service.store.operations.clear()
    looks(stop, service.store)
    names_read = reads(service.store)
    assert any("channels/prod/" in name for name in names_read), "it did look"
    assert not [name for name in names_read if "/files/" in name or name.startswith("keys/")]
    assert service.held == [1]


def test_publishing_alone_changes_nothing(built: Built, service: Service) -> None:
    stop = service.start()
    built.publish(arrays(2))
    assert isinstance(service.store, FaultyStore)
    looks(stop, service.store)
    assert service.held == [1]


def test_what_is_held_already_is_not_loaded_again(built: Built, service: Service) -> None:
    package = service.vault.load_package("churn@prod")
    stop = service.start(holding=package.digest)
    assert (service.held, stop.reference) == ([], "churn:1")
    built.promote(built.publish(arrays(2)))
    until(lambda: service.held == [2])


def test_packages_are_handed_over_where_that_is_asked_for(service: Service) -> None:
    got: list[LoadedPackage] = []
    service.start(package=True, on_change=got.append)
    assert got[0].reference == "churn:1"
    assert weight(got[0].model) == 1


def test_options_reach_the_loader(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    load, given = loading.load_package, []

    def noted(session: Session, reference: Reference, options: Mapping[str, Any]) -> LoadedPackage:
        given.append(options)
        return load(session, reference, options)

    monkeypatch.setattr(loading, "load_package", noted)
    service.start(providers=["CPUExecutionProvider"])
    assert given == [{"providers": ["CPUExecutionProvider"]}]


# --- how it starts ---


def test_what_cannot_be_loaded_at_the_start_is_raised(built: Built, service: Service) -> None:
    for name in [name for name in built.store.objects if "/files/" in name]:
        built.store.objects[name] = b"x" * len(built.store.objects[name])
    with pytest.raises(Refused) as caught:
        service.start()
    assert caught.value.code == "decrypt-failed"
    assert service.held == []
    assert service.stop is None


def test_what_on_change_raises_at_the_start_is_raised(service: Service) -> None:
    def fails(model: Any) -> None:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        service.start(on_change=fails)


@pytest.mark.parametrize("every", [0, -1, float("nan"), float("inf"), 1e9])
def test_every_is_a_time(service: Service, every: float) -> None:
    with pytest.raises(ValueError, match="every"):
        service.start(every=every)


@pytest.mark.parametrize("wrong", [{"holding": "sha256:xyz"}, {"holding": "churn:1"}])
def test_holding_is_a_digest(service: Service, wrong: dict[str, str]) -> None:
    with pytest.raises(ValueError, match="digest"):
        service.start(**wrong)


# --- what goes wrong ---


def test_an_altered_version_is_not_swapped_in_and_is_when_it_was_restored(
    built: Built, service: Service
) -> None:
    stop = service.start()
    ref = built.publish(arrays(2))
    altered = {name for name in built.store.objects if name.startswith("models/churn/@/2/files/")}
    before = dict(built.store.objects)
    for name in altered:
        built.store.objects[name] = bytes([before[name][0] ^ 1]) + before[name][1:]
    built.promote(ref)
    until(lambda: "decrypt-failed" in service.codes())
    assert (service.held, stop.reference) == ([1], "churn:1")
    assert isinstance(stop.error, VaultError)
    for name in altered:
        built.store.objects[name] = before[name]
    until(lambda: service.held == [1, 2])
    until(lambda: stop.error is None)


def test_a_version_that_fails_is_tried_ever_less_often(
    built: Built, service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What cannot be loaded is not downloaded again at every look."""
    tries: list[float] = []
    take = watching.Watch._take

    def counted(self: watching.Watch) -> None:
        tries.append(time.monotonic())
        take(self)

    service.start()
    monkeypatch.setattr(watching.Watch, "_take", counted)
    ref = built.publish(arrays(2))
    for name in [name for name in built.store.objects if name.startswith("models/churn/@/2/files/")]:
        built.store.objects[name] = b"x" * len(built.store.objects[name])
    built.promote(ref)
    until(lambda: len(tries) >= 5)
    waits = [later - earlier for earlier, later in pairwise(tries)]
    assert all(wait >= EVERY * 2**number for number, wait in enumerate(waits))


def test_a_store_that_fails_is_told_and_the_model_stays(built: Built, service: Service) -> None:
    stop = service.start()
    assert isinstance(service.store, FaultyStore)
    service.store.plan = lambda _: Fault.BEFORE
    until(lambda: len(service.errors) >= 3)
    assert all(isinstance(error, Unavailable) for error in service.errors)
    assert stop.running
    seen = stop.checked
    assert seen is not None
    built.now += 60
    service.store.plan = never
    until(lambda: stop.error is None)
    assert stop.checked == built.now
    assert service.held == [1]


def test_a_version_that_was_withdrawn_is_told_and_stays_in_use(built: Built, service: Service) -> None:
    """Whether a service without a model is better than one with a bad one, it must decide itself."""
    stop = service.start()
    Vault(built.session("owner"), Settings()).withdraw("churn:1", env="prod")
    until(lambda: "barred" in service.codes())
    assert (service.held, stop.reference) == ([1], "churn:1")
    built.promote(built.publish(arrays(2)))
    until(lambda: service.held == [1, 2])


def test_a_publisher_whose_key_was_revoked_is_told(built: Built, service: Service) -> None:
    built.add("heir", "owner")
    stop = service.start()
    owner = built.identities["owner"]

    def revoked(before: Any) -> Any:
        member = before.members[Principal("owner")]
        keys = tuple(replace(key, revoked=True) for key in member.keys)
        return replace(before, members={**before.members, member.name: replace(member, keys=keys)})

    built.amend(revoked)
    until(lambda: service.errors)
    assert service.codes() & {"untrusted-signer", "rollback", "not-found"}
    assert owner.name == "owner"
    assert service.held == [1]
    assert stop.running


def test_a_service_that_may_not_load_any_more_is_told(built: Built, service: Service) -> None:
    service.start()
    built.amend(lambda before: replace(before, roles={**before.roles, Principal("loader"): ()}))
    until(lambda: any(isinstance(error, AccessDenied) for error in service.errors))
    assert service.held == [1]


def test_an_older_state_that_was_put_back_is_told(built: Built, service: Service) -> None:
    old = dict(built.store.objects)
    service.start()
    built.promote(built.publish(arrays(2)))
    until(lambda: service.held == [1, 2])
    built.store.objects.clear()
    built.store.objects.update(old)
    until(lambda: "rollback" in service.codes())
    assert service.held == [1, 2]


def test_what_on_change_raises_is_told_and_it_is_called_again(built: Built, service: Service) -> None:
    fails = True

    def swap(model: Any) -> None:
        if fails and weight(model) == 2:
            raise RuntimeError("no room on the device")
        service.held.append(weight(model))

    stop = service.start(on_change=swap)
    built.promote(built.publish(arrays(2)))
    until(lambda: len(service.errors) >= 2)
    assert all(isinstance(error, RuntimeError) for error in service.errors)
    assert (service.held, stop.reference) == ([1], "churn:1")
    fails = False
    until(lambda: service.held == [1, 2])
    assert stop.running


def test_a_callback_for_errors_that_fails_ends_nothing(
    built: Built, service: Service, caplog: pytest.LogCaptureFixture
) -> None:
    def fails(_: object) -> None:
        raise RuntimeError("the pager is down")

    stop = service.start(on_error=fails)
    assert isinstance(service.store, FaultyStore)
    with caplog.at_level(logging.ERROR, "vault.watch"):
        service.store.plan = lambda _: Fault.BEFORE
        until(lambda: stop.error is not None)
        until(lambda: "on_error failed" in caplog.text)
    service.store.plan = never
    built.promote(built.publish(arrays(2)))
    until(lambda: service.held == [1, 2])


def test_without_callbacks_failures_are_logged_once_each_and_so_is_their_end(
    built: Built, service: Service, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO, "vault.watch"):
        stop = service.start(on_error=None)
        store = service.store
        assert isinstance(store, FaultyStore)
        store.plan = lambda step: Fault.BEFORE if step.verb == "list_folders" else None
        until(lambda: stop.error is not None)
        before = len(store.operations)
        until(lambda: len(store.operations) > before + 3)
        store.plan = never
        until(lambda: stop.error is None)
    told = [record.message for record in caplog.records]
    assert any("[unavailable]" in message and "Still using churn:1" in message for message in told)
    assert told[-1] == "churn@prod: all is well again, with churn:1"


# --- slow, and how it ends ---


def test_a_slow_callback_is_waited_for_and_looks_do_not_pile_up(built: Built, service: Service) -> None:
    running = 0
    most = 0

    def slow(model: Any) -> None:
        nonlocal running, most
        running += 1
        most = max(most, running)
        time.sleep(EVERY * 5)
        running -= 1
        service.held.append(weight(model))

    service.start(on_change=slow)
    for number in (2, 3):
        built.promote(built.publish(arrays(number)))
        until(lambda: service.held[-1:] == [number])  # noqa: B023 - run at once
    assert most == 1


def test_stopping_is_prompt_however_long_it_waits_between_looks(service: Service) -> None:
    stop = service.start(every=3_600)
    began = time.monotonic()
    assert stop()
    assert time.monotonic() - began < 2
    assert not stop.running
    assert stop(), "and may be done twice"


def test_stopping_does_not_wait_for_a_callback_longer_than_it_is_told(built: Built, service: Service) -> None:
    entered, leave = threading.Event(), threading.Event()

    def blocks(model: Any) -> None:
        if weight(model) == 2:
            entered.set()
            leave.wait(SECONDS)

    stop = service.start(on_change=blocks)
    built.promote(built.publish(arrays(2)))
    assert entered.wait(SECONDS)
    began = time.monotonic()
    assert not stop(0.05)
    assert time.monotonic() - began < 2
    leave.set()
    assert stop(SECONDS)


def test_a_callback_may_stop_what_called_it(built: Built, service: Service) -> None:
    def once(model: Any) -> None:
        service.held.append(weight(model))
        if len(service.held) == 2:
            assert service.stop is not None
            service.stop()

    stop = service.start(on_change=once)
    built.promote(built.publish(arrays(2)))
    until(lambda: not stop.running)
    built.promote("churn:1")
    time.sleep(EVERY * 5)
    assert service.held == [1, 2]


def test_nothing_is_handed_over_after_it_was_stopped(built: Built, service: Service) -> None:
    stop = service.start()
    assert stop(SECONDS)
    built.promote(built.publish(arrays(2)))
    time.sleep(EVERY * 5)
    assert service.held == [1]


def test_what_is_being_loaded_when_it_is_stopped_is_not_handed_over(
    built: Built, service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    load, loading_now, go_on = loading.load_package, threading.Event(), threading.Event()

    def slow(session: Session, reference: Reference, options: Mapping[str, Any]) -> LoadedPackage:
        loading_now.set()
        go_on.wait(SECONDS)
        return load(session, reference, options)

    stop = service.start()
    monkeypatch.setattr(loading, "load_package", slow)
    built.promote(built.publish(arrays(2)))
    assert loading_now.wait(SECONDS)
    assert not stop(0.01)
    go_on.set()
    assert stop(SECONDS)
    assert service.held == [1]


def test_it_does_not_keep_a_process_alive(service: Service) -> None:
    service.start()
    (thread,) = (thread for thread in threading.enumerate() if thread.name == "vault-watch churn@prod")
    assert thread.daemon


# --- what expires ---


def test_what_is_about_to_expire_is_told_once(built: Built, service: Service) -> None:
    soon = names.time_text(built.now + 5 * 86_400)
    built.amend(lambda before: replace(before, expires=soon))
    stop = service.start()
    assert isinstance(service.store, FaultyStore)
    looks(stop, service.store)
    assert len(service.warnings) == 1
    assert "The policy expires on" in service.warnings[0]
    built.now += 6 * 86_400
    until(lambda: "expired" in service.codes())
    assert service.held == [1]


def test_many_that_start_together_do_not_look_together(service: Service) -> None:
    """The first look comes after a random part of the time between two."""
    first = []
    for _ in range(8):
        store = FaultyStore(service.store)
        watch = Service(store, replace(service.session, store=store)).start(every=0.4)
        begun = time.monotonic()
        count = len(store.operations)
        until(lambda: len(store.operations) > count)  # noqa: B023 - run at once
        first.append(time.monotonic() - begun)
        watch(SECONDS)
    assert max(first) - min(first) > 0.05


def test_a_team_with_approvals_is_followed_too() -> None:
    built = team()
    first = {"model.json": b"{}"}
    let_in(built, str(built.publish(first, who="dora")))
    got: list[LoadedPackage] = []
    service = Service(built.store, built.session("server", env="prod"))
    stop = service.start(on_change=got.append, package=True)
    let_in(built, str(built.publish({"model.json": b'{"w":2}'}, who="dora")))
    until(lambda: len(got) == 2)
    assert stop(SECONDS)
    assert got[1].read("model.json") == b'{"w":2}'
