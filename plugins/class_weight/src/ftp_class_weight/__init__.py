"""Weights of classes: let rare classes count as much as common ones in the loss."""

from __future__ import annotations

from collections import Counter
from collections.abc import Generator
from typing import TYPE_CHECKING, Literal

from ftp import Candidate, UserError, forms, hookimpl, option, plugin
from ftp.types import Data, Loss, Model, Run

if TYPE_CHECKING:
    from torch import Tensor


def count_classes(data: Data) -> list[int]:
    """Training rows of each class, or its words where each word has a class.

    Raises:
        UserError: rows have no class, or are a stream, which nobody can count.
    """
    train = data.splits.get("train")
    columns = forms.get(data.form).of_kind("class", "tags")
    if not columns or not data.labels:
        raise UserError(f"class_weight: rows of form '{data.form}' have no classes to weigh",
                        "it goes with classes of rows and tags of words; leave it out")
    if train is None or not hasattr(train, "num_rows"):
        raise UserError("class_weight: the rows of a stream cannot be counted", "leave out --streaming, or class_weight")
    counts: Counter[int] = Counter()
    for value in train[columns[0].name][:]:
        counts.update(value if isinstance(value, list) else (value,))
    return [counts[label] for label in range(len(data.labels))]


def balanced_weights(counts: list[int], power: float = 1.0) -> list[float]:
    """The weight of each class: its fair share of the rows by the share that it has, n / (k n_c) (King and Zeng 2001,
    Logistic Regression in Rare Events Data; `class_weight="balanced"` of scikit-learn).

    Args:
        counts: rows of each class; one that has none gets the weight 1, as no term asks for it.
        power: what the ratio is raised to; the weights then have the mean 1 over the rows again.
    """
    present = [count for count in counts if count]
    fair = sum(present) / len(present)
    raw = [(fair / count) ** power if count else 1.0 for count in counts]
    mean = sum(count * weight for count, weight in zip(counts, raw, strict=True)) / sum(present)
    return [weight / mean if count else 1.0 for count, weight in zip(counts, raw, strict=True)]


@plugin(kind="extra", candidates=[Candidate(needs="uneven")])
class ClassWeight:
    """Let rare classes count as much as common ones in the loss: weights n / (k n_c) (King and Zeng 2001)."""

    kind: Literal["balanced", "none"] = option("balanced", "balanced: all classes count alike; none: all rows do")
    power: float = option(1.0, "what weights are raised to; 0.5: between the two", low=0, high=1)

    @hookimpl(wrapper=True)
    def make_loss(self, run: Run, data: Data, model: Model) -> Generator[None, Loss, Loss]:
        """Weigh the terms while training; losses that are shown of held-out rows are plain."""
        loss = yield
        if not data.splits or self.kind == "none":  # without splits: a finished run that only answers
            return loss
        import torch

        from ftp.losses import with_added_terms

        weights = torch.tensor(balanced_weights(count_classes(data), self.power))
        named = [f"{label} {weight:.3g}" for label, weight in zip(data.labels, weights.tolist(), strict=True)]
        run.tell(f"class_weight: {', '.join(named[:8])}{' ...' if len(named) > 8 else ''}")

        def added(logits: Tensor, targets: Tensor) -> Tensor:
            of_class = weights.to(logits.device)
            return weighted(logits, targets, of_class) - weighted(logits, targets, torch.ones_like(of_class))

        return with_added_terms(loss, "class_weight", "classes and tags", added)


def weighted(logits: Tensor, targets: Tensor, weights: Tensor) -> Tensor:
    """[terms] cross entropy times the weight of the right class, of logits [terms, classes] and targets [terms]."""
    from torch.nn.functional import cross_entropy

    return cross_entropy(logits, targets, weight=weights, reduction="none")
