"""Unlabelled text as blocks of tokens: documents whole where they fit, cut where they do not, side by side in a block.

A document is never mixed with another: a block of several has their lengths in `segments`, and `ftp.losses.tokens` lays
each out on its own. Only `joined` lets blocks run over the ends of documents. No torch here.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import chain
from typing import TYPE_CHECKING, Literal

from ftp.errors import UserError

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

    from ftp.losses.common import TokenRow

__all__ = ["Numbered", "alone", "ends", "joined", "pieces", "size", "together", "wrapped"]

Columns = Mapping[str, list[int]]
"""A document, or a piece of one: `input_ids`, and columns of the same length beside them."""

Numbered = tuple[int, Columns]
"""A document or a piece with the number of the row that it came from."""


def size(asked: int | None, limit: int, who: str) -> int:
    """Tokens a block: what is asked for, else all that fit.

    Args:
        asked: the option `block_size`; None: not given.
        limit: tokens of a row at most, see `ftp.losses.row_limit`.
        who: the plugin whose option it is, for the message.

    Raises:
        UserError: more tokens are asked for than fit.
    """
    if asked is not None and asked > limit:
        raise UserError(f"--{who}.block_size {asked}: the model takes {limit} tokens a row at most here",
                        f"a number up to {limit}, or a larger --max-length if the model takes more")
    return asked or limit


def ends(
    tokenizer: PreTrainedTokenizerBase, side: Literal["text", "text_target"] = "text"
) -> tuple[list[int], list[int]]:
    """The special tokens that a tokenizer itself puts around a text.

    Args:
        tokenizer: the tokenizer.
        side: "text", or "text_target" for a text that a decoder is to write.

    Returns:
        The ids before the text and those behind it.
    """
    inner = list(tokenizer(**{side: "a"}, add_special_tokens=False)["input_ids"])
    whole = list(tokenizer(**{side: "a"}, add_special_tokens=True)["input_ids"])
    # where the text's own tokens stand among all
    for start in range(len(whole) - len(inner) + 1):
        if whole[start : start + len(inner)] == inner:
            return whole[:start], whole[start + len(inner) :]
    return [], []


def wrapped(document: Columns, before: Sequence[int], after: Sequence[int], fill: int = -1) -> Columns:
    """A text between special tokens.

    Args:
        document: the text, as `input_ids` and columns of the same length.
        before: ids of the special tokens before it.
        after: ids of those behind it.
        fill: what the other columns have at special tokens.
    """
    columns = {}
    for name, column in document.items():
        if name == "input_ids":
            columns[name] = [*before, *column, *after]
        else:
            columns[name] = [*[fill] * len(before), *column, *[fill] * len(after)]
    return columns


def pieces(document: Columns, most: int, overlap: int = 0) -> list[Columns]:
    """A document in pieces, of which the last is shorter.

    Args:
        document: the text, as `input_ids` and columns of the same length.
        most: tokens of a piece.
        overlap: how many of the last tokens of a piece the next one begins with. Where tokens are predicted from those before
            them, with 1 every token but the first is predicted once.
    """
    length = len(document["input_ids"])
    parts: list[Columns] = []
    for start in range(0, max(1, length - overlap), most - overlap):
        parts.append({name: column[start : start + most] for name, column in document.items()})
    return parts


def alone(parts: Iterable[Numbered]) -> Iterator[TokenRow]:
    """Each piece as an encoded row of its own.

    Args:
        parts: pieces with the number of the row that each is from.
    """
    for row, piece in parts:
        yield _row(piece, [len(piece["input_ids"])], row)


def together(parts: Iterable[Numbered], most: int) -> Iterator[TokenRow]:
    """Pieces side by side in blocks, in order; none is cut.

    Args:
        parts: pieces with the number of the row that each is from; a block has that of its first.
        most: tokens of a block.
    """
    held: list[Numbered] = []
    tokens = 0
    for row, piece in parts:
        size = len(piece["input_ids"])
        # a block is full where the next piece does not fit whole
        if held and tokens + size > most:
            yield _block(held)
            held = []
            tokens = 0
        held.append((row, piece))
        tokens += size
    if held:
        yield _block(held)


def joined(documents: Iterable[Numbered], most: int) -> Iterator[TokenRow]:
    """All documents as one text, cut into blocks; the last one is shorter, and kept unless it is a single token, from which
    nothing could be learnt.

    Args:
        documents: texts with the number of the row that each is from; a block has that of its first token.
        most: tokens of a block.
    """
    held: dict[str, list[int]] = {}
    rows: list[int] = []  # the row that each token held is from
    for row, document in documents:
        for name, column in document.items():
            held.setdefault(name, []).extend(column)
        rows += [row] * len(document["input_ids"])
        while len(rows) >= most:
            block = {name: column[:most] for name, column in held.items()}
            yield _row(block, [most], rows[0])
            held = {name: column[most:] for name, column in held.items()}
            rows = rows[most:]
    if len(rows) > 1:
        yield _row(held, [len(rows)], rows[0])


def _block(held: Sequence[Numbered]) -> TokenRow:
    """The pieces held as one encoded row."""
    first_row, first_piece = held[0]
    columns = {}
    for name in first_piece:
        columns[name] = list(chain.from_iterable(piece[name] for _, piece in held))
    segments = [len(piece["input_ids"]) for _, piece in held]
    return _row(columns, segments, first_row)


def _row(columns: Columns, segments: list[int], row: int) -> TokenRow:
    """An encoded row, with the columns that lie beside its tokens."""
    return {**columns, "segments": segments, "row": row}  # type: ignore[typeddict-item]
