"""`mvault identity passphrase`: typed at a terminal, or read from files by a script."""

import pytest

from tests.cli.typing_user import User

OLD, NEW = "correct horse", "battery staple"


@pytest.fixture
def anna(user: User) -> User:
    """A user with a protected identity, and both passphrases in files."""
    user.write("old.txt", f"{OLD}\n")
    user.write("new.txt", f"{NEW}\n")
    made = user.run("identity", "new", "anna", "--passphrase-file", "old.txt", "--recipient", "x25519")
    assert made.status == 0, made.err
    return user


def opens_with(user: User, file: str) -> bool:
    """Tell whether the passphrase in a file is the identity's; it is changed to itself."""
    changed = user.run(
        "identity", "passphrase", "--passphrase-file", file, "--new-passphrase-file", file, "--json"
    )
    assert changed.status in (0, 8), changed.err
    return changed.status == 0


def test_a_script_changes_a_passphrase(anna: User) -> None:
    changed = anna.run(
        "identity", "passphrase", "--passphrase-file", "old.txt", "--new-passphrase-file", "new.txt"
    )
    assert changed.status == 0
    assert changed.out == f"{anna.home}/.config/mvault/identity.json\n"
    assert changed.err == (
        "The identity anna in ~/.config/mvault/identity.json has a new passphrase. "
        "Copies of it keep the one they had.\n"
    )
    assert opens_with(anna, "new.txt")
    assert not opens_with(anna, "old.txt")


def test_a_wrong_passphrase_changes_nothing(anna: User) -> None:
    answer = anna.run(
        "identity", "passphrase", "--passphrase-file", "new.txt", "--new-passphrase-file", "new.txt"
    )
    assert answer.status == 8
    assert opens_with(anna, "old.txt")


def test_a_passphrase_is_taken_away(anna: User) -> None:
    changed = anna.run("identity", "passphrase", "--passphrase-file", "old.txt", "--no-passphrase", "--json")
    assert changed.json["protected"] is False
    assert anna.run("identity", "show", "--json").json["protected"] is False
    again = anna.run("identity", "passphrase", "--no-passphrase")
    assert (again.status, "has no passphrase now" in again.err) == (0, True)


def test_a_person_is_asked_for_the_old_one_and_twice_for_the_new(anna: User) -> None:
    typed = anna.type(
        "identity",
        "passphrase",
        answers=(
            ("Passphrase for anna", f"{OLD}\n"),
            ("New passphrase for the identity anna", f"{NEW}\n"),
            ("The same again", f"{NEW}\n"),
        ),
    )
    assert typed.status == 0, typed.out
    assert OLD not in typed.out
    assert NEW not in typed.out
    assert opens_with(anna, "new.txt")


def test_without_anybody_to_ask_nothing_is_changed(anna: User) -> None:
    answer = anna.run("identity", "passphrase", "--passphrase-file", "old.txt")
    assert answer.status == 8
    assert "--new-passphrase-file" in answer.err
    assert opens_with(anna, "old.txt")


def test_another_file_is_named_and_a_contradiction_is_told(anna: User) -> None:
    anna.run("identity", "new", "web", "-o", "web.json", "--no-passphrase")
    changed = anna.run("identity", "passphrase", "web.json", "--new-passphrase-file", "new.txt", "--json")
    assert (changed.json["name"], changed.json["protected"], changed.json["in_use"]) == ("web", True, False)
    answer = anna.run("identity", "passphrase", "--no-passphrase", "--new-passphrase-file", "new.txt")
    assert answer.status == 2
    assert anna.run("identity", "passphrase", "missing.json", "--no-passphrase").status == 8
