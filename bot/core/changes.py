"""Tells listeners which names have changed; a slow listener gets each name once, however often it changed."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import AbstractContextManager, ExitStack, asynccontextmanager, contextmanager

Listening = AbstractContextManager[AsyncIterator[str]]
"""A context manager: the names that change from the beginning of its block on; they never end."""


class Changes:
    """Passes on names to any number of listeners; each holds no more than one of each name."""

    def __init__(self) -> None:
        self._listeners: list[_Listener] = []

    @property
    def listeners(self) -> int:
        """The number of blocks that are listening now."""
        return len(self._listeners)

    def tell(self, name: str) -> None:
        """Pass on to every listener that `name` has changed."""
        for listener in self._listeners:
            listener.tell(name)

    @contextmanager
    def listening(self) -> Iterator[AsyncIterator[str]]:
        """The names that change from this moment on; they never end. After the block nobody listens."""
        listener = _Listener()
        self._listeners.append(listener)
        try:
            yield listener
        finally:
            self._listeners.remove(listener)


class _Listener(AsyncIterator[str]):
    """The names that have changed and were not passed on yet, in the order of their first change."""

    def __init__(self) -> None:
        self._waiting: dict[str, None] = {}
        self._news = asyncio.Event()

    def tell(self, name: str) -> None:
        self._waiting[name] = None
        self._news.set()

    async def __anext__(self) -> str:
        while not self._waiting:
            self._news.clear()
            await self._news.wait()
        name = next(iter(self._waiting))
        del self._waiting[name]
        return name


@asynccontextmanager
async def news_of(name: str, *sources: Listening) -> AsyncIterator[asyncio.Event]:
    """An event that is set whenever one of the sources names `name`; they are heard in the block only."""
    news = asyncio.Event()

    async def listen(names: AsyncIterator[str]) -> None:
        async for changed in names:
            if changed == name:
                news.set()

    with ExitStack() as stack:
        heard = [stack.enter_context(source) for source in sources]
        listening = [asyncio.create_task(listen(names)) for names in heard]
        try:
            yield news
        finally:
            for task in listening:
                task.cancel()
            await asyncio.gather(*listening, return_exceptions=True)
