"""Requirements name archives by version and hash, and nothing else can be said in them."""

import pytest

from vault.core import limits, requirements
from vault.core.requirements import Against, Pin
from vault.errors import Malformed

ONE, TWO = "1" * 64, "2" * 64
LOCK = f"numpy==2.4.6 --hash=sha256:{ONE} --hash=sha256:{TWO}\nscikit-learn==1.9.1 --hash=sha256:{TWO}\n"


def test_a_lock_is_read_in_whatever_order_and_layout_installers_write_it() -> None:
    text = f"""
# made by a tool
Scikit_Learn[extra]==1.9.1 \\
    --hash=sha256:{TWO}
    # via the model
numpy==2.4.6 \\
    --hash=sha256:{TWO} \\
    --hash=sha256:{ONE}  # two archives
"""
    pins = requirements.parse(text, "it")
    assert pins == (Pin("numpy", "2.4.6", (ONE, TWO)), Pin("scikit-learn", "1.9.1", (TWO,)))
    assert requirements.encode(pins).decode() == LOCK
    assert requirements.parse_canonical(LOCK.encode(), "it") == pins
    assert requirements.digest(pins) == requirements.digest(reversed(pins))
    assert requirements.is_hashed(pins)


def test_a_line_that_goes_on_to_the_end_of_the_text_is_read() -> None:
    assert requirements.parse("numpy==2 \\", "it") == (Pin("numpy", "2"),)
    assert requirements.parse("", "it") == ()
    assert not requirements.is_hashed([Pin("numpy", "2")])


@pytest.mark.parametrize(
    "line",
    [
        "--index-url https://example.org/simple",
        "-i https://example.org/simple",
        "--extra-index-url=https://example.org",
        "--find-links /tmp",
        "--trusted-host example.org",
        "--no-binary :all:",
        "-r other.txt",
        "-c other.txt",
        "-e .",
        "-e git+https://example.org/x.git#egg=x",
        "git+https://example.org/x.git",
        "numpy @ https://example.org/numpy.whl",
        "https://example.org/numpy-1-py3-none-any.whl",
        "./numpy-1-py3-none-any.whl",
        "/tmp/numpy",
        "numpy",
        "numpy>=1",
        "numpy~=1.0",
        "numpy==1.*",
        "numpy==1,<2",
        "numpy===1",
        "numpy==",
        "==1",
        "numpy ==1",
        "numpy==1 ; python_version > '3'",
        "numpy==1;python_version>'3'",
        f"numpy==1 --hash=md5:{ONE}",
        f"numpy==1 --hash=sha256:{ONE[:-1]}",
        f"numpy==1 --hash=sha256:{ONE.replace('1', 'A')}",
        "numpy==1 --config-settings=x=y",
        "numpy==1 --global-option=x",
        "numpy==1 --index-url",
        "numpy==1 numpy2==2",
        "nümpy==1",
        "numpy==1\x00",
        "numpy==${VERSION}",
        "numpy==$(id)",
        "-numpy==1",
        "numpy==-1",
    ],
)
def test_what_is_no_pin_is_refused(line: str) -> None:
    with pytest.raises(Malformed) as caught:
        requirements.parse(f"scipy==1\n{line}\n", "it")
    assert caught.value.code == "malformed-document"
    assert "it, line 2" in str(caught.value)


def test_a_distribution_is_pinned_once() -> None:
    with pytest.raises(Malformed, match="pins scikit-learn again"):
        requirements.parse("scikit-learn==1\nScikit.Learn==1\n", "it")


def test_everything_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "REQUIREMENTS", 2)
    with pytest.raises(Malformed, match="more than 2"):
        requirements.parse("a==1\nb==1\nc==1\n", "it")
    monkeypatch.setattr(limits, "REQUIREMENT_HASHES", 1)
    with pytest.raises(Malformed, match="more than 1 hashes"):
        requirements.parse(LOCK, "it")
    monkeypatch.setattr(limits, "REQUIREMENTS_BYTES", 10)
    with pytest.raises(Malformed) as caught:
        requirements.parse(LOCK, "it")
    assert caught.value.code == "too-large"


@pytest.mark.parametrize(
    "data",
    [
        LOCK.encode() + b"\n",
        LOCK.encode().rstrip(b"\n"),
        b"# a comment\n" + LOCK.encode(),
        b"\n".join(reversed(LOCK.encode().splitlines())),
        b"numpy==1\n",
        b"numpy==1\xff\n",
    ],
)
def test_what_is_stored_has_one_spelling(data: bytes) -> None:
    with pytest.raises(Malformed):
        requirements.parse_canonical(data, "it")


def test_a_pin_can_be_made_of_what_an_installer_told() -> None:
    assert requirements.pin("Python_DateUtil", "2.9.0.post0", [TWO, ONE]) == Pin(
        "python-dateutil", "2.9.0.post0", (ONE, TWO)
    )
    assert requirements.is_name("python_dateutil")
    assert not requirements.is_name("../x")
    assert requirements.pin("torch", "2.13.0+cpu").line == "torch==2.13.0+cpu"
    for name, version in (("x y", "1"), ("x", "1 2"), ("x", "")):
        with pytest.raises(Malformed):
            requirements.pin(name, version)


@pytest.mark.parametrize(
    ("text", "expected", "spelled"),
    [
        ("here", Against(here=True), "here"),
        ("python=3.13", Against(python="3.13"), "python=3.13"),
        (" numpy==2.* , Python_X==1,python=3.12.1 ",
         Against(python="3.12.1", wishes=(("numpy", "2.*"), ("python-x", "1"))),
         "python=3.12.1,numpy==2.*,python-x==1"),
    ],
)  # fmt: skip
def test_what_to_test_against_is_read_and_spelled(text: str, expected: Against, spelled: str) -> None:
    assert requirements.parse_against(text) == expected
    assert str(expected) == spelled
    assert requirements.parse_against(spelled) == expected


@pytest.mark.parametrize(
    "text",
    ["", "there", "here,numpy==1", "here,python=3.12", "python=2.7", "python=3", "python==3.12", "numpy>=1",
     "numpy==1,numpy==2", "numpy==1;x", "numpy == 1", "python=3.13==1", "numpy==*", "-r x==1"],
)  # fmt: skip
def test_what_cannot_be_tested_against_is_refused(text: str) -> None:
    with pytest.raises(Malformed):
        requirements.parse_against(text)


@pytest.mark.parametrize(
    ("file", "expected"),
    [
        ("scikit_learn-1.9.1-cp311-cp311-manylinux_2_27_x86_64.whl", ("scikit-learn", "1.9.1")),
        ("torch-2.13.0+cpu-1-cp311-cp311-linux_x86_64.whl", ("torch", "2.13.0+cpu")),
        ("numpy-2.4.6.tar.gz", None),
        ("numpy-2.4.6.whl", None),
        ("-1-py3-none-any.whl", None),
        ("numpy-.-py3-none-any.whl", None),
        ("numpy-2-py3-none-any.zip", None),
    ],
)
def test_a_wheel_tells_its_name_and_version_and_nothing_else_does(
    file: str, expected: tuple[str, str] | None
) -> None:
    assert requirements.archive_pin(file) == expected
