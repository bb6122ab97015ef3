from collections import Counter
from typing import Any

import numpy as np
import pytest
from datasets import Dataset, IterableDataset

from ftp.data.splits import complete, words
from ftp.errors import UserError


def labelled(count: int, seed: int = 0) -> Dataset:
    draw = np.random.default_rng(seed)
    texts = [f"text number {number}" for number in range(count)]
    return Dataset.from_dict({"text": texts, "label": draw.choice(3, count, p=[0.7, 0.25, 0.05]).tolist()})


def cut(rows: Any, **options: Any) -> tuple[Dataset, Dataset]:
    splits, _ = complete({"train": rows}, **{"seed": 0, "form": "labelled", **options})
    return splits["train"], splits["validation"]  # type: ignore[return-value]


def test_a_cut_is_a_partition_of_the_right_size_with_the_shares_of_the_classes() -> None:
    rows = labelled(1000)
    train, held = cut(rows, validation_share=0.2)
    assert sorted(train["text"][:] + held["text"][:]) == sorted(rows["text"])
    assert len(held) == 200
    whole = Counter(rows["label"])
    assert all(abs(count - 0.2 * whole[label]) <= 1 for label, count in Counter(held["label"]).items())
    assert len(Counter(held["label"])) == 3


def test_the_cut_hangs_on_content_and_seed_alone() -> None:
    rows = labelled(300)
    _, held = cut(rows)
    _, again = cut(rows.shuffle(seed=5))
    assert set(held["text"]) == set(again["text"])
    assert set(cut(rows, seed=1)[1]["text"]) != set(held["text"])


def test_equal_texts_and_groups_and_their_chains_stay_on_one_side() -> None:
    texts = [f"row {number}" for number in range(200)]
    texts += [f"  ROW, {number}! " for number in range(200)]
    rows = Dataset.from_dict({"text": texts, "label": [0, 1] * 200, "who": [number // 10 for number in range(400)]})
    train, held = cut(rows)
    assert len(held) > 0
    assert not {words(row, "labelled") for row in train} & {words(row, "labelled") for row in held}
    train, held = cut(rows, group="who", validation_share=0.3)
    assert not set(train["who"]) & set(held["who"])
    assert not {words(row, "labelled") for row in train} & {words(row, "labelled") for row in held}


@pytest.mark.parametrize("count", [2, 3, 9])
def test_few_rows_leave_one_on_each_side(count: int) -> None:
    rows = Dataset.from_dict({"text": [str(number) for number in range(count)], "label": list(range(count))})
    train, held = cut(rows, validation_share=0.1)
    assert len(train) == count - 1 and len(held) == 1


def test_too_few_rows_are_refused() -> None:
    with pytest.raises(UserError, match="too few to cut"):
        cut(Dataset.from_dict({"text": ["a", "A!", "a."], "label": [0, 1, 0]}))
    with pytest.raises(UserError, match="no training split; there is: test"):
        complete({"test": labelled(3)}, seed=0, form="labelled")
    with pytest.raises(UserError, match="no column 'patient'"):
        cut(labelled(10), group="patient")


def test_given_splits_are_left_alone_and_test_is_never_cut() -> None:
    rows = labelled(50)
    splits, notes = complete({"train": rows, "validation": rows}, seed=0, form="labelled")
    assert splits["train"] is rows and splits["validation"] is rows and notes == []
    splits, _ = complete({"train": rows, "test": rows}, seed=0, form="labelled")
    assert splits["test"] is rows and list(splits) == ["train", "validation", "test"]


def test_prompts_and_contexts_stay_on_one_side_with_all_their_answers() -> None:
    rows = Dataset.from_dict(
        {"messages": [[{"role": "user", "content": f"q{n // 4}"}, {"role": "assistant", "content": f"a{n}"}] for n in range(80)]}
    )
    train, held = cut(rows, form="conversation")
    assert not {row["messages"][0]["content"] for row in train} & {row["messages"][0]["content"] for row in held}
    asked = Dataset.from_dict({"question": list("abcdefgh"), "context": list("xxyyzzww"), "answers": [{"text": []}] * 8})
    train, held = cut(asked, form="question", validation_share=0.25)
    assert not set(train["context"]) & set(held["context"])


def test_ids() -> None:
    same = Dataset.from_dict({"id": [1, 1, 2], "text": ["a", "a", "b"], "label": [0, 0, 1]})
    assert "1 ids are there more than once" in complete({"train": same, "validation": same}, seed=0, form="labelled")[1][0]
    other = Dataset.from_dict({"id": [1, 1], "text": ["a", "b"], "label": [0, 1]})
    with pytest.raises(UserError, match=r"train: the id 1 stands for different rows \(0, 1"):
        cut(other)
    first = Dataset.from_dict({"id": [1, 2], "text": ["a", "b"], "label": [0, 1]})
    second = Dataset.from_dict({"id": [1, 3], "text": ["c", "d"], "label": [0, 1]})
    assert complete({"train": first, "validation": second}, seed=0, form="labelled")[1] == ["validation: 1 ids are also in train"]


def test_a_stream_gives_its_validation_rows_once_and_keeps_them_out() -> None:
    def rows() -> Any:
        for number in range(400):
            yield {"text": f"text {number % 300}", "label": number % 2, "who": number % 300 // 5}

    for group in (None, "who"):
        stream = IterableDataset.from_generator(rows)
        if stream.column_names is None:
            stream = stream.cast(Dataset.from_list(list(rows())).features)
        train, held = cut(stream, group=group)
        assert isinstance(held, Dataset) and 10 <= len(held) <= 100
        kept = list(train)
        assert len(kept) + len(held) == 400
        assert not {row[group or "text"] for row in kept} & {row[group or "text"] for row in held}
