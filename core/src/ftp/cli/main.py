"""`ftp`: the group of commands, and the one place where errors become messages and exit statuses.

Exit status: 0 done; 1 a plugin or ftp itself failed, or what was saved is not what was trained; 2 a mistake that the user can
correct (or a risk check said stop); 130 stopped by Ctrl-C, SIGTERM, SIGHUP or SIGUSR1. `FTP_DEBUG=1` (or `--debug`) shows
tracebacks.
"""

from __future__ import annotations

import copy
import importlib
import io
import os
import sys
from collections.abc import Sequence
from typing import NoReturn

import click

import ftp
from ftp import addresses
from ftp.entry_points import EntryPoint, entry_points
from ftp.errors import ExitStatus, PluginError, RiskStop, UserError, VerifyError
from ftp.host import faults, python_files, quiet, signals
from ftp.host.quiet import quiet_import
from ftp.host.terminal import ReaderGone, guarded, require_written, warn
from ftp.plugins import names
from ftp.plugins.call import failures_named

COMMANDS = {
    "run": "Fine-tune a model: a method, a domain, and whatever else you name.",
    "predict": "Ask a finished run for its answers to texts or a file.",
    "evaluate": "Measure a finished run on other data.",
    "runs": "List runs and compare their scores.",
    "report": "Write a run as a page with pictures, or several side by side.",
    "advise": "Say which approach your rows want, measured on them.",
    "plan": "Show what a run would do, without doing it.",
    "config": "Print a commented recipe of all options.",
    "plugins": "List installed plugins, or show one.",
    "install": "Install plugins where ftp itself is installed.",
    "uninstall": "Remove the packages of plugins.",
    "merge": "Merge the adapter of a run into its base.",
}
"""Name -> one line of help. The command itself is `command` in `ftp.cli.<name>`, imported when it is called."""


COMMANDS_OF_PACKAGES = "ftp.commands"
"""The group of entry points of commands that packages bring."""


def offered(under: str = "") -> dict[str, list[EntryPoint]]:
    """Commands of installed packages (entry points in group `ftp.commands`) by name, without importing any. `data.preview` is
    the command `preview` under `data`; `under="data"` gives those."""
    points_of: dict[str, list[EntryPoint]] = {}
    for point in entry_points(COMMANDS_OF_PACKAGES):
        name = point.name
        if under:
            group, _, name = name.partition(".")
            if group != under or not name:
                continue
        elif "." in name:
            points_of.setdefault(name.partition(".")[0], [])
            continue
        # a package cannot replace a command of core; two installed copies of one say the same twice
        if (under or name not in COMMANDS) and point not in points_of.setdefault(name, []):
            points_of[name].append(point)
    return dict(sorted(points_of.items()))


def load_one(name: str, points: Sequence[EntryPoint]) -> click.Command:
    """The command of an installed package, with those that other packages put under it. Raises `UserError` for two of a name."""
    if len(points) > 1:
        plain = name.rpartition(" ")[2]
        packages = [_distribution(point) for point in points]
        raise UserError([names.clash(f"ftp {name}", plain, packages, packages)])
    command = _import(name, points[0]) if points else click.Group(name)
    if isinstance(command, click.Group):
        for inner, more in offered(name).items():
            if inner not in command.commands:
                command.add_command(_load_later(f"{name} {inner}", more), inner)
            if len(more) > 1:
                for point in more:  # each by the name of its package
                    command.add_command(_load_later(f"{name} {inner}", [point], hidden=True), f"{_distribution(point)}:{inner}")
    return command


def _load_later(name: str, points: Sequence[EntryPoint], hidden: bool = False) -> click.Command:
    """`load_one`; where that fails, a command that says so once somebody calls it, as the others of its group can do without."""
    try:
        command = load_one(name, points)
    except UserError as error:
        failure = error

        def fail(**_: object) -> NoReturn:
            raise failure

        words = click.Argument(["words"], nargs=-1, type=click.UNPROCESSED)
        return click.Command(name, callback=fail, params=[words], help=f"({str(error).splitlines()[0]})", hidden=hidden,
                             add_help_option=False, context_settings={"ignore_unknown_options": True})
    if hidden:
        command = copy.copy(command)
        command.hidden = True
    return command


def _distribution(point: EntryPoint) -> str:
    """The name of the package that offers a command."""
    return point.package.name


def _import(name: str, point: EntryPoint) -> click.Command:
    """The command of one package. Raises `UserError` that names the package where it cannot be used."""
    command = point.load(f"the command 'ftp {name}'")
    if not isinstance(command, click.Command):
        raise UserError(f"ftp {name}: {point.target} of {point.package} is {type(command).__name__}, not a click command",
                        "its package is broken", f"ftp uninstall {point.package.name}")
    return command


class Commands(click.Group):
    """A click group that imports a command only when it is called: core's own, and those of installed packages."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return [*COMMANDS, *offered()]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name in COMMANDS:
            command = importlib.import_module(f"ftp.cli.{cmd_name}").command
        else:
            known = offered()
            points = names.lookup(cmd_name, known, _distribution)
            if not points and cmd_name not in known:
                return None
            command = load_one(names.split(cmd_name)[1], points)
        assert isinstance(command, click.Command)
        return command

    def resolve_command(self, ctx: click.Context, args: list[str]) -> tuple[str | None, click.Command | None, list[str]]:
        from ftp.errors import nearest

        # packages are asked only where core has no such command
        if args and args[0] not in COMMANDS and not args[0].startswith("-"):
            of_packages = offered()
            if args[0] not in of_packages and not names.lookup(args[0], of_packages, _distribution):
                known = [*COMMANDS, *of_packages]
                fix = nearest(names.split(args[0])[1], known) or f"one of: {', '.join(known)}"
                raise UserError(f"ftp {args[0]}: no such command", fix, "ftp --help")
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        of_packages = [(name, _summary(name, points)) for name, points in offered().items()]
        with formatter.section("Commands"):
            formatter.write_dl([*COMMANDS.items(), *of_packages])


def _summary(name: str, points: Sequence[EntryPoint]) -> str:
    """One line about a package's command; a package that is broken must not break the help."""
    if not points:
        return f"{', '.join(offered(name))}."
    if len(points) > 1:
        full_names = [f"{_distribution(point)}:{name}" for point in points]
        return f"(offered by several packages: {' or '.join(full_names)})"
    try:
        with quiet_import():
            return _import(name, points[0]).get_short_help_str(100)
    except Exception as error:
        return f"(broken: {error})"


@click.group(cls=Commands, context_settings={"help_option_names": ["-h", "--help"]},
             epilog="A first run: ftp run --plugins lora,sentiment")
@click.version_option(ftp.__version__, "--version", "-V", prog_name="ftp")
def cli() -> None:
    """Fine-tune pre-trained transformers with plugins."""


def main(arguments: Sequence[str] | None = None) -> NoReturn:
    """Run the command and end the process with its status."""
    status = call(sys.argv[1:] if arguments is None else arguments)
    if status == signals.STOPPED:
        signals.ignore()
    sys.exit(status)


def call(arguments: Sequence[str]) -> int:
    """Run the command and give its exit status; every error a user can cause is told without a traceback."""
    with signals.answered(signals.as_ctrl_c), guarded():
        return _call(arguments)


def _call(arguments: Sequence[str]) -> int:
    words = [word for word in arguments if word != "--debug"]
    debug = len(words) < len(arguments) or os.environ.get("FTP_DEBUG", "") not in ("", "0")
    if debug:
        os.environ["FTP_DEBUG"] = "1"  # for the processes that this one may start
    quiet.before_imports()
    python_files.forget_expected()
    try:
        with signals.interruptible(), failures_named(click.ClickException, click.Abort):
            status = cli.main(args=words, prog_name="ftp", standalone_mode=False)
        require_written()
        return status if isinstance(status, int) else 0
    except ExitStatus as ended:
        return int(ended.code or 0)
    except click.ClickException as error:
        shown = io.StringIO()
        error.show(shown)
        warn(shown.getvalue(), end="")
        return 2
    except (KeyboardInterrupt, click.Abort) as error:
        interrupt = error.__cause__ or error  # click turns Ctrl-C into Abort
        reasons = [str(reason) for reason in interrupt.args if reason]
        return _report(reasons[0] if reasons else "stopped", debug=False, status=signals.STOPPED)
    except ReaderGone:  # ftp runs | head -1
        return 0
    except Exception as error:
        return _failed(faults.in_words(error) or error, debug)


def _failed(error: Exception, debug: bool) -> int:
    """Tell why a command failed and give its exit status; raises what is nobody's mistake but ftp's own."""
    if isinstance(error, RiskStop):
        return _report(error, debug, status=2, before="stopped by a risk check: ")
    if isinstance(error, UserError):
        return _report(error, debug, status=getattr(error, "status", 2))
    if isinstance(error, (PluginError, VerifyError)):
        hint = "" if debug else "\n  the traceback is shown with --debug, or FTP_DEBUG=1"
        return _report(error, debug, status=1, after=hint)
    raise error


def _report(error: Exception | str, debug: bool, status: int, before: str = "", after: str = "") -> int:
    """Write an error to standard error, its problems as a list where they are several, and give `status` back."""
    if "ftp.report.progress" in sys.modules:  # a live line would be drawn over the message
        sys.modules["ftp.report.progress"].close_all()
    if debug and isinstance(error, Exception):
        import traceback

        warn(addresses.masked("".join(traceback.format_exception(error))), end="")
    problems = getattr(error, "problems", ())
    message = f"{before}{error}"
    if len(problems) > 1:
        message = f"{before}{len(problems)} things are wrong\n"
        for problem in problems:
            message += "\n- " + str(problem).replace("\n", "\n  ")
    warn(f"ftp: {addresses.masked(message)}{after}")
    return status
