"""The recorded sample: arrays and tables come back as they were, objects never."""

import io
from typing import Any

import numpy as np
import pandas as pd
import pytest

from tests.e2e.loader_parts import admitted, trusted
from vault.errors import FormatRefused, Malformed
from vault.loaders import arrays


def restored(sample: Any) -> Any:
    return arrays.load_sample(admitted("sample.npz", "npz", arrays.dump_sample(sample)))


@pytest.mark.parametrize(
    "sample",
    [
        np.arange(12.0).reshape(3, 4),
        np.asfortranarray(np.eye(3)),
        np.zeros((0, 4)),
        np.array(["bank", "hydro"]),
        np.array([True, False]),
        np.array([["x", "y"]], dtype=object),
        np.array(["2024-01-01"], dtype="M8[ns]"),
    ],
    ids=lambda sample: f"{sample.dtype}{sample.shape}",
)
def test_arrays_come_back_equal_and_writable(sample: Any) -> None:
    found = restored(sample)
    np.testing.assert_array_equal(found, sample.astype(str) if sample.dtype == object else sample)
    assert found.shape == sample.shape
    assert found.flags.writeable


def test_a_table_comes_back_with_its_columns_in_order() -> None:
    frame = pd.DataFrame(
        {
            "z/price": [1.5, 2.5],
            "count": [1, 2],
            "name": ["a", "bb"],
            "flag": [True, False],
            "sector": pd.Categorical(["x", "y"]),
            "day": pd.to_datetime(["2024-01-01", "2024-01-02"]),
            "": [1, 2],
        }
    )
    found = restored(frame)
    assert list(found.columns) == list(frame.columns)
    for name in frame:
        assert found[name].tolist() == frame[name].tolist()
    assert found["count"].dtype == np.int64


def test_gaps_in_text_stay_gaps() -> None:
    found = restored(pd.DataFrame({"name": np.array(["a", None, "", float("nan")], dtype=object)}))
    assert found["name"].isna().tolist() == [False, True, False, True]
    assert found["name"][2] == ""


def test_sparse_samples_are_kept_dense() -> None:
    import scipy.sparse

    np.testing.assert_array_equal(restored(scipy.sparse.csr_matrix(np.eye(3))), np.eye(3))


def test_objects_are_not_written() -> None:
    for sample in (
        np.array([{}, 1], dtype=object),
        pd.DataFrame({"a": [["x"]]}),
        pd.DataFrame({"a": np.array([None, None], dtype=object)}),
        pd.DataFrame([[1]], columns=[0]),
        pd.DataFrame([[1, 2]], columns=["a", "a"]),
    ):
        with pytest.raises(ValueError, match=r"only numbers and text|column names"):
            arrays.dump_sample(sample)


def packed(**members: Any) -> bytes:
    buffer = io.BytesIO()
    np.savez(buffer, **members)
    return buffer.getvalue()


NAMES = np.array(["a"])


@pytest.mark.parametrize(
    "members",
    [
        {"values": np.array([{}], dtype=object)},
        {"other": np.arange(3)},
        {"names": NAMES},
        {"names": np.arange(1), "column_00000": np.arange(3)},
        {"names": NAMES, "column_00000": np.eye(2)},
        {"names": NAMES, "column_00000": np.arange(3), "column_00001": np.arange(3)},
        {"names": np.array(["a", "a"]), "column_00000": np.arange(3), "column_00001": np.arange(3)},
        {"names": np.array(["a", "b"]), "column_00000": np.arange(3), "column_00001": np.arange(4)},
        {"names": NAMES, "column_00000": np.arange(3), "missing_00000": np.arange(3)},
    ],
    ids="+".join,
)
def test_samples_that_were_not_written_here_are_refused(members: dict[str, Any]) -> None:
    with pytest.raises(FormatRefused) as caught:
        arrays.restore_sample(packed(**members), subject="sample.npz")
    assert caught.value.code == "format-content"


def test_a_damaged_sample_is_refused() -> None:
    data = arrays.dump_sample(np.arange(100))
    at = data.index(b"\x93NUMPY") + 200
    for damaged in (data[:-1], data + b"x", data[:at] + b"\xff" + data[at + 1 :]):
        with pytest.raises(Malformed):
            arrays.load_sample(trusted("sample.npz", "npz", damaged))
    with pytest.raises(TypeError, match="Admitted"):
        arrays.load_sample(data)  # type: ignore[arg-type]
