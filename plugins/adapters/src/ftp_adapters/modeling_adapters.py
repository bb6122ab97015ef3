"""Bottleneck adapters on a Transformers network: the module, putting it on, and loading a folder that holds it.

A copy of this file stands beside saved adapters, so that Transformers loads them by `trust_remote_code=True`. It needs torch,
transformers and safetensors alone.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Literal, TypeAlias, TypedDict

import torch
import transformers
from safetensors.torch import load_file
from torch import Tensor, nn
from transformers import AutoConfig, PreTrainedConfig, PreTrainedModel
from transformers.activations import ACT2FN

LAYOUT = "bottleneck_adapters"
WEIGHTS = "adapters.safetensors"


Output: TypeAlias = Tensor | tuple[Tensor, ...]


class Place(TypedDict, total=False):
    """Where an adapter is put. `module`: the name of what it stands behind. `size`: numbers a token there. `reads`: of a
    parallel adapter, the name of the module whose input it reads."""

    module: str
    how: Literal["after", "norm", "beside"]
    size: int
    reads: str


class Settings(TypedDict):
    """How adapters are made. `width`: units of the bottleneck; None: `size` of the place / `reduction_factor`. `token_rows`:
    module -> ids of the tokens whose rows in it are trained. `vocabulary`: rows of the embeddings where tokens were added."""

    places: list[Place]
    width: int | None
    reduction_factor: float
    non_linearity: str
    scaling: float
    ln_before: bool
    dropout: float
    token_rows: dict[str, list[int]]
    vocabulary: int | None


class Bottleneck(nn.Module):  # type: ignore[misc,unused-ignore]
    """scaling * up(f(down(x))): `size` numbers a token to `width` and back. `up` starts at zero, so the start is no change."""

    def __init__(self, size: int, width: int, non_linearity: str, scaling: float, ln_before: bool, dropout: float) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(size) if ln_before else nn.Identity()
        self.down = nn.Linear(size, width)
        self.up = nn.Linear(width, size)
        self.act = ACT2FN[non_linearity]
        self.dropout = nn.Dropout(dropout)
        self.scaling = scaling
        self.enabled = True
        self.input: Tensor | None = None  # what a parallel adapter reads, kept by the part that it stands beside
        nn.init.zeros_(self.up.weight)
        nn.init.zeros_(self.up.bias)

    def forward(self, x: Tensor) -> Tensor:
        """What is added to the network's own [..., size]."""
        x = x.to(self.down.weight.dtype) if not torch.is_autocast_enabled(x.device.type) else x
        return self.up(self.dropout(self.act(self.down(self.norm(x))))) * self.scaling


class TokenRows(nn.Module):  # type: ignore[misc,unused-ignore]
    """Trained rows of some tokens, in place of those that embeddings or an output layer hold.

    Args:
        rows: [tokens, size], as they begin.
    """

    def __init__(self, ids: list[int], rows: Tensor) -> None:
        super().__init__()
        self.rows = nn.Parameter(rows.detach().clone())
        self.enabled = True
        self.register_buffer("ids", torch.tensor(ids, device=rows.device), persistent=False)
        self.token_indices = {LAYOUT: list(ids)}  # whoever asks which rows are trained finds them as in PEFT's layers


# Hooks find the adapter on the module that they are called for, so that copies of a network use their own.


def _after(module: nn.Module, args: tuple[Tensor, ...], output: Output) -> Output:
    """The output of a module, or of a whole block: y + adapter(y)."""
    if not module.bottleneck.enabled:
        return output
    if isinstance(output, tuple):
        return (_added(module, output[0], output[0]), *output[1:])
    return _added(module, output, output)


def _norm(module: nn.Module, args: tuple[Tensor, ...], output: Tensor) -> Tensor:
    """The norm at the end of a block: norm(z + adapter(norm(z))) in place of norm(z)."""
    if not module.bottleneck.enabled:
        return output
    renormed: Tensor = module.forward(_added(module, args[0], output))
    return renormed


def _beside(module: nn.Module, args: tuple[Tensor, ...], output: Tensor) -> Tensor:
    """The end of a part of the network: y + adapter(x), x being the input of that part."""
    part_input = module.bottleneck.input
    module.bottleneck.input = None  # so that no graph outlives its pass
    if not module.bottleneck.enabled or part_input is None:
        return output
    return _added(module, output, part_input)


def _keep_input(module: nn.Module, args: tuple[Tensor, ...]) -> None:
    """The beginning of that part."""
    module.__dict__["beside"].bottleneck.input = args[0]


def _added(module: nn.Module, to: Tensor, read: Tensor) -> Tensor:
    return to + module.bottleneck(read).to(to.dtype)


def _embed_rows(module: nn.Module, args: tuple[Tensor, ...], output: Tensor) -> Tensor:
    """The output of embeddings [..., size], with the trained rows where their tokens stand."""
    trained = module.token_rows
    if not trained.enabled:
        return output
    is_token = args[0].unsqueeze(-1) == trained.ids  # [..., tokens]
    rows = nn.functional.embedding(is_token.int().argmax(-1), trained.rows)
    rows = rows * getattr(module, "embed_scale", 1.0)  # Gemma and BART scale within their embeddings
    return torch.where(is_token.any(-1, keepdim=True), rows.to(output.dtype), output)


def _score_rows(module: nn.Module, args: tuple[Tensor, ...], output: Tensor) -> Tensor:
    """The logits [..., vocabulary], with those of the trained rows in their places."""
    trained = module.token_rows
    if not trained.enabled:
        return output
    bias = module.bias[trained.ids] if module.bias is not None else None
    logits = nn.functional.linear(args[0], trained.rows, bias)
    return output.index_copy(-1, trained.ids, logits.to(output.dtype))


HOOKS: Mapping[str, Callable[..., Output]] = {"after": _after, "norm": _norm, "beside": _beside}


def put(net: PreTrainedModel, settings: Settings) -> list[str]:
    """Put adapters on a network, in place, and give their names."""
    names = []
    for place in settings["places"]:
        module = net.get_submodule(place["module"])
        width = settings["width"] or max(1, round(place["size"] / settings["reduction_factor"]))
        weight = next(module.parameters())
        bottleneck = Bottleneck(place["size"], width, settings["non_linearity"], settings["scaling"], settings["ln_before"],
                                settings["dropout"])
        module.bottleneck = bottleneck.to(weight.device, weight.dtype if weight.is_floating_point() else None)
        module.register_forward_hook(HOOKS[place["how"]])
        if place["how"] == "beside":
            reads = net.get_submodule(place["reads"])
            reads.__dict__["beside"] = module  # not a child: its weights have their place already
            reads.register_forward_pre_hook(_keep_input)
        names.append(f"{place['module']}.bottleneck")
    return names


def put_rows(net: PreTrainedModel, settings: Settings) -> list[str]:
    """Let rows of single tokens be trained, in place, and give the names of the modules that hold them. Modules that share the
    weights of a named one share its trained rows."""
    names = []
    for name, ids in settings.get("token_rows", {}).items():
        weight = net.get_submodule(name).weight
        trained = TokenRows(ids, weight[torch.tensor(ids, device=weight.device)])
        for module in list(net.modules()):  # a copy, as each gets a child
            if getattr(module, "weight", None) is weight:
                module.token_rows = trained
                module.register_forward_hook(_embed_rows if isinstance(module, nn.Embedding) else _score_rows)
        names.append(f"{name}.token_rows")
    return names


def put_saved(net: PreTrainedModel, folder: Path) -> PreTrainedModel:
    """Put the adapters (and the head trained with them) of a saved folder on a network of the same base.

    Raises:
        ValueError: the folder's weights are not those of the adapters on this network.
    """
    settings = json.loads(Path(folder, "config.json").read_text(encoding="utf-8"))["adapters"]
    rows = settings.get("vocabulary")
    if rows and net.get_input_embeddings().weight.shape[0] < rows:  # tokens were added; the folder has their rows
        net.resize_token_embeddings(rows, mean_resizing=False)
    names = [*put(net, settings), *put_rows(net, settings)]
    weights = load_file(Path(folder, WEIGHTS))
    own = net.state_dict()
    # weights of the base are not in the folder, those of the adapters have to be
    added = tuple(f"{name}." for name in names)
    unfit = [name for name in own if name.startswith(added) and name not in weights]
    unfit += [name for name, value in weights.items() if name not in own or own[name].shape != value.shape]
    if unfit:
        raise ValueError(f"{folder}: the adapters do not fit this base: {', '.join(unfit[:3])}")
    net.load_state_dict(weights, strict=False)
    return net


class AdaptersConfig(PreTrainedConfig):  # type: ignore[misc,unused-ignore]
    """Where the base is, and what is put on it. The base's own configuration is in `base_config/`."""

    model_type = LAYOUT


class Adapted:
    """Loads the base that a folder names, and puts the folder's adapters on it."""

    @classmethod
    def register_for_auto_class(cls, auto_class: str | None = None) -> None:
        """Transformers asks for it; there is nothing to note."""

    @classmethod
    def from_pretrained(
        cls, folder: str | Path, *args: object, config: PreTrainedConfig | None = None, **options: Any
    ) -> PreTrainedModel:
        """The network with its adapters, of the class that the base has."""
        if options.pop("output_loading_info", False):
            raise ValueError(f"{folder} holds adapters and no whole model: train from its base")
        written = json.loads(Path(folder, "config.json").read_text(encoding="utf-8"))
        for name in ("adapter_kwargs", "trust_remote_code", "ignore_mismatched_sizes"):
            options.pop(name, None)
        for name in ("revision", "key_mapping"):
            if written.get(name):
                options[name] = written[name]
        if written.get("quantization"):
            from transformers.quantizers import AutoQuantizationConfig

            options["quantization_config"] = AutoQuantizationConfig.from_dict(written["quantization"])
        base = AutoConfig.from_pretrained(Path(folder, "base_config"))
        auto = getattr(transformers, written["auto"])
        net = auto.from_pretrained(written["base_model_name_or_path"], config=base, **options)
        return put_saved(net, Path(folder)).eval()
