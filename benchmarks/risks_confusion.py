"""Which check is raised by which planted fault, and how often by none: the confusion table of docs/risks.md.

    python benchmarks/risks_confusion.py --data DIR --out RUNS [--seeds 5] [--only leaky,lr1] [--part 0/2] [--decoder FOLDER]
    python benchmarks/risks_confusion.py --table [--docs docs/risks.md]

DIR holds the sets named in SETS. Each fault is planted into real rows, a run is done with the default checks and the options of
the fault, and the level of each verdict is kept. Runs that are done are not done again: a line of
benchmarks/risks_confusion.json is written for each. `--part 0/2` does every second run, so that two processes can share the
work. `--table` prints the tables of that file (`--docs`: writes them between the marks in the page).
"""

from __future__ import annotations

import argparse
import contextlib
import csv
import json
import lzma
import os
import random
import re
import shutil
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")

HERE = Path(__file__).resolve().parent
FOUND = HERE / "risks_confusion.json"
RISKS = ("leakage", "overfitting", "underfitting", "forgetting", "preflight")
LEVELS = ("ok", "note", "warn", "stop", "not_run")
Row = dict[str, Any]
Splits = tuple[list[Row], list[Row]]

QUICK = {"verify": False, "report": False, "baselines": False, "device": "cpu"}
LABELS = {"plugins": ["lora", "classify"], "batch_size": 16, "eval_steps": 25}
TEXT = {"plugins": ["clm", "lora", "files"], "batch_size": 8, "eval_steps": 8, "clm.block_size": 128,
        "max_steps": 24}
CHAT = {"plugins": ["sft", "lora", "files"], "batch_size": 8, "eval_steps": 8, "max_steps": 24}

NO_END = ("{{ bos_token }}{% for m in messages %}{% if m['role'] == 'assistant' %}"
          "{{ 'Assistant:' }}{% generation %}{{ ' ' + m['content'] }}{% endgeneration %}"
          "{% else %}{{ 'User: ' + m['content'] }}{% endif %}{{ '\n\n' }}{% endfor %}"
          "{% if add_generation_prompt %}{{ 'Assistant:' }}{% endif %}")
"""A chat template with which an answer ends in a line break and no token says so."""


WORDS = 60
SEEDS = 5
CLEAN_SEEDS = 3


# --- real rows ---


def read(folder: Path) -> list[Row]:
    """The training rows of a set."""
    path = next(folder.glob("train.*.xz"))
    with lzma.open(path, "rt", encoding="utf-8") as lines:
        return list(csv.DictReader(lines) if ".csv" in path.name else map(json.loads, lines))


def labelled(row: Row) -> Row:
    return {"text": row["text"], "label": int(row["label"])}


def plain(row: Row) -> Row:
    """The first words of a text: enough to know its field by."""
    return {"text": " ".join(row["text"].split()[:WORDS])}


def turns(row: Row) -> Row:
    """A conversation up to the assistant's second answer."""
    return {"messages": row["messages"][:4]}


SETS: dict[str, Callable[[Row], Row]] = {
    "sst2": labelled, "trec": labelled, "customer_reviews": labelled, "tweet_emotion": labelled, "legal_overruling": labelled,
    "ohsumed": plain, "sgd_chat": turns,
}
FORMS: dict[Any, dict[str, Any]] = {labelled: LABELS, plain: TEXT, turns: CHAT}
ENCODED = ("sst2", "trec", "customer_reviews", "tweet_emotion", "legal_overruling")
"""Sets for faults that any classification can have; seed n takes the n-th."""


def drawn(folder: Path, name: str, seed: int, train: int, held: int) -> Splits:
    """Rows of a set, other ones for another seed."""
    rows = [SETS[name](row) for row in read(folder / name)]
    random.Random(seed).shuffle(rows)
    return rows[:train], rows[train : train + held]


# --- faults ---


def nothing(splits: Splits, dice: random.Random) -> Splits:
    return splits


def leak(splits: Splits, dice: random.Random) -> Splits:
    """One validation row of ten is a training row, half of these with a word left out."""
    train, held = splits
    long_rows = [row for row in train if len(row["text"].split()) > 7]
    for number, held_index in enumerate(dice.sample(range(len(held)), len(held) // 10)):
        row = dict(dice.choice(long_rows))
        if number % 2:
            words = row["text"].split()
            del words[dice.randrange(len(words))]
            row["text"] = " ".join(words)
        held[held_index] = row
    return train, held


def shuffle(splits: Splits, dice: random.Random) -> Splits:
    """Labels in another order: nothing is left to learn but the rows themselves."""
    train, held = splits
    labels = [row["label"] for row in train]
    dice.shuffle(labels)
    return [{**row, "label": label} for row, label in zip(train, labels, strict=True)], held


@dataclass(frozen=True)
class Fault:
    """A fault: what it is called in the table, the risk that is to be raised, sets, rows, what is done to them, options.

    `follows`: other risks that are there as well, as a consequence of the fault, with the reason in docs/risks.md.
    """

    title: str
    own: str
    sets: tuple[str, ...] = ENCODED
    train: int = 300
    held: int = 120
    plant: Callable[[Splits, random.Random], Splits] = nothing
    options: Mapping[str, Any] = field(default_factory=dict)
    follows: tuple[str, ...] = ()


FAULTS: dict[str, Fault] = {
    "leaky": Fault("leaky split", "leakage", plant=leak),
    "leaky-on": Fault("leaky split, trained all the same", "leakage", plant=leak,
                      options={"leakage.stop_exact": 1.0, "leakage.stop_sure": 1.0, "epochs": 2}),
    "shuffled": Fault("labels shuffled", "overfitting", train=200, plant=shuffle, options={"epochs": 12, "eval_steps": 38}),
    "rows30": Fault("30 rows, 50 epochs", "overfitting", train=30, options={"epochs": 50}, follows=("forgetting",)),
    "lr1e-7": Fault("learning rate 1e-7", "underfitting", options={"learning_rate": 1e-7, "epochs": 2}),
    "lr1": Fault("learning rate 1", "underfitting", options={"learning_rate": 1.0, "epochs": 2}, follows=("forgetting",)),
    "frozen": Fault("new head frozen", "underfitting",
                    options={"plugins": ["full", "classify"], "full.freeze": "classifier*", "epochs": 2}),
    "forgetting": Fault("domain tuned at a high rate", "forgetting", sets=("ohsumed",), train=400, held=40,
                        options={"plugins": ["clm", "full", "files"], "learning_rate": 3e-3}),
    "no-end": Fault("template without an end of turn", "preflight", sets=("sgd_chat",), train=240, held=40,
                    options={"sft.chat_template": NO_END}),
}
def clean(name: str) -> Fault:
    """A run on a set in which nothing is planted."""
    if name in ENCODED:
        return Fault("nothing", "", sets=(name,), train=400, held=120, options={"epochs": 3})
    return Fault("nothing", "", sets=(name,), train=240 if name == "sgd_chat" else 400, held=40)


CLEAN = {f"clean-{name}": clean(name) for name in SETS}


# --- runs ---


def do(key: str, fault: Fault, seed: int, arguments: argparse.Namespace) -> dict[str, Any]:
    """Plant a fault, run, and give the verdicts."""
    import ftp

    name = fault.sets[seed % len(fault.sets)]
    folder = arguments.out / f"{key}-{seed}"
    shutil.rmtree(folder, ignore_errors=True)
    (folder / "rows").mkdir(parents=True)
    splits = fault.plant(drawn(arguments.data, name, seed, fault.train, fault.held), random.Random(seed))
    for split, rows in zip(("train", "validation"), splits, strict=True):
        (folder / "rows" / f"{split}.jsonl").write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    options = {**FORMS[SETS[name]], **fault.options}
    if "sft.chat_template" in options:
        (folder / "template.jinja").write_text(options["sft.chat_template"], encoding="utf-8")
        options["sft.chat_template"] = str(folder / "template.jinja")
    if SETS[name] is not labelled:
        options["model"] = arguments.decoder
    plugins = options.pop("plugins")
    began = time.process_time()
    with contextlib.suppress(ftp.RiskStop):
        ftp.run(plugins, **QUICK, **options, seed=seed, data=str(folder / "rows"), out=str(folder / "run"),
                cache_dir=str(folder / "cache"))
    verdicts = {verdict["name"]: verdict for verdict in json.loads((folder / "run" / "risks.json").read_text(encoding="utf-8"))}
    shutil.rmtree(folder / "cache", ignore_errors=True)
    shutil.rmtree(folder / "run" / "checkpoints", ignore_errors=True)
    shutil.rmtree(folder / "run" / "model", ignore_errors=True)
    raised = {risk: verdict for risk, verdict in verdicts.items() if verdict["level"] not in ("ok", "not_run")}
    return {"fault": key, "seed": seed, "set": name, "cpu_seconds": round(time.process_time() - began, 1),
            "levels": {risk: verdicts[risk]["level"] for risk in RISKS if risk in verdicts},
            "findings": {risk: verdict["finding"] for risk, verdict in raised.items()}}


def kept(file: Path) -> dict[str, dict[str, Any]]:
    """Runs that are done, by fault and seed."""
    runs = json.loads(file.read_text(encoding="utf-8")) if file.exists() else []
    return {f"{run['fault']}-{run['seed']}": run for run in runs}


def keep(file: Path, run: Mapping[str, Any]) -> None:
    """Add a run to those in the file, which another process may have written since."""
    import fcntl

    folder = os.open(file.parent, os.O_RDONLY)
    try:
        fcntl.flock(folder, fcntl.LOCK_EX)
        runs = {**kept(file), f"{run['fault']}-{run['seed']}": run}
        lines = [json.dumps(runs[key], ensure_ascii=False) for key in sorted(runs)]
        new = file.with_suffix(".new")
        new.write_text("[\n" + ",\n".join(lines) + "\n]\n", encoding="utf-8")
        new.replace(file)
    finally:
        os.close(folder)


# --- tables ---


def tables(done_runs: list[dict[str, Any]]) -> str:
    """The confusion table and the table of false alarms, as Markdown."""
    lines = ["| planted | seeds | " + " | ".join(RISKS) + " |", "| --- | --- |" + " --- |" * len(RISKS)]
    for key, fault in FAULTS.items():
        runs = [run for run in done_runs if run["fault"] == key]
        if runs:
            cells = [_share(risk, runs, bold=risk == fault.own, mark=risk in fault.follows) for risk in RISKS]
            lines.append(f"| {fault.title} | {len(runs)} | " + " | ".join(cells) + " |")
    lines += ["", "| nothing planted | runs | " + " | ".join(RISKS) + " | any |", "| --- | --- |" + " --- |" * (len(RISKS) + 1)]
    clean_runs = [run for run in done_runs if run["fault"] in CLEAN]
    for key, fault in CLEAN.items():
        if runs := [run for run in clean_runs if run["fault"] == key]:
            lines.append(f"| {fault.sets[0]} | {len(runs)} | {_alarms(runs)} |")
    if clean_runs:
        lines.append(f"| all | {len(clean_runs)} | {_alarms(clean_runs)} |")
    known = sum(run["fault"] in {*FAULTS, *CLEAN} for run in done_runs)
    planned = SEEDS * len(FAULTS) + CLEAN_SEEDS * len(CLEAN)
    per_kind = f"({SEEDS} per fault, {CLEAN_SEEDS} per set without one)"
    done = f"All {planned} runs are done {per_kind}."
    if known < planned:
        done = f"{known} of {planned} runs are done {per_kind}; the rest is not known."
    lines += ["", done]
    return "\n".join(lines)


def _raised(risk: str, runs: list[dict[str, Any]]) -> tuple[int, int]:
    """Runs at warn or stop, of those in which something was compared."""
    levels = [run["levels"].get(risk, "not_run") for run in runs]
    return sum(level in ("warn", "stop") for level in levels), sum(level != "not_run" for level in levels)


def _share(risk: str, runs: list[dict[str, Any]], *, bold: bool, mark: bool) -> str:
    raised, of = _raised(risk, runs)
    if not of:
        return "not run"
    text = f"{raised} of {of}"
    if bold:
        return f"**{text}**"
    return f"{text} (follows)" if mark and raised else text


def _alarms(runs: list[dict[str, Any]]) -> str:
    num_alarmed = 0
    for run in runs:
        num_alarmed += any(_raised(risk, [run])[0] for risk in RISKS)
    shares = [_share(risk, runs, bold=False, mark=False) for risk in RISKS]
    return " | ".join([*shares, f"{num_alarmed} of {len(runs)}"])


MARKS = ("<!-- made by benchmarks/risks_confusion.py -->", "<!-- end of what benchmarks/risks_confusion.py made -->")


def write(page: Path, text: str) -> None:
    """Put the tables between the marks of a page."""
    old = page.read_text(encoding="utf-8")
    between = f"(?s){re.escape(MARKS[0])}.*?{re.escape(MARKS[1])}"
    new, count = re.subn(between, lambda _: f"{MARKS[0]}\n{text}\n{MARKS[1]}", old)
    if count != 1:
        raise SystemExit(f"{page}: the marks {MARKS} are not there once")
    page.write_text(new, encoding="utf-8")


def planned(seeds: int, clean_seeds: int, keys: Sequence[str]) -> list[tuple[str, Fault, int]]:
    """Fault and seed of each run: all with seed 0 first, so that an early end still shows every fault."""
    jobs = []
    for seed in range(max(seeds, clean_seeds)):
        for faults, num_seeds in ((FAULTS, seeds), (CLEAN, clean_seeds)):
            if seed < num_seeds:
                jobs += [(key, fault, seed) for key, fault in faults.items() if key in keys]
    return jobs


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path)
    parser.add_argument("--out", type=Path, default=Path("runs-confusion"))
    parser.add_argument("--seeds", type=int, default=SEEDS, help="runs of each fault")
    parser.add_argument("--clean", type=int, default=CLEAN_SEEDS, help="runs of each set without a fault")
    parser.add_argument("--only", default="", help="faults, separated by commas; default: all")
    parser.add_argument("--part", default="0/1")
    parser.add_argument("--decoder", default="ftp/starter-decoder", help="a small trained decoder: folder or name")
    parser.add_argument("--again", action="store_true", help="do also what is in the file")
    parser.add_argument("--found", type=Path, default=FOUND)
    parser.add_argument("--table", action="store_true")
    parser.add_argument("--docs", type=Path)
    options = parser.parse_args()
    if options.table:
        text = tables(list(kept(options.found).values()))
        print(text)
        if options.docs:
            write(options.docs, text)
        return
    part, parts = map(int, options.part.split("/"))
    jobs = planned(options.seeds, options.clean, options.only.split(",") if options.only else [*FAULTS, *CLEAN])
    for key, fault, seed in jobs[part::parts]:
        if f"{key}-{seed}" in kept(options.found) and not options.again:
            continue
        run = do(key, fault, seed, options)
        keep(options.found, run)
        levels = (f"{risk}={level}" for risk, level in run["levels"].items())
        print(key, seed, run["set"], f"{run['cpu_seconds']} s", *levels, flush=True)


if __name__ == "__main__":
    main()
