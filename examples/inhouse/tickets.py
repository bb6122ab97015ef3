"""A domain as an organisation would keep it in its own repository: one file, not packaged, not published.

    ftp run --plugins lora --plugins-from examples/inhouse/tickets.py:Tickets

Support tickets of a company that rents out tills, and the queue that each belongs to. Beside reading rows and counting
right answers it brings what only this company knows: what a mistake costs, and that tickets hold personal data.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ftp import hookimpl, option, plugin
from ftp.types import Data, Predictions, Risk, Run, Score

SAMPLE = Path(__file__).parent / "tickets.csv"
PERSONAL = {
    "e-mail": re.compile(r"[\w.+-]+@[\w-]+\.\w[\w.]*"),
    "telephone": re.compile(r"\+\d[\d ()/-]{7,}\d"),
    "IBAN": re.compile(r"\b[A-Z]{2}\d{2}(?: ?\w{4}){3,7}\b"),
}


@plugin(
    gives=("labelled", "text"),
    suggests={"group_column": "customer", "validation_share": 0.3, "batch_size": 16, "epochs": 8},
)
class Tickets:
    """Send support tickets to the right queue: billing, hardware, howto or login."""

    forward_minutes: float = option(5, "minutes lost when a ticket lands in a wrong queue", low=0)
    hardware_minutes: float = option(45, "minutes lost when it was about hardware: that shop cannot sell", low=0)

    @hookimpl
    def load_data(self, run: Run) -> Mapping[str, Any]:
        """The sample, or the company's own export (--data). Tickets of one customer stay on one side of the cut."""
        from ftp.data import load

        return load(run, SAMPLE, form="labelled", columns={"label": "queue"})

    @hookimpl
    def evaluate(self, data: Data, predictions: Mapping[str, Predictions]) -> list[Score]:
        """Accuracy, and what the mistakes cost: minutes lost a ticket."""
        scores = []
        for split, predicted in predictions.items():
            if not predicted.answers or "label" not in predicted.rows.column_names:
                continue  # tickets read as plain text
            truth = [data.labels[number] for number in predicted.rows["label"]]
            answers = [data.labels[answer.answer] for answer in predicted.answers]
            lost = [self._minutes(right, answer) for right, answer in zip(truth, answers, strict=True)]
            scores.append(Score("accuracy", sum(a == b for a, b in zip(truth, answers, strict=True)) / len(truth), "max", split))
            scores.append(Score("minutes_lost", sum(lost) / len(lost), "min", split))
        return scores

    def _minutes(self, right: str, answer: str) -> float:
        if right == answer:
            return 0.0
        return self.hardware_minutes if right == "hardware" else self.forward_minutes

    @hookimpl
    def check_risks(self, run: Run, stage: str, data: Data) -> list[Risk]:
        """Whether training rows hold personal data, which a model can remember and give away."""
        if stage != "data":
            return []
        rows = data.splits["train"]
        if not hasattr(rows, "num_rows") or not len(rows):
            return [Risk("personal-data", "not_run", "training rows are streamed, or there are none: nobody has looked at them")]
        rows_of = {kind: [number for number, text in enumerate(rows["text"]) if pattern.search(text)]
                   for kind, pattern in PERSONAL.items()}
        hit = sorted({number for numbers in rows_of.values() for number in numbers})
        evidence = {"rows": len(rows), **{kind: numbers[:10] for kind, numbers in rows_of.items() if numbers}}
        if not hit:
            return [Risk("personal-data", "ok", f"no e-mail address, telephone number or IBAN in {len(rows)} tickets", evidence)]
        return [Risk("personal-data", "warn", f"{len(hit)} of {len(rows)} training tickets hold personal data: mask them in the "
                     "export, and run again", evidence, (run.command("--rows", 20, of="data preview"),))]
