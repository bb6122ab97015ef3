"""Heads of networks: what sits on top of one, and all that core must know of it.

A head is a `HeadSpec`, registered under the entry-point group `ftp.heads`; core's own are in this folder, one file each. A spec
is read without torch: what needs it stands behind `ftp.registry.Later`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Literal

from ftp import registry
from ftp.errors import Problem
from ftp.registry import Later, look_up, registered
from ftp.types import Data, Loss, Model, Prediction, Predictions, Run, Score

if TYPE_CHECKING:
    from transformers import PretrainedConfig

__all__ = ["HeadSpec", "Later", "all_heads", "get", "names_of_classes"]

GROUP = "ftp.heads"
OWN = tuple(f"ftp.heads.{name}:HEAD" for name in ("labels", "tags", "span", "tokens", "mask", "score"))


def no_values(labels: Sequence[str]) -> Mapping[str, object]:
    """Nothing to change in a network's configuration."""
    return {}


def names_of_classes(labels: Sequence[str]) -> Mapping[str, object]:
    """The classes of the task by number, for `HeadSpec.config_values`.

    Args:
        labels: their names, in the order of their numbers.
    """
    return {"id2label": dict(enumerate(labels)), "label2id": {name: number for number, name in enumerate(labels)}}


def as_it_is(prediction: Prediction, labels: Sequence[str]) -> Mapping[str, object]:
    """An answer as it is, with the probability of each class where there are classes."""
    is_class = isinstance(prediction.answer, int) and 0 <= prediction.answer < len(labels)
    answer = labels[prediction.answer] if is_class else prediction.answer
    if prediction.scores is None:
        return {"answer": answer}
    if is_class:
        return {"answer": answer, "scores": dict(zip(labels, prediction.scores, strict=True))}
    return {"answer": answer, "scores": list(prediction.scores)}


@dataclass(frozen=True)
class HeadSpec:
    """A head of a network.

    Args:
        name: by which `@plugin(head=...)` and offers name it.
        meaning: what it gives, in a few words.
        auto_class: the class of Transformers that loads a network with it.
        seq2seq_auto_class: that of an encoder-decoder, where it is another one.
        config_values: the names of the classes -> values of the network's configuration (`num_labels`, `problem_type`, ...).
        outputs: what a network gives, by the names of Transformers; several are stacked last.
        probe_inputs: (model, texts) -> inputs of the network by which a saved model is proven; None: the texts, tokenized.
        peft_task: PEFT's name of the task; None: it has none.
        seq2seq_peft_task: that of an encoder-decoder, where it is another one.
        export_task: Optimum's name of the task (that of a pipeline of Transformers); None: it has none.
        seq2seq_export_task: that of an encoder-decoder, where it is another one.
        example: Python that uses a loaded `model` and `tokenizer`, for the card of a model.
        default_loss: (run, data, model) -> the loss where no objective is named; None: an objective must be.
        baselines: (run, data, model, loss, encoded splits, held-out splits) -> what a run is compared with: name of the
            baseline -> split -> its predictions; None: the untuned model.
        shown: (prediction, names of the classes) -> `answer` and maybe `scores`, as they are shown and written.
        scores: (data, predictions by split) -> the scores that a domain gives by default.
        refusal: the network's configuration -> why it cannot have the head though Transformers knows a class; None: it can.
        what_is_trained: what the marks mean in a preview of rows, where trained tokens stand in ⟦...⟧.
        has_classes: its size is the number of classes, whose names the configuration holds.
        probe: how a new head is fitted on the training rows before training: to one class, to any number of labels or to a number
            for each of the terms of its default loss, which has `logits_of` and `targets_of`; empty: it is not.
        reads_first_token: an encoder's head reads a row at its first token.
        picks_class_of: of what it picks one of the classes: of each row, or of each word; empty: it does not.
        finds_span: it finds the first and the last token of an answer.
        has_short_answers: each row has one short answer though the head has no classes and finds no span (a number, a choice).
        gives_number: it gives one number for each row, as a reward does.
        reads_answers: what it judges is an answer: rows to be answered keep theirs.
        writes_text: it writes tokens one after another, so that the network generates text.
        needs_mask_token: its loss hides tokens behind the tokenizer's mask token.
        is_over_vocabulary: its outputs are as many as there are tokens.
        share_scored: the share of a row's tokens at most for which it has outputs in training.
        must_be_trained: it is useless as long as it is new, so a checkpoint must have it.
        loss_is_nats: its loss is a negative log probability of what a row says, so that it compares with guessing.
        unused: modules or weights of the network that it does not read (a pooler under mean pooling): they are not trained.
        model_as: another head, whose default model is taken where no package offers one for this head; empty: none.
    """

    name: str
    meaning: str
    auto_class: str
    seq2seq_auto_class: str | None = None
    config_values: Callable[[Sequence[str]], Mapping[str, object]] = no_values
    outputs: tuple[str, ...] = ("logits",)
    probe_inputs: Callable[[Model, Sequence[str]], Mapping[str, object]] | None = None
    peft_task: str | None = None
    seq2seq_peft_task: str | None = None
    export_task: str | None = None
    seq2seq_export_task: str | None = None
    example: str = ""
    default_loss: Callable[[Run, Data, Model], Loss] | None = None
    baselines: Callable[..., Mapping[str, Mapping[str, Predictions]]] | None = None
    shown: Callable[[Prediction, Sequence[str]], Mapping[str, object]] = as_it_is
    scores: Callable[[Data, Mapping[str, Predictions]], list[Score]] | None = None
    refusal: Callable[[PretrainedConfig], Problem | None] | None = None
    what_is_trained: str = "no single token is trained: the row is"
    has_classes: bool = False
    probe: Literal["", "class", "labels", "number"] = ""
    reads_first_token: bool = False
    picks_class_of: Literal["", "row", "word"] = ""
    finds_span: bool = False
    has_short_answers: bool = False
    gives_number: bool = False
    reads_answers: bool = False
    writes_text: bool = False
    needs_mask_token: bool = False
    is_over_vocabulary: bool = False
    share_scored: float = 1.0
    must_be_trained: bool = False
    loss_is_nats: bool = False
    unused: tuple[str, ...] = ()
    model_as: str = ""

    @property
    def follows_rows(self) -> bool:
        """Whether how much is trained follows from the number of rows: each has one short answer, so few large updates teach
        little."""
        return self.has_classes or self.finds_span or self.has_short_answers

    @property
    def loss_unit(self) -> str:
        """The unit of its loss; empty where it has none."""
        return "nats" if self.loss_is_nats else ""

    def with_unit(self, loss: str) -> str:
        """A loss in words with its unit, where it has one."""
        return f"{loss} {self.loss_unit}".rstrip()

    def is_unused(self, weight: str) -> bool:
        """Whether a weight of this name, or a module that it is in, is one that the head does not read."""
        return any(f".{name}." in f".{weight}." for name in self.unused)

    def auto_class_of(self, is_encoder_decoder: bool) -> str:
        """The class of Transformers that loads a network with this head."""
        return (is_encoder_decoder and self.seq2seq_auto_class) or self.auto_class

    def peft_task_of(self, is_encoder_decoder: bool) -> str | None:
        """PEFT's name of the task; None: it has none."""
        return (is_encoder_decoder and self.seq2seq_peft_task) or self.peft_task

    def export_task_of(self, is_encoder_decoder: bool) -> str | None:
        """Optimum's name of the task; None: it has none."""
        return (is_encoder_decoder and self.seq2seq_export_task) or self.export_task


@cache
def all_heads() -> Mapping[str, HeadSpec]:
    """Every registered head by name, but for those of broken packages."""
    return registered(GROUP, HeadSpec, OWN)


def get(name: str) -> HeadSpec:
    """The head of a name.

    Args:
        name: that of a `HeadSpec`.

    Raises:
        UserError: no installed package registers it.
    """
    return look_up(all_heads(), name, GROUP)


def forget() -> None:
    """Look at the installed packages again (in tests that install one)."""
    all_heads.cache_clear()
    registry.forget()
