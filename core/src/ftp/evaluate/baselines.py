"""What a run is compared with, measured on the same held-out rows by the same plugins."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from typing import Any

from ftp import heads
from ftp.evaluate.predict import predict
from ftp.evaluate.scoring import score
from ftp.types import Baseline, Batch, Data, Loss, Model, Prediction, Predictions, StartedRun

ROWS_AT_MOST = 2000


def majority(data: Data, splits: Mapping[str, Any]) -> dict[str, Predictions]:
    """The most frequent class of the training rows, always; probabilities are the class shares."""
    import numpy as np

    counts = Counter(data.splits["train"]["label"])
    shares = np.array([counts.get(number, 0) for number in range(len(data.labels))], dtype=float)
    shares = (shares + 1e-9) / (shares + 1e-9).sum()
    always = Prediction(int(shares.argmax()), tuple(shares.tolist()))
    found = {}
    for split, rows in splits.items():
        losses = -np.log(shares[np.array(rows["label"])])
        found[split] = Predictions(split, rows, [always] * len(rows), float(losses.mean()), losses)
    return found


def word_memory(data: Data, splits: Mapping[str, Any]) -> dict[str, Predictions]:
    """The tag that each word had most often in the training rows, and for a word that was not there the most frequent tag of
    all: what can be known without reading the sentence. Probabilities: the tag shares of the word's rows and of one more
    that is as all words are."""
    import numpy as np

    names, train = data.labels, data.splits["train"]
    seen: dict[str, Counter[int]] = {}
    for tokens, tags in zip(train["tokens"], train["tags"], strict=True):
        for word, tag in zip(tokens, tags, strict=True):
            seen.setdefault(word, Counter())[tag] += 1
    total = sum(seen.values(), Counter[int]())
    shares = {tag: max(total[tag], 1e-9) / max(1, total.total()) for tag in range(len(names))}
    usual = max(shares, key=shares.__getitem__)
    found = {}
    for split, rows in splits.items():
        answers, losses, words = list[Prediction](), list[float](), list[int]()
        for tokens, tags in zip(rows["tokens"], rows["tags"], strict=True):
            known = [seen.get(word, Counter[int]()) for word in tokens]
            answers.append(Prediction([names[max(one, key=one.__getitem__, default=usual)] for one in known]))
            given = [(one[tag] + shares[tag]) / (one.total() + 1) for one, tag in zip(known, tags, strict=True)]
            losses.append(float(-np.log(given).mean()) if given else np.nan)
            words.append(len(given))
        each, counts = np.array(losses), np.array(words)
        mean = float(np.nansum(each * counts) / max(1, counts.sum()))
        found[split] = Predictions(split, rows, answers, mean, each)
    return found


def features(run: StartedRun, model: Model, encoded: Any, collate: Callable[[Any], Batch]) -> Any:
    """[rows, width] mean of each row's last hidden states, before any training."""
    import numpy as np
    import torch

    from ftp.evaluate.predict import _parts, _rows
    from ftp.net import heads as network_heads
    from ftp.net import layout

    found = np.zeros((len(encoded), 0))
    model.net.eval()
    with torch.no_grad(), run.accelerator.autocast():
        for numbers, _ in _parts(encoded, run.settings.eval_batch_tokens, 0, 1):
            inputs = collate(_rows(encoded, numbers)).inputs
            flat = layout.real(inputs, network_heads.hidden(model.net, inputs).float())
            row = layout.rows(inputs)
            sums = torch.zeros(len(numbers), flat.shape[-1], device=flat.device).index_add_(0, row, flat)
            means = sums / torch.bincount(row, minlength=len(numbers)).unsqueeze(1)
            if not found.shape[1]:
                found = np.zeros((len(encoded), means.shape[1]), dtype=np.float32)
            found[numbers] = means.cpu().numpy()
    return found


def linear_probe(
    run: StartedRun, data: Data, model: Model, encoded: Mapping[str, Any], collate: Callable[[Any], Batch],
    splits: Mapping[str, Any],
) -> dict[str, Predictions]:
    """The untuned model: logistic regression on its frozen features (mean of the last hidden states), fitted on at most
    `ROWS_AT_MOST` training rows. What fine-tuning must beat to be worth its time."""
    import numpy as np
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    generator = np.random.default_rng(run.settings.seed)
    total = len(encoded["train"])
    chosen = np.sort(generator.choice(total, min(total, ROWS_AT_MOST), replace=False))
    train = encoded["train"].select(chosen)
    labels = np.array(train["label"])
    if len(set(labels.tolist())) < 2:
        return {}
    probe = make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000, C=0.1))
    probe.fit(features(run, model, train, collate), labels)
    found = {}
    for split, rows in splits.items():
        given = probe.predict_proba(features(run, model, encoded[split], collate))
        shares = np.full((len(rows), len(data.labels)), 1e-9)
        shares[:, probe.classes_] = given
        shares /= shares.sum(1, keepdims=True)
        losses = -np.log(np.maximum(shares[np.arange(len(rows)), np.array(rows["label"])], 1e-12))
        answers = [Prediction(int(one.argmax()), tuple(one.tolist())) for one in shares]
        found[split] = Predictions(split, rows, answers, float(losses.mean()), losses)
    return found


def untuned(
    run: StartedRun, data: Data, model: Model, loss: Loss, encoded: Mapping[str, Any], held: Mapping[str, Any]
) -> dict[str, dict[str, Predictions]]:
    """The model before any training."""
    return {"untuned": {name: predict(run, model, loss, rows, encoded[name], name) for name, rows in held.items()}}


def class_baselines(
    run: StartedRun, data: Data, model: Model, loss: Loss, encoded: Mapping[str, Any], held: Mapping[str, Any]
) -> dict[str, dict[str, Predictions]]:
    """Always the most frequent class; and a linear head on the untuned network."""
    return {
        "majority class": majority(data, held),
        "untuned, linear head": linear_probe(run, data, model, encoded, loss.collate, held),
    }


def tag_baselines(
    run: StartedRun, data: Data, model: Model, loss: Loss, encoded: Mapping[str, Any], held: Mapping[str, Any]
) -> dict[str, dict[str, Predictions]]:
    """The tag that each word had most often; and the model before any training."""
    usual = {"each word's usual tag": word_memory(data, held)}
    return {**usual, **untuned(run, data, model, loss, encoded, held)}


def measure_baselines(
    run: StartedRun, data: Data, model: Model, loss: Loss, encoded: Mapping[str, Any], held: Mapping[str, Any]
) -> list[Baseline]:
    """What a run is compared with: what the spec of its head says, else the untuned model."""
    if not run.settings.baselines or run.settings.streaming:
        return []
    measure = heads.get(run.task.head).baselines or untuned
    found = measure(run, data, model, loss, encoded, held)
    return [Baseline(baseline, one.name, one.value, one.split, one.n)
            for baseline, predictions in found.items() if predictions
            for one in score(run, data, predictions, model)]
