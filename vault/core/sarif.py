"""Write inspections in the Static Analysis Results Interchange Format, for code hosts and editors.

Format: OASIS SARIF 2.1.0 (plus errata 01), sections 3.13 (log), 3.14 (run),
3.19 (tool component), 3.24 (artifact), 3.27 (result), 3.30 (region) and
3.49 (rule). URIs: RFC 3986.
"""

import hashlib
from collections.abc import Iterable, Sequence
from typing import Final

from vault.core.findings import Finding, Inspection, described

SCHEMA: Final = "https://docs.oasis-open.org/sarif/sarif/v2.1.0/errata01/os/schemas/sarif-schema-2.1.0.json"
VERSION: Final = "2.1.0"
_PLAIN: Final = frozenset(b"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-._~/!$&'()*+,;=@")

Value = None | bool | int | str | list["Value"] | dict[str, "Value"]


def log(inspections: Sequence[Inspection], *, version: str, base: str = "") -> dict[str, Value]:
    """Put inspections of files into one SARIF log with one run; `version` is the tool's.

    Files below the absolute path `base` get URIs relative to it, `base` itself
    is not written. Byte offsets are those of the file; inside an archive they
    are counted from the start of the member and stand among the properties.
    """
    pairs = [(entry, found) for entry in inspections for found in entry.findings]
    rules = sorted({found.rule for _, found in pairs})
    index = {rule: number for number, rule in enumerate(rules)}
    files = list(dict.fromkeys(entry.path for entry in inspections))
    places = {path: number for number, path in enumerate(files)}
    sizes = {entry.path: entry.size for entry in inspections}
    return {
        "$schema": SCHEMA,
        "version": VERSION,
        "runs": [
            {
                "tool": {
                    "driver": {
                        "name": "mvault inspect",
                        "semanticVersion": version,
                        "rules": [_rule(rule, _level_of(rule, pairs)) for rule in rules],
                    }
                },
                "artifacts": [
                    {"location": {"uri": uri(path, base=base)}, "length": sizes[path]} for path in files
                ],
                "results": [
                    _result(entry, found, index[found.rule], places[entry.path], base)
                    for entry, found in pairs
                ],
                "columnKind": "unicodeCodePoints",
            }
        ],
    }


def uri(path: str, *, base: str = "") -> str:
    """Write a path as a URI reference: relative where it is, or lies below `base`, else `file:`.

    Bytes of a name that are no UTF-8 (surrogate escapes) are percent-encoded as they are.
    """
    if base and path.startswith(base.rstrip("/") + "/"):
        path = path[len(base.rstrip("/")) + 1 :]
    text = "".join(
        chr(byte) if byte in _PLAIN else f"%{byte:02X}"
        for byte in path.encode("utf-8", "surrogateescape" if _escaped(path) else "replace")
    )
    return f"file://{text}" if text.startswith("/") else text


def _escaped(path: str) -> bool:
    """Tell whether every lone surrogate in a path stands for a byte, as Python reads file names."""
    return all(
        not "\ud800" <= character <= "\udfff" or "\udc80" <= character <= "\udcff" for character in path
    )


def _level_of(rule: str, pairs: Iterable[tuple[Inspection, Finding]]) -> str:
    levels = {found.level for _, found in pairs if found.rule == rule}
    return next(level for level in ("error", "warning", "note") if level in levels)


def _rule(rule: str, level: str) -> Value:
    meaning, advice = described(rule)
    return {
        "id": rule,
        "name": "".join(part.capitalize() for part in rule.split("-")),
        "shortDescription": {"text": meaning},
        "fullDescription": {"text": meaning},
        "help": {"text": f"{meaning} {advice}"},
        "defaultConfiguration": {"level": level},
        "properties": {"tags": ["security"]},
    }


def _result(entry: Inspection, found: Finding, index: int, place: int, base: str) -> Value:
    physical: dict[str, Value] = {"artifactLocation": {"uri": uri(entry.path, base=base), "index": place}}
    properties: dict[str, Value] = {"format": entry.format, "verdict": entry.verdict}
    if found.offset is not None and not found.member:
        physical["region"] = {"byteOffset": found.offset}
    elif found.offset is not None:
        properties["memberOffset"] = found.offset
    location: dict[str, Value] = {"physicalLocation": physical}
    if found.member:
        full = f"{entry.path}!{found.member}"
        location["logicalLocations"] = [{"fullyQualifiedName": _text(full), "kind": "resource"}]
    where = f"{found.member}: " if found.member else ""
    return {
        "ruleId": found.rule,
        "ruleIndex": index,
        "level": found.level,
        "message": {"text": _text(f"{where}{found.message}")},
        "locations": [location],
        "partialFingerprints": {"mvault/v1": _fingerprint(entry, found)},
        "properties": properties,
    }


def _text(text: str) -> str:
    """Replace what no JSON reader has to accept: lone surrogates."""
    return text.encode("utf-8", "backslashreplace").decode("utf-8")


def _fingerprint(entry: Inspection, found: Finding) -> str:
    parts = "\x00".join((found.rule, entry.path, found.member, found.message))
    return hashlib.sha256(parts.encode("utf-8", "backslashreplace")).hexdigest()[:32]
