"""The attack matrix: who attacks, what they do, what it is refused as, and the same flow without it.

    Attack("what is tried", Row.PROMOTER, ("a line of LINES",),
           scene=released,            # a vault, built anew for every run
           strike=...,                # what the attacker does to it
           flow=loads("churn@prod"),  # what somebody honest does then
           refused=(Rollback, "rollback"),  # or stays=ONE: the attack is passed over, whatever it was
           honest=..., gives=ONE)     # the same flow, after the same by those who may

An attack is run three times: untouched, with `honest` in place of the attack, and with the attack. A
refused flow changes no object of the store, teaches the client nothing that is not genuine, deserializes
nothing and imports nothing but the vault's own modules. A test of the matrix is `run(attack)`.
"""

import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from enum import StrEnum
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any

import pytest

from tests.builders import Built
from vault.actions import deserializing
from vault.core.memory_format import Memory
from vault.errors import CODES, VaultError

Flow = Callable[[Built], Any]
Act = Callable[[Built], object]


class Row(StrEnum):
    """The attackers of the threat table; docs/threat-model.md tells what each can and cannot do."""

    EAVESDROPPER = "outsider who can read the storage"
    OUTSIDER = "outsider who can write to the storage"
    REPLAYER = "outsider who replays old state"
    READER = "insider who may load"
    PUBLISHER = "insider who may publish to dev"
    AUTHOR = "malicious but authorised publisher of a model"
    APPROVER = "insider who may approve"
    PROMOTER = "insider who may promote"
    LAPTOP = "one stolen laptop"
    ROOT_KEY = "one stolen root key"
    LOG_WRITER = "a log writer"
    STRANGER = "a stranger's repository"


# What the headings of docs/threat-model.md say about a row, the first that fits; None is a non-goal.
HEADINGS: tuple[tuple[str, Row | None], ...] = (
    ("the machine that loads", None),
    ("stranger's repository", Row.STRANGER),
    ("log", Row.LOG_WRITER),
    ("witness", Row.LOG_WRITER),
    ("root", Row.ROOT_KEY),
    ("stolen laptop", Row.LAPTOP),
    ("not promote", Row.PUBLISHER),
    ("may promote", Row.PROMOTER),
    ("may approve", Row.APPROVER),
    ("may load", Row.READER),
    ("hides what it reads", Row.READER),
    ("model of their own", Row.AUTHOR),
    ("old copy", Row.REPLAYER),
    ("write access", Row.OUTSIDER),
    ("read access", Row.EAVESDROPPER),
)

SIGNATURES = (
    "added files and chosen ignore lists",
    "empty packages",
    "symlinks",
    "duplicate, unknown and trailing content",
    "paths that escape or collide",
    "packages that differ only in names",
    "expired documents",
    "another version or model served",
    "a known key without authority",
    "a revoked key",
    "another document type",
    "one of several signatures looked at",
    "one key or person counted twice",
    "bad key input",
    "malformed input",
)
TIME = (
    "rollback",
    "fast-forward",
    "stale heads",
    "a withheld policy",
    "the loser of a race",
    "garbage and squatted names",
    "a record without its approvals",
    "a private fork of the log",
    "a stripped signature",
    "approval through an owned service",
    "a root signed by new or old keys only",
    "a threshold of retired keys",
    "mixed versions",
    "endless data",
    "a delegator that has changed",
)
# What else is tried; no line of its own.
BEYOND = ("keys", "bars", "eras", "requirements", "reading")
LINES = (*SIGNATURES, *TIME, *BEYOND)


def nothing(_: Built) -> None:
    """Do nothing: where the attack is all that is between a flow and its success."""


@dataclass(frozen=True, slots=True)
class Attack:
    """One attack; see the module. `refused` and `stays` exclude each other."""

    name: str
    row: Row
    lines: tuple[str, ...]
    scene: Callable[[], Built]
    strike: Act
    flow: Flow
    gives: Any
    honest: Act = nothing
    refused: tuple[type[VaultError], str] | None = None
    stays: Any = None
    in_force: bool = False  # what the attacker writes counts for what they may write: clients remember it

    def __post_init__(self) -> None:
        """Refuse an entry that tests nothing."""
        assert set(self.lines) <= set(LINES), self.name
        assert self.lines, self.name
        assert (self.refused is None) != (self.stays is None), self.name
        assert self.refused is None or self.refused[1] in CODES, self.name
        assert self.honest is nothing or self.stays != self.gives, self.name


@dataclass(frozen=True, slots=True)
class Existing:
    """An attack that another test is about, by its file below tests/ and its name."""

    row: Row
    lines: tuple[str, ...]
    test: str  # "attacks/test_x.py::test_name"


def attacks(table: Sequence[Attack]) -> pytest.MarkDecorator:
    """Run a test once for each attack of a table."""
    return pytest.mark.parametrize("attack", table, ids=[attack.name for attack in table])


def run(attack: Attack, monkeypatch: pytest.MonkeyPatch) -> None:
    """See an attack fail as it says, and the same flow succeed without it."""
    genuine = set[tuple[str, str]]()
    if attack.honest is not nothing:
        untouched = attack.scene()
        with suppress(VaultError):  # without the step that `honest` makes it may well be refused
            attack.flow(untouched)
        genuine |= _learned(untouched)
    fair = attack.scene()
    attack.honest(fair)
    assert attack.flow(fair) == attack.gives, "the honest flow"
    genuine |= _learned(fair)

    struck = attack.scene()
    before = dict(struck.store.objects)
    attack.strike(struck)
    assert attack.refused is not None or struck.store.objects != before, "an attack that does nothing"
    stored, known = dict(struck.store.objects), _learned(struck)
    if attack.refused is None:
        assert attack.flow(struck) == attack.stays
        return
    with _nothing_resolved(monkeypatch), pytest.raises(VaultError) as caught:
        attack.flow(struck)
    assert (type(caught.value), caught.value.code) == attack.refused, caught.value
    assert struck.store.objects == stored
    assert attack.in_force or _learned(struck) <= known | genuine


def _learned(built: Built) -> set[tuple[str, str]]:
    """Give all that the clients of a vault remember of channels, versions and heads."""
    found: set[tuple[str, str]] = set()
    for memory in built.memories.values():
        known: Memory = memory.load()
        for marks in (known.channels, known.versions, known.heads):
            found |= {(key, str(mark)) for key, mark in marks.items()}
    return found


class _Recorder:
    """A finder of modules that finds none and remembers for which it was asked."""

    def __init__(self) -> None:
        self.asked: list[str] = []

    def find_spec(
        self, name: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """Take a note."""
        self.asked.append(name)
        return None


@contextmanager
def _nothing_resolved(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """See that nothing is deserialized, and no module is imported that is not the vault's or Python's."""

    def never(*_: object) -> object:
        raise AssertionError("something was deserialized")

    recorder = _Recorder()
    with monkeypatch.context() as patch:
        patch.setattr(deserializing, "deserialize", never)
        patch.setattr(sys, "meta_path", [recorder, *sys.meta_path])
        yield
    foreign = [name for name in recorder.asked if name.partition(".")[0] not in _OWN]
    assert not foreign


_OWN = frozenset({"vault", "cryptography", "_cffi_backend", *sys.stdlib_module_names})
