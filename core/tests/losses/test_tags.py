"""Tags: Transformers' own loss, words and not sub-tokens, windows that lose no word."""

from __future__ import annotations

from dataclasses import replace
from itertools import chain, pairwise
from typing import Any

import pytest
import torch
from transformers import AutoModelForTokenClassification

from ftp.data.encode import asked
from ftp.data.encode import encode as encode_split
from ftp.errors import UserError
from ftp.losses import tags
from ftp.losses.common import Frame
from ftp.types import Model, Task

LABELS = ("O", "B-PER", "I-PER", "B-LOC")
TASK = Task("tagged", "tags")
SENTENCES = [
    (["The", "capital", "of", "Norway", "is", "Oslo", "."], [0, 0, 0, 3, 0, 3, 0]),
    (["Bartholomew", "Featherstonehaugh", "forgot", "the", "soup"], [1, 2, 0, 0, 0]),
    (["Prices", "rose"], [0, 0]),
    (["Our", "waiter", "Ann-Marie", "O'Neil", "was", "sent", "home", "to", "Norland", "on", "day", "4"],
     [0, 0, 1, 2, 0, 0, 0, 0, 3, 0, 0, 0]),
]
ROWS = [{"tokens": words, "tags": numbers} for words, numbers in SENTENCES]
KINDS = ["bert", "roberta", "gpt2", "llama", "t5"]


def theirs(model: Model, folder: Any) -> tuple[list[float], dict[str, torch.Tensor]]:
    """Mean loss of each row by AutoModelForTokenClassification, one plain pass a row, and the gradients of their sum."""
    net: Any = AutoModelForTokenClassification.from_pretrained(folder, num_labels=len(LABELS))
    net.load_state_dict(model.net.state_dict())
    net.eval()
    losses = []
    for words, numbers in SENTENCES:
        text = " ".join(words)
        encoded = model.tokenizer(text, return_tensors="pt")
        labels, begin = torch.full_like(encoded["input_ids"], -100), 0
        for word, number in zip(words, numbers, strict=True):
            labels[0, encoded.char_to_token(begin)] = number
            begin += len(word) + 1
        encoded.pop("token_type_ids", None)
        loss = net(**encoded, labels=labels).loss
        loss.backward()
        losses.append(float(loss.detach()))
    return losses, {name: weight.grad for name, weight in net.named_parameters() if weight.grad is not None}


@pytest.mark.parametrize("kind", KINDS)
def test_the_loss_is_transformers_own(kind: str, load: Any, folder: Any, run: Any, data: Any) -> None:
    model = load(kind, "tags", LABELS)
    loss = tags.make(run(TASK), data("tagged", {}, LABELS), model)
    encoded = list(loss.encode(ROWS))
    expected, gradients = theirs(model, folder(kind))
    for row, expected_loss in zip(encoded, expected, strict=True):
        batch = loss.collate([row])
        out = loss.compute(batch)
        (out.total / batch.count).backward()
        assert float(out.total.detach()) / batch.count == pytest.approx(expected_loss, rel=1e-4)
    own_gradients = {name: weight.grad for name, weight in model.net.named_parameters() if weight.grad is not None}
    assert own_gradients.keys() == gradients.keys() and len(own_gradients) > 10
    for name, gradient in gradients.items():
        assert torch.allclose(own_gradients[name], gradient, rtol=1e-4, atol=1e-6), name


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["bert", "roberta", "gpt2", "llama"])
def test_padding_and_packing_change_nothing(kind: str, load: Any, run: Any, data: Any) -> None:
    model = load(kind, "tags", LABELS)
    loss = tags.make(run(TASK), data("tagged", {}, LABELS), model)
    rows = list(loss.encode_to_score(ROWS))
    alone = [loss.compute(loss.collate([row])) for row in rows]
    answers = [loss.answer(loss.collate([row]), None)[0].answer for row in rows]
    for layout in ("right", "left", "packed"):
        laid = load(kind, "tags", LABELS, packed=layout == "packed")
        laid.tokenizer.padding_side = "left" if layout == "left" else "right"
        loss = tags.make(run(TASK), data("tagged", {}, LABELS), laid)
        batch = loss.collate(rows)
        out = loss.compute(batch)
        assert batch.count == sum(len(words) for words, _ in SENTENCES)
        assert float(out.total.detach()) == pytest.approx(sum(float(out_alone.total.detach()) for out_alone in alone), rel=1e-4)
        assert torch.allclose(out.row_losses, torch.cat([out_alone.row_losses for out_alone in alone]), rtol=1e-4)
        assert out.row_counts.tolist() == [len(words) for words, _ in SENTENCES]
        assert [prediction.answer for prediction in loss.answer(batch, out)] == answers


@pytest.mark.parametrize("kind", KINDS)
def test_a_word_is_scored_by_its_first_token_alone(kind: str, load: Any, run: Any, data: Any) -> None:
    model = load(kind, "tags", LABELS)
    loss = tags.make(run(TASK), data("tagged", {}, LABELS), model)
    for row, (words, numbers) in zip(loss.encode(ROWS), SENTENCES, strict=True):
        assert row["tags"] == numbers and len(row["first_tokens"]) == len(words) < len(row["input_ids"])
        tokens = model.tokenizer.convert_ids_to_tokens(row["input_ids"])
        for word, token in zip(words, row["first_tokens"], strict=True):
            start = tokens[token].replace("Ġ", "").lower()
            assert start and word.lower().startswith(start)
    assert len(set(row["first_tokens"])) == len(words)


def test_long_sentences_lose_no_word_and_count_each_once(load: Any, run: Any, data: Any) -> None:
    model = load("bert", "tags", LABELS)
    words: list[str] = []
    numbers: list[int] = []
    for sentence, tags_of_sentence in SENTENCES * 2:
        words += sentence
        numbers += tags_of_sentence
    words[10] = "Ψ" * 3 + "-unbelievably-long-" * 2  # longer than a window's overlap
    rows = [{"tokens": ["Oslo"], "tags": [3]}, {"tokens": words, "tags": numbers}]
    loss = tags.make(run(TASK, max_length=32), data("tagged", {}, LABELS), model)
    encoded = [dict(row) for row in encode_split(data("tagged", {"train": rows}).splits["train"], loss.encode, "train", key="")]
    windows = [row for row in encoded if row["row"] == 1]
    assert len(windows) > 5 and all(len(row["input_ids"]) <= 32 for row in windows)
    assert list(chain.from_iterable(row["tags"] for row in windows)) == numbers
    assert encoded[0]["tags"] == [3]
    cls, sep = model.tokenizer.cls_token_id, model.tokenizer.sep_token_id
    assert all(row["input_ids"][0] == cls and row["input_ids"][-1] == sep for row in windows)
    whole = next(iter(tags.make(run(TASK), data("tagged", {}, LABELS), model).encode([rows[1]])))
    firsts = [whole["input_ids"][token] for token in whole["first_tokens"]]
    firsts_of_windows = []
    for row in windows:
        firsts_of_windows += [row["input_ids"][token] for token in row["first_tokens"]]
    assert firsts_of_windows == firsts
    for row in windows[1:-1]:  # read with context on both sides
        inside = [token for token in row["first_tokens"] if token >= 0]
        assert min(inside) >= 5 and max(inside) <= 26
    merged = loss.merge([loss.answer(loss.collate([row]), None)[0] for row in windows], windows)
    assert len(merged.answer) == len(words) and set(merged.answer) <= set(LABELS)


@pytest.mark.parametrize("length", [1, 9, 10, 11, 16, 17, 100])
@pytest.mark.parametrize("room", [1, 2, 3, 10])
def test_windows_cover_a_text(length: int, room: int) -> None:
    parts = Frame(2, 2 + length, length + 3).windows(room + 3)
    assert parts[0][0] == 0 and parts[-1][1] == length
    assert all(0 < end - start <= room for start, end in parts)
    assert len(parts) == 1 or all(b[0] < b[1] and a[1] - b[0] == room // 3 for a, b in pairwise(parts))
    scored = list(tags.owned(parts, list(range(length))))
    assert list(chain.from_iterable(scored)) == list(range(length))
    for (start, end), words in zip(parts, scored, strict=True):
        assert all(start <= word < end for word in words)


def test_words_of_which_the_tokenizer_makes_nothing_are_answered_but_not_trained(load: Any, run: Any, data: Any) -> None:
    model = load("bert", "tags", LABELS)
    loss = tags.make(run(TASK), data("tagged", {}, LABELS), model)
    rows = [{"tokens": ["\u200b", "Oslo", "", "\x00", "soup"], "tags": [3, 3, 1, 0, 0]}, {"tokens": ["\u200b"], "tags": [1]},
            {"tokens": [], "tags": []}]
    assert [row["row"] for row in loss.encode(rows)] == [0]
    encoded = list(loss.encode_to_score(rows))
    batch = loss.collate(encoded)
    out = loss.compute(batch)
    assert batch.count == 2 and out.row_counts.tolist() == [2, 0, 0]
    answers = [prediction.answer for prediction in loss.answer(batch, out)]
    assert [len(row_tags) for row_tags in answers] == [5, 1, 0]
    assert [answers[0][word] for word in (0, 2, 3)] == ["O", "O", "O"] and answers[1] == ["O"]


def test_a_sentence_without_a_word_alone_in_a_batch_is_answered_with_no_tag(load: Any, run: Any, data: Any) -> None:
    """Evaluation spares a batch without a term its pass, so there are no outputs to answer from."""
    from ftp.types import LossOut

    loss = tags.make(run(TASK), data("tagged", {}, LABELS), load("bert", "tags", LABELS))
    batch = loss.collate(list(loss.encode_to_score([{"tokens": [], "tags": []}])))
    assert batch.count == 0 and loss.answer is not None
    assert [prediction.answer for prediction in loss.answer(batch, LossOut(torch.zeros(())))] == [[]]


def test_plain_words_are_answered(load: Any, run: Any, data: Any) -> None:
    from ftp.evaluate.predict import answer

    model = load("gpt2", "tags", LABELS)
    loss = tags.make(run(TASK, max_length=12), data("tagged", {}, LABELS), model)
    encoded = []
    for number, row in enumerate(ROWS):
        encoded += [{**window, "row": number} for window in asked(loss, [{"tokens": row["tokens"]}])]
    assert len(encoded) > len(ROWS)
    assert [len(prediction.answer) for prediction in answer(model, loss, encoded)] == [len(words) for words, _ in SENTENCES]


def test_what_cannot_be_read_is_said(load: Any, run: Any, data: Any) -> None:
    model = load("bert", "tags", LABELS)
    loss = tags.make(run(TASK), data("tagged", {}, LABELS), model)
    with pytest.raises(UserError, match=r"begins 'Oslo is' has 2 tokens and 1 tags"):
        list(loss.encode([{"tokens": ["Oslo", "is"], "tags": [0]}]))
    with pytest.raises(UserError, match="not text"):
        list(loss.encode([{"tokens": ["Oslo", None], "tags": [0, 0]}]))
    with pytest.raises(UserError, match="no room"):
        model.tokenizer.model_max_length = 2
        list(tags.make(run(TASK), data("tagged", {}, LABELS), model).encode(ROWS))


def test_uneven_rows_are_named_when_they_are_loaded(data: Any) -> None:
    from ftp.data.check import check

    rows = data("tagged", {"train": [*ROWS, {"tokens": ["a", "b"], "tags": [0]}]}).splits["train"]
    with pytest.raises(UserError, match=r"1 rows have another number of tags than tokens.*\[4\]"):
        check(rows, "tagged", "data (train)")


def test_the_order_of_labels_is_the_datas(load: Any, run: Any, data: Any) -> None:
    """The names answered are those of the classes that were trained."""
    model = load("bert", "tags", LABELS)
    loss = tags.make(run(TASK), data("tagged", {}, LABELS), model)
    batch = loss.collate(list(loss.encode_to_score(ROWS[:1])))
    with torch.no_grad():
        model.net.classifier.weight.zero_()
        model.net.classifier.bias.copy_(torch.tensor([0.0, 0.0, 0.0, 5.0]))
    assert set(loss.answer(batch, None)[0].answer) == {"B-LOC"}
    assert replace(model, packed=False).net.config.id2label[3] == "B-LOC"
