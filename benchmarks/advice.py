"""How good the advice of `ftp advise` is: 12 public sets at 50, 200 and 1,000 rows, each candidate run in full once.

    python benchmarks/advice.py --data DIR --out CELLS [--runs RUNS] [--sets sst2 trec] [--rows 50 200]    measure and print
    python benchmarks/advice.py --out CELLS                                                                only print the table

DIR holds the public sets, CELLS one file for each full run and each advice: what is there is not measured again. Runs that
quality.py makes as well are taken from RUNS, its folder, and measured into it. Regret is the
best full score of a cell less that of what was recommended, in points, on 1,000 test rows at most. The advice gets 15 % of the
seconds that all candidates took as its budget. It is held against always the same method, against a candidate at random (the mean
of all), and against the linear head on frozen features. Choosing by transferability (LogME, You et al. 2021) ranks models, not
methods: with one model at hand it is "always full". Seconds are those of a clock: nothing else may run.
"""

from __future__ import annotations

import argparse
import dataclasses
import hashlib
import json
import re
import shutil
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import quality
from quality import HEAD, METHODS, SETS, Cell, write_rows

from ftp.advise import facts as fact_finding
from ftp.advise.candidates import beside, entries_of, field_of
from ftp.advise.looks import take
from ftp.advise.pool import pool_of
from ftp.advise.question import Question
from ftp.advise.recommend import race_and_recommend
from ftp.advise.situation import open_situation, run_of
from ftp.advise.types import Entry, Situation
from ftp.advise.wording import duration

ROWS = (50, 200, 1000)
SHARE = 0.15
"""Of what trying all costs, that the advice may take."""
LEAST_BUDGET = 20.0
BASE = "full"
"""What extras are tried beside, where all is tried."""
ALWAYS = ("full", "lora", "adapters", "probe")


def named(entry: str) -> str:
    """The name of an entry as that of a file; two entries never have the same one."""
    words = re.sub(r"[^a-z0-9]+", "-", entry.lower()).strip("-")
    return f"{words}-{hashlib.sha256(entry.encode()).hexdigest()[:6]}"


# --- full runs ---


def run_in_full(situation: Situation, entry: Entry, metric: str, folder: Path, file: Path) -> dict[str, Any]:
    """The score of an entry on the test rows, and the seconds that it took; once."""
    if file.exists():
        return dict(json.loads(file.read_text(encoding="utf-8")))
    from ftp.plugins.plan import replace_settings
    from ftp.runs.run import execute

    prepared = replace_settings(run_of(situation, entry), verify=False, report=False, out=folder / "run",
                                baselines=entry.name == BASE)
    began = time.perf_counter()
    result = execute(prepared)
    measured: dict[str, Any] = {"entry": entry.name, "score": result.score(metric, "test"), "trains": entry.trains,
                                "seconds": round(time.perf_counter() - began, 1), "updates": result.step}
    for baseline in result.baselines:
        if baseline.name == metric and baseline.split == "test":
            measured.setdefault("baselines", {})[baseline.baseline] = baseline.value
    shutil.rmtree(folder / "run", ignore_errors=True)
    file.write_text(json.dumps(measured), encoding="utf-8")
    print(f"{file.stem:50} {measured['score']:.3f}  {measured['seconds']:.0f} s", flush=True)
    return measured


def run_of_quality(cell: Cell, source: Path, runs: Path, metric: str) -> dict[str, Any]:
    """The same of a run that quality.py makes on the same rows with the same defaults."""
    quality.measure(cell, source, runs)
    recorded = json.loads((runs / f"{cell.name}.json").read_text(encoding="utf-8"))
    values = {}
    for name, answers in recorded["answers"].items():
        values[name] = quality.scores(answers, recorded["right"])[metric]
    score = values.pop(cell.method)
    return {"entry": cell.method, "score": score, "trains": True, "seconds": recorded["seconds"],
            "updates": recorded["updates"], "baselines": values}


def measure(cell: Cell, source: Path, out: Path, share: float, runs: Path | None) -> None:
    """All candidates of a cell in full, then the advice at a share of what they cost, then what it recommends in full."""
    file = out / f"advice-{cell.data}-{cell.rows}.json"
    if file.exists():
        return
    with tempfile.TemporaryDirectory() as work:
        folder = Path(work)
        write_rows(source, cell, folder)
        question = Question(str(folder), plugins=("classify",), seed=cell.seed, out=folder / "advice", options={"device": "cpu"})
        situation = open_situation(question)
        pool = pool_of(situation.data, cell.seed)
        looks = take(situation, pool)
        field = field_of(situation)
        entries = entries_of(situation, field)
        base = next((entry for entry in entries if entry.name == BASE), entries[-1])
        full: dict[str, dict[str, Any]] = {}

        def in_full(entry: Entry) -> dict[str, Any]:
            if runs is not None and entry.name in METHODS:
                return run_of_quality(dataclasses.replace(cell, method=entry.name), source, runs, looks.metric.name)
            kept = out / f"full-{cell.data}-{cell.rows}-{named(entry.name)}.json"
            return run_in_full(situation, entry, looks.metric.name, folder, kept)

        for entry in [*entries, *beside(situation, field, base)]:
            full[entry.name] = in_full(entry)

        cost = sum(measured["seconds"] for measured in full.values())
        # looks are part of what the advice takes
        budget = max(LEAST_BUDGET, share * cost - looks.seconds)
        asked = dataclasses.replace(situation, question=dataclasses.replace(question, budget_seconds=budget))
        began = time.perf_counter()
        advice = race_and_recommend(asked, fact_finding.look_at(asked), pool, looks)
        seconds = looks.seconds + time.perf_counter() - began
        if advice.entry is not None and advice.entry.name not in full:
            full[advice.entry.name] = in_full(advice.entry)
        recommended = None if advice.entry is None else advice.entry.name
        answer = {"metric": looks.metric.name, "recommended": recommended, "kind": advice.kind, "score": advice.score,
                  "low": advice.low, "high": advice.high, "seconds": round(seconds, 1), "cost": round(cost, 1), "full": full}
        file.write_text(json.dumps(answer), encoding="utf-8")


# --- numbers ---


def scores_of(answer: Mapping[str, Any]) -> dict[str, float]:
    """The full scores of a cell by candidate, that of the linear head among them."""
    scores = {name: measured["score"] for name, measured in answer["full"].items()}
    for measured in answer["full"].values():
        for name, value in measured.get("baselines", {}).items():
            if name == HEAD:
                scores[HEAD] = value
    return scores


def regrets(answer: Mapping[str, Any]) -> dict[str, float]:
    """How far each way of choosing is from the best of a cell, in points."""
    scores = scores_of(answer)
    best = max(scores.values())
    # where nothing is to be trained and no plugin makes it a model, the linear head is what the user has
    chosen = answer["recommended"] or HEAD
    ways = {"ftp advise": scores.get(chosen, min(scores.values())), "at random": sum(scores.values()) / len(scores)}
    for name in (*ALWAYS, HEAD):
        if name in scores:
            ways[f"always {name}"] = scores[name]
    return {way: 100 * (best - score) for way, score in ways.items()}


def holds(answer: Mapping[str, Any]) -> bool | None:
    """Whether the promised interval holds the full score of what was recommended; None where none was promised."""
    if answer["recommended"] is None or answer["low"] is None:
        return None
    score = answer["full"][answer["recommended"]]["score"]
    return bool(answer["low"] <= score <= answer["high"])


def table(answers: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """A line for each cell, and the means."""
    lines = ["| set | rows | best | recommended | regret | share of the cost | promised | full score |", "|" + " --- |" * 8]
    sums: dict[str, list[float]] = {}
    held = []
    for name, answer in answers.items():
        data, _, rows = name.rpartition("-")
        scores = scores_of(answer)
        of_cell = regrets(answer)
        for way, regret in of_cell.items():
            sums.setdefault(way, []).append(regret)
        if (is_held := holds(answer)) is not None:
            held.append(is_held)
        best = max(scores, key=scores.__getitem__)
        promised = "" if answer["low"] is None else f"{answer['low']:.3f} to {answer['high']:.3f}"
        own = scores.get(answer["recommended"] or HEAD)
        lines.append(f"| {data} | {int(rows):,} | {best} ({scores[best]:.3f}) | {answer['recommended'] or 'nothing'} | "
                     f"{of_cell['ftp advise']:.1f} | {answer['seconds'] / answer['cost']:.0%} | {promised} | "
                     f"{'' if own is None else f'{own:.3f}'} |")
    lines += ["", "| way of choosing | mean regret in points | cells |", "| --- | --- | --- |"]
    for way, values in sorted(sums.items(), key=lambda item: sum(item[1]) / len(item[1])):
        lines.append(f"| {way} | {sum(values) / len(values):.2f} | {len(values)} |")
    seconds = sum(answer["seconds"] for answer in answers.values())
    cost = sum(answer["cost"] for answer in answers.values())
    if cost:
        lines += ["", f"All advice took {seconds / cost:.0%} of what trying all took ({duration(seconds)} of {duration(cost)})."]
    if held:
        lines += ["", f"The promised 90 % interval holds the full score in {sum(held)} of {len(held)} cells."]
    return lines


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--data", type=Path, help="folder of the public sets")
    parser.add_argument("--out", type=Path, required=True, help="folder of what was measured")
    parser.add_argument("--sets", nargs="*", default=SETS)
    parser.add_argument("--rows", nargs="*", type=int, default=ROWS)
    parser.add_argument("--runs", type=Path, help="folder of the runs of quality.py")
    parser.add_argument("--share", type=float, default=SHARE, help="of the cost of trying all, that the advice may take")
    words = parser.parse_args()
    for folder in filter(None, (words.out, words.runs)):
        folder.mkdir(parents=True, exist_ok=True)
    if words.data is not None:
        for rows in words.rows:
            for data in words.sets:
                measure(Cell(data, rows, 0, ""), words.data, words.out, words.share, words.runs)
    answers = {}
    for file in sorted(words.out.glob("advice-*.json")):
        answers[file.stem.removeprefix("advice-")] = json.loads(file.read_text(encoding="utf-8"))
    print("\n".join(table(answers)))


if __name__ == "__main__":
    main()
