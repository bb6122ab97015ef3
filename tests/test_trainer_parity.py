"""The same weights, rows and seed give transformers.Trainer's losses, update for update."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

import ftp
from ftp.folder.log import read_log
from ftp_testing.models import tiny

WORDS = ("good", "bad", "film", "food", "never", "again", "the", "a", "was", "not", "very", "slow", "warm", "room", "staff")


@pytest.fixture(scope="module")
def rows(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """80 rows of words, of different lengths, whose label is whether `good` is in them."""
    import random

    draw = random.Random(3)
    folder = tmp_path_factory.mktemp("rows")
    for split, count in (("train", 80), ("validation", 16)):
        lines = []
        for number in range(count):
            words = [draw.choice(WORDS) for _ in range(draw.randint(3, 20))]
            lines.append(json.dumps({"text": " ".join(words) + f" {number}", "label": int("good" in words)}))
        (folder / f"{split}.jsonl").write_text("\n".join(lines))
    return folder


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny BERT without dropout: dropout masks are drawn in another order by every system."""
    folder = tiny("bert", tmp_path_factory.mktemp("bert"))
    config = json.loads((folder / "config.json").read_text())
    config.update(hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0, classifier_dropout=0.0)
    (folder / "config.json").write_text(json.dumps(config))
    return folder


@pytest.mark.parametrize("method", ["full", "lora"])
def test_twenty_updates_are_those_of_trainer(method: str, rows: Path, model: Path, tmp_path: Path) -> None:
    options: dict[str, Any] = dict(
        data=str(rows), model=str(model), out=tmp_path / "run", seed=5, precision="fp32", batch_size=8, epochs=2.0,
        learning_rate=1e-3, warmup_ratio=0.0, weight_decay=0.1, logging_steps=1, eval_steps=1000, baselines=False,
        verify=False, report=False, head_init="random", cache_dir=tmp_path / "cache")
    if method == "lora":
        options["lora"] = {"lora_dropout": 0.0, "r": 4}
    ftp.run([method, "sentiment"], **options)
    ours = [line["loss"] for line in read_log(tmp_path / "run" / "log.jsonl") if line["event"] == "step"]
    theirs = trainer_losses(method, options, tmp_path)
    assert len(ours) == len(theirs) == 20
    assert ours == pytest.approx(theirs, rel=1e-4)
    assert ours[0] != pytest.approx(ours[-1], rel=1e-2), "twenty updates must have changed something"


def trainer_losses(method: str, options: dict[str, Any], tmp_path: Path) -> list[float]:
    """transformers.Trainer on the network that ftp builds from these options, with the rows in ftp's order."""
    import torch
    from transformers import DataCollatorWithPadding, Trainer, TrainingArguments

    from ftp.data.collect import collect
    from ftp.data.encode import encode
    from ftp.data.updates import Stored
    from ftp.folder.log import Log
    from ftp.plugins.call import Hooks
    from ftp.plugins.plan import prepare
    from ftp.train.seeds import seed_step
    from ftp.types import Run

    prepared = prepare([method, "sentiment"], given=[("options", options)])
    run = Run(prepared.settings, prepared.task, Hooks(prepared.picked, prepared.values), tmp_path, Log(None, writer=False))
    data = collect(run)
    seed_step(prepared.settings.seed, 0, 0)
    built = run.hooks.one("build_model", run=run, data=data)
    loss = run.hooks.one("make_loss", run=run, data=data, model=built)
    encoded = encode(data.splits["train"], loss.encode, "train", key=loss.key, cache_dir=None)
    order: list[int] = []
    for rows in Stored(encoded, prepared.settings).updates(0, 0, 1):
        order += [int(row["row"]) for row in rows]
    fields = ["input_ids", "token_type_ids", "label"]
    dataset = encoded.select_columns([name for name in fields if name in encoded.column_names]).select(order)

    losses: list[float] = []

    class InOrder(Trainer):
        def _get_train_sampler(self, *_: Any) -> Any:
            return torch.utils.data.SequentialSampler(dataset)

        def training_step(self, *arguments: Any, **named: Any) -> Any:
            loss = super().training_step(*arguments, **named)
            losses.append(float(loss))  # Trainer's own log rounds to four digits
            return loss

    arguments = TrainingArguments(
        output_dir=str(tmp_path / "trainer"), per_device_train_batch_size=8, num_train_epochs=1, learning_rate=1e-3,
        weight_decay=0.1, logging_steps=1, report_to="none", save_strategy="no", disable_tqdm=True, use_cpu=True, seed=5)
    trainer = InOrder(model=built.net, args=arguments, train_dataset=dataset, processing_class=built.tokenizer,
                      data_collator=DataCollatorWithPadding(built.tokenizer))
    trainer.train()
    return losses
