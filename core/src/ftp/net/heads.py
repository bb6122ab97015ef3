"""Run a Transformers network on rows that `ftp.net.layout.lay` laid out, and read its head. Heavy: imports torch.

Heads are computed only at the slots where they are asked for, by the network's own head code: its backbone runs once, then
stands in for itself with the chosen states. Only `input_ids`, `attention_mask`, `position_ids`, `token_type_ids` and
`decoder_input_ids` reach the network; other columns are for the caller. With `decoder_input_ids` (an encoder-decoder that
writes) slots are places in those.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from copy import copy
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from torch.utils.checkpoint import checkpoint

from ftp.net import packed_attention
from ftp.net.layout import IGNORED, Inputs, bounds, filler_slots, first, is_packed, last, real, starts_with_filler, targets
from ftp.net.positions import first_position

__all__ = ["classify", "head_at", "hidden", "in_pieces", "logits_at", "shifts"]

LOGIT_BYTES = 256 * 2**20
"""Logits beyond this size are computed in pieces, and again in the backward pass instead of being kept."""

_TO_NET = ("input_ids", "attention_mask", "position_ids", "token_type_ids", "decoder_input_ids")


@dataclass(frozen=True)
class Parts:
    """`inner`: the network under its PEFT wrapper. `backbone`: what makes its hidden states; None where that cannot be
    taken apart from the head (encoder-decoders, learnt prompts), so that only whole padded passes are right."""

    inner: Any
    backbone: Any


def parts_of(net: nn.Module) -> Parts:
    inner: Any = net
    peft = getattr(net, "peft_config", None)
    if peft and hasattr(net, "get_base_model"):
        inner = net.get_base_model()
        # These change what goes into the network, in the wrapper's own forward.
        special = ("num_virtual_tokens", "alora_invocation_tokens")
        if any(getattr(config, name, None) for config in peft.values() for name in special):
            return Parts(inner, None)
    if getattr(inner.config, "is_encoder_decoder", False):
        return Parts(inner, None)
    return Parts(inner, inner.base_model)


def _arguments(net: nn.Module, inputs: Inputs) -> dict[str, Any]:
    """What the network is called with. Raises ValueError for packed rows on a network that would mix them."""
    inner, backbone = (parts := parts_of(net)).inner, parts.backbone
    given: dict[str, Any] = {name: inputs[name] for name in _TO_NET if name in inputs}
    if hasattr(inner.config, "use_cache"):
        given["use_cache"] = False
    if "position_ids" in given and (offset := first_position(_position_table(backbone))):
        given["position_ids"] = given["position_ids"] + offset
    if is_packed(inputs):
        if backbone is None or inner.config._attn_implementation != packed_attention.NAME:
            raise ValueError("packed rows need a network of which `can_pack` says that it keeps them apart")
        longest, filler = inputs["extent"].shape[1:]
        tokens = inputs["input_ids"].numel()
        given["packing"] = packed_attention.packing(starts_with_filler(inputs), max(longest, filler), tokens)
        given["attention_mask"] = given["packing"].mask
    return given


def _position_table(backbone: Any) -> Any:
    """The backbone's table of position embeddings; None where it has none."""
    return getattr(getattr(backbone, "embeddings", None), "position_embeddings", None)


def _encode(net: nn.Module, inputs: Inputs) -> Any:
    """The output of the backbone, its hidden states flattened to [slots, size]."""
    output = parts_of(net).backbone(**_arguments(net, inputs), return_dict=True)
    output["last_hidden_state"] = output.last_hidden_state.flatten(0, 1)
    return output


def _head(net: nn.Module, output: Any, states: Tensor) -> Tensor:
    """The logits that the network's own head makes of `states` [rows, tokens, size]."""
    parts = parts_of(net)
    if parts.inner is parts.backbone:
        raise ValueError(f"{type(parts.inner).__name__} has no head")
    output = copy(output)
    output["last_hidden_state"] = states
    if getattr(parts.backbone, "pooler", None) is not None:
        output["pooler_output"] = parts.backbone.pooler(states)
    with _standing_in(parts.backbone, output):
        answer = parts.inner(states.new_zeros(states.shape[:2], dtype=torch.long), return_dict=True)
    return _logits(answer)


@contextmanager
def _standing_in(backbone: Any, output: Any) -> Iterator[None]:
    """For a moment the backbone answers `output` to every call."""
    own = backbone.__dict__.get("forward")
    backbone.forward = lambda *_, **__: output
    try:
        yield
    finally:
        if own is None:
            del backbone.forward
        else:
            backbone.forward = own


def _logits(answer: Any) -> Tensor:
    logits = getattr(answer, "logits", None)
    if logits is None:  # span heads answer with two numbers a token
        logits = torch.stack([answer.start_logits, answer.end_logits], -1)
    return logits


def whole_logits(net: nn.Module, inputs: Inputs) -> Tensor:
    """The logits of one plain padded pass, [rows, longest, ...] where there is one a token (of a decoder that writes)."""
    logits = _logits(net(**_arguments(net, inputs)))
    width = inputs.get("decoder_input_ids", inputs["input_ids"]).shape[1]  # a learnt prompt adds places in front
    return logits[:, -width:] if logits.ndim == 3 else logits


def hidden(net: nn.Module, inputs: Inputs) -> Tensor:
    """[slots, size] the last hidden states, without any head; of an encoder-decoder those of its encoder; of a network with
    a learnt prompt those that it has without the prompt."""
    if (parts := parts_of(net)).backbone is not None:
        return _encode(net, inputs).last_hidden_state
    if not getattr(parts.inner.config, "is_encoder_decoder", False):
        given = {name: inputs[name] for name in _TO_NET if name in inputs}
        return parts.inner.base_model(**given, return_dict=True).last_hidden_state.flatten(0, 1)
    given = {name: inputs[name] for name in ("input_ids", "attention_mask")}
    return parts.inner.get_encoder()(**given, return_dict=True).last_hidden_state.flatten(0, 1)


def classify(net: nn.Module, inputs: Inputs) -> Tensor:
    """[rows, classes] the logits of a sequence-classification head.

    A head named `score` (decoders) reads each row's last real token, whatever its id; others their first token.
    """
    parts = parts_of(net)
    if parts.backbone is not None and hasattr(parts.inner, "score"):
        states = _encode(net, inputs).last_hidden_state
        return parts.inner.score(states[last(inputs)])
    if not is_packed(inputs):
        laid = _to_the_left(inputs)
        if not hasattr(parts.inner, "score"):
            paired = getattr(parts.inner.config, "is_encoder_decoder", False)
            return _by_ends(net, laid, parts.inner.config.eos_token_id) if paired else whole_logits(net, laid)
        return _scores(parts.inner.score, net, laid)
    output = _encode(net, inputs)
    return _head(net, output, output.last_hidden_state[first(inputs)][:, None])


def _by_ends(net: nn.Module, inputs: Inputs, end: int) -> Tensor:
    """[rows, classes] what an encoder-decoder says at each row's last EOS; row by row where a text holds one of its own, as
    Transformers wants the same number in all rows of a batch."""
    counts = (inputs["input_ids"] == end).sum(1)
    if bool((counts == counts[0]).all()):
        return whole_logits(net, inputs)
    alone = ({name: inputs[name][row : row + 1] for name in _TO_NET if name in inputs} for row in range(len(counts)))
    return torch.cat([whole_logits(net, one) for one in alone])


def _scores(head: nn.Module, net: nn.Module, inputs: Inputs) -> Tensor:
    """[rows, classes] a decoder's scores behind a learnt prompt, at each row's last real token: the network itself does not see
    the ids there, and would take the last token whatever it is. And those of T5Gemma, which itself takes the place behind it
    in all but the longest row of a batch; this is what it says of each row alone."""
    seen: list[Tensor] = []
    handle = head.register_forward_hook(lambda module, given, output: seen.append(output))
    try:
        net(**_arguments(net, inputs))
    finally:
        handle.remove()
    width = inputs["input_ids"].shape[1]
    return seen[-1][:, -width:].flatten(0, 1)[last(inputs)]


def _to_the_left(inputs: Inputs) -> Inputs:
    """The same rows with their padding on the right, where heads that read the first token expect it."""
    if "position_ids" not in inputs:
        return inputs
    order = inputs["attention_mask"].argsort(dim=1, descending=True, stable=True)
    return {name: inputs[name].gather(1, order) for name in _TO_NET if name in inputs and name != "position_ids"}


@dataclass(frozen=True)
class Head:
    """The logits of a causal or masked language model at some slots, a stretch at a time: `head(start, end)`. The body ran once.

    `states` [n, size]: the hidden states at the slots; None where they cannot be taken apart from the head.
    `logits(chosen)`: [n, vocabulary] the logits of some of the slots, chosen by a slice or by their numbers [n].
    """

    states: Tensor | None
    logits: Callable[[slice | Tensor], Tensor]

    def __call__(self, start: int, end: int) -> Tensor:
        """[end - start, vocabulary]"""
        return self.logits(slice(start, end))

    def at(self, chosen: Tensor) -> Tensor:
        """[n, vocabulary] the logits of the slots with the numbers `chosen` [n] among those that the head is at."""
        return self.logits(chosen)


def head_at(net: nn.Module, inputs: Inputs, where: Tensor) -> Head:
    """The head of a language model at the slots `where` [n]."""
    if parts_of(net).backbone is None:
        whole = whole_logits(net, inputs).flatten(0, 1)[where]
        return Head(None, lambda chosen: whole[chosen])
    output = _encode(net, inputs)
    states = output.last_hidden_state[where]

    def logits(chosen: slice | Tensor) -> Tensor:
        some = states[chosen]
        return _head(net, output, _few_sizes(some)[None])[0, : len(some)]

    return Head(states, logits)


def _few_sizes(states: Tensor) -> Tensor:
    """`states` [n, size] with the first again at the end, so that heads come in few sizes as batches do: on a CPU a large
    head of a new size costs time and keeps memory, tens of megabytes for a vocabulary of a few thousand."""
    filler = filler_slots(len(states)) if states.device.type == "cpu" else 0
    return torch.cat([states, states[:1].expand(filler, -1)]) if filler else states


def in_pieces(
    net: nn.Module, count: int, piece: Callable[[int, int], tuple[Tensor, ...]], copies: int = 1
) -> tuple[Tensor, ...]:
    """What `piece(start, end)` says of each of `count` terms ([end - start] tensors), joined to [count] tensors.

    Terms are taken so many at a time that `copies` of their logits need `LOGIT_BYTES`, and logits are made again for the
    backward pass, so memory does not grow with the number of terms.
    """
    size = max(1, LOGIT_BYTES // (4 * copies * int(parts_of(net).inner.config.get_text_config().vocab_size)))
    if count <= size:
        return piece(0, count)
    parts: list[tuple[Tensor, ...]] = [
        checkpoint(piece, start, min(start + size, count), use_reentrant=False) for start in range(0, count, size)]
    return tuple(torch.cat(column) for column in zip(*parts, strict=True))


def logits_at(net: nn.Module, inputs: Inputs, where: Tensor) -> Tensor:
    """[n, vocabulary] the logits of a causal or masked language model at the slots `where` [n], and nowhere else."""
    return head_at(net, inputs, where)(0, len(where))


def token_logits(net: nn.Module, inputs: Inputs) -> tuple[Tensor, Tensor]:
    """([tokens, classes], [rows + 1]) the logits of a token-classification head at real tokens, row after row, and
    where among them each row begins. Columns laid `beside` are brought to the same order by `real`."""
    return real(inputs, whole_logits(net, inputs)), bounds(inputs)


def span_logits(net: nn.Module, inputs: Inputs) -> tuple[Tensor, Tensor]:
    """([tokens, 2], [rows + 1]) the start and end logits of a question-answering head; else as `token_logits`."""
    return token_logits(net, inputs)


def shifts(net: nn.Module) -> bool:
    """Whether the network's token at one place predicts the next one (causal) rather than its own (masked)."""
    inner = parts_of(net).inner
    config = inner.config
    return not type(inner).__name__.endswith("ForMaskedLM") and not getattr(config, "is_encoder_decoder", False)


def token_losses(net: nn.Module, inputs: Inputs, labels: Tensor) -> tuple[Tensor, Tensor]:
    """(losses [n], row numbers [n]): fp32 cross entropy in nats of every labelled token, row after row.

    `labels` are laid beside `input_ids` with -100 elsewhere; causal networks predict the next token of the same row.
    An encoder-decoder takes padded `labels` [rows, any length] for its decoder.
    """
    inner = parts_of(net).inner
    if getattr(inner.config, "is_encoder_decoder", False):
        before = inner.prepare_decoder_input_ids_from_labels(labels)
        logits = net(**_arguments(net, inputs), decoder_input_ids=before).logits
        row, place = (labels != IGNORED).nonzero(as_tuple=True)
        return cross_entropy(logits[row, place].float(), labels[row, place], reduction="none"), row
    where, target, row = targets(inputs, labels, shift=shifts(net))
    return losses_at(net, inputs, where, target), row


def losses_at(net: nn.Module, inputs: Inputs, where: Tensor, target: Tensor) -> Tensor:
    """[n] fp32 cross entropy in nats of the token ids `target` [n] under the logits at the slots `where` [n].

    The negative is the log probability that objectives on preferences compare. Large vocabularies are done in pieces
    of `LOGIT_BYTES`, so memory does not grow with the number of labels.
    """
    return losses_of(net, head_at(net, inputs, where), target)


def losses_of(net: nn.Module, head: Head, target: Tensor) -> Tensor:
    """The losses of `losses_at` where the network ran already."""

    def piece(start: int, end: int) -> tuple[Tensor]:
        return (cross_entropy(head(start, end).float(), target[start:end], reduction="none"),)

    return in_pieces(net, len(target), piece)[0]
