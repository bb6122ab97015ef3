"""The rows of all domains of a run, and the same rows encoded."""

from __future__ import annotations

import dataclasses
from typing import Any

from ftp.errors import Problem, UserError
from ftp.types import Data, Loss, Run, StartedRun


def collect(run: Run, refused: list[Problem] | None = None) -> Data:
    """Answers to load_data, joined by split and brought into the run's form.

    Args:
        refused: for a look at rows that is no run: gets what a run would refuse about the splits, which stay as they are.
    """
    from ftp.data.load import settle

    splits: dict[str, Any] = {}
    owner: dict[str, str] = {}
    problems = []
    for answer in run.hooks.each("load_data", run=run):
        for split, rows in dict(answer.value).items():
            if split in splits:
                problems.append(Problem(f"split '{split}' comes from two plugins: {owner[split]} and "
                                        f"'{answer.plugin}' ({answer.package})", "leave one of them out"))
            splits[split] = rows
            owner[split] = f"'{answer.plugin}' ({answer.package})"
    if problems:
        raise UserError(problems)
    data, notes = settle(splits, run, refused)
    for note in notes:
        run.tell(note)
    most = run.settings.max_eval_rows
    if most is not None:
        # Held-out rows are drawn, not taken from the front, as files are often sorted.
        shortened = dict(data.splits)
        for name, rows in data.splits.items():
            if name != "train" and len(rows) > most:
                shortened[name] = rows.shuffle(seed=run.settings.seed).select(range(most))
        data = dataclasses.replace(data, splits=shortened)
    return data


def encode_all(run: StartedRun, data: Data, loss: Loss) -> dict[str, Any]:
    """Every split as encoded rows, once; the main process encodes, the others read what it wrote."""
    from ftp.data.encode import Counts, account, encode, encoder, whole_answers
    from ftp.data.tables import cache_home

    accelerator = run.accelerator
    policy = run.settings.truncated_answers
    cache = run.settings.cache_dir or cache_home()
    kept = cache / "encoded" if cache is not None else None
    encoded: dict[str, Any] = {}
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
