"""What `multilabel` is compared with on the same rows: a linear model on words, and plain Transformers at the same settings.

    python benchmarks/multilabel_baselines.py --set SETS/services

`words`: TF-IDF of words and pairs of words, logistic regression one label against the rest. `transformers`: the classifier of
`problem_type="multi_label_classification"` on the starter encoder, trained as multilabel-services of results.py is (batches of
16 in random order, AdamW, 4 epochs, a peak rate of 2e-4 with linear warm-up and decay, bf16). Thresholds of both are tuned on
the validation rows as the plugin does, and once more left at 0.5.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from datasets import Dataset
from numpy.typing import NDArray
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.multiclass import OneVsRestClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import MultiLabelBinarizer

from ftp.types import Data, Prediction, Predictions
from ftp_multilabel.scores import best_thresholds, measure

Probabilities = NDArray[np.float64]
Rows = Sequence[Mapping[str, Any]]
EPOCHS = 4
BATCH = 16
PEAK_RATE = 2e-4
MAX_LENGTH = 96


def by_words(train: Rows, targets: NDArray[np.int64], held: Sequence[Rows]) -> list[Probabilities]:
    """[rows, labels] the probabilities of each held-out split."""
    words = TfidfVectorizer(sublinear_tf=True, ngram_range=(1, 2), min_df=2)
    model = make_pipeline(words, OneVsRestClassifier(LogisticRegression(C=10, max_iter=1000, class_weight="balanced")))
    model.fit([row["text"] for row in train], targets)
    return [model.predict_proba([row["text"] for row in rows]) for rows in held]


def by_transformers(train: Rows, targets: NDArray[np.int64], held: Sequence[Rows]) -> list[Probabilities]:
    """[rows, labels] the probabilities of each held-out split."""
    import torch
    from transformers import (
        AutoModelForSequenceClassification,
        AutoTokenizer,
        get_linear_schedule_with_warmup,
        set_seed,
    )

    from ftp_starter import minilm

    set_seed(0)
    tokenizer: Any = AutoTokenizer.from_pretrained(minilm().folder)
    net: Any = AutoModelForSequenceClassification.from_pretrained(
        minilm().folder, num_labels=targets.shape[1], problem_type="multi_label_classification")

    def encoded(rows: Rows) -> Any:
        texts = [row["text"] for row in rows]
        return tokenizer(texts, truncation=True, max_length=MAX_LENGTH, padding=True, return_tensors="pt")

    num_updates = EPOCHS * -(-len(train) // BATCH)
    optimizer = torch.optim.AdamW(net.parameters(), lr=PEAK_RATE, weight_decay=0.01)
    schedule = get_linear_schedule_with_warmup(optimizer, int(0.06 * num_updates), num_updates)
    net.train()
    for _ in range(EPOCHS):
        for numbers in torch.randperm(len(train)).split(BATCH):
            inputs = encoded([train[number] for number in numbers.tolist()])
            with torch.autocast("cpu", dtype=torch.bfloat16):
                loss = net(**inputs, labels=torch.tensor(targets[numbers.numpy()], dtype=torch.float32)).loss
            loss.backward()
            torch.nn.utils.clip_grad_norm_(net.parameters(), 1.0)
            optimizer.step()
            schedule.step()
            optimizer.zero_grad()
    net.eval()
    probabilities = []
    with torch.no_grad():
        for rows in held:
            logits = [net(**encoded(rows[start : start + 32])).logits for start in range(0, len(rows), 32)]
            probabilities.append(torch.cat(logits).sigmoid().double().numpy())
    return probabilities


def scored(data: Data, name: str, validation: Probabilities, test: Probabilities) -> None:
    """Print the scores on test, with tuned thresholds and with 0.5."""

    def answered(split: str, probabilities: Probabilities) -> Predictions:
        answers = [Prediction(np.flatnonzero(row >= 0.5).tolist(), tuple(row.tolist())) for row in probabilities]
        return Predictions(split, data.splits[split], answers, 0.0, np.zeros(len(answers)))

    tuned = best_thresholds(answered("validation", validation), len(data.labels))
    for how, thresholds in (("tuned", tuned), ("at 0.5", [0.5] * len(data.labels))):
        scores = measure(data, {"test": answered("test", test)}, thresholds)
        print(f"{name:12} {how:7} {'  '.join(f'{score.name} {score.value:.3f}' for score in scores)}", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--set", type=Path, required=True, help="the folder `services` that benchmarks/score_sets.py writes")
    options = parser.parse_args()
    rows: dict[str, list[dict[str, Any]]] = {}
    for split in ("train", "validation", "test"):
        rows[split] = [json.loads(line) for line in (options.set / f"{split}.jsonl").read_text().splitlines()]
    binarizer = MultiLabelBinarizer()
    targets = binarizer.fit_transform([row["labels"] for row in rows["train"]])
    number_of = {label: number for number, label in enumerate(binarizer.classes_)}
    splits = {}
    for split, split_rows in rows.items():
        numbers = [[number_of[label] for label in row["labels"]] for row in split_rows]
        splits[split] = Dataset.from_dict({"text": [row["text"] for row in split_rows], "labels": numbers})
    data = Data(splits, "multilabelled", tuple(binarizer.classes_))
    for name, predict in (("words", by_words), ("transformers", by_transformers)):
        scored(data, name, *predict(rows["train"], targets, (rows["validation"], rows["test"])))


if __name__ == "__main__":
    main()
