"""The time from creation to the provider call of notifications submitted meanwhile."""

from collections.abc import Container
from datetime import UTC, datetime
from statistics import quantiles

from tests.faults.checks import look
from tests.faults.fault import Scene


def lags(scene: Scene, addresses: Container[str]) -> str:
    """How long the notifications of these addresses waited."""
    seen = look(scene.world, scene.load)
    first = min(row.id for row in seen.rows)
    created = dict(scene.world.query("SELECT id, created_at FROM notifications WHERE id >= %s", (first,)))
    waited = [
        (datetime.fromisoformat(calls[0]["at"]) - created[row.id].replace(tzinfo=UTC)).total_seconds()
        for row in seen.rows
        if row.address in addresses and (calls := seen.calls.get(row.address))
    ]
    parts = quantiles(waited, n=100)
    return f"from creation to the first call: {parts[49]:.1f} s (median), {parts[98]:.1f} s (99 %)"
