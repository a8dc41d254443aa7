"""The Postman collection is in step with the documents, has the format's shape, and its requests work."""

import json
import re
from collections.abc import Iterator
from typing import Any

import pytest
from jsonschema import Draft202012Validator  # type: ignore[import-untyped]

from local.postman import VARIABLES, text
from tests.functions.served import ROOT, Caller, Keys

FILE = ROOT / "docs/postman.json"
WRITTEN = json.loads(FILE.read_text(encoding="utf-8"))

PAIR = {
    "type": "object",
    "required": ["key", "value"],
    "properties": {"key": {"type": "string"}, "value": {"type": "string"}, "disabled": {"type": "boolean"}},
}
PAIRS = {"type": "array", "items": PAIR}
AUTH = {"type": "object", "required": ["type"], "properties": {"type": {"enum": ["bearer", "noauth"]}, "bearer": PAIRS}}
REQUEST = {
    "type": "object",
    "required": ["method", "header", "url"],
    "properties": {
        "method": {"enum": ["GET", "POST"]},
        "header": PAIRS,
        "auth": AUTH,
        "url": {
            "type": "object",
            "required": ["raw", "host", "path"],
            "properties": {
                "raw": {"type": "string"},
                "host": {"type": "array", "items": {"type": "string"}},
                "path": {"type": "array", "items": {"type": "string"}},
                "query": PAIRS,
                "variable": PAIRS,
            },
        },
        "body": {
            "type": "object",
            "required": ["mode", "raw"],
            "properties": {"mode": {"const": "raw"}, "raw": {"type": "string"}},
        },
    },
    "additionalProperties": {"type": "string"},
}
RESPONSE = {
    "type": "object",
    "required": ["name", "originalRequest", "code", "status", "header", "body"],
    "properties": {
        "originalRequest": {"$ref": "#/$defs/request"},
        "code": {"type": "integer", "minimum": 200, "maximum": 599},
        "status": {"type": "string"},
        "header": PAIRS,
        "body": {"type": "string"},
    },
}
SHAPE = {
    # What this collection uses of https://schema.getpostman.com/json/collection/v2.1.0/collection.json
    "type": "object",
    "required": ["info", "item"],
    "properties": {
        "info": {
            "type": "object",
            "required": ["name", "schema"],
            "properties": {"schema": {"const": "https://schema.getpostman.com/json/collection/v2.1.0/collection.json"}},
        },
        "auth": AUTH,
        "variable": PAIRS,
        "item": {"$ref": "#/$defs/items"},
    },
    "additionalProperties": False,
    "$defs": {
        "request": REQUEST,
        "items": {
            "type": "array",
            "minItems": 1,
            "items": {
                "type": "object",
                "required": ["name"],
                "oneOf": [{"required": ["item"]}, {"required": ["request", "response"]}],
                "properties": {
                    "name": {"type": "string", "minLength": 1},
                    "description": {"type": "string"},
                    "item": {"$ref": "#/$defs/items"},
                    "request": {"$ref": "#/$defs/request"},
                    "response": {"type": "array", "minItems": 1, "items": RESPONSE},
                },
                "additionalProperties": False,
            },
        },
    },
}


def requests(items: list[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    for item in items:
        yield from requests(item["item"]) if "item" in item else [item]


def test_it_is_in_step_with_the_documents() -> None:
    assert FILE.read_text(encoding="utf-8") == text(), "run: python -m local.postman > docs/postman.json"


def test_it_has_the_shape_of_the_format() -> None:
    Draft202012Validator.check_schema(SHAPE)
    Draft202012Validator(SHAPE).validate(WRITTEN)


def test_it_has_its_variables_and_uses_no_other() -> None:
    assert {one["key"]: one["value"] for one in WRITTEN["variable"]} == VARIABLES
    used = set(re.findall(r"{{([^}]+)}}", FILE.read_text(encoding="utf-8")))
    assert used == {*VARIABLES, "$guid"}
    assert "tdg_" not in json.dumps([item["request"] for item in requests(WRITTEN["item"])]), "no key is written down"


@pytest.mark.parametrize("place", [0, 1], ids=["intake", "replay"])
def test_every_route_is_in_it_and_every_request_is_understood(
    place: int, intake: Caller, replay: Caller, keys: Keys
) -> None:
    caller, seen = (intake, replay)[place], set()
    for item in requests([WRITTEN["item"][place]]):
        request = item["request"]
        path = "/".join(["", *request["url"]["path"]])
        seen.add((request["method"], path))
        for variable in request["url"].get("variable", ()):
            path = path.replace(f":{variable['key']}", variable["value"])
        headers = {header["key"].lower(): header["value"] for header in request["header"]}
        body = request["body"]["raw"].encode() if "body" in request else None
        key = None if request.get("auth") == {"type": "noauth"} else keys.both
        answer = caller(request["method"], path, body, key=key, headers=headers)
        assert answer.status in (200, 202, 404), f"{item['name']}: {answer}"
        assert answer.status != 404 or answer.body["title"] == "No such notification", item["name"]
        assert {answer.status} <= {response["code"] for response in item["response"]}
    pages = {"/docs", "/docs/{asset}"}
    routes = {
        (route.method, re.sub(r"{(\w+)}", r":\1", route.path)) for route in caller.api.routes if route.path not in pages
    }
    assert seen == routes
