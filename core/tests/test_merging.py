"""Merging: the same answers as whole weights, and a clear word where that cannot be."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest
import torch

from ftp import UserError
from ftp import model as models
from ftp.cli.main import call
from ftp_testing.adapted import answers, saved
from ftp_testing.models import TEXTS, tiny

peft = pytest.importorskip("peft")


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("models")
    return {kind: tiny(kind, folder / kind) for kind in ("bert", "gpt2", "llama", "t5")}


@pytest.mark.parametrize("kind, head, options", [
    ("bert", "labels", {}), ("llama", "tokens", {}), ("t5", "tokens", {}), ("bert", "span", {}),
    ("llama", "tokens", {"target_modules": ["lm_head", "q_proj"]}),
    ("gpt2", "tokens", {"target_modules": ["lm_head", "c_attn"]}),  # one end of tied embeddings, each in its turn
    ("gpt2", "tokens", {"target_modules": ["wte", "c_attn"]}),
    ("gpt2", "tokens", {"target_modules": ["c_attn"], "modules_to_save": ["lm_head"]}),
])
@pytest.mark.filterwarnings("ignore")
def test_merge_gives_the_same_logits(folders, tmp_path, capsys, kind, head, options):
    model = saved(folders[kind], head, tmp_path, **options)
    assert call(["merge", str(tmp_path), "--json"]) == 0
    printed = json.loads(capsys.readouterr().out)
    assert printed["out"] == str(tmp_path / "merged") and printed["difference"] < 1e-5
    expected = models.logits(model.net, models.probe(model, TEXTS))
    torch.testing.assert_close(answers(tmp_path / "merged", model), expected, rtol=0, atol=1e-5)
    assert models.verify(model, tmp_path / "merged", models.probe(model, TEXTS)) < 1e-5  # in a process of its own


@pytest.mark.parametrize("kind, tied, target", [
    ("gpt2", True, "c_attn"), ("gpt2", False, "lm_head"), ("gpt2", False, "wte"), ("llama", False, "q_proj"),
    ("llama", False, "lm_head"), ("llama", False, "embed_tokens"),
])
@pytest.mark.filterwarnings("ignore")
def test_embeddings_with_more_rows_than_tokens_are_merged_whole(folders, tmp_path, kind, tied, target):
    """Those that are tied stay so unless an adapter is on one end."""
    base = models.load(models.find(str(folders[kind]), "tokens"), "tokens")
    rows = len(base.tokenizer) + 9
    base.net.resize_token_embeddings(rows)
    models.save(base, tmp_path / "base")
    model = saved(tmp_path / "base", "tokens", tmp_path, target_modules=[target])
    models.merged(tmp_path / "model", tmp_path / "merged")
    whole = models.reload(tmp_path / "merged").net
    ends = whole.get_input_embeddings().weight, whole.get_output_embeddings().weight
    assert [len(end) for end in ends] == [rows, rows] and whole.config.vocab_size == rows
    assert (ends[0] is ends[1]) == tied
    inputs = models.probe(model, TEXTS)
    expected = models.logits(model.net, inputs)
    assert expected.shape[-1] == rows
    torch.testing.assert_close(models.logits(whole, inputs), expected, rtol=0, atol=1e-5)


def test_embeddings_that_were_trained_and_are_tied_stay_tied(folders, tmp_path):
    model = saved(folders["gpt2"], "tokens", tmp_path, modules_to_save=["wte", "lm_head"], target_modules=["c_attn"],
                  ensure_weight_tying=True)
    models.merged(tmp_path / "model", tmp_path / "merged")
    net = models.reload(tmp_path / "merged").net
    assert net.get_input_embeddings().weight is net.get_output_embeddings().weight
    assert torch.equal(net.get_input_embeddings().weight, model.net.get_input_embeddings().weight)


@pytest.mark.parametrize("dtype, bound", [("bf16", 3e-2), ("fp16", 3e-3)])
def test_smaller_numbers(folders, tmp_path, capsys, dtype, bound):
    saved(folders["llama"], "tokens", tmp_path)
    assert call(["merge", str(tmp_path), "--dtype", dtype, "--json"]) == 0
    assert 0 < json.loads(capsys.readouterr().out)["difference"] < bound
    config = json.loads((tmp_path / "merged/config.json").read_text())
    assert config.get("dtype", config.get("torch_dtype")) == {"bf16": "bfloat16", "fp16": "float16"}[dtype]


def test_a_difference_above_the_bound_fails_and_leaves_nothing(folders, tmp_path, capsys):
    saved(folders["llama"], "tokens", tmp_path)
    assert call(["merge", str(tmp_path), "--dtype", "bf16", "--bound", "1e-9"]) == 2
    assert "answers otherwise" in capsys.readouterr().err and not (tmp_path / "merged").exists()
    assert call(["merge", str(tmp_path)]) == 0
    assert call(["merge", str(tmp_path)]) == 2  # never over another
    assert "something already" in capsys.readouterr().err


def test_what_cannot_be_merged_is_told(folders, tmp_path):
    saved(folders["bert"], "labels", tmp_path / "whole", config=False)
    with pytest.raises(UserError, match="whole model already"):
        models.merged(tmp_path / "whole/model", tmp_path / "merged")
    prompt = peft.PromptTuningConfig(num_virtual_tokens=4, task_type="CAUSAL_LM")
    saved(folders["llama"], "tokens", tmp_path / "prompt", config=prompt)
    with pytest.raises(UserError, match="learnt prompt"):
        models.merged(tmp_path / "prompt/model", tmp_path / "merged")
    assert call(["merge", str(tmp_path / "nothing")]) == 2
    assert call(["merge", str(tmp_path)]) == 2


def test_help_is_light():
    import subprocess

    code = ("import sys; from ftp.cli.main import call; call(['merge', '--help']); "
            "assert not {'torch', 'transformers', 'peft'} & set(sys.modules)")
    subprocess.run([sys.executable, "-c", code], check=True, stdout=subprocess.DEVNULL)
