"""Rows -> token ids, once: kept as Arrow under a key that says everything they depend on, and mapped back."""

from __future__ import annotations

import contextlib
import dataclasses
import errno
import hashlib
import inspect
import json
import tempfile
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from ftp.data import arrow, tables
from ftp.data.fingerprint import fingerprint
from ftp.errors import PluginError, Problem, UserError
from ftp.host import faults
from ftp.types import EncodedRow, Loss, Row

if TYPE_CHECKING:
    import pyarrow as pa
    from datasets import Dataset
    from transformers import PreTrainedTokenizerBase

BATCH = 1000

Encode = Callable[[Sequence[Row]], Iterable[EncodedRow]]
"""`Loss.encode` or `Loss.encode_to_score`."""


@dataclass
class Counts:
    """What encoding did to the rows of a split, kept in the cache beside them so that it is told in every run.

    Attributes:
        left_out: rows that have no encoded row, by the reason that their encoder gave.
        answers: those of them of whose answer nothing fits.
        tokens: tokens of these answers.
    """

    left_out: Counter[str] = field(default_factory=Counter)
    answers: int = 0
    tokens: int = 0

    def fill(self, other: Counts) -> None:
        """Become the same as another."""
        self.left_out = other.left_out
        self.answers = other.answers
        self.tokens = other.tokens

    def take(self, rows: Iterable[EncodedRow]) -> list[EncodedRow]:
        """The encoded rows, less those that only say why a row is `left_out`, which are counted."""
        kept: list[EncodedRow] = []
        for row in rows:
            if row.get("left_out"):
                self.left_out[row["left_out"]] += 1
                self.answers += bool(row.get("answer_cut"))
                self.tokens += row.get("answer_cut", 0)
            else:
                row.pop("left_out", None)  # None in rows of an encoder that always says it
                kept.append(row)
        return kept


def encode(
    dataset: Dataset, loss_encode: Encode, split: str, *, key: str, cache_dir: Path | None = None, counts: Counts | None = None,
    tell: Callable[[str], None] | None = None,
) -> Dataset:
    """The rows of `dataset` as a loss encodes them, with `length` (tokens) and `row` (the row it came from).

    A damaged entry of the cache is made again; processes that race end with the same entry.

    Args:
        dataset: the rows of one split.
        loss_encode: is given 1000 rows at a time. Where it makes none or several of a row, it says in `row` which of the rows
            it was given each belongs to, counted from 0; that becomes the number in `dataset`.
        split: its name, for messages and the cache.
        key: says all that encoding depends on (see `cache_key`).
        cache_dir: where the encoded rows are kept, under a hash of key, content of the rows and split; None keeps them
            in memory or a temporary file, and so does a folder that cannot be written.
        counts: is filled, whether the rows were encoded now or before.
        tell: is given a line that says so where the cache cannot be written.

    Raises:
        PluginError: encoded rows do not keep to the contract.
        UserError: the loss refuses a row, or every row is left out.
    """
    counts = Counts() if counts is None else counts
    if cache_dir is not None:
        try:
            return _cached(dataset, loss_encode, split, key, cache_dir, counts)
        except OSError as error:
            if not faults.is_of_the_machine(error):
                raise
            if tell is not None:
                tell(f"encoded rows are not kept for the next run, as {cache_dir} cannot be written "
                     f"({error.strerror or error}); another place: --cache-dir")
    # Not into `counts`, which may hold what a broken entry of the cache says.
    fresh = Counts()
    kept = tables.dataset(chunks(dataset, loss_encode, split, fresh), source_name=f"encoded {split}")
    counts.fill(fresh)
    return kept


def _cached(
    dataset: Dataset, loss_encode: Encode, split: str, key: str, cache_dir: Path, counts: Counts
) -> Dataset:
    """The encoded rows from the cache, where they are put first if they are not there yet."""
    name = hashlib.sha256("|".join((key, fingerprint(dataset), split)).encode()).hexdigest()
    path = Path(cache_dir) / f"{name}.arrow"
    beside = path.with_suffix(".json")
    # An entry is whole only with its counts, which are written last.
    kept = tables.opened(path) if _read_counts(beside, counts) else None
    if kept is None:
        fresh = Counts()
        tables.write(chunks(dataset, loss_encode, split, fresh), path, f"encoded {split}")
        _write_counts(beside, fresh)
        _read_counts(beside, counts)
        kept = tables.opened(path)
    if kept is None:
        raise OSError(errno.EIO, "was written but does not read back the same", str(path))
    return kept


def _write_counts(path: Path, counts: Counts) -> None:
    """What a cache entry says of the rows that are not in it; whole or not at all."""
    with tempfile.NamedTemporaryFile("w", dir=path.parent, prefix=f".{path.stem[:16]}-", delete=False, encoding="utf-8") as aside:
        json.dump(vars(counts), aside)
    Path(aside.name).replace(path)


def _read_counts(path: Path, counts: Counts) -> bool:
    """Fill `counts` from what a cache entry says; whether it does."""
    try:
        kept = json.loads(path.read_text(encoding="utf-8"))
        counts.fill(Counts(Counter(kept["left_out"]), int(kept["answers"]), int(kept["tokens"])))
    except (OSError, ValueError, KeyError, TypeError):
        return False
    return True


def chunks(rows: Dataset, loss_encode: Encode, split: str, counts: Counts) -> Iterator[pa.Table]:
    """Encoded rows as Arrow tables, one for each thousand rows. UserError where every row is left out."""
    has_rows = False
    for start in range(0, len(rows), BATCH):
        batch = tables.to_rows(rows.select(range(start, min(start + BATCH, len(rows)))))
        encoded = counts.take(numbered(batch, loss_encode, split, start))
        if encoded:
            has_rows = True
            yield narrow(arrow.table(list(enumerate(encoded))))
    if not has_rows and counts.left_out:
        problems: list[Problem] = []
        for why, number in counts.left_out.items():
            problems.append(Problem(f"{split}: no row is left to encode: {number} of {len(rows)} are left out: {why}"))
        raise UserError(problems)


def encoder(loss: Loss, split: str) -> Encode:
    """How a loss encodes the rows of a split: those of train to learn from, others to be scored."""
    return loss.encode if split == "train" else loss.encode_to_score


def asked(loss: Loss, rows: Sequence[Row]) -> list[EncodedRow]:
    """Rows to be answered, encoded, each with the number of its row. `UserError` for an objective without answers."""
    if not loss.has_answers:
        raise UserError("this run's objective has no answers to give", "it scores or generates; see its README")
    encoded: list[EncodedRow] = []
    # One at a time, as a loss may make none or several of a row.
    for number, row in enumerate(rows):
        for question in loss.ask([row]):
            encoded.append(EncodedRow(**{**question, "row": number, "asked": True}))
    return encoded


def numbered(rows: Sequence[Row], loss_encode: Encode, split: str, start: int) -> list[EncodedRow]:
    """Encoded rows with `length`, and `row` counted from the beginning of the split.

    Args:
        start: the number of the first of the rows.
    """
    encoded: list[EncodedRow] = []
    with _named(split):
        for row in loss_encode(rows):
            encoded.append({**row})  # a copy, as more is written into it
    if any("input_ids" not in row and not row.get("left_out") for row in encoded):
        raise PluginError(f"Loss.encode gave a row of {split} without input_ids; it has: {', '.join(encoded[0])}")
    # A loss that makes one row of each need not say which is which.
    row_indices = [row.get("row") for row in encoded]
    if all(row_index is None for row_index in row_indices):
        if encoded and len(encoded) != len(rows):
            raise PluginError(
                f"Loss.encode made {len(encoded)} of {len(rows)} rows of {split} without saying in 'row' which they came from"
            )
        row_indices = list(range(len(encoded)))
    for row, row_index in zip(encoded, row_indices, strict=True):
        if not isinstance(row_index, int) or not 0 <= row_index < len(rows):
            raise PluginError(f"Loss.encode gave row={row_index!r} for {split}; rows count from 0 to {len(rows) - 1}")
        row["row"] = start + row_index
        row.setdefault("length", len(row.get("input_ids", ())))
    return encoded


@contextlib.contextmanager
def _named(split: str) -> Iterator[None]:
    """Say of which split the rows are that a loss refuses."""
    try:
        yield
    except UserError as error:
        raise UserError(dataclasses.replace(problem, what=f"{split}: {problem.what}") for problem in error.problems) from error


def narrow(table: pa.Table) -> pa.Table:
    """Token columns as int32, half the room; other columns as they are."""
    import pyarrow as pa
    import pyarrow.compute as pc

    for index, column in enumerate(table.schema):
        if column.type != pa.list_(pa.int64()):
            continue
        # Token ids fit; a loss may add columns of its own with larger numbers.
        ends = pc.min_max(pc.list_flatten(table.column(index))).as_py()
        if ends["min"] is None or (ends["min"] >= -(2**31) and ends["max"] < 2**31):
            table = table.set_column(index, column.name, table.column(index).cast(pa.list_(pa.int32())))
    return table


def cache_key(tokenizer: PreTrainedTokenizerBase, *parts: object) -> str:
    """A hash of all that encoding depends on, for `Loss.key`.

    Args:
        tokenizer: its vocabulary, rules, chat template and special tokens count.
        parts: texts, numbers, versions, or functions and modules (by their source).

    Returns:
        64 hex digits.
    """
    backend = getattr(tokenizer, "backend_tokenizer", None)
    vocabulary = backend.to_str() if backend is not None else json.dumps(tokenizer.get_vocab(), sort_keys=True)
    template = json.dumps(getattr(tokenizer, "chat_template", None), sort_keys=True)
    special = json.dumps({name: str(token) for name, token in tokenizer.special_tokens_map.items()}, sort_keys=True)
    sides = f"{tokenizer.padding_side}|{tokenizer.truncation_side}|{tokenizer.model_max_length}"
    digest = hashlib.sha256()
    # The length of each part before it, so that no two lists of parts give the same bytes.
    for part in (type(tokenizer).__name__, vocabulary, template, special, sides, *parts):
        text = inspect.getsource(part) if inspect.isroutine(part) or inspect.ismodule(part) else repr(part)
        digest.update(f"{len(text)}:{text}".encode())
    return digest.hexdigest()


def truncation(dataset: Dataset) -> tuple[int, int] | None:
    """Rows that were cut and tokens cut off them, from the column `cut` (tokens cut off a row) that encoders may add;
    None where there is no such column, which is not the same as nothing cut."""
    return _sum_counts(dataset, "cut") if "cut" in dataset.column_names else None


def whole_answers(dataset: Dataset, policy: str) -> Dataset:
    """The encoded rows under `--truncated-answers`: with `drop` only those whose answers are whole."""
    import numpy as np

    if policy != "drop" or "answer_cut" not in dataset.column_names:
        return dataset
    whole = np.flatnonzero(np.asarray(dataset.with_format("numpy")["answer_cut"][:]) == 0)
    return dataset if len(whole) == len(dataset) else dataset.select(whole)


def account(dataset: Dataset, counts: Counts, split: str, num_rows: int, policy: str) -> tuple[list[str], list[Problem]]:
    """What the user is told of rows that were left out or cut, and what is wrong: answers that are cut.

    Args:
        dataset: all encoded rows.
        num_rows: how many rows they were made of.
        policy: `--truncated-answers`, which may allow that answers are cut.
    """
    notes = [f"{split}: {number} of {num_rows} rows are left out: {why}" for why, number in counts.left_out.items()]
    num_cut, tokens_cut = truncation(dataset) or (0, 0)
    if num_cut:
        share = tokens_cut / max(1, tokens_cut + sum(dataset["length"]))
        notes.append(f"{split}: {num_cut} of {num_rows} rows are longer than the model takes and are cut ({share:.1%} of the "
                     "tokens); see --max-length")
    # Answers of which nothing fits are left out, others are cut: both are lost.
    num_answers = counts.answers
    num_tokens = counts.tokens
    if "answer_cut" in dataset.column_names:
        answers_cut, answer_tokens_cut = _sum_counts(dataset, "answer_cut")
        num_answers += answers_cut
        num_tokens += answer_tokens_cut
    if not num_answers:
        return notes, []
    what = (f"{split}: the answers of {num_answers} of {num_rows} rows are cut, as they are longer than the model takes "
            f"({num_tokens} tokens)")
    if policy == "error":
        return notes, [Problem(what, "allow more (--max-length, --model), or say what to do with them: leave the rows out, or "
                               "train on what is left of them", "--truncated-answers drop (or keep)")]
    used = "these rows are left out" if policy == "drop" else "what is left of them is used"
    return [*notes, f"{what}: {used}"], []


def _sum_counts(dataset: Dataset, column: str) -> tuple[int, int]:
    """Rows in which a column of counts is not zero, and its sum."""
    import numpy as np

    values = np.asarray(dataset.with_format("numpy")[column][:])
    return int((values > 0).sum()), int(values.sum())
