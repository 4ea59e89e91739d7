"""Emergency recovery after a rotation: stock `age` opens what is wrapped to the second epoch."""

import json
from pathlib import Path
from typing import Any

import pytest

import vault
from tests import oracles
from tests.e2e.test_emergency_recovery import recipe, shell
from vault.actions import founding

pytestmark = pytest.mark.oracle

FIRST = b'{"weights":[1]}'
SECOND = b'{"weights":[2]}'


@pytest.mark.parametrize("deep", [False, True])
def test_stock_age_opens_a_vault_whose_key_was_rotated(
    deep: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    programs = str(Path(oracles.program("age", "age")).parent)
    monkeypatch.setenv("MVAULT_CONFIG_DIR", str(tmp_path / "config"))
    monkeypatch.setenv("MVAULT_STATE_DIR", str(tmp_path / "state"))
    place = tmp_path / "models"
    made: list[founding.NewVault] = []
    opened = vault.init(place, recipient="x25519", no_passphrase=True, created=made.append)
    (tmp_path / "model.json").write_bytes(FIRST)
    opened.push("churn", tmp_path / "model.json")
    opened.promote("churn:1", env="prod")
    done = opened.rotate_access("prod", deep=deep)
    assert done.complete
    (tmp_path / "model.json").write_bytes(SECOND)
    opened.push("churn", tmp_path / "model.json")
    opened.promote("churn:2", env="prod")
    (place / "recovery.txt").write_text(made[0].recovery.read_text())

    for version, content in (("1", FIRST), ("2", SECOND)):
        record = "000002" if deep and version == "1" else "000001"
        unwrap, look, decrypt = (
            command.replace("MODEL", "churn")
            .replace("VERSION", version)
            .replace("dev/all/1/", "prod/all/2/")
            .replace("dev-1/", "prod-2/")
            .replace("000001", record)
            for command in recipe((place / "README.txt").read_text())
        )
        shell(unwrap, place, programs)
        sealing: dict[str, Any] = json.loads(shell(look, place, programs))
        assert sealing["number"] == int(record)
        (file_id,) = [entry["id"] for entry in sealing["files"] if entry["path"] == "model.json"]
        shell(decrypt.replace("ID", file_id), place, programs)
        assert (place / "recovered").read_bytes() == content
