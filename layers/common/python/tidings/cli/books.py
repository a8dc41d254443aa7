"""The commands `tidings ledger` and `tidings audit`."""

import argparse
from datetime import UTC, datetime, timedelta
from typing import Any

from tidings.cli.api_client import operator
from tidings.cli.exit_codes import REFUSED
from tidings.cli.options import EXAMPLE_TIME, Commands, Parents, day, filters, positive, timestamp
from tidings.cli.output import note, progress, show, table

PAGE = 1000  # the API's largest page


def ledger(options: argparse.Namespace) -> None:
    """One day a request: of a busy tenant, many days would take longer than the time-out."""
    lines: list[dict[str, Any]] = []
    last = options.until or datetime.now(UTC).date()
    with operator(options) as server, progress("reading", options.days) as advance:
        for ago in range(options.days):
            one = (last - timedelta(days=ago)).isoformat()
            found = server.get("/v1/ledger", {"days": 1, "until": one})
            lines += found["lines"]
            advance(ago + 1, one)
    show(options, {**found, "lines": lines}, _lines(lines) if lines else "No notifications on these days.")
    if any("deleted" not in line for line in lines):
        note(f"`?`: the retention has deleted what ended before {found['kept_since'][:19]}Z. How much is not known.")


def _lines(lines: list[dict[str, Any]]) -> str:
    """A column for each status that occurs."""
    statuses = list(dict.fromkeys(name for line in lines for name, count in line["statuses"].items() if count))
    heads = ["DAY", "CHANNEL", "ACCEPTED", *map(str.upper, statuses), "DELETED", "AMBIGUOUS"]
    rows = [
        [
            *(line[name] for name in ("day", "channel", "accepted")),
            *(line["statuses"].get(status, 0) for status in statuses),
            line.get("deleted", "?"),
            ", ".join(
                f"{cause['attempts']} {cause.get('provider', '-')} {cause.get('code', '')}"
                for cause in line["ambiguous"]
            ),
        ]
        for line in lines
    ]
    return table([heads, *rows])


def audit(options: argparse.Namespace) -> int:
    """REFUSED if there is a finding."""
    checked = skipped = 0
    findings: list[dict[str, Any]] = []
    query = {**filters(options, "since", "until"), "limit": PAGE}
    with operator(options) as server, progress("auditing", None) as advance:
        while True:
            page = server.get("/v1/audit", query)
            checked, skipped = checked + page["checked"], skipped + page["skipped"]
            findings += page["findings"]
            advance(checked, f"{len(findings)} findings")
            if "next_cursor" not in page:
                break
            query["cursor"] = page["next_cursor"]
    rows = [["ID", "RULE", "DETAIL"]]
    rows += [[finding.get("id", "-"), finding["rule"], finding["detail"]] for finding in findings]
    text = table(rows) if findings else f"Nothing found in {checked} notifications."
    show(options, {"checked": checked, "skipped": skipped, "findings": findings}, text)
    if findings:
        note(f"{len(findings)} findings in {checked} notifications. docs/ledger.md says what to do about each.")
    if skipped:
        note(f"{skipped} were not judged: a newer release has written them, or their timeline is too long.")
    return REFUSED if findings else 0


def add(commands: Commands, parents: Parents) -> None:
    shared = [parents.output, parents.operator]
    book = commands.add_parser(
        "ledger", parents=shared, help="for each day and channel: what was accepted, and what became of it"
    )
    book.add_argument("--days", type=positive, default=7, metavar="N", help="how many (default: 7)")
    book.add_argument(
        "--until",
        type=day,
        metavar="DAY",
        help="the last day in UTC, like 2026-05-01 (default: today)",
    )
    book.set_defaults(run=ledger)
    audited = commands.add_parser(
        "audit", parents=shared, help="compare each notification with its timeline, and name those that do not fit"
    )
    audited.add_argument("--since", type=timestamp, metavar="TIME", help=f"created at or after, {EXAMPLE_TIME}")
    audited.add_argument("--until", type=timestamp, metavar="TIME", help="created before; default: all")
    audited.set_defaults(run=audit)
