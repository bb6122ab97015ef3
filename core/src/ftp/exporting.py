"""A run's model in the formats of other programs. Converters are those of the programs themselves; imports nothing heavy."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from ftp.errors import UserError

SCRIPTS = ("convert_hf_to_gguf.py", "convert-hf-to-gguf.py", "convert_hf_to_gguf")
OUTTYPES = {"fp32": "f32", "bf16": "bf16", "fp16": "f16"}
TASKS = {"labels": "text-classification", "score": "text-classification", "tags": "token-classification",
         "span": "question-answering", "mask": "fill-mask", "tokens": "text-generation"}
"""Optimum's name of a head."""


@dataclass(frozen=True)
class Exported:
    """What was written. `difference`: of the whole weights that it was made from, from the run's own model (a share of the
    largest logit)."""

    out: Path
    dtype: str
    difference: float


def tools(form: str) -> Sequence[str]:
    """The command that converts to a format; empty where none is needed. Raises `UserError` with what to install."""
    if form == "gguf":
        places = [Path(os.environ["LLAMA_CPP"], name) for name in SCRIPTS] if os.environ.get("LLAMA_CPP") else []
        found = next((str(one) for one in places if one.is_file()), None) or next(filter(None, map(shutil.which, SCRIPTS)), None)
        if found is None:
            raise UserError("export --to gguf: llama.cpp's converter (convert_hf_to_gguf.py) is not on the PATH, "
                            "nor in the folder that LLAMA_CPP names", "get it, install what it needs, and say where it is",
                            "git clone --depth 1 https://github.com/ggml-org/llama.cpp && export LLAMA_CPP=$PWD/llama.cpp && "
                            "pip install -r $LLAMA_CPP/requirements/requirements-convert_hf_to_gguf.txt")
        return [sys.executable, found] if found.endswith(".py") else [found]
    if form == "onnx" and (find_spec("optimum") is None or find_spec("optimum.exporters") is None
                           or find_spec("optimum.exporters.onnx") is None):
        raise UserError("export --to onnx: optimum's ONNX exporter is not installed", "",
                        'pip install "optimum-onnx[onnxruntime]"')
    return [sys.executable, "-m", "optimum.exporters.onnx"] if form == "onnx" else []


def export(
    folder: Path, form: str, out: Path, dtype: Any, bound: float | None = None, trust_remote_code: bool = False
) -> Exported:
    """Write the model in `folder` to `out`: whole weights (`safetensors`), or what a converter makes of them (`gguf`, `onnx`)."""
    command, how = tools(form), {"dtype": dtype, "bound": bound, "trust_remote_code": trust_remote_code}
    from ftp.app import quiet_libraries
    from ftp.model import export_whole

    quiet_libraries()
    if form == "safetensors":
        return Exported(out, dtype, export_whole(folder, out, **how).difference)
    out.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=out.parent, prefix=".whole-") as scratch:
        whole = Path(scratch, folder.resolve().parent.name or "model")
        difference = export_whole(folder, whole, **how).difference
        facts = _head(whole)
        if form == "gguf":
            if facts != "tokens":
                raise UserError(f"export --to gguf: llama.cpp runs networks that write text; this one ends in the head '{facts}'",
                                "export it --to onnx or --to safetensors")
            _done([*command, str(whole), "--outfile", str(out.resolve()), "--outtype", OUTTYPES[dtype]], out)
        else:
            trust = ["--trust-remote-code"] if trust_remote_code else []
            _done([*command, "--model", str(whole), "--task", TASKS[facts], *trust, str(out.resolve())], out)
    return Exported(out, dtype, difference)


def _head(folder: Path) -> str:
    import json

    return str(json.loads((folder / "ftp.json").read_text(encoding="utf-8"))["head"])


def _done(command: Sequence[str], out: Path) -> None:
    """Run a converter. Raises `UserError` with its last words where it fails, or writes nothing."""
    environment = {**os.environ, "HF_HUB_OFFLINE": "1"}
    done = subprocess.run(list(command), capture_output=True, text=True, env=environment)
    if done.returncode or not out.exists():
        told = "\n    ".join((done.stderr or done.stdout).strip().splitlines()[-6:])
        for left in (out,):
            shutil.rmtree(left, ignore_errors=True) if left.is_dir() else left.unlink(missing_ok=True)
        raise UserError(f"{Path(command[1] if len(command) > 1 else command[0]).name} could not convert the model "
                        f"(status {done.returncode}):\n    {told}", "it may not know this architecture")
