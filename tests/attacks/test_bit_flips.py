"""No bit of a vault can be changed unnoticed: flips, truncations, extensions, of every object.

Every change either is refused or provably has no effect: `vault_damage.OBJECTS` says of which objects
and why, and the loaded bytes are then exactly the honest ones.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from sklearn.datasets import make_classification
from sklearn.linear_model import LogisticRegression

from tests.attacks import vault_damage as damage
from tests.attacks.vault_damage import BY_LABEL, LABELS, OLD, SAME, flips, grown, minimal
from tests.builders import Built, solo
from tests.faults import FaultyStore
from vault.actions import loading
from vault.core import names
from vault.errors import VaultError
from vault.loaders import onnx, skops
from vault.settings import load_settings
from vault.vault import Vault

TRUST = {
    "malformed-json", "malformed-envelope", "wrong-payload-type",
    "unsigned", "untrusted-signer", "bad-signature",
}  # fmt: skip
# What a damaged object may be refused as. A policy, sealing record or channel record that does not verify is
# absent, and the only one is then missing: `not-found`.
CODES = {
    "root": TRUST | {"digest-mismatch"},
    "policy": {"not-found"},
    "manifest": TRUST | {"digest-mismatch"},
    "sealing record": {"not-found"},
    "payload": {"decrypt-failed", "size-mismatch"},
    "prod header": {"key-mismatch"},
    "prod key of the loader": {
        "no-usable-key", "malformed-header", "decrypt-failed", "size-mismatch", "malformed-key", "too-large",
    },
    "channel record": {"not-found"},
}  # fmt: skip
# With a memory, a channel whose record is gone is a rollback.
REMEMBERED = {**CODES, "channel record": {"rollback"}}


def expected(label: str, *, remembering: bool) -> set[str]:
    if BY_LABEL[label].harmless:
        return {SAME}
    return (REMEMBERED if remembering else CODES)[label]


def outcomes(built: Built, label: str, changes: str, step: int, *, remembering: bool) -> set[str]:
    """Load once for every change to every object of a kind; give what came out."""
    found = set()
    names = damage.objects(built, label)
    assert names
    for name in names:
        data = built.store.objects[name]
        make = {
            "flip": lambda data: flips(data, step),
            "truncate": lambda data: damage.truncations(data, step),
            "extend": damage.extensions,
        }[changes]
        for changed in make(data):
            found.add(damage.load(built, {name: changed}, remembering=remembering))
    return found


def test_every_object_of_the_vault_is_of_one_known_kind() -> None:
    built = minimal()
    assert {damage.label_of(name) for name in built.store.objects} == set(LABELS)
    assert {damage.label_of(name) for name in grown().store.objects} == set(LABELS)


@pytest.mark.parametrize("remembering", [False, True], ids=["new client", "client with memory"])
@pytest.mark.parametrize("label", LABELS)
def test_a_sample_of_flipped_bits_is_refused_or_has_no_effect(label: str, remembering: bool) -> None:
    step = 801 if BY_LABEL[label].harmless else 131  # odd, so that every bit of a byte has its turn
    found = outcomes(minimal(), label, "flip", step, remembering=remembering)
    assert found <= expected(label, remembering=remembering)


@pytest.mark.parametrize("label", LABELS)
def test_a_sample_of_truncations_is_refused_or_has_no_effect(label: str) -> None:
    found = outcomes(minimal(), label, "truncate", 83, remembering=False)
    assert found <= expected(label, remembering=False)


@pytest.mark.parametrize("remembering", [False, True], ids=["new client", "client with memory"])
@pytest.mark.parametrize("label", LABELS)
def test_an_extended_object_is_refused_or_has_no_effect(label: str, remembering: bool) -> None:
    found = outcomes(minimal(), label, "extend", 1, remembering=remembering)
    assert found <= expected(label, remembering=remembering)


@pytest.mark.slow
@pytest.mark.parametrize("remembering", [False, True], ids=["new client", "client with memory"])
@pytest.mark.parametrize("label", LABELS)
def test_every_flipped_bit_is_refused_or_has_no_effect(label: str, remembering: bool) -> None:
    found = outcomes(minimal(), label, "flip", 1, remembering=remembering)
    assert found <= expected(label, remembering=remembering)


@pytest.mark.slow
@pytest.mark.parametrize("remembering", [False, True], ids=["new client", "client with memory"])
@pytest.mark.parametrize("label", LABELS)
def test_every_truncation_is_refused_or_has_no_effect(label: str, remembering: bool) -> None:
    found = outcomes(minimal(), label, "truncate", 1, remembering=remembering)
    assert found <= expected(label, remembering=remembering)


@pytest.mark.parametrize("label", LABELS)
def test_a_sample_of_flipped_bits_is_refused_in_a_hybrid_vault(label: str) -> None:
    found = outcomes(minimal("mlkem768x25519"), label, "flip", 2_003, remembering=False)
    assert found <= expected(label, remembering=False)


@pytest.mark.slow
@pytest.mark.parametrize("label", LABELS)
def test_one_flipped_bit_in_every_byte_is_refused_in_a_hybrid_vault(label: str) -> None:
    # Every 7th bit leaves no byte out, and takes each bit of a byte in turn.
    found = outcomes(minimal("mlkem768x25519"), label, "flip", 7, remembering=False)
    assert found <= expected(label, remembering=False)


@pytest.mark.parametrize("label", [label for label in LABELS if not BY_LABEL[label].harmless])
def test_an_object_that_is_gone_or_empty_is_refused(label: str) -> None:
    built = minimal()
    for name in damage.objects(built, label):
        for changed in (None, b"", b"\x00"):
            for remembering in (False, True):
                assert damage.load(built, {name: changed}, remembering=remembering) not in {SAME, OLD}


# --- an older record behind the damaged one ---

# What a damaged newest record leaves in force: for a client that knows nothing, and for one that remembers.
BEHIND = {
    # Channel record 2 is absent then, and record 1 is in force.
    "channels/prod/main/churn/@/000002.json": (OLD, "rollback"),
    # Policy 2 is absent then; record 2 and version 2 were made under it, so it is being withheld.
    "trust/policy/000002.json": ("withheld", "rollback"),
}


@pytest.mark.parametrize("name", BEHIND)
def test_behind_a_damaged_record_is_the_older_one_or_a_rollback(name: str) -> None:
    _behind(name, 97)


@pytest.mark.slow
@pytest.mark.parametrize("name", BEHIND)
def test_behind_every_damage_to_a_record_is_the_older_one_or_a_rollback(name: str) -> None:
    _behind(name, 1)


def _behind(name: str, step: int) -> None:
    built = grown()
    data = built.store.objects[name]
    new, knowing = BEHIND[name]
    for changed in (
        *flips(data, step),
        *damage.truncations(data, max(1, step // 2)),
        *damage.extensions(data),
    ):
        assert damage.load(built, {name: changed}, remembering=False) == new
        assert damage.load(built, {name: changed}, remembering=True) == knowing


def test_a_damaged_manifest_of_the_newest_version_gives_way_in_dev_but_only_to_a_new_client() -> None:
    built = grown()
    built.fork().read("churn")
    name = "models/churn/@/2/manifest.json"
    for changed in flips(built.store.objects[name], 499):
        assert damage.load(built, {name: changed}, remembering=False, ref="churn") == OLD
        assert damage.load(built, {name: changed}, remembering=True, ref="churn") == "rollback"


def test_the_older_version_is_untouched_by_damage_to_the_newer_one() -> None:
    built = grown()
    for name in [name for name in built.store.objects if name.startswith("models/churn/@/2/")]:
        changed = next(flips(built.store.objects[name], start=len(built.store.objects[name]) * 4))
        assert damage.load(built, {name: changed}, remembering=True, ref="churn:1") == OLD


# --- through load_model itself ---


class Loaders:
    """Count the calls of the loaders of the two formats: the steps before must have refused."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Stand before both."""
        self.calls = 0
        for loader in (skops, onnx):
            monkeypatch.setattr(loader, "load", self._counting(loader.load))

    def _counting(self, load: Callable[..., Any]) -> Callable[..., Any]:
        def counting(*args: Any, **options: Any) -> Any:
            self.calls += 1
            return load(*args, **options)

        return counting


@pytest.fixture(scope="module")
def served() -> tuple[Built, Any, Any]:
    """Save a real model twice, as skops and as ONNX, and promote both; give rows and predictions too."""
    built = solo(seed="served")
    rows, labels = make_classification(60, 4, random_state=0)
    model = LogisticRegression().fit(rows, labels)
    opened = Vault(built.session(), load_settings(flags={}, environ={}, cwd=Path("/")))
    for name in ("skops", "onnx"):
        opened.promote(opened.save_model(name, model, sample_input=rows, format=name), env="prod")
    return built, rows, model.predict(rows)


def used_by(built: Built, ref: str) -> list[str]:
    """List the objects that loading a model reads, by loading it."""
    store = FaultyStore(built.store)
    loading.load_package(built.session(store=store), names.reference(ref), {}).model  # noqa: B018
    read = {step.name for step in store.operations if step.verb in {"read", "open"}}
    return sorted(name for name in built.store.objects if name in read)


@pytest.mark.parametrize("name", ["skops", "onnx"])
def test_load_model_deserializes_nothing_when_a_bit_of_anything_that_it_reads_is_flipped(
    name: str, served: tuple[Built, Any, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    built, rows, predicted = served
    loaders = Loaders(monkeypatch)
    used = used_by(built, f"{name}@prod")
    assert len(used) >= 8
    assert loaders.calls == 1
    for place in used:
        data = built.store.objects[place]
        for changed in flips(data, max(1, len(data) * 8 // 6) | 1, start=3):
            fork = built.fork(forgetful=True)
            fork.store.objects[place] = changed
            with pytest.raises(VaultError):
                loading.load_package(fork.session(), names.reference(f"{name}@prod"), {}).model  # noqa: B018
    assert loaders.calls == 1
    again = loading.load_package(built.session(), names.reference(f"{name}@prod"), {}).model
    assert (again.predict(rows) == predicted).all()
