"""Damage the stored bytes of a small vault, one change at a time, and tell what a load makes of it."""

from collections.abc import Iterator
from dataclasses import dataclass
from fnmatch import fnmatchcase
from functools import cache
from typing import Final

from tests.builders import Built, solo
from vault.errors import VaultError
from vault.keys.recipients import Kind

CONTENT: Final = {"model.json": b'{"w":1}'}
OLDER: Final = {"model.json": b'{"w":0}'}
SAME: Final = "the honest bytes"
OLD: Final = "the older honest version"


@dataclass(frozen=True, slots=True)
class Object:
    """A kind of stored object: the pattern of its names, and why damage to it may have no effect.

    `harmless` is empty where every change must be refused.
    """

    label: str
    pattern: str
    harmless: str = ""


OBJECTS: Final = (
    Object("root", "trust/root/*"),
    Object("policy", "trust/policy/*"),
    Object("manifest", "models/*/manifest.json"),
    Object("sealing record", "models/*/sealed/*"),
    Object("payload", "models/*/files/*"),
    Object("prod header", "models/*/keys/prod-1/*"),
    Object("prod key of the loader", "keys/prod/all/1/owner/*"),
    Object("channel record", "channels/*"),
    Object("dev header", "models/*/keys/dev-1/*", "a load in prod opens the headers of prod alone"),
    Object("dev key", "keys/dev/*", "a load in prod opens the key of prod alone"),
    Object("recovery key", "keys/prod/all/1/recovery/*", "it is wrapped for somebody else"),
    Object(
        "recipient", "trust/recipients/*", "read when a key is wrapped, and then compared with its digest"
    ),
    Object("README", "README.txt", "for people; never read"),
    Object("vault.json", "vault.json", "not trusted; what it says is in every signed payload type"),
)
BY_LABEL: Final = {entry.label: entry for entry in OBJECTS}
LABELS: Final = tuple(BY_LABEL)


@cache
def minimal(kind: Kind = "x25519") -> Built:
    """Build the smallest vault that serves: one owner, one model of one file, in prod."""
    built = solo(kind, seed="damage")
    built.promote(built.publish(CONTENT))
    assert built.read("churn@prod") == CONTENT
    return built


@cache
def grown() -> Built:
    """Build a vault with a past: version 1 was in prod, then a policy was signed, now version 2 is."""
    built = solo(seed="grown")
    built.promote(built.publish(OLDER))
    built.amend(lambda before: before)
    built.promote(built.publish(CONTENT))
    assert built.read("churn@prod") == CONTENT
    return built


def label_of(name: str) -> str:
    """Give the one kind that an object's name belongs to."""
    (found,) = [entry.label for entry in OBJECTS if fnmatchcase(name, entry.pattern)]
    return found


def objects(built: Built, label: str) -> list[str]:
    """List the names of one kind."""
    return [name for name in sorted(built.store.objects) if label_of(name) == label]


def load(
    built: Built, changes: dict[str, bytes | None], *, remembering: bool, ref: str = "churn@prod"
) -> str:
    """Verify and decrypt everything as a new client; give `SAME`, `OLD`, or the code of the refusal.

    The client has only the pin, or what its predecessor remembered. None removes an object. Nothing but a
    `VaultError` may come out, and no bytes but honest ones.
    """
    fork = built.fork(forgetful=not remembering)
    for name, data in changes.items():
        if data is None:
            del fork.store.objects[name]
        else:
            fork.store.objects[name] = data
    try:
        found = fork.read(ref)
    except VaultError as refusal:
        return refusal.code
    if found == CONTENT:
        return SAME
    assert found == OLDER, f"bytes that nobody signed: {found}"
    return OLD


# --- changes ---


def flips(data: bytes, step: int = 1, start: int = 0) -> Iterator[bytes]:
    """Give the data with one bit changed, for every `step`th bit."""
    for bit in range(start, len(data) * 8, step):
        changed = bytearray(data)
        changed[bit // 8] ^= 1 << (bit % 8)
        yield bytes(changed)


def truncations(data: bytes, step: int = 1) -> Iterator[bytes]:
    """Give every `step`th proper prefix, the empty one first."""
    for size in range(0, len(data), step):
        yield data[:size]


def extensions(data: bytes) -> Iterator[bytes]:
    """Give the data with something after, before or around it."""
    yield from (data + b"\n", data + b"\x00", data + b" ", data + data, data + data[:1])
    yield from (data + bytes(65_552), b"\n" + data, b"\xef\xbb\xbf" + data)
