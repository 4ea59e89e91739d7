"""The last branches of the parsers, each by one input, so that no line rests on what hypothesis draws."""

import json
from typing import Any

import pytest

from tests.builders import age_key, new_identity
from vault.core import (
    ed25519,
    formats,
    npy,
    pickle_trace,
    public_identity,
    safetensors_header,
    settings_format,
    static_stage,
    trusted_locations,
)
from vault.core.allowance import Allowance
from vault.errors import FormatRefused, Malformed, PickleRefused, Refused


def test_half_of_all_numbers_are_no_points_of_the_curve() -> None:
    reasons = []
    for y in range(2, 12):
        try:
            ed25519.PublicKey.parse(y.to_bytes(32, "little"))
        except Malformed as refusal:
            reasons.append(refusal.message)
    assert 2 <= len(reasons) <= 8
    assert all("not a point of the curve" in reason for reason in reasons)


def test_compressed_bytes_are_a_joblib_file_only_if_a_pickle_is_inside() -> None:
    assert formats.detect(b"\x04\x22\x4d\x18" + bytes(20)) == "joblib"  # LZ4
    assert formats.detect(b"\x78\x9c" + b"\xff" * 20) == "data"
    assert formats.detect(b"\x1f\x8b" + b"\x00" * 20) == "data"


def test_pins_of_another_format_are_refused() -> None:
    with pytest.raises(Refused, match="its format is not"):
        trusted_locations.parse_pins(b'{"format":"x","trusted":{}}', "it")


def test_a_header_names_each_field_with_a_colon() -> None:
    text = b"{'descr' '<f8', 'fortran_order': False, 'shape': (), }"
    data = b"\x93NUMPY\x01\x00" + len(text).to_bytes(2, "little") + text
    with pytest.raises(FormatRefused, match="not the one NumPy writes"):
        npy.parse_header(data, size=len(data))


def test_a_dotted_name_is_no_plain_name() -> None:
    for module, name in (("os", "path.join"), ("os..path", "join"), ("os", "")):
        with pytest.raises(PickleRefused, match="not one plain name"):
            pickle_trace.Tracer(joblib=True, subject="it").find(module, name)


def public(**change: Any) -> bytes:
    who = new_identity("ann")
    made = public_identity.encode(public_identity.PublicIdentity(who.name, who.public_key, who.recipient))
    return json.dumps({**json.loads(made), **change}).encode()


def test_a_public_identity_is_read_and_refused_where_a_key_is_wrong() -> None:
    assert public_identity.parse(public(), "it").recipient == new_identity("ann").recipient
    for change in (
        {"age": age_key(new_identity("ann"))[:-1] + "b"},
        {"age": "x"},
        {"ed25519": "AAAA"},
        {"z": 1},
    ):
        with pytest.raises(Malformed) as caught:
            public_identity.parse(public(**change), "it")
        assert caught.value.code == "malformed-identity"


def test_a_safetensors_header_lies_inside_the_file() -> None:
    for data in (b"", b"\xff" * 8, (9).to_bytes(8, "little") + b"{}"):
        with pytest.raises(FormatRefused, match="runs past the end"):
            safetensors_header.check(data)


def test_a_projects_file_sets_nothing_that_its_user_decides() -> None:
    with pytest.raises(Malformed, match="sets 'identity', which a project may not"):
        settings_format.parse_project(b'identity = "x"', "it")


def test_the_static_stage_reads_array_and_safetensors_headers() -> None:
    header = b"{'descr': '<f8', 'fortran_order': False, 'shape': (1,), }"
    array = b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header + bytes(8)
    tensor = json.dumps({"w": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}}).encode()
    tensors = len(tensor).to_bytes(8, "little") + tensor + bytes(4)
    for kind, data in (("npy", array), ("safetensors", tensors)):
        assert static_stage.observe(kind, data, Allowance(), "it") == frozenset()
        with pytest.raises(FormatRefused):
            static_stage.observe(kind, data[:-1], Allowance(), "it")
