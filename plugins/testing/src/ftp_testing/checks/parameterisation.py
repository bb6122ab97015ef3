"""Checks of which weights are trained, and of what is saved of them. Heavy: imports torch."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from ftp import heads
from ftp import model as models
from ftp.errors import UserError
from ftp.folder.log import Log
from ftp.host.quiet import quiet_libraries
from ftp.model.loading import origin
from ftp.net import layout
from ftp.plugins.call import Hooks
from ftp.train.seeds import seed_step
from ftp.types import Data, Model, Run, Task
from ftp_testing import rows as written
from ftp_testing.gradients import leaves_no_trace
from ftp_testing.outcome import Fault, NotApplicable, check
from ftp_testing.scene import apart, copied, noting_gradients
from ftp_testing.subject import Subject, tiny_model

TASKS = {"bert": Task("labelled", "labels"), "llama": Task("text", "tokens")}
"""Tiny models to put it on: an encoder whose head is new, a decoder that has its own."""
TEXTS = [row["text"] for row in written.rows("labelled", count=8)]
NEAR = 1e-4


@dataclass
class Fitted:
    """A tiny model with the parameterisation on it. `base`: the logits of the same model without. `updates` done so far."""

    kind: str
    model: Model
    base: Tensor
    start: dict[str, Tensor]
    updates: int = 0

    @property
    def inputs(self) -> dict[str, Tensor]:
        ids = self.model.tokenizer(TEXTS)["input_ids"]
        return layout.lay(ids, packed=False, pad_id=self.model.tokenizer.pad_token_id or 0)

    def logits(self, net: nn.Module | None = None) -> Tensor:
        """[real tokens or rows, ...] the logits of some texts, in evaluation mode; padding left out."""
        return _real(models.logits(net or self.model.net, self.inputs), self.inputs)

    def answers(self) -> Tensor:
        """`logits`, without gradients."""
        with torch.no_grad():
            return self.logits()

    def train(self, updates: int = 6) -> Fitted:
        """Learn the texts, with AdamW without decay, so that only gradients move weights."""
        net, inputs = self.model.net, self.inputs
        optimizer = torch.optim.AdamW([weight for weight in net.parameters() if weight.requires_grad], lr=5e-3, weight_decay=0.0)
        net.train()
        for step in range(updates):
            seed_step(0, self.updates + step, 0)
            optimizer.zero_grad(set_to_none=True)
            out = _real(net(**inputs).logits, inputs)
            if heads.get(self.model.head).has_classes:
                loss = cross_entropy(out.float(), torch.tensor([number % 2 for number in range(len(TEXTS))]))
            else:
                loss = cross_entropy(out.float(), inputs["input_ids"][inputs["attention_mask"].bool()].roll(-1))
            loss.backward()
            optimizer.step()
        self.updates += updates
        net.eval()
        return self


@check("parameterisation")
def trains_some_weights(subject: Subject) -> str:
    """Some weights are trained, a new head among them."""
    told = []
    for one in _each(subject):
        trained, total = models.parameters(one.model.net)
        if not trained:
            raise Fault(f"no weight of the {one.kind} is trained", "mark what may move: weight.requires_grad_(True)")
        names = [name for name, weight in one.model.net.named_parameters() if weight.requires_grad]
        for fresh in one.model.fresh:
            if not any(f".{fresh}." in f".{name}." for name in names):
                raise Fault(f"{fresh} is new (it is in Model.fresh), and is not trained: its random start would stay",
                            "train and save the modules of model.fresh whole (PEFT: modules_to_save)")
        told.append(f"{trained:,} of {total:,} on {one.kind}")
    return ", ".join(told)


@check("parameterisation")
def starts_as_the_base(subject: Subject) -> str:
    """At its start the model gives the base's answers, unless the plugin says that it does not (`@plugin(starts_as_base=False)`)."""
    if not subject.picked.declaration.starts_as_base:
        raise NotApplicable("it says that it starts with other answers (starts_as_base=False)")
    for one in _each(subject):
        if (difference := _difference(one.logits(), one.base)) > NEAR:
            raise Fault(f"before any training the {one.kind} gives other answers than without the plugin (by {difference:.2g} of the largest "
                        "logit)", "start what is added as nothing (LoRA's B is 0); where it cannot be, say so: "
                        "@plugin(starts_as_base=False)")
    return "the same logits as the base"


@check("parameterisation")
def only_trained_weights_move(subject: Subject) -> str:
    """Training moves every weight that is trained, and none that is frozen."""
    told = []
    for one in _each(subject):
        marked = {name for name, weight in one.model.net.named_parameters() if weight.requires_grad}
        with noting_gradients(dict(one.model.net.named_parameters())) as reached:
            one.train()
        moved = {name for name, weight in one.model.net.named_parameters() if not torch.equal(weight.detach(), one.start[name])}
        if wrong := sorted(moved - marked):
            raise Fault(f"{wrong[0]} is frozen, and training moved it", "let nothing but the optimizer change weights")
        if wrong := sorted(marked - moved - reached):
            raise Fault(f"{wrong[0]} is trained on paper, and six updates gave it no gradient", "it is not used, or detached; freeze it")
        weights = dict(one.model.net.named_parameters())
        if wrong := [name for name in sorted(marked - moved) if leaves_no_trace(weights[name], one.answers)]:
            raise Fault(f"{wrong[0]} is trained on paper: six updates did not move it, and not a bit of the {one.kind}'s answers depends on it",
                        "it is not used, or multiplied by zero on the way; freeze it")
        told.append(f"{len(moved)} of {len(one.start)} tensors on {one.kind}")
    return ", ".join(told)


@check("parameterisation")
def reference_is_untouched(subject: Subject) -> str:
    """After training, `Model.reference()` gives the answers of before the run, and the trained model is itself again behind it."""
    for one in _each(subject):
        if one.model.reference is None:
            raise Fault("it took away Model.reference, so no objective can compare with the weights of before the run",
                        "pass on the model's own, or give one that switches the adapter off (ftp.model.peft.attach)")
        one.train()
        trained, weights = one.logits(), copied(dict(one.model.net.named_parameters()))
        marks = {name: weight.requires_grad for name, weight in one.model.net.named_parameters()}
        if _difference(trained, one.base) <= NEAR:
            raise Fault(f"training did not change what the {one.kind} answers", "the trained weights have no part in its output")
        with one.model.reference() as net:
            difference = _difference(one.logits(net), one.base)
        if difference > NEAR:
            raise Fault(f"reference() of the {one.kind} does not give the answers of before the run (they differ by {difference:.2g} of the "
                        "largest logit): preferences would be compared with the wrong model",
                        "switch off everything that was trained, the new head included, or load the checkpoint again")
        if _difference(one.logits(), trained) > 1e-6 or apart(weights, dict(one.model.net.named_parameters()))[1]:
            raise Fault("behind reference() the trained model is not itself again", "put back what was switched off, also after an exception")
        if marks != {name: weight.requires_grad for name, weight in one.model.net.named_parameters()}:
            raise Fault("behind reference() other weights are trained than before", "put requires_grad back as it was")
    return "the base's logits, and the trained ones behind it"


@check("parameterisation")
def saves_what_it_trained(subject: Subject) -> str:
    """`model/` in a fresh process, loaded by plain Transformers or PEFT, gives the logits of the trained model."""
    told = []
    for one in _each(subject):
        folder = _saved(subject, one.train())
        try:
            back = models.reload(folder)
        except UserError as error:
            raise Fault(f"what it saved does not load: {error}", "write the standard layout of Transformers or PEFT") from error
        weights, read = dict(one.model.net.named_parameters()), dict(back.net.named_parameters())
        lost = [name for name, weight in weights.items() if weight.requires_grad and name in read
                and not torch.equal(weight.detach(), read[name].detach())]
        lost += [name for name, weight in weights.items() if weight.requires_grad and name not in read]
        if lost and _difference(one.logits(back.net), one.logits()) > NEAR:
            new = next((name for name in lost if any(f".{fresh}." in f".{name}." for fresh in one.model.fresh)), "")
            raise Fault(f"{new or lost[0]} is trained, and what was saved does not have it as it was" + (": the new head is lost" if new else ""),
                        "save every trained module (PEFT: modules_to_save); see Model.save")
        try:
            difference = models.verify(one.model, folder, {name: value for name, value in one.inputs.items() if name != "position_ids"})
        except models.VerifyError as error:
            raise Fault(str(error), "the folder must load by the code of its README.md alone, without ftp") from error
        told.append(f"{one.kind} to {difference:.0e}")
    return f"the same logits in a fresh process: {', '.join(told)}"


@check("parameterisation")
def merges(subject: Subject) -> str:
    """An adapter merged into its base gives the same logits."""
    told = []
    for one in _each(subject):
        folder = _saved(subject, one.train())
        if not (folder / "adapter_config.json").exists():
            raise NotApplicable("what it saves is no adapter")
        if not hasattr(one.model.net, "merge_and_unload"):
            raise NotApplicable("this adapter cannot be merged (its library has no merge_and_unload for it)")
        if (came_from := origin(one.model.net)) is not None and came_from.quantization:
            raise NotApplicable("the base is quantised: merged into the whole one it answers otherwise")
        whole = models.reload(models.merge(folder, _place(subject)))
        difference = _difference(one.logits(whole.net), one.logits())
        if difference > NEAR:
            raise Fault(f"merged into its base, the {one.kind} gives other logits (by {difference:.2g} of the largest)",
                        "look for adapters on tied weights, and for a head that is saved twice")
        told.append(f"{one.kind} to {difference:.0e}")
    return f"the same logits: {', '.join(told)}"


# --- helpers ---


def _each(subject: Subject) -> Iterator[Fitted]:
    """The tiny models on which it goes. Not applicable with its words where it refuses all of them."""
    refused, found = [], False
    for kind in TASKS:
        try:
            yield _fitted(subject, kind)
            found = True
        except UserError as error:
            refused.append(f"{kind}: {error}")
    if not found:
        raise NotApplicable(f"it refuses the kit's models: {'; '.join(refused)}")


def _fitted(subject: Subject, kind: str) -> Fitted:
    quiet_libraries()
    task = TASKS[kind]
    prepared = subject.prepared(model=str(tiny_model(kind)))
    run = Run(prepared.settings, task, Hooks(prepared.picked, prepared.values), subject.folder / "scene", Log(None, writer=False))
    labels = written.labels_of(task.form)
    data = Data({}, task.form, labels)
    source = models.find(str(tiny_model(kind)), task.head)
    seed_step(0, 0, 0)
    made: Model = run.hooks.one("build_model", run=run, data=data)
    seed_step(0, 0, 0)
    came_from = origin(made.net)
    with models.quantized(came_from.quantization if came_from else {}):  # what it is compared with is quantised as well
        base = models.load(source, task.head, labels, seed=0)
    one = Fitted(kind, made, torch.empty(0), copied(dict(made.net.named_parameters())))
    return dataclasses.replace(one, base=one.logits(base.net))


def _real(logits: Tensor, inputs: dict[str, Tensor]) -> Tensor:
    """Logits of rows as they are, logits of tokens without the padding (and without a prompt that an adapter puts in front)."""
    mask = inputs["attention_mask"].bool()
    if logits.dim() < 3:
        return logits
    return logits[:, -mask.shape[1] :][mask]


def _difference(one: Tensor, other: Tensor) -> float:
    if one.shape != other.shape:
        return float("inf")
    return float((one - other).abs().max() / other.abs().max().clamp_min(1e-12))


def _saved(subject: Subject, one: Fitted) -> Path:
    folder = _place(subject)
    models.save(one.model, folder)
    return folder


def _place(subject: Subject) -> Path:
    number = subject.kept.setdefault("places", [0])
    number[0] += 1
    return subject.folder / f"model-{number[0]}"


