"""The fields of a record and the answers to its questions as a row with our columns."""

from __future__ import annotations

from collections.abc import Mapping

from ftp.data.readers import Tally, Unreadable
from ftp.types import Row
from ftp_labelling.columns import are_objects, are_texts, texts_of
from ftp_labelling.spans import are_spans, read_span
from ftp_labelling.words import tag_words

PROMPT_NAMES = ("prompt", "instruction", "question", "input", "query")
TEXT_NAMES = ("text", "review", "content", "sentence", "document", "comment")
WRITTEN = ("completion", "response", "answer", "output", "correction")
"""Questions whose answer is a text that was written, not a label that was chosen."""

Texts = Mapping[str, str]


def row_of(fields: Row, answers: Row, tally: Tally) -> Row | None:
    """Fields and answers with our columns, by what the answers are; None where a ranking prefers nothing."""
    texts: Texts = texts_of(fields)
    row: dict[str, object] = dict(fields)
    chat = _chat_field(fields)
    if chat is not None:
        row["messages"] = row.pop(chat)
    for question, answer in answers.items():
        # a ranking of the record's own texts is a preference, whatever else was asked
        ranks = _ranks(answer)
        if ranks is not None and ranks.keys() <= texts.keys():
            preference = _preference(texts, ranks, tally)
            return None if preference is None else {**row, **preference}
        if ranks is not None and isinstance(answer[0], dict):
            if len(answers) == 1:
                raise Unreadable(f"it ranks {', '.join(ranks)}, which are none of its texts: {', '.join(texts)}")
            row[question] = answer
        elif are_spans(answer):  # marks in its text
            row.update(tag_words(_main_text(texts), map(read_span, answer)))
        elif isinstance(answer, list) and len(answer) == 1:
            row.setdefault("label", answer[0])
        elif isinstance(answer, str) and question in WRITTEN and (texts or chat is not None):
            row["prompt"] = row.pop("messages") if chat is not None else _prompt(texts)
            row["completion"] = answer
        # the only answer is the label, whatever its question is called
        elif "label" not in row and len(answers) == 1:
            row["label"] = answer
        else:
            row[question] = answer
    if "label" in row and "text" not in row and "messages" not in row:
        row["text"] = _main_text(texts)
    return row


def _main_text(texts: Texts) -> str:
    for name in TEXT_NAMES:
        if name in texts:
            return texts[name]
    if len(texts) != 1:
        names = ", ".join(texts) or "none"
        raise Unreadable(f"which of its fields is the text? It has: {names}; name that one text")
    return next(iter(texts.values()))


def _prompt(texts: Texts) -> str:
    for name in PROMPT_NAMES:
        if name in texts:
            return texts[name] or _main_text(texts)
    return _main_text(texts)


def _chat_field(fields: Row) -> str | None:
    """The first field that holds the turns of a conversation."""
    for name, turns in fields.items():
        if are_objects(turns, ("role", "content")):
            return name
    return None


def _ranks(answer: object) -> dict[str, int] | None:
    """Name -> rank, 1 for the best: of a list of names, or of `{"value", "rank"}`; None for what is no ranking."""
    if not isinstance(answer, list) or len(answer) < 2:
        return None
    if are_texts(answer):
        return {name: rank for rank, name in enumerate(answer, 1)}
    if all(isinstance(item, dict) and isinstance(item.get("rank"), int) for item in answer):
        return {str(item.get("value")): item["rank"] for item in answer}
    return None


def _preference(texts: Texts, ranks: Mapping[str, int], tally: Tally) -> Row | None:
    """The best text as chosen and the worst as rejected; None where all have one rank."""
    names = sorted(ranks, key=lambda name: ranks[name])
    best, worst = names[0], names[-1]
    if ranks[best] == ranks[worst]:
        tally["records left out, as they rank all texts alike"] += 1
        return None
    if len(names) > 2:
        tally["records rank more than two texts, of which the best and the worst are read"] += 1
    row = {"chosen": texts[best], "rejected": texts[worst]}
    for name in PROMPT_NAMES:
        if name in texts and name not in ranks:
            return {"prompt": texts[name], **row}
    return row
