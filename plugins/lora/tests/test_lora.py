"""Adapters: what is trained, what is saved, what PEFT alone makes of it, and which mistakes are told."""

from __future__ import annotations

import json
import socket
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from peft import AutoPeftModelForCausalLM

from ftp import UserError
from ftp import model as models
from ftp.model import token_rows
from ftp.model.growing import NewTokens
from ftp.types import Head, Model
from ftp_lora import Lora
from ftp_testing.models import TEXTS, tiny

THREE = ("bad", "middling", "good")
KINDS: list[tuple[str, Head]] = [
    ("bert", "labels"), ("bert", "tags"), ("bert", "span"), ("bert", "mask"), ("roberta", "score"), ("gpt2", "tokens"),
    ("gpt2", "labels"), ("llama", "tokens"), ("llama", "span"), ("t5", "tokens"), ("t5", "labels"), ("bart", "tokens"),
]


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("models")
    return {kind: tiny(kind, folder / kind) for kind in ("bert", "roberta", "gpt2", "llama", "t5", "bart")}


def plain(folder: Path, head: Head) -> Model:
    return models.load(models.find(str(folder), head), head, THREE if head in ("labels", "tags") else ())


def adapted(model: Model, seed: int = 0, **options: Any) -> Model:
    settings = SimpleNamespace(seed=seed, shard=False)
    wrapper = Lora(**options).build_model(SimpleNamespace(settings=settings, tell=lambda line: None))
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


def from_card(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """The model as the code on its card loads it."""
    monkeypatch.chdir(folder.parent)
    names: dict[str, Any] = {}
    exec((folder / "README.md").read_text().split("```python\n")[1].split("```")[0], names)
    return names["model"]


def same(net: Any, other: Any, inputs: Any, atol: float = 1e-6) -> None:
    torch.testing.assert_close(models.logits(net, inputs), models.logits(other, inputs), rtol=0, atol=atol)


@pytest.mark.slow
@pytest.mark.parametrize("kind, head", KINDS)
def test_adapter_from_start_to_merge(folders, tmp_path, monkeypatch, kind, head):
    base = plain(folders[kind], head)
    inputs = models.probe(base, TEXTS)
    before = models.logits(base.net, inputs)
    model = adapted(base)
    torch.testing.assert_close(models.logits(model.net, inputs), before, rtol=0, atol=1e-6)  # it starts as nothing

    grown = [name for name, weight in model.net.named_parameters() if weight.requires_grad]
    assert all("lora_" in name or any(f"{new}.modules_to_save" in name for new in base.fresh) for name in grown)
    for new in base.fresh:
        assert any(f"{new}.modules_to_save.default" in name for name in grown), new
    assert any("lora_A" in name for name in grown)

    trained(model)
    after = models.logits(model.net, inputs)
    assert not torch.allclose(after, before, atol=1e-3)
    with model.reference() as net:
        torch.testing.assert_close(models.logits(net, inputs), before, rtol=0, atol=1e-6)
    torch.testing.assert_close(models.logits(model.net, inputs), after, rtol=0, atol=0)

    with monkeypatch.context() as patch:
        patch.setattr(socket, "getaddrinfo", lambda *_, **__: pytest.fail("the network was asked"))
        models.save(model, tmp_path / "model")
    assert not (tmp_path / "model/config.json").exists()  # else transformers looks for whole weights beside it
    loaded = from_card(tmp_path / "model", monkeypatch)
    same(loaded, model.net, inputs)
    same(models.reload(tmp_path / "model").net, model.net, inputs)
    same(loaded.merge_and_unload(), model.net, inputs, atol=1e-5)
    if head in ("labels", "tags"):
        assert loaded.config.id2label == dict(enumerate(THREE))


@pytest.mark.slow
@pytest.mark.parametrize("options", [
    {"use_dora": True}, {"use_rslora": True}, {"init_lora_weights": "pissa"}, {"init_lora_weights": "olora"},
    {"init_lora_weights": "gaussian"}, {"init_lora_weights": "orthogonal"}, {"bias": "all"}, {"bias": "lora_only"},
    {"lora_bias": True},
    {"rank_pattern": ("query=2",), "alpha_pattern": ("value=64",)}, {"layers_to_transform": (1,)},
    {"target_modules": (r".*\.(query|value)",)}, {"target_modules": ("query", "classifier"), "modules_to_save": ("pooler",)},
    {"exclude_modules": ("query", "dense")}, {"lora_dropout": 0.5},
])
def test_every_option_comes_back_from_disk(folders, tmp_path, monkeypatch, recwarn, options):
    base = plain(folders["bert"], "labels")
    inputs = models.probe(base, TEXTS)
    before = models.logits(base.net, inputs)
    model = trained(adapted(base, **options))
    with model.reference() as net:  # biases and starts that change the base take the checkpoint again
        torch.testing.assert_close(models.logits(net, inputs), before, rtol=0, atol=1e-6)
    models.save(model, tmp_path / "model")
    assert not [warning for warning in recwarn.list if "shape" in str(warning.message)]
    same(from_card(tmp_path / "model", monkeypatch), model.net, inputs, atol=1e-5)


@pytest.mark.slow
def test_a_fresh_process_without_ftp_agrees_with_three_classes(folders, tmp_path):
    model = trained(adapted(plain(folders["bert"], "labels")))
    models.save(model, tmp_path / "model")
    assert models.verify(model, tmp_path / "model", models.probe(model, TEXTS)) <= 1e-6


def test_plain_one_liners_of_peft_and_transformers(folders, tmp_path):
    from peft import AutoPeftModelForCausalLM, AutoPeftModelForSequenceClassification
    from transformers import AutoConfig, AutoModelForSequenceClassification

    writer = trained(adapted(plain(folders["llama"], "tokens")))
    models.save(writer, tmp_path / "writer")
    same(AutoPeftModelForCausalLM.from_pretrained(tmp_path / "writer"), writer.net, models.probe(writer, TEXTS))
    model = trained(adapted(plain(folders["bert"], "labels")))
    models.save(model, tmp_path / "model")
    inputs = models.probe(model, TEXTS)
    same(AutoPeftModelForSequenceClassification.from_pretrained(tmp_path / "model", num_labels=3), model.net, inputs)
    config = AutoConfig.from_pretrained(tmp_path / "model/base_config")
    same(AutoModelForSequenceClassification.from_pretrained(tmp_path / "model", config=config), model.net, inputs)


def test_saving_an_adapter_of_a_hub_model_asks_no_network(folders, tmp_path, monkeypatch):
    from peft.utils import other

    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)  # with it PEFT would not ask anyhow
    asked: list[object] = []
    monkeypatch.setattr(other, "file_exists", lambda *request, **_: asked.append(request) or False)
    base = plain(folders["bert"], "labels")
    base.net.name_or_path = "someone/model"
    model = adapted(base)
    models.save(model, tmp_path / "model")
    assert not asked
    assert json.loads((tmp_path / "model/adapter_config.json").read_text())["base_model_name_or_path"] == "someone/model"
    model.net.save_pretrained(tmp_path / "plain")
    assert asked  # what PEFT does by itself


@pytest.mark.slow
def test_an_adapter_names_an_offered_base_by_its_hub_id(folders: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Not by the folder of the package on this machine; it is proven with that folder, and ftp finds it again offline."""
    from ftp.types import Offer

    def offers() -> dict[str, Any]:
        return {"house/encoder": [(lambda: Offer(folders["bert"], default_for=("labels",)), "house-models", "1.0")]}

    monkeypatch.setattr("ftp.model.source.offers", offers)
    monkeypatch.setattr("ftp.model.saving.offers", offers)
    model = trained(adapted(models.load(models.find(None, "labels"), "labels", THREE), r=2))
    models.save(model, tmp_path / "model")
    assert json.loads((tmp_path / "model/adapter_config.json").read_text())["base_model_name_or_path"] == "house/encoder"
    texts = {file.name: file.read_text() for file in (tmp_path / "model").rglob("*") if file.suffix in (".json", ".md")}
    assert not [name for name, text in texts.items() if str(folders["bert"]) in text]
    assert 'from_pretrained("house/encoder"' in texts["README.md"] and "`house-models` has the base" in texts["README.md"]
    inputs = models.probe(model, TEXTS)
    assert models.verify(model, tmp_path / "model", inputs) <= 1e-6
    again = models.reload(tmp_path / "model")
    torch.testing.assert_close(models.logits(again.net, inputs), models.logits(model.net, inputs), rtol=0, atol=1e-6)
    before = models.load(models.find(None, "labels"), "labels", THREE).net
    assert again.reference is not None
    with again.reference() as net:
        torch.testing.assert_close(models.logits(net, inputs), models.logits(before, inputs), rtol=0, atol=1e-6)


def test_a_merged_adapter_is_a_model_to_start_from(folders, tmp_path):
    model = trained(adapted(plain(folders["bert"], "labels")))
    models.save(model, tmp_path / "model")
    with pytest.raises(UserError, match="ftp merge"):
        plain(tmp_path / "model", "labels")
    models.merge(tmp_path / "model", tmp_path / "merged")
    again = plain(tmp_path / "merged", "labels")
    assert again.fresh == ()
    same(again.net, model.net, models.probe(model, TEXTS), atol=1e-5)
    second = trained(adapted(again))  # a head that is not new is trained and saved all the same, as PEFT does
    models.save(second, tmp_path / "second")
    same(models.reload(tmp_path / "second").net, second.net, models.probe(model, TEXTS))


def test_the_reference_leaves_modes_and_gradients_alone(folders):
    model = adapted(plain(folders["bert"], "labels"))
    model.net.train()
    model.net.base_model.model.bert.embeddings.eval()
    frozen = next(weight for name, weight in model.net.named_parameters() if "lora_A" in name)
    frozen.requires_grad_(False)
    modes = [module.training for module in model.net.modules()]
    gradients = [weight.requires_grad for weight in model.net.parameters()]
    with model.reference() as net:
        assert not net.training
    assert modes == [module.training for module in model.net.modules()]
    assert gradients == [weight.requires_grad for weight in model.net.parameters()]


def test_the_start_comes_from_the_seed_alone(folders):
    def start(seed: int) -> torch.Tensor:
        torch.manual_seed(seed + 50)
        weights = adapted(plain(folders["gpt2"], "tokens"), seed=seed).net.named_parameters()
        return next(weight for name, weight in weights if "lora_A" in name)

    before = torch.get_rng_state()
    assert torch.equal(start(3), start(3)) and not torch.equal(start(3), start(4))
    torch.set_rng_state(before)
    adapted(plain(folders["gpt2"], "tokens"))
    assert torch.equal(before, torch.get_rng_state())


def test_what_gets_adapters(folders, recwarn):
    model = adapted(plain(folders["gpt2"], "tokens"))
    with_adapters = {name for name, module in model.net.named_modules() if hasattr(module, "lora_A")}
    assert {name.split(".")[-1] for name in with_adapters} == {"c_attn", "c_proj", "c_fc"}
    assert not recwarn.list  # Conv1D needs no word from PEFT
    model = adapted(plain(folders["bert"], "labels"), layers_to_transform=(1,))
    with_adapters = {name for name, module in model.net.named_modules() if hasattr(module, "lora_A")}
    assert len(with_adapters) == 6 and all(".layer.1." in name for name in with_adapters)
    written = adapted(plain(folders["bert"], "labels"), lora_alpha=8, r=2).net.peft_config["default"]
    assert (written.r, written.lora_alpha, written.task_type) == (2, 8, "SEQ_CLS")
    assert written.base_model_name_or_path == str(folders["bert"])


@pytest.mark.slow
@pytest.mark.parametrize("options, words", [
    ({"target_modules": ("qeury", "valeu")}, ("qeury", "'query'", "valeu", "'value'", "dense")),
    ({"target_modules": ("all-linear", "query")}, ("stands alone",)),
    ({"target_modules": (r"nothing\..*",)}, ("no such module",)),
    ({"target_modules": ("(query",)}, ("not a regular expression",)),
    ({"exclude_modules": ("nope",)}, ("--lora.exclude_modules nope", "no such module")),
    ({"modules_to_save": ("pooller",)}, ("--lora.modules_to_save pooller", "'pooler'")),
    ({"rank_pattern": ("nope=3",)}, ("--lora.rank_pattern nope",)),
    ({"rank_pattern": ("query:3",)}, ("not name=number",)),
    ({"layers_to_transform": (1, 7)}, ("layers_to_transform 7",)),
    ({"target_modules": ("bert.encoder.layer.0.attention.self.query",), "layers_to_transform": (0,)}, ("ends of names", "query")),
    ({"target_modules": (r".*query",), "layers_to_transform": (0,)}, ("PEFT refuses", "layers_to_transform")),
    ({"target_modules": ("attention",)}, ("PEFT refuses", "not supported")),
    ({"use_dora": True, "lora_bias": True}, ("PEFT refuses", "lora_bias")),
    ({"layers_pattern": ("layer",)}, ("PEFT refuses", "layers_pattern")),
])
def test_mistakes_are_told(folders, options, words):
    with pytest.raises(UserError) as error:
        adapted(plain(folders["bert"], "labels"), **options)
    for word in words:
        assert word in str(error.value)


@pytest.mark.parametrize("options", [
    {"target_modules": ("lm_head",)}, {"target_modules": ("wte", "c_attn")}, {"modules_to_save": ("lm_head",)},
    {"target_modules": (r".*(wte|c_attn)",)}, {"target_modules": ("wte",), "ensure_weight_tying": True},
])
def test_one_end_of_tied_embeddings_is_refused(folders, options):
    with pytest.raises(UserError) as error:
        adapted(plain(folders["gpt2"], "tokens"), **options)
    assert "shares its weights" in str(error.value) and "ensure_weight_tying" in str(error.value)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:Input and output embeddings are no longer tied")
@pytest.mark.parametrize("end", ["wte", "lm_head"])
def test_both_ends_of_tied_embeddings_are_trained_saved_and_merged(folders, tmp_path, monkeypatch, end):
    base = plain(folders["gpt2"], "tokens")
    inputs = models.probe(base, TEXTS)
    before = models.logits(base.net, inputs)
    model = trained(adapted(base, modules_to_save=(end,), ensure_weight_tying=True))
    both = model.net.get_input_embeddings().weight, model.net.get_output_embeddings().weight
    assert both[0] is both[1] and both[0].requires_grad
    with model.reference() as net:
        torch.testing.assert_close(models.logits(net, inputs), before, rtol=0, atol=1e-6)
    models.save(model, tmp_path / "model")
    loaded = from_card(tmp_path / "model", monkeypatch)
    same(loaded, model.net, inputs)
    same(loaded.merge_and_unload(), model.net, inputs, atol=1e-5)
    same(models.reload(models.merge(tmp_path / "model", tmp_path / "merged")).net, model.net, inputs, atol=1e-5)
    with pytest.raises(UserError, match="it would do nothing"):
        adapted(plain(folders["llama"], "tokens"), ensure_weight_tying=True)


def test_an_adapter_on_an_output_layer_of_its_own_works_and_merges(folders, tmp_path, monkeypatch):
    model = trained(adapted(plain(folders["llama"], "tokens"), target_modules=("lm_head", "embed_tokens", "q_proj")))
    inputs = models.probe(model, TEXTS)
    models.save(model, tmp_path / "model")
    loaded = from_card(tmp_path / "model", monkeypatch)
    same(loaded, model.net, inputs)
    same(loaded.merge_and_unload(), model.net, inputs, atol=1e-5)


def test_a_moved_base_is_told(folders, tmp_path):
    folder = tiny("bert", tmp_path / "base")
    models.save(adapted(plain(folder, "labels")), tmp_path / "model")
    folder.rename(tmp_path / "elsewhere")
    with pytest.raises(UserError, match="not where it was"):
        models.reload(tmp_path / "model")
    config = json.loads((tmp_path / "model/adapter_config.json").read_text())
    config["base_model_name_or_path"] = str(tmp_path / "elsewhere")
    (tmp_path / "model/adapter_config.json").write_text(json.dumps(config))
    assert models.reload(tmp_path / "model").labels == THREE


@pytest.mark.slow
@pytest.mark.parametrize("kind, head", [
    ("gpt2", "tokens"), ("llama", "tokens"), ("t5", "tokens"), ("bart", "tokens"), ("bert", "labels"), ("llama", "labels")])
def test_added_tokens_are_trained_saved_reloaded_and_merged(folders, tmp_path, monkeypatch, kind, head):
    source = models.find(str(folders[kind]), head)
    labels = THREE if head == "labels" else ()
    base = models.load(source, head, labels, seed=3, new_tokens=NewTokens(("<|tool|>", "<|note|>")))
    ids = base.tokenizer.convert_tokens_to_ids(["<|tool|>", "<|note|>"])
    assert base.fresh_tokens == tuple(ids) and base.net.get_input_embeddings().weight.shape[0] == ids[1] + 1
    inputs = models.probe(base, ["one <|tool|> and a <|note|>", *TEXTS])
    assert ids[0] in inputs["input_ids"][0].tolist()
    before = models.logits(base.net, inputs)
    with base.reference() as net:  # the checkpoint once more, with the same new rows
        same(net, base.net, inputs)
    model = adapted(base)
    torch.testing.assert_close(models.logits(model.net, inputs), before, rtol=0, atol=1e-6)
    trained(model)
    assert token_rows.frozen(model.net, ids) == []
    models.save(model, tmp_path / "model")
    size = sum(file.stat().st_size for file in (tmp_path / "model").glob("*.safetensors"))
    assert size < sum(file.stat().st_size for file in folders[kind].glob("*.safetensors")), "rows alone, not whole embeddings"
    loaded = from_card(tmp_path / "model", monkeypatch)
    same(loaded, model.net, inputs)
    same(models.reload(tmp_path / "model").net, model.net, inputs)
    if kind in ("gpt2", "llama") and head == "tokens":
        same(AutoPeftModelForCausalLM.from_pretrained(tmp_path / "model"), model.net, inputs)
    assert models.merged(tmp_path / "model", tmp_path / "whole").difference < 1e-5
    again = models.load(models.find(str(tmp_path / "whole"), head), head, labels)
    assert again.tokenizer.convert_tokens_to_ids(["<|tool|>", "<|note|>"]) == ids
    same(again.net, model.net, inputs, atol=1e-5)


@pytest.mark.parametrize("end", ["lm_head", "embed_tokens"])
def test_added_tokens_come_back_where_an_end_has_an_adapter(folders, tmp_path, monkeypatch, end):
    """The new rows of such an end are those of the run's seed, which the base on the disk has not."""
    base = models.load(models.find(str(folders["llama"]), "tokens"), "tokens", seed=3, new_tokens=NewTokens(("<|tool|>",)))
    model = trained(adapted(base, target_modules=(end, "q_proj")))
    inputs = models.probe(model, ["one <|tool|>", *TEXTS])
    models.save(model, tmp_path / "model")
    same(from_card(tmp_path / "model", monkeypatch), model.net, inputs)
    same(models.reload(tmp_path / "model").net, model.net, inputs)
    same(models.load(models.find(str(models.merge(tmp_path / "model", tmp_path / "whole")), "tokens"), "tokens").net, model.net,
         inputs, atol=1e-5)


def test_a_head_with_a_bias_is_left_to_full_training(folders):
    base = models.load(models.find(str(folders["bert"]), "mask"), "mask", new_tokens=NewTokens(("<|tool|>",)))
    model = adapted(base)
    assert token_rows.frozen(model.net, base.fresh_tokens) == list(base.fresh_tokens)
    with pytest.raises(UserError, match="output layer has a bias"):
        adapted(plain(folders["bert"], "mask"), trainable_token_indices=("7",))
