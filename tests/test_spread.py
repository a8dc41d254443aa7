"""Tests that share a stack run in one worker. Studies are skipped and counted."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.spread import APART, TOGETHER, scope_of

ROOT = Path(__file__).parents[1]


def test_tests_of_one_file_and_foundation_stay_together() -> None:
    one, two, other = (
        f"tests/scenarios/test_main_job.py::TestTimes::{name}"
        for name in ("test_a[embedded]", "test_b[sms-embedded]", "test_a[services]")
    )
    assert scope_of(one) == scope_of(two) != scope_of(other)
    assert scope_of("tests/test_docs.py::test_a") == scope_of("tests/test_docs.py::test_b[README.md]")
    assert scope_of("tests/test_docs.py::test_a") != scope_of("tests/test_readme.py::test_a")


def test_browser_test_files_share_one_stack() -> None:
    one, other = (f"tests/browser/test_{name}.py::test_a[embedded]" for name in ("story", "truth"))
    assert scope_of(one) == scope_of(other)
    assert scope_of(one) != scope_of("tests/browser/test_operator.py::test_a[services]")


def test_files_without_a_shared_stack_are_spread_test_by_test() -> None:
    first, second = (f"{APART[0]}::test_{name}" for name in ("a", "b"))
    assert scope_of(first) != scope_of(second)
    assert all((ROOT / path).exists() for path in (*APART, *TOGETHER))


@pytest.mark.parametrize("options", [[], ["--all"]], ids=["default", "all"])
def test_studies_run_only_with_all_and_are_counted(options: list[str], tmp_path: Path) -> None:
    (tmp_path / "test_study.py").write_text(
        "import pytest\n@pytest.mark.nightly\ndef test_study(): pass\ndef test_promise(): pass\n"
    )
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-p", "tests.conftest", "-c", "pyproject.toml", *options, str(tmp_path)],
        cwd=ROOT,
        env={name: value for name, value in os.environ.items() if not name.startswith("PYTEST_")},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    left = "1 studies were left to local/test --all" in done.stdout
    assert (left, "1 passed, 1 skipped" in done.stdout, "2 passed" in done.stdout) == (
        (False, False, True) if options else (True, True, False)
    )
