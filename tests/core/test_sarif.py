"""SARIF: one log that code hosts take, with relative URIs, byte offsets and a rule for every finding."""

import json
import re
from typing import Any

import pytest

from tests import oracles
from vault.core import findings, inspection, sarif
from vault.core.findings import Finding, Inspection
from vault.errors import CODES

EVIL = b"\x80\x04\x8c\x05posix\x8c\x06system\x93\x8c\x02id\x85R."


def logged(*inspections: Inspection, base: str = "") -> Any:
    return json.loads(json.dumps(sarif.log(inspections, version="1.2.3", base=base)))


def evil(path: str = "d/evil.pkl") -> Inspection:
    return inspection.inspect_bytes(path, EVIL)


def test_the_log_has_what_the_specification_demands() -> None:
    log = logged(evil(), inspection.inspect_bytes("fine.json", b"[]"))
    assert (log["version"], len(log["runs"])) == ("2.1.0", 1)
    (run,) = log["runs"]
    driver = run["tool"]["driver"]
    assert (driver["name"], driver["semanticVersion"]) == ("mvault inspect", "1.2.3")
    assert [entry["location"]["uri"] for entry in run["artifacts"]] == ["d/evil.pkl", "fine.json"]
    assert [entry["length"] for entry in run["artifacts"]] == [len(EVIL), 2]
    for result in run["results"]:
        rule = driver["rules"][result["ruleIndex"]]
        assert rule["id"] == result["ruleId"]
        assert rule["help"]["text"]
        assert result["level"] in {"error", "warning", "note"}
        assert result["message"]["text"]
        (location,) = result["locations"]
        place = location["physicalLocation"]["artifactLocation"]
        assert run["artifacts"][place["index"]]["location"]["uri"] == place["uri"]
        assert re.fullmatch(r"[0-9a-f]{32}", result["partialFingerprints"]["mvault/v1"])


def test_a_global_is_found_where_it_stands() -> None:
    (run,) = logged(evil())["runs"]
    (found,) = [entry for entry in run["results"] if entry["ruleId"] == "forbidden-global"]
    assert found["level"] == "error"
    assert found["locations"][0]["physicalLocation"]["region"] == {"byteOffset": EVIL.index(b"\x93")}


def test_a_finding_inside_an_archive_names_the_member_and_no_offset_of_the_file() -> None:
    found = Finding("forbidden-global", "error", "It names os.system.", "a.zip!b.pkl", 7)
    (run,) = logged(Inspection("d.zip", "zip", "refused", findings=(found,)))["runs"]
    (result,) = run["results"]
    (location,) = result["locations"]
    assert "region" not in location["physicalLocation"]
    assert location["logicalLocations"] == [{"fullyQualifiedName": "d.zip!a.zip!b.pkl", "kind": "resource"}]
    assert result["properties"]["memberOffset"] == 7
    assert result["message"]["text"] == "a.zip!b.pkl: It names os.system."


@pytest.mark.parametrize(
    ("path", "base", "uri"),
    [
        ("models/m.pkl", "", "models/m.pkl"),
        ("../m.pkl", "/srv", "../m.pkl"),
        ("/srv/models/m.pkl", "/srv", "models/m.pkl"),
        ("/srv/models/m.pkl", "/srv/", "models/m.pkl"),
        ("/srvmodels/m.pkl", "/srv", "file:///srvmodels/m.pkl"),
        ("/etc/m.pkl", "", "file:///etc/m.pkl"),
        ("a b#c?d%e.pkl", "", "a%20b%23c%3Fd%25e.pkl"),
        ("http:x.pkl", "", "http%3Ax.pkl"),
        ("naïve.pkl", "", "na%C3%AFve.pkl"),
        ("a\x1b[31m\nb", "", "a%1B%5B31m%0Ab"),
        ("bad\udcff.pkl", "", "bad%FF.pkl"),
        ("lone\ud800.pkl", "", "lone%3F.pkl"),
    ],
)
def test_paths_become_uris(path: str, base: str, uri: str) -> None:
    assert sarif.uri(path, base=base) == uri


def test_no_name_breaks_the_log() -> None:
    found = Finding("unreadable", "error", "It cannot \ud800 be read.", "m\udcff", None)
    log = sarif.log([Inspection("x", "data", "refused", findings=(found,))], version="1")
    assert json.dumps(log, ensure_ascii=False).encode("utf-8")


def test_every_code_and_every_rule_is_described() -> None:
    for rule in (*CODES, *findings.RULES):
        meaning, advice = findings.described(rule)
        assert meaning.endswith(".")
        assert advice.endswith(".")


def test_a_rule_has_the_worst_level_of_its_findings() -> None:
    both = tuple(Finding("runs-code", level, level) for level in ("warning", "error"))
    (run,) = logged(Inspection("x", "data", "refused", findings=both))["runs"]
    assert run["tool"]["driver"]["rules"][0]["defaultConfiguration"] == {"level": "error"}


@pytest.mark.oracle
def test_the_log_satisfies_the_published_schema(request: pytest.FixtureRequest) -> None:
    jsonschema = oracles.module("jsonschema")
    cache = request.config.cache.mkdir("oracles")
    (cache / "@microsoft").mkdir(exist_ok=True)
    folder = oracles.npm_folder("@microsoft/jest-sarif", cache)
    schema = json.loads(next(folder.rglob("sarif-2.1.0-rtm.5.json")).read_text(encoding="utf-8"))
    jsonschema.Draft7Validator(schema).validate(logged(evil(), inspection.inspect_bytes("fine.json", b"[]")))
