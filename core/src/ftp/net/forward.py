"""The one place that lays encoded rows out as tensors and runs a Transformers network on them. Heavy: imports torch.

Two layouts, and every function below takes either:

- packed: rows end to end in one line, `input_ids` [1, tokens], positions that restart, nothing padded; each row attends
  to itself alone (`ftp.net.packed_attention`). For networks of which `can_pack` says so, having measured it.
- padded: `input_ids` [rows, longest] with an `attention_mask`, for every network.

A **slot** is a place in `input_ids.flatten()`; `first`, `last` and `where` are slots. Heads are computed only where they
are asked for, by the network's own head code: its backbone runs once, then stands in for itself with the chosen states.
Only `input_ids`, `attention_mask`, `position_ids`, `token_type_ids` and `decoder_input_ids` reach the network; other columns
are for the caller. With `decoder_input_ids` (an encoder-decoder that writes) slots are places in those.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from copy import copy
from dataclasses import dataclass
from itertools import chain
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from torch.utils.checkpoint import checkpoint

from ftp.net import packed_attention

Inputs = Mapping[str, Tensor]
"""What `lay` gives."""

IGNORED = -100
"""The label of a token that is not trained."""

LOGIT_BYTES = 256 * 2**20
"""Logits beyond this size are computed in pieces, and again in the backward pass instead of being kept."""

_TO_NET = ("input_ids", "attention_mask", "position_ids", "token_type_ids", "decoder_input_ids")


# --- layout ---------------------------------------------------------------------------------------------------------


def lay(
    rows: Sequence[Sequence[int]],
    *,
    packed: bool,
    pad_id: int,
    padding_side: str = "right",
    beside: Mapping[str, tuple[Sequence[Sequence[int]], int]] | None = None,
    device: torch.device | str | None = None,
) -> dict[str, Tensor]:
    """Lay token ids (one sequence a row, none empty) out as tensors.

    `beside`: further columns of the same lengths with the value that fills their padding, such as
    `{"labels": (labels, -100)}`. Gives int64 tensors of one shape, [1, tokens] or [rows, longest]:

    - packed: `input_ids`, `position_ids`, `row_starts` [rows + 1] int32 (where each row begins, and the end) and
      `extent`, an empty tensor [0, longest, filler] whose size tells, without asking the device, the length of the
      longest row and how many slots behind the last row are filled up (on a CPU, see `_filler`);
    - padded: `input_ids`, `attention_mask`, and with `padding_side="left"` also `position_ids`.

    Raises ValueError for an empty row, no rows, or a column whose lengths differ from the tokens'.
    """
    lengths = [len(row) for row in rows]
    if not lengths or min(lengths) == 0:
        raise ValueError("every batch needs a row, and every row needs a token")
    columns = {"input_ids": (rows, pad_id), **(beside or {})}
    for name, (column, _) in columns.items():
        if [len(row) for row in column] != lengths:
            raise ValueError(f"the rows of '{name}' are not as long as those of 'input_ids'")
    if padding_side not in ("left", "right"):
        raise ValueError(f"padding_side is 'left' or 'right', not {padding_side!r}")
    longest = max(lengths)
    out: dict[str, Tensor] = {}
    if packed:
        filler = _filler(sum(lengths)) if torch.device(device or "cpu").type == "cpu" else 0
        for name, (column, fill) in columns.items():
            out[name] = torch.tensor([[*chain.from_iterable(column), *[fill] * filler]])
        filled = (number % longest for number in range(filler))  # never a position that a table of positions may lack
        out["position_ids"] = torch.tensor([[*chain.from_iterable(map(range, lengths)), *filled]])
        out["row_starts"] = torch.tensor([0, *lengths]).cumsum(0).to(torch.int32)
        out["extent"] = torch.empty(0, longest, filler)
    else:
        left = padding_side == "left"
        for name, (column, fill) in columns.items():
            out[name] = torch.tensor([_pad(row, longest, fill, left) for row in column])
        out["attention_mask"] = torch.tensor([_pad([1] * n, longest, 0, left) for n in lengths])
        if left and min(lengths) < longest:
            out["position_ids"] = (out["attention_mask"].cumsum(1) - 1).clamp(min=0)
    return out if device is None else {name: x.to(device, non_blocking=True) for name, x in out.items()}


def _pad(row: Sequence[int], longest: int, fill: int, left: bool) -> list[int]:
    padding = [fill] * (longest - len(row))
    return [*padding, *row] if left else [*row, *padding]


def _filler(tokens: int) -> int:
    """How many slots to add so that batches come in few sizes, 16 an octave and so about 2% more on average: for each
    new size the CPU's kernels are made anew, which was measured to cost a fifth of a step of a small network."""
    step = 2 ** max(0, tokens.bit_length() - 5)
    return -tokens % step if tokens >= 128 else 0


def is_packed(inputs: Inputs) -> bool:
    """Whether these inputs are rows end to end."""
    return "row_starts" in inputs


def count_rows(inputs: Inputs) -> int:
    """Number of rows laid out."""
    return len(inputs["row_starts"]) - 1 if is_packed(inputs) else len(inputs["input_ids"])


def first(inputs: Inputs) -> Tensor:
    """[rows] the slot of each row's first token."""
    if is_packed(inputs):
        return inputs["row_starts"][:-1].long()
    mask = inputs["attention_mask"]
    return mask.argmax(1) + _line_starts(mask)


def last(inputs: Inputs) -> Tensor:
    """[rows] the slot of each row's last real token, whatever its id and whichever side is padded."""
    if is_packed(inputs):
        return inputs["row_starts"][1:].long() - 1
    mask = inputs["attention_mask"]
    return mask.shape[1] - 1 - mask.flip(1).argmax(1) + _line_starts(mask)


def real(inputs: Inputs, column: Tensor) -> Tensor:
    """The entries of `column` at real tokens, row after row: [tokens, ...]. `column` is laid like `input_ids` or has one
    entry a slot; further dimensions may follow."""
    shape = inputs["input_ids"].shape
    flat = column.flatten(0, 1) if column.shape[:2] == shape else column
    if len(flat) != shape.numel():
        raise ValueError(f"a column of shape {tuple(column.shape)} is not laid like input_ids, {tuple(shape)}")
    if is_packed(inputs):
        return flat[: len(flat) - inputs["extent"].shape[2]]
    return flat[inputs["attention_mask"].flatten().bool()]


def rows(inputs: Inputs) -> Tensor:
    """[tokens] the number of the row to which each real token belongs."""
    return real(inputs, _row_of_slot(inputs))


def _row_of_slot(inputs: Inputs) -> Tensor:
    """[slots] row numbers; filler behind packed rows has the number of rows, as if it were one more."""
    ids = inputs["input_ids"]
    if is_packed(inputs):
        lengths = _with_filler(inputs).diff().long()
        numbers = torch.arange(len(lengths), device=ids.device)
        return torch.repeat_interleave(numbers, lengths, output_size=ids.numel())
    return torch.arange(len(ids), device=ids.device).repeat_interleave(ids.shape[1])


def _with_filler(inputs: Inputs) -> Tensor:
    """`row_starts` with the filler as one more row, where there is any."""
    starts = inputs["row_starts"]
    return torch.cat([starts, starts[-1:] + inputs["extent"].shape[2]]) if inputs["extent"].shape[2] else starts


def bounds(inputs: Inputs) -> Tensor:
    """[rows + 1] where each row begins among the real tokens, and the end."""
    if is_packed(inputs):
        return inputs["row_starts"].long()
    lengths = inputs["attention_mask"].sum(1)
    return torch.cat([lengths.new_zeros(1), lengths.cumsum(0)])


def _line_starts(mask: Tensor) -> Tensor:
    return torch.arange(len(mask), device=mask.device) * mask.shape[1]


# --- the network and its parts --------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Parts:
    """`inner`: the network under its PEFT wrapper. `backbone`: what makes its hidden states; None where that cannot be
    taken apart from the head (encoder-decoders, learnt prompts), so that only whole padded passes are right."""

    inner: Any
    backbone: Any


def _parts(net: nn.Module) -> _Parts:
    inner: Any = net
    peft = getattr(net, "peft_config", None)
    if peft and hasattr(net, "get_base_model"):
        inner = net.get_base_model()
        # These change what goes into the network, in the wrapper's own forward.
        special = ("num_virtual_tokens", "alora_invocation_tokens")
        if any(getattr(config, name, None) for config in peft.values() for name in special):
            return _Parts(inner, None)
    if getattr(inner.config, "is_encoder_decoder", False):
        return _Parts(inner, None)
    return _Parts(inner, inner.base_model)


def _arguments(net: nn.Module, inputs: Inputs) -> dict[str, Any]:
    """What the network is called with. Raises ValueError for packed rows on a network that would mix them."""
    inner, backbone = (parts := _parts(net)).inner, parts.backbone
    given: dict[str, Any] = {name: inputs[name] for name in _TO_NET if name in inputs}
    if hasattr(inner.config, "use_cache"):
        given["use_cache"] = False
    if "position_ids" in given and (offset := _first_position(backbone)):
        given["position_ids"] = given["position_ids"] + offset
    if is_packed(inputs):
        if backbone is None or inner.config._attn_implementation != packed_attention.NAME:
            raise ValueError("packed rows need a network of which `can_pack` says that it keeps them apart")
        longest, filler = inputs["extent"].shape[1:]
        tokens = inputs["input_ids"].numel()
        given["packing"] = packed_attention.packing(_with_filler(inputs), max(longest, filler), tokens)
        given["attention_mask"] = given["packing"].mask
    return given


def _first_position(backbone: Any) -> int:
    """RoBERTa and its kin count positions from behind the padding index, which is in their table of positions."""
    table = getattr(getattr(backbone, "embeddings", None), "position_embeddings", None)
    padding = getattr(table, "padding_idx", None)
    return 0 if padding is None else int(padding) + 1


def _encode(net: nn.Module, inputs: Inputs) -> Any:
    """The output of the backbone, its hidden states flattened to [slots, size]."""
    output = _parts(net).backbone(**_arguments(net, inputs), return_dict=True)
    output["last_hidden_state"] = output.last_hidden_state.flatten(0, 1)
    return output


def _head(net: nn.Module, output: Any, states: Tensor) -> Tensor:
    """The logits that the network's own head makes of `states` [rows, tokens, size]."""
    parts = _parts(net)
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


def _whole(net: nn.Module, inputs: Inputs) -> Tensor:
    """The logits of one plain padded pass, [rows, longest, ...] where there is one a token (of a decoder that writes)."""
    logits = _logits(net(**_arguments(net, inputs)))
    width = inputs.get("decoder_input_ids", inputs["input_ids"]).shape[1]  # a learnt prompt adds places in front
    return logits[:, -width:] if logits.ndim == 3 else logits


# --- what objectives ask for ----------------------------------------------------------------------------------------


def hidden(net: nn.Module, inputs: Inputs) -> Tensor:
    """[slots, size] the last hidden states, without any head; of an encoder-decoder those of its encoder; of a network with
    a learnt prompt those that it has without the prompt."""
    if (parts := _parts(net)).backbone is not None:
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
    parts = _parts(net)
    if parts.backbone is not None and hasattr(parts.inner, "score"):
        states = _encode(net, inputs).last_hidden_state
        return parts.inner.score(states[last(inputs)])
    if not is_packed(inputs):
        laid = _to_the_left(inputs)
        if not hasattr(parts.inner, "score"):
            paired = getattr(parts.inner.config, "is_encoder_decoder", False)
            return _by_ends(net, laid, parts.inner.config.eos_token_id) if paired else _whole(net, laid)
        return _scores(parts.inner.score, net, laid)
    output = _encode(net, inputs)
    return _head(net, output, output.last_hidden_state[first(inputs)][:, None])


def _by_ends(net: nn.Module, inputs: Inputs, end: int) -> Tensor:
    """[rows, classes] what an encoder-decoder says at each row's last EOS; row by row where a text holds one of its own, as
    Transformers wants the same number in all rows of a batch."""
    counts = (inputs["input_ids"] == end).sum(1)
    if bool((counts == counts[0]).all()):
        return _whole(net, inputs)
    alone = ({name: inputs[name][row : row + 1] for name in _TO_NET if name in inputs} for row in range(len(counts)))
    return torch.cat([_whole(net, one) for one in alone])


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
    """

    states: Tensor | None
    logits: Callable[[int, int], Tensor]

    def __call__(self, start: int, end: int) -> Tensor:
        """[end - start, vocabulary]"""
        return self.logits(start, end)


def head_at(net: nn.Module, inputs: Inputs, where: Tensor) -> Head:
    """The head of a language model at the slots `where` [n]."""
    if _parts(net).backbone is None:
        whole = _whole(net, inputs).flatten(0, 1)[where]
        return Head(None, lambda start, end: whole[start:end])
    output = _encode(net, inputs)
    states = output.last_hidden_state[where]
    return Head(states, lambda start, end: _head(net, output, _few_sizes(states[start:end])[None])[0, : end - start])


def _few_sizes(states: Tensor) -> Tensor:
    """`states` [n, size] with the first again at the end, so that heads come in few sizes as batches do: on a CPU a large
    head of a new size costs time and keeps memory, tens of megabytes for a vocabulary of a few thousand."""
    filler = _filler(len(states)) if states.device.type == "cpu" else 0
    return torch.cat([states, states[:1].expand(filler, -1)]) if filler else states


def in_pieces(
    net: nn.Module, count: int, piece: Callable[[int, int], tuple[Tensor, ...]], copies: int = 1
) -> tuple[Tensor, ...]:
    """What `piece(start, end)` says of each of `count` terms ([end - start] tensors), joined to [count] tensors.

    Terms are taken so many at a time that `copies` of their logits need `LOGIT_BYTES`, and logits are made again for the
    backward pass, so memory does not grow with the number of terms.
    """
    size = max(1, LOGIT_BYTES // (4 * copies * int(_parts(net).inner.config.get_text_config().vocab_size)))
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
    return real(inputs, _whole(net, inputs)), bounds(inputs)


def span_logits(net: nn.Module, inputs: Inputs) -> tuple[Tensor, Tensor]:
    """([tokens, 2], [rows + 1]) the start and end logits of a question-answering head; else as `token_logits`."""
    return token_logits(net, inputs)


def shifts(net: nn.Module) -> bool:
    """Whether the network's token at one place predicts the next one (causal) rather than its own (masked)."""
    inner = _parts(net).inner
    config = inner.config
    return not type(inner).__name__.endswith("ForMaskedLM") and not getattr(config, "is_encoder_decoder", False)


def targets(inputs: Inputs, labels: Tensor, *, shift: bool) -> tuple[Tensor, Tensor, Tensor]:
    """Where labels are learnt: (slots [n] whose logits count, token ids [n], row numbers [n]).

    `labels` are laid beside `input_ids`, with -100 where nothing is learnt. With `shift` the slot before a labelled
    token predicts it; a row's first token is never predicted, least of all by the row before it. On CPU tensors (in
    `collate`) this waits for no device.
    """
    flat = labels.flatten()
    learnt = flat != IGNORED
    if shift:
        learnt[first(inputs)] = False
    where = learnt.nonzero()[:, 0]
    return where - int(shift), flat[where], _row_of_slot(inputs)[where]


def token_losses(net: nn.Module, inputs: Inputs, labels: Tensor) -> tuple[Tensor, Tensor]:
    """(losses [n], row numbers [n]): fp32 cross entropy in nats of every labelled token, row after row.

    `labels` are laid beside `input_ids` with -100 elsewhere; causal networks predict the next token of the same row.
    An encoder-decoder takes padded `labels` [rows, any length] for its decoder.
    """
    inner = _parts(net).inner
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
    head = head_at(net, inputs, where)

    def piece(start: int, end: int) -> tuple[Tensor]:
        return (cross_entropy(head(start, end).float(), target[start:end], reduction="none"),)

    return in_pieces(net, len(where), piece)[0]


# --- measuring ------------------------------------------------------------------------------------------------------


def can_pack(net: Any, tokenizer: Any) -> tuple[bool, str]:
    """Measure on this very network whether packed rows get what one plain pass a row gives, and keep apart.

    Gives (True, "") or (False, the reason). Some random rows go through the network as it came, one at a time; then
    packed, where states and logits must agree to 1e-4 of their size (3e-2 for weights in half precision); then packed
    with one row changed, where those of the others must stay. Leaves a network that came with `sdpa` on `ftp_packed`,
    which is the same for padded rows, with fp32 attention on a CPU; its mode and the random state are untouched.
    """
    parts = _parts(net)
    inner, config = parts.inner, parts.inner.config.get_text_config()
    if inner.config._attn_implementation not in ("sdpa", packed_attention.NAME):
        return False, f"its attention is '{inner.config._attn_implementation}', not 'sdpa'"
    others = set(getattr(config, "layer_types", None) or ()) - {"full_attention"}
    training = net.training
    net.eval()
    try:
        samples, changed, pad_id = _random_rows(inner, config, tokenizer)
        device = inner.get_input_embeddings().weight.device

        def answers(rows: Sequence[Sequence[int]], packed: bool) -> list[list[Tensor]]:
            with torch.no_grad():
                return _answers(net, lay(rows, packed=packed, pad_id=pad_id, device=device))

        plain = [] if parts.backbone is None else [answers([row], packed=False)[0] for row in samples]
        inner.set_attn_implementation(packed_attention.NAME)
        if parts.backbone is None:
            return False, "its states cannot be taken apart from its head (encoder-decoder or learnt prompt)"
        if others:
            return False, f"it has layers of {', '.join(sorted(others))}"
        packed, moved = answers(samples, packed=True), answers(changed, packed=True)
    except Exception as error:  # whatever a network says to packed rows is the reason
        return False, f"it does not run packed: {type(error).__name__}: {str(error)[:200]}"
    finally:
        net.train(training)
    tolerance = 1e-4 if packed[0][0].dtype == torch.float32 else 3e-2
    if (apart := max(map(_distance, packed, plain))) > tolerance:
        return False, f"packed rows do not get the answers of single rows (apart by {apart:.1e} of their size)"
    same = [number for number, row in enumerate(samples) if row == changed[number]]
    if (apart := max(_distance(packed[number], moved[number]) for number in same)) > 1e-6:
        return False, f"packed rows read each other (changing one moves the others by {apart:.1e} of their size)"
    return True, ""


def _random_rows(inner: Any, config: Any, tokenizer: Any) -> tuple[list[list[int]], list[list[int]], int]:
    """Rows of several lengths, the same with one changed, and the id that pads."""
    special = set(getattr(tokenizer, "all_special_ids", ()))
    words = [i for i in range(inner.get_input_embeddings().weight.shape[0]) if i not in special]
    generator = torch.Generator().manual_seed(0)
    limit = min(19, getattr(config, "max_position_embeddings", None) or 19)
    rows = [
        [words[int(i)] for i in torch.randint(len(words), (min(length, limit),), generator=generator)]
        for length in (7, 3, 19, 1, 12)
    ]
    changed = [*rows[:2], rows[2][::-1], *rows[3:]]
    return rows, changed, getattr(tokenizer, "pad_token_id", None) or 0


def _answers(net: Any, inputs: Inputs) -> list[list[Tensor]]:
    """For each row its states, and its logits where the network has a head."""
    limits = bounds(inputs).tolist()
    per_token = [real(inputs, hidden(net, inputs))]
    per_row = []
    inner, backbone = (parts := _parts(net)).inner, parts.backbone
    if type(inner).__name__.endswith("ForSequenceClassification"):
        per_row.append(classify(net, inputs) if is_packed(inputs) else _whole(net, inputs))
    elif inner.get_output_embeddings() is not None and is_packed(inputs):
        per_token.append(logits_at(net, inputs, torch.arange(limits[-1], device=inputs["input_ids"].device)))
    elif inner is not backbone:
        per_token.append(token_logits(net, inputs)[0])
    return [
        [x[limits[row] : limits[row + 1]] for x in per_token] + [x[row] for x in per_row]
        for row in range(count_rows(inputs))
    ]


def _distance(ours: Sequence[Tensor], theirs: Sequence[Tensor]) -> float:
    """The largest difference as a share of the largest value; what is not a number is infinitely far."""
    shares = [
        float((a.float() - b.float()).abs().max() / b.float().abs().max().clamp(min=1e-12))
        for a, b in zip(ours, theirs, strict=True)
    ]
    return max(share if share == share else float("inf") for share in shares)
