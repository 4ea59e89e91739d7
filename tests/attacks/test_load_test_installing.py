"""What fills the environment of a load test installs built archives of the pinned hashes, nothing else."""

import hashlib
import os
import shutil
import tarfile
from pathlib import Path

import pytest

from tests import wheel_parts
from vault.actions import load_test_environment, needed
from vault.actions.load_test_environment import Environment, Installer, Installing
from vault.core import requirements
from vault.core.requirements import Pin
from vault.errors import DigestMismatch, Malformed, NotFound, Unavailable

CODE = {"thing/__init__.py": "VALUE = 1\n"}


@pytest.fixture
def wheels(tmp_path: Path) -> Path:
    folder = tmp_path / "wheels"
    folder.mkdir()
    wheel_parts.build(folder, "thing", "1.0", CODE, requires=["other>=1"])
    wheel_parts.build(folder, "other", "2.0", {"other.py": "VALUE = 2\n"})
    return folder


@pytest.fixture
def environment(tmp_path: Path) -> Environment:
    folder = tmp_path / "made"
    folder.mkdir()
    return load_test_environment.make(folder, load_test_environment.interpreter_for(None), Installing())


def pip(environment: Environment, wheels: Path) -> Installer:
    return Installer(environment, Installing("pip", wheels, 120))


def sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def test_what_is_resolved_is_pinned_by_the_hashes_of_the_wheels_and_installed(
    environment: Environment, wheels: Path
) -> None:
    installer = pip(environment, wheels)
    pins = installer.resolve(["thing==1.0"], alone=False)
    assert pins == (
        Pin("other", "2.0", (sha256(wheels / "other-2.0-py3-none-any.whl"),)),
        Pin("thing", "1.0", (sha256(wheels / "thing-1.0-py3-none-any.whl"),)),
    )
    installer.install(pins)
    assert (environment.packages / "thing" / "__init__.py").read_text() == CODE["thing/__init__.py"]
    assert not list(environment.packages.glob("pip*"))
    assert not list(environment.packages.glob("vault*"))


@pytest.mark.skipif(shutil.which("uv") is None, reason="uv is not installed: pip install uv")
def test_uv_pins_installs_and_refuses_alike(environment: Environment, wheels: Path) -> None:
    installer = Installer(environment, Installing("uv", wheels, 120))
    pins = installer.resolve(["thing==1.0"], alone=False)
    assert [entry.line.partition(" ")[0] for entry in pins] == ["other==2.0", "thing==1.0"]
    assert requirements.is_hashed(pins)
    installer._check_folder = lambda wanted: None  # type: ignore[method-assign]
    with pytest.raises(DigestMismatch):
        installer.install([requirements.pin("thing", "1.0", ["0" * 64])])
    assert not (environment.packages / "thing").exists()
    installer.install(pins)
    assert (environment.packages / "thing" / "__init__.py").read_text() == CODE["thing/__init__.py"]
    with tarfile.open(wheels / "evil-1.0.tar.gz", "w:gz") as archive:
        archive.add(wheels / "other-2.0-py3-none-any.whl", "evil-1.0/setup.py")
    with pytest.raises(Unavailable):
        installer.resolve(["evil==1.0"], alone=True)


def test_only_what_is_asked_for_is_resolved_where_all_is_pinned(
    environment: Environment, wheels: Path
) -> None:
    assert [entry.name for entry in pip(environment, wheels).resolve(["thing==1.0"], alone=True)] == ["thing"]


@pytest.mark.parametrize("replaced", [True, False])
def test_an_archive_other_than_was_pinned_is_not_installed(
    environment: Environment, wheels: Path, replaced: bool
) -> None:
    pins = [requirements.pin("thing", "1.0", ["0" * 64])]
    if replaced:
        pins = list(needed.from_folder((Pin("thing", "1.0"),), wheels))
        (wheels / "thing-1.0-py3-none-any.whl").unlink()
        wheel_parts.build(wheels, "thing", "1.0", {"thing/__init__.py": "import os\n"})
    with pytest.raises(DigestMismatch, match="another than was pinned"):
        pip(environment, wheels).install(pins)
    assert not (environment.packages / "thing").exists()


def test_pip_itself_refuses_another_archive(environment: Environment, wheels: Path) -> None:
    """The vault's own look into the folder is only there to say it early."""
    installer = pip(environment, wheels)
    installer._check_folder = lambda wanted: None  # type: ignore[method-assign]
    with pytest.raises(DigestMismatch):
        installer.install([requirements.pin("thing", "1.0", ["0" * 64])])
    assert not (environment.packages / "thing").exists()


def test_nothing_without_a_hash_is_installed(environment: Environment, wheels: Path) -> None:
    with pytest.raises(ValueError, match="pinned by a hash"):
        pip(environment, wheels).install([Pin("thing", "1.0")])
    pip(environment, wheels).install([])
    assert not (environment.packages / "thing").exists()


@pytest.mark.parametrize("pinned", [True, False])
def test_a_source_archive_is_never_looked_into(
    environment: Environment, tmp_path: Path, pinned: bool
) -> None:
    """Its build is a program: resolving it would already run that."""
    proof, folder = tmp_path / "ran", tmp_path / "sources"
    (source := tmp_path / "evil-1.0").mkdir()
    folder.mkdir()
    (source / "setup.py").write_text(f"open({str(proof)!r}, 'w')\nfrom setuptools import setup\nsetup()\n")
    (source / "PKG-INFO").write_text("Metadata-Version: 2.1\nName: evil\nVersion: 1.0\n")
    with tarfile.open(folder / "evil-1.0.tar.gz", "w:gz") as archive:
        archive.add(source, "evil-1.0")
    installer = pip(environment, folder)
    pins = [requirements.pin("evil", "1.0", [sha256(folder / "evil-1.0.tar.gz")])]
    with pytest.raises(Unavailable) as caught:
        _ = installer.install(pins) if pinned else installer.resolve(["evil==1.0"], alone=True)  # type: ignore[func-returns-value]
    assert caught.value.code == "load-test-impossible"
    assert not proof.exists()


def test_a_folder_that_lacks_something_is_told(environment: Environment, wheels: Path) -> None:
    with pytest.raises(Unavailable, match="absent==1") as caught:
        pip(environment, wheels).resolve(["absent==1"], alone=True)
    assert "--wheels DIR" in caught.value.hint


def test_an_installer_gets_no_variable_of_the_vault_or_a_cloud() -> None:
    environ = {
        **dict.fromkeys(
            ("MVAULT_PASSPHRASE_FILE", "AWS_SECRET_ACCESS_KEY", "PYTHONPATH", "SSH_AUTH_SOCK"), "x"
        ),
        **dict.fromkeys(("PIP_TARGET", "PIP_USER", "PIP_PREFIX", "PIP_REQUIREMENT", "UV_PYTHON"), "x"),
        **dict.fromkeys(("PATH", "PIP_INDEX_URL", "UV_INDEX", "https_proxy", "HOME"), "y"),
    }
    online = load_test_environment._variables(environ, offline=False)
    assert set(online) == {"PATH", "PIP_INDEX_URL", "UV_INDEX", "https_proxy", "HOME"}
    assert set(load_test_environment._variables(environ, offline=True)) == {"PATH", "https_proxy", "HOME"}


def test_with_a_folder_nothing_else_that_is_configured_is_asked(
    environment: Environment, wheels: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    wheel_parts.build(elsewhere, "thing", "9.0", CODE)
    monkeypatch.setenv("PIP_FIND_LINKS", str(elsewhere))
    monkeypatch.setenv("PIP_EXTRA_INDEX_URL", elsewhere.as_uri())
    with pytest.raises(Unavailable):
        pip(environment, wheels).resolve(["thing==9.0"], alone=True)


def test_an_installer_that_hangs_or_is_missing_is_told(
    environment: Environment, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    slow = tmp_path / "bin" / "uv"
    slow.parent.mkdir()
    slow.write_text("#!/bin/sh\nsleep 60\n")
    slow.chmod(0o700)
    monkeypatch.setenv("PATH", f"{slow.parent}{os.pathsep}{os.environ['PATH']}")
    installer = Installer(environment, Installing("auto", None, 1))
    assert installer.name == "uv"
    with pytest.raises(Unavailable, match="longer than 1 seconds"):
        installer.resolve(["thing==1.0"], alone=True)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert Installer(environment, Installing()).name == "pip"
    with pytest.raises(Unavailable, match="uv is not installed"):
        Installer(environment, Installing("uv"))
    with pytest.raises(ValueError, match="auto, uv, pip"):
        Installer(environment, Installing("conda"))


@pytest.mark.parametrize(
    "text",
    ["", "{", "[]", '{"install":1}', '{"install":[{}]}',
     '{"install":[{"metadata":{"name":"a b","version":"1"}}]}',
     '{"install":[{"metadata":{"name":"a","version":"1"},"download_info":[]}]}', "[" * 100_000],
)  # fmt: skip
def test_a_report_that_is_none_is_refused(text: str) -> None:
    with pytest.raises(Unavailable, match="cannot be read"):
        load_test_environment._reported(text)


def test_a_resolver_that_tells_no_hash_is_not_believed(environment: Environment, wheels: Path) -> None:
    assert load_test_environment._reported(
        '{"install":[{"metadata":{"name":"a","version":"1"},"download_info":{}}]}'
    ) == (Pin("a", "1"),)


def test_interpreters_are_found_by_their_version() -> None:
    import platform

    here = load_test_environment.interpreter_for(platform.python_version())
    assert load_test_environment.version_of(here) == platform.python_version()
    for version, why in (("3.9", "older than"), ("3.99", "There is no Python 3.99")):
        with pytest.raises(Unavailable, match=why) as caught:
            load_test_environment.interpreter_for(version)
        assert caught.value.code == "load-test-impossible"
    assert load_test_environment.version_of(Path("/bin/false")) == ""


# --- locks and folders at publishing ---


def test_hashes_come_from_a_folder_or_a_lock(wheels: Path, tmp_path: Path) -> None:
    pins = (Pin("other", "2.0"), Pin("thing", "1.0"))
    found = needed.hashed(pins, wheels)
    assert [entry.hashes for entry in found] == [
        (sha256(wheels / "other-2.0-py3-none-any.whl"),),
        (sha256(wheels / "thing-1.0-py3-none-any.whl"),),
    ]
    lock = tmp_path / "lock.txt"
    lock.write_bytes(requirements.encode(found))
    assert needed.hashed(pins, lock) == found
    with pytest.raises(ValueError, match=r"no wheel of thing==1\.1"):
        needed.hashed((Pin("thing", "1.1"),), wheels)
    with pytest.raises(ValueError, match=r"pins thing 1\.0; the model needs, as far as is known, 1\.1"):
        needed.hashed((Pin("thing", "1.1"),), lock)
    lock.write_text("thing==1.0\n")
    with pytest.raises(ValueError, match="no hashes"):
        needed.hashed(pins, lock)
    lock.write_text("thing==1.0 --index-url https://example.org\n")
    with pytest.raises(Malformed):
        needed.hashed(pins, lock)
    with pytest.raises(NotFound):
        needed.hashed(pins, tmp_path / "nothing")
    with pytest.raises(NotFound):
        needed.from_folder(pins, tmp_path / "nothing")


def test_what_loading_needs_is_found_with_all_that_it_requires() -> None:
    first = needed.roots([("skops", ["sklearn.tree._tree.Tree", "builtins.dict"]), ("json", [])], table=True)
    assert set(first) >= {"skops", "scikit-learn", "numpy", "scipy"}
    pins = {entry.name for entry in needed.closure(first)}
    assert pins >= {*first, "joblib", "threadpoolctl"}
    assert not pins & {"pytest", "click", "cryptography"}
    assert needed.roots([("onnx", [])]) == ("numpy", "onnxruntime")
    assert needed.closure(["no-such-distribution"]) == ()
    assert needed.record([("json", [])]) == {"first": [], "pins": []}
