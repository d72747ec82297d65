"""A system that changed texts fool is found out; one that does not read them is not blamed."""

from collections.abc import Callable, Sequence
from typing import Any

import pytest

from tael.data.record import Record
from tael.evaluate.answered import Split
from tael.evaluate.robust import Robustness, measure_robustness
from tael.evaluate.weakness import fragile, robustness_section
from tael.evaluate.wording import speaking

LABELS = ["bad", "good"]


class Reader:
    """Answers by a rule on the text, and remembers how many it was asked."""

    def __init__(self, rule: Callable[[str], bool]) -> None:
        self.rule = rule
        self.asked = 0

    def predict(self, records: Sequence[Record]) -> list[dict[str, Any]]:
        self.asked += len(records)
        return [self._answer(str(record["text"])) for record in records]

    def _answer(self, text: str) -> dict[str, Any]:
        good = self.rule(text)
        scores = {"good": 0.9 if good else 0.1, "bad": 0.1 if good else 0.9}
        return {"label": "good" if good else "bad", "scores": scores}


def part(size: int = 120) -> Split:
    texts = [f"the room was {('clean', 'dirty')[row % 2]} number {row}" for row in range(size)]
    records: list[Record] = [{"text": text, "@": f"t.csv:{at}"} for at, text in enumerate(texts)]
    return Split([], ["good", "bad"] * (size // 2), records)


def measured(rule: Callable[[str], bool], **changes: Any) -> Robustness:
    given: dict[str, Any] = {"system": "rule", "seed": 3, "resamples": 200} | changes
    return measure_robustness(Reader(rule), part(), "single", LABELS, "accuracy", **given)


def test_a_reader_of_lower_case_letters_is_broken_by_capitals_and_by_nothing_quiet() -> None:
    found = {drop.kind: drop for drop in measured(lambda text: "clean" in text).drops}
    upper = found["upper case"]
    assert upper.proved
    assert (upper.before, upper.after) == (1.0, 0.5)
    assert upper.change is not None
    assert upper.change.high < 0
    assert not found["exclamation marks"].proved
    assert found["exclamation marks"].flipped == 0
    assert found["homophones"].rows == 0
    assert found["homophones"].change is None


def test_a_constant_answer_cannot_drop() -> None:
    found = measured(lambda text: True)
    assert all(drop.flipped == 0 and not drop.proved for drop in found.drops)
    assert found.negation is not None
    assert found.negation.changed is not None
    assert found.negation.changed.value == 0


def test_negation_is_a_rate_of_change_and_not_a_loss() -> None:
    found = measured(lambda text: ("clean" in text) != (" not " in text)).negation
    assert found is not None
    assert found.changed is not None
    assert found.confidence is not None
    assert found.changed.value == 1.0
    assert found.confidence.value == pytest.approx(-0.8)


def test_the_same_seed_asks_the_same_texts_and_the_cost_is_said_before() -> None:
    heard: list[str] = []
    one, again = (measured(len_rule, say=heard.append) for len_rule in (bool, bool))
    assert one == again
    assert "120 of 120 records, 13 kinds of change" in heard[0]
    few = Reader(bool)
    found = measure_robustness(
        few, part(), "single", LABELS, "accuracy", system="s", seed=1, rows=10, resamples=50
    )
    assert few.asked == found.texts <= 10 * 14
    assert all(drop.change is None for drop in found.drops)  # too few to judge


def test_the_section_shows_what_broke_with_a_sample_of_it() -> None:
    found = measured(lambda text: "clean" in text)
    say = speaking("en")
    assert any("upper case cost 50.0 points" in line for line in fragile(say, [found]))
    html = robustness_section(say, [found])
    assert "THE ROOM WAS CLEAN" in html
    assert "good → bad" in html
    assert "␣" in html
