"""The HTTP port: alive, ready, and our own metrics."""

from collections.abc import Callable, Mapping, Sequence

from aiohttp import web
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest

from bot.platforms.shared.platform import Endpoint


class HttpServer:
    """`/livez` while the loop runs; `/healthz` while nothing is `down()`, else 503 with the names; `/readyz`
    once `ready()`; `/metrics` for Prometheus; and what chat servers call, by path."""

    def __init__(
        self,
        host: str,
        port: int,
        *,
        ready: Callable[[], bool],
        down: Callable[[], Sequence[str]],
        endpoints: Mapping[str, Endpoint],
    ) -> None:
        self._host, self._port = host, port
        self._ready, self._down = ready, down
        app = web.Application()
        app.router.add_get("/livez", self._livez)
        app.router.add_get("/healthz", self._healthz)
        app.router.add_get("/readyz", self._readyz)
        app.router.add_get("/metrics", self._metrics)
        for path, endpoint in endpoints.items():
            app.router.add_post(path, endpoint)
        self._runner = web.AppRunner(app, access_log=None)

    async def start(self) -> None:
        """Listen; OSError when the port is taken."""
        await self._runner.setup()
        await web.TCPSite(self._runner, self._host, self._port).start()

    @property
    def port(self) -> int:
        """Where it listens; another than asked for where that was 0."""
        return int(self._runner.addresses[0][1])

    async def stop(self) -> None:
        """Close all connections."""
        await self._runner.cleanup()

    async def _livez(self, request: web.Request) -> web.Response:
        return web.Response(text="ok")

    async def _healthz(self, request: web.Request) -> web.Response:
        down = self._down()
        return web.Response(text="".join(f"{name}\n" for name in down) or "ok", status=503 if down else 200)

    async def _readyz(self, request: web.Request) -> web.Response:
        return web.Response(text="ready") if self._ready() else web.Response(status=503)

    async def _metrics(self, request: web.Request) -> web.Response:
        return web.Response(body=generate_latest(), headers={"Content-Type": CONTENT_TYPE_LATEST})
