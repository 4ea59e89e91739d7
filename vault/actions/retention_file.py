"""Read `policies/retention.yaml`: what is kept of which models (docs/retention.md).

The language is that of policy files, a subset of YAML in which every mistake is
told with its line. The file is advice to whoever runs `mvault retain`: nothing in
it is signed, and the removals that come of it are.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Final, TypeVar

from vault import policyfile, yaml_subset
from vault.core import limits, policy, removal, retention
from vault.core.retention import Duration, Rules
from vault.core.retention_plan import GRACE, ModelRules
from vault.errors import Malformed, NotFound
from vault.yaml_subset import Node

T = TypeVar("T")

PLACE: Final = Path("policies/retention.yaml")
_COUNTS: Final = ("last", "hourly", "daily", "weekly", "monthly", "yearly")
_WITHIN: Final = ("within", *(f"within_{name}" for name in _COUNTS[1:]))
_KEYS: Final = (
    *(f"keep_{name}" for name in (*_COUNTS, *_WITHIN)),
    *("keep_tag", "group_by", "require_backup", "grace"),
)


def find(folder: Path) -> Path | None:
    """Give the file of rules of a project, `policies/retention.yaml` in its folder; None without one."""
    place = folder / PLACE
    return place if place.is_file() else None


def read(path: Path) -> dict[str, ModelRules]:
    """Read a file of rules: pattern → rules.

    Raises:
        NotFound: there is no such file.
        Malformed: it is not what it should be; the message names file and line.
        Unavailable: it cannot be read.
    """
    try:
        text = policyfile.read(path)
    except NotFound:
        raise NotFound(
            f"There is no file of rules {path}.",
            subject=str(path),
            hint="Give rules as options, such as --keep-last 3; or write the file: docs/retention.md",
        ) from None
    return parse(text, str(path))


def parse(text: str, file: str) -> dict[str, ModelRules]:
    """Parse a file of rules; `file` is its name in messages.

    Raises:
        Malformed: `malformed-document`, naming file and line; `too-large`.
    """
    reader = _Reader(file)
    top = reader.mapping(yaml_subset.load(text, file, policyfile.POLICY_FILE_BYTES))
    for key, node in top.items():
        if key != "models":
            raise reader.error(node, f"unknown key {key!r}; known here: models", key_line=True)
    if "models" not in top:
        raise reader.error(Node("", 1, 1), "'models' is missing: a mapping from patterns to rules")
    models = reader.mapping(top["models"])
    if len(models) > limits.RETENTION_RULES:
        raise reader.error(top["models"], f"there are more than {limits.RETENTION_RULES:,} patterns")
    found = {}
    for name, node in models.items():
        reader.checked(node, policy.pattern, name, key_line=True)
        found[name] = reader.rules(node)
    return found


class _Reader:
    """Converts nodes; knows the file's name, so that every error names a line of it."""

    def __init__(self, file: str) -> None:
        self._file = file

    def error(self, node: Node, reason: str, *, key_line: bool = False) -> Malformed:
        return yaml_subset.error(self._file, node.key_line if key_line else node.line, reason)

    def mapping(self, node: Node) -> dict[str, Node]:
        if not isinstance(node.value, dict):
            raise self.error(node, "a mapping is expected")
        return node.value

    def checked(self, node: Node, parse: Callable[[str], T], text: str, *, key_line: bool = False) -> T:
        try:
            return parse(text)
        except Malformed as error:
            raise self.error(node, error.message.rstrip("."), key_line=key_line) from None

    def text(self, node: Node, parse: Callable[[str], T]) -> T:
        if not isinstance(node.value, str):
            raise self.error(node, "a single value is expected")
        return self.checked(node, parse, node.value)

    def texts(self, node: Node, parse: Callable[[str], T], most: int) -> tuple[T, ...]:
        items = node.value if isinstance(node.value, list) else [node]
        if len(items) > most:
            raise self.error(node, f"at most {most} are expected")
        return tuple(self.text(item, parse) for item in items)

    def rules(self, node: Node) -> ModelRules:
        found = self.mapping(node)
        for key, value in found.items():
            if key not in _KEYS:
                known = ", ".join(_KEYS)
                raise self.error(value, f"unknown key {key!r}; known here: {known}", key_line=True)
        counts = {
            name: self.text(found[f"keep_{name}"], retention.count)
            for name in _COUNTS
            if f"keep_{name}" in found
        }
        spans: dict[str, Duration | None] = {
            name: self.text(found[f"keep_{name}"], span) for name in _WITHIN if f"keep_{name}" in found
        }
        tags = found.get("keep_tag")
        rules = Rules(
            last=counts.get("last", 0),
            hourly=counts.get("hourly", 0),
            daily=counts.get("daily", 0),
            weekly=counts.get("weekly", 0),
            monthly=counts.get("monthly", 0),
            yearly=counts.get("yearly", 0),
            within=spans.get("within"),
            within_hourly=spans.get("within_hourly"),
            within_daily=spans.get("within_daily"),
            within_weekly=spans.get("within_weekly"),
            within_monthly=spans.get("within_monthly"),
            within_yearly=spans.get("within_yearly"),
            tags=() if tags is None else self.texts(tags, retention.tags, limits.RETENTION_TAGS),
        )
        if rules.empty:
            raise self.error(node, "no rule keeps anything here: write keep_last: unlimited to keep all")
        return ModelRules(
            rules,
            group_by=self.groups(found["group_by"]) if "group_by" in found else ("model",),
            backup=self.text(found["require_backup"], backup) if "require_backup" in found else None,
            grace=self.text(found["grace"], retention.duration) if "grace" in found else GRACE,
        )

    def groups(self, node: Node) -> tuple[str, ...]:
        if isinstance(node.value, list):
            return self.checked(
                node, retention.groups, ",".join(self.texts(node, str, len(retention.GROUPS)))
            )
        return self.text(node, retention.groups)


def span(text: str) -> Duration | None:
    """Parse how far back versions are kept; nothing where it is of no length, which keeps nothing.

    Raises:
        Malformed: `malformed-document`.
    """
    found = retention.duration(text)
    return None if found == Duration() else found


def backup(text: str) -> str | None:
    """Parse which backup must hold what is removed: `true` for any, `false` for none, or its name.

    Raises:
        Malformed: `malformed-name`.
    """
    if text in ("true", "false"):
        return removal.ANY_BACKUP if text == "true" else None
    return removal.backup(text)
