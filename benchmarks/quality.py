"""The defaults of ftp beside what a user would try instead: 12 public sets, at 50, 200, 1,000 and all rows (3,000 at most).

    python benchmarks/quality.py --data DIR --out CELLS [--sets sst2 trec] [--rows 50 200] [--methods full lora]   measure
    python benchmarks/quality.py                                                          only make the table of docs/results.md

DIR holds the public sets (folders sst2, trec, ...), CELLS one file for each run: what is there is not measured again. A run is
`ftp run --plugins METHOD,classify` with defaults only. It is held against the most frequent class, a linear model on words and
a linear head on the untuned network (the run's own baselines, on the same rows), and transformers.Trainer with its defaults and
as many epochs. Three seeds up to 200 rows, one beyond; another seed draws other training rows. Test rows: 1,000 at most.
"""

from __future__ import annotations

import argparse
import csv
import json
import lzma
import shutil
import tempfile
import time
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import ftp
from ftp.evaluate.linear import HEAD, WORDS
from ftp.types import Data, Run

ROOT = Path(__file__).resolve().parents[1]
NUMBERS = ROOT / "benchmarks" / "quality.json"
PAGE = ROOT / "docs" / "results.md"
BEGIN = "<!-- quality: made by benchmarks/quality.py -->"
END = "<!-- end of quality -->"

SETS = ("sst2", "imdb", "tweet_emotion", "trec", "ag_news", "banking77", "clinc150", "financial_phrasebank", "contract_clauses",
        "legal_overruling", "medical_abstracts", "customer_reviews")
ROWS = (50, 200, 1000, 3000)
METHODS = ("full", "lora")
SEEDS_OF_FEW_ROWS = 3
FEW_ROWS = 200
TEST_ROWS = 1000
TRAINER = "Trainer"
RUN = "run"
RECORD = "recorded.json"
OTHERS = ("majority class", WORDS, HEAD, TRAINER)
SCORES = ("accuracy", "macro_f1")
DRAWS = 1000
"""Samples of the test rows with replacement, for the standard error of a difference."""


@dataclass(frozen=True)
class Cell:
    """One measurement. Args: method: the parameterisation, or Trainer; rows: training rows asked for."""

    data: str
    rows: int
    seed: int
    method: str

    @property
    def name(self) -> str:
        return f"{self.data}-{self.rows}-{self.seed}-{self.method}"


def cells(sets: Sequence[str], rows: Sequence[int], methods: Sequence[str]) -> Iterator[Cell]:
    """All measurements, those of few rows first."""
    for number in rows:
        for seed in range(SEEDS_OF_FEW_ROWS if number <= FEW_ROWS else 1):
            for data in sets:
                for method in (*methods, TRAINER):
                    yield Cell(data, number, seed, method)


# --- rows ---


def read(folder: Path, split: str) -> list[dict[str, str]]:
    """The rows of a split: text and the name of its class."""
    packed = folder / f"{split}.jsonl.xz"
    if packed.exists():
        with lzma.open(packed, "rt", encoding="utf-8") as file:
            rows = [json.loads(line) for line in file]
    else:
        with lzma.open(folder / f"{split}.csv.xz", "rt", encoding="utf-8", newline="") as file:
            rows = list(csv.DictReader(file))
    return [{"text": row["text"], "label": row["label_name"]} for row in rows]


def write_rows(source: Path, cell: Cell, folder: Path) -> int:
    """The training and test rows of a cell as files; how many training rows there are."""
    import numpy as np

    generator = np.random.default_rng(cell.seed)
    train = read(source / cell.data, "train")
    test = read(source / cell.data, "test")
    chosen = [train[index] for index in generator.permutation(len(train))[: cell.rows]]
    # the test rows are those of every seed
    tested = [test[index] for index in np.random.default_rng(0).permutation(len(test))[:TEST_ROWS]]
    for split, rows in (("train", chosen), ("test", tested)):
        (folder / f"{split}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return len(chosen)


# --- runs ---


@ftp.plugin(kind="extra")
class Recorder:
    """Writes down what each test row got, and the rows that were trained on."""

    @ftp.hookimpl
    def check_risks(self, run: Run, stage: str, data: Data, predictions: Any, baselines: Any) -> list[Any]:
        if stage == "end":
            answers = {}
            for name, by_split in {RUN: predictions, **baselines}.items():
                answers[name] = [data.labels[prediction.answer] for prediction in by_split["test"].answers]
            train = data.splits["train"]
            recorded = {
                "answers": answers,
                "right": [data.labels[label] for label in predictions["test"].rows["label"]],
                "train": {"text": train["text"][:], "label": [data.labels[label] for label in train["label"]]},
            }
            (run.out / RECORD).write_text(json.dumps(recorded), encoding="utf-8")
        return []


def measure_ftp(cell: Cell, folder: Path) -> dict[str, Any]:
    """A run with defaults, and what it was held against, as the names of the classes that each test row got."""
    out = folder / "run"
    began = time.process_time()
    result = ftp.run([cell.method, "classify"], plugins_from=(f"{__file__}:Recorder",), data=str(folder), out=str(out),
                     seed=cell.seed, verify=False, report=False)
    seconds = time.process_time() - began
    verdicts = {risk.name: [risk.level, risk.finding] for risk in result.risks}
    recipe = tomllib.loads((out / "run.toml").read_text(encoding="utf-8"))
    recorded = json.loads((out / RECORD).read_text(encoding="utf-8"))
    recorded["answers"][cell.method] = recorded["answers"].pop(RUN)
    return {**recorded, "epochs": recipe["epochs"], "updates": result.step, "verdicts": verdicts, "seconds": round(seconds, 1)}


def measure_trainer(cell: Cell, folder: Path, of_run: Mapping[str, Any]) -> dict[str, Any]:
    """transformers.Trainer at its defaults on the rows that a run trained on, with as many epochs; bf16, as the run."""
    import numpy as np
    import transformers
    from datasets import Dataset
    from transformers import AutoModelForSequenceClassification, AutoTokenizer, Trainer, TrainingArguments

    from ftp_starter import minilm

    transformers.set_seed(cell.seed)
    base = str(minilm().folder)
    tokenizer = AutoTokenizer.from_pretrained(base)
    labels = sorted(set(of_run["train"]["label"]) | set(of_run["right"]))
    model = AutoModelForSequenceClassification.from_pretrained(base, num_labels=len(labels))

    def encoded(texts: Sequence[str], names: Sequence[str]) -> Dataset:
        inputs = tokenizer(list(texts), truncation=True, max_length=tokenizer.model_max_length)
        return Dataset.from_dict({**inputs, "label": [labels.index(name) for name in names]})

    test = [json.loads(line) for line in (folder / "test.jsonl").read_text(encoding="utf-8").splitlines()]
    train = encoded(of_run["train"]["text"], of_run["train"]["label"])
    arguments = TrainingArguments(output_dir=str(folder / "trainer"), num_train_epochs=of_run["epochs"], seed=cell.seed,
                                  report_to="none", save_strategy="no", disable_tqdm=True, use_cpu=True, bf16=True)
    trainer = Trainer(model=model, args=arguments, train_dataset=train, processing_class=tokenizer)
    began = time.process_time()
    trainer.train()
    output = trainer.predict(encoded([row["text"] for row in test], [row["label"] for row in test]))
    answers = [labels[index] for index in np.argmax(output.predictions, -1)]
    seconds = round(time.process_time() - began, 1)
    return {"answers": {TRAINER: answers}, "right": [row["label"] for row in test], "seconds": seconds}


def measure(cell: Cell, source: Path, out: Path) -> None:
    """Measure a cell whose file is not there yet."""
    file = out / f"{cell.name}.json"
    if file.exists():
        return
    with tempfile.TemporaryDirectory() as work:
        folder = Path(work)
        write_rows(source, cell, folder)
        if cell.method == TRAINER:
            runs = sorted(out.glob(f"{cell.data}-{cell.rows}-{cell.seed}-*.json"))
            if not runs:  # its rows and epochs are those of a run
                return
            measured = measure_trainer(cell, folder, json.loads(runs[0].read_text(encoding="utf-8")))
        else:
            measured = measure_ftp(cell, folder)
        shutil.rmtree(folder / "run", ignore_errors=True)
    file.write_text(json.dumps(measured), encoding="utf-8")
    own = scores(measured["answers"][cell.method], measured["right"])
    print(f"{cell.name:32} " + "  ".join(f"{name} {value:.3f}" for name, value in own.items()) + f"  {measured['seconds']:.0f} s",
          flush=True)


# --- numbers ---


def scores(answers: Sequence[str], right: Sequence[str]) -> dict[str, float]:
    """Accuracy and macro F1 over the classes of the test rows."""
    of_right, of_answers = as_numbers(right, answers)
    return {score: score_of(score, of_right, of_answers) for score in SCORES}


def as_numbers(*several: Sequence[str]) -> list[Any]:
    """Names of classes as numbers, the same ones for all."""
    import numpy as np

    names = sorted(set().union(*several))
    number = {name: index for index, name in enumerate(names)}
    return [np.array([number[name] for name in own]) for own in several]


def score_of(score: str, right: Any, answers: Any) -> float:
    """A score of numbers of classes; scikit-learn checks its input for longer than it counts, which a thousand draws feel."""
    import numpy as np

    if score == "accuracy":
        return float((right == answers).mean())
    num_classes = int(max(right.max(), answers.max())) + 1
    hits = np.bincount(right[right == answers], minlength=num_classes)
    of_right = np.bincount(right, minlength=num_classes)
    of_both = of_right + np.bincount(answers, minlength=num_classes)
    f1 = 2 * hits / np.maximum(1, of_both)
    return float(f1[of_right > 0].mean())


def number_of(cell_file: Path) -> Cell:
    """The cell that a file holds."""
    data, rows, seed, method = cell_file.stem.rsplit("-", 3)
    return Cell(data, int(rows), int(seed), method)


def summary(out: Path) -> list[dict[str, Any]]:
    """For each set, number of rows and method: scores of all, and how far it is from the best of the others.

    The standard error is that of the difference, from test rows drawn with replacement, the same for both and for all seeds.
    """
    import numpy as np

    groups: dict[tuple[str, int, str], list[dict[str, Any]]] = {}
    for file in sorted(out.glob("*.json")):
        cell = number_of(file)
        trainer = out / f"{Cell(cell.data, cell.rows, cell.seed, TRAINER).name}.json"
        if cell.method != TRAINER and trainer.exists():
            measured = json.loads(file.read_text(encoding="utf-8"))
            measured["answers"].update(json.loads(trainer.read_text(encoding="utf-8"))["answers"])
            groups.setdefault((cell.data, cell.rows, cell.method), []).append(measured)
    lines = []
    for (data, rows, method), runs in sorted(groups.items(), key=lambda group: (SETS.index(group[0][0]), *group[0][1:])):
        line: dict[str, Any] = {"data": data, "rows": rows, "method": method, "seeds": len(runs),
                                "updates": [run["updates"] for run in runs], "seconds": [run["seconds"] for run in runs]}
        drawn = np.random.default_rng(0).integers(0, len(runs[0]["right"]), (DRAWS, len(runs[0]["right"])))
        for score in SCORES:
            means = {name: mean_score(runs, name, score) for name in (method, *OTHERS) if name in runs[0]["answers"]}
            best = max((name for name in means if name != method), key=means.__getitem__)
            differences = drawn_differences(runs, method, best, score, drawn)
            line[score] = {**{name: round(value, 4) for name, value in means.items()}, "best": best,
                           "ahead": round(means[method] - means[best], 4), "error": round(float(differences.std()), 4)}
        line["said"] = [said(run, line["accuracy"]["best"], line["macro_f1"]["best"]) for run in runs]
        lines.append(line)
    return lines


def mean_score(runs: Sequence[Mapping[str, Any]], name: str, score: str) -> float:
    """The score of one system, mean over seeds."""
    values = [scores(run["answers"][name], run["right"])[score] for run in runs]
    return sum(values) / len(values)


def drawn_differences(runs: Sequence[Mapping[str, Any]], method: str, other: str, score: str, drawn: Any) -> Any:
    """`[draws]` how far a method is ahead of another, mean over seeds, on rows drawn with replacement."""
    import numpy as np

    total = np.zeros(len(drawn))
    for run in runs:
        right, own, others = as_numbers(run["right"], run["answers"][method], run["answers"][other])
        for rows_index, rows in enumerate(drawn):
            total[rows_index] += score_of(score, right[rows], own[rows]) - score_of(score, right[rows], others[rows])
    return total / len(runs)


def said(run: Mapping[str, Any], *others: str) -> bool:
    """Whether the run's own verdicts name one of these as what it is not ahead of."""
    level, finding = run["verdicts"].get("underfitting", ["ok", ""])
    return level != "ok" and any(other in finding for other in others)


def is_level(line: Mapping[str, Any], score: str) -> bool:
    """Whether a method is at or above the best of the others, within one standard error."""
    return bool(line[score]["ahead"] >= -line[score]["error"])


def table(lines: Sequence[Mapping[str, Any]]) -> list[str]:
    """The table of the page, a line for each set, number of rows and method, and the share of cells that hold the bar."""
    text = []
    for method in METHODS:
        own = [line for line in lines if line["method"] == method]
        if not own:
            continue
        shares = []
        for score in SCORES:
            held = sum(is_level(line, score) for line in own)
            shares.append(f"{held} of {len(own)} in {score}")
        text += ["", f"`{method}`: at or above the best of the others within one standard error in {' and '.join(shares)}.", ""]
        text += [f"| set | rows | seeds | {' | '.join(score + ': ' + method for score in SCORES)} | best other (accuracy) | "
                 "best other (macro F1) | the run says so |", "|" + " --- |" * 8]
        for line in own:
            rows = f"{line['rows']:,}"
            cells_of_line = [line["data"], rows, str(line["seeds"])]
            for score in SCORES:
                mark = "" if is_level(line, score) else " **below**"
                cells_of_line.append(f"{line[score][method]:.3f}{mark}")
            for score in SCORES:
                best = line[score]["best"]
                cells_of_line.append(f"{line[score][best]:.3f} ± {line[score]['error']:.3f} ({best})")
            is_below = not all(is_level(line, score) for score in SCORES)
            cells_of_line.append(f"{sum(line['said'])} of {line['seeds']}" if is_below else "")
            text.append(f"| {' | '.join(cells_of_line)} |")
    return text


def write_page(lines: Sequence[Mapping[str, Any]]) -> None:
    """Put the table into docs/results.md; the rest of it is written by hand."""
    text = PAGE.read_text(encoding="utf-8")
    before, _, rest = text.partition(BEGIN)
    if not rest:
        raise SystemExit(f"{PAGE.name} has no line {BEGIN!r} for the table")
    PAGE.write_text(before + "\n".join([BEGIN, *table(lines), "", END]) + rest.partition(END)[2], encoding="utf-8")


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--data", type=Path, help="folder of the public sets")
    parser.add_argument("--out", type=Path, help="a file for each measurement")
    parser.add_argument("--sets", nargs="*", default=SETS, choices=SETS)
    parser.add_argument("--rows", nargs="*", type=int, default=ROWS)
    parser.add_argument("--methods", nargs="*", default=METHODS)
    options = parser.parse_args()
    if options.out:
        options.out.mkdir(parents=True, exist_ok=True)
        if options.data:
            for cell in cells(options.sets, options.rows, options.methods):
                measure(cell, options.data.resolve(), options.out)
        NUMBERS.write_text(json.dumps(summary(options.out), indent=1) + "\n", encoding="utf-8")
    lines = json.loads(NUMBERS.read_text(encoding="utf-8"))
    write_page(lines)
    print("\n".join(table(lines)))


if __name__ == "__main__":
    main()
