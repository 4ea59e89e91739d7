"""Proofs that are forged, borrowed, or signed by who may not: none of them lets a record count."""

from collections.abc import Callable
from dataclasses import replace

import pytest

from tests.attacks.log_forgeries import (
    OTHER,
    digest,
    entry_for,
    forged_record,
    genuine,
    loaded,
    proven,
    put,
    signed_by,
)
from tests.builders import CONTENT, Built
from tests.log_vaults import DEV_LOG, PROD_LOG, cosign, log_objects
from vault.audit.proving import Prover
from vault.core import log_keys, log_names, log_proof, merkle, note
from vault.core.log_names import Log
from vault.core.log_proof import Proof
from vault.core.names import Principal
from vault.core.note import Checkpoint
from vault.errors import Refused

# --- honest ---


def test_what_was_logged_by_hand_counts_too() -> None:
    """The tests below change one thing each of this."""
    built = forged_record()
    assert loaded(built) == CONTENT
    put(built, proven(built, PROD_LOG, entry_for(built)))
    assert loaded(built) == OTHER


# --- whose entry ---


def another_records(built: Built) -> Proof:
    return genuine(built)


def another_logs(built: Built) -> Proof:
    return proven(built, DEV_LOG, entry_for(built))


def another_logs_under_this_name(built: Built) -> Proof:
    """The log of dev has it; its signed text is moved under the origin of prod's."""
    proof = proven(built, DEV_LOG, entry_for(built))
    text = proof.note.text.replace(b"/env/dev\n", b"/env/prod\n")
    lines = [replace(line, name=line.name.replace("/env/dev", "/env/prod")) for line in proof.note.lines]
    return replace(proof, note=note.Note(text, tuple(lines)))


def index_shifted(built: Built) -> Proof:
    proof = proven(built, PROD_LOG, entry_for(built))
    return replace(proof, index=proof.index - 1)


def index_beyond(built: Built) -> Proof:
    proof = proven(built, PROD_LOG, entry_for(built))
    return replace(proof, index=proof.index + 1)


def entry_replaced(built: Built) -> Proof:
    return replace(genuine(built), entry=entry_for(built))


def entry_appended(built: Built) -> Proof:
    """A node is passed off as an entry: leaves and nodes are hashed apart."""
    proof = genuine(built)
    return replace(proof, entry=merkle.leaf_hash(entry_for(built)) + merkle.leaf_hash(proof.entry))


def hash_dropped(built: Built) -> Proof:
    proof = proven(built, PROD_LOG, entry_for(built))
    return replace(proof, hashes=proof.hashes[:-1])


def hash_added(built: Built) -> Proof:
    proof = proven(built, PROD_LOG, entry_for(built))
    return replace(proof, hashes=(*proof.hashes, bytes(32)))


def another_number(built: Built) -> Proof:
    return proven(built, PROD_LOG, entry_for(built, seq=1, evidence=digest(built, 2)))


def another_version(built: Built) -> Proof:
    return proven(built, PROD_LOG, entry_for(built, manifest=built.manifest("churn:1")[1]))


def a_refusal(built: Built) -> Proof:
    entry = entry_for(built, decision="refuse", code="not-promoted", outcome=None)
    return proven(built, PROD_LOG, entry)


def an_attempt(built: Built) -> Proof:
    return proven(built, PROD_LOG, entry_for(built, decision="pending", outcome=None))


def a_publication(built: Built) -> Proof:
    return proven(built, PROD_LOG, entry_for(built, action="publish"))


def not_a_record(built: Built) -> Proof:
    return proven(built, PROD_LOG, b"garbage")


# --- whose checkpoint ---


def by_who_may_not_write(built: Built) -> Proof:
    return signed_by(built, "max")


def by_a_witness(built: Built) -> Proof:
    return signed_by(built, "wes")


def by_the_key_of_another_log(built: Built) -> Proof:
    """A writer's own key and certificate for the log of dev, over a checkpoint of prod's."""
    entry = entry_for(built)
    dev, prod = (log_names.origin(built.vault, log) for log in (DEV_LOG, PROD_LOG))
    identity = built.identities["owner"]
    key = identity.derive(log_keys.info(log_keys.LOG, dev))
    claim = log_keys.Certificate(built.vault, dev, log_keys.LOG, key.public, built.time)
    signed = note.sign_checkpoint(Checkpoint(prod, 1, merkle.leaf_hash(entry)), key)
    line = log_keys.certificate_line(prod, log_keys.certify(claim, identity))
    return Proof(entry, 0, (), signed.added([line]))


def by_somebody_elses_certificate(built: Built) -> Proof:
    """max signs, and shows the certificate that owner's commits carry."""
    mine = signed_by(built, "max")
    certificate = genuine(built).note.lines[-1]
    return replace(mine, note=note.Note(mine.note.text, (mine.note.lines[0], certificate)))


def with_an_altered_size(built: Built) -> Proof:
    proof = genuine(built)
    origin, size, root, _ = proof.note.text.split(b"\n")
    text = b"\n".join((origin, b"%d" % (int(size) + 1), root, b""))
    return replace(proof, note=note.Note(text, proof.note.lines))


FORGERIES: list[Callable[[Built], Proof]] = [
    another_records, another_logs, another_logs_under_this_name, index_shifted, index_beyond, entry_replaced,
    entry_appended, hash_dropped, hash_added, another_number, another_version, a_refusal, an_attempt,
    a_publication, not_a_record, by_who_may_not_write, by_a_witness, by_the_key_of_another_log,
    by_somebody_elses_certificate, with_an_altered_size,
]  # fmt: skip
# What these show leads to an entry that is in the log, which a client finds without the proof's help.
MENDED = {hash_dropped, hash_added, index_shifted, index_beyond}


@pytest.mark.parametrize("forge", FORGERIES)
def test_a_forged_proof_does_not_let_a_record_count(forge: Callable[[Built], Proof]) -> None:
    built = forged_record()
    put(built, forge(built))
    assert loaded(built) == (OTHER if forge in MENDED else CONTENT)


@pytest.mark.parametrize("forge", [by_who_may_not_write, by_a_witness, another_logs_under_this_name])
def test_a_forged_proof_is_refused_by_itself_too(forge: Callable[[Built], Proof]) -> None:
    built = forged_record()
    with pytest.raises(Refused):
        log_proof.check(forge(built), built.policy, PROD_LOG)


# --- witnesses ---


def witnessed(built: Built, *lines: note.Line, who: str = "owner") -> None:
    """Log the record as `who`, and store its proof with lines of witnesses."""
    proof = proven(built, PROD_LOG, entry_for(built), who)
    put(built, proof.added(lines))


def lines_of(
    built: Built, who: str, log: Log = PROD_LOG, time: int = 0, text: bytes = b""
) -> list[note.Line]:
    """Cosign the newest checkpoint of the log as a witness; its line and its certificate."""
    signed = text or Prover(built.store, PROD_LOG, built.policy).note().text
    origin = log_names.origin(built.vault, log)
    identity = built.identities[who]
    key = identity.derive(log_keys.info(log_keys.WITNESS, origin))
    claim = log_keys.Certificate(built.vault, origin, log_keys.WITNESS, key.public, built.time)
    name = log_names.witness_name(built.vault, Principal(who))
    line = note.cosign(signed, name, built.now + time, key)
    return [line, log_keys.certificate_line(name, log_keys.certify(claim, identity))]


def stored(built: Built, lines: list[note.Line]) -> None:
    """Put lines into the proof of the record, in the place of other witnesses'."""
    proof = genuine(built, 2)
    own = tuple(line for line in proof.note.lines if "/witness/" not in line.name)
    put(built, replace(proof, note=note.Note(proof.note.text, own)).added(lines))


def ready(witnesses: int = 1, writer: str = "owner") -> Built:
    """Build a vault where the record of churn:2 is logged and only lacks its witnesses; churn:1 has them."""
    built = forged_record("witnessed", witnesses)
    cosign(built, "wes")
    cosign(built, "wim")
    assert loaded(built) == CONTENT
    witnessed(built, who=writer)
    assert loaded(built) == CONTENT
    return built


def test_a_witness_makes_it_count() -> None:
    built = ready()
    stored(built, lines_of(built, "wes"))
    assert loaded(built) == OTHER


def test_two_witnesses_make_it_count_where_two_are_asked_for() -> None:
    built = ready(2)
    stored(built, [*lines_of(built, "wes"), *lines_of(built, "wim")])
    assert loaded(built) == OTHER


def test_one_witness_counts_once_however_often_it_signs() -> None:
    built = ready(2)
    twice = [*lines_of(built, "wes"), *lines_of(built, "wes", time=60)]
    stored(built, twice)
    assert loaded(built) == CONTENT
    cosign(built, "wes")
    built.now += 60
    cosign(built, "wes")
    assert sum("/cosigned/" in name and "wes-" in name for name in log_objects(built)) == 3
    assert loaded(built) == CONTENT


def test_a_witness_behind_the_writer_does_not_count() -> None:
    """ci-witness is a service of owner's, who wrote the log and signed the record."""
    built = ready()
    stored(built, lines_of(built, "ci-witness"))
    assert loaded(built) == CONTENT
    cosign(built, "ci-witness")
    assert loaded(built) == CONTENT


def test_a_witness_behind_who_signed_the_record_does_not_count() -> None:
    built = ready(writer="ann")  # she wrote the log; the record is owner's
    stored(built, lines_of(built, "ci-witness"))
    assert loaded(built) == CONTENT


def test_a_writer_that_may_witness_does_not_witness_itself() -> None:
    built = ready(writer="both")
    stored(built, lines_of(built, "both"))
    assert loaded(built) == CONTENT
    stored(built, lines_of(built, "wes"))
    assert loaded(built) == OTHER


@pytest.mark.parametrize("who", ["ann", "max", "server", "wendy"])
def test_who_may_not_witness_this_log_does_not_count(who: str) -> None:
    built = ready()
    stored(built, lines_of(built, who))
    assert loaded(built) == CONTENT


def test_a_witness_key_of_another_log_does_not_count() -> None:
    built = ready()
    stored(built, lines_of(built, "wes", DEV_LOG))
    assert loaded(built) == CONTENT


def test_a_cosignature_of_an_older_checkpoint_does_not_count() -> None:
    built = ready()
    old = genuine(built, 1).note.text
    stored(built, lines_of(built, "wes", text=old))
    assert loaded(built) == CONTENT


def test_a_cosignature_without_its_certificate_or_by_another_key_does_not_count() -> None:
    built = ready()
    line, certificate = lines_of(built, "wes")
    stored(built, [line])
    assert loaded(built) == CONTENT
    stored(built, [lines_of(built, "wim")[0], certificate])
    assert loaded(built) == CONTENT
    flipped = line.signature[:-1] + bytes([line.signature[-1] ^ 1])
    stored(built, [replace(line, signature=flipped), certificate])
    assert loaded(built) == CONTENT
