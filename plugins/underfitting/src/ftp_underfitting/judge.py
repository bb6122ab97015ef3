"""From numbers to one verdict: its level, its words, its evidence, and what to type next."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Any

from ftp import heads
from ftp.types import Data, Evaluation, Level, Loss, Model, Predictions, Risk, Row, StartedRun
from ftp_underfitting import advice, curve, weights
from ftp_underfitting.answers import OneAnswer, one_answer
from ftp_underfitting.curve import Climb, Gain, Slope
from ftp_underfitting.start import Start, score

if TYPE_CHECKING:
    from ftp_underfitting import Underfitting

RANK: tuple[Level, ...] = ("ok", "note", "warn", "stop")
LEADS: dict[Level, str] = {
    "ok": "the model learnt from its training rows",
    "note": "the model learnt, but perhaps less than it could",
    "warn": "the model does not learn as it should",
    "stop": "the model does not learn as it should",
}
FAR = 1.0
"""Weights that went as far as they were long: the learning rate was too high, where nothing was learnt."""
NEAR = 1e-3
"""Weights that moved by less than this share of their length: it was too low, where nothing was learnt."""


def before(run: StartedRun, start: Start) -> list[Risk]:
    """A word before training where a new head is frozen; else none."""
    if not start.frozen:
        return []
    words = f"{LEADS['warn']}: {_frozen(start)}"
    return [Risk("underfitting", "warn", words, {"frozen": list(start.frozen)}, (_unfreeze(run, start),))]


def during(
    limits: Underfitting, run: StartedRun, data: Data, history: Sequence[Evaluation], log: Sequence[Row]
) -> list[Risk]:
    """A word at an evaluation where training diverges; else none, as the end is not known yet."""
    climb = curve.climb(history, log, _origin(data, limits._start))
    if climb is None:
        return []
    tips = advice.lower_rate(run, _suggested(limits._start))
    return [Risk("underfitting", "warn", f"{LEADS['warn']}: {_climbs(climb)}", {"climb": _plain(climb)}, tuple(tips))]


def verdict(
    limits: Underfitting, run: StartedRun, data: Data, model: Model | None, loss: Loss | None,
    predictions: Mapping[str, Predictions], history: Sequence[Evaluation], log: Sequence[Row], start: Start | None,
) -> Risk:
    """The verdict at the end of a run."""
    done = advice.updates_done(history, log)
    if not done:
        return Risk("underfitting", "not_run", "no update was made")
    gain, why = _gain(limits, run, data, model, loss, history, start)
    slope, climb = curve.slope(log), curve.climb(history, log, _origin(data, start))
    moves = _moves(run, model, loss, start)
    same = one_answer(data, predictions)
    odd = [line["step"] for line in log if line.get("event") == "step" and line.get("not_finite")]
    evidence: dict[str, Any] = {"updates": done, "learning_rate": run.settings.learning_rate}
    for name, found in (("against", gain), ("slope", slope), ("climb", climb), ("weights", moves), ("answers", same)):
        if found is not None:
            evidence[name] = _plain(found)
    train = data.splits.get("train")
    if gain is not None and train is not None and hasattr(train, "num_rows"):
        evidence["against"] |= {"of": len(train), "sampled": gain.rows < len(train)}
    norms = [line["grad_norm"] for line in log if isinstance(line.get("grad_norm"), (int, float))]
    if norms:
        evidence["grad_norm"] = {"first": _plain_number(norms[0]), "highest": _plain_number(max(norms)),
                                 "last": _plain_number(norms[-1])}
    if limits.range_test:
        evidence["range_test"] = _tested(start)
    said: list[tuple[Level, str, list[str]]] = []
    if start is not None and start.frozen:
        evidence["frozen"] = list(start.frozen)
        said.append(("warn", _frozen(start), [_unfreeze(run, start)]))
    if moves is not None and moves.still:
        said.append(_still(run, moves, start))
    if climb is not None or odd:
        words = _climbs(climb) if climb is not None else f"the loss was not finite at update {odd[0]}"
        said.append(("warn", words, advice.lower_rate(run, _suggested(start))))
    failed = False
    if gain is not None:
        level, words = _learnt(limits, run, gain)
        failed = level == "warn"
        cause, tips = ("", []) if level == "ok" else _cause(run, moves, gain, log, done, _suggested(start))
        said.append((level, words + cause, tips))
    if same is not None:
        said.append(_same(limits, run, same, failed or gain is None))
    if gain is None and not any(level == "warn" for level, _, _ in said):
        return Risk("underfitting", "not_run", why, evidence)
    if slope is not None and not failed and climb is None:
        said.append(_falls(limits, run, slope, history, done))
    worst = max((level for level, _, _ in said), key=RANK.index)
    words = "; ".join(text for level, text, _ in said if level == worst and text)
    tips = list(dict.fromkeys(tip for level, _, some in said if level == worst or level == "warn" for tip in some))
    return Risk("underfitting", worst, f"{LEADS[worst]}: {words}", evidence, tuple(tips))


def _gain(
    limits: Underfitting, run: StartedRun, data: Data, model: Model | None, loss: Loss | None, history: Sequence[Evaluation],
    start: Start | None,
) -> tuple[Gain | None, str]:
    """Training loss against guessing, or why there is none."""
    if loss is not None and loss.makes_rows:
        return None, "the model makes its own training rows: their loss does not say whether it learnt"
    if heads.get(run.task.head).picks_class_of:
        guess = curve.prior(data)
        if guess is None:
            return None, ("the classes of the training rows cannot be counted (a stream), or there is only one: guessing is "
                          "no measure")
        gain = curve.against_prior(history, guess[0], limits.min_rows)
        return gain, (f"fewer than {limits.min_rows} training rows were scored in evaluation mode: nothing to hold against "
                      "guessing")
    if start is None or start.losses is None or start.rows is None or model is None or loss is None:
        return None, "no training row was scored before training: nothing to compare with"
    gain = curve.against_untuned(start.losses, score(run, model, loss, start.rows), limits.min_rows)
    return gain, f"fewer than {limits.min_rows} training rows were scored before and after training"


def _origin(data: Data, start: Start | None) -> float | None:
    """The loss of a row before training."""
    import numpy as np

    guess = curve.prior(data)
    if guess is not None:
        return guess[0]
    if start is not None and start.losses is not None and np.isfinite(start.losses).any():
        return float(np.nanmean(start.losses))
    return None


def _tested(start: Start | None) -> dict[str, Any] | str:
    if start is None or not start.tested:
        return "not run: it needs one process, weights in one piece, and training rows of its own"
    if start.learning_rate is None:
        return "the loss did not fall by 2 % at any learning rate: give it more updates"
    return {"learning_rate": float(f"{start.learning_rate:.2g}")}


def _suggested(start: Start | None) -> float | None:
    return start.learning_rate if start is not None else None


def _moves(run: StartedRun, model: Model | None, loss: Loss | None, start: Start | None) -> weights.Moves | None:
    if start is None or model is None or not start.kept or run.settings.shard:
        return None
    extra = loss.extra if loss is not None else None
    return weights.compare(start.kept, weights.keep(weights.trained(model.net, extra)))


def _learnt(limits: Underfitting, run: StartedRun, gain: Gain) -> tuple[Level, str]:
    least = limits.least_gain if gain.baseline == "class shares" else limits.least_gain_text
    kind = "guessing by class shares" if gain.baseline == "class shares" else "the untuned model"
    text = f"training rows cost {gain.after:.4g} nats, {_beside(gain)} {kind} ({gain.before:.4g})"
    if gain.p >= limits.alpha:
        return "warn" if gain.gain < 2 * least else "note", text + (", which may be chance" if gain.gain > 0 else "")
    return ("warn", f"{text}, hardly anything") if gain.gain < least else ("ok", text)


def _beside(gain: Gain) -> str:
    """How the loss stands to the one that it is held against, in words."""
    if gain.gain >= 0:
        return f"{gain.gain:.1%} less ({gain.low:.1%} to {gain.high:.1%}) than"
    times = gain.after / max(gain.before, 1e-9)
    return f"{times:.1f} times as much as" if times >= 1.5 else f"{-gain.gain:.1%} more than"


def _cause(
    run: StartedRun, moves: weights.Moves | None, gain: Gain, log: Sequence[Row], done: int, suggested: float | None
) -> tuple[str, list[str]]:
    """Too high or too low a learning rate, or too little room or time: what curve and weights say, and what to type."""
    _, losses = curve.steps(log)
    now, usual = run.settings.learning_rate, advice.usual_rate(run)
    ratio = moves.ratio if moves is not None else None
    moved = f"the weights moved by {ratio:.2g} of their length" if ratio is not None else ""
    worst = max(gain.after, float(losses.max()) if len(losses) else 0.0)
    if worst > 1.5 * gain.before or gain.after > 1.2 * gain.before or (ratio is not None and ratio > FAR):
        return _joined(moved, f"a learning rate of {now:g} is too high"), advice.lower_rate(run, suggested)
    low = ratio < NEAR if ratio is not None else now < usual / 10
    tips = [advice.higher_rate(run, suggested), advice.longer(run, done, 2 * done)]
    if suggested is None:
        tips.append(run.command("--underfitting.range_test", 60))
    if not low:
        tips += [*advice.larger(run), advice.preview(run)]
    return _joined(moved, f"a learning rate of {now:g} is too low" if low else ""), tips


def _joined(*parts: str) -> str:
    return "".join(f"; {one}" for one in parts if one)


def _same(limits: Underfitting, run: StartedRun, same: OneAnswer, failed: bool) -> tuple[Level, str, list[str]]:
    if same.share < limits.one_answer or same.others < 5:
        return "ok", "", []
    text = (f"{same.share:.0%} of {same.rows} held-out rows are answered {same.answer!r}, which is right for {same.truth:.0%}")
    if same.truth >= limits.one_answer:
        return "note", text, []
    return ("warn" if failed else "note"), text, [advice.preview(run)]


def _falls(
    limits: Underfitting, run: StartedRun, slope: Slope, history: Sequence[Evaluation], done: int
) -> tuple[Level, str, list[str]]:
    if slope.p >= curve.SURE or slope.ahead < limits.steep:
        return "ok", "", []
    best = min(history, key=lambda one: one.loss) if history else None
    if best is not None and best.step != history[-1].step:
        return "ok", "", []  # held-out rows gain no more: more updates would not help
    more = advice.updates_more(slope.level, slope.per_update, done)
    text = (f"the training loss still fell at the end, by {-slope.per_update * 100:.3g} nats in 100 updates "
            f"(± {slope.error * 100:.2g}), and held-out rows gained as well: about {more} more updates are worth trying")
    return "note", text, [advice.longer(run, done, more)]


def _still(run: StartedRun, moves: weights.Moves, start: Start | None) -> tuple[Level, str, list[str]]:
    count = len(moves.still)
    names = ", ".join(moves.still[:5]) + (f" and {count - 5} more" if count > 5 else "")
    tips = [run.command("--precision", "fp32")] if run.settings.precision != "fp32" else []
    return "warn", (f"{count} of {moves.tensors} trained tensors did not move at all: {names}"), [
        *tips, advice.higher_rate(run, _suggested(start))]


def _frozen(start: Start) -> str:
    return (f"the new head ({', '.join(start.frozen)}) is random and is not trained: the network can only bend its features "
            "towards it")


def _unfreeze(run: StartedRun, start: Start) -> str:
    """The run without the patterns that freeze the head; where a plugin did it by itself, what shows who is in the run."""
    for name, value, known in advice.options(run):
        if known.name == "freeze" and value:
            others = [one for one in value if not any(fnmatchcase(f"{head}.weight", one) for head in start.frozen)]
            return run.command(f"--{name}", ",".join(others) if len(others) < len(value) else "")
    return run.command(of="plan")


def _climbs(climb: Climb) -> str:
    return (f"training diverged: training rows cost {climb.low:.4g} nats after update {climb.step} and {climb.high:.4g} at the "
            "last look")


def _plain(found: Any) -> dict[str, Any]:
    plain = {name: _plain_number(value) for name, value in vars(found).items()}
    if "still" in plain:
        plain["still"] = list(plain["still"])
    return plain


def _plain_number(value: Any) -> Any:
    """Four digits."""
    if isinstance(value, bool) or not isinstance(value, float):
        return value
    return float(f"{value:.4g}") if math.isfinite(value) else None
