"""The paired proof: it errs at the stated rate, and says how many rows it lacks."""

import numpy as np
import pytest

from tael.price.confirm import more_rows, of_rows, prove
from tael.price.floor import Floor

FLOOR = Floor("accuracy", 0.98, True)


def test_the_same_answers_are_proved_to_keep_a_share_of_themselves() -> None:
    right = np.arange(200) % 5 != 0
    proof = prove(of_rows(right, right), 200, FLOOR)
    assert proof.proved
    assert proof.margin == pytest.approx(0.02 * 0.8)
    assert proof.more == 0


def test_the_same_answers_keep_the_whole_of_themselves() -> None:
    right = np.arange(50) % 3 != 0
    assert prove(of_rows(right, right), 50, Floor("accuracy", 1.0, True)).proved


def test_a_clear_loss_is_not_proved_and_no_number_of_rows_is_promised() -> None:
    base = np.ones(400)
    worse = np.arange(400) % 5 != 0
    proof = prove(of_rows(worse, base), 400, FLOOR)
    assert not proof.proved
    assert proof.margin < 0
    assert proof.more is None


def test_a_narrow_margin_is_not_proved_until_there_are_the_rows_it_asked_for() -> None:
    generator = np.random.default_rng(3)

    def proof(rows: int) -> tuple[bool, int | None]:
        kept = generator.random(rows) < 0.9
        other = np.where(generator.random(rows) < 0.06, ~kept, kept)
        found = prove(of_rows(other, kept), rows, Floor("accuracy", 0.94, True))
        return found.proved, found.more

    few = [proof(60) for _ in range(20)]
    assert sum(proved for proved, _ in few) < 10
    asked = [more for proved, more in few if not proved and more is not None]
    assert asked
    assert all(more > 0 for more in asked)
    assert sum(proof(20_000)[0] for _ in range(5)) == 5


def test_at_the_floor_itself_about_one_proof_in_twenty_is_wrong() -> None:
    generator = np.random.default_rng(5)
    floor = Floor("accuracy", 0.8, False)  # the truth stands exactly on the floor
    proofs = [
        prove(of_rows(right, right), 300, floor, resamples=300, seed=trial).proved
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
    close, far = (prove(of_rows(one, base), 500, FLOOR).lower for one in (alike, unrelated))
    assert close > far + 0.02


def test_the_proof_is_the_same_whatever_block_the_draws_come_in() -> None:
    right = np.arange(3000) % 7 != 0
    base = np.arange(3000) % 11 != 0
    first, second = (prove(of_rows(right, base), 3000, FLOOR, resamples=900) for _ in range(2))
    assert first == second


def test_four_times_the_rows_halve_the_deviation() -> None:
    assert more_rows(0.0164485, 0.02, 100) == pytest.approx(300, abs=2)
    assert more_rows(0.0, 0.02, 100) is None
    assert more_rows(1.0, 0.001, 100) == 1


def test_an_error_metric_is_proved_downwards() -> None:
    floor = Floor("mse", 1.05, True, higher=False)
    generator = np.random.default_rng(1)
    errors = generator.random(400)
    assert prove(of_rows(errors * 1.01, errors), 400, floor).proved
    assert not prove(of_rows(errors * 1.3, errors), 400, floor).proved
