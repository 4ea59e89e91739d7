"""The command `mvault`: its tree, and the one place where errors become messages and exit statuses."""

import errno
import io
import os
import sys
import warnings
from collections.abc import Sequence
from typing import Any, NoReturn

import click

from vault.cli import errors
from vault.cli.command import Family
from vault.cli.options import Common
from vault.cli.output import echo
from vault.errors import Unavailable

COMPLETION = "_MVAULT_COMPLETE"  # the variable by which a shell asks for completions

# In the order in which a new user meets them. The texts stand here so that help imports no command.
COMMANDS = {
    "demo": ("vault.cli.demo:demo", "Play the whole story on real models, in a temporary folder."),
    "init": ("vault.cli.founding:init", "Make a vault: identity, policy, recovery key."),
    "trust": ("vault.cli.trusting:trust", "Trust a vault on this machine, or export that trust."),
    "identity": ("vault.cli.identity:identity", "Make, show and pass on identities."),
    "push": ("vault.cli.publishing:push", "Package, sign, seal and publish files as a new version."),
    "adopt": ("vault.cli.adopting:adopt", "Take over models of a folder, a bucket or MLflow."),
    "pull": ("vault.cli.pulling:pull", "Write a version's verified files into a folder."),
    "ls": ("vault.cli.reading:ls", "List models, or one model's versions."),
    "show": ("vault.cli.reading:show", "Describe one version."),
    "search": ("vault.cli.searching:search", "Find versions by metrics, tags, text and more."),
    "diff": ("vault.cli.comparing:diff", "Tell in what two versions differ."),
    "compare": ("vault.cli.comparing:compare", "Lay versions beside each other as a table."),
    "tag": ("vault.cli.labelling:tag", "Give a version tags, or take them back."),
    "note": ("vault.cli.labelling:note", "Note something about a version."),
    "history": ("vault.cli.history:history", "Tell what happened to a model, newest first."),
    "lineage": ("vault.cli.lineage:lineage", "Show where a version comes from, and what came of it."),
    "promote": ("vault.cli.publishing:promote", "Make an environment use a version."),
    "approve": ("vault.cli.channels:approve", "Sign that a version may enter an environment."),
    "withdraw": ("vault.cli.channels:withdraw", "Keep a version out of an environment."),
    "rollback": ("vault.cli.channels:rollback", "Make an environment use again what it used before."),
    "pending": ("vault.cli.channels:pending", "List what waits to enter an environment, and for whom."),
    "adopt-version": ("vault.cli.channels:adopt_version", "Stand in for a version's lost publisher."),
    "policy": ("vault.cli.policy:policy", "Check, ask, compare, sign and apply policies."),
    "team": ("vault.cli.team:team", "Let people in and out, and see who is there."),
    "root": ("vault.cli.root:root", "Change or renew the people whose signatures make a policy count."),
    "access": ("vault.cli.access:access", "Show who can read what; hand out and rotate keys."),
    "audit": ("vault.cli.audit:audit", "Review who did what, and prove it."),
    "hold": ("vault.cli.holding:hold", "Keep versions from being removed, whatever rules say."),
    "retain": ("vault.cli.retaining:retain", "Remove old versions by rules; delete their files later."),
    "index": ("vault.cli.searching:index", "Keep the index by which versions are found."),
    "lock": ("vault.cli.locking:lock", "Write down the exact versions that channels name, for git."),
    "card": ("vault.cli.documents:card", "Print a version's model card."),
    "bom": ("vault.cli.documents:bom", "Print a version's bill of materials (CycloneDX)."),
    "archive": ("vault.cli.archiving:archive", "Move old versions to a cheaper place, and back."),
    "check": ("vault.cli.checking:check", "Check signatures, places and stored bytes."),
    "load-test": (
        "vault.cli.testing:load_test",
        "Load a version in a fresh environment; compare what it predicts.",
    ),
    "backup": ("vault.cli.backing_up:backup", "Copy the vault, encrypted as it is, to another store."),
    "restore": ("vault.cli.restoring:restore", "Bring a vault, or one version, back; try it; hold drills."),
    "recovery": ("vault.cli.recovery:recovery", "Keep the keys on paper, and read them from it."),
    "renew": ("vault.cli.renewing:renew", "Sign anew what is due: heads, root, policy."),
    "doctor": ("vault.cli.doctor:doctor", "Look whether everything is as a load needs it."),
    "sign": ("vault.cli.signing:sign", "Sign a file or folder beside it, for any tool to verify."),
    "verify": ("vault.cli.signing:verify", "Verify a file or folder by the signature beside it."),
    "inspect": ("vault.cli.inspecting:inspect", "Tell what files would do if loaded; never load them."),
    "convert": (
        "vault.cli.converting:convert",
        "Turn a legacy pickle into skops or ONNX, in a confined process.",
    ),
    "completion": ("vault.cli.completion:completion", "Print the script that completes commands in a shell."),
}


class Root(Family):
    """The command itself: every error passes here, once."""

    def main(
        self,
        args: Sequence[str] | None = None,
        prog_name: str | None = None,
        complete_var: str | None = None,
        standalone_mode: bool = True,
        **extra: Any,
    ) -> Any:
        """Run, and end the process with the status that docs/cli.md lists under "Exit status"."""
        common = Common()
        if not standalone_mode or COMPLETION in os.environ:
            extra = {"obj": common, **extra}
            return click.Command.main(self, args, "mvault", COMPLETION, standalone_mode, **extra)
        arguments = sys.argv[1:] if args is None else list(args)
        for stream in (sys.stdout, sys.stderr):
            if isinstance(stream, io.TextIOWrapper):
                stream.reconfigure(errors="backslashreplace")
        with warnings.catch_warnings():
            warnings.showwarning = _shower(common)
            sys.exit(self._run(arguments, common))

    def _run(self, arguments: list[str], common: Common) -> int:
        status = 0
        try:
            try:
                with self.make_context("mvault", arguments[:], obj=common) as context:
                    self.invoke(context)
            except click.exceptions.Exit as end:
                status = end.exit_code
            finally:
                common.settle()
            _flush()
        except (Exception, KeyboardInterrupt) as error:  # the one place where anything becomes a message
            if isinstance(error, OSError) and error.errno == errno.EPIPE:
                _forget_stdout()
                return errors.BROKEN_PIPE
            return _report(error, arguments, common)
        return status


def _report(error: BaseException, arguments: list[str], common: Common) -> int:
    before_end = arguments[: arguments.index("--")] if "--" in arguments else arguments
    debug = common.flag("debug") or "--debug" in before_end
    as_json = common.flag("json") or "--json" in before_end
    color = False
    try:
        as_json = as_json or common.console.style.json
        color = common.console.colored(sys.stderr.isatty())
    except Exception:  # noqa: S110 (the settings are what is wrong: they cannot say how to print that)
        pass
    if debug and not isinstance(error, click.ClickException | click.Abort | KeyboardInterrupt):
        errors.show_traceback(error)
    failure = errors.describe(error, debug=debug)
    try:
        errors.show(failure, as_json=as_json, verbose=common.flag("verbose"), color=color)
        _flush()
    except (OSError, Unavailable):
        _forget_stdout()  # nobody reads any more; the status still tells
    return failure.status


def _shower(common: Common) -> Any:
    """Print what the vault says with `warnings.warn` as one line; drop what other libraries say."""

    def show(message: Warning | str, category: type[Warning], *_: object, **__: object) -> None:
        if issubclass(category, UserWarning):
            common.console.warn(str(message))

    return show


def _flush() -> None:
    """Send out what was printed, while a failure to do so can still be told.

    Raises:
        Unavailable: the disk behind standard output is full, or it was closed.
    """
    try:
        sys.stdout.flush()
    except BrokenPipeError:
        raise
    except (OSError, ValueError) as error:
        _forget_stdout()
        reason = error.strerror if isinstance(error, OSError) else "it is closed"
        raise Unavailable(f"The output cannot be written: {reason}.", code="unavailable") from None


def _forget_stdout() -> None:
    """Send what is still buffered nowhere, so that the interpreter's last flush does not complain."""
    try:
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, sys.stdout.fileno())
        os.close(nowhere)
    except (OSError, ValueError):
        pass


def _show_version(ctx: click.Context, _: click.Parameter, wanted: bool) -> None:
    if wanted and not ctx.resilient_parsing:
        from vault._version import __version__

        echo(f"mvault {__version__}")
        ctx.exit()


@click.command(
    "mvault",
    cls=Root,
    lazy=COMMANDS,
    context_settings={"help_option_names": ["--help", "-h"], "max_content_width": 100},
    examples=(
        "mvault demo                              # see it work, in a minute",
        "mvault init models/                      # a vault of your own",
        "mvault push churn model.skops            # publish a model to dev",
        "mvault promote churn:1 --env prod        # and to prod",
        "mvault pull churn@prod out/              # get its verified files",
    ),
)
@click.option(
    "--version",
    is_flag=True,
    is_eager=True,
    expose_value=False,
    callback=_show_version,
    help="Print the version.",
)
def cli() -> None:
    """Keep machine-learning models signed, encrypted and governed, in storage you already have.

    Every option below may also stand after a command. Data goes to standard
    output, messages to standard error; docs/cli.md has the exit statuses.
    """


def main() -> NoReturn:
    """Run `mvault`: the entry point of the installed command."""
    cli.main()
    raise SystemExit(errors.UNEXPECTED)  # not reached: Root.main ends the process
