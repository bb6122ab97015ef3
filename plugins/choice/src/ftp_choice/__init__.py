"""Multiple choice: choose the right answer to a question among some."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import accumulate, chain, pairwise
from pathlib import Path
from string import ascii_uppercase
from typing import TYPE_CHECKING

from ftp import UserError, hookimpl, plugin
from ftp.forms import Column, FormSpec, Way
from ftp.heads import HeadSpec, Later
from ftp.types import Batch, Data, EncodedRow, Loss, LossOut, Model, Prediction, Predictions, Row, Run, Score
from ftp_choice import scores
from ftp_choice.probe import TO_NET, probe_inputs

if TYPE_CHECKING:
    import torch
    from datasets import Dataset

SAMPLE = Path(__file__).parent / "sample"


def numbered(row: Row, labels: Sequence[str]) -> Row:
    """The answer as the number of its choice, counted from 0: A is 0."""
    from ftp.data.turns import Unfit

    answer = str(row["answer"]).strip()
    if len(answer) == 1 and answer.upper() in ascii_uppercase:
        return {"answer": ascii_uppercase.index(answer.upper())}
    if answer.isdecimal():
        return {"answer": int(answer)}
    raise Unfit(f"has the answer {answer!r:.40}, which is no letter and no number (from 0) of a choice")


def example(number: int, split: str) -> Row:
    """A row for `ftp check`."""
    choices = ["the waiter", "the bank", "a letter", "the patient"][: 2 + number % 3]
    return {"question": f"Who was named in line {number} of {split}?", "choices": choices, "answer": number % len(choices)}


def answered(row: Row, labels: Sequence[str], is_right: bool) -> Prediction:
    """A right or a wrong answer to a row for `ftp check`."""
    num_choices = len(row["choices"])
    choice = int(row["answer"]) if is_right else (int(row["answer"]) + 1) % num_choices
    return Prediction(choice, tuple(float(i == choice) for i in range(num_choices)))


MULTIPLE_CHOICE = FormSpec(
    "multiple_choice",
    (Column("question"), Column("choices", "texts", likely_names=("options",)), Column("answer", "number", is_answer=True)),
    ways=(Way("multiple_choice", numbered, makes=("answer",)),),
    default_head="multiple_choice",
    example=example,
    answered=answered,
)


def shown(prediction: Prediction, labels: Sequence[str]) -> Mapping[str, object]:
    """The letter of the choice, and the probability of each."""
    if prediction.answer is None:
        return {"answer": None}
    by_letter = dict(zip(ascii_uppercase, prediction.scores or (), strict=False))
    return {"answer": ascii_uppercase[prediction.answer], "scores": by_letter}


HEAD = HeadSpec(
    "multiple_choice",
    "one of some answers",
    "AutoModelForMultipleChoice",
    probe_inputs=probe_inputs,
    example='inputs = tokenizer(["a question"] * 2, ["a choice", "another"], padding=True, return_tensors="pt")\n'
    "inputs = {name: value.unsqueeze(0) for name, value in inputs.items()}  # one question\n"
    "probabilities = model.eval()(**inputs).logits.softmax(-1)\n",
    default_loss=Later("ftp_choice:make_loss"),
    baselines=Later("ftp_choice.scores:guesses"),
    scores=Later("ftp_choice.scores:measure"),
    shown=shown,
    what_is_trained="no single token is trained: the choice of the row is",
    loss_is_nats=True,
    has_short_answers=True,
    model_as="labels",
    unused=("classifier.bias",),  # added to all choices alike, so that nothing can be learnt of it
)


class ChoiceRow(EncodedRow, total=False):
    """A question with each of its choices, one behind another. `segments`: tokens of each. `answer`: the right choice."""

    segments: list[int]
    answer: int


def pairs_of(row: ChoiceRow) -> Iterator[EncodedRow]:
    """The question with each choice as a row of its own."""
    for start, end in pairwise(accumulate(row["segments"], initial=0)):
        pair = EncodedRow(input_ids=row["input_ids"][start:end])
        if row.get("token_type_ids") is not None:
            pair["token_type_ids"] = row["token_type_ids"][start:end]
        yield pair


def make_loss(run: Run, data: Data, model: Model) -> Loss:
    """Cross entropy over the choices of a row, of which rows may have different numbers."""
    import torch
    from torch.nn.functional import cross_entropy
    from torch.nn.utils.rnn import pad_sequence

    from ftp.losses import is_asked, labels, wrapped
    from ftp.net import layout
    from ftp.net.heads import output_layers
    from ftp.net.logits import WholeLogits

    texts = labels.make(run, data, model)
    for layer in output_layers(model.net, 1):
        if layer.bias is not None:
            layer.bias.requires_grad_(False)  # it is added to all choices alike, so that nothing can be learnt of it

    def ask(rows: Sequence[Row]) -> Iterator[ChoiceRow]:
        """The question with each choice, one behind another; `segments`: tokens of each."""
        for row in rows:
            if not row["choices"]:
                raise UserError(f"there is no choice for the question {row['question']!r:.60}", "give each question two or more")
            pairs = list(texts.ask([{"text": row["question"], "text_pair": choice} for choice in row["choices"]]))
            encoded = ChoiceRow(input_ids=[], segments=[], cut=0)
            for pair in pairs:
                encoded["input_ids"] += pair["input_ids"]
                encoded["segments"].append(len(pair["input_ids"]))
                encoded["cut"] += pair["cut"]
            if "token_type_ids" in pairs[0]:
                encoded["token_type_ids"] = list(chain.from_iterable(pair["token_type_ids"] for pair in pairs))
            yield encoded

    def encode(rows: Sequence[Row]) -> Iterator[ChoiceRow]:
        for row, encoded in zip(rows, ask(rows), strict=True):
            if not 0 <= row["answer"] < len(row["choices"]):
                raise UserError(f"the answer to {row['question']!r:.60} is number {row['answer']:g}, and there are "
                                f"{len(row['choices'])} choices", "count them from 0, or name them by letters: A is the first")
            encoded["answer"] = int(row["answer"])
            yield encoded

    def collate(rows: Sequence[ChoiceRow]) -> Batch:
        """All pairs of all rows as one question: each is scored for itself; `choices` says how many belong together."""
        device = next(model.net.parameters()).device
        # most read the first token, and count positions from the left; xlnet reads the last one
        side = "left" if getattr(model.net.config, "summary_type", "first") == "last" else "right"
        pairs = list(chain.from_iterable(map(pairs_of, rows)))
        beside = {}
        if pairs[0].get("token_type_ids") is not None:
            beside["token_type_ids"] = ([pair["token_type_ids"] for pair in pairs], 0)
        laid = layout.lay([pair["input_ids"] for pair in pairs], packed=False, pad_id=model.tokenizer.pad_token_id or 0,
                          padding_side=side, beside=beside, device=device)
        inputs: dict[str, object] = {name: laid[name] for name in TO_NET if name in laid}
        inputs["choices"] = [len(row["segments"]) for row in rows]
        if not is_asked(rows):
            inputs["answer"] = torch.tensor([row["answer"] for row in rows], device=device)
        return Batch(inputs, count=len(rows), rows=len(rows), tokens=sum(len(row["input_ids"]) for row in rows))

    def logits_of(batch: Batch) -> torch.Tensor:
        """[rows, choices] float32, -inf where a row has fewer choices than others."""
        # Transformers scores all choices of a question at once: [questions, choices, tokens]
        one_question = {name: batch.inputs[name].unsqueeze(0) for name in TO_NET if name in batch.inputs}
        flat = model.net(**one_question).logits.float().flatten()
        return pad_sequence(list(flat.split(batch.inputs["choices"])), batch_first=True, padding_value=-torch.inf)

    def compute(batch: Batch) -> LossOut:
        logits = logits_of(batch)
        answers = batch.inputs["answer"]
        losses = cross_entropy(logits, answers, reduction="none")
        num_choices = torch.tensor(batch.inputs["choices"], device=logits.device)
        return LossOut(losses.sum(), row_losses=losses.detach(), row_counts=torch.ones_like(losses), outputs=logits.detach(),
                       logits=WholeLogits(logits, num_choices), targets=answers)

    def answer(batch: Batch, out: LossOut | None) -> list[Prediction]:
        logits = logits_of(batch) if out is None else out.outputs
        predictions = []
        for row, choices in zip(logits, batch.inputs["choices"], strict=True):
            predictions.append(Prediction(int(row.argmax()), tuple(row[:choices].softmax(-1).tolist())))
        return predictions

    return wrapped(texts, ask=ask, encode=encode, encode_to_score=encode, collate=collate, compute=compute, answer=answer,
                   name="cross entropy", key=f"{texts.key}-choices-1")


@plugin(kind="objective", wants=("multiple_choice",), gives=("multiple_choice",), head="multiple_choice", general=True)
class Choice:
    """Choose the right answer to a question among two or more (rows with question, choices and answer, as MMLU has them).

    Without `--data` it trains on a sample that comes with the package: simple questions of everyday knowledge.
    """

    @hookimpl
    def load_data(self, run: Run) -> Mapping[str, Dataset]:
        from ftp.data import load

        return load(run, SAMPLE, form="multiple_choice")

    @hookimpl
    def make_loss(self, run: Run, data: Data, model: Model) -> Loss:
        return make_loss(run, data, model)

    @hookimpl
    def evaluate(self, data: Data, predictions: Mapping[str, Predictions]) -> list[Score]:
        return scores.measure(data, predictions)
