"""A trained adapter as a run leaves it, and what a saved folder answers: for tests of what is made of them. Heavy: imports torch."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import torch

from ftp import heads
from ftp import model as models
from ftp.model.peft import attach
from ftp.types import Head, Model
from ftp_testing.models import TEXTS

if TYPE_CHECKING:
    from peft import PeftConfig


def saved(base: Path, head: Head, folder: Path, config: PeftConfig | Literal[False] | None = None, **options: Any) -> Model:
    """A model with an adapter that was moved, written as a run writes it to `folder`/model.

    Args:
        config: of the adapter; None: LoRA with these `options`; False: no adapter.
    """
    from peft import LoraConfig

    model = models.load(models.find(str(base), head), head, ("a", "b", "c") if heads.get(head).has_classes else ())
    if config is None:
        config = LoraConfig(r=4, **{"target_modules": "all-linear", "modules_to_save": list(model.fresh) or None, **options})
    if config:
        model = attach(model, config, who="test", seed=0)
    torch.manual_seed(1)
    with torch.no_grad():
        for weight in model.net.parameters():
            if weight.requires_grad:
                weight.add_(torch.randn_like(weight) * 0.05)
    models.save(model, folder / "model")
    return model


def answers(folder: Path, model: Model) -> torch.Tensor:
    """The logits of a saved folder, which needs no new head, on the texts that `model` is probed with."""
    whole = models.load(models.find(str(folder), model.head), model.head, model.labels)
    assert whole.fresh == ()
    return models.logits(whole.net, models.probe(model, TEXTS))
