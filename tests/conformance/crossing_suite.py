"""What a store promises to several processes at once, and to one that is killed."""

import signal
import time
from collections.abc import Mapping
from random import Random
from types import MappingProxyType
from typing import ClassVar

import pytest

from tests.conformance import processes, worker
from tests.conformance.creating_suite import WRITERS, check_race, get
from tests.conformance.store_suite import StoreSuite
from tests.faults import every_operation
from vault.ports import Store
from vault.storage.memory import MemoryStore


def check_whole(store: Store, writer: str) -> int:
    """Check that every object that is there is whole; return how many there are."""
    names = list(store.list(""))
    for name in names:
        assert get(store, name) == worker.content(name, writer)
    return len(names)


class CrossingSuite(StoreSuite):
    """The promises that need processes; `Store.location` must open the same store in each."""

    environment: ClassVar[Mapping[str, str]] = MappingProxyType({})  # what its workers find there besides

    def test_sixteen_racing_processes_have_one_winner_for_each_name(self, store: Store) -> None:
        names = [f"models/churn/@/{number}/manifest.json" for number in range(1, 9)]
        writers = [f"writer-{number}" for number in range(WRITERS)]
        check_race(store, names, processes.race(store.location, writers, names, self.environment))

    def test_a_writer_killed_at_any_step_leaves_nothing_or_a_whole_object(self, store: Store) -> None:
        steps = every_operation(MemoryStore, lambda probe: worker.put(probe, "x", "w"))
        assert [step.verb for step in steps] == ["create"] + ["write"] * worker.PIECES + ["commit"]
        chosen = [*steps[:3], *steps[-2:]]
        for step in chosen:
            for phase in ("before", "after"):
                arguments = ["die", store.location, "w", str(step.index), phase]
                with processes.workers([arguments], self.environment) as (process,):
                    processes.go(process)
                    assert process.wait(timeout=processes.SECONDS) == -signal.SIGKILL
                assert check_whole(store, "w") == (1 if (step.verb, phase) == ("commit", "after") else 0)
                self.check_no_litter(store)
        store.delete("w/deep/er/000000")

    @pytest.mark.parametrize("rounds", [8, pytest.param(400, marks=pytest.mark.slow)])
    def test_a_writer_killed_at_any_moment_leaves_whole_objects_only(self, store: Store, rounds: int) -> None:
        random = Random(7)
        found = 0
        for number in range(rounds):
            arguments = ["write", store.location, f"w{number}"]
            with processes.workers([arguments], self.environment) as (process,):
                processes.go(process)
                deadline = time.monotonic() + processes.SECONDS
                while number % 2 and not any(store.list(f"w{number}/")) and time.monotonic() < deadline:
                    time.sleep(0)  # in every other round only after the first object
                time.sleep(random.uniform(0, 0.03))
                process.kill()
                process.wait(timeout=processes.SECONDS)
            for name in store.list(f"w{number}/"):
                assert get(store, name) == worker.content(name, f"w{number}")
                found += 1
            self.check_no_litter(store)
        assert found > 0, "every writer was killed before it had stored anything"

    def check_no_litter(self, store: Store) -> None:
        """Check, where an adapter can, that nothing invisible was left behind either."""
