"""Environments in stores of their own as people set them up: by settings, in folders and in buckets."""

import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

import vault
from tests.servers.seaweed import running
from tests.variables import variables
from vault.actions import founding, opening
from vault.actions.init import Founders, Joining
from vault.core import layout
from vault.core.names import Principal
from vault.errors import Refused, Unavailable
from vault.settings import load_settings
from vault.storage.apart import ApartStore
from vault.storage.local import LocalStore
from vault.storage.opening import open_store
from vault.vault import Vault

POLICY = """
roles:
  owner:
    allow:
      - {actions: [publish, load, pull], env: [dev]}
      - {actions: [load], env: [staging, prod]}
      - {actions: [promote], from: dev, to: staging}
      - {actions: [promote], from: staging, to: prod}
      - {actions: [audit.read, log]}
  approver:
    allow:
      - {actions: [load], env: [staging]}
      - {actions: [approve, withdraw, log], env: [prod]}
  loader: {allow: [{actions: [load], env: [prod]}]}
environments:
  dev: {formats: [json]}
  staging: {formats: [json]}
  prod:
    formats: [json]
    require: {approvals: {role: approver, threshold: 1, distinct_from: [publisher]}, log: unwitnessed}
principals:
  owner: {kind: person, roles: [owner]}
  ann: {kind: person, roles: [approver]}
  web: {kind: service, owners: [owner], roles: [loader]}
"""
LOAD = "import vault; print(vault.open(env='prod').load_package('churn@prod').read('model.json').decode())"
CONTENT = b'{"weights":[1,2,3]}'


@dataclass(frozen=True)
class Team:
    """Three stores, by location, and a folder for what each person keeps."""

    folder: Path
    main: str
    staging: str
    prod: str

    @property
    def stores(self) -> str:
        return f"staging={self.staging} prod={self.prod}"

    def identity(self, who: str) -> Path:
        return self.folder / ("owner/config/identity.json" if who == "owner" else f"{who}.json")

    def place(self, who: str) -> dict[str, str]:
        """Give the settings of somebody who works with all stores."""
        return {
            "MVAULT_VAULT": self.main,
            "MVAULT_STORES": self.stores,
            "MVAULT_IDENTITY": str(self.identity(who)),
            "MVAULT_TRUST": str(self.folder / "trust.json"),
            "MVAULT_STATE_DIR": str(self.folder / who / "state"),
        }

    @contextmanager
    def as_(self, who: str, **more: str) -> Iterator[Vault]:
        with variables({**self.place(who), **more}):
            yield vault.open()

    def load(self, location: str, more: Mapping[str, str]) -> subprocess.CompletedProcess[str]:
        """Load as prod's service does: a new process with exactly three settings."""
        settings = {
            "MVAULT_VAULT": location,
            "MVAULT_IDENTITY": str(self.identity("web")),
            "MVAULT_TRUST": str(self.folder / "trust.json"),
            "PYTHONPATH": os.pathsep.join(sys.path),
        }
        return subprocess.run(
            [sys.executable, "-c", LOAD],
            env={**settings, **more},
            cwd="/",
            capture_output=True,
            text=True,
            check=False,
            timeout=120,
        )


def found(team: Team) -> None:
    """Make the vault in all three stores at once, as its owner does."""
    settings = opening.gather({})
    keys: dict[Principal, list[Joining]] = {}
    for who in ("ann", "web"):
        made = founding.new_identity(settings, team.identity(who), who, "x25519", protect=False)
        keys[Principal(who)] = [Joining(made.name, made.public, made.recipient)]
    policy = team.folder / "policy.yaml"
    policy.write_text(POLICY)
    places = {f"MVAULT_{name}_DIR": str(team.folder / "owner" / name.lower()) for name in ("CONFIG", "STATE")}
    own = {"MVAULT_VAULT": team.main, "MVAULT_STORES": team.stores}
    with variables({**places, **own}):
        made_here = vault.init(
            name="owner", recipient="x25519", no_passphrase=True, policy=policy, founders=Founders(keys=keys)
        )
        (team.folder / "trust.json").write_bytes(made_here.export_trust())


def release(team: Team) -> None:
    """Push to dev, then on to staging and prod."""
    with team.as_("owner") as opened:
        ref = str(opened.push("churn", [team.folder / "model.json"]))
        opened.promote(ref, env="staging")
    with team.as_("ann") as opened:
        opened.approve(ref, env="prod")
    with team.as_("owner") as opened:
        opened.promote(ref, env="prod")


def check_release(team: Team, more: Mapping[str, str] | None = None) -> None:
    (team.folder / "model.json").write_bytes(CONTENT)
    found(team)
    release(team)
    done = team.load(team.prod, more or {})
    assert (done.returncode, done.stdout.strip()) == (0, CONTENT.decode()), done.stderr
    with team.as_("owner") as opened:
        report = opened.check()
        assert report.whole, [entry for entry in report.findings if entry.level == "bad"]


@pytest.fixture
def folders(tmp_path: Path) -> Team:
    return Team(tmp_path, *(str(tmp_path / "stores" / name) for name in ("main", "staging", "prod")))


def test_a_release_over_three_folders_loads_from_prods_folder_alone(folders: Team) -> None:
    check_release(folders)
    assert {path.name for path in Path(folders.prod, "channels").iterdir()} == {"prod"}
    assert {path.name for path in Path(folders.prod, "keys").iterdir()} == {"prod"}
    assert {path.name for path in Path(folders.main, "keys").iterdir()} == {"dev"}
    assert not Path(folders.main, "channels").exists()
    assert {path.name for path in Path(folders.prod, "log/env").iterdir()} == {"prod"}


def test_the_folders_of_the_others_may_be_gone(folders: Team) -> None:
    check_release(folders)
    Path(folders.main).rename(folders.folder / "away")
    Path(folders.staging).rename(folders.folder / "away-too")
    assert folders.load(folders.prod, {}).returncode == 0


def test_prods_loader_needs_credentials_for_prods_bucket_alone_and_devs_people_cannot_even_list_it(
    tmp_path: Path,
) -> None:
    """Three buckets of a real server, and identities with rights in one of them."""
    dev, prod = "test-bucket-0", "test-bucket-2"  # as `new_bucket` calls them
    identities = {
        "web": [f"{act}:{prod}" for act in ("Read", "List")],
        "dora": [f"{act}:{dev}" for act in ("Read", "Write", "List")],
    }
    with running(identities) as server:
        team = Team(tmp_path, *(server.url(server.new_bucket(), "models") for _ in range(3)))
        with variables(server.environment()):
            check_release(team, server.environment("web"))
        with variables(server.environment("dora")):
            store = open_store(team.prod)
            for look in (lambda: list(store.list("")), lambda: store.stat(layout.root(1))):
                with pytest.raises(Unavailable) as caught:
                    look()
                assert caught.value.code == "storage-denied"
            assert list(open_store(team.main).list(layout.ROOTS)) == [layout.root(1)]
        refused = team.load(team.main, server.environment("web"))
        assert refused.returncode != 0
        assert "vault.errors.Unavailable" in refused.stderr
        assert f"{dev}: AccessDenied" in refused.stderr


# --- settings ---


def test_the_settings_name_the_stores_and_they_belong_to_one_vault(tmp_path: Path) -> None:
    config = tmp_path / ".config/mvault/config.toml"
    config.parent.mkdir(parents=True)
    config.write_text('vault = "main"\n[stores]\nprod = "s3://prod/x"\nstaging = "st"\n')
    home = {"HOME": str(tmp_path)}
    here = str(config.parent)
    settings = load_settings(flags={}, environ=home, cwd=tmp_path)
    assert settings.stores == {"prod": "s3://prod/x", "staging": f"{here}/st"}
    assert settings.source("stores") == str(config)
    other = load_settings(flags={"vault": "elsewhere"}, environ=home, cwd=tmp_path)
    assert (other.stores, other.source("stores")) == ({}, "default"), "a file's stores are its own vault's"
    same = load_settings(flags={"vault": f"{here}/../mvault/main"}, environ=home, cwd=tmp_path)
    assert same.stores == settings.stores
    given = load_settings(
        flags={}, environ={**home, "MVAULT_STORES": "prod=/p?a=b  dev=s3://d"}, cwd=tmp_path
    )
    assert given.stores == {"prod": "/p?a=b", "dev": "s3://d"}
    flagged = load_settings(flags={"vault": "v", "stores": {"prod": "p"}}, environ=home, cwd=tmp_path)
    assert flagged.stores == {"prod": "p"}


@pytest.mark.parametrize("text", ["prod", "=p", "Prod=x", "prod=", "prod=a prod=b"])
def test_stores_that_cannot_be_meant_are_the_callers_mistake(tmp_path: Path, text: str) -> None:
    with pytest.raises(ValueError, match="MVAULT_STORES"):
        load_settings(flags={}, environ={"MVAULT_STORES": text}, cwd=tmp_path)


@pytest.mark.parametrize(
    "text", ["stores = 1", "[stores]\nProd = 'x'", "[stores]\nprod = 1", "[stores.prod]\nx=1"]
)
def test_stores_in_a_file_that_cannot_be_meant_are_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "mvault.toml").write_text(f"{text}\n")
    with pytest.raises(Refused):
        load_settings(flags={}, environ={}, cwd=tmp_path)


def test_an_environments_own_store_is_opened_alone(tmp_path: Path) -> None:
    stores = {"prod": str(tmp_path / "prod")}
    for location, kind in ((tmp_path / "main", ApartStore), (tmp_path / "prod", LocalStore)):
        settings = load_settings(flags={"vault": str(location), "stores": stores}, environ={}, cwd=tmp_path)
        assert type(opening.locate(settings)) is kind


def test_stores_that_a_strangers_project_names_are_refused_unless_they_are_trusted_too(
    folders: Team, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is promoted goes there, so the user has to have agreed to every one of them."""
    (folders.folder / "model.json").write_bytes(CONTENT)
    found(folders)
    monkeypatch.setenv("MVAULT_CONFIG_DIR", str(folders.folder / "owner/config"))
    monkeypatch.setenv("MVAULT_STATE_DIR", str(folders.folder / "owner/state"))
    project = folders.folder / "project"
    project.mkdir()
    monkeypatch.chdir(project)
    (project / "mvault.toml").write_text(
        f'vault = "{folders.main}"\n[stores]\nprod = "{folders.prod}"\nstaging = "{folders.staging}"\n'
    )
    with pytest.raises(Refused) as caught:
        vault.open()
    assert caught.value.code == "not-trusted"
    assert caught.value.subject == folders.prod
    root = caught.value.hint.rpartition("sha256:")[2]
    for location in (folders.prod, folders.staging):
        subprocess.run(
            [Path(sys.executable).parent / "mvault", "trust", location, "--root", f"sha256:{root}"],
            check=True,
            capture_output=True,
        )
    assert vault.open().check().whole
