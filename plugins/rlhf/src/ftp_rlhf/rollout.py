"""Rollouts as the loop asks for them: prompts -> completions, judged -> rows to train on; and the loss over those. Heavy."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from importlib import import_module
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from ftp import UserError
from ftp.data import cache_key, read_messages
from ftp.data.turns import Message, Unfit
from ftp.losses import TokenRow, chat_template, conversations, row_limit, stretches, tokens
from ftp.losses.conversations import Chat, tools_of
from ftp.losses.generation import beginning, question
from ftp.losses.sampling import Completion, Sampler, Sampling, sample
from ftp.model import without_dropout
from ftp.types import Batch, Data, EncodedRow, Loss, LossOut, Metric, Model, Prediction, Row, StartedRun
from ftp_rlhf import policy
from ftp_rlhf.method import Columns, Numbers, Rolled, Terms
from ftp_rlhf.policy import by_row, k3
from ftp_rlhf.rewards import Judged, Judges

if TYPE_CHECKING:
    from ftp_rlhf import Rlhf

VERSION = 1
EVALUATION, TRAINING = 0, 1
"""What completions are for; a part of what they are drawn from."""


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


class PromptRow(EncodedRow, total=False):
    """A prompt up to where the assistant answers. `question`: the whole row as JSON, for rewards."""

    question: str


class CompletionRow(TokenRow, total=False):
    """A prompt with a completion, which is learnt. `old`, `ref`: of each of its tokens the log probability at the rollout and
    under the reference (without a divergence to hold: none). `kept`: whether it is learnt from. `told`: what is shown of it.
    `tokens_per_row`: mean length of the rollout's completions. `method`: what the method's `columns` gave, a number a token."""

    old: list[float]
    ref: list[float]
    kept: bool
    told: dict[str, float]
    tokens_per_row: float
    method: Columns


class Roller(Loss):
    """The loss of one of the methods. Its rows are prompts (`PromptRow`), or of a rollout (`CompletionRow`)."""

    makes_rows = True

    def __init__(self, options: Rlhf, run: StartedRun, model: Model, talk: Chat, limit: int, trains: bool) -> None:
        self.options, self.run, self.model, self.talk, self.limit = options, run, model, talk, limit
        self.method = import_module(f"ftp_rlhf.{options.method}")
        size = int(model.net.config.get_text_config().hidden_size) if options.method == "ppo" else None
        self.extra = policy.Extra(options.beta, size) if options.method == "ppo" or options.target_kl is not None else None
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

    # --- prompts ---

    def encode(self, rows: Sequence[Row]) -> Iterator[PromptRow]:
        """Prompts. One that leaves no room for a completion is left out: cut, it would ask something else."""
        for number, row in enumerate(rows):
            prompt = self._prompt(row, read_messages(row["prompt"], "user"))
            if len(prompt["input_ids"]) <= self.room:
                yield {**prompt, "row": number}
            else:
                why = f"their prompt has more than {self.room} tokens, which leaves no room for a completion"
                yield {"row": number, "left_out": why}

    def ask(self, rows: Sequence[Row]) -> Iterator[PromptRow]:
        """What a finished model is asked, spelt in any way."""
        for number, row in enumerate(rows):
            prompt = self._prompt(row, question(row))
            if len(prompt["input_ids"]) > self.room:
                raise UserError(f"a prompt has {len(prompt['input_ids'])} tokens, and the model takes {self.limit} with the "
                                "completion", "shorten it")
            yield {**prompt, "row": number}

    @property
    def room(self) -> int:
        """Tokens of a prompt at most."""
        return self.limit - self.options.max_completion_length

    def _prompt(self, row: Row, turns: Sequence[Message]) -> PromptRow:
        try:
            if not turns:
                raise Unfit("asks nothing")
            ids = self.talk.prompt(turns, tools_of(row))
        except Unfit as error:
            raise UserError(f"the row that asks {beginning(row)} {error}", "mend it or leave it out") from error
        return {"input_ids": ids, "length": len(ids) + self.options.max_completion_length,
                "question": json.dumps({**row, "prompt": turns}, default=str)}

    def collate(self, rows: Sequence[Any]) -> Batch:
        """Completions laid out with what the method reads of them; prompts as they are, to be completed in `compute`."""
        if rows[0].get("old") is None:
            return Batch({"prompts": list(rows)}, count=len(rows), rows=len(rows), tokens=sum(row["length"] for row in rows))
        return self._completions(rows)

    def _completions(self, rows: Sequence[CompletionRow]) -> Batch:
        laid = tokens.collate(self.model, rows)
        lengths = [len(row["old"]) for row in rows]
        device, kept = laid.inputs["input_ids"].device, sum(len(row["old"]) for row in rows if row["kept"])
        values: dict[str, list[float]] = {"old": [], "ref": [], **{name: [] for name in rows[0]["method"]}}
        for row in rows:
            values["old"] += row["old"]
            values["ref"] += row["ref"]
            for name, column in row["method"].items():
                values[name] += column
        columns = {name: torch.tensor(column, device=device) for name, column in values.items() if column}
        beside = {"lengths": lengths, "columns": columns, "told": [row["told"] for row in rows],
                  "kept": torch.tensor([float(row["kept"]) for row in rows for _ in row["old"]], device=device),
                  "tokens_per_row": torch.tensor([row["tokens_per_row"] for row in rows], device=device)}
        # a batch of which nothing is kept counts for one term of loss 0, as none would divide by zero
        count = max(1, kept) if self.method.by_tokens(self.options) else len(rows)
        return Batch({**laid.inputs, **beside}, count=count, rows=len(rows), tokens=laid.tokens)

    # --- completions ---

    def complete(self, prompts: Sequence[PromptRow], key: Sequence[int], times: int) -> list[Completion]:
        """`times` completions of each prompt, those of a prompt side by side."""
        seed = self.run.settings.seed
        asked = [row["input_ids"] for row in prompts for _ in range(times)]
        keys = [[seed, *key, int(row.get("row", 0)), number] for row in prompts for number in range(times)]
        return self.generate(self.model, asked, keys, self.how, self.run.settings.eval_batch_tokens) if asked else []

    def texts(self, made: Sequence[Completion]) -> list[str]:
        return [self.model.tokenizer.decode(one.ids, skip_special_tokens=True).strip() for one in made]

    def judge(self, rows: Sequence[PromptRow], made: Sequence[Completion]) -> tuple[Judged, Numbers]:
        """What completions are worth, and that less the penalty for those that did not end by themselves."""
        self.judges = self.judges or Judges(self.run, self.options)
        judged = self.judges([json.loads(row["question"]) for row in rows], self.texts(made), [one.ids for one in made])
        penalty = self.options.missing_eos_penalty or 0.0
        return judged, np.array([value - penalty * (not one.ended) for value, one in zip(judged.total, made, strict=True)])

    def look(self, rows: Sequence[CompletionRow], reference: bool) -> tuple[list[Numbers], list[Numbers], list[Numbers]]:
        """Log probabilities of completions under the policy and under the reference, and their values; of each [tokens]."""
        order = sorted(range(len(rows)), key=lambda place: -len(rows[place]["input_ids"]))
        empty = np.zeros(0)
        logps, ref, values = ([empty] * len(rows) for _ in range(3))
        value = self.extra.value if self.extra is not None else None
        training = self.model.net.training
        self.model.net.eval()
        while order:
            most = max(1, self.run.settings.micro_batch_tokens // len(rows[order[0]]["input_ids"]))
            part, order = order[:most], order[most:]
            laid = tokens.collate(self.model, [rows[place] for place in part]).inputs
            lengths = [rows[place]["spans"][1] - rows[place]["spans"][0] for place in part]
            seen = policy.look(self.model.net, laid, self.options.temperature, value)
            found = [(logps, seen.logps)]
            if reference:
                found.append((ref, self._reference(laid)))
            if seen.values is not None:
                found.append((values, seen.values))
            for column, terms in found:
                for place, line in zip(part, terms.cpu().split(lengths), strict=True):
                    column[place] = line.numpy().astype(np.float64)
        self.model.net.train(training)
        return logps, ref if reference else logps, values

    def _reference(self, laid: Mapping[str, Any]) -> Tensor:
        if self.model.reference is None:
            raise UserError("the weights that the model had before its run are not at hand, and the KL divergence compares with "
                            "them", "--rlhf.beta 0 does without")
        with self.model.reference() as net:
            return policy.look(net, laid, self.options.temperature).logps

    # --- rollouts ---

    @torch.no_grad()  # type: ignore[untyped-decorator,unused-ignore]
    def rollout(self, prompts: Sequence[PromptRow], number: int) -> list[list[CompletionRow]]:
        """Complete and judge the prompts, and give the rows of each update on them."""
        options, accelerator = self.options, self.run.accelerator
        with accelerator.autocast():
            made = self.complete(prompts, [TRAINING, number + 1], options.num_generations)
            asked = [row for row in prompts for _ in range(options.num_generations)]
            judged, rewards = self.judge(asked, made)
            rows = [laid_out(row, one) for row, one in zip(asked, made, strict=True)]
            beta = self.beta
            logps, ref, values = self.look(rows, reference=beta > 0)
        columns: list[Columns] = self.method.columns(Rolled(rewards, logps, ref, values, beta), options, self.gather)
        kl = divergences(logps, ref)
        told = [{"reward": reward, "reward_std": size, "completion_length": float(len(one.ids)), "ended": float(one.ended),
                 **({"kl": divergence, "beta": beta} if beta > 0 else {}),
                 **({f"rewards/{name}": part[place] for name, part in judged.parts.items()} if len(judged.parts) > 1 else {})}
                for place, (reward, size, one, divergence)
                in enumerate(zip(rewards, self._spread(rewards), made, kl, strict=True))]
        lengths = self.gather([float(len(one.ids)) for one in made])
        for row, one, old, other, more, shown in zip(rows, made, logps, ref, columns, told, strict=True):
            row["old"] = old.tolist()
            row["ref"] = other.tolist() if beta > 0 else []
            row["method"] = more
            row["told"] = shown
            row["kept"] = one.ended or not options.mask_truncated_completions
            row["tokens_per_row"] = float(lengths.mean())
        if number >= 0:
            self._adapt(self.gather(kl))
        if number == 0:
            self._tell_endless(self.gather([float(one.ended) for one in made]))
        return self._updates(rows, number)

    def _updates(self, rows: Sequence[CompletionRow], number: int) -> list[list[CompletionRow]]:
        """The rows of each update: passes over all of them, in a new order each. With fewer rows than updates some come twice,
        as no update is empty."""
        found = []
        for passed in range(self.options.num_iterations):
            order = np.random.default_rng([self.run.settings.seed, number + 1, passed]).permutation(len(rows))
            order = np.resize(order, max(len(order), self.options.num_mini_batches)) if len(order) else order
            found += [[rows[place] for place in np.sort(part)] for part in np.array_split(order, self.options.num_mini_batches)]
        return found

    def _spread(self, rewards: Numbers) -> list[float]:
        """How far the rewards of each completion's prompt lie apart."""
        groups = rewards.reshape(-1, self.options.num_generations)
        return [float(size) for size in groups.std(1) for _ in range(groups.shape[1])]

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
        return np.array(gather_object(values) if self.run.accelerator.num_processes > 1 else values, dtype=np.float64)

    # --- the loss ---

    def compute(self, batch: Batch) -> LossOut:
        """The method's loss over completions; for prompts (evaluation) minus what their completions are worth."""
        if "prompts" in batch.inputs:
            out: LossOut = self.evaluate(batch.inputs["prompts"])
            return out
        inputs = batch.inputs
        seen = policy.look(self.model.net, inputs, self.options.temperature, self.extra.value if self.extra is not None else None)
        beta = torch.tensor(self.options.beta, device=seen.logps.device) if self.extra is None else self.extra.beta
        terms = Terms(inputs["lengths"], inputs["kept"], seen.logps, inputs["columns"], beta, seen.values)
        losses, shown = self.method.losses(terms, self.options, inputs["tokens_per_row"])
        metrics = {**{name: value.detach().sum() for name, value in shown.items()}, "entropy": terms.mean(seen.entropies).sum()}
        for name in inputs["told"][0]:
            metrics[name] = torch.tensor(sum(one[name] for one in inputs["told"]), device=losses.device)
        counts = by_row(inputs["kept"], inputs["lengths"]) if self.method.by_tokens(self.options) else torch.ones_like(losses)
        return LossOut(losses.sum(), metrics, losses.detach(), counts)

    @torch.no_grad()  # type: ignore[untyped-decorator,unused-ignore]
    def evaluate(self, prompts: Sequence[PromptRow]) -> LossOut:
        """One completion a prompt, drawn from the same numbers at each evaluation. The loss is what is minimised: minus the mean
        of reward less weighted KL divergence."""
        device = next(self.model.net.parameters()).device
        made = self.complete(prompts, [EVALUATION], 1)
        judged, rewards = self.judge(prompts, made)
        rows = [laid_out(row, one) for row, one in zip(prompts, made, strict=True)]
        logps, ref, _ = self.look(rows, reference=self.model.reference is not None)
        kl = np.array(divergences(logps, ref))
        shown = {"reward": rewards, "completion_length": np.array([len(one.ids) for one in made]),
                 "ended": np.array([one.ended for one in made]), **({"kl": kl} if self.model.reference is not None else {}),
                 **({f"rewards/{name}": np.array(part) for name, part in judged.parts.items()} if len(judged.parts) > 1 else {})}
        losses = torch.tensor(-(rewards - self.beta * kl), device=device, dtype=torch.float32)
        metrics = {name: torch.tensor(float(value.sum()), device=device) for name, value in shown.items()}
        return LossOut(losses.sum(), metrics, losses, torch.ones_like(losses), outputs=made)

    def answer(self, batch: Batch, out: LossOut | None) -> list[Prediction]:
        """The completions, as text."""
        made = out.outputs if out is not None else self.complete(batch.inputs["prompts"], [EVALUATION], 1)
        return [Prediction(text) for text in self.texts(made)]


def laid_out(row: EncodedRow, one: Completion) -> CompletionRow:
    """A prompt with its completion as an encoded row of which the completion is trained."""
    ids = [*row["input_ids"], *one.ids]
    return {"row": row["row"], "input_ids": ids, "spans": [len(row["input_ids"]), len(ids)], "length": len(ids)}


def divergences(logps: Sequence[Numbers], ref: Sequence[Numbers]) -> list[float]:
    """Of each completion, its KL divergence from the reference, in nats, as estimated at its tokens."""
    return [float(k3(torch.from_numpy(one), torch.from_numpy(other)).sum()) for one, other in zip(logps, ref, strict=True)]
