"""The picture of the package's rooms, drawn from its imports: `python -m tests.pages` writes docs/rooms.svg."""

import ast
import tomllib
from collections import Counter
from html import escape
from pathlib import Path

import grimp

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "layers/common/python/tidings"
WIDTH, LEFT, BOX, ROW, GAP = 1200, 20, 700, 44, 14


def layers() -> list[list[str]]:
    """From top to bottom, as pyproject.toml says and import-linter enforces."""
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["importlinter"][
        "contracts"
    ]
    return [layer.split(" | ") for layer in contracts[0]["layers"]]


def imports() -> Counter[tuple[str, str]]:
    """How many modules' imports lead from one room to another."""
    graph = grimp.build_graph("tidings")
    found: Counter[tuple[str, str]] = Counter()
    for module in graph.modules:
        for imported in graph.find_modules_directly_imported_by(module):
            if len(module.split(".")) > 1 and len(imported.split(".")) > 1 and _room(module) != _room(imported):
                found[_room(module), _room(imported)] += 1
    return found


def picture() -> str:
    rooms = [room for layer in layers() for room in layer]
    top = {room: 20 + place * (ROW + GAP) for place, room in enumerate(rooms)}
    counted = imports()
    most = max(counted.values())
    arrows = "\n".join(
        _arrow(top[here] + ROW / 2, top[there] + ROW / 2, number / most)
        for (here, there), number in sorted(counted.items())
    )
    boxes = "\n".join(_box(room, top[room]) for room in rooms)
    height = max(top.values()) + ROW + 20
    return f"""<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" role="img" aria-labelledby="t d" \
font-family="system-ui, sans-serif" font-size="14">
  <title id="t">The rooms of the package</title>
  <desc id="d">From top to bottom: {", ".join(rooms)}. Each imports only rooms below it. A line leads from a room to \
one that it imports, the stronger the more imports there are.</desc>
  <rect width="100%" height="100%" fill="#fff"/>
{arrows}
{boxes}
</svg>
"""


def _room(module: str) -> str:
    return module.split(".")[1]


def _box(room: str, y: int) -> str:
    folder = PACKAGE / room
    files = sorted(folder.rglob("*.py")) if folder.is_dir() else [folder.with_suffix(".py")]
    modules = [file for file in files if file.name != "__init__.py"]
    count = f"{len(modules)} module{'s' if len(modules) > 1 else ''}"
    first = folder / "__init__.py" if folder.is_dir() else files[0]
    told = (ast.get_docstring(ast.parse(first.read_text(encoding="utf-8"))) or "").split("\n")[0]
    return f"""  <rect x="{LEFT}" y="{y}" width="{BOX}" height="{ROW}" rx="6" fill="#f3f6fa" stroke="#8aa0b8"/>
  <text x="{LEFT + 12}" y="{y + 18}" font-weight="bold">{room}</text>
  <text x="{LEFT + BOX - 12}" y="{y + 18}" text-anchor="end" fill="#556">{count}</text>
  <text x="{LEFT + 12}" y="{y + 36}" font-size="12" fill="#333">{escape(told.replace("`", ""))}</text>"""


def _arrow(start: float, end: float, share: float) -> str:
    """A curve on the right, further out the further down it leads."""
    x, out = LEFT + BOX, 40 + 0.85 * (end - start)
    return (
        f'  <path d="M {x} {start:.0f} C {x + out:.0f} {start:.0f}, {x + out:.0f} {end:.0f}, {x} {end:.0f}" '
        f'fill="none" stroke="#34669c" stroke-opacity="{0.15 + 0.6 * share:.2f}" stroke-width="{1 + 5 * share:.1f}"/>'
    )
