"""A loss on a tiny model with some rows, as a run makes it, for checks to ask. Heavy: imports torch."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

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
from ftp.types import Batch, Data, Event, Loss, LossOut, Model, Row, StartedRun, Step
from ftp_testing import events
from ftp_testing.models import PAIRED
from ftp_testing.outcome import Fault, NotApplicable
from ftp_testing.subject import Subject, tiny_model

DECODERS, ENCODERS = ("llama", "gpt2"), ("bert", "roberta")


def models_of(form: str, head: str) -> list[str]:
    """Kinds of tiny models for which Transformers has a class with the head, the one to begin with first: one with a chat template
    where text is written or messages are read."""
    import transformers

    from ftp_testing.models import config_of

    spec = heads.get(head)
    talks = spec.writes_text or forms.get(form).has_messages
    kinds = (*DECODERS, *PAIRED, *ENCODERS) if talks else (*ENCODERS, *DECODERS, *PAIRED)
    able = []
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
    kind: str
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
            return [row for part in self.loss.rollout(rows[:4], 0)[: self.loss.reuse] for row in part]
        return rows

    def rows(self, count: int) -> list[Row]:
        """The first encoded rows; where an objective makes few of many (blocks of text), those of other splits after them."""
        found: list[Row] = []
        for split in self.data.splits:
            if len(found) < count:
                found += self.encoded(split)
        if len(found) < count:
            raise NotApplicable(f"the kit's rows give {len(found)} encoded ones, and this looks at {count}")
        return found[:count]

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

    def update(self, micro: Sequence[Sequence[Row]], optimizer: torch.optim.Optimizer) -> Any:
        """One whole update with these micro-batches, by whoever answers `train_step`; plugins hear of it."""
        whole = Whole(self.model, self.loss)
        whole.train(self.model.net.training)
        done = sum(isinstance(event, Step) for event in self.heard)
        out = self.run.hooks.one("train_step", run=self.run, model=self.model, loss=whole,
                                 batches=[self.batch(rows) for rows in micro], optimizer=optimizer, step=done, total=events.TOTAL)
        step = done + 1
        metrics = {name: float(value) / max(1, out.rows) for name, value in out.metrics.items()}
        self.tell(events.stepped(step, float(out.loss), None if out.grad_norm is None else float(out.grad_norm), metrics))
        return out

    def weights(self) -> dict[str, nn.Parameter]:
        """Every weight by name, those trained beside the network included."""
        extra = {} if self.loss.extra is None else {f"extra.{name}": one for name, one in self.loss.extra.named_parameters()}
        return {**dict(self.model.net.named_parameters()), **extra}

    def trained(self) -> dict[str, nn.Parameter]:
        return {name: weight for name, weight in self.weights().items() if weight.requires_grad}


def build(
    subject: Subject, kind: str = "", *, packed: bool = False, side: str = "right", ended: bool = False,
    template: str = "", freeze: Callable[[str], bool] | None = None, begins: bool = True, **options: Any,
) -> Scene:
    """The plugin's loss on a tiny model of a kind (the first that fits, where none is named), as a run builds it.

    `packed`: rows end to end, where the network can. `side`: of the padding. `ended`: answers end with the tokenizer's EOS,
    which is its pad token too. `template`: the tokenizer's chat template. `freeze`: weights that are not to be trained.
    `begins`: whether plugins hear that training begins. The network is left in evaluation mode.
    """
    kind = kind or fitting(subject)
    quiet_libraries()
    prepared = subject.prepared(model=str(tiny_model(kind)), max_grad_norm=0.0, **options)
    folder = subject.folder / "scene"
    folder.mkdir(exist_ok=True)
    run = StartedRun(prepared.settings, prepared.task, Hooks(prepared.picked, prepared.values), folder,
                     Log(None, writer=False), accelerator(prepared.settings))
    key = f"data {prepared.task.form}"
    if key not in subject.kept:
        subject.kept[key] = collect(run)
    data: Data = subject.kept[key]
    seed_step(run.settings.seed, 0, 0)
    model = make_model(run, data)
    if ended:
        model.tokenizer.chat_template = ENDED
        model.tokenizer.pad_token = model.tokenizer.eos_token
    elif model.tokenizer.pad_token is None:
        model.tokenizer.pad_token = model.tokenizer.eos_token
    if template:
        model.tokenizer.chat_template = template
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


def fitting(subject: Subject) -> str:
    """The first kind of tiny model on which the plugin builds a loss. Raises `Fault` with what it says where none is."""
    kept = subject.kept.setdefault("kind", {})
    if not kept:
        task, said = subject.prepared().task, list[str]()
        for kind in models_of(task.form, task.head):
            try:
                scene = build(subject, kind)
                scene.encoded()
            except UserError as error:
                said.append(f"{kind}: {error}")
                continue
            except Exception as error:
                kept["broken"] = f"{type(error).__name__}: {error}"
                break
            kept["kind"], kept["rollout"] = kind, scene.loss.makes_rows
            break
        else:
            kept["broken"] = "; ".join(said)
    if "broken" in kept:
        raise NotApplicable(f"it builds no loss, see builds-a-loss ({kept['broken'].splitlines()[0]})")
    return str(kept["kind"])


def scene_of(subject: Subject, *args: Any, rolled: bool = True, **options: Any) -> Scene:
    """`build` for a check of encoded rows. With `rolled` False not applicable where the model makes its own rows."""
    fitting(subject)
    if not rolled and subject.kept["kind"].get("rollout"):
        raise NotApplicable("the model makes its own rows (Loss.rollout)")
    return build(subject, *args, **options)


def counted(model: Model) -> tuple[Model, list[int]]:
    """The model with a reference that counts how often it is asked for."""
    asked, given = [0], model.reference
    if given is None:
        return model, asked

    def reference() -> Any:
        asked[0] += 1
        return given()

    return dataclasses.replace(model, reference=reference), asked


def move(scene: Scene, size: float = 0.05) -> Scene:
    """Move every trained weight a little, as training would have: the same way each time."""
    generator = torch.Generator().manual_seed(5)
    with torch.no_grad():
        for _, weight in sorted(scene.trained().items()):
            weight.add_(torch.randn(weight.shape, generator=generator) * size)
    return scene


def close(one: float, other: float, tolerance: float = 1e-4) -> bool:
    """Whether two losses are the same but for rounding."""
    return abs(one - other) <= tolerance * max(1.0, abs(one), abs(other))


def apart(one: Mapping[str, Tensor], other: Mapping[str, Tensor]) -> tuple[str, float]:
    """The weight in which two sets differ most, and by how much of the largest value that any has."""
    worst, most = "", 0.0
    for name, value in one.items():
        difference = float((value.detach().float() - other[name].detach().float()).abs().max()) if value.numel() else 0.0
        if difference != difference or difference > most:
            worst, most = name, difference
    return worst, most


def copied(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {name: value.detach().clone() for name, value in weights.items()}


@dataclass(frozen=True)
class Learnt:
    """A token whose probability the loss would change. `likelier`: whether it would get likelier. `behind`: the token that
    stands right behind what it is told from; None where nothing does, or where that was not asked."""

    token: int
    likelier: bool
    behind: int | None = None


def learnt_tokens(scene: Scene, rows: Sequence[Row], *, placed: int = 0) -> list[Learnt]:
    """The tokens whose probability the loss of these rows would change, read from the gradient at the logits.

    Where a token is learnt, the gradient of the logits is largest at that token (its share is p - 1, that of others p), however
    the rows are laid out and whether it is to be likelier or less likely. `placed`: of a causal network, about as many of them,
    with what stands behind each. Raises `NotApplicable` where no head is to be seen.
    """
    net = scene.model.net
    head = net.get_output_embeddings()
    if head is None:
        raise NotApplicable(f"the network has no output over tokens (head {scene.model.head})")
    seen, read = list[Tensor](), list[tuple[Tensor, Tensor]]()

    def keep(module: nn.Module, given: Any, logits: Tensor) -> None:
        if logits.requires_grad:
            logits.retain_grad()
            seen.append(logits)

    def begin(module: nn.Module, given: Any, states: Tensor) -> Tensor:
        states = states if states.requires_grad else states.detach().requires_grad_(torch.is_grad_enabled())
        if states.requires_grad:
            read.append((given[0], states))
        return states

    with hooked(head, keep), hooked(net.get_input_embeddings(), begin), torch.enable_grad():
        scene.loss.compute(scene.batch(rows)).total.backward(retain_graph=placed > 0)
    net.zero_grad(set_to_none=True)
    passes = [(logits.flatten(0, -2), logits.grad.flatten(0, -2)) for logits in seen if logits.grad is not None]
    largest = max((float(slopes.abs().max()) for _, slopes in passes), default=0.0)
    found: list[tuple[Tensor, Tensor]] = []
    for logits, slopes in passes:
        size = slopes.abs().amax(-1)
        if float(size.max()) < 1e-2 * largest:  # a pass that is compared with itself: its slopes are rounding alone
            continue
        real = size > 1e-6 * max(largest, 1e-12)
        found += zip(logits[real], slopes[real], strict=True)
    if not found:
        raise Fault("no logit of the network's output gets a gradient from the loss",
                    "compute the loss from the network that is in `model`, with its own head")
    learnt: list[Learnt] = []
    for line, slope in found[:: max(1, len(found) // placed) if placed else 1]:
        token = int(slope.abs().argmax())
        learnt.append(Learnt(token, bool(slope[token] < 0), _behind(line[token], read) if placed else None))
    return learnt


def _behind(logit: Tensor, read: Sequence[tuple[Tensor, Tensor]]) -> int | None:
    """The token behind the last one that a logit of a causal network depends on. `read`: token ids that went into it, and what
    was looked up for them."""
    slopes = torch.autograd.grad(logit, [states for _, states in read], retain_graph=True, allow_unused=True)
    for (ids, _), slope in zip(read, slopes, strict=True):
        if slope is not None and (told := slope.abs().amax(-1).nonzero()).numel():
            row, slot = told[-1].tolist()
            return int(ids[row, slot + 1]) if slot + 1 < ids.shape[1] else None
    return None


@contextlib.contextmanager
def hooked(module: nn.Module, hook: Callable[..., Any]) -> Iterator[None]:
    handle = module.register_forward_hook(hook)
    try:
        yield
    finally:
        handle.remove()
