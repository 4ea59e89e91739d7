"""Libraries in the process of a load test may lie, hang, flood or look for keys: none of it helps them."""

import contextlib
import json
import os
import tempfile
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from vault.actions import convert_messages, load_test_environment, load_test_process
from vault.actions.load_test_environment import Environment, Installing
from vault.actions.load_test_process import Bounds, Ended, Expected
from vault.confinement import confine
from vault.core import limits
from vault.errors import Unavailable
from vault.loaders import arrays

SECRET = "AGE-SECRET-KEY-OF-THE-TEST"
EXPECTED = Expected({"predict": np.array([1, 0, 1])}, 1e-4, None, 0)
HEAD: dict[str, Any] = {
    "files": [{"path": "model.onnx", "format": "onnx", "role": "model", "part": "model", "usable": []}]
}
PARTS = {"model": b"model", "sample": arrays.dump_sample(np.zeros((3, 2)))}

pytestmark = pytest.mark.skipif(not confine.available().whole, reason="this kernel cannot confine a process")


@pytest.fixture(scope="module")
def empty() -> Iterator[Environment]:
    with tempfile.TemporaryDirectory() as folder:
        here = load_test_environment.interpreter_for(None)
        yield load_test_environment.make(Path(folder), here, Installing())


def attempt(
    empty: Environment, tmp_path: Path, attack: str, *, seconds: int = 20, memory: int = 4 * limits.GIB
) -> Ended:
    """Test a model with an `onnxruntime` that is the attack, and nothing else beside it."""
    packages = tmp_path / "packages"
    packages.mkdir()
    (packages / "onnxruntime.py").write_text(f"import os, sys, json\n{attack}\n")
    environment = replace(empty, packages=packages)
    return load_test_process.run(environment, HEAD, PARTS, EXPECTED, Bounds(memory, seconds, False))


# The answer's descriptor is the one that is not a standard one; an attacker finds it.
ANSWER = """
def answer(data):
    for fd in range(3, 64):
        try:
            os.write(fd, data)
        except OSError:
            pass
"""


def forged(head: dict[str, Any], parts: dict[str, bytes]) -> str:
    return f"{ANSWER}\nanswer({convert_messages.pack(head, parts)!r})\nos._exit(0)"


def test_a_library_that_is_honest_but_not_there_fails_to_load(empty: Environment, tmp_path: Path) -> None:
    found = attempt(empty, tmp_path, "raise ImportError('it is broken')")
    assert (found.reason, found.rows) == ("load", 0)
    assert "ONNX Runtime" in found.detail or "broken" in found.detail
    assert found.level.whole


def test_a_forged_answer_passes_only_with_the_predictions_that_it_was_never_given(
    empty: Environment, tmp_path: Path
) -> None:
    lie = {"out.predict": arrays.dump_sample(np.array([1, 1, 1]))}
    found = attempt(empty, tmp_path, forged({"load_ms": -5, "predict_ms": 10**12}, lie))
    assert (found.reason, found.differing, found.rows) == ("differs", 1, 3)
    assert (found.load_ms, found.predict_ms) == (0, 10**9)


def test_a_number_may_be_off_as_far_as_is_asked_and_a_label_never(empty: Environment, tmp_path: Path) -> None:
    def judged(values: list[Any], expected: list[Any], **how: Any) -> int:
        folder = tmp_path / str(len(list(tmp_path.iterdir())))
        folder.mkdir()
        asked = Expected({"predict": np.array(expected)}, **{"rtol": 0.0, "atol": 0.0, "tolerated": 0, **how})
        (packages := folder / "packages").mkdir()
        answer = forged({}, {"out.predict": arrays.dump_sample(np.array(values))})
        (packages / "onnxruntime.py").write_text(f"import os\n{answer}\n")
        environment = replace(empty, packages=packages)
        bounds = Bounds(4 * limits.GIB, 20, False)
        found = load_test_process.run(environment, HEAD, PARTS, asked, bounds)
        assert (found.reason is None) == (found.differing <= asked.tolerated)
        return found.differing

    assert judged([1.0, 2.0], [1.0, 2.1]) == 1
    assert judged([1.0, 2.0], [1.0, 2.1], tolerated=1) == 1
    assert judged([1.0, 2.0], [1.0, 2.1], atol=0.2) == 0
    assert judged([1.0, 2.0], [1.0, 2.1], rtol=0.1) == 0
    assert judged([0.0, 1e6 + 5], [0.0, 1e6], atol=None) == 0  # 1e-5 of the spread
    assert judged(["a", "b"], ["a", "c"], atol=9.0, rtol=9.0) == 1
    assert judged([1, 2], [1, 3], atol=9.0, rtol=9.0) == 1


def test_the_recorded_predictions_are_not_in_the_process() -> None:
    assert not any("predict" in name for name in PARTS)
    assert "outputs" not in json.dumps(HEAD)


@pytest.mark.parametrize(
    ("parts", "head"),
    [
        ({}, {}),
        ({"out.predict": b"no archive"}, {}),
        ({"out.predict": arrays.dump_sample(np.array([1, 0]))}, {}),
        ({"out.predict": arrays.dump_sample(np.array(["one", "no", "one"]))}, {}),
        ({"out.predict": arrays.dump_arrays({"a": np.zeros(3)})}, {}),
        ({"out.predict_proba": arrays.dump_sample(np.array([1, 0, 1]))}, {}),
        ({"out.predict": arrays.dump_sample(np.array(1))}, {}),
    ],
)
def test_whatever_cannot_be_compared_differs(
    empty: Environment, tmp_path: Path, parts: dict[str, bytes], head: dict[str, Any]
) -> None:
    assert attempt(empty, tmp_path, forged(head, parts)).reason == "differs"


def test_an_answer_that_grows_when_it_is_unpacked_is_refused(empty: Environment, tmp_path: Path) -> None:
    import io

    buffer = io.BytesIO()
    np.savez_compressed(buffer, values=np.zeros(4_000_000))
    found = attempt(empty, tmp_path, forged({}, {"out.predict": buffer.getvalue()}))
    assert found.reason == "differs"
    assert "cannot be compared" in found.detail


@pytest.mark.parametrize(
    ("attack", "reason"),
    [
        (f"{ANSWER}\nanswer(b'garbage')\nos._exit(0)", "answer"),
        (f"{ANSWER}\nanswer((2**60).to_bytes(8, 'little'))\nos._exit(0)", "answer"),
        ("os._exit(0)", "answer"),
        ("os._exit(3)", "stopped"),
        ("os.abort()", "stopped"),
        ("import ctypes; ctypes.string_at(0)", "stopped"),
        ("raise SystemExit(0)", "load"),
        ("raise KeyboardInterrupt", "load"),
        ("raise RecursionError('x' * 10_000_000)", "load"),
    ],
)
def test_a_process_that_ends_badly_is_no_pass(
    empty: Environment, tmp_path: Path, attack: str, reason: str
) -> None:
    found = attempt(empty, tmp_path, attack)
    assert found.reason == reason
    assert len(found.detail) <= 600


def test_a_process_that_hangs_is_stopped(empty: Environment, tmp_path: Path) -> None:
    found = attempt(empty, tmp_path, "import time\nwhile True: time.sleep(1)", seconds=2)
    assert found.reason == "stopped"
    assert "longer than 2 seconds" in found.detail


def test_a_process_that_floods_is_stopped(
    empty: Environment, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "LOAD_TEST_ANSWER_BYTES", limits.MIB)
    attack = (
        f"{ANSWER}\nwhile True: answer(b'x' * 65536); os.write(1, b'y' * 65536); os.write(2, b'z' * 65536)"
    )
    found = attempt(empty, tmp_path, attack)
    assert found.reason == "answer"
    assert "more than any" in found.detail


PROBES = """
found = {}
def probe(name, act):
    try:
        found[name] = repr(act())[:200]
    except BaseException as error:
        found[name] = "refused"
import socket, subprocess
probe("fork", os.fork)
probe("exec", lambda: os.execv("/bin/true", ["true"]))
probe("spawn", lambda: subprocess.run(["/bin/true"]))
probe("socket", lambda: socket.socket().connect(("127.0.0.1", 9)))
probe("write", lambda: open("/tmp/mvault-load-test-was-here", "w"))
probe("home", lambda: os.listdir(HOME))
probe("key", lambda: open(KEY).read())
probe("parent", lambda: open(f"/proc/{os.getppid()}/environ", "rb").read())
probe("own environ", lambda: open("/proc/self/environ", "rb").read())
probe("kill", lambda: os.kill(os.getppid(), 9))
report = json.dumps({"environ": dict(os.environ), "argv": sys.argv, "path": sys.path, "found": found,
    "fds": [fd for fd in range(64) if not os_error(fd)], "orig": sys.orig_argv})
"""


def test_there_is_no_key_in_the_process_and_no_way_to_one(
    empty: Environment, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The parent has a key in its environment, an open file and its home; the process finds none of them."""
    key = tmp_path / "identity.json"
    key.write_text(SECRET)
    monkeypatch.setenv("MVAULT_IDENTITY", str(key))
    monkeypatch.setenv("MVAULT_SECRET", SECRET)
    opened = os.open(key, os.O_RDONLY)
    os.set_inheritable(opened, True)
    preamble = (
        "def os_error(fd):\n"
        "    try:\n        os.fstat(fd)\n    except OSError:\n        return True\n"
        f"HOME = {str(Path.home())!r}\nKEY = {str(key)!r}\n"
    )
    try:
        attack = f"{preamble}{PROBES}\nraise ImportError(report[:450])"
        parts = []
        for begin in range(0, 4_000, 450):
            folder = tmp_path / str(begin)
            folder.mkdir()
            sliced = attack.replace("report[:450]", f"report[{begin}:{begin + 450}]")
            told = attempt_load(empty, folder, sliced)
            parts.append(told)
            if len(told) < 450:
                break
    finally:
        os.close(opened)
    report = json.loads("".join(parts))
    assert SECRET not in json.dumps(report)
    assert not [name for name in report["environ"] if name.startswith(("MVAULT", "AWS", "PIP", "UV", "SSH"))]
    assert report["environ"]["HOME"] == "/nonexistent"
    assert str(key) not in json.dumps(report["argv"] + report["orig"])
    assert opened not in report["fds"] or opened < 4
    assert len(report["fds"]) <= 4  # three standard ones, and the answer's
    assert set(report["found"].values()) == {"refused"}, report["found"]
    assert not Path("/tmp/mvault-load-test-was-here").exists()


def test_no_key_of_this_process_is_in_the_memory_of_that_one(empty: Environment, tmp_path: Path) -> None:
    """It is another program, not a fork: its memory is scanned while it runs."""
    marker, shown = os.urandom(24), os.urandom(24)
    attack = f"held = {shown!r} * 4\nimport time\ntime.sleep(30)"
    found: dict[bytes, bool] = {}

    def scan() -> None:
        deadline = time.monotonic() + 20
        while time.monotonic() < deadline and not found.get(shown):
            for pid in _children(os.getpid()):
                with contextlib.suppress(OSError):
                    memory = _memory(pid)
                    found.update(
                        {entry: found.get(entry, False) or entry in memory for entry in (marker, shown)}
                    )
            time.sleep(0.2)

    scanning = threading.Thread(target=scan)
    scanning.start()
    assert attempt(empty, tmp_path, attack, seconds=5).reason == "stopped"
    scanning.join()
    if not found:
        pytest.skip("this kernel lets nobody read another process")
    assert found == {marker: False, shown: True}


def _children(parent: int) -> list[int]:
    found = []
    for path in Path("/proc").glob("[0-9]*/status"):
        with contextlib.suppress(OSError):
            # Before it has become another program, it shares this one's memory.
            ours = load_test_process.MODULE.encode() in path.with_name("cmdline").read_bytes()
            if ours and f"PPid:\t{parent}\n" in path.read_text():
                found.append(int(path.parent.name))
    return found


def _memory(pid: int) -> bytes:
    held = []
    with open(f"/proc/{pid}/mem", "rb", buffering=0) as memory:
        for line in Path(f"/proc/{pid}/maps").read_text().splitlines():
            span, rights = line.split()[:2]
            begin, end = (int(part, 16) for part in span.split("-"))
            if rights.startswith("rw") and end - begin < 1 << 28:
                with contextlib.suppress(OSError, ValueError):
                    memory.seek(begin)
                    held.append(memory.read(end - begin))
    return b"".join(held)


def attempt_load(empty: Environment, folder: Path, attack: str) -> str:
    """Give what an import failed with, of which the loader keeps the first line."""
    packages = folder / "packages"
    packages.mkdir()
    (packages / "numpy.py").write_text(f"import os, sys, json\n{attack}\n")
    environment = replace(empty, packages=packages)
    head: dict[str, Any] = {
        "files": [{"path": "x.npz", "format": "npz", "role": "artifact", "part": "sample", "usable": []}]
    }
    ended = load_test_process.run(environment, head, PARTS, EXPECTED, Bounds(4 * limits.GIB, 20, False))
    assert ended.reason == "load"
    return ended.detail.partition(": ")[2]


def test_nothing_of_the_packages_runs_before_the_process_is_confined(
    empty: Environment, tmp_path: Path
) -> None:
    """A `.pth` file, a `sitecustomize` or a module called like one of Python's own would run on start."""
    packages = tmp_path / "packages"
    packages.mkdir()
    proof = tmp_path / "ran"
    line = f"open({str(proof)!r}, 'w')"
    (packages / "evil.pth").write_text(f"import os; {line}\n")
    for name in ("sitecustomize", "usercustomize", "os", "ctypes", "json", "vault"):
        (packages / f"{name}.py").write_text(line)
    for path in packages.iterdir():  # as an installer would have put them
        (empty.packages / path.name).write_bytes(path.read_bytes())
    try:
        environment = replace(empty)
        found = load_test_process.run(environment, HEAD, PARTS, EXPECTED, Bounds(4 * limits.GIB, 20, False))
    finally:
        for path in packages.iterdir():
            (empty.packages / path.name).unlink()
    assert found.reason == "load"  # there is no ONNX Runtime
    assert found.level.whole
    assert not proof.exists()


def test_an_interpreter_that_does_not_start_is_no_verdict_about_the_model(
    empty: Environment, tmp_path: Path
) -> None:
    broken = tmp_path / "python"
    broken.write_text("#!/bin/sh\necho broken >&2; exit 5\n")
    broken.chmod(0o700)
    for interpreter in (broken, tmp_path / "none"):
        with pytest.raises(Unavailable):
            load_test_process.run(
                replace(empty, interpreter=interpreter), HEAD, PARTS, EXPECTED, Bounds(limits.GIB, 20, False)
            )
