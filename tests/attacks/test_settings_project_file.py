"""A project's mvault.toml that comes from a stranger: it decides nothing that matters to safety."""

import os
import socket
import time
from pathlib import Path
from urllib.parse import unquote

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

import vault
from vault.core import limits, settings_format
from vault.errors import Malformed, Refused, Unavailable
from vault.settings import load_settings

MOST = limits.PROJECT_SETTINGS_BYTES

FORBIDDEN = [
    'identity = "/tmp/evil.json"',
    'trust = "evil-trust.json"',
    'env = "dev"',
    'audit = "stdout"',
    'state_dir = "/tmp"',
    'config_dir = "."',
    '[allow]\nformats = ["pickle"]',
    "[allow]",
    'allow.pickle_globals = ["os.system"]',
    '[passphrase]\ncommand = ["sh", "-c", "touch marker"]',
    'passphrase_command = "touch marker"',
    'passphrase_file = "secret"',
    "unsafe = true",
    "unsafe_anything = false",
    '"" = 1',
    '"vault " = "a"',
    '"\\u0000" = 1',
    'Vault = "a"',
    "[[display]]\ncolor = 'auto'",
    "[display]\ncommand = 'less'",
    "[display]\npager = 'touch marker'",
    "[display.color]\nname = 'auto'",
    "vault = ['a']",
    "vault = {path = 'a'}",
    'vault = "a\\u001b]0;owned\\u0007"',
    'vault = "a\\nb"',
    'vault = "a\\u202eb"',
]


def refusal_of(folder: Path, content: bytes) -> Malformed:
    (folder / "mvault.toml").write_bytes(content)
    with pytest.raises(Malformed) as refusal:
        load_settings(flags={}, environ={"HOME": str(folder)}, cwd=folder)
    assert refusal.value.exit_status == 3
    assert refusal.value.subject == str(folder / "mvault.toml")
    assert refusal.value.hint
    return refusal.value


def test_as_many_attempts_run_as_are_listed() -> None:
    assert len(FORBIDDEN) == 27


@pytest.mark.parametrize("content", FORBIDDEN)
def test_what_a_project_may_not_set_is_refused_loudly(tmp_path: Path, content: str) -> None:
    refusal_of(tmp_path, content.encode())
    assert os.listdir(tmp_path) == ["mvault.toml"]


def test_the_refusal_names_the_file_the_key_and_what_to_do(tmp_path: Path) -> None:
    refusal = refusal_of(tmp_path, b'identity = "evil.json"')
    assert str(tmp_path / "mvault.toml") in refusal.message
    assert "'identity'" in refusal.message
    assert "your own configuration" in refusal.hint


def test_a_flag_does_not_excuse_a_forbidden_key(tmp_path: Path) -> None:
    (tmp_path / "mvault.toml").write_text('identity = "evil.json"')
    with pytest.raises(Malformed):
        load_settings(flags={"identity": "mine.json"}, environ={}, cwd=tmp_path)


@pytest.mark.parametrize(
    "content",
    [
        b"\xff\xfe",
        b"vault",
        b"vault = ",
        b"\x00",
        b"vault = 'a'\nvault = 'b'",
        b"a = " + b"[" * (MOST - 4),
        b"a = " + b"{a=" * (MOST // 3 - 2),
        b"a." * (MOST // 2 - 4) + b"a = 1",
        b"[" + b"a." * (MOST // 2 - 2) + b"a]",
        b'"=".' * (MOST // 4 - 2) + b"a = 1",
        b"a = " + b"9" * (MOST - 4),
        b"a = 1e" + b"9" * (MOST - 6),
        b"a = 9999-99-99",
        b"a = '" + b"x" * MOST + b"'",
        b"\n" * (MOST + 1),
    ],
    ids=range(15),
)
def test_what_is_no_toml_or_too_large_is_refused_quickly(tmp_path: Path, content: bytes) -> None:
    start = time.monotonic()
    refusal_of(tmp_path, content)
    assert time.monotonic() - start < 2


def test_a_huge_file_is_not_read(tmp_path: Path) -> None:
    with (tmp_path / "mvault.toml").open("wb") as file:
        file.truncate(1 << 40)
    with pytest.raises(Malformed, match="more than"):
        load_settings(flags={}, environ={}, cwd=tmp_path)


def test_a_pipe_a_device_or_a_folder_under_that_name_neither_hangs_nor_counts(tmp_path: Path) -> None:
    path = tmp_path / "mvault.toml"
    os.mkfifo(path)
    with pytest.raises(Malformed, match="regular"):
        load_settings(flags={}, environ={}, cwd=tmp_path)
    path.unlink()
    path.symlink_to("/dev/zero")
    with pytest.raises(Malformed, match="regular"):
        load_settings(flags={}, environ={}, cwd=tmp_path)
    path.unlink()
    path.mkdir()
    with pytest.raises(Malformed, match="regular"):
        load_settings(flags={}, environ={}, cwd=tmp_path)


def test_a_link_to_a_secret_does_not_print_it(tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("AGE-SECRET-KEY-1QQQQ = hunter2\n")
    (tmp_path / "mvault.toml").symlink_to(tmp_path / "secret")
    with pytest.raises(Malformed) as refusal:
        load_settings(flags={}, environ={}, cwd=tmp_path)
    assert "AGE" not in str(refusal.value)
    assert "hunter2" not in str(refusal.value)


def test_a_link_that_leads_nowhere_or_around_is_no_file(tmp_path: Path) -> None:
    for target in ("nowhere", "mvault.toml"):
        (tmp_path / "mvault.toml").symlink_to(target)
        assert load_settings(flags={}, environ={}, cwd=tmp_path).vault is None
        (tmp_path / "mvault.toml").unlink()


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=200) | st.text(max_size=200).map(lambda text: text.encode("utf-8", "replace")))
@example(b'vault = "models"')
@example(b"[display]\ncolor = 'never'")
def test_any_bytes_give_an_allowed_setting_or_a_refusal(content: bytes) -> None:
    try:
        found = settings_format.parse_project(content, "mvault.toml")
    except Malformed:
        return
    assert found.vault is None or settings_format.is_text(found.vault)


@settings(max_examples=200, deadline=None)
@given(
    st.dictionaries(
        st.sampled_from(["vault", "identity", "trust", "env", "allow", "passphrase", "display", "x"]),
        st.sampled_from(["'a'", "1", "true", "['a']", "{}", "{formats = ['a']}", "{file = 'a'}"]),
    )
)
def test_any_toml_gives_a_user_file_or_a_refusal(content: dict[str, str]) -> None:
    text = "".join(f"{key} = {value}\n" for key, value in content.items())
    try:
        settings_format.parse_user(text.encode(), "config.toml")
    except Malformed:
        assert content
    else:
        assert "x" not in content


@pytest.mark.parametrize(
    "location",
    [
        "s3://models/team?endpoint=http://127.0.0.1:{port}",
        "gs://models/team?region=eu&endpoint=http://127.0.0.1:{port}",
        "az://account/models/team?%65ndpoint=http://127.0.0.1:{port}",
        "postgresql://models@127.0.0.1:{port}/vault",
        "postgresql://models@127.0.0.1:{port}/vault?sslmode=disable",
    ],
)
def test_a_stranger_s_project_file_has_no_credentials_sent_to_a_server_of_his(
    location: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whose server it is the location says itself; until the user trusts it nothing connects to it."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(0.2)
        named = location.format(port=server.getsockname()[1])
        (tmp_path / "mvault.toml").write_text(f'vault = "{named}"\n')
        monkeypatch.chdir(tmp_path)
        monkeypatch.setenv("MVAULT_CONFIG_DIR", str(tmp_path / "config"))
        for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "PGPASSWORD"):
            monkeypatch.setenv(name, "a-secret-of-the-user")
        with pytest.raises((Refused, ValueError)) as refusal:  # a location may break its adapter's rules
            vault.open()
        if isinstance(refusal.value, Refused):
            assert refusal.value.code == "not-trusted"
            assert "nothing was sent" in refusal.value.message
            assert unquote(named) in refusal.value.hint
        with pytest.raises(TimeoutError):
            server.accept()


def test_the_server_that_a_user_named_himself_is_spoken_to(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same location from the user's own settings: what fails then is the connection."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MVAULT_CONFIG_DIR", str(tmp_path / "config"))
    monkeypatch.setenv("MVAULT_VAULT", f"postgresql://models@127.0.0.1:{port}/vault")
    with pytest.raises(Unavailable):
        vault.open()
