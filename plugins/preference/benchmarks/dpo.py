"""CPU seconds of one DPO update with LoRA: ours beside TRL's DPOTrainer, on the same random 42M Llama and the same pairs.

    python plugins/preference/benchmarks/dpo.py PAIRS.jsonl[.xz] [--pairs 16] [--steps 3] [--who ftp,ftp-fp32,trl,...]

One thread, process time (so a busy machine adds noise, not waiting), the first update left out. Needs `trl`.
"""

from __future__ import annotations

import argparse
import json
import lzma
import os
import tempfile
import time
from pathlib import Path
from typing import Any

os.environ.update(OMP_NUM_THREADS="1", GOMP_SPINCOUNT="0", TQDM_DISABLE="1")

SIZE = {"hidden_size": 512, "num_hidden_layers": 8, "num_attention_heads": 8, "num_key_value_heads": 8, "intermediate_size": 1408,
        "max_position_embeddings": 2048, "tie_word_embeddings": False}


def read(path: Path, count: int) -> tuple[list[dict[str, Any]], list[str]]:
    """The first pairs as conversations, and all texts (the tokenizer is trained on them)."""
    from ftp.data.chat_rows import preference

    found = path.read_bytes()
    lines = (lzma.decompress(found) if path.suffix == ".xz" else found).decode().splitlines()
    rows = [dict(zip(("prompt", "chosen", "rejected"), preference(json.loads(line)), strict=True)) for line in lines]
    return rows[:count], [turn["content"] for row in rows for side in row.values() for turn in side]


def network(folder: Path, texts: list[str]) -> Path:
    """A random Llama with a tokenizer trained on the texts."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    from ftp_testing.models import tiny_tokenizer

    tokenizer = tiny_tokenizer("llama", vocab_size=16384, texts=texts)
    ids = {f"{name}_token_id": getattr(tokenizer, f"{name}_token_id") for name in ("bos", "eos", "pad")}
    tokenizer.model_max_length = SIZE["max_position_embeddings"]
    torch.manual_seed(0)
    LlamaForCausalLM(LlamaConfig(vocab_size=16384, **ids, **SIZE)).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def lora() -> Any:
    from peft import LoraConfig

    return LoraConfig(r=16, lora_alpha=32, target_modules="all-linear", task_type="CAUSAL_LM")


def ours(folder: Path, rows: list[dict[str, Any]], steps: int, precision: str, precompute: bool = False) -> list[float]:
    """Seconds of each update, as core's default step does it."""
    from dataclasses import replace

    import torch

    from ftp.model import Source, load
    from ftp.model.peft import attach
    from ftp.net import packing
    from ftp.settings import Settings
    from ftp.train import update
    from ftp.train.device import accelerator
    from ftp.train.optimizer import adamw
    from ftp.train.state import Whole
    from ftp.types import Data, StartedRun, Task
    from ftp_preference import Dpo

    settings = Settings(device="cpu", precision=precision, learning_rate=1e-4)  # type: ignore[arg-type]
    run = StartedRun(settings, Task("preference", "tokens"), None, None, None, accelerator(settings))  # type: ignore[arg-type]
    model = attach(load(Source("random", folder=folder), "tokens"), lora(), who="lora", seed=0)
    model = replace(model, packed=packing.can_pack(model.net, model.tokenizer)[0])
    loss = Dpo(precompute_ref_log_probs=precompute).make_loss(run, Data({}, "preference"), model)
    encoded = [{"row": n, **row} for n, row in enumerate(loss.encode(rows))]
    whole = Whole(model, loss)
    prepared, optimizer = run.accelerator.prepare(whole, adamw(model, loss, settings))
    prepared.train()
    seconds = []
    for _ in range(steps + 1):
        torch.manual_seed(0)
        started = time.process_time()
        out = update.update(run, prepared, [loss.collate(encoded)], optimizer)
        seconds.append(time.process_time() - started)
    print(f"  packed {model.packed}, {sum(row['length'] for row in encoded)} tokens, loss {float(out.loss):.4f}")
    return seconds[1:]


def trl(folder: Path, rows: list[dict[str, Any]], steps: int, **options: Any) -> list[float]:
    """Seconds of each update of `DPOTrainer`, all pairs in one batch."""
    import torch
    from datasets import Dataset
    from transformers import AutoModelForCausalLM, AutoTokenizer, TrainerCallback
    from trl import DPOConfig, DPOTrainer

    marks: list[float] = []

    class Clock(TrainerCallback):  # type: ignore[misc,unused-ignore]
        def on_step_begin(self, *_: Any, **__: Any) -> None:
            marks.append(-time.process_time())

        def on_step_end(self, *_: Any, **__: Any) -> None:
            marks[-1] += time.process_time()

    torch.manual_seed(0)
    config = DPOConfig(output_dir=str(folder / "trl"), report_to=[], use_cpu=True, max_steps=steps + 1, learning_rate=1e-4,
                       per_device_train_batch_size=len(rows), save_strategy="no", logging_steps=1, **options)
    trainer = DPOTrainer(AutoModelForCausalLM.from_pretrained(folder, dtype="float32"), args=config, peft_config=lora(),
                         train_dataset=Dataset.from_list(rows), processing_class=AutoTokenizer.from_pretrained(folder),
                         callbacks=[Clock()])
    trainer.train()
    print(f"  loss {trainer.state.log_history[-2]['loss']:.4f}")
    return marks[1:]


def main() -> None:
    import torch

    parser = argparse.ArgumentParser()
    parser.add_argument("pairs_file", type=Path)
    parser.add_argument("--pairs", type=int, default=16)
    parser.add_argument("--steps", type=int, default=3)
    parser.add_argument("--who", default="ftp,ftp-fp32,ftp-precomputed,trl,trl-fp32,trl-no-checkpointing")
    given = parser.parse_args()
    torch.set_num_threads(1)
    rows, texts = read(given.pairs_file, given.pairs)
    with tempfile.TemporaryDirectory() as scratch:
        folder = network(Path(scratch), texts)
        runs = {
            "ftp": lambda: ours(folder, rows, given.steps, "bf16"),
            "ftp-fp32": lambda: ours(folder, rows, given.steps, "fp32"),
            "ftp-precomputed": lambda: ours(folder, rows, given.steps, "bf16", precompute=True),
            "trl": lambda: trl(folder, rows, given.steps),
            "trl-fp32": lambda: trl(folder, rows, given.steps, bf16=False, gradient_checkpointing=False),
            "trl-no-checkpointing": lambda: trl(folder, rows, given.steps, gradient_checkpointing=False),
        }
        for name in given.who.split(","):
            print(name)
            seconds = sorted(runs[name]())
            listed = " ".join(f"{one:.2f}" for one in seconds)
            print(f"  {seconds[len(seconds) // 2]:.2f} s an update (median of {len(seconds)}: {listed})", flush=True)


if __name__ == "__main__":
    main()
