"""An MLmodel file names the model's file; whatever else it asks for is not done."""

from typing import Any

import pytest

from vault.core import limits, mlflow_model
from vault.errors import FormatRefused, Malformed

COLUMNS = '[{"type": "double", "name": "age"}, {"type": "double", "name": "income"}]'


def tree(**more: Any) -> dict[str, Any]:
    flavours = {"sklearn": {"pickled_model": "model.pkl"}, "python_function": {"loader_module": "os"}}
    return {"flavors": flavours, "run_id": "r1", "mlflow_version": "3.17.2", **more}


def read(value: Any) -> mlflow_model.MlflowModel:
    return mlflow_model.read(value, subject="churn/1/MLmodel")


def test_it_names_the_file_and_the_columns() -> None:
    found = read(tree(signature={"inputs": COLUMNS, "outputs": '[{"type": "tensor"}]', "params": "null"}))
    assert (found.flavour, found.path, found.features) == ("sklearn", "model.pkl", ("age", "income"))
    assert set(found.signature) == {"inputs", "outputs"}
    assert (found.run_id, found.mlflow_version, found.created) == ("r1", "3.17.2", "")


@pytest.mark.parametrize(
    ("flavours", "flavour", "path"),
    [
        ({"onnx": {"data": "model.onnx"}, "sklearn": {"pickled_model": "x"}}, "onnx", "model.onnx"),
        ({"lightgbm": {"data": "model.lgb"}}, "lightgbm", "model.lgb"),
        ({"xgboost": {"data": "model.ubj"}}, "xgboost", "model.ubj"),
        ({"tensorflow": {"data": "data/"}}, "tensorflow", "data"),
    ],
)
def test_the_native_file_goes_first(flavours: Any, flavour: str, path: str) -> None:
    found = read({"flavors": flavours})
    assert (found.flavour, found.path, found.features, found.signature) == (flavour, path, None, {})


@pytest.mark.parametrize(
    "signature",
    [
        "null",
        {"inputs": 3},
        {"inputs": "{"},
        {"inputs": "\ud800"},
        {"inputs": "[]"},
        {"inputs": '{"a": 1}'},
        {"inputs": '[{"type": "tensor"}]'},
        {"inputs": '[{"name": "a"}, {"name": "a"}]'},
        {"inputs": '[{"name": "a"}, 3]'},
        {"inputs": "[" + " " * limits.MLMODEL_BYTES + "]"},
    ],
)
def test_columns_that_cannot_be_read_are_none(signature: Any) -> None:
    assert read(tree(signature=signature)).features is None


@pytest.mark.parametrize(
    "flavours", [{"python_function": {"loader_module": "os"}}, {"pytorch": {}, "python_function": {}}, {}]
)
def test_code_and_what_is_not_known_is_refused(flavours: Any) -> None:
    with pytest.raises(FormatRefused, match="flavour") as caught:
        read({"flavors": flavours})
    assert ("Python code" in caught.value.message) is ("python_function" in flavours and len(flavours) == 1)


@pytest.mark.parametrize(
    "value",
    [
        "text",
        [],
        {"flavors": "x"},
        {"flavors": {"sklearn": "x"}},
        {"flavors": {"sklearn": {}}},
        {"flavors": {"sklearn": {"pickled_model": ["x"]}}},
        {"flavors": {"sklearn": {"pickled_model": "../../secret"}}},
        {"flavors": {"sklearn": {"pickled_model": "/etc/passwd"}}},
        {"flavors": {"sklearn": {"pickled_model": ""}}},
    ],
)
def test_what_is_no_mlmodel_file_is_malformed(value: Any) -> None:
    with pytest.raises(Malformed):
        read(value)
