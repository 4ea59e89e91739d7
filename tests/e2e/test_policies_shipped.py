"""Every policy that is shipped passes its own check and its own tests, and can found a vault."""

import re
from pathlib import Path

import pytest

from tests import builders
from tests.house.source_tree import ROOT
from vault import policyfile
from vault.core import policy_analysis, policy_check, policy_document, policy_view
from vault.core.policy_check import ERROR, WARNING

FOLDER = ROOT / "policies"
POLICIES = sorted(
    str(path.relative_to(FOLDER).with_suffix(""))
    for path in FOLDER.rglob("*.yaml")
    if not path.name.endswith(".test.yaml")
    and path.name != "retention.yaml"  # tests/core/test_retention_file.py
)
TESTED = [name for name in POLICIES if name != "solo"]


def test_the_policies_of_the_documents_are_there() -> None:
    assert POLICIES == ["examples/bank", "examples/stock-team", "solo", "team"]


@pytest.mark.parametrize("name", POLICIES)
def test_a_shipped_policy_has_no_mistakes(name: str) -> None:
    view = policyfile.view(policyfile.parse(policyfile.shipped(name), name))
    found = policy_check.check(view)
    assert [entry for entry in found if entry.severity in (ERROR, WARNING)] == []


@pytest.mark.parametrize("name", TESTED)
def test_a_shipped_policy_decides_as_its_tests_expect(name: str) -> None:
    view = policyfile.view(policyfile.parse(policyfile.shipped(name), name))
    verdicts = policy_analysis.judge(view, policyfile.parse_tests(policyfile.shipped(f"{name}.test"), name))
    assert len(verdicts) >= 20
    assert {entry.expected.allowed for entry in verdicts} == {True, False}
    assert [entry for entry in verdicts if not entry.holds] == []
    named = {entry.expected.who for entry in verdicts}
    assert set(view.roles) <= {role for who in named & set(view.members) for role in view.members[who].roles}


@pytest.mark.parametrize("name", POLICIES)
def test_a_shipped_policy_founds_a_vault_and_is_one_that_clients_accept(name: str) -> None:
    built = builders.solo(policy=policyfile.shipped(name), seed=name)
    view = policyfile.view(policyfile.parse(policyfile.shipped(name), name))
    whole = policy_view.as_policy(view, built.policy)
    # The members of the file, without their keys: names and rules hold together for a client.
    assert policy_document.parse(policy_document.encode(whole), "policy").roles == whole.roles


def test_the_tests_are_beside_the_policies() -> None:
    assert [name for name in TESTED if not Path(FOLDER / f"{name}.test.yaml").is_file()] == []


def test_the_document_names_every_code_of_a_finding() -> None:
    source = (ROOT / "vault" / "core" / "policy_check.py").read_text(encoding="utf-8")
    made = set(re.findall(r"(?:ERROR|WARNING|ADVICE),\s+\"([a-z-]+)\"", source))
    section = (ROOT / "docs" / "policy.md").read_text(encoding="utf-8").partition("## Checking a policy")[2]
    rows = re.findall(r"^\| (`.+?) \| (?:error|warning|advice) \|", section, re.MULTILINE)
    assert len(made) > 20
    assert {code for row in rows for code in re.findall(r"`([a-z-]+)`", row)} == made
