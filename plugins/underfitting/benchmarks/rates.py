"""False alarms and power of `underfitting` on made-up runs of two classes (guessing costs 0.693
nats).

    python plugins/underfitting/benchmarks/rates.py [--runs 1000]

Training rows cost what `gamma` draws around the mean of their look; the log has 40 lines with noise
of 0.05 nats.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
from datasets import Dataset

from ftp.settings import Settings
from ftp.types import Data, Evaluation, Run, Task
from ftp_underfitting import Underfitting

RUN = Run(Settings(), Task("labelled", "labels"), None, out=Path("runs/x"))  # type: ignore[arg-type]
DATA = Data({"train": Dataset.from_dict({"label": [0, 1] * 200})}, "labelled", ("bad", "good"))


def level(means: np.ndarray, rows: int, seed: int) -> tuple[str, str]:
    """The level, and what the finding speaks of."""
    dice = np.random.default_rng(seed)
    row_effects = dice.gamma(2.0, 0.5, size=rows)
    evaluations = []
    for index in range(4):
        noise = dice.gamma(2.0, 0.5, size=rows)
        losses = means[10 * index + 9] * (0.7 * row_effects + 0.3 * noise)
        mean = float(losses.mean())
        evaluations.append(Evaluation(50 * (index + 1), mean, (), mean, losses, losses))
    log = []
    for index, mean_loss in enumerate(means):
        noisy_loss = float(mean_loss + 0.05 * dice.normal())
        log.append({"event": "step", "step": 5 * (index + 1), "loss": noisy_loss})
    risk, = Underfitting().check_risks(RUN, "end", DATA, None, None, None, evaluations, log, ())
    return risk.level, "falls" if "more updates" in risk.finding else ""


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--runs", type=int, default=1000)
    runs = parser.parse_args().runs
    print("| training loss | rows | warn | note: still falling |\n| --- | --- | --- | --- |")
    shapes = (
        ("stays at 0.693", 0.693, 0),
        ("falls by 3 % and stays", 0.672, 20),
        ("falls by 20 % and stays", 0.554, 20),
        ("falls by half and stays", 0.346, 20),
        ("falls by half, straight to the end", 0.346, 0),
    )
    for name, end, flat in shapes:
        means = np.concatenate([np.linspace(0.693, end, 40 - flat), np.full(flat, end)])
        for rows in (50, 200, 500):
            num_warned = 0
            num_falling = 0
            for seed in range(runs):
                risk_level, topic = level(means, rows, seed)
                num_warned += risk_level == "warn"
                num_falling += topic == "falls"
            warned = num_warned / runs
            falls = num_falling / runs
            print(f"| {name} | {rows} | {warned:.1%} | {falls:.1%} |", flush=True)


if __name__ == "__main__":
    main()
