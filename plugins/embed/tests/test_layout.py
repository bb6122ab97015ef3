"""The folder is one that sentence-transformers loads, and it gives the same vectors."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch.nn.functional import normalize
from transformers import AutoModel, AutoTokenizer

from ftp.net import layout as net_layout
from ftp_embed import layout, vectors
from ftp_testing.models import TEXTS, tiny

pytest.importorskip("sentence_transformers")


@pytest.mark.parametrize(("kind", "pooling"), [("bert", "mean"), ("bert", "cls"), ("gpt2", "last")])
def test_sentence_transformers_gives_the_same_vectors(tmp_path: Path, kind: str, pooling: vectors.Pooling) -> None:
    from sentence_transformers import SentenceTransformer

    base = tiny(kind, tmp_path / "base")  # type: ignore[arg-type]
    net, tokenizer = AutoModel.from_pretrained(base, dtype=torch.float32).eval(), AutoTokenizer.from_pretrained(base)
    if tokenizer.pad_token is None:
        tokenizer.pad_token = tokenizer.eos_token
    folder = tmp_path / "model"
    net.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    limit = 9  # tokens, which is less than the texts have
    layout.write(folder, size=32, pooling=pooling, limit=limit, prompts={"query": "Q: ", "document": ""})

    theirs = SentenceTransformer(str(folder), device="cpu")
    for prompt, encode in (("", theirs.encode), ("Q: ", theirs.encode_query), ("", theirs.encode_document)):
        found = encode(list(TEXTS), convert_to_tensor=True)
        ids = tokenizer([prompt + text for text in TEXTS], truncation=True, max_length=limit)["input_ids"]
        with torch.no_grad():
            mine = vectors.embed(net, [net_layout.lay(ids, packed=False, pad_id=0)], pooling)
        torch.testing.assert_close(found, normalize(mine, dim=-1), atol=1e-5, rtol=0)
    assert theirs.similarity_fn_name == "cosine"
