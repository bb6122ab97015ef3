"""ftp beside transformers.Trainer + peft: the same rows, weights and hyper-parameters; SST-2, LoRA and full.

    python benchmarks/trainer.py --data DIR [--rows 2048] [--epochs 1] [--seeds 5] [--methods lora,full] [--out FILE.json]

DIR holds sst2/train.jsonl.xz and sst2/test.jsonl.xz (text, label). Each measurement is a process of its own with one
thread. The systems of a seed run side by side and take turns of eight updates, so that a machine whose speed drifts is
fair to all. Time is the training loop alone, in CPU seconds of the process: from the first update to the last, without
loading, encoding and evaluation. `ftp-grouped` is ftp with every epoch's batches made of rows of like length.
"""

from __future__ import annotations

import argparse
import json
import lzma
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import ftp
from ftp.types import Event, Started, Step

MODEL = "sentence-transformers/all-MiniLM-L6-v2"
RATE = {"lora": 5e-4, "full": 5e-5}
SYSTEMS = ("ftp", "trainer", "trainer-best")
BATCH, WARMUP, LENGTH = 32, 0.06, 128
TURN = 8
"""Updates that a system does before it is the next one's turn."""
LORA = {"r": 16, "lora_alpha": 32, "lora_dropout": 0.05}


def take_turns() -> None:
    """Let the others do their updates."""
    print("\nTURN", flush=True)
    sys.stdin.readline()


@ftp.plugin(kind="extra")
class Clock:
    """CPU seconds of training."""

    @ftp.hookimpl
    def on_event(self, event: Event) -> None:
        if isinstance(event, Started):
            take_turns()
            self.begun = time.process_time()
        if isinstance(event, Step):
            Path(os.environ["BENCH_CLOCK"]).write_text(str(time.process_time() - self.begun))
            take_turns()


def grouped(lengths: Any, *, batch_size: int, seed: int, epoch: int, **_: Any) -> list[Any]:
    """What `ftp.data.batches.plan` is replaced by in `ftp-grouped`: Trainer's own group_by_length."""
    import numpy as np
    import torch
    from transformers.trainer_pt_utils import get_length_grouped_indices

    generator = torch.Generator().manual_seed(1000 * seed + epoch)
    order = np.array(get_length_grouped_indices(list(lengths), batch_size, generator=generator))
    return [order[start : start + batch_size] for start in range(0, len(order), batch_size)]


def prepare(source: Path, rows: int, folder: Path) -> None:
    """A fixed part of SST-2: `rows` for training, 256 for validation, all of test."""
    import random

    for split in ("train", "test"):
        with lzma.open(source / "sst2" / f"{split}.jsonl.xz", "rt", encoding="utf-8") as file:
            kept = [{key: row[key] for key in ("text", "label")} for row in map(json.loads, file)]
        if split == "train":
            random.Random(0).shuffle(kept)
            parts = {"train": kept[:rows], "validation": kept[rows : rows + 256]}
        else:
            parts = {"test": kept}
        for name, part in parts.items():
            (folder / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in part), encoding="utf-8")


def run_ftp(method: str, seed: int, epochs: int, folder: Path, work: Path, by_length: bool) -> dict[str, float]:
    from ftp.data import batches

    if by_length:
        batches.plan = grouped
    os.environ["BENCH_CLOCK"] = str(work / "clock")
    options = {"lora": LORA} if method == "lora" else {}
    result = ftp.run(
        [method, "sentiment", "-leakage", "-overfitting", "-underfitting"], plugins_from=(f"{__file__}:Clock",),
        data=str(folder), model=MODEL, seed=seed, out=work / "run", epochs=epochs, batch_size=BATCH,
        learning_rate=RATE[method], warmup_ratio=WARMUP, max_length=LENGTH, weight_decay=0.0, eval_steps=10**6,
        logging_steps=TURN, baselines=False, verify=False, **options)
    return {"seconds": float((work / "clock").read_text()), "accuracy": result.score("accuracy", "test")}


def run_trainer(method: str, seed: int, epochs: int, folder: Path, work: Path, best: bool) -> dict[str, float]:
    import transformers
    from datasets import load_dataset
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForSequenceClassification, AutoTokenizer, Trainer, TrainingArguments

    from ftp_starter import minilm

    transformers.set_seed(seed)
    base = str(minilm().folder)
    tokenizer = AutoTokenizer.from_pretrained(base)
    model = AutoModelForSequenceClassification.from_pretrained(base, num_labels=2)
    if method == "lora":
        model = get_peft_model(model, LoraConfig(**LORA, target_modules="all-linear", modules_to_save=["classifier"]))
    files = {name: str(folder / f"{name}.jsonl") for name in ("train", "test")}
    data = load_dataset("json", data_files=files, cache_dir=str(work / "cache"))
    data = data.map(lambda rows: tokenizer(rows["text"], truncation=True, max_length=LENGTH), batched=True, remove_columns="text")

    class Clocked(Trainer):
        updates = 0

        def training_step(self, *args, **kwargs):  # type: ignore[no-untyped-def]
            if self.updates % TURN == 0:
                take_turns()
            if self.updates == 0:
                self.begun = time.process_time()
            self.updates += 1
            return super().training_step(*args, **kwargs)

    arguments = TrainingArguments(
        output_dir=str(work / "run"), per_device_train_batch_size=BATCH, num_train_epochs=epochs, learning_rate=RATE[method],
        warmup_steps=WARMUP, seed=seed, report_to="none", save_strategy="no", disable_tqdm=True, use_cpu=True,
        logging_steps=10**6, **({"bf16": True, "train_sampling_strategy": "group_by_length"} if best else {}))
    trainer = Clocked(model=model, args=arguments, train_dataset=data["train"], processing_class=tokenizer)
    trainer.train()
    seconds = time.process_time() - trainer.begun
    output = trainer.predict(data["test"])
    return {"seconds": seconds, "accuracy": float((output.predictions.argmax(-1) == output.label_ids).mean())}


def one(system: str, method: str, seed: int, epochs: int, folder: Path) -> None:
    with tempfile.TemporaryDirectory() as work:
        if system.startswith("ftp"):
            result = run_ftp(method, seed, epochs, folder, Path(work), by_length=system == "ftp-grouped")
        else:
            result = run_trainer(method, seed, epochs, folder, Path(work), best=system == "trainer-best")
    print("\nRESULT " + json.dumps(result), flush=True)


def side_by_side(commands: dict[str, list[str]]) -> dict[str, dict[str, float]]:
    """The result of each system. All load at once; then one runs at a time, until it says that it is the next one's turn."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "false"}
    results: dict[str, dict[str, float]] = {}

    def waits(system: str, process: subprocess.Popen[str]) -> bool:
        """Whether it came to the end of its turn rather than to its own."""
        for line in process.stdout or ():
            if line == "TURN\n":
                return True
            if line.startswith("RESULT "):
                results[system] = json.loads(line[7:])
        if process.wait() or system not in results:
            raise SystemExit(f"{system} failed: {' '.join(commands[system])}")
        return False

    started = {system: subprocess.Popen(command, env=environment, text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
               for system, command in commands.items()}
    waiting = {system: process for system, process in started.items() if waits(system, process)}
    while waiting:
        for system, process in list(waiting.items()):
            assert process.stdin is not None
            process.stdin.write("\n")
            process.stdin.flush()
            if not waits(system, process):
                del waiting[system]
    return results


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--rows", type=int, default=2048)
    parser.add_argument("--epochs", type=int, default=1)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--methods", default="lora,full")
    parser.add_argument("--systems", default=",".join(SYSTEMS))
    parser.add_argument("--out", type=Path)
    parser.add_argument("--one", nargs=3, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one:
        one(options.one[0], options.one[1], int(options.one[2]), options.epochs, options.data)
        return
    methods, systems = options.methods.split(","), options.systems.split(",")
    found: dict[str, dict[str, list[dict[str, float]]]] = {method: {system: [] for system in systems} for method in methods}
    with tempfile.TemporaryDirectory() as folder:
        prepare(options.data, options.rows, Path(folder))
        for seed in range(options.seeds):
            for method in methods:
                fixed = [sys.executable, __file__, "--data", folder, "--epochs", str(options.epochs), "--one"]
                for system, result in side_by_side({name: [*fixed, name, method, str(seed)] for name in systems}).items():
                    result["rows_per_second"] = options.rows * options.epochs / result["seconds"]
                    found[method][system].append(result)
                    print(f"{method:5} {system:13} seed {seed}: {result['rows_per_second']:7.1f} rows a CPU second, "
                          f"accuracy {result['accuracy']:.4f}", flush=True)
                if options.out:
                    facts = {"rows": options.rows, "batch": BATCH, "epochs": options.epochs, "results": found}
                    options.out.write_text(json.dumps(facts, indent=1) + "\n")
    for method, results in found.items():
        print(f"\n{method}: medians over {options.seeds} seeds, {options.rows} rows, batch {BATCH}, {options.epochs} epochs")
        for system, runs in results.items():
            speed = statistics.median(run["rows_per_second"] for run in runs)
            accuracy = statistics.mean(run["accuracy"] for run in runs)
            pairs = zip(results[systems[0]], runs, strict=True)
            times = statistics.median(a["rows_per_second"] / b["rows_per_second"] for a, b in pairs)
            print(f"  {system:13} {speed:7.1f} rows a CPU second   {systems[0]}: {times:.2f} x   accuracy {accuracy:.4f}")


if __name__ == "__main__":
    main()
