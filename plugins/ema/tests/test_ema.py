"""The average is torch's own, it is what is scored and saved, and training goes on as without it."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch.optim.swa_utils import AveragedModel, get_ema_avg_fn

import ftp
from ftp.folder.checkpoints import checkpoint_path
from ftp.train import checkpoint
from ftp_ema import Ema
from ftp_testing.models import tiny


def averaged_by_plugin(decay: float, updates: int) -> tuple[torch.nn.Module, Ema]:
    torch.manual_seed(0)
    net = torch.nn.Linear(3, 2)
    plugin = Ema(decay=decay)
    plugin.weights = dict(net.named_parameters())
    for _ in range(updates):
        with torch.no_grad():
            for weight in net.parameters():
                weight.add_(torch.randn_like(weight))
        plugin.count += 1
        plugin.add_weights()
    return net, plugin


def test_swa_is_that_of_torch() -> None:
    net, plugin = averaged_by_plugin(1.0, 5)
    torch.manual_seed(0)
    other = torch.nn.Linear(3, 2)
    reference = AveragedModel(other)
    for _ in range(5):
        with torch.no_grad():
            for weight in other.parameters():
                weight.add_(torch.randn_like(weight))
        reference.update_parameters(other)
    assert torch.equal(net.weight, other.weight)
    for name, weight in reference.module.named_parameters():
        torch.testing.assert_close(plugin.average[name], weight.detach())


def test_once_the_mean_is_long_enough_it_is_torchs_ema() -> None:
    net, plugin = averaged_by_plugin(0.5, 2)  # its mean of two has the share of one half
    reference = AveragedModel(net, avg_fn=get_ema_avg_fn(0.5))
    reference.module.load_state_dict(plugin.average)
    reference.n_averaged.fill_(2)
    for _ in range(3):
        with torch.no_grad():
            net.weight.mul_(1.5)
        plugin.count += 1
        plugin.add_weights()
        reference.update_parameters(net)
    for name, weight in reference.module.named_parameters():
        torch.testing.assert_close(plugin.average[name], weight.detach())


def test_within_it_the_network_has_the_average_and_after_it_its_own_weights() -> None:
    net, plugin = averaged_by_plugin(0.9, 3)
    before = net.weight.detach().clone()
    with pytest.raises(ValueError, match="midway"), plugin.averaged():
        assert torch.equal(net.weight, plugin.average["weight"]) and not torch.equal(net.weight, before)
        raise ValueError("midway")
    assert torch.equal(net.weight, before)


def test_sharded_weights_are_refused() -> None:
    run: Any = SimpleNamespace(settings=SimpleNamespace(shard=True))
    with pytest.raises(ftp.UserError, match="leave out --shard"):
        next(Ema().make_optimizer(run, None, None))  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def options(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    folder = tmp_path_factory.mktemp("ema")
    for split, count in (("train", 24), ("validation", 8)):
        rows = [{"text": f"the film was {'good' if i % 2 else 'bad'} {split} {i}", "label": i % 2} for i in range(count)]
        (folder / f"{split}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return {"data": str(folder), "model": str(tiny("bert", folder / "bert")), "max_steps": 6, "batch_size": 8, "eval_steps": 3,
            "eval_on_start": False, "learning_rate": 0.02, "device": "cpu", "precision": "fp32", "baselines": False,
            "report": False, "on_risk": "warn"}


@pytest.mark.parametrize("best", [3, 6])
def test_the_model_that_is_saved_is_the_average_that_was_scored(options: dict[str, Any], tmp_path: Path, best: int) -> None:
    names = ["full", "sentiment", "ema", "-leakage", "-forgetting", "-preflight", "-underfitting", "-overfitting"]
    out = tmp_path / "run"
    # the score that picks the best goes up with every evaluation, or down
    judge = tmp_path / "judge.py"
    judge.write_text(JUDGE.format(sign=1 if best == 6 else -1))
    result = ftp.run(names, **options, out=out, plugins_from=(f"{judge}:Judge",), metric_for_best_model="turn", verify=True)
    plain = ftp.run([name for name in names if name != "ema"], **options, out=tmp_path / "plain", verify=False)
    assert losses(out) == losses(plain.out), "training goes on as without it"
    weights, saved = checkpoint.load(checkpoint_path(out / "checkpoints", best))
    model = load_file(out / "model" / "model.safetensors")
    name = "classifier.weight"
    assert torch.equal(model[name], saved["plugins"]["ema"]["average"][name])
    assert not torch.equal(model[name], weights[f"net.{name}"])
    # the loss of its answers is that of the evaluation
    looks = [json.loads(line) for line in (out / "log.jsonl").read_text().splitlines()]
    scored = next(line["validation_loss"] for line in looks if line["event"] == "evaluation" and line["step"] == best)
    assert result.score("loss", "validation") == pytest.approx(scored, rel=1e-6)


def losses(out: Path) -> list[float]:
    lines = [json.loads(line) for line in (out / "log.jsonl").read_text().splitlines()]
    return [line["loss"] for line in lines if line["event"] == "step"]


JUDGE = '''
import ftp
@ftp.plugin
class Judge:
    """Gives a score that rises or falls with every look."""
    seen = 0
    @ftp.hookimpl
    def evaluate(self, predictions):
        self.seen += 1
        return [ftp.types.Score("turn", {sign} * self.seen, "max", split) for split in predictions]
'''
