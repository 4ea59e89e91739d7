"""Plan an adoption: which old files become which versions, and which cannot for what they are called."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import Final

from vault.core import adoption_pattern, limits, names, savedmodel_walk
from vault.core.adoption_pattern import Matched, Pattern
from vault.core.names import Environment, Model, Version
from vault.core.strict_json import JSONValue
from vault.errors import Malformed


@dataclass(frozen=True, slots=True)
class Origin:
    """Where a version comes from: a file, or the files of one folder by their paths inside it.

    `path` is what people are told; `files` are path inside the package → path in the source.
    """

    path: str
    files: Mapping[str, str]
    named: Matched

    @property
    def single(self) -> bool:
        """Whether it is one file, which may be called anything."""
        return [*self.files] == [""]


@dataclass(frozen=True, slots=True)
class Facts:
    """What is known of a version beside its files: what a registry said of it."""

    metrics: Mapping[str, float] = field(default_factory=lambda: MappingProxyType({}))
    params: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))
    features: tuple[str, ...] | None = None
    notes: str | None = None
    tags: tuple[str, ...] = ()
    more: Mapping[str, JSONValue] = field(default_factory=lambda: MappingProxyType({}))


@dataclass(frozen=True, slots=True)
class Candidate:
    """A version that is to be: its names as the vault takes them, and where it comes from.

    `version` is None where the source numbers nothing. `rivals` are other
    origins that say the same model and version; `environments` are those that
    the source says use it.
    """

    model: Model
    version: Version | None
    origin: Origin
    environments: tuple[Environment, ...] = ()
    rivals: tuple[Origin, ...] = ()
    facts: Facts = field(default_factory=Facts)

    @property
    def reference(self) -> str:
        """Its reference; of a version without a number the model alone."""
        return self.model if self.version is None else f"{self.model}:{self.version}"


@dataclass(frozen=True, slots=True)
class LeftOut:
    """What becomes no version: its names are not the vault's, it has too many files, it holds no model.

    `rename`, if there is one, would give it names that the vault takes (see `Renames`).
    """

    path: str
    code: str
    reason: str
    rename: str = ""
    hint: str = ""


@dataclass(frozen=True, slots=True)
class Plan:
    """Versions in the order in which they are taken over, and what is left out."""

    candidates: tuple[Candidate, ...]
    left_out: tuple[LeftOut, ...]
    unmatched: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Renames:
    """Names to use in place of others: `MODEL=NEW`, `MODEL:VERSION=NEW:VERSION`, `:VERSION=:VERSION`.

    `suggested` takes what the vault suggests for every name that it does not take.
    """

    exact: Mapping[tuple[str, str], tuple[str, str]] = field(default_factory=lambda: MappingProxyType({}))
    suggested: bool = False

    def apply(self, found: Matched) -> Matched:
        """Give the names to use: the closest rule counts, and a version is looked up under its old model."""
        model, version, environment = found.model, found.version, found.environment
        rules = self.exact
        if version is not None and (model, version) in rules:
            model, version = rules[model, version]
        else:
            if version is not None:
                version = rules.get(("", version), ("", version))[1]
            model = rules.get((model, ""), (model, ""))[0]
        if self.suggested:
            model = _taken(names.model, model, adoption_pattern.suggest_model)
            if version is not None:
                version = _taken(names.version, version, adoption_pattern.suggest_version)
            if environment is not None:
                environment = _taken(names.environment, environment, adoption_pattern.suggest_environment)
        return replace(found, model=model, version=version, environment=environment)


def renames(texts: Iterable[str], *, suggested: bool = False) -> Renames:
    """Read renames as they are given on a command line.

    Raises:
        Malformed: `malformed-name`: one is not OLD=NEW, or OLD is said twice.
    """
    exact: dict[tuple[str, str], tuple[str, str]] = {}
    for text in texts:
        old, equals, new = text.rpartition("=")
        before, after = _halves(old), _halves(new)
        alike = [bool(half) for half in before] == [bool(half) for half in after]
        if not (equals and old and new and alike) or text.endswith(":") or before in exact:
            raise Malformed(
                f"{text[:80]!r} renames nothing: write MODEL=NEW, MODEL:VERSION=NEW:VERSION or "
                ":VERSION=:VERSION, each OLD once.",
                code="malformed-name",
                subject=text[:80].encode("unicode_escape").decode(),
            )
        exact[before] = after
    return Renames(MappingProxyType(exact), suggested)


def _halves(text: str) -> tuple[str, str]:
    model, _, version = text.rpartition(":") if ":" in text else (text, "", "")
    return model, version


def _taken(parse: Callable[[str], str], text: str, suggest: Callable[[str], str]) -> str:
    try:
        return parse(text)
    except Malformed:
        return suggest(text) or text


# --- from paths to versions ---


def plan(pattern: Pattern, paths: Iterable[str], chosen: Renames) -> Plan:
    """Find the versions among the paths of a source; every path ends in one of the three parts of a plan."""
    whole = sorted(paths)
    origins: dict[str, dict[str, str]] = {}
    says: dict[str, Matched] = {}
    unmatched = []
    for path in whole:
        found = pattern.match(path)
        if found is None:
            unmatched.append(path)
            continue
        key = found.folder or path
        says[key] = found
        origins.setdefault(key, {})[path[len(found.folder) :] if found.folder else ""] = path
    if not pattern.folder:
        unmatched = _take_graphs(origins, unmatched)
    listed = [Origin(key, files, says[key]) for key, files in origins.items()]
    candidates, left_out = settle(listed, chosen)
    return Plan(tuple(candidates), tuple(left_out), tuple(unmatched))


def _take_graphs(origins: dict[str, dict[str, str]], unmatched: Sequence[str]) -> list[str]:
    """Let the graph of a SavedModel bring the files of its folder along; give what is left unmatched."""
    graphs = [path for path in origins if path.rpartition("/")[2] == savedmodel_walk.GRAPH]
    if not graphs:
        return [*unmatched]
    folders = {path[: -len(savedmodel_walk.GRAPH)]: path for path in graphs}
    for folder, path in folders.items():
        origins[path] = {path[len(folder) :]: path}
    left: list[str] = []
    for path in unmatched:
        parents = ["", *(path[: index + 1] for index, character in enumerate(path) if character == "/")]
        around = next((parent for parent in parents if parent in folders), None)
        if around is None:
            left.append(path)
        else:
            origins[folders[around]][path[len(around) :]] = path
    return left


def settle(
    origins: Iterable[Origin], chosen: Renames, facts: Mapping[str, Facts] = MappingProxyType({})
) -> tuple[list[Candidate], list[LeftOut]]:
    """Give origins the names that the vault takes; those of one version become one candidate with rivals.

    `facts` are by an origin's path. Candidates come by model, and in the order of their versions.
    """
    found: dict[tuple[Model, Version | str], Candidate] = {}
    left_out = []
    for origin in origins:
        told = chosen.apply(origin.named)
        asked = told.model
        try:
            model = names.model(asked)
            asked = told.version or ""
            version = None if told.version is None else names.version(asked)
            asked = told.environment or ""
            environment = () if told.environment is None else (names.environment(asked),)
        except Malformed as error:
            reason = f"{asked[:80]!r} is no name that the vault takes."
            left_out.append(LeftOut(origin.path, error.code, reason, _rename(origin.named)))
            continue
        if len(origin.files) > limits.ADOPT_PACKAGE_FILES:
            reason = f"It has more than {limits.ADOPT_PACKAGE_FILES:,} files."
            left_out.append(LeftOut(origin.path, "too-large", reason))
            continue
        key = (model, origin.path if version is None else version)
        known = found.get(key)
        if known is None:
            more = facts.get(origin.path, Facts())
            found[key] = Candidate(model, version, origin, environment, (), more)
        else:
            joined = tuple(sorted({*known.environments, *environment}))
            found[key] = replace(known, environments=joined, rivals=(*known.rivals, origin))
    return sorted(found.values(), key=_order), left_out


_LAST: Final = names.VersionOrder(3, (), True, ())


def _order(candidate: Candidate) -> tuple[str, names.VersionOrder, str]:
    version = candidate.version
    return candidate.model, _LAST if version is None else names.version_order(version), candidate.origin.path


def _rename(found: Matched) -> str:
    """Write the option that would give a file names that the vault takes; empty where none is known."""
    fixed = Renames(suggested=True).apply(found)
    try:
        names.model(fixed.model)
        if fixed.version is not None:
            names.version(fixed.version)
    except Malformed:
        return ""
    if fixed.model == found.model and fixed.version == found.version:
        return ""
    if fixed.model == found.model:
        return f":{found.version}=:{fixed.version}"
    if fixed.version == found.version:
        return f"{found.model}={fixed.model}"
    return f"{found.model}:{found.version}={fixed.model}:{fixed.version}"
