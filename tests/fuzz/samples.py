"""Make small real model files of each format, with rows that they can be asked about."""

import io
import json
import struct
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Any, Final

import numpy as np

ROWS: Final = np.random.default_rng(7).normal(size=(12, 4))
LABELS: Final = np.arange(12) % 3
WORDS: Final = ["red green", "green blue blue", "red", "blue yellow"]


@dataclass(frozen=True)
class Sample:
    """An honest file: its path names its format; `rows` is what a restored model is asked about."""

    path: str
    data: bytes
    rows: Any

    @property
    def format(self) -> str:
        """The format as the vault calls it."""
        ending = self.path.rpartition(".")[2]
        return {"pkl": "pickle"}.get(ending, ending)


def estimators() -> dict[str, tuple[Any, Any]]:
    """Fit estimators whose saved state differs in kind; name → (model, rows)."""
    from sklearn.compose import ColumnTransformer
    from sklearn.ensemble import (
        GradientBoostingClassifier,
        HistGradientBoostingRegressor,
        IsolationForest,
        RandomForestClassifier,
    )
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.linear_model import LogisticRegression, Ridge, SGDClassifier
    from sklearn.naive_bayes import MultinomialNB
    from sklearn.neighbors import KNeighborsClassifier
    from sklearn.neural_network import MLPClassifier
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import OneHotEncoder, StandardScaler
    from sklearn.svm import SVC

    codes = np.column_stack([ROWS[:, :2], LABELS])
    mixed = make_pipeline(
        ColumnTransformer([("number", StandardScaler(), [0, 1]), ("code", OneHotEncoder(), [2])]),
        LogisticRegression(),
    )
    text = make_pipeline(TfidfVectorizer(), MultinomialNB())
    return {
        "ridge": (Ridge().fit(ROWS, LABELS), ROWS),
        "forest": (RandomForestClassifier(3, random_state=0, n_jobs=1).fit(ROWS, LABELS), ROWS),
        "boosting": (GradientBoostingClassifier(n_estimators=2, random_state=0).fit(ROWS, LABELS), ROWS),
        "histogram": (
            HistGradientBoostingRegressor(max_iter=2, min_samples_leaf=2).fit(ROWS, LABELS),
            ROWS,
        ),
        "isolation": (IsolationForest(n_estimators=3, random_state=0).fit(ROWS), ROWS),
        "neighbours": (KNeighborsClassifier(2, algorithm="kd_tree", n_jobs=1).fit(ROWS, LABELS), ROWS),
        "balls": (KNeighborsClassifier(2, algorithm="ball_tree", n_jobs=1).fit(ROWS, LABELS), ROWS),
        "vectors": (SVC().fit(ROWS, LABELS), ROWS),
        "network": (
            MLPClassifier(3, max_iter=2, random_state=np.random.RandomState(0)).fit(ROWS, LABELS),
            ROWS,
        ),
        "gradient": (SGDClassifier(max_iter=5, random_state=0).fit(ROWS, LABELS), ROWS),
        "mixed": (mixed.fit(codes, LABELS), codes),
        "text": (text.fit(WORDS, [0, 1, 0, 1]), WORDS),
    }


def onnx_by_hand() -> bytes:
    """Make a model with branches, a sparse initializer, a function and text."""
    import onnx
    from onnx import TensorProto, helper

    def value(name: str, kind: int = TensorProto.FLOAT) -> Any:
        return helper.make_tensor_value_info(name, kind, [None, 4])

    weights = helper.make_tensor("w", TensorProto.FLOAT, [4, 4], [float(part) for part in range(16)])
    words: Any = [b"no", b"yes"]
    labels = helper.make_tensor("names", TensorProto.STRING, [2], words)
    values = helper.make_tensor("s", TensorProto.FLOAT, [2], [1.0, 2.0])
    indices = helper.make_tensor("i", TensorProto.INT64, [2], [0, 5])
    sparse = helper.make_sparse_tensor(values, indices, [4, 4])
    flag = helper.make_tensor("flag", TensorProto.BOOL, [], [1])

    def branch(operator: str) -> Any:
        node = helper.make_node(operator, ["h"], ["z"])
        return helper.make_graph([node], operator, [], [value("z")])

    nodes = [
        helper.make_node("MatMul", ["x", "w"], ["a"]),
        helper.make_node("MatMul", ["a", "s"], ["b"]),
        helper.make_node("Gather", ["b", "pick"], ["h"], axis=1),
        helper.make_node("If", ["flag"], ["c"], then_branch=branch("Relu"), else_branch=branch("Neg")),
        helper.make_node("Reshape", ["c", "shape"], ["y"]),
    ]
    initializers = [
        weights,
        flag,
        labels,
        helper.make_tensor("pick", TensorProto.INT64, [4], [3, 2, 1, 0]),
        helper.make_tensor("shape", TensorProto.INT64, [2], [-1, 4]),
    ]
    graph = helper.make_graph(nodes, "g", [value("x")], [value("y")], initializers)
    graph.sparse_initializer.append(sparse)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.checker.check_model(model)
    return bytes(model.SerializeToString())


def npy(array: Any) -> bytes:
    """Write one array."""
    buffer = io.BytesIO()
    np.save(buffer, array)
    return buffer.getvalue()


def npz() -> bytes:
    """Write several arrays, packed."""
    buffer = io.BytesIO()
    np.savez_compressed(buffer, a=ROWS, b=LABELS, c=np.array(WORDS), d=np.zeros((2, 0, 3)))
    return buffer.getvalue()


def safetensors() -> bytes:
    """Write two tensors by hand."""
    header = {
        "a": {"dtype": "F64", "shape": [12, 4], "data_offsets": [0, 384]},
        "b": {"dtype": "I64", "shape": [12], "data_offsets": [384, 480]},
        "__metadata__": {"format": "np"},
    }
    text = json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + ROWS.tobytes() + LABELS.astype("<i8").tobytes()


def _saved(name: str, kind: str) -> Sample:
    from vault.loaders import onnx, pickle_gate, skops

    model, rows = fitted()[name]
    if kind == "skops":
        return Sample("model.skops", skops.dump(model)[0], rows)
    if kind == "onnx":
        given = np.array(rows) if name == "text" else rows
        return Sample("model.onnx", onnx.export(model, given), np.asarray(given))
    if kind == "zlib":
        import joblib

        buffer = io.BytesIO()
        joblib.dump(model, buffer, compress=("zlib", 1))
        return Sample("model.joblib", buffer.getvalue(), rows)
    container: Any = kind
    data, _ = pickle_gate.dump(model, container=container)
    return Sample("model.joblib" if kind == "joblib" else "model.pkl", data, rows)


@cache
def fitted() -> dict[str, tuple[Any, Any]]:
    """Fit the estimators once: name → (model, rows)."""
    return estimators()


_ONNX: Final = ("ridge", "forest", "histogram", "isolation", "vectors", "neighbours", "gradient")
ESTIMATORS: Final = (
    "ridge",
    "forest",
    "boosting",
    "histogram",
    "isolation",
    "neighbours",
    "balls",
    "vectors",
    "network",
    "gradient",
    "mixed",
    "text",
)
MAKERS: Final[dict[str, Callable[[], Sample]]] = {
    **{f"skops/{name}": lambda name=name: _saved(name, "skops") for name in ESTIMATORS},  # type: ignore[misc]
    **{f"onnx/{name}": lambda name=name: _saved(name, "onnx") for name in _ONNX},  # type: ignore[misc]
    **{
        f"{kind}/{name}": lambda name=name, kind=kind: _saved(name, kind)  # type: ignore[misc]
        for name in ESTIMATORS
        for kind in ("pickle", "joblib")
    },
    "zlib/forest": lambda: _saved("forest", "zlib"),
    "onnx/hand": lambda: Sample("model.onnx", onnx_by_hand(), np.zeros((3, 4), "float32")),
    "npy/columns": lambda: Sample("a.npy", npy(np.zeros(3, [("x", "<f8"), ("y", "<i4", (2,))])), None),
    "npy/matrix": lambda: Sample("a.npy", npy(np.asfortranarray(ROWS)), None),
    "npz/arrays": lambda: Sample("a.npz", npz(), None),
    "safetensors/two": lambda: Sample("a.safetensors", safetensors(), None),
}
PATHS: Final = tuple(MAKERS)


@cache
def sample(name: str) -> Sample:
    """Make one sample by its name."""
    return MAKERS[name]()
