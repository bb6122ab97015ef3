"""NEFTune for ftp: noise on the embeddings of training rows."""

from __future__ import annotations

from collections.abc import Generator, Mapping
from typing import TYPE_CHECKING, Any

from ftp import UserError, hookimpl, option, plugin
from ftp.types import Model

if TYPE_CHECKING:
    from torch import Tensor, nn


@plugin(
    kind="extra",  # it says neither what is minimised nor which weights may move
)
class Neftune:
    """Add noise to embeddings in training, so that answers are learnt less by heart (Jain et al. 2023, arXiv:2310.05914).

    Goes with any objective and any parameterisation. Held-out rows, generation and a reference model get none.
    """

    noise_alpha: float = option(5.0, "strength of the noise (TRL: neftune_noise_alpha); the paper tries 5, 10 and 15; 0: none",
                                low=0)

    @hookimpl(wrapper=True)
    def build_model(self) -> Generator[None, Model, Model]:
        """Watch the network's embeddings; its weights, and what is saved, stay as they are."""
        model = yield
        if self.noise_alpha:
            listen(model.net, self.noise_alpha)
        return model


def listen(net: Any, alpha: float) -> None:
    """From now on the word embeddings of `net`, or of the network in its PEFT wrapper, get noise whenever it trains.

    Each number gets a draw from -1 to 1 times alpha / sqrt(L d), with L tokens in the row and d numbers a token (algorithm 1).
    L counts real tokens, as in the authors' code; padding gets none, and packed rows count each for itself.
    """
    import torch

    inner = net.get_base_model() if hasattr(net, "peft_config") else net
    if getattr(inner.config, "is_encoder_decoder", False):
        raise UserError("neftune: encoder-decoders share their embeddings between two texts, which NEFTune has no word on",
                        "take a decoder or an encoder, or leave neftune out")
    masks: list[Tensor] = []  # what the pass that is going on says of its rows, from the backbone to the embeddings

    def see(backbone: nn.Module, positional: tuple[Any, ...], named: Mapping[str, Any]) -> None:
        masks.clear()
        # A reference model is asked without gradients, also while the network is in training mode.
        if backbone.training and torch.is_grad_enabled():
            ids = positional[0] if positional else named.get("input_ids")
            if ids is None:
                raise UserError("neftune: this network is given embeddings instead of tokens (a learnt prompt)",
                                "leave neftune out, or take another parameterisation")
            masks.append(row_lengths(ids, named.get("attention_mask"), named.get("position_ids")))

    def add(embeddings: nn.Module, inputs: tuple[Any, ...], out: Tensor) -> Tensor | None:
        if not masks:
            return None
        lengths = masks.pop().unsqueeze(-1)
        scale = torch.where(lengths > 0, alpha * (lengths.clamp(min=1) * out.shape[-1]).rsqrt(), 0)
        return out + (torch.empty_like(out).uniform_(-1, 1) * scale).to(out.dtype)

    inner.base_model.register_forward_pre_hook(see, with_kwargs=True)
    inner.get_input_embeddings().register_forward_hook(add)


def row_lengths(ids: Tensor, mask: Tensor | None, positions: Tensor | None) -> Tensor:
    """[rows, tokens] how many tokens the row of each token has; 0 for padding."""
    import torch

    if mask is not None and mask.ndim == 2:
        return mask * mask.sum(1, keepdim=True)
    if positions is not None and len(ids) == 1:  # packed: rows lie end to end, and positions begin anew with each
        row = (positions == positions.min()).cumsum(1)
        return torch.zeros_like(row).scatter_add(1, row - 1, torch.ones_like(row)).gather(1, row - 1)
    return torch.full_like(ids, ids.shape[1])
