"""Keys of services: how they are named, what is written for them, and what a policy says of them."""

import hashlib
import json
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests import builders
from vault import policyfile
from vault.core import key_services, limits, policy_diff, policy_document, policy_view, strict_json
from vault.core.key_services import KMS, TRANSIT, KeyServiceId
from vault.core.names import Digest, Environment
from vault.errors import Malformed, Refused

ARN = "arn:aws:kms:eu-central-1:123456789012:key/8bf1e17c-934d-4a8d-84f0-3d380db9a688"
URL = "https://bao.example.com:8200/team/transit/mvault-prod"
SERVICES = (KeyServiceId(KMS, ARN), KeyServiceId(TRANSIT, URL))


@pytest.mark.parametrize(
    "arn",
    [
        ARN,
        "arn:aws-cn:kms:cn-north-1:123456789012:key/mrk-1234abcd12ab34cd56ef1234567890ab",
        "arn:aws-us-gov:kms:us-gov-west-1:123456789012:key/8bf1e17c-934d-4a8d-84f0-3d380db9a688",
    ],
)
def test_a_key_of_kms_is_named_by_its_arn(arn: str) -> None:
    assert key_services.identify(KMS, arn).key == arn
    assert key_services.region(arn) == arn.split(":")[3]


@pytest.mark.parametrize(
    "arn",
    [
        "arn:aws:kms:eu-central-1:123456789012:alias/prod",
        "alias/prod",
        "8bf1e17c-934d-4a8d-84f0-3d380db9a688",
        ARN.upper(),
        ARN + "\n",
        ARN + "/",
        ARN.replace("kms", "s3"),
        ARN.replace("eu-central-1", "evil.example.com/"),
        ARN.replace("eu-central-1", "eu-central-1" * 100),
        "",
    ],
)
def test_an_alias_or_anything_else_is_no_key_of_kms(arn: str) -> None:
    with pytest.raises(Malformed):
        key_services.identify(KMS, arn)


@pytest.mark.parametrize(
    ("url", "address", "mount", "name"),
    [
        (URL, "https://bao.example.com:8200", "team/transit", "mvault-prod"),
        ("https://bao/transit/k", "https://bao", "transit", "k"),
        ("http://127.0.0.1:8200/transit/k", "http://127.0.0.1:8200", "transit", "k"),
        ("http://localhost:8200/transit/k", "http://localhost:8200", "transit", "k"),
        ("http://[::1]:8200/transit/k", "http://[::1]:8200", "transit", "k"),
    ],
)
def test_a_key_of_transit_is_named_by_its_url(url: str, address: str, mount: str, name: str) -> None:
    found = key_services.transit_key(url)
    assert (found.address, found.mount, found.name) == (address, mount, name)
    assert found.url == url


@pytest.mark.parametrize(
    "url",
    [
        "http://bao.example.com:8200/transit/k",  # the token would travel in the clear
        "http://127.0.0.1.example.com/transit/k",
        "http://127.evil.example/transit/k",
        "http://localhost.example.com/transit/k",
        "http://localhost@example.com/transit/k",
        "https://user:secret@bao/transit/k",
        "https://bao/transit/k?token=x",
        "https://bao/transit/k#x",
        "https://bao/transit/../../sys/k",
        "https://bao/transit/./k",
        "https://bao/transit//k",
        "https://bao/transit/%2e%2e/k",
        "https://bao/transit/k/",
        "https://bao/k",
        "https://bao",
        "https://BAO/transit/k",
        "https://bao:0/transit/k",
        "https://bao:08200/transit/k",
        "https://bao\u0131.example/transit/k",
        "https://" + "a" * 64 + "/transit/k",
        "https://bao/transit/" + "k" * limits.KEY_SERVICE_CHARS,
        "ftp://bao/transit/k",
        "https://bao/transit/k\n",
        "",
    ],
)
def test_a_url_with_anything_more_is_no_key_of_transit(url: str) -> None:
    with pytest.raises(Malformed):
        key_services.identify(TRANSIT, url)


def test_there_is_no_other_kind_of_service() -> None:
    with pytest.raises(Malformed):
        key_services.identify("gcp", ARN)


@given(kind=st.sampled_from(key_services.KINDS), key=st.text())
def test_whatever_is_written_as_a_key_is_refused_or_spelled_in_one_way(kind: str, key: str) -> None:
    try:
        found = key_services.identify(kind, key)
    except Refused:
        return
    assert found.key == key


@pytest.mark.parametrize("service", SERVICES)
def test_a_wrapped_copy_is_read_as_it_was_written(service: KeyServiceId) -> None:
    data = key_services.encode_wrapped(service, b"opaque")
    assert key_services.parse_wrapped(data, "it") == (service, b"opaque")
    assert b"AGE-SECRET" not in data


@pytest.mark.parametrize(
    "change",
    [
        {"format": "mvault-wrapped-key-v2"},
        {"kind": "gcp"},
        {"kind": TRANSIT},
        {"key": "alias/x"},
        {"ciphertext": "no base64!"},
        {"ciphertext": 1},
        {"more": 1},
        {"key": None},
    ],
)
def test_a_wrapped_copy_of_another_shape_is_refused(change: dict[str, object]) -> None:
    told = json.loads(key_services.encode_wrapped(SERVICES[0], b"opaque")) | change
    with pytest.raises(Malformed):
        key_services.parse_wrapped(strict_json.encode(told), "it")


@given(st.binary(max_size=400))
def test_a_wrapped_copy_of_any_bytes_is_refused_and_nothing_else(data: bytes) -> None:
    with pytest.raises(Refused):
        key_services.parse_wrapped(data, "it")


def test_a_large_wrapped_copy_is_refused_before_it_is_parsed() -> None:
    with pytest.raises(Malformed) as caught:
        key_services.parse_wrapped(b" " * (limits.WRAPPED_KEY_BYTES + 1), "it")
    assert caught.value.code == "too-large"


def test_the_context_tells_the_vault_the_environment_and_the_epoch_apart() -> None:
    first = key_services.context(Digest("a" * 64), Environment("prod"), 1)
    others = [
        key_services.context(Digest("b" * 64), Environment("prod"), 1),
        key_services.context(Digest("a" * 64), Environment("dev"), 1),
        key_services.context(Digest("a" * 64), Environment("prod"), 2),
    ]
    assert all(first != other for other in others)
    assert first["purpose"] == key_services.PURPOSE


def test_what_a_service_says_reaches_a_message_as_one_short_printable_line() -> None:
    assert key_services.told("no\x1b[31m\nroot\u202e here") == "no [31m root here"
    assert len(key_services.told("x" * 10_000)) == 200
    assert key_services.told("\0") == "it does not say why"


# --- policies ---

YAML = f"""
roles:
  owner: {{allow: [{{actions: [publish, load, rotate], env: [dev, prod]}}]}}
environments:
  dev: {{formats: [json]}}
  prod:
    formats: [json]
    key_services:
      - {{kms: "{ARN}"}}
      - transit: {URL}
principals:
  owner: {{roles: [owner]}}
"""


def test_a_policy_file_names_key_services_by_environment() -> None:
    source = policyfile.parse(YAML, "policy.yaml")
    assert source.environments[builders.PROD].key_services == SERVICES
    assert source.environments[builders.DEV].key_services == ()
    assert policyfile.view(source).environments[builders.PROD].key_services == SERVICES


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("- transit:", "- vault:"),
        (URL, "http://bao.example.com/transit/k"),
        (ARN, "alias/prod"),
        (f"- transit: {URL}", f'- {{kms: "{ARN}"}}'),
        (f"- transit: {URL}", f'- {{transit: {URL}, kms: "{ARN}"}}'),
        (f"- transit: {URL}", "- none"),
    ],
)
def test_a_mistake_in_them_names_the_line(old: str, new: str) -> None:
    with pytest.raises(Malformed, match=r"policy\.yaml, line \d+|policy\.yaml:\d+"):
        policyfile.parse(YAML.replace(old, new), "policy.yaml")


def test_a_policy_without_key_services_is_the_bytes_that_it_was_before_there_were_any() -> None:
    payload = policy_document.encode(builders.solo().policy)
    assert b"key_services" not in payload
    assert policy_document.encode(policy_document.parse(payload, "it")) == payload


def test_a_policy_with_key_services_is_parsed_as_it_was_written() -> None:
    before = builders.solo().policy
    prod = replace(before.environments[builders.PROD], key_services=SERVICES)
    after = replace(before, environments={**before.environments, prod.name: prod})
    payload = policy_document.encode(after)
    found = policy_document.parse(payload, "it")
    assert found.environments[builders.PROD].key_services == SERVICES
    assert policy_document.encode(found) == payload


@pytest.mark.parametrize(
    "services",
    [
        [],
        [{"key": ARN, "kind": "kms"}] * 2,
        [{"key": ARN, "kind": "transit"}],
        [{"key": ARN, "kind": "kms", "more": 1}],
        [{"key": ARN}],
        "kms",
        None,
        [
            {"key": f"https://bao/transit/k{number}", "kind": "transit"}
            for number in range(limits.KEY_SERVICES + 1)
        ],
    ],
)
def test_a_policy_with_other_key_services_is_refused(services: object) -> None:
    told = json.loads(policy_document.encode(builders.solo().policy))
    told["environments"]["prod"]["key_services"] = services
    with pytest.raises(Malformed):
        policy_document.parse(strict_json.encode(told), "it")


def test_a_change_of_key_services_is_told_by_the_diff_of_policies() -> None:
    before = policyfile.view(policyfile.parse(YAML, "old.yaml"))
    after = policyfile.view(policyfile.parse(YAML.replace(f"      - transit: {URL}\n", ""), "new.yaml"))
    (found,) = policy_diff.diff(before, after).environments
    assert found.name == builders.PROD
    assert found.settings == (("key_services", f"{ARN}, {URL}", ARN),)


def test_what_keeps_a_stranger_out_is_said_to_be_the_services_own_access_control() -> None:
    from vault.core import policy_analysis

    source = policyfile.parse(
        YAML.replace("  owner: {roles: [owner]}", "  owner: {roles: [owner]}\n  eve: {}"), "it"
    )
    view = policyfile.view(source)
    assert isinstance(view, policy_view.View)
    eve = next(name for name in view.members if name == "eve")
    strength, why = policy_analysis.enforcement(view, eve, "load", builders.PROD, allowed=False)
    assert strength == policy_analysis.STORAGE
    assert ARN in why
    strength, _ = policy_analysis.enforcement(view, eve, "load", builders.DEV, allowed=False)
    assert strength == policy_analysis.CRYPTOGRAPHIC


def test_a_key_service_is_named_by_a_digest_of_its_kind_and_key_and_shown_by_its_key() -> None:
    assert {str(entry) for entry in SERVICES} == {ARN, URL}
    assert SERVICES[0].digest == Digest(hashlib.sha256(f"{KMS} {ARN}".encode()).hexdigest())
    assert len({entry.digest for entry in (*SERVICES, KeyServiceId(TRANSIT, ARN))}) == 3
