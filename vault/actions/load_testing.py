"""Test whether a version loads in a fresh environment and predicts what was recorded; sign what came of it.

This process verifies and decrypts. The environment gets plaintext, in a confined
process that has no key, no network and no files but its libraries.
"""

import math
import os
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from vault.actions import (
    attesting,
    auditing,
    fetching,
    load_test_environment,
    load_test_package,
    load_test_process,
    needed,
    resolving,
)
from vault.actions.auditing import Act
from vault.actions.load_test_environment import AUTO, Installer, Installing
from vault.actions.load_test_package import Tested
from vault.actions.load_test_process import Bounds, Difference, Ended, Expected
from vault.actions.session import Session
from vault.core import admission, attestation, limits, requirements
from vault.core.attestation import Attestation
from vault.core.names import Digest, Reference
from vault.core.requirements import Against, Pin
from vault.core.stages import Verified
from vault.errors import FormatRefused, VaultError
from vault.loaders import parity

MEMORY: Final = 8 * limits.GIB
SECONDS: Final = 300
_GIVEN: Final = "given"  # by whoever tests; see `LoadTest.pinned`
_PUBLISHED: Final = "published"
_ATTESTED: Final = "attested"
_RESOLVED: Final = "resolved"


@dataclass(frozen=True, slots=True)
class Options:
    """How to test; see `Vault.load_test`."""

    wheels: Path | None = None
    requirements: Path | None = None
    rtol: float = parity.RELATIVE
    atol: float | None = None
    record: bool | None = None
    repin: bool = False
    installer: str = AUTO
    memory: int = MEMORY
    seconds: int = SECONDS
    install_seconds: int = 1_800
    unsafe_no_sandbox: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadTest:
    """What came of a load test.

    `passed` is None where the test could not be made; `detail` then says why. `reason` is `load`,
    `predict`, `differs`, `stopped` or `answer`. `pinned` tells where the hashes of the environment
    come from: `published` with the version, `attested` by an earlier test, `given`, or `resolved`
    just now; `lock` are its requirements, as pip reads them. `rows` is how many recorded rows were
    compared: 0 where none were recorded. Times are in seconds. `changes` tell where libraries differ
    from those that the version was saved with. `attestation` is the digest of what was signed.
    """

    reference: Reference
    digest: str
    against: str | None
    passed: bool | None
    reason: str | None
    detail: str
    python: str
    platform: str
    installer: str
    pinned: str
    libraries: Mapping[str, str]
    requirements: str
    lock: str
    rows: int
    differing: int
    tolerated: int
    rtol: float
    atol: float | None
    differences: tuple[Difference, ...]
    changes: tuple[str, ...]
    warnings: tuple[str, ...]
    install_seconds: float
    load_seconds: float
    predict_seconds: float
    landlock: int
    seccomp: bool
    attestation: str | None
    already: bool


def test(
    session: Session, reference: Reference, against: Sequence[Against | None], options: Options
) -> list[LoadTest]:
    """Test a version as it was recorded (None), or against other versions, in an environment for each.

    What was tested as recorded is signed, unless `options.record` is False; what
    was tested against other versions only where it is True.

    Raises:
        AccessDenied: this identity may not load it there, or not sign what comes of the test.
        Refused: the version does not verify, or an archive is another than was pinned.
        Unavailable: `load-test-impossible`, where it is tested as it was recorded.
        NotFound, NoUsableKey, MissingLibrary, ValueError.
    """
    attestation.check_fraction(options.rtol)
    if options.atol is not None:
        attestation.check_fraction(options.atol)
    environment = resolving.environment_of(session, reference)
    # A test is a load, and recorded as one; what is signed in the end is recorded as a test.
    with auditing.acting(session, "load", reference, environment) as act:
        signs = [_signs(one, options) for one in against]
        tested = _open(session, reference, act, signs=any(signs))
        found = []
        for done, (one, sign) in enumerate(zip(against, signs, strict=True)):
            session.progress(done, len(against), f"testing {tested.verified.subject} {one or ''}".strip())
            found.append(_Run(session, tested, one, options).run(sign=sign))
        session.progress(len(against), len(against), f"testing {tested.verified.subject}")
        return found


def unsigned(session: Session, verified: Verified, options: Options) -> LoadTest:
    """Test a version as it was recorded, for who may sign nothing: a recovery drill.

    Raises:
        Refused, NotFound, Unavailable: as `test`.
    """
    tested = load_test_package.open_package(session, verified)
    return _Run(session, tested, None, options).run(sign=False)


def _signs(against: Against | None, options: Options) -> bool:
    return options.record is True or (options.record is None and against is None)


def _open(session: Session, reference: Reference, act: Act, *, signs: bool) -> Tested:
    environment = resolving.environment_of(session, reference)
    with fetching.looking(session, reference, environment, "test") as look:

        def opened() -> Tested:
            resolved = session.resolve(environment)
            key_id = Digest(session.identity.key_id)
            authorised = admission.authorise(resolved, key_id, "load", reference.model)
            if signs:
                attesting.authorise(session, resolved, reference.model)
            testing = replace(authorised, action=attesting.TEST)
            fetching.authorised(session, testing)
            auditing.demand(act, resolved)
            verified = resolving.find_authorised(session, testing, reference).verified
            act.learn(verified)
            return load_test_package.open_package(session, verified)

        return look.attempt(opened)


class _Run:
    """One test of one version."""

    def __init__(self, session: Session, tested: Tested, against: Against | None, options: Options) -> None:
        self._session = session
        self._tested = tested
        self._against = against
        self._options = options
        self._version = ""
        self._installing = Installing(options.installer, options.wheels, options.install_seconds)

    def run(self, *, sign: bool) -> LoadTest:
        """Make the environment, have the model tried there, and sign what came of it.

        Raises:
            As `test`.
        """
        try:
            return self._run(sign=sign)
        except VaultError as error:
            if self._against is None or error.code != "load-test-impossible":
                raise
            return self._told(Ended(None, error.message), None, (), "", "", 0.0, passed=None)

    def _run(self, *, sign: bool) -> LoadTest:
        with tempfile.TemporaryDirectory(prefix="mvault-load-test-") as folder:
            started = time.monotonic()
            interpreter = load_test_environment.interpreter_for(self._python())
            environment = load_test_environment.make(Path(folder), interpreter, self._installing)
            installer = Installer(environment, self._installing)
            pins, pinned = self._pins(installer)
            installer.install(pins)
            took = time.monotonic() - started
            try:
                head, parts = load_test_package.job(self._session, self._tested, self._used(pins))
            except FormatRefused as refusal:
                if refusal.code != "libraries-differ":
                    raise
                ended = Ended(attestation.LOAD, f"The vault would refuse it: {refusal.message}")
            else:
                ended = load_test_process.run(environment, head, parts, self._expected(), self._bounds())
        digest = None
        already = False
        # Of the environment itself the process is not asked: its libraries might answer.
        self._version = load_test_environment.version_of(interpreter)
        if sign:
            digest, already = self._sign(ended, pins)
        told = self._told(ended, digest, pins, pinned, installer.name, took, passed=ended.reason is None)
        return replace(told, already=already)

    def _python(self) -> str | None:
        """Give the version of Python to test with: that which was recorded, unless another is asked for."""
        against = self._against
        if against is not None and (against.here or against.python):
            return against.python
        return self._tested.python

    def _pins(self, installer: Installer) -> tuple[tuple[Pin, ...], str]:
        """Pin what the environment is made of, with hashes; tell where they come from.

        Raises:
            NotFound: `load-test-impossible`: nothing was recorded.
            Refused, Unavailable, ValueError.
        """
        tested, against, options = self._tested, self._against, self._options
        if against is not None:
            lines, alone = tested.wanted(against)
            return installer.resolve(lines, alone=alone), _RESOLVED
        if options.requirements is not None:
            lock = needed.read(options.requirements)
            needed.agree(lock, tested.pins, str(options.requirements))
            return self._hashed(installer, lock), _GIVEN
        if tested.pins and requirements.is_hashed(tested.pins):
            return tested.pins, _PUBLISHED
        lock = () if options.repin else self._attested()
        if lock:
            return lock, _ATTESTED
        return self._hashed(installer, tested.recorded()), _RESOLVED

    def _attested(self) -> tuple[Pin, ...]:
        """Give what an earlier test pinned, unless the version itself says otherwise.

        Raises:
            Refused, Unavailable.
        """
        verified = self._tested.verified
        lock = attesting.locked(self._session, verified, attesting.of(self._session, verified))
        try:
            needed.agree(lock, self._tested.pins, "An earlier test")
        except ValueError:
            return ()
        return lock

    def _hashed(self, installer: Installer, pins: tuple[Pin, ...]) -> tuple[Pin, ...]:
        """Give every pin hashes, of the wheels in the folder where there is one, else as a resolver tells."""
        if self._options.wheels is not None:
            pins = needed.from_folder(pins, self._options.wheels)
        if requirements.is_hashed(pins):
            return pins
        found = installer.resolve([entry.line.split(" ")[0] for entry in pins], alone=True)
        return tuple(
            entry if entry.hashes else fresh
            for entry, fresh in zip(pins, found, strict=True)
            if entry.name == fresh.name
        )

    def _used(self, pins: tuple[Pin, ...]) -> Mapping[str, str]:
        """Give the libraries that admission compares; against others the test tells, and not a rule."""
        if self._against is not None:
            return self._tested.libraries
        return load_test_package.recorded_as({entry.name: entry.version for entry in pins})

    def _expected(self) -> Expected:
        tested = self._tested
        rows = max((len(values) for values in tested.outputs.values()), default=0)
        tolerated = min(rows, math.ceil(tested.parity * rows))
        return Expected(tested.outputs, self._options.rtol, self._options.atol, tolerated)

    def _bounds(self) -> Bounds:
        return Bounds(self._options.memory, self._options.seconds, self._options.unsafe_no_sandbox)

    # --- what came of it ---

    def _sign(self, ended: Ended, pins: tuple[Pin, ...]) -> tuple[str | None, bool]:
        """Sign what came of the test, unless this identity's word says the same already."""
        session, verified = self._session, self._tested.verified
        resolved = verified.authorised.resolved
        atol = self._options.atol
        record = Attestation(
            vault=resolved.context.vault,
            policy=resolved.context.policy_id,
            model=verified.manifest.model,
            version=verified.manifest.version,
            manifest=verified.digest,
            created=session.now(),
            passed=ended.reason is None,
            reason=ended.reason,
            python=self._version,
            platform=load_test_package.this_platform(),
            libraries={entry.name: entry.version for entry in pins},
            requirements=requirements.digest(pins),
            rows=ended.rows,
            differing=ended.differing,
            tolerated=self._expected().tolerated,
            rtol=attestation.check_fraction(self._options.rtol),
            atol=None if atol is None else attestation.check_fraction(atol),
            against=None if self._against is None else str(self._against),
        )
        word = attesting.mine(session, attesting.of(session, verified), resolved)
        if record.passed and word is not None and replace(word, created="") == replace(record, created=""):
            return None, True
        return attesting.write(session, resolved.rule.name, record, pins), False

    def _told(
        self,
        ended: Ended,
        digest: str | None,
        pins: tuple[Pin, ...],
        pinned: str,
        installer: str,
        took: float,
        *,
        passed: bool | None,
    ) -> LoadTest:
        tested, options = self._tested, self._options
        libraries = {entry.name: entry.version for entry in pins}
        manifest = tested.verified.manifest
        return LoadTest(
            reference=Reference(manifest.model, version=manifest.version),
            digest=f"sha256:{tested.verified.digest}",
            against=None if self._against is None else str(self._against),
            passed=passed,
            reason=ended.reason,
            detail=ended.detail,
            python=self._version,
            platform=load_test_package.this_platform(),
            installer=installer,
            pinned=pinned,
            libraries=libraries,
            requirements=f"sha256:{requirements.digest(pins)}" if pins else "",
            lock=requirements.encode(pins).decode("ascii"),
            rows=ended.rows,
            differing=ended.differing,
            tolerated=self._expected().tolerated,
            rtol=options.rtol,
            atol=options.atol,
            differences=ended.differences,
            changes=_changes(
                {**tested.libraries, **{pin.name: pin.version for pin in tested.pins}}, libraries
            ),
            warnings=ended.warnings,
            install_seconds=round(took, 3),
            load_seconds=ended.load_ms / 1_000,
            predict_seconds=ended.predict_ms / 1_000,
            landlock=ended.level.landlock,
            seccomp=ended.level.seccomp,
            attestation=None if digest is None else f"sha256:{digest}",
            already=False,
        )


def _changes(saved: Mapping[str, str], used: Mapping[str, str]) -> tuple[str, ...]:
    return tuple(
        f"{name} {saved[name]} → {version}"
        for name, version in used.items()
        if name in saved and saved[name] != version
    )


def options_of(
    *,
    wheels: str | os.PathLike[str] | None = None,
    requirements: str | os.PathLike[str] | None = None,
    **more: object,
) -> Options:
    """Read the options of `Vault.load_test`.

    Raises:
        TypeError: there is no such option.
    """
    return Options(
        wheels=None if wheels is None else Path(wheels).absolute(),
        requirements=None if requirements is None else Path(requirements),
        **more,  # type: ignore[arg-type]
    )
