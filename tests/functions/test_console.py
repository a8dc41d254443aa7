"""The console's files: how they are served, with which headers, and what they must not contain."""

import asyncio
import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest
from tidings.api.api_keys import ApiKeys
from tidings.api.app import App
from tidings.api.http import Request, Response
from tidings.api.operator.console_files import REGISTRY, TYPES, Console
from tidings.domain.channels import CHANNELS

from tests.functions.conftest import Imported

FOLDER = Path(__file__).parents[2] / "functions/replay/console"
MOST = 150_000  # bytes of all files together: it is to stay small
NAMESPACE = "http://www.w3.org/2000/svg"


def get(path: str, headers: Mapping[str, str] | None = None, *, folder: Path = FOLDER) -> Response:
    api = App(Console(folder).endpoints(), ApiKeys(keys=()))
    return asyncio.run(api.answer(Request(method="GET", path=path, headers=headers or {})))


def version() -> str:
    return Console(FOLDER).version


def sources(*suffixes: str) -> Iterator[tuple[str, str]]:
    for path in sorted(FOLDER.iterdir()):
        if path.suffix in suffixes:
            yield path.name, path.read_text(encoding="utf-8")


# --- what is answered -------------------------------------------------------------------------------------------------


def test_the_page_and_each_of_its_files_is_served_with_its_type() -> None:
    page = get("/console/")
    assert (page.status, page.headers["content-type"]) == (200, "text/html; charset=utf-8")
    linked = re.findall(r'(?:href|src)="([\w./-]+\.\w+)"', page.body.decode())
    assert {Path(link).name for link in linked} == {"app.js", "console.css", "icon.svg"}
    assert all(get(f"/console/{link}").status == 200 for link in linked)
    for path in FOLDER.iterdir():
        answer = get(f"/console/{version()}/{path.name}")
        assert (answer.status, answer.body) == (200, path.read_bytes())
        assert answer.headers["content-type"] == TYPES[path.suffix]


def test_it_knows_the_channels_and_their_examples_from_the_registry() -> None:
    answer = get(f"/console/{version()}/{REGISTRY}")
    assert answer.headers["content-type"] == TYPES[".js"]
    told = json.loads(answer.body.decode().removeprefix("export const CHANNELS = ").removesuffix(";\n"))
    assert told == {name: {"label": content.label, **content.example} for name, content in CHANNELS.items()}


@pytest.mark.parametrize("path", ["/", "/console"])
def test_the_redirect_to_the_console_works_behind_a_prefix(path: str) -> None:
    answer = get(path)
    assert answer.status == 308
    assert answer.headers["location"] == "console/"  # relative: a browser keeps what lies in front


@pytest.mark.parametrize(
    "path", ["/", "/console", "/console/", "/console/{}/app.js", "/console/{}/console.css", "/console/{}/none.js"]
)
def test_every_answer_forbids_all_but_what_the_console_needs(path: str) -> None:
    headers = get(path.format(version())).headers
    policy = dict(part.strip().split(" ", 1) for part in headers["content-security-policy"].split(";"))
    assert policy == {
        "default-src": "'none'",
        "script-src": "'self'",
        "style-src": "'self'",
        "img-src": "'self'",
        "connect-src": "'self'",
        "base-uri": "'none'",
        "form-action": "'none'",
        "frame-ancestors": "'none'",
        "require-trusted-types-for": "'script'",
        "trusted-types": "'none'",
    }
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["referrer-policy"] == "no-referrer"
    assert headers["cross-origin-opener-policy"] == "same-origin"


@pytest.mark.parametrize(
    "name",
    [
        "../routes.py",
        "..%2froutes.py",
        "%2e%2e/routes.py",
        "..",
        ".",
        "",
        "/etc/passwd",
        "app.js/",
        "app.js\x00",
        "console/app.js",
        "APP.JS",
        "none.js",
    ],
)
def test_nothing_but_the_folders_own_files_is_served(name: str) -> None:
    answer = get(f"/console/{version()}/{name}")
    assert answer.status == 404
    assert b"class OperatorEndpoints" not in answer.body


def test_files_of_unknown_types_are_not_served(tmp_path: Path) -> None:
    for name in ("notes.txt", "secret.py", ".hidden.js", "app.js"):
        (tmp_path / name).write_text("x")
    served = [
        name
        for name in ("notes.txt", "secret.py", ".hidden.js", "app.js")
        if get(f"/console/x/{name}", folder=tmp_path).status == 200
    ]
    assert served == ["app.js"]


def test_a_browser_keeps_the_files_of_a_release_and_asks_for_the_page_each_time(tmp_path: Path) -> None:
    for name in ("index.html", "app.js"):
        (tmp_path / name).write_text(f'<script src="app.js"></script> {name}')
    old = Console(tmp_path).version
    assert get("/console/", folder=tmp_path).headers["cache-control"] == "no-cache"
    kept = get(f"/console/{old}/app.js", folder=tmp_path)
    assert kept.headers["cache-control"] == "public, max-age=31536000, immutable"
    (tmp_path / "app.js").write_text("changed")
    new = Console(tmp_path).version
    assert new != old
    assert f'src="{new}/app.js"' in get("/console/", folder=tmp_path).body.decode()
    during_an_update = get(f"/console/{old}/app.js", folder=tmp_path)
    assert (during_an_update.body, during_an_update.headers["cache-control"]) == (b"changed", "no-cache")
    assert get(f"/console/{new}/none.js", folder=tmp_path).headers["cache-control"] == "no-cache"


def test_the_replay_function_serves_it_without_a_key_also_behind_a_gateways_stage(imported: Imported) -> None:
    main = imported("replay")
    event = {
        "requestContext": {"http": {"method": "GET", "path": "/prod/console/"}, "stage": "prod"},
        "rawPath": "/prod/console/",
    }
    answer = main.handler(event, None)
    assert (answer["statusCode"], answer["headers"]["content-type"]) == (200, "text/html; charset=utf-8")
    closed = main.handler({**event, "rawPath": "/prod/v1/dead-letters"}, None)
    assert closed["statusCode"] == 401


# --- what stands in them ----------------------------------------------------------------------------------------------


def test_the_console_asks_no_other_server() -> None:
    for name, text in sources(".html", ".css", ".js", ".svg"):
        rest = text.replace(NAMESPACE, "")
        assert not re.search(r"https?:|wss?://|[\"'(]//|@import|url\((?!#)", rest), name


def test_the_page_has_no_script_or_style_of_its_own() -> None:
    page = (FOLDER / "index.html").read_text(encoding="utf-8")
    assert not re.search(r"\son\w+\s*=|\sstyle\s*=|javascript:|<style|<script(?![^>]*\ssrc=)", page, re.IGNORECASE)


def test_text_never_becomes_markup_and_the_key_lies_in_the_tab_alone() -> None:
    unsafe = (
        r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|DOMParser|srcdoc|setHTML|\beval\b|new Function"
        r"|localStorage|indexedDB|document\.cookie"
    )
    for name, text in sources(".js"):
        assert not re.search(unsafe, text), name


def test_every_linked_file_exists_and_every_file_is_linked() -> None:
    named = {"index.html"}
    for _, text in sources(".html", ".js"):
        named.update(re.findall(r'(?:href|src)="([\w.-]+\.\w+)"', text))
        named.update(re.findall(r'from "\./([\w.-]+)"', text))
    assert named == {path.name for path in FOLDER.iterdir()} | {REGISTRY}


def test_the_console_stays_small() -> None:
    assert sum(path.stat().st_size for path in FOLDER.iterdir()) < MOST
