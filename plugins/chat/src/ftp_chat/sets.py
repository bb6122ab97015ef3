"""Public sets whose columns or blanks are their own, brought into what core reads."""

from __future__ import annotations

from typing import Any

NO_INPUT = frozenset({"no input", "no input.", "<noinput>", "noinput", "n/a", "none", "nan", "not applicable"})
"""What sets in Alpaca's form write into `input` where there is none."""


def adapted(rows: Any) -> Any:
    """MT-Bench's `turns` (Zheng et al. 2023) as a prompt, the first turn; Alpaca's words for no input as none. Rows of any other
    set as they are."""
    have = set(rows.column_names or ())
    if "turns" in have and not have & {"prompt", "messages"}:
        return rows.map(_first, remove_columns=["turns"])
    if {"instruction", "input", "output"} <= have:
        return rows.map(_blank)
    return rows


def _first(row: dict[str, Any]) -> dict[str, Any]:
    return {"prompt": row["turns"][0]}


def _blank(row: dict[str, Any]) -> dict[str, Any]:
    return {"input": "" if (row["input"] or "").strip().lower() in NO_INPUT else row["input"]}
