"""How much it takes: notifications handed in by several callers at once, and when all of them had been sent."""

import argparse
import ipaddress
import threading
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

from tidings.cli.api_client import IntakeSettings, OperatorSettings, chosen, operator
from tidings.cli.exit_codes import REFUSED, UNREACHABLE, Failed, Usage
from tidings.cli.follow import Tally, count_by_status, end_of, tallied
from tidings.cli.options import Commands, Parents, positive
from tidings.cli.output import Advance, plain, progress, show
from tidings.client import Client, ClientError, Draft, Refused, Unreachable
from tidings.domain.channels import CHANNELS

TALLIED = 10_000  # ids of one question, at most: the API's limit
LOOKS = 0.2  # seconds between two looks at how far it is


@dataclass
class Run:
    """What has happened so far. For several threads."""

    ids: list[str] = field(default_factory=list)
    took: list[float] = field(default_factory=list)  # seconds, of each that was accepted
    errors: Counter[str] = field(default_factory=Counter)
    unreachable: int = 0
    lock: threading.Lock = field(default_factory=threading.Lock)
    stopped: threading.Event = field(default_factory=threading.Event)

    @property
    def done(self) -> int:
        return len(self.took) + self.errors.total()


def load_test(options: argparse.Namespace) -> None:
    settings = chosen(IntakeSettings, options)
    if options.follow:
        chosen(OperatorSettings, options)  # told before anything is sent
    if not _is_here(settings.url) and not options.yes:
        raise Usage(
            f"{settings.url} is not on this machine: --yes sends {options.count} notifications there all the same"
        )
    with Client(url=settings.url, api_key=settings.api_key, timeout=30, deadline=0) as client:
        begun = time.monotonic()
        run = _sent(client, options)
        seconds = time.monotonic() - begun
    report = _report(run, seconds)
    found = Tally()
    if options.follow and run.ids:
        found = _followed(run.ids, options)
        report["settled"] = {"seconds": round(time.monotonic() - begun, 3), "statuses": found.statuses}
    show(options, report, _text(report))
    if run.errors:
        raise Failed(
            UNREACHABLE if run.unreachable == options.count else REFUSED, f"{run.errors.total()} were not accepted"
        )
    if options.follow:
        end_of(found, len(run.ids))


def _sent(client: Client, options: argparse.Namespace) -> Run:
    run, numbers = Run(), iter(range(options.count))
    example = CHANNELS[options.channel].example  # no provider delivers it
    drafts = (Draft(channel=options.channel, **example) for _ in numbers)
    threads = [
        threading.Thread(target=_work, args=(client, drafts, run), daemon=True)
        for _ in range(min(options.concurrency, options.count))
    ]
    for thread in threads:
        thread.start()
    try:
        with progress("handing in", options.count) as advance:
            _watch(threads, run, advance)
    finally:
        run.stopped.set()
    return run


def _watch(threads: Sequence[threading.Thread], run: Run, advance: Advance) -> None:
    for thread in threads:
        while thread.is_alive():
            thread.join(LOOKS)
            advance(run.done, f"{run.errors.total()} errors" if run.errors else "")


def _work(client: Client, drafts: Iterator[Draft], run: Run) -> None:
    while not run.stopped.is_set():
        with run.lock:
            draft = next(drafts, None)
        if draft is None:
            return
        begun = time.monotonic()
        try:
            accepted = client.send_draft(draft)
        except ClientError as error:
            with run.lock:
                run.errors[_kind(error)] += 1
                run.unreachable += isinstance(error, Unreachable)
        else:
            with run.lock:
                run.took.append(time.monotonic() - begun)
                run.ids.append(accepted.id)


def _kind(error: ClientError) -> str:
    return f"{error.status} {error.title}" if isinstance(error, Refused) else str(error)


def _followed(ids: Sequence[str], options: argparse.Namespace) -> Tally:
    parts = [ids[start : start + TALLIED] for start in range(0, len(ids), TALLIED)]
    with operator(options) as server:

        def ask() -> Tally:
            found: Counter[str] = Counter()
            doubtful = 0
            for one in (count_by_status(server, part) for part in parts):
                found.update(one.statuses)
                doubtful += one.doubtful
            return Tally(dict(found), doubtful)

        return tallied(ask, len(ids), options.within)


def _report(run: Run, seconds: float) -> dict[str, Any]:
    took = sorted(run.took)
    return {
        "accepted": len(took),
        "seconds": round(seconds, 3),
        "per_second": round(len(took) / seconds, 1),
        "latency_ms": {name: round(1000 * _at(took, rank), 1) for name, rank in LATENCIES.items()} if took else {},
        "errors": dict(run.errors),
    }


LATENCIES = {"p50": 0.5, "p95": 0.95, "p99": 0.99, "max": 1.0}


def _at(ordered: Sequence[float], rank: float) -> float:
    return ordered[min(int(rank * len(ordered)), len(ordered) - 1)]


def _text(report: dict[str, Any]) -> str:
    lines = [f"{report['accepted']} accepted in {report['seconds']} s: {report['per_second']} a second"]
    if report["latency_ms"]:
        lines.append(
            "answered within " + ", ".join(f"{value} ms ({name})" for name, value in report["latency_ms"].items())
        )
    lines += [plain(f"{count} times: {error}") for error, count in report["errors"].items()]
    if "settled" in report:
        lines.append(f"settled {report['settled']['seconds']} s after the first was handed in")
    return "\n".join(lines)


def _is_here(url: str) -> bool:
    host = urlsplit(url).hostname or ""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def add(commands: Commands, parents: Parents) -> None:
    shared = [parents.output, parents.intake, parents.within]
    one = commands.add_parser("load-test", parents=shared, help="hand in many, and tell how fast that went")
    one.add_argument("--ops-url", metavar="URL", help="in place of TIDINGS_OPS_URL, with --follow")
    one.add_argument("--channel", choices=tuple(CHANNELS), default="email", help="default: email")
    one.add_argument("--count", type=positive, default=1000, metavar="N", help="default: 1000")
    one.add_argument("--concurrency", type=positive, default=16, metavar="N", help="callers at once (default: 16)")
    one.add_argument("--follow", action="store_true", help="wait until all are sent, and tell how long that took")
    one.add_argument("--yes", action="store_true", help="also to an address that is not this machine's")
    one.set_defaults(run=load_test)
