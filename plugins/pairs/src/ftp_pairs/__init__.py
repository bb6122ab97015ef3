"""The pairs domain: say how two texts belong together."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from ftp import Problem, UserError, forms, hookimpl, option, plugin
from ftp.metrics import classification
from ftp.types import Data, Predictions, Run, Score

if TYPE_CHECKING:
    from datasets import Dataset

SAMPLE = Path(__file__).parent / "sample"


@plugin(gives=("labelled",))
class Pairs:
    """Say how two texts belong together: paraphrase, entailment, duplicate question, or your own labels.

    Without `--data` it trains on a sample that comes with the package: pairs of sentences that say the same or something
    different, the latter in much the same words.
    """

    labels: tuple[str, ...] = option((), "names of the classes in the order of their numbers; default: what the data say")

    @hookimpl
    def load_data(self, run: Run) -> Mapping[str, Dataset]:
        from ftp.data import load

        splits = load(run, SAMPLE, form="labelled", labels=self.labels)
        is_of_pairs = forms.get(run.task.form).column("text_pair") is not None
        lacking = [split for split, rows in splits.items() if is_of_pairs and "text_pair" not in rows.column_names]
        if lacking:
            raise UserError(f"pairs: no column 'text_pair' in {', '.join(lacking)}",
                            "name the columns of both texts, or take the domain classify for single ones",
                            "--columns text=NAME,text_pair=NAME")
        if is_of_pairs:
            self._require_both(splits)
        return splits

    def _require_both(self, splits: Mapping[str, Dataset]) -> None:
        """Raise `UserError` where a row has one text: core reads such rows beside pairs, and here they are a mistake."""
        problems = []
        for split, rows in splits.items():
            if not hasattr(rows, "num_rows"):  # a stream
                continue
            empty = [i for i, text in enumerate(rows["text_pair"][:]) if text is None]
            if empty:
                problems.append(Problem(f"pairs: {len(empty)} rows of {split} have no text_pair; the first, counted from 0: "
                                        f"{empty[:5]}", "correct or leave out these rows"))
        if problems:
            raise UserError(problems)

    @hookimpl
    def evaluate(self, data: Data, predictions: Mapping[str, Predictions]) -> list[Score]:
        return classification(data, predictions)
