"""The attack matrix as a whole: how many attacks, of whom, and on which lines of what must be refused."""

import ast
import re
from collections import Counter
from functools import cache
from pathlib import Path

import pytest

from tests.attacks import (
    test_matrix_decider,
    test_matrix_laptop,
    test_matrix_outsider,
    test_matrix_publisher,
    test_matrix_reader,
    test_matrix_replayer,
    test_matrix_root,
)
from tests.attacks.matrix import BEYOND, HEADINGS, LINES, SIGNATURES, TIME, Existing, Row

ROOT = Path(__file__).parent.parent.parent
TABLES = (
    test_matrix_outsider,
    test_matrix_replayer,
    test_matrix_reader,
    test_matrix_publisher,
    test_matrix_decider,
    test_matrix_laptop,
    test_matrix_root,
)
ATTACKS = tuple(attack for module in TABLES for attack in module.ATTACKS)

SIGNED = "attacks/test_signatures_and_manifests.py::test_"
PROJECT = "attacks/test_settings_project_file.py::test_"
ELSEWHERE = (
    Existing(
        Row.EAVESDROPPER, ("reading",),
        "attacks/test_encryption.py::test_a_header_wrapped_for_somebody_else_is_refused",
    ),
    Existing(
        Row.OUTSIDER, ("symlinks", "garbage and squatted names"),
        "attacks/test_squatting.py::test_what_is_no_file_under_a_number_blocks_nobody",
    ),
    Existing(
        Row.OUTSIDER, ("garbage and squatted names",),
        "attacks/test_squatting.py::test_more_squatted_numbers_than_a_writer_skips_are_a_conflict_and_loads_go_on",
    ),
    Existing(
        Row.OUTSIDER, ("malformed input", "a stripped signature"),
        SIGNED + "an_envelope_that_proves_nothing_is_refused",
    ),
    Existing(
        Row.OUTSIDER, ("one of several signatures looked at",),
        SIGNED + "every_signature_is_looked_at_and_a_strangers_takes_nothing_away",
    ),
    Existing(
        Row.AUTHOR, ("duplicate, unknown and trailing content", "malformed input"),
        SIGNED + "a_manifest_that_is_not_strict_json_is_refused_though_its_publisher_signed_it",
    ),
    Existing(
        Row.AUTHOR, ("paths that escape or collide", "empty packages", "malformed input"),
        SIGNED + "a_manifest_that_says_what_none_may_is_refused_though_its_publisher_signed_it",
    ),
    Existing(
        Row.AUTHOR, ("another document type",),
        SIGNED + "the_right_signature_under_another_document_type_is_refused",
    ),
    Existing(
        Row.ROOT_KEY, ("another document type",),
        "attacks/test_drafts_hostile.py::test_a_signature_for_a_root_does_not_count_for_a_policy",
    ),
    Existing(
        Row.ROOT_KEY, ("bad key input",),
        SIGNED + "a_policy_with_a_weak_key_is_absent_though_the_root_signed_it",
    ),
    Existing(
        Row.ROOT_KEY, ("bad key input",),
        SIGNED + "a_root_with_a_weak_key_is_refused_though_it_was_pinned",
    ),
    Existing(
        Row.PROMOTER, ("the loser of a race",),
        "attacks/test_races.py::test_eight_who_promote_at_once_make_one_chain_in_which_each_number_has_one_winner",
    ),
    Existing(
        Row.STRANGER, ("duplicate, unknown and trailing content",),
        PROJECT + "what_a_project_may_not_set_is_refused_loudly",
    ),
    Existing(
        Row.STRANGER, ("symlinks",),
        PROJECT + "a_link_to_a_secret_does_not_print_it",
    ),
    Existing(
        Row.STRANGER, ("endless data",),
        PROJECT + "a_huge_file_is_not_read",
    ),
)  # fmt: skip

# Words of a heading of the threat model, and a test of what is told there.
OF_THEIR_OWN = (
    ("a backup or an archive",
     "attacks/test_archive_hostile.py::test_another_version_s_payloads_in_the_archive_are_not_taken"),
    ("`archive` or `delete` every model", "core/test_backup_receipt.py::test_nobody_else_does"),
    ("`delete` in dev alone",
     "e2e/test_retention.py::test_who_may_delete_in_dev_alone_removes_nothing_that_prod_has_used"),
    ("the right to `hold`", "core/test_holds.py::test_a_hold_by_a_revoked_key_is_none_and_is_told"),
    ("the right to `test`",
     "e2e/test_load_test_required.py::test_what_lies_in_prod_stops_loading_when_its_tester_is_revoked"),
    ("registry index",
     "registry/test_index_attacks.py::test_what_a_hostile_server_says_is_refused_or_is_a_lie"),
    ("to be adopted",
     "attacks/test_adoption_hostile.py::test_no_pickle_is_loaded_in_the_process_that_adopts"),
    ("MLflow client", "e2e/test_mlflow_plugin.py::test_a_file_that_names_a_strangers_vault_leads_nowhere"),
    ("a lock file", "e2e/test_locks.py::test_a_lock_allows_nothing_that_its_environment_does_not"),
)  # fmt: skip


def test_the_matrix_has_its_size() -> None:
    assert len(ATTACKS) == 123
    assert len({attack.name for attack in ATTACKS}) == len(ATTACKS), "every attack has a name of its own"
    assert sum(attack.refused is not None for attack in ATTACKS) >= 80


def test_every_row_of_the_threat_table_has_attacks() -> None:
    count = Counter(entry.row for entry in (*ATTACKS, *ELSEWHERE))
    assert {row: count[row] for row in Row if count[row] < 2} == {}
    assert Counter(attack.row for attack in ATTACKS)[Row.OUTSIDER] >= 20


def test_every_attacker_of_the_threat_model_is_a_row() -> None:
    text = (ROOT / "docs/threat-model.md").read_text("utf-8")
    section = text.partition("## An adversary with")[2].partition("\n## ")[0]
    headings = re.findall(r"^### (.+)$", section, re.MULTILINE)
    assert len(headings) >= 9
    headings = [heading for heading in headings if not any(words in heading for words, _ in OF_THEIR_OWN)]
    told = {heading: [row for words, row in HEADINGS if words in heading][:1] for heading in headings}
    assert [heading for heading, row in told.items() if not row] == [], "a heading that no row stands for"
    goals = {row for (row,) in told.values()}
    assert goals >= {None, Row.OUTSIDER, Row.REPLAYER, Row.READER, Row.PUBLISHER, Row.LAPTOP, Row.STRANGER}
    beyond = section.partition("### the machine that loads")[2]
    assert "not defended against" in beyond


def test_attackers_without_a_row_are_told_of_and_have_a_test_of_their_own() -> None:
    text = (ROOT / "docs/threat-model.md").read_text("utf-8")
    for words, test in OF_THEIR_OWN:
        assert re.search(rf"^### .*{re.escape(words)}", text, re.MULTILINE), words
        path, _, name = test.partition("::")
        assert f"def {name}(" in (ROOT / "tests" / path).read_text("utf-8"), test


def test_every_line_of_what_must_be_refused_has_an_attack() -> None:
    count = Counter(line for entry in (*ATTACKS, *ELSEWHERE) for line in entry.lines)
    assert [line for line in LINES if not count[line]] == []
    assert (len(SIGNATURES), len(TIME), len(BEYOND)) == (15, 15, 5)
    assert {line for entry in ELSEWHERE for line in entry.lines} <= set(LINES)


@pytest.mark.parametrize("entry", ELSEWHERE, ids=[entry.test for entry in ELSEWHERE])
def test_what_another_test_is_about_exists(entry: Existing) -> None:
    file, _, name = entry.test.partition("::")
    assert name in _tests_in(file)


@cache
def _tests_in(file: str) -> frozenset[str]:
    tree = ast.parse((ROOT / "tests" / file).read_text("utf-8"))
    return frozenset(node.name for node in tree.body if isinstance(node, ast.FunctionDef))
