"""The store goes away in the middle of a push, a promotion, a pull or a load, and stays away for a while.

At whatever operation that happens: a clear error, nothing half-visible, and the retry succeeds, by the
same process and by another. One fault that passes at once is what tests/attacks/test_storage_faults.py
is about; here everything fails from one moment on.
"""

import errno
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.conformance.fault_folder import Call, Folder
from tests.e2e.plugs import ACTS, Plug, client, filled, is_whole, operations, pull_and_put_back, seen
from tests.faults import Fault
from tests.servers.postgres import PostgresServer, postgres  # noqa: F401
from tests.servers.seaweed import SeaweedServer, seaweed  # noqa: F401
from vault.core import layout, limits
from vault.errors import Unavailable, VaultError
from vault.ports import Store
from vault.storage.local import LocalStore
from vault.storage.memory import MemoryStore
from vault.storage.opening import open_store

MOMENTS = (Fault.BEFORE, Fault.MIDDLE, Fault.AFTER)
SLOW = pytest.mark.slow
ANSWER_SECONDS = 60


@pytest.mark.parametrize("how", [pytest.param(Fault.BEFORE, marks=SLOW), Fault.MIDDLE, Fault.AFTER])
@pytest.mark.parametrize("name", ACTS)
def test_with_the_plug_pulled_at_any_operation(name: str, how: Fault, tmp_path: Path) -> None:
    count = len(operations(name, tmp_path))
    failed = 0
    for index in range(count):
        store = MemoryStore(dict(ACTS[name].before().store.objects))
        failed += pull_and_put_back(name, store, Plug(store, index, how), tmp_path / f"{index}", lambda: None)
    assert count > 15
    # Only the last operations of a writer may be lost on it: what it read to remember, or an answer.
    assert failed >= count - 3


@pytest.mark.parametrize("how", MOMENTS)
@pytest.mark.parametrize(
    ("name", "step"), [(name, 9) for name in ACTS] + [pytest.param(name, 1, marks=SLOW) for name in ACTS]
)
def test_with_the_plug_of_a_folder_pulled(name: str, step: int, how: Fault, tmp_path: Path) -> None:
    count = len(operations(name, tmp_path))
    failed = 0
    for index in range(MOMENTS.index(how), count, step):
        with filled(LocalStore(tmp_path / f"store {index}"), ACTS[name].before()) as store:
            failed += pull_and_put_back(
                name, store, Plug(store, index, how), tmp_path / f"{index}", lambda: None
            )
    assert failed >= max(1, count // step - 3)


@pytest.mark.parametrize("number", [errno.EIO, errno.ESTALE])
@pytest.mark.parametrize(
    ("name", "step"), [(name, 61) for name in ACTS] + [pytest.param(name, 1, marks=SLOW) for name in ACTS]
)
def test_with_the_file_server_of_a_folder_gone_at_a_call(
    name: str, step: int, number: int, tmp_path: Path
) -> None:
    """As above, but it is the file system that fails, at calls in the middle of the store's own steps."""
    act = ACTS[name]
    built = act.before()
    with (
        filled(LocalStore(tmp_path / "rehearsal"), built) as store,
        Folder(tmp_path / "rehearsal").mounted() as watched,
    ):
        act.run(client(built, store), tmp_path / "rehearsed")
        count = len(watched.calls)
    assert count > 50
    told = []
    for index in range(number % step, count, step):
        root = tmp_path / f"store {index}"
        with filled(LocalStore(root), built):
            pass

        def gone(call: Call, index: int = index) -> int | None:
            return number if call.index >= index else None

        with Folder(root, plan=gone).mounted() as folder:
            vault = client(built, LocalStore(root), " first")
            try:
                act.run(vault, tmp_path / f"{index}")
            except VaultError as error:
                told.append((type(error), bool(error.hint)))
            folder.plan = lambda _: None
            with folder.elsewhere():
                assert seen(built, LocalStore(root), act.reference) in (act.old, act.new)
                assert is_whole(built, LocalStore(root))
            act.run(vault, tmp_path / f"{index} again")
            with folder.elsewhere():
                assert seen(built, LocalStore(root), act.reference) == act.new
    assert set(told) == {(Unavailable, True)}
    assert len(told) >= len(range(number % step, count, step)) - 3


# --- real servers ---


class Server:
    """A server whose plug can be pulled."""

    def __init__(self, url: str, stop: Callable[[], None], start: Callable[[], None]) -> None:
        """Keep the vault at `url`."""
        self.url = url
        self.stop = stop
        self.start = start


@pytest.fixture(params=["postgres", "seaweed"])
def server(request: pytest.FixtureRequest) -> Iterator[Server]:
    running: PostgresServer | SeaweedServer = request.getfixturevalue(request.param)
    if isinstance(running, PostgresServer):
        url = running.url(running.new_schema())
    else:
        url = running.url(running.new_bucket(), "models")

    def start() -> None:
        running.start()
        end = time.monotonic() + ANSWER_SECONDS
        while True:  # a server of several parts answers before all of them are there
            try:
                open_store(url).read(layout.root(1), limit=limits.ENVELOPE_BYTES)
            except Unavailable:
                assert time.monotonic() < end
                time.sleep(0.1)
            else:
                return

    try:
        yield Server(url, running.stop, start)
    finally:
        if running.process is None:
            running.start()


@pytest.mark.parametrize(
    "part", [0.5, *(pytest.param(part, marks=SLOW) for part in (0.05, 0.25, 0.75, 0.9, 1.0))]
)
@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=() if name == "load_model" else SLOW) for name in ACTS]
)
def test_with_a_real_server_killed(name: str, part: float, server: Server, tmp_path: Path) -> None:
    """The server is killed just before an operation, which then meets nobody."""
    taken = operations(name, tmp_path)
    index = min(int(len(taken) * part), len(taken) - 1)
    with filled(open_store(server.url), ACTS[name].before()):
        pass
    killed: list[int] = []

    def kill() -> None:
        server.stop()
        killed.append(index)

    inner: Store = open_store(server.url)
    plug = Plug(inner, index, Fault.BEFORE, pulled=kill)
    failed = pull_and_put_back(name, open_store(server.url), plug, tmp_path / "there", server.start)
    assert killed
    assert failed or part == 1.0
