"""What a sceptic would try first: the most frequent answer, and TF-IDF with a linear model.

Every choice (which n-grams, how much regularisation) is made on dev, never on test. scikit-learn
fits; what answers afterwards is `LinearModel`, which is a variant like any other.
"""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tael.data.record import Record
from tael.model.linear import Grams, LinearModel, document
from tael.task.base import Answer
from tael.task.metrics import Kind, measure, split_labels

__all__ = [
    "CHARACTERS", "WORDS", "Constant", "fit_tfidf", "logistic", "majority", "ridge", "suited_grams",
    "vectorize",
]  # fmt: skip

CHARACTERS, WORDS = Grams("char", 1, 3), Grams("word", 1, 2)
_STRENGTHS = (1.0, 10.0)  # C of the logistic regression; 1/alpha of the ridge regression
_HAN_SHARE = 0.2  # from this share of Han characters on, words are not separated by spaces
_NEVER = -30.0  # logit of a class without a training record: e^-30 is below any rounding


@dataclass(frozen=True)
class Constant:
    """A predictor that gives every record the same answer."""

    answer: Answer

    def predict(self, records: Sequence[Record]) -> list[Answer]:
        """Return the answer once a record."""
        return [self.answer] * len(records)


def majority(references: Sequence[Any], kind: Kind, labels: Sequence[str]) -> Constant:
    """Return the best constant answer to the training references.

    One label: the most frequent one; several: those of more than half of the records; a number: the
    mean. Scores are the shares in train.
    """
    if kind == "regression":
        return Constant({"value": float(np.mean([float(r) for r in references]))})
    if kind == "multi":
        counts = Counter(name for reference in references for name in split_labels(reference))
    else:
        counts = Counter(map(str, references))
    scores = {label: counts[label] / len(references) for label in labels}
    if kind == "multi":
        return Constant({"labels": [x for x in labels if scores[x] > 0.5], "scores": scores})
    best = max(labels, key=lambda label: scores[label])
    return Constant({"label": best, "score": scores[best], "scores": scores})


def suited_grams(texts: Sequence[str]) -> tuple[Grams, ...]:
    """Return the n-grams worth trying: words only where spaces stand between them."""
    sample = "".join(texts[:2000])
    han = sum("\u4e00" <= letter <= "\u9fff" for letter in sample)
    return (CHARACTERS,) if han > _HAN_SHARE * len(sample) else (CHARACTERS, WORDS)


def fit_tfidf(
    train: Sequence[Record],
    dev: Sequence[Record],
    kind: Kind,
    labels: Sequence[str],
    *,
    grams: Sequence[Grams] | None = None,
) -> LinearModel:
    """Fit TF-IDF and a linear model on train; take the n-grams and strength that are best on dev.

    Sublinear term frequency, n-grams of at least two texts; logistic regression for one label, one
    against the rest for several, ridge regression for a number. Judged on dev by accuracy, macro F1
    or the mean squared error; the first of equals is taken. No choice is random. Without dev
    records the first candidate is taken.
    """
    texts = [document(record) for record in train]
    best: tuple[float, LinearModel] | None = None
    for cut in grams or suited_grams(texts):
        for model in _candidates(texts, [record["label"] for record in train], kind, labels, cut):
            quality = _quality(model, dev, kind, labels)
            if best is None or quality > best[0]:
                best = quality, model
            if not dev:
                break
    assert best is not None, "characters cut every text that is not empty"
    return best[1]


def _candidates(
    texts: Sequence[str], references: Sequence[Any], kind: Kind, labels: Sequence[str], grams: Grams
) -> Iterator[LinearModel]:
    """Yield one fitted model a strength; none where the texts have no such n-gram."""
    vectorizer, features = vectorize(texts, grams)
    if vectorizer is None:
        return
    vocabulary = vectorizer.get_feature_names_out().tolist()
    for strength in _STRENGTHS:
        if kind == "regression":
            weight_CV, bias_C = _ridge(features, references, strength)
        elif kind == "multi":
            weight_CV, bias_C = _one_against_rest(features, references, labels, strength)
        else:
            weight_CV, bias_C = _one_label(features, references, labels, strength)
        outputs = 1 if kind == "regression" else len(labels)
        yield LinearModel(grams, vocabulary, vectorizer.idf_, weight_CV.T, bias_C, outputs=outputs)


def vectorize(texts: Sequence[str], grams: Grams) -> tuple[Any, Any]:
    """Return the fitted vectoriser and the TF-IDF features of `texts`; None where none are left."""
    from sklearn.feature_extraction.text import TfidfVectorizer

    for least in (2, 1):  # a handful of short texts may share no n-gram at all
        vectorizer = TfidfVectorizer(
            analyzer=grams.unit,
            ngram_range=(grams.low, grams.high),
            sublinear_tf=True,
            min_df=least,
        )
        try:
            return vectorizer, vectorizer.fit_transform(texts)
        except ValueError as error:  # scikit-learn's way to say: no n-gram is left
            if "vocabulary" not in str(error) and "no terms remain" not in str(error):
                raise
    return None, None


def _one_label(
    features: Any, references: Sequence[Any], labels: Sequence[str], strength: float
) -> tuple[NDArray[Any], NDArray[Any]]:
    truth_N = np.array([labels.index(str(reference)) for reference in references])
    model = logistic(strength).fit(features, truth_N)
    if len(labels) == 2:
        return model.coef_, model.intercept_
    coef_CV, bias_C = model.coef_, model.intercept_
    if len(model.classes_) == 2:  # of three and more labels only two have records
        coef_CV = np.concatenate([np.zeros_like(coef_CV), coef_CV])
        bias_C = np.concatenate([np.zeros_like(bias_C), bias_C])
    weight_CV = np.zeros((len(labels), features.shape[1]))
    weight_CV[model.classes_] = coef_CV
    all_C = np.full(len(labels), _NEVER)
    all_C[model.classes_] = bias_C
    return weight_CV, all_C


def _one_against_rest(
    features: Any, references: Sequence[Any], labels: Sequence[str], strength: float
) -> tuple[NDArray[Any], NDArray[Any]]:
    sets = [set(split_labels(reference)) for reference in references]
    weight_CV, bias_C = np.zeros((len(labels), features.shape[1])), np.zeros(len(labels))
    for row, label in enumerate(labels):
        truth_N = np.array([label in names for names in sets])
        if truth_N.all() or not truth_N.any():
            bias_C[row] = -_NEVER if truth_N.all() else _NEVER
            continue
        model = logistic(strength).fit(features, truth_N)
        weight_CV[row], bias_C[row] = model.coef_[0], model.intercept_[0]
    return weight_CV, bias_C


def _ridge(
    features: Any, references: Sequence[Any], strength: float
) -> tuple[NDArray[Any], NDArray[Any]]:
    model = ridge(strength)
    model.fit(features, np.array([float(reference) for reference in references]))
    return np.atleast_2d(model.coef_), np.atleast_1d(model.intercept_)


def ridge(strength: float) -> Any:
    """Return the regression of the baseline, unfitted; `strength` is 1 / alpha."""
    from sklearn.linear_model import Ridge

    return Ridge(alpha=1 / strength, solver="sparse_cg", tol=1e-6)


def logistic(strength: float) -> Any:
    """Return the classifier of the baseline, unfitted; `strength` is its C."""
    from sklearn.linear_model import LogisticRegression

    return LogisticRegression(C=strength, max_iter=2000)


def _quality(model: LinearModel, dev: Sequence[Record], kind: Kind, labels: Sequence[str]) -> float:
    if not dev:
        return 0.0
    logits_NC = model.logits([document(record) for record in dev])
    references = [record["label"] for record in dev]
    if kind == "regression":
        truth_N = np.array([float(reference) for reference in references])
        return -float(np.mean((logits_NC[:, 0] - truth_N) ** 2))
    if kind == "single":
        right = [labels[c] == str(r) for c, r in zip(logits_NC.argmax(1), references, strict=True)]
        return float(np.mean(right))
    answers = [
        {"labels": [x for x, z in zip(labels, row, strict=True) if z > 0]} for row in logits_NC
    ]
    return measure("multi", answers, references, labels)["f1"]
