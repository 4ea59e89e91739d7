"""The JSON Schemas of OMS v1.0, constraint for constraint, and what of a bundle they object to.

Written anew from the four schemas that the specification names in its section 3.1 (bundle, envelope,
statement, predicate; draft 2020-12), without their texts. A change of theirs is to be followed here.
"""

import base64
import json
from typing import Any

from tests import oracles

HASHES = ["sha256", "blake2b", "blake3"]
TEXT = {"type": "string"}
SOME = {"type": "string", "minLength": 1}
HEXADECIMAL = {"type": "string", "pattern": "^[0-9a-f]+$"}


def record(required: dict[str, Any], optional: dict[str, Any] | None = None, *, more: bool) -> dict[str, Any]:
    """Describe an object."""
    return {
        "type": "object",
        "required": list(required),
        "properties": {**required, **(optional or {})},
        "additionalProperties": more,
    }


def several(items: Any, least: int = 0) -> dict[str, Any]:
    """Describe a list."""
    return {"type": "array", "items": items, "minItems": least}


RESOURCE = record({"name": SOME, "digest": HEXADECIMAL, "algorithm": {"enum": HASHES}}, more=True)
SERIALIZATION = {
    **record(
        {
            "method": {"enum": ["files", "shards"]},
            "hash_type": {"enum": HASHES},
            "allow_symlinks": {"type": "boolean"},
        },
        {"shard_size": {"type": "integer", "exclusiveMinimum": 0}, "ignore_paths": several(SOME)},
        more=False,
    ),
    "if": {"properties": {"method": {"const": "shards"}}},
    "then": {"required": ["shard_size"]},
}
PREDICATE = record({"resources": several(RESOURCE), "serialization": SERIALIZATION}, more=False)
SUBJECT = record(
    {"name": SOME, "digest": {"type": "object", "minProperties": 1, "additionalProperties": HEXADECIMAL}},
    more=True,
)
STATEMENT = record(
    {
        "_type": {"const": "https://in-toto.io/Statement/v1"},
        "subject": {**several(SUBJECT, 1), "maxItems": 1},
        "predicateType": {"const": "https://model_signing/signature/v1.0"},
        "predicate": PREDICATE,
    },
    more=False,
)
SIGNATURE = record({"sig": SOME}, {"keyid": {"type": ["string", "null"]}}, more=False)
ENVELOPE = record(
    {
        "payload": SOME,
        "payloadType": {"const": "application/vnd.in-toto+json"},
        "signatures": several(SIGNATURE, 1),
    },
    more=False,
)
CERTIFICATE = record({"rawBytes": SOME}, more=True)
KEY = {**record({}, {"hint": TEXT, "rawBytes": TEXT}, more=True)}
KEY["anyOf"] = [{"required": ["hint"]}, {"required": ["rawBytes"]}]
UNUSED = {"tlogEntries": several({"type": "object"}), "timestampVerificationData": {"type": "object"}}
MATERIAL = {
    "type": "object",
    "anyOf": [
        {"required": ["publicKey"], "properties": {"publicKey": KEY, **UNUSED}},
        {
            "required": ["x509CertificateChain"],
            "properties": {
                "x509CertificateChain": record({"certificates": several(CERTIFICATE, 1)}, more=True),
                **UNUSED,
            },
        },
        {"required": ["certificate", "tlogEntries"], "properties": {"certificate": CERTIFICATE, **UNUSED}},
    ],
}
BUNDLE = record(
    {
        "mediaType": {"type": "string", "pattern": r"^application/vnd\.dev\.sigstore\.bundle"},
        "verificationMaterial": MATERIAL,
        "dsseEnvelope": ENVELOPE,
    },
    more=False,
)


def faults(bundle: bytes) -> list[str]:
    """Give what the schemas object to in a bundle and in what it signs."""
    jsonschema = oracles.module("jsonschema")
    value = json.loads(bundle)
    found = [error.message for error in jsonschema.Draft202012Validator(BUNDLE).iter_errors(value)]
    if not found:
        payload = json.loads(base64.b64decode(value["dsseEnvelope"]["payload"]))
        found += [error.message for error in jsonschema.Draft202012Validator(STATEMENT).iter_errors(payload)]
    return found
