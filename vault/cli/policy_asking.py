"""`mvault policy can-i|who-can|explain`: ask what a policy decides, by which rule, and what enforces it."""

import functools
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import click

from vault.cli.command import verb
from vault.cli.completion import ReferenceText
from vault.cli.options import common_of
from vault.cli.tables import Cell, Column

if TYPE_CHECKING:
    from vault.cli.output import Console
    from vault.core.names import Environment, Principal
    from vault.core.policy import Key
    from vault.core.policy_analysis import Explanation, Ground
    from vault.core.policy_view import View

NO = 1  # the exit status where the answer is no
_FILE = click.Path(dir_okay=False, path_type=Path)
_WHO = click.option("--as", "who", metavar="WHO", help="Ask about this person or service (yourself).")
_FROM = click.option("--from", "source", metavar="ENV", help="Where a promotion starts.")
_POLICY = click.option(
    "--policy", "file", type=_FILE, metavar="FILE", help="Ask a policy file in place of the policy in force."
)


def _asking(answer: Callable[[click.Context, "_Question"], None]) -> Callable[..., None]:
    """Give a command the arguments of a question, and call it with the question."""

    @click.argument("action")
    @click.argument("reference", metavar="REF", type=ReferenceText())
    @_WHO
    @_FROM
    @_POLICY
    @click.pass_context
    @functools.wraps(answer)
    def command(
        context: click.Context,
        action: str,
        reference: str,
        who: str | None,
        source: str | None,
        file: Path | None,
    ) -> None:
        answer(context, _Question(context, action, reference, who, source, file))

    return command


@verb(
    "can-i",
    examples=(
        "mvault policy can-i promote churn --env prod",
        "mvault policy can-i load churn@prod --as web",
        "mvault policy can-i publish nepse/NABIL --as train-banks --policy new.yaml",
    ),
)
@_asking
def can_i(context: click.Context, question: "_Question") -> None:
    """Ask whether you may do ACTION with a model in the environment --env.

    The answer is the status: 0 yes, 1 no. It is advice in advance: a load or a
    signature is judged again when it happens. Data: yes or no, and why.
    """
    found = question.explain()
    value = {**question.value(), "allowed": found.decision.allowed, "reason": found.decision.reason}
    console = question.common.console
    if not console.json(value):
        answer = "yes" if found.decision.allowed else "no"
        console.table((Column(""), Column("", shrinks=True)), [(Cell(answer), Cell(found.decision.reason))])
    context.exit(0 if found.decision.allowed else NO)


@verb(
    "who-can",
    examples=(
        "mvault policy who-can approve churn --env prod",
        "mvault policy who-can promote churn --env prod --from staging",
        "mvault policy who-can load nepse/NABIL --env prod --policy new.yaml",
    ),
)
@click.argument("action")
@click.argument("reference", metavar="MODEL", type=ReferenceText())
@_FROM
@_POLICY
@click.pass_context
def who_can(
    context: click.Context, action: str, reference: str, source: str | None, file: Path | None
) -> None:
    """List who may do ACTION with MODEL in the environment --env, and by which role.

    Columns when piped: name, kind, role, owners.
    """
    from vault.core import policy_analysis

    question = _Question(context, action, reference, None, source, file)
    found = policy_analysis.who_can(
        question.view, question.action, question.model, question.environment, question.source
    )
    console = question.common.console
    listed = [
        {"name": entry.name, "kind": entry.kind, "owners": list(entry.owners), "role": entry.ground.role,
         "line": entry.ground.line}
        for entry in found
    ]  # fmt: skip
    if console.json({**question.value(), "who": listed}):
        return
    rows = [
        (Cell(entry.name), Cell(entry.kind), Cell(entry.ground.role), Cell(", ".join(entry.owners)))
        for entry in found
    ]
    if rows:
        console.table((Column("NAME"), Column("KIND"), Column("ROLE"), Column("OWNERS", shrinks=True)), rows)
    else:
        console.notice(f"Nobody may {question.action} {question.model} in {question.environment}.")


@verb(
    "explain",
    examples=(
        "mvault policy explain load nepse/NLIC --env prod --as serve-nabil",
        "mvault policy explain promote churn --env prod",
        "mvault policy explain approve churn --env prod --as ben --policy team.yaml",
    ),
)
@_asking
def explain(context: click.Context, question: "_Question") -> None:
    """Show the rule that decides, where it stands, and what enforces the decision.

    The strength is cryptographic (keys and signatures), loader (honest loaders
    refuse), storage (the storage's own access control) or advisory (told early
    to honest users, enforced by nothing). Status 0 for yes and for no.
    """
    found = question.explain()
    value = {
        **question.value(),
        "allowed": found.decision.allowed,
        "reason": found.decision.reason,
        "strength": found.strength,
        "because": found.because,
        "file": question.view.file,
        "rules": [
            {"role": entry.role, "rule": entry.number + 1, "line": entry.line, "text": entry.text}
            for entry in found.grounds
        ],
        "sources": list(found.sources),
        "requirements": [
            {"text": entry.text, "strength": entry.strength, "line": entry.line} for entry in found.demands
        ],
        "keys": None if found.keys is None else [key_value(key) for key in found.keys],
    }
    if not question.common.console.json(value):
        _print_explanation(question.common.console, found, question.view.file)


def _print_explanation(console: "Console", found: "Explanation", file: str) -> None:
    answer = "yes" if found.decision.allowed else "no"
    rows = [("Answer", Cell(f"{answer}: {found.decision.reason}"))]
    label = "Rule" if found.decision.allowed else "Comes near"
    rows += [(label, Cell(_rule(entry, file))) for entry in found.grounds]
    rows.append(("Strength", Cell(f"{found.strength}: {found.because}")))
    if found.sources:
        rows.append(("From", Cell(f"{', '.join(found.sources)} (advisory: what is signed does not say it)")))
    for entry in found.demands:
        rows.append(("Also asked", Cell(f"{entry.text} ({entry.strength}{_at(file, entry.line)})")))
    rows += [("Key", Cell(key_text(key))) for key in found.keys or ()]
    if found.keys is not None and not any(_state(key) == "counts" for key in found.keys):
        rows.append(("But", Cell("no key of theirs counts, so they can sign nothing new, and open nothing")))
    console.fields(rows)


def _state(key: "Key") -> str:
    return "revoked" if key.revoked else "counts" if key.until is None else "retired"


def key_text(key: "Key") -> str:
    """Name a key, and say whether it counts."""
    until = "" if key.until is None else f": counts for what {key.until.origin} had at {key.until.size:,}"
    return f"sha256:{key.key_id[:16]}… {_state(key)}{'' if key.revoked else until}"


def key_value(key: "Key") -> dict[str, object]:
    """Give a key of a policy in its JSON shape (docs/cli.md)."""
    until = None
    if key.until is not None:
        until = {"origin": key.until.origin, "size": key.until.size, "root": key.until.root}
    return {"key": f"sha256:{key.key_id}", "state": _state(key), "until": until}


def _rule(entry: "Ground", file: str) -> str:
    place = f"{file}, rule {entry.number + 1}" if entry.line is None else f"{file}, line {entry.line}"
    return f"role {entry.role} ({place}): {entry.text}"


def _at(file: str, line: int | None) -> str:
    return "" if line is None else f"; {file}, line {line}"


class _Question:
    """What was asked, in the core's values, and the policy that is asked."""

    def __init__(
        self,
        context: click.Context,
        action: str,
        reference: str,
        who: str | None,
        source: str | None,
        file: Path | None,
    ) -> None:
        """Read the arguments.

        Raises:
            UsageError: there is no such action, or no environment is named.
            ValueError: a name breaks the grammar.
            VaultError: the policy cannot be had.
        """
        from vault.arguments import given, reference_of
        from vault.core import names
        from vault.core.policy import ACTIONS

        self.common = common_of(context)
        if action not in ACTIONS:
            raise click.UsageError(f"There is no action {action!r}; there are {', '.join(ACTIONS)}.", context)
        asked = reference_of(reference)
        self.action = action
        self.model = asked.model
        env = self.common.given.get("env")
        into = None if env is None else given(names.environment, env)
        self.source = None if source is None else given(names.environment, source)
        if action == "promote":
            self.source = self.source or asked.environment
        elif self.source is not None:
            raise click.UsageError("Only a promotion has --from.", context)
        else:
            into = into or asked.environment
        if into is None:
            raise click.UsageError("Name the environment: --env ENV.", context)
        self.environment: Environment = into
        self._who = None if who is None else given(names.principal, who)
        self._file = file
        self.view: View = self._view()

    def _view(self) -> "View":
        from vault.actions import policy_reading

        if self._file is not None:
            return policy_reading.file_view(self._file)
        self._vault = self.common.open()
        return self._vault.policy.view

    @property
    def who(self) -> "Principal":
        """Who is asked about; without --as whoever holds this machine's identity, by its public half."""
        if self._who is None:
            from vault.actions import identities

            if self._file is not None:
                raise click.UsageError("A file has no keys: say whom you ask about, --as NAME.")
            path = self.common.settings().identity
            if path is None:
                raise click.UsageError("There is no identity on this machine: --as NAME or --identity FILE.")
            self._who = self._vault.policy.holder(identities.describe(path).key_id)
        return self._who

    def explain(self) -> "Explanation":
        """Ask."""
        from vault.core import policy_analysis

        return policy_analysis.explain(
            self.view, self.who, self.action, self.model, self.environment, self.source
        )

    def value(self) -> dict[str, object]:
        """Give the question in its JSON shape; who is asked about only where somebody is."""
        who = {} if self._who is None else {"who": self._who}
        return {
            **who,
            "action": self.action,
            "model": self.model,
            "env": self.environment,
            "from": self.source,
        }
