"""Model cards and bills of materials: signed with the package, or made from what is signed, and exported."""

import json
from pathlib import Path

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression

import vault as package
from tests.builders import Built, solo
from tests.oms_parts import trust
from vault.core.model_facts import BOM, CARD
from vault.errors import AccessDenied, Conflict, DigestMismatch
from vault.settings import Settings
from vault.vault import Vault

ROWS = 40
FILES = {"model.json": b'{"weights":[1,2,3]}', "features.json": b'["age"]'}


def opened(built: Built, who: str = "owner") -> Vault:
    return Vault(built.session(who), Settings())


@pytest.fixture
def built() -> Built:
    return solo(seed="documents")


def save(vault: Vault, **options: object) -> str:
    random = np.random.default_rng(1)
    rows = random.normal(size=(ROWS, 3))
    model = LogisticRegression().fit(rows, rows[:, 0] > 0)
    given: dict[str, object] = {"sample_input": rows, "training_data": rows, "metrics": {"auc": 0.91}}
    return str(vault.save_model("churn", model, **(given | options)))  # type: ignore[arg-type]


def test_without_asking_a_package_has_no_documents_and_they_are_made_on_demand(built: Built) -> None:
    vault = opened(built)
    reference = save(vault, notes="Trained in May.")
    assert not {CARD, BOM} & set(vault.load_package(reference).files)
    card, bom = vault.card(reference), json.loads(vault.bom(reference))
    digest = vault.load_package(reference).digest
    for part in ("`churn`", "Trained in May.", "`0.91`", "`owner`", f"`{digest}`", "LogisticRegression"):
        assert part in card
    component = bom["metadata"]["component"]
    assert component["name"] == "churn"
    assert {"name": "mvault:manifest", "value": digest} in component["properties"]
    files = vault.load_package(reference).files
    hashes = {
        part["name"]: part["hashes"][0]["content"] for part in bom["components"] if part["type"] == "file"
    }
    assert hashes == {path: facts["sha256"] for path, facts in files.items()}
    assert vault.card(reference) == card, "the same bytes again"
    assert vault.bom(reference) == vault.bom(reference)


def test_asked_for_they_are_in_the_package_and_signed_with_it(built: Built, tmp_path: Path) -> None:
    vault = opened(built)
    reference = save(vault, documents=True)
    files = vault.load_package(reference).files
    assert {files[CARD]["role"], files[BOM]["role"]} == {"file"}
    out = vault.pull(reference, tmp_path / "out")
    assert (out / CARD).read_text(encoding="utf-8") == vault.card(reference)
    assert (out / BOM).read_text(encoding="utf-8") == vault.bom(reference)
    bom = json.loads(vault.bom(reference))
    listed = {part["name"] for part in bom["components"] if part["type"] == "file"}
    assert listed == set(files) - {CARD, BOM}
    vault.promote(reference, env="prod")
    assert vault.load_model("churn@prod") is not None
    assert vault.check(reference, data=True).whole


def test_pushed_files_get_documents_too_and_keep_their_own(built: Built, tmp_path: Path) -> None:
    vault = opened(built)
    source = tmp_path / "source"
    source.mkdir()
    for name, data in FILES.items():
        (source / name).write_bytes(data)
    (source / "model_card.md").write_text("# Ours\n")
    reference = str(vault.push("churn", str(source), documents=True, metrics={"auc": 0.5}))
    files = vault.load_package(reference).files
    assert "model_card.md" in files
    assert CARD not in files, "two such names cannot lie in one folder everywhere"
    assert json.loads(vault.bom(reference))["metadata"]["component"]["version"] == "1"
    (source / "model_card.md").rename(source / CARD)
    second = str(vault.push("churn", str(source)))
    assert vault.card(second) == "# Ours\n", "the package's own, which its publisher signed"


def test_an_export_is_signed_beside_the_file_and_verifies(
    built: Built, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    vault = opened(built)
    reference = save(vault)
    place = vault.export_document(reference, CARD, tmp_path / CARD, with_signature=True)
    assert place.read_text(encoding="utf-8") == vault.card(reference)
    found = package.verify(place, trusted=trust(built.owner))
    assert found.signers == ("owner",)
    digest = vault.load_package(reference).digest
    assert found.annotations["mvault.manifest"] == digest
    place.chmod(0o600)
    place.write_bytes(place.read_bytes() + b"!")
    with pytest.raises(DigestMismatch):
        package.verify(place, trusted=trust(built.owner))
    with pytest.raises(Conflict):
        vault.export_document(reference, CARD, tmp_path / CARD)
    with pytest.raises(Conflict):
        vault.export_document(reference, BOM, tmp_path / CARD, with_signature=True)
    plain = vault.export_document(reference, BOM, tmp_path / "bom.json")
    assert json.loads(plain.read_text())["bomFormat"] == "CycloneDX"
    with pytest.raises(ValueError, match="documents are"):
        vault.export_document(reference, "README.md", tmp_path / "README.md")


def test_only_who_may_load_a_version_gets_its_documents(built: Built) -> None:
    """A card tells what the encrypted metadata do."""
    reference = save(opened(built))
    built.add("zoe", "loader", models=("other",))
    for read in (opened(built, "zoe").card, opened(built, "zoe").bom):
        with pytest.raises(AccessDenied):
            read(reference)
