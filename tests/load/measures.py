"""All measures, in the order in which they run."""

from collections.abc import Callable, Mapping

from tests.load.burst import burst
from tests.load.coldstart import cold_start
from tests.load.endtoend import end_to_end, end_to_end_push, end_to_end_sms
from tests.load.figures import Report
from tests.load.growth import growth
from tests.load.hostile import hostile
from tests.load.intake import arrays, singles
from tests.load.latency import latency
from tests.load.memory import memory
from tests.load.receipts import receipts
from tests.load.replaying import replay, sweep
from tests.load.retention import retention
from tests.load.senders import senders
from tests.load.sizes import Sizes
from tests.load.uneven import uneven
from tests.load.world import World

MEASURES: Mapping[str, Callable[[World, Sizes], Report]] = {
    "intake-singles": singles,
    "intake-arrays": arrays,
    "burst": burst,
    "hostile-callers": hostile,
    "end-to-end-email": end_to_end,
    "end-to-end-sms": end_to_end_sms,
    "end-to-end-push": end_to_end_push,
    "receipts": receipts,
    "slow-hundredth": uneven,
    "latency": latency,
    "scale-calls": senders,
    "scale-rows": growth,
    "scale-queue": memory,
    "replay": replay,
    "sweep": sweep,
    "retention": retention,
    "cold-start": cold_start,
}
