"""The commands `send`, `status`, `list` and `cancel`: what an application does through the API."""

import argparse
import json
import sys
from collections.abc import Mapping
from itertools import islice
from typing import Any

from tidings.cli.api_client import intake
from tidings.cli.exit_codes import UsageError
from tidings.cli.follow import follow
from tidings.cli.options import EXAMPLE_TIME, Commands, Parents, add_filters, filters, name_value, positive, timestamp
from tidings.cli.output import event, head, note, notifications, plain, show, state_of
from tidings.client import Draft
from tidings.domain.channels import CHANNELS
from tidings.domain.notification import OnAmbiguous, Status

CONTENT_FIELDS = {
    "text": "text of an email or SMS",
    "subject": "subject of an email",
    "html": "HTML of an email",
    "title": "title of a push message",
    "body": "body of a push message",
}


def send(options: argparse.Namespace) -> None:
    draft = _draft(options)
    with intake(options) as client:
        accepted = client.send_draft(draft)
        # With a generated key, "replayed" only means that a retry of this command found the first try's row.
        repeated = options.key is not None and accepted.replayed
        if not options.follow:
            document = accepted.model_dump(mode="json", exclude_none=True)
            show(
                options,
                document,
                plain(f"{accepted.id} was already accepted with this key; nothing was sent.")
                if repeated
                else plain(f"{accepted.id} is {accepted.status}."),
            )
            note(f"Follow it with: tidings status {plain(accepted.id)} --follow")
            return
        if repeated:
            note("Already accepted with this key; nothing was sent.")
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
            category=options.category,
            critical=options.critical or None,
            **given,
        )
    except ValueError as error:
        raise UsageError(f"--key: {error}") from None


def _recipient(options: argparse.Namespace) -> str | dict[str, str]:
    if options.channel != "push":
        return str(options.recipient)
    kind, colon, value = options.recipient.partition(":")
    return {kind: value} if colon and kind in ("token", "topic") else {"token": options.recipient}


def _content(options: argparse.Namespace) -> Mapping[str, Any]:
    given: dict[str, Any] = filters(options, *CONTENT_FIELDS)
    if options.data:
        given["data"] = dict(options.data)
    if options.content is None:
        if not given:
            raise UsageError("no content: give --text, --title and --body, or --content JSON")
        return given
    if given:
        raise UsageError("--content cannot be combined with other content options")
    try:
        content = json.loads(sys.stdin.read() if options.content == "-" else options.content)
    except ValueError as error:
        raise UsageError(f"--content is not valid JSON: {error}") from None
    if not isinstance(content, dict):
        raise UsageError('--content must be a JSON object, like {"text": "Hello"}')
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
    _add_send(
        commands.add_parser(
            "send", parents=[parents.output, parents.intake, parents.within], help="send a notification"
        )
    )
    looked = commands.add_parser(
        "status", parents=[parents.output, parents.intake, parents.within], help="show a notification with its timeline"
    )
    looked.add_argument("id", metavar="ID")
    looked.add_argument("--follow", action="store_true", help="wait until it has settled")
    looked.set_defaults(run=status)
    found = commands.add_parser(
        "list", parents=[parents.output, parents.intake], help="list notifications, newest first"
    )
    add_filters(found, sorted(map(str, Status)), "default: all")
    found.add_argument(
        "--recipient", metavar="RECIPIENT", help="an email address, a phone number, token:... or topic:..."
    )
    found.add_argument("--limit", type=positive, default=50, metavar="N", help="at most this many (default: 50)")
    found.set_defaults(run=listed)
    canceled = commands.add_parser(
        "cancel", parents=[parents.output, parents.intake], help="cancel a waiting notification"
    )
    canceled.add_argument("id", metavar="ID")
    canceled.set_defaults(run=cancel)


def _add_send(one: argparse.ArgumentParser) -> None:
    one.add_argument("channel", metavar="CHANNEL", choices=CHANNELS, help=", ".join(CHANNELS))
    one.add_argument(
        "recipient",
        metavar="RECIPIENT",
        help="an email address, a phone number, a device token, token:... or topic:...",
    )
    for name, help_text in CONTENT_FIELDS.items():
        one.add_argument(f"--{name}", help=help_text)
    one.add_argument(
        "--data", type=name_value, action="append", metavar="NAME=VALUE", help="data of a push message; repeatable"
    )
    one.add_argument(
        "--content", metavar="JSON", help="the whole content, instead of the options above; -: from standard input"
    )
    one.add_argument("--at", type=timestamp, metavar="TIME", help=f"do not send before this time, {EXAMPLE_TIME}")
    one.add_argument("--expires", type=timestamp, metavar="TIME", help="do not send after this time")
    one.add_argument("--high", action="store_true", help="high priority: sent before normal ones")
    one.add_argument(
        "--on-ambiguous",
        choices=[*map(str, OnAmbiguous)],
        help="what to do if the provider may have accepted an attempt",
    )
    one.add_argument("--max-attempts", type=positive, metavar="N", help="after these it becomes a dead letter")
    one.add_argument("--metadata", type=name_value, action="append", metavar="NAME=VALUE", help="metadata; repeatable")
    one.add_argument("--category", metavar="NAME", help="what it is about; a recipient may opt out of it")
    one.add_argument("--critical", action="store_true", help="send it also to recipients who opted out of its category")
    one.add_argument("--key", metavar="KEY", help="idempotency key: repeating it sends nothing twice")
    one.add_argument("--follow", action="store_true", help="print its timeline until it has settled")
    one.set_defaults(run=send)
