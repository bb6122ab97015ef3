"""The loss is the formula of the paper's code, from two passes of the network."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.nn.functional import cross_entropy, kl_div

from ftp.net import heads
from ftp_rdrop import symmetric_kl
from ftp_testing.built import built
from ftp_testing.models import tiny


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("models")
    lines = [json.dumps({"text": f"The bank sent letter {n} about card number {n * 7} to the waiter."}) for n in range(60)]
    (folder / "text.jsonl").write_text("\n".join(lines))
    for kind in ("bert", "llama"):
        tiny(kind, folder / kind)
    return folder


@pytest.mark.parametrize("plugins, kind", [(["sentiment"], "bert"), (["clm", "files"], "llama")], ids=["classes", "tokens"])
def test_it_is_the_formula_from_two_passes(
    folder: Path, plugins: list[str], kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    options: dict[str, Any] = {"rdrop.alpha": 0.7}
    if kind == "llama":
        options["data"] = str(folder / "text.jsonl")
    _, data, model, loss = built([*plugins, "full", "rdrop"], model=str(folder / kind), **options)
    batch = loss.collate(list(loss.encode_to_score(data.splits["train"].select(range(6)).to_list())))
    passes: list[int] = []
    model.net.get_input_embeddings().register_forward_hook(lambda module, inputs, output: passes.append(1))
    noise = torch.nn.Dropout(0.6)  # whatever the tiny network has itself
    model.net.get_input_embeddings().register_forward_hook(lambda module, inputs, output: noise(output))
    monkeypatch.setattr(heads, "LOGIT_BYTES", 4 * 2 * 7 * getattr(model.net.config, "vocab_size", 1))
    model.net.train()

    torch.manual_seed(1)
    out = loss.compute(batch)
    assert len(passes) == 2
    torch.manual_seed(1)
    if kind == "bert":
        logits = [heads.classify(model.net, batch.inputs).float() for _ in range(2)]
        targets = batch.inputs["label"]
    else:
        logits = [heads.logits_at(model.net, batch.inputs, batch.inputs["where"]).float() for _ in range(2)]
        targets = batch.inputs["target"]
    p, q = (of_pass.log_softmax(-1) for of_pass in logits)
    divergence = (kl_div(p, q, log_target=True, reduction="sum") + kl_div(q, p, log_target=True, reduction="sum")) / 2
    entropies = [cross_entropy(of_pass, targets, reduction="sum") for of_pass in logits]
    assert float(divergence) > 1e-5
    wanted = (entropies[0] + entropies[1]) / 2 + 0.7 * divergence
    assert float(out.total) == pytest.approx(float(wanted), rel=1e-5)
    gradients = torch.autograd.grad(out.total, list(model.net.parameters()))
    for gradient, other in zip(gradients, torch.autograd.grad(wanted, list(model.net.parameters())), strict=True):
        torch.testing.assert_close(gradient, other, rtol=1e-3, atol=1e-5)
    with torch.no_grad():
        loss.compute(batch)
    assert "rdrop" in out.metrics


def test_the_same_distribution_has_no_divergence() -> None:
    logits = torch.randn(5, 3)
    assert symmetric_kl(logits, logits + 2).abs().max() < 1e-6


def test_a_network_without_dropout_is_told(folder: Path) -> None:
    run, _, _, _ = built(["full", "clm", "files", "rdrop"], model=str(folder / "llama"), data=str(folder / "text.jsonl"))
    assert run.log is not None and any("no dropout" in str(line) for line in run.log.lines)
