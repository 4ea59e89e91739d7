"""The shipped policy of the bank at work, and the daily jobs of its operations and of its internal audit."""

import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

import vault
from tests.house.source_tree import ROOT
from tests.variables import variables
from vault.actions import founding, opening
from vault.actions.init import Founders, Joining
from vault.core.names import Principal
from vault.vault import Vault

EXAMPLES = ROOT / "examples"
DAILY = EXAMPLES / "daily.sh"
MODEL = "credit/cards"
PEOPLE = (
    *("dev-asha", "head-of-lending", "validator-carla", "validator-eva", "release-farid"),
    *("heads", "auditor-hari", "witness", "score-credit"),
)


@dataclass(frozen=True)
class Bank:
    """A vault under policies/examples/bank.yaml, of some of its people; each has a folder of their own."""

    folder: Path

    @property
    def vault(self) -> Path:
        return self.folder / "models"

    @property
    def trust(self) -> Path:
        return self.folder / "trust.json"

    def place(self, who: str) -> dict[str, str]:
        """Give the variables of somebody whose client remembers what it saw."""
        identity = self.folder / "owner/config/identity.json" if who == "owner" else self.identity(who)
        return {
            "MVAULT_VAULT": str(self.vault),
            "MVAULT_IDENTITY": str(identity),
            "MVAULT_TRUST": str(self.trust),
            "MVAULT_STATE_DIR": str(self.folder / who / "state"),
        }

    def identity(self, who: str) -> Path:
        return self.folder / f"{who}.json"

    @contextmanager
    def as_(self, who: str, env: str = "dev", **more: str) -> Iterator[Vault]:
        """Open the vault as somebody."""
        with variables({**self.place(who), **more}):
            yield vault.open(env=env)

    def loads(self, **more: str) -> str:
        """Give what prod's loader gets, or the code of its refusal."""
        with self.as_("score-credit", "prod", **more) as opened:
            try:
                return str(opened.load_package(f"{MODEL}@prod").reference)
            except vault.VaultError as error:
                return error.code

    def daily(self, who: str, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run the daily job of somebody."""
        surroundings = {"PATH": f"{Path(sys.executable).parent}:/usr/bin:/bin", "LANG": "C.UTF-8"}
        return subprocess.run(
            [str(DAILY), *arguments],
            env=surroundings | self.place(who),
            capture_output=True,
            text=True,
            check=False,
            timeout=120,
            stdin=subprocess.DEVNULL,
        )

    def copy(self, folder: Path) -> "Bank":
        """Give a copy to be damaged."""
        shutil.copytree(self.folder, folder)
        return Bank(folder)


@pytest.fixture(scope="module")
def founded(tmp_path_factory: pytest.TempPathFactory) -> Bank:
    """Found the bank's vault, and bring one model to the door of prod: approved twice, promoted."""
    bank = Bank(tmp_path_factory.mktemp("bank") / "bank")
    bank.folder.mkdir()
    settings = opening.gather({})
    keys: dict[Principal, list[Joining]] = {}
    for who in PEOPLE:
        made = founding.new_identity(settings, bank.identity(who), who, "hybrid", protect=False)
        keys[Principal(who)] = [Joining(made.name, made.public, made.recipient)]
    owner = {f"MVAULT_{name}_DIR": str(bank.folder / "owner" / name.lower()) for name in ("CONFIG", "STATE")}
    with variables(owner):
        policy = ROOT / "policies/examples/bank.yaml"
        made_here = vault.init(
            bank.vault, name="owner", no_passphrase=True, policy=policy, founders=Founders(keys=keys)
        )
        bank.trust.write_bytes(made_here.export_trust())
    publish(bank)
    return bank


def publish(bank: Bank) -> None:
    from sklearn.datasets import make_classification
    from sklearn.linear_model import LogisticRegression

    rows, labels = make_classification(200, 6, random_state=1)
    with bank.as_("dev-asha") as opened:
        ref = str(
            opened.save_model(
                MODEL, LogisticRegression().fit(rows, labels), sample_input=rows[:50], format="onnx"
            )
        )
    with bank.as_("head-of-lending") as opened:
        opened.approve(ref, env="validation")
    with bank.as_("release-farid") as opened:
        opened.promote(ref, env="validation")
    for validator in ("validator-carla", "validator-eva"):
        with bank.as_(validator) as opened:
            opened.approve(ref, env="prod")
    with bank.as_("release-farid") as opened:
        opened.promote(ref, env="prod")


@pytest.fixture(scope="module")
def witnessed(founded: Bank, tmp_path_factory: pytest.TempPathFactory) -> Bank:
    """Run both daily jobs for the first time."""
    bank = founded.copy(tmp_path_factory.mktemp("witnessed") / "bank")
    done = bank.daily("heads", "heads")
    assert done.returncode == 0, done.stderr
    done = bank.daily("witness", "witness", "--begin")
    assert done.returncode == 0, done.stderr
    return bank


def test_what_is_promoted_in_the_bank_does_not_load_before_a_witness_has_seen_it(
    founded: Bank, witnessed: Bank
) -> None:
    assert founded.loads(MVAULT_AUDIT="store") == "not-logged"
    assert witnessed.loads(MVAULT_AUDIT="store") == f"{MODEL}:1"


def test_the_bank_does_not_load_without_a_record(witnessed: Bank, tmp_path: Path) -> None:
    (tmp_path / "no-folder").touch()
    assert witnessed.loads(MVAULT_AUDIT=str(tmp_path / "no-folder")) == "no-audit-record"
    assert witnessed.loads(MVAULT_AUDIT=str(tmp_path)) == f"{MODEL}:1"


def test_the_daily_jobs_go_on_from_what_they_remember(witnessed: Bank, tmp_path: Path) -> None:
    bank = witnessed.copy(tmp_path / "bank")
    assert bank.loads(MVAULT_AUDIT="store") == f"{MODEL}:1"
    heads = bank.daily("heads", "heads")
    assert heads.returncode == 0, heads.stderr
    assert re.search(r"^prod\t20\d\d-.*\t1$", heads.stdout, re.MULTILINE), "one channel is attested"
    assert re.search(r"^access/score-credit/[0-9a-f]{16}\t\d+\t[0-9a-f]{64}$", heads.stdout, re.MULTILINE)
    done = bank.daily("witness", "witness")
    assert done.returncode == 0, done.stderr
    assert re.search(r"^env/prod\tcosigned\t", done.stdout, re.MULTILINE)
    assert re.search(r"^whole\tyes\t", done.stdout, re.MULTILINE)
    reports = sorted((bank.folder / "witness/state/reports").glob("audit-report-*.md"))
    assert reports[-1].read_text().startswith("Record whole: yes")


def test_a_log_that_was_cut_off_is_not_cosigned_and_fails_the_job(witnessed: Bank, tmp_path: Path) -> None:
    bank = witnessed.copy(tmp_path / "bank")
    commits = sorted((bank.vault / "log/env/prod/commit").iterdir())
    commits[-1].unlink()
    done = bank.daily("witness", "witness")
    assert done.returncode == 3, done.stdout
    assert "env/prod" in done.stderr


def test_the_job_says_how_it_is_used() -> None:
    done = subprocess.run([str(DAILY)], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (2, "")
    assert "usage: daily.sh heads | witness" in done.stderr


@pytest.mark.parametrize(("name", "role"), [("operations", "heads"), ("audit", "witness")])
def test_the_jobs_are_told_what_the_script_needs(name: str, role: str) -> None:
    import yaml

    document = yaml.load((EXAMPLES / f"daily-{name}.yml").read_text(), yaml.BaseLoader)
    assert document["on"]["schedule"]
    (job,) = document["jobs"].values()
    wanted = {"MVAULT_VAULT", "MVAULT_IDENTITY", "MVAULT_TRUST", "MVAULT_STATE_DIR"}
    assert job["env"].keys() == wanted
    assert job["steps"][-1]["run"] == f"examples/daily.sh {role}"
    assert job["env"]["MVAULT_IDENTITY"].endswith(f"{role}.json")
