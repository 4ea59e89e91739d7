"""Write a machine-learning bill of materials from a version's facts: CycloneDX 1.6, JSON (ECMA-424).

The same facts give the same bytes: the serial number is derived from the version's
identity, and the time is that of the manifest.
"""

import hashlib
import json
import re
from typing import Final

from vault.core.manifest import Parent
from vault.core.model_facts import FileFact, ModelFacts, printable
from vault.core.names import DIGEST_PREFIX

SPEC: Final = "1.6"
_SCHEMA: Final = "http://cyclonedx.org/schema/bom-1.6.schema.json"
_LABEL: Final = b"mvault/v1/ml-bom\x00"
_MODEL: Final = "model"
_DATA: Final = "training-data"
_LIBRARY_NAME: Final = re.compile(r"[-_.]+", re.ASCII)

Part = dict[str, object]


def render(facts: ModelFacts) -> bytes:
    """Write the document, in ASCII."""
    libraries = [_library(name, version) for name, version in sorted(facts.libraries.items())]
    data = [_dataset(facts)] if facts.training_data else []
    document: Part = {
        "$schema": _SCHEMA,
        "bomFormat": "CycloneDX",
        "specVersion": SPEC,
        "serialNumber": f"urn:uuid:{_serial(facts)}",
        "version": 1,
        "metadata": {
            "timestamp": facts.created,
            "tools": {"components": [{"type": "application", "name": "mvault"}]},
            "component": _model(facts),
        },
        "components": [*(_file(entry) for entry in facts.files), *data, *libraries],
        "dependencies": [{"ref": _MODEL, "dependsOn": [entry["bom-ref"] for entry in (*data, *libraries)]}],
    }
    return (json.dumps(document, indent=2) + "\n").encode("ascii")


def _serial(facts: ModelFacts) -> str:
    """Derive a UUID of version 8 (RFC 9562, 5.8) from what names the version for ever."""
    told = f"{facts.vault} {facts.model} {facts.version} {facts.manifest or ''}"
    raw = bytearray(hashlib.sha256(_LABEL + told.encode("ascii")).digest()[:16])
    raw[6] = raw[6] & 0x0F | 0x80
    raw[8] = raw[8] & 0x3F | 0x80
    text = raw.hex()
    return "-".join((text[:8], text[8:12], text[12:16], text[16:20], text[20:]))


def _model(facts: ModelFacts) -> Part:
    told = [
        ("mvault:vault", DIGEST_PREFIX + facts.vault),
        ("mvault:manifest", "" if facts.manifest is None else DIGEST_PREFIX + facts.manifest),
        *(("mvault:publisher", name) for name in facts.publishers),
        *((f"mvault:git:{name}", value) for name, value in facts.git),
        ("mvault:python", facts.told("python")),
    ]
    found: Part = {
        "type": "machine-learning-model",
        "bom-ref": _MODEL,
        "name": facts.model,
        "version": facts.version,
        "modelCard": _card(facts),
        "properties": _properties(told),
    }
    if facts.notes:
        found["description"] = "\n".join(printable(line) for line in facts.notes.split("\n"))
    if facts.tags:
        found["tags"] = facts.tags
    if facts.parents:
        found["pedigree"] = {"ancestors": [_ancestor(entry) for entry in facts.parents]}
    return found


def _card(facts: ModelFacts) -> Part:
    parameters: Part = {}
    if facts.told("estimator"):
        parameters["modelArchitecture"] = facts.told("estimator")
    if facts.training_data:
        parameters["datasets"] = [{"ref": _DATA}]
    found: Part = {"modelParameters": parameters}
    if facts.metrics:
        found["quantitativeAnalysis"] = {
            "performanceMetrics": [{"type": name, "value": value} for name, value in facts.metrics]
        }
    told = [
        *((f"mvault:parameter:{name}", value) for name, value in facts.parameters),
        *(("mvault:feature", name) for name in facts.features),
        *(("mvault:class", name) for name in facts.classes),
        ("mvault:parity", facts.told("parity")),
    ]
    properties = _properties(told)
    if properties:
        found["properties"] = properties
    return found


def _ancestor(parent: Parent) -> Part:
    return {
        "type": "machine-learning-model",
        "name": parent.model,
        "version": parent.version,
        "properties": _properties(
            [
                ("mvault:relation", parent.relation),
                ("mvault:manifest", DIGEST_PREFIX + parent.manifest),
            ]
        ),
    }


def _file(file: FileFact) -> Part:
    return {
        "type": "file",
        "bom-ref": f"file:{file.path}",
        "name": file.path,
        "hashes": [{"alg": "SHA-256", "content": file.sha256}],
        "properties": _properties(
            [("mvault:role", file.role), ("mvault:format", file.format), ("mvault:size", str(file.size))]
        ),
    }


def _dataset(facts: ModelFacts) -> Part:
    """Describe the training data by their digest, which covers values and names and no file."""
    rows = facts.told("training_rows")
    found: Part = {
        "type": "data",
        "bom-ref": _DATA,
        "name": "training data",
        "data": [{"type": "dataset", "name": "training data"}],
        "properties": _properties(
            [("mvault:digest", DIGEST_PREFIX + facts.training_data), ("mvault:rows", rows)]
        ),
    }
    return found


def _library(name: str, version: str) -> Part:
    """Describe a library as a package of PyPI (purl specification, type `pypi`)."""
    plain = _encoded(_LIBRARY_NAME.sub("-", name).lower())
    return {
        "type": "library",
        "bom-ref": f"library:{printable(name)}",
        "name": printable(name),
        "version": printable(version),
        "purl": f"pkg:pypi/{plain}@{_encoded(version)}",
    }


def _encoded(text: str) -> str:
    """Percent-encode a part of a package URL."""
    return "".join(
        chr(byte) if chr(byte).isascii() and (chr(byte).isalnum() or chr(byte) in "-._~") else f"%{byte:02X}"
        for byte in text.encode("utf-8")
    )


def _properties(told: list[tuple[str, str]]) -> list[Part]:
    return [{"name": name, "value": value} for name, value in told if value]
