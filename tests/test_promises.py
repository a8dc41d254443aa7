"""docs/promises.md is complete: it has each promise of the README, with tests that exist and run."""

import ast
import re
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PAGE = (ROOT / "docs/promises.md").read_text(encoding="utf-8")
ROWS = re.findall(r"^\| (?!Promise|---)(.+) \| (`tests/.+`) \|$", PAGE, re.MULTILINE)
NO_PROMISE = "Not promised:"


@cache
def studies_of(file: str) -> dict[str, bool]:
    """Each test of this file, in a class or not, and whether it is a study."""
    found = {}
    tree = ast.parse((ROOT / file).read_text(encoding="utf-8"))
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef) and node.name.startswith("test_"):
            found[node.name] = any("nightly" in ast.unparse(one) for one in node.decorator_list)
    return found


def named_in(text: str) -> list[tuple[str, str]]:
    return re.findall(r"`(tests/[\w/]+\.py)::(test_\w+)`", text)


def test_each_promise_of_the_readme_has_its_section() -> None:
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    section = readme.partition("## What is promised, and what is not\n")[2].partition("\n## ")[0]
    promised = re.findall(r"^- \*\*(.+?)\*\*", section, re.MULTILINE)
    assert len(promised) > 8
    sections = re.findall(r"^## (.+)$", PAGE, re.MULTILINE)[:-1]
    assert sections == [one.rstrip(".") for one in promised if one != NO_PROMISE]


def test_every_test_named_on_the_page_exists() -> None:
    assert len(named_in(PAGE)) == PAGE.count("::") >= len(ROWS)
    assert not [f"{file}::{name}" for file, name in named_in(PAGE) if name not in studies_of(file)]


@pytest.mark.parametrize(("promise", "tests"), ROWS, ids=[promise for promise, _ in ROWS])
def test_no_promise_is_left_to_a_study(promise: str, tests: str) -> None:
    assert not all(studies_of(file)[name] for file, name in named_in(tests))
