"""Plugins that are sound (`Talk`, `Prefer`, `Classes`, `Bias`, `Adapter`, `Notes`, `Watch`), and the same with one fault each.

A class `Talk_mean` is `Talk` with the fault `mean`; where the fault strikes, the code asks for it by name. For the kit's own
tests: nobody should write a plugin this way.
"""

from __future__ import annotations

import dataclasses
import os
import random
from collections.abc import Callable, Generator, Iterable, Mapping, Sequence
from contextlib import nullcontext
from itertools import chain
from typing import Any

from ftp import Candidate, hookimpl, option, plugin
from ftp.answers.wrapped_loss import wrapped
from ftp.data.turns import content_text
from ftp.errors import UserError
from ftp.types import (
    Batch,
    Data,
    Event,
    Loss,
    LossOut,
    Model,
    Prediction,
    Predictions,
    Risk,
    Row,
    Run,
    Saved,
    Score,
    Started,
    Step,
)

# --- objectives ---


def refuse_more_than_text(row: Row) -> None:
    """Raise `UserError` for what a plugin that reads text alone would lose."""
    if row.get("tools"):
        raise UserError(f"the row that asks {row['messages'][0]['content']!r} has tools, which are not read")
    for index, turn in enumerate(row["messages"]):
        if lost := sorted(set(turn) - {"role", "content"}):
            raise UserError(f"a row has messages[{index}].{lost[0]}, which is not read: {turn!r}")


class Unanswered(Loss):
    """A loss that only scores, without functions yet."""

    has_answers = False


def unanswered(**functions: Any) -> Loss:
    """A loss of these functions, which has no answers."""
    return wrapped(Unanswered(), **functions)


@plugin(wants=("conversation",), head="tokens")
class Talk:
    """Learn what the assistant says."""

    fault = ""
    shout: bool = option(False, "learn answers in capitals")

    @hookimpl
    def make_loss(self, run: Run, data: Data, model: Model) -> Loss:
        import torch
        from torch.nn.functional import cross_entropy

        from ftp.data.control_text import of_run
        from ftp.data.encode import cache_key
        from ftp.net import layout

        fault, net, tokenizer = self.fault, model.net, model.tokenizer
        tokenize = tokenizer if fault == "controls" else of_run(run, tokenizer)

        class Backward(torch.autograd.Function):  # type: ignore[misc]
            """Nothing, with a backward pass of the wrong sign."""

            @staticmethod
            def forward(context: Any, value: Any) -> Any:
                return value.clone()

            @staticmethod
            def backward(context: Any, slope: Any) -> Any:
                return -slope

        if fault == "unbuilt":
            raise KeyError("hidden")
        if fault == "needs_rows":
            data.splits["train"]
        if fault == "wakes":
            net.requires_grad_(True)
        if fault == "zeroed":
            net.base_model.layers[0].mlp.register_forward_hook(lambda module, inputs, states: states * 0)
        if fault == "hooked":
            net.get_output_embeddings().register_forward_hook(lambda module, inputs, logits: logits * 1.1)
        calls = [0]

        def ids_of(text: str, first: bool) -> list[int]:
            ids = list(tokenize(text, add_special_tokens=first)["input_ids"])
            return [tokenizer.bos_token_id, *ids] if first and fault == "double_bos" else ids

        def encode(rows: Sequence[Row]) -> Iterable[dict[str, Any]]:
            for row in rows:
                ids, labels = [], []
                if fault == "answered_only":
                    row["messages"][1]
                if fault != "forgets":
                    refuse_more_than_text(row)
                for number, turn in enumerate(row["messages"]):
                    text = content_text(turn).upper() if self.shout else content_text(turn)
                    answer = turn["role"] == "assistant"
                    part = ids_of(f"{text}\n", not number) + ([tokenizer.eos_token_id] if answer and fault != "no_end" else [])
                    if fault == "draws":
                        part = part[: random.randint(2, 40)]
                    learnt = answer or fault == "prompts"
                    ids, labels = ids + part, labels + (part if learnt else [-100] * len(part))
                yield {"input_ids": ids, "labels": labels}

        def collate(rows: Sequence[Row]) -> Batch:
            ids = [list(row["input_ids"]) for row in rows]
            labels = [list(row["labels"]) for row in rows]
            if fault == "leaks" and model.packed:
                ids = [list(chain(*ids))]
                labels = [list(chain(*([-100, *label[1:]] for label in labels)))]
            if fault == "pads_are_ends":
                for label in labels:
                    label[:] = [-100 if token == tokenizer.pad_token_id else token for token in label]
            inputs = layout.lay(ids, packed=False, pad_id=tokenizer.pad_token_id, padding_side=tokenizer.padding_side,
                                 beside={"labels": (labels, -100)})
            if fault == "reads_padding":
                inputs["attention_mask"][:] = 1
                inputs.pop("position_ids", None)
            learnt = sum(token != -100 for label in labels for token in label[1:])
            return Batch(inputs, count=learnt, rows=len(rows))

        def compute(batch: Batch) -> LossOut:
            inputs = {name: value for name, value in batch.inputs.items() if name != "labels"}
            if fault == "moves" and torch.is_grad_enabled():
                with torch.no_grad():
                    for weight in net.parameters():
                        weight.add_(0 if weight.requires_grad else 1e-3)
            if fault == "own_way" and torch.is_grad_enabled():
                with torch.no_grad():
                    net.get_output_embeddings().weight.add_(1e-5 * run.accelerator.process_index)
            if fault == "half":
                logits = net.get_output_embeddings()(net.base_model(**inputs).last_hidden_state.detach())
            else:
                logits = net(**inputs).logits
            by = 2 if fault == "shift" else 1
            losses = cross_entropy(logits[:, :-by].flatten(0, 1), batch.inputs["labels"][:, by:].flatten(),
                                   reduction="mean" if fault == "mean" else "sum")
            if fault == "rises":
                losses = -losses
            if fault == "bonus":  # a term that is told in `total` and taught to nobody
                with torch.no_grad():
                    bonus = logits.square().sum()
                losses = losses + bonus
            if fault == "faint":  # half a per cent of the loss is taught to nobody
                losses = losses + 0.005 * losses.detach()
            if fault == "single" and losses.dtype == torch.float64:
                raise TypeError("kernels of single precision alone")
            if fault == "backward":
                losses = Backward.apply(losses)
            if fault == "flat":
                losses = losses.detach() + 0 * logits.sum()
            if fault == "breaks":
                losses = losses * float("nan")
            if fault == "clock":
                losses = losses * (1 + int.from_bytes(os.urandom(2), "big") / 2**16)
            if fault == "ranks":
                losses = losses * run.accelerator.num_processes
            if fault == "own_way":
                losses = losses * (1 + torch.rand(()) / 10)
            if fault in ("counts", "state") and torch.is_grad_enabled():
                calls[0] += 1
                losses = losses * (1 + calls[0] / 10)
            return LossOut(losses)

        def answer(batch: Batch, out: LossOut | None) -> list[Prediction]:
            return [Prediction(tokenizer.decode(ids[:4])) for ids in batch.inputs["input_ids"]]

        key = cache_key(tokenizer, "talk", *(() if fault == "key" else (self.shout,)))
        return wrapped(Unanswered(), encode=encode, ask=encode, collate=collate, compute=compute, answer=answer, has_answers=True,
                       key="" if fault == "no_key" else key)


@plugin(detaches="the bonus")
class Talk_says_so(Talk):
    """Leaves a term out of the gradient, and says so."""

    fault = "bonus"

@plugin
class Talk_steps(Talk):
    """Answers train_step with a mean of means."""

    @hookimpl
    def train_step(self, run: Run, loss: Callable[[Batch], Any], batches: Sequence[Batch], optimizer: Any) -> Any:
        from ftp.types import StepOut

        optimizer.zero_grad()
        total = sum(loss(batch).total / batch.count for batch in batches) / len(batches)
        total.backward()
        optimizer.step()
        return StepOut(total.detach(), count=sum(batch.count for batch in batches), rows=sum(batch.rows for batch in batches))


@plugin(wants=("preference",), head="tokens")
class Prefer:
    """Prefer chosen to rejected answers, held to the model as it was."""

    fault = ""

    @hookimpl
    def make_loss(self, run: Run, data: Data, model: Model) -> Loss:
        import torch
        from torch.nn.functional import logsigmoid

        from ftp.data.encode import cache_key
        from ftp.net import heads, layout

        fault, net, tokenizer = self.fault, model.net, model.tokenizer

        def encode(rows: Sequence[Row]) -> Iterable[dict[str, Any]]:
            for row in rows:
                prompt = list(tokenizer(row["prompt"][-1]["content"] + "\n")["input_ids"])
                sides = [[*tokenizer(row[name][-1]["content"], add_special_tokens=False)["input_ids"], tokenizer.eos_token_id]
                         for name in ("chosen", "rejected")]
                yield {"input_ids": prompt + sides[0], "rejected_ids": prompt + sides[1], "prompt": len(prompt)}

        def collate(rows: Sequence[Row]) -> Batch:
            ids: list[list[int]] = []
            labels: list[list[int]] = []
            for name in ("input_ids", "rejected_ids"):
                for row in rows:
                    ids.append(list(row[name]))
                    labels.append([-100] * row["prompt"] + ids[-1][row["prompt"] :])
            return Batch(layout.lay(ids, packed=False, pad_id=tokenizer.pad_token_id, padding_side=tokenizer.padding_side,
                                     beside={"labels": (labels, -100)}), count=len(rows), rows=len(rows))

        def logps(net: Any, inputs: Mapping[str, Any]) -> Any:
            losses, row = heads.token_losses(net, inputs, inputs["labels"])
            return torch.zeros(len(inputs["input_ids"])).index_add(0, row, -losses)

        def compute(batch: Batch) -> LossOut:
            own = logps(net, batch.inputs)
            if fault == "itself":
                before = own.detach()
            elif fault == "swapped":
                with model.reference() as old, torch.no_grad():
                    before = logps(old, batch.inputs).flip(0)
            else:
                with model.reference() as old, torch.no_grad():
                    before = logps(old, batch.inputs)
            chosen, rejected = (own - before).chunk(2)
            losses = -logsigmoid(0.1 * (chosen - rejected))
            return LossOut(losses.sum(), {} if fault == "silent" else {"rewards/margins": (chosen - rejected).detach().sum()})

        return unanswered(encode=encode, collate=collate, compute=compute, key=cache_key(tokenizer, "prefer"))


@plugin(wants=("labelled",), head="labels")
class Classes:
    """Tell classes apart by the last token, as decoders do."""

    fault = ""

    @hookimpl
    def make_loss(self, run: Run, data: Data, model: Model) -> Loss:
        import torch
        from torch.nn.functional import cross_entropy

        from ftp import losses

        loss = losses.for_head(run, data, model)

        def compute(batch: Batch) -> LossOut:
            inputs, net = dict(batch.inputs), model.net
            label = inputs.pop("label")
            states = net.base_model(**inputs).last_hidden_state
            at = inputs["attention_mask"].cumsum(1).argmax(1)
            state = states[:, -1] if self.fault == "last_place" else states[torch.arange(len(label)), at]
            return LossOut(cross_entropy(net.classifier(state), label, reduction="sum"))

        return losses.wrapped(loss, compute=compute, has_answers=False)


# --- parameterisations ---


@plugin
class Bias:
    """Train vectors (biases, norms) and the new head; everything else stays."""

    fault = ""

    @hookimpl(wrapper=True)
    def build_model(self) -> Generator[None, Model, Model]:
        import torch

        model = yield
        for name, weight in model.net.named_parameters():
            new = any(f".{fresh}." in f".{name}." for fresh in model.fresh)
            weight.requires_grad_(weight.ndim < 2 or (new and self.fault != "old_head"))
            if self.fault == "old_head" and new:
                weight.requires_grad_(False)
        if self.fault == "elsewhere":
            with torch.no_grad():
                next(model.net.parameters()).add_(0.1)
        if self.fault == "zeroed":
            first = next(module for module in model.net.modules() if isinstance(module, torch.nn.LayerNorm | torch.nn.Embedding))
            first.register_forward_hook(lambda module, inputs, states: states + 0 * idle.sum())
            idle = torch.nn.Parameter(torch.ones(3))
            first.register_parameter("idle", idle)
        if self.fault == "same":
            return dataclasses.replace(model, reference=lambda: nullcontext(model.net))
        if self.fault == "none":
            return dataclasses.replace(model, reference=None)
        if self.fault == "moves":
            frozen = next(weight for weight in model.net.parameters() if not weight.requires_grad)

            def drift(module: Any, inputs: Any) -> None:
                if module.training:
                    with torch.no_grad():
                        frozen.mul_(1.001)

            model.net.register_forward_pre_hook(drift)
        if self.fault == "lost_head":
            first = {name: weight.detach().clone() for name, weight in model.net.named_parameters()}

            def save(folder: Any) -> None:
                weights = {name: first[name] if any(f".{fresh}." in f".{name}." for fresh in model.fresh) else weight
                           for name, weight in model.net.state_dict().items()}
                model.net.save_pretrained(folder, state_dict=weights)

            return dataclasses.replace(model, save=save)
        return model


@plugin
class Adapter:
    """Train a small adapter."""

    fault = ""

    @hookimpl(wrapper=True)
    def build_model(self, run: Run) -> Generator[None, Model, Model]:
        import json

        from peft import LoraConfig

        from ftp.model.peft import attach

        model = yield
        own = attach(model, LoraConfig(r=2, target_modules="all-linear", modules_to_save=list(model.fresh)), who="adapter",
                     seed=run.settings.seed)

        def save(folder: Any) -> None:
            own.save(folder)
            config = json.loads((folder / "adapter_config.json").read_text())
            (folder / "adapter_config.json").write_text(json.dumps({**config, "lora_alpha": 1}))

        return dataclasses.replace(own, save=save) if self.fault == "alpha" else own


# --- domains ---


@plugin(gives=("labelled", "text"))
class Notes:
    """Tell good notes from bad ones."""

    fault = ""

    @hookimpl
    def load_data(self, run: Run) -> Mapping[str, Any]:
        from datasets import Dataset

        def notes(split: str, count: int) -> Dataset:
            texts = [f"{split} note number {number}" for number in range(count)]
            if self.fault == "shuffled":
                random.SystemRandom().shuffle(texts)
            return Dataset.from_dict({"text": texts, "label": [("bad", "good")[number % 2] for number in range(count)]})

        splits = {"train": notes("train", 40), "validation": notes("train" if self.fault == "copies" else "held", 20)}
        if self.fault == "poor" and run.task.form == "labelled":
            splits = {split: rows.remove_columns("label") for split, rows in splits.items()}
        return splits

    @hookimpl
    def evaluate(self, predictions: Mapping[str, Predictions]) -> list[Score]:
        if self.fault == "torch":
            import torch

            torch.zeros(1)
        scores = []
        for split, predicted in predictions.items():
            if not predicted.answers or "label" not in predicted.rows.column_names:
                continue
            truth = predicted.rows["label"][:]
            if self.fault == "by_place":
                truth = [number % 2 for number in range(len(truth))]
            right = sum(answer.answer == label for answer, label in zip(predicted.answers, truth, strict=True)) / len(truth)
            if self.fault == "wrong_way":
                scores.append(Score("hits", right, "min", split))
                continue
            values = {"no_number": float("nan"), "per_cent": right * 100, "never_one": right * 0.99, "always": 1.0}
            value = values.get(self.fault, right)
            scores.append(Score("accuracy", value, "max", split))
        return scores


# --- risks ---


@plugin(kind="risk")
class Watch:
    """Look for training rows in held-out splits, and at the last held-out loss."""

    fault = ""

    @hookimpl
    def check_risks(self, stage: str, data: Data, history: Sequence[Any]) -> list[Risk]:
        if stage == "data":
            return [self._rows(data)]
        if stage in ("evaluation", "end"):
            return [self._losses(stage, history)]
        return []

    def _rows(self, data: Data) -> Risk:
        stored = {split: rows for split, rows in data.splits.items() if hasattr(rows, "num_rows") and "text" in rows.column_names}
        held = [split for split in stored if split != "train"]
        if self.fault == "raises":
            data.splits["validation"]["text"]
        if ("train" not in stored or not held or not len(stored["train"])) and self.fault not in ("ok", "one_split"):
            return Risk("watch", "not_run", "there are no two splits to compare")
        if not sum(map(len, stored.values())) and self.fault != "ok":
            return Risk("watch", "not_run", "there are no rows")
        seen = set(stored["train"]["text"]) if "train" in stored else set()
        double = 0
        for split in held:
            double += sum(text in seen for text in stored[split]["text"])
        evidence = {} if self.fault == "bare" else {"double": double}
        if self.fault == "dice":
            evidence["sure"] = int.from_bytes(os.urandom(4), "big")
        level: Any = "fine" if self.fault == "level" else "ok"
        if double:
            return Risk("watch", "warn", f"{double} rows", evidence,
                        {"no_advice": (), "words": ("take them out",)}.get(self.fault, ("ftp data clean rows.csv",)))
        return Risk("watch", level, "no row is in two splits", evidence)

    def _losses(self, stage: str, history: Sequence[Any]) -> Risk:
        name = f"watch-{stage}" if self.fault == "names" else "watch"
        if not history:
            level: Any = "ok" if self.fault == "no_history" else "not_run"
            return Risk(name, level, "there was no evaluation", {"evaluations": 0})
        return Risk(name, "ok", f"the last loss is {history[-1].loss:.3f}", {"loss": history[-1].loss})


# --- who hears of events ---


@plugin(kind="extra")
class Listen:
    """Note the loss of each update."""

    fault = ""

    @hookimpl
    def on_event(self, event: Event) -> Any:
        if isinstance(event, Started):
            self.losses: dict[int, float] = {}
            self.first = event.step
        if self.fault == "saved" and isinstance(event, Saved):
            return event.loss
        if not isinstance(event, Step):
            return None
        if self.fault == "resumed" and event.step > 1:
            self.losses[event.step - 1]
        if self.fault == "answers":
            return "going on"
        self.losses[event.step] = event.loss
        return None


@plugin(goes_with=("sft",))
class Warm:
    """Let the loss rise to its weight over the first updates: a sound wrapper that lives on events."""

    @hookimpl(wrapper=True)
    def make_loss(self) -> Generator[None, Loss, Loss]:
        loss = yield

        def compute(batch: Batch) -> LossOut:
            out = loss.compute(batch)
            return dataclasses.replace(out, total=out.total * self.weight, row_losses=None)

        return wrapped(loss, compute=compute)

    @hookimpl
    def on_event(self, event: Event) -> None:
        if isinstance(event, Started | Step):
            self.weight = min(1.0, (event.step + 1) / 2)


# --- what every plugin is asked ---


@plugin
class Every_unmarked:
    """Forgets the mark."""

    def evaluate(self) -> list[Score]:
        return []

    @hookimpl
    def on_event(self, event: Event) -> None: ...


@plugin
class Every_argument:
    """Asks for what is not there."""

    @hookimpl
    def evaluate(self, prediction: Any) -> list[Score]:
        return []


@plugin
class Every_typo:
    """Answers a hook that there is not."""

    @hookimpl
    def on_events(self, event: Event) -> None: ...


@plugin
class Every_silent:
    @hookimpl
    def on_event(self, event: Event) -> None: ...


@plugin
class Every_untyped:
    """Has no types."""

    @hookimpl
    def on_event(self, event): ...  # type: ignore[no-untyped-def]


@plugin
class Every_range:
    """Has a default that its own range refuses."""

    share: float = option(1.5, "a share", low=0, high=1)

    @hookimpl
    def on_event(self, event: Event) -> None: ...


@plugin
class Every_word:
    """Has an option without help."""

    share: float = option(0.5, "", low=0, high=1)

    @hookimpl
    def on_event(self, event: Event) -> None: ...


@plugin
class Every_field:
    """Has a field that nobody can set."""

    share: float = 0.5

    @hookimpl
    def on_event(self, event: Event) -> None: ...


@plugin(candidates=[{}, Candidate({"share": 2.0})])
class Every_candidate:
    """Declares a candidate that its own range refuses."""

    share: float = option(0.5, "a share", low=0, high=1)

    @hookimpl
    def on_event(self, event: Event) -> None: ...


@plugin(kind="extra", candidates=[{"size": 1}, Candidate({"size": 2}, why="larger")])
class Every_refused:
    """Refuses one of its own candidates."""

    size: int = option(1, "a size", low=1)

    @hookimpl
    def on_event(self, event: Event) -> None:
        if self.size == 2:
            raise UserError("--every_refused.size 2: too large")


@plugin
class Every_comma:
    """Has an option that no flag can give."""

    names: tuple[str, ...] = option(("Oslo, Norway",), "places")

    @hookimpl
    def on_event(self, event: Event) -> None: ...


@plugin
class Every_still:
    """Does nothing at all."""


@plugin(wants=("labelled",), head="labels")
class Contrast:
    """Tell the rows of a batch from their mean, in units of their spread: a loss over a batch."""

    fault = ""

    @hookimpl
    def make_loss(self, run: Run, data: Data, model: Model) -> Loss:
        from torch.nn.functional import cross_entropy

        from ftp import losses

        loss = losses.for_head(run, data, model)

        def compute(batch: Batch) -> LossOut:
            out = loss.compute(batch)
            logits = out.logits.at(slice(None))
            if self.fault != "each_for_itself":
                # by their spread too: logits of a head that is new hardly differ
                logits = (logits - logits.mean(0)) / (logits.std(0, correction=0) + 1e-6)
            return LossOut(cross_entropy(logits, out.targets, reduction="sum"))

        over = "terms" if self.fault == "does_not_say" else "batch"
        return losses.wrapped(loss, compute=compute, has_answers=False, over=over)


def _plant(base: type, *faults: str) -> None:
    for fault in faults:
        name = f"{base.__name__}_{fault}"
        globals()[name] = plugin(type(name, (base,), {"fault": fault, "__doc__": base.__doc__, "__module__": __name__}))


_plant(Talk, "mean", "prompts", "pads_are_ends", "no_end", "double_bos", "leaks", "draws", "key", "no_key", "wakes", "moves",
       "half", "hooked", "ranks", "state", "rises", "flat", "breaks", "reads_padding", "needs_rows", "clock", "counts",
       "shift", "unbuilt", "answered_only", "own_way", "forgets", "controls", "bonus", "backward", "zeroed",
       "faint", "single")
_plant(Prefer, "itself", "swapped", "silent")
_plant(Classes, "last_place")
_plant(Contrast, "each_for_itself", "does_not_say")
_plant(Bias, "old_head", "elsewhere", "same", "none", "moves", "lost_head", "zeroed")
_plant(Adapter, "alpha")
_plant(Notes, "copies", "poor", "shuffled", "torch", "by_place", "no_number", "per_cent", "never_one", "always", "wrong_way")
_plant(Listen, "saved", "resumed", "answers")
_plant(Watch, "ok", "one_split", "raises", "bare", "dice", "level", "no_advice", "words", "names", "no_history")


@plugin(goes_with=("lora", "sft"))
class Beside:
    """Do nothing at all, beside LoRA: an honest wrapper."""

    @hookimpl(wrapper=True)
    def make_loss(self) -> Generator[None, Loss, Loss]:
        return (yield)


@plugin(goes_with=("no-such-plugin",))
class Beside_nobody(Beside):
    """Go with what there is not."""
