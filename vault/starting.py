"""Where people start: open a vault, make one, or look into a file without one."""

import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vault.actions import opening
from vault.actions.session import HeldIdentity
from vault.arguments import Allow, allowance_of, given, reference_of
from vault.core import names
from vault.core.allowance import Allowance
from vault.core.names import Environment
from vault.ports import Progress, Store, no_progress
from vault.settings import Settings
from vault.vault import Location, Vault

if TYPE_CHECKING:
    from vault.actions.doctor import Diagnosis
    from vault.actions.drilling import Drill
    from vault.actions.founding import NewVault
    from vault.actions.init import Founders, Joining
    from vault.actions.restoring import Asked, Here, Restored
    from vault.core.inspection import Inspection

DEV = Environment("dev")


def open(
    location: Location | None = None,
    *,
    identity: Location | HeldIdentity | None = None,
    env: str | None = None,
    allow: Allow | None = None,
    trust: Location | None = None,
    cache: Location | None = None,
    **display: Any,
) -> Vault:
    """Open a vault that is trusted on this machine; what is not said comes from the settings.

    `identity` is a file or an unlocked identity; it is unlocked when it is
    first needed, once per process. `env` is the environment of references that
    name none (dev). `allow` is the operator's own allowance, such as
    `{"skops_types": ["mypackage.MyTransformer"]}`. `trust` is a trust file. `cache` is a folder of this
    user's for copies of what is read, ciphertext and signed documents, which many processes may share.

    Raises:
        Refused: the location, or the cache, is not trusted here, or a trust file or memory is damaged.
        ValueError: no location is known, or an argument has no such value.
    """
    held = None if identity is None or isinstance(identity, str | os.PathLike) else identity
    settings = opening.gather(
        {
            "vault": None if location is None else os.fspath(location),
            "identity": None if held is not None or identity is None else os.fspath(identity),  # type: ignore[arg-type]
            "env": env,
            "trust": None if trust is None else os.fspath(trust),
            "cache": None if cache is None else os.fspath(cache),
            **display,
        }
    )
    environment = DEV if settings.env is None else given(names.environment, settings.env)
    session = opening.open_session(
        settings, opening.locate(settings), allow=allowance_of(allow), environment=environment
    )
    if held is not None:
        session.unlock = lambda: held
    return Vault(session, settings)


def doctor(
    location: Location | None = None,
    *,
    identity: Location | None = None,
    env: str | None = None,
    allow: Allow | None = None,
    trust: Location | None = None,
    as_loader: str | None = None,
    write: bool | None = None,
    large: bool = False,
    **display: Any,
) -> "Diagnosis":
    """Look whether a vault opens here and everything is as a load needs it; arguments are those of `open`.

    `as_loader` is a reference that is taken through every check of a load. `write` says
    whether to try what the store honours, which writes objects and deletes them again:
    by default if this identity may write to the vault; `large` tries a large one too.

    Raises:
        ValueError: no location is known, or an argument has no such value.
    """
    from vault.actions import doctor as examining

    settings = opening.gather(
        {
            "vault": None if location is None else os.fspath(location),
            "identity": None if identity is None else os.fspath(identity),
            "env": env,
            "trust": None if trust is None else os.fspath(trust),
            **display,
        }
    )
    return examining.diagnose(
        settings,
        allow=allowance_of(allow),
        environment=DEV if settings.env is None else given(names.environment, settings.env),
        wanted=examining.Wanted(None if as_loader is None else reference_of(as_loader), write, large),
    )


def init(
    location: Location | None = None,
    *,
    name: str | None = None,
    identity: Location | None = None,
    recipient: str = "hybrid",
    no_passphrase: bool = False,
    services: "Sequence[Joining]" = (),
    recovery: Location | None = None,
    policy: Location | None = None,
    team: bool = False,
    founders: "Founders | None" = None,
    created: "Callable[[NewVault], None] | None" = None,
    **display: Any,
) -> Vault:
    """Make a vault for one owner: identity, root, policy, recovery key; trusted here from now on.

    `created` is told where things were written. `services` are loaders that
    may read prod (`vault.joining`). `recipient` is `hybrid` (post-quantum) or
    `x25519`. `policy` is a policy file in place of `policies/solo.yaml`, or with
    `team` of `policies/team.yaml`. `founders` are people who are there from the
    start; where their signatures are needed, see `mvault init --threshold`.

    Raises:
        Conflict: there is a vault already.
        NoUsableKey: no passphrase is to be had.
        ValueError, Malformed, Unavailable.
    """
    from vault.actions import founding, logged
    from vault.actions.init import ALONE

    if founders is not None and founders.threshold > 1:
        raise ValueError("A vault that several must found is begun with: mvault init --threshold")

    settings = opening.gather(
        {
            "vault": None if location is None else os.fspath(location),
            "identity": None if identity is None else os.fspath(identity),
            **display,
        }
    )
    store = opening.locate(settings)
    made, owner = founding.found_vault(
        settings,
        store,
        name=name,
        kind=recipient,
        services=services,
        protect=not no_passphrase,
        recovery=None if recovery is None else Path(recovery),
        policy=None if policy is None else os.fspath(policy),
        starter="team" if team else "solo",
        founders=founders or ALONE,
    )
    if created is not None:
        created(made)
    environment = DEV if settings.env is None else given(names.environment, settings.env)
    session = opening.open_session(settings, store, allow=Allowance(), environment=environment)
    session.unlock = lambda: owner
    logged.founded(session)
    return Vault(session, settings)


def restore(
    source: Location,
    to: Location,
    *,
    root: str | None = None,
    recovery: Location | None = None,
    sample: float = 5.0,
    fresh_environments: bool = False,
    wheels: Location | None = None,
    limit: int | None = None,
    progress: Progress = no_progress,
    **display: Any,
) -> "Restored":
    """Bring a vault back from a backup into an empty place, prove what came back, and trust it there.

    `root` is the vault's fingerprint; without it that of the recovery file counts, or this machine's
    own pin. With `recovery`, a recovery identity, `sample` percent of the versions are decrypted and
    loaded, in this process or, with `fresh_environments`, each in one made for it, from the index of this
    machine or a folder of `wheels`. A restore that was interrupted goes on where it was.

    Raises:
        ValueError: the two places lie in one another, or an argument has no such value.
        Conflict: something lies at `to`.
        NotFound: there is no backup at `source`.
        Refused: nothing says that it is your vault's (`not-trusted`), or it does not verify.
        Unavailable, NoUsableKey, MissingLibrary.
    """
    from vault.actions import backing_up_places, restoring

    settings = opening.gather(display)
    stores = backing_up_places.place(source), backing_up_places.place(to)
    asked, here, pin = _restoring(
        settings, stores[0], root, recovery, (sample, fresh_environments, wheels), limit, progress
    )
    found = restoring.restore(*stores, pin, asked, here)
    restoring.settle(found, stores[1], settings, here)
    return found


def drill(
    source: Location,
    *,
    report: Location | None = None,
    signed: bool = True,
    root: str | None = None,
    recovery: Location | None = None,
    sample: float = 5.0,
    fresh_environments: bool = False,
    wheels: Location | None = None,
    into: Location | None = None,
    limit: int | None = None,
    progress: Progress = no_progress,
    **display: Any,
) -> "Drill":
    """Restore a backup into a temporary folder, below `into`, prove it, and take it away again.

    Where it is `signed` and this user has an identity, the report is signed by it and written to
    `report`. Arguments are otherwise those of `restore`.

    Raises:
        As `restore`; Conflict: there is a file at `report`.
    """
    from vault.actions import backing_up_places, drilling

    settings = opening.gather(display)
    store = backing_up_places.place(source)
    asked, here, pin = _restoring(
        settings, store, root, recovery, (sample, fresh_environments, wheels), limit, progress
    )
    unlock = opening.unlocker(settings) if signed else None
    place = None if into is None else Path(into)
    held = drilling.drill(store, place, pin, asked, here, None if unlock is None else unlock())
    if report is not None:
        held = drilling.keep(held, Path(report))
    if signed and settings.config_dir is not None:
        drilling.note(held, settings)
    return held


def _restoring(
    settings: Settings,
    store: Store,
    root: str | None,
    recovery: Location | None,
    trying: tuple[float, bool, Location | None],
    limit: int | None,
    progress: Progress,
) -> "tuple[Asked, Here, names.Digest]":
    import secrets

    from vault.actions import restoring, restoring_recovery, trusting

    sample, afresh, wheels = trying
    if not 0 < sample <= 100:
        raise ValueError("A sample is more than 0 and at most 100 percent.")
    key = None if recovery is None else restoring_recovery.read(Path(recovery))
    told = None if root is None else trusting.parse_root(root)
    here = restoring.Here(opening.clock, secrets.token_bytes, progress, settings.allow)
    pin = restoring.pin_of(store, settings, told, key)
    folder = None if wheels is None else Path(wheels)
    fresh = restoring_recovery.Fresh(folder) if afresh or folder is not None else None
    return restoring.Asked(key, sample, fresh, limit), here, pin


def inspect(path: Location) -> "Inspection":
    """Tell what a file would do if it were loaded; it is never loaded.

    Raises:
        NotFound, Unavailable: it is not there, or cannot be read.
    """
    from vault.actions import inspecting

    return inspecting.inspect(Path(path))
