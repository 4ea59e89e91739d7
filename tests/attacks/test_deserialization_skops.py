"""The skops advisories of 2025 and their like: refused by the static stage, before any skops code runs."""

import contextlib
import io
import json
import pickle
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import skops.io
from sklearn.linear_model import Ridge

from tests.attacks.deserialization_watch import watched
from vault.core import skops_walk, static_stage
from vault.core.allowance import Allowance
from vault.core.skops_types import DEFAULT_SKOPS_TYPES
from vault.errors import FormatRefused, Refused
from vault.loaders import skops as loader

MODEL = Ridge().fit(np.eye(3), [1.0, 2.0, 3.0])
DUMPED, PINS = loader.dump(MODEL)
skops_walk.walk(DUMPED)


def node(loader: str, name: str, identity: int, **fields: Any) -> dict[str, Any]:
    module, _, cls = name.rpartition(".")
    return {"__class__": cls, "__module__": module, "__loader__": loader, "__id__": identity, **fields}


def text(value: Any, identity: int) -> dict[str, Any]:
    return node("JsonNode", "builtins.str", identity, content=json.dumps(value), is_json=True)


def packed(schema: dict[str, Any] | None, *members: tuple[str, bytes], base: bool = False) -> bytes:
    source = zipfile.ZipFile(io.BytesIO(DUMPED))
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name in source.namelist() if base else ():
            if name != "schema.json":
                archive.writestr(name, source.read(name))
        for name, content in members:
            archive.writestr(zipfile.ZipInfo(name), content)
        if schema is not None:
            archive.writestr("schema.json", json.dumps({**schema, "protocol": 2, "_skops_version": "0.16.0"}))
    return buffer.getvalue()


def refused(data: bytes, canary: Path) -> Refused:
    """Refused by the stage whatever was pinned and allowed, with nothing imported, opened or run."""
    names = set(DEFAULT_SKOPS_TYPES)
    with contextlib.suppress(Exception):  # what skops itself asks for is only used to allow more
        names |= set(skops.io.get_untrusted_types(data=data))
    pins = frozenset(names)
    allowance = Allowance(skops_types=pins)
    with watched() as events, pytest.raises(Refused) as caught:
        static_stage.check("m.skops", "skops", memoryview(data), pins, allowance, "m.skops")
    assert events == []
    assert not canary.exists()
    return caught.value


def attacks(canary: Path) -> dict[str, dict[str, Any]]:
    """Trees that run code in some released version of skops, or would if their types were trusted."""
    command = text(f"touch {canary}", 2)
    arguments = node("TupleNode", "builtins.tuple", 3, content=[command])
    system = node("FunctionNode", "os.system", 4)
    return {
        "operator node (CVE-2025-54413)": node(
            "OperatorFuncNode", "operator.methodcaller", 1, attrs=arguments
        ),
        "operator node outside its module": node("OperatorFuncNode", "os.system", 1, attrs=arguments),
        "method node (CVE-2025-54412)": node(
            "MethodNode",
            "sklearn.linear_model._ridge.Ridge",
            1,
            content={
                "func": "__reduce_ex__",
                "obj": node("ObjectNode", "sklearn.linear_model._ridge.Ridge", 5),
            },
        ),
        "method node with another type shown": node(
            "MethodNode",
            "builtins.int",
            1,
            content={"func": "system", "obj": node("ObjectNode", "os.system", 5)},
        ),
        "partial of a system call": node(
            "PartialNode",
            "functools.partial",
            1,
            content={"func": system, "args": arguments, "kwds": text({}, 6), "namespace": text(None, 7)},
        ),
        "reduce with a constructor of its own": node(
            "LossNode", "os.system", 1, content=text({}, 6), __reduce__={"args": arguments}
        ),
        "constructor call": node("ConstructorFromReduceNode", "subprocess.Popen", 1, content=arguments),
        "default factory": node(
            "DefaultDictNode",
            "collections.defaultdict",
            1,
            content={"main": text({}, 6), "default_factory": system},
        ),
        "list of a callable type": node("ListNode", "subprocess.Popen", 1, content=[command]),
        "set of a callable type": node("SetNode", "os.system", 1, content=[command]),
        "dictionary of a callable type": node(
            "DictNode",
            "os.system",
            1,
            content={},
            key_types=node("ListNode", "builtins.list", 8, content=[]),
        ),
        "a key that is a call": node(
            "DictNode",
            "builtins.dict",
            1,
            content={f"touch {canary}": text(1, 9)},
            key_types=node("ListNode", "builtins.list", 8, content=[node("TypeNode", "os.system", 10)]),
        ),
        "named tuple of another type": node("TupleNode", "subprocess.Popen", 1, content=[command]),
        "array scalar of a callable type": node("NdArrayNode", "os.system", 1, type="numpy", file="a.npy"),
        "generator by another name": node(
            "RandomGeneratorNode",
            "numpy.random._generator.Generator",
            1,
            content={
                "bit_generator": node(
                    "DictNode",
                    "builtins.dict",
                    11,
                    content={"bit_generator": text("set_bit_generator", 12)},
                    key_types=node(
                        "ListNode", "builtins.list", 8, content=[node("TypeNode", "builtins.str", 13)]
                    ),
                ),
                "seed_seq": text({}, 14),
            },
        ),
    }


@pytest.mark.parametrize("attack", attacks(Path("x")))
def test_trees_that_run_code_are_refused(attack: str, tmp_path: Path) -> None:
    canary = tmp_path / "canary"
    buffer = io.BytesIO()
    np.save(buffer, np.arange(3))
    refusal = refused(packed(attacks(canary)[attack], ("a.npy", buffer.getvalue())), canary)
    assert refusal.code == "format-content"


def rewrite(change: Callable[[dict[str, Any]], object]) -> bytes:
    schema = json.loads(zipfile.ZipFile(io.BytesIO(DUMPED)).read("schema.json"))
    del schema["protocol"], schema["_skops_version"]
    change(schema)
    return packed(schema, base=True)


def test_the_rewritten_file_passes_without_a_change(tmp_path: Path) -> None:
    data = rewrite(lambda schema: None)
    pins = frozenset(skops_walk.walk(data).pins)
    static_stage.check("m.skops", "skops", memoryview(data), pins, Allowance(), "m.skops")


def test_an_older_protocol_cannot_choose_an_older_check(tmp_path: Path) -> None:
    for protocol in (b"0", b"1"):
        data = packed(None, ("schema.json", b'{"protocol":' + protocol + b"}"))
        assert refused(data, tmp_path / "canary").code == "format-content"


@pytest.mark.filterwarnings("ignore:Duplicate name")
@pytest.mark.parametrize(
    "members",
    [
        (("schema.json", b"{}"), ("schema.json", b"{}")),
        (("schema.json", b"{}"), ("SCHEMA.JSON", b"{}")),
        (("../../etc/cron.d/x", b"x"), ("schema.json", b"{}")),
        (("/etc/passwd", b"x"), ("schema.json", b"{}")),
        (("a\\..\\b", b"x"), ("schema.json", b"{}")),
    ],
)
def test_traversing_and_duplicate_names_are_refused(members: Any, tmp_path: Path) -> None:
    assert refused(packed(None, *members), tmp_path / "canary").code == "malformed-archive"


def test_a_pickled_array_is_refused(tmp_path: Path) -> None:
    canary = tmp_path / "canary"

    class Evil:
        def __reduce__(self) -> tuple[Any, ...]:
            import os

            return os.system, (f"touch {canary}",)

    buffer = io.BytesIO()
    np.save(buffer, np.array([Evil()], dtype=object), allow_pickle=True)
    array = node("NdArrayNode", "numpy.ndarray", 1, type="numpy", file="a.npy")
    assert refused(packed(array, ("a.npy", buffer.getvalue())), canary).code == "format-content"
    matrix = node("SparseMatrixNode", "scipy.sparse._csr.csr_matrix", 1, type="scipy", file="a.npz")
    inner = io.BytesIO()
    np.savez(inner, data=np.array([Evil()], dtype=object))
    assert refused(packed(matrix, ("a.npz", inner.getvalue())), canary).code == "format-content"


def test_a_pickle_called_skops_is_not_tried_as_a_pickle(tmp_path: Path) -> None:
    """A model card fell back to joblib when skops failed (CVE-2025-54886)."""
    canary = tmp_path / "canary"

    class Evil:
        def __reduce__(self) -> tuple[Any, ...]:
            import os

            return os.system, (f"touch {canary}",)

    assert refused(pickle.dumps(Evil()), canary).code == "format-refused"
    with pytest.raises(FormatRefused):
        loader.restore(memoryview(pickle.dumps(Evil())), DEFAULT_SKOPS_TYPES, subject="m")
    assert not canary.exists()


def test_a_type_that_was_not_pinned_is_refused() -> None:
    for pins in (frozenset(PINS[1:]), frozenset(PINS) | {"sklearn.svm._classes.SVC"}, frozenset()):
        with watched() as events, pytest.raises(FormatRefused) as caught:
            static_stage.check("m.skops", "skops", memoryview(DUMPED), pins, Allowance(), "m.skops")
        assert caught.value.code == "pins-mismatch"
        assert events == []


def test_a_type_that_only_the_artifact_allows_is_refused() -> None:
    def change(schema: dict[str, Any]) -> None:
        schema.update(__class__="Popen", __module__="collections.abc")

    data = rewrite(change)
    pins = frozenset(skops_walk.walk(data).pins)
    with watched() as events, pytest.raises(FormatRefused) as caught:
        static_stage.check("m.skops", "skops", memoryview(data), pins, Allowance(), "m.skops")
    assert caught.value.code == "not-allowed"
    assert events == []


def test_every_truncation_is_refused() -> None:
    for length in range(0, len(DUMPED), 7):
        with pytest.raises(Refused):
            static_stage.check(
                "m.skops", "skops", memoryview(DUMPED)[:length], frozenset(PINS), Allowance(), "m"
            )


def test_flipped_bits_never_restore_another_model() -> None:
    """What the static stage lets through is stopped by a checksum, or is without effect."""
    honest = MODEL.predict(np.eye(3))
    different = 0
    for index in range(0, len(DUMPED), 11):
        data = bytearray(DUMPED)
        data[index] ^= 1 << (index % 8)
        try:
            static_stage.check("m.skops", "skops", memoryview(data), frozenset(PINS), Allowance(), "m.skops")
            model = loader.restore(memoryview(bytes(data)), frozenset(PINS), subject="m.skops")
        except Refused:
            continue
        different += not np.array_equal(model.predict(np.eye(3)), honest)
    assert different == 0
