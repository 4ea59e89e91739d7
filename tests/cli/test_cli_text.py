"""Words for the screen: sizes, times, tables; a public identity on its way between people."""

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vault.cli import tables, text
from vault.cli.tables import Cell, Column
from vault.core import names, public_identity
from vault.core.ed25519 import PublicKey
from vault.core.public_identity import PublicIdentity
from vault.errors import Malformed
from vault.keys import recipients

NOW = datetime(2026, 11, 23, 12, 0, 0, tzinfo=UTC).timestamp()


@pytest.mark.parametrize(
    ("bytes_", "shown"),
    [
        (0, "0 B"),
        (999, "999 B"),
        (1_000, "1.0 kB"),
        (999_949, "999.9 kB"),
        (999_950, "1.0 MB"),
        (23_710, "23.7 kB"),
        (2 * 1024**3, "2.1 GB"),
        (10**18, "1000.0 PB"),
    ],
)
def test_sizes(bytes_: int, shown: str) -> None:
    assert text.size(bytes_) == shown


@pytest.mark.parametrize(
    ("moment", "shown"),
    [
        ("2026-11-23T12:00:00Z", "just now"),
        ("2026-11-23T12:00:30Z", "just now"),  # a clock that is a little behind
        ("2026-11-23T11:59:00Z", "1 minute ago"),
        ("2026-11-23T10:59:00Z", "1 hour ago"),
        ("2026-11-21T11:59:00Z", "2 days ago"),
        ("2026-05-03T12:00:00Z", "2026-05-03"),
        ("2027-05-03T12:00:00Z", "2027-05-03"),
        ("yesterday\n", "yesterday\\n"),
    ],
)
def test_times(moment: str, shown: str) -> None:
    assert text.when(moment, NOW) == shown


@given(st.text())
def test_nothing_that_is_cleaned_can_steer_a_terminal(anything: str) -> None:
    assert text.clean(anything).isprintable()
    assert text.clean(text.clean(anything)) == text.clean(anything)


@given(st.lists(st.tuples(st.text(max_size=60), st.text(max_size=200)), max_size=5), st.integers(30, 120))
def test_a_plain_table_fits_and_loses_no_character(rows: list[tuple[str, str]], width: int) -> None:
    cleaned = [[text.clean(one), text.clean(two)] for one, two in rows]
    drawn = tables.plain((Column("NAME", shrinks=True), Column("NOTE", shrinks=True)), cleaned, width)
    assert all(len(line) <= width for line in drawn.splitlines())
    kept = "".join(drawn.split())
    assert sorted(kept) == sorted(
        "".join("".join(row) for row in [["NAME", "NOTE"], *cleaned]).replace(" ", "")
    )


def test_both_ways_to_draw_a_table_agree() -> None:
    columns = (Column("NAME"), Column("SIZE", number=True), Column("NOTE", shrinks=True))
    rows = [(Cell("churn"), Cell("23.7 kB"), Cell("one two three")), (Cell("a"), Cell("1 B"), Cell(""))]
    drawn = tables.render(columns, rows, width=80, color=False)
    assert drawn == tables.plain(columns, [[cell.shown for cell in row] for row in rows], 80)


def test_markup_in_a_name_is_text() -> None:
    assert "[red]x[/]" in tables.render((Column("A"),), [(Cell("[red]x[/] :smile:"),)], width=80, color=True)


# --- public identities ---


def recipient() -> str:
    return recipients.generate_identity("x25519", lambda size: b"\x07" * size).recipient().encode()


def somebody() -> PublicIdentity:
    raw = bytes.fromhex("d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a")  # RFC 8032, 7.1
    return PublicIdentity(names.principal("web"), PublicKey.parse(raw), recipient())


def test_a_public_identity_reads_back() -> None:
    data = public_identity.encode(somebody())
    assert public_identity.parse(data, "web.pub") == somebody()
    assert public_identity.parse(b" " + data.replace(b",", b" ,\n") + b"\n", "web.pub") == somebody()


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (b"mvault-public-identity-v1", b"mvault-identity-v1"),
        (b'"name":"web"', b'"name":"a b"'),
        (b'"name":"web"', b'"name":"web","name":"web"'),
        (b'"name":"web"', b'"name":"web","more":1'),
        (b'"name":"web"', b'"name":1'),
        (b',"name":"web"', b""),
        (b'"age":"age1', b'"age":"AGE1'),
        (b'"age":"age1', b'"age":"age1q'),
        (b'"age":"age1', b'"age":"AGE-SECRET-KEY-1'),
        (b'"ed25519":"', b'"ed25519":"AAAA'),
        (b"{", b"["),
        (b"{", b"\xff{"),
        (b"}", b"}}"),
    ],
)
def test_a_public_identity_that_is_none_is_refused(old: bytes, new: bytes) -> None:
    data = public_identity.encode(somebody())
    assert old in data
    with pytest.raises(Malformed) as caught:
        public_identity.parse(data.replace(old, new, 1), "web.pub")
    assert caught.value.code == "malformed-identity"
    assert caught.value.subject == "web.pub"
    assert "mvault identity export" in caught.value.hint


def test_a_weak_key_in_a_public_identity_is_refused() -> None:
    import base64

    honest = base64.b64encode(somebody().public.raw)
    data = public_identity.encode(somebody()).replace(honest, base64.b64encode(bytes(32)))
    with pytest.raises(Malformed) as caught:
        public_identity.parse(data, "web.pub")
    assert "small order" in caught.value.message


@given(st.binary(max_size=300))
def test_bytes_at_random_are_no_public_identity(data: bytes) -> None:
    with pytest.raises(Malformed) as caught:
        public_identity.parse(data, "x")
    assert caught.value.code == "malformed-identity"


def test_a_public_identity_is_bounded_before_it_is_parsed() -> None:
    with pytest.raises(Malformed):
        public_identity.parse(b" " * 70_000 + public_identity.encode(somebody()), "big")
