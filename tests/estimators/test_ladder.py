"""Real models keep loading: each estimator of scikit-learn, from skops and as ONNX."""

import re

import pytest

from tests.estimators import derive, ladder, table
from tests.estimators.corpus import case, cases, listed, names

ESTIMATORS = [name for name in names() if "(" not in name]
every_case = pytest.mark.parametrize("name", names())
# What skops restores and this loader does not, and what the refusal says.
REFUSED_FROM_SKOPS = {
    "RandomizedSearchCV (over a distribution)": "scipy.stats",
}


@every_case
def test_what_skops_restores_is_restored_here_too(name: str) -> None:
    rung = ladder.skops(case(name))
    if name in REFUSED_FROM_SKOPS and not rung.ok:
        assert REFUSED_FROM_SKOPS[name] in rung.note
    else:
        assert rung.ok or rung.by_library, rung.note


def test_nearly_every_listed_estimator_is_restored_from_skops() -> None:
    assert set(REFUSED_FROM_SKOPS) <= set(names())
    assert sum(name not in REFUSED_FROM_SKOPS for name in ESTIMATORS) >= 211


@pytest.mark.slow
@every_case
def test_what_skl2onnx_converts_is_loaded_and_agrees_to_float_tolerance(name: str) -> None:
    rung = ladder.to_onnx(case(name))
    assert rung.ok or rung.by_library, rung.note


@pytest.mark.slow
def test_the_page_says_what_is_so() -> None:
    written = table.PAGE.read_text(encoding="utf-8")
    if derive.versions() not in written:
        pytest.skip("made with other releases")
    assert table.page(map(table.row, cases())) == written, "run: python -m tests.estimators.table"


def test_the_page_names_every_estimator_once() -> None:
    written = table.PAGE.read_text(encoding="utf-8")
    section = written[written.index("## Estimators") : written.index("## Variants")]
    assert re.findall(r"^\| `(\w+)` \|", section, re.MULTILINE) == list(listed())
    assert "| none |" not in section


def test_a_row_lands_on_the_first_rung_that_holds() -> None:
    yes, no = ladder.Rung(ok=True), ladder.Rung(ok=False, note="a | reason")
    assert table.Row("A", yes, yes, yes).line == "| `A` | skops | yes | yes | yes |"
    assert table.Row("A", no, yes, yes).lands_on == "ONNX"
    assert table.Row("A", no, no, yes).line == "| `A` | joblib | a \\| reason | a \\| reason | yes |"
    assert table.Row("A", no, no, no).lands_on == "none"


@pytest.mark.parametrize("name", ["LinearSVC", "TfidfVectorizer", "RFE", "MultiOutputClassifier"])
def test_onnx_of_estimators_that_need_care(name: str) -> None:
    rung = ladder.to_onnx(case(name))
    assert rung.ok, rung.note


def test_a_difference_is_a_share_of_the_spread() -> None:
    import numpy as np

    assert ladder._apart(np.array([0.0, 200.0]), np.array([1.0, 200.0])) == 1 / 200
    assert ladder._apart(np.array([np.nan, 1.0]), np.array([np.nan, 1.0])) == 0
    assert ladder._apart(np.array([0.0]), np.array([np.nan])) > 1
    assert ladder._power(3e-8) == "1e-7"
    assert ladder._power(0.0) == "0"
