"""The folder of a run is opened, and closed with a word on how the run ended."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

from ftp import addresses
from ftp.errors import Problem, RiskStop, UserError
from ftp.folder import claim, files, paths
from ftp.folder.files import Folder
from ftp.host import faults
from ftp.host.terminal import visible
from ftp.plugin_info import Picked
from ftp.plugins.call import failures_named
from ftp.plugins.plan import Prepared
from ftp.runs import recipes
from ftp.train import checkpoint
from ftp.types import Event, Failed, Log, StartedRun

if TYPE_CHECKING:
    from accelerate import Accelerator


def check_addresses(prepared: Prepared, resume: Path | None) -> None:
    """Raise `UserError` where an address lacks its secret, which no recipe holds."""
    problems = []
    for key, value in prepared.values.items():
        for name in addresses.missing(value):
            command = f"export {name}=..."
            if resume is not None:
                command = f"{name}=... ftp run --resume {resume}"
            problems.append(Problem(f"{key}: the secret of its address is in no recipe, and the environment has no {name}",
                                    "give it in the environment", command))
    if problems:
        raise UserError(problems)


def open_folder(
    prepared: Prepared, accelerator: Accelerator, resume: Path | None, stack: ExitStack, notes: list[str]
) -> Path:
    """The run folder, claimed by the main process; a mistake there ends every rank.

    Args:
        resume: the folder of a run to go on with; None for a new one.
        stack: gives the folder back when it closes.
        notes: gets what there is to tell of the folder.
    """
    from accelerate.utils import broadcast_object_list

    opened: list[str | None] = [None]  # as the main process tells the others
    problem: UserError | None = None
    if accelerator.is_main_process:
        try:
            names = [plugin.name for plugin in prepared.picked if not plugin.found.default]
            folder = claim.claim(resume or prepared.settings.out, names, resume=resume is not None, notes=notes)
            stack.callback(claim.release, folder)
            if resume is not None:
                recipes.accept(folder, prepared)
            checkpoint.tidy(folder / paths.CHECKPOINTS)
            opened = [str(folder.resolve())]
        except UserError as error:
            problem = error
    if accelerator.num_processes > 1:
        broadcast_object_list(opened)
    if problem is not None:
        raise problem
    if opened[0] is None:
        raise UserError("the main process could not open the run folder")
    return Path(opened[0])


def find_checkpoint(run: StartedRun) -> Path | None:
    """The newest whole checkpoint of a run that is resumed; None, and a clean log, where it was stopped before the first."""
    notes: list[str] = []
    newest = checkpoint.newest(run.out / paths.CHECKPOINTS, notes, files.run_id(run.out))
    if newest is None:
        run.log.truncate(0)
        notes.append("there is no whole checkpoint: training begins anew")
    for note in notes:
        run.tell(note)
    return newest


@contextmanager
def ending_written_down(run: StartedRun, folder: Folder | None) -> Iterator[None]:
    """Write down how a run ends, however it ends: interrupted, by a mistake of the user, by a fault of the machine or a plugin.

    Args:
        folder: None on processes that write nothing.

    Raises:
        UserError: a fault of the machine (a full disk), in words.
    """
    try:
        with failures_named():
            yield
    except KeyboardInterrupt as error:
        if folder is not None:
            close_facts(folder, "stopped", "interrupted")
        tell_plugins(run, Failed(last_step(run.log), error))
        raise KeyboardInterrupt(f"stopped; go on with: ftp run --resume {run.out}") from None
    except BaseException as error:
        problem = error if isinstance(error, UserError) else faults.in_words(error)
        if folder is not None:
            close_facts(folder, "failed" if problem is None else "stopped", str(problem or error) or type(error).__name__)
            has_something_to_show = isinstance(error, RiskStop) or trained_some(run.log)
            if run.settings.report and problem is not None and has_something_to_show:
                write_report(run)
        tell_plugins(run, Failed(last_step(run.log), error))
        if problem is None or problem is error:
            raise
        raise problem from error


def close_facts(folder: Folder, status: str, reason: str) -> None:
    """Write down how a run ended. Where the disk takes no more, that must not hide why it ended."""
    with suppress(UserError):
        folder.write_facts(status=status, reason=visible(reason))


def tell_plugins(run: StartedRun, event: Event) -> None:
    """Send the last event of a run. What goes wrong in it must not hide how the run ended: it is told instead."""

    def tell_failure(plugin: Picked, error: Exception) -> None:
        with suppress(UserError):
            run.tell(f"plugin '{plugin.name}' failed as it heard how the run ended: {_first_line(error)}")

    run.hooks.each("on_event", on_error=tell_failure, run=run, event=event)


def last_step(log: Log) -> int:
    """The last update that is in the log; 0 before the first."""
    steps = [int(line["step"]) for line in log.lines if line["event"] == "step"]
    return max(steps, default=0)


def trained_some(log: Log) -> bool:
    """Whether any update is in the log, so that there is something to draw."""
    return any(line["event"] == "step" for line in log.lines)


def write_report(run: StartedRun) -> None:
    """report.html of the run folder. What goes wrong in it must not cost a run that is done: it is told instead."""
    from ftp import report

    try:
        stage(run, "writing the report")
        report.write(run.out)
    except Exception as error:
        with suppress(UserError):  # a full disk takes no line of the log either; the user has seen it by then
            run.tell(f"report.html could not be written ({_first_line(error)}); to try again: ftp report {run.out}")


def _first_line(error: Exception) -> str:
    """What went wrong, in a line; with the type of an error that is not written for users."""
    message = str(error) if isinstance(error, UserError) else f"{type(error).__name__}: {error}"
    return message.splitlines()[0]


def stage(run: StartedRun, doing: str) -> None:
    """Tell what is being done before and after training."""
    run.log.event("stage", doing=doing)
