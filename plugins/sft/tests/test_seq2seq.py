"""sft on networks with an encoder and a decoder: Transformers' own loss, however rows are laid out, and answers by generation."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest
import torch
from click.testing import CliRunner
from datasets import Dataset

import ftp
from ftp import model as models
from ftp.data.encode import asked
from ftp.errors import UserError
from ftp.losses import chat_template
from ftp.settings import Settings
from ftp.types import Data, Loss, Model, Row, Run, Task
from ftp_sft import Sft
from ftp_testing.models import tiny, tiny_tokenizer

KINDS = ("t5", "bart")


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
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    return {kind: tiny(kind, tmp_path_factory.mktemp(kind)) for kind in KINDS}  # type: ignore[arg-type]


def loaded(folder: Path) -> Model:
    model = models.load(models.Source("tiny", folder=folder), "tokens")
    model.net.eval()
    return model


def a_loss(model: Model, rows: list[Row] = ROWS, **options: Any) -> Loss:
    settings = {name: options.pop(name) for name in ("max_length",) if name in options}
    run = Run(Settings(**settings), Task("conversation", "tokens"), None)  # type: ignore[arg-type]
    return Sft(**options).make_loss(run, Data({"train": Dataset.from_list(rows)}, "conversation"), model)


def encoded(loss: Loss, rows: list[Row] = ROWS, split: str = "train") -> list[dict[str, Any]]:
    if split == "predict":
        return asked(loss, rows)
    encode = loss.encode if split == "train" else loss.encode_to_score
    return [dict(row) for row in encode(rows)]


def theirs(model: Model, rows: list[dict[str, Any]], extra: int = 0) -> tuple[Any, dict[str, torch.Tensor]]:
    """Mean loss and gradients by `labels=` of Transformers, with `extra` columns of padding."""

    def padded(column: str, fill: int) -> torch.Tensor:
        longest = max(len(row[column]) for row in rows) + extra
        return torch.tensor([[*row[column], *[fill] * (longest - len(row[column]))] for row in rows])

    model.net.zero_grad()
    ids = padded("input_ids", -1)
    pad = int(model.tokenizer.pad_token_id)  # type: ignore[arg-type]
    loss = model.net(input_ids=ids.where(ids >= 0, pad), attention_mask=(ids >= 0).long(), labels=padded("labels", -100)).loss
    loss.backward()
    return loss.detach(), gradients(model)


def gradients(model: Model) -> dict[str, torch.Tensor]:
    return {name: weight.grad.clone() for name, weight in model.net.named_parameters() if weight.grad is not None}


def close(ours: dict[str, torch.Tensor], expected: dict[str, torch.Tensor]) -> None:
    assert ours.keys() == expected.keys()
    for name, gradient in ours.items():
        assert float((gradient - expected[name]).norm()) <= 1e-4 * float(expected[name].norm()) + 1e-8, name


@pytest.mark.parametrize("kind", KINDS)
def test_loss_and_gradients_are_transformers_own(kind: str, folders: dict[str, Path]) -> None:
    model = loaded(folders[kind])
    loss = a_loss(model)
    rows = encoded(loss)
    for extra in (0, 5):
        mean, slopes = theirs(model, rows, extra)
        model.net.zero_grad()
        batch = loss.collate(rows)
        out = loss.compute(batch)
        (out.total / batch.count).backward()
        torch.testing.assert_close(out.total.detach() / batch.count, mean, rtol=1e-4, atol=0)
        close(gradients(model), slopes)


def test_a_start_that_the_tokenizer_writes_itself_is_given_once(tmp_path: Path) -> None:
    from transformers import T5GemmaConfig, T5GemmaForConditionalGeneration

    tokenizer = tiny_tokenizer("llama")
    tokenizer.chat_template = None
    ids = {f"{name}_token_id": getattr(tokenizer, f"{name}_token_id") for name in ("bos", "eos", "pad")}
    stack = {"vocab_size": len(tokenizer), "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "head_dim": 8,
             "num_attention_heads": 4, "num_key_value_heads": 2, "max_position_embeddings": 256, **ids}
    torch.manual_seed(0)
    T5GemmaForConditionalGeneration(T5GemmaConfig(encoder=stack, decoder=stack, vocab_size=len(tokenizer), dropout_rate=0.0,
                                                  attention_dropout=0.0)).save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    model = loaded(tmp_path)
    loss = a_loss(model)
    batch = loss.collate(rows := encoded(loss))
    assert rows[0]["input_ids"][0] == tokenizer.bos_token_id == batch.inputs["decoder_input_ids"][0, 0] != rows[0]["labels"][0]
    torch.testing.assert_close(loss.compute(batch).total.detach() / batch.count, theirs(model, rows)[0], rtol=1e-4, atol=0)
    models.save(model, tmp_path / "saved")
    probe = models.probe(model, ["Seven plus five?", "Who?"])
    again = models.reload(tmp_path / "saved").net
    torch.testing.assert_close(models.logits(again, probe), models.logits(model.net, probe), rtol=0, atol=1e-5)


@pytest.mark.parametrize("kind", KINDS)
def test_neither_neighbours_nor_micro_batches_change_it(kind: str, folders: dict[str, Path]) -> None:
    model = loaded(folders[kind])
    loss = a_loss(model)
    rows = encoded(loss)
    together = loss.compute(loss.collate(rows))
    assert together.row_losses is not None and together.row_counts is not None
    alone = torch.stack([loss.compute(loss.collate([row])).total.detach() for row in rows])
    torch.testing.assert_close(together.row_losses, alone, rtol=1e-4, atol=1e-4)
    assert together.row_counts.tolist() == [len(row["labels"]) for row in rows]
    sums = []
    for parts in ([rows[:2], rows[2:]], [[row] for row in rows]):
        model.net.zero_grad()
        count = sum(loss.collate(part).count for part in parts)
        for part in parts:
            (loss.compute(loss.collate(part)).total / count).backward()
        sums.append(gradients(model))
    close(*sums)


@pytest.mark.parametrize("kind", KINDS)
def test_each_turn_of_the_assistant_is_told_from_all_before_it(kind: str, folders: dict[str, Path]) -> None:
    model = loaded(folders[kind])
    tokenizer: Any = model.tokenizer
    rows = encoded(a_loss(model))
    read = ["What is the capital of Norway?", "System: Be brief.\n\nUser: Seven plus five?",
            "System: Be brief.\n\nUser: Seven plus five?\n\nAssistant: Twelve.\n\nUser: Minus five?",
            "Please write a short letter to the bank."]
    assert [row["row"] for row in rows] == [0, 1, 1, 2]
    answers = ["Oslo.", "Twelve.", "Seven, as I said before.", "Dear bank, the card is lost. Send a new one."]
    for row, prompt, answer in zip(rows, read, answers, strict=True):
        assert row["input_ids"] == tokenizer(prompt)["input_ids"]
        assert row["labels"] == tokenizer(text_target=answer)["input_ids"]
        assert row["labels"][-1] == tokenizer.eos_token_id
        assert row["length"] == len(row["input_ids"]) + len(row["labels"])
    last = encoded(a_loss(loaded(folders[kind]), train_on="last"))
    assert [row["labels"] for row in last] == [rows[index]["labels"] for index in (0, 2, 3)]
    with pytest.raises(UserError, match="an encoder reads the prompts"):
        a_loss(model, train_on="all")


def test_a_template_of_ones_own_says_what_is_read_and_written(folders: dict[str, Path], tmp_path: Path) -> None:
    (tmp_path / "mine.jinja").write_text(ENDED, encoding="utf-8")
    model = loaded(folders["t5"])
    assert any("does not end with </s>" in note for note in chat_template.prepare(
        loaded(folders["t5"]).tokenizer, file=tmp_path / "mine.jinja", apart=str).notes)
    rows = encoded(a_loss(model, chat_template=tmp_path / "mine.jinja"))
    texts = [(model.tokenizer.decode(row["input_ids"]), model.tokenizer.decode(row["labels"])) for row in rows[:2]]
    assert texts == [("user:What is the capital of Norway?</s>assistant:", "Oslo.</s>"),
                     ("system:Be brief.</s>user:Seven plus five?</s>assistant:", "Twelve.</s>")]


def test_the_default_template_writes_tools_and_calls(folders: dict[str, Path]) -> None:
    model = loaded(folders["bart"])
    tool = {"type": "function", "function": {"name": "weather", "arguments": {"town": "Oslo"}}}
    talk: list[Any] = [{"role": "user", "content": "Weather?"}, {"role": "assistant", "content": None, "tool_calls": [tool]},
                       {"role": "tool", "content": "sunny"}, {"role": "assistant", "content": "It is sunny."}]
    rows = encoded(a_loss(model), [{"messages": talk, "tools": [tool]}])
    texts = [(model.tokenizer.decode(row["input_ids"]), model.tokenizer.decode(row["labels"])) for row in rows]
    call, tools = json.dumps(tool["function"]), f"Tools: {json.dumps(tool)}\n\n"
    assert texts == [(f"<s>{tools}Weather?</s>", f"<s>{call}</s>"),
                     (f"<s>{tools}User: Weather?\n\nAssistant: {call}\n\nTool: sunny</s>", "<s>It is sunny.</s>")]


def test_what_is_cut_is_counted_and_a_question_is_kept(folders: dict[str, Path]) -> None:
    model = loaded(folders["bart"])
    whole = encoded(a_loss(model))
    short = encoded(a_loss(model, max_length=12))
    for row, before in zip(short, whole, strict=True):
        assert max(len(row["input_ids"]), len(row["labels"])) <= 12
        assert row["answer_cut"] == len(before["labels"]) - len(row["labels"])
        assert row["cut"] == row["answer_cut"] + len(before["input_ids"]) - len(row["input_ids"])
        assert row["labels"] == before["labels"][: len(row["labels"])]
        assert (row["input_ids"][0], row["input_ids"][-1]) == (0, 2), "the special tokens around a text stay"
    assert short[2]["input_ids"][1:] == whole[2]["input_ids"][-11:], "of several turns the last is kept"
    assert short[3]["input_ids"][:-1] == whole[3]["input_ids"][:11], "of one the beginning, as the tokenizer would cut it"
    with pytest.raises(UserError, match="the model takes 12"):
        encoded(a_loss(model, max_length=12), [{"text": "Please write a short letter to the bank."}], "predict")


@pytest.mark.parametrize("kind", KINDS)
def test_answers_are_what_generate_gives(kind: str, folders: dict[str, Path]) -> None:
    model = loaded(folders[kind])
    net: Any = model.net
    loss = a_loss(model, max_new_tokens=7, generate=2)
    net.lm_head.weight = torch.nn.Parameter(net.lm_head.weight.detach().roll(40, 0))  # else it says its start again and again
    asked = encoded(loss, [{"text": "Seven plus five?"}, {"messages": ROWS[1]["messages"][:4]}], "predict")
    assert loss.answer is not None
    together = [prediction.answer for prediction in loss.answer(loss.collate(asked), None)]
    by_hand = [net.generate(torch.tensor([row["input_ids"]]), max_new_tokens=7, do_sample=False, num_beams=1)[0] for row in asked]
    assert together == [model.tokenizer.decode(ids, skip_special_tokens=True).strip() for ids in by_hand]
    assert any(together), "something is said"
    held = encoded(loss, split="validation")
    answers = loss.answer(batch := loss.collate(held), loss.compute(batch))
    is_silent = [prediction.answer is None for prediction in answers]
    assert is_silent == [False, True, False, True], "the last turn of the first two rows"
    assert loss.merge(answers[1:3], held[1:3]) is answers[2]


def test_what_a_checkpoint_binds_answers_by_is_told(folders: dict[str, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    messages: list[str] = []
    monkeypatch.setattr(Run, "tell", lambda self, text, *more, **named: messages.append(text))
    model = loaded(folders["bart"])
    a_loss(model)
    assert not any("generation_config" in line for line in messages)
    model.net.generation_config.min_length = 56  # type: ignore[union-attr]  # as of a network for summaries
    a_loss(model)
    assert any("generation_config.json has min_length 56" in line for line in messages)


def test_a_start_token_is_asked_for(tmp_path: Path) -> None:
    model = loaded(tiny("t5", tmp_path, decoder_start_token_id=None))
    with pytest.raises(UserError, match="names no decoder_start_token_id"):
        a_loss(model)


def test_rows_of_a_decoder_are_not_trained_in_silence(folders: dict[str, Path]) -> None:
    from ftp.losses import tokens

    with pytest.raises(UserError, match="one stack of layers"):
        tokens.collate(loaded(folders["t5"]), [{"input_ids": [5, 6, 7], "spans": [1, 3]}])


def test_the_kit_looks_at_an_encoder_decoder_and_finds_what_is_wrong_there(monkeypatch: pytest.MonkeyPatch) -> None:
    from ftp.losses import encoder_decoder
    from ftp_testing import check

    def outcome() -> tuple[str, str]:
        (outcome,) = check("sft", only=["encoder-decoders-too"]).outcomes
        return outcome.status, outcome.message

    assert outcome()[0] == "ok"
    collate = encoder_decoder.collate

    def unmasked(*args: Any, **more: Any) -> Any:
        batch = collate(*args, **more)
        batch.inputs["attention_mask"].fill_(1)  # type: ignore[attr-defined]
        return batch

    def endless(*args: Any, **more: Any) -> Any:
        return [{**row, "labels": row["labels"][:-1]} for row in rows(*args, **more)]

    rows = encoder_decoder.encoded
    with monkeypatch.context() as broken:
        broken.setattr(encoder_decoder, "collate", unmasked)
        status, message = outcome()
        assert status == "failed" and "the rows beside it" in message
    with monkeypatch.context() as broken:
        broken.setattr(encoder_decoder, "encoded", endless)
        status, message = outcome()
        assert status == "failed" and "generation would never stop" in message


@pytest.fixture(scope="module")
def talker(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("run")
    rows = [{"prompt": f"Count to {n}.", "completion": "one two three"} for n in range(24)]
    (folder / "mine.jsonl").write_text("\n".join(map(json.dumps, rows)))
    ftp.run(["sft", "full", "files"], data=str(folder / "mine.jsonl"), model=str(tiny("t5", folder / "t5")), epochs=25,
            learning_rate=0.01, out=folder / "run", cache_dir=folder / "cache", baselines=False, device="cpu",
            sft={"generate": 2, "max_new_tokens": 16})  # model/ is verified in a fresh process
    return folder / "run"


def test_a_run_learns_to_answer_and_to_stop(talker: Path) -> None:
    from transformers import AutoModelForSeq2SeqLM, AutoTokenizer

    from ftp_terminal_chat.command import command

    assert ftp.load(talker).predict(["Count to 3."])[0]["answer"] == "one two three"
    done = CliRunner().invoke(command, [str(talker)], input="Count to 3.\n")
    assert done.exit_code == 0 and done.stdout.strip() == "one two three"
    net, tokenizer = AutoModelForSeq2SeqLM.from_pretrained(talker / "model"), AutoTokenizer.from_pretrained(talker / "model")
    generated = net.generate(**tokenizer("Count to 3.", return_tensors="pt"), max_new_tokens=16)
    assert tokenizer.decode(generated[0], skip_special_tokens=True) == "one two three"


def test_a_killed_run_ends_as_the_unbroken_one() -> None:
    from ftp_testing.checks.run import survives_kill
    from ftp_testing.subject import Fit, Memory, find

    subject = dataclasses.replace(find("sft"), memory=Memory(fit=Fit("t5")))
    assert "the same bits" in survives_kill(subject)
