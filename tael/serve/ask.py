"""What a client asks, from bytes to records: every hostile body ends here with a 4xx.

One record is `{"text": "…"}`; several are `{"records": [{"text": "…"}, …]}`. What a record may hold
is the task's own request model.
"""

import asyncio
import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails, from_json
from starlette.requests import ClientDisconnect, Request

from tael.data.record import Record
from tael.errors import RefusedError
from tael.recipe.schema import Serve

__all__ = ["MAX_BODY_BYTES", "Ask", "idempotency_key", "parse", "read_body"]

MAX_BODY_BYTES = 4 * 2**20
BODY_SECONDS = 30.0  # a client that sends slower than this holds a connection for nothing
_SHOWN = 5  # problems listed in one message


@dataclass(frozen=True, slots=True)
class Ask:
    """The records of one request; `digest` is equal for bodies that mean the same."""

    records: list[Record]
    digest: str


async def read_body(request: Request, limit: int = MAX_BODY_BYTES) -> bytes:
    """Return the request's body; raises RefusedError 413 as soon as it is known to be too large.

    Also 415 for a compressed body, 408 for one that comes too slowly.
    """
    encoding = request.headers.get("content-encoding", "identity")
    if encoding.lower() != "identity":
        raise RefusedError(
            f"content-encoding {encoding[:20]!r} is not read; send the body as plain JSON",
            415,
            code="unsupported_encoding",
            param="Content-Encoding",
        )
    claimed = request.headers.get("content-length", "0")
    if not claimed.isdecimal() or int(claimed[:20]) > limit:
        raise _too_large(limit)
    body = bytearray()
    try:
        async with asyncio.timeout(BODY_SECONDS):
            async for chunk in request.stream():
                body += chunk
                if len(body) > limit:
                    raise _too_large(limit)
    except TimeoutError as error:
        raise RefusedError(
            f"the body did not arrive within {BODY_SECONDS:.0f} seconds", 408, code="slow_body"
        ) from error
    except ClientDisconnect as error:
        raise RefusedError("the client went away", 499, code="client_gone") from error
    return bytes(body)


def parse(body: bytes, model: type[BaseModel], limits: Serve) -> Ask:
    """Return the records of a body, each checked against the task's request `model`.

    Raises RefusedError: 400 for what is not a JSON object, 422 for what the model refuses, 413 for
    more texts or characters than `limits` allow. All problems of a body are in one message.
    """
    content = _json(body)
    if "records" not in content:
        return _ask([_record(content, model, "", limits)], single=True)
    records = content["records"]
    if not isinstance(records, list) or not records:
        raise _invalid("records: expected a list with at least one record", "records")
    if len(content) > 1:
        raise _invalid("`records` stands alone: move other fields into the records", "records")
    if len(records) > limits.max_texts:
        raise RefusedError(
            f"records: {len(records)} texts; at most {limits.max_texts} in one request",
            413,
            code="too_many_texts",
            param="records",
        )
    found = [_record(one, model, f"records[{i}].", limits) for i, one in enumerate(records)]
    return _ask(found, single=False)


def idempotency_key(request: Request) -> str | None:
    """Return the `Idempotency-Key` header; raises RefusedError 400 where it is not usable."""
    key = request.headers.get("idempotency-key")
    if key is not None and not (0 < len(key) <= 255 and key.isascii() and key.isprintable()):
        raise RefusedError(
            "Idempotency-Key: expected 1 to 255 printable ASCII characters",
            400,
            code="invalid_idempotency_key",
            param="Idempotency-Key",
        )
    return key


def _json(body: bytes) -> dict[str, Any]:
    try:
        content = from_json(body, allow_inf_nan=False)
    except ValueError as error:
        # The parser's message holds positions, never the text itself.
        raise RefusedError(f"the body is not JSON: {error}", 400, code="invalid_json") from error
    if not isinstance(content, dict):
        raise RefusedError(
            'expected a JSON object such as {"text": "…"} or {"records": [{"text": "…"}]}',
            400,
            code="invalid_json",
        )
    return content


def _record(content: object, model: type[BaseModel], at: str, limits: Serve) -> Record:
    try:
        record: Record = model.model_validate(content).model_dump(exclude_none=True)
    except ValidationError as error:
        problems = error.errors(include_url=False, include_input=False, include_context=False)
        lines = [f"{_where(at, one)}: {one['msg']}" for one in problems[:_SHOWN]]
        more = f"; and {len(problems) - _SHOWN} more" if len(problems) > _SHOWN else ""
        raise _invalid("; ".join(lines) + more, _where(at, problems[0])) from error
    for name, value in record.items():
        total = sum(len(text) for text in _texts(value, f"{at}{name}", limits))
        _check_length(total, f"{at}{name}", limits)
    return record


def _texts(value: Any, at: str, limits: Serve) -> Iterator[str]:
    """Yield the texts in a value, wherever in lists and objects they stand, each checked."""
    if isinstance(value, str):
        _check_text(value, at, limits)
        yield value
    elif isinstance(value, dict):
        for key, one in value.items():
            yield from _texts(one, f"{at}.{key}", limits)
    elif isinstance(value, list):
        for number, one in enumerate(value):
            yield from _texts(one, f"{at}[{number}]", limits)


def _check_length(characters: int, at: str, limits: Serve) -> None:
    if characters > limits.max_characters:
        raise RefusedError(
            f"{at}: {characters} characters; at most {limits.max_characters}",
            413,
            code="text_too_long",
            param=at,
        )


def _check_text(text: str, at: str, limits: Serve) -> None:
    _check_length(len(text), at, limits)
    if "\0" in text:
        raise _invalid(f"{at}: holds the character NUL (\\u0000)", at)


def _ask(records: list[Record], *, single: bool) -> Ask:
    means = json.dumps([single, records], sort_keys=True).encode()
    return Ask(records, hashlib.sha256(means).hexdigest())


def _where(at: str, problem: ErrorDetails) -> str:
    # An unknown field's name is the client's own text: shortened, so a message stays one line.
    inner = ".".join(str(part)[:40] for part in problem["loc"])
    return (at + inner).rstrip(".") or "body"


def _invalid(message: str, param: str) -> RefusedError:
    return RefusedError(message, 422, code="invalid_request", param=param)


def _too_large(limit: int) -> RefusedError:
    return RefusedError(
        f"the body is larger than {limit} bytes; split it over several requests",
        413,
        code="body_too_large",
    )
