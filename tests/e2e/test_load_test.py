"""A load test makes a fresh environment of real wheels, loads the package there, and signs what it saw."""

from contextlib import nullcontext
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from onnx import TensorProto, helper, numpy_helper

from tests import builders, wheel_parts
from tests.builders import PROD, Built
from tests.core.test_adoption import revoke
from vault.actions import attesting, load_test_package, load_testing, needed, publish
from vault.actions.load_testing import LoadTest, Options
from vault.actions.publish import BytesSource, Contents, PackageFile
from vault.confinement import confine
from vault.core import names, requirements
from vault.core.policy import Policy
from vault.core.requirements import Against
from vault.errors import AccessDenied, Malformed, NotFound, Refused, Unavailable, VaultError
from vault.loaders import arrays

pytestmark = pytest.mark.skipif(not confine.available().whole, reason="this kernel cannot confine a process")

ROWS = np.arange(12, dtype="float32").reshape(6, 2)
CHURN = names.reference("churn:1")


@pytest.fixture(scope="session")
def wheels(request: pytest.FixtureRequest) -> Path:
    """The wheels that an ONNX model needs, made of what is installed and kept between runs."""
    cache_folder = request.config.cache.mkdir("load-test-wheels")
    return wheel_parts.folder_of(Path(cache_folder), "onnxruntime", "numpy")


@cache
def model() -> bytes:
    """Give a model that adds up the two numbers of a row."""
    graph = helper.make_graph(
        [helper.make_node("MatMul", ["x", "w"], ["y"])],
        "sum",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [None, 2])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [None, 1])],
        [numpy_helper.from_array(np.ones((2, 1), "float32"), "w")],
    )
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    data: bytes = made.SerializeToString()
    return data


def version(
    built: Built,
    *,
    python: str = "",
    recorded: Any = None,
    lines: list[str] | None = None,
    lock: bytes | None = None,
    sample: bool = True,
    who: str = "owner",
) -> None:
    """Publish the model with its sample, what was recorded of it, and what it needs."""
    outputs = ROWS.sum(axis=1, dtype="float64") if recorded is None else recorded
    files = [("model.onnx", "model", "onnx", model()), ("artifacts/limits.json", "artifact", "json", b"[1]")]
    if sample:
        files += [
            ("sample.npz", "sample", "npz", arrays.dump_sample(ROWS)),
            ("sample.predict.npz", "sample", "npz", arrays.dump_sample(outputs)),
        ]
    if lock is not None:
        files.append(("requirements.txt", "requirements", "text", lock))
    pins = [entry.line for entry in needed.closure(["onnxruntime", "numpy"])]
    told: dict[str, Any] = {"first": ["numpy", "onnxruntime"], "pins": pins if lines is None else lines}

    def opened(data: bytes) -> Any:
        return lambda: nullcontext(BytesSource(data))

    package = [PackageFile(names.path(path), role, kind, opened(data)) for path, role, kind, data in files]
    info: dict[str, Any] = {"requirements": told, "python": python}
    contents = Contents(package, info, {"numpy": np.__version__})
    publish.publish(built.session(who), names.model("churn"), None, contents)


@pytest.fixture
def built() -> Built:
    made = builders.solo(seed="load test").fork()

    def ask(before: Policy) -> Policy:
        prod = before.environments[PROD]
        asked = replace(prod, require=replace(prod.require, load_test=True))
        return replace(before, environments={**before.environments, prod.name: asked})

    made.amend(ask)
    return made


def run(built: Built, options: Options, *against: Against | None, who: str = "owner") -> list[LoadTest]:
    return load_testing.test(built.session(who), CHURN, against or [None], options)


def test_a_model_is_loaded_in_a_fresh_environment_and_what_came_of_it_lets_it_in(
    built: Built, wheels: Path
) -> None:
    version(built)
    with pytest.raises(Refused):
        built.promote("churn:1")
    (found,) = run(built, Options(wheels=wheels, installer="pip"))
    assert (found.passed, found.rows, found.differing, found.reason) == (True, 6, 0, None)
    assert found.pinned == "resolved"
    assert found.libraries["numpy"] == np.__version__
    assert "--hash=sha256:" in found.lock
    assert "http" not in found.lock
    assert found.landlock
    assert found.seccomp
    names_of = [name for name in built.store.objects if "/attestations/" in name or "/requirements/" in name]
    assert len(names_of) == 2
    built.promote("churn:1")
    session = built.session("owner", env="prod")
    assert built.find("churn@prod", env="prod", session=session).subject == "churn:1"
    verified = built.find("churn:1", action="load")
    pins = attesting.locked(session, verified, attesting.of(session, verified))
    assert requirements.encode(pins).decode() == found.lock


def test_predictions_that_differ_fail_and_that_is_signed(built: Built, wheels: Path) -> None:
    wrong = ROWS.sum(axis=1, dtype="float64")
    wrong[2] += 1
    lock = requirements.encode(needed.hashed(needed.closure(["onnxruntime"]), wheels))
    version(built, recorded=wrong, lock=lock)
    (found,) = run(built, Options(wheels=wheels, installer="pip"))
    assert (found.passed, found.reason, found.differing, found.pinned) == (False, "differs", 1, "published")
    (difference,) = found.differences
    assert (difference.row, difference.recorded, difference.got) == (2, "10.0", "9.0")
    assert found.attestation
    with pytest.raises(Refused, match="did not pass"):
        built.promote("churn:1")


# --- what stops a test before anything is installed ---


def stops(
    built: Built, error: type[VaultError], code: str, options: Options | None = None, **how: Any
) -> str:
    with pytest.raises(error) as caught:
        run(built, options or Options(installer="pip"), **how)
    assert caught.value.code == code
    assert not [name for name in built.store.objects if "/attestations/" in name]
    return str(caught.value)


@pytest.mark.parametrize(
    "line",
    [
        "--index-url https://example.org/simple",
        "-e git+https://example.org/evil.git#egg=evil",
        "numpy @ https://example.org/numpy.whl",
        "../numpy-1-py3-none-any.whl",
        "-r /etc/passwd",
    ],
)
@pytest.mark.parametrize("as_lock", [True, False])
def test_requirements_with_options_or_addresses_are_refused(built: Built, line: str, as_lock: bool) -> None:
    lines = ["numpy==2.0", line]
    version(built, lock="\n".join(lines).encode() if as_lock else None, lines=lines)
    assert "line 2" in stops(built, Malformed, "malformed-document")


def test_an_altered_sample_is_no_sample(built: Built) -> None:
    version(built)
    manifest = built.manifest("churn:1")[0]
    for name in [name for name in built.store.objects if "/1/files/" in name]:
        data = built.store.objects[name]
        built.write(name, data[:-1] + bytes([data[-1] ^ 1]))
    assert manifest.file("sample.npz")
    stops(built, Refused, "decrypt-failed")


def test_who_may_not_test_or_not_load_makes_no_test_that_counts(built: Built) -> None:
    version(built)
    built.add("web", "loader", kind="service", owners=("owner",))
    assert "web may not load" in stops(built, AccessDenied, "access-denied", who="web")

    def may_load(before: Policy) -> Policy:
        rules = before.roles[names.principal("loader")]
        wider = replace(rules[0], environments=(builders.DEV, PROD))
        return replace(before, roles={**before.roles, names.principal("loader"): (wider,)})

    built.amend(may_load)
    built.grant("web", "dev")
    told = stops(built, AccessDenied, "access-denied", who="web")
    assert "web may not test churn in any environment" in told
    built.amend(revoke("web"))
    stops(built, AccessDenied, "access-denied", who="web")


def test_a_version_that_does_not_tell_what_it_needs_can_be_tested_with_what_is_named(built: Built) -> None:
    version(built, lines=[])
    assert "--requirements FILE" in stops(built, NotFound, "load-test-impossible")


def test_requirements_that_are_given_must_agree_with_those_that_were_recorded(
    built: Built, tmp_path: Path
) -> None:
    version(built)
    given = tmp_path / "requirements.txt"
    given.write_text("numpy==1.0\n")
    with pytest.raises(ValueError, match=r"pins numpy 1\.0; the model needs"):
        run(built, Options(installer="pip", requirements=given))


@pytest.mark.parametrize("python", ["3.99.1", "3.99"])
def test_the_recorded_python_is_needed(built: Built, python: str) -> None:
    version(built, python=python)
    with pytest.raises(Unavailable, match=r"There is no Python 3\.99"):
        run(built, Options(installer="pip"))


@pytest.mark.parametrize("told", ["../../3.11", "three", "3.999", "2.7", ""])
def test_what_is_recorded_in_odd_ways_is_taken_for_nothing(built: Built, told: str) -> None:
    version(built, python=told, lines=["numpy==2.0"])
    session = built.session()
    opened = load_test_package.open_package(session, built.find("churn:1", session=session))
    assert opened.python is None
    opened.metadata.info["requirements"]["first"] = ["", "../x", "--index-url", 3, "numpy"]  # type: ignore[index,call-overload]
    assert opened.wanted(Against(wishes=(("scipy", "1.0"),))) == (["numpy==2.0", "scipy==1.0"], False)
    assert {line.partition("==")[0] for line in opened.wanted(Against(here=True))[0]} >= {"numpy"}


def test_a_package_without_a_model_has_nothing_to_test(built: Built) -> None:
    built.publish({"notes.json": b"[]"})
    with pytest.raises(NotFound, match="nothing to test"):
        run(built, Options(installer="pip"))


def test_against_what_is_not_to_be_had_is_told_and_is_no_failure(built: Built) -> None:
    version(built)
    (found,) = run(built, Options(installer="pip"), Against(python="3.99"))
    assert (found.passed, found.reason, found.attestation) == (None, None, None)
    assert "There is no Python 3.99" in found.detail


@pytest.mark.parametrize("value", [-1.0, float("nan")])
def test_a_tolerance_that_is_none_is_the_callers_mistake(built: Built, value: float) -> None:
    for options in (Options(rtol=value), Options(atol=value)):
        with pytest.raises(ValueError, match="at least 0"):
            run(built, options)


@pytest.mark.slow
def test_a_scikit_learn_pipeline_with_artifacts_and_a_table_is_tested_in_earnest(
    tmp_path: Path, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    import pandas as pd
    from sklearn.ensemble import RandomForestClassifier
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    import vault

    monkeypatch.setenv("HOME", str(tmp_path))
    kept = Path(request.config.cache.mkdir("load-test-wheels"))
    folder = wheel_parts.folder_of(kept, "skops", "scikit-learn", "pandas", "numpy", "scipy")
    opened = vault.init(tmp_path / "models", recipient="x25519", no_passphrase=True)
    generator = np.random.default_rng(0)
    table = pd.DataFrame(generator.normal(size=(300, 3)), columns=["a", "b", "c"])
    labels = np.where(table["a"] > 0, "yes", "no")
    fitted = make_pipeline(StandardScaler(), RandomForestClassifier(20, random_state=0)).fit(table, labels)
    scaler = StandardScaler().fit(table)
    reference = opened.save_model(
        "churn", fitted, sample_input=table[:200], artifacts={"scaler": scaler}, requirements=folder
    )
    found = opened.load_test(reference, wheels=folder, installer="pip")
    assert (found.passed, found.rows, found.pinned) == (True, 200, "published")
    here = opened.load_test(reference, wheels=folder, installer="pip", against="here")
    assert (here.passed, here.attestation) == (True, None)
