"""Open what a copy of a vault holds by a recovery identity alone: decrypt, load, and compare predictions.

A recovery identity is in no policy and signs nothing. It opens the keys of the
environments, and so shows that a backup can be read when everybody is gone.
"""

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

from vault.actions import backing_up_versions, keyring
from vault.actions.check_report import Finding
from vault.actions.loading import LoadedPackage, model_of
from vault.actions.reading import Package
from vault.actions.session import Session
from vault.core import admission, layout, limits, names
from vault.core.backup_receipt import Covered
from vault.core.manifest import METADATA
from vault.core.names import Digest
from vault.core.policy import EnvironmentRule
from vault.core.stages import Resolved, Verified
from vault.errors import (
    DigestMismatch,
    MissingLibrary,
    NotFound,
    NoUsableKey,
    Refused,
    Unavailable,
    VaultError,
)
from vault.keys import recipients
from vault.keys.recipients import Identity

_METHODS: Final = ("predict", "predict_proba", "transform")
_SAMPLE: Final = "sample.npz"
_VAULT_LINE: Final = "# Vault: sha256:"


@dataclass(frozen=True, slots=True)
class RecoveryKey:
    """A recovery identity, and the vault that its file says it is of, where it says so."""

    identity: Identity
    vault: Digest | None


@dataclass(frozen=True, slots=True)
class Fresh:
    """Load in fresh environments, installed from a folder of wheels, or from the index of this machine."""

    wheels: Path | None = None


@dataclass(slots=True)
class Opened:
    """What a recovery identity opened: versions and bytes decrypted, models loaded, rows compared.

    `unloaded` are versions without a model, or whose library is not installed here, each with the reason.
    """

    environments: tuple[str, ...] = ()
    versions: int = 0
    bytes: int = 0
    loaded: int = 0
    rows: int = 0
    unloaded: tuple[str, ...] = ()


def read(path: Path) -> RecoveryKey:
    """Read a recovery identity: plain age identity text, in which lines with `#` are comments.

    Raises:
        NotFound, Unavailable: it is not there, or cannot be read.
        Malformed: it holds no age identity, or several.
    """
    try:
        with path.open("rb") as file:
            data = file.read(limits.IDENTITY_FILE_BYTES + 1)
    except FileNotFoundError:
        raise NotFound(f"There is no file {path}.", subject=str(path)) from None
    except OSError as error:
        raise Unavailable(f"{path} cannot be read: {error.strerror}.", subject=str(path)) from None
    return parse(data, str(path))


def parse(data: bytes, subject: str) -> RecoveryKey:
    """Parse the text of a recovery identity.

    Raises:
        NoUsableKey: it holds no age identity, or several.
        Malformed: what stands there is none.
    """
    text = data[: limits.IDENTITY_FILE_BYTES].decode("utf-8", "replace")
    lines = [line.strip() for line in text.splitlines()]
    keys = [line for line in lines if line and not line.startswith("#")]
    if len(keys) != 1 or len(data) > limits.IDENTITY_FILE_BYTES:
        raise NoUsableKey(
            f"{subject} is no recovery identity: one line that begins with AGE-SECRET-KEY-.",
            subject=subject,
            hint="mvault init wrote one; mvault recovery read makes one of a printed sheet.",
        )
    told = next((line.removeprefix(_VAULT_LINE) for line in lines if line.startswith(_VAULT_LINE)), None)
    try:
        vault = None if told is None else names.digest(told)
    except Refused:
        vault = None
    return RecoveryKey(recipients.parse_identity(keys[0]), vault)


def unlock(there: Session, held: Identity) -> tuple[tuple[str, ...], list[Finding]]:
    """Unwrap every environment's keys by a recovery identity, for as long as the session lasts.

    Gives the environments whose newest key opened, and says which did not.

    Raises:
        NoUsableKey: it opens none of them.
        Unavailable: the store failed.
    """
    opened, findings = [], []
    for rule in there.trust().policy.environments.values():
        for epoch in rule.epochs:
            try:
                key = keyring.recovered_key(there.store, held, rule.name, epoch)
            except (NoUsableKey, Refused) as error:
                level = "bad" if epoch is rule.epochs[-1] else "skipped"
                subject = f"key of {rule.name}, epoch {epoch.number}"
                findings.append(Finding(level, subject, error.message, error.code))
                continue
            there.environment_keys[(rule.name, epoch.number)] = key
            if epoch is rule.epochs[-1]:
                opened.append(str(rule.name))
    if not there.environment_keys:
        raise NoUsableKey(
            "This recovery identity opens none of the vault's environments.",
            hint="Is it another vault's? Its file, or the printed sheet, names the vault that it is of.",
        )
    return tuple(opened), findings


def open_sample(
    there: Session,
    covered: Sequence[Covered],
    *,
    percent: float,
    seed: str,
    fresh: Fresh | None = None,
) -> tuple[Opened, list[Finding]]:
    """Decrypt and load so many percent of the versions, at least one; compare what was predicted.

    They are loaded in this process, or each in an environment of its own, as `fresh` says.

    Raises:
        Unavailable: the store failed again and again.
    """
    wanted = min(len(covered), max(1, round(len(covered) * percent / 100)))
    ordered = sorted(covered, key=lambda entry: (entry.model, entry.version))
    chosen = random.Random(seed).sample(ordered, wanted)  # noqa: S311 (which to look at, no secret)
    resolved = backing_up_versions.resolved_of(there)
    opened, findings = Opened(), []
    for done, entry in enumerate(chosen, start=1):
        there.progress(done, len(chosen), "versions decrypted and loaded")
        subject = f"{entry.model}:{entry.version}"
        try:
            found = backing_up_versions.known(there, resolved, entry.model, entry.version).verified
            rule = _rule_for(there, found)
            if rule is None:
                opened.unloaded += (f"{subject}: no environment that opened has its keys",)
                continue
            _one(there, _within(found, rule), opened, fresh)
        except MissingLibrary as error:
            opened.unloaded += (f"{subject}: {error.message}",)
        except VaultError as error:
            findings.append(Finding("bad", subject, error.message, error.code))
        except Exception as error:  # whatever a format's own library raises
            findings.append(Finding("bad", subject, f"it does not load: {error!r}"[:500], "unavailable"))
    return opened, findings


def _rule_for(there: Session, found: Verified) -> EnvironmentRule | None:
    """Choose an environment that has keys of a version, first of all one that allows its model."""
    policy = there.trust().policy
    model, version = found.manifest.model, found.manifest.version
    listed = {
        name.removesuffix("/") for name in there.store.list_folders(layout.version_keys(model, version))
    }
    having = [
        rule
        for rule in policy.environments.values()
        if any(
            f"{rule.name}-{epoch.number}" in listed and (rule.name, epoch.number) in there.environment_keys
            for epoch in rule.epochs
        )
    ]
    allowing = [rule for rule in having if model_of(rule, found.manifest)]
    return next(iter([*allowing, *having]), None)


def _within(found: Verified, rule: EnvironmentRule) -> Verified:
    """Look at a version in one environment."""
    resolved: Resolved = replace(found.authorised.resolved, rule=rule)
    return replace(found, authorised=replace(found.authorised, resolved=resolved))


def _one(there: Session, verified: Verified, opened: Opened, fresh: Fresh | None) -> None:
    """Decrypt every file of a version, then load its model and compare what it predicts.

    Raises:
        VaultError: something does not hold.
    """
    package = Package(there, verified)
    size = 0
    for entry in verified.manifest.files:
        if entry.path != METADATA:
            sha256 = package.write(entry, _Nowhere())
            admission.check_plaintext(package.opened, entry, entry.size, sha256)
        size += entry.size
    opened.versions += 1
    opened.bytes += size
    if not model_of(verified.authorised.resolved.rule, verified.manifest):
        opened.unloaded += (
            f"{verified.subject}: no model that {verified.authorised.resolved.rule.name} allows",
        )
        return
    if fresh is not None:
        opened.rows += _afresh(there, verified, fresh)
        opened.loaded += 1
        return
    loaded = LoadedPackage(there, verified, {})
    model = loaded.model
    _ = dict(loaded.artifacts)
    opened.loaded += 1
    opened.rows += _compared(loaded, model)


def _afresh(there: Session, verified: Verified, fresh: Fresh) -> int:
    """Load a version in an environment made for it, without any key; give how many rows were compared.

    Raises:
        DigestMismatch: it does not load there, or predicts otherwise.
        Refused, NotFound, Unavailable: see `load_testing.test`.
    """
    from vault.actions import load_testing

    done = load_testing.unsigned(there, verified, load_testing.options_of(wheels=fresh.wheels, record=False))
    if not done.passed:
        raise DigestMismatch(
            f"{verified.subject} did not pass a load test in a fresh environment: {done.detail}",
            subject=verified.subject,
        )
    return done.rows


def _compared(loaded: LoadedPackage, model: Any) -> int:
    """Predict the recorded rows and compare; give how many rows there were.

    Raises:
        DigestMismatch: what is predicted is not what was recorded.
    """
    paths = {f"sample.{method}.npz": method for method in _METHODS}
    recorded = {method: path for path, method in paths.items() if path in loaded.files}
    if _SAMPLE not in loaded.files or not recorded:
        return 0
    from vault.loaders import arrays, parity

    rows = arrays.restore_sample(loaded.read(_SAMPLE), subject=_SAMPLE)
    expected = {
        method: arrays.restore_sample(loaded.read(path), subject=path) for method, path in recorded.items()
    }
    got = parity.outputs(model, rows)
    if "transform" in expected and "transform" not in got and "predict" in got:
        got["transform"] = got["predict"]
    different = parity.differing(expected, got)
    if int(different.sum()) > round(_known_to_differ(loaded) * len(different)):
        raise DigestMismatch(
            f"{loaded.reference} predicts {int(different.sum()):,} of {len(different):,} recorded rows "
            "otherwise.",
            subject=loaded.reference,
            hint="Its library may be another here: mvault load-test tries it as it was saved.",
        )
    return len(different)


def _known_to_differ(loaded: LoadedPackage) -> float:
    """Give the largest fraction of rows that was known to differ when the version was saved."""
    told = loaded.metadata.get("parity")
    found: Iterator[Any] = (
        value.get("differing")
        for value in (told.values() if isinstance(told, dict) else ())
        if isinstance(value, dict)
    )
    return max((float(value) for value in found if isinstance(value, int | float)), default=0.0)


class _Nowhere:
    def write(self, data: bytes | bytearray | memoryview) -> None:
        """Drop what was decrypted."""
