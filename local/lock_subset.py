"""Print the part of requirements.lock, with hashes, that some declarations need: for an image or a zip.

    python -m local.lock_subset functions/sms/requirements.txt 'layers/common/pyproject.toml[metrics,server,tracing]'

A declaration is a requirements.txt, or a project with extras. The lock names for each package those that need it
("# via"); that is followed from the declared names. `pip install --require-hashes` of the result fails if anything is
missing. It uses the standard library alone, because it runs before anything is installed.
"""

import argparse
import re
import tomllib
from collections.abc import Iterable, Mapping
from pathlib import Path

LOCK = Path("requirements.lock")


def needed(lock: str, names: Iterable[str]) -> dict[str, str]:
    """The lock's entries of these packages and their dependencies, by name. Raise KeyError for a missing one."""
    entries = _entries(lock)
    dependencies: dict[str, set[str]] = {}
    for name, entry in entries.items():
        for dependent in _via(entry):
            dependencies.setdefault(dependent, set()).add(name)
    found: set[str] = set()
    left = [_normal(name) for name in names]
    while left:
        name = left.pop()
        if name not in found:
            found.add(name)
            left.extend(dependencies.get(name, ()))
    return {name: entries[name] for name in sorted(found)}


def declared(declaration: str, root: Path = Path()) -> list[str]:
    """The names in a requirements.txt, or in a pyproject.toml with the extras in brackets."""
    path, _, extras = declaration.rstrip("]").partition("[")
    text = (root / path).read_text(encoding="utf-8")
    if not path.endswith(".toml"):
        return _names(text.splitlines())
    project = tomllib.loads(text)["project"]
    optional: Mapping[str, list[str]] = project.get("optional-dependencies", {})
    wanted = [extra.strip() for extra in extras.split(",") if extra.strip()]
    return _names([*project["dependencies"], *(line for extra in wanted for line in optional[extra])])


def _entries(lock: str) -> dict[str, str]:
    """By name. A package has several entries if they depend on Python's version."""
    entries: dict[str, str] = {}
    for entry in re.split(r"^(?=[A-Za-z0-9])", lock, flags=re.MULTILINE)[1:]:
        name = _normal(entry.partition("==")[0])
        entries[name] = entries.get(name, "") + entry
    return entries


def _via(entry: str) -> set[str]:
    """The packages and files that need it. No package is called like a file."""
    found = re.findall(r"^    #   (.+)$|^    # via (.+)$", entry, flags=re.MULTILINE)
    return {(one or other).strip() for one, other in found}


def _names(lines: Iterable[str]) -> list[str]:
    found = (re.match(r"\s*([A-Za-z0-9][\w.-]*)", line) for line in lines)
    return [match[1] for match in found if match]


def _normal(name: str) -> str:
    """As PEP 503 normalizes it."""
    return re.sub(r"[-_.]+", "-", name).lower()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("declarations", nargs="+", metavar="FILE[EXTRA,EXTRA]")
    options = parser.parse_args()
    names = [name for declaration in options.declarations for name in declared(declaration)]
    print("".join(needed(LOCK.read_text(encoding="utf-8"), names).values()), end="")


if __name__ == "__main__":
    main()
