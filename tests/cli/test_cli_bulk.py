"""The command for many models: what it prints, where, with which status, and what it says to type next."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.cli.typing_user import User
from tests.e2e.bulk_parts import POLICY
from vault.actions import bulk
from vault.vault import Vault

SYMBOLS = ("EBL", "NABIL", "NICA")


@pytest.fixture
def desk(user: User) -> User:
    """A user who owns a vault with dev, staging and prod, and has three model files and a table."""
    user.write("policy.yaml", POLICY)
    made = user.run("init", "models", "--no-passphrase", "--policy", "policy.yaml", "--recipient", "x25519")
    assert made.status == 0
    lines = ["model,path,metric.hit_rate,tags"]
    for symbol in SYMBOLS:
        user.write(f"{symbol}.json", json.dumps({"symbol": symbol}))
        lines.append(f'nepse/{symbol},{symbol}.json,0.5,"nightly, banks"')
    user.write("models.csv", "\n".join(lines) + "\n")
    return user


@pytest.fixture
def released(desk: User) -> User:
    """The same with everything in prod."""
    for arguments in (
        ("push", "--from", "models.csv"),
        ("promote", "nepse/*", "--env", "staging"),
        ("promote", "nepse/*@staging", "--env", "prod"),
    ):
        assert desk.run(*arguments).status == 0
    return desk


def lines(*rows: tuple[str, str, str]) -> str:
    return "".join(f"{state}\t{model}\t{reference}\t\t\n" for state, model, reference in rows)


def test_a_table_goes_through_all_environments_and_back(desk: User) -> None:
    done = desk.run("push", "--from", "models.csv")
    assert (done.status, done.out) == (0, lines(*(("done", f"nepse/{s}", f"nepse/{s}:1") for s in SYMBOLS)))
    assert done.err == "3 models: 3 published to dev.\n"
    shown = desk.run("show", "nepse/NABIL", "--json").json
    assert shown["metadata"]["metrics"] == {"hit_rate": 0.5}
    assert shown["metadata"]["tags"] == ["nightly", "banks"]
    assert desk.run("promote", "nepse/*", "--env", "staging").err == "3 models: 3 promoted to staging.\n"
    desk.run("push", "--from", "models.csv")
    again = desk.run("promote", "nepse/*:1", "--env", "staging")
    assert again.err == "3 models: 0 promoted to staging, 3 there already.\n"
    desk.run("promote", "*@staging", "--env", "prod")
    desk.run("promote", "nepse/*", "--env", "staging")
    desk.run("promote", "nepse/*@staging", "--env", "prod")
    back = desk.run("rollback", "nepse/*", "--env", "prod")
    assert (back.status, back.err) == (0, "3 models: 3 one version back in prod.\n")
    listed = [line.split("\t")[3] for line in desk.run("ls").out.splitlines()]
    assert listed == ["prod=1,staging=2"] * 3


def test_failures_are_listed_with_what_to_type_next(released: User) -> None:
    manifest = released.folder / "models/models/nepse/EBL/@/1/manifest.json"
    manifest.write_bytes(b"{}")
    released.write("refs", "nepse/EBL@staging\nnepse/NABIL@staging\nnepse/NONE:1\n")
    done = released.run("promote", "--from", "refs", "--env", "prod")
    assert done.status == 3
    rows = [line.split("\t") for line in done.out.splitlines()]
    assert [row[:4] for row in rows] == [
        ["already", "nepse/NABIL", "nepse/NABIL:1", ""],
        ["failed", "nepse/EBL", "nepse/EBL@staging", "malformed-envelope"],
        ["failed", "nepse/NONE", "nepse/NONE:1", "not-found"],
    ]
    assert done.err == (
        "3 models: 0 promoted to prod, 1 there already, 2 failed.\n"
        "To do what is left: mvault promote --from refs --env prod\n"
    )


def test_json_has_the_documented_shape(released: User) -> None:
    released.write("refs", "nepse/NABIL\nnepse/NONE\n")
    done = released.run("promote", "--from", "refs", "--env", "staging", "--json")
    assert done.status == 6
    assert done.json == {
        "done": [{"model": "nepse/NABIL", "reference": "nepse/NABIL:1", "state": "already"}],
        "failed": [
            {
                "model": "nepse/NONE",
                "reference": "nepse/NONE",
                "error": {
                    "code": "not-found",
                    "message": "There is no version of nepse/NONE in dev.",
                    "subject": "nepse/NONE",
                    "hint": "See what there is: mvault ls",
                },
            }
        ],
        "left": [],
        "skipped": [],
        "stopped": None,
        "dry_run": False,
        "began": None,
    }


@pytest.mark.parametrize(
    "arguments",
    [
        ("push", "--from", "models.csv", "--dry-run"),
        ("push", "nepse/NABIL", "NABIL.json", "--dry-run"),
        ("promote", "nepse/*", "--env", "staging", "--dry-run"),
        ("promote", "nepse/NABIL", "--env", "staging", "--dry-run"),
        ("approve", "nepse/*", "--env", "prod", "--dry-run"),
        ("withdraw", "nepse/*:1", "--env", "prod", "--dry-run"),
    ],
)
def test_a_dry_run_says_what_would_be_done_and_does_nothing(desk: User, arguments: tuple[str, ...]) -> None:
    desk.run("push", "--from", "models.csv")
    before = sorted((desk.folder / "models").rglob("*"))
    done = desk.run(*arguments)
    assert done.status == 0
    assert {line.split("\t")[0] for line in done.out.splitlines()} == {"would"}
    assert "would be" in done.err
    assert "what is left" not in done.err
    assert desk.run(*arguments, "--json").json["dry_run"] is True
    assert sorted((desk.folder / "models").rglob("*")) == before


def test_single_forms_print_what_they_always_did(desk: User) -> None:
    assert desk.run("push", "nepse/NABIL", "NABIL.json").out == "nepse/NABIL:1\n"
    promoted = desk.run("promote", "nepse/NABIL", "--env", "staging", "--json").json
    assert set(promoted) == {"reference", "version", "environment", "slot", "already", "skipped"}
    assert desk.run("approve", "nepse/NABIL:1", "--env", "prod").out == "nepse/NABIL:1\n"
    assert desk.run("pull", "nepse/NABIL@staging", "out").out == "out\n"
    assert desk.run("check", "nepse/NABIL:1").status == 0


def test_many_are_pulled_into_folders_of_their_own(released: User) -> None:
    done = released.run("pull", "nepse/*@prod", "out", "--json")
    assert done.status == 0
    assert [entry["path"] for entry in done.json["done"]] == [
        str(released.folder / "out/nepse" / symbol) for symbol in SYMBOLS
    ]
    assert (released.folder / "out/nepse/NICA/NICA.json").exists()
    released.write("refs", "nepse/EBL\n")
    again = released.run("pull", "other", "--from", "refs", "--zip")
    assert again.err == "1 model: 1 pulled into other.\n"
    assert (released.folder / "other/nepse/EBL.zip").exists()
    twice = released.run("pull", "nepse/*@prod", "out")
    assert twice.status == 9
    assert twice.err.endswith("To do what is left: mvault pull 'nepse/*@prod' out\n")


def test_a_check_of_many_prints_as_a_check_does(released: User) -> None:
    whole = released.run("check", "nepse/*", "--json")
    assert whole.status == 0
    assert set(whole.json) == {"whole", "versions", "files", "bytes", "earlier", "findings"}
    assert (whole.json["versions"], whole.json["whole"]) == (3, True)
    (released.folder / "models/models/nepse/EBL/@/1/manifest.json").write_bytes(b"{}")
    broken = released.run("check", "nepse/*")
    assert broken.status == 3
    assert "bad\tnepse/EBL:1" in broken.out
    assert released.run("check", "nyse/*").status == 6


def test_everything_of_many_is_withdrawn_at_once(released: User) -> None:
    done = released.run("withdraw", "nepse/*@prod", "--env", "prod")
    assert (done.status, done.err) == (0, "3 models: 3 withdrawn from prod.\n")
    assert released.run("pull", "nepse/*@prod", "out").status == 3


def test_references_come_from_standard_input_too(released: User) -> None:
    done = released.run("check", "--from", "-", given="nepse/EBL\n# a remark\n\nnepse/NICA@prod\n")
    assert done.status == 0
    assert done.err.startswith("Checked 2 versions, 4 files, ")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("promote", "--env", "prod"), "Missing argument 'REF'."),
        (("promote", "a", "--from", "b", "--env", "prod"), "Give REF or --from, not both."),
        (("promote", "nepse/*"), "Say where to: --env ENV"),
        (("promote", "ne*", "--env", "prod"), "A pattern is *, or ends in /*, as nepse/*."),
        (("promote", "a", "--env", "prod", "--threads", "2"), "--threads is for many models."),
        (("rollback", "nepse/*@prod", "--env", "prod"), "a rollback is of a model, as nepse/*."),
        (("rollback", "nepse/*", "--env", "prod", "--to", "2"), "--to is for one model, not for many."),
        (("rollback", "churn", "--env", "prod", "--anew"), "--anew is for many models."),
        (("withdraw", "nepse/*:1", "--env", "prod", "--replace-with", "2"), "--replace-with is for one"),
        (("pull", "nepse/*", "out", "--layout", "tf-serving"), "--layout is for one model, not for many."),
        (("pull", "nepse/*"), "Missing argument 'DIR'."),
        (("push",), "Missing argument 'MODEL'."),
        (("push", "churn"), "Missing argument 'PATH...'."),
        (("push", "--from", "models.csv", "--note", "x"), "--note is for one model, not for many."),
        (("push", "churn", "x", "--from", "models.csv"), "Give MODEL and PATH, or --from TABLE, not both."),
        (("push", "churn", "-", "--dry-run"), "--dry-run reads files, not standard input."),
        (("check", "--threads", "2"), "--threads is for many models."),
        (("check", "nepse/*", "--continue"), "Give a REF or --continue, not both."),
    ],
)
def test_what_cannot_be_meant_is_a_mistake_of_usage(
    desk: User, arguments: tuple[str, ...], message: str
) -> None:
    done = desk.run(*arguments)
    assert done.status == 2, done
    assert message in done.err


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "refs names no model."),
        ("nepse/A\nnepse/../A\n", "refs, line 2: 'nepse/../A' is not a model name"),
        ("nepse/A\nnepse/A\n", "refs, line 2: nepse/A stands in line 1 already."),
        ("nepse/A\0\n", "refs, line 1: it holds a NUL"),
        ("nepse/EBL:1\nnepse/EBL:2\n", "nepse/EBL:1 and nepse/EBL:2 are both asked for"),
    ],
)
def test_a_list_is_read_strictly(desk: User, text: str, message: str) -> None:
    desk.write("refs", text)
    done = desk.run("promote", "--from", "refs", "--env", "prod")
    assert (done.status, done.out) == (2, "")
    assert message in done.err


def test_a_table_is_read_before_anything_is_published(desk: User) -> None:
    table = desk.folder / "models.csv"
    table.write_text(table.read_text() + "nepse/NLIC,x,much,\n")
    done = desk.run("push", "--from", "models.csv")
    assert done.status == 2
    assert "models.csv, line 5: metric.hit_rate is not a number." in done.err
    assert desk.run("ls").out == ""


def test_a_file_that_is_no_file_fails_its_model_alone(desk: User, tmp_path: Path) -> None:
    (desk.folder / "EBL.json").unlink()
    (desk.folder / "EBL.json").symlink_to("/etc/passwd")
    (desk.folder / "NICA.json").unlink()
    done = desk.run("push", "--from", "models.csv", "--json")
    assert done.status != 0
    assert [entry["model"] for entry in done.json["done"]] == ["nepse/NABIL"]
    assert [entry["model"] for entry in done.json["failed"]] == ["nepse/EBL", "nepse/NICA"]
    assert [entry["error"]["code"] for entry in done.json["failed"]] == ["usage", "not-found"]


@pytest.mark.parametrize("column", ["path", "sample", "features"])
def test_what_never_ends_fails_its_model_and_is_not_read(desk: User, column: str) -> None:
    row = {"model": "nepse/EBL", "path": "EBL.json", column: "/dev/zero"}
    desk.write("endless.jsonl", json.dumps(row) + "\n")
    done = desk.run("push", "--from", "endless.jsonl")
    assert done.status == 2
    assert done.out.startswith("failed\tnepse/EBL\tnepse/EBL\tusage\t")


@pytest.mark.parametrize("form", [(), ("--json",)])
def test_ctrl_c_tells_how_far_it_came_and_what_to_type(
    desk: User, form: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    desk.run("push", "--from", "models.csv")
    original: Callable[..., object] = bulk.wait  # type: ignore[attr-defined]
    calls: list[int] = []

    def wait(*arguments: object, **options: object) -> object:
        calls.append(1)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return original(*arguments, **options)

    monkeypatch.setattr(bulk, "wait", wait)
    done = desk.run("promote", "nepse/*", "--env", "staging", "--threads", "1", *form)
    assert done.status == 130
    if form:
        assert len(done.json["done"]) + len(done.json["left"]) == 3
        assert done.json["left"]
    else:
        assert "not tried." in done.err
        assert "Interrupted. What was begun was ended." in done.err
        assert done.err.endswith("To do what is left: mvault promote 'nepse/*' --env staging\n")


def test_a_run_that_goes_on_says_so(desk: User) -> None:
    away = desk.folder / "NICA.away"
    (desk.folder / "NICA.json").rename(away)
    first = desk.run("push", "--from", "models.csv")
    assert first.status == 6
    assert first.err.endswith("To do what is left: mvault push --from models.csv\n")
    away.rename(desk.folder / "NICA.json")
    second = desk.run("push", "--from", "models.csv")
    assert second.status == 0
    assert second.err == (
        "This went on with what was begun just now.\n3 models: 1 published to dev, 2 published before.\n"
    )


def test_one_progress_bar_goes_over_all_of_them(desk: User) -> None:
    from vault.cli.progress import line

    told: list[tuple[int, int, str]] = []
    opened = _opened(desk)
    opened.progress = lambda done, total, what: told.append((done, total, what))
    opened.push_all("models.csv").raise_if_failed()
    assert told == [(1, 3, "models"), (2, 3, "models"), (3, 3, "models")]
    assert line(2, 3, "models", 1.0, 80).startswith("models ")


def _opened(desk: User) -> Vault:
    import vault

    assert desk.folder == Path.cwd()
    return vault.open("models")
