"""The page's two pictures."""

import math
from collections.abc import Mapping, Sequence

from tests.capacity.model import Limit
from tests.capacity.simulation import Outcome
from tests.capacity.study import OUTAGE
from tests.load.figures import shown
from tests.load.svg import Picture

LEFT, RIGHT = 300, 730
LOW, HIGH = 10.0, 1e6  # notifications a second
NEXT = 4  # limits a target, at most


def ceilings(found: Mapping[str, Sequence[Limit]]) -> str:
    """A bar a limit on a logarithmic axis, the one that is met first in the other colour."""
    rows = [(target, limit) for target, limits in found.items() for limit in limits[:NEXT]]
    picture = Picture(title="Where one stack's limits lie", height=70 + 24 * len(rows) + 26 * len(found) + 30)
    picture.text(30, 32, "Where one stack's limits lie, notifications a second", "name")
    bottom = picture.height - 40
    for power in range(round(math.log10(LOW)), round(math.log10(HIGH)) + 1):
        picture.line(_place(10**power), 50, _place(10**power), bottom)
        picture.text(_place(10**power), bottom + 18, f"{10**power:,}", "note", "middle")
    y = 66.0
    for target, limits in found.items():
        picture.text(30, y, target, "name")
        y += 26
        for number, limit in enumerate(limits[:NEXT]):
            picture.text(LEFT - 10, y - 2, limit.part, "note", "end")
            picture.bar(LEFT, y - 13, _place(limit.rate) - LEFT, 14, "bar" if number else "other")
            picture.text(_place(limit.rate) + 6, y - 2, shown(_rounded(limit.rate)), "note")
            y += 24
    return picture.drawn()


def _place(rate: float) -> float:
    within = min(max(rate, LOW), HIGH)
    return LEFT + (RIGHT - LEFT - 60) * math.log(within / LOW) / math.log(HIGH / LOW)


def _rounded(rate: float) -> float:
    """Two digits: no more is meant."""
    digits = 1 - math.floor(math.log10(rate))
    return round(rate, digits)


def outage(ran: Outcome, step: int = 5) -> str:
    """What was sent a second, and how much waited in the queue, over time."""
    seconds = int(ran.seconds)
    tenths = 10 * step
    sent = [
        sum(ran.counts.sent_in[10 * second + tenth] for tenth in range(tenths)) / step
        for second in range(0, seconds, step)
    ]
    depth = [max(ran.depth[10 * second : 10 * (second + step)]) for second in range(0, seconds, step)]
    picture = Picture(title="A provider that is down for a minute", height=480)
    picture.text(60, 32, "A provider that refuses everything for a minute", "name")
    _panel(picture, 60, "sent a second", sent, seconds=seconds)
    _panel(picture, 260, "in the work queue, at most", depth, seconds=seconds, name="other")
    return picture.drawn()


def _panel(
    picture: Picture, top: float, title: str, values: Sequence[float], *, seconds: int, name: str = "bar"
) -> None:
    left, right, floor, tall = 60.0, 730.0, top + 160, 120
    most = max([*values, 1.0])
    for part in range(3):
        y = floor - tall * part / 2
        picture.line(left, y, right, y)
        picture.text(left - 6, y + 4, shown(round(most * part / 2)), "note", "end")
    picture.text(left, top + 26, title, "note")
    for second in OUTAGE:
        x = left + (right - left) * second / seconds
        picture.line(x, top + 34, x, floor, "line")
    width = (right - left) / len(values)
    for number, value in enumerate(values):
        high = tall * value / most
        picture.bar(left + width * number, floor - high, width - 1, high, name)
        if number % 8 == 0:
            picture.text(left + width * number, floor + 18, f"{number * seconds // len(values)} s", "note")
