"""The paired proof: it errs at the stated rate, and says how many rows it lacks."""

import numpy as np
import pytest
from numpy.typing import ArrayLike

from tael.price.confirm import Proof, more_rows, prove
from tael.price.floor import Floor

FLOOR = Floor("accuracy", 0.98, True)


class Rows:
    """A metric that is a mean over rows, under any name."""

    def __init__(self, scores: ArrayLike) -> None:
        self.scores = np.asarray(scores, np.float64)
        self.size = len(self.scores)

    def metrics(self, weight_RN: np.ndarray) -> dict[str, np.ndarray]:
        mean = weight_RN @ self.scores / weight_RN.sum(axis=1)
        return {"accuracy": mean, "mse": mean}


def proof_of(one: ArrayLike, other: ArrayLike, floor: Floor = FLOOR, **options: int) -> Proof:
    return prove(Rows(one), Rows(other), floor, **options)


def test_the_same_answers_are_proved_to_keep_a_share_of_themselves() -> None:
    right = np.arange(200) % 5 != 0
    proof = proof_of(right, right, FLOOR)
    assert proof.proved
    assert proof.margin == pytest.approx(0.02 * 0.8)
    assert proof.more == 0


def test_the_same_answers_keep_the_whole_of_themselves() -> None:
    right = np.arange(50) % 3 != 0
    assert proof_of(right, right, Floor("accuracy", 1.0, True)).proved


def test_a_clear_loss_is_not_proved_and_no_number_of_rows_is_promised() -> None:
    base = np.ones(400)
    worse = np.arange(400) % 5 != 0
    proof = proof_of(worse, base, FLOOR)
    assert not proof.proved
    assert proof.margin < 0
    assert proof.more is None


def test_a_narrow_margin_is_not_proved_until_there_are_the_rows_it_asked_for() -> None:
    generator = np.random.default_rng(3)

    def proof(rows: int) -> tuple[bool, int | None]:
        kept = generator.random(rows) < 0.9
        other = np.where(generator.random(rows) < 0.06, ~kept, kept)
        found = proof_of(other, kept, Floor("accuracy", 0.93, True), resamples=300)
        return found.proved, found.more

    few = [proof(60) for _ in range(20)]
    assert sum(proved for proved, _ in few) < 10
    asked = [more for proved, more in few if not proved and more is not None]
    assert asked
    assert all(more > 0 for more in asked)
    assert all(proof(8_000)[0] for _ in range(3))


def test_at_the_floor_itself_about_one_proof_in_twenty_is_wrong() -> None:
    generator = np.random.default_rng(5)
    floor = Floor("accuracy", 0.8, False)  # the truth stands exactly on the floor
    proofs = [
        proof_of(right, right, floor, resamples=300, seed=trial).proved
        for trial in range(300)
        for right in [generator.random(300) < 0.8]
    ]
    assert 0.02 < np.mean(proofs) < 0.10


def test_pairing_makes_the_bound_tighter_than_unrelated_errors_would() -> None:
    generator = np.random.default_rng(7)
    base = generator.random(500) < 0.8
    alike = base.copy()
    alike[:5] = ~alike[:5]
    unrelated = generator.permutation(alike)
    close, far = (proof_of(one, base, FLOOR).lower for one in (alike, unrelated))
    assert close > far + 0.02


def test_the_same_answers_give_the_same_proof() -> None:
    right = np.arange(3000) % 7 != 0
    base = np.arange(3000) % 11 != 0
    first, second = (proof_of(right, base, FLOOR, resamples=900) for _ in range(2))
    assert first == second


def test_four_times_the_rows_halve_the_deviation() -> None:
    assert more_rows(0.0164485, 0.02, 100) == pytest.approx(300, abs=2)
    assert more_rows(0.0, 0.02, 100) is None
    assert more_rows(1.0, 0.001, 100) == 1


def test_an_error_metric_is_proved_downwards() -> None:
    floor = Floor("mse", 1.05, True, higher=False)
    generator = np.random.default_rng(1)
    errors = generator.random(400)
    assert proof_of(errors * 1.01, errors, floor).proved
    assert not proof_of(errors * 1.3, errors, floor).proved
