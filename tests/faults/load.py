"""Callers of the API: they submit notifications of every kind, and repeat requests without an answer."""

import contextlib
import http.client
import random
import threading
import time
from collections.abc import Container, Iterator, Sequence
from dataclasses import dataclass, field, replace

from local.emulators.client import Failure
from local.emulators.records import Channel
from tests.faults.world import World
from tests.scenarios.caller import Json

CHANNELS: tuple[Channel, ...] = ("email", "sms", "push")
GIVE_UP = 90.0  # seconds after which a request without an answer counts as our failure

NEVER: dict[Channel, Failure] = {
    "email": {"status": 550, "enhanced": "5.6.0"},
    "sms": {"status": 400, "code": "21602"},
    "push": {"status": 400, "code": "INVALID_ARGUMENT"},
}
NOT_NOW: dict[Channel, Failure] = {
    "email": {"status": 451, "enhanced": "4.3.0"},
    "sms": {"status": 429},
}
"""Not push: FCM's comparable errors are ambiguous, or last for a minute."""


@dataclass(kw_only=True)
class Wanted:
    """A notification from its caller's view."""

    channel: Channel
    address: str  # unique in this world: identifies the notification in the providers' log
    body: Json
    id: str | None = None  # from its 202; None: no 202 was seen


@dataclass(kw_only=True)
class Load:
    """The notifications of one fault. Every tenth has `on_ambiguous: hold`, every fifth high priority."""

    world: World
    random: random.Random
    wanted: list[Wanted] = field(default_factory=list)
    refused: list[str] = field(default_factory=list)  # answers that must not occur
    slowest: float = 0.0  # seconds until the slowest answer to a single POST
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def burst(self, count: int, *, never: int = 2, not_now: int = 3, **more: object) -> None:
        """In arrays of at most 50. Per channel, `never` get a permanent error, `not_now` one transient error."""
        made = self._made(count, **more)
        for channel in CHANNELS:
            theirs = [one for one in made if one.channel == channel]
            for one in theirs[:never]:
                for_good: Failure = {**NEVER[channel], "recipient": one.address}
                self.world.emulator.fail(channel, **for_good)
            for one in theirs[never : never + not_now] if channel in NOT_NOW else ():
                once: Failure = {**NOT_NOW[channel], "recipient": one.address, "next": 1}
                self.world.emulator.fail(channel, **once)
        for start in range(0, count, 50):
            self._submit(made[start : start + 50])

    def mails(self, count: int, *, array: int = 50, **more: object) -> list[Wanted]:
        """Of one channel, and none is refused."""
        made = self._made(count, "email", **more)
        for start in range(0, count, array):
            self._submit(made[start : start + array])
        return made

    def texts(self, count: int) -> list[Wanted]:
        """SMS, and none is refused."""
        made = self._made(count, "sms")
        self._submit(made)
        return made

    def without(self, addresses: Container[str]) -> "Load":
        """The load without these notifications."""
        return replace(self, wanted=[one for one in self.wanted if one.address not in addresses])

    @contextlib.contextmanager
    def trickle(self, callers: int = 2, *, pause: float = 0.1) -> Iterator[None]:
        """Submit singles and small arrays during the block, and wait until each was answered."""
        stopping = threading.Event()

        def run_for(seed: int) -> None:
            choice = random.Random(seed)
            while not stopping.is_set():
                self._submit(self._made(choice.choice((1, 1, 1, 5))), give_up=choice.random() < 0.2)
                stopping.wait(pause)

        threads = [threading.Thread(target=run_for, args=[self.random.random()]) for _ in range(callers)]
        for thread in threads:
            thread.start()
        try:
            yield
        finally:
            stopping.set()
            for thread in threads:
                thread.join()

    def _made(self, count: int, *channels: Channel, **more: object) -> list[Wanted]:
        with self._lock:
            numbers = range(len(self.wanted), len(self.wanted) + count)
            theirs = channels or CHANNELS
            made = [self._one(number, theirs[number % len(theirs)], **more) for number in numbers]
            self.wanted += made
        return made

    def _one(self, number: int, channel: Channel, **more: object) -> Wanted:
        address = self.world.addresses.draw(channel)
        recipient: object = address
        if channel == "email":
            content = {"subject": f"Order {number}", "text": "It has left our house."}
        elif channel == "sms":
            content = {"text": f"Order {number} has left our house."}
        else:
            recipient, content = {"token": address}, {"title": f"Order {number}", "body": "It has left our house."}
        body: Json = {
            "channel": channel,
            "recipient": recipient,
            "content": content,
            "idempotency_key": address,
            **({"on_ambiguous": "hold"} if number % 10 == 9 else {}),
            **({"priority": "high"} if number % 5 == 4 else {}),
            **more,
        }
        return Wanted(channel=channel, address=address, body=body)

    def _submit(self, batch: Sequence[Wanted], *, give_up: bool = False) -> None:
        """Repeat until it is answered, as a caller with a key may; or once, for a caller that gives up."""
        deadline = time.monotonic() + GIVE_UP
        while True:
            problem = self._submitted(batch)
            if problem is None or give_up:
                return
            if time.monotonic() > deadline:
                self.refused.append(f"no 202 within {GIVE_UP:g} s: {problem}")
                return
            time.sleep(0.2)

    def _submitted(self, batch: Sequence[Wanted]) -> str | None:
        """What went wrong, or None."""
        begun = time.monotonic()
        try:
            answer = self.world.caller.ask(f"{self.world.stack.url}/v1/notifications", [one.body for one in batch])
        except (OSError, http.client.HTTPException, ValueError) as error:
            return f"{type(error).__name__}: {error}"
        if len(batch) == 1:
            self.slowest = max(self.slowest, time.monotonic() - begun)
        if answer.status in (409, 429, 503):
            return str(answer)
        if answer.status != 202:  # a client error is not repeated
            self.refused.append(f"answered {answer.status}: {str(answer.body)[:300]}")
            return None
        for one, result in zip(batch, answer.body["results"], strict=True):
            if "id" not in result:
                self.refused.append(f"refused {one.address}: {result}")
            elif one.id is not None and one.id != result["id"]:
                self.refused.append(f"one key, two ids: {one.id} and {result['id']}")
            else:
                one.id = result["id"]
        return None
