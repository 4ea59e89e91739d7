"""Turn a pattern such as `nepse/*@staging`, or a list of references, into the models that it means."""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from vault.actions import bulk_files, checking, objects
from vault.actions.session import Session
from vault.core import layout, limits, names, policy
from vault.core.in_force import Channel
from vault.core.names import Model, Reference
from vault.errors import Malformed, NotFound

_END: Final = re.compile("[@:]")
_ANY: Final = "any"  # stands for a model while what follows its name is parsed


@dataclass(frozen=True, slots=True)
class Asked:
    """What was asked for: the models that `pattern` means, and what follows them, such as `@staging`."""

    pattern: str
    suffix: str = ""

    def __str__(self) -> str:
        return self.pattern + self.suffix

    @property
    def several(self) -> bool:
        """Whether it is a pattern, and no model's name."""
        return self.pattern.endswith("*")


@dataclass(frozen=True, slots=True)
class Item:
    """One model of many: what is meant of it, and whether it was found by a pattern, not named."""

    reference: Reference
    found: bool

    @property
    def model(self) -> Model:
        """The model."""
        return self.reference.model

    def __str__(self) -> str:
        return str(self.reference)


def is_pattern(text: str) -> bool:
    """Tell whether a text is meant as a pattern, right or wrong."""
    return "*" in text


def asked(text: str) -> Asked:
    """Parse a reference whose name may be a pattern: `nepse/*`, `*@prod/b`, `churn:3`.

    Raises:
        ValueError: it is none.
    """
    if not isinstance(text, str):
        raise TypeError(f"text is expected, not {type(text).__name__}")
    end = _END.search(text)
    name, suffix = (text, "") if end is None else (text[: end.start()], text[end.start() :])
    try:
        if is_pattern(name):
            policy.pattern(name)
            names.reference(_ANY + suffix)
        else:
            names.reference(text)
    except Malformed as error:
        hint = " A pattern is *, or ends in /*, as nepse/*." if is_pattern(text) else ""
        raise ValueError(error.message + hint) from None
    return Asked(name, suffix)


def listed(path: str) -> list[Asked]:
    """Read references, or patterns, from a file, one a line; `-` is standard input.

    Raises:
        NotFound, Unavailable: it cannot be read.
        ValueError: with the line where it goes wrong.
    """
    found: dict[Asked, int] = {}
    for number, line in bulk_files.lines(path):
        try:
            entry = asked(line)
        except ValueError as error:
            raise ValueError(f"{path}, line {number}: {error}") from None
        if found.setdefault(entry, number) != number:
            raise ValueError(f"{path}, line {number}: {entry} stands in line {found[entry]} already.")
    if not found:
        raise ValueError(f"{path} names no model.")
    return list(found)


def expand(session: Session, wanted: Iterable[Asked], *, once: bool) -> list[Item]:
    """Give the models that are meant, in order, each once; of a channel those that have a record there.

    With `once` a model may stand there with one meaning only, since the last one would win.

    Raises:
        ValueError: a model is meant twice, or there are too many.
        NotFound: a pattern means no model.
        Refused, Unavailable.
    """
    items: dict[Reference, Item] = {}
    for entry in wanted:
        if not entry.several:
            reference = names.reference(str(entry))
            items[reference] = Item(reference, found=False)
            continue
        references = _found(session, entry)
        if not references:
            raise NotFound(
                f"No model is meant by {entry}.", subject=str(entry), hint="See what there is: mvault ls"
            )
        for reference in references:
            items.setdefault(reference, Item(reference, found=True))
    if len(items) > limits.BULK_ITEMS:
        raise ValueError(f"These are more than {limits.BULK_ITEMS:,} models: take a narrower pattern.")
    found = list(items.values())
    if once:
        _check_once(found)
    return found


def _check_once(items: Sequence[Item]) -> None:
    by_model: dict[Model, Item] = {}
    for item in items:
        other = by_model.setdefault(item.model, item)
        if other is not item:
            raise ValueError(f"{other} and {item} are both asked for, and only one of them can be.")


def _found(session: Session, entry: Asked) -> list[Reference]:
    below = entry.pattern.removesuffix("*").removesuffix("/")
    pattern = frozenset({entry.pattern})
    meant = [model for model in checking.models(session, below) if policy.covers(pattern, model)]
    references = [names.reference(model + entry.suffix) for model in meant]
    return [reference for reference in references if _is_there(session, reference)]


def _is_there(session: Session, reference: Reference) -> bool:
    """Tell whether a channel has anything like a record; of everything else the model's folder says it."""
    if reference.environment is None:
        return True
    where = Channel(reference.environment, reference.slot or names.MAIN, reference.model)
    return has_channel(session, where)


def has_channel(session: Session, where: Channel) -> bool:
    """Tell whether anything like a record lies in a channel.

    Raises:
        Unavailable.
    """
    return bool(objects.numbers(session.store, layout.channel(where.environment, where.slot, where.model)))


def expected(session: Session) -> frozenset[str]:
    """Give what this client has seen, as models and as channels in references: what a pattern must find."""
    remembered = session.memory.load()
    found = {key.rpartition(":")[0] for key in remembered.versions}
    for key in remembered.channels:
        environment, slot, model = key.split("/", 2)
        where = names.environment(environment), names.slot(slot)
        found.add(str(Reference(Model(model), environment=where[0], slot=where[1])))
    return frozenset(found)


def place_of(reference: Reference) -> str:
    """Give what `expected` has where this client has seen what a reference means."""
    return reference.model if reference.environment is None else str(reference)
