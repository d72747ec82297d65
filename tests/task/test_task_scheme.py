"""Tags and spans say the same; of a row of scores the best legal row of tags comes out."""

from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tael.task.scheme import best_path, bio, chunks, is_span_tag, labels_of

TYPES = ["人", "place", ""]


@st.composite
def rows_of_spans(draw: st.DrawFn) -> tuple[int, list[tuple[str, int, int]]]:
    """Draw spans that follow each other in a row of words, with gaps or without."""
    at, spans = 0, []
    for _ in range(draw(st.integers(0, 5))):
        at += draw(st.integers(0, 2))
        end = at + draw(st.integers(1, 3))
        spans.append((draw(st.sampled_from(TYPES)), at, end))
        at = end
    return at + draw(st.integers(0, 2)), spans


@given(rows_of_spans())
def test_spans_written_as_bio_are_read_back(drawn: tuple[int, list[tuple[str, int, int]]]) -> None:
    words, spans = drawn
    assert chunks(bio(spans, words)) == spans


@pytest.mark.parametrize(
    "tags",
    [
        "B-A I-A O B-B", "I-A I-A O I-B", "B-A E-A O S-B", "B-A L-A O U-B", "B-A I-A O S-B",
    ],
)  # fmt: skip
def test_every_scheme_says_the_same_spans(tags: str) -> None:
    assert chunks(tags.split()) == [("A", 0, 2), ("B", 3, 4)]


def test_a_segmentation_without_types_is_read() -> None:
    assert chunks(list("BMESBE")) == [("", 0, 3), ("", 3, 4), ("", 4, 6)]
    assert all(map(is_span_tag, ["O", "B-x", "S", "E_y"]))
    assert not any(map(is_span_tag, ["NN", "B-", "IN", "X-y"]))


def test_of_spans_that_overlap_the_longest_is_learned() -> None:
    assert bio([("A", 0, 1), ("B", 0, 3), ("C", 2, 4)], 5) == ["B-B", "I-B", "I-B", "O", "O"]


def is_legal(tags: list[str]) -> bool:
    pairs = zip(["O", *tags], tags, strict=False)
    return all(
        not tag.startswith("I") or last in (f"B{tag[1:]}", f"I{tag[1:]}") for last, tag in pairs
    )


@given(st.integers(0, 2**32), st.integers(0, 5))
def test_the_best_legal_row_comes_out_and_no_other(seed: int, words: int) -> None:
    labels = labels_of(["A", "B"])
    scores_WC = np.random.default_rng(seed).normal(size=(words, len(labels)))
    path = best_path(scores_WC, labels)
    assert is_legal([labels[c] for c in path])
    best = max(
        (
            sum(scores_WC[at, c] for at, c in enumerate(row))
            for row in product(range(len(labels)), repeat=words)
            if is_legal([labels[c] for c in row])
        ),
        default=0.0,
    )
    assert sum(scores_WC[at, c] for at, c in enumerate(path)) == pytest.approx(best)


def test_the_constraint_bites() -> None:
    labels = labels_of(["A"])  # O, B-A, I-A
    scores_WC = np.array([[1.0, 0.9, 5.0], [0.0, 0.0, 5.0]])
    assert [labels[c] for c in scores_WC.argmax(axis=1)] == ["I-A", "I-A"]
    assert [labels[c] for c in best_path(scores_WC, labels)] == ["B-A", "I-A"]


def test_parts_of_speech_are_all_legal_everywhere() -> None:
    scores_WC = np.eye(4)
    assert best_path(scores_WC, ["IN", "NN", "INTJ", "I"]) == [0, 1, 2, 3]


@settings(deadline=None)  # the first call imports scikit-learn
@given(st.lists(st.sampled_from(["O", "B-A", "I-A", "B-B", "I-B"]), max_size=8))
def test_spans_are_those_of_seqeval(tags: list[str]) -> None:
    seqeval = pytest.importorskip("seqeval.metrics.sequence_labeling", reason="needs seqeval")
    assert chunks(tags) == [(kind, a, b + 1) for kind, a, b in seqeval.get_entities(tags)]
