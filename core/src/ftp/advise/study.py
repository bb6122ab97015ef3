"""The race as a study of Optuna (extra `ftp-core[advise]`): which entries go on, kept in SQLite beside the outcomes.

Without Optuna the standing decides: the first third of a rung goes on. Imports nothing heavy.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Protocol

from ftp.advise.types import Metric

REDUCTION = 3
"""One in three entries of a rung goes on, at least one (successive halving: Jamieson and Talwalkar 2016; Li et al. 2020)."""
FILE = "study.db"


class Study(Protocol):
    """Keeps the values of entries, and says which of them go on."""

    def report(self, entry: str, rung: int, value: float) -> None:
        """Keep the value of an entry at a rung."""

    def promising(self, rung: int, standing: Sequence[str]) -> list[str]:
        """The entries that go on, best first.

        Args:
            rung: at which all of them were measured.
            standing: all of them, best first.
        """

    def close(self, entry: str, value: float | None, left: str) -> None:
        """Keep how an entry ended: its last value, or why it left."""


def open_study(out: Path, key: str, metric: Metric, seed: int) -> tuple[Study, str]:
    """The study of a race, and what there is to tell of it.

    Args:
        out: the folder that it lies in.
        key: of the rows and the metric: a race of others is another study.
        metric: the score that counts.
        seed: of the sampler.
    """
    if find_spec("optuna") is None:
        return Standing(), ("Optuna is not installed: the better third of each rung goes on, and there is no study.db "
                            "(ftp install --exact optuna)")
    return OptunaStudy(out / FILE, key, metric, seed), ""


class Standing:
    """Without Optuna: the better third goes on, and nothing is kept but the outcomes."""

    def report(self, entry: str, rung: int, value: float) -> None:
        pass

    def promising(self, rung: int, standing: Sequence[str]) -> list[str]:
        return list(standing[: max(1, len(standing) // REDUCTION)])

    def close(self, entry: str, value: float | None, left: str) -> None:
        pass


def _word_of(rung: int) -> str:
    return f"goes on after rung {rung}"


class OptunaStudy:
    """A study with a trial for each entry, whose successive halving says which go on."""

    def __init__(self, file: Path, key: str, metric: Metric, seed: int) -> None:
        import optuna

        optuna.logging.set_verbosity(logging.ERROR)
        file.parent.mkdir(parents=True, exist_ok=True)
        way = optuna.study.StudyDirection
        direction = way.MAXIMIZE if metric.goal == "max" else way.MINIMIZE
        pruner = optuna.pruners.SuccessiveHalvingPruner(min_resource=1, reduction_factor=REDUCTION)
        self.study = optuna.create_study(
            storage=f"sqlite:///{file}", study_name=f"{metric.name} {key}", direction=direction, load_if_exists=True,
            sampler=optuna.samplers.RandomSampler(seed=seed), pruner=pruner)
        self.trials: dict[str, Any] = {}

    def report(self, entry: str, rung: int, value: float) -> None:
        trial = self._trial(entry)
        # of a race that goes on where it stopped the study knows already
        if _word_of(rung) not in trial.user_attrs:
            trial.report(value, step=REDUCTION**rung)
            trial.set_user_attr(_word_of(rung), not trial.should_prune())

    def promising(self, rung: int, standing: Sequence[str]) -> list[str]:
        # halving is asynchronous: an entry is held against those that were measured before it, so that the leader is asked for
        kept = [entry for entry in standing[1:] if self._trial(entry).user_attrs.get(_word_of(rung))]
        return [*standing[:1], *kept]

    def close(self, entry: str, value: float | None, left: str) -> None:
        import optuna

        trial = self.trials.pop(entry, None)
        if not isinstance(trial, optuna.trial.Trial):  # nothing was measured, or it had ended before
            return
        trial.set_user_attr("left", left)
        if value is None:
            self.study.tell(trial, state=optuna.trial.TrialState.PRUNED if left else optuna.trial.TrialState.FAIL)
        else:
            self.study.tell(trial, value)

    def _trial(self, entry: str) -> Any:
        """The trial of an entry: that of an interrupted race or of one that is done again, or a new one."""
        import optuna

        if entry in self.trials:
            return self.trials[entry]
        for frozen in self.study.get_trials(deepcopy=False):
            if frozen.user_attrs.get("entry") != entry:
                continue
            is_open = frozen.state == optuna.trial.TrialState.RUNNING
            self.trials[entry] = optuna.trial.Trial(self.study, frozen._trial_id) if is_open else frozen
            return self.trials[entry]
        trial = self.study.ask()
        trial.set_user_attr("entry", entry)
        self.trials[entry] = trial
        return trial
