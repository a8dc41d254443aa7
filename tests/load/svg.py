"""Pictures by hand: SVG that reads in light and in dark, with nothing but text, rectangles and lines."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from html import escape

STYLE = """
    .card { fill: #ffffff; }
    .bar { fill: #2457c5; }
    .other { fill: #b26a00; }
    .line { stroke: #b26a00; stroke-width: 1.5; }
    .rule { stroke: #5b6b80; stroke-width: 1; opacity: 0.45; }
    text { fill: #1c2430; }
    .note { fill: #4a5667; font-size: 12px; }
    .name { font-weight: 600; }
    .middle { text-anchor: middle; }
    .end { text-anchor: end; }
    @media (prefers-color-scheme: dark) {
      .card { fill: #12161c; }
      .bar { fill: #7aa5ff; }
      .other { fill: #e0a040; }
      .line { stroke: #e0a040; }
      .rule { stroke: #8b9bb0; }
      text { fill: #e8edf4; }
      .note { fill: #b4c0cf; }
    }
"""


@dataclass(kw_only=True)
class Picture:
    """Shapes are added to it; positions are pixels from the upper left corner."""

    title: str
    width: int = 760
    height: int
    shapes: list[str] = field(default_factory=list)

    def text(self, x: float, y: float, text: str, *names: str) -> None:
        self.shapes.append(f'<text class="{" ".join(names)}" x="{x:.1f}" y="{y:.1f}">{escape(text)}</text>')

    def bar(self, x: float, y: float, width: float, height: float, name: str = "bar") -> None:
        self.shapes.append(
            f'<rect class="{name}" x="{x:.1f}" y="{y:.1f}" width="{max(width, 0.5):.1f}" height="{height:.1f}"/>'
        )

    def line(self, x1: float, y1: float, x2: float, y2: float, name: str = "rule") -> None:
        self.shapes.append(f'<line class="{name}" x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}"/>')

    def drawn(self) -> str:
        return "\n".join(
            [
                f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {self.width} {self.height}" role="img" '
                f'aria-labelledby="title" font-family="system-ui, -apple-system, \'Segoe UI\', Roboto, '
                f'\'DejaVu Sans\', sans-serif" font-size="14">',
                f'  <title id="title">{escape(self.title)}</title>',
                f"  <style>{STYLE}  </style>",
                f'  <rect class="card" width="{self.width}" height="{self.height}" rx="10"/>',
                *_indented(self.shapes),
                "</svg>\n",
            ]
        )


def _indented(shapes: Iterable[str]) -> Iterable[str]:
    return (f"  {shape}" for shape in shapes)
