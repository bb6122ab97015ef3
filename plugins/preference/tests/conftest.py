"""Tiny networks with the methods of this package on them, and some rows. No files but the networks' own."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from ftp.data.encode import asked
from ftp.types import Batch, Data, Loss, Model, StartedRun, Task

PAIRS = [
    ("What is the capital of Norway?", "The capital of Norway is Oslo.", "I do not know, and I do not care."),
    ("Is seven plus five twelve?", "Yes.", "No, seven plus five is the price of bread in March, more or less."),
    ("Write a letter to the bank.", "Dear bank, please send me a new card.", "No."),
    ("How was the film?", "A quiet joy from the first scene to the last.", "It was free."),
    ("Was the soup good? Tell me more about the waiter.", "The waiter forgot the soup.", "The soup was sent home on day 4."),
    ("Who had a fever?", "The patient had a fever for 3 days.", "Our waiter."),
    ("What rose?", "Prices rose by 2.5 percent in March.", "The patient rose on day 4 and was sent home to the bank."),
    ("Say something.", "Something.", "I would not."),
]


def message(role: str, content: str) -> list[dict[str, str]]:
    return [{"role": role, "content": content}]


def preferences() -> list[dict[str, Any]]:
    return [{"prompt": message("user", asked), "chosen": message("assistant", good), "rejected": message("assistant", bad)}
            for asked, good, bad in PAIRS]


def ratings() -> list[dict[str, Any]]:
    return [{"prompt": message("user", asked), "completion": message("assistant", good if n % 3 else bad), "label": bool(n % 3)}
            for n, (asked, good, bad) in enumerate(PAIRS)]


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """The folder of a tiny network, made once for each kind and configuration."""
    from ftp_testing.models import tiny

    folders: dict[str, Path] = {}

    def get(kind: Any, **config: Any) -> Path:
        name = f"{kind} {sorted(config.items())}"
        if name not in folders:
            folders[name] = tiny(kind, tmp_path_factory.mktemp(kind), **config)
        return folders[name]

    return get


@pytest.fixture
def load(folder: Callable[..., Path]) -> Callable[..., Model]:
    """A fresh tiny network, packed or padded, with all weights trained or with LoRA."""
    from dataclasses import replace

    from ftp.model import Source
    from ftp.model import load as load_model
    from ftp.net import packing

    def get(kind: Any = "llama", *, packed: bool = True, lora: bool = False, modules_to_save: Any = None, seed: int = 0,
            **config: Any) -> Model:
        import torch

        torch.manual_seed(seed)
        model = load_model(Source("tiny", folder=folder(kind, **config)), "tokens")
        if lora:
            from peft import LoraConfig

            from ftp.model.peft import attach

            model = attach(model, LoraConfig(r=4, target_modules="all-linear", task_type="CAUSAL_LM",
                                             modules_to_save=modules_to_save), who="lora", seed=seed)
        model.net.train()
        if packed:
            able, why = packing.can_pack(model.net, model.tokenizer)
            assert able, why
        return replace(model, packed=packed)

    return get


def a_run(form: Any = "preference", **settings: Any) -> StartedRun:
    from ftp.settings import Settings
    from ftp.train.device import accelerator

    chosen = Settings(device="cpu", precision="fp32", **settings)
    return StartedRun(chosen, Task(form, "tokens"), None, None, None, accelerator(chosen))  # type: ignore[arg-type]


def loss_of(plugin: Any, model: Model, run: StartedRun) -> Loss:
    loss: Loss = plugin.make_loss(run, Data({}, run.task.form), model)
    return loss


def encoded(loss: Loss, rows: Any, split: str = "train") -> list[dict[str, Any]]:
    if split == "predict":
        return [dict(row) for row in asked(loss, rows)]
    return [{"row": index, **row} for index, row in enumerate(loss.encode(rows))]


def batch_of(loss: Loss, rows: Any) -> Batch:
    return loss.collate(encoded(loss, rows))


def gradients(model: Model) -> dict[str, Any]:
    return {name: weight.grad.clone() for name, weight in model.net.named_parameters() if weight.grad is not None}


@pytest.fixture(scope="session")
def kit() -> SimpleNamespace:
    """The functions above; with `--import-mode=importlib` tests cannot import them."""
    return SimpleNamespace(message=message, preferences=preferences, ratings=ratings, a_run=a_run, loss_of=loss_of,
                           encoded=encoded, batch_of=batch_of, gradients=gradients)
