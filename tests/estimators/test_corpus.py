"""The corpus leaves nothing out: every estimator that scikit-learn lists is fitted, or says why not."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from tests.estimators import corpus

ROOT = Path(__file__).resolve().parent.parent.parent
FITTED_IN_1_9 = 211
OUTPUTS = """
from tests.estimators import corpus
print(corpus.fingerprint())
"""


def test_every_listed_estimator_is_fitted_or_excused() -> None:
    fitted = [case.name for case in corpus.cases() if not case.is_variant]
    assert sorted([*fitted, *corpus.NOT_FITTED]) == sorted(corpus.listed())
    assert all(corpus.NOT_FITTED.values())


def test_scikit_learn_1_9_is_fitted_as_a_whole() -> None:
    import sklearn

    if not sklearn.__version__.startswith("1.9."):
        pytest.skip("counted for scikit-learn 1.9")
    assert sum(not case.is_variant for case in corpus.cases()) == FITTED_IN_1_9


def test_names_are_unique_and_variants_are_of_listed_estimators() -> None:
    names = [case.name for case in corpus.cases()]
    assert len(set(names)) == len(names)
    assert {case.estimator_name for case in corpus.cases()} <= set(corpus.listed())


@pytest.mark.slow
def test_every_case_has_outputs_that_repeat_bit_for_bit() -> None:
    for case in corpus.cases():
        once, again = (corpus.outputs(case.estimator, case.inputs) for _ in range(2))
        assert once, case.name
        assert all(value.size for value in once.values()), case.name
        assert corpus.differences(once, again) == [], case.name


def test_a_difference_of_one_bit_is_seen() -> None:
    values = np.array([1.0, 2.0])
    nudged = np.nextafter(values, 3.0)
    assert corpus.differences({"predict": values}, {"predict": values.copy()}) == []
    assert corpus.differences({"predict": values}, {"predict": nudged}) == ["predict"]
    assert corpus.differences({"predict": values}, {"predict": values.astype(">f8")}) == ["predict"]
    assert corpus.differences({"predict": values}, {}) == ["predict"]
    words = np.array(["a", "b"], dtype=object)
    assert corpus.differences({"predict": words}, {"predict": words.copy()}) == []
    assert corpus.differences({"predict": words}, {"predict": words[::-1]}) == ["predict"]


def test_an_unknown_case_is_a_mistake_of_the_caller() -> None:
    with pytest.raises(KeyError):
        corpus.case("Oracle")


@pytest.mark.slow
def test_the_corpus_is_the_same_in_another_process() -> None:
    environment = {**os.environ, "PYTHONHASHSEED": "7"}
    ran = subprocess.run(
        [sys.executable, "-c", OUTPUTS], capture_output=True, text=True, env=environment, cwd=ROOT, check=True
    )
    assert ran.stdout.strip() == corpus.fingerprint()
