"""Whatever looks at a stranger's bytes answers or refuses; no other exception ever escapes."""

import io
import json
import pickle
import zipfile
from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests import builders
from tests.property.mutations import Valid, attempt, damaged, hostile
from vault import policyfile
from vault.core import (
    age,
    bech32,
    ciphertext_tree,
    ed25519,
    formats,
    inspection,
    limits,
    settings_format,
    static_stage,
)
from vault.core.allowance import Allowance
from vault.errors import NoUsableKey, Refused
from vault.keys import recipients

EVERYTHING = Allowance(
    formats=frozenset(formats.FORMATS),
    onnx_domains=frozenset({"com.microsoft"}),
)
MEMBER = "model.npy"


def npy() -> bytes:
    header = b"{'descr': '<f8', 'fortran_order': False, 'shape': (2,), }"
    header += b" " * (64 - (10 + len(header) + 1) % 64) + b"\n"
    return b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header + bytes(16)


def archive(method: int, **members: bytes) -> bytes:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", method) as made:
        for name, data in members.items():
            made.writestr(name.replace("__", "."), data)
    return packed.getvalue()


def skops() -> bytes:
    node = {"__class__": "ndarray", "__module__": "numpy", "__loader__": "NdArrayNode", "__id__": 1}
    schema = {**node, "type": "numpy", "file": MEMBER, "protocol": 2, "_skops_version": "0.14.0"}
    return archive(zipfile.ZIP_DEFLATED, schema__json=json.dumps(schema).encode(), model__npy=npy())


def message(number: int, content: bytes) -> bytes:
    """Write one length-delimited protobuf field of less than 128 bytes."""
    return bytes([number << 3 | 2, len(content)]) + content


def onnx() -> bytes:
    node = message(1, b"x") + message(2, b"y") + message(4, b"Relu")
    graph = (
        message(1, node) + message(2, b"g") + message(11, message(1, b"x")) + message(12, message(1, b"y"))
    )
    return b"\x08\x08" + message(7, graph) + message(8, b"\x0a\x00\x10\x11")


def samples() -> list[bytes]:
    """Give a small file of each format."""
    tensor = json.dumps({"w": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}}).encode()
    return [
        onnx(),
        skops(),
        npy(),
        archive(zipfile.ZIP_STORED, a__npy=npy()),
        pickle.dumps({"a": [1, 2.5, "x", b"y", None, (True,)]}, protocol=4),
        pickle.dumps([complex(1, 2), frozenset([1])], protocol=5),
        b"\x80\x04\x95\x0c\x00\x00\x00\x00\x00\x00\x00\x8c\x02os\x8c\x06system\x93.",
        len(tensor).to_bytes(8, "little") + tensor + bytes(4),
        b'{"a": [1, 2.5, null]}',
        b"a,b\n1,2\n",
    ]


@settings(max_examples=150)
@given(hostile(samples, text=True), st.sampled_from(sorted(formats.FORMATS)))
def test_a_file_of_any_content_is_admitted_by_its_format_or_refused(data: bytes, kind: str) -> None:
    endings = formats.FORMATS[kind].extensions or ("",)
    attempt(
        lambda data: static_stage.check(
            f"a{endings[0]}", kind, memoryview(data), frozenset(), EVERYTHING, "it"
        ),
        data,
    )


@settings(max_examples=150)
@given(hostile(samples, text=True), st.sampled_from(sorted(formats.FORMATS)))
def test_the_static_stage_of_any_format_answers_or_refuses(data: bytes, kind: str) -> None:
    seen = attempt(lambda data: static_stage.observe(kind, data, EVERYTHING, "it"), data)
    assert isinstance(seen, Refused) or all(isinstance(name, str) for name in seen)
    if isinstance(seen, Refused):
        assert seen.subject == "it"


@settings(max_examples=150)
@given(hostile(samples, text=True))
def test_the_format_of_any_content_is_named_or_refused(data: bytes) -> None:
    found = attempt(formats.detect, data)
    assert isinstance(found, Refused) or found in formats.FORMATS


@settings(max_examples=150)
@given(
    hostile(samples, text=True), st.sampled_from(["model", "m.onnx", "m.skops", "m.pkl", "m.joblib", "m.npz"])
)
def test_inspection_of_any_content_gives_a_verdict(data: bytes, name: str) -> None:
    assert inspection.inspect_bytes(name, data).verdict


# --- keys and ciphertext ---


def keys() -> list[bytes]:
    texts = []
    kinds: tuple[recipients.Kind, ...] = ("x25519", "mlkem768x25519")
    for kind in kinds:
        identity = recipients.generate_identity(kind, builders.Draws("keys"))
        texts += [identity.encode(), identity.recipient().encode()]
    return [text.encode() for text in texts]


@settings(max_examples=150)
@given(hostile(keys, text=True))
def test_any_text_is_a_key_that_is_written_the_same_or_is_refused(data: bytes) -> None:
    text = data.decode("utf-8", "replace")
    for parse in (recipients.parse_recipient, recipients.parse_identity):
        found = attempt(lambda _, parse=parse: parse(text).encode(), data)  # type: ignore[misc]
        assert isinstance(found, Refused) or found == text
    decoded = attempt(lambda _: bech32.decode(text), data)
    assert isinstance(decoded, Refused) or bech32.encode(*decoded) == text


@given(st.binary(max_size=40) | st.binary(min_size=32, max_size=32))
def test_any_bytes_are_an_ed25519_key_or_are_refused(data: bytes) -> None:
    found = attempt(ed25519.PublicKey.parse, data)
    assert isinstance(found, Refused) or found.raw == data


FILE_KEY = bytes(range(16))
PLAIN = bytes(70_000)


def age_files() -> list[bytes]:
    identity = recipients.generate_identity("x25519", builders.Draws("age"))
    return [recipients.encrypt_bytes(b"secret", [identity.recipient()], builders.Draws("file"))]


@settings(max_examples=100)
@given(damaged(age_files))
def test_a_damaged_age_file_opens_to_the_same_plaintext_or_not_at_all(data: bytes) -> None:
    identity = recipients.generate_identity("x25519", builders.Draws("age"))
    try:
        found = attempt(lambda data: recipients.decrypt_bytes(data, [identity], limit=limits.KIB), data)
    except NoUsableKey:
        return  # a changed stanza looks like somebody else's
    assert isinstance(found, Refused) or (found == b"secret" and data == age_files()[0])


def payloads() -> list[bytes]:
    return [age.seal_payload(FILE_KEY, bytes(16), PLAIN), age.seal_payload(FILE_KEY, bytes(16), b"")]


@settings(max_examples=100)
@given(damaged(payloads))
def test_a_damaged_payload_opens_to_the_same_plaintext_or_is_refused(data: bytes) -> None:
    found = attempt(lambda data: age.open_payload(FILE_KEY, data), data)
    assert isinstance(found, Refused) or (found in (PLAIN, b"") and data in payloads())


@given(st.binary(max_size=200), st.integers(0, 1 << 60), st.binary(min_size=32, max_size=32))
def test_any_unit_digests_give_the_root_or_are_refused(data: bytes, size: int, root: bytes) -> None:
    found = attempt(
        lambda data: ciphertext_tree.parse_units(data, cipher_size=size, expected_root=root), data
    )
    assert isinstance(found, Refused) or ciphertext_tree.root(size, found) == root


# --- what people write ---


def policies() -> list[bytes]:
    return [policyfile.shipped("solo").encode(), builders.TEAM.encode()]


def policy_tests() -> list[bytes]:
    return [policyfile.shipped("team.test").encode()]


def settings_files() -> list[bytes]:
    return [
        b'vault = "models/"\nenv = "dev"\n[display]\ncolor = "never"\nprogress = false\n',
        b'identity = "me.key"\ntrust = "t.json"\n[allow]\nformats = ["joblib"]\nmax_bytes = 5\n',
    ]


def read_policy(data: bytes) -> object:
    return policyfile.parse(data.decode("utf-8", "replace"), "it")


def read_policy_tests(data: bytes) -> object:
    return policyfile.parse_tests(data.decode("utf-8", "replace"), "it")


WRITTEN: dict[str, tuple[Valid, Callable[[bytes], object]]] = {
    "policy file": (policies, read_policy),
    "expected decisions": (policy_tests, read_policy_tests),
    "project settings": (settings_files, lambda data: settings_format.parse_project(data, "it")),
    "user settings": (settings_files, lambda data: settings_format.parse_user(data, "it")),
}


@pytest.mark.parametrize("kind", WRITTEN)
@settings(max_examples=100)
@given(draw=st.data())
def test_what_people_write_is_read_or_refused(kind: str, draw: st.DataObject) -> None:
    valid, read = WRITTEN[kind]
    attempt(read, draw.draw(hostile(valid, text=True)))
