"""What goes silently wrong in learning from preferences, each shown not to."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch

from ftp.errors import UserError
from ftp.losses import chat_template
from ftp.losses import prompted_answers as rows
from ftp.plugin_info import declaration_of
from ftp.types import Batch
from ftp_preference import Dpo, Kto, Orpo, Simpo

ALL = [(Dpo, {}), (Dpo, {"loss_type": "ipo"}), (Orpo, {}), (Simpo, {}), (Kto, {})]


def form(plugin: type) -> str:
    return declaration_of(plugin).wants[0]


def rows_for(kit: Any, plugin: type) -> list[dict[str, Any]]:
    return kit.ratings() if plugin is Kto else kit.preferences()  # type: ignore[no-any-return]


def mean_of(out: Any, name: str, count: int) -> float:
    return float(out.metrics[name]) / count


def step(kit: Any, plugin: Any, model: Any, loss: Any, run: Any, batches: list[Batch], optimizer: Any) -> float:
    """One update as core does it, with the plugin's wrapper around it where it has one."""
    from ftp.train.update import update

    class Whole(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.net = model.net

        def forward(self, batch: Batch) -> Any:
            return loss.compute(batch)

    whole = Whole()
    if not isinstance(plugin, Kto):
        return float(update(run, whole, batches, optimizer).loss)
    around = plugin.train_step(run, whole, batches)
    next(around)
    out = update(run, whole, batches, optimizer)
    with pytest.raises(StopIteration):
        around.send(out)
    return float(out.loss)


def trained(kit: Any, plugin: Any, model: Any, run: Any, splits: list[list[int]], steps: int = 1, lr: float = 0.05) -> Any:
    """The weights that move, after updates whose rows are spread over micro-batches as `splits` says."""
    loss = kit.loss_of(plugin, model, run)
    encoded = kit.encoded(loss, rows_for(kit, type(plugin)))
    weights = [weight for weight in model.net.parameters() if weight.requires_grad]
    optimizer = torch.optim.SGD(weights, lr=lr)
    for _ in range(steps):
        step(kit, plugin, model, loss, run, [loss.collate([encoded[n] for n in part]) for part in splits], optimizer)
    return torch.cat([weight.detach().flatten() for weight in weights])


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["llama", "gpt2"])
@pytest.mark.parametrize("lora", [False, True], ids=["full", "lora"])
@pytest.mark.parametrize("training", [True, False], ids=["train", "eval"])
def test_the_first_margin_is_zero(kit: Any, load: Any, kind: str, lora: bool, training: bool) -> None:
    """To the bit, also in training with a checkpoint that has dropout."""
    dropout = {"attn_pdrop": 0.2, "resid_pdrop": 0.2, "embd_pdrop": 0.2} if kind == "gpt2" else {"attention_dropout": 0.2}
    model = load(kind, lora=lora, **dropout)
    loss = kit.loss_of(Dpo(), model, kit.a_run())
    model.net.train(training)
    out = loss.compute(kit.batch_of(loss, kit.preferences()))
    assert all(float(out.metrics[name]) == 0.0 for name in ("rewards/chosen", "rewards/rejected", "rewards/margins"))
    assert out.row_losses.tolist() == pytest.approx([0.6931472] * 8)


def test_dropout_is_kept_where_it_is_asked_for(kit: Any, load: Any) -> None:
    model = load("gpt2", resid_pdrop=0.2)
    loss = kit.loss_of(Dpo(disable_dropout=False), model, kit.a_run())
    assert float(loss.compute(kit.batch_of(loss, kit.preferences())).metrics["rewards/chosen"]) != 0.0
    model.net.eval()
    assert float(loss.compute(kit.batch_of(loss, kit.preferences())).metrics["rewards/chosen"]) == 0.0


@pytest.mark.slow
@pytest.mark.parametrize("case", ["full", "lora", "lora and a whole head"])
def test_the_reference_stays_the_untrained_model(kit: Any, load: Any, case: str) -> None:
    from ftp.losses import answer_logps as answers

    model = load(lora="lora" in case, modules_to_save=["lm_head"] if "head" in case else None)
    untouched, run = load(packed=True), kit.a_run()
    loss = kit.loss_of(Dpo(), model, run)
    batch = kit.batch_of(loss, kit.preferences())
    expected = answers.logps(untouched.net.eval(), batch.inputs)
    trained(kit, Dpo(), model, run, [list(range(8))], steps=3)
    assert torch.equal(answers.reference_logps(model, batch.inputs), expected)
    assert not torch.allclose(answers.logps(model.net, batch.inputs), expected, atol=1e-3)
    assert model.net.training, "asking the reference must not leave the network in evaluation mode"
    if "head" in case:
        assert any("lm_head" in name and weight.requires_grad for name, weight in model.net.named_parameters())


@pytest.mark.slow
def test_training_lowers_the_loss_and_parts_the_answers(kit: Any, load: Any) -> None:
    for plugin, options in ALL:
        model, run, method = load(), kit.a_run(form(plugin)), plugin(**options)
        loss = kit.loss_of(method, model, run)
        batch = kit.batch_of(loss, rows_for(kit, plugin))
        before = loss.compute(batch)
        trained(kit, method, model, run, [list(range(8))], steps=8, lr=0.1 if plugin is not Simpo else 0.03)
        after = loss.compute(batch)
        assert float(after.total.detach()) < float(before.total.detach()), plugin.__name__
        name = "rewards/aligned" if plugin is Kto else "rewards/margins"
        assert mean_of(after, name, 8) > mean_of(before, name, 8), plugin.__name__
        assert mean_of(after, "rewards/accuracies", 8) > (0.7 if plugin is Orpo else 0.9), plugin.__name__


@pytest.mark.slow
@pytest.mark.parametrize(("plugin", "options"), ALL)
def test_packed_equals_padded_on_either_side(kit: Any, load: Any, plugin: type, options: dict[str, Any]) -> None:
    results = []
    for packed, side in ((True, "right"), (False, "right"), (False, "left")):
        model = load(packed=packed)
        model.tokenizer.padding_side = side
        with torch.no_grad():
            for name, weight in model.net.named_parameters():
                weight.add_(torch.sin(torch.arange(weight.numel()).view(weight.shape) + len(name)) * 0.02)
        loss = kit.loss_of(plugin(**options), model, kit.a_run(form(plugin)))
        out = loss.compute(kit.batch_of(loss, rows_for(kit, plugin)))
        out.total.backward()
        results.append((out.row_losses, kit.gradients(model)["lm_head.weight"]))
    (first_losses, first_gradient), *others = results
    for losses, gradient in others:
        assert torch.allclose(losses, first_losses, rtol=1e-4, atol=1e-5)
        assert torch.allclose(gradient, first_gradient, rtol=1e-3, atol=1e-5 * float(gradient.abs().max()) + 1e-7)


@pytest.mark.slow
@pytest.mark.parametrize(("plugin", "options"), ALL)
def test_micro_batches_do_not_change_the_update(kit: Any, load: Any, plugin: type, options: dict[str, Any]) -> None:
    """8 rows at once, 2 x 4, and 5 + 2 + 1; two updates, so that KTO's z0 is not zero in the second."""
    trained_weights = []
    for splits in ([list(range(8))], [[0, 1, 2, 3], [4, 5, 6, 7]], [[3, 0, 7, 1, 6], [2, 5], [4]]):
        model = load()
        trained_weights.append(trained(kit, plugin(**options), model, kit.a_run(form(plugin)), splits, steps=2))
    untrained = torch.cat([weight.detach().flatten() for weight in load().net.parameters()])
    assert not torch.allclose(trained_weights[0], untrained, atol=1e-4)
    for weights in trained_weights[1:]:
        assert torch.allclose(weights, trained_weights[0], atol=2e-6)


def test_micro_batches_do_not_change_an_update_whose_z0_counts(kit: Any, load: Any) -> None:
    results = []
    for splits in ([range(8)], [range(5), range(5, 8)]):
        model, run, plugin = load(), kit.a_run("feedback"), Kto(beta=1.0)
        with torch.no_grad():
            model.net.lm_head.weight.mul_(0.7)
        loss = kit.loss_of(plugin, model, run)
        encoded = kit.encoded(loss, kit.ratings())
        batches = []
        for part in splits:
            batches.append(loss.collate([encoded[index] for index in part]))
        optimizer = torch.optim.SGD(model.net.parameters(), lr=0.05)
        apart = sum(float(loss.compute(batch).total.detach()) for batch in batches) / 8
        value = step(kit, plugin, model, loss, run, batches, optimizer)
        results.append((value, model.net.lm_head.weight.detach().clone()))
    (whole_loss, whole_weight), (cut_loss, cut_weight) = results
    assert cut_loss == pytest.approx(whole_loss, rel=1e-5) and torch.allclose(cut_weight, whole_weight, atol=2e-6)
    assert apart != pytest.approx(whole_loss, rel=1e-4), "were z0 each micro-batch's own, the loss would differ"


def test_z0_of_an_update_is_that_of_all_its_rows(kit: Any, load: Any) -> None:
    model, run, plugin = load(), kit.a_run("feedback"), Kto()
    with torch.no_grad():
        model.net.lm_head.weight.mul_(0.7)  # away from the reference
    loss = kit.loss_of(plugin, model, run)
    encoded = kit.encoded(loss, kit.ratings())
    seen = []
    for splits in ([range(8)], [range(4), range(4, 8)], [range(1), range(1, 8)]):
        around = plugin.train_step(run, loss.compute, [loss.collate([encoded[n] for n in part]) for part in splits])
        next(around)
        seen.append(float(plugin.z0))
        around.close()
        assert plugin.z0 is None
    assert seen[0] > 0 and seen == pytest.approx([seen[0]] * 3, rel=1e-5)


def test_answers_are_paired_with_another_prompt_wherever_rows_repeat_theirs(kit: Any, load: Any) -> None:
    twice = []
    for row in kit.ratings():
        twice += [{**row, "label": True}, {**row, "label": False}]
    for index, row in enumerate(twice):
        other = rows.mismatched(twice, index)
        assert other is not None and twice[other]["prompt"] != row["prompt"]
    assert rows.mismatched(twice[:2], 0) is None
    loss = kit.loss_of(Kto(), load(), kit.a_run("feedback"))
    assert float(loss.compute(kit.batch_of(loss, kit.ratings()[:1])).total.detach()) == pytest.approx(0.5)


@pytest.mark.parametrize("kind", ["llama", "gpt2"])
def test_answers_and_their_end_are_trained_and_nothing_else(kit: Any, load: Any, kind: str) -> None:
    model = load(kind)
    loss = kit.loss_of(Dpo(), model, kit.a_run())
    tokenizer = model.tokenizer
    for row, pair in zip(kit.encoded(loss, kit.preferences()), kit.preferences(), strict=True):
        for ids, trained_, side in (("input_ids", "spans", "chosen"), ("rejected_ids", "rejected_spans", "rejected")):
            start, end = row[trained_]
            assert tokenizer.decode(row[ids][start:end]) == pair[side][0]["content"] + "<|im_end|>"
            assert end == len(row[ids]) and row[ids].count(tokenizer.bos_token_id) == (kind == "llama")
        assert row["length"] == len(row["input_ids"]) + len(row["rejected_ids"])


def test_the_eos_is_trained_where_pad_is_eos_and_no_template_is_there(kit: Any, load: Any) -> None:
    model = load("gpt2")
    model.tokenizer.chat_template = None
    assert model.tokenizer.pad_token_id == model.tokenizer.eos_token_id
    loss = kit.loss_of(Dpo(), model, kit.a_run())
    batch = kit.batch_of(loss, kit.preferences())
    assert int((batch.inputs["target"] == model.tokenizer.eos_token_id).sum()) == 16


def test_turns_of_the_user_within_an_answer_do_not_count(kit: Any, load: Any) -> None:
    model = load()
    loss = kit.loss_of(Dpo(), model, kit.a_run())
    row = kit.preferences()[0]
    row["chosen"] = [*row["chosen"], *kit.message("user", "Thank you."), *kit.message("assistant", "Yes.")]
    encoded = kit.encoded(loss, [row])[0]
    spans = encoded["spans"]
    assert len(spans) == 4
    counted = [encoded["input_ids"][start:end] for start, end in zip(spans[::2], spans[1::2], strict=True)]
    assert [model.tokenizer.decode(ids) for ids in counted] == ["The capital of Norway is Oslo.<|im_end|>", "Yes.<|im_end|>"]


@pytest.mark.slow
@pytest.mark.parametrize("lora", [False, True], ids=["full", "lora"])
@pytest.mark.parametrize("plugin", [Dpo, Kto])
def test_precomputed_is_the_same_loss(kit: Any, load: Any, plugin: type, lora: bool) -> None:
    model, run = load(lora=lora), kit.a_run(form(plugin), eval_batch_tokens=200)
    asked = kit.loss_of(plugin(), model, run)
    known = kit.loss_of(plugin(precompute_ref_log_probs=True), model, run)
    assert asked.key != known.key
    kept = kit.encoded(known, rows_for(kit, plugin))
    trained(kit, plugin(), model, run, [list(range(8))])
    batch = known.collate(kept)
    assert "ref_logps" in batch.inputs
    ours, theirs = known.compute(batch), asked.compute(kit.batch_of(asked, rows_for(kit, plugin)))
    assert torch.allclose(ours.row_losses, theirs.row_losses, rtol=1e-4)
    assert kit.loss_of(plugin(precompute_ref_log_probs=True), model, run).key != known.key, "other weights, other cache"


def test_what_is_too_long_loses_its_prompt_first(kit: Any, load: Any) -> None:
    row = kit.preferences()[0]
    row["prompt"] = kit.message("user", "What is the capital of Norway? " * 12)
    model = load()
    whole = kit.encoded(kit.loss_of(Dpo(), model, kit.a_run()), [row])[0]
    longest = max(whole["spans"][1] - whole["spans"][0], whole["rejected_spans"][1] - whole["rejected_spans"][0])
    cut = kit.encoded(kit.loss_of(Dpo(), model, kit.a_run(max_length=longest + 9)), [row])[0]
    for ids, places in (("input_ids", "spans"), ("rejected_ids", "rejected_spans")):
        assert len(cut[ids]) <= longest + 9 and cut[ids][0] == model.tokenizer.bos_token_id
        assert cut[ids][slice(*cut[places])] == whole[ids][slice(*whole[places])], "the answer is whole"
    assert cut["cut"] == whole["length"] - cut["length"] > 0 == whole["cut"] == cut["answer_cut"]
    tight = kit.encoded(kit.loss_of(Dpo(), model, kit.a_run(max_length=8)), [row])[0]
    assert len(tight["input_ids"]) == 8 and tight["spans"] == [1, 8] and tight["answer_cut"] > 0
    loss = kit.loss_of(Dpo(), model, kit.a_run(max_length=8))
    assert torch.isfinite(loss.compute(loss.collate([tight])).total)


def test_pairs_that_say_nothing_are_left_out_and_told(kit: Any, load: Any) -> None:
    talk = chat_template.prepare(load().tokenizer)
    given_rows = kit.preferences()
    given_rows[3]["rejected"] = kit.message("assistant", given_rows[3]["chosen"][0]["content"])
    rows_read = rows.encode_pairs(talk, given_rows, 200, rows.SamePairs())
    assert [row["row"] for row in rows_read if "left_out" not in row] == [0, 1, 2, 4, 5, 6, 7]
    assert rows_read[3] == {"row": 3, "left_out": "chosen and rejected are the same", "answer_cut": 0}
    with pytest.raises(UserError, match="the same in 5 of 8 pairs"):
        same = [{**row, "rejected": row["chosen"]} if n < 5 else row for n, row in enumerate(kit.preferences())]
        rows.encode_pairs(talk, same, 200, rows.SamePairs())


@pytest.mark.parametrize("plugin", [Dpo, Kto])
def test_an_empty_answer_is_named(kit: Any, load: Any, plugin: type) -> None:
    loss = kit.loss_of(plugin(), load(), kit.a_run(form(plugin)))
    given_rows = rows_for(kit, plugin)
    given_rows[5]["completion" if plugin is Kto else "rejected"] = kit.message("assistant", " \n")
    with pytest.raises(UserError, match=r"Who had a fever\?.*empty answer"):
        kit.encoded(loss, given_rows)


@pytest.mark.parametrize("plugin", [Dpo, Orpo, Simpo, Kto])
def test_a_finished_run_answers_a_text(kit: Any, load: Any, plugin: type) -> None:
    """As a user's turn, as the prompt of a row, or as the conversation before a row's own answer; never while it is scored."""
    loss = kit.loss_of(plugin(max_new_tokens=4), load(), kit.a_run(form(plugin)))
    row = rows_for(kit, plugin)[0]
    spellings = [{"text": row["prompt"][0]["content"]}, {"prompt": row["prompt"]}, {"messages": row["prompt"]}, row]
    asked = kit.encoded(loss, spellings, "predict")
    answers = [prediction.answer for prediction in loss.answer(loss.collate(asked), None)]
    assert isinstance(answers[0], str) and len(set(answers)) == 1
    assert answers[0] == loss.answer(loss.collate(asked[:1]), None)[0].answer
    scored = kit.batch_of(loss, rows_for(kit, plugin))
    assert [prediction.answer for prediction in loss.answer(scored, loss.compute(scored))] == [None] * 8
    with pytest.raises(UserError, match="empty conversation"):
        kit.encoded(loss, [{}], "predict")


@pytest.mark.parametrize("plugin", [Dpo, Kto])
def test_a_template_changed_after_training_is_refused(kit: Any, load: Any, tmp_path: Any, plugin: type) -> None:
    from datasets import Dataset

    from ftp.folder.log import Log
    from ftp.types import Data

    log, model = Log(tmp_path, writer=True), load()
    run = replace(kit.a_run(form(plugin)), out=tmp_path, log=log)
    plugin().make_loss(run, Data({"train": Dataset.from_list(rows_for(kit, plugin))}, form(plugin)), model)
    log.close()
    kit.loss_of(plugin(), model, run)
    model.tokenizer.chat_template = model.tokenizer.chat_template.replace("im_start", "im_begin")
    with pytest.raises(UserError, match="not the one it was trained with"):
        kit.loss_of(plugin(), model, run)


def test_misfits_are_told(kit: Any, load: Any) -> None:
    with pytest.raises(UserError, match="loss_type ipo has none"):
        kit.loss_of(Dpo(loss_type="ipo", label_smoothing=0.1), load(), kit.a_run())
    with pytest.raises(UserError, match="encoder and a"):
        kit.loss_of(Dpo(), load("t5", packed=False), kit.a_run())
    from datasets import Dataset

    from ftp.types import Data

    rated = Data({"train": Dataset.from_list(kit.ratings())}, "feedback")
    with pytest.raises(UserError, match="no row would be learnt from"):
        Kto(desirable_weight=0, undesirable_weight=0).make_loss(kit.a_run("feedback"), rated, load())
    gone = replace(load(), reference=None)
    loss = kit.loss_of(Dpo(), gone, kit.a_run())
    with pytest.raises(UserError, match="not at hand"):
        loss.compute(kit.batch_of(loss, kit.preferences()))


def test_orpo_of_a_certain_answer_is_finite() -> None:
    from ftp_preference.orpo import _log1mexp

    x = torch.tensor([-1e-9, -1e-3, -0.5, -1.0, -40.0, 0.0], requires_grad=True)
    y = _log1mexp(x)
    expected = torch.log(-torch.expm1(x.detach().double()[:5])).float()
    assert torch.allclose(y[:5], expected, rtol=1e-5) and torch.isfinite(y).all()
    y.sum().backward()
    assert torch.isfinite(x.grad[:5]).all()  # type: ignore[index]


@pytest.mark.parametrize("field", [{"weight": 0}, {"train": False}], ids=str)
def test_turns_that_are_not_to_be_learnt_are_read_in_a_prompt_and_refused_as_an_answer(
    kit: Any, load: Any, field: dict[str, Any],
) -> None:
    loss = kit.loss_of(Dpo(), load(), kit.a_run())
    earlier = [*kit.message("user", "Hello."), *kit.message("assistant", "Hello to you.")]
    rows = [{**row, "prompt": [*earlier, *row["prompt"]]} for row in kit.preferences()]
    marked = [{**row, "prompt": [earlier[0], {**earlier[1], **field}, *row["prompt"][2:]]} for row in rows]
    assert kit.encoded(loss, marked) == kit.encoded(loss, rows)
    for side in ("chosen", "rejected"):
        refused = [*rows[:1], {**rows[1], side: [{**rows[1][side][0], **field}]}]
        with pytest.raises(UserError, match=r"seven plus five.*is to be learnt \(their weight is 0 or train is false\)"):
            kit.encoded(loss, refused)
