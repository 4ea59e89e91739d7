"""An environment that requires its log: what is not in it is absent, and what cannot be met is told."""

from dataclasses import replace

import pytest

from tests import builders
from tests.builders import Built
from tests.core.test_channels import evidence, found_in, in_force, record, vote
from tests.core.test_heads import built as attested
from tests.core.test_heads import statement
from vault import policyfile
from vault.core import heads, policy_analysis, policy_check, policy_diff, policy_view
from vault.core.in_force import Proofs
from vault.core.log_names import environment_log, origin
from vault.core.names import Digest, Principal, Reference, Version
from vault.core.policy import Epoch, LogHead, Policy, Recipient
from vault.core.policy_diff import Lifted
from vault.core.stages import Resolved
from vault.errors import Malformed

__all__ = ["attested"]

ANN_BOB = evidence(vote("ann"), vote("bob"))


@pytest.fixture(scope="module")
def built() -> Built:
    return builders.team()


def asking(built: Built, proofs: Proofs | None = None) -> Resolved:
    """Resolve a prod that takes two approvals and a log that one witness has seen."""
    found = built.session().resolve(builders.PROD)
    rule = replace(found.rule, require=replace(found.rule.require, log="witnessed", witnesses=1))
    context = found.context if proofs is None else replace(found.context, proofs=proofs)
    return replace(found, rule=rule, context=context)


def test_a_record_that_no_log_has_leaves_the_older_one_in_force(built: Built) -> None:
    asked = []

    def unlogged(entry: object, witnesses: int) -> str | None:
        asked.append(witnesses)
        return "nobody logged it" if len(asked) == 1 else None

    prod = asking(built, Proofs(unlogged=unlogged))
    assert in_force(prod, [record(2), record(1)], ANN_BOB) == (1, ["not-logged"])
    assert asked == [1, 1]


def test_where_no_log_can_be_read_nothing_counts(built: Built) -> None:
    assert in_force(asking(built, Proofs()), [record(1)], ANN_BOB) == (None, ["not-logged"])


def test_a_withdrawal_counts_without_a_log(built: Built) -> None:
    assert found_in(asking(built), [record(1, None)], ANN_BOB).head is not None


def test_heads_name_the_log_of_their_environment(attested: Built) -> None:
    ours = LogHead(origin(attested.vault, environment_log(builders.PROD)), 3, Digest("a" * 64))
    found = statement(attested, log=ours)
    assert heads.parse(heads.encode(found), "it") == found
    other = statement(attested, log=replace(ours, origin=f"{ours.origin}uction"))
    with pytest.raises(Malformed, match="another log"):
        heads.parse(heads.encode(other), "it")


POLICY = """
roles:
  releaser:
    allow: [{{actions: [promote], from: dev, to: prod}}, {{actions: [load], env: [dev, prod]}}{more}]
  watch: {{allow: [{{actions: [witness], env: [prod]}}]}}
  lost: {{allow: [{{actions: [load], env: [nowhere]}}]}}
environments:
  dev: {{formats: [onnx]}}
  prod: {{formats: [onnx], require: {{log: witnessed, witnesses: {witnesses}}}}}
principals:
  ann: {{roles: [releaser, lost]}}
  ci: {{kind: service, owners: [{owner}], roles: [watch]}}
  ben: {{}}
"""


@pytest.mark.parametrize(
    ("owner", "witnesses", "found"),
    [
        ("ben", 1, set()),
        ("ann", 1, {"witnesses-unreachable"}),
        ("ben", 2, {"witnesses-unreachable"}),
    ],
)
def test_a_witness_is_somebody_else(owner: str, witnesses: int, found: set[str]) -> None:
    more = ", {actions: [log], env: [prod]}"
    text = POLICY.format(more=more, owner=owner, witnesses=witnesses)
    findings = policy_check.check(policyfile.view(policyfile.parse(text, "it")))
    told = {entry.code for entry in findings}
    assert told & {"witnesses-unreachable", "promoter-without-log"} == found


def test_an_unwitnessed_log_is_advisory_against_its_writers() -> None:
    text = POLICY.format(more="", owner="ben", witnesses=1).replace("witnessed, witnesses: 1", "unwitnessed")
    found = policyfile.view(policyfile.parse(text, "it"))
    (demand,) = [entry for entry in policy_analysis.demands(found, builders.PROD) if "log" in entry.text]
    assert demand.text == "log: unwitnessed, advisory against who may write to the log"


def test_what_was_withdrawn_is_named_by_its_digest_where_its_version_is_not_known() -> None:
    lifted = Lifted(
        builders.PROD, builders.CHURN, None, Digest("b" * 64), (Principal("cat"),), "2026-05-03T00:00:00Z"
    )
    assert lifted.subject == Reference(builders.CHURN, digest=Digest("b" * 64))
    assert replace(lifted, version=Version("3")).subject == Reference(builders.CHURN, version=Version("3"))


def test_a_new_key_of_an_environment_is_told(built: Built) -> None:
    def turned(before: Policy) -> Policy:
        rule = before.environments[builders.PROD]
        epochs = (*rule.epochs, Epoch(7, Recipient("x25519", Digest("c" * 64))))
        return replace(before, environments={**before.environments, rule.name: replace(rule, epochs=epochs)})

    before = built.policy
    found = policy_diff.diff(policy_view.of_policy(before), policy_view.of_policy(turned(before)))
    (change,) = found.environments
    assert change.settings == (("key", "epoch 1", "epoch 7"),)
