"""Take hostile files through every stage in a child of their own, and tell what happened there.

    python -m tests.attacks.deserialization_cell    reads lines of JSON, see `Cell.attacks`

The process imports the libraries once and forks for each attack. The fork
records audit events, and ends; a crash is the fork's. `Cell` is the other end.
"""

import base64
import contextlib
import importlib
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Final, Self

ROOT: Final = Path(__file__).parents[2]
SECONDS: Final = 20
# Whatever a loader may do, none of these; reading a file is looked at beside.
_EFFECTS: Final = (
    "ctypes.", "ftplib.", "http.", "marshal.loads", "mmap.", "os.", "pickle.", "pty.", "shutil.", "socket.",
    "sqlite3.", "subprocess.", "tempfile.", "urllib.", "webbrowser.",
)  # fmt: skip
_HARMLESS: Final = ("os.listdir", "os.scandir")  # how an import looks for a module
_NOISE: Final = ("builtins.id", "object.__getattr__", "sys._getframe")
_WRITES: Final = os.O_WRONLY | os.O_RDWR | os.O_CREAT


@dataclass(frozen=True)
class Told:
    """What became of an attack.

    `static` and `loaded` are the codes of the refusals by the static stage and by the loader,
    `passed` where there was none, or the name of an exception that is no refusal. `silent` is what
    happened before the loader: anything at all. `effects` is what happened altogether beyond
    reading: calls, writes, and files read that are no part of a library.
    """

    static: str
    loaded: str
    silent: list[str] = field(default_factory=list)
    effects: list[str] = field(default_factory=list)
    imported: list[str] = field(default_factory=list)
    verdict: str = ""
    message: str = ""
    signal: int = 0


def assert_refused(told: Told, *codes: str) -> None:
    """Refused by the static stage with one of `codes`, or by the loader with one of them; nothing happened.

    Before the loader, nothing at all happens; in it, nothing but imports of allowed libraries.
    """
    assert not told.signal, f"it ended by signal {told.signal}"
    assert told.static in codes or (told.static == "passed" and told.loaded in codes), told
    assert told.loaded != "passed", told
    assert told.silent == [], told
    assert told.effects == [], told
    assert told.static == "passed" or told.verdict in ("refused", "needs-pins"), told


class Cell:
    """Runs attacks in forks of one warm process."""

    def __enter__(self) -> Self:
        """Start the process."""
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.attacks.deserialization_cell"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd=ROOT,
            env={**os.environ, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"},
        )
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """End the process."""
        for pipe in (self._process.stdin, self._process.stdout):
            _open(pipe).close()
        self._process.wait(timeout=60)

    def attack(
        self, path: str, data: bytes, *, names: Iterable[str] = (), folder: Path | None = None
    ) -> Told:
        """Let the fork load `data` as a file called `path`.

        Its signer pins whatever it names. The operator allows what is shipped and `names`. `folder`
        is where the fork works, and comes first on its path of modules, as in `python script.py`.
        """
        return self.attacks(path, [data], names=names, folder=folder)[0]

    def attacks(
        self, path: str, files: Iterable[bytes], *, names: Iterable[str] = (), folder: Path | None = None
    ) -> list[Told]:
        """Let one fork load files one after the other: many forks take longer than what is tried there.

        What the first does is seen although the second would do it too; a crash is told of them all.
        """
        asked = {
            "path": path,
            "files": [base64.b64encode(data).decode() for data in files],
            "names": sorted(names),
            "folder": None if folder is None else str(folder),
        }
        pipe = _open(self._process.stdin)
        pipe.write(json.dumps(asked) + "\n")
        pipe.flush()
        return [Told(**told) for told in json.loads(_open(self._process.stdout).readline())]


def _open(pipe: IO[str] | None) -> IO[str]:
    if pipe is None:
        raise RuntimeError("the process has no pipe")
    return pipe


class _Watch:
    """Records audit events while it is on; a hook cannot be removed, so a process has one."""

    def __init__(self) -> None:
        self.on = False
        self.events: list[tuple[str, Any]] = []
        sys.addaudithook(self._hook)

    def _hook(self, event: str, arguments: Any) -> None:
        if self.on and event not in _NOISE:
            importing = event == "marshal.loads" and sys._getframe(1).f_code.co_filename.startswith(
                "<frozen import"
            )
            if not importing:
                self.events.append((event, arguments))


def _run(path: str, data: bytes, names: frozenset[str], watch: _Watch) -> Told:
    """Take one file through the static stage, the loader and the inspection."""
    from vault.core import inspection, pickle_trace, skops_walk, static_stage
    from vault.core.allowance import Allowance
    from vault.core.formats import by_extension
    from vault.core.pickle_globals import DEFAULT_PICKLE_GLOBALS
    from vault.core.skops_types import DEFAULT_SKOPS_TYPES
    from vault.errors import Refused
    from vault.loaders import onnx, pickle_gate, skops

    kind, view = by_extension(path), memoryview(data)
    pickles = DEFAULT_PICKLE_GLOBALS | names
    types = DEFAULT_SKOPS_TYPES | names
    allowance = Allowance(
        formats=frozenset({"pickle", "joblib"}), pickle_globals=pickles, skops_types=types, onnx_domains=names
    )
    pins: frozenset[str] = frozenset()
    message = ""

    def static() -> None:
        nonlocal pins
        pins = static_stage.observe(kind, view, allowance, path)
        static_stage.check(path, kind, view, pins, allowance, path)

    def load() -> None:
        if kind == "skops":
            skops.restore(view, types & (pins or frozenset(skops_walk.walk(view).pins)), subject=path)
        elif kind == "onnx":
            onnx.restore(view, subject=path)
        elif kind in ("pickle", "joblib"):
            traced = pins or frozenset(pickle_trace.trace(view, joblib=kind == "joblib").pins)
            pickle_gate.restore(view, pickles & traced, joblib=kind == "joblib", subject=path)

    def code(action: Any) -> str:
        nonlocal message
        try:
            action()
        except Refused as refusal:
            message = message or refusal.message
            return refusal.code
        except BaseException as error:
            message = str(error)
            return type(error).__name__
        return "passed"

    if any(name.startswith("mlflow.") for name in names):
        # Allowed, so that it may be imported; and its import looks for plugins in every package.
        with contextlib.suppress(ImportError):
            importlib.import_module("mlflow.pyfunc")
    before = set(sys.modules)
    events = watch.events = []
    watch.on = True
    first = code(static)
    watch.on = False
    silent = [f"{event} {str(arguments)[:200]}" for event, arguments in events]
    watch.on = True
    second = code(load) if first == "passed" or kind in ("pickle", "joblib", "skops") else first
    watch.on = False
    effects = [
        f"{event} {str(arguments)[:200]}" for event, arguments in events if _is_effect(event, arguments)
    ]
    count = len(events)
    watch.on = True
    verdict = inspection.inspect_bytes(path, data).verdict
    watch.on = False
    silent += [f"{event} {str(arguments)[:200]}" for event, arguments in events[count:]]
    return Told(first, second, silent, effects, sorted(set(sys.modules) - before), verdict, message)


def _is_effect(event: str, arguments: Any) -> bool:
    if event == "open":
        path, flags = str(arguments[0]), arguments[2]
        library = path.startswith((sys.prefix, sys.base_prefix, str(ROOT))) and path.endswith((".py", ".pyc"))
        return bool(isinstance(flags, int) and flags & _WRITES) or not library
    if event == "exec":  # an import runs a module of a library
        return not str(getattr(arguments[0], "co_filename", "")).startswith(
            (sys.prefix, sys.base_prefix, "<")
        )
    return event.startswith(_EFFECTS) and event not in _HARMLESS


def _run_each(asked: dict[str, Any]) -> list[Told]:
    watch, names = _Watch(), frozenset(asked["names"])
    return [_run(asked["path"], base64.b64decode(data), names, watch) for data in asked["files"]]


def _answer(asked: dict[str, Any]) -> list[Told]:
    """Fork, and wait for what the fork tells or for its end."""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            signal.setitimer(signal.ITIMER_PROF, SECONDS)
            if asked["folder"] is not None:
                os.chdir(asked["folder"])
                sys.path.insert(0, asked["folder"])
            with os.fdopen(writing, "wb", closefd=False) as answer:
                answer.write(json.dumps([asdict(told) for told in _run_each(asked)]).encode())
        finally:
            os._exit(0)
    os.close(writing)
    with os.fdopen(reading, "rb") as pipe:
        told = pipe.read()
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    if status < 0 or not told:
        return [Told("crash", "crash", signal=-status)] * len(asked["files"])
    return [Told(**one) for one in json.loads(told)]


def _warm() -> None:
    """Load one honest file of each kind, so that what an attack imports is the attack's own."""
    import warnings

    from tests.fuzz.child import ALLOWANCE, load
    from tests.fuzz.samples import sample
    from vault.core import inspection, static_stage

    warnings.simplefilter("ignore")
    for name in ("skops/forest", "skops/text", "onnx/hand", "pickle/forest", "joblib/forest", "npz/arrays"):
        honest = sample(name)
        load(honest, honest.data)
        inspection.inspect_bytes(honest.path, honest.data)
    for name in ("npy/matrix", "safetensors/two"):
        honest = sample(name)
        static_stage.observe(honest.format, memoryview(honest.data), ALLOWANCE, "m")
        inspection.inspect_bytes(honest.path, honest.data)


def main() -> None:
    """Answer lines until there are no more."""
    with os.fdopen(os.dup(1), "w", buffering=1) as answers:
        os.dup2(2, 1)  # libraries print
        _warm()
        for line in sys.stdin:
            answers.write(json.dumps([asdict(told) for told in _answer(json.loads(line))]) + "\n")


if __name__ == "__main__":
    main()
