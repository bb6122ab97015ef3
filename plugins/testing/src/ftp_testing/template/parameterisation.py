"""The parameterisation plugin-name: which weights may move."""

from __future__ import annotations

from collections.abc import Generator

from ftp import UserError, hookimpl, option, plugin
from ftp.types import Model


@plugin(
    suggests={"learning_rate": 1e-4},  # defaults of core's options that this method would rather have
    decides="which weights are trained",  # a second method that decides this in a run is an error
)
class PluginName:
    """Train the upper layers and leave the lower ones as they are (as Lee et al. 2019, arXiv:1911.03090)."""

    # A field is an option: --plugin-name.layers 2 on the command line, layers = 2 in a recipe.
    layers: int = option(1, "how many layers are trained, counted from the top", low=1)

    @hookimpl(wrapper=True)
    def build_model(self) -> Generator[None, Model, Model]:
        """Freeze all but the upper layers, and what is new in this run."""
        model = yield  # the model as loaded, or as wrapped by the plugins that are named before this one

        from torch.nn import ModuleList  # heavy imports stand inside hooks, so that `ftp --help` stays quick

        lists = {name: module for name, module in model.net.named_modules() if isinstance(module, ModuleList)}
        if not lists:
            # what is wrong, what would be right, the command to run next
            raise UserError("plugin-name: there is no list of layers", "take another method", "ftp plugins")
        name = max(lists, key=lambda name: len(lists[name]))  # the longest list
        layers = lists[name]
        if self.layers > len(layers):
            raise UserError(f"--plugin-name.layers {self.layers}: there are {len(layers)}", "take fewer")
        # model.fresh: what is not in the checkpoint (a new classifier); untrained it would stay random
        trained = list(model.fresh)
        trained += [f"{name}.{index}" for index in range(len(layers) - self.layers, len(layers))]
        prefixes = tuple(f"{module}." for module in trained)
        for weight_name, weight in model.net.named_parameters():
            weight.requires_grad_(weight_name.startswith(prefixes))
        return model
