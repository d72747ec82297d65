from pathlib import Path

import numpy as np
import pytest
import torch
from tokenizers import Tokenizer, models

from tael.data.corpus import given
from tael.data.pool import Inline
from tael.data.shards import Shard, build
from tael.data.tokenizer import Specials
from tael.recipe.schema import Data, Pretrain
from tael.task.mlm import MaskedLM
from tael.train.batches import PackedText, cut
from tael.train.finetune import watched_rows
from tael.train.seeds import mix

LENGTHS = [3, 0, 50, 7, 14, 29, 1, *([9, 4, 6] * 60)]


@pytest.fixture(scope="module")
def shard(tmp_path_factory: pytest.TempPathFactory) -> Shard:
    draw = np.random.default_rng(0)
    texts = ["".join(chr(97 + int(i)) for i in draw.integers(0, 26, n)) for n in LENGTHS]
    data, folder = Data(train=(Path("unread.txt"),)), tmp_path_factory.mktemp("s")
    tokenizer = Tokenizer(models.Unigram([(chr(n), -1.0) for n in range(91, 123)], 0))
    return build(folder / "rows", given(folder, texts, data, ()), tokenizer, 16, Inline())


def packed(shard: Shard, **options: int) -> PackedText:
    learner = MaskedLM(Specials(0, 1, 2, 3, 4), 32, 0.15)
    return PackedText(learner, shard, Pretrain.model_validate({"batch": 5} | options), 7)


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
    assert len(seen) == sum(LENGTHS)
    rows = [piece for row in range(len(shard)) for piece in shard[row]]
    assert sorted(seen) == sorted(np.concatenate(rows).tolist())


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
