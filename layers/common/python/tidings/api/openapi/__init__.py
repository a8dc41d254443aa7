"""The OpenAPI 3.1 document of a function, made from the models that read its requests and write its answers.

A function declares its operations; what they share is here: problems, health, and how a model becomes a schema.
"""

from tidings.api.openapi.building import document
from tidings.api.openapi.declaring import (
    BY_ID,
    JSON,
    PROBLEM,
    Answer,
    Content,
    Health,
    Operation,
    ProblemDocument,
    Schema,
    problem_content,
)

__all__ = [
    "BY_ID",
    "JSON",
    "PROBLEM",
    "Answer",
    "Content",
    "Health",
    "Operation",
    "ProblemDocument",
    "Schema",
    "document",
    "problem_content",
]
