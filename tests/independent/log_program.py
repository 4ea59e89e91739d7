"""Build the Go program of this folder, and let it and the vault judge the same log."""

import json
import subprocess
import tempfile
from base64 import b64encode
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests import oracles
from tests.builders import Built
from tests.log_vaults import PROD_LOG, log_key, log_objects, witness_name
from vault.actions import reviewing_verifying
from vault.actions.reviewing_verifying import Verification
from vault.audit.proving import Prover
from vault.core import log_keys, log_names, log_proof, memory_format, note
from vault.core.log_chain import Head
from vault.core.memory_format import Mark, Memory
from vault.errors import Refused

SOURCE = Path(__file__).parent
MODULE = Path("/usr/share/gocode/src/golang.org/x/mod")  # where Debian puts golang-golang-x-mod-dev
BUILD_SECONDS = 300


def build(folder: Path) -> Path:
    """Build the program once into `folder`, without any network; several processes may do so at once."""
    go = oracles.program("go", "golang-go")
    oracles.debian_folder(MODULE, "golang-golang-x-mod-dev")
    made = folder / "logcheck"
    if not made.exists():
        with tempfile.TemporaryDirectory(dir=folder) as scratch:
            settings = {
                "GOCACHE": str(folder / "go-cache"), "GOPATH": f"{scratch}/go", "GOFLAGS": "-mod=mod",
                "GOPROXY": "off", "GOSUMDB": "off", "GOTOOLCHAIN": "local", "GO111MODULE": "on",
                "CGO_ENABLED": "0", "HOME": scratch, "PATH": "/usr/bin:/bin",
            }  # fmt: skip
            fresh = Path(scratch) / "logcheck"
            ended = subprocess.run(
                [go, "build", "-o", str(fresh), "."], cwd=SOURCE, env=settings,
                capture_output=True, text=True, check=False, timeout=BUILD_SECONDS,
            )  # fmt: skip
            if ended.returncode:
                oracles.give_up(f"the Go program does not build: {ended.stderr}")
            with suppress(OSError):
                fresh.rename(made)
    return made


@dataclass(frozen=True)
class Verdict:
    """What a verifier says of a log."""

    accepted: bool
    reason: str


@dataclass
class Judged:
    """A vault's log of prod, and what both verifiers are told beside the files.

    `pins` are trees that were seen: size → root. `need` of `witnesses` must have cosigned the newest
    checkpoint. `keys` are of those who may write.
    """

    built: Built
    writers: Sequence[str] = ("owner",)
    pins: Mapping[int, bytes] = field(default_factory=dict)
    witnesses: Sequence[str] = ()
    need: int = 0

    # --- the vault's own verifier ---

    def ours(self) -> Verdict:
        """Judge by `audit verify`, by a client that remembers the pins, and by the last entry's proof."""
        session = self.built.session(None)
        session.memory = _Remembering(self.built, self.pins)
        told: Verification = reviewing_verifying.verify(session, PROD_LOG)
        if told.status:
            return Verdict(False, " ".join(entry.message for entry in told.findings))
        try:
            self.check_last()
        except Refused as refusal:
            return Verdict(False, refusal.message)
        return Verdict(True, told.because)

    def check_last(self) -> None:
        """Prove the last entry at the newest checkpoint, as a load that needs witnesses does."""
        prover = self.prover()
        index = prover.newest.size - 1
        entry = prover.entry(index)
        proof = prover.witnessed(index, entry, self.need) if self.need else prover.inclusion(index, entry)
        log_proof.check(proof, self.built.policy, PROD_LOG, witnesses=self.need)

    def prover(self) -> Prover:
        return Prover(self.built.store, PROD_LOG, self.built.policy)

    # --- the Go program ---

    def theirs(self, program: Path, folder: Path, *flags: str) -> Verdict:
        """Judge by the Go program, from files and keys alone."""
        place = self.write(folder)
        pins = [f"-pin={size}:{root.hex()}" for size, root in self.pins.items()]
        witnesses = [f"-witness={self.witness_key(who)}" for who in self.witnesses]
        ended = subprocess.run(
            [program, *pins, *witnesses, f"-need={self.need}", *flags, place, *map(self.key, self.writers)],
            capture_output=True, text=True, check=False, timeout=120,
        )  # fmt: skip
        word, _, reason = ended.stdout.strip().partition(": ")
        assert (ended.returncode, word) in {(0, "accept"), (1, "refuse")}, ended.stderr or ended.stdout
        return Verdict(word == "accept", reason)

    def key(self, who: str) -> str:
        """Write a writer's key as other programs take it."""
        origin = log_names.origin(self.built.vault, PROD_LOG)
        return note.verifier_key(origin, note.ED25519, log_key(self.built, who))

    def witness_key(self, who: str) -> str:
        """Write a witness's key as other programs take it."""
        public = log_key(self.built, who, use=log_keys.WITNESS)
        return note.verifier_key(witness_name(self.built, who), note.COSIGNATURE, public)

    def write(self, folder: Path) -> Path:
        """Write the log into a fresh folder, as it would lie in a vault."""
        place = Path(tempfile.mkdtemp(dir=folder))
        for name, data in log_objects(self.built).items():
            path = place / name.removeprefix(PROD_LOG.folder)
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(data)
        return place

    # --- proofs that the vault makes, for the Go program to check ---

    def proof(self, folder: Path, index: int) -> str:
        """Write a proof of one entry to a file and give the flag that has it checked."""
        prover = self.prover()
        made = prover.inclusion(index, prover.entry(index))
        path = folder / f"proof-{self.prover().newest.size}-{index}"
        path.write_bytes(made.encode())
        return f"-proof={path}"

    def consistency(self, folder: Path, old: Head, new: Head) -> str:
        """Write a proof that one head extends another to a file and give the flag that has it checked."""
        hashes = self.prover().consistency(old, new)
        path = folder / f"consistency-{old.size}-{new.size}"
        path.write_text(json.dumps(consistency(old, new, hashes)))
        return f"-consistency={path}"


def consistency(old: Head, new: Head, hashes: Sequence[bytes]) -> dict[str, Any]:
    """Describe a consistency proof as the Go program reads it."""

    def head(found: Head) -> dict[str, Any]:
        return {"Size": found.size, "Root": b64encode(found.root).decode()}

    return {"Old": head(old), "New": head(new), "Hashes": [b64encode(found).decode() for found in hashes]}


class _Remembering:
    """A client's memory that holds nothing but trees of the log."""

    def __init__(self, built: Built, pins: Mapping[int, bytes]) -> None:
        newest = max(pins, default=None)
        marks = {} if newest is None else {str(PROD_LOG): Mark(1, newest, pins[newest].hex())}
        self.known = Memory(built.vault, logs=marks)

    def load(self) -> Memory:
        return self.known

    def advance(self, seen: Memory) -> None:
        self.known = memory_format.merge(self.known, seen)
