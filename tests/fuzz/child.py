"""Load mutants in children that may crash, hang or run out of memory, and say which did.

    python -m tests.fuzz.child        reads lines of JSON: {"sample": …, "seeds": […], "seconds": …}

The process imports every library once. For each line it forks: the fork loads
the mutants one by one, asks each restored model about its rows, and ends at the
first that does anything but load or refuse. The answer is a line of JSON:
`loaded`, `refused`, and `failures` as pairs of seed and finding.
"""

import json
import os
import resource
import signal
import sys
import traceback
import warnings
from typing import Any, Final

from tests.fuzz import mutators
from tests.fuzz.samples import Sample, sample
from vault.core import static_stage
from vault.core.allowance import Allowance
from vault.core.pickle_globals import DEFAULT_PICKLE_GLOBALS
from vault.core.skops_types import DEFAULT_SKOPS_TYPES
from vault.errors import Refused
from vault.loaders import arrays, onnx, pickle_gate, skops

MEMORY: Final = 1 << 30
_FORBIDDEN: Final = (
    "os.exec", "os.fork", "os.posix_spawn", "os.remove", "os.rename", "os.symlink", "os.system", "pty.",
    "shutil.", "socket.", "sqlite3.", "subprocess.", "tempfile.", "urllib.", "webbrowser.", "ctypes.dlopen",
)  # fmt: skip
_WRITES: Final = os.O_WRONLY | os.O_RDWR | os.O_CREAT
ALLOWANCE: Final = Allowance(
    formats=frozenset({"pickle", "joblib"}), pickle_globals=frozenset(DEFAULT_PICKLE_GLOBALS)
)


class Canary(BaseException):
    """Something happened that no load may do."""


def load(honest: Sample, data: bytes) -> Any:
    """Take a file through the static stage, as one whose signer pins whatever it names, and restore it.

    Raises:
        Refused: the vault does not load it.
    """
    kind, view = honest.format, memoryview(data)
    pins = static_stage.observe(kind, view, ALLOWANCE, "m")
    static_stage.check(honest.path, kind, view, pins, ALLOWANCE, "m")
    if kind == "skops":
        return skops.restore(view, pins & DEFAULT_SKOPS_TYPES, subject="m")
    if kind == "onnx":
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        options.log_severity_level = 4
        options.add_session_config_entry("session.load_model_format", "ONNX")
        return onnx.restore(view, session_options=options, subject="m")
    if kind in ("pickle", "joblib"):
        return pickle_gate.restore(
            view, pins & ALLOWANCE.pickle_globals, joblib=kind == "joblib", subject="m"
        )
    if kind in ("npy", "npz"):
        return arrays.restore_arrays(view, subject="m") if kind == "npz" else None
    return None


def ask(model: Any, rows: Any) -> None:
    """Use a restored model; an exception of Python is no harm, a crash is."""
    if rows is None:
        return
    for name in ("predict", "predict_proba", "decision_function", "transform", "score_samples", "__repr__"):
        try:
            getattr(model, name)(*([] if name == "__repr__" else [rows]))
        except Canary:
            raise
        except Exception:  # a changed model may refuse its rows in any way
            continue


def one(name: str, seed: int, seconds: int) -> str:
    """Load one mutant within this time; return `loaded`, `refused`, or what went wrong."""
    honest = sample(name)
    data = honest.data if seed < 0 else mutators.mutant(name.partition("/")[0], honest.data, seed)
    signal.setitimer(signal.ITIMER_PROF, seconds)
    try:
        if seed < -1:
            _misbehave(seed)
        model = load(honest, data)
    except Refused:
        return "refused"
    except BaseException as error:
        where = traceback.extract_tb(error.__traceback__)[-1]
        return f"{type(error).__name__}: {str(error)[:200]} at {where.filename}:{where.lineno}"
    try:
        ask(model, honest.rows)
    except Canary as canary:
        return f"after loading: {canary}"
    signal.setitimer(signal.ITIMER_PROF, 0)
    return "loaded"


def _misbehave(seed: int) -> None:
    """Do what a load must not do, so that a test can see that it would be seen."""
    if seed == -2:
        os.kill(os.getpid(), signal.SIGSEGV)
    while seed == -3:
        pass
    if seed == -4:
        bytearray(2 * MEMORY)
    if seed == -6:
        os.system("true")
    raise ZeroDivisionError


def _watch(event: str, arguments: tuple[Any, ...]) -> None:
    if event == "open" and isinstance(arguments[2], int) and arguments[2] & _WRITES:
        raise Canary(f"{event} {arguments}")
    if event.startswith(_FORBIDDEN):
        raise Canary(f"{event} {arguments}")


def batch(name: str, seeds: list[int], seconds: int, answer: int) -> None:
    """Load mutants one after the other, and write one letter per mutant, or the failure."""
    with open("/proc/self/statm") as file:
        now = int(file.read().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (now + MEMORY, now + MEMORY))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    sys.addaudithook(_watch)
    for seed in seeds:
        try:
            found = one(name, seed, seconds)
        except Exception as error:
            found = f"no mutant: {type(error).__name__}: {error}"
        os.write(answer, found[:1].encode() if found in ("loaded", "refused") else f"!{found}\n".encode())
        if found not in ("loaded", "refused"):
            return


def run(name: str, seeds: list[int], seconds: int) -> dict[str, Any]:
    """Fork for the mutants of these seeds, again after each that failed."""
    counts = {"loaded": 0, "refused": 0}
    failures: list[tuple[int, str]] = []
    sample(name)  # made before the fork, so that it is made once
    rest = list(seeds)
    while rest:
        reading, writing = os.pipe()
        child = os.fork()
        if child == 0:
            try:
                os.close(reading)
                batch(name, rest, seconds, writing)
            finally:
                os._exit(0)
        os.close(writing)
        with os.fdopen(reading, "rb") as pipe:
            told = pipe.read()
        status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        letters, _, finding = told.decode(errors="replace").partition("!")
        counts["loaded"] += letters.count("l")
        counts["refused"] += letters.count("r")
        done = len(letters)
        if status < 0:
            what = f"it took more than {seconds} s" if -status == signal.SIGPROF else f"signal {-status}"
            failures.append((rest[done], what))
        elif done < len(rest):
            failures.append((rest[done], finding.strip() or "it ended"))
        rest = rest[done + 1 :]
    return {**counts, "failures": failures}


def main() -> None:
    """Answer lines until there are no more."""
    warnings.simplefilter("ignore")
    import onnxruntime  # noqa: F401
    import skops.io  # noqa: F401

    with os.fdopen(os.dup(1), "w", buffering=1) as answers:
        os.dup2(2, 1)  # libraries print
        answers.write(json.dumps("ready") + "\n")
        for line in sys.stdin:
            asked = json.loads(line)
            answers.write(json.dumps(run(asked["sample"], asked["seeds"], asked["seconds"])) + "\n")


if __name__ == "__main__":
    main()
