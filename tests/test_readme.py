"""What the README says is so: its settings, its links, and the files that its commands name."""

import importlib
import inspect
import re
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined
from tidings.notification import Status
from tidings.settings import Settings

ROOT = Path(__file__).parents[1]
DOCUMENTS = ("README.md", "CONTRIBUTING.md", "CHANGELOG.md")
MADE_BY_RUNNING = (".venv/bin/python", ".tidings/env")
CODE = (ROOT / "layers/common/python", ROOT)
"""Where modules are found: the layer's, and what is imported from the root."""


def _text(document: str = "README.md") -> str:
    return (ROOT / document).read_text(encoding="utf-8")


# --- settings ---------------------------------------------------------------------------------------------------------


def settings_table() -> list[str]:
    """The table's rows, made from every class of settings there is."""
    found = {
        cls.variable(name): f"| `{cls.variable(name)}` | {_default(field)} | {_described(field)} |"
        for cls in _settings_classes()
        for name, field in cls.model_fields.items()
    }
    return [found[variable] for variable in sorted(found)]


def _settings_classes() -> Iterator[type[Settings]]:
    for folder in ("layers/common/python/tidings", "functions", "local"):
        for file in sorted((ROOT / folder).rglob("*.py")):
            if "(Settings)" in file.read_text(encoding="utf-8"):
                module = importlib.import_module(_module(file))
                for _, cls in inspect.getmembers(module, inspect.isclass):
                    if issubclass(cls, Settings) and cls is not Settings and cls.__module__ == module.__name__:
                        yield cls


def _module(file: Path) -> str:
    root = next(root for root in CODE if file.is_relative_to(root))
    return ".".join(file.relative_to(root).with_suffix("").parts)


def _default(field: FieldInfo) -> str:
    if field.default is PydanticUndefined:
        return "required"
    if field.default is None:
        return "not set"
    return f"`{field.default:g}`" if isinstance(field.default, float) else f"`{field.default}`"


def _described(field: FieldInfo) -> str:
    return (field.description or "").replace("|", "\\|").replace("<", "&lt;")


def test_the_table_of_settings_is_what_the_code_declares() -> None:
    written = [line for line in _text().splitlines() if line.startswith("| `TIDINGS_")]
    table = settings_table()
    assert len(table) > 20, "the classes of settings were not found"
    assert written == table, "the README's table of settings should read:\n\n" + "\n".join(table)


def test_every_status_is_explained() -> None:
    explained = [
        line.split("`")[1] for line in _text().splitlines() if line.startswith("| `") and "TIDINGS_" not in line
    ]
    assert sorted(explained) == sorted(Status)


# --- links and commands -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("document", DOCUMENTS)
def test_every_relative_link_leads_somewhere(document: str) -> None:
    text = _text(document)
    links = re.findall(r"\]\(([^)\s]+)\)", text) + re.findall(r'(?:src|href)="([^"]+)"', text)
    broken = [link for link in links if "://" not in link and not _leads_somewhere(link, text)]
    assert not broken


def _leads_somewhere(link: str, text: str) -> bool:
    path, _, anchor = link.partition("#")
    if path:
        return (ROOT / path).exists()
    headings = re.findall(r"^#+ (.+)$", text, re.MULTILINE)
    return anchor in {re.sub(r"[^\w -]", "", heading).lower().replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("document", DOCUMENTS)
def test_the_files_that_the_commands_name_are_there(document: str) -> None:
    """In the blocks marked `sh tried`: each was run as it stands."""
    blocks = re.findall(r"^```sh tried\n(.*?)^```", _text(document), re.MULTILINE | re.DOTALL)
    words = {word for block in blocks for word in re.split(r"[\s'\"]+", block)}
    paths = {word for word in words if re.fullmatch(r"\.?\w[\w.-]*(/[\w.-]+)+", word)}
    assert not {path for path in paths if not _is_there(path)}
    if document == "README.md":
        assert {"local/up", "local/test", ".tidings/env", ".venv/bin/tidings"} <= paths


def _is_there(path: str) -> bool:
    if path.startswith(".venv/bin/") and path not in MADE_BY_RUNNING:
        project = tomllib.loads(_text("layers/common/pyproject.toml"))["project"]
        return path.removeprefix(".venv/bin/") in project["scripts"]
    return path in MADE_BY_RUNNING or (ROOT / path).exists()
