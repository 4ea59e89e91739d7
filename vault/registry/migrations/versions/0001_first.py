"""Make the first tables: both halves in an SQLite file, the public half alone in PostgreSQL.

Revision ID: 0001
Revises:
"""

from typing import Any

from alembic import op
from sqlalchemy import BigInteger, Column, Double, Integer, Text

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Make tables and indexes."""
    _public()
    if op.get_bind().dialect.name == "sqlite":
        _sealed()


def _public() -> None:
    _table("registry_meta", _text("name", key=True), _text("value"))
    _table("models", _text("name", key=True), _text("seen"))
    _table(
        "versions",
        _number(),
        *(_text("model"), _text("version"), _text("ordinal"), _text("manifest")),
        *(_number("created", key=False), _number("size", key=False)),
        *(_text("seen"), _text("phrase")),
    )
    _index("versions", created=("created", "number", "model"), model=("model", "ordinal"), size=("size",))
    _index("versions", ordinal=("ordinal", "model"), manifest=("manifest",))
    _table(
        "files",
        *(_number(), _text("path", key=True), _text("role"), _text("format"), _number("size", key=False)),
    )
    for name, column in (("formats", "format"), ("signers", "name"), ("tags", "tag")):
        _table(name, _text(column, key=True), _number())
        _index(name, number=("number",))
    _table(
        "channels",
        *(_text("environment", key=True), _text("slot", key=True), _text("model", key=True), _number("seq")),
        *(_text("action", key=True), _number(), _text("manifest"), _text("who"), _text("created")),
    )
    _index("channels", model=("model",), number=("number",))
    _table(
        "in_force",
        *(_text("environment", key=True), _text("slot", key=True), _text("model", key=True)),
        _number(key=False),
    )
    _index("in_force", model=("model",), number=("number",))
    _table(
        "votes",
        *(_number(), _text("action", key=True), _text("environment", key=True), _text("who", key=True)),
        _text("created"),
    )
    _index("votes", who=("who", "number"))
    _table(
        "parents",
        *(_number(), _text("manifest", key=True), _text("relation", key=True)),
        *(_text("model"), _text("version")),
    )
    _index("parents", model=("model", "version", "number"))
    _table("notes", _number(), _place(), _text("note"))
    _table(
        "load_tests",
        *(_number(), _place(), _text("outcome"), _text("who"), _text("created"), _text("what")),
    )
    _index("load_tests", outcome=("outcome", "number"))
    _table("words", _text("word", key=True), _number())
    _table("changes", _text("kind", key=True), _text("name", key=True), _number("change", key=False))
    _index("changes", change=("change",))


def _sealed() -> None:
    _table("kept", _number(), _number("created", key=False), _text("environment"), _text("phrase"))
    _index("kept", created=("created", "number"))
    for name in ("metrics", "parameters"):
        _table(
            name, _number(), _text("name", key=True), Column("value", Double, nullable=True), _text("spelled")
        )
        _index(name, value=("name", "value", "number"))
    _index("parameters", spelled=("name", "spelled", "number"))
    for name, column in (("features", "name"), ("kept_tags", "tag")):
        _table(name, _text(column, key=True), _number())
        _index(name, number=("number",))
    _table(
        "libraries",
        *(_number(), _text("name", key=True), _text("version"), Column("ordinal", _type(), nullable=True)),
    )
    _index("libraries", ordinal=("name", "ordinal", "number"))
    _table("kept_notes", _number(), _place(), _text("note"))
    _table("kept_words", _text("word", key=True), _number())


def _type() -> Text:
    return Text(collation="C") if op.get_bind().dialect.name == "postgresql" else Text()


def _text(name: str, *, key: bool = False) -> Column[object]:
    return Column(name, _type(), primary_key=key, nullable=False)


def _number(name: str = "number", *, key: bool = True) -> Column[object]:
    return Column(name, BigInteger, primary_key=key, autoincrement=False, nullable=False)


def _place() -> Column[object]:
    return Column("place", Integer, primary_key=True, autoincrement=False, nullable=False)


def _table(name: str, *columns: Column[Any]) -> None:
    op.create_table(name, *columns, sqlite_with_rowid=False)


def _index(table: str, **indexes: tuple[str, ...]) -> None:
    for name, columns in indexes.items():
        op.create_index(f"{table}_{name}", table, list(columns))
