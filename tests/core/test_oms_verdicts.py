"""Each refusal of a genuine bundle: its files, who signed it, and the list of those who are trusted."""

from collections.abc import Mapping
from functools import partial
from typing import Any

import pytest

from tests.core.oms_refusal_parts import refusal
from tests.oms_parts import FILES, line, own_key, person
from vault.core import limits, oms_authority, oms_matching, oms_signers, public_keys
from vault.core.oms_authority import Demands
from vault.core.oms_bundle import Bundle, Signature
from vault.core.oms_signers import Trusted, TrustedKey
from vault.core.oms_statement import Resource, Statement
from vault.errors import BadSignature, DigestMismatch, Expired, Malformed, Refused, UntrustedSigner

KEY, BEN_KEY = own_key(person("anna")), own_key(person("ben"))

# --- what was signed, and what is there ---

SIGNED = Statement("m", tuple(Resource(name, b"d" * 32) for name in FILES))
THERE: Mapping[str, int | None] = {name: len(data) for name, data in FILES.items()}
PARTS = Statement("m", (Resource("a", b"d" * 32, 0, 5), Resource("a", b"e" * 32, 5, 7)), shard_size=5)


def test_a_statement_that_leaves_room_is_refused() -> None:
    linked = Statement("m", SIGNED.resources, allow_symlinks=True)
    left = Statement("m", SIGNED.resources, ignore_paths=(".git", "cache", "m.sig", "a/m.sig"))
    for one, reason in ((linked, "symbolic links"), (left, "left places out: a/m.sig, cache")):
        found = refusal(
            Malformed,
            "malformed-document",
            reason,
            partial(oms_matching.require_strict, one, None, "it"),
        )
        assert found.subject == "it"
    refusal(
        Malformed,
        "malformed-document",
        r"left places out: cache\.",
        lambda: oms_matching.require_strict(left, "a/m.sig", "it"),
    )


@pytest.mark.parametrize(
    ("added", "strict", "hint"),
    [
        ("run.py", True, "Remove what was added"),
        (".git/config", True, "--ignore-git"),
        (".git/config", False, "Remove what was added"),
        ("a/.git", True, "Remove what was added"),
    ],
)
def test_a_file_that_nobody_signed_is_refused_with_what_to_do(added: str, strict: bool, hint: str) -> None:
    found = refusal(
        DigestMismatch,
        "digest-mismatch",
        "does not cover what is there",
        lambda: oms_matching.require_names(SIGNED, {**THERE, added: 1}, strict=strict, subject="it"),
    )
    assert found.subject == added
    assert hint in found.hint


@pytest.mark.parametrize("strict", [True, False])
def test_a_signed_file_that_is_not_there_is_refused(strict: bool) -> None:
    there = {name: size for name, size in THERE.items() if name != "config.json"}
    found = refusal(
        DigestMismatch,
        "digest-mismatch",
        r"it covers what is not there: config\.json\.",
        lambda: oms_matching.require_names(SIGNED, there, strict=strict, subject="it"),
    )
    assert found.subject == "config.json"


def test_an_empty_file_beside_parts_is_minded_by_the_strict_profile_alone() -> None:
    there = {"a": 7, "empty": 0}
    oms_matching.require_names(PARTS, there, strict=False, subject="it")
    found = refusal(
        DigestMismatch,
        "digest-mismatch",
        "does not cover",
        lambda: oms_matching.require_names(PARTS, there, strict=True, subject="it"),
    )
    assert found.subject == "empty"


def test_every_file_that_differs_is_counted_and_some_are_named() -> None:
    many = Statement("m", tuple(Resource(f"{number}", b"d" * 32) for number in range(7)))
    found = refusal(
        DigestMismatch,
        "digest-mismatch",
        "0, 1, 2, 3, 4 and 2 more differs from what was signed in it",
        lambda: oms_matching.require_digests(many, (), "it"),
    )
    assert found.subject == "0"
    refusal(
        DigestMismatch,
        "digest-mismatch",
        "^a differs",
        lambda: oms_matching.require_digests(PARTS, PARTS.resources[:1], "it"),
    )


# --- who signed ---

BUNDLE = Bundle(b"payload", (Signature(KEY.key_id, b"s"),))
NOW = 1_800_000_000


def listed(**more: Any) -> Trusted:
    """Trust Anna's key under conditions."""
    return Trusted((TrustedKey("anna", KEY, **more),))


def test_a_bundle_that_names_a_trusted_key_and_does_not_verify_was_altered() -> None:
    hinted = Bundle(b"payload", (Signature("", b"s"),), hint=KEY.key_id)
    for bundle in (BUNDLE, hinted):
        found = refusal(
            BadSignature,
            "bad-signature",
            "it was altered",
            partial(oms_authority.require_known, bundle, listed(), (), "it"),
        )
        assert found.subject == "it"
    stranger = refusal(
        UntrustedSigner,
        "untrusted-signer",
        "not signed by anybody whom you trust",
        lambda: oms_authority.require_known(BUNDLE, Trusted(), (), "it"),
    )
    assert "--trusted" in stranger.hint


OBJECTIONS: dict[str, tuple[dict[str, Any], type[Refused], str, str]] = {
    "revoked": ({"revoked": True}, UntrustedSigner, "untrusted-signer", "was revoked"),
    "for other things": ({"namespaces": ("git",)}, UntrustedSigner, "untrusted-signer", "not listed for mod"),
    "for other models": ({"models": ("x*",)}, UntrustedSigner, "untrusted-signer", "anna .* may not sign m"),
    "at its end": ({"before": NOW}, Expired, "expired", "counted until 2027-01-15T08:00:00Z"),
    "before its time": ({"after": NOW + 1}, Expired, "expired", "counts from 2027-01-15T08:00:01Z"),
}


@pytest.mark.parametrize("case", OBJECTIONS)
def test_a_key_that_does_not_count_is_refused_with_the_reason(case: str) -> None:
    options, kind, code, reason = OBJECTIONS[case]
    work = partial(oms_authority.people, SIGNED, listed(**options), [KEY.key_id], Demands(NOW), "it")
    assert refusal(kind, code, reason, work).subject == "it"


def test_a_key_counts_from_its_first_second_to_its_last_for_what_it_is_listed_for() -> None:
    trusted = listed(after=NOW, before=NOW + 1, namespaces=("git", "mod*"), models=("m",))
    assert oms_authority.people(SIGNED, trusted, [KEY.key_id], Demands(NOW), "it") == ("anna",)


def test_too_few_people_are_counted_and_the_one_who_does_not_count_is_named() -> None:
    trusted = Trusted((TrustedKey("anna", KEY), TrustedKey("ben", BEN_KEY, revoked=True)))
    verified = [KEY.key_id, BEN_KEY.key_id]
    found = refusal(
        UntrustedSigner,
        "threshold-not-met",
        r"1 of 2 people whom you demand \(anna\)\. The key of ben .* was revoked",
        lambda: oms_authority.people(SIGNED, trusted, verified, Demands(NOW, threshold=2), "it"),
    )
    assert found.subject == "it"


def test_a_genuine_signature_over_something_else_is_refused() -> None:
    elsewhere, other = Demands(NOW, model="churn"), Demands(NOW, digest="0" * 64)
    misplaced = refusal(
        DigestMismatch,
        "misplaced",
        "it signs 'm', and 'churn' was asked for",
        lambda: oms_authority.require_asked_for(SIGNED, BUNDLE, elsewhere, "it"),
    )
    differing = refusal(
        DigestMismatch,
        "digest-mismatch",
        f"signs sha256:{BUNDLE.digest}, which is not the one asked for",
        lambda: oms_authority.require_asked_for(SIGNED, BUNDLE, other, "it"),
    )
    assert (misplaced.subject, differing.subject) == ("it", "it")
    assert misplaced.hint.endswith("--model m")


# --- files of trusted keys ---

BAD_LISTS = {
    "bytes that are not UTF-8": (b"anna \xff", "malformed-trust", "Signers cannot be used: it is not UTF-8"),
    "options and no key": (b"anna revoked ssh-ed25519", "malformed-trust", "Line 1 .* the key is missing"),
    "a kind and no key": (b"anna ssh-ed25519", "malformed-trust", "Line 1 .* a name, options, a kind"),
    "another kind after options": (b"anna revoked ssh-rsa AAAA", "malformed-key", "'ssh-rsa' is neither"),
    "too many patterns": (
        line("anna", KEY, f'models="{",".join("a" * (limits.OMS_PATTERNS + 1))}"').encode(),
        "malformed-trust",
        "patterns are separated by commas",
    ),
}


@pytest.mark.parametrize("case", BAD_LISTS)
def test_a_file_that_lists_no_keys_is_refused(case: str) -> None:
    data, code, reason = BAD_LISTS[case]
    found = refusal(Malformed, code, reason, lambda: oms_signers.parse(data, "signers"))
    assert found.subject == "signers"


def test_more_trusted_keys_than_may_be_are_refused_before_any_is_looked_at() -> None:
    most = (TrustedKey("anna", KEY),) * limits.OMS_TRUSTED_KEYS
    assert [*Trusted(most).by_id] == [KEY.key_id]
    found = refusal(
        Malformed, "malformed-trust", "more than 1,000 keys are listed", lambda: Trusted((*most, most[0]))
    )
    assert found.subject == "the trusted keys"


def test_a_key_listed_for_two_people_or_in_two_ways_is_refused() -> None:
    own = TrustedKey("anna", KEY)
    for second in (TrustedKey("ben", KEY), TrustedKey("anna", KEY, models=("m",))):
        refusal(
            Malformed,
            "malformed-trust",
            f"listed twice, for anna and {second.person}",
            partial(Trusted, (own, second)),
        )
    other = TrustedKey("anna", public_keys.of(public_keys.P256, b"\x04" + bytes(64), "it"))
    assert len(Trusted((own, other)).by_id) == 2
