"""The local store keeps the promises of a store in a folder that is mounted by NFS."""

import time
from collections.abc import Iterator
from pathlib import Path
from types import MappingProxyType

import pytest

from tests.conformance import processes, worker
from tests.conformance.creating_suite import check_race
from tests.conformance.crossing_suite import CrossingSuite
from tests.conformance.fault_folder import Folder, every
from vault.ports import Store
from vault.storage.local import LocalStore

WRITERS = 12


class TestLocalStoreOnNfs(CrossingSuite):
    """The whole suite, where every third answer to LINK is lost."""

    environment = MappingProxyType({worker.NFS: "3"})

    @pytest.fixture
    def store(self, tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Store]:
        with Folder(tmp_path / "store", lost=every(3)).mounted() as folder:
            yield LocalStore(folder.root)
            if "bad" not in request.node.name:
                assert folder.calls, "nothing went through the client"
        hidden = tmp_path / "store" / ".mvault-tmp"
        assert not hidden.exists() or not list(hidden.iterdir()), "no draft was left behind"

    def fill(self, store: Store, names: list[str]) -> None:
        for name in names:
            path = Path(store.location, name)
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(name.encode())

    def check_no_litter(self, store: Store) -> None:
        assert isinstance(store, LocalStore)
        store.sweep_leftovers(0, int(time.time()) + 60)
        root = Path(store.location)
        files = {str(path.relative_to(root)) for path in root.rglob("*") if not path.is_dir()}
        assert files == set(store.list(""))

    @pytest.mark.parametrize("lost", ["1", "2", "timeout"])
    def test_twelve_racing_writers_whose_answers_are_lost_have_one_winner_for_each_name(
        self, store: Store, lost: str
    ) -> None:
        """A lost answer is no conflict, and a conflict is no success: `lost` says which."""
        names = [f"models/churn/@/{number}/manifest.json" for number in range(1, 9)]
        writers = [f"writer-{number}" for number in range(WRITERS)]
        found = processes.race(store.location, writers, names, {worker.NFS: lost})
        check_race(store, names, found)
