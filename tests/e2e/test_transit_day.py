"""A day with OpenBao: the owner's signing key never leaves it, and prod's key is wrapped by it."""

import base64
import io
import json
import os
import subprocess
from pathlib import Path

import numpy as np
import pytest

import vault
from tests.cli.typing_user import User
from tests.servers import openbao as servers
from tests.servers.openbao import ROOT_TOKEN, VARIABLES, OpenBao, openbao
from vault.core import key_services, strict_json
from vault.core.names import Digest, Environment
from vault.errors import AccessDenied, BadSignature, NoUsableKey, Unavailable
from vault.keys import recipients

__all__ = ["openbao"]
POLICY = """
roles:
  owner:
    allow:
      - {{actions: [publish, load, pull, withdraw, rotate, approve], env: [dev, prod]}}
      - {{actions: [log], env: [dev, prod]}}
      - {{actions: [promote], from: dev, to: prod}}
  loader: {{allow: [{{actions: [load, pull], env: [prod]}}]}}
environments:
  dev: {{formats: [npz], key_services: [{{transit: "{url}"}}]}}
  prod:
    formats: [npz]
    require: {{approvals: {{role: owner, threshold: 1, distinct_from: []}}}}
    key_services: [{{transit: "{url}"}}]
principals:
  owner: {{kind: person, roles: [owner]}}
"""


@pytest.fixture
def user(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> User:
    """Somebody in an empty project folder, without a token."""
    for name in [name for name in os.environ if name.startswith(("MVAULT_", "XDG_")) or name in VARIABLES]:
        monkeypatch.delenv(name)
    home, folder = tmp_path / "home", tmp_path / "project"
    home.mkdir()
    folder.mkdir()
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.chdir(folder)
    return User(home, folder)


def ran(user: User, *arguments: str) -> str:
    answer = user.run(*arguments)
    assert answer.status == 0, answer.err
    return answer.out


def npz(*weights: int) -> bytes:
    file = io.BytesIO()
    np.savez(file, weights=np.array(weights))
    return file.getvalue()


def founded(
    user: User, bao: OpenBao, monkeypatch: pytest.MonkeyPatch, age: str = "--no-age-key"
) -> tuple[str, str]:
    """Found a vault by an identity in OpenBao, without an age key unless told; give the URLs of both keys."""
    signing, wrapping = bao.key("ed25519"), bao.key()
    monkeypatch.setenv("BAO_ADDR", bao.address)
    monkeypatch.setenv("BAO_TOKEN", ROOT_TOKEN)
    ran(user, "identity", "new", "anna", "--transit", signing, age)
    user.write("policy.yaml", POLICY.format(url=wrapping))
    ran(user, "init", "models/", "--policy", "policy.yaml")
    return signing, wrapping


def released(user: User, *weights: int) -> str:
    """Push, approve and promote; give the reference."""
    user.write("model.npz", npz(*weights))
    ref = ran(user, "push", "churn", "model.npz").strip().splitlines()[0].split()[0]
    ran(user, "approve", ref, "--env", "prod")
    ran(user, "promote", ref, "--env", "prod")
    return ref


def loaded(user: User, identity: str | None = None) -> list[int]:
    opened = vault.open(user.folder / "models", identity=identity)
    return [int(weight) for weight in opened.load_model("churn@prod")["weights"]]


def test_an_identity_in_openbao_founds_pushes_approves_promotes_and_signs_policies(
    user: User, openbao: OpenBao, monkeypatch: pytest.MonkeyPatch
) -> None:
    signing, wrapping = founded(user, openbao, monkeypatch)
    shown = json.loads(ran(user, "identity", "show", "--json"))
    assert shown["signer"] == f"{signing} version 1"
    assert shown["recipient"] is None
    assert f"{signing} version 1" in ran(user, "identity", "show")
    assert "\tnone\t" in ran(user, "identity", "list")
    assert "PRIVATE" not in (user.home / ".config" / "mvault" / "identity.json").read_text()
    released(user, 1, 2)
    assert loaded(user) == [1, 2]

    # A token that may sign and unwrap, and nothing else, is enough for the day.
    name = {"sign": signing, "decrypt": wrapping}
    openbao.client.sys.create_or_update_policy(
        "daily",
        "\n".join(
            f'path "transit/{verb}/{url.rpartition("/")[2]}" {{ capabilities = ["update"] }}'
            for verb, url in name.items()
        ),
    )
    made = openbao.client.auth.token.create(policies=["daily"], ttl="1h", no_default_policy=True)
    monkeypatch.setenv("BAO_TOKEN", made["auth"]["client_token"])
    released(user, 3)
    assert loaded(user) == [3]

    # The next policy is signed there as well.
    text = (user.folder / "policy.yaml").read_text().replace("principals:\n  owner:", "principals:\n  anna:")
    user.write("next.yaml", text.replace("formats: [npz]", "formats: [npz, json]"))
    ran(user, "policy", "draft", "next.yaml", "--output", "draft.json")
    ran(user, "policy", "sign", "draft.json", "--yes")
    ran(user, "policy", "apply", "draft.json", "--yes")
    assert len(list((user.folder / "models" / "trust" / "policy").iterdir())) == 2
    assert user.run("check", "--all").status == 0
    user.write("model.npz", npz(4))
    ran(user, "push", "churn", "model.npz")


def changed(user: User, text: str) -> dict[str, list[dict[str, str]]]:
    """Draft, sign and apply a policy; give what came of it."""
    user.write("next.yaml", text)
    draft = f"draft-{len(list((user.folder / 'models' / 'trust' / 'policy').iterdir()))}.json"
    ran(user, "policy", "draft", "next.yaml", "--output", draft)
    ran(user, "policy", "sign", draft, "--yes")
    found: dict[str, list[dict[str, str]]] = json.loads(
        ran(user, "policy", "apply", draft, "--yes", "--json")
    )
    return found


def test_a_policy_lets_a_service_in_and_out(
    user: User, openbao: OpenBao, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, wrapping = founded(user, openbao, monkeypatch)
    released(user, 1)
    other = openbao.key("chacha20-poly1305", derived=True)
    text = (user.folder / "policy.yaml").read_text().replace("principals:\n  owner:", "principals:\n  anna:")
    both = text.replace(
        f'    key_services: [{{transit: "{wrapping}"}}]',
        f'    key_services:\n      - transit: "{other}"\n      - transit: "{wrapping}"',
    )
    assert changed(user, both)["granted"] == [{"env": "prod", "who": other}]
    monkeypatch.setenv("BAO_TOKEN", openbao.token(other, "decrypt"))
    assert loaded(user) == [1]
    monkeypatch.setenv("BAO_TOKEN", ROOT_TOKEN)
    assert changed(user, text)["left"] == [{"env": "prod", "who": other}]
    shown = user.run("access", "show", "prod")
    assert shown.status == 0
    assert f"{other} holds a key to what is stored in prod now" in shown.err
    ran(user, "access", "rotate", "prod", "--yes")
    assert "holds a key to what is stored in prod now" not in user.run("access", "show", "prod").err
    released(user, 2)
    assert loaded(user) == [2]


def test_a_key_that_is_rotated_in_openbao_changes_nobody(
    user: User, openbao: OpenBao, monkeypatch: pytest.MonkeyPatch
) -> None:
    signing, wrapping = founded(user, openbao, monkeypatch)
    released(user, 1)
    engine = openbao.client.secrets.transit
    engine.rotate_key(signing.rpartition("/")[2])
    released(user, 2)
    assert loaded(user) == [2]
    engine.update_key_configuration(signing.rpartition("/")[2], min_encryption_version=2)
    user.write("model.npz", npz(3))
    answer = user.run("push", "churn", "model.npz", "--json")
    assert answer.status == AccessDenied.exit_status
    assert json.loads(answer.out)["error"]["code"] == "key-service-denied"

    # The key that wraps is rotated too: a new copy is written under its new version, the old one given up.
    engine.update_key_configuration(signing.rpartition("/")[2], min_encryption_version=1)
    engine.rotate_key(wrapping.rpartition("/")[2])
    ran(user, "access", "sync", "--again", wrapping)
    engine.update_key_configuration(wrapping.rpartition("/")[2], min_decryption_version=2)
    assert loaded(user) == [2]
    shown = json.loads(ran(user, "access", "show", "prod", "--json"))
    assert shown["complete"] is True


def test_a_key_that_was_replaced_signs_nothing_for_anybody(
    user: User, openbao: OpenBao, monkeypatch: pytest.MonkeyPatch
) -> None:
    signing, _ = founded(user, openbao, monkeypatch, "--no-passphrase")
    assert json.loads(ran(user, "identity", "show", "--json"))["recipient_kind"] == "hybrid"
    released(user, 1)
    monkeypatch.delenv("BAO_TOKEN")
    assert loaded(user) == [1], "it reads by the age key in its file, and signs nothing for that"
    monkeypatch.setenv("BAO_TOKEN", ROOT_TOKEN)
    engine, name = openbao.client.secrets.transit, signing.rpartition("/")[2]
    engine.update_key_configuration(name, deletion_allowed=True)
    engine.delete_key(name)
    engine.create_key(name, key_type="ed25519")
    user.write("model.npz", npz(1))
    answer = user.run("push", "churn", "model.npz", "--json")
    assert answer.status == BadSignature.exit_status
    assert json.loads(answer.out)["error"]["code"] == "bad-signature"
    assert len(list((user.folder / "models" / "models").rglob("manifest.json"))) == 1


def test_without_a_token_or_a_server_nothing_is_half_done(
    user: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    with servers.running() as bao:
        founded(user, bao, monkeypatch)
        released(user, 1)
        user.write("model.npz", npz(2))
        monkeypatch.delenv("BAO_TOKEN")
        answer = user.run("push", "churn", "model.npz", "--json")
        assert answer.status == NoUsableKey.exit_status
        with pytest.raises(NoUsableKey):
            loaded(user)
        monkeypatch.setenv("BAO_TOKEN", "wrong")
        assert user.run("push", "churn", "model.npz").status == AccessDenied.exit_status
        monkeypatch.setenv("BAO_TOKEN", ROOT_TOKEN)
        bao.stop()
        answer = user.run("push", "churn", "model.npz", "--json")
        assert answer.status == Unavailable.exit_status
        with pytest.raises(Unavailable):
            loaded(user)
    assert len(list((user.folder / "models" / "models").rglob("manifest.json"))) == 1


def test_the_services_own_command_opens_what_it_wrapped(
    user: User, openbao: OpenBao, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Emergency recovery without any of our code: `bao` gives the environment's key as an age identity."""
    _, wrapping = founded(user, openbao, monkeypatch)
    (copy,) = (user.folder / "models" / "keys" / "prod" / "all" / "1" / "@").iterdir()
    told = json.loads(copy.read_text())
    ran(user, "trust", "export", "it.trust")
    root = json.loads((user.folder / "it.trust").read_text())["vault"]
    bound = strict_json.encode(dict(key_services.context(Digest(root), Environment("prod"), 1)))
    ended = subprocess.run(
        [
            openbao.program, "write", "-field=plaintext", f"transit/decrypt/{wrapping.rpartition('/')[2]}",
            f"ciphertext={base64.b64decode(told['ciphertext']).decode()}",
            f"associated_data={base64.b64encode(bound).decode()}",
        ],
        capture_output=True, check=True, text=True, timeout=60,
    )  # fmt: skip
    line = base64.b64decode(ended.stdout).decode()
    assert recipients.parse_identity(line.removesuffix("\n")).kind == "mlkem768x25519"


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_who_reads_by_an_age_key_goes_on_reading_while_the_service_is_down(
    user: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    with servers.running() as bao:
        founded(user, bao, monkeypatch, "--no-passphrase")
        released(user, 1)
        bao.stop()
        assert loaded(user) == [1]
        answer = user.run("pull", "churn@prod", "out", "--json")
        assert answer.status == 0, answer.err
