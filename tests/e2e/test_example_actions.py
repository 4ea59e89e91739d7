"""examples/github-actions: every shell step of the jobs is run here, as a runner runs it."""

import os
import re
import subprocess
import sys
import venv
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

import vault
from tests.house.source_tree import ROOT
from tests.variables import variables
from vault import policyfile
from vault.actions import founding, opening
from vault.actions.init import Founders, Joining
from vault.core.names import Principal

WORKFLOW = ROOT / "examples/github-actions/vault.yml"
SECONDS = 180
PASSED = ("GITHUB_ENV", "GITHUB_OUTPUT", "GITHUB_STEP_SUMMARY")
PEOPLE = ("ana", "training", "heads")


def workflow() -> Any:
    import yaml

    return yaml.load(WORKFLOW.read_text(), yaml.BaseLoader)


@dataclass
class Runner:
    """Does what a runner does with the steps of a job: files for what they pass on, and expressions."""

    folder: Path
    checkout: Path
    given: dict[str, str]
    secrets: dict[str, str]
    outputs: dict[str, str] = field(default_factory=dict)
    ran: list[str] = field(default_factory=list)

    def job(self, name: str, *, skip: tuple[str, ...] = ()) -> dict[str, subprocess.CompletedProcess[str]]:
        """Run the shell steps of a job, except those that install; stop at the first that fails."""
        results = {}
        for step in workflow()["jobs"][name]["steps"]:
            if "run" not in step or step["name"] in skip:
                continue
            done = results[step["name"]] = self.step(step)
            self.ran.append(step["name"])
            if done.returncode != 0:
                break
        return results

    def step(self, step: Mapping[str, Any]) -> subprocess.CompletedProcess[str]:
        passed = {
            name: self.folder / name.lower()
            for name in ("GITHUB_ENV", "GITHUB_OUTPUT", "GITHUB_STEP_SUMMARY")
        }
        for file in passed.values():
            file.touch()
        told = {name: self.expand(text) for name, text in step.get("env", {}).items()}
        done = subprocess.run(
            ["bash", "--noprofile", "--norc", "-eo", "pipefail", "-c", self.expand(step["run"])],
            cwd=self.checkout,
            env={**self.given, **told, **{name: str(file) for name, file in passed.items()}},
            capture_output=True,
            text=True,
            check=False,
            timeout=SECONDS,
            stdin=subprocess.DEVNULL,
        )
        self.given |= dict(line.split("=", 1) for line in passed["GITHUB_ENV"].read_text().splitlines())
        for line in passed["GITHUB_OUTPUT"].read_text().splitlines():
            name, _, value = line.partition("=")
            self.outputs[f"steps.{step['id']}.outputs.{name}"] = value
        for name in ("GITHUB_ENV", "GITHUB_OUTPUT"):
            passed[name].write_text("")
        return done

    def expand(self, text: str) -> str:
        """Put in what `${{ … }}` stands for; one that nobody knows is an error here."""
        known = {**{f"secrets.{name}": value for name, value in self.secrets.items()}, **self.outputs}
        return re.sub(r"\$\{\{ *([\w.]+) *\}\}", lambda found: known[found[1]], text)


@pytest.fixture
def runner(tmp_path: Path) -> Runner:
    """Give a runner for a project whose vault follows policies/team.yaml, and whose prod wants heads."""
    place, checkout = tmp_path / "vault", tmp_path / "checkout"
    checkout.mkdir()
    (tmp_path / "temp").mkdir()
    owner = {f"MVAULT_{name}_DIR": str(tmp_path / "owner" / name.lower()) for name in ("CONFIG", "STATE")}
    policy = tmp_path / "policy.yaml"
    policy.write_text(
        policyfile.shipped("team").replace("log: unwitnessed", "log: unwitnessed\n      fresh: warn")
    )
    keys: dict[Principal, list[Joining]] = {}
    with variables(owner):
        for who in PEOPLE:
            made = founding.new_identity(
                opening.gather({}), tmp_path / f"{who}.json", who, "x25519", protect=False
            )
            keys[Principal(who)] = [Joining(made.name, made.public, made.recipient)]
        founded = vault.init(
            place, recipient="x25519", no_passphrase=True, policy=policy, founders=Founders(keys=keys)
        )
        (checkout / "trust.json").write_bytes(founded.export_trust())
    (checkout / "train.py").write_text((ROOT / "examples/train.py").read_text())
    given = {
        **workflow()["env"],
        "MVAULT_VAULT": str(place),
        "PATH": f"{Path(sys.executable).parent}:/usr/bin:/bin",
        "HOME": str(tmp_path / "home"),
        "LANG": "C.UTF-8",
        "RUNNER_TEMP": str(tmp_path / "temp"),
        "GITHUB_SHA": "4f2c9a7d" * 5,
    }
    secrets = {
        "TRAINING_IDENTITY": (tmp_path / "training.json").read_text(),
        "HEADS_IDENTITY": (tmp_path / "heads.json").read_text(),
    }
    return Runner(tmp_path, checkout, given, secrets)


def test_the_jobs_publish_check_and_renew(runner: Runner) -> None:
    """One after the other, as on two days."""
    published = runner.job("publish", skip=("Install",))
    assert {name: done.returncode for name, done in published.items()} == dict.fromkeys(published, 0), {
        name: done.stderr for name, done in published.items()
    }
    assert runner.outputs == {"steps.push.outputs.reference": "churn:1"}
    assert "everything holds" in published["Check"].stderr
    assert (runner.folder / "github_step_summary").read_text() == "Published churn:1\n"
    assert (runner.folder / "temp/identity.json").stat().st_mode & 0o777 == 0o600
    assert runner.ran == ["Take the identity", "Train", "Push", "Check"]

    renewed = runner.job("renew", skip=("Install",))
    assert {name: done.returncode for name, done in renewed.items()} == dict.fromkeys(renewed, 0), {
        name: done.stderr for name, done in renewed.items()
    }
    assert re.search(r"^prod\t20\d\d-", renewed["Renew"].stdout, re.MULTILINE)
    assert any((runner.folder / "vault/trust/heads/prod").iterdir())
    assert (runner.folder / "temp/state/memory").is_dir(), "what it saw is where the cache step looks"
    assert runner.ran[4:] == ["Take the identity", "Renew", "Check"]


def test_a_vault_that_was_altered_fails_the_daily_job(runner: Runner) -> None:
    runner.job("publish", skip=("Install",))
    for path in (runner.folder / "vault/models/churn/@/1/files").iterdir():
        path.write_bytes(path.read_bytes()[:-1] + b"\0")
    done = runner.job("renew", skip=("Install",))
    assert done["Check"].returncode == 3
    assert "churn:1" in done["Check"].stdout


def test_each_job_has_the_one_identity_that_it_needs() -> None:
    """A key that publishes is not where heads are renewed, and the other way round."""
    text = WORKFLOW.read_text()
    jobs = workflow()["jobs"]
    assert re.findall(r"secrets\.(\w+)", str(jobs["publish"])) == ["TRAINING_IDENTITY"]
    assert re.findall(r"secrets\.(\w+)", str(jobs["renew"])) == ["HEADS_IDENTITY"]
    assert workflow()["on"]["schedule"]
    assert workflow()["permissions"]["contents"] == "read"
    for step in (step for job in jobs.values() for step in job["steps"] if "run" in step):
        assert "${{" not in step["run"], "what an expression stands for is never read as a command"
    assert "pull_request" not in text


def test_the_jobs_lead_where_they_say() -> None:
    """The cache keeps the folder that the commands write to; outputs come from steps that are there."""
    jobs = workflow()["jobs"]
    (cache,) = [step for step in jobs["renew"]["steps"] if step.get("uses", "").startswith("actions/cache")]
    taken = next(step["run"] for step in jobs["renew"]["steps"] if step.get("name") == "Take the identity")
    assert cache["with"]["path"].replace("${{ runner.temp }}", "$RUNNER_TEMP") in taken
    ids = {step["id"] for job in jobs.values() for step in job["steps"] if "id" in step}
    assert set(re.findall(r"steps\.(\w+)\.", WORKFLOW.read_text())) == ids
    places = [step.get("name", step.get("uses")) for step in jobs["renew"]["steps"]]
    assert places.index(cache["uses"]) < places.index("Renew")


@pytest.mark.slow
def test_the_install_steps_install(tmp_path: Path) -> None:
    """Into an environment of each job's own, from this checkout; needs a package index."""
    for name in ("publish", "renew"):
        step = next(step for step in workflow()["jobs"][name]["steps"] if step.get("name") == "Install")
        place = tmp_path / name
        venv.create(place, with_pip=True)
        done = subprocess.run(
            ["bash", "-eo", "pipefail", "-c", step["run"].replace("model-artifact-vault", str(ROOT))],
            env={**os.environ, "PATH": f"{place}/bin:/usr/bin:/bin"},
            capture_output=True,
            text=True,
            check=False,
            timeout=900,
        )
        assert done.returncode == 0, done.stderr
        assert subprocess.run([place / "bin/mvault", "--version"], check=False).returncode == 0
