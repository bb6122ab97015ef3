"""What a run leaves behind: its model, proven; its scores, answers and facts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from ftp import heads
from ftp.folder import contents, paths
from ftp.folder.files import Folder
from ftp.host.faults import whole_folder
from ftp.report import keep
from ftp.runs import inputs
from ftp.types import Baseline, Data, Loss, Model, Predictions, Score, StartedRun

if TYPE_CHECKING:
    from datasets import Dataset

EXTRA = "extra.safetensors"
"""What an objective trains beside the network (a value head), in model/."""


def verify(run: StartedRun, model: Model, encoded: Mapping[str, Dataset]) -> None:
    """Load what was saved with plain Transformers or PEFT in a fresh process and compare its answers with the network's."""
    from ftp import model as models
    from ftp.model import merging
    from ftp.net import layout

    if not run.accelerator.is_main_process:
        return
    if heads.get(model.head).probe_inputs is not None:  # a row is no single sequence
        inputs = models.probe(model, merging.TEXTS)
    else:
        part = encoded["validation"].select(range(min(4, len(encoded["validation"]))))
        rows = [row["input_ids"] for row in part]
        inputs = layout.lay(rows, packed=False, pad_id=model.tokenizer.pad_token_id or 0)
    models.verify(model, run.out / paths.ASIDE, inputs)


def save(
    run: StartedRun, folder: Folder, data: Data, model: Model, loss: Loss, scores: Sequence[Score],
    baselines: Sequence[Baseline], predictions: Mapping[str, Predictions],
) -> None:
    """Write the model beside where it will be, and the scores and answers of the held-out rows."""
    from safetensors.torch import save as to_bytes

    from ftp import model as models

    aside = folder.model_aside()
    # default plugins are in every run, and say nothing of how the model was made
    named = [plugin.name for plugin in run.hooks.picked if not plugin.found.default]
    with whole_folder(aside):
        models.save(model, aside, plugins=named, scores=[*scores, *baselines], base_files=inputs.of_base(run.out),
                    write_beside=loss.write_beside)
        if loss.extra is not None:
            (aside / EXTRA).write_bytes(to_bytes(loss.extra.state_dict()))
    folder.write_scores(scores, baselines)
    shown = heads.get(model.head).shown
    for split, answers in predictions.items():
        folder.write_predictions(split, keep.answers(data, answers, run.hidden, shown))
    if most := run.settings.report_examples:
        folder.write_examples(keep.examples(data, predictions, most, run.hidden, shown))


def put_in_place(
    run: StartedRun, folder: Folder, data: Data, model: Model, trained: int, total: int, checks: Mapping[str, Sequence[str]]
) -> None:
    """Make what was saved and verified the run's `model/`, and write down what it is.

    Args:
        trained: number of weights that were trained, of `total`.
        checks: the names of the verdicts of each plugin.
    """
    model_files = folder.put_model()
    folder.write_facts(verified=run.settings.verify, model_files=model_files,
                       weights=contents.of_weights(run.out, model_files), labels=data.labels, form=data.form,
                       head=run.task.head, model=model.name, trained=trained, total=total, packed=model.packed, checks=checks)
