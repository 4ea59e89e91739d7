"""Each refusal of a bundle and of its statement: its class, its code and its reason, in both profiles."""

import json
from collections.abc import Callable
from typing import Any

import pytest

from tests.core.oms_refusal_parts import refusal
from tests.oms_parts import forged, person, settled, statement
from vault.core import limits, oms_bundle, oms_statement
from vault.errors import DigestMismatch, Malformed, Unsigned

MADE = forged(settled(statement()), person("anna"))
Change = Callable[[dict[str, Any]], object]


# --- bundles ---


def bundle_after(change: Change) -> bytes:
    """Change the JSON of a good bundle."""
    value = json.loads(MADE)
    change(value)
    return json.dumps(value).encode()


def chained(*certificates: object) -> Change:
    """Put a chain of certificates in the place of the hint."""

    def change(value: dict[str, Any]) -> None:
        value["verificationMaterial"] = {"x509CertificateChain": {"certificates": [*certificates]}}

    return change


def entry_with(**more: object) -> Change:
    """Change the first signature of a bundle."""
    return lambda value: value["dsseEnvelope"]["signatures"][0].update(more)


def material_with(**more: object) -> Change:
    """Change what a bundle says of its key."""
    return lambda value: value["verificationMaterial"].update(more)


LONG = "A" * 4 * (limits.OMS_SIGNATURE_BYTES // 3 + 1)
BAD_BUNDLES: dict[str, tuple[Change, str]] = {
    "another media type": (lambda value: value.update(mediaType="text/plain"), "media type is 'text/plain'"),
    "a media type that is too long": (lambda value: value.update(mediaType="a" * 4_097), "4,096 characters"),
    "no media type": (lambda value: value.pop("mediaType"), "'mediaType' is missing"),
    "an envelope that is no object": (lambda value: value.update(dsseEnvelope=[]), "object is expected"),
    "a field that nobody knows": (lambda value: value.update(more=1), r"unknown fields \(more\)"),
    "a payload that is not base64": (
        lambda value: value["dsseEnvelope"].update(payload="*"),
        "it is base64",
    ),
    "a signature without bytes": (entry_with(sig=""), "no possible length"),
    "a signature that is too long": (entry_with(sig=LONG), "no possible length"),
    "a key id that is too long": (entry_with(keyid="a" * (limits.OMS_KEY_ID_CHARS + 1)), "possible length"),
    "a key id that is a number": (entry_with(keyid=1), "'keyid' is a string"),
    "a signature with more fields": (entry_with(cert="x"), r"unknown fields \(cert\)"),
    "more signatures than may be": (
        lambda value: value["dsseEnvelope"].update(signatures=[{"sig": "AAAA"}] * (limits.SIGNATURES + 1)),
        "a list of at most",
    ),
    "a certificate of Sigstore's service": (material_with(certificate={"rawBytes": ""}), "Sigstore's serv"),
    "neither a key nor a chain": (
        lambda value: value["verificationMaterial"].pop("publicKey"),
        "exactly one",
    ),
    "both a key and a chain": (material_with(x509CertificateChain={"certificates": []}), "exactly one"),
    "a hint that is a list": (material_with(publicKey={"hint": []}), "'hint' is a string"),
    "an empty chain": (chained(), "chain is empty"),
    "a chain that is too long": (
        chained(*[{"rawBytes": "AAAA"}] * (limits.OMS_CERTIFICATES + 1)),
        "a list of at most",
    ),
    "an empty certificate": (chained({"rawBytes": "AAAA"}, {"rawBytes": ""}), "certificate has no possible"),
    "a certificate that is too large": (
        chained({"rawBytes": "AAAA" * (limits.OMS_CERTIFICATE_BYTES // 3 + 1)}),
        "certificate has no possible length",
    ),
}


@pytest.mark.parametrize("strict", [True, False])
@pytest.mark.parametrize("case", BAD_BUNDLES)
def test_a_bundle_of_another_shape_is_refused_in_both_profiles(case: str, strict: bool) -> None:
    change, reason = BAD_BUNDLES[case]
    data = bundle_after(change)
    found = refusal(
        Malformed,
        "malformed-envelope",
        reason,
        lambda: oms_bundle.parse(data, strict=strict, subject="m.sig"),
    )
    assert found.subject == "m.sig"
    assert found.message.startswith("m.sig is not an OMS bundle: ")


LOOSE_BUNDLES: dict[str, tuple[Change, str]] = {
    "an older media type": (
        lambda value: value.update(mediaType="application/vnd.dev.sigstore.bundle+json;version=0.2"),
        "its media type is",
    ),
    "entries of a log": (material_with(tlogEntries=[{"logIndex": "1"}]), "it has tlogEntries"),
    "time stamps": (material_with(timestampVerificationData={"a": []}), "it has timestampVerificationData"),
    "more about the key": (material_with(more=1), r"unknown fields \(more\)"),
    "a hint with more fields": (
        material_with(publicKey={"hint": "h", "more": 1}),
        r"unknown fields \(more\)",
    ),
    "a certificate with more fields": (chained({"rawBytes": "AAAA", "more": 1}), r"unknown fields \(more\)"),
}


@pytest.mark.parametrize("case", LOOSE_BUNDLES)
def test_what_the_specification_leaves_open_is_refused_by_the_strict_profile_alone(case: str) -> None:
    change, reason = LOOSE_BUNDLES[case]
    data = bundle_after(change)
    refusal(
        Malformed, "malformed-envelope", reason, lambda: oms_bundle.parse(data, strict=True, subject="m.sig")
    )
    assert oms_bundle.parse(data, strict=False, subject="m.sig").payload == json.dumps(statement()).encode()


def test_the_key_of_an_older_bundle_is_passed_over() -> None:
    older = {"hint": "h", "rawBytes": "AAAA", "keyDetails": "PKIX_ECDSA_P256_SHA_256"}
    data = bundle_after(material_with(publicKey=older))
    for strict in (True, False):
        assert oms_bundle.parse(data, strict=strict, subject="m.sig").hint == "h"


@pytest.mark.parametrize("strict", [True, False])
def test_another_payload_type_and_a_missing_signature_have_refusals_of_their_own(strict: bool) -> None:
    typed = bundle_after(lambda value: value["dsseEnvelope"].update(payloadType="text/plain"))
    empty = bundle_after(lambda value: value["dsseEnvelope"].update(signatures=[]))
    reason = "signs a 'text/plain', not an in-toto statement"
    found = refusal(
        Malformed,
        "wrong-payload-type",
        reason,
        lambda: oms_bundle.parse(typed, strict=strict, subject="m.sig"),
    )
    unsigned = refusal(
        Unsigned, "unsigned", "holds no sig", lambda: oms_bundle.parse(empty, strict=strict, subject="m.sig")
    )
    assert (found.subject, unsigned.subject) == ("m.sig", "m.sig")
    assert "mvault sign" in unsigned.hint


# --- statements ---


def said(**more: object) -> Change:
    """Change how the files of a statement are digested."""
    return lambda value: value["predicate"]["serialization"].update(more)


def named(*names: str) -> Change:
    """Let a statement list these names."""

    def change(value: dict[str, Any]) -> None:
        entry = value["predicate"]["resources"][0]
        value["predicate"]["resources"] = [dict(entry, name=name) for name in names]

    return change


def parted(size: object) -> Change:
    """Let a statement be over one file in parts of a size."""

    def change(value: dict[str, Any]) -> None:
        said(method="shards", shard_size=size)(value)
        named("a:0:4")(value)

    return change


BAD_STATEMENTS: dict[str, tuple[Change, str]] = {
    "no subject": (lambda value: value.update(subject=[]), "exactly one subject"),
    "two subjects": (lambda value: value.update(subject=value["subject"] * 2), "exactly one subject"),
    "annotations that are a list": (lambda value: value["subject"][0].update(annotations=[]), "no object"),
    "annotations that are null": (lambda value: value["subject"][0].update(annotations=None), "no object"),
    "no name": (lambda value: value["subject"][0].update(name=""), "1 to 255 printable characters"),
    "a name over two lines": (lambda value: value["subject"][0].update(name="a\nb"), "printable characters"),
    "a method that is not known": (said(method="tree"), "it hashes 'tree' by 'sha256'"),
    "a hash that is not known": (said(hash_type="md5"), "it hashes 'files' by 'md5'"),
    "links that are neither allowed nor not": (said(allow_symlinks=0), "is true or false"),
    "a place left out twice": (said(ignore_paths=["a", "a"]), "a list of different strings"),
    "no file": (lambda value: value["predicate"].update(resources=[]), "lists no file at all"),
    "a file by another hash": (
        lambda value: value["predicate"]["resources"][0].update(algorithm="blake2b"),
        "hashed by another algorithm than the whole",
    ),
    "a file listed twice": (named("a", "a"), "it lists a file twice"),
    "one file and several": (named(".", "a"), "about one file and about several"),
    **{
        f"parts of {size!r} bytes": (parted(size), "its shard size is no size")
        for size in (0, -1, 4.5, True, "4", None, limits.FILE_BYTES + 1)
    },
}


def payload_after(change: Change) -> bytes:
    """Change a good statement, and make its root digest right again where it has one."""
    value = statement()
    change(value)
    return json.dumps(settled(value) if value["subject"] else value).encode()


@pytest.mark.parametrize("strict", [True, False])
@pytest.mark.parametrize("case", BAD_STATEMENTS)
def test_a_statement_of_another_shape_is_refused_in_both_profiles(case: str, strict: bool) -> None:
    change, reason = BAD_STATEMENTS[case]
    data = payload_after(change)
    found = refusal(
        Malformed,
        "malformed-document",
        reason,
        lambda: oms_statement.parse(data, strict=strict, subject="it"),
    )
    assert found.subject in {"it", "it: serialization", "A model's name"}


@pytest.mark.parametrize("strict", [True, False])
def test_a_statement_whose_root_is_not_that_of_its_files_is_refused(strict: bool) -> None:
    value = statement()
    value["subject"][0]["digest"]["sha256"] = "0" * 64
    data = json.dumps(value).encode()
    found = refusal(
        DigestMismatch,
        "digest-mismatch",
        "it contradicts itself",
        lambda: oms_statement.parse(data, strict=strict, subject="it"),
    )
    assert found.subject == "it"


def test_a_signer_need_not_say_that_nothing_was_left_out() -> None:
    data = payload_after(lambda value: value["predicate"]["serialization"].pop("ignore_paths"))
    for strict in (True, False):
        assert oms_statement.parse(data, strict=strict, subject="it").ignore_paths == ()


@pytest.mark.parametrize("size", [5, 5.0])
def test_the_size_of_parts_may_be_written_with_a_fraction_of_zero(size: float) -> None:
    found = oms_statement.parse(payload_after(parted(size)), strict=True, subject="it")
    assert (found.shard_size, found.resources[0].end) == (5, 4)


@pytest.mark.parametrize(
    ("paths", "reason"), [(("a", "A"), "differ only in case"), (("a", "a/b"), "both a file and a folder")]
)
def test_paths_that_some_system_confuses_are_refused_by_the_strict_profile_alone(
    paths: tuple[str, ...], reason: str
) -> None:
    data = payload_after(named(*paths))
    refusal(
        Malformed, "malformed-document", reason, lambda: oms_statement.parse(data, strict=True, subject="it")
    )
    loose = oms_statement.parse(data, strict=False, subject="it")
    assert {entry.path for entry in loose.resources} == {*paths}
