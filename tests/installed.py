"""Run processes as if only some packages were installed: imports of all others fail."""

import re
import shlex
from collections.abc import Collection
from importlib.metadata import packages_distributions
from pathlib import Path

from local.lock_subset import declared, needed

ROOT = Path(__file__).parents[1]
LOCK = (ROOT / "requirements.lock").read_text(encoding="utf-8")
BASE = "layers/common/pyproject.toml"


def packages(*declarations: str) -> set[str]:
    """The packages of these declarations, with dependencies."""
    return set(needed(LOCK, [name for one in declarations for name in declared(one, ROOT)]))


def of_local_up() -> set[str]:
    """The packages that local/setup installs for local/up."""
    found = re.search(
        r"^running=\((.*?)^\)", (ROOT / "local/setup").read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL
    )
    assert found is not None
    words = [[word] if "[" in word else sorted(ROOT.glob(word)) for word in shlex.split(found[1])]
    return packages(*(str(path) for paths in words for path in paths))


def only(there: Collection[str]) -> dict[str, str]:
    """Environment of a process that finds only these packages."""
    of = packages_distributions()
    hidden = {module for module, names in of.items() if not {normal(name) for name in [*names]} & {"tidings", *there}}
    return {"PYTHONPATH": str(ROOT / "tests" / "hidden"), "HIDDEN_MODULES": " ".join(sorted(hidden))}


def normal(name: str) -> str:
    """As PEP 503 has it, and the lock."""
    return re.sub(r"[-_.]+", "-", name).lower()
