"""Read `policies/*.yaml`: a strict subset of YAML and a closed vocabulary (docs/policy.md).

Every scalar is read as a string and converted here; anchors, tags, aliases,
unknown and duplicate keys are errors that name the line.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from vault.core import limits, names
from vault.core.names import Environment, Principal
from vault.core.policy import (
    ACTIONS,
    NO_REQUIREMENTS,
    PERSON,
    SERVICE,
    ApprovalRule,
    Requirements,
    Rule,
    pattern,
)
from vault.core.policy_document import DISTINCT, FRESHNESS, LOG_MODES
from vault.errors import Malformed

if TYPE_CHECKING:
    import yaml

K = TypeVar("K")
T = TypeVar("T")
POLICY_FILE_BYTES = 8 * limits.MIB


@dataclass(frozen=True, slots=True)
class Node:
    """A parsed value and the line it stands on; a mapping keeps its keys' own lines."""

    value: "str | list[Node] | dict[str, Node]"
    line: int


@dataclass(frozen=True, slots=True)
class PrincipalSource:
    """A principal as the file describes it; keys are added from identities when it is compiled."""

    kind: str
    owners: tuple[Principal, ...]
    roles: tuple[Principal, ...]
    models: tuple[str, ...] | None


@dataclass(frozen=True, slots=True)
class EnvironmentSource:
    """An environment as the file describes it; epochs are added when it is compiled."""

    formats: tuple[str, ...]
    require: Requirements


@dataclass(frozen=True, slots=True)
class PolicySource:
    """A policy file, checked, in the core's own values."""

    roles: Mapping[Principal, tuple[Rule, ...]]
    environments: Mapping[Environment, EnvironmentSource]
    principals: Mapping[Principal, PrincipalSource]


def shipped(name: str) -> str:
    """Read one of the policies that come with the package, such as `solo`.

    Raises:
        LookupError: there is none of that name.
    """
    inside = resources.files("vault").joinpath("policies", f"{name}.yaml")
    beside = Path(__file__).resolve().parent.parent / "policies" / f"{name}.yaml"
    for place in (inside, beside):
        if place.is_file():
            return place.read_text(encoding="utf-8")
    raise LookupError(f"There is no policy {name!r} in this installation.")


def parse(text: str, file: str) -> PolicySource:
    """Parse a policy file; `file` is its name in messages.

    Raises:
        Malformed: `malformed-document`, naming file and line.
    """
    reader = _Reader(file)
    top = reader.mapping(reader.load(text), "roles", "environments", "principals")
    return PolicySource(
        roles=reader.each(top.get("roles"), names.principal, reader.role),
        environments=reader.each(top.get("environments"), names.environment, reader.environment),
        principals=reader.each(top.get("principals"), names.principal, reader.principal),
    )


def _line(event: "yaml.Event") -> int:
    return 1 if event.start_mark is None else event.start_mark.line + 1


class _Reader:
    """Converts nodes; knows the file's name so that every error names a line of it."""

    def __init__(self, file: str) -> None:
        self.file = file

    def error(self, node: Node, reason: str) -> Malformed:
        return Malformed(f"{self.file}, line {node.line}: {reason}.", subject=self.file)

    def load(self, text: str) -> Node:
        import yaml

        if len(text) > POLICY_FILE_BYTES:
            raise Malformed(f"{self.file} is too large for a policy.", code="too-large", subject=self.file)
        try:
            events = list(yaml.parse(text, Loader=yaml.SafeLoader))
        except (yaml.YAMLError, ValueError, RecursionError) as error:
            mark = getattr(error, "problem_mark", None)
            line = mark.line + 1 if mark is not None else 1
            problem = getattr(error, "problem", None) or "it is not YAML"
            raise self.error(Node("", line), str(problem)) from None
        for event in events:
            self._check_event(event)
        body = [event for event in events if not isinstance(event, yaml.StreamStartEvent)]
        if sum(isinstance(event, yaml.DocumentStartEvent) for event in body) != 1:
            raise self.error(Node("", 1), "one document is expected")
        node, _ = self._node(body, 1, 0)
        return node

    def _check_event(self, event: "yaml.Event") -> None:
        import yaml

        line = _line(event)
        if isinstance(event, yaml.AliasEvent) or getattr(event, "anchor", None) is not None:
            raise self.error(Node("", line), "anchors and aliases are not part of this language")
        if getattr(event, "tag", None) is not None:
            raise self.error(Node("", line), "tags are not part of this language")

    def _node(self, events: "list[yaml.Event]", at: int, depth: int) -> tuple[Node, int]:
        import yaml

        event = events[at]
        line = _line(event)
        if depth > limits.JSON_DEPTH:
            raise self.error(Node("", line), "it is nested too deeply")
        if isinstance(event, yaml.ScalarEvent):
            return Node(event.value, line), at + 1
        at += 1
        if isinstance(event, yaml.SequenceStartEvent):
            items: list[Node] = []
            while not isinstance(events[at], yaml.SequenceEndEvent):
                item, at = self._node(events, at, depth + 1)
                items.append(item)
            return Node(items, line), at + 1
        if isinstance(event, yaml.MappingStartEvent):
            entries: dict[str, Node] = {}
            while not isinstance(events[at], yaml.MappingEndEvent):
                key, at = self._node(events, at, depth + 1)
                value, at = self._node(events, at, depth + 1)
                if not isinstance(key.value, str) or key.value in entries:
                    raise self.error(key, f"the key {key.value!r} is no text, or occurs twice")
                entries[key.value] = value
            return Node(entries, line), at + 1
        raise self.error(Node("", line), "a value is expected")

    # --- conversions ---

    def mapping(self, node: Node, *known: str) -> dict[str, Node]:
        if not isinstance(node.value, dict):
            raise self.error(node, "a mapping is expected")
        for key, value in node.value.items():
            if key not in known:
                raise self.error(value, f"unknown key {key!r}; known here: {', '.join(known)}")
        return node.value

    def each(self, node: Node | None, key: Callable[[str], K], read: Callable[[Node], T]) -> dict[K, T]:
        if node is None:
            return {}
        if not isinstance(node.value, dict):
            raise self.error(node, "a mapping is expected")
        return {self.checked(value, key, name): read(value) for name, value in node.value.items()}

    def checked(self, node: Node, parse: Callable[[str], T], text: str) -> T:
        try:
            return parse(text)
        except Malformed as error:
            raise self.error(node, error.message.rstrip(".")) from None

    def text(self, node: Node, parse: Callable[[str], T]) -> T:
        if not isinstance(node.value, str):
            raise self.error(node, "a single value is expected")
        return self.checked(node, parse, node.value)

    def texts(self, node: Node | None, parse: Callable[[str], T]) -> tuple[T, ...]:
        if node is None:
            return ()
        if not isinstance(node.value, list):
            raise self.error(node, "a list is expected")
        return tuple(self.text(item, parse) for item in node.value)

    def choice(self, *choices: str) -> Callable[[str], str]:
        def parse(text: str) -> str:
            if text not in choices:
                raise Malformed(f"{text!r} is not one of {', '.join(choices)}.")
            return text

        return parse

    def number(self, text: str) -> int:
        if not text.isdecimal() or not text.isascii() or len(text) > 6:
            raise Malformed(f"{text!r} is not a whole number.")
        return int(text)

    def flag(self, text: str) -> bool:
        return self.choice("true", "false")(text) == "true"

    def role(self, node: Node) -> tuple[Rule, ...]:
        rules = self.mapping(node, "allow").get("allow")
        if rules is None:
            return ()
        if not isinstance(rules.value, list):
            raise self.error(rules, "a list of rules is expected")
        return tuple(self.rule(item) for item in rules.value)

    def rule(self, node: Node) -> Rule:
        found = self.mapping(node, "actions", "env", "from", "to", "models")
        actions = self.texts(found.get("actions"), self.choice(*ACTIONS))
        own = "models" in found and found["models"].value == "own"
        source = self.text(found["from"], names.environment) if "from" in found else None
        target = self.text(found["to"], names.environment) if "to" in found else None
        if ("promote" in actions) != (source is not None) or ("promote" in actions) != (target is not None):
            raise self.error(node, "'promote', and only it, has 'from' and 'to'")
        return Rule(
            actions=actions,
            environments=self.texts(found.get("env"), names.environment),
            source=source,
            target=target,
            models=self.texts(found["models"], pattern) if "models" in found and not own else None,
            own=own,
        )

    def environment(self, node: Node) -> EnvironmentSource:
        found = self.mapping(node, "formats", "require")
        require = found.get("require")
        return EnvironmentSource(
            formats=self.texts(found.get("formats"), names.principal),
            require=NO_REQUIREMENTS if require is None else self.requirements(require),
        )

    def requirements(self, node: Node) -> Requirements:
        found = self.mapping(
            node, "approvals", "audit", "fresh", "libraries", "load_test", "log", "max_age_days"
        )
        return Requirements(
            approvals=self.approvals(found["approvals"]) if "approvals" in found else None,
            audit=self.text(found["audit"], self.flag) if "audit" in found else False,
            fresh=self.text(found["fresh"], self.choice(*FRESHNESS)) if "fresh" in found else None,
            libraries=self.text(found["libraries"], self.flag) if "libraries" in found else False,
            load_test=self.text(found["load_test"], self.flag) if "load_test" in found else False,
            log=self.text(found["log"], self.choice(*LOG_MODES)) if "log" in found else None,
            max_age_days=self.text(found["max_age_days"], self.number) if "max_age_days" in found else None,
        )

    def approvals(self, node: Node) -> ApprovalRule:
        found = self.mapping(node, "role", "threshold", "distinct_from")
        if "role" not in found or "threshold" not in found:
            raise self.error(node, "approvals name a role and a threshold")
        return ApprovalRule(
            role=self.text(found["role"], names.principal),
            threshold=self.text(found["threshold"], self.number),
            distinct_from=self.texts(found.get("distinct_from"), self.choice(*DISTINCT)),
        )

    def principal(self, node: Node) -> PrincipalSource:
        found = self.mapping(node, "kind", "owners", "roles", "models")
        return PrincipalSource(
            kind=self.text(found["kind"], self.choice(PERSON, SERVICE)) if "kind" in found else PERSON,
            owners=self.texts(found.get("owners"), names.principal),
            roles=self.texts(found.get("roles"), names.principal),
            models=self.texts(found["models"], pattern) if "models" in found else None,
        )
