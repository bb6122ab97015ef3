"""What each test says: a level, its words, and what to type next."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING

from ftp import heads
from ftp.risks import named_options
from ftp.types import Comparison, Data, Evaluation, Level, Row, StartedRun
from ftp_underfitting import advice
from ftp_underfitting.added import NothingAdded
from ftp_underfitting.answers import OneAnswer
from ftp_underfitting.baselines import Rivals
from ftp_underfitting.curve import SURE, Climb, Slope, losses_of_steps
from ftp_underfitting.gain import CLASS_SHARES, Gain
from ftp_underfitting.start import Start
from ftp_underfitting.weights import Moves

if TYPE_CHECKING:
    from ftp_underfitting import Underfitting

FAR = 1.0
"""Weights that went as far as they were long: the rate was too high, where nothing was learnt."""
NEAR = 1e-3
"""Weights that moved by less than this share of their length: it was too low, likewise."""
FEW_OTHERS = 5
"""Rows of other classes below which one answer for all rows may be chance."""
MOST_NAMES = 5
"""Tensors that are named in a finding."""


@dataclass(frozen=True)
class Judgement:
    """What one test says. An empty text adds nothing to the finding.

    `lead`: how the finding begins, where the words for its level do not suit.
    """

    level: Level
    text: str = ""
    commands: Sequence[str] = ()
    lead: str = ""


OK = Judgement("ok")


def suggested_rate(start: Start | None) -> float | None:
    """The learning rate that the range test suggests."""
    return start.learning_rate if start is not None else None


# --- the head and the weights ---


def judge_frozen_head(run: StartedRun, start: Start) -> Judgement:
    text = (
        f"the new head ({', '.join(start.frozen)}) is random and is not trained: the network can "
        "only bend its features towards it"
    )
    return Judgement("warn", text, [_unfreeze(run, start)])


def _unfreeze(run: StartedRun, start: Start) -> str:
    """The run without the patterns that freeze the head.

    Where a plugin did it by itself: the command that shows who takes part in the run.
    """
    for flag, patterns, description in named_options(run):
        if description.name != "freeze" or not patterns:
            continue
        others = [pattern for pattern in patterns if not _freezes_head(pattern, start)]
        # an empty value where no pattern is found: the head is frozen by what holds it
        has_found = len(others) < len(patterns)
        return run.command(f"--{flag}", ",".join(others) if has_found else "")
    return run.command(of="plan")


def _freezes_head(pattern: str, start: Start) -> bool:
    return any(fnmatchcase(f"{head}.weight", pattern) for head in start.frozen)


def judge_still_weights(run: StartedRun, moves: Moves, start: Start | None) -> Judgement:
    num_still = len(moves.still)
    names = ", ".join(moves.still[:MOST_NAMES])
    if num_still > MOST_NAMES:
        names += f" and {num_still - MOST_NAMES} more"
    commands = []
    if run.settings.precision != "fp32":  # in bf16 a small step may round to none
        commands.append(run.command("--precision", "fp32"))
    commands.append(advice.higher_rate(run, suggested_rate(start)))
    text = f"{num_still} of {moves.tensors} trained tensors did not move at all: {names}"
    return Judgement("warn", text, commands)


def is_kept_start(history: Sequence[Evaluation]) -> bool:
    """Whether weights that stand still are those from before the first update, which training moved and no evaluation liked."""
    if not history or history[0].step:
        return False
    # where the weights never moved, all evaluations are alike
    return any(evaluation.loss != history[0].loss for evaluation in history)


def judge_kept_start(run: StartedRun, start: Start | None) -> Judgement:
    text = "no evaluation after training was better than the one before it, so the model is what the run began with"
    return Judgement("note", text, advice.lower_rate(run, suggested_rate(start)))


def judge_nothing_added(
    run: StartedRun, data: Data, added: NothingAdded, moves: Moves | None, start: Start | None
) -> Judgement:
    """The run is no better than the fitted head that it began with: a probe would have been as good."""
    before = added.before
    after = added.after
    with_unit = heads.get(run.task.head).with_unit
    text = f"held-out rows cost {with_unit(f'{before.loss:.4g}')} before the first update and {after.loss:.4g} at best after it"
    if before.train_loss is not None and after.train_loss is not None:
        text += f", training rows {before.train_loss:.4g} and {after.train_loss:.4g}"
    commands = []
    if added.is_start_kept:
        text += ", so the model is what the run began with"
        commands += advice.lower_rate(run, suggested_rate(start))
    elif moves is not None and moves.ratio is not None and moves.ratio < NEAR:
        text += f"; a learning rate of {run.settings.learning_rate:g} is too low"
        commands.append(advice.higher_rate(run, suggested_rate(start)))
    commands += advice.in_place_of_method(run, data, advice.PROBE)
    return Judgement("note", text, commands, "training added nothing to the head that the run began with")


# --- the loss ---


def judge_climb(run: StartedRun, climb: Climb, start: Start | None) -> Judgement:
    cost = heads.get(run.task.head).with_unit(f"{climb.low:.4g}")
    text = (
        f"training diverged: training rows cost {cost} after update {climb.step} and "
        f"{climb.high:.4g} at the last look"
    )
    return Judgement("warn", text, advice.lower_rate(run, suggested_rate(start)))


def judge_not_finite(run: StartedRun, step: int, start: Start | None) -> Judgement:
    text = f"the loss was not finite at update {step}"
    return Judgement("warn", text, advice.lower_rate(run, suggested_rate(start)))


def judge_gain(limits: Underfitting, run: StartedRun, gain: Gain) -> Judgement:
    """Whether training took away enough of the loss of knowing nothing."""
    least = limits.least_gain_text
    baseline = "the untuned model"
    if gain.baseline == CLASS_SHARES:
        least = limits.least_gain
        baseline = "guessing by class shares"
    cost = "training rows cost " + heads.get(run.task.head).with_unit(f"{gain.after:.4g}")
    text = f"{cost}, {_compare_in_words(gain)} {baseline} ({gain.before:.4g})"
    if gain.p >= limits.alpha:
        if gain.gain > 0:
            text += ", which may be chance"
        return Judgement("warn" if gain.gain < 2 * least else "note", text)
    if gain.gain < least:
        return Judgement("warn", f"{text}, hardly anything")
    return Judgement("ok", text)


def _compare_in_words(gain: Gain) -> str:
    """How the loss stands to what it is held against."""
    if gain.gain >= 0:
        return f"{gain.gain:.1%} less ({gain.low:.1%} to {gain.high:.1%}) than"
    times = gain.after / max(gain.before, 1e-9)
    if times >= 1.5:
        return f"{times:.1f} times as much as"
    return f"{-gain.gain:.1%} more than"


def find_cause(
    run: StartedRun,
    moves: Moves | None,
    gain: Gain,
    log: Sequence[Row],
    done: int,
    suggested: float | None,
) -> tuple[str, list[str]]:
    """Why a model learnt too little, by its curve and its weights, and what to type.

    Too high or too low a learning rate, or too little room or time.

    Args:
        done: updates that were made.
        suggested: learning rate of the range test.
    """
    now = run.settings.learning_rate
    ratio = moves.ratio if moves is not None else None
    text = ""
    if ratio is not None:
        text = f"; the weights moved by {ratio:.2g} of their length"
    if _is_rate_too_high(gain, log, ratio):
        text += f"; a learning rate of {now:g} is too high"
        return text, advice.lower_rate(run, suggested)
    # without a ratio of the weights, only a rate far from the usual one can be blamed
    is_low = now < advice.usual_rate(run) / 10
    if ratio is not None:
        is_low = ratio < NEAR
    commands = [advice.higher_rate(run, suggested), advice.longer(run, done, 2 * done)]
    if suggested is None:
        commands.append(run.command("--underfitting.range_test", 60))
    if is_low:
        text += f"; a learning rate of {now:g} is too low"
    else:
        commands += [*advice.larger(run), advice.preview(run)]
    return text, commands


def _is_rate_too_high(gain: Gain, log: Sequence[Row], ratio: float | None) -> bool:
    """Whether the loss rose far above that of knowing nothing, or weights went very far."""
    _, losses = losses_of_steps(log)
    highest = gain.after
    if len(losses):
        highest = max(highest, float(losses.max()))
    has_risen = highest > 1.5 * gain.before or gain.after > 1.2 * gain.before
    return has_risen or (ratio is not None and ratio > FAR)


def judge_slope(
    limits: Underfitting, run: StartedRun, slope: Slope, history: Sequence[Evaluation], done: int
) -> Judgement:
    """Whether more updates are worth trying: the loss still fell, and held-out rows gained too."""
    if slope.p >= SURE or slope.ahead < limits.steep:
        return OK
    if history:
        best = min(history, key=lambda evaluation: evaluation.loss)
        if best.step != history[-1].step:  # held-out rows gain no more
            return OK
    more = advice.updates_more(slope.level, slope.per_update, done)
    fall = heads.get(run.task.head).with_unit(f"{-slope.per_update * 100:.3g}")
    text = (
        f"the training loss still fell at the end, by {fall} in 100 updates (± {slope.error * 100:.2g}), and "
        f"held-out rows gained as well: about {more} more updates are worth trying"
    )
    return Judgement("note", text, [advice.longer(run, done, more)])


# --- the answers ---


def judge_one_answer(
    limits: Underfitting, run: StartedRun, same: OneAnswer, has_failed: bool
) -> Judgement:
    """Whether the model answers the same whatever it is asked.

    Args:
        has_failed: training rows were not learnt, or it is not known whether they were.
    """
    if same.share < limits.one_answer or same.others < FEW_OTHERS:
        return OK
    text = (
        f"{same.share:.0%} of {same.rows} held-out rows are answered {same.answer!r}, which is "
        f"right for {same.truth:.0%}"
    )
    if same.truth >= limits.one_answer:
        return Judgement("note", text)
    return Judgement("warn" if has_failed else "note", text, [advice.preview(run)])


# --- the baselines ---


def judge_rivals(
    limits: Underfitting,
    run: StartedRun,
    data: Data,
    rivals: Rivals,
    history: Sequence[Evaluation],
    done: int,
) -> Judgement:
    """Whether something simpler is better than the tuned model beyond chance.

    By the loss alone it is a warning only where the run is behind by its own metric as well: a
    model may be right as often and yet give worse probabilities.
    """
    better = rivals.ahead_in_metric(limits.alpha)
    in_loss = rivals.ahead_in_loss(limits.alpha)
    worse_in_both = [
        comparison for comparison in in_loss if not rivals.keeps_up_with(comparison.baseline)
    ]
    better += worse_in_both
    if better:
        first = better[0]
        text = f"'{first.baseline}' is better than the tuned model beyond chance: {_margin(first)}"
        others = [f"'{name}'" for name in dict.fromkeys(line.baseline for line in better[1:])]
        others = [name for name in others if name != f"'{first.baseline}'"]
        if others:
            text += f"; so is {', '.join(others)}"
        return Judgement("warn", text, _against_rivals(run, data, history, done))
    if in_loss:
        first = in_loss[0]
        text = (
            f"by its loss '{first.baseline}' is better than the tuned model, though not by {rivals.metric}: "
            f"{_margin(first)}; its answers are as good, its probabilities are not"
        )
        return Judgement("note", text)
    return OK


def _margin(comparison: Comparison) -> str:
    """A comparison in words; the margin is how far the run is behind."""
    return (
        f"{comparison.name} on {comparison.split} {comparison.value:.4g} against {comparison.other:.4g}, "
        f"{-comparison.ahead:.3g} behind (95 % interval {-comparison.high:.3g} to {-comparison.low:.3g})"
    )


def _against_rivals(
    run: StartedRun, data: Data, history: Sequence[Evaluation], done: int
) -> list[str]:
    """More updates where held-out rows still gained, more room, and other methods that are installed."""
    commands = []
    best = min(history, key=lambda evaluation: evaluation.loss, default=None)
    if done and (best is None or best.step == history[-1].step):
        commands.append(advice.longer(run, done, 2 * done))
    return [*commands, *advice.larger(run), *advice.other_methods(run, data)]
