"""Packages are declared where they are used, and locked: each function gets the packages it imports, and no others."""

import ast
import re
import sys
from collections.abc import Iterator
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest

from local.lock_subset import declared, needed
from tests.installed import BASE, LOCK, ROOT, normal, of_local_up, packages

LAYER = "layers/common/pyproject.toml[aws,cli,metrics,server,tracing]"
BOUNCES = "layers/common/pyproject.toml[bounces]"
FUNCTIONS = sorted(path.parent.name for path in (ROOT / "functions").glob("*/main.py"))
STARTS = "local/requirements.txt"
EMULATED = "local/emulators/requirements.txt"
STACK = "local/stack/requirements.txt"
RUNS = {
    **{f"functions/{name}": (f"functions/{name}/requirements.txt", LAYER) for name in FUNCTIONS},
    # functions-framework is imported in runtime alone, and a vendor's SDK in its provider.
    "layers/common/python/tidings": (
        LAYER,
        BOUNCES,
        STARTS,
        "functions/sms/requirements.txt",
        "functions/push/requirements.txt",
    ),
    "infra/migrations": (LAYER,),
    "local/emulators": (EMULATED, STARTS, BASE),
    "local/stack": (LAYER,),
    "local/services": (LAYER,),
    "local/lambda_emulator": (LAYER,),
}
"""The code of an image or zip, and the declarations of its packages."""
OURS = {"tidings", "local", "functions"}


def imported(path: Path) -> Iterator[str]:
    """The top-level modules, those inside of functions too."""
    for file in [path] if path.is_file() else path.rglob("*.py"):
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                yield from (name.name.partition(".")[0] for name in node.names)
            elif isinstance(node, ast.ImportFrom) and not node.level and node.module:
                yield node.module.partition(".")[0]


def foreign(code: str) -> set[str]:
    return set(imported(ROOT / code)) - sys.stdlib_module_names - OURS


def missing(code: str, there: set[str]) -> set[str]:
    """Imported modules that none of these packages provides."""
    of = packages_distributions()
    return {module for module in foreign(code) if not {normal(name) for name in of[module]} & there}


@pytest.mark.parametrize("code", sorted(RUNS))
def test_every_import_is_declared(code: str) -> None:
    there = packages(*RUNS[code])
    assert not missing(code, there)
    assert foreign(code) or code in ("local/lambda_emulator", "local/stack") or code.startswith("functions/")


def test_local_up_gets_its_packages_and_no_test_packages() -> None:
    there = of_local_up()
    assert set().union(*(missing(code, there) for code in RUNS)) == {"botocore"}  # for a secret that is in AWS
    assert "awslambdaric" in there  # of local/up --lambda
    assert not there & {"cfn-lint", "kubernetes-validate", "moto", "mypy", "pytest", "selenium", "sympy"}


@pytest.mark.parametrize("function", FUNCTIONS)
def test_a_function_gets_no_other_functions_sdk_and_no_test_packages(function: str) -> None:
    there = packages(f"functions/{function}/requirements.txt", STARTS, LAYER)
    assert {"twilio", "firebase-admin"} & there == {"sms": {"twilio"}, "push": {"firebase-admin"}}.get(function, set())
    assert not there & {"pytest", "mypy", "moto", "selenium", "aiosmtpd", "setuptools", "awslambdaric"}


@pytest.mark.parametrize(
    ("declaration", "told"),
    [
        *((f"functions/{name}/requirements.txt", f"-r functions/{name}/requirements.txt") for name in FUNCTIONS),
        (STARTS, f"-r {STARTS}"),
        (EMULATED, f"-r {EMULATED}"),
        (STACK, f"-r {STACK}"),
        (
            "layers/common/pyproject.toml[aws,bounces,cli,metrics,server,tracing]",
            "tidings (layers/common/pyproject.toml)",
        ),
        ("pyproject.toml", "tidings-workspace (pyproject.toml)"),
    ],
)
def test_the_lock_is_up_to_date(declaration: str, told: str) -> None:
    """If a declaration was changed without the lock: CONTRIBUTING.md has the command to update it."""
    entries = re.split(r"^(?=[a-z0-9])", LOCK, flags=re.MULTILINE)[1:]
    wanted = re.compile(rf"^    # (?:via|  ) *{re.escape(told)}$", re.MULTILINE)
    locked = {entry.partition("==")[0] for entry in entries if wanted.search(entry)}
    assert locked == {normal(name) for name in declared(declaration, ROOT)}


class TestNeeded:
    LOCK = (
        "app==1 \\\n    --hash=sha256:a\n    # via -r x.txt\n"
        'deep==2 ; python_full_version < "3.12" \\\n    --hash=sha256:b\n    # via\n    #   app\n    #   other\n'
        'deep==3 ; python_full_version >= "3.12" \\\n    --hash=sha256:c\n    # via app\n'
        "deepest-of-all==4 \\\n    --hash=sha256:d\n    # via deep\n"
        "other==5 \\\n    --hash=sha256:e\n    # via -r y.txt\n"
    )

    def test_indirect_dependencies_are_included(self) -> None:
        assert list(needed(self.LOCK, ["app"])) == ["app", "deep", "deepest-of-all"]

    def test_an_entry_keeps_its_hash_and_all_its_versions(self) -> None:
        deep = needed(self.LOCK, ["Deep"])["deep"]
        assert [part in deep for part in ("==2", "sha256:b", "==3", "sha256:c")] == [True] * 4

    def test_a_name_is_normalized(self) -> None:
        assert list(needed(self.LOCK, ["Deepest_of.all"])) == ["deepest-of-all"]

    def test_a_package_that_is_not_locked_is_an_error(self) -> None:
        with pytest.raises(KeyError, match="stranger"):
            needed(self.LOCK, ["stranger"])

    def test_an_unknown_extra_is_an_error(self) -> None:
        with pytest.raises(KeyError, match="nothing"):
            declared("layers/common/pyproject.toml[nothing]", ROOT)
