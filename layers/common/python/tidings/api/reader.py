"""Reads request bodies that submit notifications: one, or an array of them."""

from collections.abc import Sequence
from typing import Annotated, Any, Union

from pydantic import Field, TypeAdapter, ValidationError

from tidings.api.json_shape import Body, as_item, items
from tidings.api.long_strings import Item
from tidings.api.problems import Problem
from tidings.api.requests import SUBMISSIONS, Submission
from tidings.api.validation_problems import MAX_ERRORS, problem_of
from tidings.domain.channels import CHANNELS

MAX_ITEMS = 1000
MAX_ERRORS_TOGETHER = MAX_ITEMS  # entries of an array's problems, and one for each further item


class Reader:
    """Reads request bodies. Create it once: building the validators costs more than a thousand uses."""

    def __init__(self) -> None:
        one: Any = Annotated[Union[tuple(SUBMISSIONS.values())], Field(discriminator="channel")]  # noqa: UP007
        self._one: TypeAdapter[Submission] = TypeAdapter(one)
        for channel, content in CHANNELS.items():  # its checks load their libraries now, not while a request waits
            self._one.validate_python({"channel": channel, **content.example}, strict=False, by_alias=True)

    def one(self, body: Body) -> Submission:
        """Raise Problem: 400 for invalid JSON, 422 with an entry for each invalid field."""
        item = as_item(body)
        try:
            return self._validated(item)
        except ValidationError as invalid:
            raise problem_of(invalid, column=item.column) from None

    def many(self, body: Body) -> Sequence[Submission | Problem]:
        """Each item, or its Problem, in order. Raise Problem if the array as a whole cannot be read."""
        left = MAX_ERRORS_TOGETHER
        read: list[Submission | Problem] = []
        for index, item in enumerate(items(body)):
            if index == MAX_ITEMS:
                raise _wrong_number(f"more than {MAX_ITEMS}")
            read.append(outcome := self._item(item, index, max(1, min(left, MAX_ERRORS))))
            left -= len(outcome.document.get("errors", ())) if isinstance(outcome, Problem) else 0
        if not read:
            raise _wrong_number("none")
        return read

    def _item(self, item: Item | Problem, index: int, most: int) -> Submission | Problem:
        """An invalid item becomes a Problem of its own. Raise Problem for invalid JSON."""
        if isinstance(item, Problem):
            return item
        try:
            return self._validated(item)
        except ValidationError as invalid:
            problem = problem_of(invalid, index=index, most=most, column=item.column)
        if problem.status == 400:
            raise problem
        return problem

    def _validated(self, item: Item) -> Submission:
        return self._one.validate_json(item.json, context=item.texts, by_alias=True, by_name=False)


def _wrong_number(what: str) -> Problem:
    return Problem(422, "Wrong number of items", f"An array holds 1 to {MAX_ITEMS} notifications, not {what}.")
