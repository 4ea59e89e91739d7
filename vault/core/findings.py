"""The parts of an inspection: verdict, findings with their rules, and what an inspector may spend."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Final, Literal

from vault.core import limits
from vault.errors import CODES, Malformed, Refused

Verdict = Literal["data", "needs-pins", "refused"]
Level = Literal["error", "warning", "note"]

ORDER: Final[Mapping[str, int]] = MappingProxyType({"data": 0, "needs-pins": 1, "refused": 2})
_REASONS: Final = 100  # that are put into words; the rest is counted

# Rules beside the codes of vault.errors, which are rules too: what each means, and what to do.
RULES: Final[Mapping[str, tuple[str, str]]] = MappingProxyType(
    {
        "forbidden-global": (
            "A pickle names something that runs code, opens files or hands out what does.",
            "Do not load the file anywhere. No allowance can permit it. Ask its author what it is for.",
        ),
        "unknown-global": (
            "A pickle names something of no library that is known to write models.",
            "Find out what it is. Save the model without it, or convert it where its code is installed.",
        ),
        "hidden-global": (
            "A pickle works out the name of a global while it is loaded.",
            "No pickler writes this. Do not load the file anywhere.",
        ),
        "pickle": (
            "A pickle is a program: what it names is imported and called when it is loaded.",
            "Convert it to skops or ONNX, or load it through the gate with pinned globals.",
        ),
        "unlisted-type": (
            "A model names types beyond the default allowance.",
            "Review them; whoever loads the model has to pin and allow each by name.",
        ),
        "runs-code": (
            "The format can hold code that runs when the file is loaded or used.",
            "Load it only where you trust its signer, and where policy and operator name the format.",
        ),
        "names-code": (
            "A configuration names Python code that a loader may import.",
            "Do not load it with an option that trusts remote code.",
        ),
        "unchecked": ("A file of data was not checked in full.", "It is larger than an inspection reads."),
        "source-code": ("A file of source code lies among models.", "Nothing here runs it; others may."),
        "ambiguous-content": (
            "The bytes can be read as two formats, so that two programs see two things in them.",
            "No honest tool writes this. Do not load the file anywhere.",
        ),
        "compressed-twice": (
            "A compressed stream holds another one.",
            "No model is saved like this, but scanners were evaded with it. Ask its author.",
        ),
        "many-pickles": (
            "Several pickles stand one behind the other.",
            "PyTorch wrote such files until 2020. Save the weights as safetensors.",
        ),
        "link": ("A symbolic link; it is not followed.", "Inspect what it leads to by its own path."),
        "special-file": ("A pipe, socket or device; it is not opened.", "Remove it from the folder."),
        "changed": (
            "The file changed while it was looked at.",
            "Inspect a copy that nobody else can write to.",
        ),
        "unreadable": ("The file cannot be read.", "Look at its permissions, and inspect it again."),
    }
)


def described(rule: str) -> tuple[str, str]:
    """Say what a rule means and what to do; a refusal's code is a rule too."""
    if rule in RULES:
        return RULES[rule]
    text = CODES[rule]
    return f"{text[0].upper()}{text[1:]}.", "docs/errors.md says what the code means and what to do."


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing found: its rule, how bad it is, the sentence, and where it is.

    `member` is the path inside the file, through archives in archives with `!`
    between them, empty for the file itself; `offset` counts bytes from the
    start of the innermost thing, None where it is not known.
    """

    rule: str
    level: Level
    message: str
    member: str = ""
    offset: int | None = None


@dataclass(frozen=True, slots=True)
class Inspection:
    """What was found in one file or folder: its format, a verdict and the reasons for it.

    `data` loads nothing but numbers and text; `needs-pins` names types or
    globals that have to be pinned and allowed; `refused` is never loaded.
    `code` is the refusal's code, empty unless refused. `members` are the
    inspections of what is packed in it or lies below it; `hint` is one next
    step, `size` is in bytes.
    """

    path: str
    format: str
    verdict: Verdict
    reasons: tuple[str, ...] = ()
    globals: tuple[str, ...] = ()
    types: tuple[str, ...] = ()
    versions: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))
    dangers: tuple[str, ...] = ()
    code: str = ""
    hint: str = ""
    size: int = 0
    findings: tuple[Finding, ...] = ()
    members: tuple["Inspection", ...] = ()


@dataclass(slots=True)
class Budget:
    """What is left of what one inspection may spend, with everything packed inside the file."""

    unpacked: int = limits.INSPECT_UNPACKED_BYTES
    opcodes: int = limits.INSPECT_OPCODES
    surveyed: int = limits.INSPECT_SURVEY_OPCODES
    members: int = limits.INSPECT_MEMBERS

    def room(self) -> int:
        """Return how many bytes the next thing may unpack to."""
        return max(0, min(self.unpacked, limits.INSPECT_HELD_BYTES))

    def unpack(self, size: int) -> None:
        """Take `size` bytes that are about to be, or were, unpacked.

        Raises:
            Malformed: `too-large`: there is not so much left.
        """
        if size > self.room():
            raise too_large("It unpacks to more than an inspection looks at.")
        self.unpacked -= size

    def member(self) -> None:
        """Take one member of an archive.

        Raises:
            Malformed: `too-large`: there were too many, one archive in another counted.
        """
        self.members -= 1
        if self.members < 0:
            raise too_large(f"It holds more than {limits.INSPECT_MEMBERS:,} members.")


def too_large(message: str) -> Malformed:
    """Build the refusal of what costs more than an inspection may."""
    return Malformed(message, code="too-large", hint="Unpack it, and inspect its parts one by one.")


@dataclass(slots=True)
class Findings:
    """What an inspector adds to while it looks, so that a refusal keeps what was met before it.

    `look` inspects something packed inside, under its name.
    """

    budget: Budget
    layer: int
    look: Callable[[str, memoryview], Inspection]
    verdict: Verdict = "data"
    code: str = ""
    hint: str = ""
    globals: set[str] = field(default_factory=set)
    types: set[str] = field(default_factory=set)
    versions: dict[str, str] = field(default_factory=dict)
    members: list[Inspection] = field(default_factory=list)
    reasons: dict[str, None] = field(default_factory=dict)
    dangers: dict[str, None] = field(default_factory=dict)
    findings: dict[Finding, None] = field(default_factory=dict)

    def refuse(
        self, message: str, code: str, *, rule: str = "", offset: int | None = None, hint: str = ""
    ) -> None:
        """Refuse the file for a reason; the verdict only ever gets worse."""
        self._worsen("refused", code)
        self.reasons[message] = None
        self.hint = self.hint or hint
        self._add(Finding(rule or code, "error", message, offset=offset))

    def refused(self, refusal: Refused) -> None:
        """Refuse the file for a refusal that was raised over it."""
        self.refuse(refusal.message, refusal.code, hint=refusal.hint)

    def need_pins(self, message: str, rule: str) -> None:
        """Say why the file needs pins."""
        self._worsen("needs-pins", "")
        self.reasons[message] = None
        self._add(Finding(rule, "warning", message))

    def endanger(self, message: str, rule: str, *, level: Level = "warning") -> None:
        """Say what could happen to whoever loads the file; that alone changes no verdict."""
        self.dangers[message] = None
        self._add(Finding(rule, level, message))

    def note(self, message: str, rule: str) -> None:
        """Note something that is no danger."""
        self._add(Finding(rule, "note", message))

    def take_in(self, inner: Inspection, member: str) -> None:
        """Take in what was found in a member: all of it is true of the whole."""
        self.members.append(inner)
        self.globals.update(inner.globals)
        self.types.update(inner.types)
        self._worsen(inner.verdict, inner.code)
        if inner.verdict == "refused":
            self.hint = self.hint or inner.hint
        for danger in inner.dangers:
            self.dangers[f"{member}: {danger}"] = None
        for reason in inner.reasons:
            self.reasons[f"{member}: {reason}"] = None
        for found in inner.findings:
            within = f"{member}!{found.member}" if found.member else member
            self._add(Finding(found.rule, found.level, found.message, within, found.offset))

    def judged(self, path: str, format: str, size: int) -> Inspection:
        """Close the inspection of the file at `path`."""
        return Inspection(
            path=path,
            format=format,
            verdict=self.verdict,
            reasons=_some(self.reasons),
            globals=tuple(sorted(self.globals)),
            types=tuple(sorted(self.types)),
            versions=MappingProxyType(dict(sorted(self.versions.items()))),
            dangers=_some(self.dangers),
            code=self.code if self.verdict == "refused" else "",
            hint=self.hint,
            size=size,
            findings=tuple(self.findings),
            members=tuple(self.members),
        )

    def _add(self, found: Finding) -> None:
        if len(self.findings) < limits.INSPECT_FINDINGS:
            self.findings[found] = None

    def _worsen(self, verdict: Verdict, code: str) -> None:
        if ORDER[verdict] > ORDER[self.verdict]:
            self.verdict = verdict
        self.code = self.code or code


def _some(texts: Iterable[str]) -> tuple[str, ...]:
    every = tuple(texts)
    if len(every) <= _REASONS:
        return every
    return (*every[:_REASONS], f"And {len(every) - _REASONS:,} more.")
