"""Walk a TensorFlow SavedModel without TensorFlow, and refuse what reaches outside the package.

A graph is a program: operators can read and write files, call Python, or run
functions on other machines. Here every node of the graph and of every function
must be an operator of `savedmodel_ops.OPERATORS`. Saving and restoring, which
every SavedModel can do, is permitted in the functions of its saver alone, and
only the saver may call those.

Format: `tensorflow/core/protobuf/saved_model.proto`; the folder's layout is
that of `tensorflow.python.saved_model.constants`.
"""

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final

from vault.core import savedmodel_ops
from vault.core.protobuf_reader import Message, Reader
from vault.core.savedmodel_fields import MESSAGES
from vault.errors import FormatRefused

GRAPH: Final = "saved_model.pb"
FINGERPRINT: Final = "fingerprint.pb"
_INDEX: Final = "variables/variables.index"
_SHARD: Final = re.compile(r"variables/variables\.data-(\d{5})-of-(\d{5})")
_ASSET: Final = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._ -]{0,199}")
_SAVER_FUNCTION: Final = re.compile(r"__inference__traced_(save|restore)_\d{1,9}")
_SAVER_ATTRIBUTES: Final = frozenset({"_construction_context", "_input_shapes"})
_CALLS: Final = frozenset({"PartitionedCall", "StatefulPartitionedCall"})
# What TensorFlow's own objects are saved as; others are classes that a program registered.
_OBJECTS: Final = frozenset(
    {
        "_generic_user_object",
        "signature_map",
        "trackable_dict_wrapper",
        "trackable_list_wrapper",
        "trackable_tuple_wrapper",
    }
)
_CLASSES: Final = frozenset({"tf.StaticHashTable", "tf.TrackableConstant"})
_COLLECTIONS: Final = frozenset({"saved_model_main_op"})


@dataclass(frozen=True, slots=True)
class SavedModelSummary:
    """What a SavedModel declares: its operators, signatures, tags and the files it names beside it."""

    operators: frozenset[str]
    functions: int
    signatures: tuple[str, ...]
    tags: tuple[str, ...]
    assets: tuple[str, ...]
    tensorflow: str

    @property
    def pins(self) -> tuple[str, ...]:
        """The operators, sorted: what is recorded at publishing and demanded at loading."""
        return tuple(sorted(self.operators))

    @property
    def versions(self) -> Mapping[str, str]:
        """The version of TensorFlow that wrote it."""
        return MappingProxyType({"tensorflow": self.tensorflow} if self.tensorflow else {})

    @property
    def dangers(self) -> tuple[str, ...]:
        """What it can do beyond computing."""
        found = sorted(self.operators & savedmodel_ops.SAVER)
        return (f"Its saver reads and writes checkpoint files ({', '.join(found)}).",) if found else ()


@dataclass(frozen=True, slots=True)
class _Node:
    """One operation: its name, operator, inputs, and the functions that it calls."""

    name: str
    operator: str
    inputs: tuple[str, ...]
    calls: frozenset[str]


@dataclass(frozen=True, slots=True)
class _Function:
    arguments: frozenset[str]
    nodes: tuple[_Node, ...]
    attributes: frozenset[str]
    named: frozenset[str]  # texts of its attributes: functions that stand in for it, among others


def walk(data: bytes | memoryview, *, subject: str = "") -> SavedModelSummary:
    """Walk a whole `saved_model.pb` and return what it declares.

    Raises:
        FormatRefused: `format-content`: an operator that is not allowed, a saver that does more than
            save and restore, a class to be revived, several graphs or one of TensorFlow 1, an unknown
            field, or bytes that are not a bounded SavedModel.
    """
    view = memoryview(data).toreadonly().cast("B")
    reader = Reader(view, MESSAGES, what="The SavedModel", subject=subject)
    return _Walker(reader.read("SavedModel"), subject).summary()


def check_folder(paths: Iterable[str], assets: Iterable[str], *, subject: str = "") -> None:
    """Check the files of a SavedModel's folder, by their paths in it: the known ones, all of them.

    Raises:
        FormatRefused: `format-content`: a file of another name, or one that is missing.
    """
    there = frozenset(paths)
    shards = {path: match for path in there if (match := _SHARD.fullmatch(path))}
    kept = {path.removeprefix("assets/") for path in there if path.startswith("assets/")}
    unknown = sorted(
        path
        for path in there - {GRAPH, FINGERPRINT, _INDEX} - shards.keys()
        if not (path.startswith("assets/") and _ASSET.fullmatch(path.removeprefix("assets/")))
    )
    if unknown:
        raise _refused(
            f"has {unknown[0]!r} beside its graph, which no SavedModel needs",
            subject,
            "Export the model again into a new folder: model.export(folder).",
        )
    totals = {match[2] for match in shards.values()}
    numbers = {int(match[1]) for match in shards.values()}
    whole = len(totals) == 1 and numbers == set(range(int(*totals)))
    if GRAPH not in there or (_INDEX in there) != bool(shards) or (shards and not whole):
        raise _refused("does not have all of its files: the graph, an index and its shards", subject)
    missing = sorted(set(assets) - kept)
    if missing:
        raise _refused(f"names the asset {missing[0]!r}, which is not there", subject)


def _refused(what: str, subject: str, hint: str = "") -> FormatRefused:
    return FormatRefused(
        f"{subject or 'The SavedModel'} {what}.", code="format-content", subject=subject, hint=hint
    )


class _Walker:
    """Judges the messages of one SavedModel."""

    def __init__(self, top: Message, subject: str) -> None:
        self._subject = subject
        metas = top.parts.get(2, [])
        if len(metas) != 1 or not metas[0].parts.get(7):
            raise self._bad(
                "holds no graph, several, or one of TensorFlow 1",
                "Export it with TensorFlow 2: model.export(folder), or tf.saved_model.save.",
            )
        self._meta = metas[0]
        self._functions = dict(self._read_functions())
        self._nodes = [self._node(node) for node in self._meta.each(2, 1)]

    def summary(self) -> SavedModelSummary:
        """Check everything, and tell what was found."""
        for nodes in [self._nodes, *(function.nodes for function in self._functions.values())]:
            for node in nodes:
                self._check_operator(node)
        self._check_saver()
        self._check_objects()
        used = {node.operator for node in self._nodes}
        used.update(node.operator for function in self._functions.values() for node in function.nodes)
        versions = [text for part in self._meta.each(1) for text in part.text(5)]
        return SavedModelSummary(
            operators=frozenset(used - self._functions.keys()),
            functions=len(self._functions),
            signatures=tuple(sorted(text for entry in self._meta.each(5) for text in entry.text(1))),
            tags=tuple(sorted(text for part in self._meta.each(1) for text in part.text(4))),
            assets=self._assets(),
            tensorflow=versions[-1] if versions else "",
        )

    # --- reading ---

    def _read_functions(self) -> Iterator[tuple[str, _Function]]:
        seen: set[str] = set()
        for message in self._meta.each(2, 2, 1):
            names = [text for signature in message.each(1) for text in signature.text(1)]
            if len(names) != 1 or names[0] in seen:
                raise self._bad("has a function without a name of its own")
            seen.add(names[0])
            yield (
                names[0],
                _Function(
                    frozenset(text for argument in message.each(1, 2) for text in argument.text(1)),
                    tuple(self._node(node) for node in message.each(3)),
                    frozenset(text for entry in message.each(5) for text in entry.text(1)),
                    frozenset(
                        text
                        for number in (5, 7)
                        for entry in message.each(number)
                        for value in entry.each(2)
                        for text in value.everything()
                    ),
                ),
            )

    def _node(self, message: Message) -> _Node:
        names, operators = message.text(1), message.text(2)
        if len(names) != 1 or len(operators) != 1:
            raise self._bad("has a node without one name and one operator")
        calls = {text for attribute in message.each(5) for text in attribute.everything()}
        return _Node(names[0], operators[0], tuple(message.text(3)), frozenset({*calls, operators[0]}))

    # --- judging ---

    def _check_operator(self, node: _Node) -> None:
        operator = node.operator
        known = operator in savedmodel_ops.OPERATORS or operator in savedmodel_ops.SAVER
        if not known and operator not in self._functions:
            why = savedmodel_ops.REASONS.get(operator, "it is not among those that are known to be harmless")
            raise self._bad(
                f"uses the operator {operator[:80]!r}: {why}",
                "Export the model without it: nothing that is loaded may read, write or call outside.",
            )

    def _check_saver(self) -> None:
        """See that what touches files is in the saver's functions, and that the saver alone calls them."""
        if any(node.operator in savedmodel_ops.SAVER for node in self._nodes):
            raise self._bad("reads or writes checkpoints in its graph, as TensorFlow 1 did")
        functions = {
            name: function
            for name, function in self._functions.items()
            if any(node.operator in savedmodel_ops.SAVER for node in function.nodes)
        }
        for name, function in functions.items():
            self._check_saver_function(name, function)
        saver = {text.partition(":")[0] for part in self._meta.each(3) for text in part.everything()}
        for name, function in self._functions.items():
            named = function.named.union(*(node.calls for node in function.nodes))
            if named & functions.keys():
                raise self._bad(f"lets the function {name[:80]!r} save or restore")
        callers = {node.name for node in self._nodes if node.calls & functions.keys()}
        for node in self._nodes:
            if node.name in callers and (node.name not in saver or node.operator not in _CALLS):
                raise self._bad(f"lets the node {node.name[:80]!r} save or restore")
            if callers & {_source(text) for text in node.inputs}:
                raise self._bad(f"makes the node {node.name[:80]!r} wait for its saver")
        others = [*self._meta.each(4), *self._meta.each(5), *self._meta.each(6), *self._meta.each(2, 2, 2)]
        others += [*self._meta.each(2, 2, 3), *self._meta.each(7)]
        for part in others:
            if (callers | functions.keys()) & {_source(text) for text in part.everything()}:
                raise self._bad("lets something beside its saver save or restore")

    def _check_saver_function(self, name: str, function: _Function) -> None:
        if not _SAVER_FUNCTION.fullmatch(name) or not function.attributes <= _SAVER_ATTRIBUTES:
            raise self._bad(f"saves or restores in {name[:80]!r}, which is no function of a saver")
        for node in function.nodes:
            if node.operator == "RestoreV2" and node.inputs[:1] not in {
                (text,) for text in function.arguments
            }:
                raise self._bad("restores from a file that is not the one it is told")

    def _check_objects(self) -> None:
        identifiers = {text for part in self._meta.each(7, 1, 4) for text in part.text(1)}
        registered = {text for part in self._meta.each(7, 1) for text in part.text(13)}
        for name in sorted((identifiers - _OBJECTS) | (registered - _CLASSES)):
            raise self._bad(
                f"holds an object of the class {name[:80]!r}, which a program registered",
                "Export the model's computation alone: model.export(folder).",
            )
        for entry in self._meta.each(4):
            for key in entry.text(1):
                if key not in _COLLECTIONS:
                    raise self._bad(f"has a collection {key[:80]!r}, as TensorFlow 1 did")

    def _assets(self) -> tuple[str, ...]:
        names = {text for part in self._meta.each(6) for text in part.text(2)}
        for name in names:
            if not _ASSET.fullmatch(name):
                raise self._bad(f"names an asset {name[:80]!r}, which is no plain file name")
        return tuple(sorted(names))

    def _bad(self, what: str, hint: str = "") -> FormatRefused:
        return _refused(what, self._subject, hint)


def _source(text: str) -> str:
    """Give the node that an input (`^node`, `node:0`) or a tensor's name comes from."""
    return text.removeprefix("^").partition(":")[0]
