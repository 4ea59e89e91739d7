"""The cell sees what it is there to see: crashes, calls, writes and imports; honest files pass in silence."""

from collections.abc import Iterator

import pytest

from tests.attacks.deserialization_cell import Cell
from tests.fuzz.samples import sample


@pytest.fixture(scope="module")
def cell() -> Iterator[Cell]:
    with Cell() as running:
        yield running


@pytest.mark.parametrize(
    "name", ["skops/forest", "skops/mixed", "onnx/hand", "pickle/ridge", "joblib/histogram", "npz/arrays"]
)
def test_an_honest_file_passes_without_effects(cell: Cell, name: str) -> None:
    honest = sample(name)
    told = cell.attack(honest.path, honest.data)
    assert (told.static, told.loaded) == ("passed", "passed"), told
    assert told.silent == []
    assert told.effects == []
    assert told.verdict in ("data", "needs-pins")
