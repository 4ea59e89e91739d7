"""Derive the lists of operators and Keras classes that the static stages let through.

Run by hand where TensorFlow is installed, then review the difference:

    python -m tests.tensorflow.derive_names ops > vault/core/savedmodel_ops.py
    python -m tests.tensorflow.derive_names keras > vault/core/keras_names.py

What is left out, and why, stands here and in the refusals' reasons of the two modules.
"""

import inspect
import re
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from textwrap import fill
from typing import Any

# TensorFlow's own grouping of its operators, one generated module each. Left out as a whole: files
# and checkpoints (io, checkpoint), datasets, summaries, debugging, Python and remote calls (script,
# debug, rpc, collective, sendrecv, tpu, nccl, batch), protobuf descriptors that are read from paths
# (decode_proto, encode_proto), training, and queues between processes (data_flow).
FAMILIES = (
    "array", "audio", "bitwise", "candidate_sampling", "control_flow", "count", "ctc", "cudnn_rnn",
    "functional", "image", "linalg", "list", "lookup", "manip", "map", "math", "nn", "optional", "parsing",
    "ragged_array", "ragged_conversion", "ragged_math", "random", "random_index_shuffle",
    "resource_variable", "rnn", "set", "sparse", "special_math", "spectral", "stateful_random",
    "stateless_random", "stateless_random_v2", "string", "uniform_quant",
)  # fmt: skip
SINGLE = frozenset(
    {"Assert", "DynamicPartition", "DynamicStitch", "ParallelDynamicStitch"}
    | {f"TensorArray{name}V3" for name in ("", "Close", "Concat", "Gather", "Grad", "Read")}
    | {f"TensorArray{name}V3" for name in ("Scatter", "Size", "Split", "Write")}
)
NOT_OPS = {
    "Abort": "it ends the process",
    "FixedUnigramCandidateSampler": "it reads a file",
    "ImmutableConst": "it maps a file into memory",
    "InitializeTableFromTextFileV2": "it reads a file",
    "ParseTensor": "it makes tensors of any kind out of text, data sets that read files among them",
    "RemoteCall": "it runs a function on another machine",
}
SAVER = ("MergeV2Checkpoints", "RestoreV2", "SaveV2", "ShardedFilename")
OP_REASONS = NOT_OPS | {
    "DecodeProtoV2": "it reads a protobuf descriptor from a file",
    "EagerPyFunc": "it calls Python",
    "EncodeProto": "it reads a protobuf descriptor from a file",
    "FileSystemSetConfiguration": "it changes how files are reached",
    "MatchingFiles": "it lists files",
    "MergeV2Checkpoints": "it moves and deletes files",
    "Print": "it writes what it computes to a log",
    "PrintV2": "it writes to a log or a file",
    "PyFunc": "it calls Python",
    "PyFuncStateless": "it calls Python",
    "ReadFile": "it reads a file",
    "Restore": "it reads a file",
    "RestoreSlice": "it reads a file",
    "RestoreV2": "it reads a file",
    "Save": "it writes a file",
    "SaveSlices": "it writes a file",
    "SaveV2": "it writes a file",
    "TextLineDataset": "it reads a file",
    "TFRecordDataset": "it reads a file",
    "WriteFile": "it writes a file",
    "XlaCallModule": "it carries another program",
}

NOT_CLASSES = {
    "FlaxLayer": "it calls a function of another library",
    "JaxLayer": "it calls a function of another library",
    "Lambda": "it carries a Python function",
    "TFSMLayer": "it loads a SavedModel from a path",
    "TorchModuleWrapper": "it carries a PyTorch module, which is a pickle",
}
BASES = frozenset(
    {"Constraint", "Initializer", "InputSpec", "Layer", "LearningRateSchedule", "Loss", "Metric"}
    | {"Optimizer", "OptimizerMap", "QuantizationConfig", "Quantizer", "Regularizer", "Wrapper"}
)
SPACES = (
    "constraints", "dtype_policies", "initializers", "layers", "losses", "metrics", "optimizers",
    "optimizers.schedules", "quantizers", "regularizers",
)  # fmt: skip
# Where Keras looks up a function that is named without a module, and activations.
FUNCTIONS = ("activations", "losses", "metrics")
NOT_FUNCTIONS = frozenset({"deserialize", "get", "serialize"})
# Operations that take a function, or another graph, as an argument.
NOT_OPERATIONS = frozenset(
    {"AssociativeScan", "Cond", "CustomGradient", "ForiLoop", "Map", "Piecewise", "Scan", "Switch"}
    | {"VectorizedMap", "Vectorize", "WhileLoop"}
)
OPERATIONS = tuple(f"keras.src.ops.{name}" for name in ("core", "image", "linalg", "math", "nn", "numpy"))


def operators() -> frozenset[str]:
    """List the operators of the families above that TensorFlow's Python can call."""
    from tensorflow.python import ops  # ask the module: its functions are not all exported

    folder = Path(ops.__file__).parent
    found = set(SINGLE)
    for family in FAMILIES:
        name = f"gen_{family}.py" if family.endswith("_v2") else f"gen_{family}_ops.py"
        name = "gen_stateless_random_ops_v2.py" if family == "stateless_random_v2" else name
        found.update(re.findall(r'_execute\.execute\(b"(\w+)"', (folder / name).read_text(encoding="utf-8")))
    return frozenset(found - set(NOT_OPS))


def classes() -> frozenset[str]:
    """List Keras's own classes as configurations name them, `module.class`."""
    import keras

    found = {"keras.Sequential", "keras.DTypePolicy", "keras.random.SeedGenerator"}
    found.add("keras.src.models.functional.Functional")
    for space in SPACES:
        module: Any = keras
        for part in space.split("."):
            module = getattr(module, part)
        for name in dir(module):
            public = name[0].isupper() and name not in BASES | set(NOT_CLASSES)
            if public and inspect.isclass(getattr(module, name)):
                found.add(f"keras.{space}.{name}")
    for kind in set(_below(keras.Operation)):
        if kind.__module__ in OPERATIONS and kind.__name__ not in NOT_OPERATIONS:
            found.add(f"{kind.__module__}.{kind.__name__}")
    return frozenset(found)


def functions() -> frozenset[str]:
    """List Keras's own activations, losses and metrics that are functions."""
    import keras

    return frozenset(
        name
        for space in FUNCTIONS
        for name, value in inspect.getmembers(getattr(keras, space), inspect.isfunction)
        if name not in NOT_FUNCTIONS and not name.startswith("_")
    )


def _below(kind: type) -> Iterator[type]:
    child: type
    for child in kind.__subclasses__():
        yield child
        yield from _below(child)


def _words(name: str, words: Iterable[str]) -> str:
    text = fill(" ".join(sorted(words)), width=108, break_long_words=False, break_on_hyphens=False)
    return f'_{name}: Final = """\n{text}\n"""\n{name}: Final = frozenset(_{name}.split())\n'


def _table(name: str, reasons: dict[str, str]) -> str:
    rows = "".join(f'        "{key}": "{reasons[key]}",\n' for key in sorted(reasons))
    return f"{name}: Final[Mapping[str, str]] = MappingProxyType(\n    {{\n{rows}    }}\n)\n"


_HEAD = (
    "from collections.abc import Mapping\nfrom types import MappingProxyType\nfrom typing import Final\n\n"
)


def ops_module() -> str:
    """Write `vault/core/savedmodel_ops.py`."""
    import tensorflow

    return (
        f'"""Operators that a SavedModel may use, and why well-known others are refused.\n\n'
        f"Derived from TensorFlow {tensorflow.__version__} by tests/tensorflow/derive_names.py, which says\n"
        'what was left out. Everything else is refused, custom operators among it.\n"""\n\n'
        + _HEAD
        + "# Saving and restoring: in the functions of the saver alone.\n"
        + _words("SAVER", SAVER)
        + _table("REASONS", OP_REASONS)
        + _words("OPERATORS", operators())
    )


def keras_module() -> str:
    """Write `vault/core/keras_names.py`."""
    import keras

    by_module: dict[str, set[str]] = {}
    for name in classes():
        module, _, last = name.rpartition(".")
        by_module.setdefault(module, set()).add(last)
    lines = ["_CLASSES: Final[Mapping[str, str]] = MappingProxyType(\n    {\n"]
    for module in sorted(by_module):
        text = fill(" ".join(sorted(by_module[module])), width=108, break_on_hyphens=False)
        lines.append(f'        "{module}": """\n{text}\n""",\n')
    lines.append("    }\n)\n")
    return (
        f'"""Classes and functions of Keras that a configuration may name, and why others are refused.\n\n'
        f"Derived from Keras {keras.__version__} by tests/tensorflow/derive_names.py, which says what was\n"
        'left out. Everything else is refused, custom classes among it.\n"""\n\n'
        + _HEAD
        + _table("REASONS", NOT_CLASSES)
        + "".join(lines)
        + "CLASSES: Final = frozenset(\n"
        '    f"{module}.{name}" for module, names in _CLASSES.items() for name in names.split()\n)\n'
        + _words("FUNCTIONS", functions())
    )


if __name__ == "__main__":
    sys.stdout.write(ops_module() if sys.argv[1] == "ops" else keras_module())
