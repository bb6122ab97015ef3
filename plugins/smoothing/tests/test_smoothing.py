"""The loss is PyTorch's with label_smoothing, from one pass of the network, also where logits are made in pieces."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.nn.functional import cross_entropy

from ftp.errors import UserError
from ftp.net import heads
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


def batch_of(folder: Path, plugins: list[str], kind: str, **options: Any) -> tuple[Any, Any, Any]:
    """Model, loss and a batch of six training rows."""
    _, data, model, loss = built(plugins, model=str(folder / kind), **options)
    return model, loss, loss.collate(list(loss.encode_to_score(data.splits["train"].select(range(6)).to_list())))


def test_classes_are_smoothed_as_by_pytorch(folder: Path) -> None:
    model, loss, batch = batch_of(folder, ["full", "sentiment", "smoothing"], "bert", **{"smoothing.share": 0.3})
    model.net.eval()
    out = loss.compute(batch)
    logits = heads.classify(model.net, batch.inputs).float()
    wanted = cross_entropy(logits, batch.inputs["label"], reduction="sum", label_smoothing=0.3)
    assert float(out.total) == pytest.approx(float(wanted), rel=1e-6)
    with torch.no_grad():
        held_out = loss.compute(batch)
    assert float(held_out.total) == pytest.approx(float(cross_entropy(logits, batch.inputs["label"], reduction="sum")), rel=1e-6)
    assert float(out.metrics["smoothing"]) == pytest.approx(float(out.total - held_out.total), rel=1e-4)


@pytest.mark.parametrize("plugins", [["smoothing", "focal"], ["focal", "smoothing"]])
def test_what_another_plugin_adds_stays(folder: Path, plugins: list[str]) -> None:
    totals = {}
    for name, picked in (("both", plugins), ("focal", ["focal"]), ("plain", [])):
        model, loss, batch = batch_of(folder, ["full", "sentiment", *picked], "bert")
        model.net.eval()
        totals[name] = float(loss.compute(batch).total.detach())
    logits = heads.classify(model.net, batch.inputs).float().detach()
    smoothed = cross_entropy(logits, batch.inputs["label"], reduction="sum", label_smoothing=0.1)
    assert totals["focal"] < 0.9 * totals["plain"]
    assert totals["both"] == pytest.approx(totals["focal"] + float(smoothed) - totals["plain"], rel=1e-5)


def test_tokens_in_pieces_have_pytorchs_loss_and_gradients_from_one_pass(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, loss, batch = batch_of(folder, ["clm", "full", "files", "smoothing"], "llama", data=str(folder / "text.jsonl"))
    model.net.eval()
    passes: list[int] = []
    model.net.get_input_embeddings().register_forward_hook(lambda module, inputs, output: passes.append(1))
    monkeypatch.setattr(heads, "LOGIT_BYTES", 4 * 7 * model.net.config.vocab_size)  # seven terms a piece
    total = loss.compute(batch).total
    assert len(passes) == 1 and batch.count > 14
    total.backward()
    gradients = {name: weight.grad.clone() for name, weight in model.net.named_parameters()}
    model.net.zero_grad()
    logits = heads.logits_at(model.net, batch.inputs, batch.inputs["where"]).float()
    wanted = cross_entropy(logits, batch.inputs["target"], reduction="sum", label_smoothing=0.1)
    wanted.backward()
    assert float(total) == pytest.approx(float(wanted), rel=1e-6)
    for name, weight in model.net.named_parameters():
        torch.testing.assert_close(gradients[name], weight.grad, rtol=1e-4, atol=1e-5)


def test_a_loss_without_classes_is_refused(folder: Path) -> None:
    model, loss, _ = batch_of(folder, ["full", "qa", "smoothing"], "bert")
    assert model.head == "span"
    with pytest.raises(UserError, match="no choices of one class"):
        built_batch = built(["full", "qa", "smoothing"], model=str(folder / "bert"))[1].splits["train"].select(range(2)).to_list()
        loss.compute(loss.collate(list(loss.encode(built_batch))))
