import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from datasets import ClassLabel, Dataset, IterableDataset

from ftp.data import load, settle
from ftp.data.target_form import shape
from ftp.errors import UserError

Make = Callable[..., Any]
LABELS = ("negative", "positive")


def sample(folder: Path, count: int = 20) -> Path:
    rows = "".join(f"film {number},{LABELS[number % 2]}\n" for number in range(count))
    (folder / "train.csv").write_text("text,label\n" + rows)
    (folder / "test.csv").write_text("text,label\nanother film,positive\n")
    return folder


def test_the_sample_is_read_labelled_and_completed(tmp_path: Path, make_run: Make) -> None:
    run = make_run("labelled")
    data, notes = settle(load(run, sample(tmp_path), form="labelled", labels=LABELS), run)
    assert data.labels == LABELS and data.form == "labelled"
    assert {split: len(rows) for split, rows in data.splits.items()} == {"train": 16, "validation": 4, "test": 1}
    assert data.splits["test"].features["label"] == ClassLabel(names=list(LABELS))
    assert data.splits["test"]["label"][:] == [1]
    assert notes == ["validation: 4 rows cut from train (seed 0, equal rows together); 16 rows stay"]


def test_own_data_with_columns_take_the_place_of_the_sample(tmp_path: Path, make_run: Make) -> None:
    (tmp_path / "mine.jsonl").write_text("".join(json.dumps({"s": f"t{n}", "target": n % 2}) + "\n" for n in range(10)))
    run = make_run("labelled", data=str(tmp_path / "mine.jsonl"), columns=("text=s,label=target",))
    data, _ = settle(load(run, tmp_path / "absent", form="labelled", labels=LABELS), run)
    assert data.labels == LABELS and len(data.splits["train"]) == 8
    run = make_run("labelled", data=str(tmp_path / "mine.jsonl"))
    with pytest.raises(UserError, match=r"'labelled': its columns are s, target(\n.*)*--columns text=s,label=target"):
        load(run, None, form="labelled")
    for wrong in (("text",), ("text=s", "text=target")):
        with pytest.raises(UserError, match=r"ours=theirs|mapped twice"):
            load(make_run("labelled", data=str(tmp_path / "mine.jsonl"), columns=wrong), form="labelled")


def test_rows_go_downhill_to_the_form_of_the_run(tmp_path: Path, make_run: Make) -> None:
    run = make_run("conversation")
    data, _ = settle(load(run, sample(tmp_path), form="labelled", labels=LABELS), run)
    assert data.labels == ()
    assert data.splits["test"][0]["messages"][-1] == {"role": "assistant", "content": "positive"}
    uphill = make_run("preference")
    with pytest.raises(UserError, match="cannot be read as 'preference'"):
        load(uphill, tmp_path, form="labelled")


def test_settle_takes_what_a_domain_made_itself(make_run: Make) -> None:
    run = make_run("conversation")
    rows = Dataset.from_list([{"prompt": f"q{number}", "completion": "a"} for number in range(10)])
    data, _ = settle({"train": rows}, run)
    assert data.splits["train"][0]["messages"][1] == {"role": "assistant", "content": "a"}
    with pytest.raises(UserError, match="unknown splits: dev"):
        settle({"dev": rows}, run)
    with pytest.raises(TypeError, match="gave a list for test"):
        settle({"train": rows, "test": [{"prompt": "a"}]}, run)  # type: ignore[dict-item]
    bad = Dataset.from_list([{"messages": [{"role": "user", "content": "q"}], "label": flag} for flag in (True, False)])
    with pytest.raises(UserError, match="row 0 does not end with a turn of the assistant"):
        settle({"train": bad}, run)


def test_left_out_rows_are_told(make_run: Make) -> None:
    rows = [{"prompt": f"q{number}", "completion": "a", "label": number % 2} for number in range(20)]
    data, notes = settle({"train": Dataset.from_list(rows)}, make_run("conversation"))
    assert notes[0] == "train: 10 of 20 rows left out (rated bad)"
    topics = [{**row, "label": "sport"} for row in rows]
    data, notes = settle({"train": Dataset.from_list(topics)}, make_run("conversation"))
    assert len(data.splits["train"]) == 16 and len(notes) == 1


def test_columns_without_values_or_of_the_wrong_type_are_refused(make_run: Make) -> None:
    run = make_run("labelled")
    with pytest.raises(UserError, match=r"2 rows have no text; the first, counted from 0: \[1, 3\]"):
        settle({"train": Dataset.from_dict({"text": ["a", None, "b", None], "label": [0, 1, 0, 1]})}, run)
    with pytest.raises(UserError, match="text holds int64, not text"):
        settle({"train": Dataset.from_dict({"text": [1, 2], "label": [0, 1]})}, run)
    tags = Dataset.from_dict({"tokens": [["a"], ["b", "c"]], "tags": [["O"], ["O"]]})
    with pytest.raises(UserError, match=r"another number of tags than tokens; the first, counted from 0: \[1\]"):
        settle({"train": tags}, make_run("tagged"))


def test_a_text_that_is_not_required_may_be_empty_in_some_rows_or_in_all(make_run: Make) -> None:
    rows = [{"text": f"a {n}", "text_pair": None if n == 3 else f"b {n}", "label": n % 2} for n in range(9)]
    some, _ = settle({"train": Dataset.from_list(rows)}, make_run("labelled"))
    texts = {row["text"]: row["text_pair"] for split in some.splits.values() for row in split}
    assert texts == {row["text"]: row["text_pair"] for row in rows}
    empty = {"validation": Dataset.from_list([{**row, "text_pair": None} for row in rows]), "train": Dataset.from_list(rows)}
    data, _ = settle(empty, make_run("labelled"))
    assert data.splits["validation"]["text_pair"][:] == [None] * 9
    assert data.splits["validation"].features == data.splits["train"].features


@pytest.mark.parametrize("answers", ["b", 7, ["b"], {"text": "b", "answer_start": 0}, [{"text": "b", "answer_start": 0}]])
def test_answers_that_are_not_squads_are_refused_in_words(make_run: Make, answers: Any) -> None:
    rows = Dataset.from_list([{"question": "q", "context": "a b", "answers": answers}] * 3)
    with pytest.raises(UserError, match=r"answers holds .*, not SQuAD's \{"):
        settle({"train": rows}, make_run("question"))
    none = {"text": [], "answer_start": []}
    settle({"train": Dataset.from_list([{"question": "q", "context": f"a {n}", "answers": none} for n in range(9)])},
           make_run("question"))


@pytest.mark.parametrize(("tokens", "tags", "named"), [("a b", ["O", "O"], "tokens"), (["a", "b"], "O O", "tags")])
def test_tags_and_tokens_that_are_no_lists_are_refused_in_words(make_run: Make, tokens: Any, tags: Any, named: str) -> None:
    with pytest.raises(UserError, match=f"{named} holds string, not a list"):
        settle({"train": Dataset.from_list([{"tokens": tokens, "tags": tags}] * 3)}, make_run("tagged"))


def test_values_that_only_fail_later_are_refused_when_rows_are_read(make_run: Make) -> None:
    pairs = [{"text": f"a {n}", "text_pair": "b", "label": n % 2} for n in range(9)]
    with pytest.raises(UserError, match=r"1 rows have no text; the first, counted from 0: \[3\]"):
        settle({"train": Dataset.from_list([*pairs[:3], {**pairs[3], "text": None}, *pairs[4:]])}, make_run("labelled"))
    with pytest.raises(UserError, match="text_pair holds int64, not text"):
        settle({"train": Dataset.from_list([{**row, "text_pair": 1} for row in pairs])}, make_run("labelled"))
    with pytest.raises(UserError, match="label holds lists: more than one label a row"):
        settle({"train": Dataset.from_list([{"text": "a", "label": [1]}, {"text": "b", "label": [0]}])}, make_run("labelled"))
    asked = [{"question": f"q {n}", "context": "a b", "answers": {"text": [None if n == 4 else "b"], "answer_start": [2]}}
             for n in range(9)]
    with pytest.raises(UserError, match=r"an answer \(in answers\) that is null; the first, counted from 0: \[4\]"):
        settle({"train": Dataset.from_list(asked)}, make_run("question"))
    asked[4]["answers"] = {"text": ["b"], "answer_start": [2, 0]}
    with pytest.raises(UserError, match=r"another number of places \(answer_start\) than texts .* from 0: \[4\]"):
        settle({"train": Dataset.from_list(asked)}, make_run("question"))
    tagged = [{"tokens": ["a", None if n == 2 else "b"], "tags": ["O", "X"]} for n in range(9)]
    with pytest.raises(UserError, match=r"a word \(in tokens\) that is null; the first, counted from 0: \[2\]"):
        settle({"train": Dataset.from_list(tagged)}, make_run("tagged"))


def test_max_train_rows(make_run: Make) -> None:
    rows = Dataset.from_dict({"text": [str(number) for number in range(100)]})
    data, notes = settle({"train": rows}, make_run("text", max_train_rows=10))
    again, _ = settle({"train": rows}, make_run("text", max_train_rows=10))
    assert len(data.splits["train"]) == 10 and len(data.splits["validation"]) == 20
    assert data.splits["train"]["text"][:] == again.splits["train"]["text"][:]
    assert "10 of 80 rows used" in notes[-1]


def test_streaming_keeps_train_a_stream_and_stores_the_rest(tmp_path: Path, make_run: Make) -> None:
    run = make_run("labelled", streaming=True)
    data, _ = settle(load(run, sample(tmp_path, 200), form="labelled", labels=LABELS), run)
    assert isinstance(data.splits["train"], IterableDataset)
    assert isinstance(data.splits["validation"], Dataset) and isinstance(data.splits["test"], Dataset)
    assert len(list(data.splits["train"])) + len(data.splits["validation"]) == 200
    assert next(iter(data.splits["train"]))["label"] in (0, 1)
    assert data.labels == LABELS


def test_no_data_at_all_and_files_not_used(tmp_path: Path, make_run: Make) -> None:
    with pytest.raises(UserError, match="no data"):
        load(make_run("text"), form="text")
    (sample(tmp_path) / "more.csv").write_text("text,label\na,positive\n")
    run = make_run("labelled")
    load(run, tmp_path, form="labelled")
    assert "not used" in run.told[0] and "more.csv" in run.told[0]


@pytest.mark.parametrize(("row", "unread"), [
    ({"system_prompt": "Be kind.", "prompt": "q", "completion": "a", "score": 1}, ["system_prompt"]),
    ({"prompt": "q", "context": "c", "response": "a"}, ["context"]),
    ({"instruction": "q", "context": "c", "response": "a"}, []),
    ({"messages": [{"role": "user", "content": "q"}, {"role": "assistant", "content": "a"}], "input": "i", "id": "7"}, ["input"]),
    ({"text": "q", "label": "a", "source": "s"}, []),
])
def test_texts_beside_messages_that_are_not_read_are_told(tmp_path: Path, make_run: Make, row: Any, unread: list[str]) -> None:
    (tmp_path / "a.jsonl").write_text(json.dumps(row) + "\n" + json.dumps({**row, "label": "b"} if "label" in row else row))
    run = make_run("conversation", data=str(tmp_path / "a.jsonl"))
    load(run, form="conversation")
    notes = [note.rpartition("not read: ")[2] for note in run.told if "not read: " in note]
    assert notes == ([", ".join(unread)] if unread else [])


def test_classes_that_became_words_are_no_ratings() -> None:
    """A class 0 is not a bad answer: every row of a labelled set stays when it is read as a conversation."""
    rows = Dataset.from_dict({"text": ["a", "b", "c", "d"], "label": [0, 1, 0, 1]})
    shaped, _, notes = shape({"train": rows}, "conversation", ("bad", "good"), prefer="labelled")
    assert [row["messages"][-1]["content"] for row in shaped["train"]] == ["bad", "good", "bad", "good"]
    again, _, more = shape(shaped, "conversation")
    assert len(again["train"]) == 4 and not any("left out" in note for note in [*notes, *more])


QUESTION = {"role": "user", "content": "Why?"}
ANSWER = {"role": "assistant", "content": "So."}
NULL = {"role": "assistant", "content": None}
NAMELESS = {"role": None, "content": "So."}


@pytest.mark.parametrize(("form", "row", "bad", "message"), [
    ("conversation", {"messages": [QUESTION, ANSWER]}, {"messages": [QUESTION, NULL]},
     "a message without a role or without text"),
    ("conversation", {"messages": [QUESTION, ANSWER]}, {"messages": [QUESTION, NAMELESS]},
     "a message without a role or without text"),
    ("conversation", {"prompt": "a", "completion": "b"}, {"prompt": None, "completion": "b"}, "row 1 holds nothing in prompt"),
    ("conversation", {"prompt": "a", "completion": "b"}, {"prompt": "a", "completion": None},
     "row 1 holds nothing in completion"),
    ("preference", {"prompt": [QUESTION], "chosen": [ANSWER], "rejected": [QUESTION]},
     {"prompt": [QUESTION], "chosen": [ANSWER], "rejected": [NULL]}, "a message without a role or without text"),
    ("preference", {"prompt": "a", "chosen": "b", "rejected": "c"}, {"prompt": "a", "chosen": None, "rejected": "c"},
     "row 1 holds None"),
    ("feedback", {"prompt": "a", "completion": "b", "label": 1}, {"prompt": "a", "completion": None, "label": 0},
     "row 1 holds nothing in completion"),
    ("prompt", {"prompt": [QUESTION]}, {"prompt": [{"role": "user", "content": None}]},
     "a message without a role or without text"),
])
def test_messages_that_say_nothing_are_named(form: str, row: Any, bad: Any, message: str) -> None:
    rows = Dataset.from_list([row, bad])
    with pytest.raises(UserError, match=rf"mine \(train\):.*{message}") as caught:
        shape({"train": rows}, form, source_name="mine")  # type: ignore[arg-type]
    assert "row 1" in str(caught.value) or "counted from 0: [1]" in str(caught.value)
    stream = shape({"train": rows.to_iterable_dataset()}, form, source_name="mine")[0]["train"]  # type: ignore[arg-type]
    with pytest.raises(UserError, match=r"mine \(train\): row 1 "):
        list(stream)


def test_several_labels_of_one_row_are_said_to_be_another_task() -> None:
    text = ["a warm day", "a cold day", "rain"]
    lists = Dataset.from_dict({"text": text, "label": [["price"], [], ["price", "speed"]]})
    with pytest.raises(UserError, match=r"mine \(train\): label holds lists: more than one label a row \(multi-label\),"):
        shape({"train": lists}, "labelled", source_name="mine")
    with pytest.raises(UserError, match="labels holds lists: more than one label a row"):
        shape({"train": lists.rename_column("label", "labels")}, "labelled", source_name="mine")
    flags = Dataset.from_dict({"text": text, "toxic": [0, 1, 0], "insult": [1, 1, 0], "length": [3, 4, 5]})
    with pytest.raises(UserError, match=r"columns of 0 and 1 \(toxic, insult\): more than one label a row") as error:
        shape({"train": flags}, "labelled", source_name="mine")
    assert "--columns label=toxic" in str(error.value)
    single = Dataset.from_dict({"text": text, "toxic": [0, 1, 0], "length": [3, 4, 5]})
    with pytest.raises(UserError) as error:
        shape({"train": single}, "labelled", source_name="mine")
    assert "multi-label" not in str(error.value)


def test_the_setting_joins_labels(make_run: Any, tmp_path: Path) -> None:
    file = tmp_path / "small.csv"
    file.write_text("text,label\n" + "".join(f"day {n},{['good', 'Good', 'bad'][n % 3]}\n" for n in range(30)))
    run = make_run("labelled", data=str(file), join_labels=True)
    data, _ = settle(load(run, form="labelled"), run)
    assert data.labels == ("Good", "bad")
    run = make_run("labelled", data=str(file))
    data, notes = settle(load(run, form="labelled"), run)
    assert data.labels == ("Good", "bad", "good")
    assert f"--data {file} --join-labels" in "\n".join(run.told) and not any("spelling" in note for note in notes)


LATE = {  # a row behind the first ones, and what is told of a column that nobody reads
    "a.jsonl": ('{"text": "z", "label": "y", "id": "eight"}', "line 8: id is 'eight'"),
    "b.jsonl": ('{"text": "z", "label": "y", "id": 8, "more": 1}', "line 8: more has other types or fields"),
    "c.jsonl": ('{"text": "z", "label": "y", "id": 18446744073709551616}', "line 8: id is 18446744073709551616"),
    "a.csv": ("z,y,eight", "line 9: id is 'eight'"),
}


def late_file(path: Path, last: str) -> Path:
    if path.suffix == ".csv":
        lines = ["text,label,id", *(f"t{number},x,{number}" for number in range(7))]
    else:
        lines = [json.dumps({"text": f"t{number}", "label": "x", "id": number}) for number in range(7)]
    path.write_text("\n".join([*lines, last, last.replace("z", "w")]) + "\n")
    return path


@pytest.mark.parametrize("name", LATE)
def test_a_column_of_a_stream_that_nobody_reads_may_turn_mixed_late(
    tmp_path: Path, make_run: Callable[..., Any], monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setattr("ftp.data.streamed_rows.PEEK", 3)
    last, note = LATE[name]
    path = late_file(tmp_path / name, last)
    run = make_run("text", data=str(path), streaming=True)
    rows = load(run, form="text")["train"]
    for _ in range(2):  # each epoch anew, told once
        loaded = list(rows)
        assert [row["text"] for row in loaded] == [*(f"t{number}" for number in range(7)), "z", "w"]
        assert loaded[5]["id"] == 5 and loaded[8].get("id") in (None, 8)
    late_notes = [line for line in run.told if "not read, is empty from here on" in line]
    assert len(late_notes) == 1 and str(path) in late_notes[0] and note in late_notes[0]


@pytest.mark.parametrize("name", ["a.jsonl", "c.jsonl", "a.csv"])
def test_a_column_of_a_stream_that_is_read_and_turns_mixed_late_names_its_line(
    tmp_path: Path, make_run: Callable[..., Any], monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setattr("ftp.data.streamed_rows.PEEK", 3)
    path = late_file(tmp_path / name, LATE[name][0])
    for options in ({"columns": ("label=id",)}, {"group_column": "id"}):
        form = "labelled" if "columns" in options else "text"
        run = make_run(form, data=str(path), streaming=True, **options)
        with pytest.raises(UserError, match=rf"{path.name}, line [89]: (id|label) "):
            list(load(run, form=form)["train"])
