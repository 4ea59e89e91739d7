"""The manifest and the confidential metadata that it commits to (docs/format.md, "Manifest").

A manifest binds plaintext. It is public, so what it says of a file is a
commitment under a secret that only `metadata.json` holds, and that file's own
plain SHA-256, which the secret makes unguessable.
"""

import hashlib
import hmac
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from vault.core import limits, names, package_paths, strict_json
from vault.core.fields import Fields, hexadecimal, malformed, one_of, plain, time
from vault.core.names import Digest, Path
from vault.core.policy import PolicyId
from vault.core.strict_json import JSONValue
from vault.errors import DigestMismatch

KIND: Final = "manifest"
METADATA: Final = Path("metadata.json")
ROLES: Final = ("artifact", "features", "file", "metadata", "model", "preprocessor", "requirements", "sample")
DESERIALIZED: Final = ("artifact", "model", "preprocessor")  # roles whose format an environment decides
FINE_TUNED_FROM: Final = "fine-tuned-from"
CONVERTED_FROM: Final = "converted-from"
SAME_DATA: Final = "same-data"
RELATIONS: Final = (CONVERTED_FROM, FINE_TUNED_FROM, SAME_DATA)
_LABEL: Final = b"mvault/v1/file-commitment\x00"

check_paths: Final = package_paths.check_paths


@dataclass(frozen=True, slots=True)
class FileEntry:
    """One file of a package as the manifest binds it; `commitment` is None for `metadata.json` only."""

    path: Path
    size: int
    format: str
    role: str
    commitment: bytes | None  # 32 bytes
    sha256: Digest | None  # of metadata.json; of all files when the package is public


@dataclass(frozen=True, slots=True, order=True)
class Parent:
    """A version that another one comes from, by the digest of its manifest, and how it does."""

    model: names.Model
    version: names.Version
    manifest: Digest
    relation: str  # one of `RELATIONS`


@dataclass(frozen=True, slots=True)
class Manifest:
    """What a version is, signed by every one of `publishers`."""

    vault: Digest
    policy: PolicyId
    model: names.Model
    version: names.Version
    created: str
    publishers: tuple[Digest, ...]  # key ids
    public: bool
    files: tuple[FileEntry, ...]  # ascending by path
    parents: tuple[Parent, ...] = ()  # ascending

    def file(self, path: str) -> FileEntry | None:
        """Give the entry of one path."""
        return next((entry for entry in self.files if entry.path == path), None)

    @property
    def metadata(self) -> FileEntry:
        """The entry of `metadata.json`, which every manifest has."""
        return next(entry for entry in self.files if entry.path == METADATA)


@dataclass(frozen=True, slots=True)
class FileFacts:
    """What `metadata.json` says of one file."""

    sha256: Digest
    pins: tuple[str, ...]  # types or globals that the file mentions, sorted


@dataclass(frozen=True, slots=True)
class Metadata:
    """The confidential half of a package: the secret, real digests, pins, and what people want to know."""

    secret: bytes  # 32 bytes
    files: Mapping[Path, FileFacts]
    libraries: Mapping[str, str]  # distribution → version at publishing
    info: Mapping[str, JSONValue]  # free: parameters, metrics, features, git, …


def policy_value(policy: PolicyId) -> dict[str, JSONValue]:
    """Write the policy that a record was made under."""
    return {"digest": policy.digest, "era": policy.era, "version": policy.version}


def read_policy(fields: Fields) -> PolicyId:
    """Read the policy that a record was made under."""
    return PolicyId(fields.integer("era"), fields.integer("version", 1), fields.text("digest", names.digest))


def commit(secret: bytes, path: str, size: int, sha256: bytes) -> bytes:
    """Commit to a file: HMAC-SHA256(secret, label ‖ len(path) ‖ path ‖ size ‖ sha256).

    Lengths are 8 bytes, big endian; `sha256` is raw.
    """
    name = path.encode("utf-8")
    message = _LABEL + len(name).to_bytes(8, "big") + name + size.to_bytes(8, "big") + sha256
    return hmac.digest(secret, message, "sha256")


def encode(manifest: Manifest) -> bytes:
    """Write the payload of a manifest; `parents` stands in it only where there are some."""
    return strict_json.encode(
        {
            **_parents_value(manifest.parents),
            "created": manifest.created,
            "files": [
                {
                    "commitment": None if entry.commitment is None else entry.commitment.hex(),
                    "format": entry.format,
                    "path": entry.path,
                    "role": entry.role,
                    "sha256": entry.sha256,
                    "size": entry.size,
                }
                for entry in manifest.files
            ],
            "model": manifest.model,
            "policy": policy_value(manifest.policy),
            "public": manifest.public,
            "publishers": list(manifest.publishers),
            "vault": manifest.vault,
            "version": manifest.version,
        }
    )


def parse(payload: bytes, subject: str) -> Manifest:
    """Parse the payload of a manifest, after its signatures were checked.

    Raises:
        Malformed: a field is missing, unknown or of another shape; paths
            collide; there is no `metadata.json`; nobody is a publisher; its
            parents are none, not in order, repeated, or the version itself.
    """
    fields = Fields(strict_json.parse(payload, subject=subject), subject)
    parents = fields.objects("parents", _parent, limits.PARENTS) if fields.has("parents") else None
    manifest = Manifest(
        vault=fields.text("vault", names.digest),
        policy=fields.object("policy", read_policy),
        model=fields.text("model", names.model),
        version=fields.text("version", names.version),
        created=fields.text("created", time),
        publishers=fields.texts("publishers", names.digest, limits.PUBLISHERS),
        public=fields.boolean("public"),
        files=fields.objects("files", _file, limits.PACKAGE_FILES),
        parents=parents or (),
    )
    fields.done()
    _check_parents(manifest, parents, subject)
    paths = [entry.path for entry in manifest.files]
    check_paths(paths, subject)
    if paths != sorted(paths):
        raise malformed(subject, "its files are not in order")
    if not manifest.publishers:
        raise malformed(subject, "it names no publisher")
    metadata = manifest.file(METADATA)
    if (
        metadata is None
        or metadata.role != "metadata"
        or metadata.format != "json"
        or metadata.sha256 is None
    ):
        raise malformed(subject, "it has no metadata.json with a digest")
    if len(manifest.files) < 2:
        raise malformed(subject, "it has no files")
    if metadata.size > limits.METADATA_BYTES:
        raise malformed(subject, "its metadata.json is too large")
    for entry in manifest.files:
        others = entry is not metadata
        if others != (entry.commitment is not None) or (
            others and manifest.public != (entry.sha256 is not None)
        ):
            raise malformed(subject, f"{entry.path} is not committed to as it should be")
    return manifest


def _parents_value(parents: tuple[Parent, ...]) -> dict[str, JSONValue]:
    if not parents:
        return {}
    return {
        "parents": [
            {
                "manifest": entry.manifest,
                "model": entry.model,
                "relation": entry.relation,
                "version": entry.version,
            }
            for entry in parents
        ]
    }


def _parent(fields: Fields) -> Parent:
    return Parent(
        model=fields.text("model", names.model),
        version=fields.text("version", names.version),
        manifest=fields.text("manifest", names.digest),
        relation=fields.text("relation", one_of(*RELATIONS)),
    )


def _check_parents(manifest: Manifest, parents: tuple[Parent, ...] | None, subject: str) -> None:
    if parents is None:
        return
    if not parents:
        raise malformed(subject, "parents are named only where there are some")
    if list(parents) != sorted(set(parents)):
        raise malformed(subject, "its parents are not different and in order")
    if any((entry.model, entry.version) == (manifest.model, manifest.version) for entry in parents):
        raise malformed(subject, "it names itself as a parent")


def _file(fields: Fields) -> FileEntry:
    return FileEntry(
        path=fields.text("path", names.path),
        size=fields.integer("size", 0, limits.FILE_BYTES),
        format=fields.text("format", plain),
        role=fields.text("role", one_of(*ROLES)),
        commitment=fields.optional("commitment", hexadecimal(32)),
        sha256=fields.optional("sha256", names.digest),
    )


def check_file(entry: FileEntry, metadata: Metadata, size: int, sha256: bytes, subject: str) -> None:
    """Check one decrypted file against what was signed: size, real digest, commitment.

    Raises:
        DigestMismatch: `size-mismatch` or `digest-mismatch`.
    """
    if size != entry.size:
        raise DigestMismatch(
            f"{subject}: {entry.path} has {size:,} bytes, {entry.size:,} were signed.",
            code="size-mismatch",
            subject=subject,
        )
    facts = metadata.files.get(entry.path)
    committed = commit(metadata.secret, entry.path, size, sha256)
    if (
        facts is None
        or facts.sha256 != sha256.hex()
        or entry.commitment is None
        or not hmac.compare_digest(committed, entry.commitment)
        or (entry.sha256 is not None and entry.sha256 != facts.sha256)
    ):
        raise DigestMismatch(
            f"{subject} was altered: {entry.path} differs from what was signed. Nothing was loaded.",
            subject=subject,
            hint="Restore it from a backup.",
        )


# --- metadata.json ---


def encode_metadata(metadata: Metadata) -> bytes:
    """Write the plaintext of `metadata.json`.

    Raises:
        ValueError: `info` holds NaN, an infinity or a lone surrogate.
    """
    return strict_json.encode(
        {
            "files": {
                path: {"pins": list(facts.pins), "sha256": facts.sha256}
                for path, facts in metadata.files.items()
            },
            "info": dict(metadata.info),
            "libraries": dict(metadata.libraries),
            "secret": metadata.secret.hex(),
        }
    )


def parse_metadata(data: bytes | memoryview, entry: FileEntry, subject: str) -> Metadata:
    """Check the plaintext of `metadata.json` against its plain SHA-256, then parse it.

    Raises:
        DigestMismatch: it is not what the manifest names.
        Malformed: it is, but has another shape.
    """
    if len(data) != entry.size or hashlib.sha256(data).hexdigest() != entry.sha256:
        raise DigestMismatch(
            f"{subject} was altered: metadata.json differs from what was signed. Nothing was loaded.",
            subject=subject,
            hint="Restore it from a backup.",
        )
    what = f"{subject}: metadata.json"
    fields = Fields(strict_json.parse(data, limit=limits.METADATA_BYTES, floats=True, subject=what), what)
    files = {}
    for path, value in fields.mapping("files", names.path, limits.PACKAGE_FILES).items():
        inner = Fields(value, f"{what}: {path}")
        pins = inner.texts("pins", plain, limits.PATTERNS)
        files[path] = FileFacts(inner.text("sha256", names.digest), pins)
        inner.done()
        if list(pins) != sorted(pins):
            raise malformed(what, "pins are in order")
    libraries = {}
    for name, version in fields.mapping("libraries", plain, limits.PATTERNS).items():
        if not isinstance(version, str):
            raise malformed(what, "versions of libraries are strings")
        libraries[name] = plain(version)
    info = fields.mapping("info", plain, limits.PATTERNS)
    metadata = Metadata(fields.text("secret", hexadecimal(32)), files, libraries, info)
    fields.done()
    return metadata
