"""A round measures what it says, and a worker answers as the engine does, whatever the locale."""

import json
import threading
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tael.engine.predictor import open_engine
from tael.errors import RunError
from tael.price import worker as worker_file
from tael.price.measure import Worker, speed_of, workers
from tael.price.worker import round_of


class Listener:
    """An engine that keeps what it was asked; its clock moves a millisecond a record."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.asked: list[list[str]] = []
        self.now = 0.0
        monkeypatch.setattr(worker_file, "perf_counter", lambda: self.now)

    def predict(self, records: list[dict[str, Any]]) -> list[dict[str, Any]]:
        self.asked.append([record["text"] for record in records])
        self.now += 1e-3 * len(records)
        return []


def traffic(count: int) -> list[dict[str, str]]:
    return [{"text": str(number)} for number in range(count)]


@pytest.mark.parametrize(("count", "start"), [(7, 0), (7, 5), (1, 0), (3, 2)])
def test_a_round_goes_through_the_traffic_in_order_and_around(
    count: int, start: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine: Any = Listener(monkeypatch)
    round_of(engine, traffic(count), start, levels=[4], seconds=0.1)
    alone = [one[0] for one in engine.asked if len(one) == 1]
    company = [text for one in engine.asked if len(one) == 4 for text in one]
    for texts in (alone, company):
        assert texts == [str((start + n) % count) for n in range(len(texts))]
        assert len(texts) > count  # so it did go around


def test_a_rounds_seconds_are_shared_and_its_times_are_those_of_whole_batches(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    engine: Any = Listener(monkeypatch)
    found = round_of(engine, traffic(50), 0, levels=[2, 8], seconds=1.0)
    assert sum(found["alone"]) == pytest.approx(400, abs=2)
    assert found["alone"] == pytest.approx([1.0] * len(found["alone"]))
    for level in (2, 8):
        times = found["levels"][str(level)]
        assert times == pytest.approx([float(level)] * len(times))
        assert sum(times) == pytest.approx(300, abs=level + 1)


def test_a_round_of_no_time_has_two_batches_of_each_kind(monkeypatch: pytest.MonkeyPatch) -> None:
    engine: Any = Listener(monkeypatch)
    found = round_of(engine, traffic(5), 0, levels=[1, 3], seconds=0.0)
    assert [len(found["alone"]), *map(len, found["levels"].values())] == [2, 2, 2]


ROUND = st.fixed_dictionaries(
    {
        "alone": st.lists(st.floats(0.01, 1e3), min_size=1, max_size=9),
        "levels": st.fixed_dictionaries(
            {name: st.lists(st.floats(0.01, 1e3), min_size=1, max_size=9) for name in ("1", "8")}
        ),
    }
)


@given(st.lists(ROUND, min_size=1, max_size=4), st.floats(0.01, 2e3), st.floats(1, 10))
def test_a_looser_bound_never_lowers_the_throughput(
    rounds: list[dict[str, Any]], bound: float, more: float
) -> None:
    tight, loose, free = (
        speed_of(rounds, 1, p95_ms=p95_ms) for p95_ms in (bound, bound * more, None)
    )
    assert tight.throughput <= loose.throughput <= free.throughput
    assert (tight.throughput == 0) == (tight.together == 0)
    if tight.together:
        batches = [time for one in rounds for time in one["levels"][str(tight.together)]]
        assert float(np.quantile(batches, 0.95)) <= bound
    assert tight.p50_ms <= tight.p95_ms
    assert min(min(one["alone"]) for one in rounds) <= tight.p50_ms


@pytest.mark.slow
@pytest.mark.parametrize("encoding", ["utf-8", "gb18030", "ascii"])
def test_a_worker_answers_as_the_engine_does_in_every_locale(
    tiny_run: Path, monkeypatch: pytest.MonkeyPatch, encoding: str
) -> None:
    records = [{"text": text} for text in ("房间很好，干净", "很差 失望", "naïve café", "😀", "")]
    records = records * 200  # more than one message
    folder = tiny_run / "variants" / "tfidf"
    expected = open_engine(folder).predict(records)
    monkeypatch.setenv("PYTHONIOENCODING", encoding)
    monkeypatch.setenv("PYTHONUTF8", "0")
    with workers([folder]) as (running,):
        assert running.answers(records) == expected
        assert running.answers([]) == []
        assert running.peak_bytes() > 10_000_000


@pytest.mark.slow
def test_of_several_workers_one_that_fails_ends_them_all(tiny_run: Path, tmp_path: Path) -> None:
    before = threading.active_count()
    seen: list[Worker] = []
    start: Callable[[Worker, Path], None] = Worker.__init__

    def watched(self: Worker, folder: Path) -> None:
        start(self, folder)
        seen.append(self)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Worker, "__init__", watched)
        with (
            pytest.raises(RunError, match="variant none"),
            workers([tiny_run / "variants" / "tfidf", tmp_path / "none"]),
        ):
            pytest.fail("a variant that is not there was opened")
    assert [one._process.returncode is not None for one in seen] == [True, True]
    assert threading.active_count() == before


def test_a_worker_that_speaks_of_an_error_names_its_variant() -> None:
    worker = Worker.__new__(Worker)
    worker.id = "onnx-int8"
    answer = json.dumps({"error": "no such text"})
    stdout = SimpleNamespace(readline=lambda: answer)
    worker._process = SimpleNamespace(stdout=stdout)  # type: ignore[assignment]
    with pytest.raises(RunError, match="variant onnx-int8: no such text"):
        worker._receive()
