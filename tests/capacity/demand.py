"""What one notification takes of each part, and what the parts that all targets share need at a rate."""

import math
from dataclasses import dataclass
from functools import cached_property

from tests.capacity.costs import LADDER_MICROSECONDS, in_a_cloud, provider
from tests.capacity.inputs import Inputs
from tests.capacity.model import Need, at_least, sized
from tests.capacity.setup import Load, Setup
from tests.capacity.simulation import simulate

HOURS = 24
GIGABYTE = 1e9
SIZES = (2, 4, 8, 16, 32, 64)
"""vCPUs that one can buy."""
LEAST_INTAKES = 2  # docs/operators.md: two for safety
OTHERS = 2  # functions of the channels that have no load here: all of it is one channel's


@dataclass(frozen=True)
class Demand:
    """Of one stack at a rate, by the inputs."""

    given: Inputs

    # --- a notification -----------------------------------------------------------------------------------------------

    @property
    def busy(self) -> float:
        return self.given.assumed("busy")

    @property
    def hours(self) -> float:
        return HOURS * self.given.assumed("days")

    @property
    def seconds(self) -> float:
        return 3600 * self.hours

    def cpu(self, part: str) -> float:
        """Seconds."""
        return self.given.measured(f"end_to_end.cpu.{part}") / 1000

    @property
    def bytes_a_row(self) -> float:
        """Of the notification and its events, with their indexes."""
        measured = self.given.measured
        return math.fsum(
            measured(f"bytes.{table}.{part}") for table in ("notifications", "events") for part in ("data", "index")
        )

    @property
    def memory_a_core(self) -> float:
        """GB that a database's vCPU comes with."""
        return self.given.limit("database_memory") / self.given.limit("database_cores")

    @property
    def kept(self) -> float:
        """Seconds."""
        return 86_400 * self.given.assumed("keep_days")

    def gigabytes(self, rate: float, days: float | None = None) -> float:
        """Of the database's files."""
        kept = self.kept if days is None else 86_400 * days
        return rate * kept * self.bytes_a_row / GIGABYTE

    def index_gigabytes(self, rate: float) -> float:
        """Of the two indexes that are read and written at random places."""
        return rate * self.kept * self.given.measured("bytes.random_indexes") / GIGABYTE

    # --- functions ----------------------------------------------------------------------------------------------------

    @cached_property
    def a_function(self) -> float:
        """Notifications a second of one with its trigger, which has two batches there at once."""
        return self.sender_rate(batches=2)

    @cached_property
    def sender_rate_on_lambda(self) -> float:
        """The same of an event source mapping, which has one."""
        return self.sender_rate(batches=1)

    def sender_rate(self, *, batches: int, calls: int | None = None) -> float:
        """Simulated: the queue is never empty."""
        setup = Setup(
            costs=in_a_cloud(self.given),
            load=Load(backlog=20_000, seconds=20, warm=0),
            provider=provider(self.given),
            calls=round(self.given.assumed("calls")) if calls is None else calls,
            batches=batches,
            ladder=LADDER_MICROSECONDS,
        )
        return simulate(setup).sent_rate

    def functions(self, rate: float) -> int:
        return at_least(rate / (self.a_function * self.busy), 1)

    def intakes(self, rate: float) -> int:
        return at_least(rate * self.cpu("intake") / self.busy, LEAST_INTAKES)

    # --- database and broker ------------------------------------------------------------------------------------------

    def database(
        self, rate: float, *, core: float, storage: float, iops: float, intake: float | None = None
    ) -> list[Need]:
        """Prices a month: of a vCPU with its memory, of a GB, of an IOPS beyond those that are included; both zones.
        `intake`: seconds of the database's CPU for what a notification takes beyond the usual."""
        limit, given = self.given.limit, self.given
        work = self.cpu("mariadb") + given.measured("purge.cpu") / 1000 + (intake or 0.0)
        gigabytes = self.gigabytes(rate) / given.assumed("disk_share")
        memory = self.index_gigabytes(rate) / given.assumed("index_share")
        cores = sized(max(rate * work / self.busy, memory / self.memory_a_core), SIZES)
        pages = rate * (given.measured("cold.writes.sent") + given.measured("cold.writes.purge")) / self.busy
        return [
            Need(
                part="database: CPU",
                units=rate * work / self.busy,
                unit="vCPU",
                most=limit("database_cores"),
                beyond="more databases, a stack each",
            ),
            Need(
                part="database: memory for the random indexes",
                units=memory,
                unit="GB",
                most=limit("database_memory"),
                beyond="fewer days; or more databases, a stack each",
            ),
            Need(part="database", units=cores, unit="vCPU", dollars=cores * core),
            Need(
                part="database: storage",
                units=at_least(gigabytes, 20),
                unit="GB",
                most=limit("database_storage"),
                dollars=at_least(gigabytes, 20) * storage,
                beyond="fewer days; or more databases, a stack each",
            ),
            Need(
                part="database: pages written",
                units=pages,
                unit="IOPS",
                most=limit("database_iops"),
                dollars=max(0.0, pages - (12_000 if gigabytes >= 400 else 3000)) * iops,
                beyond="io2; or more databases, a stack each",
            ),
        ]

    def purge_rate(self) -> float:
        """Rows a second that one sweep deletes which is begun each second, all in memory; it rests as long as it
        works. From docs/speed.md, beside a load."""
        return self.given.speed("deleted")

    def cold_purge_rate(self) -> float:
        """The same where the random indexes are on disk."""
        pages = self.given.measured("cold.reads.purge") * self.given.assumed("read")
        return 1 / (1 / self.purge_rate() + 2 * pages)

    def sweep(self, rate: float) -> Need:
        return Need(
            part="the sweep's deletions",
            units=rate / self.purge_rate(),
            unit="sweep",
            most=1,
            beyond="more schedules and replays at once, which is allowed and was not measured; or a stack each",
        )

    def broker(self, rate: float, *, nodes: int, core: float, gigabyte: float) -> list[Need]:
        given = self.given
        a_node = rate * self.cpu("rabbitmq") / self.busy
        leader = rate * self.cpu("rabbitmq") * given.measured("broker.busiest_share") / self.busy
        cores = sized(a_node, SIZES)
        disk = given.assumed("broker_gigabytes")
        return [
            Need(part="broker", units=nodes, unit="node", dollars=nodes * (cores * core + disk * gigabyte)),
            Need(
                part="broker: CPU of a node",
                units=cores,
                unit="vCPU",
                most=given.limit("broker_cores"),
                beyond="channels on brokers of their own; or a stack each",
            ),
            Need(
                part="broker: the busiest queue's leader",
                units=leader,
                unit="core",
                most=1,
                beyond="more channels share it out; or more brokers, a stack each",
            ),
        ]
