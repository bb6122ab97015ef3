"""`ftp merge`: the adapter of a run in its base's weights, as a whole model."""

from __future__ import annotations

from pathlib import Path
from typing import Literal, get_args

import click

from ftp.cli.trust import changed_base, trust
from ftp.errors import UserError
from ftp.host.terminal import say, say_json

Dtype = Literal["fp32", "bf16", "fp16"]
DTYPES: tuple[Dtype, ...] = get_args(Dtype)


@click.command("merge")
@click.argument("run", type=click.Path(path_type=Path))
@click.option("--out", type=click.Path(path_type=Path), help="Folder of the whole model; default: merged/ in the run's folder.")
@click.option("--dtype", type=click.Choice(DTYPES), default="fp32", show_default=True,
              help="Numbers that the weights are written in.")
@click.option("--bound", type=click.FloatRange(min=0), help="Largest difference of a logit that is allowed, as a share of the "
              "largest logit. [fp32: 1e-4, fp16: 3e-3, bf16: 3e-2]")
@trust
@changed_base
@click.option("--json", "as_json", is_flag=True, help="{run, out, dtype, difference, texts}.")
def command(run: Path, out: Path | None, dtype: Dtype, bound: float | None, trust_remote_code: bool, allow_changed_base: bool,
            as_json: bool) -> None:
    """Merge the adapter of a run into its base: a whole model, which any program that reads Transformers' layout takes, and
    --model.

    RUN is a run's folder, or its model/. What was written is loaded again, and its logits are compared with those of the adapter
    on its base; above --bound it is removed.
    """
    folder = model_of(run)
    out = out or folder.parent / "merged"

    from ftp.host.quiet import quiet_libraries

    quiet_libraries()  # before they are imported
    from ftp.model import merged

    done = merged(folder, out, dtype=dtype, bound=bound, trust_remote_code=trust_remote_code,
                  allow_changed_base=allow_changed_base)
    if as_json:
        say_json({"run": str(run), "out": str(done.folder), "dtype": dtype, "difference": done.difference, "texts": done.texts})
    else:
        say(f"{done.folder}: a whole model in {dtype}; largest difference of a logit from the adapter on its base: "
            f"{done.difference:.2g} of the largest ({done.texts} texts)\nuse it with: --model {done.folder}")


def model_of(run: Path) -> Path:
    """The folder of the model of a run, or that folder itself. Raises `UserError` where there is none."""
    if not run.is_dir():
        raise UserError(f"{run}: there is no such folder", "name the folder of a run", "ftp runs")
    if (run / "ftp.json").is_file():
        return run
    if not (run / "model" / "ftp.json").is_file():
        raise UserError(f"{run} has no model/: it is no run, or one that did not finish",
                        "name the folder of a finished run", "ftp runs")
    return run / "model"
