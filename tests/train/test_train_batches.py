import numpy as np
import pytest
import torch

from tael.data.shards import Shard, build
from tael.data.tokenizer import Specials
from tael.recipe.schema import Pretrain
from tael.task.mlm import MaskedLM
from tael.train.batches import PackedText, chunks, cut
from tael.train.finetune import watched_rows
from tael.train.seeds import mix

VOCAB = 60
LENGTHS = [3, 0, 50, 7, 14, 29, 1, *([9, 4, 6] * 60)]


@pytest.fixture(scope="module")
def shard(tmp_path_factory: pytest.TempPathFactory) -> Shard:
    texts = [str(i) for i in range(len(LENGTHS))]
    draw = np.random.default_rng(0)
    ids = {t: draw.integers(5, VOCAB, n).tolist() for t, n in zip(texts, LENGTHS, strict=True)}
    return build(tmp_path_factory.mktemp("s"), texts, lambda batch: [ids[t] for t in batch], "key")


def packed(shard: Shard, **options: int) -> PackedText:
    learner = MaskedLM(Specials(0, 1, 2, 3, 4), VOCAB, 0.15)
    return PackedText(learner, shard, 16, Pretrain.model_validate({"batch": 5} | options), 7)


def test_chunks_cover_every_token_once_and_empty_texts_give_none() -> None:
    pieces = chunks(np.array([0, 5, 14, 15, 29]), 14)
    assert pieces.tolist() == [
        [1, 0, 5], [2, 0, 14], [3, 0, 14], [3, 14, 15], [4, 0, 14], [4, 14, 28], [4, 28, 29]
    ]  # fmt: skip
    assert chunks(np.array([], dtype=np.int64), 14).shape == (0, 3)


def test_an_epoch_and_the_held_out_rows_hold_every_token_once(shard: Shard) -> None:
    text = packed(shard)
    seen: list[int] = []
    batches = [batch for step in range(text.steps_per_epoch) for batch in text[step]]
    for batch in [*batches, *text.dev()]:
        assert batch.where_N is not None
        assert batch.targets is not None
        flat = batch.ids_BT.flatten().clone()
        flat[batch.where_N] = batch.targets  # what was there before it was masked
        seen += flat[flat > 4].tolist()
    assert len(text.dev()) > 0
    assert sorted(seen) == sorted(np.concatenate([shard[i] for i in range(len(shard))]).tolist())


def test_a_step_is_a_function_of_its_number_and_no_two_are_alike(shard: Shard) -> None:
    one, two = packed(shard), packed(shard)
    two[0]
    assert torch.equal(one[3][0].ids_BT, two[3][0].ids_BT)
    assert torch.equal(one.dev()[0].ids_BT, two.dev()[0].ids_BT)
    assert not torch.equal(one[3][0].ids_BT, one[3 + one.steps_per_epoch][0].ids_BT)


def test_micro_batches_together_are_the_step(shard: Shard) -> None:
    (whole,) = packed(shard)[2]
    parts = packed(shard, micro_batch=2)[2]
    assert [len(part.ids_BT) for part in parts] == [2, 2, 1]
    assert torch.equal(torch.cat([part.ids_BT for part in parts]), whole.ids_BT)
    assert torch.equal(torch.cat([part.targets for part in parts]), whole.targets)  # type: ignore[type-var,arg-type]
    assert sum(part.tokens for part in parts) == whole.tokens
    assert sum(part.size for part in parts) == whole.size
    assert whole.where_N is not None
    assert whole.targets is not None
    for part in parts:
        assert part.where_N is not None
        assert int(part.where_N.max()) < part.ids_BT.numel()
    assert cut(whole, 5) == [whole]


def test_a_place_names_the_texts_of_its_micro_batch(shard: Shard) -> None:
    places = packed(shard, micro_batch=1).places(0, 0)
    assert places
    assert all(place.startswith("pretraining text ") for place in places)
    assert set(places) < set(packed(shard).places(0, 0))


def test_scoring_adds_about_a_seventh_and_always_looks_at_train() -> None:
    assert watched_rows(18_600, 10, 776, 6211) == (776, 200)
    dev, train = watched_rows(200_000, 10, 6000, 30_000)
    assert (dev, train) == (2000, 2000)
    assert 10 * (dev + train) / (3 * 200_000) <= 0.15
    assert watched_rows(10, 10, 5, 40) == (5, 40)


def test_no_two_seeds_meet() -> None:
    seeds = {mix(s, a, b) for s in range(4) for a in range(20) for b in range(200)}
    assert len(seeds) == 4 * 20 * 200
    assert all(0 <= seed < 2**63 for seed in seeds)
