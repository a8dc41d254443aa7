"""The OpenAPI 3.1 document, made from the models that read requests and write answers."""

from functools import cache
from typing import Any

from pydantic import BaseModel
from pydantic.json_schema import models_json_schema
from tidings.queries import ListQuery
from tidings.submission import MAX_ITEMS, SUBMISSIONS
from tidings.view import AcceptedView, NotificationView, Page

_REFERENCE = "#/components/schemas/{model}"


class FieldError(BaseModel):
    """What is wrong with one field."""

    pointer: str
    field: str
    detail: str
    index: int | None = None


class ProblemDocument(BaseModel):
    """RFC 9457."""

    type: str
    title: str
    status: int
    detail: str | None = None
    errors: list[FieldError] | None = None


class ItemError(BaseModel):
    """An item of an array that was not accepted."""

    error: ProblemDocument


class Results(BaseModel):
    """One result an item, in order."""

    results: list[AcceptedView | ItemError]


class Health(BaseModel):
    """`ok`, `degraded` or `unavailable`, and the same for each part where it was asked."""

    status: str
    database: str | None = None
    broker: str | None = None


_PROBLEMS = {
    "400": "The body is not JSON",
    "401": "No key, or none that is valid",
    "403": "The key has not the scope",
    "404": "None with this id belongs to the key's tenant",
    "405": "The path has other methods",
    "409": "Too late: it is claimed or over",
    "413": "The body is too large",
    "422": "Not valid; `errors` has one entry a field",
    "500": "A fault of ours",
    "503": "The database does not answer, or too much is waiting; see Retry-After",
}

_PROBLEM_HEADERS = {
    "401": {"WWW-Authenticate": "Bearer"},
    "405": {"Allow": "The methods that the path has"},
    "503": {"Retry-After": "Seconds"},
}


@cache
def document() -> dict[str, Any]:
    one = [{"$ref": _REFERENCE.format(model=model.__name__)} for model in SUBMISSIONS.values()]
    mapping = {name: _REFERENCE.format(model=model.__name__) for name, model in SUBMISSIONS.items()}
    notification = {"oneOf": one, "discriminator": {"propertyName": "channel", "mapping": mapping}}
    many = {"type": "array", "items": notification, "minItems": 1, "maxItems": MAX_ITEMS}
    by_id = [{"name": "id", "in": "path", "required": True, "schema": {"type": "string"}}]
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Tidings",
            "version": "1",
            "description": "Notifications by email, SMS and push that are not lost and not sent twice.",
        },
        "paths": {
            "/v1/notifications": {
                "post": {
                    "operationId": "send",
                    "summary": f"Hand in one notification, or an array of up to {MAX_ITEMS}",
                    "parameters": [
                        {
                            "name": "Idempotency-Key",
                            "in": "header",
                            "description": "Same key and payload: the first answer again. Not for arrays.",
                            "schema": {"type": "string", "minLength": 1, "maxLength": 255},
                        }
                    ],
                    "requestBody": {
                        "required": True,
                        "content": {"application/json": {"schema": {"anyOf": [notification, many]}}},
                    },
                    "responses": {
                        "202": _answer(
                            "The rows are committed",
                            {"anyOf": [_reference(AcceptedView), _reference(Results)]},
                            {
                                "Location": "Where to look it up (one notification only)",
                                "Idempotency-Replayed": "`true` if this answer was given before",
                            },
                        ),
                        "422": _unprocessable(),
                        **_problems("400", "401", "403", "405", "413", "500", "503"),
                    },
                },
                "get": {
                    "operationId": "list",
                    "summary": "List notifications, newest first",
                    "parameters": _query(),
                    "responses": {
                        "200": _answer("A page", _reference(Page)),
                        **_problems("401", "403", "405", "422", "500", "503"),
                    },
                },
            },
            "/v1/notifications/{id}": {
                "get": {
                    "operationId": "get",
                    "summary": "Look one up, with its timeline",
                    "parameters": by_id,
                    "responses": {
                        "200": _answer("As it stands", _reference(NotificationView)),
                        **_problems("401", "403", "404", "405", "500", "503"),
                    },
                }
            },
            "/v1/notifications/{id}/cancel": {
                "post": {
                    "operationId": "cancel",
                    "summary": "Cancel it, unless it is claimed or over; canceling twice is harmless",
                    "parameters": by_id,
                    "responses": {
                        "200": _answer("Canceled", _reference(NotificationView)),
                        **_problems("401", "403", "404", "405", "409", "413", "500", "503"),
                    },
                }
            },
            "/openapi.json": {
                "get": _open("openapi", "This document", {"200": _answer("OpenAPI 3.1", {"type": "object"})})
            },
            "/healthz": {
                "get": _open("healthz", "It runs; asks nobody", {"200": _answer("It runs", _reference(Health))})
            },
            "/readyz": {
                "get": _open(
                    "readyz",
                    "Asks the database and the broker",
                    {
                        "200": _answer("It accepts; `degraded` without the broker", _reference(Health)),
                        "503": _answer("No database", _reference(Health), _PROBLEM_HEADERS["503"]),
                    },
                )
            },
        },
        "components": {
            "schemas": _schemas(),
            "securitySchemes": {"key": {"type": "http", "scheme": "bearer"}},
        },
        "security": [{"key": []}],
    }


def _schemas() -> dict[str, Any]:
    read = [(model, "validation") for model in SUBMISSIONS.values()]
    written = [
        (model, "serialization") for model in (AcceptedView, NotificationView, Page, Results, Health, ProblemDocument)
    ]
    _, schemas = models_json_schema([*read, *written], ref_template=_REFERENCE)  # type: ignore[list-item]
    definitions: dict[str, Any] = schemas["$defs"]
    return definitions


def _query() -> list[dict[str, Any]]:
    properties = ListQuery.model_json_schema(ref_template=_REFERENCE)["properties"]
    return [
        {
            "name": name,
            "in": "query",
            "description": schema.pop("description", schema.pop("title", "")),
            "schema": schema["anyOf"][0] if "anyOf" in schema else schema,
        }
        for name, schema in properties.items()
    ]


def _reference(model: type[BaseModel]) -> dict[str, str]:
    return {"$ref": _REFERENCE.format(model=model.__name__)}


def _answer(description: str, schema: dict[str, Any], headers: dict[str, str] | None = None) -> dict[str, Any]:
    return {
        "description": description,
        "content": {"application/json": {"schema": schema}},
        **_headers(headers or {}),
    }


def _headers(headers: dict[str, str]) -> dict[str, Any]:
    described = {name: {"description": text, "schema": {"type": "string"}} for name, text in headers.items()}
    return {"headers": described} if described else {}


def _unprocessable() -> dict[str, Any]:
    """One problem; or for an array in which every item is bad, each item's."""
    answer = _answer("Nothing was accepted", _reference(Results))
    answer["content"]["application/problem+json"] = {"schema": _reference(ProblemDocument)}
    return answer


def _problems(*codes: str) -> dict[str, Any]:
    content = {"application/problem+json": {"schema": _reference(ProblemDocument)}}
    return {
        code: {"description": _PROBLEMS[code], "content": content, **_headers(_PROBLEM_HEADERS.get(code, {}))}
        for code in codes
    }


def _open(operation: str, summary: str, responses: dict[str, Any]) -> dict[str, Any]:
    return {
        "operationId": operation,
        "summary": summary,
        "security": [],
        "responses": {**responses, **_problems("405", "500")},
    }
