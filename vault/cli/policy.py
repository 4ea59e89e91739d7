"""`mvault policy`: who may do what, and what a change would do; the commands are in `policy_*.py`."""

import click

from vault.cli.command import Family

# In the order in which a policy is written: checked, asked about, then signed and put in force.
COMMANDS = {
    "check": ("vault.cli.policy_checking:check", "Look for mistakes in a policy file (advisory)."),
    "test": ("vault.cli.policy_checking:test", "Compare a policy file with the decisions you expect of it."),
    "diff": ("vault.cli.policy_diff:diff", "Tell who gains and loses what, and which channels stop."),
    "can-i": ("vault.cli.policy_asking:can_i", "Ask whether an action is allowed; status 0 is yes, 1 no."),
    "who-can": ("vault.cli.policy_asking:who_can", "List who may do something."),
    "explain": ("vault.cli.policy_asking:explain", "Show the rule that decides, and what enforces it."),
    "draft": ("vault.cli.policy_signing:draft", "Compile a policy file into a draft to be signed."),
    "sign": ("vault.cli.policy_signing:sign", "Sign a draft as a holder of the root."),
    "apply": ("vault.cli.policy_signing:apply", "Put a signed draft in force."),
    "status": ("vault.cli.policy_signing:status", "Tell what is in force, and what a draft lacks."),
}


@click.command(
    "policy",
    cls=Family,
    lazy=COMMANDS,
    examples=(
        "mvault policy check policies/team.yaml",
        "mvault policy test policies/team.yaml",
        "mvault policy can-i promote churn --env prod",
        "mvault policy diff in-force policies/team.yaml",
    ),
)
def policy() -> None:
    """Read, test and compare policies: who may do what, and what enforces it.

    A policy file becomes binding when the holders of the root have signed it;
    everything here that only looks at a file is advice.
    """
