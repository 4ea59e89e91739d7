"""Hostile models made with TensorFlow and Keras themselves, published by somebody who skips the checks."""

import io
import json
import zipfile
from collections.abc import Callable, Mapping
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import vault
from tests.attacks.deserialization_watch import watched
from tests.core import tensorflow_parts as parts
from tests.tensorflow.conftest import policy
from vault.actions.publish import BytesSource, Contents, PackageFile, publish
from vault.core import names
from vault.errors import Refused
from vault.vault import Vault

pytestmark = pytest.mark.tensorflow
FORMATS = ["savedmodel", "keras", "hdf5"]


@pytest.fixture
def owner(place: Path) -> Vault:
    """Found a vault whose every party allows these formats."""
    vault.init(place / "models", no_passphrase=True, policy=policy(place, *FORMATS))
    return vault.open(place / "models", allow={"formats": FORMATS})


def smuggle(
    owner: Vault, files: Mapping[str, bytes], formats: Mapping[str, str], pins: tuple[str, ...]
) -> Any:
    """Sign files without looking at them, under the pins that their publisher chooses."""

    def packaged(path: str, data: bytes) -> PackageFile:
        kind = formats.get(path, "data")
        role = "file" if kind == "data" else "model"
        own = pins if kind != "data" else ()
        return PackageFile(names.path(path), role, kind, lambda: nullcontext(BytesSource(data)), own)

    contents = Contents([packaged(path, data) for path, data in files.items()], {})
    return publish(owner._session, names.model("evil"), None, contents)


def refused(owner: Vault, reference: Any, canary: Path) -> str:
    """Load, and see that it is refused with nothing resolved, imported or written."""
    with watched() as events, pytest.raises(Refused) as caught:
        owner.load_model(reference)
    assert not canary.exists()
    forbidden = ("os.exec", "os.posix_spawn", "os.system", "socket.", "subprocess.", "tempfile.")
    assert not [event for event in events if event.startswith(forbidden)]
    assert not [event for event in events if str(canary) in event]
    return caught.value.code


def as_folder(model: Any, folder: Path, signatures: Any = None) -> dict[str, bytes]:
    """Save with TensorFlow alone; give the files as they lie in a package."""
    import tensorflow as tf

    tf.saved_model.save(model, str(folder), signatures=signatures)
    return {
        f"model/{path.relative_to(folder).as_posix()}": path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    }


def _writes(canary: Path) -> Any:
    import tensorflow as tf

    def call(rows: Any) -> Any:
        tf.io.write_file(str(canary), "written")
        return rows

    return call


def _reads(canary: Path) -> Any:
    import tensorflow as tf

    return lambda rows: tf.strings.length(tf.io.read_file(str(canary))) + tf.cast(rows, tf.int32)


def _calls_python(canary: Path) -> Any:
    import tensorflow as tf

    return lambda rows: tf.py_function(lambda value: value, [rows], tf.float32)


def _prints(canary: Path) -> Any:
    import tensorflow as tf

    def call(rows: Any) -> Any:
        tf.print(rows, output_stream=f"file://{canary}")
        return rows

    return call


def _reads_words(canary: Path) -> Any:
    import tensorflow as tf

    canary.write_text("a\nb\n")
    table = tf.lookup.StaticHashTable(
        tf.lookup.TextFileInitializer(
            str(canary), tf.string, tf.lookup.TextFileIndex.WHOLE_LINE,
            tf.int64, tf.lookup.TextFileIndex.LINE_NUMBER,
        ),
        -1,
    )  # fmt: skip
    canary.unlink()
    return table


def _reads_data(canary: Path) -> Any:
    import tensorflow as tf

    def call(rows: Any) -> Any:
        lines = tf.data.TextLineDataset(str(canary))
        return rows + tf.cast(lines.reduce(tf.constant(0), lambda total, _: total + 1), tf.float32)

    return call


@pytest.mark.parametrize("body", [_writes, _reads, _calls_python, _prints, _reads_data])
def test_a_graph_that_reaches_outside_is_refused_though_it_is_signed_and_pinned(
    owner: Vault, tmp_path: Path, body: Callable[[Path], Any]
) -> None:
    import tensorflow as tf

    canary = tmp_path / "canary"
    module = tf.Module()
    module.serve = tf.function(body(canary), input_signature=[tf.TensorSpec([None], tf.float32)])
    files = as_folder(module, tmp_path / "export", module.serve)
    pins = ("ReadFile", "WriteFile")
    reference = smuggle(owner, files, {"model/saved_model.pb": "savedmodel"}, pins)
    assert refused(owner, reference, canary) == "format-content"


def test_a_table_that_is_read_from_a_file_is_refused(owner: Vault, tmp_path: Path) -> None:
    import tensorflow as tf

    module = tf.Module()
    module.table = _reads_words(tmp_path / "words")
    module.serve = tf.function(module.table.lookup, input_signature=[tf.TensorSpec([None], tf.string)])
    (tmp_path / "words").write_text("a\n")
    files = as_folder(module, tmp_path / "export", module.serve)
    (tmp_path / "words").unlink()
    reference = smuggle(owner, files, {"model/saved_model.pb": "savedmodel"}, ())
    assert refused(owner, reference, tmp_path / "words") == "format-content"


def test_a_graph_that_was_changed_after_publishing_is_not_what_was_recorded(
    owner: Vault, place: Path
) -> None:
    honest = {f"model/{path}": data for path, data in parts.folder().items()}
    pins = ("Identity", "MatMul")
    reference = smuggle(owner, honest, {"model/saved_model.pb": "savedmodel"}, pins)
    assert refused(owner, reference, place / "nothing") == "pins-mismatch"


@pytest.mark.parametrize("change", ["a file more", "a file less", "variables that are none"])
def test_a_folder_of_other_files_is_refused(owner: Vault, place: Path, change: str) -> None:
    from vault.core import savedmodel_walk

    files = {f"model/{path}": data for path, data in parts.folder().items()}
    if change == "a file more":
        files["model/keras_metadata.pb"] = b"\x0a\x00"
    elif change == "a file less":
        del files["model/variables/variables.index"]
    else:
        files["model/variables/variables.index"] = b"\x80\x04." * 100
    pins = savedmodel_walk.walk(parts.graph()).pins
    reference = smuggle(owner, files, {"model/saved_model.pb": "savedmodel"}, pins)
    assert refused(owner, reference, place / "nothing") == "format-content"


def _lambda_archive(canary: Path) -> bytes:
    import keras

    model = keras.Sequential([keras.Input((2,)), keras.layers.Lambda(lambda rows: rows * 2)])
    model.save(canary.with_suffix(".keras"))
    return canary.with_suffix(".keras").read_bytes()


def _system_archive(canary: Path) -> bytes:
    call = {
        "module": "os",
        "class_name": "function",
        "config": "system",
        "registered_name": "system",
        "inbound_nodes": [{"args": [f"touch {canary}"], "kwargs": {}}],
        "name": "boom",
    }
    return parts.archive(parts.sequential(parts.layer("Dense", units=2), call))


def _fetching_archive(canary: Path) -> bytes:
    call = parts.layer("get_file", "keras.utils", fname="x", origin=f"file://{canary}")
    return parts.archive(parts.sequential(call))


def _slipping_archive(canary: Path) -> bytes:
    held = io.BytesIO(parts.archive())
    with zipfile.ZipFile(held, "a") as made:
        made.writestr(zipfile.ZipInfo(f"../../{canary.name}"), b"x")
    return held.getvalue()


def _reading_archive(canary: Path) -> bytes:
    return parts.archive(parts.sequential(parts.layer("StringLookup", vocabulary=str(canary))))


def _hdf5_archive(change: Callable[[Any, Path], None]) -> Callable[[Path], bytes]:
    def build(canary: Path) -> bytes:
        import h5py

        held = io.BytesIO()
        with h5py.File(held, "w") as file:
            change(file, canary)
        return parts.archive(weights=held.getvalue())

    return build


def _external_link(file: Any, canary: Path) -> None:
    import h5py

    file["x"] = h5py.ExternalLink(str(canary), "/x")


def _soft_link(file: Any, canary: Path) -> None:
    import h5py

    file["x"] = h5py.SoftLink("/y")


def _external_data(file: Any, canary: Path) -> None:
    file.create_dataset("x", (4,), dtype="f4", external=[(str(canary), 0, 16)])


def _virtual_data(file: Any, canary: Path) -> None:
    import h5py

    layout = h5py.VirtualLayout((4,), dtype="f4")
    layout[:] = h5py.VirtualSource(str(canary), "x", (4,))
    file.create_virtual_dataset("x", layout)


def _packed_data(file: Any, canary: Path) -> None:
    file.create_dataset("x", data=np.zeros(1000), compression="gzip")


@pytest.mark.parametrize(
    ("build", "code"),
    [
        (_lambda_archive, "format-content"),
        (_system_archive, "format-content"),
        (_fetching_archive, "format-content"),
        (_slipping_archive, "malformed-archive"),
        (_reading_archive, "format-content"),
        (_hdf5_archive(_external_link), "format-content"),
        (_hdf5_archive(_soft_link), "format-content"),
        (_hdf5_archive(_external_data), "format-content"),
        (_hdf5_archive(_virtual_data), "format-content"),
        (_hdf5_archive(_packed_data), "format-content"),
    ],
    ids=lambda value: getattr(value, "__name__", value),
)
def test_a_hostile_archive_is_refused_though_it_is_signed_and_pinned(
    owner: Vault, tmp_path: Path, build: Callable[[Path], bytes], code: str
) -> None:
    canary = tmp_path / "canary"
    data = build(canary)
    canary.unlink(missing_ok=True)
    reference = smuggle(owner, {"model.keras": data}, {"model.keras": "keras"}, ("keras.layers.Lambda",))
    assert refused(owner, reference, canary) == code


def test_an_hdf5_model_is_refused_whatever_is_allowed(owner: Vault, tmp_path: Path) -> None:
    import keras

    model = keras.Sequential([keras.Input((2,)), keras.layers.Lambda(lambda rows: rows * 2)])
    model.save(tmp_path / "model.h5")
    data = (tmp_path / "model.h5").read_bytes()
    reference = smuggle(owner, {"model.h5": data}, {"model.h5": "hdf5"}, ())
    assert refused(owner, reference, tmp_path / "nothing") == "format-refused"


def test_what_pickles_and_archives_call_themselves_does_not_count(owner: Vault, place: Path) -> None:
    for path, kind, data in (
        ("model.keras", "keras", b"\x80\x04N."),
        ("model/saved_model.pb", "savedmodel", b"\x80\x04N."),
        ("model.keras", "keras", parts.graph()),
        ("model/saved_model.pb", "savedmodel", json.dumps(parts.configuration()).encode()),
    ):
        reference = smuggle(owner, {path: data}, {path: kind}, ())
        assert refused(owner, reference, place / "nothing") == "format-refused"
