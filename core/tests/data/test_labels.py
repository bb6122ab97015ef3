import math
from typing import Any

import pytest
from datasets import ClassLabel, Dataset, Features, IterableDataset, Value

from ftp.data.labels import encode
from ftp.errors import UserError


def rows(*labels: Any, **more: list[Any]) -> Dataset:
    return Dataset.from_dict({"text": [str(i) for i in range(len(labels))], "label": list(labels), **more})


def coded(*labels: Any, names: tuple[str, ...] = (), **more: list[Any]) -> tuple[list[int], tuple[str, ...], list[str]]:
    encoded, classes, notes = encode({"train": rows(*labels, **more)}, names)
    assert encoded["train"].features["label"] == ClassLabel(names=list(classes))
    return encoded["train"]["label"][:], classes, notes


def test_words_and_numbers() -> None:
    assert coded("b", "a", "b") == ([1, 0, 1], ("a", "b"), [])
    assert coded("10", "9", "10") == ([1, 0, 1], ("9", "10"), [])
    assert coded(2, 0, 1) == ([2, 0, 1], ("0", "1", "2"), [])
    assert coded(5, 1, 10) == ([1, 0, 2], ("1", "5", "10"), [])


def test_numbers_with_names_keep_their_order() -> None:
    assert coded(1, 0, label_name=["acceptable", "unacceptable"]) == ([1, 0], ("unacceptable", "acceptable"), [])
    with pytest.raises(UserError, match="label 0 has two names"):
        coded(0, 0, 1, label_name=["a", "b", "c"])
    with pytest.raises(UserError, match="one name"):
        coded(0, 1, label_name=["a", "a"])


def test_true_false_and_whole_decimals_are_told() -> None:
    numbers, names, notes = coded(True, False)
    assert (numbers, names) == ([1, 0], ("false", "true")) and "true or false" in notes[0]
    numbers, names, notes = coded(1.0, 0.0)
    assert (numbers, names) == ([1, 0], ("0", "1")) and "decimal" in notes[0]
    numbers, names, notes = coded(True, False, names=("negative", "positive"))
    assert (numbers, names, notes) == ([1, 0], ("negative", "positive"), ["label: false = negative, true = positive"])
    assert coded(False, True, names=("True", "False"))[0] == [1, 0]
    assert coded(1, 0, names=("negative", "positive"))[2] == ["label: 0 = negative, 1 = positive"]
    assert not coded("positive", "negative", names=("negative", "positive"))[2]


def test_true_and_false_beside_words_are_none_of_the_classes() -> None:
    splits = {"train": rows("negative", "positive"), "test": rows(True, False)}
    with pytest.raises(UserError, match="2 labels are none of the classes negative, positive: 'false', 'true'"):
        encode(splits, ("negative", "positive"))


@pytest.mark.parametrize("bad", [None, math.nan, 0.5, math.inf])
def test_missing_labels_are_counted_and_placed(bad: Any) -> None:
    with pytest.raises(UserError, match=r"train: 2 rows have no usable label; the first, counted from 0: 1 .*, 3 "):
        encode({"train": rows(1.0, bad, 0.0, bad)})
    with pytest.raises(UserError, match="1 rows have no usable label"):
        encode({"train": rows("a", "", "b")})


def test_given_names_must_cover_the_values() -> None:
    names = ("negative", "positive")
    assert coded("positive", "negative", names=names)[0] == [1, 0]
    assert coded(1, 0, names=names)[:2] == ([1, 0], names)
    assert coded("1", "0", names=names)[0] == [1, 0]
    with pytest.raises(UserError, match=r"'positiv'.*did you mean 'positive'"):
        coded("positiv", "negative", names=names)
    with pytest.raises(UserError, match="2 are outside of the 2 classes"):
        coded(2, 1, names=names)
    assert "no row has the class neutral" in coded("positive", "negative", names=(*names, "neutral"))[2][0]


def test_one_class_only_is_refused() -> None:
    with pytest.raises(UserError, match="same label, 'a'"):
        coded("a", "a")
    with pytest.raises(UserError, match="training rows have the same label"):
        encode({"train": rows("a", "a"), "test": rows("a", "b")})


def test_classes_are_those_of_all_splits_and_a_lacking_one_is_told() -> None:
    encoded, names, notes = encode({"train": rows("a", "c"), "validation": rows("b", "a")})
    assert names == ("a", "b", "c")
    assert encoded["train"]["label"][:] == [0, 2]
    assert notes == ["validation has classes that train lacks, which cannot be learnt: b"]


def test_class_labels_keep_their_order_and_hidden_ones_are_left_out() -> None:
    features = Features({"text": Value("string"), "label": ClassLabel(names=["pos", "neg"])})
    train = rows(0, 1).cast(features)
    encoded, names, notes = encode({"train": train, "test": rows(-1, -1).cast(features)})
    assert names == ("pos", "neg")
    assert list(encoded) == ["train"]
    assert "test: all labels are -1" in notes[0]
    assert encode(encoded)[0]["train"] is encoded["train"]


def test_tags_and_streams() -> None:
    tags = Dataset.from_dict({"tokens": [["a", "b"], ["c"]], "tags": [["B-y", "I-x"], ["O"]]})
    encoded, names, _ = encode({"train": tags}, column="tags", kind="tags")
    assert names == ("O", "I-x", "B-y")
    assert encoded["train"]["tags"][:] == [[2, 1], [0]]
    stream = IterableDataset.from_generator(lambda: iter([{"text": "x", "label": "b"}, {"text": "y", "label": "a"}]))
    encoded, names, _ = encode({"train": stream})
    assert [row["label"] for row in encoded["train"]] == [1, 0]


def test_spellings_of_one_class_are_told_with_the_option_that_joins_them() -> None:
    composed, decomposed = "caf\u00e9", "cafe\u0301"
    splits = {"train": rows("good", "good", "Good", "bad", composed), "test": rows("good ", "bad", decomposed)}
    _, names, notes = encode(splits, source_name="my reviews.csv")
    assert len(names) == 6
    text = "\n".join(notes)
    assert "probably spellings of one class, and 3 classes now: 'good' (2), 'Good' (1), 'good ' (1)" in text
    assert "2 classes now" in text and "to join the spellings of a class: --data 'my reviews.csv' --join-labels" in text
    coded, names, notes = encode(splits, join=True)
    assert set(names) == {"bad", "good", decomposed} and any("joined as 'good'" in note for note in notes)
    assert [names[number] for number in coded["train"]["label"]] == ["good", "good", "good", "bad", decomposed]
    assert [names[number] for number in coded["test"]["label"]] == ["good", "bad", decomposed]


def test_other_words_are_no_spellings_of_one_class() -> None:
    assert not coded("good", "goods", "bad", "1", "-1", "a b", "ab", "1.1", "1.10", "10")[2]


@pytest.mark.parametrize(("usual", "other"), [
    ("1", "1.0"), ("1", "01"), ("-1", "-1.00"), ("good", "g\u200bood"), ("good", "\ufeffgood"), ("good", "good\xa0"),
    ("good", "\uff47ood"), ("Stra\xdfe", "STRASSE"),
])  # fmt: skip
def test_numbers_and_characters_that_nobody_sees_are_spellings(usual: str, other: str) -> None:
    notes = coded(usual, usual, other, "else")[2]
    assert f"2 classes now: {usual!r} (2), {other!r} (1)" in notes[0]
    assert set(encode({"train": rows(usual, usual, other, "else")}, join=True)[1]) == {usual, "else"}


def test_spellings_that_look_alike_are_shown_by_their_characters() -> None:
    notes = coded("caf\u00e9", "caf\u00e9", "cafe\u0301", "bar")[2]
    assert r"'caf\xe9' (2), 'cafe\u0301' (1)" in notes[0]


def test_true_in_one_split_is_the_word_in_another() -> None:
    splits = {"train": rows(True, False), "test": rows("True", "False")}
    _, names, notes = encode(splits)
    assert set(names) == {"true", "false", "True", "False"} and "'True' (1), 'true' (1)" in "\n".join(notes)
    encoded, names, _ = encode(splits, join=True)
    assert len(names) == 2 and encoded["train"]["label"][:] == encoded["test"]["label"][:]
    encoded, names, _ = encode({"train": rows(True, False), "test": rows(1, 0)})
    assert names == ("false", "true") and encoded["test"]["label"][:] == [1, 0]


def test_spellings_of_tags_are_joined_and_told() -> None:
    def sentences(*tags: list[str]) -> Dataset:
        return Dataset.from_dict({"tokens": [["x"] * len(sentence) for sentence in tags], "tags": list(tags)})

    splits = {"train": sentences(["O", "B-PER", "o"], ["O", "b-per", "B_PER", "B-PER"])}
    _, names, notes = encode(splits, column="tags", kind="tags", source_name="ner.jsonl")
    assert len(names) == 5 and any("'O' (2), 'o' (1)" in note for note in notes)
    encoded, names, _ = encode(splits, column="tags", kind="tags", join=True)
    assert names == ("O", "B-PER") and encoded["train"]["tags"][:] == [[0, 1, 0], [0, 1, 1, 1]]


def test_classes_of_the_domain_keep_their_spelling_when_labels_are_joined() -> None:
    splits = {"train": rows("positive", "positive", "NEGATIVE")}
    with pytest.raises(UserError, match="none of the classes") as caught:
        encode(splits, ("Negative", "Positive"))
    assert "--join-labels" in str(caught.value)
    encoded, names, _ = encode(splits, ("Negative", "Positive"), join=True)
    assert names == ("Negative", "Positive") and encoded["train"]["label"][:] == [1, 1, 0]
    again, names, notes = encode(encoded, join=True)
    assert again["train"]["label"][:] == [1, 1, 0] and not notes


@pytest.mark.parametrize("word", ["NaN", "None", "null", "N/A", " nan", "<NA>"])
def test_words_for_nothing_are_told_as_classes(word: str) -> None:
    _, names, notes = coded("a", word, "b", word)
    assert word in names and f"label: {word!r} (2) is a class now" in notes[-1]


def test_blanks_are_no_label() -> None:
    with pytest.raises(UserError, match="1 rows have no usable label"):
        encode({"train": rows("a", "  ", "b")})


def test_decimals_are_said_to_be_another_task() -> None:
    for labels in ([4.22, 3.79, 2.1, 5.0], [str(number / 10) for number in range(1, 50)]):
        match = r"scores.csv \(train\): label holds decimals .*\(regression\), and this run tells classes apart"
        with pytest.raises(UserError, match=match) as error:
            encode({"train": rows(*labels)}, source_name="scores.csv")
        assert "--columns" not in str(error.value) and "ranges" in str(error.value)
    assert coded("1.5", "2.0", "1.5")[1] == ("1.5", "2.0")  # a few versions are classes


@pytest.mark.parametrize("labels", [
    ["price,speed", "speed", "price", "price, service", "service"], ["a;b", "b;c", "a;c", "a"], ["a|b", "b|a"],
    ['["price", "speed"]', "['speed']", '["price"]'],
])
def test_several_labels_in_a_cell_are_said_to_be_another_task(labels: list[str]) -> None:
    with pytest.raises(UserError, match=r"several labels in a cell .*\(multi-label\), and this run gives each row one"):
        encode({"train": rows(*labels)})


def test_signs_inside_the_name_of_a_class_are_no_several_labels() -> None:
    towns = ("Albany, NY", "Buffalo, NY", "Austin, TX", "Dallas, TX")
    assert set(coded(*towns)[1]) == set(towns)
    assert coded("sport|football", "sport|tennis", "politics|vote")[1]
    assert coded("a, b", "c")[1] == ("a, b", "c")
