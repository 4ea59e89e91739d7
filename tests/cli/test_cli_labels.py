"""`mvault tag`, `note`, and `push` with parents and bumps, as people type them."""

from tests.cli.typing_user import User


def test_tags_are_given_listed_shown_and_taken_back(owner: User) -> None:
    done = owner.run("tag", "churn:1", "champion", "2026-Q3")
    assert (done.status, done.out) == (0, "churn:1\n")
    assert done.err == "churn:1 has 2026-Q3, champion now.\n"
    assert "has these already" in owner.run("tag", "churn:1", "champion").err
    assert owner.run("tag", "churn:1").out == "2026-Q3\nchampion\n"
    assert owner.run("ls", "churn").out.rstrip("\n").split("\t")[-1] == "2026-Q3,champion"
    assert "tags\t2026-Q3,champion\n" in owner.run("show", "churn:1").out
    gone = owner.run("tag", "churn@prod", "champion", "--remove", "--json").json
    assert (gone["reference"], gone["tags"], gone["changed"]) == ("churn:1", ["2026-Q3"], ["champion"])
    assert "has none of these" in owner.run("tag", "churn:1", "champion", "--remove").err


def test_notes_are_shown_with_who_signed_them(owner: User) -> None:
    done = owner.run("note", "churn:1", "recall fell in \x1b[31mMay")
    assert done.err == "Noted. churn:1 has 1 note.\n"
    shown = owner.run("show", "churn:1").out
    assert "note\trecall fell in \\x1b[31mMay (" in shown
    events = owner.run("history", "churn").out.splitlines()
    assert [line.split("\t")[1] for line in events if line.endswith("May")] == ["note"]
    detail = [event["detail"] for event in owner.run("history", "churn", "--json").json["events"]]
    assert "recall fell in \x1b[31mMay" in detail


def test_mistakes_are_told_as_such(owner: User) -> None:
    assert owner.run("tag", "churn:1", "--remove").status == 2
    wrong = owner.run("tag", "churn:1", "not,a,tag")
    assert wrong.status == 2
    assert "is not a tag" in wrong.err
    assert owner.run("note", "churn:1", " ").status == 2
    assert owner.run("tag", "churn:9", "champion").status == 6


def test_the_help_says_that_tags_and_notes_are_not_encrypted(owner: User) -> None:
    for command in ("tag", "note"):
        assert "not encrypted" in " ".join(owner.run(command, "--help").out.split())


def test_a_push_names_its_parents_and_takes_the_next_version(owner: User) -> None:
    base = owner.run("push", "base", "model.json", "--bump", "minor", "--json").json
    assert base["reference"] == "base:0.1.0"
    again = owner.run("push", "base", "model.json", "--bump", "prerelease", "--parent", "churn:1=same-data")
    assert again.out == "base:0.1.1-rc.1\n"
    child = owner.run(
        "push", "base", "model.json", "--bump", "patch", "--parent", "base", "--parent", "churn@prod"
    )
    assert child.out == "base:0.1.1\n"
    parents = owner.run("show", "base:0.1.1", "--json").json["parents"]
    assert [(entry["reference"], entry["relation"]) for entry in parents] == [
        ("base:0.1.0", "fine-tuned-from"),
        ("churn:1", "fine-tuned-from"),
    ]
    assert "fine-tuned-from\tbase:0.1.0\n" in owner.run("show", "base:0.1.1").out


def test_a_push_with_a_parent_that_is_not_there_publishes_nothing(owner: User) -> None:
    assert owner.run("push", "child", "model.json", "--parent", "churn:9").status == 6
    assert owner.run("push", "child", "model.json", "--parent", "churn:1=begotten-by").status == 2
    both = owner.run("push", "churn", "model.json", "--version", "7", "--bump", "major")
    assert both.status == 2
    assert owner.run("push", "churn", "model.json", "--bump", "minor").status == 2
    assert owner.run("ls", "child").status == 6


def family(owner: User) -> None:
    owner.run("push", "base", "model.json", "--training-data", "model.json")
    owner.run("push", "child", "model.json", "--parent", "base:1", "--training-data", "model.json")
    owner.run(
        "push", "grandchild", "model.json", "--parent", "child:1=converted-from", "--parent", "base=same-data"
    )


def test_lineage_is_piped_as_edges_and_written_as_json(owner: User) -> None:
    family(owner)
    expected = [
        "grandchild:1\tsame-data\tbase:1",
        "grandchild:1\tconverted-from\tchild:1",
        "child:1\tfine-tuned-from\tbase:1",
    ]
    assert owner.run("lineage", "grandchild:1").out.splitlines() == expected
    assert sorted(owner.run("lineage", "base").out.splitlines()) == sorted(expected)
    assert owner.run("lineage", "base", "--parents").out == ""
    value = owner.run("lineage", "grandchild:1", "--json").json
    assert value["shared_data"][0]["versions"] == ["base:1", "child:1"]
    cut = owner.run("lineage", "grandchild:1", "--parents", "--depth", "0")
    assert (cut.out, cut.err) == ("", "There are more: --depth says how many generations are shown.\n")


def test_lineage_is_a_tree_on_a_terminal(owner: User) -> None:
    family(owner)
    shown = owner.type("lineage", "grandchild:1").out
    assert "├─ same-data base:1  just now by " in shown
    assert "└─ converted-from child:1  " in shown
    assert "   └─ fine-tuned-from base:1" in shown
    assert "Trained on the same data, sha256:" in shown
    below = owner.type("lineage", "base:1").out
    assert "What came of base:1:" in below
    assert ", fine-tuned-from it" in below
    assert "grandchild:1" in below


def test_lineage_is_written_for_graphviz(owner: User) -> None:
    family(owner)
    lines = owner.run("lineage", "child:1", "--dot").out.splitlines()
    assert lines[0] == "digraph lineage {"
    assert lines[-1] == "}"
    assert sum(" -> " in line for line in lines) == 2
    assert sum('label="child:1", penwidth=2' in line for line in lines) == 1
