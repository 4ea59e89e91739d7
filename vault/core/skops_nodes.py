"""Visit the nodes of a skops tree: one method per loader, and the exact shape that skops writes for each.

Format: `skops/io/` of skops 0.16, protocol 2.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from vault.core import limits, npy, skops_schema, skops_trees, zip_reader
from vault.core import skops_loaders as loaders
from vault.core.pins import is_forbidden
from vault.core.skops_types import LOSS_TYPES, NUMPY_SCALARS, PLAIN_TYPES, SPARSE_TYPES
from vault.core.zip_reader import Archive
from vault.errors import FormatRefused

# Nodes without nodes in them: the second of two equal ones needs no second visit.
_LEAVES: Final = frozenset({"JsonNode", "TypeNode"})
_Node = dict[str, Any]


@dataclass(slots=True)
class Walker:
    """Visits every node once, and notes what the nodes name: types, functions, loaders, members."""

    archive: Archive
    subject: str
    types: set[str] = field(default_factory=set)
    functions: set[str] = field(default_factory=set)
    loaders: set[str] = field(default_factory=set)
    members: set[str] = field(default_factory=set)
    nodes: int = 0
    _seen: dict[int, _Node] = field(default_factory=dict)
    _names: dict[tuple[str, str], str] = field(default_factory=dict)
    _values: set[str] = field(default_factory=set)
    _kept: set[int] = field(default_factory=set)  # nodes of functions in the one place that is theirs
    _comparison: skops_schema.Comparison = field(default_factory=skops_schema.Comparison)
    _headers: dict[str, npy.Header] = field(default_factory=dict)
    _depth: int = 0

    def node(self, node: object) -> None:
        """Visit one node and all below it."""
        if not isinstance(node, dict):
            raise self._bad("A node is not an object.")
        self.nodes += 1
        loader, identity = node.get("__loader__"), node.get("__id__")
        if type(identity) is not int or type(loader) is not str:
            raise self._bad("A node names no loader, or has no identity.")
        first = self._seen.setdefault(identity, node)
        if first is not node:
            # To skops they are one object, and it ignores the second: they must agree.
            if loader in _LEAVES and first == node:
                return
            if not self._comparison.agree(first, node):
                raise self._bad("Two different nodes claim to be one object, or too many claim to be one.")
        self._depth += 1
        if self._depth > limits.SCHEMA_DEPTH:
            raise self._bad("The tree is nested too deeply.")
        visit = _VISITS.get(loader)
        if visit is None:
            why = loaders.REFUSED_LOADERS.get(loader)
            raise self._bad(
                f"Loader {loader} is refused: {why}." if why else f"Loader {loader[:60]!r} is not known."
            )
        name = self._name(node)
        self.loaders.add(loader)
        if loader != "PartialNode":  # what it calls is what counts
            names = self.functions if loader == "FunctionNode" else self.types
            if name not in names:
                if is_forbidden(name):
                    raise self._bad(f"{name} is never loaded.")
                names.add(name)
        visit(self, node, name)
        self._depth -= 1

    def dictionary(self, node: _Node, name: str) -> None:
        """DictNode: values by key, and the types that the keys are turned back into."""
        self._fields(node, {"content", "key_types"})
        self._one_of(name, loaders.DICTS)
        keys = node["key_types"]
        if not skops_schema.is_list_node(keys):
            raise self._bad("A dictionary has no list of key types.")
        content = node["content"]
        if not isinstance(content, dict):
            raise self._bad("A dictionary's content is not an object.")
        if name == loaders.BUNCH and any(map(loaders.is_special, content)):  # its keys are attributes
            raise self._bad("A dictionary has a key whose name is special.")
        checked: object = None
        for key in keys["content"]:
            if key == checked:
                continue
            if (
                not isinstance(key, dict)
                or key.get("__loader__") != "TypeNode"
                or self._name(key) not in loaders.KEY_TYPES
            ):
                raise self._bad("A dictionary has keys of a type that is not plain.")
            checked = key
        self.node(keys)
        for value in content.values():
            self.node(value)

    def default_dictionary(self, node: _Node, name: str) -> None:
        """DefaultDictNode: a dictionary with text keys, and a factory."""
        self._fields(node, {"content"})
        self._one_of(name, frozenset({"collections.defaultdict"}))
        self._children(node["content"], ("main", "default_factory"))

    def sequence(self, node: _Node, name: str) -> None:
        """ListNode, SetNode and TupleNode: children in order."""
        self._fields(node, {"content"})
        loader, content = node["__loader__"], node["content"]
        parts = loaders.NAMED_TUPLES.get(name) if loader == "TupleNode" else None
        if parts is None:
            self._one_of(name, frozenset({"builtins." + loader.removesuffix("Node").lower()}))
        elif not isinstance(content, list) or len(content) != parts:
            raise self._bad("A named tuple has another number of parts.")
        self._sequence(content)

    def json_value(self, node: _Node, name: str) -> None:
        """JsonNode: one JSON value as text."""
        self._fields(node, {"content", "is_json"})
        self._one_of(name, frozenset({"builtins.str"}))
        content = node["content"]
        if node["is_json"] is not True or type(content) is not str:
            raise self._bad("A JSON node holds something else than text.")
        if content not in self._values:
            if not skops_schema.is_json(content):
                raise self._bad("A JSON node does not hold JSON.")
            self._values.add(content)

    def named(self, node: _Node, name: str) -> None:
        """TypeNode and FunctionNode: nothing but a name."""
        self._fields(node, set())
        if name in loaders.KEPT_FUNCTIONS and id(node) not in self._kept:
            raise self._bad(f"It keeps {name} elsewhere than scikit-learn does.")

    def slice_value(self, node: _Node, name: str) -> None:
        """SliceNode: three whole numbers or nothing."""
        self._fields(node, {"content"})
        self._one_of(name, frozenset({"builtins.slice"}))
        content = node["content"]
        if not isinstance(content, dict) or set(content) != {"start", "stop", "step"}:
            raise self._bad("A slice is malformed.")
        if any(value is not None and type(value) is not int for value in content.values()):
            raise self._bad("A slice has a bound that is not a whole number.")

    def binary(self, node: _Node, name: str) -> None:
        """BytesNode and BytearrayNode: a member of its own."""
        self._fields(node, {"file"})
        self._one_of(name, frozenset({"builtins." + node["__loader__"].removesuffix("Node").lower()}))
        self._member(node, ".bin")

    def instance(self, node: _Node, name: str) -> None:
        """ObjectNode: an object made without its constructor, then given its state."""
        self._fields(node, set(), optional={"content"})
        if name in PLAIN_TYPES:
            raise self._bad(f"An object node restores {name}, which has a loader of its own.")
        content = node.get("content")
        if content is not None:
            self._state(content, name)
            self._kept.add(id(loaders.kept_function(content, name)))
            self.node(content)

    def construction(self, node: _Node, name: str) -> None:
        """ConstructorFromReduceNode: a constructor and its arguments."""
        self._fields(node, {"content"})
        self._one_of(name, loaders.CONSTRUCTIBLE)
        arguments = node["content"]
        if not isinstance(arguments, dict) or arguments.get("__loader__") != "TupleNode":
            raise self._bad("A constructor has no tuple of arguments.")
        self.node(arguments)

    def reduction(self, node: _Node, name: str) -> None:
        """TreeNode and LossNode: a compiled object, its arguments and its state."""
        self._fields(node, {"content", "__reduce__"})
        is_tree = node["__loader__"] == "TreeNode"
        self._one_of(name, frozenset({"sklearn.tree._tree.Tree"}) if is_tree else LOSS_TYPES)
        reduce = node["__reduce__"]
        if not isinstance(reduce, dict) or set(reduce) != {"args"}:
            raise self._bad("A compiled object has no arguments.")
        self.node(reduce["args"])
        self.node(node["content"])
        if is_tree and not skops_trees.fits(reduce["args"], node["content"], self._headers):
            raise self._bad("A tree has parts that do not fit together.")

    def array(self, node: _Node, name: str) -> None:
        """NdArrayNode: an array in a member, or an object array as a list of nodes."""
        self._one_of(name, NUMPY_SCALARS | {"numpy.ndarray"})
        if node.get("type") == "numpy":
            self._fields(node, {"type", "file"})
            member = self._member(node, ".npy")
            if member not in self._headers:
                head = self.archive.peek(member, npy.HEADER_BYTES + 12)
                size = self.archive.entries[member].size
                self._headers[member] = npy.parse_header(head, size=size, subject=self.subject)
        elif node.get("type") == "json":
            self._fields(node, {"type", "content", "shape"})
            shape = node["shape"]
            if not isinstance(shape, dict) or shape.get("__loader__") != "TupleNode":
                raise self._bad("An object array has no shape.")
            self.node(shape)
            self._sequence(node["content"])
        else:
            raise self._bad("An array is of an unknown kind.")

    def partial(self, node: _Node, name: str) -> None:
        """PartialNode: a function that is called later, with its arguments."""
        self._fields(node, {"content"})
        content = node["content"]
        self._children(content, ("func", "args", "kwds", "namespace"))
        function = content["func"]
        self._one_of(name, frozenset({"functools.partial"}))
        if function["__loader__"] != "FunctionNode" or self._name(function) not in loaders.PARTIAL_TARGETS:
            raise self._bad("It keeps a call of another function for later.")
        self._state(content["namespace"], name)

    def masked_array(self, node: _Node, name: str) -> None:
        """MaskedArrayNode: an array and its mask."""
        self._fields(node, {"content"})
        self._one_of(name, loaders.MASKED)
        self._children(node["content"], ("data", "mask"))

    def data_type(self, node: _Node, name: str) -> None:
        """DTypeNode: the dtype of an empty array."""
        self._fields(node, {"content"})
        self._one_of(name, frozenset({"numpy.dtype"}))
        content = node["content"]
        if not isinstance(content, dict) or content.get("__loader__") != "NdArrayNode":
            raise self._bad("A dtype has no array.")
        self.node(content)

    def random_state(self, node: _Node, name: str) -> None:
        """RandomStateNode: the state of a legacy generator."""
        self._fields(node, {"content"})
        self._one_of(name, loaders.RANDOM_STATES)
        self.node(node["content"])

    def random_generator(self, node: _Node, name: str) -> None:
        """RandomGeneratorNode: a bit generator's state, which names the bit generator, and its seed."""
        self._fields(node, {"content"})
        self._one_of(name, loaders.GENERATORS)
        self._children(node["content"], ("bit_generator", "seed_seq"))
        if not loaders.names_bit_generator(node["content"]["bit_generator"]):
            raise self._bad("A random generator names no bit generator of NumPy.")

    def sparse_matrix(self, node: _Node, name: str) -> None:
        """SparseMatrixNode: a matrix as an `.npz` inside the archive."""
        self._fields(node, {"type", "file"})
        self._one_of(name, SPARSE_TYPES)
        if node["type"] != "scipy":
            raise self._bad("A sparse matrix is of an unknown kind.")
        member = self._member(node, ".npz")
        content = self.archive.read(member, limit=self.archive.entries[member].size)
        npy.check_archive(zip_reader.open_archive(content), subject=self.subject)

    def _name(self, node: _Node) -> str:
        module, name = node.get("__module__"), node.get("__class__")
        if not isinstance(module, str) or not isinstance(name, str):
            raise self._bad("A node names no type.")
        known = self._names.get((module, name))
        if known is None:
            if not name.isidentifier() or not all(part.isidentifier() for part in module.split(".")):
                raise self._bad(f"A node names {module[:80]}.{name[:80]}, which is not one plain name.")
            known = self._names[module, name] = f"{module}.{name}"
        return known

    def _fields(self, node: _Node, required: set[str], optional: set[str] | None = None) -> None:
        present = set(node) - {"__class__", "__module__", "__loader__", "__id__"}
        if not required <= present <= required | (optional or set()):
            raise self._bad(f"A {node['__loader__']} does not have the fields that skops writes.")

    def _one_of(self, name: str, names: frozenset[str]) -> None:
        if name not in names:
            raise self._bad(f"A node restores {name} by a loader that is not made for it.")

    def _children(self, content: object, names: tuple[str, ...]) -> None:
        if not isinstance(content, dict) or set(content) != set(names):
            raise self._bad("A node does not have the children that skops writes.")
        for name in names:
            self.node(content[name])

    def _sequence(self, content: object) -> None:
        if not isinstance(content, list):
            raise self._bad("A sequence's content is not a list.")
        for child in content:
            self.node(child)

    def _state(self, content: object, owner: str) -> None:
        if why := loaders.why_no_state(content, owner):
            raise self._bad(why)

    def _member(self, node: _Node, ending: str) -> str:
        name = node["file"]
        if not isinstance(name, str) or name not in self.archive.entries or not name.endswith(ending):
            raise self._bad("A node refers to a member that is not there, or of another kind.")
        self.members.add(name)
        return name

    def _bad(self, message: str) -> FormatRefused:
        return skops_schema.refused(message, self.subject)


_VISITS: Final[Mapping[str, Callable[[Walker, _Node, str], None]]] = {
    "BytearrayNode": Walker.binary,
    "BytesNode": Walker.binary,
    "ConstructorFromReduceNode": Walker.construction,
    "DTypeNode": Walker.data_type,
    "DefaultDictNode": Walker.default_dictionary,
    "DictNode": Walker.dictionary,
    "FunctionNode": Walker.named,
    "JsonNode": Walker.json_value,
    "ListNode": Walker.sequence,
    "LossNode": Walker.reduction,
    "MaskedArrayNode": Walker.masked_array,
    "NdArrayNode": Walker.array,
    "ObjectNode": Walker.instance,
    "PartialNode": Walker.partial,
    "RandomGeneratorNode": Walker.random_generator,
    "RandomStateNode": Walker.random_state,
    "SetNode": Walker.sequence,
    "SliceNode": Walker.slice_value,
    "SparseMatrixNode": Walker.sparse_matrix,
    "TreeNode": Walker.reduction,
    "TupleNode": Walker.sequence,
    "TypeNode": Walker.named,
}
