"""Every run of docs/results.md, one after the other, and the tables of that page.

    python benchmarks/results.py --data DIR --out RUNS [--only NAME ...]    run what RUNS does not hold yet
    python benchmarks/results.py                                            only make the tables of docs/results.md anew
    python benchmarks/results.py --list                                     names and commands

DIR holds the public sets (folders sst2, medical_abstracts, ...; benchmarks/README.md has the list), RUNS one run folder for each
name. A finished run is not repeated; delete its folder for that. Numbers go to benchmarks/results.json, and from there alone
into docs/results.md. Each run is an `ftp run` of its own with one thread; times are CPU seconds of that process, so that other
work on the machine does not count. A run that was cut off is resumed; then its time is not known.
"""

from __future__ import annotations

import argparse
import itertools
import json
import lzma
import math
import os
import shlex
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
RESULTS = ROOT / "benchmarks" / "results.json"
PAGE = ROOT / "docs" / "results.md"
BEGIN = "<!-- {}: made by benchmarks/results.py -->"
END = "<!-- end of {} -->"
THREADS = {"OMP_NUM_THREADS": "1", "GOMP_SPINCOUNT": "0", "HF_HUB_OFFLINE": "1"}


@dataclass(frozen=True)
class Case:
    """One run. `shown`: its name in the table. `flags`: what follows `ftp run`; DIR is the data, RUNS the run folders."""

    name: str
    shown: str
    flags: str

    @property
    def command(self) -> str:
        return f"ftp run {self.flags} --no-verify --out RUNS/{self.name}"


@dataclass(frozen=True)
class Table:
    """A table of the page: its runs, and the scores that it shows."""

    name: str
    scores: tuple[str, ...]
    cases: tuple[Case, ...]


SST2 = "--data DIR/sst2 --validation-share 0.005"
HALF = f"{SST2} --max-train-rows 2000 --epochs 2"
TABLES = (
    Table("sst2-methods", ("accuracy",), (
        Case("sst2-full", "full", f"--plugins full,sentiment {HALF}"),
        Case("sst2-lora", "lora", f"--plugins lora,sentiment {HALF}"),
        Case("sst2-adapters", "adapters", f"--plugins adapters,sentiment {HALF}"),
        Case("sst2-scratch", "full, fresh weights", f"--plugins full,sentiment {HALF} --model RUNS/fresh --learning-rate 3e-4"),
    )),
    Table("sst2-rows", ("accuracy",), (
        Case("sst2-lora-50", "50 rows, 40 epochs", f"--plugins lora,sentiment {SST2} --max-train-rows 50 --epochs 40"),
        Case("sst2-lora-200", "200 rows, 12 epochs", f"--plugins lora,sentiment {SST2} --max-train-rows 200 --epochs 12"),
        Case("sst2-lora-1000", "1,000 rows, 3 epochs", f"--plugins lora,sentiment {SST2} --max-train-rows 1000 --epochs 3"),
        Case("sst2-lora-8000", "8,000 rows, 1 epoch", f"--plugins lora,sentiment {SST2} --max-train-rows 8000 --epochs 1 "
             "--leakage.stop_sure 1"),
    )),
    Table("domains", ("accuracy", "macro_f1"), (
        Case("finance", "financial_phrasebank, 3 classes",
             "--plugins lora,finance --data DIR/financial_phrasebank --max-train-rows 2000 --epochs 2"),
        Case("law-overruling", "legal_overruling, 2 classes",
             "--plugins lora,law --data DIR/legal_overruling --max-train-rows 500 --batch-size 16 --epochs 2"),
        Case("law-clauses", "contract_clauses, 28 classes",
             "--plugins lora,law --data DIR/contract_clauses --max-train-rows 1500 --max-length 96 --epochs 2"),
        Case("law-clauses-10", "contract_clauses, 10 epochs",
             "--plugins lora,law --data DIR/contract_clauses --max-train-rows 1500 --max-length 96 --epochs 10"),
        Case("medical", "medical_abstracts, 5 classes",
             "--plugins lora,medical --data DIR/medical_abstracts --max-train-rows 1000 --max-length 128 --epochs 2"),
    )),
    Table("tags", ("f1", "precision", "recall"), (
        Case("ner-disease", "ner_ncbi_disease",
             "--plugins lora,tag --data DIR/ner_ncbi_disease --max-train-rows 2000 --max-eval-rows 500 --batch-size 16 "
             "--epochs 2"),
    )),
    Table("spans", ("f1", "exact_match"), (
        Case("squad", "squad, 600 questions",
             "--plugins full,qa --data DIR/squad --max-train-rows 600 --max-eval-rows 300 --epochs 3 --batch-size 16 "
             "--learning-rate 1e-4"),
    )),
    Table("mlm", ("masked_perplexity", "masked_accuracy"), (
        Case("mlm-law", "mlm, corpus/law_cases, 12 judgments",
             "--plugins mlm,full,law --data DIR/corpus/law_cases-00.jsonl.xz --mlm.block_size 128 --max-train-rows 12 "
             "--max-eval-rows 4 --epochs 1 --batch-size 8 --learning-rate 5e-4"),
    )),
    Table("clm", ("perplexity", "bits_per_byte"), (
        Case("clm-medical", "clm, medical_abstracts as text",
             "--plugins clm,lora,medical --model ftp/starter-decoder --data DIR/medical_abstracts --clm.block_size 256 "
             "--max-train-rows 400 --max-eval-rows 100 --epochs 1"),
    )),
    Table("alignment", ("loss", "rewards/accuracies", "rewards/margins", "reward", "kl"), (
        Case("sft-chat", "sft,lora,chat", "--plugins sft,lora,chat"),
        Case("sft-qa", "sft,lora,qa", "--plugins sft,lora,qa"),
        Case("dpo-chat", "dpo,lora,chat", "--plugins dpo,lora,chat"),
        Case("rlhf-chat", "rlhf,lora,chat", "--plugins rlhf,lora,chat"),
    )),
    Table("summaries", ("loss",), (
        Case("sft-summaries", "sft, dialogues and news of t0_mix", "--plugins sft,lora,files --data RUNS/sets/summaries"),
    )),
    Table("vectors", ("spearman", "recall_at_1", "recall_at_10", "ndcg_at_10", "recall_at_1_64", "ndcg_at_10_64"), (
        Case("embed-stsb", "embed, stsb", "--plugins embed,full --data DIR/stsb --form scored_pairs --batch-size 32 --epochs 1"),
        Case("embed-squad", "embed, squad: question to paragraph",
             "--plugins embed,full --data DIR/squad --columns anchor=question,positive=context --max-train-rows 1500 "
             "--max-eval-rows 500 --max-length 128 --embed.sizes 64 --epochs 1"),
        Case("rerank-stsb", "rerank, stsb",
             "--plugins rerank,full --data DIR/stsb --form scored_pairs --rerank.highest 5 --batch-size 32 --epochs 1"),
    )),
    Table("targets", ("spearman", "pearson", "mae", "micro_f1", "macro_f1", "subset_accuracy", "accuracy"), (
        Case("regress-stsb", "regress, stsb",
             "--plugins full,regress --data DIR/stsb --max-train-rows 2000 --max-eval-rows 1000 --epochs 2 --batch-size 16"),
        Case("multilabel-services", "multilabel, services of a dialogue",
             "--plugins full,multilabel --data RUNS/sets/services --max-length 96 --epochs 4 --batch-size 16 "
             "--learning-rate 2e-4"),
        Case("choice-exam", "choice, exam of mmlu",
             "--plugins full,choice --data RUNS/sets/exam --max-train-rows 500 --max-length 96 --epochs 1 --batch-size 16"),
        Case("choice-intents", "choice, intents of banking77",
             "--plugins full,choice --data RUNS/sets/intents --max-train-rows 600 --max-eval-rows 200 --epochs 2 --batch-size 16 "
             "--learning-rate 2e-4"),
    )),
)


# --- running ---


def measure(case: Case, data: Path | None, out: Path) -> dict[str, Any] | None:
    """Run a case unless its folder holds a finished run. Facts and scores; None where it failed."""
    folder = out / case.name
    seconds: dict[str, float] = {}
    if not finished(folder):
        if "RUNS/fresh" in case.flags and not (out / "fresh").exists():
            fresh(out / "fresh")
        words = [with_folder(word, data, out) for word in shlex.split(case.command)]
        begun = any((folder / "checkpoints").glob("*/manifest.json"))
        if begun:
            words = ["ftp", "run", "--resume", str(folder)]
        elif folder.exists():
            shutil.rmtree(folder)  # of a run that was cut off before its first checkpoint
        print(f"$ {case.command}{'  (resumed)' if begun else ''}", flush=True)
        seconds = timed([sys.executable, "-m", *words], folder, out / f"{case.name}.out")
        if begun:
            seconds = {}  # those of a part only
        if not finished(folder):
            print(f"  failed: see {out / case.name}.out", flush=True)
            return None
    return collected(case, folder, data, seconds)


def with_folder(word: str, data: Path | None, out: Path) -> str:
    """A word of a command with the real folder in place of DIR or RUNS."""
    if word.startswith("DIR"):
        return word.replace("DIR", str(data), 1)
    return word.replace("RUNS", str(out), 1)


def finished(folder: Path) -> bool:
    record = folder / "run.json"
    if not record.exists() or not (folder / "scores.json").exists():
        return False
    return bool(json.loads(record.read_text())["status"] == "finished")


def timed(command: Sequence[str], folder: Path, output: Path) -> dict[str, float]:
    """Run it; CPU seconds of all of it, and of its training (its evaluations included)."""
    import psutil

    marks: dict[str, float] = {}
    log = folder / "log.jsonl"
    last = 0.0  # CPU seconds at the last look
    with output.open("w") as file, psutil.Popen(command, stdout=file, stderr=subprocess.STDOUT,
                                                env={**os.environ, **THREADS}) as process:
        while process.poll() is None:
            time.sleep(0.3)
            try:
                used = process.cpu_times()
            except psutil.Error:
                break
            last = max(last, used.user + used.system)
            # the log is looked at from outside, so that the run is the one that a user does
            for event in ("started", "ended"):
                if event not in marks and log.exists() and f'"event": "{event}"' in log.read_text():
                    marks[event] = last
        process.wait()
    training = marks.get("ended", last) - marks.get("started", last)
    return {"cpu_seconds": round(last, 1), "training_cpu_seconds": round(training, 1)}


def fresh(folder: Path) -> None:
    """The architecture and tokenizer of the starter encoder with weights drawn anew (seed 0)."""
    import torch
    from transformers import AutoConfig, AutoModel, AutoTokenizer

    from ftp_starter import minilm

    base = minilm().folder
    torch.manual_seed(0)
    AutoModel.from_config(AutoConfig.from_pretrained(base)).save_pretrained(folder)
    AutoTokenizer.from_pretrained(base).save_pretrained(folder)


def collected(case: Case, folder: Path, data: Path | None, seconds: dict[str, float]) -> dict[str, Any]:
    """What results.json keeps of a run. Of an earlier entry: its times, and what cannot be told without the data."""
    run = json.loads((folder / "run.json").read_text())
    scores = json.loads((folder / "scores.json").read_text())
    splits = json.loads((folder / "data.json").read_text())
    facts = {name: run[name] for name in ("device", "model", "trained", "total", "steps")}
    # a run whose folder is there already is not timed again
    before = json.loads(RESULTS.read_text()).get(case.name, {}) if RESULTS.exists() else {}
    kept = {name: before[name] for name in ("cpu_seconds", "training_cpu_seconds", "f1_error") if name in before}
    return {
        "command": case.command,
        **facts,
        "rows": {split: facts["rows"] for split, facts in splits.items() if "rows" in facts},
        **kept,
        **seconds,
        "loss_error": loss_error(folder),
        **f1_error(case, folder, data, scores["scores"]),
        "scores": scores["scores"],
        "baselines": scores["baselines"],
    }


def predicted(folder: Path) -> dict[str, list[dict[str, Any]]]:
    """The answers of a run, by split."""
    predictions = {}
    for file in sorted((folder / "predictions").glob("*.jsonl")):
        predictions[file.stem] = [json.loads(line) for line in file.read_text().splitlines()]
    return predictions


def loss_error(folder: Path) -> dict[str, float]:
    """Standard error of the mean loss over rows, by split."""
    import numpy as np

    errors = {}
    for split, rows in predicted(folder).items():
        losses = np.array([row["loss"] for row in rows if row["loss"] is not None])
        if len(losses) > 1:  # the spread of one row is not known
            errors[split] = round(float(losses.std(ddof=1) / math.sqrt(len(losses))), 5)
    return errors


def f1_error(case: Case, folder: Path, data: Path | None, scores: Sequence[dict[str, Any]]) -> dict[str, float]:
    """Standard error of an entity F1 on test, from 1,000 samples of its sentences with replacement. Nothing for other runs,
    and where the F1 counted here is not that of the run (then these are not its sentences)."""
    import datasets
    import numpy as np

    if data is None or ",tag " not in case.flags:
        return {}
    with lzma.open(data / folder_of(case) / "test.jsonl.xz", "rt", encoding="utf-8") as file:
        gold = datasets.Dataset.from_list([{"tags": json.loads(line)["ner_tags"]} for line in file])
    answers = [row["answer"] for row in predicted(folder)["test"]]
    if len(answers) < len(gold):
        gold = gold.shuffle(seed=0).select(range(len(answers)))  # as max_eval_rows does
    pairs = []
    for answer, tags in zip(answers, gold["tags"], strict=True):
        predicted_entities = entities(answer)
        gold_entities = entities(tags)
        num_right = len(predicted_entities & gold_entities)
        pairs.append([num_right, len(predicted_entities) + len(gold_entities)])
    counts = np.array(pairs)  # [sentences, 2]: entities that are right, and those of both sides
    num_right, num_of_both = counts.sum(0)
    f1 = 2 * num_right / num_of_both
    reported = [score["value"] for score in scores if score["name"] == "f1" and score["split"] == "test"]
    if not any(abs(value - f1) < 1e-6 for value in reported):
        print(f"  {case.name}: no standard error of f1, as the sentences are not those of the run", flush=True)
        return {}
    drawn = counts[np.random.default_rng(0).integers(0, len(counts), (1000, len(counts)))].sum(1)
    return {"f1_error": round(float((2 * drawn[:, 0] / np.maximum(1, drawn[:, 1])).std()), 4)}


def folder_of(case: Case) -> str:
    """The set that a run reads: what follows DIR/."""
    return case.flags.partition("DIR/")[2].split()[0]


def entities(tags: Sequence[str]) -> set[tuple[Any, ...]]:
    from seqeval.metrics.sequence_labeling import get_entities

    return set(get_entities(list(tags)))


# --- tables ---


def tables(results: dict[str, Any]) -> Iterator[tuple[str, list[str]]]:
    """Each table's name and its lines: commands, then numbers. A run that was not done is left out of the numbers."""
    for table in TABLES:
        lines = ["", "<!-- parse only: needs the data -->", "```bash", *(case.command for case in table.cases), "```", ""]
        measured = [case for case in table.cases if case.name in results]
        score_names: set[str] = set()
        baselines: dict[str, None] = {}  # in the order in which runs name them
        for case in measured:
            score_names.update(score["name"] for score in results[case.name]["scores"])
            baselines.update(dict.fromkeys(score["baseline"] for score in results[case.name]["baselines"]))
        names = [name for name in table.scores if name in score_names]
        head = ["run", "train rows", "held-out rows", "updates", "parameters trained",
                "CPU s (training)", "score", "this run", *baselines]
        if measured:
            lines += [f"| {' | '.join(head)} |", f"|{' --- |' * len(head)}"]
        for case in measured:
            for cells in rows(case, results[case.name], names, list(baselines)):
                lines.append(f"| {' | '.join(cells)} |")
        missing = [case.name for case in table.cases if case.name not in results]
        if missing:
            lines += [*([""] if measured else []), f"Not measured yet: {', '.join(missing)}."]
        yield table.name, [*lines, ""]


def rows(case: Case, result: dict[str, Any], names: Sequence[str], baselines: Sequence[str]) -> Iterator[list[str]]:
    """A row for each score of a run, on test where there is one, else on validation."""
    has_test = any(score["split"] == "test" for score in result["scores"])
    split = "test" if has_test else "validation"
    held_out = 2  # index of the cell that says on how many rows a score stands
    seconds = "not timed"
    if "cpu_seconds" in result:
        seconds = f"{result['cpu_seconds']:.0f} ({result['training_cpu_seconds']:.0f})"
    facts = [case.shown, f"{result['rows'].get('train', 0):,}", "", f"{result['steps']:,}",
             f"{result['trained']:,} ({result['trained'] / result['total']:.1%})", seconds]
    for name in names:
        score = next((score for score in on(split, result["scores"]) if score["name"] == name), None)
        if score is None:
            continue
        facts[held_out] = f"{score['n'] or result['rows'].get(split, 0):,} ({split})"
        value_of = {other["baseline"]: other["value"] for other in on(split, result["baselines"]) if other["name"] == name}
        cells = [number(value_of.get(baseline)) for baseline in baselines]
        yield [*facts, name, f"{number(score['value'])}{error(score, result)}", *cells]
        facts = [""] * len(facts)  # facts of the run stand beside its first score alone


def on(split: str, scores: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """The scores of a split."""
    return [score for score in scores if score["split"] == split]


def error(score: dict[str, Any], result: dict[str, Any]) -> str:
    """Standard error: sqrt(p (1 - p) / n) of a share of rows (an upper bound for the F1 of spans, a mean of shares), that of the
    mean loss over rows, times the perplexity for a perplexity, and that of an entity F1 as drawn; nothing for the rest."""
    name = score["name"]
    value = score["value"]
    num_rows = score["n"]
    loss_error = result.get("loss_error", {}).get(score["split"])
    has_spans = any(other["name"] == "exact_match" for other in result["scores"])
    if name == "f1" and "f1_error" in result:
        return f" ± {result['f1_error']:.3f}"
    is_share = name in ("accuracy", "exact_match", "rewards/accuracies") or name.startswith("recall_at_")
    if is_share or (name == "f1" and has_spans):
        return f" ± {math.sqrt(value * (1 - value) / num_rows):.3f}" if num_rows else ""
    if loss_error is None:
        return ""
    if name == "loss":
        return f" ± {number(loss_error)}"
    if name.endswith("perplexity"):
        return f" ± {number(loss_error * value)}"  # the derivative of exp is exp
    return ""


def number(value: float | None) -> str:
    if value is None:
        return ""
    return f"{value:.3f}" if abs(value) < 10 else f"{value:,.1f}"


def page(results: dict[str, Any]) -> str:
    """docs/results.md with its tables made anew; the rest of it is written by hand."""
    text = PAGE.read_text(encoding="utf-8")
    for name, lines in tables(results):
        begin = BEGIN.format(name)
        end = END.format(name)
        before, _, rest = text.partition(begin)
        if rest:
            text = before + "\n".join([begin, *lines, end]) + rest.partition(end)[2]
    return text


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--data", type=Path, help="folder of the public sets")
    parser.add_argument("--out", type=Path, help="where run folders are, or will be")
    parser.add_argument("--only", nargs="*", help="names of runs")
    parser.add_argument("--list", action="store_true", help="names and commands, then end")
    options = parser.parse_args()
    cases = list(itertools.chain.from_iterable(table.cases for table in TABLES))
    unknown = set(options.only or []) - {case.name for case in cases}
    if unknown:
        parser.error(f"no run named {', '.join(sorted(unknown))}; --list shows the names")
    if options.list:
        for case in cases:
            print(f"{case.name:16} {case.command}")
        return 0
    has_failed = False
    if options.out:
        options.out.mkdir(parents=True, exist_ok=True)
        chosen = [case for case in cases if not options.only or case.name in options.only]
        has_failed = not measure_all(chosen, options.data, options.out)
    PAGE.write_text(page(json.loads(RESULTS.read_text())), encoding="utf-8")
    return 1 if has_failed else 0


def measure_all(cases: Sequence[Case], data: Path | None, out: Path) -> bool:
    """Measure runs one after the other; whether none failed. Without data only those that are finished are read."""
    is_complete = True
    for case in cases:
        if not data and not finished(out / case.name):
            continue
        result = measure(case, data and data.resolve(), out.resolve())
        if result is None:
            is_complete = False
            continue
        # written after every run, so that an end in between costs one run at most
        results = json.loads(RESULTS.read_text()) if RESULTS.exists() else {}
        RESULTS.write_text(json.dumps({**results, case.name: result}, indent=1) + "\n")
    return is_complete


if __name__ == "__main__":
    raise SystemExit(main())
