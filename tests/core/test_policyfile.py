"""Policy files: a strict subset of YAML, a closed vocabulary, and errors that name the line."""

from pathlib import Path

import pytest

from tests import builders
from tests.builders import DEV, PROD
from vault import policyfile
from vault.core import names
from vault.core.names import Principal
from vault.core.policy import NO_REQUIREMENTS, ApprovalRule, LogHead, Requirements, Rule
from vault.errors import Malformed, NotFound, Unavailable

FULL = """
roles:
  ml-engineer:
    allow:
      - {actions: [load, publish], env: [dev], models: ["churn", "nepse/*"]}
      - {actions: [promote], from: dev, to: prod}
  loader: {allow: [{actions: [load], env: [prod], models: own}]}
  nothing: {}
environments:
  dev:
    formats: [onnx, skops]
  prod:
    require:
      approvals: {role: ml-engineer, threshold: 2, distinct_from: [publisher, promoter]}
      audit: true
      fresh: warn
      libraries: false
      load_test: true
      log: witnessed
      max_age_days: 30
principals:
  owner: {roles: [ml-engineer]}
  server: {kind: service, owners: [owner], roles: [loader], models: []}
"""


def refused(text: str) -> Malformed:
    with pytest.raises(Malformed) as caught:
        policyfile.parse(text, "team.yaml")
    assert caught.value.subject == "team.yaml"
    return caught.value


def test_every_word_of_the_vocabulary_is_read() -> None:
    found = policyfile.parse(FULL, "team.yaml")
    engineer, loader = Principal("ml-engineer"), found.roles[Principal("loader")][0]
    dev, prod = found.environments[DEV], found.environments[PROD]
    assert found.roles[engineer] == (
        Rule(("load", "publish"), (DEV,), None, None, ("churn", "nepse/*"), own=False),
        Rule(("promote",), (), DEV, PROD, None, own=False),
    )
    assert (loader.own, loader.models) == (True, None)
    assert found.roles[Principal("nothing")] == ()
    assert (dev.require, dev.formats, prod.formats) == (NO_REQUIREMENTS, ("onnx", "skops"), ())
    approvals = ApprovalRule(engineer, 2, ("publisher", "promoter"))
    assert prod.require == Requirements(approvals, True, "warn", False, True, "witnessed", 30, 1)
    owner, server = (found.principals[Principal(name)] for name in ("owner", "server"))
    assert (owner.kind, owner.models) == ("person", None)
    assert (server.kind, server.models, server.owners) == ("service", (), ("owner",))


def test_an_empty_mapping_says_nothing() -> None:
    found = policyfile.parse("{}", "team.yaml")
    assert not found.roles
    assert not found.environments
    assert not found.principals


@pytest.mark.parametrize("text", ["x: &a 1", "roles: *a", "roles: {a: &x {}, b: *x}", "- &a b"])
def test_anchors_and_aliases_are_errors(text: str) -> None:
    assert "anchors and aliases" in refused(text).message or "undefined alias" in refused(text).message


@pytest.mark.parametrize("text", ["roles: !!python/object:os.system {}", "roles: !x {}", "! roles"])
def test_tags_are_errors(text: str) -> None:
    assert "tags" in refused(text).message


@pytest.mark.parametrize(
    ("text", "line", "reason"),
    [
        ("", 1, "one document"),
        ("---\na: 1\n---\nb: 2\n", 1, "one document"),
        ("roles: {\n\n", 3, "stream end"),
        ("a:\n\tb: 1", 2, "cannot start any token"),
        ("\x00", 1, "not YAML"),
        ("just text", 1, "a mapping is expected"),
        ("[]", 1, "a mapping is expected"),
        ("roles: {}\nrules: {}", 2, "unknown key 'rules'"),
        ("roles: {}\nroles: {}", 2, "occurs twice"),
        ("? [a]\n: b", 1, "no text"),
        ("roles: [a]", 1, "a mapping is expected"),
        ("roles:\n  a b: {}", 2, "is not a principal"),
        ("roles:\n  a: {deny: []}", 2, "unknown key 'deny'"),
        ("roles:\n  a: {allow: all}", 2, "a list of rules"),
        ("roles:\n  a: {allow: [load]}", 2, "a mapping is expected"),
        ("roles:\n  a: {allow: [{actions: load}]}", 2, "a list is expected"),
        ("roles:\n  a: {allow: [{actions: [fly]}]}", 2, "'fly' is not one of"),
        ("roles:\n  a: {allow: [{actions: [[load]]}]}", 2, "a single value"),
        ("roles:\n  a: {allow: [{actions: [load], env: [Dev]}]}", 2, "is not an environment"),
        ("roles:\n  a: {allow: [{actions: [promote], to: prod}]}", 2, "'from' and 'to'"),
        ("roles:\n  a: {allow: [{actions: [load], from: dev, to: prod}]}", 2, "'from' and 'to'"),
        ("roles:\n  a: {allow: [{actions: [load], models: [a*]}]}", 2, "is not a model name"),
        ("roles:\n  a: {allow: [{actions: [load], when: monday}]}", 2, "unknown key 'when'"),
        ("environments:\n  Prod: {}", 2, "is not an environment"),
        ("environments:\n  prod: {require: strict}", 2, "a mapping is expected"),
        ("environments:\n  prod:\n    require: {audit: yes}", 3, "'yes' is not one of true, false"),
        ("environments:\n  prod:\n    require: {fresh: always}", 3, "'always' is not one of"),
        ("environments:\n  prod:\n    require: {max_age_days: 1e3}", 3, "whole number"),
        ("environments:\n  prod:\n    require: {log: unwitnessed, witnesses: 1}", 3, "goes with"),
        ("environments:\n  prod:\n    hashed: [actor]", 3, "not one of host, subject"),
        ("environments:\n  prod:\n    require: {max_age_days: -1}", 3, "whole number"),
        ("environments:\n  prod:\n    require: {max_age_days: 1000000}", 3, "whole number"),
        ("environments:\n  prod:\n    require: {max_age_days: '\u0661'}", 3, "whole number"),
        ("environments:\n  prod:\n    require: {approvals: {role: a}}", 3, "a role and a threshold"),
        ("environments:\n  prod:\n    require: {approvals: {role: a, threshold: two}}", 3, "whole number"),
        ("environments:\n  prod:\n    require: {witness: 1}", 3, "unknown key 'witness'"),
        ("principals:\n  a: {kind: robot}", 2, "'robot' is not one of"),
        ("principals:\n  a: {keys: [x]}", 2, "unknown key 'keys'"),
        ("roles: " + "[" * 40 + "]" * 40, 1, "nested too deeply"),
    ],
)
def test_an_error_names_the_line(text: str, line: int, reason: str) -> None:
    message = refused(text).message
    assert message.startswith(f"team.yaml, line {line}: ")
    assert reason in message


def test_scalars_are_text_whatever_yaml_would_make_of_them() -> None:
    found = policyfile.parse("roles: {no: {}, 1: {}, null: {}}\n", "team.yaml")
    assert list(found.roles) == ["no", "1", "null"]


def test_a_file_too_large_for_a_policy_is_not_parsed() -> None:
    assert refused(" " * (policyfile.POLICY_FILE_BYTES + 1)).code == "too-large"


def test_the_shipped_policy_makes_a_vault() -> None:
    assert set(policyfile.parse(policyfile.shipped("solo"), "solo.yaml").environments) == {"dev", "prod"}
    with pytest.raises(LookupError, match="no policy 'nowhere'"):
        policyfile.shipped("nowhere")


NO_VOTES = "{approvals: {role: a, threshold: 0}}"


@pytest.mark.parametrize(
    "text",
    [
        "principals: {owner: {roles: [ghost]}}\nenvironments: {dev: {}}",
        "principals: {owner: {}}\nroles: {a: {allow: [{actions: [load], env: [nowhere]}]}}",
        "principals: {owner: {kind: service}}",
        "principals: {owner: {}}\nenvironments: {dev: {require: {max_age_days: 0}}}",
        f"principals: {{owner: {{}}}}\nroles: {{a: {{}}}}\nenvironments: {{dev: {{require: {NO_VOTES}}}}}",
        "principals: {owner: {}}\nenvironments: {dev: {formats: [onnx, onnx]}}",
    ],
)
def test_a_policy_that_no_client_would_accept_makes_no_vault(text: str) -> None:
    with pytest.raises(Malformed):
        builders.solo(policy=text)


def test_a_policy_without_an_owner_makes_no_vault() -> None:
    with pytest.raises(ValueError, match="no principal 'owner'"):
        builders.solo(policy="roles: {}")


# --- keys over time, lines, tests ---

ROOT_HASH = "0" * 64
HEAD = f"{{origin: log, size: 5, root: {ROOT_HASH}}}"
TEST = "{who: ann, action: load, model: churn, env: dev, allowed: true}"


def test_keys_are_revoked_and_retired_by_id() -> None:
    entry = f"revoked: [{'a' * 16}, 'sha256:{'b' * 64}'], retired: {{{'c' * 20}: {HEAD}}}"
    ann = policyfile.parse(f"principals: {{ann: {{{entry}}}}}", "team.yaml").principals[Principal("ann")]
    assert ann.revoked == ("a" * 16, "b" * 64)
    assert ann.retired == {"c" * 20: LogHead("log", 5, names.Digest(ROOT_HASH))}
    view = policyfile.view(policyfile.parse(f"principals: {{ann: {{revoked: [{'a' * 16}]}}}}", "it"))
    assert view.revoked == {"ann": ("a" * 16,)}
    assert view.retired == {}


@pytest.mark.parametrize(
    ("entry", "reason"),
    [
        ("revoked: [abc]", "is no key id"),
        (f"revoked: [{'A' * 16}]", "is no key id"),
        (f"revoked: [{'a' * 65}]", "is no key id"),
        ("retired: [a]", "a mapping from key ids"),
        (f"retired: {{abc: {HEAD}}}", "is no key id"),
        (f"retired: {{{'a' * 16}: {{origin: log, size: 5}}}}", "an origin, a size and a root"),
        (f"retired: {{{'a' * 16}: {{origin: log, size: many, root: {ROOT_HASH}}}}}", "whole number"),
        (f"retired: {{{'a' * 16}: {{origin: log, size: 5, root: abc}}}}", "is not a SHA-256 digest"),
    ],
)
def test_keys_that_no_id_names_are_refused(entry: str, reason: str) -> None:
    message = refused(f"principals:\n  ann:\n    {entry}\n").message
    assert message.startswith("team.yaml, line 3: ")
    assert reason in message


def test_every_part_keeps_the_line_of_its_name() -> None:
    found = policyfile.parse(FULL, "team.yaml")
    assert found.file == "team.yaml"
    assert {place: found.lines[place] for place in found.lines if place[0] == "role"} == {
        ("role", "ml-engineer"): 3,
        ("role", "ml-engineer", "0"): 5,
        ("role", "ml-engineer", "1"): 6,
        ("role", "loader"): 7,
        ("role", "loader", "0"): 7,
        ("role", "nothing"): 8,
    }
    assert found.lines["environment", "prod"] == 12
    assert found.lines["environment", "prod", "approvals"] == 14
    assert found.lines["environment", "prod", "max_age_days"] == 20
    assert found.lines["principal", "server"] == 23


def test_expected_decisions_are_read() -> None:
    text = f"- {TEST}\n- {{who: b, action: promote, model: a/b, from: dev, env: prod, allowed: false}}\n"
    first, second = policyfile.parse_tests(text, "team.test.yaml")
    assert (first.who, first.action, first.model, first.environment) == ("ann", "load", "churn", DEV)
    assert (first.source, first.allowed, first.line) == (None, True, 1)
    assert (second.source, second.environment, second.allowed, second.line) == (DEV, PROD, False, 2)
    assert policyfile.parse_tests("[]", "team.test.yaml") == ()


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("{}", "a list of expected decisions"),
        ("- a", "a mapping is expected"),
        (f"- {TEST.replace('who: ann, ', '')}", "has who too"),
        ("- {who: ann}", "has action, model, env, allowed too"),
        (f"- {TEST.replace('load', 'fly')}", "'fly' is not one of"),
        (f"- {TEST.replace('true', 'maybe')}", "'maybe' is not one of"),
        (f"- {TEST.replace('env:', 'from: dev, env:')}", "only a promotion has 'from'"),
        (f"- {TEST.replace('env:', 'when: now, env:')}", "unknown key 'when'"),
    ],
)
def test_what_is_no_expected_decision_is_refused(text: str, reason: str) -> None:
    with pytest.raises(Malformed) as caught:
        policyfile.parse_tests(text, "team.test.yaml")
    assert caught.value.message.startswith("team.test.yaml, line 1: ")
    assert reason in caught.value.message


def test_files_that_cannot_be_read_say_so(tmp_path: Path) -> None:
    with pytest.raises(NotFound):
        policyfile.read(tmp_path / "team.yaml")
    with pytest.raises(Unavailable):
        policyfile.read(tmp_path)
    (tmp_path / "team.yaml").write_bytes(b"\xff")
    with pytest.raises(Malformed, match="UTF-8"):
        policyfile.read(tmp_path / "team.yaml")
    (tmp_path / "team.yaml").write_text("roles: {}")
    assert policyfile.read(tmp_path / "team.yaml") == "roles: {}"
