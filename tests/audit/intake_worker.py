"""A process that appends to an intake and prints each record's id once it is acknowledged."""

import secrets
import sys
import threading
from pathlib import Path

from vault.audit.intake import Entry, Intake
from vault.core.names import Digest, Principal

VAULT = Digest("5" * 64)
WHO = Principal("serving")


def opened(folder: Path, *, durable: bool = True) -> Intake:
    """Give the intake of the tests' vault."""
    return Intake(folder, vault=VAULT, principal=WHO, random=secrets.token_bytes, durable=durable)


def entry(text: str = "{}") -> Entry:
    """Make an entry with a new id."""
    return Entry(secrets.token_bytes(16), text.encode())


def main() -> None:
    """Append until there are enough, or until killed."""
    folder, threads, most = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
    taken = opened(folder)

    def run() -> None:
        for _ in range(most):
            made = entry()
            taken.append([made])
            sys.stdout.write(f"{made.record_id.hex()}\n")
            sys.stdout.flush()

    running = [threading.Thread(target=run) for _ in range(threads)]
    for thread in running:
        thread.start()
    for thread in running:
        thread.join()
    taken.close()


if __name__ == "__main__":
    main()
