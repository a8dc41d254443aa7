"""What can go wrong with any call: each status, what it means, and an example."""

from tidings.web import Problem

PROBLEMS = {
    problem.status: (description, problem)
    for description, problem in (
        ("The body is not JSON", Problem(400, "The body is not JSON", "Invalid JSON: EOF while parsing a value")),
        ("No key, or none that is valid", Problem(401, "This key is not valid")),
        ("The key has not the scope", Problem(403, "This key has not the scope operate")),
        (
            "None with this id belongs to the key's tenant",
            Problem(404, "No such notification", "None with this id belongs to your tenant."),
        ),
        ("The path has other methods", Problem(405, "Method not allowed")),
        ("Its state forbids it", Problem(409, "Too late to cancel", "Its status is sent.")),
        ("The body is too large", Problem(413, "The body is too large", "At most 16777216 bytes; send fewer items.")),
        (
            "Not valid; `errors` has one entry a field",
            Problem(
                422,
                "The query is not valid",
                errors=[
                    {"pointer": "#/limit", "field": "limit", "detail": "Input should be less than or equal to 200"}
                ],
            ),
        ),
        (
            "A fault of ours",
            Problem(500, "A fault of ours", "It is logged. Trying again is safe with an Idempotency-Key."),
        ),
        (
            "The database does not answer, or too much is waiting; see Retry-After",
            Problem(
                503,
                "The database does not answer",
                "It may or may not have taken effect. Try again with the same Idempotency-Key; it cannot double then.",
            ),
        ),
    )
}

PROBLEM_HEADERS = {
    401: {"WWW-Authenticate": "Bearer"},
    405: {"Allow": "The methods that the path has"},
    503: {"Retry-After": "Seconds"},
}
