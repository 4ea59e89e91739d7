"""Legacy files of real models become skops and ONNX, and predict what they did."""

import bz2
import gzip
import io
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import joblib
import numpy as np
import pytest

import vault
from vault.confinement import confine
from vault.core import skops_types
from vault.errors import Conflict, FormatRefused, Malformed, NotFound
from vault.loaders import onnx, skops

pytestmark = pytest.mark.skipif(not confine.available().whole, reason="this kernel lacks Landlock or seccomp")


def data(rows: int = 200) -> tuple[Any, Any]:
    rng = np.random.default_rng(5)
    table = rng.normal(size=(rows, 5)).astype("float32").astype("float64")
    return table, (table[:, 0] + table[:, 1] ** 2 > 0.7).astype(int)


def fitted(kind: str) -> Any:
    from sklearn.compose import ColumnTransformer
    from sklearn.ensemble import HistGradientBoostingClassifier, RandomForestClassifier
    from sklearn.linear_model import LogisticRegression
    from sklearn.neighbors import KNeighborsClassifier
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import MinMaxScaler, StandardScaler
    from sklearn.svm import SVC

    made = {
        "logistic": LogisticRegression,
        "forest": lambda: RandomForestClassifier(10, random_state=0, n_jobs=4),
        "boosting": lambda: HistGradientBoostingClassifier(max_iter=5, random_state=0),
        "neighbours": lambda: KNeighborsClassifier(n_jobs=-1),
        "svc": SVC,
        "scaler": StandardScaler,
        "columns": lambda: make_pipeline(
            ColumnTransformer([("a", StandardScaler(), [0, 1]), ("b", MinMaxScaler(), [2, 3, 4])]),
            LogisticRegression(),
        ),
    }[kind]()
    return made.fit(*data())


def pickled(protocol: int) -> Callable[[Any], bytes]:
    return lambda thing: pickle.dumps(thing, protocol=protocol)


def joblibbed(compress: Any) -> Callable[[Any], bytes]:
    def write(thing: Any) -> bytes:
        buffer = io.BytesIO()
        joblib.dump(thing, buffer, compress=compress)
        return buffer.getvalue()

    return write


WRITERS: dict[str, Callable[[Any], bytes]] = {
    **{f"protocol{number}.pkl": pickled(number) for number in range(6)},
    "plain.joblib": joblibbed(0),
    **{f"{kind}.joblib": joblibbed((kind, 3)) for kind in ("zlib", "gzip", "bz2", "lzma", "xz")},
    "gzipped.pkl": lambda thing: gzip.compress(pickle.dumps(thing, protocol=2)),
    "bzipped.pkl": lambda thing: bz2.compress(pickle.dumps(thing, protocol=4)),
}


def restored(found: "vault.Conversion") -> Any:
    """Load what was written as anybody would, within the default allowance."""
    content = memoryview(Path(found.output).read_bytes())
    if found.format == "onnx":
        return onnx.restore(content)
    assert set(found.types) <= skops_types.DEFAULT_SKOPS_TYPES
    return skops.restore(content, frozenset(found.types), subject="it")


@pytest.mark.slow  # below, an old release writes protocol 0, and a table's model is a joblib file
@pytest.mark.parametrize("name", WRITERS)
def test_every_way_of_pickling_is_read(name: str, tmp_path: Path) -> None:
    model = fitted("forest")
    path = tmp_path / name
    path.write_bytes(WRITERS[name](model))
    rows = data()[0]
    found = vault.convert(path, sample=rows)
    assert (found.rows, found.differing, found.weak, found.sample) == (1_000, 0.0, False, "given")
    assert (found.estimator, found.format) == ("sklearn.ensemble._forest.RandomForestClassifier", "skops")
    assert found.landlock > 0
    assert found.seccomp
    assert np.array_equal(restored(found).predict_proba(rows), model.predict_proba(rows))


QUICK = {("scaler", "onnx")}


@pytest.mark.parametrize(
    ("kind", "to"),
    [
        (kind, to) if (kind, to) in QUICK else pytest.param(kind, to, marks=pytest.mark.slow)
        for kind in ("logistic", "forest", "boosting", "neighbours", "svc", "scaler", "columns")
        for to in ("skops", "onnx")
    ],
)
def test_models_of_many_kinds_become_both_formats(kind: str, to: str, tmp_path: Path) -> None:
    model = fitted(kind)
    path = tmp_path / "model.pkl"
    path.write_bytes(pickle.dumps(model, protocol=2))
    rows = data()[0]
    found = vault.convert(path, to=to, sample=rows, tolerance=0.005 if to == "onnx" else 0.0)
    assert found.rows == 1_000
    if kind == "scaler":
        expected = model.transform(rows)
        got = restored(found).predict(rows) if to == "onnx" else restored(found).transform(rows)
        assert np.allclose(got, expected, atol=1e-5)
    else:
        assert (restored(found).predict(rows) == model.predict(rows)).mean() >= 0.995


def test_a_table_with_text_keeps_its_columns(tmp_path: Path) -> None:
    import pandas as pd
    from sklearn.compose import ColumnTransformer
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import OneHotEncoder, StandardScaler

    table = pd.DataFrame({"size": [1.0, 2.0, 3.0, 4.0] * 20, "colour": ["red", "blue", "red", "green"] * 20})
    steps = [("n", StandardScaler(), ["size"]), ("t", OneHotEncoder(handle_unknown="ignore"), ["colour"])]
    model = make_pipeline(ColumnTransformer(steps), LogisticRegression()).fit(
        table, ["yes", "no", "yes", "no"] * 20
    )
    path = tmp_path / "model.joblib"
    path.write_bytes(WRITERS["zlib.joblib"](model))
    table.to_csv(tmp_path / "rows.csv", index=False)
    found = vault.convert(path, sample=tmp_path / "rows.csv")
    assert (found.rows, found.differing, found.sample) == (1_000, 0.0, "given")
    assert list(restored(found).predict(table)) == list(model.predict(table))


def test_rows_are_made_up_where_none_are_given_and_parity_is_weak(tmp_path: Path) -> None:
    path = tmp_path / "model.pkl"
    path.write_bytes(pickle.dumps(fitted("logistic")))
    found = vault.convert(path, output=tmp_path / "other.skops")
    assert (found.sample, found.rows, found.weak) == ("generated", 1_000, True)
    assert found.output == str(tmp_path / "other.skops")
    assert "sklearn.linear_model._logistic.LogisticRegression" in found.globals


def test_what_predicts_nothing_is_converted_without_comparison_and_overwrites_nothing_unless_told(
    tmp_path: Path,
) -> None:
    path = tmp_path / "bundle.pkl"
    path.write_bytes(pickle.dumps({"model": fitted("logistic"), "features": ["a", "b"]}))
    (tmp_path / "bundle.skops").write_bytes(b"mine")
    with pytest.raises(Conflict):
        vault.convert(path)
    assert (tmp_path / "bundle.skops").read_bytes() == b"mine"
    found = vault.convert(path, force=True)
    assert len((tmp_path / "bundle.skops").read_bytes()) == found.size
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["bundle.pkl", "bundle.skops"]
    assert (found.sample, found.rows, found.weak) == ("none", 0, True)
    assert restored(found)["features"] == ["a", "b"]


def test_module_names_of_old_releases_are_found_and_parameters_that_came_later_get_their_defaults(
    tmp_path: Path,
) -> None:
    """Without those an old estimator predicts, but cannot be shown, copied or pushed with its parameters."""
    model = fitted("columns")
    del model.transform_input
    del model.steps[1][1].C
    with pytest.raises(AttributeError):
        model.get_params()
    written = pickle.dumps(model, protocol=0)
    old = written.replace(b"sklearn.linear_model._logistic", b"sklearn.linear_model.logistic")
    assert old != written
    (tmp_path / "old.pkl").write_bytes(old)
    made = vault.convert(tmp_path / "old.pkl", sample=data()[0])
    assert (made.estimator, made.differing) == ("sklearn.pipeline.Pipeline", 0.0)
    found = restored(made)
    assert type(found.steps[1][1]).__module__ == "sklearn.linear_model._logistic"
    assert found.get_params()["transform_input"] is None
    assert found.steps[1][1].C == 1.0
    assert "LogisticRegression" in repr(found)


# --- refusals ---


def test_a_class_that_is_not_installed_is_named(tmp_path: Path) -> None:
    path = tmp_path / "model.pkl"
    path.write_bytes(b"\x80\x04\x8c\x0cmy_company.fx\x94\x8c\x05Model\x94\x93.".replace(b"\x0cmy", b"\x0dmy"))
    with pytest.raises(vault.MissingLibrary, match="needs my_company"):
        vault.convert(path)


def test_a_type_that_is_not_allowed_is_named_and_can_be_allowed(tmp_path: Path) -> None:
    from fractions import Fraction

    path = tmp_path / "model.pkl"
    path.write_bytes(pickle.dumps({"a": Fraction}))
    with pytest.raises(FormatRefused, match=r"fractions\.Fraction") as caught:
        vault.convert(path)
    assert caught.value.code == "not-allowed"
    assert not (tmp_path / "model.skops").exists()
    found = vault.convert(path, allow={"skops_types": ["fractions.Fraction"]})
    assert found.types == ("fractions.Fraction",)


@pytest.mark.parametrize(
    ("name", "content", "told"),
    [
        ("model.json", b'{"a": 1}', "no pickle"),
        ("model.pkl", b"hello, I am text", "no pickle"),
        ("empty.pkl", b"", "no pickle"),
        ("model.npy", b"\x93NUMPY\x01\x00", "no pickle"),
    ],
)
def test_what_is_no_pickle_is_refused(name: str, content: bytes, told: str, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(FormatRefused, match=told) as caught:
        vault.convert(tmp_path / name)
    assert caught.value.code == "format-refused"


def test_callers_mistakes_are_told(tmp_path: Path) -> None:
    path = tmp_path / "model.pkl"
    with pytest.raises(NotFound):
        vault.convert(path)
    path.write_bytes(pickle.dumps(fitted("logistic")))
    with pytest.raises(ValueError, match="skops or onnx"):
        vault.convert(path, to="joblib")
    with pytest.raises(ValueError, match=r"extension \.skops"):
        vault.convert(path, output=tmp_path / "model.bin")
    with pytest.raises(FormatRefused, match="does not predict on the sample") as caught:
        vault.convert(path, sample=np.zeros((10, 3)))
    assert caught.value.code == "conversion-failed"
    with pytest.raises(vault.Unavailable):
        vault.convert(path, output=tmp_path / "nowhere" / "x" / "model.skops", sample="/dev/null/x.npy")


@pytest.mark.parametrize(
    ("name", "content", "kind", "told"),
    [
        ("rows.txt", b"1,2", ValueError, "cannot be read as rows"),
        ("rows.csv", b"", ValueError, "names of its columns"),
        ("rows.csv", b"a,a\n1,2\n", ValueError, "names of its columns"),
        ("rows.csv", b"a,b\n1\n", ValueError, "more or fewer cells"),
        ("rows.csv", b"a,b\n", ValueError, "holds no rows"),
        ("rows.csv", b"\xff\xfe", ValueError, "no CSV file"),
        ("rows.npz", b"PK", Malformed, "."),
        ("rows.npy", b"\x80\x04.", FormatRefused, "."),
    ],
)
def test_samples_that_are_none_are_refused(
    name: str, content: bytes, kind: type[Exception], told: str, tmp_path: Path
) -> None:
    (tmp_path / "model.pkl").write_bytes(pickle.dumps({"a": 1}))
    (tmp_path / name).write_bytes(content)
    with pytest.raises(kind, match=told):
        vault.convert(tmp_path / "model.pkl", sample=tmp_path / name)


@pytest.mark.parametrize("name", ["rows.npy", "rows.npz", "named.npz", "rows.csv"])
def test_samples_are_read_from_every_kind_of_file(name: str, tmp_path: Path) -> None:
    from vault.actions import sample_file

    rows = data(7)[0]
    if name == "rows.npy":
        np.save(tmp_path / name, rows)
    elif name == "rows.npz":
        np.savez(tmp_path / name, rows)
    elif name == "named.npz":
        np.savez(tmp_path / name, X=rows, y=rows[:, 0])
    else:
        np.savetxt(tmp_path / name, rows, delimiter=",", header="a,b,c,d,e", comments="", fmt="%.17g")
    assert np.array_equal(np.asarray(sample_file.read(tmp_path / name)), rows)


def test_bytes_of_python_2_are_read_and_the_callers_process_imports_no_machine_learning(
    tmp_path: Path,
) -> None:
    """Python 2 wrote the bytes of arrays as text."""
    import subprocess
    import sys

    path = tmp_path / "two.pkl"
    path.write_bytes(b"\x80\x02}q\x00U\x01aq\x01U\x02\xff\xfeq\x02s.")
    program = (
        f"import sys, vault; vault.convert({str(path)!r})\n"
        "bad = {'pickle', 'joblib', 'sklearn', 'skops', 'onnx', 'onnxruntime', 'scipy'} & set(sys.modules)\n"
        "print(sorted(bad))"
    )
    root = Path(vault.__file__).parents[1]
    ended = subprocess.run(
        [sys.executable, "-c", program], cwd=root, capture_output=True, text=True, check=True
    )
    assert set(ended.stdout.strip("[]\n").replace("'", "").split(", ")) <= {"", "pickle"}
    content = memoryview((tmp_path / "two.skops").read_bytes())
    assert skops.restore(content, frozenset(), subject="it") == {"a": "\xff\xfe"}


def test_a_pickle_is_loaded_in_no_process_that_can_write(tmp_path: Path) -> None:
    from vault.loaders import pickle_confined

    with (tmp_path / "model.pkl").open("w+b") as file:
        file.write(pickle.dumps(1))
        file.flush()
        with pytest.raises(RuntimeError, match="confined process only"):
            pickle_confined.load(file.fileno())
