"""Where objects lie: names that no two things share, and numbers with one spelling."""

import re

import pytest

from vault.core import layout, limits, names

DIGEST = names.Digest("0123456789abcdef" * 4)
CHURN, DEV = names.Model("churn"), names.Environment("dev")
ONE, MAIN, ANN = names.Version("1"), names.MAIN, names.Principal("ann")


@pytest.mark.parametrize("number", [1, 42, 999_999, 1_000_000, limits.NUMBER_MAX])
def test_a_number_is_read_as_it_is_written(number: int) -> None:
    assert layout.parse_number(layout.numbered(number)) == number


@pytest.mark.parametrize(
    "name",
    [
        "000000.json",
        "1.json",
        "00001.json",
        "0000001.json",
        "000001",
        "000001.json.tmp",
        "000001.proof",
        "-00001.json",
        "\u0660\u0660\u0660\u0660\u0660\u0661.json",
        "000001.json\n",
        "1" + "0" * 16 + ".json",
        "@/",
        "",
    ],
)
def test_what_is_no_numbered_name_has_no_number(name: str) -> None:
    assert layout.parse_number(name) is None


def test_every_name_is_where_the_format_says() -> None:
    file_id = "00" * 16
    assert layout.root(1) == "trust/root/000001.json"
    assert layout.policy(12) == "trust/policy/000012.json"
    assert layout.recipient(DIGEST) == f"trust/recipients/{DIGEST}"
    assert layout.environment_key(DEV, 1, ANN, DIGEST, DIGEST) == (
        f"keys/dev/all/1/ann/{DIGEST[:16]}-{DIGEST[:32]}.age"
    )
    assert layout.manifest(CHURN, ONE) == "models/churn/@/1/manifest.json"
    assert layout.sealed(CHURN, ONE) == "models/churn/@/1/sealed/"
    assert layout.payload(CHURN, ONE, file_id) == f"models/churn/@/1/files/{file_id}"
    assert layout.units(layout.payload(CHURN, ONE, file_id)) == f"models/churn/@/1/files/{file_id}.units"
    assert layout.header(CHURN, ONE, DEV, 2, file_id, DIGEST) == (
        f"models/churn/@/1/keys/dev-2/{file_id}-{DIGEST[:32]}"
    )
    assert layout.approval(CHURN, ONE, DEV, DIGEST) == f"models/churn/@/1/approvals/dev/{DIGEST}.json"
    assert layout.label(CHURN, ONE, DIGEST) == f"models/churn/@/1/labels/{DIGEST}.json"
    assert layout.channel(DEV, MAIN, CHURN) == "channels/dev/main/churn/@/"
    assert layout.attestation(CHURN, ONE, DIGEST) == f"models/churn/@/1/attestations/{DIGEST}.json"
    assert layout.requirements(CHURN, ONE, DIGEST) == f"models/churn/@/1/requirements/{DIGEST}.txt"
    assert layout.archives(CHURN, ONE) == "models/churn/@/1/archive/"
    assert layout.removals(CHURN, ONE) == "models/churn/@/1/removals/"
    assert layout.backup_list(names.slot("daily"), DIGEST) == f"backups/daily/versions/{DIGEST}"


def test_names_that_hold_a_digest_are_told_from_others() -> None:
    content = names.Digest("f" * 64)
    copy = layout.environment_key(DEV, 1, ANN, DIGEST, content).rpartition("/")[2]
    header = layout.header(CHURN, ONE, DEV, 2, "00" * 16, content).rpartition("/")[2]
    approval = layout.approval(CHURN, ONE, DEV, content).rpartition("/")[2]
    assert copy.startswith(layout.copies_for(DIGEST))
    for name in (copy, header, approval):
        assert layout.is_copy(name) is (name == copy)
        assert (layout.parse_header(name) == "00" * 16) is (name == header)
        assert layout.is_approval(name) is (name == approval)
        assert layout.fits_content(f"some/folder/{name}", content)
        assert not layout.fits_content(name, DIGEST)
        for bent in (name.upper(), name + "x", name[1:], "a/" + name, name + "\n"):
            assert not layout.is_copy(bent)
            assert layout.parse_header(bent) is None
            assert not layout.is_approval(bent)
    for short in ("", "-", ".age", "x-fff.age", "x-" + "f" * 31):
        assert not layout.fits_content(short, content)


def test_a_model_below_another_never_meets_its_versions() -> None:
    assert layout.versions(names.model("nepse/3")) == "models/nepse/3/@/"
    assert layout.version(names.model("nepse"), names.version("3")) == "models/nepse/@/3/"


def test_the_longest_names_fit_every_store() -> None:
    model = names.model("/".join(["a" * 24] * 8))
    version = names.version("999999999.999999999.999999999-" + "a" * 32)
    environment = names.environment("a" * 32)
    for name in (
        layout.header(model, version, environment, limits.EPOCHS, "0" * 32, DIGEST),
        layout.units(layout.payload(model, version, "0" * 32)),
        layout.approval(model, version, environment, DIGEST),
        layout.channel(environment, names.slot("b" * 32), model) + layout.numbered(limits.NUMBER_MAX),
    ):
        assert len(name) <= limits.STORE_NAME_CHARS
        assert all(len(part) <= 255 for part in name.split("/"))


def test_adoptions_lie_beside_approvals_under_their_own_digest() -> None:
    name = layout.adoption(CHURN, ONE, DIGEST)
    assert name == f"models/churn/@/1/adoptions/{DIGEST}.json"
    assert layout.is_approval(name.removeprefix(layout.adoptions(CHURN, ONE)))
    assert layout.slots(DEV) == "channels/dev/"


def test_copies_that_a_key_service_wrapped_lie_in_a_folder_of_no_principal() -> None:
    service, content = names.Digest("ab" * 32), names.Digest("cd" * 32)
    name = layout.service_key(names.Environment("prod"), 3, service, content)
    assert name == f"keys/prod/all/3/@/{'ab' * 8}-{'cd' * 16}.json"
    folder = layout.service_keys(names.Environment("prod"), 3)
    assert layout.is_service_copy(name.removeprefix(folder))
    for other in ("", "x.json", name, f"{'ab' * 8}-{'cd' * 16}.age", f"{'AB' * 8}-{'cd' * 16}.json"):
        assert not layout.is_service_copy(other)


def test_holds_and_notices_of_leftovers_are_named_after_their_content() -> None:
    assert layout.is_hold(layout.hold(DIGEST).removeprefix(layout.HOLDS))
    assert layout.is_hold(layout.leftovers(DIGEST).removeprefix(layout.LEFTOVERS))
    for other in (DIGEST, f"{DIGEST}.txt", f"{DIGEST[:63]}.json", "000001.json"):
        assert not layout.is_hold(other)


def test_the_folders_of_wrapped_file_keys_are_those_of_one_environment_and_its_epochs() -> None:
    inner = re.compile(layout.inner_folders(names.environment("prod"), [1, 12]))
    version = layout.version(names.model("team/stock"), names.version("1")).removeprefix(layout.MODELS)[:-1]
    for path in ("team", "team/stock", "team/stock/@", version):
        assert inner.fullmatch(path)
    for path in ("sealed", "keys", "keys/prod-1", "keys/prod-12"):
        assert inner.fullmatch(f"{version}/{path}")
    for path in ("files", "keys/prod-2", "keys/dev-1", "keys/prod-1/x", "sealed/x", "labels"):
        assert not inner.fullmatch(f"{version}/{path}")
