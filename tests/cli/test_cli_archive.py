"""`mvault archive`, `card`, `bom` and `lock`, as they are typed."""

import json
from pathlib import Path

import pytest

from tests.cli.typing_user import User

DOCUMENTED = Path(__file__).parents[2] / "docs" / "cli.md"


@pytest.fixture
def three(owner: User) -> User:
    """An owner of churn 1 to 3, of which 1 was in prod and 2 is."""
    for number in (2, 3):
        owner.write("model.json", f'{{"weights":[{number}]}}')
        assert owner.run("push", "churn", "model.json", "--metric", "auc=0.92").status == 0
    assert owner.run("promote", "churn:2", "--env", "prod").status == 0
    return owner


def test_a_plan_then_the_archive_then_back(three: User) -> None:
    planned = three.run("archive", "churn", "--to", "cold", "--keep-last", "1", "--dry-run", "--json")
    assert planned.status == 0
    assert planned.json["dry_run"] is True
    assert [(row["reference"], row["state"]) for row in planned.json["versions"]] == [
        ("churn:2", "kept"),
        ("churn:1", "planned"),
    ]
    assert not (three.folder / "cold").exists()
    done = three.run("archive", "churn", "--to", "cold", "--keep-last", "1")
    assert done.status == 0
    rows = [line.split("\t") for line in done.out.splitlines()]
    assert rows[1][:2] == ["churn:1", "archived"]
    assert rows[1][3] == str(three.folder / "cold")
    assert rows[0][4] == "in use in prod"
    assert "1 version archived" in done.err
    refused = three.run("pull", "churn:1", "out", "--json")
    assert refused.status == 7
    assert refused.json["error"]["code"] == "archived"
    assert "mvault archive --back churn:1" in refused.json["error"]["hint"]
    assert three.run("check").status == 0
    assert three.run("pull", "churn:1", "out", "--wait").status == 0
    assert (three.folder / "out" / "model.json").read_text() == '{"weights":[1,2,3]}'
    back = three.run("archive", "--back", "churn:1", "--json")
    assert back.status == 0
    assert back.json["state"] == "returned"
    assert three.run("pull", "churn:1", "again").status == 0


def test_a_failure_of_one_version_is_told_and_ends_the_command_with_its_status(three: User) -> None:
    payloads = [
        path for path in (three.folder / "models/models/churn/@/1/files").iterdir() if path.suffix != ".units"
    ]
    largest = min(payloads, key=lambda path: path.stat().st_size)
    largest.chmod(0o600)
    largest.write_bytes(b"x" * largest.stat().st_size)
    done = three.run("archive", "churn", "--to", "cold", "--keep-last", "1", "--json")
    assert done.status == 3
    (failed,) = [row for row in done.json["versions"] if row["state"] == "failed"]
    assert failed["code"] == "digest-mismatch"


@pytest.mark.parametrize(
    "typed",
    [
        ("archive",),
        ("archive", "churn"),
        ("archive", "churn", "--to", "cold"),
        ("archive", "churn:1"),
        ("archive", "churn:1", "--class", "GLACIER"),
        ("archive", "churn:1", "--to", "cold", "--keep-last", "1"),
        ("archive", "--back", "churn:1", "--to", "cold"),
        ("archive", "--lifecycle", "s3", "churn:1"),
        ("archive", "--lifecycle", "s3", "--days", "-1"),
        ("card", "churn:1", "--with-signature"),
        ("lock",),
        ("lock", "churn"),
        ("lock", "churn@prod", "--check", "models.lock"),
        ("pull", "churn", "out", "--lock", "models.lock"),
    ],
)
def test_a_mistake_in_typing_is_a_usage_error(owner: User, typed: tuple[str, ...]) -> None:
    owner.write("models.lock", owner.run("lock", "churn@prod").out)
    answer = owner.run(*typed)
    assert answer.status == 2, answer.err


@pytest.mark.parametrize("kind", ["s3", "gcs", "azure"])
def test_rules_for_a_bucket_are_printed_as_a_file_to_apply(user: User, kind: str) -> None:
    """No vault is needed for that."""
    answer = user.run("archive", "--lifecycle", kind, "--prefix", "old", "--days", "30")
    assert answer.status == 0
    assert "old/models/" in json.dumps(json.loads(answer.out))
    assert "30" in answer.out


def test_documents_are_printed_exported_and_signed(owner: User) -> None:
    card = owner.run("card", "churn@prod")
    assert card.status == 0
    assert card.out.startswith("# Model card\n")
    assert "`0.91`" in card.out
    bom = owner.run("bom", "churn:1")
    assert json.loads(bom.out)["bomFormat"] == "CycloneDX"
    answer = owner.run("bom", "churn:1", "--json").json
    assert answer == {"reference": "churn:1", "document": "mlbom.cdx.json", "text": bom.out}
    written = owner.run("card", "churn@prod", "--output", "CARD.md", "--with-signature", "--json")
    assert written.json["path"] == str(owner.folder / "CARD.md")
    assert (owner.folder / "CARD.md").read_text() == card.out
    public = owner.write("signer.json", owner.run("identity", "export", "--public").out)
    assert owner.run("verify", "CARD.md", "--trusted", str(public)).status in (0, 2)
    assert owner.run("card", "churn@prod", "--output", "CARD.md").status == 9


def test_pushed_documents_travel_in_the_package(owner: User) -> None:
    assert owner.run("push", "churn", "model.json", "--documents").status == 0
    assert owner.run("pull", "churn:2", "out").status == 0
    found = {path.name for path in (owner.folder / "out").iterdir()}
    assert found == {"model.json", "MODEL_CARD.md", "mlbom.cdx.json"}
    assert owner.run("card", "churn:2").out == (owner.folder / "out" / "MODEL_CARD.md").read_text()


def test_a_lock_is_written_checked_and_pulled_by(three: User) -> None:
    written = three.run("lock", "churn@prod")
    assert written.status == 0
    lines = written.out.splitlines()
    assert lines[0] == "mvault-lock 1"
    assert lines[2].startswith("churn@prod 2 sha256:")
    lock = three.write("models.lock", written.out)
    value = three.run("lock", "churn@prod", "--json").json
    assert value["channels"][0]["version"] == "2"
    assert lines[1] == f"vault {value['vault']}"
    assert three.run("lock", "--check", str(lock)).status == 0
    assert three.run("promote", "churn:3", "--env", "prod").status == 0
    assert three.run("pull", "churn@prod", "out", "--lock", str(lock)).status == 0
    assert (three.folder / "out" / "model.json").read_text() == '{"weights":[2]}'
    behind = three.run("lock", "--check", str(lock))
    assert behind.status == 0
    assert behind.out.split("\t")[:4] == ["churn@prod", "2", "behind", "3"]
    assert three.run("withdraw", "churn:2", "--env", "prod").status == 0
    refused = three.run("lock", "--check", str(lock), "--json")
    assert refused.status == 3
    assert refused.json["channels"][0]["code"] == "barred"
    assert three.run("pull", "churn@prod", "out2", "--lock", str(lock)).status == 3


@pytest.mark.parametrize("command", ["archive", "card", "bom", "lock"])
def test_each_command_is_documented_with_its_json(command: str) -> None:
    text = DOCUMENTED.read_text(encoding="utf-8")
    section = text[text.index(f"\n## mvault {command}\n") :].partition("\n## ")[2].partition("\n## ")[0]
    assert "```json" in section
