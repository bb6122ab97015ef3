"""The plugin `adapters`: bottleneck adapters in three placements, with AdapterHub's names for the options."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from ftp import Candidate, UserError, hookimpl, option, plugin
from ftp.types import Model, Run

if TYPE_CHECKING:
    from torch import nn
    from transformers import PreTrainedModel

    from ftp_adapters.modeling_adapters import Settings

Placement = Literal["pfeiffer", "houlsby", "parallel"]
NonLinearity = Literal["relu", "gelu", "gelu_new", "silu", "swish", "tanh", "leaky_relu", "linear"]


@dataclass(frozen=True)
class Usual:
    """What options are where nothing is said."""

    reduction_factor: float
    non_linearity: NonLinearity
    scaling: float


USUAL: dict[Placement, Usual] = {
    "pfeiffer": Usual(16.0, "relu", 1.0), "houlsby": Usual(16.0, "swish", 1.0), "parallel": Usual(2.0, "relu", 4.0),
}
"""What each placement takes where nothing is said: AdapterHub's double_seq_bn, seq_bn and par_bn."""


@plugin(
    suggests={"learning_rate": 1e-3}, decides="which weights are trained",
    candidates=[Candidate(cost=0.7), Candidate({"placement": "parallel"}, fewest_rows=1000, cost=0.7)],
)
class Adapters:
    """Train small bottleneck adapters between the layers and leave the base weights as they are (Houlsby et al. 2019)."""

    placement: Placement = option("pfeiffer", "pfeiffer: one a block, after its feed-forward part (Pfeiffer et al. 2021, "
                                  "arXiv:2005.00247); houlsby: after attention and after feed-forward (arXiv:1902.00751); "
                                  "parallel: beside feed-forward, scaled (He et al. 2022, arXiv:2110.04366)")
    reduction_factor: float | None = option(None, "the bottleneck has hidden size / this many units; default: 16, of parallel 2",
                                            low=0.01)
    bottleneck_size: int | None = option(None, "units of the bottleneck, in place of reduction_factor", low=1)
    non_linearity: NonLinearity | None = option(None, "function between down and up; default: relu, of houlsby swish")
    scaling: float | None = option(None, "the adapter's output counts this many times; default: 1, of parallel 4")
    ln_before: bool = option(False, "a layer norm at the adapter's beginning")
    dropout: float = option(0.0, "share of the bottleneck's units that are dropped in training", low=0, high=0.99)
    layers: tuple[int, ...] = option((), "numbers of the blocks that get adapters; default: all", low=0)
    trainable_token_indices: tuple[str, ...] = option(
        ("auto",), "tokens (or their ids) whose rows in embeddings and output layer are trained; auto: those that the run uses "
                   "and that are new or look untrained; none")

    @hookimpl(wrapper=True)
    def build_model(self, run: Run) -> Generator[None, Model, Model]:
        """Put the adapters on; only they and the new head are trained and saved."""
        model = yield
        import torch

        from ftp_adapters import modeling_adapters

        self._check(model)
        settings = self._settings(run, model)
        untrained_modules = _copies(model)
        model.net.requires_grad_(False)
        # adapters begin the same whatever was drawn before
        with torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(run.settings.seed)
            names = [*modeling_adapters.put(model.net, settings), *modeling_adapters.put_rows(model.net, settings)]
        for name in (*names, *model.fresh):
            model.net.get_submodule(name).requires_grad_(True)
        trained = tuple(f"{name}." for name in (*names, *model.fresh))

        def save(folder: Path) -> None:
            _save(model, folder, settings, trained)

        return replace(model, save=save, reference=_reference(model.net, names, untrained_modules))

    def _check(self, model: Model) -> None:
        """Raise `UserError` for options and networks that do not go together."""
        if self.bottleneck_size is not None and self.reduction_factor is not None:
            raise UserError("--adapters.bottleneck_size and --adapters.reduction_factor: both say how wide it is",
                            "leave one of them out")
        if hasattr(model.net, "peft_config"):
            raise UserError("adapters: the network has an adapter of PEFT already", "name one of the two methods")
        if any(name.endswith(".bottleneck") for name, _ in model.net.named_modules()):
            raise UserError("adapters: the network has adapters already", "name the method once")

    def _settings(self, run: Run, model: Model) -> Settings:
        """The options as they are saved beside the adapters."""
        from ftp_adapters import places

        usual = USUAL[self.placement]
        return {
            "places": places.find(model.net, self.placement, self.layers),
            "width": self.bottleneck_size,
            "reduction_factor": self.reduction_factor or usual.reduction_factor,
            "non_linearity": self.non_linearity or usual.non_linearity,
            "scaling": usual.scaling if self.scaling is None else self.scaling,
            "ln_before": self.ln_before,
            "dropout": self.dropout,
            "token_rows": self._token_rows(run, model),
            "vocabulary": _grown_vocabulary(model),
        }

    def _token_rows(self, run: Run, model: Model) -> dict[str, list[int]]:
        """Module -> ids of the tokens whose rows in it are trained."""
        from ftp.model.peft import rows_to_train

        return rows_to_train(run, model, "--adapters.trainable_token_indices", self.trainable_token_indices, model.fresh,
                             _no_rows(model))


def _no_rows(model: Model) -> str:
    """Why rows of single tokens cannot be trained in this network; an empty text where they can."""
    from torch import nn

    from ftp.model.token_rows import ends

    for name, module in ends(model.net).items():
        if not isinstance(module, nn.Embedding | nn.Linear) or not module.weight.is_floating_point():
            return f"{name} is no plain matrix with a row for each token"
    return ""


def _grown_vocabulary(model: Model) -> int | None:
    """Rows of the embeddings where tokens were added to those of the base; else None."""
    from ftp.model import origin

    came_from = origin(model.net)
    return came_from.grown.rows if came_from is not None and came_from.grown is not None else None


def _copies(model: Model) -> dict[str, nn.Module]:
    """The new modules as they are before training, for the reference."""
    import copy

    return {name: copy.deepcopy(model.net.get_submodule(name)).requires_grad_(False).eval() for name in model.fresh}


def _reference(
    net: PreTrainedModel, names: list[str], untrained_modules: dict[str, nn.Module]
) -> Callable[[], AbstractContextManager[PreTrainedModel]]:
    """`Model.reference` by switching the adapters off and putting the new modules of before the run in their places."""
    import torch

    from ftp.model import evaluating

    @contextmanager
    def reference() -> Iterator[PreTrainedModel]:
        own = {name: net.get_submodule(name) for name in untrained_modules}
        device = next(net.parameters()).device
        try:
            for name, module in untrained_modules.items():
                net.set_submodule(name, module.to(device))
            for name in names:
                net.get_submodule(name).enabled = False
            with evaluating(net), torch.no_grad():
                yield net
        finally:
            for name in names:
                net.get_submodule(name).enabled = True
            for name, module in own.items():
                net.set_submodule(name, module)

    return reference


def _save(model: Model, folder: Path, settings: Settings, trained: tuple[str, ...]) -> None:
    """Write the layout: what was trained, the base's configuration, and the code that puts them together."""
    import json
    import shutil

    from safetensors.torch import save_file

    from ftp import heads
    from ftp.model import origin
    from ftp_adapters import modeling_adapters as code

    net = model.net
    # the base is not saved: the folder names it
    weights = {name: value.detach().cpu().contiguous() for name, value in net.state_dict().items() if name.startswith(trained)}
    save_file(weights, folder / code.WEIGHTS, metadata={"format": "pt"})
    net.config.save_pretrained(folder / "base_config")
    came_from = origin(net)
    source = came_from.source if came_from else None
    auto = heads.get(model.head).auto_class_of(net.config.is_encoder_decoder)
    file = Path(str(code.__file__))
    shutil.copyfile(file, folder / file.name)
    written = {
        "model_type": code.LAYOUT, "auto_map": {"AutoConfig": f"{file.stem}.AdaptersConfig", auto: f"{file.stem}.Adapted"},
        "auto": auto, "base_model_name_or_path": str(source.where) if source else net.name_or_path,
        "revision": source.revision if source and source.folder is None else None,
        "key_mapping": dict(came_from.key_mapping) if came_from else {}, "adapters": settings,
        "quantization": dict(came_from.quantization) if came_from else {},
    }
    (folder / "config.json").write_text(json.dumps(written, indent=2) + "\n", encoding="utf-8")
