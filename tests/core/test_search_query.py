"""What a query may say, what it means, and what is wrong with one that cannot be parsed."""

import pytest

from vault.core import limits
from vault.core.registry_record import number_of
from vault.core.search_fields import FIELDS
from vault.core.search_query import (
    All,
    Any,
    Condition,
    Not,
    Query,
    QueryError,
    Words,
    parse,
)


def test_the_query_of_the_documentation() -> None:
    assert parse("metric.auc>0.9 and env=prod and format=onnx") == All(
        (
            Condition("metric", ">", "0.9", "auc", 0.9),
            Condition("env", "=", "prod"),
            Condition("format", "=", "onnx"),
        )
    )


@pytest.mark.parametrize(
    ("text", "meant"),
    [
        ("env=prod", Condition("env", "=", "prod")),
        ("env:prod/canary", Condition("env", "=", "prod/canary")),
        ("environment = prod", Condition("env", "=", "prod")),
        ("ENV=prod", Condition("env", "=", "prod")),
        ("was=staging", Condition("was", "=", "staging")),
        ("model:nepse/*", Condition("model", "=", "nepse/*")),
        ("model=*", Condition("model", "=", "*")),
        ("name=churn", Condition("model", "=", "churn")),
        ("tag='two words'", Condition("tag", "=", "two words")),
        ('feature="a b"', Condition("feature", "=", "a b")),
        ("by=ana", Condition("by", "=", "ana")),
        ("approved=ben", Condition("approved", "=", "ben")),
        ("metric=auc", Condition("metric", "=", "auc")),
        ("metric!=auc", Not(Condition("metric", "=", "auc"))),
        ('metric."top 5">=0.5', Condition("metric", ">=", "0.5", "top 5", 0.5)),
        ("metric.'top 5'<=-1e-3", Condition("metric", "<=", "-1e-3", "top 5", -0.001)),
        ("metric.auc!=0.5", Condition("metric", "=", "0.5", "auc", 0.5, differs=True)),
        ("param.depth<=5", Condition("param", "<=", "5", "depth", 5.0)),
        ("parameter.solver=lbfgs", Condition("param", "=", "lbfgs", "solver")),
        ("param.solver!=lbfgs", Condition("param", "=", "lbfgs", "solver", differs=True)),
        ("library=onnx", Condition("library", "=", "onnx")),
        ("library.numpy<2", Condition("library", "<", "000000000002 449", "numpy")),
        ("parent=churn", Condition("parent", "=", "churn")),
        ("parent=churn:3", Condition("parent", "=", "churn:3")),
        ("test=passed", Condition("test", "=", "passed")),
        ("size>10MB", Condition("size", ">", "10MB", number=10_000_000.0)),
        ("size<=1.5KiB", Condition("size", "<=", "1.5KiB", number=1_536.0)),
        ("size=7", Condition("size", "=", "7", number=7.0)),
        ("digest=sha256:1f0c22ab", Condition("digest", "=", "1f0c22ab")),
        ("digest=1f0c22ab", Condition("digest", "=", "1f0c22ab")),
        ("version>=3", Condition("version", ">=", "i000000000000003~")),
        (
            "created<2026-05-01T10:00:00Z",
            Condition("created", "<", "2026-05-01T10:00:00Z", number=1_777_629_600.0),
        ),
        ("churn", Words(("churn",))),
        ("NEPSE/nabil", Words(("nepse", "nabil"))),
        ("fore*", Words(("fore",), prefix=True)),
        ('"gradient boosting"', Words(("gradient", "boosting"))),
        ("'env=prod'", Words(("env", "prod"))),
        ("not churn", Not(Words(("churn",)))),
        ("NOT churn", Not(Words(("churn",)))),
        ("a b", All((Words(("a",)), Words(("b",))))),
        ("a AND b", All((Words(("a",)), Words(("b",))))),
        ("a or b", Any((Words(("a",)), Words(("b",))))),
        ("(a)", Words(("a",))),
        ("( a or b ) c", All((Any((Words(("a",)), Words(("b",)))), Words(("c",))))),
        ("not(a)", Not(Words(("a",)))),
        ("android", Words(("android",))),
    ],
)
def test_what_a_query_means(text: str, meant: Query) -> None:
    assert parse(text) == meant


def test_and_binds_closer_than_or_and_words_beside_each_other_mean_and() -> None:
    one, two, three, four = (Words((name,)) for name in ("a", "b", "c", "d"))
    assert parse("a b or c and d") == Any((All((one, two)), All((three, four))))


@pytest.mark.parametrize(
    ("text", "meant"),
    [
        ("created>2026-05-01", Condition("created", ">=", "2026-05-01", number=1_777_680_000.0)),
        ("created>=2026-05-01", Condition("created", ">=", "2026-05-01", number=1_777_593_600.0)),
        ("created<2026-05-01", Condition("created", "<", "2026-05-01", number=1_777_593_600.0)),
        ("created<=2026-05-01", Condition("created", "<", "2026-05-01", number=1_777_680_000.0)),
        (
            "created=2026-05-01",
            All(
                (
                    Condition("created", ">=", "2026-05-01", number=1_777_593_600.0),
                    Condition("created", "<", "2026-05-01", number=1_777_680_000.0),
                )
            ),
        ),
    ],
)
def test_a_day_is_the_whole_day(text: str, meant: Query) -> None:
    assert parse(text) == meant
    assert parse(text.replace("created", "created ")) == meant


def test_a_day_that_is_not() -> None:
    assert parse("created!=2026-05-01") == Not(parse("created=2026-05-01"))


@pytest.mark.parametrize(
    ("text", "column", "about"),
    [
        ("", 1, "missing"),
        ("   ", 4, "missing"),
        ("a and", 6, "missing"),
        ("a or ", 6, "missing"),
        ("not", 4, "missing"),
        ("(a", 1, "not closed"),
        ("a)", 2, "no '('"),
        ("()", 2, "nothing before"),
        ("and a", 1, "between two"),
        ("a and or b", 7, "between two"),
        ("auc>0.9", 1, "no field 'auc'"),
        ("metrc.auc>0.9", 1, "Did you mean 'metric'"),
        ("x=1", 1, "quote it"),
        ("modle=churn", 1, "Did you mean 'model'"),
        ("a=b>c", 1, "no field"),
        (">3", 1, "no field before"),
        ("env.prod=1", 1, "no names below"),
        ("env>prod", 1, "not ordered"),
        ("tag>=a", 1, "not ordered"),
        ("metric>1", 1, "not ordered"),
        ("env=", 5, "1 to 200"),
        ("env=''", 5, "1 to 200"),
        ("env==prod", 5, "1 to 200"),
        ("tag=" + "x" * 201, 5, "1 to 200"),
        ("env=Prod", 5, "environment"),
        ("env=prod/MAIN", 5, "slot"),
        ("model=a//b", 7, "model name"),
        ("version=x", 9, "version"),
        ("parent=a:b", 8, "version"),
        ("metric.auc>high", 12, "no number"),
        ("metric.auc>1e999", 12, "no number"),
        ("param.depth<deep", 13, "texts are not ordered"),
        ("library.numpy>x", 15, "no version of a library"),
        ("created>yesterday", 9, "time"),
        ("created>2026-13-01", 9, "time"),
        ("size>big", 6, "no number of bytes"),
        ("digest=xyz", 8, "no digest"),
        ("test=maybe", 6, "no end of a load test"),
        ("---", 1, "no letter or digit"),
        ("*", 1, "no letter or digit"),
        ("'open", 1, "no second one"),
        ("a 'open", 3, "no second one"),
        ('"' + "a " * 17 + '"', 1, "more than 16 words"),
    ],
)
def test_what_is_wrong_with_a_query_and_where(text: str, column: int, about: str) -> None:
    with pytest.raises(QueryError, match=f"Column {column} of the query") as caught:
        parse(text)
    assert about in str(caught.value)
    assert caught.value.column == column
    assert caught.value.hint in str(caught.value)
    assert isinstance(caught.value, ValueError)


def test_a_query_is_bounded_in_length_depth_and_conditions() -> None:
    with pytest.raises(QueryError, match="longer than 2,000"):
        parse("a" * (limits.SEARCH_CHARS + 1))
    deep = limits.SEARCH_DEPTH
    assert parse("(" * deep + "a" + ")" * deep) == Words(("a",))
    with pytest.raises(QueryError, match="levels deep"):
        parse("(" * (deep + 1) + "a" + ")" * (deep + 1))
    with pytest.raises(QueryError, match="levels deep"):
        parse("not " * (deep + 1) + "a")
    parse("a " * limits.SEARCH_CONDITIONS)
    with pytest.raises(QueryError, match="more than 64 conditions"):
        parse("a " * (limits.SEARCH_CONDITIONS + 1))


def test_every_field_has_an_example_that_parses() -> None:
    for field in FIELDS:
        value = {"created": "2026-05-01", "digest": "a" * 64, "test": "failed"}.get(field, "1")
        parse(f"{field}={'prod' if field in {'env', 'was'} else value}")
    assert len(FIELDS) == 17


@pytest.mark.parametrize(
    ("text", "number"),
    [("1", 1.0), ("-1.5e3", -1_500.0), (".5", 0.5), ("5.", 5.0), ("nan", None), ("inf", None), ("1_0", None)],
)
def test_what_is_a_number(text: str, number: float | None) -> None:
    assert number_of(text) == number
