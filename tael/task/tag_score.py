"""How well spans and tags are told. A span counts where type, start and end are all right.

Letters: N records · C tags.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from tael.errors import UsageError
from tael.task.base import Answer
from tael.task.outcomes import Floats, Sums, ratio
from tael.task.tag_data import Scheme

__all__ = ["outcomes"]


def outcomes(
    scheme: Scheme, answers: Sequence[Answer], references: Sequence[Any], labels: Sequence[str]
) -> Sums:
    """Lay answers beside references: entity F1 (micro, strict), or accuracy and macro F1 of tags.

    Entity F1 is that of CoNLL 2003 (Tjong Kim Sang and De Meulder, arXiv:cs/0306050).
    """
    if scheme == "spans":
        rows = [_hits(a["spans"], r) for a, r in zip(answers, references, strict=True)]
        return Sums({"hit_guess_truth": np.array(rows, np.float64).reshape(-1, 3)}, _entities)
    return _tags(answers, references, labels)


def _hits(said: Sequence[Mapping[str, Any]], truth: Sequence[Mapping[str, Any]]) -> list[int]:
    ours, theirs = ({(s["type"], s["start"], s["end"]) for s in part} for part in (said, truth))
    return [len(ours & theirs), len(ours), len(theirs)]


def _entities(sums: Mapping[str, Floats]) -> dict[str, Floats]:
    hit_R, guess_R, truth_R = sums["hit_guess_truth"].T
    return {
        "f1": ratio(2 * hit_R, guess_R + truth_R),
        "precision": ratio(hit_R, guess_R),
        "recall": ratio(hit_R, truth_R),
    }


def _tags(answers: Sequence[Answer], references: Sequence[Any], labels: Sequence[str]) -> Sums:
    index = {label: at for at, label in enumerate(labels)}
    hit_NC, guess_NC, truth_NC = (np.zeros((len(answers), len(labels))) for _ in range(3))
    for row, (answer, truth) in enumerate(zip(answers, references, strict=True)):
        if len(answer["tags"]) != len(truth):
            raise UsageError(
                f"record {row}: {len(answer['tags'])} tags answered, {len(truth)} are true; tags "
                "are scored on the tokens that the record brings"
            )
        hits = Counter(a for a, b in zip(answer["tags"], truth, strict=True) if a == b)
        for counts, found in (
            (hit_NC, hits), (guess_NC, Counter(answer["tags"])), (truth_NC, Counter(truth)),
        ):  # fmt: skip
            for tag, number in found.items():
                counts[row, index[tag]] = number

    def formula(sums: Mapping[str, Floats]) -> dict[str, Floats]:
        hit_RC, guess_RC, truth_RC = sums["hit"], sums["guess"], sums["truth"]
        seen_RC = (guess_RC + truth_RC) > 0
        f1_RC = ratio(2 * hit_RC, guess_RC + truth_RC)
        return {
            "accuracy": ratio(hit_RC.sum(axis=1), truth_RC.sum(axis=1)),
            "f1": ratio(f1_RC.sum(axis=1), seen_RC.sum(axis=1).astype(np.float64)),
        }

    return Sums({"hit": hit_NC, "guess": guess_NC, "truth": truth_NC}, formula)
