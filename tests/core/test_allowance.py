"""The operator's allowance: nothing unless it is said."""

from dataclasses import FrozenInstanceError

import pytest

from vault.core import limits
from vault.core.allowance import Allowance


def test_nothing_is_allowed_by_default() -> None:
    nothing = Allowance()
    assert not nothing.formats | nothing.skops_types | nothing.pickle_globals | nothing.onnx_domains
    assert nothing.max_bytes == limits.LOAD_BYTES


def test_an_allowance_cannot_be_widened_afterwards() -> None:
    with pytest.raises(FrozenInstanceError):
        Allowance().formats = frozenset({"pickle"})  # type: ignore[misc]
