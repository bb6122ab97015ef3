"""Rows laid out either way give the answers of one plain Transformers pass a row. Tiny random networks, no files."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import chain
from typing import Any

import pytest
import torch
import transformers as tf
from torch.nn.functional import cross_entropy

from ftp.net import heads, layout, packed_attention, packing
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
GPT2 = {"vocab_size": 90, "n_embd": 32, "n_layer": 2, "n_head": 4, "n_positions": 48, "num_labels": 3, "pad_token_id": 1}
DISTIL = {"vocab_size": 90, "dim": 32, "n_layers": 2, "n_heads": 4, "hidden_dim": 48, "num_labels": 3, "pad_token_id": 1}
GROUPED = {**COMMON, "num_key_value_heads": 2}

FAMILIES: dict[str, tuple[type, dict[str, Any]]] = {
    "Bert": (tf.BertConfig, COMMON),
    "Roberta": (tf.RobertaConfig, COMMON),
    "DistilBert": (tf.DistilBertConfig, DISTIL),
    "Electra": (tf.ElectraConfig, {**COMMON, "embedding_size": 16}),
    "GPT2": (tf.GPT2Config, {**GPT2, "bos_token_id": 0, "eos_token_id": 0}),
    "Llama": (tf.LlamaConfig, GROUPED),
    "Qwen2": (tf.Qwen2Config, GROUPED),
    "Qwen3": (tf.Qwen3Config, {**GROUPED, "head_dim": 8}),
}
CLASSIFIERS = [f"{family}ForSequenceClassification" for family in FAMILIES]
DECODERS = ["GPT2LMHeadModel", "LlamaForCausalLM", "Qwen2ForCausalLM", "Qwen3ForCausalLM"]
MASKED = ["BertForMaskedLM", "RobertaForMaskedLM", "DistilBertForMaskedLM"]
TAGGERS = ["BertForTokenClassification", "DistilBertForTokenClassification", "LlamaForTokenClassification"]
SPANS = ["BertForQuestionAnswering", "RobertaForQuestionAnswering"]


class Tokenizer:
    """What `can_pack` reads of a tokenizer."""

    all_special_ids = (0, 1, 2)
    pad_token_id = 1


def build(name: str, **changes: Any) -> Any:
    """A network with random weights, every bias and norm as random as the rest, in evaluation mode."""
    family = next(family for family in sorted(FAMILIES, key=len, reverse=True) if name.startswith(family))
    config, fields = FAMILIES[family]
    torch.manual_seed(0)
    if name in SPANS:
        changes["num_labels"] = 2
    net = getattr(tf, name)(config(**{**fields, **changes}))
    with torch.no_grad():
        for weight in net.parameters():
            weight.add_(torch.randn_like(weight) * 0.1)
    net.tie_weights()
    return net.eval()


def ready(name: str, **changes: Any) -> Any:
    net = build(name, **changes)
    net.set_attn_implementation(packed_attention.NAME)
    return net


def some_rows(*lengths: int, seed: int = 1) -> list[list[int]]:
    generator = torch.Generator().manual_seed(seed)
    return [torch.randint(3, 90, (n,), generator=generator).tolist() for n in lengths]


ROWS = some_rows(9, 4, 17, 1, 12)
LAYOUTS = [{"packed": True}, {"packed": False}, {"packed": False, "padding_side": "left"}]




def close(ours: torch.Tensor, theirs: torch.Tensor, tolerance: float = 1e-5) -> None:
    assert ours.shape == theirs.shape
    ours = ours.detach()
    theirs = theirs.detach()
    assert float((ours - theirs).abs().max()) <= tolerance * max(1.0, float(theirs.abs().max()))


def row_of_each_token(rows: Sequence[Sequence[int]]) -> list[int]:
    """The index of its row for each token, rows end to end."""
    numbers = []
    for number, row in enumerate(rows):
        numbers += [number] * len(row)
    return numbers


def alone(net: Any, row: list[int]) -> Any:
    """The outputs of a row that nothing lies beside."""
    with torch.set_grad_enabled(net.training):
        return net(torch.tensor([row]), attention_mask=torch.ones(1, len(row), dtype=torch.long))


# --- layout ---------------------------------------------------------------------------------------------------------


def test_packed_layout() -> None:
    inputs = layout.lay(
        [[5, 6, 7], [8]], packed=True, pad_id=0, beside={"labels": ([[1, 2, 3], [4]], -100)}
    )
    assert inputs["input_ids"].tolist() == [[5, 6, 7, 8]]
    assert inputs["position_ids"].tolist() == [[0, 1, 2, 0]]
    assert inputs["labels"].tolist() == [[1, 2, 3, 4]]
    assert inputs["row_starts"].tolist() == [0, 3, 4] and inputs["row_starts"].dtype == torch.int32
    assert inputs["extent"].shape == (0, 3, 0)
    assert "attention_mask" not in inputs
    assert layout.first(inputs).tolist() == [0, 3]
    assert layout.last(inputs).tolist() == [2, 3]
    assert layout.rows(inputs).tolist() == [0, 0, 0, 1]
    assert layout.bounds(inputs).tolist() == [0, 3, 4]
    assert layout.count_rows(inputs) == 2


def test_long_packed_lines_come_in_few_sizes() -> None:
    rows = some_rows(40, 45, 30, 41)
    inputs = layout.lay(rows, packed=True, pad_id=1, beside={"labels": (rows, -100)})
    assert inputs["input_ids"].shape == inputs["position_ids"].shape == (1, 160)
    assert inputs["extent"].shape == (0, 45, 4) and inputs["labels"][0, -4:].tolist() == [-100] * 4
    assert layout.real(inputs, inputs["input_ids"]).tolist() == list(chain.from_iterable(rows))
    assert layout.rows(inputs).tolist() == row_of_each_token(rows)
    assert layout.last(inputs).tolist() == [39, 84, 114, 155]
    assert {layout.lay([[1] * n], packed=True, pad_id=1)["input_ids"].numel() % 64 for n in range(1024, 2048, 7)} == {0}
    net = ready("LlamaForTokenClassification")
    logits, bounds = heads.token_logits(net, inputs)
    padded, same = heads.token_logits(net, layout.lay(rows, packed=False, pad_id=1))
    close(logits, padded)
    assert bounds.tolist() == same.tolist()
    lm = ready("LlamaForCausalLM")
    losses, row = heads.token_losses(lm, inputs, inputs["labels"])
    assert len(losses) == sum(len(row) - 1 for row in rows) and row.max() == 3


def test_what_fills_a_line_up_has_positions_that_its_rows_have() -> None:
    """A table of positions ends somewhere (48 here); 200 rows of 40 tokens are filled up by more slots than that."""
    laid = layout.lay([[5] * 40] * 210, packed=True, pad_id=1)
    filler = laid["extent"].shape[2]
    assert filler > 48 and laid["position_ids"].max() == 39


@pytest.mark.parametrize("side", ["left", "right"])
def test_padded_layout(side: str) -> None:
    labels = ([[1, 2, 3], [4]], -100)
    inputs = layout.lay([[5, 6, 7], [8]], packed=False, pad_id=0, padding_side=side, beside={"labels": labels})
    left = side == "left"
    assert inputs["input_ids"].tolist() == [[5, 6, 7], [0, 0, 8] if left else [8, 0, 0]]
    assert inputs["labels"].tolist() == [[1, 2, 3], [-100, -100, 4] if left else [4, -100, -100]]
    assert inputs["attention_mask"].sum(1).tolist() == [3, 1]
    assert ("position_ids" in inputs) == left
    assert layout.first(inputs).tolist() == [0, 5 if left else 3]
    assert layout.last(inputs).tolist() == [2, 5 if left else 3]
    assert layout.rows(inputs).tolist() == [0, 0, 0, 1]
    assert layout.bounds(inputs).tolist() == [0, 3, 4]
    assert layout.real(inputs, inputs["labels"]).tolist() == [1, 2, 3, 4]


@pytest.mark.parametrize("rows", [[], [[1], []]])
def test_nothing_to_lay_is_refused(rows: list[list[int]]) -> None:
    with pytest.raises(ValueError, match="needs a"):
        layout.lay(rows, packed=True, pad_id=0)


def test_columns_of_other_lengths_are_refused() -> None:
    with pytest.raises(ValueError, match="labels"):
        layout.lay([[1, 2]], packed=True, pad_id=0, beside={"labels": ([[1]], -100)})


# --- the same answers in every layout -------------------------------------------------------------------------------


@pytest.mark.parametrize("name", CLASSIFIERS)
def test_classify_is_one_row_at_a_time(name: str) -> None:
    plain = build(name)
    expected = torch.cat([alone(plain, row).logits for row in ROWS])
    assert float(expected.std(0).min()) > 0  # rows differ, so that mixing them up would show
    net = ready(name)
    for arrangement in LAYOUTS:
        close(heads.classify(net, layout.lay(ROWS, pad_id=1, **arrangement)), expected)
    more = layout.lay([*ROWS, some_rows(30)[0]], packed=False, pad_id=1)  # more padding for all
    close(heads.classify(net, more)[:-1], expected)


@pytest.mark.parametrize("name", ["GPT2ForSequenceClassification", "LlamaForSequenceClassification"])
def test_a_row_that_ends_in_the_pad_token_is_read_there(name: str) -> None:
    rows = [[5, 6, 1], [7, 8, 9, 10, 1, 1]]
    net = ready(name)
    answers = [heads.classify(net, layout.lay(rows, pad_id=1, **arrangement)) for arrangement in LAYOUTS]
    close(answers[1], answers[0])
    close(answers[2], answers[0])
    shorter = heads.classify(net, layout.lay([[5, 6], [7, 8, 9, 10]], packed=True, pad_id=1))
    assert float((shorter - answers[0]).abs().min()) > 1e-3


@pytest.mark.parametrize("name", DECODERS + MASKED)
def test_logits_at_are_the_full_logits(name: str) -> None:
    plain = build(name)
    slots = [(0, 8), (0, 0), (2, 5), (3, 0), (4, 11)]  # (row, token)
    expected = torch.stack([alone(plain, ROWS[row]).logits[0, token] for row, token in slots])
    net = ready(name)
    for arrangement in LAYOUTS:
        inputs = layout.lay(ROWS, pad_id=1, **arrangement)
        start = layout.first(inputs)
        where = torch.stack([start[row] + token for row, token in slots])
        close(heads.logits_at(net, inputs, where), expected)


@pytest.mark.parametrize("name", TAGGERS + SPANS)
def test_logits_of_tokens(name: str) -> None:
    plain = build(name)
    spans = name in SPANS
    expected = []
    for row in ROWS:
        out = alone(plain, row)
        expected.append(torch.stack([out.start_logits[0], out.end_logits[0]], -1) if spans else out.logits[0])
    net = ready(name)
    for arrangement in LAYOUTS:
        logits, bounds = heads.token_logits(net, layout.lay(ROWS, pad_id=1, **arrangement))
        close(logits, torch.cat(expected))
        assert bounds.diff().tolist() == [len(row) for row in ROWS]


def test_token_types_are_laid_and_used() -> None:
    types = [[0] * (len(row) // 2) + [1] * (len(row) - len(row) // 2) for row in ROWS]
    plain = build("BertForSequenceClassification")
    pairs = [(torch.tensor([row]), torch.tensor([kind])) for row, kind in zip(ROWS, types, strict=True)]
    expected = torch.cat([plain(row, token_type_ids=kind).logits for row, kind in pairs])
    net = ready("BertForSequenceClassification")
    for arrangement in LAYOUTS:
        inputs = layout.lay(ROWS, pad_id=1, beside={"token_type_ids": (types, 0)}, **arrangement)
        close(heads.classify(net, inputs), expected)
    assert float((heads.classify(net, layout.lay(ROWS, packed=True, pad_id=1)) - expected).abs().max()) > 1e-3


@pytest.mark.parametrize("name", ["BertForSequenceClassification", "LlamaForSequenceClassification"])
def test_rows_do_not_read_each_other(name: str) -> None:
    net = ready(name)
    before = heads.classify(net, layout.lay(ROWS, packed=True, pad_id=1))
    changed = [*ROWS]
    changed[2] = some_rows(17, seed=9)[0]
    after = heads.classify(net, layout.lay(changed, packed=True, pad_id=1))
    unchanged = torch.tensor([0, 1, 3, 4])
    assert torch.equal(before[unchanged], after[unchanged])
    assert float((before[2] - after[2]).abs().max()) > 1e-3


def test_blocks_hold_every_token_once() -> None:
    lengths = [600, 3, 590, 40, 39, 700, 1, 2000, 45, 600]
    starts = torch.tensor([0, *lengths]).cumsum(0).int()
    plan = packed_attention.packing(starts, max(lengths), sum(lengths))
    slots = sum(block.rows * block.length for block in plan.blocks)
    assert len(plan.blocks) > 1
    assert len(set(plan.place.tolist())) == sum(lengths)
    assert int(plan.place.max()) < slots < len(lengths) * max(lengths)
    assert sum(block.rows for block in plan.blocks) == len(lengths)


@pytest.mark.parametrize("name", ["BertForSequenceClassification", "LlamaForSequenceClassification"])
def test_long_and_short_rows_in_several_blocks(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(packed_attention, "FEWEST", 1)
    net = ready(name)
    close(
        heads.classify(net, layout.lay(ROWS, packed=True, pad_id=1)),
        heads.classify(net, layout.lay(ROWS, packed=False, pad_id=1)),
    )


# --- training -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("checkpointing", [False, True])
@pytest.mark.parametrize(
    "name", ["BertForSequenceClassification", "RobertaForSequenceClassification", "LlamaForSequenceClassification"]
)
def test_gradients_are_those_of_single_rows(name: str, checkpointing: bool) -> None:
    changes = {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0} if "Llama" not in name else {}
    labels = torch.tensor([0, 1, 2, 0, 1])
    plain = build(name, **changes).train()
    expected = gradients(
        plain, cross_entropy(torch.cat([alone(plain, row).logits for row in ROWS]), labels, reduction="sum")
    )
    net = ready(name, **changes).train()
    if checkpointing:
        net.gradient_checkpointing_enable()
    for arrangement in LAYOUTS:
        logits = heads.classify(net, layout.lay(ROWS, pad_id=1, **arrangement))
        same_gradients(gradients(net, cross_entropy(logits, labels, reduction="sum")), expected)


@pytest.mark.slow
def test_attention_dropout_is_honoured() -> None:
    net = ready("BertForSequenceClassification", hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.5).train()
    net.dropout.p = 0.0
    inputs = layout.lay(ROWS, packed=True, pad_id=1)
    torch.manual_seed(3)
    first = heads.classify(net, inputs)
    second = heads.classify(net, inputs)
    torch.manual_seed(3)
    again = heads.classify(net, inputs)
    assert torch.equal(first, again)
    assert float((first - second).abs().max()) > 1e-3
    draws = torch.stack([heads.classify(net, inputs).detach() for _ in range(200)])
    quiet = heads.classify(net.eval(), inputs)
    spread = draws.std(0) / len(draws) ** 0.5
    assert float(((draws.mean(0) - quiet).abs() / (spread + 0.05)).max()) < 6


@pytest.mark.parametrize("name", DECODERS)
def test_causal_losses_never_cross_rows(name: str) -> None:
    labels = []
    for row in ROWS:
        label = list(row)
        label[::3] = [-100] * len(row[::3])
        labels.append(label)
    labels[1] = list(ROWS[1])  # labelled from its first token, which nothing predicts
    plain = build(name)
    expected = []
    numbers = []
    for number, (row, label) in enumerate(zip(ROWS, labels, strict=True)):
        if len(row) > 1:
            target = torch.tensor(label[1:])
            losses = cross_entropy(alone(plain, row).logits[0, :-1], target, reduction="none")[target != -100]
            expected.append(losses)
            numbers += [number] * len(losses)
    net = ready(name)
    for arrangement in LAYOUTS:
        inputs = layout.lay(ROWS, pad_id=1, beside={"labels": (labels, -100)}, **arrangement)
        losses, row = heads.token_losses(net, inputs, inputs["labels"])
        close(losses, torch.cat(expected))
        assert row.tolist() == numbers


@pytest.mark.parametrize("name", MASKED)
def test_masked_losses_are_at_their_own_place(name: str) -> None:
    labels = []
    for row in ROWS:
        label = [-100] * len(row)
        label[::4] = row[::4]
        labels.append(label)
    plain = build(name)
    expected = []
    for row, label in zip(ROWS, labels, strict=True):
        target = torch.tensor(label)
        expected.append(cross_entropy(alone(plain, row).logits[0], target, reduction="none")[target != -100])
    net = ready(name)
    for arrangement in LAYOUTS:
        inputs = layout.lay(ROWS, pad_id=1, beside={"labels": (labels, -100)}, **arrangement)
        close(heads.token_losses(net, inputs, inputs["labels"])[0], torch.cat(expected))


@pytest.mark.parametrize("name", ["LlamaForCausalLM", "BertForMaskedLM"])
def test_losses_in_pieces_are_the_same(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    net = ready(name)
    inputs = layout.lay(ROWS, packed=True, pad_id=1)
    labels = inputs["input_ids"]
    losses, _ = heads.token_losses(net, inputs, labels)
    whole = gradients(net, (losses * torch.arange(len(losses))).sum())
    monkeypatch.setattr(heads, "LOGIT_BYTES", 7 * 4 * 90)  # seven positions at a time
    pieces, _ = heads.token_losses(net, inputs, labels)
    close(pieces, losses.detach())
    same_gradients(gradients(net, (pieces * torch.arange(len(pieces))).sum()), whole)


def test_heads_come_in_few_sizes_and_what_fills_them_up_counts_for_nothing() -> None:
    net = ready("LlamaForCausalLM")
    sizes = set[int]()
    net.lm_head.register_forward_hook(lambda module, inputs, output: sizes.add(output.shape[-2]))
    inputs = layout.lay(some_rows(40, 45, 30, 44, 42), packed=True, pad_id=1)
    ids = inputs["input_ids"][0]
    every = heads.losses_at(net, inputs, torch.arange(192), ids[1:193])
    for number in (130, 140, 150, 160, 170, 180, 190):
        where = torch.arange(number)
        losses = heads.losses_at(net, inputs, where, ids[1 : number + 1])
        close(losses, every[:number])
        of_more = heads.losses_at(net, inputs, torch.arange(192), ids[1:193])[:number]
        same_gradients(gradients(net, losses.sum()), gradients(net, of_more.sum()))
        assert heads.logits_at(net, inputs, where).shape[0] == number
    assert len(sizes) <= 9 and all(size % 8 == 0 for size in sizes)


def test_no_labels_no_losses() -> None:
    net = ready("LlamaForCausalLM")
    inputs = layout.lay(ROWS, packed=True, pad_id=1)
    losses, row = heads.token_losses(net, inputs, torch.full_like(inputs["input_ids"], -100))
    assert losses.shape == row.shape == (0,)


# --- bf16, adapters -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["BertForSequenceClassification", "LlamaForSequenceClassification"])
def test_bf16_autocast_keeps_attention_in_fp32(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    net = ready(name)
    expected = torch.cat([alone(build(name), row).logits for row in ROWS])
    seen: list[torch.dtype] = []
    real = torch.nn.functional.scaled_dot_product_attention

    def watch(query: torch.Tensor, *args: Any, **kwargs: Any) -> torch.Tensor:
        out = real(query, *args, **kwargs)
        seen.append(out.dtype)
        return out

    monkeypatch.setattr(torch.nn.functional, "scaled_dot_product_attention", watch)
    for arrangement in LAYOUTS:
        with torch.autocast("cpu", torch.bfloat16):
            ours = heads.classify(net, layout.lay(ROWS, pad_id=1, **arrangement))
        assert ours.dtype == torch.bfloat16
        close(ours.float(), expected, 0.05)
    assert len(seen) == 2 * len(LAYOUTS) and set(seen) == {torch.float32}


def lora(net: Any, **config: Any) -> Any:
    """A LoRA whose second half is not zero, so that leaving it out would show."""
    import peft

    wrapped = peft.get_peft_model(net, peft.LoraConfig(r=4, **config))
    with torch.no_grad():
        for name, weight in wrapped.named_parameters():
            if "lora_B" in name or "modules_to_save" in name:
                weight.normal_(std=0.3)
    return wrapped.eval()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "head"),
    [
        ("BertForSequenceClassification", "classifier"),
        ("RobertaForSequenceClassification", "classifier"),
        ("LlamaForSequenceClassification", "score"),
        ("GPT2ForSequenceClassification", "score"),
    ],
)
def test_classify_through_adapters(name: str, head: str) -> None:
    wrapped = lora(build(name), task_type="SEQ_CLS", target_modules="all-linear", modules_to_save=[head])
    expected = torch.cat([alone(wrapped, row).logits for row in ROWS])
    assert float((expected - torch.cat([alone(build(name), row).logits for row in ROWS])).abs().max()) > 1e-2
    assert packing.can_pack(wrapped, Tokenizer()) == (True, "")
    for arrangement in LAYOUTS:
        ours = heads.classify(wrapped, layout.lay(ROWS, pad_id=1, **arrangement))
        close(ours, expected)
    ours.sum().backward()
    trained = {n for n, weight in wrapped.named_parameters() if weight.requires_grad}
    assert all(weight.grad is not None for n, weight in wrapped.named_parameters() if n in trained)


def test_adapters_on_the_head_are_honoured() -> None:
    wrapped = lora(build("LlamaForCausalLM"), task_type="CAUSAL_LM", target_modules=["q_proj", "lm_head"])
    expected = torch.cat([alone(wrapped, row).logits[0] for row in ROWS])
    with wrapped.disable_adapter():
        assert float((torch.cat([alone(wrapped, row).logits[0] for row in ROWS]) - expected).abs().max()) > 1e-2
    assert packing.can_pack(wrapped, Tokenizer()) == (True, "")
    inputs = layout.lay(ROWS, packed=True, pad_id=1)
    close(heads.logits_at(wrapped, inputs, torch.arange(inputs["input_ids"].numel())), expected)


def test_a_learnt_prompt_is_padded_and_right() -> None:
    import peft

    config = peft.PromptTuningConfig(task_type="CAUSAL_LM", num_virtual_tokens=3)
    wrapped = peft.get_peft_model(build("LlamaForCausalLM"), config).eval()
    able, why = packing.can_pack(wrapped, Tokenizer())
    assert not able and "prompt" in why
    expected = torch.cat([alone(wrapped, row).logits[0, 3:] for row in ROWS])
    inputs = layout.lay(ROWS, packed=False, pad_id=1)
    slots = inputs["attention_mask"].flatten().nonzero()[:, 0]
    close(heads.logits_at(wrapped, inputs, slots), expected)


# --- can_pack -------------------------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize("name", CLASSIFIERS + DECODERS + MASKED + TAGGERS + SPANS + ["BertModel", "LlamaModel"])
def test_can_pack(name: str) -> None:
    net = build(name).train()
    state = torch.random.get_rng_state()
    assert packing.can_pack(net, Tokenizer()) == (True, "")
    assert net.training and torch.equal(state, torch.random.get_rng_state())
    assert net.config._attn_implementation == packed_attention.NAME


def test_packed_rows_are_refused_where_they_would_mix() -> None:
    net = build("LlamaForCausalLM")
    inputs = layout.lay(ROWS, packed=True, pad_id=1)
    with pytest.raises(ValueError, match="can_pack"):
        heads.hidden(net, inputs)


def test_a_network_whose_rows_mix_is_found_out() -> None:
    class Mixing(tf.BertModel):
        def forward(self, *args: Any, **kwargs: Any) -> Any:
            out = super().forward(*args, **kwargs)
            out["last_hidden_state"] = out.last_hidden_state + 1e-3 * out.last_hidden_state.mean((0, 1))
            return out

    config, fields = FAMILIES["Bert"]
    able, why = packing.can_pack(Mixing(config(**fields)), Tokenizer())
    assert not able and "apart by" in why


def refused() -> dict[str, Callable[[], Any]]:
    return {
        "sliding_window": lambda: tf.MistralForCausalLM(tf.MistralConfig(**GROUPED, sliding_window=4)),
        "sliding_attention": lambda: tf.Qwen2ForCausalLM(
            tf.Qwen2Config(**GROUPED, use_sliding_window=True, sliding_window=4, max_window_layers=1)
        ),
        "eager": lambda: tf.BertModel(tf.BertConfig(**COMMON, attn_implementation="eager")),
        "single rows": lambda: tf.AlbertForSequenceClassification(tf.AlbertConfig(**COMMON, embedding_size=16)),
        "encoder-decoder": lambda: tf.T5ForConditionalGeneration(
            tf.T5Config(vocab_size=90, d_model=32, d_ff=48, num_layers=2, num_heads=4, d_kv=8, decoder_start_token_id=0)
        ),
    }


@pytest.mark.parametrize("reason", refused())
def test_what_cannot_be_packed_says_why_and_still_takes_padded_rows(reason: str) -> None:
    torch.manual_seed(0)
    net = refused()[reason]().eval()
    body = net.get_encoder() if "enc" in reason else net.base_model
    expected = [body(torch.tensor([row]))[0][0] for row in ROWS]
    able, why = packing.can_pack(net, Tokenizer())
    assert not able and reason in why
    inputs = layout.lay(ROWS, packed=False, pad_id=1)
    close(layout.real(inputs, heads.hidden(net, inputs)), torch.cat(expected))


def test_encoder_decoder_losses() -> None:
    torch.manual_seed(0)
    net = refused()["encoder-decoder"]().eval()
    packing.can_pack(net, Tokenizer())
    answers = some_rows(3, 5, 2, 6, 1, seed=4)
    expected = []
    for row, answer in zip(ROWS, answers, strict=True):
        logits = net(torch.tensor([row]), labels=torch.tensor([answer])).logits[0]
        expected.append(cross_entropy(logits, torch.tensor(answer), reduction="none"))
    inputs = layout.lay(ROWS, packed=False, pad_id=1)
    labels = layout.lay(answers, packed=False, pad_id=-100)["input_ids"]
    losses, row = heads.token_losses(net, inputs, labels)
    close(losses, torch.cat(expected))
    assert row.tolist() == row_of_each_token(answers)


def test_generation_goes_on_as_before() -> None:
    plain, net = build("LlamaForCausalLM"), ready("LlamaForCausalLM")
    inputs = layout.lay(ROWS[:3], packed=False, pad_id=1, padding_side="left")
    ask = {"input_ids": inputs["input_ids"], "attention_mask": inputs["attention_mask"]}
    options = {"max_new_tokens": 5, "do_sample": False, "pad_token_id": 1}
    assert torch.equal(net.generate(**ask, **options), plain.generate(**ask, **options))


def test_the_attention_is_not_saved_with_the_model(tmp_path: Any) -> None:
    net = ready("BertForSequenceClassification")
    net.save_pretrained(tmp_path)
    assert packed_attention.NAME not in (tmp_path / "config.json").read_text()


@pytest.mark.parametrize("causal", [False, True])
def test_packed_attention_drops_its_share_and_keeps_the_mean(causal: bool) -> None:
    """Without a kernel of a plugin (ftp-cpu): Transformers' own attention, block by block."""
    lengths, p = (7, 3, 19, 1, 12), 0.5
    starts = torch.tensor([0, *lengths]).cumsum(0).to(torch.int32)
    packing = packed_attention.packing(starts, max(lengths), sum(lengths))
    torch.manual_seed(0)
    query, key = torch.randn(2, 1, 64, sum(lengths), 8)
    ones = torch.ones_like(query)
    out, _ = packed_attention.ftp_packed(torch.nn.Module(), query, key, ones, packing.mask, dropout=p, is_causal=causal,
                                         packing=packing)
    alone = out[0, starts[3]]  # the row of one token: its only share is kept or dropped
    assert set(alone.unique().tolist()) == {0.0, 1 / (1 - p)}
    assert abs(float(out.mean()) - 1) < 0.05
