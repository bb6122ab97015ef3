"""What the risk checks of every run cost: processor seconds of each, by stage, in one run; and of scoring training rows again,
which core does at every evaluation for their sake.

python benchmarks/risks.py [--plugins lora,sentiment] [--epochs 3] [--data PATH] [--rows N]
"""

from __future__ import annotations

import argparse
import contextlib
import functools
import tempfile
import time
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import ftp
from ftp.plugins.declare import kind_of
from ftp.plugins.find import discover


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--plugins", default="lora,sentiment")
    parser.add_argument("--epochs", type=float, default=3.0)
    parser.add_argument("--data")
    parser.add_argument("--rows", type=int)
    asked = parser.parse_args()
    spent: dict[tuple[str, str], float] = defaultdict(float)
    for name, candidates in discover().items():
        if candidates[0].default and kind_of(cls := candidates[0].load()) == "risk":
            timed(name, cls, spent)
    time_train_sample(spent)
    options = {name: value for name, value in (("data", asked.data), ("max_train_rows", asked.rows)) if value is not None}
    started = time.process_time()
    with tempfile.TemporaryDirectory() as folder:
        ftp.run(asked.plugins.split(","), epochs=asked.epochs, out=Path(folder) / "run", **options)
    whole = time.process_time() - started
    for (name, stage), seconds in sorted(spent.items()):
        if seconds >= 0.005:
            print(f"{name:14} {stage:11} {seconds:6.2f} s")
    total = sum(spent.values())
    print(f"{'together':26} {total:6.2f} s of {whole:.1f} s of processor time in this process ({total / whole:.1%})")


@contextlib.contextmanager
def counted(spent: dict[tuple[str, str], float], key: tuple[str, str]) -> Iterator[None]:
    """Add the processor time of a block to `spent`, also where it raises."""
    started = time.process_time()
    try:
        yield
    finally:
        spent[key] += time.process_time() - started


def timed(name: str, cls: Any, spent: dict[tuple[str, str], float]) -> None:
    """Count the processor time of a check."""
    check = cls.check_risks

    @functools.wraps(check)
    def check_risks(self: Any, *arguments: Any, **named: Any) -> Any:
        stages = ("data", "start", "evaluation", "end")
        texts = [argument for argument in (*arguments, *named.values()) if isinstance(argument, str)]
        stage = next((text for text in texts if text in stages), "?")
        with counted(spent, (name, stage)):
            return check(self, *arguments, **named)

    cls.check_risks = check_risks


def time_train_sample(spent: dict[tuple[str, str], float]) -> None:
    """Count the processor time of scoring training rows as held-out rows are scored."""
    from ftp.evaluate import predict as module

    score_rows = module.predict

    @functools.wraps(score_rows)
    def predict(run: Any, model: Any, loss: Any, rows: Any, encoded: Any, split: str, *more: Any, **named: Any) -> Any:
        with counted(spent, ("training rows", "again")) if split == "train" else contextlib.nullcontext():
            return score_rows(run, model, loss, rows, encoded, split, *more, **named)

    module.predict = predict


if __name__ == "__main__":
    main()
