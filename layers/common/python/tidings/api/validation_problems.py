"""Problems of bodies and queries that are not valid: one entry for each field."""

from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Any

from pydantic import ValidationError

from tidings.api.json_shape import not_json
from tidings.api.problems import Problem
from tidings.domain.channels import CHANNELS

MAX_ERRORS = 100  # entries of one problem: an answer must not be larger than its request
LONGEST_NAME = 100  # characters of a field's name in an entry; a client may send one as long as a body

NOT_VALID = "The notification is not valid"
_A_TIME = "must be an RFC 3339 timestamp, like 2026-11-22T10:00:00Z"
_WORDS = {
    "missing": "is required",
    "extra_forbidden": "unknown field",
    "timezone_aware": "needs a time zone, like 2026-11-22T10:00:00Z",
    "datetime_type": _A_TIME,
    "datetime_parsing": _A_TIME,
    "datetime_from_date_parsing": _A_TIME,
    "datetime_object_invalid": _A_TIME,
    "union_tag_not_found": f"is required: one of {', '.join(CHANNELS)}",
    "union_tag_invalid": f"must be one of {', '.join(CHANNELS)}",
    "dict_type": "must be an object",
    "model_attributes_type": "must be an object",
    "model_type": "must be an object",
    "string_type": "must be a string",
    "string_unicode": "must be a string of Unicode characters",
    "string_sub_type": "must be a string",
    "string_too_long": "length must be at most {max_length}",
    "string_too_short": "length must be at least {min_length}",
    "string_pattern_mismatch": "must match {pattern}",
    "int_type": "must be a whole number",
    "int_parsing": "must be a whole number",
    "int_parsing_size": "must be a smaller number",
    "int_from_float": "must be a whole number",
    "float_type": "must be a number",
    "float_parsing": "must be a number",
    "finite_number": "must be a finite number",
    "bool_type": "must be true or false",
    "bool_parsing": "must be true or false",
    "list_type": "must be an array",
    "tuple_type": "must be an array",
    "set_type": "must be an array",
    "too_long": "number of entries must be at most {max_length}",
    "too_short": "number of entries must be at least {min_length}",
    "greater_than": "must be more than {gt}",
    "greater_than_equal": "must be at least {ge}",
    "less_than": "must be less than {lt}",
    "less_than_equal": "must be at most {le}",
    "enum": "must be {expected}",
    "literal_error": "must be {expected}",
}
"""By pydantic's error type. Our own words, so that a new pydantic does not change our answers."""

_JSON_WORDS = {
    "EOF while parsing": "it ends too soon",
    "expected value": "there is no value",
    "expected ident": "a word is not true, false or null",
    "expected `:`": "a colon is missing",
    "expected `,`": "a comma or a closing bracket is missing",
    "trailing comma": "no comma may stand before a closing bracket",
    "trailing characters": "there is more after its end",
    "key must be a string": "a name must be in double quotes",
    "control character": "a string holds a control character that is not escaped",
    "invalid escape": "a backslash begins no escape that JSON knows",
    "lone leading surrogate": "an escape is half of a surrogate pair",
    "unexpected end of hex escape": "an escape is half of a surrogate pair",
    "invalid unicode code point": "it is not UTF-8",
    "invalid number": "a number is not written as JSON writes it",
    "number out of range": "a number is too large",
}
"""By the beginning of the parser's message, which also has the line and column."""


def problem_of(
    invalid: ValidationError,
    *,
    index: int | None = None,
    title: str = NOT_VALID,
    most: int = MAX_ERRORS,
    column: Callable[[int, int], int] = lambda _line, column: column,
) -> Problem:
    """One entry for each invalid field, at most `most`. Values are left out: they may be personal data.
    `column`: the column in the body, by the line and the column in what was parsed."""
    errors = invalid.errors(include_url=False, include_input=False)
    if errors[0]["type"] == "json_invalid":
        item = f" of item {index}" if index is not None else ""
        return not_json(f"{_json_words(errors[0]['msg'], column)}{item}")
    shown = errors[:most]
    detail = f"{len(errors)} fields are not valid." if len(errors) > len(shown) else None
    return Problem(422, title, detail, errors=[entry(_place(error), _words(error), index) for error in shown])


def entry(place: Sequence[int | str], detail: str, index: int | None = None) -> dict[str, Any]:
    """`place`: the path to the field, in the body or in an item of an array. `pointer` is RFC 6901's."""
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


def has_passed(now: datetime, index: int | None = None) -> dict[str, Any]:
    """An entry for `expires_at`. It has the server's time, so that a client with a wrong clock sees it."""
    return entry(("expires_at",), f"is in the past: the server's time is {now.isoformat(timespec='seconds')}", index)


def _place(error: Any) -> tuple[int | str, ...]:
    """pydantic's location, without the union's tag and the marks of a mapping's keys."""
    location = error["loc"]
    if error["type"].startswith("union_tag_"):
        return (*location, "channel")
    place = location[1:] if len(location) > 1 and location[0] in CHANNELS else location
    return tuple(part for part in place if part != "[key]")


def _json_words(message: str, column: Callable[[int, int], int]) -> str:
    what, _, place = message.removeprefix("Invalid JSON: ").rpartition(" at line ")
    known = next((words for beginning, words in _JSON_WORDS.items() if what.startswith(beginning)), "it cannot be read")
    if what == "expected value" and place == "1 column 1":
        known = "it begins with no value; it must be UTF-8 without a byte order mark"
    line, _, at = place.partition(" column ")
    return f"{known}, at line {line} column {column(int(line), int(at))}"


def _words(error: Any) -> str:
    if error["type"] == "value_error":  # from one of our validators
        return str(error["msg"]).removeprefix("Value error, ")
    context: dict[str, Any] = error.get("ctx", {})
    return _WORDS.get(error["type"], "is not valid").format_map(context)
