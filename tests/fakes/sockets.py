"""A WebSocket of a fake server whose connection can break."""

from aiohttp import web


class BreakableSocket(web.WebSocketResponse):
    """The answer to `request`."""

    def __init__(self, request: web.Request, *, autoping: bool) -> None:
        super().__init__(autoping=autoping)
        self._transport = request.transport

    def abort(self) -> None:
        """The connection is gone, without a word."""
        assert self._transport
        self._transport.abort()
