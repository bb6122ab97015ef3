"""The same weights and completions give the losses and gradients of TRL's GRPO and RLOO, and those of PPO written out."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from ftp.losses.sampling import Completion
from ftp_rlhf import rollout

LENGTH, TEMPERATURE = 10, 0.7
"""As `rolling` has them."""


def words(completions: Any, **columns: Any) -> list[float]:
    return [0.1 * len(text.strip()) + text.count("e") for text in completions]  # TRL leaves blanks at the ends


def gradients(net: torch.nn.Module) -> torch.Tensor:
    return torch.cat([weight.grad.flatten() for _, weight in sorted(net.named_parameters()) if weight.grad is not None])


def near(ours: Any, theirs: Any) -> bool:
    theirs = torch.as_tensor(theirs, dtype=torch.float64)
    difference = torch.as_tensor(ours, dtype=torch.float64) - theirs
    return float(difference.abs().max()) <= 1e-4 * max(1e-2, float(theirs.abs().max()))


def trainer(rolling: Any, kind: str, llama: Path, tmp_path: Path, **options: Any) -> tuple[Any, Any, list[Completion]]:
    """TRL's trainer on the same weights, one generation batch of it, and the completions that it sampled."""
    import trl
    from datasets import Dataset
    from transformers import AutoModelForCausalLM, AutoTokenizer

    config, cls = (trl.GRPOConfig, trl.GRPOTrainer) if kind == "grpo" else (trl.RLOOConfig, trl.RLOOTrainer)
    tokenizer = AutoTokenizer.from_pretrained(llama)
    tokenizer.eos_token = "<|im_end|>"
    size = rolling.count
    args = config(output_dir=str(tmp_path / "trl"), per_device_train_batch_size=size, max_completion_length=LENGTH,
                  num_generations=rolling.count // len(rolling.prompts), temperature=TEMPERATURE, use_cpu=True, bf16=False,
                  report_to=[], disable_tqdm=True, **options)
    trl_trainer = cls(model=AutoModelForCausalLM.from_pretrained(llama), reward_funcs=words, args=args,
                      processing_class=tokenizer, train_dataset=Dataset.from_dict({"prompt": list(rolling.prompts)}))
    if trl_trainer.ref_model is None and args.beta:
        trl_trainer.ref_model = AutoModelForCausalLM.from_pretrained(llama).eval()
    rolling.move(trl_trainer.model)
    template = tokenizer.apply_chat_template
    asked = []
    for text in rolling.prompts:
        prompt = template([{"role": "user", "content": text}], tokenize=False, add_generation_prompt=True)
        asked += [prompt.removeprefix("<s>")] * (rolling.count // len(rolling.prompts))  # the tokenizer adds it again
    torch.manual_seed(1)
    trl_trainer.model.train()
    trl_trainer.current_gradient_accumulation_steps = 1  # as its loop sets it
    inputs = trl_trainer._generate_and_score_completions([{"prompt": text} for text in asked])
    ids = [line[mask.bool()].tolist() for line, mask in zip(inputs["completion_ids"], inputs["completion_mask"], strict=True)]
    stop = tokenizer.convert_tokens_to_ids("<|im_end|>")
    return trl_trainer, inputs, [Completion(line, line[-1] == stop) for line in ids]


def compare(ours: rollout.Roller, theirs: Any, inputs: Any, rows: list[dict[str, Any]], old: torch.Tensor | None = None) -> None:
    """Advantages, losses and gradients of both; with `old`, after the policy has moved away from these log probabilities."""
    for row, advantage in zip(rows, inputs["advantages"].tolist(), strict=True):
        assert row["columns"]["advantages"][0] == pytest.approx(advantage, rel=1e-4, abs=1e-5)
    if old is not None:  # as after some updates on the same rollout: another ratio, some of them clipped
        for row, line in zip(rows, old, strict=True):
            row["old_logps"] = line[: len(row["old_logps"])].tolist()
    ours.model.net.zero_grad()
    theirs.model.zero_grad()
    batch = ours.collate(rows)
    out = ours.compute(batch)
    (out.total / batch.count).backward()
    their_loss = theirs._compute_loss(theirs.model, inputs)
    their_loss.backward()
    assert near(out.total.detach() / batch.count, their_loss.detach())
    assert near(gradients(ours.model.net), gradients(theirs.model))


@pytest.mark.parametrize(("loss_type", "scale", "beta", "moved"), [
    ("grpo", "group", 0.1, False), ("grpo", "batch", 0.1, True), ("bnpo", "none", 0.0, True), ("dr_grpo", "none", 0.1, True),
    ("dapo", "group", 0.0, True),
])
def test_grpo_is_trls(llama, rolling, tmp_path, loss_type, scale, beta, moved):
    options = {"beta": beta, "loss_type": loss_type, "scale_rewards": scale, "epsilon": 0.1, "epsilon_high": 0.15}
    theirs, inputs, completions = trainer(rolling, "grpo", llama, tmp_path, **options)
    ours = rolling.ours(method="grpo", **options)
    rows = rolling.rows_of(ours, completions)
    old = None
    if moved:
        generator = torch.Generator().manual_seed(5)
        logps = [torch.tensor(row["old_logps"]) for row in rows]
        old = torch.stack([torch.nn.functional.pad(line, (0, LENGTH - len(line))) for line in logps])
        old = old + 0.2 * torch.randn(old.shape, generator=generator)
        inputs["old_per_token_logps"] = old[:, : inputs["completion_ids"].shape[1]]
    compare(ours, theirs, inputs, rows, old)


@pytest.mark.parametrize(("beta", "normalize", "moved"), [(0.05, False, False), (0.2, True, True), (0.0, False, True)])
def test_rloo_is_trls(llama, rolling, tmp_path, beta, normalize, moved):
    theirs, inputs, completions = trainer(rolling, "rloo", llama, tmp_path, beta=beta, normalize_advantages=normalize)
    ours = rolling.ours(method="rloo", beta=beta, normalize_advantages=normalize)
    rows = rolling.rows_of(ours, completions)
    if moved:
        generator = torch.Generator().manual_seed(5)
        for number, row in enumerate(rows):
            shift = 0.1 * torch.randn(len(row["old_logps"]), generator=generator)
            row["old_logps"] = (torch.tensor(row["old_logps"]) + shift).tolist()
            inputs["old_logps"][number] += shift.sum()
    compare(ours, theirs, inputs, rows)


def test_ppo_is_the_formula_written_out(rolling):
    """Against rewards, advantages and losses spelled out token by token (Schulman et al. 2016, eq. 11 as the plain double sum;
    Schulman et al. 2017, eq. 7 and 9; Ouyang et al. 2022, eq. 2), with autograd for the gradients."""
    ours = rolling.ours(method="ppo", beta=0.2, gamma=0.9, lam=0.8, vf_coef=0.3, epsilon=0.1, cliprange_value=0.15,
                  missing_eos_penalty=1.5)
    assert ours.extra is not None and ours.extra.value is not None
    torch.nn.init.normal_(ours.extra.value.weight, std=0.3, generator=torch.Generator().manual_seed(2))
    dice = np.random.default_rng(7)
    stop = ours.talk.stop[0]
    completions = []
    for number in range(rolling.count):
        ids = [int(token) for token in dice.integers(10, 300, dice.integers(1, LENGTH))]
        completions.append(Completion([*ids, stop], True) if number % 2 else Completion(ids, False))
    rows = rolling.rows_of(ours, completions)
    tokenizer = ours.model.tokenizer
    net = ours.model.net

    def plain(network: Any, row: dict[str, Any]) -> tuple[torch.Tensor, torch.Tensor]:
        """Log probabilities and values of one completion, from a plain pass over it alone."""
        out = network(input_ids=torch.tensor([row["input_ids"]]), output_hidden_states=True)
        start, end = row["spans"]
        logs = (out.logits[0, start - 1 : end - 1] / TEMPERATURE).log_softmax(-1)
        chosen = torch.tensor(row["input_ids"][start:end])
        return logs.gather(1, chosen[:, None])[:, 0], ours.extra.value(out.hidden_states[-1][0, start - 1 : end - 1])[:, 0]

    every, returns, before, olds = [], [], [], []
    with torch.no_grad():
        for row, completion in zip(rows, completions, strict=True):
            logps, values = plain(net, row)
            with ours.model.reference() as first:
                ref = plain(first, row)[0]
            reward = [-0.2 * float(a - b) for a, b in zip(logps, ref, strict=True)]
            text = tokenizer.decode(completion.ids, skip_special_tokens=True).strip()
            reward[-1] += words([text])[0] - 1.5 * (not completion.ended)
            size = len(reward)
            next_values = [*map(float, values[1:]), 0.0]  # nothing follows the last token
            delta = [reward[t] + 0.9 * next_values[t] - float(values[t]) for t in range(size)]
            advantage = []
            for t in range(size):
                advantage.append(sum((0.9 * 0.8) ** (k - t) * delta[k] for k in range(t, size)))
            every.append(advantage)
            returns.append([a + float(v) for a, v in zip(advantage, values, strict=True)])
            before.append(values)
            olds.append(logps)
    flat = np.concatenate(every)
    shift = torch.Generator().manual_seed(5)
    total = torch.zeros(())
    count = 0
    for row, advantage, target, value_before, old in zip(rows, every, returns, before, olds, strict=True):
        moved = old + 0.15 * torch.randn(old.shape, generator=shift)
        row["old_logps"] = moved.tolist()
        logps, values = plain(net, row)
        for t in range(len(advantage)):
            a = (advantage[t] - flat.mean()) / (flat.std(ddof=1) + 1e-8)
            assert row["columns"]["advantages"][t] == pytest.approx(a, rel=1e-3, abs=1e-4)
            ratio = (logps[t] - moved[t]).exp()
            policy = torch.max(-a * ratio, -a * ratio.clamp(0.9, 1.1))
            clipped = values[t].clamp(value_before[t] - 0.15, value_before[t] + 0.15)
            value = 0.5 * torch.max((values[t] - target[t]) ** 2, (clipped - target[t]) ** 2)
            total = total + policy + 0.3 * value
            count += 1
    weights = [*net.parameters(), *ours.extra.parameters()]
    expected_gradients = torch.autograd.grad(total / count, weights)
    batch = ours.collate(rows)
    out = ours.compute(batch)
    assert batch.count == count
    gradients = torch.autograd.grad(out.total / batch.count, weights)
    assert near(out.total.detach() / count, total.detach() / count)
    for gradient, expected in zip(gradients, expected_gradients, strict=True):
        assert float((gradient - expected).abs().max()) <= 1e-4 * max(1e-3, float(expected.abs().max()))


def test_a_finished_rows_columns_are_plain(rolling):
    """What a rollout carries can be told to a reward function in another language: plain numbers."""
    ours = rolling.ours()
    rows = rolling.rows_of(ours, [Completion([40, 41], False)] * (rolling.count))
    json.dumps(rows)
