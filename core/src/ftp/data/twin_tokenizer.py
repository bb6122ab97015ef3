"""A twin of a fast tokenizer: the same rules and ids, but some of its added tokens have other names. No torch here."""

from __future__ import annotations

import copy
import json
import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from ftp.errors import UserError

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

NAME_LETTERS = 0x800
NAMES: tuple[int, ...] = (*range(0xF0000, 0xFF800, NAME_LETTERS), *range(0x100000, 0x10F800, NAME_LETTERS))
"""Where the private-use characters of a twin's names begin; the first that the text has none of is taken."""


def unused_names(text: str) -> int:
    """The first of `NAMES` whose characters the text has none of."""
    for first in NAMES:
        if not re.search(f"[{chr(first)}-{chr(first + NAME_LETTERS - 1)}]", text):
            return first
    raise UserError(f"the text that begins {text[:60]!r} spells control tokens and has private-use characters of every kind",
                    "leave it out, or take control tokens as they are", "--no-split-special-tokens")


def renamed(tokenizer: PreTrainedTokenizerBase, names: Mapping[str, str]) -> PreTrainedTokenizerBase:
    """A fast tokenizer that differs from `tokenizer` in nothing but the names of some added tokens, which it finds by their new
    names alone. Ids stay the same.

    Args:
        names: old name -> new one.

    Raises:
        UserError: it still finds a token by its old name.
    """
    from tokenizers import Tokenizer

    backend = tokenizer.backend_tokenizer
    state = json.loads(backend.to_str())
    for token in state["added_tokens"]:
        if token["content"] not in names:
            continue
        token["content"] = names[token["content"]]
        # BERT's normalizer drops private-use characters, so there the name has to be found before it
        kept = backend.normalizer is None or token["content"] in backend.normalizer.normalize_str(token["content"])
        token["normalized"] = token["normalized"] and kept
    model = state["model"]
    if isinstance(model["vocab"], dict):  # BPE, WordPiece, WordLevel: piece -> id
        model["vocab"] = {names.get(piece, piece): number for piece, number in model["vocab"].items()}
    else:  # Unigram: (piece, score) by id
        model["vocab"] = [[names.get(piece, piece), score] for piece, score in model["vocab"]]
    if model.get("unk_token") in names:
        model["unk_token"] = names[model["unk_token"]]
    if "merges" in model:
        model["merges"] = [merge for merge in model["merges"] if not _makes(merge, names)]
    twin = copy.copy(tokenizer)
    twin._tokenizer = Tokenizer.from_str(json.dumps(state))
    for token, name in names.items():
        if twin.backend_tokenizer.token_to_id(name) != backend.token_to_id(token):
            raise UserError(f"the tokenizer's control token {token!r} cannot be told from the same letters in a text",
                            "take it as it is", "--no-split-special-tokens")
    return twin


def _makes(merge: Sequence[str] | str, names: Mapping[str, str]) -> bool:
    """Whether a merge of BPE makes one of the tokens out of letters, or goes on from it."""
    left, right = merge.split(" ", 1) if isinstance(merge, str) else merge
    return left in names or right in names or left + right in names
