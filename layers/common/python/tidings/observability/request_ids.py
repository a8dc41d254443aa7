"""The Request-Id of the request being served, for every line logged meanwhile."""

import asyncio
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Executor
from contextlib import contextmanager
from contextvars import ContextVar, copy_context
from typing import ParamSpec, TypeVar

T = TypeVar("T")
P = ParamSpec("P")

SHOWN = 20  # ids in one line about a batch; each notification's line has its own

_served: ContextVar[str | Mapping[str, str] | None] = ContextVar("tidings_request_ids", default=None)


@contextmanager
def serving(ids: str | Mapping[str, str]) -> Iterator[None]:
    """`ids`: this request's id; or, of requests coalesced into a batch, each id by its notification's id."""
    token = _served.set(ids)
    try:
        yield
    finally:
        _served.reset(token)


def request_id() -> str | None:
    """None: no request is being served, or several in one batch."""
    return ids[0] if len(ids := request_ids()) == 1 else None


def request_ids() -> list[str]:
    """All that are served together, each once."""
    served = _served.get()
    if served is None:
        return []
    return [served] if isinstance(served, str) else list(dict.fromkeys(served.values()))


def request_id_of(notification_id: str) -> str | None:
    served = _served.get()
    return served if served is None or isinstance(served, str) else served.get(notification_id)


def fields() -> dict[str, object]:
    """The log fields: `request_id`, or `request_ids` of a batch."""
    ids = request_ids()
    if len(ids) <= 1:
        return {"request_id": ids[0]} if ids else {}
    return {"request_ids": ids[:SHOWN]}


async def in_thread(threads: Executor, work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """Run it in a thread, with this request's id in its log lines."""
    run = copy_context().run
    return await asyncio.get_running_loop().run_in_executor(threads, lambda: run(work, *args, **kwargs))
