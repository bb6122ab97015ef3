"""From numbers to one verdict: its level, its words, its evidence, and what to type next."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from itertools import islice
from typing import TYPE_CHECKING, Any

from ftp.errors import Problem, UserError
from ftp.types import Data, Evaluation, Level, Risk, Run
from ftp_overfitting import advice
from ftp_overfitting.looks import Gap, Look, Trend, gap, looks, mean, spent, start_loss, trend
from ftp_overfitting.memory import Membership, Verbatim, membership

if TYPE_CHECKING:
    from ftp_overfitting import Overfitting

RANK: tuple[Level, ...] = ("ok", "note", "warn", "stop")
LEADS: dict[Level, str] = {
    "ok": "no sign that the model only learns its training rows by heart",
    "note": "first signs that the model learns its training rows by heart",
    "warn": "the model learns its training rows by heart, and does worse on rows that it has not seen",
    "stop": "the model learns its training rows by heart, and does far worse on rows that it has not seen",
}
TEXT_HEADS = ("tokens", "mask")


def silent(why: str, **evidence: Any) -> Risk:
    """Nothing was compared."""
    return Risk("overfitting", "not_run", why, evidence)


def check(limits: Overfitting) -> None:
    """`UserError` for limits that contradict one another."""
    pairs = (("rise", limits.rise, "stop_rise", limits.stop_rise), ("note_lost", limits.note_lost, "warn_lost", limits.warn_lost))
    problems = [Problem(f"--overfitting.{name} {low:g} is above --overfitting.{other} {high:g}",
                        "a note comes before a warning, and a warning before a stop")
                for name, low, other, high in pairs if low > high]
    if problems:
        raise UserError(problems)


def verdict(
    limits: Overfitting, run: Run, data: Data, history: Sequence[Evaluation], log: Sequence[Mapping[str, Any]],
    told: Verbatim | str | None = None,
) -> Risk:
    """The verdict on the evaluations so far."""
    found = looks(history)
    problem = _missing(limits, run, data, history, found)
    if problem is not None:
        return problem
    start, what = start_loss(data, log)
    last, alpha = found[-1], limits.alpha / 3  # a third each for trend, gap and memory
    level = spent(alpha, len(found) - 1)
    moved, apart = trend(found, start, alpha), gap(last, start, level)
    known = membership(last.train, last.held, level)
    evidence = _evidence(found, data, start, what, moved, apart, known)
    said: list[tuple[Level, str]] = []
    if moved is not None:
        said.append(_trend(limits, moved, history))
    said.append(_gap(limits, apart))
    if run.task.head in TEXT_HEADS:
        said.append(_memory(limits, known))
    if isinstance(told, Verbatim):
        evidence["verbatim"] = {**vars(told), "p": _round(told.p)}
        said.append(_verbatim(limits, told))
    elif told is not None:
        evidence["verbatim"] = f"not run: {told}"
    worst = max((one for one, _ in said), key=RANK.index)
    words = "; ".join(text for one, text in said if one == worst and text)
    rows = getattr(data.splits.get("train"), "num_rows", None)
    if worst in ("warn", "stop") and rows and run.settings.max_train_rows is None:
        words += f"; more training rows than these {rows:,} would help"
    if worst == "ok" and moved is None:
        return silent("one evaluation tells no trend; at that one the held-out loss was "
                      f"{last.held_mean:.3f}, the training loss {last.train_mean:.3f}", **evidence)
    tips: list[str] = []
    if worst != "ok":
        if moved is not None and moved.rise > 0 and RANK.index(said[0][0]) > 0:
            began = moved.best_step
        else:
            began = _began(limits, run, found, start, worst)
            words += f"; first seen after update {began}"
        evidence["began"] = began
        tips = [*advice.sooner(run, began), *advice.smaller(run)]
    return Risk("overfitting", worst, f"{LEADS[worst]}: {words}", evidence, tuple(tips))


def _began(limits: Overfitting, run: Run, found: Sequence[Look], start: float | None, worst: Level) -> int:
    """The first look at which gap or memory were as bad as at the last one."""
    for number, look in enumerate(found[:-1]):
        if min(_real(look.train), _real(look.held)) < limits.min_rows:
            continue
        level = spent(limits.alpha / 3, number)
        said = [_gap(limits, gap(look, start, level))[0]]
        if run.task.head in TEXT_HEADS:
            said.append(_memory(limits, membership(look.train, look.held, level))[0])
        if max(map(RANK.index, said)) >= RANK.index(worst):
            return look.step
    return found[-1].step


def _missing(
    limits: Overfitting, run: Run, data: Data, history: Sequence[Evaluation], found: Sequence[Look]
) -> Risk | None:
    """Why nothing can be compared, where that is so."""
    if not history:
        return silent("held-out rows were never scored: there is nothing to compare")
    if not found:
        why = "the training rows are a stream" if run.settings.streaming else "none was scored in evaluation mode"
        return silent(f"there is no loss of training rows to compare with: {why}")
    last = found[-1]
    rows = {"train": _real(last.train), "held out": _real(last.held)}
    if min(rows.values()) < limits.min_rows:
        few = " and ".join(f"{count} rows of {name}" for name, count in rows.items())
        return silent(f"only {few} were scored; below {limits.min_rows} (--overfitting.min_rows) chance decides", rows=rows)
    if _same(data):
        return silent("validation has the same rows as train: no gap between them means anything", rows=rows)
    return None


def _real(losses: Any) -> int:
    return sum(map(math.isfinite, losses.tolist()))


def _same(data: Data) -> bool:
    """Whether both splits have the same rows in the same order."""
    train, held = data.splits.get("train"), data.splits.get("validation")
    if train is None or held is None or not hasattr(train, "num_rows") or len(train) != len(held):
        return False
    return all(a == b for a, b in islice(zip(train, held, strict=True), 200))


def _trend(limits: Overfitting, moved: Trend, history: Sequence[Evaluation]) -> tuple[Level, str]:
    band = f"{moved.rise:+.3f} nats, between {moved.low:+.3f} and {moved.high:+.3f}"
    if moved.rise <= 0:
        return "ok", f"the held-out loss is at its best after update {moved.step}"
    if moved.low <= 0:
        return "ok", f"the held-out loss is no surer above its best (update {moved.best_step}) than chance: {band}"
    if moved.train_rose:
        return "ok", f"the held-out loss rose since update {moved.best_step} and so did the training loss: no overfitting"
    text = (f"since update {moved.best_step} the held-out loss rose by {moved.relative:.0%} ({band}) while the training loss "
            f"fell{_scores(history, moved)}; the weights of the best evaluation are kept")
    if not moved.lasting:
        return "note", f"at the last evaluation alone, {text}"
    if moved.relative >= limits.stop_rise:
        return "stop", text
    return ("warn", text) if moved.relative >= limits.rise else ("note", text)


def _scores(history: Sequence[Evaluation], moved: Trend) -> str:
    """What became of the first score that is to be high, as a loss may rise for rows that are right anyway."""
    at = {one.step: one for one in history}
    before = {one.name: one.value for one in at[moved.best_step].scores if one.goal == "max"}
    for one in at[moved.step].scores:
        if one.name in before:
            return f" ({one.name} went from {before[one.name]:.3f} to {one.value:.3f})"
    return ""


def _gap(limits: Overfitting, apart: Gap) -> tuple[Level, str]:
    plain = f"held-out rows cost {apart.gap:+.3f} nats more than training rows ({apart.gap_low:+.3f} to {apart.gap_high:+.3f})"
    if apart.lost is None:
        if apart.learnt is None:
            return "ok", plain
        return "ok", f"{plain}, and the training rows gained {apart.learnt:.3f} nats since the start: too little to be lost"
    text = (f"of the {apart.learnt:.3f} nats that training rows gained since the start, {apart.lost:.0%} ({apart.lost_low:.0%} "
            f"to {apart.lost_high:.0%}) do not show on held-out rows")
    if apart.lost >= 1:
        text = (f"training rows gained {apart.learnt:.3f} nats since the start, and held-out rows cost {apart.gap:.3f} more than "
                f"they ({apart.gap_low:.3f} to {apart.gap_high:.3f}): nothing of it carries over")
    for level, least in (("warn", limits.warn_lost), ("note", limits.note_lost)):
        if apart.lost_low >= least:
            return level, text  # type: ignore[return-value]
    return "ok", text


def _memory(limits: Overfitting, known: Membership) -> tuple[Level, str]:
    text = (f"the loss tells a training row from a held-out one in {known.auc:.0%} of pairs "
            f"({known.low:.0%} to {known.high:.0%}; 50 %: not at all), and {known.below:.1%} of training "
            "rows are better known than the best 1 % of held-out ones")
    if known.low >= limits.auc:
        return "warn", text
    return ("note", text) if known.low > 0.6 or known.below_low > 0.05 else ("ok", text)


def _verbatim(limits: Overfitting, told: Verbatim) -> tuple[Level, str]:
    text = (f"{told.train} of {told.train_of} training rows were gone on with word for word for {told.tokens} tokens, "
            f"{told.held} of {told.held_of} held-out ones")
    return ("warn" if told.p < limits.alpha and told.train else "ok"), text


def _evidence(
    found: Sequence[Look], data: Data, start: float | None, what: str, moved: Trend | None, apart: Gap, known: Membership
) -> dict[str, Any]:
    """The numbers, rounded to four digits. `of`: rows of each split, of which `rows` were scored."""
    rows = {"train": _real(found[-1].train), "held out": _real(found[-1].held)}
    of = {name: len(data.splits[split]) for name, split in (("train", "train"), ("held out", "validation"))
          if hasattr(data.splits.get(split), "num_rows")}
    evidence: dict[str, Any] = {
        "held_out_loss": {one.step: _round(one.held_mean) for one in found},
        "train_loss": {one.step: _round(one.train_mean) for one in found},
        "band": {one.step: [_round(mean(one.held) - 1.96 * _error(one.held)), _round(mean(one.held) + 1.96 * _error(one.held))]
                 for one in found},
        "rows": rows, "of": of, "sampled": any(rows[name] < count for name, count in of.items()),
    }
    if start is not None:
        evidence["start"] = {"loss": _round(start), "from": what}
    if moved is not None:
        evidence["trend"] = {name: _round(value) for name, value in vars(moved).items()}
    evidence["gap"] = {name: _round(value) for name, value in vars(apart).items()}
    evidence["membership"] = {name: _round(value) for name, value in vars(known).items()}
    return evidence


def _error(losses: Any) -> float:
    real = losses[[math.isfinite(one) for one in losses.tolist()]]
    return float(real.std(ddof=1)) / math.sqrt(len(real)) if len(real) > 1 else math.nan


def _round(value: Any) -> Any:
    if isinstance(value, bool) or not isinstance(value, float):
        return value
    return round(value, 4) if math.isfinite(value) else None
