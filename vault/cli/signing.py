"""`mvault sign` and `mvault verify`: signatures beside files, without a vault."""

import os
import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from vault.cli.command import verb
from vault.cli.options import Common, common_of
from vault.cli.text import clean, count, size

if TYPE_CHECKING:
    from vault.actions.verifying_results import VerifiedModel

_FILE = click.Path(path_type=Path)


@verb(
    "sign",
    examples=(
        "mvault sign exported/                       # writes exported.sig",
        "mvault sign model.onnx --model churn:3",
        "mvault sign exported/ --add                 # a second person signs it",
        "mvault sign exported/ --form certificate    # for tools that want those",
    ),
)
@click.argument("path", metavar="PATH", type=_FILE)
@click.option("--signature", type=_FILE, metavar="FILE", help="Where the signature is (PATH.sig).")
@click.option("--model", metavar="NAME", help="The name to sign, such as churn:3 (the last part of PATH).")
@click.option(
    "--annotate",
    "annotations",
    multiple=True,
    metavar="NAME=TEXT",
    help="A remark, signed and believed by nobody. Repeatable.",
)
@click.option(
    "--form",
    type=click.Choice(["key", "certificate"]),
    default="key",
    show_default=True,
    help="What other tools find in it: a key's fingerprint, or certificates.",
)
@click.option("--valid", metavar="DAYS", help="How long the certificate is valid (1825d).")
@click.option("--add", is_flag=True, help="Add your signature to the one that is there.")
@click.option("--replace", is_flag=True, help="Write over the signature that is there.")
@click.option("--no-cache", is_flag=True, help="Hash every file, also those that did not change.")
@click.pass_context
def sign(
    context: click.Context,
    path: Path,
    signature: Path | None,
    model: str | None,
    annotations: tuple[str, ...],
    form: str,
    valid: str | None,
    add: bool,
    replace: bool,
    no_cache: bool,
) -> None:
    """Sign the file or folder PATH with your identity, and write the signature beside it.

    The signature is an OpenSSF Model Signing (OMS v1.0) bundle, which other
    tools verify too. What others need of you for that, mvault identity export
    prints. Files that did not change since you last signed them are not read again.
    """
    from vault.actions import signing

    common = common_of(context)
    made = signing.sign(
        path,
        signature=signature,
        model=model,
        annotations=_pairs(annotations),
        form=form,
        valid_days=None if valid is None else _days(valid),
        add=add,
        replace=replace,
        cache=not no_cache,
        progress=common.console.report,
        settings=common.settings(),
    )
    if made.left_out:
        common.console.notice(
            f"Not signed, as OMS leaves it out: {', '.join(made.left_out)}. "
            "Verification refuses a copy that has it, unless --ignore-git."
        )
    known = made.files - made.hashed
    aside = f", {count(known, 'file')} unchanged since the last time" if known else ""
    common.console.outcome(
        {
            "path": str(made.path),
            "model": made.model,
            "digest": f"sha256:{made.digest}",
            "files": made.files,
            "hashed": made.hashed,
            "signatures": made.signatures,
            "left_out": list(made.left_out),
        },
        plain=str(made.path),
        message=f"Signed {clean(made.model)}: {count(made.files, 'file')}{aside}. "
        f"The signature is in {made.path}\n"
        f"  Digest  sha256:{made.digest}\n"
        f"To verify it: mvault verify {shlex.quote(str(path))} --trusted FILE",
    )


@verb(
    "verify",
    examples=(
        "mvault verify exported/ --trusted signers",
        "mvault verify model.onnx --trusted signers --model churn:3 --threshold 2",
        "mvault verify exported/ --profile oms --trusted key.pem",
        "mvault verify churn:3             # a version in the vault: mvault check",
    ),
)
@click.argument("path", metavar="PATH|REF")
@click.option(
    "--trusted",
    multiple=True,
    type=_FILE,
    metavar="FILE",
    help="Whom to trust: lines NAME KEY as in OpenSSH's allowed_signers, or a public identity. "
    "Repeatable (allowed_signers in your configuration folder).",
)
@click.option("--signature", type=_FILE, metavar="FILE", help="Where the signature is (PATH.sig).")
@click.option("--model", metavar="NAME", help="The name that must be signed (the last part of PATH).")
@click.option("--any-model", is_flag=True, help="Accept any name.")
@click.option(
    "--threshold",
    type=click.IntRange(1, 64),
    default=1,
    show_default=True,
    metavar="N",
    help="How many people must have signed.",
)
@click.option("--digest", metavar="sha256:…", help="The one content that will do, as sign printed it.")
@click.option(
    "--profile",
    type=click.Choice(["strict", "oms"]),
    default="strict",
    show_default=True,
    help="oms: what the specification asks for and no more; PEM keys and root certificates count too.",
)
@click.option(
    "--ignore-git", is_flag=True, help="Let .git, .gitattributes, .github, .gitignore lie there unverified."
)
@click.pass_context
def verify(context: click.Context, /, path: str, trusted: tuple[Path, ...], **asked: Any) -> None:
    """Verify the file or folder PATH by the signature beside it; a REF means mvault check REF.

    Every file must be signed and unchanged, and nothing else be there: no link,
    no added file. Who signed must be listed as trusted, for this model and at
    this time. Ends with status 3 if anything does not hold.
    """
    common = common_of(context)
    if not os.path.lexists(path) and _is_reference(path) and not trusted:
        from vault.cli.checking import check

        context.invoke(check, reference=path, everything=False, data=False)
        return
    from vault.actions import verifying

    found = verifying.verify(
        path,
        trusted=list(trusted) or None,
        progress=common.console.report,
        settings=common.settings(),
        **asked,
    )
    for place in found.outside:
        common.console.warn(f"{clean(place)} is a link that leads out of {clean(path)}.")
    _tell(common, path, found)


def _tell(common: Common, path: str, found: "VerifiedModel") -> None:
    if found.left_out:
        common.console.notice(f"Not verified: {clean(', '.join(found.left_out))}.")
    for name, value in found.annotations.items():
        common.console.detail(
            f"A remark of the signers, which nobody checked: {clean(name)}: {clean(str(value))}"
        )
    common.console.outcome(
        {
            "verified": True,
            "path": path,
            "model": found.model,
            "signers": list(found.signers),
            "digest": f"sha256:{found.digest}",
            "files": len(found.files),
            "bytes": found.size,
            "profile": found.profile,
            "hash": found.hash_type,
            "left_out": list(found.left_out),
            "annotations": dict(found.annotations),
        },
        plain=f"sha256:{found.digest}",
        message=f"{clean(path)} is {clean(found.model)} as {clean(', '.join(found.signers))} signed it: "
        f"{count(len(found.files), 'file')}, {size(found.size)}.",
    )


def _is_reference(text: str) -> bool:
    from vault.core import names
    from vault.errors import Malformed

    try:
        names.reference(text)
    except Malformed:
        return False
    return True


def _pairs(given: tuple[str, ...]) -> dict[str, str]:
    pairs = [text.partition("=") for text in given]
    if not all(name and between for name, between, _ in pairs):
        raise click.UsageError("--annotate wants NAME=TEXT.")
    return {name: text for name, _, text in pairs}


def _days(text: str) -> int:
    digits = text.removesuffix("d")
    if not digits.isdecimal() or len(digits) > 6:
        raise click.UsageError("--valid wants a number of days, such as 365d.")
    return int(digits)
