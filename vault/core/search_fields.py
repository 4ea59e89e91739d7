"""The fields of a query, and how the value of each is read (docs/registry.md)."""

import re
from collections.abc import Callable
from typing import Final, TypeVar

from vault.core import names
from vault.core.registry_record import library_order, number_of, version_key
from vault.errors import Malformed

T = TypeVar("T")

_SIZE: Final = re.compile(r"([0-9]{1,16}(?:\.[0-9]{1,3})?)\s*([kMGTP]?)(i?)B?\Z", re.ASCII | re.IGNORECASE)
DAY: Final = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}\Z", re.ASCII)
_DIGEST: Final = re.compile(r"(?:sha256:)?([0-9a-f]{8,64})\Z", re.ASCII)
_TYPING_ERRORS: Final = 2
_POWERS: Final = "kmgtp"

NAMED: Final = ("library", "metric", "param")  # what has names below it, as in metric.auc
CONFIDENTIAL: Final = ("feature", "library", "metric", "param")  # what lies in the sealed half of a version
ORDERED: Final = ("created", "size", "version")
ALIASES: Final = {
    "environment": "env",
    "features": "feature",
    "formats": "format",
    "libraries": "library",
    "lib": "library",
    "metrics": "metric",
    "name": "model",
    "params": "param",
    "parameter": "param",
    "parents": "parent",
    "publisher": "by",
    "tags": "tag",
}
EXAMPLES: Final = {
    "approved": "Write a person's name: approved=ana",
    "by": "Write a publisher's name: by=ana",
    "created": "Write a day or a time: created>2026-05-01 or created<2026-05-01T10:00:00Z",
    "digest": "Write eight digits or more of the manifest's digest: digest=sha256:1f0c22ab",
    "env": "Write an environment, or one and a slot: env=prod or env=prod/canary",
    "feature": "Write a feature's name: feature=age",
    "format": "Write a format: format=onnx",
    "library": "Write a library and its version: library.scikit-learn>=1.6, or library=onnx",
    "metric": "Write a metric and a number: metric.auc>0.9, or metric=auc",
    "model": "Write a model, or those below a folder: model:churn or model:nepse/*",
    "param": "Write a parameter and its value: param.max_depth<=5 or param.solver=lbfgs, or param=solver",
    "parent": "Write a model or a version: parent=churn or parent=churn:3",
    "size": "Write bytes: size>10MB",
    "tag": "Write a tag: tag=baseline",
    "test": "Write how a load test ended: test=passed or test=failed",
    "version": "Write a version: version=3 or version>=1.4.0",
    "was": "Write an environment that used it at some time: was=prod",
}
FIELDS: Final = tuple(EXAMPLES)
HINT: Final = 'Conditions look like env=prod or metric.auc>0.9; anything else is quoted: "a>b"'


def like(field: str, written: str) -> str:
    """Say which field may have been meant by one that there is not."""
    close = min(FIELDS, key=lambda known: _edits(field, known))
    if _edits(field, close) <= min(_TYPING_ERRORS, len(field) // 2):
        return f"Did you mean {close!r}? {EXAMPLES[close]}"
    return f'There are {", ".join(FIELDS)}. To search for the text, quote it: "{written.strip()}…"'


def _edits(one: str, other: str) -> int:
    """Count the characters to put in, take out or change to make one word of another (Levenshtein)."""
    costs = list(range(len(other) + 1))
    for place, character in enumerate(one, 1):
        before, costs[0] = costs[0], place
        for column, wanted in enumerate(other, 1):
            changed = before + (character != wanted)
            before, costs[column] = costs[column], min(changed, costs[column] + 1, costs[column - 1] + 1)
    return costs[-1]


Read = tuple[float | None, str]  # the number, where there is one, and the text to compare with


def value_of(field: str, name: str, operator: str, text: str) -> Read:
    """Read a value as its field compares it.

    Raises:
        ValueError: it is none for this field.
    """
    if not name and field in NAMED:
        return None, text
    if field == "param" and operator not in {"=", "!="} and number_of(text) is None:
        raise ValueError(f"{text[:40]!r} is no number, and texts are not ordered")
    return READERS[field](text)


def _text(text: str) -> Read:
    return None, text


def _metric(text: str) -> Read:
    number = number_of(text)
    if number is None:
        raise ValueError(f"{text[:40]!r} is no number")
    return number, text


def _param(text: str) -> Read:
    return number_of(text), text


def _library(text: str) -> Read:
    order = library_order(text)
    if order is None:
        raise ValueError(f"{text[:40]!r} is no version of a library")
    return None, order


def _model(text: str) -> Read:
    if text == "*":
        return None, text
    return None, _named(names.model, text.removesuffix("/*")) + ("/*" if text.endswith("/*") else "")


def _version(text: str) -> Read:
    return None, _named(version_key, text)


def _place(text: str) -> Read:
    environment, slash, slot = text.partition("/")
    place = _named(names.environment, environment)
    return None, f"{place}/{_named(names.slot, slot)}" if slash else place


def _parent(text: str) -> Read:
    model, colon, version = text.partition(":")
    found = _named(names.model, model)
    return None, f"{found}:{_named(names.version, version)}" if colon else found


def _created(text: str) -> Read:
    moment = f"{text}T00:00:00Z" if DAY.match(text) else text
    return float(_named(names.timestamp, moment)), text


def _size(text: str) -> Read:
    found = _SIZE.match(text)
    if found is None:
        raise ValueError(f"{text[:40]!r} is no number of bytes")
    power = _POWERS.find(found[2].lower()) + 1 if found[2] else 0
    return float(found[1]) * (1_024 if found[3] else 1_000) ** power, text


def _digest(text: str) -> Read:
    found = _DIGEST.match(text)
    if found is None:
        raise ValueError(f"{text[:80]!r} is no digest")
    return None, found[1]


def _test(text: str) -> Read:
    if text not in {"passed", "failed"}:
        raise ValueError(f"{text[:40]!r} is no end of a load test")
    return None, text


def _named(parse: Callable[[str], T], text: str) -> T:
    try:
        return parse(text)
    except Malformed as error:
        raise ValueError(error.message.removesuffix(".")) from None


READERS: Final[dict[str, Callable[[str], Read]]] = {
    "approved": _text,
    "by": _text,
    "created": _created,
    "digest": _digest,
    "env": _place,
    "feature": _text,
    "format": _text,
    "library": _library,
    "metric": _metric,
    "model": _model,
    "param": _param,
    "parent": _parent,
    "size": _size,
    "tag": _text,
    "test": _test,
    "version": _version,
    "was": _place,
}
