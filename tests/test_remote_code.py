"""Code that comes with a model runs only where it is asked for, and then in every step: training, proof, answers, merging."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

import ftp
from ftp.cli.main import call

CODE = '''
from transformers import BertConfig, BertForSequenceClassification, BertModel


class OwnConfig(BertConfig):
    model_type = "own"


class OwnModel(BertModel):
    config_class = OwnConfig


class OwnForSequenceClassification(BertForSequenceClassification):
    """Answers otherwise than BERT: whoever loads it without its code has other logits."""

    config_class = OwnConfig

    def forward(self, *arguments, **named):
        out = super().forward(*arguments, **named)
        out.logits = out.logits * 3 + 1
        return out
'''
MAP = {"AutoConfig": "modeling_own.OwnConfig", "AutoModel": "modeling_own.OwnModel",
       "AutoModelForSequenceClassification": "modeling_own.OwnForSequenceClassification"}
Do = Callable[..., str]


@pytest.fixture
def do(tiny_bert: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Do:
    """Do a command beside a model with code of its own, and give what it said."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HF_MODULES_CACHE", str(tmp_path / "modules"))
    for module in ("transformers.utils.hub", "transformers.dynamic_module_utils"):
        monkeypatch.setattr(f"{module}.HF_MODULES_CACHE", str(tmp_path / "modules"))
    shutil.copytree(tiny_bert, "own")
    config = json.loads(Path("own/config.json").read_text())
    Path("own/config.json").write_text(json.dumps({**config, "model_type": "own", "auto_map": MAP}))
    Path("own/modeling_own.py").write_text(CODE)
    rows = [{"text": f"a warm room {number}", "label": ["bad", "good"][number % 2]} for number in range(24)]
    Path("rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))

    def run(*words: str, status: int = 0) -> str:
        ended_with = call(words)
        output = capsys.readouterr()
        assert ended_with == status and "Traceback" not in output.err, output.err
        return " ".join((output.out + output.err).split())

    return run


def train(method: str, *more: str, model: str = "own", out: str = "run") -> list[str]:
    return ["run", f"--plugins={method},classify,-leakage,-underfitting,-overfitting", "--data", "rows.jsonl", "--model", model,
            "--out", out, "--device", "cpu", "--precision", "fp32", "--max-steps", "2", "--learning-rate", "0.01",
            "--no-baselines", "--no-report", "--cache-dir", "cache", *more]


def test_code_is_not_run_unasked(do: Do) -> None:
    message = do(*train("full"), status=2)
    assert "it needs code of its own" in message and "--trust-remote-code" in message and not Path("modules").exists()


def test_code_that_is_not_needed_is_not_run_either(do: Do) -> None:
    """A model that Transformers knows may name code beside it: without trust, its proof and its answers do without, too."""
    Path("own/config.json").write_text(json.dumps({**json.loads(Path("own/config.json").read_text()), "model_type": "bert"}))
    do(*train("full"))
    assert "trust_remote_code" not in Path("run/model/README.md").read_text()
    do("predict", "run", "a warm room", "--trust-remote-code")  # no more than what it was trained with
    assert not Path("modules").exists()


@pytest.mark.parametrize("method", ["full", "lora"])
def test_code_that_is_trusted_runs_to_the_end(do: Do, method: str) -> None:
    message = do(*train(method, "--trust-remote-code"))
    assert "not verified" not in message and Path("modules").exists()
    assert "trust_remote_code=True" in Path("run/model/README.md").read_text()
    for words in (["predict", "run", "a warm room"], ["evaluate", "run", "--data", "rows.jsonl"]):
        assert "--trust-remote-code" in do(*words, status=2)
        do(*words, "--trust-remote-code")
    with pytest.raises(ftp.UserError, match="trust_remote_code=True"):
        ftp.load("run")
    assert ftp.load("run", trust_remote_code=True).predict(["a warm room"])[0]["answer"] in ("bad", "good")


def test_an_adapter_on_code_of_its_own_is_merged(do: Do) -> None:
    do(*train("lora", "--trust-remote-code", "--no-verify"))
    assert "--trust-remote-code" in do("merge", "run", status=2)
    assert not Path("run/merged").exists()
    do("merge", "run", "--trust-remote-code")
    do("export", "run", "--to", "safetensors", "--trust-remote-code")
    do(*train("full", "--trust-remote-code", "--no-verify", model="run/merged", out="again"))
