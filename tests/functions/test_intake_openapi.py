"""The OpenAPI document: valid, complete, and true. That each answer fits it is checked wherever the intake answers."""

import json
from typing import Any

import pytest
from openapi_spec_validator import OpenAPIV31SpecValidator

from functions.intake.openapi import document
from tests.functions.declared import Declared
from tests.functions.served import Caller, mail, push, sms

HTTP = {"get", "post", "put", "patch", "delete"}


def test_it_is_valid_openapi_3_1(intake: Caller) -> None:
    answer = intake("GET", "/openapi.json", key=None)
    assert answer.status == 200
    assert answer.body == json.loads(json.dumps(document()))
    assert list(OpenAPIV31SpecValidator(answer.body).iter_errors()) == []


def test_every_route_is_declared_and_every_declaration_is_a_route(intake: Caller) -> None:
    declared = {
        (method.upper(), path) for path, methods in document()["paths"].items() for method in methods if method in HTTP
    }
    assert declared == {(route.method, route.path) for route in intake.api.routes}


def test_only_open_routes_are_declared_without_a_key(intake: Caller) -> None:
    for route in intake.api.routes:
        operation = document()["paths"][route.path][route.method.lower()]
        assert (operation.get("security") == []) == (route.scope is None), route.path


def test_every_operation_has_a_name_of_its_own() -> None:
    names = [one["operationId"] for methods in document()["paths"].values() for one in methods.values()]
    assert len(names) == len(set(names))


def test_every_reference_leads_somewhere() -> None:
    schemas = document()["components"]["schemas"]

    def references(node: Any) -> list[str]:
        if isinstance(node, dict):
            here = [node["$ref"]] if isinstance(node.get("$ref"), str) else []
            return [*here, *(found for value in node.values() for found in references(value))]
        return [found for item in node for found in references(item)] if isinstance(node, list) else []

    found = references(document())
    assert found
    assert {reference.removeprefix("#/components/schemas/") for reference in found} <= set(schemas)


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
