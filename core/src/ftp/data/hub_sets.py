"""Data sets in the layout of the library `datasets`: from the hub, or a folder that `save_to_disk` wrote."""

from __future__ import annotations

import copy
import json
import re
from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING

from ftp.data import split_files
from ftp.data.readers import DataFile
from ftp.errors import UserError
from ftp.host.quiet import without_progress_bars

if TYPE_CHECKING:
    from datasets import Dataset

    from ftp.data.row_types import Rows


def _require_small_tables(file: DataFile) -> None:
    """UserError where the tables of a saved data set are compressed and grow too large, since they are opened all at once."""
    import pyarrow as pa

    from ftp.data.readers import archives, growth

    # `datasets` lists the tables of each split in the state.json beside them.
    for state in sorted(file.path.rglob("state.json")):
        for entry in json.loads(state.read_text(encoding="utf-8"))["_data_files"]:
            tables_file = replace(file, path=state.parent / entry["filename"])
            limit = archives.limit_of(tables_file)
            with pa.OSFile(str(tables_file.path)) as source:
                if growth.decompressed_size(source) > limit:
                    raise archives.too_large(tables_file, limit)


def from_disk(file: DataFile, splits: Mapping[str, str], streaming: bool) -> dict[str, Rows]:
    """The splits of a folder that `save_to_disk` wrote."""
    from datasets import Dataset, load_from_disk

    path = file.path
    try:
        _require_small_tables(file)
        loaded = load_from_disk(str(path))
    except UserError:
        raise
    except Exception as error:
        raise UserError(f"{path} looks like a saved data set, but cannot be loaded: {error}") from None
    from ftp.data.readers.columnar import require_whole

    # One data set lies in the folder itself, several lie in a folder each.
    parts: dict[str, Dataset]
    if isinstance(loaded, Dataset):
        require_whole(loaded.data.table, f"{path}")
        parts = {"train": loaded}
    else:
        parts = dict(loaded)
        for name, rows in parts.items():
            require_whole(rows.data.table, f"{path / name}")
    named = _named(parts, splits, str(path))
    if streaming:
        return {split: rows.to_iterable_dataset() for split, rows in named.items()}
    return named


def _exact(rows: Rows) -> Rows:
    """The rows with JSON columns that lose no digit (see `json_column`)."""
    from datasets import Dataset

    from ftp.data.json_column import typed

    if rows.features is None or (features := typed(rows.features)) == rows.features:
        return rows
    if not isinstance(rows, Dataset):
        return rows.cast(features)
    exact = copy.deepcopy(rows)  # as `Dataset.with_format` does; `Dataset.cast` would write the rows anew
    exact.info.features = features
    return exact


def _named(parts: Mapping[str, Rows], splits: Mapping[str, str], source_name: str) -> dict[str, Rows]:
    """Parts under our split names; parts under no such name are left out."""
    named: dict[str, Rows] = {}
    for split, names in split_files.SPLITS.items():
        candidates = (splits[split],) if split in splits else names
        present = [name for name in candidates if name in parts]
        if present:
            named[split] = _exact(parts[present[0]])
        elif split in splits:
            raise UserError(f"{source_name} has no split '{splits[split]}'; it has: {', '.join(parts)}")
    if not named:
        # A set that is one part under any name is what there is to train on.
        if len(parts) != 1:
            raise UserError(f"{source_name} has the splits {', '.join(parts)}", "say which is train with splits=train=NAME")
        named["train"] = _exact(next(iter(parts.values())))
    return named


def from_hub(source: str, splits: Mapping[str, str], streaming: bool, revision: str | None) -> dict[str, Rows]:
    """The splits of `org/name` or `org/name:config`, from the hub or the cache of the library `datasets`."""
    from datasets import load_dataset

    name, _, config = source.partition(":")
    try:
        with without_progress_bars():
            loaded = load_dataset(name, config or None, revision=revision, streaming=streaming)
    # The library raises many kinds of errors; their words tell a missing network from a wrong name.
    except Exception as error:
        text = f"{type(error).__name__}: {error}"
        if re.search(r"offline|connect|resolve|network|timed? ?out|couldn't reach|proxy|max retries", text, re.IGNORECASE):
            raise UserError(
                f"the data set {name} is not on this machine and the hub cannot be reached ({text:.200})",
                "go online once (it is then kept in the cache), or download it and give the file or folder",
                f"hf download {name} --repo-type dataset --local-dir {name.split('/')[-1]}",
            ) from None
        if re.search(r"config", text, re.IGNORECASE):
            raise UserError(f"{source}: {error}", f"name the configuration: {name}:CONFIG") from None
        raise UserError(
            f"{source} is no file or folder here, and the hub does not give it as a data set ({text:.300})",
            "check the spelling, your access (hf auth login), or give a file or folder",
        ) from None
    return _named(loaded, splits, source)
