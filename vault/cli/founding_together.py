"""`mvault init --threshold`: a vault that several people found; each signs before there is one."""

import shlex
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from vault.cli.options import Common
from vault.cli.policy_signing import people
from vault.cli.text import count, short

if TYPE_CHECKING:
    from vault.actions.init import Founders


def founders(keys: Sequence[str], holders: Sequence[str], threshold: int) -> "Founders":
    """Read who is there from the start, from the options --key and --root-holder.

    Raises:
        BadParameter: an option is not NAME=FILE.
        NotFound, Unavailable, Malformed, ValueError: a file is no public identity.
    """
    from vault.actions import changing
    from vault.actions.init import Founders

    others = changing.public_identities(people(holders, "--root-holder"))
    return Founders(
        keys=changing.public_identities(people(keys, "--key")),
        holders=tuple(entry for entries in others.values() for entry in entries),
        threshold=threshold,
    )


def begin(common: Common, location: str | None, **options: Any) -> None:
    """Write what the vault needs and the drafts that its founders sign; tell what each must do.

    Raises:
        Conflict, ValueError, Malformed, NoUsableKey, Unavailable: see `founding.found_vault`.
    """
    from vault.actions import founding, opening

    settings = common.settings(vault=location)
    made, _ = founding.found_vault(settings, opening.locate(settings), **options)
    quoted = [shlex.quote(str(path)) for path in made.drafts]
    paths = " ".join(quoted)
    more = options["founders"].threshold - 1
    shown = shlex.quote(opening.as_named(location or settings.vault, made.location))
    common.console.outcome(
        {
            "vault": f"sha256:{made.vault}",
            "location": made.location,
            "identity": {"path": str(made.identity), "created": made.made_identity},
            "recovery": str(made.recovery),
            "drafts": [str(path) for path in made.drafts],
        },
        plain=paths,
        message=f"There is no vault yet: its founders sign first. You have signed {' and '.join(quoted)}.\n"
        f"  Recovery key  {short(made.recovery)}\n"
        "                Opens every model if all else is lost. Move it offline now, to two places.\n"
        f"It takes {count(more, 'more founder')}. They get both files, compare the fingerprint with you, "
        "and run:\n"
        f"  mvault policy sign {paths}\n"
        f"The fingerprint: sha256:{made.vault}\n"
        f"Then one of you: mvault policy apply --vault {shown} {paths}",
    )
