"""A pickle that does all it can, in the process that converts it: nothing of it reaches anything."""

import contextlib
import os
import socket
import threading
import time
from pathlib import Path

import pytest

from tests.attacks.confinement_attacker import attacked, hostile, told
from vault.actions import converting
from vault.confinement import child, confine, kernel, landlock, seccomp
from vault.errors import FormatRefused

pytestmark = pytest.mark.skipif(not confine.available().whole, reason="this kernel lacks Landlock or seccomp")

DENIED = "PermissionError/13"
FORBIDDEN = "PermissionError/1"


# --- before anything runs ---


def test_a_pickle_that_names_what_no_model_needs_is_not_even_loaded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(child, "run", lambda *_, **__: pytest.fail("a process was started"))
    with pytest.raises(FormatRefused, match=r"builtins\.exec, which no model needs") as caught:
        converting.convert(hostile(tmp_path, "pass"))
    assert (caught.value.code, caught.value.exit_status) == ("not-allowed", 5)


@pytest.mark.parametrize("missing", ["landlock", "seccomp"])
def test_without_a_sandbox_nothing_is_loaded_unless_told(
    missing: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(landlock, "abi", lambda: 0 if missing == "landlock" else 7)
    monkeypatch.setattr(seccomp, "available", lambda: missing != "seccomp")
    monkeypatch.setattr(child, "run", lambda *_, **__: pytest.fail("a process was started"))
    with pytest.raises(FormatRefused) as caught:
        converting.convert(hostile(tmp_path, "pass"), despite_dangers=True)
    assert (caught.value.code, caught.value.exit_status) == ("no-sandbox", 5)
    assert "--unsafe-no-sandbox" in caught.value.hint
    assert ("no Landlock" if missing == "landlock" else "no seccomp") in caught.value.message


# --- writing ---


def test_it_writes_nowhere(tmp_path: Path) -> None:
    victim = tmp_path / "victim"
    victim.write_text("whole")
    before = victim.stat()
    home = Path.home()
    places = [tmp_path, home, "/tmp", "/dev/shm", "/var/tmp", "/", Path(confine.__file__).parent, "/run"]
    said = told(
        tmp_path,
        f"""
        import shutil, tempfile
        found = []
        for place in {[str(place) for place in places]!r}:
            for mode in "wxa":
                found.append(attempt(open, place + "/marker-of-attack", mode))
            found.append(attempt(os.mkdir, place + "/marker-of-attack"))
            found.append(attempt(os.symlink, "/etc/passwd", place + "/marker-of-attack"))
            found.append(attempt(os.mkfifo, place + "/marker-of-attack"))
            found.append(attempt(os.open, place, os.O_TMPFILE | os.O_WRONLY))
        victim = {str(victim)!r}
        found += [
            attempt(open, victim, "r+"), attempt(os.truncate, victim, 0), attempt(os.unlink, victim),
            attempt(os.chmod, victim, 0o777), attempt(os.utime, victim, (0, 0)),
            attempt(os.rename, victim, victim + "2"), attempt(os.link, victim, victim + "2"),
            attempt(os.chown, victim, 1, 1), attempt(os.setxattr, victim, "user.a", b"1"),
            attempt(os.system, "touch " + victim + "2"), attempt(tempfile.mkstemp),
            attempt(shutil.rmtree, {str(tmp_path)!r}),
        ]
        allowed = ("PermissionError", "FileNotFoundError", "FileExistsError", "NotADirectoryError")
        said = str([entry for entry in found if not entry.startswith(allowed)])
        """,
    )
    assert said in ("[]", "['DONE -1']", "['DONE 32512']"), said  # how os.system says that it could not
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["hostile.pkl", "victim"]
    after = victim.stat()
    assert (victim.read_text(), after.st_mode, after.st_mtime_ns) == (
        "whole",
        before.st_mode,
        before.st_mtime_ns,
    )
    for place in places:
        assert not os.path.lexists(f"{place}/marker-of-attack")


# --- reading ---


def test_it_reads_no_secret(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MVAULT_PASSPHRASE", "hunter2-canary")
    identity = tmp_path / "identity.json"
    identity.write_text("AGE-SECRET-KEY-canary")
    tree = Path(confine.__file__).parents[2] / "pyproject.toml"
    parent = os.getpid()
    paths = [
        identity, tree, "/etc/passwd", "/etc/shadow", "/etc/hostname", f"/proc/{parent}/environ",
        f"/proc/{parent}/mem", f"/proc/{parent}/maps", f"/proc/{parent}/cmdline", f"/proc/{parent}/fd",
        "/proc/self/environ", "/proc/self/mem", "/proc/kallsyms", "/proc/version", "/dev/mem", "/dev/tty",
        "/proc/net/tcp", "/usr/lib/../../etc/passwd", Path.home(), "/tmp", "/etc", "/",
    ]  # fmt: skip
    said = told(
        tmp_path,
        f"""
        found = [f"env {{os.environ}}"] if "canary" in str(os.environ) else []
        for path in {[str(path) for path in paths]!r}:
            for try_it in (lambda: open(path, "rb").read(8), lambda: os.listdir(path),
                           lambda: os.readlink(path + "/0")):
                answer = attempt(try_it)
                if answer.startswith("DONE"):
                    found.append(path + answer)
        said = str(found)
        """,
    )
    assert said == "[]"


def test_its_environment_and_descriptors_are_few(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SECRET_TOKEN", "canary")
    with (tmp_path / "other").open("w") as other:
        os.set_inheritable(other.fileno(), True)
        said = told(
            tmp_path,
            """
            import fcntl, stat
            kinds = []
            for descriptor in range(256):
                try:
                    mode = os.fstat(descriptor).st_mode
                except OSError:
                    continue
                writes = fcntl.fcntl(descriptor, fcntl.F_GETFL) & os.O_ACCMODE != os.O_RDONLY
                kinds.append(("pipe" if stat.S_ISFIFO(mode) else "file") + (" w" if writes else " r"))
                if stat.S_ISREG(mode):
                    kinds += [attempt(os.fchmod, descriptor, 0o777), attempt(os.write, descriptor, b"x")]
                    kinds += [attempt(os.ftruncate, descriptor, 0)]
            kept = sorted(name for name in os.environ if name not in ("LC_CTYPE",))
            said = f"{sorted(kinds)} {kept} {os.getcwd()} {os.environ['HOME']}"
            """,
        )
    assert "OSError/9" in said
    assert FORBIDDEN in said
    assert "file w" not in said
    assert set(said.partition("] [")[2].partition("]")[0].replace("'", "").split(", ")) == set(
        child.ENVIRONMENT
    )
    assert said.endswith("/ /nonexistent")


# --- the network ---


def test_it_reaches_no_network(tmp_path: Path) -> None:
    reached: list[object] = []
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(0.5)
        port = server.getsockname()[1]
        said = told(
            tmp_path,
            f"""
            import socket, urllib.request
            found = [
                attempt(socket.create_connection, ("127.0.0.1", {port})),
                attempt(socket.socket, socket.AF_INET, socket.SOCK_DGRAM),
                attempt(socket.socket, socket.AF_UNIX), attempt(socket.socketpair),
                attempt(socket.socket, socket.AF_NETLINK, socket.SOCK_RAW),
                attempt(socket.socket, 40, socket.SOCK_STREAM),
                attempt(socket.getaddrinfo, "example.org", 80),
                attempt(urllib.request.urlopen, "http://127.0.0.1:{port}/"),
            ]
            said = str([entry for entry in found if entry.startswith("DONE")])
            """,
        )
        with contextlib.suppress(TimeoutError):
            reached.append(server.accept())
    assert (said, reached) == ("[]", [])


# --- other processes ---


def test_it_starts_and_touches_no_process(tmp_path: Path) -> None:
    said = told(
        tmp_path,
        """
        import ctypes, multiprocessing, signal, subprocess
        parent = os.getppid()
        c = ctypes.CDLL(None, use_errno=True)
        def raw(*arguments):
            result = c.syscall(*arguments)
            if result < 0:
                raise OSError(ctypes.get_errno(), "raw")
            return result
        found = [
            attempt(os.fork), attempt(os.forkpty), attempt(os.execv, "/bin/true", ["true"]),
            attempt(os.posix_spawn, "/bin/true", ["true"], {}), attempt(subprocess.run, ["/bin/true"]),
            attempt(lambda: multiprocessing.get_context("fork").Process(target=print).start()),
            attempt(os.kill, parent, signal.SIGKILL), attempt(os.kill, parent, 0), attempt(os.kill, -1, 9),
            attempt(os.killpg, os.getpgid(parent) if False else 0, 9), attempt(os.pidfd_open, parent),
            attempt(raw, 101, 16, parent, 0, 0), attempt(raw, 310, parent, 0, 0, 0, 0, 0),
            attempt(raw, 234, parent, parent, 9), attempt(raw, 57), attempt(raw, 58), attempt(raw, 56, 17, 0),
            attempt(raw, 435, 0, 0), attempt(os.sched_setaffinity, parent, [0]), attempt(os.nice, 1),
            attempt(os.setpriority, os.PRIO_PROCESS, parent, 19),
        ]
        said = str([entry for entry in found if entry.startswith("DONE")])
        """,
    )
    assert said == "[]"


def test_threads_are_left_to_it(tmp_path: Path) -> None:
    """Numerical libraries need them."""
    said = told(
        tmp_path,
        """
        import threading
        found = []
        worker = threading.Thread(target=lambda: found.append(attempt(open, "/tmp/marker-of-attack", "w")))
        worker.start()
        worker.join()
        said = str(found)
        """,
    )
    assert said == f"['{DENIED}']"


def test_every_system_call_that_is_not_listed_is_refused(tmp_path: Path) -> None:
    found = kernel.architecture()
    assert found is not None
    listed = {
        numbers[found.column] for table in (seccomp.ALLOWED, seccomp.CHECKED) for numbers in table.values()
    }
    said = told(
        tmp_path,
        f"""
        import ctypes
        c = ctypes.CDLL(None, use_errno=True)
        passed = []
        for number in range(600):
            if number in (335, 336):  # uprobes' own: never filtered, and the kernel ends who calls them
                continue
            if number not in {sorted(number for number in listed if number is not None)!r}:
                result = c.syscall(number, -1, -1, -1, -1, -1, -1)
                if result != -1 or ctypes.get_errno() != 1:
                    passed.append(number)
        said = f"{{passed}} {{c.syscall(435, 0, 0)}} {{ctypes.get_errno()}}"
        """,
    )
    assert said == "[] -1 38"


@pytest.mark.skipif(os.uname().machine != "x86_64", reason="x32 is a way into x86-64 kernels only")
def test_another_architectures_calls_end_the_process(tmp_path: Path) -> None:
    error = attacked(tmp_path, "import ctypes\nctypes.CDLL(None).syscall(0x40000000 | 1, 1, b'x', 1)")
    assert error.code == "conversion-failed"
    assert "SIGSYS" in error.message


def test_the_confinement_is_not_lifted(tmp_path: Path) -> None:
    said = told(
        tmp_path,
        f"""
        import ctypes, resource
        c = ctypes.CDLL(None, use_errno=True)
        found = [
            attempt(resource.setrlimit, resource.RLIMIT_FSIZE, (-1, -1)),
            attempt(resource.setrlimit, resource.RLIMIT_AS, (-1, -1)),
            attempt(resource.prlimit, os.getppid(), resource.RLIMIT_NOFILE, (1, 1)),
            attempt(os.setuid, 0), attempt(os.chroot, "/"), attempt(os.unshare, 0x10000000)
            if hasattr(os, "unshare") else "PermissionError/1",
        ]
        lifted = [c.prctl(38, 0, 0, 0, 0), c.syscall(317, 1, 0, 0), c.syscall(446, 0, 0)]
        said = str([entry for entry in found if entry.startswith("DONE")]) + str(lifted)
        said += attempt(open, {str(tmp_path / "x")!r}, "w")
        """,
    )
    assert said == f"[][-1, -1, -1]{DENIED}"


def test_seen_from_outside_it_has_no_privileges(tmp_path: Path) -> None:
    """What the kernel says about the process while it runs, not what the process says."""
    path = hostile(tmp_path, "import time\ntime.sleep(60)")
    status: dict[str, str] = {}

    def look() -> None:
        deadline = time.monotonic() + 20
        while time.monotonic() < deadline and status.get("Seccomp") != "2":
            for found in Path("/proc").glob("[0-9]*/status"):
                try:
                    lines = found.read_text().splitlines()
                    command = (found.parent / "cmdline").read_bytes()
                except OSError:
                    continue
                fields = dict(line.split(":\t", 1) for line in lines if ":\t" in line)
                if fields.get("PPid") == str(os.getpid()) and b"convert_child" in command:
                    status.update(fields)
            time.sleep(0.02)

    watcher = threading.Thread(target=look)
    watcher.start()
    with pytest.raises(FormatRefused, match="took longer"):
        converting.convert(path, despite_dangers=True, seconds=3)
    watcher.join()
    assert (status["Seccomp"], status["NoNewPrivs"], status["Threads"]) == ("2", "1", "1")
    assert int(status["CapEff"], 16) == int(status["CapPrm"], 16) == 0
    assert not Path("/proc", status["Pid"]).exists()
