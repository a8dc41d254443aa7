"""What the page says between its tables. Numbers come from the inputs or from what was computed."""

from collections.abc import Sequence

from tests.capacity.demand import LEAST_INTAKES, Demand
from tests.capacity.inputs import Inputs
from tests.capacity.simulation import Outcome
from tests.capacity.study import OUTAGE, OUTAGE_RATE, RATE, Sharded


def opening(given: Inputs) -> str:
    return f"""# Capacity, on paper

What 1, 100 and 10,000 notifications a second need, day and night, and what that costs. `python -m
tests.capacity` makes this page from [its inputs](../tests/capacity/inputs.toml), which are at its end, too: put
in yours.

**Nothing here was run at 10,000/s, or in a cloud.** The costs were measured on
{given.told("measured.machine")}, {given.told("measured.date")}; the rest is arithmetic and [a
simulation](#10000s-simulated) that was held against the bench. Two digits are meant, at most. All is planned
{given.assumed("busy") * 100:.0f} % busy, one POST a notification, all of one channel, a provider that takes
{given.assumed("provider_median") * 1000:.0f} ms, rows kept for {given.assumed("keep_days"):.0f} days,
`TIDINGS_CONCURRENCY={given.assumed("calls"):.0f}`.
"""


def fees(given: Inputs, rates: Sequence[float]) -> str:
    seconds = 86_400 * given.assumed("days")
    mails = ", ".join(f"${_short(rate * seconds * given.price('mail'))}" for rate in rates)
    texts = ", ".join(f"${_short(rate * seconds * given.price('sms'))}" for rate in rates)
    return f"""\
Every process is counted: intake, each channel's function with its trigger, replay, schedule. One machine is one:
nothing takes over where it fails. **The providers' fees come on top and soon are nearly all of it**: as mails by
SES {mails} a month, as SMS in the US {texts}. A load that has its peak for two hours a day and a tenth of it
otherwise needs the parts of the peak and a sixth of the storage; what KEDA and Lambda then save is the functions,
which are the small part.
"""


def _short(dollars: float) -> str:
    for size, name in ((1e6, " million"), (1e3, ",000")):
        if dollars >= size:
            return f"{float(f'{dollars / size:.2g}'):g}{name}"
    return f"{float(f'{dollars:.2g}'):g}"


def limits(given: Inputs, demand: Demand) -> str:
    default = demand.sender_rate(batches=1, calls=48)
    return f"""\
A limit is what one stack, which is one database with one broker, cannot pass by adding more of the same.

- **Memory for the random indexes.** Of a row's indexes, those of the idempotency key and of the recipient are
  written at random places. As long as both lie in memory that is cheap. Where they do not, each notification
  reads {given.measured("cold.reads.insert"):.2g} pages to be inserted and
  {given.measured("cold.reads.purge"):.2g} to be deleted, one after the other, and a sweep deletes only some
  {demand.cold_purge_rate():.0f} rows/s. So it is a cliff, and counted as a limit.
- **The sweep's deletions.** What comes in must go out: {demand.purge_rate():,.0f} rows/s, by one sweep that
  rests half of the time. More at once may run, but that was not measured.
- **One event source mapping** of Lambda has one environment at a time: {demand.sender_rate_on_lambda:.0f}/s
  with {given.assumed("calls"):.0f} calls at once, {default:.0f}/s with the default of 48, at 100 % busy. The
  same function under a second name, with a mapping of its own on the same queue, doubles it.
- **Quotas of Lambda**: {given.limit("http_api"):,.0f} requests/s and {given.limit("lambda"):,.0f} environments
  an account; both are raised on request. On Lambda nothing is gathered: each POST is a commit of its own, so
  arrays save most there.
- **A queue's leader** is one Erlang process, on one core. Each channel has two, and all are of one broker.
- **The provider** is met before any of them: FCM allows {given.limit("fcm"):,.0f}/s a project, a short code
  about {given.limit("short_code"):.0f} SMS/s, a mail service what it has agreed to.
"""


def days() -> str:
    return """\
Most of the money at 10,000/s is memory of databases whose cores have nothing to do. `TIDINGS_RETENTION_DAYS` is the
lever: an idempotency key is kept as long as its row, so the question is how late a caller may repeat a POST.
Copy what you want to keep for longer to where it costs less, by `GET /v1/notifications` before it is deleted;
there is no archive.
"""


def simulation(given: Inputs) -> str:
    return f"""\
A discrete-event simulation ([tests/capacity](../tests/capacity), whole microseconds, one seed): intake
processes that gather by the rule of `gather.py`, a database with cores, a log with group commit and a disk, the
queue's leader (charged with all of RabbitMQ's CPU), triggers with two
batches of up to 100 at their function, calls (lognormal, 99th percentile
{given.assumed("provider_p99") * 1000:.0f} ms, {100 * given.assumed("failing"):g} % fail for now), settling, the
retry ladder. Its service times are the measured ones. {RATE:,.0f}/s are shared evenly by so many complete
stacks, with as many functions as the arithmetic above says. It must send what it accepts, answer 99 % of the
POSTs within {given.assumed("post_within"):g} s, and 99 % within {given.assumed("sent_within"):g} s from the
POST to the provider's answer. What failed once comes back after a second and more: that is the 99.9 %. Not
simulated: the sweep and its deletions, what triggers fetch ahead, high priority, Lambda's intake.
In the simulation a batch still ends with its slowest call, and a POST is answered after the broker's confirm, as it was
when the costs were measured: intake and throughput are better than it says.
"""


def smallest(given: Inputs, tried: Sequence[Sharded], worst: float) -> str:
    by_model, by_error = (
        next((one.shards for one in tried if one.holds(given, slower)), None) for slower in (1, worst)
    )
    if by_model is None:
        return "None of these holds.\n"
    other = f"it is {by_error}" if by_error is not None else "none of these is enough"
    return f"""\
**{by_model} stacks are the fewest that hold it**, by the model. Its latencies are too good, by up to {worst:.1f}
times ([below](#how-far-the-model-is-off)): where all but the provider takes that much longer, {other}. The
arithmetic above takes one more where that keeps the random indexes wholly in memory, which the sweep needs.
"""


def outage(ran: Outcome) -> str:
    begin, end = OUTAGE
    deepest = max(ran.depth)
    waits = [number / 10 for number, waiting in enumerate(ran.depth) if waiting > deepest / 10]
    return f"""\
{OUTAGE_RATE:,.0f}/s on one small stack; from {begin:.0f} s to {end:.0f} s every call is refused. Nobody waits
in the work queue meanwhile, as all wait on the ladder; it fills when they come back. The most that wait are
{deepest:,}; the queue is back to normal {max(waits) - end:.0f} s after the outage, when those have returned
that waited for the step of 2 minutes. {ran.counts.retried:,} attempts were made again and {ran.counts.dead}
became dead letters. Without room to spare the waves run into each other: plan for it.
"""


def error(worst: float) -> str:
    return f"""\
The same simulation of what the bench measured, everything on two cores with the load generator and the mail server.
Throughput is within a third, and mostly too high. **Latency under load is not near**: what was measured is up to
{worst:.1f} times what is simulated. The model knows queues, cores and locks, and neither the system's scheduler nor
Python's lock, by which a dozen threads hold each other up; on machines that are not shared they do so less.
"""


SHARDING = """## How to go on beyond one stack

Tidings knows no shards. What exists is settings; a router is yours to put in front. In this order:

**By tenant.** A stack is one database, one broker and everything on them; each tenant belongs to one.

- The rule is a table *tenant → stack*, in the router or, simpler, in each tenant's base URL. No hash: a table
  lets you move one. An id does not tell its stack, so `GET` goes by the tenant as well.
- A stack's `TIDINGS_API_KEYS` holds the keys of its tenants alone. A request that is led wrong is then a 401,
  and never a second notification.
- The caller sets `Client(url=...)`, and nothing else.
- A tenant that is too large becomes several (`shop-0` to `shop-7`), by a hash of the recipient. Suppressions,
  `reconcile` and idempotency stay right, as each looks at one tenant: the same POST has the same recipient, so
  it goes the same way.
- To move a tenant: switch its POSTs, and keep its `GET`s on both until the old rows are gone. An idempotency
  key that was used before the switch is not known after it.
- The console, the metrics and the dead letters are a stack's own. Prometheus adds them up; the console does
  not.

**By channel.** More functions and triggers of one channel share its queue by themselves. A channel with *a
broker of its own on the same database* does not work today: `TIDINGS_BROKER_URL` is one for intake and sweep,
and the sweep publishes what is overdue of every channel. A channel with a stack of its own works: it is the
rule above, by another name.

**Several brokers, leaders.** One database has one broker, as said. In a cluster, spread the queues' leaders
over the nodes (`queue-leader-locator: balanced` by policy, or `rabbitmq-queues rebalance quorum`): each channel
and each priority is a queue, so six of them can use three nodes. One channel's queue stays on one leader.

**The database.** First fewer days, then memory, then more stacks.

- *Read replicas* could take the console's overview, lists, searches and groups of dead letters, which may be a
  second old. Not: claims, settling, the sweep, pauses, look-ups just after a POST, and whatever compares an
  idempotency key. Today a process has one `TIDINGS_DATABASE_URL`, and replay sweeps as well as it shows, so
  none of it can be sent there.
- *Partitions by day* would make the deletion free. MySQL wants the day in every unique key then, and the
  idempotency key would be unique for a day only. It would take a table of keys apart; that is not built.
- *Vitess* with the tenant as its vindex keeps the key unique, as the tenant is part of its hash. But a batch is
  claimed across tenants in one transaction, and the sweep looks everywhere for what is overdue: both would
  touch every shard. Not tried. *Galera* and other multi-primaries: not tried, and their commits fail where
  InnoDB's wait.
"""


def how(given: Inputs, demand: Demand) -> str:
    return f"""## How it is computed

Units of a part are the rate times what one notification takes, divided by {given.assumed("busy"):g}, rounded up to
what one can buy; a month has {given.assumed("days")} days. At least {LEAST_INTAKES} intake processes run. A
function with its trigger does {demand.a_function:.0f}/s, by the simulation of a queue that is never empty: its
calls wait for the provider's slowest. A row with its events and indexes has {demand.bytes_a_row:,.0f} bytes,
{given.measured("bytes.random_indexes"):,.0f} of them in the two random indexes; storage is filled to {
        100
        * given.assumed(
            "disk_share"
        ):.0f} %. Managed databases are in two zones. Kubernetes is EKS with RDS, and RabbitMQ
on three nodes of its own; Lambda has Amazon MQ, RDS and two NAT gateways; Cloud Run has Cloud SQL, and RabbitMQ
on three machines. Log storage, load balancers, backups, traffic between zones and people are not counted.

With 64 connections a notification is {given.measured("end_to_end.questions"):.2f} statements,
{given.measured("end_to_end.com_commit"):.2f} commits and {
        given.measured("end_to_end.innodb_os_log_written") / 1000:.1f} KB
of the database's log, as its work is done by the batch.

`python -m tests.capacity --measure` measures again what is in the first table: CPU seconds per 1,000 by
process; milliseconds of a batch of so many rows (`cpu_here` is of the process that asks, `cpu_there` of MariaDB
or RabbitMQ); bytes of a row; pages that a row reads and writes (`cold`) where next to nothing is in memory.
"""


PRICES = """\
**Other people's prices and limits, as they were found: check before you trust them.** AWS is us-east-1, Google
us-central1.
"""
