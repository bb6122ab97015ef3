"""Tasks of EleutherAI's lm-eval (Gao et al. 2021), where it is installed: the same rows asked before and after."""

from __future__ import annotations

from collections.abc import Sequence
from importlib.util import find_spec
from typing import Any

from ftp import heads
from ftp.errors import UserError
from ftp.types import Model

METRICS = ("acc", "exact_match", "acc_norm", "f1")
"""Metrics of a row that are compared, the first that a task has."""


def check(tasks: Sequence[str], head: str) -> None:
    """`UserError` where these tasks could not be asked."""
    if find_spec("lm_eval") is None:
        raise UserError(f"--forgetting.lm_eval {','.join(tasks)}: lm-eval is not installed",
                        "install it, or leave the option out", "pip install lm-eval")
    if not heads.get(head).writes_text:
        raise UserError(f"--forgetting.lm_eval {','.join(tasks)}: these tasks ask a model that writes; the head of this run is "
                        f"'{head}'", "leave the option out: representations and probes are compared without it")


def ask(tasks: Sequence[str], model: Model, rows: int) -> dict[str, Any]:
    """{task: [rows] the task's metric of each row}. `UserError` for a task that lm-eval does not have."""
    import numpy as np
    from lm_eval import simple_evaluate
    from lm_eval.models.huggingface import HFLM

    training = model.net.training
    model.net.eval()
    try:
        net = HFLM(pretrained=model.net, tokenizer=model.tokenizer, batch_size=8)
        told = simple_evaluate(model=net, tasks=list(tasks), limit=rows, log_samples=True, bootstrap_iters=0)
    except KeyError as error:
        raise UserError(f"--forgetting.lm_eval {','.join(tasks)}: lm-eval has no task {error}",
                        "see: lm-eval ls tasks") from error
    finally:
        model.net.train(training)
    found = {}
    for task, samples in told["samples"].items():
        ordered = sorted(samples, key=lambda one: one["doc_id"])
        metric = next((name for name in METRICS if ordered and name in ordered[0]), None)
        if metric is not None:
            found[task] = np.array([float(one[metric]) for one in ordered])
    if not found:
        raise UserError(f"--forgetting.lm_eval {','.join(tasks)}: none of them scores row by row ({', '.join(METRICS)})",
                        "name tasks that do, such as hellaswag or arc_easy")
    return found
