"""sft: the same loss and gradients as TRL, however rows are laid out; rows that teach nothing are named."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from datasets import Dataset

from ftp import model as models
from ftp.data.encode import asked
from ftp.errors import UserError
from ftp.losses.chat_template import DEFAULT
from ftp.losses.tokens import labels
from ftp.net.packing import can_pack
from ftp.settings import Settings
from ftp.types import Data, Loss, Model, Row, Run, Task
from ftp_sft import Sft
from ftp_testing.compare import gradients
from ftp_testing.models import tiny


def messages(talk: list[tuple[str, str]]) -> list[dict[str, str]]:
    return [{"role": role, "content": text} for role, text in talk]


TALKS = [
    [("user", "What is the capital of Norway?"), ("assistant", "Oslo.")],
    [("system", "Be brief."), ("user", "Seven plus five?"), ("assistant", "Twelve."), ("user", "Minus five?"),
     ("assistant", "Seven, as I said before.")],
    [("user", "Please write a short letter to the bank."), ("assistant", "Dear bank, the card is lost. Send a new one.")],
]
ROWS: list[Row] = [{"messages": messages(talk)} for talk in TALKS]
ENDED = ("{% for m in messages %}{{ m.role + ':' + m.content + eos_token }}{% endfor %}"
         "{% if add_generation_prompt %}assistant:{% endif %}")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny("llama", tmp_path_factory.mktemp("llama"))


def loaded(folder: Path, template: str | None = None, packed: bool = False) -> Model:
    model = models.load(models.Source(str(folder), folder=folder), "tokens")
    model.tokenizer.chat_template = template
    model.net.eval()
    if packed:
        able, why = can_pack(model.net, model.tokenizer)
        assert able, why
    return replace(model, packed=packed)


def a_run(out: Path | None = None, **settings: Any) -> Run:
    return Run(Settings(**settings), Task("conversation", "tokens"), None, out)  # type: ignore[arg-type]


def a_loss(model: Model, rows: list[Row] = ROWS, run: Run | None = None, **options: Any) -> Loss:
    return Sft(**options).make_loss(run or a_run(), Data({"train": Dataset.from_list(rows)}, "conversation"), model)


def encoded(loss: Loss, rows: list[Row] = ROWS, split: str = "train") -> list[dict[str, Any]]:
    if split == "predict":
        return asked(loss, rows)
    encode = loss.encode if split == "train" else loss.encode_to_score
    return [{**row, "row": row.get("row", number)} for number, row in enumerate(encode(rows))]


def mean_and_gradients(model: Model, loss: Loss, rows: list[dict[str, Any]]) -> tuple[float, dict[str, torch.Tensor]]:
    batch = loss.collate(rows)
    mean = loss.compute(batch).total / batch.count
    return float(mean.detach()), gradients(model.net, mean)


def close(ours: Any, theirs: Any) -> None:
    assert ours[0] == pytest.approx(theirs[0], rel=1e-4)
    assert ours[1].keys() == theirs[1].keys()
    for name, gradient in ours[1].items():
        assert float((gradient - theirs[1][name]).norm()) <= 1e-4 * float(theirs[1][name].norm()) + 1e-9, name


def trl(folder: Path, template: str, rows: list[Row], scratch: Path, **config: Any) -> tuple[float, dict[str, torch.Tensor]]:
    """Mean loss and gradients of TRL's trainer for all rows as one batch."""
    from trl import SFTConfig, SFTTrainer

    model = loaded(folder, template)
    args = SFTConfig(output_dir=str(scratch), per_device_train_batch_size=len(rows), report_to="none", use_cpu=True, bf16=False,
                     gradient_checkpointing=False, max_length=256, disable_tqdm=True, save_strategy="no", **config)
    trainer = SFTTrainer(model=model.net, args=args, train_dataset=Dataset.from_list(rows), processing_class=model.tokenizer)
    batch = next(iter(trainer.get_train_dataloader()))
    model.net.eval()
    mean = trainer.compute_loss(model.net, batch)
    return float(mean.detach()), gradients(model.net, mean)


@pytest.mark.parametrize("packed", [False, True])
def test_answers_as_trl_assistant_only_loss(folder: Path, tmp_path: Path, packed: bool) -> None:
    theirs = trl(folder, "{{ bos_token }}" + DEFAULT, ROWS, tmp_path, assistant_only_loss=True)
    model = loaded(folder, None, packed)
    loss = a_loss(model)
    close(mean_and_gradients(model, loss, encoded(loss)), theirs)


def test_the_last_answer_as_trl_completion_only_loss(folder: Path, tmp_path: Path) -> None:
    pairs = [{"prompt": row["messages"][:-1], "completion": row["messages"][-1:]} for row in ROWS]
    theirs = trl(folder, ENDED, pairs, tmp_path, completion_only_loss=True)
    model = loaded(folder, ENDED)
    loss = a_loss(model, train_on="last")
    close(mean_and_gradients(model, loss, encoded(loss)), theirs)


def test_all_tokens_as_trl_without_a_mask(folder: Path, tmp_path: Path) -> None:
    theirs = trl(folder, ENDED, ROWS, tmp_path)
    model = loaded(folder, ENDED)
    loss = a_loss(model, train_on="all")
    close(mean_and_gradients(model, loss, encoded(loss)), theirs)


def test_packed_padded_and_alone_are_one_loss(folder: Path) -> None:
    model, packed = loaded(folder), loaded(folder, packed=True)
    loss, other = a_loss(model), a_loss(packed)
    rows = encoded(loss)
    together = loss.compute(loss.collate(rows))
    alone = torch.stack([loss.compute(loss.collate([row])).total for row in rows])
    assert together.row_losses is not None
    torch.testing.assert_close(together.row_losses, alone.detach(), rtol=1e-4, atol=1e-5)
    batch = other.collate(rows)
    assert "row_starts" in batch.inputs
    torch.testing.assert_close(other.compute(batch).row_losses, alone.detach(), rtol=1e-4, atol=1e-5)
    model.tokenizer.padding_side = "left"
    torch.testing.assert_close(loss.compute(loss.collate(rows)).total, together.total)
    assert together.row_counts is not None and together.row_counts.sum() == loss.collate(rows).count


def test_the_end_is_trained_even_where_it_pads_and_prompts_are_not(tmp_path: Path) -> None:
    model = loaded(tiny("gpt2", tmp_path))
    eos = model.tokenizer.eos_token_id
    assert model.tokenizer.pad_token_id == eos
    loss = a_loss(model)
    rows = encoded(loss)
    batch = loss.collate(rows)
    learnt: list[int] = []
    for row in rows:
        learnt += [token for token in labels(row["input_ids"], row["spans"]) if token != -100]
    assert batch.inputs["target"].tolist() == learnt
    assert batch.inputs["target"].tolist().count(eos) == 4, "one for each answer"
    assert "Norway" not in model.tokenizer.decode(batch.inputs["target"])
    assert model.net.generation_config.eos_token_id == [eos]


def test_accuracy_is_measured_in_evaluation_alone(folder: Path) -> None:
    loss = a_loss(loaded(folder))
    batch = loss.collate(encoded(loss))
    assert not loss.compute(batch).metrics
    with torch.no_grad():
        out = loss.compute(batch)
    assert 0 <= float(out.metrics["mean_token_accuracy"]) <= batch.count
    assert float(out.total) == pytest.approx(float(loss.compute(batch).total.detach()), rel=1e-5)


def test_rows_without_answers_are_named_or_left_out(folder: Path) -> None:
    ask = [{"role": "user", "content": "Is anyone there?"}]
    bad = [*ROWS, {"messages": ask}, {"messages": [*ask, {"role": "assistant", "content": " \n"}]}]
    with pytest.raises(UserError) as caught:
        a_loss(loaded(folder), bad)
    assert "no turn of the assistant: rows 3" in str(caught.value) and "an empty answer: rows 4" in str(caught.value)
    assert "first (roles: user) begins 'Is anyone there?'" in str(caught.value)
    assert "without the ones that were cut" in str(caught.value)
    loss = a_loss(loaded(folder), bad, unfit="drop")
    rows_read = encoded(loss, bad)
    assert [row["row"] for row in rows_read if "left_out" not in row] == [0, 1, 2]
    assert [row["left_out"].split(",")[0] for row in rows_read if row["row"] in (3, 4)] == [
        "has an empty answer", "has no turn of the assistant (its roles: user)"]
    with pytest.raises(UserError, match="Is anyone there"):
        encoded(a_loss(loaded(folder)), bad)  # as a stream shows them


def test_answers_cut_away_are_left_out_and_counted(folder: Path) -> None:
    model = loaded(folder)
    whole = encoded(a_loss(model))
    start = whole[2]["spans"][0]
    short = a_loss(model, run=a_run(max_length=start))
    rows = encoded(short)
    (lost,) = [row for row in rows if row["row"] == 2]
    (first, last) = whole[2]["spans"][:2]
    assert "hold nothing of an answer" in lost["left_out"] and lost["answer_cut"] >= last - first and "input_ids" not in lost
    kept = a_loss(model, run=a_run(max_length=start + 2))
    row = next(row for row in encoded(kept) if row["row"] == 2)
    assert row["spans"] == [start, start + 2] and row["cut"] == len(whole[2]["input_ids"]) - start - 2
    assert row["answer_cut"] == lost["answer_cut"] - 2


def test_answers_stop_or_are_bounded_and_do_not_hang_on_their_neighbours(folder: Path) -> None:
    from ftp.losses import tokens

    model = loaded(folder)
    loss = a_loss(model, max_new_tokens=5)
    asked: list[Row] = [{"text": "Seven plus five?"}, {"messages": ROWS[1]["messages"][:2]},
                        {"prompt": "What is the capital of Norway?"}]
    rows = encoded(loss, asked, "predict")
    assert loss.answer is not None
    together = [prediction.answer for prediction in loss.answer(loss.collate(rows), None)]
    alone = [loss.answer(loss.collate([row]), None)[0].answer for row in rows]
    assert together == alone and all(isinstance(answer, str) for answer in together)
    prompt = rows[0]["prompt"]
    free = tokens.generate(model, [prompt], stop=[], max_new_tokens=9)[0]
    assert len(free) == 9, "a network that never stops is stopped"
    assert tokens.generate(model, [prompt], stop=[free[3]], max_new_tokens=9)[0] == free[: free.index(free[3])]
    assert len(tokens.generate(model, [prompt, prompt[:4]], stop=[], max_new_tokens=9, limit=len(prompt) + 2)[0]) == 2
    with pytest.raises(UserError, match="asks nothing"):
        encoded(loss, [{"messages": [{"role": "assistant", "content": "Yes."}]}], "predict")


def test_evaluation_generates_for_as_many_rows_as_asked(folder: Path) -> None:
    model = loaded(folder)
    silent = a_loss(model)
    batch = silent.collate(encoded(silent, split="validation"))
    assert silent.answer is not None
    assert [prediction.answer for prediction in silent.answer(batch, silent.compute(batch))] == [None] * 3
    loss = a_loss(model, generate=2, max_new_tokens=3)
    batch = loss.collate(encoded(loss, split="validation"))
    assert loss.answer is not None
    answers = [prediction.answer for prediction in loss.answer(batch, loss.compute(batch))]
    assert [answer is None for answer in answers] == [False, False, True]
    assert loss.key != silent.key


def test_a_template_changed_after_training_is_refused(folder: Path, tmp_path: Path) -> None:
    from ftp.folder.log import Log

    log = Log(tmp_path, writer=True)
    model = loaded(folder)
    a_loss(model, run=replace(a_run(tmp_path), log=log))
    log.close()
    assert any("sha256" in json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines())
    back = Data({}, "conversation")
    Sft().make_loss(a_run(tmp_path), back, model)
    with pytest.raises(UserError, match="not the one it was trained with"):
        Sft().make_loss(a_run(tmp_path), back, loaded(folder, ENDED))


def test_a_template_of_ones_own_is_used_and_saved(folder: Path, tmp_path: Path) -> None:
    from transformers import AutoTokenizer

    (tmp_path / "mine.jinja").write_text(ENDED, encoding="utf-8")
    model = loaded(folder)
    loss = a_loss(model, chat_template=tmp_path / "mine.jinja")
    assert loss.key != a_loss(loaded(folder)).key
    model.tokenizer.save_pretrained(tmp_path / "model")
    assert AutoTokenizer.from_pretrained(tmp_path / "model").chat_template == ENDED
