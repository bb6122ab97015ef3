"""Every step is that of PEFT's `create_loraplus_optimizer`."""

from __future__ import annotations

import copy
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch
from peft import LoraConfig, get_peft_model
from peft.optimizers import create_loraplus_optimizer
from transformers import AutoModelForSequenceClassification

from ftp.settings import Settings
from ftp.train.optimizer import adamw
from ftp_loraplus import Loraplus
from ftp_testing.models import tiny


def test_steps_are_those_of_peft(tmp_path: Path) -> None:
    torch.manual_seed(0)
    base = AutoModelForSequenceClassification.from_pretrained(tiny("bert", tmp_path))
    net = get_peft_model(base, LoraConfig(task_type="SEQ_CLS", target_modules=["query", "value"]))
    other = copy.deepcopy(net)
    run: Any = SimpleNamespace(settings=Settings(learning_rate=0.01, weight_decay=0.1))
    model: Any = SimpleNamespace(net=net)
    loss: Any = SimpleNamespace(extra=None)

    around = Loraplus(ratio=8.0).make_optimizer(run, model, loss)
    next(around)
    try:
        around.send(adamw(model, loss, run.settings))
        raise AssertionError("the wrapper did not return")
    except StopIteration as end:
        optimizer = end.value
    reference = create_loraplus_optimizer(other, torch.optim.AdamW, lr=0.01, loraplus_lr_ratio=8.0,
                                          loraplus_weight_decay=0.1)

    weights = {name: weight for name, weight in net.named_parameters() if weight.requires_grad}
    others = dict(other.named_parameters())
    for _ in range(3):
        for name, weight in weights.items():
            weight.grad = torch.randn_like(weight)
            others[name].grad = weight.grad.clone()
        optimizer.step()
        reference.step()
    assert any("lora_B" in name for name in weights)
    for name, weight in weights.items():
        torch.testing.assert_close(weight, others[name], rtol=0, atol=1e-6)
