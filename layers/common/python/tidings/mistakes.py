"""What is wrong with a body, in clear words: a field each."""

from collections.abc import Sequence
from typing import Any

from pydantic import ValidationError

from tidings.content import CONTENT
from tidings.web import Problem

MAX_ERRORS = 1000  # entries of one problem: an answer is not to be larger than what caused it
LONGEST_NAME = 100  # characters of a field's name in an entry; the caller may have made it as long as a body

_WORDS = {
    "missing": "is required",
    "extra_forbidden": "unknown field",
    "timezone_aware": "needs a time zone, like 2026-11-22T10:00:00Z",
    "union_tag_not_found": f"is required: one of {', '.join(CONTENT)}",
    "union_tag_invalid": f"must be one of {', '.join(CONTENT)}",
    "dict_type": "must be an object",
    "model_attributes_type": "must be an object",
    "model_type": "must be an object",
}


def problem_of(
    invalid: ValidationError,
    *,
    index: int | None = None,
    title: str = "The notification is not valid",
    most: int = MAX_ERRORS,
) -> Problem:
    """The caller's mistakes, one entry a field, or their number if it is over `most`. Never the value: it may be
    personal."""
    if invalid.error_count() > most:
        return Problem(422, title, f"{invalid.error_count()} fields are wrong.")
    errors = invalid.errors(include_url=False, include_input=False)
    if errors[0]["type"] == "json_invalid":
        return Problem(400, "The body is not JSON", errors[0]["msg"])
    return Problem(422, title, errors=[entry(_place(error), _words(error), index) for error in errors])


def entry(place: Sequence[int | str], detail: str, index: int | None = None) -> dict[str, Any]:
    """One field's mistake: `pointer` (RFC 6901) into the body, the field, and in an array the index."""
    place = [part if isinstance(part, int) else part[:LONGEST_NAME] for part in place]
    path = [*([index] if index is not None else []), *place]
    escaped = (str(part).replace("~", "~0").replace("/", "~1") for part in path)
    found: dict[str, Any] = {
        "pointer": "".join(["#", *(f"/{part}" for part in escaped)]),
        "field": ".".join(map(str, place)),
        "detail": detail,
    }
    if index is not None:
        found["index"] = index
    return found


def _place(error: Any) -> tuple[int | str, ...]:
    """pydantic's location, without the tag of the union and its marks for a mapping's keys."""
    location = error["loc"]
    if error["type"].startswith("union_tag_"):
        return (*location, "channel")
    place = location[1:] if len(location) > 1 and location[0] in CONTENT else location
    return tuple(part for part in place if part != "[key]")


def _words(error: Any) -> str:
    message: str = _WORDS.get(error["type"], error["msg"])
    return message.removeprefix("Value error, ")
