"""Public sets whose columns are their own, brought into columns that core reads."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ftp import forms
from ftp.types import Row

if TYPE_CHECKING:
    from datasets import Dataset

PUBMEDQA = {"question", "context", "long_answer", "label"}


def adapted(rows: Dataset, form: str) -> Dataset:
    """PubMedQA (Jin et al. 2019) for the form of a run: question and abstract as a pair whose class is yes, no or maybe; as a
    conversation that ends in the long answer; or the abstracts alone. Rows of any other set as they are."""
    if not set(rows.column_names or ()) >= PUBMEDQA:
        return rows
    spec = forms.get(form)
    if spec.of_kind("class"):
        return rows.rename_columns({"question": "text", "context": "text_pair"})
    if spec.is_whole and not spec.has_messages:
        return rows.rename_columns({"context": "text"}).remove_columns(["question", "label"])
    return rows.map(_as_prompt, remove_columns=["question", "context", "long_answer", "label"])


def _as_prompt(row: Row) -> dict[str, str]:
    return {"prompt": f"{row['context']}\n\n{row['question']}", "completion": row["long_answer"]}
