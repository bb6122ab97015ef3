"""A teacher in the loss: the formula, whom it takes, what a run shows, and which mistakes are told."""

from __future__ import annotations

import dataclasses
import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.nn.functional import cross_entropy, kl_div, log_softmax, softmax

import ftp
from ftp import UserError
from ftp import model as models
from ftp.net import heads, layout
from ftp.runs.run import execute
from ftp_distill.mixing import Formula
from ftp_testing import scene
from ftp_testing.models import tiny
from ftp_testing.subject import find, tiny_model


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A teacher of each kind, with the tokenizer of the kit's own models; that of bert is a finished run, with a trained head."""
    folder = tmp_path_factory.mktemp("models")
    folders = {kind: tiny(kind, folder / kind, seed=7) for kind in ("llama", "gpt2")}
    folders["encoder"] = tiny("bert", folder / "bert", seed=7)
    for name in ("tokenizer.json", "tokenizer_config.json"):  # word pieces come out in another order each time they are trained
        shutil.copyfile(tiny_model("bert") / name, folder / "bert" / name)
    done = execute(find("full").prepared(model=str(folders["encoder"]), max_steps=3, learning_rate=1e-2, out=str(folder / "run")))
    return {**folders, "bert": done.out}


def build(
    teacher: Path | None, plugins: tuple[str, ...] = (), kind: str = "", packed: bool = False, **options: Any
) -> scene.Scene:
    subject = find("distill")
    flags = {f"distill.{name}": value for name, value in options.items()}
    if teacher:
        flags["distill.teacher"] = str(teacher)
    prepared = subject.prepared
    subject.prepared = lambda *more, **rest: prepared(*more, plugins=plugins, **rest)  # type: ignore[method-assign]
    return scene.build(subject, kind, packed=packed, **flags)


@pytest.mark.parametrize("kind", ["forward", "reverse", "jsd"])
def test_the_formula(kind):
    """Against torch's own kl_div, row by row."""
    torch.manual_seed(0)
    student, teacher = torch.randn(5, 7, requires_grad=True), torch.randn(5, 7)
    ours = Formula(0.5, 3.0, kind, 0.3).divergence(student, teacher)
    s, t = student / 3, teacher / 3
    if kind == "forward":
        expected = kl_div(log_softmax(s, -1), softmax(t, -1), reduction="none")
    elif kind == "reverse":
        expected = kl_div(log_softmax(t, -1), log_softmax(s, -1), reduction="none", log_target=True)
    else:
        mixture = (0.3 * softmax(t, -1) + 0.7 * softmax(s, -1)).log()
        of_teacher = kl_div(mixture, softmax(t, -1), reduction="none")
        of_student = kl_div(mixture, softmax(s, -1), reduction="none")
        expected = 0.3 * of_teacher + 0.7 * of_student
    torch.testing.assert_close(ours, 9 * expected.sum(-1), rtol=1e-5, atol=1e-6)
    assert float(Formula(0.5, 3.0, kind, 0.3).divergence(teacher, teacher).abs().max()) < 1e-6


def test_the_divergence_of_gkd():
    trl = pytest.importorskip("trl.experimental.gkd")
    torch.manual_seed(0)
    student, teacher = torch.randn(2, 5, 7), torch.randn(2, 5, 7)
    for beta in (0.1, 0.5, 0.9):
        theirs = trl.GKDTrainer.generalized_jsd_loss(student, teacher, beta=beta, temperature=2.0, reduction="sum")
        ours = Formula(1.0, 2.0, "jsd", beta).divergence(student.view(-1, 7), teacher.view(-1, 7)).sum() / 4
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("packed", [False, True])
def test_the_loss_of_classes(folders, packed):
    trained = build(folders["bert"], packed=packed, alpha=0.7, temperature=2.0)
    rows = trained.rows(5)
    out = trained.loss.compute(trained.batch(rows))
    teacher = models.reload(folders["bert"] / "model").net
    inputs = layout.lay([row["input_ids"] for row in rows], packed=False, pad_id=0)
    ids = {name: inputs[name] for name in ("input_ids", "attention_mask")}
    student, theirs = trained.model.net(**ids).logits, teacher(**ids).logits
    soft = kl_div(log_softmax(student / 2, -1), softmax(theirs / 2, -1), reduction="sum") * 4
    hard = cross_entropy(student, torch.tensor([row["label"] for row in rows]), reduction="sum")
    torch.testing.assert_close(out.total, 0.7 * soft + 0.3 * hard, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(out.row_losses.sum(), out.total.detach(), rtol=1e-4, atol=1e-5)
    with torch.no_grad():
        torch.testing.assert_close(trained.loss.compute(trained.batch(rows)).total, hard.detach(), rtol=1e-4, atol=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("plugin, kind", [("sft", "llama"), ("clm", "gpt2")])
def test_the_loss_of_tokens(folders, plugin, kind, packed, monkeypatch):
    trained = build(folders[kind], (plugin,), kind, packed=packed, alpha=0.4, temperature=1.5)
    rows = trained.rows(3)
    batch = trained.batch(rows)
    out = trained.loss.compute(batch)
    teacher = models.load(models.find(str(folders[kind]), "tokens"), "tokens").net
    where = batch.inputs["where"]
    names = ("input_ids", "attention_mask", "row_starts", "extent", "position_ids")
    plain = {name: value for name, value in batch.inputs.items() if name in names}
    if packed:
        teacher.set_attn_implementation(trained.model.net.config._attn_implementation)
    student, theirs = (heads.logits_at(net, plain, where) for net in (trained.model.net, teacher))
    soft = kl_div(log_softmax(student / 1.5, -1), softmax(theirs / 1.5, -1), reduction="sum") * 1.5**2
    hard = cross_entropy(student, batch.inputs["target"], reduction="sum")
    torch.testing.assert_close(out.total, 0.4 * soft + 0.6 * hard, rtol=1e-4, atol=1e-4)
    out.total.backward()
    gradient = {name: weight.grad.clone() for name, weight in trained.model.net.named_parameters() if weight.grad is not None}
    trained.model.net.zero_grad()
    monkeypatch.setattr(heads, "LOGIT_BYTES", 5 * 8 * 320)  # in pieces of five tokens
    again = trained.loss.compute(trained.batch(rows))
    torch.testing.assert_close(again.total, out.total, rtol=1e-5, atol=1e-5)
    again.total.backward()
    for name, value in gradient.items():
        torch.testing.assert_close(trained.model.net.get_parameter(name).grad, value, rtol=1e-3, atol=1e-5)


def test_another_own_loss_is_kept(folders):
    """Where a wrapper inside ours changed the loss, that one counts, not the plain cross entropy."""
    from ftp_distill.mixing import compute
    from ftp_distill.teachers import find as find_teacher

    trained = build(None, ("sft",), "llama", alpha=0.0)

    def doubled(batch: Any) -> Any:
        out = trained.loss.compute(batch)
        return dataclasses.replace(out, total=2 * out.total)

    teacher = find_teacher(trained.run, trained.data, trained.model, None)
    mixed = compute(trained.model, dataclasses.replace(trained.loss, compute=doubled), teacher, Formula(0.0, 1.0, "forward", 0.5))
    batch = trained.batch(trained.rows(2))
    torch.testing.assert_close(mixed(batch).total, doubled(batch).total, rtol=1e-4, atol=1e-5)


def test_without_a_teacher_the_model_of_before_teaches():
    trained = build(None, ("sft", "lora"), "llama", alpha=1.0)
    rows = trained.rows(3)
    batch = trained.batch(rows)
    assert abs(trained.loss.compute(batch).total.item()) < 1e-4  # nothing has moved yet
    with torch.no_grad():
        for weight in trained.model.net.parameters():
            if weight.requires_grad:
                weight.add_(torch.randn_like(weight) * 0.1)
    out = trained.loss.compute(batch)
    assert out.total.item() > 1e-3
    out.total.backward()
    assert any(weight.grad is not None and bool(weight.grad.any()) for weight in trained.model.net.parameters())


def test_classes_in_another_order_are_put_right(folders, tmp_path):
    folder = tmp_path / "other"
    shutil.copytree(folders["bert"] / "model", folder)
    for name in ("ftp.json", "config.json"):
        text = (folder / name).read_text()
        (folder / name).write_text(text.replace('"bad"', '"x"').replace('"good"', '"bad"').replace('"x"', '"good"'))
    student = build(folders["bert"], alpha=1.0)
    student_of_other = build(folder, alpha=1.0)
    rows = student.rows(4)
    first = student.loss.compute(student.batch(rows)).total.item()
    second = student_of_other.loss.compute(student_of_other.batch(rows)).total.item()
    config = json.loads((folder / "config.json").read_text())
    assert config["id2label"] == {"0": "good", "1": "bad"}
    assert abs(first - second) > 1e-4  # the same numbers under swapped names mean the opposite


@pytest.mark.slow
def test_mistakes_are_told(folders, tmp_path):
    with pytest.raises(UserError, match="no trained head"):
        build(folders["encoder"])
    with pytest.raises(UserError, match="the divergence 'reverse' has none"):
        build(folders["bert"], beta=0.2, divergence="reverse")
    with pytest.raises(UserError, match="tokenizer is another one"):
        build(folders["gpt2"], ("sft",), "llama")
    with pytest.raises(UserError, match=r"ends in the head 'labels'"):
        build(folders["bert"], ("mlm",), "bert")
    with pytest.raises(UserError, match="not on the head"):
        build(folders["llama"], ("dpo",), "llama")
    other = tiny("llama", tmp_path / "other", seed=3)
    for name in ("tokenizer.json", "tokenizer_config.json"):
        shutil.copyfile(tiny_model("t5") / name, other / name)
    with pytest.raises(UserError, match="one of teacher and student has an encoder and a decoder"):
        build(other, ("sft",), "t5")
    short = tiny("llama", tmp_path / "short", seed=3, max_position_embeddings=16)
    with pytest.raises(UserError, match="--max-length 16"):
        build(short, ("sft",), "llama")


@pytest.mark.slow
def test_an_encoder_decoder_hears_one(tmp_path):
    def total(student: scene.Scene) -> float:
        return float(student.loss.compute(student.batch(student.rows(4))).total)

    another = tiny("t5", tmp_path, seed=7)
    assert total(build(None, ("sft",), "t5", alpha=0.0)) > 1
    assert abs(total(build(None, ("sft",), "t5", alpha=1.0))) < 1e-3  # nothing to learn from itself
    assert total(build(another, ("sft",), "t5", alpha=1.0)) > 0.1


@pytest.mark.slow
@pytest.mark.parametrize("plugins, kind, teacher", [
    ((), "bert", "bert"), (("sft", "lora"), "llama", "llama"), (("mlm",), "bert", "encoder")])
def test_a_run(folders, tmp_path, plugins, kind, teacher):
    done = execute(find("distill").prepared(plugins=plugins, model=str(tiny_model(kind)), max_steps=4, out=str(tmp_path / "run"),
                                            logging_steps=1, **{"distill.teacher": str(folders[teacher]), "verify": True}))
    steps = [json.loads(line) for line in (done.out / "log.jsonl").read_text().splitlines()]
    shown = [line["distill/divergence"] for line in steps if line["event"] == "step"]
    assert len(shown) == 4 and all(value > 0 for value in shown)
    if not plugins:
        assert ftp.load(done.out).predict(["good thing"])[0]["answer"] in ("bad", "good")  # without its teacher
