"""The queue's laws under any arrivals: order, bounds, failures alone, and nothing left behind."""

import asyncio
import threading
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tael.errors import RefusedError
from tael.serve.batcher import Batcher
from tael.serve.monitor import Monitor


@dataclass
class Echo:
    """An engine that says what it is given, fails on the text `bad`, and can be held up."""

    batches: list[list[str]] = field(default_factory=list)
    go: threading.Event = field(default_factory=threading.Event)

    def __call__(self, records: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
        assert self.go.wait(10)
        texts = [record["text"] for record in records]
        if "bad" in texts:
            raise ValueError("bad")
        self.batches.append(texts)
        return [{"said": text} for text in texts]


@dataclass(frozen=True)
class Asked:
    """What one client does: its texts, whether it hangs up, and how many turns it waits before."""

    texts: list[str]
    leaves: bool
    turns: int


async def ask(batcher: Batcher, asked: Asked, admitted: list[int]) -> list[str] | str:
    """Return what was said of the texts, or how the request ended."""
    for _ in range(asked.turns):
        await asyncio.sleep(0)
    before = batcher.waiting
    try:
        with batcher.place(len(asked.texts)) as place:
            admitted.append(batcher.waiting if before else 0)
            work = asyncio.ensure_future(place.answer([{"text": one} for one in asked.texts]))
            if asked.leaves:
                await asyncio.sleep(0)
                work.cancel()
            return [answer["said"] for answer in await work]
    except asyncio.CancelledError:
        return "left"
    except RefusedError as refused:
        return f"refused with {refused.status}"
    except ValueError:
        return "failed"


TEXT = st.sampled_from(["a", "b", "c", "d", "bad"])
CLIENTS = st.lists(
    st.builds(Asked, st.lists(TEXT, min_size=1, max_size=6), st.booleans(), st.integers(0, 4)),
    min_size=1,
    max_size=12,
)


@settings(deadline=None, max_examples=60)
@given(CLIENTS, st.integers(1, 5), st.integers(1, 12))
def test_under_any_arrivals_every_request_ends_as_its_own_texts_say(
    clients: list[Asked], max_batch: int, max_queue: int
) -> None:
    async def scene() -> None:
        engine, monitor, admitted = Echo(), Monitor(), list[int]()
        batcher = Batcher(engine, max_batch=max_batch, max_queue=max_queue, monitor=monitor)
        work = [asyncio.create_task(ask(batcher, one, admitted)) for one in clients]
        for _ in range(8):
            await asyncio.sleep(0)
        engine.go.set()
        ends = await asyncio.wait_for(asyncio.gather(*work), 10)
        for one, end in zip(clients, ends, strict=True):
            if isinstance(end, list):
                assert end == one.texts
                assert "bad" not in one.texts
            elif end == "failed":
                assert "bad" in one.texts
            elif end == "left":
                assert one.leaves
            else:
                assert end == "refused with 429"
        assert max((len(batch) for batch in engine.batches), default=0) <= max_batch
        assert max(admitted, default=0) <= max_queue  # but for what an empty queue takes
        assert batcher.waiting == 0
        assert not batcher._queue or all(place.future.done() for place in batcher._queue)
        await batcher.close()

    asyncio.run(scene())


def test_a_request_that_leaves_is_not_computed_and_its_neighbour_is() -> None:
    async def scene() -> None:
        engine = Echo()
        batcher = Batcher(engine, max_batch=1, max_queue=9, monitor=Monitor())
        tasks = [
            asyncio.create_task(ask(batcher, Asked([text], text == "gone", 0), []))
            for text in ("first", "gone", "last")
        ]
        for _ in range(5):
            await asyncio.sleep(0)
        engine.go.set()
        assert await asyncio.gather(*tasks) == [["first"], "left", ["last"]]
        assert engine.batches == [["first"], ["last"]]
        await batcher.close()

    asyncio.run(scene())


@pytest.mark.parametrize("answers", [0, 3])
def test_an_engine_that_gives_another_number_of_answers_fails_the_request(answers: int) -> None:
    async def scene() -> None:
        batcher = Batcher(
            lambda _: [{"said": "x"}] * answers, max_batch=8, max_queue=9, monitor=Monitor()
        )
        with (
            batcher.place(2) as place,
            pytest.raises(RuntimeError, match=rf"gave {answers} answers to 1 texts"),
        ):
            await place.answer([{"text": "a"}, {"text": "b"}])
        await batcher.close()

    asyncio.run(scene())
