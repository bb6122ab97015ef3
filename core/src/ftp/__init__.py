"""ftp: fine-tune pre-trained transformers with plugins.

For plugin authors: `plugin`, `option`, `hookimpl`, and the types of `ftp.types`.
For users of Python: `ftp.run(plugins=[...], **options) -> Result` and `ftp.load(run).predict([...])`.
"""

import sys  # and not even __future__ before the lines below

# `python -m ftp` puts the working folder first on the path, where a file named like a library would be imported in its
# place. The folder holds a user's data, so it leaves before any other import.
if sys.argv[:1] == ["-m"] and "ftp" in sys.orig_argv:
    if not sys.flags.safe_path:
        del sys.path[0]
    import ftp_command

    ftp_command.answer_requests()  # as the program `ftp` does, from here on

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from ftp.contract import CONTRACT, VERSION
from ftp.deprecation import FtpDeprecationWarning
from ftp.errors import PluginError, Problem, RiskStop, UserError, nearest
from ftp.hooks import hookimpl
from ftp.options import option
from ftp.plugin_info import Candidate
from ftp.plugins.declare import plugin

if TYPE_CHECKING:
    from ftp.runs.predictor import Predictor
    from ftp.types import Result

__version__ = VERSION

__all__ = [
    "CONTRACT", "Candidate", "FtpDeprecationWarning", "PluginError", "Problem", "RiskStop", "UserError", "hookimpl", "load",
    "nearest", "option", "plugin", "run",
]  # fmt: skip


def run(plugins: Sequence[str], **options: object) -> "Result":
    """Do one run and give its result (scores, verdicts, folder).

    Args:
        plugins: their names, as in `--plugins`.
        options: those of the command: core's by name (`learning_rate=1e-4`), a plugin's as a table (`lora={"r": 8}`).

    Raises:
        UserError: every mistake in names and options together; or the rows, the model or the disk stop the run.
        RiskStop: a check said stop.
        PluginError: a plugin fails.
    """
    from ftp.host import python_files
    from ftp.plugins.plan import prepare
    from ftp.runs.run import execute

    python_files.forget_expected()
    return execute(prepare(plugins, given=[("options", options)]))


def load(
    run: str | Path, trust_remote_code: bool = False, trust_recipe: bool = False, allow_changed_base: bool = False
) -> "Predictor":
    """The result of a run, ready to predict: `ftp.load("runs/x").predict(["a text", ...])`.

    Args:
        run: the run's folder.
        trust_remote_code: run the code that came with its model, where it has some.
        trust_recipe: run the Python files that its recipe names, also where you never ran them.
        allow_changed_base: take the base under an adapter as it is now, where it was changed since.

    Raises:
        UserError: the folder is no run, or one without a verified model.
    """
    from ftp.runs.predictor import load as load_run

    return load_run(run, trust_remote_code, trust_recipe, allow_changed_base)
