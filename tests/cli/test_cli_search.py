"""`mvault search`, `index`, `diff` and `compare`, as people type them."""

import sys
from pathlib import Path

import pytest

from tests.cli.typing_user import User


def more(user: User) -> None:
    """Publish a second version of churn, and a model in a folder."""
    user.write("model.json", '{"weights":[4,5,6]}')
    pushed = user.run("push", "churn", "model.json", "--metric", "auc=0.95", "--param", "depth=5")
    assert pushed.status == 0, pushed.err
    assert (
        user.run("push", "nepse/NABIL", "model.json", "--metric", "auc=0.5", "--note", "a weekly run").status
        == 0
    )


def test_search_answers_with_references_and_the_values_that_were_asked_for(owner: User) -> None:
    more(owner)
    answer = owner.run("search", "metric.auc>0.9 and not env=prod")
    assert answer.status == 0
    assert [line.split("\t")[0] for line in answer.out.splitlines()] == ["churn:2"]
    assert answer.out.rstrip("\n").split("\t")[-1] == "metric.auc=0.95"
    assert owner.run("search", "metric.auc>0.9", "and", "env=prod").out.split("\t")[0] == "churn:1"
    assert owner.run("search", "param.depth<=5").out.split("\t")[0] == "churn:2"
    assert owner.run("search", "weekly").out.split("\t")[0] == "nepse/NABIL:1"
    nothing = owner.run("search", "absent")
    assert (nothing.status, nothing.out) == (0, "")


def test_search_as_json(owner: User) -> None:
    more(owner)
    told = owner.run("search", "metric.auc>0.9", "--limit", "1", "--json").json
    assert told.keys() == {
        *("query", "hits", "more", "updated", "verified", "refuted", "skipped", "unrecorded"),
    }
    assert (told["query"], told["more"], told["verified"]) == ("metric.auc>0.9", True, False)
    (hit,) = told["hits"]
    assert hit.keys() == {
        *("reference", "model", "version", "created", "digest", "formats", "size", "channels", "tags"),
        *("publishers", "readable", "values"),
    }
    assert (hit["reference"], hit["values"], hit["readable"]) == ("churn:2", {"metric.auc": "0.95"}, True)
    assert owner.run("search", "churn", "--verify", "--json").json["verified"] is True


def test_a_table_on_a_terminal_shows_what_was_asked_for(owner: User) -> None:
    more(owner)
    shown = owner.type("search", "metric.auc>0.9")
    assert shown.status == 0
    assert "METRIC.AUC" in shown.out
    assert "0.95" in shown.out
    assert "Nothing was found." in owner.type("search", "absent").out


@pytest.mark.parametrize(
    ("query", "column"), [("metrc.auc>0.9", 1), ("env=prod and", 13), ("(a", 1), ("size>big", 6)]
)
def test_a_wrong_query_is_a_usage_error_with_its_column(owner: User, query: str, column: int) -> None:
    wrong = owner.run("search", query)
    assert wrong.status == 2
    assert f"Column {column} of the query" in wrong.err
    assert owner.run("search", query, "--json").status == 2


def test_escapes_in_what_people_publish_do_not_reach_a_terminal(owner: User) -> None:
    owner.write("model.json", "{}")
    assert owner.run("push", "odd", "model.json", "--param", "x=\x1b]0;owned\x07").status == 0
    shown = owner.type("search", "param=x")
    assert "odd:1" in shown.out
    assert "\x1b]0;owned" not in shown.out
    assert "\x1b" not in owner.run("search", "param=x").out


def test_the_index_is_updated_rebuilt_and_told_of(owner: User) -> None:
    status = owner.run("index", "status", "--json").json
    assert status.keys() == {
        *("place", "shared", "updated", "models", "versions", "channel_records", "readable"),
    }
    assert (status["updated"], status["versions"], status["shared"]) == (None, 0, None)
    done = owner.run("index", "update", "--json").json
    assert done.keys() == {
        *("written", "removed", "models", "readable", "followed", "skipped", "unrecorded", "read_only"),
    }
    assert (done["written"], done["readable"]) == (1, 1)
    assert owner.run("index", "update").out == "0\n"
    assert owner.run("index", "rebuild").out == "1\n"
    assert "versions\t1\n" in owner.run("index", "status").out
    assert Path(status["place"]).stat().st_mode & 0o777 == 0o600


def test_a_damaged_index_says_how_to_mend_it(owner: User) -> None:
    place = Path(owner.run("index", "status", "--json").json["place"])
    place.write_bytes(b"garbage" * 999)
    refused = owner.run("search", "churn")
    assert refused.status == 3
    assert "mvault index rebuild" in refused.err
    assert owner.run("index", "rebuild").status == 0
    assert owner.run("search", "churn").out.split("\t")[0] == "churn:1"


def test_a_project_may_not_name_the_database_of_the_index(owner: User) -> None:
    project = owner.folder / "mvault.toml"
    project.write_text(project.read_text() + '\nindex = "postgresql://evil/x"\n')
    refused = owner.run("search", "churn")
    assert refused.status == 3
    assert "'index'" in refused.err


def test_the_users_own_configuration_may(owner: User, monkeypatch: pytest.MonkeyPatch) -> None:
    config = owner.home / ".config" / "mvault" / "config.toml"
    config.parent.mkdir(parents=True, exist_ok=True)
    config.write_text('index = "postgresql://nobody@127.0.0.1:1/none"\n')
    away = owner.run("search", "churn")
    assert away.status == 7
    assert "127.0.0.1:1" in away.err
    monkeypatch.setenv("MVAULT_INDEX", "mysql://x")
    assert owner.run("search", "churn").status == 2


def test_diff_tells_in_what_two_versions_differ(owner: User) -> None:
    more(owner)
    told = owner.run("diff", "churn:1", "churn:2", "--json").json
    assert [side["reference"] for side in told["versions"]] == ["churn:1", "churn:2"]
    rows = {(row["section"], row["name"]): row["values"] for row in told["rows"]}
    assert rows["metrics", "auc"] == [0.91, 0.95]
    assert rows["parameters", "depth"][0] is None
    assert rows["version", "channels"] == [["prod"], []]
    assert rows["files", "model.json"][0]["sha256"] != rows["files", "model.json"][1]["sha256"]
    assert all(row["differs"] for row in told["rows"])
    lines = owner.run("diff", "churn:1", "churn:2").out.splitlines()
    assert "metrics\tauc\t0.91\t0.95" in lines
    same = owner.run("diff", "churn:1", "churn@prod")
    assert (same.status, same.out) == (0, "")
    assert "They do not differ." in same.err
    assert owner.run("diff", "churn:1", "churn:9").status == 6


def test_compare_lays_versions_beside_each_other(owner: User) -> None:
    more(owner)
    shown = owner.type("compare", "churn:1", "churn:2", "nepse/NABIL:1")
    assert shown.status == 0
    assert "churn:1" in shown.out
    assert "auc" in shown.out
    everything = owner.run("compare", "churn:1", "churn:2", "--all", "--json").json["rows"]
    some = owner.run("compare", "churn:1", "churn:2", "--json").json["rows"]
    assert 0 < len(some) < len(everything)
    assert {row["name"] for row in some} >= {"auc", "depth", "model.json"}
    assert owner.run("compare", "churn:1").status == 2


def test_without_sqlalchemy_only_search_and_the_index_are_missing(
    owner: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "sqlalchemy", None)
    missing = owner.run("search", "churn")
    assert missing.status == 1
    assert "model-artifact-vault[registry]" in missing.err
    assert owner.run("index", "update").status == 1
    owner.write("model.json", '{"weights":[7]}')
    assert owner.run("push", "churn", "model.json").status == 0
    for command in (("ls",), ("show", "churn:1"), ("history", "churn"), ("diff", "churn:1", "churn:2")):
        assert owner.run(*command).status == 0


def test_no_change_imports_what_an_index_needs(owner: User) -> None:
    owner.write("model.json", '{"weights":[7]}')
    assert owner.run("search", "churn").status == 0
    program = (
        "import sys; from vault.cli.main import cli;"
        "cli.main(['push', 'churn', 'model.json'], standalone_mode=False);"
        "assert 'sqlalchemy' not in sys.modules and 'alembic' not in sys.modules"
    )
    import subprocess

    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr
    assert owner.run("search", "version=2").out.split("\t")[0] == "churn:2"
