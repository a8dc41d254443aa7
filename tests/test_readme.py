"""What the tables of settings and of status words say is so. tests/test_docs.py has the rest."""

import importlib
import inspect
from collections.abc import Iterator
from pathlib import Path

from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined
from tidings.config.settings import Settings
from tidings.domain.notification import Status

ROOT = Path(__file__).parents[1]
CODE = (ROOT / "layers/common/python", ROOT)
"""Where modules are found: the layer's, and what is imported from the root."""


def _text(document: str) -> str:
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
    written = [line for line in _text("docs/settings.md").splitlines() if line.startswith("| `TIDINGS_")]
    table = settings_table()
    assert len(table) > 20, "the classes of settings were not found"
    assert written == table, "docs/settings.md should read:\n\n" + "\n".join(table)


def test_every_status_is_explained() -> None:
    explained = [line.split("`")[1] for line in _text("README.md").splitlines() if line.startswith("| `")]
    assert sorted(explained) == sorted(Status)
