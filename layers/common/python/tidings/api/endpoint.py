"""An endpoint is declared once. The App routes by the declaration, and the OpenAPI document is made from it.

To add one, declare it beside its handler, and bind it in a list: `intake.ROUTES`, `shared` or `operator.endpoints.OWN`.
"""

import enum
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Generic, TypeVar

from pydantic import BaseModel

from tidings.api.api_keys import Scope
from tidings.api.http import JSON, AuthenticatedRequest, Handler
from tidings.api.problems import Problem

SMALL_BODY = 64 * 1024  # bytes
EXAMPLE_ID = "01930b6c-4a5e-7c3b-9d2e-6f1a2b3c4d5e"

Schema = Any
"""A JSON schema. A pydantic model in it stands for a reference to the model's schema."""


class Tag(enum.StrEnum):
    """The chapters of the OpenAPI document."""

    NOTIFICATIONS = "notifications"
    DEAD_LETTERS = "dead letters"
    SUPPRESSIONS = "suppressions"
    WEBHOOKS = "webhooks"
    OPERATION = "operation"
    ABOUT = "documentation and health"


H = TypeVar("H")


@dataclass(frozen=True, kw_only=True)
class Content:
    """A body's schema, and its examples by name. The name says what the example shows."""

    schema: Schema
    examples: Mapping[str, Any]
    kind: str = JSON


@dataclass(frozen=True, kw_only=True)
class Answer:
    """What a status means. `headers`: descriptions by name."""

    description: str
    content: Sequence[Content]
    headers: Mapping[str, str] = field(default_factory=dict)


def json_answer(description: str, schema: Schema, examples: Mapping[str, Any], **headers: str) -> Answer:
    return Answer(description=description, content=[Content(schema=schema, examples=examples)], headers=headers)


@dataclass(frozen=True, kw_only=True)
class Endpoint:
    """One method of one path.

    The parameters of the path, like `{id}`, and the problems that follow from scope, method, path and query are derived
    (`openapi`). `problems` has the others.
    """

    method: str
    path: str
    scope: Scope | None  # None: open to all, without a key
    id: str = ""
    tag: Tag | None = None  # None: not in the OpenAPI document
    summary: str = ""
    answers: Mapping[int, Answer] = field(default_factory=dict)
    problems: Sequence[Problem] = ()
    query: type[BaseModel] | None = None
    headers: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)  # what OpenAPI says of each, by name
    body: Content | None = None
    max_body: int = SMALL_BODY  # bytes
    open_body: int = 0  # bytes that are read without an API key: for requests that are signed instead
    is_traced: bool = False  # each request is timed, and starts or continues a trace

    def needs(self, scope: Scope) -> "Endpoint":
        return replace(self, scope=scope)

    def handled_by(self, find: Callable[[H], Handler]) -> "Route[H]":
        """`find` takes the handler from the object that has a function's handlers."""
        return Route(endpoint=self, find=find)

    @property
    def path_parameters(self) -> Sequence[str]:
        return re.findall(r"{(\w+)}", self.path)


@dataclass(frozen=True, kw_only=True)
class BoundEndpoint:
    """An endpoint with its handler."""

    endpoint: Endpoint
    handle: Handler
    admit: Callable[[AuthenticatedRequest], None] | None = None  # before an open body is read; may raise Problem


@dataclass(frozen=True, kw_only=True)
class Route(Generic[H]):
    """An endpoint, and where its handler is found. So the list of a function's endpoints needs no store or broker."""

    endpoint: Endpoint
    find: Callable[[H], Handler]

    def bind(self, handlers: H) -> BoundEndpoint:
        return BoundEndpoint(endpoint=self.endpoint, handle=self.find(handlers))
