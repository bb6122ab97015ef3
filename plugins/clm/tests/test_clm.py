"""clm: Transformers' own loss on the same blocks; documents kept apart; every token predicted once; fresh networks."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from itertools import chain
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from datasets import Dataset

from ftp import model as models
from ftp.data.encode import asked
from ftp.errors import UserError
from ftp.net.packing import can_pack
from ftp.settings import Settings
from ftp.types import Data, Loss, Model, Predictions, Row, Run, Task
from ftp_clm import Clm
from ftp_clm.loss import around
from ftp_testing.compare import gradients
from ftp_testing.models import TEXTS, tiny

ROWS: list[Row] = [{"text": text} for text in (*TEXTS, "", " ".join(TEXTS))]
LLAMA = {"model_type": "llama", "hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 4, "intermediate_size": 64,
         "max_position_embeddings": 64}


@pytest.fixture(scope="module", params=["llama", "gpt2"])
def folder(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny(request.param, tmp_path_factory.mktemp(request.param))


def loaded(folder: Path, packed: bool = False) -> Model:
    model = models.load(models.Source(str(folder), folder=folder), "tokens")
    model.net.eval()
    if packed:
        able, why = can_pack(model.net, model.tokenizer)
        assert able, why
    return replace(model, packed=packed)


def a_run(**settings: Any) -> Run:
    return Run(Settings(**settings), Task("text", "tokens"), None)  # type: ignore[arg-type]


def the_data(rows: list[Row] = ROWS) -> Data:
    return Data({"train": Dataset.from_list(rows)}, "text")


def a_loss(model: Model, **options: Any) -> Loss:
    return Clm(**options).make_loss(a_run(), the_data(), model)


def mean_and_gradients(model: Model, loss: Loss, rows: list[Row]) -> tuple[float, dict[str, torch.Tensor]]:
    batch = loss.collate(rows)
    mean = loss.compute(batch).total / batch.count
    return float(mean.detach()), gradients(model.net, mean)


@pytest.mark.parametrize("packed", [False, True])
def test_the_loss_and_gradients_are_transformers_own_on_the_blocks_of_run_clm(folder: Path, packed: bool) -> None:
    model = loaded(folder, packed)
    loss = a_loss(model, block_size=48, cross_documents=True)
    rows = [row for row in loss.encode(ROWS) if len(row["input_ids"]) == 48]  # run_clm drops the last, shorter one
    assert len(rows) >= 3
    ours = mean_and_gradients(model, loss, rows)
    plain = loaded(folder)
    ids = torch.tensor([row["input_ids"] for row in rows])
    theirs = plain.net(input_ids=ids, labels=ids).loss
    theirs.backward()
    assert ours[0] == pytest.approx(float(theirs.detach()), rel=1e-4)
    for name, weight in plain.net.named_parameters():
        assert float((ours[1][name] - weight.grad).norm()) <= 1e-4 * float(weight.grad.norm()) + 1e-9, name


def test_joined_blocks_are_the_text_of_all_documents_in_order(folder: Path) -> None:
    model = loaded(folder)
    before, after = around(model.tokenizer)
    whole: list[int] = []
    for row in ROWS:
        if row["text"]:
            whole += [*before, *model.tokenizer(row["text"], add_special_tokens=False)["input_ids"], *after]
    rows = list(a_loss(model, block_size=32, cross_documents=True).encode(ROWS))
    tokens = list(chain.from_iterable(row["input_ids"] for row in rows))
    assert tokens == whole[: len(tokens)]
    assert len(whole) - len(tokens) <= 1


def test_documents_stand_between_one_bos_and_one_eos_and_no_token_is_lost(folder: Path) -> None:
    model = loaded(folder)
    tokenizer = model.tokenizer
    assert around(tokenizer) == ([tokenizer.bos_token_id], [tokenizer.eos_token_id])
    loss = a_loss(model, block_size=40)
    for encode in (loss.encode, loss.encode_to_score):
        rows = list(encode(ROWS))
        predicted = []
        for row in rows:
            assert sum(row["segments"]) == len(row["input_ids"]) <= 40
            start = 0
            for length in row["segments"]:
                predicted += row["input_ids"][start + 1 : start + length]
                start += length
        expected: list[int] = []
        for row in ROWS:
            if row["text"]:
                expected += tokenizer(row["text"], add_special_tokens=False)["input_ids"]
                expected.append(tokenizer.eos_token_id)
        assert predicted == expected, "every token but a document's first is predicted, once"
        batch = a_loss(model, block_size=40).collate(rows)
        assert batch.inputs["target"].tolist() == expected and batch.count == len(expected)
    held = list(a_loss(model, block_size=40).encode_to_score(ROWS))
    assert [row["row"] for row in held] == sorted(row["row"] for row in held) and 8 not in [row["row"] for row in held]
    assert all(len(row["segments"]) == 1 for row in held)


def test_documents_of_a_block_do_not_see_each_other(folder: Path) -> None:
    for packed in (False, True):
        model = loaded(folder, packed)
        loss = a_loss(model, block_size=256)
        block = next(iter(loss.encode(ROWS[:3])))
        assert len(block["segments"]) == 3
        together = float(loss.compute(loss.collate([block])).total.detach())
        alone = [float(loss.compute(loss.collate([row])).total.detach()) for row in loss.encode_to_score(ROWS[:3])]
        assert together == pytest.approx(sum(alone), rel=1e-4)
        joined = a_loss(model, block_size=256, cross_documents=True)
        over = float(joined.compute(joined.collate(list(joined.encode(ROWS[:3])))).total.detach())
        assert abs(over - together) > 1e-3 * together, "without boundaries it is another loss"


def test_scores_are_perplexity_and_bits_per_byte(folder: Path) -> None:
    model = loaded(folder)
    rows = Dataset.from_list(ROWS[:4])
    plugin = Clm()
    loss = plugin.make_loss(a_run(), the_data(), model)
    batch = loss.collate(list(loss.encode_to_score(ROWS[:4])))
    total = float(loss.compute(batch).total.detach())
    seen = Predictions("validation", rows, [], total / batch.count, np.zeros(4))
    scores = {score.name: score for score in plugin.evaluate(a_run(), {"validation": seen}, model)}
    assert scores["perplexity"].value == pytest.approx(math.exp(total / batch.count)) and scores["perplexity"].goal == "min"
    text = sum(len(row["text"].encode()) for row in ROWS[:4])
    assert scores["bits_per_byte"].value == pytest.approx(total / math.log(2) / text)


def test_texts_are_continued(folder: Path) -> None:
    model = loaded(folder)
    loss = a_loss(model, max_new_tokens=4)
    rows = list(asked(loss, [{"text": "The film"}, {"text": "Our waiter forgot the"}]))
    assert loss.answer is not None
    together = [prediction.answer for prediction in loss.answer(loss.collate(rows), None)]
    assert together == [loss.answer(loss.collate([row]), None)[0].answer for row in rows]
    with pytest.raises(UserError, match="model takes"):
        list(asked(loss, [{"text": " ".join(TEXTS) * 9}]))


def test_a_block_larger_than_the_model_takes_is_refused(folder: Path) -> None:
    with pytest.raises(UserError, match="256 tokens a row at most"):
        a_loss(loaded(folder), block_size=300)


def test_tied_and_spare_embeddings_train(tmp_path: Path) -> None:
    model = loaded(tiny("gpt2", tmp_path / "tied"))
    loss = a_loss(model)
    _, gradients = mean_and_gradients(model, loss, list(loss.encode(ROWS)))
    assert model.net.lm_head.weight is model.net.transformer.wte.weight and float(gradients["transformer.wte.weight"].norm()) > 0
    model = loaded(tiny("llama", tmp_path / "spare"))
    model.net.resize_token_embeddings(400)
    loss = a_loss(model)
    assert math.isfinite(mean_and_gradients(model, loss, list(loss.encode(ROWS)))[0])


def test_a_tokenizer_larger_than_the_embeddings_is_refused(tmp_path: Path) -> None:
    from ftp_testing.models import tiny_tokenizer

    tiny("llama", tmp_path)
    tiny_tokenizer("llama", vocab_size=380).save_pretrained(tmp_path)
    with pytest.raises(UserError, match="embeddings for 320"):
        loaded(tmp_path)


# --- from scratch ---


def fresh(run: Run | None = None, **options: Any) -> Model:
    model = Clm(**{"model_config": json.dumps(LLAMA), "vocab_size": 300, **options}).build_model(run or a_run(), the_data())
    assert model is not None
    return model


def test_without_a_configuration_core_loads_the_model() -> None:
    assert Clm().build_model(a_run(), the_data()) is None
    with pytest.raises(UserError, match="checkpoint brings its own"):
        Clm(tokenizer="x").build_model(a_run(), the_data())


def test_a_fresh_network_is_drawn_from_the_seed_and_comes_back_the_same(tmp_path: Path) -> None:
    model, again, other = fresh(), fresh(), fresh(a_run(seed=1))
    weights = model.net.state_dict()
    assert all(torch.equal(weight, again.net.state_dict()[name]) for name, weight in weights.items())
    assert any(not torch.equal(weight, other.net.state_dict()[name]) for name, weight in weights.items())
    assert model.tokenizer.get_vocab() == again.tokenizer.get_vocab() and len(model.tokenizer) == 300
    assert model.net.get_input_embeddings().weight.shape[0] == 300
    models.save(model, tmp_path / "model")
    back = models.reload(tmp_path / "model")
    ids = torch.tensor([model.tokenizer("Naïve café 漢字")["input_ids"]])
    assert ids[0, 0] == model.tokenizer.bos_token_id
    assert back.tokenizer.decode(back.tokenizer("Naïve café 漢字")["input_ids"], skip_special_tokens=True) == "Naïve café 漢字"
    torch.testing.assert_close(back.net(ids).logits, model.net.eval()(ids).logits)


def test_the_tokenizer_is_trained_once_and_kept_in_the_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A resumed run reads its own: to train one on hundreds of megabytes takes minutes."""
    from ftp.model import scratch

    began = fresh(replace(a_run(), out=tmp_path))
    monkeypatch.setattr(scratch, "train", None)
    resumed = fresh(replace(a_run(), out=tmp_path))
    alone = fresh(tokenizer=str(tmp_path / "tokenizer"))
    for other in (resumed, alone):
        assert other.tokenizer.get_vocab() == began.tokenizer.get_vocab()
        assert other.tokenizer.backend_tokenizer.to_str() == began.tokenizer.backend_tokenizer.to_str()
        assert other.tokenizer.pad_token_id == began.tokenizer.pad_token_id != began.tokenizer.eos_token_id
    assert not list(tmp_path.glob("*.part"))


def test_a_fresh_network_learns(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(json.dumps(LLAMA), encoding="utf-8")
    model = fresh(model_config=str(tmp_path))
    loss = a_loss(model)
    rows = list(loss.encode(ROWS))
    optimizer, seen = torch.optim.AdamW(model.net.parameters(), 3e-3), []
    for _ in range(12):
        batch = loss.collate(rows)
        mean = loss.compute(batch).total / batch.count
        optimizer.zero_grad()
        mean.backward()
        optimizer.step()
        seen.append(float(mean.detach()))
    assert seen[-1] < seen[0] - 0.5


@pytest.mark.slow
@pytest.mark.parametrize(("config", "match"), [
    ("{not json", "not JSON"),
    ("nowhere/config.json", "no such file"),
    ('{"hidden_size": 8}', "does not name its architecture"),
    ('{"model_type": "lama"}', "did you mean 'llama'"),
    ('{"model_type": "llama", "hidden_sise": 8}', "did you mean 'hidden_size'"),
    ('{"model_type": "resnet"}', "makes no network of it"),
])
def test_a_wrong_configuration_is_told(config: str, match: str) -> None:
    with pytest.raises(UserError, match=match):
        fresh(model_config=config)


def test_what_does_not_go_with_a_fresh_network_is_told(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="not both"):
        fresh(a_run(model="somewhere"))
    adapted = replace(fresh(), net=SimpleNamespace(peft_config={}, config=SimpleNamespace()))  # type: ignore[arg-type]
    with pytest.raises(UserError, match="no trained weights"):
        a_loss(adapted, model_config="{}")
    with pytest.raises(UserError, match=r"--clm.vocab_size 300: a checkpoint brings its own"):
        Clm(vocab_size=300).build_model(a_run(), the_data())
    borrowed = fresh(tokenizer=str(tiny("gpt2", tmp_path)))
    assert len(borrowed.tokenizer) == borrowed.net.config.vocab_size == 320 and borrowed.tokenizer.pad_token_id == 0
