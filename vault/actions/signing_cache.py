"""Remember digests between two signings, so that only what changed is hashed again.

A file whose device, inode, size and both times (in nanoseconds) are as before is taken to be unchanged.
The cache is authenticated under a key that only this identity has, since whoever could write digests into
it could have them signed. It is never looked at to verify.
"""

import hashlib
import hmac
import os
import secrets
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Final

from vault.actions import local_files
from vault.actions.signing_walk import Stamp
from vault.core import limits, strict_json
from vault.core.oms_statement import Resource
from vault.errors import VaultError

PURPOSE: Final = b"mvault cache of digests, v1"
FOLDER: Final = "signing"

_FORMAT: Final = "mvault-signing-cache-v1"
_SETTLED: Final = 2_000_000_000  # nanoseconds: a file that was just written may be again within one tick
_FIELDS: Final = 6


class Cache:
    """The digests of one folder or file on this machine."""

    def __init__(self, state: Path, place: Path, key: bytes) -> None:
        """Use the cache of `place` below the state folder; `key` is 32 secret bytes."""
        self._path = state / FOLDER / hashlib.sha256(os.fsencode(place)).hexdigest()
        self._place, self._key = str(place), key
        self._began = time.time_ns()

    def load(self) -> Mapping[str, tuple[Stamp, bytes]]:
        """Give what is remembered; a cache that is missing, damaged or another's remembers nothing."""
        try:
            with local_files.view(self._path) as whole:
                data = bytes(whole[: limits.OMS_CACHE_BYTES])
        except (VaultError, ValueError, OSError):
            return {}
        mac, _, body = data.partition(b"\n")
        if not hmac.compare_digest(mac, self._mac(body)):
            return {}
        return self._entries(body)

    def _entries(self, body: bytes) -> Mapping[str, tuple[Stamp, bytes]]:
        try:
            value = strict_json.parse(body, limit=limits.OMS_CACHE_BYTES, items=10 * limits.OMS_RESOURCES)
            if not isinstance(value, dict) or value["format"] != _FORMAT or value["place"] != self._place:
                return {}
            files = value["files"]
            if not isinstance(files, dict):
                return {}
            return {path: _entry(str(text)) for path, text in files.items()}
        except (VaultError, KeyError, ValueError):
            return {}

    def save(self, files: Mapping[str, tuple[Stamp, Resource]]) -> None:
        """Remember digests of files that have lain still for a while; a failure costs only time."""
        settled = {
            path: _text(stamp, resource.digest)
            for path, (stamp, resource) in files.items()
            if max(stamp.modified, stamp.changed) < self._began - _SETTLED
        }
        body = strict_json.encode({"files": dict(settled), "format": _FORMAT, "place": self._place})
        draft = self._path.with_name(f".{secrets.token_hex(8)}.tmp")
        with suppress(OSError):
            self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            try:
                descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
                with os.fdopen(descriptor, "wb") as file:
                    file.write(self._mac(body) + b"\n" + body)
                os.replace(draft, self._path)
            finally:
                draft.unlink(missing_ok=True)

    def _mac(self, body: bytes) -> bytes:
        return hmac.new(self._key, body, hashlib.sha256).hexdigest().encode()


def _text(stamp: Stamp, digest: bytes) -> str:
    numbers = (stamp.device, stamp.inode, stamp.size, stamp.modified, stamp.changed)
    return " ".join([*map(str, numbers), digest.hex()])


def _entry(text: str) -> tuple[Stamp, bytes]:
    parts = text.split(" ")
    if len(parts) != _FIELDS:
        raise ValueError("not an entry")
    device, inode, size, modified, changed = (int(part) for part in parts[:-1])
    return Stamp(device, inode, size, modified, changed), bytes.fromhex(parts[-1])
