"""SQuAD's own file (articles, paragraphs, questions), and rows whose answers are a list of objects."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from ftp.data.readers.exports import Export, Layout, Tally, Unreadable
from ftp.data.readers.source import DataFile
from ftp.errors import UserError
from ftp.types import Row

QUESTION = '{"question": "...", "answers": [{"text": "...", "answer_start": 0}]}'


def rows_of(file: DataFile, whole: Row) -> list[Row] | None:
    """The questions of SQuAD's own JSON (v1.1 and v2.0) as rows; None for any other object.

    Raises:
        UserError: a paragraph or a question lacks what it must have.
    """
    articles = whole.get("data")
    if not isinstance(articles, list) or not articles or not all(map(_is_article, articles)):
        return None
    rows: list[Row] = []
    num_unanswered = 0
    for article_index, article in enumerate(articles):
        for paragraph_index, paragraph in enumerate(article["paragraphs"]):
            where = f"{file.path}, article {article_index}, paragraph {paragraph_index}"
            for question in _questions(where, paragraph):
                try:
                    answers = _answers(question, question.get("answers", []))
                except Unreadable as error:
                    what = f"{where}, question {question.get('id')}: {error}"
                    raise UserError(what, "correct the question, or leave it out") from None
                num_unanswered += not answers["text"]
                rows.append({
                    "id": str(question.get("id", len(rows))), "title": article.get("title"),
                    "context": paragraph["context"], "question": question["question"], "answers": answers,
                })  # fmt: skip
    file.tell(f"read as SQuAD's own JSON: {len(rows)} questions, {num_unanswered} of them without an answer")
    return rows


def _is_article(article: object) -> bool:
    return isinstance(article, dict) and isinstance(article.get("paragraphs"), list)


def _questions(where: str, paragraph: object) -> list[Row]:
    """The questions of a paragraph. `where`: the file and the number of the paragraph."""
    needed = "a paragraph has a context (text) and qas (a list)"
    if not isinstance(paragraph, dict) or not isinstance(paragraph.get("context"), str):
        raise UserError(f"{where} has no context", needed)
    questions = paragraph.get("qas")
    if not isinstance(questions, list):
        raise UserError(f"{where} has no list qas", needed)
    for index, question in enumerate(questions):
        if not isinstance(question, dict) or not isinstance(question.get("question"), str):
            raise UserError(f"{where}, qas {index} has no question", f"a question looks like {QUESTION}")
    return questions


def _answers(question: Row, answers: object) -> Row:
    """A list of `{"text", "answer_start"}` as the two lists that question rows hold."""
    # what is given to a question that its text does not answer only looks plausible
    if question.get("is_impossible") is True:
        return {"text": [], "answer_start": []}
    if not isinstance(answers, list):
        raise Unreadable(f"its answers are {answers!r:.60}, not a list")
    texts: list[str] = []
    starts: list[int] = []
    for answer in answers:
        has_text = isinstance(answer, Mapping) and isinstance(answer.get("text"), str)
        if not has_text or type(answer.get("answer_start")) is not int:
            raise Unreadable(f"the answer {answer!r:.80} has no text or no answer_start")
        texts.append(answer["text"])
        starts.append(answer["answer_start"])
    return {"text": texts, "answer_start": starts}


def matches(rows: Sequence[Row]) -> bool:
    """Whether the rows have a question, a context, and answers that are lists of objects."""
    for row in rows:
        if "question" not in row or "context" not in row or not isinstance(row.get("answers"), list):
            return False
    return any(isinstance(answer, dict) for row in rows for answer in row["answers"])


def convert(row: Row, tally: Tally) -> Row:
    """The row with SQuAD's two lists of answers."""
    return {**row, "answers": _answers(row, row.get("answers"))}


EXPORT = Export("squad", (Layout("SQuAD's answers", matches, convert),))
