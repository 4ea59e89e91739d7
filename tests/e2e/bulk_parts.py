"""A desk with some models in a folder of its own: what tests of many models at once share.

python -m tests.e2e.bulk_parts COUNT VERB ARGUMENTS…    do something, and be killed at the COUNT-th object
"""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import vault
from tests.variables import variables
from vault.actions.bulk_results import Batch
from vault.ports import Sink
from vault.storage.local import LocalStore
from vault.vault import Vault

REPOSITORY: Final = Path(__file__).parents[2]
SYMBOLS: Final = ("EBL", "GBIME", "NABIL", "NICA", "NLIC", "SCB")
POLICY: Final = """
roles:
  owner:
    allow:
      - {actions: [publish], env: [dev]}
      - {actions: [load, pull, approve, withdraw, rotate, adopt], env: [dev, staging, prod]}
      - {actions: [promote], from: dev, to: staging}
      - {actions: [promote], from: staging, to: prod}
      - {actions: [audit.read, log]}
environments:
  dev: {formats: [skops, onnx, json, npz]}
  staging: {formats: [skops, onnx, json, npz]}
  prod: {formats: [skops, onnx, json, npz], require: {log: unwitnessed}}
principals:
  owner: {kind: person, roles: [owner]}
"""


@dataclass(frozen=True)
class Desk:
    """A folder with a vault, and files to push."""

    folder: Path

    @property
    def store(self) -> Path:
        return self.folder / "v"

    def open(self, **options: Any) -> Vault:
        return vault.open(self.store, **options)

    def write(self, *symbols: str, weight: int = 1) -> dict[str, Path]:
        """Write a model file for each symbol; give them by model name."""
        found = {}
        for symbol in symbols:
            path = self.folder / "files" / symbol / "model.json"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(json.dumps({"symbol": symbol, "weight": weight}))
            found[f"nepse/{symbol}"] = path
        return found

    def table(self, *symbols: str, weight: int = 1) -> Path:
        """Write a table of what to push."""
        lines = ["model,path,metric.hit_rate,note"]
        lines += [f"{name},{path},0.5,first" for name, path in self.write(*symbols, weight=weight).items()]
        table = self.folder / "models.csv"
        table.write_text("\n".join(lines) + "\n")
        return table

    def push(self, *symbols: str, rounds: int = 1) -> Vault:
        """Publish so many versions of each."""
        opened = self.open()
        for weight in range(1, rounds + 1):
            opened.push_all(self.table(*symbols, weight=weight)).raise_if_failed()
        return opened

    def release(self, *symbols: str, rounds: int = 1) -> Vault:
        """Publish so many versions of each, each of which went to prod."""
        opened = self.open()
        for weight in range(1, rounds + 1):
            opened.push_all(self.table(*symbols, weight=weight)).raise_if_failed()
            opened.promote_all("nepse/*", env="staging").raise_if_failed()
            opened.promote_all("nepse/*@staging", env="prod").raise_if_failed()
        return opened

    def in_use(self, env: str = "prod") -> dict[str, str]:
        """Give what an environment uses, by symbol."""
        found = {row.model.rpartition("/")[2]: row.channels.get(env) for row in self.open().list()}
        return {symbol: version for symbol, version in found.items() if version is not None}

    def damage(self, model: str, version: int = 1) -> None:
        """Change a letter of what is signed in a version's manifest."""
        path = self.store / "models" / model / "@" / str(version) / "manifest.json"
        data = bytearray(path.read_bytes())
        place = data.index(b'"payload"') + 80  # well inside the base64
        data[place] = ord("B") if data[place] == ord("A") else ord("A")
        path.write_bytes(data)

    def killed(self, count: int, verb: str, *arguments: str) -> bool:
        """Do something in a process that is killed at the `count`-th object; tell whether it was."""
        done = subprocess.run(
            [sys.executable, "-m", "tests.e2e.bulk_parts", str(count), str(self.store), verb, *arguments],
            cwd=REPOSITORY,
            env={**os.environ, "PYTHONPATH": str(REPOSITORY)},
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        assert done.returncode in (0, -signal.SIGKILL), done.stderr
        return done.returncode != 0


@contextmanager
def desk(folder: Path) -> Iterator[Desk]:
    """Found a vault for one owner, with dev, staging and a prod that counts only what is in its log."""
    places = {f"MVAULT_{name}_DIR": str(folder / name.lower()) for name in ("CONFIG", "STATE")}
    with variables(places):
        policy = folder / "policy.yaml"
        policy.write_text(POLICY)
        vault.init(folder / "v", policy=policy, no_passphrase=True, recipient="x25519")
        yield Desk(folder)


def states(batch: Batch[Any]) -> dict[str, str]:
    """Give what became of each model, by symbol: its state, or the code of its error."""
    found = {entry.model.rpartition("/")[2]: entry.state for entry in batch.done}
    for failed in batch.failed:
        found[failed.model.rpartition("/")[2]] = getattr(failed.error, "code", "usage")
    return found


def of_all(symbols: Sequence[str], state: str) -> Mapping[str, str]:
    return dict.fromkeys(symbols, state)


class _Deadly:
    """Counts the objects that are created, and ends the process at one of them."""

    def __init__(self, count: int) -> None:
        self.left = count

    def __call__(self, store: LocalStore, name: str, *, size: int | None = None) -> Any:
        @contextmanager
        def create() -> Iterator[Sink]:
            self.left -= 1
            if self.left <= 0:
                os.kill(os.getpid(), signal.SIGKILL)
            with _CREATE(store, name, size=size) as sink:
                yield sink

        return create()


_CREATE: Final = LocalStore.create


def main(count: str, location: str, verb: str, *arguments: str) -> None:
    """Open the vault and do something with it until death."""
    opened = vault.open(location)
    deadly = _Deadly(int(count))
    LocalStore.create = lambda self, name, *, size=None: deadly(self, name, size=size)  # type: ignore[method-assign]
    if verb == "push":
        opened.push_all(arguments[0]).raise_if_failed()
    elif verb == "promote":
        opened.promote_all(arguments[0], env=arguments[1]).raise_if_failed()
    elif verb == "rollback":
        opened.rollback_all(arguments[0], env=arguments[1]).raise_if_failed()


if __name__ == "__main__":
    main(*sys.argv[1:])
