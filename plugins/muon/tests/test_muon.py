"""Muon beside AdamW: who gets which, that each does as torch's own, and that a saved state goes on as it was."""

from __future__ import annotations

import copy
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch
from transformers import AutoModelForCausalLM

from ftp.settings import Settings
from ftp.train import JoinedOptimizer
from ftp_muon import Muon, inner_matrices
from ftp_testing.models import tiny


def net(folder: Path) -> torch.nn.Module:
    return AutoModelForCausalLM.from_pretrained(tiny("llama", folder))


def optimizer_of(network: torch.nn.Module, settings: Settings) -> JoinedOptimizer:
    run: Any = SimpleNamespace(settings=settings)
    model: Any = SimpleNamespace(net=network)
    loss: Any = SimpleNamespace(extra=None)
    optimizer = Muon().make_optimizer(run, model, loss)
    assert isinstance(optimizer, JoinedOptimizer)
    return optimizer


def draw_gradients(network: torch.nn.Module, seed: int) -> None:
    """The same gradients for the same seed."""
    torch.manual_seed(seed)
    for weight in network.parameters():
        weight.grad = torch.randn_like(weight)


def test_matrices_between_layers_are_muons_and_embeddings_and_head_are_not(tmp_path: Path) -> None:
    ours = net(tmp_path)
    inner = inner_matrices(ours)
    names = {name for name, weight in ours.named_parameters() if id(weight) in inner}
    assert names == {name for name, weight in ours.named_parameters() if name.endswith("_proj.weight")}
    optimizer = optimizer_of(ours, Settings(weight_decay=0.1))
    assert {id(weight) for weight in optimizer.parts["muon"].param_groups[0]["params"]} == inner
    assert sum(len(group["params"]) for group in optimizer.param_groups) == len(list(ours.parameters()))


def test_each_part_moves_as_torchs_own(tmp_path: Path) -> None:
    ours = net(tmp_path)
    theirs = copy.deepcopy(ours)
    settings = Settings(learning_rate=0.01, weight_decay=0.1)
    optimizer = optimizer_of(ours, settings)
    ids = inner_matrices(ours)
    inner = {name for name, weight in ours.named_parameters() if id(weight) in ids}
    named = dict(theirs.named_parameters())
    muon = torch.optim.Muon([weight for name, weight in named.items() if name in inner], lr=0.01, weight_decay=0.1,
                            adjust_lr_fn="match_rms_adamw")
    decayed = [weight for name, weight in named.items() if name not in inner and weight.ndim > 1]
    not_decayed = [weight for weight in named.values() if weight.ndim < 2]
    adamw = torch.optim.AdamW([{"params": decayed}, {"params": not_decayed, "weight_decay": 0.0}],
                              lr=0.01, weight_decay=0.1, fused=True)
    for seed in range(3):
        draw_gradients(ours, seed)
        draw_gradients(theirs, seed)
        optimizer.step()
        muon.step()
        adamw.step()
    for name, weight in ours.named_parameters():
        assert torch.equal(weight, named[name]), name


def test_a_saved_state_goes_on_as_it_was(tmp_path: Path) -> None:
    settings = Settings(learning_rate=0.01)
    ours = net(tmp_path)
    first = optimizer_of(ours, settings)
    draw_gradients(ours, 1)
    first.step()
    theirs = copy.deepcopy(ours)
    second = optimizer_of(theirs, settings)
    second.load_state_dict(copy.deepcopy(first.state_dict()))
    for group in [*first.param_groups, *second.param_groups]:
        group["lr"] = 0.005  # what the loop sets must reach both parts
    for network, optimizer in ((ours, first), (theirs, second)):
        draw_gradients(network, 2)
        optimizer.step()
    before = dict(ours.named_parameters())
    assert all(torch.equal(weight, before[name]) for name, weight in theirs.named_parameters())
