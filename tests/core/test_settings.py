"""Settings: which place wins, what each may set, and how little a container needs."""

import errno
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest

from vault.core import limits
from vault.core.allowance import Allowance
from vault.errors import Malformed
from vault.settings import Display, PassphraseSettings, Settings, load_settings


@pytest.fixture
def home(tmp_path: Path) -> Path:
    folder = tmp_path / "home" / "ana"
    (folder / ".config" / "mvault").mkdir(parents=True)
    return folder


def load(
    home: Path | None,
    *,
    flags: Mapping[str, object] | None = None,
    environ: Mapping[str, str] | None = None,
    cwd: Path | None = None,
) -> Settings:
    variables = {**({} if home is None else {"HOME": str(home)}), **(environ or {})}
    return load_settings(flags=flags or {}, environ=variables, cwd=cwd or home or Path("/"))


def user_file(home: Path, text: str) -> Path:
    path = home / ".config" / "mvault" / "config.toml"
    path.write_text(text)
    return path


def test_without_anything_there_are_only_defaults(home: Path) -> None:
    settings = load(home)
    assert (settings.vault, settings.trust, settings.env) == (None, None, None)
    assert settings.config_dir == home / ".config" / "mvault"
    assert settings.state_dir == home / ".local" / "state" / "mvault"
    assert settings.identity == home / ".config" / "mvault" / "identity.json"
    assert (settings.allow, settings.display) == (Allowance(), Display())
    assert settings.passphrase == PassphraseSettings()
    assert settings.warnings == ()
    assert settings.source("vault") == settings.source("identity") == "default"


def test_flag_beats_variable_beats_project_beats_user_beats_default(home: Path) -> None:
    project = home / "work" / "mvault.toml"
    project.parent.mkdir()
    user = user_file(home, 'vault = "/from/user"')
    cwd = project.parent
    places: list[tuple[str, str | None]] = [(str(user), "/from/user")]
    assert (load(home, cwd=cwd).source("vault"), load(home, cwd=cwd).vault) == places[0]
    project.write_text('vault = "/from/project"')
    settings = load(home, cwd=cwd)
    assert (settings.source("vault"), settings.vault) == (str(project), "/from/project")
    settings = load(home, cwd=cwd, environ={"MVAULT_VAULT": "/from/variable"})
    assert (settings.source("vault"), settings.vault) == ("MVAULT_VAULT", "/from/variable")
    flags = {"vault": "/from/flag"}
    settings = load(home, cwd=cwd, environ={"MVAULT_VAULT": "/from/variable"}, flags=flags)
    assert (settings.source("vault"), settings.vault) == ("--vault", "/from/flag")


def test_a_loader_in_a_container_needs_exactly_three_variables() -> None:
    environ = {
        "MVAULT_VAULT": "s3://models/team",
        "MVAULT_IDENTITY": "/run/secrets/identity",
        "MVAULT_TRUST": "/run/secrets/trust",
    }
    settings = load_settings(flags={}, environ=environ, cwd=Path("/"))
    assert settings.vault == "s3://models/team"
    assert settings.identity == Path("/run/secrets/identity")
    assert settings.trust == Path("/run/secrets/trust")
    assert settings.config_dir is None
    assert settings.state_dir is None
    assert settings.warnings == ()
    assert [settings.source(name) for name in ("vault", "identity", "trust")] == list(environ)


@pytest.mark.parametrize("value", ["", "relative", "/nonexistent/home", "/dev/null"])
def test_a_home_that_is_none_is_no_home(value: str) -> None:
    settings = load_settings(flags={}, environ={"HOME": value}, cwd=Path("/"))
    assert settings.config_dir is None
    assert settings.state_dir is None
    assert settings.identity is None


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root in order to become nobody in particular")
def test_any_uid_with_somebody_elses_home_works(tmp_path: Path) -> None:
    home = tmp_path / "home"
    home.mkdir(mode=0o700)
    script = (
        "import os, sys; from pathlib import Path; os.setgid(54321); os.setuid(54321)\n"
        "from vault.settings import load_settings\n"
        "environ = {'HOME': sys.argv[1], 'MVAULT_VAULT': 'v'}\n"
        "s = load_settings(flags={}, environ=environ, cwd=Path(sys.argv[1]))\n"
        "print(s.config_dir, s.state_dir, s.vault)"
    )
    # The modules are loaded before the uid is given up: their folder may be closed to it.
    script = f"import vault.settings, vault.core.settings_format, tomllib\n{script}"
    done = subprocess.run(
        [sys.executable, "-c", script, str(home)],
        capture_output=True,
        text=True,
        check=False,
        env={"PYTHONPATH": str(Path(__file__).parents[2])},
    )
    assert (done.stdout, done.stderr) == ("None None v\n", "")


def test_loading_settings_writes_nothing(home: Path) -> None:
    before = sorted(path for path in home.rglob("*"))
    load(home, environ={"MVAULT_STATE_DIR": str(home / "state"), "MVAULT_CONFIG_DIR": str(home / "config")})
    assert sorted(path for path in home.rglob("*")) == before


def test_folders_follow_xdg_and_our_own_variables(home: Path) -> None:
    xdg = {"XDG_CONFIG_HOME": "/xdg/config", "XDG_STATE_HOME": "/xdg/state"}
    settings = load(home, environ=xdg)
    assert settings.config_dir == Path("/xdg/config/mvault")
    assert settings.state_dir == Path("/xdg/state/mvault")
    own = {"MVAULT_CONFIG_DIR": "config", "MVAULT_STATE_DIR": "/var/lib/mvault"}
    settings = load(home, environ={**xdg, **own})
    assert settings.config_dir == home / "config"
    assert settings.state_dir == Path("/var/lib/mvault")
    assert settings.source("state_dir") == "MVAULT_STATE_DIR"
    assert load(home, environ={"XDG_CONFIG_HOME": "relative"}).config_dir == home / ".config" / "mvault"


def test_the_user_may_set_everything(home: Path) -> None:
    path = user_file(
        home,
        """
        vault = "gs://bucket/models"
        identity = "keys/ana.json"
        trust = "~/trust.json"
        env = "staging"
        audit = "records"
        [allow]
        formats = ["joblib"]
        skops_types = ["my.Type"]
        pickle_globals = ["numpy.core.multiarray._reconstruct"]
        onnx_domains = ["com.microsoft"]
        max_bytes = 1048576
        [passphrase]
        command = ["pass", "show", "mvault"]
        [display]
        color = "never"
        progress = false
        json = true
        """,
    )
    settings = load(home)
    assert settings.vault == "gs://bucket/models"
    assert settings.identity == path.parent / "keys" / "ana.json"
    assert settings.trust == home / "trust.json"
    assert settings.env == "staging"
    assert settings.audit == path.parent / "records"
    assert settings.allow == Allowance(
        frozenset({"joblib"}),
        frozenset({"my.Type"}),
        frozenset({"numpy.core.multiarray._reconstruct"}),
        frozenset({"com.microsoft"}),
        1_048_576,
    )
    assert settings.passphrase == PassphraseSettings(command=("pass", "show", "mvault"))
    assert settings.display == Display("never", False, True)
    names = ("vault", "identity", "trust", "env", "audit", "allow", "passphrase", "color", "progress", "json")
    assert {settings.source(name) for name in names} == {str(path)}


@pytest.mark.parametrize(
    ("given", "meant"),
    [("store", "store"), ("stdout", "stdout"), ("/var/lib/audit", Path("/var/lib/audit")), ("", None)],
)
def test_records_go_to_the_store_to_stdout_or_to_a_folder(home: Path, given: str, meant: object) -> None:
    assert load(home, environ={"MVAULT_AUDIT": given}).audit == meant


def test_an_allowance_leaves_the_shipped_limit_where_it_says_nothing(home: Path) -> None:
    user_file(home, '[allow]\nformats = ["joblib"]')
    assert load(home).allow == Allowance(frozenset({"joblib"}), max_bytes=limits.LOAD_BYTES)


def test_a_project_may_set_the_vault_and_how_things_look(home: Path) -> None:
    (home / "mvault.toml").write_text('vault = "models"\n[display]\ncolor = "always"\nprogress = false')
    settings = load(home)
    assert settings.vault == str(home / "models")
    assert settings.display == Display("always", progress=False)


@pytest.mark.parametrize(
    ("text", "vault"),
    [
        ("models", "{folder}/models"),
        ("../models", "{folder}/../models"),
        ("/models", "/models"),
        ("~/models", "{home}/models"),
        ("s3://bucket/models", "s3://bucket/models"),
        ("sqlite:///models.db", "sqlite:///models.db"),
    ],
)
def test_a_relative_vault_is_relative_to_the_file_that_names_it(home: Path, text: str, vault: str) -> None:
    (home / "work" / "deep").mkdir(parents=True)
    (home / "work" / "mvault.toml").write_text(f'vault = "{text}"')
    settings = load(home, cwd=home / "work" / "deep")
    assert settings.vault == vault.format(folder=home / "work", home=home)


def test_the_nearest_project_file_counts_alone(home: Path) -> None:
    (home / "work" / "deep").mkdir(parents=True)
    (home / "work" / "mvault.toml").write_text('vault = "/far"\n[display]\njson = true')
    (home / "work" / "deep" / "mvault.toml").write_text('vault = "/near"')
    settings = load(home, cwd=home / "work" / "deep")
    assert (settings.vault, settings.display.json) == ("/near", False)


def test_the_search_ends_at_home(home: Path) -> None:
    (home.parent / "mvault.toml").write_text('vault = "/above"')
    (home / "work").mkdir()
    assert load(home, cwd=home / "work").vault is None
    elsewhere = home.parent / "work"
    elsewhere.mkdir()
    assert load(home, cwd=elsewhere).vault == "/above"
    link = home.parent / "link"
    link.symlink_to(home)
    assert load(link, cwd=home / "work").vault is None


def test_an_empty_variable_is_an_unset_one(home: Path) -> None:
    user_file(home, 'vault = "/from/user"')
    settings = load(home, environ={"MVAULT_VAULT": "", "MVAULT_PASSPHRASE_FILE": "", "NO_COLOR": ""})
    assert settings.vault == "/from/user"
    assert settings.passphrase == PassphraseSettings()
    assert settings.display.color == "auto"


def test_a_flag_that_was_not_given_is_none(home: Path) -> None:
    settings = load(home, flags={"vault": None, "json": None}, environ={"MVAULT_VAULT": "v"})
    assert settings.vault == "v"
    assert load(home, flags={"json": True, "progress": False}).display == Display("auto", False, True)


def test_no_color_is_heeded_and_a_flag_overrides_it(home: Path) -> None:
    assert load(home, environ={"NO_COLOR": "1"}).display.color == "never"
    assert load(home, environ={"NO_COLOR": "1"}, flags={"color": "always"}).display.color == "always"


def test_paths_in_flags_and_variables_are_relative_to_the_working_folder(home: Path) -> None:
    settings = load(home, environ={"MVAULT_IDENTITY": "ana.json"}, flags={"trust": "trust.json"})
    assert settings.identity == home / "ana.json"
    assert settings.trust == home / "trust.json"


@pytest.mark.parametrize(
    ("variable", "value", "expected"),
    [
        ("MVAULT_PASSPHRASE_FILE", "/run/secret", PassphraseSettings(file=Path("/run/secret"))),
        ("MVAULT_PASSPHRASE_FD", "3", PassphraseSettings(descriptor=3)),
        ("MVAULT_PASSPHRASE_COMMAND", "pass show 'my vault'", None),
    ],
)
def test_one_variable_names_where_the_passphrase_comes_from(
    home: Path, variable: str, value: str, expected: PassphraseSettings | None
) -> None:
    user_file(home, '[passphrase]\nfile = "secret"')
    settings = load(home, environ={variable: value})
    assert settings.passphrase == (expected or PassphraseSettings(command=("pass", "show", "my vault")))
    assert settings.source("passphrase") == variable


def test_a_passphrase_flag_beats_a_variable(home: Path) -> None:
    environ = {"MVAULT_PASSPHRASE_FD": "3"}
    settings = load(home, environ=environ, flags={"passphrase_file": "secret"})
    assert settings.passphrase == PassphraseSettings(file=home / "secret")
    settings = load(home, environ=environ, flags={"passphrase_fd": 0})
    assert settings.passphrase == PassphraseSettings(descriptor=0)
    settings = load(home, environ=environ, flags={"passphrase_command": ["a", "b"]})
    assert settings.passphrase == PassphraseSettings(command=("a", "b"))


@pytest.mark.parametrize(
    "environ",
    [
        {"MVAULT_PASSPHRASE_FILE": "a", "MVAULT_PASSPHRASE_FD": "3"},
        {"MVAULT_PASSPHRASE_FD": "three"},
        {"MVAULT_PASSPHRASE_FD": "-1"},
        {"MVAULT_PASSPHRASE_FD": "٣"},
        {"MVAULT_PASSPHRASE_COMMAND": "pass 'show"},
        {"MVAULT_PASSPHRASE_COMMAND": "  "},
        {"MVAULT_VAULT": "x" * (limits.SETTING_CHARS + 1)},
        {"MVAULT_VAULT": "a\x1b[31m"},
    ],
)
def test_a_variable_with_no_such_value_is_the_callers_mistake(home: Path, environ: dict[str, str]) -> None:
    with pytest.raises(ValueError, match="MVAULT_"):
        load(home, environ=environ)


def test_a_flag_with_no_such_value_is_the_callers_mistake(home: Path) -> None:
    for flags in ({"color": "red"}, {"vault": ""}, {"vault": 7}, {"passphrase_command": "pass show"}):
        with pytest.raises(ValueError, match="--"):
            load(home, flags=flags)
    with pytest.raises(TypeError):
        load(home, flags={"valut": "models"})


def test_the_passphrase_itself_is_not_taken_from_a_variable(home: Path) -> None:
    settings = load(home, environ={"MVAULT_PASSPHRASE": "secret"})
    assert settings.passphrase == PassphraseSettings()
    (warning,) = settings.warnings
    assert "MVAULT_PASSPHRASE_FILE" in warning
    assert "secret" not in warning


@pytest.mark.parametrize(
    "text",
    [
        "valut = 'models'",
        "vault = 7",
        "vault = ''",
        "vault = '\\u0007'\nvault = 1",
        "display = 3",
        "[display]\ncolor = 'red'",
        "[display]\nprogress = 'yes'",
        "[display]\nextra = true",
        "[allow]\nformats = 'joblib'",
        "[allow]\nformats = [1]",
        "[allow]\nmax_bytes = 0",
        "[allow]\nmax_bytes = true",
        "[allow]\nextra = []",
        "[passphrase]",
        "[passphrase]\nfile = 'a'\ncommand = ['b']",
        "[passphrase]\ncommand = 'pass show'",
        "[passphrase]\ncommand = []",
        "[passphrase]\nvalue = 'secret'",
    ],
)
def test_what_the_users_file_may_not_say_is_refused(home: Path, text: str) -> None:
    path = user_file(home, text)
    with pytest.raises(Malformed) as refusal:
        load(home)
    assert refusal.value.code == "malformed-document"
    assert refusal.value.subject == str(path)
    assert refusal.value.hint


def test_a_file_that_cannot_be_read_is_not_used_and_said(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = user_file(home, "vault = '/from/user'")

    def denied(path: object, flags: int) -> int:
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(os, "open", denied)
    settings = load(home)
    assert settings.vault is None
    assert str(path) in settings.warnings[0]
