"""The noise: as Transformers draws it where nothing is padded, as the paper scales it where rows are padded or packed."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from ftp_neftune import Neftune, listen

from ftp import UserError
from ftp import model as models
from ftp.net import heads, layout, packing
from ftp_testing import conformance
from ftp_testing.models import Kind, tiny

test_contract = conformance("neftune")

ALPHA, SIZE = 5.0, 32
ROWS = [[7 + n % 50 for n in range(length)] for length in (40, 10, 25)]


@pytest.fixture
def network(tmp_path: Path) -> Callable[..., tuple[Any, list[torch.Tensor]]]:
    """A tiny network in training, and the outputs of its embeddings; `plain`: without the noise of this package."""

    def make(kind: Kind = "llama", plain: bool = False) -> tuple[Any, list[torch.Tensor]]:
        net = models.load(models.find(str(tiny(kind, tmp_path / kind)), "tokens"), "tokens").net
        if not plain:
            listen(net, ALPHA)
        seen: list[torch.Tensor] = []
        net.get_input_embeddings().register_forward_hook(lambda module, inputs, out: seen.append(out.detach()))
        return net.train(), seen

    return make


def noise(net: Any, seen: list[torch.Tensor], inputs: Any) -> torch.Tensor:
    """[rows, tokens, size] what was added to the embeddings in one pass."""
    seen.clear()
    torch.manual_seed(0)
    heads.hidden(net, inputs)
    return seen[0] - net.get_input_embeddings().weight[inputs["input_ids"]].detach()


def test_it_is_what_transformers_adds_where_nothing_is_padded(network: Any) -> None:
    from transformers.integrations.neftune import neftune_post_forward_hook

    inputs = layout.lay([ROWS[0], ROWS[0][::-1]], packed=False, pad_id=0)
    ours = noise(*network(), inputs)
    net, seen = network(plain=True)
    embeddings = net.get_input_embeddings()
    embeddings.neftune_noise_alpha = ALPHA
    embeddings._forward_hooks.clear()
    embeddings.register_forward_hook(neftune_post_forward_hook)
    embeddings.register_forward_hook(lambda module, inputs, out: seen.append(out.detach()))
    theirs = noise(net, seen, inputs)
    assert theirs.abs().max() > 0.1
    torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("side", ["left", "right", "packed"])
def test_each_row_has_the_noise_of_its_own_length(network: Any, side: str) -> None:
    net, seen = network()
    assert packing.can_pack(net, None)[0]
    packed = side == "packed"
    inputs = layout.lay(ROWS, packed=packed, pad_id=0, padding_side="left" if packed else side)
    added = noise(net, seen, inputs)
    rows = layout.rows(inputs)
    real = layout.real(inputs, added)
    for number, row in enumerate(ROWS):
        bound = ALPHA / (len(row) * SIZE) ** 0.5
        mine = real[rows == number]
        assert mine.shape == (len(row), SIZE) and 0.95 * bound < float(mine.abs().max()) <= bound * 1.0001
        assert float(mine.square().mean()) == pytest.approx(bound**2 / 3, rel=0.15)  # the variance of an even draw
    if not packed:
        assert float(added[inputs["attention_mask"] == 0].abs().max()) == 0


def test_there_is_none_without_training(network: Any) -> None:
    net, seen = network()
    inputs = layout.lay(ROWS, packed=False, pad_id=0)
    with torch.no_grad():  # a reference model
        assert float(noise(net, seen, inputs).abs().max()) == 0
    assert float(noise(net.eval(), seen, inputs).abs().max()) == 0
    assert float(noise(net.train(), seen, inputs).abs().max()) > 0


def test_it_listens_through_an_adapter(network: Any) -> None:
    from peft import LoraConfig, get_peft_model

    net, seen = network(plain=True)
    net = get_peft_model(net, LoraConfig(r=2, target_modules="all-linear"))
    listen(net, ALPHA)
    net.get_input_embeddings().register_forward_hook(lambda module, inputs, out: seen.insert(0, out.detach()))
    assert float(noise(net, seen, layout.lay(ROWS, packed=False, pad_id=0)).abs().max()) > 0


def test_it_says_where_it_cannot_be(tmp_path: Path) -> None:
    net = models.load(models.find(str(tiny("t5", tmp_path)), "tokens"), "tokens").net
    with pytest.raises(UserError, match="encoder-decoders"):
        listen(net, ALPHA)


def test_no_noise_is_no_change(network: Any) -> None:
    net, _ = network(plain=True)
    wrapper = Neftune(noise_alpha=0).build_model()
    next(wrapper)
    before = len(net.base_model._forward_pre_hooks)
    with pytest.raises(StopIteration):
        wrapper.send(type("Given", (), {"net": net})())
    assert len(net.base_model._forward_pre_hooks) == before
