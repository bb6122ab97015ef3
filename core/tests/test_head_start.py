"""A new head begins as a linear model of the training rows, on the features that it reads."""

from __future__ import annotations

import copy
import json
import random
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from datasets import Dataset
from transformers import AutoModelForSequenceClassification

from ftp import heads
from ftp import model as models
from ftp.folder.files import Folder
from ftp.folder.log import Log
from ftp.model import head_features, head_fit, head_start, linear_fit, mean_layer
from ftp.net.heads import output_layers
from ftp.settings import Settings
from ftp.types import Data, Model, StartedRun, Task
from ftp_testing.subject import tiny_model

LABELS = ("no", "yes", "maybe")
WORDS = ("good", "bad", "film", "food", "never", "again", "the", "a", "was", "not", "very", "slow", "warm", "room", "staff")
KINDS = ("bert", "roberta", "gpt2", "llama", "t5", "bart")


@pytest.fixture
def load() -> Any:
    def get(kind: Any, head: str = "labels", labels: tuple[str, ...] = LABELS) -> Model:
        return models.load(models.Source("tiny", folder=tiny_model(kind)), head, labels, seed=3)

    return get


def texts(number: int) -> list[dict[str, Any]]:
    """Rows whose class follows from their words: `yes` with "good" in them, `maybe` with "bad", else `no`."""
    draw = random.Random(7)
    rows = []
    for _ in range(number):
        words = [draw.choice(WORDS) for _ in range(draw.randint(3, 12))]
        rows.append({"text": " ".join(words), "label": 1 if "good" in words else 2 * ("bad" in words)})
    return rows


def data_of(rows: list[dict[str, Any]], form: str = "labelled", labels: tuple[str, ...] = LABELS) -> Data:
    return Data({"train": Dataset.from_list(rows)}, form, labels)


def run_with(tmp_path: Path, form: str = "labelled", head: str = "labels", **settings: Any) -> StartedRun:
    from ftp.train.device import accelerator

    chosen = Settings(device="cpu", precision="fp32", **settings)
    return StartedRun(chosen, Task(form, head), None, tmp_path, Log(None, writer=False), accelerator(chosen))  # type: ignore[arg-type]


def logits_of(run: StartedRun, data: Data, model: Model) -> torch.Tensor:
    """[rows, classes] what the whole network says of the training rows."""
    make = heads.get(model.head).default_loss
    assert make is not None
    loss: Any = make(run, data, model)
    model.net.eval()
    with torch.no_grad():
        return loss.logits_of(loss.collate(list(loss.encode([dict(row) for row in data.splits["train"]]))))


@pytest.mark.parametrize("kind", KINDS)
def test_the_whole_network_answers_as_the_fit_does(kind: str, load: Any, tmp_path: Path) -> None:
    run, data = run_with(tmp_path), data_of(texts(60))
    model = head_start.begin(run, data, load(kind))
    assert model.has_fitted_head
    layer = output_layers(model.net, 3)[0]
    make = heads.get("labels").default_loss
    assert make is not None
    loss: Any = make(run, data, model)
    encoded = list(loss.encode([dict(row) for row in data.splits["train"]]))
    features, targets = head_features.read_features(run, model, layer, loss, encoded)
    fits = [linear_fit.fit("class", features, targets, 3, strength, layer.bias is not None)
            for strength in head_fit.HeadFit().strengths]
    same = [np.allclose(fit.weight, layer.weight.detach().numpy(), atol=2e-3, rtol=1e-2) for fit in fits]
    assert any(same), "the layer has the weights of one of the fits on what it reads"
    ours = logits_of(run, data, model)
    labels = torch.tensor(data.splits["train"]["label"][:])
    guessing = torch.bincount(labels).max() / len(labels)
    assert (ours.argmax(-1) == labels).float().mean() > guessing


def test_the_fit_is_scikit_learns_on_standardised_features() -> None:
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    draw = np.random.default_rng(0)
    features = (draw.normal(size=(80, 5)) * [1, 10, 0.1, 3, 1] + [0, 5, 0, -3, 1]).astype(np.float32)
    for classes in (2, 4):
        targets = draw.integers(0, classes, 80)
        features[:, 0] += targets
        reference = make_pipeline(StandardScaler(), LogisticRegression(C=0.1, max_iter=1000)).fit(features, targets)
        fit = linear_fit.fit("class", features, targets, classes, 0.1)
        logits = torch.from_numpy(fit.logits(features))
        np.testing.assert_allclose(logits.softmax(-1).numpy(), reference.predict_proba(features), atol=1e-3)


def test_a_class_without_rows_is_never_the_answer_and_a_label_of_all_rows_gets_its_odds() -> None:
    draw = np.random.default_rng(0)
    features = draw.normal(size=(40, 3)).astype(np.float32)
    fit = linear_fit.fit("class", features, draw.integers(0, 2, 40) * 2, 4, 1.0)
    assert not set(fit.logits(features).argmax(1)) & {1, 3}
    targets = np.stack([np.ones(40), np.zeros(40), draw.integers(0, 2, 40)], 1)
    labels = linear_fit.fit("labels", features, targets, 3, 1.0)
    assert labels.bias[:2] == pytest.approx([np.log(40.5 / 0.5), np.log(0.5 / 40.5)])
    assert not labels.weight[:2].any()
    assert labels.weight[2].any()


def test_numbers_are_fitted_in_their_own_unit() -> None:
    draw = np.random.default_rng(0)
    features = draw.normal(size=(200, 3)).astype(np.float32)
    targets = features @ [10.0, 0.0, -4.0] + 1950
    fit = linear_fit.fit("number", features, targets, 1, 100.0)
    np.testing.assert_allclose(fit.logits(features)[:, 0], targets, atol=0.1)


@pytest.mark.parametrize("kind", ["bert", "roberta"])
def test_the_last_layer_gives_the_mean_of_the_layer_before(kind: str, load: Any) -> None:
    model = load(kind)
    model.net.eval()
    inputs = model.tokenizer(["the film was good", "bad"], padding=True, return_tensors="pt")
    body = model.net.base_model
    with torch.no_grad():
        before_last = body(**inputs, output_hidden_states=True).hidden_states[-2]
    parts = mean_layer.parts_of(model.net)
    assert parts is not None
    untouched = copy.deepcopy(model.net.state_dict())
    mean_layer.average(model.net, parts)
    with torch.no_grad():
        ours = body(**inputs).last_hidden_state[:, 0]
    mask = inputs["attention_mask"][..., None]
    mean = (before_last * mask).sum(1) / mask.sum(1)
    # a layer adds the token itself, of which little is left
    added = mean_layer.AMPLIFIED * mean + before_last[:, 0]
    expected = torch.nn.functional.layer_norm(added, added.shape[-1:], eps=model.net.config.layer_norm_eps)
    torch.testing.assert_close(ours, expected, atol=1e-4, rtol=1e-4)
    normalised = torch.nn.functional.layer_norm(mean, mean.shape[-1:])
    assert torch.cosine_similarity(ours, normalised).min() > 0.99
    changed = {name for name, weight in model.net.state_dict().items() if not torch.equal(weight, untouched[name])}
    assert all(name.startswith((parts.layer, parts.dense)) for name in changed), "nothing else is touched"


@pytest.mark.parametrize("number", [1, 2])
def test_a_network_ends_with_the_mean_behind_any_layer(number: int, load: Any, tmp_path: Path) -> None:
    model = load("bert")
    model.net.eval()
    inputs = model.tokenizer(["the film was good", "bad"], padding=True, return_tensors="pt")
    with torch.no_grad():
        states = model.net.base_model(**inputs, output_hidden_states=True).hidden_states[number]
    parts = mean_layer.parts_of(model.net)
    assert parts is not None
    ended = mean_layer.end_behind(model.net, parts, number)
    assert mean_layer.end_behind(model.net, parts, number) == ended, "a network that ends there stays as it is"
    mean_layer.average(model.net, ended)
    mask = inputs["attention_mask"][..., None]
    mean = (states * mask).sum(1) / mask.sum(1)
    with torch.no_grad():
        ours = model.net.base_model(**inputs).last_hidden_state[:, 0]
    assert torch.cosine_similarity(ours, torch.nn.functional.layer_norm(mean, mean.shape[-1:])).min() > 0.99

    # plain Transformers reads it, with as many layers as it has
    assert model.net.config.num_hidden_layers == number + 1
    model.net.save_pretrained(tmp_path / "saved")
    again = AutoModelForSequenceClassification.from_pretrained(tmp_path / "saved")
    with torch.no_grad():
        torch.testing.assert_close(again.eval()(**inputs).logits, model.net(**inputs).logits)


def test_where_the_mean_says_more_it_is_read_and_the_layer_is_new(load: Any, tmp_path: Path) -> None:
    run, data = run_with(tmp_path), data_of(texts(300))
    model = head_start.begin(run, data, load("bert"))
    assert set(model.fresh) >= {"classifier", "bert.encoder.layer.1", "bert.pooler"}
    told = " ".join(line["message"] for line in run.log.lines)
    assert "the mean of all tokens, which the last layer (bert.encoder.layer.1) now gives" in told
    assert mean_layer.parts_of(load("gpt2").net) is None


@pytest.mark.parametrize("layer", [0, 1])
def test_a_run_that_goes_on_keeps_the_choice_that_it_began_with(layer: int, load: Any, tmp_path: Path) -> None:
    """Also where this machine would choose otherwise."""
    folder = Folder(tmp_path)
    folder.write_facts(status="running")
    run, data = run_with(tmp_path), data_of(texts(300))
    head_start.begin(run, data, load("bert"))
    assert json.loads((tmp_path / "run.json").read_text())["head_start"]["layer"] == 1
    folder.write_facts(head_start={"layer": layer, "strength": 0.1})
    model = head_start.begin(run, data, load("bert"))
    assert bool(model.averaging) == (layer == 1)


def test_the_new_layer_learns(load: Any, tmp_path: Path) -> None:
    """No part of it is stuck where the gradient is 0."""
    run, data = run_with(tmp_path), data_of(texts(300))
    model = head_start.begin(run, data, load("bert"))
    loss: Any = heads.get("labels").default_loss(run, data, model)  # type: ignore[misc]
    optimizer = torch.optim.Adam(model.net.parameters(), lr=1e-3)
    layer = model.net.get_submodule("bert.encoder.layer.1")
    before = {name: weight.detach().clone() for name, weight in layer.named_parameters()}
    batch = loss.collate(list(loss.encode([dict(row) for row in data.splits["train"].select(range(64))])))
    for _ in range(3):
        optimizer.zero_grad()
        loss.compute(batch).total.backward()
        optimizer.step()
    still = [name for name, weight in layer.named_parameters() if torch.equal(weight, before[name])]
    # a bias of keys moves all scores of a query alike, so that it never has a gradient
    assert set(still) <= {"attention.self.key.bias"}


def test_tags_are_fitted_at_the_first_token_of_each_word(load: Any, tmp_path: Path) -> None:
    draw = random.Random(3)
    rows = []
    for _ in range(60):
        words = [draw.choice(WORDS) for _ in range(6)]
        rows.append({"tokens": words, "tags": [int(word in ("film", "room")) for word in words]})
    run, data = run_with(tmp_path, "tagged", "tags"), data_of(rows, "tagged", ("O", "B-X"))
    model = head_start.begin(run, data, load("bert", "tags", ("O", "B-X")))
    assert model.has_fitted_head
    assert "bert.encoder.layer.1" not in model.fresh
    truth = torch.tensor(data.splits["train"]["tags"][:]).flatten()
    right = (logits_of(run, data, model).argmax(-1) == truth).float().mean()
    assert right > truth.eq(0).float().mean()


def test_the_reference_begins_as_the_run_does(load: Any, tmp_path: Path) -> None:
    run, data = run_with(tmp_path), data_of(texts(60))
    model = head_start.begin(run, data, load("bert"))
    ours = logits_of(run, data, model)
    with torch.no_grad():
        output_layers(model.net, 3)[0].weight.add_(1.0)
    assert model.reference is not None
    with model.reference() as net:
        assert torch.equal(logits_of(run, data, replace(model, net=net)), ours)


@pytest.mark.parametrize("why", ["asked", "few", "one class", "not new", "stream"])
def test_where_nothing_can_be_fitted_the_network_is_as_it_was(why: str, load: Any, tmp_path: Path) -> None:
    rows = texts(60)
    model = load("bert")
    data = data_of(rows)
    settings = {}
    if why == "asked":
        settings["head_init"] = "random"
    elif why == "few":
        data = data_of(rows[:7])
    elif why == "one class":
        data = data_of([{**row, "label": 1} for row in rows])
    elif why == "not new":
        model = replace(model, fresh=())
    else:
        data = Data({"train": Dataset.from_list(rows).to_iterable_dataset()}, "labelled", LABELS)
    before = {name: weight.clone() for name, weight in model.net.state_dict().items()}
    after = head_start.begin(run_with(tmp_path, **settings), data, model)
    assert after is model
    assert all(torch.equal(weight, before[name]) for name, weight in after.net.state_dict().items())


def test_beside_adapters_the_averaging_layer_learns_at_the_rate_of_all_weights(load: Any, tmp_path: Path) -> None:
    from ftp.train.optimizer import rate_of_averaging

    run = run_with(tmp_path, learning_rate=1e-3)
    model = head_start.begin(run, data_of(texts(300)), load("bert"))
    assert model.averaging == ("bert.encoder.layer.1", "bert.pooler")
    assert rate_of_averaging(run, model) == 1.0, "all weights learn at the rate that is asked for"
    model.net.bert.embeddings.requires_grad_(False)
    assert rate_of_averaging(run, model) == pytest.approx(5e-5 / 1e-3)
    assert rate_of_averaging(run_with(tmp_path, learning_rate=1e-5), model) == 1.0
    assert rate_of_averaging(run, replace(model, averaging=())) == 1.0


def test_within_fitting_a_head_is_fitted_in_that_way(load: Any, tmp_path: Path) -> None:
    run, data = run_with(tmp_path), data_of(texts(60))
    way = head_fit.HeadFit(any_layer=True, reads_class_names=True, is_balanced=True, is_careful=True, num_folds=5)
    with models.fitting(way):
        model = head_start.begin(run, data, load("bert"))
    told = " ".join(line["message"] for line in run.log.lines)
    assert model.has_fitted_head
    assert re.search("of 60 training rows( and the names of 3 classes)?, on features", told)
    assert head_fit.current() == head_fit.HeadFit(), "the way is forgotten behind it"
    # where the network has other layers than the checkpoint, so has what it is compared with
    ours = logits_of(run, data, model)
    assert model.reference is not None
    for _ in range(2):
        with model.reference() as net:
            assert torch.equal(logits_of(run, data, replace(model, net=net)), ours)


@pytest.mark.parametrize(("labels", "wanted"), [
    (("bad news", "good_news"), ["bad news", "good news"]),
    (("0", "1"), []),
    (("class_0", "class_1"), []),
    (("A", "fine"), []),
])
def test_names_of_classes_are_rows_where_they_say_something(labels: tuple[str, ...], wanted: list[str], load: Any) -> None:
    data = data_of([{"text": "a", "label": 0}], labels=labels)
    rows = head_features.names_as_rows(data, load("bert", labels=labels))
    assert [row["text"] for row in rows] == wanted
    assert [row["label"] for row in rows] == list(range(len(wanted)))
    pairs = data_of([{"text": "a", "text_pair": "b", "label": 0}], labels=labels)
    assert not head_features.names_as_rows(pairs, load("bert", labels=labels))


def test_among_layers_the_last_stays_where_none_is_surely_better() -> None:
    draw = np.random.default_rng(0)
    targets = np.arange(60) % 2
    noise = draw.normal(size=(60, 4)).astype(np.float32)
    clear = noise + targets[:, None].astype(np.float32) * 6
    fitter = head_fit.Fitter(head_fit.HeadFit(is_careful=True), "class", 2, True)

    def best(*values: Any) -> int:
        means = {3 - place: head_fit.Features(of_layer, targets) for place, of_layer in enumerate(values)}
        return fitter.best_kind(means, head_fit.Features(noise, targets))

    other = clear + draw.normal(size=(60, 4)).astype(np.float32) * 0.2
    assert best(clear, other, clear) == 3
    assert best(noise, noise, clear) == 1
    assert fitter.best_kind({2: head_fit.Features(noise, targets)}, head_fit.Features(clear, targets)) == 0


def test_each_class_is_dealt_out_over_the_folds() -> None:
    targets = np.array([0] * 9 + [1] * 3)
    folds = linear_fit._folds("class", targets, 3)
    assert sorted(folds[targets == 1]) == [0, 1, 2]
    assert np.bincount(folds).tolist() == [4, 4, 4]
