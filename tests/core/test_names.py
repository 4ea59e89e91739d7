"""Names and references: one grammar each, and every text outside it is `malformed-name`."""

from collections.abc import Callable

import pytest

from vault.core import limits, names
from vault.errors import Malformed

DIGEST = "0123456789abcdef" * 4


def refused(parse: Callable[[str], object], text: str) -> Malformed:
    with pytest.raises(Malformed) as caught:
        parse(text)
    assert caught.value.code == "malformed-name"
    caught.value.message.encode()  # printable whatever the text was
    caught.value.subject.encode("ascii")
    return caught.value


@pytest.mark.parametrize(
    "text", ["churn", "nepse/NABIL", "a", "A.b_c-1", "x_", "0", "/".join("a" * limits.MODEL_PARTS), "a" * 64]
)
def test_models_have_parts(text: str) -> None:
    assert names.model(text) == text


@pytest.mark.parametrize(
    "text",
    [
        "",
        "/",
        "a/",
        "/a",
        "a//b",
        "a/../b",
        ".",
        ".a",
        "-a",
        "_a",
        "a.",
        "a b",
        "a@b",
        "a:1",
        "a\\b",
        "a\n",
        "é",
        "a\x00",
        "\u0430",
        "a" * 65,
        "/".join("a" * (limits.MODEL_PARTS + 1)),
        "/".join(["a" * 64] * 4),
        "con",
        "x/NUL",
        "lpt1.txt",
        "\ud800",
        "Aux.tar.gz",
    ],
)
def test_what_is_no_model_is_refused(text: str) -> None:
    refused(names.model, text)


def test_a_long_name_is_shown_shortened() -> None:
    assert len(refused(names.model, "a" * 100_000).message) < 300


@pytest.mark.parametrize("parse", [names.environment, names.slot])
def test_environments_and_slots_are_short_and_lowercase(parse: Callable[[str], str]) -> None:
    for good in ("dev", "a", "eu-1", "a" * 32):
        assert parse(good) == good
    for bad in ("", "Dev", "1a", "a-", "-a", "a_b", "a" * 33, "a/b", "dev\n", "é", "a.b"):
        refused(parse, bad)


def test_principals_are_one_part() -> None:
    assert names.principal("quant-lead") == "quant-lead"
    for bad in ("a/b", "", "prn", "a b"):
        refused(names.principal, bad)


def test_digests_are_64_lowercase_hexadecimal_digits() -> None:
    assert names.digest(DIGEST) == DIGEST
    for bad in ("", DIGEST[:-1], DIGEST + "0", DIGEST.upper(), "g" * 64, DIGEST + "\n", "sha256:" + DIGEST):
        refused(names.digest, bad)


@pytest.mark.parametrize("text", ["1", "999999999999999", "0.0.0", "1.4.0", "1.4.0-rc.1", "1.0.0-a-b.0"])
def test_versions_are_integers_semantic_versions_or_timestamps(text: str) -> None:
    assert names.version(text) == text


@pytest.mark.parametrize(
    "text",
    [
        "",
        "0",
        "01",
        "-1",
        "1" + "0" * 15,
        "1.2",
        "1.2.3.4",
        "01.2.3",
        "1.2.3-",
        "1.2.3-a..b",
        "1.2.3-01",
        "1.2.3-A",
        "1.2.3+build",
        "1.2.3-" + "a" * 33,
        "20260230T000000Z",
        "20261301T000000Z",
        "20260101T000060Z",
        "20260101T000061Z",
        "00000101T000000Z",
        "20260101T000000",
        "v1",
        "\u0661",
        "1\n",
        "latest",
    ],
)
def test_what_is_no_version_is_refused(text: str) -> None:
    refused(names.version, text)


def test_versions_sort_as_semver_says_and_kinds_apart() -> None:
    # The chain is the example of semver.org, section 11.
    ascending = [
        "2", "10", "0.9.9", "1.0.0-alpha", "1.0.0-alpha.1", "1.0.0-alpha.beta", "1.0.0-beta", "1.0.0-beta.2",
        "1.0.0-beta.11", "1.0.0-rc.1", "1.0.0", "1.0.1", "1.10.0", "20261123T050000Z", "20261123T050001Z",
    ]  # fmt: skip
    orders = [names.version_order(text) for text in ascending]
    assert orders == sorted(orders)
    assert len(set(orders)) == len(orders)
    assert [order.released for order in orders].count(False) == 7


@pytest.mark.parametrize(
    "text", ["a", "model.onnx", "a/b/c.txt", "é.txt", " leading", "...x", "日本/語.json", "a" * 255]
)
def test_paths_are_relative_and_portable(text: str) -> None:
    assert names.path(text) == text


@pytest.mark.parametrize(
    "text",
    [
        "",
        "/etc/passwd",
        "../a",
        "a/../b",
        "a/./b",
        "a//b",
        "a/",
        ".",
        "C:/a",
        "a\\b",
        "a\x00",
        "a\nb",
        "a\x7f",
        "a\u202eb",
        "a\u200b",
        "con",
        "a/Nul.txt",
        "com1",
        "COM¹.log",
        "conin$",
        "aux .x",
        "a.",
        "a ",
        "a /b",
        "e\u0301",
        "\u212b",
        "\ud800",
        "a?",
        "a*",
        '"',
        "<",
        "|",
        "é" * 128,
        "a/" * 16 + "a",
        ("a" * 100 + "/") * 5 + "a" * 12,
    ],
)
def test_paths_that_some_system_reads_otherwise_are_refused(text: str) -> None:
    refused(names.path, text)


def test_a_path_of_the_longest_kind_is_accepted() -> None:
    text = "/".join(["a" * 31] * 16)
    assert len(text) == limits.PATH_CHARS - 1
    names.path(text)


def test_fold_joins_what_some_file_system_confuses() -> None:
    assert names.fold("README") == names.fold("readme")
    assert names.fold("straße") == names.fold("STRASSE")
    assert names.fold("\ufb01le") == names.fold("file")
    assert names.fold("\u00e9") == names.fold("e\u0301")
    assert names.fold("a") != names.fold("b")


def test_times_have_one_spelling_and_are_moments() -> None:
    assert names.timestamp("1970-01-01T00:00:00Z") == 0
    assert names.timestamp("2026-11-23T05:00:00Z") == 1_795_410_000
    assert names.time_text(1_795_410_000) == "2026-11-23T05:00:00Z"
    for bad in (
        "2026-11-23T05:00:00",
        "2026-11-23 05:00:00Z",
        "2026-11-23T05:00:00+00:00",
        "2026-02-30T00:00:00Z",
        "2026-11-23T24:00:00Z",
        "2026-11-23T05:00:60Z",
        "0000-01-01T00:00:00Z",
        "2026-11-23T05:00:00Z\n",
        "\uff12026-11-23T05:00:00Z",
        "",
    ):
        refused(names.timestamp, bad)


@pytest.mark.parametrize(
    "text",
    [
        "churn",
        "churn:3",
        "nepse/NABIL:1.4.0-rc.1",
        "churn@prod",
        "churn@prod/b",
        f"churn@sha256:{DIGEST}",
    ],
)
def test_references_are_written_as_they_are_read(text: str) -> None:
    assert str(names.reference(text)) == text


def test_the_main_slot_need_not_be_written() -> None:
    found = names.reference("churn@prod/main")
    assert (found.environment, found.slot) == ("prod", "main")
    assert str(found) == "churn@prod"


@pytest.mark.parametrize(
    "text",
    [
        "",
        "@prod",
        ":1",
        "churn:",
        "churn@",
        "churn@prod/",
        "churn@prod/b/c",
        "churn@Prod",
        "churn:1@prod",
        "churn@prod:1",
        "churn:latest",
        "churn@sha256:",
        "churn@sha256:abc",
        f"churn@SHA256:{DIGEST}",
        f"churn@sha512:{DIGEST}",
        "a@b@c",
    ],
)
def test_what_is_no_reference_is_refused(text: str) -> None:
    refused(names.reference, text)
