"""Several processes at once: one wins each name, the others are told, and nobody sees a false rollback."""

from pathlib import Path

import pytest

from tests.attacks.crash_child import told_by

TURNS = [0, *(pytest.param(turn, marks=pytest.mark.slow) for turn in range(1, 10))]


@pytest.mark.parametrize("turn", TURNS)
def test_eight_who_publish_the_same_model_at_once_get_eight_answers_and_no_version_twice(
    turn: int, tmp_path: Path
) -> None:
    found = told_by("vault_race", "push", tmp_path)
    assert not found["wrong"], (turn, found["wrong"])
    won = [entry["result"] for entry in found["results"] if "result" in entry]
    assert won
    assert len(won) == len(set(won))
    assert {entry["code"] for entry in found["results"] if "error" in entry} <= {"conflict"}
    assert sorted(["churn:1", *won]) == sorted(f"churn:{version}" for version in found["versions"])
    assert found["whole"]


@pytest.mark.parametrize("turn", TURNS)
def test_eight_who_promote_at_once_make_one_chain_in_which_each_number_has_one_winner(
    turn: int, tmp_path: Path
) -> None:
    found = told_by("vault_race", "promote", tmp_path)
    answers = [answer for entry in found["results"] for answer in entry.get("result", [entry])]
    assert all(isinstance(answer, int) or answer == "conflict" for answer in answers), (turn, answers)
    chain = found["chain"]
    assert [entry["seq"] for entry in chain] == sorted(
        {answer for answer in answers if isinstance(answer, int)}
    )
    # Nobody passed over a record that they had not seen.
    assert [entry["prev"] for entry in chain] == [None, *(entry["digest"] for entry in chain[:-1])]
    assert found["whole"]
    assert found["loads"]


@pytest.mark.parametrize("turn", TURNS)
def test_loading_while_others_promote_and_publish_is_never_refused(turn: int, tmp_path: Path) -> None:
    found = told_by("vault_race", "load", tmp_path)
    assert not [entry for entry in found["results"] if "error" in entry], (turn, found["results"])
    writer, *loaders = (entry["result"] for entry in found["results"])
    assert writer == 12
    assert sum(loaders) > 5
    assert found["whole"]


@pytest.mark.parametrize("turn", TURNS)
def test_a_withdrawal_while_others_promote_keeps_the_version_out_of_every_slot(
    turn: int, tmp_path: Path
) -> None:
    found = told_by("vault_race", "withdraw", tmp_path)
    answers = [answer for entry in found["results"] for answer in entry.get("result", [entry])]
    assert all(isinstance(answer, bool | int) or answer == "conflict" for answer in answers), (turn, answers)
    barred, *channels = found["seen"]
    assert barred == "barred"
    assert all(seen in ("barred", True) for seen in channels), channels  # barred, or another version
    assert all(len(numbers) == len(set(numbers)) for numbers in found["numbers"].values())
    assert found["whole"]


@pytest.mark.parametrize("turn", TURNS)
def test_everybody_may_approve_at_once_and_the_promotion_waits_for_two(turn: int, tmp_path: Path) -> None:
    found = told_by("vault_race", "approve", tmp_path)
    assert [entry["result"][:2] for entry in found["results"]] == [[False, True]] * 4, turn
    assert found["results"][3]["result"][2:] == [1]
    assert found["votes"] == 4
    assert found["loads"]
    assert found["whole"]


ROUNDS = ["5", pytest.param("100", marks=pytest.mark.slow)]


@pytest.mark.parametrize("rounds", ROUNDS)
def test_of_four_who_apply_policies_of_two_numbers_at_once_one_wins_and_the_others_are_told(
    rounds: str, tmp_path: Path
) -> None:
    found = told_by("vault_race", "apply", tmp_path, rounds)
    assert found["wrong"] == []
    assert found["told"] == 3 * int(rounds)
    assert found["version"] > int(rounds)
    assert found["whole"]


@pytest.mark.parametrize("rounds", ROUNDS)
def test_promoting_and_loading_go_on_while_policies_are_applied(rounds: str, tmp_path: Path) -> None:
    found = told_by("vault_race", "govern", tmp_path, rounds)
    assert not [entry for entry in found["results"] if "error" in entry], found["results"]
    applied, promoted, *loaded = (entry["result"] for entry in found["results"])
    assert applied == list(range(2, 2 + int(rounds)))
    assert promoted == sorted(set(promoted))
    assert promoted
    assert all(answers and all(answers) for answers in loaded)
    assert found["whole"]
