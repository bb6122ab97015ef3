"""`ftp export`: a run's model for other programs."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from ftp import UserError
from ftp.cli.merge import DTYPES, model_of
from ftp.cli.trust import changed_base, trust
from ftp.host.terminal import say, say_json

if TYPE_CHECKING:
    from ftp_export.converters import Dtype

FORMATS = ("safetensors", "gguf", "onnx")


@click.command("export", short_help="Write a run's model for other programs: safetensors, GGUF, ONNX.")
@click.argument("run", type=click.Path(path_type=Path))
@click.option("--to", "form", type=click.Choice(FORMATS), required=True, help="safetensors: whole weights in "
              "Transformers' layout; gguf: for llama.cpp, by its converter; onnx: by optimum.")
@click.option("--out", type=click.Path(path_type=Path), help="Folder (gguf: file) to write; default: in the run's folder.")
@click.option("--dtype", type=click.Choice(DTYPES), help="Numbers that the weights are written in. [fp32; of gguf bf16]")
@click.option("--bound", type=click.FloatRange(min=0), help="Largest difference of a logit that merging an adapter may make, "
              "as a share of the largest logit.")
@trust
@changed_base
@click.option("--json", "as_json", is_flag=True, help="{run, to, out, dtype, difference}.")
def command(run: Path, form: str, out: Path | None, dtype: Dtype | None, bound: float | None, trust_remote_code: bool,
            allow_changed_base: bool, as_json: bool) -> None:
    """Write a run's model for other programs. An adapter is merged into its base first.

    GGUF is written by llama.cpp's convert_hf_to_gguf.py, found on the PATH or in the folder that LLAMA_CPP names; ONNX by
    optimum's exporter.
    """
    folder = model_of(run)
    out = out or folder.parent / ("gguf/model.gguf" if form == "gguf" else form)
    dtype = dtype or ("bf16" if form == "gguf" else "fp32")

    from ftp_export import converters

    # nobody installs a converter that cannot convert the head; and both are told before anything heavy
    converters.check_head(folder, form)
    converters.converter(form)
    if out.exists() and (out.is_file() or any(out.iterdir())):
        raise UserError(f"{out}: there is something already", "name another place with --out")
    exported = converters.export(folder, form, out, dtype, bound, trust_remote_code, allow_changed_base)
    if as_json:
        say_json({"run": str(run), "to": form, "out": str(exported.out), "dtype": exported.dtype,
                  "difference": exported.difference})
    else:
        say(f"{exported.out}: {form} in {exported.dtype}; largest difference of a logit from the run's model, as whole weights: "
            f"{exported.difference:.2g} of the largest")
