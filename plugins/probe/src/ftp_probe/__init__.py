"""A linear head on a frozen network, fitted in seconds: the best that can be had of few rows a class."""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import replace
from typing import TYPE_CHECKING

from ftp import Candidate, UserError, hookimpl, option, plugin
from ftp.types import Data, Model, Run, StartedRun

if TYPE_CHECKING:
    from ftp.model import HeadFit

STRENGTHS = (0.001, 0.003, 0.01, 0.03, 0.1, 1.0)
"""Inverse penalties that are tried: few rows want a strong one, many a weak one."""
NUM_FOLDS = 5
ROWS_AT_MOST = 10_000


@plugin(
    suggests={"max_steps": 0},
    decides="which weights are trained",
    adds_weights=False,
    candidates=[Candidate(needs="classes", trains_network=False)],
)
class Probe:
    """Fit a linear head on a frozen network and make no update: for few rows a class, in seconds (Alain and Bengio 2016).

    The head, the layer that it reads and its penalty are those that say the most of training rows that were not fitted. What is
    saved is a plain Transformers model. With `--max-steps N` the head alone is trained from there.
    """

    layers: bool = option(True, "let an encoder end behind the layer whose mean over all tokens says the most; without it "
                          "the network keeps its layers")
    class_names: bool = option(True, "let the name of each class count as one more row of it, where names are words and "
                               "that does no harm")
    balanced: bool = option(False, "let classes count alike, however many rows each has")

    @hookimpl(wrapper=True)
    def build_model(self, run: Run, data: Data) -> Generator[None, Model, Model]:
        """Have core fit the new head in the way that suits few rows, and freeze all else."""
        from ftp.model import fitting

        with fitting(self._way()):
            model = yield
        _check(run, data, model)
        trained = _head_of(run, data, model)
        model.net.requires_grad_(False)
        for name in trained:
            model.net.get_submodule(name).requires_grad_(True)
        # modules that were made to average are fitted already, and stay as they are
        return replace(model, fresh=trained, averaging=())

    def _way(self) -> HeadFit:
        from ftp.model import HeadFit

        return HeadFit(STRENGTHS, NUM_FOLDS, ROWS_AT_MOST, any_layer=self.layers, reads_class_names=self.class_names,
                       is_balanced=self.balanced, is_careful=True)


def _check(run: Run, data: Data, model: Model) -> None:
    """Raise `UserError` where there is no fitted head and nothing would be trained either."""
    from ftp.model import why_not_fitted

    if not model.fresh:
        raise UserError(f"probe: {why_not_fitted(run, data, model)}, so there is nothing to fit",
                        "train it further with another method (--plugins full,...), or name another --model")
    # a plan reads no rows through the network, so it does not know
    is_planned = not isinstance(run, StartedRun)
    if is_planned or model.has_fitted_head or run.settings.max_steps != 0:
        return
    why = why_not_fitted(run, data, model) or "the training rows are all of one class"
    raise UserError(f"probe: the head cannot be fitted: {why}", "train with another method (--plugins lora,...), or train the "
                    "head alone", run.command("--max-steps", 300))


def _head_of(run: Run, data: Data, model: Model) -> tuple[str, ...]:
    """The modules that may be trained: the layer that was, or will be, fitted; else all that is new."""
    from ftp.model import why_not_fitted
    from ftp.net.heads import output_layers

    if not model.has_fitted_head and why_not_fitted(run, data, model):
        return model.fresh
    layers = output_layers(model.net, len(model.labels) or 1)
    return tuple(name for name, module in model.net.named_modules() if any(module is layer for layer in layers))
