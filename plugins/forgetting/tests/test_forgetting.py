"""Raised where general ability was lost and silent where it was not; never "ok" where nothing was compared."""

from __future__ import annotations

import copy
import json
import math
import re
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch
from datasets import Dataset

import ftp
import ftp.model
from ftp.errors import UserError
from ftp.folder.log import Log
from ftp.plugins.call import Hooks
from ftp.plugins.plan import prepare
from ftp.train.device import accelerator
from ftp.types import Data, Model, Risk, StartedRun
from ftp_forgetting import Forgetting, advice, representations, sets, words
from ftp_testing.advice import follow
from ftp_testing.models import tiny

TEXTS = sets.texts(None).documents


PLUGINS = {"tokens": ["clm", "full", "sentiment"], "mask": ["mlm", "full", "sentiment"], "labels": ["full", "sentiment"]}


def a_run(head: Any, out: Path = Path("runs/x")) -> StartedRun:
    prepared = prepare([*PLUGINS[head], "-preflight"], given=[("options", {"device": "cpu", "precision": "fp32"})])
    if out.is_dir():
        (out / "run.toml").write_text(prepared.recipe())
    hooks = Hooks(prepared.picked, prepared.values)
    return StartedRun(prepared.settings, prepared.task, hooks, out, Log(None, writer=False), accelerator(prepared.settings))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("models")


@pytest.fixture(scope="module")
def out(folder: Path) -> Path:
    return folder


@pytest.fixture(scope="module")
def writer(folder: Path) -> Model:
    """A tiny decoder that learnt some of the general text, so that it knows its language."""
    model = loaded(folder, "gpt2", "tokens")
    ids = words.encode(a_run("tokens"), model, TEXTS)
    optimizer = torch.optim.AdamW(model.net.parameters(), lr=1e-2)
    rows = torch.tensor([row[:64] for row in ids if len(row) >= 64])
    for step in range(40):
        part = rows[torch.randperm(len(rows), generator=torch.Generator().manual_seed(step))[:32]]
        optimizer.zero_grad()
        model.net(input_ids=part, labels=part).loss.backward()
        optimizer.step()
    return model


def loaded(folder: Path, kind: Any, head: Any, labels: tuple[str, ...] = ()) -> Model:
    where = folder / kind
    if not where.exists():
        tiny(kind, where)
    return ftp.model.load(ftp.model.find(str(where), head, None), head, labels, seed=0, trust_remote_code=False)


def moved(model: Model, size: float, seed: int = 0) -> Model:
    """The model with noise of `size` times each weight's own spread."""
    net = copy.deepcopy(model.net)
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for weight in net.parameters():
            weight.add_(torch.randn(weight.shape, generator=generator) * weight.std() * size)
    return Model(net, model.tokenizer, model.head, model.labels, model.fresh, model.reference)


def judged(before: Model, after: Model, *, data: Data | None = None, out: Path = Path("runs/x"), **options: Any) -> Risk:
    run = a_run(before.head, out)
    plugin = Forgetting(**options)
    data = data or Data({"train": Dataset.from_dict({"text": ["a"]})}, "text")
    assert plugin.check_risks(run, "data", data, None, None) == []
    assert plugin.check_risks(run, "start", data, before, None) == []
    (risk,) = plugin.check_risks(run, "end", data, after, None)
    json.dumps(risk.evidence, allow_nan=False)
    return risk


# --- the set that comes with it ---


def test_the_general_set_is_whole() -> None:
    assert len(TEXTS) >= 80 and len(set(TEXTS)) == len(TEXTS)
    assert all(30 <= len(text.split()) <= 80 for text in TEXTS)
    for task in sets.tasks(()):
        assert len(task.texts) >= 100 and len(set(task.texts)) == len(task.texts)
        counts = np.bincount(task.labels)
        assert counts.min() == counts.max(), "no class is more frequent, so guessing is no help"


# --- measures against their formulas ---


@pytest.mark.slow
def test_surprise_is_the_mean_cross_entropy_of_each_document(writer: Model) -> None:
    run = a_run("tokens")
    ids = words.encode(run, writer, TEXTS[:12])
    reading = words.read_documents(run, writer, ids)
    for number in (0, 5, 11):
        row = torch.tensor([ids[number]])
        with torch.no_grad():
            assert reading.losses[number] == pytest.approx(float(writer.net(input_ids=row, labels=row).loss), rel=1e-4)


@pytest.mark.slow
@pytest.mark.parametrize("packed", [False, True])
def test_kl_is_that_of_the_whole_distribution_where_all_is_kept(writer: Model, packed: bool, monkeypatch: Any) -> None:
    monkeypatch.setattr(words, "TOP", 10_000)
    run, other = a_run("tokens"), moved(writer, 0.1)
    ids = words.encode(run, writer, TEXTS[:10])
    if packed:
        from ftp.net import packing
        assert packing.can_pack(writer.net, writer.tokenizer)[0]
    was = words.read_documents(run, writer, ids)
    exact = words.kl(was, words.read_documents(run, other, ids, was))
    row = torch.tensor([ids[3]])
    with torch.no_grad():
        p = writer.net(input_ids=row).logits[0, :-1].log_softmax(-1)
        q = other.net(input_ids=row).logits[0, :-1].log_softmax(-1)
    assert exact[3] == pytest.approx(float((p.exp() * (p - q)).sum(-1).mean()), rel=1e-3)
    monkeypatch.setattr(words, "TOP", 8)
    was = words.read_documents(run, writer, ids)
    short = words.kl(was, words.read_documents(run, other, ids, was))
    assert (short <= exact + 1e-6).all() and short[3] > 0.3 * exact[3], "fewer tokens apart: a lower bound"


def test_a_mask_head_guesses_the_same_hidden_tokens(folder: Path) -> None:
    run, model = a_run("mask"), loaded(folder, "bert", "mask")
    ids = words.encode(run, model, TEXTS[:3])
    reading = words.read_documents(run, model, ids)
    special = set(model.tokenizer.all_special_ids)
    every = range(words.HIDDEN_EVERY - 1, len(ids[1]), words.HIDDEN_EVERY)
    hidden = [index for index in every if ids[1][index] not in special]
    row = torch.tensor([ids[1]])
    target = row[0, hidden]
    row[0, hidden] = model.tokenizer.mask_token_id
    with torch.no_grad():
        logs = model.net(input_ids=row).logits[0, hidden].log_softmax(-1)
    assert reading.losses[1] == pytest.approx(float(-logs.gather(1, target[:, None]).mean()), rel=1e-4)
    assert np.array_equal(reading.losses, words.read_documents(run, model, ids).losses)


def test_cka_knows_rotation_and_scale_from_another_space() -> None:
    dice = np.random.default_rng(0)
    x = dice.normal(size=(200, 8))
    turn = np.linalg.qr(dice.normal(size=(8, 8)))[0]
    assert representations.cka(x, 3 * x @ turn + 5) == pytest.approx(1)
    assert representations.cka(x, dice.normal(size=(200, 8))) < 0.2
    assert representations.cka(x, np.ones((200, 8))) == 0
    y = x[:, :1] @ np.ones((1, 8))  # by hand: HSIC(K, L)/sqrt(HSIC(K, K) HSIC(L, L)) with centred Gram matrices
    h = np.eye(200) - 1 / 200
    k, m = h @ x @ x.T @ h, h @ y @ y.T @ h
    assert representations.cka(x, y) == pytest.approx((k * m).sum() / np.sqrt((k * k).sum() * (m * m).sum()))


def test_neighbours_are_kept_or_not() -> None:
    dice = np.random.default_rng(0)
    x = dice.normal(size=(300, 8))
    assert representations.overlap(x, 2 * x).mean() == 1
    assert representations.overlap(x, dice.normal(size=(300, 8))).mean() == pytest.approx(10 / 299, abs=0.02)


# --- models that write ---


@pytest.mark.slow
def test_noise_raises_nothing_in_any_of_twenty_runs(writer: Model) -> None:
    levels = [judged(writer, moved(writer, 0.01, seed)).level for seed in range(20)]
    assert levels.count("ok") >= 19, levels


@pytest.mark.slow
def test_a_spoilt_writer_is_told_with_what_to_type(writer: Model, out: Path) -> None:
    risk = judged(writer, moved(writer, 1.0), out=out)
    assert risk.finding.startswith(("the model lost some", "the model lost much"))
    assert risk.level in ("warn", "stop") and risk.evidence["rise_low"] > 0.2 and risk.evidence["kl"] > 0.1
    assert risk.evidence["documents"] == risk.evidence["of"] == 81 and not risk.evidence["sampled"]
    assert any("--learning-rate" in line for line in risk.advice) and any("l2sp" in line for line in risk.advice)
    start = f"ftp run {out / 'run.toml'} --plugins clm"
    small = f"{start},sentiment,-preflight,lora"
    rate = f"--learning-rate {prepare(['clm', 'sentiment', 'lora']).settings.learning_rate:g}"
    assert [line for line in risk.advice if line.startswith(start)] == [
        f"{small} {rate}", f"{small} --lora.target_modules '.*\\.\\d+\\.(mlp\\.c_fc|mlp\\.c_proj)' {rate}",
        *(f"{start},full,sentiment,-preflight,{more}" for more in ("mix", "l2sp", "kl_anchor"))]
    for line in risk.advice:
        follow(line)


def test_a_sample_is_told(writer: Model) -> None:
    risk = judged(writer, writer, rows=12)
    assert risk.level == "ok" and risk.evidence["documents"] == 12 and risk.evidence["sampled"]
    assert risk.evidence["rise"] == 0 and risk.evidence["kl"] == 0


def test_a_model_that_does_not_know_the_language_is_not_run(folder: Path) -> None:
    model = loaded(folder, "llama", "tokens")
    risk = judged(model, moved(model, 1.0))
    assert risk.level == "not_run" and "does not fit" in risk.finding and risk.evidence["before"] > 0.7 * risk.evidence["uniform"]


def test_text_of_unknown_tokens_is_not_run(folder: Path, tmp_path: Path) -> None:
    file = tmp_path / "other.txt"
    file.write_text("\n".join("это предложение написано по русски номер " + str(n) for n in range(20)), encoding="utf-8")
    model = loaded(folder, "bert", "mask")
    risk = judged(model, model, text=str(file))
    assert risk.level == "not_run" and "unknown" in risk.finding and risk.evidence["unknown"] > 0.1


def test_the_split_general_is_taken_where_there_is_one(writer: Model) -> None:
    rows = Dataset.from_dict({"text": list(TEXTS[:20])})
    risk = judged(writer, writer, data=Data({"train": rows, "general": rows}, "text"))
    assert risk.evidence["of"] == 20 and risk.evidence["text"] == "the split general"


def test_no_start_is_not_run(writer: Model) -> None:
    (risk,) = Forgetting().check_risks(a_run("tokens"), "end", Data({}, "text"), writer, None)
    assert risk.level == "not_run"


# --- encoders with a new head ---


@pytest.fixture(scope="module")
def easy(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A task that even a random network's features tell: which of two sets of words a text is made of."""
    file = tmp_path_factory.mktemp("tasks") / "easy.jsonl"
    kinds = [["film", "scene", "joy", "quiet", "watch", "free"], ["bank", "letter", "card", "soup", "bread", "fever"]]
    dice = np.random.default_rng(0)
    rows = [{"text": " ".join(dice.choice(kinds[n % 2], 6)), "label": n % 2} for n in range(160)]
    file.write_text("\n".join(json.dumps(row) for row in rows))
    return str(file)


def test_an_encoder_that_was_left_alone_is_ok(folder: Path, easy: str) -> None:
    model = loaded(folder, "bert", "labels", ("no", "yes"))
    risk = judged(model, model, tasks=(easy,))
    assert risk.level == "ok" and risk.evidence["cka"] == pytest.approx(1) and risk.evidence["neighbours_kept"] == 1
    assert risk.evidence["fall"] == 0


@pytest.mark.parametrize(("kind", "modules"), [
    ("llama", ("gate_proj", "up_proj", "down_proj")), ("gpt2", (r".*\.\d+\.(mlp\.c_fc|mlp\.c_proj)",)),
    ("bert", (r".*\.\d+\.(intermediate\.dense|output\.dense)",))])
def test_the_mlp_of_a_network_is_known_by_its_names(folder: Path, kind: str, modules: tuple[str, ...]) -> None:
    net = loaded(folder, kind, "labels" if kind == "bert" else "tokens", ("no", "yes") if kind == "bert" else ()).net
    assert advice.mlp(net) == modules
    names = [name for name, _ in net.named_modules()]
    pattern = "|".join(rf".*\.{module}|{module}" for module in modules)
    hit = [name for name in names if re.fullmatch(pattern, name)]
    assert hit and not any("att" in name for name in hit) and len(hit) % net.config.num_hidden_layers == 0
    assert advice.mlp(torch.nn.Sequential(torch.nn.Linear(2, 2))) == ()


@pytest.mark.slow
def test_an_encoder_that_tells_no_text_from_another_is_told(folder: Path, easy: str, out: Path) -> None:
    model = loaded(folder, "bert", "labels", ("no", "yes"))
    spoilt = moved(model, 0.0)
    with torch.no_grad():
        for name, weight in spoilt.net.named_parameters():
            if name.endswith("LayerNorm.weight"):
                weight.zero_()
    risk = judged(model, spoilt, tasks=(easy,), out=out)
    for line in risk.advice:
        follow(line)
    assert risk.level == "warn" and risk.evidence["cka"] < 0.5 and risk.evidence["fall_low"] > 0.1
    assert any("--learning-rate" in line for line in risk.advice) and not any("mix" in line for line in risk.advice)


@pytest.mark.slow
def test_of_a_model_that_reads_and_writes_apart_only_the_reader_is_called_compared(folder: Path, easy: str) -> None:
    model = loaded(folder, "t5", "tokens")
    risk = judged(model, model, tasks=(easy,))
    assert risk.level == "ok" and "what the decoder writes was not compared" in risk.finding
    assert "the model can" not in risk.finding


@pytest.mark.slow
def test_little_noise_in_an_encoder_raises_nothing(folder: Path, easy: str) -> None:
    model = loaded(folder, "bert", "labels", ("no", "yes"))
    assert [judged(model, moved(model, 0.003, seed), tasks=(easy,)).level for seed in range(5)].count("ok") == 5


@pytest.mark.slow
def test_our_tasks_are_compared_as_far_as_the_untouched_model_knew_them(folder: Path) -> None:
    model = loaded(folder, "bert", "labels", ("no", "yes"))
    risk = judged(model, model)
    known = [name for name, share in risk.evidence["before"].items() if share > risk.evidence["majority"][name] + 0.12]
    assert set(risk.evidence.get("falls", {})) >= set(known) and (risk.level == "ok" or not known), risk


# --- what is given ---


def test_wrong_files_are_told_before_anything_is_loaded(tmp_path: Path) -> None:
    few, no_label = tmp_path / "few.txt", tmp_path / "task.csv"
    few.write_text("one\ntwo\n")
    no_label.write_text("text,kind\na,b\n")
    run, data = a_run("tokens"), Data({}, "text")
    for options, message in (({"text": str(few)}, "2 documents"), ({"text": str(tmp_path / "none.txt")}, "no such file"),
                          ({"tasks": (str(no_label),)}, "no column label"), ({"warn_nats": 5.0}, "above --forgetting.stop_nats"),
                          ({"note_drop": 0.5}, "above --forgetting.warn_drop")):
        with pytest.raises(UserError, match=message):
            Forgetting(**options).check_risks(run, "data", data, None, None)


def test_thresholds_out_of_range_are_told() -> None:
    with pytest.raises(UserError) as caught:
        prepare(["lora", "sentiment"], given=[("flags", {"forgetting.alpha": "2", "forgetting.warn_drop": "-1"})])
    assert "--forgetting.alpha 2: out of range" in str(caught.value) and "--forgetting.warn_drop -1" in str(caught.value)


def test_own_tasks_are_probed(folder: Path, tmp_path: Path) -> None:
    lines = [json.dumps({"text": "film scene" if n % 2 else "bank letter", "label": f"class {n % 2}"}) for n in range(128)]
    (tmp_path / "mine.jsonl").write_text("\n".join(lines))
    model = loaded(folder, "bert", "labels", ("no", "yes"))
    risk = judged(model, model, tasks=(str(tmp_path / "mine.jsonl"),))
    assert risk.level == "ok" and list(risk.evidence["before"]) == ["mine"] and risk.evidence["rows"] == 128


def test_tasks_that_the_model_never_knew_are_not_run(folder: Path, tmp_path: Path) -> None:
    dice = np.random.default_rng(0)
    rows = [json.dumps({"text": text, "label": int(dice.integers(2))}) for text in TEXTS]
    (tmp_path / "chance.jsonl").write_text("\n".join(rows))
    model = loaded(folder, "bert", "labels", ("no", "yes"))
    risk = judged(model, moved(model, 1.0), tasks=(str(tmp_path / "chance.jsonl"),))
    assert risk.level == "not_run" and "do not fit" in risk.finding


def test_lm_eval_is_asked_for_by_name_where_it_is_missing(monkeypatch: Any) -> None:
    monkeypatch.setattr("ftp_forgetting.harness.find_spec", lambda name: None)
    with pytest.raises(UserError, match="lm-eval is not installed") as caught:
        Forgetting(lm_eval=("hellaswag",)).check_risks(a_run("tokens"), "data", Data({}, "text"), None, None)
    assert caught.value.problems[0].command == "ftp install --exact lm-eval"


@pytest.mark.slow
def test_lm_eval_tasks_are_compared_row_by_row(writer: Model, monkeypatch: Any, tmp_path: Path) -> None:
    dice, asked = np.random.default_rng(0), list[bool]()

    class HFLM:
        def __init__(self, pretrained: Any, tokenizer: Any, batch_size: int) -> None:
            self.net = pretrained

    def simple_evaluate(model: Any, tasks: list[str], limit: int, **_: Any) -> dict[str, Any]:
        share = 0.9 if model.net is writer.net else 0.3
        asked.append(model.net.training)
        return {"samples": {tasks[0]: [{"doc_id": n, "acc": float(dice.random() < share)} for n in range(limit)]}}

    package, models, face = ModuleType("lm_eval"), ModuleType("lm_eval.models"), ModuleType("lm_eval.models.huggingface")
    package.simple_evaluate, face.HFLM = simple_evaluate, HFLM  # type: ignore[attr-defined]
    for name, module in (("lm_eval", package), ("lm_eval.models", models), ("lm_eval.models.huggingface", face)):
        monkeypatch.setitem(sys.modules, name, module)
    monkeypatch.setattr("ftp_forgetting.harness.find_spec", lambda name: package)
    few = judged(writer, moved(writer, 0.0), lm_eval=("quiz",), lm_eval_rows=5)
    assert few.level == "ok" and "lm-eval" not in few.finding and "fewer than 10" in few.evidence["lm_eval"]["quiz"]["not_run"]
    alien = tmp_path / "other.txt"
    alien.write_text("\n".join("это предложение написано по русски номер " + str(n) for n in range(20)), encoding="utf-8")
    none = judged(writer, moved(writer, 0.0), lm_eval=("quiz",), lm_eval_rows=5, text=str(alien))
    assert none.level == "not_run" and "lm-eval: fewer than 10 rows in common" in none.finding
    asked.clear()
    risk = judged(writer, moved(writer, 0.0), lm_eval=("quiz",))
    assert risk.level == "warn" and risk.evidence["lm_eval"]["quiz"]["fall"][1] > 0.1 and asked == [False, False]
    with pytest.raises(UserError, match="a model that writes"):
        Forgetting(lm_eval=("quiz",)).check_risks(a_run("labels"), "data", Data({}, "labelled"), None, None)


@pytest.mark.slow
def test_a_run_ends_with_the_verdict_and_leaves_training_as_it_is(folder: Path, easy: str, tmp_path: Path) -> None:
    loaded(folder, "bert", "labels", ("no", "yes"))
    options = {"model": str(folder / "bert"), "max_steps": 2, "batch_size": 4, "device": "cpu", "precision": "fp32",
               "max_train_rows": 40, "baselines": False, "verify": False, "report": False}
    with_it = ftp.run(["full", "sentiment"], **options, **{"forgetting.tasks": easy}, out=tmp_path / "a")
    without = ftp.run(["full", "sentiment", "-forgetting"], **options, out=tmp_path / "b")
    assert [risk.level for risk in with_it.risks if risk.name == "forgetting"] == ["ok"]
    assert with_it.score("loss") == without.score("loss") and math.isfinite(with_it.score("loss"))
    plain = tmp_path / "general.txt"
    plain.write_text("\n".join(f"A line of plain words, number {n}." for n in range(20)), encoding="utf-8")
    with pytest.raises(UserError, match=r"--forgetting.text .*general.txt: this model is not one that text is surprising to"):
        ftp.run(["full", "sentiment"], **options, **{"forgetting.text": str(plain)}, out=tmp_path / "c")


