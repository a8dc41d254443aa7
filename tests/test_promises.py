"""docs/promises.md is complete and true: the README names each promise, and each has words and tests that exist."""

import ast
import re
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PAGE = (ROOT / "docs/promises.md").read_text(encoding="utf-8")
SECTIONS = dict(re.findall(r"^## (.+)\n((?:(?!## ).*\n?)*)", PAGE, re.MULTILINE))
ROWS = re.findall(r"^\| (?!Promise|---)(.+) \| (`tests/.+`) \|$", PAGE, re.MULTILINE)
NO_PROMISES = {"The statuses", "Not promised", "What else the pages say"}


@cache
def studies_of(file: str) -> dict[str, bool]:
    """Each test of this file, in a class or not, and whether it runs at night only."""
    found = {}
    tree = ast.parse((ROOT / file).read_text(encoding="utf-8"))
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef) and node.name.startswith("test_"):
            found[node.name] = any("nightly" in ast.unparse(one) for one in node.decorator_list)
    return found


def named_in(text: str) -> list[tuple[str, str]]:
    return re.findall(r"`(tests/[\w/]+\.py)::(test_\w+)`", text)


def test_the_readme_lists_each_promise_in_order_with_a_link() -> None:
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    section = readme.partition("## What is promised\n")[2].partition("\n## ")[0]
    listed = re.findall(r"^- \[(.+?)\]\(docs/promises\.md#", section, re.MULTILINE)
    assert len(listed) > 8
    assert listed == [title for title in SECTIONS if title not in NO_PROMISES]
    assert set(SECTIONS) >= NO_PROMISES


@pytest.mark.parametrize("title", [title for title in SECTIONS if title not in NO_PROMISES])
def test_each_promise_has_words_and_tests(title: str) -> None:
    words, _, tests = SECTIONS[title].partition("| Promise | Test |\n")
    assert len(words.split()) > 10
    assert named_in(tests)


def test_every_test_that_the_page_names_exists() -> None:
    assert len(named_in(PAGE)) == PAGE.count("::") >= len(ROWS)
    assert not [f"{file}::{name}" for file, name in named_in(PAGE) if name not in studies_of(file)]


@pytest.mark.parametrize(("promise", "tests"), ROWS, ids=[promise for promise, _ in ROWS])
def test_no_promise_is_left_to_a_study(promise: str, tests: str) -> None:
    assert not all(studies_of(file)[name] for file, name in named_in(tests))
