"""Every answer to random input is declared in the document: schemathesis against real function processes."""

import base64
from collections.abc import Callable, Iterator
from functools import cache
from typing import Any

import pytest
import requests
from hypothesis import HealthCheck, given, settings
from tidings.api import intake as intake_api
from tidings.api.operator import endpoints as operator_api

from tests.functions.served import Keys, mail, process
from tests.migrated import migrated

DOCUMENTS = {"intake": intake_api.document, "replay": operator_api.document}
EXAMPLES, NIGHTLY = 8, 60  # an operation, a kind of data
KEYLESS, KEYLESS_NIGHTLY = 3, 10  # what is sent does not matter, where nobody looks at it
CHECKED = (
    "not_a_server_error",
    "status_code_conformance",
    "content_type_conformance",
    "response_headers_conformance",
    "response_schema_conformance",
)
Operation = tuple[str, str]  # the function, and method and path
OPERATIONS: dict[Operation, dict[str, Any]] = {
    (function, f"{method.upper()} {path}"): operation
    for function, document in DOCUMENTS.items()
    for path, operations in document()["paths"].items()
    for method, operation in operations.items()
}
GUARDED = [operation for operation in OPERATIONS if " /v1/" in operation[1]]
MODES = [
    *((operation, "positive") for operation in OPERATIONS),
    # Where nothing is sent but a path, nothing can be wrong.
    *(
        (name, "negative")
        for name, operation in OPERATIONS.items()
        if "requestBody" in operation or any(one["in"] == "query" for one in operation.get("parameters", ()))
    ),
]
# What is pending is not to be marked as sent, and an expiry may lie in the past.
ANSWERS = {"POST /v1/notifications/{id}/resolve": {200, 409, 422}}

Send = Callable[[str, Any, str | None], requests.Response]


@pytest.fixture(scope="module")
def urls(keys: Keys, tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """Of an intake and a replay function with one database. At the end their logs have no fault."""
    folder = tmp_path_factory.mktemp("fuzz")
    database_url = f"sqlite:///{folder}/tidings.db"
    migrated(database_url)
    settings = {"TIDINGS_DATABASE_URL": database_url, "TIDINGS_BROKER_URL": "", "TIDINGS_API_KEYS": keys.setting}
    settings["TIDINGS_PROOF_KEY"] = base64.b64encode(bytes(32)).decode()
    with process("intake", settings, folder) as intake, process("replay", settings, folder) as replay:
        yield {"intake": intake.url, "replay": replay.url}
    for running in (intake, replay):
        log = running.log.read_text()
        assert '"unexpected_error"' not in log, log
        assert "Traceback" not in log, log


@pytest.fixture(scope="module")
def send(urls: dict[str, str]) -> Iterator[Send]:
    with requests.Session() as session:

        def sent(function: str, case: Any, key: str | None) -> requests.Response:
            headers = {"authorization": f"Bearer {key}"} if key is not None else {}
            made: requests.Response = case.call(base_url=urls[function], session=session, headers=headers, timeout=60)
            return made

        yield sent


@cache
def generators() -> dict[Operation, Any]:
    """schemathesis's operations. Its import takes seconds, and each worker collects all tests."""
    import schemathesis
    from schemathesis.checks import load_all_checks
    from schemathesis.core.result import Ok

    load_all_checks()
    return {
        (function, found.ok().label): found.ok()
        for function, document in DOCUMENTS.items()
        for found in schemathesis.openapi.from_dict(document()).get_all_operations()
        if isinstance(found, Ok)
    }


def validate(case: Any, answer: requests.Response) -> None:
    from schemathesis.checks import CHECKS

    case.validate_response(answer, checks=[CHECKS.get_one(name) for name in CHECKED])


def for_each_case(operation: Operation, mode: str, check: Callable[[Any], None], *, examples: int) -> None:
    from schemathesis import GenerationMode

    @settings(max_examples=examples, deadline=None, suppress_health_check=list(HealthCheck), database=None)
    @given(case=generators()[operation].as_strategy(generation_mode=GenerationMode(mode)))
    def run(case: Any) -> None:
        check(case)

    run()


def named(value: object) -> str:
    return " ".join(value) if isinstance(value, tuple) else str(value)


def test_every_operation_is_generated() -> None:
    assert set(generators()) == set(OPERATIONS)


@pytest.mark.parametrize(("operation", "mode"), MODES, ids=named)
def test_every_answer_is_declared_and_fits(
    operation: Operation, mode: str, send: Send, keys: Keys, nightly: bool
) -> None:
    def check(case: Any) -> None:
        validate(case, send(operation[0], case, keys.both))

    for_each_case(operation, mode, check, examples=NIGHTLY if nightly else EXAMPLES)


@pytest.mark.parametrize("operation", [operation for operation in GUARDED if "{id}" in operation[1]], ids=named)
def test_every_answer_about_an_existing_notification_is_declared_and_fits(
    operation: Operation, urls: dict[str, str], send: Send, keys: Keys, nightly: bool
) -> None:
    answer = requests.post(
        f"{urls['intake']}/v1/notifications", json=mail(), headers={"authorization": f"Bearer {keys.both}"}, timeout=60
    )
    assert answer.status_code == 202

    def check(case: Any) -> None:
        case.path_parameters["id"] = answer.json()["id"]
        found = send(operation[0], case, keys.both)
        assert found.status_code in ANSWERS.get(operation[1], {200})
        validate(case, found)

    for_each_case(operation, "positive", check, examples=NIGHTLY if nightly else EXAMPLES)


@pytest.mark.parametrize(("operation", "mode"), [one for one in MODES if one[0] in GUARDED], ids=named)
def test_every_request_without_a_key_gets_401(operation: Operation, mode: str, send: Send, nightly: bool) -> None:
    def check(case: Any) -> None:
        case.headers = {name: value for name, value in case.headers.items() if name.lower() != "authorization"}
        answer = send(operation[0], case, None)
        validate(case, answer)
        assert answer.status_code == 401

    for_each_case(operation, mode, check, examples=KEYLESS_NIGHTLY if nightly else KEYLESS)
