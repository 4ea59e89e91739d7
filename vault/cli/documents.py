"""`mvault card` and `mvault bom`: documents about a version that may leave the vault."""

from pathlib import Path
from typing import TYPE_CHECKING

import click

from vault.cli.command import verb
from vault.cli.completion import ReferenceText
from vault.cli.options import common_of
from vault.cli.output import echo
from vault.cli.text import paragraph

if TYPE_CHECKING:
    from collections.abc import Callable

    from vault.vault import Vault

_OUTPUT = click.option(
    "-o",
    "--output",
    type=click.Path(dir_okay=False, path_type=Path),
    metavar="FILE",
    help="Write it into a new file instead.",
)
_SIGNATURE = click.option(
    "--with-signature", is_flag=True, help="With --output: sign FILE with your identity, in FILE.sig."
)


@verb(
    "card",
    examples=(
        "mvault card churn@prod",
        "mvault card churn:3 --output MODEL_CARD.md --with-signature",
    ),
)
@click.argument("reference", metavar="REF", type=ReferenceText())
@_OUTPUT
@_SIGNATURE
@click.pass_context
def card(context: click.Context, reference: str, output: Path | None, with_signature: bool) -> None:
    """Print the model card of the version REF, in Markdown.

    It is the package's own MODEL_CARD.md, or made from its verified metadata:
    metrics, parameters, features, training data's digest, files, libraries.
    What was recorded stands in code spans, so that it can be shown anywhere;
    paths of machines are left out.
    """
    _give(context, reference, "MODEL_CARD.md", lambda opened: opened.card(reference), output, with_signature)


@verb(
    "bom",
    examples=(
        "mvault bom churn@prod > mlbom.cdx.json",
        "mvault bom churn:3 --output mlbom.cdx.json --with-signature",
    ),
)
@click.argument("reference", metavar="REF", type=ReferenceText())
@_OUTPUT
@_SIGNATURE
@click.pass_context
def bom(context: click.Context, reference: str, output: Path | None, with_signature: bool) -> None:
    """Print the bill of materials of the version REF: CycloneDX 1.6, as JSON.

    It is the package's own mlbom.cdx.json, or made from its verified metadata,
    with a SHA-256 of every file and the libraries as packages of PyPI.
    """
    _give(context, reference, "mlbom.cdx.json", lambda opened: opened.bom(reference), output, with_signature)


def _give(
    context: click.Context,
    reference: str,
    name: str,
    read: "Callable[[Vault], str]",
    output: Path | None,
    with_signature: bool,
) -> None:
    common = common_of(context)
    console = common.console
    if with_signature and output is None:
        raise click.UsageError("A signature lies beside a file: give --output FILE too.", context)
    opened = common.open()
    if output is not None:
        written = opened.export_document(reference, name, output, with_signature=with_signature)
        console.outcome(
            {"reference": reference, "document": name, "path": str(written.absolute())},
            plain=str(written),
            message=f"The document {name} of {reference} is in {written}.",
        )
        return
    text = read(opened)
    if console.json({"reference": reference, "document": name, "text": text}):
        return
    console.settle()
    echo(paragraph(text) if console.to_terminal else text, end="")
