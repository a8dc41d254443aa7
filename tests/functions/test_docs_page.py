"""`/docs` is complete and loads nothing from other servers. tests/browser/test_docs_page.py uses it."""

import hashlib
import re
from pathlib import Path

import pytest
import tidings_swagger
from tidings.api import docs_page

from tests.functions.served import Answer, Caller

ASSETS = Path(tidings_swagger.__file__).parent
PAGES = ("intake", "replay")


@pytest.fixture(params=PAGES)
def caller(request: pytest.FixtureRequest) -> Caller:
    found: Caller = request.getfixturevalue(request.param)
    return found


def loads(page: str) -> list[str]:
    return re.findall(r'(?:src|href)="([^"]+)"', page)


def test_the_page_loads_only_files_that_the_function_serves(caller: Caller) -> None:
    page = caller("GET", "/docs", key=None)
    assert page.headers["content-type"].startswith("text/html")
    files = [name for name in loads(page.body) if not name.startswith("data:")]
    assert {f"docs/{name}" for name in docs_page.ASSETS} | {"openapi.json"} == set(files)
    for name in files:
        assert caller("GET", f"/{name}", key=None).status == 200, name


def test_neither_the_page_nor_its_styles_name_another_server() -> None:
    for name in ("page.html", "page.js", "page.css"):
        assert "://" not in (ASSETS / name).read_text(encoding="utf-8"), name
    styles = (ASSETS / "swagger-ui.css").read_text(encoding="utf-8")
    assert not re.search(r"""(@import|url\()[\s"']*(https?:)?//""", styles)


def _is_guarded(answer: Answer) -> bool:
    policy = answer.headers["content-security-policy"]
    return (
        "default-src 'none'" in policy
        and "script-src 'self';" in policy
        and "connect-src 'self'" in policy
        and "frame-ancestors 'none'" in policy
        and "unsafe-eval" not in policy
        and answer.headers["x-frame-options"] == "DENY"
        and answer.headers["x-content-type-options"] == "nosniff"
        and answer.headers["referrer-policy"] == "no-referrer"
    )


def test_the_page_and_its_files_have_security_headers(caller: Caller) -> None:
    for path in ("/docs", *(f"/docs/{name}" for name in docs_page.ASSETS)):
        assert _is_guarded(caller("GET", path, key=None)), path


def test_the_page_has_no_inline_script() -> None:
    page = (ASSETS / "page.html").read_text(encoding="utf-8")
    assert re.findall(r"<script[^>]*>([^<]*)</script>", page) == ["", ""]
    assert not re.search(r"\son\w+=", page)


@pytest.mark.parametrize("name", ["README.md", "LICENSE.txt", "..", "page.html", "../__init__.py", "%2e%2e"])
def test_only_the_listed_assets_are_served(caller: Caller, name: str) -> None:
    assert caller("GET", f"/docs/{name}", key=None).status == 404


def test_third_party_assets_have_the_listed_checksums() -> None:
    table = dict(re.findall(r"\| `([^`]+)` \| `([0-9a-f]{64})` \|", (ASSETS / "README.md").read_text()))
    assert set(table) == {"swagger-ui-bundle.js", "swagger-ui.css"}
    for name, digest in table.items():
        assert hashlib.sha256((ASSETS / name).read_bytes()).hexdigest() == digest, name
