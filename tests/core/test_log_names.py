"""Names of logs and of their objects: one grammar, the paths of C2SP tlog-tiles, nothing else."""

import pytest

from tests.logs import ACCESS_LOG, PROD_LOG, TRUST_LOG, VAULT
from vault.core import log_names
from vault.core.names import Digest, Principal
from vault.errors import Malformed


@pytest.mark.parametrize("text", ["trust", "env/prod", "access/scorer/0123456789abcdef"])
def test_a_name_is_read_and_written_back(text: str) -> None:
    log = log_names.parse(text)
    assert str(log) == text
    assert log_names.parse_origin(log_names.origin(VAULT, log)) == (VAULT, log)


@pytest.mark.parametrize(
    "text",
    [
        "", "trust/", "trust/x", "env", "env/", "env/Prod", "env/a/b", "access/scorer", "access/s/0", "other",
        "access/s/0123456789ABCDEF", "access/s/0123456789abcdef/x", "access//0123456789abcdef", "/trust",
        "access/a b/0123456789abcdef", "env/..",
    ],
)  # fmt: skip
def test_other_names_are_malformed(text: str) -> None:
    with pytest.raises(Malformed) as caught:
        log_names.parse(text)
    assert caught.value.code == "malformed-name"
    with pytest.raises(Malformed):
        log_names.parse_origin(f"mvault/v1/{VAULT}/{text}")


@pytest.mark.parametrize(
    "text", ["", "mvault/v1/", f"mvault/v1/{VAULT}", f"x/{VAULT}/trust", "mvault/v1/ab/trust"]
)
def test_what_is_no_origin_is_malformed(text: str) -> None:
    with pytest.raises(Malformed):
        log_names.parse_origin(text)


def test_objects_lie_where_the_format_says() -> None:
    assert PROD_LOG.commit(1) == "log/env/prod/commit/000001"
    assert PROD_LOG.commit(1_234_567) == "log/env/prod/commit/1234567"
    assert TRUST_LOG.checkpoint == "log/trust/checkpoint"
    assert ACCESS_LOG.folder == "log/access/scorer/0123456789abcdef/"
    content = Digest("e" * 64)
    name = PROD_LOG.cosignature(12, Principal("ci-witness"), content)
    assert name == f"log/env/prod/cosigned/000000000012/ci-witness-{'e' * 32}"
    assert log_names.parse_cosignature(name.rpartition("/")[2]) == ("ci-witness", "e" * 32)


@pytest.mark.parametrize(
    ("index", "path"), [(0, "000"), (255, "255"), (1_234_067, "x001/x234/067"), (1_000, "x001/000")]
)
def test_tiles_are_named_as_in_tlog_tiles(index: int, path: str) -> None:
    assert TRUST_LOG.tile(0, index) == f"log/trust/tile/0/{path}"
    assert TRUST_LOG.tile(2, index, 5) == f"log/trust/tile/2/{path}.p/5"
    assert TRUST_LOG.bundle(index, 112) == f"log/trust/tile/entries/{path}.p/112"


def test_numbers_of_commits_have_one_spelling() -> None:
    assert log_names.parse_commit("000001") == 1
    assert log_names.parse_commit("1234567") == 1_234_567
    for leaf in (
        "1",
        "000000",
        "0000001",
        "000001.json",
        "000001/",
        "-00001",
        "00000\u0661",
        "1" * 17,
        "",
        "x",
    ):
        assert log_names.parse_commit(leaf) is None


def test_other_names_of_cosignatures_are_passed_over() -> None:
    for leaf in ("", "wes", f"wes-{'E' * 32}", f"-{'e' * 32}", f"a b-{'e' * 32}", f"wes-{'e' * 31}"):
        assert log_names.parse_cosignature(leaf) is None


def test_a_witness_signs_under_its_own_name_in_its_vault() -> None:
    name = log_names.witness_name(VAULT, Principal("wes"))
    assert log_names.parse_witness(VAULT, name) == "wes"
    assert log_names.parse_witness(Digest("0" * 64), name) is None
    assert log_names.parse_witness(VAULT, name + "/x") is None
    assert log_names.parse_witness(VAULT, log_names.origin(VAULT, PROD_LOG)) is None


def test_an_instance_is_checked() -> None:
    with pytest.raises(Malformed):
        log_names.access_log(Principal("scorer"), "0123")
