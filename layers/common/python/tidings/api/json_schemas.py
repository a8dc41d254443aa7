"""JSON schemas of the models in endpoints."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

from tidings.api.endpoint import Content, Endpoint, Schema
from tidings.api.problems import ProblemDocument

REFERENCE = "#/components/schemas/{model}"


class Schemas:
    """Each model once. The schema of a request and of an answer may differ for the same model."""

    def __init__(self, endpoints: Sequence[Endpoint]) -> None:
        read = {model for endpoint in endpoints if endpoint.body for model in _models_in(endpoint.body.schema)}
        written = {ProblemDocument} | {
            model
            for endpoint in endpoints
            for answer in endpoint.answers.values()
            for content in answer.content
            for model in _models_in(content.schema)
        }
        wanted = [
            *((model, "validation") for model in sorted(read, key=_name)),
            *((model, "serialization") for model in sorted(written, key=_name)),
        ]
        self._references, generated = models_json_schema(wanted, ref_template=REFERENCE)  # type: ignore[arg-type]
        self.definitions: dict[str, Any] = generated["$defs"]

    def media(self, contents: Sequence[Content], mode: str) -> dict[str, Any]:
        return {
            content.kind: {
                "schema": self._with_references(content.schema, mode),
                "examples": {name: {"value": value} for name, value in content.examples.items()},
            }
            for content in contents
        }

    def _with_references(self, schema: Schema, mode: str) -> Any:
        """References in place of models; in a discriminator's mapping, their text."""
        if isinstance(schema, type):
            return self._references[schema, mode]  # type: ignore[index]
        if isinstance(schema, Mapping):
            return {
                key: {name: self._with_references(model, mode)["$ref"] for name, model in value.items()}
                if key == "mapping"
                else self._with_references(value, mode)
                for key, value in schema.items()
            }
        return [self._with_references(item, mode) for item in schema] if isinstance(schema, list) else schema


def _name(model: type[BaseModel]) -> str:
    return model.__name__


def _models_in(schema: Schema) -> Iterator[type[BaseModel]]:
    if isinstance(schema, type):
        yield schema
    elif isinstance(schema, Mapping | list):
        for value in schema.values() if isinstance(schema, Mapping) else schema:
            yield from _models_in(value)
