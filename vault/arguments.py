"""Turn what callers give into the core's values: a mistake of theirs is a ValueError, not a refusal."""

from collections.abc import Callable, Iterable, Mapping
from typing import TypeVar

from vault.core import names
from vault.core.allowance import Allowance
from vault.core.names import Reference, Version
from vault.core.policy import ACTIONS
from vault.errors import Malformed

Allow = Allowance | Mapping[str, Iterable[str]]
T = TypeVar("T")


def reference_of(reference: str | Reference) -> Reference:
    """Parse a reference that may be parsed already.

    Raises:
        ValueError: it is none.
    """
    return reference if isinstance(reference, Reference) else given(names.reference, reference)


def action_of(action: str) -> str:
    """Accept an action of the closed vocabulary of policies.

    Raises:
        ValueError: it is none.
    """
    if action not in ACTIONS:
        raise ValueError(f"There is no action {action!r}; there are {', '.join(ACTIONS)}.")
    return action


def version_of(version: str | int | None) -> Version | None:
    """Parse a version; None stands for the next one.

    Raises:
        ValueError: it is none.
    """
    return None if version is None else given(names.version, str(version))


def given(parse: Callable[[str], T], text: str) -> T:
    """Parse what a caller gave by one of the core's parsers.

    Raises:
        ValueError: the parser refuses it.
        TypeError: it is no text.
    """
    if not isinstance(text, str):
        raise TypeError(f"text is expected, not {type(text).__name__}")
    try:
        return parse(text)
    except Malformed as error:
        raise ValueError(error.message) from None


def allowance_of(allow: Allow | None) -> Allowance:
    """Read `allow=`: lists of names by kind, or nothing.

    Raises:
        TypeError: an unknown kind, or a text in place of a list.
    """
    if allow is None or isinstance(allow, Allowance):
        return allow or Allowance()
    known = {"formats", "skops_types", "pickle_globals", "onnx_domains"}
    if unknown := set(allow) - known:
        raise TypeError(f"allow= has {', '.join(sorted(known))}, not {', '.join(sorted(unknown))}.")
    for key, value in allow.items():
        if isinstance(value, str):
            raise TypeError(f"allow={{{key!r}: …}} is a list of names.")
    return Allowance(**{key: frozenset(value) for key, value in allow.items()})  # type: ignore[arg-type]
