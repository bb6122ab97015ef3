"""Few rows a class: `probe` beside `full`, `lora` and what every run is compared with, and the table of plugins/probe/README.md.

    python benchmarks/few_rows.py --data DIR --out RUNS [--sets sst2,trec] [--rows 8,16] [--seeds 3] [--systems probe,lora]
    python benchmarks/few_rows.py                                            only make the table anew

DIR holds the public sets (benchmarks/README.md has the list). Each cell takes 8, 16 or 50 rows of each class, drawn by its seed,
and 500 test rows, which are the same for all; ftp cuts a tenth of the few rows for validation, as it does for a user. All
options are defaults, but for checks, report and the proof of the saved model, which are left out as they cost all systems the
same. The run of probe measures the baselines as well. Times are CPU seconds of a run with one thread, without Python's start and
its imports. What few_rows.json holds is not done again.
"""

from __future__ import annotations

import argparse
import csv
import importlib
import itertools
import json
import lzma
import os
import shutil
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

os.environ.update(OMP_NUM_THREADS="1", HF_HUB_OFFLINE="1", TOKENIZERS_PARALLELISM="false")  # before torch is imported

ROOT = Path(__file__).resolve().parents[1]
RESULTS = ROOT / "benchmarks" / "few_rows.json"
PAGE = ROOT / "plugins" / "probe" / "README.md"
BEGIN = "<!-- few rows: made by benchmarks/few_rows.py -->"
END = "<!-- end of few rows -->"
SETS = ("sst2", "trec", "ag_news", "tweet_emotion", "financial_phrasebank", "banking77")
ROWS = (8, 16, 50)
TEST_ROWS = 500
SYSTEMS = ("probe", "lora", "full")
WORDS = "TF-IDF, linear model"
HEAD = "untuned, linear head"
CHECKS = ("-leakage", "-overfitting", "-underfitting", "-forgetting", "-preflight")
SCORES = ("accuracy", "macro_f1")

Cell = tuple[str, int, int]
"""Set, rows of a class, seed."""


# --- runs ---


def read(folder: Path, split: str) -> list[dict[str, str]]:
    """Rows of a set with their texts and the names of their classes."""
    (file,) = folder.glob(f"{split}.*.xz")
    with lzma.open(file, "rt", encoding="utf-8", newline="") as stream:
        rows = csv.DictReader(stream) if ".csv" in file.name else map(json.loads, stream)
        return [{"text": row["text"], "label": str(row["label_name"])} for row in rows]


def write_cell(data: Path, folder: Path, cell: Cell) -> None:
    """The few rows and the test rows of a cell as files."""
    import numpy as np

    name, num_rows, seed = cell
    draw = np.random.default_rng(seed)
    by_label: dict[str, list[dict[str, str]]] = {}
    for row in read(data / name, "train"):
        by_label.setdefault(row["label"], []).append(row)
    few = []
    for label in sorted(by_label):
        of_label = by_label[label]
        few += [of_label[index] for index in draw.permutation(len(of_label))[:num_rows]]
    test = read(data / name, "test")
    chosen = np.random.default_rng(0).permutation(len(test))[:TEST_ROWS]
    folder.mkdir(parents=True)
    for split, rows in (("train", few), ("test", [test[index] for index in chosen])):
        lines = [json.dumps(row) for row in rows]
        (folder / f"{split}.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")


def do_run(data: Path, out: Path, cell: Cell, system: str) -> dict[str, Any]:
    """The scores on test rows, those of the baselines, and CPU seconds of one run."""
    import ftp

    name, num_rows, seed = cell
    folder = out / "data" / f"{name}-{num_rows}-{seed}"
    if not folder.is_dir():
        write_cell(data, folder, cell)
    run = out / f"run-{system}"
    shutil.rmtree(run, ignore_errors=True)
    start = time.process_time()
    result = ftp.run([system, "classify", *CHECKS], data=str(folder), seed=seed, out=str(run), device="cpu", verify=False,
                     report=False, baselines=system == "probe", cache_dir=str(out / "cache"))
    seconds = time.process_time() - start
    scores = {score: result.score(score) for score in SCORES}
    baselines: dict[str, dict[str, float]] = {}
    for baseline in result.baselines:
        if baseline.split == "test" and baseline.name in SCORES:
            baselines.setdefault(baseline.baseline, {})[baseline.name] = baseline.value
    return {**scores, "seconds": round(seconds, 1), "updates": result.step, "baselines": baselines}


def key_of(cell: Cell, system: str) -> str:
    return "/".join(map(str, (*cell, system)))


def measure(data: Path, out: Path, cells: Sequence[Cell], systems: Sequence[str]) -> None:
    """Do what is missing, and keep each result as soon as it is there."""
    import_all()
    for cell, system in itertools.product(cells, systems):
        if key_of(cell, system) in stored():
            continue
        result = do_run(data, out, cell, system)
        # read again, as another process may do other systems
        results = {**stored(), key_of(cell, system): result}
        RESULTS.write_text(json.dumps(dict(sorted(results.items())), indent=1) + "\n")
        print(key_of(cell, system), result, flush=True)


def stored() -> dict[str, Any]:
    """The results that are there."""
    return json.loads(RESULTS.read_text()) if RESULTS.exists() else {}


def import_all() -> None:
    """Import what runs import, so that the first is as fast as the others."""
    for module in ("accelerate", "datasets", "peft", "sklearn.linear_model", "sklearn.multiclass", "torch", "transformers",
                   "ftp.model", "ftp.runs.run", "ftp.losses.labels", "ftp.train.loop"):
        importlib.import_module(module)


# --- the table ---


def values_of(results: dict[str, Any], name: str, num_rows: int, system: str, score: str) -> dict[int, float]:
    """Seed -> a score in percent; of baselines that of the run of probe."""
    values = {}
    for key, result in results.items():
        of_set, rows, seed, of_system = key.split("/")
        if (of_set, int(rows)) != (name, num_rows):
            continue
        if of_system == system:
            values[int(seed)] = result[score]
        elif of_system == "probe" and system in result["baselines"]:
            values[int(seed)] = result["baselines"][system][score]
    return {seed: value if score == "seconds" else 100 * value for seed, value in values.items()}


def lines_of(results: dict[str, Any], score: str) -> Iterator[str]:
    """The table of a score: the mean of each system, and by how much probe is ahead of the best of the others."""
    import numpy as np

    rivals = ("lora", "full", WORDS, HEAD)
    yield f"| set, rows a class | probe | lora | full | words | linear head | probe beside the best of them ({score}) |"
    yield "| --- | --- | --- | --- | --- | --- | --- |"
    kept = 0
    cells = 0
    for name, num_rows in itertools.product(SETS, ROWS):
        of_system = {system: values_of(results, name, num_rows, system, score) for system in ("probe", *rivals)}
        seeds = sorted(set.intersection(*(set(values) for values in of_system.values())))
        if not seeds:
            continue
        means = {system: float(np.mean([values[seed] for seed in seeds])) for system, values in of_system.items()}
        best = max(rivals, key=means.__getitem__)
        ahead = np.array([of_system["probe"][seed] - of_system[best][seed] for seed in seeds])
        error = float(ahead.std(ddof=1) / np.sqrt(len(seeds))) if len(seeds) > 1 else 0.0
        cells += 1
        kept += bool(ahead.mean() >= -error)
        shown = " | ".join(f"{means[system]:.1f}" for system in ("probe", *rivals))
        few = f" ({len(seeds)} seeds)" if len(seeds) < 3 else ""
        yield f"| {name}, {num_rows}{few} | {shown} | {ahead.mean():+.1f} ± {error:.1f} |"
    yield ""
    yield f"In {kept} of {cells} cells `probe` is at or above the best of the others within one standard error."


def seconds_of(results: dict[str, Any]) -> Iterator[str]:
    """CPU seconds of each system by rows of a class, from the least to the most among sets and seeds."""
    yield "| rows a class | probe | lora | full |"
    yield "| --- | --- | --- | --- |"
    for num_rows in ROWS:
        ranges = []
        for system in SYSTEMS:
            seconds: list[float] = []
            for name in SETS:
                seconds += values_of(results, name, num_rows, system, "seconds").values()
            ranges.append(f"{min(seconds):.0f} to {max(seconds):.0f} s" if seconds else "")
        yield f"| {num_rows} | {' | '.join(ranges)} |"


def make_table() -> None:
    """Put the tables into the page."""
    results = stored()
    page = PAGE.read_text(encoding="utf-8")
    before, rest = page.split(BEGIN)
    _, after = rest.split(END)
    lines = [BEGIN, *lines_of(results, "accuracy"), "", *lines_of(results, "macro_f1"), "", *seconds_of(results), END]
    PAGE.write_text(before + "\n".join(lines) + after, encoding="utf-8")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path)
    parser.add_argument("--out", type=Path)
    parser.add_argument("--sets", default=",".join(SETS))
    parser.add_argument("--rows", default=",".join(map(str, ROWS)))
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--systems", default=",".join(SYSTEMS))
    chosen = parser.parse_args()
    if chosen.data and chosen.out:
        rows = [int(number) for number in chosen.rows.split(",")]
        cells = []
        for seed, num_rows, name in itertools.product(range(chosen.seeds), rows, chosen.sets.split(",")):
            cells.append((name, num_rows, seed))
        measure(chosen.data, chosen.out, cells, chosen.systems.split(","))
    make_table()


if __name__ == "__main__":
    main()
