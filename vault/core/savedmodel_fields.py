"""List the fields of the messages in a SavedModel, for the walk in `savedmodel_walk`.

Source: `tensorflow/core/protobuf/saved_model.proto` and what it includes, of
TensorFlow 2.21. A field that is not listed is refused: a newer format may keep
references to files, or code, in it.
"""

from typing import Final

from vault.core.protobuf_reader import Field, Kind


def _numbered(kind: Field, *numbers: int) -> dict[int, Field]:
    return dict.fromkeys(numbers, kind)


def _entry(value: Field, key: Kind = Kind.BYTES) -> dict[int, Field]:
    """Give the fields of one entry of a map."""
    return {1: key, 2: value}


MESSAGES: Final[dict[str, dict[int, Field]]] = {
    "SavedModel": {1: Kind.VARINT, 2: "MetaGraph"},
    "MetaGraph": {
        1: "Information",
        2: "Graph",
        3: "Saver",
        4: "CollectionEntry",
        5: "SignatureEntry",
        6: "Asset",
        7: "ObjectGraph",
    },
    # stripped_op_list (2) and function_aliases (8) describe what is found anyway; any_info (3) is anything.
    "Information": {
        **_numbered(Kind.BYTES, 1, 2, 6, 8),
        3: Kind.REFUSED,
        4: Kind.TEXT,
        5: Kind.TEXT,
        7: Kind.VARINT,
    },
    "Saver": {**_numbered(Kind.TEXT, 1, 2, 3), **_numbered(Kind.VARINT, 4, 5, 7), 6: Kind.FIXED32},
    "CollectionEntry": _entry("Collection", Kind.TEXT),
    "Collection": {1: "NodeList"},  # lists of nodes alone: the others hold bytes for other libraries
    "NodeList": {1: Kind.TEXT},
    "SignatureEntry": _entry("Signature", Kind.TEXT),
    "Signature": {1: "TensorInfoEntry", 2: "TensorInfoEntry", 3: Kind.BYTES, 4: "DefaultEntry"},
    "TensorInfoEntry": _entry("TensorInfo"),
    "DefaultEntry": _entry("Tensor"),
    "TensorInfo": {1: Kind.TEXT, 2: Kind.VARINT, 3: Kind.BYTES, 4: "SparseInfo", 5: "CompositeInfo"},
    "SparseInfo": _numbered(Kind.TEXT, 1, 2, 3),
    "CompositeInfo": {1: "TypeSpec", 2: "TensorInfo"},
    "Asset": {1: "TensorInfo", 2: Kind.TEXT},
    # The graph and its functions.
    "Graph": {1: "Node", 2: "Library", 3: Kind.VARINT, 4: Kind.BYTES, 5: Kind.BYTES},
    "Node": {
        **_numbered(Kind.TEXT, 1, 2, 3),  # name, op, input
        4: Kind.BYTES,
        5: "AttributeEntry",
        6: Kind.BYTES,
        7: Kind.BYTES,
    },
    "AttributeEntry": _entry("Attribute"),
    "Attribute": {
        1: "AttributeList",
        **_numbered(Kind.BYTES, 2, 7, 9),
        **_numbered(Kind.VARINT, 3, 5, 6),
        4: Kind.FIXED32,
        8: "Tensor",
        10: "Call",
    },
    "AttributeList": {
        **_numbered(Kind.BYTES, 2, 7),
        **_numbered(Kind.VARINT, 3, 5, 6),
        4: Kind.FIXED32,
        8: "Tensor",
        9: "Call",
    },
    "Call": {1: Kind.TEXT, 2: "AttributeEntry"},
    "Tensor": {
        **_numbered(Kind.VARINT, 1, 3, 7, 10, 11, 16, 17, 13),
        **_numbered(Kind.BYTES, 2, 4, 8, 18),
        **_numbered(Kind.FIXED32, 5, 9),
        **_numbered(Kind.FIXED64, 6, 12),
        **_numbered(Kind.REFUSED, 14, 15),  # handles of resources, and values of any registered kind
    },
    "Library": {1: "Function", 2: "Gradient", 3: "Gradient"},
    "Gradient": _numbered(Kind.TEXT, 1, 2),
    "Function": {
        1: "FunctionSignature",
        3: "Node",
        **_numbered(Kind.BYTES, 4, 6, 8),
        5: "FunctionAttributeEntry",
        7: "ArgumentEntry",
    },
    "FunctionSignature": {
        1: Kind.TEXT,
        2: "Argument",
        **_numbered(Kind.BYTES, 3, 4, 5, 6, 8, 20),
        **_numbered(Kind.VARINT, 16, 17, 18, 19, 21),
    },
    "Argument": {
        1: Kind.TEXT,
        **_numbered(Kind.BYTES, 2, 4, 5, 6, 7, 17),
        **_numbered(Kind.VARINT, 3, 16),
    },
    "FunctionAttributeEntry": _entry("FunctionAttribute", Kind.TEXT),
    "FunctionAttribute": {
        1: "AttributeList",
        2: Kind.TEXT,
        **_numbered(Kind.VARINT, 3, 5, 6),
        4: Kind.FIXED32,
        **_numbered(Kind.BYTES, 7, 9),
        8: "Tensor",
        10: "Call",
    },
    "ArgumentEntry": _entry("ArgumentAttributes", Kind.VARINT),
    "ArgumentAttributes": {1: "AttributeEntry"},
    # What is rebuilt in Python.
    "ObjectGraph": {1: "Object", 2: "ConcreteEntry"},
    "Object": {
        **_numbered(Kind.BYTES, 1, 3, 15),
        4: "UserObject",
        5: Kind.BYTES,
        6: "PolymorphicFunction",
        7: Kind.BYTES,
        8: "BareFunction",
        9: Kind.BYTES,
        10: Kind.BYTES,
        11: Kind.BYTES,
        12: "Captured",
        13: Kind.TEXT,
        **_numbered(Kind.REFUSED, 14, 16),  # the state of a class, and a saver, that a program registered
    },
    "UserObject": {1: Kind.TEXT, 2: Kind.BYTES, 3: Kind.BYTES},
    "PolymorphicFunction": {1: Kind.TEXT, 2: "FunctionSpec"},
    "BareFunction": {1: Kind.TEXT, 2: Kind.BYTES, 3: Kind.VARINT, 4: "FunctionSpec"},
    "Captured": {1: Kind.BYTES, 2: Kind.TEXT},
    "ConcreteEntry": _entry("Concrete", Kind.TEXT),
    "Concrete": {2: Kind.VARINT, 3: "Value", 4: "Value"},
    "FunctionSpec": {1: "Value", 2: Kind.VARINT, 5: "Value", 6: Kind.VARINT},
    "Value": {
        1: Kind.BYTES,
        11: Kind.FIXED64,
        **_numbered(Kind.VARINT, 12, 14, 32),
        13: Kind.BYTES,
        31: Kind.BYTES,
        33: Kind.BYTES,
        34: "TypeSpec",
        35: "BoundedSpec",
        51: "ValueList",
        52: "ValueList",
        53: "ValueFields",
        54: "NamedValues",
        55: "Tensor",
        56: "Tensor",
    },
    "ValueList": {1: "Value"},
    "ValueFields": {1: "ValueEntry"},
    "ValueEntry": _entry("Value"),
    "NamedValues": {1: Kind.BYTES, 2: "ValueEntry"},
    "BoundedSpec": {1: Kind.BYTES, 2: Kind.BYTES, 3: Kind.VARINT, 4: "Tensor", 5: "Tensor"},
    "TypeSpec": {1: Kind.VARINT, 2: "Value", 3: Kind.BYTES, 4: Kind.VARINT},
}
