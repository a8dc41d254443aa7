"""A function with its trigger, simulated: batches are claimed, sent by so many calls at once, and settled."""

import heapq
import math
from collections import deque

from tests.capacity.agenda import SECOND, Draws, lognormal
from tests.capacity.hall import Hall, Message


class Senders:
    """All functions of the stack. What is in the queue is shared among those that may take a batch, as the broker does
    it: in turns."""

    def __init__(self, hall: Hall) -> None:
        self._hall = hall
        provider = hall.setup.provider
        draws = Draws(lognormal(provider.median, provider.p99), hall.chance)
        self.all = [Sender(hall, draws, self) for _ in range(hall.setup.senders)]
        self._free = deque(sender for _ in range(hall.setup.batches) for sender in self.all)  # a place a batch
        hall.woken_by(self.share)

    def share(self) -> None:
        queue, free = self._hall.queue, self._free
        while queue and free:
            each = min(math.ceil(len(queue) / len(free)), self._hall.setup.batch)
            free.popleft().take([queue.popleft() for _ in range(min(each, len(queue)))])

    def give_back(self, sender: "Sender") -> None:
        """Its batch has come to its end."""
        self._free.append(sender)
        self.share()


class Sender:
    def __init__(self, hall: Hall, draws: Draws, senders: Senders) -> None:
        self._hall = hall
        self._draws = draws
        self._senders = senders
        self.trigger, self.process = hall.process(), hall.process()
        self._mail_server = hall.process()
        self._threads = [0] * hall.setup.calls  # when each is free: a heap

    def take(self, batch: list[Message]) -> None:
        hall, costs, size = self._hall, self._hall.setup.costs, len(batch)
        hall.counts.batches += 1
        hall.counts.claimed += size

        def invoke() -> None:
            self.trigger.submit(round(costs.trigger * size), prepare)

        def prepare() -> None:
            self.process.submit(costs.claim.here(size), claim)

        def claim() -> None:
            hall.transaction("claim", size, lambda: self._send(batch))

        hall.hand_out(size, invoke)

    # --- sending ------------------------------------------------------------------------------------------------------

    def _send(self, batch: list[Message]) -> None:
        """Those that are not due yet go back to the ladder. The calls' CPU is one piece; each call ends when both its
        share of that and its wait are over."""
        now = self._hall.agenda.now
        due = [message for message in batch if message.due <= now]
        held = [message for message in batch if message.due > now]
        calls = [self._call(now, message) for message in due]

        def worked() -> None:
            self._mail(due, held, calls, begun=now)

        self.process.submit(round(self._hall.setup.costs.send * len(due)), worked)

    def _call(self, now: int, message: Message) -> tuple[int, bool]:
        """When the provider has answered, and whether it accepted."""
        begins = max(now, self._threads[0])
        provider = self._hall.setup.provider
        if provider.outage is not None and provider.outage[0] <= begins / SECOND < provider.outage[1]:
            ends, accepted = begins + provider.refusal, False
        else:
            ends = begins + self._draws.one()
            accepted = not provider.failing or self._hall.chance.random() >= provider.failing
        heapq.heapreplace(self._threads, ends)
        return ends, accepted

    def _mail(self, due: list[Message], held: list[Message], calls: list[tuple[int, bool]], *, begun: int) -> None:
        """The mail server's own CPU, where it shares the machine."""
        work = round(self._hall.setup.costs.sink * len(due))
        if work:
            self._mail_server.submit(work, lambda: self._end(due, held, calls, begun=begun))
        else:
            self._end(due, held, calls, begun=begun)

    def _end(self, due: list[Message], held: list[Message], calls: list[tuple[int, bool]], *, begun: int) -> None:
        now, count = self._hall.agenda.now, len(due)
        retry: list[Message] = []
        last = now
        for place, (message, (answered, accepted)) in enumerate(zip(due, calls, strict=True)):
            ends = max(answered, begun + (now - begun) * (place + 1) // count)
            last = max(last, ends)
            if accepted:
                self._hall.sent(message, ends)
            elif self._may_try_again(message):
                retry.append(message)
        self._hall.agenda.at(last, lambda: self._settle(count, retry, held))

    def _may_try_again(self, message: Message) -> bool:
        setup = self._hall.setup
        message.attempt += 1
        if message.attempt >= setup.most_attempts:
            self._hall.counts.dead += 1
            return False
        self._hall.counts.retried += 1
        return True

    # --- settling -----------------------------------------------------------------------------------------------------

    def _settle(self, count: int, retry: list[Message], held: list[Message]) -> None:
        hall, costs = self._hall, self._hall.setup.costs
        for message in retry:
            step = hall.setup.ladder[min(message.attempt, len(hall.setup.ladder)) - 1]
            message.due = hall.agenda.now + round(step * (1 + 0.1 * hall.chance.random()))

        def settled() -> None:
            self._put_back([*retry, *held])

        def prepared() -> None:
            hall.transaction("settle", count, settled)

        if count:
            self.process.submit(costs.settle.here(count), prepared)
        else:
            settled()

    def _put_back(self, messages: list[Message]) -> None:
        """Each down the longest step that is not longer than its wait, or the shortest one."""
        hall = self._hall
        waves: dict[int, list[Message]] = {}
        for message in messages:
            fits = [step for step in hall.setup.ladder if step <= message.due - hall.agenda.now]
            waves.setdefault(max(fits, default=hall.setup.ladder[0]), []).append(message)
        left = len(waves)

        def confirmed() -> None:
            nonlocal left
            left -= 1
            if not left:
                self._senders.give_back(self)

        if not waves:
            self._senders.give_back(self)
        for step, wave in waves.items():
            hall.publish(wave, confirmed, later=step)
