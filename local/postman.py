"""A Postman collection (v2.1) of both APIs, made from their documents: `python -m local.postman > docs/postman.json`.

https://schema.postman.com/collection/json/v2.1.0/draft-07/docs/index.html
"""

import json
import re
import sys
from collections.abc import Iterator, Mapping
from http import HTTPStatus
from typing import Any

from tidings.api import intake
from tidings.api.endpoint import EXAMPLE_ID, Tag
from tidings.api.operator import endpoints as operator

SCHEMA = "https://schema.getpostman.com/json/collection/v2.1.0/collection.json"
VARIABLES = {"url": "http://127.0.0.1:8080", "ops_url": "http://127.0.0.1:8081", "api_key": "", "id": "", "webhook": ""}
KEEP_ID = [
    "const answer = pm.response.json();",
    'if (answer.id) pm.collectionVariables.set("id", answer.id);',
]
"""Run after a notification is accepted: the other requests use its id."""
KEEP_WEBHOOK = ['pm.collectionVariables.set("webhook", pm.response.json().id);']
SCRIPTS = {"send": KEEP_ID, "create_webhook": KEEP_WEBHOOK}
Json = dict[str, Any]


def collection() -> Json:
    """A folder for each function, in it a folder for each tag, with the examples as saved answers."""
    return {
        "info": {
            "name": "Tidings",
            "description": "Made from the OpenAPI documents. Set url, ops_url and api_key: `.tidings/env` has them. "
            "The first request of each folder sets id, which the others use.",
            "schema": SCHEMA,
        },
        "auth": {"type": "bearer", "bearer": [{"key": "token", "value": "{{api_key}}", "type": "string"}]},
        "variable": [{"key": name, "value": value, "type": "string"} for name, value in VARIABLES.items()],
        "item": [_function(intake.document(), "url"), _function(operator.document(), "ops_url")],
    }


def _function(document: Mapping[str, Any], variable: str) -> Json:
    # The request that submits comes first: it sets the id that the others need.
    folders: dict[str, list[Json]] = {Tag.NOTIFICATIONS: [], **{tag["name"]: [] for tag in document["tags"]}}
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            if answers := list(_json_answers(operation)):
                folders[operation["tags"][0]].append(_item(method, path, operation, answers, variable))
    folders[Tag.NOTIFICATIONS].sort(key=lambda item: "event" not in item)
    items = [{"name": name, "item": inside} for name, inside in folders.items()]
    return {"name": document["info"]["title"], "description": document["info"]["description"], "item": items}


def _json_answers(operation: Mapping[str, Any]) -> Iterator[tuple[int, str, str, Any]]:
    """Status, name, kind and value of each example."""
    for status, answer in operation["responses"].items():
        for kind, media in answer["content"].items():
            if kind.endswith("json") or int(status) >= HTTPStatus.BAD_REQUEST:
                for name, example in media["examples"].items():
                    yield int(status), f"{status} {name}", kind, example["value"]
            else:
                return  # a page for browsers


def _item(
    method: str, path: str, operation: Mapping[str, Any], answers: list[tuple[int, str, str, Any]], variable: str
) -> Json:
    request = _request(method, path, operation, variable)
    return {
        "name": operation["summary"],
        "request": request,
        **({"event": [_script(SCRIPTS[name])]} if (name := str(operation["operationId"])) in SCRIPTS else {}),
        "response": [
            {
                "name": name,
                "originalRequest": request,
                "code": status,
                "status": HTTPStatus(status).phrase,
                "_postman_previewlanguage": "json",
                "header": [{"key": "Content-Type", "value": kind}],
                "cookie": [],
                "body": _text(value),
            }
            for status, name, kind, value in answers
        ],
    }


def _script(lines: list[str]) -> Json:
    return {"listen": "test", "script": {"type": "text/javascript", "exec": lines}}


def _request(method: str, path: str, operation: Mapping[str, Any], variable: str) -> Json:
    parameters = operation.get("parameters", [])
    made: Json = {
        "method": method.upper(),
        "description": operation.get("description", operation["summary"]),
        "header": [_header(one) for one in parameters if one["in"] == "header"],
        "url": _url(path, parameters, variable),
    }
    if operation.get("security") == []:
        made["auth"] = {"type": "noauth"}
    if "requestBody" in operation:
        kind, media = next(iter(operation["requestBody"]["content"].items()))
        first = next(iter(media["examples"].values()))["value"]
        made["header"].append({"key": "Content-Type", "value": kind})
        made["body"] = {
            "mode": "raw",
            "raw": _text(first).replace(EXAMPLE_ID, "{{id}}"),
            "options": {"raw": {"language": "text" if isinstance(first, str) else "json"}},
        }
    return made


def _header(parameter: Mapping[str, Any]) -> Json:
    """A new Idempotency-Key for each click: each click submits a notification."""
    return {"key": parameter["name"], "value": "{{$guid}}", "description": parameter["description"]}


def _url(path: str, parameters: list[Mapping[str, Any]], variable: str) -> Json:
    steps = [re.sub(r"^{(\w+)}$", r":\1", step) for step in path.strip("/").split("/")]
    query = [
        {"key": one["name"], "value": "", "description": one["description"], "disabled": True}
        for one in parameters
        if one["in"] == "query"
    ]
    named = [{"key": one["name"], "value": _named(one)} for one in parameters if one["in"] == "path"]
    return {
        "raw": f"{{{{{variable}}}}}/{'/'.join(steps)}",
        "host": [f"{{{{{variable}}}}}"],
        "path": steps,
        **({"query": query} if query else {}),
        **({"variable": named} if named else {}),
    }


def _named(parameter: Mapping[str, Any]) -> str:
    variable = "webhook" if parameter["name"] == "webhook" else "id"
    return str(parameter["example"]).replace(EXAMPLE_ID, f"{{{{{variable}}}}}")


def _text(value: object) -> str:
    """Text that is no JSON stays as it is."""
    return value if isinstance(value, str) else json.dumps(value, indent=2, ensure_ascii=False)


def text() -> str:
    """The file's text, with one line for each request, so that diffs are small."""
    return f"{_lines(collection())}\n"


def _lines(node: Json) -> str:
    head = json.dumps({name: value for name, value in node.items() if name != "item"}, ensure_ascii=False)
    if "item" not in node:
        return head
    inside = ",\n".join(map(_lines, node["item"]))
    return f'{head[:-1]}, "item": [\n{inside}\n]}}'


if __name__ == "__main__":
    sys.stdout.write(text())
