"""What flows between the steps of `ftp advise`. Imports nothing heavy."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

from ftp.advise.question import Question
from ftp.types import Data, Goal, Prediction

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from ftp.folder.log import Log
    from ftp.plugins.plan import Prepared

FindingLevel = Literal["note", "warn", "stop"]
"""`stop`: advice would be about wrong rows, so that the ladder ends there."""

AnswerKind = Literal[
    "train", "likely", "no difference", "train nothing", "nothing to learn", "more labels", "stopped", "not known"]
"""What a recommendation comes to.

`train`: the entry is better than the others beyond chance. `likely`: it is expected to be better than a cheaper one by what the
rows and the usual difference say, but not beyond chance. `no difference`: these rows cannot tell, so the cheapest is taken.
`train nothing`: what needs no training is as good. `nothing to learn`: nothing is better than always the same answer, or no
answer is right. `more labels`: they are worth more than any method was shown to add. `stopped`: a finding ends the ladder.
`not known`: nothing was measured, or no answer was right after the first updates.
"""


@dataclass(frozen=True)
class Situation:
    """The rows of a question as a run reads them.

    Attributes:
        question: what was asked.
        plugins: those that every run of these rows has: a domain, and an objective where the form needs one to be read.
        prepared: a run of these plugins alone, its open options settled by the training rows.
        data: the rows by split.
        columns: ours -> theirs, as `--columns` of a run would say it; empty where the file has our names.
        log: what was told while rows were read.
        is_guessed: the columns were not named, but meant by their names or values.
    """

    question: Question
    plugins: tuple[str, ...]
    prepared: Prepared
    data: Data
    log: Log
    columns: Mapping[str, str] = field(default_factory=dict)
    is_guessed: bool = False


@dataclass(frozen=True)
class Finding:
    """Something that the user should know of the rows.

    Attributes:
        level: how bad it is.
        title: in a few words.
        text: in a sentence or two.
        command: what helps; empty: nothing does.
    """

    level: FindingLevel
    title: str
    text: str
    command: str = ""


@dataclass(frozen=True)
class Lengths:
    """Tokens of a row, by the tokenizer of a model.

    Attributes:
        model: whose tokenizer it is.
        median: of the rows that were looked at.
        p95: 95 % of them are no longer.
        longest: of them.
        limit: tokens that fit, at most; None where that is not known without the weights.
        share_cut: share of rows that do not fit.
        rows: how many were looked at.
    """

    model: str
    median: int
    p95: int
    longest: int
    limit: int | None
    share_cut: float
    rows: int


@dataclass(frozen=True)
class Facts:
    """What is known of the rows without any model.

    Attributes:
        form: the columns that are read.
        head: what a network for them ends in.
        columns: ours -> theirs.
        rows: how many, by split.
        classes: name -> training and validation rows of it; empty where a row has no class.
        lengths: None where no model is at hand.
        language: in words; empty where nobody says.
        findings: what the user should know, the worst first.
    """

    form: str
    head: str
    columns: Mapping[str, str]
    rows: Mapping[str, int]
    classes: Mapping[str, int] = field(default_factory=dict)
    lengths: Lengths | None = None
    language: str = ""
    findings: tuple[Finding, ...] = ()

    @property
    def stopped(self) -> bool:
        """Whether a finding ends the ladder."""
        return any(finding.level == "stop" for finding in self.findings)


@dataclass(frozen=True)
class Metric:
    """The score that counts.

    Attributes:
        name: as plugins of the run call it.
        goal: which way it is better; `max` or `min`.
        why: where it comes from, in words.
    """

    name: str
    goal: Goal
    why: str = ""

    def ahead(self, own: float, other: float) -> float:
        """How much better one value is than another."""
        return own - other if self.goal == "max" else other - own


@dataclass(frozen=True)
class Outcome:
    """What one way of answering did on rows that it was not fitted on.

    Attributes:
        entry: name of the `Entry`, or of the look.
        rows: `[rows] int`, numbers of the answered rows in the pool (`ftp.advise.pool`).
        losses: `[rows] float64`, NaN for a row without a loss.
        answers: one a row; empty where the objective only scores.
        scores: by name, over all these rows (mean over folds where a score needs a model).
        seconds: of fitting and answering, of all folds.
        memory: bytes of the process at its peak; 0 where nobody measured.
        num_train_rows: rows that each fit saw.
        updates: of each fit; 0: none.
        folds: numbers of the folds that `rows` are of.
        error: why there is no result; empty where there is one.
    """

    entry: str
    rows: NDArray[np.int64]
    losses: NDArray[np.float64]
    answers: Sequence[Prediction] = ()
    scores: Mapping[str, float] = field(default_factory=dict)
    seconds: float = 0.0
    memory: int = 0
    num_train_rows: int = 0
    updates: int = 0
    folds: tuple[int, ...] = ()
    error: str = ""


@dataclass(frozen=True)
class Point:
    """A score at a number of training rows, with its standard error."""

    rows: int
    value: float
    error: float


@dataclass(frozen=True)
class Curve:
    """A learning curve: score(n) = a - b n^-c (Cortes et al. 1994), with c > 0; where lower is better, b < 0.

    Attributes:
        look: what was fitted at growing sizes.
        points: what was measured.
        a: the score that rows without end would give.
        b: of the fit.
        c: of the fit.
        draws: (a, b, c) of fits to points drawn again (the bootstrap), of which the band is made.
    """

    look: str
    points: tuple[Point, ...]
    a: float
    b: float
    c: float
    draws: tuple[tuple[float, float, float], ...] = ()

    def at(self, rows: float) -> float:
        """The score at a number of training rows."""
        return _power_law(self.a, self.b, self.c, rows)

    def band(self, rows: float, share: float = 0.9) -> tuple[float, float]:
        """The interval that a share of the drawn curves is in."""
        return _interval([_power_law(*draw, rows) for draw in self.draws], share, self.at(rows))

    def gain(self, rows: float, more: float, share: float = 0.9) -> tuple[float, float, float]:
        """What further rows are worth: the change of the score, and the ends of its interval."""
        gains = []
        for draw in self.draws:
            gains.append(_power_law(*draw, rows + more) - _power_law(*draw, rows))
        middle = self.at(rows + more) - self.at(rows)
        return (middle, *_interval(gains, share, middle))


@dataclass(frozen=True)
class Looks:
    """What can be had without training a network.

    Attributes:
        metric: the score that counts.
        entries: the outcomes, by name, cross-fitted over all folds with all rows.
        best: the name of the best of them; empty where there is none.
        simplest: the name of the one that gives every row the same answer; empty where there is none.
        ahead: how far the best is ahead of the simplest, and the ends of the 90 % interval; None: not compared.
        curve: of the best one at growing sizes; None where rows are too few or nothing was learnt.
        seconds: that they took.
    """

    metric: Metric
    entries: Mapping[str, Outcome] = field(default_factory=dict)
    best: str = ""
    simplest: str = ""
    ahead: tuple[float, float, float] | None = None
    curve: Curve | None = None
    seconds: float = 0.0


@dataclass(frozen=True)
class FirstStage:
    """A run on plain text whose model another run begins from.

    Attributes:
        name: of its objective.
        recipe: the run as the text of a recipe.
        folder: of the run.
        seconds: that it took; 0: it was not done yet.
    """

    name: str
    recipe: str
    folder: str
    seconds: float = 0.0


@dataclass(frozen=True)
class Entry:
    """Something that may be raced: a run that could be recommended.

    Attributes:
        name: for the user, unique in a race: `lora`, `full, class_weight`, `lora (rank 32)`.
        plugins: of the run, those of the situation included.
        options: beside those of the situation, by dotted key.
        model: as `--model` takes it; None: the offer for the task.
        cost: of training, in units of training all weights of the smallest model at hand.
        trains: False where nothing is tuned (a linear head on frozen features, or the model as it is).
        why: why it is in the race, in words.
        first: the stage that `model` comes from; None: there is none before it.
    """

    name: str
    plugins: tuple[str, ...]
    options: Mapping[str, object] = field(default_factory=dict)
    model: str | None = None
    cost: float = 1.0
    trains: bool = True
    why: str = ""
    first: FirstStage | None = None


@dataclass(frozen=True)
class Tried:
    """What became of an entry in the race, or of a look.

    Attributes:
        name: that of the entry or look.
        value: its score in its last rung.
        behind: how much worse than what is recommended on the same rows, below 0: better; None: not compared.
        low: the lower end of the 90 % interval of `behind`.
        high: the upper end.
        rows: that it was fitted on, in its last rung.
        seconds: that it took in all.
        left: why it left the race, in words; empty where it stayed.
    """

    name: str
    value: float | None = None
    behind: float | None = None
    low: float | None = None
    high: float | None = None
    rows: int = 0
    seconds: float = 0.0
    left: str = ""


@dataclass(frozen=True)
class Recommendation:
    """What `ftp advise` comes to.

    Attributes:
        kind: the kind of answer.
        answer: the same in a plain sentence or two.
        metric: the score that counts.
        entry: what to run; None: nothing.
        score: expected of `ftp run recipe.toml` on the test rows (of validation where there are none).
        low: the lower end of its 90 % prediction interval.
        high: the upper end.
        seconds: expected of that run, on this machine.
        memory: likewise, in bytes.
        elsewhere: the forecast for other machines, in words.
        why: reasons, one a line.
        tried: what was looked at and raced, the best first.
        would_change: what would change this answer, one a line.
    """

    kind: AnswerKind
    answer: str
    metric: Metric
    entry: Entry | None = None
    score: float | None = None
    low: float | None = None
    high: float | None = None
    seconds: float | None = None
    memory: int | None = None
    elsewhere: tuple[str, ...] = ()
    why: tuple[str, ...] = ()
    tried: tuple[Tried, ...] = ()
    would_change: tuple[str, ...] = ()


@dataclass(frozen=True)
class Advice:
    """All that `ftp advise` writes.

    Attributes:
        question: what was asked.
        facts: of the rows.
        looks: None where a finding ended the ladder first.
        recommendation: what it comes to.
        seconds: that all of it took.
        notes: what was told on the way.
    """

    question: Question
    facts: Facts
    looks: Looks | None
    recommendation: Recommendation
    seconds: float = 0.0
    notes: tuple[str, ...] = ()


def _power_law(a: float, b: float, c: float, rows: float) -> float:
    return float(a - b * max(rows, 1.0) ** -c)


def _interval(values: Sequence[float], share: float, otherwise: float) -> tuple[float, float]:
    """The middle share of drawn values; a point where none were drawn."""
    import numpy as np

    if not values:
        return otherwise, otherwise
    tail = (1 - share) / 2
    low, high = np.quantile(np.asarray(values), [tail, 1 - tail])
    return float(low), float(high)
