"""Ask every check for its verdicts, at each stage of a run."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence

from ftp.errors import Problem, RiskStop, UserError
from ftp.folder.files import Folder
from ftp.plugin_info import Picked
from ftp.plugins.declare import kind_of
from ftp.types import Comparison, Data, Evaluation, Judged, Loss, Model, Predictions, Risk, StartedRun

BEFORE_TRAINING = ("data", "start")
"""Stages at which a verdict that ends the run raises, as nothing is lost yet."""
SERIOUS = ("warn", "stop")


class Verdicts:
    """Asks for verdicts at each stage and keeps the last of each name. A check that raised has nothing more to say: what it
    noted before may be half of it."""

    def __init__(self, run: StartedRun) -> None:
        self.run = run
        self.all: dict[str, Risk] = {}
        self.owner: dict[str, str] = {}  # name of a verdict -> the plugin that gave it
        self.failed: set[str] = set()  # plugins that raised

    def latest(self) -> list[Risk]:
        return list(self.all.values())

    def names(self) -> dict[str, list[str]]:
        """The names of the verdicts of each plugin that gave any."""
        names: dict[str, list[str]] = {}
        for name, plugin in self.owner.items():
            names.setdefault(plugin, []).append(name)
        return names

    def check(
        self, stage: str, data: Data, model: Model | None = None, loss: Loss | None = None,
        predictions: Mapping[str, Predictions] | None = None, history: Sequence[Evaluation] = (),
        baselines: Mapping[str, Mapping[str, Predictions]] | None = None, comparisons: Sequence[Comparison] = (),
    ) -> str | None:
        """Verdicts of one stage, told and recorded; a reason to end training, or None.

        A check that raises is `not_run` from then on, and so is one that never spoke.

        Raises:
            RiskStop: a verdict ends the run before it trains.
            UserError: a check found a mistake of the user before training.
        """
        run = self.run
        silent = frozenset(self.failed)

        # a check is no part of training: a fault in it must not cost the run
        def not_run(plugin: Picked, error: Exception) -> list[Risk]:
            if isinstance(error, UserError) and stage in BEFORE_TRAINING:
                raise error
            self.failed.add(plugin.name)
            return self._not_run(plugin.name, stage, error)

        answers = run.hooks.each("check_risks", on_error=not_run, run=run, stage=stage, data=data, model=model, loss=loss,
                                 predictions=predictions, history=history, log=run.log.lines, baselines=baselines or {},
                                 comparisons=comparisons)
        new: list[Risk] = []
        for answer in answers:
            if answer.plugin in silent:
                continue
            for risk in answer.value:
                new.append(dataclasses.replace(risk, stage=risk.stage or stage, finding=run.hidden(risk.finding),
                                               evidence=run.hidden(risk.evidence)))
                self.owner[risk.name] = answer.plugin
        if stage == "end":
            new += self._of_checks_without_verdict(stage)
        self._record(new, stage, history)
        return self._reason_to_end(self.latest() if stage == "end" else new, stage)

    def _not_run(self, plugin: str, stage: str, error: Exception) -> list[Risk]:
        """What a check that raised has said so far, as `not_run`; a verdict of its own name where it said nothing."""
        before = [self.all[name] for name in self.names().get(plugin, ())]
        verdicts = []
        for risk in before or [Risk(plugin, "not_run", "")]:
            finding = f"the check failed: {type(error).__name__}: {error}"
            if risk.level in SERIOUS:
                finding += f"; before that it said {risk.level}: {risk.finding}"
            verdicts.append(dataclasses.replace(risk, level="not_run", stage=stage, finding=finding))
        return verdicts

    def _of_checks_without_verdict(self, stage: str) -> list[Risk]:
        """A verdict for each check of the run that gave none."""
        verdicts = []
        for plugin in self.run.hooks.picked:
            if kind_of(plugin.cls) == "risk" and plugin.name not in self.owner.values():
                verdicts.append(Risk(plugin.name, "not_run", "the check said nothing", stage=stage))
                self.owner[plugin.name] = plugin.name
        return verdicts

    def _record(self, new: Sequence[Risk], stage: str, history: Sequence[Evaluation]) -> None:
        """Keep verdicts, tell the serious ones, and write all of them into the run's folder."""
        run = self.run
        for risk in new:
            self.all[risk.name] = risk
            if risk.level in SERIOUS:
                run.log.event("risk", level=risk.level, risk=risk.name, finding=risk.finding, stage=stage)
        if run.accelerator.is_main_process:
            Folder(run.out).write_risks(self.latest())
        if new:
            step = history[-1].step if history else 0
            run.hooks.each("on_event", run=run, event=Judged(step, stage, tuple(new)))

    def _reason_to_end(self, verdicts: Sequence[Risk], stage: str) -> str | None:
        """Why the run ends after these verdicts; None where it goes on."""
        ending = [risk for risk in verdicts if self._ends_run(risk)]
        if not ending:
            return None
        if stage in BEFORE_TRAINING:
            problems = []
            for risk in ending:
                problems.append(Problem(f"risk {risk.name}: {risk.level}: {risk.finding}", "; ".join(risk.advice)))
            raise RiskStop(problems)
        return "; ".join(f"risk {risk.name}: {risk.finding}" for risk in ending)

    def _ends_run(self, risk: Risk) -> bool:
        """Whether a verdict ends the run, by `--on-risk`: "fail" also ends it where a check could not be run."""
        policy = self.run.settings.on_risk
        if risk.level == "stop":
            return True
        if risk.level == "warn":
            return policy != "warn"
        return policy == "fail" and self.owner[risk.name] in self.failed
