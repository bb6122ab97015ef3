"""The rows that looks and pilots are measured on: train and validation, in folds. Test rows are never touched."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ftp import forms
from ftp.data.domains import COLUMN
from ftp.data.splits import bound_rows, cut_validation
from ftp.settings import Settings
from ftp.types import Data

if TYPE_CHECKING:
    import numpy as np
    from datasets import Dataset
    from numpy.typing import NDArray

NUM_FOLDS = 5
HELD = "validation"
"""The split that the rows of a fold are answered as by looks at classes, which choose nothing by them."""
ANSWERED = "test"
"""The split that the rows of a fold are answered as by whoever chooses something by other rows: pilots their best weights, a
baseline its thresholds."""


@dataclass(frozen=True)
class Pool:
    """Rows that may be fitted and answered, each in one fold.

    Attributes:
        data: the rows of the run that they are of.
        rows: those of train, then those of validation.
        fold_of_row: `[rows] int64`; the classes are spread evenly over the folds, and rows that a run keeps on one side of a
            cut (equal texts, one value of `--group-column`) are in one fold.
        order: `[rows] int64`, the rows in random order with classes in turn, so that its beginnings are fair samples.
        num_folds: how many there are.
        seed: of the cuts.
        group: the column whose rows of one value stay together; None: there is no such column.
        validation_share: of the rows that a run fits or picks its best weights by.
    """

    data: Data
    rows: Dataset
    fold_of_row: NDArray[np.int64]
    order: NDArray[np.int64]
    num_folds: int
    seed: int = 0
    group: str | None = None
    validation_share: float = Settings.validation_share

    def held(self, fold: int) -> NDArray[np.int64]:
        """[rows] int64, the numbers of the rows of a fold, ascending."""
        import numpy as np

        return np.flatnonzero(self.fold_of_row == fold)

    def fitted(self, fold: int, num_rows: int | None = None) -> NDArray[np.int64]:
        """[rows] int64, the numbers of rows of the other folds; a smaller number of them is part of every larger one. Each fold
        begins elsewhere in the order, so that few rows are other ones for each."""
        import numpy as np

        # the first rows of one order for all folds would make few rows the same ones in each
        turned = np.roll(self.order, -(fold * len(self.order) // self.num_folds))
        others: NDArray[np.int64] = turned[self.fold_of_row[turned] != fold]
        return others if num_rows is None else others[:num_rows]

    def split(self, fold: int, num_rows: int | None = None) -> Data:
        """The rows as a run would have them that is fitted on the other folds and answers this one as its validation.

        Args:
            fold: the fold that is answered.
            num_rows: that are fitted; None: all of the other folds.
        """
        splits = {"train": self.rows.select(self.fitted(fold, num_rows)), HELD: self.rows.select(self.held(fold))}
        return dataclasses.replace(self.data, splits=splits, domains={})

    def as_run(self, fold: int, num_rows: int | None = None) -> Data:
        """The rows as a run would have them whose test rows are this fold: validation is cut from the others as a run does it.

        Args:
            fold: the fold that is answered.
            num_rows: of train and validation together; None: all of the other folds.

        Raises:
            UserError: they are too few to cut a validation split from.
        """
        train, validation = self.cut(self.fitted(fold, num_rows))
        splits = {"train": self.rows.select(train), "validation": self.rows.select(validation),
                  ANSWERED: self.rows.select(self.held(fold))}
        return dataclasses.replace(self.data, splits=splits, domains={})

    def cut(self, rows: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Rows of train and rows of validation, cut from some rows as a run does it.

        Args:
            rows: `[rows] int64`, their numbers.

        Raises:
            UserError: they are too few to cut a validation split from.
        """
        train, validation = cut_validation(
            self.rows.select(rows), seed=self.seed, share=self.validation_share, group=self.group, form=self.data.form)
        return rows[train], rows[validation]


def pool_of(data: Data, seed: int, num_folds: int = NUM_FOLDS, group: str | None = None) -> Pool:
    """The pool of the rows of a run.

    Args:
        data: its rows; train and validation are taken.
        seed: of the folds and the order.
        num_folds: how many folds.
        group: the column whose rows of one value stay in one fold; None: there is no such column.
    """
    import numpy as np
    from datasets import concatenate_datasets

    parts = [data.splits[split] for split in ("train", "validation") if split in data.splits]
    # what both splits have; which domain a row is of counts for nothing here
    shared = set.intersection(*(set(part.column_names) for part in parts))
    columns = [name for name in parts[0].column_names if name in shared - {COLUMN}]
    rows = concatenate_datasets([part.select_columns(columns) for part in parts])
    shuffled = np.random.default_rng(seed).permutation(len(rows))

    # within a class rows stay in random order; classes take turns by their shares
    kind_of_row = _class_of_row(rows, data)
    place = np.zeros(len(rows))
    for kind in np.unique(kind_of_row):
        own = shuffled[kind_of_row[shuffled] == kind]
        place[own] = (np.arange(len(own)) + 0.5) / len(own)
    order = shuffled[np.argsort(place[shuffled], kind="stable")]

    # folds are dealt within a class, each class beginning where the last one ended
    by_class = shuffled[np.argsort(kind_of_row[shuffled], kind="stable")]
    group_of_row = _group_of_row(rows, data.form, seed, group, num_folds)
    _, first_places = np.unique(group_of_row[by_class], return_index=True)
    leaders = by_class[np.sort(first_places)]  # the first row of each group takes the others with it
    fold_of_group = np.zeros(len(rows), dtype=np.int64)
    fold_of_group[group_of_row[leaders]] = np.arange(len(leaders)) % num_folds
    # whoever brings many validation rows picks the best weights by many
    share = len(parts[1]) / len(rows) if len(parts) > 1 else Settings.validation_share
    return Pool(data, rows, fold_of_group[group_of_row], order.astype(np.int64), num_folds, seed, group, share)


def _group_of_row(rows: Dataset, form: str, seed: int, group: str | None, num_folds: int) -> NDArray[np.int64]:
    """[rows] int64: rows with the same number stay in one fold. Where there are fewer groups than folds, each row for itself."""
    import numpy as np

    groups = bound_rows(rows, seed=seed, group=group, form=form)
    if len(groups) < num_folds:
        return np.arange(len(rows))
    group_of_row = np.zeros(len(rows), dtype=np.int64)
    for number, members in enumerate(groups):
        group_of_row[members] = number
    return group_of_row


def _class_of_row(rows: Dataset, data: Data) -> NDArray[np.int64]:
    """[rows] int64: the class of each row; all alike where a row has none."""
    import numpy as np

    columns = [column for column in forms.get(data.form).of_kind("class") if column.is_answer]
    if not columns or columns[0].name not in rows.column_names:
        return np.zeros(len(rows), dtype=np.int64)
    return np.asarray(rows[columns[0].name][:], dtype=np.int64)
