"""Walk an ONNX model's protobuf without building it, and refuse what reaches outside the file.

The wire format is that of Protocol Buffers ("Encoding", protobuf.dev). Every
occurrence of a field is walked: readers merge repeated singular messages, so
none of them may hide behind a later one.
"""

import re
from collections.abc import Mapping
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Final

from vault.core import limits
from vault.core.onnx_fields import MESSAGES, Field, Kind
from vault.errors import FormatRefused

STANDARD_DOMAINS: Final = frozenset({"", "ai.onnx", "ai.onnx.ml"})

_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5
_WIRE: Final = {
    Kind.VARINT: (_VARINT,),
    Kind.VARINTS: (_VARINT, _BYTES),
    Kind.NUMBER: (_VARINT,),
    Kind.FIXED32: (_FIXED32,),
    Kind.FIXED32S: (_FIXED32, _BYTES),
    Kind.FIXED64S: (_FIXED64, _BYTES),
    Kind.BYTES: (_BYTES,),
    Kind.TEXT: (_BYTES,),
}
# A tree ensemble repeats one small field millions of times: step over such runs at the speed of C.
_VARINT_FORM = rb"[\x80-\xff]{0,9}[\x00-\x7f]"
_SHORT_TEXT = rb"(?:\x0aBRANCH_LEQ|\x04LEAF|" + b"|".join(b"\\x%02x.{%d}" % (n, n) for n in range(12)) + rb")"
_RUN: Final = 4096
_TEXT_LIMIT: Final = 4 * limits.KIB
_TOP_GRAPH: Final = 1  # the depth of the model's own graph


@dataclass(frozen=True, slots=True)
class OnnxSummary:
    """What a model declares: versions, the operators it uses, its inputs and outputs."""

    ir_version: int
    producer: str
    opsets: Mapping[str, int]
    domains: frozenset[str]
    operators: frozenset[tuple[str, str]]  # (domain, operator)
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    nodes: int
    initializers: int


@dataclass(slots=True)
class _Found:
    """What the walk has met so far."""

    ir_version: int = 0
    producer: list[str] = field(default_factory=list)
    opsets: dict[str, int] = field(default_factory=dict)
    domains: set[str] = field(default_factory=set)
    operators: set[tuple[str, str]] = field(default_factory=set)
    functions: set[tuple[str, str]] = field(default_factory=set)
    inputs: list[str] = field(default_factory=list)
    outputs: list[str] = field(default_factory=list)
    nodes: int = 0
    initializers: int = 0
    graphs: int = 0
    fields: int = 0


def walk(
    data: bytes | memoryview,
    *,
    domains: AbstractSet[str] = STANDARD_DOMAINS,
    subject: str = "",
) -> OnnxSummary:
    """Walk a whole model and return what it declares; `domains` are those that operators may come from.

    Raises:
        FormatRefused: `format-content`: external data in any place, an operator, function or
            opset of another domain, an unknown field, or bytes that are not a bounded ONNX model.
    """
    view = memoryview(data).toreadonly().cast("B")
    if bytes(view[4:8]) == b"ORTM":
        raise _refused("This is a compiled ONNX Runtime model, not an ONNX model.", subject)
    walker = _Walker(view, domains, subject)
    walker.message("Model", 0, len(view), 0)
    found = walker.found
    if found.graphs == 0 or not found.opsets or not found.ir_version:
        raise _refused("This is not an ONNX model: it has no graph, opset or version.", subject)
    return OnnxSummary(
        ir_version=found.ir_version,
        producer=" ".join(found.producer),
        opsets=MappingProxyType(found.opsets),
        domains=frozenset(found.domains),
        operators=frozenset(found.operators),
        inputs=tuple(found.inputs),
        outputs=tuple(found.outputs),
        nodes=found.nodes,
        initializers=found.initializers,
    )


def is_model(data: bytes | memoryview) -> bool:
    """Tell whether the top level of `data` has the fields of an ONNX model; nothing below is read."""
    view = memoryview(data).toreadonly().cast("B")
    reader = _Walker(view, STANDARD_DOMAINS, "")
    seen: set[int] = set()
    try:
        at = 0
        while at < len(view) and not seen >= {1, 7}:
            number, wire, at = reader.tag(at, len(view))
            known = MESSAGES["Model"].get(number)
            if known is None or wire != (_VARINT if number in (1, 5) else _BYTES):
                return False
            value, at = reader.varint(at, len(view))
            at += value if wire == _BYTES else 0
            if at > len(view):
                return False
            seen.add(number)
            reader.found.fields += 1
            if reader.found.fields > _RUN:
                return False
    except FormatRefused:
        return False
    return seen >= {1, 7}


def _refused(message: str, subject: str) -> FormatRefused:
    return FormatRefused(message, code="format-content", subject=subject)


def _runs(number: int, wire: int) -> re.Pattern[bytes]:
    """Compile a pattern for many repetitions of one small field, its tag of one byte included."""
    tag = re.escape(bytes([number << 3 | wire]))
    form = {_VARINT: _VARINT_FORM, _FIXED32: rb".{4}", _FIXED64: rb".{8}", _BYTES: _SHORT_TEXT}[wire]
    return re.compile(b"(?:" + tag + form + b"){1,%d}+" % _RUN, re.DOTALL)


_ATTRIBUTE_RUNS: Final = {
    ("Attribute", 7): _runs(7, _FIXED32),
    ("Attribute", 8): _runs(8, _VARINT),
    ("Attribute", 9): _runs(9, _BYTES),
    ("Tensor", 4): _runs(4, _FIXED32),
    ("Tensor", 5): _runs(5, _VARINT),
    ("Tensor", 6): _runs(6, _BYTES),
    ("Tensor", 7): _runs(7, _VARINT),
    ("Tensor", 10): _runs(10, _FIXED64),
    ("Tensor", 11): _runs(11, _VARINT),
}
_PACKED: Final = re.compile(b"(?:" + _VARINT_FORM + b"){1,%d}+" % _RUN, re.DOTALL)


class _Walker:
    """Steps through nested messages; keeps only what the summary needs."""

    __slots__ = ("_domains", "_subject", "_view", "found")

    def __init__(self, view: memoryview, domains: AbstractSet[str], subject: str) -> None:
        self._view = view
        self._domains = domains
        self._subject = subject
        self.found = _Found()

    def message(self, name: str, at: int, end: int, depth: int) -> None:
        """Walk the message `name` that fills `at` to `end`."""
        if depth > limits.PROTOBUF_DEPTH:
            raise self._bad("is nested too deeply")
        table = MESSAGES[name]
        texts: list[tuple[int, str]] = []
        numbers: list[int] = []
        while at < end:
            start = at
            number, wire, at = self.tag(at, end)
            self.found.fields += 1
            if self.found.fields > limits.PROTOBUF_FIELDS:
                raise self._bad("has too many fields")
            known = table.get(number)
            self._check_field(name, number, wire, known)
            if isinstance(known, str):
                length, at = self.varint(at, end)
                if length > end - at:
                    raise self._bad("has a length beyond its end")
                self.message(known, at, at + length, depth + 1)
                at += length
                self._count(name, number)
            elif known is Kind.TEXT:
                text, at = self._text(at, end)
                texts.append((number, text))
            elif known is Kind.NUMBER:
                value, at = self.varint(at, end)
                numbers.append(value)
            else:
                at = self._skip(at, end, wire, known)
                run = _ATTRIBUTE_RUNS.get((name, number))
                if run is not None and self._view[start] == number << 3 | wire:
                    at = self._skip_run(run, at, end)
        self._note(name, texts, numbers, depth)

    def tag(self, at: int, end: int) -> tuple[int, int, int]:
        """Read a field's number and wire type; return them and the next offset."""
        value, at = self.varint(at, end)
        number, wire = value >> 3, value & 7
        if not 0 < number < 1 << 29 or wire not in (_VARINT, _FIXED64, _BYTES, _FIXED32):
            raise self._bad("has a group or an unknown field encoding")
        return number, wire, at

    def varint(self, at: int, end: int) -> tuple[int, int]:
        """Read a base-128 number in its shortest form; return it and the next offset."""
        value = shift = 0
        while at < end:
            byte = self._view[at]
            at += 1
            value |= (byte & 0x7F) << shift
            if byte < 0x80:
                if (byte == 0 and shift) or value >> 64:
                    raise self._bad("has an overlong number")
                return value, at
            shift += 7
            if shift >= 70:
                break
        raise self._bad("ends in a number, or has an overlong one")

    def _check_field(self, name: str, number: int, wire: int, known: Field | None) -> None:
        if known is None:
            raise self._bad(f"has field {number} in {name}, which this release does not know")
        if known is Kind.EXTERNAL:
            raise FormatRefused(
                f"{self._subject or 'The ONNX model'} keeps a tensor outside the file (external data).",
                code="format-content",
                subject=self._subject,
                hint="Save it as one file: onnx.save_model(model, path, save_as_external_data=False).",
            )
        expected = (_BYTES,) if isinstance(known, str) else _WIRE[known]
        if wire not in expected:
            raise self._bad(f"has field {number} of {name} in the wrong encoding")

    def _skip(self, at: int, end: int, wire: int, known: Field | None) -> int:
        """Step over one value; return the offset behind it."""
        if wire == _VARINT:
            return self.varint(at, end)[1]
        if wire in (_FIXED32, _FIXED64):
            at += 4 if wire == _FIXED32 else 8
            if at > end:
                raise self._bad("ends in the middle of a number")
            return at
        length, at = self.varint(at, end)
        if length > end - at:
            raise self._bad("has a length beyond its end")
        width = {Kind.FIXED32S: 4, Kind.FIXED64S: 8}.get(known, 1) if isinstance(known, Kind) else 1
        if length % width:
            raise self._bad("has a packed list of a broken length")
        if known is Kind.VARINTS:
            stop = self._skip_run(_PACKED, at, at + length)
            if stop != at + length:
                raise self._bad("has a packed list with an overlong number")
        return at + length

    def _skip_run(self, run: re.Pattern[bytes], at: int, end: int) -> int:
        while at < end and (match := run.match(self._view, at, end)) is not None:
            self.found.fields += 1
            at = match.end()
        return at

    def _text(self, at: int, end: int) -> tuple[str, int]:
        length, at = self.varint(at, end)
        if length > min(end - at, _TEXT_LIMIT):
            raise self._bad("has a name that is too long, or runs beyond its end")
        try:
            return bytes(self._view[at : at + length]).decode("utf-8"), at + length
        except UnicodeDecodeError:
            raise self._bad("has a name that is not UTF-8") from None

    def _count(self, name: str, number: int) -> None:
        if name == "Model" and number == 7:
            self.found.graphs += 1
        elif name == "Graph" and number in (5, 15):
            self.found.initializers += 1

    def _note(self, name: str, texts: list[tuple[int, str]], numbers: list[int], depth: int) -> None:
        """Keep what the summary needs of a finished message, and check its domains."""
        found = self.found
        if name == "Node":
            found.nodes += 1
            domains = [text for number, text in texts if number == 7] or [""]
            for domain in domains:
                self._check_domain(domain, "an operator")
                found.operators.update((domain, text) for number, text in texts if number == 4)
        elif name == "Opset":
            for domain in [text for _, text in texts] or [""]:
                self._check_domain(domain, "an operator set")
                found.opsets[domain] = max(numbers, default=0)
        elif name in ("Function", "OpaqueType"):
            for number, domain in texts:
                if number == (10 if name == "Function" else 1):
                    self._check_domain(domain, "a function" if name == "Function" else "a type")
        elif name == "Input" and depth == _TOP_GRAPH + 1:
            found.inputs.extend(text for _, text in texts)
        elif name == "Output" and depth == _TOP_GRAPH + 1:
            found.outputs.extend(text for _, text in texts)
        elif name == "Model":
            found.ir_version = max(numbers, default=0)
            found.producer.extend(text for _, text in texts)
        elif name == "ModelMetadata" and any(text == "ort_config" for _, text in texts):
            raise self._bad("carries session options of its own (ort_config)")

    def _check_domain(self, domain: str, what: str) -> None:
        self.found.domains.add(domain)
        if domain not in self._domains:
            raise FormatRefused(
                f"{self._subject or 'The ONNX model'} uses {what} of the domain {domain[:80]!r}.",
                code="format-content",
                subject=self._subject,
                hint="Only standard ONNX domains are loaded; others need the operator's allowance.",
            )

    def _bad(self, what: str) -> FormatRefused:
        return _refused(f"{self._subject or 'The ONNX model'} {what}.", self._subject)
