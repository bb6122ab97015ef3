"""Run folders written by hand, for tests of what is read from them."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ftp.folder import paths
from ftp.folder.files import Folder
from ftp.types import Baseline, Risk, Score

EVIL = "<script>alert('x')</script><b onclick=\"x\">&amp;</b>"
"""What must come out of the page as text, wherever it goes in."""

RISKS = (
    Risk(
        "leakage",
        "stop",
        f"12% of test is in train, such as {EVIL}",
        {"rows": {"train": 80, EVIL: 2}},
        (f"ftp data clean {EVIL}",),
        "data",
    ),
    Risk(
        "forgetting",
        "warn",
        "general text costs more",
        {"before": {"news": 3.1}, "after": {"news": 3.9}, "kl": 0.2},
        ("less",),
        "end",
    ),
    Risk(
        "overfitting",
        "ok",
        "nothing",
        {"trend": {"low": -0.1, "high": 0.2}, "steps": list(range(100))},
        (),
        "end",
    ),
    Risk("preflight", "not_run", "no row was seen", {}, (), "start"),
)


def make(
    path: Path,
    *,
    steps: int = 40,
    classes: int = 2,
    risks: Sequence[Risk] = RISKS,
    status: str = "finished",
    rows: int = 60,
    accuracy: float = 0.8,
) -> Path:
    """A run of `steps` updates on `rows` test rows; the name of its first class is evil."""
    path.mkdir(parents=True)
    labels = [EVIL, *(f"class {number}" for number in range(1, classes))]
    folder = Folder(path)
    folder.write_recipe('plugins = ["lora", "sentiment"]\nseed = 0\n')
    folder.write_lock(
        [
            {
                "name": "leakage",
                "distribution": "ftp-leakage",
                "version": "1.2.3",
                "sha256": "0",
                "kind": "risk",
                "summary": "Look for rows in two splits.",
            }
        ]
    )
    folder.write_facts(
        status=status,
        plugins=["lora"],
        labels=labels,
        best_step=steps // 2,
        steps=steps,
        seconds=12.0,
        trained=10,
        total=100,
        model="tiny",
        device="cpu",
        reason="the schedule is done",
    )
    folder.write_scores(
        [Score("accuracy", accuracy, "max", "test", rows), Score("loss", 0.4, "min", "test", rows)],
        [Baseline("majority class", "accuracy", 0.5, "test", rows)],
    )
    folder.write_risks(risks)
    folder.write_data(
        {
            "train": {
                "rows": 80,
                "classes": dict.fromkeys(labels, 40),
                "length": {
                    "min": 1,
                    "median": 5.0,
                    "p95": 9.0,
                    "max": 11,
                    "histogram": {"edges": [0, 4, 8, 12], "counts": [10, 50, 20]},
                },
            },
            "general": {"streamed": True},
        }
    )
    folder.write_examples(
        [
            {
                "split": "test",
                "row": 3,
                "loss": 2.1,
                "answer": labels[0],
                "label": labels[-1],
                "sure": 0.97,
                "parts": [["text", f"a row with {EVIL}"], ["topic", "films"]],
            }
        ]
    )
    predictions = []
    for row in range(rows):
        answer = row % 7 % classes
        scores = [0.1 / max(1, classes - 1)] * classes
        scores[answer] = 0.9
        predictions.append(
            {
                "row": row,
                "loss": 0.3,
                "answer": labels[answer],
                "label": labels[row % classes],
                "scores": scores,
            }
        )
    folder.write_predictions("test", predictions)
    write_log(path, steps)
    return path


def write_log(path: Path, steps: int) -> None:
    """Curves with noise: updates, and an evaluation every tenth of the way."""
    lines: list[dict[str, Any]] = [{"event": "started", "step": 0, "total": steps}]
    for step in range(1, steps + 1):
        loss = 0.7 * math.exp(-3 * step / steps) + 0.05 * math.sin(step * 12.9898)
        lines.append(
            {
                "event": "step",
                "step": step,
                "loss": loss,
                "grad_norm": 1.0 + loss,
                "learning_rate": 1e-4 * (1 - step / steps),
                "tokens_per_second": 2000.0 + step % 7,
                "memory": 10**9,
            }
        )
        if step % max(1, steps // 10) == 0:
            lines.append(
                {
                    "event": "evaluation",
                    "step": step,
                    "train_loss": loss,
                    "validation_loss": loss + 0.1,
                    "accuracy": 0.7,
                    "logps/chosen": -128.09 + step / steps / 1000,
                    "bands": {
                        "train_loss": [loss - 0.1, loss + 0.1],
                        "validation_loss": [loss, loss + 0.2],
                    },
                }
            )
    lines.append({"event": "told", "step": steps, "message": f"told {EVIL}"})
    (path / paths.LOG).write_text("".join(json.dumps(line) + "\n" for line in lines))
