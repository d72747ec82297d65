"""The OpenAPI description of the service, and a plain page of it that needs no network."""

import json
from importlib.metadata import version
from typing import Any

from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

from tael.page.page import Html, Section, paragraph, preformatted, render, table
from tael.serve.ask import MAX_BODY_BYTES
from tael.serve.predict import Service

__all__ = ["page", "specification"]

_REFUSALS = {
    400: "The body is not JSON, or a header is not usable.",
    401: "No API key, or an unknown one.",
    402: "The key's budget would be exceeded.",
    409: "The Idempotency-Key was used with another body.",
    413: "The body, a text or the number of texts is too large.",
    422: "The JSON does not describe records of this task.",
    429: "The queue is full; Retry-After says when to come back.",
    503: "The model is being loaded, the server is stopping, or the ledger cannot be written.",
}
_ERROR = {
    "type": "object",
    "required": ["error"],
    "properties": {
        "error": {
            "type": "object",
            "required": ["message", "type", "param", "code"],
            "properties": {
                "message": {"type": "string"},
                "type": {"type": "string"},
                "param": {"type": ["string", "null"]},
                "code": {"type": "string"},
            },
        }
    },
}
_OTHERS = {
    "/healthz": "The process lives.",
    "/readyz": "200 when it answers, 503 while it loads and while it stops.",
    "/metrics": "Meters in Prometheus' text format.",
}


def specification(service: Service) -> dict[str, Any]:
    """Return the OpenAPI 3.1 description; raises RefusedError 503 until the model is loaded."""
    loaded = service.ready()
    reference, schemas = _schemas(loaded.request_model, loaded.response_model)
    limits, price = service.limits, service.price
    schemas |= {"Batch": _batch(reference["request"], limits.max_texts), "Error": _ERROR}
    schemas["Answers"] = _answers(reference["response"])
    about = (
        f"Charged {price.micros_per_million} micros {price.currency} per million texts answered. "
        f"At most {limits.max_texts} texts a request, {limits.max_characters} characters a text, "
        f"{MAX_BODY_BYTES} bytes a body."
    )
    return {
        "openapi": "3.1.0",
        "info": {
            "title": f"tael: {service.name}",
            "version": version("tael"),
            "description": about,
        },
        "paths": {
            "/v1/predict": {"post": _predict(reference["request"])},
            **{path: {"get": _plain(text)} for path, text in _OTHERS.items()},
        },
        "components": {
            "schemas": schemas,
            "securitySchemes": {"key": {"type": "http", "scheme": "bearer"}},
        },
    }


def page(specification: dict[str, Any]) -> str:
    """Render the description as one HTML page without scripts."""
    operation = specification["paths"]["/v1/predict"]["post"]
    answers = [(code, one["description"]) for code, one in operation["responses"].items()]
    paths = [
        (f"{method.upper()} {path}", one["summary"])
        for path, methods in specification["paths"].items()
        for method, one in methods.items()
    ]
    schemas = specification["components"]["schemas"]
    sections = [
        Section("Paths", table(("Path", "What it does"), paths)),
        Section("Ask", _example()),
        Section("Answers of /v1/predict", table(("Status", "Meaning"), answers)),
        Section("Schemas", Html("".join(_schema(name, one) for name, one in schemas.items()))),
    ]
    info = specification["info"]
    return render(info["title"], info["description"], sections, subtitle="/openapi.json has it all")


def _schemas(
    request: type[BaseModel], response: type[BaseModel]
) -> tuple[dict[str, dict[str, str]], dict[str, Any]]:
    found, definitions = models_json_schema(
        [(request, "validation"), (response, "serialization")],
        ref_template="#/components/schemas/{model}",
    )
    references = {
        "request": found[request, "validation"],
        "response": found[response, "serialization"],
    }
    return references, definitions.get("$defs", {})


def _batch(record: dict[str, str], most: int) -> dict[str, Any]:
    records = {"type": "array", "items": record, "minItems": 1, "maxItems": most}
    return {
        "type": "object",
        "required": ["records"],
        "properties": {"records": records},
        "additionalProperties": False,
    }


def _answers(answer: dict[str, str]) -> dict[str, Any]:
    usage = {
        "units": {"type": "integer", "description": "Texts answered."},
        "cost_micros": {"type": "integer", "description": "Rounded; the bill rounds once a line."},
        "currency": {"type": "string"},
    }
    properties = {
        "id": {"type": "string"},
        "model": {"type": "string", "description": "The variant that answered."},
        "predictions": {"type": "array", "items": answer},
        "usage": {"type": "object", "properties": usage, "required": list(usage)},
    }
    return {"type": "object", "required": list(properties), "properties": properties}


def _predict(record: dict[str, str]) -> dict[str, Any]:
    body = {"oneOf": [record, {"$ref": "#/components/schemas/Batch"}]}
    key = {
        "name": "Idempotency-Key",
        "in": "header",
        "required": False,
        "schema": {"type": "string", "maxLength": 255},
        "description": "A repeated key with the same body gets the stored answer, charged once.",
    }
    refusals = {
        str(status): {
            "description": text,
            "content": _as_json({"$ref": "#/components/schemas/Error"}),
        }
        for status, text in _REFUSALS.items()
    }
    return {
        "summary": "Answer one record or several, in order; charged per text answered.",
        "operationId": "predict",
        "security": [{"key": []}],
        "parameters": [key],
        "requestBody": {"required": True, "content": _as_json(body)},
        "responses": {
            "200": {
                "description": "One prediction a record.",
                "content": _as_json({"$ref": "#/components/schemas/Answers"}),
            },
            **refusals,
        },
    }


def _plain(text: str) -> dict[str, Any]:
    return {"summary": text, "responses": {"200": {"description": text}}}


def _as_json(schema: dict[str, Any]) -> dict[str, Any]:
    return {"application/json": {"schema": schema}}


def _example() -> Html:
    command = (
        "curl -H 'Authorization: Bearer KEY' -H 'Content-Type: application/json' \\\n"
        '  -d \'{"text": "…"}\' http://HOST:PORT/v1/predict'
    )
    return Html(paragraph("One record, or `records` with a list of them:") + preformatted(command))


def _schema(name: str, schema: dict[str, Any]) -> Html:
    return Html(paragraph(name) + preformatted(json.dumps(schema, indent=2, ensure_ascii=False)))
