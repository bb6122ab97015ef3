"""Find a teacher, and see that it can teach this student. Heavy: imports torch."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from ftp import UserError, heads
from ftp import model as models
from ftp.losses import row_limit
from ftp.net import packing
from ftp.types import Data, Model, Run

SAMPLE = "Seven plus five is twelve; isn't it? Zürich, 3.50 €.\n"


@dataclass(frozen=True)
class Teacher:
    """`net()`: a context manager that gives the network. `order`: for each of the student's classes, its number with the
    teacher. `is_model`: it is the student's own network of before the run."""

    net: Callable[[], AbstractContextManager[Any]]
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
    made = _load(run, data, model, name)
    _same_tokens(made, model, name)
    if heads.get(model.head).writes_text and made.net.config.is_encoder_decoder != model.net.config.is_encoder_decoder:
        raise UserError(f"--distill.teacher {name}: one of teacher and student has an encoder and a decoder, the other "
                        "one stack of layers, so they read different rows", "name a teacher of the student's kind")
    limit, taken = row_limit(run, model), models.capacity(made.net, made.tokenizer)
    if taken is not None and taken < limit:
        raise UserError(f"--distill.teacher {name}: it takes {taken} tokens a row, and the student's rows may have {limit}",
                        "cut them", f"--max-length {taken}")
    net = made.net.to(next(model.net.parameters()).device).eval().requires_grad_(False)
    if model.packed:
        able, why = packing.can_pack(net, made.tokenizer)
        if not able:
            raise UserError(f"--distill.teacher {name}: it cannot read packed rows: {why}", "pad them", "--pack off")
    order: tuple[int, ...] = ()
    if heads.get(model.head).has_classes and made.labels != data.labels:
        order = tuple(made.labels.index(label) for label in data.labels)
    return Teacher(lambda: nullcontext(net), order)


def _load(run: Run, data: Data, model: Model, name: str) -> Model:
    """The teacher with its own head."""
    folder = Path(name).expanduser()
    for place in (folder, folder / "model"):
        if (place / "ftp.json").is_file():
            made = models.reload(place, trust_remote_code=run.settings.trust_remote_code)
            if made.head != model.head:
                raise UserError(f"--distill.teacher {name}: it ends in the head '{made.head}', the student in '{model.head}'",
                                "name a run of the same task")
            return _same_classes(made, data, name)
    source = models.find(name, model.head)
    labels = _classes(source, run, data) if heads.get(model.head).has_classes else ()
    made = models.load(source, model.head, labels, seed=run.settings.seed, trust_remote_code=run.settings.trust_remote_code)
    made = _same_classes(made, data, name)
    if made.fresh:
        raise UserError(f"--distill.teacher {name}: it has no trained head for this task ({', '.join(made.fresh)} would be new)",
                        "train it first, and name its run", f"ftp run --model {name} --plugins ...")
    return made


def _classes(source: Any, run: Run, data: Data) -> tuple[str, ...]:
    """The classes that a checkpoint names; those of the data where it gives them numbers alone, as many."""
    import re

    from ftp.model import read_config

    config = read_config(source, "tokens", (), run.settings.trust_remote_code)
    names = tuple(str(config.id2label[number]) for number in sorted(config.id2label))
    return data.labels if all(re.fullmatch(r"LABEL_\d+", one) for one in names) and len(names) == len(data.labels) else names


def _same_classes(made: Model, data: Data, name: str) -> Model:
    if heads.get(made.head).has_classes and sorted(made.labels) != sorted(data.labels):
        raise UserError(f"--distill.teacher {name}: its classes are {', '.join(made.labels)}; those of the data are "
                        f"{', '.join(data.labels)}", "name a teacher that was trained on these classes")
    return made


def _same_tokens(made: Model, model: Model, name: str) -> None:
    theirs, ours = made.tokenizer.get_vocab(), model.tokenizer.get_vocab()
    if theirs != ours:
        apart = len(set(theirs.items()) ^ set(ours.items()))
        what = f"its tokenizer is another one ({len(theirs)} tokens, the student's {len(ours)}; {apart} differ)"
    elif made.tokenizer(SAMPLE)["input_ids"] != model.tokenizer(SAMPLE)["input_ids"]:
        what = "its tokenizer has the same tokens, but cuts texts otherwise"
    else:
        return
    raise UserError(f"--distill.teacher {name}: {what}, so ids would mean something else to it",
                    "name a teacher of the same family as the student")
