"""Read the subset of YAML that policy files are written in: mappings, lists, single values (docs/policy.md).

Every scalar stays the text that it is. Anchors, aliases, tags and repeated keys
are errors that name the line.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from vault.core import limits
from vault.errors import Malformed

if TYPE_CHECKING:
    import yaml


@dataclass(frozen=True, slots=True)
class Node:
    """A parsed value and the line it stands on; `key_line` is that of its key, where it is in a mapping."""

    value: "str | list[Node] | dict[str, Node]"
    line: int
    key_line: int


def error(file: str, line: int, reason: str) -> Malformed:
    """Say what is wrong with a line of a file."""
    return Malformed(f"{file}, line {line}: {reason}.", subject=file)


def load(text: str, file: str, limit: int) -> Node:
    """Parse one document of at most `limit` characters; `file` is its name in messages.

    Raises:
        Malformed: it is larger (`too-large`), no YAML, or uses more of YAML than this subset.
    """
    import yaml

    if len(text) > limit:
        raise Malformed(f"{file} is too large for a policy.", code="too-large", subject=file)
    try:
        events = list(yaml.parse(text, Loader=yaml.SafeLoader))
    except (yaml.YAMLError, ValueError, RecursionError) as failure:
        mark = getattr(failure, "problem_mark", None)
        problem = getattr(failure, "problem", None) or "it is not YAML"
        raise error(file, mark.line + 1 if mark is not None else 1, str(problem)) from None
    for event in events:
        _check_event(event, file)
    body = [event for event in events if not isinstance(event, yaml.StreamStartEvent)]
    if sum(isinstance(event, yaml.DocumentStartEvent) for event in body) != 1:
        raise error(file, 1, "one document is expected")
    node, _ = _node(body, 1, 0, file)
    return node


def _line(event: "yaml.Event") -> int:
    return 1 if event.start_mark is None else event.start_mark.line + 1


def _check_event(event: "yaml.Event", file: str) -> None:
    import yaml

    if isinstance(event, yaml.AliasEvent) or getattr(event, "anchor", None) is not None:
        raise error(file, _line(event), "anchors and aliases are not part of this language")
    if getattr(event, "tag", None) is not None:
        raise error(file, _line(event), "tags are not part of this language")


def _node(events: "list[yaml.Event]", at: int, depth: int, file: str, key_line: int = 0) -> tuple[Node, int]:
    import yaml

    event = events[at]
    line = _line(event)
    if depth > limits.JSON_DEPTH:
        raise error(file, line, "it is nested too deeply")
    if isinstance(event, yaml.ScalarEvent):
        return Node(event.value, line, key_line or line), at + 1
    at += 1
    if isinstance(event, yaml.SequenceStartEvent):
        items: list[Node] = []
        while not isinstance(events[at], yaml.SequenceEndEvent):
            item, at = _node(events, at, depth + 1, file)
            items.append(item)
        return Node(items, line, key_line or line), at + 1
    if isinstance(event, yaml.MappingStartEvent):
        entries: dict[str, Node] = {}
        while not isinstance(events[at], yaml.MappingEndEvent):
            key, at = _node(events, at, depth + 1, file)
            value, at = _node(events, at, depth + 1, file, key.line)
            if not isinstance(key.value, str) or key.value in entries:
                raise error(file, key.line, f"the key {key.value!r} is no text, or occurs twice")
            entries[key.value] = value
        return Node(entries, line, key_line or line), at + 1
    raise error(file, line, "a value is expected")
