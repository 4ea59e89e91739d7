"""A verifier in Go that shares no code with the vault accepts what it accepts, and refuses what it refuses.

It reads the files alone: `checkpoint`, tiles, entry bundles, commits, cosignatures, proofs. What it
trusts is golang.org/x/mod, in the version that Debian has.
"""

import random
from base64 import b64encode
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest

from tests.builders import Built
from tests.independent.log_program import Judged, Verdict, build
from tests.log_vaults import PROD_LOG, append, cosign, log_objects, logged, put_back
from tests.logs import numbered
from vault.core import log_commit, merkle, note
from vault.core.log_chain import Head
from vault.core.note import Checkpoint

pytestmark = pytest.mark.oracle

EDGES = (1, 2, 255, 256, 257)
DRAWN = tuple(random.Random(2026).randrange(3, 3_000) for _ in range(6))
STEP = 4_000


@pytest.fixture(scope="session")
def program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    shared = tmp_path_factory.getbasetemp()
    # Workers have folders of their own beside one another; what they all may use lies above.
    return build(shared.parent if shared.name.startswith("popen-") else shared)


def filled(size: int, *, step: int = 100, mode: str = "none") -> Built:
    built = logged(mode)
    for at in range(0, size, step):
        append(built, numbered(at, min(step, size - at)))
    return built


def agree(judged: Judged, program: Path, folder: Path, *flags: str) -> Verdict:
    """Have both judge; they must say the same."""
    ours, theirs = judged.ours(), judged.theirs(program, folder, *flags)
    assert ours.accepted == theirs.accepted, (ours.reason, theirs.reason)
    return theirs


def heads(judged: Judged) -> Iterator[Head]:
    """Give the head of every commit, oldest first."""
    for name, data in sorted(log_objects(judged.built).items()):
        if name.startswith(PROD_LOG.commits):
            edge = log_commit.parse(data, name).edge
            yield Head(0, edge.size, edge.root)


# --- honest logs ---


@pytest.mark.parametrize("size", [*EDGES, *DRAWN])
def test_both_accept_a_log_with_its_proofs(size: int, program: Path, tmp_path: Path) -> None:
    judged = Judged(filled(size))
    places = {0, size // 3, size - 1, min(255, size - 1), min(256, size - 1)}
    flags = [judged.proof(tmp_path, place) for place in sorted(places)]
    every = list(heads(judged))
    flags += [judged.consistency(tmp_path, old, every[-1]) for old in every[:: len(every) // 4 + 1]]
    judged.pins = {every[0].size: every[0].root}
    told = agree(judged, program, tmp_path, *flags)
    assert told.accepted, told.reason
    assert told.reason == f"{size} entries, root {every[-1].root.hex()}"


@pytest.mark.slow
def test_both_accept_logs_about_where_a_third_level_begins(program: Path, tmp_path: Path) -> None:
    built = filled(65_535, step=STEP)
    judged = Judged(built)
    for size in (65_535, 65_536, 65_537):
        if size > 65_535:
            append(built, numbered(size - 1, 1))
        last = list(heads(judged))[-1]
        flags = [judged.proof(tmp_path, place) for place in (0, 255, 256, 40_000, size - 1)]
        flags += [judged.consistency(tmp_path, old, last) for old in heads(judged)]
        told = agree(judged, program, tmp_path, *flags)
        assert told.reason == f"{size} entries, root {last.root.hex()}"


def test_both_accept_a_log_of_several_writers(program: Path, tmp_path: Path) -> None:
    built = logged("none")
    for turn in range(6):
        append(built, numbered(turn * 50, 50), who=("owner", "ann")[turn % 2])
    told = agree(Judged(built, writers=("owner", "ann")), program, tmp_path)
    assert told.accepted, told.reason


def test_both_accept_what_enough_witnesses_have_cosigned(program: Path, tmp_path: Path) -> None:
    built = filled(300, mode="witnessed")
    judged = Judged(built, witnesses=("wes", "wim"), need=2)
    cosign(built, "wes")
    assert not agree(judged, program, tmp_path).accepted
    cosign(built, "wim")
    told = agree(judged, program, tmp_path)
    assert told.accepted, told.reason


def test_both_refuse_a_log_that_somebody_else_has_signed(program: Path, tmp_path: Path) -> None:
    built = filled(10)
    assert not Judged(built, writers=("ann",)).theirs(program, tmp_path).accepted
    other = Judged(built)
    data = log_objects(built)[PROD_LOG.checkpoint]
    place = data.index(b"\n\n") + len("\n\n— ".encode()) + len(other.key("owner").split("+")[0]) + 30
    swapped = b"A" if data[place : place + 1] != b"A" else b"B"
    built.store.objects[PROD_LOG.checkpoint] = data[:place] + swapped + data[place + 1 :]
    assert not agree(other, program, tmp_path).accepted


# --- what detects what ---


def rewrite(built: Built, change: Callable[[list[bytes]], list[bytes]], *, tiles: bool = True) -> None:
    """Change the entries of the log as who can write to the store and has no key.

    The commits keep their signed checkpoints, whose number of entries is kept if that is possible; with
    `tiles` bundles and tiles are made to fit the new entries, which only the signed root then contradicts.
    """
    commits = {name: data for name, data in sorted(log_objects(built).items()) if "/commit/" in name}
    entries = [entry for data in commits.values() for entry in log_commit.parse(data, "").entries]
    after = change(list(entries))
    at = 0
    for name, data in commits.items():
        count = len(log_commit.parse(data, "").entries)
        head = data[: len(data) - len(log_commit.encode_entries(log_commit.parse(data, "").entries))]
        built.store.objects[name] = head + log_commit.encode_entries(after[at : at + count] or [b"filler"])
        at += count
    size = len(entries)
    fitting = [*after, *[b"filler"] * (size - len(after))]
    leaves = merkle.leaf_hashes(fitting)
    for place in range(0, size, 256):
        count = min(256, size - place)
        bundle = log_commit.encode_entries(fitting[place : place + count])
        built.store.objects[PROD_LOG.bundle(place // 256, count)] = bundle
        if tiles:
            hashes = b"".join(leaves[place : place + count])
            built.store.objects[PROD_LOG.tile(0, place // 256, count)] = hashes
    if tiles and size >= 256:
        whole = [
            merkle.grow(merkle.EMPTY, leaves[at : at + 256]).after.root for at in range(0, size - 255, 256)
        ]
        built.store.objects[PROD_LOG.tile(1, 0, len(whole))] = b"".join(whole)


def edit(entries: list[bytes]) -> list[bytes]:
    return [*entries[:100], b'{"n":"other"}', *entries[101:]]


def reorder(entries: list[bytes]) -> list[bytes]:
    return [*entries[:100], entries[101], entries[100], *entries[102:]]


def delete(entries: list[bytes]) -> list[bytes]:
    return [*entries[:100], *entries[101:]]


@pytest.mark.parametrize("tiles", [True, False], ids=["tiles fitted", "tiles left"])
@pytest.mark.parametrize("change", [edit, reorder, delete])
def test_both_refuse_entries_that_were_changed(
    change: Callable[[list[bytes]], list[bytes]], tiles: bool, program: Path, tmp_path: Path
) -> None:
    built = filled(600)
    rewrite(built, lambda entries: entries)
    assert agree(Judged(built), program, tmp_path).accepted  # the attack's own machinery does no harm
    rewrite(built, change, tiles=tiles)
    told = agree(Judged(built), program, tmp_path)
    assert not told.accepted


@pytest.mark.parametrize("change", [edit, reorder, delete])
def test_both_refuse_commits_that_were_changed_beside_honest_tiles(
    change: Callable[[list[bytes]], list[bytes]], program: Path, tmp_path: Path
) -> None:
    built = filled(600)
    honest = {name: data for name, data in log_objects(built).items() if "/commit/" not in name}
    rewrite(built, change)
    built.store.objects.update(honest)
    assert not agree(Judged(built), program, tmp_path).accepted


def test_both_refuse_an_entry_and_its_leaf_that_were_rewritten_together(
    program: Path, tmp_path: Path
) -> None:
    """CVE-2026-56865: x/mod before 0.40 hands such a leaf out, so leaves are computed from the entries."""
    built = filled(600)  # two whole tiles under one root tile, and 88 entries more
    judged = Judged(built)
    forged = [b'{"n":"forged"}', *numbered(1, 255)]
    built.store.objects[PROD_LOG.bundle(0)] = log_commit.encode_entries(forged)
    tile = PROD_LOG.tile(0, 0)
    built.store.objects[tile] = merkle.leaf_hash(forged[0]) + built.store.objects[tile][32:]
    told = agree(judged, program, tmp_path)
    assert told == Verdict(False, "the entries do not lead to the signed root")
    believing = judged.theirs(program, tmp_path, "-tiles-only")
    if not believing.accepted:
        pytest.skip("both refuse it; this x/mod has the hole closed, so that it cannot be shown")
    assert believing.reason == "600 entries"


def cut(built: Built, size: int) -> dict[str, bytes]:
    """Build the log anew as it was at a size: what an old copy of it holds."""
    old = built.fork(forgetful=True)
    put_back(old, {})
    for at in range(0, size, 100):
        append(old, numbered(at, min(100, size - at)))
    return log_objects(old)


@pytest.mark.parametrize("left", [100, 300, 500])
def test_both_refuse_an_old_copy_only_where_a_newer_tree_was_seen(
    left: int, program: Path, tmp_path: Path
) -> None:
    built = filled(600)
    seen = list(heads(Judged(built)))[-1]
    put_back(built, cut(built, left))  # truncation, and rollback of the checkpoint with it
    assert agree(Judged(built), program, tmp_path).accepted  # nobody can tell who has not seen more
    told = agree(Judged(built, pins={seen.size: seen.root}), program, tmp_path)
    assert told == Verdict(False, f"600 entries were seen, and {left} are left: its end was cut off")


def test_both_refuse_a_log_whose_end_was_cut_off_below_its_checkpoint(program: Path, tmp_path: Path) -> None:
    built = filled(600)
    del built.store.objects[PROD_LOG.commit(6)]
    told = agree(Judged(built), program, tmp_path)
    assert told == Verdict(False, "the commits end at entry 500, and the checkpoint has 600")


def split(built: Built, at: int, others: Sequence[bytes]) -> Built:
    """Make a second history that its writer has signed: the same up to a size, and other entries after it."""
    other = built.fork(forgetful=True)
    put_back(other, cut(built, at))
    append(other, others)
    return other


@pytest.mark.parametrize("pinned", [500, 600])
def test_both_refuse_another_history_where_one_was_seen(pinned: int, program: Path, tmp_path: Path) -> None:
    built = filled(600)
    seen = {head.size: head.root for head in heads(Judged(built))}
    other = split(built, 400, numbered(5_000, 300))
    assert agree(Judged(other), program, tmp_path).accepted
    assert agree(Judged(other, pins={400: seen[400]}), program, tmp_path).accepted
    told = agree(Judged(other, pins={pinned: seen[pinned]}), program, tmp_path)
    assert told == Verdict(False, f"another history of the first {pinned} entries was seen")


def test_both_refuse_another_history_than_a_witness_has_cosigned(program: Path, tmp_path: Path) -> None:
    built = filled(600, mode="witnessed")
    other = split(built, 400, numbered(5_000, 300))
    cosign(built, "wes")
    assert agree(Judged(built, witnesses=["wes"], need=1), program, tmp_path).accepted
    assert not agree(Judged(other, witnesses=["wes"], need=1), program, tmp_path).accepted  # not cosigned
    shown = {name: data for name, data in log_objects(built).items() if "/cosigned/" in name}
    other.store.objects.update(shown)
    told = agree(Judged(other, witnesses=["wes"], need=1), program, tmp_path)
    assert "another history of the first 600 entries was seen" in told.reason


def test_the_go_program_refuses_proofs_that_were_forged(program: Path, tmp_path: Path) -> None:
    judged = Judged(filled(600))
    flag = judged.proof(tmp_path, 300)
    path = Path(flag.removeprefix("-proof="))
    honest = path.read_bytes()
    assert judged.theirs(program, tmp_path, flag).accepted
    entry = b64encode(numbered(300, 1)[0])
    changes = {
        "another record's entry": (entry, b64encode(numbered(301, 1)[0])),
        "the index shifted": (b"index 300", b"index 301"),
        "another entry": (entry, b64encode(b"other")),
        "another size": (b"\n600\n", b"\n599\n"),
    }
    for what, (old, new) in changes.items():
        assert old in honest
        path.write_bytes(honest.replace(old, new))
        assert not judged.theirs(program, tmp_path, flag).accepted, what


def test_the_go_program_refuses_a_consistency_proof_of_another_history(program: Path, tmp_path: Path) -> None:
    judged = Judged(filled(600))
    every = {head.size: head for head in heads(judged)}
    flag = judged.consistency(tmp_path, every[400], every[600])
    assert judged.theirs(program, tmp_path, flag).accepted
    other = Judged(split(judged.built, 300, numbered(5_000, 300)))
    flag = other.consistency(tmp_path, list(heads(other))[-2], list(heads(other))[-1])
    assert other.theirs(program, tmp_path, flag).accepted
    assert not judged.theirs(program, tmp_path, flag).accepted


def test_the_go_program_wants_a_checkpoint_of_this_log(program: Path, tmp_path: Path) -> None:
    built = filled(3)
    judged = Judged(built)
    signer = built.identities["owner"].derive(b"another log")
    moved = note.sign_checkpoint(Checkpoint("mvault/v1/other/env/prod", 3, bytes(32)), signer)
    built.store.objects[PROD_LOG.checkpoint] = moved.encode()
    assert not agree(judged, program, tmp_path).accepted
