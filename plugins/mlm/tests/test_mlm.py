"""mlm: Transformers' own loss under the same masks; shares, words and special tokens; fixed masks in evaluation."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from itertools import chain
from pathlib import Path
from typing import Any

import pytest
import torch
from datasets import Dataset

from ftp import model as models
from ftp.data.encode import asked
from ftp.errors import UserError
from ftp.net.packing import can_pack
from ftp.settings import Settings
from ftp.types import Data, Loss, Model, Row, Run, Task
from ftp_mlm import Mlm
from ftp_mlm.loss import Masks
from ftp_testing.models import TEXTS, tiny

ROWS: list[Row] = [{"text": text} for text in (*TEXTS, "", " ".join(TEXTS))]


@pytest.fixture(scope="module", params=["bert", "roberta"])
def folder(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny(request.param, tmp_path_factory.mktemp(request.param))


def loaded(folder: Path, packed: bool = False) -> Model:
    model = models.load(models.Source(str(folder), folder=folder), "mask")
    model.net.eval()
    if packed:
        able, why = can_pack(model.net, model.tokenizer)
        assert able, why
    return replace(model, packed=packed)


def a_run(**settings: Any) -> Run:
    return Run(Settings(**settings), Task("text", "mask"), None)  # type: ignore[arg-type]


def the_data() -> Data:
    return Data({"train": Dataset.from_list(ROWS)}, "text")


def a_loss(model: Model, run: Run | None = None, **options: Any) -> Loss:
    return Mlm(**options).make_loss(run or a_run(), the_data(), model)


@pytest.mark.parametrize("packed", [False, True])
def test_the_loss_and_gradients_are_transformers_own_under_the_same_masks(folder: Path, packed: bool) -> None:
    model = loaded(folder, packed)
    loss = a_loss(model, block_size=48, cross_documents=True)
    rows = [row for row in loss.encode(ROWS) if len(row["input_ids"]) == 48]
    ids, labels = Masks(Mlm(), model, 0).hide(rows, fixed=True)
    batch = loss.collate(rows)
    hidden = [label for label in chain.from_iterable(labels) if label != -100]
    assert sorted(batch.inputs["target"].tolist()) == sorted(hidden)
    ours = loss.compute(batch).total / batch.count
    ours.backward()
    plain = loaded(folder)
    theirs = plain.net(input_ids=torch.tensor(ids), labels=torch.tensor(labels)).loss
    theirs.backward()
    assert float(ours.detach()) == pytest.approx(float(theirs.detach()), rel=1e-4)
    mine = dict(model.net.named_parameters())
    for name, weight in plain.net.named_parameters():
        if weight.grad is not None:
            assert float((mine[name].grad - weight.grad).norm()) <= 1e-4 * float(weight.grad.norm()) + 1e-7, name


def test_documents_of_a_block_do_not_see_each_other(folder: Path) -> None:
    for packed in (False, True):
        model = loaded(folder, packed)
        loss = a_loss(model)
        block = next(iter(loss.encode(ROWS[:3])))
        batch = loss.collate([block])
        assert len(block["segments"]) == 3
        ids, labels = Masks(Mlm(), model, 0).hide([block], fixed=True)
        start, alone = 0, 0.0
        for length in block["segments"]:
            part, wanted = torch.tensor([ids[0][start : start + length]]), torch.tensor(labels[0][start : start + length])
            with torch.no_grad():
                logits = model.net(input_ids=part, attention_mask=torch.ones_like(part)).logits[0]
            alone += float(torch.nn.functional.cross_entropy(logits, wanted, reduction="sum"))
            start += length
        assert float(loss.compute(batch).total.detach()) == pytest.approx(alone, rel=1e-4)


def test_shares_are_those_of_bert_and_special_tokens_are_left_alone(folder: Path) -> None:
    model = loaded(folder)
    tokenizer, masks = model.tokenizer, Masks(Mlm(), model, 0)
    words = tokenizer("the film was a quiet joy from the first scene to the last", add_special_tokens=False)["input_ids"]
    row: Row = {"input_ids": [tokenizer.cls_token_id, *words * 400, tokenizer.sep_token_id]}
    torch.manual_seed(0)
    (ids,), (labels,) = masks.hide([row], fixed=False)
    hidden = [index for index, label in enumerate(labels) if label != -100]
    share = len(hidden) / (len(words) * 400)
    assert share == pytest.approx(0.15, abs=0.012)
    kinds = Counter[str]()
    for index in hidden:
        if ids[index] == tokenizer.mask_token_id:
            kinds["mask"] += 1
        elif ids[index] != labels[index]:
            kinds["other"] += 1
    assert kinds["mask"] / len(hidden) == pytest.approx(0.8, abs=0.03)
    assert kinds["other"] / len(hidden) == pytest.approx(0.1, abs=0.025)
    assert labels[0] == labels[-1] == -100 and ids[0] == tokenizer.cls_token_id
    drawn = {ids[n] for n in hidden} - {tokenizer.mask_token_id}
    assert not drawn & set(tokenizer.all_special_ids) and max(drawn) < model.net.config.vocab_size
    assert all(ids[n] == token for n, token in enumerate(row["input_ids"]) if labels[n] == -100)


def test_training_draws_from_the_global_generator_and_evaluation_never_changes(folder: Path) -> None:
    model = loaded(folder)
    loss = a_loss(model)
    rows = list(loss.encode(ROWS))

    def drawn(loss: Loss = loss) -> list[int]:
        return loss.collate(rows).inputs["where"].tolist()

    model.net.train()
    torch.manual_seed(3)
    first, second = drawn(), drawn()
    torch.manual_seed(3)
    assert drawn() == first != second
    model.net.eval()
    torch.manual_seed(5)
    state = torch.get_rng_state()
    fixed = drawn()
    assert torch.equal(torch.get_rng_state(), state)
    assert drawn() == fixed == drawn(a_loss(loaded(folder))), "the same for each evaluation and each model"
    assert drawn(a_loss(model, a_run(seed=1))) != fixed


def test_a_number_of_the_update_says_what_is_hidden_on_whatever_rank(folder: Path) -> None:
    model = loaded(folder)
    loss = a_loss(model, block_size=24)
    rows = [{**row, "draw": 7} for row in loss.encode(ROWS)]
    assert len(rows) > 3
    model.net.train()
    torch.manual_seed(3)
    whole = [loss.collate(rows).inputs["target"].tolist() for _ in range(2)]
    torch.manual_seed(4)
    parts: list[int] = []
    for start in range(0, len(rows), 2):
        parts += loss.collate(rows[start : start + 2]).inputs["target"].tolist()
    assert whole[0] == whole[1] == parts
    later = loss.collate([{**row, "draw": 8} for row in rows])
    assert later.inputs["where"].tolist() != loss.collate(rows).inputs["where"].tolist()


def test_a_row_is_masked_alike_whatever_stands_beside_it(folder: Path) -> None:
    loss = a_loss(loaded(folder))
    rows = list(loss.encode_to_score(ROWS))
    together = loss.collate(rows)
    targets = [together.inputs["target"][together.inputs["of"] == number].tolist() for number in range(len(rows))]
    assert targets == [loss.collate([row]).inputs["target"].tolist() for row in rows]
    assert all(targets), "every row has something to guess"


def test_whole_words_are_hidden_as_one(folder: Path) -> None:
    model = loaded(folder)
    loss = a_loss(model, whole_word=True)
    texts: list[Row] = [{"text": "unforgettable zebras overwhelmingly outnumber xylophones"}, {"text": "quixotic jazz, vividly"}]
    block = next(iter(loss.encode(texts)))
    words = Counter(word for word in block["words"] if word >= 0)
    assert len(block["segments"]) > 1 and max(words.values()) > 1
    (_,), (labels,) = Masks(Mlm(whole_word=True, mlm_probability=0.4), model, 0).hide([block], fixed=True)
    is_hidden: dict[int, set[bool]] = {}  # of the tokens of each word
    for word, label in zip(block["words"], labels, strict=True):
        if word >= 0:
            is_hidden.setdefault(word, set()).add(label != -100)
    fates = list(is_hidden.values())
    assert {True} in fates and {False} in fates and {True, False} not in fates
    whole = model.tokenizer(texts[0]["text"]).word_ids()
    first_words = block["words"][: block["segments"][0]]
    assert [word for word in first_words if word >= 0] == [word for word in whole if word is not None]
    assert loss.key != a_loss(model).key


def test_no_token_is_lost(folder: Path) -> None:
    model = loaded(folder)
    special = set(model.tokenizer.all_special_ids)
    expected: list[int] = []
    for row in ROWS:
        expected += model.tokenizer(row["text"], add_special_tokens=False)["input_ids"]
    expected = [token for token in expected if token not in special]
    loss = a_loss(model, block_size=24)
    for encode in (loss.encode, loss.encode_to_score):
        rows = list(encode(ROWS))
        assert all(sum(row["segments"]) == len(row["input_ids"]) <= 24 for row in rows)
        tokens = chain.from_iterable(row["input_ids"] for row in rows)
        assert [token for token in tokens if token not in special] == expected
        for row in rows:
            assert row["input_ids"].count(model.tokenizer.cls_token_id) == len(row["segments"])


def test_blanks_are_filled_in(folder: Path) -> None:
    model = loaded(folder)
    loss = a_loss(model)
    rows = list(asked(loss, [{"text": f"the film was a {model.tokenizer.mask_token} joy"}]))
    assert loss.answer is not None
    with torch.no_grad():
        answer = loss.answer(loss.collate(rows), None)[0].answer
        best = model.net(torch.tensor([rows[0]["input_ids"]])).logits[0]
    blank = rows[0]["input_ids"].index(model.tokenizer.mask_token_id)
    filled = [*rows[0]["input_ids"]]
    filled[blank] = int(best[blank].argmax())
    assert answer == model.tokenizer.decode(filled, skip_special_tokens=True)
    with pytest.raises(UserError, match="nothing to guess"):
        list(asked(loss, [{"text": "the film"}]))


def test_accuracy_and_perplexity(folder: Path) -> None:
    import numpy as np

    from ftp.types import Predictions

    loss = a_loss(loaded(folder))
    batch = loss.collate(list(loss.encode_to_score(ROWS)))
    with torch.no_grad():
        assert 0 <= float(loss.compute(batch).metrics["masked_accuracy"]) <= batch.count
    score = Mlm().evaluate({"test": Predictions("test", Dataset.from_list(ROWS), [], 0.0, np.zeros(1))})[0]
    assert (score.name, score.value, score.goal) == ("masked_perplexity", 1.0, "min")


def test_what_cannot_be_is_told(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="more than 1"):
        a_loss(loaded(folder), mask_replace_prob=0.9, random_replace_prob=0.2)
    with pytest.raises(UserError, match=r"--mlm.vocab_size 300: a checkpoint brings its own"):
        Mlm(vocab_size=300).build_model(a_run(), the_data())
    model = loaded(folder)
    model.tokenizer.mask_token = None
    with pytest.raises(UserError, match="no mask token"):
        a_loss(model)


def test_from_scratch_with_a_tokenizer_that_masks(tmp_path: Path) -> None:
    config = ('{"model_type": "roberta", "hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 4, '
              '"intermediate_size": 64, "max_position_embeddings": 66}')
    model = Mlm(model_config=config, vocab_size=300).build_model(a_run(), the_data())
    assert model is not None and model.tokenizer.mask_token_id is not None
    ids = model.tokenizer("a")["input_ids"]
    assert (ids[0], ids[-1]) == (model.tokenizer.cls_token_id, model.tokenizer.sep_token_id)
    loss = a_loss(model)
    rows = list(loss.encode(ROWS))
    assert max(len(row["input_ids"]) for row in rows) <= 64, "two positions lie before the first token"
    assert model.tokenizer.model_max_length == 64, "what is saved says so to Transformers as well"
    loss.compute(loss.collate(rows)).total.backward()
    models.save(model, tmp_path / "model")
    assert models.reload(tmp_path / "model").tokenizer.mask_token == "<mask>"


def test_a_plan_knows_the_network_unless_it_is_from_scratch(folder: Path) -> None:
    from ftp.plugins.plan import prepare
    from ftp.runs.dry_run import forecast

    plan_of_run = forecast(prepare(["mlm", "law"], given=[("flags", {"model": str(folder)})]))
    assert plan_of_run.shape is not None and plan_of_run.shape.trained == plan_of_run.shape.total
    plan_of_run = forecast(prepare(["mlm", "law"], given=[("flags", {"mlm.model_config": '{"model_type": "bert"}'})]))
    assert plan_of_run.shape is None and "mlm builds it in a way of its own" in plan_of_run.unknown[0]
