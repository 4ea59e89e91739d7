"""Founding a vault, trusting one, and the identities that go with it, as a new user types them."""

import json
import re
import stat
from pathlib import Path

import pytest

from tests.cli.typing_user import User
from vault.core import public_identity, trustfile

# --- init ---


def test_init_tells_a_new_owner_what_to_know_and_what_to_type_next(user: User) -> None:
    answer = user.run("init", "models/", "--no-passphrase")
    assert answer.status == 0
    fingerprint = answer.out.strip()
    assert re.fullmatch(r"sha256:[0-9a-f]{64}", fingerprint)
    for text in (
        "Made a vault in models/, and trusted it on this machine.",
        "~/.config/mvault/identity.json",
        "~/.config/mvault/recovery-models.txt",
        "Move it offline now",
        f"mvault trust models/ --root {fingerprint}",
        "mvault push churn model.skops",
        "mvault promote churn:1 --env prod",
    ):
        assert text in answer.err
    recovery = user.home / ".config/mvault/recovery-models.txt"
    assert stat.S_IMODE(recovery.stat().st_mode) == 0o600
    assert "AGE-SECRET-KEY-PQ-1" in recovery.read_text()


def test_init_asks_for_a_passphrase_twice_and_takes_an_empty_one(user: User) -> None:
    new, again = "(empty for none): ", "The same again: "
    answer = user.type("init", "a/", answers=((new, "sesame\n"), (again, "sesame\n")))
    assert answer.status == 0, answer.out
    assert "sesame" not in answer.out
    assert user.run("identity", "show", "--json").json["protected"] is True
    assert user.run("push", "m", str(user.write("m.json", "[]")), "--vault", "a/").status == 8
    user.write("pass.txt", "sesame\n")
    assert user.run("push", "m", "m.json", "--vault", "a/", "--passphrase-file", "pass.txt").status == 0
    answer = user.type("identity", "new", "-o", "open.json", answers=((new, "\n"), (again, "\n")))
    assert answer.status == 0
    assert user.run("identity", "show", "open.json", "--json").json["protected"] is False


def test_passphrases_that_differ_leave_nothing_behind(user: User) -> None:
    pair = (("(empty for none): ", "one\n"), ("The same again: ", "two\n"))
    answer = user.type("init", "a/", answers=pair * 3)
    assert answer.status == 8
    assert "The two passphrases differed." in answer.out
    assert not (user.folder / "a").exists()
    assert not (user.folder / "mvault.toml").exists()


def test_init_without_anybody_to_ask_names_the_way_out(user: User) -> None:
    answer = user.run("init", "models/")
    assert answer.status == 8
    assert "MVAULT_PASSPHRASE_FILE" in answer.err
    assert "Or pass --no-passphrase" in answer.err


def test_commands_find_the_vault_that_init_made_here(owner: User) -> None:
    assert owner.run("ls").out.startswith("churn\t")
    settings = (owner.folder / "mvault.toml").read_text()
    assert 'vault = "models/"' in settings
    owner.run("init", "second/", "--recipient", "x25519")
    assert (owner.folder / "mvault.toml").read_text() == settings


def test_init_in_a_named_place_writes_no_settings(user: User, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MVAULT_VAULT", "models/")
    answer = user.run("init", "--no-passphrase", "--json")
    assert answer.json["settings"] is None
    assert not (user.folder / "mvault.toml").exists()


def test_init_takes_services_and_a_place_for_the_recovery_key(user: User) -> None:
    user.run("identity", "new", "web", "-o", "web.json", "--no-passphrase")
    user.run("identity", "export", "web.pub", "--identity", "web.json")
    user.write("model.json", "[1]")
    made = user.run(
        "init", "models/", "--no-passphrase", "--service", "web=web.pub", "--recovery", "away/key.txt"
    )
    assert made.status == 0, made.err
    assert (user.folder / "away/key.txt").exists()
    user.run("push", "m", "model.json")
    user.run("promote", "m", "--env", "prod")
    assert user.run("show", "m@prod", "--identity", "web.json", "--json").json["metadata"] is not None
    assert user.run("show", "m:1", "--identity", "web.json", "--json").json["metadata"] is None, "not in dev"
    assert user.run("pull", "m@prod", "out", "--identity", "web.json").status == 4, "it loads, no more"


# --- trust ---


def test_trust_compares_the_fingerprint_that_the_owner_told(owner: User) -> None:
    right = owner.run("init", "b/", "--recipient", "x25519").out.strip()
    owner.becomes_somebody_else()
    wrong = owner.run("trust", "b/", "--root", "sha256:" + "0" * 64)
    assert wrong.status == 3
    assert owner.run("ls", "--vault", "b/").status == 3
    for arguments in (("trust", "b/", "--root", right), ("trust", "--root", right, "b/")):
        answer = owner.run(*arguments)
        assert (answer.status, answer.out.strip()) == (0, right)
    assert owner.run("ls", "--vault", "b/").status == 0


def test_trust_on_first_use_needs_a_person_at_a_terminal(owner: User) -> None:
    owner.becomes_somebody_else()
    for more in ((), ("--yes",), ("--json",)):
        answer = owner.run("trust", "models/", *more, given="yes\n")
        assert answer.status == 3
        assert "nobody is at a terminal to compare its fingerprint" in answer.err
        assert "--root sha256:…" in answer.err


def test_a_person_at_a_terminal_compares_and_types_yes(owner: User) -> None:
    fingerprint = json.loads(owner.run("trust", "export").out)["vault"]
    owner.becomes_somebody_else()
    prompt = "Type yes if they are the same: "
    for refusal in ("no\n", "y\n", "\n", "\x04"):
        answer = owner.type("trust", "models/", answers=((prompt, refusal),))
        assert answer.status == 3, answer.out
        assert "models/ was not trusted; nothing was changed." in answer.out
    answer = owner.type("trust", "models/", answers=((prompt, "yes\n"),))
    assert answer.status == 0, answer.out
    assert f"sha256:{fingerprint}" in answer.out
    assert owner.run("ls", "--vault", "models/").status == 0


def test_a_trust_file_serves_a_machine_without_memory(owner: User) -> None:
    exported = owner.run("trust", "export")
    trustfile.parse(exported.out.encode(), "trust.json")
    assert owner.run("trust", "export", "trust.json").out.strip() == "trust.json"
    assert owner.run("trust", "export", "trust.json").status == 9, "it is never overwritten"
    owner.becomes_somebody_else()
    assert owner.run("ls").status == 3
    assert owner.run("ls", "--trust", "trust.json").out.startswith("churn\t")


def test_a_container_needs_three_variables_and_no_home(owner: User) -> None:
    owner.run("trust", "export", "trust.json")
    identity = owner.home / ".config/mvault/identity.json"
    answer = owner.start(
        "pull",
        "churn@prod",
        "out",
        HOME="/nonexistent",
        MVAULT_VAULT=str(owner.folder / "models"),
        MVAULT_IDENTITY=str(identity),
        MVAULT_TRUST="trust.json",
    )
    assert answer.status == 0, answer.err
    assert (owner.folder / "out/model.json").read_text() == '{"weights":[1,2,3]}'


# --- identity ---


def test_identities_are_made_listed_passed_on_and_taken_in(user: User) -> None:
    assert user.run("identity", "list").status == 0
    assert user.run("identity", "new", "anna", "--no-passphrase").status == 0
    assert user.run("identity", "new", "bob", "-o", "bob.json", "--no-passphrase").status == 0
    taken = user.run("identity", "import", "bob.json")
    assert taken.out.strip() == str(user.home / ".config/mvault/identity-bob.json")
    assert stat.S_IMODE(Path(taken.out.strip()).stat().st_mode) == 0o600
    assert user.run("identity", "import", "bob.json").status == 9
    rows = [line.split("\t")[:2] for line in user.run("identity", "list").out.splitlines()]
    assert rows == [["", "bob"], ["*", "anna"]] or rows == [["*", "anna"], ["", "bob"]]
    shown = user.run("identity", "show", "bob.json", "--json").json
    exported = public_identity.parse(
        user.run("identity", "export", "--identity", "bob.json").out.encode(), ""
    )
    assert shown["key_id"] == f"sha256:{exported.public.key_id}"
    assert shown["recipient"] == exported.recipient


def test_an_imported_identity_is_one_s_own_where_there_was_none(user: User) -> None:
    user.run("identity", "new", "bob", "-o", "bob.json", "--no-passphrase")
    taken = user.run("identity", "import", "bob.json", "--json").json
    assert taken["in_use"] is True
    assert taken["path"] == str(user.home / ".config/mvault/identity.json")


def test_what_is_no_identity_is_not_taken_in(user: User) -> None:
    user.write("web.pub", '{"format":"mvault-public-identity-v1"}')
    for name, status in (("web.pub", 3), ("missing", 6)):
        assert user.run("identity", "import", name).status == status
    assert not (user.home / ".config").exists()
