"""Read a table of what is to be pushed: CSV, TSV, or a JSON object a line; docs/many-models.md.

A table is the user's own, but a program may have written it from anything. So
it is read within bounds, nothing in it is run or expanded, and whatever is
wrong is told with its line before the first model is published.
"""

import csv
import json
import math
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, NoReturn

from vault.actions import bulk_files
from vault.core import limits, names
from vault.core.names import Model, Version
from vault.errors import Malformed

_METRIC, _PARAM = "metric.", "param."
_PLAIN: Final = ("model", "path", "version", "features", "sample", "tags", "note", "public")
_NESTED: Final = ("metrics", "params")  # of a JSON object
_TRUE: Final = {"true": True, "yes": True, "1": True, "": False, "false": False, "no": False, "0": False}
_KINDS: Final = {".csv": ",", ".tsv": "\t", ".tab": "\t", ".jsonl": "", ".ndjson": ""}


@dataclass(frozen=True, slots=True)
class Row:
    """One model to push: what `mvault push` takes, and the line that says so.

    `features` is a file with names, or the names themselves. Paths are as they are
    to be opened.
    """

    line: int
    model: Model
    paths: tuple[str, ...]
    version: Version | None = None
    metrics: Mapping[str, float] = field(default_factory=dict)
    params: Mapping[str, str] = field(default_factory=dict)
    features: str | tuple[str, ...] | None = None
    sample: str | None = None
    tags: tuple[str, ...] = ()
    note: str | None = None
    public: bool = False


def read(path: str) -> tuple[Row, ...]:
    """Read a table; `-` is standard input. Paths in it are relative to the folder of the table.

    Raises:
        NotFound: there is no such file.
        Unavailable: it cannot be read.
        ValueError: it is no such table, with the line where it goes wrong; or it is too large.
    """
    data = bulk_files.read(path, limits.TABLE_BYTES)
    base = "" if path == "-" else os.path.dirname(path)
    return parse(data, path, base=base, kind=_KINDS.get(Path(path).suffix.lower()))


def parse(data: bytes, subject: str, *, base: str = "", kind: str | None = None) -> tuple[Row, ...]:
    """Parse a table; `kind` is what separates its columns, empty for JSON lines, None to look.

    Raises:
        ValueError: with the line where it goes wrong.
    """
    text = bulk_files.text(data, subject)
    if kind is None:
        first = text[: text.find("\n")] if "\n" in text else text
        kind = "" if text.lstrip()[:1] == "{" else "\t" if "\t" in first else ","
    table = _Table(subject, base)
    for line, cells in (_objects if kind == "" else _records)(text, table, kind):
        table.add(line, cells)
    if not table.rows:
        raise ValueError(f"{subject} names no model.")
    return tuple(table.rows)


class _Table:
    """The rows of a table as they are read, and where the reader is."""

    def __init__(self, subject: str, base: str) -> None:
        self.rows: list[Row] = []
        self._subject = subject
        self._base = base
        self._seen: dict[tuple[Model, Version | None], int] = {}

    def fail(self, line: int, reason: str) -> NoReturn:
        raise ValueError(f"{self._subject}, line {line}: {reason}")

    def add(self, line: int, cells: Mapping[str, Any]) -> None:
        """Take a row: cells by their columns, texts or, of JSON, values."""
        if len(self.rows) == limits.TABLE_ROWS:
            self.fail(line, f"a table has at most {limits.TABLE_ROWS:,} rows.")
        model = self._name(line, names.model, cells.get("model"), "model")
        if model is None:
            self.fail(line, "the column model is empty.")
        version = self._name(line, names.version, cells.get("version"), "version")
        earlier = self._seen.setdefault((model, version), line)
        if earlier != line:
            what = f"{model}:{version}" if version else model
            self.fail(line, f"{what} stands in line {earlier} already.")
        paths = self._texts(line, cells.get("path"), "path", split=False)
        if not paths:
            self.fail(line, "the column path is empty.")
        features = cells.get("features")
        sample = self._text(line, cells.get("sample"), "sample")
        self.rows.append(
            Row(
                line,
                model,
                tuple(self._path(path) for path in paths),
                version,
                {name: self._number(line, name, value) for name, value in self._pairs(line, cells, _METRIC)},
                {name: self._param(line, name, value) for name, value in self._pairs(line, cells, _PARAM)},
                self._texts(line, features, "features", split=False)
                if isinstance(features, list)
                else self._optional_path(self._text(line, features, "features")),
                self._optional_path(sample),
                self._texts(line, cells.get("tags"), "tags", split=True),
                self._text(line, cells.get("note"), "note"),
                self._flag(line, cells.get("public")),
            )
        )

    # --- cells ---

    def _name(self, line: int, parse: Callable[[str], Any], value: object, column: str) -> Any:
        if column == "version" and isinstance(value, int) and not isinstance(value, bool):
            value = str(value)
        text = self._text(line, value, column)
        if text is None:
            return None
        try:
            return parse(text)
        except Malformed as error:
            self.fail(line, error.message)

    def _text(self, line: int, value: object, column: str) -> str | None:
        if value is None or value == "":
            return None
        if not isinstance(value, str):
            self.fail(line, f"the column {column} is a text.")
        if len(value) > limits.TABLE_CELL_CHARS:
            self.fail(line, f"the column {column} has more than {limits.TABLE_CELL_CHARS:,} characters.")
        if "\0" in value or any(0xD800 <= ord(character) < 0xE000 for character in value):
            self.fail(line, f"the column {column} holds what no text holds.")
        return value

    def _texts(self, line: int, value: object, column: str, *, split: bool) -> tuple[str, ...]:
        """Give a list of texts: of JSON a list, of a cell itself, or with `split` what commas separate."""
        if isinstance(value, list):
            if len(value) > limits.JSON_ITEMS:
                self.fail(line, f"the list {column} is too long.")
            found = [self._text(line, entry, column) for entry in value]
        else:
            text = self._text(line, value, column)
            parts = [text] if not split or text is None else text.split(",")
            found = [None if part is None else part.strip() if split else part for part in parts]
        return tuple(entry for entry in found if entry)

    def _pairs(self, line: int, cells: Mapping[str, Any], prefix: str) -> Iterator[tuple[str, Any]]:
        """Give names and values of columns such as `metric.auc`, and of the object `metrics` of JSON."""
        nested = cells.get(f"{prefix[:-1]}s")
        if nested is not None and not isinstance(nested, dict):
            self.fail(line, f"{prefix[:-1]}s is an object.")
        for name, value in (nested or {}).items():
            self._text(line, name, f"{prefix[:-1]}s")
            yield name, value
        for column, value in cells.items():
            if column.startswith(prefix) and value not in (None, ""):
                if column[len(prefix) :] in (nested or {}):
                    self.fail(line, f"{column} is given twice.")
                yield column[len(prefix) :], value

    def _number(self, line: int, name: str, value: object) -> float:
        number = math.nan
        if isinstance(value, str | int | float) and not isinstance(value, bool):
            with suppress(ValueError, OverflowError):
                number = float(value) if not isinstance(value, str) or len(value) <= 40 else math.nan
        if not math.isfinite(number):
            self.fail(line, f"{_METRIC}{name} is not a number.")
        return number

    def _param(self, line: int, name: str, value: object) -> str:
        if isinstance(value, bool | int | float):
            value = json.dumps(value)
        text = self._text(line, value, f"{_PARAM}{name}")
        return "" if text is None else text

    def _flag(self, line: int, value: object) -> bool:
        if isinstance(value, bool) or value is None:
            return bool(value)
        found = _TRUE.get(value.lower()) if isinstance(value, str) else None
        if found is None:
            self.fail(line, "public is true or false.")
        return found

    def _path(self, text: str) -> str:
        return os.path.join(self._base, text)

    def _optional_path(self, text: str | None) -> str | None:
        return None if text is None else self._path(text)


def _records(text: str, table: _Table, separator: str) -> Iterator[tuple[int, dict[str, str]]]:
    """Read comma- or tab-separated lines below a heading, as RFC 4180 describes them."""
    lines = (f"{line}\n" for line in text.split("\n"))
    reader = csv.reader(lines, delimiter=separator, strict=True)
    heading: list[str] | None = None
    while True:
        line = reader.line_num + 1
        try:
            cells = next(reader, None)
        except csv.Error as error:
            table.fail(line, f"{error}.")  # where its row begins
        if cells is None:
            return
        if not any(cells):
            continue
        if heading is None:
            heading = [cell.strip() for cell in cells]
            _check_heading(heading, table, line)
        elif len(cells) != len(heading):
            table.fail(line, f"it has {len(cells)} cells, and the heading has {len(heading)}.")
        else:
            yield line, dict(zip(heading, cells, strict=True))


def _check_heading(heading: Sequence[str], table: _Table, line: int) -> None:
    if len(heading) > limits.TABLE_COLUMNS:
        table.fail(line, f"a table has at most {limits.TABLE_COLUMNS:,} columns.")
    for column in heading:
        if heading.count(column) > 1:
            table.fail(line, f"the column {column[:80]!r} stands there twice.")
        _check_column(column, table, line, nested=False)
    for needed in ("model", "path"):
        if needed not in heading:
            table.fail(line, f"there is no column {needed}: the first line names the columns.")


def _check_column(column: str, table: _Table, line: int, *, nested: bool) -> None:
    known = (*_PLAIN, *_NESTED) if nested else _PLAIN
    if column in known or any(column.startswith(prefix) and column != prefix for prefix in (_METRIC, _PARAM)):
        return
    table.fail(
        line, f"there is no column {column[:80]!r}; there are {', '.join(known)}, metric.NAME and param.NAME."
    )


def _objects(text: str, table: _Table, _: str) -> Iterator[tuple[int, dict[str, Any]]]:
    """Read one JSON object a line."""

    def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        found = dict(pairs)
        if len(found) != len(pairs):
            raise ValueError("a key stands there twice")
        return found

    def constant(name: str) -> NoReturn:
        raise ValueError(f"{name} is not JSON")

    for line, content in enumerate(text.split("\n"), start=1):
        if not content.strip():
            continue
        try:
            value = json.loads(content, object_pairs_hook=unique, parse_constant=constant)
        except (ValueError, RecursionError) as error:
            table.fail(line, f"it is no JSON object ({str(error)[:80]}).")
        if not isinstance(value, dict):
            table.fail(line, "it is no JSON object.")
        for column in value:
            _check_column(column, table, line, nested=True)
        yield line, value
