"""The HTTP port under attack: half requests, slow bodies, too many connections, too much."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from io import BytesIO

import aiohttp
import pytest
import pytest_asyncio
from aiohttp import web

from bot.app import http_server
from bot.app.http_server import BODY_BYTES, CONNECTIONS_OF_AN_ADDRESS, HttpServer
from tests.conftest import eventually

Connection = tuple[asyncio.StreamReader, asyncio.StreamWriter]


async def read(request: web.Request) -> web.Response:
    return web.Response(text=str(len(await request.read())))


@pytest_asyncio.fixture
async def server() -> AsyncIterator[HttpServer]:
    server = HttpServer(
        "127.0.0.1",
        0,
        ready=lambda: True,
        down=list,
        endpoints={"/call": read},
        idle=1.0,
        patience=1.0,
    )
    await server.start()
    yield server
    await server.stop()


@asynccontextmanager
async def connected(server: HttpServer, host: str = "127.0.0.1") -> AsyncIterator[Connection]:
    reader, writer = await asyncio.open_connection("127.0.0.1", server.port, local_addr=(host, 0))
    try:
        yield reader, writer
    finally:
        writer.close()


async def ended(reader: asyncio.StreamReader) -> bytes:
    """What comes until the connection is closed; empty also if it is broken."""
    try:
        return await reader.read()
    except ConnectionError:
        return b""


async def get(server: HttpServer, host: str = "127.0.0.2") -> int:
    connector = aiohttp.TCPConnector(local_addr=(host, 0))
    url = f"http://127.0.0.1:{server.port}/livez"
    async with aiohttp.ClientSession(connector=connector) as session, session.get(url) as answer:
        return answer.status


@pytest.mark.parametrize("start", [b"", b"GET /li", b"GET /livez HTTP/1.1\r\nHost: a\r\n", b"\x16\x03\x01"])
async def test_kind_16_half_a_head_is_closed(server: HttpServer, start: bytes) -> None:
    async with connected(server) as (reader, writer):
        writer.write(start)
        async with asyncio.timeout(60):
            assert b" 200 " not in await ended(reader)


async def test_kind_16_a_head_that_drips_is_closed(server: HttpServer) -> None:
    async with connected(server) as (reader, writer), asyncio.timeout(60):
        closed = asyncio.create_task(ended(reader))
        writer.write(b"GET /livez HTTP/1.1\r\n")
        while not closed.done():
            writer.write(b"a: b\r\n")
            await asyncio.sleep(0.1)


async def test_kind_16_a_body_that_does_not_come_is_no_request(server: HttpServer) -> None:
    async with connected(server) as (reader, writer):
        writer.write(b"POST /call HTTP/1.1\r\nHost: a\r\nContent-Length: 100\r\n\r\nhalf")
        async with asyncio.timeout(60):
            assert b" 408 " in await ended(reader)


async def test_kind_16_a_body_is_no_longer_than_it_may_be(server: HttpServer) -> None:
    url = f"http://127.0.0.1:{server.port}/call"
    async with aiohttp.ClientSession() as session:
        async with session.post(url, data=BytesIO(b"x" * BODY_BYTES)) as answer:
            assert answer.status == 200
        async with session.post(url, data=BytesIO(b"x" * (BODY_BYTES + 1))) as answer:
            assert answer.status == 413


async def test_kind_16_1500_half_requests_keep_nobody_out_and_are_closed(server: HttpServer) -> None:
    async with AsyncExitStack() as opened:
        readers = []
        for _ in range(1500):
            reader, writer = await opened.enter_async_context(connected(server))
            writer.write(b"GET /livez HT")
            readers.append(reader)
        assert await get(server) == 200
        async with asyncio.timeout(120):
            await asyncio.gather(*map(ended, readers))
    assert await get(server, "127.0.0.1") == 200


async def test_kind_16_no_more_connections_than_stated_are_open(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(http_server, "CONNECTIONS", CONNECTIONS_OF_AN_ADDRESS + 10)
    server = HttpServer("127.0.0.1", 0, ready=lambda: True, down=list, endpoints={})
    await server.start()
    closed: list[str] = []

    async def note(host: str, reader: asyncio.StreamReader) -> None:
        await ended(reader)
        closed.append(host)

    async with AsyncExitStack() as opened:
        watching = []
        for host, count in (("127.0.0.3", CONNECTIONS_OF_AN_ADDRESS + 5), ("127.0.0.4", 20)):
            for _ in range(count):
                reader, _ = await opened.enter_async_context(connected(server, host))
                watching.append(asyncio.create_task(note(host, reader)))
        await eventually(lambda: len(closed) == 15)
        assert closed.count("127.0.0.3") == 5 and closed.count("127.0.0.4") == 10
    await asyncio.gather(*watching)
    await server.stop()
