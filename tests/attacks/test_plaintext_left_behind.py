"""Plaintext is where it was asked for, whole and verified, or nowhere: no temporary file, no half a pull."""

import os
import resource
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from sklearn.datasets import make_classification
from sklearn.linear_model import LogisticRegression

from tests.attacks.vault_damage import flips
from tests.attacks.vault_mixing import payloads
from tests.builders import Built, solo
from vault import memory
from vault.actions import loading, pulling, saving
from vault.core import names
from vault.errors import Conflict, Refused, Unavailable, VaultError
from vault.storage.folder import Folder

FILES = {
    "features.json": b'["secret feature"]',
    "model.json": b'{"secret weights":[1,2,3]}',
    "notes/deep/readme.txt": b"secret notes",
    "notes/m\u00f6re.txt": b"more secret notes",
}
CHURN = names.reference("churn:1")


@cache
def vault() -> Built:
    """Build a vault with a package of four files."""
    built = solo(seed="plaintext")
    built.publish(FILES)
    return built


def pull(built: Built, destination: Path, *, zipped: bool = False, progress: Any = None) -> Path:
    session = built.session()
    if progress is not None:
        session.progress = progress
    return pulling.pull(session, CHURN, destination, zipped=zipped)


def files_below(folder: Path) -> dict[str, bytes]:
    """Give every file below a folder, hidden ones too."""
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and not path.is_symlink()
    }


def test_a_pull_gives_exactly_the_files(tmp_path: Path) -> None:
    assert pull(vault(), tmp_path / "out") == tmp_path / "out"
    assert files_below(tmp_path) == {f"out/{path}": data for path, data in FILES.items()}


# --- when something is wrong ---


@pytest.mark.parametrize("zipped", [False, True])
@pytest.mark.parametrize("path", FILES)
def test_a_pull_of_a_damaged_file_leaves_nothing_not_even_the_other_files(
    path: str, zipped: bool, tmp_path: Path
) -> None:
    name = payloads(vault(), "churn", 1)[path]
    for changed in (*flips(vault().store.objects[name], 211), vault().store.objects[name][:-1], None):
        fork = vault().fork()
        if changed is None:
            del fork.store.objects[name]
        else:
            fork.store.objects[name] = changed
        target = tmp_path / "churn.zip" if zipped else tmp_path / "out"
        with pytest.raises(VaultError):
            pull(fork, target, zipped=zipped)
        assert files_below(tmp_path) == {}


@pytest.mark.parametrize("zipped", [False, True])
def test_nothing_is_visible_before_the_last_check(zipped: bool, tmp_path: Path) -> None:
    seen: list[dict[str, bytes]] = []

    def progress(done: int, total: int, what: str) -> None:
        seen.append(files_below(tmp_path))

    pull(vault(), tmp_path / ("churn.zip" if zipped else "out"), zipped=zipped, progress=progress)
    assert len(seen) >= len(FILES)
    assert not any(seen)


@pytest.mark.parametrize("path", FILES)
def test_a_file_that_is_there_is_a_conflict_and_nothing_is_written(path: str, tmp_path: Path) -> None:
    there = tmp_path / path
    there.parent.mkdir(parents=True, exist_ok=True)
    there.write_bytes(b"mine")
    with pytest.raises(Conflict):
        pull(vault(), tmp_path)
    assert files_below(tmp_path) == {path: b"mine"}


@pytest.mark.parametrize("kind", ["dangling link", "link", "folder", "pipe"])
@pytest.mark.parametrize("path", FILES)
def test_something_else_under_a_files_name_is_a_conflict_and_nothing_is_written(
    path: str, kind: str, tmp_path: Path
) -> None:
    outside, inside = tmp_path / "outside", tmp_path / "inside"
    outside.mkdir()
    (outside / "target").write_bytes(b"theirs")
    there = inside / path
    there.parent.mkdir(parents=True, exist_ok=True)
    if kind == "folder":
        there.mkdir()
    elif kind == "pipe":
        os.mkfifo(there)
    else:
        there.symlink_to(outside / ("nothing" if kind == "dangling link" else "target"))
    with pytest.raises(Conflict):
        pull(vault(), inside)
    assert files_below(inside) == {}
    assert files_below(outside) == {"target": b"theirs"}


@pytest.mark.parametrize("there", ["link", "file"])
def test_a_link_or_file_in_place_of_a_packages_folder_is_not_followed(there: str, tmp_path: Path) -> None:
    outside, inside = tmp_path / "outside", tmp_path / "inside"
    outside.mkdir()
    inside.mkdir()
    if there == "link":
        (inside / "notes").symlink_to(outside)
    else:
        (inside / "notes").write_bytes(b"mine")
    with pytest.raises((Conflict, Unavailable)):
        pull(vault(), inside)
    assert files_below(outside) == {}
    assert files_below(inside) == ({} if there == "link" else {"notes": b"mine"})


def test_a_zip_file_that_is_there_is_a_conflict(tmp_path: Path) -> None:
    target = tmp_path / "churn.zip"
    target.write_bytes(b"mine")
    with pytest.raises(Conflict):
        pull(vault(), target, zipped=True)
    target.unlink()
    target.symlink_to(tmp_path / "nothing")
    with pytest.raises(Conflict):
        pull(vault(), target, zipped=True)
    assert files_below(tmp_path) == {}


def test_a_commit_that_fails_after_others_takes_those_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Somebody creates the last file while the others are put in place."""
    commit = Folder._commit
    count = iter(range(100))

    def racing(self: Folder, draft: Any, name: str, parts: tuple[str, ...]) -> None:
        if next(count) == 2:
            (tmp_path / "out" / name).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / "out" / name).write_bytes(b"theirs")
        commit(self, draft, name, parts)

    monkeypatch.setattr(Folder, "_commit", racing)
    with pytest.raises(Conflict):
        pull(vault(), tmp_path / "out")
    assert list(files_below(tmp_path).values()) == [b"theirs"]


@contextmanager
def no_file_larger_than(size: int) -> Iterator[None]:
    """Make every write beyond a size fail, as on a full disk."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


@pytest.mark.parametrize("zipped", [False, True])
def test_a_full_disk_is_told_as_such_and_leaves_nothing(zipped: bool, tmp_path: Path) -> None:
    with no_file_larger_than(15), pytest.raises(Unavailable):
        pull(vault(), tmp_path / ("churn.zip" if zipped else "out"), zipped=zipped)
    assert files_below(tmp_path) == {}


@pytest.mark.parametrize("zipped", [False, True])
def test_a_destination_that_cannot_be_is_told_of(zipped: bool, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"mine")
    with pytest.raises((Conflict, Unavailable)):
        pull(vault(), tmp_path / "file" / "out", zipped=zipped)
    with pytest.raises((Conflict, Unavailable)):
        pull(vault(), tmp_path / "file", zipped=zipped)
    assert files_below(tmp_path) == {"file": b"mine"}


# --- a load writes nothing ---


WRITES = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND
CHANGES = {"os.mkdir", "os.rename", "os.link", "os.symlink", "os.truncate"}


class Watch:
    """Note every file that is opened for writing, made, moved or linked while it is on."""

    def __init__(self) -> None:
        """Join the interpreter's audit hooks, for good."""
        self.on = False
        self.events: list[tuple[str, tuple[Any, ...]]] = []
        sys.addaudithook(self)

    def __call__(self, event: str, arguments: tuple[Any, ...]) -> None:
        """Take an event."""
        if not self.on:
            return
        opened = event == "open" and isinstance(arguments[2], int) and arguments[2] & WRITES
        if opened or event.startswith("tempfile.") or event in CHANGES:
            self.events.append((event, arguments))


@cache
def watch() -> Watch:
    return Watch()


@contextmanager
def watched(allowed: Path) -> Iterator[None]:
    """See that nothing is written but below `allowed`."""
    found = watch()
    found.events.clear()
    found.on = True
    try:
        yield
    finally:
        found.on = False
    # A number is a descriptor, whose opening was an event of its own.
    paths = [event[1][0] for event in found.events if not isinstance(event[1][0], int)]
    elsewhere = [path for path in paths if not str(path).startswith(str(allowed))]
    assert not elsewhere


@cache
def models() -> tuple[Built, Any, Any]:
    """Save a real model as skops and as ONNX."""
    built = solo(seed="models")
    rows, labels = make_classification(60, 4, random_state=0)
    model = LogisticRegression().fit(rows, labels)
    for kind in ("skops", "onnx"):
        described = saving.Description(sample_input=rows, artifacts={"columns": ["a", "b"], "scale": model})
        saving.save(
            built.session(), names.model(kind), model, None, described, format=kind, also=None, tolerance=0.0
        )
    return built, rows, model.predict(rows)


@pytest.mark.parametrize("kind", ["skops", "onnx"])
def test_a_load_writes_no_file_but_the_clients_memory(kind: str, tmp_path: Path) -> None:
    built, rows, predicted = models()
    fork = built.fork()
    loading.load_package(fork.session(), names.reference(kind), {}).model  # noqa: B018 (imports done)
    fork.memories["owner"] = memory.ClientMemory(built.vault, tmp_path / "state")
    with watched(tmp_path / "state"):
        package = loading.load_package(fork.session(), names.reference(kind), {})
        assert (package.model.predict(rows) == predicted).all()
        assert package.artifacts["columns"] == ["a", "b"]
    assert watch().events  # the memory was written: the watch sees


def test_a_load_that_is_refused_writes_no_file_either(tmp_path: Path) -> None:
    built, _, _ = models()
    fork = built.fork()
    name = payloads(fork, "skops", 1)["model.skops"]
    fork.store.objects[name] = next(flips(fork.store.objects[name], start=4_000))
    fork.memories["owner"] = memory.ClientMemory(built.vault, tmp_path / "state")
    before = set(os.listdir(tempfile.gettempdir()))
    with watched(tmp_path / "state"), pytest.raises(Refused):
        loading.load_package(fork.session(), names.reference("skops"), {}).model  # noqa: B018
    assert not [entry for entry in set(os.listdir(tempfile.gettempdir())) - before if "mvault" in entry]
