"""Copies of the source tree, for tests that change it."""

import shutil
from pathlib import Path

ROOT = Path(__file__).parents[2]
PARTS = ("functions", "infra", "layers", "local")


def copied(to: Path) -> Path:
    """The tree as it is, with what is compiled of it, so that it starts as soon."""
    passing = shutil.ignore_patterns(
        "*.egg-info", "*.pyc.*"
    )  # the second: files that are being compiled at this moment
    for part in PARTS:
        shutil.copytree(ROOT / part, to / part, ignore=passing)
    shutil.copy(ROOT / "pyproject.toml", to)
    return to


def replaced(file: Path, old: str, new: str) -> None:
    text = file.read_text()
    assert text.count(old) == 1, f"{old!r} in {file}"
    file.write_text(text.replace(old, new))


def layer(tree: Path) -> Path:
    """What PYTHONPATH names, so that this tree's code is the one that runs."""
    return tree / "layers" / "common" / "python"
