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
COLOURS, MARKS = ("#9ecae1", "#4292c6", "#08519c", "#041f4a"), ("s", "^", "D", "v")
"""Of the ranks of LoRA, from the lowest; full tuning is red."""


def main(arguments: Sequence[str] | None = None) -> None:
    """Do the runs, then the table, the picture, and the two sentences that the paper is about."""
    given = parser().parse_args(arguments)
    out = Path(given.out)
    rows = []
    for name, flags, facts in plan(given):
        folder = out / name
        if not finished(folder):
            words = ["ftp", "run", "--resume", str(folder)] if (folder / "run.toml").exists() else [
                "ftp", "run", *flags, "--model", given.model, "--data", given.data, "--forgetting.text", given.general,
                "--out", str(folder), *given.more]
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
    made = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name, text in (("model", "a decoder"), ("data", "folder with train and test of the field"),
                       ("general", "file of general text"), ("out", "folder for runs and results")):
        made.add_argument(f"--{name}", required=True, help=text)
    made.add_argument("--full", default="3e-5,1e-4,3e-4,1e-3", help="learning rates of full tuning")
    made.add_argument("--lora", default="3e-4,1e-3,3e-3", help="learning rates of LoRA")
    made.add_argument("--ranks", default="4,16,64", help="ranks of LoRA")
    made.add_argument("--updates", default="25,100", help="lengths of training")
    made.add_argument("--seeds", default="0")
    made.add_argument("more", nargs="*", help="after --: further flags of every run")
    return made


def plan(given: argparse.Namespace) -> list[tuple[str, list[str], dict[str, Any]]]:
    """Name, flags and facts of each run."""
    methods = [("full", None, rate) for rate in given.full.split(",")]
    methods += [("lora", rank, rate) for rank, rate in itertools.product(given.ranks.split(","), given.lora.split(","))]
    runs = []
    for (method, rank, rate), updates, seed in itertools.product(methods, given.updates.split(","), given.seeds.split(",")):
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
    found = json.loads((folder / "scores.json").read_text())
    (after,) = [one["value"] for one in found["scores"] if (one["name"], one["split"]) == ("loss", "test")]
    (before,) = [one["value"] for one in found["baselines"]
                 if (one["baseline"], one["name"], one["split"]) == ("untuned", "loss", "test")]
    (risk,) = [one for one in json.loads((folder / "risks.json").read_text()) if one["name"] == "forgetting"]
    if risk["level"] == "not_run" or risk["evidence"].get("after") is None:
        sys.exit(f"{folder}: forgetting was not measured: {risk['finding']}")
    evidence = risk["evidence"]
    return {"domain_before": before, "domain_after": after, "general_before": evidence["before"],
            "general_after": evidence["after"], "rise_low": evidence["rise_low"], "rise_high": evidence["rise_high"]}


def draw(rows: Sequence[Mapping[str, Any]], path: Path) -> None:
    """What was learnt to the right, what was forgotten upwards: better is right and low. A line joins a setting's lengths."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 4.5), layout="constrained")
    axes = figure.subplots()
    ranks = sorted({int(one["rank"]) for one in rows if one["rank"]})
    looks = {"": ("tab:red", "o")}
    looks |= {str(rank): (COLOURS[place % 4], MARKS[place % 4]) for place, rank in enumerate(ranks)}
    settings: dict[tuple[str, str, str], list[Mapping[str, Any]]] = {}
    for one in rows:
        settings.setdefault((one["rank"], one["learning_rate"], one["seed"]), []).append(one)
    named = set()
    for (rank, _, _), points in settings.items():
        colour, mark = looks[rank]
        points = sorted(points, key=lambda one: int(one["updates"]))
        label = f"LoRA, rank {rank}" if rank else "full tuning"
        axes.plot([learnt(one) for one in points], [forgotten(one) for one in points], color=colour, marker=mark, linewidth=0.8,
                  label=None if label in named else label)
        named.add(label)
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
    found = {}
    for method in ("full", "lora"):
        settings: dict[tuple[str, ...], list[Mapping[str, Any]]] = {}
        for one in rows:
            if one["method"] == method:
                settings.setdefault((one["rank"], one["learning_rate"], one["updates"]), []).append(one)
        best = max(settings.values(), key=lambda many: mean(map(learnt, many)))
        found[method] = (best[0], mean(map(learnt, best)), mean(map(forgotten, best)), len(best))
    lines = [f"{method} at its best (learning rate {one['learning_rate']}{', rank ' + one['rank'] if one['rank'] else ''}, "
             f"{one['updates']} updates, {seeds} seeds): learnt {gain:+.3f}, forgot {loss:+.3f} nats a token"
             for method, (one, gain, loss, seeds) in found.items()]
    (_, full_gain, full_loss, _), (_, lora_gain, lora_loss, _) = found["full"], found["lora"]
    less, kept = ("yes" if one else "NO" for one in (lora_gain < full_gain, lora_loss < full_loss))
    return [*lines, f"LoRA learns less: {less}; LoRA forgets less: {kept}"]


if __name__ == "__main__":
    main()
