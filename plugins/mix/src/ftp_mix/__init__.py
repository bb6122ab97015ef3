"""Mix general rows into the training rows, so that less is forgotten (replay)."""

from __future__ import annotations

from collections.abc import Generator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from ftp import UserError, forms, heads, hookimpl, option, plugin
from ftp.types import Run

if TYPE_CHECKING:
    from datasets import Dataset

GENERAL = Path(__file__).parent / "general"
"""The general rows that come with this plugin, a file for each form that has some: its name is that of the form."""


def ours(form: str) -> Path | None:
    """The file of general rows of a form; None where there is none."""
    return next(GENERAL.glob(f"{form}.*"), None)


@plugin(kind="extra", goes_with=("clm",))
class Mix:
    """Mix general rows into the training rows, so that less is forgotten (replay, Robins 1995; Scialom et al. 2022)."""

    data: str | None = option(None, "file or folder of general rows, in any form that can be read as the run's; default: some "
                                    "English that comes with this plugin, for runs on text or conversations", path=True)
    share: float = option(0.1, "share of the training rows that are general", low=0.0001, high=0.9)

    @hookimpl(wrapper=True)
    def load_data(self, run: Run) -> Generator[None, list[Mapping[str, Dataset]], list[Mapping[str, Dataset]]]:
        """Add general rows to `train`, once validation is cut from it; other splits stay as they are."""
        answers = yield
        self._refuse(run)
        from ftp_mix.rows import mixed

        owner = next((i for i, splits in enumerate(answers) if "train" in splits), None)
        if owner is None:
            return answers
        # another domain of several cuts its validation from its own rows
        has_validation_alone = any("validation" in splits and "train" not in splits for splits in answers)
        is_cut = "validation" not in answers[owner] and not has_validation_alone
        source = self.data or str(ours(run.task.form))
        with_general = list(answers)
        with_general[owner] = mixed(run, answers[owner], source, self.share, cut=is_cut, name=self.data or "ours (English)")
        return with_general

    def _refuse(self, run: Run) -> None:
        form = forms.get(run.task.form)
        if not heads.get(form.default_head).writes_text:
            raise UserError(f"mix: rows of the form '{run.task.form}' have labels of this task, which general rows have not",
                            "it goes with objectives on text and conversations (clm, mlm, sft); for labels, hold the weights",
                            "ftp run --plugins ...,l2sp")
        if self.data is None and ours(form.name) is None:
            raise UserError(f"mix: there are no general rows of the form '{run.task.form}'", "name a file of them",
                            "--mix.data FILE")
        if run.settings.streaming:
            raise UserError("mix: a stream cannot be mixed to a share", "leave out --streaming, or mix")
