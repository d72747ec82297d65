"""How figures are written for a reader: shares in percent, everything with its interval."""

from tael.evaluate.score import Score
from tael.page.words import Lang, Words, words

__all__ = [
    "LONG_NAMES", "SHORT_NAMES", "difference", "distance", "duration", "figure", "interval",
    "is_share", "named", "plus_minus", "speaking",
]  # fmt: skip

_SHARES = (
    "accuracy", "f1", "f1_weighted", "f1_micro", "precision", "precision_weighted", "recall",
    "recall_weighted", "exact_match", "no_answer_accuracy",
    "recall@1", "recall@10", "rouge1", "rouge2", "rougeL",
)  # fmt: skip
# Of a baseline, within a sentence.
SHORT_NAMES = {
    "tfidf": "TF-IDF",
    "dictionary": "a dictionary",
    "nearest": "the nearest part",
    "5-gram": "a 5-gram model",
    "memory": "a translation memory",
}
LONG_NAMES = {
    "accuracy": "accuracy",
    "f1": "macro F1",
    "f1_weighted": "weighted F1",
    "f1_micro": "micro F1",
    "precision": "macro precision",
    "recall": "macro recall",
    "precision_weighted": "weighted precision",
    "recall_weighted": "weighted recall",
    "auroc": "area under ROC",
    "mcc": "Matthews correlation",
    "ece": "calibration error (ECE)",
    "r2": "R²",
    "mse": "mean squared error",
    "rmse": "root mean squared error",
    "mae": "mean absolute error",
    "pearson": "Pearson correlation",
    "spearman": "Spearman correlation",
    "exact_match": "exact match",
    "no_answer_accuracy": "answered or not, rightly",
    "recall@1": "found first",
    "recall@10": "found among ten",
    "ndcg@10": "nDCG@10",
    "mrr": "mean reciprocal rank",
    "bleu": "BLEU",
    "chrf": "chrF",
    "rouge1": "ROUGE-1",
    "rouge2": "ROUGE-2",
    "rougeL": "ROUGE-L",
    "bits_per_char": "bits a character",
    "bits_per_byte": "bits a byte",
}


def speaking(lang: Lang) -> Words:
    """Return the words of this room's pages."""
    return words("evaluate", lang)


def named(say: Words, metric: str) -> str:
    """Return the name of a metric as a reader knows it."""
    return say(LONG_NAMES.get(metric, metric))


def is_share(metric: str) -> bool:
    """Return whether a metric is written in percent, and its differences in points."""
    return metric in _SHARES


def figure(say: Words, metric: str, value: float) -> str:
    """Return `90.1 %` for a share, `0.953` else."""
    return say.percent(value) if is_share(metric) else f"{value:.3f}"


def interval(metric: str, entry: Score) -> str:
    """Return the ends of the interval, `88.5 – 91.7`."""
    if is_share(metric):
        return f"{100 * entry.low:.1f} – {100 * entry.high:.1f}"
    return f"{entry.low:.3f} – {entry.high:.3f}"


def plus_minus(say: Words, metric: str, entry: Score) -> str:
    """Return `90.1 % ± 1.6`: the value and half the width of its interval."""
    half = (entry.high - entry.low) / 2
    spread = f"{100 * half:.1f}" if is_share(metric) else f"{half:.3f}"
    return f"{figure(say, metric, entry.value)} ± {spread}"


def difference(metric: str, value: float) -> str:
    """Return a difference with its sign: `+1.4` points for a share, `−0.012` else."""
    text = f"{100 * value:+.1f}" if is_share(metric) else f"{value:+.3f}"
    return text.replace("-", "−")


def distance(say: Words, metric: str, value: float) -> str:
    """Return the size of a difference with its unit: `1.4 points`, `0.012`."""
    if is_share(metric):
        return say("{points} points", points=f"{100 * abs(value):.1f}")
    return f"{abs(value):.3f}"


def duration(say: Words, seconds: float) -> str:
    """Return `8 s`, `6 min 40 s` or `2 h 05 min`."""
    if seconds < 60:
        return say("{s} s", s=f"{seconds:.1f}" if seconds < 10 else f"{seconds:.0f}")
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return say("{m} min {s} s", m=minutes, s=f"{rest:02d}")
    return say("{h} h {m} min", h=minutes // 60, m=f"{minutes % 60:02d}")
