"""Patterns of paths name models, versions and environments, and never run away with a strange path."""

import time

import pytest

from vault.core import adoption_pattern, limits, names
from vault.core.adoption_pattern import Matched, suggest_environment, suggest_model, suggest_version
from vault.errors import Malformed

PLAIN = "models/{model}/v{version}/model.joblib"


@pytest.mark.parametrize(
    ("pattern", "path", "found"),
    [
        (PLAIN, "models/churn/v3/model.joblib", ("churn", "3", None, "")),
        (PLAIN, "models/nepse/NABIL/v1.4.0/model.joblib", ("nepse/NABIL", "1.4.0", None, "")),
        (PLAIN, "models/churn/v3/model.pkl", None),
        (PLAIN, "models/churn/v3/model.joblib.bak", None),
        (PLAIN, "old/churn/v3/model.joblib", None),
        (PLAIN, "models//v3/model.joblib", None),
        (PLAIN, "models/churn/v/model.joblib", None),
        (PLAIN, "models/churn/va/b/model.joblib", None),  # a version is one part
        (PLAIN, "", None),
        ("{model}.pkl", "a/b.pkl", ("a/b", None, None, "")),
        ("{env}/{model}/*.onnx", "prod/churn/final.onnx", ("churn", None, "prod", "")),
        ("{env}/{model}/*.onnx", "prod/churn/.onnx", ("churn", None, "prod", "")),
        ("{model}/{version}/*/*.onnx", "churn/3/x/y.onnx", ("churn", "3", None, "")),
        ("{model}/{version}/", "churn/3/variables/index", ("churn", "3", None, "churn/3/")),
        ("{model}/v{version}/", "a/v1/b/v2/x", ("a", "1", None, "a/v1/")),  # the nearest folder
        ("{model}/v{version}/", "churn/v1", None),
    ],
)
def test_a_path_says_what_its_pattern_asks(
    pattern: str, path: str, found: tuple[str, str | None, str | None, str] | None
) -> None:
    expected = None if found is None else Matched(*found)
    assert adoption_pattern.parse(pattern).match(path) == expected


@pytest.mark.parametrize(
    ("path", "found"),
    [
        ("churn-eu-3.pkl", ("churn-eu", "3")),
        ("churn-1-2.pkl", ("churn-1", "2")),
        ("churn-1-1.4.0-rc.1.pkl", ("churn-1", "1.4.0-rc.1")),
        ("c-x-y.pkl", ("c-x", "y")),  # no cut has a version: then the longest name
    ],
)
def test_of_several_cuts_the_one_with_names_that_the_vault_takes_goes_first(
    path: str, found: tuple[str, str]
) -> None:
    told = adoption_pattern.parse("{model}-{version}.pkl").match(path)
    assert told is not None
    assert (told.model, told.version) == found


def test_names_that_the_vault_does_not_take_are_found_as_they_stand() -> None:
    pattern = adoption_pattern.parse(PLAIN)
    assert pattern.match("models/Ümsatz 1/v03/model.joblib") == Matched("Ümsatz 1", "03", None)
    assert pattern.match("models/../../v1/model.joblib") == Matched("../..", "1", None)
    folder = adoption_pattern.parse("{model}/v{version}/")
    assert folder.match("a b/v1/x") == Matched("a b", "1", None, "a b/v1/")


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "printable characters"),
        ("{model}\n", "printable characters"),
        ("{model}" + "x" * limits.PATH_CHARS, "printable characters"),
        ("/{model}", "without empty"),
        ("a//{model}", "without empty"),
        ("../{model}", "'..' parts"),
        ("model.pkl", "says {model} once"),
        ("{model}/{model}", "says {model} once"),
        ("{model}/{version}/{version}", "once at most"),
        ("{model}/{env}/{env}", "once at most"),
        ("{model}/{name}", "between braces"),
        ("{model}/{", "between braces"),
        ("{model}/}", "between braces"),
        ("{model}/{}", "between braces"),
        ("{model}/?", "only *"),
        ("{model}/[ab]", "only *"),
        ("{model}\\x", "only *"),
        ("{model}/*a*b*c*d*", "4 * at most"),
        ("{model}{version}", "some text stands between"),
        ("{model}/**", "some text stands between"),
        ("{model}*", "some text stands between"),
    ],
)
def test_a_pattern_that_says_something_else_is_refused(text: str, why: str) -> None:
    with pytest.raises(Malformed, match="is not a pattern of paths") as caught:
        adoption_pattern.parse(text)
    assert why in caught.value.message
    assert caught.value.code == "malformed-name"
    assert len(caught.value.message) < 250


def test_the_prefix_is_the_folder_that_all_paths_lie_in() -> None:
    assert adoption_pattern.parse("a/b/c{model}").prefix == "a/b/"
    assert adoption_pattern.parse("{model}/x").prefix == ""
    assert adoption_pattern.parse("x{model}").prefix == ""


def test_a_path_beside_a_model_is_written_from_its_names() -> None:
    beside = adoption_pattern.parse("{env}/{model}/v{version}/rows.csv")
    assert beside.fill(Matched("a/b", "3", "prod")) == "prod/a/b/v3/rows.csv"
    with pytest.raises(ValueError, match="do not say"):
        beside.fill(Matched("a/b", "3", None))
    with pytest.raises(ValueError, match="do not say"):
        adoption_pattern.parse("{model}/*.csv").fill(Matched("a", None, None))


@pytest.mark.parametrize("path", ["a" * 1000 + "!", "a/" * 500 + "!", "a" * 100_000, "/" * 1_000])
@pytest.mark.parametrize("text", ["{model}a*a*a*a*a{version}a{env}", "{model}a/", "*/{model}/*/{version}/*"])
def test_no_path_takes_long(text: str, path: str) -> None:
    pattern = adoption_pattern.parse(text)
    began = time.process_time()
    pattern.match(path)
    assert time.process_time() - began < 20


# --- names close to those that are not taken ---


@pytest.mark.parametrize(
    ("text", "suggested"),
    [
        ("Ümsatz model", "Umsatz-model"),
        ("_x/ y", "x/y"),
        ("con", "con-model"),
        ("a/" * 12 + "b", "a/a/a/a/a/a/a/a-a-a-a-a-b"),
        ("x.", "x"),
        ("x" * 100, "x" * 64),
        ("日本", ""),
        ("..", ""),
        ("", ""),
    ],
)
def test_a_model_name_is_suggested(text: str, suggested: str) -> None:
    assert suggest_model(text) == suggested
    if suggested:
        names.model(suggested)


@pytest.mark.parametrize(
    ("text", "suggested"),
    [
        ("03", "3"),
        ("v7", "7"),
        ("1.4", "1.4.0"),
        ("1_2_3", "1.2.3"),
        ("1.4.0rc1", "1.4.0-rc1"),
        ("1.4.0-RC.1", "1.4.0-rc.1"),
        ("2026-11-23", "20261123T000000Z"),
        ("20261123_050000", "20261123T050000Z"),
        ("2026-11-23T05:00:00Z", "20261123T050000Z"),
        ("2026-13-99", ""),
        ("0", ""),
        ("final", ""),
        ("1.4.0-rc..1", ""),
    ],
)
def test_a_version_is_suggested(text: str, suggested: str) -> None:
    assert suggest_version(text) == suggested


def test_an_environment_is_suggested() -> None:
    assert suggest_environment("Production (EU)") == "production-eu"
    assert suggest_environment("!!") == ""
