"""POST /v1/predict in one process: what it answers, refuses, charges and forgets."""

import asyncio
import gzip
import json
import os
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import httpx
import pytest
from fake_service import FakeEngine
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from serve_house import House, rows
from sqlalchemy import Engine

from tael.recipe.schema import Serve
from tael.serve.ask import MAX_BODY_BYTES
from tael.serve.bill import bill
from tael.serve.keys import make_key

Play = Callable[..., None]
DATA = Path(os.environ.get("TAEL_DATA", Path(__file__).parents[3] / "shared" / "data"))


def error_of(response: httpx.Response, status: int, code: str) -> dict[str, Any]:
    assert response.status_code == status, response.text
    error: dict[str, Any] = response.json()["error"]
    assert set(error) == {"message", "type", "param", "code"}
    assert error["code"] == code
    assert "\n" not in error["message"]
    return error


def test_one_record_is_answered_and_charged(play: Play, database: Engine, url: str) -> None:
    async def scene(house: House) -> None:
        response = await house.ask({"text": "好评"})
        answer = response.json()
        assert response.status_code == 200
        assert answer["predictions"] == house.engine.predict([{"text": "好评"}])
        assert answer["model"] == "fake-fp32"
        assert answer["usage"] == {"units": 1, "cost_micros": 100, "currency": "USD"}
        assert response.headers["x-request-id"] == answer["id"]
        assert [row.request for row in rows(database, "settle")] == [answer["id"]]

    play(scene)
    (line,) = bill(url).lines
    assert (line.key, line.requests, line.units, line.owed_micros) == ("first", 1, 1, 100)


def test_what_is_served_is_what_the_engine_says_in_order(play: Play) -> None:
    texts = [["x" * n for n in range(start, start + size)] for start, size in TEXTS]

    async def scene(house: House) -> None:
        asks = [house.ask({"records": [{"text": text} for text in one]}) for one in texts]
        for one, response in zip(texts, await asyncio.gather(*asks), strict=True):
            direct = house.engine.predict([{"text": text} for text in one])
            assert response.json()["predictions"] == direct
        assert max(house.engine.batches[: -len(texts)]) <= 7

    play(scene, limits=Serve(max_batch=7), engine=FakeEngine(0.001))


TEXTS = [(1, 1), (2, 20), (0, 3), (5, 7), (40, 8), (3, 1)]


def test_an_idle_engine_starts_at_once_and_a_busy_one_gathers(play: Play) -> None:
    async def scene(house: House) -> None:
        first = asyncio.create_task(house.ask({"text": "first"}))
        while not house.engine.batches:
            await asyncio.sleep(0)
        rest = [asyncio.create_task(house.ask({"text": f"{n}"})) for n in range(9)]
        await asyncio.gather(first, *rest)
        assert house.engine.batches == [1, 9]

    play(scene, engine=FakeEngine(0.2))


def test_a_full_queue_refuses_and_says_when_to_return(play: Play, database: Engine) -> None:
    async def scene(house: House) -> None:
        asks = [house.ask({"records": [{"text": "x"}] * 3}) for _ in range(5)]
        responses = await asyncio.gather(*asks)
        assert sorted(r.status_code for r in responses) == [200, 200, 429, 429, 429]
        full = next(r for r in responses if r.status_code == 429)
        error_of(full, 429, "queue_full")
        assert int(full.headers["retry-after"]) >= 1
        assert len(rows(database, "reserve")) == len(rows(database, "settle")) == 2
        assert house.service.ready().batcher.waiting == 0

    play(scene, limits=Serve(max_queue=6, max_batch=2), engine=FakeEngine(0.05))


def test_an_empty_queue_takes_a_request_larger_than_itself(play: Play) -> None:
    async def scene(house: House) -> None:
        assert (await house.ask({"records": [{"text": "x"}] * 9})).status_code == 200

    play(scene, limits=Serve(max_queue=2, max_batch=4))


@pytest.mark.parametrize(
    ("text", "status", "code"), [("bad", 422, "refused_text"), ("broken", 500, "internal")]
)
def test_a_failing_text_fails_its_own_request_alone(
    play: Play,
    database: Engine,
    caplog: pytest.LogCaptureFixture,
    text: str,
    status: int,
    code: str,
) -> None:
    async def scene(house: House) -> None:
        first = asyncio.create_task(house.ask({"text": "keeps the engine busy"}))
        while not house.engine.batches:
            await asyncio.sleep(0)
        asks = [house.ask({"records": [{"text": "a"}, {"text": one}]}) for one in ("b", text, "c")]
        good, failed, also_good = await asyncio.gather(*asks)
        assert [good.status_code, also_good.status_code] == [200, 200]
        error_of(failed, status, code)
        assert (await first).status_code == 200
        assert (await house.ask({"text": "after"})).status_code == 200

    play(scene, engine=FakeEngine(0.05))
    assert len(rows(database, "void")) == 1
    assert sum(row.units for row in rows(database, "settle")) == 6
    assert "broken" not in caplog.text.replace("ZeroDivisionError", "")


def test_after_a_failure_the_rest_of_its_request_is_not_computed(play: Play) -> None:
    async def scene(house: House) -> None:
        error_of(
            await house.ask({"records": [{"text": t} for t in ("bad", "a", "b")]}),
            422,
            "refused_text",
        )
        await house.ask({"text": "after"})
        assert house.engine.batches == [1, 1]

    play(scene, limits=Serve(max_batch=1))


def test_a_client_that_goes_away_is_not_computed_and_not_charged(
    play: Play, database: Engine
) -> None:
    async def scene(house: House) -> None:
        first = asyncio.create_task(house.ask({"text": "keeps the engine busy"}))
        while not house.engine.batches:
            await asyncio.sleep(0)
        status = await _ask_and_hang_up(house, {"records": [{"text": "never"}] * 5})
        assert status == 499
        assert house.service.ready().batcher.waiting == 0
        await first
        await house.ask({"text": "after"})
        assert house.engine.batches == [1, 1]

    play(scene, engine=FakeEngine(0.2))
    assert len(rows(database, "void")) == 1
    assert len(rows(database, "settle")) == 2


async def _ask_and_hang_up(house: House, body: Any) -> int:
    """Send a whole request straight to the application, hang up, and return the status."""
    messages: list[dict[str, Any]] = [
        {"type": "http.request", "body": json.dumps(body).encode(), "more_body": False},
        {"type": "http.disconnect"},
    ]
    sent: list[dict[str, Any]] = []

    async def receive() -> dict[str, Any]:
        if len(messages) == 1:
            await asyncio.sleep(0.05)
        return messages.pop(0)

    async def send(message: Any) -> None:
        sent.append(message)

    transport: Any = house.client._transport
    scope = {
        "type": "http",
        "method": "POST",
        "path": "/v1/predict",
        "raw_path": b"/v1/predict",
        "query_string": b"",
        "root_path": "",
        "http_version": "1.1",
        "scheme": "http",
        "server": ("tael", 80),
        "client": ("127.0.0.1", 1),
        "headers": [(b"authorization", f"Bearer {house.key}".encode())],
    }
    await transport.app(scope, receive, send)
    return int(sent[0]["status"])


def test_a_repeated_key_gets_the_same_answer_and_is_charged_once(
    play: Play, database: Engine
) -> None:
    async def scene(house: House) -> None:
        asks = [house.ask({"text": "once"}, idempotency_key="k") for _ in range(10)]
        responses = await asyncio.gather(*asks)
        assert {r.status_code for r in responses} == {200}
        assert len({r.content for r in responses}) == 1
        assert sum("idempotency-replayed" in r.headers for r in responses) == 9
        again = await house.client.post(
            "/v1/predict", content=b'{ "text" : "once" }', headers={"idempotency-key": "k"}
        )
        assert again.content == responses[0].content
        other = await house.ask({"text": "twice"}, idempotency_key="k")
        error_of(other, 409, "idempotency_key_reused")
        assert house.engine.batches == [1]
        assert not house.service._running

    play(scene)
    assert len(rows(database, "settle")) == 1


def test_a_key_whose_request_failed_may_be_tried_again(play: Play, database: Engine) -> None:
    async def scene(house: House) -> None:
        house.engine.refuses = {"later"}
        first, waiting = await asyncio.gather(
            *(house.ask({"text": "later"}, idempotency_key="k") for _ in range(2))
        )
        assert (first.status_code, waiting.status_code) == (422, 422)
        house.engine.refuses = set()
        assert (await house.ask({"text": "later"}, idempotency_key="k")).status_code == 200

    play(scene)
    assert len(rows(database, "settle")) == 1


def test_two_accounts_may_use_the_same_idempotency_key(play: Play, database: Engine) -> None:
    async def scene(house: House) -> None:
        other = make_key(database, "second")
        mine = await house.ask({"text": "mine"}, idempotency_key="k")
        theirs = await _later_known(house, other)
        assert mine.json()["predictions"] != theirs.json()["predictions"]

    play(scene)
    assert {row.account for row in rows(database, "settle")} == {1, 2}


async def _later_known(house: House, key: str) -> httpx.Response:
    """Ask with a key that was made after the server's start; it is known within a second."""
    house.service.keys._clock = lambda: float("inf")
    return await house.ask({"text": "theirs"}, idempotency_key="k", authorization=f"Bearer {key}")


def test_a_crowd_never_spends_more_than_the_budget(play: Play, url: str) -> None:
    async def scene(house: House) -> None:
        responses = await asyncio.gather(*(house.ask({"text": f"{n}"}) for n in range(40)))
        assert sorted(r.status_code for r in responses) == [200] * 15 + [402] * 25
        error_of(next(r for r in responses if r.status_code == 402), 402, "budget_exceeded")

    play(scene, budget_micros=1599)
    assert bill(url).owed_micros == {"USD": 1500}


@pytest.mark.parametrize(
    "header", ["", "Bearer", "Bearer wrong", "Basic abc", "bearer tael-\u00e9"]
)
def test_without_a_known_key_nothing_is_answered(play: Play, database: Engine, header: str) -> None:
    async def scene(house: House) -> None:
        headers = {"authorization": header.encode("latin-1")}
        response = await house.client.post("/v1/predict", content=b"[" * 100, headers=headers)  # type: ignore[arg-type]
        error_of(response, 401, "invalid_api_key")
        assert response.headers["www-authenticate"] == "Bearer"

    play(scene)
    assert rows(database) == []


def test_a_key_is_stored_only_as_its_hash(play: Play, tmp_path: Path) -> None:
    keys: list[str] = []

    async def scene(house: House) -> None:
        keys.append(house.key)
        await house.ask({"text": "a text nobody else may read"})

    play(scene)
    stored = b"".join(path.read_bytes() for path in tmp_path.iterdir())
    assert b"first" in stored
    assert keys[0].encode() not in stored
    assert b"nobody else" not in stored
    assert (tmp_path / "ledger.db").stat().st_mode & 0o077 == 0


LIMITS = Serve(max_characters=10, max_texts=3)
WRONG = {
    "nothing": (b"", 400, "invalid_json"),
    "no object": (b"[]", 400, "invalid_json"),
    "NUL in the body": (b'{"text": "a\0"}', 400, "invalid_json"),
    "NUL in a text": (b'{"text": "a\\u0000"}', 422, "invalid_request"),
    "lone surrogate": (b'{"text": "\\ud800"}', 400, "invalid_json"),
    "surrogate bytes": (b'{"text": "\xed\xa0\x80"}', 400, "invalid_json"),
    "not UTF-8": (b'{"text": "\xff"}', 400, "invalid_json"),
    "not a number": (b'{"text": NaN}', 400, "invalid_json"),
    "deep": (b'{"text":' * 10_000, 400, "invalid_json"),
    "compressed": (gzip.compress(b'{"text": "x"}'), 400, "invalid_json"),
    "no text": (b"{}", 422, "invalid_request"),
    "a number for a text": (b'{"text": 5}', 422, "invalid_request"),
    "an unknown field": (b'{"text": "x", "txet": "y"}', 422, "invalid_request"),
    "no records": (b'{"records": []}', 422, "invalid_request"),
    "records that are none": (b'{"records": {"text": "x"}}', 422, "invalid_request"),
    "strings for records": (b'{"records": ["x"]}', 422, "invalid_request"),
    "both": (b'{"records": [{"text": "x"}], "text": "y"}', 422, "invalid_request"),
    "a long text": (b'{"text": "12345678901"}', 413, "text_too_long"),
    "a long pair": (b'{"text": "1", "text_pair": "12345678901"}', 413, "text_too_long"),
    "many texts": (
        b'{"records": [' + b'{"text": "x"},' * 3 + b'{"text": "x"}]}',
        413,
        "too_many_texts",
    ),
    "a large body": (b" " * (MAX_BODY_BYTES + 1), 413, "body_too_large"),
}


@pytest.mark.parametrize("name", WRONG)
def test_a_wrong_body_is_refused_before_anything_is_reserved(
    play: Play, database: Engine, name: str
) -> None:
    body, status, code = WRONG[name]

    async def scene(house: House) -> None:
        error_of(await house.client.post("/v1/predict", content=body), status, code)
        assert (await house.ask({"text": "still here"})).status_code == 200

    play(scene, limits=LIMITS)
    assert len(rows(database, "reserve")) == 1


def test_a_refusal_names_the_record_and_the_limit(play: Play) -> None:
    async def scene(house: House) -> None:
        body = {"records": [{"text": "x"}, {"text": "y" * 11}]}
        error = error_of(await house.ask(body), 413, "text_too_long")
        assert error["param"] == "records[1].text"
        assert error["message"] == "records[1].text: 11 characters; at most 10"

    play(scene, limits=LIMITS)


@pytest.mark.parametrize("name", ["huge_number.json", "nested.json", "prompt_1e6_chars.txt.gz"])
def test_hostile_files_are_refused_and_the_server_goes_on(play: Play, name: str) -> None:
    file = DATA / "hostile" / name
    if not file.is_file():
        pytest.skip(f"{file} is not there; set TAEL_DATA to the shared data")
    body = file.read_bytes()
    if name.endswith(".gz"):
        body = json.dumps({"text": gzip.decompress(body).decode()}).encode()

    async def scene(house: House) -> None:
        response = await house.client.post("/v1/predict", content=body)
        assert response.status_code in (400, 413, 422)
        assert len(response.content) < 1000
        assert (await house.ask({"text": "still here"})).status_code == 200

    play(scene)


@pytest.mark.parametrize("value", ["", "x" * 256, "a\tb", "\u00e9"])
def test_an_unusable_idempotency_key_is_refused(play: Play, value: str) -> None:
    async def scene(house: House) -> None:
        headers = {"idempotency-key": value.encode("latin-1")}
        response = await house.client.post("/v1/predict", json={"text": "x"}, headers=headers)  # type: ignore[arg-type]
        error_of(response, 400, "invalid_idempotency_key")

    play(scene)


def test_a_compressed_body_is_refused_by_its_header(play: Play) -> None:
    async def scene(house: House) -> None:
        response = await house.ask({"text": "x"}, content_encoding="gzip")
        error_of(response, 415, "unsupported_encoding")

    play(scene)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(st.sampled_from(["text", "text_pair", "records", "x"]) | st.text(), inner)
    ),
    max_leaves=12,
)
BODIES = st.one_of(
    st.binary(max_size=200),
    JSON.map(lambda value: json.dumps(value).encode()),
    st.text(max_size=30).map(lambda text: json.dumps({"text": text}).encode()),
    st.lists(st.text(max_size=9), max_size=5).map(
        lambda texts: json.dumps({"records": [{"text": text} for text in texts]}).encode()
    ),
)
HEADERS = st.dictionaries(
    st.sampled_from(["idempotency-key", "content-type", "content-encoding", "accept", "expect"]),
    st.text(st.characters(max_codepoint=255), max_size=20).map(
        lambda value: value.encode("latin-1")
    ),
    max_size=3,
)


@pytest.mark.parametrize("after", [b"", b'{"text": '])
def test_a_body_that_comes_too_slowly_is_refused_and_holds_nothing(
    play: Play, database: Engine, monkeypatch: pytest.MonkeyPatch, after: bytes
) -> None:
    monkeypatch.setattr("tael.serve.ask.BODY_SECONDS", 0.05)

    async def trickle() -> AsyncIterator[bytes]:
        yield after
        await asyncio.sleep(5)
        yield b'"x"}'

    async def scene(house: House) -> None:
        started = asyncio.get_running_loop().time()
        error_of(await house.client.post("/v1/predict", content=trickle()), 408, "slow_body")
        assert asyncio.get_running_loop().time() - started < 2
        assert (await house.ask({"text": "x"})).status_code == 200

    play(scene)
    assert len(rows(database, "reserve")) == 1


def test_whatever_is_sent_is_answered_or_refused_and_the_books_agree(
    play: Play, database: Engine, url: str
) -> None:
    answered: list[int] = []

    async def scene(house: House) -> None:
        loop = asyncio.get_running_loop()

        def send(body: bytes, headers: dict[str, bytes]) -> None:
            ask = house.client.post("/v1/predict", content=body, headers=headers)  # type: ignore[arg-type]
            response = asyncio.run_coroutine_threadsafe(ask, loop).result(10)
            assert response.status_code in (200, 400, 409, 413, 415, 422), response.text
            if response.status_code == 200:
                assert response.json()["predictions"]
                replayed = "idempotency-replayed" in response.headers
                answered.append(0 if replayed else response.json()["usage"]["units"])
            else:
                assert set(response.json()["error"]) == {"message", "type", "param", "code"}

        fuzz = given(body=BODIES, headers=HEADERS)(send)
        quiet = settings(
            max_examples=150, deadline=None, suppress_health_check=list(HealthCheck), database=None
        )
        await asyncio.to_thread(quiet(fuzz))

    play(scene)
    assert sum(line.units for line in bill(url).lines) == sum(answered)
    assert answered


def test_every_path_answers_and_an_unknown_one_has_the_same_error_shape(play: Play) -> None:
    async def scene(house: House) -> None:
        await house.ask({"text": "x"})
        for path in ("/healthz", "/readyz", "/metrics", "/openapi.json", "/docs"):
            assert (await house.client.get(path)).status_code == 200
        error_of(await house.client.get("/nowhere"), 404, "not_found")
        wrong = await house.client.get("/v1/predict")
        error_of(wrong, 405, "not_found")
        assert wrong.headers["allow"] == "POST"

    play(scene)


def test_not_ready_before_the_model_is_there_and_while_draining(play: Play) -> None:
    async def scene(house: House) -> None:
        loaded, house.service.loaded = house.service.loaded, None
        for response in (await house.client.get("/readyz"), await house.ask({"text": "x"})):
            error_of(response, 503, "loading")
        assert (await house.client.get("/healthz")).status_code == 200
        house.service.loaded, house.service.draining = loaded, True
        for response in (await house.client.get("/readyz"), await house.ask({"text": "x"})):
            error_of(response, 503, "draining")

    play(scene)


def test_the_meters_count_what_happened(play: Play) -> None:
    async def scene(house: House) -> None:
        await house.ask({"records": [{"text": "a"}, {"text": "b"}]}, idempotency_key="k")
        await house.ask({"records": [{"text": "a"}, {"text": "b"}]}, idempotency_key="k")
        await house.ask({})
        page = (await house.client.get("/metrics")).text
        for line in (
            'tael_requests_total{status="200"} 2.0',
            'tael_requests_total{status="422"} 1.0',
            'tael_refused_total{reason="invalid_request"} 1.0',
            "tael_replayed_total 1.0",
            "tael_units_total 2.0",
            "tael_queue_texts 0.0",
            "tael_request_seconds_count 3.0",
            "tael_batch_texts_sum 2.0",
        ):
            assert line in page.splitlines()

    play(scene)


def test_the_description_is_whole_and_its_page_loads_nothing(play: Play) -> None:
    async def scene(house: House) -> None:
        described = (await house.client.get("/openapi.json")).json()
        schemas = described["components"]["schemas"]
        assert {"FakeRequest", "FakeAnswer", "Batch", "Answers", "Error"} <= set(schemas)
        for reference in _references(described):
            assert reference.removeprefix("#/components/schemas/") in schemas
        page = (await house.client.get("/docs")).text
        assert "/v1/predict" in page
        assert "<script" not in page
        assert "http-equiv" in page
        assert "src=" not in page.replace("img-src", "")

    play(scene)


def _references(node: Any) -> list[str]:
    if isinstance(node, dict):
        own = [node["$ref"]] if "$ref" in node else []
        return own + [one for value in node.values() for one in _references(value)]
    return [one for value in node for one in _references(value)] if isinstance(node, list) else []
