"""The three classical stages in one command: imitate, learn what is preferred, optimise against that."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from ftp.cli.main import call
from ftp_testing.models import tiny
from ftp_testing.subject import JUDGE, ROWS

RECIPE = """
out = "{out}"
plugins_from = ["{rows}", "{judge}"]
device = "cpu"
precision = "fp32"
max_steps = 2
logging_steps = 1
batch_size = 4
max_eval_rows = 4
verify = false
baselines = false
cache_dir = "{cache}"

[[stages]]
name = "sft"
plugins = ["sft", "{parameters}", "-leakage", "-duplicates"]
model = "{model}"

[[stages]]
name = "reward"
plugins = ["reward", "{parameters}", "-leakage", "-duplicates"]
model = "{{sft}}"

[[stages]]
name = "rlhf"
plugins = ["rlhf", "{parameters}", "-leakage", "-duplicates"]
model = "{{sft}}"
rlhf.reward_model = "{{reward}}"
rlhf.max_completion_length = 8
rlhf.num_generations = 2
"""


@pytest.mark.parametrize("parameters", ["full", "lora"])
def test_sft_then_reward_then_rlhf(parameters: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    recipe, out = tmp_path / "recipe.toml", tmp_path / "runs"
    recipe.write_text(RECIPE.format(out=out, rows=ROWS, judge=JUDGE, cache=tmp_path / "cache", parameters=parameters,
                                    model=tiny("llama", tmp_path / "llama")))
    assert call(["run", "--trust-recipe", str(recipe)]) == 0, capsys.readouterr().err
    facts = [json.loads((out / name / "run.json").read_text()) for name in ("sft", "reward", "rlhf")]
    assert [record["status"] for record in facts] == ["finished"] * 3
    assert [record["head"] for record in facts] == ["tokens", "score", "tokens"]
    lines = map(json.loads, (out / "rlhf" / "log.jsonl").read_text().splitlines())
    line = next(line for line in lines if line["event"] == "step")
    assert {"rewards/reward_model", "rewards/words", "kl"} <= set(line)
    assert line["kl"] == pytest.approx(0.0, abs=1e-5)  # the reference is the model after sft, not the one before
    capsys.readouterr()
    assert call(["run", "--resume", str(out)]) == 0
    assert capsys.readouterr().out.count("is finished") == 3
