"""What a tester signed counts for the version that was tested, while the tester counts: for nothing else."""

from typing import Any

import pytest

from tests import attesting_parts, builders
from tests.attesting_parts import FAILED, PINS, word
from tests.builders import Built
from tests.core.test_adoption import leave, revoke, unrole
from vault.core import attestation, names, records, requirements, strict_json
from vault.core.in_force import Signed
from vault.core.names import Digest, Model, Version
from vault.core.policy import PolicyId
from vault.core.trust import Skipped
from vault.errors import DigestMismatch, Malformed, Rollback


@pytest.fixture
def built() -> Built:
    return attesting_parts.tested()


def judge(built: Built, data: bytes, ref: str = "churn:1") -> Signed[Any] | Skipped:
    found, digest = built.manifest(ref)
    return attestation.judge(built.context, found.model, found.version, digest, data, "it")


def signed(built: Built, *who: str, **change: Any) -> bytes:
    return built.sign(attestation.KIND, attestation.encode(word(built, **change)), *who)


# --- the document ---


def test_parse_is_the_inverse_of_encode(built: Built) -> None:
    for change in (
        {},
        FAILED,
        {"against": "python=3.13,numpy==2.*", "atol": "1e-06"},
        {"tolerated": 5, "differing": 5},
    ):
        record = word(built, **change)
        assert attestation.parse(attestation.encode(record), "it") == record


@pytest.mark.parametrize(
    "change",
    [
        {"predicate": "other"},
        {"passed": True, "reason": "load"},
        {"passed": False, "reason": None},
        {"passed": False, "reason": "because"},
        {"differing": 201},
        {"differing": 1},
        {"rows": -1},
        {"rows": True},
        {"python": ""},
        {"python": "3\n11"},
        {"platform": "x" * 201},
        {"libraries": {"numpy": 2}},
        {"libraries": {"NumPy": "2"}},
        {"libraries": {"numpy": "2 --index-url x"}},
        {"libraries": {f"n{number}": "1" for number in range(1_001)}},
        {"requirements": "abc"},
        {"tolerance": {"atol": None, "rows": 0, "rtol": "nan"}},
        {"tolerance": {"atol": None, "rows": 0, "rtol": "-1.0"}},
        {"tolerance": {"atol": None, "rows": 0, "rtol": "1"}},
        {"tolerance": {"atol": None, "rows": 0, "rtol": "x"}},
        {"tolerance": {"atol": "1" * 300, "rows": 0, "rtol": "0.0"}},
        {"tolerance": {"atol": None, "rtol": "0.0"}},
        {"against": "here, "},
        {"against": "Numpy==1"},
        {"extra": 1},
        {"created": "yesterday"},
    ],
)
def test_another_shape_is_refused(built: Built, change: dict[str, Any]) -> None:
    value = strict_json.parse(attestation.encode(word(built)), subject="it")
    assert isinstance(value, dict)
    with pytest.raises(Malformed):
        attestation.parse(strict_json.encode({**value, **change}), "it")


def test_a_tolerance_is_a_number_of_at_least_zero() -> None:
    assert attestation.check_fraction(1e-4) == "0.0001"
    assert attestation.check_fraction(0) == "0.0"
    for value in (-1.0, float("nan"), float("inf")):
        with pytest.raises(ValueError, match="at least 0"):
            attestation.check_fraction(value)


# --- who and what ---


def test_a_persons_and_a_services_word_count(built: Built) -> None:
    for who in ("tess", "lab"):
        found = judge(built, signed(built, who))
        assert isinstance(found, Signed)
        assert found.signers == (who,)
    both = judge(built, signed(built, "tess", "lab", "dora"))
    assert isinstance(both, Signed)
    assert both.signers == ("lab", "tess")


def code(found: Signed[Any] | Skipped) -> str:
    assert isinstance(found, Skipped)
    return found.code


def test_a_strangers_word_does_not_count(built: Built) -> None:
    assert code(judge(built, signed(built, "dora"))) == "untrusted-signer"  # she published it
    built.identities["eve"] = builders.new_identity("eve")
    assert code(judge(built, signed(built, "eve"))) == "untrusted-signer"
    assert code(judge(built, signed(built))) == "unsigned"
    assert code(judge(built, b"garbage")) == "malformed-json"


def test_a_word_under_another_kind_of_document_does_not_count(built: Built) -> None:
    data = built.sign(records.ADOPTION, attestation.encode(word(built)), "tess")
    assert code(judge(built, data)) == "wrong-payload-type"


@pytest.mark.parametrize(
    "change",
    [
        {"vault": Digest("0" * 64)},
        {"model": Model("fraud")},
        {"version": Version("2")},
        {"manifest": Digest("0" * 64)},
    ],
)
def test_a_word_about_something_else_does_not_count(built: Built, change: dict[str, Any]) -> None:
    assert code(judge(built, signed(built, "tess", **change))) == "misplaced"


def test_a_tester_of_some_models_says_nothing_about_others(built: Built) -> None:
    built.publish(model="fraud", who="dora")
    data = signed(
        built, "tess", **{name: getattr(word(built, "fraud:1"), name) for name in ("model", "manifest")}
    )
    assert code(judge(built, data, "fraud:1")) == "untrusted-signer"


@pytest.mark.parametrize("change", [revoke("tess"), leave("tess"), unrole("tess")])
def test_the_word_of_who_left_or_was_revoked_does_not_count(built: Built, change: Any) -> None:
    data = signed(built, "tess")
    built.amend(change)
    assert code(judge(built, data)) == "untrusted-signer"


def test_a_word_under_a_policy_that_is_withheld_is_final(built: Built) -> None:
    with pytest.raises(Rollback):
        judge(built, signed(built, "tess", policy=PolicyId(0, 99, Digest("0" * 64))))


# --- which word counts ---


def at(built: Built, who: str, minute: int, **change: Any) -> Signed[Any]:
    made = signed(built, who, created=names.time_text(built.now + 60 * minute), **change)
    found = judge(built, made)
    assert isinstance(found, Signed)
    return found


def test_the_newest_word_of_a_tester_counts(built: Built) -> None:
    good, bad = at(built, "tess", 1), at(built, "tess", 2, **FAILED)
    assert attestation.passed([good, bad]) is None
    assert attestation.passed([bad, good]) is None
    again = at(built, "tess", 3)
    assert attestation.passed([again, bad, good]) == again
    assert attestation.words([again, bad, good]) == {"tess": again}


def test_of_two_words_of_one_moment_the_one_that_did_not_pass_counts(built: Built) -> None:
    words = [at(built, "tess", 1), at(built, "tess", 1, **FAILED)]
    assert attestation.passed(words) is None
    assert attestation.passed(reversed(words)) is None


def test_one_testers_failure_does_not_take_anothers_word(built: Built) -> None:
    good, bad = at(built, "tess", 1), at(built, "lab", 2, **FAILED)
    assert attestation.passed([good, bad]) == good
    newer = at(built, "lab", 3)
    assert attestation.passed([good, bad, newer]) == newer


def test_a_test_against_other_versions_is_no_word_about_this_one(built: Built) -> None:
    good, other = at(built, "tess", 1), at(built, "tess", 2, against="numpy==3", **FAILED)
    assert attestation.passed([other]) is None
    assert attestation.passed([good, other]) == good
    assert attestation.passed([at(built, "tess", 3, against="here")]) is None


def test_failures_are_told(built: Built) -> None:
    assert attestation.failures([]) == ""
    assert attestation.failures([at(built, "tess", 0)]) == ""
    told = attestation.failures([at(built, "tess", 0, **FAILED), at(built, "lab", 0, **FAILED)])
    assert told == (
        ": for lab it did not pass on 23 November 2026; for tess it did not pass on 23 November 2026"
    )


# --- the lock beside it ---


def test_the_lock_is_what_the_tester_signed() -> None:
    data = requirements.encode(PINS)
    assert attestation.lock(data, requirements.digest(PINS), "it") == PINS
    with pytest.raises(DigestMismatch):
        attestation.lock(data, Digest("0" * 64), "it")
    with pytest.raises(Malformed):
        attestation.lock(data + b"\n", requirements.digest(PINS), "it")
