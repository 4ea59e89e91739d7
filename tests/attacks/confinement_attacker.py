"""Hostile pickles for the tests of the confinement, and what came of them."""

import pickle
import textwrap
from pathlib import Path
from typing import Any

import pytest

from vault.actions import converting
from vault.errors import VaultError


class Payload:
    """Pickles as a call of `exec`."""

    def __init__(self, code: str) -> None:
        self._code = textwrap.dedent(code)

    def __reduce__(self) -> tuple[Any, ...]:
        return exec, (self._code, {})


def hostile(folder: Path, code: str) -> Path:
    """Write a pickle that runs `code` when it is loaded."""
    path = folder / "hostile.pkl"
    path.write_bytes(pickle.dumps(Payload(code), protocol=4))
    return path


def attacked(folder: Path, code: str, **options: Any) -> VaultError:
    """Convert a pickle that runs `code`; give how it was refused. Nothing may have been written."""
    path = hostile(folder, code)
    with pytest.raises(VaultError) as caught:
        converting.convert(path, despite_dangers=True, **{"seconds": 60, **options})
    assert not (folder / "hostile.skops").exists()
    assert not (folder / "hostile.onnx").exists()
    return caught.value


def told(folder: Path, code: str, **options: Any) -> str:
    """Run `code` inside, which leaves a text in `said`; give that text as the refusal repeats it.

    `attempt(function, *arguments)` gives the name of the exception, or `DONE` and the result.
    """
    prelude = """
    import os, sys
    def attempt(function, *arguments, **named):
        try:
            return f"DONE {function(*arguments, **named)!r}"
        except BaseException as error:
            return f"{type(error).__name__}/{getattr(error, 'errno', None)}"
    """
    error = attacked(
        folder, textwrap.dedent(prelude) + textwrap.dedent(code) + "\nraise RuntimeError(said)", **options
    )
    assert error.code == "conversion-failed"
    _, found, said = error.message.partition("RuntimeError: ")
    assert found, error.message
    return said
