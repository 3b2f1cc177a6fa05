"""Tells listeners which names changed; a slow listener hears each name once, however often it changed."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager


class Changes:
    """As many listeners as like to listen; each holds no more than the names there are."""

    def __init__(self) -> None:
        self._listeners: list[tuple[dict[str, None], asyncio.Event]] = []

    def tell(self, name: str) -> None:
        """`name` changed."""
        for waiting, event in self._listeners:
            waiting[name] = None
            event.set()

    def listen(self) -> AsyncIterator[str]:
        """Names that change from this moment on, for ever."""
        listener: tuple[dict[str, None], asyncio.Event] = ({}, asyncio.Event())
        self._listeners.append(listener)
        return self._hear(listener)

    async def _hear(self, listener: tuple[dict[str, None], asyncio.Event]) -> AsyncIterator[str]:
        waiting, event = listener
        try:
            while True:
                await event.wait()
                event.clear()
                while waiting:
                    name = next(iter(waiting))
                    del waiting[name]
                    yield name
        finally:
            self._listeners.remove(listener)


@asynccontextmanager
async def news_of(name: str, *sources: AsyncIterator[str]) -> AsyncIterator[asyncio.Event]:
    """An event that is set whenever one of `sources`, iterators over names that changed, names `name`."""
    news = asyncio.Event()

    async def listen(source: AsyncIterator[str]) -> None:
        async for changed in source:
            if changed == name:
                news.set()

    listening = [asyncio.create_task(listen(source)) for source in sources]
    try:
        yield news
    finally:
        for task in listening:
            task.cancel()
        await asyncio.gather(*listening, return_exceptions=True)
