"""The pickle rules the process, and writes the answer itself: whatever it says is read as a stranger's."""

import io
import pickle
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.attacks.confinement_attacker import attacked, hostile
from vault.actions import convert_messages, converting
from vault.confinement import confine
from vault.core.strict_json import JSONValue
from vault.errors import Malformed

pytestmark = pytest.mark.skipif(not confine.available().whole, reason="this kernel lacks Landlock or seccomp")

ANSWER = """
import base64, os
data = base64.b64decode({data!r})
for number in range(3, 16):
    try:
        rest = memoryview(data)
        while rest:
            rest = rest[os.write(number, rest):]
    except OSError:
        pass
os._exit(0)
"""


def answering(data: bytes) -> str:
    import base64

    return ANSWER.format(data=base64.b64encode(data).decode())


def npz(**arrays: Any) -> bytes:
    buffer = io.BytesIO()
    np.savez(buffer, **arrays)
    return buffer.getvalue()


def skops_of(thing: object) -> bytes:
    import skops.io

    data: bytes = skops.io.dumps(thing)
    return data


def model(**parts: bytes) -> bytes:
    return convert_messages.pack({"estimator": "x", "predicts": True}, parts)


def with_schema(schema: str) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("schema.json", schema)
    return buffer.getvalue()


class Gadget:
    def __reduce__(self) -> tuple[Any, ...]:
        import os

        return os.system, ("touch /tmp/marker-of-answer",)


OPERATOR = (
    '{"__class__": "methodcaller", "__module__": "operator", "__loader__": "OperatorFuncNode", "__id__": 1,'
    '"attrs": {"__class__": "tuple", "__module__": "builtins", "__loader__": "TupleNode", "__id__": 2,'
    '"content": []}, "protocol": 2, "_skops_version": "0.14"}'
)
ROWS = npz(values=np.zeros((4, 2)))
ANSWERS: dict[str, bytes] = {
    "nothing": b"",
    "noise": b"\xff" * 4_096,
    "no head": (8).to_bytes(8, "little") + b"{}",
    "a head without end": (1 << 60).to_bytes(8, "little") + b"{}",
    "a head that is a list": convert_messages._LENGTH.to_bytes(8, "little") + b"[[[[]]]]",
    "a part larger than the answer": b"",
    "no model": model(rows=ROWS),
    "a pickle as the model": model(model=pickle.dumps(Gadget()), rows=ROWS),
    "text as the model": model(model=b"hello", rows=ROWS),
    "an empty model": model(model=b"", rows=ROWS),
    "a zip without a schema": model(model=npz(values=np.zeros(3)), rows=ROWS),
    "a type that is not allowed": model(model=skops_of(np.random.default_rng), rows=ROWS),
    "an operator": model(model=with_schema(OPERATOR), rows=ROWS),
    "broken JSON in the model": model(model=with_schema("{"), rows=ROWS),
    "no rows": model(model=skops_of({"a": 1})),
    "rows of objects": model(model=skops_of({"a": 1}), rows=npz(values=np.array([Gadget()], dtype=object))),
    "rows that are no archive": model(model=skops_of({"a": 1}), rows=b"PK"),
    "predictions of objects": model(
        model=skops_of({"a": 1}), rows=ROWS, **{"out.predict": npz(values=np.array([Gadget()], dtype=object))}
    ),
    "predictions that are too many": model(
        model=skops_of({"a": 1}), rows=ROWS, **{"out.predict": npz(values=np.zeros(5))}
    ),
    "predictions of nothing": model(
        model=skops_of({"a": 1}), rows=ROWS, **{"out.predict": npz(values=np.zeros((4, 0)))}
    ),
    "one number for all rows": model(
        model=skops_of({"a": 1}), rows=ROWS, **{"out.predict": npz(values=np.float64(1))}
    ),
    "predictions that the model does not make": model(
        model=skops_of({"a": 1}), rows=ROWS, **{"out.predict": npz(values=np.zeros(4))}
    ),
    "a failure in terminal codes": convert_messages.pack({"failed": "load", "reason": "\x1b[2J"}, {}),
    "a failure of an unknown stage": convert_messages.pack({"failed": "\x00", "reason": "x"}, {}),
    "a failure that is no text": convert_messages.pack({"failed": 1}, {}),
}
ANSWERS["a part larger than the answer"] = ANSWERS["no model"][:-1]


# Each of these starts both processes, with libraries.
LONG = {
    "predictions of nothing",
    "predictions that are too many",
    "predictions that the model does not make",
    "one number for all rows",
    "rows of objects",
}


@pytest.mark.parametrize(
    "answer", [name if name not in LONG else pytest.param(name, marks=pytest.mark.slow) for name in ANSWERS]
)
def test_an_answer_of_the_pickles_own_is_refused(answer: str, tmp_path: Path) -> None:
    error = attacked(tmp_path, answering(ANSWERS[answer]))
    expected = {
        "a type that is not allowed": {"not-allowed"},
        "an operator": {"conversion-failed", "format-content"},
    }
    codes = expected.get(
        answer, {"conversion-failed", "format-content", "malformed-archive", "malformed-json"}
    )
    assert error.code in codes, (error.code, error.message)
    assert error.exit_status in (3, 5)
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["hostile.pkl"]
    assert not Path("/tmp/marker-of-answer").exists()


def test_what_an_honest_looking_answer_holds_is_told_and_not_believed(tmp_path: Path) -> None:
    """A pickle can make any model it likes: it is written as what was inspected, and said to be dubious."""
    from sklearn.linear_model import LinearRegression

    rows = np.arange(8.0).reshape(4, 2)
    made = LinearRegression().fit(rows, rows[:, 0])
    parts = {
        "model": skops_of(made),
        "rows": npz(values=rows),
        "out.predict": npz(values=made.predict(rows)),
    }
    head: dict[str, JSONValue] = {
        "estimator": "what.ever",
        "predicts": True,
        "generated": True,
        "dangers": [],
        "warnings": [1, "w"],
    }
    path = hostile(tmp_path, answering(convert_messages.pack(head, parts)))
    found = converting.convert(path, despite_dangers=True)
    assert found.dangers == ("builtins.exec",)
    assert found.types == ("sklearn.linear_model._base.LinearRegression",)
    assert (found.weak, found.sample, found.warnings) == (True, "generated", ("w",))
    assert (tmp_path / "hostile.skops").read_bytes() == parts["model"]


def test_a_model_that_predicts_otherwise_than_was_said_is_not_written(tmp_path: Path) -> None:
    from sklearn.linear_model import LinearRegression

    rows = np.arange(8.0).reshape(4, 2)
    made = LinearRegression().fit(rows, rows[:, 0])
    parts = {"model": skops_of(made), "rows": npz(values=rows), "out.predict": npz(values=np.full(4, 9.0))}
    error = attacked(tmp_path, answering(convert_messages.pack({"predicts": True}, parts)))
    assert error.code == "conversion-failed"
    assert "predicts otherwise for 100.00% of 4 rows" in error.message


@pytest.mark.parametrize("cut", range(0, 60, 7))
def test_a_message_that_was_cut_is_malformed(cut: int) -> None:
    whole = convert_messages.pack({"a": 1}, {"x": b"12", "y": b""})
    assert convert_messages.unpack(memoryview(whole)).parts["x"].tobytes() == b"12"
    with pytest.raises(Malformed):
        convert_messages.unpack(memoryview(whole)[: min(cut, len(whole) - 1)])


MANY = "[" + '["a",0],' * 20 + '["b",0]]'


@pytest.mark.parametrize(
    "parts",
    ["1", "[1]", '[["a",-1]]', '[["a",99]]', '[["a",0],["a",0]]', '[["a",0,0]]', "[[1,0]]", MANY],
)
def test_parts_that_cannot_be_are_malformed(parts: str) -> None:
    head = f'{{"head":{{}},"parts":{parts}}}'.encode()
    with pytest.raises(Malformed):
        convert_messages.unpack(memoryview(len(head).to_bytes(8, "little") + head))


@pytest.mark.parametrize("line", [b"", b"ready", b"ready x 1", b"ready 7 2", b"ready 7", b"READY 0007 1\n"])
def test_only_its_own_line_says_that_the_process_is_confined(line: bytes) -> None:
    assert convert_messages.read_ready(memoryview(line)) is None
    assert convert_messages.read_ready(memoryview(convert_messages.ready(7, True))) == (7, True)
    assert len(convert_messages.ready(7, False)) == convert_messages.READY_BYTES
