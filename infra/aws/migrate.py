"""On Lambda: migrate the database to this release's schema, and declare the broker's queues and exchanges.

    aws lambda invoke --function-name tidings-migrate --cli-read-timeout 900 answer.json

Run it before the functions of this release, which do not migrate, and before the event source mappings, which need
their queues. Running it again changes nothing; two that run at once wait for each other.
"""

from tidings.config.settings import load
from tidings.domain.errors import ConfigurationError
from tidings.migrate import MigrationSettings, migrate, versions
from tidings.runtime.container import build_container


def handler(_event: object, _context: object) -> dict[str, str | None]:
    """The schema's revision before and after. Raise ConfigurationError, StoreUnavailable, BrokerUnavailable, or the
    database's error if a migration fails."""
    container, migrations = build_container(), load(MigrationSettings).migrations
    try:
        before, _ = versions(container.database, migrations)
        migrate(container.database, migrations)
        now, _ = versions(container.database, migrations)
        container.broker.declare()
        if differences := container.topology_differences():
            raise ConfigurationError(f"broker topology: {'; '.join(differences)}")
        return {"before": before, "now": now}
    finally:
        container.close()
