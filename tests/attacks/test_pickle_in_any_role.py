"""A pickle is a program whatever it is called: no role, name or declared format gets one past the policy."""

import gzip
import io
import pickle
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from tests.builders import DEV, NOW, Built, package_file, solo
from vault.actions import packing, publish, pulling
from vault.actions.packing import Labels
from vault.actions.publish import BytesSource, Contents, PackageFile
from vault.core import admission, formats, names
from vault.core.allowance import Allowance
from vault.core.policy import Policy
from vault.errors import FormatRefused

CHURN = names.model("churn")
PICKLED = {protocol: pickle.dumps(NOW.__class__, protocol=protocol) for protocol in range(6)}
MODEL = b'{"weights":[1,2,3]}'
PICKLES = Allowance(formats=frozenset({"pickle"}))


def torch() -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("archive/data.pkl", PICKLED[4])
    return file.getvalue()


CODE = {
    **{f"protocol {protocol}": data for protocol, data in PICKLED.items()},
    "in zlib": zlib.compress(PICKLED[4]),
    "in gzip": gzip.compress(PICKLED[4], mtime=0),
    "torch": torch(),
    "hdf5": b"\x89HDF\r\n\x1a\n" + bytes(100),
}


@pytest.fixture(scope="module")
def empty() -> Built:
    return solo(seed="pickle in any role")


@contextmanager
def _opened(data: bytes) -> Iterator[BytesSource]:
    yield BytesSource(data)


def file(path: str, role: str, format: str, data: bytes) -> PackageFile:
    return PackageFile(names.path(path), role, format, lambda: _opened(data))


def slipped(built: Built, hidden: PackageFile, monkeypatch: pytest.MonkeyPatch) -> Built:
    """Publish what an authorised publisher with a program of their own could: no check of ours is asked."""
    built = built.fork()
    with monkeypatch.context() as patch:
        patch.setattr(admission, "check_stored", lambda *_: None)
        package = [package_file("model.json", MODEL), hidden]
        publish.publish(built.session(), CHURN, None, Contents(package, {}, {}, public=False))
    return built


def allowing(built: Built, *more: str) -> Built:
    def change(before: Policy) -> Policy:
        dev = before.environments[DEV]
        return replace(
            before,
            environments={**before.environments, DEV: replace(dev, formats=(*dev.formats, *more))},
        )

    built = built.fork()
    built.amend(change)
    return built


def pull(built: Built, folder: Path, *, zipped: bool) -> Path:
    target = folder / ("out.zip" if zipped else "out")
    return pulling.pull(built.session(), names.reference("churn:1"), target, zipped=zipped)


def left(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if not path.is_dir()]


@pytest.mark.parametrize("zipped", [False, True], ids=["folder", "zip"])
@pytest.mark.parametrize("path", ["weights.bin", "notes", "sample.pkl"])
@pytest.mark.parametrize("what", CODE)
def test_code_that_is_declared_as_data_is_not_pulled(
    empty: Built, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, what: str, path: str, zipped: bool
) -> None:
    for declared in ("data", "text", "json", "zip"):
        built = slipped(empty, file(path, "file", declared, CODE[what]), monkeypatch)
        with pytest.raises(FormatRefused) as caught:
            pull(built, tmp_path, zipped=zipped)
        assert caught.value.code == "format-refused"
        assert path in caught.value.message
        assert not left(tmp_path)


@pytest.mark.parametrize("zipped", [False, True], ids=["folder", "zip"])
def test_it_is_not_pulled_either_where_the_policy_allows_pickles_that_are_declared(
    empty: Built, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, zipped: bool
) -> None:
    built = slipped(allowing(empty, "pickle"), file("a.bin", "file", "data", PICKLED[4]), monkeypatch)
    with pytest.raises(FormatRefused, match="declared as data, but its content is a pickle"):
        pull(built, tmp_path, zipped=zipped)
    assert not left(tmp_path)


@pytest.mark.parametrize("role", ["file", "sample", "requirements", "features", "artifact", "preprocessor"])
def test_code_is_published_and_pulled_in_no_role_unless_the_policy_allows_its_format(
    empty: Built, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, role: str
) -> None:
    hidden = file("a.pkl", role, "pickle", PICKLED[4])
    package = [package_file("model.json", MODEL), hidden]
    contents = Contents(package, {}, {}, public=False)
    built = empty.fork()
    before = set(built.store.objects)
    with pytest.raises(FormatRefused) as caught:
        publish.publish(built.session(), CHURN, None, contents)
    assert caught.value.code == "format-refused"
    assert set(built.store.objects) == before, "nothing was stored"
    with pytest.raises(FormatRefused):
        pull(slipped(empty, hidden, monkeypatch), tmp_path, zipped=False)
    assert not left(tmp_path)
    built = allowing(empty, "pickle")
    publish.publish(built.session(), CHURN, None, contents)
    assert (pull(built, tmp_path, zipped=False) / "a.pkl").read_bytes() == PICKLED[4]


def test_a_sample_that_is_a_pickle_is_not_pushed_past_the_policy(empty: Built, tmp_path: Path) -> None:
    (tmp_path / "model.json").write_bytes(MODEL)
    (tmp_path / "sample.pkl").write_bytes(PICKLED[4])
    session = empty.fork().session(allowance=PICKLES)
    with pytest.raises(FormatRefused, match="dev allows"):
        packing.push(
            session,
            CHURN,
            [tmp_path / "model.json"],
            None,
            Labels(),
            sample=tmp_path / "sample.pkl",
            public=False,
        )


@pytest.mark.parametrize("zipped", [False, True], ids=["folder", "zip"])
def test_honest_files_of_any_kind_are_pulled(empty: Built, tmp_path: Path, zipped: bool) -> None:
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w") as made:
        made.writestr("a.csv", "1,2\n")
    files = {
        "model.json": MODEL,
        "README.md": b"# A model\n",
        "empty.bin": b"",
        "raw.bin": bytes(range(256)) * 500,
        "table.csv": b"a,b\n1,2\n",
        "table.csv.gz": gzip.compress(b"a,b\n1,2\n", mtime=0),
        "more.zip": archive.getvalue(),
        "broken.zip": b"PK\x03\x04 and nothing that follows",
    }
    built = empty.fork()
    package = [package_file(path, data) for path, data in files.items()]
    publish.publish(built.session(), CHURN, None, Contents(package, {}, {}, public=False))
    out = pull(built, tmp_path, zipped=zipped)
    if zipped:
        with zipfile.ZipFile(out) as found:
            assert {name: found.read(name) for name in found.namelist()} == files
    else:
        assert {path.name: path.read_bytes() for path in left(out)} == files


def test_every_format_that_can_run_code_is_asked_about(empty: Built) -> None:
    rule = empty.policy.environments[DEV]
    refused = set()
    for name in formats.FORMATS:
        try:
            admission.check_stored(rule, "a", name, "churn:1")
        except FormatRefused:
            refused.add(name)
    assert refused == set(formats.FORMATS) - formats.CODE_FREE
    admission.check_stored(rule, "a", "a format of tomorrow", "churn:1")
