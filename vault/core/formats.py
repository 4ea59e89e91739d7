"""Name the formats, recognise them by content, and hold manifest, content and extension together."""

import json
import lzma
import zlib
from collections.abc import Callable, Mapping
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final

from vault.core import (
    compression,
    lightgbm_text,
    limits,
    npy,
    onnx_walk,
    pickle_opcodes,
    skops_walk,
    xgboost_model,
    zip_reader,
)
from vault.errors import FormatRefused, Malformed

ONNX: Final = "onnx"
SKOPS: Final = "skops"
JOBLIB: Final = "joblib"
PICKLE: Final = "pickle"
TORCH: Final = "torch"
NPZ: Final = "npz"
NPY: Final = "npy"
JSON: Final = "json"
SAFETENSORS: Final = "safetensors"
KERAS: Final = "keras"
HDF5: Final = "hdf5"
SAVEDMODEL: Final = "savedmodel"
LIGHTGBM: Final = "lightgbm"
XGBOOST: Final = "xgboost"
ZIP: Final = "zip"
TEXT: Final = "text"
DATA: Final = "data"


@dataclass(frozen=True, slots=True)
class FormatFacts:
    """What is known of a format: its extensions, and whether loading it can run code from the file."""

    extensions: tuple[str, ...]
    pickle_based: bool = False
    needs_allowance: bool = False


FORMATS: Final[Mapping[str, FormatFacts]] = MappingProxyType(
    {
        ONNX: FormatFacts((".onnx",)),
        SKOPS: FormatFacts((".skops",)),
        JOBLIB: FormatFacts((".joblib",), pickle_based=True, needs_allowance=True),
        PICKLE: FormatFacts((".pkl", ".pickle", ".p"), pickle_based=True, needs_allowance=True),
        TORCH: FormatFacts((".pt", ".pth", ".ckpt"), pickle_based=True, needs_allowance=True),
        NPZ: FormatFacts((".npz",)),
        NPY: FormatFacts((".npy",)),
        JSON: FormatFacts((".json",)),
        SAFETENSORS: FormatFacts((".safetensors",)),
        LIGHTGBM: FormatFacts((".lgb", ".lgbm", ".lightgbm")),
        XGBOOST: FormatFacts((".ubj", ".xgb")),
        KERAS: FormatFacts((".keras",), needs_allowance=True),
        HDF5: FormatFacts((".h5", ".hdf5"), needs_allowance=True),
        SAVEDMODEL: FormatFacts((".pb",), needs_allowance=True),
        ZIP: FormatFacts((".zip",)),
        TEXT: FormatFacts((".txt", ".md", ".csv", ".tsv", ".yaml", ".yml", ".toml", ".ini", ".py", ".log")),
        DATA: FormatFacts(()),
    }
)
PICKLE_BASED: Final = frozenset(name for name, facts in FORMATS.items() if facts.pickle_based)
# What a file of its own may be as a model; the rest are tables, texts and containers.
ARRAYS: Final = frozenset({NPZ, NPY})  # a model only where a package says so
MODELS: Final = frozenset(FORMATS) - {NPZ, NPY, JSON, ZIP, TEXT, DATA}
CODE_FREE: Final = frozenset(name for name, facts in FORMATS.items() if not facts.needs_allowance)

_BY_EXTENSION: Final = {ending: name for name, facts in FORMATS.items() for ending in facts.extensions}
# A file of the declared format may look like one of these: a joblib file without arrays is a pickle.
_CONTENT: Final[Mapping[str, frozenset[str]]] = {
    JOBLIB: frozenset({JOBLIB, PICKLE}),
    TEXT: frozenset({TEXT, JSON, DATA}),
    DATA: frozenset({DATA, TEXT, JSON, ZIP}),
    ZIP: frozenset({ZIP, DATA}),
}
_HEAD: Final = 4 * limits.KIB
_BLOCK: Final = limits.MIB  # bzip2 gives out nothing before its first block, of up to 900 kB, is whole


def detect(data: bytes | memoryview) -> str:
    """Name the format of `data` by its content alone; `data` where nothing is recognised.

    Reads the beginning, and of zip archives the directory at the end.

    Raises:
        Malformed: bytes that begin as a zip archive and break its rules.
    """
    view = memoryview(data).toreadonly().cast("B")
    if bytes(view[:2]) == b"PK":
        return _detect_zip(view)
    head = bytes(view[:_HEAD])
    return next((name for name, holds in _SIGNS if holds(view, head)), None) or _detect_text(head, len(view))


def by_extension(path: str) -> str:
    """Name the format that a path's extension stands for; `data` for an unknown one."""
    name = path.rpartition("/")[2].lower()
    if name == "fingerprint.pb":  # beside the graph of a SavedModel
        return DATA
    _, dot, ending = name.rpartition(".")
    return _BY_EXTENSION.get("." + ending, DATA) if dot else DATA


def classify(path: str, data: bytes | memoryview) -> str:
    """Name the format to declare for a file that is about to be packaged.

    Raises:
        FormatRefused: `format-refused`: its extension and its content disagree.
        Malformed: a damaged zip archive.
    """
    declared = by_extension(path)
    content = _content(declared, data)
    if declared == DATA and content in (TEXT, JSON):
        declared = TEXT
    _agree(path, declared, content)
    return declared


def check(path: str, declared: str, data: bytes | memoryview) -> None:
    """Hold three statements together: what the manifest declares, the content, the extension.

    Raises:
        FormatRefused: `format-refused`: an unknown format, or two of the three disagree.
        Malformed: a damaged zip archive.
    """
    if declared not in FORMATS:
        raise FormatRefused(
            f"{path} is declared as {declared[:40]!r}, which is no known format.", subject=path
        )
    named = by_extension(path)
    if named != declared and not (named == DATA and declared in (TEXT, DATA)):
        raise FormatRefused(
            f"{path} is declared as {declared}, but its extension "
            f"{'is that of ' + named if named != DATA else 'belongs to no format'}.",
            subject=path,
            hint=f"Name it with one of: {', '.join(FORMATS[declared].extensions) or 'no known extension'}.",
        )
    _agree(path, declared, _content(declared, data))


def _content(declared: str, data: bytes | memoryview) -> str:
    """Detect; a zip that breaks the rules is plain data where nothing would ever open it."""
    try:
        return detect(data)
    except Malformed:
        if declared in (DATA, TEXT, ZIP):
            return DATA
        raise


def _agree(path: str, declared: str, content: str) -> None:
    if content not in _CONTENT.get(declared, frozenset({declared})):
        raise FormatRefused(
            f"{path} is declared as {declared}, but its content is {_told(content)}.",
            subject=path,
            hint=_hint(content),
        )


def _hint(content: str) -> str:
    endings = FORMATS[content].extensions
    named = f" ({', '.join(endings)})" if endings and content not in (TEXT, ZIP) else ""
    return f"Give it the extension of what it is{named}, or make it again."


def _told(name: str) -> str:
    return f"a {name}, which is a program" if name in PICKLE_BASED else f"of another kind ({name})"


def _detect_zip(view: memoryview) -> str:
    return of_members(zip_reader.open_archive(view).entries.keys())


def of_members(names: AbstractSet[str]) -> str:
    """Name the format of a zip archive by what its members are called."""
    if skops_walk.SCHEMA in names:
        return SKOPS
    if any(name == "data.pkl" or name.endswith("/data.pkl") for name in names):
        return TORCH
    if {"config.json", "metadata.json", "model.weights.h5"} <= names:
        return KERAS
    if names and all(name.endswith(".npy") for name in names):
        return NPZ
    return ZIP


def _unpacks_to_pickle(view: memoryview, head: bytes) -> bool:
    if head[:4] == b"\x04\x22\x4d\x18":  # an LZ4 frame: joblib's, and nothing else that a model is kept in
        return True
    opened = compression.unpacker(head)
    if opened is None:
        return False
    try:
        first = opened.decompress(bytes(view[:_BLOCK]) if head.startswith(b"BZh") else head, 64)
    except (zlib.error, lzma.LZMAError, OSError, EOFError, MemoryError):
        return False
    return first[:1] == b"\x80" or pickle_opcodes.looks_like_pickle(memoryview(first), limit=len(first) - 1)


def _is_safetensors(view: memoryview) -> bool:
    if len(view) < 10 or view[8] != ord("{"):
        return False
    length = int.from_bytes(view[:8], "little")
    return 2 <= length <= min(len(view) - 8, limits.SCHEMA_BYTES)


def _detect_text(head: bytes, size: int) -> str:
    """Tell JSON and UTF-8 text from other bytes, by the first few KiB."""
    if b"\x00" in head:
        return DATA
    try:
        text = head.decode("utf-8")
    except UnicodeDecodeError as error:
        if size <= _HEAD or error.start < _HEAD - 4:
            return DATA
        text = head[: error.start].decode("utf-8")
    start = text.lstrip(" \t\r\n")[:1]
    if start and start in '{["-0123456789tfn' and (size > _HEAD or _is_json(text)):
        return JSON if start in "{[" or size <= _HEAD else TEXT
    return TEXT


def _is_json(text: str) -> bool:
    try:
        json.loads(text)
    except (ValueError, RecursionError):
        return False
    return True


_SIGNS: Final[tuple[tuple[str, Callable[[memoryview, bytes], bool]], ...]] = (
    (NPY, lambda _, head: head.startswith(npy.MAGIC)),
    (HDF5, lambda _, head: head.startswith(b"\x89HDF\r\n\x1a\n")),
    (PICKLE, lambda _, head: len(head) > 1 and head[0] == pickle_opcodes.PROTO and head[1] <= 5),
    (JOBLIB, _unpacks_to_pickle),
    (SAFETENSORS, lambda view, _: _is_safetensors(view)),
    (ONNX, lambda view, _: onnx_walk.is_model(view)),
    (LIGHTGBM, lambda _, head: head.startswith(lightgbm_text.SIGNATURE)),
    (XGBOOST, lambda _, head: head.startswith(xgboost_model.SIGNATURE)),
    (SAVEDMODEL, lambda _, head: head.startswith(b"\x08\x01\x12")),
    (PICKLE, lambda view, _: pickle_opcodes.looks_like_pickle(view)),
)
