"""A pickle that crashes, hangs, or wants everything, in the process that converts it."""

import signal
import subprocess
import sys
import threading
import time
from contextlib import suppress
from pathlib import Path

import pytest

from tests.attacks.confinement_attacker import attacked, hostile
from vault.actions import converting
from vault.confinement import confine
from vault.errors import FormatRefused, Refused

pytestmark = pytest.mark.skipif(not confine.available().whole, reason="this kernel lacks Landlock or seccomp")


def test_a_memory_bomb_ends_in_a_refusal(tmp_path: Path) -> None:
    error = attacked(tmp_path, "kept = []\nwhile True: kept.append(bytearray(1 << 26))", memory=1 << 30)
    assert error.code == "conversion-failed"
    assert "MemoryError" in error.message


IGNORING = """
import signal, time
for number in range(1, 65):
    try:
        signal.signal(number, signal.SIG_IGN)
    except (OSError, ValueError):
        pass
time.sleep(600)
"""
CLOSING = """
import os
for number in range(64):
    try:
        os.close(number)
    except OSError:
        pass
while True:
    pass
"""


@pytest.mark.parametrize(
    "code",
    ["while True: pass", "import time\ntime.sleep(600)", CLOSING, IGNORING],
    ids=["spinning", "sleeping", "closing its pipes", "ignoring signals"],
)
def test_what_does_not_end_is_ended(code: str, tmp_path: Path) -> None:
    started = time.monotonic()
    error = attacked(tmp_path, code, seconds=1)
    assert error.code == "conversion-failed"
    assert time.monotonic() - started < 15


def test_threads_that_stay_do_not_keep_the_process(tmp_path: Path) -> None:
    code = """
    import threading, time
    for _ in range(50):
        threading.Thread(target=time.sleep, args=(600,)).start()
    """
    started = time.monotonic()
    with suppress(Refused):  # whether it answers in time depends on the machine
        converting.convert(hostile(tmp_path, code), despite_dangers=True, seconds=5)
    assert time.monotonic() - started < 30
    assert not Path(f"/proc/self/task/{threading.get_native_id()}/children").read_text().split()


def test_it_is_not_listened_to_for_ever(tmp_path: Path) -> None:
    code = """
    import os
    block = bytes(1 << 20)
    while True:
        for number in range(3, 16):
            try: os.write(number, block)
            except OSError: pass
    """
    error = attacked(tmp_path, code)
    assert error.code == "conversion-failed"
    assert "more than any model" in error.message


def test_endless_messages_do_no_harm(tmp_path: Path) -> None:
    code = """
    import sys
    for _ in range(200):
        sys.stderr.write("x" * 10**6)
    raise RuntimeError("y" * 10**6)
    """
    error = attacked(tmp_path, code)
    assert error.code == "conversion-failed"
    assert len(error.message) < 2_000


@pytest.mark.parametrize(
    ("code", "message"),
    [
        ("import ctypes\nctypes.string_at(0)", "SIGSEGV"),
        ("import os\nos.abort()", "SIGABRT"),
        ("import os\nos._exit(3)", "status 3"),
        ("import os\nos._exit(97)", "status 97"),
        ("import os\nos._exit(0)", "cannot be read"),
        ("import sys\nsys.exit(0)", "SystemExit"),
        ("raise KeyboardInterrupt", "KeyboardInterrupt"),
        ("import sys\nsys.setrecursionlimit(10**9)\ndef f(n): return f(n)\nf(1)", ""),
    ],
)
def test_a_crash_is_a_refusal(code: str, message: str, tmp_path: Path) -> None:
    error = attacked(tmp_path, code, seconds=2, memory=1 << 30)
    assert isinstance(error, FormatRefused)
    assert error.code == "conversion-failed"
    assert message in error.message


def test_it_ends_with_the_one_who_started_it(tmp_path: Path) -> None:
    path = hostile(tmp_path, "import time\ntime.sleep(600)")
    program = f"import vault; vault.convert({str(path)!r}, despite_dangers=True)"
    parent = subprocess.Popen(
        [sys.executable, "-c", program], cwd=Path(confine.__file__).parents[2], stderr=subprocess.DEVNULL
    )
    children: list[int] = []
    deadline = time.monotonic() + 30
    while not children and time.monotonic() < deadline:
        time.sleep(0.2)
        listed = Path(f"/proc/{parent.pid}/task/{parent.pid}/children").read_text().split()
        children = [int(one) for one in listed if "Seccomp:\t2" in Path(f"/proc/{one}/status").read_text()]
    parent.send_signal(signal.SIGKILL)
    parent.wait()
    assert len(children) == 1
    while Path(f"/proc/{children[0]}").exists() and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not Path(f"/proc/{children[0]}").exists()
