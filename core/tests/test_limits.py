"""How many tokens fit: the answer is held to what networks of each family read."""

from __future__ import annotations

from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from peft import LoraConfig, get_peft_model
from transformers import AutoConfig, AutoModel, PreTrainedModel

import ftp.model as models
from ftp.losses.common import LONGEST_BY_DEFAULT, row_limit
from ftp.net.packing import can_pack
from ftp.net.positions import tokens_that_fit
from ftp.types import Model

POSITIONS = 24
SMALL = {"vocab_size": 30, "hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16,
         "max_position_embeddings": POSITIONS, "pad_token_id": 1}  # fmt: skip
BEHIND_PADDING = {
    "roberta": {}, "xlm-roberta": {}, "xlm-roberta-xl": {}, "camembert": {}, "roberta-prelayernorm": {}, "mpnet": {},
    "data2vec-text": {}, "ibert": {}, "luke": {"entity_vocab_size": 4}, "markuplm": {}, "longformer": {"attention_window": [4]},
    "esm": {"position_embedding_type": "absolute"},
}  # fmt: skip
FROM_ZERO = {"bert": {}, "electra": {}, "nystromformer": {}, "gpt2": {"n_embd": 16, "n_layer": 1, "n_head": 2}}


def network(kind: str, **options: Any) -> PreTrainedModel:
    net: PreTrainedModel = AutoModel.from_config(AutoConfig.for_model(kind, **{**SMALL, **options})).eval()
    return net


def reads(net: PreTrainedModel, tokens: int) -> bool:
    """Whether the network gives numbers for a row of so many tokens."""
    ids = torch.full((1, tokens), 7)
    try:
        with torch.no_grad():
            states = net(input_ids=ids, attention_mask=torch.ones_like(ids))[0]
    except (IndexError, RuntimeError):  # no position for the last token
        return False
    return bool(torch.isfinite(states).all())


def a_tokenizer(longest: int = 10**30) -> Any:
    return SimpleNamespace(model_max_length=longest)


@pytest.mark.parametrize("kind", [*BEHIND_PADDING, *FROM_ZERO])
def test_as_many_tokens_fit_as_a_network_reads(kind: str) -> None:
    net = network(kind, **{**BEHIND_PADDING, **FROM_ZERO}[kind])
    fits = tokens_that_fit(net)
    assert fits == POSITIONS - 2 * (kind in BEHIND_PADDING)
    assert reads(net, fits) and not reads(net, fits + 1)


def test_an_adapter_around_the_table_of_positions_hides_nothing() -> None:
    adapted = get_peft_model(network("roberta"), LoraConfig(target_modules=["position_embeddings"]))
    assert tokens_that_fit(adapted) == POSITIONS - 2


def test_packing_is_measured_with_rows_that_fit() -> None:
    tokenizer: Any = SimpleNamespace(all_special_ids=(0, 1, 2), pad_token_id=1)
    assert can_pack(network("roberta", max_position_embeddings=14), tokenizer) == (True, "")


def test_no_limit_where_positions_are_relative() -> None:
    net = AutoModel.from_config(AutoConfig.for_model("t5", vocab_size=30, num_layers=1, d_model=16, d_kv=8, d_ff=16, num_heads=2))
    assert tokens_that_fit(net) is None
    assert models.capacity(net, a_tokenizer()) is None
    assert models.capacity(net, a_tokenizer(12)) == 12
    assert models.capacity(net, None) is None


def row_limits(net: PreTrainedModel, tokenizer: Any) -> Iterator[int]:
    """The limit of a row without `--max-length`, with a short one, and with one that is too long."""
    model = Model(net, tokenizer, "labels")
    for max_length in (None, 5, 10**6):
        run: Any = SimpleNamespace(settings=SimpleNamespace(max_length=max_length))
        yield row_limit(run, model)


def test_the_limit_of_a_row_is_what_fits_or_what_is_asked() -> None:
    net = network("mpnet")
    assert list(row_limits(net, a_tokenizer())) == [POSITIONS - 2, 5, POSITIONS - 2]
    assert list(row_limits(net, a_tokenizer(9))) == [9, 5, 9]
    net.config.max_position_embeddings = 10**7
    assert list(row_limits(net, a_tokenizer())) == [LONGEST_BY_DEFAULT, 5, 10**6]
