"""Reward models: TRL's loss and gradients, the right token scored, and models that plain Transformers loads."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from itertools import product
from pathlib import Path
from typing import Any

import pytest
import torch
from datasets import Dataset
from transformers import AutoModelForSequenceClassification

from ftp import model as models
from ftp.data.encode import asked
from ftp.errors import UserError
from ftp.net import heads, layout, packing
from ftp.settings import Settings
from ftp.train.device import accelerator
from ftp.types import Batch, Data, Loss, Model, Row, StartedRun, Task
from ftp_reward import Reward
from ftp_testing.models import tiny

PAIRS = [
    ("What is the capital of Norway?", "The capital of Norway is Oslo.", "I do not know, and I do not care."),
    ("Is seven plus five twelve?", "Yes.", "No, seven plus five is the price of bread in March, more or less."),
    ("Write a letter to the bank.", "Dear bank, please send me a new card.", "No."),
    ("How was the film?", "A quiet joy from the first scene to the last.", "It was free."),
    ("Who had a fever?", "The patient had a fever for 3 days.", "Our waiter."),
    ("Say something.", "Something.", "I would not."),
]


def message(role: str, content: str) -> list[dict[str, str]]:
    return [{"role": role, "content": content}]


def preferences() -> list[dict[str, Any]]:
    return [{"prompt": message("user", asked), "chosen": message("assistant", good), "rejected": message("assistant", bad),
             "by": 0.25 * n} for n, (asked, good, bad) in enumerate(PAIRS)]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Callable[[Any], Path]:
    folders: dict[str, Path] = {}

    def get(kind: Any) -> Path:
        if kind not in folders:
            folders[kind] = tiny(kind, tmp_path_factory.mktemp(kind))
        return folders[kind]

    return get


@pytest.fixture
def load(folder: Callable[[Any], Path]) -> Callable[..., Model]:
    def get(kind: Any, packed: bool = True) -> Model:
        model = models.load(models.Source("tiny", folder=folder(kind)), "score", seed=3)
        if kind == "bert":  # as BERT's own tokenizer does
            model.tokenizer.model_input_names = ["input_ids", "token_type_ids", "attention_mask"]
        torch.manual_seed(5)
        with torch.no_grad():
            for weight in model.net.parameters():
                weight.add_(torch.randn_like(weight) * 0.1)
        if packed:
            assert packing.can_pack(model.net, model.tokenizer)[0]
        return replace(model, packed=packed)

    return get


def a_run(**settings: Any) -> StartedRun:
    chosen = Settings(device="cpu", precision="fp32", **settings)
    return StartedRun(chosen, Task("preference", "score"), None, None, None, accelerator(chosen))  # type: ignore[arg-type]


def loss_of(model: Model, plugin: Reward | None = None, rows: Any = None, **settings: Any) -> Loss:
    data = Data({"train": Dataset.from_list(rows)} if rows else {}, "preference")
    loss: Loss = (plugin or Reward()).make_loss(a_run(**settings), data, model)
    return loss


def batch_of(loss: Loss, rows: Any, split: str = "train") -> Batch:
    return loss.collate(asked(loss, rows) if split == "predict" else list(loss.encode(rows)))


@pytest.mark.parametrize("kind", ["llama", "bert"])
@pytest.mark.parametrize("packed", [True, False], ids=["packed", "padded"])
@pytest.mark.parametrize("options", [{}, {"center_rewards_coefficient": 0.05, "margin_column": "by"}], ids=["plain", "centred"])
def test_trl_gives_the_same_loss_and_gradients(
    load: Any, tmp_path: Path, kind: str, packed: bool, options: dict[str, Any]
) -> None:
    from trl import RewardConfig, RewardTrainer

    model, theirs = load(kind, packed), load(kind, packed=False)
    loss = loss_of(model, Reward(**options), preferences())
    rows = list(loss.encode(preferences()))
    out = loss.compute(loss.collate(rows))
    (out.total / len(rows)).backward()

    config = RewardConfig(output_dir=str(tmp_path), report_to=[], use_cpu=True, bf16=False, gradient_checkpointing=False,
                          center_rewards_coefficient=options.get("center_rewards_coefficient"))
    texts = Dataset.from_list([{"chosen_ids": [5, 6], "rejected_ids": [7]}])
    theirs.tokenizer.eos_token = theirs.tokenizer.eos_token or theirs.tokenizer.sep_token  # TRL wants one, and is given ids
    trainer = RewardTrainer(theirs.net, args=config, train_dataset=texts, processing_class=theirs.tokenizer)
    batch = trainer.data_collator([{"chosen_ids": row["input_ids"], "rejected_ids": row["rejected_input_ids"],
                                    **({"margin": row["margin"]} if "margin" in row else {})} for row in rows])
    if kind == "bert":  # TRL's collator knows no token types; the network is given ours
        types = [row["token_type_ids"] for row in rows]
        types += [row["rejected_token_type_ids"] for row in rows]
        width = batch["input_ids"].shape[1]
        batch["token_type_ids"] = torch.tensor([ids + [0] * (width - len(ids)) for ids in types])
    margin = batch.pop("margin", None)
    if margin is not None:  # TRL 1.16 hands it to the network as well, which not every network takes
        own = theirs.net.forward
        theirs.net.forward = lambda margin=None, **inputs: own(**inputs)
        batch["margin"] = margin
    value = trainer.compute_loss(theirs.net, batch)
    value.backward()
    assert float(out.total.detach()) / len(rows) == pytest.approx(float(value.detach()), rel=1e-4)
    expected = {name: weight.grad for name, weight in theirs.net.named_parameters() if weight.grad is not None}
    largest = max(float(gradient.abs().max()) for gradient in expected.values())
    assert largest > 1e-3
    for name, weight in model.net.named_parameters():
        if name in expected:
            assert float((weight.grad - expected[name]).abs().max()) <= 1e-4 * largest, name
    for name in ("accuracy", "margin", "mean_reward"):
        assert float(out.metrics[name]) / len(rows) == pytest.approx(trainer._metrics["eval"][name][-1], rel=1e-3, abs=1e-5)


@pytest.mark.parametrize("kind", ["llama", "gpt2", "bert"])
def test_the_last_real_token_is_scored_under_any_padding(load: Any, kind: str) -> None:
    """gpt2's pad is its EOS. Each text alone, unpadded, by plain Transformers, is the truth."""
    model = load(kind)
    rows = list(loss_of(model).encode(preferences()))
    with torch.no_grad():
        truth = []
        for side, row in product(("", "rejected_"), rows):
            inputs = {"input_ids": torch.tensor([row[f"{side}input_ids"]])}
            if kind == "bert":
                inputs["token_type_ids"] = torch.tensor([row[f"{side}token_type_ids"]])
            truth.append(float(model.net(**inputs).logits))
    assert len({round(value, 4) for value in truth}) > 8
    for packed, side in ((True, "right"), (False, "right"), (False, "left")):
        model.tokenizer.padding_side = side
        loss = loss_of(replace(model, packed=packed))
        batch = loss.collate(rows)
        scores = heads.classify(model.net, batch.inputs).detach()[:, 0].tolist()
        assert scores == pytest.approx(truth, rel=1e-4, abs=1e-4), (packed, side)


@pytest.mark.parametrize("kind", ["gpt2", "llama"])
def test_plain_transformers_gives_our_scores_after_saving(load: Any, tmp_path: Path, kind: str) -> None:
    """Also where pad is EOS and the template ends with it."""
    model = load(kind)
    model.tokenizer.chat_template = None
    loss = loss_of(model)
    batch = batch_of(loss, preferences())
    assert loss.answer is not None
    ours = heads.classify(model.net, batch.inputs).detach()[:, 0]
    models.save(model, tmp_path / "model")
    net: Any = AutoModelForSequenceClassification.from_pretrained(tmp_path / "model", num_labels=1).eval()
    rows = list(loss.encode(preferences()))
    ids = [row["input_ids"] for row in rows]
    ids += [row["rejected_input_ids"] for row in rows]
    padded = layout.lay(ids, packed=False, pad_id=model.tokenizer.pad_token_id)
    with torch.no_grad():
        plain = net(input_ids=padded["input_ids"], attention_mask=padded["attention_mask"]).logits
    assert plain.shape == (12, 1) and torch.allclose(plain[:, 0], ours, atol=1e-4)


@pytest.mark.parametrize("kind", ["llama", "bert"])
def test_training_tells_better_from_worse(load: Any, kind: str) -> None:
    model = load(kind)
    loss = loss_of(model)
    batch = batch_of(loss, preferences())
    optimizer = torch.optim.Adam(model.net.parameters(), lr=3e-3)
    first = loss.compute(batch)
    for _ in range(15):
        optimizer.zero_grad()
        loss.compute(batch).total.backward()
        optimizer.step()
    last = loss.compute(batch)
    assert float(last.total.detach()) < 0.5 * float(first.total.detach())
    assert float(last.metrics["accuracy"]) == 6
    asked, good, bad = PAIRS[0]
    assert loss.answer is not None
    alone = batch_of(loss, [{"prompt": asked, "completion": good}, {"prompt": asked, "completion": bad}], "predict")
    better, worse = (prediction.answer for prediction in loss.answer(alone, None))
    assert better > worse
    whole = loss.answer(batch, last)
    assert len(whole) == 6 and whole[0].answer == pytest.approx(better - worse, abs=1e-4)


@pytest.mark.parametrize("kind", ["llama", "bert"])
def test_whatever_can_be_scored_is_read(load: Any, kind: str) -> None:
    model = load(kind)
    loss = loss_of(model)
    assert loss.answer is not None
    question, good = "How was the film?", "It was free."
    rows = [{"prompt": question, "completion": good}, {"messages": message("user", question) + message("assistant", good)},
                 {"text": f"Human: {question}\n\nAssistant: {good}"}, {"text": "Only words."}]

    def answers_to(*rows: Row) -> list[Any]:
        return [prediction.answer for prediction in loss.answer(batch_of(loss, list(rows), "predict"), None)]

    answers = []
    for row in rows:
        answers += answers_to(row)
    assert answers[1:3] == pytest.approx([answers[0]] * 2, rel=1e-5) and answers[3] != answers[0]
    both = {**preferences()[0], "prompt": message("user", question)}
    mixed = answers_to(rows[0], both, rows[3])
    assert mixed == pytest.approx([answers[0], *answers_to(both), answers[3]], rel=1e-4, abs=1e-5), "pairs beside single texts"
    for row in ({"text": "  "}, {"number": 3}, {"messages": []}):
        with pytest.raises(UserError, match="nothing to score"):
            asked(loss, [row])


def test_what_is_scored_has_its_tools_and_its_system_text_in_any_spelling(load: Any) -> None:
    model = load("llama")
    model.tokenizer.chat_template = ("{% for tool in tools or [] %}{{ tool.function.name }}{% endfor %}{% for m in messages %}"
                                     "{{ m.role + ':' + m.content + eos_token }}{% endfor %}"
                                     "{% if add_generation_prompt %}assistant:{% endif %}")
    loss = loss_of(model)
    tools = [{"type": "function", "function": {"name": "lookup"}}]
    talk = message("system", "Be brief.") + message("user", "How?") + message("assistant", "So.")
    spelt: list[Any] = [
        {"messages": talk},
        {"prompt": talk[:2], "completion": talk[2:]},
        {"prompt": "How?", "completion": "So.", "system": "Be brief."},
        {"instruction": "How?", "output": "So.", "system": "Be brief."},
        {"question": "How?", "response": "So.", "system": "Be brief."},
    ]
    encoded = asked(loss, [{**row, "tools": tools} for row in spelt])
    (text,) = {model.tokenizer.decode(row["input_ids"]) for row in encoded}
    assert "lookup" in text and "Be brief." in text and "So." in text


def test_micro_batches_add_up(load: Any) -> None:
    model = load("llama")
    loss = loss_of(model, Reward(center_rewards_coefficient=0.1))
    rows = list(loss.encode(preferences()))
    whole = loss.compute(loss.collate(rows))
    parts = [loss.compute(loss.collate(rows[a:b])) for a, b in ((0, 1), (1, 4), (4, 6))]
    assert sum(float(part.total.detach()) for part in parts) == pytest.approx(float(whole.total.detach()), rel=1e-5)
    assert torch.allclose(torch.cat([part.row_losses for part in parts]), whole.row_losses, atol=1e-5)


@pytest.mark.parametrize("kind", ["llama", "bert"])
def test_what_is_too_long_loses_the_prompts_beginning(load: Any, kind: str) -> None:
    row = {**preferences()[0], "prompt": message("user", "What is the capital of Norway? " * 12)}
    model = load(kind)
    whole, cut = (next(iter(loss_of(model, max_length=limit).encode([row]))) for limit in (256, 40))
    assert whole["cut"] == 0 < cut["cut"] and len(cut["input_ids"]) == 40
    assert cut["input_ids"][-8:] == whole["input_ids"][-8:] and cut["input_ids"][0] == whole["input_ids"][0]
    assert whole["answer_cut"] == cut["answer_cut"] == 0
    tight = next(iter(loss_of(model, max_length=6).encode([row])))
    assert 0 < tight["answer_cut"] < tight["cut"], "told, and an error unless it is allowed"
    assert len(tight["input_ids"]) == 6 and torch.isfinite(loss_of(model).compute(batch_of(loss_of(model), [row])).total)


def test_bad_rows_are_named(load: Any) -> None:
    model = load("llama")
    rows = preferences()
    rows[4]["rejected"] = message("assistant", "")
    with pytest.raises(UserError, match=r"Who had a fever\?.*empty answer"):
        loss_of(model).encode(rows)
    same = [{**row, "rejected": row["chosen"]} for row in preferences()]
    rows_read = list(loss_of(model).encode([same[0], *preferences()[1:]]))
    assert rows_read[0]["left_out"] == "chosen and rejected are the same" and sum("input_ids" in row for row in rows_read) == 5
    with pytest.raises(UserError, match="the same in 6 of 6 pairs"):
        loss_of(model).encode(same)
    with pytest.raises(UserError, match="no such column in train"):
        loss_of(model, Reward(margin_column="gap"), preferences())


@pytest.mark.parametrize("margin", ["a lot", None, float("nan")])
def test_a_margin_that_is_no_number_names_its_row(load: Any, margin: Any) -> None:
    rows = [{**row, "margin": 0.5 if n != 1 or margin is None or isinstance(margin, float) else margin}
            for n, row in enumerate(preferences())]
    rows = [{**row, "margin": str(row["margin"])} for row in rows] if isinstance(margin, str) else rows
    rows[1]["margin"] = margin
    loss = loss_of(load("bert"), rows=rows)
    with pytest.raises(UserError, match=r"the row that asks 'Is seven plus five twelve\?' has the margin"):
        list(loss.encode(rows))


def test_a_template_changed_after_training_is_refused(load: Callable[..., Model], tmp_path: Path) -> None:
    from ftp.folder.log import Log

    log, model = Log(tmp_path, writer=True), load("llama")
    run = replace(a_run(), out=tmp_path, log=log)
    Reward().make_loss(run, Data({"train": Dataset.from_list(preferences())}, "preference"), model)
    log.close()
    Reward().make_loss(run, Data({}, "preference"), model)
    model.tokenizer.chat_template = model.tokenizer.chat_template.replace("im_start", "im_begin")
    with pytest.raises(UserError, match="not the one it was trained with"):
        Reward().make_loss(run, Data({}, "preference"), model)


def test_a_template_that_is_gone_or_new_after_training_is_refused(load: Callable[..., Model], tmp_path: Path) -> None:
    """An encoder reads pairs of texts without a template, and conversations with one: other texts, so other scores."""
    from ftp.folder.log import Log

    rows, template = Data({"train": Dataset.from_list(preferences())}, "preference"), tmp_path / "template.jinja"
    template.write_text("{% for one in messages %}{{ one.role }}: {{ one.content }}{{ eos_token }}{% endfor %}"
                        "{% if add_generation_prompt %}assistant: {% endif %}")
    for name, plugin in (("with", Reward(chat_template=template, eos_token="[SEP]")), ("without", Reward())):
        out, model = tmp_path / name, load("bert")
        out.mkdir()
        run = replace(a_run(), out=out, log=Log(out, writer=True))
        plugin.make_loss(run, rows, model)
        run.log.close()  # type: ignore[union-attr]
        plugin.make_loss(run, Data({}, "preference"), model)
        model.tokenizer.chat_template = None if name == "with" else template.read_text()
        with pytest.raises(UserError, match="now has none" if name == "with" else "has a chat template now"):
            plugin.make_loss(run, Data({}, "preference"), model)
    with pytest.raises(UserError, match="pair of texts, which no such token ends"):
        Reward(eos_token="[SEP]").make_loss(a_run(), rows, load("bert"))
