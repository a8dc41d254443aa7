"""What can go wrong with any call: each status, what it means, and an example."""

from tidings.api.api_keys import Scope
from tidings.api.app import Problem, internal_error, unavailable, without
from tidings.domain.errors import StoreUnavailable

PROBLEMS = {
    problem.status: (description, problem)
    for description, problem in (
        (
            "The body is not JSON",
            Problem(
                400, "The body is not JSON", "Invalid JSON: it ends too soon, at line 1 column 0.", code="invalid_json"
            ),
        ),
        ("No key, or none that is valid", Problem(401, "The API key is not valid", code="invalid_key")),
        ("The key has not the scope", without(Scope.OPERATE)),
        (
            "None with this id belongs to the key's tenant",
            Problem(404, "No such notification", "None with this id belongs to your tenant."),
        ),
        ("The path has other methods", Problem(405, "Method not allowed")),
        ("Its state forbids it", Problem(409, "Too late to cancel", "Its status is sent.")),
        ("The body is too large", Problem(413, "Body too large", "At most 65536 bytes.")),
        (
            "Not valid; `errors` has one entry a field",
            Problem(
                422,
                "The query is not valid",
                errors=[{"pointer": "#/limit", "field": "limit", "detail": "must be at most 200"}],
            ),
        ),
        (
            "The body is compressed in a way that is not known",
            Problem(415, "Unsupported Content-Encoding", "Send the body as it is, or compressed with gzip."),
        ),
        ("An error of ours", internal_error()),
        (
            "The database does not answer, or too much is waiting; see Retry-After",
            unavailable(StoreUnavailable()),
        ),
    )
}

PROBLEM_HEADERS = {
    401: {"WWW-Authenticate": "Bearer"},
    415: {"Accept-Encoding": "The encoding that is known"},
    405: {"Allow": "The methods that the path has"},
    503: {"Retry-After": "Seconds"},
}
