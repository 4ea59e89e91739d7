"""Decide whether a file may be deserialized: the numbered steps of docs/format.md, "Admission".

    step                                                        here
    1   a record of the attempt, where the environment asks     actions (`auditing`)
    2   memory, root, policy, era, freshness                    `resolve`
    3   this caller may do this, before any key is touched      `authorise`
    4   the channel record in force, or the rule for a version  `channels`
    5   the manifest: digest, then signatures, then parsed      `verify`
    6   what the environment requires                           `require`
    7   the sealing record, sizes against limits                `seal`
    8   plaintext: metadata first, then the files needed        `open_package`, `check_plaintext`
    9   format: manifest = content = extension; libraries       `admit`
    10  static stage, pins, the operator's allowance            `admit`
    11  deserialize those same bytes                            loaders, from an `Admitted` only
    12  a record of the outcome                                 actions

Each step takes the previous one's result, so none can be left out. A failure
is final: nothing weaker is tried. `actions/load.py` does the reading between.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final

from vault.core import (
    attestation,
    formats,
    heads,
    in_force,
    manifest,
    memory_format,
    names,
    policy,
    publishing,
    static_stage,
)
from vault.core.allowance import Allowance
from vault.core.attestation import Attestation
from vault.core.in_force import Context, Signed
from vault.core.manifest import FileEntry
from vault.core.memory_format import Mark, Memory
from vault.core.names import Digest, Environment, Model
from vault.core.policy import EnvironmentRule, Policy, PolicyId
from vault.core.records import SealingRecord
from vault.core.stages import Authorised, Opened, Resolved, Sealed, Target, Verified
from vault.core.trust import Skipped, TrustedRoot
from vault.errors import (
    AccessDenied,
    DigestMismatch,
    Expired,
    FormatRefused,
    Malformed,
    NotFound,
    Refused,
    Rollback,
)

_ADMITTED_HERE: Final = object()
NO_PROOFS: Final = in_force.Proofs()
IN_MEMORY: Final = ("load", "test")  # actions that hold a whole file in memory
DAY: Final = 86_400
CLOCK_SKEW: Final = heads.CLOCK_SKEW


@dataclass(frozen=True, slots=True)
class Admitted:
    """Steps 9 and 10 held for these very bytes: what a loader takes. Only `admit` builds one."""

    path: str
    format: str
    data: memoryview  # read-only, verified
    sha256: bytes
    pins: frozenset[str]
    subject: str
    built_by: object

    def __post_init__(self) -> None:
        """Refuse to exist unless `admit` said so.

        Raises:
            TypeError: somebody else builds one.
        """
        if self.built_by is not _ADMITTED_HERE:
            raise TypeError("Admitted is built by core/admission.py alone.")


def resolve(
    trusted: TrustedRoot,
    found: tuple[Policy, PolicyId],
    environment: Environment,
    remembered: Memory,
    now: int,
    proofs: in_force.Proofs = NO_PROOFS,
) -> Resolved:
    """Step 2: the root and policy are current, and know the environment.

    `remembered` is this client's memory from before the store was read; `now`
    is in seconds since 1970.

    Raises:
        Rollback: root or policy are older than, or other than, what is remembered
            (`rollback`), or the policy was made under a newer root (`withheld`).
        Expired: root or policy are past their expiry.
        NotFound: there is no such environment.
    """
    current, current_id = found
    memory_format.check(remembered, trust_seen(trusted, current_id))
    newest = trusted.root.version
    if current.root_version > newest or (
        current.root_version == newest and current.root_digest != trusted.digest
    ):
        raise Rollback(
            f"The policy names a root {current.root_version} that the store does not offer: it has {newest}.",
            code="withheld",
            subject="root",
        )
    for what, expires in (("root", trusted.root.expires), ("policy", current.expires)):
        if expires is not None and names.timestamp(expires) <= now:
            raise Expired(
                f"The {what} expired on {expires[:10]}.",
                subject=what,
                hint="Its root holders must renew it.",
            )
    rule = current.environments.get(environment)
    if rule is None:
        known = ", ".join(sorted(current.environments))
        raise NotFound(
            f"There is no environment {environment}.", subject=environment, hint=f"There are: {known}."
        )
    counting = memory_format.in_era(remembered, current.era)
    context = Context(trusted.vault, current, current_id, proofs)
    return Resolved(context, rule, counting, trusted.root.expires)


def trust_seen(trusted: TrustedRoot, policy_id: PolicyId) -> Memory:
    """Give what memory keeps of a root and a policy that are in force."""
    return Memory(
        trusted.vault,
        root=Mark(0, trusted.root.version, trusted.digest),
        policy=Mark(policy_id.era, policy_id.version, policy_id.digest),
    )


def authorise(resolved: Resolved, key_id: Digest | None, action: str, model: Model) -> Authorised:
    """Step 3: the holder of this key may do this, decided before any key is touched.

    Raises:
        AccessDenied: the key is unknown, revoked or retired, or no rule allows it.
    """
    current = resolved.context.policy
    environment = resolved.rule.name
    subject = f"{model}@{environment}"
    member = current.holder(key_id) if key_id is not None else None
    if member is None or key_id not in current.counting_keys():
        raise AccessDenied(
            "This identity is not in the vault's policy, or is no longer.",
            subject=subject,
            hint="Ask the vault's owner to add it, or choose another: MVAULT_IDENTITY, --identity.",
        )
    decision = policy.decide(current, member.name, action, model, environment)
    if not decision.allowed:
        raise AccessDenied(
            f"{member.name} may not {action} {model} in {environment}: {decision.reason}.",
            subject=subject,
            hint="A policy change by the vault's owner can allow it.",
        )
    return Authorised(resolved, member, action, model)


# --- steps 5 to 8 ---


def verify(
    authorised: Authorised, target: Target, data: bytes, adopted: publishing.Adopted = publishing.nobody
) -> Verified:
    """Step 5: digest as the record names it, signed by every listed publisher, each authorised.

    `adopted` gives the adoptions of a digest; it is asked only where a publisher
    does not count any more.

    Raises:
        DigestMismatch, Unsigned, BadSignature, UntrustedSigner, Malformed, Rollback.
    """
    context = authorised.resolved.context
    subject = f"{authorised.model}:{target.version}"
    signed = publishing.attribute(context, data, subject, adopted)
    digest = signed.envelope.digest
    if target.manifest is not None and digest != target.manifest:
        raise DigestMismatch(
            f"{subject} is not the one that {authorised.resolved.rule.name} names: its manifest differs.",
            subject=subject,
            hint="Restore it from a backup. Nothing was loaded.",
        )
    found = manifest.parse(signed.envelope.payload, subject)
    if (found.vault, found.model, found.version) != (context.vault, authorised.model, target.version):
        raise DigestMismatch(
            f"{subject} is genuine but belongs elsewhere: it is {found.model}:{found.version} "
            f"of vault {found.vault[:12]}….",
            code="misplaced",
            subject=subject,
        )
    here = authorised.resolved.rule.name if target.via is None and target.open else None
    publishers = publishing.publishers(context, found, signed, adopted, here)
    in_force.check_policy(context, found.policy, subject)  # who may not publish cannot stop a load by it
    return Verified(authorised, target, found, digest, publishers)


def require(verified: Verified, now: int) -> None:
    """Step 6: formats and age; `tested` and `fresh` are the parts of it that need more to be read.

    Raises:
        FormatRefused: no model file of the package has a format that is allowed here.
        Expired: the package is older than the environment accepts, or is dated in the future where
            an age is asked for.
    """
    rule = verified.authorised.resolved.rule
    asked = rule.require
    models = [entry for entry in verified.manifest.files if entry.role == "model"]
    if models and not any(entry.format in rule.formats for entry in models):
        raise FormatRefused(
            f"{verified.subject} is {', '.join(sorted({entry.format for entry in models}))}; "
            f"{rule.name} allows {', '.join(rule.formats) or 'nothing'}.",
            subject=verified.subject,
            hint="Publish it in an allowed format, or have the policy changed.",
        )
    if asked.max_age_days is not None:
        age = now - names.timestamp(verified.manifest.created)
        if age > asked.max_age_days * DAY:
            raise Expired(
                f"{verified.subject} is {age // DAY} days old; {rule.name} accepts {asked.max_age_days}.",
                subject=verified.subject,
            )
        if age < -CLOCK_SKEW:  # its publisher chose the date: in the future, it would stay young for long
            raise Expired(
                f"{verified.subject} is dated {names.day_text(verified.manifest.created)}, which is to come; "
                f"{rule.name} accepts {asked.max_age_days} days of age.",
                subject=verified.subject,
                hint="Compare the clocks here and where it was published, then publish it again.",
            )


def tested(verified: Verified, attestations: Iterable[Signed[Attestation]]) -> None:
    """Part of step 6 where a load test is asked for: the newest word of some tester is that it passed.

    Raises:
        Refused: `not-tested`.
    """
    rule = verified.authorised.resolved.rule
    found = tuple(attestations)
    if not rule.require.load_test or attestation.passed(found) is not None:
        return
    raise Refused(
        f"{verified.subject} has passed no load test that counts, and {rule.name} asks for one"
        f"{attestation.failures(found)}.",
        code="not-tested",
        subject=verified.subject,
        hint=f"Whoever may test it runs: mvault load-test {verified.subject}",
    )


def check_stored(rule: EnvironmentRule, path: str, format: str, subject: str) -> None:
    """Part of step 6 for what is published or pulled: a file that can run code, whatever role it is given.

    A pulled model is as good as a loaded one, and a role is only its publisher's word.

    Raises:
        FormatRefused: the environment does not allow its format.
    """
    known = formats.FORMATS.get(format)
    if known is not None and known.needs_allowance and format not in rule.formats:
        raise FormatRefused(
            f"{subject} {path} is {format}, which can run code; {rule.name} allows "
            f"{', '.join(rule.formats) or 'nothing'}.",
            subject=subject,
            hint="Publish it in an allowed format, or have the policy changed.",
        )


def fresh(verified: Verified, *, held: bool) -> None:
    """Part of step 6 for what is loaded or pulled: the environment's heads have not lapsed, as it asks.

    `held` tells that this client knew the channel to be as it is now.

    Raises:
        Expired: `heads-expired`.
    """
    resolved, action = verified.authorised.resolved, verified.authorised.action
    state = resolved.freshness
    if state is None or state.fresh or action not in ("load", "pull"):
        return
    if state.mode == heads.REFUSE or (state.holds_only_what_was_seen and not held):
        held_only = ", unless this client has used it before" if state.holds_only_what_was_seen else ""
        raise Expired(
            f"{verified.subject} may not be the newest: {state.lapse}, and {resolved.rule.name} refuses "
            f"what may be old{held_only}.",
            code="heads-expired",
            subject=verified.subject,
            hint=f"Somebody who may attest {resolved.rule.name} runs: mvault renew",
        )


def seal(
    verified: Verified,
    judged: Iterable[Signed[SealingRecord] | Skipped],
    allowance: Allowance,
) -> Sealed:
    """Step 7: the newest sealing record of this manifest, complete, and within the operator's limits.

    Raises:
        NotFound: there is none.
        DigestMismatch: it does not fit the manifest.
        Malformed: a file is larger than the operator allows (`too-large`).
    """
    record = next((entry.record for entry in judged if isinstance(entry, Signed)), None)
    subject = verified.subject
    if record is None:
        raise NotFound(f"{subject} has no sealing record, so its files cannot be found.", subject=subject)
    files = verified.manifest.files
    if [entry.path for entry in record.files] != [entry.path for entry in files]:
        raise DigestMismatch(f"{subject}: the sealing record lists other files.", subject=subject)
    for entry, stored in zip(files, record.files, strict=True):
        if entry.size != stored.plain_size:
            raise DigestMismatch(
                f"{subject}: {entry.path} is sealed with another size than was signed.",
                code="size-mismatch",
                subject=subject,
            )
        if entry.size > allowance.max_bytes and verified.authorised.action in IN_MEMORY:
            raise Malformed(
                f"{subject}: {entry.path} has {entry.size:,} bytes; the limit is {allowance.max_bytes:,}.",
                code="too-large",
                subject=subject,
            )
    return Sealed(verified, record)


def open_package(sealed: Sealed, metadata: bytes | memoryview) -> Opened:
    """Step 8, first half: `metadata.json` is what was signed, and tells of every other file.

    Raises:
        DigestMismatch, Malformed.
    """
    signed = sealed.verified.manifest
    subject = sealed.verified.subject
    found = manifest.parse_metadata(metadata, signed.metadata, subject)
    if {*found.files, manifest.METADATA} != {entry.path for entry in signed.files}:
        raise Malformed(f"{subject}: metadata.json and the manifest list different files.", subject=subject)
    return Opened(sealed, found)


def check_plaintext(opened: Opened, entry: FileEntry, size: int, sha256: bytes) -> None:
    """Step 8, second half: one file's plaintext is what was signed, by the digest of its one hash pass.

    Raises:
        DigestMismatch: `size-mismatch` or `digest-mismatch`.
    """
    manifest.check_file(entry, opened.metadata, size, sha256, opened.sealed.verified.subject)


# --- steps 9 and 10 ---


def admit(
    opened: Opened,
    entry: FileEntry,
    data: memoryview,
    sha256: bytes,
    allowance: Allowance,
    libraries: Mapping[str, str],
) -> Admitted:
    """Steps 8 to 10 for one file: its bytes are what was signed, and nothing in them exceeds the allowance.

    `sha256` is the digest of `data`, computed while it was decrypted;
    `libraries` are the installed versions.

    Raises:
        DigestMismatch, FormatRefused, PickleRefused, Malformed.
    """
    verified = opened.sealed.verified
    check_plaintext(opened, entry, len(data), sha256)
    rule = verified.authorised.resolved.rule
    subject = f"{verified.subject} {entry.path}"
    if entry.format not in rule.formats:
        raise FormatRefused(
            f"{subject} is {entry.format}; {rule.name} allows {', '.join(rule.formats) or 'nothing'}.",
            subject=verified.subject,
        )
    static_stage.check_libraries(
        entry.format, opened.metadata.libraries, libraries, strict=rule.require.libraries, subject=subject
    )
    pins = frozenset(opened.metadata.files[entry.path].pins)
    static_stage.check(entry.path, entry.format, data, pins, allowance, subject)
    return Admitted(
        entry.path, entry.format, data.toreadonly(), sha256, pins, verified.subject, _ADMITTED_HERE
    )
