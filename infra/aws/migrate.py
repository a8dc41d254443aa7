"""On Lambda: bring the database to this version's schema, and declare the broker's queues and exchanges.

    aws lambda invoke --function-name tidings-migrate --cli-read-timeout 900 answer.json

It comes before the functions of this version, which do not start a schema of their own, and before the event source
mappings, which need their queues. To run it again changes nothing; two that run at once wait for each other.
"""

from tidings.config.settings import load
from tidings.domain.errors import ConfigurationError
from tidings.migrate import MigrationSettings, migrate, versions
from tidings.runtime.container import build_container


def handler(_event: object, _context: object) -> dict[str, str | None]:
    """The schema's revision before, and now. Raise ConfigurationError, StoreUnavailable or BrokerUnavailable, and what
    the database says of a migration that it refuses."""
    parts, migrations = build_container(), load(MigrationSettings).migrations
    try:
        before, _ = versions(parts.database, migrations)
        migrate(parts.database, migrations)
        now, _ = versions(parts.database, migrations)
        parts.broker.declare()
        if differences := parts.topology_differences():
            raise ConfigurationError(f"the broker: {'; '.join(differences)}")
        return {"before": before, "now": now}
    finally:
        parts.close()
