"""Label smoothing: give all classes a share of the target."""

from __future__ import annotations

from collections.abc import Generator
from typing import TYPE_CHECKING

from ftp import Candidate, hookimpl, option, plugin
from ftp.types import Data, Loss, Model, Run

if TYPE_CHECKING:
    from torch import Tensor


@plugin(kind="extra", goes_with=("clm",), candidates=[Candidate(needs="classes")])
class Smoothing:
    """Give all classes a share of the target, so that answers are less sure (Szegedy et al. 2016, section 7)."""

    share: float = option(0.1, "share of the target that all classes get alike", low=0, high=0.999)

    @hookimpl(wrapper=True)
    def make_loss(self, run: Run, data: Data, model: Model) -> Generator[None, Loss, Loss]:
        """Smooth the targets while training; losses that are shown of held-out rows are without it."""
        loss = yield
        if not data.splits:  # a finished run that only answers
            return loss
        from ftp.losses import with_added_terms

        return with_added_terms(loss, "smoothing", "classes, tags and tokens", self.added, metric="smoothing")

    def added(self, logits: Tensor, targets: Tensor) -> Tensor:
        """[terms] what smoothed targets cost more than plain ones, of logits [terms, classes] and targets [terms].

        The normaliser of the probabilities is the same in both, and cancels.
        """
        of_target = logits.gather(-1, targets[:, None])[:, 0]
        return self.share * (of_target - logits.mean(-1))
