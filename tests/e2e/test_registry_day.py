"""A team searches its vault: by a file of its own, and by a PostgreSQL server that it shares."""

import sqlite3
from collections.abc import Callable
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest

from tests.builders import Built, package_file, team
from tests.e2e.team_parts import in_prod, let_in, with_rule
from tests.servers.postgres import PostgresServer, postgres  # noqa: F401 (a fixture)
from vault.actions import index_place, publish
from vault.actions.publish import Contents
from vault.core import layout, names
from vault.core.manifest import Parent
from vault.core.policy import Policy
from vault.core.strict_json import JSONValue
from vault.errors import Refused, Unavailable
from vault.settings import Settings
from vault.vault import Vault

Open = Callable[..., Vault]


@pytest.fixture
def built() -> Built:
    return team()


@pytest.fixture(params=["file", "server"])
def url(request: pytest.FixtureRequest) -> str | None:
    if request.param == "file":
        return None
    server: PostgresServer = request.getfixturevalue("postgres")
    return server.url(server.new_schema())


@pytest.fixture
def open_as(built: Built, url: str | None, tmp_path: Path) -> Open:
    """Open the vault as somebody, who has a state folder, and the server if there is one."""

    def act(who: str | None, *, env: str = "dev", state: Path | None = None) -> Vault:
        session = built.session(who, env=env)
        folder = state or tmp_path / (who or "nobody")
        session.changed = index_place.toucher(folder, session.pin)
        return Vault(session, Settings(state_dir=folder, index=url))

    return act


def put(opened: Vault, model: str, **info: JSONValue) -> str:
    """Publish a version with metadata."""
    files = [package_file("model.json", b'{"w":1}')]
    contents = Contents(files, info, {"numpy": "2.1.0"})
    return str(publish.publish(opened._session, names.model(model), None, contents))


def found(opened: Vault, query: str, **more: bool) -> list[str]:
    return [hit.reference for hit in opened.search(query, **more).hits]


def test_versions_are_found_by_metrics_and_where_they_are_used(built: Built, open_as: Open) -> None:
    dora = open_as("dora")
    put(dora, "churn", metrics={"auc": 0.85}, params={"depth": 3}, features=["age"], notes="a weekly run")
    put(dora, "churn", metrics={"auc": 0.95}, params={"depth": 9})
    put(dora, "nepse/NABIL", metrics={"auc": 0.99})
    let_in(built, "churn:2")
    assert found(dora, "metric.auc>0.9 and env=prod and format=json") == ["churn:2"]
    assert found(dora, "metric.auc>0.9 and not env=prod") == ["nepse/NABIL:1"]
    assert found(dora, "weekly") == found(dora, "feature=age") == found(dora, "param.depth<=5") == ["churn:1"]
    assert found(dora, "library.numpy>=2 model:nepse/*") == ["nepse/NABIL:1"]
    assert found(dora, "approved=ann and approved=bob") == ["churn:2"]
    assert found(dora, "metric.auc>0.9 and env=prod", verify=True) == ["churn:2"]


def test_what_was_done_from_here_is_found_at_once_and_what_others_did_within_a_minute(
    built: Built, open_as: Open
) -> None:
    dora = open_as("dora")
    put(dora, "churn", metrics={"auc": 0.5})
    assert found(dora, "metric=auc") == ["churn:1"]
    put(dora, "churn", metrics={"auc": 0.6})
    assert set(found(dora, "metric=auc")) == {"churn:1", "churn:2"}
    let_in(built, "churn:1")  # by others, elsewhere
    assert found(dora, "env=prod", update=False) == []
    built.now += 61
    assert found(dora, "env=prod") == ["churn:1"]
    assert found(open_as("ann"), "env=prod") == ["churn:1"]


def test_what_is_confidential_is_found_by_its_readers_alone(built: Built, open_as: Open) -> None:
    dora = open_as("dora")
    put(dora, "churn", metrics={"auc": 0.95}, notes="secretword")
    server = open_as("server", env="prod")
    for query in ("metric.auc>0", "secretword", "library=numpy"):
        assert found(dora, query) == ["churn:1"]
        assert found(server, query) == found(open_as(None), query) == []
    hit = server.search("model=churn").hits[0]
    assert (hit.reference, hit.readable, dict(hit.values)) == ("churn:1", False, {})
    let_in(built, "churn:1")
    built.now += 61
    assert found(server, "metric.auc>0 and env=prod") == ["churn:1"]


def test_nothing_confidential_is_on_a_server(
    built: Built,
    postgres: PostgresServer,  # noqa: F811
    tmp_path: Path,
) -> None:
    schema = postgres.new_schema()
    opened = Vault(built.session("dora"), Settings(state_dir=tmp_path, index=postgres.url(schema)))
    put(
        opened,
        "churn",
        metrics={"auc": 0.123456},
        notes="secretword",
        params={"secretparam": 1},
        features=["secretfeature"],
    )
    assert found(opened, "secretword metric.auc=0.123456") == ["churn:1"]
    tables = postgres.run(f"SELECT table_name FROM information_schema.tables WHERE table_schema = '{schema}'")
    told = ""
    for (table,) in tables:
        told += str(postgres.run(f'SELECT * FROM {schema}."{table}"'))
    assert "churn" in told
    for secret in ("secret", "0.123456", "auc", "numpy"):
        assert secret not in told


def test_who_may_not_read_any_more_has_it_no_more(built: Built, open_as: Open) -> None:
    dora = open_as("dora")
    put(dora, "churn", metrics={"auc": 0.95})
    assert found(dora, "metric=auc") == ["churn:1"]

    def without(before: Policy) -> Policy:
        role = names.principal("data-scientist")
        rules = tuple(
            replace(rule, actions=tuple(action for action in rule.actions if action != "load"))
            for rule in before.roles[role]
        )
        return replace(before, roles={**before.roles, role: rules})

    built.amend(without)
    assert found(dora, "metric=auc", update=True) == []
    assert found(dora, "churn") == ["churn:1"]
    state = next((dora._settings.state_dir or Path()).rglob("registry.sqlite"))
    with closing(sqlite3.connect(state)) as file:
        assert file.execute("SELECT count(*) FROM metrics").fetchone() == (0,)


def test_another_identity_finds_nothing_of_what_the_first_could_read(
    built: Built, open_as: Open, tmp_path: Path
) -> None:
    put(open_as("dora"), "churn", metrics={"auc": 0.95})
    assert found(open_as("dora"), "metric=auc") == ["churn:1"]
    assert found(open_as("server", env="prod", state=tmp_path / "dora"), "metric=auc", update=True) == []


def test_a_withdrawn_version_is_not_in_use_but_was(built: Built, open_as: Open) -> None:
    dora = open_as("dora")
    put(dora, "churn", metrics={"auc": 0.95})
    let_in(built, "churn:1")
    assert found(dora, "env=prod", update=True) == ["churn:1"]
    Vault(built.session("ann"), Settings()).withdraw("churn:1", env="prod")
    assert found(dora, "env=prod", update=True) == []
    assert found(dora, "was=prod") == ["churn:1"]


def test_labels_and_parents_are_found(built: Built, open_as: Open) -> None:
    built.amend(with_rule("data-scientist", "tag", env="dev"))
    dora = open_as("dora")
    put(dora, "base", metrics={"auc": 0.5}, tags=["inside"])
    dora.tag("base:1", "champion")
    dora.note("base:1", "recall fell in autumn")
    assert found(dora, "tag=champion and tag=inside autumn") == ["base:1"]
    contents = Contents([package_file("model.json", b"{}")], {}, {})
    base = names.digest(dora.show("base:1").release.digest.removeprefix("sha256:"))
    parent = Parent(names.model("base"), names.version("1"), base, "fine-tuned-from")
    publish.publish(dora._session, names.model("tuned"), None, replace(contents, parents=(parent,)))
    assert found(dora, "parent=base:1") == found(dora, "parent=base") == ["tuned:1"]


def test_what_does_not_verify_is_not_in_the_index_and_told(built: Built, open_as: Open) -> None:
    dora = open_as("dora")
    put(dora, "churn", metrics={"auc": 0.95})
    put(dora, "churn", metrics={"auc": 0.96})
    name = layout.manifest(names.model("churn"), names.version("1"))
    built.store.objects[name] = built.store.objects[name].replace(b'"payload":"', b'"payload":"AAAA', 1)
    answer = dora.search("churn")
    assert [hit.reference for hit in answer.hits] == ["churn:2"]
    assert [(entry.name, entry.code != "") for entry in answer.skipped] == [("churn:1", True)]


def test_what_is_gone_from_the_store_leaves_the_index(built: Built, open_as: Open) -> None:
    dora = open_as("dora")
    for _ in range(2):
        put(dora, "churn", metrics={"auc": 0.95})
    assert len(found(dora, "churn metric=auc")) == 2
    for name in [name for name in built.store.objects if name.startswith("models/churn/@/1/")]:
        del built.store.objects[name]
    assert found(dora, "churn metric=auc", update=True) == ["churn:2"]
    assert dora.index.status().readable == 1


def test_an_audited_environment_is_read_for_the_index_only_when_that_is_recorded(
    built: Built, open_as: Open
) -> None:
    put(open_as("dora"), "churn", metrics={"auc": 0.95})
    let_in(built, "churn:1")

    def audited(before: Policy) -> Policy:
        rule = before.environments[names.environment("prod")]
        changed = replace(rule, require=replace(rule.require, audit=True))
        return replace(before, environments={**before.environments, names.environment("prod"): changed})

    built.amend(audited)
    server = open_as("server", env="prod")
    answer = server.search("metric=auc")
    assert (answer.hits, answer.unrecorded) == ((), ("prod",))
    assert found(server, "env=prod") == ["churn:1"]


def test_who_may_only_read_the_server_follows_what_others_take_in(
    built: Built,
    postgres: PostgresServer,  # noqa: F811
    tmp_path: Path,
) -> None:
    schema = postgres.new_schema()
    writer = Vault(built.session("dora"), Settings(state_dir=tmp_path / "dora", index=postgres.url(schema)))
    put(writer, "churn", metrics={"auc": 0.95})
    writer.index.update()
    user = f"reader_{schema}"
    postgres.run(
        f"CREATE ROLE {user} LOGIN PASSWORD '{postgres.password}'",
        f"GRANT USAGE ON SCHEMA {schema} TO {user}",
        f"GRANT SELECT ON ALL TABLES IN SCHEMA {schema} TO {user}",
    )
    mine = Settings(state_dir=tmp_path / "owner", index=postgres.url(schema, user=user))
    reader = Vault(built.session("owner"), mine)
    assert found(reader, "metric.auc>0.9") == found(reader, "model=churn") == ["churn:1"]
    put(writer, "churn", metrics={"auc": 0.96})
    done = reader.index.update()
    assert (done.read_only, done.written, done.followed, done.skipped) == (True, 0, 0, [])
    writer.index.update()
    assert set(found(reader, "metric.auc>0.9")) == {"churn:1", "churn:2"}


# --- what somebody did to the index ---


def tamper(opened: Vault, *statements: str) -> None:
    """Change a user's file behind the back of the index."""
    path = next((opened._settings.state_dir or Path()).rglob("registry.sqlite"))
    with closing(sqlite3.connect(path, isolation_level=None)) as file:
        for statement in statements:
            file.execute(statement)


def test_a_tampered_index_lies_and_the_store_refutes_it(built: Built, open_as: Open) -> None:
    dora = open_as("dora")
    put(dora, "churn", metrics={"auc": 0.5})
    put(dora, "churn", metrics={"auc": 0.95})
    assert found(dora, "metric.auc>0.9") == ["churn:2"]
    tamper(dora, "UPDATE metrics SET value = 0.99, spelled = '0.99'")
    assert found(dora, "metric.auc>0.9", update=False) == ["churn:2", "churn:1"]
    answer = dora.search("metric.auc>0.9", update=False, verify=True)
    assert [(hit.reference, dict(hit.values)) for hit in answer.hits] == [("churn:2", {"metric.auc": "0.95"})]
    assert [entry.name for entry in answer.refuted] == ["churn:1"]
    tamper(dora, "UPDATE versions SET version = '7' WHERE version = '1'")
    answer = dora.search("metric.auc>0.9", update=False, verify=True)
    assert [entry.name for entry in answer.refuted] == ["churn:7"]


def test_nothing_of_an_index_decides_a_load_or_a_promotion(built: Built, open_as: Open) -> None:
    dora = open_as("dora")
    put(dora, "churn", metrics={"auc": 0.5})
    put(dora, "churn", metrics={"auc": 0.6})
    let_in(built, "churn:1")
    assert found(dora, "env=prod", update=True) == ["churn:1"]
    tamper(dora, "UPDATE in_force SET number = (SELECT number FROM versions WHERE version = '2')")
    tamper(dora, "DELETE FROM votes", "UPDATE versions SET manifest = 'x'")
    loaded = in_prod(built)
    assert isinstance(loaded, dict), loaded
    assert [row.channels for row in dora.list()] == [{"prod": "1"}]


def test_an_index_that_is_none_is_refused_and_rebuilt(built: Built, open_as: Open) -> None:
    dora = open_as("dora")
    put(dora, "churn", metrics={"auc": 0.5})
    assert found(dora, "churn") == ["churn:1"]
    path = next((dora._settings.state_dir or Path()).rglob("registry.sqlite"))
    for content in (b"garbage" * 99, None):
        if content is None:
            with closing(sqlite3.connect(path, isolation_level=None)) as file:
                file.execute(f"UPDATE registry_meta SET value = '{'cd' * 32}' WHERE name = 'vault'")
        else:
            path.write_bytes(content)
        with pytest.raises(Refused, match="mvault index rebuild") as caught:
            found(dora, "churn")
        assert caught.value.code == "memory-damaged"
        assert dora.index.rebuild().readable == 1
        assert found(dora, "churn metric=auc") == ["churn:1"]


def test_a_deleted_index_is_made_again(built: Built, open_as: Open) -> None:
    dora = open_as("dora")
    put(dora, "churn", metrics={"auc": 0.5})
    assert found(dora, "churn") == ["churn:1"]
    for path in (dora._settings.state_dir or Path()).rglob("registry.sqlite*"):
        path.unlink()
    assert found(dora, "churn metric=auc") == ["churn:1"]


def test_where_nothing_can_be_kept_the_index_is_in_memory(
    built: Built, open_as: Open, tmp_path: Path
) -> None:
    put(open_as("dora"), "churn", metrics={"auc": 0.5})
    (tmp_path / "no-folder").write_text("a file")
    (tmp_path / "elsewhere").mkdir()
    for state in (tmp_path / "no-folder" / "state", None, tmp_path / "linked"):
        opened = open_as("dora", state=state or tmp_path / "unused")
        if state is None:
            opened = Vault(opened._session, replace(opened._settings, state_dir=None))
        elif state.name == "linked":
            folder = index_place.folder_of(state, opened._session.pin)
            assert folder is not None
            folder.parent.mkdir(parents=True)
            folder.symlink_to(tmp_path / "elsewhere")
        assert found(opened, "churn metric=auc") == ["churn:1"]
        assert opened.index.status().place == "memory"
    assert [*(tmp_path / "elsewhere").iterdir()] == []


def test_the_file_is_private_and_no_change_needs_it(built: Built, open_as: Open) -> None:
    dora = open_as("dora")
    put(dora, "churn", metrics={"auc": 0.5})
    state = dora._settings.state_dir or Path()
    assert not (state / "registry").exists()
    found(dora, "churn")
    modes = {path.name: path.stat().st_mode & 0o777 for path in state.rglob("*")}
    assert modes["registry.sqlite"] == 0o600
    assert set(modes.values()) <= {0o600, 0o700}


def test_a_server_that_is_away_is_told(built: Built, tmp_path: Path) -> None:
    away = Settings(state_dir=tmp_path, index="postgresql://nobody@127.0.0.1:1/none")
    with pytest.raises(Unavailable, match="registry index"):
        Vault(built.session("dora"), away).search("churn")
    with pytest.raises(ValueError, match="PostgreSQL"):
        Vault(built.session("dora"), replace(away, index="sqlite:///x")).search("churn")


# --- comparisons ---


def test_versions_are_compared_as_the_store_has_them(built: Built, open_as: Open) -> None:
    dora = open_as("dora")
    put(dora, "churn", metrics={"auc": 0.5}, parameters={"seed": 1}, params={"depth": 3}, features=["a", "b"])
    put(dora, "churn", metrics={"auc": 0.6}, parameters={"seed": 1}, params={"depth": 5}, features=["b", "a"])
    let_in(built, "churn:2")
    changes = {(row.section, row.name): row.values for row in dora.diff("churn:1", "churn:2").changes}
    assert changes["metrics", "auc"] == (0.5, 0.6)
    assert changes["parameters", "depth"] == (3, 5)
    assert ("parameters", "seed") not in changes
    assert changes["features", "(order)"] == (["a", "b"], ["b", "a"])
    assert changes["approvals", "prod"] == (None, ["ann", "bob"])
    assert changes["version", "channels"] == ([], ["prod"])
    assert ("files", "model.json") not in changes
    three = dora.compare(["churn:1", "churn:2", "churn:1"])
    assert [side.reference for side in three.sides] == ["churn:1", "churn:2", "churn:1"]
    with pytest.raises(ValueError, match="From two to"):
        dora.compare(["churn:1"])
    server = open_as("server", env="dev")
    told = server.diff("churn:1", "churn:2")
    assert all(side.unread for side in told.sides)
    assert {row.section for row in told.changes} == {"approvals", "version"}


def test_status_tells_what_is_there(built: Built, open_as: Open, url: str | None) -> None:
    dora = open_as("dora")
    before = dora.index.status()
    assert (before.updated, before.versions) == (None, 0)
    put(dora, "churn", metrics={"auc": 0.5})
    let_in(built, "churn:1")
    done = dora.index.update()
    assert (done.written, done.models, done.readable, done.removed) == (1, 1, 1, 0)
    assert dora.index.update().written == 0
    now = dora.index.status()
    assert (now.models, now.versions, now.channel_records, now.readable) == (1, 1, 1, 1)
    assert now.updated is not None
    assert (now.shared is None) == (url is None)
