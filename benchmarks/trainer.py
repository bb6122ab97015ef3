"""ftp beside transformers.Trainer + peft: the same rows, weights and hyper-parameters; SST-2, LoRA and full.

    python benchmarks/trainer.py --data DIR [--rows 2048] [--seeds 5] [--methods lora,full] [--out benchmarks/trainer.json]

DIR holds sst2/train.jsonl.xz and sst2/test.jsonl.xz (text, label). Each measurement is a process of its own with one
thread; systems take turns, so that a machine whose speed drifts is fair to all. Time is the training loop alone, in CPU
seconds of the process: from the first update to the last, without loading, encoding and evaluation.
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

import ftp
from ftp.types import Event

MODEL = "sentence-transformers/all-MiniLM-L6-v2"
RATE = {"lora": 5e-4, "full": 5e-5}
SYSTEMS = ("ftp", "trainer", "trainer-best")
BATCH, EPOCHS, WARMUP, LENGTH = 32, 1, 0.06, 128
LORA = {"r": 16, "lora_alpha": 32, "lora_dropout": 0.05}


@ftp.plugin
class Clock:
    """CPU seconds of training."""

    kind = "extra"

    @ftp.hookimpl
    def on_event(self, event: Event) -> None:
        if event.name == "started":
            self.begun = time.process_time()
        if event.name == "step":
            self.seconds = time.process_time() - self.begun
            Path(os.environ["BENCH_CLOCK"]).write_text(str(self.seconds))


def prepare(source: Path, rows: int, folder: Path) -> None:
    """A fixed part of SST-2: `rows` for training, 256 for validation, all of test."""
    import random

    for split in ("train", "test"):
        with lzma.open(source / "sst2" / f"{split}.jsonl.xz", "rt", encoding="utf-8") as file:
            found = [{key: row[key] for key in ("text", "label")} for row in map(json.loads, file)]
        if split == "train":
            random.Random(0).shuffle(found)
            parts = {"train": found[:rows], "validation": found[rows : rows + 256]}
        else:
            parts = {"test": found}
        for name, part in parts.items():
            (folder / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in part), encoding="utf-8")


def run_ftp(method: str, seed: int, folder: Path, work: Path) -> dict[str, float]:
    os.environ["BENCH_CLOCK"] = str(work / "clock")
    options = {"lora": LORA} if method == "lora" else {}
    result = ftp.run(
        [method, "sentiment"], plugins_from=(f"{__file__}:Clock",), data=str(folder), model=MODEL, seed=seed, out=work / "run",
        epochs=EPOCHS, batch_size=BATCH, learning_rate=RATE[method], warmup_ratio=WARMUP, max_length=LENGTH, weight_decay=0.0,
        eval_steps=10**6, logging_steps=10**6, baselines=False, verify=False, **options)
    return {"seconds": float((work / "clock").read_text()), "accuracy": result.score("accuracy", "test")}


def run_trainer(method: str, seed: int, folder: Path, work: Path, best: bool) -> dict[str, float]:
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
        def training_step(self, *args, **kwargs):  # type: ignore[no-untyped-def]
            self.begun = getattr(self, "begun", time.process_time())
            return super().training_step(*args, **kwargs)

    arguments = TrainingArguments(
        output_dir=str(work / "run"), per_device_train_batch_size=BATCH, num_train_epochs=EPOCHS, learning_rate=RATE[method],
        warmup_steps=WARMUP, seed=seed, report_to="none", save_strategy="no", disable_tqdm=True, use_cpu=True,
        logging_steps=10**6, **({"bf16": True, "train_sampling_strategy": "group_by_length"} if best else {}))
    trainer = Clocked(model=model, args=arguments, train_dataset=data["train"], processing_class=tokenizer)
    trainer.train()
    seconds = time.process_time() - trainer.begun
    given = trainer.predict(data["test"])
    return {"seconds": seconds, "accuracy": float((given.predictions.argmax(-1) == given.label_ids).mean())}


def one(system: str, method: str, seed: int, folder: Path) -> None:
    with tempfile.TemporaryDirectory() as work:
        if system == "ftp":
            found = run_ftp(method, seed, folder, Path(work))
        else:
            found = run_trainer(method, seed, folder, Path(work), best=system == "trainer-best")
    print("RESULT " + json.dumps(found))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--rows", type=int, default=2048)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--methods", default="lora,full")
    parser.add_argument("--systems", default=",".join(SYSTEMS))
    parser.add_argument("--out", type=Path)
    parser.add_argument("--one", nargs=3, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.one:
        one(arguments.one[0], arguments.one[1], int(arguments.one[2]), arguments.data)
        return
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "false"}
    found: dict[str, dict[str, list[dict[str, float]]]] = {}
    with tempfile.TemporaryDirectory() as folder:
        prepare(arguments.data, arguments.rows, Path(folder))
        for seed in range(arguments.seeds):
            for method in arguments.methods.split(","):
                for system in arguments.systems.split(","):
                    command = [sys.executable, __file__, "--data", folder, "--one", system, method, str(seed)]
                    output = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
                    lines = [line for line in output.stdout.splitlines() if line.startswith("RESULT ")]
                    if not lines:
                        raise SystemExit(f"{system} {method} failed:\n{output.stdout[-2000:]}\n{output.stderr[-4000:]}")
                    result = json.loads(lines[-1][7:])
                    result["rows_per_second"] = arguments.rows * EPOCHS / result["seconds"]
                    found.setdefault(method, {}).setdefault(system, []).append(result)
                    print(f"{method:5} {system:13} seed {seed}: {result['rows_per_second']:7.1f} rows a CPU second, "
                          f"accuracy {result['accuracy']:.4f}", flush=True)
    for method, systems in found.items():
        print(f"\n{method}: medians over {arguments.seeds} seeds, {arguments.rows} rows, batch {BATCH}, {EPOCHS} epoch")
        for system, results in systems.items():
            speed = statistics.median(one["rows_per_second"] for one in results)
            accuracy = statistics.mean(one["accuracy"] for one in results)
            pairs = zip(systems.get("ftp", results), results, strict=True)
            times = statistics.median(a["rows_per_second"] / b["rows_per_second"] for a, b in pairs)
            print(f"  {system:13} {speed:7.1f} rows a CPU second   ftp: {times:.2f} x   accuracy {accuracy:.4f}")
    if arguments.out:
        facts = {"rows": arguments.rows, "batch": BATCH, "epochs": EPOCHS, "results": found}
        arguments.out.write_text(json.dumps(facts, indent=1) + "\n")


if __name__ == "__main__":
    main()
