"""Faults run world by world: servers are started once for all faults that need them."""

import contextlib
from collections import deque
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest

from tests.faults import __main__ as main
from tests.faults.fault import Fault
from tests.faults.matrix import Result
from tests.faults.world import Usage


def test_each_kind_of_world_is_started_once_for_all_its_faults(monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[str] = []

    @contextlib.contextmanager
    def cluster() -> Iterator[Any]:
        told.append("cluster")
        yield SimpleNamespace(usage=lambda: {"intake": Usage(megabytes=1, threads=1, files=1)})

    @contextlib.contextmanager
    def usual() -> Iterator[Any]:
        told.append("usual")
        yield SimpleNamespace(usage=lambda: {"intake": Usage(megabytes=1, threads=1, files=1)})

    def run(_world: Any, fault: Fault, _seed: int) -> Any:
        told.append(fault.name)
        return Result(fault=fault.name, counted=SimpleNamespace(), seconds=0, problems=())  # type: ignore[arg-type]

    monkeypatch.setattr(main, "run", run)
    monkeypatch.setattr(main.Done, "_note", lambda *_: None)
    kinds = {"a": cluster, "b": usual, "c": cluster, "d": usual}
    waiting = deque(Fault(name=name, inject=lambda _: None, make_world=kind) for name, kind in kinds.items())
    main.Done(seed=1, waiting=waiting, write=None).work()
    assert told == ["cluster", "none", "a", "c", "usual", "none", "b", "d"]
