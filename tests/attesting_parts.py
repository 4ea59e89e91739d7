"""Attestations for tests: a vault whose prod asks for a load test, and testers of every kind."""

from dataclasses import replace
from functools import cache
from typing import Any

from tests import builders
from tests.builders import Built
from vault.core import attestation, envelope, layout, requirements
from vault.core import policy as policies
from vault.core.attestation import Attestation
from vault.core.names import Digest, Principal
from vault.core.policy import Policy, Rule
from vault.core.requirements import Pin

PINS = (Pin("numpy", "2.4.6", ("1" * 64,)), Pin("onnxruntime", "1.32.0", ("2" * 64,)))
TESTER = Principal("tester")


def asks(before: Policy) -> Policy:
    """Let testers test churn in dev, and have prod ask for a test in place of approvals."""
    prod = before.environments[builders.PROD]
    asked = replace(prod, require=replace(prod.require, approvals=None, load_test=True))
    rule = Rule(("test", "load"), (builders.DEV,), None, None, ("churn",), own=False)
    return replace(
        before,
        roles={**before.roles, TESTER: (rule,)},
        environments={**before.environments, prod.name: asked},
    )


@cache
def _tested() -> Built:
    built = builders.team(seed="tested")
    built.amend(asks)
    built.add("tess", "tester")
    built.add("lab", "tester", kind=policies.SERVICE, owners=("dora",))
    built.publish(who="dora")
    return built


def tested() -> Built:
    """Build a team whose prod asks for a load test of churn:1; `tess` and the service `lab` may make it."""
    return _tested().fork(forgetful=True)


def word(built: Built, ref: str = "churn:1", **change: Any) -> Attestation:
    """Make an attestation of a test that passed."""
    found, digest = built.manifest(ref)
    record = Attestation(
        vault=built.vault,
        policy=built.policy_id,
        model=found.model,
        version=found.version,
        manifest=digest,
        created=built.time,
        passed=True,
        reason=None,
        python="3.11.7",
        platform="Linux-6.1-x86_64",
        libraries={entry.name: entry.version for entry in PINS},
        requirements=requirements.digest(PINS),
        rows=200,
        differing=0,
        tolerated=0,
        rtol="0.0001",
        atol=None,
        against=None,
    )
    return replace(record, **change)


FAILED: dict[str, Any] = {"passed": False, "reason": "differs", "differing": 3}


def write(built: Built, *who: str, record: Attestation | None = None, **change: Any) -> str:
    """Sign an attestation and store it where it belongs; give its name."""
    made = replace(record or word(built), **change)
    data = built.sign(attestation.KIND, attestation.encode(made), *who)
    found = (record or word(built)).model, (record or word(built)).version
    name = layout.attestation(*found, Digest(envelope.digest(data)))
    built.write(name, data)
    return name
