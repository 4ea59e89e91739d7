"""A damaged memory refuses: without it an old state of the vault would pass for the newest."""

import errno
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from vault.core import limits, memory_format, strict_json
from vault.core.memory_format import Mark, Memory
from vault.errors import Refused, Unavailable
from vault.memory import ClientMemory, Pins

VAULT = "ab" * 32
OTHER = "cd" * 32
GOOD = memory_format.encode(
    Memory(
        VAULT,
        Mark(0, 1, OTHER),
        Mark(1, 2, OTHER),
        {"prod/main/churn": Mark(1, 3, OTHER)},
        {"churn:3": OTHER},
    )
)


def altered(**fields: Any) -> bytes:
    return strict_json.encode({**json.loads(GOOD), **fields})


DAMAGED: list[bytes] = [
    b"",
    b"\0" * len(GOOD),
    b"{}",
    b"null",
    b"[" * 100_000,
    GOOD + b" ",
    GOOD + b"\n\n",
    GOOD + b"\n{}\n",
    b" " + GOOD,
    GOOD.replace(VAULT.encode(), OTHER.encode()),
    altered(vault=OTHER),
    altered(format="mvault-memory-v2"),
    altered(root=None, extra=1),
    altered(root="1"),
    altered(root=f"0.1.{OTHER[:-1]}"),
    altered(root=f"0.01.{OTHER}"),
    altered(root=f"0.1.{OTHER.upper()}"),
    altered(policy=f"-1.1.{OTHER}"),
    altered(policy=f"1.{10**17}.{OTHER}"),
    altered(policy=7),
    altered(channels=[]),
    altered(channels={"churn": f"1.3.{OTHER}"}),
    altered(channels={"prod/main/../x": "1.3"}),
    altered(channels={"prod/main/churn": 3}),
    altered(channels={"prod/main/churn": {"seq": 3}}),
    altered(versions={"churn": OTHER}),
    altered(versions={"churn:latest": OTHER}),
    altered(versions={"churn:3": "abc"}),
    altered(heads={"prod": 1}),
    altered(log={"trust": 1}),
]


def refusal_of(call: Callable[[], object], path: Path) -> Refused:
    with pytest.raises(Refused) as refusal:
        call()
    assert refusal.value.code == "memory-damaged"
    assert refusal.value.exit_status == 3
    assert refusal.value.subject == str(path)
    assert refusal.value.hint
    return refusal.value


def test_as_many_damages_run_as_are_listed() -> None:
    assert len(DAMAGED) == 30


@pytest.mark.parametrize("data", DAMAGED, ids=range(len(DAMAGED)))
def test_a_damaged_memory_is_refused_again_and_again_and_never_replaced(tmp_path: Path, data: bytes) -> None:
    path = tmp_path / "memory" / f"{VAULT}.json"
    path.parent.mkdir()
    path.write_bytes(data)
    memory = ClientMemory(VAULT, tmp_path)
    for _ in range(2):
        refusal_of(memory.load, path)
        refusal_of(lambda: memory.advance(Memory(VAULT, Mark(0, 9, OTHER))), path)
    assert path.read_bytes() == data


def test_every_truncation_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "memory" / f"{VAULT}.json"
    path.parent.mkdir()
    for size in range(len(GOOD)):
        path.write_bytes(GOOD[:size])
        refusal_of(ClientMemory(VAULT, tmp_path).load, path)


def test_every_flipped_bit_is_refused_or_gives_another_memory_and_never_the_same() -> None:
    """The file is the user's own and nobody signs it: a flip inside a digest or number cannot be told."""
    good = memory_format.parse(GOOD, VAULT, "m")
    refused = 0
    for bit in range(8 * len(GOOD)):
        data = bytearray(GOOD)
        data[bit // 8] ^= 1 << bit % 8
        try:
            found = memory_format.parse(bytes(data), VAULT, "m")
        except Refused as refusal:
            refused += refusal.code == "memory-damaged"
        else:
            assert found != good
            assert memory_format.encode(found) == data
    assert refused > 4 * len(GOOD)


def test_damage_that_happens_while_a_process_runs_is_refused_too(tmp_path: Path) -> None:
    memory = ClientMemory(VAULT, tmp_path)
    memory.advance(Memory(VAULT, Mark(0, 1, OTHER)))
    path = tmp_path / "memory" / f"{VAULT}.json"
    path.write_bytes(b"damaged")
    refusal_of(memory.load, path)
    refusal_of(lambda: memory.advance(Memory(VAULT, Mark(0, 2, OTHER))), path)


def test_a_huge_file_is_refused_before_it_is_read(tmp_path: Path) -> None:
    path = tmp_path / "memory" / f"{VAULT}.json"
    path.parent.mkdir()
    with path.open("wb") as file:
        file.truncate(limits.MEMORY_BYTES + 1)
    assert "larger" in refusal_of(ClientMemory(VAULT, tmp_path).load, path).message


def test_a_pipe_or_a_folder_in_its_place_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "memory" / f"{VAULT}.json"
    path.mkdir(parents=True)
    refusal_of(ClientMemory(VAULT, tmp_path).load, path)
    path.rmdir()
    os.mkfifo(path)
    refusal_of(ClientMemory(VAULT, tmp_path).load, path)


def test_a_memory_that_may_not_be_read_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ClientMemory(VAULT, tmp_path).advance(Memory(VAULT, Mark(0, 1, OTHER)))

    def denied(path: Path, flags: int, mode: int = 0o777) -> int:
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(os, "open", denied)
    refusal_of(ClientMemory(VAULT, tmp_path).load, tmp_path / "memory" / f"{VAULT}.json")


def test_a_disk_that_does_not_answer_is_not_taken_for_an_empty_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    memory = ClientMemory(VAULT, tmp_path)

    def stale(path: Path) -> os.stat_result:
        raise OSError(errno.ESTALE, "Stale file handle")

    monkeypatch.setattr(os, "stat", stale)
    with pytest.raises(Unavailable):
        memory.load()


PINS_DAMAGED = [
    b"",
    b"{}",
    b"[]",
    b"{",
    b'{"format":"mvault-pins-v2","trusted":{}}',
    b'{"format":"mvault-pins-v1","trusted":[]}',
    b'{"format":"mvault-pins-v1","trusted":{"":{}}}',
    b'{"format":"mvault-pins-v1","trusted":{"/m":{}}}',
    b'{"format":"mvault-pins-v1","trusted":{"/m":{"added":"now","root":"' + VAULT.encode() + b'"}}}',
    b'{"format":"mvault-pins-v1","trusted":{"/m":{"added":"2026-11-23T05:00:00Z","root":"sha256"}}}',
    b'{"format":"mvault-pins-v1","trusted":{"/m":{},"/m":{}}}',
]


@pytest.mark.parametrize("data", PINS_DAMAGED, ids=range(len(PINS_DAMAGED)))
def test_damaged_pins_are_refused_and_never_replaced(tmp_path: Path, data: bytes) -> None:
    path = tmp_path / "trusted.json"
    path.write_bytes(data)
    refusal_of(lambda: Pins(tmp_path).get("/m"), path)
    refusal_of(lambda: Pins(tmp_path).add("/m", VAULT, now=1), path)
    assert path.read_bytes() == data
