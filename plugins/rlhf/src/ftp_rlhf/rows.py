"""The two kinds of rows of a rollout, and how they become batches. Heavy: imports torch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch

from ftp.losses import TokenRow, tokens
from ftp.losses.sampling import Completion
from ftp.types import Batch, EncodedRow, Model
from ftp_rlhf.method import Columns


class PromptRow(EncodedRow, total=False):
    """A prompt up to where the assistant answers. `question`: the whole row as JSON, for rewards."""

    kind: Literal["prompt"]
    question: str


class CompletionRow(TokenRow, total=False):
    """A prompt with a completion, which is learnt. `old_logps`, `ref_logps`: of each of its tokens the log probability at the
    rollout and under the reference (empty without a divergence to hold). `columns`: what the method's `columns` gave.
    `is_kept`: whether it is learnt from. `metrics`: what is shown of it. `tokens_per_row`: mean length of the rollout's
    completions. All of it is plain numbers, lists and texts."""

    kind: Literal["completion"]
    old_logps: list[float]
    ref_logps: list[float]
    columns: Columns
    is_kept: bool
    metrics: dict[str, float]
    tokens_per_row: float


@dataclass(frozen=True)
class PromptBatch(Batch):
    """Prompts as they are, which `compute` and `answer` complete."""

    prompts: Sequence[PromptRow] = ()


def completion_row(prompt: EncodedRow, completion: Completion) -> CompletionRow:
    """A prompt with its completion as an encoded row of which the completion is trained."""
    ids = [*prompt["input_ids"], *completion.ids]
    return {"kind": "completion", "row": prompt["row"], "input_ids": ids, "spans": [len(prompt["input_ids"]), len(ids)],
            "length": len(ids)}


def batch_of_prompts(rows: Sequence[PromptRow]) -> PromptBatch:
    """Prompts as a batch that is completed where it is computed."""
    return PromptBatch({}, count=len(rows), rows=len(rows), tokens=sum(row["length"] for row in rows), prompts=rows)


def batch_of_completions(model: Model, rows: Sequence[CompletionRow], by_tokens: bool) -> Batch:
    """Completions laid out, with what the method reads of each of their tokens.

    Args:
        by_tokens: whether the loss is a mean over tokens, so that the batch counts those that are kept.
    """
    laid = tokens.collate(model, rows)
    device = laid.inputs["input_ids"].device
    token_numbers: dict[str, list[float]] = {name: [] for name in ("kept", "old_logps", "ref_logps", *rows[0]["columns"])}
    for row in rows:
        token_numbers["kept"] += [float(row["is_kept"])] * len(row["old_logps"])
        token_numbers["old_logps"] += row["old_logps"]
        token_numbers["ref_logps"] += row["ref_logps"]
        for name, numbers in row["columns"].items():
            token_numbers[name] += numbers
    num_kept = int(sum(token_numbers["kept"]))
    columns = {name: torch.tensor(numbers, device=device) for name, numbers in token_numbers.items()}
    beside = {
        "lengths": [len(row["old_logps"]) for row in rows],
        "kept": columns.pop("kept"),
        "old_logps": columns.pop("old_logps"),
        "ref_logps": columns.pop("ref_logps") if token_numbers["ref_logps"] else None,
        "columns": columns,
        "metrics": [row["metrics"] for row in rows],
        "tokens_per_row": torch.tensor([row["tokens_per_row"] for row in rows], device=device),
    }
    # a batch of which nothing is kept counts for one term of loss 0, as none would divide by zero
    count = max(1, num_kept) if by_tokens else len(rows)
    return Batch({**laid.inputs, **beside}, count=count, rows=len(rows), tokens=laid.tokens)
