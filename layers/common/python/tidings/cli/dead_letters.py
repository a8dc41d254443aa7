"""The commands `tidings dead …`: list, groups, show, replay, resolve."""

import argparse
import sys
import urllib.parse
from collections.abc import Mapping
from typing import Any

from tidings.cli.api_client import operator
from tidings.cli.exit_codes import UsageError
from tidings.cli.follow import follow_many, report_end
from tidings.cli.options import Commands, Parents, add_filters, filters, positive, timestamp
from tidings.cli.output import event, head, note, notifications, plain, progress, show, state_of, table
from tidings.domain.notification import REPLAYABLE

PAGE = 200  # the API's largest page
FILTERS = ("channel", "status", "error_class", "code", "since", "until")


def dead_list(options: argparse.Namespace) -> None:
    cursor = None
    found: list[dict[str, Any]] = []
    with operator(options) as server:
        while len(found) < options.limit:
            query = {**filters(options, *FILTERS), "limit": min(PAGE, options.limit - len(found))}
            page = server.get("/v1/dead-letters", query if cursor is None else {**query, "cursor": cursor})
            found += page["notifications"]
            cursor = page.get("next_cursor")
            if cursor is None:
                break
    text = notifications(found, dead=True) if found else "No dead letters match."
    show(options, {"notifications": found}, text)
    if cursor is not None:
        note(f"There are more than these {len(found)}; --limit shows more.")


def dead_groups(options: argparse.Namespace) -> None:
    with operator(options) as server:
        found = server.get("/v1/dead-letters/groups", filters(options, *FILTERS))
    rows = [["COUNT", "STATUS", "CHANNEL", "CLASS", "CODE", "NEWEST", "EXAMPLE", "REASON"]]
    for group in found["groups"]:
        error = [group.get(name, "") for name in ("error_class", "code")]
        cells = [
            group["count"],
            group["status"],
            group["channel"],
            *error,
            f"{group['newest'][:19]}Z",
            group["example"],
        ]
        rows.append([*cells, group.get("message", "")])
    show(options, found, table(rows) if found["groups"] else "No dead letters match.")
    if found["more"]:
        note(f"Only the newest {found['looked_at']} dead letters were counted.")


def dead_show(options: argparse.Namespace) -> None:
    with operator(options) as server:
        item = server.get(_path(options.id))
    named = ("attempts", "generation", "provider", "on_ambiguous", "created_at", "updated_at")
    facts = [["status", state_of(item)], *([name, item[name]] for name in named if name in item)]
    if error := item.get("last_error"):
        facts += [["error", f"{error['error_class']}, {error['code']}: {error['message']}"]]
    show(options, item, "\n".join([*head(item), table(facts, fits=False), "", *map(event, item.get("events", []))]))


def dead_replay(options: argparse.Namespace) -> None:
    if not (options.dry_run or options.yes or sys.stdin.isatty()):
        raise UsageError("no terminal to confirm on: --dry-run shows what would be replayed, --yes replays it")
    wanted = {**filters(options, *FILTERS, "rate"), "limit": options.limit, **_expiry(options)}
    if options.ids:
        wanted["ids"] = options.ids
    with operator(options) as server:
        if not options.yes:
            dry = server.post("/v1/dead-letters/replay", {**wanted, "dry_run": True})
            if options.dry_run:
                show(options, dry, _dry_run(dry, options.limit))
                return
            note(_dry_run(dry, options.limit))
            if dry["count"] == 0 or not _confirmed():  # the question did not include what failed since
                note("Nothing was replayed.")
                return
        # In one request: with several, what fails again at once would be replayed again by the next one.
        with progress("replaying", None):
            done = server.post("/v1/dead-letters/replay", wanted)
        show(options, done, _replayed(done, options))
        if options.follow and done["ids"]:
            report_end(follow_many(server, done["ids"], options.within), done["count"])


def _confirmed() -> bool:
    print("Replay? [y/N] ", end="", file=sys.stderr, flush=True)
    return sys.stdin.readline().strip().lower() in ("y", "yes")


def _dry_run(dry: Mapping[str, Any], limit: int) -> str:
    lines = [f"{dry['count']} would be replayed."]
    if dry["count"] > limit:
        lines = [f"{dry['count']} match; the {limit} oldest would be replayed (--limit)."]
    if dry["may_double"]:
        lines.append(
            f"{dry['may_double']} of them may be sent twice: the provider may have accepted an earlier attempt."
        )
    lines += _left_out(dry)
    if dry["sample"]:
        lines += ["The first:", notifications(dry["sample"], dead=True)]
    return "\n".join(lines)


def _left_out(answer: Mapping[str, Any]) -> list[str]:
    lines = []
    if answer["expired"]:
        lines.append(f"{answer['expired']} more have expired: --expires TIME replays them.")
    if answer["unknown"]:
        lines.append(f"{answer['unknown']} more are unknown and may have arrived: --status unknown replays them.")
    return lines


def _replayed(done: Mapping[str, Any], options: argparse.Namespace) -> str:
    count, asked = done["count"], len(set(options.ids))
    lines = [f"{count} replayed, {done['queued']} of them queued now; the sweep queues the others when they are due."]
    if count == done["queued"]:
        lines = [f"{count} replayed."]
    lines += _left_out(done)
    missing = asked - count - done["expired"] - done["unknown"]
    if count == options.limit:
        lines.append("There may be more: run it again, or raise --limit.")
    elif missing > 0:
        lines.append(f"{missing} of the given ids are not dead letters, or no longer.")
    return "\n".join(lines)


def dead_resolve(options: argparse.Namespace) -> None:
    with operator(options) as server:
        row = server.post(f"{_path(options.id)}/resolve", {"outcome": options.outcome, **_expiry(options)})
    show(options, row, plain(f"{row['id']} is {state_of(row)}."))


def _expiry(options: argparse.Namespace) -> dict[str, str]:
    return {"expires_at": options.expires.isoformat()} if options.expires is not None else {}


def _path(id: str) -> str:
    return f"/v1/notifications/{urllib.parse.quote(id, safe='')}"


def add(commands: Commands, parents: Parents) -> None:
    group = commands.add_parser("dead", help="dead letters: list, groups, show, replay, resolve")
    dead = group.add_subparsers(required=True, metavar="COMMAND")
    chosen = argparse.ArgumentParser(add_help=False)
    _add_filters(chosen, "default: failed and unknown")
    shared = [parents.output, parents.operator]
    found = dead.add_parser("list", parents=[chosen, *shared], help="list dead letters, newest first")
    found.add_argument("--limit", type=positive, default=50, metavar="N", help="at most this many (default: 50)")
    found.set_defaults(run=dead_list)
    dead.add_parser("groups", parents=[chosen, *shared], help="grouped by error").set_defaults(run=dead_groups)
    shown = dead.add_parser("show", parents=shared, help="show one with its timeline")
    shown.add_argument("id", metavar="ID")
    shown.set_defaults(run=dead_show)
    _add_replay(dead.add_parser(
        "replay",
        parents=[*shared, parents.within],
        help="set dead letters back to pending, oldest first; repeating it is harmless",
    ))  # fmt: skip
    resolve = dead.add_parser("resolve", parents=shared, help="decide about an unknown one")
    resolve.add_argument("id", metavar="ID")
    outcome = resolve.add_mutually_exclusive_group(required=True)
    for name, help_text in (("sent", "it has arrived"), ("replay", "send it again; it may be sent twice")):
        outcome.add_argument(f"--{name}", dest="outcome", action="store_const", const=name, help=help_text)
    resolve.add_argument(
        "--expires", type=timestamp, metavar="TIME", help="with --replay: the new expiry time, if it has expired"
    )
    resolve.set_defaults(run=dead_resolve)


def _add_filters(parser: argparse.ArgumentParser, status_help: str) -> None:
    add_filters(parser, sorted(map(str, REPLAYABLE)), status_help)
    parser.add_argument(
        "--error-class", choices=("transient", "permanent", "ambiguous", "account"), help="of the last error"
    )
    parser.add_argument("--code", help="of the last error, as in the list")


def _add_replay(replay: argparse.ArgumentParser) -> None:
    _add_filters(replay, "default: failed; an unknown one may have arrived")
    replay.add_argument("ids", metavar="ID", nargs="*", help="replay these only; default: all that match the filters")
    replay.add_argument("--dry-run", action="store_true", help="count them and show a sample, change nothing")
    replay.add_argument("--limit", type=positive, default=1000, metavar="N", help="at most this many (default: 1000)")
    replay.add_argument(
        "--rate", type=positive, metavar="N", help="notifications per second; default: as fast as possible"
    )
    replay.add_argument(
        "--expires",
        type=timestamp,
        metavar="TIME",
        help="new expiry time for expired ones; without it they are left out",
    )
    replay.add_argument("--yes", action="store_true", help="do not ask for confirmation")
    replay.add_argument("--follow", action="store_true", help="wait until they have settled")
    replay.set_defaults(run=dead_replay)
