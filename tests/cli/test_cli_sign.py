"""`mvault sign` and `mvault verify`: what people, scripts and other programs see of them."""

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests import oracles
from tests.cli.test_cli_verbs import documented, same_shape
from tests.cli.typing_user import User
from tests.oms_parts import ACCEPTED, tool
from vault.core.names import Reference

FILES = {"exported/model.json": '{"w":1}', "exported/notes/readme.txt": "hi"}


@pytest.fixture
def signer(user: User) -> User:
    """A user with an identity, a file of trusted keys that lists it, and a folder to sign."""
    assert user.run("identity", "new", "anna", "--no-passphrase").status == 0
    assert user.run("identity", "export", "signers", "--form", "signers").status == 0
    for name, text in FILES.items():
        user.write(name, text)
    return user


def test_a_folder_is_signed_and_verified(signer: User) -> None:
    signed = signer.run("sign", "exported/")
    assert signed.status == 0
    assert signed.out == f"{signer.folder / 'exported.sig'}\n"
    assert "Signed exported: 2 files." in signed.err
    verified = signer.run("verify", "exported/", "--trusted", "signers")
    assert verified.status == 0
    assert verified.out.startswith("sha256:")
    assert verified.err == "exported/ is exported as anna signed it: 2 files, 9 B.\n"


@pytest.mark.parametrize("command", ["sign", "verify"])
def test_json_has_the_documented_shape(command: str, signer: User) -> None:
    assert signer.run("sign", "exported").status == 0
    arguments = ("--replace",) if command == "sign" else ("--trusted", "signers")
    answer = signer.run(command, "exported", *arguments, "--json")
    assert answer.err == ""
    same_shape(answer.json, documented(f"mvault {command}"))


def test_statuses_tell_what_is_wrong(signer: User) -> None:
    trusted = ("--trusted", "signers")
    assert signer.run("verify", "exported", *trusted).status == 3  # unsigned
    assert signer.run("sign", "exported").status == 0
    assert signer.run("sign", "exported").status == 9
    assert signer.run("verify", "exported").status == 2  # nobody is trusted
    assert signer.run("verify", "exported", "--trusted", "nobody").status == 6
    assert signer.run("verify", "nothing/", *trusted).status == 6
    assert signer.run("verify", "exported", *trusted, "--threshold", "2").status == 3
    assert signer.run("verify", "exported", *trusted, "--model", "churn").status == 3
    assert signer.run("verify", "exported", *trusted, "--any-model").status == 0
    assert signer.run("sign", "exported", "--add", "--replace").status == 2
    assert signer.run("sign", "exported", "--annotate", "x", "--replace").status == 2
    assert signer.run("sign", "exported", "--valid", "x", "--replace").status == 2
    assert signer.run("sign", "exported", "--identity", "nobody.json", "--replace").status == 8
    signer.write("exported/added.py", "")
    answer = signer.run("verify", "exported", *trusted, "--json")
    assert answer.status == 3
    assert answer.json["error"]["code"] == "digest-mismatch"
    assert answer.json["error"]["subject"] == "added.py"


def test_the_own_file_of_trusted_keys_is_the_default(signer: User) -> None:
    assert signer.run("sign", "exported").status == 0
    shutil.copy("signers", signer.home / ".config" / "mvault" / "allowed_signers")
    assert signer.run("verify", "exported").status == 0


def test_a_project_cannot_name_whom_to_trust(signer: User) -> None:
    assert signer.run("sign", "exported").status == 0
    shutil.copy("signers", "allowed_signers")
    assert signer.run("verify", "exported").status == 2


def test_what_git_left_there_is_said(signer: User) -> None:
    signer.write("exported/.git/HEAD", "x")
    signed = signer.run("sign", "exported")
    assert "Not signed, as OMS leaves it out: .git." in signed.err
    refused = signer.run("verify", "exported", "--trusted", "signers")
    assert (refused.status, "--ignore-git" in refused.err) == (3, True)
    ignoring = signer.run("verify", "exported", "--trusted", "signers", "--ignore-git")
    assert (ignoring.status, "Not verified: .git." in ignoring.err) == (0, True)


def test_remarks_are_shown_to_those_who_ask_and_cannot_steer_a_terminal(signer: User) -> None:
    assert signer.run("sign", "exported", "--annotate", "a=\x1b[31mred").status == 0
    assert "a:" not in signer.run("verify", "exported", "--trusted", "signers").err
    told = signer.run("verify", "exported", "--trusted", "signers", "-v").err
    assert "which nobody checked: a:" in told
    assert "\x1b" not in told


def test_signing_again_reads_only_what_changed(signer: User, monkeypatch: pytest.MonkeyPatch) -> None:
    from vault.actions import signing_cache

    monkeypatch.setattr(signing_cache, "_SETTLED", -10_000_000_000)
    assert signer.run("sign", "exported").status == 0
    signer.write("exported/notes/readme.txt", "changed")
    again = signer.run("sign", "exported", "--replace", "--json").json
    assert (again["files"], again["hashed"]) == (2, 1)
    whole = signer.run("sign", "exported", "--replace", "--no-cache", "--json").json
    assert (whole["hashed"], whole["digest"]) == (2, again["digest"])


def test_a_reference_means_to_check_a_version_of_the_vault(owner: User) -> None:
    for reference in ("churn:1", "churn@prod"):
        answer = owner.run("verify", reference, "--json")
        assert answer == owner.run("check", reference, "--json")
        assert answer.json["versions"] == 1
    assert owner.run("verify", "churn:9").status == owner.run("check", "churn:9").status == 6
    owner.write("churn:1", "a file of that name is what is meant")
    assert owner.run("verify", "churn:1").status != 0


def test_verifying_imports_little(signer: User) -> None:
    assert signer.run("sign", "exported/model.json").status == 0
    program = (
        "import sys; from vault.cli.main import main\n"
        "sys.argv = ['mvault', 'verify', 'exported/model.json', '--trusted', 'signers', '-q']\n"
        "try:\n    main()\nexcept SystemExit as end:\n    assert end.code == 0\n"
        "print(*sys.modules, file=sys.__stdout__)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    loaded = set(done.stdout.splitlines()[-1].split())
    assert "vault.actions.verifying" in loaded
    heavy = ("yaml", "rich", "numpy", "subprocess", "cryptography.x509", "concurrent.futures")
    assert not loaded & {
        *heavy,
        "vault.vault",
        "vault.actions.session",
        "vault.actions.opening",
        "vault.keys",
    }
    assert not loaded & {"vault.core.manifest", "vault.core.policy", "vault.storage.local"}


# --- keys in other forms ---


def test_keys_are_exported_in_the_forms_of_other_tools(signer: User) -> None:
    keygen, openssl = oracles.program("ssh-keygen", "openssh-client"), oracles.program("openssl", "openssl")

    def output(*command: str, given: str) -> str:
        return subprocess.run(command, input=given, capture_output=True, text=True, check=True).stdout

    def exported(*arguments: str) -> str:
        answer = signer.run("identity", "export", *arguments)
        assert answer.status == 0, answer.err
        return answer.out

    assert "ED25519" in output(keygen, "-l", "-f", "/dev/stdin", given=exported("--form", "openssh"))
    assert "ECDSA" in output(keygen, "-l", "-f", "/dev/stdin", given=exported("--form", "openssh", "--p256"))
    for more, kind in (((), "ED25519"), (("--p256",), "prime256v1")):
        pem = exported("--form", "pem", *more)
        assert kind in output(openssl, "pkey", "-pubin", "-noout", "-text", given=pem)
    root = exported("--form", "certificate")
    assert root == exported("--form", "certificate")
    assert "CN=anna" in output(openssl, "x509", "-noout", "-subject", given=root).replace(" ", "")
    comment, key = exported("--form", "minisign").splitlines()
    assert comment.startswith("untrusted comment: minisign public key ")
    assert len(key) == 56
    assert signer.run("identity", "export", "--form", "minisign", "--p256").status == 2
    assert json.loads(exported())["name"] == "anna"


@pytest.mark.oracle
def test_the_reference_tool_takes_what_we_export(signer: User) -> None:
    assert signer.run("sign", "exported").status == 0
    assert signer.run("identity", "export", "p256.pem", "--form", "pem", "--p256").status == 0
    asked = ("exported", "--signature", "exported.sig")
    assert tool("verify", "key", *asked, "--public_key", "p256.pem") == ACCEPTED
    assert signer.run("sign", "exported", "--replace", "--form", "certificate", "--valid", "30d").status == 0
    assert signer.run("identity", "export", "root.pem", "--form", "certificate").status == 0
    assert tool("verify", "certificate", *asked, "--certificate_chain", "root.pem") == ACCEPTED


# --- into a vault and out of it ---


def test_a_version_is_pulled_with_a_signature_and_pushed_by_it(owner: User) -> None:
    assert owner.run("identity", "export", "signers", "--form", "signers").status == 0
    pulled = owner.run("pull", "churn:1", "out", "--with-signature")
    assert pulled.status == 0, pulled.err
    verified = owner.run("verify", "out", "--trusted", "signers", "--model", "churn:1", "--json").json
    assert verified["annotations"]["mvault.model"] == "churn"
    assert verified["annotations"]["mvault.version"] == "1"
    assert owner.run("pull", "churn:1", "out", "--with-signature").status == 9
    assert owner.run("pull", "churn:1", "zip", "--zip", "--with-signature").status == 2
    pushed = owner.run("push", "churn", "out", "--version", "1", "--signed-by", "signers")
    assert pushed.status == 9  # the version is there already
    assert owner.run("sign", "out", "--replace").status == 0
    again = owner.run("push", "churn", "out", "--signed-by", "signers", "--json")
    assert again.json["reference"] == "churn:2"


def test_nothing_is_pushed_that_was_not_signed_for_it(owner: User) -> None:
    assert owner.run("identity", "export", "signers", "--form", "signers").status == 0
    owner.write("exported/model.json", "{}")
    push = ("push", "churn", "exported", "--signed-by", "signers")
    assert owner.run(*push).status == 3
    assert owner.run("sign", "exported", "--model", "fraud").status == 0
    assert owner.run(*push, "--json").json["error"]["code"] == "misplaced"
    assert owner.run("sign", "exported", "--model", "churn", "--replace").status == 0
    owner.write("exported/model.json", "[]")
    assert owner.run(*push, "--json").json["error"]["code"] == "digest-mismatch"
    assert owner.run("sign", "exported", "--model", "churn", "--replace").status == 0
    assert owner.run(*push).status == 0
    assert owner.run("push", "churn", "exported", "model.json", "--signed-by", "signers").status == 2


def test_what_changes_between_the_check_and_the_sealing_is_not_published(
    owner: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    from vault.actions import packing

    assert owner.run("identity", "export", "signers", "--form", "signers").status == 0
    owner.write("exported/model.json", "{}")
    assert owner.run("sign", "exported", "--model", "churn").status == 0
    push = packing.push

    def late(*arguments: Any, **more: Any) -> Reference:
        owner.write("exported/model.json", '{"w":"other"}')
        return push(*arguments, **more)

    monkeypatch.setattr(packing, "push", late)
    refused = owner.run("push", "churn", "exported", "--signed-by", "signers", "--json")
    assert refused.json["error"]["code"] == "digest-mismatch"
    assert owner.run("check", "churn:2").status == 6


def test_what_is_put_into_the_folder_while_it_is_pulled_is_not_signed(
    owner: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    from vault.actions import pulling

    pull = pulling.pull

    def late(*arguments: Any, **more: Any) -> Path:
        written = pull(*arguments, **more)
        (written / "added.py").write_text("import os")
        return written

    monkeypatch.setattr(pulling, "pull", late)
    refused = owner.run("pull", "churn:1", "out", "--with-signature", "--json")
    assert refused.json["error"]["code"] == "digest-mismatch"
    assert not Path("out.sig").exists()
