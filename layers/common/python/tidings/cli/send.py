"""Hand in, follow, look up, list, cancel: what an application does, by hand."""

import argparse
import json
import sys
from collections.abc import Mapping
from itertools import islice
from typing import Any

from tidings.cli.api_client import intake
from tidings.cli.exit_codes import Usage
from tidings.cli.follow import follow
from tidings.cli.options import TIME, Commands, Parents, add_filters, filters, instant, pair, positive
from tidings.cli.output import event, head, note, notifications, plain, show, state_of
from tidings.client import Draft
from tidings.domain.channels import CHANNELS
from tidings.domain.notification import OnAmbiguous, Status

PARTS = {
    "text": "of a mail or an SMS",
    "subject": "of a mail",
    "html": "of a mail",
    "title": "of a push message",
    "body": "of a push message",
}


def send(options: argparse.Namespace) -> None:
    draft = _draft(options)
    with intake(options) as client:
        accepted = client.send_draft(draft)
        # A key that this command made is repeated only by its own tries: the first of them got through.
        repeated = options.key is not None and accepted.replayed
        if not options.follow:
            document = accepted.model_dump(mode="json", exclude_none=True)
            show(
                options,
                document,
                plain(f"{accepted.id} was accepted before with this key; nothing was sent.")
                if repeated
                else plain(f"{accepted.id} is {accepted.status}."),
            )
            note(f"Follow it with: tidings status {plain(accepted.id)} --follow")
            return
        if repeated:
            note("Accepted before with this key; nothing was sent.")
        follow(client, accepted.id, options)


def _draft(options: argparse.Namespace) -> Draft:
    given: dict[str, Any] = {"idempotency_key": options.key} if options.key is not None else {}
    try:
        return Draft(
            channel=options.channel,
            recipient=_recipient(options),
            content=_content(options),
            send_at=options.at,
            expires_at=options.expires,
            priority="high" if options.high else None,
            on_ambiguous=options.on_ambiguous,
            max_attempts=options.max_attempts,
            metadata=dict(options.metadata) if options.metadata else None,
            **given,
        )
    except ValueError as error:
        raise Usage(f"--key: {error}") from None


def _recipient(options: argparse.Namespace) -> str | dict[str, str]:
    if options.channel != "push":
        return str(options.recipient)
    kind, colon, value = options.recipient.partition(":")
    return {kind: value} if colon and kind in ("token", "topic") else {"token": options.recipient}


def _content(options: argparse.Namespace) -> Mapping[str, Any]:
    parts: dict[str, Any] = filters(options, *PARTS)
    if options.data:
        parts["data"] = dict(options.data)
    if options.content is None:
        if not parts:
            raise Usage("there is nothing to send: give --text, --title and --body, or --content JSON")
        return parts
    if parts:
        raise Usage("--content is the whole content: give it alone")
    try:
        content = json.loads(sys.stdin.read() if options.content == "-" else options.content)
    except ValueError as error:
        raise Usage(f"--content is no JSON: {error}") from None
    if not isinstance(content, dict):
        raise Usage('--content is a JSON object, like {"text": "Hello"}')
    return content


def status(options: argparse.Namespace) -> None:
    with intake(options) as client:
        if options.follow:
            follow(client, options.id, options)
            return
        item = client.get(options.id).model_dump(mode="json", exclude_none=True)
        show(options, item, "\n".join([*head(item), *map(event, item.get("events", []))]))


def listed(options: argparse.Namespace) -> None:
    given = filters(options, "channel", "status", "recipient", "since", "until")
    with intake(options) as client:
        found = list(islice(client.list(limit=min(200, options.limit + 1), **given), options.limit + 1))
    items = [item.model_dump(mode="json", exclude_none=True) for item in found[: options.limit]]
    show(options, {"notifications": items}, notifications(items) if items else "No notifications match.")
    if len(found) > options.limit:
        note(f"There are more than these {options.limit}; --limit shows more.")


def cancel(options: argparse.Namespace) -> None:
    with intake(options) as client:
        item = client.cancel(options.id).model_dump(mode="json", exclude_none=True)
    show(options, item, plain(f"{item['id']} is {state_of(item)}."))


def add(commands: Commands, parents: Parents) -> None:
    _add_send(commands.add_parser("send", parents=[parents.output, parents.intake, parents.within], help="hand one in"))
    looked = commands.add_parser(
        "status", parents=[parents.output, parents.intake, parents.within], help="one with its timeline"
    )
    looked.add_argument("id", metavar="ID")
    looked.add_argument("--follow", action="store_true", help="until it is over")
    looked.set_defaults(run=status)
    found = commands.add_parser("list", parents=[parents.output, parents.intake], help="notifications, newest first")
    add_filters(found, sorted(map(str, Status)), "any if not given")
    found.add_argument("--recipient", metavar="WHO", help="an address, a number, token:... or topic:...")
    found.add_argument("--limit", type=positive, default=50, metavar="N", help="at most this many (default: 50)")
    found.set_defaults(run=listed)
    canceled = commands.add_parser("cancel", parents=[parents.output, parents.intake], help="cancel one that waits")
    canceled.add_argument("id", metavar="ID")
    canceled.set_defaults(run=cancel)


def _add_send(one: argparse.ArgumentParser) -> None:
    one.add_argument("channel", metavar="CHANNEL", choices=CHANNELS, help=", ".join(CHANNELS))
    one.add_argument(
        "recipient", metavar="RECIPIENT", help="an address, a number, a device's token, token:... or topic:..."
    )
    for name, told in PARTS.items():
        one.add_argument(f"--{name}", help=told)
    one.add_argument("--data", type=pair, action="append", metavar="NAME=VALUE", help="of a push message; repeatable")
    one.add_argument("--content", metavar="JSON", help="all of it, in place of these; -: from standard input")
    one.add_argument("--at", type=instant, metavar="TIME", help=f"not before, {TIME}; at once if it is in the past")
    one.add_argument("--expires", type=instant, metavar="TIME", help="not after; one in the past is refused")
    one.add_argument("--high", action="store_true", help="it passes what is of normal priority")
    one.add_argument("--on-ambiguous", choices=[*map(str, OnAmbiguous)], help="when a provider may have accepted")
    one.add_argument("--max-attempts", type=positive, metavar="N", help="then it is a dead letter")
    one.add_argument("--metadata", type=pair, action="append", metavar="NAME=VALUE", help="yours; repeatable")
    one.add_argument("--key", metavar="KEY", help="idempotency key: the same again is the same notification")
    one.add_argument("--follow", action="store_true", help="print its timeline until it is over")
    one.set_defaults(run=send)
