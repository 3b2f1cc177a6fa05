"""Responses of a model's server, of which no more is read than was bargained for."""

from collections.abc import AsyncIterator

import aiohttp
import httpx2

ERROR_BYTES = 2**16
"""Bytes that are read of a response that is no success; a sentence needs 200."""
PART = 2**16
"""Bytes that are read at once."""


class _Beginning(httpx2.AsyncByteStream):
    """The first ERROR_BYTES of a stream."""

    def __init__(self, stream: httpx2.AsyncByteStream) -> None:
        self._stream = stream

    async def __aiter__(self) -> AsyncIterator[bytes]:
        left = ERROR_BYTES
        async for part in self._stream:
            yield part[:left]
            left -= len(part)
            if left <= 0:
                return

    async def aclose(self) -> None:
        await self._stream.aclose()


async def only_what_we_take(response: httpx2.Response) -> None:
    """A hook for the client: a response is not unpacked, leads nowhere, and is short unless it is a
    success."""
    for header in ("Content-Encoding", "Location"):
        response.headers.pop(header, None)
    if response.status_code != httpx2.codes.OK and isinstance(response.stream, httpx2.AsyncByteStream):
        response.headers["Content-Type"] = "text/plain; charset=utf-8"  # whatever else it claims to be
        response.stream = _Beginning(response.stream)


async def read(content: aiohttp.StreamReader, most: int) -> bytes | None:
    """All of a body; None if it is longer than `most` bytes."""
    body = bytearray()
    async for part in content.iter_chunked(PART):
        body += part
        if len(body) > most:
            return None
    return bytes(body)
