"""Dropout and LoRA in fewer passes over memory compute what the plain modules compute. Tiny random networks, no files."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import transformers as tf

from ftp.net import heads, layout, packed_attention
from ftp_cpu import dropout, lora
from ftp_testing.compare import gradients, same_gradients

COMMON: dict[str, Any] = {
    "vocab_size": 90,
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "intermediate_size": 48,
    "max_position_embeddings": 48,
    "num_labels": 3,
    "pad_token_id": 1,
}
CONFIGS: dict[str, Any] = {
    "BertForSequenceClassification": tf.BertConfig(**COMMON, hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0),
    "LlamaForSequenceClassification": tf.LlamaConfig(**COMMON, num_key_value_heads=2),
    "LlamaForCausalLM": tf.LlamaConfig(**COMMON, num_key_value_heads=2),
}
ROWS = [[3, 17, 41, 8, 9, 77, 5, 60, 2], [4, 5, 6, 7], [8] * 17, [30], [12, 3, 45, 6, 78, 9, 10, 11, 12, 13, 14, 15]]


def build(name: str) -> Any:
    """A network with random weights, for packed rows."""
    torch.manual_seed(0)
    net = getattr(tf, name)(CONFIGS[name])
    net.set_attn_implementation(packed_attention.NAME)
    return net.eval()


def adapted(name: str, **config: Any) -> Any:
    """A LoRA on all linear layers whose second half is not zero, so that leaving it out would show."""
    import peft

    wrapped = peft.get_peft_model(build(name), peft.LoraConfig(r=4, target_modules="all-linear", **config))
    with torch.no_grad():
        for name, weight in wrapped.named_parameters():
            if "lora_B" in name or "modules_to_save" in name:
                weight.normal_(std=0.3)
    return wrapped.eval()


def close(ours: torch.Tensor, theirs: torch.Tensor, tolerance: float = 1e-5) -> None:
    assert ours.shape == theirs.shape
    ours, theirs = ours.detach(), theirs.detach()
    assert float((ours - theirs).abs().max()) <= tolerance * max(1.0, float(theirs.abs().max()))


@pytest.mark.parametrize("name", ["BertForSequenceClassification", "LlamaForSequenceClassification"])
@pytest.mark.parametrize("bf16", [False, True])
def test_quick_lora_computes_what_peft_computes(name: str, bf16: bool) -> None:
    plain, quick = (adapted(name, task_type="SEQ_CLS") for _ in range(2))
    quick.load_state_dict(plain.state_dict())
    assert lora.quick_lora(quick) == (12 if "Bert" in name else 14) + ("Bert" in name)  # its pooler
    assert lora.quick_lora(quick) == 0
    inputs = layout.lay(ROWS, packed=True, pad_id=1)
    results = []
    for net in (plain.train(), quick.train()):
        with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
            logits = heads.classify(net, inputs)
        results.append((logits, gradients(net, (logits.float() ** 2).sum())))
    (expected, theirs), (logits, ours) = results
    assert logits.dtype == expected.dtype
    close(logits.float(), expected.float(), 0.05 if bf16 else 1e-5)
    same_gradients(ours, theirs, 0.1 if bf16 else 1e-4)
    assert plain.state_dict().keys() == quick.state_dict().keys()
    for name, weight in plain.state_dict().items():
        assert weight.dtype == quick.state_dict()[name].dtype, name
    with quick.disable_adapter(), plain.disable_adapter():
        close(heads.classify(quick, inputs), heads.classify(plain, inputs))
    with torch.no_grad():  # a changed base is seen, not the cast of the old one
        for net in (plain, quick):
            for weight in net.parameters():
                if not weight.requires_grad:
                    weight.mul_(1.3)
    close(heads.classify(quick, inputs), heads.classify(plain, inputs))
    close(heads.classify(quick.merge_and_unload(), inputs), heads.classify(plain, inputs))


def test_quick_lora_leaves_other_adapters_to_peft() -> None:
    import peft

    for config in ({"use_dora": True}, {"lora_dropout": 0.5}, {"lora_bias": True}):
        plain, quick = (adapted("LlamaForCausalLM", task_type="CAUSAL_LM", **config) for _ in range(2))
        quick.load_state_dict(plain.state_dict())
        lora.quick_lora(quick)
        inputs = layout.lay(ROWS, packed=True, pad_id=1)
        answers = []
        for net in (plain.train(), quick.train()):
            torch.manual_seed(1)
            answers.append(heads.hidden(net, inputs))
        assert torch.equal(*answers)
    assert lora.quick_lora(build("LlamaForCausalLM")) == 0
    prompts = peft.get_peft_model(build("LlamaForCausalLM"), peft.PromptTuningConfig("CAUSAL_LM", num_virtual_tokens=2))
    assert lora.quick_lora(prompts) == 0


@pytest.mark.parametrize("p", [0.1, 0.5, 0.9])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_quick_dropout_drops_that_share_and_keeps_the_mean(p: float, dtype: torch.dtype) -> None:
    torch.manual_seed(0)
    ones = torch.ones(301, 999, dtype=dtype)
    module = torch.nn.Sequential(torch.nn.Dropout(p))
    assert dropout.quick_dropout(module) == 1
    out = module(ones)
    kept = out != 0
    assert out.dtype == dtype and abs(float(kept.float().mean()) - (1 - p)) < 0.005
    assert torch.allclose(out[kept].float(), torch.tensor(1 / (1 - p)), rtol=1e-2 if dtype == torch.bfloat16 else 1e-4)
    for lane in range(4):  # none of the four numbers in a draw is worse than the others
        assert abs(float(kept.flatten()[lane::4].float().mean()) - (1 - p)) < 0.01
    pairs = (kept.flatten()[:-1] & kept.flatten()[1:]).float().mean()
    assert abs(float(pairs) - (1 - p) ** 2) < 0.01
    torch.manual_seed(0)
    assert torch.equal(out, module(ones))
    assert torch.equal(module.eval()(ones), ones)


def test_quick_dropout_at_the_ends() -> None:
    x = torch.randn(3, 5)
    assert torch.equal(dropout.QuickDropout(0.0)(x), x)
    assert torch.equal(dropout.QuickDropout(1.0)(x), torch.zeros_like(x))


@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("autocast", [False, True])
def test_packed_attention_with_dropout_is_its_formula(causal: bool, autocast: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each row by itself, with the places kept that a mask of the row's own size says; in bf16 as in fp32."""
    lengths, heads, size, p = (7, 3, 19, 1, 12), 4, 8, 0.5
    dropped = {n: (torch.rand(heads, n, n, generator=torch.Generator().manual_seed(n)) >= p) / (1 - p) for n in lengths}

    def masks(shares: torch.Tensor, p: float) -> torch.Tensor:
        """`keep_mask` for the blocks in which rows are: which row it is shows in how many places have a share."""
        kept = torch.zeros_like(shares)
        for row in range(len(shares) // heads):
            part = slice(row * heads, row * heads + heads)
            n = int((shares[part][0, -1] > 0).sum())
            kept[part, :n, :n] = dropped[n]
        return kept

    if causal:  # rows of one length share a block without a mask, so each comes alone
        monkeypatch.setattr(packed_attention, "WASTE", 1.0)
        monkeypatch.setattr(packed_attention, "FEWEST", 0)
    monkeypatch.setattr(dropout, "keep_mask", masks)
    dtype = torch.bfloat16 if autocast else torch.float32
    torch.manual_seed(0)
    tensors = [torch.randn(1, sum(lengths), heads, size).to(dtype).requires_grad_() for _ in range(3)]
    starts = torch.tensor([0, *lengths]).cumsum(0).to(torch.int32)
    attention = torch.nn.Module()
    packed_attention.use_dropout_kernel(attention, dropout.packed_dropout)
    packing = packed_attention.packing(starts, max(lengths), sum(lengths))
    with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
        out, _ = packed_attention.ftp_packed(attention, *(x.transpose(1, 2) for x in tensors), packing.mask, dropout=p,
                                             is_causal=causal, packing=packing)
    slope = torch.randn(out.shape).to(dtype)
    ours = torch.autograd.grad(out, tensors, slope)

    plain = [x.detach().float().requires_grad_() for x in tensors]
    parts = []
    for rows in zip(*(x[0].split(lengths) for x in plain), strict=True):
        q, k, v = (x.transpose(0, 1) for x in rows)
        scores = q @ k.mT * size**-0.5
        if causal:
            scores = scores + torch.full_like(scores, float("-inf")).triu(1)
        parts.append(((scores.softmax(-1) * dropped[q.shape[1]]) @ v).transpose(0, 1))
    theirs = torch.cat(parts)[None]
    near = {"rtol": 1e-2, "atol": 2e-2} if autocast else {"rtol": 1e-4, "atol": 1e-5}
    assert out.dtype == dtype
    torch.testing.assert_close(out.float(), theirs, **near)
    their_gradients = torch.autograd.grad(theirs, plain, slope.float())
    for gradient, expected in zip(ours, their_gradients, strict=True):
        torch.testing.assert_close(gradient.float(), expected, **near)
