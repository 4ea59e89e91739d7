"""A path that was written from names says those names again, and no text breaks the parsers."""

from contextlib import suppress

from hypothesis import given
from hypothesis import strategies as st

from vault.core import adoption_pattern, adoption_plan, names
from vault.core.adoption_pattern import Matched
from vault.core.adoption_plan import Renames
from vault.core.adoption_report import AdoptionReport, Item
from vault.errors import Malformed

PARTS = st.from_regex(r"[a-z][a-z0-9]{0,6}", fullmatch=True).filter(lambda text: not names.is_device(text))
MODELS = st.lists(PARTS, min_size=1, max_size=3).map("/".join)
VERSIONS = st.one_of(
    st.integers(1, 10**6).map(str),
    st.tuples(*[st.integers(0, 99)] * 3).map(lambda three: ".".join(map(str, three))),
)
PATTERNS = st.sampled_from(
    [
        "models/{model}/v{version}/model.pkl",
        "{env}/{model}/{version}.bin",
        "{model}-{version}.pkl",
        "{model}.pkl",
    ]
)
TEXTS = st.text(max_size=60)


@given(PATTERNS, MODELS, VERSIONS, PARTS)
def test_a_path_written_from_names_says_them_again(text: str, model: str, version: str, env: str) -> None:
    pattern = adoption_pattern.parse(text)
    named = Matched(model, version if "{version}" in text else None, env if "{env}" in text else None)
    assert pattern.match(pattern.fill(named)) == named


@given(TEXTS, TEXTS)
def test_any_pattern_and_path_give_a_match_or_a_refusal(text: str, path: str) -> None:
    for pattern in (text, "{model}" + text, text + "{model}/"):
        with suppress(Malformed):
            found = adoption_pattern.parse(pattern).match(path)
            assert found is None or found.model in path


@given(st.lists(TEXTS.map(lambda text: text.replace("\ud800", "")), max_size=8, unique=True), st.booleans())
def test_every_path_ends_in_exactly_one_part_of_a_plan(paths: list[str], fix: bool) -> None:
    pattern = adoption_pattern.parse("{model}")
    found = adoption_plan.plan(pattern, paths, Renames(suggested=fix))
    told = [one.origin.path for one in found.candidates] + [entry.path for entry in found.left_out]
    told += [rival.path for one in found.candidates for rival in one.rivals]
    assert sorted([*told, *found.unmatched]) == sorted(paths)


@given(TEXTS)
def test_what_is_suggested_is_a_name(text: str) -> None:
    for suggest, parse in (
        (adoption_pattern.suggest_model, names.model),
        (adoption_pattern.suggest_version, names.version),
        (adoption_pattern.suggest_environment, names.environment),
    ):
        if suggested := suggest(text):
            assert parse(suggested) == suggested


@given(TEXTS, TEXTS)
def test_no_name_breaks_out_of_its_row(path: str, reason: str) -> None:
    report = AdoptionReport("x", "", False, (Item(path, "remains", "m:1", code="c", reason=reason),))
    rows = [line for line in report.markdown().splitlines() if line.startswith("| ")]
    assert len(rows) == 3
    assert all(row.replace("\\\\", "").replace("\\|", "").count("|") == 6 for row in rows)
