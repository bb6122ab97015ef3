"""Models: which is meant, what does not fit, what is saved, and that it gives the same answers without ftp."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
import shutil
import socket
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
import transformers
from safetensors.torch import load_file, save_file

from ftp import PluginError, UserError, heads
from ftp import model as models
from ftp.entry_points import Package
from ftp.host.fresh import run_code as run_in_new_process
from ftp.model import saving
from ftp.model.saved_facts import FACTS, Facts
from ftp.plugins import offers
from ftp.types import Head, Model, Offer, Score
from ftp_testing.models import TEXTS, tiny

THREE = ("bad", "middling", "good")


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("models")
    return {kind: tiny(kind, folder / kind) for kind in ("bert", "roberta", "gpt2", "llama", "t5", "bart")}


@pytest.fixture
def no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("the network was asked")

    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    monkeypatch.setattr(socket.socket, "connect", refuse)


def open_model(folder: Path, head: Head, labels: tuple[str, ...] = (), **options: object) -> Model:
    return models.load(models.find(str(folder), head), head, labels, **options)


def trained(model: Model) -> Model:
    """The model after something like training: every trained weight moved."""
    torch.manual_seed(1)
    with torch.no_grad():
        for weight in model.net.parameters():
            weight.add_(torch.randn_like(weight) * 0.05)
    return model


def says(error: pytest.ExceptionInfo[UserError], *words: str) -> bool:
    return all(word in str(error.value) for word in words)


def offered(monkeypatch: pytest.MonkeyPatch, *points: tuple[str, str, object]) -> None:
    """Pretend that these models are installed: name, distribution, offer (or what asking for it raises)."""
    def point(name: str, package: str, offer: object) -> SimpleNamespace:
        def ask() -> object:
            if isinstance(offer, Exception):
                raise offer
            return offer

        return SimpleNamespace(name=name, target="made:up", package=Package(package, "1.2"), load=lambda what: ask)

    entries = [point(*entry) for entry in points]
    monkeypatch.setattr(offers, "entry_points", lambda group: entries if group == "ftp.models" else [])


# --- which model ---


def test_default_is_the_offer_for_the_head(folders, monkeypatch):
    offered(monkeypatch, ("house/encoder", "house-models", Offer(folders["bert"], default_for=("labels", "mask"))),
            ("house/writer", "house-models", Offer(folders["gpt2"], default_for=("tokens",))))
    assert models.find(None, "tokens").name == "house/writer"
    source = models.find(None, "labels")
    assert (source.name, source.folder, source.package) == ("house/encoder", folders["bert"], "house-models 1.2")
    with pytest.raises(UserError) as error:
        models.find(None, "span")
    assert says(error, "--model", "head 'span'", "ftp install starter")


def test_a_head_without_an_offer_takes_the_default_of_the_head_it_names(folders, monkeypatch):
    known = dict(heads.all_heads())
    known["span"] = dataclasses.replace(known["span"], model_as="labels")
    monkeypatch.setattr(heads, "all_heads", lambda: known)
    encoder = ("house/encoder", "house-models", Offer(folders["bert"], default_for=("labels",)))
    offered(monkeypatch, encoder)
    assert models.find(None, "span").name == "house/encoder"
    # an offer for the head itself comes first
    offered(monkeypatch, encoder, ("house/reader", "house-models", Offer(folders["roberta"], default_for=("span",))))
    assert models.find(None, "span").name == "house/reader"


def test_what_a_loss_writes_beside_the_weights_is_written_down_and_copied(folders, tmp_path):
    def write_beside(folder: Path) -> None:
        (folder / "pooling").mkdir()
        (folder / "pooling" / "config.json").write_text("{}")

    saving.save(open_model(folders["bert"], "labels", THREE), tmp_path / "model", write_beside=write_beside)
    assert json.loads((tmp_path / "model" / FACTS).read_text())["beside"] == ["pooling/config.json"]
    saving.copy_beside(tmp_path / "model", tmp_path / "whole")
    assert [file.name for file in (tmp_path / "whole").rglob("*") if file.is_file()] == ["config.json"]


def test_weights_lie_where_arithmetic_repeats_to_the_last_digit(folders):
    """MKL rounds by the address of what it multiplies; only multiples of 64 bytes are the same in each process."""
    for kind in ("bert", "gpt2"):
        model = open_model(folders[kind], "tokens" if kind == "gpt2" else "mask")
        with model.reference() as reference:
            for net in (model.net, reference):
                assert not [name for name, weight in net.named_parameters() if weight.data_ptr() % 64]
        head = model.net.get_output_embeddings().weight
        assert head is model.net.get_input_embeddings().weight, "tied weights stay one"


def test_two_packages_that_offer_the_same_are_named(folders, monkeypatch):
    offer = Offer(folders["bert"], default_for=("labels",))
    offered(monkeypatch, ("a/model", "first", offer), ("b/model", "second", offer))
    with pytest.raises(UserError) as error:
        models.find(None, "labels")
    assert says(error, "first 1.2", "second 1.2", "--model a/model")
    offered(monkeypatch, ("a/model", "first", offer), ("a/model", "second", offer))
    with pytest.raises(UserError) as error:
        models.find("a/model", "labels")
    assert says(error, "two packages", "first 1.2", "second 1.2")


@pytest.mark.parametrize(("name", "words"), [
    ("y" * 300, "File name too long"), ("~nobody-of-this-name/model", "home directory"),
])
def test_a_name_that_no_path_can_have_is_told(name: str, words: str) -> None:
    with pytest.raises(UserError, match=words):
        models.find(name, "labels")


def test_a_broken_offer_names_its_package(monkeypatch, tmp_path):
    offered(monkeypatch, ("a/model", "first", ModuleNotFoundError("weights_of_a")))
    with pytest.raises(UserError) as error:
        models.find("a/model", "labels")
    assert says(error, "first 1.2", "weights_of_a")
    offered(monkeypatch, ("a/model", "first", Offer(tmp_path / "gone")))
    with pytest.raises(UserError) as error:
        models.find("a/model", "labels")
    assert says(error, "first 1.2", "gone")


def test_digests_of_an_offer_are_checked(folders, monkeypatch):
    right = hashlib.sha256((folders["bert"] / "model.safetensors").read_bytes()).hexdigest()
    offered(monkeypatch, ("a/model", "first", Offer(folders["bert"], {"model.safetensors": right})))
    assert models.load(models.find("a/model", "labels"), "labels", THREE).name == "a/model"
    offered(monkeypatch, ("a/model", "first", Offer(folders["bert"], {"model.safetensors": "0" * 64, "other.bin": "1" * 64})))
    with pytest.raises(UserError) as error:
        models.load(models.find("a/model", "labels"), "labels", THREE)
    assert says(error, right, "0" * 64, "other.bin", "first")


def test_a_name_that_is_nothing_lists_what_is_offered(folders, monkeypatch):
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    offered(monkeypatch, ("house/encoder", "house-models", Offer(folders["bert"])))
    with pytest.raises(UserError) as error:
        models.find("house/encodre", "labels")
    assert says(error, "neither a folder", "cache", "house/encoder", "did you mean 'house/encoder'?")
    with pytest.raises(UserError) as error:
        models.find("./no/such", "labels")
    assert says(error, "no such folder")
    with pytest.raises(UserError) as error:
        models.find("not a name!", "labels")
    assert says(error, "neither a folder", "house/encoder")


def test_a_file_or_a_revision_of_a_folder_is_a_mistake(folders):
    with pytest.raises(UserError) as error:
        models.find(str(folders["bert"] / "model.safetensors"), "labels")
    assert says(error, "a model is a folder", str(folders["bert"]))
    with pytest.raises(UserError) as error:
        models.find(str(folders["bert"]), "labels", "v2")
    assert says(error, "--revision v2")


def test_a_cached_hub_model_needs_no_network(folders, tmp_path, monkeypatch, no_network):
    from huggingface_hub import constants, file_download

    commit = "0123456789abcdef0123456789abcdef01234567"
    (tmp_path / "models--me--tiny/refs").mkdir(parents=True)
    (tmp_path / "models--me--tiny/refs/main").write_text(commit)
    shutil.copytree(folders["bert"], tmp_path / "models--me--tiny/snapshots" / commit)
    other = commit[::-1]  # another state of the model, under a name of its own
    (tmp_path / "models--me--tiny/refs/v2").write_text(other)
    changed = shutil.copytree(folders["bert"], tmp_path / "models--me--tiny/snapshots" / other) / "model.safetensors"
    save_file({name: weight + 1 for name, weight in load_file(changed).items()}, changed, {"format": "pt"})
    for module in (constants, file_download, transformers.utils.hub):
        if hasattr(module, "HF_HUB_CACHE"):
            monkeypatch.setattr(module, "HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    source = models.find("me/tiny", "labels")
    assert (source.hub_id, source.revision, source.local) == ("me/tiny", commit, True)
    second = models.find("me/tiny", "labels", "v2")
    assert (second.hub_id, second.revision, second.local) == ("me/tiny", other, True)
    first, second = (models.load(where, "labels", THREE).net.get_input_embeddings().weight for where in (source, second))
    assert torch.equal(first + 1, second)  # the weights of that state, not of the default branch
    with pytest.raises(UserError) as error:
        models.find("me/tiny", "labels", "v3")
    assert says(error, "--revision v3")


# --- what does not fit ---


def test_all_that_is_missing_in_a_folder_is_told_at_once(tmp_path):
    with pytest.raises(UserError) as error:
        open_model(tmp_path, "labels", THREE)
    assert says(error, "config.json", "no weights", "no tokenizer") and len(error.value.problems) == 3


@pytest.mark.slow
def test_pickled_weights_are_refused_and_the_advice_works(folders, tmp_path):
    folder = shutil.copytree(folders["bert"], tmp_path / "it")
    weights = load_file(folder / "model.safetensors")
    (folder / "model.safetensors").unlink()
    torch.save(weights, folder / "pytorch_model.bin")
    with pytest.raises(UserError) as error:
        open_model(folder, "labels", THREE)
    assert says(error, "pickled", "safetensors")
    command = error.value.problems[0].command.removeprefix("python ")
    subprocess.run(f"{sys.executable} {command}", shell=True, check=True)
    assert open_model(folder, "mask").fresh == ()


@pytest.mark.parametrize("change, words", [
    ({"num_hidden_layers": 3}, ("are missing", "layer.2")),
    ({"num_hidden_layers": 1}, ("have no place", "layer.1")),
    ({"intermediate_size": 48}, ("another shape", "[64]", "[48]")),
])
def test_weights_that_do_not_match_the_config(folders, tmp_path, change, words):
    folder = shutil.copytree(folders["bert"], tmp_path / "it")
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, **change}))
    with pytest.raises(UserError) as error:
        open_model(folder, "labels", THREE)
    assert says(error, "weights that do not match the config", *words)


def test_damaged_files_are_told_without_a_traceback(folders, tmp_path):
    folder = shutil.copytree(folders["bert"], tmp_path / "it")
    whole = (folder / "model.safetensors").read_bytes()
    (folder / "model.safetensors").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(UserError) as error:
        open_model(folder, "labels", THREE)
    assert says(error, "incomplete or damaged")
    (folder / "config.json").write_text("{")
    with pytest.raises(UserError):
        open_model(folder, "labels", THREE)
    (folder / "config.json").write_text('{"model_type": "no-such-thing"}')
    with pytest.raises(UserError) as error:
        open_model(folder, "labels", THREE)
    assert says(error, "no-such-thing")


def test_a_tokenizer_larger_than_the_embeddings(folders, tmp_path):
    folder = shutil.copytree(folders["bert"], tmp_path / "it")
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    before = len(tokenizer)
    tokenizer.add_tokens(["brandnew"])
    tokenizer.save_pretrained(folder)
    with pytest.raises(UserError) as error:
        open_model(folder, "labels", THREE)
    assert says(error, f"{before + 1} tokens", f"for {before}")


def test_a_network_without_the_head(folders):
    with pytest.raises(UserError) as error:
        open_model(folders["bert"], "tokens")
    assert says(error, "both directions", "decoder")
    with pytest.raises(UserError) as error:
        open_model(folders["gpt2"], "mask")
    assert says(error, "no head 'mask'", "tokens")


def test_a_body_without_its_language_model_head_cannot_write(folders, tmp_path):
    folder = shutil.copytree(folders["llama"], tmp_path / "it")
    weights = {name: value for name, value in load_file(folder / "model.safetensors").items() if name != "lm_head.weight"}
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(UserError) as error:
        open_model(folder, "tokens")
    assert says(error, "lm_head")


def test_heads_that_an_encoder_decoder_has_not(folders):
    with pytest.raises(UserError) as error:
        open_model(folders["bart"], "tags", THREE)
    assert says(error, "'bart' has no head 'tags'", "heads it has: labels, span, tokens, score", "encoder-decoders with the head")
    assert says(error, "t5")
    with pytest.raises(UserError) as error:
        open_model(folders["bart"], "mask")
    assert says(error, "by an encoder alone", "sft")


def test_length_is_checked_against_the_positions(folders):
    model = open_model(folders["roberta"], "labels", THREE)
    model.tokenizer.model_max_length = 10**30
    assert models.capacity(model.net, model.tokenizer) == 256  # 258 positions, two of them before the first token
    with pytest.raises(UserError) as error:
        open_model(folders["gpt2"], "tokens", max_length=257)
    assert says(error, "257", "256")
    assert open_model(folders["gpt2"], "tokens", max_length=256)


# --- loading ---


@pytest.mark.slow
@pytest.mark.parametrize("kind, head, fresh", [
    ("bert", "labels", ("bert.pooler", "classifier")), ("bert", "tags", ("classifier",)), ("bert", "span", ("qa_outputs",)),
    ("bert", "mask", ()), ("bert", "score", ("bert.pooler", "classifier")), ("roberta", "labels", ("classifier",)),
    ("gpt2", "tokens", ()), ("gpt2", "score", ("score",)), ("llama", "tokens", ()), ("llama", "span", ("qa_outputs",)),
    ("llama", "tags", ("score",)), ("t5", "tokens", ()), ("t5", "labels", ("classification_head",)),
    ("bart", "tokens", ()), ("bart", "labels", ("classification_head",)), ("bart", "span", ("qa_outputs",)),
])
def test_new_modules_are_named_and_the_rest_is_the_checkpoint(folders, kind, head, fresh):
    model = open_model(folders[kind], head, THREE if head in ("labels", "tags") else ())
    assert model.fresh == fresh
    saved = load_file(folders[kind] / "model.safetensors")
    def bare(name: str) -> str:
        return name.removeprefix("bert.").removeprefix("roberta.").removeprefix("transformer.").removeprefix("model.")

    body = {bare(name): value for name, value in saved.items()}
    compared = 0
    for name, value in model.net.named_parameters():
        known = body.get(bare(name))
        if known is not None and not any(f".{name}".startswith(f".{module}.") for module in fresh):
            assert torch.equal(value, known), name
            compared += 1
    assert compared >= 15
    assert not model.net.config.get_text_config().use_cache if hasattr(model.net.config, "use_cache") else True


def test_the_new_head_comes_from_the_seed_alone(folders):
    torch.manual_seed(123)
    before = torch.get_rng_state()
    first = open_model(folders["bert"], "labels", THREE, seed=7).net.classifier.weight
    assert torch.equal(before, torch.get_rng_state())
    torch.manual_seed(321)
    assert torch.equal(first, open_model(folders["bert"], "labels", THREE, seed=7).net.classifier.weight)
    assert not torch.equal(first, open_model(folders["bert"], "labels", THREE, seed=8).net.classifier.weight)


def test_a_head_for_other_classes_is_made_anew(folders, tmp_path):
    models.save(open_model(folders["bert"], "labels", THREE), tmp_path / "it")
    head = load_file(tmp_path / "it/model.safetensors")["classifier.weight"]
    same = open_model(tmp_path / "it", "labels", THREE)
    assert same.fresh == () and torch.equal(same.net.classifier.weight, head)
    turned = open_model(tmp_path / "it", "labels", THREE[::-1])
    assert turned.fresh == ("classifier",) and not torch.equal(turned.net.classifier.weight, head)
    assert turned.net.config.id2label == {0: "good", 1: "middling", 2: "bad"}
    assert open_model(tmp_path / "it", "labels", ("no", "yes")).net.classifier.weight.shape == (2, 32)


def test_weights_are_fp32_whatever_the_checkpoint_has(folders, tmp_path):
    folder = shutil.copytree(folders["gpt2"], tmp_path / "it")
    transformers.AutoModelForCausalLM.from_pretrained(folder, dtype=torch.bfloat16).save_pretrained(folder)
    assert load_file(folder / "model.safetensors")["transformer.wte.weight"].dtype == torch.bfloat16
    assert {weight.dtype for weight in open_model(folder, "tokens").net.parameters()} == {torch.float32}


def test_eos_stands_in_for_a_missing_pad_token_and_still_learns(folders, tmp_path):
    model = open_model(folders["gpt2"], "score")
    assert model.tokenizer.pad_token_id == model.tokenizer.eos_token_id == model.net.config.pad_token_id
    folder = shutil.copytree(folders["llama"], tmp_path / "it")
    config = json.loads((folder / "config.json").read_text())
    eos = config["eos_token_id"]
    (folder / "config.json").write_text(json.dumps({**config, "pad_token_id": eos}))  # as saved by a run with such a pad
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    tokenizer.pad_token = tokenizer.eos_token
    tokenizer.save_pretrained(folder)
    net = open_model(folder, "tokens").net
    net(input_ids=torch.tensor([[5, eos, 6]])).logits.sum().backward()
    assert net.get_input_embeddings().weight.grad[eos].abs().sum() > 0


def test_the_reference_is_the_checkpoint_after_training(folders):
    model = open_model(folders["gpt2"], "score")
    inputs = models.probe(model, TEXTS)
    before = models.logits(model.net, inputs)
    trained(model)
    assert not torch.allclose(models.logits(model.net, inputs), before)
    with model.reference() as net:
        assert not net.training and not torch.is_grad_enabled()
        assert torch.equal(models.logits(net, inputs), before)
        first = net
    model.net.set_attn_implementation("eager")
    with model.reference() as net:
        assert net is first  # loaded once
        assert net.config._attn_implementation == "eager"  # and laid out like the trained network


def test_shapes_without_weights(folders):
    net = models.shape_only(models.find(str(folders["bert"]), "labels"), "labels", THREE)
    assert all(weight.is_meta for weight in net.parameters())
    real = open_model(folders["bert"], "labels", THREE).net
    shapes = {name: weight.shape for name, weight in net.named_parameters()}
    assert shapes == {name: weight.shape for name, weight in real.named_parameters()}


def test_parameters_counts_shared_weights_once(folders):
    net = open_model(folders["gpt2"], "tokens").net
    assert models.parameters(net) == (net.num_parameters(), net.num_parameters())
    net.get_input_embeddings().requires_grad_(False)
    trained_now, total = models.parameters(net)
    assert total - trained_now == net.get_input_embeddings().weight.numel()


def test_quiet_puts_everything_back():
    log = transformers.utils.logging
    log.set_verbosity_info()
    log.enable_progress_bar()  # a run in this process has put it out
    with models.quiet():
        assert log.get_verbosity() == log.ERROR and not log.is_progress_bar_enabled()
    assert log.get_verbosity() == log.INFO and log.is_progress_bar_enabled()
    log.set_verbosity_warning()


# --- saving ---


@pytest.mark.slow
@pytest.mark.parametrize("kind, head", [("bert", "labels"), ("bert", "mask"), ("roberta", "tags"), ("gpt2", "tokens"),
                                        ("gpt2", "score"), ("llama", "span"), ("t5", "tokens"), ("t5", "tags"),
                                        ("bart", "labels")])
def test_the_code_on_the_card_gives_the_same_answers(folders, tmp_path, no_network, monkeypatch, kind, head):
    model = trained(open_model(folders[kind], head, THREE if head in ("labels", "tags") else ()))
    inputs = models.probe(model, TEXTS)
    models.save(model, tmp_path / "model", plugins=("full",), scores=[Score("accuracy", 0.75, split="test", n=8)])
    card = (tmp_path / "model/README.md").read_text()
    assert card.startswith("---\nlibrary_name: transformers\n")
    assert "| accuracy | 0.75 | test | 8 |" in card and "plugins: full" in card
    code = card.split("```python\n")[1].split("```")[0]
    monkeypatch.chdir(tmp_path)
    names: dict[str, object] = {}
    exec(code, names)
    loaded = names["model"]
    torch.testing.assert_close(models.logits(loaded, inputs), models.logits(model.net, inputs), rtol=0, atol=1e-6)
    assert (kind, head) == ("t5", "tags") or getattr(loaded.config.get_text_config(), "use_cache", True)  # there an encoder alone
    if head in ("labels", "tags"):
        assert loaded.config.id2label == dict(enumerate(THREE)) and loaded.config.label2id["good"] == 2
    assert not any((tmp_path / "model").glob("*.bin"))
    again = models.reload(tmp_path / "model")
    assert (again.head, again.labels, again.net.training) == (model.head, model.labels, False)
    torch.testing.assert_close(models.logits(again.net, inputs), models.logits(model.net, inputs), rtol=0, atol=1e-6)
    model.net.train()
    assert getattr(model.net.config, "use_cache", False) is False  # training goes on as before


def test_whoever_may_read_new_files_here_may_read_the_weights(folders, tmp_path):
    before = os.umask(0o027)  # neither the default of most systems nor what safetensors writes
    try:
        models.save(open_model(folders["bert"], "labels", THREE), tmp_path / "model")
    finally:
        os.umask(before)
    modes = {file.name: oct(file.stat().st_mode & 0o777) for file in (tmp_path / "model").iterdir()}
    assert "model.safetensors" in modes and set(modes.values()) == {"0o640"}, modes


@pytest.mark.slow
def test_a_fresh_process_proves_it_and_finds_a_changed_weight(folders, tmp_path, monkeypatch):
    monkeypatch.setattr("ftp.host.fresh.run_code", run_in_new_process)  # here it is not forked, as it is in other tests
    model = trained(open_model(folders["bert"], "labels", THREE))
    model.net.train()
    models.save(model, tmp_path / "model")
    inputs = models.probe(model, TEXTS)
    assert models.verify(model, tmp_path / "model", inputs) <= 1e-6
    assert model.net.training
    with torch.no_grad():
        model.net.classifier.bias[1] += 0.01
    with pytest.raises(models.VerifyError, match="largest difference"):
        models.verify(model, tmp_path / "model", inputs)


@pytest.mark.slow
def test_a_fresh_process_that_cannot_load_says_why(folders, tmp_path):
    model = open_model(folders["gpt2"], "tokens")
    models.save(model, tmp_path / "model")
    (tmp_path / "model/model.safetensors").unlink()
    with pytest.raises(models.VerifyError, match=r"model\.safetensors"):
        models.verify(model, tmp_path / "model", models.probe(model, TEXTS))


def test_a_folder_that_no_run_wrote_is_not_reloaded(folders):
    with pytest.raises(UserError) as error:
        models.reload(folders["bert"])
    assert says(error, "not a model that a run wrote")


def test_a_saved_tokenizer_cuts_and_pads_nothing_of_itself(folders: dict[str, Path], tmp_path: Path) -> None:
    """The last call set both, and `tokenizer.json` is read without Transformers too."""
    from tokenizers import Tokenizer

    model = open_model(folders["llama"], "tokens")
    long = " ".join(TEXTS) * 4
    model.tokenizer([long, "short"], truncation=True, max_length=8, padding=True)
    models.save(model, tmp_path / "model")
    plain = Tokenizer.from_file(str(tmp_path / "model" / "tokenizer.json"))
    assert len(plain.encode(long).ids) > 8 and len({len(encoding.ids) for encoding in plain.encode_batch([long, "short"])}) == 2
    written = json.loads((tmp_path / "model" / "tokenizer_config.json").read_text())
    assert not {"is_local", "local_files_only"} & written.keys()


def test_a_tiny_models_vocabulary_is_the_same_in_each_process() -> None:
    code = "from ftp_testing.models import TEXTS, _pieces; print(sorted(_pieces(TEXTS, 320, ('[PAD]', '[UNK]')).items()))"
    outputs = {subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True,
                           env={**os.environ, "PYTHONHASHSEED": seed}).stdout for seed in ("1", "2")}
    assert len(outputs) == 1 and "'##a'" in outputs.pop()


@pytest.mark.parametrize(("put", "message"), [
    (lambda net, folder: net.nowhere, r"house-layouts 1.2, which reads models of the kind 'bottleneck', failed: AttributeError"),
    (lambda net, folder: None, r"house-layouts 1.2, .* gave None, not a torch.nn.Module"),
])
def test_a_package_that_cannot_read_its_own_layout_is_named(monkeypatch, tmp_path, put, message):
    (tmp_path / "config.json").write_text('{"model_type": "bottleneck"}')
    point = SimpleNamespace(name="bottleneck", package=Package("house-layouts", "1.2"), load=lambda what: put)
    monkeypatch.setattr(saving, "entry_points", lambda group: [point])
    monkeypatch.setattr(saving, "_base", lambda *arguments: SimpleNamespace(net=torch.nn.Linear(1, 1)))
    with pytest.raises(PluginError, match=message):
        saving._with_layout(tmp_path, Facts("labels", (), "base"))
