"""Signed notes, checkpoints and cosignatures: one spelling, published vectors, hostile bytes."""

import base64

import pytest

from tests.logs import PROD_LOG, VAULT, checkpoint, cosigned, log_key, tree
from vault.core import limits, log_keys, log_names, note
from vault.core.names import Principal
from vault.core.note import Checkpoint, Line, Note
from vault.errors import BadSignature, Malformed, Refused, Unsigned

# The example of golang.org/x/mod/sumdb/note, which other programs verify too.
NEUMANN = b"""\
If you think cryptography is the answer to your problem,
then you don't know what your problem is.

\xe2\x80\x94 PeterNeumann \
x08go/ZJkuBS9UG/SffcvIAQxVBtiFupLLr8pAcElZInNIuGUgYN1FFYC2pZSNXgKvqfqdngotpRZb6KE6RyyBwJnAM=
"""
NEUMANN_KEY = "PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW"
# The example of C2SP tlog-cosignature: a log's line and a witness's.
SOFA = """\
example.com/behind-the-sofa
20852163
CsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=

\N{EM DASH} example.com/behind-the-sofa \
Az3grlgtzPICa5OS8npVmf1Myq/5IZniMp+ZJurmRDeOoRDe4URYN7u5/Zhcyv2q1gGzGku9nTo+zyWE+xeMcTOAYQ8=
\N{EM DASH} witness.example.com/w1 \
jWbPPwAAAABkGFDLEZMHwSRaJNiIDoe9DYn/zXcrtPHeolMI5OWXEhZCB9dlrDJsX3b2oyin1nPZqhf5nNo0xUe+mbIUBkBIfZ+qnA==
""".encode()
# The example of C2SP signed-note: an empty line in the text.
SERA = """\
Ognuno sta solo sul cuor della terra
trafitto da un raggio di sole:

ed è subito sera.

\N{EM DASH} quasimodo.example/salvatore \
NnugSzTjtVAewIS+Z/iJhUPeFDkO/5QQ2i5ddnGITLlC+EhfLW9oJKONrMouFSQU0xMcXxj99ihAQwaqP3ZekRwNtIc=
""".encode()
ORIGIN = log_names.origin(VAULT, PROD_LOG)
WITNESS = log_names.witness_name(VAULT, Principal("wes"))


def test_a_published_note_verifies_and_its_key_is_spelled_as_published() -> None:
    found = note.parse(NEUMANN, "it")
    public = base64.b64decode(NEUMANN_KEY.rpartition("+")[2])[1:]
    assert note.verifier_key("PeterNeumann", note.ED25519, public) == NEUMANN_KEY
    with pytest.raises(Malformed):  # the signature holds; the text is no checkpoint
        note.verify_checkpoint(found, "PeterNeumann", public, "it")
    altered = Note(found.text.replace(b"answer", b"Answer"), found.lines)
    with pytest.raises(BadSignature):
        note.verify_checkpoint(altered, "PeterNeumann", public, "it")


@pytest.mark.parametrize("published", [NEUMANN, SOFA, SERA])
def test_published_notes_are_read_and_written_back(published: bytes) -> None:
    assert note.parse(published, "it").encode() == published


def test_a_published_checkpoint_and_cosignature_are_read() -> None:
    found = note.parse(SOFA, "it")
    told = note.parse_checkpoint(found.text, "it")
    assert (told.origin, told.size) == ("example.com/behind-the-sofa", 20852163)
    assert told.text() == found.text
    assert int.from_bytes(found.lines[1].signature[:8], "big") == 1679315147
    assert note.cosigned_message(found.text, 1679315147).startswith(
        b"cosignature/v1\ntime 1679315147\nexample"
    )
    assert len(found.lines[1].signature) == 72


def test_a_text_with_empty_lines_ends_at_the_last() -> None:
    assert note.parse(SERA, "it").text.endswith("ed è subito sera.\n".encode())


GOOD = "text\n\n\N{EM DASH} name AAAAAAE=\n"
BAD_NOTES = {
    "nothing": b"",
    "no signatures": b"text\n",
    "an empty list": b"text\n\n",
    "no newline at the end": GOOD.encode()[:-1],
    "two newlines at the end": GOOD.encode() + b"\n",
    "a control character": GOOD.replace("text", "te\tt").encode(),
    "a carriage return": GOOD.replace("\n", "\r\n").encode(),
    "no UTF-8": GOOD.encode().replace(b"text", b"te\xfft"),
    "another dash": GOOD.replace("\N{EM DASH}", "-").encode(),
    "two spaces": GOOD.replace("name ", "name  ").encode(),
    "a trailing space": GOOD.replace("AAE=", "AAE= ").encode(),
    "no name": GOOD.replace("name ", "").encode(),
    "an empty name": GOOD.replace("name ", " ").encode(),
    "a plus in the name": GOOD.replace("name", "na+me").encode(),
    "a wide space in the name": GOOD.replace("name", "na\u2003me").encode(),
    "no padding": GOOD.replace("AAE=", "AAE").encode(),
    "loose bits": GOOD.replace("AAE=", "AAF=").encode(),
    "a short signature": GOOD.replace("AAAAAAE=", "AAAAAA==").encode(),
    "text after the signatures": GOOD.encode() + b"more\n",
    "too many signatures": GOOD.encode() + GOOD.encode()[6:] * limits.NOTE_SIGNATURES,
}


@pytest.mark.parametrize("data", BAD_NOTES.values(), ids=BAD_NOTES)
def test_what_is_no_note_is_malformed(data: bytes) -> None:
    with pytest.raises(Malformed) as caught:
        note.parse(data, "it")
    assert caught.value.code == "malformed-log"


def test_a_note_is_bounded() -> None:
    assert note.parse(GOOD.encode(), "it", limit=len(GOOD.encode())).encode() == GOOD.encode()
    with pytest.raises(Malformed) as caught:
        note.parse(GOOD.encode(), "it", limit=len(GOOD.encode()) - 1)
    assert caught.value.code == "too-large"


ROOT = base64.b64encode(bytes(32)).decode()
BAD_CHECKPOINTS = {
    "an extension line": f"o\n1\n{ROOT}\nmore\n",
    "too few lines": "o\n1\n",
    "no newline": f"o\n1\n{ROOT}",
    "no origin": f"\n1\n{ROOT}\n",
    "a space in the origin": f"o o\n1\n{ROOT}\n",
    "a leading zero": f"o\n01\n{ROOT}\n",
    "a sign": f"o\n+1\n{ROOT}\n",
    "other digits": f"o\n\u0661\n{ROOT}\n",
    "too many digits": f"o\n{10**16}\n{ROOT}\n",
    "a short root": "o\n1\nAAAA\n",
    "a root that is no base64": "o\n1\n????\n",
}


@pytest.mark.parametrize("text", BAD_CHECKPOINTS.values(), ids=BAD_CHECKPOINTS)
def test_what_is_no_checkpoint_is_malformed(text: str) -> None:
    with pytest.raises(Malformed) as caught:
        note.parse_checkpoint(text.encode(), "it")
    assert caught.value.code == "malformed-log"
    with pytest.raises(Malformed):
        note.parse_checkpoint(b"\xff\n1\n", "it")


def test_an_empty_tree_has_a_checkpoint() -> None:
    assert note.parse_checkpoint(f"o\n0\n{ROOT}\n".encode(), "it") == Checkpoint("o", 0, bytes(32))


def test_a_checkpoint_is_verified_by_its_own_logs_key_alone() -> None:
    edge = tree([b"a", b"b"])
    signed = checkpoint(edge)
    public = log_key("ann").public
    told = Checkpoint(ORIGIN, 2, edge.root)
    assert note.verify_checkpoint(signed, ORIGIN, public, "it") == told
    assert note.verify_checkpoint(cosigned(signed, "wes"), ORIGIN, public, "it") == told
    with pytest.raises(Unsigned):
        note.verify_checkpoint(signed, ORIGIN, log_key("bob").public, "it")
    with pytest.raises(Unsigned):
        note.verify_checkpoint(signed, ORIGIN + "x", public, "it")
    line = signed.lines[0]
    false = Line(line.name, line.key_hash, bytes(64))
    for lines in [(false,), (line, false), (false, line)]:  # C2SP: a known key that fails fails the note
        with pytest.raises(BadSignature):
            note.verify_checkpoint(Note(signed.text, lines), ORIGIN, public, "it")


def test_a_genuine_signature_over_another_logs_checkpoint_is_refused() -> None:
    other = Checkpoint("elsewhere", 2, bytes(32))
    key = log_key("ann")
    line = Line(ORIGIN, note.key_hash(ORIGIN, note.ED25519, key.public), key.sign(other.text()))
    with pytest.raises(Malformed, match="elsewhere"):
        note.verify_checkpoint(Note(other.text(), (line,)), ORIGIN, key.public, "it")


def told_at(found: Note, name: str, public: bytes) -> int | None:
    held = note.cosignature(found, name, public)
    return None if held is None else held[0]


def test_a_cosignature_says_when_and_binds_the_text() -> None:
    key = log_key("wes", use=log_keys.WITNESS)
    signed = checkpoint(tree([b"a"]))
    line = note.cosign(signed.text, WITNESS, 1_679_315_147, key)
    assert told_at(signed.added([line]), WITNESS, key.public) == 1_679_315_147
    assert told_at(signed, WITNESS, key.public) is None
    assert told_at(signed.added([line]), WITNESS, log_key("ann").public) is None
    assert told_at(signed.added([line]), WITNESS + "x", key.public) is None
    other = checkpoint(tree([b"b"]))
    assert told_at(other.added([line]), WITNESS, key.public) is None
    later = Line(line.name, line.key_hash, (2**40).to_bytes(8, "big") + line.signature[8:])
    assert told_at(signed.added([later]), WITNESS, key.public) is None
    assert told_at(signed.added([later, line]), WITNESS, key.public) == 1_679_315_147
    endless = Line(line.name, line.key_hash, (2**63).to_bytes(8, "big") + line.signature[8:])
    assert told_at(signed.added([endless]), WITNESS, key.public) is None
    with pytest.raises(ValueError, match="1970"):
        note.cosign(signed.text, WITNESS, -1, key)


def test_a_line_is_added_once() -> None:
    signed = checkpoint(tree([b"a"]))
    assert signed.added(signed.lines) == signed
    more = cosigned(signed, "wes")
    assert more.added(signed.lines) == more
    assert note.parse(more.encode(), "it") == more


def test_every_flipped_bit_of_a_checkpoint_is_refused() -> None:
    signed = checkpoint(tree([b"a", b"b", b"c"])).encode()
    public = log_key("ann").public
    for at in range(len(signed) * 8):
        changed = bytearray(signed)
        changed[at // 8] ^= 1 << at % 8
        with pytest.raises(Refused):
            note.verify_checkpoint(note.parse(bytes(changed), "it"), ORIGIN, public, "it")
