"""Time what a load verifies: root, policy, channel record, two approvals and manifest, on the local store.

    python benchmarks/verification.py [--people 6 1000] [--runs 300] [--dir /var/tmp]

A vault is made in which prod asks for two approvals, and a model is promoted
there. A *cold* process has nothing in memory, as a command that begins; its
files are in the page cache and its imports are done before the clock runs. It
first reads root and policy, which grows with the number of people and is done
once, and is told apart; then it verifies one load, which also runs this code
for the first time, one of another model, whose documents are as new to it, and
the first one again (*warm*), as a service does. The *first load ever* is that of a client which
remembers nothing yet: it writes and syncs its memory.
The processor's time is shown beside, for busy machines. Times of the first two
are medians of several processes. Nothing is decrypted.
"""

import argparse
import hashlib
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

import vault
from vault.actions import access_rotate, drafting, objects, promote, publish, resolving
from vault.actions.opening import gather, locate, open_session
from vault.actions.publish import BytesSource, Contents, PackageFile
from vault.actions.session import Session
from vault.core import ed25519, envelope, layout, names, policy, records
from vault.core.allowance import Allowance
from vault.core.names import Digest, Environment, Principal
from vault.core.policy import ApprovalRule, Key, Member, Policy, Recipient, Rule
from vault.core.records import Approval
from vault.ports import Source

PROD = Environment("prod")
MANAGER = Principal("release-manager")
PROCESSES = 7
CHURN = names.reference("churn@prod")
OTHER = names.reference("other@prod")
MANAGERS = tuple(Ed25519PrivateKey.generate() for _ in range(2))


class Opened:
    """Bytes that a package takes."""

    def __enter__(self) -> Source:
        """Open them."""
        return BytesSource(b'{"weights":[1,2,3]}')

    def __exit__(self, *_: object) -> None:
        """Close them."""


def opened(folder: Path, environment: Environment = PROD) -> Session:
    """Open the vault as its owner."""
    os.environ.update(MVAULT_CONFIG_DIR=f"{folder}/config", MVAULT_STATE_DIR=f"{folder}/state")
    settings = gather({"vault": str(folder / "vault")})
    return open_session(settings, locate(settings), allow=Allowance(), environment=environment)


def build(folder: Path, people: int) -> None:
    """Make a vault of so many people, two of whom approve what its owner publishes and promotes."""
    os.environ.update(MVAULT_CONFIG_DIR=f"{folder}/config", MVAULT_STATE_DIR=f"{folder}/state")
    vault.init(folder / "vault", no_passphrase=True, recipient="x25519")
    session = opened(folder, Environment("dev"))
    keys = [*MANAGERS, *(Ed25519PrivateKey.generate() for _ in range(people - len(MANAGERS)))]
    base = drafting.base_of(session)
    access_rotate.apply(session, drafting.next_policy(session, base, team(base.policy, keys)))
    for name in ("churn", "other"):
        release(session, name)


def release(session: Session, name: str) -> None:
    """Publish a model, have it approved by two people, and promote it."""
    model, version = names.model(name), names.version("1")
    file = PackageFile(names.path("model.json"), "model", "json", Opened)
    publish.publish(session, model, version, Contents([file], {}))
    found = session.trust()
    stored = envelope.parse(
        session.store.read(layout.manifest(model, version), limit=1 << 20),
        kind="manifest",
        subject="manifest",
    )
    for key in MANAGERS:
        approval = Approval(
            found.root.vault, found.policy_id, model, version, stored.digest, PROD, 0, session.now()
        )
        signer = [(key_id(key), key.sign)]
        sealed = envelope.sign(records.APPROVAL, records.encode_approval(approval), signer)
        data = envelope.serialise(sealed)
        objects.create(session.store, layout.approval(model, version, PROD, envelope.digest(data)), data)
    promote.promote(session, names.reference(f"{name}:1"), PROD, names.MAIN)


def team(before: Policy, keys: list[Ed25519PrivateKey]) -> Policy:
    """Give everybody a key and a role, and let prod ask for two approvals."""
    members = dict(before.members)
    for number, key in enumerate(keys):
        name = Principal(f"person-{number}")
        digest = Digest(hashlib.sha256(f"recipient {number}".encode()).hexdigest())
        members[name] = Member(
            name,
            policy.PERSON,
            (),
            (MANAGER,),
            None,
            (Key(key.public_key().public_bytes_raw(), key_id(key), revoked=False, until=None),),
            (Recipient("x25519", digest),),
        )
    rules = (
        Rule(("load",), (PROD,), None, None, None, own=False),
        Rule(("approve",), (PROD,), None, None, None, own=False),
    )
    prod = before.environments[PROD]
    asked = replace(prod.require, approvals=ApprovalRule(MANAGER, 2, ("publisher",)))
    return replace(
        before,
        members=members,
        roles={**before.roles, MANAGER: rules},
        environments={**before.environments, PROD: replace(prod, require=asked)},
    )


def key_id(key: Ed25519PrivateKey) -> Digest:
    """Give a key's id."""
    return Digest(ed25519.key_id(key.public_key().public_bytes_raw()))


def timed(action: Callable[[], object]) -> tuple[float, float]:
    """Give the milliseconds of an action, and those of the processor."""
    wall, cpu = time.perf_counter(), time.process_time()
    action()
    return 1e3 * (time.perf_counter() - wall), 1e3 * (time.process_time() - cpu)


def child(folder: Path, runs: int) -> None:
    """Verify as a process that begins, and then again and again; print pairs of milliseconds."""
    session = opened(folder)
    _ = session.identity
    print(*timed(session.trust))
    print(*timed(lambda: resolving.find(session, CHURN, "load")))
    print(*timed(lambda: resolving.find(session, OTHER, "load")))
    again = [timed(lambda: resolving.find(session, CHURN, "load")) for _ in range(runs)]
    print(*(statistics.median(times) for times in zip(*again, strict=True)))


def measure(people: int, runs: int, place: Path | None) -> None:
    """Build, run processes, print three lines."""
    with tempfile.TemporaryDirectory(dir=place) as name:
        folder = Path(name)
        build(folder, people)
        size = max(entry.stat().st_size for entry in (folder / "vault" / layout.POLICIES).iterdir())
        rows = []
        for number in range(PROCESSES):
            state = folder / "state"
            state.rename(folder / f"state-{number}")  # a client that remembers nothing
            command = [sys.executable, __file__, "--child", name, "--runs", str(runs)]
            told = [
                subprocess.run(command, check=True, capture_output=True, text=True).stdout.splitlines()
                for _ in ("begins to remember", "knows it all")
            ]
            lines = [told[0][0], told[0][1], *told[1][1:]]
            rows.append([tuple(map(float, line.split())) for line in lines])
    print(f"{people:,} people; the policy's envelope has {size:,} bytes")
    labels = ("root and policy, once", "first load ever", "a load, cold", "another model's", "a load, warm")
    for label, times in zip(labels, zip(*rows, strict=True), strict=True):
        wall, cpu = (statistics.median(column) for column in zip(*times, strict=True))
        print(f"{label:>24}{wall:10.2f} ms{cpu:10.2f} ms of the processor", flush=True)


def main() -> None:
    """Run and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--people", type=int, nargs="+", default=[6, 1_000])
    parser.add_argument("--runs", type=int, default=300)
    parser.add_argument("--dir", type=Path, default=None, help="a folder on the disk to be measured")
    parser.add_argument("--child", type=Path, default=None, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child is not None:
        child(options.child, options.runs)
        return
    for people in options.people:
        measure(people, options.runs, options.dir)


if __name__ == "__main__":
    main()
