"""Registered models of a real MLflow become versions, with what it knew of them; none of them runs here."""

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.builders import solo
from tests.e2e import mlflow_registry
from tests.e2e.adopting_parts import adopt, by_path, logistic, metadata, outcomes, rows
from tests.e2e.mlflow_registry import COLUMNS, HOSTILE
from tests.servers.seaweed import SeaweedServer, seaweed  # noqa: F401
from tests.variables import variables
from vault.actions import loading, taking_over_mlflow
from vault.confinement import confine
from vault.core import names
from vault.errors import MissingLibrary, NotFound, Unavailable

pytest.importorskip("mlflow", reason="MLflow is not installed: pip install 'model-artifact-vault[test]'")
pytestmark = pytest.mark.skipif(not confine.available().whole, reason="this kernel lacks Landlock or seccomp")
PROD = {"champion": names.environment("prod")}


@pytest.fixture(scope="module")
def registry(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A real MLflow, made once."""
    return f"mlflow:{mlflow_registry.make(tmp_path_factory.mktemp('mlflow'))}"


@pytest.fixture(scope="module")
def done(registry: str) -> tuple[Any, Any]:
    """Adopt all of it once, and promote what is the champion."""
    built = solo(seed="mlflow")
    return built, adopt(built, registry, None, aliases=PROD, promote=True, fix_names=True)


def test_each_version_is_adopted_under_its_number_or_remains_for_a_reason(done: tuple[Any, Any]) -> None:
    _, report = done
    found = outcomes(report)
    assert {path: told for path, told in found.items() if path.split("/")[0] not in HOSTILE} == {
        "boost/1": "adopted boost:1",
        "churn/1": "adopted churn:1",
        "churn/2": "adopted churn:2",
        "light/1": "adopted light:1",
        "net work/1": "adopted net-work:1",
    }
    assert {path.split("/")[0]: told for path, told in found.items() if path.split("/")[0] in HOSTILE} == {
        "alias-bomb": "malformed-document",
        "traversal": "malformed-name",
        "absent": "not-found",
        "tagged": "malformed-document",
        "binary": "malformed-document",
        "large": "too-large",
        "link": "not-found",
        "evil": "not-allowed",
    }


def test_it_predicts_as_it_did_and_keeps_its_columns(done: tuple[Any, Any]) -> None:
    built, _ = done
    package = loading.load_package(built.session(env="prod"), names.reference("churn@prod"), {})
    assert np.array_equal(package.model.predict(rows()), logistic(2.0).predict(rows()))
    assert package.features == [*COLUMNS]


def test_what_mlflow_knew_is_recorded_and_confidential(done: tuple[Any, Any]) -> None:
    built, _ = done
    info = metadata(built, "churn:2")
    assert info["metrics"] == {"auc": 0.91}
    assert info["params"] == {"C": "2.0"}
    assert info["notes"] == "The one of May."
    assert set(info["tags"]) == {"champion", "validated:yes"}
    told = info["mlflow"]
    assert (told["name"], told["version"], told["flavour"], told["aliases"]) == (
        "churn", "2", "sklearn", ["champion"],
    )  # fmt: skip
    assert told["run_tags"] == {"team": "quant"}
    assert len(told["run_id"]) == 32
    assert [column["name"] for column in told["signature"]["inputs"]] == [*COLUMNS]
    assert info["adopted"]["path"] == "churn/2"
    assert not any(b"champion" in data or b"tenure" in data for data in built.store.objects.values())


def test_an_alias_is_promoted_only_where_it_is_mapped_and_asked_for(
    registry: str, done: tuple[Any, Any]
) -> None:
    _, report = done
    assert [(one.reference, one.environment, one.done) for one in report.promotions] == [
        ("churn:2", "prod", True)
    ]
    built = solo(seed="mlflow suggested")
    found = adopt(built, registry, "ch{model}/{version}", aliases=PROD, dry_run=True)
    assert [(one.reference, one.done) for one in found.promotions] == [("urn:2", False)]
    assert "light/1" in found.unmatched


def test_nothing_that_mlflow_would_run_is_imported(done: tuple[Any, Any]) -> None:
    assert not Path("marker").exists()
    assert "mlflow.sklearn" not in sys.modules
    assert "mlflow.pyfunc.model" not in sys.modules


def test_native_files_come_as_they_are(done: tuple[Any, Any]) -> None:
    _, report = done
    became = {item.reference: item.became for item in report.adopted}
    assert (became["light:1"], became["boost:1"], became["net-work:1"]) == ("lightgbm", "xgboost", "onnx")
    assert became["churn:1"] == "skops"


def test_run_again_it_is_all_there(registry: str, done: tuple[Any, Any]) -> None:
    built, _ = done
    again = outcomes(adopt(built, registry, None, fix_names=True))
    assert {told.split()[0] for path, told in again.items() if path.split("/")[0] not in HOSTILE} == {
        "already"
    }


def test_artifacts_that_mlflow_fetches_pass_through_a_folder_that_is_gone(
    registry: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(taking_over_mlflow, "_LOCAL_REGISTRIES", frozenset())
    monkeypatch.setattr(taking_over_mlflow, "_REMOTE", frozenset({"", "file"}))  # through MLflow's repository
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    built = solo(seed="mlflow fetched")
    assert outcomes(adopt(built, registry, "net {model}/{version}")) == {"net work/1": "adopted work:1"}
    assert set(built.read("work:1")) == {"model.onnx"}
    hostile = outcomes(adopt(built, registry, "al{model}/{version}"))
    assert hostile == {"alias-bomb/1": "malformed-document"}
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
def test_artifacts_in_a_bucket_are_fetched_through_mlflow_and_leave_nothing(
    seaweed: SeaweedServer,  # noqa: F811
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    bucket = seaweed.new_bucket()
    place, temporary = tmp_path / "registry", tmp_path / "tmp"
    place.mkdir()
    temporary.mkdir()
    with variables({**seaweed.environment(), "MLFLOW_S3_ENDPOINT_URL": seaweed.endpoint}):
        uri = mlflow_registry.make(place, f"s3://{bucket}/artifacts")
        monkeypatch.setattr("tempfile.tempdir", str(temporary))
        built = solo(seed="mlflow s3")
        report = adopt(built, f"mlflow:{uri}", "{model}/{version}", fix_names=True)
    assert {item.outcome for item in report.items} == {"adopted"}
    assert len(report.items) == 3
    assert list(temporary.rglob("*")) == []
    assert np.array_equal(
        loading.load_package(built.session(), names.reference("churn:1"), {}).model.predict(rows()),
        logistic(1.0).predict(rows()),
    )


def test_a_registry_elsewhere_does_not_send_us_to_files_of_this_machine(
    registry: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(taking_over_mlflow, "_LOCAL_REGISTRIES", frozenset())
    report = adopt(solo(seed="mlflow far"), registry, None)
    assert {item.code for item in report.items} == {"format-refused"}
    assert "a registry's word alone leads nobody" in by_path(report)["churn/1"].reason


def test_a_registry_that_is_not_there_is_told(tmp_path: Path) -> None:
    for uri in (f"sqlite:///{tmp_path}/no.db", f"{tmp_path}/mlruns", f"file://{tmp_path}/mlruns"):
        with pytest.raises(NotFound, match="There is no MLflow"):
            adopt(solo(seed="no mlflow"), f"mlflow:{uri}", None)
    (tmp_path / "text.db").write_text("no database")
    with pytest.raises(Unavailable, match="cannot be read"):
        adopt(solo(seed="no mlflow"), f"mlflow:sqlite:///{tmp_path}/text.db", None)
    assert [path.name for path in tmp_path.iterdir()] == ["text.db"]


def test_without_mlflow_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "mlflow", None)
    with pytest.raises(MissingLibrary, match="needs MLflow") as caught:
        adopt(solo(seed="none"), "mlflow:sqlite:///x.db", None)
    assert "[mlflow]" in caught.value.hint
