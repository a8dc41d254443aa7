"""docs/capacity.md: the table first, then where the limits lie, the simulation, sharding, and every input."""

import re
import textwrap

from tests.capacity import drawing, prose, tables
from tests.capacity.costs import SIZES
from tests.capacity.findings import RATES, Found, found
from tests.capacity.inputs import Inputs

FILES = ("capacity.md", "capacity-limits.svg", "capacity-outage.svg")


def pages(given: Inputs) -> dict[str, str]:
    """The text of each file below docs/."""
    all_of_it = found(given)
    drawn = (drawing.ceilings(all_of_it.limits), drawing.outage(all_of_it.outage))
    return dict(zip(FILES, (_page(all_of_it), *drawn), strict=True))


def _page(it: Found) -> str:
    parts = [
        prose.opening(it.given),
        tables.table(["", *it.plans], [tables.row(it, number) for number in range(len(RATES))]),
        prose.fees(it.given, RATES),
        "## Where the first limit lies\n",
        tables.table(["", "met first", "at", "what helps", "the next"], tables.first(it.limits)),
        prose.limits(it.given, it.demand),
        "![Where one stack's limits lie](capacity-limits.svg)\n",
        "## How long rows are kept decides\n",
        tables.table(tables.BY_DAYS, tables.by_days(it.given)),
        prose.days(),
        "## 10,000/s, simulated\n",
        prose.simulation(it.given),
        tables.table(tables.SHARDED, [tables.sharded(one, it) for one in it.sharded]),
        prose.smallest(it.given, it.sharded, it.worst),
        "### A provider that is down for a minute\n",
        prose.outage(it.outage),
        "![Sent a second and waiting, over time](capacity-outage.svg)\n",
        "### How far the model is off\n",
        prose.error(it.worst),
        tables.table(tables.COMPARED, map(tables.compared, it.compared)),
        prose.SHARDING,
        prose.how(it.given, it.demand),
        tables.table(["measured", "value"], tables.measured(it.given)),
        tables.table(["milliseconds of a batch", *(f"of {size}" for size in SIZES)], tables.steps(it.given)),
        prose.PRICES,
        tables.table(["price", "dollars", "a", "source", "seen"], tables.prices(it.given)),
        tables.table(["limit", "value", "source"], tables.limits(it.given)),
    ]
    return "\n".join(_filled(part) for part in parts)


def _filled(part: str) -> str:
    """With lines as long as they may be: what is computed is longer or shorter than its name."""
    return "\n\n".join(map(_block, part.split("\n\n")))


def _block(block: str) -> str:
    if block.startswith(("|", "#", "!")) or not block.strip():
        return block
    items = re.split(r"\n(?=- )", block.strip("\n"))
    end = "\n" if block.endswith("\n") else ""
    return "\n".join(_item(item) for item in items) + end


def _item(item: str) -> str:
    words, bullet = " ".join(item.split()), item.startswith("- ")
    return textwrap.fill(
        words, 120, subsequent_indent="  " if bullet else "", break_long_words=False, break_on_hyphens=False
    )
