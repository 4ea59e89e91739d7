"""Let writers of one log race, and kill them, in processes of their own.

    python -m tests.attacks.log_crash FOLDER ROUNDS SEED

Three writers append to the log of prod, each as fast as it can, and are killed with SIGKILL after a moment;
what a call had acknowledged is in a file of its own by then. After each round the log must hold all of it,
where it was said to be, and extend every checkpoint that anybody was given. Prints one JSON object.
"""

import json
import os
import random
import signal
import sys
import time
from pathlib import Path
from typing import Final

from tests.logs import PROD_LOG, certificate, everything, log_key, policy, reader, writer
from vault.audit import tiles
from vault.audit.reading import LogReader
from vault.audit.writing import LogWriter
from vault.core.log_chain import Head
from vault.storage.local import LocalStore

WRITERS: Final = ("ann", "bob", "ann")  # two of them share a key


def append(folder: Path, place: int, turn: int, seed: int) -> None:
    """Append until killed, telling each acknowledgement in one write."""
    who = WRITERS[place]
    log = LogWriter(LocalStore(folder / "vault"), PROD_LOG, policy(), log_key(who), certificate(who))
    draw = random.Random(seed)
    told = os.open(folder / f"told-{turn}-{place}", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    count = 0
    while True:
        entries = [f"{turn}/{place}/{count + at}".encode() for at in range(draw.choice((1, 1, 2, 30, 300)))]
        count += len(entries)
        done = log.append(entries, derive=draw.random() < 0.7)
        line = json.dumps([done.first, done.head.size, done.head.root.hex(), [e.decode() for e in entries]])
        os.write(told, line.encode() + b"\n")


def round_of(folder: Path, turn: int, draw: random.Random) -> None:
    """Start the writers, wait a moment, kill each."""
    children = []
    for place in range(len(WRITERS)):
        seed = draw.randrange(1 << 30)
        child = os.fork()
        if not child:
            try:
                append(folder, place, turn, seed)
            finally:
                os._exit(1)
        children.append(child)
    for child in children:
        time.sleep(draw.uniform(0.03, 0.25))
        os.kill(child, signal.SIGKILL)
    for child in children:
        _, status = os.waitpid(child, 0)
        assert os.WIFSIGNALED(status), "a writer ended by itself"


def acknowledged(folder: Path) -> list[tuple[int, Head, list[str]]]:
    """Read what every writer was told; the last line of one that was killed may be cut."""
    found = []
    for path in sorted(folder.glob("told-*")):
        for line in path.read_text().split("\n")[:-1]:
            first, size, root, entries = json.loads(line)
            found.append((first, Head(0, size, bytes.fromhex(root)), entries))
    return found


def main() -> None:
    """Run the rounds and say what came of them."""
    folder, rounds, seed = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
    draw = random.Random(seed)
    store = LocalStore(folder / "vault")
    wrong = []
    commits = 0
    for turn in range(rounds):
        round_of(folder, turn, draw)
        told = acknowledged(folder)
        state = LogReader(
            store, PROD_LOG, policy(), seen={head.size: head.root for _, head, _ in told}
        ).read()
        commits = state.commits
        wrong += [f"round {turn}: {entry.reason}" for entry in state.skipped]
        entries = everything(store)
        for first, _, given in told:
            if [entry.decode() for entry in entries[first : first + len(given)]] != given:
                wrong.append(f"round {turn}: entries at {first} are not those acknowledged")
        if len(set(entries)) != len(entries):
            wrong.append(f"round {turn}: an entry is there twice")
    last = writer(store)
    last.append([b"the end"])
    mended = last.derive()
    tiles.repair(reader(store))
    print(
        json.dumps(
            {
                "acknowledged": sum(len(given) for _, _, given in acknowledged(folder)),
                "calls": len(acknowledged(folder)),
                "commits": commits,
                "mended": mended,
                "unmended": list(tiles.repair(reader(store), write=False)),
                "wrong": wrong,
            }
        )
    )


if __name__ == "__main__":
    main()
