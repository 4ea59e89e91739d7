"""Commits: one spelling, bounded, an edge that fits; every other byte string is refused."""

import pytest

from tests.logs import PROD_LOG, certificate, checkpoint, commit, entries, tree
from vault.core import limits, log_commit, merkle
from vault.core.log_commit import MAGIC
from vault.core.merkle import Edge
from vault.core.note import Line, Note
from vault.errors import Malformed, Refused

PARENT = tree(entries("a", "b", "c"))
GOOD = commit(PARENT, entries("d", "ee"))


def refused(data: bytes, code: str = "malformed-log") -> None:
    with pytest.raises(Malformed) as caught:
        log_commit.parse(data, "it")
    assert caught.value.code == code


def joined(*parts: bytes, magic: bytes = MAGIC, tail: bytes = b"\0\1x") -> bytes:
    return magic + b"".join(len(part).to_bytes(4, "big") + part for part in parts) + tail


def hashes(edge: Edge) -> bytes:
    return b"".join(edge.hashes)


def test_a_commit_is_read_and_written_back() -> None:
    found = log_commit.parse(GOOD, "it")
    assert found.entries == entries("d", "ee")
    assert found.first == 3
    assert found.edge == tree(entries("a", "b", "c", "d", "ee"))
    assert found.checkpoint.root == found.edge.root
    assert found.certificate == certificate("ann")
    assert log_commit.encode(found.certificate, found.note, found.edge, found.entries) == GOOD


def test_the_largest_commit_is_read() -> None:
    most = (b"x" * 254,) * limits.LOG_COMMIT_ENTRIES
    assert log_commit.entries_bytes(most) == limits.LOG_ENTRIES_BYTES
    assert log_commit.parse(commit(merkle.EMPTY, most), "it").entries == most


def test_an_entry_may_be_as_large_as_a_record() -> None:
    most = (b"x" * limits.LOG_ENTRY_BYTES,)
    assert log_commit.parse(commit(merkle.EMPTY, most), "it").entries == most


@pytest.mark.parametrize(
    "added",
    [
        (), (b"",), (b"x", b""), (b"x" * (limits.LOG_ENTRY_BYTES + 1),),
        (b"x",) * (limits.LOG_COMMIT_ENTRIES + 1), (b"x" * limits.LOG_ENTRY_BYTES,) * 64,
    ],
)  # fmt: skip
def test_what_no_commit_may_hold_is_the_callers_mistake(added: tuple[bytes, ...]) -> None:
    with pytest.raises(ValueError, match=r"commit holds|an entry has"):
        log_commit.encode(b"", checkpoint(PARENT), PARENT, added)


def test_other_shapes_are_malformed() -> None:
    edge = tree(entries("x"))
    signed = checkpoint(edge)
    note, mine = signed.encode(), certificate("ann")
    log_commit.parse(joined(mine, note, hashes(edge)), "it")
    twice = Note(signed.text, signed.lines * 2).encode()
    named = Note(signed.text, (*signed.lines, Line("x", bytes(4), b"x"))).encode()
    for data in (
        b"",
        GOOD[: len(MAGIC)],
        GOOD[:-1],
        GOOD + b"\0",
        GOOD + b"\0\0",
        joined(mine, note, hashes(edge), magic=b"mvault-commit-v2\n"),
        joined(mine, note, hashes(edge), tail=b""),
        joined(mine, note, hashes(edge), tail=b"\0\1x\0\1y"),  # two entries in a tree of one
        joined(mine, note, hashes(edge), tail=b"\xff\xff" + bytes(65_535)),
        joined(mine, note, bytes(32)),
        joined(mine, note, b""),
        joined(mine, note, hashes(edge) * 2),
        joined(mine, note, hashes(edge)[:-1]),
        joined(mine, note),
        joined(mine, b"", hashes(edge)),
        joined(mine, twice, hashes(edge)),
        joined(mine, named, hashes(edge)),
        joined(bytes(limits.LOG_CERTIFICATE_BYTES + 1), note, hashes(edge)),
        joined(mine, note, hashes(edge), tail=b"\0\1x" * (limits.LOG_COMMIT_ENTRIES + 1)),
        MAGIC + b"\xff\xff\xff\xff",
    ):
        refused(data)
    refused(bytes(limits.LOG_COMMIT_BYTES + 1), "too-large")


def test_every_truncation_is_refused() -> None:
    for end in range(len(GOOD)):
        if end != len(GOOD) - 4:  # cut between two entries: another tree, which the chain refuses
            refused(GOOD[:end])
    assert log_commit.parse(GOOD[:-4], "it").entries == entries("d")


def test_bundles_are_read_and_written_back() -> None:
    data = log_commit.encode_entries(entries("a", "bb"))
    assert data == b"\0\1a\0\2bb"
    assert log_commit.parse_entries(data, "it") == entries("a", "bb")
    assert log_commit.parse_entries(b"", "it") == ()


def test_bytes_of_another_log_parse_but_name_it() -> None:
    found = log_commit.parse(commit(merkle.EMPTY, entries("x"), "ann", PROD_LOG), "it")
    assert found.checkpoint.origin.endswith("/env/prod")


def test_a_flipped_bit_is_refused_or_changes_what_is_signed() -> None:
    before = log_commit.parse(GOOD, "it")
    for at in range(len(GOOD) * 8):
        changed = bytearray(GOOD)
        changed[at // 8] ^= 1 << at % 8
        try:
            found = log_commit.parse(bytes(changed), "it")
        except Refused:
            continue
        assert found != before
        assert log_commit.encode(found.certificate, found.note, found.edge, found.entries) == bytes(changed)
