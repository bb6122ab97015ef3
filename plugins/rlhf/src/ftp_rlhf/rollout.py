"""Rollouts as the loop asks for them: prompts -> completions, judged -> rows to train on; and the loss over those. Heavy."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

import numpy as np
import torch
from torch import Tensor

from ftp import UserError
from ftp.data import cache_key, read_messages
from ftp.data.turns import Message, Unfit
from ftp.losses import chat_template, conversations, row_limit, stretches, tokens
from ftp.losses.conversations import Chat, tools_of
from ftp.losses.generation import beginning, question
from ftp.losses.sampling import Completion, Sampler, Sampling, sample
from ftp.model import without_dropout
from ftp.types import Batch, Data, Loss, LossOut, Metric, Model, Prediction, Row, StartedRun
from ftp_rlhf import grpo, policy, ppo, rloo
from ftp_rlhf.method import Method, Numbers, Rollout, Terms
from ftp_rlhf.policy import by_row, k3
from ftp_rlhf.rewards import Judged, Judges
from ftp_rlhf.rows import (
    CompletionRow,
    PromptBatch,
    PromptRow,
    batch_of_completions,
    batch_of_prompts,
    completion_row,
)

if TYPE_CHECKING:
    from ftp_rlhf import Rlhf

T = TypeVar("T")

VERSION = 2
EVALUATION, TRAINING = 0, 1
"""What completions are for; a part of what they are drawn from."""

METHODS: Mapping[str, Method] = {"rloo": rloo, "grpo": grpo, "ppo": ppo}


def make(options: Rlhf, run: StartedRun, data: Data, model: Model) -> Loss:
    """The loss of one of the methods; see `ftp.types.Loss.rollout` for how the loop uses it."""
    tokens.refuse_encoder_decoder(model, "rlhf")
    talk = chat_template.of_run(run, data, model, who="rlhf", file=options.chat_template, eos_token=options.eos_token)
    limit = row_limit(run, model)
    if limit - options.max_completion_length < 1:
        raise UserError(f"--rlhf.max_completion_length {options.max_completion_length}: the model takes {limit} tokens in all, "
                        "which leaves none for a prompt",
                        f"a number below {limit}, or a larger --max-length if the model takes more")
    if options.disable_dropout:
        without_dropout(model.net)
    return Roller(options, run, model, talk, limit, bool(data.splits))


@dataclass(frozen=True)
class Scored:
    """Of each completion [tokens]: log probabilities under the policy and under the reference (the same as `logps` where
    nobody asked for it), and the values of a value head (empty without one)."""

    logps: Sequence[Numbers]
    ref_logps: Sequence[Numbers]
    values: Sequence[Numbers]

    def divergences(self) -> list[float]:
        """Of each completion, its KL divergence from the reference, in nats, as estimated at its tokens."""
        pairs = zip(self.logps, self.ref_logps, strict=True)
        return [float(k3(torch.from_numpy(logps), torch.from_numpy(ref_logps)).sum()) for logps, ref_logps in pairs]


class Roller(Loss):
    """The loss of one of the methods. Its rows are prompts (`PromptRow`), or of a rollout (`CompletionRow`)."""

    makes_rows = True

    def __init__(self, options: Rlhf, run: StartedRun, model: Model, talk: Chat, limit: int, trains: bool) -> None:
        self.options = options
        self.run = run
        self.model = model
        self.talk = talk
        self.limit = limit
        self.method = METHODS[options.method]
        has_value_head = options.method == "ppo"
        size = int(model.net.config.get_text_config().hidden_size) if has_value_head else None
        self.extra = None
        if has_value_head or options.target_kl is not None:
            self.extra = policy.Extra(options.beta, size)
        self.judges = Judges(run, options) if trains else None  # a finished run is judged only where it is evaluated again
        self.how = Sampling(options.max_completion_length, options.temperature, options.top_p, options.top_k, talk.stop)
        self.generate: Sampler = sample
        if options.use_vllm:
            from ftp_rlhf.vllm import sampler

            self.generate = sampler(run, model)
        self.name = options.method
        self.key = cache_key(model.tokenizer, "rlhf", VERSION, limit, options.max_completion_length, conversations, stretches,
                             talk.key)
        self.metrics = {"reward": Metric("max"), "kl": Metric("min"), "value_loss": Metric("min")}
        self.reuse = options.num_iterations * options.num_mini_batches

    @property
    def beta(self) -> float:
        """The weight of the KL divergence now."""
        return float(self.options.beta if self.extra is None else self.extra.beta)

    @property
    def value_head(self) -> torch.nn.Linear | None:
        """PPO's; None of other methods."""
        return None if self.extra is None else self.extra.value

    # --- prompts ---

    def encode(self, rows: Sequence[Row]) -> Iterator[PromptRow]:
        """Prompts. One that leaves no room for a completion is left out: cut, it would ask something else."""
        for row_index, row in enumerate(rows):
            prompt = self._prompt(row, row_index, read_messages(row["prompt"], "user"))
            if len(prompt["input_ids"]) <= self.room:
                yield prompt
            else:
                reason = f"their prompt has more than {self.room} tokens, which leaves no room for a completion"
                yield {"kind": "prompt", "row": row_index, "left_out": reason}

    def ask(self, rows: Sequence[Row]) -> Iterator[PromptRow]:
        """What a finished model is asked, spelt in any way."""
        for row_index, row in enumerate(rows):
            prompt = self._prompt(row, row_index, question(row))
            if len(prompt["input_ids"]) > self.room:
                raise UserError(f"a prompt has {len(prompt['input_ids'])} tokens, and the model takes {self.limit} with the "
                                "completion", "shorten it")
            yield prompt

    @property
    def room(self) -> int:
        """Tokens of a prompt at most."""
        return self.limit - self.options.max_completion_length

    def _prompt(self, row: Row, row_index: int, turns: Sequence[Message]) -> PromptRow:
        try:
            if not turns:
                raise Unfit("asks nothing")
            ids = self.talk.prompt(turns, tools_of(row))
        except Unfit as error:
            raise UserError(f"the row that asks {beginning(row)} {error}", "mend it or leave it out") from error
        return {"kind": "prompt", "row": row_index, "input_ids": ids,
                "length": len(ids) + self.options.max_completion_length,
                "question": json.dumps({**row, "prompt": turns}, default=str)}

    def collate(self, rows: Sequence[PromptRow | CompletionRow]) -> Batch:
        """Completions laid out with what the method reads of them; prompts as they are, to be completed in `compute`."""
        prompts = [row for row in rows if row["kind"] == "prompt"]
        if prompts:
            return batch_of_prompts(prompts)
        completions = [row for row in rows if row["kind"] == "completion"]
        return batch_of_completions(self.model, completions, self.method.by_tokens(self.options))

    # --- completions ---

    def complete(self, prompts: Sequence[PromptRow], key: Sequence[int], times: int) -> list[Completion]:
        """`times` completions of each prompt, those of a prompt side by side."""
        if not prompts:
            return []
        keys: list[list[int]] = []
        for prompt in prompts:
            keys += [[self.run.settings.seed, *key, prompt["row"], copy] for copy in range(times)]
        ids = [prompt["input_ids"] for prompt in repeat_each(prompts, times)]
        return self.generate(self.model, ids, keys, self.how, self.run.settings.eval_batch_tokens)

    def texts(self, completions: Sequence[Completion]) -> list[str]:
        """Completions without special tokens."""
        return [self.model.tokenizer.decode(completion.ids, skip_special_tokens=True).strip() for completion in completions]

    def judge(self, prompts: Sequence[PromptRow], completions: Sequence[Completion]) -> tuple[Judged, Numbers]:
        """What completions are worth, and that less the penalty for those that did not end by themselves."""
        self.judges = self.judges or Judges(self.run, self.options)
        rows = [json.loads(prompt["question"]) for prompt in prompts]
        judged = self.judges(rows, self.texts(completions), [completion.ids for completion in completions])
        # a completion that was cut off never said that it is done
        is_endless = np.array([not completion.ended for completion in completions], dtype=np.float64)
        penalty = self.options.missing_eos_penalty or 0.0
        return judged, np.array(judged.total) - penalty * is_endless

    def score(self, rows: Sequence[CompletionRow], with_reference: bool) -> Scored:
        """What policy and reference say of completions. Long ones first, so that memory runs out at once or not at all."""
        order = sorted(range(len(rows)), key=lambda row_index: -len(rows[row_index]["input_ids"]))
        logps, ref_logps, values = ([np.zeros(0)] * len(rows) for _ in range(3))
        training = self.model.net.training
        self.model.net.eval()
        while order:
            size = max(1, self.run.settings.micro_batch_tokens // len(rows[order[0]]["input_ids"]))
            part, order = order[:size], order[size:]
            batch = tokens.collate(self.model, [rows[row_index] for row_index in part])
            scores = policy.score_tokens(self.model.net, batch, self.options.temperature, self.value_head)
            columns = [(logps, scores.logps)]
            if with_reference:
                columns.append((ref_logps, self._reference_logps(batch)))
            if scores.values is not None:
                columns.append((values, scores.values))
            lengths = [len(rows[row_index]["input_ids"]) - rows[row_index]["spans"][0] for row_index in part]  # completions
            for column, terms in columns:
                for row_index, row_terms in zip(part, terms.cpu().split(lengths), strict=True):
                    column[row_index] = row_terms.numpy().astype(np.float64)
        self.model.net.train(training)
        return Scored(logps, ref_logps if with_reference else logps, values)

    def _reference_logps(self, batch: Batch) -> Tensor:
        if self.model.reference is None:
            raise UserError("the weights that the model had before its run are not at hand, and the KL divergence compares with "
                            "them", "--rlhf.beta 0 does without")
        with self.model.reference() as net:
            return policy.score_tokens(net, batch, self.options.temperature).logps

    # --- rollouts ---

    @torch.no_grad()  # type: ignore[untyped-decorator,unused-ignore]
    def rollout(self, prompts: Sequence[PromptRow], number: int) -> list[list[CompletionRow]]:
        """Complete and judge the prompts, and give the rows of each update on them."""
        options = self.options
        with self.run.accelerator.autocast():
            completions = self.complete(prompts, [TRAINING, number + 1], options.num_generations)
            prompt_of_each = repeat_each(prompts, options.num_generations)
            judged, rewards = self.judge(prompt_of_each, completions)
            rows = list(map(completion_row, prompt_of_each, completions))
            beta = self.beta
            scored = self.score(rows, with_reference=beta > 0)
        rollout = Rollout(rewards, scored.logps, scored.ref_logps, scored.values, beta)
        columns = self.method.columns(rollout, options, self.gather)
        # of this rank alone; `_adapt` gathers them
        kl = scored.divergences()
        reward_spread = self._reward_spread(rewards)
        mean_length = float(self.gather([float(len(completion.ids)) for completion in completions]).mean())
        for i, (row, completion) in enumerate(zip(rows, completions, strict=True)):
            row["old_logps"] = scored.logps[i].tolist()
            row["ref_logps"] = scored.ref_logps[i].tolist() if beta > 0 else []
            row["columns"] = columns[i]
            row["is_kept"] = completion.ended or not options.mask_truncated_completions
            row["tokens_per_row"] = mean_length
            row["metrics"] = {"reward": float(rewards[i]), "reward_std": reward_spread[i],
                              "completion_length": float(len(completion.ids)), "ended": float(completion.ended)}
            if beta > 0:
                row["metrics"] |= {"kl": kl[i], "beta": beta}
            row["metrics"] |= judged.parts_of(i)
        if number >= 0:
            self._adapt(self.gather(kl))
        if number == 0:
            self._tell_endless(self.gather([float(completion.ended) for completion in completions]))
        return self._updates(rows, number)

    def _updates(self, rows: Sequence[CompletionRow], number: int) -> list[list[CompletionRow]]:
        """The rows of each update: passes over all of them, in a new order each. With fewer rows than updates some come twice,
        as no update is empty."""
        updates: list[list[CompletionRow]] = []
        for iteration in range(self.options.num_iterations):
            # drawn from nothing but the seed and the rollout, so that a resumed run makes the same updates
            order = np.random.default_rng([self.run.settings.seed, number + 1, iteration]).permutation(len(rows))
            if len(order):
                order = np.resize(order, max(len(order), self.options.num_mini_batches))
            for mini_batch in np.array_split(order, self.options.num_mini_batches):
                updates.append([rows[row_index] for row_index in np.sort(mini_batch)])
        return updates

    def _reward_spread(self, rewards: Numbers) -> list[float]:
        """How far the rewards of each completion's prompt lie apart."""
        groups = rewards.reshape(-1, self.options.num_generations)
        spreads: list[float] = groups.std(1).repeat(self.options.num_generations).tolist()
        return spreads

    def _adapt(self, kl: Numbers) -> None:
        """Ziegler et al. 2019, section 2.2: a weight that grows while the divergence is above its target, and falls below."""
        if self.extra is not None and self.options.target_kl is not None and len(kl):
            error = np.clip(kl.mean() / self.options.target_kl - 1, -0.2, 0.2)
            self.extra.beta.mul_(1 + 0.1 * float(error))

    def _tell_endless(self, ended: Numbers) -> None:
        if len(ended) and ended.mean() < 0.5:
            self.run.tell(f"{int(len(ended) - ended.sum())} of {len(ended)} completions of the first rollout did not end within "
                          f"{self.options.max_completion_length} tokens and are judged as they are: --rlhf.max_completion_length "
                          "allows more, --rlhf.missing_eos_penalty and --rlhf.mask_truncated_completions treat them otherwise")

    def gather(self, mine: Sequence[float] | Numbers) -> Numbers:
        """The numbers of all ranks."""
        from accelerate.utils import gather_object

        values = [float(value) for value in mine]
        if self.run.accelerator.num_processes > 1:
            values = gather_object(values)
        return np.array(values, dtype=np.float64)

    # --- the loss ---

    def compute(self, batch: Batch) -> LossOut:
        """The method's loss over completions; for prompts (evaluation) minus what their completions are worth."""
        if isinstance(batch, PromptBatch):
            out: LossOut = self.evaluate(batch.prompts)
            return out
        inputs = batch.inputs
        scores = policy.score_tokens(self.model.net, batch, self.options.temperature, self.value_head)
        beta = torch.tensor(self.options.beta, device=scores.logps.device) if self.extra is None else self.extra.beta
        terms = Terms(inputs["lengths"], inputs["kept"], scores.logps, inputs["old_logps"], inputs["ref_logps"],
                      inputs["columns"], beta, scores.values)
        losses, shown = self.method.losses(terms, self.options, inputs["tokens_per_row"])
        metrics = {name: value.detach().sum() for name, value in shown.items()}
        metrics["entropy"] = terms.mean(scores.entropies).sum()
        for name in inputs["metrics"][0]:
            metrics[name] = torch.tensor(sum(row_metrics[name] for row_metrics in inputs["metrics"]), device=losses.device)
        counts = by_row(inputs["kept"], inputs["lengths"]) if self.method.by_tokens(self.options) else torch.ones_like(losses)
        return LossOut(losses.sum(), metrics, losses.detach(), counts)

    @torch.no_grad()  # type: ignore[untyped-decorator,unused-ignore]
    def evaluate(self, prompts: Sequence[PromptRow]) -> LossOut:
        """One completion a prompt, drawn from the same numbers at each evaluation. The loss is what is minimised: minus the mean
        of reward less weighted KL divergence."""
        device = next(self.model.net.parameters()).device
        has_reference = self.model.reference is not None
        # the same draws each time, so that evaluations differ by the weights alone
        completions = self.complete(prompts, [EVALUATION], 1)
        judged, rewards = self.judge(prompts, completions)
        scored = self.score(list(map(completion_row, prompts, completions)), with_reference=has_reference)
        kl = np.array(scored.divergences())
        losses = torch.tensor(-(rewards - self.beta * kl), device=device, dtype=torch.float32)
        sums = {"reward": float(rewards.sum()), "completion_length": sum(len(completion.ids) for completion in completions),
                "ended": sum(completion.ended for completion in completions)}
        if has_reference:
            sums["kl"] = float(kl.sum())
        for i in range(len(completions)):
            for name, value in judged.parts_of(i).items():
                sums[name] = sums.get(name, 0.0) + value
        metrics = {name: torch.tensor(float(value), device=device) for name, value in sums.items()}
        return LossOut(losses.sum(), metrics, losses, torch.ones_like(losses), outputs=completions)

    def answer(self, batch: Batch, out: LossOut | None) -> list[Prediction]:
        """The completions, as text."""
        assert isinstance(batch, PromptBatch)
        completions = out.outputs if out is not None else self.complete(batch.prompts, [EVALUATION], 1)
        return [Prediction(text) for text in self.texts(completions)]


def repeat_each(items: Sequence[T], times: int) -> list[T]:
    """Each item `times` times, side by side."""
    repeated: list[T] = []
    for item in items:
        repeated += [item] * times
    return repeated
