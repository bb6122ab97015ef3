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


def optimizer_of(one: torch.nn.Module, settings: Settings) -> JoinedOptimizer:
    run: Any = SimpleNamespace(settings=settings)
    model: Any = SimpleNamespace(net=one)
    loss: Any = SimpleNamespace(extra=None)
    optimizer = Muon().make_optimizer(run, model, loss)
    assert isinstance(optimizer, JoinedOptimizer)
    return optimizer


def pull(one: torch.nn.Module, seed: int) -> None:
    """The same gradients for the same seed."""
    torch.manual_seed(seed)
    for weight in one.parameters():
        weight.grad = torch.randn_like(weight)


def test_matrices_between_layers_are_muons_and_embeddings_and_head_are_not(tmp_path: Path) -> None:
    one = net(tmp_path)
    inner = inner_matrices(one)
    names = {name for name, weight in one.named_parameters() if id(weight) in inner}
    assert names == {name for name, weight in one.named_parameters() if name.endswith("_proj.weight")}
    made = optimizer_of(one, Settings(weight_decay=0.1))
    assert {id(w) for w in made.parts["muon"].param_groups[0]["params"]} == inner
    assert sum(len(group["params"]) for group in made.param_groups) == len(list(one.parameters()))


def test_each_part_moves_as_torchs_own(tmp_path: Path) -> None:
    one = net(tmp_path)
    other = copy.deepcopy(one)
    settings = Settings(learning_rate=0.01, weight_decay=0.1)
    made, inner = optimizer_of(one, settings), {name for name, w in one.named_parameters() if id(w) in inner_matrices(one)}
    named = dict(other.named_parameters())
    muon = torch.optim.Muon([w for name, w in named.items() if name in inner], lr=0.01, weight_decay=0.1,
                            adjust_lr_fn="match_rms_adamw")
    adamw = torch.optim.AdamW([{"params": [w for name, w in named.items() if name not in inner and w.ndim > 1]},
                               {"params": [w for w in named.values() if w.ndim < 2], "weight_decay": 0.0}], lr=0.01,
                              weight_decay=0.1, fused=True)
    for seed in range(3):
        pull(one, seed)
        pull(other, seed)
        made.step()
        muon.step()
        adamw.step()
    for name, weight in one.named_parameters():
        assert torch.equal(weight, named[name]), name


def test_a_saved_state_goes_on_as_it_was(tmp_path: Path) -> None:
    settings = Settings(learning_rate=0.01)
    one = net(tmp_path)
    first = optimizer_of(one, settings)
    pull(one, 1)
    first.step()
    other = copy.deepcopy(one)
    second = optimizer_of(other, settings)
    second.load_state_dict(copy.deepcopy(first.state_dict()))
    for group in [*first.param_groups, *second.param_groups]:
        group["lr"] = 0.005  # what the loop sets must reach both parts
    for which, optimizer in ((one, first), (other, second)):
        pull(which, 2)
        optimizer.step()
    before = dict(one.named_parameters())
    assert all(torch.equal(weight, before[name]) for name, weight in other.named_parameters())
