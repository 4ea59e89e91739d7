"""Turn whatever went wrong into one message on stderr, one JSON object, and one exit status."""

from dataclasses import dataclass

import click

from vault.cli.command import USAGE
from vault.cli.text import clean, paragraph
from vault.errors import VaultError

UNEXPECTED = 1
INTERRUPTED = 130
BROKEN_PIPE = 141  # what a shell reports of a program that a closed pipe ended


@dataclass(frozen=True, slots=True)
class Failure:
    """What the user is told: a stable `code`, the sentence, what it is about, and one next step.

    `usage` is the command's usage line where the mistake was in how it was called.
    """

    status: int
    code: str
    message: str
    subject: str = ""
    hint: str = ""
    usage: str = ""

    def as_json(self) -> str:
        """Write the one JSON shape that every failure has (docs/cli.md, "Errors")."""
        import json

        return json.dumps(
            {
                "error": {
                    "code": self.code,
                    "message": self.message,
                    "subject": self.subject,
                    "hint": self.hint,
                }
            }
        )


def describe(error: BaseException, *, debug: bool) -> Failure:
    """Describe an exception: a refusal, a mistake of the caller's, an interruption, or a defect of ours."""
    if isinstance(error, VaultError):
        return Failure(error.exit_status, error.code, error.message, error.subject, error.hint)
    if isinstance(error, click.UsageError):
        return _usage(error)
    if isinstance(error, click.ClickException):
        return Failure(USAGE, "usage", error.format_message())
    if isinstance(error, click.Abort | KeyboardInterrupt):
        return Failure(INTERRUPTED, "interrupted", "Interrupted.")
    if isinstance(error, ValueError | TypeError):
        return Failure(USAGE, "usage", _sentence(str(error)))
    return Failure(
        UNEXPECTED,
        "defect",
        f"This is a defect in mvault: {_sentence(f'{type(error).__name__}: {error}')}",
        hint="Report it with the lines above." if debug else "Run it again with --debug, and report it.",
    )


def show(failure: Failure, *, as_json: bool, verbose: bool, color: bool) -> None:
    """Print a failure: the sentence on stderr, and in JSON mode the object on stdout."""
    if as_json:
        click.echo(failure.as_json())
    if failure.usage:
        click.echo(failure.usage, err=True)
    label = click.style("Error:", fg="red", bold=True) if color else "Error:"
    code = f" [{failure.code}]" if verbose else ""
    click.echo(f"{label} {paragraph(f'{failure.message} {failure.hint}'.rstrip())}{code}", err=True)


def show_traceback(error: BaseException) -> None:
    """Print where an exception came from."""
    import traceback

    click.echo("".join(traceback.format_exception(error)), err=True, nl=False)


def _usage(error: click.UsageError) -> Failure:
    context = error.ctx
    usage, hint = "", ""
    if context is not None:
        usage = context.get_usage()
        if context.help_option_names:
            hint = f"For help: {context.command_path} {context.help_option_names[0]}"
    return Failure(USAGE, "usage", _sentence(error.format_message()), hint=hint, usage=usage)


def _sentence(text: str) -> str:
    """Make one line of an exception's text that ends as a sentence does."""
    text = clean(text.strip()) or "no reason was given"
    return text if text[-1] in ".!?…" else f"{text}."
