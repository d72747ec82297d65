"""Every next token is learned, the end too; nothing is doubled, cut in silence or seen across."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch.testing import assert_close

from tael.model.batch import Batch
from tael.model.config import ModelConfig
from tael.model.fresh import new_config
from tael.model.network import Network, build
from tael.recipe.schema import Model
from tael.task.clm import CausalLM
from tael.task.likelihood import likelihood, windows
from tael.task.marks import Marks

BOS, EOS, PAD, VOCAB = 2, 3, 0, 40
LEARNER = CausalLM(Marks(BOS, EOS, PAD))
Ids = NDArray[np.int64]


def config() -> ModelConfig:
    sizes = {"hidden": 16, "layers": 2, "heads": 2, "ffn": 24, "dropout": 0.0}
    return new_config(Model.model_validate({"architecture": "decoder"} | sizes), VOCAB, 64)


def network() -> Network:
    made = build(config(), LEARNER.head(config()), seed=2)
    with torch.no_grad():
        for parameter in made.parameters():
            parameter.mul_(5)  # far from a uniform answer
    return made.double().eval()


def texts(count: int, longest: int = 14, seed: int = 0) -> list[Ids]:
    luck = np.random.default_rng(seed)
    return [luck.integers(4, VOCAB, luck.integers(1, longest)) for _ in range(count)]


def batch(rows: list[list[Ids]]) -> Batch:
    return LEARNER.batch([[LEARNER.wrap(text) for text in row] for row in rows], 64)


def test_a_text_has_one_beginning_and_one_end_and_the_end_is_learned() -> None:
    text = np.array([7, 8])
    assert LEARNER.wrap(text).tolist() == [BOS, 7, 8, EOS]
    made = batch([[text]])
    assert made.ids_BT.tolist() == [[BOS, 7, 8]]
    assert made.targets is not None
    assert made.targets.tolist() == [7, 8, EOS]
    assert LEARNER.supervised(made) == 3


def test_a_piece_of_a_longer_text_has_neither_beginning_nor_end() -> None:
    text = np.array([7, 8, 9])
    assert LEARNER.wrap(text, begins=True, ends=False).tolist() == [BOS, 7, 8, 9]
    assert LEARNER.wrap(text, begins=False, ends=False).tolist() == [7, 8, 9]
    assert LEARNER.wrap(text, begins=False, ends=True).tolist() == [7, 8, 9, EOS]


def test_a_model_without_a_beginning_is_not_given_one() -> None:
    assert CausalLM(Marks(None, EOS, PAD)).wrap(np.array([7])).tolist() == [7, EOS]


def test_there_is_a_target_for_every_token_but_the_first_and_padding_has_none() -> None:
    rows = [texts(3, seed=1), texts(1, seed=2)]
    made = batch(rows)
    assert made.targets is not None
    expected = [np.append(text, EOS) for row in rows for text in row]
    assert made.targets.tolist() == np.concatenate(expected).tolist()
    assert made.where_N is not None
    assert int((made.documents_BT > 0).sum()) == len(made.where_N) == made.tokens


def test_packed_texts_have_the_loss_and_the_gradient_of_each_alone() -> None:
    rows = [texts(4, seed=3), texts(2, seed=4), texts(3, seed=5)]
    model = network()
    LEARNER.objective(model, batch(rows)).backward()  # type: ignore[no-untyped-call]
    together = {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}
    model.zero_grad()
    for row in rows:
        for text in row:
            LEARNER.objective(model, batch([[text]])).backward()  # type: ignore[no-untyped-call]
    for name, parameter in model.named_parameters():
        assert_close(parameter.grad, together[name], rtol=0, atol=1e-9, msg=name)


@pytest.mark.parametrize("smoothing", [0.0, 0.2])
def test_the_objective_is_the_loss_of_the_logits(smoothing: float) -> None:
    model, made = network(), batch([texts(4), texts(2, seed=9)])
    learner = CausalLM(LEARNER.marks, smoothing)
    whole = learner.loss(learner.logits(model, made), made)
    assert_close(learner.objective(model, made).float(), whole, rtol=1e-6, atol=0)
    plain = LEARNER.loss(LEARNER.logits(model, made), made)
    assert torch.equal(whole, plain) == (smoothing == 0)


def test_no_position_sees_its_target() -> None:
    model, made = network(), batch([[np.arange(4, 16)]])
    before = model.logits(made)
    for at in range(1, 12):
        ids_BT = made.ids_BT.clone()
        ids_BT[0, at] = 39
        after = model.logits(replace(made, ids_BT=ids_BT))
        assert torch.equal(before[:at], after[:at])
        assert not torch.equal(before[at], after[at])


@pytest.mark.parametrize("length", [1, 5, 8, 9, 16, 23, 100])
@pytest.mark.parametrize(("capacity", "stride"), [(8, 4), (8, 8), (8, 1), (5, 2)])
def test_windows_tell_every_token_once_with_enough_before_it(
    length: int, capacity: int, stride: int
) -> None:
    told: list[int] = []
    for start, end, first in windows(length, capacity, stride):
        assert 0 <= start <= first < end <= length
        assert end - start <= capacity
        if first:
            assert first - start >= capacity - stride
        told += range(first, end)
    assert told == list(range(length))


def test_likelihood_is_the_loss_whatever_stands_beside_and_however_it_is_cut() -> None:
    model = network()
    ids = [LEARNER.wrap(text) for text in texts(9, seed=6)]
    together = likelihood(model, ids, 64)
    for text, told in zip(ids, together, strict=True):
        loss = LEARNER.objective(model, LEARNER.batch([[text]], 64))
        assert told.logprob == pytest.approx(-loss.item(), rel=1e-5)
        assert told.tokens == len(text) - 1
        (alone,) = likelihood(model, [text], 64)
        assert alone.logprob == pytest.approx(told.logprob, rel=1e-6)
        assert alone.right == told.right


@torch.no_grad()
def test_a_long_text_is_told_from_half_a_window_at_least() -> None:
    model, text = network(), np.random.default_rng(3).integers(4, VOCAB, 41)
    (told,) = likelihood(model, [text], 8)
    expected = 0.0
    for at in range(1, 41):
        # From the ninth on, windows of eight begin at every fourth token.
        first = 0 if at <= 8 else at - (at - 9) % 4 - 5
        ids_BT = torch.from_numpy(text[first:at])[None]
        one = Batch(ids_BT, torch.ones(ids_BT.shape, dtype=torch.int32), layout="full")
        expected += float(model.logits(one)[0, -1].log_softmax(-1)[text[at]])
    assert told.logprob == pytest.approx(expected, rel=1e-5)
    assert told.tokens == 40


def test_only_what_is_asked_for_counts() -> None:
    model, text = network(), LEARNER.wrap(texts(1, 30, seed=8)[0])
    (whole,) = likelihood(model, [text], 64)
    (tail,) = likelihood(model, [text], 64, first=[3])
    (head,) = likelihood(model, [text[:3]], 64)
    assert head.logprob + tail.logprob == pytest.approx(whole.logprob, rel=1e-5)
    assert (head.tokens, tail.tokens) == (2, len(text) - 3)
