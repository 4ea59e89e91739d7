"""Keys on paper: what is printed is read back, and a typing mistake is told by its line."""

from pathlib import Path

import pytest

from tests.builders import Draws, new_identity
from vault.core import key_sheet, limits
from vault.core.identity_format import Argon2idCost
from vault.core.key_sheet import IDENTITY, RECOVERY, Sheet
from vault.core.names import Digest
from vault.errors import Malformed
from vault.keys import identity_file, recipients

VAULT = Digest("5a" * 32)
LINE = recipients.generate_identity("mlkem768x25519", Draws("sheet")).encode().encode("ascii")
PAPER = Sheet(RECOVERY, VAULT, LINE)


def typed(sheet: Sheet = PAPER) -> str:
    return "\n".join(key_sheet.encode(sheet))


def test_a_recovery_identity_is_printed_as_it_is_and_read_back() -> None:
    text = typed()
    assert key_sheet.parse(text, "it") == PAPER
    shown = "".join(line[5:-5].replace(" ", "") for line in text.splitlines()[3:-1])
    assert shown == LINE.decode("ascii")
    assert all(len(line) <= 80 for line in text.splitlines())


def test_an_identity_file_fits_a_page_and_is_read_back(tmp_path: Path) -> None:
    place = tmp_path / "identity.json"
    cost = Argon2idCost(iterations=2, lanes=1, memory_kib=limits.ARGON2_MEMORY_KIB_MIN)
    made = new_identity("ann", "mlkem768x25519")
    identity_file.save(made, place, passphrase=b"a passphrase", cost=cost, random=Draws("s"))
    data = place.read_bytes()
    lines = key_sheet.encode(Sheet(IDENTITY, VAULT, data))
    assert len(lines) < 70
    assert key_sheet.parse("\n".join(lines), "it").data == data


def test_case_spaces_and_what_stands_around_do_not_matter() -> None:
    text = (
        "Keep this.\n\n" + typed().lower().replace("  ", "   ").replace("sha256:", "SHA256: ") + "\n\nEnd\n"
    )
    assert key_sheet.parse(text, "it") == PAPER


def test_letters_that_look_like_digits_are_taken_for_them_in_what_is_packed() -> None:
    sheet = Sheet(IDENTITY, VAULT, b"some bytes, long enough to have a one and a nought in them " * 3)
    text = "\n".join(
        line if index < 3 else line[:5] + line[5:].replace("0", "O").replace("1", "l")
        for index, line in enumerate(key_sheet.encode(sheet))
    )
    assert text != typed(sheet)
    assert key_sheet.parse(text, "it") == sheet


def test_every_single_mistake_in_a_line_is_told_by_its_number() -> None:
    lines = typed().splitlines()
    for row in range(3, len(lines) - 1):
        for place in range(5, len(lines[row])):
            if lines[row][place] in " Q":
                continue
            wrong = [*lines]
            wrong[row] = lines[row][:place] + "Q" + lines[row][place + 1 :]
            with pytest.raises(Malformed, match=f"line {row - 2} "):
                key_sheet.parse("\n".join(wrong), "it")


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda lines: lines[:3] + lines[4:], "line 1 is missing"),
        (lambda lines: lines[:-2] + lines[-1:], "whether the last line is there"),
        (lambda lines: lines[:-1], "Check is missing"),
        (lambda lines: lines[:1] + lines[2:], "Holds is missing"),
        (lambda lines: lines[:2] + lines[3:], "Vault is missing"),
        (lambda lines: [*lines[:1], "Holds: a poem", *lines[2:]], "a poem"),
        (lambda lines: [*lines[:2], "Vault: sha256:12", *lines[3:]], "fingerprint"),
        (lambda lines: [*lines[:2], "Vault: " + "0" * 64, *lines[3:]], "the whole does not"),
        (lambda lines: [*lines[:1], "Holds: identity file", *lines[2:]], "the whole does not"),
        (lambda lines: lines[:3], "the whole does not|is missing"),
        (lambda lines: ["x" * (4 * limits.IDENTITY_FILE_BYTES + 1)], "too long"),
        (lambda lines: ["  1  A"], "line 1 does not fit"),
    ],
)
def test_what_is_missing_or_wrong_is_told(change: object, told: str) -> None:
    with pytest.raises(Malformed, match=told) as caught:
        key_sheet.parse("\n".join(change(typed().splitlines())), "it")  # type: ignore[operator]
    assert caught.value.code == "malformed-identity"


def forged(text: str) -> str:
    """Write a sheet whose checks fit and whose content is none."""
    lines = ["Holds: identity file", f"Vault: {VAULT}", f"  1  {text} {key_sheet._check('1', text)}"]
    return "\n".join([*lines, f"Check: {key_sheet._total(IDENTITY, VAULT, text)}"])


def packed(data: bytes) -> str:
    bits, found = int.from_bytes(data, "big"), ""
    while bits:
        bits, rest = divmod(bits, 32)
        found = key_sheet._ALPHABET[rest] + found
    return found


def test_content_that_is_none_is_refused_within_bounds() -> None:
    bomb = key_sheet._text_of(Sheet(IDENTITY, VAULT, bytes(100 * limits.IDENTITY_FILE_BYTES)))
    garbage = packed(b"\x01no compressed data")
    for text in ("U", "0", "ZZZZ", "1", "8000", garbage, bomb):
        with pytest.raises(Malformed):
            key_sheet.parse(forged(text), "it")


def test_a_line_that_is_there_twice_must_be_the_same() -> None:
    lines = typed().splitlines()
    assert key_sheet.parse("\n".join([*lines, lines[3]]), "it") == PAPER
    other = key_sheet.encode(Sheet(RECOVERY, VAULT, LINE[::-1]))
    with pytest.raises(Malformed, match="line 1 is there twice"):
        key_sheet.parse("\n".join([*lines, other[3]]), "it")
