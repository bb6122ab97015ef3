"""False alarms and power of `overfitting` on made-up histories, every look of each judged.

    python plugins/overfitting/benchmarks/rates.py [--runs 1000]

A row's loss is lognormal around the mean of its look (as skewed as losses are), part of it the
row's own, part new at each look; and each look as a whole is off by 3 % (standard deviation), as
checkpoints are.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
from datasets import Dataset

from ftp.settings import Settings
from ftp.types import Data, Evaluation, Run, Task
from ftp_overfitting import Overfitting

RUN = Run(Settings(), Task("labelled", "labels"), None, out=Path("runs/x"))  # type: ignore[arg-type]
DATA = Data({"train": Dataset.from_dict({"label": [0, 1] * 200})}, "labelled", ("bad", "good"))


def history(train: np.ndarray, held: np.ndarray, rows: int, seed: int) -> list[Evaluation]:
    dice = np.random.default_rng(seed)
    row_effects = [dice.normal(size=rows) for _ in range(2)]
    evaluations = []
    for index, means in enumerate(zip(train, held, strict=True)):
        losses = []
        for mean, effect in zip(means, row_effects, strict=True):
            shape = np.exp(0.8 * effect + 0.6 * dice.normal(size=rows) - 0.5)  # of mean 1
            losses.append(mean * shape * (1 + 0.03 * dice.normal()))
        train_losses, held_losses = losses
        evaluations.append(
            Evaluation(
                step=20 * (index + 1),
                loss=float(held_losses.mean()),
                train_loss=float(train_losses.mean()),
                losses=held_losses,
                train_losses=train_losses,
            )
        )
    return evaluations


def is_raised(evaluations: list[Evaluation]) -> bool:
    check = Overfitting()
    for count in range(1, len(evaluations) + 1):
        so_far = evaluations[:count]
        risk, = check.check_risks(RUN, "evaluation", DATA, None, None, so_far, [])
        if risk.level in ("warn", "stop"):
            return True
    return False


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--runs", type=int, default=1000)
    runs = parser.parse_args().runs
    print("| held-out loss over 12 looks | rows | raised |\n| --- | --- | --- |")
    falls = np.geomspace(0.6, 0.25, 12)
    shapes = {"flat at 0.35, training 0.30": (np.full(12, 0.30), np.full(12, 0.35)),
              "falling to 0.33, training to 0.25": (falls, np.geomspace(0.6, 0.33, 12))}
    for rise in (0.1, 0.2, 0.3, 0.5):
        held = np.concatenate(
            [np.geomspace(0.6, 0.4, 4), np.linspace(0.4, 0.4 * (1 + rise), 9)[1:]]
        )
        shapes[f"best 0.40 at look 4, then up by {rise:.0%}, training to 0.10"] = (
            np.geomspace(0.6, 0.1, 12),
            held,
        )
    for name, (train, held) in shapes.items():
        for rows in (50, 200, 500):
            count = sum(is_raised(history(train, held, rows, seed)) for seed in range(runs))
            print(f"| {name} | {rows} | {count / runs:.1%} |", flush=True)


if __name__ == "__main__":
    main()
