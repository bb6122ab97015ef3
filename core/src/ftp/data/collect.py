"""The rows of all domains of a run, and the same rows encoded."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import TYPE_CHECKING

from ftp.errors import Problem, UserError
from ftp.plugin_info import Answer
from ftp.types import Data, Loss, Run, StartedRun

if TYPE_CHECKING:
    from datasets import Dataset

    from ftp.data.row_types import Rows


def collect(run: Run, refused: list[Problem] | None = None) -> Data:
    """Answers to load_data, joined by split and brought into the run's form.

    Args:
        refused: for a look at rows that is no run: gets what a run would refuse about the splits, which stay as they are.
    """
    from ftp.data.loading import limit_held_out, settle, settle_domains

    answers = run.hooks.each("load_data", run=run)
    if _shared_splits(run, answers):
        data, notes = settle_domains({answer.plugin: dict(answer.value) for answer in answers}, run, refused)
    else:
        splits: dict[str, Rows] = {}
        for answer in answers:
            splits.update(answer.value)
        data, notes = settle(splits, run, refused)
    for note in notes:
        run.tell(note)
    if data.domains:  # each of which has its part of the held-out rows already
        return data
    return dataclasses.replace(data, splits=limit_held_out(data.splits, run, num_domains=1))


def _shared_splits(run: Run, answers: Sequence[Answer]) -> bool:
    """Whether domains give the same split, so that their rows are joined.

    Raises:
        UserError: a plugin gives a split that another one gives, and does not say that it gives it.
    """
    declared = {plugin.name: plugin.splits for plugin in run.hooks.picked}
    # Two that both declare a split know that others give it too; else one of them would be overwritten.
    owner: dict[str, Answer] = {}
    problems: list[Problem] = []
    is_shared = False
    for answer in answers:
        for split in answer.value:
            other = owner.setdefault(split, answer)
            if other is answer:
                continue
            is_shared = True
            if split not in declared.get(answer.plugin, ()) or split not in declared.get(other.plugin, ()):
                who = f"'{other.plugin}' ({other.package}) and '{answer.plugin}' ({answer.package})"
                problems.append(Problem(f"split '{split}' comes from two plugins: {who}, one of which does not declare it",
                                        "leave one of them out, or declare it: @plugin(splits=(...))"))
    if problems:
        raise UserError(problems)
    return is_shared


def encode_all(run: StartedRun, data: Data, loss: Loss) -> dict[str, Dataset]:
    """Every split as encoded rows, once; the main process encodes, the others read what it wrote.

    Raises:
        UserError: answers are cut and may not be, or no row of a split is left.
    """
    from ftp.data.encode import Counts, account, encode, encoder, whole_answers
    from ftp.data.tables import cache_home

    accelerator = run.accelerator
    policy = run.settings.truncated_answers
    cache = run.settings.cache_dir or cache_home()
    kept = cache / "encoded" if cache is not None else None
    encoded: dict[str, Dataset] = {}
    problems: list[Problem] = []
    with accelerator.main_process_first():
        for name, rows in data.splits.items():
            if name == "train" and run.settings.streaming:
                encoded[name] = rows
                continue
            counts = Counts()
            encoded_rows = encode(rows, encoder(loss, name), name, key=loss.key, cache_dir=kept, counts=counts, tell=run.tell)
            notes, cut = account(encoded_rows, counts, name, len(rows), policy)
            for note in notes:
                run.tell(note)
            problems += cut
            encoded[name] = whole_answers(encoded_rows, policy)
            if not cut and not len(encoded[name]):
                raise UserError(f"split '{name}': no row is left after encoding", "no row has a trained term: check the columns "
                                "and --max-length")
    if problems:
        raise UserError(problems)
    return encoded
