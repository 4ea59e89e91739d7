"""List the fields of every ONNX message, for the walk in `onnx_walk`.

Source: `onnx/onnx-ml.proto` of ONNX 1.23 (IR version 13). A field that is not
listed is refused: a newer format may keep references to files in it.
"""

from enum import Enum, auto
from typing import Final


class Kind(Enum):
    """How a field is encoded, and what the walk does with it."""

    VARINT = auto()
    VARINTS = auto()  # repeated; packed or not
    FIXED32 = auto()
    FIXED32S = auto()
    FIXED64S = auto()
    BYTES = auto()  # stepped over
    TEXT = auto()  # kept
    NUMBER = auto()  # a varint that is kept
    INPUT = auto()  # the name of a node's input: looked at only for whether it is empty
    EXTERNAL = auto()  # refused: the value lies in another file


# A message is a mapping of field number to an encoding, or to the name of the message that it holds.
Field = Kind | str

MESSAGES: Final[dict[str, dict[int, Field]]] = {
    "Model": {
        1: Kind.NUMBER,  # ir_version
        2: Kind.TEXT,  # producer_name
        3: Kind.TEXT,  # producer_version
        4: Kind.BYTES,  # domain of the model itself: a label, nothing resolves it
        5: Kind.VARINT,
        6: Kind.BYTES,
        7: "Graph",
        8: "Opset",
        14: "ModelMetadata",
        20: "Training",
        25: "Function",
        26: "Device",
    },
    "Opset": {1: Kind.TEXT, 2: Kind.NUMBER},
    "Training": {1: "Graph", 2: "Graph", 3: "Pair", 4: "Pair"},
    "Graph": {
        1: "Node",
        2: Kind.BYTES,
        5: "Tensor",
        10: Kind.BYTES,
        11: "Input",
        12: "Output",
        13: "Value",
        14: "Annotation",
        15: "SparseTensor",
        16: "Pair",
    },
    "Node": {
        1: Kind.INPUT,
        2: Kind.BYTES,
        3: Kind.BYTES,
        4: Kind.TEXT,  # op_type
        5: "Attribute",
        6: Kind.BYTES,
        7: Kind.TEXT,  # domain
        8: Kind.BYTES,
        9: "Pair",
        10: "NodeDevice",
    },
    "Attribute": {
        1: Kind.BYTES,
        2: Kind.FIXED32,
        3: Kind.VARINT,
        4: Kind.BYTES,
        5: "Tensor",
        6: "Graph",
        7: Kind.FIXED32S,
        8: Kind.VARINTS,
        9: Kind.BYTES,
        10: "Tensor",
        11: "Graph",
        13: Kind.BYTES,
        14: "Type",
        15: "Type",
        20: Kind.VARINT,
        21: Kind.BYTES,
        22: "SparseTensor",
        23: "SparseTensor",
    },
    "Tensor": {
        1: Kind.VARINTS,
        2: Kind.VARINT,
        3: "Segment",
        4: Kind.FIXED32S,
        5: Kind.VARINTS,
        6: Kind.BYTES,
        7: Kind.VARINTS,
        8: Kind.BYTES,
        9: Kind.BYTES,  # raw_data
        10: Kind.FIXED64S,
        11: Kind.VARINTS,
        12: Kind.BYTES,
        13: Kind.EXTERNAL,  # external_data
        14: Kind.EXTERNAL,  # data_location
        16: "Pair",
    },
    "Segment": {1: Kind.VARINT, 2: Kind.VARINT},
    "SparseTensor": {1: "Tensor", 2: "Tensor", 3: Kind.VARINTS},
    "Function": {
        1: Kind.TEXT,
        4: Kind.BYTES,
        5: Kind.BYTES,
        6: Kind.BYTES,
        7: "Node",
        8: Kind.BYTES,
        9: "Opset",
        10: Kind.TEXT,  # domain
        11: "Attribute",
        12: "Value",
        13: Kind.BYTES,
        14: "Pair",
    },
    "Input": {1: Kind.TEXT, 2: "Type", 3: Kind.BYTES, 4: "Pair"},
    "Output": {1: Kind.TEXT, 2: "Type", 3: Kind.BYTES, 4: "Pair"},
    "Value": {1: Kind.BYTES, 2: "Type", 3: Kind.BYTES, 4: "Pair"},
    "Annotation": {1: Kind.BYTES, 2: "Pair"},
    "Pair": {1: Kind.BYTES, 2: Kind.BYTES},
    "ModelMetadata": {1: Kind.TEXT, 2: Kind.BYTES},
    "Type": {
        1: "TensorType",
        4: "ElementType",
        5: "MapType",
        6: Kind.BYTES,
        7: "OpaqueType",
        8: "TensorType",
        9: "ElementType",
    },
    "TensorType": {1: Kind.VARINT, 2: "Shape"},
    "ElementType": {1: "Type"},
    "MapType": {1: Kind.VARINT, 2: "Type"},
    "OpaqueType": {1: Kind.TEXT, 2: Kind.BYTES},
    "Shape": {1: "Dimension"},
    "Dimension": {1: Kind.VARINT, 2: Kind.BYTES, 3: Kind.BYTES},
    "Device": {1: Kind.BYTES, 2: Kind.VARINT, 3: Kind.BYTES},
    "NodeDevice": {1: Kind.BYTES, 2: "Sharding", 3: Kind.VARINT},
    "Sharding": {1: Kind.BYTES, 2: Kind.VARINTS, 3: "DeviceGroup", 4: "ShardedDimension"},
    "DeviceGroup": {1: Kind.VARINT, 2: Kind.VARINTS},
    "ShardedDimension": {1: Kind.VARINT, 2: "SimpleSharding"},
    "SimpleSharding": {1: Kind.VARINT, 2: Kind.BYTES, 3: Kind.VARINT},
}
