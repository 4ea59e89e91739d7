"""What an act on one model asks of the store does not depend on how many other models there are."""

from collections import Counter
from collections.abc import Callable
from functools import cache

import pytest

from tests import builders
from tests.builders import Built
from tests.faults import FaultyStore
from vault.actions import checking, listing
from vault.core import names
from vault.core.names import Model
from vault.ports import Store

FEW, MANY = 3, 300
MODEL = Model("churn")
NEW = Model("fresh")


@cache
def _populated(others: int) -> Built:
    """A vault with `churn` in prod and so many other models, each in prod too, some in folders."""
    built = builders.solo()
    built.publish(model=MODEL)
    built.promote("churn:1")
    for number in range(others):
        name = f"desk{number % 3}/m{number:03d}" if number % 2 else f"m{number:03d}"
        built.promote(built.publish(model=name))
    return built


def asked(others: int, act: Callable[[Built, Store], object], *, forgetful: bool) -> Counter[str]:
    """Count the steps that `act` takes, by verb, in a vault with so many other models."""
    built = _populated(others).fork(forgetful=forgetful)
    store = FaultyStore(built.store)
    act(built, store)
    return Counter(operation.verb for operation in store.operations)


def _load(built: Built, store: Store) -> object:
    return built.read("churn@prod", env="prod", session=built.session(env="prod", store=store))


def _load_newest(built: Built, store: Store) -> object:
    return built.read("churn", session=built.session(store=store))


def _push(built: Built, store: Store) -> object:
    return built.publish(model=MODEL, session=built.session(store=store))


def _push_new(built: Built, store: Store) -> object:
    return built.publish(model=NEW, session=built.session(store=store))


def _promote(built: Built, store: Store) -> object:
    return built.promote("churn:1", session=built.session(store=store))


def _list_one(built: Built, store: Store) -> object:
    return listing.overview(built.session(store=store), "churn")


def _versions(built: Built, store: Store) -> object:
    return listing.releases(built.session(store=store), MODEL)


def _show(built: Built, store: Store) -> object:
    return listing.show(built.session(store=store), names.reference("churn:1"))


def _history(built: Built, store: Store) -> object:
    return listing.history(built.session(store=store), MODEL)


def _check_one(built: Built, store: Store) -> object:
    return checking.check(built.session(store=store), names.reference("churn:1"), data=False)


ACTS = (_load, _load_newest, _push, _push_new, _promote, _list_one, _versions, _show, _history, _check_one)


@pytest.mark.parametrize("forgetful", [True, False], ids=["first seen", "remembered"])
@pytest.mark.parametrize("act", ACTS, ids=lambda act: act.__name__.strip("_"))
def test_an_act_on_one_model_asks_the_same_of_the_store_among_few_and_many(
    act: Callable[[Built, Store], object], forgetful: bool
) -> None:
    few = asked(FEW, act, forgetful=forgetful)
    assert few, "something was asked"
    assert asked(MANY, act, forgetful=forgetful) == few


def test_a_list_of_all_models_and_a_check_of_all_ask_in_proportion() -> None:
    for act in (_list_all, _check_all):
        few, some, many = (asked(others, act, forgetful=True).total() for others in (FEW, 2 * FEW, MANY))
        each = (some - few) / FEW
        assert few + each * (MANY - FEW) * 0.9 <= many <= few + each * (MANY - FEW) * 1.1


def _list_all(built: Built, store: Store) -> object:
    return listing.overview(built.session(store=store))


def _check_all(built: Built, store: Store) -> object:
    return checking.check(built.session(store=store), None, data=False)
