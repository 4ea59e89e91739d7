"""Verify models by the signature beside them, without a vault; and open exactly what was verified.

1  the bundle is read and taken apart            core/oms_bundle.py
2  every signature is tried with every key       here; nothing signed was read yet
3  the statement is read                         core/oms_statement.py
4  it is about what was asked for, and the       core/oms_authority.py
   people who signed are enough
5  names are compared, then digests              core/oms_matching.py
6  whatever changed meanwhile is noticed         signing_content.py
"""

import os
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from vault.actions.signing_content import FolderContent, MemoryContent, Target, opened
from vault.actions.signing_digests import Digesting, Kept, digest_all
from vault.actions.signing_places import Location, find_signature, here, inside
from vault.actions.signing_walk import Looking
from vault.actions.verifying_results import VerifiedFiles, VerifiedModel
from vault.actions.verifying_trust import Trust, TrustedParties, gather, read_bundle, verifies
from vault.core import limits, names, oms_authority, oms_bundle, oms_matching, oms_statement
from vault.core.oms_authority import Demands
from vault.core.oms_bundle import Bundle
from vault.core.oms_signers import Trusted, TrustedKey
from vault.core.oms_statement import ALONE, PRESCRIBED, Statement
from vault.core.public_keys import PublicKey
from vault.errors import BadSignature, Malformed, NotFound, Refused, Unsigned
from vault.ports import Progress, no_progress
from vault.settings import Settings

STRICT: Final = "strict"
OMS: Final = "oms"
PROFILES: Final = (STRICT, OMS)


def verify(
    target: Target,
    *,
    trusted: Trust | Sequence[Trust] | None = None,
    signature: Location | bytes | None = None,
    model: str | None = None,
    any_model: bool = False,
    threshold: int = 1,
    digest: str | None = None,
    profile: str = STRICT,
    ignore_git: bool = False,
    at: int | None = None,
    progress: Progress = no_progress,
    settings: Settings | None = None,
) -> VerifiedModel:
    """Verify a file, a folder, bytes, a stream or a mapping by its OMS bundle.

    `trusted` are files of allowed signers, public identities or single keys; under the profile `oms`
    bare keys and root certificates too; the user's own file `allowed_signers` if nothing is given.
    `signature` is the bundle or its path (beside `target`). `model` is the name that must have been
    signed; of a path it is its last part unless `any_model`. `threshold` counts people. `digest` is
    `sha256:…` of the one content that will do. `ignore_git` lets what OMS leaves out lie there
    unverified. `at` is the time in seconds, now by default.

    Raises:
        Unsigned, BadSignature, UntrustedSigner, Expired, DigestMismatch, Malformed: it does not hold.
        NotFound, Unavailable: something is not there, or cannot be read.
        MissingLibrary: it was hashed by BLAKE3, and the library is not installed.
        ValueError: nobody is trusted, or an argument has no such value.
    """
    asked = _Asked(trusted, signature, model, any_model, threshold, digest, profile, ignore_git, at)
    return asked.run(target, None, progress, settings)


def verify_digests(
    target: Location, trusted: Trust | Sequence[Trust], *, settings: Settings, progress: Progress
) -> tuple[VerifiedModel, Mapping[str, bytes]]:
    """Verify a path strictly under any name; give the SHA-256 of every file too, whatever was signed of it.

    Raises:
        As `verify`.
    """
    tap: dict[str, bytes] = {}
    asked = _Asked(trusted, None, None, True, 1, None, STRICT, False, None)
    return asked.run(target, None, progress, settings, tap), tap


def verify_then_open(
    target: Target,
    *,
    only: Sequence[str] | None = None,
    max_bytes: int = limits.LOAD_BYTES,
    trusted: Trust | Sequence[Trust] | None = None,
    signature: Location | bytes | None = None,
    model: str | None = None,
    any_model: bool = False,
    threshold: int = 1,
    digest: str | None = None,
    profile: str = STRICT,
    ignore_git: bool = False,
    at: int | None = None,
    progress: Progress = no_progress,
    settings: Settings | None = None,
) -> VerifiedFiles:
    """Verify as `verify` does, and keep in memory the very bytes that were verified, for a loader.

    Every file is read once; `only` names those that are kept (all), `max_bytes` bounds them together.

        with vault.verify_then_open("exported/", trusted="signers") as files:
            session = onnxruntime.InferenceSession(bytes(files["model.onnx"]))

    Raises:
        As `verify`; Malformed (`too-large`): the files are larger than `max_bytes`.
        NotFound: a file of `only` was not signed.
    """
    kept = Kept(None if only is None else frozenset(only), max_bytes)
    asked = _Asked(trusted, signature, model, any_model, threshold, digest, profile, ignore_git, at)
    found = asked.run(target, kept, progress, settings)
    if ALONE in kept.held:
        kept.held[found.files[0]] = kept.held.pop(ALONE)
    for name in only or ():
        if name not in kept.held:
            raise NotFound(f"{name} is no file of {found.model}.", subject=name)
    return VerifiedFiles(found, kept.held)


@dataclass(frozen=True, slots=True)
class _Asked:
    """What a caller wants verified, and how."""

    trusted: Trust | Sequence[Trust] | None
    signature: Location | bytes | None
    model: str | None
    any_model: bool
    threshold: int
    digest: str | None
    profile: str
    ignore_git: bool
    at: int | None

    @property
    def strict(self) -> bool:
        return self.profile == STRICT

    def run(
        self,
        target: Target,
        keep: Kept | None,
        progress: Progress,
        settings: Settings | None,
        tap: dict[str, bytes] | None = None,
    ) -> VerifiedModel:
        """Take the six steps."""
        demands = self._demands(target)
        parties = gather(self.trusted, settings or here({}), strict=self.strict)
        data, place, status = self._bundle(target)
        subject = str(place) if place is not None else "the signature"
        bundle = oms_bundle.parse(data, strict=self.strict, subject=subject)
        trusted, signed, doubt = _signed(bundle, parties, demands.at, subject)
        if doubt is not None and not signed:
            raise doubt
        oms_authority.require_known(bundle, trusted, signed, subject)
        statement = oms_statement.parse(bundle.payload, strict=self.strict, subject=subject)
        oms_authority.require_asked_for(statement, bundle, demands, subject)
        try:
            signers = oms_authority.people(statement, trusted, signed, demands, subject)
        except Refused as refusal:
            raise doubt or refusal from None
        within = inside(target, place)
        if self.strict:
            oms_matching.require_strict(statement, within, subject)
        looking = self._looking(statement, within, status)
        reading = _Reading(keep, tap, progress)
        return self._compare(target, looking, bundle, statement, signers, reading, subject)

    def _demands(self, target: Target) -> Demands:
        if self.profile not in PROFILES or self.threshold < 1:
            raise ValueError(f"A profile is one of {', '.join(PROFILES)}; a threshold is at least 1.")
        if self.model is not None and self.any_model:
            raise ValueError("Either one model is asked for, or any.")
        model = self.model
        if model is None and self.strict and not self.any_model and isinstance(target, str | os.PathLike):
            model = Path(os.path.abspath(target)).name
        digest = None
        if self.digest is not None:
            try:
                digest = names.digest(self.digest.removeprefix(names.DIGEST_PREFIX))
            except Malformed as error:
                raise ValueError(error.message) from None
        now = int(time.time()) if self.at is None else self.at
        return Demands(now, self.threshold, model, digest, self.strict)

    def _bundle(self, target: Target) -> tuple[bytes, Path | None, os.stat_result | None]:
        if isinstance(self.signature, bytes | bytearray | memoryview):
            return bytes(self.signature), None, None
        place = find_signature(target, self.signature)
        if place is None:
            raise ValueError("Of what is in memory the signature must be given: signature=.")
        try:
            data, status = read_bundle(place)
        except NotFound:
            if isinstance(target, str | os.PathLike) and not os.path.lexists(target):
                raise NotFound(f"There is no {os.fspath(target)}.", subject=str(target)) from None
            raise Unsigned(
                f"There is no signature {place}.",
                subject=str(place),
                hint="Say where it is: --signature FILE; or have the model signed: mvault sign",
            ) from None
        return data, place, status

    def _looking(self, statement: Statement, within: str | None, status: os.stat_result | None) -> Looking:
        left_out: set[str] = set()
        if not self.strict:
            left_out = {*PRESCRIBED, *statement.ignore_paths, *([within] if within else [])}
        elif self.ignore_git:
            left_out = {*PRESCRIBED}
        bundle = None if within is None or status is None else (within, status.st_dev, status.st_ino)
        links = not self.strict and statement.allow_symlinks
        return Looking(frozenset(left_out), bundle, links, self.strict)

    def _compare(
        self,
        target: Target,
        looking: Looking,
        bundle: Bundle,
        statement: Statement,
        signers: tuple[str, ...],
        reading: "_Reading",
        subject: str,
    ) -> VerifiedModel:
        with opened(target, looking) as content:
            name = "" if isinstance(content, MemoryContent) else content.name
            expected = oms_matching.alias(statement, content.files, name)
            sizes = {path: None if stamp is None else stamp.size for path, stamp in content.files.items()}
            oms_matching.require_names(expected, sizes, strict=self.strict, subject=subject)
            by = Digesting(statement.hash_type, statement.shard_size)
            found = digest_all(
                content,
                sizes,
                by,
                keep=reading.keep,
                tap=reading.tap,
                progress=reading.progress,
                what="verifying",
            )
            content.settle()
            oms_matching.require_digests(
                expected, (entry for parts in found.values() for entry in parts), subject
            )
            folder = content if isinstance(content, FolderContent) else None
            paths = sorted(expected.by_path())
            return VerifiedModel(
                model=statement.model,
                signers=signers,
                digest=bundle.digest,
                files=(name or statement.model,) if paths == [ALONE] else tuple(paths),
                size=sum(size or 0 for size in sizes.values()),
                profile=self.profile,
                hash_type=statement.hash_type,
                annotations=statement.annotations,
                left_out=folder.left_out if folder else (),
                outside=folder.outside if folder else (),
            )


@dataclass(frozen=True, slots=True)
class _Reading:
    """Who else is told of the bytes that are read: what is kept, and a SHA-256 of each file."""

    keep: Kept | None
    tap: dict[str, bytes] | None
    progress: Progress


def _signed(
    bundle: Bundle, parties: TrustedParties, now: int, subject: str
) -> tuple[Trusted, frozenset[str], Refused | None]:
    """Try every signature; give the keys that are trusted, those that signed, and what is wrong with a chain.

    A key id in the bundle is nobody's word: it only says which key to try first.

    Raises:
        Malformed: `too-large`: there are more signatures than could be tried in a few seconds.
    """
    message = oms_bundle.message(bundle.payload)
    trusted, doubt = parties.keys, None
    if bundle.certificates and parties.roots:
        try:
            person, key = _certified(bundle, parties, message, now, subject)
        except Refused as refusal:
            doubt = refusal
        else:
            if key.key_id not in trusted.by_id:
                trusted = Trusted((*trusted.keys, TrustedKey(person, key)))
    signed: set[str] = set()
    trials = 0
    for entry in bundle.signatures:
        for known in sorted(trusted.by_id.values(), key=lambda known: known.key.key_id != entry.key_id):
            if known.key.key_id in signed:
                continue
            trials += 1
            if trials > limits.OMS_TRIALS:
                raise Malformed(f"{subject} has too many signatures.", code="too-large", subject=subject)
            if verifies(known.key, entry.value, message):
                signed.add(known.key.key_id)
                break
    return trusted, frozenset(signed), doubt


def _certified(
    bundle: Bundle, parties: TrustedParties, message: bytes, now: int, subject: str
) -> tuple[str, PublicKey]:
    from vault.keys import certificates, ecdsa

    key = certificates.leaf_key(bundle.certificates, subject)
    ecdsa.check(key, f"The certificate in {subject}")
    if not any(verifies(key, entry.value, message) for entry in bundle.signatures):
        raise BadSignature(
            f"{subject} was altered: no signature in it is its certificate's.", subject=subject
        )
    person = certificates.verify_chain(bundle.certificates, parties.roots, now=now, subject=subject)
    return person, key
