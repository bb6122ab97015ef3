"""What can be seen in rows once they are token ids: their beginning, their end, what is trained,
what was cut. Heavy."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from ftp import UserError, heads
from ftp.types import Data, Level, Loss, Model, Row, Run
from ftp_preflight.findings import Findings
from ftp_preflight.lines import Line, lines_of

if TYPE_CHECKING:
    from datasets import Dataset

    from ftp_preflight import Preflight

COMPARED = 8  # rows whose encoding for an answer is held against that for training
# trained tokens among which the end is looked for: templates may write a line break behind
LAST = 3
BATCH = 32  # encoded rows collated at a time
FEW_CUT = 0.01  # share of rows that are cut below which truncation is no finding


@dataclass(frozen=True)
class _Encoded:
    """Some rows of train as the objective encodes them.

    Args:
        rows: the rows.
        dataset: their encoded rows, with what was cut off.
        kept: encoded rows that hold tokens; a row may be several, or none.
        lines: all their sequences, as they lie in batches.
        tells_trained: the batches say which tokens are trained.
        in_blocks: several rows lie in one encoded row.
    """

    rows: Dataset
    dataset: Dataset
    kept: list[Row]
    lines: list[Line]
    tells_trained: bool
    in_blocks: bool


def encoded(run: Run, loss: Loss, rows: Dataset) -> Dataset:
    """Rows encoded one by one, as held-out rows are, so that each can be known by its number."""
    from ftp.risks import encode_split

    return encode_split(rows, loss.encode_to_score, "train", key=loss.key)


def look(
    options: Preflight, run: Run, data: Data, model: Model, loss: Loss, findings: Findings
) -> list[Row]:
    """All looks at encoded rows of train; gives them for the first step."""
    from ftp.data.encode import truncation

    rows, total = _some_rows(data, options.rows, run.settings.seed)
    if not rows:
        return []
    findings.record("trained tokens", of=total, sampled=total != len(rows))
    part = _encode(run, model, loss, rows)
    longer = _longer(run, model, part.kept)
    _untrained(options, longer, part, findings)
    if not part.kept:
        return []

    # an encoder reads the prompt, and each answer is a row of its own: the last one is asked for
    is_apart = "labels" in part.kept[0]
    first_of_row = {row["row"]: row for row in reversed(part.kept)}
    last_of_row = {row["row"]: row for row in part.kept}
    cut = truncation(part.dataset)
    if cut is not None:
        _truncation(options, longer, part, cut, is_apart, findings)
    _beginning(model, [] if part.in_blocks else list(first_of_row.values()), findings)
    has_trained = any(line.is_trained for line in part.lines)
    if heads.get(model.head).writes_text and has_trained:
        _end(model, part, findings)
    _prediction(loss, rows, last_of_row if is_apart else first_of_row, is_apart, findings)
    # of no trained token there is no loss
    return part.kept if has_trained or not part.tells_trained else []


def _some_rows(data: Data, most: int, seed: int) -> tuple[Dataset | None, int | Literal["a stream"]]:
    """Rows of train to look at, and how many there are: a number, or `a stream`."""
    import numpy as np

    from ftp.data.tables import from_rows

    rows = data.splits.get("train")
    if rows is None:
        return None, 0
    if not hasattr(rows, "num_rows"):
        from itertools import islice

        first = list(islice(rows, most))
        return (from_rows(first) if first else None), "a stream"
    total = rows.num_rows
    if total > most:
        chosen = np.random.default_rng(seed).choice(total, most, replace=False)
        rows = rows.select(np.sort(chosen))
    return rows, total


def _encode(run: Run, model: Model, loss: Loss, rows: Dataset) -> _Encoded:
    from ftp.model import evaluating
    from ftp.risks import as_rows

    dataset = encoded(run, loss, rows)
    kept = []
    if len(dataset):
        kept = [row for row in as_rows(dataset[:]) if row.get("input_ids")]
    sequences: list[Line] = []
    tells_trained = heads.get(model.head).is_over_vocabulary
    with evaluating(model.net):
        for start in range(0, len(kept), BATCH):
            batch = loss.collate(kept[start : start + BATCH])
            sequences += lines_of(model, batch)
            tells_trained &= "where" in batch.inputs and "target" in batch.inputs
    num_rows = len({row["row"] for row in kept})
    in_blocks = bool(kept) and "segments" in kept[0] and num_rows < len(kept) / 2
    return _Encoded(rows, dataset, kept, sequences, tells_trained, in_blocks)


def _longer(run: Run, model: Model, rows: Sequence[Row]) -> list[str]:
    """The run with rows as long as they need to be, as far as the model takes them; none where they
    are that already."""
    from ftp.losses import row_limit

    unlimited = dataclasses.replace(run.settings, max_length=10**9)
    most = row_limit(dataclasses.replace(run, settings=unlimited), model)
    needed = max((row["length"] + (row.get("cut") or 0) for row in rows), default=0)
    length = min(8 * math.ceil(needed / 8), most)
    return [run.command("--max-length", length)] if length > row_limit(run, model) else []


def _untrained(
    options: Preflight, longer: Sequence[str], part: _Encoded, findings: Findings
) -> None:
    """Rows of which nothing is learnt."""
    num_rows = len(part.rows)
    lost = 0
    if not part.in_blocks:
        lost = num_rows - len({row["row"] for row in part.kept})
    without = 0
    if part.tells_trained:
        without = sum(not line.is_trained for line in part.lines)
    findings.record("trained tokens", rows=num_rows, rows_without=lost, sequences_without=without)
    if part.tells_trained:
        num_trained = sum(sum(line.trained) for line in part.lines)
        num_tokens = sum(len(line.ids) for line in part.lines)
        findings.record("trained tokens", share_of_tokens=num_trained / max(1, num_tokens))
    share = max(lost / num_rows, without / max(1, len(part.lines)))
    if not share:
        return
    level: Level = "warn" if share >= options.untrained else "note"
    if share == 1:
        level = "stop"
    findings.add(
        level,
        f"of {share:.1%} of rows nothing is learnt: they have no answer, or it is cut off",
        *longer,
    )


def _truncation(
    options: Preflight,
    longer: Sequence[str],
    part: _Encoded,
    cut: tuple[int, int],
    is_apart: bool,
    findings: Findings,
) -> None:
    """Rows that are cut.

    Args:
        cut: how many rows, and how many tokens of them.
        is_apart: the answer is no part of the row.
    """
    cut_rows, cut_tokens = cut
    num_tokens = sum(row["length"] for row in part.kept)
    share = cut_tokens / max(1, cut_tokens + num_tokens)
    findings.record(
        "truncation",
        rows=len(part.dataset),
        cut=cut_rows,
        share_of_tokens=share,
        side="either" if is_apart else "end",
    )
    share_of_rows = cut_rows / len(part.dataset)
    if share_of_rows <= FEW_CUT:
        return
    side = "lose their end"
    if is_apart:
        side = "are cut (prompts of several turns at their beginning, all else at its end)"
    words = f"{share_of_rows:.0%} of rows {side}, {share:.1%} of all tokens"
    if not longer:
        words += ", as the model takes no more"
    findings.add("warn" if share >= options.cut else "note", words, *longer)


def _beginning(model: Model, rows: Sequence[Row], findings: Findings) -> None:
    """The token that the tokenizer puts before a text: once, not twice, and not never."""
    from ftp.losses.blocks import ends

    tokenizer = model.tokenizer
    before, _ = ends(tokenizer)
    lead = before[0] if before else tokenizer.bos_token_id
    if lead is None or not rows:
        return
    num_rows = len(rows)
    beginnings = [list(row["input_ids"][:2]) for row in rows]
    doubled = beginnings.count([lead, lead])
    missing = 0
    if before:
        missing = sum(beginning[:1] != [lead] for beginning in beginnings)
    name = tokenizer.convert_ids_to_tokens(lead)
    findings.record("beginning", token=name, rows=num_rows, doubled=doubled, missing=missing)
    if doubled:
        findings.add(
            "warn",
            f"{doubled} of {num_rows} rows begin with {name} twice: the chat template or the text "
            "has "
            "one, and the tokenizer writes one itself",
        )
    if missing > num_rows / 2:
        findings.add(
            "warn",
            f"{missing} of {num_rows} rows do not begin with {name}, which the tokenizer puts "
            "before "
            "every text ({{ bos_token }} at the beginning of the chat template fixes it)",
        )


def _end(model: Model, part: _Encoded, findings: Findings) -> None:
    """Whether the last token that is trained ends a text or a turn, in rows that were not cut."""
    tokenizer = model.tokenizer
    stops = {*tokenizer.all_special_ids, *tokenizer.get_added_vocab().values()}
    sequences = part.lines
    is_sequence_a_row = len(part.lines) == len(part.kept)
    if is_sequence_a_row:
        # of a long row the last piece has the end
        last_of_row = {row["row"]: index for index, row in enumerate(part.kept)}
        whole = [index for index in last_of_row.values() if not part.kept[index].get("cut")]
        sequences = [part.lines[index] for index in whole]
    sequences = [line for line in sequences if line.is_trained]
    if not sequences:
        return
    ended = 0
    for line in sequences:
        trained = [
            token for token, is_trained in zip(line.ids, line.trained, strict=True) if is_trained
        ]
        ended += not stops.isdisjoint(trained[-LAST:])
    findings.record("end", sequences=len(sequences), trained=ended)
    if ended < len(sequences) / 2:
        findings.add(
            "warn",
            f"only {ended} of {len(sequences)} sequences train the token that ends them: the model "
            "will not learn to stop (a chat template ends an answer with the EOS token)",
        )


def _prediction(
    loss: Loss, rows: Dataset, encoded_of: dict[int, Row], is_apart: bool, findings: Findings
) -> None:
    """Whether a row reaches the model the same way when it is answered as when it is learnt: what
    is asked is how it begins, or all that is read where the answer is written apart.

    Args:
        encoded_of: number of a row -> the encoded row that is compared.
    """
    if not loss.has_answers:
        return
    same = other = 0
    for number in sorted(encoded_of)[:COMPARED]:
        row = encoded_of[number]
        if row.get("cut"):
            continue
        question = _up_to_answer(rows[number]) if is_apart else dict(rows[number])
        try:
            asked = list(loss.ask([question]))
        except (UserError, KeyError, TypeError, ValueError):  # this form is not asked as it is
            continue
        if len(asked) != 1 or not asked[0].get("input_ids"):
            continue
        ids = list(asked[0]["input_ids"])
        learnt = list(row["input_ids"])
        if not is_apart:
            # a long text is learnt in pieces: its first one is compared
            length = min(len(ids), len(learnt))
            ids, learnt = ids[:length], learnt[:length]
        if ids == learnt:
            same += 1
        else:
            other += 1
    num_compared = same + other
    if num_compared:
        findings.record("inference", rows=num_compared, of=len(encoded_of), same=same)
    if other:
        findings.add(
            "warn",
            f"{other} of {num_compared} rows reach the model in other tokens when they are "
            "answered "
            "than when they are learnt",
        )


def _up_to_answer(row: Row) -> Row:
    """A conversation without the turns behind its last answer, which are not learnt."""
    turns = list(row.get("messages") or ())
    if not turns:
        return dict(row)
    answers = [index for index, turn in enumerate(turns) if turn["role"] == "assistant"]
    last = answers[-1] if answers else len(turns) - 1
    return {**row, "messages": turns[: last + 1]}
