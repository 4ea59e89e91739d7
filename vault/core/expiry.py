"""Tell in time what is about to expire: root, policy, and the heads of an environment."""

from dataclasses import dataclass
from typing import Final

from vault.core import names
from vault.core.heads import DAY, Freshness
from vault.core.names import Environment

SOON: Final = 30 * DAY  # authority documents live for years, and their holders must meet
HEADS_SOON: Final = 2 * DAY  # heads are renewed daily and live for a week: several runs have failed


@dataclass(frozen=True, slots=True)
class Notice:
    """One thing that expires soon, or has: what, a sentence, and what to do."""

    subject: str
    message: str
    hint: str
    expired: bool


def documents(
    root_expires: str | None, policy_expires: str | None, now: int, *, within: int = SOON
) -> tuple[Notice, ...]:
    """Tell which of root and policy expire within so many seconds; one that never expires is not told."""
    hints = {
        "root": "Its holders renew it: mvault renew",
        "policy": "The holders of the root renew it: mvault renew",
    }
    found = []
    for what, expires in (("root", root_expires), ("policy", policy_expires)):
        if expires is None or names.timestamp(expires) > now + within:
            continue
        over = names.timestamp(expires) <= now
        verb = "expired" if over else "expires"
        found.append(Notice(what, f"The {what} {verb} on {names.day_text(expires)}.", hints[what], over))
    return tuple(found)


def heads(environment: Environment, state: Freshness | None, now: int) -> tuple[Notice, ...]:
    """Tell that an environment's heads lapsed, or are about to; None asks for no heads."""
    if state is None:
        return ()
    hint = f"Somebody who may attest {environment} runs: mvault renew"
    if not state.fresh or state.heads is None:
        message = f"The store may offer an old state: {state.lapse}."
        return (Notice(f"heads of {environment}", message, hint, True),)
    expires = state.heads.record.expires
    if names.timestamp(expires) > now + HEADS_SOON:
        return ()
    message = f"The heads of {environment} expire on {names.day_text(expires)} and were not renewed."
    return (Notice(f"heads of {environment}", message, hint, False),)
