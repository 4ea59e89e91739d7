"""Attestations: what a tester's key says came of a load test (docs/format.md, "Attestations").

A tester is whoever may `test` a model somewhere. Of one tester's attestations of
a manifest the newest is their word; what was tested against other versions than
those that were recorded is no word about the version as it is.
"""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final

from vault.core import beside, in_force, limits, names, requirements, strict_json
from vault.core.fields import Fields, malformed, one_of, time
from vault.core.in_force import Context, Signed
from vault.core.manifest import policy_value, read_policy
from vault.core.names import Digest, Model, Principal, Version
from vault.core.policy import PolicyId
from vault.core.trust import Skipped
from vault.errors import DigestMismatch, Malformed, Refused

KIND: Final = "attestation"
ACTION: Final = "test"  # what a signer must be allowed in some environment
LOAD_TEST: Final = "load-test"
# Why a test did not pass: the model did not load or predict, predicted otherwise, or its process
# was stopped or gave no answer that can be read.
LOAD: Final = "load"
PREDICT: Final = "predict"
DIFFERS: Final = "differs"
STOPPED: Final = "stopped"
ANSWER: Final = "answer"
REASONS: Final = (LOAD, PREDICT, DIFFERS, STOPPED, ANSWER)

_TEXT_CHARS: Final = 200


@dataclass(frozen=True, slots=True, kw_only=True)
class Attestation:
    """The outcome of one load test of one manifest, in an environment made for it alone.

    `rows` is how many recorded rows were predicted and compared, `differing` how many came out
    otherwise than the tolerance allows, `tolerated` how many may. A row's number may differ by
    `rtol` of what was recorded and by `atol`, or, where that is None, by 1e-5 of the spread of all
    that was recorded. `requirements` is the digest of what the environment was made of.
    """

    vault: Digest
    policy: PolicyId
    model: Model
    version: Version
    manifest: Digest
    created: str
    passed: bool
    reason: str | None  # one of `REASONS`; None where it passed
    python: str
    platform: str
    libraries: Mapping[str, str]  # distribution → version
    requirements: Digest
    rows: int
    differing: int
    tolerated: int
    rtol: str
    atol: str | None
    against: str | None  # what was tested in place of what was recorded


def encode(record: Attestation) -> bytes:
    """Write the payload of an attestation."""
    return strict_json.encode(
        {
            "against": record.against,
            "created": record.created,
            "differing": record.differing,
            "libraries": dict(record.libraries),
            "manifest": record.manifest,
            "model": record.model,
            "passed": record.passed,
            "platform": record.platform,
            "policy": policy_value(record.policy),
            "predicate": LOAD_TEST,
            "python": record.python,
            "reason": record.reason,
            "requirements": record.requirements,
            "rows": record.rows,
            "tolerance": {"atol": record.atol, "rows": record.tolerated, "rtol": record.rtol},
            "vault": record.vault,
            "version": record.version,
        }
    )


def parse(payload: bytes, subject: str) -> Attestation:
    """Parse the payload of an attestation, after its signature was checked.

    Raises:
        Malformed: a field is missing, unknown or of another shape, or two of them contradict each other.
    """
    fields = Fields(strict_json.parse(payload, subject=subject), subject)
    fields.text("predicate", one_of(LOAD_TEST))
    tolerance = fields.object("tolerance", _tolerance)
    record = Attestation(
        vault=fields.text("vault", names.digest),
        policy=fields.object("policy", read_policy),
        model=fields.text("model", names.model),
        version=fields.text("version", names.version),
        manifest=fields.text("manifest", names.digest),
        created=fields.text("created", time),
        passed=fields.boolean("passed"),
        reason=fields.optional("reason", one_of(*REASONS)),
        python=fields.text("python", _short),
        platform=fields.text("platform", _short),
        libraries=_libraries(fields),
        requirements=fields.text("requirements", names.digest),
        rows=fields.integer("rows"),
        differing=fields.integer("differing"),
        tolerated=tolerance[0],
        rtol=tolerance[1],
        atol=tolerance[2],
        against=fields.optional("against", _against),
    )
    fields.done()
    if record.passed != (record.reason is None):
        raise malformed(subject, "a test passes, or there is a reason why not")
    if record.differing > record.rows or (record.passed and record.differing > record.tolerated):
        raise malformed(subject, "more rows differ than there are, or than a test that passed may have")
    return record


def _tolerance(fields: Fields) -> tuple[int, str, str | None]:
    return fields.integer("rows"), fields.text("rtol", fraction), fields.optional("atol", fraction)


def fraction(text: str) -> str:
    """Accept a number of at least 0 as Python spells a float, and keep it as it was written.

    Raises:
        Malformed: `malformed-document`.
    """
    try:
        value = float(text) if len(text) <= _TEXT_CHARS else math.nan
    except ValueError:
        value = math.nan
    if not math.isfinite(value) or value < 0 or repr(value) != text:
        raise malformed("A tolerance", "it is a number of at least 0, in its shortest spelling")
    return text


def _against(text: str) -> str:
    if str(requirements.parse_against(text)) != text:
        raise malformed("A field", "what was tested against is spelled in one way")
    return text


def _short(text: str) -> str:
    if not text or len(text) > _TEXT_CHARS or not text.isprintable():
        raise malformed("A field", f"it is a text of at most {_TEXT_CHARS} characters")
    return text


def _libraries(fields: Fields) -> dict[str, str]:
    found = {}
    for name, version in fields.mapping("libraries", str, limits.REQUIREMENTS).items():
        if not isinstance(version, str):
            raise malformed(fields.what, "versions of libraries are strings")
        entry = requirements.pin(name, version)
        if entry.name != name:
            raise malformed(fields.what, "names of libraries are spelled in one way")
        found[name] = version
    return found


# --- which count ---


def judge(
    context: Context, model: Model, version: Version, manifest: Digest, data: bytes, subject: str
) -> Signed[Attestation] | Skipped:
    """Judge one attestation of `manifest`; only principals who may `test` the model somewhere count.

    A service may: what it signs is what a machine saw, and nobody's consent.

    Raises:
        Rollback: `withheld`.
    """
    try:
        signed = in_force.attribute(context, data, KIND, subject)
        record = parse(signed.envelope.payload, subject)
        named = (record.vault, record.model, record.version, record.manifest)
        beside.check_about(named, (context.vault, model, version, manifest), subject)
        signers = beside.signers_somewhere(context, signed, ACTION, model, subject)
    except Refused as refusal:
        return Skipped(subject, refusal.message, refusal.code)
    in_force.check_policy(context, record.policy, subject)
    return Signed(record, signed.envelope.digest, signers)


def words(attestations: Iterable[Signed[Attestation]]) -> dict[Principal, Signed[Attestation]]:
    """Give each tester's word about a version as it is: their newest attestation of it.

    Of two that are as old, one that did not pass is the word.
    """
    found: dict[Principal, Signed[Attestation]] = {}
    for entry in attestations:
        if entry.record.against is not None:
            continue
        for signer in entry.signers:
            known = found.get(signer)
            if known is None or _order(known) < _order(entry):
                found[signer] = entry
    return found


def failures(attestations: Iterable[Signed[Attestation]]) -> str:
    """Tell for whom, and when, a version did not pass; nothing where nobody says so."""
    said = [
        f"for {who} it did not pass on {names.day_text(entry.record.created)}"
        for who, entry in sorted(words(attestations).items())
        if not entry.record.passed
    ]
    return "".join(f"{': ' if place == 0 else '; '}{text}" for place, text in enumerate(said))


def _order(entry: Signed[Attestation]) -> tuple[int, bool, str]:
    return names.timestamp(entry.record.created), not entry.record.passed, entry.digest


def passed(attestations: Iterable[Signed[Attestation]]) -> Signed[Attestation] | None:
    """Give the newest word of a tester that a version passed; None where no tester says so today."""
    good = [entry for entry in words(attestations).values() if entry.record.passed]
    return max(good, key=_order, default=None)


def lock(data: bytes, expected: Digest, subject: str) -> tuple[requirements.Pin, ...]:
    """Read the requirements that an attestation names.

    Raises:
        DigestMismatch: they are others.
        Malformed: they are not in their form.
    """
    pins = requirements.parse_canonical(data, subject)
    if requirements.digest(pins) != expected:
        raise DigestMismatch(f"{subject} differs from what a tester signed.", subject=subject)
    return pins


def check_fraction(value: float) -> str:
    """Spell a tolerance that a caller gave.

    Raises:
        ValueError: it is no number of at least 0.
    """
    try:
        return fraction(repr(float(value)))
    except Malformed as error:
        raise ValueError(error.message) from None
