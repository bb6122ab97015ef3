"""A loss on a tiny model with some rows, as a run makes it, for checks to ask. Heavy: imports torch."""

from __future__ import annotations

import contextlib
import dataclasses
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from ftp import forms, heads
from ftp.data.collect import collect
from ftp.data.encode import encoder, numbered
from ftp.errors import UserError
from ftp.folder.log import Log
from ftp.host.quiet import quiet_libraries
from ftp.net import packing
from ftp.plugins.call import Hooks
from ftp.runs.build import make_model
from ftp.train.device import accelerator
from ftp.train.seeds import seed_step
from ftp.train.state import Whole
from ftp.types import Batch, Data, Event, Loss, LossOut, Model, Row, StartedRun, Step, StepOut
from ftp_testing import events
from ftp_testing.models import PAIRED, Kind
from ftp_testing.outcome import NotApplicable
from ftp_testing.subject import Fit, Subject, tiny_model

DECODERS: tuple[Kind, ...] = ("llama", "gpt2")
ENCODERS: tuple[Kind, ...] = ("bert", "roberta")


def models_of(form: str, head: str) -> list[Kind]:
    """Kinds of tiny models for which Transformers has a class with the head, the one to begin with first: one with a chat template
    where text is written or messages are read."""
    import transformers

    from ftp_testing.models import config_of

    spec = heads.get(head)
    # decoders come first there, as their tokenizers have a chat template
    talks = spec.writes_text or forms.get(form).has_messages
    kinds = (*DECODERS, *PAIRED, *ENCODERS) if talks else (*ENCODERS, *DECODERS, *PAIRED)
    able: list[Kind] = []
    for kind in kinds:
        auto = getattr(transformers, spec.auto_class_of(kind in PAIRED))
        config = config_of(kind)
        is_refused = spec.refusal is not None and spec.refusal(config) is not None
        if type(config) in auto._model_mapping and not is_refused:
            able.append(kind)
    return able


ENDED = ("{% for message in messages %}{{ message['role'] }}: {{ message['content'] }}"
         "{% if message['role'] == 'assistant' %}{{ eos_token }}{% else %}\n{% endif %}{% endfor %}"
         "{% if add_generation_prompt %}assistant: {% endif %}")
"""A chat template whose answers end with the tokenizer's EOS."""


@contextlib.contextmanager
def noting_gradients(weights: Mapping[str, Tensor]) -> Iterator[set[str]]:
    """The names of weights that any backward pass reaches, also with a gradient of zero: that of a key's bias is zero by the
    symmetry of softmax, and that of LoRA's A is zero as long as B is."""
    reached: set[str] = set()

    def note(name: str) -> Callable[[Tensor], None]:
        return lambda gradient: reached.add(name)

    hooks = [weight.register_hook(note(name)) for name, weight in weights.items() if weight.requires_grad]
    try:
        yield reached
    finally:
        for hook in hooks:
            hook.remove()


@dataclass(frozen=True)
class Scene:
    """A run up to its first update: everything that a check may ask. `kind`: of the tiny model."""

    run: StartedRun
    data: Data
    model: Model
    loss: Loss
    kind: Kind
    asked: list[int]
    """How often the reference was asked for, in a list of one number."""
    heard: list[Event] = field(default_factory=list)
    """The events that plugins were sent."""

    @property
    def folder(self) -> Path:
        return self.run.out

    def tell(self, event: Event) -> None:
        """Send an event to the plugins, as the loop does. What they answer is checked by type on the way."""
        self.heard.append(event)
        self.run.hooks.each("on_event", run=self.run, event=event)

    def encoded(self, split: str = "train") -> list[Row]:
        """The encoded rows of a split; where the model makes its own, those of a rollout of a few of its prompts."""
        rows: list[Row] = list(numbered(self.data.splits[split].to_list(), encoder(self.loss, split), split, 0))
        if self.loss.makes_rows and rows:
            updates = self.loss.rollout(rows[:4], 0)[: self.loss.reuse]
            return list(chain.from_iterable(updates))
        return rows

    def rows(self, count: int) -> list[Row]:
        """The first encoded rows; where an objective makes few of many (blocks of text), those of other splits after them."""
        rows: list[Row] = []
        for split in self.data.splits:
            if len(rows) < count:
                rows += self.encoded(split)
        if len(rows) < count:
            raise NotApplicable(f"the kit's rows give {len(rows)} encoded ones, and this looks at {count}")
        return rows[:count]

    def batch(self, rows: Sequence[Row]) -> Batch:
        return self.loss.collate(list(rows))

    def out(self, rows: Sequence[Row]) -> LossOut:
        """The loss of rows as they stand in one batch, without gradients."""
        with torch.no_grad():
            return self.loss.compute(self.batch(rows))

    def total(self, rows: Sequence[Row]) -> float:
        return float(self.out(rows).total)

    @property
    def steps_itself(self) -> bool:
        """Whether a plugin of this run has a say in the update: then a batch alone need not be what it adds to one."""
        # a plugin that is part of every run gives the same update in another way
        of_every_run = {plugin.name for plugin in self.run.hooks.picked if plugin.found.default}
        return any(how != "default" and name not in of_every_run for name, how in self.run.hooks.who("train_step"))

    def update(self, micro_batches: Sequence[Sequence[Row]], optimizer: torch.optim.Optimizer) -> StepOut:
        """One whole update with these micro-batches, by whoever answers `train_step`; plugins hear of it."""
        # as the loop calls it: the forward pass of the whole is the loss
        whole = Whole(self.model, self.loss)
        whole.train(self.model.net.training)
        done = sum(isinstance(event, Step) for event in self.heard)
        out: StepOut = self.run.hooks.one(
            "train_step", run=self.run, model=self.model, loss=whole, batches=list(map(self.batch, micro_batches)),
            optimizer=optimizer, step=done, total=events.TOTAL)
        step = done + 1
        metrics = {name: float(value) / max(1, out.rows) for name, value in out.metrics.items()}
        self.tell(events.stepped(step, float(out.loss), None if out.grad_norm is None else float(out.grad_norm), metrics))
        return out

    def weights(self) -> dict[str, nn.Parameter]:
        """Every weight by name, those trained beside the network included."""
        weights = dict(self.model.net.named_parameters())
        if self.loss.extra is not None:
            weights |= {f"extra.{name}": weight for name, weight in self.loss.extra.named_parameters()}
        return weights

    def trained(self) -> dict[str, nn.Parameter]:
        return {name: weight for name, weight in self.weights().items() if weight.requires_grad}


def build(
    subject: Subject, kind: Kind | None = None, *, packed: bool = False, side: str = "right", ended: bool = False,
    template: str = "", freeze: Callable[[str], bool] | None = None, begins: bool = True, **options: Any,
) -> Scene:
    """The plugin's loss on a tiny model of a kind (the first that fits, where none is named), as a run builds it.

    Args:
        packed: rows end to end, where the network can.
        side: of the padding.
        ended: answers end with the tokenizer's EOS, which is its pad token too.
        template: the tokenizer's chat template.
        freeze: which weights are not to be trained, by name.
        begins: whether plugins hear that training begins.
        options: as for `Subject.prepared`.
    Returns:
        The scene, with the network in evaluation mode.
    """
    kind = kind or fitting(subject)
    quiet_libraries()
    # a fitted head needs large weights on a network that was never trained and hardly tells rows apart
    fixed = {"head_init": "random", "max_grad_norm": 0.0}
    prepared = subject.prepared(model=str(tiny_model(kind)), **{**fixed, **options})
    folder = subject.folder / "scene"
    folder.mkdir(exist_ok=True)
    run = StartedRun(prepared.settings, prepared.task, Hooks(prepared.picked, prepared.values), folder,
                     Log(None, writer=False), accelerator(prepared.settings))
    # rows are read once: what differs between scenes is the model
    data_by_form = subject.memory.data
    if prepared.task.form not in data_by_form:
        data_by_form[prepared.task.form] = collect(run)
    data = data_by_form[prepared.task.form]
    seed_step(run.settings.seed, 0, 0)
    model = make_model(run, data)
    if ended or model.tokenizer.pad_token is None:
        model.tokenizer.pad_token = model.tokenizer.eos_token
    if ended or template:
        model.tokenizer.chat_template = template or ENDED
    # rows may be padded on either side, whatever the tokenizer prefers
    model.tokenizer.padding_side = side
    for name, weight in model.net.named_parameters():
        if freeze is not None and freeze(name):
            weight.requires_grad_(False)
    model = dataclasses.replace(model, packed=packed and packing.can_pack(model.net, model.tokenizer)[0])
    model, asked = counted(model)
    loss: Loss = run.hooks.one("make_loss", run=run, data=data, model=model)
    model.net.eval()
    scene = Scene(run, data, model, loss, kind, asked)
    if begins:
        scene.tell(events.started())
    return scene


def fitting(subject: Subject) -> Kind:
    """The first kind of tiny model on which the plugin builds a loss. Raises `NotApplicable` where there is none."""
    if subject.memory.fit is None:
        subject.memory.fit = _fit(subject)
    fit = subject.memory.fit
    if fit.kind is None:
        raise NotApplicable(f"it builds no loss, see builds-a-loss ({fit.broken.splitlines()[0]})")
    return fit.kind


def _fit(subject: Subject) -> Fit:
    """Try one kind of tiny model after the other."""
    task = subject.prepared().task
    refusals = []
    for kind in models_of(task.form, task.head):
        try:
            scene = build(subject, kind)
            scene.encoded()
        except UserError as error:
            refusals.append(f"{kind}: {error}")
        except Exception as error:
            return Fit(broken=f"{type(error).__name__}: {error}")
        else:
            return Fit(kind, scene.loss.makes_rows)
    return Fit(broken="; ".join(refusals))


def scene_of(subject: Subject, *, rolled: bool = True, packed: bool = False, side: str = "right", template: str = "") -> Scene:
    """`build` for a check of encoded rows. With `rolled` False not applicable where the model makes its own rows."""
    kind = fitting(subject)
    if not rolled and subject.memory.fit is not None and subject.memory.fit.makes_rows:
        raise NotApplicable("the model makes its own rows (Loss.rollout)")
    return build(subject, kind, packed=packed, side=side, template=template)


def counted(model: Model) -> tuple[Model, list[int]]:
    """The model with a reference that counts how often it is asked for."""
    times_asked = [0]
    uncounted = model.reference
    if uncounted is None:
        return model, times_asked

    def reference() -> AbstractContextManager[PreTrainedModel]:
        times_asked[0] += 1
        return uncounted()

    return dataclasses.replace(model, reference=reference), times_asked


def move(scene: Scene, size: float = 0.05) -> Scene:
    """Move every trained weight a little, as training would have: the same way each time."""
    generator = torch.Generator().manual_seed(5)
    with torch.no_grad():
        for _, weight in sorted(scene.trained().items()):
            weight.add_(torch.randn(weight.shape, generator=generator) * size)
    return scene


def close(loss: float, other: float, tolerance: float = 1e-4) -> bool:
    """Whether two losses are the same but for rounding."""
    return abs(loss - other) <= tolerance * max(1.0, abs(loss), abs(other))


def apart(weights: Mapping[str, Tensor], others: Mapping[str, Tensor]) -> tuple[str, float]:
    """The weight in which two sets differ most, and by how much; one that is no number differs more than any other."""
    worst = ""
    most = 0.0
    for name, value in weights.items():
        if not value.numel():
            continue
        difference = float((value.detach().float() - others[name].detach().float()).abs().max())
        if math.isnan(difference) or difference > most:
            worst, most = name, difference
    return worst, most


def copied(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {name: value.detach().clone() for name, value in weights.items()}
