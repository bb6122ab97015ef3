"""SQuAD's own file (articles, paragraphs, questions), and rows whose answers are a list of objects."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ftp.data.readers.exports.spans import Tally, Unreadable
from ftp.data.readers.source import DataFile
from ftp.errors import UserError


def squad_rows(file: DataFile, whole: Mapping[str, Any]) -> list[dict[str, Any]] | None:
    """The questions of SQuAD's own JSON (v1.1 and v2.0) as rows; None for any other object."""
    articles = whole.get("data")
    if (
        not isinstance(articles, list)
        or not articles
        or not all(_is_article(article) for article in articles)
    ):
        return None
    rows: list[dict[str, Any]] = []
    unanswered = 0
    for article_index, article in enumerate(articles):
        for paragraph_index, paragraph in enumerate(article["paragraphs"]):
            where = f"{file.path}, article {article_index}, paragraph {paragraph_index}"
            for question in _questions(where, paragraph):
                try:
                    answers = answer_lists(question.get("answers", []))
                except Unreadable as error:
                    what = f"{where}, question {question.get('id')}: {error}"
                    raise UserError(what, "mend or leave out the question") from None
                if question.get("is_impossible") is True:
                    answers = {"text": [], "answer_start": []}
                unanswered += not answers["text"]
                rows.append({"id": str(question.get("id", len(rows))), "title": article.get("title"),
                             "context": paragraph["context"], "question": question["question"], "answers": answers})  # fmt: skip
    file.tell(
        f"read as SQuAD's own JSON: {len(rows)} questions, {unanswered} of them without an answer"
    )
    return rows


def _is_article(article: Any) -> bool:
    return isinstance(article, dict) and isinstance(article.get("paragraphs"), list)


def _questions(where: str, paragraph: Any) -> list[dict[str, Any]]:
    if not isinstance(paragraph, dict) or not isinstance(paragraph.get("context"), str):
        raise UserError(
            f"{where} has no context", "a paragraph has a context (text) and qas (a list)"
        )
    questions = paragraph.get("qas")
    if not isinstance(questions, list):
        raise UserError(
            f"{where} has no list qas", "a paragraph has a context (text) and qas (a list)"
        )
    for index, question in enumerate(questions):
        if not isinstance(question, dict) or not isinstance(question.get("question"), str):
            form = '{"question": "...", "answers": [{"text": "...", "answer_start": 0}]}'
            raise UserError(
                f"{where}, qas {index} has no question", f"a question looks like {form}"
            )
    return questions


def answer_lists(answers: Any) -> dict[str, list[Any]]:
    """A list of `{"text", "answer_start"}` as the two lists that question rows hold."""
    if not isinstance(answers, list):
        raise Unreadable(f"its answers are {answers!r:.60}, not a list")
    texts: list[str] = []
    starts: list[int] = []
    for answer in answers:
        if (
            not isinstance(answer, dict)
            or not isinstance(answer.get("text"), str)
            or type(answer.get("answer_start")) is not int
        ):
            raise Unreadable(f"the answer {answer!r:.80} has no text or no answer_start")
        texts.append(answer["text"])
        starts.append(answer["answer_start"])
    return {"text": texts, "answer_start": starts}


def matches(rows: list[dict[str, Any]]) -> bool:
    """Whether the rows have a question, a context, and answers that are lists of objects."""
    if not all(
        "question" in row and "context" in row and isinstance(row.get("answers"), list)
        for row in rows
    ):
        return False
    return any(isinstance(answer, dict) for row in rows for answer in row["answers"])


def convert(row: dict[str, Any], tally: Tally) -> dict[str, Any]:
    """The row with SQuAD's two lists of answers."""
    answers = (
        {"text": [], "answer_start": []}
        if row.get("is_impossible") is True
        else answer_lists(row.get("answers"))
    )
    return {**row, "answers": answers}
