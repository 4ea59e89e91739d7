"""Time a decision over a large policy, against going through all its rules one after the other.

    python benchmarks/policy.py [--people 1000] [--models 10000] [--decisions 20000]

The policy has that many people and services, each in two roles; every tenth
service lists all models by name, as a team with a model for each listed company
does. The naive way is a linear scan of roles, rules and patterns, as policies
of this shape are usually written down: the vault's own before it was indexed.
Both answer the same questions, in one run, and must agree. Prints the first
decision about a principal, which works out what it may do, and those after it.
"""

import argparse
import random
import statistics
import time
from collections.abc import Callable

from vault.core import policy
from vault.core.names import Environment, Model, Principal
from vault.core.policy import PERSON, SERVICE, EnvironmentRule, Member, Rule
from vault.core.policy_view import View

ENVIRONMENTS = [Environment(name) for name in ("dev", "staging", "prod")]
Question = tuple[Principal, str, Model, Environment]


def build(people: int, models: int) -> tuple[View, list[Model]]:
    """Build a policy and the models that it is about."""
    dev, staging, prod = ENVIRONMENTS
    names = [Model(f"market/sector-{number % 40}/company-{number}") for number in range(models)]
    roles = {
        Principal("scientist"): (rule(("publish", "load"), dev), rule(("load",), staging)),
        Principal("engineer"): (rule(("load",), dev, staging), promotion(dev, staging)),
        Principal("manager"): (rule(("load",), staging), rule(("approve", "withdraw"), prod)),
        Principal("releaser"): (rule(("load",), staging), promotion(staging, prod)),
        Principal("loader"): (rule(("load",), prod, own=True),),
        Principal("desk"): (rule(("load", "pull"), staging, models=tuple(names)),),
    }
    kinds = [Principal(name) for name in ("scientist", "engineer", "manager", "releaser")]
    members = {}
    for number in range(people):
        name = Principal(f"member-{number}")
        if number % 2:
            listed = tuple(names) if number % 10 == 1 else (names[number % models],)
            members[name] = Member(
                name,
                SERVICE,
                (Principal("member-0"),),
                (Principal("loader"), Principal("desk")),
                listed,
                (),
                (),
            )
        else:
            chosen = (kinds[number % 4], kinds[(number + 1) % 4])
            members[name] = Member(name, PERSON, (), chosen, None, (), ())
    environments = {
        name: EnvironmentRule(name, (), ("onnx",), policy.NO_REQUIREMENTS) for name in ENVIRONMENTS
    }
    return View(members, roles, environments, "benchmark"), names


def rule(
    actions: tuple[str, ...],
    *environments: Environment,
    models: tuple[str, ...] | None = None,
    own: bool = False,
) -> Rule:
    """Make a rule."""
    return Rule(actions, environments, None, None, models, own)


def promotion(source: Environment, target: Environment) -> Rule:
    """Make a rule for promotions."""
    return Rule(("promote",), (), source, target, None, False)


def scan(found: View, who: Principal, action: str, model: Model, environment: Environment) -> bool:
    """Decide by going through everything in order."""
    member = found.members.get(who)
    if member is None or environment not in found.environments:
        return False
    for role in member.roles:
        for entry in found.roles.get(role, ()):
            there = environment == entry.target if action == "promote" else environment in entry.environments
            if action in entry.actions and there and covered(entry.models, model):
                if member.models is None and not entry.own:
                    return True
                if member.models is not None and covered(member.models, model):
                    return True
    return False


def covered(patterns: tuple[str, ...] | None, model: Model) -> bool:
    """Compare a model with patterns, one after the other."""
    return patterns is None or any(
        entry in ("*", model) or (entry.endswith("/*") and model.startswith(entry[:-1])) for entry in patterns
    )


def timed(decide: Callable[[Question], bool], questions: list[Question]) -> tuple[list[float], list[bool]]:
    """Give the microseconds of each answer, and the answers."""
    times, answers = [], []
    for question in questions:
        start = time.perf_counter_ns()
        answers.append(decide(question))
        times.append((time.perf_counter_ns() - start) / 1e3)
    return times, answers


def main() -> None:
    """Run and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--people", type=int, default=1_000)
    parser.add_argument("--models", type=int, default=10_000)
    parser.add_argument("--decisions", type=int, default=20_000)
    arguments = parser.parse_args()
    found, names = build(arguments.people, arguments.models)
    draw = random.Random(0)
    members = list(found.members)
    questions = [
        (draw.choice(members), draw.choice(policy.ACTIONS), draw.choice(names), draw.choice(ENVIRONMENTS))
        for _ in range(arguments.decisions)
    ]
    first = [(who, "load", names[-1], ENVIRONMENTS[-1]) for who in members]
    cold, _ = timed(lambda question: policy.decide(found, *question).allowed, first)
    warm, decided = timed(lambda question: policy.decide(found, *question).allowed, questions)
    naive, scanned = timed(lambda question: scan(found, *question), questions)
    print(f"{arguments.people:,} principals, {arguments.models:,} models, {arguments.decisions:,} decisions")
    print(f"{'microseconds':>24}{'median':>10}{'mean':>10}{'99 %':>10}{'most':>12}")
    for name, times in (("first of a principal", cold), ("decision", warm), ("linear scan", naive)):
        ordered = sorted(times)
        print(
            f"{name:>24}{statistics.median(ordered):10.2f}{statistics.fmean(ordered):10.2f}"
            f"{ordered[len(ordered) * 99 // 100]:10.2f}{ordered[-1]:12.2f}"
        )
    ratio = statistics.fmean(naive) / statistics.fmean(warm)
    same = "yes" if decided == scanned else "NO"
    print(f"a linear scan takes {ratio:.1f} times as long; same answers: {same}")


if __name__ == "__main__":
    main()
