"""The endpoints of a row of webhooks.py: what they have taken, compared with the feed of events."""

import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from tidings.client import InvalidWebhook, verify
from tidings.domain.webhook import TYPES

from tests.faults.receiver import Post
from tests.faults.world import World, wait

UNENDED = "channel = 'webhook' AND status IN ('pending', 'retrying', 'sending')"


@dataclass(kw_only=True)
class Endpoint:
    path: str
    id: str
    secret: str


@dataclass(kw_only=True)
class Told:
    """The endpoints of a row. Each is told every event."""

    world: World
    after: int  # `seq` of the last event before this row
    endpoints: dict[str, Endpoint] = field(default_factory=dict)  # by path

    def create(self, path: str) -> None:
        """Each has a host of its own."""
        made = self._ask("", {"url": f"https://{path.strip('/')}.example.com{path}", "events": TYPES})
        self.endpoints[path] = Endpoint(path=path, id=made["id"], secret=made["secret"])

    def change(self, path: str, to: str) -> None:
        """enable, disable or delete."""
        self._ask(f"/{self.endpoints[path].id}/{to}", {})

    def shown(self, path: str) -> Mapping[str, Any]:
        return self._ask(f"/{self.endpoints[path].id}", None)

    def is_disabled(self, path: str, reason: str) -> bool:
        found = self.shown(path)
        return (found["state"], found.get("reason")) == ("disabled", reason)

    def feed(self) -> list[dict[str, Any]]:
        """The events of this row."""
        found, after = [], self.after
        while True:
            answer = self.world.caller.ask(f"{self.world.stack.url}/v1/events?after={after}&limit=1000")
            assert answer.status == 200, answer
            found += answer.body["events"]
            after = answer.body["next_after"]
            if not answer.body["more"]:
                return found

    def _ask(self, path: str, body: object) -> Mapping[str, Any]:
        answer = wait(
            "an answer about webhooks",
            lambda: self.world.caller.ask(f"{self.world.stack.ops_url}/v1/webhooks{path}", body),
            lambda seen: seen.status != 503,
        )
        assert answer.status == 200, answer
        return dict(answer.body)


@dataclass(frozen=True, kw_only=True)
class Counted:
    """The counts of a row in the table."""

    events: int
    webhooks: int  # each event once for each endpoint
    arrived: int
    lost: int
    again: int  # taken although it had been taken: dropped by its webhook-id
    posts: int  # whether or not they were taken


def judged(told: Told) -> tuple[Counted, list[str]]:
    """The counts, and what is wrong."""
    feed = {event["id"]: event for event in told.feed()}
    receiver, lost, again = told.world.receiver, 0, 0
    problems = [f"no webhook: {request}" for request in receiver.strange]
    for path, endpoint in told.endpoints.items():
        posts, taken = receiver.of(path), Counter(post.id for post in receiver.taken_by(path))
        missing = sorted(set(feed) - set(taken))
        problems += [f"{path}: {len(missing)} events did not come: {missing[:5]}"] if missing else []
        problems += [f"{path}: {id} came, and is not in the feed" for id in sorted(set(taken) - set(feed))]
        problems += _not_alike(endpoint, posts, feed)
        lost += len(missing)
        again += taken.total() - len(taken)
    webhooks = len(feed) * len(told.endpoints)
    counted = Counted(
        events=len(feed),
        webhooks=webhooks,
        arrived=webhooks - lost,
        lost=lost,
        again=again,
        posts=sum(len(receiver.of(path)) for path in told.endpoints),
    )
    return counted, problems


def _not_alike(endpoint: Endpoint, posts: Sequence[Post], feed: Mapping[str, Mapping[str, Any]]) -> Iterator[str]:
    """Each POST is signed, says what the feed says, and is the same each time."""
    bodies: dict[str, bytes] = {}
    for post in posts:
        if bodies.setdefault(post.id, post.body) != post.body:
            yield f"{endpoint.path}: {post.id} came with another body"
        try:
            stamp = int(post.headers["webhook-timestamp"])
            event = verify(post.body, post.headers, endpoint.secret, now=stamp)
        except InvalidWebhook as error:
            yield f"{endpoint.path}: {post.id}: {error}"
            continue
        expected = dict(feed[post.id]["data"]) if post.id in feed else {}
        expected.pop("recipient", None)  # which only the feed has
        if dict(event.data) != expected:
            yield f"{endpoint.path}: {post.id} says {json.dumps(event.data)}, and the feed {json.dumps(expected)}"


def waiting(world: World) -> int:
    return int(world.query(f"SELECT COUNT(*) FROM notifications WHERE {UNENDED}")[0][0])
