"""The domain of your own files: rows as they are, judged by the objective alone."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from ftp import UserError, hookimpl, plugin
from ftp.types import Run

if TYPE_CHECKING:
    from datasets import Dataset


@plugin(gives=("text", "conversation", "preference", "feedback", "prompt"), general=True)
class Files:
    """Train on your own files (`--data`): texts, conversations, preferences, ratings or prompts.

    It adds no scores to the objective's. For labelled rows take `classify`, `pairs`, `tag` or `qa`, which judge answers too.
    """

    @hookimpl
    def load_data(self, run: Run) -> Mapping[str, Dataset]:
        from ftp.data import load

        if run.settings.data is None:
            raise UserError("files: no data are named", "a file, a folder of splits, or a hub id", "--data FILE_OR_FOLDER")
        return load(run, form=run.task.form)
