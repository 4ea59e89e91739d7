"""Time a decision over a large policy, against going through all its rules one after the other.

    python benchmarks/policy.py [--people 1000] [--models 10000] [--decisions 20000]

The policy has that many people and services, each in two roles; every tenth
service lists all models by name, as a team with a model for each listed company
does. The naive way is a linear scan of roles, rules and patterns, as policies
of this shape are usually written down: the vault's own before it was indexed.
Both answer the same questions, in one run, and must agree. Prints the first
decision about each principal, and those after it.

Then what it costs once, when a policy of so many people is read: parsing its
document, in which five services list all models, and, as a part of that, making
the sets and indexes that decisions use. Reading it again in the same process is
cheaper, as its keys were looked at.
"""

import argparse
import hashlib
import random
import statistics
import time
from collections.abc import Callable
from dataclasses import replace

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from vault.core import ed25519, policy, policy_document
from vault.core.names import Digest, Environment, Model, Principal
from vault.core.policy import PERSON, SERVICE, EnvironmentRule, Key, Member, Policy, Recipient, Rule
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


def document(found: View) -> Policy:
    """Make a policy that can be signed of a view: everybody has a key, and few list all models."""
    listing = 0
    members = {}
    for name, member in found.members.items():
        public = Ed25519PrivateKey.generate().public_key().public_bytes_raw()
        listing += member.models is not None and len(member.models) > 1
        models = member.models if listing <= 5 or member.models is None else member.models[:1]
        key = Key(public, Digest(ed25519.key_id(public)), revoked=False, until=None)
        age = Recipient("x25519", Digest(hashlib.sha256(public).hexdigest()))
        members[name] = replace(member, models=models, keys=(key,), recipients=(age,))
    digest = Digest("ab" * 32)
    return Policy(
        vault=digest,
        root_version=1,
        root_digest=digest,
        era=0,
        version=1,
        prev=None,
        created="2026-11-23T05:00:00Z",
        expires=None,
        members=members,
        roles=found.roles,
        environments=found.environments,
        recovery=(),
    )


def read(found: View) -> None:
    """Print what reading a policy costs, and what the indexes are of that."""
    made = document(found)
    data = policy_document.encode(made)

    def parse(_: int) -> Policy:
        return policy_document.parse(data, "benchmark")

    def index(_: int) -> object:
        members = {name: replace(member) for name, member in made.members.items()}
        return replace(made, members=members)

    first = once(parse)
    again, indexes = (statistics.median(once(action) for _ in range(5)) for action in (parse, index))
    print(f"a policy of {len(data):,} bytes: read in {first:.0f} ms, again in {again:.0f} ms")
    print(f"of that, making its people anew with the sets and indexes of decisions: {indexes:.1f} ms")


def once(action: Callable[[int], object]) -> float:
    """Give the milliseconds of the processor that an action takes."""
    start = time.process_time()
    action(0)
    return 1e3 * (time.process_time() - start)


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
    read(found)


if __name__ == "__main__":
    main()
