"""The admission, step by step: each step takes the one before it, and each failure is final."""

import hashlib
from collections.abc import Callable
from dataclasses import fields, replace
from typing import Any

import pytest

from tests import attesting_parts, builders
from tests.builders import CHURN, DEV, NOW, PROD, Built
from vault.core import admission, envelope, manifest, memory_format, names, records
from vault.core import policy as policies
from vault.core.admission import Admitted
from vault.core.allowance import Allowance
from vault.core.in_force import Signed
from vault.core.manifest import METADATA, FileEntry, Manifest
from vault.core.memory_format import Mark, Memory
from vault.core.names import Digest, Environment, Principal, Version
from vault.core.policy import Policy, PolicyId, Requirements
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
    Unsigned,
    UntrustedSigner,
)

ONE = Version("1")
ANYWHERE = Target(ONE, None, None, open=False)


@pytest.fixture(scope="module")
def shared() -> Built:
    made = builders.team()
    made.publish(who="dora")
    return made


@pytest.fixture
def built(shared: Built) -> Built:
    return shared.fork()


# --- steps 1 and 2 ---


def resolve(built: Built, remembered: Memory | None = None, **change: Any) -> Resolved:
    """Resolve prod with a policy that was changed by `change`."""
    current = replace(
        built.policy, **{name: value for name, value in change.items() if name != "environment"}
    )
    return admission.resolve(
        built.trusted,
        (current, PolicyId(current.era, current.version, Digest("d" * 64))),
        change.get("environment", PROD),
        remembered or Memory(built.vault),
        NOW,
    )


def test_step_2_gives_the_environments_rule_and_what_was_known_before(built: Built) -> None:
    remembered = Memory(built.vault)
    resolved = resolve(built, remembered)
    assert resolved.rule.name == PROD
    assert resolved.remembered is remembered
    assert resolved.context.vault == built.vault


@pytest.mark.parametrize("what", ["root", "policy"])
@pytest.mark.parametrize("mark", [Mark(0, 10**9, "0" * 64), Mark(0, 1, "0" * 64), Mark(1, 1, "0" * 64)])
def test_step_2_refuses_a_root_or_policy_older_or_other_than_remembered(
    built: Built, what: str, mark: Mark
) -> None:
    if what == "policy" and mark.number == 1:
        mark = replace(mark, number=built.policy.version)
    remembered = Memory(built.vault, **{what: mark})  # type: ignore[arg-type]
    with pytest.raises(Rollback):
        resolve(built, remembered)


@pytest.mark.parametrize("named", [{"root_version": 2}, {"root_digest": Digest("e" * 64)}])
def test_step_2_refuses_a_policy_made_under_a_root_that_is_withheld(
    built: Built, named: dict[str, Any]
) -> None:
    with pytest.raises(Rollback) as caught:
        resolve(built, **named)
    assert caught.value.code == "withheld"


def test_step_2_refuses_what_is_past_its_expiry_to_the_second(built: Built) -> None:
    for expires, holds in ((NOW, False), (NOW - 1, False), (NOW + 1, True)):
        text = names.time_text(expires)
        trusted = replace(built.trusted, root=replace(built.trusted.root, expires=text))
        found = (built.policy, built.policy_id)
        memory = Memory(built.vault)
        if holds:
            resolve(built, expires=text)
            admission.resolve(trusted, found, PROD, memory, NOW)
            continue
        with pytest.raises(Expired, match="The policy expired on 2026-11-23"):
            resolve(built, expires=text)
        with pytest.raises(Expired, match="The root expired"):
            admission.resolve(trusted, found, PROD, memory, NOW)


def test_step_2_knows_no_other_environment(built: Built) -> None:
    with pytest.raises(NotFound, match="There are: dev, prod, staging"):
        resolve(built, environment=Environment("qa"))


def demanding(built: Built, environment: Environment = PROD, **require: Any) -> dict[str, Any]:
    """Change the requirements of one environment."""
    before = built.policy.environments
    rule = before[environment]
    return {"environments": {**before, environment: replace(rule, require=replace(rule.require, **require))}}


def test_memory_keeps_root_and_policy(built: Built) -> None:
    seen = admission.trust_seen(built.trusted, built.policy_id)
    assert seen.root == Mark(0, 1, built.vault)
    assert seen.policy == Mark(0, built.policy.version, built.policy_id.digest)
    memory_format.check(seen, seen)


# --- step 3 ---


def authorise(
    built: Built, who: str, action: str = "load", env: Environment = PROD, model: str = "churn"
) -> Authorised:
    key_id = Digest(built.identities[who].key_id)
    return admission.authorise(built.session().resolve(env), key_id, action, names.model(model))


def test_step_3_is_decided_before_any_key_is_touched(built: Built) -> None:
    assert authorise(built, "server").member.name == "server"
    for who, action, env, model in (
        ("dora", "load", PROD, "churn"),
        ("server", "load", DEV, "churn"),
        ("server", "load", PROD, "fraud"),
        ("server", "pull", PROD, "churn"),
        ("owner", "promote", PROD, "churn"),
    ):
        with pytest.raises(AccessDenied, match=f"{who} may not {action}"):
            authorise(built, who, action, env, model)


def test_step_3_knows_no_stranger_and_no_revoked_key(built: Built) -> None:
    resolved = built.session().resolve(PROD)
    for key_id in (None, Digest("0" * 64)):
        with pytest.raises(AccessDenied, match="not in the vault's policy"):
            admission.authorise(resolved, key_id, "load", CHURN)

    def revoke(before: Policy) -> Policy:
        server = before.members[Principal("server")]
        keys = (replace(server.keys[0], revoked=True),)
        return replace(before, members={**before.members, server.name: replace(server, keys=keys)})

    built.amend(revoke)
    with pytest.raises(AccessDenied, match="or is no longer"):
        authorise(built, "server")


# --- step 5 ---

MANIFEST = "models/churn/@/1/manifest.json"


def verify(
    built: Built, data: bytes | None = None, target: Target = ANYWHERE, env: Environment = DEV
) -> Verified:
    found = built.store.objects[MANIFEST] if data is None else data
    return admission.verify(authorise(built, "owner", env=env), target, found)


def resign(built: Built, *who: str, **change: Any) -> bytes:
    """Sign the manifest of churn:1 anew, changed."""
    found = replace(built.manifest("churn:1")[0], **change)
    return built.sign(manifest.KIND, manifest.encode(found), *who)


def key_ids(built: Built, *who: str) -> tuple[Digest, ...]:
    return tuple(Digest(built.identities[name].key_id) for name in who)


def test_step_5_gives_the_manifest_and_its_publishers(built: Built) -> None:
    verified = verify(built)
    assert (verified.manifest, verified.digest) == built.manifest("churn:1")
    assert verified.publishers == ("dora",)
    assert verified.subject == "churn:1"


def test_step_5_wants_the_very_manifest_that_the_record_names(built: Built) -> None:
    digest = built.manifest("churn:1")[1]
    verify(built, target=Target(ONE, digest, None))
    with pytest.raises(DigestMismatch, match="its manifest differs"):
        verify(built, target=Target(ONE, Digest("0" * 64), None))
    with pytest.raises(DigestMismatch):
        verify(built, resign(built, "dora", created="2026-11-23T05:00:01Z"), Target(ONE, digest, None))


def test_step_5_compares_signatures_before_it_parses(built: Built) -> None:
    with pytest.raises(Unsigned):
        verify(built, built.sign(manifest.KIND, b"not JSON"))
    with pytest.raises(Malformed) as caught:
        verify(built, built.sign(manifest.KIND, b"not JSON", "dora"))
    assert caught.value.code == "malformed-json"


@pytest.mark.parametrize(
    "change",
    [{"vault": Digest("0" * 64)}, {"model": names.model("fraud")}, {"version": Version("2")}],
)
def test_step_5_refuses_a_genuine_manifest_of_something_else(built: Built, change: dict[str, Any]) -> None:
    with pytest.raises(DigestMismatch) as caught:
        verify(built, resign(built, "dora", **change))
    assert caught.value.code == "misplaced"


def test_step_5_refuses_a_manifest_made_under_a_policy_that_is_withheld(built: Built) -> None:
    with pytest.raises(Rollback) as caught:
        verify(built, resign(built, "dora", policy=PolicyId(0, 10**6, Digest("0" * 64))))
    assert caught.value.code == "withheld"


def test_step_5_wants_every_listed_publisher_each_authorised(built: Built) -> None:
    both = key_ids(built, "dora", "owner")
    assert verify(built, resign(built, "dora", "owner", publishers=both)).publishers == ("dora", "owner")
    with pytest.raises(UntrustedSigner, match="signature is missing"):
        verify(built, resign(built, "dora", publishers=both))
    with pytest.raises(UntrustedSigner, match="signature is missing"):
        verify(built, resign(built, "owner"))
    with pytest.raises(UntrustedSigner, match="does not know"):
        verify(built, resign(built, "dora", publishers=(Digest("0" * 64),)))
    with pytest.raises(UntrustedSigner, match="ann, who may not publish churn"):
        verify(built, resign(built, "dora", "ann", publishers=key_ids(built, "dora", "ann")))


def test_step_5_wants_publishers_of_this_environment_where_no_record_stands_in(built: Built) -> None:
    here = Target(ONE, None, None)
    verify(built, target=here)
    with pytest.raises(UntrustedSigner, match="may not publish churn in staging"):
        verify(built, target=here, env=Environment("staging"))
    record = Signed(built.record("churn:1", 1, env="staging"), Digest("0" * 64), ())
    verify(built, target=Target(ONE, None, record), env=Environment("staging"))


# --- step 6 ---


def with_rule(built: Built, verified: Verified, **require: Any) -> Verified:
    rule = verified.authorised.resolved.rule
    formats = require.pop("formats", rule.formats)
    changed = replace(rule, formats=formats, require=Requirements(**{**NOTHING, **require}))
    resolved = replace(verified.authorised.resolved, rule=changed)
    return replace(verified, authorised=replace(verified.authorised, resolved=resolved))


NOTHING = {entry.name: getattr(policies.NO_REQUIREMENTS, entry.name) for entry in fields(Requirements)}


def test_step_6_wants_a_load_test_that_passed_where_one_is_asked_for() -> None:
    built = attesting_parts.tested()
    admission.tested(verify(built), [])
    asked = with_rule(built, verify(built), load_test=True)
    with pytest.raises(Refused, match="passed no load test that counts, and dev asks for one") as caught:
        admission.tested(asked, [])
    assert caught.value.code == "not-tested"
    good, bad = (
        Signed(attesting_parts.word(built, **change), Digest("0" * 64), (Principal("tess"),))
        for change in ({}, attesting_parts.FAILED)
    )
    admission.tested(asked, iter([good]))
    with pytest.raises(Refused, match="for tess it did not pass on 23 November 2026"):
        admission.tested(asked, [bad])


def test_step_6_passes_what_only_warns(built: Built) -> None:
    admission.require(with_rule(built, verify(built), fresh="warn", libraries=True), NOW)


def test_step_6_wants_one_model_file_of_an_allowed_format(built: Built) -> None:
    verified = verify(built)
    admission.require(with_rule(built, verified, formats=("json",)), NOW)
    for formats, told in ((("onnx", "skops"), "dev allows onnx, skops"), ((), "dev allows nothing")):
        with pytest.raises(FormatRefused, match=told):
            admission.require(with_rule(built, verified, formats=formats), NOW)
    plain = tuple(replace(entry, role="file") for entry in verified.manifest.files)
    without = replace(verified, manifest=replace(verified.manifest, files=plain))
    admission.require(with_rule(built, without, formats=()), NOW)


def test_step_6_counts_the_age_in_days(built: Built) -> None:
    verified = with_rule(built, verify(built), max_age_days=2)
    admission.require(verified, NOW + 2 * admission.DAY)
    with pytest.raises(Expired, match="is 2 days old; dev accepts 2"):
        admission.require(verified, NOW + 2 * admission.DAY + 1)


def test_step_6_refuses_a_date_to_come_where_an_age_is_asked_for(built: Built) -> None:
    """A publisher who may choose the date could make a package that stays young for years."""
    verified = with_rule(built, verify(built), max_age_days=2)
    admission.require(verified, NOW - admission.CLOCK_SKEW)
    with pytest.raises(Expired, match="is dated 23 November 2026, which is to come") as caught:
        admission.require(verified, NOW - admission.CLOCK_SKEW - 1)
    assert caught.value.code == "expired"
    admission.require(with_rule(built, verify(built)), NOW - 1_000 * admission.DAY)


def test_step_6_asks_the_environment_about_every_stored_file_that_can_run_code(built: Built) -> None:
    rule = built.policy.environments[names.environment("dev")]
    for harmless in ("onnx", "text", "data", "a format of tomorrow"):
        admission.check_stored(rule, "a", harmless, "churn:1")
    with pytest.raises(FormatRefused, match="a is pickle, which can run code; dev allows skops"):
        admission.check_stored(rule, "a", "pickle", "churn:1")
    admission.check_stored(replace(rule, formats=("pickle",)), "a", "pickle", "churn:1")
    with pytest.raises(FormatRefused, match="allows nothing"):
        admission.check_stored(replace(rule, formats=()), "a", "keras", "churn:1")


# --- step 7 ---


def sealing(built: Built) -> SealingRecord:
    data = built.store.objects["models/churn/@/1/sealed/000001.json"]
    return records.parse_sealing(envelope.parse(data, kind=records.SEALING, subject="it").payload, "it")


def judged(record: SealingRecord) -> Signed[SealingRecord]:
    return Signed(record, Digest("0" * 64), ())


def test_step_7_takes_the_newest_record_that_counts(built: Built) -> None:
    verified, record = verify(built), sealing(built)
    newer = replace(record, number=2)
    junk = Skipped("x", "y", "malformed-json")
    sealed = admission.seal(verified, [junk, judged(newer), judged(record)], Allowance())
    assert sealed.sealing == newer


def test_step_7_finds_nothing_without_a_record(built: Built) -> None:
    with pytest.raises(NotFound, match="no sealing record"):
        admission.seal(verify(built), [Skipped("x", "y", "malformed-json")], Allowance())


def test_step_7_wants_exactly_the_files_of_the_manifest(built: Built) -> None:
    record = sealing(built)
    first = record.files[0]
    for files in (record.files[1:], (*record.files, replace(first, path=names.path("zzz")))):
        with pytest.raises(DigestMismatch, match="lists other files"):
            admission.seal(verify(built), [judged(replace(record, files=files))], Allowance())
    other_size = (replace(first, plain_size=first.plain_size + 1), *record.files[1:])
    with pytest.raises(DigestMismatch) as caught:
        admission.seal(verify(built), [judged(replace(record, files=other_size))], Allowance())
    assert caught.value.code == "size-mismatch"


def test_step_7_holds_sizes_against_the_operators_limit_before_a_load(built: Built) -> None:
    verified, record = verify(built), judged(sealing(built))
    largest = max(entry.size for entry in verified.manifest.files)
    admission.seal(verified, [record], Allowance(max_bytes=largest))
    with pytest.raises(Malformed) as caught:
        admission.seal(verified, [record], Allowance(max_bytes=largest - 1))
    assert caught.value.code == "too-large"
    pulling = replace(verified, authorised=replace(verified.authorised, action="pull"))
    admission.seal(pulling, [record], Allowance(max_bytes=1))


# --- step 8 ---


def opened(built: Built, ref: str = "churn:1") -> Opened:
    return built.open(ref).opened


def test_step_8_opens_the_metadata_that_was_signed(built: Built) -> None:
    found = opened(built)
    assert set(found.metadata.files) == {"model.json", "features.json"}
    for data in (b"", b"{}"):
        with pytest.raises(DigestMismatch):
            admission.open_package(found.sealed, data)


def test_step_8_refuses_metadata_that_tells_of_other_files_than_the_manifest(built: Built) -> None:
    found = opened(built)
    for files in (
        {},
        {
            **found.metadata.files,
            names.path("more"): found.metadata.files[names.path("model.json")],
        },
    ):
        data = manifest.encode_metadata(replace(found.metadata, files=files))
        sealed = found.sealed
        before = sealed.verified.manifest
        entry = replace(before.metadata, size=len(data), sha256=Digest(hashlib.sha256(data).hexdigest()))
        listed = tuple(entry if file.path == METADATA else file for file in before.files)
        verified = replace(sealed.verified, manifest=replace(before, files=listed))
        with pytest.raises(Malformed, match="list different files"):
            admission.open_package(Sealed(verified, sealed.sealing), data)


def test_step_8_compares_every_plaintext(built: Built) -> None:
    found = opened(built)
    entry, data = model_file(found.sealed.verified.manifest), builders.CONTENT["model.json"]
    admission.check_plaintext(found, entry, len(data), hashlib.sha256(data).digest())
    with pytest.raises(DigestMismatch):
        admission.check_plaintext(found, entry, len(data), bytes(32))
    with pytest.raises(DigestMismatch):
        admission.check_plaintext(found, entry, len(data) + 1, hashlib.sha256(data).digest())


def model_file(found: Manifest) -> FileEntry:
    return next(entry for entry in found.files if entry.role == "model")


# --- steps 9 and 10 ---


def admit(
    found: Opened, data: bytes, allowance: Allowance | None = None, libraries: dict[str, str] | None = None
) -> Admitted:
    entry = model_file(found.sealed.verified.manifest)
    sha256 = hashlib.sha256(data).digest()
    return admission.admit(found, entry, memoryview(data), sha256, allowance or Allowance(), libraries or {})


def test_steps_9_and_10_admit_the_very_bytes_that_were_signed(built: Built) -> None:
    data = builders.CONTENT["model.json"]
    admitted = admit(opened(built), data)
    assert (admitted.path, admitted.format, bytes(admitted.data)) == ("model.json", "json", data)
    assert admitted.data.readonly
    assert admitted.sha256 == hashlib.sha256(data).digest()
    with pytest.raises(DigestMismatch):
        admit(opened(built), data.replace(b"1", b"9"))


def test_step_9_refuses_a_format_that_the_environment_does_not_list(built: Built) -> None:
    found = opened(built)
    verified = with_rule(built, found.sealed.verified, formats=("onnx",))
    with pytest.raises(FormatRefused, match="dev allows onnx"):
        admit(Opened(Sealed(verified, found.sealed.sealing), found.metadata), builders.CONTENT["model.json"])
    verified = with_rule(built, found.sealed.verified, formats=())
    with pytest.raises(FormatRefused, match="dev allows nothing"):
        admit(Opened(Sealed(verified, found.sealed.sealing), found.metadata), builders.CONTENT["model.json"])


def test_step_10_refuses_content_of_another_format_than_was_signed(built: Built) -> None:
    pickle = b"\x80\x04N."
    files = {"model.json": b"[1]"}
    built.publish(files, model="fraud", who="dora")
    found = opened(built, "fraud:1")
    # A publisher signs a pickle under the name of JSON: every digest holds, and the content tells.
    digest = hashlib.sha256(pickle).digest()
    path = names.path("model.json")
    entry = model_file(found.sealed.verified.manifest)
    secret = found.metadata.secret
    entry = replace(entry, size=len(pickle), commitment=manifest.commit(secret, path, len(pickle), digest))
    facts = {path: manifest.FileFacts(Digest(digest.hex()), ())}
    metadata = replace(found.metadata, files=facts)
    with pytest.raises(FormatRefused, match="a pickle, which is a program"):
        admission.admit(Opened(found.sealed, metadata), entry, memoryview(pickle), digest, Allowance(), {})


def test_an_admitted_value_is_built_in_one_place_only() -> None:
    with pytest.raises(TypeError, match="built by core/admission"):
        Admitted("a", "json", memoryview(b""), b"", frozenset(), "it", object())


def test_every_step_takes_the_result_of_the_one_before() -> None:
    """Whoever leaves out a step has nothing to call the next one with."""
    steps: list[tuple[Callable[..., object], type]] = [
        (admission.resolve, TrustedRoot),
        (admission.authorise, Resolved),
        (admission.verify, Authorised),
        (admission.require, Verified),
        (admission.seal, Verified),
        (admission.open_package, Sealed),
        (admission.check_plaintext, Opened),
        (admission.admit, Opened),
    ]
    for step, taken in steps:
        assert next(iter(step.__annotations__.values())) is taken


def test_the_documents_own_kinds_are_distinct() -> None:
    kinds = [manifest.KIND, records.APPROVAL, records.CHANNEL, records.SEALING, policies.KIND, "root"]
    assert len({envelope.payload_type(kind) for kind in kinds}) == len(kinds)
