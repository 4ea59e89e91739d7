"""The tables of the registry index, in two halves: what anybody may see, and what only readers may.

A version is known by `number`, the first 63 bits of its manifest's digest, which
both halves have without asking each other. A PostgreSQL database has the public
half alone; the sealed half is in the file of the person who may read it.
Texts compare byte by byte in both databases.
"""

from typing import Final

from sqlalchemy import BigInteger, Column, Double, Index, Integer, MetaData, Table, Text

PUBLIC: Final = MetaData()
SEALED: Final = MetaData()
HEAD: Final = "0001"  # the newest migration
VERSIONS_OF_SCHEMA: Final = "registry_version"  # alembic's own table

# What `meta` says: the vault that the index is of, when and by which policy it was compared with the store.
VAULT: Final = "vault"
UPDATED: Final = "updated"
POLICY: Final = "policy"
GENERATION: Final = "generation"  # of a server's index: another one after a rebuild
CHANGE: Final = "change"  # the number of its newest change
FOLLOWED: Final = "followed"  # what a file has of a server: generation and change

TEXT: Final = Text().with_variant(Text(collation="C"), "postgresql")


def _table(half: MetaData, name: str, *columns: Column[object] | Index) -> Table:
    return Table(name, half, *columns, sqlite_with_rowid=False)


def _text(name: str, *, key: bool = False) -> Column[object]:
    return Column(name, TEXT, primary_key=key, nullable=False)


def _number(name: str = "number", *, key: bool = True) -> Column[object]:
    return Column(name, BigInteger, primary_key=key, autoincrement=False, nullable=False)


def _whole(name: str) -> Column[object]:
    return Column(name, BigInteger, nullable=False)


meta: Final = _table(PUBLIC, "registry_meta", _text("name", key=True), _text("value"))
models: Final = _table(PUBLIC, "models", _text("name", key=True), _text("seen"))
versions: Final = _table(
    PUBLIC,
    "versions",
    _number(),
    _text("model"),
    _text("version"),
    _text("ordinal"),
    _text("manifest"),
    _whole("created"),
    _whole("size"),
    _text("seen"),
    _text("phrase"),
    Index("versions_created", "created", "number", "model"),
    Index("versions_model", "model", "ordinal"),
    Index("versions_ordinal", "ordinal", "model"),
    Index("versions_manifest", "manifest"),
    Index("versions_size", "size"),
)
files: Final = _table(
    PUBLIC,
    "files",
    _number(),
    _text("path", key=True),
    _text("role"),
    _text("format"),
    _whole("size"),
)
formats: Final = _table(
    PUBLIC, "formats", _text("format", key=True), _number(), Index("formats_number", "number")
)
signers: Final = _table(
    PUBLIC, "signers", _text("name", key=True), _number(), Index("signers_number", "number")
)
channels: Final = _table(
    PUBLIC,
    "channels",
    _text("environment", key=True),
    _text("slot", key=True),
    _text("model", key=True),
    _number("seq"),
    _text("action", key=True),
    _number(),
    _text("manifest"),
    _text("who"),
    _text("created"),
    Index("channels_model", "model"),
    Index("channels_number", "number"),
)
in_force: Final = _table(
    PUBLIC,
    "in_force",
    _text("environment", key=True),
    _text("slot", key=True),
    _text("model", key=True),
    _number(key=False),
    Index("in_force_model", "model"),
    Index("in_force_number", "number"),
)
votes: Final = _table(
    PUBLIC,
    "votes",
    _number(),
    _text("action", key=True),
    _text("environment", key=True),
    _text("who", key=True),
    _text("created"),
    Index("votes_who", "who", "number"),
)
parents: Final = _table(
    PUBLIC,
    "parents",
    _number(),
    _text("manifest", key=True),
    _text("relation", key=True),
    _text("model"),
    _text("version"),
    Index("parents_model", "model", "version", "number"),
)
tags: Final = _table(PUBLIC, "tags", _text("tag", key=True), _number(), Index("tags_number", "number"))
notes: Final = _table(
    PUBLIC,
    "notes",
    _number(),
    Column("place", Integer, primary_key=True, autoincrement=False, nullable=False),
    _text("note"),
)
load_tests: Final = _table(
    PUBLIC,
    "load_tests",
    _number(),
    Column("place", Integer, primary_key=True, autoincrement=False, nullable=False),
    _text("outcome"),
    _text("who"),
    _text("created"),
    _text("what"),
    Index("load_tests_outcome", "outcome", "number"),
)
words: Final = _table(PUBLIC, "words", _text("word", key=True), _number())
# What was changed when, for files that follow a server: `kind` is version or model, `name` which one.
changes: Final = _table(
    PUBLIC,
    "changes",
    _text("kind", key=True),
    _text("name", key=True),
    _whole("change"),
    Index("changes_change", "change"),
)

# --- what lies in the sealed half of a package ---

kept: Final = _table(
    SEALED,
    "kept",
    _number(),
    _whole("created"),
    _text("environment"),
    _text("phrase"),
    Index("kept_created", "created", "number"),
)
metrics: Final = _table(
    SEALED,
    "metrics",
    _number(),
    _text("name", key=True),
    Column("value", Double, nullable=True),
    _text("spelled"),
    Index("metrics_value", "name", "value", "number"),
)
parameters: Final = _table(
    SEALED,
    "parameters",
    _number(),
    _text("name", key=True),
    Column("value", Double, nullable=True),
    _text("spelled"),
    Index("parameters_value", "name", "value", "number"),
    Index("parameters_spelled", "name", "spelled", "number"),
)
features: Final = _table(
    SEALED, "features", _text("name", key=True), _number(), Index("features_number", "number")
)
libraries: Final = _table(
    SEALED,
    "libraries",
    _number(),
    _text("name", key=True),
    _text("version"),
    Column("ordinal", TEXT, nullable=True),
    Index("libraries_ordinal", "name", "ordinal", "number"),
)
kept_tags: Final = _table(
    SEALED, "kept_tags", _text("tag", key=True), _number(), Index("kept_tags_number", "number")
)
kept_notes: Final = _table(
    SEALED,
    "kept_notes",
    _number(),
    Column("place", Integer, primary_key=True, autoincrement=False, nullable=False),
    _text("note"),
)
kept_words: Final = _table(SEALED, "kept_words", _text("word", key=True), _number())

# Tables with rows of a version, by `number`; words are found by the phrase that they were cut from.
OF_ENTRIES: Final = (files, formats, signers, votes, parents, tags, notes, load_tests)
OF_MODELS: Final = (channels, in_force)
OF_FACTS: Final = (metrics, parameters, features, libraries, kept_tags, kept_notes)
