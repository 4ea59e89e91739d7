"""`mvault convert`: turn a legacy pickle into a format that can be looked at before it is loaded."""

from pathlib import Path
from typing import TYPE_CHECKING

import click

from vault.cli import converting_options
from vault.cli.command import verb
from vault.cli.options import common_of
from vault.cli.tables import Cell
from vault.cli.text import count, short, size, some

if TYPE_CHECKING:
    from vault.actions.converting import Conversion
    from vault.cli.output import Console

_GIB = 1 << 30


@verb(
    "convert",
    examples=(
        "mvault convert model.pkl                          # model.skops, beside it",
        "mvault convert model.joblib --sample rows.csv     # compare on real rows",
        "mvault convert model.pkl --to onnx --sample X.npy --output out.onnx",
    ),
)
@click.argument("path", metavar="PATH", type=click.Path(path_type=Path))
@click.option(
    "--to",
    type=click.Choice(["skops", "onnx"]),
    default="skops",
    help="The new format: skops keeps the estimator, onnx its predictions.  [skops]",
)
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Where to write it; PATH with another extension unless given.",
)
@click.option(
    "--sample",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Rows to compare predictions on: .npz, .npy, or .csv with names of columns.",
)
@converting_options.tolerance
@click.option("--force", is_flag=True, help="Replace the file that is there.")
@converting_options.memory
@converting_options.timeout
@click.option(
    "--despite-dangers",
    is_flag=True,
    help="Run, confined, a pickle that names what no model needs, such as os.system.",
)
@click.option(
    "--unsafe-no-sandbox",
    is_flag=True,
    help="Load the pickle even where this kernel cannot confine it.",
)
@click.pass_context
def convert(
    context: click.Context,
    path: Path,
    to: str,
    output: Path | None,
    sample: Path | None,
    tolerance: float,
    force: bool,
    memory: int,
    timeout: int,
    despite_dangers: bool,
    unsafe_no_sandbox: bool,
) -> None:
    """Turn the legacy pickle or joblib file PATH into skops or ONNX, in a confined process.

    The process that loads it has no network, no secrets and no place to write;
    a second one tries out what was written, and predictions are compared. A
    pickle can still lie about them: review the new file. No vault is needed.
    Data: the new file's path.
    """
    from vault.actions import converting

    console = common_of(context).console
    console.notice(f"Converting {short(path)} …")
    found = converting.convert(
        path,
        to=to,
        output=output,
        sample=sample,
        tolerance=tolerance,
        force=force,
        memory=memory * _GIB,
        seconds=timeout,
        unsafe_no_sandbox=unsafe_no_sandbox,
        despite_dangers=despite_dangers,
        progress=console.report,
    )
    if not found.landlock or not found.seccomp:
        console.warn(
            "The pickle was loaded without a whole sandbox. Consider what it could reach as exposed."
        )
    for name in found.dangers:
        console.warn(f"The old file names {name}. It was confined, but do not trust what it made.")
    if not console.json(_as_json(found)):
        _print(console, found)


def _print(console: "Console", found: "Conversion") -> None:
    if not console.to_terminal or console.style.quiet:
        console.lines([found.output])
    else:
        _table(console, found)
    for text in found.warnings:
        console.detail(text)
    console.notice(_parity(found))
    if found.saved_with:
        console.notice(
            f"It was saved with scikit-learn {found.saved_with}. Both forms were tried with the version "
            "installed here: compare with predictions that you have kept."
        )
    console.notice(f"Next: mvault inspect {short(found.output)}, then mvault push NAME {short(found.output)}")


def _table(console: "Console", found: "Conversion") -> None:
    saved = f", scikit-learn {found.saved_with}" if found.saved_with else ""
    sandbox = (
        f"Landlock ABI {found.landlock}" if found.landlock else "no Landlock",
        "seccomp" if found.seccomp else "no seccomp",
    )
    verbose = console.style.verbose
    console.fields(
        [
            ("From", Cell(f"{short(found.source)} ({found.source_format}{saved})")),
            ("To", Cell(f"{short(found.output)} ({found.format}, {size(found.size)})")),
            ("Estimator", Cell(found.estimator)),
            ("Named", Cell(some(found.globals, verbose=verbose))),
            ("Types", Cell(some(found.types, verbose=verbose) or "none beyond the defaults")),
            ("Compared", Cell(f"{count(found.rows, 'row')} ({found.sample}), {found.differing:.2%} differ")),
            ("Sandbox", Cell(", ".join(sandbox))),
            ("SHA-256", Cell(found.sha256)),
        ]
    )


def _parity(found: "Conversion") -> str:
    if found.sample == "none":
        return "Nothing was compared: the object predicts nothing, or no rows were to be had."
    told = f"{found.differing:.2%} of {count(found.rows, 'row')} differ"
    if found.sample == "generated":
        return f"Parity is weak: {told}, but the rows were made up. Give real ones: --sample FILE."
    return f"Parity is weak: {told}, and these are few." if found.weak else f"Parity: {told}."


def _as_json(found: "Conversion") -> dict[str, object]:
    return {
        "source": found.source,
        "source_format": found.source_format,
        "output": found.output,
        "format": found.format,
        "estimator": found.estimator,
        "saved_with": found.saved_with,
        "globals": list(found.globals),
        "dangers": list(found.dangers),
        "types": list(found.types),
        "parity": {
            "sample": found.sample,
            "rows": found.rows,
            "differing": found.differing,
            "weak": found.weak,
        },
        "sandbox": {"landlock": found.landlock, "seccomp": found.seccomp},
        "size": found.size,
        "sha256": found.sha256,
        "warnings": list(found.warnings),
    }
