"""SQuAD and its kin (CMRC 2018, XQuAD, DRCD): articles of paragraphs with questions, made flat."""

from collections.abc import Iterator
from typing import Any

from tael.data.reading import Reading
from tael.data.record import AT, Record

__all__ = ["questions"]


def questions(article: Record, line: int, reading: Reading) -> Iterator[Record]:
    """Yield a record for each question of an article that begins on `line`.

    Columns: `id`, `title`, `context`, `question`, `answers` (a list of `{"text", "start"}`, empty
    where the question has none), and what else the question has, such as `is_impossible`.
    """
    for n, paragraph in enumerate(article["paragraphs"]):
        context = paragraph.get("context") if isinstance(paragraph, dict) else None
        asked = paragraph.get("qas") if isinstance(paragraph, dict) else None
        if not isinstance(context, str) or not isinstance(asked, list):
            what = f"paragraphs[{n}]: expected a context and a list qas"
            reading.malformed(line, "not a paragraph of questions", what)
            continue
        for m, question in enumerate(asked):
            where = f"paragraphs[{n}].qas[{m}]"
            problem = _problem(question, context)
            if problem:
                reading.malformed(line, "not a question", f"{where}: {problem}")
                continue
            yield {
                "id": question.get("id"),
                "title": article.get("title", ""),
                "context": context,
                **{key: value for key, value in question.items() if key != AT},
                "answers": _answers(question),
                AT: reading.at(line),
            }


def _problem(question: Any, context: str) -> str:
    if not isinstance(question, dict) or not isinstance(question.get("question"), str):
        return "expected an object with a question"
    if not isinstance(question.get("answers", []), list):
        return "answers must be a list"
    for answer in question.get("answers", []):
        if not isinstance(answer, dict) or not isinstance(answer.get("text"), str):
            return "an answer has no text"
        start = answer.get("answer_start")
        if not isinstance(start, int) or isinstance(start, bool):
            return "an answer has no answer_start"
        if start >= 0 and not context.startswith(answer["text"], start):
            return f"the answer {answer['text']!r:.40} does not stand at answer_start {start}"
    return ""


def _answers(question: Record) -> list[Record]:
    """Return the answers; a start below 0 (CMRC 2018) means that nobody looked: None."""
    found = question.get("answers", [])
    return [
        {"text": one["text"], "start": one["answer_start"] if one["answer_start"] >= 0 else None}
        for one in found
    ]
