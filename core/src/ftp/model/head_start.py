"""How a new head begins: as a linear model fitted on the features that it reads, not with random numbers (Kumar et al. 2022,
arXiv:2202.10054). Heavy: imports torch.

Random numbers in the head send gradients of no meaning into the body, which forgets what it knew before the head has learnt to
read it. A fitted head begins where a linear model on frozen features ends, so that training can only add to it.
"""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Any, TypeVar, cast

import numpy as np
import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from ftp import forms, heads
from ftp.folder.files import Folder
from ftp.model import head_fit, mean_layer
from ftp.model.head_features import Fitted, names_as_rows, read, read_means
from ftp.model.head_fit import Features, Fitter
from ftp.model.linear_fit import Target
from ftp.net.heads import output_layers
from ftp.types import Data, Model, Run, StartedRun

T = TypeVar("T")

FEWEST_ROWS = 8
"""Rows from which a head is fitted."""
FEW_ROWS_OF_CLASS = 50
"""Rows of a class, in the mean, up to which its name counts as one more."""
MOST_NUMBERS = 2e8
"""Rows times width times outputs at most: a minute or so of fitting."""

FACT = "head_start"
"""What run.json keeps of the choices."""
AS_IT_IS = "as the head reads them"


def begin(run: StartedRun, data: Data, model: Model) -> Model:
    """The model with its new head fitted on the training rows, told in the log.

    As it is where the head is not new, where it cannot be fitted, or with `--head-init random`.

    Args:
        run: the run, for its settings and its device.
        data: the rows; those of `train` are fitted on, 2,000 at most where no plugin says otherwise (`HeadFit`).
        model: a model on any device, whose network is changed.
    """
    spec = heads.get(model.head)
    why = why_not(run, data, model)
    if why:
        if spec.probe and model.fresh and run.settings.head_init != "random":
            run.tell(f"the new head begins with random numbers: {why}")
        return model
    layers = output_layers(model.net, len(model.labels) or 1)
    model.net.to(run.accelerator.device)
    assert spec.default_loss is not None and spec.probe
    loss: Any = spec.default_loss(run, data, model)
    return _fitted(run, data, model, spec.probe, layers, loss)


def why_not(run: Run, data: Data, model: Model) -> str:
    """Why the head of a model is not fitted on the training rows; empty where it is.

    Args:
        run: the run, for its settings.
        data: its rows.
        model: the model.
    """
    spec = heads.get(model.head)
    train = data.splits.get("train")
    if not spec.probe or spec.default_loss is None:
        return f"a head that gives {spec.meaning} is not fitted by a linear model"
    if run.settings.head_init == "random":
        return "--head-init random asks for random numbers"
    if not model.fresh:
        return "the checkpoint has a head for these classes already"
    if train is None or not hasattr(train, "num_rows"):
        return "there are no stored training rows (those of a stream are read once)"
    if forms.get(data.form).default_head != model.head:
        return f"rows of form '{data.form}' are not those of the head '{model.head}'"
    if not output_layers(model.net, len(model.labels) or 1):
        return "the network ends in no linear layer"
    if len(train) < FEWEST_ROWS:
        return f"{len(train)} training rows are too few to fit it on"
    return ""


def tell_what_may_change(run: Run, model: Model) -> None:
    """Say which layer a run may train and save beside the new head, where nobody knows it before rows were read.

    Args:
        run: the run, for its settings.
        model: the model, with weights or without.
    """
    spec = heads.get(model.head)
    if run.settings.head_init == "random" or not spec.reads_first_token or not model.fresh:
        return
    parts = mean_layer.parts_of(model.net)
    if parts is None:
        return
    if head_fit.current().any_layer:
        run.tell("the network ends behind the layer whose mean over all tokens says the most of the training rows, and has one "
                 "layer more there, which averages; --head-init random: never")
        return
    numbers = sum(weight.numel() for name in parts.changed for weight in model.net.get_submodule(name).parameters())
    run.tell(f"where the mean of all tokens says more of the training rows than the first token, {' and '.join(parts.changed)} "
             f"({numbers:,} parameters) are new as the head is, and are trained and saved with it; --head-init random: never")


def _fitted(run: StartedRun, data: Data, model: Model, target: Target, layers: Sequence[nn.Linear], loss: Fitted) -> Model:
    way = head_fit.current()
    layer = layers[0]
    train = data.splits["train"]
    draw = np.random.default_rng(run.settings.seed)
    rows_at_most = int(min(way.rows_at_most, max(200, MOST_NUMBERS / layer.in_features / layer.out_features)))
    chosen = draw.permutation(len(train))[:rows_at_most]
    rows = list(loss.encode([dict(row) for row in train.select(chosen)]))
    # one row more of a class says something where there are few
    are_few = len(chosen) <= FEW_ROWS_OF_CLASS * layer.out_features
    name_rows = names_as_rows(data, model) if way.reads_class_names and are_few else []
    names = list(loss.encode(name_rows)) if name_rows else []  # tags have none, and a loss need not encode no rows

    # What the head reads now, and the means that it could read. The network is changed only for the best of them.
    kinds: dict[int, Features] = {}
    as_it_is = read(run, model, layer, loss, rows, names)
    if not np.isfinite(as_it_is.values).all():
        run.tell("the new head begins with random numbers: what it reads of some rows is not finite")
        return model
    if target == "class" and len(np.unique(as_it_is.targets)) < 2:
        run.tell("the new head begins with random numbers: the training rows are all of one class")
        return model
    parts = mean_layer.parts_of(model.net) if heads.get(model.head).reads_first_token else None
    if parts is not None:
        count = len(mean_layer.layers_of(model.net, parts))
        numbers = _numbers_of_layers(count) if way.any_layer else (count - 1,)
        kinds = read_means(run, model, parts, numbers, loss, rows, names, as_it_is)
    fitter = Fitter(way, target, layer.out_features, layer.bias is not None)
    number = _as_begun_with(run, "layer", fitter.best_kind(kinds, as_it_is))
    ended = None
    best = as_it_is
    if number and parts is not None:
        ended = mean_layer.end_behind(model.net, parts, number)
        mean_layer.average(model.net, ended)
        mean_layer.standardise(model.net, ended, read(run, model, layer, loss, rows, ()).values)
        best = read(run, model, layer, loss, rows, names)
    if names and not _as_begun_with(run, "names", fitter.gains_by_names(best)):
        names = []
        best = best.without_names()
    strength = _as_begun_with(run, "strength", fitter.best_strength(best))

    # PEFT is not there yet; a network that another plugin made may hold copies of its head.
    fit = fitter.fit(best, strength)
    with torch.no_grad():
        for same in layers:
            same.weight.copy_(torch.from_numpy(fit.weight))
            if same.bias is not None:
                same.bias.copy_(torch.from_numpy(fit.bias))
    of_names = f" and the names of {len(names)} classes" if names else ""
    run.tell(f"the new head begins as a linear model of {len(chosen)} training rows{of_names}, on features {_named(ended)} "
             f"(--head-init random: with random numbers)")
    averaging = ended.changed if ended is not None else ()
    fresh = tuple(dict.fromkeys([*model.fresh, *averaging]))
    weights = {}
    for name, weight in model.net.named_parameters():
        if any(f"{name}.".startswith(f"{module}.") for module in fresh):
            weights[name] = weight.detach().clone()
    return dataclasses.replace(model, fresh=fresh, has_fitted_head=True, averaging=averaging,
                               reference=_as_begun(model.reference, parts, number, weights))


def _as_begun_with(run: StartedRun, name: str, chosen: T) -> T:
    """What a run began with, where it goes on; else what was chosen now, which is kept.

    Another machine may find another choice the better one by the last digits, which would train other layers.
    """
    facts = Folder(run.out).read_facts()
    kept = cast(Mapping[str, Any], facts.get(FACT, {}))
    choice: list[T] = [kept.get(name, chosen)]
    if run.accelerator.num_processes > 1:
        from accelerate.utils import broadcast_object_list

        broadcast_object_list(choice)
    # a folder that has no facts is not that of a run
    if facts and name not in kept and run.accelerator.is_main_process:
        Folder(run.out).write_facts(**{FACT: {**kept, name: choice[0]}})
    return choice[0]


def _named(ended: mean_layer.Parts | None) -> str:
    """The features in words."""
    if ended is None:
        return AS_IT_IS
    return f"that are the mean of all tokens, which the last layer ({ended.layer}) now gives"


def _numbers_of_layers(count: int) -> tuple[int, ...]:
    """The layers whose means are compared, the last first: three at the top, and fewer below, down to the middle."""
    numbers = {count, count - 1, count - 2, 3 * count // 4, (count + 1) // 2}
    return tuple(sorted((number for number in numbers if number >= 1), reverse=True))


def _as_begun(
    reference: Callable[[], AbstractContextManager[PreTrainedModel]] | None, parts: mean_layer.Parts | None, number: int,
    weights: Mapping[str, Tensor],
) -> Callable[[], AbstractContextManager[PreTrainedModel]] | None:
    """`Model.reference` with the layers and the head as this run began: the checkpoint has none.

    Args:
        parts: those of the checkpoint's network.
        number: the layer behind which the network ends; 0: it is as it was.
        weights: of all modules that are new.
    """
    if reference is None:
        return None

    @contextlib.contextmanager
    def as_begun() -> Iterator[PreTrainedModel]:
        with reference() as net:
            if number and parts is not None:
                mean_layer.end_behind(net, parts, number)
            with torch.no_grad():
                for name, value in weights.items():
                    net.get_parameter(name).copy_(value)
            yield net

    return as_begun
