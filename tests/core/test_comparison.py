"""Versions beside each other, and what counts as a difference."""

from vault.core import comparison
from vault.core.comparison import ORDER, Row, Side, compare


def test_rows_stand_by_section_and_name_with_a_value_for_each_version() -> None:
    one = Side("churn:1", {"metrics": {"auc": 0.9}, "files": {"b": 1, "a": {"size": 1}}})
    other = Side("churn:2", {"metrics": {"auc": 0.91, "f1": 0.5}, "files": {"b": 1, "a": {"size": 1}}})
    found = compare([one, other])
    assert found.rows == (
        Row("metrics", "auc", (0.9, 0.91)),
        Row("metrics", "f1", (None, 0.5)),
        Row("files", "a", ({"size": 1}, {"size": 1})),
        Row("files", "b", (1, 1)),
    )
    assert found.changes == found.rows[:2]
    assert found.sides == (one, other)


def test_what_is_confidential_and_unread_is_no_change() -> None:
    one = Side("churn:1", {"metrics": {"auc": 0.9}, "files": {"a": 1}})
    other = Side("churn:2", {"files": {"a": 2}}, unread="you may not")
    assert compare([one, other]).changes == (Row("files", "a", (1, 2)),)


def test_values_of_another_kind_differ() -> None:
    values = (1, 1.0, True, "1", None, [1], [1.0], {"a": 1}, {"a": True})
    for place, one in enumerate(values):
        for other in values[place + 1 :]:
            assert Row("metrics", "x", (one, other)).differs  # type: ignore[arg-type]
        assert not Row("metrics", "x", (one, one)).differs  # type: ignore[arg-type]


def test_parameters_are_the_estimators_and_those_that_were_told() -> None:
    info = {"parameters": {"depth": 3, "seed": 1}, "params": {"depth": 5}, "metrics": None}
    assert comparison.parameters(info) == {"depth": 5, "seed": 1}  # type: ignore[arg-type]
    assert comparison.parameters({}) == comparison.metrics(info) == {}  # type: ignore[arg-type]
    assert comparison.metrics({"metrics": {"auc": 1}}) == {"auc": 1}


def test_features_tell_their_order() -> None:
    assert comparison.features({"features": ["b", "a", 7]}) == {"b": True, "a": True, ORDER: ["b", "a"]}
    assert comparison.features({"features": "b"}) == comparison.features({}) == {}


def test_approvals_are_told_by_environment() -> None:
    votes = [("approve", "prod", ["ben"]), ("approve", "prod", ["ana"]), ("adopt", "", ["eve"])]
    assert comparison.approvals(votes) == {"prod": ["ana", "ben"], "adopted": ["eve"]}
