"""The layout of sentence-transformers: a few small files beside a Transformers model, so that `SentenceTransformer(folder)` loads
it and gives the same vectors. Imports nothing heavy, and needs no sentence-transformers."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

MODES: Mapping[str, str] = {"mean": "mean", "cls": "cls", "last": "lasttoken"}
"""How sentence-transformers calls our poolings."""


def write(folder: Path, *, size: int, pooling: str, limit: int | None, prompts: Mapping[str, str]) -> None:
    """Write what stands beside the network's own files.

    Args:
        size: numbers in a hidden state.
        limit: tokens of a text at most; None for as many as the network takes.
        prompts: name -> text that is put in front of texts of that kind.
    """
    modules = [
        _module(0, "", "sentence_transformers.models.Transformer"),
        _module(1, "1_Pooling", "sentence_transformers.models.Pooling"),
        _module(2, "2_Normalize", "sentence_transformers.models.Normalize"),
    ]
    _write(folder / "modules.json", modules)
    _write(folder / "sentence_bert_config.json", {"max_seq_length": limit, "do_lower_case": False})
    _write(folder / "1_Pooling" / "config.json", _pooling(size, MODES[pooling]))
    _write(folder / "config_sentence_transformers.json",
           {"prompts": dict(prompts), "default_prompt_name": None, "similarity_fn_name": "cosine"})


def _module(index: int, path: str, name: str) -> dict[str, object]:
    return {"idx": index, "name": str(index), "path": path, "type": name}


def _pooling(size: int, mode: str) -> dict[str, object]:
    """Pooling as releases before 5 read it, which newer ones read too."""
    flags = {"cls": "cls_token", "mean": "mean_tokens", "lasttoken": "lasttoken"}
    return {"word_embedding_dimension": size, **{f"pooling_mode_{flag}": mode == name for name, flag in flags.items()}}


def _write(file: Path, content: Mapping[str, object] | Sequence[object]) -> None:
    file.parent.mkdir(exist_ok=True)
    file.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
