"""Orthogonalised momentum for the matrices inside a network, AdamW for the rest (Muon)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ftp import UserError, hookimpl, plugin
from ftp.types import Loss, Model, Run

if TYPE_CHECKING:
    from torch import nn
    from torch.optim import Optimizer


@plugin(kind="extra")
class Muon:
    """Step along orthogonalised momentum in the matrices inside the network, by AdamW elsewhere (Jordan et al. 2024)."""

    @hookimpl
    def make_optimizer(self, run: Run, model: Model, loss: Loss) -> Optimizer:
        """Muon's steps have the size of AdamW's (Liu et al. 2025, Muon is scalable for LLM training, section 2.2), so that one
        learning rate and one decay serve both."""
        import torch

        from ftp.train import JoinedOptimizer, parameter_groups, trained_weights

        settings = run.settings
        if settings.shard:
            raise UserError("muon with --shard: a matrix that is spread over processes cannot be orthogonalised",
                            "leave out one of them")
        if not hasattr(torch.optim, "Muon"):
            raise UserError(f"muon: torch {torch.__version__} has no Muon", "install torch 2.9 or newer, or leave muon out")

        inner_ids = inner_matrices(model.net)
        inner = {}
        outer = {}
        for name, weight in trained_weights(model, loss).items():
            if id(weight) in inner_ids:
                inner[name] = weight
            else:
                outer[name] = weight

        parts = {}
        if inner:
            groups = parameter_groups(model, loss, settings, inner)
            parts["muon"] = torch.optim.Muon(groups, adjust_lr_fn="match_rms_adamw")
        if outer:
            groups = parameter_groups(model, loss, settings, outer)
            # torch has the fused update for these devices alone
            is_fused = all(weight.device.type in ("cpu", "cuda", "mps") for weight in outer.values())
            betas = (settings.adam_beta1, settings.adam_beta2)
            parts["adamw"] = torch.optim.AdamW(groups, betas=betas, eps=settings.adam_epsilon, fused=is_fused)
        return JoinedOptimizer(**parts)


def inner_matrices(net: nn.Module) -> set[int]:
    """ids of the weights of linear layers, but for those that read tokens or write answers (Jordan et al. 2024)."""
    from torch import nn

    inner = {id(module.weight) for module in net.modules() if isinstance(module, nn.Linear)}
    for module in net.modules():
        if isinstance(module, nn.Embedding):
            inner.discard(id(module.weight))
        # a network of Transformers names the layer that writes answers
        output_layer = getattr(module, "get_output_embeddings", lambda: None)()
        inner.discard(id(getattr(output_layer, "weight", None)))
    return inner
