"""A shop that confirms each order by exactly one mail, whatever fails in between.

The order is committed first, without a notification id: its confirmation is still to be sent. Tidings is then called
with an idempotency key made from the order's id. So the call can be repeated at any time until the id is stored: it is
the same notification each time. There is no outbox table and no second queue.
"""

import argparse
import contextlib
import os
import sqlite3
import threading
import uuid
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, closing, contextmanager
from dataclasses import dataclass, field
from html import escape
from pathlib import Path
from urllib.parse import parse_qs

import uvicorn
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import HTMLResponse, PlainTextResponse, RedirectResponse, Response
from starlette.routing import Route
from tidings.client import Client, ClientError, Refused

OWED_EVERY = 5.0  # seconds between checks for unsent confirmations
SCHEMA = """CREATE TABLE IF NOT EXISTS orders (
    id TEXT PRIMARY KEY, email TEXT NOT NULL, item TEXT NOT NULL, notification_id TEXT, problem TEXT)"""


@dataclass(frozen=True)
class Order:
    id: str
    email: str
    item: str
    notification_id: str | None = None
    problem: str | None = None  # why its confirmation cannot be sent, such as a mistyped address


@dataclass(frozen=True)
class Orders:
    """The shop's own database."""

    path: Path

    def add(self, order: Order) -> None:
        with self._open() as database:
            database.execute(
                "INSERT INTO orders (id, email, item) VALUES (?, ?, ?)", (order.id, order.email, order.item)
            )

    def confirmed(self, order: Order, notification_id: str) -> None:
        with self._open() as database:
            database.execute("UPDATE orders SET notification_id = ? WHERE id = ?", (notification_id, order.id))

    def cannot_be_confirmed(self, order: Order, problem: str) -> None:
        with self._open() as database:
            database.execute("UPDATE orders SET problem = ? WHERE id = ?", (problem, order.id))

    def owed(self) -> list[Order]:
        return self._find("notification_id IS NULL AND problem IS NULL")

    def get(self, id: str) -> Order | None:
        return next(iter(self._find("id = ?", id)), None)

    def _find(self, condition: str, *values: str) -> list[Order]:
        with self._open() as database:
            found = database.execute(f"SELECT * FROM orders WHERE {condition} ORDER BY rowid", values)  # noqa: S608
            return [Order(*row) for row in found]

    @contextmanager
    def _open(self) -> Iterator[sqlite3.Connection]:
        with closing(sqlite3.connect(self.path)) as database, database:  # the inner one commits
            database.execute(SCHEMA)
            yield database


@dataclass(frozen=True)
class Confirmations:
    """Orders whose confirmation is still to be sent."""

    orders: Orders
    tidings: Client
    stopping: threading.Event = field(default_factory=threading.Event)

    def confirm(self, order: Order) -> None:
        """Send the confirmation; repeating it is harmless. Raise ClientError if it may be retried."""
        try:
            accepted = self.tidings.send(
                "email",
                order.email,
                {"subject": f"Your order: {order.item}", "text": f"We have your order {order.id}. Thank you."},
                idempotency_key=f"order-{order.id}-confirmation",
            )
        except Refused as refused:
            if refused.status != 422:  # a wrong key or a server that is down: not an error of this order
                raise
            self.orders.cannot_be_confirmed(order, str(refused))
            return
        self.orders.confirmed(order, accepted.id)

    def catch_up(self) -> None:
        """Send confirmations that an earlier process or a failed call has left, at the start and periodically."""
        while True:
            for order in self.orders.owed():
                with contextlib.suppress(ClientError):
                    self.confirm(order)
            if self.stopping.wait(OWED_EVERY):
                return


@dataclass(frozen=True)
class Pages:
    confirmations: Confirmations

    def app(self) -> Starlette:
        routes = [
            Route("/", self.shop),
            Route("/orders", self.order, methods=["POST"]),
            Route("/orders/{id}", self.show),
        ]
        return Starlette(routes=routes, lifespan=self._catching_up)

    async def shop(self, _request: Request) -> Response:
        return _page(
            '<form action="/orders" method="post"><input name="item" value="A teapot">'
            '<input name="email" type="email" placeholder="you@example.com"><button>Order</button></form>'
        )

    async def order(self, request: Request) -> Response:
        form = parse_qs((await request.body()).decode())
        if not form.get("email") or not form.get("item"):
            return PlainTextResponse("Please give an item and an address.", 422)
        order = Order(uuid.uuid4().hex, form["email"][0], form["item"][0])
        await run_in_threadpool(self._take, order)
        return RedirectResponse(f"/orders/{order.id}", 303)

    def _take(self, order: Order) -> None:
        self.confirmations.orders.add(order)  # the order is committed
        with contextlib.suppress(ClientError):  # if this fails, `catch_up` sends it
            self.confirmations.confirm(order)

    def show(self, request: Request) -> Response:
        order = self.confirmations.orders.get(request.path_params["id"])
        if order is None:
            return PlainTextResponse("No such order.", 404)
        return _page(f"<p>Order {escape(order.id)}: {escape(order.item)}</p><p>Confirmation: {self._status(order)}</p>")

    def _status(self, order: Order) -> str:
        if order.problem is not None:
            return f"cannot be sent ({escape(order.problem)})"
        if order.notification_id is None:
            return "will be sent soon"
        try:
            return escape(self.confirmations.tidings.get(order.notification_id).status)
        except ClientError:
            return "handed over"

    @asynccontextmanager
    async def _catching_up(self, _app: Starlette) -> AsyncIterator[None]:
        thread = threading.Thread(target=self.confirmations.catch_up, daemon=True)
        thread.start()
        yield
        self.confirmations.stopping.set()


def _page(body: str) -> Response:
    return HTMLResponse(f'<!doctype html><html lang="en"><title>Shop</title><h1>Shop</h1>{body}</html>')


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, default=8000)
    parser.add_argument("--database", type=Path, default=Path("shop.db"))
    options = parser.parse_args()
    tidings = Client(url=os.environ["TIDINGS_URL"], api_key=os.environ["TIDINGS_API_KEY"], timeout=5, deadline=5)
    pages = Pages(Confirmations(Orders(options.database), tidings))
    uvicorn.run(pages.app(), port=options.port, log_level="warning")


if __name__ == "__main__":
    main()
