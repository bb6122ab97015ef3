"""Learning against forgetting, full tuning beside LoRA (after Biderman et al. 2024, arXiv:2405.09673).

    python sweep.py --model MODEL --data DIR --general FILE --out OUT

Runs `ftp run` for each method, rank, learning rate, length and seed, reads what each run wrote (the loss on test rows of the
field from scores.json, the surprise on general text before and after from the verdict `forgetting` in risks.json), and writes
OUT/result.csv and OUT/tradeoff.svg. Runs that are finished are not done again; one that broke off goes on.
"""

from __future__ import annotations

import argparse
import csv
import itertools
import json
import shlex
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import mean
from typing import Any

HERE = Path(__file__).parent
FIELDS = ("method", "rank", "learning_rate", "updates", "seed", "domain_before", "domain_after", "general_before",
          "general_after", "rise_low", "rise_high")
COLOURS = ("#9ecae1", "#4292c6", "#08519c", "#041f4a")
"""Of the ranks of LoRA, from the lowest; full tuning is red."""
MARKS = ("s", "^", "D", "v")
"""Of the ranks of LoRA, from the lowest; full tuning has a circle."""


def main(arguments: Sequence[str] | None = None) -> None:
    """Do the runs, then the table, the picture, and the two sentences that the paper is about."""
    options = parser().parse_args(arguments)
    out = Path(options.out)
    rows = []
    for name, flags, facts in plan(options):
        folder = out / name
        if not finished(folder):
            words = ["ftp", "run", *flags, "--model", options.model, "--data", options.data,
                     "--forgetting.text", options.general, "--out", str(folder), *options.more]
            if (folder / "run.toml").exists():  # it broke off
                words = ["ftp", "run", "--resume", str(folder)]
            print("$", shlex.join(words), flush=True)
            command(words)
        rows.append({**facts, **read(folder)})
    with (out / "result.csv").open("w", newline="") as file:
        table = csv.DictWriter(file, FIELDS)
        table.writeheader()
        table.writerows(rows)
    draw(rows, out / "tradeoff.svg")
    print("\n".join(summary(rows)))


def parser() -> argparse.ArgumentParser:
    """Options; lists are written with commas."""
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--model", required=True, help="a decoder")
    options.add_argument("--data", required=True, help="folder with train and test of the field")
    options.add_argument("--general", required=True, help="file of general text")
    options.add_argument("--out", required=True, help="folder for runs and results")
    options.add_argument("--full", default="3e-5,1e-4,3e-4,1e-3", help="learning rates of full tuning")
    options.add_argument("--lora", default="3e-4,1e-3,3e-3", help="learning rates of LoRA")
    options.add_argument("--ranks", default="4,16,64", help="ranks of LoRA")
    options.add_argument("--updates", default="25,100", help="lengths of training")
    options.add_argument("--seeds", default="0")
    options.add_argument("more", nargs="*", help="after --: further flags of every run")
    return options


def plan(options: argparse.Namespace) -> list[tuple[str, list[str], dict[str, Any]]]:
    """Name, flags and facts of each run."""
    methods = [("full", None, rate) for rate in options.full.split(",")]
    for rank, rate in itertools.product(options.ranks.split(","), options.lora.split(",")):
        methods.append(("lora", rank, rate))
    all_updates = options.updates.split(",")
    seeds = options.seeds.split(",")
    runs = []
    for (method, rank, rate), updates, seed in itertools.product(methods, all_updates, seeds):
        flags = [str(HERE / f"{method}.toml"), "--learning-rate", rate, "--max-steps", updates, "--seed", seed]
        if rank is not None:
            flags += ["--lora.r", rank, "--lora.lora_alpha", str(2 * int(rank))]
        name = "-".join([method, *([f"r{rank}"] if rank else []), f"lr{rate}", f"u{updates}", f"s{seed}"])
        facts = {"method": method, "rank": rank or "", "learning_rate": rate, "updates": updates, "seed": seed}
        runs.append((name, flags, facts))
    return runs


def command(words: Sequence[str]) -> None:
    """One command of ftp. Ends the sweep where it fails."""
    if subprocess.run(words).returncode:
        sys.exit(f"this failed: {shlex.join(words)}")


def finished(folder: Path) -> bool:
    """Whether the run of a folder came to its end."""
    facts = folder / "run.json"
    return facts.exists() and json.loads(facts.read_text())["status"] == "finished"


def read(folder: Path) -> dict[str, float]:
    """What a run learnt and forgot, in nats a token. A run whose forgetting was not measured ends the sweep."""
    results = json.loads((folder / "scores.json").read_text())
    untuned = [score for score in results["baselines"] if score["baseline"] == "untuned"]
    before = loss_on_test(untuned)
    after = loss_on_test(results["scores"])
    (risk,) = [risk for risk in json.loads((folder / "risks.json").read_text()) if risk["name"] == "forgetting"]
    if risk["level"] == "not_run" or risk["evidence"].get("after") is None:
        sys.exit(f"{folder}: forgetting was not measured: {risk['finding']}")
    evidence = risk["evidence"]
    return {"domain_before": before, "domain_after": after, "general_before": evidence["before"],
            "general_after": evidence["after"], "rise_low": evidence["rise_low"], "rise_high": evidence["rise_high"]}


def loss_on_test(scores: Sequence[Mapping[str, Any]]) -> float:
    """The loss on test, of which there is one."""
    (value,) = [score["value"] for score in scores if (score["name"], score["split"]) == ("loss", "test")]
    return float(value)


def by_setting(rows: Sequence[Mapping[str, Any]], *names: str) -> dict[tuple[str, ...], list[Mapping[str, Any]]]:
    """Rows that have the same rank, learning rate and so on."""
    settings: dict[tuple[str, ...], list[Mapping[str, Any]]] = {}
    for row in rows:
        settings.setdefault(tuple(row[name] for name in names), []).append(row)
    return settings


def draw(rows: Sequence[Mapping[str, Any]], path: Path) -> None:
    """What was learnt to the right, what was forgotten upwards: better is right and low. A line joins a setting's lengths."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 4.5), layout="constrained")
    axes = figure.subplots()
    ranks = sorted({int(row["rank"]) for row in rows if row["rank"]})
    looks = {"": ("tab:red", "o")}
    for index, lora_rank in enumerate(ranks):
        looks[str(lora_rank)] = (COLOURS[index % len(COLOURS)], MARKS[index % len(MARKS)])
    in_legend = set()
    for (rank, _, _), points in by_setting(rows, "rank", "learning_rate", "seed").items():
        colour, mark = looks[rank]
        points = sorted(points, key=lambda row: int(row["updates"]))
        label = f"LoRA, rank {rank}" if rank else "full tuning"
        axes.plot([learnt(row) for row in points], [forgotten(row) for row in points], color=colour,
                  marker=mark, linewidth=0.8, label=None if label in in_legend else label)
        in_legend.add(label)
    axes.set_xlabel("learnt: fall of the loss on held-out text of the field (nats a token)")
    axes.set_ylabel("forgotten: rise of the loss on general text")
    axes.axhline(0, color="grey", linewidth=0.6)
    axes.legend(frameon=False)
    figure.savefig(path)


def learnt(row: Mapping[str, Any]) -> float:
    """Nats a token by which the field's held-out text got cheaper."""
    return float(row["domain_before"]) - float(row["domain_after"])


def forgotten(row: Mapping[str, Any]) -> float:
    """Nats a token by which general text got dearer."""
    return float(row["general_after"]) - float(row["general_before"])


def summary(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """Each method at its best learning rate (and rank): the one that learnt most, as the mean over seeds."""
    lines = []
    gains, losses = {}, {}
    for method in ("full", "lora"):
        runs = [row for row in rows if row["method"] == method]
        settings = by_setting(runs, "rank", "learning_rate", "updates")
        best = max(settings.values(), key=lambda seeds: mean(map(learnt, seeds)))
        gains[method] = mean(map(learnt, best))
        losses[method] = mean(map(forgotten, best))
        setting = best[0]
        rank = f", rank {setting['rank']}" if setting["rank"] else ""
        lines.append(
            f"{method} at its best (learning rate {setting['learning_rate']}{rank}, {setting['updates']} updates, "
            f"{len(best)} seeds): learnt {gains[method]:+.3f}, forgot {losses[method]:+.3f} nats a token")
    learns_less = "yes" if gains["lora"] < gains["full"] else "NO"
    forgets_less = "yes" if losses["lora"] < losses["full"] else "NO"
    return [*lines, f"LoRA learns less: {learns_less}; LoRA forgets less: {forgets_less}"]


if __name__ == "__main__":
    main()
