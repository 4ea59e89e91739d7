"""The verbs of `Vault` about how long versions are kept: retention, reclaiming and legal holds."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING

from vault.actions.session import Session
from vault.arguments import given, reference_of
from vault.core import policy, removal, retention
from vault.core.names import Reference
from vault.core.policy_patterns import ALL, Patterns
from vault.core.retention import Duration, Rules
from vault.core.retention_plan import GRACE, ModelRules
from vault.settings import Settings

if TYPE_CHECKING:
    from vault.actions.holding import Held, Released, Standing
    from vault.actions.reclaiming import Reclaimed, ReclaimPlan
    from vault.actions.retaining import Plan, Retained
    from vault.actions.sweeping import Swept
    from vault.actions.taking_back import TakenBack

Count = int | str
Span = str | Duration


class RetentionVerbs:
    """Remove versions by rules, delete their files later, and hold what must stay; `Vault` inherits them."""

    _session: Session
    _settings: Settings

    def retain(
        self,
        patterns: str | Iterable[str] = "*",
        *,
        rules: "Mapping[str, ModelRules] | ModelRules | str | PathLike[str] | None" = None,
        keep_last: Count = 0,
        keep_hourly: Count = 0,
        keep_daily: Count = 0,
        keep_weekly: Count = 0,
        keep_monthly: Count = 0,
        keep_yearly: Count = 0,
        keep_within: Span | None = None,
        keep_within_hourly: Span | None = None,
        keep_within_daily: Span | None = None,
        keep_within_weekly: Span | None = None,
        keep_within_monthly: Span | None = None,
        keep_within_yearly: Span | None = None,
        keep_tag: str | Sequence[str] = (),
        group_by: str = "model",
        require_backup: bool | str = False,
        grace: Span = GRACE,
        unsafe_allow_remove_all: bool = False,
        dry_run: bool = False,
        confirm: "Callable[[Plan], bool] | None" = None,
        threads: int | None = None,
    ) -> "Retained":
        """Sign that every version that the rules do not keep is removed; its files stay for the grace period.

        The grammar is restic's: `keep_last=3`, `keep_daily=7`, `keep_within="30d"`, `keep_tag="champion"`;
        numbers may be "unlimited". `rules` takes their place: a file, or what `retention_file.read` gives.
        `patterns` narrow what may be removed (`nepse/*`). What is in use, held, a parent, approved and
        waiting, or the last of its model stays whatever the rules say (docs/retention.md).

        Raises:
            ValueError: a rule breaks the grammar, or none is given.
            Refused, NotFound, Unavailable, NoUsableKey.
        """
        from vault.actions import retaining

        given_rules = Rules(
            last=_count(keep_last),
            hourly=_count(keep_hourly),
            daily=_count(keep_daily),
            weekly=_count(keep_weekly),
            monthly=_count(keep_monthly),
            yearly=_count(keep_yearly),
            within=_span(keep_within),
            within_hourly=_span(keep_within_hourly),
            within_daily=_span(keep_within_daily),
            within_weekly=_span(keep_within_weekly),
            within_monthly=_span(keep_within_monthly),
            within_yearly=_span(keep_within_yearly),
            tags=tuple(map(retention.tags, [keep_tag] if isinstance(keep_tag, str) else keep_tag)),
        )
        how = ModelRules(
            given_rules, given(retention.groups, group_by), _backup(require_backup), _grace(grace)
        )
        wanted = retaining.Wanted(
            _by_pattern(rules, how), _patterns(patterns), allow_all=unsafe_allow_remove_all
        )
        return retaining.retain(self._session, wanted, dry_run=dry_run, confirm=confirm, threads=threads)

    def remove(
        self,
        *references: str | Reference,
        require_backup: bool | str = False,
        grace: Span = GRACE,
        unsafe_allow_remove_all: bool = False,
        dry_run: bool = False,
        confirm: "Callable[[Plan], bool] | None" = None,
    ) -> "Retained":
        """Sign that these versions are removed, whatever the rules say, unless something needs them.

        Raises:
            ValueError: a reference names no version.
            NotFound: one is not there, or was removed before.
            Refused, Unavailable, NoUsableKey.
        """
        from vault.actions import retaining

        named = tuple(reference_of(entry) for entry in references)
        for entry in named:
            if entry.version is None:
                raise ValueError(f"Say which version to remove, as {entry.model}:3.")
        if not named:
            raise ValueError("Say which versions to remove.")
        how = ModelRules(Rules(), backup=_backup(require_backup), grace=_grace(grace))
        wanted = retaining.Wanted(named=named, how=how, allow_all=unsafe_allow_remove_all)
        return retaining.retain(self._session, wanted, dry_run=dry_run, confirm=confirm)

    def reclaim(
        self,
        patterns: str | Iterable[str] = "*",
        *,
        unsafe_allow_remove_all: bool = False,
        dry_run: bool = False,
        confirm: "Callable[[ReclaimPlan], bool] | None" = None,
        threads: int | None = None,
    ) -> "Reclaimed":
        """Delete the files of versions whose grace period is over, if nothing needs them by now.

        Manifest, records and removals stay, so that the version's number never comes back. What the
        store does not let go is told as failed, and tried again by the next run.

        Raises:
            Refused, NotFound, Unavailable, NoUsableKey.
        """
        from vault.actions import reclaiming

        return reclaiming.reclaim(
            self._session,
            only=_patterns(patterns),
            allow_all=unsafe_allow_remove_all,
            dry_run=dry_run,
            confirm=confirm,
            threads=threads,
        )

    def take_back(self, reference: str | Reference) -> "TakenBack":
        """Take the removal of a version back, and those of what it was made from, while its files are there.

        Raises:
            NotFound: there is no such version; or `removed`: its files are gone.
            Conflict: it is being deleted.
            AccessDenied, Refused, Unavailable, NoUsableKey, ValueError.
        """
        from vault.actions import taking_back

        return taking_back.undo(self._session, reference_of(reference))

    def hold(self, what: str | Reference, *, reason: str) -> "Held":
        """Sign that a version (`churn:3`), or all of a model or pattern (`nepse/*`), must not be removed.

        Raises:
            AccessDenied: this identity may not `hold` that.
            NotFound: there is no such version, or it is being deleted (`removed`).
            ValueError, Refused, Unavailable, NoUsableKey.
        """
        from vault.actions import holding

        return holding.hold(self._session, what, reason)

    def release(self, what: str, *, reason: str = "released") -> "Released":
        """End the holds on exactly this version or pattern, or the one with this digest.

        Raises:
            AccessDenied: this identity may not `hold` that.
            NotFound: nothing holds it.
            ValueError, Refused, Unavailable, NoUsableKey.
        """
        from vault.actions import holding

        return holding.release(self._session, what, reason)

    def holds(self) -> "Standing":
        """List the holds that stand, and what looks like one and does not count.

        Raises:
            Refused, NotFound, Unavailable.
        """
        from vault.actions import holding

        return holding.standing(self._session)

    def sweep(self, *, grace: Span = GRACE, dry_run: bool = False) -> "Swept":
        """Delete what interrupted publications left behind, once it was seen for the grace period.

        Raises:
            ValueError, Refused, NotFound, Unavailable, NoUsableKey.
        """
        from vault.actions import sweeping

        return sweeping.sweep(self._session, self._settings.state_dir, _grace(grace), dry_run=dry_run)


def _count(value: Count) -> int:
    if isinstance(value, str):
        return given(retention.count, value)
    if value < retention.UNLIMITED:
        raise ValueError("How many to keep is a number from 0, or 'unlimited'.")
    return value


def _span(value: Span | None) -> Duration | None:
    found = None if value is None else _grace(value)
    return None if found == Duration() else found


def _grace(value: Span) -> Duration:
    return value if isinstance(value, Duration) else given(retention.duration, value)


def _backup(value: bool | str) -> str | None:
    if isinstance(value, bool):
        return removal.ANY_BACKUP if value else None
    return given(removal.backup, value)


def _patterns(value: str | Iterable[str]) -> Patterns:
    found = [value] if isinstance(value, str) else [*value]
    return frozenset(given(policy.pattern, entry) for entry in found) or ALL


def _by_pattern(
    rules: "Mapping[str, ModelRules] | ModelRules | str | PathLike[str] | None", how: ModelRules
) -> Mapping[str, ModelRules]:
    """Give the rules by pattern: those of a file or mapping, or those given as options for every model.

    Raises:
        ValueError: both are given, or none.
        Malformed, NotFound, Unavailable: the file cannot be read, or is none.
    """
    if rules is None:
        if how.rules.empty:
            raise ValueError("No rule is given, so nothing would be kept: say keep_last=…, or rules=….")
        return {"*": how}
    if not how.rules.empty:
        raise ValueError("Rules come from options or from rules=, not from both.")
    if isinstance(rules, ModelRules):
        return {"*": rules}
    if isinstance(rules, Mapping):
        return rules
    from vault.actions import retention_file

    return retention_file.read(Path(rules))
