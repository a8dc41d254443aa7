"""The Postman collection matches the documents, and newman, Postman's own runner, runs it."""

import json
import re
import subprocess
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from local.postman import VARIABLES, text
from tests.functions.served import ROOT, Caller, Keys, process
from tests.newman.installed import NotInstalled, newman_or_skip

FILE = ROOT / "docs/postman.json"
WRITTEN = json.loads(FILE.read_text(encoding="utf-8"))


def requests(items: list[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    for item in items:
        yield from requests(item["item"]) if "item" in item else [item]


def test_the_collection_matches_the_documents() -> None:
    assert FILE.read_text(encoding="utf-8") == text(), "run: python -m local.postman > docs/postman.json"


def test_the_collection_uses_only_its_own_variables() -> None:
    assert {one["key"]: one["value"] for one in WRITTEN["variable"]} == VARIABLES
    used = set(re.findall(r"{{([^}]+)}}", FILE.read_text(encoding="utf-8")))
    assert used == {*VARIABLES, "$guid"}
    assert "tdg_" not in json.dumps([item["request"] for item in requests(WRITTEN["item"])]), "no key is written down"


@pytest.mark.parametrize("place", [0, 1], ids=["intake", "replay"])
def test_every_endpoint_is_in_the_collection(place: int, intake: Caller, replay: Caller) -> None:
    endpoints = (intake, replay)[place].api.endpoints
    seen = {
        (item["request"]["method"], "/".join(["", *item["request"]["url"]["path"]]))
        for item in requests([WRITTEN["item"][place]])
    }
    pages = {"/docs", "/docs/{asset}"}
    assert seen == {
        (endpoint.method, re.sub(r"{(\w+)}", r":\1", endpoint.path))
        for endpoint in endpoints
        if endpoint.path not in pages
    }


# --- a run ------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Ran:
    """One request of a run, and its answer."""

    name: str
    status: int
    body: Any
    sent: Mapping[str, str]


def run(folder: str, variables: Mapping[str, str], report: Path) -> list[Ran]:
    given = [word for name, value in variables.items() for word in ("--env-var", f"{name}={value}")]
    command = [*newman_or_skip(), "run", str(FILE), "--folder", folder, *given, "--reporters", "json"]
    options = ["--reporter-json-export", str(report), "--timeout-request", "30000"]
    done = subprocess.run([*command, *options], capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    found = json.loads(report.read_text(encoding="utf-8"))["run"]
    assert found["failures"] == []
    return [_ran(one) for one in found["executions"]]


def _ran(one: dict[str, Any]) -> Ran:
    headers = {header["key"].lower(): header["value"] for header in one["request"]["header"]}
    body = bytes(one["response"]["stream"]["data"])
    kinds = [header["value"] for header in one["response"]["header"] if header["key"].lower() == "content-type"]
    is_json = bool(body) and not kinds[0].startswith("application/x-ndjson")
    return Ran(one["item"]["name"], one["response"]["code"], json.loads(body) if is_json else None, headers)


@pytest.mark.nightly  # its packages alone take a quarter of a minute; by day, the collection is compared with the API
@pytest.mark.parametrize("place", [0, 1], ids=["intake", "replay"])
def test_newman_runs_each_folder_and_looks_up_what_it_submitted(
    place: int, settings: dict[str, str], keys: Keys, tmp_path: Path
) -> None:
    """Each folder alone, in order. No request gets a 404, and each status is one that the collection shows."""
    function, variable, folder = ("intake", "replay")[place], ("url", "ops_url")[place], WRITTEN["item"][place]
    with process(function, settings, tmp_path) as ask:
        ran = run(folder["name"], {variable: ask.url, "api_key": keys.both}, tmp_path / "report.json")
    items = [*requests([folder])]
    assert [one.name for one in ran] == [item["name"] for item in items]
    sent = ""
    for one, item in zip(ran, items, strict=True):
        # 409: it is too late to cancel it, or there is nothing to decide about it.
        assert one.status in (200, 202, 409), f"{one.name}: {one}"
        assert one.status in {answer["code"] for answer in item["response"]}, one.name
        assert "{{" not in json.dumps(dict(one.sent)), one.name
        if one.status == 202:
            sent = sent or one.body["id"]
        if one.name.startswith("Look one up"):
            assert one.body["id"] == sent
        if one.name.startswith("Count these"):
            assert one.body["total"] == 1


@pytest.mark.parametrize(("ci", "raised"), [("true", NotInstalled), ("", pytest.skip.Exception)])
def test_a_failed_newman_install_says_what_to_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ci: str, raised: type[BaseException]
) -> None:
    """Outside of CI the test is skipped."""
    monkeypatch.setenv("CI", ci)
    monkeypatch.setenv("PIP_INDEX_URL", "http://127.0.0.1:9/simple")
    for name in ("PIP_EXTRA_INDEX_URL", "PIP_FIND_LINKS"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("PIP_CONFIG_FILE", "/dev/null")
    monkeypatch.setenv("PIP_RETRIES", "0")
    monkeypatch.setenv("PIP_NO_CACHE_DIR", "1")
    with pytest.raises(raised, match=r"`pip install` failed: .* registry\.npmjs\.org .* must be reachable"):
        newman_or_skip(tmp_path / "newman")
