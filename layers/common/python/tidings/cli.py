"""The operator's command line: `tidings`. It talks to the HTTP API, so it needs a key and no right to the database.

Exit codes: 0 done; 1 the server refused or failed; 2 usage or settings; 3 not reachable.
"""

import argparse
import json
import os
import sys
import urllib.parse
from collections.abc import Mapping, Sequence
from typing import Any

from tidings.errors import ConfigurationError
from tidings.keys import ApiKey, Scope, new_key
from tidings.notification import REPLAYABLE
from tidings.remote import ENV_FILE, Refused, Server, Unreachable, plain
from tidings.topology import CHANNELS

PAGE = 200  # the API's largest page
SETTINGS = f"""settings: TIDINGS_OPS_URL and TIDINGS_API_KEY (a key with the scope operate), from the environment,
else from {ENV_FILE} in the working folder if there is one (KEY=value lines). Flags override both.

exit codes: 0 done; 1 the server refused or failed; 2 usage or settings; 3 not reachable"""


class Usage(Exception):
    """The command cannot be run as it was given; the text is one line that says what to change."""


ENDS: dict[type[Exception], int] = {Refused: 1, Usage: 2, ConfigurationError: 2, Unreachable: 3}
INTERRUPTED = 130


# --- what is shown ----------------------------------------------------------------------------------------------------


def _table(rows: Sequence[Sequence[str]]) -> str:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = ("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) for row in rows)
    return "\n".join(line.rstrip() for line in lines)


def _dead_letters(notifications: Sequence[Mapping[str, Any]]) -> str:
    rows = [["ID", "STATUS", "CHANNEL", "RECIPIENT", "ENDED", "ATTEMPTS", "CODE", "REASON"]]
    for item in notifications:
        recipient, error = item["recipient"], item.get("last_error", {})
        if isinstance(recipient, dict):
            recipient = ",".join(f"{kind}:{value}" for kind, value in recipient.items())
        ended = f"{item['updated_at'][:19]}Z"
        cells = [item["id"], item["status"], item["channel"], recipient, ended, item["attempts"]]
        rows.append([plain(cell) for cell in (*cells, error.get("code", ""), error.get("message", ""))])
    return _table(rows)


def _show(options: argparse.Namespace, document: object, text: str) -> None:
    print(json.dumps(document, indent=2, ensure_ascii=False) if options.json else text)


def _server(options: argparse.Namespace) -> Server:
    return Server.chosen({"TIDINGS_OPS_URL": options.ops_url, "TIDINGS_API_KEY": options.api_key})


# --- the commands -----------------------------------------------------------------------------------------------------


def dead_list(options: argparse.Namespace) -> None:
    server, cursor = _server(options), None
    found: list[dict[str, Any]] = []
    while len(found) < options.limit:
        query = {**_filters(options), "limit": min(PAGE, options.limit - len(found))}
        page = server.get("/v1/dead-letters", query if cursor is None else {**query, "cursor": cursor})
        found += page["notifications"]
        cursor = page.get("next_cursor")
        if cursor is None:
            break
    _show(options, {"notifications": found}, _dead_letters(found) if found else "No dead letters match.")
    if cursor is not None:
        print(f"There are more than these {len(found)}; --limit shows more.", file=sys.stderr)


def dead_replay(options: argparse.Namespace) -> None:
    if not (options.dry_run or options.yes or sys.stdin.isatty()):
        raise Usage("there is no terminal to ask on: --dry-run shows what would be done, --yes does it")
    server, wanted = _server(options), {**_filters(options), "limit": options.limit}
    if options.ids:
        wanted["ids"] = options.ids
    if options.rate is not None:
        wanted["rate"] = options.rate
    if not options.yes:
        dry = server.post("/v1/dead-letters/replay", {**wanted, "dry_run": True})
        if options.dry_run:
            _show(options, dry, _dry_run(dry, options.limit))
            return
        print(_dry_run(dry, options.limit), file=sys.stderr)
        if dry["count"] > 0 and not _agreed():
            print("Nothing was replayed.", file=sys.stderr)
            return
    done = server.post("/v1/dead-letters/replay", wanted)
    _show(options, done, _replayed(done, options))


def _agreed() -> bool:
    print("Replay? [y/N] ", end="", file=sys.stderr, flush=True)
    return sys.stdin.readline().strip().lower() in ("y", "yes")


def _dry_run(dry: Mapping[str, Any], limit: int) -> str:
    lines = [f"{dry['count']} would be replayed."]
    if dry["count"] > limit:
        lines = [f"{dry['count']} match; the {limit} oldest would be replayed (--limit)."]
    if dry["may_double"]:
        lines.append(f"{dry['may_double']} of them may double: the provider may have accepted the first.")
    if dry["sample"]:
        lines += ["The newest:", _dead_letters(dry["sample"])]
    return "\n".join(lines)


def _replayed(done: Mapping[str, Any], options: argparse.Namespace) -> str:
    count, asked = done["count"], len(set(options.ids))
    lines = [
        f"{count} replayed, {done['queued']} of them queued at once; the sweep queues the others when they are due."
    ]
    if count == done["queued"]:
        lines = [f"{count} replayed."]
    if count == options.limit:
        lines.append("There may be more: run it again, or raise --limit.")
    elif count < asked:
        lines.append(f"{asked - count} of the ids given match no dead letter, or no longer.")
    return "\n".join(lines)


def dead_resolve(options: argparse.Namespace) -> None:
    path = f"/v1/notifications/{urllib.parse.quote(options.id, safe='')}/resolve"
    row = _server(options).post(path, {"outcome": options.outcome})
    _show(options, row, f"{plain(row['id'])} is {plain(row['status'])}.")


def _filters(options: argparse.Namespace) -> dict[str, Any]:
    names = ("channel", "status", "code", "since", "until")
    return {name: value for name in names if (value := getattr(options, name)) is not None}


def sweep(options: argparse.Namespace) -> None:
    counts = _server(options).post("/v1/sweep", {})
    found = [[plain(name), str(count)] for name, count in counts.items() if count]
    _show(options, counts, _table(found) if found else "Nothing was overdue.")


def keys_create(options: argparse.Namespace) -> None:
    key, kept = new_key(options.tenant, [Scope(scope) for scope in options.scopes])
    try:
        ApiKey.parse(str(kept))
    except ValueError:
        raise Usage("TENANT is up to 64 of a-z, 0-9, _ and -, beginning with a letter or digit") from None
    text = f"The key, shown this once:\n  {key}\nAdd to TIDINGS_API_KEYS, after a space if there are others:\n  {kept}"
    _show(options, {"key": key, "api_keys": str(kept)}, text)


# --- the parser -------------------------------------------------------------------------------------------------------


def _parser() -> argparse.ArgumentParser:
    output = argparse.ArgumentParser(add_help=False)
    output.add_argument("--json", action="store_true", help="the answer as JSON")
    server = argparse.ArgumentParser(add_help=False)
    server.add_argument("--ops-url", metavar="URL", help="in place of TIDINGS_OPS_URL")
    server.add_argument("--api-key", metavar="KEY", help="in place of TIDINGS_API_KEY; who can list processes sees it")
    parser = argparse.ArgumentParser(
        prog="tidings",
        description="Operate Tidings: dead letters, replay, sweep, keys.",
        epilog=SETTINGS,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    dead = commands.add_parser("dead", help="dead letters: list, replay, resolve")
    _add_dead(dead.add_subparsers(required=True, metavar="COMMAND"), output, server)
    swept = commands.add_parser("sweep", parents=[output, server], help="move what should have moved, now")
    swept.set_defaults(run=sweep)
    keys = commands.add_parser("keys", help="API keys: create").add_subparsers(required=True, metavar="COMMAND")
    create = keys.add_parser("create", parents=[output], help="make a key; it is stored nowhere")
    create.add_argument("tenant", metavar="TENANT", help="whose notifications the key may see")
    create.add_argument("scopes", metavar="SCOPE", nargs="+", choices=[*map(str, Scope)], help="send, operate")
    create.set_defaults(run=keys_create)
    return parser


def _add_dead(commands: Any, output: argparse.ArgumentParser, server: argparse.ArgumentParser) -> None:
    filters = argparse.ArgumentParser(add_help=False)
    filters.add_argument("--channel", choices=CHANNELS)
    filters.add_argument("--status", choices=sorted(map(str, REPLAYABLE)), help="both if not given")
    filters.add_argument("--code", help="of the last error, as the list shows it")
    filters.add_argument("--since", metavar="TIME", help="created at or after, like 2026-11-22T10:00:00Z")
    filters.add_argument("--until", metavar="TIME", help="created before")
    found = commands.add_parser("list", parents=[filters, output, server], help="newest first")
    found.add_argument("--limit", type=_positive, default=50, metavar="N", help="at most this many (default: 50)")
    found.set_defaults(run=dead_list)
    replay = commands.add_parser(
        "replay", parents=[filters, output, server], help="set them back to pending, oldest first; twice is harmless"
    )
    replay.add_argument("ids", metavar="ID", nargs="*", help="these; without any, all that the filters leave")
    replay.add_argument("--dry-run", action="store_true", help="count and show some, change nothing")
    replay.add_argument("--limit", type=_positive, default=1000, metavar="N", help="at most this many (default: 1000)")
    replay.add_argument("--rate", type=_positive, metavar="N", help="a second; as fast as can be if not given")
    replay.add_argument("--yes", action="store_true", help="do not ask")
    replay.set_defaults(run=dead_replay)
    resolve = commands.add_parser("resolve", parents=[output, server], help="decide about one that is unknown")
    resolve.add_argument("id", metavar="ID")
    outcome = resolve.add_mutually_exclusive_group(required=True)
    for name, told in (("sent", "it had arrived"), ("replay", "send it again; it may double")):
        outcome.add_argument(f"--{name}", dest="outcome", action="store_const", const=name, help=told)
    resolve.set_defaults(run=dead_resolve)


def _positive(text: str) -> int:
    if not text.isascii() or not text.isdigit() or int(text) == 0:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number from 1 on")
    return int(text)


def main(arguments: Sequence[str] | None = None) -> int:
    options = _parser().parse_args(arguments)
    try:
        options.run(options)
        sys.stdout.flush()
    except tuple(ENDS) as error:
        print(f"tidings: {error}", file=sys.stderr)
        return ENDS[type(error)]
    except BrokenPipeError:  # `| head` has seen enough; keep the interpreter from flushing again at its end
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except KeyboardInterrupt:
        return INTERRUPTED
    return 0


if __name__ == "__main__":
    sys.exit(main())
