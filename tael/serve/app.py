"""The HTTP application: its paths, and one JSON shape for every error."""

from typing import Any

from fastapi import FastAPI
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, PlainTextResponse, Response

from tael.errors import RefusedError
from tael.serve.predict import Service
from tael.serve.reference import page, specification
from tael.serve.refusal import Refusal

__all__ = ["create_app"]

# FastAPI's own pages load scripts from other hosts; /docs here is one plain page.
_PROMETHEUS = "text/plain; version=0.0.4; charset=utf-8"


def create_app(service: Service) -> FastAPI:
    """Return the application over `service`; it keeps no state of its own."""
    app = FastAPI(title="tael", docs_url=None, redoc_url=None, openapi_url=None)

    async def predict(request: Request) -> Response:
        return await service.predict(request)

    async def healthz(request: Request) -> Response:
        return PlainTextResponse("alive\n")

    async def readyz(request: Request) -> Response:
        service.ready()
        return PlainTextResponse("ready\n")

    async def metrics(request: Request) -> Response:
        return Response(service.monitor.page(), media_type=_PROMETHEUS)

    async def openapi(request: Request) -> Response:
        return JSONResponse(specification(service))

    async def docs(request: Request) -> Response:
        return HTMLResponse(page(specification(service)))

    app.add_route("/v1/predict", predict, methods=["POST"])
    for path, answer in {
        "/healthz": healthz,
        "/readyz": readyz,
        "/metrics": metrics,
        "/openapi.json": openapi,
        "/docs": docs,
    }.items():
        app.add_route(path, answer, methods=["GET"])
    app.add_exception_handler(RefusedError, _refused)
    app.add_exception_handler(HTTPException, _not_found)
    return app


async def _refused(request: Request, error: Any) -> Response:
    return Refusal(error)


async def _not_found(request: Request, error: Any) -> Response:
    """Answer an unknown path (404) or a wrong method (405)."""
    message = f"no {request.method} here; the paths are listed at /docs"
    refused = RefusedError(message, error.status_code, code="not_found")
    return Refusal(refused, dict(error.headers or {}))
