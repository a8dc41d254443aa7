"""The intake's OpenAPI document describes what it accepts. Each answer in the other tests is checked against it."""

from typing import Any

import pytest
from tidings.api.intake import document
from tidings.domain.channels import CHANNELS

from tests.functions.declared import Declared
from tests.functions.served import Caller, mail, push, sms


def test_every_example_of_a_request_is_accepted(intake: Caller, declared: Declared) -> None:
    examples = document()["paths"]["/v1/notifications"]["post"]["requestBody"]["content"]["application/json"][
        "examples"
    ]
    assert {*CHANNELS, "an array"} <= set(examples)
    for example in examples.values():
        assert intake("POST", "/v1/notifications", example["value"]).status == 202


@pytest.mark.parametrize("body", [mail(), sms(), push(), [mail(), sms(), push()]])
def test_what_the_document_allows_is_accepted(intake: Caller, declared: Declared, body: Any) -> None:
    validator = declared._validator("requestBody", "/v1/notifications", "post", "", "application/json")
    validator.validate(body)
    assert intake("POST", "/v1/notifications", body).status == 202


@pytest.mark.parametrize(
    "body",
    [
        {"channel": "fax"},
        sms(colour="red"),
        sms(recipient=7),
        sms(max_attempts=21),
        sms(metadata={"a": 1}),
        mail(content={"text": "x"}),
        mail(content={"subject": "x", "text": "x", "from_": "a@example.com"}),
        push(recipient={"token": 1}),
        [],
        [sms()] * 1001,
    ],
    ids=lambda body: str(body)[:40],
)
def test_what_the_document_forbids_is_refused(intake: Caller, declared: Declared, body: Any) -> None:
    validator = declared._validator("requestBody", "/v1/notifications", "post", "", "application/json")
    assert not validator.is_valid(body)
    assert intake("POST", "/v1/notifications", body).status == 422
