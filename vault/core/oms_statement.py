"""Write and read what an OMS bundle says: an in-toto statement over files (docs/format.md, "OMS bundle").

Sources: the OpenSSF Model Signing specification v1.0 (predicate and root digest), in-toto Statement v1.
Two ways to read: strict, which refuses whatever could mean two things, and the specification's own.
"""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Final

from vault.core import limits, names, package_paths, strict_json
from vault.core.fields import Fields, hexadecimal, malformed
from vault.core.strict_json import JSONValue
from vault.errors import DigestMismatch, Malformed

STATEMENT_TYPE: Final = "https://in-toto.io/Statement/v1"
PREDICATE_TYPE: Final = "https://model_signing/signature/v1.0"
OLD_PREDICATE_TYPE: Final = "https://model_signing/Digests/v0.1"
ALONE: Final = "."  # how the reference tool calls the one file of a model that is a file
PRESCRIBED: Final = (".git", ".gitattributes", ".github", ".gitignore")  # left out by OMS, at the top only
HASHES: Final[Mapping[str, int]] = {"sha256": 32, "blake2b": 64, "blake3": 32}  # digest sizes in bytes


@dataclass(frozen=True, slots=True)
class Resource:
    """The digest of a file, or with `end` of its bytes from `start` to `end`."""

    path: str
    digest: bytes
    start: int = 0
    end: int | None = None

    @property
    def name(self) -> str:
        """The resource's name in the statement."""
        return self.path if self.end is None else f"{self.path}:{self.start}:{self.end}"


@dataclass(frozen=True, slots=True)
class Statement:
    """What was signed: a model's name and the digests of all its files.

    `shard_size` is None unless files are digested in parts of so many bytes. `annotations` are
    remarks of the signers; nothing is ever decided by them.
    """

    model: str
    resources: tuple[Resource, ...]
    hash_type: str = "sha256"
    shard_size: int | None = None
    allow_symlinks: bool = False
    ignore_paths: tuple[str, ...] = ()
    annotations: Mapping[str, JSONValue] = field(default_factory=dict)

    @property
    def root(self) -> str:
        """OMS's root digest. It covers no names: never compare packages by it."""
        return hashlib.sha256(b"".join(entry.digest for entry in self.resources)).hexdigest()

    def by_path(self) -> dict[str, list[Resource]]:
        """Give the resources of each file, in the order of their offsets."""
        found: dict[str, list[Resource]] = {}
        for entry in sorted(self.resources, key=lambda entry: (entry.path, entry.start)):
            found.setdefault(entry.path, []).append(entry)
        return found


def encode(statement: Statement) -> bytes:
    """Write the payload of a bundle: canonical JSON; resources in the order of their names."""
    ordered = sorted(statement.resources, key=lambda entry: entry.name)
    serialization: dict[str, JSONValue] = {
        "allow_symlinks": statement.allow_symlinks,
        "hash_type": statement.hash_type,
        "ignore_paths": [*statement.ignore_paths],
        "method": "files" if statement.shard_size is None else "shards",
    }
    if statement.shard_size is not None:
        serialization["shard_size"] = statement.shard_size
    subject: dict[str, JSONValue] = {
        "digest": {"sha256": Statement(statement.model, tuple(ordered)).root},
        "name": statement.model,
    }
    if statement.annotations:
        subject["annotations"] = dict(statement.annotations)
    return strict_json.encode(
        {
            "_type": STATEMENT_TYPE,
            "predicate": {
                "resources": [
                    {"algorithm": statement.hash_type, "digest": entry.digest.hex(), "name": entry.name}
                    for entry in ordered
                ],
                "serialization": serialization,
            },
            "predicateType": PREDICATE_TYPE,
            "subject": [subject],
        }
    )


def parse(payload: bytes, *, strict: bool, subject: str) -> Statement:
    """Read a payload whose signature was verified; messages call its bundle `subject`.

    Raises:
        Malformed: `malformed-json`, `malformed-document`, `malformed-name` (a path that leaves the
            model, or with `strict` one that some system confuses), `too-large`, or
            `wrong-payload-type` for another predicate.
        DigestMismatch: the root digest is not that of the resources.
    """
    value = strict_json.parse(
        payload,
        limit=limits.OMS_BUNDLE_BYTES,
        floats=True,
        canonical=False,
        items=limits.OMS_JSON_ITEMS,
        subject=subject,
    )
    fields = Fields(value, subject)
    kind = fields.text("_type", str)
    predicate = fields.text("predicateType", str)
    if (kind, predicate) != (STATEMENT_TYPE, PREDICATE_TYPE):
        old = " It is OMS's draft of 2024, whose digests cover no folder as a whole." * (
            predicate == OLD_PREDICATE_TYPE
        )
        raise Malformed(
            f"{subject} signs a {predicate[:80]!r}, not a model.{old}",
            code="wrong-payload-type",
            subject=subject,
            hint="Sign it anew: mvault sign",
        )
    model, root, annotations = _subject(fields, strict, subject)
    found = _predicate(Fields(fields.raw("predicate"), f"{subject}: predicate"), strict, subject)
    if strict:
        fields.done()
    statement = replace(found, model=model, annotations=annotations)
    if statement.root != root:
        raise DigestMismatch(
            f"{subject} contradicts itself: its root digest is not that of its files.", subject=subject
        )
    return statement


def _subject(fields: Fields, strict: bool, subject: str) -> tuple[str, str, Mapping[str, JSONValue]]:
    entries = fields.items("subject", limits.SIGNATURES)
    if len(entries) != 1:
        raise malformed(subject, "it has not exactly one subject")
    entry = Fields(entries[0], f"{subject}: subject")
    model = entry.text("name", model_name)
    digests = Fields(entry.raw("digest"), f"{subject}: digest")
    root = digests.text("sha256", hexadecimal(32)).hex()
    annotations: JSONValue = {}
    if entry.has("annotations"):
        annotations = entry.raw("annotations")
    if not isinstance(annotations, dict):
        raise malformed(subject, "its annotations are no object")
    if strict:
        entry.done()
        digests.done()
    return model, root, annotations


def model_name(text: str) -> str:
    """Accept the name of a model: 1 to 255 printable characters.

    Raises:
        Malformed: `malformed-document`.
    """
    if not text or len(text) > limits.OMS_NAME_CHARS or not text.isprintable():
        raise malformed("A model's name", f"it has 1 to {limits.OMS_NAME_CHARS} printable characters")
    return text


def _predicate(fields: Fields, strict: bool, subject: str) -> Statement:
    """Read the predicate as a statement that has no name yet."""
    said = Fields(fields.raw("serialization"), f"{subject}: serialization")
    method = said.text("method", str)
    hash_type = said.text("hash_type", str)
    symlinks = said.boolean("allow_symlinks")
    if hash_type not in HASHES or method not in ("files", "shards"):
        raise malformed(subject, f"it hashes {method[:40]!r} by {hash_type[:40]!r}")
    shard = _whole(said.raw("shard_size"), subject) if method == "shards" else None
    ignored: tuple[str, ...] = ()
    if said.has("ignore_paths"):
        ignored = said.texts("ignore_paths", _ignored, limits.OMS_IGNORED)
    entries = fields.items("resources", limits.OMS_RESOURCES)
    if not entries:
        raise malformed(subject, "it lists no file at all")
    resources = tuple(_resource(entry, hash_type, shard, strict, subject) for entry in entries)
    if strict:
        said.done()
        fields.done()
    _check_together(resources, shard, strict, subject)
    return Statement("", resources, hash_type, shard, symlinks, ignored)


def _whole(value: JSONValue, subject: str) -> int:
    """Read a positive whole number; protobuf's JSON may write it with a fraction of zero."""
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if not isinstance(value, int) or isinstance(value, bool) or not 1 <= value <= limits.FILE_BYTES:
        raise malformed(subject, "its shard size is no size")
    return value


def _ignored(text: str) -> str:
    """Accept a place that may be left out: a relative path, without parts that lead elsewhere."""
    return _loose_path(text)


def _resource(value: JSONValue, hash_type: str, shard: int | None, strict: bool, subject: str) -> Resource:
    entry = Fields(value, f"{subject}: resource")
    name = entry.text("name", str)
    # Of parts the reference tool says more than the specification has it say.
    algorithm = entry.text("algorithm", str)
    if algorithm != hash_type and (shard is None or algorithm != f"{hash_type}-sharded-{shard}"):
        raise malformed(subject, "a file is hashed by another algorithm than the whole")
    digest = entry.text("digest", hexadecimal(HASHES[hash_type]))
    if strict:
        entry.done()
    start, end = 0, None
    if shard is not None:
        parts = name.rsplit(":", 2)
        if len(parts) != 3 or not (_is_number(parts[1]) and _is_number(parts[2])):
            raise malformed(subject, f"{name[:80]!r} names no part of a file")
        name, start, end = parts[0], int(parts[1]), int(parts[2])
    if name != ALONE:
        name = names.path(name) if strict else _loose_path(name)
    return Resource(name, digest, start, end)


def _is_number(text: str) -> bool:
    return (
        text.isascii()
        and text.isdecimal()
        and len(text) <= limits.JSON_INT_DIGITS
        and (text == "0" or text[0] != "0")
    )


def _loose_path(text: str) -> str:
    """Accept any relative path in its one spelling: no empty, `.` or `..` part, no control character.

    Raises:
        Malformed: `malformed-name`.
    """
    parts = text.split("/")
    if (
        not text
        or len(text) > limits.OMS_PATH_CHARS
        or any(part in {"", ".", ".."} for part in parts)
        or "\0" in text
    ):
        raise Malformed(
            f"{text[:80]!r} is not the path of a file in a model: it is relative, without empty, '.' or "
            "'..' parts.",
            code="malformed-name",
            subject=text[:80],
        )
    return text


def _check_together(resources: Sequence[Resource], shard: int | None, strict: bool, subject: str) -> None:
    """Refuse files that are listed twice, parts that do not make up a file, and paths that collide."""
    if shard is None:
        paths = [entry.path for entry in resources]
        if len(set(paths)) != len(paths):
            raise malformed(subject, "it lists a file twice")
    else:
        ordered = sorted(resources, key=lambda entry: (entry.path, entry.start))
        for before, entry in zip([None, *ordered], ordered, strict=False):
            first = before is None or before.path != entry.path
            at = 0 if before is None or first else before.end
            whole = first or (before is not None and before.end == before.start + shard)
            if entry.start != at or not whole or not entry.start < (entry.end or 0) <= entry.start + shard:
                raise malformed(subject, f"the parts of {entry.path[:80]!r} do not make up a file")
        paths = sorted({entry.path for entry in resources})
    if ALONE in paths:
        if len(paths) != 1:
            raise malformed(subject, "it is about one file and about several")
    elif strict:
        package_paths.check_paths([names.Path(path) for path in paths], subject)
