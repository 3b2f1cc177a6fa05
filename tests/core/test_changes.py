"""Whoever listens hears each change once, and is forgotten when they stop."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from bot.core.changes import Changes, news_of
from tests.conftest import settle


async def heard(names: AsyncIterator[str], count: int) -> list[str]:
    return [await anext(names) for _ in range(count)]


async def test_each_listener_hears_from_the_beginning_of_its_block_on_each_name_once() -> None:
    changes = Changes()
    changes.tell("before")
    with changes.listening() as first, changes.listening() as second:
        for name in ("a", "b", "a"):
            changes.tell(name)
        assert await heard(first, 2) == ["a", "b"]
        changes.tell("a")
        assert await heard(first, 1) == ["a"]
        assert await heard(second, 2) == ["a", "b"]
        waiting = asyncio.create_task(heard(second, 1))
        await settle()
        assert not waiting.done()
        changes.tell("c")
        assert await waiting == ["c"]


async def test_nobody_listens_after_the_block_whether_they_ever_heard_or_not() -> None:
    changes = Changes()
    with pytest.raises(ValueError), changes.listening():
        assert changes.listeners == 1
        raise ValueError
    changes.listening()  # and never begun
    assert changes.listeners == 0


async def test_news_of_a_name_come_from_all_sources_and_leave_no_listener() -> None:
    first, second = Changes(), Changes()
    with pytest.raises(ValueError):
        async with news_of("a", first.listening(), second.listening()):
            raise ValueError  # before anybody could listen
    assert first.listeners == second.listeners == 0
    async with news_of("a", first.listening(), second.listening()) as news:
        assert first.listeners == second.listeners == 1
        first.tell("a")  # before anybody could hear
        await asyncio.wait_for(news.wait(), 5)
        news.clear()
        second.tell("b")
        await settle()
        assert not news.is_set()
        second.tell("a")
        await asyncio.wait_for(news.wait(), 5)
    assert first.listeners == second.listeners == 0
