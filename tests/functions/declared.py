"""Checks an answer against the OpenAPI document."""

import json
import re
from functools import cache
from typing import Any

from jsonschema import Draft202012Validator, FormatChecker  # type: ignore[import-untyped]
from tidings.api.http import Request, Response

HTTP = {"get", "post", "put", "patch", "delete"}


class Declared:
    """A document, and the answers seen so far."""

    def __init__(self, document: dict[str, Any]) -> None:
        self.document = document
        self.seen: set[tuple[str, str, str]] = set()
        self._validator = cache(self._made)

    def path_of(self, path: str) -> str | None:
        """The path's template."""
        for template in self.document["paths"]:
            pattern = "".join(
                "[^/]+" if part[:1] == "{" else re.escape(part) for part in re.split(r"({\w+})", template)
            )
            if re.fullmatch(pattern, path):
                return str(template)
        return None

    def check(self, request: Request, response: Response) -> None:
        """Fail unless the answer is declared and valid, and an accepted request is valid too."""
        path, method, status = self.path_of(request.path), request.method.lower(), str(response.status)
        if path is None:
            assert status == "404", f"{request.path} is not declared"
            return
        if method not in self.document["paths"][path]:
            assert status == "405", f"{request.method} {path} is not declared"
            return
        responses = self.document["paths"][path][method]["responses"]
        assert status in responses, f"{status} is not declared for {request.method} {path}: {response.body[:300]!r}"
        kind = response.headers["content-type"].partition(";")[0]
        assert kind in responses[status]["content"], f"{kind} is not declared for {status} of {request.method} {path}"
        if kind.endswith(("/json", "+json")):
            self._validator("responses", path, method, status, kind).validate(json.loads(response.body))
        self._check_headers(responses[status], response)
        # An array may be accepted in part; a long one is too slow to hold against a schema.
        if status == "202" and b'"error"' not in response.body and len(request.body) < 20_000:
            self._validator("requestBody", path, method, "", "application/json").validate(json.loads(request.body))
        self.seen.add((path, method, status))

    @staticmethod
    def _check_headers(declared: dict[str, Any], response: Response) -> None:
        known = {name.lower() for name in declared.get("headers", {})}
        shown = set(response.headers) - {"content-type"}
        assert shown <= known, f"headers that are not declared: {sorted(shown - known)}"

    def _made(self, part: str, path: str, method: str, status: str, kind: str) -> Any:
        operation = self.document["paths"][path][method]
        declared = operation[part][status] if status else operation[part]
        schema = {**declared["content"][kind]["schema"], "components": self.document["components"]}
        Draft202012Validator.check_schema(schema)
        return Draft202012Validator(schema, format_checker=FormatChecker())
