"""The table of docs/settings.md, made from every class of settings there is."""

import importlib
import inspect
import re
from collections.abc import Iterator
from pathlib import Path

from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined
from tidings.config.settings import Settings

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs/settings.md"
CODE = (ROOT / "layers/common/python", ROOT)


def settings_page() -> str:
    """The page with an updated table."""
    before, table, after = re.split(
        r"(?<=\|---\|---\|---\|\n)((?:\| `TIDINGS_.*\n)+)", PAGE.read_text(encoding="utf-8"), maxsplit=1
    )
    assert table
    return before + "\n".join(settings_table()) + "\n" + after


def settings_table() -> list[str]:
    """The table's rows, made from every class of settings there is."""
    found = {
        cls.variable(name): f"| `{cls.variable(name)}` | {_default(field)} | {_described(field)} |"
        for cls in settings_classes()
        for name, field in cls.model_fields.items()
    }
    return [found[variable] for variable in sorted(found)]


def settings_classes() -> Iterator[type[Settings]]:
    for folder in ("layers/common/python/tidings", "functions", "local"):
        for file in sorted((ROOT / folder).rglob("*.py")):
            if re.search(r"\(Settings\)|__base__=Settings", file.read_text(encoding="utf-8")):
                module = importlib.import_module(_module(file))
                for _, cls in inspect.getmembers(module, inspect.isclass):
                    if issubclass(cls, Settings) and cls is not Settings and cls.__module__ == module.__name__:
                        yield cls


def _module(file: Path) -> str:
    root = next(root for root in CODE if file.is_relative_to(root))
    return ".".join(file.relative_to(root).with_suffix("").parts).removesuffix(".__init__")


def _default(field: FieldInfo) -> str:
    if field.default is PydanticUndefined:
        return "required"
    if field.default is None:
        return "not set"
    return f"`{field.default:g}`" if isinstance(field.default, float) else f"`{field.default}`"


def _described(field: FieldInfo) -> str:
    return (field.description or "").replace("|", "\\|").replace("<", "&lt;")
