"""The document of each API is valid and complete, with an example of every body and error."""

import json
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import pytest
from openapi_spec_validator import OpenAPIV31SpecValidator
from tidings.api import intake as intake_api
from tidings.api.operator import endpoints as operator_api

from tests.functions.conftest import Imported
from tests.functions.declared import HTTP, Declared
from tests.functions.served import Caller

DOCUMENTS = {"intake": intake_api.document, "replay": operator_api.document}
Media = tuple[str, str, str, str, str, dict[str, Any]]


@pytest.fixture(params=DOCUMENTS)
def name(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def document(name: str) -> dict[str, Any]:
    return DOCUMENTS[name]()


@pytest.fixture
def caller(name: str, request: pytest.FixtureRequest) -> Caller:
    found: Caller = request.getfixturevalue(name)
    return found


def operations(document: dict[str, Any]) -> Iterator[tuple[str, str, dict[str, Any]]]:
    for path, methods in document["paths"].items():
        for method in sorted(HTTP & set(methods)):
            yield path, method, methods[method]


def bodies(document: dict[str, Any]) -> Iterator[Media]:
    """Of every request and answer: part, path, method, status, kind, and its declaration."""
    for path, method, operation in operations(document):
        for kind, media in operation.get("requestBody", {}).get("content", {}).items():
            yield "requestBody", path, method, "", kind, media
        for status, answer in operation["responses"].items():
            for kind, media in answer["content"].items():
                yield "responses", path, method, status, kind, media


def test_the_served_document_is_valid_openapi_3_1(caller: Caller, document: dict[str, Any]) -> None:
    answer = caller("GET", "/openapi.json", key=None)
    assert answer.status == 200
    assert answer.body == json.loads(json.dumps(document))
    assert list(OpenAPIV31SpecValidator(answer.body).iter_errors()) == []


def test_the_document_meets_redoclys_recommended_rules_that_it_once_broke(document: dict[str, Any]) -> None:
    """To check all rules: `npx @redocly/cli lint --extends recommended` (needs Node and the network)."""
    assert [server["url"] for server in document["servers"] if server["url"].endswith("/")] == []
    assert document["info"]["license"] == {"name": "Apache-2.0", "identifier": "Apache-2.0"}
    assert [tag["name"] for tag in document["tags"] if not tag.get("description")] == []


def test_every_bound_endpoint_is_in_the_document_and_every_documented_endpoint_is_bound(
    name: str, document: dict[str, Any], imported: Imported, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In the function as it is deployed. Only the metrics and the console's files are not documented."""
    monkeypatch.setenv("TIDINGS_METRICS", "prometheus")
    bound = imported(name).function.app.endpoints
    names = [(endpoint.method, endpoint.path) for endpoint in bound]
    assert len(names) == len(set(names))
    documented = {(method.upper(), path) for path, method, _ in operations(document)}
    assert documented <= set(names)
    undocumented = {path for _, path in set(names) - documented}
    assert undocumented == {
        "/metrics",
        *({"/", "/console", "/console/", "/console/{version}/{file}"} if name == "replay" else ()),
    }


def test_only_open_endpoints_are_declared_without_a_key(caller: Caller, document: dict[str, Any]) -> None:
    for endpoint in caller.api.endpoints:
        operation = document["paths"][endpoint.path][endpoint.method.lower()]
        assert (operation.get("security") == []) == (endpoint.scope is None), endpoint.path
        assert endpoint.scope is None or f"`{endpoint.scope}`" in operation["description"], endpoint.path


def test_every_operation_id_is_unique(document: dict[str, Any]) -> None:
    names = [operation["operationId"] for _, _, operation in operations(document)]
    assert len(names) == len(set(names))


def test_a_cold_start_does_not_import_the_openapi_module() -> None:
    script = (
        "import sys, tidings.api.intake, tidings.api.operator.endpoints; print('tidings.api.openapi' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.strip() == "False"


def test_every_endpoint_declares_the_errors_that_follow_from_its_declaration(document: dict[str, Any]) -> None:
    for path, method, operation in operations(document):
        wanted = {"405", "500"} | ({"401", "403", "503"} if operation.get("security") != [] else set())
        wanted |= {"400", "413", "415"} if method == "post" else set()
        wanted |= {"404"} if "{" in path else set()
        wanted |= {"422"} if any(one["in"] == "query" for one in operation.get("parameters", ())) else set()
        assert wanted <= set(operation["responses"]), f"{method} {path}"


def test_every_body_and_every_error_has_an_example_that_fits_it(document: dict[str, Any]) -> None:
    declared, seen = Declared(document), 0
    for part, path, method, status, kind, media in bodies(document):
        where = f"{part} of {method} {path} {status} {kind}"
        assert media.get("examples"), f"no example: {where}"
        for example in media["examples"].values():
            declared._validator(part, path, method, status, kind).validate(example["value"])
            if kind == "application/problem+json":
                assert str(example["value"]["status"]) == status, where
            seen += 1
    assert seen > 40


def test_every_parameter_in_a_path_has_an_example(document: dict[str, Any]) -> None:
    for path, _, operation in operations(document):
        in_path = [one for one in operation.get("parameters", ()) if one["in"] == "path"]
        assert path.count("{") == len(in_path)
        assert all("example" in one for one in in_path), path


def test_every_reference_leads_somewhere(document: dict[str, Any]) -> None:
    def references(node: Any) -> list[str]:
        if isinstance(node, dict):
            here = [node["$ref"]] if isinstance(node.get("$ref"), str) else []
            return [*here, *(found for value in node.values() for found in references(value))]
        return [found for item in node for found in references(item)] if isinstance(node, list) else []

    found = {reference.removeprefix("#/components/schemas/") for reference in references(document)}
    assert found
    assert found <= set(document["components"]["schemas"])
