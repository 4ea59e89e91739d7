"""Landlock and seccomp one by one: what the process says it lacks is believed, and each part holds alone."""

import os
import re
from pathlib import Path

import pytest

from tests.attacks.confinement_attacker import attacked, told
from vault.actions import convert_job
from vault.confinement import confine, kernel, landlock, seccomp

pytestmark = pytest.mark.skipif(not confine.available().whole, reason="this kernel lacks Landlock or seccomp")


@pytest.fixture(params=["landlock", "seccomp"])
def lacking(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Convert as on a kernel that lacks one of the two, while this process does not know."""
    monkeypatch.setattr(convert_job, "MODULE", f"tests.attacks.confinement_without_{request.param}")
    return str(request.param)


def test_a_process_that_is_not_whole_does_not_even_begin(lacking: str, tmp_path: Path) -> None:
    error = attacked(tmp_path, f"open({str(tmp_path / 'marker')!r}, 'w')")
    assert (error.code, error.exit_status) == ("no-sandbox", 5)
    assert not (tmp_path / "marker").exists()


def test_each_part_alone_keeps_it_from_writing(lacking: str, tmp_path: Path) -> None:
    marker = tmp_path / "marker"
    said = told(
        tmp_path,
        f"""
        found = [attempt(open, {str(marker)!r}, mode) for mode in ("w", "x", "a")]
        found += [attempt(os.mkdir, {str(marker)!r}), attempt(os.execv, "/bin/true", ["true"])]
        found += [attempt(os.unlink, {str(tmp_path / "hostile.pkl")!r})]
        said = str([entry for entry in found if not entry.startswith("PermissionError")])
        """,
        unsafe_no_sandbox=True,
    )
    assert said == "[]"
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["hostile.pkl"]


def test_without_landlock_it_still_has_no_network_and_no_processes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(convert_job, "MODULE", "tests.attacks.confinement_without_landlock")
    said = told(
        tmp_path,
        """
        import socket
        found = [attempt(socket.socket), attempt(os.fork), attempt(os.kill, os.getppid(), 0)]
        said = str([entry for entry in found if not entry.startswith("PermissionError")])
        """,
        unsafe_no_sandbox=True,
    )
    assert said == "[]"


# --- the tables ---


def test_every_abi_denies_what_it_knows() -> None:
    assert landlock.handled(1) == ((1 << 13) - 1, 0, 0)
    assert [landlock.handled(version)[0].bit_length() for version in range(1, 9)] == [
        13,
        14,
        15,
        15,
        16,
        16,
        16,
        16,
    ]
    assert [landlock.handled(version)[1] for version in (3, 4)] == [0, 3]
    assert [landlock.handled(version)[2] for version in (5, 6)] == [0, 3]


def test_only_installed_packages_and_system_libraries_are_readable() -> None:
    home = Path.home()
    for path in confine.library_folders():
        assert path not in (Path("/"), home, Path("/etc"), Path("/usr"), Path("/proc"), Path("/home"))
        assert len(path.parts) > 2 or path in (Path("/lib"), Path("/lib64"))


def _headers() -> tuple[dict[str, int], dict[str, int]]:
    """Read the numbers of both architectures from the kernel's own headers, where they are installed."""
    wide = Path("/usr/include/x86_64-linux-gnu/asm/unistd_64.h")
    generic = Path("/usr/include/asm-generic/unistd.h")
    if not wide.exists() or not generic.exists():
        pytest.skip("the kernel's headers are not installed")
    numbers = re.compile(r"#define __NR(?:3264)?_(\w+) (\d+)")
    x86 = {name: int(number) for name, number in numbers.findall(wide.read_text())}
    arm = {name: int(number) for name, number in numbers.findall(generic.read_text())}
    return x86, {**arm, "newfstatat": arm["fstatat"]}


@pytest.mark.oracle
def test_the_numbers_are_those_of_the_kernels_headers() -> None:
    tables = _headers()
    for name, numbers in {**seccomp.ALLOWED, **seccomp.CHECKED}.items():
        for number, table in zip(numbers, tables, strict=True):
            assert table.get(name) == number or (number is None and table is tables[1]), name
    assert tables[0]["seccomp"] == 317
    assert tables[1]["seccomp"] == 277
    assert (tables[0]["capset"], tables[1]["capset"]) == (126, 91)
    for name, number in (("create_ruleset", 444), ("add_rule", 445), ("restrict_self", 446)):
        assert tables[0][f"landlock_{name}"] == tables[1][f"landlock_{name}"] == number


# --- the filter, run by an interpreter of our own, for machines that are not at hand ---

ALLOW, KILL, EPERM, EACCES, ENOSYS = 0x7FFF0000, 0x80000000, 0x00050001, 0x0005000D, 0x00050026
X86, ARM = (kernel._ARCHITECTURES[name] for name in ("x86_64", "aarch64"))


def verdict(machine: kernel.Architecture, number: int, *arguments: int, audit: int = 0) -> int:
    """Run the filter on one system call."""
    words = {0: number, 4: audit or machine.audit}
    words.update(
        {16 + 8 * index: value & 0xFFFFFFFF for index, value in enumerate((*arguments, *[0] * 6)[:6])}
    )
    code = seccomp.program(machine, 4_242)
    position = value = 0
    for _ in range(len(code)):
        instruction, yes, no, operand = code[position]
        position += 1
        match instruction:
            case 0x20:
                value = words[operand]
            case 0x06:
                return operand
            case 0x15:
                position += yes if value == operand else no
            case 0x35:
                position += yes if value >= operand else no
            case 0x45:
                position += yes if value & operand else no
    raise AssertionError("the filter does not end")


@pytest.mark.parametrize("machine", [X86, ARM], ids=["x86_64", "aarch64"])
def test_the_filter_allows_what_is_listed_and_nothing_else(machine: kernel.Architecture) -> None:
    column = machine.column
    allowed = {numbers[column] for numbers in seccomp.ALLOWED.values()} - {None}
    checked = {numbers[column] for numbers in seccomp.CHECKED.values()} - {None}
    assert len(allowed) > 60
    for number in range(1_000):
        if number not in checked:
            assert verdict(machine, number) == (ALLOW if number in allowed else EPERM), number
    assert verdict(machine, 0, audit=0x40000003) == KILL
    assert verdict(machine, 0, audit=X86.audit if machine is ARM else ARM.audit) == KILL
    assert len(seccomp.program(machine, 1)) < 4_096
    assert verdict(X86, 0x40000000) == verdict(X86, 0xFFFFFFFF) == KILL


@pytest.mark.parametrize("machine", [X86, ARM], ids=["x86_64", "aarch64"])
def test_the_filter_looks_at_arguments(machine: kernel.Architecture) -> None:
    def number(name: str) -> int:
        found = seccomp.CHECKED[name][machine.column]
        assert found is not None
        return found

    opening = number("openat")
    assert verdict(machine, opening, -100, 0, os.O_RDONLY | os.O_CLOEXEC | os.O_DIRECTORY) == ALLOW
    for flags in (os.O_WRONLY, os.O_RDWR, 3, os.O_CREAT, os.O_TRUNC, os.O_APPEND, os.O_TMPFILE | os.O_RDWR):
        assert verdict(machine, opening, -100, 0, flags) == EACCES
    assert verdict(machine, number("clone"), 0x3D0F00) == ALLOW
    for flags in (17, 0x4111, 0x10000000):
        assert verdict(machine, number("clone"), flags) == EPERM
    assert verdict(machine, number("clone3")) == verdict(machine, number("openat2")) == ENOSYS
    assert verdict(machine, number("tgkill"), 4_242, 4_242, 6) == ALLOW
    for other in (1, 0, -1):
        assert verdict(machine, number("tgkill"), other, 1, 9) == EPERM
    assert verdict(machine, number("prlimit64"), 0, 9) == ALLOW
    assert verdict(machine, number("prlimit64"), 1, 9) == EPERM
    assert verdict(machine, number("ioctl"), 0, 0x5401) == ALLOW
    assert verdict(machine, number("ioctl"), 0, 0x5412) == EPERM  # typing into a terminal
    assert verdict(machine, number("fcntl"), 0, 3) == ALLOW
    assert verdict(machine, number("fcntl"), 0, 8) == EPERM  # whom to signal


def test_writing_by_the_old_call_is_refused_too() -> None:
    assert verdict(X86, 2, 0, os.O_RDONLY) == ALLOW
    assert verdict(X86, 2, 0, os.O_WRONLY) == EACCES
