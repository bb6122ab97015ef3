"""Which rate each layer has, and from which update on."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoModelForSequenceClassification

import ftp
from ftp.settings import Settings
from ftp.train.optimizer import adamw
from ftp_llrd import Llrd, depths_below_head
from ftp_testing.models import tiny


def sent(around: Any, value: Any) -> Any:
    """What a wrapper returns for what is sent into it."""
    try:
        around.send(value)
    except StopIteration as end:
        return end.value
    raise AssertionError("the wrapper did not return")


def test_depths_count_from_the_head_down(tmp_path: Path) -> None:
    bert = AutoModelForSequenceClassification.from_pretrained(tiny("bert", tmp_path / "bert"))
    depths = depths_below_head([name for name, _ in bert.named_parameters()], bert)
    layers = bert.config.num_hidden_layers
    assert depths["classifier.weight"] == depths["bert.pooler.dense.weight"] == 0
    assert depths[f"bert.encoder.layer.{layers - 1}.output.dense.bias"] == 1
    assert depths["bert.encoder.layer.0.output.dense.bias"] == layers
    assert depths["bert.embeddings.word_embeddings.weight"] == layers + 1
    gpt2 = AutoModelForCausalLM.from_pretrained(tiny("gpt2", tmp_path / "gpt2"))
    depths = depths_below_head([name for name, _ in gpt2.named_parameters()], gpt2)
    assert depths["transformer.wte.weight"] == depths["transformer.wpe.weight"] == gpt2.config.num_hidden_layers + 1
    assert depths["transformer.ln_f.weight"] == 0
    with pytest.raises(ftp.UserError, match="no numbered layers"):
        depths_below_head(["weight"], torch.nn.Linear(1, 1))


def test_each_layer_has_its_rate_and_begins_in_its_turn(tmp_path: Path) -> None:
    net = AutoModelForSequenceClassification.from_pretrained(tiny("bert", tmp_path))
    layers = net.config.num_hidden_layers
    run: Any = SimpleNamespace(settings=Settings(learning_rate=0.01))
    model: Any = SimpleNamespace(net=net)
    loss: Any = SimpleNamespace(extra=None)
    plugin = Llrd(decay=0.5, unfreeze=0.5)
    around = plugin.make_optimizer(run, model, loss)
    next(around)
    optimizer = sent(around, adamw(model, loss, run.settings))

    depths = depths_below_head([name for name, _ in net.named_parameters()], net)
    depth_of = {id(weight): depths[name] for name, weight in net.named_parameters()}
    assert sum(len(group["params"]) for group in optimizer.param_groups) == len(depth_of)
    for group in optimizer.param_groups:
        for weight in group["params"]:
            assert group["lr"] == pytest.approx(0.01 * 0.5 ** depth_of[id(weight)])

    before = [group["lr"] for group in optimizer.param_groups]
    total = 20
    for step in range(total):
        step_around = plugin.train_step(optimizer, step, total)
        next(step_around)
        for group in optimizer.param_groups:
            begins = 0.5 * total * depth_of[id(group["params"][0])] / (layers + 1)
            assert (group["lr"] > 0) == (step >= begins)
        sent(step_around, None)
        assert [group["lr"] for group in optimizer.param_groups] == before
