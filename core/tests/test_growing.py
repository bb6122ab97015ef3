"""New tokens get rows: the mean of all others, the same for the same seed, and none where there is no need."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoTokenizer

from ftp import UserError
from ftp import model as models
from ftp.model.growing import NewTokens
from ftp.model.loading import origin
from ftp.types import Model
from ftp_testing.models import CHAT, tiny

NEW = ("<|tool|>", "<|note|>")


def load(folder: Path, seed: int = 0, **new_tokens: Any) -> Model:
    source = models.find(str(folder), "tokens")
    return models.load(source, "tokens", seed=seed, new_tokens=NewTokens(**new_tokens))


def rows(model: Model) -> torch.Tensor:
    """[new tokens, size] their embeddings."""
    weight: torch.Tensor = model.net.get_input_embeddings().weight.detach()
    return weight[list(model.fresh_tokens)]


def grown_tokenizer(folder: Path) -> Path:
    """The model with two tokens more in its tokenizer, and weights as they were."""
    tokenizer = AutoTokenizer.from_pretrained(tiny("llama", folder))
    tokenizer.add_tokens(list(NEW))
    tokenizer.save_pretrained(folder)
    return folder


def test_new_rows_are_the_mean_and_come_from_the_seed(tmp_path: Path) -> None:
    folder = tiny("llama", tmp_path)
    model = load(folder, seed=1, tokens=NEW)
    mean = model.net.get_input_embeddings().weight.detach()[:-2].mean(0)
    torch.testing.assert_close(rows(model), mean.expand(2, -1), rtol=0, atol=1e-3)
    assert torch.equal(rows(model), rows(load(folder, seed=1, tokens=NEW)))
    assert not torch.equal(rows(model), rows(load(folder, seed=2, tokens=NEW)))


def test_a_token_of_the_template_is_a_control_token_and_others_are_text(tmp_path: Path) -> None:
    model = load(tiny("llama", tmp_path), tokens=("<|turn|>", "<|note|>"), template=CHAT.replace("<|im_start|>", "<|turn|>"))
    ids = model.tokenizer("<|turn|>a<|note|>", add_special_tokens=False)["input_ids"]
    assert model.tokenizer.decode(ids, skip_special_tokens=True) == "a<|note|>"


def test_unused_rows_of_a_padded_vocabulary_are_taken_first(tmp_path: Path) -> None:
    folder = tiny("llama", tmp_path)
    size = len(AutoTokenizer.from_pretrained(folder))
    padded = models.load(models.find(str(folder), "tokens"), "tokens").net
    padded.resize_token_embeddings(size + 8, mean_resizing=False)
    padded.save_pretrained(folder)
    model = load(folder, tokens=NEW)
    weight = model.net.get_input_embeddings().weight.detach()
    assert len(weight) == size + 8 and model.fresh_tokens == (size, size + 1)
    torch.testing.assert_close(rows(model), weight[:size].mean(0).expand(2, -1))


def test_tokens_that_are_known_change_nothing(tmp_path: Path) -> None:
    model = load(tiny("llama", tmp_path), tokens=("<|im_start|>",))
    came_from = origin(model.net)
    assert model.fresh_tokens == () and came_from is not None and came_from.grown is None


def test_a_tokenizer_that_was_grown_is_told_with_its_remedy(tmp_path: Path) -> None:
    folder = grown_tokenizer(tmp_path)
    with pytest.raises(UserError) as caught:
        load(folder)
    problem = caught.value.problems[0]
    assert "without a row: <|tool|>, <|note|>" in problem.what and "resize_token_embeddings" in problem.fix
    assert problem.command == "add --resize-embeddings"
    assert len(load(folder, resize=True).fresh_tokens) == 2
    assert len(load(folder, tokens=NEW).fresh_tokens) == 2, "named one by one they are wanted too"
    with pytest.raises(UserError, match="without a row"):
        load(folder, tokens=NEW[:1])


def test_a_tokenizer_of_another_model_is_told_as_such(tmp_path: Path) -> None:
    folder = tiny("llama", tmp_path, vocab_size=300)
    AutoTokenizer.from_pretrained(tiny("llama", tmp_path / "other", vocab_size=320)).save_pretrained(folder)
    with pytest.raises(UserError, match="of different models"):
        load(folder)
