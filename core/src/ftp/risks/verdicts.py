"""Ask every check for its verdicts, at each stage of a run."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

from ftp.errors import Problem, RiskStop, UserError
from ftp.folder.files import Folder
from ftp.plugins.declare import kind_of
from ftp.types import Data, Evaluation, Judged, Loss, Model, Predictions, Risk, StartedRun


class Verdicts:
    """Asks for verdicts at each stage and keeps the last of each name. A check that raised has nothing more to say: what it
    noted before may be half of it."""

    def __init__(self, run: StartedRun) -> None:
        self.run = run
        self.all: dict[str, Risk] = {}
        self.owner: dict[str, str] = {}  # whose each verdict is
        self.failed: set[str] = set()  # plugins that raised

    def latest(self) -> list[Risk]:
        return list(self.all.values())

    def names(self) -> dict[str, list[str]]:
        """The names of the verdicts of each plugin that gave any."""
        return {plugin: [name for name, owner in self.owner.items() if owner == plugin] for plugin in self.owner.values()}

    def check(
        self, stage: str, data: Data, model: Model | None = None, loss: Loss | None = None,
        predictions: Mapping[str, Predictions] | None = None, history: Sequence[Evaluation] = (),
    ) -> str | None:
        """Verdicts of one stage, told and recorded; a reason to end training, or None. Before training, a verdict that
        ends the run raises `RiskStop`. A check that raises is `not_run` from then on, and so is one that never spoke; only a
        user's mistake that it finds before training (`UserError`) ends the run."""
        run, silent = self.run, frozenset(self.failed)

        def broken(plugin: Any, error: Exception) -> list[Risk]:
            if isinstance(error, UserError) and stage in ("data", "start"):
                raise error
            self.failed.add(plugin.name)
            before = [self.all[name] for name in self.names().get(plugin.name, ())]
            return [dataclasses.replace(risk, level="not_run", stage=stage, finding=(
                f"the check failed: {type(error).__name__}: {error}"
                + (f"; before that it said {risk.level}: {risk.finding}" if risk.level in ("warn", "stop") else "")))
                for risk in before or [Risk(plugin.name, "not_run", "")]]

        answers = run.hooks.each("check_risks", on_error=broken, run=run, stage=stage, data=data, model=model, loss=loss,
                                 predictions=predictions, history=history, log=run.log.lines)
        new = list[Risk]()
        for answer in answers:
            for risk in answer.value if answer.plugin not in silent else ():
                new.append(dataclasses.replace(risk, stage=risk.stage or stage, finding=run.hidden(risk.finding),
                                               evidence=run.hidden(risk.evidence)))
                self.owner[risk.name] = answer.plugin
        for one in run.hooks.picked if stage == "end" else ():
            if kind_of(one.cls) == "risk" and one.name not in self.owner.values():
                new.append(Risk(one.name, "not_run", "the check said nothing", stage=stage))
                self.owner[one.name] = one.name
        for risk in new:
            self.all[risk.name] = risk
            if risk.level in ("warn", "stop"):
                run.log.event("risk", level=risk.level, risk=risk.name, finding=risk.finding, stage=stage)
        if run.accelerator.is_main_process:
            Folder(run.out).write_risks(self.latest())
        if new:
            step = history[-1].step if history else 0
            run.hooks.each("on_event", run=run, event=Judged(step, stage, tuple(new)))
        policy = run.settings.on_risk
        ending = [risk for risk in (self.latest() if stage == "end" else new)
                  if risk.level == "stop" or (policy != "warn" and risk.level == "warn")
                  or (policy == "fail" and self.owner[risk.name] in self.failed)]
        if not ending:
            return None
        if stage in ("data", "start"):
            raise RiskStop([Problem(f"risk {risk.name}: {risk.level}: {risk.finding}", "; ".join(risk.advice))
                            for risk in ending])
        return "; ".join(f"risk {risk.name}: {risk.finding}" for risk in ending)
