"""A run's model in the formats of other programs. Converters are those of the programs themselves, which may live in an
environment of their own (optimum wants an older Transformers than this project); imports nothing heavy."""

from __future__ import annotations

import json
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

from ftp import UserError, heads

SCRIPTS = ("convert_hf_to_gguf.py", "convert-hf-to-gguf.py", "convert_hf_to_gguf")
OUTTYPES = {"fp32": "f32", "bf16": "bf16", "fp16": "f16"}


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
                            "nor in the folder that LLAMA_CPP names", "get it, and say where it is",
                            "git clone --depth 1 https://github.com/ggml-org/llama.cpp && export LLAMA_CPP=$PWD/llama.cpp && "
                            "pip install sentencepiece")
        return [sys.executable, found] if found.endswith(".py") else [found]
    if form != "onnx":
        return []
    if all(find_spec(name) for name in ("optimum", "optimum.exporters", "optimum.exporters.onnx")):
        return [sys.executable, "-P", "-m", "optimum.exporters.onnx"]
    if (found := shutil.which("optimum-cli")) is not None:
        return [found, "export", "onnx"]
    raise UserError("export --to onnx: optimum's ONNX exporter is neither installed here nor on the PATH (optimum-cli)",
                    "it wants another Transformers than ftp: give it an environment of its own",
                    'python -m venv optimum && optimum/bin/pip install "optimum-onnx[onnxruntime]" && '
                    "export PATH=$PATH:$PWD/optimum/bin")


def export(
    folder: Path, form: str, out: Path, dtype: Any, bound: float | None = None, trust_remote_code: bool = False,
    allow_changed_base: bool = False,
) -> Exported:
    """Write the model in `folder` to `out`: whole weights (`safetensors`), or what a converter makes of them (`gguf`, `onnx`)."""
    command, how = tools(form), {"dtype": dtype, "bound": bound, "trust_remote_code": trust_remote_code,
                                 "allow_changed_base": allow_changed_base}
    from ftp.host.quiet import quiet_libraries

    quiet_libraries()  # before they are imported
    from ftp.model import export_whole

    if form == "safetensors":
        return Exported(out, dtype, export_whole(folder, out, **how).difference)
    if out.exists() and (out.is_file() or any(out.iterdir())):
        raise UserError(f"{out}: there is something already", "name another place with --out")
    made = not out.parent.exists()
    out.parent.mkdir(parents=True, exist_ok=True)
    try:
        with tempfile.TemporaryDirectory(dir=out.parent, prefix=".whole-") as scratch:
            whole = Path(scratch, folder.resolve().parent.name or "model")
            difference = export_whole(folder, whole, **how).difference
            to = _gguf if form == "gguf" else _onnx
            to(command, whole, out.resolve(), dtype, trust_remote_code)
    finally:
        if made and not any(out.parent.iterdir()):
            out.parent.rmdir()
    return Exported(out, dtype, difference)


def _gguf(command: Sequence[str], whole: Path, out: Path, dtype: str, trust_remote_code: bool) -> None:
    head = _head(whole)
    if not heads.get(head).writes_text:
        raise UserError(f"export --to gguf: llama.cpp runs networks that write text; this one ends in the head '{head}'",
                        "export it --to onnx or --to safetensors")
    _done("convert_hf_to_gguf", [*command, str(whole), "--outfile", str(out), "--outtype", OUTTYPES[dtype]], out)


def _onnx(command: Sequence[str], whole: Path, out: Path, dtype: str, trust_remote_code: bool) -> None:
    trust = ["--trust-remote-code"] if trust_remote_code else []
    _done("optimum", [*command, "--model", str(whole), "--task", _task(whole), *trust, str(out)], out)
    for one in (*whole.glob("tokenizer*"), *whole.glob("chat_template*")):  # which an older Transformers may have left out
        if not (out / one.name).exists():
            shutil.copy2(one, out)


def _task(folder: Path) -> str:
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    head = heads.get(_head(folder))
    task = head.export_task_of(bool(config.get("is_encoder_decoder")))
    if task is None:
        raise UserError(f"export --to onnx: there is no task of optimum for the head '{head.name}'",
                        "export it --to safetensors")
    return task


def _head(folder: Path) -> str:
    return str(json.loads((folder / "ftp.json").read_text(encoding="utf-8"))["head"])


def _done(name: str, command: Sequence[str], out: Path) -> None:
    """Run a converter. Raises `UserError` with its last words where it fails, or writes nothing."""
    environment = {**os.environ, "HF_HUB_OFFLINE": "1"}
    done = subprocess.run(list(command), capture_output=True, text=True, env=environment)
    if done.returncode or not out.exists():
        told = "\n    ".join((done.stderr or done.stdout).strip().splitlines()[-6:])
        shutil.rmtree(out, ignore_errors=True) if out.is_dir() else out.unlink(missing_ok=True)
        raise UserError(f"{name} could not convert the model (status {done.returncode}):\n    {told}",
                        "it may not know this architecture")
