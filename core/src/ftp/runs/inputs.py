"""What a run is made from besides its options: hashes of its rows and of its base model, by which a resume knows them again."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from ftp.errors import Problem, UserError
from ftp.folder import paths
from ftp.folder.files import Folder
from ftp.train import checkpoint
from ftp.types import Data, StartedRun

if TYPE_CHECKING:
    from torch import nn


def check_rows(run: StartedRun, data: Data, resumed: bool) -> None:
    """Write down a hash of each split's rows; of a run that is resumed, compare with those that it began with.

    A stream is not hashed, as that would be to read it once more: it is told. Raises `UserError` with the splits that changed.
    """
    from ftp.data.fingerprint import fingerprint

    stored = {split: rows for split, rows in data.splits.items() if hasattr(rows, "num_rows")}
    for split in (data.splits.keys() - stored.keys()) if resumed else ():
        run.tell(f"{split} is a stream: whether its rows are those that the run began with is not checked")
    _check(run, "rows", lambda: {split: fingerprint(rows) for split, rows in stored.items()}, resumed)


def check_model(run: StartedRun, net: nn.Module, resumed: bool) -> None:
    """The same for the base model: its files' content, or the commit of a hub id. A network from scratch has none."""
    from ftp.model.fingerprint import REVISION, hashes, stats
    from ftp.model.loading import origin

    came_from = origin(net)
    source = came_from.source if came_from is not None else None
    if source is None:
        return
    folder, revision = source.folder, str(source.revision)
    known_stats = {} if folder is None else stats(folder)  # taken before the content is read: they never speak for later ones
    _check(run, "model", lambda: {REVISION: revision} if folder is None else hashes(folder), resumed)
    if known_stats and run.accelerator.is_main_process:
        written = Folder(run.out)
        written.write_inputs({**written.read_inputs(), "model_stats": known_stats})


def of_base(out: Path) -> dict[str, dict[str, str]]:
    """What is known of the base model of a run, as `ftp.model.fingerprint.check_base` takes it."""
    from ftp.model.fingerprint import HASHES, REVISION, STATS

    known = Folder(out).read_inputs()
    model = known.get("model", {})
    if REVISION in model:
        return {REVISION: {REVISION: model[REVISION]}}
    return {HASHES: model, STATS: known.get("model_stats", {})} if model else {}


def _check(run: StartedRun, part: Literal["rows", "model"], find: Callable[[], Mapping[str, str]], resumed: bool) -> None:
    """On the main process; a mistake ends every rank."""
    from accelerate.utils import broadcast_object_list

    told: list[list[Problem]] = [[]]
    if run.accelerator.is_main_process:
        folder, found = Folder(run.out), find()
        known = folder.read_inputs()
        if not resumed or not checkpoint.any_in(run.out / paths.CHECKPOINTS):  # nothing was learnt from other ones
            folder.write_inputs({**known, part: found})
        elif part not in known:
            run.tell(f"whether the {part} are those that the run began with is not known: it kept no hashes")
        elif changed := sorted(name for name in {**known[part], **found} if known[part].get(name) != found.get(name)):
            told[0].append(_problem(run.out, part, changed, known[part]))
    if run.accelerator.num_processes > 1:
        broadcast_object_list(told)
    if told[0]:
        raise UserError(told[0])


def _problem(out: Path, part: str, changed: list[str], known: Mapping[str, str]) -> Problem:
    what = f"the rows of {', '.join(changed)}" if part == "rows" else f"the base model ({', '.join(changed)})"
    pin = f' (revision = "{known["revision"]}" in {paths.RECIPE})' if changed == ["revision"] else ""
    return Problem(f"--resume {out}: {what} changed since this run began, so it would end as another run",
                   f"put back what was there{pin}, or start afresh with what is there now",
                   f"ftp run {out / paths.RECIPE} --out {out}-anew")
