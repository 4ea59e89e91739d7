"""Records survive what processes do: many openings, forks, ends of every kind, folders that take nothing."""

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

import vault
from tests.builders import Built, solo
from tests.e2e.audit_parts import asking, audited, entries, move
from tests.faults import Fault, FaultyStore
from vault.actions import auditor, integrating, log_writers
from vault.actions.auditor import Auditor
from vault.audit.held import Held
from vault.audit.intake_file import IntakeFile
from vault.errors import AccessDenied, Unavailable
from vault.settings import Settings
from vault.vault import Vault

LOAD = "import vault; vault.open({place!r}).load_package('churn@prod')\n"


@pytest.fixture
def built() -> Built:
    made = solo()
    made.publish()
    made.promote("churn:1")
    return made


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Make a vault in a folder, whose prod has a version, for processes of their own."""
    for name in ("CONFIG", "STATE"):
        monkeypatch.setenv(f"MVAULT_{name}_DIR", str(tmp_path / name.lower()))
    monkeypatch.delenv("MVAULT_AUDIT", raising=False)
    made = vault.init(tmp_path / "models", name="owner", no_passphrase=True, recipient="x25519")
    made.push("churn", b'{"a":1}')
    made.promote("churn:1", env="prod")
    return tmp_path / "models"


def run(place: Path, code: str, **environment: str) -> subprocess.CompletedProcess[str]:
    program = LOAD.format(place=str(place)) + code
    return subprocess.run(
        [sys.executable, "-c", program],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def recorded(place: Path) -> list[str]:
    """Give the decisions of the loads that are in the log; what waits is moved there first."""
    opened = vault.open(place)
    opened.audit.flush()
    rows = opened.audit.log(attempts=True)
    return sorted(row.record.decision for row in rows if row.record and row.record.action == "load")


# --- many openings ---


def test_a_service_that_opens_the_vault_for_each_request_does_not_run_out_of_files(place: Path) -> None:
    def files() -> int:
        return len(os.listdir("/proc/self/fd"))

    vault.open(place).load_package("churn@prod")
    before = files()
    for _ in range(30):
        vault.open(place).load_package("churn@prod")
    assert files() <= before + 1
    assert recorded(place) == ["allow"] * 31 + ["pending"] * 31


def test_openings_of_one_vault_by_one_process_share_their_auditor(tmp_path: Path) -> None:
    one = auditor.shared(None, tmp_path, "here")
    assert auditor.shared(None, tmp_path, "here") is one
    assert auditor.shared(None, tmp_path, "there") is not one
    assert auditor.shared("store", tmp_path, "here") is not one


def test_of_many_intakes_only_the_newest_keep_their_files_open(
    built: Built, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(auditor, "OPEN", 2)
    monkeypatch.setattr(auditor, "_PENDING", {})
    vaults = [audited(built, tmp_path / str(number)) for number in range(4)]
    for opened in vaults:
        opened.load_package("churn@prod")
    files = [opened._session.audit.intake(opened._session)._file for opened in vaults]  # type: ignore[union-attr]
    assert [file is None for file in files] == [True, True, False, False]
    for opened in vaults:
        move(opened)
    assert len(entries(built)) == 8


# --- when records move ---


def test_records_that_wait_for_long_are_moved_with_the_next(
    built: Built, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    vault = audited(built, tmp_path)
    vault.load_package("churn@prod")
    assert entries(built) == []
    monkeypatch.setattr(auditor, "LATEST", 0.0)
    vault.load_package("churn@prod")
    assert len(entries(built)) >= 3


def test_what_could_not_be_moved_is_tried_again_at_the_end(built: Built) -> None:
    vault = audited(built, None)
    auditing = vault._session.audit
    assert auditing is not None
    vault.load_package("churn@prod")
    vault._session.store = FaultyStore(built.store, lambda step: Fault.BEFORE)
    with pytest.raises(Unavailable):
        auditing.integrate(vault._session, wait=0)
    vault._session.store = built.store
    auditor._leave()
    assert [entry.decision for entry in entries(built)] == ["pending", "allow"]


def test_a_store_that_is_being_taken_down_does_not_disturb_the_end(
    built: Built, monkeypatch: pytest.MonkeyPatch
) -> None:
    vault = audited(built, None)
    vault.load_package("churn@prod")

    def gone(*_: object, **__: object) -> int:
        raise RuntimeError("cannot schedule new futures after interpreter shutdown")

    monkeypatch.setattr(integrating, "integrate", gone)
    auditor._leave()
    monkeypatch.undo()
    auditor._leave()
    assert len(entries(built)) == 2


def test_what_a_crash_left_and_a_review_has_seen_is_not_stored_twice(built: Built, tmp_path: Path) -> None:
    vault = audited(built, tmp_path)
    vault.load_package("churn@prod")
    auditing, session = vault._session.audit, vault._session
    assert auditing is not None
    forget = log_writers.remember
    from vault.audit.intake import Turn

    def killed(*_: object) -> int:
        raise KeyboardInterrupt

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Turn, "forget", killed)
        with pytest.raises(KeyboardInterrupt):
            auditing.integrate(session, wait=1)
    log = log_writers.own_log(session, auditing.intake(session).instance)
    from vault.audit.reading import LogReader

    forget(session, log, LogReader(built.store, log, built.policy).read().head)  # as `audit verify` does
    auditing.integrate(session, wait=1)
    assert len(entries(built)) == 2


# --- folders that take nothing ---


@pytest.mark.parametrize("code", ["storage-denied", "storage-full", "unavailable"])
def test_a_state_folder_that_takes_nothing_is_no_reason_to_record_nothing(
    built: Built, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: str
) -> None:
    def refused(*_: object, **__: object) -> None:
        raise Unavailable("It cannot be written.", code=code)

    monkeypatch.setattr(IntakeFile, "append", refused)
    session = built.session()
    session.audit = Auditor(state=tmp_path, host="here")
    vault = Vault(session, Settings())
    vault.load_package("churn@prod")  # without a warning, which would be an error here
    assert isinstance(session.audit.intake(session), Held)
    move(vault)
    assert [entry.decision for entry in entries(built)] == ["pending", "allow"]


def test_neither_where_a_record_is_demanded_and_the_store_takes_it(built: Built, tmp_path: Path) -> None:
    built.amend(asking(audit=True))
    (tmp_path / "audit").write_text("a file in the way")
    session = built.session()
    session.audit = Auditor(state=tmp_path, host="here")
    Vault(session, Settings()).load_package("churn@prod")
    assert [entry.decision for entry in entries(built)] == ["pending", "allow"]


def test_a_folder_that_was_declared_to_last_is_not_replaced_by_memory(built: Built, tmp_path: Path) -> None:
    built.amend(asking(audit=True))
    (tmp_path / "audit").write_text("a file in the way")
    with pytest.raises(Unavailable) as caught:
        audited(built, tmp_path).load_package("churn@prod")
    assert caught.value.code == "no-audit-record"


def test_whoever_is_denied_is_told_so_also_where_a_record_is_demanded(built: Built) -> None:
    built.amend(asking(audit=True))
    from tests.builders import new_identity

    built.identities["stranger"] = new_identity("stranger", built.kind)
    with pytest.raises(AccessDenied, match="not in the vault's policy") as caught:
        audited(built, None, "stranger").load_package("churn@prod")
    assert caught.value.code == "access-denied"


def test_an_output_that_is_closed_is_a_warning(
    built: Built, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    vault = audited(built, "stdout")

    @contextmanager
    def closed() -> Iterator[None]:
        monkeypatch.setattr(sys, "stdout", None)
        yield
        monkeypatch.undo()

    with closed(), pytest.warns(UserWarning, match="Standard output takes no records"):
        vault.load_package("churn@prod")
    move(vault)
    assert len(entries(built)) == 2


# --- forks and threads ---


def test_what_a_forked_process_copied_is_its_parents_to_store(built: Built) -> None:
    vault = audited(built, None)
    vault.load_package("churn@prod")
    auditing, session = vault._session.audit, vault._session
    assert auditing is not None
    parent = auditing.intake(session).instance
    child = os.fork()
    if not child:  # pragma: no cover
        try:
            held = auditing.intake(session)
            os._exit(0 if held.waiting().entries == 0 and held.instance != parent else 1)
        finally:
            os._exit(2)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    move(vault)
    assert len(entries(built)) == 2


def test_threads_that_begin_at_once_lose_no_record(built: Built) -> None:
    for _ in range(8):
        copy = built.fork()
        vault = audited(copy, None)
        gate = threading.Barrier(8)

        def load(vault: Vault = vault, gate: threading.Barrier = gate) -> None:
            gate.wait()
            vault.load_package("churn@prod")

        threads = [threading.Thread(target=load) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        move(vault)
        assert len(entries(copy)) == 16


# --- ends of a process ---


@pytest.mark.parametrize(
    ("code", "status"),
    [
        ("", 0),
        ("import sys; sys.exit(7)", 7),
        ("raise RuntimeError('boom')", 1),
        ("import os; os._exit(9)", 9),
        ("import os, signal; os.kill(os.getpid(), signal.SIGTERM)", -signal.SIGTERM),
        ("import os, signal; os.kill(os.getpid(), signal.SIGKILL)", -signal.SIGKILL),
    ],
)
def test_however_a_process_ends_its_records_are_there(place: Path, code: str, status: int) -> None:
    assert run(place, code).returncode == status
    assert recorded(place) == ["allow", "pending"]


def test_a_child_that_is_forked_and_ends_without_ado_leaves_its_records_too(place: Path) -> None:
    done = run(
        place,
        "import os\nv = vault.open()\nchild = os.fork()\n"
        "v.load_package('churn@prod')\n"
        "os._exit(0) if not child else os.waitpid(child, 0)\n",
        MVAULT_VAULT=str(place),
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert recorded(place) == ["allow"] * 3 + ["pending"] * 3


def test_without_a_home_records_go_to_the_store_at_the_end(place: Path, tmp_path: Path) -> None:
    trust = tmp_path / "trust.json"
    trust.write_bytes(vault.open(place).export_trust())
    identity = str(vault.open(place)._settings.identity)
    program = (
        f"import vault; vault.open({str(place)!r}, trust={str(trust)!r}, identity={identity!r})"
        ".load_package('churn@prod')"
    )
    environment = {
        name: value for name, value in os.environ.items() if not name.startswith(("MVAULT", "XDG"))
    }
    environment.pop("HOME", None)
    done = subprocess.run(
        [sys.executable, "-c", program],
        env={**environment, "HOME": "/nonexistent"},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert recorded(place) == ["allow", "pending"]
