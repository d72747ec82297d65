"""What span corruption and denoising hide can be put back: nothing of a text is lost."""

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from tokenizers import AddedToken, Tokenizer, models

from tael.errors import CheckpointError
from tael.task.denoise import Denoising, SpanCorruption
from tael.task.marks import SENTINELS, Marks

EOS, PAD, MASK, BOS = 1, 0, 3, 2
MARKS = Marks(BOS, EOS, PAD, MASK)
Ids = NDArray[np.int64]


def tokenizer() -> Tokenizer:
    vocab = {name: at for at, name in enumerate(["[PAD]", "[SEP]", "[CLS]", "[MASK]", "."])}
    vocab |= {f"w{n}": n + 5 for n in range(95)}
    made = Tokenizer(models.WordLevel(vocab, unk_token="w0"))
    made.add_special_tokens([AddedToken(text, special=True) for text in SENTINELS])
    return made


def document(length: int, seed: int = 0) -> Ids:
    return np.random.default_rng(seed).integers(4, 100, length)


def spans(mask: float = 0.15, span: float = 3.0) -> SpanCorruption:
    return SpanCorruption(tokenizer(), MARKS, PAD, mask, span)


def put_back(read: Ids, written: Ids, marks: list[int]) -> list[int]:
    """Write each stretch where its sentinel stands."""
    assert read[-1] == written[-1] == EOS
    hidden: dict[int, list[int]] = {}
    for id_ in written[:-1].tolist():
        if id_ in marks:
            now = hidden.setdefault(id_, [])
        else:
            now.append(id_)
    return [one for id_ in read[:-1].tolist() for one in hidden.get(id_, [id_])]


@pytest.mark.parametrize("length", [1, 2, 3, 10, 64, 500])
def test_sentinels_replaced_by_their_stretches_give_the_text_back(length: int) -> None:
    learner = spans()
    for seed in range(20):
        whole = document(length, seed)
        read, written = learner.spoil(whole, np.random.default_rng(seed))
        assert put_back(read, written, learner.sentinels) == whole.tolist()


def test_fifteen_percent_are_hidden_in_stretches_of_three_on_average() -> None:
    learner, whole = spans(), document(400)
    for seed in range(10):
        read, written = learner.spoil(whole, np.random.default_rng(seed))
        used = [id_ for id_ in written.tolist() if id_ in learner.sentinels]
        hidden = len(written) - 1 - len(used)
        assert hidden == 60  # 15 %
        assert len(used) == 20  # of 3 each
        assert used == learner.sentinels[:20]  # each its own, in their order
        assert len(read) == 400 - 60 + 20 + 1
        assert [id_ for id_ in read.tolist() if id_ in learner.sentinels] == used


def test_every_place_of_a_short_text_is_hidden_as_often() -> None:
    learner, whole = spans(), np.arange(10, 20)
    times = np.zeros(10)
    for seed in range(3000):
        read, _ = learner.spoil(whole, np.random.default_rng(seed))
        times += ~np.isin(whole, read)
    # A stretch of two begins at one of nine places: the first and the last token are in one each.
    assert times[1:-1] / 3000 == pytest.approx(np.full(8, 2 / 9), abs=0.04)
    assert times[[0, -1]] / 3000 == pytest.approx(np.full(2, 1 / 9), abs=0.03)


def test_a_text_with_more_stretches_than_sentinels_has_longer_ones() -> None:
    learner = spans(0.5, 1.0)
    whole = document(900)
    read, written = learner.spoil(whole, np.random.default_rng(1))
    assert put_back(read, written, learner.sentinels) == whole.tolist()
    assert len(written) == 450 + 100 + 1


def denoising(mask: float = 0.3) -> Denoising:
    return Denoising(tokenizer(), MARKS, PAD, mask, 3.0)


def test_denoising_writes_the_text_whole_and_reads_a_part_of_it_in_another_order() -> None:
    learner = denoising()
    for seed in range(20):
        whole = document(200, seed)
        read, written = learner.spoil(whole, np.random.default_rng(seed))
        assert written.tolist() == [BOS, *whole.tolist(), EOS]
        assert read[0] == BOS
        assert read[-1] == EOS
        kept = [id_ for id_ in read[1:-1].tolist() if id_ != MASK]
        assert len(kept) == 140  # 30 % are gone
        left = sorted(whole.tolist())
        for id_ in kept:
            left.remove(id_)  # each of the kept is of the text


def test_stretches_of_denoising_are_drawn_from_poisson() -> None:
    # One [MASK] a stretch: 30 % of 3,000 tokens in stretches of 3 on average, empty ones included.
    learner, whole = denoising(), document(3000)
    holes = [
        int((learner.spoil(whole, np.random.default_rng(seed))[0] == MASK).sum())
        for seed in range(30)
    ]
    assert np.mean(holes) == pytest.approx(300, abs=4 * 18 / 30**0.5 + 1)
    assert min(holes) != max(holes)


def test_sentences_change_places_and_stay_whole() -> None:
    learner = denoising(mask=0.001)
    whole = np.array([10, 11, 4, 12, 13, 14, 4, 15, 4])
    seen = set()
    for seed in range(40):
        read, _ = learner.spoil(whole, np.random.default_rng(seed))
        words = tuple(read[1:-1].tolist())
        seen.add(words)
        text = " ".join(map(str, words))
        assert all(part in text for part in ("10 11 4", "12 13 14 4", "15 4"))
    assert len(seen) == 6


@pytest.mark.parametrize("make", [spans, denoising])
def test_a_batch_follows_from_its_generator_and_documents_meet_their_own(make: object) -> None:
    learner = make()  # type: ignore[operator]
    rows = [[document(12, 1), document(20, 2)], [document(25, 3)]]
    one, same, other = (
        learner.batch(rows, 64, torch.Generator().manual_seed(seed)) for seed in (1, 1, 2)
    )
    assert torch.equal(one.source.ids_BT, same.source.ids_BT)
    assert torch.equal(one.targets, same.targets)
    assert not torch.equal(one.source.ids_BT, other.source.ids_BT)
    assert one.documents_BT.amax(1).tolist() == one.source.documents_BT.amax(1).tolist() == [2, 1]
    # The decoder reads its own targets, one step late, behind the start token.
    read = one.ids_BT.flatten()[one.where_N]
    starts = one.positions_BT.flatten()[one.where_N] == 0
    assert set(read[starts].tolist()) == {PAD}
    assert torch.equal(read[1:][~starts[1:]], one.targets[:-1][~starts[1:]])
    assert one.tokens == len(one.targets) + int((one.source.documents_BT > 0).sum())


def test_a_tokenizer_without_sentinels_is_refused_with_another_objective() -> None:
    bare = Tokenizer(models.WordLevel({"a": 0}, unk_token="a"))
    with pytest.raises(CheckpointError, match="objective=denoise"):
        SpanCorruption(bare, MARKS, PAD, 0.15, 3.0)
    with pytest.raises(CheckpointError, match="objective=span"):
        Denoising(bare, Marks(BOS, EOS, PAD), PAD, 0.3, 3.0)
