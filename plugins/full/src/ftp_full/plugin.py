"""The plugin `full`: all weights are trained, less those that `--full.freeze` names."""

from __future__ import annotations

from collections.abc import Generator
from fnmatch import fnmatchcase

from ftp import Candidate, Problem, UserError, hookimpl, nearest, option, plugin
from ftp.types import Model


@plugin(decides="which weights are trained", adds_weights=False, candidates=[Candidate()])
class Full:
    """Train all weights of the network, or all but some."""

    freeze: tuple[str, ...] = option((), "patterns of names of weights that stay as they are, as in "
                                         "'*embeddings*,*.layer.0.*'")

    @hookimpl(wrapper=True)
    def build_model(self) -> Generator[None, Model, Model]:
        """Mark every weight as trained, then take those out that a pattern names."""
        model = yield
        weights = dict(model.net.named_parameters())
        if getattr(model.net, "is_quantized", False):
            raise UserError("full: the weights of this network are quantised, and cannot be trained",
                            "train weights beside them: --plugins quantize,lora,...; or leave quantize out")
        for weight in weights.values():
            weight.requires_grad_(weight.is_floating_point())
        problems = []
        for pattern in self.freeze:
            matched = [name for name in weights if fnmatchcase(name, pattern)]
            for name in matched:
                weights[name].requires_grad_(False)
            if not matched:
                problems.append(Problem(f"--full.freeze {pattern}: no weight has such a name", _hint(pattern, list(weights))))
        if problems:
            raise UserError(problems)
        if not any(weight.requires_grad for weight in weights.values()):
            raise UserError(f"--full.freeze {','.join(self.freeze)}: nothing is left to train",
                            "name fewer patterns; the head at least must be trained")
        return model


def _hint(pattern: str, names: list[str]) -> str:
    """The nearest name, or some, and what a pattern looks like."""
    word = pattern.strip("*")
    for name in names:
        if word and word in name:
            return f"'{name}' has it within: did you mean '*{word}*'?"
    parts = set(names)
    for name in names:
        parts |= set(name.split("."))
    return nearest(word, sorted(parts)) or f"names look like this: {', '.join(names[:3])}"
