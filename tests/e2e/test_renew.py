"""A service with no right but `attest` keeps a strict environment loading, from a machine of its own."""

import json
import os
import time
from pathlib import Path

import pytest

import vault
from tests.cli.conftest import user  # noqa: F401 (a fixture)
from tests.cli.typing_user import User
from vault.actions import opening

POLICY = """
roles:
  owner:
    allow:
      - {actions: [publish, load, pull], env: [dev]}
      - {actions: [load, pull], env: [prod]}
      - {actions: [promote], from: dev, to: prod}
  loader: {allow: [{actions: [attest], env: [prod]}]}
environments:
  dev: {formats: [json]}
  prod: {formats: [json], require: {fresh: refuse}}
principals:
  owner: {kind: person, roles: [owner]}
"""
DAY = 86_400


@pytest.fixture
def strict(user: User) -> User:  # noqa: F811
    """A user whose prod refuses without fresh heads; the service `renewer` may attest them."""
    user.write("policy.yaml", POLICY)
    assert (
        user.run(
            "identity", "new", "renewer", "-o", "renewer.json", "--no-passphrase", "--recipient", "x25519"
        ).status
        == 0
    )
    assert user.run("identity", "export", "renewer.pub", "--identity", "renewer.json").status == 0
    made = user.run(
        "init", "models/", "--no-passphrase", "--recipient", "x25519", "--policy", "policy.yaml",
        "--service", "renewer=renewer.pub",
    )  # fmt: skip
    assert made.status == 0, made.err
    user.write("model.json", "[1]")
    assert user.run("push", "churn", "model.json").status == 0
    assert user.run("promote", "churn:1", "--env", "prod").status == 0
    return user


def later(monkeypatch: pytest.MonkeyPatch, days: float) -> None:
    monkeypatch.setattr(opening, "clock", lambda: int(time.time() + days * DAY))


def test_an_unattended_job_renews_and_what_it_attested_loads(
    strict: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    refused = strict.run("pull", "churn@prod", "out")
    assert refused.status == 3
    assert "mvault renew" in refused.err
    denied = strict.run("renew")
    assert denied.status == 4
    assert "may not attest prod" in denied.err

    strict.run("trust", "export", "trust.json")
    monkeypatch.setenv("MVAULT_TRUST", "trust.json")
    monkeypatch.setenv("MVAULT_STATE_DIR", str(strict.folder / "job"))
    done = strict.run("renew", "--identity", "renewer.json", "--json")
    assert done.status == 0, done.err
    (written,) = done.json["heads"]
    assert (written["environment"], written["number"], written["channels"]) == ("prod", 1, 1)
    assert (strict.folder / "models/trust/heads/prod/000001.json").exists()
    monkeypatch.delenv("MVAULT_TRUST")
    monkeypatch.delenv("MVAULT_STATE_DIR")

    assert strict.run("pull", "churn@prod", "out").status == 0
    later(monkeypatch, 7.1)
    assert strict.run("pull", "churn@prod", "again").status == 3
    assert strict.run("renew", "--identity", "renewer.json", "--valid", "1d").out.startswith("prod\t")
    assert strict.run("pull", "churn@prod", "again").status == 0
    later(monkeypatch, 8.2)
    assert strict.run("pull", "churn@prod", "third").status == 3


def test_a_package_warns_before_its_heads_expire(strict: User, monkeypatch: pytest.MonkeyPatch) -> None:
    renewer = vault.open("models/", identity="renewer.json")
    assert renewer.renew("prod").heads[0].channels == 1
    assert vault.open("models/").load_package("churn@prod").warnings == ()
    later(monkeypatch, 6)
    (warning,) = vault.open("models/").load_package("churn@prod").warnings
    assert "were not renewed" in warning
    assert "mvault renew" in warning


def test_the_service_that_attests_can_read_and_sign_nothing_else(strict: User) -> None:
    renewer = vault.open("models/", identity="renewer.json")
    renewer.renew()
    for act in (
        lambda: renewer.load_package("churn@prod"),
        lambda: renewer.promote("churn:1", env="prod"),
        lambda: renewer.push("churn", b"[2]"),
    ):
        with pytest.raises((vault.AccessDenied, vault.NoUsableKey)):
            act()


def test_what_cannot_be_renewed_so_is_a_usage_error(strict: User) -> None:
    for arguments in (("--valid", "91d"), ("--valid", "0"), ("--within", "soon"), ("--env", "Prod")):
        assert strict.run("renew", "--identity", "renewer.json", *arguments).status == 2
    assert strict.run("renew", "--identity", "renewer.json", "--env", "qa").status in (4, 6)
    assert not (strict.folder / "models/trust/heads").exists()


def test_a_vault_that_asks_for_no_heads_has_nothing_to_renew(user: User) -> None:  # noqa: F811
    user.found()
    answer = user.run("renew")
    assert (answer.status, answer.out) == (0, "")
    assert "nothing to renew" in answer.err
    assert json.loads(user.run("renew", "--json").out) == {
        "heads": [],
        "due": [],
        "planned": [],
        "problem": None,
    }


def test_heads_lie_where_the_format_says(strict: User) -> None:
    strict.run("renew", "--identity", "renewer.json")
    envelope = json.loads(Path(strict.folder, "models/trust/heads/prod/000001.json").read_bytes())
    assert envelope["payloadType"] == "application/vnd.mvault.heads.v1+json"
    assert os.path.getsize(strict.folder / "models/trust/heads/prod/000001.json") < 4_096


def test_the_next_step_that_a_push_names_is_one_that_the_policy_has(user: User) -> None:  # noqa: F811
    made = user.run("init", "models/", "--team", "--no-passphrase", "--recipient", "x25519")
    assert made.status == 0, made.err
    user.write("model.json", "[1]")
    answer = user.run("push", "churn", "model.json")
    assert "mvault promote churn:1 --env staging" in answer.err


def test_a_job_that_remembers_no_heads_is_warned(strict: User, monkeypatch: pytest.MonkeyPatch) -> None:
    job = ("renew", "--identity", "renewer.json")
    first = strict.run(*job)
    assert "remembered no heads" not in first.err, "there were none"
    assert "remembered no heads" not in strict.run(*job).err
    monkeypatch.setenv("MVAULT_STATE_DIR", str(strict.folder / "new each time"))
    told = strict.run(*job)
    assert told.status == 0
    assert "This client remembered no heads of prod" in told.err
    assert "MVAULT_STATE_DIR" in told.err
    monkeypatch.setenv("MVAULT_STATE_DIR", str(strict.folder / "new again"))
    assert strict.run(*job, "--json").json["heads"][0]["remembered"] is False
    monkeypatch.delenv("MVAULT_STATE_DIR")
    assert strict.run("trust", "export", "recent.json").status == 0
    monkeypatch.setenv("MVAULT_STATE_DIR", str(strict.folder / "new once more"))
    assert strict.run(*job, "--trust", "recent.json", "--json").json["heads"][0]["remembered"] is True
