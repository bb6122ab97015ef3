"""Rows -> token ids, once: kept as Arrow under a key that says everything they hang on, and mapped back."""

from __future__ import annotations

import hashlib
import inspect
import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ftp.data import tables
from ftp.data.fingerprint import fingerprint
from ftp.errors import PluginError
from ftp.types import Row

if TYPE_CHECKING:
    import pyarrow as pa
    from datasets import Dataset
    from transformers import PreTrainedTokenizerBase

BATCH = 1000

Encode = Callable[[Iterable[Row], str], Iterable[dict[str, Any]]]


def encode(dataset: Dataset, loss_encode: Encode, split: str, *, key: str, cache_dir: Path | None = None) -> Dataset:
    """The rows of `dataset` as `Loss.encode` gives them, with `length` (tokens) and `row` (the row it came from).

    `loss_encode` is given 1000 rows at a time. Where it makes none or several of a row, it says in `row` which of the
    rows it was given each belongs to, counted from 0; that becomes the place in `dataset`. `key`: see `cache_key`.
    `cache_dir`: where the encoded rows are kept, under a hash of key, content of the rows and split; None keeps them
    in memory or a temporary file. A damaged entry is made again; processes that race end with the same entry.
    PluginError for encoded rows that do not keep to the contract.
    """
    if cache_dir is None:
        return tables.dataset(chunks(dataset, loss_encode, split), told=f"encoded {split}")
    name = hashlib.sha256("|".join((key, fingerprint(dataset), split)).encode()).hexdigest()
    path = Path(cache_dir) / f"{name}.arrow"
    kept = tables.opened(path)
    if kept is None:
        tables.write(chunks(dataset, loss_encode, split), path, f"encoded {split}")
        kept = tables.opened(path)
    if kept is None:
        raise OSError(f"{path} was written but does not read back the same; check the disk")
    return kept


def chunks(rows: Dataset, loss_encode: Encode, split: str) -> Iterator[pa.Table]:
    """Encoded rows as Arrow tables, one for each thousand rows."""
    for start in range(0, len(rows), BATCH):
        given = rows.select(range(start, min(start + BATCH, len(rows)))).to_list()
        made = numbered(given, loss_encode, split, start)
        if made:
            yield narrow(tables.table(list(enumerate(made))))


def numbered(given: Sequence[Row], loss_encode: Encode, split: str, start: int) -> list[dict[str, Any]]:
    """Encoded rows with `length`, and `row` counted from the beginning of the split."""
    made = [dict(row) for row in loss_encode(given, split)]
    if any("input_ids" not in row for row in made):
        raise PluginError(f"Loss.encode gave a row of {split} without input_ids; it has: {', '.join(made[0])}")
    said = [row.get("row") for row in made]
    if all(place is None for place in said):
        if made and len(made) != len(given):
            raise PluginError(
                f"Loss.encode made {len(made)} of {len(given)} rows of {split} without saying in 'row' which they came from"
            )
        said = list(range(len(made)))
    for row, place in zip(made, said, strict=True):
        if not isinstance(place, int) or not 0 <= place < len(given):
            raise PluginError(f"Loss.encode gave row={place!r} for {split}; rows count from 0 to {len(given) - 1}")
        row["row"] = start + place
        row.setdefault("length", len(row["input_ids"]))
    return made


def narrow(found: pa.Table) -> pa.Table:
    """Token columns as int32, half the room; other columns as they are."""
    import pyarrow as pa
    import pyarrow.compute as pc

    for place, field in enumerate(found.schema):
        if field.type == pa.list_(pa.int64()):
            ends = pc.min_max(pc.list_flatten(found.column(place))).as_py()
            if ends["min"] is None or (ends["min"] >= -(2**31) and ends["max"] < 2**31):
                found = found.set_column(place, field.name, found.column(place).cast(pa.list_(pa.int32())))
    return found


def cache_key(tokenizer: PreTrainedTokenizerBase, *parts: object) -> str:
    """A hash of all that encoding hangs on: the tokenizer (vocabulary, rules, chat template, special tokens) and
    `parts`: texts, numbers, versions, or functions and modules (by their source)."""
    backend = getattr(tokenizer, "backend_tokenizer", None)
    vocabulary = backend.to_str() if backend is not None else json.dumps(tokenizer.get_vocab(), sort_keys=True)
    template = json.dumps(getattr(tokenizer, "chat_template", None), sort_keys=True)
    special = json.dumps({name: str(token) for name, token in tokenizer.special_tokens_map.items()}, sort_keys=True)
    sides = f"{tokenizer.padding_side}|{tokenizer.truncation_side}|{tokenizer.model_max_length}"
    found = hashlib.sha256()
    for part in (type(tokenizer).__name__, vocabulary, template, special, sides, *parts):
        text = inspect.getsource(part) if inspect.isroutine(part) or inspect.ismodule(part) else repr(part)
        found.update(f"{len(text)}:{text}".encode())
    return found.hexdigest()


def truncation(dataset: Dataset) -> tuple[int, int] | None:
    """Rows that were cut and tokens cut off them, from the column `cut` (tokens cut off a row) that encoders may add;
    None where there is no such column, which is not the same as nothing cut."""
    import numpy as np

    if "cut" not in dataset.column_names:
        return None
    cut = np.asarray(dataset.with_format("numpy")["cut"][:])
    return int((cut > 0).sum()), int(cut.sum())
