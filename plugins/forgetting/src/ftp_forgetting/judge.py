"""From numbers to one verdict: its level, its words, its evidence, and what to type next."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from scipy.special import betaincinv  # type: ignore[import-untyped,unused-ignore]  # scipy.stats: 0.5 s

from ftp import heads
from ftp.types import Level, Model, Risk, StartedRun
from ftp_forgetting import advice, harness, sets
from ftp_forgetting.intervals import Interval, bounds, evidence_of, fall_intervals, interval_of, rounded
from ftp_forgetting.measure import Start, is_language_model, probe_each, texts_of

if TYPE_CHECKING:
    from ftp_forgetting import Forgetting

LEVELS: tuple[Level, ...] = ("ok", "note", "warn", "stop")
"""From good to bad."""
LEADS: dict[Level, str] = {
    "ok": "the model can still do what it could before",
    "note": "the model lost a little of what it could do before",
    "warn": "the model lost some of what it could do before",
    "stop": "the model lost much of what it could do before",
}
"""How a finding begins."""
UNIFORM = 0.7
"""Share of ln(vocabulary) from which on the untouched model does not know the text's language."""
UNKNOWN = 0.1
"""Share of unknown tokens from which on the tokenizer does not know it."""


@dataclass(frozen=True)
class Judgement:
    """What one comparison says. `level` None: nothing could be compared, and `text` says why."""

    level: Level | None
    text: str


def not_run(reason: str, evidence: Mapping[str, object] | None = None) -> Risk:
    """The verdict where nothing was compared."""
    return Risk("forgetting", "not_run", reason, evidence or {})


def verdict(options: Forgetting, run: StartedRun, model: Model | None, start: Start | None) -> Risk:
    """The verdict at the end of a run.

    `not_run` where there was no before, or where the text does not fit the model.
    """
    if start is None:
        return not_run("nothing was measured before training")
    if start.not_run:
        return not_run(start.not_run)
    if model is None:
        return not_run("there is no model at the end")
    if not _has_updates(run):
        return not_run("no update was made")
    compare = _compare_reading if is_language_model(model) else _compare_representations
    try:
        own, evidence = compare(options, run, model, start)
    except ValueError as error:
        return not_run(f"this network's states cannot be read: {error}")
    judgements = [own]
    if start.tests:
        harness_judgement, evidence["lm_eval"] = _compare_tests(options, model, start)
        judgements.append(harness_judgement)
    levels = [judgement.level for judgement in judgements if judgement.level is not None]
    if not levels:
        return not_run("; ".join(judgement.text for judgement in judgements), evidence)
    worst = max(levels, key=LEVELS.index)
    texts = [judgement.text for judgement in judgements if judgement.level is not None]
    finding = f"{_lead(worst, model)}: {'; '.join(texts)}"
    commands = [] if worst == "ok" else advice.keep_more(run, model)
    return Risk("forgetting", worst, finding, evidence, tuple(commands))


def _has_updates(run: StartedRun) -> bool:
    """Whether the log tells of an update; True where it is empty."""
    if not run.log.lines:
        return True
    return any(line.get("event") in ("step", "evaluation") for line in run.log.lines)


def _lead(level: Level, model: Model) -> str:
    lead = LEADS[level]
    # of an encoder-decoder that writes, only the encoder's representations were looked at
    if heads.get(model.head).writes_text and not is_language_model(model):
        lead = lead.replace("the model", "the encoder")
        lead += " (what the decoder writes was not compared)"
    return lead


def _level_above(value: float, limits: Iterable[tuple[Level, float]]) -> Level:
    """The first level whose limit is passed; the hardest is given first."""
    for level, limit in limits:
        if value > limit:
            return level
    return "ok"


# --- models that write or fill text ---


def _compare_reading(
    options: Forgetting, run: StartedRun, model: Model, start: Start
) -> tuple[Judgement, dict[str, object]]:
    """What general text costs now, against what it cost before."""
    from ftp_forgetting import words

    before = start.reading
    assert before is not None  # as it is a language model
    scored = before.losses[np.isfinite(before.losses)]
    mean = float(scored.mean()) if len(scored) else math.nan
    # the cost of knowing nothing: all tokens alike
    uniform = math.log(int(model.net.get_input_embeddings().weight.shape[0]))
    evidence: dict[str, object] = {
        "text": start.source,
        "documents": len(scored),
        "of": start.of,
        "tokens": before.tokens,
        "sampled": len(start.ids) < start.of,
        "before": rounded(mean),
        "uniform": rounded(uniform),
        "unknown": rounded(before.unknown),
    }
    misfit = _why_text_does_not_fit(before.unknown, mean, uniform)
    if misfit:
        return Judgement(None, misfit), evidence
    after = words.read_documents(run, model, start.ids, before)
    rise = interval_of(after.losses - before.losses, options.alpha)
    if rise is None:
        reason = f"fewer than {sets.LEAST_DOCUMENTS} documents could be scored before and after"
        return Judgement(None, reason), evidence
    drift = interval_of(words.kl(before, after), options.alpha)
    if drift is None:
        drift = Interval(math.nan, math.nan, math.nan)
    hidden = "" if heads.get(model.head).writes_text else "hidden "
    mean_after = rounded(float(np.nanmean(after.losses)))
    evidence |= {
        "after": mean_after,
        **evidence_of("rise", rise),
        **evidence_of("kl", drift),
        "unit": f"nats a {hidden}token, mean over documents",
        "levels": {
            "note": options.note_nats,
            "warn": options.warn_nats,
            "stop": options.stop_nats,
        },
    }
    text = (
        f"general text costs {mean_after:.3f} nats a token, {mean:.3f} before the run: "
        f"{rise.mean:+.3f} ({rise.low:+.3f} to {rise.high:+.3f}); KL from the model of before: "
        f"{drift.mean:.3f}"
    )
    level = _level_above(
        rise.low,
        (("stop", options.stop_nats), ("warn", options.warn_nats), ("note", options.note_nats)),
    )
    return Judgement(level, text), evidence


def _why_text_does_not_fit(unknown: float, mean: float, uniform: float) -> str:
    """Why a model cannot be compared on the text; empty where it can."""
    if unknown > UNKNOWN:
        return (
            f"the general text does not fit: {unknown:.0%} of its tokens are unknown to the "
            "tokenizer; give text in the model's language (--forgetting.text FILE)"
        )
    if not mean < UNIFORM * uniform:  # NaN is no fit either
        return (
            f"the general text does not fit: a token of it cost the untouched model {mean:.3g} "
            f"nats, of {uniform:.3g} for knowing nothing; give text in its language "
            "(--forgetting.text FILE)"
        )
    return ""


# --- encoders with a new head ---


def _compare_representations(
    options: Forgetting, run: StartedRun, model: Model, start: Start
) -> tuple[Judgement, dict[str, object]]:
    """What probes still read from the representations, and how far these drifted."""
    from ftp_forgetting import representations

    evidence: dict[str, object] = {
        "text": start.source,
        "rows": start.of,
        "unknown": rounded(start.unknown),
    }
    if start.unknown > UNKNOWN:
        reason = (
            f"the general tasks do not fit: {start.unknown:.0%} of their tokens are unknown to the "
            "tokenizer; give tasks in the model's language (--forgetting.tasks FILE)"
        )
        return Judgement(None, reason), evidence
    able = [task.name for task in start.tasks if _is_able(start, task, options.alpha)]
    evidence["majority"] = {task.name: rounded(_majority_share(task)) for task in start.tasks}
    evidence["before"] = _accuracies(start.right)
    if not able:
        reason = (
            "the general tasks do not fit: probes of the untouched model are no surer right than "
            "the most frequent class; give tasks in the model's language (--forgetting.tasks FILE)"
        )
        return Judgement(None, reason), evidence
    features, _ = representations.features(run, model, texts_of(start.tasks))
    if not np.isfinite(features).all():
        evidence["after"] = None
        return Judgement("stop", "the network gives no numbers on general text"), evidence
    right = probe_each(start.tasks, features)
    falls = {name: start.right[name].astype(float) - right[name] for name in able}
    fall, fall_of_task = fall_intervals(falls, options.alpha)
    assert start.features is not None  # as there are tasks
    cka = rounded(representations.cka(start.features, features))
    kept = rounded(float(representations.overlap(start.features, features).mean()))
    evidence |= {
        "after": _accuracies(right),
        **evidence_of("fall", fall),
        "falls": {name: bounds(interval) for name, interval in fall_of_task.items()},
        "not_compared": [task.name for task in start.tasks if task.name not in able],
        "cka": cka,
        "neighbours_kept": kept,
        "neighbours_by_chance": rounded(representations.NEIGHBOURS / (len(features) - 1)),
        "levels": {"note": options.note_drop, "warn": options.warn_drop},
    }
    text = (
        f"linear probes of {len(able)} general tasks are right on {_share_right(right, able)} of "
        f"rows, {_share_right(start.right, able)} before the run: {-fall.mean:+.1%} "
        f"({-fall.high:+.1%} to {-fall.low:+.1%}); CKA {cka:.2f}, "
        f"{kept:.0%} of neighbours kept"
    )
    surest = max(interval.low for interval in (fall, *fall_of_task.values()))
    limits: tuple[tuple[Level, float], ...]
    limits = (("warn", options.warn_drop), ("note", options.note_drop))
    return Judgement(_level_above(surest, limits), text), evidence


def _majority_share(task: sets.Task) -> float:
    return float(np.bincount(task.labels).max() / len(task.labels))


def _is_able(start: Start, task: sets.Task, level: float) -> bool:
    """Whether the untouched model's probe is surely right more often than the most frequent class.

    By the lower bound of Clopper and Pearson (1934).
    """
    right = start.right[task.name]
    num_right = int(right.sum())
    if not num_right:
        return False
    low = float(betaincinv(num_right, len(right) - num_right + 1, level))
    return low > _majority_share(task)


def _accuracies(right: Mapping[str, NDArray[np.bool_]]) -> dict[str, float | None]:
    return {name: rounded(float(rows.mean())) for name, rows in right.items()}


def _share_right(right: Mapping[str, NDArray[np.bool_]], names: Sequence[str]) -> str:
    return f"{np.concatenate([right[name] for name in names]).mean():.1%}"


# --- lm-eval ---


def _compare_tests(
    options: Forgetting, model: Model, start: Start
) -> tuple[Judgement, dict[str, object]]:
    """What became of lm-eval's tasks, row by row, and the numbers."""
    scores = harness.ask(options.lm_eval, model, options.lm_eval_rows)
    evidence: dict[str, object] = {}
    level: Level = "ok"
    texts = []
    limits: tuple[tuple[Level, float], ...]
    limits = (("warn", options.warn_drop), ("note", options.note_drop))
    for task, before in start.tests.items():
        after = scores.get(task, np.zeros(0))
        fall = None
        if len(after) == len(before):
            fall = interval_of(before - after, options.alpha / len(start.tests))
        if fall is None:
            reason = f"fewer than {sets.LEAST_DOCUMENTS} rows in common"
            evidence[task] = {"rows": len(before), "not_run": reason}
            continue
        evidence[task] = {
            "rows": len(before),
            "before": rounded(float(before.mean())),
            "after": rounded(float(after.mean())),
            "fall": bounds(fall),
        }
        texts.append(f"{task} {before.mean():.1%} before, {after.mean():.1%} after")
        level = max(level, _level_above(fall.low, limits), key=LEVELS.index)
    if not texts:
        reason = f"lm-eval: fewer than {sets.LEAST_DOCUMENTS} rows in common"
        return Judgement(None, reason), evidence
    return Judgement(level, f"lm-eval: {', '.join(texts)}"), evidence
