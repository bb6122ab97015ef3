"""A finished run, ready to answer: its plugins, its model, its loss, without training."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ftp import forms, heads
from ftp.data.asked import readable_rows
from ftp.data.encode import asked
from ftp.errors import UserError
from ftp.evaluate.predict import answer, predict
from ftp.evaluate.scoring import score
from ftp.folder import paths, state
from ftp.folder.files import Folder
from ftp.folder.log import Log
from ftp.host.quiet import quiet_libraries
from ftp.plugins import trust
from ftp.plugins.call import Hooks
from ftp.plugins.find import discover, pick
from ftp.plugins.plan import options_for, prepare, replace_settings, split_names
from ftp.registry import CORE
from ftp.runs.build import packs
from ftp.runs.saving import EXTRA
from ftp.types import Data, Loss, Model, Predictions, Row, Score, StartedRun


def as_row(text: str, form: str) -> Row:
    """A plain text as a row of a form: a turn of the user, words, or a text. Raises `UserError` for a form that needs more."""
    spec = forms.get(form)
    if spec.row_of_text is not None:
        return spec.row_of_text(text)
    needed = [column.name for column in spec.asked_columns if column.is_required]
    if "text" in needed:
        return {"text": text}
    if len(needed) == 1:
        return {needed[0]: text}
    raise UserError(f"a text alone is no row of the form '{form}'", f"give a file with the columns {' and '.join(needed)}",
                    "ftp predict RUN --input FILE")


class Predictor:
    """A finished run. `predict(rows)` answers texts (or rows of the run's form) and `evaluate(splits)` scores them."""

    def __init__(self, run: StartedRun, data: Data, model: Model, loss: Loss) -> None:
        self.run, self.data, self.model, self.loss = run, data, model, loss

    def predict(self, rows: str | Row | Sequence[str | Row], start: int = 0) -> list[dict[str, Any]]:
        """One dictionary a row: `answer` (the label's name where there are labels), and `scores` by label name.

        Args:
            rows: texts, or rows of the run's form; one that does not stand in a list is one row.
            start: the number of the first row, for messages.
        """
        form = self.run.task.form
        rows = [rows] if isinstance(rows, str | Mapping) else rows
        full = [dict(as_row(row, form) if isinstance(row, str) else row) for row in rows]
        if not full:
            return []
        encoded = asked(self.loss, readable_rows(full, form, start))
        shown = heads.get(self.model.head).shown
        return [dict(shown(prediction, self.data.labels)) for prediction in answer(self.model, self.loss, encoded)]

    def evaluate(self, data: Data) -> tuple[list[Score], dict[str, Predictions]]:
        """Scores of the run's own plugins on the splits of `data`, and the predictions they were made from."""
        from ftp.data.encode import Counts, account, encode, whole_answers

        predictions = {}
        policy = self.run.settings.truncated_answers
        for split, rows in data.splits.items():
            counts = Counts()
            encoded = encode(rows, self.loss.encode_to_score, split, key=self.loss.key, cache_dir=None, counts=counts)
            notes, cut = account(encoded, counts, split, len(rows), policy)
            if cut:
                raise UserError(cut)
            for note in notes:
                self.run.tell(note)
            encoded = whole_answers(encoded, policy)
            predictions[split] = predict(self.run, self.model, self.loss, rows, encoded, split)
        return score(self.run, data, predictions, self.model), predictions


def load(
    folder: str | Path, trust_remote_code: bool = False, trust_recipe: bool = False, allow_changed_base: bool = False
) -> Predictor:
    """The finished run of a run folder.

    A run that a risk verdict stopped at its very end (`--on-risk fail`) has a verified model, and comes back too.

    Args:
        folder: the run's folder.
        trust_remote_code: run the code that came with the model.
        trust_recipe: run the Python files that the run's recipe names.
        allow_changed_base: take the base model under an adapter as it is now.

    Raises:
        UserError: there is no finished run, its plugins are not installed, its recipe names code that the user never ran, or
            the base model under an adapter was changed since.
    """
    folder = state.existing(Path(folder).expanduser())
    saved = Folder(folder)
    recipe = saved.read_recipe()
    facts = saved.read_facts()
    status = facts.get("status", "unknown")
    damaged = state.damaged_model_files(folder) if status == "finished" else []
    if damaged:
        raise UserError(f"{folder}: the run is finished, but {', '.join(damaged)} is missing or damaged",
                        "make it again from the run's checkpoints", f"ftp run --resume {folder}")
    if not (folder / paths.MODEL).is_dir() or not (status == "finished" or "verified" in facts):
        raise UserError(f"{folder}: this run has no model that was verified: it did not finish ({status})", "go on with it",
                        f"ftp run --resume {folder}")
    names = _names_of_plugins(saved, recipe.pop("plugins", ()))
    installed = options_for(pick(names, (), []))[0]
    code = trust.code_of({**recipe, trust.REMOTE: False}, installed, folder)  # for a model's code there is a word of its own
    trust.check(code, str(folder / paths.RECIPE), f"add {trust.FLAG} (in Python: trust_recipe=True)", trust_recipe)
    quiet_libraries()  # before they are imported

    from safetensors.torch import load_file

    from ftp import model as models
    from ftp.train.device import accelerator as make_accelerator

    prepared = prepare(names, given=[(str(folder / paths.RECIPE), recipe)])
    prepared = replace_settings(prepared, trust_remote_code=trust_remote_code)  # asked for again, whatever the recipe says
    accelerator = make_accelerator(prepared.settings, training=False)
    log = Log(None, writer=False)  # the folder's own log is that of the run
    run = StartedRun(prepared.settings, prepared.task, Hooks(prepared.picked, prepared.values), folder, log, accelerator)
    model = models.reload(folder / paths.MODEL, device=accelerator.device, trust_remote_code=trust_remote_code,
                          seed=prepared.settings.seed, allow_changed_base=allow_changed_base)
    data = Data({}, run.task.form, tuple(facts.get("labels", ())))
    model = dataclasses.replace(model, packed=packs(run, model))
    loss = run.hooks.one("make_loss", run=run, data=data, model=model)
    if loss.extra is not None:
        loss.extra.load_state_dict(load_file(folder / paths.MODEL / EXTRA))
    return Predictor(run, data, model, loss)


def _names_of_plugins(saved: Folder, named: str | Sequence[str]) -> list[str]:
    """The plugins that a recipe names, less the defaults of packages that were installed since: they have no say in what was
    trained without them, and a broken one does not keep the model from answering.

    Args:
        named: what the recipe says.
    """
    names = split_names(named)
    try:
        lock = saved.read_lock()["plugins"]
    except UserError:  # answers need no lock
        return names
    if not lock:
        return names
    made_with = {(plugin["name"], plugin.get("distribution")) for plugin in lock}
    for offered in discover().values():
        for plugin in offered:
            # those of core are what a run consists of
            is_newer = plugin.default and plugin.distribution != CORE.name
            if is_newer and (plugin.name, plugin.distribution) not in made_with:
                names.append(f"-{plugin.distribution}:{plugin.name}")
    return names
