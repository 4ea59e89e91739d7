"""Read `policies/*.yaml` and their tests: a closed vocabulary in a subset of YAML (docs/policy.md).

Every scalar is read as a string and converted here; anchors, tags, aliases,
unknown and duplicate keys are errors that name the line.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from importlib import resources
from pathlib import Path
from typing import TypeVar

from vault import yaml_subset
from vault.core import key_services, limits, names
from vault.core.fields import plain
from vault.core.key_services import KeyServiceId
from vault.core.names import Digest, Environment, Principal
from vault.core.policy import (
    ACTIONS,
    NO_REQUIREMENTS,
    PERSON,
    SERVICE,
    ApprovalRule,
    EnvironmentRule,
    LogHead,
    Member,
    Requirements,
    Rule,
    pattern,
)
from vault.core.policy_document import DISTINCT, FRESHNESS, HASHED, LOG_MODES, WITNESSED
from vault.core.policy_view import Expectation, Place, View
from vault.errors import Malformed, NotFound, Unavailable
from vault.yaml_subset import Node

K = TypeVar("K")
T = TypeVar("T")
POLICY_FILE_BYTES = 8 * limits.MIB
_KEY_ID = re.compile(r"[0-9a-f]{16,64}\Z", re.ASCII)


@dataclass(frozen=True, slots=True)
class PrincipalSource:
    """A principal as the file describes it; keys are added from identities when it is compiled.

    `revoked` and the keys of `retired` are key ids, or their beginnings of 16 hexadecimal digits or more.
    """

    kind: str
    owners: tuple[Principal, ...]
    roles: tuple[Principal, ...]
    models: tuple[str, ...] | None
    revoked: tuple[str, ...] = ()
    retired: Mapping[str, LogHead] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class EnvironmentSource:
    """An environment as the file describes it; epochs are added when it is compiled."""

    formats: tuple[str, ...]
    require: Requirements
    hashed: tuple[str, ...] = ()
    key_services: tuple[KeyServiceId, ...] = ()


@dataclass(frozen=True, slots=True)
class PolicySource:
    """A policy file, checked, in the core's own values; `lines` tells where each thing stands in it."""

    roles: Mapping[Principal, tuple[Rule, ...]]
    environments: Mapping[Environment, EnvironmentSource]
    principals: Mapping[Principal, PrincipalSource]
    lines: Mapping[Place, int] = field(default_factory=dict)
    file: str = ""


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


def read(path: Path) -> str:
    """Read the text of a policy file, or of its tests.

    Raises:
        NotFound: there is no such file.
        Malformed: it is not UTF-8.
        Unavailable: it cannot be read.
    """
    try:
        with path.open("rb") as file:
            return file.read(POLICY_FILE_BYTES + 1).decode("utf-8")
    except FileNotFoundError:
        raise NotFound(f"There is no policy file {path}.", subject=str(path)) from None
    except UnicodeDecodeError:
        raise Malformed(f"{path} is not text in UTF-8.", subject=str(path)) from None
    except OSError as error:
        raise Unavailable(f"{path} cannot be read: {error.strerror}.", subject=str(path)) from None


def parse(text: str, file: str) -> PolicySource:
    """Parse a policy file; `file` is its name in messages.

    Raises:
        Malformed: `malformed-document`, naming file and line; `too-large`.
    """
    reader = _Reader(file)
    top = reader.mapping(
        yaml_subset.load(text, file, POLICY_FILE_BYTES), "roles", "environments", "principals"
    )
    return PolicySource(
        roles=reader.named("role", top.get("roles"), names.principal, reader.role),
        environments=reader.named(
            "environment", top.get("environments"), names.environment, reader.environment
        ),
        principals=reader.named("principal", top.get("principals"), names.principal, reader.principal),
        lines=reader.lines,
        file=file,
    )


def parse_tests(text: str, file: str) -> tuple[Expectation, ...]:
    """Parse the decisions that are expected of a policy; `file` is its name in messages.

    Raises:
        Malformed: as `parse`.
    """
    reader = _Reader(file)
    top = yaml_subset.load(text, file, POLICY_FILE_BYTES)
    if not isinstance(top.value, list):
        raise reader.error(top, "a list of expected decisions is expected")
    return tuple(reader.expectation(node) for node in top.value)


def view(source: PolicySource) -> View:
    """Give a file in the form that the analyses take: as a policy, but without keys."""
    return View(
        members={
            name: Member(name, entry.kind, entry.owners, entry.roles, entry.models, (), ())
            for name, entry in source.principals.items()
        },
        roles=source.roles,
        environments={
            name: EnvironmentRule(name, (), entry.formats, entry.require, entry.hashed, entry.key_services)
            for name, entry in source.environments.items()
        },
        file=source.file,
        lines=source.lines,
        revoked={name: entry.revoked for name, entry in source.principals.items() if entry.revoked},
        retired={name: entry.retired for name, entry in source.principals.items() if entry.retired},
    )


class _Reader:
    """Converts nodes; knows the file's name so that every error names a line of it."""

    def __init__(self, file: str) -> None:
        self.file = file
        self.lines: dict[Place, int] = {}
        self._place: Place = ()

    def error(self, node: Node, reason: str) -> Malformed:
        return yaml_subset.error(self.file, node.line, reason)

    # --- conversions ---

    def mapping(self, node: Node, *known: str) -> dict[str, Node]:
        if not isinstance(node.value, dict):
            raise self.error(node, "a mapping is expected")
        for key, value in node.value.items():
            if key not in known:
                raise self.error(value, f"unknown key {key!r}; known here: {', '.join(known)}")
        return node.value

    def named(
        self, what: str, node: Node | None, key: Callable[[str], K], read: Callable[[Node], T]
    ) -> dict[K, T]:
        if node is None:
            return {}
        if not isinstance(node.value, dict):
            raise self.error(node, "a mapping is expected")
        found = {}
        for name, value in node.value.items():
            self._place = (what, name)
            self.lines[self._place] = value.key_line
            found[self.checked(value, key, name)] = read(value)
        return found

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
        for number, item in enumerate(rules.value):
            self.lines[*self._place, str(number)] = item.line
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
        found = self.mapping(node, "formats", "require", "hashed", "key_services")
        for name, part in found.items():
            self.lines[*self._place, name] = part.key_line
        require = found.get("require")
        return EnvironmentSource(
            formats=self.texts(found.get("formats"), names.principal),
            require=NO_REQUIREMENTS if require is None else self.requirements(require),
            hashed=self.texts(found.get("hashed"), self.choice(*HASHED)),
            key_services=self.key_services(found["key_services"]) if "key_services" in found else (),
        )

    def key_services(self, node: Node) -> tuple[KeyServiceId, ...]:
        if not isinstance(node.value, list) or not 0 < len(node.value) <= limits.KEY_SERVICES:
            raise self.error(node, f"a list of 1 to {limits.KEY_SERVICES} key services is expected")
        found: list[KeyServiceId] = []
        for item in node.value:
            named = self.mapping(item, *key_services.KINDS)
            if len(named) != 1:
                raise self.error(item, f"a key service is one of {', '.join(key_services.KINDS)}")
            for kind, key in named.items():
                held = self.text(key, partial(key_services.identify, kind))
                if held in found:
                    raise self.error(key, f"{held} is named twice")
                found.append(held)
        return tuple(found)

    def requirements(self, node: Node) -> Requirements:
        found = self.mapping(
            node,
            "approvals",
            "audit",
            "fresh",
            "libraries",
            "load_test",
            "log",
            "max_age_days",
            "witnesses",
        )
        for name, part in found.items():
            self.lines[*self._place, name] = part.key_line
        log = self.text(found["log"], self.choice(*LOG_MODES)) if "log" in found else None
        if "witnesses" in found and log != WITNESSED:
            raise self.error(found["witnesses"], "'witnesses' goes with 'log: witnessed'")
        one = 1 if log == WITNESSED else None
        return Requirements(
            approvals=self.approvals(found["approvals"]) if "approvals" in found else None,
            audit=self.text(found["audit"], self.flag) if "audit" in found else False,
            fresh=self.text(found["fresh"], self.choice(*FRESHNESS)) if "fresh" in found else None,
            libraries=self.text(found["libraries"], self.flag) if "libraries" in found else False,
            load_test=self.text(found["load_test"], self.flag) if "load_test" in found else False,
            log=log,
            max_age_days=self.text(found["max_age_days"], self.number) if "max_age_days" in found else None,
            witnesses=self.text(found["witnesses"], self.number) if "witnesses" in found else one,
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
        found = self.mapping(node, "kind", "owners", "roles", "models", "revoked", "retired")
        return PrincipalSource(
            kind=self.text(found["kind"], self.choice(PERSON, SERVICE)) if "kind" in found else PERSON,
            owners=self.texts(found.get("owners"), names.principal),
            roles=self.texts(found.get("roles"), names.principal),
            models=self.texts(found["models"], pattern) if "models" in found else None,
            revoked=self.texts(found.get("revoked"), self.key_id),
            retired=self.retired(found["retired"]) if "retired" in found else {},
        )

    def retired(self, node: Node) -> dict[str, LogHead]:
        if not isinstance(node.value, dict):
            raise self.error(node, "a mapping from key ids to heads of a log is expected")
        return {self.checked(head, self.key_id, key): self.head(head) for key, head in node.value.items()}

    def head(self, node: Node) -> LogHead:
        found = self.mapping(node, "origin", "size", "root")
        if len(found) < 3:
            raise self.error(node, "a head of a log has an origin, a size and a root")
        return LogHead(
            self.text(found["origin"], plain),
            self.text(found["size"], self.large_number),
            self.text(found["root"], self.digest),
        )

    def key_id(self, text: str) -> str:
        found = text.removeprefix(names.DIGEST_PREFIX)
        if not _KEY_ID.match(found):
            raise Malformed(f"{text!r} is no key id, nor 16 or more of its first hexadecimal digits.")
        return found

    def digest(self, text: str) -> Digest:
        return names.digest(text.removeprefix(names.DIGEST_PREFIX))

    def large_number(self, text: str) -> int:
        if not text.isdecimal() or not text.isascii() or len(text) >= limits.JSON_INT_DIGITS:
            raise Malformed(f"{text!r} is not a whole number.")
        return int(text)

    # --- expected decisions ---

    def expectation(self, node: Node) -> Expectation:
        found = self.mapping(node, "who", "action", "model", "env", "from", "allowed")
        missing = [key for key in ("who", "action", "model", "env", "allowed") if key not in found]
        if missing:
            raise self.error(node, f"an expected decision has {', '.join(missing)} too")
        action = self.text(found["action"], self.choice(*ACTIONS))
        if "from" in found and action != "promote":
            raise self.error(node, "only a promotion has 'from'")
        return Expectation(
            who=self.text(found["who"], names.principal),
            action=action,
            model=self.text(found["model"], names.model),
            environment=self.text(found["env"], names.environment),
            source=self.text(found["from"], names.environment) if "from" in found else None,
            allowed=self.text(found["allowed"], self.flag),
            line=node.line,
        )
