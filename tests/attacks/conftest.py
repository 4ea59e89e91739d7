"""One cell for all attacks on deserialization of a worker."""

from collections.abc import Iterator

import pytest

from tests.attacks.deserialization_cell import Cell


@pytest.fixture(scope="session")
def cell() -> Iterator[Cell]:
    """Give the warm process in whose forks attacks run."""
    with Cell() as running:
        yield running
