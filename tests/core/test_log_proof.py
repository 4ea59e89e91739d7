"""Proofs beside documents: checked with a policy alone, by writers and witnesses who count."""

from dataclasses import replace

import pytest

from tests.logs import (
    NOW,
    PROD_LOG,
    TRUST_LOG,
    VAULT,
    certified,
    checkpoint,
    cosigned,
    entries,
    identity,
    log_key,
    policy,
    tree,
)
from tests.logs import certificate as certificate_of
from vault.core import limits, log_keys, log_names, log_proof, log_witness, merkle, note
from vault.core.log_proof import Proof
from vault.core.log_witness import Cosigned
from vault.core.names import Digest, Principal
from vault.core.note import Line, Note
from vault.core.policy import LogHead
from vault.errors import BadSignature, LogInconsistent, Malformed, Refused, UntrustedSigner

LEAVES = entries("a", "b", "c", "d", "e")
EDGE = tree(LEAVES)
ORIGIN = log_names.origin(VAULT, PROD_LOG)
ANN, BOB, WES, WIM = (Principal(name) for name in ("ann", "bob", "wes", "wim"))


def proof(index: int = 3, who: str = "ann") -> Proof:
    growth = merkle.grow(merkle.EMPTY, merkle.leaf_hashes(LEAVES))

    def node(level: int, at: int) -> bytes:
        found = growth.node(level, at)
        assert found is not None
        return found

    hashes = merkle.hash_spans(merkle.inclusion_spans(index, len(LEAVES)), node)
    return Proof(LEAVES[index], index, hashes, certified(checkpoint(EDGE, who), who))


def witnessed(*names: str, who: str = "ann") -> Proof:
    made = proof(who=who)
    for name in names:
        made = made.added(cosigned(made.note, name).lines)
    return made


def refused(given: Proof, code: str, **options: object) -> None:
    with pytest.raises(Refused) as caught:
        log_proof.check(given, policy(), PROD_LOG, **options)  # type: ignore[arg-type]
    assert caught.value.code == code


# --- the text ---


@pytest.mark.parametrize("index", range(5))
def test_a_proof_is_read_and_written_back(index: int) -> None:
    made = proof(index)
    data = made.encode()
    assert data.startswith(b"c2sp.org/tlog-proof@v1\nextra ")
    assert log_proof.parse(data, "it") == made
    proven = log_proof.check(made, policy(), PROD_LOG)
    assert (proven.entry, proven.index, proven.writer) == (LEAVES[index], index, "ann")
    assert (proven.checkpoint.size, proven.checkpoint.root) == (5, EDGE.root)
    assert proven.key_id == identity("ann").key_id


def test_a_log_of_one_entry_has_a_proof_without_hashes() -> None:
    made = Proof(b"a", 0, (), certified(checkpoint(tree([b"a"]))))
    assert log_proof.parse(made.encode(), "it") == made
    assert log_proof.check(made, policy(), PROD_LOG).entry == b"a"


GOOD = proof().encode()
BAD = {
    "nothing": b"",
    "another header": GOOD.replace(b"@v1", b"@v2", 1),
    "no entry": GOOD.replace(b"extra ", b"", 1),
    "another first line": GOOD.replace(b"extra ", b"more ", 1),
    "an empty entry": GOOD.replace(b"extra ZA==", b"extra ", 1),
    "loose bits": GOOD.replace(b"extra ZA==", b"extra ZB==", 1),
    "a large entry": replace(proof(), entry=bytes(limits.LOG_ENTRY_BYTES + 1)).encode(),
    "a leading zero": GOOD.replace(b"index 3", b"index 03", 1),
    "no index": GOOD.replace(b"index 3\n", b"", 1),
    "another index": GOOD.replace(b"index 3", b"index x", 1),
    "other digits": GOOD.replace(b"index 3", "index \u0663".encode(), 1),
    "a short hash": replace(proof(), hashes=(bytes(31),)).encode(),
    "an endless path": replace(proof(), hashes=(bytes(32),) * (limits.LOG_EDGE_HASHES + 1)).encode(),
    "no checkpoint": GOOD.partition(b"\n\n")[0] + b"\n",
    "a broken checkpoint": GOOD[:-1],
}


@pytest.mark.parametrize("data", BAD.values(), ids=BAD)
def test_what_is_no_proof_is_malformed(data: bytes) -> None:
    with pytest.raises(Malformed) as caught:
        log_proof.parse(data, "it")
    assert caught.value.code == "malformed-log"


def test_a_proof_is_bounded() -> None:
    with pytest.raises(Malformed) as caught:
        log_proof.parse(bytes(limits.PROOF_BYTES + 1), "it")
    assert caught.value.code == "too-large"


def test_every_flipped_bit_of_a_proof_is_refused_or_of_no_effect() -> None:
    made = proof()
    data = made.encode()
    before = log_proof.check(made, policy(), PROD_LOG)
    for at in range(0, len(data) * 8, 7):
        changed = bytearray(data)
        changed[at // 8] ^= 1 << at % 8
        try:
            found = log_proof.parse(bytes(changed), "it")
            assert found.encode() == bytes(changed)
            assert log_proof.check(found, policy(), PROD_LOG) == before
        except Refused:
            continue


# --- what it must hold ---


def test_another_entry_index_or_path_is_not_logged() -> None:
    made = proof()
    refused(replace(made, entry=b"x"), "not-logged")
    refused(replace(made, index=2), "not-logged")
    refused(replace(made, index=5), "not-logged")
    refused(replace(made, hashes=made.hashes[:-1]), "not-logged")


def test_only_who_may_write_the_log_is_believed() -> None:
    refused(proof(who="eve"), "untrusted-signer")
    refused(proof(who="dan"), "untrusted-signer")
    for current in (policy(revoked=["ann"]), policy(without=["ann"])):
        with pytest.raises(UntrustedSigner):
            log_proof.check(proof(), current, PROD_LOG)
    bare = replace(proof(), note=checkpoint(EDGE))
    refused(bare, "untrusted-signer")


def test_certificates_of_others_beside_it_change_nothing() -> None:
    made = proof()
    name = log_names.origin(VAULT, PROD_LOG)
    lines = [
        log_keys.certificate_line(name, data)
        for data in (b"junk", certificate_of("bob"), certificate_of("eve"))
    ]
    crowded = replace(made, note=Note(made.note.text, (*lines, *made.note.lines)))
    assert log_proof.check(crowded, policy(), PROD_LOG).writer == "ann"


def test_an_altered_checkpoint_is_refused() -> None:
    made = proof()
    text = made.note.text.replace(b"\n5\n", b"\n6\n")
    with pytest.raises(BadSignature):
        log_proof.check(replace(made, note=Note(text, made.note.lines)), policy(), PROD_LOG)


def test_a_proof_of_another_log_is_refused() -> None:
    with pytest.raises(UntrustedSigner):
        log_proof.check(proof(), policy(), TRUST_LOG)


# --- witnesses ---


def test_witnesses_are_counted() -> None:
    made = witnessed("wes", "wim")
    assert log_proof.check(made, policy(), PROD_LOG, witnesses=2).witnesses == (
        Cosigned(WES, NOW),
        Cosigned(WIM, NOW),
    )
    refused(made, "not-witnessed", witnesses=3)
    refused(proof(), "not-witnessed", witnesses=1)


def test_a_witness_counts_once_and_only_with_the_right() -> None:
    twice = witnessed("wes").added(cosigned(proof().note, "wes", time=NOW + 1).lines)
    refused(twice, "not-witnessed", witnesses=2)
    refused(witnessed("bob"), "not-witnessed", witnesses=1)
    refused(witnessed("eve"), "not-witnessed", witnesses=1)
    for current in (policy(revoked=["wes"]), policy(without=["wes"])):
        with pytest.raises(LogInconsistent):
            log_proof.check(witnessed("wes"), current, PROD_LOG, witnesses=1)


def test_nobody_witnesses_what_is_their_own() -> None:
    both = policy(roles={"ann": "both"})
    both = replace(both, roles={**both.roles, Principal("both"): (
        *both.roles[Principal("writer")], *both.roles[Principal("witness")],
    )})  # fmt: skip
    assert log_witness.cosigners(witnessed("ann").note, both, PROD_LOG, ()) == (Cosigned(ANN, NOW),)
    with pytest.raises(LogInconsistent):
        log_proof.check(witnessed("ann"), both, PROD_LOG, witnesses=1)
    refused(witnessed("wes"), "not-witnessed", witnesses=1, apart_from=[WES])
    # ann owns the service, so it is not apart from what ann wrote, nor she from what it signed
    refused(witnessed("ci-witness"), "not-witnessed", witnesses=1)
    made = witnessed("ci-witness", who="bob")
    assert log_proof.check(made, policy(), PROD_LOG, witnesses=1).witnesses[0].witness == "ci-witness"
    refused(made, "not-witnessed", witnesses=1, apart_from=[ANN])
    refused(made, "not-witnessed", witnesses=1, apart_from=[Principal("scorer")])


def test_a_cosignature_of_another_log_use_or_name_does_not_count() -> None:
    signed = proof().note
    name = log_names.witness_name(VAULT, WES)
    elsewhere = log_key("wes", TRUST_LOG, log_keys.WITNESS)
    as_writer = log_key("wes", PROD_LOG, log_keys.LOG)
    for key, document in (
        (elsewhere, certificate_of("wes", TRUST_LOG, log_keys.WITNESS)),
        (as_writer, certificate_of("wes", PROD_LOG, log_keys.LOG)),
        (elsewhere, certificate_of("wes", PROD_LOG, log_keys.WITNESS)),
        (log_key("wim", PROD_LOG, log_keys.WITNESS), certificate_of("wim", PROD_LOG, log_keys.WITNESS)),
    ):
        lines = [note.cosign(signed.text, name, NOW, key), log_keys.certificate_line(name, document)]
        refused(proof().added(lines), "not-witnessed", witnesses=1)


def test_lines_of_strangers_are_passed_over() -> None:
    made = witnessed("wes").added([Line("elsewhere.example/w1", bytes(4), bytes(72))])
    assert len(log_proof.check(made, policy(), PROD_LOG, witnesses=1).witnesses) == 1


# --- heads that the root threshold has signed ---


def test_an_entry_before_a_retirement_is_proved_by_the_head_alone() -> None:
    made = replace(proof(), note=checkpoint(EDGE, "eve"))
    head = LogHead(ORIGIN, 5, Digest(EDGE.root.hex()))
    assert log_proof.check_before(made, head) == b"d"
    for wrong in (replace(head, root=Digest("1" * 64)), replace(head, size=3)):
        with pytest.raises(LogInconsistent) as caught:
            log_proof.check_before(made, wrong)
        assert caught.value.code == "not-logged"


def test_the_keys_of_the_tests_differ() -> None:
    assert len({log_key(name).public for name in ("ann", "bob", "eve", "wes")}) == 4
