"""What flows through a run: small frozen dataclasses. This module imports nothing heavy."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Protocol, TypedDict, runtime_checkable

from typing_extensions import TypeVar

from ftp.deprecation import late_names

if TYPE_CHECKING:
    import numpy as np
    import torch
    from accelerate import Accelerator
    from datasets import Dataset
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

    from ftp.net.logits import Logits
    from ftp.plugin_info import Answer, Picked
    from ftp.settings import Settings

__all__ = [
    "Baseline", "Batch", "Data", "EncodedRow", "Evaluated", "Evaluation", "Event", "Failed", "Finished", "Form", "Goal",
    "Head", "Hooks", "Judged", "Level", "Log", "Loss", "LossOut", "Metric", "Model", "Offer", "Prediction",
    "Predictions", "Result", "Reward", "Risk", "Row", "Run", "Saved", "Score", "Settings", "Started", "StartedRun",
    "Stateful", "Step", "StepOut", "Stop", "Task",
]  # fmt: skip

__getattr__ = late_names(__name__, {"Settings": "ftp.settings:Settings"})

Form = str
"""Which columns the rows of a data set have: the name of a registered `ftp.forms.FormSpec`."""

Head = str
"""What sits on top of the network: the name of a registered `ftp.heads.HeadSpec`."""

Level = Literal["ok", "note", "warn", "stop", "not_run"]
"""A verdict. `not_run` means that nothing was compared; it is never `ok`."""

Goal = Literal["max", "min", "none"]
"""Which way a number is better; `none`: neither."""

Row = Mapping[str, Any]
"""One row of a data set."""


class EncodedRow(TypedDict, total=False):
    """One row as token ids. A loss adds the columns that its own `collate` reads, in a subclass.

    `input_ids`: the tokens; missing only where a row is `left_out`. `token_type_ids`: where the network reads them.
    `row`: number of the row that it was made of.
    `length`: its tokens; core counts `input_ids` where a loss does not say. `cut`: tokens that did not fit, `answer_cut`
    of them the answer's. `left_out`: why there are no tokens; such rows are counted and told. `draw`: in training, a number
    of (seed, step) that is the same on every rank, to draw from what is random in a row. `asked`: True in a row that `ask`
    encoded, which has nothing to learn; core sets `draw` and `asked`.
    """

    input_ids: list[int]
    token_type_ids: list[int]
    row: int
    length: int
    cut: int
    answer_cut: int
    left_out: str
    draw: int
    asked: bool


RowT = TypeVar("RowT", bound=EncodedRow, default=Any)
"""The encoded rows of a loss."""


@dataclass(frozen=True)
class Task:
    """What a run is about, settled before anything heavy is imported.

    `form`: the columns that the objective reads. `head`: what the network ends in. `others`: forms that `--form` could have
    chosen in its place.
    """

    form: Form
    head: Head
    others: tuple[Form, ...] = ()


@dataclass(frozen=True)
class Data:
    """The rows of a run by split name: `train`, `validation`, and where given `test`, `general`.

    Every split has the columns of `form` (other columns are kept: risk checks read them).
    `labels`: names of the classes in the order of their numbers; empty where the form has none.
    `domains`: where several domains give rows, those of each domain alone, by split; empty where there is one. Then the rows of
    all splits have the name of their domain in the column `from_domain`.
    """

    splits: Mapping[str, Dataset]
    form: Form
    labels: tuple[str, ...] = ()
    domains: Mapping[str, Mapping[str, Dataset]] = field(default_factory=dict)


@dataclass(frozen=True)
class Model:
    """A network with its tokenizer, and what other plugins may need to know of it.

    `fresh`: names of modules that are not in the checkpoint (a new classifier), which any parameterisation must
    train and save. `fresh_tokens`: ids of tokens that the run uses and whose rows in the embeddings and the output layer are
    new, or look untrained (`ftp.model.token_rows`); a parameterisation that freezes those should train these rows.
    `reference()`: a context manager in which `net` (the value it yields) gives the answers of the
    weights as they were before this run. `save(folder)`: writes the standard Transformers or PEFT layout.
    `packed`: rows may be laid end to end without padding (measured on this network, see `ftp.net.packing.can_pack`).
    """

    net: PreTrainedModel
    tokenizer: PreTrainedTokenizerBase
    head: Head
    labels: tuple[str, ...] = ()
    fresh: tuple[str, ...] = ()
    reference: Callable[[], AbstractContextManager[PreTrainedModel]] | None = None
    save: Callable[[Path], None] | None = None
    packed: bool = False
    name: str = ""
    fresh_tokens: tuple[int, ...] = ()


@dataclass(frozen=True)
class Batch:
    """Some encoded rows as tensors, ready for `Loss.compute`.

    `inputs`: whatever `compute` of the same objective reads. `count`: number of terms that `LossOut.total` sums
    (rows, or trained tokens); the step divides once by the count over all ranks and micro-batches.
    `rows`: number of rows. `tokens`: number of tokens computed, for the throughput shown.
    """

    inputs: Mapping[str, Any]
    count: int
    rows: int
    tokens: int = 0


@dataclass(frozen=True)
class LossOut:
    """What `Loss.compute` gives for one batch.

    `total`: the SUM of the loss over the batch's `count` terms, never a mean. `metrics`: sums, shown as means over rows (or as
    `Loss.metrics` says). `row_losses`: [rows] sum of the loss of each row; `row_counts`: [rows] number of terms of each row.
    `outputs`: what `Loss.answer` needs to answer without a second forward pass (logits, as a rule).
    `logits` and `targets` [terms]: for a wrapper, where each term is the choice of one class; None where it is not.
    """

    total: torch.Tensor
    metrics: Mapping[str, torch.Tensor] = field(default_factory=dict)
    row_losses: torch.Tensor | None = None
    row_counts: torch.Tensor | None = None
    outputs: Any = None
    logits: Logits | None = None
    targets: torch.Tensor | None = None


@dataclass(frozen=True)
class Prediction:
    """The model's answer to one row: `answer` (class number, tags of the words, text of a span, generated text) and,
    where there are classes, the probability of each in `scores`."""

    answer: Any
    scores: tuple[float, ...] | None = None


@dataclass(frozen=True)
class Predictions:
    """The model's answers to the rows of one split, in row order, made once and gathered from all ranks.

    `losses`: [rows] mean loss of each row in nats; NaN for a row without a trained term.
    `metrics`: means of what the objective measures (`rewards/margins`, ...); `goals`: which way each is better.
    `counts`: [rows] number of terms of each row; None where each counts as one. `domain_metrics`: `metrics` of the rows of each
    domain alone, where a run has several.
    """

    split: str
    rows: Dataset
    answers: Sequence[Prediction]
    loss: float
    losses: np.ndarray
    metrics: Mapping[str, float] = field(default_factory=dict)
    goals: Mapping[str, Goal] = field(default_factory=dict)
    counts: np.ndarray | None = None
    domain_metrics: Mapping[str, Mapping[str, float]] = field(default_factory=dict)


@dataclass(frozen=True)
class Metric:
    """What a metric of `LossOut` is. `goal`: which way it is better. `over`: what it is a mean of, rows or the terms of the loss
    (trained tokens), so that a share of tokens is that of all tokens, not a mean of means."""

    goal: Goal = "none"
    over: Literal["rows", "terms"] = "rows"


class Loss(Protocol[RowT]):
    """An objective: how rows become numbers, and what is minimised.

    Inherit from it, and write `encode`, `collate`, `compute`, `ask` and `answer`; what else there is has a default. Another loss
    with some functions exchanged: `ftp.losses.wrapped`.

    `name`: for logs. `key`: whatever changes what `encode` gives, for the cache. `metrics`: what the metrics of `LossOut` are,
    by name; one that is not named is a mean over rows that has no goal. `extra`: a module trained and saved beside the
    network (a value head).
    `over`: what the loss is a sum over. "terms": rows or tokens, each for itself. "batch": the loss of a row depends on which
    rows stand beside it (negatives in the batch), so that core never splits the rows that a rank has in an update.
    `has_answers`: False where it only scores, so that there is neither `ask` nor `answer`.
    `makes_rows`: whether the model makes its own training rows by `rollout` (RLHF), of which each serves `reuse` updates.
    """

    name: str = ""
    key: str = ""
    metrics: Mapping[str, Metric] = {}
    extra: torch.nn.Module | None = None
    over: Literal["terms", "batch"] = "terms"
    has_answers: bool = True
    makes_rows: bool = False
    reuse: int = 1

    def encode(self, rows: Sequence[Row], /) -> Iterable[RowT]:
        """Rows of the task's form as rows to learn from; called once, and cached.

        One row may become none, one or several: then `row` says which of `rows` each was made of, counted from 0. Where some
        of an answer does not fit (`answer_cut`), that is an error unless `--truncated-answers` allows it.
        """
        raise NotImplementedError

    def encode_to_score(self, rows: Sequence[Row], /) -> Iterable[RowT]:
        """Held-out rows, each for itself, so that it has a loss and an answer of its own: other rows than `encode` gives where
        that lays several in one."""
        return self.encode(rows)

    def ask(self, rows: Sequence[Row], /) -> Iterable[EncodedRow]:
        """Rows to be answered, which need no labels."""
        raise TypeError(f"{type(self).__name__} says that it has answers, and has no method `ask`")

    def collate(self, rows: Sequence[RowT], /) -> Batch:
        """Encoded rows, all to learn from or all `asked`, as tensors."""
        raise NotImplementedError

    def compute(self, batch: Batch, /) -> LossOut:
        """The loss of a batch, inside the run's precision."""
        raise NotImplementedError

    def answer(self, batch: Batch, out: LossOut | None, /) -> list[Prediction]:
        """One answer to each encoded row. `out`: what `compute` gave; None where rows were `asked`."""
        raise TypeError(f"{type(self).__name__} says that it has answers, and has no method `answer`")

    def merge(self, predictions: Sequence[Prediction], encoded: Sequence[RowT], /) -> Prediction:
        """The answers to the encoded rows that were made of one row (windows of a long context) as one."""
        return predictions[0] if len(predictions) == 1 else Prediction(None)

    def write_beside(self, folder: Path, /) -> None:
        """Write what others need beside the weights to use them as this loss means it (how vectors are pooled); nothing by
        default. `ftp merge` copies these files."""
        return

    def rollout(self, prompts: Sequence[RowT], number: int, /) -> Sequence[Sequence[RowT]]:
        """Where the model makes its own rows: encoded rows of one rank, which are prompts, as the rows to train on in each of
        the next `reuse` updates, drawn from nothing but the weights, the seed and `number` (from 0; -1 for a trial).

        All ranks call it together, some maybe without prompts; `collate` and `compute` take both kinds of rows, and prompts
        only without gradients (evaluation). No checkpoint lies between updates of one rollout.
        """
        raise TypeError(f"{type(self).__name__} says that it makes rows, and has no method `rollout`")


@dataclass(frozen=True)
class Score:
    """One number about the model. `goal`: `max` or `min`, which way is better, or `none`: it is only to be known."""

    name: str
    value: float
    goal: Goal = "max"
    split: str = ""
    n: int = 0

    def beats(self, value: float) -> bool:
        """Whether it is better than another value of the same score; never where it has no goal."""
        return self.value > value if self.goal == "max" else self.goal == "min" and self.value < value


@dataclass(frozen=True)
class Baseline:
    """The same number for something simpler, measured in the same run (majority class, untuned model)."""

    baseline: str
    name: str
    value: float
    split: str = ""
    n: int = 0


@dataclass(frozen=True)
class Reward:
    """One reward for each completion; several are summed by weight."""

    name: str
    values: Sequence[float]
    weight: float = 1.0


@dataclass(frozen=True)
class Risk:
    """A verdict of one check: what was found, from which numbers, and which commands would help.

    `level`: ok, note, warn, stop, or not_run (`finding` gives the reason). Nothing compared is never ok.
    """

    name: str
    level: Level
    finding: str
    evidence: Mapping[str, Any] = field(default_factory=dict)
    advice: tuple[str, ...] = ()
    stage: str = ""


@dataclass(frozen=True)
class StepOut:
    """What one update did: `loss` (mean over its count, on the device), `metrics`, `grad_norm` before clipping."""

    loss: torch.Tensor
    metrics: Mapping[str, torch.Tensor] = field(default_factory=dict)
    grad_norm: torch.Tensor | None = None
    count: int = 0
    rows: int = 0
    tokens: int = 0


@dataclass(frozen=True)
class Evaluation:
    """One look at the held-out rows during training. `train_loss`: the same measure on training rows, re-scored in
    evaluation mode (a fixed sample of them); None when it was not asked for."""

    step: int
    loss: float
    scores: tuple[Score, ...] = ()
    train_loss: float | None = None
    losses: Any = None
    train_losses: Any = None


@dataclass(frozen=True)
class Result:
    """What a run ended with. `out`: its folder; `model` is in `out / "model"`, in Transformers or PEFT layout."""

    out: Path
    scores: tuple[Score, ...]
    baselines: tuple[Baseline, ...]
    risks: tuple[Risk, ...]
    step: int
    seconds: float
    trained: int
    total: int
    reason: str
    device: str = ""
    verified: bool = True  # model/ was loaded in a fresh process and gave the same answers; not so with --no-verify

    def score(self, name: str, split: str | None = None) -> float:
        """The value of a score, of the last split (test where there is one) or of `split`."""
        found = [one for one in self.scores if one.name == name and split in (None, one.split)]
        if not found:
            raise KeyError(f"no score {name!r}; there are: {sorted({one.name for one in self.scores})}")
        return found[-1].value


@dataclass(frozen=True)
class Event:
    """Something that happened in a run; its class says what. `step`: the updates done by then."""

    step: int


@dataclass(frozen=True)
class Started(Event):
    """Training begins, or goes on after update `step`. `total`: the updates of the whole run."""

    total: int


@dataclass(frozen=True)
class Step(Event):
    """Updates were done and their numbers read: each `--logging-steps`, and before each evaluation and checkpoint.

    `loss` and `metrics`: means since the last such event. `grad_norm`: of the last update, before clipping; None where
    whoever answered `train_step` gave none. `epoch`: passes over the training rows so far. `memory`: peak, in bytes.
    """

    loss: float
    grad_norm: float | None
    learning_rate: float
    epoch: float
    rows_per_second: float
    tokens_per_second: float
    memory: int
    metrics: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Evaluated(Event):
    """The validation rows were scored. `loss`: on them; `train_loss`: on a sample of the training rows."""

    loss: float
    train_loss: float | None
    scores: tuple[Score, ...]


@dataclass(frozen=True)
class Judged(Event):
    """Checks gave verdicts at a `stage` (as in `check_risks`). `risks`: those of this stage."""

    stage: str
    risks: tuple[Risk, ...]


@dataclass(frozen=True)
class Saved(Event):
    """A checkpoint was written. `path`: its folder, which is removed later when newer ones take its place."""

    path: Path


@dataclass(frozen=True)
class Finished(Event):
    """The run is done: model, scores and report are written. `result`: what `ftp.run` gives."""

    result: Result


@dataclass(frozen=True)
class Failed(Event):
    """The run ends without a result. `error`: why; a `KeyboardInterrupt`, or an error that says so, where it was interrupted."""

    error: BaseException


@dataclass(frozen=True)
class Stop:
    """An answer to the events `Step` and `Evaluated` that ends training after this update; `reason` is told and recorded."""

    reason: str


@dataclass(frozen=True)
class Offer:
    """A model inside an installed package. `folder` holds it in Transformers layout; `sha256` maps file names to
    digests that are checked at load; `default_for` names the heads for which it is the default model. `suggests`: defaults of
    core's options that it would rather have, in place of an objective's (a small model takes a much higher `learning_rate`)."""

    folder: Path
    sha256: Mapping[str, str] = field(default_factory=dict)
    default_for: tuple[Head, ...] = ()
    summary: str = ""
    suggests: Mapping[str, Any] = field(default_factory=dict)


@runtime_checkable
class Stateful(Protocol):
    """A plugin that keeps something from update to update (an average of weights, a counter).

    Its state is in every checkpoint, so that a resumed run goes on exactly. It is the main process's, and is given back to
    each process: keep nothing that differs between processes.
    """

    def state(self) -> Mapping[str, Any]:
        """What it keeps: plain containers, numbers, texts and tensors."""

    def restore(self, state: Mapping[str, Any]) -> None:
        """Take up what `state` gave, with tensors on the CPU, after `make_optimizer` and before the event `Started`."""


class Hooks(Protocol):
    """Asks the plugins of a run (`ftp.plugins.call.Hooks` does), and knows who answered."""

    @property
    def picked(self) -> Sequence[Picked]:
        """The plugins in the order in which they are named."""

    @property
    def plugins(self) -> Mapping[str, Any]:
        """The object of each plugin by its name."""

    def one(self, hook: str, **arguments: Any) -> Any:
        """The answer to a hook that one plugin answers."""

    def each(
        self, hook: str, *, on_error: Callable[[Picked, Exception], Any] | None = None, without: Iterable[str] = (),
        **arguments: Any,
    ) -> list[Answer]:
        """Every answer to a hook that is collected, but for those of the plugins named in `without`."""

    def seen_by(self, domain: str, run: Run) -> Run:
        """A run as a domain sees it that reads rows: with its own `--NAME.data` and `--NAME.columns`, where they are given."""

    def who(self, hook: str) -> list[tuple[str, str]]:
        """Plugins that answer a hook in the order in which they act, each with `answers`, `wraps` or `default`."""

    def hide(self, text: str) -> str:
        """What plugins that answer the hook `hide` leave of a text."""

    def states(self) -> dict[str, Any]:
        """What plugins keep in a checkpoint, by plugin name."""

    def restore(self, states: Mapping[str, Any]) -> None:
        """Give plugins back what they keep in a checkpoint."""


class Log(Protocol):
    """Keeps the events of a run and shows them (`ftp.folder.log.Log` does)."""

    lines: list[dict[str, Any]]

    def event(self, name: str, /, **values: Any) -> None:
        """Add one line."""

    def tell(self, message: str) -> None:
        """Show one line to the user once, and keep it."""

    def truncate(self, step: int) -> str:
        """Go back to an update; gives what is wrong with the lines before it, or an empty text."""

    def sync(self) -> None:
        """Make what is written so far last through a power cut."""

    def close(self) -> None:
        """Close the file; a later event opens it again."""


@dataclass(frozen=True)
class Run:
    """The facts of a run before it is started, as `ftp plan` knows them too; frozen, no counters.

    `hooks`: asks its plugins. `out`: the run folder, `log`: what keeps its events; None where there is none.
    """

    settings: Settings
    task: Task
    hooks: Hooks
    out: Path | None = None
    log: Log | None = None

    def command(self, *options: object, of: str = "run") -> str:
        """A command on this run's recipe, for the advice of a verdict: `command("--max-steps", 50)` does the run again with
        that option, `command(of="data preview")` shows its rows."""
        recipe = self.out / "run.toml" if self.out is not None else "run.toml"
        return f"ftp {of} {shlex.join(map(str, (recipe, *options)))}"

    def hidden(self, said: Any) -> Any:
        """Words of rows (a text, or lists and tables of them) as they may be shown or written down: what the plugins of this
        run that answer the hook `hide` leave of them. Core hides so in verdicts and in what is kept for the report. What is
        shortened is hidden before, as half an identifier is not known as one."""
        if isinstance(said, str):
            return self.hooks.hide(said)
        if isinstance(said, Mapping):
            return {self.hidden(name): self.hidden(value) for name, value in said.items()}
        return type(said)(map(self.hidden, said)) if type(said) in (list, tuple) else said

    def tell(self, message: str) -> None:
        """Show one line to the user once (main process only) and keep it in the log."""
        if self.log is not None:
            self.log.tell(message)


@dataclass(frozen=True)
class StartedRun(Run):
    """A run that has begun: its folder is open, its processes and devices are settled.

    `accelerator`: Accelerate's, for the device, for autocast and for what several processes do together.
    """

    # `field()` takes the defaults of a run away
    out: Path = field()
    log: Log = field()
    accelerator: Accelerator
