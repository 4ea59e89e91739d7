"""Print what verbs over many models take for each, beside the same verbs one model at a time.

    python benchmarks/many.py                       100 models in a folder, by 1, 4, 8 and 16 threads
    python benchmarks/many.py --models 300 --threads 8
    python benchmarks/many.py --wait 20             a store that takes 20 ms for each answer, as far ones do

Models of some hundred bytes, so that what is measured is the vault and not the models: each is pushed from a
file, promoted to staging and to a prod that counts only what is in its log, loaded, pulled, rolled back and
checked (one version alone; by many all versions and channels of a model). `alone` is a loop over the verb for
one model in the same process; beside each figure stands how many times less that is than `alone`. Then what
is about all of them at once. The load of the machine is printed, since figures mean little without it.
Nothing is asserted.
"""

import argparse
import os
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any
from unittest import mock

import vault
from tests.e2e.bulk_parts import POLICY
from vault.storage.local import LocalStore
from vault.vault import Vault

STEPS = ("create", "read", "list", "list_folders", "stat", "open")


@dataclass(frozen=True)
class Desk:
    """A vault and the files that are pushed into it."""

    folder: Path
    models: int

    @property
    def names(self) -> list[str]:
        """Name the models."""
        return [f"nepse/S{number:04d}" for number in range(self.models)]

    def found(self) -> Vault:
        """Make the vault."""
        (self.folder / "policy.yaml").write_text(POLICY)
        (self.folder / "files").mkdir()
        for name in self.names:
            self.file(name).write_text(f'{{"symbol": "{name}", "weights": [1, 2, 3]}}')
        return vault.init(self.folder / "v", policy=self.folder / "policy.yaml", no_passphrase=True)

    def file(self, name: str) -> Path:
        """Give the file of a model."""
        return self.folder / "files" / f"{name.rpartition('/')[2]}.json"


Verb = tuple[Callable[[Vault, str], object], Callable[[Vault, int | None], Any]]


def verbs(desk: Desk, out: Path) -> dict[str, Verb]:
    """Give each verb for one model, and for all of them."""
    rows = [{"name": name, "source": desk.file(name)} for name in desk.names]
    return {
        "push": (lambda v, name: v.push(name, desk.file(name)), lambda v, n: v.push_all(rows, threads=n)),
        "promote": (
            lambda v, name: v.promote(name, env="staging"),
            lambda v, n: v.promote_all("nepse/*", env="staging", threads=n),
        ),
        "promote, logged": (
            lambda v, name: v.promote(f"{name}@staging", env="prod"),
            lambda v, n: v.promote_all("nepse/*@staging", env="prod", threads=n),
        ),
        "promote, done already": (
            lambda v, name: v.promote(f"{name}@staging", env="prod"),
            lambda v, n: v.promote_all("nepse/*@staging", env="prod", threads=n),
        ),
        "approve": (
            lambda v, name: v.approve(f"{name}@staging", env="prod"),
            lambda v, n: v.approve_all("nepse/*@staging", env="prod", threads=n),
        ),
        "load package": (
            lambda v, name: v.load_package(f"{name}@prod"),
            lambda v, n: v.load_all("nepse/*@prod", package=True, threads=n),
        ),
        "pull": (
            lambda v, name: v.pull(f"{name}@prod", out / "alone" / name),
            lambda v, n: v.pull_all("nepse/*@prod", out / f"by-{n}", threads=n),
        ),
        "check": (lambda v, name: v.check(f"{name}@prod"), lambda v, n: v.check_all("nepse/*", threads=n)),
        "rollback": (
            lambda v, name: v.rollback(name, env="prod"),
            lambda v, n: v.rollback_all("nepse/*", env="prod", threads=n),
        ),
    }


def each(desk: Desk, act: Callable[[], Any]) -> float:
    """Run once; give milliseconds for each model."""
    start = time.perf_counter()
    found = act()
    took = (time.perf_counter() - start) * 1_000 / desk.models
    batch = getattr(found, "batch", found)
    if batch is not None and not batch.whole:
        raise SystemExit(f"it failed: {batch.failed[:2]}")
    return took


def one_by_one(desk: Desk, opened: Vault, act: Callable[[Vault, str], object]) -> None:
    """Do it for one model after another."""
    for name in desk.names:
        act(opened, name)


@contextmanager
def slow(milliseconds: float) -> Iterator[None]:
    """Have the folder answer as late as a store over a network does."""
    if not milliseconds:
        yield
        return

    def late(original: Callable[..., Any]) -> Callable[..., Any]:
        def answer(*arguments: Any, **more: Any) -> Any:
            time.sleep(milliseconds / 1_000)
            return original(*arguments, **more)

        return answer

    with ExitStack() as stack:
        for name in STEPS:
            stack.enter_context(mock.patch.object(LocalStore, name, late(getattr(LocalStore, name))))
        yield


def main() -> None:
    """Do what the arguments say."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--models", type=int, default=100)
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 4, 8, 16])
    parser.add_argument("--wait", type=float, default=0.0, metavar="MS", help="for each answer of the store")
    parser.add_argument("--dir", default=None, help="where the folder is made")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=arguments.dir) as folder:
        for name in ("config", "state"):
            os.environ[f"MVAULT_{name.upper()}_DIR"] = f"{folder}/{name}"
        os.chdir(folder)
        desk = Desk(Path(folder), arguments.models)
        opened = desk.found()
        shown: dict[str, list[str]] = {}
        with slow(arguments.wait):
            alone: dict[str, float] = {}
            for verb, (one, _) in verbs(desk, Path(folder)).items():
                alone[verb] = each(desk, partial(one_by_one, desk, opened, one))
                shown[verb] = [f"{alone[verb]:9.1f}"]
                if verb == "promote, done already":  # for the rollback, a version to go back to
                    for name in desk.names:
                        opened.push(name, desk.file(name))
                        opened.promote(name, env="staging")
                        opened.promote(f"{name}@staging", env="prod")
            for threads in arguments.threads:
                for verb, (_, many) in verbs(desk, Path(folder)).items():
                    took = each(desk, partial(many, opened, threads))
                    shown[verb].append(f"{took:7.1f} {alone[verb] / took:5.1f}x")
        print(f"ms for each of {desk.models} models; load {os.getloadavg()[0]:.1f}")
        print(f"{'':<24}{'alone':>9}" + "".join(f"{f'by {n}':>14}" for n in arguments.threads))
        for verb, cells in shown.items():
            print(f"{verb:<24}" + " ".join(cells))
        for what, act in (("ls", opened.list), ("pending", opened.pending), ("check", opened.check)):
            start = time.perf_counter()
            act()
            print(f"{what} of all: {time.perf_counter() - start:.2f} s")
        start = time.perf_counter()
        opened.doctor()
        print(f"doctor: {time.perf_counter() - start:.2f} s")


if __name__ == "__main__":
    main()
