"""Who may write to the logs, and who may witness them (docs/format.md, "Policy")."""

from vault.core.names import Environment, Principal
from vault.core.policy import Ruled


def may_log(policy: Ruled, who: Principal, action: str, environment: Environment | None) -> bool:
    """Tell whether `who` may `log` to an environment's log, or `witness` it; None means the trust log.

    A log is about all models, so neither a rule nor a principal is narrowed here
    to some. A rule without environments is about every log, the trust log among them.
    """
    member = policy.members.get(who)
    if member is None:
        return False
    return any(
        action in rule.actions and (not rule.environments or environment in rule.environments)
        for role in member.roles
        for rule in policy.roles.get(role, ())
    )
