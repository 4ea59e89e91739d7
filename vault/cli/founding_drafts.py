"""Drafts that found a vault: `mvault policy sign|status|apply`, while there is no vault yet."""

import os
import shlex
from pathlib import Path
from typing import TYPE_CHECKING

from vault.cli.options import Common

if TYPE_CHECKING:
    from vault.actions.applying import Standing
    from vault.actions.ballots import Ballot
    from vault.core.policy import Policy
    from vault.core.trust import Root


def founds(drafts: tuple[Path, ...]) -> bool:
    """Tell whether some drafts found a vault: its first root is among them, or a policy that follows none.

    Raises:
        NotFound, Unavailable, ValueError, Malformed: a file is no draft.
    """
    from vault.actions import ballots, draft_files

    return any(
        ballots.is_first(draft) or draft.document.prev is None for draft in map(draft_files.read, drafts)
    )


def sign(common: Common, drafts: tuple[Path, ...]) -> "tuple[Standing, ...]":
    """Show what the drafts found, and sign them.

    Raises:
        NoUsableKey: there is no identity.
        AccessDenied: it is none of the founders'.
        DigestMismatch, ValueError, NotFound, Malformed, Unavailable.
    """
    from vault.actions import applying, ballots, opening
    from vault.errors import NoUsableKey

    unlock = opening.unlocker(common.settings())
    if unlock is None:
        raise NoUsableKey(
            "This needs an identity, and none is set up on this machine.", hint="mvault identity new"
        )
    found = _read(drafts)
    tell(common, found)
    ballots.sign(found, unlock(), drafts)
    return applying.standings(_read(drafts))


def look(common: Common, drafts: tuple[Path, ...]) -> "tuple[Standing, ...]":
    """Show what the drafts found, and give what they lack.

    Raises:
        DigestMismatch, ValueError, NotFound, Malformed, Unavailable.
    """
    from vault.actions import applying

    found = _read(drafts)
    tell(common, found)
    return applying.standings(found)


def _read(drafts: tuple[Path, ...]) -> "Ballot":
    from vault.actions import ballots, draft_files

    return ballots.founding([draft_files.read(path) for path in drafts])


def tell(common: Common, found: "Ballot") -> None:
    """Print what a founder puts their name to: fingerprint, holders, people, and what is asked for where."""
    from vault.core.policy import Policy
    from vault.core.trust import Root

    lines: list[str] = []
    if found.root is not None and isinstance(found.root.document, Root):
        lines += [
            "A new vault. Compare its fingerprint with the other founders by another way than these files:",
            f"  sha256:{found.root.digest}",
            f"Root 1 takes {holders(found.root.document)}.",
        ]
    if found.policy is not None and isinstance(found.policy.document, Policy):
        lines += _policy(found.policy.document)
    common.console.notice("\n".join(lines))


def holders(root: "Root") -> str:
    """Say how many of which people a root takes."""
    people = dict.fromkeys(key.name for key in root.keys)
    return f"{root.threshold} of {len(people)}: {', '.join(people)}"


def _policy(document: "Policy") -> list[str]:
    from vault.core import policy_check, policy_view

    lines = ["Its first policy has:"]
    for name, member in document.members.items():
        owned = f", of {', '.join(member.owners)}" if member.owners else ""
        only = "" if member.models is None else f"; models {', '.join(member.models) or 'none'}"
        lines.append(f"  {name} ({', '.join(member.roles) or 'no role'}{owned}{only})")
    for place, rule in document.environments.items():
        if (asked := rule.require.approvals) is not None:
            lines.append(f"  {place} takes {asked.threshold} approvals by {asked.role}")
    for finding in policy_check.check(policy_view.of_policy(document)):
        if finding.severity == "error":
            lines.append(f"  {finding.subject}: {finding.message}")
    return lines


def apply(common: Common, drafts: tuple[Path, ...]) -> None:
    """Found the vault, and tell what comes next.

    Raises:
        UntrustedSigner, Conflict, DigestMismatch, ValueError, Unavailable: see `founding.found_by_drafts`.
    """
    from vault.actions import draft_files, founding, opening
    from vault.cli.founding import first_steps, remember
    from vault.settings import load_settings

    settings = common.settings()
    common.tell_settings(settings)
    store = opening.locate(settings)
    made = founding.found_by_drafts(settings, store, [draft_files.read(path) for path in drafts])
    place = opening.as_named(settings.vault, made.location)
    without = {**common.flags(), "vault": None}
    named = load_settings(flags=without, environ=os.environ, cwd=Path.cwd()).vault is not None
    remembered = None if named else remember(common, place)
    where = "" if named or remembered is not None else f" --vault {shlex.quote(place)}"
    lines = [
        f"There is a vault in {made.location} now, and it is trusted on this machine.",
        "Its fingerprint, to be told to everybody who will use it:",
        f"  sha256:{made.vault}",
        "They type:",
        f"  mvault trust {shlex.quote(place)} --root sha256:{made.vault}",
    ]
    if remembered is not None:
        lines.append(f"Commands in this folder find the vault by {remembered.name}, written just now.")
    common.console.outcome(
        {
            "vault": f"sha256:{made.vault}",
            "location": made.location,
            "settings": None if remembered is None else str(remembered),
        },
        plain=f"sha256:{made.vault}",
        message="\n".join([*lines, "", *first_steps(common.open(), common, where)]),
    )
