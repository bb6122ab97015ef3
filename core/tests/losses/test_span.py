"""Spans: Transformers' own loss, answers of long contexts, no answer, and answers that are not in their context."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForQuestionAnswering

from ftp.data.encode import asked
from ftp.errors import UserError
from ftp.evaluate.predict import answer as answer_all
from ftp.folder.log import Log
from ftp.losses import answer_places, span
from ftp.losses.span import WindowAnswer
from ftp.types import Prediction, Task

TASK = Task("question", "span")
KINDS = ["bert", "roberta", "gpt2", "llama"]
LONG = ("The waiter forgot the soup and the bread. " * 3 + "The new card was sent to the bank in March. "
        + "Prices rose by 2.5 percent, more than was expected. " * 3)


def row(question: str, context: str, *answers: str, starts: list[int] | None = None) -> dict[str, Any]:
    return {"question": question, "context": context,
            "answers": {"text": list(answers), "answer_start": starts or [context.index(answer) for answer in answers]}}


ROWS = [
    row("What is the capital of Norway?", "The capital of Norway is Oslo, not Bergen.", "Oslo"),
    row("When was it sent?", LONG, "in March"),
    row("How much is seven plus five?", "Seven plus five is twelve, and twelve minus five is seven.", "twelve", "is twelve"),
    row("Who rose?", "The film was a quiet joy from the first scene to the last."),
]


@pytest.mark.slow
@pytest.mark.parametrize("kind", [*KINDS, "t5", "bart"])
def test_the_loss_is_transformers_own(kind: str, load: Any, folder: Any, run: Any, data: Any) -> None:
    model = load(kind, "span")
    loss = span.make(run(TASK), data("question", {}), model)
    net: Any = AutoModelForQuestionAnswering.from_pretrained(folder(kind))
    net.load_state_dict(model.net.state_dict())
    net.eval()
    for window, sample in zip(list(loss.encode(ROWS)), ROWS, strict=True):
        encoded = model.tokenizer(sample["question"], sample["context"], return_tensors="pt")
        ids = encoded["input_ids"][0].tolist()
        if kind in ("gpt2", "llama"):  # their rows have no special token at the end: the EOS stands for no answer
            ids = [*ids, model.tokenizer.eos_token_id]
        none = 0 if kind in ("bert", "roberta", "bart") else len(ids) - 1
        assert window["input_ids"] == ids
        if sample["answers"]["text"]:
            begin = sample["answers"]["answer_start"][0]
            end = begin + len(sample["answers"]["text"][0]) - 1
            # a blank before a word may be a part of its token, or of none
            tokens = [encoded.char_to_token(0, character, 1) for character in range(begin, end + 1)]
            first = next(token for token in tokens if token is not None)
            last = tokens[-1]
        else:
            first = last = none
        assert window["span"] == [first, last]
        more = {"token_type_ids": torch.tensor([window["token_type_ids"]])} if "token_type_ids" in window else {}
        with torch.no_grad():
            expected = net(input_ids=torch.tensor([ids]), start_positions=torch.tensor([first]),
                           end_positions=torch.tensor([last]), **more).loss
            out = loss.compute(loss.collate([window]))
        assert float(out.total) == pytest.approx(float(expected), rel=1e-4)


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_padding_and_packing_change_nothing(kind: str, load: Any, run: Any, data: Any) -> None:
    model = load(kind, "span")
    loss = span.make(run(TASK), data("question", {}), model)
    rows = list(loss.encode_to_score(ROWS))
    alone = [loss.compute(loss.collate([window])) for window in rows]
    answers = [loss.answer(loss.collate([window]), None)[0].answer for window in rows]
    for layout in ("right", "left", "packed"):
        laid = load(kind, "span", packed=layout == "packed")
        laid.tokenizer.padding_side = "left" if layout == "left" else "right"
        loss = span.make(run(TASK), data("question", {}), laid)
        batch = loss.collate(rows)
        out = loss.compute(batch)
        assert out.total.requires_grad and batch.count == len(rows)
        assert torch.allclose(out.row_losses, torch.cat([out_alone.row_losses for out_alone in alone]), rtol=1e-4)
        assert float(out.total.detach()) == pytest.approx(sum(float(out_alone.total.detach()) for out_alone in alone), rel=1e-4)
        for prediction, expected in zip(loss.answer(batch, out), answers, strict=True):
            assert prediction.answer.best[0][0] == expected.best[0][0]
            assert prediction.answer.none == pytest.approx(expected.none, abs=1e-4)
    out.total.backward()
    assert all(torch.isfinite(weight.grad).all() for weight in laid.net.parameters() if weight.grad is not None)


@pytest.mark.parametrize("kind", KINDS)
def test_long_contexts_are_read_in_windows(kind: str, load: Any, run: Any, data: Any) -> None:
    model = load(kind, "span")
    loss = span.make(run(TASK, max_length=48), data("question", {}), model)
    windows = list(loss.encode([ROWS[1]]))
    assert len(windows) >= 3 and all(len(window["input_ids"]) <= 48 for window in windows)
    asked = windows[0]["input_ids"][: windows[0]["first"]]
    assert all(window["input_ids"][: window["first"]] == asked for window in windows)
    reached = 0
    hits = 0
    for window in windows:
        begins = LONG.index(window["text"], 0) if len(window["text"]) > 60 else LONG.rindex(window["text"])
        assert LONG[begins : begins + len(window["text"])] == window["text"]
        first, last = window["span"]
        if [first, last] == [window["none"]] * 2:
            assert "in March" not in window["text"]
        else:
            begin, end = window["offsets"][2 * (first - window["first"])], window["offsets"][2 * (last - window["first"]) + 1]
            assert window["text"][begin:end].strip() == "in March"
            hits += 1
        reached += len(window["text"])
    assert hits >= 1 and LONG.rstrip().endswith(windows[-1]["text"].rstrip()) and reached > len(LONG)


class Rigged:
    """Logits that say where the answer is: the tokens of `wanted` in the context, and how sure no answer is."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, model: Any, words: dict[str, float], none: float) -> None:
        def logits(_: Any, batch: Any) -> torch.Tensor:
            out = torch.zeros(batch.rows, max(batch.inputs["lengths"]), 2)
            for number, window in enumerate(batch.inputs["windows"]):
                out[number, window["none"]] = none / 2
                pairs = list(zip(window["offsets"][::2], window["offsets"][1::2], strict=True))
                for word, sure in words.items():
                    if (begin := window["text"].find(word)) >= 0:
                        inside = [n for n, (a, b) in enumerate(pairs) if a < begin + len(word) and b > begin]
                        out[number, window["first"] + inside[0], 0] = out[number, window["first"] + inside[-1], 1] = sure / 2
            return out

        monkeypatch.setattr(span, "_logits", logits)


@pytest.mark.parametrize("kind", KINDS)
def test_the_best_stretch_of_all_windows_is_answered(kind: str, load: Any, run: Any, data: Any,
                                                     monkeypatch: pytest.MonkeyPatch) -> None:
    model = load(kind, "span")
    loss = span.make(run(TASK, max_length=48), data("question", {}), model)
    questions = [{"question": sample["question"], "context": sample["context"]} for sample in ROWS[:2]]
    encoded = [{**window, "row": number} for number, question in enumerate(questions) for window in asked(loss, [question])]
    Rigged(monkeypatch, model, {"Oslo": 6.0, "sent to the bank": 8.0, "soup": 7.0}, none=100.0)
    answers = [prediction.answer for prediction in answer_all(model, loss, encoded)]
    assert answers == ["Oslo", "sent to the bank"]  # its training rows all had answers, so it always gives one


def test_answers_are_not_longer_than_allowed_and_never_run_backwards(load: Any, run: Any, data: Any) -> None:
    model = load("bert", "span")
    rows = list(span.make(run(TASK), data("question", {}), model).encode_to_score([ROWS[0]]))
    logits = torch.zeros(1, len(rows[0]["input_ids"]), 2)
    text = rows[0]["text"]
    first = rows[0]["first"]
    starts = rows[0]["offsets"][::2]
    ends = rows[0]["offsets"][1::2]
    length = len(starts)
    logits[0, first + 6, 0] = 9.0
    logits[0, first + 2, 1] = 9.0  # the end before the start
    logits[0, first - 2] = 50.0  # a token of the question
    logits[0, :, 0] += torch.arange(logits.shape[1]) * 0.01
    for most in (1, 3, 30):
        allowed = set()
        for index, start in enumerate(starts):
            allowed |= {text[start:end] for end in ends[index : index + most]}
        for window_answer in span._best(logits, rows, most):
            assert len(window_answer.best) == min(span.N_BEST, sum(min(most, length - n) for n in range(length)))
            values = [value for _, value in window_answer.best]
            assert values == sorted(values, reverse=True) and values[0] < 20
            assert {answer for answer, _ in window_answer.best} <= allowed


def test_no_answer_is_given_where_it_is_likelier_and_was_trained(load: Any, run: Any, data: Any) -> None:
    model = load("bert", "span")
    with_none = data("question", {"train": ROWS})
    without = data("question", {"train": ROWS[:3]})
    windows = [WindowAnswer(9.0, (("a", 3.0), ("b", 2.0))), WindowAnswer(4.0, (("c", 3.5),))]

    def merged(training: Any, **options: Any) -> str:
        return span.reader(run(TASK), training, model, **options).merge([Prediction(window) for window in windows], [])  # type: ignore[return-value]

    assert merged(without).answer == "c"
    assert merged(with_none).answer == ""  # the window that holds an answer has the smallest logit of none
    assert merged(with_none, threshold=0.6).answer == "c"


def test_a_finished_run_knows_whether_questions_may_lack_an_answer(load: Any, run: Any, data: Any, tmp_path: Path) -> None:
    model = load("bert", "span")
    for rows, may_lack in ((ROWS, True), (ROWS[:3], False)):
        out = tmp_path / str(may_lack)
        out.mkdir()
        training = replace(run(TASK), log=Log(out, writer=True), out=out)
        span.make(training, data("question", {"train": rows}), model)
        training.log.close()
        assert span._unanswerable(replace(run(TASK), out=out), data("question", {})) is may_lack


def test_answers_that_are_not_in_their_context_are_named(load: Any, run: Any, data: Any) -> None:
    model = load("bert", "span")
    bad = [*ROWS, row("Who?", "Oslo is Oslo.", "Bergen", starts=[0]), row("Who?", "Oslo is Oslo.", "Oslo", starts=[3])]
    with pytest.raises(UserError, match=r"train: 2 of 6 rows have answers that are not in their context.*rows 4, 5") as error:
        span.make(run(TASK), data("question", {"train": bad, "validation": bad[4:5]}), model)
    assert "validation: 1 of 1" in str(error.value)
    loss = span.make(run(TASK), data("question", {}), model)  # a stream is looked at while it is read
    with pytest.raises(UserError, match="the answer 'Bergen' to 'Who"):
        list(loss.encode(bad[4:5]))


def test_a_wrong_start_is_mended_where_the_text_stands_once(load: Any, run: Any, data: Any) -> None:
    model = load("bert", "span")
    moved = [row("What?", ROWS[0]["context"], "Oslo", starts=[3]), *ROWS[:1], {**ROWS[0], "answers": {"text": ["Oslo"]}}]
    asked = run(TASK)
    loss = span.make(asked, data("question", {"train": moved}), model)
    assert "train: 2 of 3 answers do not begin at their answer_start" in asked.told[0]
    samples = [{**sample, "question": "What?"} for sample in moved]
    spans = [window["span"] for window in loss.encode(samples)]
    assert spans[0] == spans[1] == spans[2] and spans[0][0] > 1
    assert answer_places.find_answer("aaa", "aa", 7) is None  # twice, though they overlap
    assert answer_places.find_answer("a b", "b", -1) == (2, False)


def test_a_question_that_leaves_no_room_is_refused(load: Any, run: Any, data: Any) -> None:
    model = load("bert", "span")
    loss = span.make(run(TASK, max_length=32), data("question", {}), model)
    with pytest.raises(UserError, match=r"that begins 'new new .* has 40 tokens: too many"):
        list(loss.encode([row("new " * 40, "Oslo is the capital.", "Oslo")]))


def test_an_empty_context_has_no_answer(load: Any, run: Any, data: Any) -> None:
    model = load("bert", "span")
    loss = span.make(run(TASK), data("question", {}), model)
    encoded = list(asked(loss, [{"question": "Who?", "context": ""}]))
    assert [prediction.answer for prediction in answer_all(model, loss, encoded)] == [""]


def test_a_tokenizer_without_cls_and_eos_is_refused(load: Any, run: Any, data: Any) -> None:
    model = load("gpt2", "span")
    model.tokenizer.eos_token = None
    with pytest.raises(UserError, match="neither a CLS nor an EOS"):
        span.make(run(TASK), data("question", {}), model)
