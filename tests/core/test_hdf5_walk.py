"""The walk over Keras weights: real files pass; links, data elsewhere, filters and damage do not."""

import struct
from collections.abc import Callable, Mapping

import pytest

from tests.core.changed_bytes import outcomes
from tests.core.tensorflow_parts import (
    FLOAT,
    INTEGER,
    NOWHERE,
    NUMBERS,
    REFERENCE,
    TEXT,
    Hdf5,
    attribute,
    hdf5,
    space,
    weights,
)
from vault.core import hdf5_walk
from vault.errors import FormatRefused

Made = Callable[[Hdf5], Mapping[bytes, int]]


def refused(data: bytes, match: str) -> None:
    with pytest.raises(FormatRefused, match=match) as caught:
        hdf5_walk.walk(data, subject="model.keras")
    assert caught.value.code == "format-content"
    assert caught.value.subject == "model.keras"


def test_real_weights_are_listed_with_their_sizes() -> None:
    found = hdf5_walk.walk(weights()).datasets
    assert {path.rpartition("/layers/")[2]: size for path, size in found.items() if "dense" in path} == {
        "dense/vars/0": 4 * 8 * 4,
        "dense/vars/1": 8 * 4,
        "dense_1/vars/0": 8 * 3 * 4,
        "dense_1/vars/1": 3 * 4,
    }


def test_a_file_by_hand_is_read_as_keras_would() -> None:
    made = Hdf5()
    heap = made.put(b"GCOL" + struct.pack("<B3xQ", 1, 32) + bytes(16))
    text = struct.pack("<IQI", 3, heap, 1)
    inner = made.group(
        {b"0": made.dataset(bytes(24), 2, 3), b"1": made.dataset(b"", 0)},
        (0x0C, attribute(TEXT, text)),
        (0x0C, attribute(INTEGER, bytes(8), version=3)),
    )
    compact = struct.pack("<BBH", 3, 0, 8) + bytes(8)
    scalar = made.header((1, space()), (3, INTEGER), (8, compact), (0x12, bytes(8)), (0, b""))
    root = made.table({b"layers": inner, b"seed": scalar}, cache=0)
    head = made.header((0x11, struct.pack("<QQ", *root)))
    data = made.close(head, cache=1, scratch=struct.pack("<QQ", *root))
    assert hdf5_walk.walk(data).datasets == {"/layers/0": 24, "/layers/1": 0, "/seed": 8}


def test_a_group_of_many_entries_has_an_index_of_several_levels() -> None:
    made = Hdf5()
    index, heap = made.table({b"0": made.dataset(bytes(12), 3)})
    other, _ = made.table({b"1": made.dataset(bytes(12), 3)})
    top = made.put(struct.pack("<4sBBHQQ5Q", b"TREE", 0, 1, 2, NOWHERE, NOWHERE, 0, index, 8, other, 16))
    made.data[index + 16 : index + 24] = struct.pack("<Q", other)
    data = made.close(made.header((0x11, struct.pack("<QQ", top, heap))))
    assert hdf5_walk.walk(data).datasets == {"/0": 12}  # both lie at one offset of one heap


def test_a_header_goes_on_elsewhere() -> None:
    made = Hdf5()
    rest = made.put(struct.pack("<HHB3x", 0x12, 8, 0) + bytes(8))
    extra = (0x10, struct.pack("<QQ", rest, 16))
    layout = struct.pack("<BBQQ", 3, 1, made.put(bytes(12)), 12)
    head = made.header((1, space(3)), (3, FLOAT), (8, layout), extra, count=5)
    assert hdf5_walk.walk(made.close(made.group({b"0": head}))).datasets == {"/0": 12}


REFUSED: dict[str, tuple[Made, str]] = {
    "data in other files": (
        lambda made: {b"0": made.dataset(bytes(12), 3, extra=[(7, bytes(16))])},
        "data in other files",
    ),
    "a link message": (
        lambda made: {b"0": made.group({}, (6, b"\x01\x08\x40" + bytes(13)))},
        "links that may lead into other files",
    ),
    "new-style groups": (lambda made: {b"0": made.group({}, (2, bytes(16)))}, "new-style links"),
    "filters": (
        lambda made: {b"0": made.dataset(bytes(12), 3, extra=[(0x0B, bytes(8))])},
        "plug-ins",
    ),
    "a shared message": (
        lambda made: {
            b"0": made.header((1, space()), (3, FLOAT), (8, struct.pack("<BBH", 3, 0, 4)), flags=2)
        },
        "shared messages",
    ),
    "an unknown message": (lambda made: {b"0": made.group({}, (0x17, bytes(8)))}, "0x17"),
    "a virtual dataset": (
        lambda made: {b"0": made.header((1, space()), (3, FLOAT), (8, b"\x04\x03" + bytes(14)))},
        "Keras does not write",
    ),
    "chunks": (
        lambda made: {b"0": made.header((1, space()), (3, FLOAT), (8, b"\x03\x02" + bytes(30)))},
        "in pieces",
    ),
    "a short contiguous layout": (
        lambda made: {b"0": made.header((1, space()), (3, FLOAT), (8, b"\x03\x01" + bytes(6)))},
        "in pieces",
    ),
    "no layout worth reading": (
        lambda made: {b"0": made.header((1, space()), (3, FLOAT), (8, b""))},
        "Keras does not write",
    ),
    "no dataspace": (
        lambda made: {b"0": made.header((3, FLOAT), (8, struct.pack("<BBH", 3, 0, 4)))},
        "Keras does not write",
    ),
    "no datatype": (
        lambda made: {b"0": made.header((1, space()), (8, struct.pack("<BBH", 3, 0, 4)))},
        "Keras does not write",
    ),
    "a symbolic link": (lambda made: {b"0": made.group({b"1": 8}, cache=2)}, "symbolic links"),
    "references to objects": (
        lambda made: {b"0": made.dataset(bytes(8), 1, kind=REFERENCE)},
        "neither plain numbers nor text",
    ),
    "a short datatype": (
        lambda made: {b"0": made.header((1, space()), (3, b""), (8, struct.pack("<BBH", 3, 0, 4)))},
        "neither plain numbers nor text",
    ),
    "a shape larger than the data": (
        lambda made: {b"0": made.dataset(bytes(12), 1 << 40)},
        "not as large as it says",
    ),
    "data beyond the end": (
        lambda made: {
            b"0": made.header((1, space(1 << 40)), (3, FLOAT), (8, struct.pack("<BBQQ", 3, 1, 96, 4 << 40)))
        },
        "beyond its end",
    ),
    "data that is nowhere": (
        lambda made: {
            b"0": made.header((1, space(3)), (3, FLOAT), (8, struct.pack("<BBQQ", 3, 1, NOWHERE, 12)))
        },
        "without its data",
    ),
    "a dataspace of another version": (
        lambda made: {
            b"0": made.header((1, b"\x02" + bytes(7)), (3, FLOAT), (8, struct.pack("<BBH", 3, 0, 4)))
        },
        "dataspace",
    ),
    "neither group nor dataset": (lambda made: {b"0": made.header((0x12, bytes(8)))}, "neither a group"),
    "a circle": (lambda made: {b"0": made.group({b"1": 96})}, "another version|same place twice"),
    "one object by two names": (
        lambda made: dict.fromkeys((b"0", b"1"), made.dataset(bytes(12), 3)),
        "same place twice",
    ),
    "a name with a slash": (lambda made: {b"a/b": made.dataset(bytes(12), 3)}, "plain name"),
    "a name that is no text": (lambda made: {b"\xff": made.dataset(bytes(12), 3)}, "plain name"),
    "an empty name": (lambda made: {b"": made.dataset(bytes(12), 3)}, "plain name"),
    "a header of another version": (
        lambda made: {b"0": made.header((0x12, bytes(8)), version=2)},
        "another version",
    ),
    "a header that is too short": (
        lambda made: {b"0": made.header((0x12, bytes(8)), count=2)},
        "shorter than it says",
    ),
    "a continuation that is too short": (
        lambda made: {b"0": made.header((0x10, bytes(8)), count=2)},
        "broken continuation",
    ),
    "a symbol table that is too short": (
        lambda made: {b"0": made.header((0x11, bytes(8)))},
        "two stories",
    ),
    "an attribute of another version": (
        lambda made: {b"0": made.group({}, (0x0C, b"\x02" + bytes(15)))},
        "attribute that Keras",
    ),
    "an attribute with a shared type": (
        lambda made: {b"0": made.group({}, (0x0C, attribute(INTEGER, bytes(8), version=3, flags=1)))},
        "attribute that Keras",
    ),
    "an attribute without its parts": (
        lambda made: {b"0": made.group({}, (0x0C, struct.pack("<BBHHH", 1, 0, 900, 8, 8) + bytes(8)))},
        "attribute that is shorter",
    ),
    "an attribute without its value": (
        lambda made: {b"0": made.group({}, (0x0C, attribute(INTEGER, b"")))},
        "attribute that is shorter",
    ),
    "an attribute of lists": (
        lambda made: {b"0": made.group({}, (0x0C, attribute(NUMBERS, bytes(16))))},
        "neither a number nor text",
    ),
    "text that is elsewhere": (
        lambda made: {b"0": made.group({}, (0x0C, attribute(TEXT, bytes(16))))},
        "not where it says",
    ),
    "text that ends beyond the file": (
        lambda made: {
            b"0": made.group(
                {},
                (
                    0x0C,
                    attribute(
                        TEXT, struct.pack("<IQI", 3, made.put(b"GCOL" + struct.pack("<B3xQ", 1, 1 << 40)), 1)
                    ),
                ),
            )
        },
        "beyond its end",
    ),
}


@pytest.mark.parametrize("made", REFUSED)
def test_what_keras_does_not_write_is_refused(made: str) -> None:
    change, match = REFUSED[made]
    refused(hdf5(change), match)


def test_a_superblock_of_another_kind_is_refused() -> None:
    refused(b"", "beyond its end")
    refused(b"\x89HDF\r\n\x1a\n" + bytes(200), "kind that Keras writes")
    made = Hdf5()
    refused(made.close(made.group({}), versions=b"\x02\0\0\0\0\x08\x08\0"), "kind that Keras writes")
    refused(weights() + b"\0", "does not end where it says")


def test_a_message_that_runs_beyond_its_header_is_refused() -> None:
    made = Hdf5()
    head = made.header((0x12, bytes(8)))
    struct.pack_into("<H", made.data, head + 18, 4096)
    refused(made.close(made.group({b"0": head})), "beyond its block")


def test_an_entry_that_repeats_a_group_must_repeat_it_rightly() -> None:
    made = Hdf5()
    refused(made.close(made.group({}), cache=1, scratch=bytes(16)), "two stories")
    made = Hdf5()
    refused(hdf5(lambda made: {b"0": made.group({b"1": made.dataset(bytes(12), 3)}, cache=1)}), "for a group")


@pytest.mark.parametrize(
    ("piece", "with_", "match"),
    [
        (b"TREE\0", b"TREE\1", "without an index"),
        (b"TREE", b"EERT", "without an index"),
        (b"SNOD\1", b"SNOD\2", "symbol table of another version"),
        (b"HEAP\0", b"HEAP\1", "without names"),
    ],
)
def test_a_group_of_another_kind_is_refused(piece: bytes, with_: bytes, match: str) -> None:
    data = hdf5(lambda made: {b"0": made.dataset(bytes(12), 3)})
    assert data.count(piece) == 1
    refused(data.replace(piece, with_), match)


def test_an_index_whose_neighbours_are_not_its_own_is_refused() -> None:
    made = Hdf5()
    index, heap = made.table({})
    made.data[index + 8 : index + 16] = struct.pack("<Q", 96)
    refused(made.close(made.header((0x11, struct.pack("<QQ", index, heap)))), "leads elsewhere")


def test_groups_may_not_be_nested_without_end() -> None:
    made = Hdf5()
    inner = made.group({})
    for _ in range(200):
        inner = made.group({b"g": inner})
    refused(made.close(inner), "too deeply")


def test_changed_bytes_are_read_or_refused_and_nothing_else() -> None:
    data = weights()
    seen = outcomes(
        hdf5_walk.walk,
        data,
        rounds=1_500,
        most=4,
        value=lambda rng: rng.choice((0, 1, 8, 0x7F, 0xFF, rng.randrange(256))),
        seed=3,
        reach=len(data) // 2,
    )
    assert seen == {"read", "refused"}
    for size in range(0, len(data), 97):
        with pytest.raises(FormatRefused):
            hdf5_walk.walk(data[:size])
