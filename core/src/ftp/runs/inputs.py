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

    stored = {}
    for split, rows in data.splits.items():
        if hasattr(rows, "num_rows"):
            stored[split] = rows
        elif resumed:
            run.tell(f"{split} is a stream: whether its rows are those that the run began with is not checked")
    _check(run, "rows", lambda: {split: fingerprint(rows) for split, rows in stored.items()}, resumed)


def check_model(run: StartedRun, net: nn.Module, resumed: bool) -> None:
    """The same for the base model: its files' content, or the commit of a hub id. A network from scratch has none."""
    from ftp.model.fingerprint import REVISION, hashes, stats
    from ftp.model.loading import origin

    came_from = origin(net)
    source = None if came_from is None else came_from.source
    if source is None:
        return
    if source.folder is None:
        commit = {REVISION: str(source.revision)}
        _check(run, "model", lambda: commit, resumed)
        return
    folder = source.folder
    known_stats = stats(folder)  # taken before the content is read: they never speak for later files
    _check(run, "model", lambda: hashes(folder), resumed)
    if known_stats and run.accelerator.is_main_process:
        run_folder = Folder(run.out)
        run_folder.write_inputs({**run_folder.read_inputs(), "model_stats": known_stats})


def of_base(out: Path) -> dict[str, dict[str, str]]:
    """What is known of the base model of a run, as `ftp.model.fingerprint.check_base` takes it."""
    from ftp.model.fingerprint import HASHES, REVISION, STATS

    known = Folder(out).read_inputs()
    model = known.get("model", {})
    if not model:
        return {}
    if REVISION in model:
        return {REVISION: {REVISION: model[REVISION]}}
    return {HASHES: model, STATS: known.get("model_stats", {})}


def _check(run: StartedRun, part: Literal["rows", "model"], find: Callable[[], Mapping[str, str]], resumed: bool) -> None:
    """Write down the hashes of a part, or compare them; on the main process, and a mistake ends every rank.

    Args:
        find: gives the hashes, by the name of a split or a file.
    """
    from accelerate.utils import broadcast_object_list

    problems: list[Problem] = []
    if run.accelerator.is_main_process:
        folder = Folder(run.out)
        hashes = find()
        kept = folder.read_inputs()
        if not resumed or not checkpoint.any_in(run.out / paths.CHECKPOINTS):  # nothing was learnt from other ones
            folder.write_inputs({**kept, part: hashes})
        elif part not in kept:
            run.tell(f"whether the {part} are those that the run began with is not known: it kept no hashes")
        else:
            problems = _problems(run.out, part, kept[part], hashes)
    if run.accelerator.num_processes > 1:
        shared = [problems]
        broadcast_object_list(shared)
        problems = shared[0]
    if problems:
        raise UserError(problems)


def _problems(out: Path, part: str, before: Mapping[str, str], now: Mapping[str, str]) -> list[Problem]:
    """What changed since the run began, as one problem; none where nothing did."""
    changed = sorted(name for name in {**before, **now} if before.get(name) != now.get(name))
    if not changed:
        return []
    inputs = f"the rows of {', '.join(changed)}" if part == "rows" else f"the base model ({', '.join(changed)})"
    pin = ""
    if changed == ["revision"]:
        pin = f' (revision = "{before["revision"]}" in {paths.RECIPE})'
    return [Problem(f"--resume {out}: {inputs} changed since this run began, so it would end as another run",
                    f"put back what was there{pin}, or start afresh with what is there now",
                    f"ftp run {out / paths.RECIPE} --out {out}-anew")]
