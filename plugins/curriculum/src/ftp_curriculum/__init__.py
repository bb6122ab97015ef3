"""Train on easy rows first, and on more of them as training goes on."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ftp import UserError, hookimpl, option, plugin
from ftp.types import Data, Run

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


@plugin
class Curriculum:
    """Train on easy (short) rows first, and take in harder ones as training goes on (Platanios et al. 2019, arXiv:1903.09848)."""

    by: str = option("length", "what makes a row hard: length, or a column of numbers (higher is harder)")
    start: float = option(0.1, "share of the rows, the easiest, that the first update draws from", low=0, high=1)
    until: float = option(1.0, "epochs until updates draw from all rows", low=0)

    @hookimpl
    def order_rows(
        self, run: Run, data: Data, lengths: NDArray[np.int64], rows: NDArray[np.int64], epoch: int
    ) -> list[NDArray[np.int64]]:
        """Updates as many as without a curriculum; each draws its rows from the share of the easiest that its time allows.

        The share grows as sqrt(t (1 - start²) / T + start²) (Platanios et al. 2019, equation 7: the square-root competence),
        with t the epochs done and T `until`. Rows are drawn without replacement within an update.
        """
        import numpy as np

        settings = run.settings
        if settings.batch_tokens is not None:
            raise UserError("curriculum: it fills updates by rows, and --batch-tokens by tokens",
                            "leave out --batch-tokens, or curriculum")
        by_difficulty = np.argsort(self.difficulty(data, lengths, rows), kind="stable")
        draw = np.random.default_rng([settings.seed, epoch])
        num_updates = -(-len(lengths) // settings.batch_size)  # rounded up

        if epoch >= self.until:  # all rows, each once
            shuffled = draw.permutation(by_difficulty)
            starts = range(0, len(shuffled), settings.batch_size)
            return [shuffled[start : start + settings.batch_size] for start in starts]

        updates = []
        for update in range(num_updates):
            done = min(1.0, (epoch + update / num_updates) / self.until)
            share = np.sqrt(done * (1 - self.start**2) + self.start**2)
            num_easy = max(settings.batch_size, int(np.ceil(share * len(by_difficulty))))
            easy = by_difficulty[:num_easy]
            updates.append(draw.choice(easy, size=min(settings.batch_size, len(easy)), replace=False))
        return updates

    def difficulty(
        self, data: Data, lengths: NDArray[np.int64], rows: NDArray[np.int64]
    ) -> NDArray[np.int64] | NDArray[np.float64]:
        """How hard each encoded row is [rows]: its tokens, or what a column of its row says."""
        import numpy as np

        if self.by == "length":
            return lengths
        train = data.splits["train"]
        if self.by not in train.column_names:
            raise UserError(f"curriculum: the training rows have no column '{self.by}'",
                            f"--curriculum.by length, or one of {', '.join(train.column_names)}")
        try:
            values: NDArray[np.float64] = np.asarray(train[self.by], dtype=float)[rows]
        except (TypeError, ValueError):
            raise UserError(f"curriculum: the column '{self.by}' holds no numbers", "--curriculum.by length") from None
        return values
