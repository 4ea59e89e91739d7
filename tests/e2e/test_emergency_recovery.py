"""Emergency recovery without this software: the commands of a vault's own README.txt, with stock programs."""

import base64
import hashlib
import json
import os
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest

import vault
from tests import oracles
from vault.actions import founding

pytestmark = pytest.mark.oracle

# npm's age-encryption is a library; this gives it the two options of `age` that README.txt uses.
NODE_AGE = """#!/usr/bin/env node
import { readFileSync, writeSync } from "node:fs";
import { Decrypter } from "age-encryption";
const [decrypt, option, identities, ...inputs] = process.argv.slice(2);
if (decrypt !== "-d" || option !== "-i" || inputs.length > 1) throw new Error("age -d -i FILE [INPUT]");
const decrypter = new Decrypter();
for (const line of readFileSync(identities, "utf8").split("\\n"))
  if (line && !line.startsWith("#")) decrypter.addIdentity(line);
const output = await decrypter.decrypt(readFileSync(inputs[0] ?? 0), "uint8array");
for (let done = 0; done < output.length; ) done += writeSync(1, output, done);
"""
FILES = {
    "model.onnx": b"",  # filled in below: a real one, so that push recognises it
    "notes/read me.txt": b"What this is about.\n",
    "weights.bin": os.urandom(3 * 1_048_576 + 5),  # several units, the last one short
    "empty.txt": b"",
}
PLACE = ("nepse/NABIL", "1.4.0")


@pytest.fixture(params=["x25519", "hybrid"])
def program(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[str, str]:
    """Give a kind of recipient, and a folder where a program called `age` opens what is encrypted to it."""
    kind: str = request.param
    if kind == "x25519":
        return kind, str(Path(oracles.program("age", "age")).parent)
    node = oracles.program("node", "nodejs")
    packages = oracles.npm_folder("age-encryption", request.config.cache.mkdir("oracles"))
    script = packages / f"recovery-{os.getpid()}.mjs"
    script.write_text(NODE_AGE)
    (tmp_path / "bin").mkdir()
    shim = tmp_path / "bin" / "age"
    shim.write_text(f'#!/bin/sh\nexec "{node}" "{script}" "$@"\n')
    shim.chmod(0o755)
    return kind, str(shim.parent)


@pytest.fixture
def stored(
    program: tuple[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> tuple[Path, dict[str, bytes]]:
    """Make a vault with one version in dev and prod; give its folder and the files that went in."""
    kind, _ = program
    monkeypatch.setenv("MVAULT_CONFIG_DIR", str(tmp_path / "config"))
    monkeypatch.setenv("MVAULT_STATE_DIR", str(tmp_path / "state"))
    place = tmp_path / "models"
    made: list[founding.NewVault] = []
    opened = vault.init(place, recipient=kind, no_passphrase=True, created=made.append)
    files = FILES | {"model.onnx": tiny_onnx()}
    for name, data in files.items():
        (tmp_path / "in" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "in" / name).write_bytes(data)
    model, version = PLACE
    opened.push(model, tmp_path / "in", version=version, metrics={"mae": 0.5})
    opened.promote(f"{model}:{version}", env="prod")
    recovery = made[0].recovery.read_text()
    # From here on nothing of ours is used, and nothing but the vault and the recovery identity is there.
    (place / "recovery.txt").write_text(recovery)
    for folder in ("config", "state", "in"):
        subprocess.run(["rm", "-r", str(tmp_path / folder)], check=True)
    return place, files


def tiny_onnx() -> bytes:
    import onnx
    from onnx import TensorProto, helper

    value = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [1]) for name in ("x", "y")]
    graph = helper.make_graph([helper.make_node("Neg", ["x"], ["y"])], "tiny", value[:1], value[1:])
    data: bytes = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)]).SerializeToString()
    onnx.load_from_string(data)
    return data


def recipe(readme: str) -> list[str]:
    """Give the commands of the recovery section of a README.txt, in their order."""
    _, _, section = readme.partition("EMERGENCY RECOVERY, WITHOUT THIS SOFTWARE\n")
    blocks = re.findall(r"(?:^ {9,}\S.*\n)+", section, re.MULTILINE)
    return [re.sub(r"^ {9}", "", block, flags=re.MULTILINE) for block in blocks]


def shell(command: str, folder: Path, programs: str) -> bytes:
    """Run one command of the recipe as a person would who stands in the vault's folder."""
    done = subprocess.run(
        ["/bin/sh", "-e", "-c", command],
        cwd=folder,
        env={"PATH": f"{programs}:/usr/bin:/bin", "HOME": str(folder)},
        capture_output=True,
        check=False,
        timeout=120,
    )
    assert done.returncode == 0, f"{command}\n{done.stderr.decode(errors='replace')}"
    return done.stdout


@pytest.mark.parametrize("environment", ["dev", "prod"])
def test_the_commands_of_readme_txt_recover_every_file(
    program: tuple[str, str], stored: tuple[Path, dict[str, bytes]], environment: str
) -> None:
    _, programs = program
    place, files = stored
    model, version = PLACE
    unwrap, look, decrypt = (
        command.replace("MODEL", model).replace("VERSION", version).replace("dev", environment)
        for command in recipe((place / "README.txt").read_text())
    )

    shell(unwrap, place, programs)
    sealing: dict[str, Any] = json.loads(shell(look, place, programs))
    ids = {entry["path"]: entry["id"] for entry in sealing["files"]}
    assert ids.keys() == {*files, "metadata.json"}
    recovered = {}
    for path, file_id in ids.items():
        shell(decrypt.replace("ID", file_id), place, programs)
        recovered[path] = (place / "recovered").read_bytes()

    assert {path: recovered[path] for path in files} == files
    metadata = json.loads(recovered["metadata.json"])
    assert {path: hashlib.sha256(recovered[path]).hexdigest() for path in files} == {
        path: facts["sha256"] for path, facts in metadata["files"].items()
    }
    assert metadata["info"]["metrics"] == {"mae": 0.5}
    envelope = json.loads((place / "models" / model / "@" / version / "manifest.json").read_bytes())
    manifest = json.loads(base64.b64decode(envelope["payload"]))
    named = {entry["path"]: entry["sha256"] for entry in manifest["files"]}
    assert named["metadata.json"] == hashlib.sha256(recovered["metadata.json"]).hexdigest()


def test_readme_txt_names_the_programs_and_the_vault(
    program: tuple[str, str], stored: tuple[Path, dict[str, bytes]]
) -> None:
    kind, _ = program
    place, _ = stored
    text = (place / "README.txt").read_text()
    root = json.loads((place / "trust" / "root" / "000001.json").read_bytes())
    assert hashlib.sha256(base64.b64decode(root["payload"])).hexdigest() in text
    wanted = (
        "age 1.3 or newer, or npm age-encryption" if kind == "hybrid" else "any age program, 1.0 or newer"
    )
    assert wanted in text
    assert len(recipe(text)) == 3


def test_another_identity_recovers_nothing(
    program: tuple[str, str], stored: tuple[Path, dict[str, bytes]], tmp_path: Path
) -> None:
    kind, programs = program
    place, _ = stored
    other: list[founding.NewVault] = []
    (tmp_path / "other").mkdir()
    vault.init(tmp_path / "other" / "models", recipient=kind, no_passphrase=True, created=other.append)
    (place / "recovery.txt").write_text(other[0].recovery.read_text())
    unwrap, _, _ = recipe((place / "README.txt").read_text())
    done = subprocess.run(
        ["/bin/sh", "-c", unwrap],
        cwd=place,
        env={"PATH": f"{programs}:/usr/bin:/bin", "HOME": str(place)},
        capture_output=True,
        check=False,
        timeout=120,
    )
    assert done.returncode != 0
    assert (place / "environment.txt").read_bytes() == b""
