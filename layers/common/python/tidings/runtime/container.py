"""The container: builds the parts of a process and chooses its adapters. Nothing is opened before its first use."""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cached_property
from typing import ClassVar

from pydantic import Field
from sqlalchemy import make_url

from tidings.adapters.embedded import EmbeddedBroker
from tidings.adapters.rabbitmq import topology_check
from tidings.adapters.rabbitmq.broker import BrokerSettings, RabbitBroker
from tidings.adapters.sql.books import SqlBooks
from tidings.adapters.sql.database import Database, DatabaseSettings
from tidings.adapters.sql.insight import SqlInsight
from tidings.adapters.sql.returned_mails import SqlReturnedMails
from tidings.adapters.sql.store import SqlStore
from tidings.adapters.sql.webhooks import SqlWebhooks
from tidings.api.api_keys import ApiKeys, KeySettings
from tidings.api.endpoint import BoundEndpoint
from tidings.config.settings import Settings, load
from tidings.domain import timing
from tidings.domain.timing import LEASE, WAIT_FOR_ACCOUNT
from tidings.observability.gauges import Gauges, SystemGauges
from tidings.observability.observers import Observers
from tidings.pipeline.audit import Audit
from tidings.pipeline.delivery import Delivery
from tidings.pipeline.intake import Intake
from tidings.pipeline.ledger import Ledger
from tidings.pipeline.proof import ProofSettings, Signer
from tidings.pipeline.receipts import Receipts
from tidings.pipeline.replay import Replay
from tidings.pipeline.retry import RetrySchedule
from tidings.pipeline.settlement import Settler
from tidings.pipeline.suppression import Enforcement
from tidings.pipeline.sweep import Sweep
from tidings.ports import Broker, Provider, Store
from tidings.ports.insight import Insight
from tidings.ports.returned_mails import ReturnedMails
from tidings.ports.webhooks import UsesEndpoints, Webhooks
from tidings.providers import receipt_lookups
from tidings.providers.webhooks.settings import WebhookSettings
from tidings.runtime.telemetry import Observed, Telemetry, TelemetrySettings, build_telemetry

log = logging.getLogger(__name__)


class DeliverySettings(Settings):
    """How a function delivers. Prefix TIDINGS_."""

    lease: float = Field(
        default=LEASE.total_seconds(),
        ge=1,
        le=3600,
        description="seconds after which a worker that is silent counts as dead; it renews what it is sending",
    )
    concurrency: int = Field(
        default=48, ge=1, le=500, description="provider calls at once, a process; two more for high"
    )


class SuppressionSettings(Settings):
    """Whether suppressed recipients are sent to. Prefix TIDINGS_."""

    suppression: Enforcement = Field(
        default=Enforcement.ON,
        description="on: suppressed recipients are not sent to; warn: they are, and the log and the timeline say so;"
        " off: the list is not read",
    )


class RefusalSettings(Settings):
    """How long notifications wait for a provider that refuses our account. Prefix TIDINGS_."""

    account_refused_hours: float = Field(
        default=WAIT_FOR_ACCOUNT / timedelta(hours=1),
        gt=0,
        le=720,
        description="hours that a notification waits while its provider refuses our account; then it is a dead letter",
    )

    @property
    def wait_for_account(self) -> timedelta:
        return timedelta(hours=self.account_refused_hours)


class RetentionSettings(Settings):
    """How long rows are kept. Prefix TIDINGS_."""

    formerly: ClassVar[Mapping[str, str]] = {"retention_days": "TIDINGS_KEEP_DAYS"}

    retention_days: float | None = Field(
        default=None,
        ge=1,
        description="days after which the sweep deletes what is over (sent, delivered, undelivered, failed,"
        " suppressed, canceled, expired), its timeline and its idempotency key, and suppressions that ended; not set:"
        " never",
    )

    @property
    def keep(self) -> timedelta | None:
        return timedelta(days=self.retention_days) if self.retention_days is not None else None


def utc_now() -> datetime:
    return datetime.now(UTC)


@dataclass(frozen=True)
class Container:
    """The parts of one process. Each is built when it is first used."""

    database: DatabaseSettings
    broker_settings: BrokerSettings

    @cached_property
    def _database(self) -> Database:
        return Database(self.database)

    @cached_property
    def store(self) -> Store:
        return SqlStore(self._database)

    @cached_property
    def broker(self) -> Broker:
        if self.broker_settings.broker_url is None:
            return EmbeddedBroker(Database(self.database))
        return RabbitBroker(self.broker_settings)

    @cached_property
    def insight(self) -> Insight:
        return SqlInsight(self._database)

    @cached_property
    def webhooks(self) -> Webhooks:
        return SqlWebhooks(self._database)

    @cached_property
    def telemetry(self) -> Telemetry:
        database = make_url(self.database.database_url).get_backend_name()
        broker = "rabbitmq" if self.broker_settings.broker_url is not None else "tidings"
        return build_telemetry(load(TelemetrySettings), database=database, broker=broker)

    @cached_property
    def observers(self) -> Observers:
        return self.telemetry.observers

    @cached_property
    def settler(self) -> Settler:
        return Settler(
            store=self.store,
            broker=self.broker,
            retry=RetrySchedule(),
            wait_for_account=load(RefusalSettings).wait_for_account,
            observers=self.observers,
        )

    @property
    def suppression(self) -> Enforcement:
        """Raise ConfigurationError."""
        return load(SuppressionSettings).suppression

    def database_time(self) -> datetime:
        """Raise StoreUnavailable."""
        return self.store.now()

    def largest_statement(self) -> int | None:
        """Bytes that the database takes in one statement. None: no limit that matters. Raise StoreUnavailable."""
        return SqlStore(self._database).largest_statement()

    def numbering_step(self) -> int:
        """1, unless the database is a cluster in which several nodes take writes. Raise StoreUnavailable."""
        return SqlStore(self._database).numbering_step()

    def topology_differences(self) -> Sequence[str]:
        """A line for each exchange and queue that differs from the topology. Raise BrokerUnavailable."""
        return topology_check.differences(self.broker_settings)

    def intake(self) -> Intake:
        return Intake(store=self.store, broker=self.broker, observers=self.observers)

    def delivery(self, provider: Provider) -> Delivery:
        settings = load(DeliverySettings)
        lease = timedelta(seconds=settings.lease)
        timing.check(lease=lease)
        if isinstance(provider, UsesEndpoints):
            provider.look_up_with(self.webhooks)
        return Delivery(
            provider=provider,
            store=self.store,
            broker=self.broker,
            settler=self.settler,
            lease=lease,
            concurrency=settings.concurrency,
            suppression=self.suppression,
            observers=self.observers,
        )

    def receipts(self) -> Receipts:
        return Receipts(store=self.store, observers=self.observers)

    def returned_mails(self) -> ReturnedMails:
        return SqlReturnedMails(self._database)

    def replay(self) -> Replay:
        return Replay(store=self.store, broker=self.broker, observers=self.observers)

    def sweep(self) -> Sweep:
        return Sweep(
            store=self.store,
            broker=self.broker,
            settler=self.settler,
            observers=self.observers,
            insight=self.insight,
            webhooks=self.webhooks,
            keep=load(RetentionSettings).keep,
            lookups=receipt_lookups(),
        )

    def ledger(self) -> Ledger:
        return Ledger(books=SqlBooks(self._database), keep=load(RetentionSettings).keep)

    def audit(self) -> Audit:
        return Audit(books=SqlBooks(self._database), keep=load(RetentionSettings).keep)

    def signer(self) -> Signer | None:
        """Of proofs. None: no key is set."""
        return Signer.from_settings(load(ProofSettings))

    def gauges(self) -> Gauges:
        return SystemGauges(store=self.store, insight=self.insight, broker=self.broker, webhooks=self.webhooks)

    def observed(self, endpoints: Sequence[BoundEndpoint], *, gauges: Gauges | None = None) -> Sequence[BoundEndpoint]:
        """An HTTP function's endpoints, timed and traced, and `GET /metrics`, with these gauges if there are any."""
        return Observed(telemetry=self.telemetry, observers=self.observers).endpoints(endpoints, gauges=gauges)

    def webhook_settings(self) -> WebhookSettings:
        return load(WebhookSettings)

    def api_keys(self) -> ApiKeys:
        keys = load(KeySettings).api_keys
        for key in keys:
            if key.unknown:
                log.warning("unknown_scope", extra={"tenant": key.tenant, "scopes": key.unknown})
        return ApiKeys(keys=keys)

    def metrics_keys(self) -> ApiKeys:
        """Of a function whose only endpoint with a key is `GET /metrics`: none where that is not served."""
        return self.api_keys() if self.observers.exposition is not None else ApiKeys(keys=())

    def close(self) -> None:
        for name in ("broker", "store"):
            if name in self.__dict__:
                getattr(self, name).close()


def build_container() -> Container:
    """From the environment. Raise ConfigurationError, whose one line says what to change."""
    return Container(load(DatabaseSettings), load(BrokerSettings))
