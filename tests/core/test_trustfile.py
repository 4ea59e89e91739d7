"""The trust file: a pin, floors and allowances, read as they were written."""

import json
from collections.abc import Callable
from typing import Any

import pytest

from vault.core import limits, trustfile
from vault.core.allowance import Allowance
from vault.core.memory_format import Mark, Memory
from vault.core.names import Digest
from vault.core.trustfile import TrustFile
from vault.errors import Malformed

VAULT = Digest("a" * 64)
FULL = TrustFile(
    VAULT,
    Memory(
        VAULT,
        root=Mark(0, 1, VAULT),
        policy=Mark(0, 3, "b" * 64),
        channels={"prod/main/churn": Mark(0, 4, "c" * 64)},
        versions={"churn:1": "d" * 64},
    ),
    Allowance(
        formats=frozenset({"joblib"}),
        skops_types=frozenset({"my.Type", "my.Other"}),
        pickle_globals=frozenset({"a.b"}),
        onnx_domains=frozenset({"com.microsoft"}),
        max_bytes=5,
    ),
)


def changed(change: Callable[[dict[str, Any]], object]) -> bytes:
    value = json.loads(trustfile.encode(FULL))
    change(value)
    return json.dumps(value).encode()


def test_a_trust_file_is_read_as_it_was_written() -> None:
    for trust in (FULL, TrustFile(VAULT, Memory(VAULT), Allowance())):
        data = trustfile.encode(trust)
        assert trustfile.parse(data, "it") == trust
        assert trustfile.encode(trustfile.parse(data, "it")) == data


def test_an_operator_may_spell_the_json_as_they_like() -> None:
    assert trustfile.parse(json.dumps(json.loads(trustfile.encode(FULL)), indent=2).encode(), "it") == FULL


@pytest.mark.parametrize(
    "change",
    [
        lambda value: value.update(extra=1),
        lambda value: value.pop("allow"),
        lambda value: value.update(format="mvault-trust-v2"),
        lambda value: value.update(vault="x"),
        lambda value: value.update(vault="b" * 64),
        lambda value: value.update(floor=None),
        lambda value: value.update(floor=[0.5]),
        lambda value: value["floor"].update(vault="b" * 64),
        lambda value: value["floor"].update(policy="3"),
        lambda value: value["floor"].update(extra=1),
        lambda value: value["allow"].update(extra=1),
        lambda value: value["allow"].update(formats="joblib"),
        lambda value: value["allow"].update(formats=["a", "a"]),
        lambda value: value["allow"].update(formats=[""]),
        lambda value: value["allow"].update(skops_types=[1]),
        lambda value: value["allow"].update(max_bytes=0),
        lambda value: value["allow"].update(max_bytes=limits.FILE_BYTES + 1),
    ],
)
def test_a_trust_file_of_another_shape_is_refused(change: Callable[[dict[str, Any]], object]) -> None:
    with pytest.raises(Malformed) as caught:
        trustfile.parse(changed(change), "it")
    assert caught.value.code == "malformed-trust"
    assert "mvault trust export" in caught.value.hint


@pytest.mark.parametrize(
    "data", [b"", b"[]", b"\xff", b"[" * 100_000, b'{"a":1,"a":1}', b'{"floor":"\\ud800"}']
)
def test_bytes_that_are_no_trust_file_are_refused(data: bytes) -> None:
    with pytest.raises(Malformed) as caught:
        trustfile.parse(data, "it")
    assert caught.value.code == "malformed-trust"


@pytest.mark.slow
def test_the_largest_memory_fits_into_a_trust_file() -> None:
    versions = {f"{'m' * 190}/{number}:1": "d" * 64 for number in range(limits.MEMORY_ENTRIES)}
    trust = TrustFile(VAULT, Memory(VAULT, versions=versions), Allowance())
    assert trustfile.parse(trustfile.encode(trust), "it") == trust
