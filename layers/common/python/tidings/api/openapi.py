"""The OpenAPI 3.1 document of an API, made from its endpoints and their pydantic models."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from pydantic import BaseModel

from tidings.api.endpoint import EXAMPLE_ID, Content, Endpoint, Tag
from tidings.api.http import PROBLEM
from tidings.api.json_schemas import REFERENCE, Schemas
from tidings.api.json_shape import not_json
from tidings.api.problems import (
    Problem,
    ProblemDocument,
    internal_error,
    invalid_key,
    missing_scope,
    no_such_channel,
    no_such_notification,
    no_such_webhook,
    unavailable,
)
from tidings.api.validation_problems import entry
from tidings.domain.channels import CHANNELS
from tidings.domain.errors import StoreUnavailable

LICENSE = "Apache-2.0"  # as the file LICENSE; an SPDX identifier
_NOT_IN_A_QUERY = {"ids"}  # only in bodies: there may be a thousand
_REQUEST_ID = "The request's own if it had one, or a new one: it finds the request in our log"

_TAGS = {
    Tag.NOTIFICATIONS: "Accept notifications, look them up with their timeline, list and cancel them.",
    Tag.DEAD_LETTERS: "What failed or is unknown: list it, group it by its error, replay it, resolve it.",
    Tag.SUPPRESSIONS: "Recipients that are not sent to: list, look up, add, remove, import, export.",
    Tag.WEBHOOKS: "Be told what became of notifications: endpoints, their secrets, replays, and the feed of events.",
    Tag.OPERATION: "What happens and what waits; the sweep; pause and resume a channel.",
    Tag.ABOUT: "This document, a page to read it, and health checks. No key is needed.",
}
_PATH_PARAMETERS = {  # each with an example, and the problem if it names nothing
    "id": (EXAMPLE_ID, no_such_notification()),
    "webhook": (EXAMPLE_ID, no_such_webhook()),
    "channel": (next(iter(CHANNELS)), no_such_channel()),
    "asset": ("page.js", Problem(404, "Not found")),
}
_STATUSES: Mapping[int, tuple[str, Mapping[str, str]]] = {  # of problems, with their headers
    400: ("The body is not JSON", {}),
    401: ("No API key, or one that is not valid", {"WWW-Authenticate": "Bearer"}),
    403: ("The API key lacks the scope", {}),
    404: ("Not found, or not your tenant's", {}),
    405: ("The path has other methods", {"Allow": "The methods that the path has"}),
    409: ("Its status does not allow it", {}),
    413: ("The body is too large", {}),
    415: ("The body's compression is not supported", {"Accept-Encoding": "The supported compression"}),
    422: ("Not valid; `errors` has one entry for each invalid field", {}),
    500: ("Internal server error", {}),
    503: ("The database does not answer, or the server is overloaded", {"Retry-After": "Seconds"}),
}


def document(*, title: str, description: str, endpoints: Sequence[Endpoint]) -> dict[str, Any]:
    """As JSON's values, of the endpoints that have a tag."""
    shown = [endpoint for endpoint in endpoints if endpoint.tag is not None]
    schemas = Schemas(shown)
    paths: dict[str, Any] = {}
    for endpoint in shown:
        paths.setdefault(endpoint.path, {})[endpoint.method.lower()] = _operation(endpoint, schemas)
    tags = dict.fromkeys(endpoint.tag for endpoint in shown if endpoint.tag is not None)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": title,
            "version": "1",
            "description": description,
            "license": {"name": LICENSE, "identifier": LICENSE},
        },
        "servers": [{"url": ".", "description": "where this document lies, behind a gateway's stage too"}],
        "tags": [{"name": str(tag), "description": _TAGS[tag]} for tag in tags],
        "paths": paths,
        "components": {
            "schemas": schemas.definitions,
            "securitySchemes": {"key": {"type": "http", "scheme": "bearer", "description": "An API key, tdg_..."}},
        },
        "security": [{"key": []}],
    }


# --- operations -------------------------------------------------------------------------------------------------------


def _operation(endpoint: Endpoint, schemas: Schemas) -> dict[str, Any]:
    described: dict[str, Any] = {
        "operationId": endpoint.id,
        "tags": [str(endpoint.tag)],
        "summary": endpoint.summary,
        **({"security": []} if endpoint.scope is None else {}),
        **({"description": f"Needs a key with the scope `{endpoint.scope}`."} if endpoint.scope is not None else {}),
    }
    if parameters := [*_path(endpoint), *_headers_read(endpoint), *_query(endpoint.query)]:
        described["parameters"] = parameters
    if endpoint.body is not None:
        described["requestBody"] = {"required": True, "content": schemas.media([endpoint.body], "validation")}
    answers = {
        str(status): _response(answer.description, answer.content, answer.headers, schemas)
        for status, answer in endpoint.answers.items()
    }
    return {**described, "responses": {**answers, **_problem_responses(endpoint, schemas)}}


def _problem_responses(endpoint: Endpoint, schemas: Schemas) -> dict[str, Any]:
    by_status: dict[int, dict[str, Any]] = {}
    for problem in problems_of(endpoint):
        by_status.setdefault(problem.status, {})[problem.document["title"]] = problem.document
    found = {}
    for status, examples in sorted(by_status.items()):
        answer, (description, headers) = endpoint.answers.get(status), _STATUSES[status]
        content = [Content(schema=ProblemDocument, examples=examples, kind=PROBLEM)]
        if answer is not None:  # a status with a body of its own, or with a problem
            description, content, headers = (
                answer.description,
                [*answer.content, *content],
                {**headers, **answer.headers},
            )
        found[str(status)] = _response(description, content, headers, schemas)
    return found


def problems_of(endpoint: Endpoint) -> Iterator[Problem]:
    """What can go wrong: as follows from the declaration, then the endpoint's own."""
    yield Problem(405, "Method not allowed")
    yield internal_error()
    if endpoint.scope is not None:
        yield invalid_key()
        yield missing_scope(endpoint.scope)
        yield unavailable(StoreUnavailable())
    if endpoint.method == "POST":  # also one without a body may be sent a body
        yield not_json("it ends too soon, at line 1 column 0")
        yield Problem(413, "Body too large", f"At most {endpoint.max_body} bytes.")
        yield Problem(415, "Unsupported Content-Encoding", "Send the body as it is, or compressed with gzip.")
    if endpoint.query is not None:
        yield Problem(422, "The query is not valid", errors=[entry(("colour",), "unknown field")])
    for name in endpoint.path_parameters:
        yield _PATH_PARAMETERS[name][1]
    yield from endpoint.problems


def _response(
    description: str, content: Sequence[Content], headers: Mapping[str, str], schemas: Schemas
) -> dict[str, Any]:
    every = {**headers, "Request-Id": _REQUEST_ID}
    return {
        "description": description,
        "content": schemas.media(content, "serialization"),
        "headers": {name: {"description": text, "schema": {"type": "string"}} for name, text in every.items()},
    }


# --- parameters -------------------------------------------------------------------------------------------------------


def _path(endpoint: Endpoint) -> Iterator[dict[str, Any]]:
    for name in endpoint.path_parameters:
        example, _ = _PATH_PARAMETERS[name]
        yield {"name": name, "in": "path", "required": True, "schema": {"type": "string"}, "example": example}


def _headers_read(endpoint: Endpoint) -> Iterator[dict[str, Any]]:
    for name, described in endpoint.headers.items():
        yield {"name": name, "in": "header", **described}


def _query(model: type[BaseModel] | None) -> Iterator[dict[str, Any]]:
    """A parameter for each field. A list is given by repeating its name."""
    if model is None:
        return
    schema = model.model_json_schema(ref_template=REFERENCE)

    def definition(reference: str) -> dict[str, Any]:
        return dict(schema["$defs"][reference.rpartition("/")[2]])

    for name, field in schema["properties"].items():
        if name in _NOT_IN_A_QUERY:
            continue
        own = dict(field["anyOf"][0] if "anyOf" in field else field)  # without null
        own = definition(own["$ref"]) if "$ref" in own else own
        if "$ref" in own.get("items", {}):
            own["items"] = _without_words(definition(own["items"]["$ref"]))
        description = field.get("description") or own.get("description") or name.replace("_", " ")
        yield {"name": name, "in": "query", "description": description, "schema": _without_words(own)}


def _without_words(schema: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in schema.items() if key not in ("title", "description")}
