"""The static stage of XGBoost's UBJSON files: what prediction would index with is in range."""

import struct
from typing import Any

import pytest

from tests.core.boosting_files import ABSENT, MODEL, NONE, Array, changed, tree, ubjson, xgboost
from vault.core import limits, xgboost_model
from vault.core import ubjson as reader
from vault.errors import FormatRefused

L = "learner/"
P = "learner/learner_model_param/"
G = "learner/gradient_booster/"
M = "learner/gradient_booster/model/"
T = "learner/gradient_booster/model/trees/1/"


def refusal(data: bytes) -> str:
    with pytest.raises(FormatRefused) as caught:
        xgboost_model.check(data, subject="m.ubj")
    assert (caught.value.code, caught.value.subject) == ("format-content", "m.ubj")
    return caught.value.message


def test_what_xgboost_writes_is_understood() -> None:
    found = xgboost_model.check(memoryview(xgboost()))
    assert found == xgboost_model.Summary("reg:squarederror", "gbtree", 3, 1, 2, "regressor", (3, 2, 0))
    assert xgboost().startswith(xgboost_model.SIGNATURE)


MULTI = {P + "num_class": "2", P + "base_score": "[0E0,-1.5E+2]", M + "tree_info": [0, 1],
         M + "iteration_indptr": ABSENT,
         L + "objective": {"name": "multi:softprob", "softmax_multiclass_param": {"num_class": "2"}},
         L + "attributes": {"best_iteration": "0"}}  # fmt: skip
DART = {"gbtree": MODEL["learner"]["gradient_booster"], "name": "dart", "weight_drop": [1.0, 0.5]}
LINEAR = {"model": {"boosted_rounds": 2, "weights": Array("d", 1, 2, 3, 4)}, "name": "gblinear"}


@pytest.mark.parametrize(
    "changes",
    [
        {"version": [1, 6, 0], P + "num_target": ABSENT, P + "boost_from_average": ABSENT},
        {M + "cats": ABSENT},
        {P + "base_score": "5E-1", L + "attributes": {}, L + "feature_names": [], L + "feature_types": []},
        {L + "feature_names": Array("l")},
        MULTI,
        {P + "num_target": "2", M + "tree_info": Array("l", 0, 1), M + "iteration_indptr": Array("l", 0, 2),
         L + "attributes": {"other": "x"}},
        {L + "gradient_booster": DART},
        {L + "gradient_booster": LINEAR},
        {L + "gradient_booster": changed({"model/boosted_rounds": ABSENT}, LINEAR), L + "attributes": {}},
        {L + "objective": {"name": "rank:ndcg", "ti+": Array("d", 1, 2), "lambdarank_param": {}}},
        {M + "cats": {"enc": [], "feature_segments": Array("l"), "sorted_idx": Array("l")}},
        {M + "gbtree_model_param/size_leaf_vector": "0"},
        {T + "tree_param/size_leaf_vector": "0"},
        {T + "parents": Array("l", -1, 0, 0, 2, 2, 1, 1)},
    ],
)  # fmt: skip
def test_other_models_are_understood_too(changes: dict[str, Any]) -> None:
    assert xgboost_model.check(xgboost(changes)).features == 3


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"learner": ABSENT}, "missing or unknown fields"),
        ({"config": {}}, "missing or unknown fields"),
        ({"version": [4, 0, 0]}, "version 4.0.0"),
        ({"version": [1, 5, 0]}, "version 1.5.0"),
        ({"version": [3, 2]}, "version"),
        ({"version": ["3", 2, 0]}, "something else than integers"),
        ({"version": "3.2.0"}, "no list"),
        ({L + "attributes": []}, "attributes are no object"),
        ({L + "attributes": {"a": 1}}, "no text"),
        ({L + "attributes": {"best_iteration": "2"}}, "best iteration"),
        ({L + "attributes": {"best_iteration": "-1"}}, "best_iteration"),
        ({L + "attributes": {"scikit_learn": "{"}}, "no JSON"),
        ({L + "attributes": {"scikit_learn": "[]"}}, "no kind of estimator"),
        ({L + "attributes": {"scikit_learn": '{"_estimator_type": "os"}'}}, "no kind of estimator"),
        ({L + "attributes": {"scikit_learn": '{"_estimator_type": []}'}}, "no kind of estimator"),
        ({L + "attributes": {"scikit_learn": '{"_estimator_type": "ranker", "a": 1}'}}, "no kind"),
        ({L + "feature_names": ["a"]}, "1 feature_names for 3"),
        ({L + "feature_names": ["a", "b", 3]}, "no text"),
        ({L + "feature_types": ["float", "int", "x"]}, "type is 'x'"),
        ({L + "objective": []}, "objective is no object"),
        ({L + "objective": {"name": "reg:unheard"}}, "objective 'reg:unheard'"),
        ({L + "objective": {"name": "rank:map", "more": 1}}, "unknown part 'more'"),
        ({L + "objective": {"name": "reg:gamma", "ti+": Array("d", 1)}}, "unknown part 'ti+'"),
        ({L + "objective": {"name": "reg:gamma", "reg_loss_param": {"x": 1}}}, "no text"),
        ({P + "num_class": "2"}, "objective without"),
        ({**MULTI, P + "num_class": "3", P + "base_score": "5E-1"}, "number of classes"),
        ({**MULTI, P + "num_target": "2"}, "several classes and several targets"),
        ({**MULTI, P + "num_class": "0", P + "base_score": "0", L + "objective": {"name": "multi:softmax",
          "softmax_multiclass_param": {"num_class": "0"}}}, "number of classes"),
        ({P + "num_target": "0"}, "or none"),
        ({P + "num_target": "3"}, "fewer trees than outputs"),
        ({P + "num_feature": "9999999999"}, "num_feature"),
        ({P + "num_feature": "03"}, "num_feature"),
        ({P + "num_feature": "2"}, "for 2 features"),
        ({P + "boost_from_average": "2"}, "boost_from_average"),
        ({P + "base_score": "[1,2]"}, "for each output"),
        ({P + "base_score": "x"}, "no number"),
        ({P + "base_score": "1" * 60}, "no number"),
        ({G + "name": "gpu"}, "not gbtree"),
        ({L + "gradient_booster": []}, "not gbtree"),
        ({L + "gradient_booster": {**DART, "weight_drop": [1.0]}}, "no weight for each tree"),
        ({L + "gradient_booster": {**DART, "weight_drop": [1.0, 1]}}, "no weight for each tree"),
        ({L + "gradient_booster": {**DART, "gbtree": DART}}, "missing or unknown fields"),
        ({L + "gradient_booster": changed({"gbtree/name": "gblinear"}, DART)}, "no weight for each tree"),
        ({L + "gradient_booster": changed({"model/weights": Array("d", 1)}, LINEAR)}, "type or length"),
        ({L + "gradient_booster": changed({"model/weights": Array("l", 1, 2, 3, 4)}, LINEAR)}, "type or"),
        ({L + "gradient_booster": changed({"model/boosted_rounds": "1"}, LINEAR)}, "else than integers"),
        ({M + "gbtree_model_param/num_trees": "3"}, "number of trees"),
        ({M + "tree_info": [0]}, "number of trees"),
        ({M + "tree_info": [0, 1]}, "belongs to no output"),
        ({M + "gbtree_model_param/num_parallel_tree": "0"}, "belongs to no output"),
        ({M + "iteration_indptr": []}, "do not cover"),
        ({M + "iteration_indptr": [0, 1]}, "do not cover"),
        ({M + "iteration_indptr": [1, 2]}, "do not cover"),
        ({M + "iteration_indptr": [0, 2, 1, 2]}, "do not cover"),
    ],
)  # fmt: skip
def test_a_learner_that_is_not_as_xgboost_writes_it_is_refused(changes: dict[str, Any], told: str) -> None:
    assert told in refusal(xgboost(changes))


@pytest.mark.parametrize(
    ("part", "value", "told"),
    [
        ("id", 0, "another number"),
        ("tree_param/num_feature", "2", "other features"),
        ("tree_param/num_nodes", "6", "type or length"),
        ("tree_param/num_deleted", "1", "nothing refers to"),
        ("tree_param/num_deleted", "8", "num_deleted"),
        ("tree_param/size_leaf_vector", "2", "vectors"),
        ("sum_hessian", Array("d", 1), "type or length"),
        ("sum_hessian", Array("D", *[1] * 7), "type or length"),
        ("left_children", Array("l", 7, -1, 3, -1, -1, -1, -1), "out of range"),
        ("left_children", Array("l", 6, -1, 3, -1, -1, -1, -1), "out of range"),
        ("left_children", Array("l", 0, -1, 3, -1, -1, -1, -1), "out of range"),
        ("left_children", Array("l", -2, -1, 3, -1, -1, -1, -1), "out of range"),
        ("left_children", Array("l", -1, -1, 3, -1, -1, -1, -1), "out of range"),
        ("left_children", Array("l", 1, 1, 3, -1, -1, -1, -1), "out of range"),
        ("right_children", Array("l", 3, -1, 4, -1, -1, -1, -1), "out of range"),
        ("parents", Array("l", 0, 0, 0, 2, 2, 1, 1), "no root"),
        ("parents", Array("l", NONE, 1, 0, 2, 2, 1, 1), "two parents"),
        ("parents", Array("l", NONE, 0, 0, 2, 1, 1, 1), "two parents"),
        ("parents", Array("l", NONE, 0, 0, 2, 2, 9, 1), "refers to another"),
        ("left_children", Array("l", 1, -1, 3, -1, -1, 1, -1), "refers to another"),
        ("default_left", Array("U", 2, 1, 0, 0, 0, 1, 1), "default direction"),
        ("default_left", Array("U", 0, 1, 0, 0, 0, 1, 0), "nothing refers to"),
        ("split_indices", Array("l", 3, 0, 1, 0, 0, NONE, NONE), "feature that the model"),
        ("split_indices", Array("l", -1, 0, 1, 0, 0, NONE, NONE), "feature that the model"),
        ("split_indices", Array("l", 2, 0, 1, 0, 0, 0, NONE), "nothing refers to"),
        ("split_type", Array("U", 2, 0, 0, 0, 0, 0, 0), "other nodes"),
        ("split_type", Array("U", 1, 1, 0, 0, 0, 0, 0), "other nodes"),
        ("categories_nodes", Array("l", 1), "other nodes"),
        ("categories_segments", Array("L", 1), "overlap"),
        ("categories_sizes", Array("L", 0), "overlap"),
        ("categories_sizes", Array("L", 3), "overlap"),
        ("categories_sizes", Array("L", 1), "belong to no node"),
        ("categories_sizes", Array("L"), "type or length"),
        ("categories", Array("l", -1, 5), "category that is out of range"),
        ("categories", Array("l", 1, 1 << 24), "category that is out of range"),
        ("leaf_weights", Array("d"), "missing or unknown fields"),
    ],
)
def test_a_tree_that_would_lead_xgboost_astray_is_refused(part: str, value: Any, told: str) -> None:
    assert told in refusal(xgboost({T + part: value}))


def test_a_node_has_one_parent() -> None:
    circle = {
        "left_children": Array("l", 1, 3, 3, -1, -1, -1, -1),
        "right_children": Array("l", 2, 4, 4, -1, -1, -1, -1),
    }
    assert "two parents" in refusal(xgboost({T + part: value for part, value in circle.items()}))
    empty = {
        **tree(1),
        **{name: Array(entry.kind) for name, entry in tree().items() if isinstance(entry, Array)},
    }
    empty["tree_param"] = {"num_deleted": "0", "num_feature": "3", "num_nodes": "0", "size_leaf_vector": "1"}
    assert "no root" in refusal(xgboost({M + "trees/1": empty}))


def test_paths_and_sets_of_categories_have_limits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "TREE_DEPTH", 2)
    assert "deeper than" in refusal(xgboost())
    monkeypatch.undo()
    monkeypatch.setattr(limits, "CATEGORY_BITS_BYTES", 7)
    assert "larger than the limit" in refusal(xgboost())


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"enc": []}, "do not belong"),
        ({"feature_segments": Array("l", 0, 0, 2)}, "do not belong"),
        ({"sorted_idx": Array("l", 1, 0, 0)}, "do not belong"),
        ({"sorted_idx": Array("l", 1, 1, 0, 1)}, "not in an order"),
        ({"sorted_idx": Array("l", 1, 0, 0, 9)}, "not in an order"),
        ({"enc/2/offsets": Array("l", 0, 3, 1)}, "overlap"),
        ({"enc/2/offsets": Array("l", 1, 2, 3)}, "overlap"),
        ({"enc/2/offsets": Array("l", 0, 1, 9)}, "run past"),
        ({"enc/2": {"offsets": Array("l"), "values": Array("i", 1)}}, "run past"),
        ({"enc/1/type": 9}, "another kind"),
        ({"enc/1/type": "15"}, "neither texts"),
        ({"enc/1/values": Array("d", 1, 2)}, "neither texts"),
        ({"enc/1/values": [7, 9]}, "neither texts"),
        ({"enc/1": {"values": []}}, "missing or unknown fields"),
    ],
)
def test_the_names_of_categories_belong_to_the_features(changes: dict[str, Any], told: str) -> None:
    assert told in refusal(xgboost({f"{M}cats/{part}": value for part, value in changes.items()}))


# --- UBJSON ---


def test_ubjson_is_read_as_it_was_written() -> None:
    value = {"a": [1, -1, 300, 2.5, True, False, None, "é", {}, []], "": Array("l", 1, -2)}
    found = reader.parse(ubjson(value))
    assert isinstance(found, dict)
    numbers = found.pop("")
    assert isinstance(numbers, reader.Numbers)
    assert (numbers.kind, numbers.count, numbers.unpack()) == ("l", 2, (1, -2))
    assert found == {"a": value["a"]}
    for letter, form in (("U", "B"), ("I", ">h"), ("L", ">q"), ("D", ">d")):
        assert reader.parse(letter.encode() + struct.pack(form, 7)) == 7


SIZE = b"\0\0\0\0\0\0\0\x01"


@pytest.mark.parametrize(
    ("data", "told"),
    [
        (b"", "ends in the middle"),
        (b"{", "ends in the middle"),
        (b"l\0\0", "ends in the middle"),
        (b"{}x", "follows its end"),
        (b"{i\x01ai\x01}", "key has no length"),
        (b"{L" + SIZE + b"ai\x01L" + SIZE + b"ai\x02}", "twice"),
        (b"{L\xff\0\0\0\0\0\0\x01a", "past the end"),
        (b"Si\x01a", "text has no length"),
        (b"SL" + SIZE + b"\xff", "not UTF-8"),
        (b"N", "does not write"),
        (b"[]", "no count"),
        (b"[#i\x01T", "no count"),
        (b"[$", "ends in the middle"),
        (b"[$S#L" + SIZE + b"a", "holds no numbers"),
        (b"[$l#L" + SIZE + b"\0", "ends in the middle"),
        (b"[$l#L\0\0\0\0\0\0\0\x09aaa", "past the end"),
        (b"[#L\x7f" + bytes(7) + b"T", "past the end"),
    ],
)
def test_other_ubjson_is_refused(data: bytes, told: str) -> None:
    with pytest.raises(FormatRefused, match=told):
        reader.parse(data)


def test_ubjson_has_limits(monkeypatch: pytest.MonkeyPatch) -> None:
    deep: list[Any] = []
    for _ in range(limits.UBJSON_DEPTH + 1):
        deep = [deep]
    with pytest.raises(FormatRefused, match="deeper"):
        reader.parse(ubjson(deep))
    monkeypatch.setattr(limits, "UBJSON_ITEMS", 3)
    assert reader.parse(ubjson([1, 2])) == [1, 2]
    with pytest.raises(FormatRefused, match="larger"):
        reader.parse(ubjson([1, 2, 3]))


def test_every_truncation_is_refused() -> None:
    data = xgboost()
    for size in range(0, len(data), 3):
        refusal(data[:size])
