"""Public sets whose columns or blanks are their own, brought into what core reads."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ftp.types import Row

if TYPE_CHECKING:
    from datasets import Dataset

NO_INPUT = frozenset({"no input", "no input.", "<noinput>", "noinput", "n/a", "none", "nan", "not applicable"})
"""What sets in Alpaca's form write into `input` where there is none."""


def adapted(rows: Dataset) -> Dataset:
    """MT-Bench's `turns` (Zheng et al. 2023) as a prompt, the first turn; Alpaca's words for no input as none. Rows of any other
    set as they are."""
    columns = set(rows.column_names or ())
    if "turns" in columns and not columns & {"prompt", "messages"}:
        return rows.map(_first_turn, remove_columns=["turns"])
    if {"instruction", "input", "output"} <= columns:
        return rows.map(_without_placeholder)
    return rows


def _first_turn(row: Row) -> dict[str, str]:
    return {"prompt": row["turns"][0]}


def _without_placeholder(row: Row) -> dict[str, str]:
    text = row["input"] or ""
    return {"input": "" if text.strip().lower() in NO_INPUT else text}
