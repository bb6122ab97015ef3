"""Preference objectives from the command to a model that plain Transformers loads, and scored again afterwards."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import ftp
from ftp.cli.main import call

DOMAIN = '''
from ftp import hookimpl, plugin

@plugin(gives=("preference", "feedback"))
class Mine:
    """Rows of a file."""

    @hookimpl
    def load_data(self, run):
        from ftp.data import load

        return load(run, None, form=run.task.form)
'''


@pytest.mark.slow
@pytest.mark.parametrize(("objective", "method"), [("dpo", "full"), ("dpo", "lora"), ("kto", "lora")])
def test_a_run_is_proven_and_scored_again_against_the_model_that_it_started_from(
    objective: str, method: str, kit: Any, folder: Callable[..., Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    base = Path(shutil.copytree(folder("llama"), tmp_path / "base"))
    rows = kit.ratings() if objective == "kto" else kit.preferences()
    for split, part in (("train", rows[:5]), ("validation", rows[5:])):
        (tmp_path / f"{split}.jsonl").write_text("\n".join(map(json.dumps, part)), encoding="utf-8")
    (tmp_path / "mine.py").write_text(DOMAIN, encoding="utf-8")
    out = tmp_path / "run"
    where = (f"{tmp_path / 'mine.py'}:Mine",)
    result = ftp.run([method, objective, "-leakage", "-underfitting", "-overfitting"], plugins_from=where,
                     data=str(tmp_path), model=str(base), out=out, device="cpu", precision="fp32", batch_size=3, max_steps=6,
                     learning_rate=1e-2, cache_dir=tmp_path / "cache", baselines=False)  # and verified, as a run is by default
    before = {score["name"]: score for score in json.loads((out / "scores.json").read_text())["scores"]}
    assert before["rewards/accuracies"]["goal"] == "max" and before["loss"]["goal"] == "min"
    assert {score["goal"] for name, score in before.items() if name in ("logps/chosen", "rewards/chosen", "kl")} <= {"none"}
    assert abs(before["loss"]["value"] - (0.5 if objective == "kto" else 0.6931)) > 1e-3, "the weights have moved"
    capsys.readouterr()
    assert call(["evaluate", str(out), "--data", str(tmp_path / "validation.jsonl"), "--json"]) == 0, capsys.readouterr().err
    again = {score["name"]: score["value"] for score in json.loads(capsys.readouterr().out)["scores"]}
    assert again == pytest.approx({name: score["value"] for name, score in before.items()}, rel=1e-4, abs=1e-5)
    assert result.score("loss", "validation") == before["loss"]["value"]
    assert call(["predict", str(out), "How was the film?"]) == 0, capsys.readouterr().err
    assert capsys.readouterr().out.endswith("  How was the film?\n")
    if method == "full":
        base.rename(tmp_path / "moved")
        assert call(["evaluate", str(out), "--data", str(tmp_path / "validation.jsonl")]) == 2
        assert f"is not where it was: {base}" in " ".join(capsys.readouterr().err.split())
