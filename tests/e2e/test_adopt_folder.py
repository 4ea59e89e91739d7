"""A folder of old models of every kind becomes versions; what cannot remains, and the report says why."""

import hashlib
import io
import os
import pickle
import shutil
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.builders import Built, solo
from tests.core import boosting_files, tensorflow_parts
from tests.e2e.adopting_parts import (
    HOSTILE,
    PLAIN,
    adopt,
    by_path,
    joblibbed,
    lay,
    logistic,
    metadata,
    outcomes,
    rows,
    weightless,
    weights,
)
from vault.actions import loading
from vault.confinement import confine
from vault.core import names
from vault.core.adoption_report import AdoptionReport
from vault.policyfile import shipped

pytestmark = pytest.mark.skipif(not confine.available().whole, reason="this kernel lacks Landlock or seccomp")


def onnx_file() -> bytes:
    from skl2onnx import to_onnx

    made = to_onnx(logistic(), rows()[:1].astype("float32"), target_opset={"": 17, "ai.onnx.ml": 3})
    data: bytes = made.SerializeToString()
    return data


def torch_file() -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("archive/data.pkl", weightless())
        archive.writestr("archive/version", "3")
    return buffer.getvalue()


@dataclass(frozen=True)
class Done:
    """A folder that was adopted once: what lay in it, the vault, the report, the user's state folder."""

    folder: Path
    built: Built
    report: AdoptionReport
    state: Path
    before: dict[str, tuple[bytes, int]]


def content(folder: Path) -> dict[str, tuple[bytes, int]]:
    return {
        str(path.relative_to(folder)): (path.read_bytes(), path.stat().st_mtime_ns)
        for path in sorted(folder.rglob("*"))
        if path.is_file() and not path.is_symlink()
    }


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Done]:
    """Adopt a folder with a file of each kind, good and bad."""
    top = tmp_path_factory.mktemp("adopt")
    csv = "a,b,c,d\n" + "\n".join(",".join(f"{cell:.4f}" for cell in row) for row in rows(40)) + "\n"
    folder = lay(
        top / "old",
        {
            "models/churn/v2/model.joblib": joblibbed(logistic(2.0)),
            "models/churn/v10/model.joblib": pickle.dumps(logistic(10.0), protocol=2),
            "models/churn/v10/rows.csv": csv.encode(),
            "models/plain/v1/model.joblib": weightless(),
            "models/nepse/NABIL/v1.4.0/model.joblib": onnx_file(),
            "models/weights/v1/model.joblib": weights(),
            "models/light/v1/model.joblib": boosting_files.lightgbm(),
            "models/boost/v1/model.joblib": boosting_files.xgboost(),
            "models/evil/v1/model.joblib": HOSTILE,
            "models/notes/v1/model.joblib": b"no model, only text",
            "models/empty/v1/model.joblib": b"",
            "models/torch/v1/model.joblib": torch_file(),
            "models/odd name/v03/model.joblib": weights(3),
            "models/README.md": b"# ours",
        },
    )
    (folder / "models" / "elsewhere").symlink_to("/etc")
    os.mkfifo(folder / "models" / "pipe")
    built, before = solo(seed="adopting"), content(folder)
    sample = "models/{model}/v{version}/rows.csv"
    from vault.core import adoption_pattern

    report = adopt(built, folder, state=top / "state", sample=adoption_pattern.parse(sample), tags=("old",))
    yield Done(folder, built, report, top / "state", before)
    shutil.rmtree(top)


def test_each_file_became_a_version_or_remains_for_a_reason(done: Done) -> None:
    found = outcomes(done.report)
    adopted = {path: told for path, told in found.items() if told.startswith("adopted ")}
    assert adopted == {
        "models/churn/v2/model.joblib": "adopted churn:2",
        "models/churn/v10/model.joblib": "adopted churn:10",
        "models/plain/v1/model.joblib": "adopted plain:1",
        "models/nepse/NABIL/v1.4.0/model.joblib": "adopted nepse/NABIL:1.4.0",
        "models/weights/v1/model.joblib": "adopted weights:1",
        "models/light/v1/model.joblib": "adopted light:1",
        "models/boost/v1/model.joblib": "adopted boost:1",
    }
    remain = {path: told for path, told in found.items() if path not in adopted}
    assert remain == {
        "models/evil/v1/model.joblib": "not-allowed",
        "models/notes/v1/model.joblib": "format-refused",
        "models/empty/v1/model.joblib": "format-refused",
        "models/torch/v1/model.joblib": "format-refused",
        "models/odd name/v03/model.joblib": "malformed-name",
    }
    assert done.report.unmatched == ("models/README.md",)
    assert set(done.report.aside) == {"models/elsewhere", "models/pipe"}


def test_dangerous_names_are_told_and_nothing_was_run(done: Done) -> None:
    evil = by_path(done.report)["models/evil/v1/model.joblib"]
    assert evil.dangers == ("os.system",)
    assert evil.globals == ("os.system",)
    assert "os.system" in evil.reason
    assert not list(done.folder.rglob("marker"))
    assert not Path("marker").exists()


def test_the_new_model_predicts_as_the_old_one(done: Done) -> None:
    package = loading.load_package(done.built.session(), names.reference("churn:10"), {})
    assert np.array_equal(package.model.predict_proba(rows()), logistic(10.0).predict_proba(rows()))
    compared = by_path(done.report)["models/churn/v10/model.joblib"].comparison
    assert compared is not None
    assert (compared.sample, compared.rows, compared.differing, compared.weak) == ("given", 1_000, 0.0, False)
    other = by_path(done.report)["models/churn/v2/model.joblib"].comparison
    assert other is not None
    assert (other.sample, other.weak) == ("generated", True)


def test_given_rows_travel_with_what_the_old_model_said_of_them(done: Done) -> None:
    package = loading.load_package(done.built.session(), names.reference("churn:10"), {})
    files = done.built.read("churn:10")
    assert {path for path in files if path.startswith("sample")} == {
        "sample.npz",
        "sample.predict.npz",
        "sample.predict_proba.npz",
    }
    from vault.loaders import arrays

    sample = arrays.restore_sample(files["sample.npz"], subject="sample")
    said = arrays.restore_sample(files["sample.predict_proba.npz"], subject="sample")
    assert len(sample) == len(said) == 40
    assert np.allclose(package.model.predict_proba(sample), said)
    assert not any(path.startswith("sample") for path in done.built.read("churn:2"))


def test_every_version_says_which_bytes_it_came_from(done: Done) -> None:
    path = "models/churn/v2/model.joblib"
    original = done.before[path]
    info = metadata(done.built, "churn:2")
    assert "skops" in info["requirements"]["first"], "so that a load test knows what to install"
    adopted = info["adopted"]
    digest = hashlib.sha256(original[0]).hexdigest()
    assert (adopted["path"], adopted["sha256"], adopted["size"]) == (path, digest, len(original[0]))
    assert adopted["modified"] == names.time_text(original[1] // 10**9)
    assert adopted["source"] == str(done.folder)
    assert [entry["format"] for entry in adopted["files"]] == ["joblib"]
    assert "sklearn.linear_model._logistic.LogisticRegression" in adopted["globals"]
    assert info["estimator"] == "sklearn.linear_model._logistic.LogisticRegression"
    assert info["parity"]["skops"]["differing"] == 0.0
    assert info["tags"] == ["old"]
    item = by_path(done.report)[path]
    assert (item.sha256, item.format, item.became) == (digest, "joblib", "skops")


def test_originals_are_as_they_were(done: Done) -> None:
    assert content(done.folder) == done.before


def test_run_again_it_reads_nothing_twice_and_publishes_nothing(
    done: Done, monkeypatch: pytest.MonkeyPatch
) -> None:
    from vault.actions.taking_over_places import FolderPlace

    built = done.built.fork()
    objects = dict(built.store.objects)
    read: list[str] = []
    copy = FolderPlace.copy

    def noted(self: FolderPlace, path: str, target: int, *, most: int) -> Any:
        read.append(path)
        return copy(self, path, target, most=most)

    monkeypatch.setattr(FolderPlace, "copy", noted)
    again = outcomes(adopt(built, done.folder, state=done.state))
    assert sorted(told for told in again.values() if told.startswith("already ")) == sorted(
        f"already {item.reference}" for item in done.report.adopted
    )
    assert not {path for path in read if outcomes(done.report)[path].startswith("adopted ")}
    assert built.store.objects.keys() == objects.keys()


def test_on_another_machine_the_published_metadata_says_what_is_there(done: Done) -> None:
    again = outcomes(adopt(done.built.fork(), done.folder))
    assert again["models/churn/v2/model.joblib"] == "already churn:2"
    assert again["models/nepse/NABIL/v1.4.0/model.joblib"] == "already nepse/NABIL:1.4.0"


def test_other_bytes_under_the_name_of_a_version_remain(done: Done, tmp_path: Path) -> None:
    lay(tmp_path, {"models/plain/v1/model.joblib": weights(99)})
    (item,) = adopt(done.built.fork(), tmp_path).items
    assert (item.outcome, item.code) == ("remains", "conflict")
    assert "is there already, from other bytes than these" in item.reason
    lay(tmp_path, {"models/churn/v1/model.joblib": weights()})
    built = solo(seed="others")
    built.publish()  # churn:1, which nobody adopted
    found = by_path(adopt(built, tmp_path))["models/churn/v1/model.joblib"]
    assert (found.code, "was not adopted" in found.reason) == ("conflict", True)


def test_a_dry_run_only_looks(done: Done) -> None:
    built = solo(seed="dry")
    objects = dict(built.store.objects)
    report = adopt(built, done.folder, dry_run=True)
    found = outcomes(report)
    assert found["models/churn/v2/model.joblib"] == "would-adopt churn:2"
    assert found["models/evil/v1/model.joblib"] == "not-allowed"
    assert report.adopted == ()
    assert built.store.objects.keys() == objects.keys()


def test_names_are_mended_where_that_is_asked(done: Done, tmp_path: Path) -> None:
    odd = by_path(done.report)["models/odd name/v03/model.joblib"]
    assert odd.rename == "odd name:03=odd-name:3"
    lay(tmp_path, {"models/odd name/v03/model.joblib": weights(3)})
    built = solo(seed="names")
    assert [*outcomes(adopt(built, tmp_path, PLAIN, odd.rename)).values()] == ["adopted odd-name:3"]
    assert [*outcomes(adopt(built, tmp_path, fix_names=True)).values()] == ["already odd-name:3"]


def test_files_without_numbers_become_versions_in_the_order_of_their_times(tmp_path: Path) -> None:
    lay(tmp_path, {f"churn/{name}.pkl": weights(ord(name)) for name in "abc"})
    for name, seconds in (("a", 3_000), ("b", 1_000), ("c", 2_000)):
        os.utime(tmp_path / "churn" / f"{name}.pkl", (seconds, seconds))
    built = solo(seed="times")
    found = outcomes(adopt(built, tmp_path, "{model}/*.pkl"))
    assert found == {
        "churn/b.pkl": "adopted churn:1",
        "churn/c.pkl": "adopted churn:2",
        "churn/a.pkl": "adopted churn:3",
    }
    again = outcomes(adopt(built, tmp_path, "{model}/*.pkl"))
    assert again["churn/b.pkl"] == "already churn:1"
    assert len(set(again.values())) == 3


def test_a_folder_is_one_package_with_its_scaler_and_features(tmp_path: Path) -> None:
    lay(
        tmp_path,
        {
            "nepse/1/model.joblib": joblibbed(logistic()),
            "nepse/1/scaler.pkl": weightless(),
            "nepse/1/features.json": b'["a","b","c","d"]',
        },
    )
    built = solo(seed="folders")
    (item,) = adopt(built, tmp_path, "{model}/{version}/").items
    assert (item.outcome, item.reference, item.path) == ("adopted", "nepse:1", "nepse/1/")
    assert set(built.read("nepse:1")) == {"model.skops", "scaler.skops", "features.json"}
    roles = {
        str(entry.path): entry.role for entry in built.open("nepse:1").opened.sealed.verified.manifest.files
    }
    assert (roles["model.skops"], roles["features.json"]) == ("model", "features")
    assert len(metadata(built, "nepse:1")["adopted"]["files"]) == 3


def test_a_savedmodel_is_taken_as_it_is_where_policy_and_operator_name_it(tmp_path: Path) -> None:
    from vault.core.allowance import Allowance

    graph = tensorflow_parts.folder()
    lay(tmp_path, {f"tf/1/{path}": data for path, data in graph.items()})
    closed = by_path(adopt(solo(seed="tf"), tmp_path, "{model}/{version}/saved_model.pb"))
    assert closed["tf/1/saved_model.pb"].code == "format-refused"
    assert "savedmodel" in closed["tf/1/saved_model.pb"].reason
    text = shipped("solo").replace("[skops, onnx,", "[savedmodel, data, skops, onnx,")
    built = solo(seed="tf2", policy=text)
    session = built.session(allowance=Allowance(formats=frozenset({"savedmodel"})))
    found = outcomes(adopt(built, tmp_path, "{model}/{version}/saved_model.pb", session=session))
    assert found == {"tf/1/saved_model.pb": "adopted tf:1"}
    assert set(built.read("tf:1")) == {f"model/{path}" for path in graph}


def test_what_a_folder_says_is_in_use_is_suggested_and_promoted_only_if_asked(tmp_path: Path) -> None:
    lay(tmp_path, {f"prod/churn-{number}.pkl": weights(number) for number in (1, 2)})
    lay(tmp_path, {"prod/nepse-1.pkl": weights(), "qa/nepse-2.pkl": weights(2)})
    built = solo(seed="use")
    report = adopt(built, tmp_path, "{env}/{model}-{version}.pkl")
    told = {(entry.reference, entry.environment): (entry.done, entry.reason) for entry in report.promotions}
    assert told == {
        ("churn:2", "prod"): (False, ""),
        ("nepse:1", "prod"): (False, ""),
        ("nepse:2", "qa"): (False, "the policy has no environment qa"),
    }
    report = adopt(built, tmp_path, "{env}/{model}-{version}.pkl", promote=True)
    assert {entry.reference for entry in report.promotions if entry.done} == {"churn:2", "nepse:1"}
    assert built.read("churn@prod") == built.read("churn:2")


def test_the_same_bytes_twice_are_one_version_and_others_remain(tmp_path: Path) -> None:
    lay(tmp_path, {"prod/churn-1.pkl": weights(1), "dev/churn-1.pkl": weights(1)})
    lay(tmp_path, {"prod/nepse-1.pkl": weights(1), "dev/nepse-1.pkl": weights(2)})
    found = outcomes(adopt(solo(seed="twice"), tmp_path, "{env}/{model}-{version}.pkl"))
    assert found == {
        "dev/churn-1.pkl": "adopted churn:1",
        "prod/churn-1.pkl": "same churn:1",
        "dev/nepse-1.pkl": "conflict",
        "prod/nepse-1.pkl": "conflict",
    }


def test_who_may_not_publish_a_model_is_told_before_any_work(tmp_path: Path) -> None:
    lay(tmp_path, {"churn/1.pkl": weights()})
    text = shipped("solo").replace("roles: [owner]}", 'roles: [owner], models: ["nepse/*"]}')
    built = solo(seed="narrow", policy=text)
    assert outcomes(adopt(built, tmp_path, "{model}/{version}.pkl")) == {"churn/1.pkl": "access-denied"}
