"""PEFT's methods by name: what is trained and saved, what PEFT alone makes of it, learnt prompts, and which mistakes are told."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import peft
import pytest
import torch

import ftp
from ftp import UserError
from ftp import model as models
from ftp.losses.common import row_limit
from ftp.net import heads, layout
from ftp.runs.run import execute
from ftp.types import Head, Model
from ftp_peft import Peft
from ftp_peft.method_options import parse
from ftp_testing.models import TEXTS, tiny
from ftp_testing.subject import find

THREE = ("bad", "middling", "good")
METHODS: dict[str, str] = {
    "ia3": "", "vera": "r=8", "boft": "", "oft": "oft_block_size=8,r=0", "loha": "", "lokr": "", "hra": "", "randlora": "",
    "fourierft": "n_frequency=100", "vblora": "vector_length=16,num_vectors=8,topk=2", "shira": "r=2", "c3a": "block_size=8",
    "miss": "r=4", "waveft": "n_frequency=100", "ln_tuning": "target_modules=[LayerNorm]", "road": "group_size=8", "delora": "",
    "prompt_tuning": "num_virtual_tokens=5", "p_tuning": "num_virtual_tokens=5,encoder_hidden_size=16",
    "prefix_tuning": "num_virtual_tokens=5", "osf": "", "psoft": "r=4", "tinylora": "", "gralora": "r=4", "hira": "r=4",
}
INSTALLED = {kind.value.lower() for kind in peft.PeftType}
PROMPTS = ("prompt_tuning", "p_tuning", "prefix_tuning")


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("models")
    return {kind: tiny(kind, folder / kind) for kind in ("bert", "gpt2", "llama")}


def plain(folder: Path, head: Head) -> Model:
    return models.load(models.find(str(folder), head), head, THREE if head in ("labels", "tags") else ())


def adapted(model: Model, seed: int = 0, pack: str = "auto", **options: Any) -> Model:
    wrapper = Peft(**options).build_model(SimpleNamespace(settings=SimpleNamespace(seed=seed, pack=pack)))
    next(wrapper)
    with pytest.raises(StopIteration) as done:
        wrapper.send(model)
    return done.value.value


def trained(model: Model) -> Model:
    torch.manual_seed(1)
    with torch.no_grad():
        for weight in model.net.parameters():
            if weight.requires_grad:
                weight.add_(torch.randn_like(weight) * 0.05)
    return model


def same(net: Any, expected: torch.Tensor, inputs: Any, atol: float = 1e-6) -> None:
    torch.testing.assert_close(models.logits(net, inputs), expected, rtol=0, atol=atol)


@pytest.mark.slow
@pytest.mark.parametrize("method", [method for method in METHODS if method in INSTALLED])
def test_a_method_from_start_to_reload(folders, tmp_path, method):
    base = plain(folders["bert"], "labels")
    inputs = models.probe(base, TEXTS)
    before = models.logits(base.net, inputs)
    model = adapted(base, method=method, options=METHODS[method])
    start = models.logits(model.net, inputs)
    grown = [name for name, weight in model.net.named_parameters() if weight.requires_grad]
    for fresh in base.fresh:
        assert any(f"{fresh}.modules_to_save" in name for name in grown), fresh
    after = models.logits(trained(model).net, inputs)
    assert not torch.allclose(after, start, atol=1e-3)
    with model.reference() as net:
        same(net, before, inputs)
    same(model.net, after, inputs, atol=0)
    models.save(model, tmp_path / "model")
    same(models.reload(tmp_path / "model").net, after, inputs)


@pytest.mark.slow
@pytest.mark.parametrize("method", ["ia3", "prompt_tuning"])
def test_plain_peft_gives_the_same_logits(folders, tmp_path, method):
    """On the weights that ours has; and in a fresh process, from what ours saved."""
    model = trained(adapted(plain(folders["llama"], "tokens"), method=method))
    inputs = models.probe(model, TEXTS)
    kinds = {"ia3": peft.IA3Config, "prompt_tuning": peft.PromptTuningConfig}
    more = {"num_virtual_tokens": 20} if method in PROMPTS else {}
    other = peft.get_peft_model(plain(folders["llama"], "tokens").net, kinds[method](task_type="CAUSAL_LM", **more))
    peft.set_peft_model_state_dict(other, peft.get_peft_model_state_dict(model.net))
    same(other, models.logits(model.net, inputs), inputs)
    models.save(model, tmp_path / "model")
    assert models.verify(model, tmp_path / "model", inputs) <= 1e-6


@pytest.mark.slow
@pytest.mark.parametrize("method", PROMPTS)
@pytest.mark.parametrize("kind, head", [("bert", "tags"), ("bert", "span"), ("llama", "tokens"), ("gpt2", "tokens")])
def test_the_outputs_of_a_prompt_are_left_out(folders, kind, head, method):
    """Logits, in the order of the tokens, are those of PEFT's own pass behind the prompt, whatever is padded."""
    model = trained(adapted(plain(folders[kind], head), method=method, options=METHODS[method]))
    rows = [model.tokenizer(text)["input_ids"] for text in TEXTS[:3]]
    model.net.eval()
    inputs = layout.lay(rows, packed=False, pad_id=model.tokenizer.pad_token_id)
    with torch.no_grad():
        if head == "tokens":
            got = heads.logits_at(model.net, inputs, (inputs["attention_mask"].flatten() > 0).nonzero()[:, 0])
        else:
            got = heads.token_logits(model.net, inputs)[0]
        alone = []
        for ids in rows:
            mask = torch.ones(1, len(ids), dtype=torch.long)
            out = model.net(input_ids=torch.tensor([ids]), attention_mask=mask, use_cache=False)
            logits = out.logits if "logits" in out else torch.stack([out.start_logits, out.end_logits], -1)
            alone.append(logits[0, -len(ids) :])
    torch.testing.assert_close(got, torch.cat(alone), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("method", PROMPTS)
@pytest.mark.parametrize("side", ["right", "left"])
def test_a_decoder_is_read_at_the_last_real_token_behind_a_prompt(folders, method, side):
    model = trained(adapted(plain(folders["llama"], "labels"), method=method, options=METHODS[method]))
    rows = [model.tokenizer(text)["input_ids"] for text in TEXTS[:3]]
    model.net.eval()
    with torch.no_grad():
        padded = layout.lay(rows, packed=False, pad_id=model.tokenizer.pad_token_id, padding_side=side)
        got = heads.classify(model.net, padded)
        alone = [heads.classify(model.net, layout.lay([row], packed=False, pad_id=0)) for row in rows]
        whole = model.net(input_ids=torch.tensor([rows[0]]), attention_mask=torch.ones(1, len(rows[0]), dtype=torch.long)).logits
    torch.testing.assert_close(got, torch.cat(alone), rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(alone[0], whole, rtol=1e-4, atol=1e-5)


def test_a_prompt_takes_positions_of_every_row(folders):
    settings = SimpleNamespace(max_length=None)
    run = SimpleNamespace(settings=settings)
    base = plain(folders["bert"], "labels")
    base.tokenizer.model_max_length = 10**6
    full = row_limit(run, base)
    model = adapted(base, method="prompt_tuning", options="num_virtual_tokens=16")
    assert row_limit(run, model) == full - 16
    ids = torch.full((1, full - 16), 7)
    assert torch.isfinite(model.net(input_ids=ids, attention_mask=torch.ones_like(ids)).logits).all()


@pytest.mark.slow
@pytest.mark.parametrize("options, words", [
    ({"method": "ia33"}, ("no such method", "'ia3'", "vera")),
    ({"method": "lora"}, ("plugin of its own",)),
    ({"method": "adalora"}, ("budget", "methods that go")),
    ({"method": "lily"}, ("rows beside it",)),
    ({"method": "trainable_tokens"}, ("cannot train and save the new head", "methods that can", "vera")),
    ({"method": "vera", "options": "rr=8"}, ("--peft.options rr", "'r'")),
    ({"method": "vera", "options": "r=much,projection_prng_keys=1"}, ("r=much: not a whole number", "'projection_prng_key'")),
    ({"method": "vera", "options": "task_type=CAUSAL_LM"}, ("the run itself says that",)),
    ({"method": "vera", "options": "r"}, ("not name=value",)),
    ({"method": "vera", "options": "{r: 8}"}, ("not JSON",)),
    ({"method": "vera", "options": "r=8,r=9"}, ("given twice",)),
    ({"method": "ln_tuning"}, ("PEFT refuses", "target_modules=[")),
    ({"method": "c3a"}, ("PEFT refuses", "block_size")),
    ({"method": "vera", "options": "target_modules=[qeury]"}, ("no such module", "'query'")),
])
def test_mistakes_are_told(folders, options, words):
    with pytest.raises(UserError) as error:
        adapted(plain(folders["bert"], "labels"), **options)
    for word in words:
        assert word in str(error.value), str(error.value)


def test_where_prompts_do_not_go(folders):
    with pytest.raises(UserError, match=r"head 'mask'[\s\S]*methods that fit: lora, .*ia3"):
        adapted(plain(folders["bert"], "mask"), method="prompt")
    with pytest.raises(UserError, match=r"--pack on[\s\S]*ia3"):
        adapted(plain(folders["bert"], "labels"), method="p_tuning", pack="on")


def test_options_as_text():
    assert parse("") == {}
    assert parse('{"r": 8, "target_modules": ["a", "b"]}') == {"r": 8, "target_modules": ["a", "b"]}
    assert parse("r=8,target_modules=[a,b], x=0.5,y=true,z=None,s='a,b'") == {
        "r": 8, "target_modules": ["a", "b"], "x": 0.5, "y": True, "z": None, "s": "a,b"}
    assert parse("target_modules=.*(query|value)") == {"target_modules": ".*(query|value)"}


@pytest.mark.slow
@pytest.mark.parametrize("kind, plugins, method", [
    ("bert", (), "prompt_tuning"), ("llama", ("dpo",), "prefix_tuning"), ("llama", ("sft",), "ia3"),
    ("gpt2", ("clm",), "prompt_tuning")])
@pytest.mark.slow
def test_a_run(folders, tmp_path, kind, plugins, method):
    done = execute(find("peft").prepared(plugins=plugins, model=str(folders[kind]), max_steps=3, baselines=True, verify=True,
                                         out=str(tmp_path / "run"), **{"peft.method": method, "learning_rate": 1e-2}))
    assert done.step == 3 and done.trained < done.total
    if "dpo" in plugins:
        assert done.score("rewards/margins") != 0
    elif not plugins:
        answers = ftp.load(done.out).predict(["good thing", "bad thing"])
        assert {answer["answer"] for answer in answers} <= {"bad", "good"}


def test_a_method_that_does_not_fit_the_layers_is_refused_with_those_that_do(folders):
    with pytest.raises(UserError, match="methods that fit these layers: lora") as caught:
        adapted(plain(folders["gpt2"], "tokens"), method="lokr")
    fitting = str(caught.value).split("methods that fit these layers:")[1]
    assert all(f" {method}," in f"{fitting}," for method in ("ia3", "vera", "fourierft"))
    assert "lokr" not in fitting and "loha" not in fitting
