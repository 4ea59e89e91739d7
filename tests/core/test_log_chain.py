"""Which commits are in force: who may write decides; nobody else can block, decide or erase."""

import pytest

from tests.logs import (
    ACCESS_LOG,
    PROD_LOG,
    TRUST_LOG,
    VAULT,
    Story,
    certificate,
    checkpoint,
    commit,
    entries,
    policy,
    tree,
    under,
)
from vault.core import limits, log_commit, log_names, merkle
from vault.core.log_chain import FORK, ORPHAN, REFUSED, REPEATED, Chain, Extended, Head, Link, Skipped
from vault.core.names import Digest
from vault.core.note import Line, Note
from vault.core.policy import LogHead
from vault.errors import LogInconsistent

ORIGIN = log_names.origin(VAULT, PROD_LOG)


def extended(told: Extended | Skipped) -> Extended:
    assert isinstance(told, Extended), told
    return told


def skipped(told: Extended | Skipped, kind: str, code: str = "") -> Skipped:
    assert isinstance(told, Skipped)
    assert told.kind == kind, told
    assert code in {"", told.code}
    return told


# --- the honest case ---


def test_commits_of_writers_follow_each_other() -> None:
    story = Story()
    first = extended(story.add("a", "b"))
    second = extended(story.add("c", who="bob", number=7))
    assert (first.final, first.sealed, first.cut) == (True, (), ())
    assert second.link == Link(7, tree(entries("a", "b", "c")), second.link.root, second.link.writer,
                               second.link.key_id, authorised=True)  # fmt: skip
    found = story.chain.finish()
    assert (found.newest, found.provisional, found.kept) == (second.link, (), ())
    assert found.newest.head == Head(7, 3, tree(entries("a", "b", "c")).root)
    assert (second.link.writer, second.commit.first) == ("bob", 2)


def test_an_empty_log_has_nothing_in_force() -> None:
    found = Chain(policy(), PROD_LOG).finish()
    assert found.newest.head == Head(0, 0, merkle.EMPTY_ROOT)


def test_a_fold_goes_on_from_any_link() -> None:
    story = Story()
    story.add("a")
    link = story.chain.last
    later = Story(Chain(policy(), PROD_LOG, link), number=1)
    assert extended(later.add("b")).link.size == 2


# --- what is no commit ---


def test_garbage_is_skipped_and_nothing_is_lost() -> None:
    story = Story()
    story.add("a")
    good = commit(story.edge, entries("b"))
    other = log_commit.parse(good, "it")
    false = Note(other.note.text, (Line(other.note.lines[0].name, other.note.lines[0].key_hash, bytes(64)),))
    for data, code in (
        (b"", "malformed-log"),
        (good[:-1], "malformed-log"),
        (bytes(limits.LOG_COMMIT_BYTES + 1), "too-large"),
        (commit(story.edge, entries("b"), "ann", TRUST_LOG), "misplaced"),
        (log_commit.encode(certificate("bob"), other.note, other.edge, other.entries), "unsigned"),
        (
            log_commit.encode(certificate("ann", TRUST_LOG), other.note, other.edge, other.entries),
            "misplaced",
        ),
        (log_commit.encode(b"{}", other.note, other.edge, other.entries), "malformed-envelope"),
        (log_commit.encode(other.certificate, false, other.edge, other.entries), "bad-signature"),
    ):
        skipped(story.offer(data), REFUSED, code)
        skipped(story.offer(data), REFUSED, code)
    assert extended(story.offer(good)).link.size == 2


def test_certificates_that_are_kept_are_bounded() -> None:
    story = Story()
    good = log_commit.parse(commit(story.edge, entries("b")), "it")
    for number in range(300):
        data = log_commit.encode(b"%d" % number, good.note, good.edge, good.entries)
        skipped(story.offer(data), REFUSED)
    assert len(story.chain._known) < 300


def test_a_rewritten_entry_is_refused_with_its_leaf_or_without() -> None:
    """CVE-2026-56865: entry and leaf are changed together; the tree is computed from the entries here."""
    story = Story()
    story.add("a")
    good = commit(story.edge, entries("b", "c"))
    assert good.endswith(b"\0\1b\0\1c")
    skipped(story.offer(good[:-6] + b"\0\1X\0\1c"), FORK)
    rewritten = tree(entries("a", "X", "c"))
    told = log_commit.parse(good, "it")
    with pytest.raises(Exception, match="does not give the root"):
        log_commit.parse(log_commit.encode(told.certificate, told.note, rewritten, entries("X", "c")), "it")
    assert extended(story.offer(good)).link.size == 3


def test_the_edge_and_the_entries_must_agree() -> None:
    story = Story()
    story.add("a")
    other = tree(entries("z", "b"))
    data = log_commit.encode(certificate("ann"), checkpoint(other), other, entries("b"))
    skipped(story.offer(data), FORK)


# --- forks, copies and gaps ---


def test_a_fork_by_a_writer_is_told_and_changes_nothing() -> None:
    story = Story()
    story.add("a")
    before = story.edge
    story.add("b")
    told = skipped(story.add("c", who="bob", to=before), FORK, "log-inconsistent")
    assert "fork" in told.reason
    assert "bob" in told.reason
    assert story.chain.finish().newest.size == 2


def test_a_copy_of_a_commit_in_force_is_no_fork() -> None:
    story = Story()
    first = commit(merkle.EMPTY, entries("a"))
    story.offer(first)
    second = commit(story.edge, entries("b"))
    story.offer(second)
    skipped(story.offer(first), REPEATED)
    skipped(story.offer(second), REPEATED)


def test_what_is_remembered_to_tell_copies_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "LOG_HISTORY", 3)
    story = Story()
    first = commit(merkle.EMPTY, entries("a"))
    story.offer(first)
    for text in "bcd":
        story.add(text)
    assert len(story.chain._history) == 3
    skipped(story.offer(first), FORK)


def test_a_commit_without_its_predecessor_is_an_orphan() -> None:
    story = Story()
    story.add("a")
    skipped(story.add("z", to=tree(entries("a", "b", "c"))), ORPHAN)
    assert extended(story.add("b")).link.size == 2


def test_gaps_of_numbers_are_bounded() -> None:
    story = Story()
    story.add("a", number=5)
    assert story.chain.reaches(6 + limits.GAP)
    assert not story.chain.reaches(7 + limits.GAP)


# --- who may write ---


def test_who_may_not_write_comes_into_force_only_by_whoever_may() -> None:
    story = Story()
    story.add("a")
    eve = extended(story.add("b", who="eve"))
    assert not eve.final
    assert not eve.link.authorised
    found = story.chain.finish()
    assert (found.newest.size, found.provisional, found.kept) == (1, (eve.link,), ())
    bob = extended(story.add("c", who="bob"))
    assert bob.sealed == (eve.link,)
    assert story.chain.finish().newest.size == 3


def test_a_writer_cuts_what_is_provisional() -> None:
    story = Story()
    story.add("a")
    honest = story.edge
    one, two = extended(story.add("b", who="eve")), extended(story.add("c", who="eve"))
    told = extended(story.add("d", to=honest))
    assert told.cut == (one.link, two.link)
    assert story.chain.finish().newest.edge == tree(entries("a", "d"))
    skipped(story.add("e", who="eve", to=one.link.edge), REFUSED, "untrusted-signer")


def test_a_writer_may_cut_in_the_middle_and_seal_the_rest() -> None:
    story = Story()
    story.add("a")
    one, two = extended(story.add("b", who="eve")), extended(story.add("c", who="eve"))
    told = extended(story.add("d", to=one.link.edge))
    assert (told.sealed, told.cut) == ((one.link,), (two.link,))


def test_who_may_not_write_cuts_nothing() -> None:
    story = Story()
    story.add("a")
    honest = story.edge
    story.add("b", who="eve")
    skipped(story.add("c", who="dan", to=honest), REFUSED, "untrusted-signer")
    skipped(story.add("b", who="eve", to=honest), REPEATED)
    assert story.chain.last.size == 2


def test_a_writer_may_sign_the_same_entries_that_somebody_else_put_there() -> None:
    """Otherwise a stranger who foresees an entry would keep it out of the log."""
    story = Story()
    story.add("a")
    honest = story.edge
    story.add("b", who="eve")
    told = extended(story.add("b", who="ann", to=honest))
    assert told.final
    assert story.chain.finish().newest == told.link


def test_commits_of_removed_members_stay_where_a_writer_went_on() -> None:
    story = under(policy(without=["bob"]))
    story.add("a")
    gone = extended(story.add("b", who="bob"))
    assert gone.link.writer is None
    assert not gone.final
    assert extended(story.add("c")).sealed == (gone.link,)


def test_commits_of_a_revoked_writer_at_the_end_are_provisional() -> None:
    story = under(policy(revoked=["bob"]))
    story.add("a")
    told = extended(story.add("b", who="bob"))
    assert told.link.writer == "bob"
    assert story.chain.finish().provisional == (told.link,)


def test_a_retired_key_counts_up_to_its_head() -> None:
    story = under(policy(retired={"bob": LogHead(ORIGIN, 2, Digest("1" * 64))}))
    assert extended(story.add("a", "b", who="bob")).final
    assert not extended(story.add("c", who="bob")).final


# --- access logs ---


def test_an_access_log_is_its_owners_alone() -> None:
    story = Story(Chain(policy(), ACCESS_LOG))
    assert extended(story.add("a", who="scorer")).final
    assert not extended(story.add("b", who="ann")).final
    assert story.chain.finish().newest.size == 1


def test_an_access_log_outlives_its_owners_key() -> None:
    story = Story(Chain(policy(revoked=["scorer"]), ACCESS_LOG))
    first, second = extended(story.add("a", who="scorer")), extended(story.add("b", who="scorer"))
    other = extended(story.add("c", who="eve"))
    found = story.chain.finish()
    assert (found.newest, found.kept, found.provisional) == (
        second.link,
        (first.link, second.link),
        (other.link,),
    )


# --- what was seen ---


def test_a_log_that_ends_before_what_was_seen_is_refused() -> None:
    story = under(policy(), seen={3: tree(entries("a", "b", "c")).root})
    story.add("a", "b")
    with pytest.raises(LogInconsistent, match="3 entries"):
        story.chain.finish()
    story.add("c")
    assert story.chain.finish().newest.size == 3


def test_a_history_other_than_seen_is_passed_over_for_the_one_that_was() -> None:
    story = under(policy(), seen={2: tree(entries("a", "b")).root})
    skipped(story.add("a", "x", "y"), FORK)
    assert extended(story.add("a", "b", "c")).link.size == 3
    story.chain.finish()


def test_a_private_fork_is_refused_by_who_has_seen_the_other() -> None:
    story = under(policy(), seen={2: tree(entries("a", "b")).root})
    story.add("a")
    skipped(story.add("x", who="bob"), FORK)
    with pytest.raises(LogInconsistent):
        story.chain.finish()


def test_what_was_seen_in_force_stays_so_when_its_writer_was_revoked() -> None:
    seen = {2: tree(entries("a", "b")).root}
    story = under(policy(revoked=["bob"]), seen=seen)
    story.add("a")
    kept = extended(story.add("b", who="bob"))
    more = extended(story.add("c", who="bob"))
    found = story.chain.finish()
    assert (found.newest, found.kept, found.provisional) == (kept.link, (kept.link,), (more.link,))
    told = extended(story.add("d", to=kept.link.edge))
    assert (told.sealed, told.cut) == ((kept.link,), (more.link,))


@pytest.mark.parametrize("texts", [("x",), ("x", "y"), ("x", "y", "z")])
def test_a_writer_who_leaves_out_what_was_seen_is_refused(texts: tuple[str, ...]) -> None:
    story = under(policy(revoked=["bob"]), seen={3: tree(entries("a", "b", "c")).root})
    story.add("a")
    honest = story.edge
    story.add("b", who="bob")
    story.add("c", who="bob")
    with pytest.raises(LogInconsistent, match="leaves out"):
        story.add(*texts, to=honest)


def test_nobody_else_can_leave_out_what_was_seen() -> None:
    story = under(policy(revoked=["bob"]), seen={2: tree(entries("a", "b")).root})
    story.add("a")
    skipped(story.add("x", who="bob"), REFUSED)
    extended(story.add("b", who="bob"))
    assert story.chain.finish().newest.size == 2


def test_a_writer_may_sign_again_what_was_seen() -> None:
    story = under(policy(revoked=["bob"]), seen={2: tree(entries("a", "b")).root})
    story.add("a")
    honest = story.edge
    story.add("b", who="bob")
    story.add("c", who="bob")
    assert extended(story.add("b", "d", to=honest)).link.size == 3
