"""What each verb prints: for people at a terminal, for scripts in a pipe, and as JSON."""

import json
import re
from pathlib import Path
from typing import Any
from zipfile import ZipFile

import pytest

from tests.cli.typing_user import User
from vault import starting
from vault.policyfile import shipped

DOCUMENT = Path(__file__).parents[2] / "docs" / "cli.md"
# Objects whose keys are names.
FREE = {"channels", "metrics", "params", "libraries", "runs", "versions", "aside", "left"}
MIXED = {"rows[].values"}  # lists whose entries are of more than one type


def documented(path: str, number: int = 0) -> Any:
    """Give a JSON example in the section of a command, by its place there."""
    section = re.search(rf"^## {path}\n(.*?)(?=^## |\Z)", DOCUMENT.read_text(), re.M | re.S)
    assert section is not None
    return json.loads(re.findall(r"^```json\n(.*?)^```$", section[1], re.M | re.S)[number])


def same_shape(found: Any, example: Any, where: str = "") -> None:
    """Require the same keys in the same places, and values of the same types where neither is null."""
    if example is None or found is None:
        return
    assert type(found) is type(example), where
    if isinstance(example, dict) and where.rpartition(".")[2] not in FREE:
        assert set(found) == set(example), where
        for key, value in example.items():
            same_shape(found[key], value, f"{where}.{key}")
    if isinstance(example, list) and example and not where.endswith(tuple(MIXED)):
        for entry in found:
            same_shape(entry, example[0], f"{where}[]")


# --- JSON ---

JSON_CASES: dict[str, tuple[str, ...]] = {
    "mvault init": ("init", "another/", "--no-passphrase", "--recipient", "x25519"),
    "mvault trust export": ("trust", "export", "trust.json"),
    "mvault identity new": ("identity", "new", "bob", "-o", "bob.json", "--no-passphrase"),
    "mvault identity show": ("identity", "show"),
    "mvault identity list": ("identity", "list"),
    "mvault identity passphrase": ("identity", "passphrase", "--new-passphrase-file", "columns.json"),
    "mvault push": ("push", "churn", "model.json", "--features", "columns.json", "--param", "C=1"),
    "mvault pull": ("pull", "churn@prod", "out"),
    "mvault ls": ("ls", "churn"),
    "mvault show": ("show", "churn:1"),
    "mvault tag": ("tag", "churn:1", "champion"),
    "mvault note": ("note", "churn:1", "recall fell in May"),
    "mvault lineage": ("lineage", "churn:1"),
    "mvault history": ("history", "churn"),
    "mvault promote": ("promote", "churn:1", "--env", "prod", "--slot", "b"),
    "mvault lock": ("lock", "churn@prod"),
    "mvault card": ("card", "churn:1"),
    "mvault bom": ("bom", "churn:1"),
    "mvault archive": ("archive", "churn", "--to", "cold", "--keep-last", "0"),
    "mvault check": ("check", "churn:9"),
    "mvault renew": ("renew",),
    "mvault doctor": ("doctor",),
    "mvault policy check": ("policy", "check", "policy.yaml"),
    "mvault policy diff": ("policy", "diff", "in-force", "policy.yaml"),
    "mvault policy draft": ("policy", "draft", "policy.yaml", "-o", "next.json"),
    "mvault policy explain": ("policy", "explain", "load", "churn", "--env", "prod"),
    "mvault policy test": ("policy", "test", "policy.yaml", "policy.test.yaml"),
    "mvault team list": ("team", "list"),
    "mvault inspect": ("inspect", "model.json"),
}


@pytest.mark.parametrize("path", JSON_CASES)
def test_json_has_the_documented_shape(path: str, owner: User) -> None:
    owner.write("columns.json", '["age"]')
    owner.write("policy.yaml", shipped("solo"))
    owner.write("policy.test.yaml", "- {who: owner, action: load, model: churn, env: prod, allowed: true}\n")
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


def test_show_tells_the_pins_of_each_file_with_v(owner: User) -> None:
    import numpy as np
    from sklearn.linear_model import LinearRegression

    model = LinearRegression().fit(np.eye(2), [0.0, 1.0])
    starting.open("models/").save_model("line", model)
    loud = owner.run("show", "line:1", "-v").out
    assert "pins\tmodel.skops: " in loud
    assert "sklearn.linear_model._base.LinearRegression" in loud
    assert "pins\t" not in owner.run("show", "line:1").out


def test_json_of_drafts_has_the_documented_shape(owner: User) -> None:
    owner.write("policy.yaml", shipped("solo"))
    assert owner.run("policy", "draft", "policy.yaml", "-o", "next.json").status == 0
    for step in ("sign", "status", "apply"):
        answer = owner.run("policy", step, "next.json", "--json")
        same_shape(answer.json, documented(f"mvault policy {step}"))
    owner.run("identity", "new", "bob", "-o", "bob.json", "--no-passphrase", "--recipient", "x25519")
    owner.write("bob.pub", owner.run("identity", "export", "--identity", "bob.json").out)
    added = owner.run("team", "add", "bob=bob.pub", "--role", "owner", "--json")
    same_shape(added.json, documented("mvault team add"))


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
    version, created, formats, size, used, who, tags = owner.run("ls", "churn").out.rstrip("\n").split("\t")
    assert tags == ""
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
