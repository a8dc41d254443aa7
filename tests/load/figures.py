"""The results of a measure: figures with comparison and target."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field


@dataclass(frozen=True, kw_only=True)
class Figure:
    """One number. `at_least`, `at_most`: its target, in the same unit."""

    what: str
    value: float
    unit: str = ""
    compared: str = ""  # with what, in words
    at_least: float | None = None
    at_most: float | None = None

    @property
    def falls_short(self) -> bool:
        """A missing figure (NaN) misses its target too."""
        low = self.at_least is not None and not self.value >= self.at_least
        high = self.at_most is not None and not self.value <= self.at_most
        return low or high

    @property
    def target(self) -> str:
        if self.at_least is not None:
            return f"at least {shown(self.at_least, self.unit)}"
        return f"at most {shown(self.at_most, self.unit)}" if self.at_most is not None else ""


@dataclass(frozen=True, kw_only=True)
class Report:
    """The result of one measure."""

    title: str
    how: str  # it was measured
    figures: Sequence[Figure] = ()
    problems: Sequence[str] = ()  # errors at any speed: lost, sent twice, refused
    pictures: Mapping[str, str] = field(default_factory=dict)  # an SVG by name
    notes: Sequence[str] = ()


def shown(value: float, unit: str = "") -> str:
    """With three significant digits."""
    if math.isnan(value):
        text = "none"
    elif value == int(value) or abs(value) >= 100:
        text = f"{value:,.0f}"
    else:
        text = f"{value:.{max(0, 2 - math.floor(math.log10(abs(value))))}f}"
    return f"{text}{unit}" if unit.startswith("/") else f"{text} {unit}".rstrip()


def milliseconds(seconds: float) -> float:
    return seconds * 1000
