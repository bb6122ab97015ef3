"""What the tokenizer makes of texts: characters that it does not know, and control tokens that
texts spell."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ftp import forms, heads
from ftp.data import control_text
from ftp.types import Data, Model, Row, Run
from ftp_preflight import rows as looks
from ftp_preflight.findings import Findings

if TYPE_CHECKING:
    from ftp.data.control_text import TextTokenizer
    from ftp_preflight import Preflight

DECODER_OF_MANY_LANGUAGES = "Qwen/Qwen2.5-0.5B"
ENCODER_OF_MANY_LANGUAGES = "FacebookAI/xlm-roberta-base"
"""Models whose tokenizers know about a hundred languages, to be tried in place of one that cannot
read the rows."""
SEARCHED = 10_000  # rows searched for control tokens, which is quick; few rows have any
PART = "\ufffd"  # what a token decodes to that is some bytes of a character
EXCERPT = 60  # characters of a text that are shown


@dataclass(frozen=True)
class Reading:
    """How a tokenizer reads some texts.

    Args:
        tokens: all their tokens.
        unknown: those that stand for characters that it does not know.
        parts: those that are a part of a character.
        worst: the text that it reads worst.
    """

    tokens: int
    unknown: int
    parts: int
    worst: str

    @property
    def unknown_share(self) -> float:
        """Share of tokens that stand for characters that it does not know."""
        return self.unknown / max(1, self.tokens)

    @property
    def parts_share(self) -> float:
        """Share of tokens that are a part of a character."""
        return self.parts / max(1, self.tokens)


def look(options: Preflight, run: Run, data: Data, model: Model, findings: Findings) -> None:
    """Both looks at the texts of rows."""
    unread(options, run, data, model, findings)
    spelt(run, data, model, findings)


# --- characters that the tokenizer does not know ---


def unread(options: Preflight, run: Run, data: Data, model: Model, findings: Findings) -> None:
    """Warn where many tokens of a split are unknown ones, or parts of characters that the
    vocabulary lacks.

    Only letters and digits count for that: a model can read English among signs (emoji, curly
    quotes) that it lacks. Signs that become the unknown token are lost all the same, which is a
    note.
    """
    tokenize = control_text.of_run(run, model.tokenizer)
    readings: dict[str, Reading] = {}
    readings_of_words: dict[str, Reading] = {}
    for split, rows in data.splits.items():
        sampled = looks.sample(rows, options.rows, run.settings.seed)
        texts = [looks.words_of(row) for row in sampled]
        if any(text.strip() for text in texts):
            readings[split] = read(tokenize, texts)
            readings_of_words[split] = read(tokenize, [without_signs(text) for text in texts])
    if not readings:
        return
    numbers = {}
    for split, reading in readings.items():
        numbers[split] = {
            "tokens": reading.tokens,
            "unknown": reading.unknown_share,
            "parts": reading.parts_share,
        }
    findings.record("unknown characters", **numbers)
    for split, reading in readings.items():
        _judge(options, run, model, split, reading, readings_of_words[split], findings)


def _judge(
    options: Preflight,
    run: Run,
    model: Model,
    split: str,
    whole: Reading,
    words: Reading,
    findings: Findings,
) -> None:
    """Say what is lost of the texts of a split.

    Args:
        words: how they are read without their signs.
    """
    head = heads.get(model.head)
    # what judges written text is a decoder as well
    is_decoder = head.writes_text or head.gives_number
    other = DECODER_OF_MANY_LANGUAGES if is_decoder else ENCODER_OF_MANY_LANGUAGES
    advice = f"take a model whose tokenizer knows the language (as {other} does, a hundred of them)"
    command = run.command("--model", other)
    unknown = (
        f"{whole.unknown_share:.1%} of the tokens of {split} are {model.tokenizer.unk_token}, "
        "which "
        "stands for characters that the model does not know"
    )
    if words.unknown_share >= options.unknown:
        example = _excerpt(run, words.worst)
        findings.add("warn", f"{unknown}, such as {example}: {advice}", command)
    elif words.parts_share >= options.byte_tokens:
        findings.add(
            "warn",
            f"{whole.parts_share:.1%} of the tokens of {split} are single bytes of characters that "
            f"the model's vocabulary lacks, such as {_excerpt(run, words.worst)}: {advice}",
            command,
        )
    elif whole.unknown_share >= options.unknown:
        example = _excerpt(run, whole.worst)
        findings.add(
            "note", f"{unknown}: signs, not letters, such as {example}; what they say is lost"
        )


def without_signs(text: str) -> str:
    """A text with a blank for each character beyond ASCII that is no letter and no digit: emoji,
    curly quotes, arrows."""
    kept: list[str] = []
    for character in text:
        # accents that are characters of their own belong to a letter; behind a sign they choose how
        # it is drawn
        is_accent = (
            unicodedata.category(character).startswith("M") and bool(kept) and kept[-1] != " "
        )
        is_word = character.isascii() or character.isalnum() or is_accent
        kept.append(character if is_word else " ")
    return "".join(kept)


def read(tokenize: TextTokenizer, texts: Sequence[str]) -> Reading:
    """How many tokens of texts are unknown ones, or parts of characters."""
    tokenizer = tokenize.tokenizer
    is_part: dict[int, bool] = {}  # token id -> whether it is some bytes of a character
    num_tokens = 0
    num_unknown = 0
    num_parts = 0
    worst = ""
    worst_share = 0.0
    columns = tokenize(
        list(texts),
        add_special_tokens=False,
        return_attention_mask=False,
        truncation=False,
        verbose=False,
    )
    for text, ids in zip(texts, columns["input_ids"], strict=True):
        for token in set(ids) - is_part.keys():
            is_part[token] = PART in str(tokenizer.decode([token]))
        unknown = 0
        if tokenizer.unk_token_id is not None:
            unknown = ids.count(tokenizer.unk_token_id)
        parts = 0
        # a text may hold the replacement character itself, which `rows.characters` reports
        if PART not in text:
            parts = sum(is_part[token] for token in ids)
        share = (unknown + parts) / max(1, len(ids))
        if share > worst_share:
            worst = text
            worst_share = share
        num_tokens += len(ids)
        num_unknown += unknown
        num_parts += parts
    return Reading(num_tokens, num_unknown, num_parts, worst)


# --- control tokens that texts spell ---


def spelt(run: Run, data: Data, model: Model, findings: Findings) -> None:
    """Say how many rows spell control tokens, and what becomes of them."""
    tokenize = _tokenizer(run, data, model)
    counts: dict[str, int] = {}
    num_searched: dict[str, int] = {}
    first = ""  # text that spells one
    for split, rows in data.splits.items():
        sampled = looks.sample(rows, SEARCHED, run.settings.seed)
        num_searched[split] = len(sampled)
        counts[split] = 0
        for row in sampled:
            text = next(filter(tokenize.holds, _texts(row)), None)
            if text is not None:
                counts[split] += 1
                first = first or text
    findings.record("control tokens", rows=num_searched, spelt=counts)
    if not first:
        return
    where = []
    for split, count in counts.items():
        if count:
            where.append(f"{count} of {num_searched[split]} rows of {split}")
    token = tokenize.found(first) or ""
    start = max(0, first.find(token) - EXCERPT // 2)
    example = f"{token} in {_excerpt(run, first[start:])}"
    words = f"{', '.join(where)} spell control tokens, such as {example}"
    if run.settings.split_special_tokens:
        findings.add(
            "note",
            f"{words}: they are read as text, not as the tokens",
            run.command("--no-split-special-tokens"),
        )
    else:
        findings.add(
            "note",
            f"{words}: they are read as the tokens (--no-split-special-tokens), so that a text can "
            "end its turn",
            run.command("--split-special-tokens"),
        )


def _tokenizer(run: Run, data: Data, model: Model) -> TextTokenizer:
    """How the run reads its texts: with the tokens of its chat template, where it has one."""
    from ftp.losses import stopping

    template = getattr(model.tokenizer, "chat_template", None)
    if forms.get(data.form).has_messages and template and model.tokenizer.is_fast:
        return stopping.chat_of(run, model).content
    return control_text.of_run(run, model.tokenizer)


def _texts(row: Row) -> Iterator[str]:
    """Every text in the columns that objectives read."""
    for name in (*forms.text_columns(), "tools"):
        yield from _strings(row.get(name))


def _strings(value: object) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        for inner in value.values():
            yield from _strings(inner)
    elif isinstance(value, (list, tuple)):
        for inner in value:
            yield from _strings(inner)


def _excerpt(run: Run, text: str) -> str:
    """Some words of a row, without what must not be shown."""
    words = " ".join(run.hidden(text).split())
    if len(words) > EXCERPT:
        words = words[:EXCERPT] + "..."
    return repr(words)
