"""The commands `tidings webhooks …`: create, list, show, rotate, enable, disable, delete, test, replay, secret."""

import argparse
from typing import Any

from tidings.cli.api_client import operator
from tidings.cli.options import EXAMPLE_TIME, Commands, Parents, filters, timestamp
from tidings.cli.output import note, plain, show, table
from tidings.domain.webhook import TYPES

PATH = "/v1/webhooks"
ONLY = ("missing", "failed", "all")


def create(options: argparse.Namespace) -> None:
    given = {"url": options.endpoint, "recipient": options.recipient}
    types = {"events": options.event or []} if options.event or options.no_events else {}
    with operator(options) as server:
        one = server.post(PATH, {**given, **types})
    show(options, one, f"{_table([one])}\n{_secret(one)}")


def listed(options: argparse.Namespace) -> None:
    with operator(options) as server:
        found = server.get(PATH)
    show(options, found, _table(found["webhooks"]) if found["webhooks"] else "There are no webhooks.")


def one(options: argparse.Namespace) -> None:
    with operator(options) as server:
        found = server.get(f"{PATH}/{options.id}")
    lines = [[failure[name] for name in ("at", "id", "status", "attempts", "code")] for failure in found["failures"]]
    failures = table([["AT", "NOTIFICATION", "STATUS", "ATTEMPTS", "CODE"], *lines]) if lines else "No failures."
    events = plain(" ".join(found["events"]) or "none")
    show(options, found, f"{_table([found])}\nevents: {events}\n{failures}")


def rotate(options: argparse.Namespace) -> None:
    with operator(options) as server:
        found = server.post(f"{PATH}/{options.id}/rotate", {})
    show(options, found, _secret(found))
    note(f"Until {found['previous_secret_until'][:19]}Z webhooks are signed with the old secret as well.")


def changed(options: argparse.Namespace) -> None:
    with operator(options) as server:
        found = server.post(f"{PATH}/{options.id}/{options.change}", {})
    show(options, found, "Deleted." if options.change == "delete" else _table([found]))


def test(options: argparse.Namespace) -> None:
    with operator(options) as server:
        found = server.post(f"{PATH}/{options.id}/test", {})
    show(options, found, f"Queued; `tidings status {found['id']}` tells what became of it.")


def replay(options: argparse.Namespace) -> None:
    """Page by page, until all are done."""
    body: dict[str, Any] = {**filters(options, "since", "until", "only"), "dry_run": options.dry_run}
    total = {"written": 0, "replayed": 0, "dry_run": options.dry_run}
    with operator(options) as server:
        cursor: int | None = 0
        while cursor is not None:
            page = server.post(f"{PATH}/{options.id}/replay", {**body, "cursor": cursor})
            total["written"] += page["written"]
            total["replayed"] += page["replayed"]
            cursor = page.get("next_cursor")
    would = "would be " if options.dry_run else ""
    text = f"{total['written']} that were missing {would}written, {total['replayed']} {would}sent again."
    show(options, total, text)


def secret(options: argparse.Namespace) -> None:
    with operator(options) as server:
        found = server.post(f"{PATH}/secret", {"url": options.endpoint})
    show(options, found, _secret(found))


def _secret(found: dict[str, Any]) -> str:
    return f"secret: {plain(found['secret'])}"


def _table(found: list[dict[str, Any]]) -> str:
    rows = [["ID", "URL", "STATE", "EVENTS", "HELD", "LAST SUCCESS", "FAILING SINCE"]]
    for endpoint in found:
        state = f"{endpoint['state']} ({endpoint['reason']})" if "reason" in endpoint else endpoint["state"]
        times = [
            f"{endpoint[name][:19]}Z" if name in endpoint else "-" for name in ("last_success_at", "failing_since")
        ]
        cells = [endpoint["id"], endpoint["url"], state, len(endpoint["events"]), endpoint["held"], *times]
        rows.append([str(cell) for cell in cells])
    return table(rows)


def add(commands: Commands, parents: Parents) -> None:
    group = commands.add_parser(
        "webhooks", help="endpoints that are told what became of notifications: create, test, disable, replay"
    )
    made = group.add_subparsers(required=True, metavar="COMMAND")
    shared = [parents.output, parents.operator]
    new = made.add_parser("create", parents=shared, help="create an endpoint; its secret is shown once")
    new.add_argument("endpoint", metavar="URL", help="https://host[:port][/path]")
    new.add_argument(
        "--event",
        action="append",
        choices=TYPES,
        metavar="TYPE",
        help="like notification.sent; may be repeated; default: all but created, retrying and pending",
    )
    new.add_argument("--no-events", action="store_true", help="only your own notifications go to it")
    new.add_argument("--recipient", action="store_true", help="the payload has the recipient")
    new.set_defaults(run=create)
    made.add_parser("list", parents=shared, help="all endpoints").set_defaults(run=listed)
    by_id = (
        ("show", one, "an endpoint, and its last failures"),
        ("rotate", rotate, "a new secret; the old one signs as well for 24 hours"),
        ("enable", changed, "send to it again, and release what was held"),
        ("disable", changed, "hold what comes until it is enabled"),
        ("delete", changed, "remove it, and cancel what waits for it"),
        ("test", test, "send it a test event"),
        ("replay", replay, "tell it events again"),
    )
    for name, run, help_text in by_id:
        parser = made.add_parser(name, parents=shared, help=help_text)
        parser.add_argument("id", metavar="ID")
        parser.set_defaults(run=run, change=name)
        if name == "replay":
            parser.add_argument("--since", type=timestamp, required=True, metavar="TIME", help=EXAMPLE_TIME)
            parser.add_argument("--until", type=timestamp, metavar="TIME", help="default: now")
            parser.add_argument("--only", choices=ONLY, default="missing", help="default: missing")
            parser.add_argument("--dry-run", action="store_true", help="only count")
    shown = made.add_parser(
        "secret", parents=shared, help="the secret that signs your notifications to a URL; give it to the receiver"
    )
    shown.add_argument("endpoint", metavar="URL")
    shown.set_defaults(run=secret)
