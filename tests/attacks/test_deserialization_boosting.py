"""LightGBM's and XGBoost's native readers never see a file that leads them out of bounds.

Each hostile file is handled in a child, so that a crash is seen as one.
"""

import warnings
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import lightgbm as lgb
import numpy as np
import pandas as pd
import pytest
import xgboost as xgb

from tests.attacks.deserialization_watch import in_child, watched
from tests.core.boosting_files import LEAF, LINEAR, NONE, TREE, Array, lightgbm, xgboost
from tests.e2e.loader_parts import admitted, trusted
from vault.core import static_stage
from vault.core.allowance import Allowance
from vault.errors import FormatRefused
from vault.loaders import lightgbm as lightgbm_loader
from vault.loaders import xgboost as xgboost_loader

MUTANTS = 150
MANY = 40_000
# Before the libraries are imported: their threads would wait for each other on a busy machine.
ONE_THREAD = "import os\nos.environ['OMP_NUM_THREADS'] = '1'\n"
RNG = np.random.default_rng(0)
ROWS = RNG.normal(size=(200, 4))
ROWS[:, 3] = RNG.integers(0, 70, 200)
TARGET = ROWS[:, 0] + ROWS[:, 1] + (ROWS[:, 3] % 7 == 0)
THREE = np.arange(200) % 3
LIGHT: dict[str, Any] = {"verbose": -1, "num_leaves": 8, "min_data_in_leaf": 2, "num_threads": 1}
CATEGORIES: dict[str, Any] = {"min_data_per_group": 1, "cat_smooth": 0, "max_cat_to_onehot": 1}


def light(**options: Any) -> bytes:
    """Train a small LightGBM model."""
    target = THREE if "num_class" in options else TARGET
    columns = [3] if "max_cat_to_onehot" in options else []
    data = lgb.Dataset(ROWS, target, categorical_feature=columns)
    text: str = lgb.train({**LIGHT, **options}, data, 2).model_to_string()
    return text.encode()


def boost(**options: Any) -> bytes:
    """Train a small XGBoost model."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        kinds = ["q", "q", "q", "c"] if "max_cat_to_onehot" in options else None
        target = THREE if "num_class" in options else TARGET
        data = xgb.DMatrix(ROWS, target, feature_types=kinds, enable_categorical=True)
        return bytes(xgb.train({"max_depth": 4, **options}, data, 2).save_raw("ubj"))


def boost_estimator() -> bytes:
    """Train a classifier on a table with names and categories of text."""
    frame = pd.DataFrame(ROWS, columns=list("abcd"))
    frame["e"] = pd.Categorical(RNG.choice(["x", "yy", "ü"], 200))
    model = xgb.XGBClassifier(n_estimators=2, enable_categorical=True, max_cat_to_onehot=1)
    return xgboost_loader.dump(model.fit(frame, TARGET > 0))[0]


FILES = {
    "lightgbm-categories": lambda: light(**CATEGORIES),
    "lightgbm-classes": lambda: light(objective="multiclass", num_class=3),
    "lightgbm-linear": lambda: light(linear_tree=True),
    "xgboost-categories": lambda: boost(max_cat_to_onehot=1),
    "xgboost-dart": lambda: boost(booster="dart", rate_drop=0.5, objective="multi:softprob", num_class=3),
    "xgboost-linear": lambda: boost(booster="gblinear"),
    "xgboost-pruned": lambda: boost(tree_method="exact", gamma=3.0),
    "xgboost-table": boost_estimator,
}


def mutate(folder: Path, names: Iterable[str], seed: int, count: int) -> dict[str, tuple[int, int]]:
    """Run mutants of files in a child; give for each how many were refused, and how many loaded."""
    for name in names:
        (folder / name).write_bytes(FILES[name]())
    program = ONE_THREAD + "from tests.attacks import boosting_mutations\nboosting_mutations.main()"
    paths = [folder / name for name in names]
    found = {}
    for line in in_child(program, str(seed), str(count), *paths, timeout=60 + count * len(paths)):
        name, _, counted = line.partition(": ")
        if name in names:
            refused, _, loaded, _ = counted.replace(",", "").split()
            found[name] = (int(refused), int(loaded))
    return found


@pytest.fixture(scope="module")
def changed(tmp_path_factory: pytest.TempPathFactory) -> Mapping[str, tuple[int, int]]:
    """Run some mutants of every file, all in one child, whose libraries take longer to import."""
    return mutate(tmp_path_factory.mktemp("changed"), FILES, 0, MUTANTS)


@pytest.mark.parametrize("name", FILES)
def test_changed_files_are_refused_or_run_without_a_crash(
    name: str, changed: Mapping[str, tuple[int, int]]
) -> None:
    refused, loaded = changed[name]
    assert refused + loaded == MUTANTS
    assert min(refused, loaded) > MUTANTS // 20  # the mutator neither breaks everything nor nothing


@pytest.mark.slow
@pytest.mark.parametrize("name", FILES)
def test_many_more_changed_files_do_not_crash(name: str, tmp_path: Path) -> None:
    assert sum(mutate(tmp_path, [name], 1_000_000, MANY)[name]) == MANY


def test_the_mutator_finds_what_the_static_stage_is_for(tmp_path: Path) -> None:
    """Without the static stage the same mutants crash the library: the test above is one that can fail."""
    path = tmp_path / "xgboost-categories"
    path.write_bytes(FILES[path.name]())
    program = (
        f"{ONE_THREAD}import sys\n"
        "from tests.attacks import boosting_mutations as made\n"
        "from vault.core import xgboost_model\n"
        "summary = xgboost_model.check(open(sys.argv[3], 'rb').read())\n"
        "made.xgboost_model.check = lambda data: summary\n"
        "made.main()\n"
    )
    with pytest.raises(AssertionError, match="the child ended with -"):
        in_child(program, "0", str(MUTANTS), path)


CHECK = """
import sys
from tests.attacks import boosting_mutations
for kind, path in zip(sys.argv[1::2], sys.argv[2::2]):
    print(kind, boosting_mutations.attempt(kind, open(path, "rb").read()))
"""
T = "learner/gradient_booster/model/trees/0/"
CRAFTED = {
    "a feature far outside": lightgbm({**TREE, "split_feature": "2147483647 1 2"}),
    "a leaf far outside": lightgbm({**TREE, "right_child": "2 -3 -2000000000"}),
    "a circle of nodes": lightgbm({**TREE, "left_child": "1 0 -2"}),
    "a set of categories far outside": lightgbm({**TREE, "threshold": "0.5 1000000 -1"}),
    "more leaves than values": lightgbm({**TREE, "num_leaves": "100000000"}),
    "a linear leaf's feature far outside": lightgbm({**LINEAR, "leaf_features": "0 99999999   2   "}),
    "a tree far outside": lightgbm(LEAF, sizes="4000000000"),
    "a tree without an equals sign": lightgbm().replace(b"num_leaves=4", b"num_leaves 4"),
    "no trees in an iteration": lightgbm(num_tree_per_iteration="0", num_class="0"),
    "more outputs than the buffer": lightgbm(num_tree_per_iteration="100000"),
    "a parameter without a colon": lightgbm(parameters="[boosting]\n"),
    "a child far outside": xgboost({T + "left_children": Array("l", 2**30, -1, 3, -1, -1, -1, -1)}),
    "a feature beyond the model": xgboost({T + "split_indices": Array("l", 2**30, 0, 1, 0, 0, NONE, NONE)}),
    "a negative category": xgboost({T + "categories": Array("l", -(2**31), 5)}),
    "a huge category": xgboost({T + "categories": Array("l", 2**31 - 1, 5)}),
    "an output far outside": xgboost({"learner/gradient_booster/model/tree_info": [0, 2**30]}),
    "a removed node's parent": xgboost({T + "parents": Array("l", NONE, 0, 0, 2, 2, -(2**30), 1)}),
    "gigabytes of features": xgboost({"learner/learner_model_param/num_feature": "2147483647"}),
    "an estimator to import": xgboost({"learner/attributes": {"scikit_learn": '{"_estimator_type": "os"}'}}),
}


@pytest.mark.parametrize("what", CRAFTED)
def test_crafted_files_are_refused_before_the_library_is_imported(what: str) -> None:
    kind = "lightgbm" if CRAFTED[what].startswith(b"tree\n") else "xgboost"
    view = memoryview(CRAFTED[what])
    path = "model.lgb" if kind == "lightgbm" else "model.ubj"
    with watched() as events, pytest.raises(FormatRefused) as caught:
        static_stage.check(path, kind, view, frozenset(), Allowance(), path)
    assert caught.value.code == "format-content"
    assert not events


def test_the_forms_that_crafted_files_start_from_are_taken_by_the_libraries(tmp_path: Path) -> None:
    for kind, data in (("lightgbm", lightgbm(TREE, LEAF, LINEAR)), ("xgboost", xgboost())):
        (tmp_path / kind).write_bytes(data)
    told = in_child(ONE_THREAD + CHECK, "lightgbm", tmp_path / "lightgbm", "xgboost", tmp_path / "xgboost")
    assert {"lightgbm True", "xgboost True"} <= set(told)


def test_a_load_opens_no_file_and_imports_nothing_from_the_model() -> None:
    for kind, path, data, loader in (
        ("lightgbm", "model.lgb", light(), lightgbm_loader.load),
        ("xgboost", "model.ubj", boost_estimator(), xgboost_loader.load),
    ):
        loader(admitted(path, kind, data))  # imports done
        with watched() as events:
            loader(trusted(path, kind, data))
        assert not [event for event in events if not event.startswith(("import", "ctypes."))]
