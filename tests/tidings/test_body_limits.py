"""The room that all bodies share."""

import asyncio
from collections.abc import AsyncIterator

import pytest
from tidings.api.body_limits import MAX_BODY, BodyBudget
from tidings.api.problems import Problem


async def chunks(*given: bytes) -> AsyncIterator[bytes]:
    for chunk in given:
        yield chunk


def test_a_body_comes_whole() -> None:
    async def read() -> bytes | bytearray:
        async with BodyBudget().read(chunks(b"one ", b"two"), {"content-length": "7"}) as body:
            return body

    assert asyncio.run(read()) == b"one two"


def test_returns_503_when_buffered_bodies_exceed_the_limit_together() -> None:
    async def crowded() -> None:
        bodies = BodyBudget(together=10)
        async with bodies.read(chunks(b"123456"), {}):
            with pytest.raises(Problem) as refused:
                async with bodies.read(chunks(b"12", b"345"), {}):
                    raise AssertionError("it came in")
            assert refused.value.status == 503
            assert int(refused.value.headers["retry-after"]) >= 1
            async with bodies.read(chunks(b"1234"), {}):
                pass
        async with bodies.read(chunks(b"1234567890"), {}):
            pass

    asyncio.run(crowded())


def test_a_caller_who_goes_away_in_the_middle_leaves_room() -> None:
    async def broken() -> AsyncIterator[bytes]:
        yield b"12345678"
        raise ConnectionError

    async def left() -> None:
        bodies = BodyBudget(together=10)
        for _ in range(3):
            with pytest.raises(ConnectionError):
                async with bodies.read(broken(), {}):
                    raise AssertionError("it came in")

    asyncio.run(left())


@pytest.mark.parametrize("declared", ["", str(MAX_BODY + 1)])
def test_one_that_is_too_large_is_refused_before_it_is_all_in_memory(declared: str) -> None:
    pulled = 0

    async def endless() -> AsyncIterator[bytes]:
        nonlocal pulled
        while True:
            pulled += 1
            yield bytes(1024 * 1024)

    async def read() -> None:
        async with BodyBudget().read(endless(), {"content-length": declared} if declared else {}):
            raise AssertionError("it came in")

    with pytest.raises(Problem) as refused:
        asyncio.run(read())
    assert refused.value.status == 413
    assert pulled == (17 if declared == "" else 0)
