"""Policies as text, and their views, for the tests of the analyses."""

from vault import policyfile
from vault.core.names import Environment, Model, Principal
from vault.core.policy_check import Finding, check
from vault.core.policy_view import View

DEV, STAGING, PROD = (Environment(name) for name in ("dev", "staging", "prod"))
CHURN, NABIL, NLIC = Model("churn"), Model("nepse/NABIL"), Model("nepse/NLIC")

# Ann publishes, bob, cat and dan approve, rex promotes; `robot` is ann's, `web` serves.
TEAM = """
roles:
  scientist: {allow: [{actions: [publish, load], env: [dev]}]}
  manager: {allow: [{actions: [approve, withdraw], env: [prod]}]}
  releaser:
    allow:
      - {actions: [load], env: [dev]}
      - {actions: [promote], from: dev, to: prod}
  loader: {allow: [{actions: [load], env: [prod], models: own}]}
environments:
  dev: {formats: [onnx]}
  prod:
    formats: [onnx]
    require: {approvals: {role: manager, threshold: 2, distinct_from: [publisher]}}
principals:
  owner: {roles: [releaser]}
  ann: {roles: [scientist]}
  bob: {roles: [manager]}
  cat: {roles: [manager]}
  dan: {roles: [manager]}
  robot: {kind: service, owners: [ann], roles: [scientist], models: [churn, "nepse/*"]}
  web: {kind: service, owners: [owner], roles: [loader], models: ["nepse/NABIL"]}
"""
STRICT = (
    "require: {audit: true, fresh: stale, libraries: true, load_test: true, log: witnessed, max_age_days: 3}"
)


def who(name: str) -> Principal:
    """Name a principal."""
    return Principal(name)


def view(text: str = TEAM, *changes: tuple[str, str]) -> View:
    """Read a policy, after texts in it were replaced."""
    for before, after in changes:
        assert before in text, before
        text = text.replace(before, after)
    return policyfile.view(policyfile.parse(text, "team.yaml"))


def findings(text: str = TEAM, *changes: tuple[str, str]) -> dict[str, Finding]:
    """Check a policy, after texts in it were replaced; give what was found by its code."""
    return {entry.code: entry for entry in check(view(text, *changes))}
