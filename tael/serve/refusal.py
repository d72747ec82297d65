"""How a refusal looks on the wire: one JSON shape for every error, whatever refused.

{"error": {"message", "type", "param", "code"}}: a sentence for people, a class of error, the field
that is meant (or null), and a short word that programs can test for.
"""

import asyncio
import json
from contextlib import suppress

from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from tael.errors import RefusedError

__all__ = ["Refusal", "as_json"]

LINGER_SECONDS = 2.0
LINGER_BYTES = 64 * 2**20

_TYPES = {
    401: "authentication_error",
    402: "budget_error",
    404: "not_found_error",
    405: "not_found_error",
    409: "idempotency_error",
    429: "overloaded_error",
}


class Refusal(Response):
    """The answer to a refused request."""

    media_type = "application/json"

    def __init__(
        self, error: RefusedError, headers: dict[str, str] | None = None, *, unread: bool = False
    ) -> None:
        """Render `error`; `unread`: the client may still be sending the request's body."""
        self._unread = unread
        headers = dict(headers or {})
        if error.retry_after is not None:
            headers["retry-after"] = str(error.retry_after)
        if error.status == 401:
            headers["www-authenticate"] = "Bearer"
        super().__init__(as_json(error), error.status, headers)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send the whole answer; then read on for a while what the client still sends.

        Closing a connection with unread data resets it, and the client might lose the answer that
        says why. It has all bytes that content-length promised before the first is thrown away.
        """
        if not self._unread:
            await super().__call__(scope, receive, send)
            return
        start = {
            "type": "http.response.start",
            "status": self.status_code,
            "headers": self.raw_headers,
        }
        await send(start)
        await send({"type": "http.response.body", "body": self.body, "more_body": True})
        with suppress(TimeoutError):
            async with asyncio.timeout(LINGER_SECONDS):
                await _drain(receive)
        await send({"type": "http.response.body", "body": b"", "more_body": False})


async def _drain(receive: Receive) -> None:
    left = LINGER_BYTES
    while left > 0:
        message = await receive()
        if message["type"] == "http.disconnect" or not message.get("more_body", False):
            return
        left -= len(message.get("body", b""))


def as_json(error: RefusedError) -> bytes:
    """Return the error's JSON body."""
    kind = _TYPES.get(
        error.status, "server_error" if error.status >= 500 else "invalid_request_error"
    )
    content = {"message": str(error), "type": kind, "param": error.param, "code": error.code}
    return json.dumps({"error": content}, ensure_ascii=False).encode("utf-8", "replace")
