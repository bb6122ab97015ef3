"""Does a network that writes end its answers where the reference answers end? Heavy: imports torch."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import torch

from ftp.data.messages import read_messages
from ftp.data.turns import Message, Unfit
from ftp.entry_points import entry_points
from ftp.losses import encoder_decoder, tokens
from ftp.losses.chat_template import prepare
from ftp.losses.common import TokenRow
from ftp.losses.conversations import Chat, tools_of
from ftp.model.modes import evaluating
from ftp.model.peft import unable
from ftp.model.saving import LAYOUTS
from ftp.model.token_rows import frozen
from ftp.net import heads
from ftp.plugin_info import declaration_of
from ftp.plugins.find import installed
from ftp.types import Model, Risk, Row, Run, StartedRun

if TYPE_CHECKING:
    from datasets import Dataset

LOOKED_AT = 64
"""Rows among which those with the shortest answers are taken."""
LEAST_MORE, MOST_MORE = 16, 64
"""Tokens by which an answer may be longer than the longest reference: three times its length, within these bounds."""
LIKELY = 0.2
"""Probability of the end behind a whole answer from which on a model knows where answers end, even if its own run on."""
LOST = 0.25
"""Share of the answers that must end no longer, where they ended before the run, for the run to be what made it worse: one or
two of eight change by chance."""
WEIGHTS = "which weights are trained"
"""What parameterisations decide (`decides`), so that there is one of them in a run."""
ROWS_OPTION = "trainable_token_indices"
"""The option of parameterisations that can train the rows of some tokens alone."""


@dataclass(frozen=True)
class Reference:
    """A prompt and the answer that a row gives to it, as token ids; the answer's last one is the token that ends it."""

    prompt: list[int]
    answer: list[int]


@dataclass(frozen=True)
class Stops:
    """How answers ended. `ended`: of `asked` answers those that ended within `limit` tokens. `longest`: tokens of the longest
    reference. `end_probability`: median probability of the end behind the whole reference."""

    asked: int
    ended: int
    limit: int
    longest: int
    end_probability: float


def chat_of(run: Run, model: Model) -> Chat:
    """The chat template that a model's tokenizer holds once its objective was made."""
    apart = encoder_decoder.default_template(model)
    return prepare(model.tokenizer, apart=apart, split_special_tokens=run.settings.split_special_tokens)


def references(chat: Chat, rows: Dataset, *, count: int, longest: int, seed: int) -> list[Reference]:
    """Prompts with their answers from some of the rows, those with the shortest answers of a sample.

    Args:
        count: how many at most.
        longest: tokens of an answer at most; rows with a longer one, or without any, are passed over.
    """
    import numpy as np

    chosen = np.sort(np.random.default_rng(seed).choice(len(rows), min(LOOKED_AT, len(rows)), replace=False))
    known: list[Reference] = []
    for row in rows.select(chosen):
        messages = _conversation(row)
        try:
            pairs = chat.pairs(messages, tools_of(row), "last") if messages else []
        except Unfit:  # the objective has said so already
            continue
        for prompt, answer, _ in pairs:
            if answer[-1] in chat.stop and len(answer) <= longest:
                known.append(Reference(prompt, answer))
    known.sort(key=lambda reference: len(reference.answer))
    return known[:count]


def _conversation(row: Row) -> list[Message]:
    """The messages of a row up to a good answer; none where it has no such answer."""
    if row.get("messages") is not None:
        messages = list(row["messages"])
        while messages and messages[-1]["role"] != "assistant":
            messages.pop()
        return messages
    is_bad = row.get("label") is False  # the answer was rated so
    answer = row.get("completion") if row.get("chosen") is None else row["chosen"]
    if is_bad or answer is None or row.get("prompt") is None:
        return []
    return [*read_messages(row["prompt"], "user"), *read_messages(answer, "assistant")]


def end_probabilities(run: StartedRun, model: Model, references: list[Reference]) -> list[float]:
    """The probability of the token that ends each reference answer, behind the whole of it."""
    is_apart = encoder_decoder.applies(model.net)
    rows: list[TokenRow] = []
    for reference in references:
        if is_apart:
            rows.append({"input_ids": reference.prompt, "labels": reference.answer})
        else:
            whole = [*reference.prompt, *reference.answer]
            rows.append({"input_ids": whole, "spans": [len(whole) - 1, len(whole)]})
    batch = tokens.collate(model, rows)
    inputs = batch.inputs
    with evaluating(model.net), torch.no_grad(), run.accelerator.autocast():
        losses = heads.losses_at(model.net, inputs, inputs["where"], inputs["target"])
    # the last term of each row is its end
    last_term = {row: term for term, row in enumerate(inputs["of"].tolist())}
    terms = [last_term[row] for row in range(len(references))]
    probabilities: list[float] = (-losses[terms].float()).exp().tolist()
    return probabilities


def measure(run: StartedRun, model: Model, chat: Chat, references: list[Reference], limit: int) -> Stops:
    """Answer the prompts greedily and see which answers end. `limit`: tokens a row that the network takes."""
    probabilities = sorted(end_probabilities(run, model, references))
    longest = max(len(reference.answer) for reference in references)
    allowed = _allowed(longest)
    prompts = [reference.prompt for reference in references]
    answers = tokens.generate(model, prompts, stop=chat.stop, max_new_tokens=allowed, limit=limit)
    ended = sum(len(answer) < allowed for answer in answers)  # the token that ended an answer is taken off
    return Stops(len(references), ended, allowed, longest, probabilities[len(probabilities) // 2])


def _allowed(longest: int) -> int:
    """Tokens that an answer may have where the longest reference has `longest`."""
    return longest + max(LEAST_MORE, min(3 * longest, MOST_MORE))


def with_room(references: list[Reference], limit: int, apart: bool) -> list[Reference]:
    """Those references whose prompt leaves room for an answer to go on behind its usual end."""
    if not references or apart:
        return references
    longest = max(len(reference.answer) for reference in references)
    return [reference for reference in references if len(reference.prompt) + _allowed(longest) <= limit]


def measure_before(run: StartedRun, model: Model, chat: Chat, references: list[Reference], limit: int) -> Stops | None:
    """`measure` of the model as it was before this run; None where nothing has those weights."""
    if model.reference is None:
        return None
    with model.reference() as net:
        return measure(run, replace(model, net=net), chat, references, limit)


def mostly_end(stops: Stops) -> bool:
    """Whether more than half of the answers ended."""
    return stops.ended > stops.asked / 2


def verdict(run: StartedRun, model: Model, chat: Chat, stops: Stops, before: Stops | None = None) -> Risk:
    """The verdict on how answers ended.

    Args:
        before: how the same prompts were answered before the run; None where that was not asked.
    """
    end = str(model.tokenizer.convert_ids_to_tokens(chat.stop[0]))
    evidence = {"prompts": stops.asked, "ended": stops.ended, "limit_tokens": stops.limit, "longest_reference": stops.longest,
                "end_probability": float(f"{stops.end_probability:.3g}"), "end": end}
    words = (f"{stops.ended} of {stops.asked} generated answers ended within {stops.limit} tokens (reference answers have "
             f"{stops.longest} at most); {end} has a probability of {stops.end_probability:.2g} behind a whole reference answer")
    if mostly_end(stops):
        return Risk("stopping", "ok", f"answers end: {words}", evidence)
    if before is not None:
        evidence |= {"ended_before": before.ended, "end_probability_before": float(f"{before.end_probability:.3g}")}
        words += f"; before this run {before.ended} of {before.asked} ended, and the probability was {before.end_probability:.2g}"
        if before.ended - stops.ended >= LOST * stops.asked:
            return Risk("stopping", "warn", f"answers run on, and this run made it worse: {words}", evidence, gentler(run))
        words += ", so the run found the model like that" if before.ended <= stops.ended else ", which chance may explain"
    if stops.ended > stops.asked / 8 or stops.end_probability > LIKELY:
        return Risk("stopping", "note", f"many answers run on: {words}", evidence)
    # a row that was neither trained before nor now is the reason, whatever else is
    if frozen(model.net, set(chat.stop) & set(model.fresh_tokens)):
        words += "; its row looks untrained in the base, and this run left it as it was"
        return Risk("stopping", "warn", f"answers do not end: {words}", evidence, training_rows(run, model))
    longer = run.command("--epochs", f"{2 * run.settings.epochs:g}")
    return Risk("stopping", "warn", f"answers do not end: {words}", evidence, (longer,))


def gentler(run: Run) -> tuple[str, ...]:
    """The command of this run with a smaller learning rate, which moves the model less far from what it could before."""
    return (run.command("--learning-rate", f"{run.settings.learning_rate / 2:g}"),)


def training_rows(run: Run, model: Model) -> tuple[str, ...]:
    """The command by which this run would train the rows of tokens that look untrained: with the option of its own
    parameterisation that was switched off, with a parameterisation that has it, or with one that trains all weights."""
    rows_alone = not unable(model) and not run.settings.shard
    deciding = [picked for picked in run.hooks.picked if WEIGHTS in picked.declaration.decides]
    if rows_alone:
        for picked in deciding:
            if hasattr(picked.cls, ROWS_OPTION):
                return (run.command(f"--{picked.name}.{ROWS_OPTION}", "auto"),)
    able = []
    for name, cls in installed():
        declared = declaration_of(cls)
        trains_rows = hasattr(cls, ROWS_OPTION) if rows_alone else not declared.adds_weights
        if WEIGHTS in declared.decides and trains_rows:
            able.append((name, cls))
    if not able or not deciding:
        return ()
    # those first whose model Transformers loads without code of its own
    own_code = {point.target.partition(":")[0].partition(".")[0] for point in entry_points(LAYOUTS)}
    able.sort(key=lambda pair: pair[1].__module__.partition(".")[0] in own_code)
    names = [picked.name for picked in run.hooks.picked if not picked.found.default]
    replacement, _ = able[0]
    chosen = [replacement if name == deciding[0].name else name for name in names]
    return (run.command("--plugins", ",".join(chosen)),)
