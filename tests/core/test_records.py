"""Sealing, approval and channel records: read as written, and refused when they contradict themselves."""

import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from tests import builders
from tests.builders import Built
from vault.core import envelope, records
from vault.core.names import Digest, Version
from vault.core.records import SealingRecord
from vault.errors import Malformed

Change = Callable[[dict[str, Any]], object]


@pytest.fixture(scope="module")
def built() -> Built:
    made = builders.team()
    made.publish()
    return made


def sealing(built: Built) -> SealingRecord:
    data = built.store.objects["models/churn/@/1/sealed/000001.json"]
    payload = envelope.parse(data, kind=records.SEALING, subject="it").payload
    return records.parse_sealing(payload, "it")


def respelled(payload: bytes, change: Change) -> bytes:
    value = json.loads(payload)
    change(value)
    return json.dumps(value, sort_keys=True, separators=(",", ":")).encode()


def test_records_are_read_as_they_were_written(built: Built) -> None:
    sealed = sealing(built)
    assert records.parse_sealing(records.encode_sealing(sealed), "it") == sealed
    approval = built.approve("churn:1", "ann", seq=4)
    assert records.parse_approval(records.encode_approval(approval), "it") == approval
    for channel in (
        built.record("churn:1", 1),
        built.record("churn:1", 7, slot="b", prev="1" * 64),
        built.record(None, 2, bars=("churn:1",)),
        replace(built.record("churn:1", 3), bars=(Digest("2" * 64), Digest("1" * 64))),
    ):
        assert records.parse_channel(records.encode_channel(channel), "it") == channel


def test_a_sealed_file_is_named_by_its_random_id(built: Built) -> None:
    sealed = sealing(built)
    file = sealed.file("model.json")
    assert file is not None
    assert file.name == file.file_id.hex()
    assert sealed.file("nothing") is None


@pytest.mark.parametrize(
    "change",
    [
        lambda value: value.update(extra=1),
        lambda value: value.pop("number"),
        lambda value: value.update(number=0),
        lambda value: value["files"].reverse(),
        lambda value: value["files"].append(value["files"][-1]),
        lambda value: value["files"][0].update(id=value["files"][1]["id"]),
        lambda value: value["files"][0].update(id="00"),
        lambda value: value["files"][0].update(suite="none"),
        lambda value: value["files"][0].update(plain_size=-1),
        lambda value: value["files"][0].update(cipher_size=31),
        lambda value: value["files"][0].update(root=""),
        lambda value: value["files"][0].update(check="00"),
        lambda value: value["files"][0].update(path="/a"),
        lambda value: value["files"][0].update(extra=1),
    ],
)
def test_a_sealing_record_that_contradicts_itself_is_refused(built: Built, change: Change) -> None:
    with pytest.raises(Malformed):
        records.parse_sealing(respelled(records.encode_sealing(sealing(built)), change), "it")


@pytest.mark.parametrize(
    "change",
    [
        lambda value: value.update(extra=1),
        lambda value: value.pop("seq"),
        lambda value: value.update(seq=-1),
        lambda value: value.update(environment="Prod"),
        lambda value: value.update(manifest=None),
        lambda value: value["policy"].update(extra=1),
    ],
)
def test_an_approval_of_another_shape_is_refused(built: Built, change: Change) -> None:
    payload = records.encode_approval(built.fork().approve("churn:1", "ann"))
    with pytest.raises(Malformed):
        records.parse_approval(respelled(payload, change), "it")


@pytest.mark.parametrize(
    "change",
    [
        lambda value: value.update(extra=1),
        lambda value: value.pop("prev"),
        lambda value: value.update(seq=0),
        lambda value: value.update(slot="Main"),
        lambda value: value.update(bars=["x"]),
        lambda value: value.update(bars=["1" * 64] * 2),
        lambda value: value.update(manifest=None),
        lambda value: value.update(version=None),
        lambda value: value.update(version=None, manifest=None),
        lambda value: value.update(bars=[value["manifest"]]),
        lambda value: value.update(model="a/@/1"),
    ],
)
def test_a_channel_record_that_contradicts_itself_is_refused(built: Built, change: Change) -> None:
    payload = records.encode_channel(built.record("churn:1", 1))
    with pytest.raises(Malformed):
        records.parse_channel(respelled(payload, change), "it")


def test_a_number_of_more_digits_than_json_may_have_is_refused(built: Built) -> None:
    payload = records.encode_channel(built.record("churn:1", 1)).replace(
        b'"seq":1', b'"seq":9223372036854775808'
    )
    with pytest.raises(Malformed) as caught:
        records.parse_channel(payload, "it")
    assert caught.value.code == "malformed-json"


def test_versions_in_records_are_versions(built: Built) -> None:
    record = replace(built.record("churn:1", 1), version=Version("latest"))
    with pytest.raises(Malformed):
        records.parse_channel(records.encode_channel(record), "it")
