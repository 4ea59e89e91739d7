"""The verbs of `Vault` about many models at once: by a pattern, a list or a table."""

import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vault.actions.session import Session
from vault.arguments import given
from vault.core import names
from vault.core.names import Reference
from vault.settings import Settings

if TYPE_CHECKING:
    from vault.actions import bulk_channels
    from vault.actions.approving import Approved
    from vault.actions.bulk_pushing import Publishing
    from vault.actions.bulk_results import Batch
    from vault.actions.check_report import Report
    from vault.actions.promote import Promotion
    from vault.actions.push_tables import Row
    from vault.actions.withdrawing import Withdrawal

Location = str | os.PathLike[str]
# A pattern such as `nepse/*@staging`, a reference, or several of them.
References = str | Reference | Iterable[str | Reference]


class BulkVerbs:
    """What one verb does for one model, for many; `Vault` inherits them.

    Each works with several threads, goes on when a model fails, and gives a
    `Batch`: `.done`, `.failed`, `.left`, `.whole`, `.raise_if_failed()`. Run again,
    it does what is left. Ctrl-C raises `Interrupted`, whose `.batch` tells how far
    it came.
    """

    _session: Session
    _settings: Settings

    if TYPE_CHECKING:
        push: Any
        save_model: Any

        def __init__(self, session: Session, settings: Settings) -> None: ...

    def push_all(
        self,
        rows: "Location | Iterable[Mapping[str, Any]]",
        *,
        run: str | None = None,
        threads: int | None = None,
        dry_run: bool = False,
    ) -> "Batch[Reference]":
        """Publish files for many models: the rows of a table (CSV, TSV, JSON lines), or arguments of `push`.

        `rows` is the path of a table, or mappings with the keys of `push`: `name`, `source` and its
        options. A run that is known by a name, a table's path or `run`, leaves what it has published
        before it was interrupted. With `dry_run` files are only looked at.

        Raises:
            ValueError: the table does not hold together, with the line; nothing was published.
            Conflict: another run of that name is under way.
            NotFound, NoUsableKey, Refused, Unavailable: nothing can be done at all.
        """
        from vault.actions import bulk_pushing, push_tables

        if isinstance(rows, str | os.PathLike):
            table = os.fspath(rows)
            items = [self._row(row) for row in push_tables.read(table)]
            run = run or (None if table == "-" else os.path.abspath(table))
        else:
            items = [self._pushing(dict(row)) for row in rows]
        many = bulk_pushing.Many("push", run, threads, dry_run)
        return bulk_pushing.publish_all(self._session, items, many, state=self._settings.state_dir)

    def save_all(
        self,
        models: "Mapping[str, Callable[[], Mapping[str, Any]]] | Iterable[Mapping[str, Any]]",
        *,
        run: str | None = None,
        threads: int | None = None,
    ) -> "Batch[Reference]":
        """Save many live models: mappings with the keys of `save_model`, or functions by name that give them.

        A function is called when it is its model's turn, so that few models are in memory at a time; with
        `run`, a name for this round of training, it is not called for a model that the same run has
        saved before it was interrupted. What a function raises is that model's failure.

        Raises:
            Conflict: another run of that name is under way.
            ValueError, NoUsableKey, NotFound, Refused, Unavailable: nothing can be done at all.
        """
        from vault.actions import bulk_pushing

        if isinstance(models, Mapping):
            items = [self._training(name, make) for name, make in models.items()]
        else:
            items = [self._saving(dict(one)) for one in models]
        many = bulk_pushing.Many("save", run, threads)
        return bulk_pushing.publish_all(self._session, items, many, state=self._settings.state_dir)

    def promote_all(
        self,
        references: References,
        *,
        env: str,
        slot: str = names.MAIN,
        threads: int | None = None,
        dry_run: bool = False,
    ) -> "Batch[Promotion]":
        """Promote many models: `nepse/*@staging`, or references; what is there already is left.

        Raises:
            ValueError: a pattern or reference is none, or a model is meant twice.
            NotFound: a pattern means no model.
            NoUsableKey, Refused, Unavailable: nothing can be done at all.
        """
        from vault.actions import bulk_channels

        place = given(names.environment, env), given(names.slot, slot)
        return bulk_channels.promote_all(self._session, _many(references, threads, dry_run), *place)

    def approve_all(
        self, references: References, *, env: str, threads: int | None = None, dry_run: bool = False
    ) -> "Batch[Approved]":
        """Approve many models' versions for an environment; one that is approved already is left.

        Raises:
            As `promote_all`.
        """
        from vault.actions import bulk_channels

        many = _many(references, threads, dry_run)
        return bulk_channels.approve_all(self._session, many, given(names.environment, env))

    def withdraw_all(
        self, references: References, *, env: str, threads: int | None = None, dry_run: bool = False
    ) -> "Batch[Withdrawal]":
        """Keep many models' versions out of an environment, in every slot of it.

        Raises:
            As `promote_all`.
        """
        from vault.actions import bulk_channels

        many = _many(references, threads, dry_run)
        return bulk_channels.withdraw_all(self._session, many, given(names.environment, env))

    def rollback_all(
        self,
        models: "str | Iterable[str]",
        *,
        env: str,
        slot: str = names.MAIN,
        threads: int | None = None,
        dry_run: bool = False,
        anew: bool = False,
    ) -> "Batch[Promotion]":
        """Make an environment use again what it used before, one version back, for many models: `nepse/*`.

        Where each goes is planned before the first one goes, so a run that was interrupted, or in which
        some failed, is ended by the next one, and no model goes back twice. `anew` forgets such a plan.

        Raises:
            Conflict: another run is under way, or one about some of these models was stopped.
            As `promote_all`.
        """
        from vault.actions import bulk_rollback

        place = given(names.environment, env), given(names.slot, slot)
        many = _many(models, threads, dry_run)
        return bulk_rollback.rollback_all(
            self._session, many, *place, state=self._settings.state_dir, anew=anew
        )

    def pull_all(
        self,
        references: References,
        destination: Location,
        *,
        zip: bool = False,
        threads: int | None = None,
    ) -> "Batch[Path]":
        """Write many models' verified files, each into a folder MODEL, or MODEL.zip, below `destination`.

        A folder appears whole or not at all; nothing is overwritten.

        Raises:
            As `promote_all`; Conflict: another run pulls into the same folder.
        """
        from vault.actions import bulk_pulling

        return bulk_pulling.pull_all(
            self._session,
            _many(references, threads, dry_run=False),
            Path(destination),
            zipped=zip,
            state=self._settings.state_dir,
        )

    def check_all(
        self, references: References, *, data: bool = False, threads: int | None = None
    ) -> "Batch[Report]":
        """Check many models: of a name all versions and channels, of any other reference one version.

        Raises:
            As `promote_all`.
        """
        from vault.actions import bulk_channels

        return bulk_channels.check_all(self._session, _many(references, threads, dry_run=False), data=data)

    def load_all(
        self, references: References, *, package: bool = False, threads: int | None = None, **options: Any
    ) -> "Models":
        """Load many models, or with `package` packages: a mapping from model names to what was loaded.

        All of them are in memory then. Those that were refused are in its `.failed`, and asking for one
        raises its error, so that none is missing without a word. `options` are those of `load_model`.

        Raises:
            As `promote_all`.
        """
        from vault.actions import bulk_channels

        many = _many(references, threads, dry_run=False)
        return Models(bulk_channels.load_all(self._session, many, options, package=package))

    # --- what is published ---

    def _push(self, session: Session, name: str, source: Any, options: Mapping[str, Any]) -> Reference:
        done: Reference = type(self)(session, self._settings).push(name, source, **options)
        return done

    def _save(self, session: Session, name: str, model: Any, options: Mapping[str, Any]) -> Reference:
        done: Reference = type(self)(session, self._settings).save_model(name, model, **options)
        return done

    def _row(self, row: "Row") -> "Publishing":
        """Push a row of a table."""
        from vault.actions import bulk_files, bulk_pushing

        features = row.features
        path = features if isinstance(features, str) else None

        def options() -> dict[str, Any]:
            return {
                "version": row.version,
                "metrics": row.metrics,
                "params": row.params,
                "features": bulk_files.names_in(path) if path else features,
                "sample": row.sample,
                "tags": row.tags,
                "notes": row.note,
                "public": row.public,
            }

        said = {
            "version": row.version,
            "metrics": dict(row.metrics),
            "params": dict(row.params),
            "features": features,
            "tags": row.tags,
            "note": row.note,
            "public": row.public,
        }
        files = [*row.paths, *(entry for entry in (row.sample, path) if entry)]
        return bulk_pushing.Publishing(
            row.model,
            lambda: bulk_pushing.token_of(said, files),
            lambda session: self._push(session, row.model, [*row.paths], options()),
            lambda session: self._look([*row.paths], options(), session),
            row.version,
        )

    def _pushing(self, row: dict[str, Any]) -> "Publishing":
        """Push what a mapping says."""
        from vault.actions import bulk_pushing

        name, source = _taken(row, "name"), _taken(row, "source")
        sources = [*source] if isinstance(source, list | tuple) else [source]
        known = all(isinstance(entry, str | os.PathLike) for entry in [*sources, row.get("sample") or ""])
        files = [os.fspath(entry) for entry in [*sources, row.get("sample")] if entry] if known else []
        return bulk_pushing.Publishing(
            given(names.model, name),
            lambda: bulk_pushing.token_of(row, files) if known else None,
            lambda session: self._push(session, name, source, row),
            lambda session: self._look(sources, row, session),
            _version(row),
        )

    @staticmethod
    def _look(sources: Sequence[Any], options: Mapping[str, Any], session: Session) -> None:
        from vault.actions import packing

        labels = packing.Labels(options.get("metrics") or {}, options.get("params") or {})
        sample, public = options.get("sample"), bool(options.get("public"))
        packing.look(session, sources, labels, sample=sample, public=public)

    def _saving(self, one: dict[str, Any]) -> "Publishing":
        """Save what a mapping says."""
        from vault.actions import bulk_pushing

        name, model = _taken(one, "name"), _taken(one, "model")
        return bulk_pushing.Publishing(
            given(names.model, name),
            lambda: _version(one) or "",
            lambda session: self._save(session, name, model, one),
            lambda session: None,
            _version(one),
        )

    def _training(self, name: str, make: Callable[[], Mapping[str, Any]]) -> "Publishing":
        """Save what a function makes when it is asked to."""
        from vault.actions import bulk_pushing

        def publish(session: Session) -> Reference:
            with session.one_by_one:
                one = bulk_pushing.trained(name, make)
            model = _taken(one, "model")
            return self._save(session, name, model, one)

        return bulk_pushing.Publishing(given(names.model, name), lambda: "", publish, lambda session: None)


class Models(Mapping[str, Any]):
    """Models by name, in order; asking for one that was refused raises its error."""

    def __init__(self, batch: "Batch[Any]") -> None:
        """Take what was loaded, and what was not."""
        self.batch = batch
        self._loaded = {entry.model: entry.result for entry in batch.done}
        self.failed: Mapping[str, Exception] = {entry.model: entry.error for entry in batch.failed}

    def __getitem__(self, name: str) -> Any:
        """Give a model.

        Raises:
            VaultError: it was not loaded, for that reason.
            KeyError: it was not asked for, or not tried.
        """
        if name in self.failed:
            raise self.failed[name]
        return self._loaded[name]

    def __iter__(self) -> Iterator[str]:
        """Go over the names of those that were loaded."""
        return iter(self._loaded)

    def __len__(self) -> int:
        """Count those that were loaded."""
        return len(self._loaded)


def _many(references: References, threads: int | None, dry_run: bool) -> "bulk_channels.Many":
    from vault.actions import bulk_channels, bulk_references

    several = [references] if isinstance(references, str | Reference) else references
    asked = tuple(bulk_references.asked(str(entry)) for entry in several)
    if not asked:
        raise ValueError("No model is named.")
    return bulk_channels.Many(asked, threads, dry_run)


def _version(row: Mapping[str, Any]) -> str | None:
    version = row.get("version")
    return None if version is None else str(version)


def _taken(row: dict[str, Any], key: str) -> Any:
    try:
        return row.pop(key)
    except KeyError:
        raise ValueError(f"{key!r} is missing: one mapping for each model, with its arguments.") from None
