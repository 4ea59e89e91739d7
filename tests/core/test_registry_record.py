"""What the index keeps of a version, how it cuts words, and how it sorts versions."""

import pytest

from vault.core import limits, names
from vault.core.registry_record import (
    Entry,
    Facts,
    FileRow,
    facts,
    indexed_words,
    key_of,
    library_order,
    phrase_of,
    spelled,
    version_key,
    words,
)
from vault.errors import Malformed

DIGEST = names.digest("ab" * 32)


def an_entry(files: tuple[FileRow, ...] = ()) -> Entry:
    return Entry(names.model("nepse/NABIL"), names.version("3"), DIGEST, 7, files, ("ana",), tags=("best",))


def test_metadata_becomes_facts() -> None:
    found = facts(
        {
            "metrics": {"auc": 0.9, "rows": 3, "bad": "nan", "sane": True, "none": None, "nested": {"a": 1}},
            "parameters": {"depth": 3, "solver": "sag"},
            "params": {"depth": 5, "rate": "0.5"},
            "features": ["age", "age", "sex", 7],
            "notes": "a\0note",
            "tags": ["best"],
        },
        {"numpy": "2.1.0"},
    )
    assert found == Facts(
        metrics=(("auc", 0.9, "0.9"), ("bad", None, "nan"), ("rows", 3.0, "3"), ("sane", None, "true")),
        parameters=(("depth", 5.0, "5"), ("rate", 0.5, "0.5"), ("solver", None, "sag")),
        features=("age", "sex"),
        libraries=(("numpy", "2.1.0"),),
        tags=("best",),
        notes=("a note",),
    )


@pytest.mark.parametrize("value", [None, 7, "text", [1]])
def test_metadata_of_another_shape_has_no_facts(value: object) -> None:
    info = dict.fromkeys(("metrics", "parameters", "params"), value)
    assert facts({**info, "features": {"a": 1}, "notes": 7, "tags": None}, {}) == Facts()  # type: ignore[dict-item]


def test_what_is_too_long_or_too_much_is_not_kept() -> None:
    long = "x" * (limits.INDEX_TEXT_CHARS + 1)
    many = {f"m{number:05d}": number for number in range(limits.INDEX_NAMES + 9)}
    found = facts(
        {
            "metrics": {**many},
            "params": {long: 1, "long": long, "nul": "a\0b", "": 1},
            "features": [f"f{number}" for number in range(limits.INDEX_NAMES + 9)],
            "notes": "n" * (limits.INDEX_NOTE_CHARS + 9),
        },
        {long: "1", "numpy": long, "onnx": "1"},
    )
    assert len(found.metrics) == len(found.features) == limits.INDEX_NAMES
    assert found.parameters == ()
    assert found.libraries == (("onnx", "1"),)
    assert [len(note) for note in found.notes] == [limits.INDEX_NOTE_CHARS]


def test_the_text_that_words_are_searched_in() -> None:
    files = (FileRow("a", "model", "onnx", 2), FileRow("b", "file", "json", 3))
    entry = an_entry(files)
    assert (entry.formats, entry.size) == (("onnx",), 5)
    assert an_entry(files[1:]).formats == ("json",)
    assert words(entry.text) == ("nepse", "nabil", "3", "ana", "onnx", "best")
    told = Facts(
        (("auc", 1.0, "1"),), (("c", 1.0, "1"), ("solver", None, "sag")), ("age",), (("numpy", "2"),)
    )
    assert words(told.text) == ("auc", "age", "numpy", "sag")


def test_words_are_letters_and_digits_without_case_or_width() -> None:
    assert words("Größe, \uff21\uff22\uff23-\uff11\uff12 naïve_x\tñ") == (
        "grösse",
        "abc",
        "12",
        "naïve",
        "x",
        "ñ",
    )
    assert words("नेपाल") != ()
    assert words(" -- ") == ()
    assert words("x" * 99) == ("x" * limits.INDEX_WORD_CHARS,)


def test_the_words_of_the_index_are_bounded() -> None:
    assert indexed_words("a b a") == ("a", "b", "a")
    different = " ".join(f"w{number}" for number in range(limits.INDEX_WORDS + 5))
    assert len(indexed_words(different)) == limits.INDEX_WORDS
    assert len(indexed_words("again " * 9_999)) == 4 * limits.INDEX_WORDS
    assert phrase_of(("a", "b")) == " a b "


def test_versions_sort_by_their_keys() -> None:
    ordered = ["1", "2", "10", "0.9.0", "1.0.0-1", "1.0.0-alpha", "1.0.0-alpha.0", "1.0.0-alpha-1"]
    ordered += ["1.0.0-beta", "1.0.0", "1.0.1", "1.10.0", "20260101T000000Z", "20260102T000000Z"]
    assert sorted(ordered, key=names.version_order) == ordered
    assert sorted(ordered, key=version_key) == ordered
    with pytest.raises(Malformed):
        version_key("x")


def test_versions_of_libraries_sort_as_pep_440_says() -> None:
    ordered = [
        "1.dev2",
        "1a1.dev3",
        "1a1",
        "1a2",
        "1b1",
        "1rc1",
        "1",
        "1.post1.dev2",
        "1.post1",
        "1.1",
        "1.10",
        "2",
    ]
    found = [library_order(version) for version in ordered]
    assert None not in found
    assert sorted(str(order) for order in found) == found
    assert library_order("1.6") == library_order("v1.6.0") == library_order("1.6.0+cpu")
    assert library_order("1.0-alpha.1") == library_order("1a1")
    assert library_order("1c1") == library_order("1rc1")
    assert library_order("0") is not None
    for wrong in ("", "x", "1.x", "1..2", "1" * 300):
        assert library_order(wrong) is None


def test_what_is_a_scalar() -> None:
    assert [spelled(value) for value in (True, 1, 0.5, "x", None)] == ["true", "1", "0.5", "x", None]
    assert spelled([1]) is None


def test_a_version_is_known_by_the_first_63_bits_of_its_digest() -> None:
    assert key_of("f" * 64) == (1 << 63) - 1
    assert key_of("0" * 64) == 0
