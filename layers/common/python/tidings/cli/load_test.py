"""The command `tidings load-test`: submits many notifications concurrently, and measures rate and latency."""

import argparse
import ipaddress
import threading
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

from tidings.cli.api_client import IntakeSettings, OperatorSettings, load_settings, operator
from tidings.cli.exit_codes import REFUSED, UNREACHABLE, CommandFailed, UsageError
from tidings.cli.follow import StatusCounts, count_by_status, poll_counts, report_end
from tidings.cli.options import Commands, Parents, positive
from tidings.cli.output import Advance, plain, progress, show
from tidings.client import Client, ClientError, Draft, Refused, Unreachable
from tidings.domain.channels import CHANNELS

MAX_IDS = 10_000  # ids of one request: the API's limit
PROGRESS_EVERY = 0.2  # seconds


@dataclass
class Run:
    """The results so far, shared by the threads."""

    ids: list[str] = field(default_factory=list)
    latencies: list[float] = field(default_factory=list)  # seconds, of each accepted notification
    errors: Counter[str] = field(default_factory=Counter)
    unreachable: int = 0
    lock: threading.Lock = field(default_factory=threading.Lock)
    stopped: threading.Event = field(default_factory=threading.Event)

    @property
    def done(self) -> int:
        return len(self.latencies) + self.errors.total()


def load_test(options: argparse.Namespace) -> None:
    settings = load_settings(IntakeSettings, options)
    if options.follow:
        load_settings(OperatorSettings, options)  # fail before anything is sent
    if not _is_local(settings.url) and not options.yes:
        raise UsageError(
            f"{settings.url} is not on this machine: --yes sends {options.count} notifications there anyway"
        )
    with Client(url=settings.url, api_key=settings.api_key, timeout=30, deadline=0) as client:
        begun = time.monotonic()
        run = _submit(client, options)
        seconds = time.monotonic() - begun
    report = _report(run, seconds)
    found = StatusCounts()
    if options.follow and run.ids:
        found = _follow(run.ids, options)
        report["settled"] = {"seconds": round(time.monotonic() - begun, 3), "statuses": found.statuses}
    show(options, report, _text(report))
    if run.errors:
        raise CommandFailed(
            UNREACHABLE if run.unreachable == options.count else REFUSED, f"{run.errors.total()} were not accepted"
        )
    if options.follow:
        report_end(found, len(run.ids))


def _submit(client: Client, options: argparse.Namespace) -> Run:
    run, numbers = Run(), iter(range(options.count))
    example = CHANNELS[options.channel].example  # no provider delivers it
    drafts = (Draft(channel=options.channel, **example) for _ in numbers)
    threads = [
        threading.Thread(target=_submit_drafts, args=(client, drafts, run), daemon=True)
        for _ in range(min(options.concurrency, options.count))
    ]
    for thread in threads:
        thread.start()
    try:
        with progress("submitting", options.count) as advance:
            _show_progress(threads, run, advance)
    finally:
        run.stopped.set()
    return run


def _show_progress(threads: Sequence[threading.Thread], run: Run, advance: Advance) -> None:
    for thread in threads:
        while thread.is_alive():
            thread.join(PROGRESS_EVERY)
            advance(run.done, f"{run.errors.total()} errors" if run.errors else "")


def _submit_drafts(client: Client, drafts: Iterator[Draft], run: Run) -> None:
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
                run.latencies.append(time.monotonic() - begun)
                run.ids.append(accepted.id)


def _kind(error: ClientError) -> str:
    return f"{error.status} {error.title}" if isinstance(error, Refused) else str(error)


def _follow(ids: Sequence[str], options: argparse.Namespace) -> StatusCounts:
    batches = [ids[start : start + MAX_IDS] for start in range(0, len(ids), MAX_IDS)]
    with operator(options) as server:

        def fetch() -> StatusCounts:
            found: Counter[str] = Counter()
            doubtful = 0
            for one in (count_by_status(server, batch) for batch in batches):
                found.update(one.statuses)
                doubtful += one.doubtful
            return StatusCounts(dict(found), doubtful)

        return poll_counts(fetch, len(ids), options.within)


def _report(run: Run, seconds: float) -> dict[str, Any]:
    latencies = sorted(run.latencies)
    return {
        "accepted": len(latencies),
        "seconds": round(seconds, 3),
        "per_second": round(len(latencies) / seconds, 1),
        "latency_ms": {name: round(1000 * _percentile(latencies, rank), 1) for name, rank in PERCENTILES.items()}
        if latencies
        else {},
        "errors": dict(run.errors),
    }


PERCENTILES = {"p50": 0.5, "p95": 0.95, "p99": 0.99, "max": 1.0}


def _percentile(ordered: Sequence[float], rank: float) -> float:
    return ordered[min(int(rank * len(ordered)), len(ordered) - 1)]


def _text(report: dict[str, Any]) -> str:
    lines = [f"{report['accepted']} accepted in {report['seconds']} s: {report['per_second']} per second"]
    if report["latency_ms"]:
        lines.append(
            "answered within " + ", ".join(f"{value} ms ({name})" for name, value in report["latency_ms"].items())
        )
    lines += [plain(f"{count} times: {error}") for error, count in report["errors"].items()]
    if "settled" in report:
        lines.append(f"settled {report['settled']['seconds']} s after the first was submitted")
    return "\n".join(lines)


def _is_local(url: str) -> bool:
    host = urlsplit(url).hostname or ""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def add(commands: Commands, parents: Parents) -> None:
    shared = [parents.output, parents.intake, parents.within]
    one = commands.add_parser("load-test", parents=shared, help="submit many notifications and measure the rate")
    one.add_argument("--ops-url", metavar="URL", help="with --follow: overrides TIDINGS_OPS_URL")
    one.add_argument("--channel", choices=tuple(CHANNELS), default="email", help="default: email")
    one.add_argument("--count", type=positive, default=1000, metavar="N", help="notifications (default: 1000)")
    one.add_argument("--concurrency", type=positive, default=16, metavar="N", help="concurrent callers (default: 16)")
    one.add_argument("--follow", action="store_true", help="wait until all are sent, and measure how long that took")
    one.add_argument("--yes", action="store_true", help="also send to another machine")
    one.set_defaults(run=load_test)
