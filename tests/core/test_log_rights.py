"""Who may write to a log and witness it: by rules about whole logs."""

import pytest

from vault import policyfile
from vault.core.log_rights import may_log
from vault.core.names import Environment, Principal

POLICY = """
roles:
  keeper: {allow: [{actions: [log]}]}
  scientist: {allow: [{actions: [publish, log], env: [dev], models: own}]}
  watch: {allow: [{actions: [witness], env: [prod]}]}
environments: {dev: {}, prod: {}}
principals:
  ann: {roles: [keeper]}
  dora: {roles: [scientist], models: ["nepse/*"]}
  ci: {kind: service, owners: [ann], roles: [watch]}
"""


@pytest.mark.parametrize(
    ("who", "action", "log", "allowed"),
    [
        ("ann", "log", None, True),  # without `env`, every log, the trust log too
        ("ann", "log", "prod", True),
        ("ann", "witness", None, False),
        ("dora", "log", "dev", True),  # a log is about all models: nothing narrows it
        ("dora", "log", "prod", False),
        ("dora", "log", None, False),
        ("ci", "witness", "prod", True),
        ("ci", "log", "prod", False),
        ("ci", "witness", None, False),
        ("stranger", "log", "dev", False),
    ],
)
def test_a_log_is_written_and_witnessed_by_whom_the_policy_says(
    who: str, action: str, log: str | None, allowed: bool
) -> None:
    policy = policyfile.view(policyfile.parse(POLICY, "it"))
    environment = None if log is None else Environment(log)
    assert may_log(policy, Principal(who), action, environment) is allowed
