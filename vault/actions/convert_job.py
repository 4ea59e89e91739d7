"""The two confined processes of a conversion, and how far each of their answers is believed."""

import math
import os
import signal
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final

from vault.actions import convert_messages, sample_file
from vault.actions.convert_messages import READY_BYTES, Message
from vault.confinement import child, confine
from vault.core import formats, limits, skops_types, static_stage
from vault.core.allowance import Allowance
from vault.core.inspection import Inspection, inspect_bytes
from vault.core.strict_json import JSONValue
from vault.errors import FormatRefused, Malformed, MissingLibrary, Unavailable
from vault.ports import Progress

TARGETS: Final = (formats.SKOPS, formats.ONNX)
MEMORY: Final = 8 * limits.GIB
SECONDS: Final = 300

MODULE: Final = "vault.actions.convert_child"
_CONVERT: Final = "convert"
_VERIFY: Final = "verify"
_NO_SANDBOX: Final = 97
_LEAST_ANSWER: Final = 256 * limits.MIB
_ANSWER_PER_BYTE: Final = 64
_STAGES: Final[Mapping[str, str]] = MappingProxyType(
    {
        "load": "The libraries that are installed here cannot load it",
        "rows": "The sample cannot be read",
        "write": "What it holds cannot be written in the new format",
        "predict": "It does not predict on the sample",
        "restore": "What was written cannot be restored",
    }
)
_HINTS: Final[Mapping[str, str]] = MappingProxyType(
    {
        "load": "Convert it where the library versions that wrote it are installed.",
        "write": "Try the other format: --to {other}.",
        "predict": "Give rows as the model was trained on: --sample FILE.",
    }
)


@dataclass(frozen=True, slots=True)
class Options:
    """How to convert; see `vault.convert`."""

    sample: Any = None
    tolerance: float = 0.0
    force: bool = False
    memory: int = MEMORY
    seconds: int = SECONDS
    unsafe_no_sandbox: bool = False
    despite_dangers: bool = False
    most: int = limits.LOAD_BYTES


class Job:
    """Both processes of one conversion, and what is known to both.

    `level` is how the last of them said that it was confined, before it read anything.
    """

    def __init__(
        self,
        source: Path,
        to: str,
        options: Options,
        allowance: Allowance,
        progress: Progress,
    ) -> None:
        self._source = str(source)
        self._to = to
        self._options = options
        self._allowance = allowance
        self.level = confine.Level(0, seccomp=False)
        self._progress = progress
        self._types: frozenset[str] = frozenset()
        self._rows = None if options.sample is None else _rows(options.sample)

    def convert(self, opened: int, size: int) -> Message:
        """Have the pickle written anew.

        Raises:
            FormatRefused, Malformed, MissingLibrary, Unavailable.
        """
        self._progress(0, 2, f"Converting {self._source}")
        made = self._run(
            {"job": _CONVERT, "to": self._to, "domains": [*sorted(self._allowance.onnx_domains)]},
            {} if self._rows is None else {"rows": self._rows},
            opened=opened,
            most=min(self._options.most, max(_LEAST_ANSWER, size * _ANSWER_PER_BYTE)),
        )
        if "model" not in made.parts:
            raise self._failed("the answer holds no model")
        if "rows" not in made.parts and self._rows is None and made.head.get("predicts") is True:
            raise self._failed(
                "no rows can be made up for it, since it does not say how many numbers it takes",
                hint="Give some: --sample FILE.",
            )
        return made

    def origin(self, made: Message) -> str:
        """Say where the rows come from."""
        if self._rows is not None:
            return "given"
        return "generated" if "rows" in made.parts else "none"

    def admit(self, made: Message) -> Inspection:
        """Look at what was written as at a stranger's file: it came out of a process that a pickle may rule.

        Raises:
            FormatRefused, Malformed: it is not what anybody should load.
        """
        data = made.parts["model"]
        name = f"model{formats.FORMATS[self._to].extensions[0]}"
        found = inspect_bytes(name, data)
        if found.verdict == "refused" or found.format != self._to:
            raise self._failed(
                f"what came back would be refused ({' '.join(found.reasons) or found.format})",
                hint="Nothing was written. Do not trust the old file.",
            )
        observed = static_stage.observe(self._to, data, self._allowance, self._source)
        if self._to == formats.SKOPS:
            beyond = sorted(observed - skops_types.DEFAULT_SKOPS_TYPES - self._allowance.skops_types)
            if beyond:
                raise FormatRefused(
                    f"{self._source} as skops names {', '.join(beyond[:5])}, which this machine's operator "
                    "does not allow.",
                    code="not-allowed",
                    subject=self._source,
                    hint="If you have reviewed it, add it to skops_types under [allow] in config.toml.",
                )
            self._types = observed
        return found

    def compare(self, made: Message) -> tuple[int, float, bool]:
        """Have the new file alone predict on the rows; give rows, the fraction that differs, and doubt.

        Raises:
            FormatRefused: it predicts otherwise for more rows than are tolerated, or cannot be restored.
        """
        rows = self._rows or bytes(made.parts.get("rows", b""))
        if not rows:
            return 0, 0.0, True
        self._progress(1, 2, f"Comparing {self._source}")
        classes = made.head.get("classes")
        tried = self._run(
            {
                "job": _VERIFY,
                "to": self._to,
                "types": [*sorted(self._types)],
                "classes": classes if isinstance(classes, list) else None,
                "features": [*made.texts("features")],
                "transforms": made.head.get("transforms") is True,
            },
            {"rows": rows, "model": bytes(made.parts["model"])},
            opened=None,
            most=_LEAST_ANSWER,
        )
        found = self._parity(made, tried, rows)
        if found.differing > self._options.tolerance:
            enough = math.ceil(found.differing * 1e4) / 1e4
            raise self._failed(
                f"the {self._to} form predicts otherwise for {found.differing:.2%} of {found.rows:,} rows",
                hint=f"Try the other format, or accept it: --tolerance {enough:g}.",
            )
        return found.rows, found.differing, found.weak or self._rows is None

    def _parity(self, made: Message, tried: Message, rows: bytes) -> Any:
        """Compare what two processes say; whatever cannot be compared differs."""
        from vault.loaders import arrays, parity

        try:
            count = len(arrays.restore_sample(rows, subject=self._source))
            said = [
                {
                    name: arrays.restore_sample(part, subject=self._source)
                    for name, part in message.parts.items()
                    if name.startswith("out.")
                }
                for message in (made, tried)
            ]
            shapes = [values.shape for values in (*said[0].values(), *said[1].values())]
            fit = all(shape[:1] == (count,) and 0 not in shape for shape in shapes)
            if fit and bool(said[0]) == bool(said[1]):
                return parity.compare(said[0], said[1])
        except (AttributeError, MemoryError, TypeError, ValueError) as error:
            raise self._failed(f"its predictions cannot be compared: {error}") from None
        raise self._failed("its predictions are not one for each row")

    # --- processes ---

    def _run(
        self,
        head: dict[str, JSONValue],
        parts: dict[str, bytes],
        *,
        opened: int | None,
        most: int,
    ) -> Message:
        options = self._options
        arguments = (
            os.getpid(),
            options.memory,
            options.seconds,
            int(not options.unsafe_no_sandbox),
            -1 if opened is None else opened,
        )
        try:
            ended = child.run(
                MODULE,
                [str(argument) for argument in arguments],
                convert_messages.pack(head, parts),
                files=() if opened is None else (opened,),
                seconds=options.seconds,
                most=most + READY_BYTES,
            )
        except OSError as error:
            raise Unavailable(f"No process can be started: {error.strerror}.", subject=self._source) from None
        self._check_end(ended)
        try:
            answer = convert_messages.unpack(ended.output[READY_BYTES:])
        except Malformed as error:
            raise self._failed(error.message) from None
        if "failed" in answer.head:
            raise self._stage_failed(answer)
        return answer

    def _check_end(self, ended: child.Ended) -> None:
        """Refuse whatever is not a process that was confined, and ended by itself with an answer."""
        said = ended.messages.strip().rpartition("\n")[2][:300]
        if ended.late:
            raise self._failed(
                f"it took longer than {self._options.seconds} seconds and was stopped",
                hint="If that is honest work: --timeout SECONDS.",
            )
        if ended.large:
            raise self._failed("it answered more than any model of its size would be")
        found = convert_messages.read_ready(ended.output)
        if found is None:
            if ended.status == _NO_SANDBOX:
                raise no_sandbox(confine.available(), said)
            raise Unavailable(
                f"The confined process did not start (status {ended.status}): {said or 'it said nothing'}",
                subject=self._source,
            )
        self.level = confine.Level(*found)
        if not self.level.whole and not self._options.unsafe_no_sandbox:
            raise no_sandbox(self.level, said)
        if ended.status < 0:
            raise self._failed(
                _signalled(-ended.status),
                hint="If that is honest work, allow more: --memory GIB, --timeout SECONDS.",
            )
        if ended.status != 0:
            raise self._failed(f"its process ended with status {ended.status} and without an answer")

    def _stage_failed(self, answer: Message) -> FormatRefused | MissingLibrary:
        stage, reason, missing = answer.text("failed"), answer.text("reason"), answer.text("missing")
        if missing:
            return MissingLibrary(
                f"Converting {self._source} needs {missing[:100]}, which is not installed.",
                subject=self._source,
                hint="Install it here, or convert the file where it is installed.",
            )
        saved_with = answer.text("saved_with")
        saved = f" It was saved with scikit-learn {saved_with}." if saved_with else ""
        other = next(name for name in TARGETS if name != self._to)
        return FormatRefused(
            f"{self._source} was not converted. {_STAGES.get(stage, 'It failed')}: {reason}{saved}",
            code="conversion-failed",
            subject=self._source,
            hint=_HINTS.get(stage, "").format(other=other),
        )

    def _failed(self, why: str, hint: str = "") -> FormatRefused:
        return FormatRefused(
            f"{self._source} was not converted: {why}.",
            code="conversion-failed",
            subject=self._source,
            hint=hint,
        )


def _signalled(number: int) -> str:
    with suppress(ValueError):
        name = signal.Signals(number).name
        return f"its process was ended by {name}"
    return f"its process was ended by signal {number}"


def no_sandbox(level: confine.Level, said: str = "") -> FormatRefused:
    """Say that a pickle cannot be confined here."""
    return FormatRefused(
        f"This kernel cannot confine the process that would load the pickle: {level}."
        + (f" {said}" if said else ""),
        code="no-sandbox",
        hint="Convert it on Linux 5.13 or newer with Landlock switched on. To load it here all the same, "
        "in a machine that has nothing to lose: --unsafe-no-sandbox (Linux only).",
    )


def _rows(sample: Any) -> bytes:
    """Read rows where they are a file, add perturbed ones, and write them for the other process."""
    from vault.loaders import arrays, parity

    given = sample_file.read(Path(sample)) if isinstance(sample, str | os.PathLike) else sample
    return arrays.dump_sample(parity.widen(given))
