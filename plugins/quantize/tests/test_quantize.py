"""A quantised base: what is quantised, that it trains and comes back, and what is refused."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path
from typing import Any

import pytest
import torch

import ftp
from ftp import UserError
from ftp import model as models
from ftp.plugins.plan import prepare
from ftp.runs.run import execute
from ftp_quantize import plugin
from ftp_testing import subject
from ftp_testing.models import TEXTS, tiny

KINDS = {
    "nf4": {"bits": "4"},
    "fp4": {"bits": "4", "quant_type": "fp4", "double_quant": True},
    "int8": {"bits": "8"},
    "ao8": {"bits": "8", "backend": "torchao"},
}


def flags_of(name: str) -> dict[str, Any]:
    return {f"quantize.{key}": value for key, value in KINDS[name].items()}


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("models")
    wide = {"hidden_size": 64, "intermediate_size": 128}
    return {kind: tiny(kind, folder / kind, **wide) for kind in ("bert", "llama")}  # type: ignore[arg-type]


def prepared(folders: dict[str, Path], out: Path, kind: str, *plugins: str, local: tuple[str, ...] = (), **options: Any) -> Any:
    usual = {"device": "cpu", "precision": "fp32", "baselines": False, "verify": False, "report": False, "max_steps": 12,
             "logging_steps": 1, "learning_rate": 5e-3, "model": str(folders[kind]), "out": str(out),
             "cache_dir": str(out.parent / "cache")}
    without = [f"-{name}" for name in subject._risks()]
    return prepare(["quantize", *plugins, *without], [subject.ROWS, *local], [("test", {**usual, **options})])


def run(folders: dict[str, Path], out: Path, kind: str, *plugins: str, **options: Any) -> Any:
    return execute(prepared(folders, out, kind, *plugins, **options))


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", list(KINDS))
def test_lora_on_a_quantised_base_trains_and_comes_back(folders, tmp_path, name):
    verify = name != "fp4"  # a fresh process, the card's code
    done = run(folders, tmp_path / "run", "llama", "lora", "sft", verify=verify, **flags_of(name))
    log = [json.loads(line) for line in (done.out / "log.jsonl").read_text().splitlines()]
    losses = [line["loss"] for line in log if line["event"] == "step"]
    assert sum(losses[-3:]) < sum(losses[:3])
    back = models.reload(done.out / "model")
    inputs = models.probe(back, TEXTS)
    assert torch.equal(models.logits(models.reload(done.out / "model").net, inputs), models.logits(back.net, inputs))
    plain = models.logits(models.load(models.find(str(folders["llama"]), "tokens"), "tokens").net, inputs)
    with back.net.disable_adapter():
        base = models.logits(back.net, inputs)
    assert 1e-4 < float((base - plain).abs().max() / plain.abs().max()) < 0.5  # quantised, and still that model
    kinds = {type(module).__name__ for module in back.net.modules()}
    assert kinds & {"Linear4bit", "Linear8bitLt"} or name == "ao8"
    assert type(back.net.get_output_embeddings()) is torch.nn.Linear
    written = json.loads((done.out / "model/base_config/config.json").read_text())
    assert "quantization_config" not in written


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", ["nf4", "int8", "ao8"])
def test_a_new_head_stays_as_it_is(folders, tmp_path, name):
    done = run(folders, tmp_path / "run", "bert", "lora", max_steps=2, **flags_of(name))
    back = ftp.load(done.out)
    net = back.model.net.get_base_model()
    for module in (net.classifier.modules_to_save["default"], net.bert.pooler.modules_to_save["default"].dense):
        assert type(module) is torch.nn.Linear and module.weight.dtype == torch.float32
    assert back.predict(["good thing"])[0]["answer"] in ("bad", "good")


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("method", ["dpo", "adapters"])
def test_other_plugins_on_a_quantised_base(folders, tmp_path, method):
    more = ("dpo", "lora") if method == "dpo" else (method,)
    kind = "llama" if method == "dpo" else "bert"
    options = {"baselines": True} if method == "dpo" else {"verify": True}
    done = run(folders, tmp_path / "run", kind, *more, max_steps=2, **options, **flags_of("nf4"))
    before = [score.value for score in done.baselines if score.name == "rewards/margins"]
    assert all(abs(value) < 1e-6 for value in before) and bool(before) == (method == "dpo")


HALT = '''
from ftp import hookimpl, plugin
from ftp.types import Saved

@plugin
class Halt:
    """Ctrl-C after the checkpoint of update 2."""

    @hookimpl
    def on_event(self, event):
        if isinstance(event, Saved) and event.step == 2:
            raise KeyboardInterrupt
'''


@pytest.mark.filterwarnings("ignore")
def test_a_stopped_run_goes_on(folders, tmp_path):
    whole = run(folders, tmp_path / "whole", "llama", "lora", "sft", max_steps=4, save_steps=2, **flags_of("nf4"))
    halt = tmp_path / "halt.py"
    halt.write_text(HALT)
    part = prepared(folders, tmp_path / "part", "llama", "lora", "sft", local=(f"{halt}:Halt",), max_steps=4, save_steps=2,
                    **flags_of("nf4"))
    with pytest.raises(KeyboardInterrupt):
        execute(part)
    done = execute(part, resume=tmp_path / "part")
    unbroken = models.reload(whole.out / "model").net
    resumed = models.reload(done.out / "model").net
    for (name, weight), (_, other) in zip(unbroken.named_parameters(), resumed.named_parameters(), strict=True):
        if "lora_" in name:
            assert torch.equal(weight, other), name


@pytest.mark.filterwarnings("ignore")
def test_merging_into_the_whole_base_is_told_as_what_it_is(folders, tmp_path):
    done = run(folders, tmp_path / "run", "llama", "lora", "sft", max_steps=1, **flags_of("nf4"))
    with pytest.raises(UserError, match="quantised"):
        models.merged(done.out / "model", tmp_path / "merged")
    check = models.merged(done.out / "model", tmp_path / "merged", bound=0.5)
    assert 1e-3 < check.difference < 0.5
    assert {weight.dtype for weight in models.reload(tmp_path / "merged").net.parameters()} == {torch.float32}


def test_what_cannot_be_trained_is_refused(folders, tmp_path, monkeypatch):
    monkeypatch.setattr(plugin, "find_spec", lambda name: object())
    with pytest.raises(UserError, match=r"cannot be trained[\s\S]*lora"):
        run(folders, tmp_path / "a", "llama", "sft")
    with pytest.raises(UserError, match=r"cannot be trained[\s\S]*lora"):
        run(folders, tmp_path / "b", "llama", "full", "sft")
    with pytest.raises(UserError, match="4 bits only"):
        run(folders, tmp_path / "c", "llama", "lora", "sft", **{"quantize.bits": "8", "quantize.quant_type": "fp4"})
    with pytest.raises(UserError, match="asked for 8 bits"):
        run(folders, tmp_path / "d", "llama", "lora", "sft", **{"quantize.backend": "torchao"})


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(("sizes", "refused"), [({"hidden_size": 32}, True), ({"intermediate_size": 48}, True), ({}, False)])
def test_layers_that_a_cpu_could_not_pack_are_refused_before_training(tmp_path, sizes, refused):
    narrow = {"llama": tiny("llama", tmp_path / "model", **{"hidden_size": 64, "intermediate_size": 64, **sizes})}
    if not refused:
        assert run(narrow, tmp_path / "run", "llama", "lora", "sft", max_steps=1, **flags_of("nf4")).step == 1
        return
    with pytest.raises(UserError, match=r"bits 4: \d+ linear layers do not fit[\s\S]*--quantize.bits 8"):
        run(narrow, tmp_path / "run", "llama", "lora", "sft", max_steps=1, **flags_of("nf4"))
    assert '"event": "step"' not in (tmp_path / "run/log.jsonl").read_text()


def test_a_library_that_is_missing_is_named(folders, tmp_path, monkeypatch):
    monkeypatch.setattr(plugin, "find_spec", lambda name: None)
    with pytest.raises(UserError, match="ftp install --exact bitsandbytes"):
        run(folders, tmp_path / "a", "llama", "lora", "sft")
    assert importlib.util.find_spec("ftp_quantize")


def test_full_refuses_quantised_weights():
    from types import SimpleNamespace

    import ftp_full
    wrapper = ftp_full.Full().build_model()
    next(wrapper)
    net = torch.nn.Linear(2, 2)
    net.is_quantized = True
    with pytest.raises(UserError, match=r"quantised[\s\S]*quantize,lora"):
        wrapper.send(SimpleNamespace(net=net))
