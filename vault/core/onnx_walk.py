"""Walk an ONNX model's protobuf without building it, and refuse what reaches outside the file.

The wire format is that of Protocol Buffers ("Encoding", protobuf.dev). Every
occurrence of a field is walked: readers merge repeated singular messages, so
none of them may hide behind a later one.
"""

from collections.abc import Mapping
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Final

from vault.core import limits
from vault.core.onnx_fields import MESSAGES, Kind
from vault.core.onnx_steps import (
    BYTES,
    FIXED32,
    FIXED64,
    STEPS,
    VARINT,
    Calls,
    Operator,
    Step,
    inlined,
    is_overlong,
    runs,
)
from vault.errors import FormatRefused

STANDARD_DOMAINS: Final = frozenset({"", "ai.onnx", "ai.onnx.ml"})

_BLOCK: Final = 64 * limits.KIB
_NUMBERS: Final = 4 * limits.KIB
_ABOVE: Final = bytes(range(128, 256))  # the bytes of a number that say that more follow
_TEXT_LIMIT: Final = 4 * limits.KIB
_TOP_FIELDS: Final = 4096  # of a model's top level, looked at to tell that it is one
# ONNX Runtime 1.32 follows a null pointer where one of these is given an input without a name.
_VARIADIC: Final = frozenset(
    {"Concat", "Einsum", "FeatureVectorizer", "Max", "Mean", "Min", "SequenceConstruct", "Sum"}
)
_GAP: Final = -1  # stands beside the texts of a node that has such an input
# Where ONNX and ONNX Runtime keep operators of their own, which no function of a model may hide among.
_RESERVED: Final = ("ai.", "com.", "org.")
_TOP_GRAPH: Final = 1  # the depth of the model's own graph


@dataclass(frozen=True, slots=True)
class OnnxSummary:
    """What a model declares: versions, the operators it uses, its inputs and outputs."""

    ir_version: int
    producer: str
    opsets: Mapping[str, int]
    domains: frozenset[str]
    operators: frozenset[Operator]
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    nodes: int
    initializers: int


@dataclass(slots=True)
class _Found:
    """What the walk has met so far."""

    ir_version: int = 0
    producer: str = ""
    opsets: dict[str, int] = field(default_factory=dict)
    domains: set[str] = field(default_factory=set)
    others: dict[str, str] = field(default_factory=dict)  # domains to be defined here, and what uses each
    operators: set[Operator] = field(default_factory=set)
    called: Calls = field(default_factory=dict)  # by the graphs, or by the function that is being walked
    functions: dict[Operator, Calls] = field(default_factory=dict)
    inputs: list[str] = field(default_factory=list)
    outputs: list[str] = field(default_factory=list)
    nodes: int = 0
    initializers: int = 0
    graphs: int = 0
    fields: int = 0
    texts: int = 0


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
    walker.check_own_domains()
    if inlined(found.called, found.functions) > limits.ONNX_INLINED:
        raise _refused(f"{subject or 'The ONNX model'} grows too much as its functions are inlined.", subject)
    return OnnxSummary(
        ir_version=found.ir_version,
        producer=found.producer,
        opsets=MappingProxyType(found.opsets),
        domains=frozenset(found.domains - found.others.keys()),
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
            key, at = reader.varint(at, len(view))
            step = STEPS["Model"].get(key)
            if step is None:
                return False
            value, at = reader.varint(at, len(view))
            at += value if step.wire == BYTES else 0
            if at > len(view):
                return False
            seen.add(step.number)
            reader.found.fields += 1
            if reader.found.fields > _TOP_FIELDS:
                return False
    except FormatRefused:
        return False
    return seen >= {1, 7}


def _refused(message: str, subject: str) -> FormatRefused:
    return FormatRefused(message, code="format-content", subject=subject)


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
        view, steps, found = self._view, STEPS[name], self.found
        texts: dict[int, str] = {}
        number = 0
        while at < end:
            key = view[at]
            at += 1
            if key > 0x7F:
                key, at = self.varint(at - 1, end)
            step = steps.get(key)
            if step is None:
                raise self._unexpected(name, key)
            found.fields += 1
            if found.fields > limits.PROTOBUF_FIELDS:
                raise self._bad("has too many fields")
            if step.wire in (FIXED32, FIXED64):
                at = self._fixed(key, step.width, at, end)
                continue
            value, at = self.varint(at, end)
            if step.wire == BYTES:
                if value > end - at:
                    raise self._bad("has a length beyond its end")
                if step.kind is not Kind.BYTES:
                    self._content(name, step, at, at + value, depth, texts)
                at += value
            elif step.kind is Kind.NUMBER:
                number = max(number, value)
            if step.listed:
                at = self._skip_runs(key, at, end)
        if name in _NOTED:
            self._note(name, texts, number, depth)

    def _content(self, name: str, step: Step, at: int, end: int, depth: int, texts: dict[int, str]) -> None:
        """Walk a message, read a text, or check that a packed list ends where its last number ends."""
        if isinstance(step.kind, str):
            outer = self.found.called
            if step.kind == "Function":
                self.found.called = {}
            self.message(step.kind, at, end, depth + 1)
            self.found.called = outer
            self._count(name, step.number)
        elif step.kind is Kind.INPUT:
            if at == end:
                texts[_GAP] = ""
        elif step.kind is Kind.TEXT:
            if step.number in texts and name != "Model":  # two models in one file merge their text
                raise self._bad(f"gives a domain or another name of a {name} twice")
            texts[step.number] = self._text(at, end - at)
        elif (end - at) % step.width:
            raise self._bad("has a packed list of a broken length")
        elif step.kind is Kind.VARINTS and (self._view[end - 1] > 0x7F or is_overlong(self._view[at:end])):
            raise self._bad("has a packed list with an overlong number")

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

    def _unexpected(self, name: str, key: int) -> FormatRefused:
        """Say why a field may not start with this key here."""
        number, known = key >> 3, MESSAGES[name].get(key >> 3)
        if known is Kind.EXTERNAL:
            return FormatRefused(
                f"{self._subject or 'The ONNX model'} keeps a tensor outside the file (external data).",
                code="format-content",
                subject=self._subject,
                hint="Save it as one file: onnx.save_model(model, path, save_as_external_data=False).",
            )
        if known is not None:
            return self._bad(f"has field {number} of {name} in the wrong encoding")
        return self._bad(f"has field {number} in {name}, which this release does not know")

    def _fixed(self, key: int, width: int, at: int, end: int) -> int:
        """Step over a number of fixed width, and over all like it that follow; return the offset behind."""
        at += width
        if at > end:
            raise self._bad("ends in the middle of a number")
        stride = width + 1
        while True:
            whole = (end - at) // stride
            keys = bytes(self._view[at : at + stride * min(whole, _BLOCK)])[::stride]
            same = len(keys) - len(keys.lstrip(bytes([key])))
            at += same * stride
            self.found.fields += same > 0
            if same < _BLOCK:
                return at

    def _skip_runs(self, key: int, at: int, end: int) -> int:
        """Step over more of the same field; return the offset behind them."""
        for count, run in runs(key):
            while (match := run.match(self._view, at, end)) is not None:
                self.found.fields += 1
                self.found.texts += count if key & 7 == BYTES else 0
                at = match.end()
                if key & 7 == VARINT and count >= _NUMBERS:  # a long run has begun: blocks may follow
                    at = self._skip_numbers(key, at, end)
        if self.found.texts > limits.PROTOBUF_TEXTS:
            raise self._bad("has too many texts")
        return at

    def _skip_numbers(self, key: int, at: int, end: int) -> int:
        """Step over whole blocks of numbers of one byte each, or of two; return the offset behind them.

        Tree ids, feature ids and labels are such; slices compare them several times as fast as a pattern.
        """
        for width in (2, 3):
            size = width * _NUMBERS
            while end - at >= size:
                block = bytes(self._view[at : at + size])
                if block[::width].count(key) < _NUMBERS or not block[width - 1 :: width].isascii():
                    break
                if width == 3 and block[1::3].translate(None, _ABOVE):
                    break
                at += size
                self.found.fields += 1
        return at

    def _text(self, at: int, length: int) -> str:
        if length > _TEXT_LIMIT:
            raise self._bad("has a name that is too long")
        try:
            return bytes(self._view[at : at + length]).decode("utf-8")
        except UnicodeDecodeError:
            raise self._bad("has a name that is not UTF-8") from None

    def _count(self, name: str, number: int) -> None:
        if name == "Model" and number == 7:
            self.found.graphs += 1
        elif name == "Graph" and number in (5, 15):
            self.found.initializers += 1

    def _note(self, name: str, texts: dict[int, str], number: int, depth: int) -> None:
        """Keep what the summary needs of a finished message, and check its domains."""
        found = self.found
        if name == "Node":
            found.nodes += 1
            domain = texts.get(7, "")
            self._check_domain(domain, "an operator", own=4 in texts)
            if 4 in texts:
                operator = domain, texts[4]
                found.operators.add(operator)
                found.called[operator] = found.called.get(operator, 0) + 1
            if _GAP in texts and texts.get(4) in _VARIADIC:
                raise self._bad(f"leaves out an input of {texts[4]}, which ends the process that runs it")
        elif name == "Opset":
            domain = texts.get(1, "")
            self._check_domain(domain, "an operator set")
            found.opsets[domain] = number
        elif name == "Function":
            domain = texts.get(10, "")
            self._check_domain(domain, "a function")
            known = found.functions.setdefault((domain, texts.get(1, "")), {})  # by all its overloads
            for operator, times in found.called.items():
                known[operator] = known.get(operator, 0) + times
        elif name == "OpaqueType":
            self._check_domain(texts.get(1, ""), "a type", own=False)
        elif name in ("Input", "Output"):
            if depth == _TOP_GRAPH + 1 and 1 in texts:
                (found.inputs if name == "Input" else found.outputs).append(texts[1])
        elif name == "Model":
            found.ir_version = number
            found.producer = " ".join(texts[part] for part in sorted(texts))
        elif texts.get(1) == "ort_config":
            raise self._bad("carries session options of its own (ort_config)")

    def check_own_domains(self) -> None:
        """Accept a further domain if all that is called of it are the model's functions: they were walked."""
        found = self.found
        used = {domain for domain, _ in found.operators}
        missing = {domain for domain, name in found.operators if (domain, name) not in found.functions}
        for domain, what in found.others.items():
            if domain not in used or domain in missing:
                raise self._foreign(domain, what)

    def _check_domain(self, domain: str, what: str, *, own: bool = True) -> None:
        self.found.domains.add(domain)
        if domain in self._domains:
            return
        if not own or domain.startswith(_RESERVED):
            raise self._foreign(domain, what)
        self.found.others.setdefault(domain, what)

    def _foreign(self, domain: str, what: str) -> FormatRefused:
        return FormatRefused(
            f"{self._subject or 'The ONNX model'} uses {what} of the domain {domain[:80]!r}.",
            code="format-content",
            subject=self._subject,
            hint="Only standard ONNX domains are loaded; others need the operator's allowance.",
        )

    def _bad(self, what: str) -> FormatRefused:
        return _refused(f"{self._subject or 'The ONNX model'} {what}.", self._subject)


_NOTED: Final = frozenset(
    {"Function", "Input", "Model", "ModelMetadata", "Node", "OpaqueType", "Opset", "Output"}
)
