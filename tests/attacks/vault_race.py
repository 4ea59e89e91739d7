"""Let several processes use one vault at once.

    python -m tests.attacks.vault_race VERB FOLDER [ROUNDS]    # VERBS below

Prints one JSON object. Children are forked from a process without threads, wait for each other, and write
what became of them into files of their own.
"""

import json
import os
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

from tests.attacks.vault_crash import client, on_disk
from tests.attacks.vault_mixing import check, outcome
from tests.builders import PROD, Built, new_identity, reference, solo, team
from vault import memory
from vault.actions import applying, approving, draft_files, drafting, withdrawing
from vault.actions.draft_files import Draft
from vault.core import envelope, records
from vault.core.names import Digest, Principal
from vault.core.policy import PERSON, Key, Member, Policy
from vault.errors import Conflict, Refused, VaultError

WRITERS: Final = 8
LOADERS: Final = 3
ROUNDS: Final = 12
SECONDS: Final = 60
RIVALS: Final = 4
APPLIED = 5  # rounds of policies, or as many as the command says
IN_PROD: Final = "channels/prod/main/churn/@/"


def content(number: int) -> dict[str, bytes]:
    """Give the files of one writer."""
    return {"model.json": b'{"writer":%d}' % number}


def together(folder: Path, count: int, work: Callable[[int], Any]) -> list[Any]:
    """Run `work` in `count` processes at once; give their results in order, or the code of an error."""
    reading, writing = os.pipe()
    children = []
    for index in range(count):
        child = os.fork()
        if child == 0:
            os.close(writing)
            os.read(reading, 1)  # ends when the parent closes the pipe
            try:
                result: Any = {"result": work(index)}
            except VaultError as error:
                result = {"error": type(error).__name__, "code": error.code, "message": error.message}
            except BaseException as error:
                result = {"error": repr(error), "code": "escaped"}
            (folder / f"result-{index}").write_text(json.dumps(result))
            os._exit(0)
        children.append(child)
    os.close(reading)
    os.close(writing)
    for child in children:
        os.waitpid(child, 0)
    return [json.loads((folder / f"result-{index}").read_text()) for index in range(count)]


def push(folder: Path) -> dict[str, Any]:
    """Publish without naming a version, from all writers at once."""
    built = solo(seed="race")
    built.publish(content(99))
    place = folder / "vault"
    on_disk(built, place, "")

    def work(index: int) -> str:
        return str(client(built, place, f" writer {index}").publish(content(index)))

    results = together(folder, WRITERS, work)
    reader = client(built, place, " reader")
    wrong = []
    for index, found in enumerate(results):
        if "result" in found and outcome(reader, found["result"]) != content(index):
            wrong.append(f"{found['result']} does not hold what writer {index} published")
    versions = sorted(
        path.name for path in (place / "models/churn/@").iterdir() if (path / "manifest.json").exists()
    )
    report = check(reader)
    wrong += [entry.message for entry in report.findings if entry.level == "bad"]
    # Whoever lost tries again until they have won.
    for index, found in enumerate(results):
        if "error" in found:
            again = client(built, place, f" writer {index} again").publish(content(index))
            if outcome(reader, str(again)) != content(index):
                wrong.append(f"{again} does not hold what writer {index} published")
    return {"results": results, "versions": versions, "wrong": wrong, "whole": check(reader).whole}


def promote(folder: Path) -> dict[str, Any]:
    """Promote versions of their own to one channel, from all writers at once, a few times each."""
    built = solo(seed="race")
    for index in range(WRITERS):
        built.publish(content(index))
    place = folder / "vault"
    on_disk(built, place, "")

    def work(index: int) -> list[Any]:
        mine = client(built, place, f" writer {index}")
        found: list[Any] = []
        for _ in range(3):
            try:
                found.append(mine.promote(f"churn:{index + 1}").seq)
            except Conflict as error:
                found.append(error.code)
        return found

    results = together(folder, WRITERS, work)
    chain: list[dict[str, Any]] = []
    for path in sorted((place / IN_PROD).iterdir()):
        sealed = envelope.parse(path.read_bytes(), kind=records.CHANNEL, subject=path.name)
        record = records.parse_channel(sealed.payload, path.name)
        chain.append({"seq": record.seq, "digest": sealed.digest, "prev": record.prev})
        last = int(record.version or 0) - 1
    reader = client(built, place, " reader")
    loads = outcome(reader, "churn@prod") == content(last)
    return {"results": results, "chain": chain, "whole": check(reader).whole, "loads": loads}


def load(folder: Path) -> dict[str, Any]:
    """Load all the time, as one client in several processes, while one promotes and publishes."""
    built = solo(seed="race")
    built.promote(built.publish(content(1)))
    built.publish(content(2))
    place = folder / "vault"
    on_disk(built, place, "")
    done = folder / "done"

    def remembering(seed: str) -> Built:
        found = client(built, place, seed)
        found.memories["owner"] = memory.ClientMemory(built.vault, folder / "state")
        return found

    def work(index: int) -> Any:
        mine = remembering(f" process {index}")
        if index == 0:
            try:
                for turn in range(ROUNDS):
                    mine.promote(f"churn:{1 + turn % 2}")
                    mine.publish(content(1 + turn % 2))
            finally:
                done.touch()
            return ROUNDS
        loads = 0
        until = time.monotonic() + SECONDS
        while not done.exists() and time.monotonic() < until:
            for ref in ("churn@prod", "churn"):
                if mine.read(ref) not in (content(1), content(2)):
                    raise AssertionError("bytes that nobody published")
                loads += 1
        return loads

    return {"results": together(folder, 1 + LOADERS, work), "whole": check(remembering(" reader")).whole}


def withdraw(folder: Path) -> dict[str, Any]:
    """Withdraw a version that two slots use, while others promote to the same slots, that version too."""
    built = solo(seed="race")
    for index in range(WRITERS):
        built.publish(content(index))
    for slot in ("main", "b"):
        built.promote("churn:1", slot=slot)
    place = folder / "vault"
    on_disk(built, place, "")

    def work(index: int) -> list[Any]:
        mine = client(built, place, f" writer {index}")
        found: list[Any] = []
        for turn in range(3):
            try:
                if index < 2:  # these two do it again until it is done
                    found.append(withdrawn(mine))
                else:
                    ref = "churn:1" if turn == 0 else f"churn:{index + 1}"
                    found.append(mine.promote(ref, slot=("main", "b")[index % 2]).seq)
            except Conflict as error:
                found.append(error.code)
        return found

    results = together(folder, WRITERS, work)
    reader = client(built, place, " reader")
    withdrawn(reader)
    refs = ("churn:1", "churn@prod", "churn@prod/b")
    gone = [outcome(reader, ref, env="prod") for ref in refs]
    seen = [found if isinstance(found, str) else found != content(0) for found in gone]
    numbers = {
        slot: [int(path.stem) for path in (place / f"channels/prod/{slot}/churn/@").iterdir()]
        for slot in ("main", "b")
    }
    return {"results": results, "seen": seen, "numbers": numbers, "whole": check(reader).whole}


def withdrawn(built: Built) -> bool:
    """Withdraw churn:1; tell whether there was anything to do."""
    meant = reference("churn:1")
    return not withdrawing.withdraw(built.session(), meant, PROD).already


def approve(folder: Path) -> dict[str, Any]:
    """Approve one version, by everybody at once, while one tries to promote it."""
    built = team(seed="race")
    built.publish(content(1), who="dora")
    place = folder / "vault"
    on_disk(built, place, "")
    people = ("ann", "bob", "cat", "rex")

    def work(index: int) -> Any:
        mine = client(built, place, f" writer {index}")
        session = mine.session(people[index])
        answers: list[Any] = [
            approving.approve(session, reference("churn:1"), PROD).already for _ in range(2)
        ]
        until = time.monotonic() + SECONDS
        while index == 3 and time.monotonic() < until:
            try:
                answers.append(mine.promote("churn:1", who="rex").seq)
                break
            except Refused as refusal:
                if refusal.code != "approvals-missing":
                    raise
        return answers

    results = together(folder, len(people), work)
    votes = len(list((place / "models/churn/@/1/approvals/prod").iterdir()))
    reader = client(built, place, " reader")
    loads = outcome(reader, "churn@prod", who="server", env="prod") == content(1)
    return {"results": results, "votes": votes, "loads": loads, "whole": check(reader, data=False).whole}


def apply(folder: Path) -> dict[str, Any]:
    """Apply drafts that follow the same policy, under two numbers, at once; again and again."""
    built = solo(seed="race")
    place = folder / "vault"
    on_disk(built, place, "")
    wrong: list[str] = []
    told = 0
    for turn in range(APPLIED):
        mine = client(built, place, f" round {turn}")
        before = mine.policy
        drafts = [_after(mine, before, turn, index) for index in range(RIVALS)]

        def work(index: int, turn: int = turn, drafts: list[Draft] = drafts) -> int | None:
            rival = client(built, place, f" rival {turn}/{index}")
            return applying.apply(rival.session(), [drafts[index]]).policy

        results = together(folder, RIVALS, work)
        winners = [index for index, found in enumerate(results) if "result" in found]
        told += sum(found.get("code") == "conflict" for found in results)
        others = {found["code"] for found in results if "error" in found} - {"conflict"}
        now = client(built, place, f" reader {turn}").policy_id
        if others or [drafts[index].digest for index in winners] != [now.digest]:
            wrong.append(f"round {turn}: {results}, and policy {now.version} is in force")
    report = check(client(built, place, " reader"))
    return {"wrong": wrong, "told": told, "whole": report.whole, "version": now.version}


def _after(built: Built, before: Policy, turn: int, index: int) -> Draft:
    """Draft and sign a policy with somebody new; every other one leaves out a number, as if it were taken."""
    session = built.session()
    base = session.trust()
    name = Principal(f"p{turn}-{index}")
    keys = new_identity(str(name), seed="race")
    member = Member(
        name,
        PERSON,
        (),
        (),
        None,
        (Key(keys.public, Digest(keys.key_id), revoked=False, until=None),),
        (),
    )
    changed = replace(before, members={**before.members, name: member})
    document = drafting.next_policy(session, base, changed).document
    if not isinstance(document, Policy):
        raise TypeError("It is a policy.")
    made = draft_files.of_policy(replace(document, version=document.version + index % 2))
    return draft_files.with_signature(made, Digest(built.owner.key_id), built.owner.sign)


def govern(folder: Path) -> dict[str, Any]:
    """Promote and load without end while policies are applied."""
    built = solo(seed="race")
    for index in range(3):
        built.publish(content(index))
    built.promote("churn:3")
    place = folder / "vault"
    on_disk(built, place, "")
    done = folder / "done"

    def work(index: int) -> list[Any]:
        mine = client(built, place, f" worker {index}")
        found: list[Any] = []
        until = time.monotonic() + SECONDS
        try:
            for turn in range(APPLIED):
                if index == 0:
                    draft = _after(mine, mine.policy, turn, 0)
                    found.append(applying.apply(mine.session(), [draft]).policy)
            while index and not done.exists() and time.monotonic() < until:
                if index == 1:
                    found.append(mine.promote(f"churn:{1 + len(found) % 2}").seq)
                else:
                    found.append(mine.read("churn@prod") in (content(0), content(1), content(2)))
        finally:
            if index == 0:
                done.touch()
        return found

    results = together(folder, 4, work)
    return {"results": results, "whole": check(client(built, place, " reader")).whole}


VERBS: Final = {
    "push": push,
    "promote": promote,
    "load": load,
    "withdraw": withdraw,
    "approve": approve,
    "apply": apply,
    "govern": govern,
}

if __name__ == "__main__":
    APPLIED = int(sys.argv[3]) if len(sys.argv) > 3 else APPLIED
    print(json.dumps(VERBS[sys.argv[1]](Path(sys.argv[2]))))
