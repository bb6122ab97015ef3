"""The KL is that of the formula, at what is trained, against the weights of before; and it counts once."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

import ftp
from ftp.errors import UserError
from ftp_testing.models import tiny

OPTIONS: dict[str, Any] = {"max_steps": 3, "batch_size": 8, "device": "cpu", "precision": "fp32", "max_train_rows": 40,
                           "max_eval_rows": 20, "baselines": False, "verify": False, "report": False, "logging_steps": 1}
QUIET = ("-forgetting", "-preflight", "-leakage", "-underfitting", "-overfitting")


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    folder = tmp_path_factory.mktemp("m")
    texts = folder / "text.jsonl"
    texts.write_text("\n".join(json.dumps({"text": f"The bank sent letter {n} about card number {n * 7} to the waiter."})
                               for n in range(60)))
    return {"text": str(texts), **{kind: str(tiny(kind, folder / kind)) for kind in ("bert", "llama")}}  # type: ignore[arg-type]


def built(plugins: list[str], **options: Any) -> tuple[Any, Any, Any]:
    from ftp.data.collect import collect
    from ftp.folder.log import Log
    from ftp.plugins.call import Hooks
    from ftp.plugins.plan import prepare
    from ftp.runs.build import build
    from ftp.train.device import accelerator
    from ftp.types import StartedRun

    prepared = prepare([*plugins, *QUIET], given=[("options", {**OPTIONS, **options})])
    run = StartedRun(prepared.settings, prepared.task, Hooks(prepared.picked, prepared.values), Path(), Log(None, writer=False),
                     accelerator(prepared.settings))
    data = collect(run)
    model, loss = build(run, data)
    return model, loss, data


@pytest.mark.slow
@pytest.mark.parametrize("objective, kind, way", [("clm", "llama", "lora"), ("clm", "llama", "full"), ("mlm", "bert", "full")])
def test_it_is_the_formula_at_trained_tokens(models: dict[str, str], objective: str, kind: str, way: str) -> None:
    model, loss, data = built([objective, way, "files", "kl_anchor"], model=models[kind], data=models["text"],
                              **{"kl_anchor.weight": 2.0})
    rows = list(loss.encode_to_score(data.splits["train"].select(range(6)).to_list()))
    model.net.eval()
    batch = loss.collate(rows)
    first = loss.compute(batch)
    assert float(first.metrics["kl"]) == pytest.approx(0, abs=1e-4), "nothing has moved yet"
    with torch.no_grad():
        for weight in model.net.parameters():
            if weight.requires_grad:
                weight.add_(0.1 * torch.randn_like(weight))
        bare = loss.compute(batch)  # evaluation: without the KL
    out = loss.compute(batch)
    from ftp.net import heads

    with torch.no_grad():
        q = heads.logits_at(model.net, batch.inputs, batch.inputs["where"]).double().log_softmax(-1)
        with model.reference() as net:
            p = heads.logits_at(net, batch.inputs, batch.inputs["where"]).double().log_softmax(-1)
    wanted = float((p.exp() * (p - q)).sum())
    assert wanted > 0.1 and float(out.total - bare.total) == pytest.approx(2.0 * wanted, rel=1e-3)
    assert float(out.metrics["kl"]) / batch.rows == pytest.approx(wanted / batch.count, rel=1e-3)
    out.total.backward()
    assert any(weight.grad is not None and weight.grad.any() for weight in model.net.parameters())
    parts = sum(float(loss.compute(loss.collate(part)).total) for part in (rows[:2], rows[2:]))
    assert parts == pytest.approx(float(out.total), rel=1e-4), "micro-batches add up"


@pytest.mark.slow
def test_a_sample_of_tokens_is_weighed_up(models: dict[str, str]) -> None:
    totals = []
    for positions in (1024, 24):
        model, loss, data = built(["clm", "full", "files", "kl_anchor"], model=models["llama"], data=models["text"],
                                  **{"kl_anchor.positions": positions})
        batch = loss.collate(list(loss.encode_to_score(data.splits["train"].select(range(8)).to_list())))
        generator = torch.Generator().manual_seed(1)
        with torch.no_grad():
            for weight in model.net.parameters():
                weight.add_(0.1 * torch.randn(weight.shape, generator=generator))
        totals.append(float(loss.compute(batch).metrics["kl"]) / batch.rows)
    assert totals[1] == pytest.approx(totals[0], rel=0.3) and totals[1] != totals[0]


@pytest.mark.slow
def test_it_holds_the_model(models: dict[str, str], tmp_path: Path) -> None:
    held = []
    for number, weight in enumerate((0.0, 20.0)):
        ftp.run(["clm", "lora", "files", "kl_anchor", *QUIET], **OPTIONS, model=models["llama"], data=models["text"],
                learning_rate=1e-2, out=tmp_path / str(number), **{"kl_anchor.weight": weight})
        lines = [json.loads(line) for line in (tmp_path / str(number) / "log.jsonl").read_text().splitlines()]
        held.append([line["kl"] for line in lines if line["event"] == "step"][-1])
    assert held[0] > 1e-4 and held[1] < held[0]


def test_what_it_cannot_hold_is_told(models: dict[str, str]) -> None:
    with pytest.raises(UserError, match=r"the head \(.*\) is new.*\n.*l2sp"):
        built(["full", "sentiment", "kl_anchor"], model=models["bert"])
    with pytest.raises(UserError, match="of tokens, or of the class of a row; this run's head is 'tags'"):
        built(["full", "tag", "kl_anchor"], model=models["bert"])


@pytest.mark.slow
def test_a_head_that_came_with_the_checkpoint_is_held(models: dict[str, str], tmp_path: Path) -> None:
    ftp.run(["full", "sentiment", *QUIET], **OPTIONS, model=models["bert"], out=tmp_path / "a")
    model, loss, data = built(["full", "sentiment", "kl_anchor"], model=str(tmp_path / "a" / "model"))
    assert not model.fresh
    model.net.eval()
    batch = loss.collate(list(loss.encode(data.splits["train"].select(range(6)).to_list())))
    with torch.no_grad():
        before = model.net(**{name: batch.inputs[name] for name in ("input_ids", "attention_mask") if name in batch.inputs},
                           ).logits if "attention_mask" in batch.inputs else None
        model.net.get_parameter("classifier.weight").mul_(-3)
    out = loss.compute(batch)
    assert float(out.metrics["kl"]) > 0 and (before is None or before.shape[0] == 6)
