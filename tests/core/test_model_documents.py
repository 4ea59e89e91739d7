"""The model card and the bill of materials: what they tell, that they obey no data, the published schema."""

import json
from dataclasses import replace
from importlib import resources
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vault.core import ml_bom, model_card, model_facts
from vault.core.manifest import Parent
from vault.core.model_facts import FileFact, ModelFacts
from vault.core.names import Digest, Model, Version

FILES = (
    FileFact("features.json", "features", "json", 16, "1" * 64),
    FileFact("model.skops", "model", "skops", 1_234, "2" * 64),
)
INFO: dict[str, Any] = {
    "classes": ["no", "yes"],
    "estimator": "sklearn.pipeline.Pipeline",
    "features": ["age", "income"],
    "git": {"commit": "c" * 40, "branch": "main", "dirty": False},
    "metrics": {"auc": 0.91, "f1": 0.5},
    "notes": "Trained in May.\nSecond line.",
    "parameters": {"C": 1.0, "memory": "/home/ann/cache", "verbose": None},
    "params": {"db_password": "hunter2", "seed": 7},
    "parity": {"skops": {"differing": 0.0, "rows": 1000, "weak": False}},
    "python": "3.11.9",
    "steps": [{"name": "scale", "type": "StandardScaler"}],
    "tags": ["quarterly"],
    "training_data": "sha256:" + "d" * 64,
    "training_rows": 5000,
}
FACTS = ModelFacts(
    vault=Digest("a" * 64),
    model=Model("nepse/NABIL"),
    version=Version("3"),
    created="2026-11-23T05:00:00Z",
    publishers=("ann",),
    parents=(Parent(Model("nepse/BASE"), Version("1"), Digest("e" * 64), "fine-tuned-from"),),
    files=FILES,
    info=INFO,
    libraries={"scikit-learn": "1.9.1", "numpy": "2.4.6"},
    manifest=Digest("b" * 64),
)
BARE = ModelFacts(Digest("a" * 64), Model("churn"), Version("1"), FACTS.created, (), (), FILES[1:], {}, {})
SHAPES: tuple[Any, ...] = (5, "text", [], {}, None, [1, {"a": None}], "sha256:no")
HOSTILE = (
    "<script>alert(1)</script>",
    "![x](http://evil.example/x.png)",
    "[click](javascript:alert(1))",
    "http://evil.example www.evil.example a@b.example @everyone #1",
    "`code` ``more`` ``` fence",
    "a|b|c",
    "\n# heading\n\n| a | b |\n",
    "\r\n---\r\n",
    "&lt;b&gt; <!-- -->",
    "\\`\\|",
    "``",
    "`",
    " ",
    "\u202egnp.exe\u2066",
    "\x1b[31mred\x07",
    "```\n<b>out</b>\n```",
)


def card(facts: ModelFacts) -> str:
    return model_card.render(facts).decode("utf-8")


def bom(facts: ModelFacts) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(ml_bom.render(facts))
    return found


def schema(version: str) -> Any:
    """Give a validator of the published schema, with what it refers to."""
    jsonschema = pytest.importorskip("jsonschema")
    pytest.importorskip("cyclonedx")
    from referencing import Registry, Resource

    folder = resources.files("cyclonedx.schema") / "_res"

    def document(name: str) -> Any:
        return json.loads((folder / f"{name}.SNAPSHOT.schema.json").read_text(encoding="utf-8"))

    others = [document(name) for name in ("spdx", "jsf-0.82", "cryptography-defs")]
    registry: Any = Registry().with_resources(
        [(other["$id"], Resource.from_contents(other)) for other in others]
    )
    return jsonschema.Draft7Validator(document(f"bom-{version}"), registry=registry)


# --- what they tell ---


def test_a_card_tells_what_was_recorded() -> None:
    text = card(FACTS)
    for part in (
        "`nepse/NABIL`",
        "`3`",
        "`2026-11-23T05:00:00Z`",
        "`ann`",
        "`0.91`",
        "`age`, `income`",
        "`sha256:" + "d" * 64,
        "`" + "2" * 64,
        "`scikit-learn`",
        "`fine-tuned-from` | `nepse/BASE:1`",
        "Trained in May.\nSecond line.",
        "`c" + "c" * 39,
    ):
        assert part in text
    assert text.endswith("Made by mvault from the signed metadata of this version.\n")


def test_a_card_of_a_version_that_tells_little_has_no_empty_sections() -> None:
    text = card(BARE)
    assert "## Files" in text
    for absent in ("Metrics", "Notes", "Parents", "Training data", "Libraries", "Manifest"):
        assert absent not in text


def test_neither_document_tells_paths_or_what_is_named_like_a_secret() -> None:
    notes = "See /home/ann/data/train.csv, ~/keys/id, C:\\Users\\ann\\x.txt and file:///etc/passwd; "
    notes += "3/4 and/or nepse/X."
    facts = replace(FACTS, info={**INFO, "notes": notes})
    for text in (card(facts), json.dumps(bom(facts), ensure_ascii=False)):
        for leak in ("ann/data", "train.csv", "keys/id", "Users", "/etc", "hunter2", "cache"):
            assert leak not in text, leak
        assert "(a path)" in text
        assert "(left out)" in text
        assert "3/4 and/or nepse/X" in text
        assert "verbose" not in text


def test_texts_and_lists_are_bounded() -> None:
    facts = replace(
        FACTS,
        info={
            "params": {"long": "x" * 10_000},
            "features": [f"f{number}" for number in range(1_000)],
            "notes": "n" * 100_000,
        },
    )
    text = card(facts)
    assert "…" in text
    assert "and 800 more" in text
    assert len(text) < 40_000
    assert len(bom(facts)["metadata"]["component"]["modelCard"]["properties"]) == 1_001


@pytest.mark.parametrize(
    "info",
    [{name: value} for name in INFO for value in SHAPES],
)
def test_metadata_of_any_shape_make_documents(info: dict[str, Any]) -> None:
    """Metadata is whatever a publisher wrote: older releases, other tools, strangers with a key."""
    facts = replace(BARE, info=info)
    assert card(facts)
    assert bom(facts)["bomFormat"] == "CycloneDX"


def test_the_same_facts_give_the_same_bytes_and_others_another_serial_number() -> None:
    again = replace(
        FACTS, info=dict(reversed(INFO.items())), libraries=dict(reversed([*FACTS.libraries.items()]))
    )
    assert model_card.render(FACTS) == model_card.render(again)
    assert ml_bom.render(FACTS) == ml_bom.render(again)
    others = (replace(FACTS, version=Version("4")), replace(FACTS, vault=Digest("9" * 64)), BARE)
    assert len({bom(facts)["serialNumber"] for facts in (FACTS, *others)}) == 4


# --- the bill of materials ---


@pytest.mark.parametrize("facts", [FACTS, BARE], ids=["full", "bare"])
@pytest.mark.parametrize("version", ["1.6", "1.7"])
def test_a_bill_of_materials_fits_the_published_schema(facts: ModelFacts, version: str) -> None:
    problems = [error.message for error in schema(version).iter_errors(bom(facts))]
    assert problems == []


def test_the_schema_finds_what_is_wrong() -> None:
    broken = bom(FACTS) | {"serialNumber": "no"}
    assert [*schema("1.6").iter_errors(broken)]


def test_a_bill_of_materials_names_its_parts_once_and_what_the_model_rests_on() -> None:
    found = bom(FACTS)
    refs = [part["bom-ref"] for part in (found["metadata"]["component"], *found["components"])]
    assert len(refs) == len(set(refs)) == 6
    assert found["dependencies"] == [
        {"ref": "model", "dependsOn": ["training-data", "library:numpy", "library:scikit-learn"]}
    ]
    libraries = {part["name"]: part["purl"] for part in found["components"] if part["type"] == "library"}
    assert libraries["scikit-learn"] == "pkg:pypi/scikit-learn@1.9.1"
    hashes = {part["name"]: part["hashes"] for part in found["components"] if part["type"] == "file"}
    assert hashes["model.skops"] == [{"alg": "SHA-256", "content": "2" * 64}]
    component = found["metadata"]["component"]
    assert component["modelCard"]["quantitativeAnalysis"]["performanceMetrics"][0] == {
        "type": "auc",
        "value": "0.91",
    }
    assert component["pedigree"]["ancestors"][0]["name"] == "nepse/BASE"
    assert found["metadata"]["timestamp"] == FACTS.created


@pytest.mark.parametrize("text", HOSTILE)
def test_a_bill_of_materials_of_hostile_metadata_fits_the_schema_and_is_ascii(text: str) -> None:
    data = ml_bom.render(poisoned(text))
    assert data.isascii()
    assert [error.message for error in schema("1.6").iter_errors(json.loads(data))] == []


# --- a card obeys no data ---


def poisoned(text: str) -> ModelFacts:
    """Put a text wherever metadata has one."""
    info: dict[str, Any] = {
        "classes": [text],
        "estimator": text,
        "features": [text, "x"],
        "git": {text or "k": text},
        "metrics": {text or "k": text},
        "notes": text,
        "parameters": {text or "k": text},
        "parity": {text or "k": text},
        "python": text,
        "steps": [text],
        "tags": [text],
        "training_rows": text,
    }
    files = (replace(FILES[0], path=text or "p", format=text),)
    return replace(FACTS, info=info, files=files, libraries={text or "l": text}, publishers=(text,))


def rendered(text: str) -> list[Any]:
    """Parse a card as GitHub does its tables, with links made of bare addresses."""
    markdown = pytest.importorskip("markdown_it").MarkdownIt("gfm-like", {"html": True, "linkify": False})
    tokens = markdown.parse(text)
    flat = []
    for token in tokens:
        flat += [token, *(token.children or [])]
    return flat


def obeys_nothing(text: str) -> None:
    facts = poisoned(text)
    tokens = rendered(card(facts))
    kinds = {token.type for token in tokens}
    assert not kinds & {"html_block", "html_inline", "link_open", "image", "em_open", "strong_open", "hr"}
    headings = [
        tokens[place + 1].content for place, token in enumerate(tokens) if token.type == "heading_open"
    ]
    assert headings == sorted(set(headings), key=headings.index)
    assert set(headings) <= {
        *("Model card", "Model", "Metrics", "Parameters", "Features", "Training data", "Parents"),
        *("Git", "Files", "Libraries", "Notes"),
    }
    columns = 0
    for token in tokens:
        columns = 0 if token.type == "tr_open" else columns + (token.type == "td_open")
        assert columns <= 5
    plain = [token.content for token in tokens if token.type == "text"]
    assert not [part for part in plain if "evil" in part or "<" in part or "@" in part], plain


@pytest.mark.parametrize("text", HOSTILE)
def test_a_card_obeys_no_data(text: str) -> None:
    obeys_nothing(text)


@given(st.text(st.characters(codec="utf-8"), max_size=60) | st.text("`|\\\n <>[]()!*_#@-~&;a", max_size=30))
def test_a_card_obeys_no_data_whatever_it_is(text: str) -> None:
    obeys_nothing(text)


def test_data_stand_in_a_card_as_they_are() -> None:
    """What neutralises them must not change what is read: `a|b` is shown as `a|b`."""
    facts = replace(BARE, info={"metrics": {"a|b": "`x`"}})
    codes = [token.content for token in rendered(card(facts)) if token.type == "code_inline"]
    assert "a|b" in codes
    assert "`x`" in codes


def test_a_text_keeps_what_is_no_path() -> None:
    for text in ("0.5", "a/b", "10/2", "x ~ y", "http://example.org/a/b", "1:2", "s3://bucket/key"):
        assert model_facts.text(text) == text
