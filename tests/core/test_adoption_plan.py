"""A plan says which old files become which versions, in their order, and leaves nothing unsaid."""

from dataclasses import replace

import pytest

from vault.core import adoption_pattern, adoption_plan, limits
from vault.core.adoption_pattern import Matched
from vault.core.adoption_plan import Facts, Origin, Plan, Renames
from vault.errors import Malformed

PLAIN = "{model}/v{version}/model.pkl"


def plan(pattern: str, paths: list[str], *renames: str, fix: bool = False) -> Plan:
    chosen = adoption_plan.renames(renames, suggested=fix)
    return adoption_plan.plan(adoption_pattern.parse(pattern), paths, chosen)


def told(found: Plan) -> list[tuple[str, str]]:
    return [(one.reference, one.origin.path) for one in found.candidates]


def test_versions_come_by_model_and_in_their_order() -> None:
    paths = [f"{model}/v{version}/model.pkl" for model in ("b", "a/x") for version in (10, 9, 1)]
    found = plan(PLAIN, [*paths, "README.md", "b/v1/other.pkl"])
    assert [one.reference for one in found.candidates] == ["a/x:1", "a/x:9", "a/x:10", "b:1", "b:9", "b:10"]
    assert all(one.origin.single for one in found.candidates)
    assert found.unmatched == ("README.md", "b/v1/other.pkl")
    assert found.left_out == ()


def test_without_a_number_each_file_is_a_version_of_its_own() -> None:
    found = plan("{model}/*.pkl", ["churn/b.pkl", "churn/a.pkl"])
    assert told(found) == [("churn", "churn/a.pkl"), ("churn", "churn/b.pkl")]
    assert [one.version for one in found.candidates] == [None, None]


def test_two_files_of_one_version_are_rivals_and_their_environments_join() -> None:
    found = plan("{env}/{model}-{version}.pkl", ["prod/churn-1.pkl", "dev/churn-1.pkl", "dev/churn-2.pkl"])
    one, two = found.candidates
    assert one.origin.path == "dev/churn-1.pkl"
    assert [rival.path for rival in one.rivals] == ["prod/churn-1.pkl"]
    assert one.environments == ("dev", "prod")
    assert two.rivals == ()


def test_a_folder_is_a_package() -> None:
    found = plan("{model}/{version}/", ["churn/1/model.pkl", "churn/1/in/scaler.pkl", "churn/x.txt"])
    (one,) = found.candidates
    assert dict(one.origin.files) == {
        "model.pkl": "churn/1/model.pkl",
        "in/scaler.pkl": "churn/1/in/scaler.pkl",
    }
    assert not one.origin.single
    assert found.unmatched == ("churn/x.txt",)


def test_the_graph_of_a_savedmodel_brings_its_folder_along() -> None:
    paths = ["m/1/saved_model.pb", "m/1/variables/variables.index", "m/2/other.txt", "top.txt"]
    found = plan("{model}/{version}/saved_model.pb", paths)
    assert dict(found.candidates[0].origin.files) == {
        "saved_model.pb": "m/1/saved_model.pb",
        "variables/variables.index": "m/1/variables/variables.index",
    }
    assert found.unmatched == ("m/2/other.txt", "top.txt")


def test_names_that_the_vault_does_not_take_are_left_out_with_an_option_that_helps() -> None:
    paths = ["a b/v1/model.pkl", "c/v03/model.pkl", "d e/v1.4/model.pkl", "日/v1/model.pkl", "f/vx/model.pkl"]
    found = plan(PLAIN, paths)
    assert found.candidates == ()
    assert {entry.path[0]: entry.rename for entry in found.left_out} == {
        "a": "a b=a-b",
        "c": ":03=:3",
        "d": "d e:1.4=d-e:1.4.0",
        "日": "",
        "f": "",
    }
    assert {entry.code for entry in found.left_out} == {"malformed-name"}
    helped = plan(PLAIN, paths, *[entry.rename for entry in found.left_out if entry.rename])
    assert [one.reference for one in helped.candidates] == ["a-b:1", "c:3", "d-e:1.4.0"]
    assert told(plan(PLAIN, paths, fix=True)) == told(helped)


def test_an_environment_that_is_none_is_left_out_and_only_suggestions_help() -> None:
    paths = ["Prod!/churn.pkl"]
    (entry,) = plan("{env}/{model}.pkl", paths).left_out
    assert (entry.code, entry.rename) == ("malformed-name", "")
    assert plan("{env}/{model}.pkl", paths, fix=True).candidates[0].environments == ("prod",)


def test_a_folder_of_too_many_files_is_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "ADOPT_PACKAGE_FILES", 2)
    found = plan("{model}/{version}/", [f"churn/1/{name}" for name in "abc"])
    assert [(entry.path, entry.code) for entry in found.left_out] == [("churn/1/", "too-large")]


def test_renames_are_by_version_of_a_model_then_by_each() -> None:
    chosen = adoption_plan.renames(["a:1=b:2", "a=c", ":1=:9", "x=y=z"])
    named = Matched("a", "1", None)
    assert chosen.apply(named) == Matched("b", "2", None)
    assert chosen.apply(replace(named, version="3")) == Matched("c", "3", None)
    assert chosen.apply(replace(named, model="q")) == Matched("q", "9", None)
    assert chosen.apply(Matched("x=y", None, None)) == Matched("z", None, None)
    assert Renames().apply(named) == named


@pytest.mark.parametrize("text", ["", "a", "a=", "=b", "a:1=b", "a=b:1", ":1=b:1", "a=b:", "a:1=:2"])
def test_what_renames_nothing_is_refused(text: str) -> None:
    with pytest.raises(Malformed, match="renames nothing"):
        adoption_plan.renames([text])


def test_one_name_has_one_new_name() -> None:
    with pytest.raises(Malformed, match="each OLD once"):
        adoption_plan.renames(["a=b", "a=c"])


def test_what_a_registry_says_goes_with_its_version() -> None:
    origin = Origin("churn/1", {"": "churn/1/model.pkl"}, Matched("churn", "1", None))
    facts = Facts(metrics={"auc": 0.9}, tags=("champion",))
    candidates, left = adoption_plan.settle([origin], Renames(), {"churn/1": facts})
    assert ([one.facts for one in candidates], left) == ([facts], [])
