"""Fill each update with as many rows of each class."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ftp import Candidate, UserError, hookimpl, plugin
from ftp.types import Data, Run

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


@plugin(candidates=[Candidate(needs="uneven")])
class Balanced:
    """Fill each update with as many rows of each class, repeating those of rare classes (Buda et al. 2018, arXiv:1710.05381)."""

    @hookimpl
    def order_rows(
        self, run: Run, data: Data, lengths: NDArray[np.int64], rows: NDArray[np.int64], epoch: int
    ) -> list[NDArray[np.int64]]:
        """Updates as many as without it. Each class deals its rows in random order, and anew once all are dealt.

        The classes of an update's slots go round from update to update, so that every class has its turn where an update
        has fewer rows than there are classes.
        """
        import numpy as np

        settings = run.settings
        train = data.splits["train"]
        if settings.batch_tokens is not None:
            raise UserError("balanced: it fills updates by rows, and --batch-tokens by tokens",
                            "leave out --batch-tokens, or balanced")
        if "label" not in train.column_names:
            raise UserError("balanced: the training rows have no column 'label'", "leave it out: it is for rows with a class")

        labels = np.asarray(train["label"])[rows]
        classes = np.unique(labels)
        draw = np.random.default_rng([settings.seed, epoch])
        num_updates = -(-len(lengths) // settings.batch_size)  # rounded up
        num_slots = num_updates * settings.batch_size

        # slot i belongs to class i modulo the number of classes, in an order of this epoch
        slots = draw.permutation(classes)[np.arange(num_slots) % len(classes)]
        order = np.empty(num_slots, dtype=np.int64)
        for label in classes:
            own_rows = np.flatnonzero(labels == label)
            wanted = np.flatnonzero(slots == label)
            rounds = -(-len(wanted) // len(own_rows))
            dealt = [draw.permutation(own_rows) for _ in range(rounds)]
            if dealt:  # an epoch may have fewer slots than classes
                order[wanted] = np.concatenate(dealt)[: len(wanted)]
        return np.split(order, num_updates)
