"""Bottleneck adapters: where they sit, what they compute, what is trained and saved, and which mistakes are told."""

from __future__ import annotations

import copy
import re
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from transformers import AutoConfig, AutoModelForCausalLM, AutoModelForMaskedLM

import ftp
from ftp import UserError
from ftp import model as models
from ftp.model import token_rows
from ftp.model.growing import NewTokens
from ftp.net import packing
from ftp.runs.run import execute
from ftp.types import Head, Model
from ftp_adapters import Adapters
from ftp_testing.compare import gradients
from ftp_testing.models import TEXTS, tiny, tiny_tokenizer
from ftp_testing.subject import find

THREE = ("bad", "middling", "good")
KINDS: list[tuple[str, Head]] = [("bert", "labels"), ("roberta", "score"), ("distilbert", "tags"), ("gpt2", "tokens"),
                                 ("llama", "tokens"), ("llama", "span"), ("t5", "tokens"), ("t5", "tags"),
                                 ("bart", "tokens")]
PLACEMENTS = ("pfeiffer", "houlsby", "parallel")


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("models")
    folders = {kind: tiny(kind, folder / kind) for kind in ("bert", "roberta", "gpt2", "llama", "t5", "bart")}
    tokenizer = tiny_tokenizer("bert")
    config = AutoConfig.for_model("distilbert", vocab_size=len(tokenizer), dim=32, n_layers=2, n_heads=4, hidden_dim=64,
                                  dropout=0.0)
    torch.manual_seed(0)
    AutoModelForMaskedLM.from_config(config).save_pretrained(folder / "distilbert")
    tokenizer.save_pretrained(folder / "distilbert")
    folders["gemma"] = gemma(folder / "gemma")
    return {**folders, "distilbert": folder / "distilbert"}


def gemma(folder: Path) -> Path:
    """A network that scales within its embeddings, which are tied to its output layer."""
    tokenizer = tiny_tokenizer("llama")
    config = AutoConfig.for_model("gemma3_text", vocab_size=len(tokenizer), hidden_size=32, num_hidden_layers=2,
                                  num_attention_heads=4, num_key_value_heads=2, head_dim=8, intermediate_size=64)
    torch.manual_seed(0)
    AutoModelForCausalLM.from_config(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def plain(folder: Path, head: Head) -> Model:
    return models.load(models.find(str(folder), head), head, THREE if head in ("labels", "tags") else ())


def adapted(model: Model, seed: int = 0, **options: Any) -> Model:
    run = SimpleNamespace(settings=SimpleNamespace(seed=seed, shard=False), tell=lambda message: None)
    wrapper = Adapters(**options).build_model(run)
    next(wrapper)
    with pytest.raises(StopIteration) as done:
        wrapper.send(model)
    return done.value.value


def trained(model: Model) -> Model:
    """The model after something like training: every trained weight moved, and no other."""
    torch.manual_seed(1)
    with torch.no_grad():
        for weight in model.net.parameters():
            if weight.requires_grad:
                weight.add_(torch.randn_like(weight) * 0.05)
    return model


def same(net: Any, expected: torch.Tensor, inputs: Any, atol: float = 1e-6) -> None:
    torch.testing.assert_close(models.logits(net, inputs), expected, rtol=0, atol=atol)


@pytest.mark.slow
@pytest.mark.parametrize("placement", PLACEMENTS)
@pytest.mark.parametrize("kind, head", KINDS)
def test_adapters_from_start_to_reload(folders, tmp_path, kind, head, placement):
    base = plain(folders[kind], head)
    inputs = models.probe(base, TEXTS)
    before = models.logits(base.net, inputs)
    fresh = base.fresh
    model = adapted(base, placement=placement)
    same(model.net, before, inputs)  # it starts as nothing
    names = [name for name, _ in model.net.named_modules() if name.endswith(".bottleneck")]
    paired = kind in ("t5", "bart") and head == "tokens"
    each = {"houlsby": 10 if paired else 4}.get(placement, 4 if paired else 2)  # their decoders have two attentions a block
    assert len(names) == each
    grown = {name for name, weight in model.net.named_parameters() if weight.requires_grad}
    assert grown == {name for name, _ in model.net.named_parameters() if ".bottleneck." in name or name.startswith(fresh or "-")}
    after = models.logits(trained(model).net, inputs)
    assert not torch.allclose(after, before, atol=1e-3)
    with model.reference() as net:
        same(net, before, inputs)
    same(model.net, after, inputs, atol=0)
    models.save(model, tmp_path / "model")
    same(models.reload(tmp_path / "model").net, after, inputs)


def grown(folder: Path, head: Head) -> Model:
    """A model with two tokens more, whose rows no training has touched."""
    return models.load(models.find(str(folder), head), head, new_tokens=NewTokens(("<|tool|>", "<|note|>")))


@pytest.mark.parametrize("kind, head", [("gpt2", "tokens"), ("llama", "tokens"), ("gemma", "tokens"), ("bart", "tokens"),
                                        ("t5", "tokens"), ("bert", "mask")])
def test_rows_of_new_tokens_are_trained_and_no_others(folders, tmp_path, kind, head):
    base = grown(folders[kind], head)
    new = list(base.fresh_tokens)
    inputs = models.probe(base, [f"<|tool|> {text} <|note|>" for text in TEXTS])
    before = models.logits(base.net, inputs)
    ends = {name: module.weight.detach().clone() for name, module in token_rows.ends(base.net).items()}
    model = adapted(base)
    same(model.net, before, inputs)
    assert token_rows.frozen(model.net, new) == [] and token_rows.frozen(model.net, [5]) == [5]
    sizes = [weight.shape for name, weight in model.net.named_parameters() if name.endswith("token_rows.rows")]
    assert sizes == [torch.Size((2, 32))] * len(ends)

    after = models.logits(trained(model).net, inputs)
    for name, weight in ends.items():
        assert torch.equal(model.net.get_submodule(name).weight, weight), "the base's own rows stay"
    with model.reference() as net:
        same(net, before, inputs)
    # the same network with the trained rows in the base's matrices, and without modules for them
    plain_net = copy.deepcopy(model.net)
    for name in ends:
        rows = plain_net.get_submodule(f"{name}.token_rows")
        with torch.no_grad():
            plain_net.get_submodule(name).weight[new] = rows.rows
        rows.enabled = False
    same(plain_net, after, inputs)

    models.save(model, tmp_path / "model")
    same(models.reload(tmp_path / "model").net, after, inputs)
    if kind == "gemma":  # tied, and scaled within the embeddings
        assert models.verify(model, tmp_path / "model", inputs) <= 1e-6


def test_named_tokens_are_trained_in_a_base_that_knows_them(folders):
    base = plain(folders["llama"], "tokens")
    model = trained(adapted(base, trainable_token_indices=("<|im_end|>", "319")))
    named = {base.tokenizer.convert_tokens_to_ids("<|im_end|>"), 319}
    assert token_rows.frozen(model.net, range(320)) == sorted(set(range(320)) - named)
    with pytest.raises(UserError, match=re.escape("--adapters.trainable_token_indices <|im_emd|>")):
        adapted(plain(folders["llama"], "tokens"), trainable_token_indices=("<|im_emd|>",))


@pytest.mark.slow
@pytest.mark.parametrize("kind, head", [("bert", "labels"), ("llama", "span")])
def test_a_fresh_process_without_ftp_agrees(folders, tmp_path, kind, head):
    model = trained(adapted(plain(folders[kind], head)))
    models.save(model, tmp_path / "model")
    assert models.verify(model, tmp_path / "model", models.probe(model, TEXTS)) <= 1e-6
    size = (tmp_path / "model/adapters.safetensors").stat().st_size
    assert size < (folders[kind] / "model.safetensors").stat().st_size / 2  # the base is not saved again


@pytest.mark.slow
def test_transformers_refuses_the_folder_rather_than_leave_the_adapters_out(folders, tmp_path):
    model = trained(adapted(plain(folders["bert"], "labels")))
    models.save(model, tmp_path / "model")
    code = f"from transformers import AutoModelForSequenceClassification as A; A.from_pretrained({str(tmp_path / 'model')!r})"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, stdin=subprocess.DEVNULL)
    assert done.returncode and "trust_remote_code" in done.stderr


def test_formulas(folders):
    """Against the formulas of the papers, computed outside the hooks."""
    base = plain(folders["bert"], "labels")
    layer = copy.deepcopy(base.net.bert.encoder.layer[0]).eval()
    x = torch.randn(1, 5, 32)
    for placement in PLACEMENTS:
        model = trained(adapted(plain(folders["bert"], "labels"), placement=placement))
        mine = model.net.bert.encoder.layer[0].eval()
        ours = mine(x)
        ours = ours[0] if isinstance(ours, tuple) else ours

        def adapter(module: Any, x: torch.Tensor, f: Any, scaling: float) -> torch.Tensor:
            down = module.bottleneck.down
            up = module.bottleneck.up
            return scaling * (f(x @ down.weight.T + down.bias) @ up.weight.T + up.bias)

        hidden = layer.attention.self(x)[0]
        hidden = layer.attention.output.dense(hidden)
        if placement == "houlsby":
            hidden = hidden + adapter(mine.attention.output.dense, hidden, torch.nn.functional.silu, 1)
        middle = layer.attention.output.LayerNorm(hidden + x)
        feed = layer.output.dense(layer.intermediate(middle))
        if placement == "houlsby":
            expected = layer.output.LayerNorm(feed + adapter(mine.output.dense, feed, torch.nn.functional.silu, 1) + middle)
        elif placement == "parallel":
            expected = layer.output.LayerNorm(feed + adapter(mine.output.dense, middle, torch.relu, 4) + middle)
        else:
            normed = layer.output.LayerNorm(feed + middle)
            expected = layer.output.LayerNorm(feed + adapter(mine.output.LayerNorm, normed, torch.relu, 1) + middle)
        torch.testing.assert_close(ours, expected, rtol=0, atol=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("options, width", [
    ({}, 2), ({"reduction_factor": 4.0}, 8), ({"bottleneck_size": 5}, 5), ({"placement": "parallel"}, 16),
    ({"ln_before": True, "dropout": 0.5, "scaling": 2.0, "non_linearity": "gelu", "layers": (1,)}, 2),
])
def test_options_come_back_from_disk(folders, tmp_path, options, width):
    model = trained(adapted(plain(folders["llama"], "tokens"), **options))
    modules = {name: module for name, module in model.net.named_modules() if name.endswith(".bottleneck")}
    assert {module.down.out_features for module in modules.values()} == {width}
    if options.get("layers"):
        assert list(modules) == ["model.layers.1.bottleneck"]
    inputs = models.probe(model, TEXTS)
    models.save(model, tmp_path / "model")
    same(models.reload(tmp_path / "model").net, models.logits(model.net, inputs), inputs)


@pytest.mark.slow
@pytest.mark.parametrize("placement", PLACEMENTS)
@pytest.mark.parametrize("kind, head", [("bert", "labels"), ("gpt2", "tokens"), ("llama", "tokens")])
def test_rows_are_packed_and_gradient_checkpointing_changes_nothing(folders, kind, head, placement):
    model = trained(adapted(plain(folders[kind], head), placement=placement))
    assert packing.can_pack(model.net, model.tokenizer) == (True, "")
    inputs = models.probe(model, TEXTS)

    def step() -> dict[str, torch.Tensor]:
        return gradients(model.net, model.net.train()(**inputs).logits.float().square().mean())

    stored = step()
    model.net.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
    recomputed = step()
    assert stored and stored.keys() == recomputed.keys()
    for name, gradient in stored.items():
        torch.testing.assert_close(recomputed[name], gradient, rtol=1e-5, atol=1e-7)


def test_a_copy_of_the_network_uses_its_own_adapters(folders):
    model = trained(adapted(plain(folders["gpt2"], "tokens"), placement="parallel"))
    inputs = models.probe(model, TEXTS)
    before = models.logits(model.net, inputs)
    other = copy.deepcopy(model.net)
    with torch.no_grad():
        for name, weight in other.named_parameters():
            if ".bottleneck." in name:
                weight.zero_()
    same(other, models.logits(plain(folders["gpt2"], "tokens").net, inputs), inputs)
    same(model.net, before, inputs, atol=0)


def test_the_start_comes_from_the_seed_alone(folders):
    def start(seed: int) -> torch.Tensor:
        torch.manual_seed(seed + 50)
        net = adapted(plain(folders["gpt2"], "tokens"), seed=seed).net
        return next(weight for name, weight in net.named_parameters() if "bottleneck.down" in name)

    assert torch.equal(start(3), start(3)) and not torch.equal(start(3), start(4))


def test_mistakes_are_told(folders, tmp_path):
    with pytest.raises(UserError, match=r"layers 7.*2 blocks"):
        adapted(plain(folders["bert"], "labels"), layers=(7,))
    with pytest.raises(UserError, match="both say how wide"):
        adapted(plain(folders["bert"], "labels"), bottleneck_size=4, reduction_factor=2.0)
    with pytest.raises(UserError, match="already"):
        adapted(adapted(plain(folders["bert"], "labels")))
    net = torch.nn.Sequential(torch.nn.Linear(4, 4))
    with pytest.raises(UserError, match="no blocks with an attention"):
        adapted(Model(net, None, "labels"))  # type: ignore[arg-type]
    model = adapted(plain(folders["bert"], "labels"))
    models.save(model, tmp_path / "model")
    with pytest.raises(UserError, match="trust"):
        plain(tmp_path / "model", "labels")


@pytest.mark.parametrize("words", [["merge"], *(["export", "--to", form] for form in ("safetensors", "gguf", "onnx"))])
def test_whole_weights_are_refused(folders, tmp_path, capsys, monkeypatch, words):
    from ftp.cli.main import call
    from ftp_export import converters

    monkeypatch.setattr(converters, "converter", lambda form: ["converter"])
    models.save(trained(adapted(plain(folders["llama"], "tokens"))), tmp_path / "model")
    assert call([words[0], str(tmp_path), *words[1:]]) == 2
    assert "are not linear, and cannot be merged" in " ".join(capsys.readouterr().err.split())
    assert not [path for path in tmp_path.rglob("*") if path.is_file() and path.relative_to(tmp_path).parts[0] != "model"]


@pytest.mark.slow
def test_a_run(folders, tmp_path):
    done = execute(find("adapters").prepared(model=str(folders["bert"]), max_steps=4, baselines=True, out=str(tmp_path / "run"),
                                            head_init="random"))
    assert done.trained < done.total / 4
    answers = ftp.load(done.out).predict(["good thing", "bad thing"])
    assert {answer["answer"] for answer in answers} <= {"bad", "good"}


@pytest.mark.slow
@pytest.mark.parametrize("kind, plugins", [("gpt2", ("sft", "chat")), ("llama", ("dpo", "chat")), ("bert", ("sentiment",))])
def test_a_plan_knows_without_weights_what_is_trained(folders, kind, plugins):
    from ftp.plugins.plan import prepare
    from ftp.runs.dry_run import forecast

    plan_of_run = forecast(prepare(["adapters", *plugins], given=[("flags", {"model": str(folders[kind])})]))
    assert not plan_of_run.unknown and plan_of_run.shape is not None
    head: Head = "labels" if kind == "bert" else "tokens"
    model = adapted(models.load(models.find(str(folders[kind]), head), head, ("a", "b") if kind == "bert" else ()))
    assert (plan_of_run.shape.trained, plan_of_run.shape.total) == models.parameters(model.net)


@pytest.mark.slow
def test_preferences_compare_with_the_adapters_off(folders, tmp_path):
    prepared = find("adapters").prepared(plugins=("dpo",), model=str(folders["llama"]), max_steps=2, baselines=True,
                                         out=str(tmp_path / "run"), learning_rate=1e-2)
    done = execute(prepared)
    before = [score.value for score in done.baselines if score.name == "rewards/margins"]
    assert before and all(abs(value) < 1e-6 for value in before)  # the first margin is that of the model with itself
    assert abs(done.score("rewards/margins")) > 1e-6
