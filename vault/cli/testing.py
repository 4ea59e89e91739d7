"""`mvault load-test`: does a version load, and predict what was recorded, on a clean machine?"""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from vault.cli.command import verb
from vault.cli.completion import ReferenceText
from vault.cli.options import common_of
from vault.cli.tables import Cell, Column
from vault.cli.text import count

if TYPE_CHECKING:
    from vault.actions.load_testing import LoadTest
    from vault.cli.output import Console

_GIB = 1 << 30
_INSTALLING = 1_800  # seconds for each step of making the environment, unless more is given for the rest
# What people look for first among the libraries of an environment.
_KNOWN = (
    "keras",
    "lightgbm",
    "numpy",
    "onnxruntime",
    "pandas",
    "scikit-learn",
    "scipy",
    "skops",
    "tensorflow",
    "xgboost",
)
_NO = 1  # the answer is no
_UNAVAILABLE = 7  # there was no answer


@verb(
    "load-test",
    examples=(
        "mvault load-test churn:3",
        "mvault load-test churn@prod --wheels wheels/     # without an index",
        "mvault load-test churn:3 --against here          # with what is installed here",
        "mvault load-test churn:3 --against python=3.13 --against scikit-learn==1.9",
    ),
)
@click.argument("reference", metavar="REF", type=ReferenceText())
@click.option(
    "--against",
    multiple=True,
    metavar="VERSIONS",
    help="Test other versions, as python=3.13,numpy==2.4, or what is installed here; may be repeated.",
)
@click.option(
    "--wheels",
    type=click.Path(path_type=Path, file_okay=False, exists=True),
    metavar="DIR",
    help="Install from this folder of wheels, and from nowhere else.",
)
@click.option(
    "--requirements",
    type=click.Path(path_type=Path, dir_okay=False, exists=True),
    metavar="FILE",
    help="Pinned requirements, where none were published with the version.",
)
@click.option("--rtol", type=click.FloatRange(0), metavar="F", help="How far a number may be off.  [0.0001]")
@click.option(
    "--atol",
    type=click.FloatRange(0),
    metavar="F",
    help="The same, whatever its size.  [0.00001 of the spread of what was recorded]",
)
@click.option(
    "--record/--no-record",
    default=None,
    help="Sign what came of it, or do not.  [what is tested as it was recorded]",
)
@click.option("--repin", is_flag=True, help="Look for archives anew, whatever an earlier test pinned.")
@click.option(
    "--lock", type=click.Path(path_type=Path), metavar="FILE", help="Write the pinned requirements."
)
@click.option(
    "--installer",
    type=click.Choice(["auto", "uv", "pip"]),
    default="auto",
    help="What fills the environment.  [auto: uv where it is installed]",
)
@click.option(
    "--memory", type=click.IntRange(1, 1024), default=8, metavar="GIB", help="Memory for the process.  [8]"
)
@click.option(
    "--timeout",
    type=click.IntRange(1, 86_400),
    default=300,
    metavar="SECONDS",
    help="How long loading and predicting may take; installing has half an hour at least.  [300]",
)
@click.option(
    "--unsafe-no-sandbox",
    is_flag=True,
    help="Load the model even where this kernel cannot confine the process.",
)
@click.pass_context
def load_test(
    context: click.Context, /, reference: str, against: tuple[str, ...], lock: Path | None, **given: Any
) -> None:
    """Load the version REF in a fresh environment and compare what it predicts with what was recorded.

    The environment is made of the requirements that were recorded, pinned by
    hash, and holds no key: this process verifies and decrypts, a confined one
    without a network loads. What came of it is signed, as an environment may
    require. With --against other versions are tested instead, and nothing is
    signed unless --record is given. Ends with status 1 if a test did not pass,
    7 if one against other versions could not be made. Columns when piped:
    reference, against, result, rows, differing, detail.
    """
    common = common_of(context)
    console = common.console
    options = {name: value for name, value in given.items() if value is not None}
    options["memory"] *= _GIB
    options["seconds"] = options.pop("timeout")
    options["install_seconds"] = max(_INSTALLING, options["seconds"])
    if lock is not None and len(against) > 1:
        raise click.UsageError("--lock writes the requirements of one test.", context)
    found = common.open().load_tests(reference, against or [None], **options)
    if lock is not None:
        _write(lock, found[0].lock)
    value = {"tests": [_value(entry) for entry in found]}
    if not console.json(value):
        if len(found) == 1:
            _print(console, found[0])
        else:
            _table(console, found)
    context.exit(_status(found))


def _write(path: Path, lock: str) -> None:
    try:
        path.write_text(lock, encoding="ascii")
    except OSError as error:
        raise click.UsageError(f"{path} cannot be written: {error.strerror}.") from None


def _status(found: "list[LoadTest]") -> int:
    if any(entry.passed is False for entry in found):
        return _NO
    return _UNAVAILABLE if any(entry.passed is None for entry in found) else 0


def _result(entry: "LoadTest") -> str:
    return {True: "passed", False: "failed", None: "not tested"}[entry.passed]


def _table(console: "Console", found: "list[LoadTest]") -> None:
    console.table(
        (
            Column("VERSION"),
            Column("AGAINST"),
            Column("RESULT"),
            Column("ROWS", number=True),
            Column("DIFFER", number=True),
            Column("", shrinks=True),
        ),
        [_row(entry) for entry in found],
    )


def _row(entry: "LoadTest") -> list[Cell]:
    detail = entry.detail or ", ".join(entry.changes)
    return [
        Cell(str(entry.reference)),
        Cell(entry.against or "", entry.against or "-"),
        Cell(_result(entry)),
        Cell(f"{entry.rows:,}", str(entry.rows)),
        Cell(f"{entry.differing:,}", str(entry.differing)),
        Cell(detail),
    ]


def _print(console: "Console", found: "LoadTest") -> None:
    if not console.to_terminal or console.style.quiet:
        console.table((), [_row(found)])
    else:
        _fields(console, found)
    for difference in found.differences:
        console.notice(
            f"Row {difference.row}, {difference.output}: recorded {difference.recorded}, now {difference.got}"
        )
    for text in found.warnings[:1] if not console.style.verbose else found.warnings:
        console.warn(text)
    console.notice(_sentence(found))


def _fields(console: "Console", found: "LoadTest") -> None:
    if found.passed is None:
        return
    verbose = console.style.verbose
    named = sorted(found.libraries.items(), key=lambda entry: entry[0] not in _KNOWN)
    libraries = [f"{name} {version}" for name, version in named]
    more = len(libraries) - 6
    shown = libraries if verbose or more <= 1 else [*libraries[:6], f"{more} more (-v)"]
    pinned = {
        "published": "hashes published with the version",
        "attested": "hashes pinned by an earlier test",
        "given": "requirements given here",
        "resolved": "hashes resolved now",
    }[found.pinned]
    sandbox = f"Landlock ABI {found.landlock}" if found.landlock else "no Landlock"
    console.fields(
        [
            ("Python", Cell(f"{found.python}, {found.platform}")),
            ("Libraries", Cell(", ".join(shown))),
            ("Pinned", Cell(f"{pinned}, installed by {found.installer}")),
            *([("Changed", Cell(", ".join(found.changes)))] if found.changes else []),
            ("Compared", Cell(f"{count(found.rows, 'row')}, {found.differing:,} otherwise")),
            (
                "Took",
                Cell(
                    f"{found.install_seconds:.1f} s to install, {found.load_seconds:.1f} s to load, "
                    f"{found.predict_seconds:.2f} s to predict"
                ),
            ),
            ("Sandbox", Cell(f"{sandbox}, {'seccomp' if found.seccomp else 'no seccomp'}")),
        ]
    )


def _sentence(found: "LoadTest") -> str:
    place = f"against {found.against}" if found.against else "on a clean machine"
    name = str(found.reference)
    if found.passed is None:
        return f"{name} was not tested {place}: {found.detail}"
    if not found.passed:
        why = {
            "load": "it does not load",
            "predict": "it does not predict",
            "differs": "it predicts otherwise",
            "stopped": "its process was stopped",
            "answer": "its process answered nothing that can be read",
        }[found.reason or "answer"]
        text = f"{name} did not pass {place}: {why}: {found.detail}."
    elif found.rows:
        told = f", but for {found.differing:,} that differed when it was saved" if found.differing else ""
        text = f"{name} loads {place} and predicts {count(found.rows, 'recorded row')} as before{told}."
    else:
        text = f"{name} loads {place}. No predictions were recorded to compare with."
    return f"{text}\n{_signed(found)}" if _signed(found) else text


def _signed(found: "LoadTest") -> str:
    if found.attestation is not None:
        return f"You signed that: {found.attestation[:23]}…"
    return "You signed the same before; nothing was written." if found.already else ""


def _value(found: "LoadTest") -> dict[str, object]:
    return {
        "reference": str(found.reference),
        "digest": found.digest,
        "against": found.against,
        "passed": found.passed,
        "reason": found.reason,
        "detail": found.detail,
        "python": found.python,
        "platform": found.platform,
        "installer": found.installer,
        "pinned": found.pinned,
        "libraries": dict(found.libraries),
        "requirements": found.requirements,
        "changes": list(found.changes),
        "rows": found.rows,
        "differing": found.differing,
        "tolerance": {"rows": found.tolerated, "rtol": found.rtol, "atol": found.atol},
        "differences": [
            {"row": entry.row, "output": entry.output, "recorded": entry.recorded, "got": entry.got}
            for entry in found.differences
        ],
        "warnings": list(found.warnings),
        "seconds": {
            "install": found.install_seconds,
            "load": found.load_seconds,
            "predict": found.predict_seconds,
        },
        "sandbox": {"landlock": found.landlock, "seccomp": found.seccomp},
        "attestation": found.attestation,
        "already": found.already,
    }
