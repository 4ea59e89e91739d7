"""The walk over `.keras` archives: real ones pass; code, paths, other members and damage do not."""

import json
import random
import struct
import zipfile
from io import BytesIO
from typing import Any

import pytest

from tests.core.tensorflow_parts import FLOAT as FLOATS
from tests.core.tensorflow_parts import (
    Hdf5,
    archive,
    configuration,
    layer,
    sequential,
    space,
)
from vault.core import formats, keras_names, keras_walk, limits, pins, savedmodel_ops, static_stage
from vault.core.allowance import Allowance
from vault.errors import FormatRefused, Malformed, Refused


def refused(data: bytes, match: str) -> None:
    with pytest.raises(FormatRefused, match=match) as caught:
        keras_walk.walk(data, subject="model.keras")
    assert caught.value.code == "format-content"
    assert caught.value.subject == "model.keras"


def with_layer(config: object, **top: object) -> bytes:
    """Put a layer into a model, beside those that are harmless."""
    return archive({**sequential(layer("Dense", units=2), config), **top})


@pytest.mark.parametrize(
    ("name", "some"),
    [
        ("plain", {"keras.Sequential", "keras.layers.Dense", "keras.layers.Dropout"}),
        ("both", {"keras.src.models.functional.Functional", "keras.src.ops.numpy.GetItem"}),
        ("text", {"keras.layers.StringLookup", "keras.layers.Embedding"}),
    ],
)
def test_real_archives_pass_and_are_described(name: str, some: set[str]) -> None:
    found = keras_walk.walk(archive(name=name))
    assert some <= found.classes <= keras_names.CLASSES
    assert found.pins == tuple(sorted(found.classes))
    assert found.versions == {"keras": "3.15.1"}
    assert found.dangers == ()
    assert found.datasets > 0


def test_functions_of_keras_itself_are_pinned_by_name() -> None:
    relu = {"module": "builtins", "class_name": "function", "config": "relu", "registered_name": "function"}
    found = keras_walk.walk(with_layer(layer("Activation", activation=relu)))
    assert "keras.function.relu" in found.classes


def test_values_that_keras_writes_pass() -> None:
    values = [
        {"class_name": "__numpy__", "config": {"value": [1.0], "dtype": "float32"}},
        {"class_name": "__tensor__", "config": {"value": [1], "dtype": "int64"}},
        {"class_name": "__slice__", "config": {"start": None, "stop": 2, "step": None}},
        {"class_name": "__ellipsis__", "config": None},
    ]
    assert keras_walk.walk(with_layer(layer("Rescaling", scale=values))).classes


def test_an_archive_without_a_version_passes_without_one() -> None:
    data = archive(others={"metadata.json": b'{"keras_version": 3}'})
    assert keras_walk.walk(data).versions == {}


# --- what was published about Keras, one test each ---


def test_cve_2024_3660_a_lambda_layer_with_bytecode() -> None:
    body = {"class_name": "__lambda__", "config": {"value": "4wEAAAA=", "defaults": None, "closure": None}}
    refused(with_layer(layer("Lambda", function=body)), "Lambda: it carries a Python function")
    refused(with_layer(layer("Activation", activation=body)), "__lambda__: it carries a Python function")


def test_cve_2025_1550_a_configuration_that_names_any_module() -> None:
    call = {
        "module": "os",
        "class_name": "function",
        "config": "system",
        "registered_name": "system",
    }
    refused(with_layer(layer("Activation", activation=call)), "os.system")
    for module in ("os", "builtins", "subprocess", "keras.src.utils.python_utils", "", None):
        hostile: dict[str, object] = {
            "module": module,
            "class_name": "system",
            "config": {},
            "registered_name": "system",
        }
        refused(with_layer(hostile), "not one of Keras's own classes")


def test_cve_2025_8747_a_function_of_keras_that_fetches_files() -> None:
    for module, name in (
        ("keras.utils", "get_file"),
        ("keras.models", "load_model"),
        ("keras.config", "enable_unsafe_deserialization"),
        ("keras.saving", "deserialize_keras_object"),
        ("keras.utils", "image_dataset_from_directory"),
    ):
        as_class: dict[str, object] = {
            "module": module,
            "class_name": name,
            "config": {},
            "registered_name": None,
        }
        refused(with_layer(as_class), f"{module}.{name}")
        as_function = {"module": module, "class_name": "function", "config": name, "registered_name": name}
        refused(with_layer(as_function), name)


def test_cve_2025_9905_an_hdf5_model_in_place_of_the_archive() -> None:
    refused_code = "malformed-archive"
    with pytest.raises(Malformed) as caught:
        keras_walk.walk(b"\x89HDF\r\n\x1a\n" + bytes(2_000))
    assert caught.value.code == refused_code


def test_cve_2025_9906_safe_mode_switched_off_by_the_configuration() -> None:
    switch = {
        "module": "keras.config",
        "class_name": "function",
        "config": "enable_unsafe_deserialization",
        "registered_name": "enable_unsafe_deserialization",
    }
    refused(with_layer(layer("Activation", activation=switch)), "enable_unsafe_deserialization")


@pytest.mark.parametrize("kind", ["StringLookup", "IntegerLookup", "TextVectorization"])
@pytest.mark.parametrize("key", ["vocabulary", "idf_weights"])
@pytest.mark.parametrize("path", ["words.txt", "/etc/passwd", "http://10.0.0.1/x", [["nested"]], {"a": 1}])
def test_cve_2025_12058_a_vocabulary_that_is_a_file_or_a_server(kind: str, key: str, path: object) -> None:
    refused(with_layer(layer(kind, **{key: path})), f"{kind} whose {key} is not a list")


def test_cve_2025_49655_a_pytorch_module_in_a_layer() -> None:
    refused(with_layer(layer("TorchModuleWrapper", module="gAWV")), "which is a pickle")


def test_cve_2026_1669_weights_in_other_files() -> None:
    made = Hdf5()
    layout = struct.pack("<BBQQ", 3, 1, 0, 12)
    head = made.header((1, space(3)), (3, FLOATS), (8, layout), (7, bytes(32)))
    data = made.close(made.group({b"0": head}))
    refused(archive(weights=data), "data in other files")


@pytest.mark.parametrize("name", sorted(keras_names.REASONS))
def test_layers_that_carry_or_fetch_code_are_refused_with_their_reason(name: str) -> None:
    refused(with_layer(layer(name)), keras_names.REASONS[name])
    refused(with_layer(layer("TimeDistributed", layer=layer(name))), keras_names.REASONS[name])


def test_custom_classes_are_refused_under_every_name() -> None:
    refused(with_layer(layer("Mine", "my_package.layers")), "my_package.layers.Mine")
    refused(with_layer({**layer("Dense"), "registered_name": "mine>Dense"}), "a program registered")
    refused(with_layer({"class_name": "Dense", "config": {}}), "None.Dense")
    refused(with_layer({**layer("Dense"), "module": ["keras.layers"]}), "not one of Keras's own")
    refused(archive(layer("Model", "keras")), "no model made of layers")
    refused(archive(layer("Dense")), "no model made of layers")
    refused(archive({"layers": []}), "no model made of layers")
    compiled = {"optimizer": layer("Evil", "keras.optimizers")}
    refused(with_layer(layer("Dense"), compile_config=compiled), "keras.optimizers.Evil")


def test_objects_of_another_shape_are_refused() -> None:
    refused(with_layer({**layer("Dense"), "spec_name": "TensorSpec"}), "does not write")
    refused(with_layer({"class_name": 5, "config": {}}), "does not write")
    refused(with_layer({"class_name": "Dense", "module": "keras.layers"}), "does not write")
    refused(with_layer({**layer("Dense"), "config": "units"}), "without a configuration")
    refused(with_layer({"class_name": "__numpy__", "config": {"value": [1], "dtype": "object"}}), "of a type")
    refused(with_layer({"class_name": "__tensor__", "config": {"value": 1, "dtype": 5}}), "of a type")
    refused(with_layer({"class_name": "__bytes__", "config": "text"}), "does not write")
    refused(with_layer({"class_name": "__bytes__", "module": "os", "config": {}}), "does not write")
    named = {"module": "builtins", "class_name": "function", "config": "relu", "registered_name": "mine>relu"}
    refused(with_layer(layer("Activation", activation=named)), "not one of Keras's own")
    refused(with_layer({**named, "config": ["relu"]}), "not one of Keras's own")


@pytest.mark.parametrize(
    "path",
    [
        "/etc/passwd", "~/.ssh/id", "../x", "a/../../x", "..", ".", "./x", "C:\\x", "\\\\server\\x",
        "http://x", "file:///etc/passwd", "gs://bucket/x", "hf://x", "a/..",
    ],
)  # fmt: skip
def test_texts_that_lead_to_files_and_servers_are_refused(path: str) -> None:
    refused(with_layer(layer("Dense", name=path)), "leads to a file or a server")
    refused(with_layer(layer("Dense", **{path: 1})), "leads to a file or a server")


@pytest.mark.parametrize(
    "text", ["block_1/conv", "abc,cd->abd", "...x,xy->...y", "float32", "", "a.b", "1.0"]
)
def test_texts_that_lead_nowhere_pass(text: str) -> None:
    assert keras_walk.walk(with_layer(layer("Dense", name=text))).classes


def test_words_of_a_vocabulary_may_look_like_anything() -> None:
    words = layer("StringLookup", vocabulary=["/", "..", "http://x", 5], idf_weights=None)
    assert "keras.layers.StringLookup" in keras_walk.walk(with_layer(words)).classes


def test_an_archive_has_three_members() -> None:
    refused(archive(others={"assets/layers/text/vocabulary.txt": b"a"}), "unpacks to disk")
    refused(archive(others={"evil.py": b""}), "configuration, metadata and weights")
    refused(archive(others={"model.weights.npz": b""}), "configuration, metadata and weights")
    held = BytesIO()
    with zipfile.ZipFile(held, "w") as made:
        made.writestr(zipfile.ZipInfo("config.json"), b"{}")
    refused(held.getvalue(), "configuration, metadata and weights")


@pytest.mark.parametrize("name", ["../evil", "/evil", "a/../../evil", "config.json"])
@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_zip_slips_and_duplicates_are_refused(name: str) -> None:
    held = BytesIO(archive())
    with zipfile.ZipFile(held, "a") as made:
        made.writestr(zipfile.ZipInfo(name), b"{}")
    with pytest.raises(Malformed) as caught:
        keras_walk.walk(held.getvalue())
    assert caught.value.code == "malformed-archive"


@pytest.mark.parametrize(
    "config",
    [b"", b"[]", b"\xff", b"{", b'{"a": 1, "a": 2}', b"[" * 100_000, b'{"a": ' + b"1" * 30 + b"}"],
)
def test_a_configuration_that_is_no_plain_json_is_refused(config: bytes) -> None:
    refused(archive(config), "not plain JSON")


def test_a_configuration_may_not_be_nested_without_end() -> None:
    inner: dict[str, Any] = {}
    for _ in range(limits.SCHEMA_DEPTH):
        inner = {"a": inner}
    refused(with_layer(layer("Dense", name=inner)), "too deeply")


def test_no_name_that_is_allowed_is_one_that_may_never_be() -> None:
    names = {*keras_names.CLASSES, *(f"keras.function.{name}" for name in keras_names.FUNCTIONS)}
    assert not {name for name in names | savedmodel_ops.OPERATORS if pins.is_forbidden(name)}
    assert not {name.rpartition(".")[2] for name in keras_names.CLASSES} & keras_names.REASONS.keys()
    assert len(keras_names.CLASSES) > 500
    assert len(savedmodel_ops.OPERATORS) > 600
    assert not savedmodel_ops.OPERATORS & (savedmodel_ops.REASONS.keys() | savedmodel_ops.SAVER)


def test_changed_configurations_are_read_or_refused_and_nothing_else() -> None:
    rng = random.Random(11)
    text = json.dumps(configuration("both")).encode()
    outcomes = set()
    for _ in range(400):
        changed = bytearray(text)
        for _ in range(rng.randint(1, 3)):
            changed[rng.randrange(len(text))] = rng.choice(b'"{}[]:,\\/.0aZ_\xff')
        try:
            keras_walk.walk(archive(bytes(changed)))
            outcomes.add("read")
        except Refused:
            outcomes.add("refused")
    assert outcomes == {"read", "refused"}


def test_the_static_stage_demands_the_operators_word_and_the_recorded_classes() -> None:
    data = memoryview(archive())
    pinned = static_stage.observe(formats.KERAS, data, Allowance(), "it")
    assert pinned == keras_walk.walk(data).classes
    named = Allowance(formats=frozenset({formats.KERAS}))
    static_stage.check("model.keras", formats.KERAS, data, pinned, named, "it")
    for found, allowance, code in (
        (pinned, Allowance(), "format-refused"),
        (pinned | {"keras.layers.Lambda"}, named, "pins-mismatch"),
    ):
        with pytest.raises(FormatRefused) as caught:
            static_stage.check("model.keras", formats.KERAS, data, found, allowance, "it")
        assert caught.value.code == code
