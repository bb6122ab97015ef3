"""What is known of rows without a model: their form, classes, lengths, language, and what installed checks say. Imports no torch.

A finding of level `stop` ends the ladder: leaks first, as advice from rows that leak would be wrong.
"""

from __future__ import annotations

import json
import math
import shlex
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from ftp import forms
from ftp.advise.language import language_of
from ftp.advise.question import Question
from ftp.advise.types import Facts, Finding, FindingLevel, Lengths, Situation
from ftp.data.look import some, text_of
from ftp.plugin_info import Picked
from ftp.plugins.call import Hooks
from ftp.plugins.fit import core_options
from ftp.plugins.offers import offer_meant
from ftp.train.amount import TrainingRows
from ftp.types import Risk, Row, Run

if TYPE_CHECKING:
    from tokenizers import Tokenizer

ROWS = 512
"""Rows whose texts are read."""
FEWEST_ROWS = 12
"""Rows of train and validation together, below which there is nothing to measure."""
FEWEST_A_CLASS = 2
ALWAYS_READ = 1024
"""Tokens of a row that a run reads at most where nobody says otherwise (`--max-length`)."""
CUT_TO_TELL = 0.02
LONGER_TO_TELL = 0.6
"""Share of pairs in which the chosen answer is the longer one that is told: length alone would explain so much."""
SAID_IN = {"config.json": ("max_position_embeddings", "n_positions"), "tokenizer_config.json": ("model_max_length",)}
"""Files of a model -> what says in them how many tokens it reads."""
STAGES = ("data", "start")
"""The stages of a run at which checks can say something of rows without a model."""
LEVELS: Mapping[str, FindingLevel] = {"stop": "stop", "warn": "warn", "note": "note"}
ORDER = ("stop", "warn", "note")


def look_at(situation: Situation) -> Facts:
    """All facts of a situation.

    Args:
        situation: the rows as a run reads them.
    """
    data = situation.data
    rows = {split: len(of_split) for split, of_split in data.splits.items() if hasattr(of_split, "num_rows")}
    texts = [text_of(row) for row in _some_rows(situation)]
    findings = _of_reading(situation)
    findings += _of_checks(situation)
    classes = _classes(situation)
    findings += _of_counts(rows, classes)
    lengths = _lengths(situation)
    if lengths is not None and lengths.share_cut > CUT_TO_TELL:
        findings.append(Finding("warn", "long rows", f"{lengths.share_cut:.0%} of rows do not fit into the {lengths.limit} "
                                f"tokens that {lengths.model} reads: what is behind is cut off"))
    findings += _of_pairs(situation)
    findings.sort(key=lambda finding: ORDER.index(finding.level))
    return Facts(data.form, situation.prepared.task.head, situation.columns, rows, classes, lengths, language_of(texts),
                 tuple(findings))


def _some_rows(situation: Situation) -> list[Row]:
    return [row for _, row in some(situation.data.splits["train"], ROWS)]


def _of_reading(situation: Situation) -> list[Finding]:
    """What was told while rows were read, and columns that were guessed."""
    findings = []
    if situation.is_guessed:
        columns = ",".join(f"{ours}={theirs}" for ours, theirs in situation.columns.items())
        findings.append(Finding("note", "columns", f"the columns are taken for {columns}; --columns says otherwise"))
    for line in situation.log.lines:
        if line["event"] == "told":
            findings.append(Finding("note", "rows", str(line["message"])))
    return findings


# --- checks ---


def _of_checks(situation: Situation) -> list[Finding]:
    """The verdicts of the installed checks on the rows, as they would be given in a run."""
    prepared = situation.prepared
    out = situation.question.out
    run = Run(prepared.settings, prepared.task, Hooks(prepared.picked, prepared.values), out, situation.log)
    verdicts: dict[str, Risk] = {}

    # a check may need what is not there yet (a model): a run will ask it again
    def say_nothing(plugin: Picked, error: Exception) -> list[Risk]:
        return []

    for stage in STAGES:
        answers = run.hooks.each("check_risks", on_error=say_nothing, run=run, stage=stage, data=situation.data, model=None,
                                 loss=None, predictions=None, history=(), log=situation.log.lines, baselines={}, comparisons=())
        for answer in answers:
            verdicts.update({risk.name: risk for risk in answer.value})
    findings = []
    for risk in verdicts.values():
        if risk.level in LEVELS:
            findings.append(Finding(LEVELS[risk.level], risk.name, run.hidden(risk.finding),
                                    _command_of(risk, situation.question)))
    return findings


def _command_of(risk: Risk, question: Question) -> str:
    """The first command that a check advises and that makes sense before a run.

    One that reads the rows in another way asks for another advice; those that train in another way are left out. On a recipe a
    command means `run.toml` in the folder of the advice, which has the same rows.
    """
    for command in risk.advice:
        if not command.startswith("ftp run"):
            return command
        flags = _flags_of_rows(shlex.split(command)[2:])
        if flags:
            return shlex.join(["ftp", "advise", *question.words(), *flags])
    return ""


def _flags_of_rows(words: Sequence[str]) -> list[str]:
    """The flags of a line on a recipe with their values, where all of them say how rows are read; else none."""
    groups = {item.flag: item.group for item in core_options()}
    flags = [word for word in words if word.startswith("--")]
    is_recipe = bool(words) and not words[0].startswith("--")
    if not is_recipe or not flags or any(groups.get(flag) != "data" for flag in flags):
        return []
    return list(words[1:])


# --- counts ---


def _classes(situation: Situation) -> dict[str, int]:
    """Rows of each class in train and validation, the most frequent first; empty where a row has no class."""
    data = situation.data
    columns = [column for column in forms.get(data.form).of_kind("class") if column.is_answer]
    if not columns or not data.labels:
        return {}
    # test rows are never looked at, not even counted
    counts: Counter[int] = Counter()
    for split in ("train", "validation"):
        rows = data.splits.get(split)
        if rows is not None and columns[0].name in rows.column_names:
            counts.update(rows[columns[0].name][:])
    return {data.labels[label]: count for label, count in counts.most_common()}


def _of_counts(rows: Mapping[str, int], classes: Mapping[str, int]) -> list[Finding]:
    """Rows and classes that are too few, or uneven."""
    findings = []
    num_rows = rows.get("train", 0) + rows.get("validation", 0)
    if num_rows < FEWEST_ROWS:
        findings.append(Finding("stop", "few rows", f"{num_rows} rows are too few to learn from, and to measure anything on: "
                                f"{FEWEST_ROWS} are the least, 50 a class are a beginning"))
    rare = [name for name, count in classes.items() if count < FEWEST_A_CLASS]
    if rare:
        findings.append(Finding("warn", "rare classes", f"classes with one row: {len(rare)} of {len(classes)} ({_named(rare)}); "
                                "it can be learnt from or be measured on, not both"))
    training = TrainingRows(num_rows, sorted(classes.values()), len(classes))
    if classes and training.are_uneven:
        rarest = min(classes, key=classes.__getitem__)
        findings.append(Finding("note", "uneven classes", f"'{rarest}' has {_rows(classes[rarest])}, less than a fifth of the "
                                f"{training.fair_share:,.0f} that it would have if all classes had as many: macro F1 counts"))
    return findings


def _rows(count: int) -> str:
    return f"{count:,} row" if count == 1 else f"{count:,} rows"


def _named(names: Sequence[str]) -> str:
    more = f" and {len(names) - 3} more" if len(names) > 3 else ""
    return ", ".join(names[:3]) + more


# --- pairs of answers ---


def _of_pairs(situation: Situation) -> list[Finding]:
    """Whether the chosen answer is the longer one more often than chance would have it."""
    answers = _two_answers(forms.get(situation.data.form))
    if not answers:
        return []
    # answers of one length speak for neither
    num_longer = num_pairs = 0
    for row in _some_rows(situation):
        first, second = (len(text_of({name: row[name]})) for name in answers)
        num_pairs += first != second
        num_longer += first > second
    if not num_pairs:
        return []
    share = num_longer / num_pairs
    # four standard errors of a fair coin
    is_beyond_chance = abs(share - 0.5) > 4 * 0.5 / math.sqrt(num_pairs)
    if not is_beyond_chance or share < LONGER_TO_TELL:
        return []
    return [Finding("warn", "longer answers", f"the {answers[0]} answer is the longer one in {share:.0%} of {num_pairs} pairs: a "
                    "model can learn to write longer answers in place of better ones")]


def _two_answers(form: forms.FormSpec) -> list[str]:
    """The columns of the two answers that a row of a form compares; empty where it has no two."""
    columns = [column for column in form.of_kind("messages") if column.is_answer]
    is_pair = form.sequences == 2 and len(columns) == 2
    return [column.name for column in columns] if is_pair else []


# --- lengths ---


def _lengths(situation: Situation) -> Lengths | None:
    """Tokens of rows, by the tokenizer's own file; None where no model is at hand, or it has no such file."""
    prepared = situation.prepared
    name, folder = _model_at_hand(prepared.settings.model, prepared.task.head)
    tokenizer = None if folder is None else _tokenizer(folder)
    if folder is None or tokenizer is None:
        return None
    form = forms.get(situation.data.form)
    # a row is cut where its longest sequence does not fit
    longest_of_row = []
    for row in _some_rows(situation):
        longest_of_row.append(max(len(ids) for ids in _sequences(tokenizer, row, form)))
    lengths = sorted(longest_of_row)
    if not lengths:
        return None
    limit = _limit(folder, prepared.settings.max_length)
    num_cut = sum(length > limit for length in lengths) if limit is not None else 0
    p95 = lengths[min(len(lengths) - 1, math.ceil(0.95 * len(lengths)) - 1)]
    return Lengths(name, lengths[len(lengths) // 2], p95, lengths[-1], limit, num_cut / len(lengths), len(lengths))


def _model_at_hand(model: str | None, head: str) -> tuple[str, Path | None]:
    """What a model is called, and its folder; None where it is on the hub, or there is none."""
    meant = offer_meant(model, head)
    if meant is not None:
        return meant[0], meant[1].folder
    if model is not None and Path(model).expanduser().is_dir():
        return model, Path(model).expanduser()
    return "", None


def _sequences(tokenizer: Tokenizer, row: Row, form: forms.FormSpec) -> list[list[int]]:
    """The tokens of each sequence that a row becomes: all of its text, or what stands before two answers with each of them."""
    texts = []
    # each answer by itself behind the prompt: what is left when the other one is taken away
    for left_out in _two_answers(form):
        texts.append(text_of({name: value for name, value in row.items() if name != left_out}))
    return [tokenizer.encode(text).ids for text in texts or [text_of(row)]]


def _tokenizer(folder: Path) -> Tokenizer | None:
    from tokenizers import Tokenizer

    file = folder / "tokenizer.json"
    if not file.is_file():
        return None
    try:
        tokenizer = Tokenizer.from_file(str(file))
    except Exception:  # the library raises a bare Exception for a file that it cannot read
        return None
    # as it was saved, it may cut and pad
    tokenizer.no_truncation()
    tokenizer.no_padding()
    return tokenizer


def _limit(folder: Path, max_length: int | None) -> int | None:
    """Tokens of a row that a model in a folder reads, by its files alone; a run may find it to be a few less."""
    limits = [max_length if max_length is not None else ALWAYS_READ]
    for file, names in SAID_IN.items():
        values = _json(folder / file)
        for name in names:
            value = values.get(name)
            if isinstance(value, int):
                limits.append(value)
    positive = [limit for limit in limits if limit > 0]
    return min(positive, default=None)


def _json(file: Path) -> Mapping[str, object]:
    try:
        values = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return values if isinstance(values, dict) else {}
