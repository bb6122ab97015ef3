"""A base whose end of an answer was newly added: with adapters it learns to stop, or it is told that it cannot."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

import ftp
from ftp_testing.models import CHAT, tiny

QUIET = ("-forgetting", "-leakage", "-overfitting", "-underfitting")


@pytest.fixture(scope="module", params=["gpt2", "llama"])
def base(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A network that got the tokens of its chat template by resizing: gpt2's ends are tied, llama's are two matrices."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    from ftp.model.token_rows import ends

    folder = tiny(request.param, tmp_path_factory.mktemp("base") / request.param)
    tokenizer, net = AutoTokenizer.from_pretrained(folder), AutoModelForCausalLM.from_pretrained(folder)
    tokenizer.add_special_tokens({"additional_special_tokens": ["<|turn|>", "<|stop|>"]})
    tokenizer.eos_token = "<|stop|>"
    tokenizer.chat_template = CHAT.replace("<|im_start|>", "<|turn|>").replace("<|im_end|>", "<|stop|>")
    with torch.no_grad():  # longer rows, as training makes them: those of a random start allow for no sure answers
        for module in ends(net).values():
            module.weight.mul_(5)
    net.resize_token_embeddings(len(tokenizer))
    net.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def rows(tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("rows") / "rows.jsonl"
    written = [{"prompt": f"What is {number} plus one?", "completion": "It is one more."} for number in range(40)]
    file.write_text("\n".join(map(json.dumps, written)), encoding="utf-8")
    return file


def run(plugins: list[str], base: Path, rows: Path, out: Path, **options: Any) -> tuple[Any, dict[str, Any]]:
    """A run, and its verdicts by name."""
    options = {"verify": False, **options}
    done = ftp.run([*plugins, "files", "sft", *QUIET], model=str(base), data=str(rows), out=str(out), learning_rate=1e-2,
                   epochs=15, batch_size=8, precision="fp32", baselines=False, report=False, eval_steps=1000,
                   cache_dir=str(out.parent / "cache"), **options)
    return done, {risk.name: risk for risk in done.risks}


def end_probability(net: Any, tokenizer: Any) -> float:
    """Of the end of a turn behind a whole answer, by plain Transformers."""
    import torch

    messages = [{"role": "user", "content": "What is 3 plus one?"}, {"role": "assistant", "content": "It is one more."}]
    text = tokenizer.apply_chat_template(messages, tokenize=False)
    ids = tokenizer(text[: text.rindex("<|stop|>")], add_special_tokens=False, return_tensors="pt")["input_ids"]
    with torch.no_grad():
        probabilities = net.eval()(ids).logits[0, -1].softmax(-1)
    return float(probabilities[tokenizer.convert_tokens_to_ids("<|stop|>")])


def test_lora_trains_the_rows_and_the_model_stops(base: Path, rows: Path, tmp_path: Path) -> None:
    import torch
    from peft import PeftModel
    from transformers import AutoModelForCausalLM, AutoTokenizer

    from ftp import model as models

    done, verdicts = run(["lora"], base, rows, tmp_path / "run", verify=True)
    assert verdicts["stopping"].level == "ok", verdicts["stopping"]
    assert "look" not in verdicts["preflight"].finding
    tokenizer = AutoTokenizer.from_pretrained(done.out / "model")
    plain = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(base), done.out / "model")
    before = end_probability(AutoModelForCausalLM.from_pretrained(base), tokenizer)
    assert before < 0.1 < 0.5 < end_probability(plain, tokenizer)
    assert ftp.load(done.out).predict("What is 3 plus one?")[0]["answer"] == "It is one more."

    whole = AutoModelForCausalLM.from_pretrained(models.merge(done.out / "model", tmp_path / "whole"))
    inputs = tokenizer("<|turn|>user\nWhat is 3?<|stop|>", return_tensors="pt")
    inputs.pop("token_type_ids", None)
    with torch.no_grad():
        torch.testing.assert_close(whole(**inputs).logits, plain(**inputs).logits, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("plugins, options, command", [
    (["lora"], {"lora": {"trainable_token_indices": "none"}}, "--lora.trainable_token_indices auto"),
    (["adapters"], {"adapters": {"trainable_token_indices": "none"}}, "--adapters.trainable_token_indices auto"),
    (["peft"], {"peft": {"method": "vera"}}, "--plugins lora,files,sft"),
])
def test_a_run_that_cannot_learn_to_stop_says_so(
    base: Path, rows: Path, tmp_path: Path, plugins: list[str], options: dict[str, Any], command: str
) -> None:
    done, verdicts = run(plugins, base, rows, tmp_path / "run", **options)
    assert verdicts["stopping"].level == "warn" and verdicts["stopping"].evidence["ended"] == 0
    assert "before this run 0 of" in verdicts["stopping"].finding and "found the model like that" in verdicts["stopping"].finding
    assert verdicts["preflight"].level == "warn" and "cannot learn to stop" in verdicts["preflight"].finding
    for verdict in (verdicts["stopping"], verdicts["preflight"]):
        assert any(command in advice for advice in verdict.advice), verdict.advice
    started = [line for line in (done.out / "log.jsonl").read_text(encoding="utf-8").splitlines() if '"risk"' in line]
    assert "preflight" in started[0], "before the first update"


def test_a_row_is_named_by_its_token(base: Path, rows: Path, tmp_path: Path) -> None:
    wrong = {"trainable_token_indices": "<|stop|>,<|stpo|>,99999"}
    with pytest.raises(ftp.UserError) as caught:
        run(["lora"], base, rows, tmp_path / "run", lora=wrong)
    assert len(caught.value.problems) == 2 and "<|stop|>" in caught.value.problems[0].fix
