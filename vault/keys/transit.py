"""Wrap keys, and sign, by the transit engine of OpenBao or Vault (docs/format.md, "Keys in a service").

Keys never leave the engine. What is wrapped is bound to its context as
associated data, and a key that is `derived` by it as well. Source: OpenBao API,
"Transit secrets engine": encrypt, decrypt, sign, read key. A token is sent to the
address that it was set for, and nowhere else.
"""

import base64
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Final

from vault.core import ed25519, key_services, limits, strict_json
from vault.core.fields import Fields, base64_bytes
from vault.core.key_services import KeyServiceId, SigningKeyId, TransitKey
from vault.errors import BadSignature, Malformed, NoUsableKey, Refused, Unavailable, VaultError

_CONNECT_SECONDS: Final = 5
_READ_SECONDS: Final = 10
_CIPHERTEXT: Final = re.compile(rb"vault:v[1-9][0-9]{0,8}:[A-Za-z0-9+/]{1,8192}={0,2}\Z")
_SIGNATURE: Final = re.compile(r"vault:v([1-9][0-9]{0,8}):(.+)\Z", re.ASCII)
_TOKEN: Final = re.compile(r"[\x21-\x7e]+\Z")
_TRIAL: Final = b"mvault/v1/identity-check"  # signed once, to see that a new identity signs

ADDRESS_VARIABLES: Final = ("BAO_ADDR", "VAULT_ADDR")
TOKEN_FILE_VARIABLE: Final = "MVAULT_TRANSIT_TOKEN_FILE"  # noqa: S105 (the name of a variable)
TOKEN_VARIABLES: Final = ("BAO_TOKEN", "VAULT_TOKEN")
CA_VARIABLES: Final = ("BAO_CACERT", "VAULT_CACERT")
_TOKEN_HINT: Final = (
    f"Set {TOKEN_FILE_VARIABLE} to a file with a token, or BAO_TOKEN or VAULT_TOKEN, or log in: bao login"
)


@dataclass(frozen=True, slots=True)
class TransitService:
    """One key of a transit engine, as `vault.ports.KeyService`."""

    service: KeyServiceId

    def wrap(self, plaintext: bytes, context: Mapping[str, str]) -> bytes:
        """Have the engine encrypt a key, at the very address that the policy names.

        Raises:
            Unavailable, AccessDenied, NoUsableKey: see `vault.ports.KeyService`.
            MissingLibrary: hvac is not installed.
        """
        key = self._key()
        if _chosen_address(key) != key.address:
            raise NoUsableKey(
                f"The policy names the key {key.url}, and {_address_variable()} another service.",
                subject=key.url,
                hint=f"A key is handed to no other service. Set {_address_variable()}={key.address}",
            )
        told = {"plaintext": base64.b64encode(plaintext).decode("ascii"), **_bound(context)}
        given = _text(_ask(key, key.address, "encrypt", told), "ciphertext")
        wrapped = given.encode("utf-8", "replace")
        if not _CIPHERTEXT.match(wrapped):
            raise _odd(key.url, "it gave no ciphertext")
        return wrapped

    def unwrap(self, wrapped: bytes, context: Mapping[str, str]) -> bytes:
        """Have the engine decrypt what `wrap` gave, under the same context.

        Raises:
            DigestMismatch: it does not open it (`decrypt-failed`).
            Unavailable, AccessDenied, NoUsableKey: see `vault.ports.KeyService`.
            MissingLibrary: hvac is not installed.
        """
        key = self._key()
        if not _CIPHERTEXT.match(wrapped):
            raise key_services.not_opened(key.url, "it is no ciphertext of a transit engine")
        told = {"ciphertext": wrapped.decode("ascii"), **_bound(context)}
        found = _ask(key, _chosen_address(key), "decrypt", told)
        try:
            plaintext = found.text("plaintext", base64_bytes)
        except Malformed:
            raise _odd(key.url, "it gave no plaintext") from None
        return key_services.plain_key(plaintext, key.url)

    def _key(self) -> TransitKey:
        return key_services.transit_key(self.service.key)


@dataclass(frozen=True, slots=True)
class TransitSigner:
    """One version of an Ed25519 key of a transit engine, as `vault.ports.SigningService`.

    `public` is pinned: a signature by any other key is refused.
    """

    key: SigningKeyId
    public: ed25519.PublicKey

    def sign(self, message: bytes) -> bytes:
        """Have the engine sign, and verify what it gave.

        Raises:
            BadSignature: it is not the signature of the message under the pinned key.
            Unavailable, AccessDenied, NoUsableKey: see `vault.ports.SigningService`.
            MissingLibrary: hvac is not installed.
        """
        key, version = self.key.key, self.key.version
        told = {"input": base64.b64encode(message).decode("ascii"), "key_version": version}
        try:
            given = _text(_ask(key, key.address, "sign", told), "signature")
        except Unavailable:
            _check_version(key, version)
            raise
        found = _SIGNATURE.match(given) if len(given) < limits.KIB else None
        try:
            signature = base64_bytes(found[2]) if found is not None else b""
        except Malformed:
            signature = b""
        if found is None or found[1] != str(version) or not self.public.verify(signature, message):
            raise BadSignature(
                f"{key.url} did not sign with the key of this identity, version {version}.",
                subject=key.url,
                hint="If the key was made anew there, make a new identity: mvault identity new --transit",
            )
        return signature


def open_service(service: KeyServiceId) -> TransitService:
    """Give the service of a transit key; nothing is asked and no library imported yet."""
    return TransitService(service)


def open_signer(key: SigningKeyId, public: ed25519.PublicKey) -> TransitSigner:
    """Give what signs with a key whose public half is known; nothing is asked yet."""
    return TransitSigner(key, public)


def find_signer(key: TransitKey, version: int | None) -> TransitSigner:
    """Look up the public half of an Ed25519 key, of its newest version unless told, and let it sign once.

    Raises:
        ValueError: it is of another type, is derived, may leave the service, or has no such version.
        BadSignature: the service does not sign with the key that it shows.
        Unavailable, AccessDenied, NoUsableKey, MissingLibrary: see `TransitSigner.sign`.
    """
    found = _ask(key, key.address, "keys", None)
    try:
        kind, derived = found.text("type", str), found.boolean("derived")
        leaves = found.boolean("exportable") or found.boolean("allow_plaintext_backup")
        newest = found.integer("latest_version", 1, limits.NUMBER_MAX)
        versions = found.mapping("keys", str, limits.KIB)
    except Malformed:
        raise _odd(key.url, "it does not describe the key") from None
    if kind != "ed25519" or derived:
        raise ValueError(
            f"{key.url} is a {'derived ' if derived else ''}key of type {key_services.told(kind)}; an "
            "identity signs with a plain one of type ed25519."
        )
    if leaves:
        raise ValueError(
            f"The private half of {key.url} may be exported or backed up, so others may hold it."
        )
    wanted = newest if version is None else version
    if str(wanted) not in versions:
        raise ValueError(f"{key.url} has no version {wanted} any more; the newest is {newest}.")
    try:
        raw = Fields(versions[str(wanted)], "The key").text("public_key", base64_bytes)
        public = ed25519.PublicKey.parse(raw)
    except Malformed:
        raise _odd(key.url, "it shows no public key that can be used") from None
    signer = TransitSigner(SigningKeyId(key, wanted), public)
    signer.sign(_TRIAL)
    return signer


def _check_version(key: TransitKey, version: int) -> None:
    """Tell a version that the engine signs with no more, which it answers as a failure of its own.

    Raises:
        AccessDenied: it is too old, or not there.
    """
    try:
        found = _ask(key, key.address, "keys", None)
        lowest = found.integer("min_encryption_version")
        there = str(version) in found.mapping("keys", str, limits.KIB)
    except VaultError:
        return
    if version < lowest or not there:
        raise key_services.denied(key.url, f"it does not sign with version {version} of the key any more")


def _bound(context: Mapping[str, str]) -> dict[str, str]:
    """Bind to a context: as associated data, and as what a derived key is derived from."""
    spelled = base64.b64encode(strict_json.encode(dict(context))).decode("ascii")
    return {"associated_data": spelled, "context": spelled}


# --- whom to ask, and who is asking ---


def _address_variable() -> str:
    return next((name for name in ADDRESS_VARIABLES if os.environ.get(name)), ADDRESS_VARIABLES[0])


def _chosen_address(key: TransitKey) -> str:
    """Give the address that was set beside the token: a policy alone gets no token sent anywhere.

    Raises:
        NoUsableKey: none is set, or no address.
    """
    variable = _address_variable()
    try:
        return key_services.address(os.environ.get(variable, "").rstrip("/"))
    except Malformed as error:
        said = f" {variable} is none: {error.message}" if os.environ.get(variable) else ""
        raise NoUsableKey(
            f"It is not set here to whom a token for {key.url} may be sent.{said}",
            subject=key.url,
            hint=f"If you trust that service with your token: {variable}={key.address}",
        ) from None


def _token(key: TransitKey) -> str:
    """Read the token anew for each call, since an agent may have renewed it.

    Raises:
        NoUsableKey: there is none.
    """
    told = [Path(os.environ[TOKEN_FILE_VARIABLE])] if os.environ.get(TOKEN_FILE_VARIABLE) else []
    named = next((os.environ[name] for name in TOKEN_VARIABLES if os.environ.get(name)), None)
    if not told and named is None and os.environ.get("HOME"):
        told = [Path(os.environ["HOME"], ".vault-token")]
    text = named or ""
    for path in told:
        try:
            descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
            with open(descriptor, "rb") as file:
                text = file.read(limits.TOKEN_BYTES + 1).decode("ascii", "replace")
        except OSError:
            raise key_services.no_credentials(key.url, _TOKEN_HINT) from None
    text = text.strip()
    if not _TOKEN.match(text) or len(text) > limits.TOKEN_BYTES:
        raise key_services.no_credentials(key.url, _TOKEN_HINT)
    return text


# --- one request ---


def _ask(key: TransitKey, address: str, verb: str, told: Mapping[str, Any] | None) -> Fields:
    """Ask the engine to encrypt, decrypt or sign, or for what it shows of a key; give the `data` it answers.

    Raises:
        Unavailable, Refused, NoUsableKey, MissingLibrary: as the callers say.
    """
    try:
        hvac, requests, urllib3, broken = _libraries()
    except ImportError:
        raise key_services.missing_library(key.url, "hvac", "transit") from None
    token = _token(key)
    path = f"/v1/{key.mount}/{verb}/{key.name}"
    with _session(requests, urllib3, address) as session:
        client = hvac.Client(
            url=address,
            token=token,
            timeout=(_CONNECT_SECONDS, _READ_SECONDS),
            session=session,
            adapter=_bounded_adapter(),
            allow_redirects=False,  # they would take the token along
        )
        try:
            answer = client.adapter.get(path) if told is None else client.adapter.post(path, json=dict(told))
        except broken as error:
            raise key_services.unavailable(key.url, f"{type(error).__name__}: {error}") from None
    return _read(key.url, verb, *answer)


def _read(url: str, verb: str, status: int, data: bytes) -> Fields:
    """Tell what an answer means by its status (OpenBao API, "HTTP status codes")."""
    try:
        value = strict_json.parse(data, limit=limits.KEY_SERVICE_BYTES, floats=True, canonical=False)
    except Refused as refusal:
        if status in (401, 403):
            raise key_services.denied(url, f"it answers {status}") from None
        raise _odd(url, f"status {status}: {refusal.message}") from None
    found = value if isinstance(value, dict) else {}
    if status == 200:
        try:
            return Fields(found.get("data"), url)
        except Malformed:
            raise _odd(url, "there is nothing in it") from None
    errors = found.get("errors")
    listed = [text for text in errors if isinstance(text, str)] if isinstance(errors, list) else []
    reason = f"{'; '.join(listed[:3])} (status {status})"
    if status == 400 and verb == "decrypt":
        raise key_services.not_opened(url, reason)
    if status in (400, 401, 403, 404):
        raise key_services.denied(url, reason)
    raise key_services.unavailable(url, reason)


def _text(found: Fields, name: str) -> str:
    try:
        return found.text(name, str)
    except Malformed:
        raise _odd(found.what, f"it gave no {name}") from None


def _odd(url: str, reason: str) -> Unavailable:
    return key_services.unavailable(url, f"it did not answer as it should, {reason}")


@cache
def _libraries() -> tuple[Any, Any, Any, tuple[type[Exception], ...]]:
    """Give hvac and what it speaks HTTP with, and what those raise where an answer is none."""
    from http.client import HTTPException

    import hvac
    import requests
    import urllib3

    broken = (requests.RequestException, urllib3.exceptions.HTTPError, HTTPException, OSError, ValueError)
    return hvac, requests, urllib3, broken


def _session(requests: Any, urllib3: Any, address: str) -> Any:
    """Make a connection to one address that retries what may be asked twice."""
    session = requests.Session()
    # Proxies and authorities from the environment; but what is asked of this machine goes through no other.
    session.trust_env = address.startswith("https://")
    session.verify = next((os.environ[name] for name in CA_VARIABLES if os.environ.get(name)), True)
    session.headers["Accept-Encoding"] = "identity"
    retries = urllib3.util.Retry(
        total=2,
        read=1,
        redirect=0,
        other=0,
        allowed_methods=None,
        status_forcelist=(429, 502, 503, 504),
        backoff_factor=0.2,
        raise_on_status=False,
        respect_retry_after_header=False,
    )
    adapter = requests.adapters.HTTPAdapter(max_retries=retries)
    session.mount("https://", adapter)
    session.mount("http://", adapter)
    return session


@cache
def _bounded_adapter() -> Any:
    from hvac.adapters import RawAdapter

    class Bounded(RawAdapter):  # type: ignore[misc]
        """Gives the status of an answer and at most so many bytes of it; `response.content` has no bound."""

        def request(self, *where: Any, **how: Any) -> tuple[int, bytes]:
            answer = super().request(*where, **{**how, "raise_exception": False}, stream=True)
            with answer:
                data = answer.raw.read(limits.KEY_SERVICE_BYTES + 1, decode_content=False)
            if len(data) > limits.KEY_SERVICE_BYTES:
                raise ValueError(f"its answer has more than {limits.KEY_SERVICE_BYTES:,} bytes")
            return int(answer.status_code), bytes(data)

    return Bounded
