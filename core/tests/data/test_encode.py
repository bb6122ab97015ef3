import subprocess
import sys
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pyarrow as pa
import pytest
from datasets import Dataset, concatenate_datasets

from ftp.data.encode import Counts, account, cache_key, encode, truncation, whole_answers
from ftp.data.fingerprint import fingerprint
from ftp.errors import PluginError, UserError

calls: list[int] = []


def letters(rows: Iterable[Any]) -> Iterable[dict[str, Any]]:
    rows = list(rows)
    calls.append(len(rows))
    return [{"input_ids": list(map(ord, row["text"])), "labels": row["label"]} for row in rows]


def words(rows: Iterable[Any]) -> Iterable[dict[str, Any]]:
    """None, one or several encoded rows of each."""
    for row_index, row in enumerate(rows):
        for word in row["text"].split():
            yield {"input_ids": [len(word)], "row": row_index, "cut": len(word) - 1}


@pytest.fixture
def rows() -> Dataset:
    calls.clear()
    return Dataset.from_dict({"text": [f"row {number}" for number in range(1500)], "label": [0] * 1500})


def test_rows_are_encoded_once_in_batches_with_length_and_row(rows: Dataset, tmp_path: Path) -> None:
    first = encode(rows, letters, "train", key="k", cache_dir=tmp_path)
    assert first[1234] == {"input_ids": [ord(letter) for letter in "row 1234"], "labels": 0, "row": 1234, "length": 8}
    assert calls == [1000, 500]
    again = encode(rows, letters, "train", key="k", cache_dir=tmp_path)
    assert calls == [1000, 500] and again[:] == first[:]
    assert again.cache_files and again.data.schema.field("input_ids").type == pa.list_(pa.int32())
    assert [path.name for path in tmp_path.glob("*.arrow")] == [Path(first.cache_files[0]["filename"]).name]
    # another key, another split, other rows: nothing of the cache is theirs
    encode(rows, letters, "train", key="j", cache_dir=tmp_path)
    encode(rows, letters, "test", key="k", cache_dir=tmp_path)
    encode(rows.select(range(1499)), letters, "train", key="k", cache_dir=tmp_path)
    assert len(calls) == 8 and len(list(tmp_path.glob("*.arrow"))) == 4
    assert encode(rows, letters, "train", key="k", cache_dir=None)[:] == first[:]


def test_none_one_or_several_of_a_row(tmp_path: Path) -> None:
    rows = Dataset.from_dict({"text": ["a bb"] * 999 + ["", "ccc dd e"]})
    encoded = encode(rows, words, "train", key="", cache_dir=tmp_path)
    assert encoded["row"][-5:] == [998, 998, 1000, 1000, 1000]
    assert encoded["input_ids"][-1] == [1]
    assert truncation(encoded) == (999 + 2, 999 + 3)
    assert truncation(encoded.remove_columns("cut")) is None


def part(rows: Iterable[Any]) -> Iterable[dict[str, Any]]:
    """One row in five is left out, one in three loses three tokens, of which two are its answer's."""
    for row_index, row in enumerate(rows):
        if row["label"] % 5 == 0:
            yield {"row": row_index, "left_out": "nothing in it", "answer_cut": 4 * (row["label"] == 0)}
        else:
            cut = row["label"] % 3 == 0
            yield {"row": row_index, "input_ids": [7] * 9, "cut": 3 * cut, "answer_cut": 2 * cut}


def test_what_is_left_out_or_cut_is_told_of_kept_rows_as_well(tmp_path: Path) -> None:
    rows = Dataset.from_dict({"label": list(range(1500))})
    notes = []
    for cache in (tmp_path, tmp_path, None):  # encoded now, found in the cache, not kept
        counts = Counts()
        encoded = encode(rows, part, "train", key="", cache_dir=cache, counts=counts)
        assert len(encoded) == 1200 and encoded["row"][:4] == [1, 2, 3, 4] and not {"left_out"} & set(encoded.column_names)
        notes.append(account(encoded, counts, "train", len(rows), "drop"))
        ((note,), mistakes) = notes[-1][0][:1], notes[-1][1]
        assert note == "train: 300 of 1500 rows are left out: nothing in it" and not mistakes
        assert "train: 400 of 1500 rows are longer than the model takes and are cut (10.0% of the tokens)" in notes[-1][0][1]
    assert notes[0] == notes[1] == notes[2]
    assert len(whole_answers(encoded, "drop")) == 800 and len(whole_answers(encoded, "keep")) == len(encoded)
    _, (mistake,) = account(encoded, counts, "train", len(rows), "error")
    assert "the answers of 401 of 1500 rows are cut" in mistake.what and "(804 tokens)" in mistake.what
    assert "--truncated-answers drop" in mistake.command


def test_where_all_rows_are_left_out_the_reason_is_told() -> None:
    with pytest.raises(UserError, match="no row is left to encode: 2 of 2 are left out: nothing in it"):
        encode(Dataset.from_dict({"label": [0, 5]}), part, "train", key="")


def test_encoders_that_break_the_contract_are_told(rows: Dataset) -> None:
    few = rows.select(range(2))
    with pytest.raises(PluginError, match="without input_ids"):
        encode(few, lambda rows: [{"ids": [1]}], "train", key="")
    with pytest.raises(PluginError, match="made 1 of 2 rows"):
        encode(few, lambda rows: [{"input_ids": [1]}], "train", key="")
    with pytest.raises(PluginError, match="row=2"):
        encode(few, lambda rows: [{"input_ids": [1], "row": 2}], "train", key="")
    with pytest.raises(UserError, match="encoded train has no rows"):
        encode(few, lambda rows: [], "train", key="")


@pytest.mark.parametrize("damage", ["cut", "flip", "empty"])
def test_a_damaged_entry_is_made_again(rows: Dataset, tmp_path: Path, damage: str) -> None:
    first = encode(rows, letters, "train", key="k", cache_dir=tmp_path)[:]
    (entry,) = tmp_path.glob("*.arrow")
    data = bytearray(entry.read_bytes())
    if damage == "flip":
        data[len(data) // 2] ^= 1
    entry.unlink()  # the old file stays mapped where it is in use
    entry.write_bytes({"cut": data[:-1000], "flip": data, "empty": b""}[damage])
    assert encode(rows, letters, "train", key="k", cache_dir=tmp_path)[:] == first
    assert len(calls) == 4


def test_an_encoder_that_fails_leaves_nothing(rows: Dataset, tmp_path: Path) -> None:
    def fails(rows: Iterable[Any]) -> Iterable[dict[str, Any]]:
        if len(calls) == 1:
            raise RuntimeError("stop")
        return letters(rows)

    with pytest.raises(RuntimeError, match="stop"):
        encode(rows, fails, "train", key="k", cache_dir=tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_writers_that_race_end_with_one_entry(rows: Dataset, tmp_path: Path) -> None:
    with ThreadPoolExecutor(4) as pool:
        results = list(pool.map(lambda _: encode(rows, letters, "train", key="k", cache_dir=tmp_path)[:], range(4)))
    assert all(each == results[0] for each in results)
    assert sorted(path.suffix for path in tmp_path.iterdir()) == [".arrow", ".json"]


@pytest.mark.slow
def test_the_fingerprint_is_of_the_content(tmp_path: Path) -> None:
    rows = Dataset.from_list(
        [{"t": f"é{n}" if n % 3 else None, "l": [n] * (n % 4), "m": [{"a": "x", "b": None if n % 2 else n}], "f": n / 2,
          "o": n > 5}
         for n in range(2500)]
    )  # fmt: skip
    base = fingerprint(rows)
    moved = concatenate_datasets([rows.select(range(2000, 2500)), rows.select(range(2000))])
    same = moved.select([*range(500, 2500), *range(500)])
    rows.save_to_disk(tmp_path / "a")
    assert fingerprint(same) == base == fingerprint(Dataset.load_from_disk(str(tmp_path / "a")))
    assert fingerprint(moved) != base
    for column, value in (("t", "é"), ("l", [9]), ("m", [{"a": "x", "b": 7}]), ("f", 0.25), ("o", True)):
        other = rows.to_list()
        other[3][column] = value
        assert fingerprint(Dataset.from_list(other, features=rows.features)) != base
    code = "import sys; from datasets import Dataset; from ftp.data.fingerprint import fingerprint\n"
    code += "print(fingerprint(Dataset.load_from_disk(sys.argv[1])))"
    output = subprocess.run([sys.executable, "-c", code, str(tmp_path / "a")], capture_output=True, text=True, check=True).stdout
    assert output.strip() == base


def test_the_key_hangs_on_all_that_encoding_hangs_on() -> None:
    def tokenizer(**changes: Any) -> Any:
        usual = {"backend": "vocabulary", "chat_template": "{{ x }}", "special_tokens_map": {"eos_token": "</s>"},
                 "padding_side": "right", "truncation_side": "right", "model_max_length": 512}  # fmt: skip
        usual.update(changes)
        text = usual.pop("backend")
        return SimpleNamespace(backend_tokenizer=SimpleNamespace(to_str=lambda: text), **usual)

    base = cache_key(tokenizer(), 512, "v1", words)
    assert base == cache_key(tokenizer(), 512, "v1", words)
    other_keys = [
        cache_key(tokenizer(backend="other"), 512, "v1", words),
        cache_key(tokenizer(chat_template=None), 512, "v1", words),
        cache_key(tokenizer(special_tokens_map={}), 512, "v1", words),
        cache_key(tokenizer(), 256, "v1", words),
        cache_key(tokenizer(), 512, "v2", words),
        cache_key(tokenizer(), 512, "v1", letters),
        cache_key(tokenizer(), "512v1", words),
    ]
    assert len({base, *other_keys}) == 8
