"""What the JSON files of a run's folder hold."""

from __future__ import annotations

from typing import TypedDict


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
