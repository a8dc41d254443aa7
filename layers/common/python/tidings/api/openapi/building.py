"""The document, from what is declared: models become schemas, once each, and references."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from pydantic import BaseModel

from tidings.api.app import Problem
from tidings.api.openapi.declaring import Content, Operation, ProblemDocument, Schema, problem_content
from tidings.api.openapi.problems import PROBLEM_HEADERS, PROBLEMS

LICENSE = "Apache-2.0"  # as the file LICENSE; an SPDX identifier
_NOT_IN_A_QUERY = {"ids"}  # a thousand are for a body
_REFERENCE = "#/components/schemas/{model}"

# --- the document -----------------------------------------------------------------------------------------------------


def document(
    *, title: str, description: str, operations: Sequence[Operation], tags: Mapping[str, str]
) -> dict[str, Any]:
    """The whole of it, as JSON's values. `tags`: what each tag of the operations is about."""
    models = _Models(operations)
    paths: dict[str, Any] = {}
    for operation in operations:
        paths.setdefault(operation.path, {})[operation.method.lower()] = _operation(operation, models)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": title,
            "version": "1",
            "description": description,
            "license": {"name": LICENSE, "identifier": LICENSE},
        },
        "servers": [{"url": ".", "description": "where this document lies, behind a gateway's stage too"}],
        "tags": [
            {"name": tag, "description": tags[tag]} for tag in dict.fromkeys(operation.tag for operation in operations)
        ],
        "paths": paths,
        "components": {
            "schemas": models.schemas,
            "securitySchemes": {"key": {"type": "http", "scheme": "bearer", "description": "An API key, tdg_..."}},
        },
        "security": [{"key": []}],
    }


class _Models:
    """The models of all operations. What reads a request and what writes an answer may differ."""

    def __init__(self, operations: Sequence[Operation]) -> None:
        from pydantic.json_schema import models_json_schema  # who asks for the document pays for it, and no cold start

        read = {model for operation in operations if operation.body for model in _classes(operation.body.schema)}
        written = {
            model
            for operation in operations
            for answer in operation.answers.values()
            for content in answer.content
            for model in _classes(content.schema)
        }
        wanted = [
            *((model, "validation") for model in sorted(read, key=_name)),
            *((model, "serialization") for model in sorted(written | {ProblemDocument}, key=_name)),
        ]
        self._references, generated = models_json_schema(wanted, ref_template=_REFERENCE)  # type: ignore[arg-type]
        self.schemas: dict[str, Any] = generated["$defs"]

    def filled(self, schema: Schema, mode: str) -> Any:
        """The schema with references in the place of classes; in a discriminator's mapping, with their text."""
        if isinstance(schema, type):
            return self._references[schema, mode]  # type: ignore[index]
        if isinstance(schema, Mapping):
            return {
                key: {name: self.filled(model, mode)["$ref"] for name, model in value.items()}
                if key == "mapping"
                else self.filled(value, mode)
                for key, value in schema.items()
            }
        return [self.filled(item, mode) for item in schema] if isinstance(schema, list) else schema

    def media(self, content: Content, mode: str) -> dict[str, Any]:
        examples = {name: {"value": value} for name, value in content.examples.items()}
        return {
            content.kind: {"schema": self.filled(content.schema, mode), **({"examples": examples} if examples else {})}
        }


def _name(model: type[BaseModel]) -> str:
    return model.__name__


def _classes(schema: Schema) -> Iterator[type[BaseModel]]:
    if isinstance(schema, type):
        yield schema
    elif isinstance(schema, Mapping | list):
        for value in schema.values() if isinstance(schema, Mapping) else schema:
            yield from _classes(value)


def _operation(operation: Operation, models: _Models) -> dict[str, Any]:
    parameters = [*operation.parameters, *(_query(operation.query) if operation.query is not None else ())]
    responses = {
        str(status): {
            "description": answer.description,
            "content": {
                kind: media for one in answer.content for kind, media in models.media(one, "serialization").items()
            },
            **_headers(answer.headers),
        }
        for status, answer in operation.answers.items()
    }
    described: dict[str, Any] = {"operationId": operation.id, "tags": [operation.tag], "summary": operation.summary}
    if operation.scope is None:
        described["security"] = []
    else:
        described["description"] = f"Needs a key with the scope `{operation.scope}`."
    if parameters:
        described["parameters"] = parameters
    if operation.body is not None:
        media = models.media(operation.body, "validation")
        described["requestBody"] = {"required": True, "content": media}
    bodily = (400, 413, 415) if operation.method == "POST" else ()  # any of them may be sent a body
    problems = dict.fromkeys([*operation.problems, *bodily])
    return {**described, "responses": {**responses, **_problems([*problems], models)}}


def _problems(problems: Sequence[int | Problem], models: _Models) -> dict[str, Any]:
    shown: dict[int, list[Problem]] = {}
    for one in problems:
        status = one if isinstance(one, int) else one.status
        shown.setdefault(status, []).append(PROBLEMS[status][1] if isinstance(one, int) else one)
    return {
        str(status): {
            "description": PROBLEMS[status][0],
            "content": models.media(problem_content(*examples), "serialization"),
            **_headers(PROBLEM_HEADERS.get(status, {})),
        }
        for status, examples in sorted(shown.items())
    }


def _headers(headers: Mapping[str, str]) -> dict[str, Any]:
    told = {**headers, "Request-Id": "The request's own if it had one, or a new one: it finds the request in our log"}
    return {"headers": {name: {"description": text, "schema": {"type": "string"}} for name, text in told.items()}}


def _query(model: type[BaseModel]) -> list[dict[str, Any]]:
    """A parameter each field. A list is given by repeating its name."""
    schema = model.model_json_schema(ref_template=_REFERENCE)
    found = []
    for name, given in schema["properties"].items():
        one = dict(given["anyOf"][0] if "anyOf" in given else given)
        if name in _NOT_IN_A_QUERY:
            continue
        if "$ref" in one:  # a word of a list of words
            one = schema["$defs"][one["$ref"].rpartition("/")[2]]
        if "$ref" in one.get("items", {}):
            word = schema["$defs"][one["items"]["$ref"].rpartition("/")[2]]
            one["items"] = {key: value for key, value in word.items() if key not in ("title", "description")}
        described = given.get("description") or one.pop("description", None) or name.replace("_", " ")
        schema_of = {key: value for key, value in one.items() if key not in ("title", "description")}
        found.append({"name": name, "in": "query", "description": described, "schema": schema_of})
    return found
