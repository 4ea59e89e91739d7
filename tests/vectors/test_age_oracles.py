"""Independent age programs open what is written here, and what they write opens here."""

import os
from collections.abc import Iterator
from pathlib import Path
from random import Random
from typing import Protocol

import pytest

from tests import oracles
from tests.core.payload_parts import BytesSink, BytesSource
from vault import sealing
from vault.core import age
from vault.keys import recipients
from vault.keys.recipients import Identity, Kind

pytestmark = pytest.mark.oracle

SIZES = [0, 1, 65_535, 65_536, 65_537, 1_048_576, 2 * 1_048_576 + 7]
PLAINS = [Random(size).randbytes(size) for size in SIZES]
NODE_SCRIPT = """
import { readFileSync, writeFileSync } from "node:fs";
import { Encrypter, Decrypter, identityToRecipient } from "age-encryption";
const [verb, key, ...files] = process.argv.slice(2);
for (const file of files) {
  const input = readFileSync(file);
  let output;
  if (verb === "encrypt") {
    const encrypter = new Encrypter();
    encrypter.addRecipient(key);
    output = await encrypter.encrypt(input);
  } else if (verb === "decrypt") {
    const decrypter = new Decrypter();
    decrypter.addIdentity(key);
    output = await decrypter.decrypt(input, "uint8array");
  } else {
    output = await identityToRecipient(key);
  }
  writeFileSync(file, output);
}
"""


class AgeProgram(Protocol):
    """Another implementation of age."""

    def recipient(self, identity: str) -> str:
        """Return the public half of an identity line."""

    def encrypt(self, recipient: str, plaintexts: list[bytes]) -> list[bytes]:
        """Return an age file for each."""

    def decrypt(self, identity: str, files: list[bytes]) -> list[bytes]:
        """Return the plaintext of each age file."""


class Pyrage:
    """pyrage, in Rust."""

    def __init__(self) -> None:
        self._module = oracles.module("pyrage")

    def recipient(self, identity: str) -> str:
        return str(self._module.x25519.Identity.from_str(identity).to_public())

    def encrypt(self, recipient: str, plaintexts: list[bytes]) -> list[bytes]:
        to = [self._module.x25519.Recipient.from_str(recipient)]
        return [self._module.encrypt(plaintext, to) for plaintext in plaintexts]

    def decrypt(self, identity: str, files: list[bytes]) -> list[bytes]:
        keys = [self._module.x25519.Identity.from_str(identity)]
        return [self._module.decrypt(file, keys) for file in files]


class StockAge:
    """The age program, in Go; Debian's knows X25519 only."""

    def __init__(self, folder: Path) -> None:
        self._age = oracles.program("age", "age")
        self._keygen = oracles.program("age-keygen", "age")
        self._identity = folder / "identity.txt"

    def recipient(self, identity: str) -> str:
        return oracles.run(self._keygen, "-y", given=identity.encode()).decode().strip()

    def encrypt(self, recipient: str, plaintexts: list[bytes]) -> list[bytes]:
        return [oracles.run(self._age, "-r", recipient, given=plaintext) for plaintext in plaintexts]

    def decrypt(self, identity: str, files: list[bytes]) -> list[bytes]:
        self._identity.write_text(identity + "\n")
        return [oracles.run(self._age, "-d", "-i", self._identity, given=file) for file in files]


class NodeAge:
    """age-encryption from npm, in TypeScript; knows both kinds."""

    def __init__(self, folder: Path, cache: Path) -> None:
        self._node = oracles.program("node", "nodejs")
        packages = oracles.npm_folder("age-encryption", cache)
        self._script = packages / f"oracle-{os.getpid()}.mjs"
        self._script.write_text(NODE_SCRIPT)
        self._folder = folder

    def _run(self, verb: str, key: str, given: list[bytes]) -> list[bytes]:
        files = [self._folder / str(number) for number in range(len(given))]
        for file, data in zip(files, given, strict=True):
            file.write_bytes(data)
        oracles.run(self._node, self._script, verb, key, *files)
        return [file.read_bytes() for file in files]

    def recipient(self, identity: str) -> str:
        return self._run("recipient", identity, [b""])[0].decode()

    def encrypt(self, recipient: str, plaintexts: list[bytes]) -> list[bytes]:
        return self._run("encrypt", recipient, plaintexts)

    def decrypt(self, identity: str, files: list[bytes]) -> list[bytes]:
        return self._run("decrypt", identity, files)

    def close(self) -> None:
        """Remove the script."""
        self._script.unlink()


PROGRAMS: list[tuple[str, Kind]] = [
    ("pyrage", "x25519"),
    ("age", "x25519"),
    ("npm", "x25519"),
    ("npm", "mlkem768x25519"),
]


@pytest.fixture(params=PROGRAMS, ids="-".join)
def pair(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[tuple[AgeProgram, Identity]]:
    """An independent program and an identity of a kind that it knows."""
    name, kind = request.param
    identity = recipients.generate_identity(kind, os.urandom)
    if name == "npm":
        node = NodeAge(tmp_path, request.config.cache.mkdir("oracles"))
        yield node, identity
        node.close()
    else:
        yield (Pyrage() if name == "pyrage" else StockAge(tmp_path)), identity


def sealed_file(identity: Identity, plaintext: bytes) -> bytes:
    """Return a detached header and the payload that was sealed for it, one after the other."""
    file_key, sink = os.urandom(16), BytesSink()
    header = recipients.wrap(file_key, [identity.recipient()], os.urandom)
    sealing.seal(BytesSource(plaintext), sink, file_key=file_key, nonce=os.urandom(16), threads=2)
    return header + bytes(sink.data)


def test_both_name_the_same_recipient(pair: tuple[AgeProgram, Identity]) -> None:
    program, identity = pair
    assert program.recipient(identity.encode()) == identity.recipient().encode()


def test_a_detached_header_and_its_payload_are_an_age_file(pair: tuple[AgeProgram, Identity]) -> None:
    program, identity = pair
    files = [sealed_file(identity, plain) for plain in PLAINS]
    assert program.decrypt(identity.encode(), files) == PLAINS


def test_a_small_file_written_in_memory_opens_there(pair: tuple[AgeProgram, Identity]) -> None:
    program, identity = pair
    files = [recipients.encrypt_bytes(plain, [identity.recipient()], os.urandom) for plain in PLAINS]
    assert program.decrypt(identity.encode(), files) == PLAINS


def test_what_they_encrypt_opens_here(pair: tuple[AgeProgram, Identity]) -> None:
    program, identity = pair
    for plain, file in zip(PLAINS, program.encrypt(identity.recipient().encode(), PLAINS), strict=True):
        assert recipients.decrypt_bytes(file, [identity], limit=len(plain)) == plain
        header, consumed = age.parse_header(file)
        payload = BytesSource(file[consumed:])
        opened, _ = sealing.unseal_bytes(
            payload,
            file_key=recipients.unwrap(header, [identity]),
            cipher_size=payload.size,
            plain_size=len(plain),
            threads=2,
        )
        assert opened == plain
