"""`ftp run --plugins lora,sentiment`, as a newcomer types it: no option, no network; done once, looked at from all sides."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

import ftp

MODEL = "sentence-transformers/all-MiniLM-L6-v2"
WITHOUT_NETWORK = '''
import socket, sys

def listen(event, arguments):
    """Nothing beyond this machine is asked for."""
    asks = event == "socket.connect" and arguments[0].family in (socket.AF_INET, socket.AF_INET6)
    if asks or event == "socket.getaddrinfo":
        print(f"ASKED THE NETWORK: {event} {arguments[-1]}", flush=True)
        raise OSError("there is no network")

sys.addaudithook(listen)
from ftp.cli.main import call
sys.exit(call(sys.argv[1:]))
'''
CLOCK = '''
import time
from ftp import hookimpl, plugin
from ftp.types import Saved, Started

@plugin
class Clock:
    """Takes the time that training costs on one core, whatever else the machine does."""

    @hookimpl
    def on_event(self, run, event):
        if isinstance(event, Started | Saved):
            run.log.event("clock", cpu=time.process_time())
'''


@dataclass(frozen=True)
class Done:
    """What the run left and said."""

    out: Path
    text: str
    lines: list[dict[str, Any]]

    def read(self, name: str) -> Any:
        return json.loads((self.out / name).read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> Done:
    """The run, in a folder and with a cache of its own. (The clock only looks on.)"""
    folder = tmp_path_factory.mktemp("default")
    (folder / "clock.py").write_text(CLOCK, encoding="utf-8")
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("HF_", "FTP_", "TRANSFORMERS_"))}
    environment |= {"OMP_NUM_THREADS": "1", "FTP_CACHE": str(folder / "cache"), "HF_HOME": str(folder / "hub"),
                    "FTP_STATE": os.environ["FTP_STATE"]}  # what this run is trusted with, `ftp.load` is too
    ran = subprocess.run([sys.executable, "-c", WITHOUT_NETWORK, "run", "--plugins", "lora,sentiment", "--plugins-from",
                          "clock.py:Clock"], cwd=folder, env=environment, capture_output=True, text=True, timeout=1800)
    assert ran.returncode == 0, ran.stdout + ran.stderr
    (out,) = (folder / "runs").iterdir()
    lines = [json.loads(line) for line in (out / "log.jsonl").read_text(encoding="utf-8").splitlines()]
    return Done(out, ran.stdout + ran.stderr, lines)


def test_it_asks_no_network_and_takes_the_embedded_model(done: Done) -> None:
    assert "ASKED THE NETWORK" not in done.text
    assert done.read("run.json")["model"] == MODEL and done.out.name.startswith("lora-sentiment")


def test_it_beats_both_baselines_clearly(done: Done) -> None:
    scores = done.read("scores.json")
    tuned = {(score["name"], score["split"]): score["value"] for score in scores["scores"]}
    baseline: dict[str, dict[tuple[str, str], float]] = {}
    for score in scores["baselines"]:
        baseline.setdefault(score["baseline"], {})[score["name"], score["split"]] = score["value"]
    majority = baseline["majority class"]
    probe = baseline["untuned, linear head"]
    for split in ("validation", "test"):
        assert tuned["accuracy", split] >= majority["accuracy", split] + 0.2, (split, scores)
        assert tuned["accuracy", split] >= probe["accuracy", split] + 0.05, (split, scores)
        assert tuned["loss", split] < min(majority["loss", split], probe["loss", split])
    assert all(score["n"] == {"test": 288, "validation": 180}[score["split"]] for score in scores["scores"])


def test_training_costs_less_than_a_minute(done: Done) -> None:
    """Of one core's time, so that a busy machine changes nothing: two idle cores take no longer than that."""
    began, *_, ended = (line["cpu"] for line in done.lines if line["event"] == "clock")
    assert 0 < ended - began < 60, f"training took {ended - began:.1f} s of one core"


def test_it_tells_what_it_does_and_what_came_of_it(done: Done) -> None:
    text = " ".join(done.text.split())
    for word in ("tokens/s", "left", "cpu", "majority class", "TF-IDF, linear model", "untuned, linear head", "beats them",
                 "trained", "risks",
                 "verifying model/ in a fresh process", "ftp predict runs/", "in all on"):
        assert word in text, word
    steps = [line for line in done.lines if line["event"] == "step"]
    fields = {"step", "loss", "learning_rate", "grad_norm", "tokens_per_second", "memory"}
    assert steps and all(fields <= line.keys() for line in steps)
    verdicts = {verdict["name"]: verdict for verdict in done.read("risks.json")}
    assert verdicts["leakage"]["level"] == "ok" and verdicts["leakage"]["evidence"]
    assert {"overfitting", "underfitting"} <= verdicts.keys() and all(verdict["finding"] for verdict in verdicts.values())


def test_its_folder_is_complete_and_names_no_place_of_this_machine(done: Done) -> None:
    names = {file.name for file in done.out.iterdir()}
    assert {"run.toml", "plugins.lock", "log.jsonl", "scores.json", "risks.json", "run.json", "checkpoints", "model"} <= names
    assert done.read("model/adapter_config.json")["base_model_name_or_path"] == MODEL
    for file in (done.out / "model").rglob("*"):
        if file.suffix in (".json", ".md"):
            text = file.read_text(encoding="utf-8")
            assert sys.prefix not in text and str(done.out) not in text, file.name


def test_it_answers(done: Done) -> None:
    texts = ["The soup was warm and lovely.", "The room was dirty and the staff were rude."]
    praise, complaint = ftp.load(done.out).predict(texts)
    assert (praise["answer"], complaint["answer"]) == ("positive", "negative")
    assert sum(praise["scores"].values()) == pytest.approx(1.0, abs=1e-5)
