"""The verb of `Vault` that takes over models that lie elsewhere."""

import os
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from vault.actions.session import Session
from vault.arguments import given
from vault.core import names
from vault.settings import Settings

if TYPE_CHECKING:
    from vault.core.adoption_plan import Renames
    from vault.core.adoption_report import AdoptionReport

Location = str | os.PathLike[str]


class AdoptionVerbs:
    """Adopt a folder, a bucket or a registry of models; `Vault` inherits it."""

    _session: Session
    _settings: Settings

    def adopt(
        self,
        source: Location,
        *,
        as_: str | None = None,
        to: str = "skops",
        sample_as: str | None = None,
        tolerance: float = 0.0,
        rename: Sequence[str] = (),
        fix_names: bool = False,
        alias: Mapping[str, str] | None = None,
        promote: bool = False,
        tags: Sequence[str] = (),
        notes: str | None = None,
        dry_run: bool = False,
        memory: int | None = None,
        seconds: int | None = None,
        threads: int | None = None,
    ) -> "AdoptionReport":
        """Take over the models in a folder, a bucket (`s3://`, `gs://`, `az://`) or MLflow (`mlflow:…`).

        `as_` says how paths below the source name models, as in
        `"models/{model}/v{version}/model.joblib"`; with a `/` at its end whole folders are packages.
        Pickles are converted `to` skops or onnx in confined processes, never loaded in this one; other
        formats stay as they are. `sample_as` is the path of rows to compare predictions on, named as the
        models are. `rename` and `fix_names` give names that the vault takes (docs/adopting.md). `alias`
        maps aliases of MLflow to environments; `promote` puts into use what the source uses. With
        `dry_run` files are looked at only. Originals are never changed. What was stopped goes on where
        it was when it is run again.

        Raises:
            ValueError: the source, the pattern or another argument is none.
            NotFound, Unavailable: the source cannot be listed, or the vault's store failed.
            Refused, NoUsableKey, MissingLibrary.
        """
        from vault.actions import taking_over
        from vault.actions.convert_job import MEMORY, SECONDS, TARGETS
        from vault.actions.taking_over_preparing import How
        from vault.core import adoption_pattern

        if to not in TARGETS:
            raise ValueError(f"A pickle is converted to {' or '.join(TARGETS)}, not {to!r}.")
        if not 0 <= tolerance <= 1:
            raise ValueError("tolerance= is a fraction from 0 to 1.")
        if threads is not None and not 1 <= threads <= 16:
            raise ValueError("threads= is 1 to 16.")
        how = How(
            to=to,
            sample=None if sample_as is None else given(adoption_pattern.parse, sample_as),
            tolerance=tolerance,
            memory=memory or MEMORY,
            seconds=seconds or SECONDS,
            tags=tuple(tags),
            notes=notes,
        )
        request = taking_over.Request(
            pattern=None if as_ is None else given(adoption_pattern.parse, as_),
            renames=given_renames(rename, fix_names=fix_names),
            how=how,
            aliases={name: given(names.environment, env) for name, env in (alias or {}).items()},
            dry_run=dry_run,
            promote=promote,
            threads=threads,
        )
        return taking_over.adopt(self._session, self._settings.state_dir, os.fspath(source), request)


def given_renames(texts: Sequence[str], *, fix_names: bool) -> "Renames":
    """Read renames as a caller gives them.

    Raises:
        ValueError: one renames nothing, or two the same.
        TypeError: it is one text in place of a list.
    """
    from vault.core import adoption_plan
    from vault.errors import Malformed

    if isinstance(texts, str):
        raise TypeError("rename= is a list of texts.")
    try:
        return adoption_plan.renames(texts, suggested=fix_names)
    except Malformed as error:
        raise ValueError(error.message) from None
