"""The steps of `ftp advise` in their order; the ladder ends as soon as the answer is sure.

    situation > facts (a finding may stop it) > looks > candidates > race > recommendation
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Protocol

from ftp.advise import facts as fact_finding
from ftp.advise import first_stage, from_looks
from ftp.advise.pool import pool_of
from ftp.advise.question import Question
from ftp.advise.situation import check_models, open_situation
from ftp.advise.types import Advice, Facts, Looks, Situation

Tell = Callable[[str], None]


class Watcher(Protocol):
    """Whoever shows what is known as soon as it is."""

    def tell(self, message: str) -> None:
        """What is being done now."""

    def facts(self, situation: Situation, facts: Facts) -> None:
        """The facts of the rows."""

    def looks(self, situation: Situation, looks: Looks) -> None:
        """What can be had without training."""


def advise(question: Question, watcher: Watcher) -> tuple[Situation, Advice]:
    """Answer a question.

    Args:
        question: what the user asks.
        watcher: sees what is known on the way.

    Raises:
        UserError: the rows cannot be read.
    """
    began = time.perf_counter()
    watcher.tell("reading data")
    situation = open_situation(question)
    check_models(situation)
    if question.unlabelled is not None:
        first_stage.check(situation)
    facts = fact_finding.look_at(situation)
    watcher.facts(situation, facts)
    looks: Looks | None = None
    if facts.stopped:
        recommendation = from_looks.recommend(situation, facts, None)
    else:
        from ftp.advise.looks import take
        from ftp.advise.recommend import race_and_recommend

        pool = pool_of(situation.data, question.seed, group=situation.prepared.settings.group_column)
        looks = take(situation, pool, watcher.tell)
        watcher.looks(situation, looks)
        recommendation = race_and_recommend(situation, facts, pool, looks, watcher.tell)
    notes = [str(line["message"]) for line in situation.log.lines if line["event"] == "told"]
    return situation, Advice(question, facts, looks, recommendation, time.perf_counter() - began, tuple(notes))
