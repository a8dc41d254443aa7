"""The Postman collection is in step with the documents, has the format's shape, and its requests work."""

import json
import re
from collections.abc import Iterator
from typing import Any

import pytest
from jsonschema import Draft202012Validator  # type: ignore[import-untyped]

from local.postman import VARIABLES, text
from tests.functions.served import ROOT, Answer, Caller, Keys

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
EVENT = {
    "type": "object",
    "required": ["listen", "script"],
    "properties": {
        "listen": {"const": "test"},
        "script": {
            "type": "object",
            "required": ["type", "exec"],
            "properties": {
                "type": {"const": "text/javascript"},
                "exec": {"type": "array", "items": {"type": "string"}},
            },
        },
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
                    "event": {"type": "array", "items": EVENT},
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


class Runner:
    """Runs requests in the collection's order as Postman does: it fills in variables and keeps what a script sets.

    Postman's own runner, newman, needs Node and npm's registry, which a run of the tests is not to depend on. What the
    collection uses of the scripts' language is one sentence, which this reads; any other fails.
    """

    def __init__(self, key: str) -> None:
        self.variables = {**VARIABLES, "api_key": key, "$guid": "a"}

    def run(self, caller: Caller, item: dict[str, Any]) -> Answer:
        request = item["request"]
        path = "/".join(["", *request["url"]["path"]])
        for variable in request["url"].get("variable", ()):
            path = path.replace(f":{variable['key']}", self._filled(variable["value"]))
        headers = {header["key"].lower(): self._filled(header["value"]) for header in request["header"]}
        body = self._filled(request["body"]["raw"]).encode() if "body" in request else None
        key = None if request.get("auth") == {"type": "noauth"} else self.variables["api_key"]
        answer = caller(request["method"], path, body, key=key, headers=headers)
        for event in item.get("event", ()):
            self._obey("\n".join(event["script"]["exec"]), answer)
        return answer

    def _filled(self, text: str) -> str:
        self.variables["$guid"] += "a"  # a new one each time
        return re.sub(r"{{([^}]+)}}", lambda found: self.variables[found[1]], text)

    def _obey(self, script: str, answer: Answer) -> None:
        said = re.fullmatch(
            r"const answer = pm\.response\.json\(\);\n"
            r'if \(answer\.(\w+)\) pm\.collectionVariables\.set\("(\w+)", answer\.\1\);',
            script,
        )
        assert said is not None, script
        self.variables[said[2]] = answer.body[said[1]]


@pytest.mark.parametrize("place", [0, 1], ids=["intake", "replay"])
def test_every_route_is_in_it_and_a_run_from_the_top_finds_what_it_has_sent(
    place: int, intake: Caller, replay: Caller, keys: Keys
) -> None:
    """Each folder alone: none of its requests is a 404."""
    caller, runner, seen = (intake, replay)[place], Runner(keys.both), set()
    for item in requests([WRITTEN["item"][place]]):
        seen.add((item["request"]["method"], "/".join(["", *item["request"]["url"]["path"]])))
        answer = runner.run(caller, item)
        # 409: it is too late to cancel it, or there is nothing to decide about it.
        assert answer.status in (200, 202, 409), f"{item['name']}: {answer}"
        assert answer.status in {response["code"] for response in item["response"]}, item["name"]
        if item["name"].startswith("Look one up"):
            assert answer.body["id"] == runner.variables["id"]
        if item["name"].startswith("Count these"):
            assert answer.body["total"] == 1
    pages = {"/docs", "/docs/{asset}"}
    routes = {
        (route.method, re.sub(r"{(\w+)}", r":\1", route.path)) for route in caller.api.routes if route.path not in pages
    }
    assert seen == routes
