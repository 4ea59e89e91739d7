"""The walk over a SavedModel: real ones pass; what reads, writes or calls outside does not."""

import pytest

from tests.core.changed_bytes import outcomes
from tests.core.tensorflow_parts import (
    OBJECTS,
    folder,
    function,
    graph,
    node,
    part,
    saved_model,
    varint,
)
from vault.core import formats, limits, savedmodel_ops, savedmodel_walk, static_stage
from vault.core.allowance import Allowance
from vault.core.protobuf_reader import Field, Kind, Reader
from vault.errors import FormatRefused

SAVE, RESTORE = "__inference__traced_save_1", "__inference__traced_restore_2"


def refused(data: bytes, match: str) -> None:
    with pytest.raises(FormatRefused, match=match) as caught:
        savedmodel_walk.walk(data, subject="the model")
    assert caught.value.code == "format-content"
    assert caught.value.subject == "the model"


def test_real_models_pass_and_are_described() -> None:
    found = savedmodel_walk.walk(graph())
    assert {"MatMul", "Relu", "Softmax", "SaveV2", "RestoreV2", "VarHandleOp"} <= found.operators
    assert found.pins == tuple(sorted(found.operators))
    assert found.signatures == ("__saved_model_init_op", "serve", "serving_default")
    assert found.tags == ("serve",)
    assert found.versions == {"tensorflow": "2.21.0"}
    assert found.functions == 5
    saver = "MergeV2Checkpoints, RestoreV2, SaveV2, ShardedFilename"
    assert found.dangers == (f"Its saver reads and writes checkpoint files ({saver}).",)
    assert {"HashTableV2", "LookupTableFindV2"} <= savedmodel_walk.walk(graph("text")).operators
    assert "Sin" in savedmodel_walk.walk(graph("both")).operators


def test_a_model_by_hand_passes() -> None:
    body = function("body", node("sum", "AddV2", "a", "b"), arguments=["a", "b"])
    data = saved_model(
        node("call", "StatefulPartitionedCall", "name", calls="body"),
        node("direct", "body"),
        functions=[body],
        meta=part(5, part(1, "serve") + part(2, part(2, part(1, "out") + part(2, part(1, "call:0"))))),
    )
    found = savedmodel_walk.walk(data)
    assert found.operators == {
        "AddV2", "MergeV2Checkpoints", "Placeholder", "RestoreV2", "SaveV2", "StatefulPartitionedCall",
    }  # fmt: skip
    assert found.signatures == ("serve",)
    bare = part(2, part(2, b"") + OBJECTS)
    assert savedmodel_walk.walk(bare).dangers == ()
    assert savedmodel_walk.walk(bare).versions == {}


@pytest.mark.parametrize(
    ("operator", "why"),
    [
        ("ReadFile", "reads a file"),
        ("WriteFile", "writes a file"),
        ("MatchingFiles", "lists files"),
        ("PyFunc", "calls Python"),
        ("PyFuncStateless", "calls Python"),
        ("EagerPyFunc", "calls Python"),
        ("InitializeTableFromTextFileV2", "reads a file"),
        ("ImmutableConst", "maps a file"),
        ("FixedUnigramCandidateSampler", "reads a file"),
        ("DecodeProtoV2", "from a file"),
        ("ParseTensor", "tensors of any kind"),
        ("PrintV2", "to a log or a file"),
        ("RemoteCall", "another machine"),
        ("Abort", "ends the process"),
        ("XlaCallModule", "another program"),
        ("TFRecordDataset", "reads a file"),
        ("SqlDataset", "not among those"),
        ("LMDBReader", "not among those"),
        ("CustomOpOfSomebody", "not among those"),
        ("_HostSend", "not among those"),
        ("VariableV2", "not among those"),
    ],
)
def test_operators_that_reach_outside_are_refused_wherever_they_stand(operator: str, why: str) -> None:
    assert operator not in savedmodel_ops.OPERATORS
    refused(saved_model(node("x", operator)), why)
    refused(saved_model(functions=[function("f", node("x", operator))]), why)


def test_an_operator_changed_in_a_real_model_is_refused() -> None:
    for name, other in (("Identity", "ReadFile"), ("Softmax", "PrintV2"), ("Const", "Abort")):
        before = part(2, name)
        assert before in graph()
        refused(graph().replace(before, part(2, other), 1), other)


@pytest.mark.parametrize("operator", sorted(savedmodel_ops.SAVER))
def test_saving_and_restoring_are_for_the_saver_alone(operator: str) -> None:
    refused(saved_model(node("x", operator)), "as TensorFlow 1 did")
    refused(saved_model(functions=[function("f", node("x", operator))]), "no function of a saver")


def test_nobody_but_the_saver_calls_its_functions() -> None:
    for name in (SAVE, RESTORE):
        refused(saved_model(node("x", "StatefulPartitionedCall", calls=name)), "lets the node 'x'")
        refused(saved_model(node("x", name)), "lets the node 'x'")
        body = function("f", node("x", "PartitionedCall", calls=name))
        refused(saved_model(functions=[body]), "lets the function 'f'")
        refused(saved_model(functions=[function("f", node("x", name))]), "lets the function 'f'")
        stand_in = part(5, part(1, "api_implements") + part(2, part(2, name)))
        refused(saved_model(functions=[function("f", attributes=stand_in)]), "lets the function 'f'")
        bare = part(7, part(1, part(8, part(1, name))))
        refused(saved_model(objects=bare), "beside its saver")
        refused(saved_model(objects=part(7, part(1, part(6, part(1, name))))), "beside its saver")
        refused(saved_model(objects=part(7, part(2, part(1, name)))), "beside its saver")
        refused(saved_model(library=part(2, part(1, "f") + part(2, name))), "beside its saver")
        refused(saved_model(library=part(3, part(1, name) + part(2, "op"))), "beside its saver")


def test_nothing_hangs_on_the_savers_nodes() -> None:
    refused(saved_model(node("x", "Identity", "save")), "wait for its saver")
    refused(saved_model(node("x", "Identity", "save:1")), "wait for its saver")
    refused(saved_model(node("x", "NoOp", "^restore")), "wait for its saver")
    told = part(2, part(2, part(1, "out") + part(2, part(1, "save:0"))))
    refused(saved_model(meta=part(5, part(1, "serve") + told)), "beside its saver")
    sparse = part(2, part(2, part(1, "out") + part(2, part(4, part(1, "restore:0")))))
    refused(saved_model(meta=part(5, part(1, "serve") + sparse)), "beside its saver")
    collection = part(4, part(1, "saved_model_main_op") + part(2, part(1, part(1, "restore"))))
    refused(saved_model(meta=collection), "beside its saver")
    refused(saved_model(meta=part(6, part(1, part(1, "save:0")) + part(2, "words.txt"))), "beside its saver")
    loop = node("restore", "While", calls=RESTORE)
    refused(saved_model(loop), "lets the node 'restore'")
    refused(saved_model(saver=("name:0", "other:0", "restore")), "lets the node 'save'")


def test_a_saver_does_what_it_is_told_and_no_more() -> None:
    fixed = function("__inference__traced_restore_9", node("r", "RestoreV2", "const"), arguments=["prefix"])
    refused(saved_model(functions=[fixed]), "not the one it is told")
    nothing = function("__inference__traced_restore_9", node("r", "RestoreV2"), arguments=["prefix"])
    refused(saved_model(functions=[nothing]), "not the one it is told")
    stand_in = part(5, part(1, "api_implements") + part(2, part(2, "predict")))
    posing = function("__inference__traced_save_9", node("s", "SaveV2"), attributes=stand_in)
    refused(saved_model(functions=[posing]), "no function of a saver")


def test_values_of_registered_kinds_are_refused_in_constants() -> None:
    for number in (14, 15):
        tensor = part(8, part(number, b""))
        attribute = part(5, part(1, "value") + part(2, tensor))
        refused(saved_model(node("x", "Const", attributes=attribute)), f"field {number} of Tensor")
        listed = part(5, part(1, "value") + part(2, part(1, tensor)))
        refused(saved_model(node("x", "Const", attributes=listed)), f"field {number} of Tensor")
    defaults = part(5, part(2, part(4, part(1, "x") + part(2, part(15, b"")))))
    refused(saved_model(meta=defaults), "field 15 of Tensor")


def test_objects_that_a_program_registered_are_refused() -> None:
    refused(saved_model(objects=part(7, part(1, part(4, part(1, "_tf_keras_layer"))))), "_tf_keras_layer")
    refused(saved_model(objects=part(7, part(1, part(13, "evil.Class")))), "evil.Class")
    refused(saved_model(objects=part(7, part(1, part(14, b"")))), "field 14 of Object")
    refused(saved_model(objects=part(7, part(1, part(16, "saver")))), "field 16 of Object")


def test_graphs_of_tensorflow_1_and_several_graphs_are_refused() -> None:
    refused(b"", "holds no graph")
    refused(part(1, 1), "holds no graph")
    refused(saved_model(objects=b""), "of TensorFlow 1")
    refused(saved_model() + part(2, part(1, part(4, "train"))), "several")
    refused(saved_model(meta=part(4, part(1, "variables") + part(2, b""))), "collection 'variables'")
    refused(saved_model(meta=part(4, part(1, "saved_model_assets") + part(2, part(5, b"")))), "field 5")
    refused(saved_model(meta=part(1, part(3, b""))), "field 3 of Information")


def test_assets_are_plain_file_names() -> None:
    named = savedmodel_walk.walk(saved_model(meta=part(6, part(2, "words.txt"))))
    assert named.assets == ("words.txt",)
    for name in ("../words.txt", "/etc/passwd", "a/b", "..", ".hidden", "http://x", ""):
        refused(saved_model(meta=part(6, part(2, name))), "no plain file name")


def test_names_are_one_and_their_own() -> None:
    refused(saved_model(part(1, "x") + part(1, "y") + part(2, "NoOp")), "one name and one operator")
    refused(saved_model(part(1, "x") + part(2, "NoOp") + part(2, "ReadFile")), "one name and one operator")
    refused(saved_model(part(2, "NoOp")), "one name and one operator")
    refused(saved_model(functions=[function("f"), function("f")]), "name of its own")
    refused(saved_model(functions=[part(3, node("x", "NoOp"))]), "name of its own")


def test_unknown_and_broken_fields_are_refused() -> None:
    refused(saved_model() + part(3, b""), "field 3 in SavedModel, which this release does not know")
    refused(part(2, 5), "field 2 of SavedModel")
    refused(b"\x13\x14", "a group")
    refused(b"\x00", "a group")
    refused(b"\x12\x05a", "beyond its end")
    refused(b"\x12", "ends in a number")
    refused(b"\x08\x80\x00", "overlong")
    refused(b"\x08" + b"\xff" * 9 + b"\x7f", "overlong")
    refused(b"\x08" + b"\xff" * 11, "overlong")
    refused(saved_model(node("x" * 5_000, "NoOp")), "too long")
    refused(saved_model(part(1, b"\xff") + part(2, "NoOp")), "not UTF-8")


def test_the_reader_steps_over_numbers_of_every_kind() -> None:
    tables: dict[str, dict[int, Field]] = {
        "Numbers": {1: Kind.VARINT, 2: Kind.FIXED32, 3: Kind.FIXED64, 4: Kind.TEXT, 5: "Numbers"}
    }
    data = b"\x08\x05\x15abcd\x19abcdefgh" + part(1, b"\1\2") + part(4, "a") + part(5, part(4, "b"))
    message = Reader(memoryview(data), tables, what="It", subject="").read("Numbers")
    assert sorted(message.everything()) == ["a", "b"]
    assert [inner.text(4) for inner in message.each(5)] == [["b"]]
    with pytest.raises(FormatRefused, match="It has a length beyond its end"):
        Reader(memoryview(b"\x15abc"), tables, what="It", subject="").read("Numbers")


def test_depth_and_number_of_fields_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    value = b""
    for _ in range(limits.PROTOBUF_DEPTH):
        value = part(51, part(1, value))
    refused(saved_model(objects=part(7, part(2, part(2, part(3, value))))), "too deeply")
    monkeypatch.setattr(limits, "PROTOBUF_FIELDS", 10)
    refused(saved_model(), "too many fields")


def test_a_folder_holds_the_graph_its_variables_and_its_assets() -> None:
    whole = list(folder())
    savedmodel_walk.check_folder(whole, ())
    savedmodel_walk.check_folder(["saved_model.pb"], ())
    savedmodel_walk.check_folder([*whole, "assets/words.txt"], ["words.txt"])
    shards = [f"variables/variables.data-0000{number}-of-00002" for number in (0, 1)]
    savedmodel_walk.check_folder(["saved_model.pb", "variables/variables.index", *shards], ())
    for paths, assets, match in (
        (whole[:0], (), "all of its files"),
        ([path for path in whole if not path.endswith(".index")], (), "all of its files"),
        ([path for path in whole if ".data-" not in path], (), "all of its files"),
        (["saved_model.pb", "variables/variables.index", shards[1]], (), "all of its files"),
        ([*whole, shards[1]], (), "all of its files"),
        (["saved_model.pb", "variables/variables.index", shards[0][:-1] + "0"], (), "all of its files"),
        (whole, ["words.txt"], "the asset 'words.txt'"),
        ([*whole, "keras_metadata.pb"], (), "keras_metadata.pb"),
        ([*whole, "saved_model.pbtxt"], (), "saved_model.pbtxt"),
        ([*whole, "assets/sub/words.txt"], (), "sub"),
        ([*whole, "assets.extra/tf_serving_warmup_requests"], (), "warmup"),
        ([*whole, "variables/evil.so"], (), "evil.so"),
    ):
        with pytest.raises(FormatRefused, match=match) as caught:
            savedmodel_walk.check_folder(paths, assets)
        assert caught.value.code == "format-content"


def test_changed_bytes_are_read_or_refused_and_nothing_else() -> None:
    data = graph("text")
    seen = outcomes(
        savedmodel_walk.walk, data, rounds=50, most=3, value=lambda rng: rng.randrange(256), seed=5
    )
    assert seen == {"read", "refused"}
    for size in range(1, len(data), 1_999):
        with pytest.raises(FormatRefused):
            savedmodel_walk.walk(data[:size])


def test_the_shortest_number_is_the_only_one() -> None:
    assert varint(300) == b"\xac\x02"
    with pytest.raises(FormatRefused):
        savedmodel_walk.walk(b"\x08\x81\x80\x00" + saved_model()[2:])


def test_the_static_stage_demands_the_operators_word_and_the_recorded_operators() -> None:
    data = memoryview(graph())
    pinned = static_stage.observe(formats.SAVEDMODEL, data, Allowance(), "it")
    assert pinned == savedmodel_walk.walk(data).operators
    named = Allowance(formats=frozenset({formats.SAVEDMODEL}))
    static_stage.check("model/saved_model.pb", formats.SAVEDMODEL, data, pinned, named, "it")
    for pins, allowance, code in (
        (pinned, Allowance(), "format-refused"),
        (pinned - {"Relu"}, named, "pins-mismatch"),
        (pinned | {"ReadFile"}, named, "pins-mismatch"),
    ):
        with pytest.raises(FormatRefused) as caught:
            static_stage.check("model/saved_model.pb", formats.SAVEDMODEL, data, pins, allowance, "it")
        assert caught.value.code == code


def test_the_files_of_a_folder_are_told_apart() -> None:
    assert formats.classify("saved_model.pb", graph()) == formats.SAVEDMODEL
    assert formats.classify("fingerprint.pb", folder()["fingerprint.pb"]) == formats.DATA
