"""The Request-Id of the request being served, for every line logged meanwhile."""

import asyncio
from collections.abc import Callable, Mapping
from concurrent.futures import Executor
from contextvars import ContextVar, copy_context
from typing import ParamSpec, TypeVar

T = TypeVar("T")
P = ParamSpec("P")

SHOWN = 20  # ids in one line about a batch; each notification's line has its own

_served: ContextVar[str | Mapping[str, str] | None] = ContextVar("tidings_request_ids", default=None)


class serving:  # noqa: N801 - a context manager; one made by a generator costs three times as much
    """`ids`: this request's id; or, of requests coalesced into a batch, each id by its notification's id."""

    __slots__ = ("_ids", "_token")

    def __init__(self, ids: str | Mapping[str, str]) -> None:
        self._ids = ids

    def __enter__(self) -> None:
        self._token = _served.set(self._ids)

    def __exit__(self, *_: object) -> None:
        _served.reset(self._token)


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
