"""What the page is computed from: `inputs.toml`, read and nothing else."""

import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

FILE = Path(__file__).with_name("inputs.toml")


@dataclass(frozen=True, kw_only=True)
class Priced:
    """A price or a limit, and where it is from."""

    name: str
    value: float
    unit: str
    source: str
    date: str = ""


@dataclass(frozen=True)
class Inputs:
    """Figures by their dotted names. An unknown name is a KeyError."""

    read: Mapping[str, Any]

    def measured(self, name: str) -> float:
        return _at(self.read["measured"], name)

    def speed(self, name: str) -> float:
        return _at(self.read["speed"], name)

    def assumed(self, name: str) -> float:
        return _at(self.read["assumed"], name)

    def price(self, name: str) -> float:
        return float(self.read["prices"][name]["dollars"])

    def limit(self, name: str) -> float:
        return float(self.read["limits"][name]["value"])

    def told(self, name: str) -> str:
        """A word of [measured] or [speed]: the machine, the date."""
        table, _, key = name.partition(".")
        return str(self.read[table][key])

    def prices(self) -> Iterator[Priced]:
        for name, price in self.read["prices"].items():
            yield Priced(
                name=name, value=price["dollars"], unit=price["unit"], source=price["source"], date=price["date"]
            )

    def limits(self) -> Iterator[Priced]:
        for name, limit in self.read["limits"].items():
            yield Priced(name=name, value=limit["value"], unit=limit["unit"], source=limit["source"])


def _at(table: Mapping[str, Any], name: str) -> float:
    found: Any = table
    for key in name.split("."):
        found = found[key]
    return float(found)


def inputs(file: Path = FILE) -> Inputs:
    return Inputs(tomllib.loads(file.read_text(encoding="utf-8")))
