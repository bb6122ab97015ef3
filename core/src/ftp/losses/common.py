"""What the losses of several heads share."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

from ftp.errors import UserError
from ftp.types import EncodedRow, Model, Run

if TYPE_CHECKING:
    from torch import Tensor

T = TypeVar("T")


class TokenRow(EncodedRow, total=False):
    """A row of tokens.

    Attributes:
        spans: its trained stretches, flat (`[start, end, start, end, ...]`); without it all tokens are trained.
        segments: lengths of its texts, where it holds several.
        labels: of an encoder-decoder, the tokens that the decoder is to write.
        prompt: the tokens before an answer that is to be written and compared; None: none is to be.
    """

    spans: list[int]
    segments: list[int]
    labels: list[int]
    prompt: list[int] | None


LONGEST_BY_DEFAULT = 1024
"""Tokens a row at most where `--max-length` says nothing."""

OVERLAP = 3
"""Windows of a long row have a third of their text in common with the next, as in BERT's run on SQuAD (128 of 384)."""


def row_limit(run: Run, model: Model) -> int:
    """Tokens a row at most: `--max-length`, or 1024 where that is not given, and never more than network and tokenizer take.

    Args:
        run: the run, for its settings.
        model: the model; see `ftp.model.capacity`.
    """
    from ftp.model.limits import capacity

    limit = run.settings.max_length or LONGEST_BY_DEFAULT
    fits = capacity(model.net, model.tokenizer)
    return limit if fits is None else min(limit, fits)


def is_asked(rows: Sequence[EncodedRow]) -> bool:
    """Whether encoded rows are to be answered, so that they have nothing to learn.

    Args:
        rows: the encoded rows of a batch, all of one kind.
    """
    return rows[0].get("asked", False)


def lay(model: Model, rows: Sequence[EncodedRow]) -> dict[str, Tensor]:
    """Encoded rows, with their token types where they have any, as inputs on the network's device (`layout.lay`)."""
    from ftp.net import layout
    from ftp.net.network_parts import is_encoder_decoder

    beside = {}
    if rows[0].get("token_type_ids") is not None:
        beside["token_type_ids"] = ([row["token_type_ids"] for row in rows], 0)
    # encoder-decoders count positions from the first column
    side = "right" if is_encoder_decoder(model.net) else model.tokenizer.padding_side
    return layout.lay(
        [row["input_ids"] for row in rows], packed=model.packed, pad_id=model.tokenizer.pad_token_id or 0,
        padding_side=side, beside=beside, device=next(model.net.parameters()).device)


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
        # the last window begins so that it reaches the end of the text
        starts = range(0, length - room + step, step)
        return [(start, min(start + room, length)) for start in starts]


def frame(sequences: Sequence[int | None], text: int) -> Frame:
    """Where one of a row's texts lies.

    Args:
        sequences: the number of the text that each token is of; None for a special token.
        text: the number of the text.
    """
    inside = [token for token, number in enumerate(sequences) if number == text]
    if not inside:
        return Frame(0, 0, len(sequences))
    return Frame(inside[0], inside[-1] + 1, len(sequences))
