"""The exception tree: stable codes, exit statuses, and errors that cross process boundaries whole."""

import pickle
import re

import pytest

from vault import errors
from vault.errors import CODES, FeatureMismatch, Malformed, Refused, VaultError


def classes() -> list[type[VaultError]]:
    """Give the classes that callers know; what an adapter has of its own travels as one of these."""
    found = [VaultError]
    for kind in found:
        found.extend(below for below in kind.__subclasses__() if below.__module__ == VaultError.__module__)
    return found


def test_codes_are_kebab_case_and_explained() -> None:
    for code, meaning in CODES.items():
        assert re.fullmatch(r"[a-z]+(-[a-z]+)*", code)
        assert len(meaning) > 15


def test_codes_cannot_be_changed() -> None:
    with pytest.raises(TypeError):
        CODES["new"] = "code"  # type: ignore[index]


def test_the_tree_has_the_classes_of_the_interface() -> None:
    names = {
        "Unsigned", "BadSignature", "UntrustedSigner", "DigestMismatch", "AccessDenied", "FormatRefused",
        "PickleRefused", "Rollback", "Expired", "Malformed", "LogInconsistent",
    }  # fmt: skip
    assert {kind.__name__ for kind in classes() if issubclass(kind, Refused)} == names | {"Refused"}


def test_a_refusal_is_never_a_value_error_or_a_type_error() -> None:
    for kind in classes():
        assert issubclass(kind, ValueError) is (kind is FeatureMismatch)
        assert not issubclass(kind, TypeError)


@pytest.mark.parametrize("kind", classes())
def test_every_class_has_a_code_and_an_exit_status(kind: type[VaultError]) -> None:
    assert kind.default_code in CODES
    assert 1 <= kind.exit_status <= 9
    assert kind("what").code == kind.default_code


def test_an_unknown_code_is_a_mistake_of_ours() -> None:
    with pytest.raises(LookupError):
        Refused("what", code="no-such-code")


def test_text_is_message_and_hint() -> None:
    assert str(Refused("It failed.")) == "It failed."
    assert str(Refused("It failed.", hint="Try again.")) == "It failed. Try again."


@pytest.mark.parametrize("kind", classes())
def test_an_error_crosses_a_process_boundary_whole(kind: type[VaultError]) -> None:
    made = kind("what", code="malformed-name", subject="who", hint="do this")
    back = pickle.loads(pickle.dumps(made))
    assert type(back) is kind
    assert (back.message, back.code, back.subject, back.hint) == ("what", "malformed-name", "who", "do this")


def test_statuses_are_those_of_the_readme() -> None:
    assert {kind.__name__: kind.exit_status for kind in classes() if kind.exit_status != 3} == {
        "VaultError": 1, "AccessDenied": 4, "FormatRefused": 5, "PickleRefused": 5, "NotFound": 6,
        "Unavailable": 7, "NoUsableKey": 8, "Conflict": 9, "MissingLibrary": 1, "FeatureMismatch": 2,
    }  # fmt: skip
    assert Malformed.exit_status == errors.Refused.exit_status == 3
