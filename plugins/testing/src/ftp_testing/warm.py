"""Imported by a process before it forks others: it loads once what every command would load, so that a forked command begins
in a tenth of a second.

What is loaded is taken out of the garbage collector's walks: a run collects garbage at its end, and a walk over all objects of
the libraries takes a third of a second.
"""

from __future__ import annotations

import contextlib
import gc
import importlib

MODULES = (
    "torch", "torch.optim", "torch.distributed", "transformers", "datasets", "accelerate", "safetensors.torch",
    "sklearn.linear_model", "peft", "transformers.models.auto", "transformers.models.bert.modeling_bert",
    "ftp.runs.run", "ftp.runs.defaults", "ftp.train.loop", "ftp.model", "ftp.cli.run", "ftp.data.loading", "ftp.losses.labels",
    "ftp.losses.tokens", "ftp.net.heads", "ftp.net.packing", "ftp.metrics", "ftp.report.keep", "ftp.report.page",
)  # fmt: skip
"""As far as they are installed. No plugin: each is imported by the command that names it."""


def load_modules() -> None:
    """Import them all. What is missing is told by the command that needs it."""
    for name in MODULES:
        with contextlib.suppress(ImportError):
            importlib.import_module(name)


def compile_weight_names() -> None:
    """Have Transformers compile the thousand patterns by which it renames weights of old checkpoints; it keeps them."""
    with contextlib.suppress(ImportError):
        from transformers.conversion_mapping import get_checkpoint_conversion_mapping

        get_checkpoint_conversion_mapping("bert")


load_modules()
compile_weight_names()
gc.collect()
gc.freeze()
