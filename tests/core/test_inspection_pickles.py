"""What refused pickles are up to is told all the same: old protocols, PyTorch, object arrays, evasions."""

import gzip
import io
import os
import pickle
import pickletools
from typing import Any

import joblib
import numpy as np
import pytest
from sklearn.linear_model import LinearRegression

from tests.core.archive_parts import zipped
from vault.core import inspection, inspectors_pickle, limits, pickle_survey
from vault.core.findings import Budget, Findings
from vault.core.inspection import inspect_bytes
from vault.errors import Malformed

MODEL = LinearRegression().fit(np.eye(3), [1, 2, 3])


class Evil:
    def __reduce__(self) -> tuple[Any, ...]:
        return os.system, ("id",)


class Mine:
    """A class of no known library."""


EVIL = pickle.dumps(Evil())
SYSTEM = "posix.system"


def surveyed(data: bytes, **more: int) -> pickle_survey.Survey:
    return pickle_survey.survey(memoryview(data), **more)


def rules(found: inspection.Inspection) -> set[str]:
    return {entry.rule for entry in found.findings}


# --- the survey ---

EVERY_OPCODE = (
    b"\x80\x02"
    b"(K\x01M\x02\x00J\x03\x00\x00\x00I4\nL5L\nF1.5\nG" + bytes(8) + b"\x8a\x01\x07\x8b\x01\x00\x00\x00\x08"
    b"S'text'\nVte\\u0078t\nU\x01aT\x01\x00\x00\x00bX\x01\x00\x00\x00c\x8c\x01d\x8d\x01" + bytes(7) + b"e"
    b"C\x01fB\x01\x00\x00\x00g\x8e\x01" + bytes(7) + b"h\x96\x01" + bytes(7) + b"i"
    b"N\x88\x89)]}\x8f1"
    b"(Nl(Nt(Nd(N\x91"
    b"]N\x61](Ne}NNs}(NNu\x8f(N\x900"
    b"N\x85NN\x86NNN\x87"
    b"p1\ng1\nq\x02h\x02r\x03\x00\x00\x00j\x03\x00\x00\x00\x9420"
    b"Pname\nQ\x82\x01\x83\x01\x00\x84\x01\x00\x00\x00\x97\x98"
    b"cm1\nn1\n)R(im2\nn2\n(cm3\nn3\noX\x02\x00\x00\x00m4X\x02\x00\x00\x00n4\x93)\x81)}\x92}b"
    b"\x95" + bytes(8) + b"."
)


def test_a_survey_knows_every_opcode_that_a_pickler_ever_wrote() -> None:
    met = surveyed(EVERY_OPCODE)
    assert (met.streams, met.end, met.protocol) == (1, len(EVERY_OPCODE), 2)
    assert set(met.globals) == {"m1.n1", "m2.n2", "m3.n3", "m4.n4"}
    assert met.called == set(met.globals)
    assert not met.cut | met.hidden | met.array
    known = {ord(entry.code) for entry in pickletools.opcodes}
    assert set(pickle_survey._STEPS) == known - {ord(".")}


@pytest.mark.parametrize("protocol", range(6))
def test_a_survey_tells_what_is_named_called_and_where(protocol: int) -> None:
    data = pickle.dumps([Evil(), Mine()], protocol)
    met = surveyed(data)
    assert {SYSTEM, f"{__name__}.Mine"} <= set(met.globals)
    assert SYSTEM in met.called
    assert data[met.globals[SYSTEM]] in b"c\x93"


def test_a_survey_goes_on_with_the_next_pickle_and_stops_at_other_bytes() -> None:
    met = surveyed(pickle.dumps(1) + EVIL + pickle.dumps(2) + b"tensor data")
    assert (met.streams, met.end) == (3, len(pickle.dumps(1) + EVIL + pickle.dumps(2)))
    assert set(met.globals) == {SYSTEM}
    many = surveyed(pickle.dumps(1) * 100)
    assert many.streams == 64


def test_a_survey_is_bounded() -> None:
    assert surveyed(b"\x80\x04" + b"N0" * 100, opcodes=50).cut
    assert surveyed(b"\x80\x04" + b"".join(b"cm\nn%d\n" % n for n in range(10_002)) + b".").cut
    assert surveyed(b"\x80\x04" + b"N" * 20, opcodes=10**9).cut is False


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\x80\x04\xff",
        b"cm",
        b"cm\nn",
        b"im\n",
        b"c" + b"x" * 300,
        b"Px",
        b"Ix",
        b"px",
        b"gx",
        b"Sx",
        b"Vx",
        b"\x8c\xffshort",
        b"X\xff\xff\xff\xff",
        b"}N",
        b"pno number\n",
    ],
)
def test_where_bytes_make_no_sense_a_survey_ends(data: bytes) -> None:
    met = surveyed(data)
    assert met.streams == 0
    assert met.end <= len(data)


def test_takings_from_an_empty_stack_are_unknown_and_stop_nothing() -> None:
    met = surveyed(b"\x80\x040tR)\x81o1\x93\x94q\x00b" + EVIL[2:])
    assert met.hidden
    assert SYSTEM in met.called


def test_a_long_line_is_read_up_to_a_limit() -> None:
    assert surveyed(b"c" + b"m" * 1_000 + b"\nname\n.").globals == {"m" * 1_000 + ".name": 0}
    assert surveyed(b"V" + b"m" * 100_000 + b"\n.").streams == 0


def test_long_texts_are_not_kept() -> None:
    assert surveyed(b"\x80\x04X" + (5_000).to_bytes(4, "little") + b"m" * 5_000 + b"\x8c\x01n\x93.").hidden


def test_names_are_found_in_whatever_surrounds_them() -> None:
    data = (
        b"\xff\x00cos\nsystem\n\xff\x8c\x05posix\x94\x8c\x06system\x94\x93\xff\x8c\x03abc\x8c\x01gq\x01\x93"
    )
    assert pickle_survey.written(memoryview(data), limit=1_000) >= {"os.system", "posix.system"}
    assert pickle_survey.written(memoryview(data), limit=5) == frozenset()


# --- what an inspection tells ---


def test_a_pickle_tells_the_version_of_scikit_learn() -> None:
    for protocol in (3, 4, 5):
        assert inspect_bytes("m.pkl", pickle.dumps(MODEL, protocol)).versions["scikit-learn"]
    assert "scikit-learn" not in inspect_bytes("m.pkl", pickle.dumps(Mine())).versions


def test_a_convertible_pickle_comes_with_the_command_that_converts_it() -> None:
    data = pickle.dumps(MODEL)
    for name, typed in {
        "models/m.pkl": "models/m.pkl",
        "my model.pkl": "'my model.pkl'",
        "x'; rm -rf ~ #.pkl": "'x'\\''; rm -rf ~ #.pkl'",
        "-rf.pkl": "'./-rf.pkl'",
        "a\nb.pkl": "FILE",
        "a\u202eb.pkl": "FILE",
    }.items():
        assert inspect_bytes(name, data).hint == f"Convert it: mvault convert {typed} --to skops."
    assert "Do not load it" in inspect_bytes("m.pkl", EVIL).hint


@pytest.mark.parametrize("protocol", range(6))
def test_a_global_is_reported_once_with_its_place(protocol: int) -> None:
    data = pickle.dumps([Evil(), Evil()], protocol)
    found = inspect_bytes("m.pkl", data)
    (entry,) = [entry for entry in found.findings if entry.rule == "forbidden-global"]
    assert (entry.level, entry.member) == ("error", "")
    assert entry.offset is not None
    assert data[entry.offset] in b"c\x93"


def test_what_stands_behind_a_raw_array_is_found() -> None:
    packed = io.BytesIO()
    joblib.dump([np.arange(100.0)], packed)
    data = packed.getvalue()[:-2] + b"NNR2cos\nsystem\n(S'id'\ntR."
    found = inspect_bytes("m.joblib", data)
    assert found.verdict == "refused"
    assert "os.system" in found.globals


def test_a_compressed_joblib_file_tells_its_compression_and_a_damaged_one_is_refused() -> None:
    packed = io.BytesIO()
    joblib.dump(MODEL, packed, compress=("gzip", 3))
    found = inspect_bytes("m.joblib", packed.getvalue())
    assert (found.verdict, found.versions["compression"]) == ("needs-pins", "gzip")
    cut = inspect_bytes("m.joblib", gzip.compress(EVIL)[:-4])
    assert (cut.verdict, SYSTEM in cut.globals) == ("refused", True)


def test_several_pickles_one_behind_the_other_are_told() -> None:
    parts: tuple[Any, ...] = (0x1950A86A20F9469CFC6C, 1001, {}, Evil(), [])
    legacy = b"".join(pickle.dumps(part, 2) for part in parts)
    found = inspect_bytes("m.pt", legacy + bytes(64))
    assert found.verdict == "refused"
    assert SYSTEM in found.globals
    assert "many-pickles" in rules(found)
    assert any("5 pickles" in danger for danger in found.dangers)


def test_a_name_that_is_worked_out_is_told() -> None:
    found = inspect_bytes("m.pkl", b"\x80\x04\x8c\x05posix)\x93)R.")
    assert found.verdict == "refused"
    assert "hidden-global" in rules(found)


def test_a_torch_archive_is_refused_and_all_of_its_pickles_and_programs_are_told() -> None:
    honest = b"\x80\x02ctorch._utils\n_rebuild_tensor_v2\nq\x00(N(tR."
    data = zipped(
        ("m/data.pkl", honest),
        ("m/data/0", bytes(100)),
        ("m/code/__torch__.py", b"x = 1"),
        ("m/version", b"3"),
        ("m/extra/hidden", EVIL),
    )
    found = inspect_bytes("m.pt", data)
    assert (found.format, found.verdict) == ("torch", "refused")
    assert {"torch._utils._rebuild_tensor_v2", SYSTEM} <= set(found.globals)
    assert [member.path for member in found.members] == ["m/extra/hidden"]
    assert "It holds a TorchScript program." in found.dangers
    plain = inspect_bytes("m.pt", zipped(("m/data.pkl", honest), ("m/data/0", EVIL)))
    assert "safetensors" in plain.hint
    assert SYSTEM not in plain.globals, "tensors are numbers, whatever they look like"
    assert "unknown-global" not in rules(plain)
    assert "safetensors" in inspect_bytes("m.pth", honest).hint


def array(items: Any) -> bytes:
    packed = io.BytesIO()
    np.save(packed, items, allow_pickle=True)
    return packed.getvalue()


def test_the_pickle_in_an_array_of_objects_is_told() -> None:
    objects = array(np.array([Evil()], dtype=object))
    found = inspect_bytes("m.npy", objects)
    assert (found.verdict, SYSTEM in found.globals) == ("refused", True)
    found = inspect_bytes(
        "m.npz", zipped(("a.npy", array(np.eye(2))), ("b.npy", objects), ("c.npy", objects))
    )
    assert (found.verdict, SYSTEM in found.globals) == ("refused", True)
    packed = io.BytesIO()
    np.lib.format.write_array(packed, np.array([Evil()], dtype=object), version=(2, 0))
    assert SYSTEM in inspect_bytes("m.npy", packed.getvalue()).globals
    assert inspect_bytes("m.npy", array(np.eye(2))[:-1]).globals == ()


def test_a_pickle_behind_much_padding_is_found_in_a_file_of_any_name() -> None:
    data = b"(" + b"I1\n" * 400_000 + b"lcos\nsystem\n(S'id'\ntR."
    for name in ("m.bin", "m.txt", "m"):
        found = inspect_bytes(name, data)
        assert (found.verdict, "os.system" in found.globals) == ("refused", True)
        assert "ambiguous-content" in rules(found)
    for harmless in (b"0" * 500_000, b"close\nopen\n1,2\n", b"N." * 3, b"city\nname\n"):
        assert inspect_bytes("m.csv", harmless).verdict == "data"


def test_what_an_inspection_may_spend_ends() -> None:
    found = Findings(Budget(opcodes=0), 0, inspect_bytes)
    inspectors_pickle.pickle("m.pkl", memoryview(pickle.dumps(MODEL)), found)
    assert (found.verdict, found.code) == ("refused", "too-large")
    budget = Budget(members=1, unpacked=10)
    budget.member()
    budget.unpack(10)
    for spend in (budget.member, lambda: budget.unpack(1)):
        with pytest.raises(Malformed) as caught:
            spend()
        assert caught.value.code == "too-large"
    assert Budget().room() == limits.INSPECT_HELD_BYTES


def test_a_long_name_is_shortened_where_it_is_told() -> None:
    found = inspect_bytes("m.pkl", b"c" + b"m" * 1_000 + b"\nsystem\n.")
    assert all(len(name) <= 201 for name in found.globals)
