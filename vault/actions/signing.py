"""Sign models beside their files, without a vault: one OMS bundle for a file, a folder, bytes or streams."""

import dataclasses
import errno
import os
import secrets
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Protocol

from vault.actions import signing_cache
from vault.actions.signing_content import Content, FolderContent, MemoryContent, Target, opened
from vault.actions.signing_digests import Digesting, digest_all
from vault.actions.signing_places import Location, find_signature, here, inside, signature_place
from vault.actions.signing_walk import Looking, changed
from vault.actions.verifying_trust import read_bundle, verifies
from vault.core import ed25519, limits, oms_bundle, oms_matching, oms_statement
from vault.core.key_services import SigningKeyId
from vault.core.oms_bundle import Bundle, Signature
from vault.core.oms_statement import PRESCRIBED, Resource, Statement
from vault.core.public_keys import ED25519, PublicKey
from vault.errors import Conflict, NoUsableKey, Refused, Unavailable
from vault.keys import ecdsa
from vault.ports import Progress, SigningService, no_progress
from vault.settings import Settings

FORMS: Final = ("key", "certificate")
_NO_HARD_LINKS: Final = frozenset({errno.EPERM, errno.ENOSYS, errno.EOPNOTSUPP, errno.EMLINK})


class SigningIdentity(Protocol):
    """An unlocked identity: its Ed25519 key, and secrets derived from it."""

    @property
    def name(self) -> str:
        """What its holder calls it."""

    @property
    def public(self) -> bytes:
        """Its Ed25519 key, 32 bytes."""

    @property
    def created(self) -> int:
        """When it was made, in seconds since 1970."""

    def sign(self, message: bytes) -> bytes:
        """Sign."""

    def expand(self, info: bytes, size: int) -> bytes:
        """Derive secret bytes for one purpose."""


@dataclass(frozen=True, slots=True)
class Signed:
    """A signature that was made.

    `bundle` is its bytes, `path` where they were written (None for what is in memory), `digest` the
    SHA-256 of what was signed. `left_out` are the places that OMS leaves out and that were there;
    `hashed` is how many of `files` were read, the others were known from before.
    """

    model: str
    bundle: bytes
    digest: str
    path: Path | None
    files: int
    hashed: int
    signatures: int
    left_out: tuple[str, ...] = ()


def sign(
    target: Target,
    *,
    identity: Location | SigningIdentity | None = None,
    signature: Location | None = None,
    model: str | None = None,
    annotations: Mapping[str, str] | None = None,
    form: str = "key",
    valid_days: int | None = None,
    add: bool = False,
    replace: bool = False,
    cache: bool = True,
    expected: Mapping[str, bytes] | None = None,
    progress: Progress = no_progress,
    settings: Settings | None = None,
) -> Signed:
    """Sign a file, a folder, bytes, a stream, or a mapping of paths to bytes and streams.

    The bundle is written to `signature`, or beside the path (`exported.sig`); of what is in memory it is
    only given back. `model` is the name that is signed (the last part of the path). `form` is `key`, or
    `certificate` for a chain under the identity's own root, valid for `valid_days`. `add` puts another
    signature into the bundle that is there, after checking that it is about these very files;
    `replace` writes over it. Without `cache` every file is hashed anew. `expected` are the SHA-256 digests
    that all files together must have, by path, for who knows them already.

    Raises:
        Conflict: there is a signature already; it was left as it was.
        NotFound: there is no such path, or with `add` no signature.
        Malformed: a link, a device, an empty folder, a name that is not portable, too many files.
        DigestMismatch: a file changed meanwhile, with `add` is not what was signed, or not as expected.
        NoUsableKey: no identity can be unlocked.
        Unavailable: something cannot be read or written.
        ValueError: there is no such form, or the options contradict each other.
    """
    if form not in FORMS or (add and replace):
        raise ValueError(f"A form is one of {', '.join(FORMS)}; add and replace exclude each other.")
    found = settings or here({"identity": _named(identity)})
    place = find_signature(target, signature) if add else signature_place(target, signature)
    if place is not None and not add and not replace and os.path.lexists(place):
        raise _exists(place)
    holder = unlocked(identity, found)
    previous = _previous(place, target) if add else None
    remarks = Statement("", (), ignore_paths=_ignored(target, place), annotations=dict(annotations or {}))
    with opened(target, _looking(target, place)) as content:
        if not content.files:
            raise oms_matching.no_files(content.name)
        store = None if not cache or isinstance(content, MemoryContent) else _cache(found, holder, target)
        by = Digesting() if previous is None else Digesting(previous[1].hash_type, previous[1].shard_size)
        resources, hashed = _digest(content, by, store, progress)
        content.settle()
        if expected is not None and {entry.path: entry.digest for entry in resources} != expected:
            raise changed(content.name)
        if previous is None:
            form_of = _Form(form, valid_days)
            bundle = _new(content.name if model is None else model, resources, remarks, holder, form_of)
        else:
            sizes = {path: None if stamp is None else stamp.size for path, stamp in content.files.items()}
            stated = oms_matching.alias(previous[1], sizes, content.name)
            oms_matching.require_names(stated, sizes, strict=True, subject=str(place))
            bundle = _added(previous[0], stated, resources, model, holder, str(place))
        left_out = content.left_out if isinstance(content, FolderContent) else ()
        count = len(content.files)
    data = oms_bundle.serialise(bundle)
    statement = oms_statement.parse(bundle.payload, strict=True, subject=str(place or "the signature"))
    oms_bundle.parse(data, strict=True, subject=str(place or "the signature"))
    if place is not None:
        _write(place, data, over=add or replace)
    return Signed(
        statement.model, data, bundle.digest, place, count, hashed, len(bundle.signatures), left_out
    )


def _named(identity: Location | SigningIdentity | None) -> str | None:
    return os.fspath(identity) if isinstance(identity, str | os.PathLike) else None


def unlocked(identity: Location | SigningIdentity | None, settings: Settings) -> SigningIdentity:
    """Give an identity that signs: unlocked already, of a file, or the one that the settings name.

    Raises:
        NoUsableKey, Malformed: there is none, or it cannot be unlocked.
    """
    if identity is not None and not isinstance(identity, str | os.PathLike):
        return identity
    path = settings.identity if identity is None else Path(identity)
    if path is None:
        raise NoUsableKey("There is no identity to sign with.", hint="Make one: mvault identity new")
    from vault.keys import identity_file, passphrase

    chosen = settings.passphrase
    source = passphrase.source(file=chosen.file, descriptor=chosen.descriptor, command=chosen.command)
    return identity_file.unlock(path, source, _open_signer)


def _open_signer(key: SigningKeyId, public: ed25519.PublicKey) -> SigningService:
    from vault.actions import key_services  # what it takes is not imported for keys in files

    return key_services.open_signer(key, public)


def _cache(settings: Settings, holder: SigningIdentity, target: Target) -> signing_cache.Cache | None:
    if settings.state_dir is None or not isinstance(target, str | os.PathLike):
        return None
    key = holder.expand(signing_cache.PURPOSE, 32)
    return signing_cache.Cache(settings.state_dir, Path(os.path.abspath(target)), key)


def _looking(target: Target, place: Path | None) -> Looking:
    """Leave out what OMS leaves out, and the signature itself."""
    within = inside(target, place)
    left_out = frozenset(PRESCRIBED)
    if within is None or place is None or not os.path.lexists(place):
        return Looking(left_out)
    found = os.lstat(place)
    return Looking(left_out, (within, found.st_dev, found.st_ino))


def _ignored(target: Target, place: Path | None) -> tuple[str, ...]:
    within = inside(target, place)
    return tuple(sorted({*PRESCRIBED, *([within] if within else [])}))


def _digest(
    content: Content, by: Digesting, cache: signing_cache.Cache | None, progress: Progress
) -> tuple[tuple[Resource, ...], int]:
    """Give the resources of all files, and how many files were read for them."""
    if by != Digesting():
        cache = None
    known: dict[str, tuple[Resource, ...]] = {}
    if cache is not None:
        for path, (stamp, digest) in cache.load().items():
            if content.files.get(path) == stamp:
                known[path] = (Resource(path, digest),)
    left = [path for path in content.files if path not in known]
    found = {**known, **digest_all(content, left, by, progress=progress)}
    if cache is not None:
        cache.save(
            {path: (stamp, found[path][0]) for path, stamp in content.files.items() if stamp is not None}
        )
    return tuple(entry for path in sorted(found) for entry in found[path]), len(left)


@dataclass(frozen=True, slots=True)
class _Form:
    kind: str
    valid_days: int | None


def _new(
    model: str,
    resources: tuple[Resource, ...],
    remarks: Statement,
    holder: SigningIdentity,
    form: _Form,
) -> Bundle:
    """Sign files that were digested; `remarks` is a statement that says what was left out and what else."""
    try:
        oms_statement.model_name(model)
    except Refused as refusal:
        raise ValueError(f"{refusal.message} Give one: model=, --model NAME") from None
    payload = oms_statement.encode(dataclasses.replace(remarks, model=model, resources=resources))
    message = oms_bundle.message(payload)
    key = ecdsa.from_secret(holder.expand(ecdsa.DERIVATION, ecdsa.DERIVED_BYTES))
    own = PublicKey(ED25519, holder.public)
    # The reference tool looks at the first signature alone, and knows no Ed25519.
    signatures = (
        Signature(key.public.key_id, key.sign(message)),
        Signature(own.key_id, holder.sign(message)),
    )
    if form.kind == "key":
        return Bundle(payload, signatures, hint=key.public.key_id)
    return Bundle(payload, signatures, certificates=_chain(holder, key.public, form.valid_days))


def _chain(holder: SigningIdentity, key: PublicKey, valid_days: int | None) -> tuple[bytes, ...]:
    from vault.keys import certificates

    root = certificates.Holder(holder.name, holder.public, holder.created, holder.sign)
    days = certificates.VALID_DAYS if valid_days is None else valid_days
    if not 1 <= days <= limits.DAYS:
        raise ValueError(f"A certificate is valid for 1 to {limits.DAYS:,} days.")
    leaf = certificates.make_leaf(root, key, now=int(time.time()), days=days)
    return leaf, certificates.make_root(root)


def _previous(place: Path | None, target: Target) -> tuple[Bundle, Statement]:
    """Read the bundle that a signature is added to; it must be one that strict verification reads.

    Raises:
        NotFound, Malformed, Unsigned, DigestMismatch, Unavailable.
        ValueError: what is signed is in memory, and no bundle is named.
    """
    if place is None:
        raise ValueError("A signature is added to a bundle: name it, signature=.")
    data, _ = read_bundle(place)
    bundle = oms_bundle.parse(data, strict=True, subject=str(place))
    statement = oms_statement.parse(bundle.payload, strict=True, subject=str(place))
    oms_matching.require_strict(statement, inside(target, place), str(place))
    return bundle, statement


def _added(
    bundle: Bundle,
    statement: Statement,
    resources: Sequence[Resource],
    model: str | None,
    holder: SigningIdentity,
    subject: str,
) -> Bundle:
    """Put a signature into a bundle, whose statement must be about exactly these files."""
    if model is not None and model != statement.model:
        raise ValueError(
            f"{subject} is about {statement.model!r}: a signature is added to that, or to nothing."
        )
    oms_matching.require_digests(statement, resources, subject)
    message = oms_bundle.message(bundle.payload)
    own = PublicKey(ED25519, holder.public)
    if any(entry.key_id == own.key_id and verifies(own, entry.value, message) for entry in bundle.signatures):
        raise Conflict(f"You have signed {subject} already.", subject=subject)
    if len(bundle.signatures) >= limits.SIGNATURES:
        raise ValueError(f"A bundle holds at most {limits.SIGNATURES} signatures.")
    mine = Signature(own.key_id, holder.sign(message))
    return dataclasses.replace(bundle, signatures=(*bundle.signatures, mine))


def _write(place: Path, data: bytes, *, over: bool) -> None:
    """Write the bundle whole or not at all, for everybody to read."""
    draft = place.with_name(f".{secrets.token_hex(8)}.tmp")
    try:
        try:
            _create(draft, data)
            if over:
                os.replace(draft, place)
            else:
                _link(draft, place, data)
        finally:
            with suppress(FileNotFoundError):
                draft.unlink()
    except FileExistsError:
        raise _exists(place) from None
    except OSError as error:
        raise Unavailable(
            f"The signature was not written to {place}: {error.strerror}.",
            code="storage-denied",
            subject=str(place),
            hint="Say where it goes: --signature FILE",
        ) from None


def _link(draft: Path, place: Path, data: bytes) -> None:
    """Put a finished file in its place, unless there is one; some file systems have no hard links."""
    try:
        os.link(draft, place)
    except OSError as error:
        if error.errno not in _NO_HARD_LINKS:
            raise
        _create(place, data)


def _create(path: Path, data: bytes) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o644)
    with os.fdopen(descriptor, "wb") as file:
        file.write(data)
        file.flush()
        os.fsync(descriptor)


def _exists(place: Path) -> Conflict:
    return Conflict(
        f"{place} exists and was left as it is.",
        subject=str(place),
        hint="Add your signature to it with --add, or write over it with --replace.",
    )
