"""The same weights and rows give TRL's losses and gradients, to 1e-4 of their size."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from datasets import Dataset

from ftp_preference import Dpo, Kto, Orpo, Simpo

TOLERANCE = 1e-4


def arguments(config: Any, where: Any, **more: Any) -> Any:
    return config(output_dir=str(where), report_to=[], use_cpu=True, bf16=False, gradient_checkpointing=False, **more)


def same(ours: dict[str, torch.Tensor], theirs: dict[str, torch.Tensor]) -> None:
    assert set(ours) == set(theirs) and ours
    assert any(float(value.abs().max()) > 1e-4 for value in theirs.values()), "gradients are zero: nothing was compared"
    largest = max(float(value.abs().max()) for value in theirs.values())
    for name, value in theirs.items():
        assert float((ours[name] - value).abs().max()) <= TOLERANCE * largest, name


def moved(model: Any, seed: int = 7) -> Any:
    """The network with other weights than its reference, so that the log ratios are not zero."""
    torch.manual_seed(seed)
    with torch.no_grad():
        for weight in model.net.parameters():
            if weight.requires_grad:
                weight.add_(torch.randn_like(weight) * 0.02)
    model.net.zero_grad()
    return model


def sides(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [{"prompt_ids": row["input_ids"][: row["spans"][0]], "chosen_ids": row["input_ids"][row["spans"][0] :],
             "rejected_ids": row["rejected_ids"][row["rejected_spans"][0] :]} for row in rows]


@pytest.fixture
def texts(kit: Any) -> Dataset:
    return Dataset.from_list(kit.preferences())


KINDS = [("sigmoid", 0.0), ("sigmoid_norm", 0.0), ("ipo", 0.0), ("hinge", 0.0), ("robust", 0.2)]


@pytest.mark.slow
@pytest.mark.parametrize("packed", [True, False], ids=["packed", "padded"])
@pytest.mark.parametrize(("loss_type", "noise"), KINDS)
def test_dpo(kit: Any, load: Any, texts: Dataset, tmp_path: Any, loss_type: Any, noise: float, packed: bool) -> None:
    from trl import DPOConfig, DPOTrainer

    plugin, model = Dpo(loss_type=loss_type, label_smoothing=noise, beta=0.3), load(packed=packed)
    loss = kit.loss_of(plugin, moved(model), kit.a_run())
    rows = kit.encoded(loss, kit.preferences())
    out = loss.compute(loss.collate(rows))
    (out.total / len(rows)).backward()

    theirs, reference = moved(load(packed=False)), load(packed=False)
    config = arguments(DPOConfig, tmp_path, loss_type=[loss_type], label_smoothing=noise, beta=0.3)
    trainer = DPOTrainer(theirs.net, ref_model=reference.net, args=config, train_dataset=texts,
                         processing_class=theirs.tokenizer)
    value = trainer._compute_loss(theirs.net, trainer.data_collator(sides(rows)), False)
    value.backward()
    assert float(out.total.detach()) / len(rows) == pytest.approx(float(value.detach()), rel=TOLERANCE)
    same(kit.gradients(model), kit.gradients(theirs))
    shown = {name: float(x) / len(rows) for name, x in out.metrics.items()}
    for name in ("rewards/chosen", "rewards/rejected", "rewards/margins", "rewards/accuracies", "logps/chosen", "logps/rejected"):
        assert shown[name] == pytest.approx(trainer._metrics["train"][name][-1], rel=1e-3, abs=1e-5), name


def test_dpo_with_lora(kit: Any, load: Any, texts: Dataset, tmp_path: Any) -> None:
    from trl import DPOConfig, DPOTrainer

    model, theirs = moved(load(lora=True)), load(packed=False, lora=True)
    loss = kit.loss_of(Dpo(), model, kit.a_run())
    rows = kit.encoded(loss, kit.preferences())
    out = loss.compute(loss.collate(rows))
    (out.total / len(rows)).backward()
    trainer = DPOTrainer(theirs.net, args=arguments(DPOConfig, tmp_path), train_dataset=texts, processing_class=theirs.tokenizer)
    moved(theirs)  # only now: TRL copies the adapter it is given as the reference
    value = trainer._compute_loss(theirs.net, trainer.data_collator(sides(rows)), False)
    value.backward()
    assert float(out.total.detach()) / len(rows) == pytest.approx(float(value.detach()), rel=TOLERANCE)
    same(kit.gradients(model), kit.gradients(theirs))


@pytest.mark.slow
@pytest.mark.parametrize(("seed", "away"), [(7, False), (9, True)], ids=["z0 is 0", "z0 is above 0"])
def test_kto(kit: Any, load: Any, tmp_path: Any, seed: int, away: bool) -> None:
    """Where the mismatched answers got less likely z0 is 0, and says nothing of how it is reckoned."""
    from trl import KTOConfig, KTOTrainer

    plugin, model = Kto(desirable_weight=1.2, undesirable_weight=0.7), moved(load(), seed)
    loss = kit.loss_of(plugin, model, kit.a_run("feedback"))
    rows = kit.encoded(loss, kit.ratings())
    out = loss.compute(loss.collate(rows))
    (out.total / len(rows)).backward()

    theirs, reference = moved(load(packed=False), seed), load(packed=False)
    config = arguments(KTOConfig, tmp_path, desirable_weight=1.2, undesirable_weight=0.7)
    trainer = KTOTrainer(theirs.net, ref_model=reference.net, args=config, train_dataset=Dataset.from_list(kit.ratings()),
                         processing_class=theirs.tokenizer)
    prepared = [{"prompt_ids": row["input_ids"][: row["spans"][0]], "completion_ids": row["input_ids"][row["spans"][0] :],
                 "KL_completion_ids": row["other_ids"][row["other_spans"][0] :], "label": bool(row["label"])} for row in rows]
    value = trainer._compute_loss(theirs.net, trainer.data_collator(prepared), False)
    value.backward()
    assert (trainer._metrics["train"]["kl"][-1] > 0.1) is away
    assert float(out.metrics["kl"]) / len(rows) == pytest.approx(trainer._metrics["train"]["kl"][-1], rel=TOLERANCE, abs=1e-6)
    assert float(out.total.detach()) / len(rows) == pytest.approx(float(value.detach()), rel=TOLERANCE)
    same(kit.gradients(model), kit.gradients(theirs))


def labelled(rows: list[dict[str, Any]], pad: int) -> dict[str, Any]:
    """A batch as TRL's older trainers read it."""
    batch = {}
    for name, ids, trained in (("chosen", "input_ids", "spans"), ("rejected", "rejected_ids", "rejected_spans")):
        longest = max(len(row[ids]) for row in rows)
        batch[f"{name}_input_ids"] = torch.tensor([row[ids] + [pad] * (longest - len(row[ids])) for row in rows])
        batch[f"{name}_attention_mask"] = torch.tensor([[1] * len(row[ids]) + [0] * (longest - len(row[ids])) for row in rows])
        batch[f"{name}_labels"] = torch.tensor([[-100] * row[trained][0] + row[ids][row[trained][0] :]
                                                + [-100] * (longest - len(row[ids])) for row in rows])
    return batch


@pytest.mark.filterwarnings("ignore")
def test_simpo(kit: Any, load: Any, texts: Dataset, tmp_path: Any) -> None:
    from trl.experimental.cpo import CPOConfig, CPOTrainer

    model, theirs = moved(load()), moved(load(packed=False))
    loss = kit.loss_of(Simpo(beta=1.5, simpo_gamma=0.6, label_smoothing=0.1), model, kit.a_run())
    rows = kit.encoded(loss, kit.preferences())
    out = loss.compute(loss.collate(rows))
    (out.total / len(rows)).backward()
    config = arguments(CPOConfig, tmp_path, loss_type="simpo", cpo_alpha=0.0, beta=1.5, simpo_gamma=0.6, label_smoothing=0.1)
    trainer = CPOTrainer(theirs.net, args=config, train_dataset=texts, processing_class=theirs.tokenizer)
    value, _ = trainer.get_batch_loss_metrics(theirs.net, labelled(rows, theirs.tokenizer.pad_token_id))
    value.backward()
    assert float(out.total.detach()) / len(rows) == pytest.approx(float(value.detach()), rel=TOLERANCE)
    same(kit.gradients(model), kit.gradients(theirs))


@pytest.mark.filterwarnings("ignore")
def test_orpo(kit: Any, load: Any, texts: Dataset, tmp_path: Any) -> None:
    """TRL's first term takes in the prompt and is a mean over a batch's tokens; ours is the paper's. With prompts of one
    token (which nothing predicts) and one pair a batch the two are the same."""
    from trl.experimental.orpo import ORPOConfig, ORPOTrainer

    model, theirs = moved(load()), moved(load(packed=False))
    loss = kit.loss_of(Orpo(beta=0.4), model, kit.a_run())
    rows = []
    for row in kit.encoded(loss, kit.preferences()):
        cut, other = row["spans"][0] - 1, row["rejected_spans"][0] - 1
        rows.append({**row, "input_ids": row["input_ids"][cut:], "rejected_ids": row["rejected_ids"][other:],
                     "spans": [1, row["spans"][1] - cut], "rejected_spans": [1, row["rejected_spans"][1] - other]})
    out = loss.compute(loss.collate(rows))
    (out.total / len(rows)).backward()
    trainer = ORPOTrainer(theirs.net, args=arguments(ORPOConfig, tmp_path, beta=0.4), train_dataset=texts,
                          processing_class=theirs.tokenizer)
    values = [trainer.get_batch_loss_metrics(theirs.net, labelled([row], theirs.tokenizer.pad_token_id))[0] for row in rows]
    value = torch.stack(values).mean()
    value.backward()
    assert float(out.total.detach()) / len(rows) == pytest.approx(float(value.detach()), rel=TOLERANCE)
    same(kit.gradients(model), kit.gradients(theirs))


@pytest.mark.parametrize("noise", [0.0, 0.1, 0.3])
@pytest.mark.parametrize("kind", ["sigmoid", "sigmoid_norm", "robust", "simpo"])
def test_label_smoothing_is_the_formula(kind: Any, noise: float) -> None:
    """By hand, for a pair in the right order and one in the wrong: the noise is the weight of the pair swapped."""
    from math import exp, log

    from ftp.losses.preference_pairs import Logps

    numbers = {"chosen": (-3.0, -9.0), "rejected": (-8.0, -2.0), "ref_chosen": (-4.0, -5.0), "ref_rejected": (-5.0, -4.0),
               "chosen_length": (4.0, 5.0), "rejected_length": (2.0, 3.0)}
    plugin: Any = Simpo(label_smoothing=noise) if kind == "simpo" else Dpo(loss_type=kind, label_smoothing=noise)
    losses, _ = plugin.formula(Logps(**{name: torch.tensor(values) for name, values in numbers.items()}))
    for index, loss in enumerate(losses.tolist()):
        chosen, rejected, ref_chosen, ref_rejected, chosen_length, rejected_length = [
            values[index] for values in numbers.values()]
        if kind == "simpo":
            margin = 2.0 * (chosen / chosen_length - rejected / rejected_length) - 1.0
        elif kind == "sigmoid_norm":
            margin = 0.1 * ((chosen - ref_chosen) / chosen_length - (rejected - ref_rejected) / rejected_length)
        else:
            margin = 0.1 * (chosen - ref_chosen - rejected + ref_rejected)
        right, swapped = log(1 + exp(-margin)), log(1 + exp(margin))
        robust = ((1 - noise) * right - noise * swapped) / (1 - 2 * noise)
        assert loss == pytest.approx(robust if kind == "robust" else (1 - noise) * right + noise * swapped, rel=1e-5)
