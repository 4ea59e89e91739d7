"""What each verb prints: for people at a terminal, for scripts in a pipe, and as JSON."""

import json
import re
import stat
from pathlib import Path
from typing import Any
from zipfile import ZipFile

import pytest

from tests.cli.typing_user import Answer, User
from vault.cli import progress
from vault.core import public_identity, trustfile

DOCUMENT = Path(__file__).parents[2] / "docs" / "cli.md"
FREE = {"channels", "metrics", "params", "libraries", "versions"}  # objects whose keys are names
ANSI = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")


def documented(path: str) -> Any:
    """Give the JSON example in the section of a command."""
    section = re.search(rf"^## {path}\n(.*?)(?=^## |\Z)", DOCUMENT.read_text(), re.M | re.S)
    assert section is not None
    example = re.search(r"```json\n(.*?)```", section[1], re.S)
    assert example is not None
    return json.loads(example[1])


def same_shape(found: Any, example: Any, where: str = "") -> None:
    """Require the same keys in the same places, and values of the same types where neither is null."""
    if example is None or found is None:
        return
    assert type(found) is type(example), where
    if isinstance(example, dict) and where.rpartition(".")[2] not in FREE:
        assert set(found) == set(example), where
        for key, value in example.items():
            same_shape(found[key], value, f"{where}.{key}")
    if isinstance(example, list) and example:
        for entry in found:
            same_shape(entry, example[0], f"{where}[]")


# --- JSON ---

JSON_CASES: dict[str, tuple[str, ...]] = {
    "mvault init": ("init", "another/", "--no-passphrase", "--recipient", "x25519"),
    "mvault trust export": ("trust", "export", "trust.json"),
    "mvault identity new": ("identity", "new", "bob", "-o", "bob.json", "--no-passphrase"),
    "mvault identity show": ("identity", "show"),
    "mvault identity list": ("identity", "list"),
    "mvault push": ("push", "churn", "model.json", "--features", "columns.json", "--param", "C=1"),
    "mvault pull": ("pull", "churn@prod", "out"),
    "mvault ls": ("ls", "churn"),
    "mvault show": ("show", "churn:1"),
    "mvault history": ("history", "churn"),
    "mvault promote": ("promote", "churn:1", "--env", "prod", "--slot", "b"),
    "mvault check": ("check", "churn:9"),
    "mvault inspect": ("inspect", "model.json"),
}


@pytest.mark.parametrize("path", JSON_CASES)
def test_json_has_the_documented_shape(path: str, owner: User) -> None:
    owner.write("columns.json", '["age"]')
    answer = owner.run(*JSON_CASES[path], "--json")
    assert answer.err == ""
    same_shape(answer.json, documented(path))


def test_json_of_trust_and_import_has_the_documented_shape(owner: User) -> None:
    fingerprint = owner.run("init", "b/", "--no-passphrase", "--recipient", "x25519").out.strip()
    owner.run("identity", "new", "bob", "-o", "bob.json", "--no-passphrase")
    owner.becomes_somebody_else()
    trusted = owner.run("trust", "b/", "--root", fingerprint, "--json")
    same_shape(trusted.json, documented("mvault trust"))
    same_shape(
        owner.run("identity", "import", "bob.json", "--json").json, documented("mvault identity import")
    )


def test_every_documented_shape_is_tested() -> None:
    sections = re.findall(r"^## (mvault [a-z ]+)\n(.*?)(?=^## |\Z)", DOCUMENT.read_text(), re.M | re.S)
    with_shape = {path for path, text in sections if "```json" in text}
    tested_elsewhere = {
        "mvault demo",  # tests/e2e
        "mvault trust",
        "mvault identity import",
        "mvault identity export",
    }
    assert with_shape == {*JSON_CASES, *tested_elsewhere}


@pytest.mark.parametrize(
    "arguments",
    [("promote", "churn:1", "--env", "prod"), ("history", "churn"), ("check",)],
)
def test_sequence_numbers_appear_with_v_only(arguments: tuple[str, ...], owner: User) -> None:
    for more in ((), ("--json",)):
        quiet, loud = owner.run(*arguments, *more), owner.run(*arguments, *more, "-v")
        told = {"seq", "record 1 of", "root 1 and policy 1"}
        assert not any(text in quiet.out + quiet.err for text in told)
        if more or arguments[0] != "history":
            assert any(text in loud.out + loud.err for text in told)


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


# --- push, pull, promote ---


def test_push_takes_files_folders_archives_and_standard_input(owner: User) -> None:
    owner.write("exported/model.json", "[1]")
    owner.write("exported/more/notes.txt", "hello")
    with ZipFile(owner.folder / "packed.zip", "w") as archive:
        archive.writestr("model.json", "[2]")
    assert owner.run("push", "m", "exported/").out == "m:1\n"
    assert owner.run("push", "m", "packed.zip").out == "m:2\n"
    assert owner.run("push", "m", "-", given=b"[3]").out == "m:3\n"
    assert owner.run("pull", "m:1", "one").status == 0
    assert (owner.folder / "one/more/notes.txt").read_text() == "hello"
    assert owner.run("pull", "m:3", "three").status == 0
    assert (owner.folder / "three/model.json").read_text() == "[3]"


def test_push_keeps_what_it_is_told_about_a_model(owner: User) -> None:
    owner.write("columns.txt", "age\nincome\n")
    pushed = owner.run(
        *("push", "churn", "model.json", "--version", "2", "--metric", "auc=0.5", "--metric", "f1=1"),
        *("--param", "C=1=2", "--features", "columns.txt", "--note", "as agreed", "--tag", "may", "--public"),
    )
    assert pushed.out == "churn:2\n"
    metadata = owner.run("show", "churn:2", "--json").json["metadata"]
    assert metadata["metrics"] == {"auc": 0.5, "f1": 1.0}
    assert metadata["params"] == {"C": "1=2"}
    assert metadata["features"] == ["age", "income"]
    assert (metadata["notes"], metadata["tags"]) == ("as agreed", ["may"])


def test_pull_writes_a_zip_and_never_over_a_file(owner: User) -> None:
    assert owner.run("pull", "churn@prod", "churn.zip", "--zip").out == "churn.zip\n"
    with ZipFile(owner.folder / "churn.zip") as archive:
        assert archive.read("model.json") == b'{"weights":[1,2,3]}'
    assert owner.run("pull", "churn@prod", "churn.zip", "--zip").status == 9
    owner.write("out/model.json", "mine")
    assert owner.run("pull", "churn@prod", "out").status == 9
    assert (owner.folder / "out/model.json").read_text() == "mine"


def test_promote_twice_is_no_error(owner: User) -> None:
    again = owner.run("promote", "churn:1", "--env", "prod")
    assert (again.status, again.out) == (0, "churn@prod\n")
    assert "names churn:1 already" in again.err
    assert owner.run("--env", "prod", "promote", "churn:1").status == 0, "--env may stand before"
    assert owner.run("promote", "churn:1", "--env", "prod", "--slot", "b").out == "churn@prod/b\n"


# --- ls, show, history, check, inspect ---


def test_piped_tables_are_tab_separated_and_exact(owner: User) -> None:
    owner.run("push", "nepse/NABIL", "model.json")
    assert owner.run("ls").out == "churn\t1\t1\tprod=1\nnepse/NABIL\t1\t1\t\n"
    assert owner.run("ls", "nepse").out == "nepse/NABIL\t1\t1\t\n"
    version, created, formats, size, used, who = owner.run("ls", "churn").out.rstrip("\n").split("\t")
    assert (version, formats, size, used, who) == ("1", "json", "19", "prod", "anna")
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", created)
    assert [line.split("\t")[1:4] for line in owner.run("history", "churn").out.splitlines()] == [
        ["promote", "churn:1", "prod"],
        ["publish", "churn:1", "dev"],
    ]
    shown = dict(line.split("\t")[:2] for line in owner.run("show", "churn").out.splitlines())
    assert (shown["reference"], shown["size"], shown["metrics"]) == ("churn:1", "19", "auc 0.91")
    assert owner.run("inspect", "model.json").out == "model.json\tjson\tdata\t\n"
    assert owner.run("check").out == ""


def test_check_lists_what_is_wrong(owner: User) -> None:
    folder = owner.folder / "models/models/churn/@/1/files"
    path = max(folder.iterdir(), key=lambda entry: entry.stat().st_size)
    path.rename(owner.folder / "aside")
    answer = owner.run("check")
    assert answer.status == 3
    assert answer.out.startswith("bad\tchurn:1\t")
    assert "1 problem, listed above." in answer.err


def test_inspect_looks_into_folders_and_ends_with_5_for_what_is_refused(owner: User) -> None:
    owner.write("downloads/evil.pkl", b"\x80\x04cposix\nsystem\n\x8c\x04true\x85R.")
    owner.write("downloads/sub/fine.json", "[]")
    answer = owner.run("inspect", "downloads", "--json")
    assert answer.status == 5
    verdicts = {entry["path"]: entry["verdict"] for entry in answer.json["files"]}
    assert verdicts == {"downloads/evil.pkl": "refused", "downloads/sub/fine.json": "data"}
    assert "posix.system" in answer.json["files"][0]["globals"]
    assert owner.run("inspect", "downloads/sub").status == 0


def test_somebody_without_a_key_may_look_but_not_read(owner: User) -> None:
    owner.run("trust", "export", "trust.json")
    owner.becomes_somebody_else()
    shown = owner.run("show", "churn:1", "--trust", "trust.json", "--json").json
    assert shown["metadata"] is None
    assert shown["unread"]
    assert owner.run("check", "--trust", "trust.json").status == 0


# --- terminals, colour, quiet ---


def test_what_is_piped_has_no_escape_sequences(owner: User) -> None:
    for arguments in (("ls",), ("show", "churn"), ("history", "churn"), ("check", "-v"), ("ls", "nothing")):
        answer = owner.start(*arguments, TERM="xterm-256color")
        assert "\x1b" not in answer.out + answer.err


@pytest.mark.parametrize("off", ["NO_COLOR", "--no-color", "TERM"])
def test_colour_is_for_terminals_and_can_be_switched_off(off: str, owner: User) -> None:
    assert "\x1b[1m" in owner.type("ls").out
    if off.startswith("--"):
        plain = owner.type("ls", off)
    else:
        plain = owner.type("ls", environment={off: {"TERM": "dumb"}.get(off, "1")})
    assert plain.status == 0
    assert not ANSI.search(plain.out)
    assert "MODEL" in plain.out


@pytest.mark.parametrize("rich", [True, False])
def test_tables_fit_a_terminal_of_80_columns(rich: bool, owner: User) -> None:
    name = "/".join(["a-long-name-for-a-folder-of-models"] * 4)
    owner.run("push", name, "model.json", "--note", "word " * 60)
    if not rich:
        blocked = owner.write("blocked/rich/__init__.py", "raise ImportError").parents[1]
    for arguments in (
        ("ls",),
        ("ls", name),
        ("show", name),
        ("history", name),
        ("check", "-v"),
        ("identity", "list"),
    ):
        answer = owner.type(*arguments, environment={} if rich else {"PYTHONPATH": str(blocked)})
        assert answer.status == 0, answer.out
        body = [line for line in ANSI.sub("", answer.out).splitlines() if "/config" not in line]
        assert max(len(line) for line in body if " (" not in line) <= 80
    assert "Traceback" not in answer.out


def test_a_terminal_is_told_times_and_sizes_as_people_do(owner: User) -> None:
    shown = owner.type("ls", "churn").out
    assert "just now" in shown
    assert "19 B" in shown


def test_quiet_leaves_data_and_errors(owner: User) -> None:
    assert owner.run("push", "churn", "model.json", "-q").err == ""
    assert owner.run("-q", "show", "nothing").err.startswith("Error: ")
    typed = owner.type("push", "churn", "model.json", "-q")
    assert ANSI.sub("", typed.out) == "churn:3\n"


def test_verbose_tells_where_settings_came_from(owner: User) -> None:
    told = owner.run("ls", "-v").err
    assert f"vault: {owner.folder}/models/ ({owner.folder}/mvault.toml)" in told or "mvault.toml)" in told
    assert "(default)" in told
    assert owner.run("ls", "-v", "--vault", "models/").err.startswith("vault: models/ (--vault)\n")
    assert "[not-found]" in owner.run("show", "nothing", "-v").err


def test_a_read_only_home_is_no_hindrance(owner: User) -> None:
    state = owner.home / ".local/state/mvault"
    for path in (state, owner.home / ".config/mvault", owner.home):
        path.chmod(0o500)
    try:
        answer: Answer = owner.start("ls")
        assert answer.status == 0
        assert owner.start("pull", "churn@prod", "out").status == 0
    finally:
        for path in (owner.home, owner.home / ".config/mvault", state):
            path.chmod(0o700)


# --- progress ---


def test_a_progress_bar_waits_a_second_and_leaves_nothing_behind(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    now = [100.0]
    monkeypatch.setattr("time.monotonic", lambda: now[0])
    bar = progress.Bar()
    bar.report(1, 10, "model.skops")
    assert capsys.readouterr().err == ""
    now[0] += 1.5
    bar.report(5, 10, "model.skops")
    assert " 50%" in capsys.readouterr().err
    bar.clear()
    assert capsys.readouterr().err == "\r\x1b[K"
    bar.clear()
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize("columns", [10, 40, 80, 200])
def test_a_progress_line_fits(columns: int) -> None:
    for what in ("model.skops", "x" * 300, "evil\x1b[2J"):
        shown = progress.line(3_000_000, 9_000_000, what, 4.0, columns)
        assert len(shown) < columns
        assert "\x1b" not in shown
