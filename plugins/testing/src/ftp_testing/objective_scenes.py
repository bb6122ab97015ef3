"""Scenes on which checks of objectives look at a loss, and what they do there. Heavy: imports torch."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch

from ftp import forms, heads
from ftp.types import Row, Task
from ftp_testing.models import PAIRED
from ftp_testing.outcome import Fault, NotApplicable
from ftp_testing.scene import Scene, build, move, scene_of
from ftp_testing.subject import Subject


def task_of(subject: Subject) -> Task:
    """What a run of the plugin is about."""
    return subject.prepared().task


def has_answers(form: str) -> bool:
    """Whether rows are prompts with answers in messages."""
    spec = forms.get(form)
    return spec.has_messages and not spec.has_prompts_alone


def train(scene: Scene, rows: Sequence[Row], updates: int) -> None:
    """Some updates as the loop does them, all on the same rows; AdamW without decay, so that only gradients move weights."""
    from ftp.train.seeds import seed_step

    optimizer = torch.optim.AdamW([{"params": list(scene.trained().values())}], lr=2e-3, weight_decay=0.0)
    micro_batches = [rows[:5], rows[5:]] if len(rows) > 5 else [rows]
    scene.model.net.train()
    for step in range(updates):
        seed_step(0, step, 0)
        out = scene.update(micro_batches, optimizer)
        if not math.isfinite(float(out.loss)):
            raise Fault(f"the loss of update {step + 1} is {float(out.loss)}", "look for a logarithm or a division of zero")
    scene.model.net.eval()


def moved_at_first(scene: Scene) -> Scene:
    """With moved weights, so that nothing is equal by chance. An objective that has a say in the update may take something over
    all of it, so that batches add up at the start alone: its weights stay."""
    return scene if scene.steps_itself else move(scene)


def moved_at_last(scene: Scene) -> Scene:
    """What `moved_at_first` gave, with moved weights in any case."""
    return move(scene) if scene.steps_itself else scene


def scenes_of(subject: Subject) -> list[Scene]:
    """The first model that fits; and for tokens a decoder whose answers end with an EOS that is its pad token too."""
    scenes = [scene_of(subject)]
    if heads.get(task_of(subject).head).writes_text and scenes[0].kind not in ("gpt2", *PAIRED):
        scenes.append(build(subject, "gpt2", ended=True))
    return scenes


def answering_scenes(subject: Subject) -> list[Scene]:
    """`scenes_of`, where rows are prompts with answers that the network writes."""
    task = task_of(subject)
    if not heads.get(task.head).writes_text or not has_answers(task.form):
        raise NotApplicable(f"there are no prompts and answers to tell apart (form {task.form}, head {task.head})")
    return scenes_of(subject)


def token_columns(row: Row) -> list[tuple[str, list[int]]]:
    """The columns of an encoded row that hold token ids, each with its name."""
    columns = []
    for name, value in row.items():
        is_of_tokens = name == "input_ids" or (name.endswith("_ids") and name != "token_type_ids")
        if is_of_tokens and isinstance(value, list) and value:
            columns.append((name, value))
    return columns


def shown_metrics(scene: Scene, rows: Sequence[Row]) -> dict[str, float]:
    """The metrics of a batch of rows, as means over them."""
    return {name: float(value) / len(rows) for name, value in scene.out(rows).metrics.items()}
