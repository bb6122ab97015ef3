"""Checks of which weights are trained, and of what is saved of them. Heavy: imports torch."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping
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
from ftp_testing.models import Kind
from ftp_testing.outcome import Fault, NotApplicable, check
from ftp_testing.scene import apart, copied, noting_gradients
from ftp_testing.subject import Subject, tiny_model

TASKS: dict[Kind, Task] = {"bert": Task("labelled", "labels"), "llama": Task("text", "tokens")}
"""Tiny models to put it on: an encoder whose head is new, a decoder that has its own."""
TEXTS = [row["text"] for row in written.rows("labelled", count=8)]
NEAR = 1e-4


@dataclass
class Fitted:
    """A tiny model with the parameterisation on it. `base`: the logits of the same model without. `updates` done so far."""

    kind: Kind
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

    def weights(self) -> dict[str, nn.Parameter]:
        """Every weight by its name."""
        return dict(self.model.net.named_parameters())

    def trained_names(self) -> set[str]:
        """The weights that are trained."""
        return {name for name, weight in self.weights().items() if weight.requires_grad}

    def answers(self) -> Tensor:
        """`logits`, without gradients."""
        with torch.no_grad():
            return self.logits()

    def train(self, updates: int = 6) -> Fitted:
        """Learn the texts, with AdamW without decay, so that only gradients move weights."""
        net = self.model.net
        inputs = self.inputs
        is_classifier = heads.get(self.model.head).has_classes
        optimizer = torch.optim.AdamW([weight for weight in net.parameters() if weight.requires_grad], lr=5e-3, weight_decay=0.0)
        net.train()
        for step in range(updates):
            seed_step(0, self.updates + step, 0)
            optimizer.zero_grad(set_to_none=True)
            out = _real(net(**inputs).logits, inputs)
            # any targets will do, as long as all weights that have a part in the output get a gradient
            targets = inputs["input_ids"][inputs["attention_mask"].bool()].roll(-1)
            if is_classifier:
                targets = torch.arange(len(TEXTS)) % 2
            loss = cross_entropy(out.float(), targets)
            loss.backward()
            optimizer.step()
        self.updates += updates
        net.eval()
        return self


@check("parameterisation")
def trains_some_weights(subject: Subject) -> str:
    """Some weights are trained, a new head among them."""
    counts = []
    for fitted in _each(subject):
        trained, total = models.parameters(fitted.model.net)
        if not trained:
            raise Fault(f"no weight of the {fitted.kind} is trained", "mark what may move: weight.requires_grad_(True)")
        names = fitted.trained_names()
        for fresh in fitted.model.fresh:
            if not any(_is_in(name, fresh) for name in names):
                raise Fault(f"{fresh} is new (it is in Model.fresh), and is not trained: its random start would stay",
                            "train and save the modules of model.fresh whole (PEFT: modules_to_save)")
        counts.append(f"{trained:,} of {total:,} on {fitted.kind}")
    return ", ".join(counts)


@check("parameterisation")
def starts_as_the_base(subject: Subject) -> str:
    """At its start the model gives the base's answers, unless the plugin says that it does not (`@plugin(starts_as_base=False)`)."""
    if not subject.picked.declaration.starts_as_base:
        raise NotApplicable("it says that it starts with other answers (starts_as_base=False)")
    for fitted in _each(subject):
        difference = _difference(fitted.logits(), fitted.base)
        if difference > NEAR:
            raise Fault(f"before any training the {fitted.kind} gives other answers than without the plugin (by {difference:.2g} of the largest "
                        "logit)", "start what is added as nothing (LoRA's B is 0); where it cannot be, say so: "
                        "@plugin(starts_as_base=False)")
    return "the same logits as the base"


@check("parameterisation")
def only_trained_weights_move(subject: Subject) -> str:
    """Training moves every weight that is trained, and none that is frozen."""
    counts = []
    for fitted in _each(subject):
        trained = fitted.trained_names()
        weights = fitted.weights()
        with noting_gradients(weights) as reached:
            fitted.train()
        moved = {name for name, weight in weights.items() if not torch.equal(weight.detach(), fitted.start[name])}
        for name in sorted(moved - trained):
            raise Fault(f"{name} is frozen, and training moved it", "let nothing but the optimizer change weights")
        for name in sorted(trained - moved - reached):
            raise Fault(f"{name} is trained on paper, and six updates gave it no gradient", "it is not used, or detached; freeze it")
        for name in sorted(trained - moved):
            if leaves_no_trace(weights[name], fitted.answers):
                raise Fault(f"{name} is trained on paper: six updates did not move it, and not a bit of the {fitted.kind}'s answers depends "
                            "on it", "it is not used, or multiplied by zero on the way; freeze it")
        counts.append(f"{len(moved)} of {len(fitted.start)} tensors on {fitted.kind}")
    return ", ".join(counts)


@check("parameterisation")
def reference_is_untouched(subject: Subject) -> str:
    """After training, `Model.reference()` gives the answers of before the run, and the trained model is itself again behind it."""
    for fitted in _each(subject):
        if fitted.model.reference is None:
            raise Fault("it took away Model.reference, so no objective can compare with the weights of before the run",
                        "pass on the model's own, or give one that switches the adapter off (ftp.model.peft.attach)")
        fitted.train()
        trained_logits = fitted.logits()
        weights = copied(fitted.weights())
        trained_names = fitted.trained_names()
        if _difference(trained_logits, fitted.base) <= NEAR:
            raise Fault(f"training did not change what the {fitted.kind} answers", "the trained weights have no part in its output")
        with fitted.model.reference() as net:
            difference = _difference(fitted.logits(net), fitted.base)
        if difference > NEAR:
            raise Fault(f"reference() of the {fitted.kind} does not give the answers of before the run (they differ by {difference:.2g} of the "
                        "largest logit): preferences would be compared with the wrong model",
                        "switch off everything that was trained, the new head included, or load the checkpoint again")
        if _difference(fitted.logits(), trained_logits) > 1e-6 or apart(weights, fitted.weights())[1]:
            raise Fault("behind reference() the trained model is not itself again", "put back what was switched off, also after an exception")
        if trained_names != fitted.trained_names():
            raise Fault("behind reference() other weights are trained than before", "put requires_grad back as it was")
    return "the base's logits, and the trained ones behind it"


@check("parameterisation")
def saves_what_it_trained(subject: Subject) -> str:
    """`model/` in a fresh process, loaded by plain Transformers or PEFT, gives the logits of the trained model."""
    findings = []
    for fitted in _each(subject):
        folder = _saved(subject, fitted.train())
        try:
            reloaded = models.reload(folder)
        except UserError as error:
            raise Fault(f"what it saved does not load: {error}", "write the standard layout of Transformers or PEFT") from error
        # a name may change on the way (tied embeddings), so only weights whose loss changes the answers are a fault
        lost = _lost_weights(fitted, dict(reloaded.net.named_parameters()))
        if lost and _difference(fitted.logits(reloaded.net), fitted.logits()) > NEAR:
            of_head = [name for name in lost if any(_is_in(name, fresh) for fresh in fitted.model.fresh)]
            raise Fault(f"{(of_head or lost)[0]} is trained, and what was saved does not have it as it was"
                        + (": the new head is lost" if of_head else ""),
                        "save every trained module (PEFT: modules_to_save); see Model.save")
        inputs = {name: value for name, value in fitted.inputs.items() if name != "position_ids"}
        try:
            difference = models.verify(fitted.model, folder, inputs)
        except models.VerifyError as error:
            raise Fault(str(error), "the folder must load by the code of its README.md alone, without ftp") from error
        findings.append(f"{fitted.kind} to {difference:.0e}")
    return f"the same logits in a fresh process: {', '.join(findings)}"


def _lost_weights(fitted: Fitted, reloaded: Mapping[str, nn.Parameter]) -> list[str]:
    """Names of trained weights that came back otherwise, then those that did not come back by name."""
    changed = []
    absent = []
    for name, weight in fitted.weights().items():
        if not weight.requires_grad:
            continue
        if name not in reloaded:
            absent.append(name)
        elif not torch.equal(weight.detach(), reloaded[name].detach()):
            changed.append(name)
    return changed + absent


@check("parameterisation")
def merges(subject: Subject) -> str:
    """An adapter merged into its base gives the same logits."""
    findings = []
    for fitted in _each(subject):
        folder = _saved(subject, fitted.train())
        if not (folder / "adapter_config.json").exists():
            raise NotApplicable("what it saves is no adapter")
        if not hasattr(fitted.model.net, "merge_and_unload"):
            raise NotApplicable("this adapter cannot be merged (its library has no merge_and_unload for it)")
        came_from = origin(fitted.model.net)
        if came_from is not None and came_from.quantization:
            raise NotApplicable("the base is quantised: merged into the whole one it answers otherwise")
        merged = models.reload(models.merge(folder, _new_folder(subject)))
        difference = _difference(fitted.logits(merged.net), fitted.logits())
        if difference > NEAR:
            raise Fault(f"merged into its base, the {fitted.kind} gives other logits (by {difference:.2g} of the largest)",
                        "look for adapters on tied weights, and for a head that is saved twice")
        findings.append(f"{fitted.kind} to {difference:.0e}")
    return f"the same logits: {', '.join(findings)}"


# --- helpers ---


def _each(subject: Subject) -> Iterator[Fitted]:
    """The tiny models on which it goes. Not applicable with its words where it refuses all of them."""
    refusals = []
    for kind in TASKS:
        try:
            fitted = _fitted(subject, kind)
        except UserError as error:
            refusals.append(f"{kind}: {error}")
        else:
            yield fitted
    if len(refusals) == len(TASKS):
        raise NotApplicable(f"it refuses the kit's models: {'; '.join(refusals)}")


def _fitted(subject: Subject, kind: Kind) -> Fitted:
    quiet_libraries()
    task = TASKS[kind]
    prepared = subject.prepared(model=str(tiny_model(kind)))
    run = Run(prepared.settings, task, Hooks(prepared.picked, prepared.values), subject.folder / "scene", Log(None, writer=False))
    labels = written.labels_of(task.form)
    # a new head is drawn: the same for both models that are compared
    seed_step(0, 0, 0)
    model: Model = run.hooks.one("build_model", run=run, data=Data({}, task.form, labels))
    seed_step(0, 0, 0)
    came_from = origin(model.net)
    with models.quantized(came_from.quantization if came_from else {}):  # what it is compared with is quantised as well
        base = models.load(models.find(str(tiny_model(kind)), task.head), task.head, labels, seed=0)
    fitted = Fitted(kind, model, torch.empty(0), copied(dict(model.net.named_parameters())))
    return dataclasses.replace(fitted, base=fitted.logits(base.net))


def _is_in(name: str, module: str) -> bool:
    """Whether a weight is in a module, anywhere in the network."""
    return f".{module}." in f".{name}."


def _real(logits: Tensor, inputs: Mapping[str, Tensor]) -> Tensor:
    """Logits of rows as they are, logits of tokens without the padding (and without a prompt that an adapter puts in front)."""
    if logits.dim() < 3:
        return logits
    mask = inputs["attention_mask"].bool()
    return logits[:, -mask.shape[1] :][mask]


def _difference(logits: Tensor, others: Tensor) -> float:
    """By how much of the largest logit two sets differ; infinite where their shapes do."""
    if logits.shape != others.shape:
        return float("inf")
    return float((logits - others).abs().max() / others.abs().max().clamp_min(1e-12))


def _saved(subject: Subject, fitted: Fitted) -> Path:
    folder = _new_folder(subject)
    models.save(fitted.model, folder)
    return folder


def _new_folder(subject: Subject) -> Path:
    subject.memory.num_models += 1
    return subject.folder / f"model-{subject.memory.num_models}"
