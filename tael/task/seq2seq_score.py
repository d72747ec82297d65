"""BLEU, chrF and ROUGE as sums over records, so that every draw of them has its own figure.

BLEU: Papineni et al. 2002, as sacrebleu counts (Post 2018, arXiv:1804.08771), whose tokenizer and
counts are used. chrF: Popović 2015, six orders, beta 2. ROUGE: Lin 2004, with stemming, as
rouge-score counts; the mean over a record's references. Chinese is compared by characters.

Letters: N records · R resamples · K sums · O orders.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from tael.errors import UsageError
from tael.task.outcomes import Floats, Outcomes, Sums, ratio

__all__ = ["METRICS", "METRIC_WORDS", "outcomes"]

METRICS = ("bleu", "chrf", "rouge1", "rouge2", "rougeL", "exact_match")
METRIC_WORDS: Mapping[str, str] = {"bleu": "BLEU", "chrf": "chrF"}
_ROUGES = ("rouge1", "rouge2", "rougeL")
_ORDERS, _CHARACTER_ORDERS, _BETA = 4, 6, 2.0

Texts = Sequence[str]


def outcomes(said: Texts, references: Sequence[Texts]) -> Outcomes:
    """Lay texts beside the references of each record, one or several.

    Raises UsageError where sacrebleu or rouge-score is not installed.
    """
    chinese = _mostly_han([one for some in references for one in some])
    parts: dict[str, Any] = {
        "bleu": _bleu_sums(said, references, "zh" if chinese else "13a"),
        "chrf": [_chrf_sums(text, some) for text, some in zip(said, references, strict=True)],
        "exact_match": [
            float(text.strip() in {one.strip() for one in some})
            for text, some in zip(said, references, strict=True)
        ],
        "all": [1.0] * len(said),
    }
    rouge = _rouge_means(said, references)
    parts |= {name: rouge[:, at] for at, name in enumerate(_ROUGES)}
    return Sums({name: np.asarray(part, np.float64) for name, part in parts.items()}, _told)


def _told(sums: Mapping[str, Floats]) -> dict[str, Floats]:
    means = {name: ratio(sums[name], sums["all"]) for name in (*_ROUGES, "exact_match")}
    return {"bleu": _bleu(sums["bleu"]), "chrf": _chrf(sums["chrf"]), **means}


def _bleu_sums(said: Texts, references: Sequence[Texts], tokenize: str) -> list[list[float]]:
    """Return for each record the matched and the possible n-grams, and both lengths: (N, 10)."""
    try:
        from sacrebleu.metrics.bleu import BLEU
    except ImportError:
        raise _missing("sacrebleu") from None
    bleu = BLEU(tokenize=tokenize)
    found = []
    for text, some in zip(said, references, strict=True):
        one = bleu.corpus_score([text], [[reference] for reference in some])
        found.append([*one.counts, *one.totals, one.sys_len, one.ref_len])
    return found


def _bleu(sums_RK: Floats) -> Floats:
    """Return BLEU, 0 to 100, with sacrebleu's smoothing of orders that nothing matches."""
    matched_RO, possible_RO = sums_RK[:, :_ORDERS], sums_RK[:, _ORDERS : 2 * _ORDERS]
    said_R, wanted_R = sums_RK[:, -2], sums_RK[:, -1]
    halvings_RO = np.cumsum((matched_RO == 0) & (possible_RO > 0), axis=1)
    share_RO = np.where(
        matched_RO > 0,
        ratio(matched_RO, possible_RO),
        ratio(0.5**halvings_RO, possible_RO),
    )
    nothing_R = (possible_RO == 0).any(axis=1) | (matched_RO.sum(axis=1) == 0)
    logs_RO = np.log(np.where(share_RO > 0, share_RO, 1.0))
    short_R = np.where(said_R < wanted_R, 1 - ratio(wanted_R, said_R), 0.0)
    return np.where(nothing_R, 0.0, 100 * np.exp(short_R + logs_RO.mean(axis=1)))


def _chrf_sums(text: str, references: Texts) -> list[float]:
    """Return the said, wanted and matched n-grams of characters, of the nearest reference."""
    said = [_grams(text, order) for order in range(1, _CHARACTER_ORDERS + 1)]
    rows = []
    for reference in references:
        wanted = [_grams(reference, order) for order in range(1, _CHARACTER_ORDERS + 1)]
        pairs = list(zip(said, wanted, strict=True))
        counts = (
            [one.total() if other else 0 for one, other in pairs],  # as sacrebleu has it
            [other.total() for _, other in pairs],
            [(one & other).total() for one, other in pairs],
        )
        rows.append([float(n) for part in counts for n in part])
    return max(rows, key=lambda row: float(_chrf(np.array([row]))[0]))


def _chrf(sums_RK: Floats) -> Floats:
    """Return chrF, 0 to 100: the mean precision and recall over the orders that both texts have."""
    said_RO, wanted_RO, matched_RO = np.split(sums_RK, 3, axis=1)
    both_RO = (said_RO > 0) & (wanted_RO > 0)
    orders_R = both_RO.sum(axis=1).astype(np.float64)
    precision_R = ratio((ratio(matched_RO, said_RO) * both_RO).sum(axis=1), orders_R)
    recall_R = ratio((ratio(matched_RO, wanted_RO) * both_RO).sum(axis=1), orders_R)
    weight = _BETA**2
    return 100 * ratio((1 + weight) * precision_R * recall_R, weight * precision_R + recall_R)


def _grams(text: str, order: int) -> Counter[str]:
    packed = "".join(text.split())
    return Counter(packed[at : at + order] for at in range(len(packed) - order + 1))


def _rouge_means(said: Texts, references: Sequence[Texts]) -> Floats:
    """Return ROUGE-1, -2 and -L of each record, the mean over its references: (N, 3)."""
    try:
        from rouge_score.rouge_scorer import RougeScorer
    except ImportError:
        raise _missing("rouge-score") from None
    scorer = RougeScorer(list(_ROUGES), tokenizer=_Words())
    found = []
    for text, some in zip(said, references, strict=True):
        each = [scorer.score(reference, text) for reference in some]
        found.append([float(np.mean([one[name].fmeasure for one in each])) for name in _ROUGES])
    return np.array(found, dtype=np.float64).reshape(-1, len(_ROUGES))


class _Words:
    """rouge-score's own words, stemmed, and every Chinese character, which it would drop."""

    def __init__(self) -> None:
        from rouge_score.tokenizers import DefaultTokenizer

        self._words = DefaultTokenizer(use_stemmer=True)

    def tokenize(self, text: str) -> list[str]:
        """Return the units of a text in order."""
        units: list[str] = []
        start = 0
        for at, character in enumerate(text):
            if _is_han(character):
                units += [*self._words.tokenize(text[start:at]), character]
                start = at + 1
        return [*units, *self._words.tokenize(text[start:])]


def _mostly_han(texts: Texts) -> bool:
    han = sum(_is_han(character) for text in texts for character in text)
    letters = sum(character.isalpha() for text in texts for character in text)
    return han > letters / 2


def _is_han(character: str) -> bool:
    return "\u3400" <= character <= "\u9fff"


def _missing(name: str) -> UsageError:
    return UsageError(f"seq2seq needs {name}: pip install 'tael[text]'")
