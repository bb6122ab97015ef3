"""A domain of its own for the tests of whole runs: rows made up from words, and what a test wants to happen on the way."""

from __future__ import annotations

import dataclasses
import os
import random
import sys
import time
from typing import Any

from ftp import hookimpl, option, plugin
from ftp.types import Score, Step

# words that the tiny tokenizer has whole
GOOD = ["joy", "first"]
BAD = ["not", "bill"]
OTHER = ["the", "film", "soup", "was", "a", "and", "of", "in", "on", "day", "new", "bank", "about", "four", "more", "than"]

if os.environ.get("RANK", "0") != "0" and "TEST_WRITES" in os.environ:  # write down what another rank than 0 writes, and where
    write_log = os.open(os.environ["TEST_WRITES"], os.O_WRONLY | os.O_CREAT | os.O_APPEND)

    def writes(event: str, arguments: tuple[Any, ...]) -> None:
        writing = event == "open" and isinstance(arguments[2], int) and arguments[2] & (os.O_WRONLY | os.O_RDWR)
        if writing or event in ("os.rename", "os.mkdir", "os.remove", "os.truncate"):
            os.write(write_log, f"{event} {arguments[0]}\n".encode())

    sys.addaudithook(writes)
    os.write(write_log, b"watching\n")


@plugin(gives=("labelled", "text"))
class Reviews:
    """Made-up sentences, praise or complaint."""

    rows: int = option(41, "training rows", low=1)
    fail: str = option("", "what happens: `nan` or `infinite` at update 4, `die` (rank 1 at update 3)")

    @hookimpl
    def load_data(self) -> Any:
        from datasets import Dataset

        def draw_rows(count: int, seed: int) -> Dataset:
            dice = random.Random(seed)
            labels = [dice.randrange(2) for _ in range(count)]
            texts = []
            for label in labels:
                words = dice.choices(OTHER, k=dice.randrange(1, 6))
                texts.append(" ".join([*words, *dice.choices(GOOD if label else BAD, k=3)]))
            return Dataset.from_dict({"text": texts, "label": labels})

        train = draw_rows(self.rows, 1)
        return {
            "train": train.to_iterable_dataset() if self.stream else train,
            "validation": draw_rows(13, 2),
            "test": draw_rows(11, 3),
        }

    @hookimpl(wrapper=True)
    def make_loss(self) -> Any:
        from ftp.losses import wrapped

        loss = yield

        def compute(batch: Any) -> Any:
            import torch

            out = loss.compute(batch)
            if torch.is_grad_enabled() and batch.count and self.updates == 4:
                if self.fail == "nan":
                    return dataclasses.replace(out, total=out.total * float("nan"))
                if self.fail == "infinite":
                    out.total.register_hook(lambda gradient: gradient * float("inf"))
            return out

        return wrapped(loss, compute=compute) if self.fail else loss

    stream: bool = option(False, "give the training rows as a stream")
    wait: float = option(0.0, "seconds before each update", low=0)
    updates: int = dataclasses.field(default=0, init=False, repr=False)

    @hookimpl(wrapper=True)
    def train_step(self) -> Any:
        sys.audit("moment", "an update begins")
        self.updates += 1
        time.sleep(self.wait)
        return (yield)

    @hookimpl
    def on_event(self, event: Any) -> None:
        sys.audit("moment", f"event {type(event).__name__} {event.step}")
        if self.fail == "die" and os.environ.get("RANK") == "1" and isinstance(event, Step) and event.step == 3:
            print("rank one has had enough", file=sys.stderr, flush=True)
            os._exit(13)

    @hookimpl
    def evaluate(self, predictions: Any) -> list[Score]:
        scores = []
        for split, predicted in predictions.items():
            if "label" not in predicted.rows.column_names:  # read as plain text
                continue
            right = [answer.answer == label for answer, label in zip(predicted.answers, predicted.rows["label"], strict=True)]
            scores.append(Score("accuracy", sum(right) / len(right), "max", split))
        return scores
