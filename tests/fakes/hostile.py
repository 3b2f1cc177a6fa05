"""A server that keeps to no rule: it writes whatever bytes a script says, as long as somebody reads them."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress

Write = Callable[[bytes], Awaitable[None]]
Script = Callable[[Write], Awaitable[None]]
"""Answers one request by writing to the connection, which is closed after it."""
MEBIBYTE = b"x" * 2**20


def plain(body: bytes, status: str = "200 OK", headers: str = "") -> Script:
    """A body, whole."""

    async def script(write: Write) -> None:
        await write(head(status, f"Content-Length: {len(body)}\r\n{headers}") + body)

    return script


def endless(start: bytes, part: bytes, status: str = "200 OK", mebibytes: int = 1024) -> Script:
    """A body that has no end: `part` again and again, after `start`, until so many MiB are there."""

    async def script(write: Write) -> None:
        await write(head(status) + start)
        for _ in range(mebibytes * 2**20 // len(part)):
            await write(part)

    return script


def drip(body: bytes, seconds: float) -> Script:
    """A body, byte by byte."""

    async def script(write: Write) -> None:
        await write(head("200 OK"))
        for byte in body:
            await write(bytes([byte]))
            await asyncio.sleep(seconds)

    return script


def head(status: str, headers: str = "") -> bytes:
    """What stands before a body."""
    return (
        f"HTTP/1.1 {status}\r\nContent-Type: text/event-stream\r\nConnection: close\r\n{headers}\r\n".encode()
    )


class Hostile:
    """`scripts` by path say how requests are answered; `asked` are the paths that were asked for."""

    def __init__(self) -> None:
        self.url = ""
        self.scripts: dict[str, Script] = {}
        self.asked: list[str] = []
        self.heads: list[str] = []
        """What clients sent before their bodies."""
        self.written = 0
        """Bytes that somebody took."""
        self._answering: set[asyncio.Task[None]] = set()

    def connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """A client has come."""
        answering = asyncio.create_task(self.answer(reader, writer))
        self._answering.add(answering)
        answering.add_done_callback(self._answering.discard)

    async def stop(self) -> None:
        """End all connections."""
        for answering in self._answering:
            answering.cancel()
        await asyncio.gather(*self._answering, return_exceptions=True)

    async def answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One request of one connection."""

        async def write(data: bytes) -> None:
            writer.write(data)
            await writer.drain()
            self.written += len(data)

        try:
            with suppress(ConnectionError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
                self.heads.append((await reader.readuntil(b"\r\n\r\n")).decode())
                self.asked.append(self.heads[-1].split()[1])
                await self.scripts.get(self.asked[-1], plain(b"", "404 Not Found"))(write)
        finally:
            writer.close()
            with suppress(ConnectionError):
                await writer.wait_closed()


@asynccontextmanager
async def hostile() -> AsyncIterator[Hostile]:
    """Until the end of the block."""
    fake = Hostile()
    server = await asyncio.start_server(fake.connected, "127.0.0.1", 0)
    fake.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    try:
        yield fake
    finally:
        server.close()
        await fake.stop()
