"""A package that core knows nothing of: four forms, four heads, a file format, and domains that give its forms.

Throw-away prototypes (each loss is as short as it can be): they show that regression, several labels a row, embeddings and
multiple choice need no line of core.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import chain
from pathlib import Path
from typing import Any

from ftp import data, hookimpl, plugin
from ftp.data.readers import Reader
from ftp.forms import Column, FormSpec, Way
from ftp.heads import HeadSpec, Later
from ftp.losses import wrapped
from ftp.losses.common import is_asked
from ftp.types import Batch, Data, Loss, LossOut, Model, Prediction, Predictions, Row, Run, Score

# Forms.

SCORED = FormSpec(
    "scored",
    (Column("text"), Column("score", "number", is_answer=True, likely_names=("similarity",))),
    ways=(Way("text", lambda row, labels: {"text": row["text"]}),),
    default_head="number",
)

SCORED_AGAIN = SCORED


def _listed(row: Row, labels: Sequence[str]) -> Row:
    topics = row["topics"]
    return {"topics": [part for part in topics.split("|") if part] if isinstance(topics, str) else topics}


TOPICS = FormSpec(
    "topics",
    (Column("text"), Column("topics", "classes", is_answer=True)),
    ways=(Way("topics", _listed, makes=("topics",)), Way("text", lambda row, labels: {"text": row["text"]})),
    default_head="several",
)
TRIPLET = FormSpec(
    "triplet",
    (
        Column("anchor", other_names=("query",)),
        Column("positive", is_answer=True),
        Column("negative", is_answer=True),
    ),
    default_head="vector",
    sequence_names=("anchor", "positive", "negative"),
)
CHOICE = FormSpec(
    "choice",
    (Column("question"), Column("choices", "texts"), Column("answer", "class", is_answer=True)),
    default_head="choice",
)

# Heads.

NUMBER = HeadSpec(
    "number",
    "a decimal for each row",
    "AutoModelForSequenceClassification",
    config_values=lambda labels: {"id2label": {0: "score"}, "label2id": {"score": 0}, "problem_type": "regression"},
    peft_task="SEQ_CLS",
    export_task="text-classification",
    default_loss=Later("ftp_outsider:squared_error"),
    baselines=Later("ftp_outsider:mean_of_train"),
)
SEVERAL = HeadSpec(
    "several",
    "any number of classes for each row",
    "AutoModelForSequenceClassification",
    config_values=lambda labels: {
        "id2label": dict(enumerate(labels)),
        "label2id": {name: number for number, name in enumerate(labels)},
        "problem_type": "multi_label_classification",
    },
    default_loss=Later("ftp_outsider:binary_cross_entropy"),
    shown=Later("ftp_outsider:names_of"),
    scores=Later("ftp_outsider:share_right"),
    has_classes=True,
    loss_is_nats=True,
)
VECTOR = HeadSpec(
    "vector",
    "a vector for each text",
    "AutoModel",
    outputs=("last_hidden_state",),
    peft_task="FEATURE_EXTRACTION",
    export_task="feature-extraction",
    default_loss=Later("ftp_outsider:triplet_margin"),
    probe_inputs=Later("ftp_outsider:plain_inputs"),
    unused=("pooler",),
)
CHOICES = HeadSpec(
    "choice",
    "one of some answers",
    "AutoModelForMultipleChoice",
    default_loss=Later("ftp_outsider:choice_loss"),
    probe_inputs=Later("ftp_outsider:choice_inputs"),
    unused=("classifier.bias",),  # the same for each answer
    loss_is_nats=True,
)

# A file format: `key: value` lines, rows parted by empty lines.


def _read(path: Path) -> Iterator[dict[str, Any]]:
    for block in path.read_text(encoding="utf-8").split("\n\n"):
        pairs = (line.split(": ", 1) for line in block.splitlines() if line)
        row: dict[str, Any] = dict(pairs)
        if "score" in row:
            row["score"] = float(row["score"])
        if row:
            yield row


CARDS = Reader("cards", lambda path: path.suffix == ".cards", _read, endings=(".cards",))
ALBUM = Reader("album", lambda path: path.suffix == ".album", _read, endings=(".album",), can_stream=False)

# Losses.


class Functions(Loss):
    """A loss whose functions are still to come."""


def _padded(model: Model, sequences: Sequence[Sequence[int]]) -> dict[str, Any]:
    import torch

    longest = max(map(len, sequences))
    pad = model.tokenizer.pad_token_id
    ids = torch.tensor([[*ids, *[pad] * (longest - len(ids))] for ids in sequences])
    mask = torch.tensor([[1] * len(ids) + [0] * (longest - len(ids)) for ids in sequences])
    device = next(model.net.parameters()).device
    return {"input_ids": ids.to(device), "attention_mask": mask.to(device)}


def _on(batch: Batch, values: Sequence[Any]) -> Any:
    import torch

    return torch.tensor(values, device=batch.inputs["input_ids"].device)


def _outputs(model: Model, batch: Batch) -> Any:
    return model.net(input_ids=batch.inputs["input_ids"], attention_mask=batch.inputs["attention_mask"])


def _out(losses: Any, outputs: Any) -> LossOut:
    import torch

    return LossOut(losses.sum(), row_losses=losses.detach(), row_counts=torch.ones_like(losses), outputs=outputs.detach())


def _texts_loss(model: Model, target: str, compute: Any, answer: Any, name: str) -> Loss:
    """A loss whose rows are one text and a target."""

    def encode(rows: Sequence[Row]) -> Iterator[dict[str, Any]]:
        for row, encoded in zip(rows, ask(rows), strict=True):
            yield {**encoded, target: row[target]}

    def ask(rows: Sequence[Row]) -> Iterator[dict[str, Any]]:
        for row in rows:
            yield {"input_ids": model.tokenizer(row["text"])["input_ids"]}

    def collate(rows: Sequence[Any]) -> Batch:
        inputs = _padded(model, [row["input_ids"] for row in rows])
        targets = [] if is_asked(rows) else [row[target] for row in rows]
        return Batch({**inputs, "targets": targets}, count=len(rows), rows=len(rows))

    return wrapped(Functions(), encode=encode, ask=ask, collate=collate, compute=compute,
                   answer=answer, key=name, name=name)


def squared_error(run: Run, data: Data, model: Model) -> Loss:
    def compute(batch: Batch) -> LossOut:
        numbers = _outputs(model, batch).logits[:, 0].float()
        return _out((numbers - _on(batch, batch.inputs["targets"]).float()) ** 2, numbers)

    def answer(batch: Batch, out: LossOut | None) -> list[Prediction]:
        numbers = _outputs(model, batch).logits[:, 0] if out is None else out.outputs
        return [Prediction(number) for number in numbers.tolist()]

    return _texts_loss(model, "score", compute, answer, "squared error")


def mean_of_train(
    run: Run, data: Data, model: Model, loss: Loss, encoded: Mapping[str, Any], held: Mapping[str, Any]
) -> dict[str, dict[str, Predictions]]:
    import numpy as np

    mean = float(np.mean(data.splits["train"]["score"]))
    predictions = {}
    for split, rows in held.items():
        losses = (np.array(rows["score"]) - mean) ** 2
        predictions[split] = Predictions(split, rows, [Prediction(mean)] * len(rows), float(losses.mean()), losses)
    return {"mean of the training rows": predictions}


def binary_cross_entropy(run: Run, data: Data, model: Model) -> Loss:
    from torch.nn.functional import binary_cross_entropy_with_logits

    def compute(batch: Batch) -> LossOut:
        logits = _outputs(model, batch).logits.float()
        targets = []  # [rows, topics]: 1 where the row has the topic
        for topics in batch.inputs["targets"]:
            targets.append([float(number in topics) for number in range(len(data.labels))])
        hot = _on(batch, targets)
        return _out(binary_cross_entropy_with_logits(logits, hot, reduction="none").sum(-1), logits)

    def answer(batch: Batch, out: LossOut | None) -> list[Prediction]:
        logits = _outputs(model, batch).logits if out is None else out.outputs
        predictions = []
        for shares in logits.sigmoid().tolist():
            predictions.append(Prediction([number for number, share in enumerate(shares) if share > 0.5], tuple(shares)))
        return predictions

    return _texts_loss(model, "topics", compute, answer, "binary cross entropy")


def share_right(data: Data, predictions: Mapping[str, Predictions]) -> list[Score]:
    scores = []
    for split, predicted in predictions.items():
        pairs = zip(predicted.answers, predicted.rows["topics"], strict=True)
        right = [answer.answer == sorted(topics) for answer, topics in pairs]
        scores.append(Score("subset_accuracy", sum(right) / len(right), "max", split))
    return scores


def names_of(prediction: Prediction, labels: Sequence[str]) -> Mapping[str, Any]:
    scores = dict(zip(labels, prediction.scores or (), strict=True))
    return {"answer": [labels[number] for number in prediction.answer], "scores": scores}


def _sequences(row: Row) -> list[list[int]]:
    """The sequences that stand in a row one behind another."""
    starts = [sum(row["sizes"][:number]) for number in range(len(row["sizes"]))]
    return [row["input_ids"][start : start + size] for start, size in zip(starts, row["sizes"], strict=True)]


def triplet_margin(run: Run, data: Data, model: Model) -> Loss:
    from torch.nn.functional import cosine_similarity

    def texts(rows: Sequence[Row], names: Sequence[str]) -> Iterator[dict[str, Any]]:
        for row in rows:
            parts = [model.tokenizer(row[name])["input_ids"] for name in names]
            yield {"input_ids": [*chain.from_iterable(parts)], "sizes": [len(part) for part in parts]}

    def encode(rows: Sequence[Row]) -> Iterator[dict[str, Any]]:
        return texts(rows, ("anchor", "positive", "negative"))

    def ask(rows: Sequence[Row]) -> Iterator[dict[str, Any]]:
        return texts(rows, ("anchor",))

    def collate(rows: Sequence[Any]) -> Batch:
        parts = [_sequences(row) for row in rows]
        inputs = _padded(model, list(chain.from_iterable(parts)))
        return Batch({**inputs, "each": len(parts[0])}, count=len(rows), rows=len(rows))

    def vectors(batch: Batch) -> Any:
        states = _outputs(model, batch).last_hidden_state.float()
        mask = batch.inputs["attention_mask"].unsqueeze(-1)
        means = (states * mask).sum(1) / mask.sum(1)
        return means.view(-1, batch.inputs["each"], means.shape[-1])

    def compute(batch: Batch) -> LossOut:
        anchor, positive, negative = vectors(batch).unbind(1)
        losses = (cosine_similarity(anchor, negative) - cosine_similarity(anchor, positive) + 0.5).clamp_min(0)
        return _out(losses, anchor)

    def answer(batch: Batch, out: LossOut | None) -> list[Prediction]:
        anchors = vectors(batch)[:, 0] if out is None else out.outputs
        return [Prediction(vector) for vector in anchors.tolist()]

    return wrapped(Functions(), encode=encode, ask=ask, collate=collate, compute=compute,
                   answer=answer, key="triplets", name="triplet margin")


def plain_inputs(model: Model, texts: Sequence[str]) -> Mapping[str, Any]:
    return _padded(model, [model.tokenizer(text)["input_ids"] for text in texts])


def choice_loss(run: Run, data: Data, model: Model) -> Loss:
    from torch.nn.functional import cross_entropy

    def encode(rows: Sequence[Row]) -> Iterator[dict[str, Any]]:
        for row, encoded in zip(rows, ask(rows), strict=True):
            yield {**encoded, "answer": row["answer"]}

    def ask(rows: Sequence[Row]) -> Iterator[dict[str, Any]]:
        for row in rows:
            parts = [model.tokenizer(row["question"], choice)["input_ids"] for choice in row["choices"]]
            yield {"input_ids": [*chain.from_iterable(parts)], "sizes": [len(part) for part in parts]}

    def collate(rows: Sequence[Any]) -> Batch:
        parts = [_sequences(row) for row in rows]
        inputs = _padded(model, list(chain.from_iterable(parts)))
        shaped = {name: value.view(len(rows), len(parts[0]), -1) for name, value in inputs.items()}
        answers = [] if is_asked(rows) else [row["answer"] for row in rows]
        return Batch({**shaped, "answers": answers}, count=len(rows), rows=len(rows))

    def compute(batch: Batch) -> LossOut:
        logits = _outputs(model, batch).logits.float()
        return _out(cross_entropy(logits, _on(batch, batch.inputs["answers"]), reduction="none"), logits)

    def answer(batch: Batch, out: LossOut | None) -> list[Prediction]:
        logits = _outputs(model, batch).logits if out is None else out.outputs
        return [Prediction(int(row.argmax()), tuple(row.softmax(-1).tolist())) for row in logits]

    return wrapped(Functions(), encode=encode, ask=ask, collate=collate, compute=compute,
                   answer=answer, key="choice", name="choice")


def choice_inputs(model: Model, texts: Sequence[str]) -> Mapping[str, Any]:
    inputs = plain_inputs(model, texts)
    return {name: value.view(1, len(texts), -1) for name, value in inputs.items()}


# Domains.


class _Domain:
    form = ""

    @hookimpl
    def load_data(self, run: Run) -> Mapping[str, Any]:
        return data.load(run, None, form=self.form)


@plugin(kind="domain", gives=("scored", "text"))
class Grades(_Domain):
    """Decimals."""

    form = "scored"

    @hookimpl
    def evaluate(self, predictions: Mapping[str, Predictions]) -> list[Score]:
        import numpy as np

        scores = []
        for split, predicted in predictions.items():
            if "score" not in predicted.rows.column_names or not isinstance(predicted.answers[0].answer, float):
                continue  # rows that are read as text
            answers = np.array([answer.answer for answer in predicted.answers])
            error = np.abs(answers - np.array(predicted.rows["score"])).mean()
            scores.append(Score("mae", float(error), "min", split))
        return scores


@plugin(kind="domain", gives=("topics",))
class Topics(_Domain):
    """Several classes a row."""

    form = "topics"


@plugin(kind="domain", gives=("triplet",))
class Neighbours(_Domain):
    """Texts that belong together, and one that does not."""

    form = "triplet"


@plugin(kind="domain", gives=("choice",))
class Exams(_Domain):
    """Questions with some answers, of which one is right."""

    form = "choice"
