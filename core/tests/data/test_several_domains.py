"""Rows of several domains: shares, joined splits, labels, and what is refused before a run."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from datasets import ClassLabel, Dataset

from ftp.data import batches, domains
from ftp.data.loading import settle_domains
from ftp.errors import UserError
from ftp.options import read_recipe
from ftp.plugins.plan import prepare
from ftp.settings import Settings
from ftp.types import Run, Task

SIZES = {"chat": 90, "medical": 10}
DOMAIN_OF = np.repeat(list(SIZES), list(SIZES.values()))
ROWS = np.arange(100)
LENGTHS = np.full(100, 7)
SETTINGS = Settings(domain_shares=("chat=0.7", "medical=0.3"), batch_size=8)


def deal(epoch: int, settings: Settings = SETTINGS) -> list[Any]:
    return domains.deal(settings, DOMAIN_OF.tolist(), LENGTHS, ROWS, epoch)


@pytest.mark.parametrize(("pairs", "message"), [
    (("chat=0.7", "medical=0.4"), "sum to 1.1"), (("chat",), "not of the form"), (("chat=1.5",), "between 0 and 1"),
    (("chat=0.5", "chat=0.5"), "two shares"), (("chat=nan", "medical=0.5"), "not of the form"),
])  # fmt: skip
def test_shares_that_cannot_be_are_told(pairs: tuple[str, ...], message: str) -> None:
    _, problems = domains.read_shares(pairs)
    assert any(message in f"{problem.what} {problem.fix}" for problem in problems)
    assert domains.read_shares(("chat=0.7", "medical=0.3")) == ({"chat": 0.7, "medical": 0.3}, [])


def test_every_update_has_its_shares_in_expectation() -> None:
    of_first_update = []
    for seed in range(400):
        first, *rest = deal(0, Settings(domain_shares=SETTINGS.domain_shares, batch_size=8, seed=seed))
        of_first_update.append((DOMAIN_OF[first] == "medical").mean())
        whole = Counter(DOMAIN_OF[np.concatenate([first, *rest])])
        assert whole == {"chat": 70, "medical": 30} and len(rest) == 12
    # 400 draws of 8 rows: the standard error is 0.008
    assert np.mean(of_first_update) == pytest.approx(0.3, abs=0.03)
    assert len(set(of_first_update)) > 2  # drawn, not counted out


def test_no_row_comes_again_before_the_others_of_its_domain() -> None:
    seen = Counter[int]()
    for epoch in range(5):
        seen.update(np.concatenate(deal(epoch)).tolist())
        for domain in SIZES:
            times = [seen[row] for row in np.flatnonzero(domain == DOMAIN_OF)]
            assert max(times) - min(times) <= 1
    assert sum(seen.values()) == 500


def test_the_same_seed_and_epoch_deal_the_same_and_ranks_share_an_update() -> None:
    again = deal(3)
    assert all(map(np.array_equal, deal(3), again))
    assert not np.array_equal(again[0], deal(4)[0])
    for update in again:
        of_ranks = [batches.share(update, LENGTHS, rank, 3) for rank in range(3)]
        assert sorted(np.concatenate(of_ranks)) == sorted(update)


def test_updates_of_tokens_have_shares_too() -> None:
    updates = deal(0, Settings(domain_shares=SETTINGS.domain_shares, batch_tokens=70))
    assert {len(update) for update in updates} == {10}
    assert Counter(DOMAIN_OF[np.concatenate(updates)]) == {"chat": 70, "medical": 30}


def test_a_domain_without_rows_left_is_told() -> None:
    with pytest.raises(UserError, match="no training row of this domain is left"):
        domains.deal(SETTINGS, ["chat"] * 100, LENGTHS, ROWS, 0)


@pytest.mark.parametrize("total", [2, 3, 7, 100])
def test_counts_sum_to_the_rows_and_leave_no_domain_out(total: int) -> None:
    counts = domains.counts_of({"chat": 0.98, "medical": 0.02}, total)
    assert sum(counts.values()) == total and min(counts.values()) >= 1


def labelled_run(**options: Any) -> Run:
    return Run(Settings(**options), Task("labelled", "labels"), None)  # type: ignore[arg-type]


def labelled(count: int, names: tuple[str, ...], word: str, **more: list[Any]) -> Dataset:
    rows = {"text": [f"{word} {number}" for number in range(count)], "label": [number % 2 for number in range(count)], **more}
    return Dataset.from_dict(rows).cast_column("label", ClassLabel(names=list(names)))


def test_rows_keep_their_domain_and_validation_is_cut_from_each() -> None:
    names = ("bad", "good")
    loaded = {"films": {"train": labelled(40, names, "film", stars=list(range(40))), "test": labelled(4, names, "more films")},
              "food": {"train": labelled(10, names, "soup"), "validation": labelled(3, names, "bread")}}
    data, notes = settle_domains(loaded, labelled_run())
    by_split = {split: Counter(rows[domains.COLUMN]) for split, rows in data.splits.items()}
    assert by_split == {"train": {"films": 36, "food": 10}, "validation": {"films": 4, "food": 3}, "test": {"films": 4}}
    assert data.splits["validation"][domains.COLUMN][:3] == ["films", "food", "films"]  # they take turns
    for row in data.splits["train"]:
        assert row["text"].split()[0] == {"films": "film", "food": "soup"}[row[domains.COLUMN]]
    # what one domain alone has is kept for that domain, and for no other
    assert "stars" not in data.splits["train"].column_names and "stars" in data.domains["films"]["train"].column_names
    assert any("left out: stars" in note for note in notes)


def test_the_same_labels_in_another_order_are_numbered_alike() -> None:
    loaded = {"films": {"train": labelled(20, ("bad", "good"), "film")},
              "food": {"train": labelled(20, ("good", "bad"), "soup")}}
    data, _ = settle_domains(loaded, labelled_run())
    assert data.labels == ("bad", "good")
    for row in data.splits["train"]:
        is_even = int(row["text"].split()[1]) % 2 == 0
        assert data.labels[row["label"]] == ("bad" if is_even == (row[domains.COLUMN] == "films") else "good")


def test_different_labels_are_refused() -> None:
    loaded = {"films": {"train": labelled(20, ("bad", "good"), "film")},
              "food": {"train": labelled(20, ("cold", "hot"), "soup")}}
    with pytest.raises(UserError, match="different labels: 'films' has bad, good; 'food' has cold, hot"):
        settle_domains(loaded, labelled_run())


def test_limits_leave_each_domain_its_part() -> None:
    names = ("bad", "good")
    loaded = {"films": {"train": labelled(60, names, "film"), "validation": labelled(30, names, "more films")},
              "food": {"train": labelled(20, names, "soup"), "validation": labelled(3, names, "bread")}}
    data, _ = settle_domains(loaded, labelled_run(max_train_rows=20, max_eval_rows=10))
    assert Counter(data.splits["train"][domains.COLUMN]) == {"films": 15, "food": 5}
    assert Counter(data.splits["validation"][domains.COLUMN]) == {"films": 5, "food": 3}
    assert {name: len(splits["train"]) for name, splits in data.domains.items()} == {"films": 15, "food": 5}


@pytest.mark.parametrize(("plugins", "options", "message"), [
    ("lora,sentiment,tag", {}, r"no form in common.*'sentiment' gives labelled .head labels.; 'tag' gives tagged .head tags."),
    ("sft,lora,chat,tag", {}, "'sft' wants conversation, but 'tag' gives tagged"),
    ("sft,lora,chat,medical", {"data": "mine.jsonl"}, "several domains .chat, medical.; whose rows these are is not known"),
    ("sft,lora,chat,medical", {"streaming": True, "max_steps": 2}, "streams are not joined"),
    ("sft,lora,chat,medical", {"mix": "chat=0.5,law=0.5"}, "training rows are chat, medical"),
    ("sft,lora,chat,medical,curriculum", {"mix": "chat=0.5,medical=0.5"}, "'curriculum'.*shares would not be kept"),
    ("sft,lora,chat", {"mix": "chat=0.5,medical=0.5"}, "one source of training rows"),
])  # fmt: skip
def test_what_does_not_fit_several_domains_is_told_before_a_run(plugins: str, options: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        prepare(plugins, given=[("flags", options)])


def test_mix_is_an_option_beside_the_plugin_of_that_name(tmp_path: Path) -> None:
    flags = {"mix": "chat=0.7,medical=0.3", "mix.share": 0.2, "chat.data": "talk.jsonl"}
    prepared = prepare("sft,lora,chat,medical,mix", given=[("flags", flags)])
    recipe = tmp_path / "run.toml"
    recipe.write_text(prepared.recipe())
    again = read_recipe(recipe)
    assert again["domain_shares"] == ["chat=0.7", "medical=0.3"] and again["mix"]["share"] == 0.2
    plugins = again.pop("plugins")
    assert prepare(plugins, given=[("run.toml", again)]).values == prepared.values


def test_each_domain_reads_its_own_file(tmp_path: Path) -> None:
    from ftp.data.collect import collect
    from ftp.plugins.call import Hooks

    for name in ("talk", "ward"):
        rows = [{"q": f"{name} {number}", "completion": "yes"} for number in range(20)]
        (tmp_path / f"{name}.jsonl").write_text("\n".join(map(json.dumps, rows)))
    options = {"chat.data": str(tmp_path / "talk.jsonl"), "medical.data": str(tmp_path / "ward.jsonl"),
               "chat.columns": "prompt=q", "medical.columns": "prompt=q"}
    prepared = prepare("sft,lora,chat,medical", given=[("flags", options)])
    data = collect(Run(prepared.settings, prepared.task, Hooks(prepared.picked, prepared.values)))
    assert data.domains.keys() == {"chat", "medical"}
    for domain, first_word in (("chat", "talk"), ("medical", "ward")):
        for row in data.domains[domain]["train"]:
            assert row["messages"][0]["content"].startswith(f"{first_word} ")
