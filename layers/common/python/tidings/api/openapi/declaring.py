"""What a function declares of its API: its operations, with the models of their bodies, and examples."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from pydantic import BaseModel, Field

from tidings.api.api_keys import Scope
from tidings.api.app import CODES, Problem

JSON, PROBLEM = "application/json", "application/problem+json"

Schema = Any
"""A JSON schema, in which a model's class stands for the reference to its schema."""


# --- what every function answers --------------------------------------------------------------------------------------


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
    code: str = Field(
        description="for programs: it stays what it is, while words may change", examples=sorted(CODES.values())
    )
    detail: str | None = None
    errors: list[FieldError] | None = None


class Health(BaseModel):
    """`ok`, `degraded` or `unavailable`, and the same for each part where it was asked."""

    status: str
    database: str | None = None
    broker: str | None = None


# --- a declaration ----------------------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class Content:
    """A body: its schema, and examples by a name that says what each shows."""

    schema: Schema
    examples: Mapping[str, Any] = field(default_factory=dict)
    kind: str = JSON


@dataclass(frozen=True, kw_only=True)
class Answer:
    """What a status means. `headers`: what each says."""

    description: str
    content: Sequence[Content]
    headers: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Operation:
    """A route, declared. `problems`: statuses, or a Problem that is an example of its status."""

    method: str
    path: str
    id: str
    tag: str
    summary: str
    scope: Scope | None
    answers: Mapping[int, Answer]
    problems: Sequence[int | Problem] = ()
    query: type[BaseModel] | None = None
    parameters: Sequence[Mapping[str, Any]] = ()
    body: Content | None = None


BY_ID = {
    "name": "id",
    "in": "path",
    "required": True,
    "schema": {"type": "string"},
    "example": "01930b6c-4a5e-7c3b-9d2e-6f1a2b3c4d5e",
}


def problem_content(*problems: Problem) -> Content:
    return Content(
        schema=ProblemDocument,
        examples={problem.document["title"]: problem.document for problem in problems},
        kind=PROBLEM,
    )
