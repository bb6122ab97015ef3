"""What the losses of several heads share."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from ftp.errors import UserError
from ftp.types import EncodedRow, Model, Run

T = TypeVar("T")

class TokenRow(EncodedRow, total=False):
    """A row of tokens. `spans`: its trained stretches, flat ([start, end, start, end, ...]); without it all
    tokens are trained. `segments`: lengths of its texts, where it holds several. `labels`: of an encoder-decoder, what the
    decoder is to write. `prompt`: what comes before an answer that is to be written and compared; None where none is to be."""

    spans: list[int]
    segments: list[int]
    labels: list[int]
    prompt: list[int] | None


LONGEST_BY_DEFAULT = 1024
"""Tokens a row at most where `--max-length` says nothing."""

OVERLAP = 3
"""Windows of a long row have a third of their text in common with the next, as in BERT's run on SQuAD (128 of 384)."""


def row_limit(run: Run, model: Model) -> int:
    """Tokens a row at most: `--max-length` where given, else `LONGEST_BY_DEFAULT`, and never more than network and tokenizer
    take (`ftp.model.limits`)."""
    from ftp.model.limits import capacity

    limit = run.settings.max_length or LONGEST_BY_DEFAULT
    fits = capacity(model.net, model.tokenizer)
    return limit if fits is None else min(limit, fits)


def is_asked(rows: Sequence[EncodedRow]) -> bool:
    """Whether encoded rows are to be answered, so that they have nothing to learn."""
    return rows[0].get("asked", False)


def lay(model: Model, rows: Sequence[EncodedRow]) -> dict[str, Any]:
    """Encoded rows, with their token types where they have any, as inputs on the network's device (`layout.lay`).
    Rows of encoder-decoders are padded on the right, as these count positions from the first column."""
    from ftp.net import layout

    has_types = rows[0].get("token_type_ids") is not None
    beside = {"token_type_ids": ([row["token_type_ids"] for row in rows], 0)} if has_types else {}
    side = "right" if getattr(model.net.config, "is_encoder_decoder", False) else model.tokenizer.padding_side
    laid: dict[str, Any] = layout.lay(
        [row["input_ids"] for row in rows], packed=model.packed, pad_id=model.tokenizer.pad_token_id or 0,
        padding_side=side, beside=beside, device=next(model.net.parameters()).device)
    return laid


def refuse_slow(model: Model, head: str) -> None:
    """Raise `UserError` for a tokenizer that cannot tell which characters a token stands for."""
    if not model.tokenizer.is_fast:
        raise UserError(f"head '{head}': the tokenizer of {model.name or 'this model'} cannot tell which characters a token "
                        "stands for", "use the model's fast tokenizer (tokenizer.json)")


@dataclass(frozen=True)
class Frame:
    """Where a text lies among the tokens of a row: `first` to `last` (past the end). What is before and after (special
    tokens, a question) is in every window of the text."""

    first: int
    last: int
    size: int

    def window(self, column: Sequence[T], part: tuple[int, int]) -> list[T]:
        """The part `part` of the text (counted from its first token) of a row's column, with what frames it."""
        start, end = part
        return [*column[: self.first], *column[self.first + start : self.first + end], *column[self.last :]]

    def windows(self, limit: int) -> list[tuple[int, int]]:
        """Parts of the text that make rows of `limit` tokens at most, each but the last as long as fits; neighbours have
        a third (`OVERLAP`) of their text in common. One part where all fits. Empty where the frame leaves no room."""
        length = self.last - self.first
        room = limit - (self.size - length)
        if length <= room:
            return [(0, length)]
        if room < 1:
            return []
        step = room - room // OVERLAP
        starts = range(0, length - room + step, step)
        return [(start, min(start + room, length)) for start in starts]


def frame(sequences: Sequence[int | None], which: int) -> Frame:
    """The frame of text number `which` of a row; `sequences`: the text that each token is of (None: a special token)."""
    inside = [token for token, text in enumerate(sequences) if text == which]
    if not inside:
        return Frame(0, 0, len(sequences))
    return Frame(inside[0], inside[-1] + 1, len(sequences))
