"""The confined process of a load test, and how far its answer is believed."""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from vault.actions import convert_messages, load_test_child
from vault.actions.convert_messages import READY_BYTES, Message
from vault.actions.load_test_environment import Environment
from vault.confinement import child, confine
from vault.core import attestation, limits, zip_reader
from vault.core.strict_json import JSONValue
from vault.errors import FormatRefused, Malformed, Refused, Unavailable
from vault.loaders import arrays, parity

MODULE: Final = "vault.actions.load_test_child"
UNCONFINED: Final = confine.Level(0, seccomp=False)
_EXAMPLES: Final = 5
_SHOWN: Final = 120
_MOST_MS: Final = 10**9


@dataclass(frozen=True, slots=True)
class Bounds:
    """What the process may use: bytes of memory, seconds; and whether it may go on unconfined."""

    memory: int
    seconds: int
    unsafe_no_sandbox: bool


@dataclass(frozen=True, slots=True)
class Difference:
    """One number or label that came out otherwise than it was recorded; `row` counts from 0."""

    row: int
    output: str
    recorded: str
    got: str


@dataclass(frozen=True, slots=True)
class Ended:
    """What the process came to.

    `reason` is one of `attestation.REASONS`, None where every recorded row was
    predicted as well as is asked; `detail` says more. Times are in milliseconds.
    """

    reason: str | None
    detail: str = ""
    rows: int = 0
    differing: int = 0
    differences: tuple[Difference, ...] = ()
    load_ms: int = 0
    predict_ms: int = 0
    warnings: tuple[str, ...] = ()
    level: confine.Level = UNCONFINED


@dataclass(frozen=True, slots=True)
class Expected:
    """What was recorded of the sample, by method, and how far predictions may be from it."""

    outputs: Mapping[str, Any]
    rtol: float
    atol: float | None
    tolerated: int


def run(
    environment: Environment,
    head: Mapping[str, JSONValue],
    parts: Mapping[str, bytes],
    expected: Expected,
    bounds: Bounds,
) -> Ended:
    """Have the files restored and the sample predicted in an environment; compare.

    Raises:
        FormatRefused: `no-sandbox`.
        Unavailable: no process can be started.
    """
    arguments = (
        *(os.getpid(), bounds.memory, bounds.seconds, int(not bounds.unsafe_no_sandbox)),
        environment.packages,
    )
    try:
        ended = child.run_apart(
            environment.interpreter,
            environment.code,
            MODULE,
            [str(argument) for argument in arguments],
            convert_messages.pack(head, parts),
            seconds=bounds.seconds,
            most=limits.LOAD_TEST_ANSWER_BYTES + READY_BYTES,
        )
    except OSError as error:
        raise Unavailable(f"No process can be started: {error.strerror}.") from None
    level = _confined(ended, bounds)
    stopped = _stopped(ended, bounds)
    if stopped is not None:
        return Ended(stopped[0], stopped[1], level=level)
    try:
        answer = convert_messages.unpack(ended.output[READY_BYTES:])
        return _judged(answer, expected, level)
    except Malformed as error:
        return Ended(attestation.ANSWER, error.message, level=level)


def _confined(ended: child.Ended, bounds: Bounds) -> confine.Level:
    """Give how the process said, before any library ran, that it is confined.

    Raises:
        FormatRefused: `no-sandbox`.
        Unavailable: it did not begin.
    """
    said = ended.messages.strip().rpartition("\n")[2][:300]
    found = convert_messages.read_ready(ended.output)
    if found is None and ended.large:
        return confine.available()  # it was confined before it could flood us, or there was no answer at all
    if found is None and ended.status != load_test_child.NO_SANDBOX:
        raise Unavailable(
            f"The process of the test did not start (status {ended.status}): {said or 'it said nothing'}"
        )
    level = confine.available() if found is None else confine.Level(*found)
    if found is None or (not level.whole and not bounds.unsafe_no_sandbox):
        raise FormatRefused(
            f"This kernel cannot confine the process that would load the model: {level}."
            + (f" {said}" if said else ""),
            code="no-sandbox",
            hint="Test it on Linux 5.13 or newer with Landlock switched on. To test it here all the same: "
            "--unsafe-no-sandbox.",
        )
    return level


def _stopped(ended: child.Ended, bounds: Bounds) -> tuple[str, str] | None:
    """Say why there is no answer to be read; None where there is one."""
    if ended.late:
        return attestation.STOPPED, f"it took longer than {bounds.seconds} seconds and was stopped"
    if ended.large:
        return attestation.ANSWER, "it answered more than any model's predictions would be"
    if ended.status < 0:
        return attestation.STOPPED, f"its process was ended by signal {-ended.status}"
    if ended.status != 0:
        return attestation.STOPPED, f"its process ended with status {ended.status} and without an answer"
    return None


def _judged(answer: Message, expected: Expected, level: confine.Level) -> Ended:
    """Compare an answer with what was recorded; whatever cannot be compared differs."""
    warnings = tuple(text[: 4 * _SHOWN] for text in answer.texts("warnings"))
    stage = answer.text("failed")
    if stage:
        reason = attestation.PREDICT if stage == attestation.PREDICT else attestation.LOAD
        return Ended(reason, answer.text("reason")[:500], warnings=warnings, level=level)
    rows = max((len(values) for values in expected.outputs.values()), default=0)
    found, detail = rows, ""
    differences: tuple[Difference, ...] = ()
    try:
        got = {name.removeprefix("out."): _array(part) for name, part in answer.parts.items()}
        if "transform" in expected.outputs and "transform" not in got and "predict" in got:
            got["transform"] = got["predict"]  # an ONNX model has one name for what it does
        different = parity.differing(dict(expected.outputs), got, rtol=expected.rtol, atol=expected.atol)
        found = int(different.sum())
        differences = _examples(expected.outputs, got, different)
    except (AttributeError, IndexError, KeyError, MemoryError, TypeError, ValueError, Refused) as error:
        detail = f"its predictions cannot be compared: {error}"
    differs = found > expected.tolerated or bool(detail)
    if differs and not detail:
        detail = f"{found:,} of {rows:,} recorded rows came out otherwise"
    return Ended(
        attestation.DIFFERS if differs else None,
        detail[:500],
        rows,
        found,
        differences,
        _milliseconds(answer, "load_ms"),
        _milliseconds(answer, "predict_ms"),
        warnings,
        level,
    )


def _array(part: memoryview) -> Any:
    """Read one answer; the process writes arrays as they are, so that nothing grows when it is unpacked.

    Raises:
        Malformed, FormatRefused: it is something else.
    """
    entries = zip_reader.open_archive(part).entries.values()
    if sum(entry.size for entry in entries) > len(part):
        raise Malformed("Predictions are not packed.", code="malformed-archive", subject="the answer")
    return arrays.restore_sample(part, subject="the answer")


def _milliseconds(answer: Message, name: str) -> int:
    value = answer.head.get(name)
    return min(max(value, 0), _MOST_MS) if isinstance(value, int) else 0


def _examples(expected: Mapping[str, Any], got: Mapping[str, Any], different: Any) -> tuple[Difference, ...]:
    """Give a few of the rows that came out otherwise, beside what was recorded of them."""
    rows: Sequence[int] = different.nonzero()[0][:_EXAMPLES].tolist()
    return tuple(
        Difference(row, name, _text(expected[name], row), _text(got.get(name), row))
        for row in rows
        for name in sorted(expected)
        if _text(expected[name], row) != _text(got.get(name), row)
    )[:_EXAMPLES]


def _text(values: Any, row: int) -> str:
    return "nothing" if values is None or row >= len(values) else str(values[row].tolist())[:_SHOWN]
