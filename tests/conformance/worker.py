"""A process that the conformance suite races against others, or kills.

python -m tests.conformance.worker race LOCATION WRITER NAME…    each name once, at a signal
python -m tests.conformance.worker write LOCATION WRITER         object after object, until killed
python -m tests.conformance.worker die LOCATION WRITER K PHASE   end by SIGKILL at step K, "before" or "after"
"""

import errno
import json
import os
import signal
import sys
from itertools import count

from tests.conformance.fault_folder import Folder, every
from tests.faults import FaultyStore, Operation
from vault.core.names import Environment
from vault.errors import VaultError
from vault.ports import Store
from vault.storage import local_draft
from vault.storage.apart import ApartStore
from vault.storage.opening import open_store

PIECES = 16
PIECE = 64 * 1024

NAMED_DRAFTS = "TEST_NAMED_DRAFTS"  # in the environment: do without unnamed files
# In the environment: let the folder be one of NFS, where every so-many-th answer to LINK is lost. In place
# of the number, "timeout" gives up every second one.
NFS = "TEST_NFS"

APART = "TEST_APART"  # in the environment: the location of a store for what is of prod alone


def content(name: str, writer: str) -> bytes:
    """Give the one content that `writer` stores under `name`: 1 MiB, and no two alike."""
    line = f"{writer} wrote {name}.\n".encode()
    return (line * (PIECES * PIECE // len(line) + 1))[: PIECES * PIECE]


def put(store: Store, name: str, writer: str) -> None:
    """Create `name` in several writes."""
    data = content(name, writer)
    with store.create(name, size=len(data)) as sink:
        for start in range(0, len(data), PIECE):
            sink.write(data[start : start + PIECE])


def race(store: Store, writer: str, names: list[str]) -> dict[str, str]:
    """Try every name; say of each whether it was "won", or the code of the error."""
    result = {}
    for name in names:
        try:
            put(store, name, writer)
        except VaultError as error:
            result[name] = error.code
        else:
            result[name] = "won"
    return result


def main() -> None:
    """Do what the arguments say."""
    what, location, writer, *rest = sys.argv[1:]
    if NAMED_DRAFTS in os.environ:
        local_draft._DESCRIPTORS = "/nowhere"  # type: ignore[misc]
    if NFS in os.environ:
        lost = os.environ[NFS]
        Folder(location, lost=every(2, errno.ETIMEDOUT) if lost == "timeout" else every(int(lost))).mount()
    store = open_store(location)
    if APART in os.environ:
        store = ApartStore(store, {Environment("prod"): open_store(os.environ[APART])})
    print("ready", flush=True)
    sys.stdin.readline()
    if what == "race":
        print(json.dumps(race(store, writer, rest)), flush=True)
    elif what == "write":
        for number in count():
            put(store, f"{writer}/deep/er/{number:06d}", writer)
    elif what == "die":

        def die(operation: Operation, phase: str) -> None:
            if operation.index == int(rest[0]) and phase == rest[1]:
                os.kill(os.getpid(), signal.SIGKILL)

        put(FaultyStore(store, on_operation=die), f"{writer}/deep/er/000000", writer)


if __name__ == "__main__":
    main()
