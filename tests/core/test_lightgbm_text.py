"""The static stage of LightGBM's text files: what LightGBM writes passes, what crashes it does not."""

from typing import Any

import pytest

from tests.core.boosting_files import HEADER, LEAF, LINEAR, PARAMETERS, TREE, lightgbm, xgboost
from vault.core import formats, lightgbm_text, limits, static_stage
from vault.core.allowance import Allowance
from vault.errors import FormatRefused


def refusal(data: bytes) -> str:
    with pytest.raises(FormatRefused) as caught:
        lightgbm_text.check(data, subject="m.lgb")
    assert (caught.value.code, caught.value.subject) == ("format-content", "m.lgb")
    return caught.value.message


def test_what_lightgbm_writes_is_understood() -> None:
    found = lightgbm_text.check(lightgbm(TREE, LEAF, LINEAR))
    assert found == lightgbm_text.Summary("v4", "regression", ("a", "b=c", "é/x"), 1, 3)
    assert lightgbm_text.check(memoryview(lightgbm())).trees == 1


@pytest.mark.parametrize(
    "header",
    [
        {"objective": "absent", "average_output": "absent", "monotone_constraints": "absent"},
        {"version": "v3"},
        {"objective": "tweedie tweedie_variance_power:1.5"},
        {"objective": "regression sqrt"},
        {"feature_infos": "none none none"},
    ],
)
def test_lines_that_other_models_have_or_lack_are_known(header: dict[str, str]) -> None:
    assert lightgbm_text.check(lightgbm(**header)).trees == 1


def test_a_model_of_several_classes_has_a_tree_for_each_in_every_iteration() -> None:
    header = {"num_class": "2", "num_tree_per_iteration": "2"}
    for objective in ("multiclass num_class:2", "multiclassova num_class:2 sigmoid:1", "custom", "absent"):
        assert lightgbm_text.check(lightgbm(TREE, LEAF, objective=objective, **header)).classes == 2
    assert "not complete" in refusal(lightgbm(TREE, objective="multiclass num_class:2", **header))
    for objective in ("multiclass num_class:3", "multiclass", "binary sigmoid:1"):
        assert "number of classes" in refusal(lightgbm(TREE, LEAF, objective=objective, **header))
    assert "trees in an iteration" in refusal(lightgbm(num_class="2"))


def test_older_trees_say_nothing_about_linear_models() -> None:
    tree = {key: value for key, value in TREE.items() if key != "is_linear"}
    assert lightgbm_text.check(lightgbm(tree)).trees == 1


def test_the_command_line_writes_no_categories() -> None:
    assert lightgbm_text.check(lightgbm(categories=None)).trees == 1
    assert lightgbm_text.check(lightgbm(categories="null")).trees == 1


@pytest.mark.parametrize(
    ("header", "told"),
    [
        ({"version": "v2"}, "v3 or v4"),
        ({"version": "absent"}, "not complete"),
        ({"tree_sizes": "1"}, "unknown line"),
        ({"parser": "x"}, "unknown line"),
        ({"average_output": "1"}, "unknown line"),
        ({"num_class": None}, "unknown line"),
        ({"num_class": "-1"}, "out of range"),
        ({"num_class": "0"}, "trees in an iteration"),
        ({"max_feature_idx": "3"}, "number of features"),
        ({"max_feature_idx": "9999999"}, "out of range"),
        ({"label_index": "x"}, "malformed"),
        ({"feature_names": "a b b"}, "no names"),
        ({"feature_names": "a  b"}, "no names"),
        ({"feature_names": "a b"}, "number of features"),
        ({"feature_names": 'a "b c'}, "no names"),
        ({"feature_infos": "none none"}, "features' values"),
        ({"feature_infos": "[1] none none"}, "features' values"),
        ({"monotone_constraints": "1 0"}, "monotone"),
        ({"monotone_constraints": "1 0 2"}, "monotone"),
        ({"objective": "unheard"}, "objective"),
        ({"objective": "regression sqrt:"}, "objective"),
    ],
)
def test_a_header_that_lightgbm_does_not_write_is_refused(header: dict[str, Any], told: str) -> None:
    assert told in refusal(lightgbm(**header))


def test_names_are_utf8() -> None:
    assert "UTF-8" in refusal(lightgbm().replace("é/x".encode(), b"\xff/x"))


@pytest.mark.parametrize(
    ("sizes", "told"),
    [
        ("", "no trees"),
        ("0", "no trees"),
        ("7", "another size"),
        ("7 9", "another size"),
        ("99999999999", "no trees"),
    ],
)
def test_the_sizes_of_trees_are_those_of_the_trees(sizes: str, told: str) -> None:
    assert told in refusal(lightgbm(sizes=sizes))


CHAIN = {
    **LINEAR,
    "num_leaves": "1026",
    "is_linear": "0",
    **dict.fromkeys(("split_feature", "split_gain", "threshold"), " ".join(["0"] * 1025)),
    **dict.fromkeys(("internal_value", "internal_weight", "internal_count"), " ".join(["0"] * 1025)),
    **dict.fromkeys(("leaf_value", "leaf_weight", "leaf_count"), " ".join(["0"] * 1026)),
    "decision_type": " ".join(["2"] * 1025),
    "left_child": " ".join([*map(str, range(1, 1025)), "-1"]),
    "right_child": " ".join(map(str, range(-2, -1027, -1))),
}
for name in ("leaf_const", "num_features", "leaf_features", "leaf_coeff"):
    del CHAIN[name]


@pytest.mark.parametrize(
    ("tree", "told"),
    [
        ({**TREE, "num_leaves": "0"}, "no valid num_leaves"),
        ({**TREE, "num_leaves": "2147483648"}, "no valid num_leaves"),
        ({**TREE, "num_leaves": "5"}, "malformed line"),
        ({**TREE, "num_cat": "4"}, "no valid num_cat"),
        ({**TREE, "num_cat": "-1"}, "no valid num_cat"),
        ({**TREE, "num_cat": "0"}, "missing or unknown fields"),
        ({**TREE, "surplus": "0"}, "missing or unknown fields"),
        ({**TREE, "shrinkage": "x"}, "no shrinkage"),
        ({**TREE, "is_linear": "2"}, "no valid is_linear"),
        ({**TREE, "split_gain": "1 2"}, "malformed line split_gain"),
        ({**TREE, "split_gain": "1  2"}, "malformed line split_gain"),
        ({**TREE, "leaf_value": "1 2 3 x"}, "malformed line leaf_value"),
        ({**TREE, "leaf_count": ""}, "malformed line leaf_count"),
        ({**TREE, "left_child": "1 -1 3"}, "out of range"),
        ({**TREE, "left_child": "1 -1 -1"}, "two parents"),
        ({**TREE, "left_child": "0 -1 -2"}, "out of range"),
        ({**TREE, "left_child": "-1 1 -2", "right_child": "2 -3 -4"}, "above its parent"),
        ({**TREE, "split_feature": "0 1 3"}, "feature that the model does not have"),
        ({**TREE, "split_feature": "0 1 -1"}, "feature that the model does not have"),
        ({**TREE, "decision_type": "2 1 12"}, "kind of decision"),
        ({**TREE, "decision_type": "2 1 -1"}, "kind of decision"),
        ({**TREE, "threshold": "0.5 1 -1"}, "without a set"),
        ({**TREE, "threshold": "0.5 0.0 -1"}, "without a set"),
        ({**TREE, "decision_type": "2 2 8"}, "without a set"),
        ({**TREE, "cat_boundaries": "0 3"}, "malformed line cat_threshold"),
        ({**TREE, "cat_boundaries": "1 2"}, "overlap"),
        ({**TREE, "cat_boundaries": "0 0"}, "overlap"),
        ({**TREE, "cat_threshold": "12 4294967296"}, "no bit set"),
        ({**TREE, "cat_threshold": "12 -1"}, "no bit set"),
        ({**LINEAR, "num_features": "2 0 -1 2"}, "negative"),
        ({**LINEAR, "leaf_features": "0 1   3   "}, "leaf with a feature"),
        ({**LINEAR, "leaf_features": "0 1   "}, "malformed line leaf_features"),
        ({**LINEAR, "leaf_coeff": "0.5 x   2   "}, "malformed line leaf_coeff"),
        ({**LEAF, "leaf_value": "1 2"}, "malformed line leaf_value"),
        ({**LEAF, "threshold": "1"}, "malformed line threshold"),
        (CHAIN, "deeper than"),
    ],
    ids=lambda part: part if isinstance(part, str) else "",
)
def test_a_tree_that_would_lead_lightgbm_astray_is_refused(tree: dict[str, str], told: str) -> None:
    message = refusal(lightgbm(LEAF, tree))
    assert "tree 1 " in message
    assert told in message


def test_a_leaf_without_features_has_no_linear_model() -> None:
    tree = {**LINEAR, "num_features": "0 0 0 0", "leaf_features": "    ", "leaf_coeff": "    "}
    assert lightgbm_text.check(lightgbm(tree)).trees == 1


def test_a_long_path_is_allowed_up_to_the_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "TREE_DEPTH", 1_025)
    assert lightgbm_text.check(lightgbm(CHAIN)).trees == 1


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        (b"Tree=0\n", b"Tree=1\n", "not where it should be"),
        (b"num_cat=1\n", b"num_cat\n", "malformed"),
        (b"num_cat=1\n", b"num_leaves=1\n", "malformed"),
        (b"end of trees\n\n", b"end of trees\nx\n", "something else than trees"),
        (b"end of trees", b"end of  tree", "something else than trees"),
        (b"feature_importances:", b"feature_importance:", "importances are missing"),
        (b"\nparameters:", b"\nparser:", "parameters are missing"),
        (b"end of parameters\n", b"end of params\n", "no end"),
        (b"\npandas_categorical", b"x\npandas_categorical", "something unknown"),
        (b"pandas_categorical", b"polars_categorical", "something unknown"),
        (b"tree\nversion", b"tree \nversion", "does not begin"),
    ],
)
def test_what_is_between_and_after_the_trees_is_known(old: bytes, new: bytes, told: str) -> None:
    assert told in refusal(lightgbm().replace(old, new, 1))


def test_a_tree_has_no_more_lines_than_lightgbm_reads() -> None:
    surplus = {f"x{number}": "1" for number in range(10)}
    assert "malformed" in refusal(lightgbm({**TREE, **surplus}))


def test_nothing_follows_the_end() -> None:
    assert "something unknown" in refusal(lightgbm() + b"x\n")
    for data in (lightgbm()[:-1], lightgbm()[:100], b""):
        assert "ends in the middle" in refusal(data)


@pytest.mark.parametrize("importances", ["z=1\n", "a=x\n", "a=-1\n", "a\n"])
def test_importances_belong_to_features(importances: str) -> None:
    assert "importances are malformed" in refusal(lightgbm(importances=importances))


@pytest.mark.parametrize(
    "line", ["boosting: gbdt", "[boosting]", '[boosting: "x"]', "[boosting: a:b]", "[a: 1]\n[a: 1]", "[A: 1]"]
)
def test_parameters_are_as_lightgbm_splits_them(line: str) -> None:
    assert "parameter is malformed" in refusal(lightgbm(parameters=line + "\n"))


@pytest.mark.parametrize(
    "name", ["data", "valid", "input_model", "forcedsplits_filename", "machine_list_filename", "machines"]
)
def test_a_parameter_that_names_a_file_or_a_machine_is_refused(name: str) -> None:
    assert lightgbm_text.check(lightgbm(parameters=f"[{name}: ]\n")).trees == 1
    assert f"parameter {name} names" in refusal(lightgbm(parameters=f"[{name}: secret]\n"))
    assert "malformed" in refusal(lightgbm(parameters=f"[{name}: /etc/passwd]\n"))


@pytest.mark.parametrize(
    ("categories", "told"),
    [("[", "no JSON"), ("NaN", "no JSON"), ("1", "no lists"), ("[1]", "no lists"), ("[[[]]]", "no lists")],
)
def test_categories_are_lists_of_scalars(categories: str, told: str) -> None:
    assert told in refusal(lightgbm(categories=categories))


def test_trees_and_linear_models_have_limits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "TREE_NUMBERS", 2)
    assert lightgbm_text.check(lightgbm(TREE)).trees == 1
    assert "larger linear models" in refusal(lightgbm(LINEAR))
    monkeypatch.setattr(limits, "TREE_NUMBERS", 1)
    assert "larger sets of categories" in refusal(lightgbm(TREE))
    monkeypatch.undo()
    monkeypatch.setattr(limits, "JSON_ITEMS", 2)
    assert "more categories" in refusal(lightgbm(categories="[[1,2],[3,4]]"))
    monkeypatch.undo()
    monkeypatch.setattr(limits, "BOOSTER_PARAMETERS", 2)
    assert "one too many" in refusal(lightgbm())
    monkeypatch.undo()
    monkeypatch.setattr(limits, "BOOSTER_TREES", 2)
    assert lightgbm_text.check(lightgbm(LEAF, LEAF)).trees == 2
    assert "more than the limit" in refusal(lightgbm(LEAF, LEAF, LEAF))
    monkeypatch.setattr(limits, "TREE_LEAVES", 3)
    assert "no valid num_leaves" in refusal(lightgbm(TREE))


def test_every_truncation_is_refused() -> None:
    data = lightgbm(TREE, LINEAR)
    ends = [size for size in range(0, len(data), 7) if data[:size] != lightgbm(TREE, LINEAR, categories=None)]
    for size in ends:
        refusal(data[:size])
    assert len(ends) > 100


def test_the_parts_of_the_sample_are_those_of_the_format() -> None:
    assert [*HEADER] == [key.decode() for key in lightgbm_text._HEADER if key != b"tree_sizes"]
    assert PARAMETERS.count("[") == 5


def test_the_static_stage_checks_both_kinds_of_files() -> None:
    for kind, data, cut in (("lightgbm", lightgbm(), -2), ("xgboost", xgboost(), -1)):
        assert static_stage.observe(kind, data, Allowance(), "m") == frozenset()
        with pytest.raises(FormatRefused):
            static_stage.observe(kind, data[:cut], Allowance(), "m")


def test_a_file_under_another_extension_is_refused_with_the_right_one() -> None:
    for path, data, named in (("model.txt", lightgbm(), ".lgb"), ("model.bin", xgboost(), ".ubj")):
        with pytest.raises(FormatRefused) as caught:
            formats.classify(path, data)
        assert named in caught.value.hint
    with pytest.raises(FormatRefused) as caught:
        formats.classify("model.ubj", b"binf")
    assert "()" not in caught.value.hint
