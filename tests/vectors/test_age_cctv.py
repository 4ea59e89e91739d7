"""The C2SP/CCTV age cases that apply here: what each expects is what happens, and all of them ran."""

import hashlib
import zlib
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.core.payload_parts import BytesSink, BytesSource
from vault import sealing
from vault.core import age
from vault.errors import DigestMismatch, Malformed, NoUsableKey, VaultError
from vault.keys import recipients

FOLDER = Path(__file__).parent / "age"
NOT_CASES = {"README.md", ".gitattributes"}
LIMIT = 1 << 26
EXPECTED: dict[str, tuple[type[VaultError], str]] = {
    "header failure": (Malformed, "malformed-header"),
    "HMAC failure": (DigestMismatch, "decrypt-failed"),
    "no match": (NoUsableKey, "no-usable-key"),
    "payload failure": (DigestMismatch, "decrypt-failed"),
}


@dataclass(frozen=True)
class Case:
    """One vector: its fields, some of which repeat, and the age file."""

    fields: tuple[tuple[str, str], ...]
    file: bytes

    def all(self, key: str) -> list[str]:
        """Return every value of a field."""
        return [value for name, value in self.fields if name == key]

    @property
    def expect(self) -> str:
        """What must happen."""
        return self.all("expect")[0]

    @property
    def identities(self) -> list[recipients.Identity]:
        """The identities to open the file with."""
        return [recipients.parse_identity(line) for line in self.all("identity")]


def read_case(path: Path) -> Case:
    head, _, file = path.read_bytes().partition(b"\n\n")
    pairs = [line.partition(": ") for line in head.decode().splitlines()]
    fields = tuple((key, value) for key, _, value in pairs)
    if ("compressed", "zlib") in fields:
        file = zlib.decompress(file)
    return Case(fields, file)


CASES = {path.name: read_case(path) for path in sorted(FOLDER.iterdir()) if path.name not in NOT_CASES}
OPENING = [name for name, case in CASES.items() if case.expect != "header failure"]


def test_all_the_cases_that_apply_are_here() -> None:
    hybrid = [name for name in CASES if name.startswith("hybrid")]
    assert (len(CASES) - len(hybrid), len(hybrid)) == (67, 18)
    known = {"expect", "payload", "identity", "file key", "comment", "compressed"}
    assert {key for case in CASES.values() for key, _ in case.fields} == known
    counts = {
        expect: sum(case.expect == expect for case in CASES.values()) for expect in (*EXPECTED, "success")
    }
    assert counts == {
        "header failure": 40,
        "HMAC failure": 1,
        "no match": 8,
        "payload failure": 18,
        "success": 18,
    }


@pytest.mark.parametrize("name", CASES)
def test_a_case_ends_as_it_expects(name: str) -> None:
    case = CASES[name]
    if case.expect == "success":
        plaintext = recipients.decrypt_bytes(case.file, case.identities, limit=LIMIT)
        assert hashlib.sha256(plaintext).hexdigest() == case.all("payload")[0]
        return
    kind, code = EXPECTED[case.expect]
    with pytest.raises(VaultError) as caught:
        recipients.decrypt_bytes(case.file, case.identities, limit=LIMIT)
    assert (type(caught.value), caught.value.code) == (kind, code)


@pytest.mark.parametrize("name", OPENING)
def test_a_header_that_parses_serialises_to_the_same_bytes(name: str) -> None:
    header, consumed = age.parse_header(CASES[name].file)
    assert age.serialise_header(header) == CASES[name].file[:consumed]
    assert age.parse_detached_header(CASES[name].file[:consumed]) == header


@pytest.mark.parametrize(
    "name", [name for name in OPENING if CASES[name].expect in {"success", "payload failure"}]
)
def test_a_payload_ends_in_the_same_way_over_threads(name: str) -> None:
    case = CASES[name]
    header, consumed = age.parse_header(case.file)
    file_key = recipients.unwrap(header, case.identities)
    assert file_key.hex() == case.all("file key")[0]
    source, sink = BytesSource(case.file[consumed:]), BytesSink()

    def unseal() -> bytes:
        return sealing.unseal(
            source,
            sink,
            file_key=file_key,
            cipher_size=source.size,
            plain_size=age.plain_size(source.size),
            threads=3,
        )

    if case.expect == "payload failure":
        with pytest.raises(DigestMismatch) as caught:
            unseal()
        assert caught.value.code == "decrypt-failed"
        return
    assert unseal().hex() == hashlib.sha256(sink.data).hexdigest() == case.all("payload")[0]
    again = BytesSink()
    sealing.seal(BytesSource(sink.data), again, file_key=file_key, nonce=bytes(source.data[:16]))
    assert again.data == source.data
