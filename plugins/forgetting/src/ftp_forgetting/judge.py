"""From numbers to one verdict: its level, its words, its evidence, and what to type next."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy.special import betaincinv, stdtrit  # type: ignore[import-untyped,unused-ignore]  # scipy.stats takes half a second

from ftp import heads
from ftp.types import Level, Model, Risk, StartedRun
from ftp_forgetting import advice, harness, sets
from ftp_forgetting.measure import Start, writes

if TYPE_CHECKING:
    from ftp_forgetting import Forgetting

RANK: tuple[Level, ...] = ("ok", "note", "warn", "stop")
LEADS: dict[Level, str] = {
    "ok": "the model can still do what it could before",
    "note": "the model lost a little of what it could do before",
    "warn": "the model lost some of what it could do before",
    "stop": "the model lost much of what it could do before",
}
UNIFORM = 0.7
"""Share of ln(vocabulary) from which on the untouched model's surprise says that it does not know the language."""
UNKNOWN = 0.1
"""Share of unknown tokens from which on the tokenizer does not know it."""
Said = tuple[Level, str]


def verdict(options: Forgetting, run: StartedRun, model: Model | None, start: Start | None) -> Risk:
    """The verdict at the end of a run. `not_run` where there was no before, or where the text does not fit the model."""
    if start is None or start.why:
        return Risk("forgetting", "not_run", start.why if start else "nothing was measured before training")
    if model is None:
        return Risk("forgetting", "not_run", "there is no model at the end")
    if run.log.lines and not any(line.get("event") in ("step", "evaluation") for line in run.log.lines):
        return Risk("forgetting", "not_run", "no update was made")
    try:
        said, evidence = (_words if writes(model) else _representations)(options, run, model, start)
    except ValueError as error:
        return Risk("forgetting", "not_run", f"this network's states cannot be read: {error}")
    if isinstance(said, str) and not start.tests:
        return Risk("forgetting", "not_run", said, evidence)
    verdicts: list[Said] = [] if isinstance(said, str) else [said]
    if start.tests:
        tested, evidence["lm_eval"] = _tests(options, model, start)
        verdicts += [tested] if tested is not None else []
    if not verdicts:
        return Risk("forgetting", "not_run", f"{said}; lm-eval: fewer than {sets.LEAST_DOCUMENTS} rows in common", evidence)
    worst = max((level for level, _ in verdicts), key=RANK.index)
    lead = LEADS[worst]
    if heads.get(model.head).writes_text and not writes(model):  # what the decoder of an encoder-decoder writes was not looked at
        lead = lead.replace("the model", "the encoder") + " (what the decoder writes was not compared)"
    words = f"{lead}: {'; '.join(text for _, text in verdicts)}"
    return Risk("forgetting", worst, words, evidence, tuple(advice.less(run, model)) if worst != "ok" else ())


# --- models that write or fill text ---


def _words(options: Forgetting, run: StartedRun, model: Model, start: Start) -> tuple[Said | str, dict[str, Any]]:
    from ftp_forgetting import words

    was = start.said
    real = np.isfinite(was.losses)
    width = int(model.net.get_input_embeddings().weight.shape[0])
    uniform, mean = math.log(width), float(was.losses[real].mean()) if real.any() else math.nan
    evidence: dict[str, Any] = {
        "text": start.source, "documents": int(real.sum()), "of": start.of, "tokens": was.tokens,
        "sampled": len(start.ids) < start.of, "before": _plain(mean), "uniform": _plain(uniform), "unknown": _plain(was.unknown)}
    if was.unknown > UNKNOWN:
        return (f"the general text does not fit: {was.unknown:.0%} of its tokens are unknown to the tokenizer; give text in the "
                "model's language (--forgetting.text FILE)"), evidence
    if not mean < UNIFORM * uniform:
        return (f"the general text does not fit: a token of it cost the untouched model {mean:.3g} nats, of {uniform:.3g} for "
                "knowing nothing; give text in its language (--forgetting.text FILE)"), evidence
    now = words.say(run, model, start.ids, was)
    apart = words.kl(was, now)
    change = _interval(now.losses - was.losses, options.alpha)
    if change is None:
        return f"fewer than {sets.LEAST_DOCUMENTS} documents could be scored before and after", evidence
    middle, low, high = change
    drift = _interval(apart, options.alpha) or (math.nan,) * 3
    evidence |= {"after": _plain(float(np.nanmean(now.losses))), "rise": _plain(middle), "rise_low": _plain(low),
                 "rise_high": _plain(high), "kl": _plain(drift[0]), "kl_low": _plain(drift[1]), "kl_high": _plain(drift[2]),
                 "unit": f"nats a {'' if heads.get(model.head).writes_text else 'hidden '}token, mean over documents",
                 "levels": {"note": options.note_nats, "warn": options.warn_nats, "stop": options.stop_nats}}
    text = (f"general text costs {evidence['after']:.3f} nats a token, {mean:.3f} before the run: {middle:+.3f} "
            f"({low:+.3f} to {high:+.3f}); KL from the model of before: {drift[0]:.3f}")
    for level, least in (("stop", options.stop_nats), ("warn", options.warn_nats), ("note", options.note_nats)):
        if low > least:
            return (level, text), evidence  # type: ignore[return-value]
    return ("ok", text), evidence


def _interval(values: Any, level: float) -> tuple[float, float, float] | None:
    """Mean over documents with bounds by Student's t, each wrong with probability `level`."""
    real = values[np.isfinite(values)]
    if len(real) < sets.LEAST_DOCUMENTS:
        return None
    middle, error = float(real.mean()), float(real.std(ddof=1)) / math.sqrt(len(real))
    reach = -float(stdtrit(len(real) - 1, level)) * error
    return middle, middle - reach, middle + reach


# --- encoders with a new head ---


def _representations(options: Forgetting, run: StartedRun, model: Model, start: Start) -> tuple[Said | str, dict[str, Any]]:
    from ftp_forgetting import representations

    evidence: dict[str, Any] = {"text": start.source, "rows": start.of, "unknown": _plain(start.unknown)}
    if start.unknown > UNKNOWN:
        return (f"the general tasks do not fit: {start.unknown:.0%} of their tokens are unknown to the tokenizer; give tasks in "
                "the model's language (--forgetting.tasks FILE)"), evidence
    known = {task.name: task for task in start.tasks if _knew(start.right[task.name], task, options.alpha)}
    evidence["majority"] = {task.name: _plain(_majority(task)) for task in start.tasks}
    evidence["before"] = {name: _plain(float(right.mean())) for name, right in start.right.items()}
    if not known:
        return ("the general tasks do not fit: probes of the untouched model are no surer right than the most frequent class; "
                "give tasks in the model's language (--forgetting.tasks FILE)"), evidence
    now, _ = representations.features(run, model, [text for task in start.tasks for text in task.texts])
    if not np.isfinite(now).all():
        return ("stop", "the network gives no numbers on general text"), {**evidence, "after": None}
    after, place = dict[str, Any](), 0
    for task in start.tasks:
        after[task.name] = representations.probe(now[place : place + len(task.texts)], task.labels)
        place += len(task.texts)
    shared = representations.overlap(start.features, now)
    falls = {name: start.right[name].astype(float) - after[name] for name in known}
    pooled = np.concatenate(list(falls.values()))
    looks = len(falls) + (len(falls) > 1)
    bounds = {name: _interval(fall, options.alpha / looks) for name, fall in falls.items()}
    whole = _interval(pooled, options.alpha / looks)
    assert whole is not None
    evidence |= {
        "after": {name: _plain(float(right.mean())) for name, right in after.items()},
        "fall": _plain(whole[0]), "fall_low": _plain(whole[1]), "fall_high": _plain(whole[2]),
        "falls": {name: [_plain(one) for one in bound] for name, bound in bounds.items() if bound is not None},
        "not_compared": [task.name for task in start.tasks if task.name not in known],
        "cka": _plain(representations.cka(start.features, now)), "neighbours_kept": _plain(float(shared.mean())),
        "neighbours_by_chance": _plain(representations.NEIGHBOURS / (len(now) - 1)),
        "levels": {"note": options.note_drop, "warn": options.warn_drop}}
    text = (f"linear probes of {len(known)} general tasks are right on {_share(after, known)} of rows, "
            f"{_share(start.right, known)} before the run: {-whole[0]:+.1%} ({-whole[2]:+.1%} to {-whole[1]:+.1%}); "
            f"CKA {evidence['cka']:.2f}, {evidence['neighbours_kept']:.0%} of neighbours kept")
    lowest = max(bound[1] for bound in (whole, *bounds.values()) if bound is not None)
    for level, least in (("warn", options.warn_drop), ("note", options.note_drop)):
        if lowest > least:
            return (level, text), evidence  # type: ignore[return-value]
    return ("ok", text), evidence


def _majority(task: sets.Task) -> float:
    return float(np.bincount(task.labels).max() / len(task.labels))


def _knew(right: Any, task: sets.Task, level: float) -> bool:
    """Whether the untouched model's probe is surely right more often than the most frequent class (Clopper and Pearson)."""
    hits, count = int(right.sum()), len(right)
    return hits > 0 and float(betaincinv(hits, count - hits + 1, level)) > _majority(task)


def _share(right: Any, names: Any) -> str:
    return f"{np.concatenate([right[name] for name in names]).mean():.1%}"


# --- lm-eval ---


def _tests(options: Forgetting, model: Model, start: Start) -> tuple[Said | None, dict[str, Any]]:
    """What became of lm-eval's tasks, and the numbers; None where none of them has enough rows."""
    now = harness.ask(options.lm_eval, model, options.lm_eval_rows)
    told: dict[str, Any] = {}
    level: Level = "ok"
    words = []
    for task, was in start.tests.items():
        change = _interval(was - now[task], options.alpha / len(start.tests)) if len(now.get(task, ())) == len(was) else None
        if change is None:
            told[task] = {"rows": len(was), "not_run": f"fewer than {sets.LEAST_DOCUMENTS} rows in common"}
            continue
        told[task] = {"rows": len(was), "before": _plain(float(was.mean())), "after": _plain(float(now[task].mean())),
                      "fall": [_plain(one) for one in change]}
        words.append(f"{task} {was.mean():.1%} before, {now[task].mean():.1%} after")
        mine: Level = "warn" if change[1] > options.warn_drop else "note" if change[1] > options.note_drop else "ok"
        level = max(level, mine, key=RANK.index)
    return (level, "lm-eval: " + ", ".join(words)) if words else None, told


def _plain(value: float) -> float | None:
    """Four digits."""
    return float(f"{value:.4g}") if math.isfinite(value) else None
