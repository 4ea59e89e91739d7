"""Strangers who write to the vault's store or to the archive, and insiders who may not archive."""

import json
from pathlib import Path

import pytest

from tests.builders import Built
from tests.e2e.archive_parts import content, move, opened, payloads, pulled, three, verified
from vault.actions import archived, archiving
from vault.core import archives, layout
from vault.core.model_facts import BOM, CARD
from vault.core.names import Model, Version
from vault.errors import DigestMismatch, NotFound, Refused, Unavailable
from vault.storage.local import LocalStore

CHURN, ONE = Model("churn"), Version("1")
FOLDER = layout.archives(CHURN, ONE)


@pytest.fixture
def built() -> Built:
    return three()


def test_another_version_s_payloads_in_the_archive_are_not_taken(built: Built, tmp_path: Path) -> None:
    """Genuine ciphertext of the same vault, under another payload's name."""
    cold = LocalStore(tmp_path / "cold")
    move(built.session(), cold)
    others = payloads(built, "churn:2")
    for mine, other in zip(payloads(built, "churn:1"), others, strict=True):
        place = tmp_path / "cold" / mine
        place.chmod(0o600)
        place.write_bytes(built.store.objects[other])
    with pytest.raises(DigestMismatch):
        opened(built).unarchive("churn:1")
    with pytest.raises(DigestMismatch):
        opened(built).pull("churn:1", tmp_path / "out", wait=True)


def test_a_record_of_another_version_or_number_hides_no_deletion(built: Built, tmp_path: Path) -> None:
    """Whoever writes to the store copies genuine records to where they do not belong."""
    built.publish(content(4))
    cold = LocalStore(tmp_path / "cold")
    move(built.session(), cold)
    genuine = built.store.objects[FOLDER + "000001.json"]
    other = layout.archives(CHURN, Version("3"))
    for name in (other + "000001.json", FOLDER + "000007.json"):
        built.write(name, genuine)
    for name in payloads(built, "churn:3"):
        del built.store.objects[name]
    with pytest.raises(NotFound):
        opened(built).pull("churn:3", tmp_path / "out")
    assert not opened(built).check("churn:3").whole
    session = built.session()
    found = archived.in_force(session, verified(session, "churn:1"))
    assert found is not None
    assert found.record.number == 1


def test_a_record_that_names_another_policy_than_the_store_offers_is_a_rollback(built: Built) -> None:
    session = built.session()
    found = verified(session, "churn:1")
    record = archiving.value(session, found, None, archives.ARCHIVED, (archives.STORE, "/x"), (), 0)
    built.amend(lambda policy: policy)
    newest = max(name for name in built.store.objects if name.startswith(layout.POLICIES))
    newer = built.session()
    signed = archiving.value(newer, verified(newer, "churn:1"), None, "archived", ("store", "/x"), (), 0)
    assert signed.policy != record.policy
    built.write(FOLDER + "000001.json", built.sign(archives.KIND, archives.encode(signed), "owner"))
    del built.store.objects[newest]
    forgetful = built.fork(forgetful=True)
    with pytest.raises(Refused) as caught:
        archived.in_force(forgetful.session(), verified(forgetful.session(), "churn:1"))
    assert caught.value.code == "withheld"


def test_squatted_numbers_do_not_stop_an_archive(built: Built, tmp_path: Path) -> None:
    for number in range(1, 40):
        built.write(FOLDER + layout.numbered(number), b"squatted")
    row = move(built.session(), LocalStore(tmp_path / "cold"))
    assert row.state == archiving.ARCHIVED
    with pytest.raises(Unavailable) as caught:
        opened(built).pull("churn:1", tmp_path / "out")
    assert caught.value.code == "archived"


def test_a_version_that_is_here_is_read_here_whatever_a_record_says(built: Built, tmp_path: Path) -> None:
    """Even a genuine record, by somebody who may archive, only points the way to what is missing."""
    session = built.session()
    found = verified(session, "churn:1")
    files = tuple(sorted(bytes.fromhex(name.rpartition("/")[2]) for name in payloads(built, "churn:1")))
    record = archiving.value(session, found, None, archives.ARCHIVED, (archives.STORE, "/none"), files, 1)
    archiving.write(session, found, record)
    assert built.read("churn:1") == content(1)
    assert pulled(opened(built).pull("churn:1", tmp_path / "out", wait=True)) == content(1)
    assert opened(built).check("churn:1").whole


def test_a_publisher_s_words_do_nothing_in_the_documents_of_a_version(built: Built, tmp_path: Path) -> None:
    """By the whole way: pushed with documents, pulled elsewhere, shown by whatever shows Markdown."""
    source = tmp_path / "source"
    source.mkdir()
    (source / "data.bin").write_bytes(b"x")
    evil = "</code><img src=x onerror=alert(1)> [x](javascript:alert(1)) `|` \u202e http://evil.example"
    vault = opened(built)
    reference = vault.push(
        "evil", str(source), notes=evil, tags=(evil,), params={evil: evil}, features=[evil], documents=True
    )
    out = vault.pull(reference, tmp_path / "out")
    markdown = pytest.importorskip("markdown_it").MarkdownIt("gfm-like", {"html": True, "linkify": False})
    tokens = markdown.parse((out / CARD).read_text(encoding="utf-8"))
    kinds = {inner.type for token in tokens for inner in [token, *(token.children or [])]}
    assert not kinds & {"html_inline", "html_block", "link_open", "image"}
    assert "\u202e" not in (out / CARD).read_text(encoding="utf-8")
    assert json.loads((out / BOM).read_text(encoding="ascii"))["specVersion"] == "1.6"
