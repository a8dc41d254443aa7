"""The interface of the load generator for the measures."""

from dataclasses import asdict
from typing import Self

from tests.load.child import Child
from tests.load.plan import Answers, Plan


class Generator:
    """Submits notifications to one intake. Numbers are unique, and so are idempotency keys."""

    def __init__(self, *, port: int, key: str) -> None:
        self._port = port
        self._key = key
        self._next = 1
        self._child = Child("tests.load.client")

    def run(self, plan: Plan) -> Answers:
        """Return when everything is answered."""
        order = {"plan": asdict(plan), "first": self._next, "port": self._port, "key": self._key}
        done = self._child.ask(order)
        self._next = done["next"]
        return Answers(**done["answers"])

    @property
    def pid(self) -> int:
        return self._child.pid

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._child.__exit__()
