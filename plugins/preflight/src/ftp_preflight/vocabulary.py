"""What the tokenizer makes of texts: characters that it does not know, and control tokens that texts spell."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ftp import forms
from ftp.data import control_text
from ftp.types import Data, Model, Row, Run
from ftp_preflight import rows as looks
from ftp_preflight.findings import Findings

if TYPE_CHECKING:
    from ftp.data.control_text import TextTokenizer
    from ftp_preflight import Preflight

MANY_LANGUAGES = {"tokens": "Qwen/Qwen2.5-0.5B", "score": "Qwen/Qwen2.5-0.5B"}
ENCODER_OF_MANY_LANGUAGES = "FacebookAI/xlm-roberta-base"
"""Models whose tokenizers know about a hundred languages, to be tried in place of one that cannot read the rows."""
SEARCHED = 10_000
"""Rows of a split that are searched for control tokens, which is quick and wants many, as few rows have any."""
PART = "\ufffd"
"""What a token decodes to that is some bytes of a character."""
EXCERPT = 60
"""Characters of a text that are shown."""


@dataclass(frozen=True)
class Reading:
    """How a tokenizer reads some texts. `unknown` and `parts`: of their `tokens` those that stand for characters that it does not
    know, and those that are a part of a character. `worst`: the text that it reads worst."""

    tokens: int
    unknown: int
    parts: int
    worst: str

    @property
    def unknown_share(self) -> float:
        return self.unknown / max(1, self.tokens)

    @property
    def parts_share(self) -> float:
        return self.parts / max(1, self.tokens)


def look(options: Preflight, run: Run, data: Data, model: Model, found: Findings) -> None:
    """Both looks at the texts of rows."""
    unread(options, run, data, model, found)
    spelt(run, data, model, found)


# --- characters that the tokenizer does not know ---


def unread(options: Preflight, run: Run, data: Data, model: Model, found: Findings) -> None:
    """Warn where many tokens of a split are unknown ones, or parts of characters that the vocabulary lacks.

    Only letters and digits count for that: a model can read English among signs (emoji, curly quotes) that it lacks.
    Signs that become the unknown token are lost all the same, which is a note.
    """
    tokenize = control_text.of_run(run, model.tokenizer)
    readings, readings_of_words = {}, {}
    for split, rows in data.splits.items():
        texts = [looks.words_of(row) for row in looks.sample(rows, options.rows, run.settings.seed)]
        if any(text.strip() for text in texts):
            readings[split] = read(tokenize, texts)
            readings_of_words[split] = read(tokenize, [without_signs(text) for text in texts])
    if not readings:
        return
    found.see("unknown characters", **{split: {"tokens": one.tokens, "unknown": one.unknown_share, "parts": one.parts_share}
                                       for split, one in readings.items()})
    other = MANY_LANGUAGES.get(model.head, ENCODER_OF_MANY_LANGUAGES)
    advice = f"take a model whose tokenizer knows the language (as {other} does, a hundred of them)"
    for split, whole in readings.items():
        words = readings_of_words[split]
        unknown = (f"{whole.unknown_share:.1%} of the tokens of {split} are {model.tokenizer.unk_token}, which stands for "
                   "characters that the model does not know")
        if words.unknown_share >= options.unknown:
            found.tell("warn", f"{unknown}, such as {_excerpt(run, words.worst)}: {advice}", run.command("--model", other))
        elif words.parts_share >= options.byte_tokens:
            bytes_told = f"{whole.parts_share:.1%} of the tokens of {split} are single bytes of characters"
            found.tell("warn", f"{bytes_told} that the model's vocabulary lacks, such as {_excerpt(run, words.worst)}: {advice}",
                       run.command("--model", other))
        elif whole.unknown_share >= options.unknown:
            found.tell("note", f"{unknown}: signs, not letters, such as {_excerpt(run, whole.worst)}; what they say is lost")


def without_signs(text: str) -> str:
    """A text with a blank for each character beyond ASCII that is no letter and no digit: emoji, curly quotes, arrows."""
    kept: list[str] = []
    for character in text:
        # accents that are characters of their own belong to a letter; behind a sign they choose how it is drawn
        is_accent = unicodedata.category(character).startswith("M") and bool(kept) and kept[-1] != " "
        is_word = character.isascii() or character.isalnum() or is_accent
        kept.append(character if is_word else " ")
    return "".join(kept)


def read(tokenize: TextTokenizer, texts: Sequence[str]) -> Reading:
    """How many tokens of texts are unknown ones, or parts of characters."""
    tokenizer: Any = tokenize.tokenizer
    is_part: dict[int, bool] = {}
    tokens, unknown, parts = 0, 0, 0
    worst, worst_share = "", 0.0
    columns = tokenize(list(texts), add_special_tokens=False, return_attention_mask=False, truncation=False, verbose=False)
    for text, ids in zip(texts, columns["input_ids"], strict=True):
        for token in set(ids) - is_part.keys():
            is_part[token] = PART in str(tokenizer.decode([token]))
        unknown_here = ids.count(tokenizer.unk_token_id) if tokenizer.unk_token_id is not None else 0
        # a text may hold the replacement character itself, which `rows.characters` tells of
        parts_here = sum(is_part[token] for token in ids) if PART not in text else 0
        share = (unknown_here + parts_here) / max(1, len(ids))
        if share > worst_share:
            worst, worst_share = text, share
        tokens, unknown, parts = tokens + len(ids), unknown + unknown_here, parts + parts_here
    return Reading(tokens, unknown, parts, worst)


# --- control tokens that texts spell ---


def spelt(run: Run, data: Data, model: Model, found: Findings) -> None:
    """Say how many rows spell control tokens, and what becomes of them."""
    tokenize = _tokenizer(run, data, model)
    counts, looked, example = dict[str, int](), dict[str, int](), ("", "")
    for split, rows in data.splits.items():
        part = looks.sample(rows, SEARCHED, run.settings.seed)
        looked[split], counts[split] = len(part), 0
        for row in part:
            text = next((text for text in _texts(row) if tokenize.holds(text)), None)
            if text is not None:
                counts[split] += 1
                example = example if example[0] else (tokenize.found(text) or "", text)
    found.see("control tokens", rows=looked, spelt=counts)
    if not any(counts.values()):
        return
    told = ", ".join(f"{count} of {looked[split]} rows of {split}" for split, count in counts.items() if count)
    token, text = example
    place = max(0, text.find(token) - EXCERPT // 2)
    words = f"{told} spell control tokens, such as {token} in {_excerpt(run, text[place:])}"
    if run.settings.split_special_tokens:
        found.tell("note", f"{words}: they are read as text, not as the tokens", run.command("--no-split-special-tokens"))
    else:
        found.tell("note", f"{words}: they are read as the tokens (--no-split-special-tokens), so that a text can end its turn",
                   run.command("--split-special-tokens"))


def _tokenizer(run: Run, data: Data, model: Model) -> TextTokenizer:
    """How the run reads its texts: with the tokens of its chat template, where it has one."""
    from ftp import forms
    from ftp.losses import stopping

    if forms.get(data.form).has_messages and getattr(model.tokenizer, "chat_template", None) and model.tokenizer.is_fast:
        return stopping.chat_of(run, model).content
    return control_text.of_run(run, model.tokenizer)


def _texts(row: Row) -> Iterator[str]:
    """Every text in the columns that objectives read."""
    for name in (*forms.text_columns(), "tools"):
        yield from _strings(row.get(name))


def _strings(value: Any) -> Iterator[str]:
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
    return repr(words[:EXCERPT] + ("..." if len(words) > EXCERPT else ""))
