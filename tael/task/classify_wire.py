"""What a request for a label and its answer look like, and how logits become answers.

Letters: N records · C classes.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, Field, create_model

from tael.task.base import Answer
from tael.task.labels import Kind

__all__ = ["answers_of", "request_of", "response_of"]


def request_of(*, pairs: bool) -> type[BaseModel]:
    """Return what one record of a request looks like; `pairs`: it has a second text."""
    text = (str, Field(description="The text to classify."))
    if not pairs:
        return create_model("ClassifyRecord", text=text)
    pair = (str, Field(description="The second text, which the label is about as well."))
    return create_model("ClassifyPair", text=text, text_pair=pair)


def response_of(kind: Kind) -> type[BaseModel]:
    """Return what one answer looks like."""
    scores = (dict[str, float], Field(description="Probability of each label."))
    if kind == "regression":
        return create_model("Value", value=(float, Field(description="The predicted number.")))
    if kind == "multi":
        labels = (list[str], Field(description="Labels with a probability of 0.5 or more."))
        return create_model("Labels", labels=labels, scores=scores)
    label = (str, Field(description="The most probable label."))
    score = (float, Field(description="Its probability."))
    return create_model("Label", label=label, score=score, scores=scores)


def answers_of(logits_NC: NDArray[np.float64], kind: Kind, labels: Sequence[str]) -> list[Answer]:
    """Return an answer a row: the most probable label, those of 0.5 or more, or the number."""
    if kind == "regression":
        return [{"value": float(value)} for value in logits_NC[:, 0]]
    scores_NC = _softmax(logits_NC) if kind == "single" else _sigmoid(logits_NC)
    answers: list[Answer] = []
    for row, best in zip(scores_NC.tolist(), logits_NC.argmax(1).tolist(), strict=True):
        scores = dict(zip(labels, row, strict=True))
        if kind == "single":
            answers.append({"label": labels[best], "score": row[best], "scores": scores})
        else:
            chosen = [label for label, score in scores.items() if score >= 0.5]
            answers.append({"labels": chosen, "scores": scores})
    return answers


def _softmax(logits_NC: NDArray[np.float64]) -> NDArray[np.float64]:
    exp_NC = np.exp(logits_NC - logits_NC.max(axis=1, keepdims=True))
    scores_NC: NDArray[np.float64] = exp_NC / exp_NC.sum(axis=1, keepdims=True)
    return scores_NC


def _sigmoid(logits_NC: NDArray[np.float64]) -> NDArray[np.float64]:
    # By tanh: exp of a large logit would overflow.
    return np.asarray(0.5 * (1 + np.tanh(logits_NC / 2)))
