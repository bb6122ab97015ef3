"""The libraries below ftp are kept from talking: their advice is for programmers, and would stand
among ftp's own words.

Errors still come through, and with `--debug` (FTP_DEBUG=1) or Python's own `-W` everything does.
"""

from __future__ import annotations

import io
import logging
import os
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout

LOGGERS = {
    "torchao": "kernels of devices that are not there; peft imports it where it is installed",
    "bitsandbytes": "likewise",
    "kernels": "likewise",
    "torch.utils._pytree": "a deprecation in torchao",
    "torch.distributed": "hints about devices and process groups",
    "accelerate": "hints about kernels of the system and devices",
    "peft": "hints about targets and saved embeddings, which ftp checks itself",
    "huggingface_hub": "hints about tokens and caches",
    "torch._inductor": "hints about TF32 and compilation",
    "torch._dynamo": "likewise",
    "matplotlib": "folders of the user that it cannot write; it goes on without them",
}
"""Logger -> what it would say."""
WARNING_MODULES = (
    "torch",
    "torchao",
    "transformers",
    "tokenizers",
    "datasets",
    "peft",
    "accelerate",
    "huggingface_hub",
    "safetensors",
    "bitsandbytes",
    "numpy",
    "pyarrow",
    "sklearn",
    "scipy",
    "pandas",
    "matplotlib",
)
ENVIRONMENT = {
    "TRANSFORMERS_VERBOSITY": "error",
    "TRANSFORMERS_NO_ADVISORY_WARNINGS": "1",
    "DATASETS_VERBOSITY": "error",
    "BITSANDBYTES_NOWELCOME": "1",
    "TORCH_CPP_LOG_LEVEL": "ERROR",
}
"""Read by the libraries when they are imported, here and in the processes that ftp starts; what the
user set counts more."""


def before_imports() -> None:
    """Call it before anything heavy is imported. Imports nothing heavy itself."""
    if os.environ.get("FTP_DEBUG", "") not in ("", "0"):
        return
    for name, value in ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    for name in LOGGERS:
        logging.getLogger(name).setLevel(logging.ERROR)
    if sys.warnoptions:
        return
    for module in WARNING_MODULES:
        warnings.filterwarnings("ignore", module=rf"{module}(\.|$)")
    # torch gives these as if the line that asked for TF32 were at fault
    warnings.filterwarnings("ignore", message=r"(?is).*\b(TF32|TensorFloat32|fp32_precision)\b")


@contextmanager
def without_progress_bars() -> Iterator[None]:
    """No progress bars of `datasets` meanwhile: core shows its own."""
    from datasets import are_progress_bars_disabled, disable_progress_bars, enable_progress_bars

    off = are_progress_bars_disabled()
    disable_progress_bars()
    try:
        yield
    finally:
        if not off:
            enable_progress_bars()


def quiet_libraries() -> None:
    """Progress bars and advice of the libraries below, which would tear the display apart."""
    before_imports()
    import datasets
    import transformers

    datasets.disable_progress_bars()
    transformers.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()


@contextmanager
def quiet_import() -> Iterator[None]:
    """Drop what Python code prints, as an import must not write between the lines of a command."""
    with redirect_stdout(io.StringIO()), redirect_stderr(io.StringIO()):
        yield
