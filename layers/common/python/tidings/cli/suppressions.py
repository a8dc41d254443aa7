"""The commands `tidings suppressions …`: list, find, add, remove, import, export."""

import argparse
import json
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from tidings.cli.api_client import Operator, operator
from tidings.cli.exit_codes import REFUSED, CommandFailed, UsageError
from tidings.cli.options import Commands, Parents, filters, positive, timestamp
from tidings.cli.output import note, plain, show, table
from tidings.domain.channels import CHANNELS

PATH = "/v1/suppressions"
PAGE = 1000  # the API's largest page
REASONS = ("hard_bounce", "mailbox_unknown", "token_dead", "complaint", "opted_out", "manual")
SHOWN_BAD = 20  # bad lines of an import; --json prints all


def _pages(server: Operator, query: Mapping[str, Any], limit: int | None = None) -> Iterator[dict[str, Any]]:
    cursor, left = None, limit
    while left is None or left > 0:
        size = PAGE if left is None else min(PAGE, left)
        page = server.get(PATH, {**query, "limit": size, **({"cursor": cursor} if cursor is not None else {})})
        yield from page["suppressions"]
        left = None if left is None else left - len(page["suppressions"])
        if (cursor := page.get("next_cursor")) is None:
            return


def _given(options: argparse.Namespace, *names: str) -> dict[str, Any]:
    """These options, and the category, which the API calls the scope."""
    scope = {"scope": options.category} if options.category is not None else {}
    return {**filters(options, *names), **scope}


def listed(options: argparse.Namespace) -> None:
    with operator(options) as server:
        found = [*_pages(server, _given(options, "channel", "reason", "source", "state"), options.limit + 1)]
    kept = found[: options.limit]
    show(options, {"suppressions": kept}, _table(kept) if kept else "No suppressions match.")
    if len(found) > len(kept):
        note(f"There are more than these {len(kept)}; --limit shows more.")


def find(options: argparse.Namespace) -> None:
    query = {**filters(options, "channel"), "recipient": options.recipient}
    with operator(options) as server:
        found = [*_pages(server, query)]
    show(options, {"suppressions": found}, _table(found) if found else "No suppression of this recipient is stored.")


def add_one(options: argparse.Namespace) -> None:
    given = _given(options, "channel", "recipient", "reason", "note")
    expiry = {"expires_at": options.expires.isoformat()} if options.expires is not None else {}
    with operator(options) as server:
        show(options, one := server.post(PATH, {**given, **expiry}), _table([one]))


def remove(options: argparse.Namespace) -> None:
    with operator(options) as server:
        one = server.post(f"{PATH}/remove", _given(options, "channel", "recipient"))
    what = f" messages of {one['scope']}" if "scope" in one else ""
    show(options, one, plain(f"{one['recipient']} is sent{what or ' to'} again on {one['channel']}."))


def import_file(options: argparse.Namespace) -> None:
    try:
        body = sys.stdin.buffer.read() if options.file == "-" else Path(options.file).read_bytes()
    except OSError as error:
        raise UsageError(f"{options.file} cannot be read: {error}") from None
    with operator(options) as server:
        done = server.transport.request(
            "POST", f"{PATH}/import", body=body, headers={"content-type": "text/csv"}
        ).document
    bad = [f"line {one['line']}: {plain(one['error'])}" for one in done["errors"][:SHOWN_BAD]]
    more = [f"and {done['bad'] - SHOWN_BAD} more; --json prints all"] if done["bad"] > SHOWN_BAD else []
    show(options, done, "\n".join([f"{done['stored']} stored, {done['bad']} bad lines.", *bad, *more]))
    if done["bad"]:
        raise CommandFailed(REFUSED, f"{done['bad']} lines were not imported; correct them and import them alone")


def export(options: argparse.Namespace) -> None:
    """To standard output, line by line; with --json, as one document, like the other commands."""
    with operator(options) as server:
        found = _pages(server, {**filters(options, "channel"), "state": "in_force"})
        if options.json:
            show(options, {"suppressions": [*found]}, "")
            return
        for one in found:
            print(json.dumps(one, ensure_ascii=False))


def _table(found: list[dict[str, Any]]) -> str:
    rows = [["CHANNEL", "RECIPIENT", "CATEGORY", "REASON", "SOURCE", "SINCE", "UNTIL", "NOTE"]]
    for one in found:
        until = f"{one['expires_at'][:19]}Z" if "expires_at" in one else "it is removed"
        if "removed_at" in one:
            until = f"removed {one['removed_at'][:19]}Z by {one['removed_by']}"
        cells = [one["channel"], one["recipient"], one.get("scope", "all"), one["reason"], one["source"]]
        rows.append([*cells, f"{one['at'][:19]}Z", until, one.get("note", "")])
    return table(rows)


def add(commands: Commands, parents: Parents) -> None:
    group = commands.add_parser(
        "suppressions", help="recipients that are not sent to: list, find, add, remove, import, export"
    )
    made = group.add_subparsers(required=True, metavar="COMMAND")
    shared = [parents.output, parents.operator]
    every = made.add_parser("list", parents=shared, help="newest first")
    every.add_argument("--channel", choices=CHANNELS)
    every.add_argument("--reason", choices=REASONS)
    every.add_argument("--source", choices=("provider", "operator", "receipt", "import", "unsubscribe"))
    every.add_argument("--category", metavar="NAME", help="opt-outs of this category only")
    every.add_argument("--state", choices=("in_force", "ended"), help="ended: expired or removed; default: all")
    every.add_argument("--limit", type=positive, default=50, metavar="N", help="at most this many (default: 50)")
    every.set_defaults(run=listed)
    found = made.add_parser("find", parents=shared, help="look up one recipient")
    found.add_argument("recipient", metavar="RECIPIENT", help="an address, a number, or token:...")
    found.add_argument("--channel", choices=CHANNELS)
    found.set_defaults(run=find)
    for name, run, help_text in (
        ("add", add_one, "suppress a recipient"),
        ("remove", remove, "send to a recipient again; the entry stays as a record"),
    ):
        one = made.add_parser(name, parents=shared, help=help_text)
        one.add_argument("channel", choices=CHANNELS)
        one.add_argument("recipient", metavar="RECIPIENT")
        one.add_argument("--category", metavar="NAME", help="of this category only; default: everything on the channel")
        one.set_defaults(run=run)
        if name == "add":
            one.add_argument("--reason", choices=REASONS, default="manual", help="default: manual")
            one.add_argument("--note", metavar="TEXT", help="the reason in words, kept with the entry")
            one.add_argument("--expires", type=timestamp, metavar="TIME", help="default: as long as its reason lasts")
    file = made.add_parser("import", parents=shared, help="import up to 100,000 rows; repeating it is harmless")
    file.add_argument("file", metavar="FILE", help="CSV with a header, or a JSON object a line; -: standard input")
    file.set_defaults(run=import_file)
    out = made.add_parser("export", parents=shared, help="print what is in force, a JSON object a line")
    out.add_argument("--channel", choices=CHANNELS)
    out.set_defaults(run=export)
