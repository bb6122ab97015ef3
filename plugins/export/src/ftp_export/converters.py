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
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Literal

from ftp import UserError, heads

Dtype = Literal["fp32", "bf16", "fp16"]
"""Numbers that weights are written in."""
SCRIPTS = ("convert_hf_to_gguf.py", "convert-hf-to-gguf.py", "convert_hf_to_gguf")
OUTTYPES = {"fp32": "f32", "bf16": "bf16", "fp16": "f16"}


@dataclass(frozen=True)
class Exported:
    """What was written. `difference`: of the whole weights that it was made from, from the run's own model (a share of the
    largest logit)."""

    out: Path
    dtype: str
    difference: float


def check_head(folder: Path, form: str) -> None:
    """Raise `UserError` where programs that read a format do not know the head of a saved model."""
    head = heads.get(_head(folder))
    has_task = head.export_task is not None or head.seq2seq_export_task is not None
    if form == "gguf" and not head.writes_text:
        fix = "export it --to onnx or --to safetensors" if has_task else "export it --to safetensors"
        raise UserError(f"export --to gguf: llama.cpp runs networks that write text; this one ends in the head '{head.name}'",
                        fix)
    if form == "onnx" and not has_task:
        raise _no_task(head)


def converter(form: str) -> Sequence[str]:
    """The command that converts to a format; empty where none is needed. Raises `UserError` with what to install."""
    if form == "gguf":
        script = _gguf_script()
        return [sys.executable, script] if script.endswith(".py") else [script]
    if form == "onnx":
        return _onnx_exporter()
    return []


def _gguf_script() -> str:
    """llama.cpp's converter: in its folder, else on the PATH."""
    folder = os.environ.get("LLAMA_CPP")
    for name in SCRIPTS:
        if folder and Path(folder, name).is_file():
            return str(Path(folder, name))
    for name in SCRIPTS:
        script = shutil.which(name)
        if script is not None:
            return script
    raise UserError("export --to gguf: llama.cpp's converter (convert_hf_to_gguf.py) is not on the PATH, "
                    "nor in the folder that LLAMA_CPP names", "get it, and say where it is",
                    "git clone --depth 1 https://github.com/ggml-org/llama.cpp && export LLAMA_CPP=$PWD/llama.cpp && "
                    "ftp install --exact sentencepiece")


def _onnx_exporter() -> Sequence[str]:
    """Optimum's exporter: in this environment, else the command of another."""
    if all(find_spec(name) for name in ("optimum", "optimum.exporters", "optimum.exporters.onnx")):
        return [sys.executable, "-P", "-m", "optimum.exporters.onnx"]
    command = shutil.which("optimum-cli")
    if command is not None:
        return [command, "export", "onnx"]
    raise UserError("export --to onnx: optimum's ONNX exporter is neither installed here nor on the PATH (optimum-cli)",
                    "it wants another Transformers than ftp: give it an environment of its own",
                    'python -m venv optimum && optimum/bin/pip install "optimum-onnx[onnxruntime]" && '
                    "export PATH=$PATH:$PWD/optimum/bin")


def export(
    folder: Path, form: str, out: Path, dtype: Dtype, bound: float | None = None, trust_remote_code: bool = False,
    allow_changed_base: bool = False,
) -> Exported:
    """Write the model in `folder` to `out`: whole weights (`safetensors`), or what a converter makes of them (`gguf`, `onnx`)."""
    check_head(folder, form)
    command = converter(form)
    from ftp.host.quiet import quiet_libraries

    quiet_libraries()  # before they are imported
    from ftp.model import export_whole

    whole_weights = partial(export_whole, folder, dtype=dtype, bound=bound, trust_remote_code=trust_remote_code,
                            allow_changed_base=allow_changed_base)
    if form == "safetensors":
        return Exported(out, dtype, whole_weights(out).difference)
    if out.exists() and (out.is_file() or any(out.iterdir())):
        raise UserError(f"{out}: there is something already", "name another place with --out")
    # a folder that a failed export made is removed again
    is_new_folder = not out.parent.exists()
    out.parent.mkdir(parents=True, exist_ok=True)
    try:
        with tempfile.TemporaryDirectory(dir=out.parent, prefix=".whole-") as scratch:
            whole = Path(scratch, folder.resolve().parent.name or "model")
            difference = whole_weights(whole).difference
            if form == "gguf":
                _write_gguf(command, whole, out.resolve(), dtype)
            else:
                _write_onnx(command, whole, out.resolve(), trust_remote_code)
    finally:
        if is_new_folder and not any(out.parent.iterdir()):
            out.parent.rmdir()
    return Exported(out, dtype, difference)


def _write_gguf(command: Sequence[str], whole: Path, out: Path, dtype: Dtype) -> None:
    _convert("convert_hf_to_gguf", [*command, str(whole), "--outfile", str(out), "--outtype", OUTTYPES[dtype]], out)


def _write_onnx(command: Sequence[str], whole: Path, out: Path, trust_remote_code: bool) -> None:
    trust = ["--trust-remote-code"] if trust_remote_code else []
    _convert("optimum", [*command, "--model", str(whole), "--task", _task(whole), *trust, str(out)], out)
    for file in (*whole.glob("tokenizer*"), *whole.glob("chat_template*")):  # which an older Transformers may have left out
        if not (out / file.name).exists():
            shutil.copy2(file, out)


def _task(folder: Path) -> str:
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    head = heads.get(_head(folder))
    task = head.export_task_of(bool(config.get("is_encoder_decoder")))
    if task is None:
        raise _no_task(head)
    return task


def _no_task(head: heads.HeadSpec) -> UserError:
    return UserError(f"export --to onnx: there is no task of optimum for the head '{head.name}'", "export it --to safetensors")


def _head(folder: Path) -> str:
    return str(json.loads((folder / "ftp.json").read_text(encoding="utf-8"))["head"])


def _convert(name: str, command: Sequence[str], out: Path) -> None:
    """Run a converter. Raises `UserError` with its last words where it fails, or writes nothing."""
    # a converter finds all it needs in the folder
    environment = {**os.environ, "HF_HUB_OFFLINE": "1"}
    done = subprocess.run(list(command), capture_output=True, text=True, env=environment)
    if done.returncode or not out.exists():
        last_lines = (done.stderr or done.stdout).strip().splitlines()[-6:]
        # half a file is worse than none
        if out.is_dir():
            shutil.rmtree(out, ignore_errors=True)
        else:
            out.unlink(missing_ok=True)
        raise UserError("\n    ".join([f"{name} could not convert the model (status {done.returncode}):", *last_lines]),
                        "it may not know this architecture")
