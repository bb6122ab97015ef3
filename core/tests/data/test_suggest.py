"""A missing column is answered with a mapping that works when it is copied."""

import json
import re
import shlex
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ftp.data import load
from ftp.data.loading import settle
from ftp.data.read import read
from ftp.errors import UserError

Make = Callable[..., Any]

CLASSES = ("good", "bad", "fair")
SQUAD = {"text": ["two"], "answer_start": [0]}


def turn(role: str, number: int) -> dict[str, str]:
    return {"role": role, "content": f"turn {number}"}


CASES: list[tuple[str, Callable[[int], dict[str, Any]], str]] = [
    ("labelled", lambda n: {"id": n, "text": f"a room {n}", "label_name": CLASSES[n % 3]}, "label=label_name"),
    ("labelled", lambda n: {"id": n, "review": f"a room {n}", "sentiment": CLASSES[n % 3]}, "text=review,label=sentiment"),
    ("labelled", lambda n: {"headline": f"a long room {n}", "kind": n % 2, "author": f"w{n}"}, "text=headline,label=kind"),
    ("labelled", lambda n: {"Text": f"a room {n}", "Category": CLASSES[n % 3]}, "text=Text,label=Category"),
    ("labelled", lambda n: {"review text": f"a room {n}", "class": CLASSES[n % 2]}, "text=review text,label=class"),
    # both texts, in their order, though the second is longer
    ("labelled", lambda n: {"question1": f"a room {n}", "question2": f"a larger room {n}", "label": n % 2},
     "text=question1,text_pair=question2"),
    ("text", lambda n: {"id": n, "content": f"a room {n}"}, "text=content"),
    ("tagged", lambda n: {"words": ["a", f"b{n}"], "ner": ["O", "B-X"]}, "tokens=words,tags=ner"),
    ("question", lambda n: {"query": f"many {n}?", "passage": f"two {n}", "answers": SQUAD}, "question=query,context=passage"),
    ("preference", lambda n: {"prompt": f"q {n}", "winner": f"a {n}", "loser": f"b {n}"}, "chosen=winner,rejected=loser"),
    ("conversation", lambda n: {"prompt": f"q {n}", "reply": f"a {n}"}, "completion=reply"),
    ("conversation", lambda n: {"instruction": f"q {n}", "context": f"c {n}", "reply": f"a {n}"}, "output=reply,input=context"),
    ("conversation", lambda n: {"dialog": [turn("user", n), turn("assistant", n)]}, "messages=dialog"),
]


@pytest.mark.slow
@pytest.mark.parametrize(("form", "make", "pairs"), CASES)
@pytest.mark.parametrize("streaming", [False, True])
def test_the_command_that_is_advised_works(
    tmp_path: Path, make_run: Make, form: str, make: Callable[[int], dict[str, Any]], pairs: str, streaming: bool
) -> None:
    path = tmp_path / "mine.jsonl"
    path.write_text("".join(json.dumps(make(number)) + "\n" for number in range(24)))
    with pytest.raises(UserError) as caught:
        load(make_run(form, data=str(path), streaming=streaming), form=form)
    [command] = re.findall(r"try: (.*)", str(caught.value))
    assert shlex.split(command) == ["--columns", pairs]
    run = make_run(form, data=str(path), streaming=streaming, columns=(shlex.split(command)[1],))
    data, _ = settle(load(run, form=form), run)
    assert data.form == form and list(data.splits["train"])


def test_columns_that_are_alike_stay_in_order() -> None:
    """Where a form requires both texts (`anchor` and `positive` of ftp-embed), the longer ones would come first."""
    from ftp.data.suggest import _twins_in_order

    meant = {"anchor": "question2", "positive": "question1", "score": "grade"}
    assert _twins_in_order(meant, [*meant.values()]) == {"anchor": "question1", "positive": "question2", "score": "grade"}


@pytest.mark.parametrize(("mapped", "meant", "advised"), [
    ({"txt": "left"}, {"text": "txt"}, "text=left"),  # no column of ours is called txt
    ({"text": "body"}, {"label": "text_original"}, "text=body,label=text"),
])
def test_advice_names_the_columns_of_the_file(mapped: dict[str, str], meant: dict[str, str], advised: str) -> None:
    from ftp.data.suggest import columns_option

    assert columns_option(mapped, meant) == f"--columns {advised}"


@pytest.mark.parametrize(("first", "header"), [("great stuff,good", "text,label"), ("7,great stuff,1", "column_0,text,label")])
def test_a_file_without_a_header_is_told_how_to_get_one(tmp_path: Path, make_run: Make, first: str, header: str) -> None:
    *others, _, label = first.split(",")
    labels = ("0", "1") if label == "1" else ("bad", "good")
    path = tmp_path / "mine.csv"
    lines = [first]
    for n in range(8):
        lines.append(",".join([*(str(10 + n) for _ in others), f"a room {n}", labels[n % 2]]))
    path.write_text("\n".join(lines) + "\n")
    with pytest.raises(UserError, match=r"has no header, it seems: its first row") as caught:
        load(make_run("labelled", data=str(path)), form="labelled")
    assert "--columns" not in str(caught.value) and f"separated as the others are: {header}" in str(caught.value)
    path.write_text(header + "\n" + path.read_text())
    assert len(load(make_run("labelled", data=str(path)), form="labelled")["train"]) == 9


@pytest.mark.parametrize("header", ["message,spam", "my message,kind"])
def test_a_header_of_other_names_is_a_header(tmp_path: Path, make_run: Make, header: str) -> None:
    path = tmp_path / "mine.csv"
    path.write_text(header + "\n" + "".join(f"a room {n},{('spam', 'ham')[n % 2]}\n" for n in range(8)))
    with pytest.raises(UserError, match="--columns") as caught:
        load(make_run("labelled", data=str(path)), form="labelled")
    assert "no header" not in str(caught.value)


def test_mappings_that_are_there_stay_in_the_advice(tmp_path: Path, make_run: Make) -> None:
    path = tmp_path / "mine.jsonl"
    path.write_text("".join(json.dumps({"body": f"a {n}", "text": f"t {n}", "stars": n % 3}) + "\n" for n in range(24)))
    with pytest.raises(UserError, match=r"try: --columns text=body,label=stars"):
        load(make_run("labelled", data=str(path), columns=("text=body",)), form="labelled")
    with pytest.raises(UserError, match=r"no column 'lable'(\n.*)*try: --columns text=body,label=stars"):
        read(path, columns={"text": "body", "label": "lable"})
    with pytest.raises(UserError) as caught:  # nothing there could be meant: no command that cannot work
        load(make_run("question", data=str(path)), form="question")
    assert "try:" not in str(caught.value)


def test_a_column_of_classes_is_not_advised_as_an_answer(tmp_path: Path, make_run: Make) -> None:
    path = tmp_path / "exam.jsonl"
    rows = [{"subject": CLASSES[n % 3], "question": f"q {n}", "choices": ["a", "b"], "answer": n % 2} for n in range(24)]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    with pytest.raises(UserError, match="cannot be read as 'conversation'") as caught:
        load(make_run("conversation", data=str(path)), form="conversation")
    assert "try:" not in str(caught.value)


@pytest.mark.parametrize("form", ["labelled", "conversation", "text"])
def test_a_test_split_without_labels_is_left_out_and_told(tmp_path: Path, make_run: Make, form: str) -> None:
    folder = tmp_path / "contest"
    folder.mkdir()
    (folder / "train.csv").write_text("id,text,label\n" + "".join(f"{n},a room {n},{CLASSES[n % 2]}\n" for n in range(24)))
    (folder / "test.csv").write_text("id,text\n30,a hall\n31,a bed\n")
    (folder / "sample_submission.csv").write_text("id,label\n30,good\n31,good\n")
    run = make_run(form, data=str(folder))
    data, _ = settle(load(run, form="labelled"), run)
    notes = "\n".join(run.told)
    assert "not used, as their names are no split's: sample_submission.csv" in notes
    if form == "text":  # texts need no labels
        assert len(data.splits["test"]) == 2 and "predict" not in notes
    else:
        assert set(data.splits) == {"train", "validation"}
        assert "(test) has no label" in notes and f"ftp predict RUN --input {folder / 'test.csv'}" in notes
    (folder / "test.csv").write_text("id,body\n30,a hall\n")
    if form == "labelled":  # more is missing than answers
        with pytest.raises(UserError, match=r"contest \(test\) cannot be read as 'labelled'"):
            load(run, form="labelled")
