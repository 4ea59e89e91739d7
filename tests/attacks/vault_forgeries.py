"""Tables of what is wrong with a document, each with the code that it is refused as."""

import base64
from collections.abc import Callable
from typing import Any

Value = dict[str, Any]

# What is done to the bytes of a manifest, before they are signed.
BYTES: dict[str, Callable[[bytes], bytes]] = {
    "a duplicate key": lambda b: b.replace(b'"public":false', b'"public":false,"public":false'),
    "a duplicate key, other value": lambda b: b.replace(b'"public":false', b'"public":false,"public":true'),
    "NaN": lambda b: b.replace(b'"public":false', b'"public":NaN'),
    "Infinity": lambda b: b.replace(b'"size":7', b'"size":Infinity'),
    "a float": lambda b: b.replace(b'"size":7', b'"size":7.0'),
    "an exponent": lambda b: b.replace(b'"size":7', b'"size":7e0'),
    "a number of 17 digits": lambda b: b.replace(b'"size":7', b'"size":10000000000000000'),
    "trailing bytes": lambda b: b + b" ",
    "a second document": lambda b: b + b,
    "a byte-order mark": lambda b: b"\xef\xbb\xbf" + b,
    "a space": lambda b: b.replace(b'"public":', b'"public": '),
    "another order of keys": lambda b: b.replace(b'"public":false,', b"").replace(
        b"{", b'{"public":false,', 1
    ),
    "an escape that is not needed": lambda b: b.replace(b'"churn"', b'"\\u0063hurn"'),
    "invalid UTF-8": lambda b: b.replace(b'"churn"', b'"ch\xffrn"'),
    "a lone surrogate": lambda b: b.replace(b'"churn"', b'"\\ud800"'),
    "nesting without end": lambda b: b"[" * 100_000,
    "nothing": lambda b: b"",
}


def file_entry(value: Value, path: str) -> Value:
    (found,) = (entry for entry in value["files"] if entry["path"] == path)
    return found  # type: ignore[no-any-return]


def renamed(path: str) -> Callable[[Value], object]:
    """Give the model another path; keep the files in order."""

    def change(value: Value) -> None:
        file_entry(value, "model.json")["path"] = path
        value["files"].sort(key=lambda entry: entry["path"])

    return change


def added(path: str, **fields: Any) -> Callable[[Value], object]:
    """Add a file like the model under another path."""

    def change(value: Value) -> None:
        value["files"].append({**file_entry(value, "model.json"), "path": path, **fields})
        value["files"].sort(key=lambda entry: entry["path"])

    return change


# What is done to the value of a manifest, before it is signed.
FIELDS: dict[str, tuple[Callable[[Value], object], str]] = {
    "an unknown field": (lambda doc: doc.update(extra=1), "malformed-document"),
    "an unknown field of a file": (lambda doc: doc["files"][0].update(extra=1), "malformed-document"),
    "a missing field": (lambda doc: doc.pop("public"), "malformed-document"),
    "a number for a name": (lambda doc: doc.update(model=7), "malformed-document"),
    "null for a list": (lambda doc: doc.update(files=None), "malformed-document"),
    "no files": (lambda doc: doc.update(files=[]), "malformed-document"),
    "metadata alone": (lambda doc: doc["files"].pop(1), "malformed-document"),
    "no metadata": (lambda doc: doc["files"].pop(0), "malformed-document"),
    "no publishers": (lambda doc: doc.update(publishers=[]), "malformed-document"),
    "a publisher twice": (lambda doc: doc.update(publishers=doc["publishers"] * 2), "malformed-document"),
    "a file twice": (added("model.json"), "malformed-document"),
    "a file twice, other digest": (added("model.json", commitment="00" * 32), "malformed-document"),
    "names equal after case folding": (added("MODEL.json"), "malformed-document"),
    "names equal after normalisation": (added("\uff4dodel.json"), "malformed-document"),
    "a file that is a folder of another": (added("model.json/x"), "malformed-document"),
    "files out of order": (lambda doc: doc["files"].reverse(), "malformed-document"),
    "a negative size": (lambda doc: doc["files"][1].update(size=-1), "malformed-document"),
    "a size beyond all limits": (lambda doc: doc["files"][1].update(size=1 << 51), "malformed-document"),
    "no commitment": (lambda doc: doc["files"][1].update(commitment=None), "malformed-document"),
    "a role that does not exist": (lambda doc: doc["files"][1].update(role="code"), "malformed-document"),
    "a path upwards": (renamed("../model.json"), "malformed-name"),
    "a path upwards inside": (renamed("a/../../model.json"), "malformed-name"),
    "an absolute path": (renamed("/etc/model.json"), "malformed-name"),
    "a drive": (renamed("C:/model.json"), "malformed-name"),
    "a backslash": (renamed("..\\model.json"), "malformed-name"),
    "an empty path": (renamed(""), "malformed-name"),
    "an empty part": (renamed("a//model.json"), "malformed-name"),
    "a dot": (renamed("./model.json"), "malformed-name"),
    "a device": (renamed("nul.json"), "malformed-name"),
    "a zero byte": (renamed("model\x00.json"), "malformed-name"),
    "a name that is not in normal form C": (renamed("mode\u0301l.json"), "malformed-name"),
    "a model name upwards": (lambda doc: doc.update(model="../churn"), "malformed-name"),
    "another model": (lambda doc: doc.update(model="fraud"), "misplaced"),
    "another version": (lambda doc: doc.update(version="2"), "misplaced"),
    "another vault": (lambda doc: doc.update(vault="00" * 32), "misplaced"),
}

# What is done to an envelope after it was signed.
ENVELOPES: dict[str, tuple[Callable[[Value], object], str]] = {
    "no signatures": (lambda doc: doc.update(signatures=[]), "unsigned"),
    "no signature list": (lambda doc: doc.pop("signatures"), "malformed-envelope"),
    "null for signatures": (lambda doc: doc.update(signatures=None), "malformed-envelope"),
    "a text for signatures": (lambda doc: doc.update(signatures="none"), "malformed-envelope"),
    "an empty signature": (lambda doc: doc["signatures"][0].update(sig=""), "malformed-envelope"),
    "a short signature": (lambda doc: doc["signatures"][0].update(sig="AAAA"), "malformed-envelope"),
    "a zero signature": (
        lambda doc: doc["signatures"][0].update(sig="A" * 86 + "=="),
        "bad-signature",
    ),
    "another key's id": (lambda doc: doc["signatures"][0].update(keyid="00" * 32), "untrusted-signer"),
    "an unknown field": (lambda doc: doc.update(extra=1), "malformed-envelope"),
    "another type": (
        lambda doc: doc.update(payloadType="application/vnd.in-toto+json"),
        "wrong-payload-type",
    ),
    "65 signatures": (lambda doc: doc.update(signatures=doc["signatures"] * 65), "malformed-envelope"),
    "base64 without padding": (
        lambda doc: doc.update(payload=doc["payload"].rstrip("=") + "="),
        "malformed-envelope",
    ),
    "another payload": (
        lambda doc: doc.update(payload=base64.b64encode(b"{}").decode()),
        "bad-signature",
    ),
}
