"""Vaults of tests.builders whose clients record what they do: what tests of the audit share."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from tests.builders import Built
from vault.actions.auditor import Auditor
from vault.actions.session import Session
from vault.audit.reading import CommitRead, LogReader, logs
from vault.core import audit_record, names
from vault.core.audit_record import AuditRecord
from vault.core.names import Environment
from vault.core.policy import Policy, Rule
from vault.settings import Settings
from vault.vault import Vault


def asking(env: str = "prod", **require: Any) -> Callable[[Policy], Policy]:
    """Change what an environment requires."""

    def change(before: Policy) -> Policy:
        rule = before.environments[Environment(env)]
        asked = replace(rule, require=replace(rule.require, **require))
        return replace(before, environments={**before.environments, rule.name: asked})

    return change


def hashing(env: str, *fields: str) -> Callable[[Policy], Policy]:
    """Have an environment keep fields of records as keyed hashes."""

    def change(before: Policy) -> Policy:
        rule = replace(before.environments[Environment(env)], hashed=fields)
        return replace(before, environments={**before.environments, rule.name: rule})

    return change


def granting(role: str, action: str, *environments: str) -> Callable[[Policy], Policy]:
    """Let a role `log` or `witness`; without environments, every log."""

    def change(before: Policy) -> Policy:
        places = tuple(names.environment(name) for name in environments)
        rule = Rule((action,), places, None, None, None, own=False)
        name = names.principal(role)
        return replace(before, roles={**before.roles, name: (*before.roles.get(name, ()), rule)})

    return change


def without_logging(before: Policy) -> Policy:
    """Take the right to write logs from every role."""
    roles = {
        name: tuple(
            replace(rule, actions=tuple(action for action in rule.actions if action != "log"))
            for rule in rules
        )
        for name, rules in before.roles.items()
    }
    return replace(before, roles=roles)


def recording(session: Session, place: Path | str | None) -> Session:
    """Have a session record what it does, at `place` as in MVAULT_AUDIT."""
    session.audit = Auditor(place=place, host="here")
    return session


def audited(built: Built, place: Path | str | None, who: str = "owner", env: str = "dev") -> Vault:
    """Open the vault as somebody whose client records what it does."""
    return Vault(recording(built.session(who, env=env), place), Settings())


def move(vault: Vault) -> None:
    """Put what waits into the log, as a process does when it ends."""
    auditor = vault._session.audit
    assert auditor is not None
    auditor.integrate(vault._session, wait=1)


def entries(built: Built, log: str | None = None) -> list[AuditRecord]:
    """Read the records in force of one log, or of all."""
    found: list[AuditRecord] = []

    def take(commit: CommitRead) -> None:
        found.extend(audit_record.parse(entry) for entry in commit.entries)

    for each in logs(built.store):
        if log in (None, str(each)):
            LogReader(built.store, each, built.policy).read(take)
    return found
