"""The plugin `lora`: PEFT's low-rank adapters, with PEFT's names for all options."""

from __future__ import annotations

import re
from collections.abc import Generator, Iterable
from typing import TYPE_CHECKING, Literal

from ftp import Candidate, Problem, UserError, hookimpl, nearest, option, plugin
from ftp.types import Model, Run

if TYPE_CHECKING:
    from peft import LoraConfig
    from transformers import PreTrainedModel

ALL = "all-linear"
Init = Literal["true", "false", "gaussian", "orthogonal", "olora", "pissa"]


@plugin(
    suggests={"learning_rate": 1e-3}, decides="which weights are trained",
    candidates=[Candidate(cost=0.7), Candidate({"r": 64, "lora_alpha": 128}, fewest_rows=1000, cost=0.75)],
)
class Lora:
    """Train small low-rank adapters and leave the base weights as they are (Hu et al. 2021, arXiv:2106.09685)."""

    r: int = option(16, "rank of each adapter", low=1)
    lora_alpha: int = option(32, "scale: the adapter's output counts lora_alpha / r times", low=1)
    lora_dropout: float = option(0.0, "share of the adapter's inputs that are dropped in training", low=0, high=0.99)
    target_modules: tuple[str, ...] = option((ALL,), "modules that get an adapter: all-linear (all but the head), "
                                             "ends of names (query,value), or one regular expression for the whole name")
    exclude_modules: tuple[str, ...] = option((), "modules that get none, by the ends of their names")
    modules_to_save: tuple[str, ...] = option((), "modules trained and saved whole; a new head always is")
    bias: Literal["none", "all", "lora_only"] = option("none", "which biases of the base are trained as well")
    use_rslora: bool = option(False, "scale by lora_alpha / sqrt(r) (Kalajdzievski 2023, arXiv:2312.03732)")
    use_dora: bool = option(False, "train length and direction apart (Liu et al. 2024, arXiv:2402.09353)")
    init_lora_weights: Init = option("true", "start of the adapters; true: as nothing; olora and pissa start from the base's "
                                     "own weights and change them")
    layers_to_transform: tuple[int, ...] = option((), "numbers of the layers that get adapters; default: all", low=0)
    layers_pattern: tuple[str, ...] = option((), "name of the list of layers, where PEFT does not find it")
    rank_pattern: tuple[str, ...] = option((), "other ranks for some modules, as in query=8,value=32")
    alpha_pattern: tuple[str, ...] = option((), "other lora_alpha for some modules, as in query=16")
    lora_bias: bool = option(False, "a bias in each adapter")
    ensure_weight_tying: bool = option(False, "train both ends of tied embeddings that modules_to_save names")
    trainable_token_indices: tuple[str, ...] = option(
        ("auto",), "tokens (or their ids) whose rows in embeddings and output layer are trained; auto: those that the run uses "
                   "and that are new or look untrained; none")

    @hookimpl(wrapper=True)
    def build_model(self, run: Run) -> Generator[None, Model, Model]:
        """Put the adapters on; only they and the new head are trained and saved."""
        model = yield
        from ftp.model.peft import attach

        self._check(model)
        changes_base = self.bias != "none" or self.init_lora_weights in ("olora", "pissa")
        adapted = attach(model, self._config(run, model), who="lora", seed=run.settings.seed, reversible=not changes_base)
        net = adapted.net
        if self.ensure_weight_tying and net.get_output_embeddings().weight is not net.get_input_embeddings().weight:
            raise UserError("--lora.ensure_weight_tying: PEFT does not keep the embeddings of this network tied",
                            "leave it and the embeddings in --lora.modules_to_save out, or train with --plugins full")
        return adapted

    def _config(self, run: Run, model: Model) -> LoraConfig:
        """The options as PEFT takes them, which reads an empty list as another choice than none."""
        from peft import LoraConfig

        from ftp.model.peft import task_type, whole

        rows = self._token_rows(run, model)
        # PEFT tells its own start from others by the type of this option
        init = {"true": True, "false": False}.get(self.init_lora_weights, self.init_lora_weights)
        try:
            return LoraConfig(
                task_type=task_type(model), r=self.r, lora_alpha=self.lora_alpha, lora_dropout=self.lora_dropout,
                target_modules=self._targets(model), exclude_modules=list(self.exclude_modules) or None,
                modules_to_save=whole(model, self._whole(model.net)) or None, bias=self.bias, use_rslora=self.use_rslora,
                use_dora=self.use_dora, init_lora_weights=init,
                layers_to_transform=list(self.layers_to_transform) or None,
                layers_pattern=list(self.layers_pattern) or None, rank_pattern=_pairs("rank_pattern", self.rank_pattern),
                alpha_pattern=_pairs("alpha_pattern", self.alpha_pattern), lora_bias=self.lora_bias,
                ensure_weight_tying=self.ensure_weight_tying, fan_in_fan_out=_transposed(model.net),
                trainable_token_indices=rows or None,
            )
        except (ValueError, TypeError, ImportError) as error:
            raise UserError(f"lora: PEFT refuses: {error}") from error

    def _token_rows(self, run: Run, model: Model) -> dict[str, list[int]]:
        """`trainable_token_indices` as PEFT takes them, told where they were found by themselves."""
        from ftp.model.peft import rows_to_train, unable

        names = [name for name, _ in model.net.named_modules()]
        trained: list[str] = []
        for name in self.target_modules:
            trained += _matching(name, names, may_be_pattern=True)
        for name in self.modules_to_save:
            trained += _matching(name, names)
        return rows_to_train(run, model, "--lora.trainable_token_indices", self.trainable_token_indices, trained, unable(model))

    def _whole(self, net: PreTrainedModel) -> tuple[str, ...]:
        """`modules_to_save`. Tied embeddings are called by their output end, the one by which PEFT knows most of them."""
        if not self.ensure_weight_tying:
            return self.modules_to_save
        ends = _tied_ends(net)
        head = next((name for name, module in net.named_modules() if module is net.get_output_embeddings()), "")
        return tuple(head if _matching(name, ends) else name for name in self.modules_to_save)

    def _targets(self, model: Model) -> str | list[str]:
        """`target_modules` as PEFT takes it: a word or expression, or a list of ends of names."""
        if len(self.target_modules) != 1:
            return list(self.target_modules)
        (name,) = self.target_modules
        if name == ALL and self.layers_to_transform:  # PEFT takes numbers of layers only with ends of names
            return sorted({module.split(".")[-1] for module in linear(model.net)})
        return name if name == ALL or _is_pattern(name) else [name]

    def _check(self, model: Model) -> None:
        """Everything in the options that names no module of this network, or that would come out wrong."""
        names = [name for name, _ in model.net.named_modules() if name]
        problems = []
        if ALL in self.target_modules and len(self.target_modules) > 1:
            problems.append(Problem(f"--lora.target_modules {','.join(self.target_modules)}: {ALL} stands alone",
                                    f"leave out {ALL}, or the rest"))
        for name in self.target_modules:
            if name != ALL and not _matching(name, names, may_be_pattern=len(self.target_modules) == 1):
                problems.append(_no_such_module("target_modules", name, model.net))
            if self.layers_to_transform and name in names and "." in name:
                problems.append(Problem(f"--lora.target_modules {name}: PEFT takes layers_to_transform only with ends of names",
                                        f"write {name.split('.')[-1]}"))
        for option_name, ends in (("exclude_modules", self.exclude_modules), ("modules_to_save", self.modules_to_save)):
            problems += [_no_such_module(option_name, name, model.net) for name in ends if not _matching(name, names)]
        for option_name, pairs in (("rank_pattern", self.rank_pattern), ("alpha_pattern", self.alpha_pattern)):
            for pattern in _pairs(option_name, pairs):
                whole_name = re.compile(rf"(.*\.)?({pattern})$")  # as PEFT reads it
                if not any(map(whole_name.match, names)):
                    problems.append(_no_such_module(option_name, pattern, model.net))
        # layers are found by the number in their names, as PEFT does
        parts = set(".".join(names).split("."))
        for number in self.layers_to_transform:
            if str(number) not in parts:
                problems.append(Problem(f"--lora.layers_to_transform {number}: the network has no layer of this number"))
        problems += self._tied(model.net)
        if problems:
            raise UserError(problems)

    def _tied(self, net: PreTrainedModel) -> list[Problem]:
        """Options that touch one end of tied embeddings. An adapter there is lost or doubled when PEFT loads or merges it
        (also with ensure_weight_tying, PEFT 0.21); one end trained whole would leave the other behind."""
        ends = _tied_ends(net)
        # an end that is trained whole takes its twin along only where PEFT is told to
        saved_ends: list[str] = []
        for name in self.modules_to_save:
            saved_ends += _matching(name, ends)
        problems = []
        for name in self.target_modules:
            if name == ALL:
                continue
            for end in _matching(name, ends, may_be_pattern=len(self.target_modules) == 1)[:1]:
                problems.append(Problem(
                    f"--lora.target_modules {name}: {end} shares its weights with {_others(ends, end)}, so an adapter on it "
                    "would not survive merging", "leave it out, or train both ends whole",
                    f"--lora.modules_to_save {ends[0].split('.')[-1]} --lora.ensure_weight_tying"))
        if saved_ends and not self.ensure_weight_tying:
            end = saved_ends[0]
            problems.append(Problem(f"--lora.modules_to_save {end}: it shares its weights with {_others(ends, end)}, which would "
                                    "stay behind",
                                    "train both ends", "add --lora.ensure_weight_tying"))
        if self.ensure_weight_tying and not saved_ends:
            problems.append(Problem("--lora.ensure_weight_tying: it would do nothing",
                                    "it goes with tied embeddings named in --lora.modules_to_save"))
        return problems


def linear(net: PreTrainedModel) -> list[str]:
    """Names of the linear layers (GPT-2's Conv1D among them) without the output layer."""
    from torch.nn import Linear
    from transformers.pytorch_utils import Conv1D

    head = net.get_output_embeddings()
    return [name for name, module in net.named_modules() if isinstance(module, (Linear, Conv1D)) and module is not head]


def _tied_ends(net: PreTrainedModel) -> list[str]:
    """Names of the embeddings and of the output layer where they share their weights; else none."""
    head, embedding = net.get_output_embeddings(), net.get_input_embeddings()
    if head is None or head.weight is not embedding.weight:
        return []
    return [name for name, module in net.named_modules() if module is head or module is embedding]


def _others(ends: Iterable[str], end: str) -> str:
    return " and ".join(other for other in ends if other != end)


def _transposed(net: PreTrainedModel) -> bool:
    from transformers.pytorch_utils import Conv1D

    return any(isinstance(module, Conv1D) for module in net.modules())


def _is_pattern(name: str) -> bool:
    return bool(re.search(r"[\\^$*+?()\[\]{}|]", name))


def _matching(name: str, modules: Iterable[str], *, may_be_pattern: bool = False) -> list[str]:
    """The modules that a name stands for: those that end in it, or match it as a whole where it is an expression."""
    if not (may_be_pattern and _is_pattern(name)):
        return [module for module in modules if f".{module}".endswith(f".{name}")]
    try:
        return [module for module in modules if re.fullmatch(name, module)]
    except re.error as error:
        raise UserError(f"--lora.target_modules {name}: not a regular expression: {error}") from error


def _no_such_module(option_name: str, name: str, net: PreTrainedModel) -> Problem:
    ends = sorted({module.split(".")[-1] for module in linear(net)})
    names: set[str] = set()
    for module, _ in net.named_modules():
        names |= {module, module.split(".")[-1]}
    words = sorted(word for word in names if word and not word.isdigit())
    hint = nearest(name, ends) or nearest(name, words)
    return Problem(f"--lora.{option_name} {name}: this network has no such module",
                   f"{hint} linear layers: {', '.join(ends)}".strip())


def _pairs(option_name: str, texts: Iterable[str]) -> dict[str, int]:
    """`("query=8",)` -> `{"query": 8}`."""
    pairs = {}
    for text in texts:
        name, _, number = text.rpartition("=")
        if not name or not number.strip().isdigit() or int(number) < 1:
            raise UserError(f"--lora.{option_name} {text}: not name=number", f"as in {option_name} query=8,value=32")
        pairs[name.strip()] = int(number)
    return pairs
