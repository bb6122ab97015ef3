"""What can be seen in rows once they are token ids: their beginning, their end, what is trained, what was cut. Heavy."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Any

from ftp import heads as specs
from ftp.errors import UserError
from ftp.types import Batch, Data, Loss, Model, Row, Run
from ftp_preflight.findings import Findings

if TYPE_CHECKING:
    from datasets import Dataset

    from ftp_preflight import Preflight

COMPARED = 8
"""Rows whose encoding for an answer is held against that for training."""
LAST = 3
"""Trained tokens at the end of a row among which its end is looked for (a template may write a line break behind it)."""


@dataclass(frozen=True)
class Line:
    """One sequence as it lies in a batch: token ids, and for each whether it is trained, with its target where that is
    another token (a hidden one)."""

    ids: tuple[int, ...]
    trained: tuple[bool, ...]
    hidden: dict[int, int]


def encoded(run: Run, loss: Loss, rows: Dataset) -> Dataset:
    """Rows encoded one by one, as held-out rows are, so that each can be known by its number."""
    from ftp.data.encode import encode

    return encode(rows, loss.encode_to_score, "train", key=loss.key)


def lines(model: Model, batch: Batch) -> list[Line]:
    """The sequences of a batch, from its tensors. Without `where` and `target` in it no token is trained by itself."""
    from ftp.net import heads, layout

    inputs: Any = batch.inputs
    ids, limits = layout.real(inputs, inputs["input_ids"]).tolist(), layout.bounds(inputs).tolist()
    if "decoder_input_ids" in inputs:  # the prompt that an encoder reads, and behind it the answer that a decoder learns
        said: list[list[int]] = [[] for _ in limits[1:]]
        for row, target in zip(inputs["of"].tolist(), inputs["target"].tolist(), strict=True):
            said[row].append(target)
        return [Line((*ids[a:b], *answer), (*[False] * (b - a), *[True] * len(answer)), {})
                for (a, b), answer in zip(pairwise(limits), said, strict=True)]
    # targets of other heads number classes, which are no entries of the vocabulary
    head = specs.get(model.head)
    trained, hidden = set[int](), dict[int, int]()
    if "where" in inputs and "target" in inputs:
        shift = int(head.writes_text and heads.shifts(model.net))
        places = layout.real(inputs, _numbers(inputs)).tolist()
        order = {slot: place for place, slot in enumerate(places)}
        for slot, target in zip(inputs["where"].tolist(), inputs["target"].tolist(), strict=True):
            place = order.get(slot, -1) + shift
            if 0 <= place < len(ids):
                trained.add(place)
                if head.is_over_vocabulary and ids[place] != target:
                    hidden[place] = target
    return [Line(tuple(ids[a:b]), tuple(place in trained for place in range(a, b)),
                 {place - a: target for place, target in hidden.items() if a <= place < b})
            for a, b in pairwise(limits)]


def _numbers(inputs: Any) -> Any:
    """The number of each slot, laid like `input_ids`."""
    import torch

    ids = inputs["input_ids"]
    return torch.arange(ids.numel(), device=ids.device).reshape(ids.shape)


def look(options: Preflight, run: Run, data: Data, model: Model, loss: Loss, found: Findings) -> list[Row]:
    """All looks at encoded rows of train; gives them for the first step."""
    import numpy as np

    from ftp.data.encode import truncation
    from ftp.data.updates import as_rows

    rows = data.splits.get("train")
    if rows is None:
        return []
    if not hasattr(rows, "num_rows"):
        from itertools import islice

        from ftp.data.tables import from_rows

        first = list(islice(rows, options.rows))
        rows = from_rows(first) if first else None
    if rows is None or not len(rows):
        return []
    of = data.splits["train"].num_rows if hasattr(data.splits["train"], "num_rows") else "a stream"
    if len(rows) > options.rows:
        rows = rows.select(np.sort(np.random.default_rng(run.settings.seed).choice(len(rows), options.rows, replace=False)))
    made = encoded(run, loss, rows)
    kept = as_rows(made[:]) if len(made) else []
    kept = [row for row in kept if row.get("input_ids")]
    whole = {row["row"]: row for row in reversed(kept)}  # the first piece of each row
    training = model.net.training
    model.net.eval()
    try:
        batches = [loss.collate(kept[start : start + 32]) for start in range(0, len(kept), 32)]
        flat = [line for batch in batches for line in lines(model, batch)]
    finally:
        model.net.train(training)
    found.see("trained tokens", of=of, sampled=of != len(rows))
    head = specs.get(model.head)
    says = head.is_over_vocabulary and all("where" in one.inputs and "target" in one.inputs for one in batches)
    blocks = len(whole) < len(kept) / 2 and "segments" in (kept[0] if kept else {})
    longer = _longer(run, model, kept)
    _untrained(options, longer, says, rows, kept, flat, blocks, found)
    if not kept:
        return []
    apart = "labels" in kept[0]  # an encoder reads the prompt, and each answer is a row of its own: the last is asked
    cut = truncation(made)
    tokens = sum(row["length"] for row in kept)
    if cut is not None:
        share = cut[1] / max(1, cut[1] + tokens)
        found.see("truncation", rows=len(made), cut=cut[0], share_of_tokens=share, side="either" if apart else "end")
        if cut[0] / len(made) > 0.01:
            lose = "are cut (prompts of several turns at their beginning, all else at its end)" if apart else "lose their end"
            found.tell("warn" if share >= options.cut else "note",
                       f"{cut[0] / len(made):.0%} of rows {lose}, {share:.1%} of all tokens"
                       + ("" if longer else ", as the model takes no more"), *longer)
    _beginning(run, model, [] if blocks else list(whole.values()), found)
    if head.writes_text and any(any(line.trained) for line in flat):
        _end(run, data, model, flat, kept, found)
    last = {row["row"]: row for row in kept}
    _prediction(loss, rows, last if apart else whole, apart, found)
    return kept if not says or any(any(line.trained) for line in flat) else []  # of no trained token there is no loss


def _longer(run: Run, model: Model, rows: Sequence[Row]) -> list[str]:
    """The run with rows as long as they need to be, as far as the model takes them; none where they are that already."""
    from ftp.losses.common import row_limit

    free = dataclasses.replace(run, settings=dataclasses.replace(run.settings, max_length=10**9))
    whole = max((row["length"] + (row.get("cut") or 0) for row in rows), default=0)
    length = min(8 * math.ceil(whole / 8), row_limit(free, model))
    return [run.command("--max-length", length)] if length > row_limit(run, model) else []


def _untrained(
    options: Preflight, longer: Sequence[str], says: bool, rows: Any, kept: Sequence[Row], flat: Sequence[Line], blocks: bool,
    found: Findings
) -> None:
    """Rows of which nothing is learnt. `says`: whether the batches say which tokens are trained."""
    lost = 0 if blocks else len(rows) - len({row["row"] for row in kept})
    empty = sum(not any(line.trained) for line in flat) if says else 0
    share = max(lost / len(rows), empty / max(1, len(flat)))
    trained = sum(map(sum, (line.trained for line in flat))) / max(1, sum(len(line.ids) for line in flat))
    found.see("trained tokens", rows=len(rows), rows_without=lost, sequences_without=empty,
              **({"share_of_tokens": trained} if says else {}))
    if share > 0:
        level: Any = "stop" if share == 1 else "warn" if share >= options.untrained else "note"
        found.tell(level, f"of {share:.1%} of rows nothing is learnt: they have no answer, or it is cut off",
                   *longer)


def _beginning(run: Run, model: Model, rows: Sequence[Row], found: Findings) -> None:
    """The token that the tokenizer puts before a text: once, not twice, and not never."""
    from ftp.losses.blocks import ends

    tokenizer = model.tokenizer
    before, _ = ends(tokenizer)
    lead = before[0] if before else tokenizer.bos_token_id
    if lead is None or not rows:
        return
    first = [list(row["input_ids"][:2]) for row in rows]
    double = sum(one == [lead, lead] for one in first)
    without = sum(one[:1] != [lead] for one in first) if before else 0
    name = tokenizer.convert_ids_to_tokens(lead)
    found.see("beginning", token=name, rows=len(first), doubled=double, missing=without)
    if double:
        found.tell("warn", f"{double} of {len(first)} rows begin with {name} twice: the chat template or the text has one, and "
                   "the tokenizer writes one itself")
    if without > len(first) / 2:
        found.tell("warn", f"{without} of {len(first)} rows do not begin with {name}, which the tokenizer puts before every text "
                   "({{ bos_token }} at the beginning of the chat template mends it)")


def _end(run: Run, data: Data, model: Model, flat: Sequence[Line], kept: Sequence[Row], found: Findings) -> None:
    """Whether the last token that is trained ends a text or a turn, in rows that were not cut."""
    tokenizer = model.tokenizer
    stops = {*tokenizer.all_special_ids, *tokenizer.get_added_vocab().values()}
    each = len(flat) // len(kept) if kept and len(flat) % len(kept) == 0 else 0
    last = {row["row"]: number for number, row in enumerate(kept)}
    asked = [flat[number] for number in last.values() if not kept[number].get("cut")] if each == 1 else list(flat)
    asked = [line for line in asked if any(line.trained)]
    ended = sum(any(one in stops for one in [line.ids[place] for place, on in enumerate(line.trained) if on][-LAST:])
                for line in asked)
    if not asked:
        return
    found.see("end", sequences=len(asked), trained=ended)
    if ended < len(asked) / 2:
        found.tell("warn", f"only {ended} of {len(asked)} sequences train the token that ends them: the model will not learn "
                   "to stop (a chat template ends an answer with the EOS token)")


def _prediction(loss: Loss, rows: Any, whole: dict[int, Row], apart: bool, found: Findings) -> None:
    """Whether a row reaches the model the same way when it is answered as when it is learnt: what is asked is how it begins,
    or all that is read where the answer is written `apart`."""
    if not loss.has_answers:
        return
    same = other = 0
    for number in sorted(whole)[:COMPARED]:
        if whole[number].get("cut"):
            continue
        try:
            asked = list(loss.ask([_up_to_answer(rows[number]) if apart else dict(rows[number])]))
        except (UserError, KeyError, TypeError, ValueError):  # rows of this form are not asked as they are
            continue
        if len(asked) != 1 or not asked[0].get("input_ids"):
            continue
        ids, learnt = list(asked[0]["input_ids"]), list(whole[number]["input_ids"])
        # a long text is learnt in pieces: its first one is compared
        if ids == learnt if apart else learnt[: len(ids)] == ids[: len(learnt)]:
            same += 1
        else:
            other += 1
    if same + other:
        found.see("inference", rows=same + other, of=len(whole), same=same)
    if other:
        found.tell("warn", f"{other} of {same + other} rows reach the model in other tokens when they are answered than when "
                   "they are learnt")


def _up_to_answer(row: Row) -> dict[str, Any]:
    """A conversation without what is said behind its last answer, which is not learnt."""
    turns = list(row.get("messages") or ())
    last = max((place for place, one in enumerate(turns) if one["role"] == "assistant"), default=len(turns) - 1)
    return {**row, "messages": turns[: last + 1]} if turns else dict(row)
