"""Find a teacher, and see that it can teach this student. Heavy: imports torch."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from torch import Tensor

from ftp import UserError, heads
from ftp import model as models
from ftp.losses import row_limit
from ftp.net import packing
from ftp.types import Data, Model, Run

if TYPE_CHECKING:
    from transformers import PreTrainedModel

    from ftp.model import Source

SAMPLE = "Seven plus five is twelve; isn't it? Zürich, 3.50 €.\n"


@dataclass(frozen=True)
class Teacher:
    """`net()`: a context manager that gives the network. `order`: for each of the student's classes, its number with the
    teacher. `is_model`: it is the student's own network of before the run."""

    net: Callable[[], AbstractContextManager[PreTrainedModel]]
    order: tuple[int, ...] = ()
    is_model: bool = False

    def ordered(self, logits: Tensor) -> Tensor:
        """[rows, classes] in the student's order."""
        return logits[:, list(self.order)] if self.order else logits


def find(run: Run, data: Data, model: Model, name: str | None) -> Teacher:
    """The teacher of a name, on the student's device; without one the student as it was. Raises `UserError` for one that has
    another tokenizer or other classes, no trained head, or cannot read the student's rows."""
    if name is None:
        if model.reference is None:
            raise UserError("distill: the weights of before the run are not at hand", "name a teacher: --distill.teacher MODEL")
        if model.fresh:
            run.tell("distill: the teacher is the model as it was, whose head is new and knows nothing yet; name another: "
                     "--distill.teacher MODEL")
        return Teacher(model.reference, is_model=True)
    teacher = _load(run, data, model, name)
    _same_tokens(teacher, model, name)
    if heads.get(model.head).writes_text and teacher.net.config.is_encoder_decoder != model.net.config.is_encoder_decoder:
        raise UserError(f"--distill.teacher {name}: one of teacher and student has an encoder and a decoder, the other "
                        "one stack of layers, so they read different rows", "name a teacher of the student's kind")
    limit = row_limit(run, model)
    capacity = models.capacity(teacher.net, teacher.tokenizer)
    if capacity is not None and capacity < limit:
        raise UserError(f"--distill.teacher {name}: it takes {capacity} tokens a row, and the student's rows may have {limit}",
                        "cut them", f"--max-length {capacity}")
    net = teacher.net.to(next(model.net.parameters()).device).eval().requires_grad_(False)
    # the teacher reads the same batches as the student
    if model.packed:
        is_able, reason = packing.can_pack(net, teacher.tokenizer)
        if not is_able:
            raise UserError(f"--distill.teacher {name}: it cannot read packed rows: {reason}", "pad them", "--pack off")
    order: tuple[int, ...] = ()
    if heads.get(model.head).has_classes and teacher.labels != data.labels:
        order = tuple(teacher.labels.index(label) for label in data.labels)
    return Teacher(lambda: nullcontext(net), order)


def _load(run: Run, data: Data, model: Model, name: str) -> Model:
    """The teacher with its own head."""
    folder = Path(name).expanduser()
    # a model of ftp tells its head and classes; any other is loaded with the student's
    for saved in (folder, folder / "model"):
        if (saved / "ftp.json").is_file():
            teacher = models.reload(saved, trust_remote_code=run.settings.trust_remote_code)
            if teacher.head != model.head:
                raise UserError(f"--distill.teacher {name}: it ends in the head '{teacher.head}', the student in '{model.head}'",
                                "name a run of the same task")
            return _same_classes(teacher, data, name)
    source = models.find(name, model.head)
    labels = _classes(source, run, data) if heads.get(model.head).has_classes else ()
    teacher = models.load(source, model.head, labels, seed=run.settings.seed, trust_remote_code=run.settings.trust_remote_code)
    teacher = _same_classes(teacher, data, name)
    if teacher.fresh:
        raise UserError(f"--distill.teacher {name}: it has no trained head for this task ({', '.join(teacher.fresh)} would be "
                        "new)", "train it first, and name its run", f"ftp run --model {name} --plugins ...")
    return teacher


def _classes(source: Source, run: Run, data: Data) -> tuple[str, ...]:
    """The classes that a checkpoint names; those of the data where it gives them numbers alone, as many."""
    import re

    from ftp.model import read_config

    config = read_config(source, "tokens", (), run.settings.trust_remote_code)
    names = tuple(str(config.id2label[number]) for number in sorted(config.id2label))
    are_numbers = all(re.fullmatch(r"LABEL_\d+", name) for name in names)
    return data.labels if are_numbers and len(names) == len(data.labels) else names


def _same_classes(teacher: Model, data: Data, name: str) -> Model:
    if heads.get(teacher.head).has_classes and sorted(teacher.labels) != sorted(data.labels):
        raise UserError(f"--distill.teacher {name}: its classes are {', '.join(teacher.labels)}; those of the data are "
                        f"{', '.join(data.labels)}", "name a teacher that was trained on these classes")
    return teacher


def _same_tokens(teacher: Model, model: Model, name: str) -> None:
    theirs = teacher.tokenizer.get_vocab()
    ours = model.tokenizer.get_vocab()
    if theirs != ours:
        num_different = len(set(theirs.items()) ^ set(ours.items()))
        reason = f"its tokenizer is another one ({len(theirs)} tokens, the student's {len(ours)}; {num_different} differ)"
    elif teacher.tokenizer(SAMPLE)["input_ids"] != model.tokenizer(SAMPLE)["input_ids"]:
        reason = "its tokenizer has the same tokens, but cuts texts otherwise"
    else:
        return
    raise UserError(f"--distill.teacher {name}: {reason}, so ids would mean something else to it",
                    "name a teacher of the same family as the student")
