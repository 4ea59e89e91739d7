"""Lock files: one spelling for each line, strict and bounded; and the choice between slots by key."""

from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vault.core import choosing, limits, lockfile, names
from vault.core.lockfile import Locked
from vault.core.names import Digest, Environment, Model, Slot, Version
from vault.errors import Malformed, Refused

VAULT = Digest("a" * 64)
HEAD = f"mvault-lock 1\nvault sha256:{VAULT}\n"
LINE = f"churn@prod 3 sha256:{'b' * 64}\n"


def locked(reference: str, version: str = "3", digest: str = "b") -> Locked:
    return Locked(names.reference(reference), Version(version), Digest(digest * 64))


def test_a_lock_is_read_as_it_was_written_and_its_lines_are_in_order() -> None:
    entries = [locked("nepse/NABIL@prod"), locked("churn@prod/b", "1.4.0", "c"), locked("churn@prod")]
    data = lockfile.encode(VAULT, entries)
    assert data == lockfile.encode(VAULT, reversed(entries))
    lines = data.decode().splitlines()
    assert [line.split(" ")[0] for line in lines[2:]] == ["churn@prod", "churn@prod/b", "nepse/NABIL@prod"]
    found = lockfile.parse(data, "it")
    assert found.vault == VAULT
    assert [*found.entries.values()] == sorted(entries, key=lambda entry: str(entry.reference))
    assert lockfile.parse(HEAD.encode(), "it").entries == {}


def test_comments_and_empty_lines_are_left_out() -> None:
    text = f"# made on Monday\n\n{HEAD}# stocks\n{LINE}\n"
    assert [*lockfile.parse(text.encode(), "it").entries] == ["churn@prod"]
    assert [*lockfile.parse(text.rstrip("\n").encode(), "it").entries] == ["churn@prod"]


@pytest.mark.parametrize(
    "text",
    [
        "",
        "# nothing\n",
        "mvault-lock 2\n",
        "mvault-lock 1\n",
        "mvault-lock 1\nvault md5:1\n",
        "mvault-lock 1\nvault sha256:short\n",
        f"vault sha256:{VAULT}\nmvault-lock 1\n",
        HEAD + LINE + LINE,
        HEAD + LINE.replace("churn", "zebra") + LINE,
        HEAD + "churn@prod 3\n",
        HEAD + LINE.replace(" 3 ", "  3 "),
        HEAD + LINE.replace("\n", " \n"),
        HEAD + LINE.replace("\n", "\r\n"),
        HEAD + LINE.replace("sha256:", ""),
        HEAD + LINE.replace("@prod", ""),
        HEAD + LINE.replace("@prod", ":3"),
        HEAD + LINE.replace("@prod", "@prod/main"),
        HEAD + LINE.replace("@prod", f"@sha256:{VAULT}"),
        HEAD + LINE.replace(" 3 ", " three "),
        HEAD + LINE.replace("bbbb", "BBBB"),
        HEAD + LINE.replace("churn", "../churn"),
        HEAD + LINE.replace("churn", "chürn"),
        HEAD + "<<<<<<< HEAD\n" + LINE,
    ],
)
def test_anything_else_is_malformed(text: str) -> None:
    with pytest.raises(Malformed) as caught:
        lockfile.parse(text.encode(), "models.lock")
    assert caught.value.code in ("malformed-document", "malformed-name")


def test_a_lock_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "LOCKED", 1)
    two = lockfile.encode(VAULT, [locked("a@prod"), locked("b@prod")])
    with pytest.raises(Malformed) as caught:
        lockfile.parse(two, "it")
    assert caught.value.code == "too-large"
    monkeypatch.setattr(limits, "LOCK_BYTES", 10)
    with pytest.raises(Malformed) as caught:
        lockfile.parse(two, "it")
    assert caught.value.code == "too-large"


def test_only_channels_are_locked_each_once() -> None:
    for entries in (
        [locked("churn")],
        [locked("churn:3")],
        [locked("churn@prod"), locked("churn@prod", "4")],
    ):
        with pytest.raises(ValueError, match=r"no channel|twice"):
            lockfile.encode(VAULT, entries)


def test_a_channel_is_found_in_a_lock_of_its_vault() -> None:
    found = lockfile.parse(lockfile.encode(VAULT, [locked("churn@prod")]), "it")
    assert found.find(names.reference("churn@prod"), VAULT, "it").version == "3"
    assert found.find(names.reference("churn@prod/main"), VAULT, "it").version == "3"
    for reference, vault in (("churn@dev", VAULT), ("churn@prod/b", VAULT), ("churn@prod", Digest("9" * 64))):
        with pytest.raises(Refused) as caught:
            found.find(names.reference(reference), vault, "models.lock")
        assert caught.value.code == "lock-mismatch"
    with pytest.raises(ValueError, match="holds channels"):
        found.find(names.reference("churn:3"), VAULT, "it")


@given(st.binary(max_size=200) | st.text(max_size=200).map(lambda text: (HEAD + text).encode()))
def test_any_bytes_are_a_lock_or_malformed(data: bytes) -> None:
    try:
        found = lockfile.parse(data, "it")
    except Malformed:
        return
    assert lockfile.parse(lockfile.encode(found.vault, found.entries.values()), "it") == found


# --- choosing ---

PROD = Environment("prod")
CHURN = Model("churn")
KEYS = [str(number).encode() for number in range(4_000)]


def chosen(weights: dict[str, Any], keys: list[bytes] = KEYS, vault: Digest = VAULT) -> list[str]:
    parsed = choosing.weights_of(weights)
    return [choosing.choose(vault, CHURN, PROD, key, parsed) for key in keys]


def share(found: list[str], slot: str) -> float:
    return sum(entry == slot for entry in found) / len(found)


def test_a_key_gets_the_slot_of_the_documented_formula() -> None:
    """Values computed by hand from docs/loading.md; they may never change."""
    assert (
        "".join(slot[0] for slot in chosen({"main": 1, "b": 1}, KEYS[:32]))
        == "bmbmbmmmbbbbbmbbmmbmbbbbmbbbbbmm"
    )


def test_the_same_key_gets_the_same_slot_whatever_the_scale_or_order() -> None:
    first = chosen({"main": 90, "b": 10})
    assert first == chosen({"b": 10, "main": 90})
    assert first == chosen({"main": 9, "b": 1})
    assert first == chosen({"main": 90, "b": 10, "c": 0})


def test_each_slot_gets_its_share() -> None:
    found = chosen({"main": 90, "b": 10})
    assert abs(share(found, "b") - 0.1) < 0.02
    found = chosen({"main": 50, "b": 25, "c": 25})
    assert abs(share(found, "c") - 0.25) < 0.03


def test_a_changed_weight_moves_the_necessary_share_and_no_other_key() -> None:
    before, after = chosen({"main": 90, "b": 10}), chosen({"main": 80, "b": 20})
    moved = [(old, new) for old, new in zip(before, after, strict=True) if old != new]
    assert set(moved) == {("main", "b")}
    assert abs(len(moved) / len(KEYS) - 0.1) < 0.02
    three = chosen({"main": 90, "b": 10, "c": 25})
    assert {(old, new) for old, new in zip(before, three, strict=True) if old != new} == {
        ("main", "c"),
        ("b", "c"),
    }


def test_several_changed_weights_move_at_most_the_bound() -> None:
    before, after = chosen({"a": 50, "b": 25, "c": 25}), chosen({"a": 25, "b": 25, "c": 50})
    moved = sum(old != new for old, new in zip(before, after, strict=True)) / len(KEYS)
    least = 0.25
    assert moved <= 2 * least / (1 + least) + 0.02


def test_models_environments_and_vaults_split_their_keys_differently() -> None:
    weights = choosing.weights_of({"main": 1, "b": 1})
    first = chosen({"main": 1, "b": 1}, KEYS[:200])
    others = (
        chosen({"main": 1, "b": 1}, KEYS[:200], Digest("9" * 64)),
        [choosing.choose(VAULT, Model("other"), PROD, key, weights) for key in KEYS[:200]],
        [choosing.choose(VAULT, CHURN, Environment("dev"), key, weights) for key in KEYS[:200]],
    )
    for other in others:
        assert 0.3 < sum(a == b for a, b in zip(first, other, strict=True)) / 200 < 0.7


@pytest.mark.parametrize(
    ("weights", "error"),
    [
        ({}, ValueError),
        ({"main": 0}, ValueError),
        ({"main": -1}, ValueError),
        ({"main": float("nan")}, ValueError),
        ({"main": float("inf")}, ValueError),
        ({"main": 10**10}, ValueError),
        ({"Main": 1}, ValueError),
        ({"main": True}, TypeError),
        ({"main": "1"}, TypeError),
        ({f"s{number}": 1 for number in range(65)}, ValueError),
    ],
    ids=str,
)
def test_weights_are_numbers_of_slots(weights: dict[str, Any], error: type[Exception]) -> None:
    with pytest.raises(error):
        choosing.weights_of(weights)


def test_keys_are_text_numbers_or_bytes() -> None:
    assert choosing.key_bytes("é") == "é".encode()
    assert choosing.key_bytes(-12) == b"-12"
    assert choosing.key_bytes(b"\0") == b"\0"
    for key in ("", b"", "\ud800", "x" * 5_000, 10**100):
        with pytest.raises(ValueError, match=r"key|digits"):
            choosing.key_bytes(key)
    for other in (True, None, 1.5):
        with pytest.raises(TypeError):
            choosing.key_bytes(other)  # type: ignore[arg-type]


def test_no_slot_with_a_weight_is_no_choice() -> None:
    with pytest.raises(ValueError, match="above 0"):
        choosing.choose(VAULT, CHURN, PROD, b"k", {Slot("main"): Decimal(0)})
