"""Exporting: the same answers as whole weights, and a clear word where a converter is missing or cannot."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from ftp import model as models
from ftp.cli.main import call
from ftp_export import converters
from ftp_testing.adapted import answers, saved
from ftp_testing.models import TEXTS, tiny

peft = pytest.importorskip("peft")


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("models")
    return {kind: tiny(kind, folder / kind) for kind in ("bert", "gpt2", "llama")}


def test_export_safetensors(folders, tmp_path, capsys):
    model = saved(folders["llama"], "tokens", tmp_path)
    assert call(["export", str(tmp_path), "--to", "safetensors", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["difference"] < 1e-5
    expected = models.logits(model.net, models.probe(model, TEXTS))
    torch.testing.assert_close(answers(tmp_path / "safetensors", model), expected, rtol=0, atol=1e-5)
    whole = saved(folders["bert"], "labels", tmp_path / "whole", config=False)
    assert call(["export", str(tmp_path / "whole"), "--to", "safetensors", "--dtype", "bf16"]) == 0
    assert answers(tmp_path / "whole/safetensors", whole).shape[-1] == 3


def test_export_asks_for_converters_that_are_not_there(folders, tmp_path, capsys, monkeypatch):
    saved(folders["llama"], "tokens", tmp_path)
    monkeypatch.setenv("PATH", "")
    monkeypatch.delenv("LLAMA_CPP", raising=False)
    monkeypatch.setattr(converters, "find_spec", lambda name: None)
    assert call(["export", str(tmp_path), "--to", "gguf"]) == 2
    assert "git clone" in capsys.readouterr().err
    assert call(["export", str(tmp_path), "--to", "onnx"]) == 2
    assert "python -m venv optimum" in capsys.readouterr().err  # beside ftp it would bring an older Transformers


def test_export_onnx_by_optimum_in_an_environment_of_its_own(folders, tmp_path, capsys, monkeypatch):
    """A stand-in for `optimum-cli` on the PATH. What the real one (optimum-onnx 0.1.0) leaves out is put beside the network."""
    script = tmp_path / "bin/optimum-cli"
    script.parent.mkdir()
    script.write_text(f"#!{sys.executable}\nimport sys, pathlib\n"
                      "assert sys.argv[1:4] == ['export', 'onnx', '--model'], sys.argv\n"
                      "assert pathlib.Path(sys.argv[4], 'config.json').exists()\n"
                      "if sys.argv[6] != 'text-generation': sys.exit('no')\n"
                      "pathlib.Path(sys.argv[-1]).mkdir()\npathlib.Path(sys.argv[-1], 'model.onnx').write_text('ONNX')\n")
    script.chmod(0o755)
    monkeypatch.setenv("PATH", f"{script.parent}:{os.environ['PATH']}")
    monkeypatch.setattr(converters, "find_spec", lambda name: None)
    saved(folders["llama"], "tokens", tmp_path / "run")
    assert call(["export", str(tmp_path / "run"), "--to", "onnx"]) == 0
    assert {"model.onnx", "tokenizer.json", "tokenizer_config.json"} <= {path.name for path in (tmp_path / "run/onnx").iterdir()}
    saved(folders["bert"], "labels", tmp_path / "classes")
    capsys.readouterr()
    assert call(["export", str(tmp_path / "classes"), "--to", "onnx", "--out", str(tmp_path / "new/onnx")]) == 2
    assert "optimum could not convert the model (status 1)" in capsys.readouterr().err and not (tmp_path / "new").exists()


def test_export_gguf_by_an_installed_converter(folders, tmp_path, capsys, monkeypatch):
    """A stand-in for llama.cpp's script, which is asked as that one is: FOLDER --outfile FILE --outtype TYPE."""
    script = tmp_path / "llama.cpp/convert_hf_to_gguf.py"
    script.parent.mkdir()
    script.write_text("import sys, json, pathlib\nfolder, _, out, _, kind = sys.argv[1:]\n"
                      "assert json.loads(pathlib.Path(folder, 'config.json').read_text())['model_type'] == 'llama', 'no llama'\n"
                      "assert pathlib.Path(folder, 'model.safetensors').exists()\npathlib.Path(out).write_text('GGUF ' + kind)\n")
    monkeypatch.setenv("LLAMA_CPP", str(script.parent))
    saved(folders["llama"], "tokens", tmp_path / "run")
    assert call(["export", str(tmp_path / "run"), "--to", "gguf"]) == 0
    assert (tmp_path / "run/gguf/model.gguf").read_text() == "GGUF bf16"
    assert sorted(path.name for path in (tmp_path / "run/gguf").iterdir()) == ["model.gguf"]
    saved(folders["gpt2"], "tokens", tmp_path / "other")
    capsys.readouterr()
    assert call(["export", str(tmp_path / "other"), "--to", "gguf"]) == 2
    assert "no llama" in capsys.readouterr().err and not (tmp_path / "other/gguf/model.gguf").exists()
    saved(folders["bert"], "labels", tmp_path / "classes")
    assert call(["export", str(tmp_path / "classes"), "--to", "gguf"]) == 2
    assert "networks that write text" in capsys.readouterr().err and not (tmp_path / "classes/gguf").exists()


def test_help_is_light():
    code = ("import sys; from ftp.cli.main import call; call(['export', '--help']); "
            "assert not {'torch', 'transformers', 'peft'} & set(sys.modules)")
    subprocess.run([sys.executable, "-c", code], check=True, stdout=subprocess.DEVNULL)
