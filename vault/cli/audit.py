"""`mvault audit`: who did what to which model, and is the record whole; the commands are in `audit_*.py`."""

import click

from vault.cli.command import Family

# In the order in which a reviewer asks: what happened, is that all, prove it to somebody else.
COMMANDS = {
    "log": ("vault.cli.audit_reading:log", "List records, newest first; --follow waits for more."),
    "show": ("vault.cli.audit_reading:show", "Show one record, and where the evidence lies."),
    "summary": ("vault.cli.audit_reporting:summary", "Tell what was unusual, against each actor's past."),
    "verify": ("vault.cli.audit_verifying:verify", "Replay the logs from their files: is the record whole?"),
    "prove": ("vault.cli.audit_proving:prove", "Write a proof that a record is in its log."),
    "check-proof": ("vault.cli.audit_proving:check_proof", "Check such a proof, offline."),
    "witness": ("vault.cli.audit_witness:witness", "Cosign logs that continue what you cosigned before."),
    "anchor": ("vault.cli.audit_witness:anchor", "Record how far every access log has come."),
    "report": ("vault.cli.audit_report:report", "Write a signed report, or check one again."),
    "export": ("vault.cli.audit_reporting:export", "Write records for other programs: JSON, CSV, OCSF, CEF."),
    "status": ("vault.cli.audit_status:status", "Tell what waits, what the logs have, who may write."),
    "lookup": ("vault.cli.audit_reading:lookup", "Find a value that is kept as a keyed hash."),
    "repair": ("vault.cli.audit_status:repair", "Move waiting records, and write wrong copies again."),
}


@click.command(
    "audit",
    cls=Family,
    lazy=COMMANDS,
    examples=(
        "mvault audit log --since yesterday               # what happened",
        "mvault audit log --decision deny --decision refuse",
        "mvault audit verify                              # is the record whole?",
        "mvault audit report -o reports/ --since 30d      # on paper, signed",
    ),
)
def audit() -> None:
    """Review who did what to which model, and prove it to somebody who does not trust the vault.

    The logs lie in the vault: `trust` for the policy, `env/ENV` for what changed
    an environment, `access/WHO/INSTANCE` for loads, pulls and denials. To review
    them takes read access to the storage, and a trust file (--trust FILE) or
    `mvault trust`; no private key. An index for quick answers is kept in your
    state folder. docs/audit.md says what the record proves, and what it cannot.
    """
