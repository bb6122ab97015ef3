"""What core does by default, as plugins: each can be replaced by a plugin's answer or left out with `-name`."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext, suppress
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ftp import forms, heads
from ftp.hooks import hookimpl
from ftp.options import option
from ftp.plugins.declare import plugin
from ftp.types import Batch, Data, Evaluation, Loss, Model, Predictions, Risk, Run, Score, StartedRun, StepOut

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from torch.optim import Optimizer


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
        tokenizer: Any = loaded.tokenizer
        if loaded.fresh_tokens:
            added = ", ".join(map(str, tokenizer.convert_ids_to_tokens(list(loaded.fresh_tokens))))
            run.tell(f"tokens with new rows: {added}")
        named = {int(number) for number in tokenizer.convert_tokens_to_ids(list(settings.add_tokens))}
        tokens = used(tokenizer, data, template, eos_token, split_special_tokens=settings.split_special_tokens)
        is_searched = hasattr(data.splits.get("train"), "num_rows")  # a stream is not
        _tell_needless(run, tokenizer, named - set(loaded.fresh_tokens), named - set(tokens) if is_searched else set())
        found = untrained(loaded.net, tokens)
        return replace(loaded, fresh_tokens=tuple(sorted({*loaded.fresh_tokens, *named, *found})))


def _tell_needless(run: Run, tokenizer: Any, known: set[int], unseen: set[int]) -> None:
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
    template, eos_token = None, None
    for plugin_object in run.hooks.plugins.values():
        file = getattr(plugin_object, "chat_template", None)
        if isinstance(file, Path):
            with suppress(OSError, UnicodeDecodeError):
                template = file.read_text(encoding="utf-8")
        eos = getattr(plugin_object, "eos_token", None)
        eos_token = eos if isinstance(eos, str) else eos_token
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
        self, run: StartedRun, data: Data, lengths: NDArray[Any], rows: NDArray[Any], epoch: int
    ) -> list[NDArray[Any]]:
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
        self, run: StartedRun, loss: Callable[[Batch], Any], batches: Sequence[Batch], optimizer: Optimizer
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
        if of_head is not None and is_alone and all(answered.answers for answered in predictions.values()):
            scores += of_head(data, predictions)
        for split, one in predictions.items():
            scores.append(Score("loss", one.loss, "min", split, len(one.rows)))
            scores += [Score(name, value, one.goals.get(name, "none"), split, len(one.rows))
                       for name, value in one.metrics.items()]
        return scores


@plugin(kind="risk")
class Duplicates:
    """Look for the same text in two splits (exact, after lower-casing and joining spaces)."""

    stop_share: float = option(0.2, "share of held-out rows found in train that stops the run", low=0, high=1)

    @hookimpl
    def check_risks(self, run: StartedRun, stage: str, data: Data) -> list[Risk]:
        if stage != "data":
            return []
        held = [name for name in data.splits if name not in ("train", "general")]
        if "train" not in data.splits or not held or any(not hasattr(rows, "num_rows") for rows in data.splits.values()):
            return [Risk("duplicates", "not_run", "there are no two stored splits to compare")]
        present = data.splits["train"].column_names
        columns = [name for name in forms.get(data.form).duplicate_columns if name in present]
        seen = {_plain(row, columns) for row in data.splits["train"].select_columns(columns)}
        found = {split: [number for number, row in enumerate(data.splits[split].select_columns(columns))
                         if _plain(row, columns) in seen] for split in held}
        rows = sum(len(data.splits[split]) for split in held)
        double = sum(map(len, found.values()))
        evidence = {"compared": {split: len(data.splits[split]) for split in ("train", *held)}, "found": double,
                    "examples": {split: numbers[:5] for split, numbers in found.items() if numbers}}
        if not rows:
            return [Risk("duplicates", "not_run", "the held-out splits are empty", evidence)]
        if not double:
            return [Risk("duplicates", "ok", f"none of {rows} held-out rows is also in train", evidence)]
        finding = (f"{double} of {rows} held-out rows ({double / rows:.1%}) are also in train: their score is no evidence "
                   "(a check of leakage finds more of them, and takes them out)")
        return [Risk("duplicates", "stop" if double / rows >= self.stop_share else "warn", finding, evidence,
                     ("ftp plugins",))]


def _plain(row: Mapping[str, Any], columns: Sequence[str]) -> str:
    return " | ".join(" ".join(str(row[name]).lower().split()) for name in columns)


@plugin(kind="risk")
class Gap:
    """Compare the loss on training rows with the loss on held-out rows, both scored in evaluation mode."""

    rise: float = option(0.1, "rise of the held-out loss over its best, relative, that is a warning", low=0)

    @hookimpl
    def check_risks(self, run: StartedRun, stage: str, history: Sequence[Evaluation]) -> list[Risk]:
        if stage != "end":
            return []
        looks = [one for one in history if one.train_loss is not None]
        if len(looks) < 2:
            return [Risk("gap", "not_run", "fewer than two evaluations of both splits: nothing to compare")]
        best, last = min(looks, key=lambda one: one.loss), looks[-1]
        assert last.train_loss is not None
        evidence = {"held_out_loss": {one.step: round(one.loss, 4) for one in looks},
                    "train_loss": {one.step: round(one.train_loss or 0.0, 4) for one in looks}, "best_step": best.step}
        rise, falls = last.loss / best.loss - 1, last.train_loss < (best.train_loss or 0.0)
        if last is not best and rise > self.rise and falls:
            return [Risk("gap", "warn", f"the held-out loss rose by {rise:.0%} after update {best.step} while the training "
                         "loss fell: overfitting; the best checkpoint is used", evidence,
                         (run.command("--max-steps", best.step), run.command("--early-stopping-patience", 2)))]
        return [Risk("gap", "ok", f"the held-out loss ended at {last.loss:.3f} (best {best.loss:.3f}), the training loss at "
                     f"{last.train_loss:.3f}", evidence)]


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
        chat, limit = stopping.chat_of(run, model), row_limit(run, model)
        references = stopping.references(chat, rows, count=self.prompts, longest=self.longest, seed=run.settings.seed)
        references = stopping.with_room(references, limit, chat.apart)
        if not references:
            return [Risk("stopping", "not_run", f"no held-out row has a reference answer of {self.longest} tokens at most, with "
                         f"room for a longer one within {limit} tokens")]
        stops = stopping.measure(run, model, chat, references, limit)
        # the model of before is asked only where answers run on: generating is slow
        before = None if stopping.mostly_end(stops) else stopping.measure_before(run, model, chat, references, limit)
        return [stopping.verdict(run, model, chat, stops, before)]

