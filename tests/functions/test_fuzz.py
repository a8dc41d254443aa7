"""Whatever is sent, an answer is one that the OpenAPI document declares: schemathesis against a real intake process."""

from collections.abc import Callable, Iterator
from typing import Any

import pytest
import requests
import schemathesis
from hypothesis import HealthCheck, given, settings
from schemathesis import GenerationMode
from schemathesis.checks import CHECKS, load_all_checks
from schemathesis.core.result import Ok
from tidings.adapters.database import DatabaseSettings
from tidings.migrate import migrate

from functions.intake.openapi import document
from tests.functions.served import ROOT, Keys, mail, process

EXAMPLES = 60  # an operation, a kind of data
load_all_checks()
TRUE = [
    CHECKS.get_one(name)
    for name in (
        "not_a_server_error",
        "status_code_conformance",
        "content_type_conformance",
        "response_headers_conformance",
        "response_schema_conformance",
    )
]
OPERATIONS = {
    found.ok().label: found.ok()
    for found in schemathesis.openapi.from_dict(document()).get_all_operations()
    if isinstance(found, Ok)
}
GUARDED = [label for label in OPERATIONS if " /v1/" in label]
MODES = [
    *((label, GenerationMode.POSITIVE) for label in OPERATIONS),
    # Where nothing is sent but a path, nothing can be wrong.
    *((label, GenerationMode.NEGATIVE) for label, operation in OPERATIONS.items() if operation.body or operation.query),
]

Send = Callable[[Any, str | None], requests.Response]


@pytest.fixture(scope="module")
def url(keys: Keys, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """An intake's; at its end, its log tells of no fault."""
    folder = tmp_path_factory.mktemp("fuzz")
    database_url = f"sqlite:///{folder}/tidings.db"
    migrate(DatabaseSettings(database_url=database_url), ROOT / "infra/migrations")
    settings = {"TIDINGS_DATABASE_URL": database_url, "TIDINGS_BROKER_URL": "", "TIDINGS_API_KEYS": keys.setting}
    with process("intake", settings, folder) as running:
        yield running.url
    log = running.log.read_text()
    assert '"fault"' not in log, log
    assert "Traceback" not in log, log


@pytest.fixture(scope="module")
def send(url: str) -> Iterator[Send]:
    with requests.Session() as session:

        def sent(case: Any, key: str | None) -> requests.Response:
            headers = {"authorization": f"Bearer {key}"} if key is not None else {}
            made: requests.Response = case.call(base_url=url, session=session, headers=headers, timeout=10)
            return made

        yield sent


def for_each_case(label: str, mode: GenerationMode, check: Callable[[Any], None]) -> None:
    @settings(max_examples=EXAMPLES, deadline=None, suppress_health_check=list(HealthCheck), database=None)
    @given(case=OPERATIONS[label].as_strategy(generation_mode=mode))
    def run(case: Any) -> None:
        check(case)

    run()


@pytest.mark.parametrize(("label", "mode"), MODES)
def test_every_answer_is_declared_and_fits(label: str, mode: GenerationMode, send: Send, keys: Keys) -> None:
    def check(case: Any) -> None:
        case.validate_response(send(case, keys.send), checks=TRUE)

    for_each_case(label, mode, check)


@pytest.mark.parametrize("label", [label for label in GUARDED if "{id}" in label])
def test_an_answer_about_a_row_that_is_there_is_declared_and_fits(label: str, url: str, send: Send, keys: Keys) -> None:
    answer = requests.post(
        f"{url}/v1/notifications", json=mail(), headers={"authorization": f"Bearer {keys.send}"}, timeout=10
    )
    assert answer.status_code == 202

    def check(case: Any) -> None:
        case.path_parameters["id"] = answer.json()["id"]
        found = send(case, keys.send)
        assert found.status_code == 200
        case.validate_response(found, checks=TRUE)

    for_each_case(label, GenerationMode.POSITIVE, check)


@pytest.mark.parametrize(("label", "mode"), [(label, mode) for label, mode in MODES if label in GUARDED])
def test_without_a_key_nothing_is_answered_but_401(label: str, mode: GenerationMode, send: Send) -> None:
    def check(case: Any) -> None:
        case.headers = {name: value for name, value in case.headers.items() if name.lower() != "authorization"}
        answer = send(case, None)
        case.validate_response(answer, checks=TRUE)
        assert answer.status_code == 401

    for_each_case(label, mode, check)
