"""Runs: what is learnt, what is kept, and what is said of rewards that cannot be."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from ftp import UserError
from ftp.folder.checkpoints import checkpoints_in, step_of
from ftp.folder.log import read_log
from ftp_testing.models import tiny

LETTERS = "def f(completions, **columns):\n    return [float(text.count('e')) for text in completions]\n"


def steps(out: Path) -> list[dict[str, Any]]:
    return [line for line in read_log(out / "log.jsonl") if line["event"] == "step"]


def log_text(out: Path) -> str:
    return (out / "log.jsonl").read_text()


@pytest.mark.parametrize(("method", "more"), [
    ("rloo", {}), ("grpo", {"beta": 0.0, "loss_type": "dapo", "scale_rewards": "batch"}),
    ("ppo", {"num_iterations": 2, "num_mini_batches": 1, "target_kl": 4.0}),
])
def test_every_method_learns_what_is_rewarded(go, method, more):
    """The letter e: the mean reward rises well above that of the untuned model, with the same loop."""
    result = go(letters=True, max_steps=32, batch_size=8, eval_steps=32, learning_rate=6e-3, lr_scheduler_type="constant",
                baselines=True, max_eval_rows=8, logging_steps=4, rlhf={"method": method, **more})
    rewards = [line["reward"] for line in steps(result.out)]
    assert sum(rewards[-2:]) > 2 * sum(rewards[:2]), rewards
    before = next(score.value for score in result.baselines if score.name == "reward" and score.split == "validation")
    assert result.score("reward", "validation") > 1.5 * before
    assert result.score("kl", "validation") > 0.1  # it went somewhere, and says how far
    line = steps(result.out)[-1]
    assert {"reward", "reward_std", "entropy", "completion_length", "ended", "clip_ratio"} <= set(line)
    assert ("kl" in line) == (more.get("beta") != 0.0)
    if method == "ppo":
        assert math.isfinite(line["value_loss"])
        assert line["beta"] != 0.05  # it was adapted


def test_kl_begins_at_zero_and_is_held_by_its_weight(go):
    runs = {beta: go(letters=True, max_steps=16, out=f"beta{beta}", learning_rate=5e-3, rlhf={"beta": beta})
            for beta in (0.001, 2.0)}
    lines = {beta: steps(result.out) for beta, result in runs.items()}
    assert all(line[0]["kl"] == pytest.approx(0.0, abs=1e-6) for line in lines.values())
    assert lines[2.0][-1]["kl"] < lines[0.001][-1]["kl"]


@pytest.mark.parametrize("method", ["ppo", "grpo"])
def test_a_run_that_was_interrupted_goes_on_the_same(go, method, monkeypatch):
    """Several updates on each rollout, adapter and value head, adaptive KL: no checkpoint lies inside a rollout, and what is
    made again from one is the same."""
    from ftp.runs.run import execute
    from ftp.train import loop

    options: dict[str, Any] = {"plugins": ("lora",), "letters": True, "max_steps": 12, "save_steps": 3, "eval_steps": 5,
                               "rlhf": {"method": method, "num_iterations": 2, "num_mini_batches": 2, "target_kl": 1.0}}
    whole = go(out="whole", **options)
    saved = [step_of(path) or 0 for path in checkpoints_in(whole.out / "checkpoints")]
    assert saved
    assert all(step % 4 == 0 for step in saved)

    real, count = loop.make_batch, [0]

    def halting(*arguments: Any) -> Any:
        count[0] += 1
        if count[0] == 7:  # in the middle of the second rollout
            raise KeyboardInterrupt
        return real(*arguments)

    monkeypatch.setattr(loop, "make_batch", halting)
    with pytest.raises(KeyboardInterrupt):
        go(out="broken", **options)
    monkeypatch.setattr(loop, "make_batch", real)
    from ftp.options import read_recipe
    from ftp.plugins.plan import prepare

    broken = whole.out.parent / "broken"
    tables = read_recipe(broken / "run.toml")
    names = tables.pop("plugins")
    again = execute(prepare(names, given=[("recipe", {**tables, "out": str(broken)})]), resume=broken)
    first, second = steps(whole.out), steps(again.out)
    for before, after in zip(first, second, strict=True):
        assert (before["loss"], before["reward"]) == (after["loss"], after["reward"])
    for name in ("adapter_model.safetensors", "extra.safetensors"):
        weights = load_file(whole.out / "model" / name)
        resumed = load_file(again.out / "model" / name)
        assert all(torch.equal(value, resumed[key]) for key, value in weights.items()), name
    assert ("value.weight" in load_file(whole.out / "model" / "extra.safetensors")) == (method == "ppo")


def test_what_is_sampled_hangs_on_nothing_beside_it(rolling):
    """A prompt alone, and beside longer ones in any order, gets the same completions; other keys give others."""
    from ftp.losses.sampling import Sampling, sample

    ours = rolling.ours()
    how = Sampling(8, 0.9, 0.95, 50, ours.talk.stop)
    prompts = [[5, 6, 7], list(range(10, 40)), [50, 60]]
    keys = [[0, 1], [0, 2], [0, 3]]
    together = sample(ours.model, prompts, keys, how, 10_000)
    alone = []
    for prompt, key in zip(prompts, keys, strict=True):
        alone += sample(ours.model, [prompt], [key], how, 10_000)
    backwards = sample(ours.model, prompts[::-1], keys[::-1], how, 40)[::-1]
    assert together == alone == backwards
    assert sample(ours.model, prompts, [[1, *key] for key in keys], how, 10_000) != together


def test_tokens_come_as_often_as_they_should():
    from ftp.losses.sampling import Draw, Sampling

    logits = torch.tensor([0.0, 1.0, 2.0, -1.0]).repeat(4000, 1)
    keys, before = [[7, number] for number in range(4000)], torch.zeros(4000, 3, dtype=torch.long)
    drawn = Draw(keys, 3, Sampling(1, 0.5, 1.0, 0, ()))(before, logits).argmax(-1)
    shares = torch.bincount(drawn, minlength=4) / 4000
    assert torch.allclose(shares, (logits[0] / 0.5).softmax(-1), atol=0.02)
    cut = Draw(keys, 3, Sampling(1, 1.0, 1.0, 2, ()))(before, logits)
    assert set(cut.argmax(-1).tolist()) == {1, 2}


# --- rewards ---


@pytest.mark.parametrize(("text", "message"), [
    ("def f(completions):\n    return [1 / 0 for text in completions]\n", "ZeroDivisionError: division by zero (judge"),
    ("def f(completions):\n    return [float('nan') for text in completions]\n", "reward f: nan for the completion"),
    ("def f(completions):\n    return [float('inf') for text in completions]\n", "reward f: inf for the completion"),
    ("def f(completions):\n    return [1.0] * (len(completions) + 1)\n", "numbers for"),
    ("def f(completions):\n    return None\n", "the reward function failed: TypeError"),
    ("def f(completions, score_of_row):\n    return [1.0] * len(completions)\n", "it asks for score_of_row, which no row has"),
    ("async def f(completions):\n    return [1.0]\n", "is async"),
    ("def g(completions):\n    return [1.0]\n", "has no function f"),
    ("import nothing_of_that_name\n", "cannot be imported: ModuleNotFoundError"),
])
def test_rewards_that_cannot_be(go, judge, text, message):
    with pytest.raises(UserError) as error:
        go(rlhf={"reward": judge(text)})
    assert message in str(error.value)


def test_a_reward_that_turns_bad_later_is_told_with_its_row(go, judge, tmp_path):
    text = ("calls = []\ndef f(completions):\n    calls.append(1)\n"
            "    return [float('nan') if len(calls) > 2 else 0.5 + len(text) for text in completions]\n")
    with pytest.raises(UserError, match=r"nan for the completion .* of the prompt '# "):
        go(rlhf={"reward": judge(text)})


@pytest.mark.parametrize(("rlhf", "message"), [
    ({"method": "grpo", "lam": 0.9}, "--rlhf.lam 0.9: grpo has none"),
    ({"method": "ppo", "scale_rewards": "none"}, "--rlhf.scale_rewards none: ppo has none"),
    ({"num_generations": 1}, "compares the completions of a prompt with one another"),
    ({"reward_weights": (1.0, 2.0)}, "2 weights for 0 rewards"),
    ({"target_kl": 1.0, "beta": 0.0}, "there is no weight to adapt"),
    ({"max_completion_length": 400}, "leaves none for a prompt"),
    ({"reward_model": "nowhere"}, "there is no such folder"),
    ({"reward": "nowhere.py:f"}, "there is no file"),
    ({"use_vllm": True}, "--rlhf.use_vllm: this run is not on CUDA"),
])
def test_options_that_do_not_go_together(go, rlhf, message):
    with pytest.raises(UserError) as error:
        go(rlhf=rlhf)
    assert message in str(error.value)


def test_without_a_reward_nothing_begins(llama, tmp_path):
    import ftp

    rows = tmp_path / "train.jsonl"
    rows.write_text("\n".join(json.dumps({"prompt": f"Say {number}."}) for number in range(12)))
    with pytest.raises(UserError, match="nothing judges the completions"):
        ftp.run(["rlhf", "files", "-leakage"], model=str(llama), data=str(rows), out=str(tmp_path / "run"), device="cpu",
                max_steps=1)


def test_rewards_are_summed_by_weight_and_see_the_columns(llama, judge, tmp_path):
    """A function gets the columns of the prompts' rows; None is for what it does not judge."""
    import ftp

    rows = tmp_path / "train.jsonl"
    rows.write_text("\n".join(json.dumps({"prompt": f"Say {number}.", "wish": number}) for number in range(12)))
    of_wishes = judge("def f(completions, prompts, wish):\n"
                      "    assert all(prompt[-1]['content'] == f'Say {n}.' for prompt, n in zip(prompts, wish))\n"
                      "    return [float(n) if n % 2 else None for n in wish]\n")
    constant = judge("def g(completion_ids, **rest):\n    return [10.0 for ids in completion_ids]\n", "g")
    result = ftp.run(["rlhf", "files", "-leakage"], model=str(llama), data=str(rows), out=str(tmp_path / "run"), device="cpu",
                     max_steps=1, batch_size=11, logging_steps=1, verify=False, baselines=False, report=False,
                     validation_share=0.1, cache_dir=str(tmp_path / "cache"),
                     rlhf={"reward": (of_wishes, constant), "reward_weights": (2.0, 0.5), "max_completion_length": 4,
                           "num_generations": 2})
    line = steps(result.out)[0]
    assert line["rewards/g"] == 10.0
    assert line["reward"] == pytest.approx(2.0 * line["rewards/f"] + 0.5 * 10.0)


@pytest.mark.parametrize(("kl", "factor"), [(9.0, 1.02), (2.1, 1.005), (2.0, 1.0), (1.8, 0.99), (0.0, 0.98)])
def test_the_weight_of_the_divergence_grows_above_its_target_and_falls_below(rolling, kl, factor):
    """Ziegler et al. 2019, section 2.2: by a tenth of the error, which is clipped to a fifth."""
    import numpy as np

    ours = rolling.ours(target_kl=2.0, beta=0.1)
    ours._adapt(np.array([kl - 0.5, kl + 0.5]))
    assert ours.beta == pytest.approx(0.1 * factor, rel=1e-5)


def test_a_completion_that_nobody_judges_is_an_error(rolling, judge):
    from ftp_rlhf.rewards import Judges

    ours = rolling.ours()
    ours.options.reward = (judge("def f(completions):\n    return [None] * len(completions)\n"),)
    with pytest.raises(UserError, match=r"no reward judges the completion 'Oh\.' of the prompt 'Why\?'"):
        Judges(ours.run, ours.options)([{"prompt": [{"role": "user", "content": "Why?"}]}], ["Oh."], [[1]])


def test_a_reward_model_judges_with_its_own_tokenizer(go, rolling, tmp_path):
    """It gives texts the scores that its finished run gives them, and a run is judged by it; its tokenizer is another one."""
    import ftp
    from ftp_rlhf.reward_model import model_judge
    from ftp_testing.subject import ROWS

    trained = ftp.run(["reward", "-leakage", "-duplicates"], plugins_from=(ROWS,), model=str(tiny("gpt2", tmp_path / "gpt2")),
                      out=str(tmp_path / "scores"), device="cpu", precision="fp32", max_steps=2, verify=False, baselines=False,
                      report=False, cache_dir=str(tmp_path / "cache"))
    rows = [{"prompt": [{"role": "user", "content": asked}]} for asked in ("How are you?", "What is it? I would like to know.")]
    texts = ["Fine.", "It is the soup, of which the waiter knows nothing."]
    rewards = model_judge(rolling.ours().run, trained.out)(rows, texts, [[], []])
    answers = ftp.load(trained.out).predict([{**row, "completion": text} for row, text in zip(rows, texts, strict=True)])
    assert rewards == pytest.approx([answer["answer"] for answer in answers], rel=1e-4, abs=1e-6)
    line = steps(go(max_steps=1, rlhf={"reward_model": str(trained.out), "reward_weights": (2.0,)}).out)[0]
    assert line["reward"] == pytest.approx(2 * line["rewards/reward_model"] + line["rewards/words"], rel=1e-4)
    template = trained.out / "model" / "chat_template.jinja"
    template.write_text(template.read_text().replace("im_start", "im_begin"))
    with pytest.raises(UserError, match="not the one it was trained with"):
        model_judge(rolling.ours().run, trained.out)


def test_a_run_that_is_no_reward_model_is_refused(go, tmp_path):
    first = go(max_steps=1, out="policy")
    with pytest.raises(UserError, match="that run trained no score"):
        go(rlhf={"reward_model": str(first.out)})


# --- completions ---


def test_completions_that_never_end_are_cut_told_and_may_be_left_out(go, monkeypatch):
    """A network that never says its end: completions stop at the limit; masked, they move nothing."""
    from ftp.losses.sampling import Completion
    from ftp_rlhf import rollout

    real = rollout.sample

    def endless(*arguments: Any) -> list[Completion]:
        stop = arguments[3].stop[0]
        return [Completion([token if token != stop else 40 for token in one.ids], False) for one in real(*arguments)]

    monkeypatch.setattr(rollout, "sample", endless)
    result = go(max_steps=2, rlhf={"max_completion_length": 5, "missing_eos_penalty": 3.0})
    lines = steps(result.out)
    assert max(line["completion_length"] for line in lines) <= 5
    assert "did not end within 5 tokens" in log_text(result.out)
    assert all(line["ended"] == 0 for line in lines)
    for method in ("rloo", "grpo", "ppo"):
        options = {"method": method, "max_completion_length": 3, "mask_truncated_completions": True}
        masked = go(max_steps=2, out=method, rlhf=options)
        assert all(line["loss"] == line["grad_norm"] == 0 for line in steps(masked.out))


def test_the_penalty_is_taken_from_what_did_not_end(go, judge):
    zero = judge("def f(completions):\n    return [1.0] * len(completions)\n")
    line = steps(go(max_steps=1, rlhf={"reward": zero, "missing_eos_penalty": 3.0, "max_completion_length": 3}).out)[0]
    words = line.get("rewards/words", 0.0)
    assert line["reward"] == pytest.approx(words + 1.0 - 3.0 * (1 - line["ended"]), abs=1e-5)


def test_an_empty_completion_is_judged_and_trained(rolling):
    """Its one token is the end; a reward model, too, gives it a number."""
    from ftp.losses.sampling import Completion

    ours = rolling.ours()
    stop = ours.talk.stop[0]
    completions = [Completion([stop], True) if number % 2 else Completion([40, 41], False) for number in range(rolling.count)]
    rows = rolling.rows_of(ours, completions)
    out = ours.compute(ours.collate(rows))
    assert torch.isfinite(out.total)
    out.total.backward()
    assert any(weight.grad is not None and weight.grad.abs().sum() > 0 for weight in ours.model.net.parameters())


def test_an_empty_completion_has_a_score_of_a_reward_model(go, tmp_path):
    from transformers import AutoModelForSequenceClassification, AutoTokenizer

    from ftp_rlhf.reward_model import model_judge

    base = tiny("llama", tmp_path / "base")
    folder = tmp_path / "plain"
    AutoModelForSequenceClassification.from_pretrained(base, num_labels=1).save_pretrained(folder)
    AutoTokenizer.from_pretrained(base).save_pretrained(folder)

    from ftp.settings import Settings
    from ftp.train.device import accelerator
    from ftp.types import StartedRun

    settings = Settings(device="cpu", precision="fp32")
    run = StartedRun(settings, None, None, None, None, accelerator(settings))  # type: ignore[arg-type]
    judged = model_judge(run, folder)
    row = {"prompt": [{"role": "user", "content": "Say nothing."}]}
    scores = judged([row, row], ["", "Something."], [[], []])
    assert all(math.isfinite(score) for score in scores if score is not None)
    assert scores[0] != scores[1]


@pytest.mark.parametrize(("missing", "message"), [("pad", ""), ("eos", "the tokenizer has no EOS token")])
def test_tokenizers_without_pad_or_end(go, tmp_path, missing, message):
    from transformers import AutoTokenizer

    folder = tiny("llama", tmp_path / "model")
    tokenizer = AutoTokenizer.from_pretrained(folder)
    setattr(tokenizer, f"{missing}_token", None)
    tokenizer.save_pretrained(folder)
    if message:
        with pytest.raises(UserError, match=message):
            go(folder, max_steps=1)
        assert steps(go(folder, max_steps=1, out="named", rlhf={"eos_token": "<|im_end|>"}).out)
    else:
        result = go(folder, max_steps=2)
        assert all(math.isfinite(line["loss"]) for line in steps(result.out))


def test_long_prompts_are_left_out_and_told(go):
    result = go(max_steps=1, max_length=56, rlhf={"max_completion_length": 12})
    assert "leaves no room for a completion" in log_text(result.out)


def test_a_finished_run_answers_in_the_template_of_its_training(go):
    import ftp

    result = go(max_steps=2, plugins=("lora",))
    back = ftp.load(result.out)
    assert isinstance(back.predict(["How are you?"])[0]["answer"], str)
    assert back.predict([{"instruction": "How", "input": "are you?"}]) == back.predict(["How\n\nare you?"]), "in any spelling"
    template = result.out / "model" / "chat_template.jinja"
    template.write_text(template.read_text().replace("im_start", "im_begin"))
    with pytest.raises(UserError, match="not the one it was trained with"):
        ftp.load(result.out)


@pytest.mark.parametrize(("method", "prompts"), [("grpo", 4), ("ppo", 1)])
def test_two_processes_sample_and_learn_what_one_does(llama, judge, tmp_path, method, prompts):
    """Completions depend on the prompt alone, so the rewards and losses are those of one process; advantages look at all ranks.
    With one prompt a rollout, one of the two processes has none."""
    from ftp_testing import forks
    from ftp_testing.subject import ROWS

    def words(out: str) -> list[str]:
        arguments = {"plugins": "rlhf,-leakage,-duplicates", "plugins-from": ROWS, "model": llama, "device": "cpu",
                     "precision": "fp32", "max-steps": 3, "batch-size": prompts, "logging-steps": 1, "max-eval-rows": 4,
                     "learning-rate": 1e-3, "cache-dir": tmp_path / "cache", "out": tmp_path / out, "rlhf.method": method,
                     "rlhf.target_kl": 1.0, "rlhf.max_completion_length": 8, "rlhf.reward": judge(LETTERS),
                     **({"rlhf.scale_rewards": "batch"} if method == "grpo" else {})}
        flags = [f"--{name}={value}" for name, value in arguments.items()]
        return ["run", *flags, "--no-verify", "--no-baselines", "--no-report"]

    lines = []
    for out, ranks in (("one", 1), ("two", 2)):
        status, text = forks.ends(words(out), ranks)
        assert status == 0, text
        lines.append(steps(tmp_path / out))
    of_one, of_two = lines
    for alone, together in zip(of_one, of_two, strict=True):
        for name in ("loss", "reward", "completion_length", "kl", "grad_norm", "beta"):
            assert alone[name] == pytest.approx(together[name], rel=2e-3, abs=1e-5), (name, alone["step"])
