"""Let calls of the operating system fail, as a broken disk would."""

import os
from collections.abc import Callable

import pytest


def fail(monkeypatch: pytest.MonkeyPatch, verb: str, number: int, when: Callable[..., bool]) -> None:
    """Let calls of `os.<verb>` fail with the error `number` where `when` says so."""
    real = getattr(os, verb)

    def call(*arguments: object, **options: object) -> object:
        if when(*arguments, **options):
            raise OSError(number, os.strerror(number))
        return real(*arguments, **options)

    monkeypatch.setattr(os, verb, call)
