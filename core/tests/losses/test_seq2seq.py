"""Heads of networks with an encoder and a decoder: Transformers' own loss of each row, whatever lies beside it."""

from __future__ import annotations

from itertools import product
from typing import Any

import pytest
import torch
from transformers import AutoModelForSequenceClassification

from ftp.losses import labels, span, tags
from ftp.net import heads, layout
from ftp.types import Task
from ftp_testing.models import tiny_tokenizer

KINDS = ("t5", "bart")
TEXTS = ("A quiet joy.", "I would not watch this again, not even if it were free.", "Twelve </s> and five.", "No.")
PLAIN = [{"text": text, "label": n % 2} for n, text in enumerate((*TEXTS[:2], TEXTS[3]))]
PAIRS = [{**row, "text_pair": "So they say."} for row in PLAIN]
WORDS = []
for text in TEXTS:
    tokens = text.split()
    WORDS.append({"tokens": tokens, "tags": [len(token) % 2 for token in tokens]})
ASKED = [{"question": "What?", "context": text, "answers": {"text": [text.split()[1]], "answer_start": []}} for text in TEXTS[:3]]
MAKE = {"labels": (labels.make, "labelled", PLAIN), "pairs": (labels.make, "labelled", PAIRS),
        "tags": (tags.make, "tagged", WORDS), "span": (span.make, "question", ASKED)}
CASES = sorted({*product(KINDS, MAKE)} - {("bart", "tags")})


@pytest.mark.slow
@pytest.mark.parametrize("kind, task", CASES)
@pytest.mark.parametrize("side", ["right", "left"])
def test_rows_are_not_changed_by_those_beside_them(kind: str, task: str, side: str, load: Any, run: Any, data: Any) -> None:
    make, form, rows = MAKE[task]
    head: Any = "labels" if task == "pairs" else task
    model = load(kind, head, () if head == "span" else ("no", "yes"))
    model.tokenizer.padding_side = side
    loss = make(run(Task(form, head)), data(form, {}, ("no", "yes")), model)  # type: ignore[arg-type]
    encoded = list(loss.encode(rows))
    assert loss.answer is not None
    with torch.no_grad():
        together = loss.compute(batch := loss.collate(encoded))
        alone = [loss.compute(loss.collate([row])) for row in encoded]
        answers = loss.answer(batch, together)
        single = [loss.answer(loss.collate([row]), None)[0] for row in encoded]
    assert together.row_losses is not None
    torch.testing.assert_close(together.row_losses, torch.stack([out.total for out in alone]), rtol=1e-4, atol=1e-5)
    assert [prediction.answer for prediction in answers] == [prediction.answer for prediction in single] or head == "span"
    assert float(together.total) == pytest.approx(sum(float(out.total) for out in alone), rel=1e-4)


@pytest.mark.parametrize("kind", KINDS)
def test_classes_are_transformers_own_where_a_text_holds_an_end(kind: str, load: Any, run: Any, data: Any, folder: Any) -> None:
    model = load(kind, "labels", ("no", "yes"))
    net: Any = AutoModelForSequenceClassification.from_pretrained(folder(kind), num_labels=2)
    net.load_state_dict(model.net.state_dict())
    net.eval()
    as_tokens = run(Task("labelled", "labels"), split_special_tokens=False)  # else an end in a text would be text
    loss = labels.make(as_tokens, data("labelled", {}, ("no", "yes")), model)
    rows = [{"text": text, "label": n % 2} for n, text in enumerate(TEXTS)]
    out = loss.compute(loss.collate(list(loss.encode(rows))))
    inputs_of_rows = [model.tokenizer(row["text"], return_tensors="pt") for row in rows]
    expected = [net(**inputs, labels=torch.tensor([row["label"]])).loss for inputs, row in zip(inputs_of_rows, rows, strict=True)]
    assert out.row_losses is not None
    torch.testing.assert_close(out.row_losses, torch.stack(expected).detach(), rtol=1e-4, atol=1e-5)


def test_classes_of_a_network_that_scores_a_place_are_those_of_each_row_alone() -> None:
    from transformers import T5GemmaConfig, T5GemmaForSequenceClassification

    tokenizer: Any = tiny_tokenizer("llama")
    ids: dict[str, Any] = {f"{name}_token_id": getattr(tokenizer, f"{name}_token_id") for name in ("bos", "eos", "pad")}
    ids["eos_token_id"] = [ids["eos_token_id"], 5]  # as some instruction-tuned checkpoints have it
    stack = {"vocab_size": len(tokenizer), "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "head_dim": 8,
             "num_attention_heads": 4, "num_key_value_heads": 2, "max_position_embeddings": 256, **ids}
    torch.manual_seed(0)
    net = T5GemmaForSequenceClassification(T5GemmaConfig(encoder=stack, decoder=stack, vocab_size=len(tokenizer))).eval()
    rows = [tokenizer(text)["input_ids"] for text in TEXTS]
    pad = ids["pad_token_id"]
    with torch.no_grad():
        together = heads.classify(net, layout.lay(rows, packed=False, pad_id=pad))
        alone = torch.cat([net(input_ids=torch.tensor([row])).logits for row in rows])
    torch.testing.assert_close(together, alone, rtol=1e-4, atol=1e-5)
