"""The page's pictures."""

import math
from collections.abc import Mapping, Sequence
from itertools import pairwise

from tests.load.figures import milliseconds, shown
from tests.load.plan import percentile
from tests.load.svg import Picture

LEFT, RIGHT, TOP = 60, 730, 60  # of what is drawn
LOW, HIGH, STEPS = 2.0, 5000.0, 60  # milliseconds of a histogram, and its bars
TICKS = (2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000)


def histogram(title: str, series: Mapping[str, Sequence[float]]) -> str:
    """Latencies in seconds, a row a series, over one logarithmic axis. The lines are the median and the 99th
    percentile."""
    row = 130
    picture = Picture(title=title, height=TOP + row * len(series) + 40)
    picture.text(LEFT, 32, title, "name")
    bottom = TOP + row * len(series)
    for tick in TICKS:
        picture.line(_place(tick), TOP - 10, _place(tick), bottom)
        picture.text(_place(tick), bottom + 20, f"{tick} ms" if tick < 1000 else f"{tick // 1000} s", "note", "middle")
    for number, (name, latencies) in enumerate(series.items()):
        _row(picture, TOP + row * (number + 1), row - 45, name, [milliseconds(latency) for latency in latencies])
    return picture.drawn()


def _row(picture: Picture, floor: float, height: float, name: str, values: Sequence[float]) -> None:
    edges = [LOW * (HIGH / LOW) ** (step / STEPS) for step in range(STEPS + 1)]
    within = [min(max(value, LOW), HIGH * 0.999) for value in values]
    counts = [sum(low <= value < high for value in within) for low, high in pairwise(edges)]
    most = max([*counts, 1])
    for low, high, count in zip(edges, edges[1:], counts, strict=False):
        if count:
            tall = height * count / most
            picture.bar(_place(low), floor - tall, _place(high) - _place(low) - 1, tall)
    median, late = percentile(values, 0.5), percentile(values, 0.99)
    for value in (median, late):
        if not math.isnan(value):
            picture.line(_place(value), floor - height - 8, _place(value), floor, "line")
    said = f"{name}: median {shown(median, 'ms')}, 99th percentile {shown(late, 'ms')}, {len(values):,} mails"
    picture.text(LEFT, floor - height - 14, said)
    picture.line(LEFT, floor, RIGHT, floor)


def _place(value: float) -> float:
    within = min(max(value, LOW), HIGH)
    return LEFT + (RIGHT - LEFT) * math.log(within / LOW) / math.log(HIGH / LOW)


def over_time(title: str, rates: Sequence[float], step: float) -> str:
    """Rates, one every `step` seconds."""
    picture, floor, tall = Picture(title=title, height=300), 250, 180
    picture.text(LEFT, 32, title, "name")
    most = _round_up(max([*rates, 1.0]))
    for part in range(5):
        y = floor - tall * part / 4
        picture.line(LEFT, y, RIGHT, y)
        picture.text(LEFT - 6, y + 4, shown(most * part / 4), "note", "end")
    width = (RIGHT - LEFT) / max(len(rates), 1)
    every = max(1, len(rates) // 10)
    for number, rate in enumerate(rates):
        high = tall * rate / most
        picture.bar(LEFT + width * number, floor - high, width - 1, high)
        if number % every == 0:
            picture.text(LEFT + width * number, floor + 20, f"{number * step:g} s", "note")
    return picture.drawn()


def _round_up(value: float) -> float:
    """To a round number that four steps divide well."""
    power = math.pow(10, math.floor(math.log10(value)))
    return next(factor * power for factor in (1, 2, 4, 8, 10) if factor * power >= value)


def bars(title: str, few: str, many: str, pairs: Mapping[str, tuple[float, float]], unit: str) -> str:
    """Two bars a name, each pair as wide as its larger value allows."""
    picture = Picture(title=title, height=TOP + 52 * len(pairs) + 50)
    picture.text(30, 32, title, "name")
    picture.bar(30, 46, 12, 12)
    picture.text(48, 57, few, "note")
    picture.bar(220, 46, 12, 12, "other")
    picture.text(238, 57, many, "note")
    start, most = 250, max([value for pair in pairs.values() for value in pair if not math.isnan(value)] or [1.0])
    for number, (name, pair) in enumerate(pairs.items()):
        top = TOP + 20 + 52 * number
        picture.text(start - 12, top + 22, name, "end")
        for place, value in enumerate(pair):
            if math.isnan(value):
                continue
            long = (RIGHT - start - 90) * value / most
            picture.bar(start, top + 18 * place, long, 15, ("bar", "other")[place])
            picture.text(start + long + 8, top + 12 + 18 * place, shown(value, unit), "note")
    return picture.drawn()
