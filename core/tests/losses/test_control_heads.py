"""The heads read control tokens that rows spell as text, in training and in answers, and say in their key which way it is."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from ftp.losses import labels, span, tags
from ftp.types import Task

LOSSES: dict[str, tuple[Any, str, tuple[str, ...]]] = {
    "labels": (labels.make, "labelled", ("no", "yes")), "pairs": (labels.make, "labelled", ("no", "yes")),
    "tags": (tags.make, "tagged", ("O", "X")), "span": (span.make, "question", ()),
}


def row(case: str, word: str) -> dict[str, Any]:
    """A row with a word wherever somebody could write one."""
    if case == "tags":
        return {"tokens": ["a", word, "cat"], "tags": [0, 1, 0]}
    if case == "span":
        context = f"the {word} cat sat"
        return {"question": f"who {word} sat", "context": context,
                "answers": {"text": ["cat"], "answer_start": [context.index("cat")]}}
    return {"text": f"the {word} cat", **({"text_pair": f"{word} sat"} if case == "pairs" else {}), "label": 1}


CASES = [*((kind, case) for kind in ("bert", "roberta") for case in LOSSES), ("llama", "labels"), ("llama", "tags")]


@pytest.mark.slow
@pytest.mark.parametrize("kind, case", CASES)
def test_control_tokens_of_a_row_are_text(kind: str, case: str, load: Any, run: Any, data: Any) -> None:
    make, form, names = LOSSES[case]
    head: Any = "labels" if case == "pairs" else case
    model = load(kind, head, names)
    tokenizer = model.tokenizer
    task = Task(form, head)  # type: ignore[arg-type]
    word = tokenizer.sep_token or tokenizer.eos_token

    def encoded(spelt: str, **settings: Any) -> Iterator[list[dict[str, Any]]]:
        loss = make(run(task, **settings), data(form, {}, names), model)
        for encode in (loss.encode, loss.ask):
            yield list(encode([row(case, spelt)]))

    def controls(rows: list[dict[str, Any]]) -> list[int]:
        return [token for encoded_row in rows for token in encoded_row["input_ids"] if token in tokenizer.all_special_ids]

    for spelt, harmless in zip(encoded(word), encoded("dog"), strict=True):
        assert controls(spelt) == controls(harmless)
    for spelt, harmless in zip(encoded(word, split_special_tokens=False), encoded("dog"), strict=True):
        assert len(controls(spelt)) > len(controls(harmless))
    keys = {make(run(task, split_special_tokens=on), data(form, {}, names), model).key for on in (True, False)}
    assert len(keys) == 2


def test_what_is_learnt_of_such_a_row_is_where_it_stands(load: Any, run: Any, data: Any) -> None:
    model = load("bert", "span")
    spelt_row = row("span", "[SEP]")
    loss = span.make(run(Task("question", "span")), data("question", {}), model)
    encoded_row = next(iter(loss.encode([spelt_row])))
    first, last = encoded_row["span"]
    assert model.tokenizer.decode(encoded_row["input_ids"][first : last + 1]) == "cat"
    model = load("bert", "tags", ("O", "X"))
    loss = tags.make(run(Task("tagged", "tags")), data("tagged", {}, ("O", "X")), model)
    encoded_row = next(iter(loss.encode([row("tags", "[MASK]")])))
    assert model.tokenizer.convert_ids_to_tokens(encoded_row["input_ids"][encoded_row["first_tokens"][1]]) == "["
