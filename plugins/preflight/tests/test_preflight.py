"""Each silent error is told, and rows without one are not; nothing looked at is never "ok"."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from datasets import Dataset

from ftp.cli.main import call
from ftp.data.collect import collect
from ftp.folder.log import Log
from ftp.losses import wrapped
from ftp.plugins.call import Hooks
from ftp.plugins.plan import prepare
from ftp.runs.build import build
from ftp.settings import Settings
from ftp.train.device import accelerator
from ftp.types import Data, Risk, Run, StartedRun, Task
from ftp_preflight import Preflight, first_step, left_out, template
from ftp_preflight.findings import Findings
from ftp_preflight.lines import lines_of
from ftp_testing.advice import follow
from ftp_testing.models import CHAT, tiny

QUIET = ("-forgetting", "-leakage", "-underfitting", "-overfitting")
WORDS = [
    "the",
    "film",
    "was",
    "a",
    "quiet",
    "joy",
    "from",
    "first",
    "scene",
    "to",
    "last",
    "and",
    "our",
    "waiter",
    "forgot",
    "soup",
    "bread",
    "in",
    "end",
    "bill",
]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("models")


def tiny_of(folder: Path, kind: Any) -> str:
    if not (folder / kind).exists():
        tiny(kind, folder / kind)
    return str(folder / kind)


def lines(count: int, seed: int = 0, low: int = 5, high: int = 12) -> list[str]:
    dice = np.random.default_rng(seed)
    return [" ".join(dice.choice(WORDS, dice.integers(low, high))) for _ in range(count)]


def labelled(
    train: list[str] | None = None,
    held: list[str] | None = None,
    labels: Any = None,
    held_labels: Any = None,
) -> Data:
    train, held = train or lines(200), held or lines(100, 1)
    labels = labels if labels is not None else [n % 2 for n in range(len(train))]
    held_labels = held_labels if held_labels is not None else [n % 2 for n in range(len(held))]
    return Data(
        {
            "train": Dataset.from_dict({"text": train, "label": labels}),
            "validation": Dataset.from_dict({"text": held, "label": held_labels}),
        },
        "labelled",
        ("bad", "good"),
    )


@pytest.fixture(scope="module", autouse=True)
def out(folder: Path) -> Path:
    """The folder of a run on the sample of sentiment, for the advice on rows that are made here."""
    recipe = prepare(
        ["full", "sentiment", *QUIET], given=[("options", {"model": tiny_of(folder, "bert")})]
    ).recipe()
    (folder / "run.toml").write_text(recipe)
    return folder


@pytest.fixture(autouse=True)
def the_folder(out: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(out)


NO_OPTIONS = Settings()


def on_rows(
    data: Data, method: str = "full", settings: Settings = NO_OPTIONS, **options: Any
) -> Risk:
    """The verdict from rows alone."""
    prepared = prepare([method, "sentiment", *QUIET])
    run = Run(settings, Task(data.form, "labels"), Hooks(prepared.picked, prepared.values))
    return sound(Preflight(**options).check_risks(run, "start", data, None, None))


def sound(risks: list[Risk]) -> Risk:
    """The one verdict, whose evidence JSON can say, and whose advice is commands that run."""
    (risk,) = risks
    json.dumps(risk.evidence, allow_nan=False)
    for line in risk.advice:
        follow(line)
    assert risk.advice or risk.level not in ("warn", "stop")
    return risk


def scene(
    folder: Path, rows: list[dict[str, Any]] | None, plugins: list[str], kind: str, **options: Any
) -> Any:
    """Run, data, model and loss as a run has them before its first update."""
    path = folder / f"rows{abs(hash(json.dumps(rows)))}.jsonl"
    if rows is not None:
        path.write_text("\n".join(json.dumps(row) for row in rows))
        options["data"] = str(path)
    usual = {"model": tiny_of(folder, kind), "device": "cpu", "precision": "fp32"}
    prepared = prepare([*plugins, *QUIET], given=[("options", {**usual, **options})])
    out = folder / f"{path.stem}-{kind}"
    out.mkdir(exist_ok=True)
    (out / "run.toml").write_text(prepared.recipe())
    run = StartedRun(
        prepared.settings,
        prepared.task,
        Hooks(prepared.picked, prepared.values),
        out,
        Log(None, writer=False),
        accelerator(prepared.settings),
    )
    data = collect(run)
    model, loss = build(run, data)
    return run, data, model, loss


def judged(run: Run, data: Data, model: Any, loss: Any, **options: Any) -> Risk:
    return sound(Preflight(**options).check_risks(run, "start", data, model, loss))


def chats(count: int = 40, answer: str = "it is {}") -> list[dict[str, Any]]:
    return [
        {
            "messages": [
                {"role": "user", "content": f"{text} ?"},
                {"role": "assistant", "content": answer.format(n)},
            ]
        }
        for n, text in enumerate(lines(count))
    ]


# --- rows ---


@pytest.mark.slow
def test_clean_rows_raise_nothing_in_fifty_draws() -> None:
    levels = [
        on_rows(labelled(lines(200, seed), lines(100, 1000 + seed))).level for seed in range(50)
    ]
    assert levels.count("ok") >= 48, levels


def test_labels_out_of_range_stop() -> None:
    risk = on_rows(labelled(labels=[n % 3 for n in range(200)]))
    assert (
        risk.level == "stop"
        and "66 rows of train" in risk.finding
        and risk.evidence["labels"]["out_of_range"]["train"] == 66
    )


@pytest.mark.slow
def test_classes_that_a_split_lacks_are_told() -> None:
    risk = on_rows(labelled(held_labels=[0] * 100))
    assert risk.level == "warn" and "'good': in train, and never in validation" in risk.finding
    assert "never in train" in on_rows(labelled(labels=[0] * 200)).finding
    alone = on_rows(labelled(labels=[0] * 200, held_labels=[0] * 100))
    assert alone.level == "warn" and "one class only" in alone.finding


@pytest.mark.slow
def test_extreme_imbalance_is_told_and_little_is_not() -> None:
    assert (
        "accuracy says little"
        in on_rows(labelled(labels=[0] * 199 + [1], held_labels=[0] * 99 + [1])).finding
    )
    assert on_rows(labelled(labels=[int(n % 4 == 0) for n in range(200)])).level == "ok"
    level = on_rows(labelled(labels=[0] * 195 + [1] * 5), imbalance=150.0).level
    assert level == "note"


def test_a_class_with_less_than_a_fifth_of_its_fair_share_is_noted_with_what_helps() -> None:
    risk = on_rows(labelled(labels=[0] * 185 + [1] * 15))  # 7.5 %, where 50 % would be even
    assert risk.level == "note"
    assert "(92.5% and 7.5% of the rows; 50.0% each would be even)" in risk.finding
    assert "ftp run run.toml --plugins full,sentiment,class_weight" in risk.advice
    assert on_rows(labelled(labels=[0] * 179 + [1] * 21)).level == "ok"


def test_a_run_without_updates_is_not_told_to_weigh_its_loss(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    options = {"model": tiny_of(tmp_path, "bert")}
    recipe = prepare(["probe", "sentiment", *QUIET], given=[("options", options)]).recipe()
    (tmp_path / "run.toml").write_text(recipe)
    uneven = labelled(labels=[0] * 185 + [1] * 15)
    advice = on_rows(uneven, "probe", Settings(max_steps=0)).advice
    assert "ftp run run.toml --probe.balanced" in advice
    assert not any("class_weight" in command for command in advice)
    # with updates the loss is asked
    trained = on_rows(uneven, "probe", Settings(max_steps=10)).advice
    assert "ftp run run.toml --plugins probe,sentiment,class_weight" in trained


@pytest.mark.slow
def test_broken_characters_are_told() -> None:
    bad = lines(200)
    bad[3], bad[7], bad[9] = "the cafÃ© wasnâ€™t open", "a \ufffd here", "a \x00 there"
    risk = on_rows(labelled(bad))
    counts = risk.evidence["characters"]
    assert (counts["mojibake"], counts["replacement characters"], counts["control characters"]) == (
        1,
        1,
        1,
    )
    assert risk.level == "note" and "ftfy" in risk.finding
    assert on_rows(labelled([f"{text} cafÃ©" for text in lines(200)])).level == "warn"
    readable = [
        "Ein Café in München",
        "Это предложение",
        "これは文です",
        "naïve “quotes” – and … dashes",
    ] * 50
    assert on_rows(labelled(readable, readable[:100])).evidence["characters"]["mojibake"] == 0


@pytest.mark.slow
def test_a_shift_of_length_is_told() -> None:
    risk = on_rows(labelled(held=lines(100, 1, 30, 60)))
    assert (
        risk.level == "warn"
        and "of another length" in risk.finding
        and risk.evidence["lengths"]["distance"] == 1
    )
    assert on_rows(labelled(held=lines(100, 1, 6, 13))).level in ("ok", "note")


@pytest.mark.slow
def test_another_language_is_told() -> None:
    dice = np.random.default_rng(0)
    german = [
        "der",
        "film",
        "war",
        "eine",
        "stille",
        "freude",
        "von",
        "ersten",
        "bis",
        "zur",
        "letzten",
        "szene",
        "und",
        "unser",
        "kellner",
        "vergass",
        "suppe",
        "brot",
        "rechnung",
    ]
    held = [" ".join(dice.choice(german, 8)) for _ in range(100)]
    risk = on_rows(labelled(held=held))
    assert (
        risk.level == "warn"
        and "another language" in risk.finding
        and risk.evidence["language"]["ratio"] < 0.3
    )
    assert risk.advice == (
        "ftp data preview run.toml --split validation",
        "ftp data preview run.toml",
    )


@pytest.mark.slow
def test_empty_rows_are_told() -> None:
    assert on_rows(labelled([""] * 200, [""] * 100)).level == "stop"
    texts = lines(200)
    texts[0] = "  "
    assert on_rows(labelled(texts)).level == "note"
    data = labelled([""] * 200, [""] * 100)
    with_words = {
        name: rows.add_column("said", ["a word"] * len(rows)) for name, rows in data.splits.items()
    }
    assert (
        on_rows(dataclasses.replace(data, splits=with_words)).advice[0]
        == "ftp run run.toml --columns text=said"
    )


def test_evidence_says_of_how_many_rows_it_is() -> None:
    texts = on_rows(labelled(), rows=50).evidence["texts"]
    assert texts["rows"] == {"train": 50, "validation": 50} and texts["sampled"]
    assert texts["of"] == {"train": 200, "validation": 100}
    assert not on_rows(labelled()).evidence["texts"]["sampled"]
    streamed = dataclasses.replace(
        labelled(), splits={"train": labelled().splits["train"].to_iterable_dataset()}
    )
    assert on_rows(streamed).evidence["texts"]["of"] == {"train": "a stream"}


def test_little_or_nothing_to_look_at() -> None:
    nothing = Data(
        {"train": Dataset.from_dict({"text": [], "label": []})}, "labelled", ("bad", "good")
    )
    assert on_rows(nothing).level == "not_run"
    three = on_rows(labelled(lines(3), lines(3, 1), [0, 1, 0], [0, 1, 1]))
    assert (
        three.level == "ok" and "lengths" not in three.evidence and "language" not in three.evidence
    )
    alone = Data({"train": labelled().splits["train"]}, "labelled", ("bad", "good"))
    assert on_rows(alone).level == "ok"
    train = labelled().splits["train"]
    assert (
        on_rows(Data({"train": train, "validation": train}, "labelled", ("bad", "good"))).level
        == "ok"
    )


# --- rows as the model sees them ---


def test_a_clean_classifier_is_ok(folder: Path) -> None:
    run, data, model, loss = scene(
        folder, None, ["full", "sentiment"], "bert", max_train_rows=80, max_eval_rows=40, head_init="random"
    )
    before = {name: weight.detach().clone() for name, weight in model.net.named_parameters()}
    risk = judged(run, data, model, loss)
    assert risk.level == "ok" and risk.finding.startswith("rows reach the model as they should"), (
        risk.finding
    )
    assert (risk.evidence["trained tokens"]["rows"], risk.evidence["trained tokens"]["of"]) == (
        80,
        80,
    )
    numbers = judged(run, data, model, loss, rows=20).evidence["trained tokens"]
    assert (numbers["rows"], numbers["of"], numbers["sampled"]) == (20, 80, True)
    assert risk.evidence["first loss"]["expected"] == pytest.approx(np.log(2), rel=1e-3)
    assert risk.evidence["inference"]["same"] == 8 and risk.evidence["beginning"]["missing"] == 0
    assert all(
        weight.grad is None and torch.equal(weight, before[name])
        for name, weight in model.net.named_parameters()
    )


def test_a_clean_conversation_is_ok_and_ends(folder: Path) -> None:
    risk = judged(*scene(folder, chats(), ["sft", "lora", "files"], "llama"))
    assert risk.level in ("ok", "note"), risk.finding
    assert risk.evidence["end"]["trained"] == risk.evidence["end"]["sequences"] > 0
    assert (
        risk.evidence["chat template"]["ends_a_turn"]
        and 0 < risk.evidence["trained tokens"]["share_of_tokens"] < 1
    )
    assert (
        risk.evidence["gradients"]["without"] == []
        and risk.evidence["gradients"]["frozen_with"] == []
    )


def test_a_clean_conversation_is_ok_where_an_encoder_reads_it(folder: Path) -> None:
    more = [
        {"role": "user", "content": "and then?"},
        {"role": "assistant", "content": "nothing more"},
    ]
    rows = [{"messages": [*row["messages"], *more]} for row in chats()]
    run, data, model, loss = scene(folder, rows, ["sft", "full", "files"], "t5")
    risk = judged(run, data, model, loss)
    assert risk.level in ("ok", "note"), risk.finding
    assert risk.evidence["end"]["trained"] == risk.evidence["end"]["sequences"] > 0
    assert (
        risk.evidence["inference"]["same"] == 8
        and 0 < risk.evidence["trained tokens"]["share_of_tokens"] < 1
    )
    encoded_rows = list(loss.encode([dict(data.splits["train"][0])]))
    for row, line in zip(encoded_rows, lines_of(model, loss.collate(encoded_rows)), strict=True):
        assert list(line.ids) == [*row["input_ids"], *row["labels"]] and sum(line.trained) == len(
            row["labels"]
        )


def test_a_prompt_of_an_encoder_is_held_whole_against_what_is_learnt(folder: Path) -> None:
    # which nothing answers, so that it is not learnt
    behind = [{"role": "user", "content": "Thank you."}]
    rows = [{"messages": [*row["messages"], *behind]} for row in chats()]
    run, data, model, loss = scene(folder, rows, ["sft", "full", "files"], "t5")
    risk = judged(run, data, model, loss)
    assert risk.evidence["inference"]["same"] == 8 and risk.level in ("ok", "note"), risk.finding

    def endless(rows: Any) -> Any:
        for row in loss.encode_to_score(rows):
            yield {**row, "input_ids": row["input_ids"][:-1]}

    risk = judged(run, data, model, wrapped(loss, key="", encode_to_score=endless))
    assert risk.level == "warn" and "8 of 8 rows reach the model in other tokens" in risk.finding


def test_the_side_of_a_cut_is_not_called_the_end_where_an_encoder_keeps_the_question(
    folder: Path,
) -> None:
    more = [{"role": "user", "content": "and then?"}, {"role": "assistant", "content": "nothing"}]
    rows = [{"messages": [*row["messages"], *more]} for row in chats()]
    run, data, model, loss = scene(
        folder, rows, ["sft", "full", "files"], "t5", max_length=24, truncated_answers="keep"
    )
    risk = judged(run, data, model, loss)
    assert risk.evidence["truncation"]["cut"] and risk.evidence["truncation"]["side"] == "either"
    assert (
        "prompts of several turns at their beginning" in risk.finding
        and "lose their end" not in risk.finding
    )


@pytest.mark.slow
def test_what_the_template_leaves_out_is_counted(folder: Path) -> None:
    rows = chats()
    call = {"type": "function", "function": {"name": "look", "arguments": {}}}
    for row in rows[:10]:
        row["tools"] = [call]
        row["messages"][1] |= {"tool_calls": [call], "reasoning_content": "I must look."}
    risk = judged(*scene(folder, rows, ["sft", "full", "files"], "llama"))
    assert risk.level == "warn" and risk.evidence["template leaves out"]["rows"] == 36
    for name in ("the tools", "calls of tools", "reasoning"):
        assert 0 < risk.evidence["template leaves out"][name] <= 10, name
        assert f"the chat template leaves out {name} " in risk.finding
    clean = judged(*scene(folder, chats(), ["sft", "full", "files"], "llama"))
    assert (
        clean.evidence["template leaves out"] == {"rows": 36}
        and "the chat template leaves out" not in clean.finding
    )


def test_a_short_turn_that_is_left_out_is_counted_though_others_say_the_same() -> None:
    template = (
        "{% for m in messages if m.role != 'critic' %}{{ m.role + ': ' + m.content }}{% endfor %}"
    )
    tokenizer = SimpleNamespace(special_tokens_map={}, get_chat_template=lambda tools: template)
    messages = [{"role": "user", "content": "is 42 even?"}, {"role": "critic", "content": "42"}]
    messages.append({"role": "assistant", "content": "yes"})
    assert list(left_out.left_out_of(tokenizer, {"messages": messages})) == [
        "a turn of the role 'critic'"
    ]


@pytest.mark.slow
def test_a_template_without_an_end_is_told(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "t.jinja").write_text(
        "{{ bos_token }}{% for m in messages %}{{ m['role'] }}: {{ m['content'] }}\n{% endfor %}"
        "{% if add_generation_prompt %}assistant: {% endif %}"
    )
    plain = (tmp_path / "t.jinja").read_text().replace("assistant: {% endif", "assistant:{% endif")
    (tmp_path / "t.jinja").write_text(plain)
    risk = judged(
        *scene(
            folder,
            chats(),
            ["sft", "lora", "files"],
            "llama",
            **{"sft.chat_template": str(tmp_path / "t.jinja")},
        )
    )
    assert (
        risk.level == "warn"
        and "no token that ends a turn" in risk.finding
        and "eos_token" in risk.finding
    )


@pytest.mark.slow
def test_doubled_missing_and_unended_tokens_are_told(folder: Path) -> None:
    run, data, model, loss = scene(folder, chats(), ["sft", "lora", "files"], "llama")
    bos = model.tokenizer.bos_token_id

    def with_rows(change: Any) -> Any:
        def encode_to_score(rows: Any) -> Any:
            return (change(dict(row)) for row in loss.encode_to_score(rows))

        return wrapped(loss, key="", encode_to_score=encode_to_score)

    def twice(row: dict[str, Any]) -> dict[str, Any]:
        return {
            **row,
            "input_ids": [bos, *row["input_ids"]],
            "spans": [token + 1 for token in row["spans"]],
        }

    def never(row: dict[str, Any]) -> dict[str, Any]:
        return {
            **row,
            "input_ids": row["input_ids"][1:],
            "spans": [token - 1 for token in row["spans"]],
        }

    def unended(row: dict[str, Any]) -> dict[str, Any]:
        return {**row, "spans": [row["spans"][0], row["spans"][-1] - 1] if row["spans"] else []}

    def untrained(row: dict[str, Any]) -> dict[str, Any]:
        return {**row, "spans": []}

    for change, level, words in (
        (twice, "warn", "begin with <s> twice"),
        (never, "warn", "do not begin with <s>"),
        (unended, "warn", "will not learn to stop"),
        (untrained, "stop", "of 100.0% of rows nothing is learnt"),
    ):
        risk = judged(run, data, model, with_rows(change))
        assert risk.level == level and words in risk.finding, (words, risk.finding)


@pytest.mark.slow
def test_a_prompt_of_other_tokens_at_inference_is_told(folder: Path) -> None:
    run, data, model, loss = scene(folder, chats(), ["sft", "lora", "files"], "llama")

    def ask(rows: Any) -> Any:
        for row in loss.ask(rows):
            yield {**row, "input_ids": row["input_ids"][1:]}

    risk = judged(run, data, model, wrapped(loss, ask=ask))
    assert risk.level == "warn" and "in other tokens when they are answered" in risk.finding


@pytest.mark.slow
def test_truncation_is_told_with_its_share(folder: Path) -> None:
    rows = [{"text": text, "label": n % 2} for n, text in enumerate(lines(80, 0, 40, 60))]
    run, data, model, loss = scene(folder, rows, ["full", "classify"], "bert", max_length=12)
    risk = judged(run, data, model, loss)
    assert (
        risk.level == "warn"
        and "lose their end" in risk.finding
        and risk.evidence["truncation"]["share_of_tokens"] > 0.5
    )
    texts = [row["text"] for row in rows]
    longest = max(map(len, model.tokenizer(texts)["input_ids"]))
    assert risk.advice[0] == run.command("--max-length", -(-longest // 8) * 8)
    model.tokenizer.model_max_length = 12
    risk = judged(run, data, model, loss)
    assert "as the model takes no more" in risk.finding and not any(
        "--max-length" in line for line in risk.advice
    )


# --- the first step ---


def test_tensors_without_gradient_and_frozen_ones_with_one_are_told() -> None:
    findings = Findings()
    a, b, c = (torch.nn.Parameter(torch.ones(2)) for _ in range(3))
    a.grad, c.grad = torch.ones(2), torch.ones(2)
    c.requires_grad_(False)
    first_step._gradients(
        Run(Settings(), Task("text", "tokens"), Hooks(())), [("a", a), ("b", b), ("c", c)], findings
    )
    risk = findings.risk()
    assert (
        risk.level == "warn"
        and "no gradient reaches 1 of 2 trained tensors, so they stay as they are: b"
        in risk.finding
    )
    assert "1 frozen tensors get a gradient, as a plugin froze them late: c" in risk.finding


@pytest.mark.slow
def test_a_new_head_that_is_sure_of_itself_is_told(folder: Path) -> None:
    run, data, model, loss = scene(
        folder, None, ["full", "sentiment"], "bert", max_train_rows=80, max_eval_rows=40, head_init="random"
    )
    with torch.no_grad():
        model.net.classifier.weight.mul_(100)
        model.net.classifier.bias.copy_(torch.tensor([9.0, -9.0]))
    risk = judged(run, data, model, loss)
    assert risk.level in ("note", "warn") and "knows nothing costs 0.693" in risk.finding


@pytest.mark.slow
def test_a_reference_that_is_not_the_untouched_model_is_told(folder: Path) -> None:
    rows = [
        {"prompt": f"{text}?", "chosen": f"yes {n}", "rejected": f"no {n} {n}"}
        for n, text in enumerate(lines(40))
    ]
    run, data, model, loss = scene(folder, rows, ["dpo", "lora", "files"], "llama")
    clean = judged(run, data, model, loss)
    assert (
        abs(clean.evidence["first loss"]["rewards/margins"]) < 1e-3
        and "reference" not in clean.finding
    )
    with torch.no_grad():
        for name, weight in model.net.named_parameters():
            if "lora_B" in name:
                weight.normal_()
    risk = judged(run, data, model, loss)
    assert risk.level == "warn" and "should be 0" in risk.finding


# --- the template that was saved ---


def test_a_template_that_was_not_saved_is_told(folder: Path, tmp_path: Path) -> None:
    run, data, model, loss = scene(folder, chats(), ["sft", "lora", "files"], "llama")
    run = dataclasses.replace(run, out=tmp_path)
    plugin = Preflight()
    plugin.check_risks(run, "start", data, model, loss)
    model.tokenizer.save_pretrained(tmp_path / "model")
    (same,) = plugin.check_risks(run, "end", data, model, loss)
    assert same.evidence["chat template"]["same"] and "trained with" not in same.finding
    model.tokenizer.chat_template = CHAT
    model.tokenizer.save_pretrained(tmp_path / "model")
    (changed,) = plugin.check_risks(run, "end", data, model, loss)
    assert changed.level == "warn" and "not the one that was trained with" in changed.finding
    assert template.fingerprint(model.tokenizer) == changed.evidence["chat template"]["saved"]


def test_thresholds_out_of_range_are_told(capfd: Any) -> None:
    assert (
        call(
            [
                "run",
                "--plugins",
                "lora,sentiment",
                "--preflight.cut",
                "3",
                "--preflight.imbalance",
                "0",
            ]
        )
        == 2
    )
    errors = capfd.readouterr().err
    assert (
        "--preflight.cut 3: out of range" in errors
        and "--preflight.imbalance 0: out of range" in errors
    )


def test_spellings_of_one_class_and_words_for_nothing_are_a_warning() -> None:
    def rows(names: tuple[str, ...]) -> Data:
        texts = [f"a long day, number {n} of many" for n in range(60)]
        labels = [n % len(names) for n in range(60)]
        splits = {
            name: Dataset.from_dict({"text": texts, "label": labels})
            for name in ("train", "validation")
        }
        return Data(splits, "labelled", names)

    risk = on_rows(rows(("good", "Good", "bad", "None")))
    assert (
        risk.level == "warn"
        and "'Good' (30), 'good' (30)" in risk.finding
        and "'None' (30)" in risk.finding
    )
    assert "ftp run run.toml --join-labels" in risk.advice
    risk = on_rows(rows(("good", "bad")))
    assert "spellings" not in risk.finding and risk.evidence["labels"]["spellings"] == 0


# --- ftp data preview ---


def test_preview_shows_what_is_trained(folder: Path, tmp_path: Path, capfd: Any) -> None:
    file = tmp_path / "chat.jsonl"
    file.write_text("\n".join(json.dumps(row) for row in chats(30)))
    line = [
        "data",
        "preview",
        "--plugins",
        "sft,lora,files",
        "--model",
        tiny_of(folder, "llama"),
        "--data",
        str(file),
        "--rows",
        "3",
    ]
    assert call([*line, "--json"]) == 0
    seen = json.loads(capfd.readouterr().out.splitlines()[-1])
    assert [row["row"] for row in seen["rows"]] == [0, 1, 2]
    tokens = seen["rows"][0]["tokens"]
    answer = "".join(token["text"] for token in tokens if token["trained"])
    assert answer.strip().startswith("it is ") and answer.endswith("<|im_end|>")
    assert "".join(token["text"] for token in tokens).startswith("<s><|im_start|>user")
    assert call(line) == 0
    plain = capfd.readouterr().out
    assert "⟦it is " in plain and "\x1b[" not in plain and "⟦...⟧ is trained" in plain


def test_preview_of_a_split_that_is_not_there_names_one_that_is(
    folder: Path, tmp_path: Path, capfd: Any
) -> None:
    (tmp_path / "test.jsonl").write_text("\n".join(json.dumps(row) for row in chats(5)))
    line = [
        "data",
        "preview",
        "--plugins",
        "sft,lora,files",
        "--model",
        tiny_of(folder, "llama"),
        "--data",
        str(tmp_path),
    ]
    assert call(line) == 2
    assert "there are: test\n  try: --split test" in capfd.readouterr().err
    assert call([*line, "--split", "test"]) == 0


def test_preview_crosses_out_what_a_plugin_hides(folder: Path, tmp_path: Path, capfd: Any) -> None:
    context = (
        "The patient Maria Keller was seen on Monday. Write to maria.keller@clinic.org about her "
        "aspirin, 100 mg a day."
    )
    rows = [
        {
            "question": "What does she take?",
            "context": text,
            "answers": {"text": ["aspirin"], "answer_start": [text.index("aspirin")]},
        }
        for text in ("Nobody is named here; aspirin.", *[context] * 29)
    ]
    for split in ("train", "validation"):
        (tmp_path / f"{split}.jsonl").write_text("\n".join(json.dumps(row) for row in rows))
    line = [
        "data",
        "preview",
        "--plugins",
        "medical",
        "--form",
        "question",
        "--model",
        tiny_of(folder, "bert"),
        "--data",
        str(tmp_path),
        "--rows",
        "2",
    ]
    assert call([*line, "--json"]) == 0
    seen = json.loads(capfd.readouterr().out.splitlines()[-1])
    read = [
        "".join(token["text"] for token in row["tokens"]).replace(" ", "").lower()
        for row in seen["rows"]
    ]
    assert seen["crossed_out"] == 1 and "maria.keller" not in read[1] and "clinic" not in read[1]
    assert "patient" in read[1] and "aspirin" in read[1] and "nobodyisnamed" in read[0]
    assert call(line) == 0
    assert "words of 1 rows are crossed out" in capfd.readouterr().out


def test_preview_shows_what_a_run_tells_of_its_rows(
    folder: Path, tmp_path: Path, capfd: Any
) -> None:
    labels = ("good", "Good", "bad")
    rows = [{"text": f"it was {labels[n % 3]} {n}", "label": labels[n % 3]} for n in range(30)]
    seen, text = preview(capfd, folder, tmp_path / "labels.jsonl", "classify", "bert", rows)
    notes = [note for note in seen["notes"] if "probably spellings of one class" in note]
    assert len(notes) == 1 and notes[0] in text


def preview(
    capfd: Any,
    folder: Path,
    file: Path,
    plugins: str,
    kind: str,
    rows: list[dict[str, Any]],
    *words: str,
) -> Any:
    """What the command says of two of these rows: as JSON, and as text."""
    file.write_text("\n".join(json.dumps(row) for row in rows))
    line = [
        "data",
        "preview",
        "--plugins",
        f"full,{plugins}",
        "--model",
        tiny_of(folder, kind),
        "--data",
        str(file),
        "--rows",
        "2",
        *words,
    ]
    assert call([*line, "--json"]) == 0
    seen = json.loads(capfd.readouterr().out.splitlines()[-1])
    assert call(line) == 0
    return seen, capfd.readouterr().out


def test_preview_shows_tags_by_name(folder: Path, tmp_path: Path, capfd: Any) -> None:
    words = [
        {"tokens": ["anna", "lives", "in", "lima", str(n)], "tags": ["PER", "O", "O", "LOC", "O"]}
        for n in range(30)
    ]
    seen, text = preview(capfd, folder, tmp_path / "tags.jsonl", "tag", "bert", words)
    wanted = [token["target"] for token in seen["rows"][0]["tokens"] if "target" in token]
    assert wanted == ["PER", "O", "O", "LOC", "O"]
    assert (
        "⟦ a→PER⟧nna" in text
        and "l→LOC⟧ima" in text
        and "[PAD]" not in text
        and "[CLS]→" not in text
    )
    assert "the first token of each word" in text


def test_preview_shows_spans_by_their_ends_and_their_text(
    folder: Path, tmp_path: Path, capfd: Any
) -> None:
    def question(number: int) -> dict[str, Any]:
        answers = (
            {"text": ["new card"], "answer_start": [11]}
            if number % 2
            else {"text": [], "answer_start": []}
        )
        return {
            "question": "what?",
            "context": f"about the, new card. day {number}",
            "answers": answers,
        }

    seen, text = preview(
        capfd, folder, tmp_path / "qa.jsonl", "qa", "bert", [question(n) for n in range(30)]
    )
    by_answer = {row["answer"]: row["tokens"] for row in seen["rows"]}
    assert set(by_answer) == {None, "new card"}
    ends = {
        token["target"]: token["text"].strip()
        for token in by_answer["new card"]
        if "target" in token
    }
    assert ends == {"first": "new", "last": "card"}
    assert [token["target"] for token in by_answer[None] if "target" in token] == ["no answer"]
    assert "answer 'new card'" in text and "no answer" in text and "the row as a whole" not in text


@pytest.mark.slow
def test_preview_says_what_is_trained_of_each_head(
    folder: Path, tmp_path: Path, capfd: Any
) -> None:
    pairs = [
        {"prompt": f"what is {n} ?", "chosen": f"it is {n}", "rejected": "no"} for n in range(30)
    ]
    for plugins in ("dpo,files", "reward,files"):
        seen, text = preview(capfd, folder, tmp_path / "pairs.jsonl", plugins, "llama", pairs)
        assert [row["side"] for row in seen["rows"]] == ["chosen", "rejected"] * 2
        assert (
            "train 0, chosen: " in text
            and "train 0, rejected: " in text
            and "chosen" in seen["notes"][0]
        )
    rated = [
        {"prompt": f"what is {n} ?", "completion": f"it is {n}", "label": n % 2 == 0}
        for n in range(30)
    ]
    seen, _ = preview(capfd, folder, tmp_path / "rated.jsonl", "kto,files", "llama", rated)
    assert {row["side"] for row in seen["rows"]} <= {"good", "bad"}
    texts = [{"text": f"the film was a joy on day {n}"} for n in range(30)]
    seen, text = preview(capfd, folder, tmp_path / "texts.jsonl", "mlm,files", "bert", texts)
    assert "each update draws others" in text and "side by side in blocks" in text
    labelled = [{"text": f"the film {n}", "label": "ab"[n % 2]} for n in range(30)]
    seen, text = preview(capfd, folder, tmp_path / "labels.jsonl", "classify", "bert", labelled)
    assert {row["label"] for row in seen["rows"]} <= {
        "a",
        "b",
    } and "the class of the row is" in text


def test_preview_shows_the_prompts_that_a_model_is_asked(
    folder: Path, tmp_path: Path, capfd: Any
) -> None:
    judge = tmp_path / "judge.py"
    judge.write_text("def f(completions, **columns):\n    return [0.0] * len(completions)\n")
    asked = [{"prompt": f"what is {n} ?"} for n in range(30)]
    seen, text = preview(
        capfd,
        folder,
        tmp_path / "prompts.jsonl",
        "rlhf,files",
        "llama",
        asked,
        "--rlhf.reward",
        f"{judge}:f",
        "--rlhf.max_completion_length",
        "16",
    )
    assert (
        "what is" in text
        and "⟦" not in text
        and "nothing of these rows is trained: they are prompts" in text
    )
    for row in seen["rows"]:
        assert not any(token["trained"] for token in row["tokens"])


def test_preview_numbers_the_parts_of_a_long_row(folder: Path, tmp_path: Path, capfd: Any) -> None:
    words = [
        {"tokens": ["the"] * 30 + [str(n)], "tags": ["O", "X"] * 15 + ["O"]} for n in range(30)
    ]
    seen, text = preview(
        capfd, folder, tmp_path / "long.jsonl", "tag", "bert", words, "--max-length", "16"
    )
    parts = [(row["part"], row["parts"]) for row in seen["rows"] if row["row"] == 0]
    assert len(parts) > 1 and parts == [(n + 1, len(parts)) for n in range(len(parts))]
    assert f"part 1 of {len(parts)}" in text


@pytest.mark.slow
def test_preview_shows_rows_that_no_run_could_split(
    folder: Path, tmp_path: Path, capfd: Any
) -> None:
    """To look at rows needs no validation split; what a run would refuse is told."""
    same = [{"text": "the film was a joy", "label": "ab"[n % 2]} for n in range(24)]
    seen, text = preview(capfd, folder, tmp_path / "same.jsonl", "classify", "bert", same)
    assert [row["row"] for row in seen["rows"]] == [0, 1]
    assert "ftp run would refuse these rows: train has 24 rows in 1 group of equal rows" in text
    varied = [{"text": f"the film {n}", "label": "ab"[n % 2]} for n in range(24)]
    seen, text = preview(
        capfd, folder, tmp_path / "test.jsonl", "classify", "bert", varied, "--split", "test"
    )
    assert "test 0: " in text and "would refuse these rows: there is no training split" in text
    seen, text = preview(capfd, folder, tmp_path / "varied.jsonl", "classify", "bert", varied)
    assert "would refuse" not in text


def test_preview_tells_mistakes(folder: Path, capfd: Any) -> None:
    mistakes = (
        (["--rows", "many"], "--rows many"),
        (["--split", "tset"], "did you mean 'test'"),
        (["--rows"], "missing"),
    )
    for words, error in mistakes:
        assert (
            call(
                [
                    "data",
                    "preview",
                    "--plugins",
                    "lora,sentiment",
                    "--model",
                    tiny_of(folder, "bert"),
                    *words,
                ]
            )
            == 2
        )
        assert error in capfd.readouterr().err


def test_a_saved_template_is_read_without_the_code_beside_it(folder: Path, tmp_path: Path) -> None:
    """Adapters put their code into model/: whoever ran a check would be asked whether to trust
    it."""
    run, data, model, loss = scene(folder, chats(), ["sft", "lora", "files"], "llama")
    run, plugin = dataclasses.replace(run, out=tmp_path), Preflight()
    plugin.check_risks(run, "start", data, model, loss)
    model.tokenizer.save_pretrained(tmp_path / "model")
    (tmp_path / "model" / "config.json").write_text(
        json.dumps(
            {
                "model_type": "own",
                "auto_map": {"AutoConfig": "own.Own", "AutoTokenizer": ["own.Own", None]},
            }
        )
    )
    (same,) = plugin.check_risks(run, "end", data, model, loss)
    assert same.evidence["chat template"]["same"]


# --- what the tokenizer makes of texts ---

CHINESE = "这家店的面条很好吃，第{}次。"


@pytest.mark.slow
@pytest.mark.parametrize(
    "kind, unread", [("bert", "are [UNK]"), ("llama", "single bytes of characters")]
)
def test_a_language_that_the_model_cannot_read_is_told(folder: Path, kind: str, unread: str) -> None:
    rows = [{"text": CHINESE.format(n), "label": "ab"[n % 2]} for n in range(40)]
    risk = judged(*scene(folder, rows, ["full", "classify"], kind))
    assert risk.level == "warn" and unread in risk.finding and "这家店" in risk.finding
    assert any("--model FacebookAI/xlm-roberta-base" in line for line in risk.advice)
    shares = risk.evidence["unknown characters"]["train"]
    assert max(shares["unknown"], shares["parts"]) > 0.5
    few = [
        {"text": text, "label": "ab"[n % 2]} for n, text in enumerate([*lines(40), "the film 好"])
    ]
    run, data, model, loss = scene(folder, few, ["full", "classify"], kind)
    assert "of the tokens of" not in judged(run, data, model, loss).finding
    assert "such as" in judged(run, data, model, loss, unknown=0.0001, byte_tokens=0.0001).finding


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["bert", "llama"])
def test_english_among_signs_that_the_model_lacks_is_no_other_language(
    folder: Path, kind: str
) -> None:
    rows = [
        {
            "text": f"{text} \U0001f600\U0001f44d\U0001f3fd \u201cthe film\u201d \u2764\ufe0f",
            "label": "ab"[n % 2],
        }
        for n, text in enumerate(lines(40))
    ]
    risk = judged(*scene(folder, rows, ["full", "classify"], kind))
    assert "take a model" not in risk.finding and risk.evidence["unknown characters"]["train"]
    # what is one [UNK] for all signs is lost
    assert ("signs, not letters" in risk.finding) == (kind == "bert")
    words = " \u5f88\u597d\u5403\u5f88\u597d\u5403"
    chinese = [{**row, "text": row["text"] + words} for row in rows]
    assert "take a model" in judged(*scene(folder, chinese, ["full", "classify"], kind)).finding


@pytest.mark.slow
def test_a_language_that_no_conversation_of_the_model_was_in_is_told(folder: Path) -> None:
    rows = [
        {
            "messages": [
                {"role": "user", "content": CHINESE.format(n)},
                {"role": "assistant", "content": "好吃"},
            ]
        }
        for n in range(40)
    ]
    risk = judged(*scene(folder, rows, ["full", "sft", "chat"], "llama"))
    assert "single bytes" in risk.finding and any("Qwen" in line for line in risk.advice)


@pytest.mark.slow
def test_rows_that_spell_control_tokens_are_counted(folder: Path) -> None:
    rows = chats()
    rows[3]["messages"][0]["content"] = "hello <|im_end|> there"
    run, data, model, loss = scene(
        folder, rows, ["full", "sft", "chat"], "llama", validation_share=0.1
    )
    risk = judged(run, data, model, loss)
    counts = risk.evidence["control tokens"]["spelt"]
    assert (
        sum(counts.values()) == 1
        and "spell control tokens, such as <|im_end|> in 'hello <|im_end|> there'" in risk.finding
    )
    assert "read as text" in risk.finding and any(
        "--no-split-special-tokens" in line for line in risk.advice
    )
    as_tokens = scene(folder, rows, ["full", "sft", "chat"], "llama", split_special_tokens=False)
    assert "read as the tokens" in judged(*as_tokens).finding
    assert (
        "spell control"
        not in judged(*scene(folder, chats(), ["full", "sft", "chat"], "llama")).finding
    )


def test_preview_tells_what_the_model_cannot_read(folder: Path, tmp_path: Path, capfd: Any) -> None:
    rows = [{"text": CHINESE.format(n) + " [SEP]", "label": "ab"[n % 2]} for n in range(30)]
    seen, text = preview(capfd, folder, tmp_path / "zh.jsonl", "classify", "bert", rows)
    assert any(note.startswith("warn: ") and "are [UNK]" in note for note in seen["notes"])
    assert "warn: " in text and "spell control tokens, such as [SEP]" in text
