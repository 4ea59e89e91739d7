"""`mvault identity`: make, show, list, pass on, take in and protect identities."""

import shlex
from pathlib import Path
from typing import TYPE_CHECKING

import click

from vault.cli.command import Family, verb
from vault.cli.founding import UNPROTECTED_HINT
from vault.cli.options import Common, common_of
from vault.cli.output import echo
from vault.cli.tables import Cell, Column
from vault.cli.text import short
from vault.errors import NoUsableKey

if TYPE_CHECKING:
    from vault.actions.identities import IdentityRow

_FILE = click.Path(dir_okay=False, path_type=Path)


@click.command(
    "identity",
    cls=Family,
    examples=(
        "mvault identity new                  # yours, in your configuration folder",
        "mvault identity new web --output web.json --no-passphrase",
        "mvault identity export > anna.pub    # what others may have of it",
        "mvault identity backup | lp          # on paper, encrypted as it is",
    ),
    lazy={"backup": ("vault.cli.recovery:identity_backup", "Print a sheet of your identity file.")},
)
def identity() -> None:
    """Make, show and pass on identities: the keys by which you sign and read."""


@verb(
    "new",
    family=identity,
    examples=(
        "mvault identity new",
        "mvault identity new anna --recipient x25519",
        "mvault identity new web --output web.json --no-passphrase   # for a service",
        "mvault identity new anna --transit https://bao:8200/transit/anna",
        "mvault identity new web -o web.json --no-passphrase --no-age-key",
    ),
)
@click.argument("name", required=False)
@click.option("-o", "--output", type=_FILE, metavar="FILE", help="Where to write it (your own identity).")
@click.option(
    "--recipient",
    type=click.Choice(["hybrid", "x25519"]),
    default="hybrid",
    show_default=True,
    help="The kind of its age key; a vault has one kind throughout.",
)
@click.option("--no-passphrase", is_flag=True, help="Write it without a passphrase.")
@click.option(
    "--transit",
    metavar="URL",
    help="Sign with this Ed25519 key of an OpenBao or Vault transit engine: https://HOST:PORT/MOUNT/KEY.",
)
@click.option(
    "--key-version", type=click.IntRange(1), metavar="N", help="Which version of that key (the newest)."
)
@click.option("--no-age-key", is_flag=True, help="Give it no age key: it reads through key services alone.")
@click.pass_context
def new(
    context: click.Context,
    name: str | None,
    output: Path | None,
    recipient: str,
    no_passphrase: bool,
    transit: str | None,
    key_version: int | None,
    no_age_key: bool,
) -> None:
    """Make an identity called NAME (your user name), and write it to a new file.

    With --transit the private half of the signing key stays in that service. The
    version of the key is written into the file: when the key is rotated there, the
    identity goes on to sign with the old version until you make another.
    """
    from vault.actions import founding, identities

    if key_version is not None and transit is None:
        raise click.UsageError("--key-version goes with --transit.")
    common = common_of(context)
    settings = common.settings()
    path = output or settings.identity
    if path is None:
        raise NoUsableKey("There is no home folder for a new identity.", hint="Say where: --output FILE")
    if name is not None:
        _principal(name)
    try:
        founding.new_identity(
            settings,
            path,
            name,
            None if no_age_key else recipient,
            protect=not no_passphrase,
            transit=transit,
            version=key_version,
        )
    except NoUsableKey as error:
        hint = error.hint if transit is not None else f"{error.hint} {UNPROTECTED_HINT}".lstrip()
        raise NoUsableKey(error.message, code=error.code, subject=error.subject, hint=hint) from None
    made = identities.describe(path)
    own = output is None and common.given.get("identity") is None
    export = "mvault identity export" + ("" if own else f" --identity {shlex.quote(str(path))}")
    common.console.outcome(
        _value(made, made.path == settings.identity),
        plain=str(path),
        message=f"Made the identity {made.name} in {short(path)}. Keep a copy of the file.\n"
        f"  Key id  sha256:{made.key_id}\n"
        f"To join somebody's vault, send its owner what this prints: {export}",
    )


@verb("show", family=identity, examples=("mvault identity show", "mvault identity show web.json"))
@click.argument("file", type=_FILE, required=False)
@click.pass_context
def show(context: click.Context, file: Path | None) -> None:
    """Show what is public of your identity, or of the one in FILE; no passphrase is needed."""
    from vault.actions import identities

    common = common_of(context)
    found = identities.describe(_chosen(common, file))
    if common.console.json(_value(found, found.path == common.settings().identity)):
        return
    signer = [] if found.signer is None else [("Signs by", Cell(_signer(found)))]
    common.console.fields(
        [
            ("Name", Cell(found.name)),
            ("Key id", Cell(f"sha256:{found.key_id}")),
            ("Age key", Cell(_kind(found))),
            ("Passphrase", Cell("yes" if found.protected else "none")),
            *signer,
            ("File", Cell(short(found.path), str(found.path))),
        ]
    )


@verb("list", family=identity, examples=("mvault identity list", "mvault identity list --json"))
@click.pass_context
def list_(context: click.Context) -> None:
    """List the identities in your configuration folder; `*` marks the one in use."""
    from vault.actions import identities

    common = common_of(context)
    settings = common.settings()
    rows = identities.listed(settings)
    if common.console.json({"identities": [_value(row, row.path == settings.identity) for row in rows]}):
        return
    if not rows:
        common.console.notice("There is no identity yet. Make one: mvault identity new")
        return
    common.console.table(
        (Column(""), Column("NAME"), Column("KEY ID"), Column("AGE KEY"), Column("FILE", shrinks=True)),
        [
            (
                Cell("*" if row.path == settings.identity else ""),
                Cell(row.name),
                Cell(f"sha256:{row.key_id[:12]}…", f"sha256:{row.key_id}"),
                Cell(_kind(row)),
                Cell(short(row.path), str(row.path)),
            )
            for row in rows
        ],
    )


@verb(
    "export",
    family=identity,
    examples=(
        "mvault identity export > anna.pub",
        "mvault identity export web.pub --identity web.json",
        "mvault init models/ --service web=web.pub    # what its owner does with it",
        "mvault identity export --form signers >> signers    # for mvault verify",
        "mvault identity export --form pem --p256      # for other tools",
    ),
)
@click.argument("file", type=_FILE, required=False)
@click.option(
    "--form",
    type=click.Choice(["identity", "pem", "openssh", "minisign", "signers", "certificate"]),
    default="identity",
    show_default=True,
    help="How to write it: for vaults, or the signing key alone as other tools read it.",
)
@click.option(
    "--p256", is_flag=True, help="The ECDSA key of signatures for other tools; this needs your key."
)
@click.pass_context
def export(context: click.Context, file: Path | None, form: str, p256: bool) -> None:
    """Write the public half of your identity to FILE or standard output; no passphrase is needed.

    Only the certificate and the P-256 key are computed from the private key.
    """
    from vault.actions import identities, signing_keys
    from vault.core import public_identity

    common = common_of(context)
    path = _chosen(common, None)
    found = identities.public_half(path)
    if form == "identity" and not p256:
        data = public_identity.encode(found) + b"\n"
    else:
        data = signing_keys.export(path, form, compatibility=p256, settings=common.settings())
    if file is None:
        echo(data.decode("utf-8"), end="")
        return
    identities.create_file(file, data)
    common.console.outcome(
        {"path": str(file), "name": found.name, "key_id": f"sha256:{found.public.key_id}"},
        plain=str(file),
        message=f"Wrote {file}. Nothing in it is secret. Tell its reader the key id by another way:\n"
        f"  sha256:{found.public.key_id}",
    )


@verb("import", family=identity, examples=("mvault identity import /media/stick/identity.json",))
@click.argument("file", type=_FILE)
@click.pass_context
def import_(context: click.Context, file: Path) -> None:
    """Copy the identity in FILE into your configuration folder.

    It becomes your own where you have none yet, else it is kept beside it
    under its name.
    """
    from vault.actions import identities

    common = common_of(context)
    settings = common.settings()
    place = identities.take_in(file, settings)
    found = identities.describe(place)
    used = place == settings.identity
    use = "Commands use it from now on." if used else f"Use it with --identity {short(place)}"
    common.console.outcome(
        _value(found, used),
        plain=str(place),
        message=f"Copied the identity {found.name} to {short(place)}. {use}",
    )


@verb(
    "passphrase",
    family=identity,
    examples=(
        "mvault identity passphrase",
        "mvault identity passphrase web.json --no-passphrase",
        "mvault identity passphrase --passphrase-file old --new-passphrase-file new",
    ),
)
@click.argument("file", type=_FILE, required=False)
@click.option(
    "--new-passphrase-file", type=_FILE, metavar="FILE", help="Read the new passphrase from a file."
)
@click.option("--no-passphrase", is_flag=True, help="Take the passphrase away.")
@click.pass_context
def passphrase(
    context: click.Context, file: Path | None, new_passphrase_file: Path | None, no_passphrase: bool
) -> None:
    """Change the passphrase of your identity, or of the one in FILE.

    The keys stay the same. Copies of the file, such as backups, keep the old
    passphrase: where it may be known to others, the keys in them are too.
    """
    from vault.actions import identities

    if no_passphrase and new_passphrase_file is not None:
        raise click.UsageError("--no-passphrase and --new-passphrase-file exclude each other.")
    common = common_of(context)
    path = _chosen(common, file)
    settings = common.settings()
    changed = identities.change_passphrase(
        path, settings, new_file=new_passphrase_file, protect=not no_passphrase
    )
    told = "has a new passphrase" if changed.protected else "has no passphrase now: keep the file closed"
    common.console.outcome(
        _value(changed, path == settings.identity),
        plain=str(path),
        message=f"The identity {changed.name} in {short(path)} {told}. Copies of it keep the one they had.",
    )


def _chosen(common: Common, file: Path | None) -> Path:
    path = file or common.settings().identity
    if path is None:
        raise NoUsableKey("No identity is named.", hint="Name one: --identity FILE, MVAULT_IDENTITY.")
    return path


def _principal(name: str) -> None:
    from vault.core import names
    from vault.errors import Malformed

    try:
        names.principal(name)
    except Malformed as error:
        raise click.UsageError(error.message) from None


def _kind(found: "IdentityRow") -> str:
    return "hybrid" if found.kind == "mlkem768x25519" else found.kind or "none"


def _signer(found: "IdentityRow") -> str:
    return "" if found.signer is None else f"{found.signer.key.url} version {found.signer.version}"


def _value(found: "IdentityRow", used: bool) -> dict[str, object]:
    return {
        "name": found.name,
        "key_id": f"sha256:{found.key_id}",
        "recipient": found.recipient,
        "recipient_kind": None if found.kind is None else _kind(found),
        "signer": _signer(found) or None,
        "protected": found.protected,
        "path": str(found.path),
        "in_use": used,
    }
