"""Decide which versions go: what the rules do not keep, and nothing that must stay (docs/retention.md).

`decide` says which versions are to be removed, `reclaimable` which of the removed
may lose their payloads now. Both are given all that is known at that moment, and
whatever is not known keeps.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from vault.core import names, policy, policy_patterns, retention
from vault.core.names import Digest, Model, Version
from vault.core.policy_patterns import Patterns
from vault.core.removal import ANY_BACKUP
from vault.core.retention import Candidate, Duration, Rules

GRACE: Final = Duration(days=7)
NO_BACKUP: Final = "no verified backup holds it"
LAST: Final = "the last version of its model"
NOT_MEANT: Final = "no rule is about it"


@dataclass(frozen=True, slots=True)
class ModelRules:
    """What holds for the models of one pattern: the rules, and how they are carried out.

    `backup` names the backup that must hold what is removed; None asks for none.
    """

    rules: Rules
    group_by: tuple[str, ...] = ("model",)
    backup: str | None = None
    grace: Duration = GRACE


@dataclass(frozen=True, slots=True)
class Ancestor:
    """A version that another one was made from."""

    model: Model
    version: Version
    manifest: Digest


@dataclass(frozen=True, slots=True)
class Known:
    """A version whose manifest verifies.

    `gone` tells that it was removed, `empty` that nothing of its payloads is left.
    """

    candidate: Candidate
    manifest: Digest
    parents: tuple[Ancestor, ...] = ()
    gone: bool = False
    empty: bool = False

    @property
    def subject(self) -> str:
        """The version as `name:version`."""
        return self.candidate.subject

    @property
    def model(self) -> Model:
        """Its model."""
        return self.candidate.model


@dataclass(frozen=True, slots=True)
class Situation:
    """All that is known of a vault's versions when it is decided.

    `needed` says, by manifest, why versions must stay: channels, holds, approvals.
    `doubts` says, by model, why not everything is known of it; `unread` why, for
    all versions, something may be made from them that cannot be read. `orphans` are
    the parents of versions that do not count, but may again. `covered` are, by name
    of a backup, the manifests that it holds.
    """

    versions: tuple[Known, ...]
    needed: Mapping[Digest, tuple[str, ...]] = field(default_factory=dict)
    doubts: Mapping[Model, str] = field(default_factory=dict)
    unread: str = ""
    orphans: Mapping[str, tuple[Ancestor, ...]] = field(default_factory=dict)
    covered: Mapping[str, Collection[Digest]] = field(default_factory=dict)

    def must_stay(self, known: Known, backup: str | None) -> tuple[str, ...]:
        """Say why a version must stay, whatever the rules say; its descendants are another matter."""
        reasons = list(self.needed.get(known.manifest, ()))
        if known.model in self.doubts:
            reasons.append(self.doubts[known.model])
        if self.unread:
            reasons.append(self.unread)
        if backup is not None and known.manifest not in self.covered.get(backup, ()):
            reasons.append(NO_BACKUP if backup == ANY_BACKUP else f"{NO_BACKUP} in {backup}")
        reasons += [
            f"{child} may be made from it"
            for child, parents in sorted(self.orphans.items())
            if any(_is(known, parent) for parent in parents)
        ]
        return tuple(reasons)


@dataclass(frozen=True, slots=True)
class Decision:
    """What becomes of one version, and why."""

    known: Known
    keep: bool
    reasons: tuple[str, ...]
    rules: ModelRules | None = None  # that are about it

    @property
    def subject(self) -> str:
        """The version as `name:version`."""
        return self.known.subject


def rules_for(model: Model, by_pattern: Mapping[str, ModelRules]) -> tuple[str, ModelRules] | None:
    """Give the rules of the narrowest pattern that means a model; of two patterns one lies in the other."""
    for pattern in policy_patterns.around(model):
        if pattern in by_pattern:
            return pattern, by_pattern[pattern]
    return None


def meant(model: Model, patterns: Patterns) -> bool:
    """Tell whether a model is meant by one of some patterns."""
    return policy.covers(patterns, model)


def decide(
    situation: Situation,
    by_pattern: Mapping[str, ModelRules],
    *,
    now: int,
    only: Patterns = policy_patterns.ALL,
    named: Mapping[Digest, ModelRules] | None = None,
    allow_all: bool = False,
) -> list[Decision]:
    """Decide about every version that was not removed before, newest first within its model.

    `only` narrows what may be removed to some models. `named` are versions that
    somebody asked to remove, whatever the rules say; the rules decide about no other
    then. Without `allow_all` a model keeps its last version.
    """
    live = [known for known in situation.versions if not known.gone]
    kept: dict[Digest, list[str]] = {}
    applied: dict[Digest, ModelRules] = dict(named or {})
    if named is None:
        for entries, rules in _by_rules(live, by_pattern, only):
            applied |= {known.manifest: rules for known in entries}
            _apply(entries, rules, now, kept)
    for known in live:
        rules_here = applied.get(known.manifest)
        if rules_here is None:
            kept.setdefault(known.manifest, []).append(NOT_MEANT)
        else:
            stays = situation.must_stay(known, rules_here.backup)
            if stays:
                kept.setdefault(known.manifest, []).extend(stays)
    _keep_parents(live, kept)
    if not allow_all:
        _keep_last(live, kept)
        _keep_parents(live, kept)
    return [
        Decision(
            known,
            known.manifest in kept,
            tuple(dict.fromkeys(kept.get(known.manifest, ()))) or (_why_gone(known, applied, named),),
            applied.get(known.manifest),
        )
        for known in in_order(live)
    ]


def in_order(versions: Iterable[Known]) -> list[Known]:
    """Sort versions by model, the newest of each first."""
    newest_first = sorted(versions, key=_age, reverse=True)
    return sorted(newest_first, key=lambda known: known.model)


def _age(known: Known) -> tuple[int, names.VersionOrder]:
    return known.candidate.created, names.version_order(known.candidate.version)


def _why_gone(known: Known, applied: Mapping[Digest, ModelRules], named: object) -> str:
    return "somebody asked for it" if named is not None else f"not kept by {applied[known.manifest].rules}"


def _by_rules(
    live: Sequence[Known], by_pattern: Mapping[str, ModelRules], only: Patterns
) -> Iterable[tuple[list[Known], ModelRules]]:
    """Sort versions by the pattern whose rules are theirs."""
    found: dict[str, list[Known]] = {}
    for known in live:
        mine = rules_for(known.model, by_pattern)
        if mine is not None and meant(known.model, only):
            found.setdefault(mine[0], []).append(known)
    return [(entries, by_pattern[pattern]) for pattern, entries in found.items()]


def _apply(entries: Sequence[Known], rules: ModelRules, now: int, kept: dict[Digest, list[str]]) -> None:
    by_candidate = {known.candidate: known for known in entries}
    for group in retention.grouped(rules.group_by, by_candidate):
        for candidate, reasons in retention.apply(rules.rules, group, now).items():
            kept.setdefault(by_candidate[candidate].manifest, []).extend(reasons)


def _keep_last(live: Sequence[Known], kept: dict[Digest, list[str]]) -> None:
    """Keep one version of each model that would have none left: the newest, a released one before others."""
    models: dict[Model, list[Known]] = {}
    for known in live:
        models.setdefault(known.model, []).append(known)
    for entries in models.values():
        if all(known.manifest not in kept for known in entries):
            last = max(entries, key=_worth)
            kept[last.manifest] = [LAST]


def _worth(known: Known) -> tuple[bool, int, names.VersionOrder]:
    created, order = _age(known)
    return order.released, created, order


def _keep_parents(live: Sequence[Known], kept: dict[Digest, list[str]]) -> None:
    """Keep what anything kept was made from, and what that was made from."""
    todo = [known for known in live if known.manifest in kept]
    families = _Families(live)
    while todo:
        child = todo.pop()
        for parent in families.parents(child):
            if parent.manifest not in kept:
                kept[parent.manifest] = []
                todo.append(parent)
            reasons = kept[parent.manifest]
            told = f"{child.subject} was made from it"
            if told not in reasons:
                reasons.append(told)


def _is(known: Known, parent: Ancestor) -> bool:
    """Tell whether a version is what another one names as its parent, by its manifest or by its name."""
    same_name = (known.model, known.candidate.version) == (parent.model, parent.version)
    return same_name or known.manifest == parent.manifest


class _Families:
    """Finds the versions that others name as their parents."""

    def __init__(self, versions: Iterable[Known]) -> None:
        self._found: dict[object, Known] = {}
        for known in versions:
            self._found[known.manifest] = known
            self._found[known.model, known.candidate.version] = known

    def parents(self, child: Known) -> list[Known]:
        """Give the parents of a version that are among the versions, each once."""
        found: dict[Digest, Known] = {}
        for parent in child.parents:
            for key in (parent.manifest, (parent.model, parent.version)):
                known = self._found.get(key)
                if known is not None and known is not child:
                    found[known.manifest] = known
        return list(found.values())


def ancestors(child: Known, versions: Iterable[Known]) -> list[Known]:
    """Give everything that a version was made from, near and far, each once."""
    families = _Families(versions)
    found: dict[Digest, Known] = {}
    todo = [child]
    while todo:
        for parent in families.parents(todo.pop()):
            if parent.manifest not in found and parent is not child:
                found[parent.manifest] = parent
                todo.append(parent)
    return list(found.values())


def reclaimable(
    situation: Situation,
    due: Mapping[Digest, str | None],
    *,
    allow_all: bool = False,
) -> tuple[list[Known], dict[Digest, tuple[str, ...]]]:
    """Give the removed versions whose payloads may go now, children before parents, and why others may not.

    `due` are those whose time has come, by manifest, with the backup that each asks for.
    """
    blocked: dict[Digest, tuple[str, ...]] = {}
    going: dict[Digest, Known] = {}
    live = {known.model for known in situation.versions if not known.gone}
    for known in situation.versions:
        if known.manifest not in due:
            continue
        reasons = situation.must_stay(known, due[known.manifest])
        if known.model not in live and not allow_all:
            reasons = (*reasons, LAST)
        if reasons:
            blocked[known.manifest] = reasons
        else:
            going[known.manifest] = known
    families = _Families(situation.versions)
    todo = [known for known in situation.versions if not known.empty and known.manifest not in going]
    while todo:
        child = todo.pop()
        for parent in families.parents(child):
            if parent.manifest in going:
                todo.append(going.pop(parent.manifest))
                blocked[parent.manifest] = (f"{child.subject} was made from it",)
    return _children_first(going, families), blocked


def _children_first(going: Mapping[Digest, Known], families: _Families) -> list[Known]:
    """Order versions so that none comes before what was made from it; a circle is cut somewhere."""
    ordered = in_order(going.values())
    waits = dict.fromkeys(going, 0)
    parents = {
        child.manifest: [known for known in families.parents(child) if known.manifest in going]
        for child in ordered
    }
    for found in parents.values():
        for parent in found:
            waits[parent.manifest] += 1
    done: dict[Digest, Known] = {}
    todo = [known for known in reversed(ordered) if not waits[known.manifest]]
    while todo:
        child = todo.pop()
        done[child.manifest] = child
        for parent in parents[child.manifest]:
            waits[parent.manifest] -= 1
            if not waits[parent.manifest]:
                todo.append(parent)
    return [*done.values(), *(known for known in ordered if known.manifest not in done)]
