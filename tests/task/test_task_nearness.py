"""Metrics of vectors against scipy, scikit-learn and loops."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import pearsonr, spearmanr
from sklearn.metrics import ndcg_score

from tael.task.nearness import Alike, nearer, ranks, retrieved
from tael.task.outcomes import figures


def test_likeness_is_scipys() -> None:
    generator = np.random.default_rng(0)
    truth = generator.integers(0, 6, 50).astype(float)
    cosine = truth / 5 + generator.normal(0, 0.4, 50).round(1)
    found = figures(Alike(truth, cosine))
    assert list(found) == ["spearman", "pearson"]
    assert found["spearman"] == pytest.approx(spearmanr(truth, cosine).statistic)
    assert found["pearson"] == pytest.approx(pearsonr(truth, cosine).statistic)


@settings(max_examples=30, deadline=None)
@given(st.integers(1, 12), st.integers(1, 300), st.integers(0, 99))
def test_retrieval_is_scikit_learns(candidates: int, queries: int, seed: int) -> None:
    generator = np.random.default_rng(seed)
    queries_NE = generator.normal(size=(queries, 4))
    candidates_CE = generator.normal(size=(candidates, 4))
    own_N = generator.integers(0, candidates, queries)
    rank_N = ranks(queries_NE, candidates_CE, own_N)
    cosine_NC = queries_NE @ candidates_CE.T
    order_NC = np.argsort(-cosine_NC, axis=1)
    assert rank_N.tolist() == [
        1 + order.tolist().index(own) for order, own in zip(order_NC, own_N, strict=True)
    ]
    found = figures(retrieved(rank_N))
    assert found["recall@1"] == pytest.approx((order_NC[:, 0] == own_N).mean())
    assert found["mrr"] == pytest.approx((1 / rank_N).mean())
    if candidates > 1:  # scikit-learn has no answer for one candidate
        relevant_NC = np.eye(candidates)[own_N]
        assert found["ndcg@10"] == pytest.approx(ndcg_score(relevant_NC, cosine_NC, k=10))


def test_a_model_that_gives_all_texts_one_vector_finds_nothing() -> None:
    rank_N = ranks(np.ones((20, 3)), np.ones((20, 3)), np.arange(20))
    assert rank_N.tolist() == [11] * 20
    assert figures(retrieved(rank_N))["recall@10"] == 0.0


def test_accuracy_of_triples_is_the_share_of_right_ones() -> None:
    assert figures(nearer([True, False, True, True])) == {"accuracy": 0.75}
