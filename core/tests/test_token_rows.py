"""Rows of tokens that no training has touched are known as such, and trained rows are not."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from datasets import Dataset
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer

from ftp import model as models
from ftp.losses.used_tokens import used
from ftp.model.token_rows import ends, untrained
from ftp.types import Data
from ftp_testing.models import CHAT, tiny

NEW = ["<|start|>", "<|end|>"]
TALK = Data({"train": Dataset.from_list([{"messages": [{"role": "user", "content": "Hello"}]}])}, "conversation")


def trained_net(kind: str, folder: Path) -> tuple[Any, Any]:
    """A tiny network whose embeddings look trained: longer than at a random start, around a common mean."""
    tiny("gpt2" if kind == "gpt2" else "llama", folder)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    if kind in ("gpt2", "llama"):
        net = AutoModelForCausalLM.from_pretrained(folder)
    else:
        sizes = {"hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 8,
                 "intermediate_size": 64, "vocab_size": len(tokenizer)}
        net = AutoModelForCausalLM.from_config(AutoConfig.for_model(kind, **sizes))
    torch.manual_seed(0)
    with torch.no_grad():
        for module in ends(net).values():
            module.weight.copy_(torch.randn_like(module.weight) * 0.2 + 0.1)
    return net, tokenizer


@pytest.mark.parametrize("kind", ["gpt2", "llama", "qwen2", "gemma"])
def test_rows_that_a_resize_added_are_found_and_no_others(kind: str, tmp_path: Path) -> None:
    net, tokenizer = trained_net(kind, tmp_path)
    assert untrained(net, range(len(tokenizer))) == {}
    tokenizer.add_tokens(NEW)
    net.resize_token_embeddings(len(tokenizer))
    new = tokenizer.convert_tokens_to_ids(NEW)
    assert untrained(net, range(len(tokenizer))) == dict.fromkeys(new, "equal to the mean of all rows")


def test_other_ways_to_leave_a_row_untrained(tmp_path: Path) -> None:
    net, tokenizer = trained_net("llama", tmp_path)
    net.resize_token_embeddings(1000, mean_resizing=False)  # random, as Transformers did it before version 4.46
    with torch.no_grad():
        weight = net.get_input_embeddings().weight
        weight[len(tokenizer) + 1 :] = torch.randn(1000 - len(tokenizer) - 1, 32) * 0.2
        net.get_output_embeddings().weight[len(tokenizer) + 1 :] = torch.randn(1000 - len(tokenizer) - 1, 32) * 0.2
        weight[5] = 0.0
        weight[6] = weight[40]
    assert untrained(net, [5, 6, 7, 8, len(tokenizer)]) == {
        5: "zero", 6: "a copy of another row", len(tokenizer): "as a random start leaves it"}


def test_the_starter_models_raise_no_alarm() -> None:
    model = models.load(models.find("ftp/starter-chat", "tokens"), "tokens")
    assert untrained(model.net, range(64)) == {}


def test_an_untrained_output_layer_counts_as_well(tmp_path: Path) -> None:
    net, _ = trained_net("llama", tmp_path)
    with torch.no_grad():
        net.get_output_embeddings().weight[9] = net.get_output_embeddings().weight.mean(0)
    assert list(untrained(net, [8, 9])) == [9]


def test_which_tokens_a_run_uses(tmp_path: Path) -> None:
    tokenizer = AutoTokenizer.from_pretrained(tiny("llama", tmp_path))
    tokenizer.add_tokens([*NEW, "<|unused|>", "<|note|>"])
    tokenizer.chat_template = CHAT.replace("<|im_start|>", NEW[0]).replace("<|im_end|>", NEW[1])

    def names(data: Data, **more: Any) -> set[str]:
        return set(tokenizer.convert_ids_to_tokens(used(tokenizer, data, **more)))

    assert names(TALK) == {*NEW, "</s>"}
    assert names(TALK, template=CHAT, eos="<|note|>") == {"<|im_start|>", "<|im_end|>", "<|note|>", "</s>"}
    texts = Dataset.from_list([{"text": "one <|note|> here", "label": 0}])
    assert names(Data({"train": texts}, "labelled", ("no", "yes"))) == {"<|note|>"}, "a classifier writes no end"
    assert names(Data({"train": texts}, "text")) == {"<|note|>", "</s>"}
