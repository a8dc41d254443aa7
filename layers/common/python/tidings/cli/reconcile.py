"""The command `tidings reconcile`: a provider's own list of messages, compared with ours.

A day in UTC at a time, so that memory is bounded by the messages of a day. Each of the
provider's messages is looked up in Tidings by its id, whenever the notification was created. A notification that is not
in the provider's list, such as one that was created before midnight and sent after it, is asked for by its id.
"""

import argparse
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from datetime import UTC, datetime, time, timedelta
from typing import Any

from tidings.cli.api_client import Operator, operator
from tidings.cli.exit_codes import REFUSED, CommandFailed, UsageError
from tidings.cli.options import EXAMPLE_TIME, Commands, Parents, day, timestamp
from tidings.cli.output import note, progress, show, table
from tidings.domain.errors import ConfigurationError, DeliveryError
from tidings.domain.notification import Status, read
from tidings.pipeline.comparison import agrees, is_unreported
from tidings.ports.message_list import ListedMessage, MessageList
from tidings.providers import MESSAGE_LISTS, message_list

SETTLED_AFTER = timedelta(minutes=10)  # younger ones may differ because a report is on its way
LOOKED_UP = 50  # ids in a request: a URL of 2 KB
PAGE = 200  # the API's largest
SAME_ATTEMPT = timedelta(minutes=1)  # between the two clocks
MOST = 10_000  # findings
CANDIDATES = 20  # the latest notifications to a recipient that are looked at


def reconcile(options: argparse.Namespace) -> int:
    """REFUSED if something differs."""
    until = min(options.until or datetime.max.replace(tzinfo=UTC), datetime.now(UTC) - SETTLED_AFTER).replace(
        microsecond=0
    )
    if options.since >= until:
        raise UsageError("--since must be before --until, which is ten minutes ago at the latest")
    try:
        listed = message_list(options.provider)
    except ImportError as error:
        raise ConfigurationError(
            f"{error.name} is not installed here; reconcile needs the packages and settings of the channel's function"
        ) from None
    channel = MESSAGE_LISTS[options.provider]
    with closing(listed), operator(options) as server, progress("comparing", None) as advance:
        compared = Comparison(provider=options.provider, channel=channel, listed=listed, server=server)
        try:
            for since, before in _days(options.since, until):
                compared.day(since, before)
                advance(compared.theirs + compared.ours, f"{since:%Y-%m-%d} {len(compared.findings)} findings")
                if len(compared.findings) >= MOST:
                    note(f"Stopped on {since:%Y-%m-%d}: there are {MOST} findings or more.")
                    break
        except DeliveryError as error:
            raise CommandFailed(REFUSED, f"{options.provider}: {error.code}: {error.message}") from None
    return _shown(options, until, compared)


@dataclass(kw_only=True)
class Comparison:
    provider: str
    channel: str
    listed: MessageList
    server: Operator
    theirs: int = 0
    ours: int = 0
    others: int = 0  # theirs, and nothing of ours: another system, another tenant, or deleted by the retention
    unreported: int = 0  # delivered, which we cannot know: the provider is not asked to report
    findings: list[dict[str, Any]] = field(default_factory=list)

    def day(self, since: datetime, until: datetime) -> None:
        seen: set[str] = set()
        for listed in self.listed.sent_between(since, until):
            # A list that grows while it is read may have a message on two pages.
            page = [message for message in listed if message.provider_message_id not in seen]
            for start in range(0, len(page), LOOKED_UP):
                self._compare(page[start : start + LOOKED_UP])
            seen.update(message.provider_message_id for message in page)
            self.theirs += len(page)
        query = {"channel": self.channel, "since": since.isoformat(), "until": until.isoformat()}
        for item in self._pages(query):
            id = item.get("provider_message_id")
            if item.get("provider") != self.provider or id is None:
                continue
            self.ours += 1
            if id in seen:
                continue
            message = self.listed.fetch(id)
            if message is None:
                self._found("ours_not_theirs", id, item, None, "the provider has no message with this id")
            else:
                self._judge(message, item)

    def _compare(self, page: Sequence[ListedMessage]) -> None:
        ids = [message.provider_message_id for message in page]
        query = {"channel": self.channel, "provider_message_id": ids}
        found = {item["provider_message_id"]: item for item in self._pages(query)}
        for message in page:
            if (item := found.get(message.provider_message_id)) is not None:
                self._judge(message, item)
            else:
                self._unknown(message)

    def _judge(self, message: ListedMessage, item: dict[str, Any]) -> None:
        status = read(Status, item["status"])
        if not self.listed.reports and is_unreported(message, status):
            self.unreported += 1
        elif not agrees(message, status):
            self._found("state_differs", message.provider_message_id, item, message, "")

    def _unknown(self, message: ListedMessage) -> None:
        """It may be of an earlier attempt or generation, or the acceptance that an ambiguous attempt never heard of."""
        if message.is_ours:
            until = (message.created_at + SAME_ATTEMPT).isoformat()
            query = {"channel": self.channel, "recipient": message.recipient, "until": until, "limit": CANDIDATES}
            for item in self.server.get("/v1/notifications", query)["notifications"]:
                entries = self.server.get(f"/v1/notifications/{item['id']}").get("events", [])
                if any(entry.get("provider_message_id") == message.provider_message_id for entry in entries):
                    return
                if any(_may_be_of(entry, message) for entry in entries):
                    detail = "an ambiguous attempt was under way: it was accepted"
                    self._found("theirs_not_ours", message.provider_message_id, item, message, detail)
                    return
        self.others += 1

    def _pages(self, query: dict[str, Any]) -> Iterator[dict[str, Any]]:
        asked = {**query, "limit": PAGE}
        while True:
            page = self.server.get("/v1/notifications", asked)
            yield from page["notifications"]
            if "next_cursor" not in page:
                return
            asked["cursor"] = page["next_cursor"]

    def _found(self, kind: str, id: str, item: dict[str, Any], message: ListedMessage | None, detail: str) -> None:
        found = {
            "kind": kind,
            "provider_message_id": id,
            "id": item["id"],
            "ours": item["status"],
            "theirs": message.status if message is not None else None,
            "detail": detail or None,
        }
        self.findings.append({name: value for name, value in found.items() if value is not None})


def _may_be_of(entry: dict[str, Any], message: ListedMessage) -> bool:
    """The attempt had no answer, and ended when the message was created, or up to its time-out later."""
    error = entry.get("error") or {}
    ended = datetime.fromisoformat(entry["at"])
    return error.get("error_class") == "ambiguous" and timedelta(0) <= ended + SAME_ATTEMPT - message.created_at <= (
        2 * SAME_ATTEMPT
    )


def _moment(text: str) -> datetime:
    """A day is its beginning in UTC."""
    if "T" in text or ":" in text:
        return timestamp(text)
    return datetime.combine(day(text), time.min, UTC)


def _days(since: datetime, until: datetime) -> Iterator[tuple[datetime, datetime]]:
    start = since.astimezone(UTC)
    while start < until:
        end = min(datetime.combine(start.date() + timedelta(days=1), time.min, UTC), until)
        yield start, end
        start = end


def _shown(options: argparse.Namespace, until: datetime, compared: Comparison) -> int:
    heads = ("kind", "provider_message_id", "id", "ours", "theirs", "detail")
    rows = [[name.upper() for name in heads], *([item.get(name, "-") for name in heads] for item in compared.findings)]
    counts = {name: getattr(compared, name) for name in ("theirs", "ours", "others", "unreported")}
    document = {
        "provider": options.provider,
        "since": options.since.astimezone(UTC).isoformat(),
        "until": until.astimezone(UTC).isoformat(),
        **counts,
        "findings": compared.findings,
    }
    agreed = f"{compared.theirs} messages of {options.provider} and {compared.ours} of ours agree."
    show(options, document, table(rows) if compared.findings else agreed)
    if compared.unreported:
        note(
            f"{compared.unreported} messages were delivered, and are `sent` here: without TIDINGS_RECEIPTS_URL the"
            " provider does not report deliveries."
        )
    if compared.others:
        note(f"{compared.others} messages of {options.provider} are of no notification of this tenant.")
    return REFUSED if compared.findings else 0


def add(commands: Commands, parents: Parents) -> None:
    made = commands.add_parser(
        "reconcile",
        parents=[parents.output, parents.operator],
        help="compare a provider's own list of messages with ours",
    )
    made.add_argument("provider", choices=sorted(MESSAGE_LISTS), help="reads its settings as the channel's function")
    made.add_argument(
        "--since", type=_moment, required=True, metavar="TIME", help=f"at or after, {EXAMPLE_TIME}, or a day in UTC"
    )
    made.add_argument("--until", type=_moment, metavar="TIME", help="before; default, and latest: ten minutes ago")
    made.set_defaults(run=reconcile)
