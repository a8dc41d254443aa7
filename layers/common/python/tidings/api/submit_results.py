"""What became of each notification of a request, and the answer that says so."""

import logging
from collections.abc import Sequence
from typing import NamedTuple

from tidings.api.http import JSON, Response
from tidings.api.problems import Problem, internal_error, unavailable
from tidings.api.responses import accepted
from tidings.api.submit_endpoint import key_reused
from tidings.api.validation_problems import NOT_VALID, has_passed
from tidings.domain.errors import AlreadyExpired, BrokerUnavailable, RowTooLarge, StoreUnavailable, fault_location
from tidings.domain.notification import Notification
from tidings.ports import InsertResult

log = logging.getLogger(__name__)


class Result(NamedTuple):
    outcome: Notification | Problem
    is_replayed: bool = False  # the request was answered before


def result_of(taken: InsertResult, index: int | None = None) -> Result:
    """`index`: in the request's array."""
    if isinstance(taken, Exception):
        return Result(_failure(taken, index))
    existing = taken.existing
    if existing is None:
        return Result(taken.notification)
    if existing.fingerprint != taken.notification.fingerprint:
        return Result(key_reused())
    return Result(existing, is_replayed=True)


def _failure(error: Exception, index: int | None) -> Problem:
    """Of one notification that could not be stored, while others may be."""
    if isinstance(error, StoreUnavailable | BrokerUnavailable):
        return unavailable(error)
    if isinstance(error, AlreadyExpired):
        return Problem(422, NOT_VALID, errors=[has_passed(error.now, index)])
    if isinstance(error, RowTooLarge):
        # Not a 503: clients would repeat it, and it would fail until an operator changes the setting.
        return Problem(
            413,
            "Too large for the database",
            f"The database takes statements of up to {error.limit} bytes (max_allowed_packet), which its operator can"
            " raise to 16 MiB. Trying again before that cannot help.",
            code="too_large_for_database",
        )
    log.error("unexpected_error", extra={"error": type(error).__name__, "where": fault_location(error)})
    return internal_error()


# --- answers ----------------------------------------------------------------------------------------------------------


def one_response(result: Result) -> Response:
    """Raise Problem."""
    if isinstance(result.outcome, Problem):
        raise result.outcome
    headers = {"location": f"/v1/notifications/{result.outcome.id}", "content-type": JSON}
    if result.is_replayed:
        headers["idempotency-replayed"] = "true"
    return Response(status=202, body=accepted(result.outcome).encoded(), headers=headers)


def array_response(results: Sequence[Result]) -> Response:
    """202 if any item was accepted. Raise Problem 503 if none could be stored, so that clients repeat the request."""
    problems = [result.outcome for result in results if isinstance(result.outcome, Problem)]
    if len(problems) == len(results) and all(problem.status == 503 for problem in problems):
        raise problems[0]
    body = b'{"results":[' + b",".join(map(_item, results)) + b"]}"
    return Response(status=202 if len(problems) < len(results) else 422, body=body, headers={"content-type": JSON})


def _item(result: Result) -> bytes:
    if isinstance(result.outcome, Problem):
        return b'{"error":' + result.outcome.response().body + b"}"
    return accepted(result.outcome, replayed=result.is_replayed or None).encoded()
