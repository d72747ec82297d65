"""How a refusal looks on the wire: one JSON shape for every error, whatever refused.

{"error": {"message", "type", "param", "code"}}: a sentence for people, a class of error, the field
that is meant (or null), and a short word that programs can test for.
"""

import json

from starlette.responses import Response

from tael.errors import RefusedError

__all__ = ["Refusal", "as_json"]

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

    def __init__(self, error: RefusedError, headers: dict[str, str] | None = None) -> None:
        """Render `error`; 401 names the scheme that is expected, 429 and 503 say when to return."""
        headers = dict(headers or {})
        if error.retry_after is not None:
            headers["retry-after"] = str(error.retry_after)
        if error.status == 401:
            headers["www-authenticate"] = "Bearer"
        super().__init__(as_json(error), error.status, headers)


def as_json(error: RefusedError) -> bytes:
    """Return the error's JSON body."""
    kind = _TYPES.get(
        error.status, "server_error" if error.status >= 500 else "invalid_request_error"
    )
    content = {"message": str(error), "type": kind, "param": error.param, "code": error.code}
    return json.dumps({"error": content}, ensure_ascii=False).encode("utf-8", "replace")
