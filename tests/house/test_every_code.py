"""Every code that an error may carry is caused here, through the code that raises it."""

import sys
import tempfile
from collections.abc import Callable
from dataclasses import replace
from functools import cache
from pathlib import Path
from unittest import mock

import pytest

from tests import builders, logs
from tests.builders import NOW, Built
from tests.conformance.unsafe_stores import Overwriting
from tests.house.source_tree import modules
from vault import policyfile, settings
from vault.actions import (
    applying,
    archiving,
    archiving_places,
    converting,
    draft_files,
    drafting,
    load_test_environment,
    locking,
    objects,
    opening,
    probing,
    retaining,
    teaming,
    withdrawing,
)
from vault.actions.convert_messages import ready
from vault.actions.loading import LoadedPackage
from vault.audit.reading import LogReader
from vault.confinement import child, landlock
from vault.core import (
    age,
    ed25519,
    envelope,
    formats,
    identity_format,
    limits,
    log_commit,
    log_proof,
    memory_format,
    names,
    static_stage,
    strict_json,
    trust,
    trustfile,
    zip_reader,
)
from vault.core import manifest as manifests
from vault.core.allowance import Allowance
from vault.core.memory_format import Mark, Memory
from vault.core.names import Digest
from vault.core.policy import LogHead, Policy
from vault.errors import CODES, VaultError
from vault.keys import transit
from vault.loaders import arrays
from vault.memory import Pins
from vault.storage.memory import MemoryStore
from vault.storage.s3_client import Client
from vault.storage.s3_errors import Failed
from vault.storage.s3_location import S3Location
from vault.storage.s3_reading import read_whole

MANIFEST = "models/churn/@/1/manifest.json"
OTHER_LOCK = f"mvault-lock 1\nvault sha256:{'0' * 64}\n".encode()


@cache
def _published() -> Built:
    made = builders.solo()
    made.publish()
    return made


def solo() -> Built:
    """Give a vault with churn:1 in dev."""
    return _published().fork(forgetful=True)


@cache
def _team() -> Built:
    made = builders.team()
    made.publish(who="dora")
    return made


def team() -> Built:
    """Give a vault with churn:1 in dev whose prod wants two approvals."""
    return _team().fork(forgetful=True)


def removed() -> object:
    """Remove a version by name, then load it."""
    built = solo()
    built.publish()
    retaining.retain(built.session(), retaining.Wanted(named=(names.reference("churn:1"),)))
    return built.read("churn:1")


def tampered(part: str, change: Callable[[bytes], bytes], ref: str = "churn:1") -> Callable[[], object]:
    """Change the one object, or every object, whose name contains `part`, then load."""

    def cause() -> object:
        built = solo()
        touched = [name for name in built.store.objects if part in name]
        for name in touched:
            built.store.objects[name] = change(built.store.objects[name])
        return built.read(ref)

    return cause


def environment(**require: object) -> Built:
    """Give a vault whose prod requires more."""
    built = solo()

    def amend(before: Policy) -> Policy:
        prod = before.environments[builders.PROD]
        changed = replace(prod, require=replace(prod.require, **require))  # type: ignore[arg-type]
        return replace(before, environments={**before.environments, prod.name: changed})

    built.amend(amend)
    return built


def flip(data: bytes) -> bytes:
    return data[:-1] + bytes([data[-1] ^ 1])


def resealed(data: bytes) -> bytes:
    """Sign somebody else's payload under the kind that is expected."""
    eve = builders.new_identity("eve")
    signed = envelope.sign("manifest", b"{}", [(Digest(eve.key_id), eve.sign)])
    return envelope.serialise(signed)


def unsigned(data: bytes) -> bytes:
    found = envelope.parse(data, kind="manifest", subject="it")
    return envelope.serialise(replace(found, signatures=()))


def bad_signature(data: bytes) -> bytes:
    found = envelope.parse(data, kind="manifest", subject="it")
    broken = tuple(replace(entry, value=bytes(64)) for entry in found.signatures)
    return envelope.serialise(replace(found, signatures=broken))


def threshold() -> object:
    ann, bob = builders.new_identity("ann"), builders.new_identity("bob")
    keys = tuple(trust.RootKey(who.name, who.public) for who in (ann, bob))
    payload = trust.encode(trust.Root(1, None, None, names.time_text(NOW), None, 2, keys, bytes(16)))
    signed = envelope.sign(trust.KIND, payload, [(Digest(ann.key_id), ann.sign)])
    return trust.verify_first(envelope.serialise(signed), envelope.digest(payload))


def pickled(data: bytes, *pins: str, allowance: Allowance) -> None:
    static_stage.check("m.pkl", "pickle", memoryview(data), frozenset(pins), allowance, "it")


PICKLES = Allowance(formats=frozenset({"pickle"}))
THING = b"\x80\x04\x8c\x06sample\x8c\x05Thing\x93."


def misplaced() -> object:
    built = solo()
    built.publish()
    objects = built.store.objects
    objects[MANIFEST], other = objects["models/churn/@/2/manifest.json"], objects[MANIFEST]
    objects["models/churn/@/2/manifest.json"] = other
    return built.read("churn:1")


def size_mismatch() -> None:
    built = solo()
    found = built.open("churn:1").opened
    entry = next(file for file in found.sealed.verified.manifest.files if file.role == "model")
    manifests.check_file(entry, found.metadata, entry.size + 1, bytes(32), "it")


def withheld() -> object:
    built = solo()
    before = dict(built.store.objects)
    built.amend(lambda policy: policy)
    built.promote("churn:1")
    built.store.objects = {
        name: data
        for name, data in built.store.objects.items()
        if name in before or name.startswith("channels/")
    }
    return built.read("churn@prod")


def barred() -> object:
    built = solo()
    built.write_record(built.record(None, 1, bars=("churn:1",)))
    return built.read("churn@prod")


def expired() -> object:
    built = solo()
    built.amend(lambda before: replace(before, expires=names.time_text(NOW)))
    return built.read("churn:1")


def rollback() -> object:
    built = builders.solo()
    built.promote(built.publish())
    built.read("churn@prod")
    for name in [name for name in built.store.objects if name.startswith("channels/")]:
        built.store.delete(name)
    return built.read("churn@prod")


def unattested() -> object:
    built = environment(fresh="refuse")
    built.promote("churn:1")
    return built.read("churn@prod")


def key_mismatch() -> object:
    """Put another file's header where the header of every file lies."""
    built = solo()
    headers = sorted(name for name in built.store.objects if "/keys/dev-1/" in name)
    first = built.store.objects[headers[0]]
    other = built.store.objects[headers[1]]
    built.store.objects |= {name: other if name != headers[1] else first for name in headers}
    return built.read("churn:1")


def revoked() -> object:
    built = solo()
    head = LogHead("log", 1, Digest("0" * 64))

    def retire(before: Policy) -> Policy:
        owner = next(iter(before.members.values()))
        keys = tuple(replace(key, until=head) for key in owner.keys)
        return replace(before, members={owner.name: replace(owner, keys=keys)})

    built.amend(retire)
    return built.read("churn:1")


def archived() -> object:
    built = solo()
    built.publish()
    wanted = archiving.Wanted(version=names.reference("churn:1"))
    archiving.archive(built.session(), wanted, archiving_places.OtherStore(MemoryStore()))
    return built.read("churn:1")


def conflict() -> None:
    store = MemoryStore({"a": b"1"})
    objects.create(store, "a", b"2")


def no_vault() -> object:
    built = solo()
    built.store.objects.clear()
    return built.read("churn")


def full() -> object:
    known = Memory("0" * 64)
    channels = {f"prod/main/m{number}": Mark(0, 1, "0" * 64) for number in range(limits.MEMORY_ENTRIES + 1)}
    return memory_format.merge(known, replace(known, channels=channels))


def features() -> object:
    built = solo()
    return LoadedPackage(built.session(), built.find("churn:1"), {}).align(None)


def missing_library() -> object:
    with mock.patch.dict(sys.modules, {"numpy": None}):
        return arrays.dump_sample([[1.0]])


def conversion_failed() -> object:
    """Let the confined process crash."""
    crashed = child.Ended(memoryview(ready(7, True)), "", -11)
    with tempfile.TemporaryDirectory() as folder, mock.patch.object(child, "run", return_value=crashed):
        path = Path(folder, "model.pkl")
        path.write_bytes(b"\x80\x04N.")
        return converting.convert(path, unsafe_no_sandbox=True)


def no_sandbox() -> object:
    with mock.patch.object(landlock, "abi", return_value=0):
        return converting.convert("model.pkl")


def not_trusted() -> object:
    found = settings.load_settings(flags={}, environ={}, cwd=Path("/"))
    return opening.open_session(found, solo().store, allow=Allowance(), environment=builders.DEV)


def no_key() -> object:
    built = solo()
    return built.session(None).identity


def outage() -> object:
    built = solo()
    built.promote("churn:1")
    without = policyfile.shipped("solo").replace("  prod:\n", "  other:\n").replace("prod]", "other]")
    source = policyfile.parse(without.replace("to: prod", "to: other"), "it")
    owner = built.owner
    draft = drafting.policy_draft(built.session(), source, {})
    signed = draft_files.with_signature(draft, Digest(owner.key_id), owner.sign)
    return applying.apply(built.session(), [signed])


def withdrawal_lapses() -> object:
    built = solo()
    built.add("wes", "owner")
    built.promote("churn:1")
    withdrawing.withdraw(built.session("wes"), builders.reference("churn:1"), builders.PROD)
    return teaming.remove(built.session(), names.principal("wes"))


def proof() -> log_proof.Proof:
    return logs.writer(MemoryStore()).append(logs.numbered(0, 2)).proof(0)


def cut_off() -> object:
    head = logs.writer(MemoryStore()).append(logs.numbered(0, 2)).head
    return LogReader(MemoryStore(), logs.PROD_LOG, logs.policy(), known=head).read()


CAUSES: dict[str, Callable[[], object]] = {
    "malformed-json": lambda: strict_json.parse(b"{"),
    "malformed-envelope": lambda: envelope.parse(b"{}", kind="root", subject="it"),
    "malformed-document": lambda: policyfile.parse("[]", "it"),
    "malformed-name": lambda: names.model("../x"),
    "malformed-key": lambda: ed25519.PublicKey.parse(bytes(32)),
    "malformed-header": lambda: age.parse_detached_header(b"age"),
    "malformed-identity": lambda: identity_format.parse(b"{}", "it"),
    "malformed-archive": lambda: zip_reader.open_archive(b"PK"),
    "malformed-trust": lambda: trustfile.parse(b"{}", "it"),
    "too-large": lambda: strict_json.parse(b"[]", limit=1),
    "wrong-payload-type": tampered(MANIFEST, lambda data: solo().store.objects["trust/policy/000001.json"]),
    "unsigned": tampered(MANIFEST, unsigned),
    "bad-signature": tampered(MANIFEST, bad_signature),
    "untrusted-signer": tampered(MANIFEST, resealed),
    "threshold-not-met": threshold,
    "digest-mismatch": lambda: trust.verify_first(
        solo().store.objects["trust/root/000001.json"], Digest("0" * 64)
    ),
    "misplaced": misplaced,
    "size-mismatch": size_mismatch,
    "decrypt-failed": tampered("/files/", flip),
    "key-mismatch": key_mismatch,
    "access-denied": revoked,
    "key-service-denied": lambda: transit._read("https://bao/transit/k", "decrypt", 403, b"{}"),
    "not-promoted": lambda: team().read("churn:1", env="prod"),
    "barred": barred,
    "no-audit-record": lambda: environment(audit=True).find("churn:1", env="prod"),
    "approvals-missing": lambda: team().promote("churn:1", who="rex"),
    "outage": outage,
    "withdrawal-lapses": withdrawal_lapses,
    "not-tested": lambda: environment(load_test=True).promote("churn:1"),
    "format-refused": lambda: formats.check("a.onnx", "json", b"{}"),
    "format-content": lambda: static_stage.observe("onnx", b"\xff" * 9, Allowance(), "it"),
    "pins-mismatch": lambda: pickled(THING, allowance=PICKLES),
    "not-allowed": lambda: pickled(THING, "sample.Thing", allowance=PICKLES),
    "libraries-differ": lambda: static_stage.check_libraries(
        "pickle", {"numpy": "1"}, {"numpy": "2"}, strict=False, subject="it"
    ),
    "pickle-refused": lambda: static_stage.observe("pickle", b"\x80\x02N.", Allowance(), "it"),
    "conversion-failed": conversion_failed,
    "no-sandbox": no_sandbox,
    "rollback": rollback,
    "withheld": withheld,
    "expired": expired,
    "heads-expired": unattested,
    "memory-damaged": lambda: memory_format.parse(b"{}", "0" * 64, "it"),
    "not-trusted": not_trusted,
    "unsafe-store": lambda: probing.survey(Overwriting()),
    "log-inconsistent": cut_off,
    "not-logged": lambda: log_proof.check(replace(proof(), index=1), logs.policy(), logs.PROD_LOG),
    "not-witnessed": lambda: log_proof.check(proof(), logs.policy(), logs.PROD_LOG, witnesses=1),
    "malformed-log": lambda: log_commit.parse(b"", "it"),
    "not-found": lambda: solo().read("fraud:1"),
    "removed": removed,
    "no-such-vault": no_vault,
    "no-usable-key": no_key,
    "unavailable": lambda: objects.read_listed(MemoryStore(), "a", limit=1),
    "storage-full": full,
    "storage-archived": lambda: read_whole(Archive(S3Location("bucket", "")), "a", "a", 1),
    "storage-denied": lambda: Pins(None).add("memory:", "0" * 64, now=NOW),
    "archived": archived,
    "lock-mismatch": lambda: locking.pinned(solo().session(), names.reference("churn@dev"), OTHER_LOCK),
    "conflict": conflict,
    "feature-mismatch": features,
    "missing-library": missing_library,
    "load-test-impossible": lambda: load_test_environment.interpreter_for("3.10"),
}


class Archive(Client):
    """A bucket whose objects must be restored before they can be read."""

    def send(self, operation: str, **_: object) -> dict[str, object]:
        raise Failed("InvalidObjectState", status=403)


def test_every_code_has_a_cause() -> None:
    assert set(CAUSES) == set(CODES)


@pytest.mark.parametrize("code", CAUSES)
def test_a_code_is_caused(code: str) -> None:
    with pytest.raises(VaultError) as caught:
        CAUSES[code]()
    assert caught.value.code == code
    assert caught.value.message


def test_every_code_is_written_in_the_product_or_is_a_class_default() -> None:
    defaults = {VaultError.default_code}
    kinds = [VaultError]
    for kind in kinds:
        kinds.extend(kind.__subclasses__())
        defaults.add(kind.default_code)
    written = "\n".join(module.text for module in modules() if module.name != "vault/errors.py")
    for code in CODES:
        assert f'"{code}"' in written or code in defaults, code


def test_the_vaults_that_causes_begin_from_are_sound() -> None:
    """Otherwise a cause might fail for another reason than its own."""
    assert solo().read("churn:1") == builders.CONTENT
    assert team().read("churn:1") == builders.CONTENT
