"""Tells listeners which names have changed; a slow listener gets each name once, however often it changed."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager


class Changes:
    """Passes on names to any number of listeners; each holds no more than one of each name."""

    def __init__(self) -> None:
        self._listeners: list[tuple[dict[str, None], asyncio.Event]] = []

    def tell(self, name: str) -> None:
        """Pass on to every listener that `name` has changed."""
        for names, event in self._listeners:
            names[name] = None
            event.set()

    def listen(self) -> AsyncIterator[str]:
        """The names that change from this moment on; it never ends."""
        listener: tuple[dict[str, None], asyncio.Event] = ({}, asyncio.Event())
        self._listeners.append(listener)
        return self._hear(listener)

    async def _hear(self, listener: tuple[dict[str, None], asyncio.Event]) -> AsyncIterator[str]:
        names, event = listener
        try:
            while True:
                await event.wait()
                event.clear()
                while names:
                    name = next(iter(names))
                    del names[name]
                    yield name
        finally:
            self._listeners.remove(listener)


@asynccontextmanager
async def news_of(name: str, *sources: AsyncIterator[str]) -> AsyncIterator[asyncio.Event]:
    """An event that is set whenever `name` comes out of one of the sources, iterators over changed names."""
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
