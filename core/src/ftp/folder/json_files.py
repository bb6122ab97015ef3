"""What the JSON files of a run's folder hold."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Required, TypedDict


class ChangeFact(TypedDict):
    """An option that was changed at a resume. `time`: seconds since 1970; `old`, `new`: None where it was not given."""

    time: float
    key: str
    old: object
    new: object


class Facts(TypedDict, total=False):
    """What run.json says; each fact is there once it is known.

    `id`: that of the folder's marker. `status`: running, finished, stopped or failed, for the `reason`. `began`, `recipe`:
    hashes of the recipe that the run began with and of the one in force, with the `changes` and `resumes` between them.
    `rules`: the options that follow from the data, each with the rule that gave it.
    `model_files`: sizes in bytes; `weights`: hashes. `verified`: whether model/ was loaded in a fresh process. `trained` of
    `total`: parameters. `checks`: the verdicts of each plugin. `seconds`, `training_seconds`: of all, and of training alone.
    """

    id: str | None
    status: str
    reason: str
    plugins: list[str]
    began: str
    recipe: str
    changes: list[ChangeFact]
    resumes: list[dict[str, object]]
    rules: dict[str, str]
    device: str
    device_kind: str
    device_name: str
    precision: str
    processes: int
    threads: int
    model: str
    form: str
    head: str
    labels: list[str]
    model_files: dict[str, int]
    weights: dict[str, dict[str, str]]
    verified: bool
    trained: int
    total: int
    packed: bool
    checks: dict[str, list[str]]
    steps: int
    best_step: int | None
    seconds: float
    training_seconds: float


class Lock(TypedDict):
    """plugins.lock: the plugins of a run (`ftp.plugins.lock.lock`), and the versions of libraries."""

    plugins: Sequence[dict[str, str]]
    software: dict[str, str]


class Histogram(TypedDict):
    """How many rows have a length between each two edges; there is one edge more than counts."""

    edges: Sequence[float]
    counts: Sequence[int]


class Lengths(TypedDict):
    """Lengths of the rows of a split, in tokens of what the model reads. `p95`: 95 % are no longer."""

    min: int
    median: float
    p95: float
    max: int
    histogram: Histogram


class SplitShape(TypedDict, total=False):
    """What data.json says of a split. `classes`: rows of each; of a stream only that it is `streamed`."""

    streamed: bool
    rows: int
    length: Lengths
    classes: dict[str, int]


class PredictionLine(TypedDict, total=False):
    """What predictions/<split>.jsonl says of a held-out row.

    `row`: its index. `loss`: None for a row without a trained term. `label`: the name of its class; `scores`: the probability
    of each class, in the order of the labels.
    """

    row: Required[int]
    loss: Required[float | None]
    answer: object
    label: str
    scores: Sequence[float]


class Example(TypedDict, total=False):
    """A held-out row that went wrong, in examples.json: as in `PredictionLine`, with the `sure`ness of its answer (0 to 1), and
    its texts in `parts`, each behind the name of its column."""

    split: Required[str]
    row: Required[int]
    loss: Required[float | None]
    answer: object
    label: str
    sure: float
    parts: Sequence[Sequence[str]]
