"""Tasks of EleutherAI's lm-eval (Gao et al. 2021), where it is installed.

The same rows are asked before and after.
"""

from __future__ import annotations

from collections.abc import Sequence
from importlib.util import find_spec
from typing import TYPE_CHECKING

from ftp import UserError, heads
from ftp.types import Model, Row

if TYPE_CHECKING:
    from ftp_forgetting.intervals import Numbers

METRICS = ("acc", "exact_match", "acc_norm", "f1")
"""Metrics of a row that are compared, the first that a task has."""


def check(tasks: Sequence[str], head: str) -> None:
    """Check that these tasks can be asked.

    Raises:
        UserError: lm-eval is not installed, or the model does not write.
    """
    flag = f"--forgetting.lm_eval {','.join(tasks)}"
    if find_spec("lm_eval") is None:
        raise UserError(
            f"{flag}: lm-eval is not installed",
            "install it, or leave the option out",
            "ftp install --exact lm-eval",
        )
    if not heads.get(head).writes_text:
        raise UserError(
            f"{flag}: these tasks ask a model that writes; the head of this run is '{head}'",
            "leave the option out: representations and probes are compared without it",
        )


def ask(tasks: Sequence[str], model: Model, rows: int) -> dict[str, Numbers]:
    """Ask the model some rows of each task, and give {task: [rows] the task's metric of each row}.

    Raises:
        UserError: lm-eval does not have a task, or no task scores row by row.
    """
    import numpy as np
    from lm_eval import simple_evaluate
    from lm_eval.models.huggingface import HFLM

    from ftp.model import evaluating

    flag = f"--forgetting.lm_eval {','.join(tasks)}"
    with evaluating(model.net):
        try:
            net = HFLM(pretrained=model.net, tokenizer=model.tokenizer, batch_size=8)
            results = simple_evaluate(
                model=net, tasks=list(tasks), limit=rows, log_samples=True, bootstrap_iters=0
            )
        except KeyError as error:
            problem = f"{flag}: lm-eval has no task {error}"
            raise UserError(problem, "see: lm-eval ls tasks") from error
    scores = {}
    for task, samples in results["samples"].items():
        ordered = sorted(samples, key=lambda sample: sample["doc_id"])
        metric = _metric_of(ordered)
        if metric is not None:
            scores[task] = np.array([float(sample[metric]) for sample in ordered])
    if not scores:
        raise UserError(
            f"{flag}: none of them scores row by row ({', '.join(METRICS)})",
            "name tasks that do, such as hellaswag or arc_easy",
        )
    return scores


def _metric_of(samples: Sequence[Row]) -> str | None:
    if not samples:
        return None
    return next((name for name in METRICS if name in samples[0]), None)
