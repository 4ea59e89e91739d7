"""Which versions a query means: the slow answer, by which every database is judged."""

import pytest

from vault.core import names
from vault.core.registry_record import Entry, Facts, FileRow, LoadTest, ParentRow, Record, Vote
from vault.core.search_match import matches
from vault.core.search_query import parse

RECORD = Record(
    Entry(
        names.model("nepse/NABIL"),
        names.version("3"),
        names.digest("ab" * 32),
        1_777_600_000,
        (FileRow("model.onnx", "model", "onnx", 1_000),),
        ("ana",),
        (
            Vote("approve", "prod", "ben", "2026-05-01T00:00:00Z"),
            Vote("adopt", "", "eve", "2026-05-01T00:00:00Z"),
        ),
        (ParentRow("base", "2", names.digest("cd" * 32), "fine-tuned-from"),),
        ("champion",),
        ("a weekly rehearsal",),
        (LoadTest("passed", "robot", "2026-05-01T00:00:00Z"),),
    ),
    frozenset({("prod", "main"), ("dev", "blue")}),
    frozenset({("prod", "main"), ("staging", "main"), ("dev", "blue")}),
    Facts(
        (("auc", 0.91, "0.91"), ("bad", None, "nan")),
        (("depth", 5.0, "5"), ("solver", None, "lbfgs"), ("warm", None, "true")),
        ("age", "income"),
        (("numpy", "2.1.0"), ("own", "unknown")),
        ("nightly",),
        ("gradient boosting over daily data",),
    ),
)

TRUE = """
nabil | NEPSE/NABIL | nepse | fore* or rehears* | "weekly rehearsal" | "gradient boosting"
boosting gradient | model=nepse/NABIL | model:nepse/* | model=* | version=3 | version>2 | version<=3
version!=4 | digest=abababab | env=prod | env=prod/main | env=dev/blue | env=dev | was=staging
format=onnx | by=ana | approved=ben | created>2026-04-30 | created=2026-05-01 | size>=1kB
size<1KiB | size=1000 | parent=base | parent=base:2 | test=passed | tag=champion | tag=nightly
feature=age | not feature=sex | metric.auc>0.9 | metric.auc=0.91 | metric.auc!=0.5 | metric=auc
metric.bad!=1 | param.depth<=5 | param.depth=5 | param.depth=5.0 | param.solver=lbfgs
param.solver!=sag | param.depth!=6 | param.warm=true | param=solver | library=numpy
library.numpy>=2 | library.numpy=2.1 | library.numpy!=2.2 | not metric.f1>0
metric.auc>0.9 and env=prod and format=onnx
"""
FALSE = """
absent | "rehearsal weekly" | "champion weekly rehearsal boosting" | boost | model=nepse
model:other/* | version=4 | version>3 | digest=abababac | env=staging | env=prod/canary
env=dev/main | was=qa | format=skops | by=ben | approved=eve | created>2026-05-01
created!=2026-05-01 | size>1kB | parent=base:3 | parent=other | test=failed | tag=weekly
feature=sex | metric.auc<0.9 | metric.auc!=0.91 | metric.bad=1 | metric.f1!=1 | metric=f1
param.depth>5 | param.solver!=lbfgs | param.solver>3 | param.absent!=1 | param.depth!=5
param=absent | library=onnx | library.numpy<2 | library.numpy!=2.1.0 | library.own>=0
library.own!=1 | library.absent!=1 | nabil and absent | not nabil | absent or sex
"""


def questions(text: str) -> list[str]:
    return [question.strip() for question in text.replace("\n", "|").split("|") if question.strip()]


@pytest.mark.parametrize("query", questions(TRUE))
def test_what_is_so(query: str) -> None:
    assert matches(parse(query), RECORD)


@pytest.mark.parametrize("query", questions(FALSE))
def test_what_is_not_so(query: str) -> None:
    assert not matches(parse(query), RECORD)


def test_what_may_not_be_read_does_not_match() -> None:
    unread = Record(RECORD.entry, RECORD.current, RECORD.past)
    for query in (
        "metric.auc>0.9",
        "param.depth=5",
        "feature=age",
        "library=numpy",
        "tag=nightly",
        "boosting",
    ):
        assert matches(parse(query), RECORD)
        assert not matches(parse(query), unread)
    for query in ("tag=champion", "weekly", "env=prod", "not metric.auc>0.9"):
        assert matches(parse(query), unread)
