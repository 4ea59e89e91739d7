"""LightGBM and XGBoost through their own files: saved, promoted, loaded elsewhere, with the same bits."""

import subprocess
import sys
import warnings
from functools import cache
from pathlib import Path
from typing import Any

import lightgbm as lgb
import numpy as np
import pandas as pd
import pytest
import xgboost as xgb

from tests.builders import Built, solo
from tests.e2e.loader_parts import admitted, prices, trusted
from vault.actions import loading, packing, promote, saving
from vault.core import formats, names
from vault.errors import FeatureMismatch, FormatRefused
from vault.loaders import lightgbm, xgboost
from vault.policyfile import shipped

TABLE, TARGET = prices()
SIDE = TARGET > 0
LABEL = np.where(SIDE, "up", "down")
QUARTER = np.digitize(TARGET, np.quantile(TARGET, [0.3, 0.6]))
FRAME = pd.DataFrame({"price": TABLE[:, 0], "sector": pd.Categorical(np.where(SIDE, "bank", "hydro"))})
CLOSED = shipped("solo").replace("lightgbm, xgboost, ", "")
LIGHT: dict[str, Any] = {"n_estimators": 5, "num_leaves": 7, "verbose": -1, "n_jobs": 1}
BOOST: dict[str, Any] = {"n_estimators": 5, "max_depth": 3, "n_jobs": 1}


@cache
def vaults() -> Built:
    return solo(seed="boosting")


def saved(model: Any, rows: Any, **options: Any) -> loading.LoadedPackage:
    """Save to dev, promote, and load from prod as another client does."""
    built = vaults().fork()
    described = saving.Description(sample_input=rows, **options.pop("described", {}))
    settings = {"format": "auto", "also": None, "tolerance": 0.0, **options}
    ref = saving.save(built.session(), names.model("m"), model, None, described, **settings)
    promote.promote(built.session(), ref, names.environment("prod"), names.MAIN)
    return loading.load_package(built.session(env="prod"), names.reference("m@prod"), {})


# --- LightGBM ---


@pytest.mark.parametrize(
    "label", [LABEL, SIDE, QUARTER, QUARTER * 10 - 5], ids=["text", "bool", "three", "far"]
)
def test_a_lightgbm_classifier_comes_back_with_its_labels(label: Any) -> None:
    model = lgb.LGBMClassifier(**LIGHT).fit(TABLE, label)
    package = saved(model, TABLE)
    assert package.files["model.lgb"]["format"] == "lightgbm"
    assert package.metadata["parity"] == {"lightgbm": {"differing": 0.0, "rows": 1000, "weak": False}}
    found = package.model
    assert isinstance(found, lightgbm.LightGbmModel)
    assert found.classes_.tolist() == model.classes_.tolist()
    assert (found.predict(TABLE) == model.predict(TABLE)).all()
    assert (found.predict_proba(TABLE) == model.predict_proba(TABLE)).all()
    assert (found.predict(TABLE, raw_score=True) == model.predict(TABLE, raw_score=True)).all()
    assert found.n_features_in_ == 6
    assert not hasattr(found, "feature_names_in_")


def test_a_lightgbm_regressor_with_categories_comes_back() -> None:
    model = lgb.LGBMRegressor(min_data_per_group=5, **LIGHT).fit(FRAME, TARGET)
    found = saved(model, FRAME).model
    assert (found.predict(FRAME) == model.predict(FRAME)).all()
    assert found.feature_names_in_.tolist() == ["price", "sector"]
    assert (found.booster.feature_importance() == model.booster_.feature_importance()).all()
    assert "features=2" in repr(found)
    assert not hasattr(found, "predict_proba")
    with pytest.raises(FeatureMismatch):
        found.predict(FRAME[["sector", "price"]])


def test_names_with_blanks_are_those_of_the_frame() -> None:
    frame = pd.DataFrame(TABLE[:, :2], columns=["close price", "volume"])
    found = saved(lgb.LGBMRegressor(**LIGHT).fit(frame, TARGET), frame).model
    assert found.predict(frame).shape == TARGET.shape


@pytest.mark.parametrize("options", [{"linear_tree": True}, {"boosting": "dart"}, {"objective": "binary"}])
def test_a_lightgbm_booster_says_what_the_booster_said(options: dict[str, Any]) -> None:
    target = SIDE if "objective" in options else TARGET
    model = lgb.train({"verbose": -1, "num_threads": 1, **options}, lgb.Dataset(TABLE, target), 5)
    found = saved(model, TABLE).model
    assert (found.predict(TABLE) == model.predict(TABLE)).all()
    if "linear_tree" in options:
        return  # LightGBM has no contributions for linear models
    assert (found.predict(TABLE, pred_contrib=True) == model.predict(TABLE, pred_contrib=True)).all()


def test_an_early_stop_is_kept() -> None:
    model = lgb.LGBMRegressor(**{**LIGHT, "n_estimators": 200})
    model.fit(
        TABLE[:200], TARGET[:200], eval_set=[(TABLE[200:], -TARGET[200:])], callbacks=[lgb.early_stopping(2)]
    )
    found = saved(model, TABLE).model
    assert found.booster.num_trees() == model.best_iteration_ < 200
    assert (found.predict(TABLE) == model.predict(TABLE)).all()


def test_what_lightgbm_cannot_bring_back_is_not_published() -> None:
    def squared(truth: Any, guess: Any) -> tuple[Any, Any]:
        return guess - truth, np.ones_like(guess)

    model = lgb.LGBMClassifier(objective=squared, **LIGHT).fit(TABLE, SIDE)
    with pytest.raises(ValueError, match="objective is a function"):
        lightgbm.dump(model, [False, True])
    with pytest.raises(ValueError, match="labels cannot be recorded"):
        lightgbm.dump(model, None)
    with pytest.raises(ValueError, match="no LightGBM model"):
        lightgbm.dump(TABLE, None)
    with pytest.raises(ValueError, match=r"not loaded.*names a file"):
        lightgbm.dump(lgb.train({"verbose": -1, "data": "train"}, lgb.Dataset(TABLE, TARGET), 1), None)
    with pytest.raises(FormatRefused, match="would have to be a pickle"):
        saved(lgb.LGBMClassifier(), None)


def test_a_classifier_as_an_artifact_would_lose_its_labels() -> None:
    model = lgb.LGBMClassifier(**LIGHT).fit(TABLE, LABEL)
    with pytest.raises(ValueError, match="labels cannot be recorded"):
        saved(lgb.LGBMRegressor(**LIGHT).fit(TABLE, TARGET), TABLE, described={"artifacts": {"gate": model}})


def test_labels_and_file_fit_together() -> None:
    data, _ = lightgbm.dump(lgb.LGBMClassifier(**LIGHT).fit(TABLE, LABEL), ["down", "up"])
    with pytest.raises(FormatRefused, match="3 labels"):
        lightgbm.load(admitted("m.lgb", "lightgbm", data), classes=["a", "b", "c"])
    with pytest.raises(FormatRefused, match="LightGBM does not read it"):
        lightgbm.load(trusted("m.lgb", "lightgbm", b"tree\nversion=v9\n"))
    with pytest.raises(TypeError, match="Admitted"):
        lightgbm.load(data)  # type: ignore[arg-type]


# --- XGBoost ---


@pytest.mark.parametrize("target", [SIDE, QUARTER], ids=["two", "three"])
def test_an_xgboost_classifier_comes_back_itself(target: Any) -> None:
    model = xgb.XGBClassifier(**BOOST).fit(TABLE, target)
    package = saved(model, TABLE)
    assert package.files["model.ubj"]["format"] == "xgboost"
    found = package.model
    assert type(found) is xgb.XGBClassifier
    assert found.classes_.tolist() == model.classes_.tolist()
    assert (found.predict(TABLE) == model.predict(TABLE)).all()
    assert (found.predict_proba(TABLE) == model.predict_proba(TABLE)).all()
    assert (found.feature_importances_ == model.feature_importances_).all()


def test_an_xgboost_regressor_with_categories_comes_back() -> None:
    model = xgb.XGBRegressor(enable_categorical=True, max_cat_to_onehot=1, **BOOST).fit(FRAME, TARGET)
    found = saved(model, FRAME).model
    assert (found.predict(FRAME) == model.predict(FRAME)).all()
    assert found.feature_names_in_.tolist() == ["price", "sector"]
    with pytest.raises(ValueError, match="mismatch"):
        found.predict(FRAME[["sector", "price"]])


def test_a_ranker_a_forest_and_an_early_stop_come_back() -> None:
    ranker = xgb.XGBRanker(**BOOST).fit(TABLE, SIDE, qid=np.arange(300) // 30)
    forest = xgb.XGBRFRegressor(**{**BOOST, "n_estimators": 20}).fit(TABLE, TARGET)
    stopped = xgb.XGBRegressor(**{**BOOST, "n_estimators": 200}, early_stopping_rounds=2)
    stopped.fit(TABLE[:200], TARGET[:200], eval_set=[(TABLE[200:], -TARGET[200:])], verbose=False)
    for model, kind in ((ranker, xgb.XGBRanker), (forest, xgb.XGBRegressor), (stopped, xgb.XGBRegressor)):
        found = saved(model, TABLE).model
        assert type(found) is kind
        assert (found.predict(TABLE) == model.predict(TABLE)).all()
    assert found.best_iteration == stopped.best_iteration < 199


@pytest.mark.parametrize(
    "options",
    [{"booster": "gblinear"}, {"booster": "dart", "rate_drop": 0.5}, {"tree_method": "exact", "gamma": 3.0}],
)
def test_an_xgboost_booster_says_what_the_booster_said(options: dict[str, Any]) -> None:
    rows = pd.DataFrame(TABLE, columns=list("abcdef"))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model = xgb.train(options, xgb.DMatrix(rows, TARGET), 5)
        found = saved(model, rows).model
    assert isinstance(found, xgboost.XgboostModel)
    assert "features=6" in repr(found)
    expected = model.predict(xgb.DMatrix(rows))
    for given in (rows, TABLE, xgb.DMatrix(rows)):
        assert (found.predict(given) == expected).all()
    with pytest.raises(ValueError, match="mismatch"):
        found.predict(rows[list("fedcba")])


def test_what_xgboost_cannot_bring_back_is_not_published() -> None:
    with pytest.raises(ValueError, match=r"missing=0\.0"):
        xgboost.dump(xgb.XGBRegressor(missing=0.0, **BOOST).fit(TABLE, TARGET))
    with pytest.raises(ValueError, match="no XGBoost model"):
        xgboost.dump(TABLE)
    with pytest.raises(ValueError, match="no classifier, regressor or ranker"):
        xgboost.dump(xgb.XGBModel(objective="reg:squarederror", **BOOST).fit(TABLE, TARGET))
    vector = {"multi_strategy": "multi_output_tree", "max_depth": 2}
    with pytest.raises(ValueError, match="not loaded"):
        xgboost.dump(xgb.train(vector, xgb.DMatrix(TABLE, TABLE[:, :2]), 1))


def test_the_loader_takes_admitted_files_only() -> None:
    data, _ = xgboost.dump(xgb.XGBRegressor(**BOOST).fit(TABLE, TARGET))
    assert (xgboost.load(admitted("m.ubj", "xgboost", data)).predict(TABLE)).shape == (300,)
    with pytest.raises(FormatRefused, match="XGBoost does not read it"):
        xgboost.load(trusted("m.ubj", "xgboost", data[:-40]))
    with pytest.raises(TypeError, match="Admitted"):
        xgboost.load(data)  # type: ignore[arg-type]


# --- files that people have ---


def test_files_that_the_libraries_saved_can_be_pushed(tmp_path: Path) -> None:
    light = lgb.train({"verbose": -1}, lgb.Dataset(TABLE, TARGET), 3)
    boost = xgb.XGBClassifier(**BOOST).fit(TABLE, SIDE)
    light.save_model(tmp_path / "model.lgb")
    boost.save_model(tmp_path / "model.ubj")
    for file, expected in (("model.lgb", light.predict(TABLE)), ("model.ubj", boost.predict(TABLE))):
        built = vaults().fork()
        found = packing.push(
            built.session(),
            names.model("m"),
            [tmp_path / file],
            None,
            packing.Labels(),
            sample=None,
            public=False,
        )
        package = loading.load_package(built.session(), found, {})
        assert (package.model.predict(TABLE) == expected).all()


def test_a_model_under_another_extension_is_refused_with_the_right_one(tmp_path: Path) -> None:
    model = lgb.train({"verbose": -1}, lgb.Dataset(TABLE, TARGET), 1)
    model.save_model(tmp_path / "model.txt")
    data, _ = xgboost.dump(xgb.XGBRegressor(**BOOST).fit(TABLE, TARGET))
    content = (tmp_path / "model.txt").read_bytes()
    for path, kind, wrong in (
        ("m.txt", "lightgbm", content),
        ("m.lgb", "xgboost", data),
        ("m.onnx", "xgboost", data),
    ):
        with pytest.raises(FormatRefused, match=kind) as caught:
            formats.classify(path, wrong)
        assert formats.FORMATS[kind].extensions[0] in caught.value.hint
    with pytest.raises(FormatRefused):
        formats.classify("model.ubj", b"binf" + bytes(100))  # XGBoost's old binary format


def test_an_environment_that_does_not_list_the_format_refuses_it() -> None:
    built = solo(seed="boosting-closed", policy=CLOSED)
    model = lgb.LGBMRegressor(**LIGHT).fit(TABLE, TARGET)
    described = saving.Description()
    for kind in ("auto", "lightgbm"):
        with pytest.raises(FormatRefused, match="as lightgbm, and dev allows skops, onnx") as caught:
            saving.save(
                built.session(),
                names.model("m"),
                model,
                None,
                described,
                format=kind,
                also=None,
                tolerance=0.0,
            )
        assert "policy" in caught.value.hint


def test_both_formats_may_travel_together() -> None:
    model = lgb.LGBMRegressor(**LIGHT).fit(TABLE, TARGET)
    booster = xgb.XGBRegressor(**BOOST).fit(TABLE, TARGET)
    package = saved(model, TABLE, described={"artifacts": {"second": booster}})
    assert (package.artifacts["second"].predict(TABLE) == booster.predict(TABLE)).all()


CHILD = """
import sys, numpy
from tests.e2e.loader_parts import admitted
from vault.actions import deserializing
from vault.core.allowance import Allowance
folder, *names = sys.argv[1:]
rows = numpy.load(folder + "/rows.npy")
for name in names:
    model = deserializing.deserialize(
        admitted(name, name.partition(".")[0], open(f"{folder}/{name}", "rb").read()),
        deserializing.Saved(Allowance()),
    )
    sys.stdout.buffer.write(model.predict(rows).tobytes())
"""


def test_another_process_predicts_the_same_bits(tmp_path: Path) -> None:
    light: Any = lgb.LGBMRegressor(**LIGHT).fit(TABLE, TARGET)
    boosted: Any = xgb.XGBRegressor(**BOOST).fit(TABLE, TARGET)
    files = {"lightgbm": lightgbm.dump(light, None)[0], "xgboost": xgboost.dump(boosted)[0]}
    names = [f"{kind}{formats.FORMATS[kind].extensions[0]}" for kind in files]
    for name, data in zip(names, files.values(), strict=True):
        (tmp_path / name).write_bytes(data)
    np.save(tmp_path / "rows.npy", TABLE)
    ended = subprocess.run(
        [sys.executable, "-c", CHILD, str(tmp_path), *names],
        capture_output=True,
        timeout=120,
        check=False,
    )
    assert ended.returncode == 0, ended.stderr.decode()
    assert ended.stdout == light.predict(TABLE).tobytes() + boosted.predict(TABLE).tobytes()
