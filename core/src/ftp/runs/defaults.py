"""What core does by default, as plugins: each can be replaced by a plugin's answer or left out with `-name`."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext, suppress
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from ftp import forms, heads
from ftp.hooks import hookimpl
from ftp.options import option
from ftp.plugins.declare import plugin
from ftp.types import Batch, Data, Evaluation, Loss, LossOut, Model, Predictions, Risk, Row, Run, Score, StartedRun, StepOut

if TYPE_CHECKING:
    import numpy as np
    from torch.optim import Optimizer
    from transformers import PreTrainedTokenizerBase


@plugin(kind="core")
class Checkpoint:
    """Load the network from a checkpoint, with the head of the task."""

    @hookimpl(trylast=True)
    def build_model(self, run: Run, data: Data) -> Model:
        from ftp import model
        from ftp.losses.used_tokens import used
        from ftp.model.growing import NewTokens
        from ftp.model.token_rows import untrained

        settings = run.settings
        source = model.find(settings.model, run.task.head, settings.revision)
        template, eos_token = _chat_options(run)
        new = NewTokens(settings.add_tokens, template, settings.resize_embeddings)
        loaded = model.load(source, run.task.head, data.labels, seed=settings.seed,
                            trust_remote_code=settings.trust_remote_code, new_tokens=new)
        tokenizer = loaded.tokenizer
        if loaded.fresh_tokens:
            added = ", ".join(map(str, tokenizer.convert_ids_to_tokens(list(loaded.fresh_tokens))))
            run.tell(f"tokens with new rows: {added}")
        named = {int(token) for token in tokenizer.convert_tokens_to_ids(list(settings.add_tokens))}
        tokens = used(tokenizer, data, template, eos_token, split_special_tokens=settings.split_special_tokens)
        unseen: set[int] = set()
        if hasattr(data.splits.get("train"), "num_rows"):  # a stream is not searched
            unseen = named - set(tokens)
        _tell_needless(run, tokenizer, named - set(loaded.fresh_tokens), unseen)
        fresh_tokens = {*loaded.fresh_tokens, *named, *untrained(loaded.net, tokens)}
        loaded = replace(loaded, fresh_tokens=tuple(sorted(fresh_tokens)))
        # a plan has no device, and reads no rows through the network
        if isinstance(run, StartedRun):
            from ftp.model import head_start

            loaded = head_start.begin(run, data, loaded)
        return loaded


def _tell_needless(run: Run, tokenizer: PreTrainedTokenizerBase, known: set[int], unseen: set[int]) -> None:
    """Say which tokens of `--add-tokens` the tokenizer had before, and which no training row or template has (a typo, mostly)."""
    from ftp.losses.used_tokens import ROWS

    def names(ids: set[int]) -> str:
        return ", ".join(map(str, tokenizer.convert_ids_to_tokens(sorted(ids))))

    if known:
        run.tell(f"--add-tokens: the model has {names(known)} already, so nothing is added for it")
    if unseen:
        run.tell(f"--add-tokens: {names(unseen)} stands in none of the first {ROWS} training rows as a token, and in no chat "
                 "template, so that the run learns nothing of it; see that it is spelt as in the rows")


def _chat_options(run: Run) -> tuple[str | None, str | None]:
    """The chat template and the end of an answer that a plugin of the run has as options, by the names that all objectives on
    messages share. A file that cannot be read is left to the plugin, which says so."""
    template: str | None = None
    eos_token: str | None = None
    for plugin_object in run.hooks.plugins.values():
        file = getattr(plugin_object, "chat_template", None)
        if isinstance(file, Path):
            with suppress(OSError, UnicodeDecodeError):
                template = file.read_text(encoding="utf-8")
        own_token = getattr(plugin_object, "eos_token", None)
        if isinstance(own_token, str):
            eos_token = own_token
    return template, eos_token


@plugin(kind="core")
class HeadLoss:
    """Train the loss of the task's head where no objective is named."""

    @hookimpl(trylast=True)
    def make_loss(self, run: StartedRun, data: Data, model: Model) -> Loss:
        from ftp import losses

        return losses.for_head(run, data, model)


@plugin(kind="core")
class Step:
    """Train with AdamW on shuffled rows: their order, the optimizer, the schedule of its rate, and each update."""

    @hookimpl(trylast=True)
    def order_rows(
        self, run: StartedRun, data: Data, lengths: np.ndarray, rows: np.ndarray, epoch: int
    ) -> list[np.ndarray]:
        if run.settings.domain_shares:
            from ftp.data import domains

            return domains.deal(run.settings, data.splits["train"][domains.COLUMN], lengths, rows, epoch)
        from ftp.data.updates import shuffled

        return shuffled(run.settings, lengths, rows, epoch)

    @hookimpl(trylast=True)
    def make_optimizer(self, run: StartedRun, model: Model, loss: Loss) -> Optimizer:
        from ftp.train.optimizer import adamw

        return adamw(model, loss, run.settings)

    @hookimpl(trylast=True)
    def make_schedule(self, run: StartedRun, total: int) -> Callable[[int], float]:
        from ftp.train.schedule import schedule

        return partial(schedule, run.settings, total)

    @hookimpl(trylast=True)
    def train_step(
        self, run: StartedRun, loss: Callable[[Batch], LossOut], batches: Sequence[Batch], optimizer: Optimizer
    ) -> StepOut:
        from ftp.train import update

        return update.update(run, loss, batches, optimizer)

    @hookimpl(trylast=True)
    def evaluated_weights(self) -> AbstractContextManager[None]:
        return nullcontext()


@plugin(kind="core")
class LossScore:
    """Score the mean loss of held-out rows, what the objective measures beside it, and, where no other plugin scores, what the
    head gives."""

    @hookimpl
    def evaluate(self, run: Run, data: Data, predictions: Mapping[str, Predictions]) -> list[Score]:
        scores: list[Score] = []
        of_head = heads.get(run.task.head).scores
        is_alone = len(run.hooks.who("evaluate")) == 1
        if of_head is not None and is_alone and all(of_split.answers for of_split in predictions.values()):
            scores += of_head(data, predictions)
        for split, of_split in predictions.items():
            num_rows = len(of_split.rows)
            scores.append(Score("loss", of_split.loss, "min", split, num_rows))
            for name, value in of_split.metrics.items():
                scores.append(Score(name, value, of_split.goals.get(name, "none"), split, num_rows))
        return scores


@plugin(kind="risk")
class Duplicates:
    """Look for the same text in two splits (exact, after lower-casing and joining spaces)."""

    stop_share: float = option(0.2, "share of held-out rows found in train that stops the run", low=0, high=1)

    @hookimpl
    def check_risks(self, run: StartedRun, stage: str, data: Data) -> list[Risk]:
        if stage != "data":
            return []
        # general text measures what is forgotten, not what is learnt
        held = [name for name in data.splits if name not in ("train", "general")]
        if "train" not in data.splits or not held or any(not hasattr(rows, "num_rows") for rows in data.splits.values()):
            return [Risk("duplicates", "not_run", "there are no two stored splits to compare")]
        present = data.splits["train"].column_names
        columns = [name for name in forms.get(data.form).duplicate_columns if name in present]
        train_texts = {_normalised(row, columns) for row in data.splits["train"].select_columns(columns)}
        examples = {}
        num_rows = 0
        num_duplicates = 0
        for split in held:
            duplicates = []
            for row_index, row in enumerate(data.splits[split].select_columns(columns)):
                if _normalised(row, columns) in train_texts:
                    duplicates.append(row_index)
            num_rows += len(data.splits[split])
            num_duplicates += len(duplicates)
            if duplicates:
                examples[split] = duplicates[:5]
        compared = {split: len(data.splits[split]) for split in ("train", *held)}
        evidence = {"compared": compared, "found": num_duplicates, "examples": examples}
        if not num_rows:
            return [Risk("duplicates", "not_run", "the held-out splits are empty", evidence)]
        if not num_duplicates:
            return [Risk("duplicates", "ok", f"none of {num_rows} held-out rows is also in train", evidence)]
        share = num_duplicates / num_rows
        finding = (f"{num_duplicates} of {num_rows} held-out rows ({share:.1%}) are also in train: their score is no evidence "
                   "(a check of leakage finds more of them, and takes them out)")
        return [Risk("duplicates", "stop" if share >= self.stop_share else "warn", finding, evidence, ("ftp plugins",))]


def _normalised(row: Row, columns: Sequence[str]) -> str:
    """The texts of a row in lower case, with single spaces."""
    texts = [" ".join(str(row[name]).lower().split()) for name in columns]
    return " | ".join(texts)


@plugin(kind="risk")
class Gap:
    """Compare the loss on training rows with the loss on held-out rows, both scored in evaluation mode."""

    rise: float = option(0.1, "rise of the held-out loss over its best, relative, that is a warning", low=0)

    @hookimpl
    def check_risks(self, run: StartedRun, stage: str, history: Sequence[Evaluation]) -> list[Risk]:
        if stage != "end":
            return []
        held_out: dict[int, float] = {}  # loss by update
        train: dict[int, float] = {}
        for evaluation in history:
            if evaluation.train_loss is not None:
                held_out[evaluation.step] = evaluation.loss
                train[evaluation.step] = evaluation.train_loss
        if len(held_out) < 2:
            return [Risk("gap", "not_run", "fewer than two evaluations of both splits: nothing to compare")]
        best = min(held_out, key=held_out.__getitem__)
        last = max(held_out)
        evidence = {"held_out_loss": {step: round(loss, 4) for step, loss in held_out.items()},
                    "train_loss": {step: round(loss, 4) for step, loss in train.items()}, "best_step": best}
        rise = held_out[last] / held_out[best] - 1
        # both must part: a held-out loss that rises with the training loss is no overfitting
        if last != best and rise > self.rise and train[last] < train[best]:
            return [Risk("gap", "warn", f"the held-out loss rose by {rise:.0%} after update {best} while the training "
                         "loss fell: overfitting; the best checkpoint is used", evidence,
                         (run.command("--max-steps", best), run.command("--early-stopping-patience", 2)))]
        return [Risk("gap", "ok", f"the held-out loss ended at {held_out[last]:.3f} (best {held_out[best]:.3f}), the training "
                     f"loss at {train[last]:.3f}", evidence)]


@plugin(kind="core")
class Stopping:
    """Ask whether generated answers end where the reference answers do."""

    prompts: int = option(8, "held-out prompts answered at the end to see whether answers stop; 0: none", low=0, high=256)
    longest: int = option(128, "tokens of a reference answer at most; rows with longer ones are not asked", low=1)

    @hookimpl
    def check_risks(self, run: StartedRun, stage: str, data: Data, model: Model | None) -> list[Risk]:
        if stage != "end" or model is None or not self.prompts:
            return []
        if not (heads.get(model.head).writes_text and forms.get(data.form).has_messages):
            return []
        from ftp.losses import stopping
        from ftp.losses.common import row_limit

        rows = data.splits.get("test", data.splits.get("validation"))
        if rows is None or not hasattr(rows, "num_rows") or run.settings.shard:
            return [Risk("stopping", "not_run", "there are no stored held-out rows, or weights are spread over processes")]
        chat = stopping.chat_of(run, model)
        limit = row_limit(run, model)
        references = stopping.references(chat, rows, count=self.prompts, longest=self.longest, seed=run.settings.seed)
        references = stopping.with_room(references, limit, chat.apart)
        if not references:
            return [Risk("stopping", "not_run", f"no held-out row has a reference answer of {self.longest} tokens at most, with "
                         f"room for a longer one within {limit} tokens")]
        stops = stopping.measure(run, model, chat, references, limit)
        # the model of before is asked only where answers run on: generating is slow
        before = None if stopping.mostly_end(stops) else stopping.measure_before(run, model, chat, references, limit)
        return [stopping.verdict(run, model, chat, stops, before)]
