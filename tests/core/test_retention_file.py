"""A file of rules is read by the same strict language as a policy; every mistake is told with its line."""

from pathlib import Path

import pytest

from vault import policyfile
from vault.actions import retention_file
from vault.core.removal import ANY_BACKUP
from vault.core.retention import UNLIMITED, Duration, Rules
from vault.core.retention_plan import GRACE, ModelRules
from vault.errors import Malformed, NotFound

WHOLE = """
models:
  "*":
    keep_last: 5
    keep_hourly: 1
    keep_daily: 7
    keep_weekly: 4
    keep_monthly: 12
    keep_yearly: unlimited
    keep_within: 90d
    keep_within_hourly: 1d
    keep_within_daily: 7d
    keep_within_weekly: 1m
    keep_within_monthly: 1y
    keep_within_yearly: 10y
    keep_tag: [keep, "a,b"]
    group_by: [model, environment]
    require_backup: nas
    grace: 1m
  nepse/*: {keep_last: 1, keep_tag: keep, group_by: none, require_backup: true}
  churn: {keep_last: unlimited, group_by: tag, require_backup: false, keep_within: 0d}
"""


def test_every_word_of_the_language_is_read() -> None:
    found = retention_file.parse(WHOLE, "retention.yaml")
    assert found["*"] == ModelRules(
        Rules(
            *(5, 1, 7, 4, 12, UNLIMITED),
            *(Duration(days=90), Duration(days=1), Duration(days=7), Duration(months=1)),
            *(Duration(years=1), Duration(years=10)),
            (frozenset({"keep"}), frozenset({"a", "b"})),
        ),
        ("model", "environment"),
        "nas",
        Duration(months=1),
    )
    assert found["nepse/*"] == ModelRules(Rules(1, tags=(frozenset({"keep"}),)), (), ANY_BACKUP, GRACE)
    assert found["churn"] == ModelRules(Rules(last=UNLIMITED), ("tag",))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("rules:\n  a: b\n", "line 1: unknown key 'rules'"),
        ("a: b\n", "line 1: unknown key 'a'"),
        ("[]", "line 1: a mapping is expected"),
        ("{}", "line 1: 'models' is missing"),
        ("models: 7\n", "line 1: a mapping is expected"),
        ("models:\n  a//b: {keep_last: 1}\n", "line 2: "),
        ("models:\n  churn: 7\n", "line 2: a mapping is expected"),
        ("models:\n  churn:\n    keep_last: 1\n    keep: 2\n", "line 4: unknown key 'keep'"),
        ("models:\n  churn:\n    keep_last: many\n", "line 3: 'many' is not a whole number"),
        ("models:\n  churn:\n    keep_last: [1]\n", "line 3: a single value is expected"),
        ("models:\n  churn:\n    keep_within: 1w\n", "line 3: '1w' is not a duration"),
        ("models:\n  churn: {keep_last: 1, group_by: host}\n", "line 2: 'host' is nothing to group by"),
        ("models:\n  churn: {keep_last: 1, group_by: [model, model]}\n", "line 2: 'model,model' is nothing"),
        ("models:\n  churn: {keep_last: 1, require_backup: A B}\n", "line 2: "),
        ("models:\n  churn: {grace: 7d}\n", "line 2: no rule keeps anything here"),
        ("models:\n  churn: {keep_last: 0}\n", "line 2: no rule keeps anything here"),
        ("models:\n  churn: &a {keep_last: 1}\n", "line 2: anchors"),
        ("models:\n  churn: {keep_last: 1}\n  churn: {keep_last: 2}\n", "line 3: the key 'churn'"),
        (
            "models:\n  churn: {keep_tag: [" + ", ".join(["a"] * 101) + "]}\n",
            "line 2: at most 100 are expected",
        ),
        (
            "models:\n" + "".join(f"  m{number}: {{keep_last: 1}}\n" for number in range(1_001)),
            "there are more than 1,000 patterns",
        ),
    ],
)
def test_mistakes_are_told_with_their_line(text: str, message: str) -> None:
    with pytest.raises(Malformed) as caught:
        retention_file.parse(text, "retention.yaml")
    assert message in str(caught.value)
    assert "retention.yaml" in str(caught.value)


def test_the_starter_that_is_shipped_holds(tmp_path: Path) -> None:
    text = policyfile.shipped("retention")
    found = retention_file.parse(text, "retention.yaml")
    assert found["*"].rules.last == 5
    assert retention_file.find(tmp_path) is None
    place = tmp_path / retention_file.PLACE
    place.parent.mkdir()
    place.write_text(text)
    assert retention_file.find(tmp_path) == place
    assert retention_file.read(place) == found
    with pytest.raises(NotFound, match="no file of rules"):
        retention_file.read(tmp_path / "other.yaml")
