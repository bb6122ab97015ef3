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


def near(one: Any, other: Any) -> bool:
    one, other = (torch.as_tensor(value, dtype=torch.float64) for value in (one, other))
    return float((one - other).abs().max()) <= 1e-4 * max(1e-2, float(other.abs().max()))


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
    made = cls(model=AutoModelForCausalLM.from_pretrained(llama), reward_funcs=words, args=args, processing_class=tokenizer,
               train_dataset=Dataset.from_dict({"prompt": list(rolling.prompts)}))
    if made.ref_model is None and args.beta:
        made.ref_model = AutoModelForCausalLM.from_pretrained(llama).eval()
    rolling.move(made.model)
    template = tokenizer.apply_chat_template
    asked = [template([{"role": "user", "content": text}], tokenize=False, add_generation_prompt=True).removeprefix("<s>")
             for text in rolling.prompts for _ in range(rolling.count // len(rolling.prompts))]
    torch.manual_seed(1)
    made.model.train()
    made.current_gradient_accumulation_steps = 1  # as its loop sets it
    inputs = made._generate_and_score_completions([{"prompt": text} for text in asked])
    ids = [line[mask.bool()].tolist() for line, mask in zip(inputs["completion_ids"], inputs["completion_mask"], strict=True)]
    stop = tokenizer.convert_tokens_to_ids("<|im_end|>")
    return made, inputs, [Completion(line, line[-1] == stop) for line in ids]


def compare(ours: rollout.Roller, theirs: Any, inputs: Any, rows: list[dict[str, Any]], old: torch.Tensor | None = None) -> None:
    """Advantages, losses and gradients of both; with `old`, after the policy has moved away from these log probabilities."""
    for row, wanted in zip(rows, inputs["advantages"].tolist(), strict=True):
        assert row["columns"]["advantages"][0] == pytest.approx(wanted, rel=1e-4, abs=1e-5)
    if old is not None:  # as after some updates on the same rollout: another ratio, some of them clipped
        for row, line in zip(rows, old, strict=True):
            row["old_logps"] = line[: len(row["old_logps"])].tolist()
    ours.model.net.zero_grad()
    theirs.model.zero_grad()
    batch = ours.collate(rows)
    out = ours.compute(batch)
    (out.total / batch.count).backward()
    wanted = theirs._compute_loss(theirs.model, inputs)
    wanted.backward()
    assert near(out.total.detach() / batch.count, wanted.detach())
    assert near(gradients(ours.model.net), gradients(theirs.model))


@pytest.mark.parametrize(("loss_type", "scale", "beta", "moved"), [
    ("grpo", "group", 0.1, False), ("grpo", "batch", 0.1, True), ("bnpo", "none", 0.0, True), ("dr_grpo", "none", 0.1, True),
    ("dapo", "group", 0.0, True),
])
def test_grpo_is_trls(llama, rolling, tmp_path, loss_type, scale, beta, moved):
    options = {"beta": beta, "loss_type": loss_type, "scale_rewards": scale, "epsilon": 0.1, "epsilon_high": 0.15}
    theirs, inputs, made = trainer(rolling, "grpo", llama, tmp_path, **options)
    ours = rolling.ours(method="grpo", **options)
    rows = rolling.given(ours, made)
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
    theirs, inputs, made = trainer(rolling, "rloo", llama, tmp_path, beta=beta, normalize_advantages=normalize)
    ours = rolling.ours(method="rloo", beta=beta, normalize_advantages=normalize)
    rows = rolling.given(ours, made)
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
    dice, stop = np.random.default_rng(7), ours.talk.stop[0]
    made = []
    for number in range(rolling.count):
        ids = [int(token) for token in dice.integers(10, 300, dice.integers(1, LENGTH))]
        made.append(Completion([*ids, stop], True) if number % 2 else Completion(ids, False))
    rows = rolling.given(ours, made)
    tokens, net = ours.model.tokenizer, ours.model.net

    def plain(network: Any, row: dict[str, Any]) -> tuple[torch.Tensor, torch.Tensor]:
        """Log probabilities and values of one completion, from a plain pass over it alone."""
        out = network(input_ids=torch.tensor([row["input_ids"]]), output_hidden_states=True)
        start, end = row["spans"]
        logs = (out.logits[0, start - 1 : end - 1] / TEMPERATURE).log_softmax(-1)
        chosen = torch.tensor(row["input_ids"][start:end])
        return logs.gather(1, chosen[:, None])[:, 0], ours.extra.value(out.hidden_states[-1][0, start - 1 : end - 1])[:, 0]

    every, returns, before, olds = [], [], [], []
    with torch.no_grad():
        for row, one in zip(rows, made, strict=True):
            logps, values = plain(net, row)
            with ours.model.reference() as first:
                ref = plain(first, row)[0]
            reward = [-0.2 * float(a - b) for a, b in zip(logps, ref, strict=True)]
            text = tokens.decode(one.ids, skip_special_tokens=True).strip()
            reward[-1] += words([text])[0] - 1.5 * (not one.ended)
            size = len(reward)
            delta = [reward[t] + (0.9 * float(values[t + 1]) if t + 1 < size else 0.0) - float(values[t]) for t in range(size)]
            advantage = [sum((0.9 * 0.8) ** (k - t) * delta[k] for k in range(t, size)) for t in range(size)]
            every.append(advantage)
            returns.append([a + float(v) for a, v in zip(advantage, values, strict=True)])
            before.append(values)
            olds.append(logps)
    flat = np.array([value for line in every for value in line])
    shift = torch.Generator().manual_seed(5)
    total, count = torch.zeros(()), 0
    for row, advantage, wanted, value_before, old in zip(rows, every, returns, before, olds, strict=True):
        moved = old + 0.15 * torch.randn(old.shape, generator=shift)
        row["old_logps"] = moved.tolist()
        logps, values = plain(net, row)
        for t in range(len(advantage)):
            a = (advantage[t] - flat.mean()) / (flat.std(ddof=1) + 1e-8)
            assert row["columns"]["advantages"][t] == pytest.approx(a, rel=1e-3, abs=1e-4)
            ratio = (logps[t] - moved[t]).exp()
            policy = torch.max(-a * ratio, -a * ratio.clamp(0.9, 1.1))
            low, high = value_before[t] - 0.15, value_before[t] + 0.15
            value = 0.5 * torch.max((values[t] - wanted[t]) ** 2, (values[t].clamp(low, high) - wanted[t]) ** 2)
            total, count = total + policy + 0.3 * value, count + 1
    parts = (net, ours.extra)
    wanted_gradients = torch.autograd.grad(total / count, [weight for part in parts for weight in part.parameters()])
    batch = ours.collate(rows)
    out = ours.compute(batch)
    assert batch.count == count
    found = torch.autograd.grad(out.total / batch.count, [weight for part in parts for weight in part.parameters()])
    assert near(out.total.detach() / count, total.detach() / count)
    for one, other in zip(found, wanted_gradients, strict=True):
        assert float((one - other).abs().max()) <= 1e-4 * max(1e-3, float(other.abs().max()))


def test_a_finished_rows_columns_are_plain(rolling):
    """What a rollout carries can be told to a reward function in another language: plain numbers."""
    ours = rolling.ours()
    rows = rolling.given(ours, [Completion([40, 41], False)] * (rolling.count))
    json.dumps(rows)
