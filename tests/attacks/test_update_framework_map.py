"""The Update Framework's scenarios and ours: what plays which part, and that each is tested or has a reason.

| The Update Framework | here |
|---|---|
| root, its versions and thresholds | root; the pin is the digest of root 1, and `prev` chains the others |
| timestamp: what is newest, for a short time | heads of an environment, by who may `attest` |
| snapshot: which version of everything belongs together | the marks in the heads, and each client's memory |
| targets: digests of files | manifest, which a channel record names by digest |
| delegations | policy: roles, patterns, environments; signed by the root's threshold |
| delegated targets, a threshold of keys | manifests of publishers; channel records with approvals |
| consistent snapshots | objects are written once, under a number or an id |
| fast-forward recovery by rotating a role's key | revocation for newcomers, a new era for who has seen it |
| local metadata | client memory: marks (era, number, digest), and no documents |

Where behaviour differs on purpose, the test says so: other content under one number is refused rather than
passed over; unknown fields are refused; a repeated signature is no error; missing root numbers are legal;
what nobody signed is absent rather than an error, as anybody who can write could otherwise stop every load.
"""

import ast
import importlib
from pathlib import Path

from tests.attacks.update_framework_parts import TESTED
from tests.attacks.update_framework_scenarios import ELSEWHERE, NOT_APPLICABLE, SCENARIOS

HERE = Path(__file__).parent
REPOSITORY = HERE.parents[1]
MODULES = sorted(path.stem for path in HERE.glob("test_update_framework_*.py") if path != Path(__file__))


def named_in(path: Path) -> set[str]:
    """Name the tests of a file."""
    found = ast.walk(ast.parse(path.read_text(encoding="utf-8")))
    return {
        node.name for node in found if isinstance(node, ast.FunctionDef) and node.name.startswith("test_")
    }


def test_every_scenario_is_tested_by_name_or_has_a_reason() -> None:
    for name in MODULES:
        importlib.import_module(f"tests.attacks.{name}")
    listed = set(SCENARIOS)
    assert len(listed) == len(SCENARIOS)
    assert TESTED.keys() | NOT_APPLICABLE.keys() | ELSEWHERE.keys() == listed
    assert not TESTED.keys() & NOT_APPLICABLE.keys()
    assert not TESTED.keys() & ELSEWHERE.keys()
    assert not NOT_APPLICABLE.keys() & ELSEWHERE.keys()
    assert len(MODULES) == 5
    assert (len(listed), len(TESTED), len(NOT_APPLICABLE), len(ELSEWHERE)) == (204, 171, 28, 5)


def test_the_tests_that_are_named_are_there() -> None:
    here = set[str]().union(*(named_in(HERE / f"{name}.py") for name in MODULES))
    assert set[str]().union(*TESTED.values()) <= here
    for file, name in ELSEWHERE.values():
        assert name in named_in(REPOSITORY / file), f"{file}: {name}"
    assert all(len(reason) > 20 for reason in NOT_APPLICABLE.values())
