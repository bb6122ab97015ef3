"""What a run would do, worked out without weights and without training: who answers which hook, what would be trained,
how many updates there are, and a rough estimate of memory. Heavy where it looks at the model: functions import torch."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from ftp import forms, heads, hookimpl, hooks
from ftp.data.updates import count_updates
from ftp.errors import PluginError, UserError
from ftp.plugin_info import Picked
from ftp.plugins.call import Hooks
from ftp.plugins.declare import implementations, plugin
from ftp.plugins.plan import Prepared
from ftp.runs import following
from ftp.settings import FOLLOWING
from ftp.types import Data, Model, Run

if TYPE_CHECKING:
    from transformers import PreTrainedModel


@dataclass(frozen=True)
class Shape:
    """The network as it would be trained: `trained` of `total` parameters; `weights` lists what is trained; `row_limit` is in
    tokens."""

    name: str
    kind: str
    trained: int
    total: int
    weights: tuple[tuple[str, tuple[int, ...]], ...]
    layers: int
    hidden: int
    heads: int
    vocabulary: int
    row_limit: int


@dataclass(frozen=True)
class Forecast:
    """What is known of a run before it is done.

    `acting`: hook -> (plugin, how it acts), in order. `rows`: of each stored split. `updates`: None where they are not known.
    `memory`: bytes of each part, and `formula` how they came about. `unknown`: what could not be worked out, and why. `notes`:
    what plugins told on the way. `prepared`: the run with the options that follow from its rows, where these are known.
    """

    prepared: Prepared
    acting: Mapping[str, Sequence[tuple[str, str]]]
    rows: Mapping[str, int] = field(default_factory=dict)
    labels: tuple[str, ...] = ()
    shape: Shape | None = None
    updates: int | None = None
    memory: Mapping[str, int] = field(default_factory=dict)
    formula: str = ""
    unknown: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()


def forecast(prepared: Prepared) -> Forecast:
    """Work out what can be known of a run. Reads local data to count rows; loads no weights."""
    from ftp.folder.log import Log

    log = Log(None, writer=False)
    run = Run(prepared.settings, prepared.task, Hooks(prepared.picked, prepared.values), log=log)
    acting = {hook: run.hooks.who(hook) for hook in hooks.ARITY}
    unknown: list[str] = []
    data = _data(run, prepared, unknown)
    head = heads.get(prepared.task.head)
    if "train" in data.splits or not head.follows_rows:
        prepared = following.follow(prepared, following.training_rows(data, prepared.task))
    else:
        unknown += _open_options(prepared)
    run = dataclasses.replace(run, settings=prepared.settings)
    shape = _shape(run, prepared, data, unknown)
    rows = {name: len(split) for name, split in data.splits.items() if hasattr(split, "num_rows")}
    count = updates(prepared, rows.get("train"))
    if count is None:
        unknown.append("updates: the number of training rows (or of their tokens) is not known before they are read")
    sizes, formula = memory(prepared, shape) if shape else ({}, "")
    notes = tuple(str(line["message"]) for line in log.lines if line["event"] == "told")
    return Forecast(prepared, acting, rows, data.labels, shape, count, sizes, formula, tuple(unknown), notes)


def _open_options(prepared: Prepared) -> list[str]:
    """What is not known of options that follow from rows which are not there."""
    flags = [f"--{name.replace('_', '-')}" for name in FOLLOWING if prepared.values[name] is None]
    return [f"{', '.join(flags)}: they follow from the training rows, which are not read"] if flags else []


def updates(prepared: Prepared, rows: int | None) -> int | None:
    """How many updates a run does: as the loop counts them, where rows (not tokens) make an update."""
    settings = prepared.settings
    if settings.max_steps is not None:
        return settings.max_steps
    is_open = prepared.values["epochs"] is None or prepared.values["batch_size"] is None
    if rows is None or is_open or settings.batch_tokens is not None or _orders_rows(prepared):
        return None
    per_epoch = math.ceil(rows / settings.batch_size)
    return count_updates(settings.epochs, lambda epoch: per_epoch)


def _orders_rows(prepared: Prepared) -> bool:
    """Whether a plugin says which rows make an update, so that their number is not known before they are read."""
    options = [implementations(plugin.cls).get("order_rows") for plugin in prepared.picked]
    return any(option is not None and not option.get("trylast") for option in options)


PROCESS = 900_000_000
"""Bytes of a process before any weight: Python, the libraries and the checks; 600 to 700 MB were measured."""

SPARE = 1.15
"""Factor on activations for what allocators keep and operators need beside them."""

RECOMPUTED = 0.6
"""Share of the activations that `--gradient-checkpointing` leaves: checks look at gradients without it."""


def memory(prepared: Prepared, shape: Shape) -> tuple[dict[str, int], str]:
    """Bytes of a run on one device, on the high side, and the formula in words.

    Activations: Korthikanti et al. 2022 (Reducing activation recomputation, equation 1), 34 x hidden bytes a token and
    layer in half precision, twice that in fp32, which autocast keeps beside its copies; and four copies of the attention
    matrix in fp32, which networks without fused attention keep (4 x 4 x heads x length bytes a token and layer).
    Logits: three copies in fp32 of an evaluation's batch. Held against measured peaks by benchmarks/memory.py.
    """
    settings = prepared.settings
    length = shape.row_limit
    rows_of_process = math.ceil(settings.batch_size / settings.processes)
    rows_at_once = min(rows_of_process, settings.micro_batch_size or rows_of_process)
    sequences = forms.get(prepared.task.form).sequences
    tokens = max(length, min(rows_at_once * length, settings.micro_batch_tokens)) * sequences
    bytes_per_token = 68 * shape.hidden + 16 * shape.heads * length  # of one layer
    share = RECOMPUTED if settings.gradient_checkpointing else 1.0
    sizes = {
        "process": PROCESS,
        "weights": 4 * shape.total,
        "gradients": 4 * shape.trained,
        "optimizer": 8 * shape.trained,
        "activations": int(tokens * shape.layers * bytes_per_token * SPARE * share),
    }
    formula = (f"weights 4 x {shape.total:,}; gradients 4 x and AdamW 8 x {shape.trained:,} trained; "
               f"activations {tokens:,} tokens x {shape.layers} layers x (68 x {shape.hidden} + 16 x {shape.heads} x {length}) "
               f"x {SPARE * share:.2f}")
    head = heads.get(prepared.task.head)
    if head.is_over_vocabulary and shape.vocabulary:
        scored = int(max(tokens, settings.eval_batch_tokens) * head.share_scored)
        sizes["logits"] = 3 * 4 * scored * shape.vocabulary
        formula += f"; logits 3 x 4 x {scored:,} x {shape.vocabulary:,}"
    return sizes, formula + f" bytes, if every row had {length} tokens"


def _data(run: Run, prepared: Prepared, unknown: list[str]) -> Data:
    """The rows, where they are on this machine; else none, and why."""
    # a domain has its sample in its package; only what the user names may have to be fetched
    sources = [run.settings.data]
    sources += [prepared.values.get(f"{plugin.name}.data") for plugin in prepared.picked]
    absent = [str(source) for source in sources if source is not None and not Path(source).expanduser().exists()]
    if absent:
        unknown.append(f"data: {', '.join(absent)} is not on this machine, and a plan downloads no rows")
        return Data({}, run.task.form)
    from ftp.data.collect import collect

    return collect(run)


def _shape(run: Run, prepared: Prepared, data: Data, unknown: list[str]) -> Shape | None:
    """The network on the meta device, after every plugin that wraps build_model; None, and why, where that fails."""
    from ftp import model as models
    from ftp.losses.common import row_limit
    from ftp.model.growing import NewTokens

    settings, task = prepared.settings, prepared.task
    builders = [plugin.name for plugin in prepared.picked if _builds_network(plugin, prepared.values)]
    if builders:
        unknown.append(f"model: {', '.join(builders)} builds it in a way of its own, which cannot be asked for without weights")
        return None
    labels = data.labels
    if heads.get(task.head).has_classes and not labels:
        labels = ("class 0", "class 1")
        unknown.append("classes: two are assumed until the data are read")
    source = models.find(settings.model, task.head, settings.revision)
    net = models.shape_only(source, task.head, labels, trust_remote_code=settings.trust_remote_code)
    kind = type(net).__name__  # of the network itself, which a plugin may put into another one
    config = net.config.get_text_config()
    bare = Model(net, None, task.head, labels, _fresh(net, source.folder), name=source.name)
    if source.local or settings.add_tokens or settings.resize_embeddings:  # else a tokenizer would be downloaded for nothing
        wanted = NewTokens(settings.add_tokens, resize=settings.resize_embeddings)
        tokenizer, ids = models.grow_shape(source, net, wanted, trust_remote_code=settings.trust_remote_code)
        bare = dataclasses.replace(bare, tokenizer=tokenizer, fresh_tokens=ids)
    # wrappers put adapters on weights that are not there: shapes and what is trained are known all the same
    try:
        wrapped = _wrapped(run, prepared, bare, data)
    except (PluginError, UserError) as error:
        unknown.append(f"what would be trained: not without weights ({error})")
        return None
    if wrapped.tokenizer is not None:
        _refuse_untrained(run, wrapped)
    trained, total = models.parameters(wrapped.net)
    weights = []
    for name, weight in wrapped.net.named_parameters():
        if weight.requires_grad:
            weights.append((name, tuple(weight.shape)))

    def size(name: str) -> int:
        return int(getattr(config, name, 0))

    return Shape(source.name, kind, trained, total, tuple(weights), size("num_hidden_layers"), size("hidden_size"),
                 size("num_attention_heads"), size("vocab_size"), row_limit(run, wrapped))


def _refuse_untrained(run: Run, model: Model) -> None:
    """Raise what the run would raise for tokens that it adds and leaves untrained. A plan has no recipe that a command could
    name, so only the options of that command are told."""
    from ftp.runs.build import refuse_untrained

    try:
        refuse_untrained(run, model)
    except UserError as error:
        problems = []
        for problem in error.problems:
            options = problem.command.removeprefix(run.command().rstrip()).strip()
            fix = f"{problem.fix}: {options}" if options else problem.fix
            problems.append(dataclasses.replace(problem, fix=fix, command=""))
        raise UserError(problems) from error


def _wrapped(run: Run, prepared: Prepared, bare: Model, data: Data) -> Model:
    """`bare` after the wrappers of build_model, with core's own answer left out."""
    from ftp.model import head_start

    @plugin
    class Bare:
        """Gives the network without weights."""

        @hookimpl(trylast=True)
        def build_model(self) -> Model:
            # a plugin may say around this call how the head is fitted
            head_start.tell_what_may_change(run, bare)
            return bare

    picked = []
    for chosen in prepared.picked:
        is_core = implementations(chosen.cls).get("build_model", {}).get("trylast")
        picked.append(dataclasses.replace(chosen, cls=Bare) if is_core else chosen)
    relay = Hooks(picked, prepared.values)
    inner = Run(prepared.settings, prepared.task, relay)
    model: Model = relay.one("build_model", run=inner, data=data)
    return model


def _builds_network(plugin: Picked, values: Mapping[str, object]) -> bool:
    """Whether a plugin builds the network itself: it has the hook, and the options without which it leaves that to core
    (`builds_with`) are given."""
    marks = implementations(plugin.cls).get("build_model")
    if marks is None or marks.get("wrapper") or marks.get("trylast"):
        return False
    options = plugin.declaration.builds_with
    return not options or any(values.get(f"{plugin.name}.{name}") is not None for name in options)


def _fresh(net: PreTrainedModel, folder: Path | None) -> tuple[str, ...]:
    """Modules that the checkpoint does not have, by the names and shapes that its files list: no weight is read. Without a
    folder, those beside the backbone that hold weights of their own: a new head, as a rule."""
    from ftp.model.new_modules import fresh_modules

    if type(net).__name__.endswith(("ForCausalLM", "ForMaskedLM", "LMHeadModel", "ForConditionalGeneration")):
        return ()
    listed = _listed(folder) if folder is not None else {}
    if not listed:
        beside_backbone = []
        for name, module in net.named_children():
            if name != net.base_model_prefix and next(module.parameters(), None) is not None:
                beside_backbone.append(name)
        return tuple(beside_backbone)
    prefix = f"{net.base_model_prefix}."  # a checkpoint of the backbone alone has names without it
    new = set()
    for name, weight in net.named_parameters():
        if tuple(weight.shape) not in (listed.get(name), listed.get(name.removeprefix(prefix))):
            new.add(name)
    return fresh_modules(net, new)


def _listed(folder: Path) -> dict[str, tuple[int, ...]]:
    """Names and shapes of a checkpoint's weights, from the heads of its files."""
    from safetensors import safe_open

    shapes: dict[str, tuple[int, ...]] = {}
    for file in folder.glob("*.safetensors"):
        with safe_open(file, framework="pt") as weights:
            for name in weights.keys():  # noqa: SIM118 (not a mapping)
                shapes[name] = tuple(weights.get_slice(name).get_shape())
    return shapes
