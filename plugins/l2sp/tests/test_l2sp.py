"""The penalty is that of the paper, on effective weights under LoRA, and counts once however rows are spread."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

import ftp
from ftp_l2sp.penalty import Penalty, pairs
from ftp_testing.models import tiny

OPTIONS: dict[str, Any] = {"max_steps": 3, "batch_size": 8, "device": "cpu", "precision": "fp32", "max_train_rows": 40,
                           "max_eval_rows": 20, "baselines": False, "verify": False, "report": False, "logging_steps": 1}
QUIET = ("-forgetting", "-preflight", "-leakage", "-underfitting", "-overfitting")


@pytest.fixture(scope="module")
def bert(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(tiny("bert", tmp_path_factory.mktemp("m") / "bert"))


def model_of(bert: str, plugins: list[str], **options: Any) -> tuple[Any, Any, Any]:
    from ftp.data.collect import collect
    from ftp.folder.log import Log
    from ftp.plugins.call import Hooks
    from ftp.plugins.plan import prepare
    from ftp.runs.build import build
    from ftp.train.device import accelerator
    from ftp.types import StartedRun

    prepared = prepare([*plugins, *QUIET], given=[("options", {**OPTIONS, "model": bert, **options})])
    run = StartedRun(prepared.settings, prepared.task, Hooks(prepared.picked, prepared.values), Path(), Log(None, writer=False),
                     accelerator(prepared.settings))
    data = collect(run)
    model, loss = build(run, data)
    return model, loss, data


@pytest.mark.slow
def test_full_training_is_the_formula(bert: str) -> None:
    model, loss, data = model_of(bert, ["full", "sentiment", "l2sp"], **{"l2sp.alpha": 0.3, "l2sp.beta": 0.7})
    plain = model_of(bert, ["full", "sentiment"])[1]
    rows = list(loss.encode(data.splits["train"].select(range(6)).to_list()))
    start = {name: weight.detach().clone() for name, weight in model.net.named_parameters()}
    model.net.eval()
    with torch.no_grad():
        for weight in model.net.parameters():
            weight.add_(0.01 * torch.randn_like(weight))
    out = loss.compute(loss.collate(rows))
    new = tuple(f"{name}." for name in model.fresh)
    assert new, "a new head is there"
    far = sum(float((weight - start[name]).detach().double().square().sum()) for name, weight in model.net.named_parameters()
              if not name.startswith(new))
    long = sum(float(weight.detach().double().square().sum()) for name, weight in model.net.named_parameters()
               if name.startswith(new))
    with torch.no_grad():
        bare = loss.compute(loss.collate(rows))  # evaluation: without the penalty
    wanted = 0.3 / 2 * far + 0.7 / 2 * long
    assert (float(out.total) - float(bare.total)) / 6 == pytest.approx(wanted, rel=1e-4)
    assert float(out.metrics["l2sp"]) / 6 == pytest.approx(wanted, rel=1e-4) and "l2sp" not in bare.metrics
    assert plain.key == loss.key, "rows are encoded once for both"


def test_micro_batches_add_up(bert: str) -> None:
    model, loss, data = model_of(bert, ["full", "sentiment", "l2sp"], **{"l2sp.beta": 5.0})
    rows = list(loss.encode(data.splits["train"].select(range(6)).to_list()))
    model.net.eval()
    whole = loss.compute(loss.collate(rows)).total
    parts = loss.compute(loss.collate(rows[:2])).total + loss.compute(loss.collate(rows[2:])).total
    assert float(whole) == pytest.approx(float(parts), rel=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("moved_start", [False, True])
def test_lora_is_held_by_what_it_adds(bert: str, moved_start: bool) -> None:
    model, _, _ = model_of(bert, ["lora", "sentiment"], **{"lora.r": 3, "lora.lora_alpha": 12})
    adapter_pairs = pairs(model.net)
    assert len(adapter_pairs) > 4
    if moved_start:  # as pissa does: B does not start at zero
        with torch.no_grad():
            for pair in adapter_pairs:
                pair.b.normal_()
    penalty = Penalty(model, None, 2.0, 0.0)
    assert float(penalty()) == pytest.approx(0, abs=1e-4)
    starts = [4.0 * pair.b0 @ pair.a0 for pair in penalty.pairs]
    with torch.no_grad():
        for pair in penalty.pairs:
            pair.a.normal_()
            pair.b.normal_()
    wanted = sum(float((4.0 * pair.b @ pair.a - start).double().square().sum())
                 for pair, start in zip(penalty.pairs, starts, strict=True))
    assert float(penalty()) == pytest.approx(wanted, rel=1e-4)
    penalty().backward()
    a = penalty.pairs[0].a
    held = a.grad.clone()
    a.grad = None
    ((4.0 * penalty.pairs[0].b @ a - starts[0]).square().sum()).backward()
    assert torch.allclose(held, a.grad, rtol=1e-3, atol=1e-3 * float(a.grad.abs().max()))


@pytest.mark.slow
def test_a_strong_penalty_holds_the_weights(bert: str, tmp_path: Path) -> None:
    from safetensors.torch import load_file

    start = load_file(Path(bert) / "model.safetensors")
    far = []
    for number, alpha in enumerate((0.0, 100.0)):
        out = tmp_path / str(number)
        ftp.run(["full", "sentiment", "l2sp", *QUIET], **OPTIONS, model=bert, learning_rate=1e-3, out=out, head_init="random",
                **{"l2sp.alpha": alpha})
        now = load_file(out / "model" / "model.safetensors")
        far.append(sum(float((now[name] - start[name]).square().sum()) for name in start if name in now))
    assert far[1] < 0.6 * far[0]
    assert "weight_decay = 0.0" in (tmp_path / "0" / "run.toml").read_text(), "it takes the place of weight decay"


def test_shards_are_refused(bert: str) -> None:
    with pytest.raises(ftp.UserError, match="l2sp: the start of sharded"):
        from types import SimpleNamespace

        from ftp_l2sp import L2sp

        wrapper = L2sp().make_loss(SimpleNamespace(settings=SimpleNamespace(shard=True)),  # type: ignore[arg-type]
                                   SimpleNamespace(splits={"train": 1}), None)  # type: ignore[arg-type]
        next(wrapper)
        wrapper.send(SimpleNamespace(extra=None))
