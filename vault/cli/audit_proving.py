"""`mvault audit prove` and `check-proof`: show somebody else that a record is in the log."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from vault.cli import audit_rows
from vault.cli.command import verb
from vault.cli.options import common_of
from vault.cli.output import echo
from vault.cli.tables import Cell

if TYPE_CHECKING:
    from vault.actions.reviewing_proofs import Checked

_FILE = click.Path(dir_okay=False, path_type=Path)
_WITNESSES = click.option(
    "--witnesses",
    type=click.IntRange(0),
    metavar="N",
    default=0,
    help="So many must have cosigned it.",
)


@verb(
    "prove",
    examples=(
        "mvault audit prove 48acaaf9 -o load.proof         # a record, by its id",
        "mvault audit prove churn@prod -o churn.proof      # what is in force there",
        "mvault audit prove churn@prod --witnesses 2 -o churn.proof",
        "mvault audit check-proof churn.proof              # what its reader types",
    ),
)
@click.argument("what", metavar="ID|REF")
@click.option("-o", "--output", type=_FILE, metavar="FILE", help="Write it there; standard output without.")
@_WITNESSES
@click.pass_context
def prove(context: click.Context, what: str, output: Path | None, witnesses: int) -> None:
    """Write a proof that a record is in its log: a text that anybody can check offline.

    ID is a record's id or its beginning; REF a channel, for the record in force
    there, or a version, for its publication. The proof is a C2SP tlog-proof: it
    holds the record, the hashes that lead to a root, and the signed checkpoint,
    cosigned by all the witnesses there are. It shows the record to its reader,
    and nothing else of the log. Without FILE the data is the proof itself.
    """
    common = common_of(context)
    found = common.open(env=False).audit.prove(what, witnesses=witnesses)
    console = common.console
    if output is None and not console.style.json:
        console.settle()
        echo(found.data.decode("utf-8"), end="")
        return
    if output is not None:
        from vault.actions.identities import create_file

        create_file(output, found.data)
    where = f"in the log {found.log} at size {found.size:,}"
    by = f", cosigned by {', '.join(found.witnesses)}" if found.witnesses else ""
    value = {
        "path": None if output is None else str(output),
        "proof": found.data.decode("utf-8"),
        "log": found.log,
        "index": found.index,
        "size": found.size,
        "root": found.root.hex(),
        "witnesses": list(found.witnesses),
        "key": found.key,
        "record": audit_rows.value(found.row)["record"],
    }
    console.outcome(
        value,
        plain=str(output),
        message=f"Wrote {output}: entry {found.index:,} is {where}{by}. "
        f"Its reader types: mvault audit check-proof {output}",
    )


@verb(
    "check-proof",
    examples=(
        "mvault audit check-proof churn.proof           # by your vault's policy",
        "mvault audit check-proof churn.proof --vault copy/ --trust trust.json",
        "mvault audit check-proof churn.proof --key mvault/v1/…+1ba4…+AXUm…",
    ),
)
@click.argument("file", type=_FILE)
@click.option(
    "--key", "keys", metavar="KEY", multiple=True, help="The log's key, NAME+HASH+BASE64; or a witness's."
)
@_WITNESSES
@click.pass_context
def check_proof(context: click.Context, file: Path, keys: tuple[str, ...], witnesses: int) -> None:
    """Check the proof in FILE: that its record is in a log that somebody who may has signed.

    By the policy of a vault that you trust: that reads the folder `trust` of the
    vault and nothing else, so a copy of that folder and a trust file do offline.
    Or with --key by a key that somebody you trust told you; then it says that
    this key signed, not that its holder might. `mvault audit prove --json` and
    this command name the key. Piped: lines of name and value.
    """
    from vault.actions import reviewing, reviewing_proofs
    from vault.core import log_proof

    common = common_of(context)
    data = reviewing.read_proof(file)
    if keys:
        given = [reviewing_proofs.parse_verifier_key(text) for text in keys]
        found = reviewing_proofs.check_with_keys(log_proof.parse(data, str(file)), given, witnesses=witnesses)
    else:
        found = common.open(env=False).audit.check_proof(data, witnesses=witnesses)
    console = common.console
    if not console.json(_value(found)):
        console.fields(_fields(found))


def _fields(found: "Checked") -> list[tuple[str, Cell]]:
    by = found.writer or "the key that was given"
    rows = [
        ("Holds", Cell("yes")),
        ("Log", Cell(found.log or found.origin)),
        ("Entry", Cell(f"{found.index:,} of {found.size:,}", str(found.index))),
        ("Size", Cell(f"{found.size:,}", str(found.size))),
        ("Root", Cell(found.root.hex())),
        ("Signed by", Cell(by)),
        ("Witnesses", Cell(", ".join(found.witnesses) or "none")),
        ("Rests on", Cell(found.rests_on)),
        ("Key", Cell(found.key)),
    ]
    record = found.record
    if record is None:
        return [*rows, ("Record", Cell(found.entry.decode("utf-8", "backslashreplace")))]
    told = (
        ("Id", record.record_id.hex()),
        ("Time", record.time),
        ("Who", audit_rows.who(record)),
        ("Action", record.action),
        ("What", audit_rows.what(record)),
        ("Result", audit_rows.result(record)),
        ("Document", None if record.evidence is None else f"sha256:{record.evidence}"),
    )
    return [*rows, *((name, Cell(text)) for name, text in told if text)]


def _value(found: "Checked") -> dict[str, Any]:
    return {
        "holds": True,
        "origin": found.origin,
        "log": found.log,
        "index": found.index,
        "size": found.size,
        "root": found.root.hex(),
        "writer": found.writer,
        "witnesses": list(found.witnesses),
        "rests_on": found.rests_on,
        "key": found.key,
        "entry": found.entry.decode("utf-8", "backslashreplace"),
    }
