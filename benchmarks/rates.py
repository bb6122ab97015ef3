"""Learning rates: held-out scores of each method at several rates, and how much training is enough; the tables of this folder's
README.

    python benchmarks/rates.py --data DIR --out WORK [--only labels span ...]    run the cells that rates.json lacks
    python benchmarks/rates.py --list                                            the cells, and which are done
    python benchmarks/rates.py                                                   only make the tables anew

DIR holds the public sets (folders sst2, trec, ...), WORK the rows that are drawn from them. The larger decoder is a folder that
FTP_SMOLLM2 names; where it is not there, its cells are left out. A cell is a run in this process with the defaults of this tree
but for its rate; it ends on 500 rows that nothing was chosen by. Checks of risks are left out, as they change nothing that is
learnt, and so are baselines, proof and report. Seconds are CPU seconds of this process.
"""

from __future__ import annotations

import argparse
import csv
import json
import lzma
import math
import os
import random
import shutil
import statistics
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")

ROOT = Path(__file__).resolve().parent
RESULTS = ROOT / "rates.json"
PAGE = ROOT / "README.md"
BEGIN = "<!-- rates: made by benchmarks/rates.py -->"
END = "<!-- end of rates -->"
CHECKS = ("forgetting", "leakage", "overfitting", "preflight", "underfitting")
VALIDATION_ROWS = 100
TEST_ROWS = 500
TEST_ROWS_OF_CONVERSATIONS = 100
LONGEST_CONVERSATION = 800
"""Letters; longer ones are left out."""
NEVER = 1_000_000
"""Updates between checkpoints: that of the best evaluation is the only one, as it is kept in any case."""
START = "start"
"""The method of a cell that only measures what a run begins with."""


Results = Mapping[str, Mapping[str, Any]]
"""What rates.json holds, by the name of a cell."""


@dataclass(frozen=True)
class Sweep:
    """Runs of one head and one model: every method at every rate on every set.

    Args:
        model: as it is called in the table.
        folder: what `--model` is; empty: the default of the head.
        rates: by method.
        rows: training rows by set.
        score: what is compared beside the loss; "loss": nothing.
        flags: options of all its runs.
    """

    head: str
    model: str
    folder: str
    plugins: str
    rates: Mapping[str, Sequence[float]]
    rows: Mapping[str, int]
    score: str
    seeds: Sequence[int] = (0,)
    flags: Mapping[str, object] | None = None


LOW = {"full": (1e-5, 2e-5, 5e-5), "lora": (1e-4, 3e-4, 1e-3), "adapters": (1e-4, 3e-4, 1e-3)}
HIGH = {"full": (5e-5, 1.5e-4, 2e-5), "lora": (1e-3, 3e-3, 3e-4), "adapters": (1e-3, 3e-3, 3e-4)}
SWEEPS = (
    Sweep("labels", "MiniLM", "", "classify", LOW, {"sst2": 200, "trec": 200, "financial_phrasebank": 200},
          "accuracy", (0, 1)),
    Sweep("tags", "MiniLM", "", "tag", HIGH, {"ner_bc5cdr": 200, "ner_wnut17": 200}, "f1"),
    Sweep("span", "MiniLM", "", "qa", HIGH, {"policyqa": 300, "squad": 300}, "f1"),
    Sweep("sft", "starter chat", "ftp/starter-chat", "sft,files",
          {"full": (8e-5, 2.5e-4, 2.5e-5), "lora": (1.5e-3, 5e-3, 5e-4), "adapters": (1.5e-3, 5e-3, 5e-4)},
          {"gsm8k": 150, "medquad": 150, "alpaca": 150}, "loss"),
    Sweep("sft", "SmolLM2-135M", os.environ.get("FTP_SMOLLM2", ""), "sft,files",
          {"full": (2e-5, 6e-5, 6e-6), "lora": (4e-4, 1.2e-3, 1.2e-4), "adapters": (4e-4, 1.2e-3, 1.2e-4)},
          {"gsm8k": 64, "medquad": 64}, "loss"),
)
AMOUNT_METHODS = {"lora": 1e-3, "full": 5e-5}
AMOUNT_ROWS = (200, 1000)
AMOUNT_SETS = ("sst2", "trec")
AMOUNTS = (0.5, 1.0, 2.0)


@dataclass(frozen=True)
class Cell:
    """One run.

    Args:
        amount: the passes, as a multiple of what follows from the data; None: the default itself.
    """

    sweep: Sweep
    method: str
    data_set: str
    rows: int
    rate: float
    seed: int
    amount: float | None = None

    @property
    def key(self) -> str:
        """The name in rates.json."""
        parts = [self.sweep.head, self.sweep.model, self.method, self.data_set, str(self.rows), f"{self.rate:g}", str(self.seed)]
        if self.amount is None:
            return "/".join(parts)
        return "/".join(["amount", *parts[2:], f"x{self.amount:g}"])


def cells_of(sweep: Sweep) -> Iterator[Cell]:
    """All runs of a sweep: seed by seed, and the first rate of all methods first, so that what there is when time is out can be
    compared."""
    for seed in sweep.seeds:
        for data_set, rows in sweep.rows.items():
            yield Cell(sweep, START, data_set, rows, 0.0, seed)
        for number in range(max(map(len, sweep.rates.values()))):
            for data_set, rows in sweep.rows.items():
                for method, rates in sweep.rates.items():
                    yield Cell(sweep, method, data_set, rows, rates[number], seed)


def cells_of_amounts() -> Iterator[Cell]:
    """Runs with half, all and twice the passes that follow from the data."""
    for seed in (0, 1):
        for method, rate in AMOUNT_METHODS.items():
            for rows in AMOUNT_ROWS:
                for data_set in AMOUNT_SETS:
                    for amount in AMOUNTS:
                        yield Cell(SWEEPS[0], method, data_set, rows, rate, seed, amount)


# --- rows ---


def read(file: Path) -> Iterator[dict[str, Any]]:
    """The rows of a file of a public set."""
    with lzma.open(file, "rt", encoding="utf-8", newline="") as lines:
        if ".csv" in file.name:
            yield from csv.DictReader(lines)
        else:
            yield from map(json.loads, lines)


def conversation(row: Mapping[str, Any]) -> dict[str, Any]:
    """A question and its answer as messages."""
    question = row["question"] if "question" in row else row["instruction"]
    extra = row.get("input", "")
    if extra and extra != "No input.":
        question = f"{question}\n\n{extra}"
    answer = row["answer"] if "answer" in row else row["output"]
    return {"messages": [{"role": "user", "content": question}, {"role": "assistant", "content": answer}]}


def as_trained(head: str, row: Mapping[str, Any]) -> dict[str, Any]:
    """What a run reads of a row of a public set."""
    if head == "labels":
        return {"text": row["text"], "label": row["label_name"]}
    if head == "tags":
        return {"tokens": row["tokens"], "tags": row["ner_tags"]}
    if head == "span":
        return {name: row[name] for name in ("question", "context", "answers")}
    return conversation(row)


def is_short(row: Mapping[str, Any]) -> bool:
    """Whether a row is no conversation, or a short one with an answer."""
    texts = [message["content"] for message in row.get("messages", ())]
    return all(texts) and sum(map(len, texts)) <= LONGEST_CONVERSATION


def draw(cell: Cell, data: Path, work: Path) -> Path:
    """A folder with the rows of a cell: training and validation rows that its seed draws, and always the same test rows."""
    folder = work / "sets" / f"{cell.sweep.head}-{cell.data_set}-{cell.rows}-{cell.seed}"
    if folder.exists():
        return folder
    head = cell.sweep.head
    held_out = "test" if any((data / cell.data_set).glob("test.*")) else "validation"
    rows = {}
    for split, seed in (("train", cell.seed), (held_out, 0)):
        (file,) = (data / cell.data_set).glob(f"{split}.*")
        rows[split] = [as_trained(head, row) for row in read(file)]
        rows[split] = list(filter(is_short, rows[split]))
        random.Random(seed).shuffle(rows[split])
    test_rows = TEST_ROWS_OF_CONVERSATIONS if head == "sft" else TEST_ROWS
    parts = {
        "train": rows["train"][: cell.rows],
        "validation": rows["train"][cell.rows : cell.rows + VALIDATION_ROWS],
        "test": rows[held_out][:test_rows],
    }
    unfinished = folder.with_suffix(".part")
    shutil.rmtree(unfinished, ignore_errors=True)
    unfinished.mkdir(parents=True)
    for split, of_split in parts.items():
        text = "".join(json.dumps(row) + "\n" for row in of_split)
        (unfinished / f"{split}.jsonl").write_text(text, encoding="utf-8")
    unfinished.rename(folder)
    return folder


# --- runs ---


def measure(cell: Cell, data: Path, work: Path) -> dict[str, Any]:
    """Do the run of a cell; what rates.json keeps of it."""
    import ftp
    from ftp.train import amount

    sweep = cell.sweep
    method = "full" if cell.method == START else cell.method
    options: dict[str, Any] = {**(sweep.flags or {}), "learning_rate": cell.rate, "seed": cell.seed,
                               "save_steps": NEVER}
    if sweep.folder:
        options["model"] = sweep.folder
    if cell.method == START:
        options["max_steps"] = 1
    if cell.amount is not None:
        rows = amount.TrainingRows(cell.rows)
        options["epochs"] = cell.amount * amount.epochs(rows, amount.batch_size(rows).value).value
    out = work / "run"
    shutil.rmtree(out, ignore_errors=True)
    begun = time.process_time()
    result = ftp.run([method, *sweep.plugins.split(","), *(f"-{name}" for name in CHECKS)], data=str(draw(cell, data, work)),
                     out=out, verify=False, report=False, baselines=False, **options)
    seconds = time.process_time() - begun
    evaluations = []
    best_step = json.loads((out / "run.json").read_text()).get("best_step")
    for line in (out / "log.jsonl").read_text().splitlines():
        event = json.loads(line)
        if event["event"] == "evaluation":
            evaluations.append([event["step"], round(event["validation_loss"], 4)])
    scores = {}
    for name in {sweep.score, "loss"}:
        scores[name] = round(result.score(name, "test"), 5)
    return {**scores, "steps": result.step, "best_step": best_step, "seconds": round(seconds, 1), "validation_loss": evaluations}


def kept() -> dict[str, dict[str, Any]]:
    """What is measured so far, by cell."""
    return dict(json.loads(RESULTS.read_text())) if RESULTS.exists() else {}


def run_all(cells: Sequence[Cell], data: Path, work: Path) -> None:
    """Measure what rates.json lacks, and write it down after each run."""
    for cell in cells:
        if cell.key in kept():
            continue
        if cell.sweep.model.startswith("SmolLM2") and not cell.sweep.folder:
            print(f"{cell.key}: left out, as FTP_SMOLLM2 names no folder", flush=True)
            continue
        measured = measure(cell, data, work)
        print(cell.key, {name: value for name, value in measured.items() if name != "validation_loss"}, flush=True)
        results = {**kept(), cell.key: measured}
        lines = [f"{json.dumps(key)}: {json.dumps(value)}" for key, value in sorted(results.items())]
        unfinished = RESULTS.with_suffix(".part")
        unfinished.write_text("{\n" + ",\n".join(lines) + "\n}\n")
        unfinished.replace(RESULTS)


# --- tables ---


Values = dict[tuple[str, int], float]
"""(set, seed) -> a score or a loss."""


def values_of(sweep: Sweep, method: str, rate: float, name: str, results: Results) -> Values:
    """A score of all runs of a method at a rate that are done; of the start only where there are runs beside it."""
    values: Values = {}
    trained: set[tuple[str, int]] = set()
    for cell in cells_of(sweep):
        if cell.key not in results:
            continue
        if cell.method != START:
            trained.add((cell.data_set, cell.seed))
        if (cell.method, cell.rate) == (method, rate):
            values[cell.data_set, cell.seed] = results[cell.key][name]
    return {key: value for key, value in values.items() if key in trained}


def by_set(sweep: Sweep, values: Values) -> list[float | None]:
    """The mean over seeds of each set; None where there is no run."""
    means: list[float | None] = []
    for data_set in sweep.rows:
        of_set = [value for (name, _), value in values.items() if name == data_set]
        means.append(statistics.mean(of_set) if of_set else None)
    return means


def worse_than(best: Values, other: Values, is_loss: bool) -> tuple[float, float]:
    """By how much runs are worse than others on the same rows, and the standard error of that over sets and seeds."""
    sign = -1.0 if is_loss else 1.0
    differences = [sign * (best[key] - other[key]) for key in best.keys() & other.keys()]
    if len(differences) < 2:
        return statistics.mean(differences or [0.0]), math.nan
    return statistics.mean(differences), statistics.stdev(differences) / math.sqrt(len(differences))


def best_rate(sweep: Sweep, method: str, name: str, results: Results) -> Values:
    """The runs at the rate with the best mean."""
    candidates: list[Values] = []
    for rate in sweep.rates[method]:
        candidates.append(values_of(sweep, method, rate, name, results))
    most = max(map(len, candidates))
    whole = [values for values in candidates if len(values) == most and values]
    pick = min if name == "loss" else max
    return pick(whole, key=lambda values: statistics.mean(values.values()), default={})


def default_rate(sweep: Sweep, method: str) -> float:
    """The rate that a run takes where nobody says one."""
    from ftp.plugins.plan import prepare

    given = {"model": sweep.folder} if sweep.folder else {}
    return prepare([method, *sweep.plugins.split(",")], given=[("options", given)]).settings.learning_rate


def distance(worse: tuple[float, float]) -> str:
    """How far from the best, with its standard error."""
    mean, error = worse
    if mean == 0:
        return "best"
    return f"{mean:.3f}" if math.isnan(error) else f"{mean:.3f} ± {error:.3f}"


def rate_table(sweep: Sweep, results: Results) -> Iterator[str]:
    """Lines of the table of a sweep."""
    names = [name for name in dict.fromkeys([sweep.score, "loss"]) if name]
    heads = [f"{sweep.score} {data_set}" for data_set in sweep.rows]
    columns = ["method", "rate", *heads]
    columns += [f"mean {name} from the best" for name in names]
    if sweep.score != "loss":
        columns += [f"loss {data_set}" for data_set in sweep.rows]
    yield f"| {' | '.join(columns)} |"
    yield f"| {' | '.join(['---'] * len(columns))} |"
    for method, rates in {START: (0.0,), **sweep.rates}.items():
        for rate in sorted(rates):
            scores = values_of(sweep, method, rate, sweep.score, results)
            losses = values_of(sweep, method, rate, "loss", results)
            if not scores:
                continue
            shown = ["" if value is None else f"{value:.3f}" for value in by_set(sweep, scores)]
            line = [method, f"{rate:g}", *shown]
            if method == START:
                line = ["as a run begins", "", *shown, *[""] * len(names)]
            else:
                if rate == default_rate(sweep, method):
                    line[1] = f"**{rate:g}**"
                # means over different rows say nothing of rates
                counts = {len(values_of(sweep, method, other, "loss", results)) for other in rates}
                for name, values in zip(names, (scores, losses), strict=False):
                    worse = worse_than(best_rate(sweep, method, name, results), values, name == "loss")
                    line.append(distance(worse) if len(counts) == 1 else "")
            if sweep.score != "loss":
                line += [f"{value:.3f}" if value is not None else "" for value in by_set(sweep, losses)]
            yield f"| {' | '.join(line)} |"


def amount_table(results: Results) -> Iterator[str]:
    """Lines of the table of how much training is enough."""
    parts = [f"{amount:g} x" for amount in AMOUNTS]
    columns = ["method", "set", "rows", *[f"accuracy {part}" for part in parts], *[f"loss {part}" for part in parts]]
    yield f"| {' | '.join(columns)} |"
    yield f"| {' | '.join(['---'] * len(columns))} |"
    groups: dict[tuple[str, str, int], dict[float, list[Mapping[str, Any]]]] = {}
    for cell in cells_of_amounts():
        if cell.key in results and cell.amount is not None:
            group = groups.setdefault((cell.method, cell.data_set, cell.rows), {})
            group.setdefault(cell.amount, []).append(results[cell.key])
    for (method, data_set, rows), by_amount in groups.items():
        line = [method, data_set, f"{rows:,}"]
        for name in ("accuracy", "loss"):
            for amount in AMOUNTS:
                of_amount = [run[name] for run in by_amount.get(amount, [])]
                line.append(f"{statistics.mean(of_amount):.3f}" if of_amount else "")
        yield f"| {' | '.join(line)} |"


def write_tables(results: Results) -> None:
    """Make the tables in the README of this folder anew."""
    lines = [BEGIN]
    for sweep in SWEEPS:
        count = sum(cell.key in results for cell in cells_of(sweep))
        if count:
            rows = ", ".join(f"{data_set} {number}" for data_set, number in sweep.rows.items())
            lines += [f"**{sweep.head}, {sweep.model}** (training rows: {rows}; {count} runs)", ""]
            lines += [*rate_table(sweep, results), ""]
    amounts = list(amount_table(results))
    if len(amounts) > 2:  # more than its head
        lines += ["**how much**", "", *amounts, ""]
    lines.append(END)
    before, _, rest = PAGE.read_text(encoding="utf-8").partition(BEGIN)
    _, _, after = rest.partition(END)
    PAGE.write_text(before + "\n".join(lines) + after, encoding="utf-8")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path)
    parser.add_argument("--out", type=Path)
    parser.add_argument("--only", nargs="+", default=[""], help="beginnings of the names of cells")
    parser.add_argument("--list", action="store_true")
    options = parser.parse_args()
    cells = [cell for sweep in SWEEPS for cell in cells_of(sweep)]
    cells += cells_of_amounts()
    cells = [cell for cell in cells if cell.key.startswith(tuple(options.only))]
    if options.list:
        done = kept()
        for cell in cells:
            print("done" if cell.key in done else "    ", cell.key)
    elif options.data is not None:
        run_all(cells, options.data, options.out)
    if not options.list:
        write_tables(kept())


if __name__ == "__main__":
    main()
